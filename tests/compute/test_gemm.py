"""The matrix product, with each BLAS that is here and with the portable one."""

from __future__ import annotations

import importlib
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from ebm.compute import blas, tiles, vectors
from ebm.compute.device import CPU, MixedDevicesError, get

# `import ... as` would give the function where a package offers it under the module's name
module = importlib.import_module("ebm.compute.gemm")
gemm, rounded, bfloat16_bits = module.gemm, module.rounded, module.bfloat16_bits
LIBRARIES = {"mkl": blas.find_mkl, "numpy": blas.find_numpy, "array": lambda: None, "amx": blas.library, "avx512": blas.library}
AMX = tiles.available()


@pytest.fixture(params=[*LIBRARIES, "strict", pytest.param("gpu", marks=pytest.mark.gpu)])
def place(request, monkeypatch) -> Any:
    """The device, after `gemm` on the CPU was made to use the library in question."""
    if request.param == "strict":
        return request.getfixturevalue("strict")
    if request.param == "gpu":
        return get("gpu")
    found = LIBRARIES[request.param]()
    if request.param == "amx" and not AMX:
        pytest.skip("this CPU has no AMX")
    if request.param in ("mkl", "numpy") and not found:
        pytest.skip(f"there is no {request.param} BLAS to call")
    if request.param == "avx512" and not vectors.available():
        pytest.skip("this CPU has no AVX-512")
    monkeypatch.setattr(tiles, "available", lambda: request.param == "amx")
    has = vectors.available
    monkeypatch.setattr(vectors, "available", lambda *feature: request.param == "avx512" and has(*feature))
    monkeypatch.setattr(blas, "library", lambda: found)
    monkeypatch.setattr(module, "_SMALL", 0)  # small products too
    return CPU


def operand(
    rng: np.random.Generator, shape: tuple[int, int], transposed: bool, dtype: Any, place: Any
) -> tuple[Any, np.ndarray]:
    """An array, as it is or as the transpose of a contiguous one, and its values in float64."""
    host = rng.standard_normal(shape[::-1] if transposed else shape).astype(dtype)
    array = place.asarray(host)
    return (array.T, host.T.astype(float)) if transposed else (array, host.astype(float))


SHAPES = [(1, 1, 1), (5, 3, 4), (1, 7, 6), (6, 7, 1), (7, 1, 6), (33, 65, 17)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("alpha", "beta"), [(1, 0), (1, 1), (-0.5, 0), (2, -1.5), (0, 2), (np.float32(0.5), np.float64(2))])
def test_against_numpy_in_float64(place, dtype, alpha, beta):
    rng = np.random.default_rng(0)
    for n, k, m in SHAPES:
        for transposed_a in (False, True):
            for transposed_b in (False, True):
                a, exact_a = operand(rng, (n, k), transposed_a, dtype, place)
                b, exact_b = operand(rng, (k, m), transposed_b, dtype, place)
                out, before = operand(rng, (n, m), False, dtype, place)
                result = gemm(a, b, out, alpha, beta)
                assert result is out
                want = float(alpha) * exact_a @ exact_b + float(beta) * before
                scale = abs(float(alpha)) * abs(exact_a) @ abs(exact_b) + abs(float(beta) * before)
                error = abs(place.to_host(out) - want) / np.maximum(scale, 1e-300)
                assert error.max() < (k + 3) * np.finfo(dtype).eps, (n, k, m, transposed_a, transposed_b)


@pytest.mark.parametrize("avx512", [False, True])
def test_only_small_products_bypass_the_library(avx512, monkeypatch):
    called = []
    product = lambda *arguments: called.append(arguments[0].shape)  # noqa: E731
    monkeypatch.setattr(vectors, "available", lambda: avx512)
    monkeypatch.setattr(vectors, "product", product)
    monkeypatch.setattr(blas, "library", lambda: None if avx512 else product)
    for n in (64, 65):
        gemm(np.ones((n, 64), np.float32), np.ones((64, 64), np.float32))
    assert called == [(65, 64)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["gradient", "back", "forward"])
