"""Network: layers in a row, with their parameters in one buffer."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np

from ebm import storage
from ebm.compute import device as devices
from ebm.compute.device import Array, Device
from ebm.compute.random import Stream
from ebm.data.minibatches import dense
from ebm.training.divergence import DivergenceError
from ebm.training.parameters import Parameters
from ebm.units.base import positive

from .gradient import Gradient
from .layers import Backprop, Dense, Layer, Shape, from_config

# Rows that are evaluated at once when a method walks through a data set, fewer where a layer has many outputs, as convolutions do.
_BLOCK, _NUMBERS = 1000, 10**7


class Network(storage.Described):
    """`layers` one after the other, for rows of `inputs` numbers (or of this shape).

    `layers[k]` are bound copies of those given, to be called one by one, and `parameters` their arrays, named "k.weights", "k.bias" and so
    on, in one buffer on `device`. The network is called like a layer:

    >>> network = Network([Dense(3), Dense(2)], inputs=4, device="cpu")
    >>> y, backprop = network(np.ones((5, 4), np.float32))
    >>> y.shape, backprop(np.ones_like(y)).shape
    ((5, 2), (5, 4))

    Raises `ValueError` for layers that don't chain; the message shows the chain up to there.
    """

    def __init__(
        self,
        layers: Iterable[Layer],
        inputs: int | Shape,
        *,
        device: str | Device = "auto",
        dtype: Any = "float32",
        seed: int | None = 0,
    ) -> None:
        self.device, self.dtype = devices.get(device), np.dtype(dtype)
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise TypeError(f"found dtype={dtype!r}; expected 'float32' or 'float64'")
        sizes = (inputs,) if isinstance(inputs, (int, np.integer)) else tuple(inputs)
        self.inputs: Shape = tuple(positive("inputs", size) for size in sizes)
        described = list(layers)
        if not described:
            raise ValueError("found no layers; expected at least one")
        for layer in described:
            if not isinstance(layer, Layer):
                raise TypeError(
                    f"found {layer!r} among the layers; expected layers of neural.layers, such as Dense(10) or ReLU()"
                )
        shapes: dict[str, Shape] = {}
        chain, shape, before = str(self.inputs), self.inputs, [self.inputs]
        for k, layer in enumerate(described):
            try:
                following = layer.shape_after(shape)
                shapes |= {f"{k}.{name}": s for name, s in layer.shapes(shape).items()}
            except ValueError as error:
                raise ValueError(f"layer {k} does not fit: {error}\n  the chain so far: {chain} -> {layer}") from error
            chain, shape = f"{chain} -> {layer} -> {following}", following
            before.append(following)
        self.outputs, self._before = shape, before
        parameters = Parameters(shapes, self.dtype, self.device)
        for k, layer in enumerate(described):
            for name in layer.still():
                parameters.segments[f"{k}.{name}"].frozen = True
        try:
            self._bind(described, parameters)
        except ValueError as error:
            raise ValueError(f"{error}\n  the chain: {chain}") from error
        stream = Stream(seed, "weights", self.device)
        self.seed = stream.seed
        for layer in self.layers:
            layer.initialize_(stream)

    def _bind(self, layers: Sequence[Layer], parameters: Parameters) -> None:
        """Make the layers views into `parameters`."""
        self.parameters, self.layers = parameters, list[Layer]()
        for k, layer in enumerate(layers):
            names = {name: f"{k}.{name}" for name in layer.shapes(self._before[k])}
            if isinstance(layer, Dense) and layer.tied_to is not None:
                other = layer.tied_to
                if not 0 <= other < k or f"{other}.weights" not in parameters.segments:
                    raise ValueError(
                        f"layer {k}, {layer}: found no weights in layer {other}; expected an earlier Dense with its own"
                    )
                names["weights"] = f"{other}.weights"
            own = {name: parameters[full] for name, full in names.items()}
            self.layers.append(layer.bound(self._before[k], own, names))

    def with_parameters(self, parameters: Parameters) -> Self:
        """A network like this one over other parameters of the same layout."""
        network = copy.copy(self)
        network._bind(self.layers, parameters)
        return network

    def __call__(
        self, x: Array, training: Stream | None = None, first: int = 0, last: int | None = None
    ) -> tuple[Array, Backprop]:
        """y of the layers first, ..., last - 1 (by default all), and the backward pass through them."""
        passes: list[Backprop] = []
        for layer in self.layers[first:last]:
            # running means are parameters too: they stand still with a frozen layer
            x, backprop = layer(x, training if self._learns(layer) or not layer.names else None)
            passes.append(backprop)

        lowest = self.fixed - first

        def through_all(dy: Array, gradient: Gradient | None = None, through: bool = True) -> Array:
            # below the lowest layer that learns there is nothing to do, unless dL/dx is asked for
            for k in range(len(passes) - 1, -1 if through else max(lowest, 0) - 1, -1):
                dy = passes[k](dy, gradient, through or k > lowest)
            return dy

        return x, through_all

    @property
    def fixed(self) -> int:
        """How many layers at the beginning have nothing to learn."""
        return next((k for k, layer in enumerate(self.layers) if self._learns(layer)), len(self.layers))

    def _learns(self, layer: Layer) -> bool:
        return any(not self.parameters.segments[name].frozen for name in layer.names.values())

    def evaluate(self, rows: Any, first: int = 0, last: int | None = None) -> np.ndarray:
        """y of a host array (rows, ...), on the host, computed in blocks. Raises `ValueError` for rows of another size, `DivergenceError`
        where y isn't finite because the parameters aren't."""
        shape = self._before[first]
        if math.prod(rows.shape[1:]) != math.prod(shape):
            raise ValueError(f"found rows of shape {tuple(rows.shape[1:])} before layer {first}; expected {shape}")
        block = max(1, min(_BLOCK, _NUMBERS // max(map(math.prod, self._before))))
        found = []
        for start in range(0, max(rows.shape[0], 1), block):
            x = self.device.asarray(dense(rows[start : start + block]), self.dtype)
            y = self.device.to_host(self(x.reshape(x.shape[0], *shape), None, first, last)[0])
            if not np.isfinite(y).all() and not np.isfinite(self.device.to_host(self.parameters.buffer)).all():
                raise DivergenceError(
                    "found parameters that are not finite: training has diverged; train a new network at a lower learning rate, or go on "
                    "from a checkpoint"
                )
            found.append(y)
        return np.concatenate(found)

    def freeze(self, *layers: int, frozen: bool = True) -> None:
        """Let the parameters of these layers stand still in training, or with `frozen=False` learn again; the running means of a BatchNorm
        stand still too, and are what it uses."""
        for k in layers:
            self._numbered(k)
            still = self.layers[k].still()
            for name, full in self.layers[k].names.items():
                self.parameters.segments[full].frozen = frozen or name in still

    def _numbered(self, layer: int) -> None:
        """Raise `ValueError` unless there is a layer of this number."""
        if not 0 <= layer < len(self.layers):
            raise ValueError(f"found layer {layer} of {len(self.layers)}; expected 0 to {len(self.layers) - 1}")

    def copy_layer_(self, layer: int, source: Network, number: int) -> None:
        """Take over the parameters of layer `number` of another network. Raises `ValueError` for other names or shapes."""
        for network, k in ((self, layer), (source, number)):
            network._numbered(k)
        mine, theirs = self.layers[layer].own, source.layers[number].own
        found, expected = ({name: x.shape for name, x in own.items()} for own in (theirs, mine))
        if found != expected:
            raise ValueError(f"found parameters {found} in layer {number} of the source; layer {layer} has {expected}")
        for name, x in mine.items():
            x[...] = self.device.asarray(source.device.to_host(theirs[name]), self.dtype)

    def config(self) -> dict[str, Any]:
        """What a file says of this network, besides its parameters."""
        frozen = [name for name, segment in self.parameters.segments.items() if segment.frozen]
        return {
            "layers": [layer.config() for layer in self.layers],
            "inputs": self.inputs,
            "dtype": str(self.dtype),
            "frozen": frozen,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], device: Device) -> Self:
        """The network, with parameters of its own, that `config` describes."""
        layers = [from_config(layer) for layer in config["layers"]]
        network = cls(layers, tuple(config["inputs"]), device=device, dtype=config["dtype"], seed=config["seed"])
        for name in config["frozen"]:
            network.parameters.segments[name].frozen = True
        return network

    def __repr__(self) -> str:
        inputs = self.inputs[0] if len(self.inputs) == 1 else self.inputs
        return f"Network({inputs} -> {' -> '.join(map(repr, self.layers))}, device={self.device.name!r}, dtype={str(self.dtype)!r})"
