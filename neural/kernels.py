"""What only networks need a kernel for: a step of theirs is many operations on small arrays, each of which is a launch on a GPU.

A Gaussian code (rows, 2 size) holds means beside log-variances.
"""

from __future__ import annotations

import math
from typing import Any

from ebm.compute.device import Array, device_of
from ebm.compute.kernel import Floats, kernel

_CUDA = r"""
__device__ inline long long first_item() { return blockIdx.x * (long long)blockDim.x + threadIdx.x; }
__device__ inline long long stride() { return gridDim.x * (long long)blockDim.x; }
"""


@kernel
def tanh_slope(y: Floats, dy: Floats, dx: Floats) -> None:
    """dx = (1 - y^2) dy: the derivative by x of y = tanh x."""
    dx[...] = (1 - y * y) * dy


tanh_slope.same_shape("y", "dy", "dx")


@tanh_slope.numba
def _(y: Any, dy: Any, dx: Any) -> None:  # pragma: no cover
    a, b, c = y.reshape(y.size), dy.reshape(dy.size), dx.reshape(dx.size)
    one = dx.dtype.type(1)
    for i in range(a.size):
        c[i] = (one - a[i] * a[i]) * b[i]


tanh_slope.cuda(
    r"""
extern "C" __global__ void tanh_slope(const T* y, const T* dy, T* dx, long long dx_rows, long long dx_columns) {
    for (long long i = first_item(); i < dx_rows * dx_columns; i += stride()) dx[i] = (1 - y[i] * y[i]) * dy[i];
}
""",
    _CUDA,
)


@kernel
def gaussian_draw(code: Floats, noise: Floats, sample: Floats) -> None:
    """noise becomes e^(log_variance / 2) noise, and sample = mean + that; both are (rows, size)."""
    size = sample.shape[1]
    noise *= device_of(code).xp.exp(code.dtype.type(0.5) * code[:, size:])
    sample[...] = code[:, :size] + noise


gaussian_draw.same_shape("noise", "sample")


@gaussian_draw.numba
def _(code: Any, noise: Any, sample: Any) -> None:  # pragma: no cover
    size = sample.shape[1]
    half = sample.dtype.type(0.5)
    for r in range(sample.shape[0]):
        for i in range(size):
            noise[r, i] *= math.exp(half * code[r, size + i])
            sample[r, i] = code[r, i] + noise[r, i]


gaussian_draw.cuda(
    r"""
extern "C" __global__ void gaussian_draw(const T* code, T* noise, T* sample, long long sample_rows,
                                         long long sample_columns) {
    for (long long i = first_item(); i < sample_rows * sample_columns; i += stride()) {
        long long mean = i + i / sample_columns * sample_columns;
        noise[i] *= exp((T)0.5 * code[mean + sample_columns]);
        sample[i] = code[mean] + noise[i];
    }
}
""",
    _CUDA,
)


@kernel
def gaussian_slope(noise: Floats, dy: Floats, d_code: Floats) -> None:
    """The derivative by the code of what `gaussian_draw` made, with the noise that it left: (dy, noise dy / 2)."""
    d_code[:, : dy.shape[1]] = dy
    d_code[:, dy.shape[1] :] = dy.dtype.type(0.5) * noise * dy


gaussian_slope.same_shape("noise", "dy")


@gaussian_slope.numba
def _(noise: Any, dy: Any, d_code: Any) -> None:  # pragma: no cover
    size = dy.shape[1]
    half = dy.dtype.type(0.5)
    for r in range(dy.shape[0]):
        for i in range(size):
            d_code[r, i] = dy[r, i]
            d_code[r, size + i] = half * noise[r, i] * dy[r, i]


gaussian_slope.cuda(
    r"""
extern "C" __global__ void gaussian_slope(const T* noise, const T* dy, T* d_code, long long dy_rows, long long dy_columns) {
    for (long long i = first_item(); i < dy_rows * dy_columns; i += stride()) {
        long long mean = i + i / dy_columns * dy_columns;
        d_code[mean] = dy[i];
        d_code[mean + dy_columns] = (T)0.5 * noise[i] * dy[i];
    }
}
""",
    _CUDA,
)


def divergence(code: Array) -> Array:
    """KL(N(mean, variance) || N(0, 1)) of each row, (rows,) nats: sum_i (mean_i^2 + e^log_variance_i - 1 - log_variance_i) / 2."""
    size, xp = code.shape[1] // 2, device_of(code).xp
    mean, log_variance = code[:, :size], code[:, size:]
    return code.dtype.type(0.5) * (mean * mean + xp.expm1(log_variance) - log_variance).sum(axis=1)


@kernel
def divergence_slope(code: Floats, weight: Floats, nats: Floats, d_code: Floats) -> None:
    """nats (rows,) = weight `divergence` of the code, and d_code += the derivative of its mean over the rows; `weight` is (1,)."""
    rows, size = code.shape[0], code.shape[1] // 2
    nats[...] = weight * divergence(code)
    share = weight * code.dtype.type(1 / max(rows, 1))
    d_code[:, :size] += share * code[:, :size]
    d_code[:, size:] += share * code.dtype.type(0.5) * device_of(code).xp.expm1(code[:, size:])


divergence_slope.same_shape("code", "d_code")


@divergence_slope.numba
def _(code: Any, weight: Any, nats: Any, d_code: Any) -> None:  # pragma: no cover
    rows, size = code.shape[0], code.shape[1] // 2
    half = code.dtype.type(0.5)
    share = weight[0] / code.dtype.type(max(rows, 1))
    for r in range(rows):
        total = code.dtype.type(0)
        for i in range(size):
            mean, log_variance = code[r, i], code[r, size + i]
            above = math.expm1(log_variance)
            total += mean * mean + (above - log_variance)
            d_code[r, i] += share * mean
            d_code[r, size + i] += share * half * above
        nats[r] = weight[0] * half * total


# a thread a row: there are few columns
divergence_slope.cuda(
    r"""
extern "C" __global__ void divergence_slope(const T* code, const T* weight, T* nats, T* d_code, long long code_rows,
                                            long long code_columns) {
    long long size = code_columns / 2;
    T share = weight[0] / (T)code_rows;
    for (long long r = first_item(); r < code_rows; r += stride()) {
        const T* mean = code + r * code_columns;
        T* d = d_code + r * code_columns;
        T total = 0;
        for (long long i = 0; i < size; ++i) {
            T above = expm1(mean[size + i]);
            total += mean[i] * mean[i] + (above - mean[size + i]);
            d[i] += share * mean[i];
            d[size + i] += share * (T)0.5 * above;
        }
        nats[r] = weight[0] * (T)0.5 * total;
    }
}
""",
    _CUDA,
)
