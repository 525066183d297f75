"""An estimate of ln Z between two sides, and what speaks against it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# Estimates agree within their error when they differ by at most so many standard errors.
_ERRORS = 4.0
# A standard error of fewer effective chains than this says nothing.
_FEWEST = 4.0
# What rounding may move where weights are all alike.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Side:
    """One estimate of ln Z, its standard error (both in nats) and the effective sample size (sum w)^2 / sum w^2 of its weights."""

    log_partition: float
    standard_error: float
    effective_sample_size: float

    @classmethod
    def of(cls, log_weights: np.ndarray, base: float, sign: int = 1) -> Side:
        """base + ln mean e^log_weights, or base - ln mean for the reverse `sign` = -1; the error by the delta method."""
        weights = np.exp(log_weights - log_weights.max())
        log_mean = float(log_weights.max() + np.log(weights.mean()))
        error = weights.std(ddof=1) / (weights.mean() * np.sqrt(weights.size)) if weights.size > 1 else np.inf
        return cls(base + sign * log_mean, float(error), float(weights.sum() ** 2 / (weights**2).sum()))

    def __str__(self) -> str:
        return f"{self.log_partition:.3f} ± {self.standard_error:.3f} ({self.effective_sample_size:.0f} effective chains)"


@dataclass(frozen=True)
class Estimate:
    """ln Z with its sides.

    `log_partition` and `standard_error` are those of forward annealing, `reverse` is ln Z from the other side (None where it was not
    asked for), `gap` the widest distance between any two of the `sides`, in nats. `coarse` holds the same sides with half the
    temperatures and sweeps. `objections` are the reasons not to believe the estimate; it is `certified` when there are none:

    - the reverse side starts at exact samples of the machine, or has two halves, one started at data and one at noise;
    - all sides lie within the tolerance, in nats, of each other;
    - doubling temperatures and sweeps, from `coarse` to `sides`, moved none by more than four standard errors of the difference;
    - no side rests on fewer than four chains (its effective sample size).

    That is evidence, not proof: no sampler sees a mode to which neither data nor noise nor tempering leads.
    """

    log_partition: float
    standard_error: float
    reverse: float | None
    gap: float | None
    sides: dict[str, Side]
    coarse: dict[str, Side]
    swap_rate: float | None
    objections: tuple[str, ...]
    chains: int
    temperatures: int
    length: int | None = None

    @property
    def certified(self) -> bool:
        """Whether nothing speaks against the estimate."""
        return not self.objections

    def __str__(self) -> str:
        verdict = f"certified within {self.gap:.3f} nats" if self.certified else "NOT CERTIFIED, do not believe it"
        found = f"{self.log_partition:.3f} ± {self.standard_error:.3f}"
        if self.reverse is not None:
            found = f"between {found} (forward) and {self.reverse:.3f} (reverse)"
        lines = [f"ln Z {found} nats: {verdict}", f"  {self.chains} chains, {self.temperatures} temperatures"]
        lines += [f"  {name}: {side}" for name, side in self.sides.items()]
        if self.swap_rate is not None:
            lines.append(f"  lowest swap rate of the tempered chains: {self.swap_rate:.2f}")
        return "\n".join([*lines, *(f"  not certified: {reason}" for reason in self.objections)])


def objections(sides: dict[str, Side], coarse: dict[str, Side], tolerance: float, origins: Sequence[str]) -> Iterator[str]:
    """What speaks against an estimate whose samples of the machine have these origins."""
    if not origins:
        yield "only forward annealing was run, which gives no bound from above: write reverse=True"
    elif origins == ["noise"]:
        yield "no chains were started at data: write data=train, rows that the machine was trained on"
    low, high = (choose(sides, key=lambda name: sides[name].log_partition) for choose in (min, max))
    if (gap := sides[high].log_partition - sides[low].log_partition) > tolerance:
        yield (
            f"{low} and {high} differ by {gap:.3f} nats, more than the tolerance of {tolerance}: take more temperatures and sweeps; "
            f"if they stay apart, the chains are stuck in different modes"
        )
    for name, side in sides.items():
        moved = abs(side.log_partition - coarse[name].log_partition)
        error = math.hypot(side.standard_error, coarse[name].standard_error)
        if moved > _ERRORS * error + _ROUNDING:
            yield (
                f"doubling temperatures and sweeps moved {name} by {moved:.3f} nats, {moved / error:.1f} standard errors: double them again"
            )
        if side.effective_sample_size < _FEWEST:
            yield (
                f"{name} rests on {side.effective_sample_size:.1f} effective chains, too few for its standard error: take more "
                f"temperatures"
            )
