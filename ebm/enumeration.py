"""All states of a block of layers, some at a time: what exact sums, exact samples and the exact gradient of small machines go through."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .compute.random import Stream
from .units import Softmax

if TYPE_CHECKING:
    from .machine import BoltzmannMachine, States
    from .units import Units

# The most states that are summed: two minutes' work where the other side has 784 binary units.
LARGEST = 2**25
_BLOCK = 1 << 14


def smaller_block(machine: BoltzmannMachine, length: int | None = None, largest: int | None = None) -> tuple[int, int] | None:
    """How many states the block of layers with fewer has (of an RBM: the layer), and its number; None where neither has at most
    `largest` (2^25).

    Word counts can be listed when `length` says how many words the documents have: as ordered documents.
    """
    found = []
    for block, layers in enumerate(machine.blocks):
        counts = [_count(machine.layers[i].units, length) for i in layers]
        if None not in counts:
            found.append((math.prod(count for count in counts if count), block))
    return min(((n, block) for n, block in found if n <= (largest or LARGEST)), default=None)


def log_weights(machine: BoltzmannMachine, length: int | None = None) -> Iterator[tuple[States, np.ndarray]]:
    """Blocks of states s of the layers that can be listed, those of the smaller block, in their places, and for each

        -E(s) + ln sum_x e^(field(s) x - e(x)),

    the logarithm of its unnormalized probability, (states,) float64 on the host; x are the states of the other layers, which are summed
    (integrated) analytically.
    """
    found = smaller_block(machine, length)
    if found is None:
        raise ValueError(f"found {machine}, neither block of layers with at most 2^25 states")
    machine, (count, listed) = machine.full_precision, found
    layers, summed = machine.blocks[listed], machine.blocks[1 - listed]
    units = [machine.layers[i].units for i in layers]
    for start in range(0, count, _BLOCK):
        numbers = np.arange(start, min(start + _BLOCK, count))
        states: States = [None] * len(machine.layers)
        for i, u in zip(layers, units, strict=True):
            n = _count(u, length) or 1
            states[i] = machine.device.asarray(_states(u, numbers, n, length), machine.dtype)
            numbers = numbers // n
        energy, counts = machine.energy(states) if layers else machine.device.zeros(1, machine.dtype), None
        if length is not None and 0 in summed:  # the bias of the layers that hear the words counts once a word
            counts = machine.device.zeros((states[layers[0]].shape[0], machine.layers[0].units.size), machine.dtype)
            counts[:, 0] = length
            for i in layers:
                if 0 in machine.neighbors(i):
                    energy = energy + (length - 1) * machine.layers[i].units.energy(states[i], machine.layers[i].bias)
        terms = -energy
        for j in summed:
            terms = terms + machine.layers[j].units.like(counts if j == 0 else None).log_partition(machine.field(j, states))
        if counts is not None:
            states[0] = counts
        yield states, machine.device.to_host(terms).astype(np.float64)


def exact_samples(machine: BoltzmannMachine, n: int, stream: Stream, length: int | None = None) -> States:
    """n independent samples of all layers of a machine with a block that can be listed.

    The block's states are drawn in one pass over all of them (a reservoir with weights), the other layers given them.
    """
    found = smaller_block(machine, length)
    layers = machine.blocks[found[1]] if found else []
    total, chosen = -np.inf, dict[int, np.ndarray]()
    for states, weights in log_weights(machine, length):
        largest = weights.max()
        below = np.exp(weights - largest).cumsum()
        block = largest + np.log(below[-1])
        total = np.logaddexp(total, block)
        # 48 random bits each: 24 are too few for 2^25 states
        high, low = (stream.device.to_host(stream.uniform((2, n), np.float64)) for _ in range(2))
        stream.advance_()
        u, position = high + 2.0**-24 * low
        taken = u < np.exp(block - total)
        if not chosen:
            chosen, taken = {i: np.empty((n, states[i].shape[1]), machine.dtype) for i in layers}, np.ones(n, bool)
        index = np.minimum(np.searchsorted(below, position[taken] * below[-1], side="right"), len(below) - 1)
        for i, rows in chosen.items():
            rows[taken] = machine.device.to_host(states[i])[index]
    samples: States = [None] * len(machine.layers)
    if length is not None:
        samples[0] = machine.device.asarray(np.eye(1, machine.layers[0].units.size) * length + np.zeros((n, 1)), machine.dtype)
    for i, rows in chosen.items():
        samples[i] = machine.device.asarray(rows)
    for j in machine.blocks[1 - found[1]] if found else []:
        samples[j] = machine.full_precision.update(j, samples, "sample", stream)
    stream.advance_()
    return samples


def _count(units: Units, length: int | None) -> int | None:
    return units.size**length if units.replicated and length is not None else units.number_of_states()


def _states(units: Units, numbers: np.ndarray, count: int, length: int | None) -> np.ndarray:
    """The states with these numbers, modulo how many there are; each number is that before it or the next."""
    if units.replicated and length is not None:
        words = Softmax(units.size, groups=length)
        return _states(words, numbers, count, None).reshape(numbers.size, length, units.size).sum(axis=1)
    if count <= _BLOCK:
        return units.states(0, count)[numbers % count]
    first, last = int(numbers[0]), int(numbers[-1])
    parts = []
    for turn in range(first // count, last // count + 1):
        start, stop = max(first, turn * count), min(last + 1, (turn + 1) * count)
        parts.append(units.states(start - turn * count, stop - turn * count))
    return np.concatenate(parts)[numbers - first]
