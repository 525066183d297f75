"""Step: one update of a network by backpropagation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ebm.compute.device import Array
from ebm.compute.graph import Graph
from ebm.compute.random import Stream
from ebm.training.optimizers import Optimizer, Update
from ebm.training.parameters import Parameters
from ebm.training.penalties import Penalty, SparsityTarget, listed

from .gradient import Gradient
from .line_search import LineSearch, Search

# (batch, stream, gradient) -> metrics, whose sum is the loss of a batch; it adds the derivatives to the gradient. Where it has a method
# `begin(epoch)`, that is called before each step with the number of epochs done.
Objective = Callable[[Any, Stream, Gradient], Mapping[str, Array]]


def on_weights(penalties: Iterable[Penalty]) -> list[Penalty]:
    """The penalties as a list. Raises `TypeError` for what is no list of those that networks can have."""
    found = listed(penalties)
    if wrong := [p for p in found if isinstance(p, SparsityTarget)]:
        raise TypeError(
            f"found {wrong[0]}, a penalty of machines; expected those on weights, such as WeightDecay(1e-4): for codes write one of "
            f"neural.penalties"
        )
    return found


class Step:
    """One training run: the optimizer's moments and a random stream.

    Calling it with a batch makes one update down the gradient of `objective`: a fixed sequence of device operations, without a host
    read, on memory that the next step uses again.
    """

    def __init__(
        self,
        parameters: Parameters,
        objective: Objective,
        optimizer: Optimizer | LineSearch,
        *,
        steps_per_epoch: int,
        penalties: Sequence[Penalty] = (),
        seed: int = 0,
    ) -> None:
        if not hasattr(optimizer, "start") or isinstance(optimizer, type):
            raise TypeError(f"found optimizer={optimizer!r}; expected an optimizer, such as SGD(0.1) or Adam(1e-3)")
        penalties = on_weights(penalties)
        self.objective, self.steps_per_epoch, self.parameters = objective, steps_per_epoch, parameters
        self.update: Update | Search = optimizer.start(parameters, penalties)
        # under the table of the parameters, which says what stands still
        self._target = parameters.over(self.update.gradient.buffer)
        self.stream = Stream(seed, "learning", parameters.device)
        self.step = 0
        self._graph = Graph(parameters.device)

    def __call__(self, batch: Any) -> Mapping[str, Array]:
        """Learn from the batch; returns the objective's metrics, at the parameters before the update."""
        if begin := getattr(self.objective, "begin", None):
            begin(self.step / self.steps_per_epoch)
        if isinstance(self.update, Search):
            metrics: Mapping[str, Array] = self.update.minimize(functools.partial(self._evaluate, batch))
            self.stream.advance_()
        else:
            metrics = self._updated(batch, self.update)
        self.step += 1
        return metrics

    def _evaluate(self, batch: Any, gradient: Gradient) -> Mapping[str, Array]:
        """The objective and its gradient, with the same noise whenever it is called in a step."""
        self.stream.seek_(self.step)
        metrics: Mapping[str, Array] = self._graph(
            functools.partial(self.objective, batch, self.stream, gradient), capture=False
        )
        return metrics

    def _updated(self, batch: Any, update: Update) -> Mapping[str, Array]:
        beta = update.begin(self.step / self.steps_per_epoch)
        inputs = batch if isinstance(batch, tuple) else (batch,)
        metrics: Mapping[str, Array] = self._graph(functools.partial(self._learn, batch, update, beta), inputs, beta)
        return metrics

    def _learn(self, batch: Any, update: Update, beta: float) -> Mapping[str, Array]:
        """The update on the device."""
        gradient = Gradient(self._target, beta)
        metrics = self.objective(batch, self.stream, gradient)
        gradient.finish()
        update.apply_(self.stream)
        return metrics

    def stateful(self) -> dict[str, Any]:
        """The parts of a checkpoint, by name."""
        return {"parameters": self.parameters, "optimizer": self.update, "stream": self.stream, "learning": self}

    def state_dict(self) -> dict[str, Any]:
        """The number of steps."""
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.step = state["step"]
