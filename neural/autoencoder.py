"""Autoencoder: a network that learns to return its input through a code. Denoising, sparse and contractive ones are this with an
argument."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from ebm import storage
from ebm.compute.device import Array, Device
from ebm.compute.random import Stream
from ebm.data.minibatches import BLOCK, Binarization, dense, in_blocks
from ebm.data.validation import check_rows
from ebm.training.callbacks import Callback
from ebm.training.optimizers import Adam, Optimizer
from ebm.training.parameters import Parameters
from ebm.training.penalties import Penalty

from .corruption import Corruption, emphasized
from .gradient import Gradient
from .initializers import Glorot, Initializer
from .layers import Activation, Dense, Dropout, Layer, Reshape, Shape, Softmax, UnitMean, activation
from .line_search import LineSearch
from .losses import BinaryCrossEntropy, Loss, as_loss
from .losses import from_config as loss_from_config
from .network import Network
from .step import Objective
from .training import fit


class Autoencoder(storage.Described):
    """An encoder, a decoder, and a loss between rows and what comes back of them.

    `encoder` are sizes, visible first: `[784, 1000, 500, 250, 30]` makes dense layers with `activation`, the last of them with `code`
    (by default the same; "identity" for a linear code), and a decoder that mirrors them, with the transposed weights of the encoder
    where `tied=True`. Or `encoder` and `decoder` are lists of layers, for rows of `inputs` numbers. The decoder ends before the output
    nonlinearity, which belongs to the `loss`.

    `corruption` of the input makes a denoising autoencoder; `code_penalties` make a sparse or a contractive one (see `corruption` and
    `penalties`); they compose. `network.layers[:depth]` are the encoder, the others the decoder.

    >>> model = Autoencoder([64, 32, 8], code="identity", device="cpu")
    >>> model.encode(np.zeros((2, 64))).shape, model.reconstruct(np.zeros((2, 64))).shape
    ((2, 8), (2, 64))
    """

    def __init__(
        self,
        encoder: Sequence[int] | Sequence[Layer],
        decoder: Sequence[Layer] | None = None,
        *,
        inputs: int | Shape | None = None,
        activation: str | Layer = "sigmoid",
        code: str | Layer | None = None,
        tied: bool = False,
        loss: Loss | None = None,
        corruption: Corruption | None = None,
        code_penalties: Sequence[Any] = (),
        initial: Initializer | None = None,
        device: str | Device = "auto",
        dtype: Any = "float32",
        seed: int | None = 0,
    ) -> None:
        self.loss = as_loss(loss, BinaryCrossEntropy())
        if not isinstance(encoder, Sequence) or isinstance(encoder, str):
            raise TypeError(f"found encoder={encoder!r}; expected sizes, such as [784, 100, 10], or layers")
        layers = [layer for layer in encoder if isinstance(layer, Layer)]
        if layers or decoder is not None:
            if len(layers) < len(encoder) or decoder is None or inputs is None:
                raise ValueError(
                    f"found encoder={encoder!r}, decoder={decoder!r}, inputs={inputs!r}; expected sizes alone, or layers for the encoder, "
                    f"layers for the decoder, and inputs="
                )
            if tied or activation != "sigmoid" or code is not None or initial is not None:
                raise ValueError(
                    f"found activation={activation!r}, code={code!r}, tied={tied!r}, initial={initial!r} beside layers, which have their "
                    f"own; leave them out, and write Dense(..., tied_to=k, initial=...)"
                )
            self.depth = len(layers)
            layers = [*layers, *decoder]
        else:
            sizes = [size for size in encoder if not isinstance(size, Layer)]
            if len(sizes) < 2 or inputs is not None:
                raise ValueError(
                    f"found encoder={encoder!r}, inputs={inputs!r}; expected two sizes or more, the first that of a row"
                )
            layers, self.depth = _mirrored(sizes, activation, code, tied, self.loss, initial or Glorot())
            inputs = sizes[0]
        self.network = Network(layers, inputs, device=device, dtype=dtype, seed=seed)
        _check_output(self.network, self.loss, self.inputs)
        self.corruption, self.code_penalties = corruption, code_penalties
        self._check_options()

    def _check_options(self) -> None:
        """Raise unless this model can have its corruption and penalties, which may be set at any time."""
        if isinstance(self.corruption, type) or not (self.corruption is None or callable(self.corruption)):
            raise TypeError(f"found corruption={self.corruption!r}; expected one of neural.corruption, such as Masking(0.25)")
        penalties = self.code_penalties
        if not isinstance(penalties, Sequence) or any(isinstance(p, type) or not callable(p) for p in penalties):
            raise TypeError(
                f"found code_penalties={penalties!r}; expected a list of those of neural.penalties, such as [CodeL1(0.1)]"
            )
        for penalty in penalties:
            if callable(check := getattr(penalty, "check", None)):
                check(self)

    @property
    def inputs(self) -> int:
        """The width of a row of data."""
        return math.prod(self.network.inputs)

    @property
    def outputs(self) -> int:
        """The width of a code."""
        return math.prod(self.network.layers[self.depth - 1].outputs or ())

    @property
    def parameters(self) -> Parameters:
        """All weights and biases, in one buffer."""
        return self.network.parameters

    @property
    def device(self) -> Device:
        """Where the arrays are."""
        return self.network.device

    def encode(self, rows: Any) -> np.ndarray:
        """The codes of rows (rows, inputs) of a host array, (rows, code)."""
        self._check(rows, "rows")
        return self.network.evaluate(rows, 0, self.depth).reshape(rows.shape[0], -1)

    transform = encode

    def decode(self, codes: Any) -> np.ndarray:
        """What codes (rows, code) of a host array stand for, (rows, inputs)."""
        check_rows(codes, self.outputs, low=-math.inf, high=math.inf, name="codes")
        network, found = self.network, []
        for x in in_blocks(codes, network.device, network.dtype):
            shape = network.layers[self.depth - 1].outputs or ()
            z = network(x.reshape(x.shape[0], *shape), None, self.depth)[0]
            found.append(network.device.to_host(self.loss.output(z.reshape(x.shape[0], -1))))
        return np.concatenate(found)

    def reconstruct(self, rows: Any) -> np.ndarray:
        """What comes back of rows (rows, inputs) of a host array, (rows, inputs)."""
        return self.decode(self.encode(rows))

    def squared_error(self, rows: Any) -> float:
        """sum_i (x_i - reconstruction_i)^2, averaged over the rows of a host array."""
        self._check(rows, "rows")
        total = 0.0
        for start in range(0, rows.shape[0], BLOCK):
            block = dense(rows[start : start + BLOCK])
            total += float(((block - self.reconstruct(block)) ** 2).sum(dtype=np.float64))
        return total / rows.shape[0]

    def fit(
        self,
        data: Any,
        *,
        epochs: int = 10,
        batch_size: int = 100,
        optimizer: Optimizer | LineSearch | None = None,
        penalties: Sequence[Penalty] = (),
        binarization: Binarization = None,
        validation: Any = None,
        callbacks: Iterable[Callback] = (),
        seed: int | None = None,
        resume: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Train on the rows of `data` (rows, inputs), an array, memory map or sparse matrix, and return the model.

        `optimizer=None` is Adam(1e-3); `LineSearch()` is the classic recipe on large batches. `penalties` are on the weights,
        `WeightDecay(1e-4)`. `validation` rows add the metrics "validation_loss" and "validation_squared_error". `binarization`,
        `callbacks`, `seed`, `resume` as for `RBM.fit`.

        Raises `ValueError` for data that the loss can't have as targets, before anything changes.
        """
        return self._train(
            self._objective,
            data,
            validation,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            penalties=penalties,
            binarization=binarization,
            callbacks=callbacks,
            seed=seed,
            resume=resume,
        )

    def _train(
        self,
        objective: Objective,
        data: Any,
        validation: Any,
        *,
        optimizer: Optimizer | LineSearch | None,
        seed: int | None,
        **options: Any,
    ) -> Self:
        """What `fit` does, down the gradient of `objective`."""
        self._check_options()
        for rows, name in ((data, "data"), (validation, "validation")):
            if rows is not None:
                self._check(rows, name)
                self.loss.check(rows, name)
        fit(
            self,
            objective,
            data,
            optimizer=optimizer or Adam(1e-3),
            validate=None if validation is None else lambda: self._validate(validation),
            seed=self.network.seed if seed is None else seed,
            **options,
        )
        return self

    def _objective(self, x: Array, stream: Stream, gradient: Gradient) -> Mapping[str, Array]:
        network, rows = self.network, x.shape[0]
        target, shaped = x, x.reshape(x.shape[0], *network.inputs)
        seen, changed = (shaped, None) if self.corruption is None else self.corruption(shaped, stream)
        code, back_to_inputs = network(seen, stream, 0, self.depth)
        z, back_to_code = network(code, stream, self.depth)
        weights = emphasized(self.corruption, changed)
        flat = z.reshape(rows, -1)
        values, slope = self.loss(flat, target, None if weights is None else weights.reshape(rows, -1))
        slope *= slope.dtype.type(1 / rows)
        metrics = {"loss": values.mean()}
        d_code = back_to_code(slope.reshape(z.shape), gradient)
        for penalty in self.code_penalties:
            value, by_code = penalty(self, seen, code, stream, gradient)
            name = type(penalty).__name__
            metrics[name] = metrics[name] + value if name in metrics else value
            if by_code is not None:
                d_code = d_code + by_code
        back_to_inputs(d_code, gradient, through=False)
        return metrics

    def _validate(self, rows: Any) -> Mapping[str, float]:
        total = 0.0
        network = self.network
        for x in in_blocks(rows, network.device, network.dtype):
            z = network(x.reshape(x.shape[0], *network.inputs))[0].reshape(x.shape[0], -1)
            total += float(network.device.to_host(self.loss(z, x)[0].sum(dtype=np.float64)))
        return {"validation_loss": total / rows.shape[0], "validation_squared_error": self.squared_error(rows)}

    def _check(self, rows: Any, name: str) -> None:
        check_rows(rows, self.inputs, low=-math.inf, high=math.inf, sparse=True, name=name)

    def __reduce__(self) -> tuple[Any, ...]:
        return *super().__reduce__(), {"corruption": self.corruption, "code_penalties": self.code_penalties}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one safetensors file; read it back with `neural.load`. Corruption and penalties, which only training
        needs, are not in it."""
        storage.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: Any = "auto") -> Self:
        """The model saved at `path`; raises as `neural.load` does, and for a file of another model."""
        from .storage import load

        return load(path, device, cls)

    def config(self) -> dict[str, Any]:
        """What a file says of this model, besides its parameters."""
        return {"network": self.network.config(), "depth": self.depth, "loss": self.loss.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], device: Device) -> Self:
        """The model, with parameters of its own, that `config` describes."""
        return cls.of(Network.from_config(config["network"], device), config["depth"], loss_from_config(config["loss"]))

    @classmethod
    def of(cls, network: Network, depth: int, loss: Loss) -> Self:
        """The autoencoder of a network whose first `depth` layers encode."""
        model = cls.__new__(cls)
        model.network, model.depth, model.loss = network, depth, loss
        model.corruption, model.code_penalties = None, ()
        _check_output(network, loss, math.prod(network.inputs))
        return model

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.network!r}, depth={self.depth}, loss={self.loss!r})"


def _mirrored(
    sizes: Sequence[int], name: str | Layer, code: str | Layer | None, tied: bool, loss: Loss, initial: Initializer
) -> tuple[list[Layer], int]:
    """Dense layers down to the code and back up, and how many of them encode."""
    layers: list[Layer] = []
    place = []
    last = len(sizes) - 2
    for k, size in enumerate(sizes[1:]):
        place.append(len(layers))
        layers.append(Dense(size, initial=initial))
        kind = name if k < last or code is None else code
        if kind != "identity":
            layers.append(activation(kind))
    depth = len(layers)
    for k in range(last, -1, -1):
        width = sizes[k] if k else loss.width(sizes[0])
        if tied and width != sizes[k]:
            raise ValueError(
                f"found tied=True with {loss}, which needs {width} outputs for rows of {sizes[k]}; write tied=False"
            )
        layers.append(Dense(width, tied_to=place[k] if tied else None, initial=initial))
        if k and name != "identity":
            layers.append(activation(name))
    return layers, depth


def _check_output(network: Network, loss: Loss, targets: int) -> None:
    """Raise `ValueError` where a network's end doesn't fit its loss."""
    last = next((layer for layer in reversed(network.layers) if not isinstance(layer, (Reshape, Dropout))), None)
    if loss.nonlinear and isinstance(last, (Activation, Softmax, UnitMean)):
        raise ValueError(f"found {last} before {loss}, which has the output nonlinearity in it; leave the layer out")
    if math.prod(network.outputs) != (needed := loss.width(targets)):
        chain = " -> ".join(map(repr, network.layers))
        raise ValueError(
            f"found a network that ends with rows of {network.outputs}; {loss} for targets of {targets} needs {needed}: let it end with "
            f"Dense({needed})\n  the chain: {network.inputs} -> {chain} -> {network.outputs}"
        )
