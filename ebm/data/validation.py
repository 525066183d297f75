"""What rows of data must satisfy before a model sees them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

CHUNK_BYTES = 4 << 20


def check_rows(rows: Any, width: int | None = None, *, low: float = 0.0, high: float = 1.0, name: str = "X") -> None:
    """Check that `rows` is a host array (n, width) of finite numbers in [low, high], with n ≥ 1.

    Nothing is copied: the array is scanned in chunks of about 4 MiB, so that a memory-mapped file of any size takes no
    anonymous memory. `name` is what the caller calls the array.

    Raises `TypeError` for what is no NumPy array or holds no real numbers, `ValueError` for a wrong shape or a wrong value.

    >>> check_rows(np.array([[0.0, 1.0, 0.5]]), width=3)
    >>> check_rows(np.array([[0.0, 128.0, 255.0]]), width=3)
    Traceback (most recent call last):
    ...
    ValueError: X[0, 1] is 128.0; expected values in [0.0, 1.0]: these look like pixels of 0 to 255, divide by 255: X / 255
    """
    if not isinstance(rows, np.ndarray):
        cure = f"{name}.toarray()" if hasattr(rows, "toarray") else f"np.asarray({name}, dtype=np.float32)"
        raise TypeError(f"{name} is a {type(rows).__name__}; expected a NumPy array: write {cure}")
    if rows.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {rows.dtype}; expected real numbers: write {name}.astype(np.float32)")
    _check_shape(rows, width, name)
    rows = rows.view(np.ndarray)  # slices of numpy.memmap cost microseconds each
    step = max(1, CHUNK_BYTES // (rows.shape[1] * rows.itemsize))
    for start in range(0, len(rows), step):
        chunk = rows[start : start + step]
        least, largest = chunk.min(), chunk.max()  # both NaN if any element is
        if not (low <= least and largest <= high and math.isfinite(least) and math.isfinite(largest)):
            raise ValueError(_first_offender(chunk, start, low, high, name))


def _check_shape(rows: np.ndarray, width: int | None, name: str) -> None:
    expected = f"(n, {'width' if width is None else width})"
    if rows.ndim != 2:
        cure = {0: "", 1: f": write {name}.reshape(1, -1) for a single row"}.get(
            rows.ndim, f": write {name}.reshape(len({name}), -1) for one row per image"
        )
        raise ValueError(f"{name} has shape {rows.shape}; expected {expected}, one example per row{cure}")
    if rows.size == 0:
        raise ValueError(f"{name} is empty, of shape {rows.shape}; expected {expected} with at least one row and one column")
    if width is not None and rows.shape[1] != width:
        cure = f": rows and columns are swapped, write {name}.T" if rows.shape[0] == width else ""
        raise ValueError(f"{name} has shape {rows.shape}, {rows.shape[1]} columns; expected {width} columns{cure}")


def _first_offender(chunk: np.ndarray, start: int, low: float, high: float, name: str) -> str:
    """What is wrong with the first bad element of `chunk`, whose first row is row `start` of the array."""
    with np.errstate(invalid="ignore"):
        bad = ~((chunk >= low) & (chunk <= high) & np.isfinite(chunk))
    row, column = (int(i) for i in np.unravel_index(bad.argmax(), bad.shape))
    value = chunk[row, column].item()
    if math.isnan(value):
        cure = f"fill in the missing values, or drop their rows: {name}[np.isfinite({name}).all(axis=1)]"
    elif math.isinf(value):
        cure = f"look for a division by zero or an overflow; np.isfinite({name}) finds the others"
    elif (low, high) == (0.0, 1.0) and chunk.min() >= 0 and 16 < chunk.max() <= 255:
        cure = f"these look like pixels of 0 to 255, divide by 255: {name} / 255"
    elif (low, high) == (0.0, 1.0) and chunk.min() >= -1 and chunk.max() <= 1:
        cure = f"values in [-1, 1] become values in [0, 1] by ({name} + 1) / 2"
    else:
        cure = f"rescale them, for instance ({name} - {name}.min()) / ({name}.max() - {name}.min()) for [0, 1]"
    return f"{name}[{start + row}, {column}] is {value}; expected values in [{low}, {high}]: {cure}"
