"""Devices: which one, whose array, and memory."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from ebm.compute import device as module
from ebm.compute.device import ALIGNMENT, CPU, Arena, MixedDevicesError, beside, device_of, get


@pytest.fixture
def cupy_that_finds(monkeypatch):
    """A CuPy in whose place stands one that finds no driver, or so many GPUs; None takes it away."""

    class CUDARuntimeError(RuntimeError):
        pass

    def pretend(found):
        monkeypatch.setattr(module, "_devices", {"cpu": CPU})

        def count():
            if isinstance(found, str):
                raise CUDARuntimeError(found)
            return found

        runtime = SimpleNamespace(getDeviceCount=count, CUDARuntimeError=CUDARuntimeError)
        cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime), ndarray=type("ndarray", (), {}))
        monkeypatch.setitem(sys.modules, "cupy", None if found is None else cupy)

    return pretend


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, r"device='gpu' needs CuPy: pip install 'ebm-toolkit\[gpu\]', or write device='cpu'"),
        ("driver too old", r"no usable GPU \(driver too old\); write device='cpu'"),
        (0, "no GPU; write device='cpu'"),
    ],
)
def test_without_a_gpu(cupy_that_finds, found, message):
    cupy_that_finds(found)
    assert get("auto") is CPU
    with pytest.raises(RuntimeError, match=message):
        get("gpu")


def test_an_arena_of_a_gpu_hands_out_what_no_array_holds(cupy_that_finds):
    """With memory and pointers as CuPy's: an array holds a pointer, a pointer its memory."""

    class Memory:
        def __init__(self, size):
            self.size = size

    class Pointer:
        def __init__(self, memory, offset):
            self.memory, self.offset = memory, offset

    allocators = []

    @contextmanager
    def using_allocator(allocate):
        allocators.append(allocate)
        yield
        allocators.pop()

    cupy_that_finds(1)
    gpu = get("gpu")
    vars(gpu.xp.cuda).update(Memory=Memory, MemoryPointer=Pointer, using_allocator=using_allocator)
    arena, passes = Arena(), []
    for _ in range(3):
        with gpu.arena(arena):
            first, second, third = (allocators[-1](size) for size in (513, 1000, 2000))
            assert [pointer.memory.size for pointer in (first, second, third)] == [1024, 1024, 2048]
            assert first.memory is not second.memory
            passes.append([id(pointer.memory) for pointer in (first, second, third)])
            del first
            assert id(allocators[-1](600).memory) == passes[-1][0]
        del second, third
    assert not allocators
    assert passes[0] == passes[1] == passes[2]
    assert {size: len(blocks) for size, blocks in arena.blocks.items()} == {1024: 2, 2048: 1}


def test_where_memory_runs_short_what_cupy_keeps_is_freed(cupy_that_finds):
    cupy_that_finds(1)
    gpu, kept = get("gpu"), [1, 2]
    error = gpu.xp.cuda.runtime.CUDARuntimeError

    class Memory:
        def __init__(self, size):
            if kept:
                raise error("out of memory")

    @contextmanager
    def using_allocator(allocate):
        yield allocators.append(allocate)

    allocators = []
    vars(gpu.xp.cuda).update(Memory=Memory, MemoryPointer=lambda memory, _: memory, using_allocator=using_allocator)
    gpu.xp.get_default_memory_pool = lambda: SimpleNamespace(free_all_blocks=kept.clear)
    with gpu.arena(Arena()):
        assert isinstance(allocators[-1](100), Memory)
        gpu.xp.get_default_memory_pool = lambda: SimpleNamespace(free_all_blocks=lambda: None)
        kept.append(3)
        with pytest.raises(error, match="out of memory"):
            allocators[-1](10_000)


