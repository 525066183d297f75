"""Reductions of whole arrays, in one launch each: sums over rows, which the gradients of biases are, and the largest difference, by which
an iteration has converged or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from ..device import Array, device_of
from ..kernel import Floats, kernel
from .philox import as_matrix


def add_row_sums(sums: Sequence[tuple[Array, Sequence[Array]]], factor: float, ratio: float = 0.0, beta: float = 0.0) -> None:
    """out = beta out + factor (sum_r x_r + ratio sum_r y_r) for every pair of an `out` (size,) and its terms, x (rows, size) alone or
    x and y, in `sums`.

    Two pairs go through one kernel, both layers and both phases of an RBM's learning: its launch on a GPU takes as long as the sums. All
    x have equally many rows, and all y. With beta = 0, what was in `out` doesn't matter.
    """
    for i in range(0, len(sums), 2):
        out, (x, *others) = sums[i]
        y = others[0] if others else x[:0]
        second, (u, *others) = sums[i + 1] if i + 1 < len(sums) else (out[:0], (x[:, :0], y[:, :0]))
        row_sums(x, y, out, u, others[0] if others else u[:0], second, factor, ratio, beta)


@kernel
def row_sums(
    x: Floats, y: Floats, total: Floats, u: Floats, v: Floats, other: Floats, factor: float, ratio: float, beta: float
) -> None:
    """total = beta total + factor (sum_r x_r + ratio sum_r y_r), and other the same of u and v, which have as many rows as x and y.

    Equal sums of as many rows, a ratio of -1, cancel exactly however products are rounded: Adam makes steps of next to nothing.
    """
    for out, p, q in ((total, x, y), (other, u, v)):
        new = out.dtype.type(factor) * (p.sum(axis=0) + out.dtype.type(ratio) * q.sum(axis=0))
        out[...] = new if beta == 0 else out.dtype.type(beta) * out + new


@njit(inline="always")
def _sum(x: Any, total: Any) -> None:  # pragma: no cover
    """total += the rows of x, eight at a time: so it is read and written less often, and errors of rounding add up more slowly."""
    whole = x.shape[0] // 8 * 8
    for r in range(0, whole, 8):
        a, b, c, d = x[r], x[r + 1], x[r + 2], x[r + 3]
        e, f, g, h = x[r + 4], x[r + 5], x[r + 6], x[r + 7]
        for i in range(total.size):
            total[i] += ((a[i] + b[i]) + (c[i] + d[i])) + ((e[i] + f[i]) + (g[i] + h[i]))
    for r in range(whole, x.shape[0]):
        row = x[r]
        for i in range(total.size):
            total[i] += row[i]


@row_sums.numba
def _(
    x: Any, y: Any, total: Any, u: Any, v: Any, other: Any, factor: float, ratio: float, beta: float
) -> None:  # pragma: no cover
    for k in range(2):
        out, p, q = (other, u, v) if k else (total, x, y)
        if out.size == 0:
            continue
        here, there = np.zeros(out.size, out.dtype), np.zeros(out.size, out.dtype)
        _sum(p, here)
        _sum(q, there)
        real = out.dtype.type
        for i in range(out.size):
            new = real(factor) * (here[i] + real(ratio) * there[i])
            out[i] = new if beta == 0 else real(beta) * out[i] + new


# A block sums 8 columns, a sector of memory, at a time: each of its threads some of the rows, then they halve their number.
row_sums.cuda(
    r"""
extern "C" __global__ void row_sums(const T* x, const T* y, T* total, const T* u, const T* v, T* other, double factor,
                                    double ratio, double beta, long long x_rows, long long y_rows, long long total_columns,
                                    long long other_columns) {
    __shared__ T part[256];
    long long tiles = (total_columns + 7) / 8, all = tiles + (other_columns + 7) / 8;
    for (long long tile = blockIdx.x; tile < all; tile += gridDim.x) {
        bool second = tile >= tiles;
        const T *p = second ? u : x, *q = second ? v : y;
        T* out = second ? other : total;
        long long columns = second ? other_columns : total_columns;
        long long column = (second ? tile - tiles : tile) * 8 + threadIdx.x % 8;
        T here = 0, there = 0;
        if (column < columns) {
#pragma unroll 8
            for (long long r = threadIdx.x / 8; r < x_rows; r += blockDim.x / 8) here += p[r * columns + column];
#pragma unroll 8
            for (long long r = threadIdx.x / 8; r < y_rows; r += blockDim.x / 8) there += q[r * columns + column];
        }
        part[threadIdx.x] = here + (T)ratio * there;
        for (unsigned half = blockDim.x / 2; half >= 8; half /= 2) {
            __syncthreads();
            if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        }
        // the threads that write have made the last sums themselves
        if (threadIdx.x < 8 && column < columns) {
            out[column] = (beta == 0 ? 0 : (T)beta * out[column]) + (T)factor * part[threadIdx.x];
        }
        __syncthreads();
    }
}
"""
)


@kernel
def raise_to_difference(x: Floats, y: Floats, largest: Floats) -> None:
    """largest (1,) = max(largest, max |x - y|), which NaN is larger than any number for."""
    xp = device_of(x).xp
    if x.size:
        largest[...] = xp.maximum(largest, xp.abs(x - y).max())


raise_to_difference.same_shape("x", "y")


@raise_to_difference.numba
def _(x: Any, y: Any, largest: Any) -> None:  # pragma: no cover
    rows, columns = as_matrix(x)
    p, q = x.reshape(rows, columns), y.reshape(rows, columns)
    most = np.zeros(columns, x.dtype)  # of each column: a maximum of all is no vector's
    undefined = 0
    for r in range(rows):
        a, b = p[r], q[r]
        for i in range(most.size):
            d = abs(a[i] - b[i])
            most[i] = d if d > most[i] else most[i]
            undefined += d != d
    for d in most:
        largest[0] = d if d > largest[0] else largest[0]
    if undefined:
        largest[0] = np.nan


# Magnitudes are ordered as the integers of their bits are, NaN above all.
raise_to_difference.cuda(
    r"""
__device__ inline void raise_to(float* at, float x) { atomicMax((int*)at, __float_as_int(x)); }
__device__ inline void raise_to(double* at, double x) { atomicMax((long long*)at, __double_as_longlong(x)); }
__device__ inline T larger(T x, T y) { return y > x || y != y ? y : x; }

extern "C" __global__ void raise_to_difference(const T* x, const T* y, T* largest, long long x_rows, long long x_columns) {
    __shared__ T part[256];
    T most = 0;
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < x_rows * x_columns; i += gridDim.x * (long long)blockDim.x)
        most = larger(most, fabs(x[i] - y[i]));
    part[threadIdx.x] = most;
    for (unsigned half = blockDim.x / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) part[threadIdx.x] = larger(part[threadIdx.x], part[threadIdx.x + half]);
    }
    if (threadIdx.x == 0) raise_to(largest, part[0]);
}
"""
)
