"""BoltzmannMachine: layers of units and connections between them, swept in two blocks.

An RBM, a DBM and a multimodal DBM are all this: a graph of layers with two colors. The energy of a state x is

    E(x) = sum_i energy_i(x_i; bias_i) - sum_(i,j) x_i W_ij x_j,

and the field of a layer, all others given, is bias_i + sum_j x_j W_ji. Layers of one color don't see each other, so a sweep updates
all of them at once, then all of the other.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from .compute import device as devices
from .compute.device import Array, Device, device_of
from .compute.gemm import Precision, gemm
from .compute.random import Stream
from .training.parameters import Parameters
from .units import Units, as_units

Verb = Literal["sample", "mean", "mode"]
# For a layer, which units are held (boolean or 0/1, rows x size or broadcast to it) and at which values.
Clamp = tuple[Array, Array]


@dataclass(frozen=True)
class Layer:
    """Units and their bias, (size,), a view into the machine's parameters."""

    units: Units
    bias: Array


@dataclass(frozen=True)
class Connection:
    """Weights (lower size, upper size) between two layers, a view into the machine's parameters."""

    lower: int
    upper: int
    name: str
    weights: Array


class BoltzmannMachine:
    """Layers (units, or numbers of Bernoulli units) joined by connections (pairs of layer numbers; a chain by default).

    Weights start as N(0, 0.01^2) draws of `seed`, biases as zeros. `precision="bfloat16"` rounds the operands of products.

    Raises `ValueError` when the connections can't be colored with two colors (such a machine has no two-block sweep).
    """

    def __init__(
        self,
        layers: Sequence[int | Units],
        connections: Sequence[tuple[int, int]] | None = None,
        *,
        device: str | Device = "auto",
        dtype: Any = "float32",
        seed: int | None = 0,
        precision: Precision = None,
    ) -> None:
        self.device = devices.get(device)
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise TypeError(f"found dtype={dtype!r}; expected 'float32' or 'float64'")
        if precision not in (None, "bfloat16") or (precision and self.dtype != np.float32):
            raise ValueError(f"found precision={precision!r} with dtype={dtype!r}; expected None, or 'bfloat16' with 'float32'")
        self.precision: Precision = precision
        units = [as_units(layer) for layer in layers]
        for i, u in enumerate(units):
            if u.replicated and i > 0:
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
            connection.weights[...] *= self.dtype.type(0.01)

    def _bind(self, parameters: Parameters, units: Sequence[Units], connections: Sequence[tuple[int, int, str]]) -> None:
        """Make layers and connections views into `parameters`."""
        self.parameters = parameters
        own = [{name: parameters[f"{name}.{i}"] for name in u.own_parameters()} for i, u in enumerate(units)]
        self.layers = [Layer(u.bound(own[i]), parameters[f"bias.{i}"]) for i, u in enumerate(units)]
        self.connections = [Connection(i, j, name, parameters[name]) for i, j, name in connections]
        self._joined = [
            [(c.upper, c.weights.T) for c in self.connections if c.lower == i]
            + [(c.lower, c.weights) for c in self.connections if c.upper == i]
            for i in range(len(units))
        ]

    def with_parameters(self, parameters: Parameters) -> Self:
        """A machine like this one over other parameters of the same layout (see `Parameters.over`)."""
        machine = copy.copy(self)
        machine._bind(
            parameters, [layer.units for layer in self.layers], [(c.lower, c.upper, c.name) for c in self.connections]
        )
        return machine

    @property
    def full_precision(self) -> Self:
        """This machine, sharing its parameters, without rounded products: a partition function is that of the weights as they are."""
        machine = copy.copy(self)
        machine.precision = None
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
            if "log_precision" in self.layers[i].units.own:
                log_precision = self.device.to_host(self.layers[i].units.own["log_precision"]).astype(np.float64)
                weights *= np.expand_dims(np.exp(-0.5 * log_precision), axis)
        return weights

    def field(self, layer: int, states: Sequence[Array], beta: float = 1.0) -> Array:
        """beta (bias_i + sum_j x_j W_ji), shape (rows, size), from the states of the layers that it is connected with.

        The bias counts once for each draw of a connected layer of counts (see `ReplicatedSoftmax`).
        """
        joined = self._joined[layer]
        field = self.device.empty((states[joined[0][0]].shape[0], self.layers[layer].units.size), self.dtype)
        bias = self.layers[layer].bias
        field[...] = bias if beta == 1 else self.dtype.type(beta) * bias
        for repeats in self._repeats(layer, states):
            field *= repeats[:, None]
        for other, weights in joined:
            gemm(states[other], weights, field, alpha=beta, beta=1.0, precision=self.precision)
        return field

    def _repeats(self, layer: int, states: Sequence[Array]) -> list[Array]:
        """The numbers of draws, (rows,) each, of the connected layers that have them."""
        counted = [(other, self.layers[other].units) for other, _ in self._joined[layer]]
        return [r for other, units in counted if units.replicated and (r := units.repeats(states[other])) is not None]

    def energy(self, states: Sequence[Array]) -> Array:
        """E(x), (rows,) nats."""
        energy = self.device.zeros(states[0].shape[0], self.dtype)
        for i, (layer, x) in enumerate(zip(self.layers, states, strict=True)):
            energy += layer.units.energy(x, layer.bias)
            for repeats in self._repeats(i, states):
                energy -= (repeats - 1) * gemm(x, layer.bias[:, None])[:, 0]
        for c in self.connections:
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

    def add_statistics_(
        self,
        gradient: Parameters,
        states: Sequence[Array],
        factor: float,
        beta: float = 1.0,
        centers: Sequence[Array] | None = None,
        weights: Array | None = None,
    ) -> None:
        """gradient = beta gradient + factor * mean over the rows of -dE/dparameters at `states`, or with `weights` (rows,) their
        weighted sum.

        With `centers`, one offset (size,) a layer, the gradient is the centered one: W's from x - center, and from the bias's the part
        that W's takes over is subtracted (Melchior, Fischer, Wiskott 2016, "How to center deep Boltzmann machines", equations 8
        to 10), in a form that holds for the difference of two calls with opposite factors. Stored parameters stay uncentered.
        """
        rows = states[0].shape[0]
        if not rows:
            raise ValueError("found states of no rows; expected at least one row, over which the statistics are averaged")
        scale = factor / rows if weights is None else factor
        for i, x in enumerate(states):
            for name, value in self.layers[i].units.statistics(x).items():
                _accumulate(gradient[f"{name}.{i}"], _total(value, weights), scale, beta)
        if centers is not None:
            states = [x - center for x, center in zip(states, centers, strict=True)]
        for i, x in enumerate(states):
            for repeats in self._repeats(i, states):
                x = x * repeats[:, None]
            _accumulate(gradient[f"bias.{i}"], _total(x, weights), scale, beta)
        for c in self.connections:
            lower, upper = states[c.lower], states[c.upper]
            if weights is not None:
                lower = lower * weights[:, None]
            gemm(lower.T, upper, gradient[c.name], alpha=scale, beta=beta, precision=self.precision)
            if centers is not None:
                # a bias loses dW times the other layer's center, computed from the rows: dW itself carries momentum here
                for this, x, other, y in ((c.lower, lower, c.upper, upper), (c.upper, upper, c.lower, lower)):
                    along = gemm(y, centers[other][:, None], precision=self.precision)
                    _accumulate(gradient[f"bias.{this}"], gemm(along.T, x, precision=self.precision)[0], -scale)

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
            "dtype": str(self.dtype),
            "precision": self.precision,
        }

    def __repr__(self) -> str:
        units = ", ".join(map(repr, (layer.units for layer in self.layers)))
        return f"{type(self).__name__}({units}, device={self.device.name!r}, dtype={str(self.dtype)!r})"


def _total(rows: Array, weights: Array | None) -> Array:
    return rows.sum(axis=0) if weights is None else gemm(weights[None], rows)[0]


def _accumulate(target: Array, value: Array, scale: float, beta: float = 1.0) -> None:
    """target = beta target + scale value; with beta = 0, what was in target doesn't matter (as in `gemm`)."""
    if beta == 0:
        target[...] = 0
    elif beta != 1:
        target *= target.dtype.type(beta)
    target += target.dtype.type(scale) * value


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
