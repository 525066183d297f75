"""Likelihoods of small machines, exactly."""

from __future__ import annotations

import numpy as np

from .compute.device import Array
from .rbm import RBM

LARGEST = 2**25
_BLOCK = 1 << 14


def exact_log_partition(rbm: RBM, length: int | None = None) -> float:
    """ln Z in nats, by enumeration of one layer while the other is summed (integrated) analytically:

        ln Z = ln sum_s exp(-E_k(s) + ln sum_x exp(field(s) x - e(x))),

    over the states s of whichever layer has fewer, in float64 sums. For word counts `length` is the number of words of the ordered
    documents that Z sums over.

    Raises `ValueError` when neither layer has at most 2^25 states, or a length is missing or not asked for.
    """
    rbm.require_finite()
    if rbm.visible.units.replicated != (length is not None):
        raise ValueError(f"found length={length} for {rbm.visible.units}; expected a length for word counts and for no others")
    sizes = [(n, k) for k, layer in enumerate(rbm.layers) if (n := layer.units.number_of_states()) and n <= LARGEST]
    if not sizes:
        raise ValueError(
            f"found {rbm}, neither layer with at most 2^25 states; an exact sum needs one, of binary or softmax units"
        )
    count, summed = min(sizes)
    units, bias, other = rbm.layers[summed].units, rbm.layers[summed].bias, 1 - summed
    like = None
    total, largest = 0.0, -np.inf
    for start in range(0, count, _BLOCK):
        s = rbm.device.asarray(units.states(start, min(start + _BLOCK, count)), rbm.dtype)
        energy = units.energy(s, bias)
        if length is not None:  # the hidden layer was summed: its bias counts once a word
            energy = energy * length
            like = rbm.device.zeros((s.shape[0], rbm.visible.units.size), rbm.dtype)
            like[:, 0] = length
        states: list[Array] = [None, None]
        states[summed], states[other] = s, like
        terms = rbm.layers[other].units.like(like).log_partition(rbm.field(other, states)) - energy
        block = rbm.device.to_host(terms).astype(np.float64)
        top = max(largest, float(block.max()))
        total = total * np.exp(largest - top) + float(np.exp(block - top).sum())
        largest = top
    return largest + float(np.log(total))


def log_probability(rbm: RBM, v: Array, log_partition: float) -> np.ndarray:
    """ln p(v) = -F(v) - ln Z, (rows,) nats on the host. Of word counts it is the probability of one ordered document."""
    return -rbm.device.to_host(rbm.free_energy(v)).astype(np.float64) - log_partition
