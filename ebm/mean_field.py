"""Mean field: the hidden layers of a deep machine given data, as if all units were independent.

q(h) = prod_j q_j(h_j) with each q_j the unit's distribution under a field z_j. For any such q

    ln p(v) >= -E(v) + sum_j ln Z_j(z_j) + sum_j (b_j - z_j) m_j + sum_(ij) m_i W_ij m_j - ln Z,

with m_j = E_q h_j, b_j the bias and the field of v together, and ln Z_j the `log_partition` of the units. Setting the fields of a block to
z = b + W m is the best that can be done for given means of the other, so that sweeps never lower the bound. (Salakhutdinov & Hinton
2009, "Deep Boltzmann machines", equations 5 to 8.)
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .compute.device import Array
from .compute.kernels.reductions import raise_to_difference
from .compute.random import Stream

if TYPE_CHECKING:
    from .machine import BoltzmannMachine, States, Verb


class MeanFieldWarning(UserWarning):
    """Mean field has not converged: the posterior is not the best of its kind, and a bound from it is lower than it could be."""


@dataclass(frozen=True)
class Posterior:
    """Means of all layers, (rows, size) each, the observed ones at their states; and the residual, the largest change of a mean in the
    last sweep, a scalar on the device (0 where the hidden layers don't depend on each other)."""

    states: States
    residual: Array


def upward(machine: BoltzmannMachine, v: Array, verb: Verb = "mean", stream: Stream | None = None) -> States:
    """States of all layers from one pass away from the rows `v`: each layer hears those that are nearer, and twice, in the place of those
    that come after it, which are still unknown (Salakhutdinov & Hinton 2009, section 3.1)."""
    states = machine.split(v)
    for layer in machine.outward:
        last = all(states[i] is not None for i in machine.neighbors(layer))
        field = machine.field(layer, states, times=1.0 if last else 2.0)
        units = machine.layers[layer].units
        states[layer] = units.sample(field, _given(stream)) if verb == "sample" else units.mean(field)
    return states


def downward(machine: BoltzmannMachine, states: States) -> States:
    """Means of all layers from those of the hidden layers that have none farther from the data, by one pass toward it: each layer
    hears those that are farther, and hidden ones twice, in the place of those that come after them."""
    order = machine.outward
    place = {layer: k for k, layer in enumerate(order)}
    found: States = [None] * len(states)
    for layer in reversed(order):
        farther = [i for i in machine.neighbors(layer) if place.get(i, -1) > place[layer]]
        if not farther:
            found[layer] = states[layer]
            continue
        found[layer] = machine.layers[layer].units.mean(machine.field(layer, found, times=2.0))
    for i in machine.observed:
        found[i] = machine.layers[i].units.like(states[i]).mean(machine.field(i, found))
    return found


def posterior(machine: BoltzmannMachine, v: Array, sweeps: int) -> Posterior:
    """The means after `sweeps` sweeps from an upward pass; exact, without any, where hidden layers are not connected. Reads nothing on
    the host."""
    states = upward(machine, v)
    if not machine.deep or not v.shape[0]:
        return Posterior(states, machine.device.zeros(1, machine.dtype))
    return _swept(machine, states, sweeps)


def converged(machine: BoltzmannMachine, v: Array, tolerance: float | None = None, sweeps: int = 1000) -> Posterior:
    """The means once a sweep changes none of them by more than `tolerance` (1e-5 in float32, 1e-10 in float64).

    Warns with the residual (`MeanFieldWarning`) where `sweeps` sweeps don't get there.
    """
    if tolerance is None:
        tolerance = 1e-5 if machine.dtype == np.float32 else 1e-10
    if not tolerance > 0 or sweeps < 1:
        raise ValueError(f"found tolerance={tolerance}, sweeps={sweeps}; expected a tolerance > 0 and at least one sweep")
    found, done = posterior(machine, v, 0), 0
    if not machine.deep or not v.shape[0]:
        return found
    while done < sweeps:
        batch = min(10, sweeps - done)  # a read on the host after each
        found, done = _swept(machine, found.states, batch), done + batch
        residual = float(machine.device.to_host(found.residual).max())
        if residual <= tolerance:
            return found
    warnings.warn(
        f"mean field has not converged: after {done} sweeps one still changes a mean by {residual:.3g}, more than the tolerance of "
        f"{tolerance:.3g}; bounds hold but are lower than they could be: write sweeps={2 * sweeps}, or a larger tolerance",
        MeanFieldWarning,
        stacklevel=3,
    )
    return found


def lower_bound(machine: BoltzmannMachine, found: Posterior) -> np.ndarray:
    """The bound of ln p(v) + ln Z at the means of a posterior, (rows,) float64 nats on the host.

    The second block's fields are set to those of the first block's means once more; the bound is that of the result.
    """
    held: States = [x if i in machine.observed else None for i, x in enumerate(found.states)]
    rest = machine.given(held)
    means = [x for x, h in zip(found.states, held, strict=True) if h is None]
    device = machine.device
    total = -device.to_host(machine.energy(held)).astype(np.float64)
    first, second = rest.blocks
    for i in first:
        layer, z = rest.layers[i], rest.field(i, means)
        means[i] = layer.units.mean(z)
        own = layer.units.log_partition(z.astype(np.float64)) + ((layer.bias - z) * means[i]).sum(axis=1, dtype=np.float64)
        total += device.to_host(own)
    for i in second:
        total += device.to_host(rest.layers[i].units.log_partition(rest.field(i, means).astype(np.float64)))
    return total


def _swept(machine: BoltzmannMachine, states: States, sweeps: int) -> Posterior:
    held: States = [x if i in machine.observed else None for i, x in enumerate(states)]
    rest = machine.given(held)
    means = [x for x, h in zip(states, held, strict=True) if h is None]
    before = means
    for _ in range(sweeps):
        before, means = means, rest.sweep(means, "mean")
    residual = machine.device.zeros(1, machine.dtype)
    for x, y in zip(before, means, strict=True):
        raise_to_difference(x, y, residual)
    remaining = iter(means)
    return Posterior([x if h is not None else next(remaining) for x, h in zip(states, held, strict=True)], residual)


def _given(stream: Stream | None) -> Stream:
    if stream is None:
        raise TypeError("verb='sample' needs a stream; write Stream(seed)")
    return stream
