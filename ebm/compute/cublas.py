"""Matrix products on a GPU, by handles of our own to cuBLAS.

CuPy's own refuse to work while a stream is captured. These have a workspace from the start, so that a product allocates nothing.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from typing import Any

import numpy as np

from .device import Array

# What NVIDIA recommends for Hopper ("cublasSetWorkspace"); smaller devices need less.
_WORKSPACE = 32 << 20
_DEFAULT_ALGORITHM = -1
# cudaDataType_t by dtype, uint16 being the bits of bfloat16, and cublasComputeType_t; operands are rounded to TF32 on the way into the
# tensor cores.
_TYPES = {np.dtype(np.float32): 0, np.dtype(np.float64): 1, np.dtype(np.uint16): 14}
_COMPUTE = {np.dtype(np.float32): 68, np.dtype(np.float64): 70, "tf32": 77}
_local = threading.local()
# Handles and workspaces of all threads: captured graphs use them when a thread has ended.
_kept: list[Any] = []


def product(a: Array, b: Array, out: Array, alpha: float, beta: float, precision: str | None = None) -> None:
    """out = alpha a b + beta out on the current stream, of arrays that `gemm` has checked."""
    cublas, handle = _handle()
    (n, k), m = a.shape, b.shape[1]
    scalar = ctypes.c_float if out.dtype == np.float32 else ctypes.c_double
    # cuBLAS counts by columns, and so sees transposes: out^T = b^T a^T
    a_plain, b_plain = a.flags.c_contiguous, b.flags.c_contiguous
    _check(
        cublas.cublasGemmEx(
            handle,
            int(not b_plain),
            int(not a_plain),
            m,
            n,
            k,
            ctypes.byref(scalar(alpha)),
            b.data.ptr,
            _TYPES[b.dtype],
            m if b_plain else k,
            a.data.ptr,
            _TYPES[a.dtype],
            k if a_plain else n,
            ctypes.byref(scalar(beta)),
            out.data.ptr,
            _TYPES[out.dtype],
            m,
            _COMPUTE["tf32" if precision == "tf32" else out.dtype],
            _DEFAULT_ALGORITHM,
        ),
        "cublasGemmEx",
    )


def _handle() -> tuple[Any, Any]:
    """The library, and this thread's handle for the current device, set to the current stream."""
    import cupy

    cublas, device = _library(), cupy.cuda.Device().id
    handles = _local.__dict__.setdefault("handles", {})
    if device not in handles:
        handle = ctypes.c_void_p()
        _check(cublas.cublasCreate_v2(ctypes.byref(handle)), "cublasCreate")
        # not of the present pool, which may be a step's
        handles[device] = handle, cupy.cuda.Memory(_WORKSPACE)
        _kept.append(handles[device])
    handle, workspace = handles[device]
    _check(cublas.cublasSetStream_v2(handle, cupy.cuda.get_current_stream().ptr), "cublasSetStream")
    # a change of the stream takes the workspace away
    _check(cublas.cublasSetWorkspace_v2(handle, workspace.ptr, _WORKSPACE), "cublasSetWorkspace")
    return cublas, handle


@functools.cache
def _library() -> Any:
    """cuBLAS as CuPy finds it."""
    from cuda import pathfinder

    cublas = ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("cublas").abs_path)
    pointer, whole = ctypes.c_void_p, ctypes.c_int
    operand: tuple[Any, ...] = (pointer, whole, whole)
    cublas.cublasCreate_v2.argtypes = (ctypes.POINTER(pointer),)
    cublas.cublasSetStream_v2.argtypes = (pointer, pointer)
    cublas.cublasSetWorkspace_v2.argtypes = (pointer, pointer, ctypes.c_size_t)
    cublas.cublasGemmEx.argtypes = (pointer, *[whole] * 5, pointer, *operand, *operand, pointer, *operand, whole, whole)
    return cublas


def _check(status: int, name: str) -> None:
    if status:
        raise RuntimeError(f"{name} failed with status {status} (see cublasStatus_t in NVIDIA's documentation of cuBLAS)")
