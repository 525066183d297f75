"""Gradient: where a backward pass adds dL/dparameters."""

from __future__ import annotations

from ebm.compute.device import Array
from ebm.compute.gemm import Precision, gemm
from ebm.compute.kernels.reductions import add_row_sums
from ebm.training.parameters import Parameters


class Gradient:
    """dL/dparameters, added up in `target` by name: target = beta target + the sum of what is added.

    With the target an optimizer's velocity and beta its momentum, momentum costs no pass over the parameters. The first addition to a
    parameter scales it, those after it only add: shared weights get both parts. What got none is scaled by `finish`.
    """

    def __init__(self, target: Parameters, beta: float = 0.0) -> None:
        self.target, self.beta = target, beta
        self._waiting = {name for name, segment in target.segments.items() if not segment.frozen}

    def _begin(self, name: str) -> float | None:
        """What to scale with, or None where nothing is to be added."""
        if self.target.segments[name].frozen:
            return None
        if name in self._waiting:
            self._waiting.remove(name)
            return self.beta
        return 1.0

    def add(self, name: str, value: Array) -> None:
        """Add an array."""
        beta = self._begin(name)
        if beta is None:
            return
        view = self.target[name]
        if beta == 0:
            view[...] = value
        else:
            if beta != 1:
                view *= view.dtype.type(beta)
            view += value

    def add_product(self, name: str, a: Array, b: Array, precision: Precision = None) -> None:
        """Add a b, of matrices."""
        beta = self._begin(name)
        if beta is not None:
            gemm(a, b, self.target[name], beta=beta, precision=precision)

    def add_sum(self, name: str, rows: Array) -> None:
        """Add the sum over the rows (rows, size), a bias's gradient."""
        beta = self._begin(name)
        if beta is not None:
            add_row_sums([(self.target[name], [rows])], 1.0, beta=beta)

    def finish(self) -> None:
        """Scale what got nothing."""
        for name in self._waiting:
            view = self.target[name]
            view[...] = view * view.dtype.type(self.beta) if self.beta else 0
        self._waiting = set()
