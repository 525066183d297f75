"""Divergence: a run whose parameters or metrics leave the finite numbers stops and says why."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compute.device import device_of
from .callbacks import Callback, positive

if TYPE_CHECKING:
    from .loop import Run


class DivergenceError(FloatingPointError):
    """Training diverged: a parameter or a metric is NaN, infinite or absurdly large."""


def require_finite(run: Run, limit: float = math.inf) -> None:
    """Raise `DivergenceError` if a parameter, of `run.state["parameters"].named_arrays()`, is NaN, infinite or larger than `limit` in
    absolute value (waits for the device)."""
    parameters: Any = run.state.get("parameters")
    arrays = parameters.named_arrays() if parameters is not None else {}
    for name, array in arrays.items():
        host = device_of(array).to_host(array)
        finite = np.isfinite(host)
        if not finite.all():
            entry = tuple(int(index) for index in np.argwhere(~finite)[0])
            finding = f"{host.size - np.count_nonzero(finite)} of {host.size} entries of {name} are not finite"
            raise _error(run, f"{finding}, such as {host[entry]:g} at {list(entry)}")
        if host.size and np.abs(host).max() > limit:
            entry = tuple(int(index) for index in np.unravel_index(np.abs(host).argmax(), host.shape))
            raise _error(run, f"{name} has grown beyond limit={limit:g}, such as {host[entry]:g} at {list(entry)}")


class DivergenceGuard(Callback):
    """Looks at the parameters and the metrics every `every` steps, at epochs and before checkpoints.

    Raises `DivergenceError` for NaN, infinity and for parameters larger than `limit` in absolute value. The default limit is far beyond
    what a trained model has and within a few steps of where an exploding one arrives. Without a guard a run raises for what isn't finite
    at the end of an epoch, and no checkpoint holds such parameters.
    """

    def __init__(self, every: int = 100, limit: float = 1e3) -> None:
        self.every = positive("every", every)
        self.limit = limit

    def on_step(self, run: Run) -> None:
        if run.step % self.every == 0:
            self.check(run)

    def on_epoch(self, run: Run) -> None:
        self.check(run)

    def on_checkpoint(self, run: Run) -> None:
        self.check(run)

    def check(self, run: Run) -> None:
        """Raise `DivergenceError` if `run` has diverged (waits for the device)."""
        require_finite(run, self.limit)
        for name, value in run.current_metrics().items():
            if not math.isfinite(value):
                raise _error(run, f"the metric {name!r} is {value}")


def _error(run: Run, finding: str) -> DivergenceError:
    return DivergenceError(
        f"after step {run.step} (epoch {run.epoch} of {run.epochs} done) {finding}. Training diverged: lower the "
        "learning rate (first to a tenth) or the momentum, or standardize the data. "
        + (f"The last good checkpoint is {run.checkpoint}" if run.checkpoint else "There is no checkpoint to go back to")
    )
