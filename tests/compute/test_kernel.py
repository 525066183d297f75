"""The contract of `@kernel`: one signature, no fallback, checked arguments."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from strict import import_kernels

from ebm.compute.device import CPU, MixedDevicesError
from ebm.compute.kernel import Floats, Indices, Kernel, Words, kernel, registry

CUDA = """extern "C" __global__ void scale(const T* x, T* out, const unsigned* bits, const long long* order, double factor,
                                            long long shift, long long out_rows, long long out_columns) {
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < out_rows * out_columns;
         i += gridDim.x * (long long)blockDim.x) out[i] = (T)factor * x[i] + shift;
}"""
ARGUMENTS = {
    "x": np.ones((2, 3), np.float32),
    "out": np.ones((2, 3), np.float32),
    "bits": np.zeros(1, np.uint32),
    "order": np.zeros(1, np.int64),
    "factor": 2.0,
    "shift": 1,
}


def reference(x: Floats, out: Floats, bits: Words, order: Indices, factor: float, shift: int) -> None:
    """out = factor x + shift."""
    out[...] = factor * x + shift


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A kernel that has no implementation but its reference, and leaves no trace in the registry."""
    monkeypatch.setattr(reference, "__name__", "scale")
    monkeypatch.setitem(registry, "scale", None)
    del registry["scale"]
    scale = kernel(reference)
    scale.same_shape("x", "out")
    return scale


def complete(scale: Kernel) -> Kernel:
    def implementation(x: Any, out: Any, bits: Any, order: Any, factor: float, shift: int) -> None:
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[i, j] = factor * x[i, j] + shift

    scale.numba(implementation)
    scale.cuda(CUDA)
    return scale


def test_every_kernel_has_both_implementations():
    kernels = import_kernels()
    assert len(kernels) >= 8
    for k in kernels:
        assert k.compiled is not None, f"{k.name} has no CPU implementation"
        assert k.compiled.targetoptions["nogil"], f"{k.name} holds up other threads"
        assert k.source is not None, f"{k.name} has no GPU implementation"
        assert set(k.parameters.values()) <= {"Floats", "Doubles", "Words", "Halves", "Indices", "int", "float"}
        assert k.__doc__, f"{k.name} says nowhere what it computes"


def test_kernel_computes(scale, device):
    complete(scale)
    arguments = {name: device.asarray(v) if isinstance(v, np.ndarray) else v for name, v in ARGUMENTS.items()}
    scale(*arguments.values())
    assert (device.to_host(arguments["out"]) == 3).all()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x, out, bits, order, factor: None,
        lambda x, out, bits, order, factor, shift, more: None,
        lambda out, x, bits, order, factor, shift: None,
        lambda y, out, bits, order, factor, shift: None,
    ],
    ids=["missing", "more", "reordered", "renamed"],
)
def test_numba_parameters_are_compared(scale, wrong):
    wrong.__annotations__ = dict.fromkeys(wrong.__code__.co_varnames, "Any") | {"factor": "float", "shift": "int"}
    with pytest.raises(TypeError, match=r"scale: the Numba parameters are .*expected"):
        scale.numba(wrong)


@pytest.mark.parametrize("change", [{"factor": "int"}, {"shift": "float"}, {"x": "int"}, {"x": "Words"}])
def test_numba_types_are_compared(scale, change):
    def wrong(x: Any, out: Any, bits: Any, order: Any, factor: float, shift: int) -> None: ...

    wrong.__annotations__ |= change
    with pytest.raises(TypeError, match=r"scale: the Numba parameters are .*expected"):
        scale.numba(wrong)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("T* out", "T* target"),
        ("const T* x, T* out", "T* out, const T* x"),
        ("double factor,", ""),
        ("double factor", "float factor"),
        ("double factor", "T factor"),
        ("long long shift", "int shift"),
        ("const unsigned* bits", "const int* bits"),
        ("const long long* order", "const unsigned* order"),
        ("const T* x", "const float* x"),
        ("const T* x", "T x"),
        ("out_rows,", "rows,"),
        ("out_rows,", "nothing_rows,"),
        ("out_rows,", "shift_rows,"),
        ("long long out_rows", "int out_rows"),
        ("void scale", "void scales"),
        ('extern "C" ', ""),
    ],
)
def test_cuda_parameters_are_compared(scale, old, new):
    with pytest.raises(TypeError, match="kernel scale: "):
        scale.cuda(CUDA.replace(old, new))


def test_cuda_spelling_of_types_is_free(scale):
    scale.cuda(CUDA.replace("const T* x", "T const * __restrict__  x").replace("T* out", "T *__restrict__ out"))


