"""Exact quantities of small belief networks of binary units, by enumeration in float64, from the definition

    p(v, h1, ..., hL) = p(v | h1) ... p(h(L-2) | h(L-1)) p(h(L-1), label, hL),   q(h1, ..., h(L-1) | v) = q(h1 | v) q(h2 | h1) ...

It imports nothing of the product; a network's arrays are read and not written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from enumeration import binary_rows, number
from scipy.special import logsumexp


def log_bernoulli(states: np.ndarray, field: np.ndarray) -> np.ndarray:
    """ln of the product over units of e^(field x) / (1 + e^field), for every row."""
    return (states * field - np.logaddexp(0, field)).sum(axis=1)


class Belief:
    """All states of the layers v, h1, ..., h(L-1) of a network and of its label, with ln p and ln q of each; hL is summed."""

    def __init__(self, dbn: Any) -> None:
        self.up = [self._arrays(rbm) for rbm in dbn.layers]
        self.down = [self._arrays(rbm) for rbm in dbn.generative]
        sizes = [len(hidden) for _, hidden, _ in self.up]
        sizes = [len(self.up[0][1]) if len(self.up) > 1 else len(self.up[0][1]) - dbn.labels, *(len(c) for _, _, c in self.up)]
        joint = binary_rows(sum(sizes[:-1]))
        self.labels = dbn.labels
        labels = np.eye(dbn.labels) if dbn.labels else np.zeros((1, 0))
        joint, label = np.repeat(joint, len(labels), axis=0), np.tile(labels, (len(joint), 1))
        ends = np.cumsum(sizes[:-1])
        self.states = [np.ascontiguousarray(joint[:, end - size : end]) for end, size in zip(ends, sizes[:-1], strict=True)]
        self.visible = np.concatenate([self.states[0], label], axis=1)
        # the visible units of the last RBM, and the factors of ln p
        self.top = np.concatenate([self.states[-1], label], axis=1)
        self.log_partition = self._log_partition(sizes[-2], labels)
        self.log_top = self._unnormalized(self.top) - self.log_partition
        self.log_down, self.log_q = np.zeros(len(joint)), np.zeros(len(joint))
        for k, (weights, bias, _) in enumerate(self.down):
            self.log_down += log_bernoulli(self.states[k], bias + self.states[k + 1] @ weights.T)
            weights, _, hidden = self.up[k]
            self.log_q += log_bernoulli(self.states[k + 1], hidden + self.states[k] @ weights)
        self.log_p = self.log_top + self.log_down
        # which row of data a state belongs to
        self.rows = np.unique(self.visible, axis=0)
        codes = {tuple(row): i for i, row in enumerate(self.rows)}
        self.row = np.array([codes[tuple(row)] for row in self.visible])

    @staticmethod
    def _arrays(rbm: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        weights, visible, hidden = rbm.weights, rbm.visible.bias, rbm.hidden.bias
        return tuple(np.array(x, np.float64) for x in (weights, visible, hidden))  # type: ignore[return-value]

    def _unnormalized(self, x: np.ndarray) -> np.ndarray:
        """ln sum_h e^-E(x, h) of the last RBM, by listing h, once for rows that are equal."""
        weights, visible, hidden = self.up[-1]
        _, first, again = np.unique(number(x), return_index=True, return_inverse=True)
        x = x[first]
        h = binary_rows(len(hidden))
        return logsumexp(x @ visible[:, None] + h @ hidden + x @ weights @ h.T, axis=1)[again]

    def _log_partition(self, size: int, labels: np.ndarray) -> float:
        x = binary_rows(size)
        x = np.concatenate([np.repeat(x, len(labels), axis=0), np.tile(labels, (len(x), 1))], axis=1)
        return float(logsumexp(self._unnormalized(x)))

    def log_probability(self, rows: Any) -> np.ndarray:
        """ln p of each row of data."""
        found = np.array([logsumexp(self.log_p[self.row == i]) for i in range(len(self.rows))])
        return found[self.number(rows)]

    @property
    def probabilities(self) -> np.ndarray:
        """p of each of `rows`."""
        return np.bincount(self.row, np.exp(self.log_p))

    def number(self, rows: Any) -> np.ndarray:
        """The places of data in `rows`."""
        return np.searchsorted(number(self.rows), number(rows))

    def recognized(self, f: np.ndarray) -> np.ndarray:
        """E_q(h | v) f(v, h) for each of `rows`."""
        return np.bincount(self.row, np.exp(self.log_q) * f)

    def bound(self, rows: Any) -> np.ndarray:
        """E_q ln p(v, h) / q(h | v) of each row of data."""
        return self.recognized(self.log_p - self.log_q)[self.number(rows)]
