"""Graph: the work of a step, captured once on a GPU and replayed; a plain call on a CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from .device import Arena, Array, Device

# Calls before a capture: kernels are compiled, libraries have their memory.
_CALLS = 2
# More kinds of step than a run has; whose kind is another each time (momentum by a smooth schedule) is never captured.
_KINDS = 16


class Graph:
    """Repeats a function of no arguments that queues a fixed sequence of operations on `device`, in memory that stays.

    `graph(function, inputs, kind)` returns what `function` returns; `device.empty` gives it the memory of earlier calls. On a GPU
    the third call of a `kind` is captured into a CUDA graph, and further ones replay that: the function itself isn't called any more,
    so that what changes from call to call must lie in device memory, and nothing in it may make the host wait. Returned arrays are
    overwritten by a replay.

    `inputs` are the arrays, not the function's own, that it reads; where others come, all is captured anew. `kind` is everything else that
    the sequence depends on. What can't be told so is called with `capture=False`.
    """

    def __init__(self, device: Device) -> None:
        self.device, self._arena = device, Arena()
        self._inputs: Sequence[Array] = ()
        # how often a kind was called, and then what replays it and what it returned
        self._known: dict[Hashable, int | tuple[Callable[[], None], Any]] = {}

    def __call__(
        self, function: Callable[[], Any], inputs: Sequence[Array] = (), kind: Hashable = None, *, capture: bool = True
    ) -> Any:
        if not (self.device.captures and capture):
            return self._called(function)
        if len(inputs) != len(self._inputs) or any(x is not y for x, y in zip(inputs, self._inputs, strict=True)):
            self._known.clear()
            self._inputs = inputs
        known = self._known.get(kind, 0)
        if isinstance(known, int):
            if known < _CALLS:
                if len(self._known) == _KINDS:
                    self._known.clear()
                self._known[kind] = known + 1
                return self._called(function)
            self._known[kind] = replay, result = self.device.capture(functools.partial(self._called, function))
            return result
        replay, result = known
        replay()
        return result

    def _called(self, function: Callable[[], Any]) -> Any:
        with self.device.arena(self._arena):
            return function()
