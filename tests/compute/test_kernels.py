"""Every kernel, on every device, against its reference; a kernel without a row in `ROWS` fails."""

from __future__ import annotations

import importlib.util
import math
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
import pytest
from scipy.signal import correlate
from strict import import_kernels, translation_unit
from truncated_normal import exact_moments, quantile_of_tail

import ebm.compute.kernel as module
from ebm.compute.device import CPU
from ebm.compute.kernels.counts import tally
from ebm.compute.kernels.elementary import exp, log, log1p
from ebm.compute.kernels.logistic import cross_entropy, logistic, logistic_sample, softplus
from ebm.compute.kernels.philox import reference_words
from ebm.compute.kernels.sampling import bernoulli, categorical, normal, to_uniform, uniform
from ebm.compute.kernels.truncated import truncated_moments, truncated_sample
from ebm.compute.kernels.windows import overlay, patches, positions

ADDRESS = np.array([0x9ABCDEF0, 0x12345678, 77, 2**32 - 2], np.uint32)  # the offset carries the draw over its end
OFFSET, FIRST_ROW = 3, 2**32 - 5  # and the rows over theirs
DTYPES = (np.float32, np.float64)
KERNELS = {kernel.name: kernel for kernel in import_kernels()}

Maker = Callable[[np.random.Generator, tuple[int, ...], Any], dict[str, Any]]
Margin = Callable[..., np.ndarray]


@dataclass
class Row:
    """How to call a kernel, and how near its results are to the reference's.

    `ulps` bounds the error in units of eps max(1, |reference|), where it is not None `ulps_float64` does for float64; 0 means equal
    bit for bit. Results named in `samples` are 0 or 1
    by a comparison: they may differ only where its two sides, given as a margin, are equal but for rounding.
    """

    make: Maker
    ulps: float = 0
    samples: dict[str, Margin] = field(default_factory=dict)
    shapes: tuple[tuple[int, ...], ...] = ((0, 5), (3, 0), (1, 1), (13, 17))
    ulps_float64: float | None = None
    more_shapes: tuple[tuple[int, ...], ...] = ((7,),)  # in float32 only: each number of axes is compiled anew