def test_saturated_units_are_not_multiplied_slowly(dtype, kind):
    """Products of means and slopes near the root of the smallest normal number were subnormal: a hundred times as slow."""
    rng = np.random.default_rng(0)
    rows, wide, narrow = (rng.random(shape).astype(dtype) for shape in ((100, 784), (100, 512), (784, 512)))
    tiny = np.sqrt(np.finfo(dtype).tiny) / 1000
    a, b = {"gradient": (rows.T, wide), "back": (wide, narrow.T), "forward": (rows, narrow)}[kind]

    def seconds(a: np.ndarray, b: np.ndarray) -> float:
        out, best = np.zeros((a.shape[0], b.shape[1]), dtype), np.inf
        for _ in range(20):
            start = time.perf_counter()
            gemm(a, b, out)
            best = min(best, time.perf_counter() - start)
        return best

    # the weights of a pass back or forward are no smaller than usual
    slow = (a.dtype.type(tiny) * a, b.dtype.type(tiny) * b) if kind == "gradient" else (a.dtype.type(tiny) * a, b)
    with threadpool_limits(1, user_api="blas"):  # where others keep the cores busy, two threads wait for each other
        assert seconds(*slow) < 20 * seconds(a, b)


def vectorized(dtype: Any) -> bool:
    """Whether products of that dtype are those of `vectors` now."""
    return dtype == np.float32 and vectors.available()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_too_small_is_zero_where_rows_are_summed_or_passed_back(place, dtype):
    root = float(np.sqrt(np.finfo(dtype).tiny))
    values = np.array([0, -0.0, root, -root, root * (1 - 1e-6), -root / 2, 1, -3], dtype)
    states, ones = np.tile(values, (3, 1)), np.ones((3, 2), dtype)
    # AVX-512 takes what is subnormal for zero, which needs no look at the operands
    kept = np.where(abs(values) < root, 0, values) if place is CPU and not vectorized(dtype) else values
    for a, b, want in (
        (states.T, ones, np.tile(3 * kept, (2, 1)).T),
        (ones.T, states, np.tile(3 * kept, (2, 1))),
        (states, np.eye(8, dtype=dtype), states),  # forward nothing is lost
    ):
        host = [place.asarray(x) if x.flags.c_contiguous else place.asarray(x.T).T for x in (a, b)]
        np.testing.assert_array_equal(place.to_host(gemm(*host)), want)
    states[0, 0] = np.nan
    assert np.isnan(place.to_host(gemm(place.asarray(states).T, place.asarray(ones)))[0]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_new_output(place, dtype):
    a, b = (place.asarray(x.astype(dtype)) for x in (np.arange(6.0).reshape(2, 3), np.eye(3, 4)))
    result = gemm(a, b)
    assert result.dtype == dtype
    np.testing.assert_array_equal(place.to_host(result), np.arange(6.0).reshape(2, 3) @ np.eye(3, 4))


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 0, 5), (0, 4, 5), (3, 4, 0), (0, 0, 0)])
@pytest.mark.parametrize("beta", [0, 2])
def test_empty_operands_and_what_was_in_the_output(place, shape, beta):
    """With beta = 0 not even NaN in the output matters; a sum of no terms is zero."""
    n, k, m = shape
    a, b = place.zeros((n, k), np.float32), place.zeros((k, m), np.float32)
    out = place.asarray(np.full((n, m), np.nan if beta == 0 else 3, np.float32))
    np.testing.assert_array_equal(place.to_host(gemm(a, b, out, 1, beta)), np.full((n, m), 3.0 * beta))


