"""Progress: a bar with the time left and the metrics that matter."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TextIO

from .callbacks import Callback, Validation

if TYPE_CHECKING:
    from .loop import Run


class Progress(Callback):
    """Shows steps, epoch, time left, the first metric of the step and the latest values of `Validation` on `file` (None: stderr).

    The metrics are read from the device every `seconds` seconds, which also keeps the bar honest where steps run ahead.
    """

    def __init__(self, file: TextIO | None = None, seconds: float = 0.5) -> None:
        self.file = file
        self.seconds = seconds
        self._bar: Any = None
        self._next = 0.0

    def on_start(self, run: Run) -> None:
        from tqdm import tqdm

        total = run.epochs * run.steps_per_epoch
        self._bar = tqdm(total=total, initial=run.step, unit="step", file=self.file, dynamic_ncols=True)
        self._next = time.monotonic() + self.seconds

    def on_step(self, run: Run) -> None:
        self._bar.update()
        if time.monotonic() >= self._next:
            self._show(run)
            self._next = time.monotonic() + self.seconds

    def on_epoch(self, run: Run) -> None:
        self._show(run)

    def on_end(self, run: Run) -> None:
        self._bar.close()

    def _show(self, run: Run) -> None:
        shown = dict(list(run.current_metrics().items())[:1])
        for callback in run.callbacks:
            if isinstance(callback, Validation):
                shown.update(callback.latest)
        self._bar.set_description_str(f"epoch {min(run.epoch + 1, run.epochs)}/{run.epochs}", refresh=False)
        self._bar.set_postfix_str(", ".join(f"{name} {value:.4g}" for name, value in shown.items()))
