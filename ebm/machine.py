"""BoltzmannMachine: layers of units and connections between them, swept in two blocks.

An RBM, a DBM and a multimodal DBM are all this: a graph of layers with two colors. The energy of a state x is

    E(x) = sum_i energy_i(x_i; bias_i) - sum_(i,j) x_i W_ij x_j,

and the field of a layer, all others given, is bias_i + sum_j x_j W_ji. Layers of one color don't see each other, so a sweep updates
all of them at once, then all of the other.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from . import sampling, storage
from .compute import device as devices
from .compute.device import Array, Device, beside, device_of
from .compute.gemm import PRECISIONS, Precision, gemm, prepared
from .compute.kernels.reductions import add_row_sums
from .compute.random import Stream
from .data.minibatches import in_blocks
from .mean_field import downward, posterior
from .training.parameters import Parameters
from .units import Joint, Units, as_units, from_config

Verb = Literal["sample", "mean", "mode"]
# States of all layers, (rows, size) each; None for those that are unknown or don't matter.
States = list[Array]
# For a layer, which units are held (boolean or 0/1, rows x size or broadcast to it) and at which values.
Clamp = tuple[Array, Array]
# The standard deviation of weights before any training.
DEVIATION = 0.01


@dataclass(frozen=True)
class Layer:
    """Units and their bias, (size,), a view into the machine's parameters."""

    units: Units
    bias: Array

    def copy_(self, source: Layer) -> None:
        """Take over the parameters of another layer of such units."""
        self.bias[...] = source.bias
        for name, array in source.units.own.items():
            self.units.own[name][...] = array


@dataclass(frozen=True)
class Connection:
    """Weights (lower size, upper size) between two layers, a view into the machine's parameters."""

    lower: int
    upper: int
    name: str
    weights: Array


