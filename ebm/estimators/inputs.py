"""What the estimators share: the dtypes they keep, seeds from a RandomState, and the warning about values outside [0, 1]."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy import sparse

DTYPES = (np.float64, np.float32)  # the first is what integers and booleans become
# Rows that are evaluated at once.
BLOCK = 1000


def seed_from(rng: np.random.RandomState) -> int:
    """A seed for this package's streams."""
    return int(rng.randint(np.iinfo(np.int64).max, dtype=np.int64))


def warn_outside(X: Any) -> bool:
    """Whether there are values outside [0, 1]."""
    values = X.data if sparse.issparse(X) else X
    least, largest = (values.min(), values.max()) if values.size else (0, 0)
    outside = bool(least < 0 or largest > 1)
    if outside:
        warnings.warn(
            f"X holds values from {least:g} to {largest:g}; a visible unit takes them for probabilities, numbers in [0, 1]: rescale "
            "them, for instance with sklearn.preprocessing.MinMaxScaler()",
            stacklevel=4,
        )
    return outside
