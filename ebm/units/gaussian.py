"""Gaussian: real-valued units."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..compute.device import Array, device_of
from ..compute.random import Stream
from ..data.scaling import check_standardized
from ..data.validation import check_rows
from .base import Units

# The precision of a unit stays within these bounds, in the units of standardized data: a column that is nearly constant can't
# drive it to infinity, where the noise of a sample would vanish and the fields explode.
LOG_PRECISION_BOUNDS = (math.log(1e-2), math.log(1e3))
# The log-precision learns at this fraction of the learning rate: it must follow the means, not race them.
LOG_PRECISION_RATE = 0.1


class Gaussian(Units):
    """Real-valued units: energy γ x^2 / 2 - bias x with precision γ = e^log_precision, so x ~ N(field / γ, 1 / γ).

    γ is 1 (for standardized data) until it is set, as `machine.parameters["log_precision.0"]`, or learned, with
    `learn_variance=True`. The interaction is -v W h without a variance, as for all units.

    Cho, Ilin, Raiko 2011, "Improved learning of Gaussian-Bernoulli restricted Boltzmann machines", learn a logarithm too, so that no
    step can make a variance negative.
    """

    discrete = False

    def __init__(self, size: int, learn_variance: bool = False) -> None:
        super().__init__(size)
        self.learn_variance = bool(learn_variance)

    def arguments(self) -> dict[str, Any]:
        """What the constructor was given."""
        return {"size": self.size} | ({"learn_variance": True} if self.learn_variance else {})

    def own_parameters(self) -> dict[str, tuple[tuple[int, ...], float | None]]:
        """`log_precision`, (size,)."""
        return {"log_precision": ((self.size,), LOG_PRECISION_RATE if self.learn_variance else None)}

    def precision(self, like: Array, beta: float = 1.0) -> Array:
        """beta γ, (size,), in the dtype and on the device of `like`."""
        xp = device_of(like).xp
        if "log_precision" in self.own:
            return xp.exp(self.own["log_precision"]) * like.dtype.type(beta)
        return xp.zeros(self.size, like.dtype) + like.dtype.type(beta)

    def deviation(self) -> np.ndarray:
        """γ^-1/2."""
        if "log_precision" not in self.own:
            return super().deviation()
        log_precision = self.own["log_precision"]
        return np.exp(-0.5 * device_of(log_precision).to_host(log_precision).astype(np.float64))

    def constrain_(self) -> None:
        """Keep the precision within its bounds."""
        if self.learn_variance:
            log_precision = self.own["log_precision"]
            log_precision[...] = device_of(log_precision).xp.clip(log_precision, *LOG_PRECISION_BOUNDS)

    def statistics(self, states: Array) -> dict[str, Array]:
        """-dE/d ln γ = -γ x^2 / 2."""
        if not self.learn_variance:
            return {}
        return {"log_precision": states.dtype.type(-0.5) * self.precision(states) * states * states}

    def energy(self, states: Array, bias: Array) -> Array:
        """sum_i γ_i x_i^2 / 2 - bias_i x_i."""
        half = states.dtype.type(0.5)
        return (states * (half * self.precision(states) * states - bias)).sum(axis=1, dtype=np.float64).astype(states.dtype)

    def log_partition(self, field: Array, beta: float = 1.0) -> Array:
        """sum_i field_i^2 / (2 γ_i) + ln(2 π / γ_i) / 2."""
        precision = self.precision(field, beta)
        terms = field * field / (2 * precision) + field.dtype.type(0.5 * math.log(2 * math.pi))
        terms -= device_of(field).xp.log(precision) / 2
        return terms.sum(axis=1, dtype=np.float64).astype(field.dtype)

    def mean(self, field: Array, beta: float = 1.0) -> Array:
        """field / γ."""
        return field / self.precision(field, beta)

    def variance(self, field: Array, beta: float = 1.0) -> Array:
        """1 / γ."""
        return 1 / self.precision(field, beta) + 0 * field

    def mode(self, field: Array, beta: float = 1.0) -> Array:
        """The mean."""
        return self.mean(field, beta)

    def draw(self, field: Array, stream: Stream, first_row: int = 0, beta: float = 1.0) -> tuple[Array, Array]:
        """(mean, mean + noise of variance 1 / γ); `field` is overwritten with the mean."""
        precision = self.precision(field, beta)
        field /= precision
        noise = stream.normal(field.shape, field.dtype, first_row)
        noise /= device_of(field).xp.sqrt(precision)
        noise += field
        return field, noise

    def bias_from_mean(self, mean: Array, rows: int | Array) -> Array:
        """γ mean."""
        return mean * self.precision(mean)

    def check(self, rows: Any, name: str) -> None:
        """Finite numbers."""
        check_rows(rows, self.size, low=-math.inf, high=math.inf, name=name)

    def check_training(self, rows: Any, name: str) -> None:
        """Columns near mean 0 and variance 1, in which the default rates and precisions are meant."""
        self.check(rows, name)
        check_standardized(rows, name=name)
