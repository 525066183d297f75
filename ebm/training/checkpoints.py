"""Checkpoints: the whole state of a run in one file, from which it goes on bit for bit."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compute import archive
from ..compute.archive import ArchiveError
from .callbacks import Best, Callback, positive
from .divergence import require_finite

if TYPE_CHECKING:
    from .loop import Run

# Takes the place of an array in the JSON tree; its value is the array's name in the archive.
_ARRAY = "__array__"
# What of a model's description may be another when a run goes on: how it is trained and computed, not what it is.
_FREE = ("seed", "seeds", "precision", "frozen")


class Checkpoint(Callback):
    """Saves the run as `step-00001234.safetensors` in `directory`, and once more at its end.

    Saves after every `every_epochs`-th epoch and every `every_steps`-th step (None: never), and keeps the newest `keep` files.
    `best` names a metric: the epoch with its smallest value (largest, unless `minimize`) is kept as `best.safetensors` too. It
    comes after all other callbacks, so that their state is that of the same step. A run that an exception ends is not saved.

    Raises `FileExistsError` when the folder holds a later step of another run, `OSError` when a file cannot be written.
    """

    order = 1

    def __init__(
        self,
        directory: str | os.PathLike[str],
        every_epochs: int | None = 1,
        every_steps: int | None = None,
        keep: int = 3,
        best: str | None = None,
        minimize: bool = True,
    ) -> None:
        self.directory = Path(directory)
        self.every_epochs = None if every_epochs is None else positive("every_epochs", every_epochs)
        self.every_steps = None if every_steps is None else positive("every_steps", every_steps)
        self.keep = positive("keep", keep)
        self.best = None if best is None else Best(best, minimize)
        self._saved = 0  # the step of the last file

    def on_start(self, run: Run) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        archive.remove_leftovers(self.directory, "*.safetensors")
        for step, path in _files(self.directory):
            if step > run.step and _readable(path):
                raise FileExistsError(
                    f"found {path}, but this run starts at step {run.step}; write resume={str(self.directory)!r} to go on from "
                    "that file, choose another folder, or delete the checkpoints in this one"
                )
        if self.best is not None and run.step == 0:
            self.best.reset()
        self._saved = run.step

    def on_step(self, run: Run) -> None:
        # The last step of an epoch is saved in `on_epoch`, when the other callbacks are done with it.
        if run.step % run.steps_per_epoch and self._due(run.step, self.every_steps):
            self._save(run)

    def on_epoch(self, run: Run) -> None:
        # The best file comes first: a run killed between the two finds the same best epoch again when it is resumed.
        if self.best is not None and self.best.update(run):
            self._write(run, self.directory / "best.safetensors")
        if self._due(run.epoch, self.every_epochs) or self._due(run.step, self.every_steps):
            self._save(run)

    def on_end(self, run: Run) -> None:
        if run.error is not None:
            return
        if run.step > self._saved:
            self._save(run)
        if self.best is not None and self.best.value is None and run.epoch and run.stop_reason is None:
            warnings.warn(
                f"no best.safetensors: found no finite metric {self.best.metric!r}; the last metrics are {run.metrics}",
                stacklevel=2,
            )

    @staticmethod
    def _due(count: int, every: int | None) -> bool:
        return every is not None and count % every == 0

    def _save(self, run: Run) -> None:
        path = self.directory / f"step-{run.step:08d}.safetensors"
        self._write(run, path)
        run.checkpoint, self._saved = path, run.step
        for _, old in _files(self.directory)[: -self.keep]:
            old.unlink(missing_ok=True)

    @staticmethod
    def _write(run: Run, path: Path) -> None:
        require_finite(run)
        for callback in run.callbacks:
            callback.on_checkpoint(run)
        arrays: dict[str, np.ndarray] = {}
        archive.write(path, arrays=arrays, header=_pack(_capture(run), "", arrays), kind="checkpoint")

    def state_dict(self) -> dict[str, Any]:
        return {} if self.best is None else self.best.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.best is not None:
            self.best.load_state_dict(state)


class Description:
    """What a run trains, as `storage.description` says: a part of the state by which checkpoints of other models are refused."""

    def __init__(self, description: Mapping[str, Any]) -> None:
        # as a checkpoint gives it back; of what only a user's own layers and losses have, the class
        self.value: dict[str, Any] = json.loads(json.dumps(description, default=lambda value: type(value).__name__))

    def state_dict(self) -> dict[str, Any]:
        """The description."""
        return self.value

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing: it was compared."""


