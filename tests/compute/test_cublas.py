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
    """cuBLAS and cublasLt in NumPy. What `lacks` is true no algorithm is found for."""

    def __init__(self, lacks=False):
        self.lacks, self.computed, self.searches, self.made = lacks, [], [], []

    def cublasCreate_v2(self, handle):
        return 0

    def cublasGemmEx(self, handle, ta, tb, m, n, k, alpha, a, a_type, lda, b, b_type, ldb, beta, c, c_type, ldc, compute, algo):
        assert algo == -1
        matrices = (a, a_type, *((k, m) if ta else (m, k)), lda), (b, b_type, *((n, k) if tb else (k, n)), ldb)
        self._multiply(alpha, matrices, (ta, tb), beta, (c, c_type, m, n, ldc))
        self.computed.append(("cublasGemmEx", compute))
        return 0

    @staticmethod
    def _multiply(alpha, matrices, transposed, beta, result, added=0):
        """`matrices` and `result` are addresses, types, rows, columns, and how far apart columns are."""
        kinds, (c, kind, m, n, ldc) = [matrix[1] for matrix in matrices], result
        assert kinds == [14 if kind == 0 and kinds[0] == 14 else kind] * 2
        dtype, scalar = CODES[kind]
        alpha, beta = (ctypes.cast(x, ctypes.POINTER(scalar))[0] for x in (alpha, beta))
        x, y = (by_columns(at, *shape, np.uint16 if kinds[0] == 14 else dtype) for at, _, *shape in matrices)
        if kinds[0] == 14:
            x, y = ((bits.astype(np.uint32) << 16).view(np.float32) for bits in (x, y))
        out = by_columns(c, m, n, ldc, dtype)
        before = beta * out if beta else 0
        out[...] = alpha * (x.T if transposed[0] else x) @ (y.T if transposed[1] else y) + before + added

    def _new(self, place, made):
        self.made.append(made)
        place._obj.value = len(self.made)
        return 0

    def cublasLtMatmulDescCreate(self, place, compute, scale):
        assert scale == 0
        return self._new(place, {"compute": compute})

    def cublasLtMatrixLayoutCreate(self, place, kind, rows, columns, leading):
        return self._new(place, (kind, rows, columns, leading))

    def cublasLtMatmulPreferenceCreate(self, place):
        return self._new(place, {})

    def cublasLtMatmulDescSetAttribute(self, of, attribute, value, size):
        assert size == {3: 4, 4: 4, 7: 4, 8: 8}[attribute]
        self.made[of.value - 1][attribute] = value._obj.value
        return 0

    def cublasLtMatmulPreferenceSetAttribute(self, of, attribute, value, size):
        assert size == (8 if attribute == 1 else 4)
        self.made[of.value - 1][attribute] = value._obj.value
        return 0

    def cublasLtMatmulAlgoGetHeuristic(self, handle, work, a, b, c, d, search, most, found, count):
        assert c is d
        assert most == 1
        assert self.made[search.value - 1].keys() == {1, 5, 6, 7, 8}
        self.searches.append(self.made[search.value - 1])
        found._obj.algorithm[0], count._obj.value = 42, 0 if self.lacks is True else 1
        return 15 if self.lacks == "status" else 0

    def cublasLtMatmul(
        self, handle, work, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, algo, memory, size, on
    ):
        assert c_layout is d_layout
        assert (memory, on, algo._obj.algorithm[0]) == (4096, STREAM, 42)
        assert size == self.searches[0][1] == 32 << 20
        told = self.made[work.value - 1]
        first, second, result = (
            (at, *self.made[layout.value - 1]) for at, layout in ((a, a_layout), (b, b_layout), (d, d_layout))
        )
        share = ctypes.cast(beta, ctypes.POINTER(ctypes.c_float))[0]
        if told.get(7) == 4:
            assert (c, share) == (d, 0)
            added = by_columns(told[8], result[2], 1, result[2], np.float32)
        else:
            assert 7 not in told
            added = share * by_columns(c, *result[2:], np.float32)
        self._multiply(alpha, (first, second), (told[3], told[4]), ctypes.byref(ctypes.c_float(0)), result, added)
        self.computed.append(("cublasLtMatmul", told["compute"]))
        return 0


STREAM = 77


