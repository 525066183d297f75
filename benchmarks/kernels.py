"""Every fused kernel against its reference in NumPy: time per element and bytes per second, on one thread.

    python -m benchmarks.kernels

Arrays are of the size of a layer's states, 100 x 784 float32; those of optimizers are of the size of its weights, 784 x 512. Bytes are
those of all arrays that a kernel is given, each once. Before each call the arrays are set back, outside the time. In each round what a
kernel writes is compared with what its reference does.
"""

from __future__ import annotations

import importlib
import pkgutil
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import ebm.compute.kernels
from benchmarks import timing
from benchmarks.figures import bars, write_json
from ebm.compute.device import CPU
from ebm.compute.kernel import Kernel, registry

_DTYPES = {"Floats": np.float32, "Doubles": np.float64, "Words": np.uint32, "Halves": np.uint16, "Indices": np.int64}
LONGEST = 100


def kernels() -> dict[str, list[Kernel]]:
    """All kernels by family, which is the file they are in."""
    found: dict[str, list[Kernel]] = {}
    for module in pkgutil.iter_modules(ebm.compute.kernels.__path__, "ebm.compute.kernels."):
        importlib.import_module(module.name)
    for kernel in sorted(registry.values(), key=lambda kernel: (kernel.__module__, kernel.name)):
        if kernel.__module__.startswith("ebm."):
            found.setdefault(kernel.__module__.rpartition(".")[2], []).append(kernel)
    return found


def inputs(kernel: Kernel, rows: int, columns: int, weights: int) -> list[Any]:
    """What a step calls the kernel with, by the names of its parameters."""
    rng = np.random.default_rng(0)
    states, vector = (rows, columns), (weights,)
    known: dict[str, Callable[[], Any]] = {
        **dict.fromkeys(("out", "sample", "mean", "variance", "log_partition", "nats", "slope"), lambda: np.zeros(states)),
        **dict.fromkeys(("parameters", "velocity", "gradient", "first"), lambda: rng.standard_normal(vector)),
        "second": lambda: rng.random(vector),
        "field": lambda: 4 * rng.standard_normal(states),
        **dict.fromkeys(("probability", "target"), lambda: rng.random(states)),
        "words": lambda: rng.standard_normal(states).astype(np.float32).view(np.uint32),
        "bits": lambda: np.zeros(states),
        "cumulative": lambda: rng.random(states).cumsum(axis=1),
        "lengths": lambda: rng.integers(0, LONGEST, rows),
        "longest": lambda: LONGEST,
        "categories": lambda: next(k for k in (8, 7, 5, 3, 2, 1) if columns % k == 0),
        **dict.fromkeys(("x", "y", "u", "v", "dy"), lambda: rng.standard_normal(states)),
        "dx": lambda: np.zeros(states),
        **dict.fromkeys(("total", "other"), lambda: np.zeros(columns)),
        "largest": lambda: [0],
        **dict.fromkeys(("factor", "ratio"), lambda: 0.01),
        "beta": lambda: 0.5,
        "counter": lambda: [0],
        "draws": lambda: 3,
        "base": lambda: rng.standard_normal(columns),
        "change": lambda: rng.standard_normal(columns),
        "betas": lambda: [0.3, 0.301, 0.302],
        "log_weights": lambda: np.zeros(rows),
        "address": lambda: [1, 2, 3, 4],
        "offset": lambda: 0,
        "first_row": lambda: 0,
        # weights with decay, and two biases without
        "ends": lambda: [weights - 2 * columns // 10, weights - columns // 10, weights],
        "table": lambda: [[1, 1e-4, 0], [1, 0, 0], [1, 0, 0]],
        # windows of one pixel, which any number of columns has
        **dict.fromkeys(("images", "windows"), lambda: rng.random(states)),
        **dict.fromkeys(("height", "size", "step"), lambda: 1),
        "width": lambda: columns,
        "padding": lambda: 0,
        "state": lambda: [1e-3, 0.9, 0.999, 1e-8, 0.5, 0.1],
    }
    if unknown := kernel.parameters.keys() - known.keys():
        raise SystemExit(f"kernel {kernel.name}: found the parameters {sorted(unknown)}; say in {__file__} what they are")
    return [
        CPU.asarray(known[name](), _DTYPES[kind]) if kind in _DTYPES else known[name]()
        for name, kind in kernel.parameters.items()
    ]


def seconds(function: Callable[..., None], given: Sequence[Any], calls: int) -> tuple[float, list[Any]]:
    """The median time of a call, and the arguments after the last."""
    work = [x.copy() if isinstance(x, np.ndarray) else x for x in given]
    found = []
    for _ in range(calls + 1):
        for x, y in zip(work, given, strict=True):
            if isinstance(x, np.ndarray):
                x[...] = y
        start = time.perf_counter()
        function(*work)
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:]), work


def check(kernel: Kernel, found: Sequence[Any], wanted: Sequence[Any]) -> None:
    """Raise unless both have written the same, but for a sample in a thousand that rounding turns."""
    for name, x, y in zip(kernel.parameters, found, wanted, strict=True):
        if isinstance(x, np.ndarray) and not np.isclose(x, y, rtol=1e-3, atol=1e-3).mean() > 0.999:
            raise SystemExit(f"kernel {kernel.name}: {name} is not what the reference makes of it")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, check, time, print, draw and write."""
    parser = timing.command(__doc__, rounds=9, calls=20, rows=100, columns=784, weights=784 * 512)
    options = timing.parse(parser, arguments, rows=10, columns=80, weights=3000)
    times: dict[str, list[float]] = {}
    figures: dict[str, dict[str, float]] = {}
    print(f"{'family':12}{'kernel':20}{'ns/element':>12}{'GB/s':>8}{'NumPy: ns/element':>20}{'times as long':>24}")
    for family, members in kernels().items():
        for kernel in members:
            given = inputs(kernel, options.rows, options.columns, options.weights)
            arrays = [x for x in given if isinstance(x, np.ndarray)]
            elements, size = max(x.size for x in arrays), sum(x.nbytes for x in arrays)
            ours, reference = [], []
            for _ in range(options.rounds):
                here, found = seconds(kernel, given, options.calls)
                plain, wanted = seconds(kernel.reference, given, max(1, options.calls // 10))
                check(kernel, found, wanted)
                ours.append(here / elements)
                reference.append(plain / elements)
            times[kernel.name], times[f"NumPy: {kernel.name}"] = ours, reference
            median, ratios = statistics.median(ours), [b / a for a, b in zip(ours, reference, strict=True)]
            figures[kernel.name] = {"elements": elements, "bytes": size, "gigabytes_per_second": size / elements / median / 1e9}
            spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} - {max(ratios):.1f})"
            print(
                f"{family:12}{kernel.name:20}{1e9 * median:12.3f}{figures[kernel.name]['gigabytes_per_second']:8.1f}"
                f"{1e9 * statistics.median(reference):20.2f}{spread:>24}"
            )
    if options.plot:
        own = {name: values for name, values in times.items() if not name.startswith("NumPy")}
        bars(options.plot, "kernels", own, "nanoseconds per element: median and range", 1e9, True)
    if options.json:
        write_json(options.json, "kernels, seconds per element", options, times, kernels=figures)


if __name__ == "__main__":
    main()
