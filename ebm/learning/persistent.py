"""Persistent contrastive divergence: chains that are never set back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..compute.device import Array
from ..compute.random import Stream
from .rule import Chains, Phase, check_counts

if TYPE_CHECKING:
    from ..rbm import RBM


@dataclass(frozen=True)
class PCD:
    """Persistent contrastive divergence: the model's phase comes from `chains` chains (by default the size of a batch) that go on
    for `steps` steps of Gibbs sampling at each update and are never set back.

    Tieleman 2008, "Training restricted Boltzmann machines using approximations to the likelihood gradient".
    """

    steps: int = 1
    chains: int | None = None

    def __post_init__(self) -> None:
        check_counts(self, self.steps, *([] if self.chains is None else [self.chains]))

    def start(self, rbm: RBM, batch_size: int, stream: Stream) -> Chains:
        """Hidden states of all chains, drawn from the hidden biases."""
        rows = self.chains or batch_size
        if rbm.visible.units.replicated and rows != batch_size:
            raise ValueError(
                f"found {self} with batches of {batch_size} rows for {rbm.visible.units}; a chain takes its document length from its "
                f"row of the batch: expected as many chains, write {type(self).__name__}({self.steps})"
            )
        field = rbm.device.zeros((rows, rbm.hidden.units.size), rbm.dtype)
        field += rbm.hidden.bias
        return {"hidden": rbm.hidden.units.sample(field, stream)}

    def __call__(self, rbm: RBM, v: Array, chains: Chains, stream: Stream) -> tuple[Phase, Phase]:
        """The data's phase of the batch's size, the model's of as many rows as there are chains; moves the chains."""
        return (v, rbm.mean_hidden(v)), self._move(rbm, v, chains, stream)

    def _move(self, rbm: RBM, v: Array, chains: Chains, stream: Stream) -> Phase:
        """The last visible states of the chains and the hidden means given them."""
        h = chains["hidden"]
        for _ in range(self.steps):
            fantasy = rbm.sample_visible(h, stream, like=v)
            mean, h = rbm.draw_hidden(fantasy, stream)
        chains["hidden"][...] = h
        return fantasy, mean


@dataclass(frozen=True)
class FastPCD(PCD):
    """Persistent contrastive divergence whose chains move under the parameters plus fast ones, which follow the same gradient at a
    rate of their own and forget it:

        fast = decay fast + fast_rate (<-dE/dparameters> - <-dE/dparameters>').

    They raise the energy where the chains are, and so drive them on, for about 1 / (1 - decay) updates; the machine itself never has
    them. Weights and biases have fast parts, frozen ones and a layer's own parameters have none. The fast parts follow the plain
    gradient where the machine follows the centered one. With `fast_rate=0` this is PCD.

    Tieleman & Hinton 2009, "Using fast weights to improve persistent contrastive divergence", with their decay of 19/20.
    """

    fast_rate: float = 0.1
    decay: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.fast_rate < float("inf") or not 0 <= self.decay < 1:
            raise ValueError(f"found {self}; expected a finite fast_rate >= 0 and 0 <= decay < 1")

    def start(self, rbm: RBM, batch_size: int, stream: Stream) -> Chains:
        """Hidden states as for PCD, and the fast parameters, zeros in the layout of the machine's."""
        return {**super().start(rbm, batch_size, stream), "fast": rbm.parameters.zeros_like().buffer}

    def __call__(self, rbm: RBM, v: Array, chains: Chains, stream: Stream) -> tuple[Phase, Phase]:
        """As PCD; moves the chains and then the fast parameters."""
        total = rbm.device.empty(chains["fast"].shape, rbm.dtype)
        total[...] = rbm.parameters.buffer
        total += chains["fast"]
        fantasy, _ = self._move(rbm.with_parameters(rbm.parameters.over(total)), v, chains, stream)
        positive, negative = (v, rbm.mean_hidden(v)), (fantasy, rbm.mean_hidden(fantasy))
        fast = rbm.parameters.over(chains["fast"])
        rbm.add_statistics_(fast, positive, self.fast_rate, self.decay)
        rbm.add_statistics_(fast, negative, -self.fast_rate)
        own = {f"{name}.{i}" for i, layer in enumerate(rbm.layers) for name in layer.units.own}
        for name, segment in rbm.parameters.segments.items():
            if segment.frozen or name in own:
                fast[name][...] = 0
        return positive, negative
