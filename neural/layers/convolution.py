"""Convolutions and what goes with them, on images (height, width, channels): rows are (rows, height, width, channels), channels last.

A convolution is a matrix product: `_patches` lays the window under each position of the kernel out as a row. Its adjoint `_overlaid` adds
such rows up to images again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ebm.compute.device import Array, device_of
from ebm.compute.gemm import Precision, gemm
from ebm.compute.kernels.windows import overlay, patches, positions
from ebm.compute.random import Stream
from ebm.units.base import positive

from ..gradient import Gradient
from ..initializers import Glorot, Initializer, as_initializer
from .base import Backprop, Layer, Shape


class _Convolution(Layer):
    """What a convolution and its adjoint have in common."""

    def __init__(
        self,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        initial: Initializer = Glorot(),
        precision: Precision = None,
    ) -> None:
        super().__init__()
        self.channels, self.kernel = positive("channels", channels), positive("kernel", kernel)
        self.stride, self.padding = positive("stride", stride), positive("padding", padding, least=0)
        self.bias, self.initial, self.precision = bias, as_initializer(initial), precision

    def _fans(self) -> tuple[int, int]:
        """How many numbers an output depends on and an input acts on, on average and far from the border."""
        raise NotImplementedError

    def initialize_(self, stream: Stream) -> None:
        """Weights by `initial`, biases zero."""
        self.initial.fill_(self.own["weights"], *self._fans(), stream)
        if self.bias:
            self.own["bias"][...] = 0

    def arguments(self) -> dict[str, Any]:
        """What the constructor was given, besides the initializer, which a file doesn't need."""
        defaults = {"stride": 1, "padding": 0, "bias": True, "precision": None}
        given = {name: getattr(self, name) for name, default in defaults.items() if getattr(self, name) != default}
        return {"channels": self.channels, "kernel": self.kernel, **given}


