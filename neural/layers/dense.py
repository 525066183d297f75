"""Dense: a matrix of weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

from ebm.compute.device import Array
from ebm.compute.gemm import Precision, gemm
from ebm.compute.random import Stream
from ebm.units.base import positive

from ..gradient import Gradient
from ..initializers import Glorot, Initializer, as_initializer
from .base import Backprop, Layer, Shape


class Dense(Layer):
    """y = x W + b for rows x (rows, in): `weights` (in, out), `bias` (out,).

    `tied_to=k` uses the transposed weights of layer k of the network, y = x W_k^T + b, and has only a bias of its own; its gradient adds to
    that of W_k. `initial` sets the weights, Glorot by default; biases start at zero.
    """

    def __init__(
        self,
        size: int,
        *,
        tied_to: int | None = None,
        bias: bool = True,
        initial: Initializer = Glorot(),
        precision: Precision = None,
    ) -> None:
        super().__init__()
        self.size = positive("size", size)
        self.tied_to, self.bias, self.initial, self.precision = tied_to, bias, as_initializer(initial), precision

    def shape_after(self, inputs: Shape) -> Shape:
        """(size,)."""
        if len(inputs) != 1:
            raise ValueError(
                f"found rows of shape {inputs} before {self}; expected vectors: put Reshape({math.prod(inputs)}) before it"
            )
        return (self.size,)

    def shapes(self, inputs: Shape) -> dict[str, Shape]:
        """`weights` (in, out), unless they are another layer's, and `bias` (out,)."""
        weights = {} if self.tied_to is not None else {"weights": (inputs[0], self.size)}
        return weights | ({"bias": (self.size,)} if self.bias else {})

    def bound(self, inputs: Shape, own: Mapping[str, Array], names: Mapping[str, str]) -> Self:
        """A copy with these parameters; the network adds those of the layer it is tied to."""
        if "weights" in own:
            expected = (self.size, inputs[0]) if self.tied_to is not None else (inputs[0], self.size)
            if own["weights"].shape != expected:
                found = own["weights"].shape
                raise ValueError(
                    f"found weights {found} of layer {self.tied_to} for {self} after rows of {inputs[0]}; expected {expected}"
                )
        return super().bound(inputs, own, names)

    def initialize_(self, stream: Stream) -> None:
        """Weights by `initial`, biases zero."""
        if self.tied_to is None:
            weights = self.own["weights"]
            self.initial.fill_(weights, weights.shape[0], weights.shape[1], stream)
        if self.bias:
            self.own["bias"][...] = 0

    def forward(self, x: Array, training: Stream | None) -> tuple[Array, Backprop]:
        """y (rows, out)."""
        weights, tied = self.own["weights"], self.tied_to is not None
        factor = weights.T if tied else weights
        y = gemm(x, factor, beta=float(self.bias), precision=self.precision, row=self.own.get("bias"))

        def backprop(dy: Array, gradient: Gradient | None = None, through: bool = True) -> Array:
            if gradient is not None:
                a, b = (dy.T, x) if tied else (x.T, dy)
                gradient.add_product(self.names["weights"], a, b, self.precision)
                if self.bias:
                    gradient.add_sum(self.names["bias"], dy)
            return gemm(dy, factor.T, precision=self.precision) if through else None

        return y, backprop

    def arguments(self) -> dict[str, Any]:
        """What the constructor was given, besides the initializer, which a file doesn't need."""
        given: dict[str, Any] = {"size": self.size}
        if self.tied_to is not None:
            given["tied_to"] = self.tied_to
        if not self.bias:
            given["bias"] = False
        if self.precision:
            given["precision"] = self.precision
        return given
