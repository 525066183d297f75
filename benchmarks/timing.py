"""Timing in turn: every contestant lives in a process of its own, and every round runs each of them once.

A machine whose speed drifts then slows all of them alike, and no library's threads share a process with another's. Rounds are to
be short against the drift: a shared server changed its speed by half every few seconds.
"""

from __future__ import annotations

import importlib.metadata
import json
import multiprocessing
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from ebm.compute import gemm

# A step to call, and the weights that it trains, as they are now (None where there are none to compare).
Contestant = tuple[Callable[[], object], Callable[[], np.ndarray] | None]


class Process:
    """A contestant, made by calling `make` in a process of its own."""

    def __init__(self, make: Callable[[], Contestant]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(make, other), daemon=True)
        self._process.start()
        other.close()

    def change(self, steps: int) -> np.ndarray:
        """How the weights change over some steps."""
        return self._ask("change", steps)

    def seconds(self, calls: int) -> float:
        """Seconds per call, the mean over `calls` calls that follow a tenth as many unmeasured ones."""
        return self._ask("seconds", calls)

    def _ask(self, *request: Any) -> Any:
        self._pipe.send(request)
        return self._pipe.recv()


def _serve(make: Callable[[], Contestant], pipe: Connection) -> None:
    call, weights = make()
    call()  # compilation
    while True:
        try:
            what, number = pipe.recv()
        except EOFError:
            return
        if what == "change":
            assert weights is not None
            before = weights().copy()
            for _ in range(number):
                call()
            pipe.send(weights() - before)
            continue
        for _ in range(max(1, number // 10)):
            call()
        start = time.perf_counter()
        for _ in range(number):
            call()
        pipe.send((time.perf_counter() - start) / number)


def check(contestants: Mapping[str, Process], steps: int = 40) -> None:
    """Raise unless all contestants, from the same weights, move them the same way in some steps."""
    changes = {name: contestant.change(steps).ravel() for name, contestant in contestants.items()}
    (first, reference), *others = changes.items()
    for name, change in others:
        cosine = change @ reference / np.linalg.norm(change) / np.linalg.norm(reference)
        ratio = np.linalg.norm(change) / np.linalg.norm(reference)
        print(f"after {steps} steps, {name} against {first}: cosine of the changes {cosine:.4f}, ratio of lengths {ratio:.3f}")
        if cosine < 0.97 or not 0.9 < ratio < 1.1:
            raise SystemExit(f"{name} and {first} do not compute the same thing")


def in_turn(contestants: Mapping[str, Process], rounds: int, calls: int) -> dict[str, list[float]]:
    """Seconds per call of each contestant in each round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            time.sleep(0.2)  # until the last one's threads, which wait actively for a while, are asleep
            times[name].append(contestant.seconds(calls))
    return times


def table(times: Mapping[str, list[float]], base: str) -> str:
    """A line for each contestant: median and range of its time, and the median and range, pair by pair, of its ratio to `base`."""
    lines = [f"{'':24}{'ms: median':>12}{'min':>9}{'max':>9}   {'times ' + base + ': median':>24}{'min':>8}{'max':>8}"]
    for name, values in times.items():
        ratios = [value / own for value, own in zip(values, times[base], strict=True)]
        ms = [1e3 * f(values) for f in (statistics.median, min, max)]
        rs = [f(ratios) for f in (statistics.median, min, max)]
        lines.append(f"{name:24}{ms[0]:12.3f}{ms[1]:9.3f}{ms[2]:9.3f}   {rs[0]:24.2f}{rs[1]:8.2f}{rs[2]:8.2f}")
    return "\n".join(lines)


def write_json(path: Path, subject: str, settings: Mapping[str, Any], times: Mapping[str, list[float]]) -> None:
    """The figures with what is needed to read them later: machine, versions, commit, date."""
    packages = ["numpy", "numba", "scipy", "scikit-learn", "torch", "mkl"]
    versions = {p: v for p in packages if (v := _version(p))}
    record = {
        "subject": subject,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD")
        + ("+changes" if _git("status", "--porcelain", "--", "ebm", "neural") else ""),
        "machine": {"processor": _processor(), "system": platform.system(), "python": platform.python_version()},
        "blas": gemm.library(),
        "versions": versions,
        "settings": dict(settings),
        "seconds": {name: [round(v, 9) for v in values] for name, values in times.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _processor() -> str:
    import numba
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    wide = [f for f in ("avx2", "avx512f", "avx512bf16", "amx-bf16") if features.get(f)]
    return f"{binding.get_host_cpu_name()} ({', '.join(wide)}), {numba.config.NUMBA_NUM_THREADS} cores"
