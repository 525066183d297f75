"""The training loop. It knows no model: a step is a function of a batch, and what must survive a checkpoint is named by the caller."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from ..compute.device import Array
from . import checkpoints, interruption
from .callbacks import Callback, listed
from .divergence import DivergenceGuard
from .metrics import RunningMeans


class Stateful(Protocol):
    """Something that a checkpoint holds: parameters, optimizer moments, chains, random streams."""

    def state_dict(self) -> dict[str, Any]:
        """The state as host arrays, numbers, strings, lists and dicts with string keys (tuples come back as lists)."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned; raises `ValueError` when it does not fit."""


class Batches(Protocol):
    """The batches of every epoch, addressed and not iterated, so that two integers say where a run is."""

    def __len__(self) -> int:
        """Batches per epoch."""

    def batch(self, epoch: int, index: int) -> Any:
        """Batch `index` of epoch `epoch`, both from 0; the same whenever it is asked for."""


class Run:
    """A training run as its callbacks see it.

    `step` counts the steps done, `metrics` holds the means of the last epoch, `checkpoint` is the last checkpoint file written or
    found, `stop_reason` says why the run ended before its last epoch, and `error` is the exception that ended it.
    """

    def __init__(self, steps_per_epoch: int, epochs: int, callbacks: Iterable[Callback], state: Mapping[str, Stateful]) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.epochs = epochs
        self.callbacks = sorted(callbacks, key=lambda callback: callback.order)
        self.state = state
        self.step = 0
        self.metrics: dict[str, float] = {}
        self.checkpoint: Path | None = None
        self.stop_reason: str | None = None
        self.error: BaseException | None = None
        self._means = RunningMeans()

    @property
    def epoch(self) -> int:
        """Completed epochs."""
        return self.step // self.steps_per_epoch

    @property
    def done(self) -> bool:
        """Whether all epochs are done or a stop was asked for."""
        return self.step >= self.epochs * self.steps_per_epoch or self.stop_reason is not None

    def stop(self, reason: str) -> None:
        """End the run after the current step; the first reason counts."""
        self.stop_reason = self.stop_reason or reason

    def current_metrics(self) -> dict[str, float]:
        """The means since the epoch began, before its first measurement those of the last one (waits for the device)."""
        return self._means.read() or dict(self.metrics)

    def advance(self, metrics: Mapping[str, Array]) -> None:
        """Count a step that returned `metrics`, and at the end of an epoch read the means."""
        self._means.add(metrics)
        self.step += 1
        if self.step % self.steps_per_epoch == 0:
            self.metrics = self._means.read()
            self._means.clear()

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "epochs": self.epochs,
            "steps_per_epoch": self.steps_per_epoch,
            "metrics": self.metrics,
            "means": self._means.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.metrics = state["metrics"]
        self._means.load_state_dict(state["means"])


def train(
    step: Callable[[Any], Mapping[str, Array]],
    batches: Batches,
    epochs: int,
    callbacks: Iterable[Callback] = (),
    state: Mapping[str, Stateful] | None = None,
    resume: str | os.PathLike[str] | None = None,
) -> Run:
    """Call `step(batch)` for every batch of every epoch, and return the run.

    `step` makes one update and returns metrics, arrays of one element on any device (or none, on steps that do not measure); they
    are averaged over the epoch where they live. `state` names what a checkpoint holds. `resume` is a checkpoint or a folder of
    them, whose newest readable one is taken: the run goes on from there, in the middle of an epoch too, as if it had never ended.

    On the main thread Ctrl-C takes effect after the step it falls in, so that the state is whole; then `KeyboardInterrupt` is
    raised. A second Ctrl-C takes effect at once. Raises `ValueError` for no batches, for negative `epochs` and for a checkpoint
    of another run, `ArchiveError` and `FileNotFoundError` for one that cannot be read, `DivergenceError` at the end of an epoch after
    which the parameters in `state` or the metrics of `step` aren't finite.

        >>> import numpy as np
        >>> weight = np.zeros(1)
        >>> class Numbers:
        ...     def __len__(self):
        ...         return 4
        ...     def batch(self, epoch, index):
        ...         return index + 1.0
        >>> def step(x):
        ...     error = 3 * x - weight * x
        ...     weight[...] += 0.1 * error * x
        ...     return {"error": error**2}
        >>> run = train(step, Numbers(), epochs=5)
        >>> run.step, weight.round(3)
        (20, array([3.]))
    """
    steps_per_epoch = len(batches)
    if steps_per_epoch < 1:
        raise ValueError("found no batches; give more rows than the size of a batch, or smaller batches")
    try:
        epochs = operator.index(epochs)
    except TypeError as error:
        raise TypeError(f"found epochs={epochs!r}; expected a whole number") from error
    if epochs < 0:
        raise ValueError(f"found epochs={epochs}; expected 0 or more")
    run = Run(steps_per_epoch, epochs, listed(callbacks), {} if state is None else state)
    if resume is not None:
        checkpoints.restore(run, resume)
    guard = DivergenceGuard(limit=math.inf)
    with interruption.deferred() as interrupt:
        with ExitStack() as ends:
            try:
                for callback in run.callbacks:
                    callback.on_start(run)
                    ends.callback(callback.on_end, run)
                while not run.done and not interrupt.pending:
                    run.advance(step(batches.batch(*divmod(run.step, steps_per_epoch))))
                    for callback in run.callbacks:
                        callback.on_step(run)
                    whole = run.step % steps_per_epoch == 0
                    if whole or run.done:
                        guard.check(run)
                    for callback in run.callbacks if whole else ():
                        callback.on_epoch(run)
                if interrupt.pending:
                    run.stop("interrupted")
            except BaseException as error:
                run.error = error
                raise
        if interrupt.pending:
            resumption = f"; resume={str(run.checkpoint)!r} goes on from there" if run.checkpoint else ""
            raise KeyboardInterrupt(f"stopped after step {run.step} (epoch {run.epoch} of {run.epochs} done){resumption}")
    return run
