"""TAP: the partition function of a binary machine expanded in its weights up to second order.

With m the magnetizations (means) of all units and u = m - m^2 their variances, the free energy of Thouless, Anderson and Palmer is

    F(m) = -S(m) - b m_v - c m_h - sum_ij W_ij m_i m_j - 1/2 sum_ij W_ij^2 u_i u_j,

with the entropy S of independent units. Where F is stationary in m,

    m_j = sigma(c_j + sum_i W_ij m_i - (m_j - 1/2) sum_i W_ij^2 u_i)   (the same for the visible units),

and -F approximates ln Z, up to terms of third order in W.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..compute.device import Array
from ..compute.gemm import gemm
from ..compute.random import Stream
from ..training.parameters import Parameters
from ..units import Bernoulli
from .rule import Chains, Phase, Statistics, check_counts

if TYPE_CHECKING:
    from ..rbm import RBM

Pair = tuple[Array, Array]


@dataclass(frozen=True)
class TAP:
    """Gradient ascent of the likelihood with -F in the place of ln Z (see the module): the model's phase are magnetizations, one row for
    each of the batch, after `iterations` damped iterations of the TAP equations that start at the data:

        m = damping m + (1 - damping) sigma(...).

    Besides their products, the weights see the second-order term: -dF/dW_ij = m_i m_j + W_ij u_i u_j. Nothing is drawn. The metric
    "tap_residual" is how far the last iteration was from a solution, the largest |sigma(...) - m|: where weights are large there are
    many solutions, or none that is stable. The machine must be binary on both sides.

    Gabrié, Tramel, Krzakala 2015, "Training restricted Boltzmann machines via the Thouless-Anderson-Palmer free energy". Their
    persistent magnetizations are left out: before the weights are large enough for several solutions all rows arrive at the only
    one, and rows that are equal stay so for good.
    """

    iterations: int = 10
    damping: float = 0.5

    def __post_init__(self) -> None:
        check_counts(self, self.iterations)
        if not 0 <= self.damping < 1:
            raise ValueError(f"found {self}; expected 0 <= damping < 1")

    def start(self, rbm: RBM, batch_size: int, stream: Stream) -> Chains:
        """The residual, (1,). Raises `ValueError` for other than binary units."""
        _check_binary(rbm)
        return {"residual": rbm.device.zeros(1, rbm.dtype)}

    def __call__(self, rbm: RBM, v: Array, chains: Chains, stream: Stream) -> tuple[Phase, Statistics]:
        """The data's phase, and the derivatives of -F, averaged over as many rows."""
        positive = v, rbm.mean_hidden(v)
        m, squared = positive, _squared_weights(rbm)
        for _ in range(self.iterations):
            m, residual = _iterate(rbm, m, squared, self.damping)
        chains["residual"][...] = residual

        def negative(gradient: Parameters, *, factor: float, centers: Sequence[Array] | None) -> None:
            rbm.add_statistics_(gradient, m, factor, centers=centers)
            _add_second_order_(rbm, gradient, m, factor, centers)

        return positive, negative

    def metrics(self, chains: Chains) -> dict[str, Array]:
        """`tap_residual`, (1,)."""
        return {"tap_residual": chains["residual"]}


def tap_free_energy(rbm: RBM, visible: Array, hidden: Array) -> Array:
    """F(m) of the magnetizations (rows, visible) and (rows, hidden): (rows,) float64 nats."""
    xp, tiny = rbm.device.xp, np.finfo(rbm.dtype).tiny
    free = rbm.device.zeros(visible.shape[0], np.float64)
    for layer, m in zip(rbm.layers, (visible, hidden), strict=True):
        for p in (m, 1 - m):
            free += (p * xp.log(xp.maximum(p, tiny))).sum(axis=1, dtype=np.float64)
        free -= (m * layer.bias).sum(axis=1, dtype=np.float64)
    u, w = visible - visible * visible, hidden - hidden * hidden
    free -= (gemm(visible, rbm.weights) * hidden).sum(axis=1, dtype=np.float64)
    free -= 0.5 * (gemm(u, _squared_weights(rbm)) * w).sum(axis=1, dtype=np.float64)
    return free


def tap_log_partition(rbm: RBM, start: Array | None = None, *, iterations: int = 1000, damping: float = 0.5) -> float:
    """-F in nats at a solution of the TAP equations: the largest of those that are reached from the visible magnetizations `start`
    (rows, visible), by default the means under the biases alone.

    Raises `RuntimeError` where the equations are not solved after `iterations`, `ValueError` for other than binary units.
    """
    rule, rbm = TAP(iterations, damping), rbm.full_precision
    _check_binary(rbm)
    if start is None:
        start = rbm.visible.units.mean(rbm.device.zeros((1, rbm.visible.units.size), rbm.dtype) + rbm.visible.bias)
    m, squared = (start, rbm.mean_hidden(start)), _squared_weights(rbm)
    tolerance = 100 * float(np.finfo(rbm.dtype).eps)
    for _ in range(rule.iterations):
        m, residual = _iterate(rbm, m, squared, rule.damping)
        if (found := float(rbm.device.to_host(residual))) < tolerance:
            return -float(rbm.device.to_host(tap_free_energy(rbm, *m)).min())
    raise RuntimeError(
        f"the TAP equations are unsolved after {iterations} iterations: found magnetizations that miss them by {found:.2g}, expected "
        f"less than {tolerance:.2g}; write a larger damping, or use an exact sum or annealed importance sampling: where weights are "
        "large an expansion in them fails"
    )


def _check_binary(rbm: RBM) -> None:
    if not all(isinstance(layer.units, Bernoulli) for layer in rbm.layers):
        raise ValueError(
            f"found {rbm}; the TAP equations here are those of Bernoulli units on both sides: write learning=PCD(5)"
        )


def _squared_weights(rbm: RBM) -> Array:
    squared = rbm.device.empty(rbm.weights.shape, rbm.dtype)
    squared[...] = rbm.weights
    squared *= rbm.weights
    return squared


def _iterate(rbm: RBM, m: Pair, squared: Array, damping: float) -> tuple[Pair, Array]:
    """New magnetizations, first the hidden ones, with W_ij^2 in `squared`; and by how much the old ones miss the equations."""
    new, missed = list(m), []
    for layer, other, squares in ((1, 0, squared), (0, 1, squared.T)):
        field = rbm.field(layer, new)
        variance = new[other] - new[other] * new[other]
        field -= (new[layer] - rbm.dtype.type(0.5)) * gemm(variance, squares, precision=rbm.precision)
        change = rbm.layers[layer].units.mean(field) - new[layer]
        new[layer] = new[layer] + rbm.dtype.type(1 - damping) * change
        missed.append(rbm.device.xp.abs(change).max())
    return (new[0], new[1]), rbm.device.xp.maximum(*missed)


def _add_second_order_(
    rbm: RBM, gradient: Parameters, m: Sequence[Array], factor: float, centers: Sequence[Array] | None
) -> None:
    """Add factor * mean over the rows of W_ij u_i u_j to the weights' gradient; a centered one takes its part from the biases'."""
    u = [x - x * x for x in m]
    term = gemm(u[0].T, u[1], alpha=factor / u[0].shape[0], precision=rbm.precision)
    term *= rbm.weights
    gradient["weights"][...] += term
    if centers is not None:
        gradient["bias.0"][...] -= gemm(term, centers[1][:, None])[:, 0]
        gradient["bias.1"][...] -= gemm(centers[0][None], term)[0]
