"""Devices: where arrays live, and the few things that differ between a CPU and a GPU.

Arrays decide the device. Code that computes asks `device_of(*arrays)` and never a global setting; arrays of two devices in one
call raise `MixedDevicesError`, and nothing is copied between devices behind the caller's back.
"""

from __future__ import annotations

import itertools
import math
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .kernel import Kernel

# An array of any device (numpy.ndarray or cupy.ndarray). CuPy is optional and carries no types.
Array = Any

# Buffers start on a cache line: vector loads never straddle one, and a BLAS picks the same code path in every run, which
# bit-for-bit resumption relies on.
ALIGNMENT = 64
# A GPU's allocations are multiples of this, so that arrays of nearly one size share memory.
_BLOCK = 512
# Host arrays of more bytes leave no page-locked memory behind.
_LARGE = 2**26


class MixedDevicesError(TypeError):
    """Arrays of two devices met in one operation."""


class Device:
    """A place for arrays: allocation, copies to and from the host, and the array namespace `xp`."""

    name: str
    xp: Any
    array_type: type
    # whether `capture` can be called
    captures = False

    def empty(self, shape: int | Sequence[int], dtype: Any) -> Array:
        """An uninitialized C-contiguous array; inside `arena`, in memory of the arena."""
        raise NotImplementedError

    def zeros(self, shape: int | Sequence[int], dtype: Any) -> Array:
        """An array of zeros."""
        array = self.empty(shape, dtype)
        array[...] = 0
        return array

    def asarray(self, array: Any, dtype: Any = None) -> Array:
        """`array` on this device, C-contiguous, with the given dtype; not copied when it already is all that."""
        raise NotImplementedError

    def to_host(self, array: Array) -> np.ndarray:
        """A NumPy copy of `array` (waits for the device)."""
        raise NotImplementedError

    def synchronize(self) -> None:
        """Wait until all work queued on this device is done."""

    def run_kernel(self, kernel: Kernel, arguments: tuple[Any, ...]) -> None:
        """Run this device's implementation of `kernel` (called by the kernel, which has checked the arguments)."""
        raise NotImplementedError

    def capture(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """Do the work that `function` queues, and record it: what does it again, any number of times, and what `function` returned.

        Raises what `function` does, such as an error of CuPy's where something in it makes the host wait (see `graph.Graph`).
        """
        raise NotImplementedError

    @contextmanager
    def arena(self, buffers: Arena) -> Iterator[None]:
        """Within the block, `empty` takes its memory from `buffers`."""
        raise NotImplementedError
        yield

    def __repr__(self) -> str:
        return f"<device {self.name}>"


class Arena:
    """The memory of a repeated step: what no array uses any more is handed out again, later in the step and in the next one.

    A step that is replayed on a GPU overwrites the arrays of the last pass, so that whatever must outlive it is copied.
    """

    def __init__(self) -> None:
        self.blocks: dict[int, list[tuple[Any, int]]] = {}

    def block(self, size: int, make: Callable[[int], tuple[Any, int]]) -> tuple[Any, int]:
        """Memory of so many bytes that no array uses, with an offset. Always the first there is, which the caches are likely to hold: with
        memory of its own for each array, a PCD step of ten Gibbs steps took 26 MB."""
        blocks = self.blocks.setdefault(size, [])
        for block in blocks:
            if sys.getrefcount(block[0]) == 2:  # the list's and the argument's: arrays and their views hold it too
                return block
        blocks.append(make(size))
        return blocks[-1]


def _aligned(size: int) -> tuple[np.ndarray, int]:
    """Memory on the host, and where in it the first cache line starts."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    return memory, -memory.ctypes.data % ALIGNMENT


class _CPU(Device):
    name = "cpu"
    xp = np
    array_type = np.ndarray

    def __init__(self) -> None:
        self._local = threading.local()

    def empty(self, shape: int | Sequence[int], dtype: Any) -> np.ndarray:
        shape = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(shape)
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        arena: Arena | None = getattr(self._local, "arena", None)
        memory, offset = _aligned(size) if arena is None else arena.block(size, _aligned)
        return np.ndarray(shape, dtype, memory, offset)

    def asarray(self, array: Any, dtype: Any = None) -> np.ndarray:
        if foreign := _foreign(array):
            raise MixedDevicesError(f"found an array of {foreign!r}; write get({foreign.name!r}).to_host(array) first")
        return np.asarray(array, dtype, order="C")

    def to_host(self, array: np.ndarray) -> np.ndarray:
        return np.array(array)

    def run_kernel(self, kernel: Kernel, arguments: tuple[Any, ...]) -> None:
        kernel.run_numba(arguments)

    @contextmanager
    def arena(self, buffers: Arena) -> Iterator[None]:
        outer = getattr(self._local, "arena", None)
        self._local.arena = buffers
        try:
            yield
        finally:
            self._local.arena = outer


class _GPU(Device):
    """The current CUDA device, through CuPy."""

    name = "gpu"
    captures = True

    def __init__(self) -> None:
        import cupy

        self.xp = cupy
        self.array_type = cupy.ndarray

    def empty(self, shape: int | Sequence[int], dtype: Any) -> Array:
        return self.xp.empty(shape, dtype)

    def asarray(self, array: Any, dtype: Any = None) -> Array:
        found = self.xp.asarray(array, dtype, order="C")
        if isinstance(array, np.ndarray) and array.nbytes > _LARGE:
            # it went through page-locked memory, which CuPy keeps
            self.synchronize()
            self.xp.get_default_pinned_memory_pool().free_all_blocks()
        return found

    def to_host(self, array: Array) -> np.ndarray:
        return self.xp.asnumpy(array)

    def synchronize(self) -> None:
        self.xp.cuda.get_current_stream().synchronize()

    def run_kernel(self, kernel: Kernel, arguments: tuple[Any, ...]) -> None:
        kernel.run_cuda(self, arguments, self._compile)

    def _compile(self, kernel: Kernel, real: str) -> Callable[..., None]:
        module = self.xp.RawModule(code=kernel.cuda_source(real), options=("--std=c++17",))
        return module.get_function(kernel.name)

    def capture(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        # the default stream can't be captured; what is captured on another one runs on the stream that is current at its launch
        stream = self.xp.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            try:
                result = function()
            except BaseException:
                with suppress(self.xp.cuda.runtime.CUDARuntimeError):  # says again that the capture has failed
                    stream.end_capture()
                raise
            graph = stream.end_capture()
        graph.launch()
        return graph.launch, result

    @contextmanager
    def arena(self, buffers: Arena) -> Iterator[None]:
        # Not a memory pool of CuPy's: that knows one stream a block, which is another for a capture, is never given back once there
        # are graphs no longer (14.2), and gives back what live graphs replay into where memory runs short.
        cuda = self.xp.cuda

        def new(size: int) -> tuple[Any, int]:
            try:
                return cuda.Memory(size), 0
            except cuda.runtime.CUDARuntimeError:
                self.xp.get_default_memory_pool().free_all_blocks()  # what that keeps for later
                return cuda.Memory(size), 0

        def allocate(size: int) -> Any:
            memory, _ = buffers.block(-(-size // _BLOCK) * _BLOCK, new)
            return cuda.MemoryPointer(memory, 0)

        with cuda.using_allocator(allocate):
            yield


CPU: Device = _CPU()
_devices: dict[str, Device] = {"cpu": CPU}


def register(device: Device) -> None:
    """Make a further device known by its name and its array type."""
    _devices[device.name] = device


def get(name: str | Device = "auto") -> Device:
    """The device called `"cpu"`, `"gpu"`, or `"auto"`: the GPU where CuPy finds one, else the CPU.

    Raises `RuntimeError` when a GPU is asked for and there is none, `ValueError` for an unknown name.
    """
    if isinstance(name, Device):
        return name
    if name in _devices:
        return _devices[name]
    if name == "auto":
        try:
            return get("gpu")
        except RuntimeError:
            return CPU
    if name != "gpu":
        raise ValueError(f"found device={name!r}; expected 'cpu', 'gpu' or 'auto'")
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
    except ImportError as error:
        raise RuntimeError("device='gpu' needs CuPy: pip install 'ebm-toolkit[gpu]', or write device='cpu'") from error
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"CuPy finds no usable GPU ({error}); write device='cpu' or device='auto'") from error
    if not count:
        raise RuntimeError("CuPy finds no GPU; write device='cpu' or device='auto'")
    register(_GPU())
    return _devices["gpu"]


def beside(parts: Sequence[Array]) -> Array:
    """Arrays (..., columns) of one dtype next to each other, (..., all columns).

    A concatenation of more than eight arrays would upload the table of their addresses (CuPy 14), which no captured step can.
    """
    ends = [0, *itertools.accumulate(part.shape[-1] for part in parts)]
    out = device_of(*parts).empty((*parts[0].shape[:-1], ends[-1]), parts[0].dtype)
    for part, (start, end) in zip(parts, itertools.pairwise(ends), strict=True):
        out[..., start:end] = part
    return out


def _foreign(array: Any) -> Device | None:
    """The device of `array` if that is not the CPU."""
    if type(array).__module__.partition(".")[0] == "cupy":
        get("gpu")
    return next((d for d in _devices.values() if d is not CPU and isinstance(array, d.array_type)), None)


def device_of(*arrays: Array) -> Device:
    """The device that all the arrays live on.

    Raises `MixedDevicesError` when they live on several, `TypeError` when one of them is no array of a known device.
    """
    for array in arrays:
        if type(array) is not np.ndarray:
            break
    else:
        if arrays:
            return CPU  # the usual case, without the price of the general one
    found: Device | None = None
    for array in arrays:
        device = CPU if isinstance(array, np.ndarray) else _foreign(array)
        if device is None:
            raise TypeError(f"found {type(array).__name__}; expected an array: write device.asarray(...)")
        if found is not None and device is not found:
            other = found if device is CPU else device
            raise MixedDevicesError(
                f"found arrays of {found!r} and {device!r} in one operation; copy one of them: "
                f"get({other.name!r}).asarray(array) to the device, or get({other.name!r}).to_host(array) to the host"
            )
        found = device
    if found is None:
        raise TypeError("device_of needs at least one array")
    return found
