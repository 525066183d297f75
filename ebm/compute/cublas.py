"""Matrix products on a GPU, by handles of our own to cuBLAS.

CuPy's own refuse to work while a stream is captured. These have a workspace from the start, so that a product allocates nothing.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Hashable
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
# Of cublasLt.h: attributes of a product, and the epilogue that adds a vector to it; those of a search for an algorithm, and the status
# where there is none.
_TRANSPOSED, _EPILOGUE, _ADD_VECTOR, _VECTOR = (3, 4), 7, 4, 8
_MOST_WORKSPACE, _ALIGNMENTS = 1, (5, 6, 7, 8)
_NOT_SUPPORTED = 15
_local = threading.local()
# Handles and workspaces of all threads: captured graphs use them when a thread has ended.
_kept: list[Any] = []


def product(
    a: Array, b: Array, out: Array, alpha: float, beta: float, precision: str | None = None, row: Array | None = None
) -> None:
    """out = alpha a b + beta out, or with `row`, (m,) or (n, m), alpha a b + beta row, on the current stream, of arrays that `gemm` has
    checked."""
    handle = _handle()
    # cuBLAS counts by columns, and so sees transposes: out^T = b^T a^T
    operands = [_Matrix(x) for x in (b, a, out)]
    compute = _COMPUTE["tf32" if precision == "tf32" else out.dtype]
    if row is not None:
        possible = out.dtype == np.float32 and (beta == 1 or row.ndim == 2)
        if possible and handle.add_product(operands, compute, alpha, beta, row):
            return
        out[...] = row
    scalar = ctypes.c_float if out.dtype == np.float32 else ctypes.c_double
    left, right, result = operands
    _check(
        handle.cublas.cublasGemmEx(
            handle.pointer,
            left.transposed,
            right.transposed,
            result.rows,
            result.columns,
            a.shape[1],
            ctypes.byref(scalar(alpha)),
            *left.place,
            *right.place,
            ctypes.byref(scalar(beta)),
            *result.place,
            compute,
            _DEFAULT_ALGORITHM,
        ),
        "cublasGemmEx",
    )


class _Matrix:
    """An array (n, m), C-contiguous or the transpose of one that is, as cuBLAS sees it: its memory, by columns."""

    def __init__(self, array: Array) -> None:
        self.transposed = int(not array.flags.c_contiguous)
        self.columns, self.rows = array.shape[::-1] if self.transposed else array.shape
        self.pointer, self.kind = array.data.ptr, _TYPES[array.dtype]

    @property
    def place(self) -> tuple[int, int, int]:
        """What cublasGemmEx takes: the address, the type, and how far apart columns are."""
        return self.pointer, self.kind, self.rows

    @property
    def alignment(self) -> int:
        return _alignment(self.pointer)


def _alignment(address: int) -> int:
    """The power of two, up to 256, that an address is a multiple of."""
    return min(address & -address or 256, 256)


class _Heuristic(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("algorithm", ctypes.c_uint64 * 8),
        ("workspace", ctypes.c_size_t),
        ("status", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


# Descriptions of a product and of its matrices, and the algorithm for it.
_Plan = tuple[Any, list[Any], _Heuristic]


class _Handle:
    """A thread's handle for a device, its workspace, and what is known of products to which something is added."""

    def __init__(self, cublas: Any, lt: Any, workspace: Any) -> None:
        self.cublas, self.lt, self.workspace, self.stream = cublas, lt, workspace, 0
        self.pointer = ctypes.c_void_p()
        _check(cublas.cublasCreate_v2(ctypes.byref(self.pointer)), "cublasCreate")
        self._plans: dict[Hashable, _Plan | None] = {}

    def on(self, stream: int) -> _Handle:
        """This handle, its products queued on a stream from now on."""
        self.stream = stream
        _check(self.cublas.cublasSetStream_v2(self.pointer, stream), "cublasSetStream")
        # a change of the stream takes the workspace away
        _check(self.cublas.cublasSetWorkspace_v2(self.pointer, self.workspace.ptr, _WORKSPACE), "cublasSetWorkspace")
        return self

    def add_product(self, operands: list[_Matrix], compute: int, alpha: float, beta: float, row: Array) -> bool:
        """out^T = alpha b^T a^T + the vector `row` in each column, or + beta the matrix `row`^T, in one kernel; False where cuBLAS has none
        for that."""
        added, vector = row.data.ptr, row.ndim == 1
        seen = (*((x.rows, x.columns, x.transposed, x.kind, x.alignment) for x in operands), compute, vector, _alignment(added))
        if seen not in self._plans:
            self._plans[seen] = self._plan(operands, compute, added, vector)
        plan = self._plans[seen]
        if plan is None:
            return False
        work, layouts, found = plan
        (left, right, result), scale, share = operands, ctypes.c_float(alpha), ctypes.c_float(0 if vector else beta)
        if vector:
            self._set("cublasLtMatmulDesc", work, _VECTOR, ctypes.c_void_p(added))
        _check(
            self.lt.cublasLtMatmul(
                self.pointer,
                work,
                ctypes.byref(scale),
                left.pointer,
                layouts[0],
                right.pointer,
                layouts[1],
                ctypes.byref(share),
                result.pointer if vector else added,
                layouts[2],
                result.pointer,
                layouts[2],
                ctypes.byref(found),
                self.workspace.ptr,
                _WORKSPACE,
                self.stream,
            ),
            "cublasLtMatmul",
        )
        return True

    def _plan(self, operands: list[_Matrix], compute: int, added: int, vector: bool) -> _Plan | None:
        """What cuBLAS would do, found once for all products alike."""
        work = self._new("cublasLtMatmulDesc", compute, _TYPES[np.dtype(np.float32)])
        for attribute, matrix in zip(_TRANSPOSED, operands[:2], strict=True):
            self._set("cublasLtMatmulDesc", work, attribute, ctypes.c_int(matrix.transposed))
        if vector:
            self._set("cublasLtMatmulDesc", work, _EPILOGUE, ctypes.c_int(_ADD_VECTOR))
            self._set("cublasLtMatmulDesc", work, _VECTOR, ctypes.c_void_p(added))
        layouts = [self._new("cublasLtMatrixLayout", x.kind, x.rows, x.columns, x.rows) for x in operands]
        search = self._new("cublasLtMatmulPreference")
        self._set("cublasLtMatmulPreference", search, _MOST_WORKSPACE, ctypes.c_uint64(_WORKSPACE))
        left, right, result = (x.alignment for x in operands)
        for attribute, alignment in zip(
            _ALIGNMENTS, (left, right, result if vector else _alignment(added), result), strict=True
        ):
            self._set("cublasLtMatmulPreference", search, attribute, ctypes.c_uint32(alignment))
        found, count = _Heuristic(), ctypes.c_int()
        status = self.lt.cublasLtMatmulAlgoGetHeuristic(
            self.pointer, work, *layouts, layouts[2], search, 1, ctypes.byref(found), ctypes.byref(count)
        )
        if status == _NOT_SUPPORTED or (status == 0 and count.value == 0):
            return None
        _check(status, "cublasLtMatmulAlgoGetHeuristic")
        return work, layouts, found

    def _new(self, kind: str, *arguments: int) -> Any:
        made = ctypes.c_void_p()
        _check(getattr(self.lt, f"{kind}Create")(ctypes.byref(made), *arguments), f"{kind}Create")
        return made

    def _set(self, kind: str, of: Any, attribute: int, value: Any) -> None:
        size = ctypes.sizeof(value)
        _check(getattr(self.lt, f"{kind}SetAttribute")(of, attribute, ctypes.byref(value), size), f"{kind}SetAttribute")


