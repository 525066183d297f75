"""Penalties on the codes of an autoencoder: what makes it sparse or contractive.

A penalty is called as `value, slope = penalty(model, x, code, stream, gradient)`: its mean over the rows, a scalar, and the derivative
of that mean by the code, (rows, code) or None; what it adds to the parameters' gradient besides, it adds itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebm.compute.device import Array, device_of
from ebm.compute.random import Stream
from ebm.units.base import positive

from .gradient import Gradient
from .layers import ELU, Dense, Layer, LeakyReLU, ReLU, Sigmoid, Softplus, Tanh

if TYPE_CHECKING:
    from .autoencoder import Autoencoder


@dataclass(frozen=True)
class CodeL1:
    """strength sum_j |h_j|."""

    strength: float

    def __post_init__(self) -> None:
        if not self.strength >= 0:
            raise ValueError(f"found {self}; expected strength >= 0")

    def __call__(
        self, model: Autoencoder, x: Array, code: Array, stream: Stream, gradient: Gradient
    ) -> tuple[Array, Array | None]:
        """The mean over the rows, and its derivative."""
        xp, share = device_of(code).xp, code.dtype.type(self.strength / code.shape[0])
        return share * xp.abs(code).sum(), share * xp.sign(code)


@dataclass(frozen=True)
class KLSparsity:
    """strength sum_j KL(target || q_j), with q_j the mean of code unit j over the batch, of codes in (0, 1).

    Ng 2011, "Sparse autoencoder", section 3. Codes must be those of a Sigmoid.
    """

    target: float = 0.05
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.target < 1 or not self.strength >= 0:
            raise ValueError(f"found {self}; expected 0 < target < 1 and strength >= 0")

    def check(self, model: Autoencoder) -> None:
        """Raise `ValueError` for codes that are no probabilities."""
        last = model.network.layers[model.depth - 1]
        if not isinstance(last, Sigmoid):
            raise ValueError(
                f"found {self} for codes of {last}; expected probabilities: write code='sigmoid', or SquaredSparsity"
            )

    def __call__(
        self, model: Autoencoder, x: Array, code: Array, stream: Stream, gradient: Gradient
    ) -> tuple[Array, Array | None]:
        """The penalty of the batch's means, and its derivative."""
        xp, target = device_of(code).xp, code.dtype.type(self.target)
        tiny = code.dtype.type(1e-6)
        q = xp.clip(code.mean(axis=0), tiny, 1 - tiny)
        value = target * xp.log(target / q) + (1 - target) * xp.log((1 - target) / (1 - q))
        slope = (1 - target) / (1 - q) - target / q
        strength = code.dtype.type(self.strength)
        return strength * value.sum(), xp.broadcast_to(strength / code.shape[0] * slope, code.shape)


@dataclass(frozen=True)
class SquaredSparsity:
    """strength sum_j (q_j - target)^2, with q_j the mean of code unit j over the batch."""

    target: float = 0.05
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not self.strength >= 0:
            raise ValueError(f"found {self}; expected strength >= 0")

    def __call__(
        self, model: Autoencoder, x: Array, code: Array, stream: Stream, gradient: Gradient
    ) -> tuple[Array, Array | None]:
        """The penalty of the batch's means, and its derivative."""
        strength = code.dtype.type(self.strength)
        away = code.mean(axis=0) - code.dtype.type(self.target)
        return strength * (away * away).sum(), device_of(code).xp.broadcast_to(2 * strength / code.shape[0] * away, code.shape)


