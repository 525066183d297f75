"""One matrix product for everything: out = alpha a b + beta out, in the BLAS that is there.

On the CPU this is MKL where the `mkl` package is installed, else the BLAS that NumPy brings, called by its C interface, so that
`alpha` and `beta` cost no pass of their own. Only one of them ever runs on several threads, and the kernels are serial: two thread
pools that wait actively for work take each other's cores (ten times slower, measured).
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numba import njit

from .device import CPU, Array, Device, device_of

Precision = Literal["bfloat16"] | None

_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def gemm(
    a: Array, b: Array, out: Array | None = None, alpha: float = 1.0, beta: float = 0.0, precision: Precision = None
) -> Array:
    """out = alpha a b + beta out.

    `a` (n, k) and `b` (k, m) are C-contiguous or transposes (`.T`) of C-contiguous arrays, `out` (n, m) is C-contiguous and shares
    no memory with them; all float32 or all float64. With beta = 0, what was in `out` doesn't matter.

    `precision="bfloat16"` rounds the elements of float32 operands to bfloat16 (8 bits of mantissa, to nearest, ties to even); products
    are summed in float32.

    Raises `TypeError` for other or mixed dtypes, `ValueError` for shapes or strides that don't fit, `MixedDevicesError`.
    """
    device = device_of(a, b) if out is None else device_of(a, b, out)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"gemm: found shapes {a.shape} and {b.shape}; expected (n, k) and (k, m)")
    if out is None:
        if beta:
            raise ValueError(f"gemm: found beta={beta} without out; there is nothing to scale")
        out = device.empty((a.shape[0], b.shape[1]), a.dtype)
    if out.shape != (a.shape[0], b.shape[1]) or not out.flags.c_contiguous:
        raise ValueError(
            f"gemm: found out {out.shape}{'' if out.flags.c_contiguous else ' with gaps'}; expected C-contiguous "
            f"{(a.shape[0], b.shape[1])}"
        )
    if a.dtype not in _DTYPES or b.dtype != a.dtype or out.dtype != a.dtype:
        raise TypeError(f"gemm: found dtypes {a.dtype}, {b.dtype}, {out.dtype}; expected all float32 or all float64")
    if not all(x.flags.c_contiguous or x.T.flags.c_contiguous for x in (a, b)):
        raise ValueError(
            "gemm: an operand is neither C-contiguous nor the transpose of such an array; write device.asarray(operand)"
        )
    if precision is not None:
        if precision != "bfloat16" or a.dtype != np.float32:
            raise TypeError(f"gemm: found precision={precision!r} with {a.dtype}; expected 'bfloat16' with float32, or None")
        a, b = round_to_bfloat16(a), round_to_bfloat16(b)
    if 0 in out.shape:
        return out
    if a.shape[1] == 0:
        out[...] = beta * out if beta else 0
    else:
        _product(device, a, b)(a, b, out, alpha, beta)
    return out


def round_to_bfloat16(array: Array) -> Array:
    """Float32 numbers rounded to the nearest bfloat16, ties to even, in the memory order of `array`; NaN stays NaN."""
    if array.T.flags.c_contiguous and not array.flags.c_contiguous:
        return round_to_bfloat16(array.T).T
    xp = device_of(array).xp
    bits = array.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    # the carry would run over the NaN that a GPU makes, 0x7fffffff, and leave -0
    return xp.where(xp.isnan(array), array, rounded.view(np.float32))


def library() -> str:
    """The name of the BLAS behind `gemm` on the CPU: "mkl", "numpy" or "numpy.matmul"."""
    return _cpu_blas()[0]


# Up to this many multiply-adds NumPy's own call is the cheaper one, a few microseconds against ten, and runs on one thread.
_SMALL = 1 << 18


# A left operand of states, most of them off, is summed row by row where fewer than this share of it is not zero: binary images.
_SPARSE = 1 / 6


def _product(device: Device, a: Array, b: Array) -> Callable[..., None]:
    if device is CPU:
        if a.size * b.shape[1] <= _SMALL:
            return _array_product
        if a.flags.c_contiguous and b.flags.c_contiguous and _count(a) < _SPARSE * a.size:
            return _sum_rows
        return _cpu_blas()[1]
    if device.name == "gpu":
        return _cublas
    return _array_product


def _array_product(a: Array, b: Array, out: Array, alpha: float, beta: float) -> None:
    """The reference."""
    product = a @ b
    if alpha != 1:
        product *= alpha
    if beta:
        product += out if beta == 1 else beta * out
    out[...] = product


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


def _cublas(a: Array, b: Array, out: Array, alpha: float, beta: float) -> None:
    from cupy import cublas

    cublas.gemm("N", "N", a, b, out, alpha, beta)


@functools.cache
def _cpu_blas() -> tuple[str, Callable[..., None]]:
    """The CPU's product and where it comes from."""
    for name, find in (("mkl", _find_mkl), ("numpy", _find_numpy)):
        if found := find():
            return name, functools.partial(_cblas, *found)
    return "numpy.matmul", _array_product


