"""Step: one update of a machine, by a rule and an optimizer."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..compute.device import Array
from ..compute.graph import Graph
from ..compute.random import Stream
from ..training.optimizers import Optimizer
from ..training.penalties import Penalty, SparsityTarget
from .rule import Chains, Rule, repeatable, scheduled

if TYPE_CHECKING:
    from ..machine import BoltzmannMachine


class Step:
    """One training run of a machine: its optimizer, chains, random stream, centers and running activations.

    Calling it with a batch makes one update: a fixed sequence of device operations, without a host read, on memory that the
    next step uses again. Every `measure_every`-th step also returns the metric "reconstruction", the squared error per row
    (see `BoltzmannMachine.reconstruct`), and those of the rule. `steps_per_epoch` tells the schedules where they are.
    """

    def __init__(
        self,
        machine: BoltzmannMachine,
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
        self.machine = machine
        self.learning = learning
        self.steps_per_epoch = steps_per_epoch
        self.measure_every = measure_every
        self.stream = Stream(seed, "learning", machine.device)
        start = getattr(learning, "start", None)
        # read-only: what a rule put here anew would be memory of one step, which the next one overwrites
        self.chains: Chains = MappingProxyType({} if start is None else start(machine, batch_size, self.stream))
        self.stream.advance_()
        self.update = optimizer.start(machine.parameters, penalties)
        self.step = 0
        sizes = [layer.units.size for layer in machine.layers]
        targets = [p for p in penalties if isinstance(p, SparsityTarget)]
        for p in targets:
            if p.layer is not None and p.layer not in machine.hidden_layers:
                raise ValueError(
                    f"found {p} for {machine}; expected a hidden layer, one of {machine.hidden_layers}, or none for all"
                )
        # a target, its layer and the running means of the layer's units
        self._sparse = [
            (p, i, machine.device.zeros(sizes[i], machine.dtype) + machine.dtype.type(p.target))
            for p in targets
            for i in (machine.hidden_layers if p.layer is None else [p.layer])
        ]
        self._centers = (
            [machine.device.zeros(size, machine.dtype) + machine.dtype.type(0.5) for size in sizes] if centered else None
        )
        self._graph = Graph(machine.device)

    def __call__(self, v: Array) -> dict[str, Array]:
        """Learn from the batch `v` (rows, visible)."""
        progress = self.step / self.steps_per_epoch
        beta, rule = self.update.begin(progress), scheduled(self.learning, progress)
        measured = self.measure_every is not None and self.step % self.steps_per_epoch % self.measure_every == 0
        work = functools.partial(self._learn, v, rule, beta, measured)
        metrics: dict[str, Array] = self._graph(work, (v,), (rule, beta, measured), capture=repeatable(rule))
        self.step += 1
        return metrics

    def _learn(self, v: Array, rule: Rule, beta: float, measured: bool) -> dict[str, Array]:
        """The update on the device; the metrics where they are `measured`."""
        machine, update = self.machine, self.update
        found, negative = rule(machine.prepared(), v, self.chains, self.stream)
        positive = list(found)
        if self._centers is not None:
            for center, x in zip(self._centers, positive, strict=True):
                _follow(center, x)
        pulls = [(i, target.pull(found[i], running)) for target, i, running in self._sparse]
        for i, pull in pulls:
            positive[i] = positive[i] + pull
        # the optimizer descends: the gradient of the loss has the opposite sign
        rows = None if callable(negative) else negative
        machine.add_statistics_(update.gradient, positive, -1.0, beta, self._centers, minus=rows)
        if callable(negative):
            negative(update.gradient, factor=1.0, centers=self._centers)
        update.apply_(self.stream)
        for layer in machine.layers:
            layer.units.constrain_()
        if not measured:
            return {}
        report = getattr(rule, "metrics", None)
        return {"reconstruction": machine.squared_error(v)} | ({} if report is None else report(self.chains))

    def stateful(self) -> dict[str, Any]:
        """The parts of a checkpoint, by name."""
        return {"parameters": self.machine.parameters, "optimizer": self.update, "stream": self.stream, "learning": self}

    def state_dict(self) -> dict[str, Any]:
        """Chains, centers, running activations and the number of steps."""
        return {"step": self.step} | {name: self.machine.device.to_host(array) for name, array in self._arrays().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.step = state["step"]
        for name, array in self._arrays().items():
            array[...] = self.machine.device.asarray(state[name], array.dtype)

    def _arrays(self) -> dict[str, Array]:
        arrays = {f"chains.{name}": array for name, array in self.chains.items()}
        arrays |= {f"center.{i}": array for i, array in enumerate(self._centers or [])}
        return arrays | {f"activation.{k}": array for k, (_, _, array) in enumerate(self._sparse)}


# Melchior et al. 2016 let the centers follow the batch means with a factor of 0.01.
_SLIDING = 0.01


def _follow(center: Array, states: Array) -> None:
    """Move the center a little toward the mean of the states."""
    center *= center.dtype.type(1 - _SLIDING)
    center += center.dtype.type(_SLIDING) * states.mean(axis=0)
