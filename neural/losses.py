"""Losses, each together with the output nonlinearity that it belongs to: functions of what the last layer gives, before that nonlinearity.

`values, slope = loss(z, target)` are the loss of each row, (rows,), and its derivative by z, of the shape of z. So fused they stay finite
for any z: a cross-entropy of a sigmoid never takes the logarithm of zero.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from ebm.compute.device import Array, device_of
from ebm.compute.kernels.logistic import cross_entropy, logistic
from ebm.compute.random import Stream
from ebm.data.minibatches import dense

# The least variance that a network can say: without it the density of one target is unbounded, and so is its logarithm.
_LEAST_VARIANCE = 1e-6


class Loss(ABC):
    """A loss of rows z (rows, outputs) and targets (rows, targets)."""

    # The layers that are this loss's own output nonlinearity: a network that ends with one would apply it twice.
    own: tuple[str, ...] = ()

    def width(self, targets: int) -> int:
        """How many outputs a network needs for rows of so many targets."""
        return targets

    @abstractmethod
    def output(self, z: Array) -> Array:
        """What the network predicts: the nonlinearity at z."""

    @abstractmethod
    def __call__(self, z: Array, target: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """The loss of each row, (rows,), and its derivative by z; with `weights` of each element of the target."""

    def check(self, targets: Any, name: str = "targets") -> None:
        """Raise `ValueError` for targets (rows, targets) outside of the loss's range, in rows of a host array or sparse matrix."""
        low, high = self.range
        expected = "finite values" if low == -math.inf else f"values in [{low}, {high}]"
        if len(targets.shape) < 2:
            raise ValueError(f"found {name} of shape {tuple(targets.shape)}; expected (rows, targets)")
        for start in range(0, targets.shape[0], 1000):
            rows = dense(targets[start : start + 1000])
            wrong = ~(np.isfinite(rows) & (rows >= low) & (rows <= high))
            if wrong.any():
                i, j = np.argwhere(wrong.reshape(rows.shape[0], -1))[0]
                raise ValueError(
                    f"{name}[{start + i}, {j}] is {rows.reshape(rows.shape[0], -1)[i, j]}; {self} expects {expected}"
                )

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest target."""
        return -math.inf, math.inf

    def config(self) -> dict[str, Any]:
        """What a file says of this loss."""
        return {"loss": type(self).__name__, **vars(self)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Loss) and self.config() == other.config()

    def __hash__(self) -> int:
        return hash(repr(self))


class BinaryCrossEntropy(Loss):
    """-sum_i t_i ln p_i + (1 - t_i) ln(1 - p_i) with p = 1 / (1 + e^-z), in nats; targets in [0, 1].

    `label_smoothing=s` moves targets to (1 - s) t + s / 2.
    """

    own = ("Sigmoid", "Softmax")

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = _share("label_smoothing", label_smoothing)

    @property
    def range(self) -> tuple[float, float]:
        """Probabilities."""
        return 0.0, 1.0

    def output(self, z: Array) -> Array:
        """p."""
        p = device_of(z).empty(z.shape, z.dtype)
        logistic(z, p)
        return p

    def draw(self, z: Array, stream: Stream, first_row: int = 0) -> Array:
        """Bits of these probabilities, for rows from `first_row` on."""
        return stream.bernoulli(self.output(z), first_row)

    def __call__(self, z: Array, target: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """sum_i ln(1 + e^z_i) - t_i z_i, and p - t."""
        device = device_of(z)
        terms, slope = device.empty(z.shape, z.dtype), device.empty(z.shape, z.dtype)
        target = device.xp.ascontiguousarray(_smoothed(target, self.label_smoothing, 2))
        cross_entropy(z, target, terms, slope)
        return _weighted(terms, slope, weights)


class CategoricalCrossEntropy(Loss):
    """-sum_k t_k ln p_k with p_k = e^(z_k) / sum_j e^(z_j), in nats; targets are one-hot rows, or probabilities that sum to 1.

    `label_smoothing=s` moves targets to (1 - s) t + s / categories.
    """

    own = ("Sigmoid", "Softmax")

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = _share("label_smoothing", label_smoothing)

    @property
    def range(self) -> tuple[float, float]:
        """Probabilities."""
        return 0.0, 1.0

    def output(self, z: Array) -> Array:
        """p."""
        xp = device_of(z).xp
        p = xp.exp(z - z.max(axis=1)[:, None])
        p /= p.sum(axis=1)[:, None]
        return p

    def __call__(self, z: Array, target: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """ln sum_j e^(z_j) - sum_k t_k z_k, and p - t."""
        if weights is not None:
            raise ValueError(f"found weights of elements for {self}; the elements of its target are one choice")
        xp = device_of(z).xp
        target = _smoothed(target, self.label_smoothing, z.shape[1])
        shifted = z - z.max(axis=1)[:, None]
        p = xp.exp(shifted)
        total = p.sum(axis=1)
        values = xp.log(total) - (target * shifted).sum(axis=1)
        p /= total[:, None]
        p -= target
        return values, p

    def check(self, targets: Any, name: str = "targets") -> None:
        """Values in [0, 1] that sum to 1 in each row."""
        super().check(targets, name)
        sums = np.asarray(targets.sum(axis=1)).ravel()
        if (wrong := np.abs(sums - 1) > 1e-3).any():
            row = int(wrong.argmax())
            raise ValueError(
                f"{name}[{row}] sums to {sums[row]:g}; {self} expects one-hot rows: write np.eye(categories)[labels]"
            )


class SquaredError(Loss):
    """sum_i (y_i - t_i)^2, summed over the elements of a row as the literature on autoencoders does, without a factor of 1/2.

    y is z, or with `output_by="sigmoid"` 1 / (1 + e^-z).
    """

    def __init__(self, output_by: str = "identity") -> None:
        if output_by not in ("identity", "sigmoid"):
            raise ValueError(f"found output_by={output_by!r}; expected 'identity' or 'sigmoid'")
        self.output_by = output_by

    @property
    def own(self) -> tuple[str, ...]:  # type: ignore[override]
        """A sigmoid of its own, if it has one."""
        return ("Sigmoid",) if self.output_by == "sigmoid" else ()

    def output(self, z: Array) -> Array:
        """y."""
        return BinaryCrossEntropy().output(z) if self.output_by == "sigmoid" else z

    def __call__(self, z: Array, target: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """The sum, and 2 (y - t) dy/dz."""
        y = self.output(z)
        difference = y - target
        slope = 2 * difference
        if self.output_by == "sigmoid":
            slope *= y * (1 - y)
        return _weighted(difference * difference, slope, weights)


class GaussianLikelihood(Loss):
    """-sum_i ln N(t_i; mean_i, variance_i), in nats. The first half of z are the means, the second gives the variances, e^z + 10^-6; with
    `variance` a number all variances are that, and z are the means.
    """

    def __init__(self, variance: float | None = None) -> None:
        if variance is not None and not variance > 0:
            raise ValueError(f"found variance={variance}; expected a positive number, or None for variances that are learned")
        self.variance = variance

    def width(self, targets: int) -> int:
        """Means and variances."""
        return targets if self.variance else 2 * targets

    def output(self, z: Array) -> Array:
        """The means."""
        return z if self.variance else z[:, : z.shape[1] // 2]

    def draw(self, z: Array, stream: Stream, first_row: int = 0) -> Array:
        """Numbers of these means and variances, for rows from `first_row` on."""
        xp, mean = device_of(z).xp, self.output(z)
        noise = stream.normal(mean.shape, z.dtype, first_row)
        if self.variance:
            return mean + z.dtype.type(math.sqrt(self.variance)) * noise
        return mean + xp.sqrt(xp.exp(z[:, mean.shape[1] :]) + z.dtype.type(_LEAST_VARIANCE)) * noise

    def __call__(self, z: Array, target: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """sum_i ((t_i - mean_i)^2 / variance_i + ln variance_i + ln 2 pi) / 2, and its derivative."""
        device, half = device_of(z), z.dtype.type(0.5)
        slope = device.empty(z.shape, z.dtype)
        if self.variance:
            difference = z - target
            constant = z.dtype.type(math.log(2 * math.pi * self.variance))
            slope[...] = difference / z.dtype.type(self.variance)
            return _weighted(half * (difference * slope + constant), slope, weights)
        size = z.shape[1] // 2
        log_variance = device.xp.logaddexp(z[:, size:], z.dtype.type(math.log(_LEAST_VARIANCE)))
        difference = z[:, :size] - target
        scaled = difference * device.xp.exp(-log_variance)
        squared = difference * scaled
        slope[:, :size] = scaled
        slope[:, size:] = half * (1 - squared) * device.xp.exp(z[:, size:] - log_variance)
        terms = half * (squared + log_variance + z.dtype.type(math.log(2 * math.pi)))
        return _weighted(terms, slope, None if weights is None else device.xp.concatenate([weights, weights], axis=1))


LOSSES: dict[str, type[Loss]] = {
    t.__name__: t for t in (BinaryCrossEntropy, CategoricalCrossEntropy, SquaredError, GaussianLikelihood)
}


def from_config(config: dict[str, Any]) -> Loss:
    """The loss that a file describes."""
    arguments = dict(config)
    return LOSSES[arguments.pop("loss")](**arguments)


def _share(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"found {name}={value}; expected 0 <= {name} < 1")
    return value


def _smoothed(target: Array, smoothing: float, categories: int) -> Array:
    return target if smoothing == 0 else target.dtype.type(1 - smoothing) * target + target.dtype.type(smoothing / categories)


def _weighted(terms: Array, slope: Array, weights: Array | None) -> tuple[Array, Array]:
    """The sums over the rows, and the slope, each element times its weight."""
    if weights is not None:
        terms = terms * weights[:, : terms.shape[1]]
        slope *= weights
    return terms.sum(axis=1, dtype=np.float64).astype(terms.dtype), slope
