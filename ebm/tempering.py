"""Parallel tempering: replicas along a path of inverse temperatures that exchange their states.

Hukushima & Nemoto 1996, "Exchange Monte Carlo method and application to spin glass simulations"; for RBMs Desjardins et al. 2010, "Tempered
Markov chain Monte Carlo for training of restricted Boltzmann machines", and Cho, Raiko, Ilin 2010, "Parallel tempering is efficient
for learning restricted Boltzmann machines".
"""

from __future__ import annotations

import numpy as np

from .annealing import Path
from .compute.device import Array
from .compute.random import Stream
from .machine import States


class Replicas:
    """Chains with a replica at each of the inverse temperatures `betas` (levels,), ascending to 1, that exchange their states.

    `states` are those of the layers, (levels * rows, size), level by level: the last `rows` are samples of the machine. `parity` (1,)
    int64 says which neighbors exchange next, levels (0, 1), (2, 3), ... or (1, 2), (3, 4), ...; `swap_rates` (levels - 1,) are the
    shares of proposed exchanges between neighbors that were accepted, running means over about 50 proposals. All lie on the device.
    """

    def __init__(
        self, path: Path, betas: Array, states: States, parity: Array | None = None, swap_rates: Array | None = None
    ) -> None:
        device, self.levels = path.machine.device, betas.shape[0]
        self.path, self.betas, self.states = path, betas, states
        self.rows = states[path.kept[0]].shape[0] // self.levels
        self.parity = device.zeros(1, np.int64) if parity is None else parity
        self.swap_rates = device.zeros(self.levels - 1, np.float64) + 0.5 if swap_rates is None else swap_rates

    def sweep(self, stream: Stream) -> None:
        """Propose exchanges between neighbors, then take a step of Gibbs sampling at every level."""
        fields = self.path.fields(self.states)
        self._exchange(fields, stream)
        self.states = self.path.move(self.states, fields, self._rows_of(self.betas), stream)

    def samples(self) -> States:
        """The states at β = 1, (rows, size)."""
        return [None if x is None else x[-self.rows :] for x in self.states]

    def _rows_of(self, levels: Array) -> Array:
        """A value for each level, repeated for its rows."""
        return self.path.machine.device.xp.repeat(levels, self.rows)

    def _exchange(self, fields: dict[int, Array], stream: Stream) -> None:
        xp = self.path.machine.device.xp
        level = xp.arange(self.levels)
        # up from a level of the parity, down from the others; the ends may find nobody
        partner = level + 1 - 2 * ((level + self.parity) % 2)
        partner = xp.where((partner < 0) | (partner >= self.levels), level, partner)
        gain = self.path.log_ratio(self.states, fields, self._rows_of(self.betas), self._rows_of(self.betas[partner]))
        gain = gain.reshape(self.levels, self.rows)
        # both partners look at one uniform, which is never zero
        u = stream.uniform((self.levels, self.rows), np.float64)[xp.minimum(level, partner)] + 2.0**-25
        accepted = xp.log(u) < gain + gain[partner]
        for arrays, layers in ((self.states, self.path.kept), (fields, self.path.summed)):
            for i in layers:
                x = arrays[i].reshape(self.levels, self.rows, arrays[i].shape[1])
                arrays[i] = xp.where(accepted[:, :, None], x[partner], x).reshape(arrays[i].shape)
        proposed = partner[:-1] == level[1:]
        self.swap_rates += 0.02 * proposed * (accepted[:-1].mean(axis=1) - self.swap_rates)
        self.parity[...] = 1 - self.parity