class BoltzmannMachine(storage.Described):
    """Layers (units, or numbers of Bernoulli units) joined by connections (pairs of layer numbers; a chain by default).

    `observed` are the numbers of the visible layers. A row of data holds their states side by side, in this order: images and labels of a
    machine with observed=(0, 3) are rows of 784 + 10 columns. All other layers are hidden. Weights start as N(0, 0.01^2) draws of
    `seed`, biases as zeros. A `precision`, "bfloat16" or "tf32", rounds the operands of products (see
    `gemm`), nothing else.

    Raises `ValueError` when the connections can't be colored with two colors (such a machine has no two-block sweep), and for
    `observed` that aren't layers.
    """

    def __init__(
        self,
        layers: Sequence[int | Units],
        connections: Sequence[tuple[int, int]] | None = None,
        *,
        observed: Sequence[int] = (0,),
        device: str | Device = "auto",
        dtype: Any = "float32",
        seed: int | None = 0,
        precision: Precision = None,
    ) -> None:
        self.device = devices.get(device)
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise TypeError(f"found dtype={dtype!r}; expected 'float32' or 'float64'")
        if precision not in (None, *PRECISIONS) or (precision and self.dtype != np.float32):
            raise ValueError(
                f"found precision={precision!r} with dtype={dtype!r}; expected None, or 'bfloat16' or 'tf32' with 'float32'"
            )
        self.precision: Precision = precision
        units = [as_units(layer) for layer in layers]
        self.observed = tuple(observed)
        if (
            not self.observed
            or len(set(self.observed)) < len(self.observed)
            or not set(self.observed) <= set(range(len(units)))
        ):
            raise ValueError(
                f"found observed={observed!r} for {len(units)} layers; expected the numbers of the visible layers, such as (0,)"
            )
        for i, u in enumerate(units):
            if u.replicated and (i > 0 or 0 not in self.observed):
                raise ValueError(
                    f"found {u} as layer {i}; word counts can only be visible, layer 0: their number is the data's"
                )
        pairs = [(i, i + 1) for i in range(len(units) - 1)] if connections is None else [(i, j) for i, j in connections]
        self.blocks = _two_colors(len(units), pairs)
        names = ["weights" if len(pairs) == 1 else f"weights.{i}.{j}" for i, j in pairs]
        shapes: dict[str, tuple[int, ...]] = {
            name: (units[i].size, units[j].size) for name, (i, j) in zip(names, pairs, strict=True)
        }
        shapes |= {f"bias.{i}": (u.size,) for i, u in enumerate(units)}
        own = {f"{name}.{i}": shape for i, u in enumerate(units) for name, (shape, _) in u.own_parameters().items()}
        parameters = Parameters(shapes | own, self.dtype, self.device)
        for i, u in enumerate(units):
            for name, (_, rate) in u.own_parameters().items():
                segment = parameters.segments[f"{name}.{i}"]
                segment.rate, segment.frozen = rate or 0.0, rate is None
        self._bind(parameters, units, [(i, j, name) for name, (i, j) in zip(names, pairs, strict=True)])
        weights_stream = Stream(seed, "weights", self.device)
        self.seed = weights_stream.seed
        for connection in self.connections:
            connection.weights[...] = weights_stream.normal(connection.weights.shape, self.dtype)
            connection.weights[...] *= self.dtype.type(DEVIATION)

    def _bind(self, parameters: Parameters, units: Sequence[Units], connections: Sequence[tuple[int, int, str]]) -> None:
        """Make layers and connections views into `parameters`."""
        self.parameters = parameters
        own = [{name: parameters[f"{name}.{i}"] for name in u.own_parameters()} for i, u in enumerate(units)]
        self.layers = [Layer(u.bound(own[i]), parameters[f"bias.{i}"]) for i, u in enumerate(units)]
        self.connections = [Connection(i, j, name, parameters[name]) for i, j, name in connections]
        self._join()

    def _join(self, precision: Precision = None) -> None:
        """For each layer its neighbors and the weights from them, prepared for products of a `precision`."""
        joined = [(c, *prepared(c.weights, precision)) for c in self.connections]
        self._joined = [
            [(c.upper, down) for c, _, down in joined if c.lower == i] + [(c.lower, up) for c, up, _ in joined if c.upper == i]
            for i in range(len(self.layers))
        ]

    def with_parameters(self, parameters: Parameters) -> Self:
        """A machine like this one over other parameters of the same layout (see `Parameters.over`)."""
        machine = copy.copy(self)
        machine._bind(
            parameters, [layer.units for layer in self.layers], [(c.lower, c.upper, c.name) for c in self.connections]
        )
        return machine

    @property
    def visible_units(self) -> Units:
        """The units that a row of data holds the states of: those of the observed layers, side by side."""
        first, *rest = (self.layers[i].units for i in self.observed)
        return Joint(first, *rest) if rest else first

    @property
    def hidden_layers(self) -> list[int]:
        """The numbers of the layers that are not observed."""
        return [i for i in range(len(self.layers)) if i not in self.observed]

    @property
    def deep(self) -> bool:
        """Whether hidden layers are connected with each other, so that they depend on each other given the observed ones."""
        return any({c.lower, c.upper}.isdisjoint(self.observed) for c in self.connections)

    def neighbors(self, layer: int) -> list[int]:
        """The numbers of the layers that a layer is connected with."""
        return [other for other, _ in self._joined[layer]]

    @property
    def outward(self) -> list[int]:
        """The numbers of the hidden layers by their distance from the observed ones."""
        order: list[int] = []
        reached = list(self.observed)
        while reached:
            near = sorted({other for i in reached for other in self.neighbors(i)} - set(self.observed) - set(order))
            order, reached = order + near, near
        return order

    def split(self, v: Array) -> States:
        """The states of all layers: those of the observed ones from the rows `v` (rows, visible), None for the hidden ones."""
        size = self.visible_units.size
        device_of(v)  # refuses what is no array
        if v.ndim != 2 or v.shape[1] != size:
            hint = "; write v.reshape(1, -1) for one row" if v.ndim == 1 else ""
            raise ValueError(f"v: found shape {v.shape}; expected (rows, {size}){hint}")
        states: States = [None] * len(self.layers)
        for i, part in self.columns(v).items():
            self.check_states(i, part, "v")
            states[i] = part
        return states

    def columns(self, v: Array) -> dict[int, Array]:
        """The columns (..., size) of each observed layer in rows of data, or in one row."""
        units = self.visible_units
        return dict(
            zip(self.observed, units.parts(v) if isinstance(units, Joint) and len(self.observed) > 1 else [v], strict=True)
        )

    def join(self, states: Sequence[Array]) -> Array:
        """The rows (rows, visible) that `split` takes apart."""
        parts = [states[i] for i in self.observed]
        return parts[0] if len(parts) == 1 else beside(parts)

    def given(self, states: Sequence[Array]) -> BoltzmannMachine:
        """The machine of the layers whose states are None, numbered from 0, with the others held at theirs:

            p(rest | states) = e^-E' / Z',   E'(rest) = E(rest, states) - E(states),

        where E(states) is `energy(states)`, what the held layers have among themselves. Its biases are the fields of the held layers,
        (rows, size), one for each row of theirs; for one row they are (size,), and any number of rows can be drawn. It is a view
        of this machine's weights, not to be trained.
        """
        rest = [i for i, x in enumerate(states) if x is None]
        number = {i: k for k, i in enumerate(rest)}
        machine = object.__new__(BoltzmannMachine)
        machine.__dict__.update(device=self.device, dtype=self.dtype, precision=self.precision, seed=self.seed)
        machine.parameters, machine.observed = self.parameters, ()
        first, second = ([number[i] for i in block if i in number] for block in self.blocks)
        machine.blocks = first, second
        machine.layers = []
        for i in rest:
            held = any(states[other] is not None for other, _ in self._joined[i])
            bias = self.field(i, states) if held else self.layers[i].bias
            machine.layers.append(Layer(self.layers[i].units, bias[0] if bias.ndim == 2 and bias.shape[0] == 1 else bias))
        machine.connections = [
            Connection(number[c.lower], number[c.upper], c.name, c.weights)
            for c in self.connections
            if c.lower in number and c.upper in number
        ]
        machine._joined = [[(number[j], w) for j, w in self._joined[i] if j in number] for i in rest]
        return machine

    @property
    def full_precision(self) -> Self:
        """This machine, sharing its parameters, without rounded products: a partition function is that of the weights as they are."""
        machine = copy.copy(self)
        machine.precision = None
        machine._join()
        return machine

    def prepared(self) -> Self:
        """This machine, sharing its parameters, whose fields take the weights as they are now, rounded once for all products."""
        if self.precision is None:
            return self
        machine = copy.copy(self)
        machine._join(self.precision)
        return machine

    def require_finite(self) -> None:
        """Raise `ValueError` where real-valued layers are connected so strongly that there is no finite partition function.

        With W the weights between the real-valued layers of the two blocks, and Γ, Γ' their precisions, x Γ x / 2 + y Γ' y / 2 - x W y
        has an integrable exponential exactly if the largest singular value of Γ^-1/2 W Γ'^-1/2 is below 1 (for rectified units that
        is sufficient; they are held to it as well).
        """
        real = {i for i, layer in enumerate(self.layers) if not layer.units.discrete}
        joined = {(c.lower, c.upper): self._scaled(c) for c in self.connections if {c.lower, c.upper} <= real}
        if not joined:
            return
        joined |= {(j, i): weights.T for (i, j), weights in joined.items()}
        first, second = ([i for i in block if i in real] for block in self.blocks)
        size = [layer.units.size for layer in self.layers]
        matrix = np.block([[joined.get((i, j), np.zeros((size[i], size[j]))) for j in second] for i in first])
        norm = float(np.linalg.norm(matrix, 2)) if np.isfinite(matrix).all() else math.inf
        if not norm < 1:
            layers = " and ".join(str(self.layers[i].units) for i in sorted(real))
            raise ValueError(
                f"the weights between {layers} have spectral norm {norm:.4g} (scaled by the precisions); expected less than 1, "
                f"else the energy has no lower bound and there is no partition function: shrink the weights, lower the learning "
                f"rate, add WeightDecay, or make one of the layers Bernoulli or Softmax"
            )

    def _scaled(self, connection: Connection) -> np.ndarray:
        """Γ^-1/2 W Γ'^-1/2 on the host, float64."""
        weights = self.device.to_host(connection.weights).astype(np.float64)
        for i, axis in ((connection.lower, 1), (connection.upper, 0)):
            weights *= np.expand_dims(self.layers[i].units.deviation(), axis)
        return weights

    def field(
        self, layer: int, states: Sequence[Array], beta: float = 1.0, out: Array | None = None, *, times: float = 1.0
    ) -> Array:
        """beta (bias_i + times sum_j x_j W_ji), shape (rows, size), from the states of the layers that it is connected with.

        Layers whose states are None are left out. The bias counts once for each draw of a connected layer of counts (see
        `ReplicatedSoftmax`). `out` may be the layer's own states, which aren't read.
        """
        joined = [(other, weights) for other, weights in self._joined[layer] if states[other] is not None]
        bias = self.layers[layer].bias
        rows = [states[other].shape[0] for other, _ in joined] or [x.shape[0] for x in states if x is not None] or [1]
        field = self.device.empty((rows[0], self.layers[layer].units.size), self.dtype) if out is None else out
        row, scale, counts = bias, beta, self._repeats(layer, states)
        if counts or not joined:
            field[...] = bias if beta == 1 else self.dtype.type(beta) * bias
            for repeats in counts:
                field *= repeats[:, None]
            row, scale = None, 1.0
        for other, weights in joined:
            gemm(states[other], weights, field, alpha=beta * times, beta=scale, precision=self.precision, row=row)
            row, scale = None, 1.0
        return field

    def _repeats(self, layer: int, states: Sequence[Array]) -> list[Array]:
        """The numbers of draws, (rows,) each, of the connected layers that have them."""
        counts = [other for other, _ in self._joined[layer] if self.layers[other].units.replicated]
        present = [(self.layers[other].units, x) for other in counts if (x := states[other]) is not None]
        return [repeats for units, x in present if (repeats := units.repeats(x)) is not None]

    def energy(self, states: Sequence[Array]) -> Array:
        """E(x), (rows,) nats; layers whose states are None are left out."""
        present = [i for i, x in enumerate(states) if x is not None]
        energy = self.device.zeros(states[present[0]].shape[0], self.dtype)
        for i in present:
            x, layer = states[i], self.layers[i]
            energy += layer.units.energy(x, layer.bias)
            for repeats in self._repeats(i, states):
                energy -= (repeats - 1) * gemm(x, layer.bias[:, None])[:, 0]
        for c in self.connections:
            if states[c.lower] is None or states[c.upper] is None:
                continue
            energy -= (gemm(states[c.lower], c.weights, precision=self.precision) * states[c.upper]).sum(axis=1)
        return energy

    def update(
        self,
        layer: int,
        states: Sequence[Array],
        verb: Verb,
        stream: Stream | None = None,
        *,
        beta: float = 1.0,
        clamp: Clamp | None = None,
    ) -> Array:
        """The new state of one layer: a sample, the mean or the mode under its field, except for the clamped units."""
        units, field = self.layers[layer].units.like(states[layer]), self.field(layer, states, beta)
        if verb == "sample":
            if stream is None:
                raise TypeError("verb='sample' needs a stream; write Stream(seed)")
            state = units.sample(field, stream, beta=beta)
        elif verb == "mean":
            state = units.mean(field, beta)
        elif verb == "mode":
            state = units.mode(field, beta)
        else:
            raise ValueError(f"found verb={verb!r}; expected 'sample', 'mean' or 'mode'")
        if clamp is not None:
            mask, values = clamp
            state = self.device.xp.where(mask, values, state)
        return state

    def sweep(
        self,
        states: Sequence[Array],
        verb: Verb,
        stream: Stream | None = None,
        *,
        beta: float = 1.0,
        clamp: Mapping[int, Clamp] | None = None,
    ) -> list[Array]:
        """Update the second block (odd layers of a chain) given the first, then the first given the second.

        With "sample" this is a step of Gibbs sampling of p(x)^beta, with "mean" an iteration of mean field, with "mode" of ascent.
        """
        states = list(states)
        for block in reversed(self.blocks):
            for i in block:
                states[i] = self.update(i, states, verb, stream, beta=beta, clamp=(clamp or {}).get(i))
        return states

    def free_energy(self, v: Array) -> Array:
        """F(v) = -ln sum_h e^-E(v, h), (rows,) nats: ln p(v) = -F(v) - ln Z.

        Raises `TypeError` where hidden layers are connected with each other: that sum has no closed form.
        """
        if self.deep:
            raise TypeError(
                f"the free energy of {self} has no closed form; write likelihood.lower_bound(model, v, log_partition)"
            )
        states = self.split(v)
        energy = self.energy(states)
        for i in self.hidden_layers:
            energy -= self.layers[i].units.log_partition(self.field(i, states))
        return energy

    def reconstruct(self, data: Any) -> np.ndarray:
        """E[v | E[h | v]] for every row of a host array, (rows, visible): one deterministic pass up and down. Where hidden layers are
        connected with each other, up are 10 mean-field sweeps, and down is from the last layer's means alone (see
        `mean_field.downward`)."""
        self.visible_units.check(data, "data")
        blocks = in_blocks(data, self.device, self.dtype)
        return np.concatenate([self.device.to_host(self.up_and_down(v)) for v in blocks])

    def up_and_down(self, v: Array) -> Array:
        """What `reconstruct` says of rows on the device."""
        return self.join(downward(self, posterior(self, v, 10).states))

    def squared_error(self, v: Array) -> Array:
        """sum_i (v_i - up_and_down(v)_i)^2, averaged over the rows; a scalar on the device."""
        difference = v - self.up_and_down(v)
        return (difference * difference).sum() / v.shape[0]

    def initialize_bias_(self, data: Any) -> None:
        """Set the visible biases so that the visible units alone have the mean of `data` (Hinton 2010, section 8)."""
        bias = self.visible_units.bias_from_data(data, self.device).astype(self.dtype)
        for i, part in self.columns(bias).items():
            self.layers[i].bias[...] = part

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the machine to one safetensors file (see `storage.save`); read it back with `ebm.load`."""
        storage.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: Any = "auto") -> Self:
        """The machine saved at `path`; raises as `ebm.load` does, and for a file of another model."""
        return storage.load(path, device, cls)

    def sample(
        self,
        n: int,
        steps: int = 1000,
        *,
        clamp: tuple[Any, Any] | None = None,
        start: Any = None,
        beta: float | Sequence[float] = 1.0,
        means: bool = False,
        seed: int | None = None,
    ) -> np.ndarray:
        """n samples of the visible units after `steps` steps of Gibbs sampling, (n, visible), on the host.

        `clamp=(mask, values)` holds the units where `mask` (visible,) or (n, visible) is true at `values` of such a shape, and
        samples the rest given them (inpainting). Chains start at `start` (n, visible), else at a draw from the visible biases. `beta`
        is an inverse temperature, or one for each step: samples are of p(v, h)^beta. `means=True` returns the visible units' means in
        the last step, which make smoother pictures. The same `seed` gives the same samples.

        Raises `ValueError` for masks, values and starts of other shapes or with values that the units can't take.
        """
        if not all(isinstance(number, (int, np.integer)) and number >= 1 for number in (n, steps)):
            raise ValueError(f"found n={n}, steps={steps}; expected whole numbers >= 1")
        betas = sampling.temperatures(self, steps, beta)
        if start is None and self.visible_units.replicated:
            raise ValueError("word counts are sampled at given document lengths; write start=counts of documents so long")
        self.require_finite()
        return sampling.gibbs(self, n, clamp, start, betas, means, seed)

    def add_statistics_(
        self,
        gradient: Parameters,
        states: Sequence[Array],
        factor: float,
        beta: float = 1.0,
        centers: Sequence[Array] | None = None,
        weights: Array | None = None,
        minus: Sequence[Array] | None = None,
    ) -> None:
        """gradient = beta gradient + factor * mean over the rows of -dE/dparameters at `states`, or with `weights` (rows,) their
        weighted sum; with the states `minus`, which have no weights, factor times the difference from the mean at those.

        With `centers`, one offset (size,) a layer, the gradient is the centered one: W's from x - center, and from the bias's the part
        that W's takes over is subtracted (Melchior, Fischer, Wiskott 2016, "How to center deep Boltzmann machines", equations 8
        to 10), in a form that holds for the difference of two calls with opposite factors. Stored parameters stay uncentered.
        """
        if minus is not None and weights is not None:
            raise ValueError("found weights and minus; the rows of a difference have no weights: write two calls")
        phases = [list(states)] if minus is None else [list(states), list(minus)]
        rows = [phase[0].shape[0] for phase in phases]
        if not all(rows):
            raise ValueError("found states of no rows; expected at least one row, over which the statistics are averaged")
        factors = [factor / rows[0], *(-factor / n for n in rows[1:])] if weights is None else [factor]

        def weighted(x: Array) -> Array:
            return x if weights is None else x * weights[:, None]

        # what is summed over the rows, by the parameter whose gradient it is: a term from each phase
        sums: dict[str, list[Array]] = {}
        for phase in phases:
            for i, x in enumerate(phase):
                for name, value in self.layers[i].units.statistics(x).items():
                    sums.setdefault(f"{name}.{i}", []).append(weighted(value))
            if centers is not None:
                phase[:] = [x - center for x, center in zip(phase, centers, strict=True)]
            for i, x in enumerate(phase):
                for repeats in self._repeats(i, phase):
                    x = x * repeats[:, None]
                sums.setdefault(f"bias.{i}", []).append(weighted(x))
        ratio = 0.0 if minus is None else -rows[0] / rows[1]
        add_row_sums([(gradient[name], terms) for name, terms in sums.items()], factors[0], ratio, beta)
        for phase, scale, share in zip(phases, factors, (beta, 1.0), strict=False):
            for c in self.connections:
                lower, upper = weighted(phase[c.lower]), phase[c.upper]
                gemm(lower.T, upper, gradient[c.name], alpha=scale, beta=share, precision=self.precision)
                if centers is None:
                    continue
                # a bias loses dW times the other layer's center, computed from the rows: dW itself carries momentum here
                for this, x, other, y in ((c.lower, lower, c.upper, upper), (c.upper, upper, c.lower, lower)):
                    along = gemm(y, centers[other][:, None], precision=self.precision)
                    gemm(along.T, x, gradient[f"bias.{this}"][None], alpha=-scale, beta=1.0, precision=self.precision)

    def check_states(self, layer: int, states: Array, name: str) -> None:
        """Raise unless `states` are (rows, size) of this machine's dtype on its device. Reads no values."""
        device = device_of(states)
        if device is not self.device:
            raise devices.MixedDevicesError(
                f"{name}: found an array of {device!r} for a machine on {self.device!r}; write model.device.asarray({name})"
            )
        size = self.layers[layer].units.size
        if states.ndim != 2 or states.shape[1] != size:
            hint = f"; write {name}.reshape(1, -1) for one row" if states.ndim == 1 else ""
            raise ValueError(f"{name}: found shape {states.shape}; expected (rows, {size}){hint}")
        if states.dtype != self.dtype:
            raise TypeError(f"{name}: found {states.dtype}; expected {self.dtype}: write {name}.astype({str(self.dtype)!r})")

    def config(self) -> dict[str, Any]:
        """What a file says of this machine, besides its parameters."""
        return {
            "layers": [layer.units.config() for layer in self.layers],
            "connections": [[c.lower, c.upper] for c in self.connections],
            "observed": list(self.observed),
            "dtype": str(self.dtype),
            "precision": self.precision,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], device: Device) -> Self:
        """The machine, with parameters of its own, that `config` describes."""
        layers = [from_config(layer) for layer in config["layers"]]
        connections = [(i, j) for i, j in config["connections"]]
        options = {"dtype": config["dtype"], "precision": config.get("precision"), "seed": config.get("seed", 0)}
        return cls(layers, connections, observed=config["observed"], device=device, **options)

    def __repr__(self) -> str:
        units = ", ".join(map(repr, (layer.units for layer in self.layers)))
        return f"{type(self).__name__}({units}, device={self.device.name!r}, dtype={str(self.dtype)!r})"


def _two_colors(layers: int, pairs: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """The layers in two blocks without connections inside a block; the first holds layer 0."""
    for k, (a, b) in enumerate(pairs):
        if not {a, b} <= set(range(layers)):
            raise ValueError(
                f"found connection {(a, b)} in a machine of {layers} layers; expected numbers from 0 to {layers - 1}"
            )
        if {a, b} in map(set, pairs[:k]):
            raise ValueError(f"layers {min(a, b)} and {max(a, b)} are connected twice in {pairs}; give one of the two")
    color: dict[int, int] = {}
    for start in range(layers):
        if not any(start in pair for pair in pairs):
            raise ValueError(f"layer {start} of {layers} has no connection in {pairs}; every layer needs one")
        queue = [start] if start not in color else []
        color.setdefault(start, 0)
        while queue:
            i = queue.pop()
            for a, b in pairs:
                if i in (a, b):
                    other = b if i == a else a
                    if other not in color:
                        color[other] = 1 - color[i]
                        queue.append(other)
                    elif color[other] == color[i]:
                        raise ValueError(f"connection {(a, b)} closes an odd cycle: no two blocks can be swept in turn")
    return [i for i in range(layers) if not color[i]], [i for i in range(layers) if color[i]]