def test_large_uploads_leave_no_memory_locked_in_pages(cupy_that_finds):
    cupy_that_finds(1)
    gpu, done = get("gpu"), []
    gpu.xp.asarray = lambda array, dtype, order: array
    gpu.xp.cuda.get_current_stream = lambda: SimpleNamespace(synchronize=lambda: done.append("waited"))
    gpu.xp.get_default_pinned_memory_pool = lambda: SimpleNamespace(free_all_blocks=lambda: done.append("freed"))
    gpu.asarray(np.empty(1000, np.uint8))
    assert not done  # a step may copy a few numbers, and mustn't wait
    gpu.asarray(np.empty(module._LARGE + 1, np.uint8))
    assert done == ["waited", "freed"]


def test_arrays_come_to_lie_beside_each_other(device):
    parts = [device.asarray(np.full((2, n), n, np.float32)) for n in range(1, 11)]
    np.testing.assert_array_equal(
        device.to_host(beside(parts)), np.repeat(np.arange(1, 11), np.arange(1, 11))[None].repeat(2, 0)
    )
    rows = [device.asarray(np.arange(n, dtype=np.float64)) for n in (3, 2)]
    np.testing.assert_array_equal(device.to_host(beside(rows)), [0, 1, 2, 0, 1])


def test_with_a_gpu(cupy_that_finds):
    cupy_that_finds(1)
    gpu = get("auto")
    assert gpu is get("gpu") is get(gpu) is get()
    assert get("cpu") is CPU
    assert repr(gpu) == "<device gpu>"


@pytest.mark.parametrize("name", ["cuda", "", "CPU", None, 0])
def test_unknown_name(name):
    with pytest.raises(ValueError, match=f"found device={name!r}; expected 'cpu', 'gpu' or 'auto'"):
        get(name)


def test_arrays_decide_the_device(strict, hostcuda, tmp_path):
    host, mapped = np.zeros(3), np.memmap(tmp_path / "array", np.float32, "w+", shape=(4,))
    assert device_of(host) is device_of(host, mapped, np.zeros(())) is CPU
    assert device_of(strict.zeros(3, int), strict.asarray(host)) is strict
    assert device_of(hostcuda.zeros(3, int)) is hostcuda
    pairs = [(host, strict.asarray(host)), (strict.asarray(host), mapped), (strict.asarray(host), hostcuda.asarray(host))]
    for pair in pairs:
        with pytest.raises(
            MixedDevicesError, match=r"found arrays of <device \w+> and <device \w+>.*get\('(strict|hostcuda)'\)"
        ):
            device_of(*pair)


@pytest.mark.parametrize("thing", [[1.0], 1.0, np.float32(1), None, "array"])
def test_what_is_no_array(thing):
    for arguments in ((thing,), (np.zeros(3), thing)):
        with pytest.raises(TypeError, match=rf"found {type(thing).__name__}; expected an array: write device.asarray"):
            device_of(*arguments)


def test_no_array_at_all():
    with pytest.raises(TypeError, match="at least one array"):
        device_of()


@pytest.mark.parametrize("shape", [(), 5, 0, np.int64(3), (3, 0), (7, 13), [2, 3, 4]])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, "int64"])
def test_new_arrays(device, shape, dtype):
    for array in (device.empty(shape, dtype), device.zeros(shape, dtype)):
        assert array.shape == (tuple(shape) if np.iterable(shape) else (shape,))
        assert array.dtype == np.dtype(dtype)
        assert array.flags.c_contiguous
    assert not device.to_host(array).any()


def test_cpu_arrays_start_on_cache_lines():
    arrays = [CPU.empty(n, np.uint8) for n in range(1, 200)]
    assert {array.ctypes.data % ALIGNMENT for array in arrays} == {0}
    assert all(array.flags.writeable for array in arrays)


def test_copies_to_and_from_a_device(device):
    host = np.arange(12.0).reshape(3, 4)
    for source, dtype in ((host, None), (host.T, None), (host[:, ::2], np.float32), (host.tolist(), np.float32), (2.5, None)):
        array = device.asarray(source, dtype)
        assert array.flags.c_contiguous
        assert array.shape == np.shape(source)
        assert array.dtype == (dtype or np.float64)
        np.testing.assert_array_equal(device.to_host(array), source)
        back = device.to_host(array)
        back += 1
        np.testing.assert_array_equal(device.to_host(array), source, "to_host copies")


