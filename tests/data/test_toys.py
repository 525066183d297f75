from collections import Counter
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from ebm.data import bars_and_stripes, shifter


def distribution(patterns, probabilities):
    """Pattern to probability; fails when a pattern occurs twice."""
    assert patterns.dtype == np.float32
    assert probabilities.dtype == np.float64
    assert probabilities.shape == (len(patterns),)
    found = {tuple(int(bit) for bit in row): float(p) for row, p in zip(patterns, probabilities, strict=True)}
    assert len(found) == len(patterns)
    return found


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5])
def test_bars_and_stripes_by_drawing_every_line(side):
    expected = Counter()
    for lines in product((0, 1), repeat=side):
        rows = tuple(lines[i] for i in range(side) for j in range(side))
        columns = tuple(lines[j] for i in range(side) for j in range(side))
        for pattern in (rows, columns):
            expected[pattern] += Fraction(1, 2 ** (side + 1))
    assert len(expected) == 2 ** (side + 1) - 2
    assert distribution(*bars_and_stripes(side)) == expected


@pytest.mark.parametrize("width", [1, 2, 3, 8])
def test_shifter_by_drawing_every_row(width):
    expected = Counter()
    for row in product((0, 1), repeat=width):
        left, right = row[1:] + row[:1], row[-1:] + row[:-1]
        for shifted, label in ((left, (1, 0, 0)), (row, (0, 1, 0)), (right, (0, 0, 1))):
            expected[row + shifted + label] += Fraction(1, 3 * 2**width)
    assert distribution(*shifter(width)) == pytest.approx({k: float(p) for k, p in expected.items()}, rel=1e-15)


@pytest.mark.parametrize("toy", [bars_and_stripes, shifter])
@pytest.mark.parametrize("size", [-1, 0, 17])
def test_sizes_that_cannot_be_enumerated(toy, size):
    with pytest.raises(ValueError, match=f"={size}; expected 1 to 16"):
        toy(size)
