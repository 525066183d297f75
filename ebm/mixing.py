"""Mixing: how many steps a chain needs to forget where it was, and how many independent samples it is worth.

With rho(t) the correlation of a quantity with itself t steps later, the mean of N successive values is as accurate as that of N / tau
independent ones, where tau = 1 + 2 sum_(t >= 1) rho(t) is the integrated autocorrelation time.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from .compute.device import Arena
from .compute.gemm import gemm
from .compute.random import Stream
from .learning import Step
from .learning.rule import scheduled
from .training.callbacks import Callback
from .units.base import positive

if TYPE_CHECKING:
    from .training.loop import Run

_FEWEST = 10  # steps of a series
_EXPECTED = 10  # effective samples of each chain over the monitor's updates


def autocorrelation(series: np.ndarray) -> np.ndarray:
    """rho(t) for t = 0, ..., steps - 1, (steps,), of a quantity recorded along chains, `series` (steps, chains):

        rho(t) = c(t) / c(0),   c(t) = sum_(chains, s) (x(s) - m) (x(s + t) - m),

    with m the mean over all chains, so that chains which are stuck at different levels stay correlated. Computed by the Fourier
    transform of the padded series.

    Raises `ValueError` for other shapes, fewer than 10 steps, values that are not finite, and where all are equal.
    """
    x = _checked(series)
    steps = x.shape[0]
    transform = np.fft.rfft(x - x.mean(), 1 << (2 * steps - 1).bit_length(), axis=0)
    power = (transform.real**2 + transform.imag**2).sum(axis=1)
    c = np.fft.irfft(power)[:steps]
    return c / c[0]


def autocorrelation_time(series: np.ndarray) -> float:
    """tau = 1 + 2 sum_(t >= 1) rho(t) in steps, of a `series` (steps, chains); see `autocorrelation`, also for errors.

    The sum ends where noise takes over: pairs rho(2 k) + rho(2 k + 1), which for a reversible chain are positive and decrease, are
    added up to the first that is not positive, none larger than the one before it. (Geyer 1992, "Practical Markov chain
    Monte Carlo", the initial monotone sequence; Gibbs sampling of two layers is reversible when one of them is looked at.) At least
    1 / log10(steps * chains), as in Vehtari et al. 2021. A tau beyond a fiftieth of the steps is itself uncertain; it never exceeds the
    steps.
    """
    rho = autocorrelation(series)
    pairs = rho[: rho.size // 2 * 2].reshape(-1, 2).sum(axis=1)
    noise = np.flatnonzero(pairs <= 0)
    pairs = np.minimum.accumulate(pairs[: noise[0] if noise.size else None])
    return max(2 * float(pairs.sum()) - 1, 1 / math.log10(np.size(series)))


def effective_sample_size(series: np.ndarray) -> float:
    """steps * chains / tau: as many independent draws give the mean of the `series` (steps, chains) as accurately.

    The variance between chains counts: chains that never leave their modes are worth about one sample each, however long they run.
    Where all chains are in one mode, nothing in them tells of others.

    >>> series = np.random.default_rng(1).normal(size=(1000, 4))
    >>> round(effective_sample_size(series), -3)
    4000.0
    >>> round(effective_sample_size(series + 10 * np.arange(4)), 1)
    4.0

    After Vehtari, Gelman, Simpson, Carpenter, Bürkner 2021, "Rank-normalization, folding, and localization: an improved R-hat", whose
    rho(t) has the variance between chains in it too. Raises `ValueError` as `autocorrelation` does.
    """
    return float(np.size(series) / autocorrelation_time(series))


class MixingMonitor(Callback):
    """Says when the persistent chains of a run (of `PCD`, `FastPCD`, `ParallelTempering`) stop mixing.

    After every `every`-th epoch copies of the chains go on for `updates` updates as the learning rule moves them, while the
    parameters stand still; the run is as it would be without. Two quantities are recorded of each chain: the free
    energy, and where it is along the direction in which the chains' hidden states differ most. The metrics are

    - "chain_autocorrelation_time", the larger of the two autocorrelation times, in updates,
    - "chain_effective_sample_size", of all chains together.

    A warning, once a run, says when a chain gives fewer than 10 effective samples: tau > updates / 10. A measurement costs as much as
    so many updates.

    Raises `ValueError` at the start of a run whose rule has no persistent chains, and for word counts, whose chains have lengths of
    their own and with them different free energies.
    """

    order = -1

    def __init__(self, every: int = 5, updates: int = 200) -> None:
        self.every = positive("every", every)
        self.updates = positive("updates", updates, 5 * _EXPECTED)
        self._warned = False

    def on_start(self, run: Run) -> None:
        step: Any = run.state.get("learning")
        if not isinstance(step, Step) or not any(name.startswith("layer.") for name in step.chains):
            rule = step.learning if isinstance(step, Step) else step
            raise ValueError(
                f"found a run with learning={rule!r}, which has no persistent chains to watch; write learning=PCD(5), FastPCD(5) or "
                "ParallelTempering(), or leave MixingMonitor out"
            )
        if step.machine.visible_units.replicated:
            raise ValueError(
                f"found {step.machine.visible_units}; chains of documents of different lengths have no common free energy: leave "
                "MixingMonitor out"
            )
        self._warned = False

    def on_epoch(self, run: Run) -> None:
        if run.epoch % self.every:
            return
        recorded = self._record(run)
        # what never changes in any chain says nothing; where neither quantity does, the chains are frozen
        times = [autocorrelation_time(series) for series in recorded if series.min() != series.max()]
        time = max(times, default=float(self.updates))
        run.metrics["chain_autocorrelation_time"] = time
        run.metrics["chain_effective_sample_size"] = recorded[0].size / time
        if self.updates / time < _EXPECTED and not self._warned:
            self._warned = True
            warnings.warn(
                f"after epoch {run.epoch} the persistent chains hardly mix: {self.updates} updates at fixed parameters take each "
                f"through {self.updates / time:.1f} effective samples (autocorrelation time {time:.0f} updates), expected at least "
                f"{_EXPECTED}. The model's phase of the gradient is then that of old parameters or of a few modes: lower the learning "
                "rate, give the rule more steps, or write learning=ParallelTempering()",
                stacklevel=2,
            )

    def _record(self, run: Run) -> np.ndarray:
        """Free energies and positions, (2, updates, chains) float64."""
        state: Any = run.state
        step, batches = state["learning"], state["batches"]
        machine, device = step.machine, step.machine.device
        watched = next(name for name in step.chains if name.startswith("layer."))
        layer, rule = int(watched.removeprefix("layer.")), scheduled(step.learning, run.epoch)
        chains = {name: array.copy() for name, array in step.chains.items()}
        # a stream for each measurement: nothing to remember when the run is resumed
        stream = Stream(step.stream.seed, f"mixing {run.step}", device)
        arena = Arena()
        direction = device.asarray(_principal_direction(device.to_host(chains[watched]))[:, None], machine.dtype)
        recorded = device.empty((2, self.updates, chains[watched].shape[0]), machine.dtype)
        for i in range(self.updates):
            batch = batches.batch(run.epoch - 1, i % run.steps_per_epoch)
            with device.arena(arena):
                states: Any = rule(machine, batch, chains, stream)[1]
                recorded[0, i] = machine.energy(states) if machine.deep else machine.free_energy(machine.join(states))
                recorded[1, i] = gemm(states[layer], direction)[:, 0]
        return device.to_host(recorded).astype(np.float64)


def _principal_direction(states: np.ndarray) -> np.ndarray:
    """The unit vector along which the rows differ most, (columns,) float64."""
    states = np.nan_to_num(states.astype(np.float64), nan=0, posinf=0, neginf=0)  # a diverged machine is refused by `_checked`
    return np.linalg.svd(states - states.mean(axis=0), full_matrices=False)[2][0]


def _checked(series: Any) -> np.ndarray:
    """A series as float64, if an autocorrelation can be computed from it."""
    series = np.asarray(series)
    if series.dtype.kind not in "fiub":
        raise ValueError(f"found a series of {series.dtype}; expected real numbers")
    if series.ndim != 2 or series.shape[1] < 1:
        hint = "; write series[:, None] for one chain" if series.ndim == 1 else ""
        raise ValueError(f"found a series of shape {series.shape}; expected (steps, chains){hint}")
    if series.shape[0] < _FEWEST:
        hint = "; write series.T if these are chains" if series.shape[1] >= _FEWEST else ""
        raise ValueError(f"found {series.shape[0]} steps; expected at least {_FEWEST}{hint}")
    series = series.astype(np.float64)
    if bad := int(np.count_nonzero(~np.isfinite(series))):
        raise ValueError(
            f"found {bad} of {series.size} values that are not finite; expected finite numbers: a machine whose chains give others has "
            "diverged, train it with a lower learning rate"
        )
    if series.min() == series.max():
        raise ValueError(
            f"found {series.flat[0]:g} at each of {series.shape[0]} steps of {series.shape[1]} chains; expected values that change: a "
            "constant has no autocorrelation, record another quantity or look whether the chains move at all"
        )
    return series