@pytest.mark.parametrize("precision", [None, "bfloat16"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 0, 5), (0, 4, 5), (1, 130, 64), (200, 129, 70), (7, 300, 200)])
@pytest.mark.parametrize("density", [1.0, 0.05])
@pytest.mark.parametrize("each", [False, True])
def test_a_row_is_added_to_every_row(place, precision, shape, density, each):
    """Or one to each, as if the output had held them; what it does hold doesn't matter."""
    n, k, m = shape
    rng = np.random.default_rng(0)
    states, added = (rng.random((n, k)) < density) * rng.standard_normal((n, k)), rng.standard_normal((n, m) if each else m)
    a, b, row = (place.asarray(x.astype(np.float32)) for x in (states, rng.standard_normal((k, m)), added))
    for alpha, beta in ((1.0, 1.0), (-0.5, 2.0), (0.5, 0.0)):
        full = place.asarray(np.broadcast_to(place.to_host(row), (n, m)).copy())
        want = place.to_host(gemm(a, b, full, alpha, beta, precision))
        out = place.asarray(np.full((n, m), np.nan, np.float32))
        for found in (gemm(a, b, out, alpha, beta, precision, row=row), gemm(a, b, None, alpha, beta, precision, row=row)):
            # another algorithm of cuBLAS's sums in another order
            tolerance = 1e-4 if place.name == "gpu" else 0
            np.testing.assert_allclose(place.to_host(found), want, rtol=tolerance, atol=tolerance)


def test_a_captured_shape_waits_for_nothing(strict):
    a, b, out = (strict.zeros(shape, np.float32) for shape in ((2, 3), (3, 4), (2, 4)))
    for precision in (None, "bfloat16", "tf32"):
        gemm(a, b, out, 0.1, 1.0, precision)
        gemm(a, b, out, 0.1, 1.0, precision, row=out[0])
    gemm(bfloat16_bits(a), b, out, 0.1, 1.0, "bfloat16")
    assert (strict.syncs, strict.uploads) == (0, 0)


x, half, bits = (np.ones((4, 4), dtype) for dtype in (np.float32, np.float16, np.uint16))
BAD = {
    "shapes that don't meet": (
        (x[:, :3], x),
        {},
        ValueError,
        r"found shapes \(4, 3\) and \(4, 4\); expected \(n, k\) and \(k, m\)",
    ),
    "one axis": ((x[0], x), {}, ValueError, r"found shapes \(4,\) and"),
    "another output": ((x, x), {"out": np.ones((4, 5), np.float32)}, ValueError, r"found out \(4, 5\).*expected.*\(4, 4\)"),
    "an output with gaps": (
        (x, x),
        {"out": np.ones((4, 8), np.float32)[:, ::2]},
        ValueError,
        "with gaps; expected C-contiguous",
    ),
    "a transposed output": ((x, x), {"out": np.ones((4, 4), np.float32).T}, ValueError, "expected C-contiguous"),
    "an operand with gaps": ((np.ones((4, 8), np.float32)[:, ::2], x), {}, ValueError, r"write device.asarray\(operand\)"),
    "half precision": ((half, half), {}, TypeError, "float16.*expected all float32 or all float64"),
    "integers": ((np.ones((4, 4), int), np.ones((4, 4), int)), {}, TypeError, "int64"),
    "mixed precision": ((x, x.astype(float)), {}, TypeError, "found dtypes float32, float64, float32"),
    "an output of another dtype": ((x, x), {"out": np.ones((4, 4))}, TypeError, "found dtypes float32, float32, float64"),
    "beta without output": ((x, x), {"beta": 1.0}, ValueError, "beta=1.0 without out"),
    "a row of another size": (
        (x, x),
        {"row": x[0, :3]},
        ValueError,
        r"found a row \(3,\) of float32; expected \(4,\) or \(4, 4\) of float32",
    ),
    "rows for other rows": ((x, x), {"row": x[:3]}, ValueError, r"found a row \(3, 4\) of float32; expected \(4,\)"),
    "a row of another dtype": ((x, x), {"row": np.ones(4)}, ValueError, r"found a row \(4,\) of float64; expected .* float32"),
    "a row with gaps": ((x, x), {"row": np.ones(8, np.float32)[::2]}, ValueError, "expected .* contiguous"),
    "an unknown precision": (
        (x, x),
        {"precision": "float16"},
        TypeError,
        "found precision='float16' with float32, float32, float32; expected 'bfloat16' or 'tf32' with float32,",
    ),
    "bfloat16 of float64": ((x.astype(float),) * 2, {"precision": "bfloat16"}, TypeError, "'bfloat16' with float64, float64"),
    "tf32 of float64": ((x.astype(float),) * 2, {"precision": "tf32"}, TypeError, "'tf32' with float64, float64, float64"),
    "bfloat16 to float64": (
        (x, x),
        {"precision": "bfloat16", "out": np.ones((4, 4))},
        TypeError,
        "'bfloat16' with float32, float32, float64",
    ),
    "bits without precision": ((bits, bits), {}, TypeError, "found dtypes uint16, uint16, float32"),
    "bits of bfloat16 as tf32": ((x, bits), {"precision": "tf32"}, TypeError, "'tf32' with float32, uint16, float32"),
    "bits as output": ((bits, bits), {"precision": "bfloat16", "out": bits}, TypeError, "with uint16, uint16, uint16"),
    "a list": (([[1.0]], x), {}, TypeError, "found list; expected an array"),
}


