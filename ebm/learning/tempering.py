"""Parallel tempering as a learning rule: persistent chains that warmer replicas carry from mode to mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..annealing import Path
from ..compute.device import Array
from ..compute.random import Stream
from ..tempering import Replicas
from .rule import Chains, Phase, check_counts

if TYPE_CHECKING:
    from ..rbm import RBM


@dataclass(frozen=True)
class ParallelTempering:
    """Persistent chains with replicas at `levels` inverse temperatures, evenly spaced from 0 to 1, that propose to exchange their states
    with a neighbor before each of the `steps` steps of Gibbs sampling; the model's phase are the replicas at 1.

    The warmest replicas are independent draws of visible units with the mean of the data seen so far, from where the path of
    annealed importance sampling leads to the machine (`annealing.Path`). The metric "swap_rate" is the lowest acceptance between
    two neighboring levels; near zero nothing gets through, and more levels help. Word counts are refused: their lengths are the
    batch's.

    Desjardins et al. 2010, "Tempered Markov chain Monte Carlo for training of restricted Boltzmann machines"; Cho, Raiko, Ilin 2010,
    "Parallel tempering is efficient for learning restricted Boltzmann machines".
    """

    steps: int = 1
    chains: int | None = None
    levels: int = 10

    def __post_init__(self) -> None:
        check_counts(self, self.steps, self.levels - 1, *([] if self.chains is None else [self.chains]))

    def start(self, rbm: RBM, batch_size: int, stream: Stream) -> Chains:
        """The states of all replicas, level by level from the warmest, and what they remember of their exchanges."""
        if rbm.visible.units.replicated:
            raise ValueError(f"found {type(self).__name__} for {rbm.visible.units}; word counts have PCD and CD")
        rows = self.chains or batch_size
        device, bias = rbm.device, rbm.visible.bias
        states = Path(rbm, [bias]).draw_base(rows * self.levels, stream)
        return {
            "layer.1": device.zeros((rows, rbm.hidden.units.size), rbm.dtype),
            "replicas": states[0],
            "mean": device.zeros(bias.shape, rbm.dtype),
            "batches": device.zeros(1, rbm.dtype),
            "betas": device.asarray(np.linspace(0, 1, self.levels)),
            "parity": device.zeros(1, np.int64),
            "swap_rates": device.zeros(self.levels - 1, np.float64) + 0.5,
        }

    def __call__(self, rbm: RBM, v: Array, chains: Chains, stream: Stream) -> tuple[Phase, Phase]:
        """The data's phase of the batch's size, the model's of as many rows as there are chains; moves the replicas."""
        chains["batches"][...] += 1
        chains["mean"][...] += (v.mean(axis=0) - chains["mean"]) / chains["batches"]
        base = rbm.visible.units.bias_from_mean(chains["mean"], v.shape[0] * chains["batches"])
        states = [chains["replicas"], None]
        replicas = Replicas(Path(rbm, [base]), chains["betas"], states, chains["parity"], chains["swap_rates"])
        for _ in range(self.steps):
            replicas.sweep(stream)
        chains["replicas"][...] = replicas.states[0]
        fantasy, chains["layer.1"][...] = replicas.samples()
        return (v, rbm.mean_hidden(v)), (fantasy, rbm.mean_hidden(fantasy))

    def metrics(self, chains: Chains) -> dict[str, Array]:
        """The lowest swap rate."""
        return {"swap_rate": chains["swap_rates"].min()}
