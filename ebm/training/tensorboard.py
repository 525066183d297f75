"""TensorBoard: the metrics of each epoch as event files, through the `tensorboard` package alone."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from .callbacks import Callback

if TYPE_CHECKING:
    from .loop import Run


class TensorBoard(Callback):
    """Writes the metrics of each epoch to `directory`, which `tensorboard --logdir directory` shows.

    Points of an earlier run in the same folder that lie behind the start of this one are taken out of the picture, so a resumed
    run has each of its epochs once. Raises `ImportError` where the package is missing.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = os.fspath(directory)
        self._writer: Any = None

    def on_start(self, run: Run) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise ImportError("TensorBoard(...) needs a package more: pip install 'ebm-toolkit[tensorboard]'") from error
        self._writer = EventFileWriter(self.directory)
        self._writer.add_event(Event(step=run.step + 1, session_log=SessionLog(status=SessionLog.START), wall_time=time.time()))

    def on_epoch(self, run: Run) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in run.metrics.items()]
        self._writer.add_event(Event(step=run.step, wall_time=time.time(), summary=Summary(value=values)))
        self._writer.flush()

    def on_end(self, run: Run) -> None:
        self._writer.close()
