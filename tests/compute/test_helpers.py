"""Helpers take blocks of a loop, sleep and are woken; without them the caller takes all."""

import os
import platform
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from numba import carray, cfunc, types
from threadpoolctl import threadpool_limits

from ebm.compute import helpers
from ebm.compute.helpers import _now, _pause, _read, take

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="only products by AVX-512 on Linux use helpers"
)
BLOCKS = 500


@cache
def compiled(loop):
    return cfunc(types.void(types.CPointer(types.int64)))(loop)


def _count(address):
    """Counts how often each block is done."""
    job = carray(address, 1 + BLOCKS)
    block = take(job)
    while block < BLOCKS:
        job[1 + block] += 1
        block = take(job)


def _meet(address):
    """Two blocks, whose takers wait for each other, a tenth of a second or so at most."""
    job = carray(address, 3)
    block, start = take(job), _now()
    while block < 2:
        while _now() - start < 300_000_000 and _read(job.ctypes.data) < 2:
            _pause()
        job[1 + block] = _read(job.ctypes.data) >= 2
        block = take(job)


def check():
    """Every block is done once."""
    job = np.zeros(1 + BLOCKS, np.int64)
    helpers.run(compiled(_count).address, job)
    assert (job[1:] == 1).all()


@pytest.fixture
def crew(monkeypatch):
    """A crew of its own, as a new process has."""
    monkeypatch.setattr(helpers, "_crew", helpers.Crew())
    return helpers._crew


@pytest.fixture
def two():
    with threadpool_limits(2, user_api="blas"):
        yield


def test_they_join(two):
    job, deadline = np.zeros(3, np.int64), time.monotonic() + 60
    # one that is woken may come too late where other processes keep the cores busy
    while job.tolist()[1:] != [1, 1]:
        assert time.monotonic() < deadline
        job[:] = 0
        helpers.run(compiled(_meet).address, job)


def test_they_sleep_and_are_woken(two, crew):
    check()
    deadline = time.monotonic() + 60
    while crew.asleep() < crew.count:
        assert time.monotonic() < deadline, "a helper without work falls asleep"
        time.sleep(0.001)
    while crew.asleep() == crew.count:
        assert time.monotonic() < deadline, "work wakes one"
        check()


def test_there_are_as_many_as_the_blas_has_threads_besides_the_callers(crew):
    for threads, count in ((1, 0), (3, 2), (2, 2)):
        with threadpool_limits(threads, user_api="blas"):
            assert helpers.number() == threads
            check()
            assert crew.count == count


def test_several_callers_at_once(crew):
    with threadpool_limits(3, user_api="blas"), ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(check) for _ in range(2000)]:
            future.result()
    assert crew.count == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_has_its_own(two):
    check()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for _ in range(20):
                check()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    check()


def test_a_caller_does_without_them_where_no_thread_can_be_started(two, crew, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", start)
    check()
    assert crew.count == 0
