"""What rows of data must satisfy before a model sees them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

CHUNK_BYTES = 4 << 20


def check_rows(
    rows: Any,
    width: int | None = None,
    *,
    low: float = 0.0,
    high: float = 1.0,
    sparse: bool = False,
    name: str = "X",
) -> None:
    """Check that `rows` is a host array (n, width) of finite numbers in [low, high], with n ≥ 1.

    Nothing is copied: the array is scanned in chunks of about 4 MiB, so that a memory-mapped file of any size takes no
    anonymous memory. With `low=-inf, high=inf` any real numbers pass, but no NaN and no infinity. With `sparse=True` a SciPy
    matrix or array in CSR or CSC format passes too; the values that it stores are scanned. `name` is what the caller calls the
    array.

    Raises `TypeError` for what is no such array or holds no real numbers, `ValueError` for a wrong shape or a wrong value.

    >>> check_rows(np.array([[0.0, 1.0, 0.5]]), width=3)
    >>> check_rows(np.array([[0.0, 128.0, 255.0]]), width=3)
    Traceback (most recent call last):
    ...
    ValueError: X[0, 1] is 128.0; expected values in [0.0, 1.0]: these look like pixels of 0 to 255, divide by 255: X / 255
    """
    rows = _checked(rows, width, sparse, name)
    for start, chunk in chunks(_values(rows)):
        least, largest = chunk.min(), chunk.max()  # both NaN if any element is
        if not (low <= least and largest <= high and math.isfinite(least) and math.isfinite(largest)):
            with np.errstate(invalid="ignore"):
                bad = ~((chunk >= low) & (chunk <= high) & np.isfinite(chunk))
            place, value = _first(bad, start, rows, chunk, name)
            expected = "finite numbers" if math.isinf(low) and math.isinf(high) else f"values in [{low}, {high}]"
            raise ValueError(f"{place} is {value}; expected {expected}: {_cure(value, chunk, low, high, name)}")


def check_counts(rows: Any, width: int | None = None, *, name: str = "X") -> None:
    """Check that `rows` (n, width) are counts of words: whole numbers ≥ 0, in each row at least one that is positive.

    Takes arrays, memory maps and sparse matrices as `check_rows` does and raises as it does.

    >>> check_counts(np.array([[2, 0, 1], [0, 0, 0]]))
    Traceback (most recent call last):
    ...
    ValueError: X has 1 document without words, row 1; expected at least one word in each: X[np.asarray(X.sum(axis=1)).ravel() > 0]
    """
    check_rows(rows, width, low=-np.inf, high=np.inf, sparse=True, name=name)
    rows = _checked(rows, width, True, name)
    for start, chunk in chunks(_values(rows)):
        bad = (chunk < 0) | (chunk != np.floor(chunk))
        if bad.any():
            place, value = _first(bad, start, rows, chunk, name)
            raise ValueError(
                f"{place} is {value}; expected counts, whole numbers >= 0: pass the counts themselves, not frequencies, "
                "TF-IDF weights or standardized columns"
            )
    if isinstance(rows, np.ndarray):
        lengths = np.concatenate([chunk.sum(axis=1) for _, chunk in chunks(rows)])
    else:
        lengths = np.asarray(rows.sum(axis=1)).ravel()
    empty = np.flatnonzero(lengths == 0)
    if empty.size:
        found = "1 document without words, row" if empty.size == 1 else f"{empty.size} documents without words, rows"
        raise ValueError(
            f"{name} has {found} {listed(empty)}; expected at least one word in each: "
            f"{name}[np.asarray({name}.sum(axis=1)).ravel() > 0]"
        )


def check_one_hot(rows: Any, categories: int, width: int | None = None, *, name: str = "X") -> None:
    """Check that `rows` (n, width) hold groups of `categories` neighboring columns with one 1 each, and 0 otherwise.

    Takes arrays, memory maps and sparse matrices as `check_rows` does and raises as it does; labels, whole numbers that number
    the categories, are refused with the line that turns them into such rows.

    >>> check_one_hot(np.array([2, 0, 1]), categories=3)
    Traceback (most recent call last):
    ...
    ValueError: X has shape (3,) and looks like labels; expected one-hot rows: write np.eye(3, dtype=np.float32)[X.astype(int)]
    """
    if not isinstance(categories, (int, np.integer)) or categories < 2:
        raise ValueError(f"found categories={categories!r}; expected a whole number >= 2, the columns of one group")
    cure = f"np.eye({categories}, dtype=np.float32)[{name}.astype(int)]"
    if isinstance(rows, np.ndarray) and (rows.ndim == 1 or (rows.ndim == 2 and rows.shape[1] == 1)):
        cure += f".reshape(len({name}), -1)" if rows.ndim == 2 else ""
        raise ValueError(f"{name} has shape {rows.shape} and looks like labels; expected one-hot rows: write {cure}")
    rows = _checked(rows, width, True, name)
    if rows.shape[1] % categories:
        raise ValueError(
            f"{name} has {rows.shape[1]} columns, which groups of {categories} do not divide; "
            f"expected a multiple of {categories}: one column for each category of each group"
        )
    if not isinstance(rows, np.ndarray):
        rows = rows.tocsr()
    step = chunk_rows(rows.shape[1] * rows.dtype.itemsize)
    for start in range(0, rows.shape[0], step):
        part = rows[start : start + step]
        groups = (part if isinstance(part, np.ndarray) else part.toarray()).reshape(part.shape[0], -1, categories)
        bad = (np.count_nonzero(groups, axis=2) != 1) | (groups.sum(axis=2) != 1)
        if bad.any():
            row, group = (int(i) for i in np.unravel_index(bad.argmax(), bad.shape))
            place = f"{name}[{start + row}, {group * categories}:{(group + 1) * categories}]"
            raise ValueError(
                f"{place} is {np.array2string(groups[row, group], threshold=10)}; expected a 1 among zeros: "
                f"of labels 0 to {categories - 1} make such rows with {cure}.reshape(len({name}), -1)"
            )


def chunks(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """All rows in slices of about 4 MiB, each with the number of its first row."""
    rows = rows.view(np.ndarray)  # slices of numpy.memmap cost microseconds each
    step = chunk_rows(rows.shape[1] * rows.itemsize)
    for start in range(0, len(rows), step):
        yield start, rows[start : start + step]


def chunk_rows(row_bytes: int) -> int:
    """How many rows of this size make a chunk."""
    return max(1, CHUNK_BYTES // row_bytes)


def listed(numbers: np.ndarray) -> str:
    """A few of these numbers, and how many more there are."""
    shown = ", ".join(str(number) for number in numbers[:5])
    return shown if numbers.size <= 5 else f"{shown} and {numbers.size - 5} more"


def _checked(rows: Any, width: int | None, sparse: bool, name: str) -> Any:
    """The rows, whose type, dtype and shape are right; a sparse matrix with at most one stored value for each place."""
    is_sparse = hasattr(rows, "toarray")
    if is_sparse and sparse and rows.format not in ("csr", "csc"):
        raise TypeError(f"{name} is a {type(rows).__name__}; expected CSR or CSC among sparse formats: write {name}.tocsr()")
    if not isinstance(rows, np.ndarray) and not (is_sparse and sparse):
        cure = f"{name}.toarray()" if is_sparse else f"np.asarray({name}, dtype=np.float32)"
        raise TypeError(f"{name} is a {type(rows).__name__}; expected a NumPy array: write {cure}")
    if rows.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {rows.dtype}; expected real numbers: write {name}.astype(np.float32)")
    _check_shape(rows, width, name)
    if is_sparse and not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    return rows


def _check_shape(rows: Any, width: int | None, name: str) -> None:
    expected = f"(n, {'width' if width is None else width})"
    if rows.ndim != 2:
        cure = {0: "", 1: f": write {name}.reshape(1, -1) for a single row"}.get(
            rows.ndim, f": write {name}.reshape(len({name}), -1) for one row per image"
        )
        raise ValueError(f"{name} has shape {rows.shape}; expected {expected}, one example per row{cure}")
    if 0 in rows.shape:
        raise ValueError(f"{name} is empty, of shape {rows.shape}; expected {expected} with at least one row and one column")
    if width is not None and rows.shape[1] != width:
        cure = f": rows and columns are swapped, write {name}.T" if rows.shape[0] == width else ""
        raise ValueError(f"{name} has shape {rows.shape}, {rows.shape[1]} columns; expected {width} columns{cure}")


def _values(rows: Any) -> np.ndarray:
    """The array itself; of a sparse matrix the values that it stores, as a single column."""
    return rows if isinstance(rows, np.ndarray) else rows.data[:, None]


def _first(bad: np.ndarray, start: int, rows: Any, chunk: np.ndarray, name: str) -> tuple[str, Any]:
    """Name and value of the first bad element of `chunk`, whose first row is row `start` of the values of `rows`."""
    row, column = (int(i) for i in np.unravel_index(bad.argmax(), bad.shape))
    value = chunk[row, column].item()
    place = start + row, column
    if not isinstance(rows, np.ndarray):
        outer, inner = int(np.searchsorted(rows.indptr, start + row, side="right")) - 1, int(rows.indices[start + row])
        place = (outer, inner) if rows.format == "csr" else (inner, outer)
    return f"{name}[{place[0]}, {place[1]}]", value


def _cure(value: float, chunk: np.ndarray, low: float, high: float, name: str) -> str:
    if math.isnan(value):
        return f"fill in the missing values, or drop their rows: {name}[np.isfinite({name}).all(axis=1)]"
    if math.isinf(value):
        return f"look for a division by zero or an overflow; np.isfinite({name}) finds the others"
    if (low, high) == (0.0, 1.0) and chunk.min() >= 0 and 16 < chunk.max() <= 255:
        return f"these look like pixels of 0 to 255, divide by 255: {name} / 255"
    if (low, high) == (0.0, 1.0) and chunk.min() >= -1 and chunk.max() <= 1:
        return f"values in [-1, 1] become values in [0, 1] by ({name} + 1) / 2"
    return f"rescale them, for instance ({name} - {name}.min()) / ({name}.max() - {name}.min()) for [0, 1]"
