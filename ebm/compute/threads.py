"""Independent blocks of rows on several threads of the CPU, each with a BLAS that stays on it.

Where a long computation moves rows that never meet (chains), two threads with half of the rows each beat one whose products alone use both
cores: the kernels between the products run twice as fast, and no thread waits for another's share of a product.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from .device import CPU, Device

Result = TypeVar("Result")


class Canceled(Exception):
    """Another block failed, or the caller was interrupted."""


def number(device: Device) -> int:
    """How many threads `over_blocks` uses: as many as the BLAS has (OPENBLAS_NUM_THREADS, MKL_NUM_THREADS), one on a GPU."""
    if device is not CPU:
        return 1
    from threadpoolctl import threadpool_info

    return max((library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"), default=1)


def over_blocks(device: Device, blocks: Sequence[slice], work: Callable[[slice, Callable[[], None]], Result]) -> list[Result]:
    """[work(block, proceed) for block in blocks], in threads where that pays. `work` calls `proceed()` every now and then, which ends it
    when another block has failed or Ctrl-C was pressed."""
    count = min(number(device), len(blocks))
    if count < 2:
        return [work(block, lambda: None) for block in blocks]
    canceled = threading.Event()

    def proceed() -> None:
        if canceled.is_set():
            raise Canceled

    def guarded(block: slice) -> Result:
        try:
            return work(block, proceed)
        except BaseException:
            canceled.set()
            raise

    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(count) as pool:
        try:
            futures = [pool.submit(guarded, block) for block in blocks]
            while wait(futures, timeout=0.1).not_done:
                pass  # a wait without end can't be interrupted on Windows
        except BaseException:
            canceled.set()
            raise
        errors = [e for future in futures if (e := future.exception()) is not None and not isinstance(e, Canceled)]
        if errors:
            raise errors[0]
        return [future.result() for future in futures]
