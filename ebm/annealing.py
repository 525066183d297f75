"""The path of machines from an independent base to the one of interest, along which annealing and tempering go.

With the layers of a machine's first block kept and those of its second summed out, the path has the unnormalized density

    ln f_β(x) = sum_kept ((1 - β) a_i + β b_i) x_i - e_i(x_i)  +  sum_summed ln sum_y exp(y z_j(β, x) - e_j(y)),

where b are the biases, a those of the base, and z_j(β, x) = β (c_j + sum_i x_i W_ij) the fields of the summed layers. What units have
of energy besides (a Gaussian's x^2 / 2) is not scaled, so that there is a distribution at β = 0 for all of them; β = 1 is the machine.
For binary units this is the path of Salakhutdinov & Murray 2008, "On the quantitative analysis of deep belief networks", equation 16.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from .compute.device import Array
from .compute.graph import Graph
from .compute.kernels.annealing import anneal_kept, anneal_summed
from .compute.random import Stream
from .machine import BoltzmannMachine, States
from .units import Bernoulli


class Path:
    """The path from `base`, one bias for each kept layer, to `machine`.

    `like` (rows, visible) are word counts that say how long documents are; units of other types need none.
    """

    def __init__(self, machine: BoltzmannMachine, base: Sequence[Array]) -> None:
        self.machine = machine.full_precision
        self.kept, self.summed = machine.blocks
        self.base = dict(zip(self.kept, base, strict=True))
        self.change = {i: machine.layers[i].bias - self.base[i] for i in self.kept}

    def base_log_partition(self, like: Array | None = None) -> np.ndarray:
        """ln of the sum of f_0 over all states, (rows of `like` or 1,), on the host."""
        device, rows = self.machine.device, 1 if like is None else like.shape[0]
        total = np.zeros(rows)
        for i, layer in enumerate(self.machine.layers):
            field = device.zeros((rows, layer.units.size), np.float64)
            if i in self.base:
                field += self.base[i]
            total += device.to_host(layer.units.like(like if i == 0 else None).log_partition(field))
        return total

    def draw_base(self, rows: int, stream: Stream, first_row: int = 0, like: Array | None = None) -> States:
        """Independent states of the machine at β = 0."""
        states: States = [None] * len(self.machine.layers)
        for i, bias in self.base.items():
            units = self.machine.layers[i].units.like(like if i == 0 else None)
            field = self.machine.device.zeros((rows, units.size), self.machine.dtype)
            field += bias
            states[i] = units.sample(field, stream, first_row)
        return states

    def fields(self, states: States) -> dict[int, Array]:
        """z_j(1, x) of the summed layers, (rows, size) each."""
        return {j: self.machine.field(j, states) for j in self.summed}

    def log_ratio(self, states: States, fields: dict[int, Array], before: Array, after: Array) -> Array:
        """ln f_after(x) - ln f_before(x), (rows,) float64, for inverse temperatures (1,) or (rows,)."""
        total = (after - before) * self._linear(states)
        for j, field in fields.items():
            z, units = field.astype(np.float64), self.machine.layers[j].units
            total = total + units.log_partition(z * after[:, None]) - units.log_partition(z * before[:, None])
        return total

    def _linear(self, states: States) -> Array:
        """sum (b - a) x over the kept layers, (rows,): what ln f grows by with β, besides the summed layers."""
        first, *rest = ((states[i] * change).sum(axis=1, dtype=np.float64) for i, change in self.change.items())
        return sum(rest, first)

    def move(self, states: States, fields: dict[int, Array], beta: Array, stream: Stream, first_row: int = 0) -> States:
        """A step of Gibbs sampling at the inverse temperatures `beta`, (1,) or (rows,), from the summed layers' `fields`."""
        states, beta = list(states), beta.astype(self.machine.dtype)[:, None]
        for j, field in fields.items():
            states[j] = self.machine.layers[j].units.sample(field * beta, stream, first_row)
        for i in self.kept:
            units = self.machine.layers[i].units.like(states[i])
            field = self.machine.field(i, states) * beta
            field += (1 - beta) * self.base[i]
            states[i] = units.sample(field, stream, first_row)
        return states

    def anneal(
        self, states: States, betas: np.ndarray, stream: Stream, first_row: int = 0, done: Callable[[], object] = lambda: None
    ) -> Array:
        """sum_k ln f_(k+1)(x_k) - ln f_k(x_k), (rows,) float64 on the device, along a chain that starts at `states`.

        x_(k+1) is drawn from x_k by a step of Gibbs sampling at betas[k + 1]. With betas from 0 to 1 and a start from the base these
        are the log-weights of annealed importance sampling (Neal 2001, equation 11), with betas from 1 to 0 those of its reverse.
        `done` is called after each temperature.
        """
        device = self.machine.device
        table = device.asarray(np.append(betas, betas[-1]))
        # The three inverse temperatures that the kernels read, always in the same place.
        window = device.empty(3, np.float64)
        log_weights = (table[1:2] - table[0:1]) * self._linear(states)
        graph = Graph(device)
        states = [None if x is None else x.copy() for x in states]

        def temperature(last: bool) -> None:
            for j in self.summed:
                self._draw_summed(j, states, window, log_weights, stream, first_row)
            for i in () if last else self.kept:
                self._draw_kept(i, states, window, log_weights, stream, first_row)
            stream.advance_()

        for k in range(1, len(betas)):
            window[...] = table[k - 1 : k + 2]
            last = k + 1 == len(betas)
            graph(functools.partial(temperature, last), kind=last)
            done()
        return log_weights

    def _draw_summed(self, j: int, states: States, betas: Array, log_weights: Array, stream: Stream, first_row: int) -> None:
        units, field = self.machine.layers[j].units, self.machine.field(j, states)
        if isinstance(units, Bernoulli):
            anneal_summed(field, betas, log_weights, *stream.take(first_row))
            states[j] = field
            return
        z = field.astype(np.float64)
        log_weights += units.log_partition(betas[1:2] * z) - units.log_partition(betas[0:1] * z)
        field *= betas[1:2].astype(field.dtype)
        states[j] = units.sample(field, stream, first_row)

    def _draw_kept(self, i: int, states: States, betas: Array, log_weights: Array, stream: Stream, first_row: int) -> None:
        units = self.machine.layers[i].units.like(states[i])
        if isinstance(units, Bernoulli):
            field = self.machine.field(i, states, out=states[i])
            anneal_kept(field, self.base[i], self.change[i], betas, log_weights, *stream.take(first_row))
            return
        field, after = self.machine.field(i, states), betas[1:2].astype(self.machine.dtype)
        field *= after
        field += (1 - after) * self.base[i]
        states[i][...] = units.sample(field, stream, first_row)
        log_weights += (betas[2:3] - betas[1:2]) * (states[i] * self.change[i]).sum(axis=1, dtype=np.float64)
