"""RBM: the restricted Boltzmann machine, one layer of visible and one of hidden units.

E(v, h) = -b v - c h - v W h (for binary units),   p(v, h) = e^-E(v, h) / Z.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .compute.device import Array, Device
from .compute.gemm import Precision
from .compute.random import Stream
from .data.minibatches import Binarization, in_blocks
from .learning import CD, Rule
from .learning.fit import fit
from .machine import BoltzmannMachine, Layer
from .training.callbacks import Callback, Validation, listed
from .training.optimizers import Optimizer
from .training.penalties import Penalty
from .units import Bernoulli, Units, from_config


class RBM(BoltzmannMachine):
    """A restricted Boltzmann machine with `visible` and `hidden` units (numbers mean Bernoulli units).

    `weights` (visible, hidden), `visible.bias` and `hidden.bias` are writable arrays on `device`; they exist, small and random,
    before any training. Methods take and return arrays on that device, of the machine's dtype, with one row a case; `fit`,
    `transform` and `sample` take and return host arrays as well.

    >>> rbm = RBM(64, 16, device="cpu", seed=1)
    >>> rbm
    RBM(Bernoulli(64), Bernoulli(16), device='cpu', dtype='float32')
    >>> rbm.mean_hidden(np.zeros((2, 64), np.float32)).shape
    (2, 16)
    """

    def __init__(
        self,
        visible: int | Units,
        hidden: int | Units,
        *,
        device: str | Device = "auto",
        dtype: Any = "float32",
        seed: int | None = 0,
        precision: Precision = None,
    ) -> None:
        super().__init__([visible, hidden], device=device, dtype=dtype, seed=seed, precision=precision)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], device: Device) -> RBM:
        """The machine, with parameters of its own, that `config` describes."""
        visible, hidden = (from_config(layer) for layer in config["layers"])
        options = {"dtype": config["dtype"], "precision": config.get("precision"), "seed": config.get("seed", 0)}
        return cls(visible, hidden, device=device, **options)

    @property
    def visible(self) -> Layer:
        """The visible layer: `.units`, `.bias` (visible,)."""
        return self.layers[0]

    @property
    def hidden(self) -> Layer:
        """The hidden layer: `.units`, `.bias` (hidden,)."""
        return self.layers[1]

    @property
    def weights(self) -> Array:
        """W, (visible, hidden)."""
        return self.connections[0].weights

    def hidden_field(self, v: Array, beta: float = 1.0) -> Array:
        """beta (c + v W), (rows, hidden); for word counts beta (D c + v W) with the document lengths D."""
        self.check_states(0, v, "v")
        return self.field(1, (v, None), beta)

    def visible_field(self, h: Array, beta: float = 1.0) -> Array:
        """beta (b + h W^T), (rows, visible)."""
        self.check_states(1, h, "h")
        return self.field(0, (None, h), beta)

    def mean_hidden(self, v: Array) -> Array:
        """E[h | v], (rows, hidden)."""
        return self.hidden.units.mean(self.hidden_field(v))

    def mean_visible(self, h: Array, like: Array | None = None) -> Array:
        """E[v | h], (rows, visible). Word counts need `like`, counts of documents of the lengths to expect."""
        return self.visible.units.like(like).mean(self.visible_field(h))

    def sample_hidden(self, v: Array, stream: Stream, beta: float = 1.0) -> Array:
        """h ~ p(h | v)^beta, (rows, hidden)."""
        return self.hidden.units.sample(self.hidden_field(v, beta), stream, beta=beta)

    def sample_visible(self, h: Array, stream: Stream, beta: float = 1.0, like: Array | None = None) -> Array:
        """v ~ p(v | h)^beta, (rows, visible). Word counts need `like`, counts of documents of the lengths to draw."""
        return self.visible.units.like(like).sample(self.visible_field(h, beta), stream, beta=beta)

    def draw_hidden(self, v: Array, stream: Stream) -> tuple[Array, Array]:
        """(E[h | v], h ~ p(h | v)) for the price of one."""
        return self.hidden.units.draw(self.hidden_field(v), stream)

    def transposed(self, hidden: int | None = None) -> RBM:
        """The machine upside down: W^T, and each layer in the other's place; `hidden` units, if more than this one has visible ones, begin
        with small weights besides.

        As the next layer of a belief network it is where the bound begins at this machine's ln p(v), and rises from there: `DBN([rbm])`,
        `add(rbm.transposed())`, `fit(data)`. (Hinton, Osindero & Teh 2006, section 4.)

        Raises `ValueError` for fewer hidden units, and for more of another type than binary.
        """
        units, size = self.visible.units, self.visible.units.size
        if hidden is not None and (hidden < size or (hidden > size and units != Bernoulli(size))):
            raise ValueError(f"found hidden={hidden} for {self}; expected {size}, or more where the visible units are binary")
        options: dict[str, Any] = {
            "device": self.device,
            "dtype": self.dtype,
            "precision": self.precision,
            "seed": self.seed + 1,
        }
        found = RBM(self.hidden.units, units if hidden in (None, size) else Bernoulli(hidden), **options)
        found.weights[:, :size] = self.weights.T
        found.visible.copy_(self.hidden)
        if found.outputs == size:
            found.hidden.copy_(self.visible)
        else:
            found.hidden.bias[:size] = self.visible.bias
        return found

    @property
    def inputs(self) -> int:
        """The number of visible units, the width of a row of data."""
        return self.visible.units.size

    @property
    def outputs(self) -> int:
        """The number of hidden units, the width of a row of `transform`."""
        return self.hidden.units.size

    def transform(self, data: Any, seed: int | None = None) -> np.ndarray:
        """E[h | v] for every row of a host array, (rows, hidden), computed in blocks; with a `seed` samples h ~ p(h | v)."""
        self.visible.units.check(data, "data")
        first, found = 0, []
        for v in in_blocks(data, self.device, self.dtype):
            if seed is None:
                h = self.mean_hidden(v)
            else:
                h = self.hidden.units.sample(self.hidden_field(v), Stream(seed, "transform", self.device), first)
            found.append(self.device.to_host(h))
            first += v.shape[0]
        return np.concatenate(found)

    encode = transform

    def fit(
        self,
        data: np.ndarray,
        *,
        epochs: int = 10,
        batch_size: int = 100,
        learning: Rule = CD(),
        optimizer: Optimizer | None = None,
        penalties: Sequence[Penalty] = (),
        binarization: Binarization = None,
        centered: bool = False,
        validation: np.ndarray | None = None,
        callbacks: Iterable[Callback] = (),
        seed: int | None = None,
        resume: str | os.PathLike[str] | None = None,
    ) -> RBM:
        """Train on the rows of `data` (rows, visible), an array, memory map or sparse matrix, and return the machine.

        The values are states of the visible units (`Units.check_training`). For binary units grey values are probabilities: they
        enter as they are, or are drawn anew at each visit with `binarization="stochastic"`. Before the first step of a machine
        whose visible biases are all zero they are set to what fits the data without hidden units (log odds, means).
        `optimizer=None` is SGD(0.05, 0.5), or SGD(0.01, 0.5) where a layer is real-valued. `centered=True` uses the centered
        gradient. `validation` rows add the metrics "validation_reconstruction" and "free_energy_gap", the mean free energy of
        validation rows less that of as many training rows (it grows when the machine overfits). `seed` (by default the
        machine's) fixes the order of rows and all draws, so that a further call repeats them: to train in several calls give each a
        seed of its own. `resume` goes on from a checkpoint, bit for bit.

        Raises `ValueError` for data that don't fit, before anything changes; after Ctrl-C, an error or a full disk the machine
        holds the parameters of its last whole step.
        """
        self.visible.units.check_training(data, "data")
        if validation is not None:
            self.visible.units.check(validation, "validation")
            callbacks = [Validation(lambda: self._validate(validation, data)), *listed(callbacks)]
        fit(
            self,
            data,
            epochs=epochs,
            batch_size=batch_size,
            learning=learning,
            optimizer=optimizer,
            penalties=penalties,
            binarization=binarization,
            centered=centered,
            callbacks=callbacks,
            seed=seed,
            resume=resume,
        )
        return self

    def _validate(self, validation: np.ndarray, data: np.ndarray) -> Mapping[str, float]:
        rows = min(validation.shape[0], data.shape[0])
        total = np.zeros(3)
        pairs = (in_blocks(x[:rows], self.device, self.dtype) for x in (validation, data))
        for held, seen in zip(*pairs, strict=True):
            sums = self.free_energy(held).sum(), self.free_energy(seen).sum(), self.squared_error(held) * held.shape[0]
            total += [float(self.device.to_host(x)) for x in sums]
        return {"validation_reconstruction": total[2] / rows, "free_energy_gap": (total[0] - total[1]) / rows}
