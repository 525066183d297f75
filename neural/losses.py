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
from ebm.data.validation import check_rows

# The least variance that a network can say: without it the density of one target is unbounded, and so is its logarithm.
_LEAST_VARIANCE = 1e-6


class Loss(ABC):
    """A loss of rows z (rows, outputs) and targets (rows, targets)."""

    # Whether it has an output nonlinearity of its own: a network must end with any real numbers then.
    nonlinear: bool = False

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
        try:
            check_rows(targets, low=low, high=high, sparse=True, name=name)
        except ValueError as error:
            if not math.isfinite(low):
                raise
            what = f"{self} is for targets in [{low:g}, {high:g}], SquaredError() for any numbers"
            raise ValueError(f"{what}: {error}") from error

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

    nonlinear = True

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

    nonlinear = True

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
        if len(targets.shape) == 1:
            raise ValueError(
                f"{name}: found shape {tuple(targets.shape)}; {self} expects one-hot rows: write np.eye(categories)[labels]"
            )
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
    def nonlinear(self) -> bool:  # type: ignore[override]
        """Whether it has the sigmoid."""
        return self.output_by == "sigmoid"

    @property
    def range(self) -> tuple[float, float]:
        """All numbers, or what the sigmoid reaches."""
        return (0.0, 1.0) if self.output_by == "sigmoid" else super().range

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


def as_loss(loss: Any, default: Loss) -> Loss:
    """The loss, or the default for None. Raises `TypeError` for what is none."""
    if loss is None:
        return default
    if not isinstance(loss, Loss):
        raise TypeError(f"found loss={loss!r}; expected a loss of neural.losses, such as loss={default}")
    return loss


LOSSES: dict[str, type[Loss]] = {
    t.__name__: t for t in (BinaryCrossEntropy, CategoricalCrossEntropy, SquaredError, GaussianLikelihood)
}


def from_config(config: dict[str, Any]) -> Loss:
    """The loss that a file describes; raises `ValueError` for an unknown type."""
    arguments = dict(config)
    name = arguments.pop("loss", None)
    if name not in LOSSES:
        raise ValueError(f"found loss {name!r}; this version knows {sorted(LOSSES)}")
    return LOSSES[name](**arguments)


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
