"""How the cost of training an RBM grows, with batch, width and chains against the products alone, and with threads.

    python -m benchmarks.scaling
    python -m benchmarks.scaling --only threads

Sizes: CD-1, 784 x 512, at batches of 10 to 4096; CD-1 of square machines of 256 to 4096 units a layer at batches of 100; PCD-1, 784 x 512,
with 10 to 4096 chains. The floor are the step's matrix products alone in the same library.

Threads: CD-1, 784 x 512, batch 100, for each number of threads that the environment allows BLAS, OpenMP and Numba, and each threading
layer of Numba that is there, its threads awake; outside joblib, in one joblib worker, and in as many workers as there are cores, all at
work.
"""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from typing import Any

import numba
import numpy as np

from benchmarks import timing
from benchmarks.figures import lines, write_json
from benchmarks.machines import Machine, ours, products_alone
from benchmarks.timing import Contestant, Local, Process
from ebm.compute.gemm import library

ROWS = (10, 30, 100, 300, 1000, 4096)
WIDTHS = (256, 512, 1024, 2048, 4096)
VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
# Steps between two returns from a joblib worker.
STEPS = 50


def axes(quick: bool) -> dict[str, dict[int, Machine]]:
    """The machines that are compared, by what grows."""
    layers = (60, 40) if quick else (784, 512)
    rows, widths = ((10, 30), (16, 32)) if quick else (ROWS, WIDTHS)
    return {
        "batch": {n: Machine(layers, n) for n in rows},
        "width": {n: Machine((n, n)) for n in widths},
        "chains": {n: Machine(layers, chains=n) for n in rows},
    }


def sizes(options: Any, times: dict[str, list[float]]) -> dict[str, Any]:
    """Time the machines of all axes, and return the panels of their picture."""
    panels = {}
    start: type[Local | Process] = Local if options.quick else Process
    print(f"\n{'':12}{'ms a step':>12}{'µs a sample':>14}{'floor: µs a sample':>20}{'times the floor':>26}")
    for axis, machines in axes(options.quick).items():
        curves: dict[str, dict[int, float]] = {"ours": {}, "products alone": {}}
        for n, machine in machines.items():
            makes = {"ours": partial(start, partial(ours, machine)), "floor": partial(start, partial(products_alone, machine))}
            # as many calls as take about a hundred times a batch of 100 at 784 x 512
            work = math.prod(machine.sizes) * (machine.batch + machine.rows) / (2 * 784 * 512 * 100)
            calls = max(2, round(options.calls / max(work, 0.2)))
            with timing.running(makes) as contestants:
                found = timing.in_turn(contestants, options.rounds, calls, 0 if options.quick else 0.2)
            own, floor = (statistics.median(values) / machine.batch for values in found.values())
            ratios = [a / b for a, b in zip(*found.values(), strict=True)]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"
            print(f"{axis:7}{n:5}{1e3 * machine.batch * own:12.3f}{1e6 * own:14.2f}{1e6 * floor:20.2f}{spread:>26}", flush=True)
            times |= {f"{axis} {n}, {name}": values for name, values in found.items()}
            curves["ours"][n], curves["products alone"][n] = 1e6 * own, 1e6 * floor
        panels[axis] = ("µs per sample", curves)
    return panels


def layers() -> list[str]:
    """The threading layers of Numba that can be loaded here."""
    found = []
    for name, module in (("omp", "omppool"), ("tbb", "tbbpool"), ("workqueue", "workqueue")):
        try:
            import_module(f"numba.np.ufunc.{module}")
        except ImportError:
            continue
        found.append(name)
    return found


@numba.njit(parallel=True, cache=True)
def _wake(x: Any) -> None:  # pragma: no cover
    for i in numba.prange(x.size):
        x[i] = i


def outside(machine: Machine) -> Contestant:
    """Ours in a process where the threads of Numba's layer have been at work."""
    _wake(np.zeros(1000))
    return ours(machine)


@cache
def _in_worker(machine: Machine) -> Contestant:
    return outside(machine)


def _steps(machine: Machine) -> None:
    contestant = _in_worker(machine)
    for _ in range(STEPS):
        contestant.call()


def in_joblib(machine: Machine, busy: int) -> Contestant:
    """Ours in `busy` joblib workers at a time, of as many as there are cores."""
    joblib, loky = import_module("joblib"), import_module("joblib.externals.loky")

    from benchmarks.scaling import _steps as steps  # workers find no function of the main module

    pool = joblib.Parallel(n_jobs=max(2, os.cpu_count() or 1), batch_size=1)
    work = [joblib.delayed(steps)(machine)] * busy
    return Contestant(lambda: pool(work), steps=STEPS, end=lambda: loky.get_reusable_executor().shutdown(kill_workers=True))


def threads(options: Any, times: dict[str, list[float]]) -> dict[str, Any]:
    """Time all numbers of threads, and return the panel of their picture."""
    machine, cores = Machine((60, 40) if options.quick else (784, 512)), os.cpu_count() or 1
    places = {
        "outside joblib": partial(outside, machine),
        "in a joblib worker": partial(in_joblib, machine, 1),
        "in all joblib workers": partial(in_joblib, machine, max(2, cores)),
    }
    counts = [1] if options.quick else sorted({1, cores, *(2**k for k in range(1, cores.bit_length()))})
    found_layers = layers()[:1] if options.quick else layers()
    curves: dict[str, Mapping[float, float]] = {}
    print(f"\n{'':24}{'layer':12}{'threads':>8}{'ms a step':>12}{'times one thread':>26}")
    for place, make in places.items():
        if options.quick and place != "outside joblib":
            continue
        for layer in found_layers:
            starts = {}
            for n in counts:
                environment = dict.fromkeys(VARIABLES, str(n)) | {"NUMBA_THREADING_LAYER": layer}
                starts[str(n)] = partial(Local, make) if options.quick else partial(Process, make, None, environment)
            with timing.running(starts) as contestants:
                found = timing.in_turn(contestants, options.rounds, options.calls, 0 if options.quick else 0.2)
            for n, values in found.items():
                ratios = [a / b for a, b in zip(values, found["1"], strict=True)]
                spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"
                print(f"{place:24}{layer:12}{n:>8}{1e3 * statistics.median(values):12.3f}{spread:>26}", flush=True)
                times[f"{place}, {layer}, {n}"] = values
            curves[f"{place}, {layer}"] = {int(n): 1e3 * statistics.median(values) for n, values in found.items()}
    return {"threads": ("ms per step", curves)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, time, print, draw and write."""
    parser = timing.command(__doc__, rounds=9)
    parser.add_argument("--only", choices=("sizes", "threads"), help="one half")
    options = timing.parse(parser, arguments)
    times: dict[str, list[float]] = {}
    panels: dict[str, Any] = {}
    print(f"BLAS: {library()}")
    for half in (sizes, threads):
        if options.only in (None, half.__name__):
            panels |= half(options, times)
    if options.plot:
        lines(options.plot, panels)
    if options.json:
        write_json(options.json, "CD-1 and PCD-1 as sizes and threads grow", options, times)


if __name__ == "__main__":
    main()
