"""A comparison: every model trained and measured once for each seed, one line of results after the other."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neural.evaluation import FeatureSpace

from . import depth, measure, models
from .measure import Found
from .models import Train
from .problem import Problem

TABLES = ("codes", "generation")


def array_name(record: Mapping[str, Any]) -> str:
    """What the arrays of a record are called."""
    return f"{record['table']}-{record['model']}"


@dataclass
class Results:
    """Records, one for each model, table and seed: what was found, or why it failed. They are kept in `folder`, if any, line by line, and
    arrays for pictures beside them."""

    folder: Path | None = None
    records: list[dict[str, Any]] = field(default_factory=list)
    arrays: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.folder is None:
            return
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            # what a killed run has half written is done again
            self.records = [json.loads(line) for line in lines if line.endswith("\n")]
        for record in self.records:
            file = self._file(name := array_name(record))
            if name not in self.arrays and file.exists():
                with np.load(file) as arrays:
                    self.arrays[name] = dict(arrays)

    @property
    def path(self) -> Path:
        """The file of records."""
        assert self.folder is not None
        return self.folder / "results.jsonl"

    def _file(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / "arrays" / f"{name}.npz"

    def has(self, key: Mapping[str, Any]) -> bool:
        """Whether there is a record with these entries."""
        return any(key.items() <= record.items() for record in self.records)

    def add(self, record: dict[str, Any], arrays: Mapping[str, Any]) -> None:
        """Keep a record, and arrays under its name."""
        self.records.append(record)
        if arrays:
            self.arrays[array_name(record)] = dict(arrays)
        if self.folder is None:
            return
        if arrays:
            (self.folder / "arrays").mkdir(exist_ok=True)
            with open(self._file(array_name(record)), "wb") as file:
                np.savez_compressed(file, **arrays)
        # the record comes last: what has one is whole
        self.path.write_text("".join(json.dumps(r) + "\n" for r in self.records), encoding="utf-8")


@dataclass(frozen=True)
class Task:
    """A model to be trained and measured: once for each seed in the tables, once in all elsewhere."""

    table: str
    model: str
    train: Train
    measure: Callable[[Any, Problem, bool], Found]
    code: int | None = None

    @property
    def seeds(self) -> int | None:
        """How many at most."""
        return None if self.table in TABLES else 1


def require_known(names: Sequence[str] | None, own: Mapping[str, Train] | None = None) -> None:
    """Raise `ValueError` for names of no model."""
    every = {*models.CODES, *models.GENERATION, *(own or {})}
    if unknown := set(names or ()) - every:
        raise ValueError(f"found models {sorted(unknown)}; expected some of {sorted(every)}")


def tasks(names: Sequence[str] | None, own: Mapping[str, Train], space: FeatureSpace | None, extras: bool) -> Iterator[Task]:
    """What is to be done about the models that are asked for; models of one's own are in both tables. With `extras` what the report shows
    besides: codes of several sizes, and the experiment on pretraining."""
    table: dict[str, tuple[dict[str, Train], Callable[[Any, Problem, bool], Found]]] = {
        "codes": (models.CODES | dict(own), measure.codes),
        "generation": (models.GENERATION | dict(own), lambda m, p, pictures: measure.generation(m, p, space, pictures)),
    }
    for which, (trains, measured) in table.items():
        for name, train in trains.items():
            if not names or name in names:
                yield Task(which, name, train, measured)
    if not extras:
        return
    for name, train in models.GALLERY.items():
        if not names or name in names:
            for size in models.SIZES:
                yield Task("gallery", f"{name}, {size} numbers", train, lambda m, p, pictures: measure.gallery(m, p), size)
    if not names:
        for name, train in depth.tasks().items():
            yield Task("pretraining", name, train, lambda m, p, pictures: depth.measured(m, p))


def run(
    problem: Problem,
    seeds: int,
    results: Results,
    names: Sequence[str] | None = None,
    own: Mapping[str, Train] | None = None,
    extras: bool = False,
) -> Results:
    """Train and measure what `results` lacks. A model that fails gets a record with its reason, and the others go on."""
    require_known(names, own)
    space = _space(problem, results.folder)
    given = list(tasks(names, own or {}, space, extras))
    everything = [(seed, task) for seed in range(1, seeds + 1) for task in given if seed <= (task.seeds or seeds)]
    for number, (seed, task) in enumerate(everything, 1):
        key = {"table": task.table, "model": task.model, "seed": seed}
        if results.has(key):
            continue
        print(f"{number}/{len(everything)}  {task.table}: {task.model}, seed {seed} ", end="", flush=True)
        changes = {"seed": seed} | ({} if task.code is None else {"code": task.code})
        record, arrays = _measured(problem.of(**changes), task, pictures=seed == 1)
        results.add(key | record, arrays)
        print(f"failed: {record['failed']}" if "failed" in record else f"{record['values']['training']:.1f} s", flush=True)
    return results


def _measured(problem: Problem, task: Task, pictures: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        costs = {"peak memory": _memory(problem, task)} if pictures and task.seeds is None else {}
        start = time.perf_counter()
        model = task.train(problem)
        seconds = time.perf_counter() - start
        found = task.measure(model, problem, pictures)
    except Exception as error:  # whatever a model of one's own raises: the others go on
        return {"failed": f"{type(error).__name__}: {error}"}, {}
    costs["training"] = sum(clock.spent for clock in problem.clocks) or seconds
    if isinstance(parameters := getattr(model, "parameters", None), int):
        costs["parameters"] = float(parameters)
    curves = {name: history.rows for name, history in problem.histories.items()} if pictures else {}
    return {"values": costs | found.values, "notes": found.notes, "curves": curves}, found.arrays


def _space(problem: Problem, folder: Path | None) -> FeatureSpace | None:
    """The feature space that samples are compared in, trained once for a folder; None without labels."""
    train = problem.train
    if train.labels is None or any(side % 4 for side in train.shape):
        return None
    path = None if folder is None else folder / "classifier.safetensors"
    if path is not None and path.exists():
        return FeatureSpace.load(path, problem.device)
    print("training the classifier in whose features samples are compared", flush=True)
    features, epochs = (16, 10) if problem.small else (64, 3)
    space = FeatureSpace.train(train.images, train.labels, train.shape, features=features, device=problem.device, epochs=epochs)
    if path is not None:
        space.save(path)
    return space


def _memory(problem: Problem, task: Task) -> float:
    """The most megabytes of arrays and objects at once, in a run of a fiftieth of the time: looking slows training down. A run before it
    compiles the kernels that are not yet: that is no memory of the model's, and takes several times as long when looked at."""
    seconds = problem.seconds / 50
    task.train(problem.of(seconds=seconds))
    tracemalloc.start()
    try:
        task.train(problem.of(seconds=seconds))
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
