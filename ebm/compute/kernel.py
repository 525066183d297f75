"""`@kernel`: one operation, its reference, and the Numba and CUDA implementations that must equal it.

A kernel is a function that writes into arrays it is given. Its reference is portable array code: it runs on every device and is
the specification that the implementations are tested against. A call runs the implementation of the device that its arrays
live on, and nothing else: there is no fallback. Parameter names, order and types are compared when an implementation is
registered, so the three can't drift apart unnoticed.

Parameters are annotated with what they may be:

=========  ===========================================  ======================
annotation  Python, Numba                                CUDA C++
=========  ===========================================  ======================
`Floats`   float32 or float64 array, one dtype a call   `T*`
`Doubles`  float64 array                                `double*`
`Words`    uint32 array                                 `unsigned*`
`Halves`   uint16 array                                 `unsigned short*`
`Indices`  int64 array                                  `long long*`
`int`      int                                          `long long`
`float`    float                                        `double`
=========  ===========================================  ======================

A CUDA entry may add parameters `NAME_rows` and `NAME_columns`, the shape of the array `NAME` (the columns of a higher-dimensional
array count everything behind the first axis; a one-dimensional array has one row). It is launched with about one thread for
each element of the largest array and covers its work in a loop of grid strides.
"""

from __future__ import annotations

import inspect
import numbers
import re
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from .device import Array, Device, device_of

Floats = Doubles = Words = Halves = Indices = Array

_CUDA_TYPES = {
    "Floats": "T",
    "Doubles": "double",
    "Words": "unsigned",
    "Halves": "unsigned short",
    "Indices": "long long",
    "int": "long long",
    "float": "double",
}
_FIXED = {
    "Doubles": np.dtype(np.float64),
    "Words": np.dtype(np.uint32),
    "Halves": np.dtype(np.uint16),
    "Indices": np.dtype(np.int64),
}
# What a scalar may be, and what the Numba and the CUDA implementations get for it: one type each, or each would be compiled anew.
_SCALARS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "int": (numbers.Integral, int, np.int64),
    "float": (numbers.Real, float, np.float64),
}
_FLOATS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
_THREADS = 256  # reductions count on a power of two from 8 to this
_MOST_BLOCKS = 4096  # enough to fill any present GPU; the grid-stride loop does the rest

registry: dict[str, Kernel] = {}


