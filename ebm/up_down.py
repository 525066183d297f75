"""UpDown: one update of a deep belief network by contrastive wake-sleep."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .compute.device import Array
from .compute.gemm import gemm
from .compute.graph import Graph
from .compute.random import Stream
from .learning.rule import Chains, Rule, repeatable, scheduled
from .training.optimizers import Optimizer, Update
from .training.penalties import Penalty, SparsityTarget

if TYPE_CHECKING:
    from .dbn import DBN
    from .rbm import RBM


class UpDown:
    """One run of fine-tuning: an optimizer's state for each set of weights, the last RBM's chains, and a random stream.

    For a layer with states x below and y above, the gradient of ln p(x | y) by the field of x is x - E[x | y]; so the wake phase
    changes the generative weights by <(x - E[x | y]) y>, the sleep phase the recognition weights by <x (y - E[y | x])>. Calling it
    with a batch makes one update, without a host read; every `measure_every`-th step returns the metrics of the rule and "reconstruction",
    the squared error per row of `DBN.reconstruct`.

    It unties the network's weights. Raises `ValueError` for sparsity targets, `TypeError` for what is no rule or no optimizer.
    """

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
        if not callable(learning) or isinstance(learning, type):
            raise TypeError(f"found learning={learning!r}; expected a rule, such as CD(3) or PCD(3)")
        if not hasattr(optimizer, "start") or isinstance(optimizer, type):
            raise TypeError(f"found optimizer={optimizer!r}; expected an optimizer, such as SGD(0.01) or Adam(1e-3)")
        if found := [p for p in penalties if isinstance(p, SparsityTarget)]:
            raise ValueError(f"found {found[0]}; fine-tuning has penalties on weights only: leave it out")
        self.dbn, self.learning, self.steps_per_epoch, self.measure_every = dbn, learning, steps_per_epoch, measure_every
        self.stream, self.step = Stream(seed, "up-down", dbn.device), 0
        start = getattr(learning, "start", None)
        # read-only for the reason that `learning.Step` has
        self.chains: Chains = MappingProxyType({} if start is None else start(dbn.top, batch_size, self.stream))
        self.stream.advance_()
        dbn.untie_()
        self.updates = {name: optimizer.start(parameters, penalties) for name, parameters in dbn.parts.items()}
        self._graph = Graph(dbn.device)

    def __call__(self, v: Array) -> dict[str, Array]:
        """Learn from the batch `v` (rows, visible and labels)."""
        progress = self.step / self.steps_per_epoch
        betas = tuple(update.begin(progress) for update in self.updates.values())
        rule, measured = scheduled(self.learning, progress), self.step % self.steps_per_epoch % self.measure_every == 0
        work = functools.partial(self._learn, v, rule, dict(zip(self.updates, betas, strict=True)), measured)
        metrics: dict[str, Array] = self._graph(work, (v,), (rule, betas, measured), capture=repeatable(rule))
        self.step += 1
        return metrics

    def _learn(self, v: Array, rule: Rule, betas: Mapping[str, float], measured: bool) -> dict[str, Array]:
        """The update on the device; the metrics where they are `measured`."""
        dbn, stream, top = self.dbn, self.stream, self.dbn.top
        recognition, generation = dbn.layers[:-1], dbn.generative
        features, labels = dbn.apart(v)
        awake = [features]
        for rbm in recognition:
            awake.append(rbm.sample_hidden(awake[-1], stream))
        positive, negative = rule(top, dbn.together(awake[-1], labels), self.chains, stream)
        if callable(negative):
            raise TypeError(
                f"found learning={self.learning!r}, whose model's phase has no rows to pass down; write CD(3) or PCD(3)"
            )
        name = f"layer.{len(recognition)}"
        top.add_statistics_(self.updates[name].gradient, positive, -1.0, betas[name], minus=negative)
        for k, rbm in enumerate(generation):
            name = f"generative.{k}"
            _predict(self.updates[name], rbm, 0, awake[k : k + 2], betas[name])
        dream = dbn.apart(negative[0])[0]
        for k in reversed(range(len(recognition))):
            # documents are dreamed as long as those of the batch
            like = self._repeated(features, dream.shape[0]) if generation[k].visible.units.replicated else None
            below = generation[k].sample_visible(dream, stream, like=like)
            name = f"layer.{k}"
            _predict(self.updates[name], recognition[k], 1, [below, dream], betas[name])
            dream = below
        for update in self.updates.values():
            update.apply_(stream)
        for rbm in (*dbn.layers, *generation):
            for layer in rbm.layers:
                layer.units.constrain_()
        if not measured:
            return {}
        error = features - dbn.up_and_down(features)
        metrics = getattr(rule, "metrics", None)
        return {"reconstruction": (error * error).sum() / v.shape[0]} | ({} if metrics is None else metrics(self.chains))

    def _repeated(self, rows: Array, count: int) -> Array:
        """So many of the rows, again and again from the first."""
        xp = self.dbn.device.xp
        return xp.take(rows, xp.arange(count) % rows.shape[0], axis=0)

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


def _predict(update: Update, rbm: RBM, layer: int, states: Sequence[Array], beta: float) -> None:
    """gradient = beta gradient - the mean over the rows of the gradient of ln p(states of `layer` | those of the other); the optimizer
    descends."""
    xp, units = rbm.device.xp, rbm.layers[layer].units.like(states[layer])
    given: list[Array] = [None, None]
    given[1 - layer] = states[1 - layer]
    field = rbm.field(layer, given)
    mean = units.mean(field)
    error = states[layer] - mean
    pair = [error if i == layer else x for i, x in enumerate(states)]
    gemm(pair[0].T, pair[1], update.gradient["weights"], alpha=-1.0 / error.shape[0], beta=beta, precision=rbm.precision)
    # a bias counts once for each word of a document
    repeats = rbm.layers[1 - layer].units.repeats(states[1 - layer])
    slopes = {f"bias.{layer}": error if repeats is None else repeats[:, None] * error}
    # own parameters have statistics that are quadratic: their expectation is that of the mean and that of the deviation
    deviation = xp.sqrt(units.variance(field)) if (seen := units.statistics(states[layer])) else None
    for name, value in seen.items():
        slopes[f"{name}.{layer}"] = value - units.statistics(mean)[name] - units.statistics(deviation)[name]
    for name, slope in slopes.items():
        gradient = update.gradient[name]
        gradient *= gradient.dtype.type(beta)
        gradient -= slope.mean(axis=0)
