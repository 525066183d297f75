"""Pictures of host arrays; each function returns a Matplotlib figure. Nothing in `ebm` imports this file."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure


def images(
    rows: Any, shape: tuple[int, ...], columns: int | None = None, title: str = "", limit: float | None = None
) -> Figure:
    """Rows (n, height * width) as a grid of images of `shape` (height, width), `columns` to a line (by default a square grid).

    Values from 0 (white) to 1 (black), or, with `limit`, from -limit (blue) to limit (red): weights read best like that.
    """
    rows = np.asarray(rows)
    if rows.ndim != 2 or rows.shape[1] != shape[0] * shape[1] or not len(rows):
        raise ValueError(f"found rows of shape {rows.shape}; expected (n, {shape[0] * shape[1]}) for images of {shape}")
    columns = columns or math.isqrt(len(rows) - 1) + 1
    lines = -(-len(rows) // columns)
    height, width = shape
    tiles = np.full((lines * (height + 1) + 1, columns * (width + 1) + 1), np.nan)
    for i, row in enumerate(rows):
        top, left = (i // columns) * (height + 1) + 1, (i % columns) * (width + 1) + 1
        tiles[top : top + height, left : left + width] = row.reshape(shape)
    inches = 6.0
    figure = Figure(figsize=(inches, inches * tiles.shape[0] / tiles.shape[1] + (0.3 if title else 0)), layout="constrained")
    axes = figure.subplots()
    name, low, high = ("gray_r", 0.0, 1.0) if limit is None else ("RdBu_r", -limit, limit)
    gaps = colormaps[name].with_extremes(bad="0.8")
    axes.imshow(tiles, cmap=gaps, vmin=low, vmax=high, interpolation="nearest")
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=10)
    return figure


def filters(weights: Any, shape: tuple[int, ...], columns: int | None = None, title: str = "") -> Figure:
    """What each hidden unit looks for: the columns of `weights` (visible, hidden) as images, red for positive, blue for negative."""
    weights = np.asarray(weights)
    return images(weights.T, shape, columns, title, limit=float(np.quantile(np.abs(weights), 0.995)) or 1.0)
