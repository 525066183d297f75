"""One matrix product for everything: out = alpha a b + beta out, by the fastest that is there.

On the CPU this is our own product where it has AVX-512 (float32, see `vectors`), and for bfloat16 AMX (see `tiles`) or AVX512_BF16; else,
and for float64, MKL where the `mkl` package is installed, or the BLAS that NumPy brings (see `blas`). Only one of them ever waits actively
for work on several threads, and the kernels are serial: two such pools take each other's cores (ten times slower, measured).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numba import njit

from . import blas, cublas, tiles, vectors
from .device import CPU, Array, device_of
from .kernels.rounding import halve
from .vectors import Laid

Precision = Literal["bfloat16", "tf32"] | None

# The bits of bfloat16 numbers, which NumPy has no dtype for.
_BITS = np.dtype(np.uint16)
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
# What operands each precision takes, and how many of the 23 bits of a float32's mantissa it drops.
_OPERANDS = {"bfloat16": (_DTYPES[0], _BITS), "tf32": (_DTYPES[0],)}
_DROPPED = {"bfloat16": 16, "tf32": 13}
PRECISIONS = tuple(_DROPPED)


def gemm(
    a: Array,
    b: Array | Laid,
    out: Array | None = None,
    alpha: float = 1.0,
    beta: float = 0.0,
    precision: Precision = None,
    *,
    row: Array | None = None,
) -> Array:
    """out = alpha a b + beta out, or with `row` alpha a b + beta row, a bias (m,) in every row or one (n, m) for each.

    `a` (n, k) and `b` (k, m) are C-contiguous or transposes (`.T`) of C-contiguous arrays, `out` (n, m) is C-contiguous and shares
    no memory with them; all float32 or all float64. With beta = 0, what was in `out` doesn't matter. Where most of `a` is zero these
    zeros may be left out: an infinite or invalid number of `b` times one of them counts as zero then.

    A `precision` rounds the elements of float32 operands, to nearest, ties to even: "bfloat16" to 8 bits of mantissa (7 of them
    explicit), "tf32" to 11 (10), on a GPU as cuBLAS rounds them. Their products are summed in float32. For "bfloat16" an operand may be
    rounded already, uint16 of `bfloat16_bits`, and `b` what `prepared` returns. It is the fastest product on a CPU with AMX or
    AVX512_BF16, which take subnormal numbers for zero. On other CPUs it is, as "tf32" always, the float32 product of rounded operands: no
    faster than without.

    In large float32 products on a CPU with AVX-512 subnormal numbers count as zero. On other CPUs, and in float64, what is below 2^-63 in
    float32 (2^-511 in float64) counts as zero in large products with a transpose, except in a transposed `b`, which are weights: see
    `_without_tiny`.

    Raises `TypeError` for other or mixed dtypes, `ValueError` for shapes or strides that don't fit, `MixedDevicesError`.
    """
    right, b, kind = (b, b.source, _BITS) if isinstance(b, Laid) else (b, b, b.dtype)
    device = device_of(a, b) if out is None else device_of(a, b, out)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"gemm: found shapes {a.shape} and {b.shape}; expected (n, k) and (k, m)")
    if out is None:
        if beta and row is None:
            raise ValueError(f"gemm: found beta={beta} without out; there is nothing to scale")
        out = device.empty((a.shape[0], b.shape[1]), np.float32 if a.dtype == _BITS else a.dtype)
    if out.shape != (a.shape[0], b.shape[1]) or not out.flags.c_contiguous:
        raise ValueError(
            f"gemm: found out {out.shape}{'' if out.flags.c_contiguous else ' with gaps'}; expected C-contiguous "
            f"{(a.shape[0], b.shape[1])}"
        )
    if precision is None:
        if a.dtype not in _DTYPES or kind != a.dtype or out.dtype != a.dtype:
            raise TypeError(f"gemm: found dtypes {a.dtype}, {kind}, {out.dtype}; expected all float32 or all float64")
    elif out.dtype != np.float32 or not {a.dtype, kind} <= set(_OPERANDS.get(precision, ())):
        raise TypeError(
            f"gemm: found precision={precision!r} with {a.dtype}, {kind}, {out.dtype}; expected 'bfloat16' or 'tf32' with "
            f"float32, 'bfloat16' also with operands of bfloat16_bits or prepared ones, or None"
        )
    a_flags, b_flags = a.flags, b.flags
    if not ((a_flags.c_contiguous or a_flags.f_contiguous) and (b_flags.c_contiguous or b_flags.f_contiguous)):
        raise ValueError(
            "gemm: an operand is neither C-contiguous nor the transpose of such an array; write device.asarray(operand)"
        )
    if row is not None:
        device_of(row, out)
        if row.shape not in (out.shape, out.shape[1:]) or row.dtype != out.dtype or not row.flags.c_contiguous:
            raise ValueError(
                f"gemm: found a row {row.shape} of {row.dtype}; expected {out.shape[1:]} or {out.shape} of {out.dtype}, contiguous"
            )
    if 0 in out.shape:
        return out
    apart = a.shape[1] == 0 or not (device is CPU or device.name == "gpu")
    if row is not None and apart:
        out[...] = row
    if a.shape[1] == 0:
        out[...] = beta * out if beta else 0
    elif device is CPU:
        _cpu_product(a, right, out, alpha, beta, precision, row)
    elif device.name == "gpu":
        if precision == "bfloat16":
            a, b = bfloat16_bits(a), bfloat16_bits(b)
        cublas.product(a, b, out, alpha, beta, precision, row)
    else:
        if precision is not None:
            a, b = rounded(a, precision), rounded(b, precision)
        _array_product(a, b, out, alpha, beta)
    return out


def library() -> str:
    """The name of the BLAS behind `gemm` on the CPU, where a product isn't our own: "mkl", "numpy" or "numpy.matmul"."""
    found = blas.library()
    return found.name if found else "numpy.matmul"


