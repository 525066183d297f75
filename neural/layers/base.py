"""What a layer is: a function that returns its own backward pass."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

from ebm.compute.device import Array
from ebm.compute.random import Stream

from ..gradient import Gradient

Shape = tuple[int, ...]


class Backprop(Protocol):
    """The backward pass of one call of a layer."""

    def __call__(self, dy: Array, gradient: Gradient | None = None, through: bool = True) -> Array:
        """dL/dx from dL/dy, or None with `through=False`; adds dL/dparameters to `gradient` where one is given."""


class Layer(ABC):
    """A layer of a network, called as

        y, backprop = layer(x, training=stream);   dx = backprop(dy, gradient)

    on rows `x` (rows, *inputs). `training` is a stream of random numbers in training, None in evaluation. Nothing of a call stays on the
    layer: what the backward pass needs lies in `backprop`.

    A layer that was just made is a description. A network holds copies of its layers, made by `bound`, that know the shape of
    their rows (`inputs`, `outputs`) and whose parameters (`own`) are views into the network's.
    """

    inputs: Shape | None = None
    outputs: Shape | None = None
    # Whether a call in training differs from one in evaluation.
    differs: ClassVar[bool] = False

    def __init__(self) -> None:
        self.own: Mapping[str, Array] = {}
        self.names: Mapping[str, str] = {}

    @abstractmethod
    def shape_after(self, inputs: Shape) -> Shape:
        """The shape of a row of y for rows of x of this shape. Raises `ValueError` for shapes that don't fit."""

    def shapes(self, inputs: Shape) -> dict[str, Shape]:
        """The layer's parameters by name."""
        return {}

    def still(self) -> set[str]:
        """The names of those that are not trained by gradients."""
        return set()

    def initialize_(self, stream: Stream) -> None:  # noqa: B027 - most layers have nothing to set
        """Set the parameters of a bound layer to where training starts."""

    def bound(self, inputs: Shape, own: Mapping[str, Array], names: Mapping[str, str]) -> Self:
        """A copy for rows of this shape with these parameters, called `names` by the network."""
        layer = copy.copy(self)
        layer.inputs, layer.outputs, layer.own, layer.names = inputs, self.shape_after(inputs), own, names
        return layer

    def __call__(self, x: Array, training: Stream | None = None) -> tuple[Array, Backprop]:
        """y (rows, *outputs) and the backward pass."""
        if self.inputs is None:
            raise TypeError(f"found {self} outside of a network; write Network([{self}], inputs=...).layers[0]")
        if tuple(x.shape[1:]) != self.inputs:
            raise ValueError(f"{self}: found x of shape {tuple(x.shape)}; expected (rows, {', '.join(map(str, self.inputs))})")
        return self.forward(x, training)

    @abstractmethod
    def forward(self, x: Array, training: Stream | None) -> tuple[Array, Backprop]:
        """`__call__` on rows of the right shape."""

    def arguments(self) -> dict[str, Any]:
        """What the constructor was given."""
        return {}

    def config(self) -> dict[str, Any]:
        """What a file says of this layer."""
        return {"layer": type(self).__name__, **self.arguments()}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.arguments().items())})"
