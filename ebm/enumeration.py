"""All states of a layer, block by block: what exact sums, exact samples and the exact gradient of small machines go through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .compute.device import Array
from .compute.random import Stream
from .units import Softmax

if TYPE_CHECKING:
    from .rbm import RBM

# The most states that are summed: two minutes' work where the other side has 784 binary units.
LARGEST = 2**25
_BLOCK = 1 << 14


def smaller_layer(rbm: RBM, length: int | None = None, largest: int | None = None) -> tuple[int, int] | None:
    """How many states the layer with fewer has, and its number; None where neither has at most `largest` (2^25).

    Word counts can be listed when `length` says how many words the documents have: as ordered documents.
    """
    counts = [layer.units.number_of_states() for layer in rbm.layers]
    if length is not None:
        counts[0] = rbm.visible.units.size**length
    return min(((n, i) for i, n in enumerate(counts) if n and n <= (largest or LARGEST)), default=None)


def log_weights(rbm: RBM, length: int | None = None) -> Iterator[tuple[list[Array], np.ndarray]]:
    """Blocks of states of the smaller layer, in the place of that layer, and for each state s

        -E(s) + ln sum_x e^(field(s) x - e(x)),

    the logarithm of its unnormalized probability, (states,) float64 on the host; x are the states of the other layer, which are summed
    (integrated) analytically.
    """
    found = smaller_layer(rbm, length)
    if found is None:
        raise ValueError(f"found {rbm}, neither layer with at most 2^25 states")
    machine, (count, summed) = rbm.full_precision, found
    units, bias, other = machine.layers[summed].units, machine.layers[summed].bias, 1 - summed
    documents = Softmax(units.size, groups=length) if length is not None and summed == 0 else None
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        if documents:
            rows = documents.states(start, stop).reshape(stop - start, documents.groups, units.size).sum(axis=1)
        else:
            rows = units.states(start, stop)
        s = machine.device.asarray(rows, machine.dtype)
        energy, like = units.energy(s, bias), None
        if length is not None and not documents:  # the bias of hidden units counts once a word
            energy = energy * length
            like = machine.device.zeros((s.shape[0], machine.visible.units.size), machine.dtype)
            like[:, 0] = length
        states: list[Array] = [like, None]
        states[summed] = s
        terms = machine.layers[other].units.like(like).log_partition(machine.field(other, states)) - energy
        yield states, machine.device.to_host(terms).astype(np.float64)


def exact_samples(rbm: RBM, n: int, stream: Stream, length: int | None = None) -> list[Array]:
    """n independent samples [v, h] of a machine with a layer that can be listed.

    The layer's states are drawn in one pass over all of them (a reservoir with weights), the other layer given them.
    """
    total, chosen = -np.inf, None
    for states, weights in log_weights(rbm, length):
        i = 0 if states[1] is None else 1
        largest = weights.max()
        below = np.exp(weights - largest).cumsum()
        block = largest + np.log(below[-1])
        total = np.logaddexp(total, block)
        # 48 random bits each: 24 are too few for 2^25 states
        high, low = (stream.device.to_host(stream.uniform((2, n), np.float64)) for _ in range(2))
        stream.advance_()
        u, position = high + 2.0**-24 * low
        taken = u < np.exp(block - total)
        if chosen is None:
            chosen, taken = np.empty((n, states[i].shape[1]), rbm.dtype), np.ones(n, bool)
        index = np.minimum(np.searchsorted(below, position[taken] * below[-1], side="right"), len(below) - 1)
        chosen[taken] = rbm.device.to_host(states[i])[index]
    like = None if length is None else np.eye(1, rbm.visible.units.size) * length + np.zeros((n, 1))
    samples: list[Array] = [None if like is None else rbm.device.asarray(like, rbm.dtype), None]
    samples[i] = rbm.device.asarray(chosen)
    samples[1 - i] = rbm.full_precision.update(1 - i, samples, "sample", stream)
    stream.advance_()
    return samples