# Up to this many multiply-adds NumPy's own call is the cheaper one, a few microseconds against ten, and runs on one thread.
_SMALL = 1 << 18


# Where a BLAS multiplies, a left operand of states is summed row by row if fewer than this share of it is not zero: binary images.
_SPARSE = 1 / 6


class _Own(NamedTuple):
    """A product of bfloat16 of our own: what lays out a right operand once for several products, and the product."""

    lay: Callable[[np.ndarray], Laid]
    product: Callable[..., None]


def _own_bfloat16() -> _Own | None:
    """The fastest that this CPU has."""
    if tiles.available():
        return _Own(tiles.tiled, tiles.product)
    if vectors.available("avx512bf16"):
        return _Own(vectors.paired, vectors.product_of_pairs)
    return None


def _cpu_product(
    a: np.ndarray, b: Any, out: np.ndarray, alpha: float, beta: float, precision: Precision, row: np.ndarray | None
) -> None:
    if precision == "bfloat16" and (own := _own_bfloat16()):
        # what is rounded already is rounded to itself
        a, b = (rounded(x, precision) if not isinstance(x, Laid) and x.dtype == _BITS else x for x in (a, b))
        own.product(a, b, out, alpha, beta, row)
        return
    if precision is not None:
        a, b = rounded(a, precision), rounded(b, precision)
    large, plain = a.size * b.shape[1] > _SMALL, b.flags.c_contiguous
    if large and out.dtype == np.float32 and vectors.available():
        vectors.product(a, b, out, alpha, beta, row)
        return
    if row is not None:
        out[...] = row
    if large and plain and a.flags.c_contiguous and _count(a) < _SPARSE * a.size:
        _sum_rows(a, b, out, alpha, beta)
        return
    if large and not (plain and a.flags.c_contiguous):
        a, b = _without_tiny(a), _without_tiny(b) if plain else b
    library = blas.library() if large else None
    (library or _array_product)(a, b, out, alpha, beta)


def _array_product(a: Array, b: Array, out: Array, alpha: float, beta: float) -> None:
    """The reference."""
    product = a @ b
    if alpha != 1:
        product *= alpha
    if beta == 0:
        out[...] = product
        return
    if beta != 1:
        out *= beta
    out += product


# Two numbers that are not below this have a product that is normal.
_TINY = {dtype: np.sqrt(np.finfo(dtype).tiny) for dtype in _DTYPES}


def _without_tiny(array: np.ndarray) -> np.ndarray:
    """`array` with zeros in place of what is below _TINY. Where units are saturated, their means and slopes are so small that products
    of them are subnormal numbers, for each of which a CPU takes a hundred times as long."""
    if not array.flags.c_contiguous:
        return _without_tiny(array.T).T
    x, tiny = array.reshape(-1), _TINY[array.dtype]
    unsigned = np.uint32 if x.itemsize == 4 else np.uint64
    if _smallest(x.view(unsigned)) >= (tiny.view(unsigned) << unsigned(1)) - unsigned(1):
        return array
    out = CPU.empty(array.shape, array.dtype)
    _drop_below(x, out.reshape(-1), tiny)
    return out


@njit(nogil=True, cache=True)
def _smallest(bits: Any) -> Any:  # pragma: no cover
    """The least magnitude that is not zero, as 2 bits - 1, which is the largest number for zero: three instructions for a vector, where
    comparisons of floats take eight."""
    unsigned = bits.dtype.type
    one = unsigned(1)
    least = unsigned(unsigned(0) - one)
    for i in range(bits.size):
        least = min(least, unsigned(unsigned(bits[i] << one) - one))
    return least


@njit(nogil=True, cache=True)
def _drop_below(x: Any, out: Any, tiny: Any) -> None:  # pragma: no cover
    for i in range(x.size):
        out[i] = 0 if abs(x[i]) < tiny else x[i]  # NaN stays


