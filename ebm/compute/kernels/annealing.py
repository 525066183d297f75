"""One temperature of annealed importance sampling for binary units: the weight's increment and a sample in one pass.

On a path of inverse temperatures the next move depends on three of them: `betas` holds the one that is left, the one that is moved to,
and the one after it. They lie in device memory, so that a captured step finds new ones at each replay.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..device import device_of
from ..kernel import Doubles, Floats, Words, kernel
from .elementary import exp
from .philox import CUDA, as_matrix, fill_row, reference_words, unit
from .sampling import to_uniform


@kernel
def anneal_summed(field: Floats, betas: Doubles, log_weights: Doubles, address: Words, offset: int, first_row: int) -> None:
    """For units that the weight sums out, at their field z when the inverse temperature is 1:

        log_weights += sum_j ln(1 + e^(after z_j)) - ln(1 + e^(before z_j)),

    and z becomes a sample at `after`.
    """
    xp = device_of(field).xp
    before, after = (betas[i : i + 1].astype(field.dtype) for i in (0, 1))
    step = (betas[1:2] - betas[0:1]).astype(field.dtype)
    size = xp.abs(field)
    e_before, e_after = xp.exp(-before * size), xp.exp(-after * size)
    terms = xp.maximum(field, 0) * step + xp.log1p((e_after - e_before) / (1 + e_before))
    log_weights += terms.sum(axis=1, dtype=np.float64)
    mean = xp.where(field >= 0, 1, e_after) / (1 + e_after)
    field[...] = to_uniform(reference_words(field.shape, address, offset, first_row), field.dtype) < mean


@anneal_summed.numba
def _(field: Any, betas: Any, log_weights: Any, address: Any, offset: int, first_row: int) -> None:  # pragma: no cover
    rows, columns = as_matrix(field)
    words = np.empty(4 * ((columns + 3) // 4), np.uint32)
    real = field.dtype.type
    before, after, step = real(betas[0]), real(betas[1]), betas[1] - betas[0]
    zero, one = real(0), real(1)
    # A product of many 1 + e has one logarithm. Eight products side by side, as LLVM may not reorder one, of 64 factors up to 2 each.
    padded = (columns + 511) // 512 * 512
    positive = np.zeros(padded, field.dtype)
    upper, lower = np.ones(padded, field.dtype), np.ones(padded, field.dtype)
    sums, up, down = np.empty(8, field.dtype), np.empty(8, field.dtype), np.empty(8, field.dtype)
    for r in range(rows):
        fill_row(words, address, offset, first_row + r)
        for c in range(columns):
            z = field[r, c]
            size = abs(z)
            e_after = exp(-after * size)
            positive[c] = max(z, zero)
            upper[c] = one + e_after
            lower[c] = one + exp(-before * size)
            # u < mean without a division
            field[r, c] = one if unit(words[c]) * upper[c] < (one if z >= zero else e_after) else zero
        for chunk in range(0, padded, 512):
            sums[:], up[:], down[:] = zero, one, one
            for first in range(chunk, chunk + 512, 8):
                for i in range(8):
                    sums[i] += positive[first + i]
                    up[i] *= upper[first + i]
                    down[i] *= lower[first + i]
            for i in range(8):
                log_weights[r] += step * sums[i] + math.log(np.float64(up[i]) / np.float64(down[i]))


anneal_summed.cuda(
    r"""
