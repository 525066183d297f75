"""Tables, pictures and files of what was timed."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ebm.compute import gemm

PACKAGES = (
    "numpy",
    "numba",
    "scipy",
    "scikit-learn",
    "torch",
    "jax",
    "jaxlib",
    "cupy-cuda13x",
    "cupy-cuda12x",
    "mkl",
    "joblib",
)

# What bars of another color are called.
PEERS = ("torch", "jax", "sklearn")


def table(times: Mapping[str, Sequence[float]], bases: Sequence[str], ready: Mapping[str, float]) -> str:
    """A line for each contestant: median and range of its time, for each base the median and range, pair by pair, of its ratio to it, and
    the seconds until its first step was done."""
    heads = "".join(f"{'times ' + base:>26}" for base in bases)
    lines = [f"{'':28}{'ms: median':>12}{'min':>10}{'max':>10}{heads}{'first call: s':>16}"]
    for name, values in times.items():
        median, least, most = (1e3 * x for x in (statistics.median(values), min(values), max(values)))
        line = f"{name:28}{median:12.3f}{least:10.3f}{most:10.3f}"
        for base in bases:
            ratios = [value / own for value, own in zip(values, times[base], strict=True)]
            line += f"{f'{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})':>26}"
        lines.append(line + f"{ready[name]:16.2f}")
    return "\n".join(lines)


def bars(
    path: Path,
    title: str,
    times: Mapping[str, Sequence[float]],
    axis: str = "milliseconds per step: median and range",
    scale: float = 1e3,
    logarithmic: bool = False,
) -> None:
    """A bar for each entry, as long as its median in seconds times `scale`, with its range."""
    from matplotlib.figure import Figure

    from ebm.plots.style import COLORS, TITLE, WIDTH, label

    figure = Figure(figsize=(WIDTH, 1.2 + 0.28 * len(times)), layout="constrained")
    axes = figure.subplots()
    medians = [scale * statistics.median(values) for values in times.values()]
    spread = [[abs(scale * f(v) - m) for v, m in zip(times.values(), medians, strict=True)] for f in (min, max)]
    colors = ["0.7" if "alone" in name else COLORS[name.startswith(PEERS)] for name in times]
    axes.barh(list(times), medians, xerr=spread, color=colors, ecolor="0.3", height=0.7, log=logarithmic)
    axes.invert_yaxis()
    label(axes, axis, "")
    figure.suptitle(title, fontsize=TITLE, wrap=True)
    save(figure, path)


def lines(path: Path, panels: Mapping[str, tuple[str, Mapping[str, Mapping[float, float]]]]) -> None:
    """A panel for each entry, {x axis: (y axis, {curve: {x: y}})}, both axes logarithmic."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    from ebm.plots.style import COLORS, MARKERS, WIDTH, label

    figure = Figure(figsize=(WIDTH, 2.4 * len(panels)), layout="constrained")
    for axes, (x, (y, curves)) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True):
        for (name, points), color, marker in zip(curves.items(), COLORS * 3, MARKERS * 5, strict=False):
            axes.plot(list(points), list(points.values()), color=color, marker=marker, ms=4, lw=1.5, label=name)
        axes.set(xscale="log", yscale="log")
        ticks = sorted({place for points in curves.values() for place in points})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
        label(axes, x, y)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a picture, and its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def write_json(path: Path, subject: str, options: Any, seconds: Mapping[str, Any], **more: Any) -> None:
    """The figures with what is needed to read them later: machine, versions, commit, date, the command's options."""
    versions = {p: v for p in PACKAGES if (v := _version(p))}
    record = {
        "subject": subject,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD")
        + ("+changes" if _git("status", "--porcelain", "--", "ebm", "neural") else ""),
        "machine": {"processor": _processor(), "system": platform.system(), "python": platform.python_version()},
        "blas": gemm.library(),
        "versions": versions,
        "settings": {name: value for name, value in vars(options).items() if name not in ("json", "plot", "known")},
        "seconds": seconds,
        **more,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, default=str) + "\n")


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