@dataclass(frozen=True)
class Contractive:
    """strength ||dh/dx||^2, the squared Frobenius norm of the encoder's Jacobian, for an encoder of one Dense layer and one activation:

        sum_j f'(z_j)^2 sum_i W_ij^2.

    `hessian` adds hessian E ||J(x) - J(x + e)||^2 with e ~ N(0, deviation^2), as many draws as `samples` (CAE+H). (Rifai, Vincent, Muller,
    Glorot, Bengio 2011, "Contractive auto-encoders", equation 7; Rifai et al. 2011, "Higher order contractive auto-encoder".)
    Deeper encoders have `StochasticContractive`.
    """

    strength: float
    hessian: float = 0.0
    deviation: float = 0.1
    samples: int = 4

    def __post_init__(self) -> None:
        if not (self.strength >= 0 and self.hessian >= 0 and self.deviation > 0):
            raise ValueError(f"found {self}; expected strength >= 0, hessian >= 0 and deviation > 0")
        positive("samples", self.samples)

    def check(self, model: Autoencoder) -> None:
        """Raise `ValueError` for encoders without this closed form."""
        layers = model.network.layers[: model.depth]
        if (
            len(layers) not in (1, 2)
            or not isinstance(layers[0], Dense)
            or (len(layers) == 2 and type(layers[1]) not in _DERIVATIVES)
        ):
            known = ", ".join(t.__name__ for t in _DERIVATIVES)
            chain = " -> ".join(map(repr, layers))
            raise ValueError(
                f"found {self} for an encoder of {chain}; its Jacobian is known for Dense and one of {known}: write "
                f"StochasticContractive(strength={self.strength})"
            )

    def __call__(
        self, model: Autoencoder, x: Array, code: Array, stream: Stream, gradient: Gradient
    ) -> tuple[Array, Array | None]:
        """The mean over the rows; the derivatives go to the gradient of weights and biases."""
        dense, rows = model.network.layers[0], x.shape[0]
        weights = dense.own["weights"]
        norms = (weights * weights).sum(axis=0)
        z, backprop = dense(x)
        slope, curve = _derivatives(model, z)
        share = x.dtype.type(self.strength / rows)
        by_norm = share * (slope * slope).sum(axis=0)
        value = (by_norm * norms).sum()
        backprop(2 * share * slope * curve * norms, gradient, through=False)
        for _ in range(self.samples if self.hessian else 0):
            moved = stream.normal(x.shape, x.dtype)
            moved *= x.dtype.type(self.deviation)
            moved += x
            z_moved, backprop_moved = dense(moved)
            slope_moved, curve_moved = _derivatives(model, z_moved)
            share = x.dtype.type(self.hessian / (rows * self.samples))
            apart = slope - slope_moved
            weighed = share * (apart * apart).sum(axis=0)
            by_norm = by_norm + weighed
            value = value + (weighed * norms).sum()
            backprop(2 * share * apart * curve * norms, gradient, through=False)
            backprop_moved(-2 * share * apart * curve_moved * norms, gradient, through=False)
        gradient.add(dense.names["weights"], 2 * weights * by_norm)
        return value, None


@dataclass(frozen=True)
class StochasticContractive:
    """strength E ||f(x + e) - f(x)||^2 / deviation^2 with e ~ N(0, deviation^2), for any encoder f: for small deviations the squared norm
    of its Jacobian (Rifai et al. 2011, "The manifold tangent classifier", section 2; Alain & Bengio 2014)."""

    strength: float
    deviation: float = 0.1

    def __post_init__(self) -> None:
        if not self.strength >= 0 or not self.deviation > 0:
            raise ValueError(f"found {self}; expected strength >= 0 and deviation > 0")

    def __call__(
        self, model: Autoencoder, x: Array, code: Array, stream: Stream, gradient: Gradient
    ) -> tuple[Array, Array | None]:
        """The mean over the rows, and its derivative by the code at x; that by the other code goes to the gradient."""
        noise = stream.normal((x.shape[0], x.size // x.shape[0]), x.dtype).reshape(x.shape)
        noise *= x.dtype.type(self.deviation)
        back = None
        if any(layer.differs for layer in model.network.layers[: model.depth]):
            # else what dropout changes would count as well
            code, back = model.network(x, None, 0, model.depth)
        other, backprop = model.network(x + noise, None, 0, model.depth)
        apart = other - code
        share = x.dtype.type(self.strength / (x.shape[0] * self.deviation**2))
        backprop(2 * share * apart, gradient, through=False)
        value, slope = share * (apart * apart).sum(), -2 * share * apart
        if back is None:
            return value, slope
        back(slope, gradient, through=False)
        return value, None


def _sigmoid(layer: Layer, y: Array, slope: Array) -> Array:
    return slope * (1 - 2 * y)


def _tanh(layer: Layer, y: Array, slope: Array) -> Array:
    return -2 * y * slope


def _softplus(layer: Layer, y: Array, slope: Array) -> Array:
    return slope * (1 - slope)


def _elu(layer: Layer, y: Array, slope: Array) -> Array:
    return slope * (y <= 0)


def _straight(layer: Layer, y: Array, slope: Array) -> Array:
    return 0 * y


# f'' of the activations whose slopes have one, from y and f'.
_DERIVATIVES: dict[type[Layer], Callable[[Layer, Array, Array], Array]] = {
    Sigmoid: _sigmoid,
    Tanh: _tanh,
    Softplus: _softplus,
    ELU: _elu,
    ReLU: _straight,
    LeakyReLU: _straight,
}


def _derivatives(model: Autoencoder, z: Array) -> tuple[Array, Array]:
    """f'(z) and f''(z) of the encoder's activation."""
    if model.depth == 1:
        return 0 * z + 1, 0 * z
    layer = model.network.layers[1]
    y, slope = layer.value(z)  # type: ignore[attr-defined]
    found = slope().astype(z.dtype)
    return found, _DERIVATIVES[type(layer)](layer, y, found)
