"""Windows on images, what makes a convolution a matrix product: each laid out as a row, and such rows added up to images again.

Images are (rows, height, width, channels). A window is `size` by `size` pixels; windows lie `step` apart, the first one `padding` beyond
the corner, and beyond the border an image is zero. There are (height + 2 padding - size) / step + 1 of them below each other, and
likewise beside each other; `out` or `windows` holds them in this order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..device import Array, device_of
from ..kernel import Floats, kernel
from .philox import CUDA

# A loop over slices vectorizes; to begin one costs more than so few additions do.
_SHORT = 16


def positions(n: int, size: int, step: int, padding: int) -> int:
    """How many windows fit along `n` pixels."""
    return (n + 2 * padding - size) // step + 1


def _framed(images: Array, height: int, width: int, padding: int) -> Array:
    """Images of zeros with a border, (rows, height + 2 padding, width + 2 padding, channels)."""
    rows = images.shape[0]
    channels = images.size // max(1, rows * height * width)
    return device_of(images).zeros((rows, height + 2 * padding, width + 2 * padding, channels), images.dtype)


def _pairs(framed: Array, windows: Array, size: int, step: int) -> Iterator[tuple[Array, Array]]:
    """For each place in a window the numbers there in all `windows`, and the pixels of `framed` images that lie under it."""
    rows, height, width, channels = framed.shape
    down, across = (positions(n, size, step, 0) for n in (height, width))
    parts = windows.reshape(rows, down, across, size, size, channels)
    for a in range(size):
        for b in range(size):
            under = framed[:, a : a + step * (down - 1) + 1 : step, b : b + step * (across - 1) + 1 : step]
            yield parts[:, :, :, a, b], under


@kernel
def patches(images: Floats, out: Floats, height: int, width: int, size: int, step: int, padding: int) -> None:
    """out[r, i, j, a, b] = images[r, step i + a - padding, step j + b - padding], a vector of channels."""
    framed = _framed(images, height, width, padding)
    inner = framed[:, padding : padding + height, padding : padding + width]
    inner[...] = images.reshape(inner.shape)
    for part, under in _pairs(framed, out, size, step):
        part[...] = under


@patches.numba
def _(images: Any, out: Any, height: int, width: int, size: int, step: int, padding: int) -> None:  # pragma: no cover
    rows = images.shape[0]
    columns = images.size // max(1, rows)
    pixels, channels = images.reshape(images.size), columns // (height * width)
    x, length, n = out.reshape(out.size), size * channels, 0
    for r in range(rows):
        for i in range((height + 2 * padding - size) // step + 1):
            for j in range((width + 2 * padding - size) // step + 1):
                left = step * j - padding
                first, last = channels * max(0, -left), channels * min(size, width - left)
                for a in range(size):
                    y = step * i + a - padding
                    part = x[n : n + length]
                    n += length
                    if not 0 <= y < height:
                        for t in range(part.size):
                            part[t] = 0
                        continue
                    # a row of the window is contiguous in the image: what of it lies inside; loops over slices vectorize
                    start = r * columns + (y * width + left) * channels
                    inside, seen = part[first:last], pixels[start + first : start + last]
                    for t in range(first):
                        part[t] = 0
                    for t in range(inside.size):
                        inside[t] = seen[t]
                    for t in range(last, length):
                        part[t] = 0


patches.cuda(
    r"""
extern "C" __global__ void patches(const T* images, T* out, long long height, long long width, long long size, long long step,
                                   long long padding, long long images_columns, long long out_rows, long long out_columns) {
    long long channels = images_columns / (height * width);
    long long down = (height + 2 * padding - size) / step + 1, across = (width + 2 * padding - size) / step + 1;
    for (long long e = first_item(); e < out_rows * out_columns; e += stride()) {
        long long channel = e % channels, rest = e / channels;
        long long b = rest % size; rest /= size;
        long long a = rest % size; rest /= size;
        long long j = rest % across; rest /= across;
        long long i = rest % down, row = rest / down, y = step * i + a - padding, x = step * j + b - padding;
        bool inside = y >= 0 && y < height && x >= 0 && x < width;
        out[e] = inside ? images[((row * height + y) * width + x) * channels + channel] : (T)0;
    }
}
""",
    CUDA,
)


@kernel
def overlay(windows: Floats, out: Floats, height: int, width: int, size: int, step: int, padding: int) -> None:
    """The adjoint of `patches`: out[r, y, x] = sum of windows[r, i, j, a, b] with step i + a - padding = y, step j + b - padding = x."""
    framed = _framed(out, height, width, padding)
    for part, under in _pairs(framed, windows, size, step):
        under += part
    out[...] = framed[:, padding : padding + height, padding : padding + width].reshape(out.shape)


@overlay.numba
def _(windows: Any, out: Any, height: int, width: int, size: int, step: int, padding: int) -> None:  # pragma: no cover
    rows = out.shape[0]
    columns = out.size // max(1, rows)
    pixels, channels = out.reshape(out.size), columns // (height * width)
    x, length, n = windows.reshape(windows.size), size * channels, 0
    for r in range(rows):
        for t in range(r * columns, (r + 1) * columns):
            pixels[t] = 0
        for i in range((height + 2 * padding - size) // step + 1):
            for j in range((width + 2 * padding - size) // step + 1):
                left = step * j - padding
                first, last = channels * max(0, -left), channels * min(size, width - left)
                for a in range(size):
                    y = step * i + a - padding
                    if 0 <= y < height:
                        start = r * columns + (y * width + left) * channels
                        if length < _SHORT:
                            for t in range(first, last):
                                pixels[start + t] += x[n + t]
                        else:
                            under, part = pixels[start + first : start + last], x[n + first : n + last]
                            for t in range(under.size):
                                under[t] += part[t]
                    n += length


overlay.cuda(
    r"""
extern "C" __global__ void overlay(const T* windows, T* out, long long height, long long width, long long size, long long step,
                                   long long padding, long long out_rows, long long out_columns) {
    long long channels = out_columns / (height * width);
    long long down = (height + 2 * padding - size) / step + 1, across = (width + 2 * padding - size) / step + 1;
    for (long long e = first_item(); e < out_rows * out_columns; e += stride()) {
        long long channel = e % channels, rest = e / channels;
        long long x = rest % width + padding; rest /= width;
        long long y = rest % height + padding, row = rest / height;
        T sum = 0;
        // the windows over a pixel: each thread gathers, so that no two add to one number
        for (long long a = y % step; a < size && a <= y; a += step) {
            long long i = (y - a) / step;
            if (i >= down) continue;
            for (long long b = x % step; b < size && b <= x; b += step) {
                long long j = (x - b) / step;
                if (j < across) sum += windows[((((row * down + i) * across + j) * size + a) * size + b) * channels + channel];
            }
        }
        out[e] = sum;
    }
}
""",
    CUDA,
)
