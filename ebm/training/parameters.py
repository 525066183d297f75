"""Parameters: named arrays that are views into one contiguous buffer, so that an optimizer's step is one kernel."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compute.device import ALIGNMENT, CPU, Array, Device


@dataclass
class Segment:
    """A parameter's place in the buffer and how it is trained: a factor on the learning rate, and whether it stands still."""

    start: int
    stop: int
    shape: tuple[int, ...]
    rate: float = 1.0
    frozen: bool = False

    @property
    def is_weights(self) -> bool:
        """Whether norm penalties apply: to matrices, not to biases."""
        return len(self.shape) > 1


class Parameters:
    """Arrays of zeros of the given names and shapes in one buffer, each beginning on a cache line.

    `parameters["weights"]` is a writable view; `segments` is the table beside the buffer.

    >>> parameters = Parameters({"weights": (3, 2), "bias": (2,)})
    >>> parameters["weights"][:] = 1
    >>> parameters["weights"].sum(), parameters.buffer.size
    (np.float32(6.0), 32)
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], dtype: Any = np.float32, device: Device = CPU) -> None:
        self.dtype = np.dtype(dtype)
        self.device = device
        self.segments: dict[str, Segment] = {}
        end = 0
        line = ALIGNMENT // self.dtype.itemsize
        for name, shape in shapes.items():
            size = math.prod(shape)
            self.segments[name] = Segment(end, end + size, tuple(shape))
            end += -(-size // line) * line
        self._view(device.zeros(end, self.dtype))

    def _view(self, buffer: Array) -> None:
        self.buffer = buffer
        self._views = {name: buffer[s.start : s.stop].reshape(s.shape) for name, s in self.segments.items()}

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def named_arrays(self) -> dict[str, Array]:
        """The views by name."""
        return dict(self._views)

    def over(self, buffer: Array) -> Parameters:
        """Views of the same names and places, under the same table, into another buffer of this size."""
        parameters = copy.copy(self)
        parameters._view(buffer)
        return parameters

    def zeros_like(self) -> Parameters:
        """Zeros in the same layout: for gradients and moments."""
        return Parameters({name: s.shape for name, s in self.segments.items()}, self.dtype, self.device)

    def state_dict(self) -> dict[str, Any]:
        """Host copies by name."""
        return {name: self.device.to_host(view) for name, view in self._views.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Overwrite all arrays; raises `ValueError` when names or shapes differ, before anything is written."""
        found = {name: tuple(np.shape(value)) for name, value in state.items()}
        expected = {name: s.shape for name, s in self.segments.items()}
        if found != expected:
            raise ValueError(f"found parameters {found}; expected {expected}")
        for name, value in state.items():
            self._views[name][...] = self.device.asarray(value, self.dtype)
