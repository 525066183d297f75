"""Samples by address: uniform, normal, Bernoulli, categorical. See `philox` for what `address`, `offset`, `first_row` mean."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..device import Array, device_of
from ..kernel import Floats, Words, kernel
from .elementary import exp, log
from .philox import CUDA, as_matrix, fill_row, reference_words, two_dimensional, unit

ULP = 2.0**-24


def to_uniform(words: Array, dtype: Any) -> Array:
    """Words to {0, ..., 2^24 - 1} / 2^24: exact in float32, never one."""
    return (words >> np.uint32(8)).astype(dtype) * dtype.type(ULP)


@kernel
def uniform(out: Floats, address: Words, offset: int, first_row: int) -> None:
    """out = (word >> 8) 2^-24."""
    out[...] = to_uniform(reference_words(out.shape, address, offset, first_row), out.dtype)


@uniform.numba
def _(out: Any, address: Any, offset: int, first_row: int) -> None:  # pragma: no cover
    rows, columns = as_matrix(out)
    flat = out.reshape(rows, columns)
    words = np.empty(4 * ((columns + 3) // 4), np.uint32)
    for r in range(rows):
        fill_row(words, address, offset, first_row + r)
        for c in range(columns):
            flat[r, c] = unit(words[c])


uniform.cuda(
    r"""
extern "C" __global__ void uniform(T* out, const unsigned* address, long long offset, long long first_row,
                                   long long out_rows, long long out_columns) {
    long long blocks = (out_columns + 3) / 4;
    for (long long i = first_item(); i < out_rows * blocks; i += stride()) {
        long long row = i / blocks, block = i % blocks;
        Block random = philox_at(address, offset, first_row + row, block);
        for (int q = 0; q < 4; ++q) {
            long long column = block + q * blocks;
            if (column < out_columns) out[row * out_columns + column] = (T)(random.word[q] >> 8) * (T)5.9604644775390625e-8;
        }
    }
}
""",
    CUDA,
)


@kernel
def normal(out: Floats, address: Words, offset: int, first_row: int) -> None:
    """out = sqrt(-2 ln u) cos(2 pi u'), sin(2 pi u'): a pair from the words of quarters 0, 1 and one from quarters 2, 3.

    u = (k + 1/2) 2^-24 in the logarithm, so that it is never zero.
    """
    xp = device_of(out).xp
    rows, columns = two_dimensional(out.shape)
    blocks = -(-columns // 4)
    words = reference_words((rows, 4 * blocks), address, offset, first_row)
    high = (words >> np.uint32(8)).astype(out.dtype)
    half, ulp, turn = (out.dtype.type(x) for x in (0.5, ULP, 2 * math.pi * ULP))
    quarters = []
    for first in (0, 2 * blocks):
        radius = xp.sqrt(out.dtype.type(-2) * xp.log((high[:, first : first + blocks] + half) * ulp))
        angle = high[:, first + blocks : first + 2 * blocks] * turn
        quarters += [radius * xp.cos(angle), radius * xp.sin(angle)]
    out[...] = xp.concatenate(quarters, axis=1)[:, :columns].reshape(out.shape)


@normal.numba
def _(out: Any, address: Any, offset: int, first_row: int) -> None:  # pragma: no cover
    rows, columns = as_matrix(out)
    flat = out.reshape(rows, columns)
    blocks = (columns + 3) // 4
    words = np.empty(4 * blocks, np.uint32)
    row = np.empty(4 * blocks, out.dtype)
    real = out.dtype.type
    for r in range(rows):
        fill_row(words, address, offset, first_row + r)
        for pair in range(2):
            first = 2 * pair * blocks
            for b in range(blocks):
                high = real(words[first + b] >> np.uint32(8)) + real(0.5)
                radius = math.sqrt(real(-2) * log(high * real(ULP)))
                angle = real(words[first + blocks + b] >> np.uint32(8)) * real(2 * math.pi * ULP)
                row[first + b] = radius * math.cos(angle)
                row[first + blocks + b] = radius * math.sin(angle)
        for c in range(columns):  # a slice takes seconds to compile
            flat[r, c] = row[c]


normal.cuda(
    r"""
