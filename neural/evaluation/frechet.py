"""The Fréchet distance between two sets of features."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ebm.data.minibatches import dense

from .distances import check


def frechet_distance(rows: Any, samples: Any) -> float:
    """The squared Fréchet distance between Gaussians with the means and covariances of the features of rows (n, features) and of samples
    (m, features):

        d^2 = |mu - mu'|^2 + tr(Σ + Σ' - 2 (Σ Σ')^(1/2)).

    With Σ = R^T R and Σ' = R'^T R' from QR decompositions, tr (Σ Σ')^(1/2) is the sum of the singular values of R R'^T: no square root of a
    matrix, and no covariance, is computed. Too few samples make it too large, by an amount that depends on their number and on the model:
    compare figures of equal numbers only. (Heusel et al. 2017, "GANs trained by a two time-scale update rule converge to a local Nash
    equilibrium", equation 6, there in the features of Inception; here in whatever features are given, see `FeatureSpace`.)

    Raises `ValueError` when a set has no more rows than features, so that its covariance is singular, for widths that differ and for
    numbers that are not finite.
    """
    check(rows, "rows")
    check(samples, "samples", rows.shape[1])
    (mean, root), (other_mean, other_root) = _moments(rows, "rows"), _moments(samples, "samples")
    overlap = np.linalg.norm(root @ other_root.T, "nuc")
    distance = np.square(mean - other_mean).sum() + np.square(root).sum() + np.square(other_root).sum() - 2 * overlap
    return max(0.0, float(distance))


def _moments(rows: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The mean (features,), and R (features, features) with the covariance R^T R."""
    count, features = rows.shape
    if count <= features:
        raise ValueError(
            f"found {count} {name} of {features} features; expected at least {features + 1}, else their covariance is singular: take more "
            f"{name}, or a feature space with less than {count} features, FeatureSpace.train(..., features={max(1, count // 4)})"
        )
    x = dense(rows).astype(np.float64)
    mean = x.mean(axis=0)
    x -= mean
    return mean, np.asarray(np.linalg.qr(x, mode="r")) / math.sqrt(count - 1)
