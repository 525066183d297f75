"""Baselines that the demos print beside a Boltzmann machine."""

from __future__ import annotations

import numpy as np


def diagonal_gaussian(train: np.ndarray, test: np.ndarray) -> float:
    """Mean log-density, nats per row, of `test` under independent normal distributions fitted to `train`."""
    mean, std = train.mean(axis=0, dtype=float), train.std(axis=0, dtype=float)
    return float((-0.5 * ((test - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)).sum(axis=1).mean())


def full_gaussian(train: np.ndarray, test: np.ndarray) -> float:
    """The same with a full covariance, shrunk as Ledoit & Wolf 2004 do, so that few rows in many dimensions suffice."""
    from sklearn.covariance import LedoitWolf

    estimate = LedoitWolf().fit(train.astype(float))
    difference = test - estimate.location_
    _, logdet = np.linalg.slogdet(estimate.covariance_)
    squares = np.einsum("ij,ij->i", difference @ estimate.precision_, difference)
    return float(-0.5 * (squares.mean() + logdet + test.shape[1] * np.log(2 * np.pi)))


def average_precision(queries: np.ndarray, documents: np.ndarray, query_labels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Precision at each number of documents retrieved by cosine similarity, averaged over queries, (documents,).

    A document is relevant when it has the query's label.
    """

    def normalized(rows: np.ndarray) -> np.ndarray:
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)

    order = np.argsort(-(normalized(queries) @ normalized(documents).T), axis=1, kind="stable")
    relevant = labels[order] == query_labels[:, None]
    return (np.cumsum(relevant, axis=1) / np.arange(1, relevant.shape[1] + 1)).mean(axis=0)
