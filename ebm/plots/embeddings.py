"""Codes as points of the plane."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from .host import on_host, rows_of
from .style import COLORS, MARKERS, TITLE, WIDTH, label


def embedding(codes: ArrayLike, labels: ArrayLike, title: str = "") -> Figure:
    """Codes (n, 2) as points, a color and a shape for each of the `labels` (n,), numbers or strings.

    Wider codes (n, d) are projected onto their first two principal components; the axes then say so, and what share of the
    variance each has. Raises `ValueError` for more than 35 different labels.
    """
    codes = rows_of(codes, "codes").astype(np.float64)
    labels = on_host(labels, "labels")
    if codes.shape[1] < 2 or labels.shape != codes.shape[:1]:
        raise ValueError(
            f"found codes of shape {codes.shape} and labels of shape {labels.shape}; expected (n, 2) or wider and (n,): write "
            "labels.argmax(axis=1) for one-hot rows"
        )
    classes, members = np.unique(labels, return_inverse=True)
    if len(classes) > len(COLORS) * len(MARKERS):
        raise ValueError(f"found {len(classes)} different labels; expected at most {len(COLORS) * len(MARKERS)} to tell apart")
    names = ["code 1", "code 2"]
    if codes.shape[1] > 2:
        width = codes.shape[1]
        codes, shares = _principal_components(codes)
        names = [f"principal component {i + 1} of {width} ({share:.0%} of variance)" for i, share in enumerate(shares)]
    figure = Figure(figsize=(WIDTH, 4.8), layout="constrained")
    axes = figure.subplots()
    area = float(np.clip(12000 / len(codes), 4, 30))
    keys = []
    for i in range(len(classes)):
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        x, y = codes[members == i].T
        axes.scatter(x, y, s=area, c=color, marker=marker, alpha=0.7, linewidths=0)
        keys.append(Line2D([], [], color=color, marker=marker, ls="", ms=6, mew=0))
    label(axes, *names)
    axes.set_title(title, fontsize=TITLE)
    axes.set_aspect("equal", adjustable="datalim")
    texts = [str(name) for name in classes]
    figure.legend(keys, texts, loc="outside right center", ncols=-(-len(texts) // 18), frameon=False, handletextpad=0.2)
    return figure


def _principal_components(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along the two directions of largest variance, (n, 2), and their shares of it.

    The sign of a direction is arbitrary: here its largest loading is positive, so that the picture is the same everywhere.
    """
    codes = codes - codes.mean(axis=0)
    variances, directions = np.linalg.eigh(codes.T @ codes)
    directions = directions[:, :-3:-1]
    directions = directions * np.sign(directions[np.abs(directions).argmax(axis=0), [0, 1]])
    return codes @ directions, variances[:-3:-1] / (variances.sum() or 1.0)
