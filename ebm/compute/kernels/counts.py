"""Counts: how often each category comes up in a given number of draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..device import device_of
from ..kernel import Floats, Words, kernel
from .philox import CUDA, philox_jit, reference_words, unit
from .sampling import to_uniform


@kernel
def tally(cumulative: Floats, lengths: Floats, out: Floats, longest: int, address: Words, offset: int, first_row: int) -> None:
    """out_k counts, over min(length, longest) draws a row, the first k with c_k > u c_K; `cumulative` (rows, K) are sums that
    grow along the row, `lengths` (rows,) whole numbers.

    Draw j takes word j % 4 of the row's block j // 4, so that a longer row begins with the draws of a shorter one.
    """
    xp = device_of(out).xp
    rows, blocks = out.shape[0], -(-longest // 4)
    words = reference_words((rows, 4 * blocks), address, offset, first_row)
    words = words.reshape(rows, 4, blocks).swapaxes(1, 2).reshape(rows, 4 * blocks)[:, :longest]
    threshold = to_uniform(words, out.dtype) * cumulative[:, -1:]
    chosen = (cumulative[:, None, :-1] <= threshold[:, :, None]).sum(axis=2)
    drawn = xp.arange(longest)[None, :] < lengths[:, None]
    out[...] = ((xp.arange(out.shape[1]) == chosen[:, :, None]) & drawn[:, :, None]).sum(axis=1)


tally.same_shape("cumulative", "out")


@tally.numba
def _(
    cumulative: Any, lengths: Any, out: Any, longest: int, address: Any, offset: int, first_row: int
) -> None:  # pragma: no cover
    rows, categories = out.shape
    k0, k1, stream = np.uint64(address[0]), np.uint64(address[1]), np.uint64(address[2])
    draw = np.uint64(np.uint32(address[3] + np.uint32(offset)))
    words = np.empty(4, np.uint32)
    for r in range(rows):
        row = cumulative[r]
        for k in range(categories):
            out[r, k] = 0
        for j in range(min(longest, int(lengths[r]))):
            if j % 4 == 0:
                block = np.uint64(j // 4)
                words[0], words[1], words[2], words[3] = philox_jit(
                    block, np.uint64(np.uint32(first_row + r)), draw, stream, k0, k1
                )
            threshold = unit(words[j % 4]) * row[categories - 1]
            low, high = 0, categories - 1
            while low < high:
                middle = (low + high) // 2
                if row[middle] <= threshold:
                    low = middle + 1
                else:
                    high = middle
            out[r, low] += 1


tally.cuda(
    r"""
extern "C" __global__ void tally(const T* cumulative, const T* lengths, T* out, long long longest, const unsigned* address,
                                 long long offset, long long first_row, long long out_rows, long long out_columns) {
    for (long long r = first_item(); r < out_rows; r += stride()) {
        const T* row = cumulative + r * out_columns;
        T* counts = out + r * out_columns;
        for (long long k = 0; k < out_columns; ++k) counts[k] = 0;
        Block random;
        for (long long j = 0; j < longest && j < (long long)lengths[r]; ++j) {
            if (j % 4 == 0) random = philox_at(address, offset, first_row + r, j / 4);
            T threshold = (T)(random.word[j % 4] >> 8) * (T)5.9604644775390625e-8 * row[out_columns - 1];
            long long low = 0, high = out_columns - 1;
            while (low < high) {
                long long middle = (low + high) / 2;
                if (row[middle] <= threshold) low = middle + 1; else high = middle;
            }
            counts[low] += 1;
        }
    }
}
""",
    CUDA,
)
