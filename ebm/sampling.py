"""Gibbs sampling of the visible units, with some of them held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .compute.device import beside
from .compute.random import Stream
from .mean_field import upward

if TYPE_CHECKING:
    from .dbn import DBN
    from .machine import BoltzmannMachine, Clamp


def gibbs(
    machine: BoltzmannMachine,
    n: int,
    clamp: tuple[Any, Any] | None,
    start: Any,
    betas: np.ndarray,
    means: bool,
    seed: int | None,
) -> np.ndarray:
    """See `BoltzmannMachine.sample`."""
    stream, units = Stream(seed, "sample", machine.device), machine.visible_units
    held = None if clamp is None else clamped(machine, clamp, n)
    if start is None:
        parts = [
            machine.layers[i].units.sample(
                machine.device.zeros((n, machine.layers[i].units.size), machine.dtype) + machine.layers[i].bias, stream
            )
            for i in machine.observed
        ]
        v = parts[0] if len(parts) == 1 else beside(parts)
    else:
        v = machine.device.asarray(start.toarray() if hasattr(start, "toarray") else start, machine.dtype)
        if v.shape != (n, units.size):
            raise ValueError(f"start: found shape {v.shape}; expected {(n, units.size)}")
        units.check(machine.device.to_host(v), "start")
    v = v if held is None else machine.device.xp.where(held[0], held[1], v)
    # what the first half of a sweep reads besides the visible layers: hidden ones of the first block
    deep = set(machine.blocks[0]) - set(machine.observed)
    states = upward(machine, v, "sample", stream) if deep else machine.split(v)
    by_layer = {}
    if held is not None:
        masks, values = (machine.columns(x) for x in held)
        by_layer = {i: (masks[i], values[i]) for i in machine.observed}
    for beta in betas:
        states = machine.sweep(states, "sample", stream, beta=float(beta), clamp=by_layer)
    if means:
        # the first block has been drawn given the second, which is still there
        for i in set(machine.observed) & set(machine.blocks[0]):
            states[i] = machine.update(i, states, "mean", beta=float(betas[-1]), clamp=by_layer.get(i))
    return machine.device.to_host(machine.join(states))


def temperatures(machine: BoltzmannMachine, steps: int, beta: float | Sequence[float]) -> np.ndarray:
    """An inverse temperature for each step, (steps,)."""
    betas = np.broadcast_to(np.asarray(beta, float), (steps,)) if np.ndim(beta) == 0 else np.asarray(beta, float)
    if betas.shape != (steps,) or not np.isfinite(betas).all() or (betas < 0).any():
        found = f"of shape {betas.shape} with values in [{betas.min()}, {betas.max()}]" if betas.size else "without values"
        raise ValueError(f"found beta {found}; expected a finite number >= 0, or one for each of {steps} steps")
    if (betas == 0).any() and not all(layer.units.discrete for layer in machine.layers):
        raise ValueError("found beta=0; at infinite temperature real-valued units have no distribution: expected beta > 0")
    return betas


def clamped(machine: BoltzmannMachine | DBN, clamp: tuple[Any, Any], n: int) -> Clamp:
    """Mask and values on the device, (n, visible) each, checked; what lies outside the mask may be anything, NaN too."""
    units = machine.visible_units
    shape = (n, units.size)
    try:
        mask, values = (np.asarray(x) for x in clamp)
    except (TypeError, ValueError) as error:
        raise ValueError(f"clamp: found {type(clamp).__name__}; expected a pair (mask, values) of host arrays") from error
    for name, x in (("mask", mask), ("values", values)):
        if x.shape not in (shape, shape[1:]):
            raise ValueError(
                f"clamp: found {name} of shape {x.shape}; expected {shape} or {shape[1:]}: visible units can be held, hidden ones can't"
            )
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise ValueError("clamp: found a mask with values other than 0 and 1; expected booleans: True holds a unit")
    mask, values = np.broadcast_arrays(mask.astype(bool), values)
    kept = np.where(mask, values, 0)
    mask, kept = np.broadcast_to(mask, shape), np.broadcast_to(kept, shape)
    units.check_clamp(mask, kept)
    return machine.device.asarray(mask), machine.device.asarray(kept, machine.dtype)
