"""RBM: the restricted Boltzmann machine, one layer of visible and one of hidden units.

E(v, h) = -b v - c h - v W h (for binary units),   p(v, h) = e^-E(v, h) / Z.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from . import storage
from .compute.device import Array, Device
from .compute.gemm import Precision
from .compute.random import Stream
from .data.minibatches import Binarization, Minibatches, dense
from .learning import CD, Rule, Step
from .machine import BoltzmannMachine, Clamp, Layer
from .training.callbacks import Callback, Validation
from .training.divergence import DivergenceError
from .training.loop import Run, train
from .training.optimizers import SGD, Optimizer
from .training.penalties import Penalty
from .units import Bernoulli, Units

# Rows that are evaluated at once when a method walks through a data set.
_BLOCK = 1000


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

    def free_energy(self, v: Array) -> Array:
        """F(v) = -ln sum_h e^-E(v, h), (rows,) nats: ln p(v) = -F(v) - ln Z."""
        field = self.hidden_field(v)
        return self.visible.units.energy(v, self.visible.bias) - self.hidden.units.log_partition(field)

    def reconstruct(self, v: Array) -> Array:
        """E[v | E[h | v]], (rows, visible): one deterministic pass up and down."""
        return self.mean_visible(self.mean_hidden(v), like=v)

    def squared_error(self, v: Array) -> Array:
        """sum_i (v_i - reconstruct(v)_i)^2, averaged over the rows; a scalar on the device."""
        difference = v - self.reconstruct(v)
        return (difference * difference).sum() / v.shape[0]

    def transform(self, data: np.ndarray) -> np.ndarray:
        """E[h | v] for every row of a host array, (rows, hidden), computed in blocks."""
        self.visible.units.check(data, "data")
        blocks = (dense(data[i : i + _BLOCK]) for i in range(0, data.shape[0], _BLOCK))
        means = (self.mean_hidden(self.device.asarray(block, self.dtype)) for block in blocks)
        return np.concatenate([self.device.to_host(mean) for mean in means])

    def sample(
        self,
        n: int,
        steps: int = 1000,
        *,
        clamp: tuple[Any, Any] | None = None,
        start: Any = None,
        beta: float | Sequence[float] = 1.0,
        seed: int | None = None,
    ) -> np.ndarray:
        """n samples of the visible units after `steps` steps of Gibbs sampling, (n, visible), on the host.

        `clamp=(mask, values)` holds the units where `mask` (visible,) or (n, visible) is true at `values` of such a shape, and
        samples the rest given them (inpainting). Chains start at `start` (n, visible), else at a draw from the visible biases.
        `beta` is an inverse temperature, or one for each step: samples are of p(v, h)^beta. The same `seed` gives the same samples.

        Raises `ValueError` for masks, values and starts of other shapes or with values that the units can't take.
        """
        if not all(isinstance(number, (int, np.integer)) and number >= 1 for number in (n, steps)):
            raise ValueError(f"found n={n}, steps={steps}; expected whole numbers >= 1")
        betas = np.broadcast_to(np.asarray(beta, float), (steps,)) if np.ndim(beta) == 0 else np.asarray(beta, float)
        if betas.shape != (steps,) or not np.isfinite(betas).all() or (betas < 0).any():
            found = f"of shape {betas.shape} with values in [{betas.min()}, {betas.max()}]" if betas.size else "without values"
            raise ValueError(f"found beta {found}; expected a finite number >= 0, or one for each of {steps} steps")
        if (betas == 0).any() and not all(layer.units.discrete for layer in self.layers):
            raise ValueError("found beta=0; at infinite temperature real-valued units have no distribution: expected beta > 0")
        if start is None and self.visible.units.replicated:
            raise ValueError("word counts are sampled at given document lengths; write start=counts of documents so long")
        self.require_finite()
        stream = Stream(seed, "sample", self.device)
        held = None if clamp is None else self._clamp(clamp, n)
        if start is None:
            field = self.device.zeros((n, self.visible.units.size), self.dtype) + self.visible.bias
            v = self.visible.units.sample(field, stream)
        else:
            v = self.device.asarray(start.toarray() if hasattr(start, "toarray") else start, self.dtype)
            if v.shape != (n, self.visible.units.size):
                raise ValueError(f"start: found shape {v.shape}; expected {(n, self.visible.units.size)}")
            self.visible.units.check(self.device.to_host(v), "start")
        states: list[Array] = [v if held is None else self.device.xp.where(held[0], held[1], v), None]
        for b in betas:
            states = self.sweep(states, "sample", stream, beta=float(b), clamp=None if held is None else {0: held})
        return self.device.to_host(states[0])

    def _clamp(self, clamp: tuple[Any, Any], n: int) -> Clamp:
        """Mask and values on the device, checked; what lies outside the mask may be anything, NaN too."""
        shape = (n, self.visible.units.size)
        try:
            mask, values = (np.asarray(x) for x in clamp)
        except (TypeError, ValueError) as error:
            raise ValueError(f"clamp: found {type(clamp).__name__}; expected a pair (mask, values) of host arrays") from error
        for name, x in (("mask", mask), ("values", values)):
            if x.shape not in (shape, shape[1:]):
                raise ValueError(f"clamp: found {name} of shape {x.shape}; expected {shape} or {shape[1:]}")
        if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
            raise ValueError("clamp: found a mask with values other than 0 and 1; expected booleans: True holds a unit")
        mask, values = np.broadcast_arrays(mask.astype(bool), values)
        kept = np.where(mask, values, 0)
        mask, kept = np.broadcast_to(mask, shape), np.broadcast_to(kept, shape)
        self.visible.units.check_clamp(mask, kept)
        return self.device.asarray(mask), self.device.asarray(kept, self.dtype)

    def initialize_bias_(self, data: np.ndarray) -> None:
        """Set the visible biases so that the visible units alone have the mean of `data` (Hinton 2010, section 8)."""
        bias = self.visible.units.bias_from_data(data, self.device)
        self.visible.bias[...] = bias.astype(self.dtype)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the machine to one safetensors file (see `storage.save`); read it back with `ebm.load`."""
        storage.save(self, path)

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
        machine's) fixes the order of rows and all draws. `resume` goes on from a checkpoint, bit for bit.

        Raises `ValueError` for data that don't fit, before anything changes; after Ctrl-C, an error or a full disk the machine
        holds the parameters of its last whole step.
        """
        self.visible.units.check_training(data, "data")
        if validation is not None:
            self.visible.units.check(validation, "validation")
            callbacks = [Validation(lambda: self._validate(validation, data)), *callbacks]
        self._train(
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

    def _train(
        self,
        data: Any,
        *,
        epochs: int,
        batch_size: int,
        learning: Rule,
        optimizer: Optimizer | None,
        penalties: Sequence[Penalty],
        binarization: Binarization,
        centered: bool,
        callbacks: Iterable[Callback],
        seed: int | None = None,
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        """`fit` on rows that the caller has checked."""
        if binarization is not None and not isinstance(self.visible.units, Bernoulli):
            raise ValueError(f"found binarization={binarization!r} for {self.visible.units}; only binary units have it")
        if centered and self.visible.units.replicated:
            raise ValueError("found centered=True for word counts, whose hidden bias counts once a word; write centered=False")
        seed = self.seed if seed is None else seed
        batches = Minibatches(data, batch_size, device=self.device, dtype=self.dtype, seed=seed, binarization=binarization)
        step = Step(
            self,
            learning,
            optimizer or SGD(0.05 if all(layer.units.discrete for layer in self.layers) else 0.01, momentum=0.5),
            batch_size=batch_size,
            steps_per_epoch=len(batches),
            penalties=penalties,
            centered=centered,
            seed=seed,
        )
        callbacks = [*callbacks, _Bounds(self, data)]
        train(step, batches, epochs, callbacks, state=step.stateful() | {"batches": batches}, resume=resume)

    def _validate(self, validation: np.ndarray, data: np.ndarray) -> Mapping[str, float]:
        rows = min(validation.shape[0], data.shape[0])
        total = np.zeros(3)
        for start in range(0, rows, _BLOCK):
            stop = min(start + _BLOCK, rows)
            held, seen = (self.device.asarray(dense(x[start:stop]), self.dtype) for x in (validation, data))
            sums = self.free_energy(held).sum(), self.free_energy(seen).sum(), self.squared_error(held) * (stop - start)
            total += [float(self.device.to_host(x)) for x in sums]
        return {"validation_reconstruction": total[2] / rows, "free_energy_gap": (total[0] - total[1]) / rows}


class _Bounds(Callback):
    """Sets the biases from the data when nothing can refuse the run any more, and a resumed one has its parameters back; ends a
    run whose machine has lost its partition function."""

    order = 2

    def __init__(self, rbm: RBM, data: np.ndarray) -> None:
        self.rbm, self.data = rbm, data

    def on_start(self, run: Run) -> None:
        self.rbm.require_finite()
        if run.step == 0 and not self.rbm.device.to_host(self.rbm.visible.bias).any():
            self.rbm.initialize_bias_(self.data)

    def on_epoch(self, run: Run) -> None:
        try:
            self.rbm.require_finite()
        except ValueError as error:
            raise DivergenceError(f"after epoch {run.epoch}: {error}") from error
