"""Likelihoods: exact for small machines, by an estimate of ln Z for others, and pseudo-likelihoods. What estimates ln Z is in `ais`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import mean_field
from .compute.device import Array
from .compute.gemm import gemm
from .compute.random import Stream
from .data.minibatches import in_blocks
from .enumeration import log_weights, smaller_block
from .sandwich import Estimate
from .units import Bernoulli, Softmax, Units
from .units.base import positive

if TYPE_CHECKING:
    from .dbn import DBN
    from .machine import BoltzmannMachine
    from .rbm import RBM


def exact_log_partition(machine: BoltzmannMachine, length: int | None = None) -> float:
    """ln Z in nats, by enumeration of one block of layers (of an RBM: one layer) while the other is summed (integrated) analytically:

        ln Z = ln sum_s exp(-E(s) + ln sum_x e^(field(s) x - e(x))),

    over the states s of whichever block has fewer, in float64 sums. In a deep machine a block are the odd or the even layers. For word
    counts `length` is the number of words of the ordered documents that Z sums over.

    Raises `ValueError` when neither block has at most 2^25 states, when a length is missing or not asked for, and for parameters
    that are not finite.
    """
    check(machine, length)
    if smaller_block(machine, length) is None:
        raise ValueError(
            f"found {machine}, neither {'block of layers' if machine.deep else 'layer'} with at most 2^25 states "
            f"({'; '.join(_states(x.units, length) for x in machine.layers)}): write ais.estimate(model, data=train), whose 100 chains "
            f"take about {_seconds_of_ais(machine):.0f} s here"
        )
    total, largest = 0.0, -np.inf
    for _, block in log_weights(machine, length):
        top = max(largest, float(block.max()))
        total = total * np.exp(largest - top) + float(np.exp(block - top).sum())
        largest = top
    return largest + float(np.log(total))


def log_probability(machine: BoltzmannMachine, v: Any, log_partition: float | Estimate) -> np.ndarray:
    """ln p(v) of each row, (rows,) nats on the host, by ln Z or an estimate of it (`ais.estimate`): for an RBM -F(v) - ln Z.

    `v` (rows, visible) is an array on the machine's device, or one on the host, dense or sparse, that is sent there block by block. Of
    word counts it is the probability of one ordered document, and an estimate holds for documents of its length only. The hidden
    layers of a deep machine are summed row by row, which takes one block of them with at most 2^25 states.

    Raises `ValueError` for lengths of other documents, and for deep machines that are too large: they have `lower_bound`.
    """
    log_z = _log_partition(machine, v, log_partition)
    machine = machine.full_precision
    if machine.deep:
        return np.concatenate([_summed(machine, block) for block in _blocks(machine, v)]) - log_z
    parts = [machine.device.to_host(machine.free_energy(block)).astype(np.float64) for block in _blocks(machine, v)]
    return -np.concatenate(parts) - log_z


def lower_bound(
    machine: BoltzmannMachine, v: Any, log_partition: float | Estimate, *, tolerance: float | None = None, sweeps: int = 1000
) -> np.ndarray:
    """The variational lower bound of a deep machine's ln p(v) for each row, (rows,) nats on the host, by mean field:

        ln p(v) >= E_q[-E(v, h)] + H(q) - ln Z,   q(h) = prod_j q_j(h_j)

    at a fixed point of its equations, see `mean_field`. Where the hidden layers don't depend on each other, as in an RBM, it is ln p(v).
    With an estimate of ln Z by forward annealing the bound comes out too high where ln Z comes out too low: look at its sides.

    `v` as for `log_probability`. Warns (`MeanFieldWarning`) with the residual where `sweeps` sweeps leave a mean that changes by more than
    `tolerance` (1e-5 in float32, 1e-10 in float64). (Salakhutdinov & Hinton 2009, "Deep Boltzmann machines", equation 5.)
    """
    log_z = _log_partition(machine, v, log_partition)
    machine = machine.full_precision
    found = (mean_field.converged(machine, block, tolerance, sweeps) for block in _blocks(machine, v))
    return np.concatenate([mean_field.lower_bound(machine, q) for q in found]) - log_z


def recognition_bound(
    dbn: DBN, v: Any, log_partition: float | Estimate, *, samples: int = 10, seed: int | None = None
) -> np.ndarray:
    """A lower bound of a belief network's ln p(v) for each row, (rows,) nats on the host, averaged over `samples` draws of recognition:

        ln p(v) >= E_q ln p(v, h) / q(h | v),

    by ln Z of its last RBM, `ais.estimate(dbn.top)`. (Hinton, Osindero, Teh 2006, equation 8; Salakhutdinov & Murray 2008, equation 19.)
    """
    return _log_weights(dbn, v, samples, seed).mean(axis=0) - _log_partition(dbn.top, None, log_partition)


def importance_sampled(
    dbn: DBN, v: Any, log_partition: float | Estimate, *, samples: int = 100, seed: int | None = None
) -> np.ndarray:
    """An estimate of a belief network's ln p(v) for each row, (rows,) nats on the host, by importance sampling from recognition:

        p(v) = E_q p(v, h) / q(h | v) ~ mean of `samples` draws,

    unbiased for p(v) Z, so that its logarithm is too low on average, and grows toward ln p(v) with the samples. `log_partition` as for
    `recognition_bound`, which is never above it.
    """
    weights = _log_weights(dbn, v, samples, seed)
    largest = weights.max(axis=0)
    return largest + np.log(np.exp(weights - largest).mean(axis=0)) - _log_partition(dbn.top, None, log_partition)


def _log_weights(dbn: DBN, v: Any, samples: int, seed: int | None) -> np.ndarray:
    """(samples, rows) float64 on the host."""
    positive("samples", samples)
    stream, found = Stream(seed, "recognition", dbn.device), []
    for block in _blocks(dbn, v):
        found.append(np.stack([dbn.device.to_host(dbn.log_weights(block, stream)) for _ in range(samples)]))
        stream.advance_()
    return np.concatenate(found, axis=1)


def _log_partition(machine: BoltzmannMachine, v: Any, log_partition: float | Estimate) -> float:
    """ln Z, of documents as long as the rows."""
    if not isinstance(log_partition, Estimate):
        return log_partition
    length = log_partition.length
    if v is not None and length is not None and (wrong := _host_lengths(machine, v) != length).any():
        raise ValueError(
            f"found {np.count_nonzero(wrong)} of {wrong.size} documents of another length than {length}, whose ln Z was estimated; "
            f"write ais.estimate(..., length=D) for each length D"
        )
    return log_partition.log_partition


def _summed(machine: BoltzmannMachine, v: Array) -> np.ndarray:
    """ln sum_h e^-E(v, h) of each row, (rows,), by enumeration."""
    total = -machine.device.to_host(machine.energy(machine.split(v))).astype(np.float64)
    for k in range(v.shape[0]):
        rest = machine.given(machine.split(v[k : k + 1]))
        if smaller_block(rest) is None:
            raise ValueError(
                f"found {machine}, whose hidden layers have no block of at most 2^25 states; write likelihood.lower_bound(model, v, "
                f"log_partition)"
            )
        total[k] += exact_log_partition(rest)
    return total


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


def _blocks(machine: BoltzmannMachine | DBN, v: Any) -> Iterator[Array]:
    return in_blocks(v, machine.device, machine.dtype)


def _host_lengths(machine: BoltzmannMachine, v: Any) -> np.ndarray:
    return np.concatenate([machine.device.to_host(block.sum(axis=1)) for block in _blocks(machine, v)])


def _states(units: Units, length: int | None) -> str:
    if not units.discrete:
        return f"{units} is real-valued"
    logarithm = math.log2(units.number_of_states() or units.size ** (length or 1))
    return f"{units} has 2^{logarithm:.0f}"


def _seconds_of_ais(machine: BoltzmannMachine, rows: int = 100, temperatures: int = 30_000) -> float:
    """The time that an estimate with 10,000 temperatures takes, from that of its products, which are most of it; the coarse pass and
    the reverse direction make 30,000 of them."""
    device = machine.device
    products = [(device.zeros((rows, c.weights.shape[0]), machine.dtype), c.weights) for c in machine.connections]
    for _ in range(11):
        if _ == 1:  # the first call pays for what is compiled
            device.synchronize()
            start = time.perf_counter()
        for x, weights in products:
            gemm(x, weights)
    device.synchronize()
    return (time.perf_counter() - start) / 10 * 2 * temperatures