@pytest.mark.parametrize(("operands", "options", "error", "message"), BAD.values(), ids=BAD)
def test_bad_arguments(operands, options, error, message):
    with pytest.raises(error, match=message):
        gemm(*operands, **options)


def test_mixed_devices(strict):
    for arguments in ((x, strict.asarray(x)), (x, x, strict.asarray(x))):
        with pytest.raises(MixedDevicesError):
            gemm(*arguments)
    with pytest.raises(MixedDevicesError):
        gemm(x, x, row=strict.asarray(x[0]))


DROPPED = {"bfloat16": 16, "tf32": 13}
each_precision = pytest.mark.parametrize("precision", DROPPED)


def nearest(value: float, precision: str) -> float:
    """The nearest of the two numbers of a precision around a float32, found by their distances; of two equally near ones the even one."""
    step = 1 << DROPPED[precision]
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    low, high = bits // step * step, bits // step * step + step
    if bits == low:
        return value
    # beyond the largest number the next one would be 2^128
    below, above = (struct.unpack("<f", struct.pack("<I", b))[0] for b in (low, high))
    exact_above = np.copysign(2.0**128, value) if np.isinf(above) else above
    distances = abs(value - below), abs(value - exact_above)
    if distances[0] == distances[1]:
        return below if not low // step & 1 else above
    return below if distances[0] < distances[1] else above


