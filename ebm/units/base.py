"""What every type of units must say of itself."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..compute.device import Array, Device
from ..compute.random import Stream
from ..data.minibatches import dense


class Units(ABC):
    """A layer of `size` units of one type.

    Under a field (rows, size) a state x of the layer has probability exp(field x - beta e(x)) / Z(field), where e is the layer's
    own energy without its bias. `beta` is an inverse temperature; the field is already multiplied by it.

    An instance without arrays describes a layer. A machine holds a copy of it, made by `bound`, whose own parameters besides the
    bias (`own`) are views into the machine's.
    """

    # Whether the states are finitely many: two connected layers without it have a partition function only for small weights.
    discrete: bool = True
    # Whether the number of draws varies from row to row, so that it is the data's, and such units are visible only.
    replicated: ClassVar[bool] = False
    # Whether data may hold the probabilities of states, from which a draw makes states.
    grey: bool = False

    def __init__(self, size: int) -> None:
        self.size = positive("size", size)
        self.own: Mapping[str, Array] = {}

    def own_parameters(self) -> dict[str, tuple[tuple[int, ...], float | None]]:
        """Name, shape and rate (a factor on the learning rate; None: not trained) of the parameters besides the bias."""
        return {}

    def bound(self, own: Mapping[str, Array]) -> Units:
        """A copy whose own parameters are these arrays."""
        units = copy.copy(self)
        units.own = own
        return units

    def like(self, states: Array | None) -> Units:
        """These units with the numbers of draws that `states` have, for units where they vary from row to row."""
        return self

    def repeats(self, states: Array) -> Array | None:
        """How many copies of a connected layer's bias `states` see, (rows,), or None for one."""
        return None

    def constrain_(self) -> None:  # noqa: B027 - most units have nothing to bring back
        """Bring the own parameters back within their bounds."""

    def deviation(self) -> np.ndarray:
        """The standard deviation of each unit that has no upper bound, 0 for discrete ones, (size,) float64 on the host."""
        return np.full(self.size, 0.0 if self.discrete else 1.0)

    def number_of_states(self) -> int | None:
        """How many states the layer has, or None where they can't be listed."""
        return None

    def states(self, start: int, stop: int) -> np.ndarray:
        """States start, ..., stop - 1 of all, (stop - start, size), on the host."""
        raise TypeError(f"the states of {self} can't be listed")

    def statistics(self, states: Array) -> dict[str, Array]:
        """-dE/d(own parameter) at `states`, (rows, ...) each."""
        return {}

    @abstractmethod
    def energy(self, states: Array, bias: Array) -> Array:
        """The layer's part of the energy, e(x) - bias x, (rows,) nats."""

    @abstractmethod
    def log_partition(self, field: Array, beta: float = 1.0) -> Array:
        """ln of the sum (integral) over all states of the layer, (rows,) nats."""

    @abstractmethod
    def mean(self, field: Array, beta: float = 1.0) -> Array:
        """The expected state."""

    @abstractmethod
    def variance(self, field: Array, beta: float = 1.0) -> Array:
        """The variance of each unit's state."""

    @abstractmethod
    def mode(self, field: Array, beta: float = 1.0) -> Array:
        """The most likely state."""

    @abstractmethod
    def draw(self, field: Array, stream: Stream, first_row: int = 0, beta: float = 1.0) -> tuple[Array, Array]:
        """(mean, sample) in one pass; `field` is overwritten with the mean."""

    def sample(self, field: Array, stream: Stream, first_row: int = 0, beta: float = 1.0) -> Array:
        """A random state; `field` is overwritten."""
        return self.draw(field, stream, first_row, beta)[1]

    @abstractmethod
    def bias_from_mean(self, mean: Array, rows: int | Array) -> Array:
        """The bias under which an unconnected layer has the mean that was seen over `rows` rows of data."""

    def bias_from_data(self, data: Any, device: Device) -> Array:
        """The same, of the mean of a host array, memory map or sparse matrix, which is read in blocks."""
        total = np.zeros(self.size)
        for start in range(0, data.shape[0], 1000):
            total += dense(data[start : start + 1000]).sum(axis=0, dtype=np.float64)
        return self.bias_from_mean(device.asarray(total / data.shape[0]), data.shape[0])

    @abstractmethod
    def check(self, rows: Any, name: str) -> None:
        """Raise `ValueError` or `TypeError` unless the rows of a host array are states of such units (or their means)."""

    def check_training(self, rows: Any, name: str) -> None:
        """Raise where `check` does, and for data that such units would learn nothing from."""
        self.check(rows, name)

    def check_clamp(self, mask: np.ndarray, values: np.ndarray) -> None:
        """Raise unless the units where `mask` is true can be held at `values`; both (rows, size)."""
        self.check(np.where(mask, values, 0), "clamp values")

    def arguments(self) -> dict[str, Any]:
        """What the constructor was given."""
        return {"size": self.size}

    def config(self) -> dict[str, Any]:
        """What a file says of this layer."""
        return {"units": type(self).__name__, **self.arguments()}

    def __repr__(self) -> str:
        first, *rest = self.arguments().items()
        return f"{type(self).__name__}({', '.join([str(first[1]), *(f'{name}={value!r}' for name, value in rest)])})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Units) and self.config() == other.config()

    def __hash__(self) -> int:
        return hash(repr(self))


def positive(name: str, value: Any, least: int = 1) -> int:
    """`value` as an int; raises `ValueError` unless it is a whole number of at least `least`."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise ValueError(f"found {name}={value!r}; expected a whole number of at least {least}")
    return int(value)
