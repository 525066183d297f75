"""Rows as images: samples, filters, reconstructions."""

from __future__ import annotations

import math

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from .host import finite, rows_of
from .style import TITLE, WIDTH

HEIGHT = 8.0  # inches, of the tallest page
GAP = 0.8  # a gray that neither black on white nor red on blue contains in quantity


def images(
    rows: ArrayLike,
    shape: tuple[int, ...],
    columns: int | None = None,
    title: str = "",
    limit: float | None = None,
    colors: str | None = None,
) -> Figure:
    """Rows (n, height * width) as tiles of `shape` (height, width), `columns` to a line (by default a square grid).

    Values from 0 (white) to 1 (black), or, with `limit`, from -limit (blue) to limit (red); what lies outside is clipped.
    `colors` names another of Matplotlib's colormaps, such as "gray" for photographs, where 1 is light. Rows of
    (height, width, 3), red, green and blue side by side, show their own colors; with `limit`, 0 is the middle gray.
    """
    return _page(rows_of(rows, "rows", _width(shape)), shape, columns, title, limit, colors)


def filters(
    weights: ArrayLike, shape: tuple[int, ...], columns: int | None = None, title: str = "", colors: str | None = None
) -> Figure:
    """What each hidden unit looks for: the columns of `weights` (visible, hidden) as tiles, red for positive, blue for negative.

    All tiles share one scale, symmetric about 0, that clips the largest 0.5 % of the weights. `shape` and `colors` as in `images`.
    """
    weights = finite(weights, "weights")
    if weights.ndim != 2 or weights.shape[0] != _width(shape):
        raise ValueError(
            f"found weights of shape {weights.shape}; expected ({_width(shape)}, hidden) for shape={tuple(shape)}: write weights.T "
            "if the hidden units come first"
        )
    size = np.abs(weights)
    limit = float(np.quantile(size, 0.995)) or float(size.max()) or 1.0
    return _page(weights.T, shape, columns, title, limit, colors, bar="weight")


def reconstructions(
    originals: ArrayLike,
    reconstructions: ArrayLike,
    shape: tuple[int, ...],
    columns: int | None = None,
    title: str = "",
    errors: bool = False,
    colors: str | None = None,
) -> Figure:
    """Each of `originals` (n, width) above its reconstruction, `columns` pairs to a line (by default up to ten).

    With `errors`, below each pair its squared error, summed over pixels. `shape` and `colors` as in `images`.
    """
    originals = rows_of(originals, "originals", _width(shape))
    reconstructions = rows_of(reconstructions, "reconstructions", _width(shape))
    if originals.shape != reconstructions.shape:
        raise ValueError(
            f"found {len(originals)} originals and {len(reconstructions)} reconstructions; expected a reconstruction for each: "
            "write model.reconstruct(originals)"
        )
    columns = min(len(originals), 10) if columns is None else columns
    above, below = _split(originals, columns), _split(reconstructions, columns)
    height, width = shape[0] + 1, shape[1] + 1  # with a gap
    inches = (2 * height + 1) / (columns * width + 1) * (WIDTH - 1.4) + (0.35 if errors else 0.1)
    extra = (0.3 if title else 0) + (0.25 if errors else 0)
    figure = Figure(figsize=(WIDTH, len(above) * inches + extra), layout="constrained")
    panels = figure.subplots(len(above), squeeze=False)[:, 0]
    for axes, x, y in zip(panels, above, below, strict=True):
        _tiles(axes, [x, y], shape, columns, None, colors)
        axes.set_axis_on()
        axes.set_frame_on(False)
        axes.tick_params(length=0)
        axes.set_yticks([height / 2, height * 3 / 2], ["original", "reconstruction"], fontsize=9)
        squared = ((x.astype(np.float64) - y) ** 2).sum(axis=1) if errors else ()
        axes.set_xticks((np.arange(len(squared)) + 0.5) * width, [f"{error:#.3g}" for error in squared])
    if errors:
        panels[-1].set_xlabel("squared error (summed over pixels)")
    figure.suptitle(title, fontsize=TITLE)
    return figure


def _width(shape: tuple[int, ...]) -> int:
    if len(shape) not in (2, 3) or min(shape) < 1 or shape[2:] not in ((), (3,)):
        raise ValueError(f"found shape={tuple(shape)}; expected (height, width), or (height, width, 3) for colors")
    return math.prod(shape)


def _split(rows: np.ndarray, columns: int) -> list[np.ndarray]:
    if columns < 1:
        raise ValueError(f"found columns={columns}; expected 1 or more")
    return [rows[i : i + columns] for i in range(0, len(rows), columns)]


def _page(
    rows: np.ndarray,
    shape: tuple[int, ...],
    columns: int | None,
    title: str,
    limit: float | None,
    colors: str | None,
    bar: str = "value",
) -> Figure:
    """A figure of one grid of tiles, with a color bar unless the scale goes without saying."""
    columns = math.isqrt(len(rows) - 1) + 1 if columns is None else columns
    lines = _split(rows, columns)
    barred = limit is not None and len(shape) == 2
    width, height = columns * (shape[1] + 1) + 1, len(lines) * (shape[0] + 1) + 1
    inches = min((WIDTH - (0.8 if barred else 0)) / width, HEIGHT / height) * height
    figure = Figure(figsize=(WIDTH, inches + (0.3 if title else 0)), layout="constrained")
    axes = figure.subplots()
    image = _tiles(axes, lines, shape, columns, limit, colors)
    axes.set_title(title, fontsize=TITLE)
    if limit is not None and barred:
        extend = "both" if np.abs(rows).max() > limit else "neither"
        scale = figure.colorbar(image, ax=axes, label=bar, pad=0.02, aspect=30, extend=extend, extendfrac=0.03)
        scale.set_ticks([-limit, 0, limit], labels=[f"−{limit:.2g}", "0", f"{limit:.2g}"])
    return figure


def _tiles(
    axes: Axes, lines: list[np.ndarray], shape: tuple[int, ...], columns: int, limit: float | None, colors: str | None
) -> AxesImage:
    """Draw `lines` of rows as tiles with a gap of one pixel around each; places without a tile stay transparent."""
    if limit is not None and not limit > 0:
        raise ValueError(f"found limit={limit}; expected a positive number, or None for values in [0, 1]")
    if colors is not None and len(shape) == 3:
        raise ValueError(f"found colors={colors!r} for images that have their own; write colors=None")
    height, width = shape[:2]
    canvas = np.full((len(lines) * (height + 1) + 1, columns * (width + 1) + 1, *shape[2:]), np.nan)
    used = np.zeros(canvas.shape[:2])
    for i, line in enumerate(lines):
        for j, row in enumerate(line):
            top, left = i * (height + 1) + 1, j * (width + 1) + 1
            canvas[top : top + height, left : left + width] = row.reshape(shape)
            used[top - 1 : top + height + 1, left - 1 : left + width + 1] = 1
    axes.set_axis_off()
    if len(shape) == 3:
        pixels = np.clip(canvas if limit is None else 0.5 + canvas / (2 * limit), 0, 1)
        return axes.imshow(np.dstack([np.where(np.isnan(pixels), GAP, pixels), used]), interpolation="none")
    name, low, high = ("gray_r", 0.0, 1.0) if limit is None else ("RdBu_r", -limit, limit)
    colormap = colormaps[colors or name].with_extremes(bad=(GAP, GAP, GAP))
    return axes.imshow(canvas, cmap=colormap, vmin=low, vmax=high, alpha=used, interpolation="none")
