"""Corruption: noise on the inputs of a denoising autoencoder, which learns to undo it.

Vincent, Larochelle, Lajoie, Bengio, Manzagol 2010, "Stacked denoising autoencoders". A corruption is called as
`corrupted, changed = corruption(x, stream)`; `changed` says which elements were hit (1 or 0), None where all were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ebm.compute.device import Array, device_of
from ebm.compute.random import Stream

Corruption = Callable[[Array, Stream], tuple[Array, Array | None]]


@dataclass(frozen=True)
class GaussianNoise:
    """x + N(0, deviation^2)."""

    deviation: float

    def __post_init__(self) -> None:
        if not self.deviation > 0:
            raise ValueError(f"found {self}; expected deviation > 0")

    def __call__(self, x: Array, stream: Stream) -> tuple[Array, Array | None]:
        """(corrupted, None)."""
        noise = stream.normal((x.shape[0], x.size // x.shape[0]), x.dtype).reshape(x.shape)
        noise *= x.dtype.type(self.deviation)
        noise += x
        return noise, None


@dataclass(frozen=True)
class Masking:
    """Each element is set to zero with probability `share`.

    `emphasis=(alpha, beta)` weighs the loss of the elements that were hit by alpha and that of the others by beta (Vincent et al.
    2010, section 3.4).
    """

    share: float
    emphasis: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _check(self, self.share)

    def __call__(self, x: Array, stream: Stream) -> tuple[Array, Array | None]:
        """(corrupted, changed)."""
        hit = _hit(x, self.share, stream)
        return x * (1 - hit), hit


@dataclass(frozen=True)
class SaltAndPepper:
    """Each element is set to `low` or to `high`, by a fair coin, with probability `share`; `emphasis` as for `Masking`."""

    share: float
    emphasis: tuple[float, float] | None = None
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        _check(self, self.share)

    def __call__(self, x: Array, stream: Stream) -> tuple[Array, Array | None]:
        """(corrupted, changed)."""
        hit = _hit(x, self.share, stream)
        salt = _hit(x, 0.5, stream)
        xp, low, high = device_of(x).xp, x.dtype.type(self.low), x.dtype.type(self.high)
        return xp.where(hit > 0, low + salt * (high - low), x), hit


def emphasized(corruption: Corruption | None, changed: Array | None) -> Array | None:
    """The weight of each element's loss, or None for 1."""
    emphasis = getattr(corruption, "emphasis", None)
    if emphasis is None or changed is None:
        return None
    alpha, beta = (changed.dtype.type(w) for w in emphasis)
    return beta + changed * (alpha - beta)


def _hit(x: Array, share: float, stream: Stream) -> Array:
    return (stream.uniform((x.shape[0], x.size // x.shape[0]), x.dtype) < share).astype(x.dtype).reshape(x.shape)


def _check(corruption: Masking | SaltAndPepper, share: float) -> None:
    emphasis = corruption.emphasis
    if not 0 < share < 1 or (emphasis is not None and (len(emphasis) != 2 or min(emphasis) < 0)):
        raise ValueError(f"found {corruption}; expected 0 < share < 1, and for emphasis two weights >= 0 or None")
