"""DBN: the deep belief network, a directed network of layers under an RBM.

p(v, h1, ..., hL) = p(v | h1) ... p(h(L-2) | h(L-1)) p(h(L-1), hL), the last factor an RBM's, the others those of sigmoid layers (or
other units).

Hinton, Osindero, Teh 2006, "A fast learning algorithm for deep belief nets".
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np

from . import storage
from .ancestral import ancestral
from .compute.device import Array, Device
from .compute.gemm import Precision
from .compute.random import Stream
from .data.minibatches import Binarization, Minibatches, in_blocks
from .learning import CD, Rule
from .rbm import RBM
from .stack import Stack
from .training.callbacks import Callback
from .training.checkpoints import Description
from .training.loop import train
from .training.optimizers import SGD, Optimizer
from .training.parameters import Parameters
from .training.penalties import Penalty
from .units import Joint, Softmax, Units, as_units
from .up_down import UpDown


class DBN(storage.Described, Stack):
    """A deep belief network of `layers`, visible first: numbers (of Bernoulli units) and units, or RBMs that are trained already.

    `labels=10` adds ten categories as softmax units to the visible side of the last RBM; rows of data, samples and clamps then have
    ten more columns. `layers[k]` are the RBMs: their `mean_hidden` recognizes, upward. `generative[k]`, for all but the last, have
    the weights for the way down; they are the RBMs themselves until `fine_tune` unties them. `visible_units` are those that a row of
    data holds the states of. `passed` as for `Stack`.

    Raises `ValueError` for RBMs whose units, devices or dtypes don't fit each other, and for labels beside word counts.

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
        if rbms and len(rbms) < len(layers):
            raise TypeError(f"found layers={layers!r}; expected sizes and units, or RBMs, and not both")
        trained = len(rbms)
        if not rbms:
            units = [as_units(layer) for layer in layers if not isinstance(layer, RBM)]
            if len(units) < 2:
                raise ValueError(f"found layers={layers!r}; expected at least two, visible and hidden")
            for k, (lower, upper) in enumerate(itertools.pairwise(units)):
                visible = _beside(lower, labels) if k == len(units) - 2 else lower
                rbms.append(RBM(visible, upper, device=device, dtype=dtype, seed=seed + k, precision=precision))
        super().__init__(rbms, labels=labels, passed=passed, seed=seed)
        self.trained = trained
        self.generative: list[RBM] = self.layers[:-1]
        self.device, self.dtype = self.top.device, self.top.dtype
        first = self.layers[0].visible.units
        self._features = _without(first) if labels and len(self.layers) == 1 else first
        self.visible_units = _beside(self._features, labels)

    def _check(self, layer: RBM, labels: int) -> None:
        below = self.layers[-1] if self.layers else layer
        if layer.device is not below.device or layer.dtype != below.dtype:
            raise ValueError(f"found {layer} above {below}; expected RBMs of one device and one dtype")
        found = layer.visible.units
        features = below.hidden.units if self.layers else _without(found) if labels else found
        if found != (expected := _beside(features, labels)):
            raise ValueError(
                f"layer {len(self.layers)}, {layer}, has visible {found}; expected {expected}"
                + (", the hidden units of the one below" if self.layers else "")
                + (f" beside {labels} labels" if labels else "")
            )
        super()._check(layer, labels)

    @property
    def top(self) -> RBM:
        """The RBM of the last two layers."""
        return self.layers[-1]

    @property
    def tied(self) -> bool:
        """Whether recognition and generation share their weights."""
        return all(a is b for a, b in zip(self.generative, self.layers, strict=False))

    def untie_(self) -> None:
        """Give the way down weights of its own, equal to those of the way up."""
        if not self.tied:
            return
        self.generative = []
        for rbm in self.layers[:-1]:
            buffer = self.device.empty(rbm.parameters.buffer.shape, self.dtype)
            buffer[...] = rbm.parameters.buffer
            self.generative.append(rbm.with_parameters(rbm.parameters.over(buffer)))

    def add(self, layer: int | Units | RBM) -> None:
        """Put a further layer, to be trained by the next `fit`, on top: units, or an RBM whose visible units are those of the last layer.
        (With an RBM that is trained already write `DBN([*dbn.layers, rbm])`.)

        Raises `ValueError` for units that do not fit, above labels, and where the weights are untied.
        """
        if not self.tied:
            raise ValueError("found a network that was fine-tuned; add layers before fine_tune")
        if not isinstance(layer, RBM):
            options: dict[str, Any] = {"device": self.device, "dtype": self.dtype, "precision": self.top.precision}
            layer = RBM(self.top.hidden.units, as_units(layer), seed=self.seed + len(self.layers), **options)
        super().add(layer)
        self.generative = self.layers[:-1]

    def fit(self, data: Any, **settings: Any) -> Self:
        """Pretrain: train the layers greedily, from the bottom up, with the settings of `Stack.fit`, those of `RBM.fit` for every layer
        among them.

        Raises `ValueError` also for rows and labels that aren't states of the visible units, before anything changes, for a network that
        was fine-tuned, and for softmax units between two RBMs whose means are passed: they are no states.
        """
        if not self.tied:
            raise ValueError(
                "found a network that was fine-tuned; pretraining comes first: write fine_tune(...) to go on, or build it anew"
            )
        between = [rbm.hidden.units for rbm in self.layers[:-1]]
        if self.passed == "means" and (found := [u for u in between if any(isinstance(m, Softmax) for m in _members(u))]):
            raise ValueError(
                f"found passed='means' with {found[0]} between two RBMs; its means are no states, which the upper one learns from: write "
                f"DBN([...], passed='samples')"
            )
        return super().fit(data, **settings)

    def _split(self, data: Any, name: str) -> tuple[Any, Any]:
        self.visible_units.check(data, name)
        return super()._split(data, name)

    def _unlabeled(self, data: Any) -> Any:
        rows = super()._unlabeled(data)
        self._features.check(rows, "data")
        return rows

    def transform(self, data: Any) -> np.ndarray:
        """The means of the last layer, (rows, size), for rows of a host array; with labels those of the layer below it, which depend on
        none: rows may have them or not."""
        return np.concatenate([self.device.to_host(self.up(x)) for x in self._blocks(data)])

    encode = transform

    def reconstruct(self, data: Any) -> np.ndarray:
        """The means of the visible units after one deterministic pass up and down, (rows, visible), for rows of a host array.

        With labels the pass ends below the last RBM, as that of `transform`: rows may have them or not.
        """
        return np.concatenate([self.device.to_host(self.up_and_down(x)) for x in self._blocks(data)])

    def _blocks(self, data: Any) -> Iterator[Array]:
        """Rows without labels, some at a time on the device."""
        return in_blocks(self._unlabeled(data), self.device, self.dtype)

    def up(self, x: Array) -> Array:
        """What `transform` says of rows without labels on the device."""
        for rbm in self.layers[:-1] if self.labels else self.layers:
            x = rbm.mean_hidden(x)
        return x

    def up_and_down(self, x: Array) -> Array:
        """What `reconstruct` says of rows without labels on the device."""
        like, x = x, self.up(x)
        for rbm in reversed(self.generative if self.labels else [*self.generative, self.top]):
            x = rbm.mean_visible(x, like=like)
        return x

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
        down. Chains start at a pass up from the rows `start` (n, visible), else at a draw from the visible biases of the last RBM.

        Raises `ValueError` as `RBM.sample` does.
        """
        if len(self.layers) == 1:
            return self.top.sample(n, steps, clamp=clamp, start=start, means=means, seed=seed)
        return ancestral(self, n, steps, clamp, start, means, seed)

    def apart(self, x: Array) -> tuple[Array, Array | None]:
        """What comes before the labels in the columns of an array on the device, and the labels, None where the network has none."""
        if not self.labels:
            return x, None
        return self.device.xp.ascontiguousarray(x[:, : -self.labels]), x[:, -self.labels :]

    def together(self, x: Array, labels: Array | None) -> Array:
        """The columns that `apart` takes apart."""
        return x if labels is None else self.device.xp.concatenate([x, labels], axis=1)

    def log_weights(self, v: Array, stream: Stream) -> Array:
        """ln p(v, h) + ln Z - ln q(h | v) of one sample h ~ q(h | v) for each row, (rows,) float64 on the device.

        h are the layers below the last RBM's hidden one, which is summed; q is recognition, Z the last RBM's partition function. The
        mean is a lower bound of ln p(v) + ln Z, and the mean of the exponentials is p(v) Z. Of word counts p(v) is the probability of
        one ordered document, given its length.
        """
        if v.ndim != 2 or v.shape[1] != self.visible_units.size:
            beside = f", {self.labels} of them labels" if self.labels else ""
            raise ValueError(f"v: found shape {v.shape}; expected (rows, {self.visible_units.size}){beside}")
        x, labels = self.apart(v)
        total = self.device.zeros(v.shape[0], np.float64)
        for rbm, down in zip(self.layers[:-1], self.generative, strict=True):
            up = rbm.hidden_field(x)
            h = rbm.hidden.units.sample(up.copy(), stream)
            total -= _log_density(rbm.hidden.units, h, up)
            total += _log_density(down.visible.units.like(x), x, down.full_precision.visible_field(h))
            x = h
        total -= self.top.full_precision.free_energy(self.together(x, labels))
        return total

    def predict(self, data: Any) -> np.ndarray:
        """The most likely label of each row, (rows,), which may have labels or not: given the means of the layer below the last RBM, by its
        free energy."""
        if not self.labels:
            raise ValueError(f"found {self} without labels; write DBN([...], labels=10)")
        found = []
        for block in self._blocks(data):
            x, energies = self.up(block), []
            for k in range(self.labels):
                label = self.device.zeros((x.shape[0], self.labels), self.dtype)
                label[:, k] = 1
                energies.append(self.top.free_energy(self.together(x, label)))
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

        Raises `ValueError` before all layers are trained, and for data that don't fit; `TypeError` for rules whose model's phase are not
        rows.
        """
        if self.trained < len(self.layers):
            raise ValueError(
                f"found {self.trained} of {len(self.layers)} layers trained; fine-tuning comes after all of them: write dbn.fit(data) first"
            )
        self.visible_units.check_training(data, "data")
        if binarization is not None and not self.visible_units.grey:
            raise ValueError(f"found binarization={binarization!r} for {self.visible_units}; only binary units have it")
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
        state = step.stateful() | {"batches": batches, "model": Description(storage.description(self))}
        train(step, batches, epochs, callbacks, state=state, resume=resume)
        return self

    @property
    def parts(self) -> dict[str, Parameters]:
        """The parameters of each RBM, and of the way down where it has its own."""
        found = {f"layer.{k}": rbm.parameters for k, rbm in enumerate(self.layers)}
        return found if self.tied else found | {f"generative.{k}": rbm.parameters for k, rbm in enumerate(self.generative)}

    def config(self) -> dict[str, Any]:
        """What a file says of this network, besides its parameters."""
        return {
            "layers": [rbm.config() for rbm in self.layers],
            "seeds": [rbm.seed for rbm in self.layers],
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
        for rbm, seed in zip(rbms, config["seeds"], strict=True):
            rbm.seed = seed
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
        units = [*(rbm.visible.units for rbm in self.layers), self.top.hidden.units]
        if self.labels:
            units[-2] = _without(units[-2])
        labels = f", labels={self.labels}" if self.labels else ""
        return f"DBN({', '.join(map(repr, units))}{labels}, device={self.device.name!r}, dtype={str(self.dtype)!r})"


def _beside(units: Units, labels: int) -> Units:
    """The units with softmax ones for the labels after them."""
    if not labels:
        return units
    if units.replicated:
        raise ValueError(
            f"found labels={labels} beside {units}; labels are no words: leave them out, and classify by transform(data)"
        )
    return Joint(*_members(units), Softmax(labels))


def _members(units: Units) -> list[Units]:
    return units.members if isinstance(units, Joint) else [units]


def _without(units: Units) -> Units:
    """The units before the labels, where there are some."""
    if not isinstance(units, Joint):
        return units
    first, *rest = units.members[:-1]
    return Joint(first, *rest) if rest else first


def _log_density(units: Units, states: Array, field: Array) -> Array:
    """ln p(x) = field x - e(x) - ln Z(field), (rows,) float64."""
    bias = 0 * field[0]
    return (
        (field * states).sum(axis=1, dtype=np.float64)
        - units.energy(states, bias).astype(np.float64)
        - units.log_partition(field.astype(np.float64))
    )
