"""GPU manners without a GPU: devices that keep their arrays in host memory and refuse what a GPU refuses or does slowly.

`StrictDevice` runs the reference of each kernel. `HostCuda` goes the whole way of the GPU but for CuPy itself: the CUDA sources
are compiled for the host, and arguments are packed and launched as for the device.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import pkgutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from streams import Cuda, Stream, copy_later

import ebm.compute.kernels
from ebm.compute.device import CPU, Arena, Device, MixedDevicesError
from ebm.compute.kernel import Kernel, registry


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What `xp` and arrays offer here. CuPy has every name too (a test looks), so add what a caller needs.
UFUNCS = _names(
    """absolute add bitwise_and bitwise_or bitwise_xor ceil cos divide equal exp expm1 floor floor_divide greater greater_equal
    invert isfinite isinf isnan left_shift less less_equal log log1p logaddexp logical_and logical_not logical_or matmul maximum
    minimum multiply negative not_equal positive power remainder right_shift rint sign sin sqrt square subtract tanh"""
)
FUNCTIONS = _names(
    """abs all any arange argmax ascontiguousarray broadcast_to clip concatenate cumsum diag dot empty expand_dims eye full
    linspace max mean min ones outer prod repeat searchsorted stack sum take take_along_axis tile var where zeros"""
)
METHODS = _names(
    """all any argmax argmin astype clip copy cumsum dot fill max mean min prod ravel repeat reshape squeeze std sum swapaxes take
    transpose var view"""
)
PROPERTIES = _names("T dtype itemsize nbytes ndim shape size strides")
SYNCS = _names("get item tolist tobytes nonzero")


class SyncError(TypeError):
    """An array was read by the host behind the device's back."""


def _refuse(what: str) -> Any:
    def refuse(self: Any, *arguments: Any, **options: Any) -> Any:
        raise SyncError(
            f"{what} makes the host wait for the device: keep it an array, or write device.to_host(array) in a callback"
        )

    return refuse


class StrictArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that only its device may read; each device has a subclass of its own."""

    device: StrictDevice
    __slots__ = ("_host",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: np.ndarray) -> None:
        self._host = host

    __bool__ = _refuse("bool(array), `if array`")
    __float__ = _refuse("float(array)")
    __int__ = _refuse("int(array)")
    __complex__ = _refuse("complex(array)")
    __index__ = _refuse("an array as an index, range or size")
    __array__ = _refuse("np.asarray(array)")
    __iter__ = _refuse("iteration over an array")
    __array_function__ = _refuse("a function of NumPy (write device.xp.NAME); it")

    def __len__(self) -> int:
        return len(self._host)

    def __repr__(self) -> str:
        return f"<array of {self.device!r}, {self.shape}, {self.dtype}>"

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if ufunc.__name__ not in UFUNCS or method != "__call__":
            raise TypeError(f"np.{ufunc.__name__} ({method}) is not among the functions that tests/strict.py allows")
        return self.device.call(ufunc, inputs, options)

    def __getattr__(self, name: str) -> Any:
        if name in PROPERTIES:
            value = getattr(self._host, name)
            return type(self)(value) if name == "T" else value
        if name in METHODS:
            return lambda *arguments, **options: self.device.call(getattr(self._host, name), arguments, options)
        if name in SYNCS:
            _refuse(f"array.{name}()")(self)
        raise AttributeError(f"arrays of {self.device!r} have no {name!r}; if CuPy's have, add it to tests/strict.py")

    @property
    def flags(self) -> SimpleNamespace:
        flags = self._host.flags
        return SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=flags.owndata)

    def _index(self, index: Any) -> tuple[Any, ...]:
        index = index if isinstance(index, tuple) else (index,)
        for part in index:
            if not (part is None or part is Ellipsis or isinstance(part, (int, np.integer, slice, type(self)))):
                raise MixedDevicesError(
                    f"an index of type {type(part).__name__} lives on the host; write device.asarray(index)"
                )
        # With an ellipsis NumPy gives a view of a single element too, as CuPy does.
        ellipsis = () if any(part is Ellipsis for part in index) else (Ellipsis,)
        return tuple(part._host if isinstance(part, type(self)) else part for part in index) + ellipsis

    def __getitem__(self, index: Any) -> Any:
        index = self._index(index)
        if any(isinstance(part, np.ndarray) and part.dtype == bool for part in index):
            _refuse("selection by a mask, whose result has a shape that only the device knows,")(self)
        if any(isinstance(part, np.ndarray) for part in index):
            return self.device.made(lambda: self._host[index])
        return type(self)(self._host[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        place, source = self._index(index), self.device.unwrap(value)
        self.device.do(lambda: self._host.__setitem__(place, source))

    def set(self, arr: np.ndarray, stream: Stream | None = None) -> None:
        if stream is None:
            _refuse("array.set(host) without a stream")(self)
        else:
            copy_later(self._host, arr, stream)


class Namespace:
    """The functions that CuPy has too, on arrays of one device."""

    def __init__(self, device: StrictDevice) -> None:
        self._device = device
        self.cuda = Cuda()

    def __getattr__(self, name: str) -> Any:
        if name == "empty":
            return self._device.empty
        if name not in UFUNCS | FUNCTIONS:
            raise AttributeError(f"the strict namespace has no {name!r}; if CuPy has, add it to tests/strict.py")

        def function(*arguments: Any, **options: Any) -> Any:
            if name == "where" and len(arguments) == 1:
                _refuse("xp.where(condition)")(self)
            if name in ("concatenate", "stack") and len(arguments[0]) > 8 and self._device.captured is not None:
                raise SyncError(
                    f"xp.{name} of more than 8 arrays uploads their addresses, which no captured step can; write beside"
                )
            return self._device.call(getattr(np, name), arguments, options)

        return function


class StrictDevice(Device):
    """A device that counts the copies to the host (`syncs`) and from it (`uploads`), those apart that streams make beside the work.

    These come as late as they may. New arrays hold NaN or huge integers.
    """

    name = "strict"
    captures = True

    def __init__(self) -> None:
        self.captured: list[Callable[[], object]] | None = None
        self.array_type = type("StrictArray", (StrictArray,), {"device": self, "__slots__": ()})
        self.xp = Namespace(self)
        self.syncs = self.uploads = 0

    def unwrap(self, value: Any) -> Any:
        """What NumPy gets for an argument: no array but this device's own."""
        if isinstance(value, self.array_type):
            return value._host
        if isinstance(value, (np.ndarray, StrictArray)):
            raise MixedDevicesError(f"found {type(value).__name__} among arrays of {self!r}; write device.asarray(array)")
        if isinstance(value, (list, tuple)):
            return type(value)(self.unwrap(v) for v in value)
        return value

    def call(self, function: Any, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
        """`function` of NumPy on arrays of this device."""
        out = options.get("out")
        arguments = tuple(map(self.unwrap, arguments))
        options = {key: self.unwrap(value) for key, value in options.items()}

        def work() -> Any:
            with np.errstate(all="ignore"):
                return function(*arguments, **options)

        if out is not None:
            self.do(work)
            return out[0] if isinstance(out, tuple) else out
        owner = getattr(function, "__self__", None)
        return self.made(work, *(x for x in (*arguments, owner) if isinstance(x, np.ndarray)))

    def made(self, work: Callable[[], Any], *operands: np.ndarray) -> Any:
        """The array that some work returns, which may be a view of an operand."""
        result = work()
        if result is None:
            self._record(work)
            return None
        found = np.asarray(result)
        if not any(np.may_share_memory(x, found) for x in operands):  # a view sees what becomes of the operand
            self._record(lambda: found.__setitem__(..., work()))
        return self.array_type(found)

    def do(self, work: Callable[[], object]) -> None:
        """Work that writes into arrays that exist."""
        work()
        self._record(work)

    def _record(self, work: Callable[[], object]) -> None:
        if self.captured is not None:
            self.captured.append(work)

    def capture(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """As a CUDA graph: the same operations in the same memory, with nothing of Python between them."""
        captured: list[Callable[[], object]] = []
        self.captured, waits, uploads = captured, self.syncs, self.uploads
        try:
            result = function()
        finally:
            self.captured = None
        if self.syncs > waits or self.uploads > uploads:
            raise SyncError("a captured step copies to or from the host")

        def replay() -> None:
            for work in captured:
                work()

        return replay, result

    def empty(self, shape: int | Sequence[int], dtype: Any) -> Any:
        host = CPU.empty(shape, dtype)
        waste = np.nan if host.dtype.kind == "f" else np.iinfo(host.dtype).max if host.dtype.kind in "iu" else True
        self.do(lambda: host.fill(waste))
        return self.array_type(host)

    def asarray(self, array: Any, dtype: Any = None) -> Any:
        if isinstance(array, self.array_type):
            return self.made(lambda: np.asarray(array._host, dtype, order="C"), array._host)
        if isinstance(array, StrictArray):
            raise MixedDevicesError(f"found an array of {array.device!r}, expected one of {self!r} or the host")
        self.uploads += 1
        return self.array_type(np.array(array, dtype, order="C"))

    def to_host(self, array: Any) -> np.ndarray:
        self.syncs += 1
        if not isinstance(array, self.array_type):
            raise MixedDevicesError(f"found {type(array).__name__}, expected an array of {self!r}")
        return np.array(array._host)

    def synchronize(self) -> None:
        self.syncs += 1

    def run_kernel(self, kernel: Kernel, arguments: tuple[Any, ...]) -> None:
        kernel.reference(*arguments)

    @contextmanager
    def arena(self, buffers: Arena) -> Iterator[None]:
        with CPU.arena(buffers):
            yield


def import_kernels() -> list[Kernel]:
    """All kernels of the project, in the order of their names."""
    for module in pkgutil.iter_modules(ebm.compute.kernels.__path__, "ebm.compute.kernels."):
        importlib.import_module(module.name)
    if importlib.util.find_spec("neural.kernels"):
        importlib.import_module("neural.kernels")
    return [kernel for _, kernel in sorted(registry.items()) if kernel.__module__.startswith(("ebm.", "neural."))]


def translation_unit(kernels: Sequence[Kernel], real: str) -> str:
    """The CUDA sources of several kernels in one, each with helpers of its own."""
    return "\n".join(f"namespace of_{k.name} {{\n{k.cuda_source(real)}\n}}" for k in kernels)


class HostCuda(StrictDevice):
    """Runs the CUDA sources, compiled by g++ into libraries that are kept in `folder`."""

    name = "hostcuda"
    header = Path(__file__).with_name("cuda_on_host.h")
    options = (
        "-std=c++17",
        "-O1",
        "-ffp-contract=off",
        "-Wall",
        "-Werror",
        "-Wno-unknown-pragmas",
        "-shared",
        "-fPIC",
        "-x",
        "c++",
    )

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._libraries: dict[str, ctypes.CDLL] = {}

    def run_kernel(self, kernel: Kernel, arguments: tuple[Any, ...]) -> None:
        self.do(lambda: kernel.run_cuda(self, arguments, self._compile))

    def _compile(self, kernel: Kernel, real: str) -> Any:
        # One call of the compiler for all kernels takes hardly longer than for one.
        kernels = import_kernels()
        launch = self._library(kernels if kernel in kernels else [kernel], real)[f"launch_{kernel.name}"]

        def function(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            values = [self._as_c(argument) for argument in arguments]
            addresses = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
            launch(ctypes.c_uint(*grid), ctypes.c_uint(*block), addresses)

        return function

    def _as_c(self, argument: Any) -> Any:
        if isinstance(argument, self.array_type):
            return ctypes.c_void_p(argument._host.ctypes.data)
        if type(argument) is np.int64:
            return ctypes.c_int64(argument)
        if type(argument) is np.float64:
            return ctypes.c_double(argument)
        raise TypeError(f"found a kernel argument of {type(argument).__name__}; expected an array, np.int64 or np.float64")

    def _library(self, kernels: Sequence[Kernel], real: str) -> ctypes.CDLL:
        launchers = "".join(
            f'extern "C" void launch_{k.name}(unsigned blocks, unsigned threads, void** arguments)\n'
            f"{{ over_grid{'_with_barriers' if '__syncthreads' in k.cuda_source(real) else ''}"
            f"(of_{k.name}::{k.name}, blocks, threads, arguments); }}\n"
            for k in kernels
        )
        source = self.header.read_text() + translation_unit(kernels, real) + "\n" + launchers
        digest = hashlib.sha256((source + " ".join(self.options)).encode()).hexdigest()[:16]
        if digest not in self._libraries:
            path = self.folder / f"{digest}.so"
            if not path.exists():
                unfinished = self.folder / f"{digest}.{os.getpid()}"
                done = subprocess.run(
                    ["g++", *self.options, "-o", unfinished, "-"], input=source, text=True, capture_output=True
                )
                if done.returncode:
                    raise RuntimeError(f"g++ refuses the CUDA sources of {[k.name for k in kernels]}:\n{done.stderr}")
                os.replace(unfinished, path)
            self._libraries[digest] = ctypes.CDLL(str(path))
        return self._libraries[digest]


def steps_without_waiting(strict: StrictDevice, step: Any, batches: Any, epoch: int) -> dict[str, np.ndarray]:
    """The metrics of three steps, during which the host reads nothing and sends nothing but the order of an epoch's rows."""
    measured = {}
    for i in range(3):
        syncs, uploads = strict.syncs, strict.uploads
        metrics = step(batches.batch(epoch, i))
        assert strict.syncs == syncs
        assert strict.uploads - uploads <= (i == 0)
        measured |= {f"{i} {name}": step.machine.device.to_host(value) for name, value in metrics.items()}
    return measured
