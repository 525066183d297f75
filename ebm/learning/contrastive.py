"""Contrastive divergence: chains that start at the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ..compute.device import Array
from ..compute.random import Stream
from ..training.schedules import Schedule
from .rule import Chains, Phase, check_counts

if TYPE_CHECKING:
    from ..rbm import RBM


@dataclass(frozen=True)
class CD:
    """Contrastive divergence: the model's phase comes from `steps` steps of Gibbs sampling that start at the data.

    Hinton 2002, "Training products of experts by minimizing contrastive divergence"; what is sampled and what is averaged as in
    his practical guide (2010), section 3: data-driven hidden states are samples when they drive the chain, means in the
    statistics. `steps` may be a schedule, `Piecewise((1, 5, 10), (20, 40))`.
    """

    steps: int | Schedule = 1

    def __post_init__(self) -> None:
        check_counts(self, self.steps)

    def __call__(self, rbm: RBM, v: Array, chains: Chains, stream: Stream) -> tuple[Phase, Phase]:
        """Both phases, of the batch's size."""
        mean, h = rbm.draw_hidden(v, stream)
        for _ in range(cast(int, self.steps) - 1):
            h = rbm.sample_hidden(rbm.sample_visible(h, stream, like=v), stream)
        reconstruction = rbm.sample_visible(h, stream, like=v)
        return (v, mean), (reconstruction, rbm.mean_hidden(reconstruction))
