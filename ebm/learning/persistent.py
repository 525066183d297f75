"""Persistent contrastive divergence: chains that are never set back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ..compute.device import Array
from ..compute.random import Stream
from ..mean_field import posterior
from ..training.schedules import Schedule
from .rule import Chains, Phase, check_counts

if TYPE_CHECKING:
    from ..machine import BoltzmannMachine


@dataclass(frozen=True)
class PCD:
    """Persistent contrastive divergence: the model's phase comes from `chains` chains (by default the size of a batch) that go on
    for `steps` steps of Gibbs sampling at each update and are never set back.

    Where hidden layers are connected with each other, the data's phase are the means after `mean_field` sweeps, a fixed number; the
    metric "mean_field_residual" is by how much the last one still changed a mean.

    Tieleman 2008, "Training restricted Boltzmann machines using approximations to the likelihood gradient"; for deep machines
    Salakhutdinov & Hinton 2009, "Deep Boltzmann machines".
    """

    steps: int | Schedule = 1
    chains: int | None = None
    mean_field: int = 10

    def __post_init__(self) -> None:
        check_counts(self, self.steps, self.mean_field, *([] if self.chains is None else [self.chains]))

    def start(self, machine: BoltzmannMachine, batch_size: int, stream: Stream) -> Chains:
        """States of the second block's layers (the hidden one of an RBM) for all chains, drawn from their biases."""
        rows = self.chains or batch_size
        if machine.visible_units.replicated and rows != batch_size:
            raise ValueError(
                f"found {self} with batches of {batch_size} rows for {machine.visible_units}; a chain takes its document length from its "
                f"row of the batch: expected as many chains, write {type(self).__name__}({self.steps})"
            )
        chains = {}
        for j in machine.blocks[1]:
            layer = machine.layers[j]
            field = machine.device.zeros((rows, layer.units.size), machine.dtype)
            field += layer.bias
            chains[f"layer.{j}"] = layer.units.sample(field, stream)
        return chains | ({"residual": machine.device.zeros(1, machine.dtype)} if machine.deep else {})

    def __call__(self, machine: BoltzmannMachine, v: Array, chains: Chains, stream: Stream) -> tuple[Phase, Phase]:
        """The data's phase of the batch's size, the model's of as many rows as there are chains; moves the chains."""
        return self._data(machine, v, chains), self._move(machine, v, chains, stream)

    def metrics(self, chains: Chains) -> dict[str, Array]:
        """The largest change of a mean in the last mean-field sweep."""
        return {"mean_field_residual": chains["residual"]} if "residual" in chains else {}

    def _data(self, machine: BoltzmannMachine, v: Array, chains: Chains) -> Phase:
        """The states of all layers given the rows `v`: data and means."""
        found = posterior(machine, v, self.mean_field)
        if "residual" in chains:
            chains["residual"][...] = found.residual
        return found.states

    def _move(self, machine: BoltzmannMachine, v: Array, chains: Chains, stream: Stream) -> Phase:
        """The last states of the first block's layers and the means of the second's given them."""
        states, (first, second) = machine.split(v), machine.blocks
        means = list(states)
        for j in second:
            states[j] = chains[f"layer.{j}"]
        for _ in range(cast(int, self.steps)):
            for i in first:
                states[i] = machine.update(i, states, "sample", stream)
            for j in second:
                means[j], states[j] = machine.layers[j].units.draw(machine.field(j, states), stream)
        for j in second:
            chains[f"layer.{j}"][...] = states[j]
        return [means[i] if i in second else x for i, x in enumerate(states)]


@dataclass(frozen=True)
class FastPCD(PCD):
    """Persistent contrastive divergence whose chains move under the parameters plus fast ones, which follow the same gradient at a
    rate of their own and forget it:

        fast = decay fast + fast_rate (<-dE/dparameters> - <-dE/dparameters>').

    They raise the energy where the chains are, and so drive them on, for about 1 / (1 - decay) updates; the machine itself never has
    them. Weights and biases have fast parts, frozen ones and a layer's own parameters have none. The fast parts follow the plain
    gradient where the machine follows the centered one. With `fast_rate=0` this is PCD.

    With 250 chains on MNIST a `fast_rate` of 0.01 comes out like PCD, 0.1 drives the chains away from the machine and spoils it.

    Tieleman & Hinton 2009, "Using fast weights to improve persistent contrastive divergence", with their decay of 19/20.
    """

    fast_rate: float = 0.01
    decay: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.fast_rate < float("inf") or not 0 <= self.decay < 1:
            raise ValueError(f"found {self}; expected a finite fast_rate >= 0 and 0 <= decay < 1")

    def start(self, machine: BoltzmannMachine, batch_size: int, stream: Stream) -> Chains:
        """States as for PCD, and the fast parameters, zeros in the layout of the machine's."""
        return {**super().start(machine, batch_size, stream), "fast": machine.parameters.zeros_like().buffer}

    def __call__(self, machine: BoltzmannMachine, v: Array, chains: Chains, stream: Stream) -> tuple[Phase, Phase]:
        """As PCD; moves the chains and then the fast parameters."""
        total = machine.device.empty(chains["fast"].shape, machine.dtype)
        total[...] = machine.parameters.buffer
        total += chains["fast"]
        moved = self._move(machine.with_parameters(machine.parameters.over(total)), v, chains, stream)
        negative = list(moved)
        for j in machine.blocks[1]:
            negative[j] = machine.update(j, moved, "mean")
        positive = self._data(machine, v, chains)
        fast = machine.parameters.over(chains["fast"])
        machine.add_statistics_(fast, positive, self.fast_rate, self.decay, minus=negative)
        own = {f"{name}.{i}" for i, layer in enumerate(machine.layers) for name in layer.units.own}
        for name, segment in machine.parameters.segments.items():
            if segment.frozen or name in own:
                fast[name][...] = 0
        return positive, negative
