"""Measured: a number with its uncertainty."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import numpy as np


class Measured(NamedTuple):
    """A mean and its standard error, printed to the error's second digit.

    >>> print(Measured(225.1234, 2.0456))
    225.1 ± 2.0
    """

    value: float
    standard_error: float

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """The mean of `values` (n,), n >= 2, and its standard error, standard deviation / sqrt(n)."""
        return cls(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(values.size))

    def __str__(self) -> str:
        error = self.standard_error
        digits = max(0, 1 - math.floor(math.log10(error))) if 0 < error < math.inf else 4
        return f"{self.value:.{digits}f} ± {error:.{digits}f}"
