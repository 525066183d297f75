"""The error of reconstructions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .distances import blocks, check


def squared_error(rows: Any, reconstructions: Any) -> float:
    """sum_i (x_i - reconstruction_i)^2, averaged over the rows: the squared error per image.

    Raises `ValueError` for shapes that differ and for numbers that are not finite.

    >>> squared_error(np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([[0.0, 0.0], [1.0, 0.5]]))
    0.625
    """
    check(rows, "rows")
    check(reconstructions, "reconstructions", rows.shape[1])
    if rows.shape[0] != reconstructions.shape[0]:
        raise ValueError(
            f"found {rows.shape[0]} rows and {reconstructions.shape[0]} reconstructions; expected one for each row"
        )
    pairs = zip(blocks(rows), blocks(reconstructions), strict=True)
    return float(sum(np.square(x - y).sum() for (_, x), (_, y) in pairs)) / rows.shape[0]
