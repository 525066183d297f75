"""Bernoulli: binary units."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compute.device import Array, device_of
from ..compute.gemm import gemm
from ..compute.kernels.logistic import logistic, logistic_sample, softplus
from ..compute.random import Stream
from ..data.validation import check_rows
from .base import Units


class Bernoulli(Units):
    """Binary units: x in {0, 1}, energy -bias x, so p(x = 1) = 1 / (1 + e^-field)."""

    grey = True

    def number_of_states(self) -> int | None:
        """2^size."""
        return 2**self.size

    def states(self, start: int, stop: int) -> np.ndarray:
        """The binary digits of the state's number."""
        numbers = np.arange(start, stop, dtype=np.uint64)
        return (numbers[:, None] >> np.arange(self.size, dtype=np.uint64) & np.uint64(1)).astype(float)

    def energy(self, states: Array, bias: Array) -> Array:
        """-sum_i bias_i x_i."""
        return gemm(states, bias[:, None], alpha=-1.0)[:, 0]

    def log_partition(self, field: Array, beta: float = 1.0) -> Array:
        """sum_i ln(1 + e^field_i), accumulated in float64."""
        terms = device_of(field).empty(field.shape, field.dtype)
        softplus(field, terms)
        return terms.sum(axis=1, dtype=np.float64).astype(field.dtype)

    def mean(self, field: Array, beta: float = 1.0) -> Array:
        """1 / (1 + e^-field)."""
        mean = device_of(field).empty(field.shape, field.dtype)
        logistic(field, mean)
        return mean

    def variance(self, field: Array, beta: float = 1.0) -> Array:
        """mean (1 - mean), as the product of the two logistics so that it does not cancel for large fields."""
        return self.mean(field) * self.mean(-field)

    def mode(self, field: Array, beta: float = 1.0) -> Array:
        """1 where the field is positive."""
        return (field > 0).astype(field.dtype)

    def draw(self, field: Array, stream: Stream, first_row: int = 0, beta: float = 1.0) -> tuple[Array, Array]:
        """(mean, sample) in one pass; `field` is overwritten with the mean."""
        sample = device_of(field).empty(field.shape, field.dtype)
        logistic_sample(field, sample, *stream.take(first_row))
        return field, sample

    def bias_from_mean(self, mean: Array, rows: int | Array) -> Array:
        """ln(p / (1 - p)), with one pseudo-observation of each value so that constant columns stay finite."""
        p = (mean * rows + 1) / (rows + 2)
        return device_of(mean).xp.log(p / (1 - p))

    def check(self, rows: Any, name: str) -> None:
        """Values in [0, 1]: a grey value is the probability of a one."""
        check_rows(rows, self.size, sparse=True, name=name)
