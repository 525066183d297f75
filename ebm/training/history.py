"""History: one tidy row per epoch, in memory and on disk."""

from __future__ import annotations

import csv
import glob
import io
import json
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..compute.archive import remove_leftovers, replace_file
from .callbacks import Callback

if TYPE_CHECKING:
    from .loop import Run

Row = dict[str, float]


class History(Callback):
    """Keeps `rows`: one dict per epoch with `epoch`, `step`, `seconds` of training (resumed runs included) and the metrics.

    With a `path` that ends in `.csv` or `.jsonl`, each row is written there when its epoch ends. A new run starts the file anew;
    a resumed one goes on after the last row that its checkpoint knows. A killed run leaves whole lines.
    Raises `ValueError` for other endings.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(path)
        if self.path is not None and self.path.suffix not in (".csv", ".jsonl"):
            raise ValueError(f"found the path {str(self.path)!r}; expected one that ends in .csv or .jsonl")
        self.rows: list[Row] = []
        self._before = 0.0  # seconds of the run before it was resumed
        self._started = time.monotonic()

    @property
    def columns(self) -> list[str]:
        """The names of all columns, in the order of their first appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the rows to a CSV file; what an epoch did not measure is left empty."""
        replace_file(path, self._csv(self.rows, header=True).encode())

    def to_json_lines(self, path: str | os.PathLike[str]) -> None:
        """Write the rows to a file of one JSON object per line; NaN and infinity, which JSON lacks, become null."""
        replace_file(path, self._json_lines(self.rows).encode())

    def on_start(self, run: Run) -> None:
        self.rows = [row for row in self.rows if row["step"] <= run.step]
        self._before = self._before if run.step else 0.0
        self._started = time.monotonic()
        if self.path is not None:
            remove_leftovers(self.path.parent, glob.escape(self.path.name))
        self._rewrite()

    def on_epoch(self, run: Run) -> None:
        columns = self.columns
        self.rows.append({"epoch": run.epoch, "step": run.step, "seconds": round(self._seconds(), 3), **run.metrics})
        if self.path is None:
            return
        if self.path.suffix == ".csv" and self.columns != columns:
            self._rewrite()
            return
        line = self._csv(self.rows[-1:], header=False) if self.path.suffix == ".csv" else self._json_lines(self.rows[-1:])
        with open(self.path, "ab") as file:
            file.write(line.encode())

    def _rewrite(self) -> None:
        if self.path is not None and self.path.suffix == ".csv":
            self.to_csv(self.path)
        elif self.path is not None:
            self.to_json_lines(self.path)

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def _csv(self, rows: list[Row], header: bool) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        if header and self.rows:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    @staticmethod
    def _json_lines(rows: list[Row]) -> str:
        finite = ({name: value if math.isfinite(value) else None for name, value in row.items()} for row in rows)
        return "".join(json.dumps(row) + "\n" for row in finite)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": self._seconds()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows, self._before = state["rows"], state["seconds"]