def _find_mkl() -> tuple[Any, Any] | None:
    """sgemm and dgemm of MKL's single dynamic library."""
    try:
        files = importlib.metadata.files("mkl") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = [str(f.locate()) for f in files if f.name.startswith(("libmkl_rt.so", "mkl_rt.", "libmkl_rt.dylib"))]
    for path in paths:
        try:
            mkl = ctypes.CDLL(path)
        except OSError:
            continue
        if sys.platform == "linux":
            # GNU's OpenMP is the runtime that is always there, and the one that other packages in the process share.
            mkl.MKL_Set_Threading_Layer(3)
        return _declare(mkl.cblas_sgemm, mkl.cblas_dgemm, ctypes.c_int32)
    return None


def _find_numpy() -> tuple[Any, Any] | None:
    """sgemm and dgemm of the BLAS that NumPy was built with, looked up through NumPy's own extension."""
    try:
        extension = importlib.import_module("numpy._core._multiarray_umath").__file__
    except ImportError:
        return None
    numpy_blas = ctypes.CDLL(extension)
    for pattern, integer in (
        ("scipy_cblas_{}64_", ctypes.c_int64),
        ("cblas_{}64_", ctypes.c_int64),
        ("cblas_{}$NEWLAPACK$ILP64", ctypes.c_int64),
        ("cblas_{}", ctypes.c_int32),
    ):
        try:
            return _declare(numpy_blas[pattern.format("sgemm")], numpy_blas[pattern.format("dgemm")], integer)
        except AttributeError:
            continue
    return None  # Windows looks a symbol up in one library only


def _cblas(sgemm: Any, dgemm: Any, a: np.ndarray, b: np.ndarray, out: np.ndarray, alpha: float, beta: float) -> None:
    a_plain, b_plain = a.flags.c_contiguous, b.flags.c_contiguous
    n, k = a.shape
    m = b.shape[1]
    (sgemm if a.dtype == np.float32 else dgemm)(
        _ROW_MAJOR,
        _PLAIN if a_plain else _TRANSPOSED,
        _PLAIN if b_plain else _TRANSPOSED,
        n,
        m,
        k,
        alpha,
        a.ctypes.data,
        k if a_plain else n,
        b.ctypes.data,
        m if b_plain else k,
        beta,
        out.ctypes.data,
        m,
    )


def _declare(sgemm: Any, dgemm: Any, integer: Any) -> tuple[Any, Any]:
    """Give the two functions of a C interface their parameter types."""
    for function, real in ((sgemm, ctypes.c_float), (dgemm, ctypes.c_double)):
        pointer = ctypes.c_void_p
        function.restype = None
        function.argtypes = (
            *[ctypes.c_int] * 3,
            *[integer] * 3,
            *(real, pointer, integer, pointer, integer, real, pointer, integer),
        )
    return sgemm, dgemm
