"""Reshape: rows of another shape."""

from __future__ import annotations

import math
from typing import Any

from ebm.compute.device import Array
from ebm.compute.random import Stream
from ebm.units.base import positive

from .base import Backprop, Layer, Shape


class Reshape(Layer):
    """Rows of x in another shape with as many elements: `Reshape(28, 28, 1)` makes images, channels last, `Reshape(784)` vectors."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = tuple(positive("shape", size) for size in shape)

    def shape_after(self, inputs: Shape) -> Shape:
        """`shape`."""
        if math.prod(inputs) != math.prod(self.shape):
            raise ValueError(
                f"found rows of shape {inputs}, {math.prod(inputs)} elements, before {self}; expected {math.prod(self.shape)}"
            )
        return self.shape

    def forward(self, x: Array, training: Stream | None) -> tuple[Array, Backprop]:
        """y (rows, *shape)."""
        return x.reshape(x.shape[0], *self.shape), lambda dy, gradient=None, through=True: dy.reshape(x.shape)

    def arguments(self) -> dict[str, Any]:
        """The shape."""
        return {"shape": list(self.shape)}

    def __repr__(self) -> str:
        return f"Reshape({', '.join(map(str, self.shape))})"
