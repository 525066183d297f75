"""Squared distances between two sets of rows, some at a time, so that neither set nor its distances have to fit into memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ebm.compute.gemm import gemm
from ebm.data.minibatches import dense
from ebm.data.validation import check_rows

# Rows of either set that meet at once: 8 MB of distances.
_BLOCK = 1000


def check(rows: Any, name: str, width: int | None = None, least: int = 1, sparse: bool = True) -> None:
    """Raise unless `rows` are at least so many rows of finite numbers, (n, width), on the host."""
    check_rows(rows, width, low=-math.inf, high=math.inf, sparse=sparse, name=name)
    if rows.shape[0] < least:
        raise ValueError(f"{name}: found {rows.shape[0]} row{'s' * (rows.shape[0] != 1)}; expected at least {least}")


def blocks(rows: Any) -> Iterator[tuple[slice, np.ndarray]]:
    """All rows, dense and in float64, some at a time, and where they are."""
    for start in range(0, rows.shape[0], _BLOCK):
        part = slice(start, min(start + _BLOCK, rows.shape[0]))
        yield part, np.array(dense(rows[part]), np.float64, order="C")


def squared_distances(rows: Any, others: Any) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """|x - y|^2 for blocks of rows x and of others y, (rows, others), with where both are: all others for one block of rows, then the next.

    Computed as |x|^2 + |y|^2 - 2 x y, a matrix product, in float64.
    """
    # what lies far from zero would lose its digits in the difference
    origin = dense(rows[:1]).astype(np.float64)
    for here, x in blocks(rows):
        x -= origin
        for there, y in blocks(others):
            y -= origin
            squared = gemm(x, y.T, alpha=-2.0)
            squared += (x * x).sum(axis=1)[:, None]
            squared += (y * y).sum(axis=1)
            yield here, there, np.maximum(squared, 0, out=squared)