class Kernel:
    """An operation with one implementation for each kind of device; call it like its reference."""

    def __init__(self, reference: Callable[..., None]) -> None:
        self.reference = reference
        self.name = reference.__name__
        self.__doc__ = reference.__doc__
        self.__name__ = reference.__name__
        self.__module__ = reference.__module__
        self.parameters = {name: str(p.annotation) for name, p in inspect.signature(reference).parameters.items()}
        if unknown := {a for a in self.parameters.values() if a not in _CUDA_TYPES}:
            raise TypeError(f"kernel {self.name}: found annotations {sorted(unknown)}; expected {sorted(_CUDA_TYPES)}")
        self._arrays = [i for i, a in enumerate(self.parameters.values()) if a not in _SCALARS]
        self._floats = [i for i, a in enumerate(self.parameters.values()) if a == "Floats"]
        self._others = [(i, _FIXED[a]) for i, a in enumerate(self.parameters.values()) if a in _FIXED]
        self._scalars = [(i, name, a) for i, (name, a) in enumerate(self.parameters.items()) if a in _SCALARS]
        self._equal: list[int] = []
        self.compiled: Callable[..., None] | None = None
        self.source: str | None = None
        self._extents: list[tuple[int, str]] = []
        self._loaded: dict[tuple[Device, str], Callable[..., None]] = {}
        if self.name in registry and registry[self.name].__module__ != self.__module__:
            raise ValueError(f"two kernels are called {self.name}: {registry[self.name].__module__} and {self.__module__}")
        registry[self.name] = self

    def same_shape(self, *names: str) -> None:
        """Demand that the arrays called `names` have one shape in every call."""
        self._equal = [list(self.parameters).index(name) for name in names]

    def numba(self, function: Callable[..., None]) -> Callable[..., None]:
        """Register the CPU implementation: a function that Numba compiles, with the reference's parameters, arrays being `Any`."""
        found = [f"{name}: {p.annotation}" for name, p in inspect.signature(function).parameters.items()]
        expected = [f"{name}: {a if a in _SCALARS else 'Any'}" for name, a in self.parameters.items()]
        if found != expected:
            raise TypeError(f"kernel {self.name}: the Numba parameters are {found}, expected {expected}")
        # a b + c in one instruction, as on a GPU: two fifths of an exponential
        self.compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})(function)
        return function

    def cuda(self, source: str, *includes: str) -> None:
        """Register the GPU implementation: CUDA C++ with an entry `extern "C" __global__ void NAME(...)`."""
        match = re.search(rf'extern\s+"C"\s+__global__\s+void\s+{self.name}\s*\(([^)]*)\)', source)
        if not match:
            raise TypeError(f'kernel {self.name}: found no `extern "C" __global__ void {self.name}(...)` in the CUDA source')
        found = [re.sub(r"\bconst\b|\b__restrict__\b", "", p) for p in match.group(1).split(",")]
        found = [" ".join(p.replace("*", " * ").split()) for p in found]
        expected = [f"{_CUDA_TYPES[a]} {'' if a in _SCALARS else '* '}{name}".strip() for name, a in self.parameters.items()]
        if found[: len(expected)] != expected:
            raise TypeError(f"kernel {self.name}: the CUDA parameters are {found}, expected to begin with {expected}")
        names = list(self.parameters)
        for extra in found[len(expected) :]:
            extent = re.fullmatch(r"long long (\w+)_(rows|columns)", extra)
            if not extent or extent.group(1) not in names or self.parameters[extent.group(1)] in _SCALARS:
                raise TypeError(
                    f"kernel {self.name}: found the CUDA parameter {extra!r}; expected `long long ARRAY_rows` or _columns"
                )
            self._extents.append((names.index(extent.group(1)), extent.group(2)))
        self.source = "\n".join((*includes, source))

    def cuda_source(self, real: str) -> str:
        """The complete CUDA translation unit for `T` = `real`, "float" or "double"."""
        return f"typedef {real} T;\n{self.source}"

    def __call__(self, *arguments: Any) -> None:
        device = self._check(arguments)
        if self._scalars:
            arguments = self._convert(arguments)
        device.run_kernel(self, arguments)

    def run_numba(self, arguments: tuple[Any, ...]) -> None:
        """Run the CPU implementation."""
        if self.compiled is None:
            raise LookupError(f"kernel {self.name} has no CPU implementation")
        self.compiled(*arguments)

    def run_cuda(self, device: Device, arguments: tuple[Any, ...], compile: Callable[..., Callable[..., None]]) -> None:
        """Run the GPU implementation; `compile(kernel, real)` returns a launcher `f(grid, block, arguments)`."""
        if self.source is None:
            raise LookupError(f"kernel {self.name} has no GPU implementation")
        real = _FLOATS[arguments[self._floats[0]].dtype] if self._floats else "float"
        function = self._loaded.get((device, real))
        if function is None:
            function = self._loaded[device, real] = compile(self, real)
        packed = [
            _SCALARS[annotation][2](value) if annotation in _SCALARS else value
            for annotation, value in zip(self.parameters.values(), arguments, strict=True)
        ]
        for index, axis in self._extents:
            shape = arguments[index].shape
            rows = 1 if len(shape) < 2 else shape[0]
            packed.append(np.int64(rows if axis == "rows" else arguments[index].size // max(rows, 1)))
        work = max(arguments[i].size for i in self._arrays)
        if work:
            function((min(-(-work // _THREADS), _MOST_BLOCKS),), (_THREADS,), tuple(packed))

    def _check(self, arguments: tuple[Any, ...]) -> Device:
        if len(arguments) != len(self.parameters):
            raise TypeError(f"kernel {self.name}: found {len(arguments)} arguments, expected {list(self.parameters)}")
        device = device_of(*[arguments[i] for i in self._arrays])
        for i in self._arrays:
            if not arguments[i].flags.c_contiguous:
                name = list(self.parameters)[i]
                raise ValueError(f"kernel {self.name}: {name} is not C-contiguous; write device.asarray({name})")
        kinds = {arguments[i].dtype for i in self._floats}
        if self._floats and (len(kinds) > 1 or not kinds <= _FLOATS.keys()):
            raise TypeError(
                f"kernel {self.name}: found dtypes {[str(arguments[i].dtype) for i in self._floats]}; "
                "expected all float32 or all float64: write device.asarray(array, dtype)"
            )
        for i, dtype in self._others:
            if arguments[i].dtype != dtype:
                raise TypeError(
                    f"kernel {self.name}: found {list(self.parameters)[i]} of {arguments[i].dtype}, expected {dtype}"
                )
        if len({arguments[i].shape for i in self._equal}) > 1:
            shapes = ", ".join(f"{list(self.parameters)[i]} {arguments[i].shape}" for i in self._equal)
            raise ValueError(f"kernel {self.name}: found {shapes}; expected equal shapes")
        return device

    def _convert(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        converted = list(arguments)
        for i, name, annotation in self._scalars:
            kind, convert, _ = _SCALARS[annotation]
            if type(arguments[i]) is convert:
                continue
            if not isinstance(arguments[i], kind):
                raise TypeError(f"kernel {self.name}: found {name}={arguments[i]!r}; expected {annotation}")
            converted[i] = convert(arguments[i])
        return tuple(converted)


def kernel(reference: Callable[..., None]) -> Kernel:
    """Declare an operation; the decorated function is its reference."""
    return Kernel(reference)
