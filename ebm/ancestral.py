"""Ancestral sampling of a belief network: Gibbs sampling in its last RBM, then a pass down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .compute.device import Array
from .compute.random import Stream
from .sampling import clamped

if TYPE_CHECKING:
    from .dbn import DBN
    from .machine import Clamp


def ancestral(
    dbn: DBN, n: int, steps: int, clamp: tuple[Any, Any] | None, start: Any, means: bool, seed: int | None
) -> np.ndarray:
    """See `DBN.sample`; of a network with more than one RBM."""
    if not all(isinstance(number, (int, np.integer)) and number >= 1 for number in (n, steps)):
        raise ValueError(f"found n={n}, steps={steps}; expected whole numbers >= 1")
    units, device, top = dbn.visible_units, dbn.device, dbn.top
    if start is None and units.replicated:
        raise ValueError("word counts are sampled at given document lengths; write start=counts of documents so long")
    top.require_finite()
    stream, where = Stream(seed, "sample", device), device.xp.where
    mask, values, pixels = device.zeros((1, units.size), bool), device.zeros((1, units.size), dbn.dtype), False
    held: dict[int, Clamp] = {}
    if clamp is not None:
        mask, values = clamped(dbn, clamp, n)
        pixels = bool(np.asarray(clamp[0])[..., : dbn.inputs].any())
        if dbn.labels:
            free = n, top.inputs - dbn.labels
            of_mask, of_values = (dbn.together(device.zeros(free, a.dtype), dbn.apart(a)[1]) for a in (mask, values))
            held = {0: (of_mask, of_values)}
    v = None if start is None else _started(dbn, start, n)
    if v is None:
        x = top.visible.units.sample(device.zeros((n, top.inputs), dbn.dtype) + top.visible.bias, stream)
        x = where(*held[0], x) if held else x
    else:
        x = _recognized(dbn, where(mask, values, v), stream)
    for step in range(steps):
        if pixels and (step or start is None):
            x = _recognized(dbn, where(mask, values, _generated(dbn, x, stream)), stream)
        x = top.sweep([x, None], "sample", stream, clamp=held)[0]
    return device.to_host(where(mask, values, _generated(dbn, x, stream, means, v)))


def _started(dbn: DBN, start: Any, n: int) -> Array:
    """The rows `start`, checked, on the device."""
    rows = dbn.device.asarray(start.toarray() if hasattr(start, "toarray") else start, dbn.dtype)
    if rows.shape != (n, dbn.visible_units.size):
        raise ValueError(f"start: found shape {rows.shape}; expected {(n, dbn.visible_units.size)}")
    dbn.visible_units.check(dbn.device.to_host(rows), "start")
    return rows


def _recognized(dbn: DBN, v: Array, stream: Stream) -> Array:
    """Samples of the last RBM's visible units, from a pass up."""
    x, labels = dbn.apart(v)
    for rbm in dbn.layers[:-1]:
        x = rbm.sample_hidden(x, stream)
    return dbn.together(x, labels)


def _generated(dbn: DBN, x: Array, stream: Stream, means: bool = False, like: Array | None = None) -> Array:
    """Rows of data from states of the last RBM's visible units, by a pass down; `means` for the visible units, whose documents are
    as long as those of `like`."""
    x, labels = dbn.apart(x)
    for k, rbm in reversed(list(enumerate(dbn.generative))):
        x = rbm.mean_visible(x, like=like) if means and k == 0 else rbm.sample_visible(x, stream, like=like)
    return dbn.together(x, labels)