def test_nothing_is_copied_that_fits(device):
    array = device.asarray(np.ones((2, 3), np.float32))
    again = device.asarray(array, np.float32)
    again[...] = 5
    assert (device.to_host(array) == 5).all()
    assert device.asarray(array, np.float64).dtype == np.float64


def test_the_cpu_takes_no_array_of_another_device(strict):
    with pytest.raises(MixedDevicesError, match=r"write get\('strict'\).to_host\(array\)"):
        CPU.asarray(strict.zeros(3, np.float32))


LAYOUT = [((3, 4), np.float32), ((5,), np.float64), (7, np.uint32)]


def test_an_arena_gives_the_same_memory_in_each_pass():
    arena, passes = Arena(), []
    for _ in range(3):
        with CPU.arena(arena):
            arrays = [CPU.empty(shape, dtype) for shape, dtype in LAYOUT]
            passes.append([array.ctypes.data for array in arrays])
        del arrays
    assert passes[0] == passes[1] == passes[2]
    assert len(set(passes[0])) == 3
    assert CPU.empty(*LAYOUT[0]).ctypes.data not in passes[0], "outside the arena arrays are new"


@pytest.mark.parametrize(
    "use",
    [
        lambda array: array,
        lambda array: array[1:],
        lambda array: array.T[0].reshape(3, 1),
        lambda array: array.view(np.uint32)[2],
        lambda array: np.asarray(memoryview(array)),
        lambda array: lambda: array,
    ],
    ids=["array", "rows", "view of a view", "other dtype", "buffer", "closure"],
)
def test_an_arena_never_hands_out_memory_in_use(use):
    arena = Arena()
    with CPU.arena(arena):
        array = CPU.zeros((3, 4), np.float32)
        address, used = array.ctypes.data, use(array)
        del array
        for _ in range(2):
            assert CPU.empty((3, 4), np.float32).ctypes.data != address
    with CPU.arena(arena):
        assert CPU.empty((3, 4), np.float32).ctypes.data != address, "nor in the next pass"
        del used
        assert CPU.empty((3, 4), np.float32).ctypes.data == address
        assert CPU.empty((2, 6), np.int32).ctypes.data == address, "whatever its shape and dtype"


def test_an_arena_follows_a_change_of_shape():
    arena = Arena()
    for layout in (LAYOUT, [LAYOUT[0], ((6,), np.float64), LAYOUT[2]], [LAYOUT[0], ((6,), np.float32)], LAYOUT):
        for _ in range(2):
            with CPU.arena(arena):
                arrays = [CPU.empty(shape, dtype) for shape, dtype in layout]
            assert [(a.shape, a.dtype) for a in arrays] == [((s,) if np.isscalar(s) else s, np.dtype(d)) for s, d in layout]
            assert all(a.flags.c_contiguous and a.ctypes.data % ALIGNMENT == 0 for a in arrays)


def test_an_arena_is_left_whatever_happens():
    outer, inner = Arena(), Arena()
    with CPU.arena(outer):
        first = CPU.empty(3, np.float32).ctypes.data
        with CPU.arena(inner):
            second = CPU.empty(3, np.float32).ctypes.data
        with pytest.raises(ValueError, match="negative"), CPU.arena(inner):
            CPU.empty(CPU.empty(3, np.float32).size - 7, np.float32)
        assert CPU.empty(3, np.float32).ctypes.data == first != second
    assert CPU.empty(3, np.float32).ctypes.data not in (first, second)


def test_arenas_of_threads_are_apart():
    arena = Arena()
    with CPU.arena(arena), ThreadPoolExecutor(1) as pool:
        pool.submit(CPU.empty, 3, np.float32).result()
    assert not arena.blocks
