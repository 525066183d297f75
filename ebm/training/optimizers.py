"""Optimizers: SGD with momentum, Adam. They descend: the gradient is that of a loss.

`SGD(...)` and `Adam(...)` are descriptions. `start(parameters)` makes the `Update` of one training run, which owns the
moments and the place where the gradient is to be accumulated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..compute.device import Array
from ..compute.kernels.updates import adam_step, momentum_step, nesterov_step
from ..compute.random import Stream
from .parameters import Parameters
from .penalties import L1, MaxNorm, Penalty, WeightDecay, listed
from .schedules import Schedule, as_schedule, evaluated


class Update(ABC):
    """One run's optimizer. A step is `beta = begin(epoch)`, then `gradient = beta gradient + (the step's)`, then `apply_(stream)`."""

    gradient: Parameters

    def __init__(self, parameters: Parameters, penalties: Sequence[Penalty], state: Sequence[float]) -> None:
        penalties = listed(penalties)
        self.parameters = parameters
        device, dtype = parameters.device, parameters.dtype
        self._norms = [p for p in penalties if isinstance(p, MaxNorm)]
        decay = sum(p.rate for p in penalties if isinstance(p, WeightDecay))
        l1 = sum(p.rate for p in penalties if isinstance(p, L1))
        segments = list(parameters.segments.values())
        table = [((not s.frozen) * s.rate, s.is_weights * decay, s.is_weights * l1) for s in segments]
        starts = [s.start for s in segments[1:]]
        self._table = device.asarray(np.array(table, dtype))
        self._ends = device.asarray(np.array([*starts, parameters.buffer.size], np.int64))
        self._state = device.asarray(np.array(state, dtype))
        self._written: dict[int, float] = {}

    @abstractmethod
    def begin(self, epoch: float) -> float:
        """Set the rates for the step at `epoch` (a fraction of epochs counts); returns what `gradient` is to be scaled with."""

    @abstractmethod
    def _apply(self, counter: Array, draws: int) -> None:
        """Move the parameters, and add `draws` to the `counter` of a random stream."""

    def apply_(self, stream: Stream) -> None:
        """Move the parameters, and the step's random stream past its draws, as `stream.advance_()` would."""
        self._apply(*stream.end())
        for norm in self._norms:
            for name, segment in self.parameters.segments.items():
                if segment.is_weights and not segment.frozen:
                    norm.constrain_(self.parameters[name])

    @abstractmethod
    def moments(self) -> dict[str, Array]:
        """The arrays that a checkpoint must hold."""

    def state_dict(self) -> dict[str, Any]:
        """Host copies of the moments."""
        return {name: self.parameters.device.to_host(array) for name, array in self.moments().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the moments of `state`; raises `ValueError` when they are another optimizer's."""
        arrays = self.moments()
        if state.keys() != arrays.keys() or any(np.shape(state[k]) != a.shape for k, a in arrays.items()):
            raise ValueError(f"found the moments {sorted(state)} of another optimizer or model; expected {sorted(arrays)}")
        for name, array in arrays.items():
            array[...] = self.parameters.device.asarray(state[name], array.dtype)
        self._written.clear()

    def _set(self, index: int, value: float) -> None:
        """Write a number of `_state` in device memory, where it has changed."""
        if self._written.get(index) != value:
            self._state[index : index + 1] = value
            self._written[index] = value


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: v = momentum v + gradient, x -= learning_rate v; both may be schedules over epochs.

    `nesterov=True` evaluates the gradient at the look-ahead point (Sutskever et al. 2013).
    """

    learning_rate: float | Schedule = 0.01
    momentum: float | Schedule = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        _check(self, positive=("learning_rate",), below_one=("momentum",))

    def start(self, parameters: Parameters, penalties: Sequence[Penalty] = ()) -> Update:
        """The optimizer of one run over `parameters`."""
        return (_Nesterov if self.nesterov else _Momentum)(self, parameters, penalties)


class _Momentum(Update):
    def __init__(self, description: SGD, parameters: Parameters, penalties: Sequence[Penalty]) -> None:
        super().__init__(parameters, penalties, (0, 0))
        self._rate, self._momentum = as_schedule(description.learning_rate), as_schedule(description.momentum)
        # the products of the step accumulate into the velocity itself: momentum is their beta and costs no pass
        self.gradient = self.velocity = parameters.zeros_like()

    def begin(self, epoch: float) -> float:
        self._set(0, evaluated(self._rate, epoch, "learning_rate"))
        return evaluated(self._momentum, epoch, "momentum")

    def _apply(self, counter: Array, draws: int) -> None:
        momentum_step(self.parameters.buffer, self.velocity.buffer, self._ends, self._table, self._state, counter, draws)

    def moments(self) -> dict[str, Array]:
        return {"velocity": self.velocity.buffer}


class _Nesterov(_Momentum):
    def __init__(self, description: SGD, parameters: Parameters, penalties: Sequence[Penalty]) -> None:
        super().__init__(description, parameters, penalties)
        self.gradient = parameters.zeros_like()

    def begin(self, epoch: float) -> float:
        self._set(0, evaluated(self._rate, epoch, "learning_rate"))
        self._set(1, evaluated(self._momentum, epoch, "momentum"))
        return 0.0

    def _apply(self, counter: Array, draws: int) -> None:
        buffers = self.parameters.buffer, self.gradient.buffer, self.velocity.buffer
        nesterov_step(*buffers, self._ends, self._table, self._state, counter, draws)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015): steps of about `learning_rate`, scaled by running means of the gradient and its square."""

    learning_rate: float | Schedule = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = field(default=1e-8, kw_only=True)

    def __post_init__(self) -> None:
        _check(self, positive=("learning_rate", "epsilon"), below_one=("beta1", "beta2"))

    def start(self, parameters: Parameters, penalties: Sequence[Penalty] = ()) -> Update:
        """The optimizer of one run over `parameters`."""
        return _Adam(self, parameters, penalties)


class _Adam(Update):
    def __init__(self, description: Adam, parameters: Parameters, penalties: Sequence[Penalty]) -> None:
        d = description
        super().__init__(parameters, penalties, (0, d.beta1, d.beta2, d.epsilon, 1, 1))
        self._rate = as_schedule(d.learning_rate)
        self.gradient, self.first, self.second = (parameters.zeros_like() for _ in range(3))

    def begin(self, epoch: float) -> float:
        self._set(0, evaluated(self._rate, epoch, "learning_rate"))
        return 0.0

    def _apply(self, counter: Array, draws: int) -> None:
        powers = self._state[4:6]
        powers *= self._state[1:3]  # one operation: an index on the left would be a second one
        buffers = self.parameters.buffer, self.gradient.buffer, self.first.buffer, self.second.buffer
        adam_step(*buffers, self._ends, self._table, self._state, counter, draws)

    def moments(self) -> dict[str, Array]:
        return {"first": self.first.buffer, "second": self.second.buffer, "state": self._state}


Optimizer = SGD | Adam


def _check(optimizer: Any, positive: Sequence[str], below_one: Sequence[str]) -> None:
    for name in (*positive, *below_one):
        value = getattr(optimizer, name)
        if isinstance(value, (int, float, np.floating)):
            fits = value > 0 if name in positive else 0 <= value < 1
            if not fits:
                raise ValueError(f"found {name}={value}; expected {'a number > 0' if name in positive else '0 <= number < 1'}")