def test_annotations_are_demanded():
    def untyped(x: Any) -> None: ...

    with pytest.raises(TypeError, match=r"kernel untyped: found annotations \['Any'\]"):
        kernel(untyped)
    assert "untyped" not in registry


def test_names_are_unique(scale):
    other = type(reference)(reference.__code__, reference.__globals__, "scale")
    other.__annotations__ = reference.__annotations__
    other.__module__ = "another"
    with pytest.raises(ValueError, match="two kernels are called scale"):
        kernel(other)
    assert registry["scale"] is scale


def test_nothing_falls_back(scale, hostcuda):
    with pytest.raises(LookupError, match="scale has no CPU implementation"):
        scale(*ARGUMENTS.values())
    on_device = [hostcuda.asarray(v) if isinstance(v, np.ndarray) else v for v in ARGUMENTS.values()]
    with pytest.raises(LookupError, match="scale has no GPU implementation"):
        scale(*on_device)


# What is replaced among the arguments; the error; words of its message.
BAD = {
    "half precision": ({"x": np.ones((2, 3), np.float16)}, TypeError, "float16.*expected all float32 or all float64.*asarray"),
    "integers": ({"x": np.ones((2, 3), int)}, TypeError, "int64.*expected all float32 or all float64"),
    "other byte order": ({"x": np.ones((2, 3), ">f4")}, TypeError, "expected all float32"),
    "mixed precision": ({"x": np.ones((2, 3))}, TypeError, "float64.*float32.*expected all float32"),
    "signed words": ({"bits": np.zeros(1, np.int32)}, TypeError, "bits of int32, expected uint32"),
    "short indices": ({"order": np.zeros(1, np.int32)}, TypeError, "order of int32, expected int64"),
    "columns of a larger array": (
        {"x": np.ones((2, 6), np.float32)[:, ::2]},
        ValueError,
        r"x is not C-contiguous.*asarray\(x\)",
    ),
    "a transpose": ({"out": np.ones((3, 2), np.float32).T}, ValueError, "out is not C-contiguous"),
    "another shape": ({"out": np.ones((2, 4), np.float32)}, ValueError, r"x \(2, 3\), out \(2, 4\); expected equal shapes"),
    "another order of axes": ({"out": np.ones((3, 2), np.float32)}, ValueError, "expected equal shapes"),
    "a list": ({"x": [1.0, 2.0]}, TypeError, "found list; expected an array"),
    "a scalar for an array": ({"x": np.float32(1)}, TypeError, "found float32; expected an array"),
    "a fraction for an int": ({"shift": 0.5}, TypeError, "found shift=0.5; expected int"),
    "an array for a float": ({"factor": np.ones(2)}, TypeError, r"found factor=.*; expected float"),
}


@pytest.mark.parametrize(("change", "error", "message"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("place", ["cpu", "hostcuda"])
def test_bad_arguments(scale, request, place, change, error, message):
    complete(scale)
    device = CPU if place == "cpu" else request.getfixturevalue(place)

    def there(value):
        # only the strict device keeps strides, through its views
        return device.array_type(value) if place != "cpu" and isinstance(value, np.ndarray) else value

    arguments = {name: there(value) for name, value in (ARGUMENTS | change).items()}
    with pytest.raises(error, match=message):
        scale(*arguments.values())


def test_device_scalars_are_refused(scale, strict):
    arguments = {name: strict.asarray(v) if isinstance(v, np.ndarray) else v for name, v in ARGUMENTS.items()}
    with pytest.raises(TypeError, match=r"found factor=.*; expected float"):
        scale(*(arguments | {"factor": strict.asarray(2.0)}).values())


def test_one_type_of_scalar_reaches_the_implementations(scale, hostcuda, monkeypatch):
    complete(scale)
    seen = []
    for factor, shift in ((2, np.int32(1)), (np.float32(2), np.uint8(1)), (2.0, True)):
        monkeypatch.setattr(scale, "compiled", lambda *arguments: seen.append([type(a) for a in arguments[4:]]))
        scale(*(ARGUMENTS | {"factor": factor, "shift": shift}).values())
    assert seen == [[float, int]] * 3


@pytest.mark.parametrize("count", [0, 5, 7])
def test_number_of_arguments(scale, count):
    with pytest.raises(TypeError, match=re.escape(f"found {count} arguments, expected ['x', 'out'")):
        complete(scale)(*(list(ARGUMENTS.values()) * 2)[:count])


def test_devices_are_not_mixed(scale, strict):
    with pytest.raises(MixedDevicesError, match=r"device cpu.*device strict.*get\('strict'\).asarray"):
        complete(scale)(*(ARGUMENTS | {"out": strict.zeros((2, 3), np.float32)}).values())
