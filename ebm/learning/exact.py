"""The exact gradient, for small machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..compute.device import Array
from ..compute.gemm import gemm
from ..compute.random import Stream
from ..enumeration import smaller_block
from ..training.parameters import Parameters
from .rule import Chains, Phase, Statistics

if TYPE_CHECKING:
    from ..rbm import RBM

LARGEST = 2**16


@dataclass(frozen=True)
class Exact:
    """The gradient of the log-likelihood itself: the model's phase is the expectation over all states s of whichever layer has fewer,

        sum_s p(s) E[-dE/dparameters | s],   p(s) = e^-E(s) (sum over the other layer's states) / Z,

    with the other layer's states summed (integrated) analytically. For documents p(s) is that of each row's length.

    A step costs as much as one of CD on as many rows as the layer has states, in time and in memory (for 2^16 states and 784 units in
    the other layer, 1.2 GB in float32). `start` raises `ValueError` where neither layer has at most 2^16.
    """

    def start(self, rbm: RBM, batch_size: int, stream: Stream) -> Chains:
        """The states, a table that never changes: a step may copy nothing to the device."""
        count, layer = _enumerated(rbm)
        return {"states": rbm.device.asarray(rbm.layers[layer].units.states(0, count), rbm.dtype)}

    def __call__(self, rbm: RBM, v: Array, chains: Chains, stream: Stream) -> tuple[Phase, Statistics]:
        """The data's phase of the batch's size, and the model's expectation."""
        count, layer = _enumerated(rbm)
        other = 1 - layer
        # all documents are made of words: the expectation of one word, at the log-probability that the length gives its state
        word = None
        if rbm.visible.units.replicated:
            word = rbm.device.zeros((count, rbm.visible.units.size), rbm.dtype)
            word[:, 0] = 1
        given: list[Array] = [word, None]
        given[layer] = chains["states"]
        field, units = rbm.field(other, given), rbm.layers[other].units.like(word)
        log_weights = units.log_partition(field) - rbm.layers[layer].units.energy(given[layer], rbm.layers[layer].bias)
        weights = _probabilities(rbm, log_weights, rbm.visible.units.repeats(v)).astype(rbm.dtype)
        given[other] = units.mean(field)
        # own parameters have statistics that are quadratic: what the mean leaves out is that of the deviation. For hidden units
        # the data's phase has means as well, and a Gaussian's deviation adds the same to both
        quadratic = units.statistics(rbm.device.xp.sqrt(units.variance(field))) if other == 0 and units.own else {}

        def negative(gradient: Parameters, *, factor: float, centers: Sequence[Array] | None) -> None:
            rbm.add_statistics_(gradient, given, factor, centers=centers, weights=weights)
            for name, value in quadratic.items():
                gradient[f"{name}.{other}"][...] += rbm.dtype.type(factor) * gemm(weights[None], value)[0]

        return (v, rbm.mean_hidden(v)), negative


def _enumerated(rbm: RBM) -> tuple[int, int]:
    """How many states the layer with fewer has, and its number."""
    found = smaller_block(rbm, largest=LARGEST)
    if found is None:
        raise ValueError(
            f"found {rbm}, neither layer with at most 2^16 states; Exact() sums over one, of binary or softmax units: write "
            "learning=PCD(5), or give a layer of at most 16 binary units"
        )
    return found


def _probabilities(rbm: RBM, log_weights: Array, lengths: Array | None) -> Array:
    """p(s), (states,) float64; for word counts the mean over the rows of length * p(s | length)."""
    xp = rbm.device.xp
    log_weights = log_weights.astype(np.float64)[None]
    if lengths is not None:
        log_weights = lengths[:, None] * log_weights
    p = xp.exp(log_weights - log_weights.max(axis=1)[:, None])
    p /= p.sum(axis=1)[:, None]
    return (p if lengths is None else p * lengths[:, None]).mean(axis=0)
