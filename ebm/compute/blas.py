"""The BLAS of the CPU, called by its C interface, so that `alpha` and `beta` cost no pass of their own."""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112


@dataclass(frozen=True)
class Library:
    """A BLAS: its name, its product for each dtype, and how many threads it has now."""

    name: str
    functions: dict[np.dtype, Any]
    threads: Callable[[], int]

    def __call__(self, a: np.ndarray, b: np.ndarray, out: np.ndarray, alpha: float, beta: float) -> None:
        """out = alpha a b + beta out, of arrays that `gemm` has checked."""
        a_plain, b_plain = a.flags.c_contiguous, b.flags.c_contiguous
        n, k = a.shape
        m = b.shape[1]
        self.functions[a.dtype](
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


@functools.cache
def library() -> Library | None:
    """MKL where the `mkl` package is installed, else the BLAS that NumPy brings, else None."""
    return find_mkl() or find_numpy()


def find_mkl() -> Library | None:
    """MKL's single dynamic library."""
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
        return Library("mkl", _declared(mkl.cblas_sgemm, mkl.cblas_dgemm, ctypes.c_int32), mkl.MKL_Get_Max_Threads)
    return None


def find_numpy() -> Library | None:
    """The BLAS that NumPy was built with, looked up through NumPy's own extension."""
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
            single, double = (numpy_blas[pattern.format(name)] for name in ("sgemm", "dgemm"))
            threads = getattr(numpy_blas, pattern.format("get_num_threads").replace("cblas", "openblas"), lambda: 1)
        except AttributeError:
            continue
        return Library("numpy", _declared(single, double, integer), threads)
    return None  # Windows looks a symbol up in one library only


def _declared(sgemm: Any, dgemm: Any, integer: Any) -> dict[np.dtype, Any]:
    return {
        np.dtype(np.float32): _declare(sgemm, ctypes.c_float, integer),
        np.dtype(np.float64): _declare(dgemm, ctypes.c_double, integer),
    }


def _declare(function: Any, real: Any, integer: Any) -> Any:
    """The function of a C interface, with its parameters' types."""
    pointer = ctypes.c_void_p
    function.restype = None
    function.argtypes = (
        *[ctypes.c_int] * 3,
        *[integer] * 3,
        *(real, pointer, integer, pointer, integer, real, pointer, integer),
    )
    return function
