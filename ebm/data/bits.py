"""Bits as text: the file format of Larochelle's binarized MNIST and of the density-estimation benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read(path: str | Path) -> np.ndarray:
    """The rows of bits in the text file at `path`, (n, width) uint8.

    Each row is a line of the characters 0 and 1 with one character (a space, a comma) between two of them. Raises `ValueError`
    for another content.
    """
    content = np.fromfile(path, np.uint8)
    ends = np.flatnonzero(content[: 1 << 20] == ord("\n"))
    line = int(ends[0]) + 1 if ends.size else 0
    if not line or line % 2 or content.size % line:
        raise ValueError(
            f"{path} holds no lines of one length; expected lines of 0 and 1 with one character between two of them"
        )
    lines = content.reshape(-1, line)
    bits = lines[:, ::2] - np.uint8(ord("0"))  # wraps, so that whatever is no bit becomes more than 1
    wrong = (bits > 1).any(axis=1) | (lines[:, -1] != ord("\n"))
    if wrong.any():
        row = int(wrong.argmax())
        text = lines[row].tobytes().decode("ascii", "replace")[:40]
        raise ValueError(
            f"{path}, line {row + 1}: found {text!r}; expected {line // 2} characters 0 or 1, each followed by one"
        )
    return bits
