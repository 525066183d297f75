"""UpDown: one update of a deep belief network by contrastive wake-sleep."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .compute.device import Arena, Array
from .compute.gemm import gemm
from .compute.random import Stream
from .learning.rule import Rule, scheduled
from .training.optimizers import Optimizer
from .training.penalties import Penalty, SparsityTarget

if TYPE_CHECKING:
    from .dbn import DBN
    from .rbm import RBM
    from .training.optimizers import Update


class UpDown:
    """One run of fine-tuning: an optimizer's state for each set of weights, the last RBM's chains, and a random stream.

    For a layer with states x below and y above, the gradient of ln p(x | y) by the field of x is x - E[x | y]; so the wake phase
    changes the generative weights by <(x - E[x | y]) y>, the sleep phase the recognition weights by <x (y - E[y | x])>. Calling it
    with a batch makes one update, without a host read; the metric is "reconstruction", the squared error per row of the pass up and
    down."""

    def __init__(
        self,
        dbn: DBN,
        learning: Rule,
        optimizer: Optimizer,
        *,
        batch_size: int,
        steps_per_epoch: int,
        penalties: Sequence[Penalty] = (),
        seed: int = 0,
        measure_every: int = 25,
    ) -> None:
        if found := [p for p in penalties if isinstance(p, SparsityTarget)]:
            raise ValueError(f"found {found[0]}; fine-tuning has penalties on weights only")
        self.dbn, self.learning, self.steps_per_epoch, self.measure_every = dbn, learning, steps_per_epoch, measure_every
        self.stream, self.step = Stream(seed, "learning", dbn.device), 0
        start = getattr(learning, "start", None)
        self.chains = {} if start is None else start(dbn.top, batch_size, self.stream)
        self.stream.advance_()
        self.updates = {name: optimizer.start(parameters, penalties) for name, parameters in dbn.parts.items()}
        self._arena = Arena()

    def __call__(self, v: Array) -> dict[str, Array]:
        """Learn from the batch `v` (rows, visible and labels)."""
        dbn, stream = self.dbn, self.stream
        with dbn.device.arena(self._arena):
            progress = self.step / self.steps_per_epoch
            betas = {name: update.begin(progress) for name, update in self.updates.items()}
            recognition, generation, top = dbn.layers[:-1], dbn.generative, dbn.top
            features, labels = (v[:, : dbn.inputs], v[:, dbn.inputs :]) if dbn.labels else (v, None)
            awake = [dbn.device.xp.ascontiguousarray(features)]
            for rbm in recognition:
                awake.append(rbm.sample_hidden(awake[-1], stream))
            for k, rbm in enumerate(generation):
                predicted = rbm.mean_visible(awake[k + 1])
                name = f"generative.{k}"
                _add(self.updates[name], rbm, awake[k] - predicted, awake[k + 1], betas[name], learned=0)
            seen = awake[-1] if labels is None else dbn.device.xp.concatenate([awake[-1], labels], axis=1)
            name = f"layer.{len(recognition)}"
            positive, negative = scheduled(self.learning, progress)(top, seen, self.chains, stream)
            top.add_statistics_(self.updates[name].gradient, positive, -1.0, betas[name])
            if callable(negative):
                raise TypeError(
                    f"found learning={self.learning!r}, whose model's phase has no rows to pass down; write CD(3) or PCD(3)"
                )
            functools.partial(top.add_statistics_, states=negative)(self.updates[name].gradient, factor=1.0)
            dream = negative[0] if labels is None else dbn.device.xp.ascontiguousarray(negative[0][:, : -dbn.labels])
            for k in range(len(recognition) - 1, -1, -1):
                below = generation[k].sample_visible(dream, stream)
                predicted = recognition[k].mean_hidden(below)
                name = f"layer.{k}"
                _add(self.updates[name], recognition[k], below, dream - predicted, betas[name], learned=1)
                dream = below
            for update in self.updates.values():
                update.apply_()
            for rbm in (*dbn.layers, *generation):
                for layer in rbm.layers:
                    layer.units.constrain_()
            stream.advance_()
            self.step += 1
            if (self.step - 1) % self.steps_per_epoch % self.measure_every:
                return {}
            x = awake[0]
            for rbm in recognition:
                x = rbm.mean_hidden(x)
            for rbm in reversed(generation):
                x = rbm.mean_visible(x)
            return {"reconstruction": ((awake[0] - x) ** 2).sum() / v.shape[0]}

    def stateful(self) -> dict[str, Any]:
        """The parts of a checkpoint, by name."""
        parts = {f"parameters.{name}": parameters for name, parameters in self.dbn.parts.items()}
        return (
            parts
            | {f"optimizer.{name}": update for name, update in self.updates.items()}
            | {"stream": self.stream, "learning": self}
        )

    def state_dict(self) -> dict[str, Any]:
        """Chains and the number of steps."""
        return {"step": self.step} | {f"chains.{name}": self.dbn.device.to_host(x) for name, x in self.chains.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.step = state["step"]
        for name, x in self.chains.items():
            x[...] = self.dbn.device.asarray(state[f"chains.{name}"], x.dtype)


def _add(update: Update, rbm: RBM, lower: Array, upper: Array, beta: float, learned: int) -> None:
    """gradient = beta gradient - mean over the rows, of the weights and of the bias of the layer that is `learned`; the optimizer
    descends."""
    rows = lower.shape[0]
    gemm(lower.T, upper, update.gradient["weights"], alpha=-1.0 / rows, beta=beta, precision=rbm.precision)
    bias, error = update.gradient[f"bias.{learned}"], (lower, upper)[learned]
    bias *= bias.dtype.type(beta)
    bias -= error.mean(axis=0)