def _handle() -> _Handle:
    """This thread's handle for the current device, set to the current stream."""
    import cupy

    device = cupy.cuda.Device().id
    handles = _local.__dict__.setdefault("handles", {})
    if device not in handles:
        # not of the present pool, which may be a step's
        handles[device] = _Handle(*_libraries(), cupy.cuda.Memory(_WORKSPACE))
        _kept.append(handles[device])
    handle: _Handle = handles[device]
    return handle.on(cupy.cuda.get_current_stream().ptr)


@functools.cache
def _libraries() -> tuple[Any, Any]:
    """cuBLAS and cublasLt as CuPy finds them."""
    from cuda import pathfinder

    cublas, lt = (ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib(name).abs_path) for name in ("cublas", "cublasLt"))
    pointer, whole, long, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_size_t
    operand: tuple[Any, ...] = (pointer, whole, whole)
    cublas.cublasCreate_v2.argtypes = (pointer,)
    cublas.cublasSetStream_v2.argtypes = (pointer, pointer)
    cublas.cublasSetWorkspace_v2.argtypes = (pointer, pointer, size)
    cublas.cublasGemmEx.argtypes = (pointer, *[whole] * 5, pointer, *operand, *operand, pointer, *operand, whole, whole)
    lt.cublasLtMatmulDescCreate.argtypes = (pointer, whole, whole)
    lt.cublasLtMatrixLayoutCreate.argtypes = (pointer, whole, ctypes.c_uint64, ctypes.c_uint64, long)
    lt.cublasLtMatmulPreferenceCreate.argtypes = (pointer,)
    for kind in ("cublasLtMatmulDesc", "cublasLtMatmulPreference"):
        getattr(lt, f"{kind}SetAttribute").argtypes = (pointer, whole, pointer, size)
    lt.cublasLtMatmulAlgoGetHeuristic.argtypes = (*[pointer] * 7, whole, pointer, pointer)
    lt.cublasLtMatmul.argtypes = (*[pointer] * 14, size, pointer)
    return cublas, lt


def _check(status: int, name: str) -> None:
    if status:
        raise RuntimeError(f"{name} failed with status {status} (see cublasStatus_t in NVIDIA's documentation of cuBLAS)")
