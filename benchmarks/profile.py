"""Where a step's time goes: products, sampling, update, the batch, and what is left.

    python -m benchmarks.profile rbm
    python -m benchmarks.profile dbm --precision bfloat16 --device gpu

The functions of `ebm.compute` (`gemm` and every kernel) and the gathering of the batch are timed as the step calls them. Kernels count as
updates, as reductions (the gradients of biases), as sampling where they draw, else as means; what is left is array code, the laying
out of prepared weights, and Python. On a GPU each call is waited for, so that the sum is that of the device's times and of the launches
that a captured step would not make.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from benchmarks import autoencoder, machines, networks, timing, vae
from benchmarks.figures import bars, write_json
from benchmarks.machines import Machine
from benchmarks.timing import Training
from ebm.compute import device as devices
from ebm.compute.gemm import gemm, library
from ebm.compute.kernel import Kernel
from ebm.compute.vectors import Laid

OVERHEAD = "array code, Python"


def subjects(quick: bool) -> dict[str, Callable[..., Training]]:
    """What can be looked into."""
    rbm, dbm = ((60, 40), (60, 40, 50)) if quick else ((784, 512), (784, 500, 1000))
    deep = autoencoder.problem((60, 40, 20, 5)) if quick else autoencoder.problem()
    latent = vae.problem(60, 40, 5) if quick else vae.problem()
    return {
        "rbm": partial(machines.training, Machine(rbm)),
        "pcd": partial(machines.training, Machine(rbm, steps=10, chains=250)),
        "dbm": partial(machines.training, Machine(dbm, steps=5, chains=100)),
        "autoencoder": partial(networks.training, deep),
        "vae": partial(networks.training, latent),
    }


class Record:
    """Seconds by (what, in detail), and how often it was called."""

    def __init__(self, wait: Callable[[], object]) -> None:
        self.wait = wait
        self.seconds: dict[tuple[str, str], float] = {}
        self.calls: dict[tuple[str, str], int] = {}
        self.total = 0.0

    def timed(self, function: Callable[..., Any], name: Callable[..., tuple[str, str]]) -> Callable[..., Any]:
        """The function, whose calls are added up under `name(*arguments)`."""

        def timed(*arguments: Any, **options: Any) -> Any:
            key = name(*arguments)
            self.wait()
            start = time.perf_counter()
            result = function(*arguments, **options)
            self.wait()
            self.seconds[key] = self.seconds.get(key, 0) + time.perf_counter() - start
            self.calls[key] = self.calls.get(key, 0) + 1
            return result

        return timed


def _product(a: Any, b: Any, *_: Any) -> tuple[str, str]:
    b = b.source if isinstance(b, Laid) else b
    left, right = (" " if x.flags.c_contiguous else "ᵀ" for x in (a, b))
    return "products", f"{a.shape[0]:5} x {a.shape[1]:4}{left} x {b.shape[1]:4}{right}"


def _kernel(kernel: Kernel, *_: Any) -> tuple[str, str]:
    family = kernel.__module__.rpartition(".")[2]
    drawing = "sampling" if "address" in kernel.parameters else "means"
    return {"updates": "update", "reductions": "reductions"}.get(family, drawing), kernel.name


@contextmanager
def watched(record: Record) -> Iterator[None]:
    """Within the block, products and kernels are timed wherever they are called."""
    product, call = gemm, Kernel.__call__  # this module is among those that hold it
    timed = record.timed(product, _product)
    holders = [module for module in list(sys.modules.values()) if getattr(module, "gemm", None) is product]
    for module in holders:
        module.gemm = timed  # type: ignore[attr-defined]
    Kernel.__call__ = record.timed(call, _kernel)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in holders:
            module.gemm = product  # type: ignore[attr-defined]
        Kernel.__call__ = call  # type: ignore[method-assign]


def profile(training: Training, rounds: int, steps: int) -> tuple[float, Record]:
    """Seconds of a step that is not watched, the median, and the record of the middle one of `rounds` rounds of watched steps."""
    local, plain, records = timing.Local(training.contestant), [], []
    for _ in range(rounds):
        plain.append(local.seconds(steps))
        record = Record(training.wait)
        gather = record.timed(training.batches.batch, lambda *_: ("batch", "gathering"))
        with watched(record):
            training.wait()
            start = time.perf_counter()
            for _ in range(steps):
                training.step(gather(*divmod(training.step.step, len(training.batches))))
            training.wait()
            record.total = time.perf_counter() - start
        record.seconds[OVERHEAD, ""] = record.total - sum(record.seconds.values())
        records.append(record)
    return statistics.median(plain), sorted(records, key=lambda record: record.total)[rounds // 2]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, time, print, draw and write."""
    parser = timing.command(__doc__, calls=40)
    parser.add_argument("subject", choices=tuple(subjects(True)))
    parser.add_argument("--precision", choices=("bfloat16",), help="of the products, by default float32")
    parser.add_argument("--device", default="cpu", help="cpu or gpu")
    options = timing.parse(parser, arguments)
    training = subjects(options.quick)[options.subject](precision=options.precision, device=options.device)
    with timing.plainly(devices.get(options.device)):  # a replayed step calls nothing that could be timed
        step, record = profile(training, options.rounds, options.calls)
    parts = {key: seconds / options.calls for key, seconds in record.seconds.items()}
    whole = record.total / options.calls
    families = {what: sum(s for (k, _), s in parts.items() if k == what) for what, _ in parts}
    print(f"{options.subject}, {options.precision or 'float32'}, {options.device}, BLAS: {library()}")
    print(f"a step takes {1e3 * step:.3f} ms, {1e3 * whole:.3f} ms when it is watched, which is:\n")
    for what, seconds in sorted(families.items(), key=lambda item: -item[1]):
        print(f"{what:34}{1e3 * seconds:10.3f} ms{seconds / whole:8.1%}")
        for (family, detail), part in sorted(parts.items(), key=lambda item: -item[1]):
            if family == what and detail:
                times = record.calls[family, detail] / options.calls
                print(f"{times:6g} x {detail:25}{1e3 * part:10.3f} ms{part / whole:8.1%}")
    figures = {" ".join(filter(None, key)): [seconds] for key, seconds in sorted(parts.items(), key=lambda item: -item[1])}
    if options.plot:
        bars(options.plot, f"a step of {options.subject}", figures, "milliseconds of a step")
    if options.json:
        times = {"step": step, "step, watched": whole, **families}
        write_json(options.json, f"parts of a step of {options.subject}", options, times, parts=figures)


if __name__ == "__main__":
    main()
