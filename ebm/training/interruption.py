"""Interruption: Ctrl-C waits for the end of a step, so that nothing is half updated."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Whether Ctrl-C was pressed."""

    pending = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self.pending:
            signal.default_int_handler(signum, frame)
        self.pending = True


@contextmanager
def deferred() -> Iterator[Interruption]:
    """Within the block the first Ctrl-C only sets `pending`; a second one raises `KeyboardInterrupt` at once.

    Only Python's own handling is replaced: off the main thread, and where the program has a handler of its own or ignores the
    signal, nothing changes.
    """
    interruption = Interruption()
    on_main_thread = threading.current_thread() is threading.main_thread()
    if not on_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interruption
        return
    signal.signal(signal.SIGINT, interruption)
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
