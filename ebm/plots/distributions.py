"""How numbers are spread: activations of hidden units, parameters and their updates."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from .host import finite, rows_of
from .style import COLORS, TITLE, WHOLE, WIDTH, label


def hidden_activations(means: ArrayLike, title: str = "") -> Figure:
    """E[h | v] (rows, hidden) as an image, above the histogram of each unit's mean over the rows.

    A white column is a dead unit, a black one a unit that is always on (Hinton 2010, section 16). Where all values lie in [0, 1],
    the units with a mean below 0.01 or above 0.99 are counted.
    """
    means = rows_of(means, "means")
    low, high = min(0.0, float(means.min())), max(1.0, float(means.max()))
    units = means.mean(axis=0, dtype=np.float64)
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    above, below = figure.subplots(2, height_ratios=[3, 2])
    image = above.imshow(means, cmap="gray_r", vmin=low, vmax=high, aspect="auto")
    above.locator_params(**WHOLE)
    above.set(xlabel="hidden unit", ylabel="row")
    above.set_title(title, fontsize=TITLE)
    figure.colorbar(image, ax=above, label="activation", pad=0.02, aspect=15)
    probabilities = (low, high) == (0.0, 1.0)
    _histogram(below, units, 20, (low, high) if probabilities else None)
    below.locator_params("y", **WHOLE)
    label(below, "mean activation", "hidden units")
    if probabilities:
        dead, on = (units < 0.01).sum(), (units > 0.99).sum()
        below.set_title(f"{dead} dead (mean < 0.01), {on} always on (mean > 0.99), of {len(units)}", fontsize=10)
    return figure


def histograms(parameters: Mapping[str, ArrayLike], updates: Mapping[str, ArrayLike] | None = None, title: str = "") -> Figure:
    """A histogram of each of `parameters`, arrays of any shape by name, and beside it that of its last update.

    The relative size above an update is mean |update| / mean |parameter|: for weights about 0.001 is healthy (Hinton 2010,
    sections 7 and 15). `model.parameters.state_dict()` has the parameters by name; the difference of two such is an update.
    """
    if not parameters or (updates is not None and set(updates) != set(parameters)):
        raise ValueError(
            f"found parameters {list(parameters)}, updates {None if updates is None else list(updates)}; expected one or more of "
            "the same names: write {'weights': weights, ...}, {'weights': new - old, ...}"
        )
    figure = Figure(figsize=(WIDTH, 1.9 * len(parameters) + (0.3 if title else 0)), layout="constrained")
    panels = figure.subplots(len(parameters), 1 if updates is None else 2, squeeze=False)
    for line, (name, array) in zip(panels, parameters.items(), strict=True):
        values = finite(array, name)
        _histogram(line[0], values, _bins(values))
        label(line[0], name, "count")
        if updates is None:
            continue
        update = finite(updates[name], f"the update of {name}")
        if update.shape != values.shape:
            raise ValueError(f"found an update of shape {update.shape} for {name!r}; expected {values.shape}")
        _histogram(line[1], update, _bins(update))
        label(line[1], f"update of {name}", "")
        if values.any():
            relative = np.abs(update).mean(dtype=np.float64) / np.abs(values).mean(dtype=np.float64)
            line[1].set_title(f"relative size {relative:.2g}", fontsize=10)
    figure.align_ylabels()
    figure.suptitle(title, fontsize=TITLE)
    return figure


def _bins(values: np.ndarray) -> int:
    return int(np.clip(math.sqrt(values.size), 10, 60))


def _histogram(axes: Axes, values: np.ndarray, bins: int, span: tuple[float, float] | None = None) -> None:
    values = values.ravel().astype(np.float64)
    low, high = span or (values.min(), values.max())
    if high - low < 1e-6 * max(-low, high):  # narrower than rounding lets bins be
        low, high = low - 0.5 * abs(low), high + 0.5 * abs(high)
    axes.stairs(*np.histogram(values, bins, (low, high)), fill=True, color=COLORS[0])
    axes.ticklabel_format(axis="x", scilimits=(-2, 4), useMathText=True)
    axes.locator_params("x", nbins=5)
