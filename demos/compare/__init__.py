"""The comparison: generative against neural autoencoders on the same images, with the same code size, time and seeds.

`compare` is it for notebooks, `python -m demos.compare` on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from . import pictures, tables
from .models import Train
from .problem import Problem, problem
from .run import TABLES, Results, run

__all__ = ["Comparison", "Problem", "compare"]


@dataclass
class Comparison:
    """What a comparison found."""

    problem: Problem
    results: Results

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Tidy rows: table, model, seed, metric, value."""
        return tables.tidy(self.results.records)

    @property
    def tables(self) -> dict[str, tables.Table]:
        """Both tables, cells by model and metric."""
        return {which: tables.table(self.results.records, which) for which in TABLES}

    @property
    def figures(self) -> dict[str, Figure]:
        """The pictures of the first seed's models, by name."""
        return pictures.figures(self.problem, self.results)

    def __str__(self) -> str:
        found = self.tables
        titles = {which: tables.TITLES[which].format(code=self.problem.code) for which in TABLES}
        return "\n\n".join(tables.in_terminal(found[which], which, titles[which]) for which in TABLES if found[which])


def compare(
    source: Any = "digits",
    *,
    models: Sequence[str] | None = None,
    own: Mapping[str, Train] | None = None,
    code: int | None = None,
    budget: float | None = None,
    seeds: int = 1,
    labels: Any = None,
    device: str = "cpu",
    extras: bool = False,
    folder: str | Path | None = None,
) -> Comparison:
    """Train `models` (by name; by default all of them) and models of one's own on the images of `source`, and measure them all alike.

    `source` is a data set's name, an array, a folder of images or a CSV file; `code` the size of codes, `budget` the seconds of
    training for each model and seed. `own` are functions by name, from a `Problem` to a model with some of the methods
    `encode(rows)`, `reconstruct(rows)`, `sample(n, seed=...)`, `log_likelihood(rows)`; for the first seed they are called once more,
    with a fiftieth of the time, for the memory. `extras` are codes of several sizes, and the experiment on pretraining. With a
    `folder` a comparison that was stopped goes on where it was.

    Raises `ValueError` for unknown models, and as `demos.compare.problem.problem` does.
    """
    task = problem(source, labels=labels, code=code, seconds=budget, device=device)
    where = None if folder is None else Path(folder)
    return Comparison(task, run(task, seeds, Results(where), models, own, extras))
