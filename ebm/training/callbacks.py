"""Callbacks: what happens beside training, and the three that look at metrics (validation, best value, early stopping)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from .loop import Run


class Callback:
    """Called by `train` at the start, after each step, after each epoch, before a checkpoint is written, and at the end.

    `on_end` is called whenever `on_start` returned, also when training fails; `run.error` then holds the exception. Callbacks
    are called by ascending `order`, those of equal order as given, and at the end in reverse. What `state_dict` returns is saved
    in checkpoints and given back before `on_start` of a resumed run.
    """

    order: ClassVar[int] = 0

    def on_start(self, run: Run) -> None:
        """Before the first step."""

    def on_step(self, run: Run) -> None:
        """After each step; reading from the device here costs a synchronization, so do it every n steps only."""

    def on_epoch(self, run: Run) -> None:
        """After the last step of an epoch, when `run.metrics` holds its means."""

    def on_checkpoint(self, run: Run) -> None:
        """Before a checkpoint is written; an exception prevents it."""

    def on_end(self, run: Run) -> None:
        """After the last step, whatever ended the run."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: host arrays, numbers, strings, lists and dicts."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""


class Validation(Callback):
    """Adds what `function()` returns, such as `{"validation free energy": 3.2}`, to the metrics after every `every`-th epoch.

    It comes before all other callbacks, so that they see its metrics. `latest` holds the last values.
    Raises `TypeError` when the function returns no mapping, `ValueError` when a name is that of another metric.
    """

    order = -1

    def __init__(self, function: Callable[[], Mapping[str, float]], every: int = 1) -> None:
        self.function = function
        self.every = positive("every", every)
        self.latest: dict[str, float] = {}

    def on_epoch(self, run: Run) -> None:
        if run.epoch % self.every:
            return
        values = self.function()
        if not isinstance(values, Mapping):
            raise TypeError(
                f"validation returned {type(values).__name__}; expected a mapping such as {{'validation error': 0.1}}"
            )
        if taken := values.keys() & run.metrics.keys():
            raise ValueError(f"validation returned {sorted(taken)}, which are metrics already; give them names of their own")
        self.latest = {name: float(value) for name, value in values.items()}
        run.metrics.update(self.latest)

    def state_dict(self) -> dict[str, Any]:
        return dict(self.latest)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.latest = state


class Best:
    """The best value of a metric so far, and the epoch that gave it (0: none yet).

    A value is better when it is finite and beats the old one by more than `min_delta`.
    """

    def __init__(self, metric: str, minimize: bool = True, min_delta: float = 0.0) -> None:
        self.metric = metric
        self.minimize = minimize
        self.min_delta = min_delta
        self.value: float | None = None
        self.epoch = 0

    def update(self, run: Run) -> bool:
        """Whether this epoch's value is the best; epochs without one never are."""
        value = run.metrics.get(self.metric, math.nan)
        if not math.isfinite(value):
            return False
        if self.value is not None and (self.value - value if self.minimize else value - self.value) <= self.min_delta:
            return False
        self.value, self.epoch = value, run.epoch
        return True

    def reset(self) -> None:
        """Forget the values of an earlier run."""
        self.value, self.epoch = None, 0

    def state_dict(self) -> dict[str, Any]:
        return {"metric": self.metric, "value": self.value, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["metric"] == self.metric:  # the value of another metric is no yardstick
            self.value, self.epoch = state["value"], state["epoch"]


class EarlyStopping(Callback):
    """Stops when `metric` has not improved by more than `min_delta` for `patience` epochs; `best` holds the best value and epoch.

    Raises `ValueError` when no epoch within the patience had a finite value of that name. To get the best parameters back, have a
    `Checkpoint(directory, best=metric)` and load the model from its file, `ebm.load("directory/best.safetensors")`.
    """

    def __init__(self, metric: str, patience: int, minimize: bool = True, min_delta: float = 0.0) -> None:
        self.best = Best(metric, minimize, min_delta)
        self.patience = positive("patience", patience)

    def on_start(self, run: Run) -> None:
        if run.step == 0:
            self.best.reset()
        elif self.best.epoch:
            self._judge(run)

    def on_epoch(self, run: Run) -> None:
        self.best.update(run)
        self._judge(run)

    def _judge(self, run: Run) -> None:
        if run.epoch - self.best.epoch < self.patience:
            return
        metric = self.best.metric
        if self.best.value is None:
            raise ValueError(f"found no finite metric {metric!r} in {run.epoch} epochs; the metrics are {run.metrics}")
        run.stop(f"{metric} has not improved on {self.best.value:.6g} since epoch {self.best.epoch}")

    def state_dict(self) -> dict[str, Any]:
        return self.best.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best.load_state_dict(state)


def listed(callbacks: Iterable[Callback]) -> list[Callback]:
    """The callbacks as a list. Raises `TypeError` for a single one and for what is none."""
    if isinstance(callbacks, Callback):
        raise TypeError(f"found a {type(callbacks).__name__} as callbacks; expected a list: write callbacks=[...]")
    found = list(callbacks)
    for callback in found:
        if not isinstance(callback, Callback):
            raise TypeError(
                f"found {callback!r} among the callbacks; expected objects of classes made from ebm.training.Callback, such as Progress()"
            )
    return found


def positive(name: str, value: int) -> int:
    """`value`, if it is an integer of at least 1; else raises `ValueError` with its name."""
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"found {name}={value!r}; expected an integer of at least 1")
    return value
