import numpy as np
import pytest

from ebm.data import patches


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3)])
def test_patches_are_squares_of_the_images(shape):
    # Every pixel is known by its value.
    images = np.arange(6 * np.prod(shape)).reshape(6, -1)
    found = patches(images, shape, size=3, count=2000, seed=1)
    channels = np.prod(shape[2:], dtype=int)
    pixels = images.reshape(6, 4, 5, channels)
    expected = {pixels[i, y : y + 3, x : x + 3].tobytes(): (i, y, x) for i in range(6) for y in range(2) for x in range(3)}
    assert found.shape == (2000, 9 * channels)
    assert found.dtype == images.dtype
    counts = np.zeros((6, 2, 3))
    for row in found:
        counts[expected[row.tobytes()]] += 1
    # 36 places, all equally likely: chi-squared with 35 degrees of freedom exceeds 80 once in 25,000 seeds
    assert ((counts - 2000 / 36) ** 2 / (2000 / 36)).sum() < 80


def test_whole_images():
    images = np.random.default_rng(1).random((3, 16), np.float32)
    found = patches(images, (4, 4), size=4, count=50, seed=2)
    assert {row.tobytes() for row in found} == {row.tobytes() for row in images}
    assert found.flags.c_contiguous
    assert found.flags.owndata or found.base.flags.owndata


def test_seed_decides():
    images = np.random.default_rng(1).random((30, 100))
    first = patches(images, (10, 10), 3, 40, seed=5)
    np.testing.assert_array_equal(first, patches(images, (10, 10), 3, 40, seed=5))
    np.testing.assert_array_equal(first[:25], patches(images, (10, 10), 3, 25, seed=5))
    assert (first != patches(images, (10, 10), 3, 40, seed=6)).any()


def test_memory_map(tmp_path):
    images = np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (7, 36))
    images[:] = np.arange(7)[:, None]
    found = patches(images, (6, 6), 2, 30, seed=1)
    assert (found == found[:, :1]).all()
    assert set(found.ravel()) <= set(range(7))


@pytest.mark.parametrize(
    ("shape", "size", "count", "message"),
    [
        ((4, 6), 3, 1, r"found images of shape \(5, 20\) for shape=\(4, 6\); expected \(n, 4 · 6\)"),
        ((20,), 3, 1, r"shape=\(20,\)"),
        ((2, 2, 5, 1), 1, 1, r"shape=\(2, 2, 5, 1\)"),
        ((4, 5), 5, 1, "found size=5, count=1 for images of 4 × 5; expected at least 1, within them"),
        ((4, 5), 0, 1, "size=0"),
        ((4, 5), 3, 0, "count=0"),
    ],
)
def test_what_does_not_fit(shape, size, count, message):
    with pytest.raises(ValueError, match=message):
        patches(np.zeros((5, 20)), shape, size, count, seed=1)


def test_rows_that_are_no_rows():
    with pytest.raises(ValueError, match=r"found images of shape \(0, 20\)"):
        patches(np.zeros((0, 20)), (4, 5), 2, 1, seed=1)
    with pytest.raises(ValueError, match=r"found images of shape \(3, 4, 5\)"):
        patches(np.zeros((3, 4, 5)), (4, 5), 2, 1, seed=1)
