"""The two tables: means over seeds with their standard errors, in the terminal and as files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .measure import CODES, COSTS, GENERATION, Metric

COLUMNS: dict[str, tuple[Metric, ...]] = {"codes": CODES + COSTS, "generation": GENERATION + COSTS}
TITLES = {
    "codes": "Codes of {code} numbers: what comes back of them, and what they tell",
    "generation": "Generation: each family as it is usually built",
}


@dataclass(frozen=True)
class Cell:
    """A mean over `seeds` values, with its standard error (None for one value), or a note that says why there is none. What may be wrong
    with all values alike is its `doubt`."""

    value: float | None = None
    error: float | None = None
    seeds: int = 0
    best: bool = False
    note: str = ""
    doubt: float = 0.0

    def __str__(self) -> str:
        if self.value is None:
            return "–"
        if self.error is None or not 1e-6 * abs(self.value) < self.error < math.inf:
            return number(self.value)  # what no seed changes, up to rounding, has no error
        digits = min(3, max(0, 1 - math.floor(math.log10(self.error))))
        return f"{self.value:,.{digits}f} ± {self.error:.{digits}f}"


# Model by model, metric by metric.
Table = dict[str, dict[str, Cell]]


def number(value: float) -> str:
    """A number with three digits or more."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"


def table(records: Iterable[Mapping[str, Any]], which: str) -> Table:
    """The cells of a table. A cell is the best of its column only where it is better than the next by more than the noise: by two
    standard errors of the difference, which takes two seeds or more, and the doubts about both."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        if record["table"] == which:
            found.setdefault(record["model"], []).append(record)
    cells: Table = {}
    for model, runs in found.items():
        failed = next((run["failed"] for run in runs if "failed" in run), "")
        done = [run for run in runs if "failed" not in run]
        notes = done[0]["notes"] if done else {}
        cells[model] = {}
        for name, *_ in COLUMNS[which]:
            values = np.array([run["values"][name] for run in done if name in run["values"]])
            note = notes.get(name) or (f"failed: {failed}" if failed else "")
            if not values.size:
                reason = note or next(
                    (notes[k] for k in ("reconstruct", "encode", "labels", "Fréchet distance") if k in notes), ""
                )
                cells[model][name] = Cell(note=reason or "not measured")
                continue
            error = float(values.std(ddof=1) / math.sqrt(values.size)) if values.size > 1 else None
            doubt = float(np.mean([run["values"].get(f"doubt of the {name}", 0.0) for run in done]))
            cells[model][name] = Cell(float(values.mean()), error, values.size, note=note, doubt=doubt)
    for name, _, larger, _ in COLUMNS[which]:
        _mark(cells, name, larger)
    return cells


def _mark(cells: Table, name: str, larger: bool) -> None:
    sign = 1 if larger else -1
    ranked = sorted(((sign * value, model) for model, c in cells.items() if (value := c[name].value) is not None), reverse=True)
    if len(ranked) < 2 or name in {metric[0] for metric in COSTS}:
        return
    (_, first), (_, second) = ranked[:2]
    a, b = cells[first][name], cells[second][name]
    if a.error is None or b.error is None or a.value is None or b.value is None:
        return
    if abs(a.value - b.value) > 2 * math.hypot(a.error, b.error) + a.doubt + b.doubt:
        cells[first][name] = replace(a, best=True)


def in_terminal(cells: Table, which: str, title: str) -> str:
    """The table as text, the best cells between asterisks."""
    names = [name for name, *_ in COLUMNS[which]]
    texts = {model: [f"*{c[name]}*" if c[name].best else str(c[name]) for name in names] for model, c in cells.items()}
    heads = [_split(name, unit) for name, unit, *_ in COLUMNS[which]]
    widths = [max(len(t) for t in (*head, *(line[k] for line in texts.values()))) + 2 for k, head in enumerate(heads)]
    first = max(map(len, texts), default=0)
    lines = [title, ""]
    for row in range(2):
        lines.append(" " * first + "".join(f"{head[row]:>{width}}" for head, width in zip(heads, widths, strict=True)))
    lines += [
        f"{model:{first}}" + "".join(f"{t:>{w}}" for t, w in zip(line, widths, strict=True)) for model, line in texts.items()
    ]
    return "\n".join(lines)


def _split(name: str, unit: str) -> tuple[str, str]:
    return name, f"({unit})" if unit else ""


def tidy(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each table, model, seed and metric."""
    rows = []
    for record in records:
        where = {"table": record["table"], "model": record["model"], "seed": record["seed"]}
        rows += [where | {"metric": name, "value": value} for name, value in record.get("values", {}).items()]
        if "failed" in record:
            rows.append(where | {"metric": "failed", "value": record["failed"]})
    return rows


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Tidy rows as a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["table", "model", "seed", "metric", "value"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
