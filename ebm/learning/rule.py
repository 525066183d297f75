"""What a learning rule is (see the package's docstring)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ..compute.device import Array
from ..compute.random import Stream
from ..training.parameters import Parameters

Chains = Mapping[str, Array]
# States of all layers, or their means: (visible, hidden) for an RBM.
Phase = Sequence[Array]


class Statistics(Protocol):
    """A model's phase that is no average over rows."""

    def __call__(self, gradient: Parameters, *, factor: float, centers: Sequence[Array] | None) -> None:
        """gradient += factor * the expectation of -dE/dparameters, centered at `centers` where they are given."""


Rule = Callable[[Any, Array, Chains, Stream], tuple[Phase, Phase | Statistics]]


def check_counts(rule: Any, *numbers: Any) -> None:
    """Raise `ValueError` unless the numbers, which `rule` was given, are whole and at least 1. Schedules are taken as they are."""
    if not all(callable(number) or (isinstance(number, (int, np.integer)) and number >= 1) for number in numbers):
        raise ValueError(f"found {rule}; expected whole numbers >= 1")


def scheduled(rule: Rule, progress: float) -> Rule:
    """The rule with as many steps as its schedule says after `progress` epochs; itself where it has none. A step calls no other."""
    steps = getattr(rule, "steps", None)
    if not callable(steps) or not dataclasses.is_dataclass(rule) or isinstance(rule, type):
        return rule
    return dataclasses.replace(rule, steps=round(steps(progress)))


def repeatable(rule: Rule) -> bool:
    """Whether a step may be captured with the rule (see `compute.graph`): a frozen dataclass always does the same; what else a function
    depends on nobody knows."""
    return dataclasses.is_dataclass(rule) and isinstance(rule, Hashable)
