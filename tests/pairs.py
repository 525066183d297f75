"""Exact quantities of small RBMs of any two types of units: the oracle of the tests.

Everything is written from the energy: discrete layers are enumerated (ordered documents, for word counts), and the units of a
real-valued layer, independent given the other layer, are integrated numerically. Nothing of the product is used but the arrays.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from enumeration import assert_counts
from quadrature import nodes
from scipy.special import logsumexp, ndtr
from scipy.stats import kstest
from truncated_normal import cdf, quantile_of_tail

from ebm import RBM
from ebm.units import Bernoulli, Gaussian, ReLU, ReplicatedSoftmax, Softmax, Units

LENGTH = 3
# Real-valued states of the machines below lie within this, to all digits.
REACH = 20.0

HIDDEN: dict[str, Units] = {
    "Bernoulli": Bernoulli(3),
    "Gaussian": Gaussian(2),
    "Gaussian learned": Gaussian(2, learn_variance=True),
    "ReLU": ReLU(2),
    "Softmax": Softmax(3),
    "groups": Softmax(2, groups=2),
}
VISIBLE = HIDDEN | {"Bernoulli": Bernoulli(4), "counts": ReplicatedSoftmax(3, longest=2 * LENGTH)}
PAIRS = {f"{v} x {h}": (VISIBLE[v], HIDDEN[h]) for v in VISIBLE for h in HIDDEN}
DISCRETE = {name: pair for name, pair in PAIRS.items() if pair[0].discrete or pair[1].discrete}
CONTINUOUS = {name: pair for name, pair in PAIRS.items() if name not in DISCRETE}


def single(units: Units) -> Units:
    """One real-valued unit of this type; discrete units as they are."""
    return units if units.discrete else type(units)(**(units.arguments() | {"size": 1}))


def machine(pair: tuple[Units, Units], seed: int = 1, dtype: str = "float64", norm: float = 0.6) -> RBM:
    """An RBM with random parameters, precisions too; real-valued pairs have the given spectral norm."""
    rbm = RBM(*pair, device="cpu", dtype=dtype)
    generator = np.random.default_rng(seed)
    for name, array in rbm.parameters.named_arrays().items():
        scale = 0.4 if name.startswith("log_precision") else 0.6
        array[...] = generator.normal(0, scale, array.shape)
    if not (pair[0].discrete or pair[1].discrete):
        roots = [np.exp(log_precision(rbm, i) / 2) for i in (0, 1)]
        rbm.weights[...] *= norm / np.linalg.norm(np.float64(rbm.weights) / np.outer(*roots), 2)
    return rbm


def log_precision(rbm: RBM, layer: int) -> np.ndarray:
    """Of a Gaussian layer; zeros for all others."""
    name = f"log_precision.{layer}"
    return np.float64(rbm.parameters[name]) if name in rbm.parameters else np.zeros(rbm.layers[layer].units.size)


def lengths(rbm: RBM, v: Any) -> np.ndarray:
    """How often the hidden bias counts, (rows, 1)."""
    return v.sum(axis=1, keepdims=True) if isinstance(rbm.visible.units, ReplicatedSoftmax) else np.ones((len(v), 1))


def energy(rbm: RBM, v: Any, h: Any) -> np.ndarray:
    """E(v, h) of every row, in float64."""
    v, h = np.float64(v), np.float64(h)
    b, c, W = (np.float64(x) for x in (rbm.visible.bias, rbm.hidden.bias, rbm.weights))
    total = -(v * b).sum(axis=1) - (lengths(rbm, v) * h * c).sum(axis=1) - np.einsum("ri,ij,rj->r", v, W, h)
    for layer, x in enumerate((v, h)):
        if isinstance(rbm.layers[layer].units, (Gaussian, ReLU)):
            total += (np.exp(log_precision(rbm, layer)) * x**2 / 2).sum(axis=1)
    return total


def field(rbm: RBM, layer: int, given: Any) -> np.ndarray:
    """What a layer sees of the other one at the rows `given`."""
    given = np.float64(given)
    if layer == 0:
        return rbm.visible.bias + given @ np.float64(rbm.weights).T
    return lengths(rbm, given) * rbm.hidden.bias + given @ np.float64(rbm.weights)


def states(rbm: RBM, layer: int) -> np.ndarray:
    """All states of a discrete layer; of word counts all ordered documents of `LENGTH` words."""
    units = rbm.layers[layer].units
    if isinstance(units, Bernoulli):
        return np.array(list(itertools.product((0.0, 1.0), repeat=units.size)))
    if isinstance(units, Softmax):
        return np.array([np.concatenate(x) for x in itertools.product(np.eye(units.categories), repeat=units.groups)])
    return np.array([np.sum(x, axis=0) for x in itertools.product(np.eye(units.size), repeat=LENGTH)])


def pairs_of(rbm: RBM, layer: int, x: np.ndarray, given: np.ndarray, beta: float) -> np.ndarray:
    """-beta E for every row of `given` with every row of `x` in `layer`, (given, x)."""
    both = np.repeat(given, len(x), axis=0), np.tile(x, (len(given), 1))
    return -beta * energy(rbm, *(both if layer == 1 else both[::-1])).reshape(len(given), len(x))


def summed(rbm: RBM, layer: int, given: Any, beta: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """For every row of `given`, the other layer: the log of the sum (integral) of e^(-beta E) over `layer`, and the mean of `layer`."""
    given = np.float64(given)
    units = rbm.layers[layer].units
    if units.discrete:
        weights = pairs_of(rbm, layer, states(rbm, layer), given, beta)
        total = logsumexp(weights, axis=1)
        return total, np.exp(weights - total[:, None]) @ states(rbm, layer)
    x, w = nodes(0.0 if isinstance(units, ReLU) else -REACH, REACH, 40)
    origin = pairs_of(rbm, layer, np.zeros((1, units.size)), given, beta)
    total, means = origin[:, 0], []
    for i in range(units.size):
        rows = np.zeros((x.size, units.size))
        rows[:, i] = x
        weights = pairs_of(rbm, layer, rows, given, beta) - origin + np.log(w)
        share = logsumexp(weights, axis=1)
        total = total + share
        means.append(np.exp(weights - share[:, None]) @ x)
    return total, np.array(means).T


def log_partition(rbm: RBM, beta: float = 1.0) -> float:
    """ln Z of a machine with a discrete side, or with one real-valued visible unit; for word counts of documents of `LENGTH`."""
    for layer in (0, 1):
        if rbm.layers[layer].units.discrete:
            return float(logsumexp(summed(rbm, 1 - layer, states(rbm, layer), beta)[0]))
    x, w = nodes(0.0 if isinstance(rbm.visible.units, ReLU) else -REACH, REACH, 40)
    return float(logsumexp(summed(rbm, 1, x[:, None], beta)[0] + np.log(w)))


def draw_given(rbm: RBM, layer: int, given: np.ndarray, generator: np.random.Generator, beta: float = 1.0) -> np.ndarray:
    """A layer given the rows of the other, by NumPy's generator."""
    units, z = rbm.layers[layer].units, field(rbm, layer, given)
    precision = np.exp(log_precision(rbm, layer))
    if isinstance(units, Gaussian):
        return z / precision + generator.standard_normal(z.shape) / np.sqrt(beta * precision)
    if isinstance(units, ReLU):
        return quantile_of_tail(1 - generator.random(z.shape), z * np.sqrt(beta)) / np.sqrt(beta)
    weights = pairs_of(rbm, layer, states(rbm, layer), given, beta)
    return states(rbm, layer)[(weights + generator.gumbel(size=weights.shape)).argmax(axis=1)]


