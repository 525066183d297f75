import numpy as np
import pytest

from ebm.data import binarize, threshold


def test_binarize_is_a_function_of_images_and_seed():
    images = np.random.default_rng(0).random((60, 30), np.float32)
    bits = binarize(images, seed=5)
    assert bits.dtype == np.float32
    assert set(np.unique(bits)) == {0, 1}
    np.testing.assert_array_equal(bits, binarize(images, seed=5))
    np.testing.assert_array_equal(bits[:10], binarize(images[:10], seed=5))
    np.testing.assert_array_equal(bits, binarize(np.asfortranarray(images), seed=5))
    # Two independent draws differ where their uniforms fall on both sides of p: 2p(1-p), a third on average here.
    assert 0.25 < (bits != binarize(images, seed=6)).mean() < 0.42


def test_binarize_draws_with_the_intensity_as_probability():
    intensities = np.linspace(0, 1, 11, dtype=np.float32)
    bits = binarize(np.tile(intensities, (20_000, 1)), seed=1)
    deviation = np.sqrt(intensities * (1 - intensities) / len(bits))
    assert (np.abs(bits.mean(0) - intensities) <= 5 * deviation).all()  # exact at 0 and 1


def test_threshold_is_strict():
    images = np.array([[0.0, 0.5, np.nextafter(np.float32(0.5), np.float32(1)), 1.0]], np.float32)
    bits = threshold(images)
    assert bits.dtype == np.float32
    np.testing.assert_array_equal(bits, [[0, 0, 1, 1]])


@pytest.mark.parametrize("convention", [threshold, lambda images: binarize(images, seed=1)])
def test_grey_levels_outside_the_unit_interval(convention):
    with pytest.raises(ValueError, match=r"images\[0, 1\] is 255"):
        convention(np.array([[0, 255]], np.uint8))
