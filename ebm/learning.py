"""Learning rules: where the two phases of the gradient come from.

The gradient of the mean log-likelihood is a difference of two expectations, -dE/dparameters over the data and over the model:
for the weights <v h> - <v h>'. A rule is a function

    positive, negative = rule(rbm, v, chains, stream)

of a machine, a batch, the run's persistent chains and its random stream; each phase is a pair (visible, hidden) of arrays with as
many rows as it likes. Any function of this form can be passed as `learning=`; a rule with persistent chains also has a method
`start(rbm, batch_size, stream)` that returns them, a dictionary of arrays, and moves them in place: `chains["hidden"][...] = h`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from .compute.device import Arena, Array
from .compute.random import Stream
from .training.optimizers import Optimizer
from .training.penalties import Penalty, SparsityTarget

if TYPE_CHECKING:
    from .rbm import RBM

Chains = Mapping[str, Array]
Phase = tuple[Array, Array]
Rule = Callable[["RBM", Array, Chains, Stream], tuple[Phase, Phase]]


@dataclass(frozen=True)
class CD:
    """Contrastive divergence: the model's phase comes from `steps` steps of Gibbs sampling that start at the data.

    Hinton 2002, "Training products of experts by minimizing contrastive divergence"; what is sampled and what is averaged as in
    his practical guide (2010), section 3: data-driven hidden states are samples when they drive the chain, means in the
    statistics.
    """

    steps: int = 1

    def __post_init__(self) -> None:
        _positive(self, self.steps)

    def __call__(self, rbm: RBM, v: Array, chains: Chains, stream: Stream) -> tuple[Phase, Phase]:
        """Both phases, of the batch's size."""
        mean, h = rbm.draw_hidden(v, stream)
        for _ in range(self.steps - 1):
            h = rbm.sample_hidden(rbm.sample_visible(h, stream, like=v), stream)
        reconstruction = rbm.sample_visible(h, stream, like=v)
        return (v, mean), (reconstruction, rbm.mean_hidden(reconstruction))


@dataclass(frozen=True)
class PCD:
    """Persistent contrastive divergence: the model's phase comes from `chains` chains (by default the size of a batch) that go on
    for `steps` steps of Gibbs sampling at each update and are never set back.

    Tieleman 2008, "Training restricted Boltzmann machines using approximations to the likelihood gradient".
    """

    steps: int = 1
    chains: int | None = None

    def __post_init__(self) -> None:
        _positive(self, self.steps)
        if self.chains is not None:
            _positive(self, self.chains)

    def start(self, rbm: RBM, batch_size: int, stream: Stream) -> Chains:
        """Hidden states of all chains, drawn from the hidden biases."""
        rows = self.chains or batch_size
        if rbm.visible.units.replicated and rows != batch_size:
            raise ValueError(
                f"found {self} with batches of {batch_size} rows for {rbm.visible.units}; a chain takes its document length from its "
                f"row of the batch: expected as many chains, write PCD({self.steps})"
            )
        field = rbm.device.zeros((rows, rbm.hidden.units.size), rbm.dtype)
        field += rbm.hidden.bias
        return {"hidden": rbm.hidden.units.sample(field, stream)}

    def __call__(self, rbm: RBM, v: Array, chains: Chains, stream: Stream) -> tuple[Phase, Phase]:
        """The data's phase of the batch's size, the model's of as many rows as there are chains; moves the chains."""
        h = chains["hidden"]
        for _ in range(self.steps):
            fantasy = rbm.sample_visible(h, stream, like=v)
            mean, h = rbm.draw_hidden(fantasy, stream)
        chains["hidden"][...] = h
        return (v, rbm.mean_hidden(v)), (fantasy, mean)


def _positive(rule: Any, number: int) -> None:
    if not isinstance(number, (int, np.integer)) or number < 1:
        raise ValueError(f"found {rule}; expected whole numbers >= 1")