@njit(nogil=True, cache=True)
def _count(a: Any) -> int:  # pragma: no cover
    """How many elements are not zero; NumPy's own count takes seven times as long."""
    total = 0
    for r in range(a.shape[0]):
        row, count = a[r], np.int32(0)  # 32 bits: as many lanes as the elements have
        for i in range(row.size):
            count += np.int32(row[i] != 0)
        total += int(count)
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_rows(a: Any, b: Any, out: Any, alpha: float, beta: float) -> None:  # pragma: no cover
    """The rows of b that a row of a has, four at a time: out is read and written once for four of them."""
    index = np.empty(a.shape[1], np.int64)
    real = out.dtype.type
    for r in range(a.shape[0]):
        x, o = a[r], out[r]
        if beta == 0:
            o[:] = 0
        elif beta != 1:
            for c in range(o.size):
                o[c] *= real(beta)
        count = 0
        for i in range(x.size):
            index[count] = i
            count += x[i] != 0
        whole = count // 4 * 4
        for k in range(0, whole, 4):
            i, j, m, n = index[k], index[k + 1], index[k + 2], index[k + 3]
            p, q, s, t = real(alpha * x[i]), real(alpha * x[j]), real(alpha * x[m]), real(alpha * x[n])
            bi, bj, bm, bn = b[i], b[j], b[m], b[n]
            for c in range(o.size):
                o[c] += (p * bi[c] + q * bj[c]) + (s * bm[c] + t * bn[c])
        for k in range(whole, count):
            p, bi = real(alpha * x[index[k]]), b[index[k]]
            for c in range(o.size):
                o[c] += p * bi[c]


def prepared(array: Array, precision: Precision) -> tuple[Any, Any]:
    """`array` and its transpose as right operands of several products: rounded and laid out once for all of them where `gemm` would do it
    in each. What becomes of the array later doesn't matter to them, where there is a precision."""
    if precision != "bfloat16":
        return array, array.T
    if device_of(array) is CPU and (own := _own_bfloat16()):
        return own.lay(array), own.lay(array.T)
    bits = bfloat16_bits(array)
    return bits, bits.T


def rounded(array: Array, precision: Literal["bfloat16", "tf32"]) -> Array:
    """Float32 numbers rounded to the nearest that `precision` has, ties to even, or the numbers that bits of bfloat16 stand for.

    `array` is as in `gemm`, the result has its memory order. NaN stays NaN.
    """
    if not array.flags.c_contiguous:
        return rounded(array.T, precision).T
    device, dropped = device_of(array), _DROPPED[precision]
    if device is CPU:
        out = CPU.empty(array.shape, np.uint32)
        if array.dtype == _BITS:
            _widen(array.reshape(-1), out.reshape(-1))
        else:
            _round(array.view(np.uint32).reshape(-1), out.reshape(-1), dropped)
        return out.view(np.float32)
    if array.dtype == _BITS:
        return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    bits = array.view(np.uint32)
    odd = (bits >> np.uint32(dropped)) & np.uint32(1)
    up = (bits + np.uint32((1 << dropped - 1) - 1) + odd) & np.uint32(2**32 - (1 << dropped))
    # the carry would run over the NaN that a GPU makes, 0x7fffffff, and leave -0
    return device.xp.where(device.xp.isnan(array), array, up.view(np.float32))


def bfloat16_bits(array: Array) -> Array:
    """The upper halves, uint16, of float32 numbers rounded to bfloat16, in the memory order of `array`; bits stay what they are."""
    if array.dtype == _BITS:
        return array
    if not array.flags.c_contiguous:
        return bfloat16_bits(array.T).T
    bits = device_of(array).empty(array.shape, _BITS)
    halve(array.view(np.uint32), bits)
    return bits


# Each step is cast, for Numba's sum of two uint32 is an uint64, with half as many lanes; NaN is found by a signed comparison,
# because AVX2 has no other.
_u = np.uint32


@njit(nogil=True, cache=True)
def _round(bits: Any, out: Any, dropped: int) -> None:  # pragma: no cover
    """As the array code in `rounded`."""
    shift = _u(dropped)
    mask = _u(_u(0xFFFFFFFF) << shift)
    half = _u(_u(_u(1) << _u(shift - _u(1))) - _u(1))
    for i in range(bits.size):
        x = bits[i]
        up = _u(_u(x + _u(half + _u(_u(x >> shift) & _u(1)))) & mask)
        out[i] = x if np.int32(x & _u(0x7FFFFFFF)) > np.int32(0x7F800000) else up


@njit(nogil=True, cache=True)
def _widen(bits: Any, out: Any) -> None:  # pragma: no cover
    """As the array code in `rounded`."""
    for i in range(bits.size):
        out[i] = _u(_u(bits[i]) << _u(16))
