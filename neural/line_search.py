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
        decay = np.zeros(parameters.buffer.size)
        for segment in parameters.segments.values():
            if segment.is_weights and not segment.frozen:
                decay[segment.start : segment.stop] = sum(p.rate for p in penalties if isinstance(p, WeightDecay))
        self._decay = decay

    def minimize(self, evaluate: Callable[[Gradient], Mapping[str, Array]]) -> dict[str, Array]:
        """Move the parameters down the sum of the metrics that `evaluate` returns; returns them as they were at first."""
        from scipy.optimize import minimize

        parameters, device = self.parameters, self.parameters.device
        first: dict[str, float] = {}

        def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
            parameters.buffer[...] = device.asarray(x, parameters.dtype)
            gradient = Gradient(parameters.over(self.gradient.buffer))
            metrics = {name: float(device.to_host(value)) for name, value in evaluate(gradient).items()}
            gradient.finish()
            if not first:
                first.update(metrics)
            slope = device.to_host(self.gradient.buffer).astype(np.float64) + self._decay * x
            return sum(metrics.values()) + float(0.5 * self._decay @ x**2), slope

        start = device.to_host(parameters.buffer).astype(np.float64)
        found = minimize(
            objective, start, jac=True, method=self.description.method, options={"maxiter": self.description.iterations}
        )
        best = found.x if np.isfinite(found.fun) else start
        parameters.buffer[...] = device.asarray(best, parameters.dtype)
        return {name: device.asarray(np.array([value]), parameters.dtype) for name, value in first.items()}

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take back; raises `ValueError` for the moments of another optimizer."""
        if state:
            raise ValueError(f"found the moments {sorted(state)} of another optimizer; {self.description} has none")