class Step:
    """One training run of an RBM: its optimizer, chains, random stream, centers and running activations.

    Calling it with a batch makes one update: a fixed sequence of device operations, without a host read, on memory that the
    next step uses again. Every `measure_every`-th step also returns the metric "reconstruction", the squared error per row
    (see `RBM.reconstruct`). `steps_per_epoch` tells the schedules where they are.
    """

    def __init__(
        self,
        rbm: RBM,
        learning: Rule,
        optimizer: Optimizer,
        *,
        batch_size: int,
        steps_per_epoch: int,
        penalties: Sequence[Penalty] = (),
        centered: bool = False,
        seed: int = 0,
        measure_every: int | None = 25,
    ) -> None:
        if not callable(learning) or isinstance(learning, type):
            raise TypeError(
                f"found learning={learning!r}; expected a rule, such as CD(1), PCD(5) or a function of (rbm, v, chains, stream)"
            )
        if not hasattr(optimizer, "start") or isinstance(optimizer, type):
            raise TypeError(f"found optimizer={optimizer!r}; expected an optimizer, such as SGD(0.05) or Adam(1e-3)")
        self.rbm = rbm
        self.learning = learning
        self.steps_per_epoch = steps_per_epoch
        self.measure_every = measure_every
        self.stream = Stream(seed, "learning", rbm.device)
        start = getattr(learning, "start", None)
        # read-only: what a rule put here anew would be memory of one step, which the next one overwrites
        self.chains: Chains = MappingProxyType({} if start is None else start(rbm, batch_size, self.stream))
        self.stream.advance_()
        self.update = optimizer.start(rbm.parameters, penalties)
        self.step = 0
        self._targets = [p for p in penalties if isinstance(p, SparsityTarget)]
        sizes = [layer.units.size for layer in rbm.layers]
        self._activations = [rbm.device.zeros(sizes[1], rbm.dtype) + rbm.dtype.type(p.target) for p in self._targets]
        self._centers = [rbm.device.zeros(size, rbm.dtype) + rbm.dtype.type(0.5) for size in sizes] if centered else None
        self._arena = Arena()

    def __call__(self, v: Array) -> dict[str, Array]:
        """Learn from the batch `v` (rows, visible)."""
        rbm, update = self.rbm, self.update
        with rbm.device.arena(self._arena):
            beta = update.begin(self.step / self.steps_per_epoch)
            (data, driven), negative = self.learning(rbm, v, self.chains, self.stream)
            if self._centers is not None:
                for center, x in zip(self._centers, (data, driven), strict=True):
                    _follow(center, x)
            pulls = [target.pull(driven, running) for target, running in zip(self._targets, self._activations, strict=True)]
            for pull in pulls:
                driven = driven + pull
            # the optimizer descends: the gradient of the loss has the opposite sign
            rbm.add_statistics_(update.gradient, (data, driven), -1.0, beta, self._centers)
            rbm.add_statistics_(update.gradient, negative, 1.0, 1.0, self._centers)
            update.apply_()
            for layer in rbm.layers:
                layer.units.constrain_()
            self.stream.advance_()
            self.step += 1
            if self.measure_every is None or (self.step - 1) % self.steps_per_epoch % self.measure_every:
                return {}
            return {"reconstruction": rbm.squared_error(v)}

    def stateful(self) -> dict[str, Any]:
        """The parts of a checkpoint, by name."""
        return {"parameters": self.rbm.parameters, "optimizer": self.update, "stream": self.stream, "learning": self}

    def state_dict(self) -> dict[str, Any]:
        """Chains, centers, running activations and the number of steps."""
        return {"step": self.step} | {name: self.rbm.device.to_host(array) for name, array in self._arrays().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.step = state["step"]
        for name, array in self._arrays().items():
            array[...] = self.rbm.device.asarray(state[name], array.dtype)

    def _arrays(self) -> dict[str, Array]:
        arrays = {f"chains.{name}": array for name, array in self.chains.items()}
        arrays |= {f"center.{i}": array for i, array in enumerate(self._centers or [])}
        return arrays | {f"activation.{i}": array for i, array in enumerate(self._activations)}


# Melchior et al. 2016 let the centers follow the batch means with a factor of 0.01.
_SLIDING = 0.01


def _follow(center: Array, states: Array) -> None:
    """Move the center a little toward the mean of the states."""
    center *= center.dtype.type(1 - _SLIDING)
    center += center.dtype.type(_SLIDING) * states.mean(axis=0)
