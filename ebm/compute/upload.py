"""Upload: batches of host data on their way to a GPU, copied while it works on what came before."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from .device import Array, Device


class Upload:
    """Arrays of one shape and dtype from the host to a GPU, one after the other.

    Fill `room()`, `send()` it, and `receive(out)` later puts it into an array of that shape, of any dtype, on the device. The host waits
    in `room` only, until the array sent before the last is copied, so that it stays some steps ahead of the device. What was sent and not
    received gives way to what is sent next.
    """

    def __init__(self, device: Device, shape: Sequence[int], dtype: Any) -> None:
        self._cuda = cuda = device.xp.cuda
        size = math.prod(shape) * np.dtype(dtype).itemsize
        # one is filled while the other is copied; from pageable memory a copy would not run beside the host
        self._pinned = [np.ndarray(shape, dtype, cuda.alloc_pinned_memory(size)) for _ in range(2)]
        self._turn = 0
        self._landing = device.empty(shape, dtype)
        # one that does not wait for the default stream
        self._copies = cuda.Stream(non_blocking=True)
        self._sent = [cuda.Event(disable_timing=True) for _ in range(2)]
        # the landing's memory, too, may have been somebody else's a moment ago
        self._received = cuda.Event(disable_timing=True)
        self._received.record(cuda.get_current_stream())
        # nor may it become somebody else's while a copy runs that nobody asked for
        weakref.finalize(self, self._copies.synchronize)

    def room(self) -> np.ndarray:
        """The host array to fill next, with the content of any time before."""
        self._sent[self._turn].synchronize()
        return self._pinned[self._turn]

    def send(self) -> None:
        """Begin the copy of `room()` to the device, as soon as what was received before has left its place there."""
        self._copies.wait_event(self._received)
        self._landing.set(self._pinned[self._turn], stream=self._copies)
        self._sent[self._turn].record(self._copies)
        self._turn = 1 - self._turn

    def receive(self, out: Array) -> None:
        """Put what was sent last into `out`, before the work that is queued from now on."""
        current = self._cuda.get_current_stream()
        current.wait_event(self._sent[1 - self._turn])
        out[...] = self._landing
        self._received.record(current)