def hard_to_round(precision: str) -> np.ndarray:
    """Float32 numbers of all kinds but NaN, (n, 2): ties and their neighbors, subnormal, the largest, infinite."""
    rng, tie = np.random.default_rng(0), np.uint32(1 << DROPPED[precision] - 1)
    bits = rng.integers(0, 2**32, 3000, dtype=np.uint64).astype(np.uint32)
    ties = bits[:500] & ~np.uint32(2 * tie - 1) | tie
    ties[:250] &= np.uint32(0x807FFFFF)  # subnormal
    special = [0, 0x80000000, 1, 0x7FFFFF, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000 - tie, 0x7F7FFFFF - tie]
    values = np.concatenate([bits, ties, ties + np.uint32(1), ties - np.uint32(1), np.array(special, np.uint32)]).view(
        np.float32
    )
    return values[: len(values) // 2 * 2].reshape(-1, 2)[~np.isnan(values).reshape(-1, 2).any(axis=1)]


@each_precision
def test_rounding(place, precision):
    values = hard_to_round(precision)
    want = np.array([[nearest(float(v), precision) for v in row] for row in values], np.float32).view(np.uint32)
    for array, expected in ((place.asarray(values), want), (place.asarray(values).T, want.T)):
        found = {0: rounded(array, precision)}
        if precision == "bfloat16":
            found[16] = bfloat16_bits(array)
            assert found[16].dtype == np.uint16
            assert bfloat16_bits(found[16]) is found[16]
            found[0.5] = rounded(found[16], precision)  # back to float32
        for shift, got in found.items():
            assert got.flags.c_contiguous == array.flags.c_contiguous, "the memory order is kept"
            bits = place.to_host(got).copy("C").view(np.uint16 if shift == 16 else np.uint32)
            np.testing.assert_array_equal(bits, expected >> int(shift))


@each_precision
def test_rounding_keeps_every_nan(place, precision):
    """The NaN that a GPU makes is 0x7fffffff, which a carry would turn into -0; others have nothing but bits that are dropped."""
    bits = np.array([[0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF800001]], np.uint32)
    values = place.asarray(bits.view(np.float32))
    assert np.isnan(place.to_host(rounded(values, precision))).all()
    assert np.isnan(place.to_host(rounded(bfloat16_bits(values), "bfloat16"))).all()


@each_precision
@pytest.mark.parametrize(("transposed_a", "transposed_b"), [(False, False), (False, True), (True, False), (True, True)])
def test_the_product_is_that_of_rounded_operands(place, precision, transposed_a, transposed_b):
    rng = np.random.default_rng(0)
    a, exact_a = operand(rng, (20, 300), transposed_a, np.float32, place)
    b, exact_b = operand(rng, (300, 30), transposed_b, np.float32, place)
    out, before = operand(rng, (20, 30), False, np.float32, place)
    round_all = np.vectorize(lambda v: nearest(v, precision))
    round_a, round_b = round_all(exact_a), round_all(exact_b)
    want = -0.5 * round_a @ round_b + 2 * before
    unit = np.finfo(np.float32).eps * (abs(round_a) @ abs(round_b) + abs(before))
    # tensor cores round in a way of their own, by at most the last bit of each operand
    allowed = 20 * unit if place.name != "gpu" else 2.0 ** (DROPPED[precision] - 22) * abs(exact_a) @ abs(exact_b) + 20 * unit
    operands = [(a, b)]
    if precision == "bfloat16":
        operands += [(a, bfloat16_bits(b)), (bfloat16_bits(a), b), (bfloat16_bits(a), bfloat16_bits(b))]
    for x, y in operands:
        result = place.asarray(place.to_host(out))
        # operands are rounded as told, and the sums are those of float32
        assert (abs(place.to_host(gemm(x, y, result, -0.5, 2, precision)) - want) < allowed).all()
        assert gemm(x, y, precision=precision).dtype == np.float32
    full = abs(place.to_host(gemm(a, b)) - exact_a @ exact_b) < 20 * unit
    assert full.all(), "without a precision nothing is rounded"
    assert (abs(round_a @ round_b - exact_a @ exact_b) > 20 * unit).any(), "and here that makes a difference"


@pytest.mark.parametrize("fast", ["amx", "avx512bf16", "avx512f", None])
def test_products_of_bfloat16_go_where_they_are_fast(fast, monkeypatch):
    called = []
    monkeypatch.setattr(tiles, "available", lambda: fast == "amx")
    monkeypatch.setattr(vectors, "available", lambda *names: fast == "avx512bf16" or (fast == "avx512f" and not names))
    monkeypatch.setattr(vectors, "product", lambda a, b, *_: called.append(f"avx512f {a.dtype} {b.dtype}"))
    for home, name, function in ((tiles, "amx", "product"), (vectors, "avx512bf16", "product_of_pairs")):
        monkeypatch.setattr(home, function, lambda a, b, *_, name=name: called.append(f"{name} {a.dtype} {b.dtype}"))
    monkeypatch.setattr(module, "_sum_rows", lambda a, b, *_: called.append("sum"))
    monkeypatch.setattr(blas, "library", lambda: lambda a, b, *_: called.append(f"blas {a.dtype} {b.dtype}"))
    ones, few = np.ones((100, 100), np.float32), np.eye(100, dtype=np.float32)
    for a, b in ((ones, ones), (ones, bfloat16_bits(ones).T), (few, ones), (few, bfloat16_bits(ones)), (ones[:1], ones)):
        gemm(a, b, precision="bfloat16")
    # small products are NumPy's without such instructions, and for a BLAS the few that are on are summed
    own = fast is not None and fast.startswith("avx512")
    plain = f"{'avx512f' if own else 'blas'} float32 float32"
    assert called == (
        [f"{fast} float32 float32"] * 5 if fast in ("amx", "avx512bf16") else [plain] * 2 + [plain if own else "sum"] * 2
    )
    called.clear()
    gemm(ones, ones, precision="tf32")
    gemm(ones, ones)
    assert called == [plain] * 2


@pytest.fixture
def a_cpu_with_amx(monkeypatch):
    """As far as `tiles.available` can tell."""

    class Library:
        def syscall(self, *arguments: int) -> int:
            assert arguments == (158, 0x1023, 18)  # ARCH_REQ_XCOMP_PERM of XTILEDATA, in Linux's asm/prctl.h
            return 0

    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("numba.config.CPU_NAME", None)
    monkeypatch.setattr("numba.config.CPU_FEATURES", None)
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: {"amx-bf16": True, "avx512f": True})
    monkeypatch.setattr("ctypes.CDLL", lambda _: Library())
    monkeypatch.setattr(tiles, "available", tiles.available.__wrapped__)
    return Library


