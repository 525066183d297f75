"""The strict device refuses what a GPU refuses or does slowly, and behaves like CuPy in the rest."""

from __future__ import annotations

import copy
import importlib.util

import numpy as np
import pytest
from strict import FUNCTIONS, METHODS, PROPERTIES, UFUNCS, SyncError

from ebm.compute.device import MixedDevicesError


@pytest.fixture
def a(strict):
    return strict.asarray(np.arange(6, dtype=np.float32).reshape(2, 3))


host = np.ones((2, 3), np.float32)

REFUSED = {
    "float": lambda a: float(a[0, 0]),
    "int": lambda a: int(a[0, 0]),
    "complex": lambda a: complex(a[0, 0]),
    "bool": lambda a: bool(a[0, 0]),
    "if": lambda a: 1 if a[0, 0] > 0 else 0,
    "and": lambda a: a.sum() > 0 and True,
    "max of Python": lambda a: max(a[0, 0], a[0, 1]),
    "range": lambda a: range(a[0, 0]),
    "a list's index": lambda a: [1, 2][a.astype(np.int64)[0, 0]],
    "round": lambda a: np.float32(a[0, 0]),
    "asarray": np.asarray,
    "array of a list": lambda a: np.array([a[0, 0], 1.0]),
    "iteration": list,
    "unpacking": lambda a: [*a],
    "item": lambda a: a.item(),
    "tolist": lambda a: a.tolist(),
    "get": lambda a: a.get(),
    "tobytes": lambda a: a.tobytes(),
    "a NumPy function": np.sum,
    "norm": np.linalg.norm,
    "a mask": lambda a: a[a > 1],
    "nonzero": lambda a: a.nonzero(),
    "where without values": lambda a: a.device.xp.where(a > 1),
}


@pytest.mark.parametrize("act", REFUSED.values(), ids=REFUSED)
def test_the_host_does_not_read(a, act):
    with pytest.raises(SyncError, match="makes the host wait"):
        act(a)


MIXED = {
    "host on the right": lambda a: a + host,
    "host on the left": lambda a: host + a,
    "in place": lambda a: a.__iadd__(host),
    "into the host": lambda a: host.copy().__iadd__(a),
    "out": lambda a: np.exp(a, out=host.copy()),
    "product": lambda a: a @ host.T,
    "function": lambda a: a.device.xp.maximum(a, host),
    "a list of both": lambda a: a.device.xp.concatenate([a, host]),
    "method": lambda a: a.dot(host.T),
    "host index": lambda a: a[np.array([0, 1])],
    "list index": lambda a: a[[0, 1]],
    "assignment": lambda a: a.__setitem__(..., host),
}


@pytest.mark.parametrize("act", MIXED.values(), ids=MIXED)
def test_host_arrays_do_not_mix(a, act):
    with pytest.raises((MixedDevicesError, SyncError)):
        act(a)


def test_buffers_are_closed(a):
    with pytest.raises(TypeError):
        memoryview(a)
    with pytest.raises(TypeError):
        hash(a)


def test_strict_devices_do_not_mix(strict, hostcuda):
    with pytest.raises(MixedDevicesError):
        strict.zeros(3, np.float32) + hostcuda.zeros(3, np.float32)
    for act in (strict.asarray, strict.to_host):
        with pytest.raises(MixedDevicesError):
            act(hostcuda.zeros(3, np.float32))


@pytest.mark.parametrize("act", [lambda a: a.device.xp.linalg, lambda a: a.device.xp.asarray, lambda a: a.sort, np.modf])
def test_what_nobody_needed_yet_is_absent(a, act):
    with pytest.raises((AttributeError, TypeError), match="strict"):
        act(a)


def test_arithmetic_is_numpy_s(strict, a):
    xp, values = strict.xp, np.arange(6, dtype=np.float32).reshape(2, 3)
    with np.errstate(all="ignore"):
        for got, want in (
            (2 * a - 1 / (a + np.float32(1)), 2 * values - 1 / (values + 1)),
            (a @ a.T, values @ values.T),
            (-(a**2) > -4, -(values**2) > -4),
            (xp.where(a > 2, a, 0), np.where(values > 2, values, 0)),
            (xp.concatenate([a, a[:, ::-1]], axis=1), np.concatenate([values, values[:, ::-1]], axis=1)),
            (np.exp(a), np.exp(values)),
            (np.float32(2) * a, 2 * values),
            (a.astype(np.int64) << 1 ^ 5, values.astype(np.int64) << 1 ^ 5),
            (xp.log(a - 3), np.log(values - 3)),
            (a[None, :, strict.asarray(np.array([2, 0]))], values[None, :, [2, 0]]),
        ):
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(strict.to_host(got), want)


def test_results_stay_arrays(strict, a):
    """Where NumPy gives scalars CuPy gives arrays of no axes, and one element is a view."""
    for scalar in (a.sum(), a.max(), strict.xp.mean(a), a[0, 1], a[1][2], strict.asarray(3.0)):
        assert isinstance(scalar, strict.array_type)
        assert scalar.shape == ()
    element = a[1, 2]
    element[...] = 50
    a[0, 0] += 7
    a[1, :2] = a[0, :2]
    assert strict.to_host(a).tolist() == [[7, 1, 2], [7, 1, 50]]


def test_in_place_and_by_mask(strict, a):
    same = a
    a *= 2
    a -= a[:1]
    a[a > 5] = np.float32(-1)
    strict.xp.add(a, 1, out=a)
    assert same is a
    assert strict.to_host(a).tolist() == [[1, 1, 1], [0, 0, 0]]
    with pytest.raises(TypeError, match="same_kind"):
        a.astype(np.int64).__iadd__(0.5)


def test_new_memory_is_poisoned(strict):
    assert np.isnan(strict.to_host(strict.empty((2, 3), np.float32))).all()
    assert (strict.to_host(strict.xp.empty(3, np.uint32)) == 2**32 - 1).all()


def test_copies_are_counted(strict, a):
    strict.syncs = strict.uploads = 0
    copy.copy(a)
    strict.asarray(a)
    a.copy()
    assert (strict.syncs, strict.uploads) == (0, 0)
    strict.to_host(a)
    strict.synchronize()
    strict.asarray(host)
    assert (strict.syncs, strict.uploads) == (2, 1)


def test_cupy_has_all_that_is_allowed():
    if not importlib.util.find_spec("cupy"):
        pytest.skip("there is no CuPy to compare with")
    import cupy

    assert not [name for name in UFUNCS | FUNCTIONS if not hasattr(cupy, name)]
    assert not [name for name in METHODS | PROPERTIES if not hasattr(cupy.ndarray, name)]


def test_the_host_compiler_s_complaint_is_shown(hostcuda):
    from ebm.compute.kernel import Floats, kernel, registry

    @kernel
    def broken(x: Floats) -> None: ...

    try:
        broken.cuda('extern "C" __global__ void broken(T* x) { x[0] = nothing; }')
        with pytest.raises(RuntimeError, match=r"(?s)g\+\+ refuses.*broken.*nothing.*was not declared"):
            broken(hostcuda.zeros(3, np.float32))
    finally:
        del registry["broken"]