def marginal_of_one_unit(rbm: RBM, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """Points and the distribution function at them of the visible unit of a real-valued pair."""
    x = np.linspace(0.0 if isinstance(rbm.visible.units, ReLU) else -REACH, REACH, 1501)
    density = np.exp(summed(rbm, 1, x[:, None], beta)[0] - log_partition(rbm, beta))
    steps = (density[1:] + density[:-1]) / 2 * np.diff(x)
    return x, np.concatenate([[0.0], steps.cumsum()])


def draw(rbm: RBM, rows: int, seed: int, beta: float = 1.0) -> list[np.ndarray]:
    """Independent exact draws of both layers, in the machine's dtype."""
    generator = np.random.default_rng(seed)
    layer = next((i for i in (0, 1) if rbm.layers[i].units.discrete), None)
    if layer is None:
        layer = 0
        x, below = marginal_of_one_unit(rbm, beta)
        first = np.interp(generator.random(rows), below, x)[:, None]
    else:
        log_weights = summed(rbm, 1 - layer, states(rbm, layer), beta)[0]
        p = np.exp(log_weights - logsumexp(log_weights))
        first = states(rbm, layer)[generator.choice(len(p), rows, p=p / p.sum())]
    second = draw_given(rbm, 1 - layer, first, generator, beta)
    return [x.astype(rbm.dtype) for x in ((first, second) if layer == 0 else (second, first))]


def assert_joint(rbm: RBM, v: Any, h: Any, beta: float = 1.0) -> None:
    """Rows (v, h) are independent draws of the machine's distribution: chi-square of a discrete layer's states (of both, where both
    are discrete), and Kolmogorov and Smirnov's test of the rest given it; false alarms as in `enumeration`."""
    rows = [np.float64(v), np.float64(h)]
    layer = next((i for i in (0, 1) if rbm.layers[i].units.discrete), None)
    if layer is None:
        layer = 0
        x, below = marginal_of_one_unit(rbm, beta)
        assert_uniform(np.interp(rows[0][:, 0], x, below))
    else:
        log_weights = summed(rbm, 1 - layer, states(rbm, layer), beta)[0]
        p = np.exp(log_weights - logsumexp(log_weights))
        if rbm.layers[1 - layer].units.discrete:
            both = pairs_of(rbm, 1, states(rbm, 1), states(rbm, 0), beta)
            joint = np.concatenate([np.repeat(states(rbm, 0), both.shape[1], 0), np.tile(states(rbm, 1), (len(both), 1))], 1)
            assert_states(np.concatenate(rows, axis=1), joint, np.exp(both - logsumexp(both)).ravel())
            return
        assert_states(rows[layer], states(rbm, layer), p)
    rest, units = rows[1 - layer], rbm.layers[1 - layer].units
    z = field(rbm, 1 - layer, rows[layer]) * np.sqrt(beta)
    if isinstance(units, ReLU):
        assert (rest >= 0).all()
        assert_uniform(cdf(rest * np.sqrt(beta), z))
    else:
        precision = np.exp(log_precision(rbm, 1 - layer))
        assert_uniform(ndtr(rest * np.sqrt(beta * precision) - z / np.sqrt(precision)))


def assert_states(rows: np.ndarray, possible: np.ndarray, probabilities: np.ndarray) -> None:
    """Rows are draws from `possible` (in which a row may stand several times, as documents of the same counts) with `probabilities`."""
    distinct, which = np.unique(possible, axis=0, return_inverse=True)
    index = {tuple(row): i for i, row in enumerate(distinct)}
    assert {tuple(row) for row in np.unique(rows, axis=0)} <= index.keys(), "found states that are none"
    unique, counts = np.unique(rows, axis=0, return_counts=True)
    found = np.zeros(len(distinct))
    found[[index[tuple(row)] for row in unique]] = counts
    assert_counts(found, np.bincount(which.ravel(), probabilities))


def assert_uniform(u: np.ndarray) -> None:
    """The numbers in each column are uniform on [0, 1]."""
    for column in u.reshape(len(u), -1).T:
        found = kstest(column, "uniform")
        assert found.pvalue > 1e-5, f"Kolmogorov-Smirnov {found.statistic:.4f}, p {found.pvalue:.1g} of {len(u)} draws"
