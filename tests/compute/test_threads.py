"""Blocks in threads: results in order, one thread of BLAS each, and an end when one of them fails."""

import _thread
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from ebm.compute import threads
from ebm.compute.device import CPU

BLOCKS = [slice(i, i + 1) for i in range(6)]


@pytest.fixture(autouse=True)
def two(monkeypatch):
    monkeypatch.setattr(threads, "number", lambda device: 2)


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_results_come_in_order_from_several_threads():
    seen, meet = set(), threading.Barrier(2, timeout=20)

    def work(block, proceed):
        seen.add(threading.get_ident())
        if block.start < 2:
            meet.wait()  # both threads are at work
        return block.start

    assert threads.over_blocks(CPU, BLOCKS, work) == list(range(6))
    assert len(seen) == 2


def test_the_blas_of_a_block_stays_on_its_thread_and_is_as_before_afterwards():
    before = blas_threads()
    found = threads.over_blocks(CPU, BLOCKS, lambda block, proceed: blas_threads())
    assert found == [[1] * len(before)] * 6
    assert blas_threads() == before


def test_one_block_runs_where_the_caller_is():
    assert threads.over_blocks(CPU, BLOCKS[:1], lambda block, proceed: threading.get_ident()) == [threading.get_ident()]


def test_an_error_ends_all_blocks():
    moves = []

    def work(block, proceed):
        if block.start == 0:
            raise ValueError("the first fails")
        for _ in range(100_000):
            moves.append(block.start)
            time.sleep(0.001)
            proceed()

    with pytest.raises(ValueError, match="the first fails"):
        threads.over_blocks(CPU, BLOCKS, work)
    assert len(moves) < 10_000


def test_ctrl_c_ends_all_blocks():
    started = threading.Event()

    def work(block, proceed):
        started.set()
        for _ in range(20_000):
            time.sleep(0.001)
            proceed()

    def interrupt():
        started.wait()
        _thread.interrupt_main()

    threading.Thread(target=interrupt).start()
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        threads.over_blocks(CPU, BLOCKS[:2], work)
    assert time.perf_counter() - start < 10


def test_the_number_is_that_of_the_blas(monkeypatch):
    monkeypatch.undo()
    with threadpool_limits(1, user_api="blas"):
        assert threads.number(CPU) == 1
    assert threads.number(CPU) == max(blas_threads(), default=1)


def test_only_the_cpu_has_threads(strict, monkeypatch):
    monkeypatch.undo()
    assert threads.number(strict) == 1


def test_products_in_threads_are_products():
    generator = np.random.default_rng(1)
    a, b = generator.normal(size=(60, 400)), generator.normal(size=(400, 300))
    parts = threads.over_blocks(CPU, [slice(0, 30), slice(30, 60)], lambda block, proceed: a[block] @ b)
    np.testing.assert_allclose(np.concatenate(parts), a @ b, rtol=1e-12, atol=1e-12)
