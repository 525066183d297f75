"""Uploads arrive whole however far the host, the copies and the device's work run ahead of each other."""

from __future__ import annotations

import importlib.util
import inspect
from types import SimpleNamespace

import numpy as np
import pytest
from streams import Cuda, copy_later
from strict import SyncError

from ebm.compute.device import get
from ebm.compute.upload import Upload


class Late:
    """An array of a device whose work is done in the order of its streams, not when it is asked for."""

    def __init__(self, cuda, shape, dtype):
        self.cuda, self.host = cuda, np.full(shape, 99, dtype)

    def set(self, source, stream):
        copy_later(self.host, source, stream)

    def __setitem__(self, index, value):
        self.cuda.current.submit(lambda: self.host.__setitem__(index, value.host))


@pytest.fixture(params=[(False, False), (False, True), (True, False)], ids=["host ahead", "copies ahead", "work ahead"])
def late(request):
    cuda = Cuda(*request.param)
    return SimpleNamespace(xp=SimpleNamespace(cuda=cuda), empty=lambda shape, dtype: Late(cuda, shape, dtype))


def send(upload, number):
    upload.room()[...] = number
    upload.send()


ORDERS = {
    "each when it is asked for": "s1 r s2 r s3 r s4 r s5 r",
    "each during the one before": "s1 r s2 r s3 r s4 r s5 r s6",
    "again": "s1 r r s2 r r s3 r r",
    "in vain": "s1 r s9 s2 r s9 s3 r s9 s9 s4 r s9 s9 s9 s5 r s9",
}


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_sent_arrives(late, order):
    upload, current, seen, expected = Upload(late, (2, 3), np.uint8), late.xp.cuda.current, [], []
    out = Late(late.xp.cuda, (2, 3), np.float32)
    sent = 0
    for act in ORDERS[order].split():
        if act == "r":
            upload.receive(out)
            current.submit(lambda: seen.append(out.host.copy()))
            expected.append(sent)
        else:
            sent = int(act[1:])
            send(upload, sent)
    current.synchronize()
    np.testing.assert_array_equal(seen, np.broadcast_to(np.reshape(expected, (-1, 1, 1)), (len(expected), 2, 3)))


def test_a_copy_does_not_wait_for_the_work_that_is_queued():
    cuda = Cuda(False, False)
    upload = Upload(SimpleNamespace(xp=SimpleNamespace(cuda=cuda), empty=lambda *layout: Late(cuda, *layout)), (3,), np.uint8)
    send(upload, 1)
    upload.receive(Late(cuda, 3, np.float32))
    steps = []
    cuda.current.submit(lambda: steps.append(1))
    send(upload, 2)
    upload.room()
    send(upload, 3)
    upload.room()  # whose copy is done: the second of three
    assert upload._landing.host.tolist() == [2, 2, 2]
    assert not steps


def test_memory_that_was_somebody_elses(late):
    """What is queued before may still write into the memory that the upload got, and the last copy into what it gave back."""
    copies, used = [], []
    empty = late.empty
    late.empty = lambda *layout: copies.append(empty(*layout)) or copies[0]
    late.xp.cuda.current.submit(lambda: used.append(copies[0].host.max() if copies else 99))
    upload = Upload(late, (2, 3), np.uint8)
    send(upload, 1)
    del upload
    assert used == [99]
    assert (copies[0].host == 1).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.float32])
def test_on_a_device(strict, dtype):
    upload, out = Upload(strict, (4, 3), dtype), strict.empty((4, 3), np.float32)
    for number in (1, 0, 1):
        send(upload, number)
        strict.syncs = strict.uploads = 0
        upload.receive(out)
        assert (strict.syncs, strict.uploads) == (0, 0)
        np.testing.assert_array_equal(strict.to_host(out), np.full((4, 3), number))
    with pytest.raises(SyncError, match="without a stream makes the host wait"):
        out.set(np.zeros((4, 3), np.float32))


@pytest.mark.gpu
def test_on_a_gpu():
    gpu = get("gpu")
    upload, out, seen = Upload(gpu, (1000, 1000), np.uint8), gpu.empty((1000, 1000), np.float32), []
    work = gpu.xp.ones((4000, 4000), np.float32)
    send(upload, 0)
    for number in range(1, 30):
        upload.receive(out)
        for _ in range(number % 3):
            work = work @ work * np.float32(1 / 4000)
        seen.append(out.copy())
        if number % 4 == 0:
            send(upload, 255)
        send(upload, number)
    for number, batch in enumerate(seen):
        assert (gpu.to_host(batch) == number).all(), number


def test_cupy_has_what_the_fake_has():
    if not importlib.util.find_spec("cupy"):
        pytest.skip("there is no CuPy to compare with")
    import cupy

    for name in ("Stream", "Event", "get_current_stream", "alloc_pinned_memory"):
        assert hasattr(Cuda(), name)
        assert hasattr(cupy.cuda, name)
    for kind in ("Stream", "Event"):
        ours = inspect.signature(getattr(Cuda(), kind)).parameters
        assert set(ours) <= set(inspect.signature(getattr(cupy.cuda, kind)).parameters)
    assert hasattr(cupy.cuda.Stream, "wait_event")
    assert hasattr(cupy.cuda.Stream, "synchronize")
    assert list(inspect.signature(cupy.cuda.Event.record).parameters)[1] == "stream"
    assert hasattr(cupy.cuda.Event, "synchronize")
    assert "set(self, arr, stream=None)" in cupy.ndarray.set.__doc__
