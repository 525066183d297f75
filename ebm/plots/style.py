"""What all pictures share: width, colors, the look of axes. Text of ten points on six inches stays readable at 600 pixels."""

from __future__ import annotations

from matplotlib.axes import Axes

WIDTH = 6.0  # inches
TITLE = 11  # points
# Okabe & Ito (2008), told apart by color-blind readers; without their yellow, which white paper swallows.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
# Five shapes and seven colors, taken in turn together, come back to the same pair after 35.
MARKERS = ("o", "^", "s", "X", "v")
# Ticks of counts and indices, which are whole numbers.
WHOLE = {"integer": True, "steps": [1, 2, 5, 10], "nbins": 7}


def label(axes: Axes, x: str, y: str) -> None:
    """Name the axes and drop the two lines of the frame that carry no ticks."""
    axes.set(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
