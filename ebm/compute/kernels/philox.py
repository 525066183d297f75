"""Philox4x32-10: four random words from a counter and a key (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as
easy as 1, 2, 3", section 3.3), three times: NumPy, Numba, CUDA.

The address of a draw. An array of `columns` columns takes q = ceil(columns / 4) counter blocks a row; element (row, column) is
word `column // q` of block `column % q`, so that the four words of neighbouring blocks go to four contiguous quarters of the row and
a loop over the blocks vectorizes. The block's counter is (block, row, draw, stream), its key the seed. `address` is the array
(seed low, seed high, stream, draw) in device memory; the draws of one step are told apart by `offset`, which is added to `draw`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ..device import Array, device_of
from ..kernel import Words, kernel

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)


def philox(counter: tuple[Array, Array, Array, Array], key: tuple[Array, Array]) -> list[Array]:
    """The reference: uint32 arrays that broadcast against each other give four uint32 arrays."""
    c0, c1, c2, c3 = (c.astype(np.uint64) for c in counter)
    k0, k1 = (k.astype(np.uint64) for k in key)
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    for round_ in range(10):
        weyl0, weyl1 = (np.uint64(w * round_ & 0xFFFFFFFF) for w in WEYL)
        p0, p1 = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ (k0 + weyl0 & low), p1 & low, (p0 >> half) ^ c3 ^ (k1 + weyl1 & low), p0 & low
    return [c.astype(np.uint32) for c in (c0, c1, c2, c3)]


def reference_words(shape: tuple[int, ...], address: Array, offset: int, first_row: int) -> Array:
    """The random words that belong to the elements of an array of `shape`."""
    device = device_of(address)
    rows, columns = two_dimensional(shape)
    blocks = -(-columns // 4)
    row = (device.xp.arange(rows, dtype=np.uint64) + np.uint64(first_row)).astype(np.uint32)[:, None]
    draw = (address[3:4].astype(np.uint64) + np.uint64(offset)).astype(np.uint32)
    block = device.xp.arange(blocks, dtype=np.uint32)[None, :]
    words = philox((block, row, draw, address[2:3]), (address[0:1], address[1:2]))
    quarters = [device.xp.broadcast_to(word, (rows, blocks)) for word in words]
    return device.xp.concatenate(quarters, axis=1)[:, :columns].reshape(shape)


def two_dimensional(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns as the address sees them: the first axis, and everything behind it; one axis is one row."""
    if len(shape) < 2:
        return 1, math.prod(shape)
    return shape[0], math.prod(shape[1:])


@njit(inline="always")
def philox_jit(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> tuple[Any, Any, Any, Any]:  # pragma: no cover
    """One block, from uint64 numbers below 2^32.

    All arithmetic stays in 64-bit lanes, whose upper halves may hold anything: the multiplication masks them for free, the last
    line drops them. Casting each step to uint32 and back doubled the time.
    """
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        p0 = np.uint64(0xD2511F53) * (c0 & low)
        p1 = np.uint64(0xCD9E8D57) * (c2 & low)
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1, (p0 >> half) ^ c3 ^ k1, p0
        k0 += np.uint64(0x9E3779B9)
        k1 += np.uint64(0xBB67AE85)
    return np.uint32(c0), np.uint32(c1), np.uint32(c2), np.uint32(c3)


@njit(inline="always")
def fill_row(words: Any, address: Any, offset: int, row: int) -> None:  # pragma: no cover
    """Fill the scratch row `words`, of four quarters, with the words of one row."""
    blocks = words.size // 4
    k0, k1, stream = np.uint64(address[0]), np.uint64(address[1]), np.uint64(address[2])
    draw, r = np.uint64(np.uint32(address[3] + np.uint32(offset))), np.uint64(np.uint32(row))
    for b in range(blocks):
        w0, w1, w2, w3 = philox_jit(np.uint64(b), r, draw, stream, k0, k1)
        words[b] = w0
        words[b + blocks] = w1
        words[b + 2 * blocks] = w2
        words[b + 3 * blocks] = w3


@njit(inline="always")
def as_matrix(array: Any) -> Any:  # pragma: no cover
    """`two_dimensional` of an array's shape, inside kernels."""
    return (1, array.size) if array.ndim < 2 else (array.shape[0], array.size // max(array.shape[0], 1))


@njit(inline="always")
def unit(word: Any) -> Any:  # pragma: no cover
    """The uniform of a word: (word >> 8) 2^-24, exact in float32. Signed, because that conversion vectorizes."""
    return np.float32(np.int32(word >> np.uint32(8))) * np.float32(2.0**-24)


# The quarters of a row are gathered by four stores of one thread: neighbouring threads write neighbouring elements.
CUDA = r"""
struct Block { unsigned word[4]; };

__device__ inline Block philox(unsigned c0, unsigned c1, unsigned c2, unsigned c3, unsigned k0, unsigned k1) {
    for (int round = 0; round < 10; ++round) {
        unsigned long long p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
        unsigned n0 = (unsigned)(p1 >> 32) ^ c1 ^ k0, n2 = (unsigned)(p0 >> 32) ^ c3 ^ k1;
        c0 = n0; c1 = (unsigned)p1; c2 = n2; c3 = (unsigned)p0;
        k0 += 0x9E3779B9u; k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

__device__ inline Block philox_at(const unsigned* address, long long offset, long long row, long long block) {
    return philox((unsigned)block, (unsigned)row, address[3] + (unsigned)offset, address[2], address[0], address[1]);
}

__device__ inline long long first_item() { return blockIdx.x * (long long)blockDim.x + threadIdx.x; }
__device__ inline long long stride() { return gridDim.x * (long long)blockDim.x; }
"""


@kernel
def random_words(out: Words, address: Words, offset: int, first_row: int) -> None:
    """Fill `out` with random words; `first_row` is the address of its first row."""
    out[...] = reference_words(out.shape, address, offset, first_row)


@random_words.numba
def _(out: Any, address: Any, offset: int, first_row: int) -> None:  # pragma: no cover
    rows, columns = as_matrix(out)
    flat = out.reshape(rows, columns)
    words = np.empty(4 * ((columns + 3) // 4), np.uint32)
    for r in range(rows):
        fill_row(words, address, offset, first_row + r)
        for c in range(columns):  # a slice would compile NumPy's broadcasting and its messages: seconds
            flat[r, c] = words[c]


random_words.cuda(
    r"""
extern "C" __global__ void random_words(unsigned* out, const unsigned* address, long long offset, long long first_row,
                                        long long out_rows, long long out_columns) {
    long long blocks = (out_columns + 3) / 4;
    for (long long i = first_item(); i < out_rows * blocks; i += stride()) {
        long long row = i / blocks, block = i % blocks;
        Block random = philox_at(address, offset, first_row + row, block);
        for (int q = 0; q < 4; ++q) {
            long long column = block + q * blocks;
            if (column < out_columns) out[row * out_columns + column] = random.word[q];
        }
    }
}
""",
    CUDA,
)