extern "C" __global__ void normal(T* out, const unsigned* address, long long offset, long long first_row,
                                  long long out_rows, long long out_columns) {
    long long blocks = (out_columns + 3) / 4;
    for (long long i = first_item(); i < out_rows * blocks; i += stride()) {
        long long row = i / blocks, block = i % blocks;
        Block random = philox_at(address, offset, first_row + row, block);
        for (int q = 0; q < 4; q += 2) {
            T radius = sqrt((T)-2 * log(((T)(random.word[q] >> 8) + (T)0.5) * (T)5.9604644775390625e-8));
            T angle = (T)(random.word[q + 1] >> 8) * (T)(6.283185307179586 * 5.9604644775390625e-8);
            long long column = block + q * blocks;
            if (column < out_columns) out[row * out_columns + column] = radius * cos(angle);
            if (column + blocks < out_columns) out[row * out_columns + column + blocks] = radius * sin(angle);
        }
    }
}
""",
    CUDA,
)


@kernel
def bernoulli(probability: Floats, out: Floats, address: Words, offset: int, first_row: int) -> None:
    """out = 1 where u < probability, else 0."""
    u = to_uniform(reference_words(out.shape, address, offset, first_row), out.dtype)
    out[...] = u < probability


bernoulli.same_shape("probability", "out")


@bernoulli.numba
def _(probability: Any, out: Any, address: Any, offset: int, first_row: int) -> None:  # pragma: no cover
    rows, columns = as_matrix(out)
    p, flat = probability.reshape(rows, columns), out.reshape(rows, columns)
    words = np.empty(4 * ((columns + 3) // 4), np.uint32)
    one, zero = out.dtype.type(1), out.dtype.type(0)
    for r in range(rows):
        fill_row(words, address, offset, first_row + r)
        for c in range(columns):
            flat[r, c] = one if unit(words[c]) < p[r, c] else zero


bernoulli.cuda(
    r"""
extern "C" __global__ void bernoulli(const T* probability, T* out, const unsigned* address, long long offset, long long first_row,
                                     long long out_rows, long long out_columns) {
    long long blocks = (out_columns + 3) / 4;
    for (long long i = first_item(); i < out_rows * blocks; i += stride()) {
        long long row = i / blocks, block = i % blocks;
        Block random = philox_at(address, offset, first_row + row, block);
        for (int q = 0; q < 4; ++q) {
            long long column = block + q * blocks, e = row * out_columns + column;
            if (column < out_columns) out[e] = (T)(random.word[q] >> 8) * (T)5.9604644775390625e-8 < probability[e];
        }
    }
}
""",
    CUDA,
)


@kernel
def categorical(field: Floats, out: Floats, categories: int, address: Words, offset: int, first_row: int) -> None:
    """One-hot in each group of `categories` columns, by the inverse distribution function: the first k with c_k > u c_K,
    where c_k = sum_{j <= k} exp(field_j - max field). One uniform a group."""
    xp = device_of(out).xp
    rows, groups = out.shape[0], out.shape[1] // categories
    grouped = field.reshape(rows, groups, categories)
    cumulative = xp.cumsum(xp.exp(grouped - grouped.max(axis=2, keepdims=True)), axis=2)
    u = to_uniform(reference_words((rows, groups), address, offset, first_row), out.dtype)
    chosen = (cumulative[:, :, :-1] <= u[:, :, None] * cumulative[:, :, -1:]).sum(axis=2)
    out[...] = (xp.arange(categories) == chosen[:, :, None]).reshape(out.shape)


categorical.same_shape("field", "out")


@categorical.numba
def _(field: Any, out: Any, categories: int, address: Any, offset: int, first_row: int) -> None:  # pragma: no cover
    rows, groups = out.shape[0], out.shape[1] // categories
    words = np.empty(4 * ((groups + 3) // 4), np.uint32)
    cumulative = np.empty(categories, out.dtype)
    real = out.dtype.type
    for r in range(rows):
        fill_row(words, address, offset, first_row + r)
        for g in range(groups):
            start = g * categories
            largest = field[r, start]
            for k in range(1, categories):
                largest = max(largest, field[r, start + k])
            total = real(0)
            for k in range(categories):
                total += exp(field[r, start + k] - largest)
                cumulative[k] = total
            threshold = unit(words[g]) * total
            chosen = 0
            for k in range(categories - 1):
                chosen += cumulative[k] <= threshold
            for k in range(categories):
                out[r, start + k] = real(k == chosen)


categorical.cuda(
    r"""
extern "C" __global__ void categorical(const T* field, T* out, long long categories, const unsigned* address, long long offset,
                                       long long first_row, long long out_rows, long long out_columns) {
    long long groups = out_columns / categories, blocks = (groups + 3) / 4;
    for (long long i = first_item(); i < out_rows * groups; i += stride()) {
        long long row = i / groups, group = i % groups;
        const T* f = field + row * out_columns + group * categories;
        T* o = out + row * out_columns + group * categories;
        T largest = f[0];
        for (long long k = 1; k < categories; ++k) largest = f[k] > largest ? f[k] : largest;
        T total = 0;
        for (long long k = 0; k < categories; ++k) total += exp(f[k] - largest);
        unsigned word = philox_at(address, offset, first_row + row, group % blocks).word[group / blocks];
        T threshold = (T)(word >> 8) * (T)5.9604644775390625e-8 * total;
        T cumulative = 0;
        long long chosen = 0;
        for (long long k = 0; k + 1 < categories; ++k) {
            cumulative += exp(f[k] - largest);
            chosen += cumulative <= threshold;
        }
        for (long long k = 0; k < categories; ++k) o[k] = k == chosen;
    }
}
""",
    CUDA,
)
