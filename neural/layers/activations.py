"""Activations: functions of each element, and Softmax of groups of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ebm.compute.device import Array, beside, device_of
from ebm.compute.kernel import Kernel
from ebm.compute.kernels.logistic import logistic, logistic_slope, softplus
from ebm.compute.random import Stream
from ebm.units import Bernoulli, Joint, Units, from_config
from ebm.units import Softmax as SoftmaxUnits

from ..gradient import Gradient
from ..kernels import tanh_slope
from .base import Backprop, Layer, Shape


class Activation(Layer):
    """y = f(x), element by element."""

    def shape_after(self, inputs: Shape) -> Shape:
        """That of the inputs."""
        return inputs

    def forward(self, x: Array, training: Stream | None) -> tuple[Array, Backprop]:
        """y and dx = f'(x) dy."""
        y, slope = self.value(x)

        def backprop(dy: Array, gradient: Gradient | None = None, through: bool = True) -> Array:
            return slope() * dy

        return y, backprop

    def value(self, x: Array) -> tuple[Array, Callable[[], Array]]:
        """f(x), and a function that gives f'(x)."""
        raise NotImplementedError


class Sigmoid(Activation):
    """y = 1 / (1 + e^-x)."""

    def forward(self, x: Array, training: Stream | None) -> tuple[Array, Backprop]:
        """y, and dx = y (1 - y) dy in one pass."""
        y, _ = self.value(x)
        return y, lambda dy, gradient=None, through=True: _in_one_pass(logistic_slope, y, dy)

    def value(self, x: Array) -> tuple[Array, Callable[[], Array]]:
        """y, and y (1 - y)."""
        y = device_of(x).empty(x.shape, x.dtype)
        logistic(x, y)
        return y, lambda: y * (1 - y)


class Tanh(Activation):
    """y = tanh x."""

    def forward(self, x: Array, training: Stream | None) -> tuple[Array, Backprop]:
        """y, and dx = (1 - y^2) dy in one pass."""
        y, _ = self.value(x)
        return y, lambda dy, gradient=None, through=True: _in_one_pass(tanh_slope, y, dy)

    def value(self, x: Array) -> tuple[Array, Callable[[], Array]]:
        """y, and 1 - y^2."""
        y = device_of(x).xp.tanh(x)
        return y, lambda: 1 - y * y


class ReLU(Activation):
    """y = max(0, x)."""

    def value(self, x: Array) -> tuple[Array, Callable[[], Array]]:
        """y, and whether x > 0."""
        return device_of(x).xp.maximum(x, x.dtype.type(0)), lambda: x > 0


class LeakyReLU(Activation):
    """y = x where x > 0, else slope x."""

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = slope

    def value(self, x: Array) -> tuple[Array, Callable[[], Array]]:
        """y, and 1 or the slope."""
        xp, slope = device_of(x).xp, x.dtype.type(self.slope)
        factor = xp.where(x > 0, x.dtype.type(1), slope)
        return factor * x, lambda: factor

    def arguments(self) -> dict[str, Any]:
        """The slope."""
        return {"slope": self.slope}


class ELU(Activation):
    """y = x where x > 0, else alpha (e^x - 1) (Clevert, Unterthiner, Hochreiter 2016)."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def value(self, x: Array) -> tuple[Array, Callable[[], Array]]:
        """y, and 1 or y + alpha."""
        xp, alpha = device_of(x).xp, x.dtype.type(self.alpha)
        y = xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, x.dtype.type(0))))
        return y, lambda: xp.where(x > 0, x.dtype.type(1), y + alpha)

    def arguments(self) -> dict[str, Any]:
        """Alpha."""
        return {"alpha": self.alpha}


class Softplus(Activation):
    """y = ln(1 + e^x)."""

    def value(self, x: Array) -> tuple[Array, Callable[[], Array]]:
        """y, and 1 / (1 + e^-x)."""
        device = device_of(x)
        y = device.empty(x.shape, x.dtype)
        softplus(x, y)

        def slope() -> Array:
            found = device.empty(x.shape, x.dtype)
            logistic(x, found)
            return found

        return y, slope


class Softmax(Layer):
    """y_k = e^(x_k) / sum_j e^(x_j) over the last axis."""

    def shape_after(self, inputs: Shape) -> Shape:
        """That of the inputs."""
        return inputs

    def forward(self, x: Array, training: Stream | None) -> tuple[Array, Backprop]:
        """y, and dx = y (dy - sum_j y_j dy_j)."""
        xp = device_of(x).xp
        y = xp.exp(x - xp.expand_dims(x.max(axis=-1), -1))
        y /= xp.expand_dims(y.sum(axis=-1), -1)

        def backprop(dy: Array, gradient: Gradient | None = None, through: bool = True) -> Array:
            return y * (dy - xp.expand_dims((y * dy).sum(axis=-1), -1))

        return y, backprop


class UnitMean(Layer):
    """y = E[h] of units of a Boltzmann machine under the field x; its derivative is their variance. What unrolling makes of a layer.

    The units of a Softmax group depend on each other: their derivative is the covariance. Raises `ValueError` for word counts, whose mean
    is of a document's length.
    """

    def __init__(self, units: Units) -> None:
        super().__init__()
        if units.replicated:
            raise ValueError(
                f"found UnitMean({units}); its mean needs the length of a document: write UnitMean(Softmax({units.size})), "
                "the shares of the words"
            )
        self.units = units

    def shape_after(self, inputs: Shape) -> Shape:
        """That of the units."""
        if inputs != (self.units.size,):
            raise ValueError(f"found rows of shape {inputs} before {self}; expected ({self.units.size},)")
        return inputs

    def shapes(self, inputs: Shape) -> dict[str, Shape]:
        """The units' own parameters, such as a Gaussian's log-precision."""
        return {name: shape for name, (shape, _) in self.units.own_parameters().items()}

    def still(self) -> set[str]:
        """All of them: a network learns weights and biases."""
        return set(self.units.own_parameters())

    def forward(self, x: Array, training: Stream | None) -> tuple[Array, Backprop]:
        """y (rows, size)."""
        units = self.units.bound(self.own)
        y = units.mean(x)

        def backprop(dy: Array, gradient: Gradient | None = None, through: bool = True) -> Array:
            return _in_one_pass(logistic_slope, y, dy) if isinstance(units, Bernoulli) else _by_field(units, x, y, dy)

        return y, backprop

    def config(self) -> dict[str, Any]:
        """The units' description."""
        return {"layer": "UnitMean", "units": self.units.config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> UnitMean:
        """The layer of a description."""
        return cls(from_config(config["units"]))

    def __repr__(self) -> str:
        return f"UnitMean({self.units!r})"


def _in_one_pass(slope: Kernel, y: Array, dy: Array) -> Array:
    """dx = f'(x) dy, by a kernel that knows f' from y = f(x)."""
    device = device_of(dy)
    dx = device.empty(dy.shape, dy.dtype)
    slope(y, device.asarray(dy), dx)
    return dx


def _by_field(units: Units, x: Array, y: Array, dy: Array) -> Array:
    """The derivative by the field x from that by the mean y."""
    if isinstance(units, Joint):
        parts = zip(units.members, units.parts(x), units.parts(y), units.parts(dy), strict=True)
        return beside([_by_field(*part) for part in parts])
    if not isinstance(units, SoftmaxUnits):
        return units.variance(x) * dy
    rows = x.shape[0], units.groups, units.categories
    p, d = y.reshape(rows), dy.reshape(rows)
    return (p * (d - (p * d).sum(axis=2)[:, :, None])).reshape(x.shape)
