"""CUDA's streams, events and page-locked memory without a GPU: a stream is either ahead of all others or behind them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np


class Stream:
    """Work in the order of its arrival, done at once or not before the host or another stream waits for it."""

    def __init__(self, at_once: bool) -> None:
        self.at_once = at_once
        self.queue = deque[Callable[[], object]]()
        self.submitted = self.done = 0

    def submit(self, work: Callable[[], object]) -> None:
        self.queue.append(work)
        self.submitted += 1
        if self.at_once:
            self.synchronize()

    def go_on_to(self, count: int) -> None:
        while self.done < count:
            self.done += 1
            self.queue.popleft()()

    def synchronize(self) -> None:
        self.go_on_to(self.submitted)

    def wait_event(self, event: Event) -> None:
        # for what is recorded now, whatever the event is recorded for later
        if event.stream is not None:
            stream, count = event.stream, event.count
            self.submit(lambda: stream.go_on_to(count))


class Event:
    """A place in a stream's work; nothing before it is recorded."""

    def __init__(self, *, disable_timing: bool) -> None:
        assert disable_timing, "an event that takes the time costs time"
        self.stream: Stream | None = None
        self.count = 0

    def record(self, stream: Stream) -> None:
        self.stream, self.count = stream, stream.submitted

    def synchronize(self) -> None:
        if self.stream is not None:
            self.stream.go_on_to(self.count)


class Pinned(bytearray):
    """Page-locked memory."""


class Cuda:
    """What `cupy.cuda` has, as far as `Upload` uses it, with a current stream and others that are ahead (`at_once`) or late."""

    Event = Event

    def __init__(self, current_at_once: bool = True, others_at_once: bool = False) -> None:
        self.current = Stream(current_at_once)
        self.others_at_once = others_at_once

    def Stream(self, *, non_blocking: bool) -> Stream:
        assert non_blocking, "the default stream and others that block take turns, nothing overlaps"
        return Stream(self.others_at_once)

    def get_current_stream(self) -> Stream:
        return self.current

    def alloc_pinned_memory(self, size: int) -> Pinned:
        return Pinned(b"\xff" * size)


def copy_later(target: np.ndarray, source: Any, stream: Stream) -> None:
    """`cupy.ndarray.set` on a stream: reads `source` when the stream gets there."""
    assert isinstance(source.base, Pinned), "a copy from pageable memory makes the host wait"
    assert (source.dtype, source.shape) == (target.dtype, target.shape), "ndarray.set converts nothing"
    stream.submit(lambda: np.copyto(target, source))
