"""Patches of images at random places, the classic diet of models of natural images."""

from __future__ import annotations

import numpy as np


def patches(images: np.ndarray, shape: tuple[int, ...], size: int, count: int, seed: int) -> np.ndarray:
    """`count` squares of `size` × `size` pixels, each from an image and a place drawn at random, all equally likely.

    `images` are rows (n, width), of `shape` (height, width) or (height, width, channels), and so are the patches:
    (count, size · size · channels) in their dtype, row by row, the channels of a pixel side by side. Images and places are a
    function of `seed` and `count`. Raises `ValueError` for shapes that don't fit.

    >>> patches(np.arange(9.0)[None], (3, 3), size=2, count=3, seed=1)
    array([[3., 4., 6., 7.],
           [4., 5., 7., 8.],
           [1., 2., 4., 5.]])
    """
    from ..compute.random import Stream

    if len(shape) not in (2, 3) or images.ndim != 2 or images.shape[1] != np.prod(shape) or not len(images):
        raise ValueError(
            f"found images of shape {images.shape} for shape={shape}; expected (n, {' · '.join(map(str, shape))}) "
            "and (height, width) or (height, width, channels)"
        )
    if not 1 <= size <= min(shape[:2]) or count < 1:
        raise ValueError(
            f"found size={size}, count={count} for images of {shape[0]} × {shape[1]}; expected at least 1, within them"
        )
    height, width, channels = (*shape, 1)[:3]
    pixels = images.reshape(-1, height, width, channels)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (size, size), axis=(1, 2))
    choices = np.array(windows.shape[:3], np.uint64)
    words = Stream(seed, "patches").words((count, 3))
    image, row, column = (words * choices >> np.uint64(32)).T.astype(np.intp)  # a 32-bit fraction of the choices
    return np.moveaxis(windows[image, row, column], 1, -1).reshape(count, -1)
