"""Likelihoods: exact for small machines, by an estimate of ln Z for others, and pseudo-likelihoods. What estimates ln Z is in `ais`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .compute.device import Array
from .compute.gemm import gemm
from .compute.random import Stream
from .data.minibatches import dense
from .enumeration import log_weights, smaller_layer
from .sandwich import Estimate
from .units import Bernoulli, Softmax, Units

if TYPE_CHECKING:
    from .machine import BoltzmannMachine
    from .rbm import RBM

# Rows that are evaluated at once.
_BLOCK = 1000


def exact_log_partition(rbm: RBM, length: int | None = None) -> float:
    """ln Z in nats, by enumeration of one layer while the other is summed (integrated) analytically:

        ln Z = ln sum_s exp(-E(s) + ln sum_x e^(field(s) x - e(x))),

    over the states s of whichever layer has fewer, in float64 sums. For word counts `length` is the number of words of the ordered
    documents that Z sums over.

    Raises `ValueError` when neither layer has at most 2^25 states, when a length is missing or not asked for, and for parameters
    that are not finite.
    """
    check(rbm, length)
    if smaller_layer(rbm, length) is None:
        raise ValueError(
            f"found {rbm}, neither layer with at most 2^25 states ({'; '.join(_states(x.units, length) for x in rbm.layers)}): "
            f"write ais.estimate(rbm, data=train), whose 100 chains take about {_seconds_of_ais(rbm):.0f} s here"
        )
    total, largest = 0.0, -np.inf
    for _, block in log_weights(rbm, length):
        top = max(largest, float(block.max()))
        total = total * np.exp(largest - top) + float(np.exp(block - top).sum())
        largest = top
    return largest + float(np.log(total))


def log_probability(rbm: RBM, v: Any, log_partition: float | Estimate) -> np.ndarray:
    """ln p(v) = -F(v) - ln Z of each row, (rows,) nats on the host, by ln Z or an estimate of it (`ais.estimate`).

    `v` (rows, visible) is an array on the machine's device, or one on the host, dense or sparse, that is sent there block by block. Of
    word counts it is the probability of one ordered document, and an estimate holds for documents of its length only.
    """
    length = log_partition.length if isinstance(log_partition, Estimate) else None
    log_z = log_partition.log_partition if isinstance(log_partition, Estimate) else log_partition
    if length is not None and (wrong := _host_lengths(rbm, v) != length).any():
        raise ValueError(
            f"found {np.count_nonzero(wrong)} of {wrong.size} documents of another length than {length}, whose ln Z was estimated; "
            f"write ais.estimate(..., length=D) for each length D"
        )
    machine = rbm.full_precision
    parts = [machine.device.to_host(machine.free_energy(block)).astype(np.float64) for block in _blocks(rbm, v)]
    return -np.concatenate(parts) - log_z


def pseudo_log_likelihood(rbm: RBM, v: Any, stream: Stream | None = None) -> np.ndarray:
    """sum_i ln p(v_i | v_-i) of each row, (rows,) nats on the host: the sum over all visible units (groups of Softmax units), each given
    all others.

    It needs no partition function (Besag 1975, "Statistical analysis of non-lattice data"). With a `stream` it is estimated without
    bias from one unit of each row, drawn at random, times their number, as scikit-learn's `score_samples` does.

    Raises `ValueError` for visible units other than Bernoulli and Softmax: a real-valued unit has no closed form, and the words of a
    document are no units.
    """
    units = rbm.visible.units
    if not isinstance(units, (Bernoulli, Softmax)):
        raise ValueError(
            f"found {units}; a pseudo-likelihood needs Bernoulli or Softmax visible units: write ais.estimate(rbm, data=train)"
        )
    check(rbm, None)
    width = units.categories if isinstance(units, Softmax) else 1
    groups = units.size // width
    machine, xp, parts = rbm.full_precision, rbm.device.xp, []
    for block in _blocks(rbm, v):
        z, rows = machine.hidden_field(block), block.shape[0]
        within = xp.arange(width)[None, :]
        if stream is None:
            total = rbm.device.zeros(rows, np.float64)
            for g in range(groups):
                total += _conditional(machine, block, z, g * width + within)
        else:
            chosen = (stream.uniform(rows, np.float64) * groups).astype(np.int64)
            stream.advance_()
            total = groups * _conditional(machine, block, z, chosen[:, None] * width + within)
        parts.append(rbm.device.to_host(total))
    return np.concatenate(parts)


def _conditional(rbm: RBM, v: Array, z: Array, columns: Array) -> Array:
    """ln p(x | the rest) of the group x of visible units in these columns, (rows, width) or (1, width), of each row; float64."""
    xp, hidden = rbm.device.xp, rbm.hidden.units
    x = xp.take_along_axis(v, xp.broadcast_to(columns, (v.shape[0], columns.shape[1])), axis=1)
    weights, bias = rbm.weights[columns], rbm.visible.bias[columns]
    rest = z - (x[:, :, None] * weights).sum(axis=1)
    scores = [
        bias[:, k].astype(np.float64) + hidden.log_partition((rest + weights[:, k]).astype(np.float64))
        for k in range(columns.shape[1])
    ]
    states = [x[:, k] for k in range(columns.shape[1])]
    if isinstance(rbm.visible.units, Bernoulli):  # the other value, zero
        scores.append(hidden.log_partition(rest.astype(np.float64)))
        states.append(1 - x[:, 0])
    largest = scores[0]
    for score in scores[1:]:
        largest = xp.maximum(largest, score)
    total = sum((xp.exp(score - largest) for score in scores[1:]), xp.exp(scores[0] - largest))
    found = sum((s * score for s, score in zip(states[1:], scores[1:], strict=True)), states[0] * scores[0])
    return found - largest - xp.log(total)


def check(machine: BoltzmannMachine, length: int | None) -> None:
    """Raise `ValueError` unless the machine has a partition function, for word counts of documents of a `length`."""
    machine.require_finite()
    for name, array in machine.parameters.state_dict().items():
        if wrong := np.count_nonzero(~np.isfinite(array)):
            raise ValueError(
                f"found {wrong} of {array.size} {name} that are NaN or infinite; expected finite parameters: the training diverged, "
                f"load an earlier checkpoint and lower the learning rate"
            )
    units = machine.layers[0].units
    if units.replicated and length is None:
        raise ValueError(
            f"found no length for {units}; Z is that of documents of one length: write length=D, their number of words"
        )
    if length is not None and (not units.replicated or length < 1):
        raise ValueError(
            f"found length={length} for {units}; expected a whole number >= 1 for word counts, and none for others"
        )


def _blocks(rbm: RBM, v: Any) -> Iterator[Array]:
    for start in range(0, v.shape[0], _BLOCK):
        yield rbm.device.asarray(dense(v[start : start + _BLOCK]), rbm.dtype)


def _host_lengths(rbm: RBM, v: Any) -> np.ndarray:
    return np.concatenate([rbm.device.to_host(block.sum(axis=1)) for block in _blocks(rbm, v)])


def _states(units: Units, length: int | None) -> str:
    if not units.discrete:
        return f"{units} is real-valued"
    logarithm = math.log2(units.number_of_states() or units.size ** (length or 1))
    return f"{units} has 2^{logarithm:.0f}"


def _seconds_of_ais(rbm: RBM, rows: int = 100, temperatures: int = 30_000) -> float:
    """The time that an estimate with 10,000 temperatures takes, from that of its products, which are most of it; the coarse pass and
    the reverse direction make 30,000 of them."""
    v, device = rbm.device.zeros((rows, rbm.visible.units.size), rbm.dtype), rbm.device
    gemm(v, rbm.weights)
    device.synchronize()
    start = time.perf_counter()
    for _ in range(10):
        gemm(v, rbm.weights)
    device.synchronize()
    return (time.perf_counter() - start) / 10 * 2 * temperatures
