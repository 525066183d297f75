"""Penalties: what is added to the objective, or demanded of the weights, beside the likelihood.

The norm penalties are coefficients that the optimizer's kernel applies in its one pass, to weights and not to biases.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..compute.device import Array, device_of


@dataclass(frozen=True)
class WeightDecay:
    """rate / 2 * sum W^2: adds rate W to the gradient of the loss."""

    rate: float

    def __post_init__(self) -> None:
        _not_negative(self, self.rate)


@dataclass(frozen=True)
class L1:
    """rate * sum |W|: adds rate sign(W) to the gradient of the loss."""

    rate: float

    def __post_init__(self) -> None:
        _not_negative(self, self.rate)


@dataclass(frozen=True)
class MaxNorm:
    """After each step, the weights into a unit, a column of W, are scaled down to Euclidean norm `limit` where they exceed it.

    Srebro & Shraibman 2005; used with stochastic gradients by Hinton et al. 2012, "Improving neural networks by preventing
    co-adaptation of feature detectors".
    """

    limit: float

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise ValueError(f"found {self}; expected limit > 0")

    def constrain_(self, weights: Array) -> None:
        """Scale the columns of `weights` (in, out)."""
        xp = device_of(weights).xp
        # the floor only keeps a column of zeros from a division by zero
        norms = xp.maximum(xp.sqrt((weights * weights).sum(axis=0)), weights.dtype.type(1e-30))
        weights *= xp.minimum(weights.dtype.type(1), weights.dtype.type(self.limit) / norms)


@dataclass(frozen=True)
class SparsityTarget:
    """Pulls the mean activation q of each hidden unit toward `target`: adds strength (q - target) to its field's gradient.

    In machines with several hidden layers it applies to all of them, or to the one whose number is `layer`.

    q is a running mean, q = decay q + (1 - decay) (mean over the batch). It is the gradient of the cross-entropy between target and q
    (Hinton 2010, "A practical guide to training restricted Boltzmann machines", section 11).
    """

    target: float
    strength: float = 0.1
    decay: float = 0.9
    layer: int | None = None

    def __post_init__(self) -> None:
        _not_negative(self, self.strength)
        if not 0 < self.target < 1 or not 0 <= self.decay < 1:
            raise ValueError(f"found {self}; expected 0 < target < 1 and 0 <= decay < 1")

    def pull(self, mean: Array, running: Array) -> Array:
        """What to add to the positive phase's hidden means (rows, hidden); moves `running` (hidden,), the means so far, in place."""
        running *= running.dtype.type(self.decay)
        running += running.dtype.type(1 - self.decay) * mean.mean(axis=0)
        return running.dtype.type(self.strength) * (running.dtype.type(self.target) - running)


def _not_negative(penalty: Any, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"found {penalty}; expected a finite number >= 0")


Penalty = WeightDecay | L1 | MaxNorm | SparsityTarget


def listed(penalties: Iterable[Penalty]) -> list[Penalty]:
    """The penalties as a list. Raises `TypeError` for a single one and for what is none."""
    if isinstance(penalties, Penalty):
        raise TypeError(f"found penalties={penalties!r}; expected a list: write penalties=[{penalties!r}]")
    found = list(penalties)
    for penalty in found:
        if not isinstance(penalty, Penalty):
            raise TypeError(f"found the penalty {penalty!r}; expected one of ebm.training, such as WeightDecay(1e-4)")
    return found
