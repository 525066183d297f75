"""Annealed importance sampling: ln Z of a machine that is too large to be summed, between two sides.

Forward annealing starts at the base and estimates Z without bias, so that ln Z comes out too small on average (Neal 2001, "Annealed
importance sampling"; Salakhutdinov & Murray 2008, "On the quantitative analysis of deep belief networks"). Reverse annealing starts at
samples of the machine and estimates 1 / Z, so that ln Z comes out too large (Grosse, Ghahramani, Adams 2015, "Sandwiching the marginal
likelihood using bidirectional Monte Carlo"). An estimate is certified when the sides meet, see `Estimate`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .annealing import Path
from .compute import threads
from .compute.device import Array
from .compute.random import Stream
from .data.minibatches import dense
from .enumeration import exact_samples, smaller_block
from .likelihood import check, log_probability
from .machine import BoltzmannMachine, States
from .mean_field import converged, lower_bound, posterior, upward
from .rbm import RBM
from .sandwich import Estimate, Side, objections
from .tempering import Replicas
from .units import Bernoulli, Gaussian, Joint, Softmax
from .units.base import Units, positive

# Elements of the states that are annealed at once: what bounds the memory.
_BLOCK = 1 << 22
# Replicas of each chain that draws samples of the machine, at evenly spaced inverse temperatures.
_LEVELS = 10


def salakhutdinov_murray(temperatures: int = 14_500) -> np.ndarray:
    """The inverse temperatures of Salakhutdinov & Murray 2008, ever closer toward 1, (temperatures + 1,).

    500 steps from 0 to 0.5, 4,000 on to 0.9 and 10,000 on to 1, or another number in these proportions.
    """
    ends = np.array([0, 500, 4500, 14_500]) / 14_500
    return np.interp(np.linspace(0, 1, positive("temperatures", temperatures) + 1), ends, [0, 0.5, 0.9, 1])


def estimate(
    machine: BoltzmannMachine,
    *,
    chains: int = 100,
    temperatures: int | Sequence[float] = 10_000,
    data: Any = None,
    base_rate: Any = None,
    length: int | None = None,
    reverse: bool = True,
    sweeps: int = 1000,
    tolerance: float = 0.5,
    seed: int | None = None,
    progress: bool = False,
) -> Estimate:
    """ln Z of a machine by annealed importance sampling in both directions, in nats, with errors and a verdict: see `Estimate`.

    `temperatures` is a number of evenly spaced steps, or the inverse temperatures from 0 to 1 themselves (`salakhutdinov_murray()`).
    The base has the mean of the rows `data` (rows, visible), or `base_rate` (visible,), the mean of each visible unit; with neither it
    is uniform, from where a machine of data is hard to reach. Hidden layers that annealing keeps, every other one, start at their means
    given the data; a mapping for `base_rate` says means by the layer's number. `length` is the number of words that documents have, for
    word counts.

    Reverse annealing starts from exact samples where a block of layers can be enumerated; else from chains with 10 tempered replicas
    that took `sweeps` sweeps, half of them from rows of `data`, half from noise. Everything is done once more with half the
    temperatures and sweeps, to see what doubling moves. `reverse=False` runs forward annealing alone, which is never certified.

    Raises `ValueError` for parameters that are not finite, numbers below 1, a base rate that no finite bias has, data that don't fit.
    """
    betas = _inverse_temperatures(temperatures)
    chains, sweeps = positive("chains", chains), positive("sweeps", sweeps)
    if not tolerance > 0:
        raise ValueError(f"found tolerance={tolerance}; expected a number of nats > 0")
    check(machine, length)
    run = _Run(machine, data, base_rate, length, seed)
    origins = run.origins() if reverse else []
    schedules = {"coarse": _halved(betas), "fine": betas}
    weights: dict[str, dict[str, np.ndarray]] = {"coarse": {}, "fine": {}}
    steps = sum(len(schedule) - 1 for schedule in schedules.values())
    total = steps + steps * bool(origins) + sweeps * _LEVELS * ("noise" in origins)
    with _progress(progress, chains * total) as done:
        for grid, schedule in schedules.items():
            weights[grid]["forward"] = run.forward(schedule, chains, grid, done)
        for k, origin in enumerate(origins):
            rows = max(1, (chains + k) // len(origins))
            for grid, states in run.samples(origin, rows, sweeps, done).items():
                weights[grid][f"reverse, from {origin}"] = run.reverse(schedules[grid], states, f"{grid} {origin}", done)
    sides, coarse = ({name: run.side(name, w) for name, w in weights[grid].items()} for grid in ("fine", "coarse"))
    estimates = [side.log_partition for side in sides.values()]
    back = [w for name, w in weights["fine"].items() if name != "forward"]
    return Estimate(
        log_partition=sides["forward"].log_partition,
        standard_error=sides["forward"].standard_error,
        reverse=run.side("reverse", np.concatenate(back)).log_partition if back else None,
        gap=max(estimates) - min(estimates) if back else None,
        sides=sides,
        coarse=coarse,
        swap_rate=run.swap_rate,
        objections=tuple(objections(sides, coarse, tolerance, origins)),
        chains=chains,
        temperatures=len(betas) - 1,
        length=length,
    )


def tightness(
    machine: BoltzmannMachine, rows: Any, *, chains: int = 100, temperatures: int = 1000, seed: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """How far the variational bound of a deep machine lies below ln p(v), for a few rows: (rows,) nats, and their standard errors.

    ln sum_h e^-E(v, h) by forward annealing of the hidden layers given v, from the means of mean field, less the bound of
    `likelihood.lower_bound`; ln Z cancels. An annealing for each row: `temperatures` sweeps of `chains` chains. (Salakhutdinov &
    Hinton 2009, section 4.1.)"""
    machine.visible_units.check(rows, "rows")
    machine, found = machine.full_precision, []
    for v in dense(rows):
        x = machine.device.asarray(v[None], machine.dtype)
        q = converged(machine, x)
        means = [m for i, m in enumerate(q.states) if i not in machine.observed]
        rest = machine.given(machine.split(x))
        kept = {i: _open(rest.layers[i].units, machine.device.to_host(means[i])[0]) for i in rest.blocks[0]}
        total = estimate(rest, chains=chains, temperatures=temperatures, base_rate=kept, reverse=False, seed=seed)
        energy = float(machine.device.to_host(machine.energy(machine.split(x)))[0])
        found.append((total.log_partition - energy - float(lower_bound(machine, q)[0]), total.standard_error))
    difference, error = np.array(found).T
    return difference, error


def _open(units: Units, mean: np.ndarray) -> np.ndarray:
    """Means away from the ends of their range, where no finite bias has them."""
    if isinstance(units, Joint):
        return np.concatenate([_open(m, part) for m, part in zip(units.members, units.parts(mean), strict=True)])
    if isinstance(units, Gaussian):
        return mean.astype(np.float64)
    return np.clip(mean.astype(np.float64), 1e-3, 1 - 1e-3 if isinstance(units, (Bernoulli, Softmax)) else None)


def raise_bound(
    rbm: RBM,
    rows: Any,
    *,
    chains: int = 1,
    temperatures: int | Sequence[float] = 1000,
    data: Any = None,
    base_rate: Any = None,
    seed: int | None = None,
    progress: bool = False,
) -> np.ndarray:
    """RAISE, the reverse AIS estimator: a stochastic lower bound of ln p(v) under the annealed model for each row, (rows,) nats.

    The annealed model is a directed one, which draws v by forward annealing along these temperatures; its likelihood approaches the
    machine's as they become more. From each row `chains` chains are annealed back to the base, and

        ln p(v) >= E ln mean_chains f_1(v) / Z_0 prod_k f_k(x_k) / f_(k+1)(x_k)

    with f_1 the machine's unnormalized probability (Burda, Grosse, Salakhutdinov 2015, "Accurate and conservative estimates of MRF
    log-likelihood using reverse annealing", section 3). A likelihood by forward annealing is too high on average, this one too low.
    `rows` are states of the visible units; `data` or `base_rate` as for `estimate`: the base's mean, not that of the rows.
    """
    betas, chains = _inverse_temperatures(temperatures), positive("chains", chains)
    check(rbm, 1 if rbm.visible.units.replicated else None)
    rbm.visible.units.check(rows, "rows")
    run = _Run(rbm, data, base_rate, None, seed)
    device, bound = rbm.device, np.empty(rows.shape[0])
    with _progress(progress, bound.size * chains * (len(betas) - 1)) as done:
        block = max(1, run.block // chains)
        for start in range(0, bound.size, block):
            v = device.asarray(dense(rows[start : start + block]), rbm.dtype)
            repeated = device.asarray(np.repeat(device.to_host(v), chains, axis=0))
            log_weights = run.reverse(betas, [repeated, None], f"rows {start}", done).reshape(-1, chains)
            largest = log_weights.max(axis=1)
            mean = largest + np.log(np.exp(log_weights - largest[:, None]).mean(axis=1))
            bound[start : start + block] = log_probability(rbm, v, 0.0) - run.path.base_log_partition(v) + mean
    return bound


class _Run:
    """The path of one call and its random streams: each pass has one of its own, addressed by the chain."""

    def __init__(self, machine: BoltzmannMachine, data: Any, base_rate: Any, length: int | None, seed: int | None) -> None:
        self.machine, self.device, self.data = machine, machine.device, data
        self.seed = Stream(seed).seed
        if data is not None:
            machine.visible_units.check(data, "data")
        base = self._base(base_rate)
        self.path = Path(machine, [base[i].astype(machine.dtype) for i in machine.blocks[0]])
        self.block = max(1, _BLOCK // sum(layer.units.size for layer in machine.layers))
        self.length = length
        self.swap_rate: float | None = None

    def _base(self, base_rate: Any) -> dict[int, Array]:
        """The biases of the base: from the base rate or the data where there are some, else zeros. Hidden layers have the means that mean
        field gives them for rows of the data."""
        machine, device, rows = self.machine, self.device, 2**53
        base = {i: device.zeros(layer.units.size, np.float64) for i, layer in enumerate(machine.layers)}
        if isinstance(base_rate, Mapping):
            given = dict(base_rate)
        elif base_rate is not None:
            given = machine.columns(_checked_rate(machine.visible_units, base_rate))
        else:
            given = {}
            if self.data is not None:
                base |= machine.columns(machine.visible_units.bias_from_data(self.data, device))
        for i, rate in given.items():
            units = machine.layers[i].units
            base[i] = units.bias_from_mean(device.asarray(_checked_rate(units, rate)), rows)
        hidden = set(machine.blocks[0]) - set(machine.observed) - set(given)
        if self.data is not None and hidden:
            chosen = np.unique(np.linspace(0, self.data.shape[0] - 1, 1000).astype(int))
            found = posterior(machine.full_precision, device.asarray(dense(self.data[chosen]), machine.dtype), 10)
            for i in hidden:
                mean = found.states[i].astype(np.float64).mean(axis=0)
                base[i] = machine.layers[i].units.bias_from_mean(mean, chosen.size)
        return base

    def _stream(self, name: str) -> Stream:
        return Stream(self.seed, f"ais {name}", self.device)

    def _like(self, rows: int) -> Array | None:
        """Word counts of documents of the length."""
        if self.length is None:
            return None
        like = self.device.zeros((rows, self.machine.layers[0].units.size), self.machine.dtype)
        like[:, 0] = self.length
        return like

    def side(self, name: str, log_weights: np.ndarray) -> Side:
        """The estimate of these weights."""
        base = float(self.path.base_log_partition(self._like(1))[0])
        return Side.of(log_weights, base, 1 if name == "forward" else -1)

    def _blocks(self, rows: int, most: int) -> list[slice]:
        """Blocks of at most `most` rows, at least as many as there are threads."""
        size = max(1, min(most, -(-rows // threads.number(self.device))))
        return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]

    def forward(self, betas: np.ndarray, chains: int, name: str, done: Callable[[int], object]) -> np.ndarray:
        """Log-weights of annealing from the base, (chains,)."""

        def anneal(block: slice, proceed: Callable[[], None]) -> np.ndarray:
            rows, stream = block.stop - block.start, self._stream(f"forward {name}")
            states = self.path.draw_base(rows, stream, block.start, self._like(rows))
            stream.advance_()
            return self._anneal(states, betas, stream, block.start, done, proceed)

        return np.concatenate(threads.over_blocks(self.device, self._blocks(chains, self.block), anneal))

    def reverse(self, betas: np.ndarray, states: States, name: str, done: Callable[[int], object]) -> np.ndarray:
        """Log-weights of annealing from samples of the machine to the base, (rows,)."""
        one = self.device.zeros(1, np.float64) + 1

        def anneal(block: slice, proceed: Callable[[], None]) -> np.ndarray:
            stream = self._stream(f"reverse {name}")
            part: States = [None if x is None else x[block] for x in states]
            part = self.path.move(part, self.path.fields(part), one, stream, block.start)
            stream.advance_()
            return self._anneal(part, betas[::-1], stream, block.start, done, proceed)

        blocks = self._blocks(states[self.path.kept[0]].shape[0], self.block)
        return np.concatenate(threads.over_blocks(self.device, blocks, anneal))

    def _anneal(
        self,
        states: States,
        betas: np.ndarray,
        stream: Stream,
        first_row: int,
        done: Callable[[int], object],
        proceed: Callable[[], None],
    ) -> np.ndarray:
        rows = states[self.path.kept[0]].shape[0]

        def moved() -> None:
            done(rows)
            proceed()

        log_weights = self.device.to_host(self.path.anneal(states, betas, stream, first_row, moved))
        if not np.isfinite(log_weights).all():
            raise FloatingPointError(
                f"found {np.count_nonzero(~np.isfinite(log_weights))} of {rows} log-weights that are not finite; the fields overflow "
                f"{self.machine.dtype}: write dtype='float64', or look at the largest weights"
            )
        return log_weights

    def origins(self) -> list[str]:
        """Where samples of the machine come from."""
        if smaller_block(self.machine, self.length):
            return ["exact samples"]
        return ["noise"] if self.data is None else ["data", "noise"]

    def samples(self, origin: str, rows: int, sweeps: int, done: Callable[[int], object]) -> dict[str, States]:
        """Samples of the machine for the coarse and the fine pass; the tempered chains of the second are those of the first, gone on."""
        if origin == "exact samples":
            stream = self._stream(origin)
            return {grid: exact_samples(self.machine, rows, stream, self.length) for grid in ("coarse", "fine")}

        def temper(block: slice, proceed: Callable[[], None]) -> tuple[States, States, float]:
            stream, betas = self._stream(f"{origin} {block.start}"), self.device.asarray(np.linspace(0, 1, _LEVELS))
            replicas = Replicas(self.path, betas, self._starts(origin, block.stop - block.start, stream))
            for k in range(sweeps):
                replicas.sweep(stream)
                stream.advance_()
                done(replicas.rows * _LEVELS)
                proceed()
                if k == (sweeps - 1) // 2:
                    coarse = replicas.samples()
            return coarse, replicas.samples(), float(self.device.to_host(replicas.swap_rates).min())

        blocks = self._blocks(rows, max(1, self.block // _LEVELS))
        coarse, fine, rates = zip(*threads.over_blocks(self.device, blocks, temper), strict=True)
        self.swap_rate = min(rates if self.swap_rate is None else (*rates, self.swap_rate))
        return {
            grid: [self.device.xp.concatenate(layer) for layer in zip(*parts, strict=True)]
            for grid, parts in (("coarse", coarse), ("fine", fine))
        }

    def _starts(self, origin: str, rows: int, stream: Stream) -> States:
        """States of all replicas, from rows of the data or from noise."""
        n = rows * _LEVELS
        noise = Path(self.machine, [self.device.zeros(x.shape, x.dtype) for x in self.path.base.values()])
        states = noise.draw_base(n, stream, like=self._like(n))
        stream.advance_()
        if origin == "data":
            generator = np.random.default_rng([self.seed, stream.draw])
            # in order, as a memory map is read best
            chosen = dense(self.data[np.sort(generator.integers(self.data.shape[0], size=n))])
            v = self.device.asarray(generator.permutation(chosen), self.machine.dtype)
            units = self.machine.visible_units
            if units.grey:
                v = stream.bernoulli(v)
            elif units.replicated:
                v = units.like(states[0]).sample(self.device.xp.log(v + v.dtype.type(1e-3)), stream)
            found = upward(self.machine, v, "sample", stream) if self.machine.deep else self.machine.split(v)
            for i in self.path.kept:
                states[i] = found[i]
            stream.advance_()
        return states


def _checked_rate(units: Units, base_rate: Any) -> np.ndarray:
    """The mean of each visible unit, which must have a finite bias."""
    rate = np.asarray(base_rate, np.float64)
    if rate.shape != (units.size,):
        raise ValueError(f"base_rate: found shape {rate.shape}; expected {(units.size,)}, the mean of each unit")
    if isinstance(units, Joint):
        return np.concatenate([_checked_rate(m, part) for m, part in zip(units.members, units.parts(rate), strict=True)])
    low = -np.inf if isinstance(units, Gaussian) else 0.0
    high = 1.0 if isinstance(units, (Bernoulli, Softmax)) else np.inf
    if not ((rate > low) & (rate < high)).all():
        wrong = int(np.argmin((rate > low) & (rate < high)))
        raise ValueError(
            f"base_rate: found {rate[wrong]} at unit {wrong}; expected numbers between {low} and {high}, both excluded, as no "
            f"finite bias has such a mean: write data=train, whose base rate counts one pseudo-observation of each value"
        )
    return rate


def _inverse_temperatures(temperatures: int | Sequence[float]) -> np.ndarray:
    if np.ndim(temperatures) == 0:
        return np.linspace(0, 1, positive("temperatures", temperatures) + 1)
    betas = np.asarray(temperatures, np.float64)
    if betas.ndim != 1 or betas.size < 2 or betas[0] != 0 or betas[-1] != 1 or not (np.diff(betas) > 0).all():
        found = f"from {betas.flat[0]} to {betas.flat[-1]}" if betas.size else "of none"
        raise ValueError(
            f"found temperatures of shape {betas.shape} {found}; expected a whole number of steps >= 1, or inverse temperatures that "
            f"grow from 0 to 1"
        )
    return betas


def _halved(betas: np.ndarray) -> np.ndarray:
    """Every other inverse temperature, the last one always."""
    return betas[::2] if len(betas) % 2 else np.append(betas[:-1:2], betas[-1])


@contextmanager
def _progress(shown: bool, total: int) -> Iterator[Callable[[int], object]]:
    """What counts moves of chains on a bar."""
    if not shown:
        yield lambda moves: None
        return
    from tqdm import tqdm

    lock = threading.Lock()  # blocks of chains move in threads
    with tqdm(total=total, unit="move", unit_scale=True, desc="AIS", dynamic_ncols=True) as bar:

        def update(moves: int) -> None:
            with lock:
                bar.update(moves)

        yield update
