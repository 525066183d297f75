"""Dropout and BatchNorm: what differs between training and evaluation."""

from __future__ import annotations

import math
from typing import Any

from ebm.compute.device import Array, device_of
from ebm.compute.random import Stream

from ..gradient import Gradient
from .base import Backprop, Layer, Shape


class Dropout(Layer):
    """In training each element is zero with probability `rate`, and the others are divided by 1 - rate; in evaluation y = x.

    Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting", in its inverted form.
    """

    differs = True

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"found Dropout(rate={rate}); expected 0 <= rate < 1")
        self.rate = rate

    def shape_after(self, inputs: Shape) -> Shape:
        """That of the inputs."""
        return inputs

    def forward(self, x: Array, training: Stream | None) -> tuple[Array, Backprop]:
        """y of the shape of x."""
        if training is None or self.rate == 0:
            return x, lambda dy, gradient=None, through=True: dy
        rows = (x.shape[0], math.prod(x.shape[1:]))
        mask = (training.uniform(rows, x.dtype) >= self.rate).astype(x.dtype).reshape(x.shape)
        mask *= x.dtype.type(1 / (1 - self.rate))
        return mask * x, lambda dy, gradient=None, through=True: mask * dy

    def arguments(self) -> dict[str, Any]:
        """The rate."""
        return {"rate": self.rate}


class BatchNorm(Layer):
    """y = scale (x - mean) / sqrt(variance + epsilon) + shift, per channel, the last axis; mean and variance are those of the batch in
    training, running means of them in evaluation.

    `momentum` is the share of the running means that a batch replaces. (Ioffe & Szegedy 2015, "Batch normalization".) Raises `ValueError`
    in training for one row of vectors, which has no variance.
    """

    differs = True

    def __init__(self, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        if not 0 < momentum <= 1 or not epsilon > 0:
            raise ValueError(
                f"found BatchNorm(momentum={momentum}, epsilon={epsilon}); expected 0 < momentum <= 1 and epsilon > 0"
            )
        self.momentum, self.epsilon = momentum, epsilon

    def shape_after(self, inputs: Shape) -> Shape:
        """That of the inputs."""
        return inputs

    def shapes(self, inputs: Shape) -> dict[str, Shape]:
        """`scale`, `shift` and the running `mean` and `variance`, (channels,) each."""
        return dict.fromkeys(("scale", "shift", "mean", "variance"), inputs[-1:])

    def still(self) -> set[str]:
        """The running means."""
        return {"mean", "variance"}

    def initialize_(self, stream: Stream) -> None:
        """No change: scale and variance 1, shift and mean 0."""
        for name, value in (("scale", 1), ("shift", 0), ("mean", 0), ("variance", 1)):
            self.own[name][...] = value

    def forward(self, x: Array, training: Stream | None) -> tuple[Array, Backprop]:
        """y of the shape of x."""
        device, own = device_of(x), self.own
        rows = x.reshape(-1, x.shape[-1])
        n = rows.shape[0]
        if training is None:
            mean, variance = own["mean"], own["variance"]
        else:
            if n < 2:
                raise ValueError(
                    f"{self}: found one row in training, which has no variance; expected batches of two rows or more: write a larger "
                    f"batch_size"
                )
            mean = rows.mean(axis=0)
            variance = ((rows - mean) ** 2).mean(axis=0)
            share = x.dtype.type(self.momentum)
            for name, value in (("mean", mean), ("variance", variance * x.dtype.type(n / (n - 1)))):
                own[name][...] += share * (value - own[name])
        scale = own["scale"] / device.xp.sqrt(variance + x.dtype.type(self.epsilon))
        normalized = (rows - mean) / device.xp.sqrt(variance + x.dtype.type(self.epsilon))
        y = (own["scale"] * normalized + own["shift"]).reshape(x.shape)

        def backprop(dy: Array, gradient: Gradient | None = None, through: bool = True) -> Array:
            d = dy.reshape(rows.shape)
            along = (d * normalized).sum(axis=0)
            total = d.sum(axis=0)
            if gradient is not None:
                gradient.add(self.names["scale"], along)
                gradient.add(self.names["shift"], total)
            if training is None:
                return (scale * d).reshape(x.shape)
            share = x.dtype.type(1 / n)
            return (scale * (d - share * total - share * normalized * along)).reshape(x.shape)

        return y, backprop

    def arguments(self) -> dict[str, Any]:
        """Momentum and epsilon."""
        return {"momentum": self.momentum, "epsilon": self.epsilon}
