"""Threads that help with a compiled loop over blocks, as long as they come in time.

A loop is a C function of one address, that of a job: 64-bit words, of which the first counts the blocks that are taken. Everyone who runs
it takes the next block (`take`) until none is left. So a helper that comes late, or whose core is busy with something else, costs nothing
but the block that it holds; and what a block computes doesn't depend on who takes it.

For a while after its last job a helper waits actively, so that the next of a step's many loops has it at once; then it sleeps. Helpers
never need Python's lock. There are as many as the BLAS has threads besides the caller's (OPENBLAS_NUM_THREADS, MKL_NUM_THREADS,
threadpoolctl), whose own are not used where a product of `vectors` or `tiles` takes its place.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from . import blas
from .device import CPU

# Words of a crew's memory, each in a cache line of its own: whether its helpers are taken, how many loops it has been given, whether the
# present one takes more helpers, how many it takes, how many are in it, how many sleep; the loop and its job.
_TAKEN, _COUNT, _OPEN, _SEATS, _INSIDE, _ASLEEP, _LOOP, _JOB = (64 * k for k in range(8))
# So many ticks of the processor's clock a helper looks for work before it falls asleep, about a millisecond.
_PATIENCE = 1 << 21
_INT = ir.IntType(64)


class Crew:
    """Helpers, and the memory through which they are given work."""

    def __init__(self) -> None:
        self._words = CPU.zeros(64, np.int64)  # aligned to cache lines
        self._address = self._words.ctypes.data
        self._wake, self._starting = threading.Event(), threading.Lock()
        self.count = 0

    def run(self, loop: int, job: np.ndarray, helpers: int) -> None:
        """Run the C function at `loop` on the job, with so many helpers."""
        if self.count < helpers:
            self._start(helpers)
        if self.asleep():
            self._wake.set()
        _share(self._address, loop, job, helpers)

    def _start(self, helpers: int) -> None:
        with self._starting:
            for number in range(self.count, helpers):
                thread = threading.Thread(target=self._help, args=(number,), name=f"ebm helper {number}", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads, or the interpreter is ending: the caller can do without
                    return
                self.count += 1

    def asleep(self) -> int:
        """How many of them sleep."""
        return int(self._words[_ASLEEP // 8])

    def _help(self, number: int) -> None:
        while True:
            _serve(self._address, number)
            self._wake.wait()
            self._wake.clear()
            _awake(self._address)


_crew = Crew()


def _after_fork() -> None:
    """A child process has the memory but none of the threads."""
    global _crew
    _crew = Crew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def number() -> int:
    """How many threads `run` uses: as many as the BLAS would now."""
    library = blas.library()
    return library.threads() if library else 1


def run(loop: int, job: np.ndarray) -> None:
    """Run the C function at the address `loop` on `job`, with the helpers that are to be had."""
    _crew.run(loop, job, number() - 1)


@njit(nogil=True, cache=True)
def _share(crew: int, loop: int, job: Any, helpers: int) -> None:  # pragma: no cover
    words = job.ctypes.data
    if helpers < 1 or _exchange(crew + _TAKEN, 1):
        _call(loop, words)  # alone: somebody else's loop has them
        return
    _exchange(crew + _LOOP, loop)
    _exchange(crew + _JOB, words)
    _exchange(crew + _SEATS, helpers)
    _exchange(crew + _OPEN, 1)
    _add(crew + _COUNT, 1)
    _call(loop, words)
    _exchange(crew + _OPEN, 0)
    while _read(crew + _INSIDE):
        _pause()
    _exchange(crew + _TAKEN, 0)


@njit(nogil=True, cache=True)
def _awake(crew: int) -> None:  # pragma: no cover
    _add(crew + _ASLEEP, -1)


@njit(nogil=True, cache=True)
def _serve(crew: int, number: int) -> None:  # pragma: no cover
    """Help with one loop after the other, until there is none for a while."""
    last = _read(crew + _COUNT) - 1  # it may have been woken for the present one
    since = _now()
    while True:
        count = _read(crew + _COUNT)
        if count == last:
            if _now() - since > _PATIENCE:
                break
            _pause()
            continue
        # whoever is inside keeps the caller from going on, so that what is read then is of one loop
        _add(crew + _INSIDE, 1)
        if _read(crew + _OPEN) and number < _read(crew + _SEATS):
            _call(_read(crew + _LOOP), _read(crew + _JOB))
        _add(crew + _INSIDE, -1)
        last, since = count, _now()
    _add(crew + _ASLEEP, 1)


def _pointer(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, _INT.as_pointer())


@intrinsic
def _read(context: Any, address: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_pointer(builder, arguments[0]), "seq_cst", 8)

    return types.intp(types.intp), code


@intrinsic
def _exchange(context: Any, address: Any, number: Any) -> Any:
    """What was there."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("xchg", _pointer(builder, arguments[0]), arguments[1], "seq_cst")

    return types.intp(types.intp, types.intp), code


@intrinsic
def _add(context: Any, address: Any, number: Any) -> Any:
    """What was there before."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", _pointer(builder, arguments[0]), arguments[1], "seq_cst")

    return types.intp(types.intp, types.intp), code


@intrinsic
def _call(context: Any, function: Any, argument: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_INT.as_pointer()])
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), [_pointer(builder, arguments[1])])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), code


@intrinsic
def _now(context: Any) -> Any:
    """The processor's clock."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_INT, [])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.readcyclecounter"), [])

    return types.intp(), code


@intrinsic
def _pause(context: Any) -> Any:
    """Wait for a moment, and let a thread that has no core have this one."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pause = ir.FunctionType(ir.VoidType(), [])
        for _ in range(16):
            builder.call(cgutils.get_or_insert_function(builder.module, pause, "llvm.x86.sse2.pause"), [])
        builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(32), []), "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), code


@njit(nogil=True, cache=True)
def take(job: Any) -> int:  # pragma: no cover
    """The number of a block that nobody has taken."""
    return _add(job.ctypes.data, 1)