@pytest.fixture
def library(monkeypatch):
    """A library that is in use; another one where it is called."""

    def use(library):
        handle = cublas._Handle(library, library, SimpleNamespace(ptr=4096))
        handle.stream = STREAM
        monkeypatch.setattr(cublas, "_handle", lambda: handle)
        return library

    return use


class OnDevice:
    """What `product` asks of an array."""

    def __init__(self, host):
        self.host, self.shape, self.ndim, self.dtype, self.flags = host, host.shape, host.ndim, host.dtype, host.flags
        self.data = SimpleNamespace(ptr=host.ctypes.data)

    def __setitem__(self, index, value):
        self.host[index] = value.host


def operands(rng, n, k, m, transposed, dtype):
    """Factors, each as it is or the transpose of what is in memory."""
    a, b = (
        rng.standard_normal(shape[::-1] if t else shape).astype(dtype)
        for shape, t in zip(((n, k), (k, m)), transposed, strict=True)
    )
    return [x.T if t else x for x, t in zip((a, b), transposed, strict=True)]


TRANSPOSED = [(False, False), (True, False), (False, True), (True, True)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("transposed", TRANSPOSED)
def test_rows_and_columns(dtype, transposed, library):
    library, rng = library(HostLibrary()), np.random.default_rng(0)
    for n, k, m in ((2, 3, 4), (5, 1, 3), (1, 4, 1)):
        a, b = operands(rng, n, k, m, transposed, dtype)
        out = rng.standard_normal((n, m)).astype(dtype)
        want = 0.5 * a @ b - 2 * out
        cublas.product(OnDevice(a), OnDevice(b), OnDevice(out), 0.5, -2.0)
        np.testing.assert_allclose(out, want, rtol=1e-5)


@pytest.mark.parametrize("transposed", TRANSPOSED)
def test_a_row_is_added_by_the_product_itself(transposed, library):
    """What was in the result doesn't matter; a product that has been searched for isn't again, with another row either."""
    library, rng = library(HostLibrary()), np.random.default_rng(0)
    for n, k, m in ((2, 3, 4), (5, 1, 3), (1, 4, 1)):
        a, b = operands(rng, n, k, m, transposed, np.float32)
        row, other, out = rng.standard_normal(m), rng.standard_normal(m), np.full((n, m), np.nan, np.float32)
        lines = np.zeros((2, 64), np.float32)  # so that both are aligned in the same way
        lines[:, :m] = row, other
        before = len(library.searches)
        for line in lines[:, :m]:
            cublas.product(OnDevice(a), OnDevice(b), OnDevice(out), 0.5, 1.0, None, OnDevice(line))
            np.testing.assert_allclose(out, 0.5 * a @ b + line, rtol=1e-5, atol=1e-6)
        assert len(library.searches) == before + 1
    assert {name for name, _ in library.computed} == {"cublasLtMatmul"}


@pytest.mark.parametrize("transposed", TRANSPOSED)
def test_a_row_of_its_own_for_each_is_added_by_the_product_too(transposed, library):
    library, rng = library(HostLibrary()), np.random.default_rng(0)
    for n, k, m in ((2, 3, 4), (5, 1, 3), (1, 4, 1)):
        a, b = operands(rng, n, k, m, transposed, np.float32)
        rows, out = rng.standard_normal((n, m)).astype(np.float32), np.full((n, m), np.nan, np.float32)
        for beta in (1.0, -2.0):
            cublas.product(OnDevice(a), OnDevice(b), OnDevice(out), 0.5, beta, None, OnDevice(rows))
            np.testing.assert_allclose(out, 0.5 * a @ b + beta * rows, rtol=1e-5, atol=1e-6)
        row = OnDevice(rows[0])
        cublas.product(OnDevice(a), OnDevice(b), OnDevice(out), 0.5, 1.0, None, row)
        np.testing.assert_allclose(out, 0.5 * a @ b + rows[0], rtol=1e-5, atol=1e-6)
    assert {name for name, _ in library.computed} == {"cublasLtMatmul"}


def test_addresses_decide_the_algorithm(library):
    """One for memory that lies on a cache line might not be right for what doesn't."""
    library, memory = library(HostLibrary()), np.zeros(4096, np.float32)
    start = -memory.ctypes.data // 4 % 64  # where 256 bytes begin

    def part(offset, *shape):
        return OnDevice(memory[start + offset :][: np.prod(shape)].reshape(shape))

    for offset in (0, 1, 2, 16):
        cublas.product(part(offset, 8, 8), part(512, 8, 8), part(1024, 8, 8), 1.0, 1.0, None, part(2048, 8))
    assert [search[6] for search in library.searches] == [256, 4, 8, 64]  # of the left operand, which cuBLAS gets second
    assert all(search[attribute] == 256 for search in library.searches for attribute in (5, 7, 8))


@pytest.mark.parametrize("lacks", [True, "status"])
def test_where_no_product_adds_a_row_it_is_there_before(lacks, library):
    library, rng = library(HostLibrary(lacks)), np.random.default_rng(0)
    a, b = operands(rng, 3, 4, 5, (False, False), np.float32)
    row, out = rng.standard_normal(5).astype(np.float32), np.empty((3, 5), np.float32)
    for _ in range(2):
        cublas.product(OnDevice(a), OnDevice(b), OnDevice(out), 2.0, 1.0, None, OnDevice(row))
        np.testing.assert_allclose(out, 2 * a @ b + row, rtol=1e-5)
    assert len(library.searches) == 1
    assert {name for name, _ in library.computed} == {"cublasGemmEx"}


def test_a_share_of_a_row_and_float64_are_there_before(library):
    """They have no such product in cuBLAS."""
    library, rng = library(HostLibrary()), np.random.default_rng(0)
    for dtype, beta in ((np.float32, 0.5), (np.float64, 1.0)):
        a, b = operands(rng, 3, 4, 5, (True, False), dtype)
        row, out = rng.standard_normal(5).astype(dtype), np.empty((3, 5), dtype)
        cublas.product(OnDevice(a), OnDevice(b), OnDevice(out), 2.0, beta, None, OnDevice(row))
        np.testing.assert_allclose(out, 2 * a @ b + beta * row, rtol=1e-5)
    assert not library.searches


def test_precisions_are_kinds_of_computing(library):
    """By the numbers of cublas_api.h: float32, its fast form by TF32, float64; products of bfloat16 are summed in float32."""
    library = library(HostLibrary())
    row = OnDevice(np.ones(2, np.float32))
    for precision in (None, "tf32"):
        for added in (None, row):
            cublas.product(*(OnDevice(np.ones((2, 2), np.float32)) for _ in range(3)), 1.0, 1.0, precision, added)
    cublas.product(*(OnDevice(np.ones((2, 2))) for _ in range(3)), 1.0, 0.0)
    bits, out = np.full((2, 2), 0x3F80, np.uint16), np.ones((2, 2), np.float32)
    cublas.product(OnDevice(bits), OnDevice(bits), OnDevice(out), 0.5, 3.0, "bfloat16")
    np.testing.assert_array_equal(out, 0.5 * 2 + 3)
    cublas.product(OnDevice(bits), OnDevice(bits), OnDevice(out), 0.5, 1.0, "bfloat16", row)
    np.testing.assert_array_equal(out, 0.5 * 2 + 1)
    plain, added = (
        [compute for name, compute in library.computed if name == called] for called in ("cublasGemmEx", "cublasLtMatmul")
    )
    assert (plain, added) == ([68, 77, 70, 68], [68, 77, 68])


def test_a_failure_says_so(library):
    failing = library(HostLibrary())
    failing.cublasGemmEx = failing.cublasLtMatmul = lambda *arguments: 7
    three = [OnDevice(np.ones((2, 2), np.float32)) for _ in range(3)]
    with pytest.raises(RuntimeError, match="cublasGemmEx failed with status 7"):
        cublas.product(*three, 1.0, 0.0)
    with pytest.raises(RuntimeError, match="cublasLtMatmul failed with status 7"):
        cublas.product(*three, 1.0, 1.0, None, OnDevice(np.ones(2, np.float32)))


def test_a_workspace_outlives_the_thread_whose_graphs_hold_it(monkeypatch):
    class Memory:
        ptr = 0

        def __init__(self, size):
            made.append(weakref.ref(self))

    made: list[weakref.ref[Memory]] = []
    found = SimpleNamespace(**dict.fromkeys(CALLS, lambda *arguments: 0))
    monkeypatch.setattr(cublas, "_libraries", lambda: (found, found))
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
