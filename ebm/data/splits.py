"""What every loader returns: train, validation and test, with what is known of the rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows: `images` (n, width) float32, and what is known of them.

    Images and binary rows lie in [0, 1], real-valued tables are as they were measured. `labels` are (n,) int64, None where the
    data set has none; `categories` names what the labels number, `vocabulary` the columns of word counts. `shape` is that of
    one row: (height, width), (height, width, 3) for colors, (columns,) for what is no image.
    """

    images: np.ndarray
    labels: np.ndarray | None
    shape: tuple[int, ...]
    categories: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        kind = "rows" if len(self.shape) == 1 else "images"
        return f"<{len(self)} {kind} of {' × '.join(map(str, self.shape))}>"


Splits = tuple[Dataset, Dataset, Dataset]


def shuffled(rows: Dataset, validation: int, test: int) -> Splits:
    """Shuffled once and for all: the last `test` rows of a fixed order, the `validation` rows before them, and the rest."""
    # NumPy promises the bits of its bit generators for all versions, but not those of Generator.permutation.
    order = np.argsort(np.random.Philox(key=0).random_raw(len(rows)))
    return divided(rows, order, len(rows) - test - validation, validation)


def divided(rows: Dataset, order: np.ndarray, train: int, validation: int) -> Splits:
    """The rows in this order: the first `train`, the `validation` after them, and the rest for the test."""
    parts = (
        Dataset(rows.images[i], None if rows.labels is None else rows.labels[i], rows.shape, rows.categories, rows.vocabulary)
        for i in np.split(order, [train, train + validation])
    )
    first, second, third = parts
    return first, second, third
