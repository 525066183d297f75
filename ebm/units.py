"""Units: what a layer's variables are, given their field.

A unit type says how likely each state is under a field: p(x) = exp(field x - energy(x)) / Z(field). Free energy, Gibbs steps,
gradients and mean field are written once on top of its five functions, whose identities are tested for every type: the
derivative of `log_partition` by the field is `mean`, the derivative of `mean` is `variance`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from .compute.device import Array, device_of
from .compute.gemm import gemm
from .compute.kernels.logistic import logistic, logistic_sample, softplus
from .compute.random import Stream


class Units(ABC):
    """A layer of `size` units of one type. Fields and states have shape (rows, size)."""

    def __init__(self, size: int) -> None:
        if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 1:
            raise ValueError(f"found size={size!r}; expected a positive number of units")
        self.size = int(size)

    @abstractmethod
    def energy(self, states: Array, bias: Array) -> Array:
        """The layer's own part of the energy, (rows,) nats."""

    @abstractmethod
    def log_partition(self, field: Array) -> Array:
        """ln of the sum over all states of the layer, (rows,) nats."""

    @abstractmethod
    def mean(self, field: Array) -> Array:
        """The expected state."""

    @abstractmethod
    def variance(self, field: Array) -> Array:
        """The variance of each unit's state."""

    @abstractmethod
    def mode(self, field: Array) -> Array:
        """The most likely state."""

    @abstractmethod
    def draw(self, field: Array, stream: Stream, first_row: int = 0) -> tuple[Array, Array]:
        """(mean, sample) in one pass; `field` is overwritten with the mean."""

    def sample(self, field: Array, stream: Stream, first_row: int = 0) -> Array:
        """A random state; `field` is overwritten."""
        return self.draw(field, stream, first_row)[1]

    @abstractmethod
    def bias_from_mean(self, mean: np.ndarray, rows: int) -> np.ndarray:
        """The bias under which an unconnected layer has the mean that was seen over `rows` rows of data."""

    def config(self) -> dict[str, Any]:
        """What a file says of this layer."""
        return {"units": type(self).__name__, "size": self.size}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Units) and self.config() == other.config()

    def __hash__(self) -> int:
        return hash(repr(self))


class Bernoulli(Units):
    """Binary units: x in {0, 1}, energy -bias x, so p(x = 1) = 1 / (1 + e^-field)."""

    def energy(self, states: Array, bias: Array) -> Array:
        """-sum_i bias_i x_i."""
        return gemm(states, bias[:, None], alpha=-1.0)[:, 0]

    def log_partition(self, field: Array) -> Array:
        """sum_i ln(1 + e^field_i), accumulated in float64."""
        terms = device_of(field).empty(field.shape, field.dtype)
        softplus(field, terms)
        return terms.sum(axis=1, dtype=np.float64).astype(field.dtype)

    def mean(self, field: Array) -> Array:
        """1 / (1 + e^-field)."""
        mean = device_of(field).empty(field.shape, field.dtype)
        logistic(field, mean)
        return mean

    def variance(self, field: Array) -> Array:
        """mean (1 - mean), as the product of the two logistics so that it does not cancel for large fields."""
        return self.mean(field) * self.mean(-field)

    def mode(self, field: Array) -> Array:
        """1 where the field is positive."""
        return (field > 0).astype(field.dtype)

    def draw(self, field: Array, stream: Stream, first_row: int = 0) -> tuple[Array, Array]:
        """(mean, sample) in one pass; `field` is overwritten with the mean."""
        sample = device_of(field).empty(field.shape, field.dtype)
        logistic_sample(field, sample, *stream.take(first_row))
        return field, sample

    def bias_from_mean(self, mean: np.ndarray, rows: int) -> np.ndarray:
        """ln(p / (1 - p)), with one pseudo-observation of each value so that constant columns stay finite."""
        p = (mean * rows + 1) / (rows + 2)
        return np.log(p / (1 - p))


TYPES: dict[str, type[Units]] = {"Bernoulli": Bernoulli}


def as_units(layer: int | Units) -> Units:
    """Units as given; a number means Bernoulli units."""
    return layer if isinstance(layer, Units) else Bernoulli(layer)


def from_config(config: dict[str, Any]) -> Units:
    """The units that a file describes; raises `ValueError` for an unknown type."""
    arguments = dict(config)
    name = arguments.pop("units", None)
    if name not in TYPES:
        raise ValueError(f"found units {name!r}; this version knows {sorted(TYPES)}")
    return TYPES[name](**arguments)
