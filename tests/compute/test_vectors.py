"""Products by AVX-512: exact where they can be, at every edge, with and without helpers."""

from itertools import product

import numpy as np
import pytest
from numba import njit
from threadpoolctl import threadpool_limits

from ebm.compute import vectors
from ebm.compute.vectors import _flush_subnormal, _restore

pytestmark = pytest.mark.skipif(not vectors.available(), reason="this CPU has no AVX-512")
KINDS = {"float32": vectors.product}
if vectors.available("avx512bf16"):
    KINDS["bfloat16"] = vectors.product_of_pairs
each_kind = pytest.mark.parametrize("kind", KINDS)


def whole(rng, *shape):
    """Small whole numbers, whose products are exact in bfloat16 too, whatever the order of the sums."""
    return rng.integers(-9, 10, shape).astype(np.float32)


def states(rng, density, *shape):
    """The same, and zeros of both signs."""
    return whole(rng, *shape) * (rng.random(shape) < density).astype(np.float32)


@pytest.fixture
def listed(monkeypatch):
    """How many left operands were listed."""
    found = []
    make = vectors._lists
    monkeypatch.setattr(vectors, "_lists", lambda left, *of: found.append(left.shape) or make(left, *of))
    return found


@each_kind
@pytest.mark.parametrize("density", [1, 0.07])
@pytest.mark.parametrize("n", [1, 5, 6, 7, 100, 193])
@pytest.mark.parametrize("k", [1, 2, 15, 16, 33, 128, 129, 257, 384, 385, 400])
def test_products_end_where_the_operands_do(kind, density, n, k, listed):
    rng = np.random.default_rng(n * k)
    for m in (1, 15, 16, 17, 63, 64, 65, 130):
        a, b, before = states(rng, density, n, k), whole(rng, k, m), whole(rng, n, m)
        for left, right in product((a, np.ascontiguousarray(a.T).T), (b, np.ascontiguousarray(b.T).T)):
            around = np.full((n + 2, m), np.nan, np.float32)
            out = around[1:-1]
            KINDS[kind](left, right, out, 1, 0)
            np.testing.assert_array_equal(out, a @ b)
            assert np.isnan(around[[0, -1]]).all()
            out[...] = before
            KINDS[kind](left, vectors.paired(right) if kind == "bfloat16" else right, out, -0.5, 2)
            np.testing.assert_array_equal(out, -0.5 * (a @ b) + 2 * before)
    assert bool(listed) == (density < 1) or n * k < 100


@each_kind
@pytest.mark.parametrize("density", [0, 0.01, 0.15, 0.19, 0.31, 0.36, 1])
@pytest.mark.parametrize("transposed", [False, True])
def test_operands_are_listed_where_few_of_their_words_are_not_zero(kind, density, transposed, listed):
    rng = np.random.default_rng(1)
    a, b = (rng.random((200, 300)) < density).astype(np.float32), whole(rng, 300, 100)
    out, row = np.full((200, 100), np.nan, np.float32), whole(rng, 100)
    KINDS[kind](np.ascontiguousarray(a.T).T if transposed else a, b, out, 2, 1, row)
    np.testing.assert_array_equal(out, 2 * (a @ b) + row)
    words = density if kind == "float32" else 1 - (1 - density) ** 2
    assert len(listed) == (words < 1 / 3)


@each_kind
@pytest.mark.parametrize("density", [1, 0.1])
def test_products_as_large_as_caches(kind, density):
    rng = np.random.default_rng(0)
    a, b = states(rng, density, 450, 1100), whole(rng, 1100, 1000)
    out = np.empty((450, 1000), np.float32)
    KINDS[kind](a, b, out, 1, 0)
    np.testing.assert_array_equal(out, a @ b)


@each_kind
@pytest.mark.parametrize("density", [1, 0.1])
def test_a_product_is_the_same_whoever_helps(kind, density):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((300, 500), (500, 700)))
    a *= rng.random(a.shape) < density
    found = []
    for count in (1, 2, 5):
        with threadpool_limits(count, user_api="blas"):
            for _ in range(10):
                out = np.empty((300, 700), np.float32)
                KINDS[kind](a, b, out, 1, 0)
                found.append(out)
    assert all((out == found[0]).all() for out in found)


@each_kind
def test_not_a_number_stays_and_what_is_subnormal_is_zero(kind):
    a = np.ones((20, 40), np.float32)
    a[3, 5], a[4, 6], a[5, 7], a[5, 8], a[6] = np.nan, np.inf, np.inf, -np.inf, 1e-39
    for left in (a, np.ascontiguousarray(a.T).T):
        out = np.empty((20, 40), np.float32)
        KINDS[kind](left, np.ones((40, 40), np.float32), out, 1, 0)
        assert np.isnan(out[[3, 5]]).all()
        assert (out[4] == np.inf).all()
        assert (out[6] == 0).all()
        assert (out[[*range(3), *range(7, 20)]] == 40).all()


@each_kind
def test_not_a_number_stays_among_zeros(kind):
    a = np.zeros((40, 40), np.float32)
    a[3, 5], a[4, 6], a[5, 7], a[5, 9], a[6], a[7, 8] = np.nan, np.inf, np.inf, -np.inf, 1e-39, -1
    for left in (a, np.ascontiguousarray(a.T).T):
        out = np.empty((40, 40), np.float32)
        KINDS[kind](left, np.ones((40, 40), np.float32), out, 1, 0)
        assert np.isnan(out[[3, 5]]).all()
        assert (out[4] == np.inf).all()
        assert (out[7] == -1).all()
        assert (out[[0, 1, 2, 6, *range(8, 40)]] == 0).all()


def test_subnormal_numbers_are_again_what_they_were_afterwards():
    one, small = np.ones((64, 64), np.float32), np.full(100, 1e-39, np.float32)
    vectors.product(one, one, np.empty_like(one), 1, 0)
    assert (small * np.float32(0.5) > 0).all()


@njit
def halved(x):
    before = _flush_subnormal()
    x *= np.float32(0.5)
    _restore(before)


def test_subnormal_numbers_are_flushed_in_between():
    small = np.full(100, 1e-39, np.float32)
    halved(small)
    assert (small == 0).all()


@pytest.mark.parametrize(
    ("what", "value"),
    {
        "sys.platform": "win32",
        "numba.config.CPU_NAME": "generic",  # LLVM would stop the process at an instruction that it was told isn't there
        "numba.config.CPU_FEATURES": "+avx2",
        "llvmlite.binding.get_host_cpu_features": lambda: {"avx512f": False, "avx512bf16": True},
    }.items(),
)
def test_the_instructions_are_left_alone_where_they_can_not_be_used(monkeypatch, what, value):
    assert vectors.usable()
    monkeypatch.setattr(what, value)
    assert not vectors.usable()
    assert not vectors.usable("avx512bf16")


def test_bfloat16_has_a_feature_of_its_own(monkeypatch):
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: {"avx512f": True})
    assert vectors.usable()
    assert not vectors.usable("avx512bf16")
