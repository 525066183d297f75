"""Learning curves: the metrics of training runs over their epochs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from .style import COLORS, TITLE, WHOLE, WIDTH, label

Rows = Sequence[Mapping[str, Any]]

# Columns of a row that say when, not how well.
PLACES = {"epoch", "step", "seconds"}
UNITS = {"reconstruction": "squared error per row", "free_energy_gap": "nats"}


def learning_curves(
    runs: Rows | Sequence[Rows],
    labels: Sequence[str] | None = None,
    log: str | Collection[str] = (),
    title: str = "",
) -> Figure:
    """Metrics over epochs, a panel a quantity, of `history.rows` or of a list of them, named by `labels`.

    "validation_x" is dashed in the panel of "x". An epoch that did not measure is passed over; NaN, infinity and None are gaps.
    `log` names the quantities on a logarithmic axis; raises `ValueError` where one of them is not positive.
    """
    histories = _histories(runs)
    if len(histories) > len(COLORS) or (labels is not None and len(labels) != len(histories)):
        raise ValueError(
            f"found {len(histories)} runs, labels={labels}; expected a label a run, and no more runs than the {len(COLORS)} colors "
            "that can be told apart"
        )
    names = list(dict.fromkeys(name for rows in histories for row in rows for name in row if name not in PLACES))
    quantities = list(dict.fromkeys(name.removeprefix("validation_") for name in names))
    logarithmic = {log} if isinstance(log, str) else set(log)
    if not quantities or not logarithmic <= set(quantities):
        raise ValueError(
            f"found the quantities {quantities} and log={sorted(logarithmic)}; expected one or more, log among them"
        )
    figure = Figure(figsize=(WIDTH, 2.2 * len(quantities) + 0.9), layout="constrained")
    panels = figure.subplots(len(quantities), sharex=True, squeeze=False)[:, 0]
    for axes, quantity in zip(panels, quantities, strict=True):
        styles = {name: style for name, style in ((quantity, "-"), (f"validation_{quantity}", "--")) if name in names}
        for name, style in styles.items():
            for rows, color in zip(histories, COLORS, strict=False):
                _draw(axes, *_measured(rows, name), style, color)
        if quantity in logarithmic:
            _logarithmic(axes, quantity)
        label(axes, "", quantity.replace("_", " ") + (f"\n({UNITS[quantity]})" if quantity in UNITS else ""))
        if len(styles) == 2:
            keys = [_key("0.3", "-"), _key("0.3", "--")]
            place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.2}  # above, where no curve goes
            axes.legend(keys, ["training", "validation"], ncols=2, frameon=False, **place)
    panels[-1].set_xlabel("epoch")
    panels[-1].locator_params("x", **WHOLE)
    figure.align_ylabels()
    figure.suptitle(title, fontsize=TITLE)
    if labels is not None or len(histories) > 1:
        keys = [_key(color, "-") for color in COLORS[: len(histories)]]
        names = [f"run {i + 1}" for i in range(len(histories))] if labels is None else list(labels)
        # some 70 letters stand side by side, 6 of them for a key
        columns = max(1, min(len(names), 4, 70 // (6 + max(map(len, names), default=0))))
        figure.legend(keys, names, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _histories(runs: Any) -> list[Rows]:
    def listed(rows: Any) -> list[Any]:
        if not isinstance(rows, Sequence) or isinstance(rows, str):
            raise TypeError(f"found {type(rows).__name__}; expected the rows of a History, a list of dicts: write history.rows")
        return list(rows)

    runs = listed(runs)
    histories = [runs] if all(isinstance(row, Mapping) for row in runs) else [listed(run) for run in runs]
    if not all(rows and all(isinstance(row, Mapping) and "epoch" in row for row in rows) for rows in histories):
        raise ValueError("found a run without rows, or rows without 'epoch'; expected those of a trained run's History")
    return histories


def _measured(rows: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The epochs that measured `name`, and its values there, NaN for what is no finite number."""
    pairs = [(row["epoch"], math.nan if row[name] is None else row[name]) for row in rows if name in row]
    x, y = np.array(pairs, np.float64).reshape(-1, 2).T
    return x, np.where(np.isfinite(y), y, np.nan)


def _draw(axes: Axes, x: np.ndarray, y: np.ndarray, style: str, color: str) -> None:
    gaps = np.isnan(np.r_[np.nan, y, np.nan])
    alone = ~gaps[1:-1] & gaps[:-2] & gaps[2:]  # a point between two gaps has no line to be seen by
    axes.plot(x, y, style, color=color, lw=1.5, marker="o", ms=4, markevery=np.flatnonzero(alone).tolist())


def _logarithmic(axes: Axes, quantity: str) -> None:
    values = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in axes.lines])
    values = values[~np.isnan(values)]
    if (values <= 0).any():
        raise ValueError(
            f"found {quantity} = {values.min():.3g}; a logarithmic axis needs positive values: leave it out of log"
        )
    axes.set_yscale("log")
    decades = np.ptp(np.log10(values)) if values.size else 0.0
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0,)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _key(color: str, style: str) -> Line2D:
    return Line2D([], [], color=color, ls=style, lw=1.5)
