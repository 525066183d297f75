"""Rounding of float32 numbers to bfloat16, of which matrix products are faster."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ..device import device_of
from ..kernel import Halves, Words, kernel

# Set in every NaN: one whose other bits are all in the lower half would become an infinity.
_QUIET = 0x400000

# Each step is cast, for Numba's sum of two uint32 is an uint64, with half as many lanes; NaN is found by a signed comparison,
# because AVX2 has no other.
_u = np.uint32


@njit(inline="always")
def nearest(x: Any) -> Any:  # pragma: no cover
    """The bits of a float32 whose upper half is its nearest bfloat16, ties to even. NaN stays NaN."""
    up = _u(x + _u(_u(0x7FFF) + _u(_u(x >> _u(16)) & _u(1))))
    nan = np.int32(x & _u(0x7FFFFFFF)) > np.int32(0x7F800000)
    return _u(x | _u(_QUIET)) if nan else up


@kernel
def halve(words: Words, bits: Halves) -> None:
    """The upper halves of float32 numbers, given by their bits, rounded to the nearest that bfloat16 has, ties to even. NaN stays NaN."""
    up = words + _u(0x7FFF) + (words >> _u(16) & _u(1))
    nan = (words & _u(0x7FFFFFFF)) > _u(0x7F800000)
    bits[...] = (device_of(words).xp.where(nan, words | _u(_QUIET), up) >> _u(16)).astype(np.uint16)


halve.same_shape("words", "bits")


@halve.numba
def _(words: Any, bits: Any) -> None:  # pragma: no cover
    x, out = words.reshape(words.size), bits.reshape(bits.size)
    for i in range(x.size):
        out[i] = np.uint16(nearest(x[i]) >> _u(16))


halve.cuda(
    r"""
extern "C" __global__ void halve(const unsigned* words, unsigned short* bits, long long words_rows, long long words_columns) {
    long long stride = gridDim.x * (long long)blockDim.x;
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < words_rows * words_columns; i += stride) {
        unsigned x = words[i], up = x + 0x7FFF + (x >> 16 & 1);
        bits[i] = ((x & 0x7FFFFFFF) > 0x7F800000 ? x | QUIET : up) >> 16;
    }
}
""",
    f"#define QUIET {_QUIET:#x}u",
)
