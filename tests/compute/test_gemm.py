"""The matrix product, with each BLAS that is here and with the portable one."""

from __future__ import annotations

import functools
import importlib
import struct
from typing import Any

import numpy as np
import pytest

from ebm.compute.device import CPU, MixedDevicesError, get

# `import ... as` would give the function where a package offers it under the module's name
module = importlib.import_module("ebm.compute.gemm")
gemm, round_to_bfloat16 = module.gemm, module.round_to_bfloat16
LIBRARIES = {"mkl": module._find_mkl, "numpy": module._find_numpy}


@pytest.fixture(params=[*LIBRARIES, "array", "strict", pytest.param("gpu", marks=pytest.mark.gpu)])
def place(request, monkeypatch) -> Any:
    """The device, after `gemm` on the CPU was made to use the library in question."""
    if request.param == "strict":
        return request.getfixturevalue("strict")
    if request.param == "gpu":
        return get("gpu")
    product = module._array_product
    if request.param in LIBRARIES:
        found = LIBRARIES[request.param]()
        if not found:
            pytest.skip(f"there is no {request.param} BLAS to call")
        product = functools.partial(module._cblas, *found)
    monkeypatch.setattr(module, "_cpu_blas", lambda: (request.param, product))
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


def test_only_small_products_bypass_the_library(monkeypatch):
    called = []
    monkeypatch.setattr(module, "_cpu_blas", lambda: ("spy", lambda *arguments: called.append(arguments[0].shape)))
    for n in (64, 65):
        gemm(np.ones((n, 64), np.float32), np.ones((64, 64), np.float32))
    assert called == [(65, 64)]


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


def test_a_captured_shape_waits_for_nothing(strict):
    a, b, out = (strict.zeros(shape, np.float32) for shape in ((2, 3), (3, 4), (2, 4)))
    for precision in (None, "bfloat16"):
        gemm(a, b, out, 0.1, 1.0, precision)
    assert (strict.syncs, strict.uploads) == (0, 0)


x, half = np.ones((4, 4), np.float32), np.ones((4, 4), np.float16)
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
    "an unknown precision": ((x, x), {"precision": "float16"}, TypeError, "found precision='float16' with float32; expected"),
    "bfloat16 of float64": ((x.astype(float),) * 2, {"precision": "bfloat16"}, TypeError, "with float64; expected"),
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


def bfloat16_by_distance(value: float) -> float:
    """The nearest of the two bfloat16 around a float32, found by their distances; of two equally near ones the even one."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    low, high = bits & 0xFFFF0000, (bits & 0xFFFF0000) + 0x10000
    if bits == low:
        return value
    # beyond the largest bfloat16 the next one would be 2^128
    below, above = (struct.unpack("<f", struct.pack("<I", b))[0] for b in (low, high))
    exact_above = np.copysign(2.0**128, value) if np.isinf(above) else above
    distances = abs(value - below), abs(value - exact_above)
    if distances[0] == distances[1]:
        return below if not low >> 16 & 1 else above
    return below if distances[0] < distances[1] else above


def test_bfloat16_rounding(place):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 3000, dtype=np.uint64).astype(np.uint32)
    ties = rng.integers(0, 2**16, 500, dtype=np.uint64).astype(np.uint32) << np.uint32(16) | np.uint32(0x8000)
    near = np.concatenate([ties + np.uint32(1), ties - np.uint32(1)])
    special = np.array([0, 0x80000000, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 1, 0x7F7F8000, 0x7F7F7FFF], np.uint32)
    values = np.concatenate([bits, ties, near, special]).view(np.float32)
    values = values[: len(values) // 2 * 2].reshape(-1, 2)
    values = values[~np.isnan(values).any(axis=1)]
    want = np.array([[bfloat16_by_distance(float(v)) for v in row] for row in values], np.float32)
    for array, expected in ((place.asarray(values), want), (place.asarray(values).T, want.T)):
        got = round_to_bfloat16(array)
        assert got.flags.c_contiguous == array.flags.c_contiguous, "the memory order is kept"
        np.testing.assert_array_equal(place.to_host(got).copy("C").view(np.uint32), expected.copy("C").view(np.uint32))


def test_bfloat16_keeps_every_nan(place):
    """The NaN that a GPU makes is 0x7fffffff, which a carry would turn into -0."""
    bits = np.array([[0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF800001]], np.uint32)
    assert np.isnan(place.to_host(round_to_bfloat16(place.asarray(bits.view(np.float32))))).all()


def test_bfloat16_of_any_strides():
    values = np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4)
    for view in (values[:, ::2], values[:, :, ::3], values.transpose(1, 0, 2)):
        np.testing.assert_array_equal(round_to_bfloat16(view), round_to_bfloat16(view.copy()))


def test_bfloat16_product(place):
    rng = np.random.default_rng(0)
    a, exact_a = operand(rng, (20, 300), True, np.float32, place)
    b, exact_b = operand(rng, (300, 30), False, np.float32, place)
    exact_a, exact_b = (np.vectorize(bfloat16_by_distance)(v) for v in (exact_a, exact_b))
    got = place.to_host(gemm(a, b, precision="bfloat16"))
    # operands are rounded as told, and the sums are those of float32
    assert (abs(got - exact_a @ exact_b) / (abs(exact_a) @ abs(exact_b))).max() < 20 * np.finfo(np.float32).eps
    assert abs(got - place.to_host(gemm(a, b))).max() > 1e-3


def test_the_library_has_a_name():
    assert module.library() in ("mkl", "numpy", "numpy.matmul")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.1, 0.16, 0.17, 0.5])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (1.0, 1.0), (-0.5, 0.3), (2.0, 0.0)])
def test_products_of_sparse_states(dtype, density, alpha, beta, monkeypatch):
    """Rows of few ones take another way than BLAS; the result is the same, and what was in `out` doesn't matter with beta = 0."""
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
    assert bool(summed) == (np.count_nonzero(a) < a.size / 6)
