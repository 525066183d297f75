"""Joint: units of several types side by side in one layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..compute.device import Array, beside, device_of
from ..compute.random import Stream
from .base import Units
from .bernoulli import Bernoulli
from .softmax import Softmax


class Joint(Units):
    """The units of several layers as one: pixels and a label, for an RBM of both, `RBM(Joint(784, Softmax(10)), 500)`.

    States and fields lie side by side in columns. The units don't interact with each other, so energies and log-partitions add. Numbers
    mean Bernoulli units. Raises `ValueError` for fewer than two members, and for word counts, whose number is a row's own.

    >>> Joint(784, Softmax(10)).size
    794
    """

    def __init__(self, *members: int | Units) -> None:
        self.members = [m if isinstance(m, Units) else Bernoulli(m) for m in members]
        if len(self.members) < 2 or any(m.replicated or isinstance(m, Joint) for m in self.members):
            raise ValueError(
                f"found Joint({', '.join(map(str, members))}); expected two or more types of units besides word counts and Joint, "
                "such as Joint(784, Softmax(10))"
            )
        self.stops = np.cumsum([m.size for m in self.members]).tolist()
        super().__init__(self.stops[-1])
        self.discrete = all(m.discrete for m in self.members)
        self.grey = any(m.grey for m in self.members) and all(m.grey or isinstance(m, Softmax) for m in self.members)

    def parts(self, array: Array) -> list[Array]:
        """The columns of each member, contiguous copies; of one row (size,) its pieces."""
        xp = device_of(array).xp
        starts = [0, *self.stops[:-1]]
        return [xp.ascontiguousarray(array[..., a:b]) for a, b in zip(starts, self.stops, strict=True)]

    def _side_by_side(self, parts: list[Array]) -> Array:
        return beside(parts)

    def _each(self, function: Callable[[Units, Array], Array], field: Array) -> Array:
        return self._side_by_side([function(m, part) for m, part in zip(self.members, self.parts(field), strict=True)])

    def own_parameters(self) -> dict[str, tuple[tuple[int, ...], float | None]]:
        """Those of the members, `1.log_precision` being the second one's."""
        return {f"{k}.{name}": found for k, m in enumerate(self.members) for name, found in m.own_parameters().items()}

    def bound(self, own: Mapping[str, Array]) -> Units:
        """A copy whose members have these arrays."""
        joint = Joint(*(m.bound({name: own[f"{k}.{name}"] for name in m.own_parameters()}) for k, m in enumerate(self.members)))
        joint.own = own
        return joint

    def constrain_(self) -> None:
        """Bring the members' own parameters back within their bounds."""
        for m in self.members:
            m.constrain_()

    def deviation(self) -> np.ndarray:
        """The members' deviations."""
        return np.concatenate([m.deviation() for m in self.members])

    def number_of_states(self) -> int | None:
        """The product of the members' numbers."""
        total = 1
        for m in self.members:
            if (n := m.number_of_states()) is None:
                return None
            total *= n
        return total

    def states(self, start: int, stop: int) -> np.ndarray:
        """All combinations, the first member's states changing fastest."""
        numbers, columns = np.arange(start, stop), []
        for m in self.members:
            n = m.number_of_states()
            if n is None:
                raise TypeError(f"the states of {m} can't be listed")
            index, numbers = numbers % n, numbers // n
            columns.append(
                m.states(0, n)[index] if n <= stop - start else np.concatenate([m.states(i, i + 1) for i in index.tolist()])
            )
        return np.concatenate(columns, axis=1)

    def statistics(self, states: Array) -> dict[str, Array]:
        """Those of the members."""
        found = enumerate(zip(self.members, self.parts(states), strict=True))
        return {f"{k}.{name}": value for k, (m, x) in found for name, value in m.statistics(x).items()}

    def energy(self, states: Array, bias: Array) -> Array:
        """The sum of the members' energies."""
        terms = [m.energy(x, b) for m, x, b in zip(self.members, self.parts(states), self.parts(bias), strict=True)]
        return sum(terms[1:], terms[0])

    def log_partition(self, field: Array, beta: float = 1.0) -> Array:
        """The sum of the members' log-partitions."""
        terms = [m.log_partition(z, beta) for m, z in zip(self.members, self.parts(field), strict=True)]
        return sum(terms[1:], terms[0])

    def mean(self, field: Array, beta: float = 1.0) -> Array:
        """The members' means."""
        return self._each(lambda m, z: m.mean(z, beta), field)

    def variance(self, field: Array, beta: float = 1.0) -> Array:
        """The members' variances."""
        return self._each(lambda m, z: m.variance(z, beta), field)

    def mode(self, field: Array, beta: float = 1.0) -> Array:
        """The members' modes."""
        return self._each(lambda m, z: m.mode(z, beta), field)

    def draw(self, field: Array, stream: Stream, first_row: int = 0, beta: float = 1.0) -> tuple[Array, Array]:
        """(mean, sample); `field` is overwritten with the mean."""
        drawn = [m.draw(z, stream, first_row, beta) for m, z in zip(self.members, self.parts(field), strict=True)]
        means, samples = zip(*drawn, strict=True)
        field[...] = self._side_by_side(list(means))
        return field, self._side_by_side(list(samples))

    def bias_from_mean(self, mean: Array, rows: int | Array) -> Array:
        """The members' biases."""
        return self._each(lambda m, part: m.bias_from_mean(part, rows), mean)

    def check(self, rows: Any, name: str) -> None:
        """Columns that the members accept."""
        for m, columns, where in self._columns(rows, name):
            m.check(columns, where)

    def check_training(self, rows: Any, name: str) -> None:
        """Columns that the members learn from."""
        for m, columns, where in self._columns(rows, name):
            m.check_training(columns, where)

    def _columns(self, rows: Any, name: str) -> Iterator[tuple[Units, Any, str]]:
        """Each member with its columns of a host array or sparse matrix, and what to call them."""
        if getattr(rows, "ndim", None) != 2 or rows.shape[1] != self.size:
            parts = " + ".join(str(m.size) for m in self.members)
            raise ValueError(f"{name}: found shape {getattr(rows, 'shape', None)}; expected (rows, {parts} = {self.size})")
        for m, start, stop in zip(self.members, [0, *self.stops[:-1]], self.stops, strict=True):
            yield m, rows[:, start:stop], f"{name}[:, {start}:{stop}]"

    def check_clamp(self, mask: np.ndarray, values: np.ndarray) -> None:
        """What each member can be held at."""
        for m, held, kept in zip(self.members, self.parts(mask), self.parts(values), strict=True):
            m.check_clamp(held, kept)

    def arguments(self) -> dict[str, Any]:
        """The members' descriptions."""
        return {"members": [m.config() for m in self.members]}

    def __repr__(self) -> str:
        return f"Joint({', '.join(map(repr, self.members))})"
