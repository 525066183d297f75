"""A comparison: every model trained and measured once for each seed, one line of results after the other."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from neural.evaluation import FeatureSpace

from . import measure, models
from .models import Train
from .problem import Problem

TABLES = ("codes", "generation")


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
        for file in sorted(self.folder.glob("arrays/*.npz")):
            with np.load(file) as arrays:
                self.arrays[file.stem] = dict(arrays)

    @property
    def path(self) -> Path:
        """The file of records."""
        assert self.folder is not None
        return self.folder / "results.jsonl"

    def has(self, key: Mapping[str, Any]) -> bool:
        """Whether there is a record with these entries."""
        return any(key.items() <= record.items() for record in self.records)

    def add(self, record: dict[str, Any], arrays: Mapping[str, Any], name: str) -> None:
        """Keep a record, and arrays under a name."""
        self.records.append(record)
        if arrays:
            self.arrays[name] = dict(arrays)
        if self.folder is None:
            return
        if arrays:
            (self.folder / "arrays").mkdir(exist_ok=True)
            with open(self.folder / "arrays" / f"{name}.npz", "wb") as file:
                np.savez_compressed(file, **arrays)
        # the record comes last: what has one is whole
        self.path.write_text("".join(json.dumps(r) + "\n" for r in self.records), encoding="utf-8")


def tasks(names: Sequence[str] | None, own: Mapping[str, Train]) -> Iterator[tuple[str, str, Train]]:
    """Table, name and function of every model that is asked for; models of one's own are in both tables."""
    known = {"codes": models.CODES, "generation": models.GENERATION}
    every = {name for table in known.values() for name in table} | set(own)
    if unknown := set(names or ()) - every:
        raise ValueError(f"found models {sorted(unknown)}; expected some of {sorted(every)}")
    for table in TABLES:
        for name, train in (known[table] | dict(own)).items():
            if not names or name in names:
                yield table, name, train


def run(
    problem: Problem, seeds: int, results: Results, names: Sequence[str] | None = None, own: Mapping[str, Train] | None = None
) -> Results:
    """Train and measure what `results` lacks. A model that fails gets a record with its reason, and the others go on."""
    space = _space(problem, results.folder)
    everything = [(seed, *task) for seed in range(1, seeds + 1) for task in tasks(names, own or {})]
    for number, (seed, table, name, train) in enumerate(everything, 1):
        key = {"table": table, "model": name, "seed": seed}
        if results.has(key):
            continue
        print(f"{number}/{len(everything)}  {table}: {name}, seed {seed} ", end="", flush=True)
        record, arrays = _measured(problem.of(seed=seed), table, train, space, pictures=seed == 1)
        results.add(key | record, arrays, f"{table}-{name}")
        print(f"failed: {record['failed']}" if "failed" in record else f"{record['values']['training']:.1f} s", flush=True)
    return results


def _measured(
    problem: Problem, table: str, train: Train, space: FeatureSpace | None, pictures: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with _memory() as grown:
            start = time.perf_counter()
            model = train(problem)
            seconds = time.perf_counter() - start
        codes = table == "codes"
        found = measure.codes(model, problem, pictures) if codes else measure.generation(model, problem, space, pictures)
    except Exception as error:  # whatever a model of one's own raises: the others go on
        return {"failed": f"{type(error).__name__}: {error}"}, {}
    clocks = [history.rows[-1]["seconds"] for history in problem.histories.values() if history.rows]
    costs = {"training": sum(clocks) or seconds, "peak memory": grown[0] / 1e6}
    if (parameters := getattr(model, "parameters", None)) is not None:
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


@contextmanager
def _memory() -> Iterator[list[int]]:
    """How many bytes the process grows by within the block, at most, looked at fifty times a second."""
    process, grown, done = psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss

    def look() -> None:
        while not done.wait(0.02):
            grown[0] = max(grown[0], process.memory_info().rss - before)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield grown
    finally:
        grown[0] = max(grown[0], process.memory_info().rss - before)
        done.set()
        thread.join()
