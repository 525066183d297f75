"""Softmax: categorical units as one-hot groups."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compute.device import Array, device_of
from ..compute.random import Stream
from ..data.validation import check_one_hot
from .base import Units, positive


class Softmax(Units):
    """`groups` categorical variables of `categories` values each, one-hot in neighboring columns: energy -bias x, so
    p(x_k = 1) = e^field_k / sum_j e^field_j within a group.

    >>> Softmax(10)
    Softmax(10)
    >>> Softmax(5, groups=200).size
    1000
    """

    def __init__(self, categories: int, groups: int = 1) -> None:
        self.categories, self.groups = positive("categories", categories, least=2), positive("groups", groups)
        super().__init__(self.categories * self.groups)

    def arguments(self) -> dict[str, Any]:
        """What the constructor was given."""
        return {"categories": self.categories} | ({"groups": self.groups} if self.groups > 1 else {})

    def _grouped(self, array: Array) -> Array:
        return array.reshape(array.shape[0], self.groups, self.categories)

    def number_of_states(self) -> int | None:
        """categories^groups."""
        return self.categories**self.groups

    def states(self, start: int, stop: int) -> np.ndarray:
        """The digits of the state's number to the base `categories`, one-hot."""
        digits = np.arange(start, stop)[:, None] // self.categories ** np.arange(self.groups) % self.categories
        return np.eye(self.categories)[digits].reshape(stop - start, self.size)

    def energy(self, states: Array, bias: Array) -> Array:
        """-sum_k bias_k x_k."""
        return -(states * bias).sum(axis=1)

    def log_partition(self, field: Array, beta: float = 1.0) -> Array:
        """The sum over groups of ln sum_k e^field_k."""
        xp = device_of(field).xp
        grouped = self._grouped(field)
        largest = grouped.max(axis=2)
        sums = xp.exp(grouped - largest[:, :, None]).sum(axis=2)
        return (xp.log(sums) + largest).sum(axis=1, dtype=np.float64).astype(field.dtype)

    def mean(self, field: Array, beta: float = 1.0) -> Array:
        """e^field_k / sum_j e^field_j."""
        grouped = self._grouped(field)
        weights = device_of(field).xp.exp(grouped - grouped.max(axis=2)[:, :, None])
        return (weights / weights.sum(axis=2)[:, :, None]).reshape(field.shape)

    def variance(self, field: Array, beta: float = 1.0) -> Array:
        """mean (1 - mean), column by column."""
        mean = self.mean(field)
        return mean * (1 - mean)

    def mode(self, field: Array, beta: float = 1.0) -> Array:
        """One-hot at the largest field of each group, the first of equals."""
        xp = device_of(field).xp
        grouped = self._grouped(field)
        chosen = grouped.argmax(axis=2)
        return (xp.arange(self.categories) == chosen[:, :, None]).astype(field.dtype).reshape(field.shape)

    def draw(self, field: Array, stream: Stream, first_row: int = 0, beta: float = 1.0) -> tuple[Array, Array]:
        """(mean, one-hot sample); `field` is overwritten with the mean."""
        sample = stream.categorical(field, self.categories, first_row)
        field[...] = self.mean(field)
        return field, sample

    def bias_from_mean(self, mean: Array, rows: int | Array) -> Array:
        """ln p, with one pseudo-observation of each category so that those never seen stay finite."""
        return device_of(mean).xp.log((mean * rows + 1) / (rows + self.categories))

    def check(self, rows: Any, name: str) -> None:
        """One-hot rows."""
        check_one_hot(rows, self.categories, width=self.size, name=name)

    def check_clamp(self, mask: np.ndarray, values: np.ndarray) -> None:
        """Whole groups, at one-hot values."""
        held = mask.reshape(len(mask), self.groups, self.categories)
        if (held.any(axis=2) != held.all(axis=2)).any():
            raise ValueError(
                f"clamp: found a mask that holds a part of a group; hold all {self.categories} columns of a group or none"
            )
        free = np.eye(self.categories)[0]
        filled = np.where(held, values.reshape(held.shape), free).reshape(mask.shape)
        self.check(filled, "clamp values")
