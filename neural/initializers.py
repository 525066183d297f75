"""Initial weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ebm.compute.device import Array, device_of
from ebm.compute.random import Stream


class Initializer(Protocol):
    """Sets weights before training."""

    def fill_(self, weights: Array, fan_in: int, fan_out: int, stream: Stream) -> None:
        """Overwrite `weights` (..., out) of units with so many inputs and outputs."""


def as_initializer(initial: Any) -> Initializer:
    """As given. Raises `TypeError` for what is none."""
    if isinstance(initial, type) or not callable(getattr(initial, "fill_", None)):
        raise TypeError(f"found initial={initial!r}; expected one of neural.initializers, such as He()")
    return initial


@dataclass(frozen=True)
class Glorot:
    """Uniform in ± gain sqrt(6 / (fan_in + fan_out)), so that neither activations nor gradients grow from layer to layer.

    Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", equation 16.
    """

    gain: float = 1.0

    def fill_(self, weights: Array, fan_in: int, fan_out: int, stream: Stream) -> None:
        """Overwrite `weights`."""
        _uniform(weights, self.gain * math.sqrt(6 / (fan_in + fan_out)), stream)


@dataclass(frozen=True)
class He:
    """N(0, gain^2 2 / fan_in), for rectified units, half of which are off.

    He, Zhang, Ren, Sun 2015, "Delving deep into rectifiers", equation 10.
    """

    gain: float = 1.0

    def fill_(self, weights: Array, fan_in: int, fan_out: int, stream: Stream) -> None:
        """Overwrite `weights`."""
        rows = weights.reshape(-1, weights.shape[-1])
        rows[...] = stream.normal(rows.shape, weights.dtype)
        rows *= weights.dtype.type(self.gain * math.sqrt(2 / fan_in))
        stream.advance_()


@dataclass(frozen=True)
class Normal:
    """N(0, deviation^2)."""

    deviation: float = 0.01

    def fill_(self, weights: Array, fan_in: int, fan_out: int, stream: Stream) -> None:
        """Overwrite `weights`."""
        rows = weights.reshape(-1, weights.shape[-1])
        rows[...] = stream.normal(rows.shape, weights.dtype)
        rows *= weights.dtype.type(self.deviation)
        stream.advance_()


@dataclass(frozen=True)
class Sparse:
    """Each unit has `connections` weights that are not zero, N(0, deviation^2).

    Martens 2010, "Deep learning via Hessian-free optimization", section 5; Sutskever et al. 2013.
    """

    connections: int = 15
    deviation: float = 1.0

    def fill_(self, weights: Array, fan_in: int, fan_out: int, stream: Stream) -> None:
        """Overwrite `weights`."""
        rows = weights.reshape(-1, weights.shape[-1])
        drawn = device_of(weights).to_host(stream.uniform(rows.shape, np.float64))
        kept = np.argsort(np.argsort(drawn, axis=0), axis=0) < self.connections
        stream.advance_()
        rows[...] = stream.normal(rows.shape, weights.dtype)
        rows *= device_of(weights).asarray(kept * self.deviation, weights.dtype)
        stream.advance_()


def _uniform(weights: Array, limit: float, stream: Stream) -> None:
    rows = weights.reshape(-1, weights.shape[-1])
    rows[...] = stream.uniform(rows.shape, weights.dtype)
    rows *= weights.dtype.type(2 * limit)
    rows -= weights.dtype.type(limit)
    stream.advance_()
