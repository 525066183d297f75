"""Problem: the images, the code size and the time that every model gets."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from ebm import data
from ebm.data.splits import shuffled
from ebm.training import Callback, History
from ebm.training.loop import Run
from ebm.training.schedules import Schedule

# Pixels up to which images, and so the models of them, are small.
SMALL = 256


class Clock(Callback):
    """Ends a run when its time is over, and makes schedules of the share of it that has passed. The first step, in which kernels are
    compiled, doesn't count."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.since, self.spent = seconds, math.inf, 0.0

    def on_step(self, run: Run) -> None:
        """Look at the time."""
        now = time.perf_counter()
        self.since = min(self.since, now)
        if now - self.since >= self.seconds:
            run.stop("its time is over")

    def on_end(self, run: Run) -> None:
        """Note how long it took."""
        self.spent = max(0.0, time.perf_counter() - self.since)

    @property
    def passed(self) -> float:
        """The share of the time, from 0 to 1."""
        return min(1.0, max(0.0, time.perf_counter() - self.since) / self.seconds) if self.since < math.inf else 0.0

    def line(self, start: float, end: float = 0.0) -> Schedule:
        """From `start` to `end` along a line."""
        return lambda epoch: start + (end - start) * self.passed

    def cosine(self, start: float) -> Schedule:
        """From `start` to zero along half a cosine."""
        return lambda epoch: 0.5 * start * (1 + math.cos(math.pi * self.passed))


@dataclass(frozen=True, eq=False)
class Problem:
    """What a model is trained on: rows in [0, 1] with their `shape`, a `code` size, a `seed`, a `device`, and `seconds` of training.

    `labels` are None where there are none. `clocks` collect the times of all runs, `histories` their learning curves by name.
    """

    train: data.Dataset
    validation: data.Dataset
    test: data.Dataset
    code: int
    seconds: float
    seed: int = 1
    device: str = "cpu"
    clocks: list[Clock] = field(default_factory=list)
    histories: dict[str, History] = field(default_factory=dict)

    @property
    def rows(self) -> np.ndarray:
        """The training rows."""
        return self.train.images

    @property
    def width(self) -> int:
        """The number of pixels."""
        return self.rows.shape[1]

    @property
    def small(self) -> bool:
        """Whether the images are: then so are the models."""
        return self.width <= SMALL

    @property
    def batch(self) -> int:
        """Rows in a batch, and chains."""
        return min(50 if self.small else 100, len(self.rows))

    def bits(self) -> np.ndarray:
        """The test rows, binarized once and for all."""
        return data.binarize(self.test.images, seed=1)

    def watched(self, name: str, share: float = 1.0) -> tuple[Clock, list[Callback]]:
        """A clock for so much of the time, and the callbacks of a run with it and a history."""
        clock, history = Clock(share * self.seconds), History()
        self.clocks.append(clock)
        self.histories[name] = history
        return clock, [clock, history]

    def of(self, **changes: Any) -> Self:
        """The same with other settings, before any run."""
        return replace(self, clocks=[], histories={}, **changes)


def problem(
    source: Any,
    *,
    labels: Any = None,
    code: int | None = None,
    seconds: float | None = None,
    seed: int = 1,
    device: str = "cpu",
) -> Problem:
    """The problem of a data set's name, a folder of gray images, a CSV file of square images in [0, 1], or an array of images (n, height,
    width) or of square ones (n, pixels).

    `labels` are those of an array (n,), or the name or number of a column of a CSV file. Images of one's own are shuffled, a fifth of them
    each for validation and test. By default small images get a code of 10 numbers and a second and a half, others 30 and sixty.

    Raises `ValueError` for numbers outside [0, 1] and for rows that are no gray images, and what `data.load` raises.
    """
    parts = _parts(source, labels)
    images = parts[0].images
    least, largest = min(float(part.images.min()) for part in parts), max(float(part.images.max()) for part in parts)
    if least < 0 or largest > 1:
        raise ValueError(
            f"found values from {least:g} to {largest:g}; the comparison is of images in [0, 1]: divide by the largest possible value"
        )
    if len(parts[0].shape) != 2:
        raise ValueError(f"found rows of shape {parts[0].shape}; the comparison is of gray images, (height, width)")
    small = images.shape[1] <= SMALL
    code = (10 if small else 30) if code is None else code
    if not 1 <= code < images.shape[1]:
        raise ValueError(f"found a code of {code} numbers for {images.shape[1]} pixels; expected fewer than pixels, 1 or more")
    seconds = (1.5 if small else 60.0) if seconds is None else seconds
    if not seconds > 0:
        raise ValueError(f"found a budget of {seconds} seconds; expected a positive number")
    return Problem(*parts, code=code, seconds=seconds, seed=seed, device=device)


def _parts(source: Any, labels: Any) -> tuple[data.Dataset, data.Dataset, data.Dataset]:
    if isinstance(source, str) and not Path(source).exists():
        return data.load(source)
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.is_dir():
            rows, shape = data.from_folder(path)
            return _own(rows, None, shape)
        return _own(*data.from_csv(path, labels), None)
    rows = np.asarray(source, np.float32)
    return _own(rows.reshape(len(rows), -1), labels, rows.shape[1:] if rows.ndim > 2 else None)


def _own(rows: np.ndarray, labels: Any, shape: tuple[int, ...] | None) -> tuple[data.Dataset, data.Dataset, data.Dataset]:
    if shape is None:
        side = math.isqrt(rows.shape[1])
        if side * side != rows.shape[1]:
            raise ValueError(f"found rows of {rows.shape[1]} numbers, which are no square images; expected (n, height, width)")
        shape = side, side
    if len(rows) < 50:
        raise ValueError(f"found {len(rows)} images; expected 50 or more, of which three fifths are for training")
    fifth = len(rows) // 5
    return shuffled(data.Dataset(rows.astype(np.float32), None if labels is None else np.asarray(labels), shape), fifth, fifth)
