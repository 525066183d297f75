"""Grey levels into bits, by conventions whose likelihoods can't be compared with each other.

Published likelihoods of images use one of three: bits drawn anew at every visit of a row, which is left to the minibatches
because it belongs to the training run; bits drawn once, `binarize`; bits by comparison, `threshold`.
"""

from __future__ import annotations

import numpy as np

from .validation import check_rows


def binarize(images: np.ndarray, seed: int) -> np.ndarray:
    """Bits drawn once: 1 with probability equal to the intensity, a function of `images` and `seed` only.

    Takes (n, width) intensities in [0, 1], returns (n, width) float32 of 0 and 1. Bit (i, j) depends on the seed, on i and j
    and on the intensity there, not on the other rows; so give train, validation and test a seed each. The convention is that
    of Larochelle & Murray 2011, *The neural autoregressive distribution estimator*, whose files are one draw of it. Raises as
    `check_rows` does.

    >>> binarize(np.array([[0.0, 0.5, 0.5, 0.5, 1.0]]), seed=1)
    array([[0., 0., 0., 1., 1.]], dtype=float32)
    """
    from ..compute.random import Stream

    check_rows(images, name="images")
    return Stream(seed, "binarization").bernoulli(np.ascontiguousarray(images, np.float32))


def threshold(images: np.ndarray) -> np.ndarray:
    """1 where the intensity is above 0.5, else 0: (n, width) in [0, 1] becomes (n, width) float32. Raises as `check_rows` does.

    >>> threshold(np.array([[0.2, 0.5, 0.6]]))
    array([[0., 0., 1.]], dtype=float32)
    """
    check_rows(images, name="images")
    return (images > 0.5).astype(np.float32)
