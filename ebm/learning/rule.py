"""What a learning rule is (see the package's docstring)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..compute.device import Array
from ..compute.random import Stream
from ..training.parameters import Parameters

if TYPE_CHECKING:
    from ..rbm import RBM

Chains = Mapping[str, Array]
Phase = tuple[Array, Array]


class Statistics(Protocol):
    """A model's phase that is no average over rows."""

    def __call__(self, gradient: Parameters, *, factor: float, centers: Sequence[Array] | None) -> None:
        """gradient += factor * the expectation of -dE/dparameters, centered at `centers` where they are given."""


Rule = Callable[["RBM", Array, Chains, Stream], tuple[Phase, Phase | Statistics]]


def check_counts(rule: Any, *numbers: Any) -> None:
    """Raise `ValueError` unless the numbers, which `rule` was given, are whole and at least 1."""
    if not all(isinstance(number, (int, np.integer)) and number >= 1 for number in numbers):
        raise ValueError(f"found {rule}; expected whole numbers >= 1")
