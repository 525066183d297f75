"""GaussianSample: a draw from the normal distribution that a layer gives."""

from __future__ import annotations

from ebm.compute.device import Array, device_of
from ebm.compute.random import Stream

from ..gradient import Gradient
from .base import Backprop, Layer, Shape


class GaussianSample(Layer):
    """y = mean + e^(log_variance / 2) noise with noise ~ N(0, 1), for rows x = (mean, log_variance); in evaluation y = mean.

    Kingma & Welling 2014, "Auto-encoding variational Bayes", section 2.4.
    """

    differs = True

    def shape_after(self, inputs: Shape) -> Shape:
        """Half of the inputs."""
        if len(inputs) != 1 or inputs[0] % 2:
            raise ValueError(
                f"found rows of shape {inputs} before {self}; expected vectors of even length, means and log-variances"
            )
        return (inputs[0] // 2,)

    def forward(self, x: Array, training: Stream | None) -> tuple[Array, Backprop]:
        """y (rows, inputs / 2)."""
        size, half, device = x.shape[1] // 2, x.dtype.type(0.5), device_of(x)
        y = x[:, :size].copy()
        scaled = None
        if training is not None:
            scaled = training.normal(y.shape, x.dtype)
            scaled *= device.xp.exp(half * x[:, size:])
            y += scaled

        def backprop(dy: Array, gradient: Gradient | None = None, through: bool = True) -> Array:
            return device.xp.concatenate([dy, 0 * dy if scaled is None else half * scaled * dy], axis=1)

        return y, backprop