def out(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.full(shape, 7, dtype)


def fields(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return (4 * rng.standard_normal(shape)).astype(dtype)


def address(first_row: int = FIRST_ROW) -> dict[str, Any]:
    return {"address": ADDRESS.copy(), "offset": OFFSET, "first_row": first_row}


def uniforms(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return to_uniform(reference_words(shape, ADDRESS, OFFSET, FIRST_ROW), np.dtype(dtype))


def wide_fields(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Fields on both sides of every branch of the truncated normal, the asymptotic one of -50 too."""
    wide = fields(rng, shape, dtype)
    wide.reshape(-1)[::5] *= 20
    return wide


LONGEST = 11
# What a kernel may read only.
INPUTS = (
    "address",
    "table",
    "state",
    "ends",
    "betas",
    "base",
    "change",
    "images",
    "windows",
    "x",
    "y",
    "u",
    "v",
    "dy",
    "code",
    "weight",
)


def draws(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> dict[str, Any]:
    """Weights, some of them zero, and numbers of draws from none to more than there may be."""
    weights = rng.random(shape) * (rng.random(shape) < 0.7)
    return {
        "cumulative": weights.cumsum(axis=1).astype(dtype),
        "lengths": rng.integers(0, LONGEST + 3, shape[:1]).astype(dtype),
        "out": out(shape, dtype),
        "longest": LONGEST,
        **address(),
    }


def logistic_margin(field: np.ndarray, **_: Any) -> np.ndarray:
    return uniforms(field.shape, np.float64) - 1 / (1 + np.exp(-field.astype(float)))


def annealing(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
    """Three inverse temperatures and the weights so far."""
    return {"betas": np.array([0.3, 0.45, 0.7]), "log_weights": rng.standard_normal(shape[0])}


def kept_margin(field: np.ndarray, base: np.ndarray, betas: np.ndarray, **_: Any) -> np.ndarray:
    return logistic_margin(betas[1] * field.astype(float) + (1 - betas[1]) * base)


def categorical_margin(field: np.ndarray, categories: int, **_: Any) -> np.ndarray:
    """For each element the margin of its group: the least distance of the uniform from a step of the distribution function."""
    grouped = field.astype(float).reshape(len(field), field.shape[1] // categories, categories)
    steps = np.exp(grouped).cumsum(axis=2)
    u = uniforms(grouped.shape[:2], np.float64)[:, :, None]
    nearest = np.abs(steps / steps[:, :, -1:] - u).min(axis=2)
    return np.repeat(nearest, categories, axis=1)


def segments(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, state: tuple[float, ...], *moments: str
) -> dict[str, Any]:
    """Three segments, the middle one frozen; some parameters are zero, where the sign is."""
    (n,) = shape
    arrays = {name: rng.standard_normal(n).astype(dtype) for name in ("parameters", *moments)}
    arrays["parameters"][::3] = 0
    if "second" in arrays:
        arrays["second"] **= 2
    return arrays | {
        "ends": np.array([n // 3, n // 2, n]),
        "table": np.array([[1, 0.01, 0.02], [0, 0.01, 0.02], [0.5, 0, 0]], dtype),
        "state": np.array(state, dtype),
        "counter": np.array([2**32 - 2], np.uint32),
        "draws": 3,
    }


# Images, and windows on them: a size, a step that leaves no gap or one, a border. In the last three are pixels under no window.
WINDOWS = {
    (0, 4, 4, 1): (2, 2, 0),
    (1, 1, 1, 1): (1, 1, 0),
    (2, 5, 7, 3): (3, 1, 1),
    (3, 8, 6, 2): (4, 2, 1),
    (2, 6, 9, 1): (2, 3, 0),
    (2, 7, 5, 2): (1, 2, 0),
    (2, 4, 4, 1): (2, 3, 0),
}


def windowed(shape: tuple[int, ...], dtype: Any, given: np.random.Generator, first: str, second: str) -> dict[str, Any]:
    """Images and their windows under these names, and the geometry; the first of the two is given."""
    rows, height, width, channels = shape
    size, step, padding = WINDOWS[shape]
    down, across = (positions(n, size, step, padding) for n in (height, width))
    shapes = {"images": shape, "windows": (rows * down * across, size * size * channels)}
    known, wanted = (shapes[name] for name in (first, second))
    return {
        first: given.standard_normal(known).astype(dtype),
        "out": out(wanted, dtype),
        **{"height": height, "width": width, "size": size, "step": step, "padding": padding},
    }


def phases(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> dict[str, Any]:
    """States of two layers of other sizes, in two phases of other numbers of rows."""
    (rows, columns), others = shape, (2 * shape[0] + 1, max(shape[1] - 1, 0))
    made = {name: rng.standard_normal((n, columns)).astype(dtype) for name, n in (("x", rows), ("y", others[0]))}
    made["total"] = rng.standard_normal(columns).astype(dtype)
    made |= {name: rng.standard_normal((n, others[1])).astype(dtype) for name, n in (("u", rows), ("v", others[0]))}
    return made | {"other": rng.standard_normal(others[1]).astype(dtype), "factor": -0.5, "ratio": -0.5, "beta": 0.75}


def codes(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> dict[str, Any]:
    """Means and log-variances of so many numbers."""
    return {"code": rng.standard_normal((shape[0], 2 * shape[1])).astype(dtype)}


VECTORS: dict[str, Any] = {"shapes": ((0,), (1,), (301,)), "more_shapes": ()}

ROWS = {
    "random_words": Row(lambda rng, shape, dtype: {"out": out(shape, np.uint32), **address()}),
    "halve": Row(
        lambda rng, shape, dtype: {
            "words": rng.integers(0, 2**32, shape, dtype=np.uint64).astype(np.uint32),
            "bits": out(shape, np.uint16),
        }
    ),
    "uniform": Row(lambda rng, shape, dtype: {"out": out(shape, dtype), **address()}),
    "normal": Row(lambda rng, shape, dtype: {"out": out(shape, dtype), **address()}, ulps=6, more_shapes=((7,), (2, 3, 5))),
    "bernoulli": Row(
        lambda rng, shape, dtype: {"probability": rng.random(shape).astype(dtype), "out": out(shape, dtype), **address()}
    ),
    "categorical": Row(
        lambda rng, shape, dtype: {"field": fields(rng, shape, dtype), "out": out(shape, dtype), "categories": 4, **address()},
        samples={"out": categorical_margin},
        shapes=((0, 4), (3, 0), (1, 4), (13, 20)),
        more_shapes=(),
    ),
    "logistic": Row(lambda rng, shape, dtype: {"field": fields(rng, shape, dtype), "out": out(shape, dtype)}, ulps=2),
    "logistic_slope": Row(
        lambda rng, shape, dtype: {
            "mean": rng.random(shape).astype(dtype),
            "dy": fields(rng, shape, dtype),
            "dx": out(shape, dtype),
        },
        ulps=2,
    ),
    "tanh_slope": Row(
        lambda rng, shape, dtype: {
            "y": np.tanh(fields(rng, shape, dtype)),
            "dy": fields(rng, shape, dtype),
            "dx": out(shape, dtype),
        },
        ulps=2,
    ),
    "gaussian_draw": Row(
        lambda rng, shape, dtype: codes(rng, shape, dtype) | {"noise": fields(rng, shape, dtype), "sample": out(shape, dtype)},
        ulps=4,
        more_shapes=(),
    ),
    "gaussian_slope": Row(
        lambda rng, shape, dtype: {
            "noise": fields(rng, shape, dtype),
            "dy": fields(rng, shape, dtype),
            "d_code": out((shape[0], 2 * shape[1]), dtype),
        },
        more_shapes=(),
    ),
    "divergence_slope": Row(
        lambda rng, shape, dtype: codes(rng, shape, dtype)
        | {
            "weight": np.full(1, 0.7, dtype),
            "nats": out(shape[:1], dtype),
            "d_code": fields(rng, (shape[0], 2 * shape[1]), dtype),
        },
        ulps=8,
        more_shapes=(),
    ),
    "softplus": Row(lambda rng, shape, dtype: {"field": fields(rng, shape, dtype), "out": out(shape, dtype)}, ulps=3),
    "cross_entropy": Row(
        lambda rng, shape, dtype: {
            "field": fields(rng, shape, dtype),
            "target": rng.random(shape).astype(dtype),
            "nats": out(shape, dtype),
            "slope": out(shape, dtype),
        },
        ulps=3,
        ulps_float64=5,  # a GPU doesn't round the product of target and field
    ),
    "logistic_sample": Row(
        lambda rng, shape, dtype: {"field": fields(rng, shape, dtype), "sample": out(shape, dtype), **address()},
        ulps=2,
        samples={"sample": logistic_margin},
        more_shapes=((7,), (2, 3, 5)),
    ),
    "truncated_moments": Row(
        lambda rng, shape, dtype: {"field": wide_fields(rng, shape, dtype)}
        | {name: out(shape, dtype) for name in ("mean", "variance", "log_partition")},
        ulps=2,
        ulps_float64=20_000,  # 1 - r m cancels, and a GPU contracts a b + c
    ),
    "truncated_sample": Row(
        lambda rng, shape, dtype: {"field": wide_fields(rng, shape, dtype), "sample": out(shape, dtype), **address()},
        ulps=2,
        ulps_float64=500,
        more_shapes=((7,), (2, 3, 5)),
    ),
    "tally": Row(draws, shapes=((0, 4), (1, 1), (13, 17)), more_shapes=()),
    "anneal_summed": Row(
        lambda rng, shape, dtype: {"field": fields(rng, shape, dtype), **annealing(rng, shape), **address()},
        ulps=20,
        samples={"field": lambda field, betas, **_: logistic_margin(betas[1] * field.astype(float))},
        shapes=((0, 5), (3, 0), (1, 1), (13, 17)),
        more_shapes=(),
    ),
    "anneal_kept": Row(
        lambda rng, shape, dtype: {"field": fields(rng, shape, dtype)}
        | {name: fields(rng, shape[1:], dtype) for name in ("base", "change")}
        | {**annealing(rng, shape), **address()},
        ulps=20,
        samples={"field": kept_margin},
        shapes=((0, 5), (3, 0), (1, 1), (13, 17)),
        more_shapes=(),
    ),
    "patches": Row(
        lambda rng, shape, dtype: windowed(shape, dtype, rng, "images", "windows"), shapes=tuple(WINDOWS), more_shapes=()
    ),
    "overlay": Row(
        lambda rng, shape, dtype: windowed(shape, dtype, rng, "windows", "images"), ulps=8, shapes=tuple(WINDOWS), more_shapes=()
    ),
    "row_sums": Row(phases, ulps=8, shapes=((0, 5), (3, 0), (1, 1), (13, 17)), more_shapes=()),
    "raise_to_difference": Row(
        lambda rng, shape, dtype: {
            "x": fields(rng, shape, dtype),
            "y": fields(rng, shape, dtype),
            "largest": np.full(1, 0.5, dtype),
        },
        more_shapes=((7,), (2, 3, 5)),
    ),
    "momentum_step": Row(lambda rng, shape, dtype: segments(rng, shape, dtype, (0.1, 0.9), "velocity"), ulps=2, **VECTORS),
    "nesterov_step": Row(
        lambda rng, shape, dtype: segments(rng, shape, dtype, (0.1, 0.9), "gradient", "velocity"), ulps=4, **VECTORS
    ),
    "adam_step": Row(
        lambda rng, shape, dtype: segments(
            rng, shape, dtype, (0.1, 0.9, 0.999, 1e-8, 0.729, 0.997), "gradient", "first", "second"
        ),
        ulps=4,
        **VECTORS,
    ),
}  # fmt: skip


def test_every_kernel_has_a_row():
    assert set(ROWS) == set(KERNELS)


def call(function: Callable[..., None], device: Any, arguments: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays after `function` was called with copies on `device`."""
    arrays = {name: device.asarray(v.copy()) for name, v in arguments.items() if isinstance(v, np.ndarray)}
    function(*(arguments | arrays).values())
    return {name: device.to_host(array) for name, array in arrays.items()}


def assert_near(
    row: Row, got: dict[str, np.ndarray], want: dict[str, np.ndarray], arguments: dict[str, Any], eps: float
) -> None:
    ulps = row.ulps if row.ulps_float64 is None or eps > 1e-10 else row.ulps_float64
    for name in want:
        if name in row.samples:
            near = np.abs(row.samples[name](**arguments)) <= 8 * eps
            assert (near | (got[name] == want[name])).all(), f"{name} differs where the margin is not within rounding"
        elif ulps and want[name].dtype.kind == "f":
            error = np.abs(got[name].astype(float) - want[name]) / np.maximum(1, np.abs(want[name])) / eps
            assert error.max(initial=0) <= ulps, name
        else:
            np.testing.assert_array_equal(got[name], want[name], name)


CASES = [
    pytest.param(name, shape, dtype, id=f"{name}-{'x'.join(map(str, shape))}-{dtype.__name__}")
    for name, row in ROWS.items()
    for dtype in DTYPES
    for shape in row.shapes + (row.more_shapes if dtype is np.float32 else ())
]


@pytest.mark.parametrize(("name", "shape", "dtype"), CASES)
def test_kernel_equals_its_reference(device, name, shape, dtype, monkeypatch):
    # A grid of two blocks of eight threads: the largest shapes take many strides of it.
    monkeypatch.setattr(module, "_THREADS", 8)
    monkeypatch.setattr(module, "_MOST_BLOCKS", 2)
    kernel, row = KERNELS[name], ROWS[name]
    arguments = row.make(np.random.default_rng(len(shape)), shape, dtype)
    want = call(kernel.reference, CPU, arguments)
    got = call(kernel, device, arguments)
    eps = np.finfo(dtype).eps
    # what went in and no kernel may change, and what must have been written
    assert all((got[name] == arguments[name]).all() for name in INPUTS if name in got)
    assert_near(row, got, want, arguments, eps)


@pytest.mark.parametrize("name", ROWS)
def test_arrays_of_different_shapes_are_refused(name):
    """No implementation looks where its arrays end, so the kernel must: out of bounds a GPU writes into other arrays."""
    row = ROWS[name]
    shape = row.shapes[-1]
    arguments = row.make(np.random.default_rng(0), shape, np.float32)
    equal = [n for n, value in arguments.items() if isinstance(value, np.ndarray) and value.shape == shape]
    for wrong in equal if len(equal) > 1 else ():
        shorter = {wrong: arguments[wrong][:-1].copy()}
        with pytest.raises(ValueError, match=f"kernel {name}: .*expected equal shapes"):
            KERNELS[name](*(arguments | shorter).values())


def test_a_wrong_result_is_noticed():
    """The comparison above can fail: for values, and for samples however few of them are wrong."""
    row, name = ROWS["logistic_sample"], "logistic_sample"
    arguments = row.make(np.random.default_rng(0), (13, 17), np.float32)
    want = call(KERNELS[name].reference, CPU, arguments)
    wrong_sample, wrong_mean = want["sample"].copy(), want["field"].copy()
    wrong_sample[4, 5] = 1 - wrong_sample[4, 5]
    wrong_mean[4, 5] += 1e-6
    for change in ({"sample": wrong_sample}, {"field": wrong_mean}):
        with pytest.raises(AssertionError):
            assert_near(row, want | change, want, arguments, np.finfo(np.float32).eps)


def test_large_grid(device):
    """More elements than one grid has threads, with the grid as it is."""
    arguments = ROWS["bernoulli"].make(
        np.random.default_rng(0), (3, module._THREADS * module._MOST_BLOCKS // 3 + 11), np.float32
    )
    want = call(bernoulli.reference, CPU, arguments)["out"]
    np.testing.assert_array_equal(call(bernoulli, device, arguments)["out"], want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("beta", "before"), [(0.75, 3.0), (0.0, np.nan)])
def test_sums_by_whole_blocks(device, dtype, beta, before):
    """With the blocks as they are, whose threads wait for each other; what is there before doesn't matter without a share of it."""
    arguments = phases(np.random.default_rng(0), (300, 21), dtype) | {"beta": beta}
    arguments |= {name: np.full_like(arguments[name], before) for name in ("total", "other")}
    got = call(KERNELS["row_sums"], device, arguments)
    for name, x, y in (("total", "x", "y"), ("other", "u", "v")):
        terms = -0.5 * arguments[x].astype(float).sum(axis=0) + 0.25 * arguments[y].astype(float).sum(axis=0)
        want = terms + (beta * arguments[name].astype(float) if beta else 0)
        np.testing.assert_allclose(got[name], want, rtol=0, atol=500 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_equal_phases_cancel_exactly(device, dtype):
    """Though 0.1 times a sum is rounded, which a b + c in one instruction does for one of two products."""
    states = (np.random.default_rng(0).random((10, 9)) < 0.6).astype(dtype)
    arguments = {"x": states, "y": states[::-1].copy(), "total": out((9,), dtype)}
    arguments |= {"u": states, "v": states.copy(), "other": out((9,), dtype), "factor": 0.1, "ratio": -1.0, "beta": 0.0}
    got = call(KERNELS["row_sums"], device, arguments)
    assert not got["total"].any()
    assert not got["other"].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_difference_by_whole_blocks(device, dtype):
    """Wherever it lies; what was larger before stays, and NaN is larger than all."""
    x, y = np.random.default_rng(0).random((2, 40, 31)).astype(dtype)
    for place, value, before, want in (
        ((0, 0), 3, 0, 3),
        ((39, 30), -4, 0, 4),
        ((20, 7), 3, 5, 5),
        ((11, 3), np.nan, 5, np.nan),
    ):
        changed = y.copy()
        changed[place] = x[place] + dtype(value)
        found = call(KERNELS["raise_to_difference"], device, {"x": x, "y": changed, "largest": np.full(1, before, dtype)})
        np.testing.assert_allclose(found["largest"], want, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_sample_compares_with_the_mean_beside_it(device, dtype):
    """Even where rounding moves the mean across the uniform, the two results of one call fit each other."""
    u = uniforms((40, 50), float)
    arguments = {"field": np.log((u + 2.0**-26) / (1 - u)).astype(dtype), "sample": out(u.shape, dtype), **address()}
    got = call(logistic_sample, device, arguments)
    assert (np.abs(got["field"] - u) < 1e-6).all()
    np.testing.assert_array_equal(got["sample"], uniforms(u.shape, dtype) < got["field"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_bernoulli_is_exact_at_the_threshold(device, dtype):
    u = uniforms((30, 41), dtype)
    for probability, expected in ((u, 0), (np.nextafter(u, dtype(2)), 1), (np.zeros_like(u), 0), (np.ones_like(u), 1)):
        got = call(bernoulli, device, {"probability": probability, "out": out(u.shape, dtype), **address()})["out"]
        assert (got == expected).all()


# Rows of the address (0, 0, 0, 0) whose first word gives the least and the greatest uniform, 0 and 1 - 2^-24 (found by search).
LEAST, GREATEST = 1224113, 5150801


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", [LEAST, GREATEST])
def test_ends_of_the_uniform(device, row, dtype):
    """Where sampling goes wrong first: what is impossible does not happen, what is certain does, and logarithms are finite."""
    at_row = {"address": np.zeros(4, np.uint32), "offset": 0, "first_row": row}
    result = out((1, 1), dtype)
    u = call(uniform, device, {"out": result, **at_row})["out"][0, 0]
    assert u == (0 if row == LEAST else 1 - 2**-24)
    for p, want in ((0, 0), (1, 1), (u, 0)):
        assert call(bernoulli, device, {"probability": np.full((1, 1), p, dtype), "out": result, **at_row})["out"] == want
    for x, want in ((-np.inf, 0), (np.inf, 1)):
        assert call(logistic_sample, device, {"field": np.full((1, 1), x, dtype), "sample": result, **at_row})["sample"] == want
    normals = call(normal, device, {"out": out((1, 4), dtype), **at_row})["out"]
    assert np.hypot(*normals[0, :2]) == pytest.approx(np.sqrt(50 * np.log(2)) if row == LEAST else 0, abs=3e-4)
    for x in (-1000, -60, -5, 0, 5, 1000):
        cut = call(truncated_sample, device, {"field": np.full((1, 1), x, dtype), "sample": result, **at_row})["sample"][0, 0]
        # P(state > x) is 2^-25, or all but 2^-25, which is at x = 0 next to nothing
        assert cut == pytest.approx(quantile_of_tail(2**-25 if row == LEAST else 1 - 2**-25, x), rel=1e-4, abs=1e-7)
    for possible in range(5):
        counted = {"cumulative": (np.arange(5)[None] >= possible).astype(dtype), "lengths": np.full(1, 3, dtype)}
        counts = call(tally, device, {**counted, "out": out((1, 5), dtype), "longest": 3, **at_row})["out"]
        assert counts[0, possible] == 3
        field = np.full((1, 5), -np.inf, dtype)
        field[0, possible] = 3
        chosen = call(categorical, device, {"field": field, "out": out((1, 5), dtype), "categories": 5, **at_row})["out"]
        assert chosen.argmax() == possible


@pytest.mark.parametrize("dtype", DTYPES)
def test_categorical_is_one_hot_and_never_impossible(device, dtype):
    rng = np.random.default_rng(0)
    field = fields(rng, (50, 5 * 6), dtype).reshape(50, 5, 6)
    field[:, :, [0, 2, 5]] = -np.inf
    field[:, 1] += dtype(300)
    arguments = {"field": field.reshape(50, 30), "out": out((50, 30), dtype), "categories": 6, **address()}
    sample = call(categorical, device, arguments)["out"].reshape(50, 5, 6)
    assert set(np.unique(sample)) == {0, 1}
    assert (sample.sum(axis=2) == 1).all()
    assert (sample.sum(axis=(0, 1))[[0, 2, 5]] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_truncated_normal_is_right_everywhere(device, dtype):
    """Against decimal arithmetic: between cancellation and the asymptotic series too, and where e^(z^2 / 2) would overflow."""
    z = np.concatenate([-np.geomspace(1e-3, 1e4, 150), [0, -49.99, -50.01], np.geomspace(1e-3, 1e3, 60)]).astype(dtype)[None]
    arguments = {"field": z} | {name: out(z.shape, dtype) for name in ("mean", "variance", "log_partition")}
    got = call(truncated_moments, device, arguments)
    mean, variance, log_partition = np.array([exact_moments(float(x)) for x in z[0]]).T
    series, rounding = (1e-8, 1e-7), 2 * np.finfo(dtype).eps
    np.testing.assert_allclose(got["mean"][0], mean, rtol=rounding + series[0])
    np.testing.assert_allclose(got["variance"][0], variance, rtol=rounding + series[1])
    np.testing.assert_allclose(got["log_partition"][0], log_partition, rtol=rounding, atol=10 * rounding)
    drawn = call(truncated_sample, device, {"field": z, "sample": out(z.shape, dtype), **address()})
    np.testing.assert_array_equal(drawn["field"], got["mean"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_truncated_normal_is_drawn_by_inversion(device, dtype):
    """The draw is the point that a share u of the distribution lies above, for small and large u and any field."""
    z = np.tile(np.array([-1e4, -300, -51, -49, -5, -0.1, 0, 0.1, 3, 6, 40, 1000]), (400, 1)).astype(dtype)
    words = reference_words(z.shape, ADDRESS, OFFSET, FIRST_ROW)
    u = ((words >> np.uint32(8)).astype(float) + 0.5) * 2.0**-24
    got = call(truncated_sample, device, {"field": z, "sample": out(z.shape, dtype), **address()})["sample"]
    want = quantile_of_tail(u, z.astype(float))
    np.testing.assert_allclose(got, want, rtol=1e-7 + 2 * np.finfo(dtype).eps, atol=1e-11)


@pytest.mark.parametrize(("shape", "geometry"), WINDOWS.items())
def test_windows_hold_the_pixels_that_they_say(device, shape, geometry):
    """By SciPy's correlation with a kernel that has a single one; and the adjoint has the same inner product."""
    rng = np.random.default_rng(1)
    size, step, padding = geometry
    arguments = windowed(shape, np.float64, rng, "images", "windows")
    laid = call(patches, device, arguments)["out"]
    framed = np.pad(arguments["images"], ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows, height, width, channels = framed.shape
    parts = laid.reshape(rows, positions(height, size, step, 0), positions(width, size, step, 0), size, size, channels)
    for a in range(size):
        for b in range(size):
            one = np.zeros((1, size, size, 1))
            one[0, a, b, 0] = 1
            if rows:
                seen = correlate(framed, one, mode="valid", method="direct")[:, ::step, ::step]
                np.testing.assert_array_equal(parts[:, :, :, a, b], seen)
    weights = rng.standard_normal(laid.shape)
    summed = call(overlay, device, windowed(shape, np.float64, rng, "windows", "images") | {"windows": weights})["out"]
    assert np.vdot(summed, arguments["images"]) == pytest.approx(np.vdot(weights, laid), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tallies_count_their_draws(device, dtype):
    """As many as are asked for, none of what has no weight, and a longer row begins with the draws of a shorter one."""
    rng = np.random.default_rng(0)
    weights = rng.random((30, 9)) * (np.arange(9) % 4 != 0)
    arguments = {"cumulative": weights.cumsum(axis=1).astype(dtype), "lengths": None, "out": out((30, 9), dtype), "longest": 50}
    before = np.zeros((30, 9))
    for length in (0, 1, 4, 5, 49, 50, 51, 1000):
        arguments["lengths"] = np.full(30, length, dtype)
        counts = call(tally, device, arguments | address())["out"]
        assert (counts.sum(axis=1) == min(length, 50)).all()
        assert not counts[:, ::4].any()
        assert (counts >= before).all()
        before = counts
    assert len(np.unique(counts, axis=0)) == 30


# Float64 from the C library is the truth for float32, Python's integers and fractions are not needed beyond it.
def true_logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def true_softplus(x: float) -> float:
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


@pytest.mark.parametrize(("kernel", "truth", "ulps"), [(logistic, true_logistic, 4), (softplus, true_softplus, 4)])
def test_relative_error_over_the_whole_range(device, kernel, truth, ulps):
    x = np.concatenate([np.linspace(-87, 100, 20_001), np.geomspace(1e-30, 1, 400), -np.geomspace(1e-30, 1, 400)])
    arguments = {"field": x[None].astype(np.float32), "out": out((1, x.size), np.float32)}
    want = np.array([truth(float(value)) for value in arguments["field"][0]])
    got = call(kernel, device, arguments)["out"].astype(float)
    assert (np.abs(got - want) / want).max() <= ulps * np.finfo(np.float32).eps


EXTREMES = [0.0, -0.0, 10, -10, 100, -100, 1000, -1000, math.inf, -math.inf]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "truth"), [(logistic, true_logistic), (softplus, true_softplus)])
def test_extreme_fields(device, kernel, truth, dtype):
    x = np.array([EXTREMES], dtype)
    got = call(kernel, device, {"field": x, "out": out(x.shape, dtype)})["out"]
    want = [[truth(float(value)) for value in x[0]]]
    np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny)
    assert got[0, -1] == got[0, -3] == 0, "what can't happen has no probability at all"


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_certain_targets_has_no_cancellation(device, dtype):
    """That of a target of one is ln(1 + e^-field), of zero ln(1 + e^field), however sure the field is."""
    x = np.array([[-1000, -100, -20, -1, 0, 1, 20, 100, 1000]], dtype)
    for target, sign in ((0, 1), (1, -1)):
        arrays = {"target": np.full_like(x, target), "nats": out(x.shape, dtype), "slope": out(x.shape, dtype)}
        got = call(cross_entropy, device, {"field": x, **arrays})
        want = [[true_softplus(sign * float(value)) for value in x[0]]]
        np.testing.assert_allclose(got["nats"], want, rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [logistic, softplus])
def test_nan_stays_nan(device, kernel, dtype):
    got = call(kernel, device, {"field": np.full((1, 9), np.nan, dtype), "out": out((1, 9), dtype)})["out"]
    assert np.isnan(got).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_has_no_truncated_normal(device, dtype):
    """A run that diverges shows in the moments and does not end up as an innocent zero."""
    arrays = {name: out((1, 9), dtype) for name in ("mean", "variance", "log_partition")}
    nan = np.full((1, 9), np.nan, dtype)
    got = call(truncated_moments, device, {"field": nan, **arrays})
    assert np.isnan([got[name] for name in arrays]).all()
    got = call(truncated_sample, device, {"field": nan, "sample": out((1, 9), dtype), **address()})
    assert np.isnan(got["field"]).all()
    assert np.isnan(got["sample"]).all()


@numba.njit(cache=True)
def elementary(x, y):
    for i in range(x.size):
        y[0, i], y[1, i], y[2, i] = exp(x[i]), log(abs(x[i])), log1p(max(x[i], x.dtype.type(-0.5)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_elementary_functions(dtype):
    x = np.concatenate([np.linspace(-87.3, 88.3, 50_001), np.geomspace(1e-37, 3, 50_000)]).astype(dtype)
    got = np.empty((3, x.size), dtype)
    elementary(x, got)
    exact = x.astype(np.longdouble)
    want = np.array([np.exp(exact), np.log(abs(exact)), np.log1p(np.maximum(exact, -0.5))])
    assert (abs(got - want) <= 2 * np.finfo(dtype).eps * abs(want)).all()
    ends = np.empty((3, 4), np.float32)
    elementary(np.array([-np.inf, -88, 88.8, np.inf], np.float32), ends)
    assert ends[0].tolist() == [0, 0, np.inf, np.inf]
    with pytest.raises(TypeError, match="call NumPy's"):
        exp(1.0)


@pytest.mark.parametrize("real", ["float", "double"])
def test_sources_compile_for_sm_90_with_nvcc(real, tmp_path):
    if not shutil.which("nvcc"):
        pytest.skip("there is no nvcc")
    source = tmp_path / "kernels.cu"
    source.write_text(translation_unit(list(KERNELS.values()), real))
    options = ("-arch=sm_90", "-std=c++17", "-Werror=all-warnings", "-cubin")
    done = subprocess.run(["nvcc", *options, "-o", tmp_path / "kernels.cubin", source], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    cubin = (tmp_path / "kernels.cubin").read_bytes()
    assert all(name.encode() in cubin for name in KERNELS)


@pytest.mark.parametrize("real", ["float", "double"])
def test_sources_compile_for_sm_90_with_nvrtc(real):
    if not importlib.util.find_spec("cupy"):
        pytest.skip("there is no CuPy to reach NVRTC")
    from cupy.cuda import nvrtc

    try:
        nvrtc.getVersion()
    except Exception as error:
        pytest.skip(f"there is no NVRTC: {error}")
    program = nvrtc.createProgram(translation_unit(list(KERNELS.values()), real), "kernels.cu", [], [])
    try:
        nvrtc.compileProgram(program, ["--gpu-architecture=sm_90", "--std=c++17"])
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    finally:
        nvrtc.destroyProgram(program)
