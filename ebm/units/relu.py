"""ReLU: rectified linear units."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..compute.device import Array, device_of
from ..compute.kernels.truncated import truncated_moments, truncated_sample
from ..compute.random import Stream
from ..data.validation import check_rows
from .base import Units


class ReLU(Units):
    """Rectified units: x >= 0, energy x^2 / 2 - bias x, so x is normal with mean `field` and variance 1, cut off below zero.

    Sampled exactly, by the inverse distribution function; not by the rule max(0, field + noise) of Nair & Hinton 2010, which is
    no Gibbs step of this energy.
    """

    discrete = False

    def energy(self, states: Array, bias: Array) -> Array:
        """sum_i x_i^2 / 2 - bias_i x_i."""
        return (states * (states.dtype.type(0.5) * states - bias)).sum(axis=1, dtype=np.float64).astype(states.dtype)

    def _moments(self, field: Array, beta: float) -> tuple[Array, Array, Array]:
        """Mean, variance and log integral of x sqrt(beta), which has field / sqrt(beta)."""
        device = device_of(field)
        mean, variance, log_partition = (device.empty(field.shape, field.dtype) for _ in range(3))
        truncated_moments(self._scaled(field, beta), mean, variance, log_partition)
        return mean, variance, log_partition

    @staticmethod
    def _scaled(field: Array, beta: float) -> Array:
        return field if beta == 1 else field / field.dtype.type(math.sqrt(beta))

    def log_partition(self, field: Array, beta: float = 1.0) -> Array:
        """sum_i field_i^2 / 2 + ln sqrt(2 π) + ln Phi(field_i)."""
        terms = self._moments(field, beta)[2]
        return (terms.sum(axis=1, dtype=np.float64) - 0.5 * self.size * math.log(beta)).astype(field.dtype)

    def mean(self, field: Array, beta: float = 1.0) -> Array:
        """field + phi(field) / Phi(field)."""
        return self._scaled(self._moments(field, beta)[0], beta)

    def variance(self, field: Array, beta: float = 1.0) -> Array:
        """1 - r (field + r), r = phi(field) / Phi(field)."""
        return self._moments(field, beta)[1] / field.dtype.type(beta)

    def mode(self, field: Array, beta: float = 1.0) -> Array:
        """max(field, 0)."""
        return device_of(field).xp.maximum(field, 0) / field.dtype.type(beta)

    def draw(self, field: Array, stream: Stream, first_row: int = 0, beta: float = 1.0) -> tuple[Array, Array]:
        """(mean, sample) in one pass; `field` is overwritten with the mean."""
        sample = device_of(field).empty(field.shape, field.dtype)
        root = field.dtype.type(1 / math.sqrt(beta))
        if beta != 1:
            field *= root
        truncated_sample(field, sample, *stream.take(first_row))
        if beta != 1:
            field *= root
            sample *= root
        return field, sample

    def bias_from_mean(self, mean: Array, rows: int | Array) -> Array:
        """The field with that mean, by bisection (the mean grows with the field)."""
        xp = device_of(mean).xp
        target = xp.maximum(mean, 1 / (rows + 1))
        low, high = -1 / target - 1, target + 1
        for _ in range(60):
            middle = (low + high) / 2
            below = self._moments(middle[None], 1.0)[0][0] < target
            low, high = xp.where(below, middle, low), xp.where(below, high, middle)
        return (low + high) / 2

    def check(self, rows: Any, name: str) -> None:
        """Finite numbers of at least 0."""
        check_rows(rows, self.size, low=0.0, high=math.inf, name=name)
