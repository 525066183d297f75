"""The binding to cuBLAS: what it is told of rows, columns and transposes, by a library that reads host memory."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from ebm.compute import cublas

CALLS = ("cublasCreate_v2", "cublasSetStream_v2", "cublasSetWorkspace_v2")
CODES = {0: (np.float32, ctypes.c_float), 1: (np.float64, ctypes.c_double)}


def by_columns(address, rows, columns, leading, dtype):
    """The matrix at an address as cuBLAS reads it."""
    memory = np.ctypeslib.as_array((ctypes.c_byte * (leading * columns * dtype().itemsize)).from_address(address)).view(dtype)
    return memory.reshape(columns, leading)[:, :rows].T


class HostLibrary:
    """cublasGemmEx in NumPy."""

    def __init__(self):
        self.computed = []

    def cublasGemmEx(self, handle, ta, tb, m, n, k, alpha, a, a_type, lda, b, b_type, ldb, beta, c, c_type, ldc, compute, algo):
        assert a_type == b_type == (14 if c_type == 0 and a_type == 14 else c_type)
        assert algo == -1
        dtype, scalar = CODES[c_type]
        alpha, beta = (ctypes.cast(x, ctypes.POINTER(scalar))[0] for x in (alpha, beta))
        x, y = (
            by_columns(address, *shape, leading, np.uint16 if a_type == 14 else dtype)
            for address, shape, leading in ((a, (k, m) if ta else (m, k), lda), (b, (n, k) if tb else (k, n), ldb))
        )
        if a_type == 14:
            x, y = ((bits.astype(np.uint32) << 16).view(np.float32) for bits in (x, y))
        out = by_columns(c, m, n, ldc, dtype)
        out[...] = alpha * (x.T if ta else x) @ (y.T if tb else y) + beta * out
        self.computed.append(compute)
        return 0


class OnDevice:
    """What `product` asks of an array."""

    def __init__(self, host):
        self.host, self.shape, self.dtype, self.flags = host, host.shape, host.dtype, host.flags
        self.data = SimpleNamespace(ptr=host.ctypes.data)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
def test_rows_and_columns(dtype, transposed, monkeypatch):
    library, rng = HostLibrary(), np.random.default_rng(0)
    monkeypatch.setattr(cublas, "_handle", lambda: (library, None))
    for n, k, m in ((2, 3, 4), (5, 1, 3), (1, 4, 1)):
        a, b = (
            rng.standard_normal(shape[::-1] if t else shape).astype(dtype)
            for shape, t in zip(((n, k), (k, m)), transposed, strict=True)
        )
        a, b = (x.T if t else x for x, t in zip((a, b), transposed, strict=True))
        out = rng.standard_normal((n, m)).astype(dtype)
        want = 0.5 * a @ b - 2 * out
        cublas.product(OnDevice(a), OnDevice(b), OnDevice(out), 0.5, -2.0)
        np.testing.assert_allclose(out, want, rtol=1e-5)


def test_precisions_are_kinds_of_computing(monkeypatch):
    """By the numbers of cublas_api.h: float32, its fast form by TF32, float64; products of bfloat16 are summed in float32."""
    library = HostLibrary()
    monkeypatch.setattr(cublas, "_handle", lambda: (library, None))
    for precision in (None, "tf32"):
        cublas.product(*(OnDevice(np.ones((2, 2), np.float32)) for _ in range(3)), 1.0, 0.0, precision)
    cublas.product(*(OnDevice(np.ones((2, 2))) for _ in range(3)), 1.0, 0.0)
    bits, out = np.full((2, 2), 0x3F80, np.uint16), np.ones((2, 2), np.float32)
    cublas.product(OnDevice(bits), OnDevice(bits), OnDevice(out), 0.5, 3.0, "bfloat16")
    np.testing.assert_array_equal(out, 0.5 * 2 + 3)
    assert library.computed == [68, 77, 70, 68]


def test_a_failure_says_so(monkeypatch):
    failing = SimpleNamespace(cublasGemmEx=lambda *arguments: 7)
    monkeypatch.setattr(cublas, "_handle", lambda: (failing, None))
    with pytest.raises(RuntimeError, match="cublasGemmEx failed with status 7"):
        cublas.product(*(OnDevice(np.ones((2, 2), np.float32)) for _ in range(3)), 1.0, 0.0)


def test_a_workspace_outlives_the_thread_whose_graphs_hold_it(monkeypatch):
    class Memory:
        ptr = 0

        def __init__(self, size):
            made.append(weakref.ref(self))

    made: list[weakref.ref[Memory]] = []
    monkeypatch.setattr(cublas, "_library", lambda: SimpleNamespace(**dict.fromkeys(CALLS, lambda *arguments: 0)))
    monkeypatch.setattr(cublas, "_kept", [])
    stream = SimpleNamespace(ptr=0)
    cuda = SimpleNamespace(Device=lambda: SimpleNamespace(id=0), Memory=Memory, get_current_stream=lambda: stream)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
    for _ in range(2):
        thread = threading.Thread(target=cublas._handle)
        thread.start()
        thread.join()
    gc.collect()
    assert len(made) == 2
    assert all(memory() is not None for memory in made)
