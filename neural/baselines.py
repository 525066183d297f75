"""Baselines of autoencoders: principal components, and their logistic form."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np

from ebm.compute.device import CPU
from ebm.data.minibatches import dense, in_blocks
from ebm.data.validation import check_rows
from ebm.units.base import positive

from .autoencoder import Autoencoder


class PCA:
    """Principal components: of all linear codes of `components` numbers the one with the smallest squared error.

    >>> rows = np.random.default_rng(1).random((50, 6))
    >>> PCA(2).fit(rows).encode(rows).shape
    (50, 2)
    """

    axes: np.ndarray
    mean: Any

    def __init__(self, components: int) -> None:
        self.components = positive("components", components)

    def fit(self, data: Any) -> Self:
        """Find mean and axes, the eigenvectors of the covariance of the rows, which is summed in blocks in float64."""
        check_rows(data, data.shape[1], low=-math.inf, high=math.inf, sparse=True, name="data")
        n, width = data.shape
        if self.components > min(n, width):
            raise ValueError(
                f"found {self.components} components for data of shape {data.shape}; expected at most {min(n, width)}"
            )
        self.mean = sum(rows.sum(axis=0) for rows in in_blocks(data, CPU, np.float64)) / n
        covariance = np.zeros((width, width))
        for rows in in_blocks(data, CPU, np.float64):
            away = rows - self.mean
            covariance += away.T @ away
        self.axes = np.linalg.eigh(covariance)[1][:, : -self.components - 1 : -1].T
        return self

    def encode(self, rows: Any) -> np.ndarray:
        """The coordinates of rows along the axes, (rows, components)."""
        axes = self._fitted()
        return (dense(rows) - self.mean) @ axes.T

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The rows at these coordinates, (rows, inputs)."""
        return codes @ self._fitted() + self.mean

    def _fitted(self) -> np.ndarray:
        if not hasattr(self, "axes"):
            raise ValueError(f"found PCA({self.components}) before it has seen data; write .fit(data) first")
        return self.axes

    def squared_error(self, rows: Any) -> float:
        """Summed over the elements, averaged over the rows."""
        return float(((dense(rows) - self.decode(self.encode(rows))) ** 2).sum(axis=1, dtype=np.float64).mean())


def logistic_pca(inputs: int, components: int, **options: Any) -> Autoencoder:
    """Logistic PCA of rows in [0, 1]: p(x_i = 1) = 1 / (1 + e^-z_i) with z = (x A) B + b linear in a linear code, to be trained by `fit`.

    Collins, Dasgupta, Schapire 2001, "A generalization of principal components analysis to the exponential family"; with codes that are a
    linear function of the rows, so that new rows have them too (Landgraf & Lee 2020).
    """
    return Autoencoder([inputs, components], activation="identity", **options)
