"""Exact quantities of small machines of any graph: a table over all joint states, real-valued layers of one unit on a grid.

Everything is written from the energy. Nothing of the product is used but the arrays and the graph.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from quadrature import nodes
from scipy.special import logsumexp

from ebm.units import Bernoulli, Gaussian, Joint, ReLU, Softmax, Units

# Real-valued states of the machines below lie within this, to all digits.
REACH = 15.0


def states_of(units: Units) -> tuple[np.ndarray, np.ndarray]:
    """All states of a layer (states, size), with the log of their measure and without their energy."""
    if isinstance(units, Bernoulli):
        rows = np.array(list(itertools.product((0.0, 1.0), repeat=units.size)))
    elif isinstance(units, Softmax):
        rows = np.array([np.concatenate(x) for x in itertools.product(np.eye(units.categories), repeat=units.groups)])
    elif isinstance(units, Joint):
        parts = [states_of(m)[0] for m in units.members]
        rows = np.array([np.concatenate(x) for x in itertools.product(*parts)])
    else:
        assert isinstance(units, (Gaussian, ReLU))
        assert units.size == 1
        x, w = nodes(0.0 if isinstance(units, ReLU) else -REACH, REACH, 60)
        return x[:, None], np.log(w)
    return rows, np.zeros(len(rows))


class Table:
    """p of all joint states of a machine: `log_p[i, j, ...]` of state i of layer 0, j of layer 1, ...; `states[layer]` lists them."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        depth = len(machine.layers)
        self.states, self.measures = zip(*(states_of(layer.units) for layer in machine.layers), strict=True)
        terms: Any = 0.0
        for i, (layer, x, measure) in enumerate(zip(machine.layers, self.states, self.measures, strict=True)):
            own = measure + x @ np.float64(layer.bias)
            if isinstance(layer.units, (Gaussian, ReLU)):
                name = f"log_precision.{i}"
                precision = np.exp(np.float64(machine.parameters[name])) if name in machine.parameters else 1.0
                own = own - (precision * x**2 / 2).sum(axis=1)
            terms = terms + own.reshape([-1 if k == i else 1 for k in range(depth)])
        for c in machine.connections:
            product = self.states[c.lower] @ np.float64(c.weights) @ self.states[c.upper].T
            if c.lower > c.upper:
                product = product.T
            low, high = sorted((c.lower, c.upper))
            terms = terms + product.reshape(
                [product.shape[(low, high).index(k)] if k in (low, high) else 1 for k in range(depth)]
            )
        self.log_partition = float(logsumexp(terms))
        self.log_p = np.broadcast_to(terms, [len(x) for x in self.states]) - self.log_partition

    def marginal(self, *layers: int) -> np.ndarray:
        """ln p of the joint states of these layers."""
        return logsumexp(self.log_p, axis=tuple(k for k in range(self.log_p.ndim) if k not in layers))

    def visible(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of data, all of them, and their ln p (a density, where they are real-valued)."""
        observed = self.machine.observed
        rows = np.array([np.concatenate(x) for x in itertools.product(*(self.states[i] for i in observed))])
        measure = np.array([sum(x) for x in itertools.product(*(self.measures[i] for i in observed))])
        order = sorted(observed)
        table = self.marginal(*observed).transpose([order.index(i) for i in observed])
        return rows, table.ravel() - measure

    def draw(self, rows: int, seed: int) -> list[np.ndarray]:
        """Independent exact draws of all layers."""
        p = np.exp(self.log_p.ravel())
        chosen = np.random.default_rng(seed).choice(p.size, rows, p=p / p.sum())
        index = np.unravel_index(chosen, self.log_p.shape)
        return [x[i].astype(self.machine.dtype) for x, i in zip(self.states, index, strict=True)]

    def number(self, layer: int, found: Any) -> np.ndarray:
        """Which of the layer's states each of the rows `found` is."""
        place = (np.asarray(found)[:, None] == self.states[layer][None]).all(axis=2)
        assert (place.sum(axis=1) == 1).all(), "found states that the layer doesn't have"
        return place.argmax(axis=1)


def randomize(machine: Any, seed: int, scale: float = 0.8) -> Table:
    """Give a machine normal parameters with the given standard deviation, and tabulate it."""
    generator = np.random.default_rng(seed)
    for name in machine.parameters:
        machine.parameters[name][...] = generator.normal(0, scale, machine.parameters[name].shape)
    return Table(machine)