def empty(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a folder without checkpoints, with which a run starts at its beginning."""
    return Path(path).is_dir() and not _files(Path(path))


def model_in(arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The parameters by name and the description of the model, from the contents of a checkpoint of its run. Raises `ValueError` where it
    has no description."""
    state = _unpack(header, arrays)["state"]
    if "model" not in state:
        raise ValueError("a checkpoint without a description of its model; training goes on from it with resume=")
    found: dict[str, np.ndarray] = {}
    for name, part in state.items():
        if name.partition(".")[0] == "parameters":
            _flatten(part, name.removeprefix("parameters").removeprefix("."), found)
    return found, state["model"]


def _flatten(tree: Any, name: str, arrays: dict[str, np.ndarray]) -> None:
    if isinstance(tree, dict):
        for key, value in tree.items():
            _flatten(value, f"{name}.{key}" if name else key, arrays)
    else:
        arrays[name] = tree


def restore(run: Run, path: str | os.PathLike[str]) -> None:
    """Bring `run`, its state and its callbacks to where the checkpoint `path` was written (or the newest readable one in a folder).

    Damaged files in a folder are skipped with a warning, and an empty folder leaves the run at its start, with a warning. Raises
    `FileNotFoundError` where there is nothing, `ArchiveError` when nothing can be read, and `ValueError`, before anything is
    changed, when the checkpoint is of another run: other names in the state, another model, other shapes, another number of batches.
    """
    path = Path(path)
    newest = _newest(path) if path.is_dir() else (path, *archive.read(path, "checkpoint"))
    if newest is None:
        return
    path, arrays, header = newest
    try:
        tree = _unpack(header, arrays)
        position, state, callbacks = tree["run"], tree["state"], tree["callbacks"]
    except KeyError as error:
        raise ArchiveError(f"{path} is no checkpoint of a training run: it lacks {error}") from error
    _require_same(run, path, position, state)
    keyed = _keyed(run.callbacks)
    if unknown := [key for key in callbacks if key not in keyed]:
        warnings.warn(f"{path} holds the state of callbacks that this run does not have: {', '.join(unknown)}", stacklevel=3)
    for name, owner in run.state.items():
        owner.load_state_dict(state[name])
    for key, callback in keyed.items():
        if key in callbacks:
            callback.load_state_dict(callbacks[key])
    run.load_state_dict(position)
    run.checkpoint = path


def _capture(run: Run) -> dict[str, Any]:
    callbacks = {key: callback.state_dict() for key, callback in _keyed(run.callbacks).items()}
    return {
        "run": run.state_dict(),
        "state": {name: owner.state_dict() for name, owner in run.state.items()},
        "callbacks": {key: state for key, state in callbacks.items() if state},
    }


def _keyed(callbacks: list[Callback]) -> dict[str, Callback]:
    """The callbacks by the name of their class, numbered where there are several of it."""
    keyed: dict[str, Callback] = {}
    for callback in callbacks:
        name = type(callback).__name__
        number = sum(type(other).__name__ == name for other in keyed.values())
        keyed[f"{name} {number + 1}" if number else name] = callback
    return keyed


def _require_same(run: Run, path: Path, position: dict[str, Any], state: dict[str, Any]) -> None:
    if state.keys() != run.state.keys():
        raise ValueError(f"{path} holds {sorted(state)}, this run has {sorted(run.state)}; build the run as the saved one was")
    for name, owner in run.state.items():
        if isinstance(owner, Description) and (differing := _difference(state[name], owner.value)):
            raise ValueError(f"{path} is of another model, {differing}; build the model as the saved one was")
    if position["steps_per_epoch"] != run.steps_per_epoch:
        raise ValueError(
            f"{path} was saved with {position['steps_per_epoch']} batches per epoch, this run has {run.steps_per_epoch}; "
            "give the same data and batch size"
        )
    if position["step"] > run.epochs * run.steps_per_epoch:
        raise ValueError(
            f"{path} is at step {position['step']}, beyond the end of this run, step {run.epochs * run.steps_per_epoch}; "
            f"write epochs={position['epochs']} or more"
        )
    saved: dict[str, np.ndarray] = {}
    present: dict[str, np.ndarray] = {}
    _pack(state, "", saved)
    _pack({name: owner.state_dict() for name, owner in run.state.items()}, "", present)
    if missing := sorted(present.keys() - saved.keys()):
        raise ValueError(f"{path} holds no {', '.join(missing)}; build the run as the saved one was")
    for name, a in saved.items():
        b = present.get(name, a)
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise ValueError(
                f"{path} holds {name} of shape {a.shape} and type {a.dtype}, this run's has shape {b.shape} and type {b.dtype}; "
                "build the run as the saved one was"
            )


def _difference(saved: Any, present: Any, place: str = "") -> str | None:
    """Where two descriptions first differ, and what they have there."""
    if isinstance(saved, dict) and isinstance(present, dict) and saved.keys() == present.keys():
        pairs = [(f"{place}/{key}" if place else key, saved[key], present[key]) for key in saved if key not in _FREE]
    elif isinstance(saved, list) and isinstance(present, list) and len(saved) == len(present):
        pairs = [(f"{place}/{k}", a, b) for k, (a, b) in enumerate(zip(saved, present, strict=True))]
    else:
        return None if saved == present else f"with {place} {saved!r} where this run has {present!r}"
    return next(filter(None, (_difference(a, b, inner) for inner, a, b in pairs)), None)


def _pack(tree: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """`tree` as JSON; its arrays are moved to `arrays`, named by their path."""
    if isinstance(tree, np.ndarray):
        if path in arrays:
            raise ValueError(f"found two arrays at {path} of the state; use names without '/'")
        arrays[path] = tree
        return {_ARRAY: path}
    if isinstance(tree, Mapping):
        if any(not isinstance(key, str) or key == _ARRAY for key in tree):
            raise TypeError(
                f"found the keys {list(tree)} at {path or 'the top'} of the state; expected strings other than {_ARRAY!r}"
            )
        return {key: _pack(value, f"{path}/{key}" if path else key, arrays) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_pack(value, f"{path}/{index}", arrays) for index, value in enumerate(tree)]
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(
        f"found {type(tree).__name__} at {path} of the state; expected host arrays, numbers, strings, lists and dicts: "
        "write device.to_host(array), or scalar.item()"
    )


def _unpack(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(tree, dict):
        if _ARRAY in tree:
            return arrays[tree[_ARRAY]]
        return {key: _unpack(value, arrays) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_unpack(value, arrays) for value in tree]
    return tree


def _newest(directory: Path) -> tuple[Path, dict[str, np.ndarray], dict[str, Any]] | None:
    damaged = []
    for _, path in reversed(_files(directory)):
        try:
            arrays, header = archive.read(path, "checkpoint")
        except ArchiveError as error:
            damaged.append(str(error))
            continue
        if damaged:
            warnings.warn(f"resuming from {path}, because of newer files: {'; '.join(damaged)}", stacklevel=4)
        return path, arrays, header
    if damaged:
        raise ArchiveError(f"found no readable checkpoint in {directory}: {'; '.join(damaged)}")
    warnings.warn(f"found no checkpoint in {directory}: training starts at its beginning", stacklevel=4)
    return None


def _files(directory: Path) -> list[tuple[int, Path]]:
    """The steps and paths of the checkpoints in a folder, by ascending step."""
    files = [(path.stem.removeprefix("step-"), path) for path in directory.glob("step-*.safetensors")]
    return sorted((int(step), path) for step, path in files if step.isdigit())


def _readable(path: Path) -> bool:
    try:
        archive.read(path, "checkpoint")
    except ArchiveError:
        return False
    return True