class Conv2D(_Convolution):
    """y[i, j] = sum_ab x[stride i + a - padding, stride j + b - padding] W_ab + bias, over a square kernel; beyond the border x is zero.

    `weights` (kernel kernel in, channels), row by row of the kernel, and `bias` (channels,). Images become
    (size + 2 padding - kernel) / stride + 1 high and wide; with `padding=kernel // 2` an odd kernel of stride 1 leaves them as they are.
    Raises `ValueError` for images that the stride doesn't divide so.
    """

    def shape_after(self, inputs: Shape) -> Shape:
        """(height, width, channels)."""
        return *_filled(self, inputs, self.kernel, self.stride, self.padding), self.channels

    def shapes(self, inputs: Shape) -> dict[str, Shape]:
        """`weights` (kernel kernel in, channels) and `bias` (channels,)."""
        weights: dict[str, Shape] = {"weights": (self.kernel**2 * inputs[-1], self.channels)}
        return weights | ({"bias": (self.channels,)} if self.bias else {})

    def _fans(self) -> tuple[int, int]:
        return self.own["weights"].shape[0], max(1, self.kernel**2 * self.channels // self.stride**2)

    def forward(self, x: Array, training: Stream | None) -> tuple[Array, Backprop]:
        """y (rows, height, width, channels)."""
        weights = self.own["weights"]
        windows = _patches(x, self.kernel, self.stride, self.padding)
        y = gemm(windows, weights, beta=float(self.bias), precision=self.precision, row=self.own.get("bias"))

        def backprop(dy: Array, gradient: Gradient | None = None, through: bool = True) -> Array:
            d = dy.reshape(y.shape)
            if gradient is not None:
                gradient.add_product(self.names["weights"], windows.T, d, self.precision)
                if self.bias:
                    gradient.add_sum(self.names["bias"], d)
            if not through:
                return None
            return _overlaid(gemm(d, weights.T, precision=self.precision), x.shape, self.kernel, self.stride, self.padding)

        return y.reshape(x.shape[0], *self.shape_after(x.shape[1:])), backprop


class ConvTranspose2D(_Convolution):
    """The adjoint of a convolution: y[stride i + a - padding, stride j + b - padding] gets x[i, j] W_ab from each i, j, and a bias.

    `weights` (in, kernel kernel channels) and `bias` (channels,): with W.T of a Conv2D of as many channels as x has, it is that layer's
    transpose, as a tied Dense is a Dense's. Images become stride (size - 1) + kernel - 2 padding high and wide: what such a Conv2D makes
    smaller gets its size back.
    """

    def shape_after(self, inputs: Shape) -> Shape:
        """(height, width, channels)."""
        height, width, _ = _image(self, inputs)
        size = [self.stride * (n - 1) + self.kernel - 2 * self.padding for n in (height, width)]
        if min(size) < 1:
            raise ValueError(
                f"found images {height} x {width} before {self}, which makes them {size[0]} x {size[1]}; expected at least 1 x 1: "
                "write a smaller padding"
            )
        return *size, self.channels

    def shapes(self, inputs: Shape) -> dict[str, Shape]:
        """`weights` (in, kernel kernel channels) and `bias` (channels,)."""
        weights: dict[str, Shape] = {"weights": (inputs[-1], self.kernel**2 * self.channels)}
        return weights | ({"bias": (self.channels,)} if self.bias else {})

    def _fans(self) -> tuple[int, int]:
        inputs, outputs = self.own["weights"].shape
        return max(1, self.kernel**2 * inputs // self.stride**2), outputs

    def forward(self, x: Array, training: Stream | None) -> tuple[Array, Backprop]:
        """y (rows, height, width, channels)."""
        weights, rows = self.own["weights"], x.reshape(-1, x.shape[-1])
        window = self.kernel, self.stride, self.padding
        y = _overlaid(gemm(rows, weights, precision=self.precision), (x.shape[0], *self.shape_after(x.shape[1:])), *window)
        if self.bias:
            y += self.own["bias"]

        def backprop(dy: Array, gradient: Gradient | None = None, through: bool = True) -> Array:
            windows = _patches(dy, *window)
            if gradient is not None:
                gradient.add_product(self.names["weights"], rows.T, windows, self.precision)
                if self.bias:
                    gradient.add_sum(self.names["bias"], dy.reshape(-1, self.channels))
            return gemm(windows, weights.T, precision=self.precision).reshape(x.shape) if through else None

        return y, backprop


class MaxPool(Layer):
    """The largest number of each window of `size` by `size`, channel by channel; windows lie `stride` apart, by default side by side.

    The derivative goes to the first of equal numbers, row by row. Raises `ValueError` for images that the windows don't fill.
    """

    def __init__(self, size: int = 2, stride: int | None = None) -> None:
        super().__init__()
        self.size = positive("size", size)
        self.stride = self.size if stride is None else positive("stride", stride)

    def shape_after(self, inputs: Shape) -> Shape:
        """(height, width, channels)."""
        return *_filled(self, inputs, self.size, self.stride, 0), inputs[-1]

    def forward(self, x: Array, training: Stream | None) -> tuple[Array, Backprop]:
        """y (rows, height, width, channels)."""
        device = device_of(x)
        y = device.empty((x.shape[0], *self.shape_after(x.shape[1:])), x.dtype)
        y[...] = -math.inf
        for a, b in _kernel(self.size):
            y[...] = device.xp.maximum(y, _under(x, a, b, y.shape, self.stride))

        def backprop(dy: Array, gradient: Gradient | None = None, through: bool = True) -> Array:
            dx, left = device.zeros(x.shape, x.dtype), dy.copy()
            for a, b in _kernel(self.size):
                part = (_under(x, a, b, y.shape, self.stride) == y) * left
                under = _under(dx, a, b, y.shape, self.stride)
                under += part
                left -= part  # nothing for a later number that is as large
            return dx

        return y, backprop

    def arguments(self) -> dict[str, Any]:
        """The window and, where it differs, the stride."""
        return {"size": self.size} | ({} if self.stride == self.size else {"stride": self.stride})


class Upsample(Layer):
    """Images `factor` times as high and wide, each number a block of equal ones."""

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.factor = positive("factor", factor)

    def shape_after(self, inputs: Shape) -> Shape:
        """(factor height, factor width, channels)."""
        height, width, channels = _image(self, inputs)
        return self.factor * height, self.factor * width, channels

    def forward(self, x: Array, training: Stream | None) -> tuple[Array, Backprop]:
        """y (rows, factor height, factor width, channels)."""
        rows, height, width, channels = x.shape
        blocks = rows, height, self.factor, width, self.factor, channels
        y = device_of(x).empty(blocks, x.dtype)
        y[...] = x[:, :, None, :, None, :]

        def backprop(dy: Array, gradient: Gradient | None = None, through: bool = True) -> Array:
            return dy.reshape(blocks).sum(axis=(2, 4))

        return y.reshape(rows, self.factor * height, self.factor * width, channels), backprop

    def arguments(self) -> dict[str, Any]:
        """The factor."""
        return {"factor": self.factor}


def _image(layer: Layer, inputs: Shape) -> Shape:
    """`inputs`, if they are images."""
    if len(inputs) != 3:
        raise ValueError(
            f"found rows of shape {inputs} before {layer}; expected images (height, width, channels): put Reshape(height, width, "
            "channels) before it"
        )
    return inputs


def _filled(layer: Layer, inputs: Shape, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """How many positions a window has on images, downward and to the right, if they fill them."""
    height, width, _ = _image(layer, inputs)
    room = [n + 2 * padding - kernel for n in (height, width)]
    if min(room) < 0:
        raise ValueError(
            f"found images {height} x {width} before {layer}; expected at least {kernel - 2 * padding} pixels each way"
        )
    over = [r % stride for r in room]
    if any(over):
        cut = " x ".join(str(n - o) for n, o in zip((height, width), over, strict=True))
        advice = f"crop them to {cut}" if min(height - over[0], width - over[1]) > 0 else "write stride=1"
        if over[0] == over[1]:
            # the stride of a pool is its size unless it is said
            size = kernel + over[0]
            advice = f"write {f'MaxPool({size}, {stride})' if isinstance(layer, MaxPool) else f'kernel={size}'}, or {advice}"
        raise ValueError(
            f"found images {height} x {width} before {layer}; expected sizes with (size + {2 * padding} - {kernel}) divisible by the "
            f"stride {stride}, over are {over[0]} x {over[1]} pixels: {advice}"
        )
    return positions(height, kernel, stride, padding), positions(width, kernel, stride, padding)


def _kernel(size: int) -> Iterator[tuple[int, int]]:
    """The positions within a window, row by row."""
    return ((a, b) for a in range(size) for b in range(size))


def _under(images: Array, a: int, b: int, windows: Shape, stride: int) -> Array:
    """A view of the pixels that lie under (a, b) of `windows` (rows, height, width, ...) on images."""
    height, width = windows[1:3]
    return images[:, a : a + stride * (height - 1) + 1 : stride, b : b + stride * (width - 1) + 1 : stride]


def _patches(images: Array, kernel: int, stride: int, padding: int) -> Array:
    """The window at each position as a row, (rows height width, kernel kernel channels)."""
    device, (rows, height, width, channels) = device_of(images), images.shape
    number = rows * positions(height, kernel, stride, padding) * positions(width, kernel, stride, padding)
    found = device.empty((number, kernel**2 * channels), images.dtype)
    patches(device.xp.ascontiguousarray(images), found, height, width, kernel, stride, padding)
    return found


def _overlaid(rows: Array, shape: Shape, kernel: int, stride: int, padding: int) -> Array:
    """The adjoint of `_patches`: images of this shape, each pixel the sum of what the windows over it hold."""
    images = device_of(rows).empty(shape, rows.dtype)
    overlay(rows, images, *shape[1:3], kernel, stride, padding)
    return images
