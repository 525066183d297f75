"""The space of codes: what lies between rows and around them. For every model with `decode`, and where rows are given `encode`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from scipy.special import ndtri


class Decoder(Protocol):
    """What turns codes into rows, as generators do."""

    def decode(self, codes: Any) -> np.ndarray:
        """Rows (rows, inputs) for codes (rows, code)."""


class Coder(Decoder, Protocol):
    """What turns rows into codes and back."""

    def encode(self, rows: Any) -> np.ndarray:
        """Codes (rows, code) of rows (rows, inputs)."""


def interpolate(model: Decoder, first: Any, last: Any, steps: int = 10) -> np.ndarray:
    """Rows along the straight line between two codes (code,), ends included: (steps, inputs). `model.encode(rows)` has the codes of rows.

    Raises `ValueError` for codes of different shapes and fewer than two steps.
    """
    first, last = np.asarray(first), np.asarray(last)
    if first.ndim != 1 or first.shape != last.shape or steps < 2:
        raise ValueError(
            f"found codes of shapes {first.shape} and {last.shape}, steps={steps}; expected two codes (code,) and 2 steps or more"
        )
    share = np.linspace(0, 1, steps)[:, None]
    return model.decode(((1 - share) * first + share * last).astype(first.dtype))


def traverse(model: Decoder, code: Any, numbers: Sequence[int], values: Sequence[float]) -> np.ndarray:
    """Rows for a code (code,) of which one number at a time takes each of `values`: (len(numbers), len(values), inputs).

    Raises `ValueError` for numbers that the code doesn't have.
    """
    code = np.asarray(code)
    if code.ndim != 1 or not all(0 <= k < code.size for k in numbers):
        raise ValueError(
            f"found a code of shape {code.shape} and numbers={list(numbers)}; expected (code,) and numbers from 0 to code - 1"
        )
    moved = np.repeat(code[None], len(numbers) * len(values), axis=0).reshape(len(numbers), len(values), -1)
    for line, k in enumerate(numbers):
        moved[line, :, k] = values
    return model.decode(moved.reshape(-1, code.size)).reshape(len(numbers), len(values), -1)


def manifold(model: Decoder, side: int = 20) -> np.ndarray:
    """Rows for a grid of two-dimensional codes, (side * side, inputs), line by line, the first number growing to the right and the second
    upward. The grid's lines divide N(0, 1) into parts of equal probability (Kingma & Welling 2014, figure 4)."""
    places = ndtri((np.arange(side) + 0.5) / side).astype(np.float32)
    right, up = np.meshgrid(places, places[::-1])
    return model.decode(np.stack([right.ravel(), up.ravel()], axis=1))


def attribute(model: Coder, having: Any, lacking: Any) -> np.ndarray:
    """The direction in the space of codes that an attribute is: the mean code of rows that have it less that of rows that lack it, (code,).

    `model.decode(model.encode(rows) + direction)` adds it to rows. (Larsen et al. 2016, "Autoencoding beyond pixels".)
    """
    return model.encode(having).mean(axis=0) - model.encode(lacking).mean(axis=0)
