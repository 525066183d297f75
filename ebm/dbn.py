"""DBN: the deep belief network, a directed network of layers under an RBM.

p(v, h1, ..., hL) = p(v | h1) ... p(h(L-2) | h(L-1)) p(h(L-1), hL), the last factor an RBM's, the others those of sigmoid layers (or
other units).

Hinton, Osindero, Teh 2006, "A fast learning algorithm for deep belief nets".
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np

from . import storage
from .compute.device import Array, Device
from .compute.gemm import Precision
from .compute.random import Stream
from .data.minibatches import Binarization, Minibatches, dense
from .learning import CD, Rule
from .rbm import RBM
from .sampling import clamped
from .stack import Stack
from .training.callbacks import Callback
from .training.loop import train
from .training.optimizers import SGD, Optimizer
from .training.parameters import Parameters
from .training.penalties import Penalty
from .units import Joint, Softmax, Units, as_units
from .up_down import UpDown

# Rows that are evaluated at once when a method walks through a data set.
_BLOCK = 1000


class DBN(Stack):
    """A deep belief network of `layers`, visible first: numbers (of Bernoulli units) and units, or RBMs that are trained already.

    `labels=10` adds ten categories as softmax units to the visible side of the last RBM; rows of data, samples and clamps then have
    ten more columns. `layers[k]` are the RBMs: their `mean_hidden` recognizes, upward. `generative[k]`, for all but the last, have
    the weights for the way down; they are the RBMs themselves until `fine_tune` unties them. `passed` as for `Stack`, `fit` too.

    >>> dbn = DBN([64, 32, 32], labels=10, device="cpu")
    >>> dbn
    DBN(Bernoulli(64), Bernoulli(32), Bernoulli(32), labels=10, device='cpu', dtype='float32')
    >>> dbn.sample(2, steps=10, seed=1).shape
    (2, 74)
    """

    def __init__(
        self,
        layers: Sequence[int | Units] | Sequence[RBM],
        *,
        labels: int = 0,
        passed: Literal["means", "samples"] = "means",
        device: str | Device = "auto",
        dtype: Any = "float32",
        seed: int = 0,
        precision: Precision = None,
    ) -> None:
        rbms = [layer for layer in layers if isinstance(layer, RBM)]
        if not rbms:
            units = [as_units(layer) for layer in layers if not isinstance(layer, RBM)]
            if len(units) < 2:
                raise ValueError(f"found layers={layers!r}; expected at least two, visible and hidden")
            for k, (lower, upper) in enumerate(itertools.pairwise(units)):
                visible = Joint(lower, Softmax(labels)) if labels and k == len(units) - 2 else lower
                rbms.append(RBM(visible, upper, device=device, dtype=dtype, seed=seed + k, precision=precision))
            trained = 0
        else:
            if len(rbms) < len(layers):
                raise TypeError(f"found layers={layers!r}; expected sizes and units, or RBMs, and not both")
            trained = len(rbms)
        super().__init__(rbms, labels=labels, passed=passed, seed=seed)
        self.trained = trained
        self.generative: list[RBM] = self.layers[:-1]
        first = rbms[0]
        self.device, self.dtype = first.device, first.dtype
        if any(rbm.device is not self.device or rbm.dtype != self.dtype for rbm in rbms):
            raise ValueError(f"found RBMs of different devices or dtypes: {rbms}; expected one device and one dtype")

    @property
    def top(self) -> RBM:
        """The RBM of the last two layers."""
        return self.layers[-1]

    @property
    def visible_units(self) -> Units:
        """The units that a row of data holds the states of."""
        units = self.layers[0].visible.units
        return Joint(units, Softmax(self.labels)) if self.labels and len(self.layers) > 1 else units

    @property
    def tied(self) -> bool:
        """Whether recognition and generation share their weights."""
        return all(a is b for a, b in zip(self.generative, self.layers, strict=False))

    def untie_(self) -> None:
        """Give the way down weights of its own, equal to those of the way up."""
        if self.tied:
            self.generative = [
                rbm.with_parameters(rbm.parameters.over(rbm.parameters.buffer.copy())) for rbm in self.generative
            ]

    def add(self, layer: int | Units | RBM) -> None:
        """Put a further layer on top: units, to be trained by the next `fit`, or an RBM whose visible units are those of the last layer.

        Raises `ValueError` for a size that does not chain, above labels, and where the weights are untied.
        """
        if not self.tied:
            raise ValueError("found a network that was fine-tuned; add layers before fine_tune")
        if not isinstance(layer, RBM):
            seed = self.seed + len(self.layers)
            options: dict[str, Any] = {"device": self.device.name, "dtype": self.dtype, "precision": self.top.precision}
            layer = RBM(self.top.hidden.units, as_units(layer), seed=seed, **options)
        super().add(layer)
        self.generative = self.layers[:-1]

    def reconstruct(self, data: Any) -> np.ndarray:
        """The means of the visible units after one deterministic pass up and down, (rows, visible), for rows of a host array without labels
        or with them, which are ignored."""
        rows = self._split(data)[0] if self.labels and data.shape[1] != self.inputs else data
        self.layers[0].visible.units.check(rows, "data") if len(self.layers) > 1 else None
        found = []
        lower = self.layers[:-1] if self.labels else self.layers
        down = self.generative if self.labels else [*self.generative, self.top]
        for start in range(0, rows.shape[0], _BLOCK):
            x = v = self.device.asarray(dense(rows[start : start + _BLOCK]), self.dtype)
            for rbm in lower:
                x = rbm.mean_hidden(x)
            for k, rbm in reversed(list(enumerate(down))):
                x = rbm.mean_visible(x, like=v if k == 0 else None)
            found.append(self.device.to_host(x))
        return np.concatenate(found)

    def sample(
        self,
        n: int,
        steps: int = 1000,
        *,
        clamp: tuple[Any, Any] | None = None,
        start: Any = None,
        means: bool = False,
        seed: int | None = None,
    ) -> np.ndarray:
        """n samples of the visible units (and labels) on the host: `steps` steps of Gibbs sampling in the last RBM, then a pass down.

        `clamp=(mask, values)` holds units as for `RBM.sample`. Labels are held in the last RBM, exactly: class-conditional
        generation. Where others are held, every step is a pass up from them by the recognition weights, one of Gibbs sampling, and a
        pass down; recognition is approximate, and so are such samples. `means=True` returns the visible units' means of the last pass
        down. Chains start at the rows `start` (n, visible), else at a draw from the biases.

        Raises `ValueError` as `RBM.sample` does.
        """
        if not all(isinstance(number, (int, np.integer)) and number >= 1 for number in (n, steps)):
            raise ValueError(f"found n={n}, steps={steps}; expected whole numbers >= 1")
        stream, top, units = Stream(seed, "sample", self.device), self.top, self.visible_units
        mask, values = self._held(clamp, n)
        pixels = mask is not None and bool(mask[:, : self.inputs].any())
        if start is not None:
            v = self.device.asarray(dense(start), self.dtype)
            if v.shape != (n, units.size):
                raise ValueError(f"start: found shape {v.shape}; expected {(n, units.size)}")
            units.check(self.device.to_host(v), "start")
        else:
            biases = [self.layers[0].visible.bias[: self.inputs], *([top.visible.bias[-self.labels :]] if self.labels else [])]
            field = self.device.zeros((n, units.size), self.dtype) + self.device.xp.concatenate(biases)
            v = units.sample(field, stream)
        held = None
        if mask is not None:
            v = self.device.xp.where(mask, values, v)
            if self.labels:
                # the last RBM's visible units: those of the layer below are free
                free = self.device.zeros((n, top.visible.units.size - self.labels), mask.dtype)
                none = self.device.zeros(free.shape, self.dtype)
                held = {
                    0: (
                        self.device.xp.concatenate([free, mask[:, -self.labels :]], axis=1),
                        self.device.xp.concatenate([none, values[:, -self.labels :]], axis=1),
                    )
                }
        if len(self.layers) == 1:
            return top.sample(n, steps, clamp=clamp, start=self.device.to_host(v), means=means, seed=seed)
        if pixels:
            for _ in range(steps):
                x = top.sweep([self._recognized(v, stream), None], "sample", stream, clamp=held)[0]
                v = self.device.xp.where(mask, values, self._generated(x, stream, means=False))
        else:
            x = self._recognized(v, stream) if start is not None else self._top_start(n, held, stream)
            states: list[Array] = [x, None]
            for _ in range(steps):
                states = top.sweep(states, "sample", stream, clamp=held)
            x = states[0]
        v = self._generated(x, stream, means)
        return self.device.to_host(v if mask is None else self.device.xp.where(mask, values, v))

    def _held(self, clamp: tuple[Any, Any] | None, n: int) -> tuple[Any, Any]:
        return (None, None) if clamp is None else clamped(self, clamp, n)

    def _top_start(self, n: int, held: Any, stream: Stream) -> Array:
        """A draw from the visible biases of the last RBM."""
        layer = self.top.visible
        x = layer.units.sample(self.device.zeros((n, layer.units.size), self.dtype) + layer.bias, stream)
        return x if held is None else self.device.xp.where(held[0][0], held[0][1], x)

    def _recognized(self, v: Array, stream: Stream) -> Array:
        """Samples of the last RBM's visible units, from a pass up."""
        x, labels = (v[:, : self.inputs], v[:, self.inputs :]) if self.labels else (v, None)
        x = self.device.xp.ascontiguousarray(x)
        for rbm in self.layers[:-1]:
            x = rbm.sample_hidden(x, stream)
        return x if labels is None else self.device.xp.concatenate([x, labels], axis=1)

    def _generated(self, x: Array, stream: Stream, means: bool) -> Array:
        """Rows of data from states of the last RBM's visible units, by a pass down; `means` for the visible units."""
        labels = x[:, -self.labels :] if self.labels else None
        x = self.device.xp.ascontiguousarray(x[:, : -self.labels]) if self.labels else x
        for k, rbm in reversed(list(enumerate(self.generative))):
            x = rbm.mean_visible(x) if means and k == 0 else rbm.sample_visible(x, stream)
        return x if labels is None else self.device.xp.concatenate([x, labels], axis=1)

    def log_weights(self, v: Array, stream: Stream) -> Array:
        """ln p(v, h) + ln Z - ln q(h | v) of one sample h ~ q(h | v) for each row, (rows,) float64 on the device.

        h are the layers below the last RBM's hidden one, which is summed; q is recognition, Z the last RBM's partition function. The
        mean is a lower bound of ln p(v) + ln Z, and the mean of the exponentials is p(v) Z."""
        labels = v[:, self.inputs :] if self.labels else None
        x = self.device.xp.ascontiguousarray(v[:, : self.inputs]) if self.labels else v
        total = self.device.zeros(v.shape[0], np.float64)
        for rbm, down in zip(self.layers[:-1], self.generative, strict=True):
            up = rbm.hidden_field(x)
            h = rbm.hidden.units.sample(up.copy(), stream)
            total -= _log_density(rbm.hidden.units, h, up)
            total += _log_density(down.visible.units.like(x), x, down.visible_field(h))
            x = h
        top = x if labels is None else self.device.xp.concatenate([x, labels], axis=1)
        total -= self.top.full_precision.free_energy(top)
        return total

    def predict(self, data: Any) -> np.ndarray:
        """The most likely label of each row without labels, (rows,): given the means of the layer below the last RBM, by its free
        energy."""
        if not self.labels:
            raise ValueError(f"found {self} without labels; write DBN([...], labels=10)")
        features, found = self.transform(data), []
        for start in range(0, features.shape[0], _BLOCK):
            x = self.device.asarray(features[start : start + _BLOCK], self.dtype)
            energies = []
            for k in range(self.labels):
                label = self.device.zeros((x.shape[0], self.labels), self.dtype)
                label[:, k] = 1
                energies.append(self.top.free_energy(self.device.xp.concatenate([x, label], axis=1)))
            found.append(self.device.to_host(self.device.xp.stack(energies)).argmin(axis=0))
        return np.concatenate(found)

    def fine_tune(
        self,
        data: Any,
        *,
        epochs: int = 10,
        batch_size: int = 100,
        learning: Rule = CD(3),
        optimizer: Optimizer | None = None,
        penalties: Sequence[Penalty] = (),
        binarization: Binarization = None,
        callbacks: Iterable[Callback] = (),
        seed: int | None = None,
        resume: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Contrastive wake-sleep: untie the weights and train all layers together on the rows of `data`; returns the network.

        Awake, recognition draws h from a row, and generation learns to predict each layer from the one above; the last RBM learns by
        `learning` from what arrives there. Asleep, its model's phase is passed down, and recognition learns to predict each layer
        from the one below. `optimizer=None` is SGD(0.01). All else is as for `RBM.fit`. (Hinton, Osindero, Teh 2006, section 5 and
        appendix B.)

        Raises `ValueError` before all layers are trained.
        """
        if self.trained < len(self.layers):
            raise ValueError(
                f"found {self.trained} of {len(self.layers)} layers trained; fine-tuning comes after all of them: write dbn.fit(data) first"
            )
        self.visible_units.check_training(data, "data")
        if binarization is not None and not self.visible_units.grey:
            raise ValueError(f"found binarization={binarization!r} for {self.visible_units}; only binary units have it")
        self.untie_()
        seed = self.seed if seed is None else seed
        batches = Minibatches(data, batch_size, device=self.device, dtype=self.dtype, seed=seed, binarization=binarization)
        step = UpDown(
            self,
            learning,
            optimizer or SGD(0.01),
            batch_size=batch_size,
            steps_per_epoch=len(batches),
            penalties=penalties,
            seed=seed,
        )
        train(step, batches, epochs, callbacks, state=step.stateful() | {"batches": batches}, resume=resume)
        return self

    @property
    def parts(self) -> dict[str, Parameters]:
        """The parameters of each RBM, and of the way down where it has its own."""
        found = {f"layer.{k}": rbm.parameters for k, rbm in enumerate(self.layers)}
        return found if self.tied else found | {f"generative.{k}": rbm.parameters for k, rbm in enumerate(self.generative)}

    def config(self) -> dict[str, Any]:
        """What a file says of this network, besides its parameters."""
        rbms = [rbm.config() for rbm in self.layers]
        return {
            "layers": rbms,
            "labels": self.labels,
            "passed": self.passed,
            "seed": self.seed,
            "trained": self.trained,
            "tied": self.tied,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], device: Device) -> Self:
        """The network, with parameters of its own, that `config` describes."""
        rbms = [RBM.from_config(rbm, device) for rbm in config["layers"]]
        dbn = cls(rbms, labels=config["labels"], passed=config["passed"], seed=config["seed"])
        dbn.trained = config["trained"]
        if not config["tied"]:
            dbn.untie_()
        return dbn

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to one safetensors file (see `storage.save`); read it back with `ebm.load`."""
        storage.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: Any = "auto") -> Self:
        """The network saved at `path`; raises as `ebm.load` does, and for a file of another model."""
        return storage.load(path, device, cls)

    def __repr__(self) -> str:
        rbms = self.layers
        units = [*(rbm.visible.units for rbm in rbms[:-1]), rbms[-1].visible.units, rbms[-1].hidden.units]
        if self.labels:
            first, *rest = rbms[-1].visible.units.members[:-1]
            units[-2] = Joint(first, *rest) if rest else first
        labels = f", labels={self.labels}" if self.labels else ""
        return f"DBN({', '.join(map(repr, units))}{labels}, device={self.device.name!r}, dtype={str(self.dtype)!r})"


def _log_density(units: Units, states: Array, field: Array) -> Array:
    """ln p(x) = field x - e(x) - ln Z(field), (rows,) float64."""
    bias = 0 * field[0]
    return (
        (field * states).sum(axis=1, dtype=np.float64)
        - units.energy(states, bias).astype(np.float64)
        - units.log_partition(field.astype(np.float64))
    )