def test_amx_is_found(a_cpu_with_amx):
    assert tiles.available()


@pytest.mark.parametrize(
    ("what", "value"),
    {
        "sys.platform": "win32",
        "numba.config.CPU_NAME": "generic",  # LLVM would stop the process at an instruction that it was told isn't there
        "numba.config.CPU_FEATURES": "+avx2",
        "llvmlite.binding.get_host_cpu_features": lambda: {"amx-bf16": False, "avx512f": True},
    }.items(),
)
def test_amx_is_left_alone_where_it_can_not_be_used(a_cpu_with_amx, monkeypatch, what, value):
    monkeypatch.setattr(what, value)
    assert not tiles.available()


def test_amx_needs_the_permission_of_the_system(a_cpu_with_amx, monkeypatch):
    monkeypatch.setattr(a_cpu_with_amx, "syscall", lambda *_: -1)
    assert not tiles.available()


amx = pytest.mark.skipif(not AMX, reason="this CPU has no AMX")


@amx
@pytest.mark.parametrize("n", [1, 15, 16, 17, 32, 33, 49, 100])
@pytest.mark.parametrize("k", [1, 2, 31, 32, 33, 65])
def test_tiles_end_where_the_operands_do(n, k):
    """Products of small integers are exact, whatever the order of the sums."""
    rng = np.random.default_rng(n * k)
    for m in (1, 16, 17, 31, 32, 33, 70):
        a, b, before = (rng.integers(-9, 10, shape).astype(np.float32) for shape in ((n, k), (k, m), (n, m)))
        for left, right in product((a, np.ascontiguousarray(a.T).T), (b, np.ascontiguousarray(b.T).T)):
            out = np.full((n, m), np.nan, np.float32)
            tiles.product(left, right, out, 1, 0)
            np.testing.assert_array_equal(out, a @ b)
            out = before.copy()
            tiles.product(left, tiles.tiled(right), out, -0.5, 2)
            np.testing.assert_array_equal(out, -0.5 * (a @ b) + 2 * before)


@amx
def test_tiles_of_numbers_that_are_none_or_hardly_there():
    a = np.ones((20, 40), np.float32)
    a[3, 5], a[4, 6], a[5, 7], a[5, 8], a[6] = np.nan, np.inf, np.inf, -np.inf, 1e-39
    for left in (a, np.ascontiguousarray(a.T).T):
        out = gemm(left, np.ones((40, 20), np.float32), precision="bfloat16")
        assert np.isnan(out[[3, 5]]).all()
        assert (out[4] == np.inf).all()
        assert (out[6] == 0).all(), "subnormal numbers are zero"
        assert (out[[*range(3), *range(7, 20)]] == 40).all()


@amx
@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("cache", [0, 1 << 14, 1 << 20])
def test_large_products_are_made_block_by_block_by_several_threads(count, cache, monkeypatch):
    monkeypatch.setattr(tiles, "_LARGE", 0)
    monkeypatch.setattr(tiles, "_CACHE", cache)
    monkeypatch.setattr(tiles.threads, "number", lambda _: count)
    rng = np.random.default_rng(0)
    a, b, out = (rng.integers(-9, 10, shape).astype(np.float32) for shape in ((50, 70), (70, 150), (50, 150)))
    want = 2 * (a @ b) - out
    np.testing.assert_array_equal(gemm(a, b, out, 2, -1, precision="bfloat16"), want)