extern "C" __global__ void anneal_summed(T* field, const double* betas, double* log_weights, const unsigned* address,
                                         long long offset, long long first_row, long long field_rows, long long field_columns) {
    long long blocks = (field_columns + 3) / 4;
    T before = (T)betas[0], after = (T)betas[1], step = (T)(betas[1] - betas[0]);
    for (long long i = first_item(); i < field_rows * blocks; i += stride()) {
        long long row = i / blocks, block = i % blocks;
        Block random = philox_at(address, offset, first_row + row, block);
        double sum = 0;
        for (int q = 0; q < 4; ++q) {
            long long column = block + q * blocks, e = row * field_columns + column;
            if (column < field_columns) {
                T z = field[e], size = z < 0 ? -z : z;
                T e_before = exp(-before * size), e_after = exp(-after * size);
                sum += (z > 0 ? z : 0) * step + log1p((e_after - e_before) / (1 + e_before));
                T mean = (z >= 0 ? 1 : e_after) / (1 + e_after);
                field[e] = (T)(random.word[q] >> 8) * (T)5.9604644775390625e-8 < mean;
            }
        }
        // in the order in which threads come: a weight's last bits differ from run to run
        atomicAdd(log_weights + row, sum);
    }
}
""",
    CUDA,
)


@kernel
def anneal_kept(
    field: Floats,
    base: Floats,
    change: Floats,
    betas: Doubles,
    log_weights: Doubles,
    address: Words,
    offset: int,
    first_row: int,
) -> None:
    """For units that the weight depends on, at their field z when the inverse temperature is 1: z becomes a sample x of the field
    after z + (1 - after) base, and with `change` the difference of the biases at both ends of the path

        log_weights += (next - after) sum_i change_i x_i.
    """
    after, step = betas[1:2].astype(field.dtype), betas[2:3] - betas[1:2]
    xp = device_of(field).xp
    mean_field = after * field + (1 - after) * base
    e = xp.exp(-xp.abs(mean_field))
    mean = xp.where(mean_field >= 0, 1, e) / (1 + e)
    field[...] = to_uniform(reference_words(field.shape, address, offset, first_row), field.dtype) < mean
    log_weights += step * (field * change).sum(axis=1, dtype=np.float64)


@anneal_kept.numba
def _(
    field: Any,
    base: Any,
    change: Any,
    betas: Any,
    log_weights: Any,
    address: Any,
    offset: int,
    first_row: int,
) -> None:  # pragma: no cover
    rows, columns = as_matrix(field)
    words = np.empty(4 * ((columns + 3) // 4), np.uint32)
    real = field.dtype.type
    after = real(betas[1])
    zero, one = real(0), real(1)
    padded = (columns + 7) // 8 * 8
    terms, sums = np.zeros(padded, field.dtype), np.empty(8)
    rest = (one - after) * base
    for r in range(rows):
        fill_row(words, address, offset, first_row + r)
        for c in range(columns):
            x = one if unit(words[c]) * (one + exp(-(after * field[r, c] + rest[c]))) < one else zero
            field[r, c] = x
            terms[c] = x * change[c]
        sums[:] = 0
        for first in range(0, padded, 8):
            for i in range(8):
                sums[i] += terms[first + i]
        log_weights[r] += (betas[2] - betas[1]) * sums.sum()


anneal_kept.cuda(
    r"""
extern "C" __global__ void anneal_kept(T* field, const T* base, const T* change, const double* betas, double* log_weights,
                                       const unsigned* address, long long offset, long long first_row,
                                       long long field_rows, long long field_columns) {
    long long blocks = (field_columns + 3) / 4;
    T after = (T)betas[1];
    for (long long i = first_item(); i < field_rows * blocks; i += stride()) {
        long long row = i / blocks, block = i % blocks;
        Block random = philox_at(address, offset, first_row + row, block);
        double sum = 0;
        for (int q = 0; q < 4; ++q) {
            long long column = block + q * blocks, e = row * field_columns + column;
            if (column < field_columns) {
                T mean = 1 / (1 + exp(-(after * field[e] + (1 - after) * base[column])));
                T x = (T)(random.word[q] >> 8) * (T)5.9604644775390625e-8 < mean;
                field[e] = x;
                sum += x * change[column];
            }
        }
        atomicAdd(log_weights + row, (betas[2] - betas[1]) * sum);
    }
}
""",
    CUDA,
)
