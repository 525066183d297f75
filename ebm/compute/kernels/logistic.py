"""The logistic function, its integral, samples of it, and the cross-entropy of a target: what a binary unit needs of its field."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..device import device_of
from ..kernel import Floats, Words, kernel
from .elementary import exp, log1p
from .philox import CUDA, as_matrix, fill_row, reference_words, unit
from .sampling import to_uniform


@kernel
def logistic(field: Floats, out: Floats) -> None:
    """out = 1 / (1 + e^-field)."""
    xp = device_of(field).xp
    e = xp.exp(-xp.abs(field))
    out[...] = xp.where(field >= 0, 1 / (1 + e), e / (1 + e))


logistic.same_shape("field", "out")


@logistic.numba
def _(field: Any, out: Any) -> None:  # pragma: no cover
    x, y = field.reshape(field.size), out.reshape(out.size)
    one = out.dtype.type(1)
    for i in range(x.size):
        y[i] = one / (one + exp(-x[i]))


logistic.cuda(
    r"""
extern "C" __global__ void logistic(const T* field, T* out, long long out_rows, long long out_columns) {
    for (long long i = first_item(); i < out_rows * out_columns; i += stride()) out[i] = 1 / (1 + exp(-field[i]));
}
""",
    CUDA,
)


@kernel
def logistic_slope(mean: Floats, dy: Floats, dx: Floats) -> None:
    """dx = mean (1 - mean) dy: a derivative by the field, from that by the mean 1 / (1 + e^-field)."""
    dx[...] = mean * (1 - mean) * dy


logistic_slope.same_shape("mean", "dy", "dx")


@logistic_slope.numba
def _(mean: Any, dy: Any, dx: Any) -> None:  # pragma: no cover
    y, d, result = mean.reshape(mean.size), dy.reshape(dy.size), dx.reshape(dx.size)
    one = dx.dtype.type(1)
    for i in range(y.size):
        result[i] = y[i] * (one - y[i]) * d[i]


logistic_slope.cuda(
    r"""
extern "C" __global__ void logistic_slope(const T* mean, const T* dy, T* dx, long long dx_rows, long long dx_columns) {
    for (long long i = first_item(); i < dx_rows * dx_columns; i += stride()) dx[i] = mean[i] * (1 - mean[i]) * dy[i];
}
""",
    CUDA,
)


@kernel
def softplus(field: Floats, out: Floats) -> None:
    """out = ln(1 + e^field) = max(field, 0) + ln(1 + e^-|field|)."""
    xp = device_of(field).xp
    out[...] = xp.maximum(field, 0) + xp.log1p(xp.exp(-xp.abs(field)))


softplus.same_shape("field", "out")


@softplus.numba
def _(field: Any, out: Any) -> None:  # pragma: no cover
    x, y = field.reshape(field.size), out.reshape(out.size)
    for i in range(x.size):
        y[i] = max(x[i], out.dtype.type(0)) + log1p(exp(-abs(x[i])))


softplus.cuda(
    r"""
extern "C" __global__ void softplus(const T* field, T* out, long long out_rows, long long out_columns) {
    for (long long i = first_item(); i < out_rows * out_columns; i += stride()) {
        T x = field[i];
        out[i] = (x > 0 ? x : 0) + log1p(exp(x > 0 ? -x : x));
    }
}
""",
    CUDA,
)


@kernel
def cross_entropy(field: Floats, target: Floats, nats: Floats, slope: Floats) -> None:
    """nats = ln(1 + e^field) - target field, slope = 1 / (1 + e^-field) - target: one pass with one exponential."""
    xp = device_of(field).xp
    e = xp.exp(-xp.abs(field))
    # ln(1 + e^z) = max(z, 0) + ln(1 + e^-|z|), whose first part t z may cancel
    nats[...] = xp.log1p(e) + (xp.maximum(field, 0) - target * field)
    slope[...] = xp.where(field >= 0, 1 / (1 + e), e / (1 + e)) - target


cross_entropy.same_shape("field", "target", "nats", "slope")


@cross_entropy.numba
def _(field: Any, target: Any, nats: Any, slope: Any) -> None:  # pragma: no cover
    x, t = field.reshape(field.size), target.reshape(target.size)
    y, d = nats.reshape(nats.size), slope.reshape(slope.size)
    one, zero = field.dtype.type(1), field.dtype.type(0)
    for i in range(x.size):
        e = exp(-abs(x[i]))
        y[i] = log1p(e) + (max(x[i], zero) - t[i] * x[i])
        d[i] = (one if x[i] >= zero else e) / (one + e) - t[i]


cross_entropy.cuda(
    r"""
extern "C" __global__ void cross_entropy(const T* field, const T* target, T* nats, T* slope, long long nats_rows,
                                         long long nats_columns) {
    for (long long i = first_item(); i < nats_rows * nats_columns; i += stride()) {
        T x = field[i], t = target[i], e = exp(x > 0 ? -x : x);
        nats[i] = log1p(e) + ((x > 0 ? x : 0) - t * x);
        slope[i] = (x >= 0 ? 1 : e) / (1 + e) - t;
    }
}
""",
    CUDA,
)


@kernel
def logistic_sample(field: Floats, sample: Floats, address: Words, offset: int, first_row: int) -> None:
    """field becomes its mean 1 / (1 + e^-field), and sample 1 where u < mean, else 0.

    It works in place because a loop over two arrays that may overlap is not vectorized when they do.
    """
    logistic.reference(field, field)
    sample[...] = to_uniform(reference_words(field.shape, address, offset, first_row), field.dtype) < field


logistic_sample.same_shape("field", "sample")


@logistic_sample.numba
def _(field: Any, sample: Any, address: Any, offset: int, first_row: int) -> None:  # pragma: no cover
    rows, columns = as_matrix(field)
    mean, out = field.reshape(rows, columns), sample.reshape(rows, columns)
    words = np.empty(4 * ((columns + 3) // 4), np.uint32)
    one, zero = field.dtype.type(1), field.dtype.type(0)
    for r in range(rows):
        fill_row(words, address, offset, first_row + r)
        for c in range(columns):
            p = one / (one + exp(-mean[r, c]))
            mean[r, c] = p
            out[r, c] = one if unit(words[c]) < p else zero


logistic_sample.cuda(
    r"""
extern "C" __global__ void logistic_sample(T* field, T* sample, const unsigned* address, long long offset, long long first_row,
                                           long long field_rows, long long field_columns) {
    long long blocks = (field_columns + 3) / 4;
    for (long long i = first_item(); i < field_rows * blocks; i += stride()) {
        long long row = i / blocks, block = i % blocks;
        Block random = philox_at(address, offset, first_row + row, block);
        for (int q = 0; q < 4; ++q) {
            long long column = block + q * blocks, e = row * field_columns + column;
            if (column < field_columns) {
                T p = 1 / (1 + exp(-field[e]));
                field[e] = p;
                sample[e] = (T)(random.word[q] >> 8) * (T)5.9604644775390625e-8 < p;
            }
        }
    }
}
""",
    CUDA,
)
