"""Precision and recall of samples, by the manifolds that sets of features span."""

from __future__ import annotations

from typing import Any

import numpy as np

from ebm.units.base import positive

from .distances import check, squared_distances


def precision_recall(rows: Any, samples: Any, neighbors: int = 3) -> tuple[float, float]:
    """(precision, recall) of the features of `samples` (m, features) against those of `rows` (n, features).

    A set's manifold are the balls around its points that reach to their third nearest neighbor (or to another number). Precision is the
    share of samples in the manifold of the rows, that could be rows; recall the share of rows in the manifold of the samples, that
    the model could have made. Distances are computed in blocks. (Kynkäänniemi et al. 2019, "Improved precision and recall metric for
    assessing generative models", equations 1 and 2.) Both depend on the numbers of rows and samples: take as many of both.

    Raises `ValueError` for sets of no more points than neighbors, widths that differ and numbers that are not finite.
    """
    least = positive("neighbors", neighbors) + 1
    check(rows, "rows", least=least)
    check(samples, "samples", rows.shape[1], least)
    return _covered(samples, rows, neighbors), _covered(rows, samples, neighbors)


def _covered(points: Any, others: Any, neighbors: int) -> float:
    """The share of points in the manifold of the others."""
    # a point is its own nearest neighbor
    nearest = np.full((others.shape[0], neighbors + 1), np.inf)
    for here, _, squared in squared_distances(others, others):
        candidates = np.concatenate([nearest[here], squared], axis=1)
        nearest[here] = np.partition(candidates, neighbors, axis=1)[:, : neighbors + 1]
    radii, covered = nearest.max(axis=1), np.zeros(points.shape[0], bool)
    for here, there, squared in squared_distances(points, others):
        covered[here] |= (squared <= radii[there]).any(axis=1)
    return float(covered.mean())
