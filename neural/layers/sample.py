"""GaussianSample: a draw from the normal distribution that a layer gives."""

from __future__ import annotations

from ebm.compute.device import Array, device_of
from ebm.compute.random import Stream

from ..gradient import Gradient
from ..kernels import gaussian_draw, gaussian_slope
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
        size, device = x.shape[1] // 2, device_of(x)
        if training is None:
            mean = x[:, :size].copy()
            return mean, lambda dy, gradient=None, through=True: device.xp.concatenate([dy, 0 * dy], axis=1)
        noise = training.normal((x.shape[0], size), x.dtype)
        y = device.empty(noise.shape, x.dtype)
        gaussian_draw(x, noise, y)

        def backprop(dy: Array, gradient: Gradient | None = None, through: bool = True) -> Array:
            dx = device.empty(x.shape, x.dtype)
            gaussian_slope(noise, device.asarray(dy), dx)
            return dx

        return y, backprop
