"""Maxout: the largest of several linear functions."""

from __future__ import annotations

import math
from typing import Any

from ebm.compute.device import Array, device_of
from ebm.compute.gemm import Precision, gemm
from ebm.compute.random import Stream
from ebm.units.base import positive

from ..gradient import Gradient
from ..initializers import Glorot, Initializer, as_initializer
from .base import Backprop, Layer, Shape


class Maxout(Layer):
    """y_j = max_k (x W_k + b_k)_j over `pieces` linear functions of `size` outputs: a convex function that is learned.

    `weights` (in, pieces size) are W_1, ..., W_pieces side by side, `bias` (pieces size,). The derivative goes to the first of equal
    pieces. (Goodfellow, Warde-Farley, Mirza, Courville, Bengio 2013, "Maxout networks".) Raises `ValueError` for rows that are no vectors.
    """

    def __init__(self, size: int, pieces: int = 2, *, initial: Initializer = Glorot(), precision: Precision = None) -> None:
        super().__init__()
        self.size, self.pieces = positive("size", size), positive("pieces", pieces)
        self.initial, self.precision = as_initializer(initial), precision

    def shape_after(self, inputs: Shape) -> Shape:
        """(size,)."""
        if len(inputs) != 1:
            raise ValueError(
                f"found rows of shape {inputs} before {self}; expected vectors: put Reshape({math.prod(inputs)}) before it"
            )
        return (self.size,)

    def shapes(self, inputs: Shape) -> dict[str, Shape]:
        """`weights` (in, pieces size) and `bias` (pieces size,)."""
        outputs = self.pieces * self.size
        return {"weights": (inputs[0], outputs), "bias": (outputs,)}

    def initialize_(self, stream: Stream) -> None:
        """Weights by `initial`, each piece as one layer of `size` units; biases zero."""
        weights = self.own["weights"]
        self.initial.fill_(weights, weights.shape[0], self.size, stream)
        self.own["bias"][...] = 0

    def forward(self, x: Array, training: Stream | None) -> tuple[Array, Backprop]:
        """y (rows, size)."""
        weights, rows = self.own["weights"], x.shape[0]
        z = gemm(x, weights, beta=1.0, precision=self.precision, row=self.own["bias"])
        pieces = z.reshape(rows, self.pieces, self.size)
        y = pieces.max(axis=1)

        def backprop(dy: Array, gradient: Gradient | None = None, through: bool = True) -> Array:
            dz, left = device_of(x).empty(pieces.shape, x.dtype), dy.copy()
            for k in range(self.pieces):
                dz[:, k] = (pieces[:, k] == y) * left
                left -= dz[:, k]  # nothing for a later piece that is as large
            dz = dz.reshape(z.shape)
            if gradient is not None:
                gradient.add_product(self.names["weights"], x.T, dz, self.precision)
                gradient.add_sum(self.names["bias"], dz)
            return gemm(dz, weights.T, precision=self.precision) if through else None

        return y, backprop

    def arguments(self) -> dict[str, Any]:
        """What the constructor was given, besides the initializer, which a file doesn't need."""
        return {"size": self.size, "pieces": self.pieces} | ({"precision": self.precision} if self.precision else {})
