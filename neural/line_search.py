"""LineSearch: SciPy's conjugate gradients or L-BFGS on large batches, the classic recipe for deep autoencoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ebm.compute.device import Array
from ebm.training.parameters import Parameters
from ebm.training.penalties import Penalty, WeightDecay
from ebm.units.base import positive

from .gradient import Gradient


@dataclass(frozen=True)
class LineSearch:
    """An optimizer that takes up to `iterations` iterations of SciPy's `method` on each batch, "CG" or "L-BFGS-B", with line searches.

    Batches should be large, `batch_size=1000` and more: each is minimized for itself, its noise the same at all points. SciPy works on
    the host, in float64. Hinton & Salakhutdinov 2006 took three iterations of conjugate gradients on each thousand images.
    """

    method: Literal["CG", "L-BFGS-B"] = "CG"
    iterations: int = 3

    def __post_init__(self) -> None:
        positive("iterations", self.iterations)
        if self.method not in ("CG", "L-BFGS-B"):
            raise ValueError(f"found method={self.method!r}; expected 'CG' or 'L-BFGS-B'")

    def start(self, parameters: Parameters, penalties: Sequence[Penalty] = ()) -> Search:
        """The searches of one run over `parameters`. Raises `ValueError` for penalties other than `WeightDecay`."""
        return Search(self, parameters, penalties)


class Search:
    """One run's searches. They start anew on each batch, so that a checkpoint holds nothing of them."""

    def __init__(self, description: LineSearch, parameters: Parameters, penalties: Sequence[Penalty]) -> None:
        if wrong := [p for p in penalties if not isinstance(p, WeightDecay)]:
            raise ValueError(
                f"found {wrong[0]} with {description}; line searches need a smooth loss: write WeightDecay, SGD or Adam"
            )
        self.description, self.parameters = description, parameters
        self.gradient = parameters.zeros_like()
        rate = sum(p.rate for p in penalties if isinstance(p, WeightDecay))
        segments = parameters.segments.values()
        self._moving = [slice(s.start, s.stop) for s in segments if not s.frozen]
        if not self._moving:
            raise ValueError("found nothing to learn, all layers are frozen; write network.freeze(..., frozen=False)")
        self._still = [slice(s.start, s.stop) for s in segments if s.frozen]
        self._decay = np.concatenate([np.full(s.stop - s.start, rate * s.is_weights) for s in segments if not s.frozen])

    def minimize(self, evaluate: Callable[[Gradient], Mapping[str, Array]]) -> dict[str, Array]:
        """Move the parameters down the sum of the metrics that `evaluate` returns; returns them as they were at first."""
        from scipy.optimize import minimize

        device, buffer = self.parameters.device, self.parameters.buffer
        first: dict[str, float] = {}
        means: list[Array] = []

        def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
            self._move(x)
            gradient = Gradient(self.parameters.over(self.gradient.buffer))
            metrics = {name: float(device.to_host(value)) for name, value in evaluate(gradient).items()}
            gradient.finish()
            if not first:
                first.update(metrics)
                means.extend(buffer[still].copy() for still in self._still)
            return sum(metrics.values()) + float(0.5 * self._decay @ x**2), self._host(self.gradient.buffer) + self._decay * x

        start = self._host(buffer)
        found = minimize(
            objective, start, jac=True, method=self.description.method, options={"maxiter": self.description.iterations}
        )
        self._move(found.x if np.isfinite(found.fun) else start)
        # running means follow a batch once, and not wherever a search has looked
        for still, value in zip(self._still, means, strict=True):
            buffer[still] = value
        return {name: device.asarray(np.array([value]), self.parameters.dtype) for name, value in first.items()}

    def _host(self, buffer: Array) -> np.ndarray:
        """Its numbers that move, float64."""
        return np.concatenate([self.parameters.device.to_host(buffer[moving]) for moving in self._moving]).astype(np.float64)

    def _move(self, x: np.ndarray) -> None:
        """Set the parameters that move."""
        start = 0
        for moving in self._moving:
            stop = start + moving.stop - moving.start
            self.parameters.buffer[moving] = self.parameters.device.asarray(x[start:stop], self.parameters.dtype)
            start = stop

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take back; raises `ValueError` for the moments of another optimizer."""
        if state:
            raise ValueError(f"found the moments {sorted(state)} of another optimizer; {self.description} has none")