@amx
def test_two_threads_multiply_at_once():
    """Tiles are registers of a thread."""
    rng = np.random.default_rng(0)
    operands = [[rng.integers(-9, 10, (200, 200)).astype(np.float32) for _ in range(2)] for _ in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for found, (a, b) in zip(pool.map(lambda o: gemm(*o, precision="bfloat16"), 20 * operands), 20 * operands, strict=True):
            np.testing.assert_array_equal(found, a @ b)


@pytest.mark.parametrize(("precision", "expected"), [(None, np.float32), ("tf32", np.float32), ("bfloat16", np.uint16)])
def test_a_gpu_multiplies_operands_of_the_precision(precision, expected, strict, monkeypatch):
    """cuBLAS would multiply float32 operands in float32."""
    told = []
    monkeypatch.setattr(strict, "name", "gpu")
    monkeypatch.setattr(module.cublas, "product", lambda a, b, *rest: told.append((a.dtype, b.dtype, rest[-2])))
    a, b = (strict.asarray(np.ones(shape, np.float32)) for shape in ((3, 4), (4, 5)))
    gemm(a, b, precision=precision)
    ready, turned = module.prepared(b, precision)
    gemm(a, ready, precision=precision)
    gemm(b, turned, precision=precision)
    assert told == [(np.dtype(expected), np.dtype(expected), precision)] * 3


@pytest.mark.parametrize("precision", [None, "tf32", "bfloat16"])
def test_an_operand_that_is_prepared_gives_the_same_product(place, precision):
    rng = np.random.default_rng(0)
    a, b, c = (place.asarray(rng.standard_normal(shape), np.float32) for shape in ((20, 50), (50, 30), (7, 30)))
    forward, back = module.prepared(b, precision)
    if precision != "bfloat16":
        assert forward is b
    for left, right, ready in ((a, b, forward), (c, b.T, back)):
        np.testing.assert_array_equal(
            place.to_host(gemm(left, ready, precision=precision)), place.to_host(gemm(left, right, precision=precision))
        )


def test_a_prepared_operand_is_of_the_array_as_it_was(place):
    a, b = place.asarray(np.ones((3, 4), np.float32)), place.asarray(np.ones((4, 5), np.float32))
    forward, back = module.prepared(b, "bfloat16")
    b[...] = 7
    for left, ready in ((a, forward), (place.asarray(np.ones((3, 5), np.float32)), back)):
        assert (place.to_host(gemm(left, ready, precision="bfloat16")) == left.shape[1]).all()
        with pytest.raises(TypeError, match="found dtypes float32, uint16, float32"):
            gemm(left, ready)
        with pytest.raises(TypeError, match="found precision='tf32' with float32, uint16, float32"):
            gemm(left, ready, precision="tf32")


def test_the_library_has_a_name():
    assert module.library() in ("mkl", "numpy", "numpy.matmul")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.1, 0.16, 0.17, 0.5])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (1.0, 1.0), (-0.5, 0.3), (2.0, 0.0)])
def test_products_of_sparse_states(dtype, density, alpha, beta, monkeypatch):
    """Rows of few ones take another way than a BLAS; the result is the same, and what was in `out` doesn't matter with beta = 0."""
    rng = np.random.default_rng(5)
    a = ((rng.random((37, 301)) < density) * rng.normal(size=(37, 301))).astype(dtype)
    b, out = rng.normal(size=(301, 45)).astype(dtype), rng.normal(size=(37, 45)).astype(dtype)
    summed = []
    monkeypatch.setattr(module, "_sum_rows", lambda *arguments, way=module._sum_rows: (summed.append(1), way(*arguments))[1])
    if beta == 0:
        out[...] = np.nan
    expected = alpha * (a.astype(float) @ b) + (beta * out if beta else 0)
    module.gemm(a, b, out, alpha=alpha, beta=beta)
    scale = abs(a.astype(float)) @ abs(b) + 1
    assert (abs(out - expected) < 30 * np.finfo(dtype).eps * scale).all()
    assert bool(summed) == (not vectorized(dtype) and np.count_nonzero(a) < a.size / 6)
