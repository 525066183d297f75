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


class DivergenceGuard(Callback):
    """Looks at `run.state["parameters"].named_arrays()` and the metrics every `every` steps, at epochs and before checkpoints.

    Raises `DivergenceError` for NaN, infinity and for parameters larger than `limit` in absolute value, so no checkpoint holds
    them. The default limit is far beyond what a trained model has and within a few steps of where an exploding one arrives.
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
        parameters: Any = run.state.get("parameters")
        arrays = parameters.named_arrays() if parameters is not None else {}
        for name, array in arrays.items():
            host = device_of(array).to_host(array)
            finite = np.isfinite(host)
            if not finite.all():
                entry = tuple(int(index) for index in np.argwhere(~finite)[0])
                raise self._error(
                    run, f"{host.size - np.count_nonzero(finite)} of {host.size} entries of {name} are not finite", entry, host
                )
            if host.size and np.abs(host).max() > self.limit:
                entry = tuple(int(index) for index in np.unravel_index(np.abs(host).argmax(), host.shape))
                raise self._error(run, f"{name} has grown beyond limit={self.limit:g}", entry, host)
        for name, value in run.current_metrics().items():
            if not math.isfinite(value):
                raise self._error(run, f"the metric {name!r} is {value}")

    @staticmethod
    def _error(run: Run, finding: str, entry: tuple[int, ...] = (), host: np.ndarray | None = None) -> DivergenceError:
        example = "" if host is None else f", such as {host[entry]:g} at {list(entry)}"
        return DivergenceError(
            f"after step {run.step} (epoch {run.epoch} of {run.epochs} done) {finding}{example}. Training diverged: lower the "
            "learning rate (first to a tenth) or the momentum, or standardize the data. "
            + (f"The last good checkpoint is {run.checkpoint}" if run.checkpoint else "There is no checkpoint to go back to")
        )
