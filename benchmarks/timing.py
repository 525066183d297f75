"""Timing in turn: every round runs each contestant once, so that a machine whose speed drifts slows all of them alike."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ebm.compute import gemm


def in_turn(contestants: Mapping[str, Callable[[], object]], rounds: int, calls: int) -> dict[str, list[float]]:
    """Seconds per call of each contestant in each round, the mean over `calls` calls that follow a tenth as many unmeasured ones.

    The unmeasured calls are for the thread pools: the last contestant's threads may still be spinning when the next one starts.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for call in contestants.values():
        call()  # compilation
    for _ in range(rounds):
        for name, call in contestants.items():
            for _ in range(max(1, calls // 10)):
                call()
            start = time.perf_counter()
            for _ in range(calls):
                call()
            times[name].append((time.perf_counter() - start) / calls)
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
        "commit": _git("rev-parse", "--short", "HEAD") + ("+changes" if _git("status", "--porcelain", "--", "ebm") else ""),
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
