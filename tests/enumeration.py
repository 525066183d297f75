"""Exact quantities of small machines of binary units, by enumeration in float64: the oracle of the tests.

It is written from the definition p(x) = exp(-E(x)) / Z alone: conditionals are sums over the table of joint probabilities, never
a logistic function. It imports nothing of the product; `of` reads a machine's arrays and writes none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# The probability that a sound sampler fails one of the checks below, were its seed drawn at random.
FALSE_ALARM = 1e-5


def binary_rows(size: int) -> np.ndarray:
    """All states of `size` binary units, (2^size, size), row i spelling the number i."""
    return (np.arange(2**size)[:, None] >> np.arange(size)[::-1] & 1).astype(np.float64)


def number(rows: Any) -> np.ndarray:
    """The number that each binary row spells: its place in `binary_rows`."""
    rows = np.asarray(rows)
    return (rows @ 2 ** np.arange(rows.shape[1])[::-1]).astype(np.int64)


class Enumeration:
    """A machine with `biases`, one array a layer, and `weights` between pairs of layers; all states at inverse temperature `beta`."""

    def __init__(self, biases: Sequence[np.ndarray], weights: Mapping[tuple[int, int], np.ndarray], beta: float = 1.0) -> None:
        self.biases = [np.array(bias, np.float64) for bias in biases]
        self.weights = {pair: np.array(w, np.float64) for pair, w in weights.items()}
        self.beta = beta
        self.sizes = [bias.size for bias in self.biases]
        joint = binary_rows(sum(self.sizes))
        ends = np.cumsum(self.sizes)
        self.states = [np.ascontiguousarray(joint[:, end - size : end]) for end, size in zip(ends, self.sizes, strict=True)]
        negative = -beta * self.energy(self.states)
        largest = negative.max()
        self.log_partition = largest + np.log(np.exp(negative - largest).sum())
        self.probabilities = np.exp(negative - self.log_partition)

    @classmethod
    def of(cls, machine: Any, beta: float = 1.0) -> Enumeration:
        """The exact quantities of a machine on the CPU."""
        weights = {(c.lower, c.upper): c.weights for c in machine.connections}
        return cls([layer.bias for layer in machine.layers], weights, beta)

    def energy(self, states: Sequence[Any]) -> np.ndarray:
        """E(x) = -sum_i b_i x_i - sum_ij x_i W_ij x_j of every row."""
        rows = [np.asarray(layer, np.float64) for layer in states]
        energy = -sum((x * bias).sum(axis=1) for x, bias in zip(rows, self.biases, strict=True))
        return energy - sum(np.einsum("ri,ij,rj->r", rows[i], w, rows[j]) for (i, j), w in self.weights.items())

    def marginal(self, layer: int) -> np.ndarray:
        """p(x_layer) of every row of `binary_rows`."""
        return np.bincount(number(self.states[layer]), self.probabilities, 2 ** self.sizes[layer])

    def log_likelihood(self, data: Any, weights: Any = None) -> float:
        """The mean (or weighted sum) over the rows of ln p(x_0)."""
        log_p = np.log(self.marginal(0)[number(data)])
        return float(log_p.mean() if weights is None else log_p @ weights)

    def expectation(self, probabilities: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """-dE/dparameters averaged over all joint states, under the machine or under other probabilities of them."""
        p = self.probabilities if probabilities is None else probabilities
        statistics = {f"bias.{i}": p @ x for i, x in enumerate(self.states)}
        for i, j in self.weights:
            name = "weights" if len(self.weights) == 1 else f"weights.{i}.{j}"
            statistics[name] = (p[:, None] * self.states[i]).T @ self.states[j]
        return statistics

    def given_data(self, data: Any) -> np.ndarray:
        """Probabilities of the joint states when layer 0 has the distribution of the rows and the others are drawn given it."""
        seen = np.bincount(number(data), minlength=2 ** self.sizes[0]) / len(data)
        return self.probabilities * (seen / self.marginal(0))[number(self.states[0])]

    def gradient(self, data: Any) -> dict[str, np.ndarray]:
        """The gradient of `log_likelihood`."""
        driven, free = self.expectation(self.given_data(data)), self.expectation()
        return {name: driven[name] - free[name] for name in driven}

    def conditional(self, layer: int, given: int) -> np.ndarray:
        """p(x_layer | x_given), a row for every state of `given`, summed over all other layers."""
        table = np.zeros((2 ** self.sizes[given], 2 ** self.sizes[layer]))
        np.add.at(table, (number(self.states[given]), number(self.states[layer])), self.probabilities)
        return table / table.sum(axis=1, keepdims=True)

    def clamped(self, mask: Any, values: Any) -> np.ndarray:
        """p(x_0 | x_0 = values where mask), for every row of `binary_rows`."""
        rows = binary_rows(self.sizes[0])
        p = self.marginal(0) * (rows[:, np.asarray(mask, bool)] == np.asarray(values)[np.asarray(mask, bool)]).all(axis=1)
        return p / p.sum()

    def draw(self, rows: int, seed: int) -> list[np.ndarray]:
        """Independent exact draws of all layers, float32."""
        chosen = np.random.default_rng(seed).choice(self.probabilities.size, rows, p=self.probabilities)
        return [x[chosen].astype(np.float32) for x in self.states]


def randomize(machine: Any, seed: int, scale: float = 1.0) -> Enumeration:
    """Give a machine normal parameters with the given standard deviation, and enumerate it."""
    generator = np.random.default_rng(seed)
    for name in machine.parameters:
        machine.parameters[name][...] = generator.normal(0, scale, machine.parameters[name].shape)
    return Enumeration.of(machine)


def assert_distributed(rows: Any, probabilities: np.ndarray) -> None:
    """Independent binary rows are drawn from `probabilities` (of `binary_rows`): Pearson's chi-square, a false alarm in 10^5.

    States that are expected less than five times count as one; a state of probability zero must not occur.
    """
    assert np.array_equal(np.asarray(rows), binary_rows(np.shape(rows)[1])[number(rows)]), "found states that are not binary"
    assert_counts(np.bincount(number(rows), minlength=probabilities.size), probabilities)


def assert_counts(counts: np.ndarray, probabilities: np.ndarray) -> None:
    """So many independent draws fell into each of the cells that have these probabilities (see `assert_distributed`)."""
    from scipy.stats import chi2

    assert not counts[probabilities == 0].any(), "found states that have probability zero"
    expected = probabilities * counts.sum()
    common = expected >= 5
    counts, expected = (np.append(x[common], x[~common].sum()) for x in (counts, expected))
    counts, expected = counts[expected > 0], expected[expected > 0]
    statistic = ((counts - expected) ** 2 / expected).sum()
    limit = chi2.ppf(1 - FALSE_ALARM, max(len(counts) - 1, 1))
    assert statistic < limit, f"chi-square {statistic:.1f} of {len(counts)} bins; a sound sampler stays below {limit:.1f}"


def assert_mean(samples: Any, probabilities: np.ndarray, values: np.ndarray) -> None:
    """The mean of independent rows of `samples` is that of `values` (states, ...) under `probabilities`, to 5 standard errors."""
    shape = (-1,) + (1,) * (values.ndim - 1)
    mean = (probabilities.reshape(shape) * values).sum(axis=0)
    variance = (probabilities.reshape(shape) * (values - mean) ** 2).sum(axis=0)
    error = np.abs(np.asarray(samples, np.float64).mean(axis=0) - mean)
    limit = 5 * np.sqrt(variance / len(samples)) + 1e-6
    assert (error < limit).all(), (
        f"means are off by {(error / limit).max() * 5:.1f} standard errors; a sound sampler stays below 5"
    )
