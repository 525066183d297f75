"""Schedules: a rate or a momentum as a function of the epochs done, fractions included.

    >>> rate = Cosine(start=0.1, end=0.001, epochs=20)
    >>> rate(0), rate(10), rate(20)
    (0.1, 0.0505, 0.001)
    >>> momentum_ramp()
    Piecewise(values=(0.5, 0.9), epochs=(5,))

They are values: equal when their fields are, printed as they are written, and safe to pickle. Epochs count from the start of
training and not from its end, so that a longer run begins like a shorter one.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[float], float]


@dataclass(frozen=True)
class Constant:
    """Always `value`."""

    value: float

    def __call__(self, progress: float) -> float:
        return self.value


@dataclass(frozen=True)
class Linear:
    """From `start` to `end` along a line that takes `epochs` epochs, then `end`."""

    start: float
    end: float
    epochs: float

    def __post_init__(self) -> None:
        _require_positive("epochs", self.epochs)

    def __call__(self, progress: float) -> float:
        if progress >= self.epochs:
            return self.end
        return self.start + (self.end - self.start) * progress / self.epochs


@dataclass(frozen=True)
class Cosine:
    """From `start` to `end` along half a cosine that takes `epochs` epochs, then `end`.

    end + (start - end) (1 + cos(π t / epochs)) / 2: Loshchilov and Hutter (2017), "SGDR", equation 5, without restarts.
    """

    start: float
    end: float
    epochs: float

    def __post_init__(self) -> None:
        _require_positive("epochs", self.epochs)

    def __call__(self, progress: float) -> float:
        if progress >= self.epochs:
            return self.end
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * progress / self.epochs)) / 2


@dataclass(frozen=True)
class Piecewise:
    """`values[0]` before `epochs[0]`, `values[1]` from there until `epochs[1]`, and so on.

    Raises `ValueError` unless there is one value more than epochs, and the epochs ascend.
    """

    values: tuple[float, ...]
    epochs: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        object.__setattr__(self, "epochs", tuple(self.epochs))
        if len(self.values) != len(self.epochs) + 1 or any(a >= b for a, b in zip(self.epochs, self.epochs[1:], strict=False)):
            raise ValueError(
                f"found values {self.values} and epochs {self.epochs}; expected ascending epochs and one value more than epochs, "
                "such as Piecewise((0.1, 0.01), (10,))"
            )

    def __call__(self, progress: float) -> float:
        return self.values[bisect_right(self.epochs, progress)]


@dataclass(frozen=True)
class InverseTime:
    """`start` (τ / (τ + t))^power: with power 1 half of `start` after τ epochs, and 1/t in the long run.

    Robbins and Monro (1951) ask for a power above 1/2 and at most 1.
    """

    start: float
    tau: float
    power: float = 1.0

    def __post_init__(self) -> None:
        _require_positive("tau", self.tau)
        _require_positive("power", self.power)

    def __call__(self, progress: float) -> float:
        return self.start * (self.tau / (self.tau + progress)) ** self.power


@dataclass(frozen=True)
class GrowingMomentum:
    """min(1 - 2^(-1 - log2(k + 1)), limit) = min(1 - 1 / (2 (k + 1)), limit) with k the number of times that `every` epochs have passed.

    Sutskever, Martens, Dahl, Hinton 2013, "On the importance of initialization and momentum in deep learning", equation 5, who count 250
    updates where this counts `every` epochs.
    """

    limit: float = 0.99
    every: float = 1.0

    def __post_init__(self) -> None:
        _require_positive("every", self.every)
        if not 0 <= self.limit < 1:
            raise ValueError(f"found limit={self.limit!r}; expected 0 <= limit < 1")

    def __call__(self, progress: float) -> float:
        return min(1 - 0.5 / (progress // self.every + 1), self.limit)


def momentum_ramp(start: float = 0.5, end: float = 0.9, epoch: float = 5) -> Piecewise:
    """`start` for the first epochs, then `end`: Hinton (2010), "A practical guide to training RBMs", section 9."""
    return Piecewise((start, end), (epoch,))


def evaluated(schedule: Schedule, epoch: float, name: str) -> float:
    """The value of `name` after so many epochs. Raises `ValueError` unless it is finite and not negative."""
    value = schedule(epoch)
    if not 0 <= value < math.inf:
        raise ValueError(f"found {name}={value} after {epoch:g} epochs; expected a schedule of finite numbers >= 0")
    return value


def as_schedule(value: float | Schedule) -> Schedule:
    """`value` itself if it can be called with the epochs done, else the constant schedule of that number.

    Raises `TypeError` for what is neither, `ValueError` for NaN and infinity.
    """
    if callable(value):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"found {value!r}; expected a number or a schedule, such as Linear(0.1, 0.01, epochs=20)") from error
    if not math.isfinite(number):
        raise ValueError(f"found {number}; expected a finite number")
    return Constant(number)


def _require_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"found {name}={value!r}; expected a positive number")
