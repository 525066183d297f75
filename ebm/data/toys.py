"""Toy distributions small enough to enumerate: every pattern with its exact probability."""

from __future__ import annotations

import numpy as np

LARGEST = 16


def bars_and_stripes(side: int) -> tuple[np.ndarray, np.ndarray]:
    """All patterns of bars and stripes on a `side` × `side` grid: (n, side²) float32, with probabilities (n,) float64.

    An orientation is chosen with probability 1/2, then each line in that orientation is on or off with probability 1/2. So
    there are n = 2^(side+1) - 2 distinct patterns, each of probability 2^-(side+1), except that all-off and all-on arise in
    both orientations and have 2^-side. The first 2^side patterns consist of rows, the others of columns. Source: MacKay 2003,
    *Information Theory, Inference, and Learning Algorithms*, chapter 43.

    Raises `ValueError` unless 1 ≤ side ≤ 16.

    >>> patterns, probabilities = bars_and_stripes(2)
    >>> patterns.astype(int)
    array([[0, 0, 0, 0],
           [0, 0, 1, 1],
           [1, 1, 0, 0],
           [1, 1, 1, 1],
           [0, 1, 0, 1],
           [1, 0, 1, 0]])
    >>> probabilities
    array([0.25 , 0.125, 0.125, 0.25 , 0.125, 0.125])
    """
    lines = _binary_rows(side, "side")
    rows = np.repeat(lines, side, axis=1)
    columns = np.tile(lines[1:-1], side)  # without all-off and all-on, which are among the rows
    patterns = np.concatenate([rows, columns])
    probabilities = np.full(len(patterns), 0.5 ** (side + 1))
    probabilities[[0, len(rows) - 1]] = 0.5**side
    return patterns, probabilities


def shifter(width: int) -> tuple[np.ndarray, np.ndarray]:
    """The labelled shifter: (n, 2·width + 3) float32, with probabilities (n,) float64, n = 3 · 2^width.

    The columns are a row of `width` bits, the same row shifted with wraparound, and three one-hot labels: shifted left by one,
    not shifted, shifted right by one. Every row of bits and every shift is equally likely. Source: Hinton & Sejnowski 1986,
    *Learning and relearning in Boltzmann machines*, whose network has width 8; MacKay 2003, chapter 43.

    Raises `ValueError` unless 1 ≤ width ≤ 16.

    >>> patterns, probabilities = shifter(3)
    >>> patterns[3:6].astype(int)
    array([[0, 0, 1, 0, 1, 0, 1, 0, 0],
           [0, 0, 1, 0, 0, 1, 0, 1, 0],
           [0, 0, 1, 1, 0, 0, 0, 0, 1]])
    >>> len(patterns), float(probabilities.sum())
    (24, 1.0)
    """
    first = np.repeat(_binary_rows(width, "width"), 3, axis=0)
    second = np.empty_like(first)
    for label, shift in enumerate((-1, 0, 1)):
        second[label::3] = np.roll(first[label::3], shift, axis=1)
    labels = np.tile(np.eye(3, dtype=np.float32), (len(first) // 3, 1))
    return np.concatenate([first, second, labels], axis=1), np.full(len(first), 1 / len(first))


def _binary_rows(width: int, name: str) -> np.ndarray:
    """All binary rows, (2^width, width) float32, in the order of the numbers that they spell."""
    if not 1 <= width <= LARGEST:
        raise ValueError(f"found {name}={width}; expected 1 to {LARGEST}: all 2^{name} rows are enumerated")
    return (np.arange(2**width)[:, None] >> np.arange(width)[::-1] & 1).astype(np.float32)
