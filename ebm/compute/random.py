"""Random streams: a draw is a pure function of (seed, stream, draw, row, column), not of what was drawn before.

The bits are Philox4x32-10's (see `kernels.philox`), the same on every device, for every number of threads and however the rows of an
array are split over calls. A stream is three integers in a checkpoint.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .device import CPU, Array, Device
from .kernels import sampling
from .kernels.philox import random_words


class Stream:
    """The random stream called `name` of a seed.

    Streams of one seed with different names are independent. Each call takes the next draw; arrays are filled by address, so
    `first_row=r` continues an array whose first r rows were filled by another call with the same draw (see `at`).

    `seed` is an integer in [0, 2^64), or None for one from the operating system. A stream holds 2^32 draws.
    """

    def __init__(self, seed: int | None = None, name: str = "", device: Device = CPU) -> None:
        self.device = device
        # The draw counter lives in device memory, so that a captured step finds it advanced at each replay; draws within a
        # step are told apart by the offset, which is the same at each replay.
        self._address = device.asarray(np.zeros(4, np.uint32))
        self._counter = self._address[3:4]
        self._start(secrets.randbits(64) if seed is None else seed, name)

    def _start(self, seed: int, name: str) -> None:
        if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
            raise ValueError(f"found seed={seed!r}; expected an integer in [0, 2**64) or None")
        self.seed = int(seed)
        self.name = name
        words = [self.seed & 0xFFFFFFFF, self.seed >> 32, zlib.crc32(name.encode()), 0]
        self._address[...] = self.device.asarray(np.array(words, np.uint32))
        self._offset = 0

    def advance_(self) -> None:
        """End a step: add the draws it took to the counter in device memory."""
        counter, draws = self.end()
        if draws:
            counter += np.uint32(draws)

    def end(self) -> tuple[Array, int]:
        """The counter in device memory, (1,), and what the caller is to add to it, in a kernel of its own, in place of `advance_`."""
        draws, self._offset = self._offset, 0
        return self._counter, draws

    @property
    def draw(self) -> int:
        """How many draws were taken (waits for the device)."""
        return (int(self.device.to_host(self._address)[3]) + self._offset) % 2**32

    def at(self, draw: int) -> Stream:
        """This stream at another draw; this one is not moved."""
        stream = Stream(self.seed, self.name, self.device)
        stream.seek_(draw)
        return stream

    def seek_(self, draw: int) -> None:
        """Go to a draw."""
        self._counter[...] = np.uint32(draw % 2**32)
        self._offset = 0

    def state_dict(self) -> dict[str, Any]:
        """Seed, name and draw."""
        return {"seed": self.seed, "name": self.name, "draw": self.draw}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, in the memory that a captured step knows."""
        self._start(state["seed"], state["name"])
        self.seek_(state["draw"])

    def take(self, first_row: int) -> tuple[Array, int, int]:
        """The address of the next draw, as the sampling kernels take it (one call, one draw)."""
        address = self._address, self._offset, first_row
        self._offset += 1
        return address

    def words(self, shape: int | Sequence[int], first_row: int = 0) -> Array:
        """uint32 words, all values equally likely."""
        out = self.device.empty(shape, np.uint32)
        random_words(out, *self.take(first_row))
        return out

    def uniform(self, shape: int | Sequence[int], dtype: Any = np.float32, first_row: int = 0) -> Array:
        """Uniform on {0, 1, ..., 2^24 - 1} / 2^24: zero may occur, one can't."""
        out = self.device.empty(shape, dtype)
        sampling.uniform(out, *self.take(first_row))
        return out

    def normal(self, shape: int | Sequence[int], dtype: Any = np.float32, first_row: int = 0) -> Array:
        """Standard normal, by the method of Box and Muller (1958); |value| < 5.9."""
        out = self.device.empty(shape, dtype)
        sampling.normal(out, *self.take(first_row))
        return out

    def bernoulli(self, probability: Array, first_row: int = 0, out: Array | None = None) -> Array:
        """1 with the given probabilities, else 0, in their shape and dtype."""
        if out is None:
            out = self.device.empty(probability.shape, probability.dtype)
        sampling.bernoulli(probability, out, *self.take(first_row))
        return out

    def categorical(self, field: Array, categories: int | None = None, first_row: int = 0) -> Array:
        """One-hot rows: category k of each group of `categories` neighbouring columns with probability exp(field_k) / sum exp(field).

        One group spans all columns unless `categories` says otherwise. Raises `ValueError` when it does not divide the columns.
        """
        if field.ndim != 2:
            raise ValueError(f"found fields of shape {field.shape}; expected (rows, categories)")
        categories = field.shape[1] if categories is None else categories
        if categories < 1 or field.shape[1] % categories:
            raise ValueError(f"found groups of {categories} in {field.shape[1]} columns; expected a divisor of the columns")
        out = self.device.empty(field.shape, field.dtype)
        sampling.categorical(field, out, categories, *self.take(first_row))
        return out

    def __repr__(self) -> str:
        return f"Stream(seed={self.seed}, name={self.name!r}, draw={self.draw})"
