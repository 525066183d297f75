"""Saving and loading models: one safetensors file with a JSON header. Nothing is pickled, and loading runs no code of the file's."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from .compute import archive
from .compute import device as devices
from .compute.archive import ArchiveError
from .training import checkpoints

if TYPE_CHECKING:
    from .training.parameters import Parameters


class Described:
    """What models share that `config()` and their parameters describe: they can be pickled and copied."""

    def __copy__(self) -> Self:
        """With the same parameters."""
        model = object.__new__(type(self))
        model.__dict__.update(self.__dict__)
        return model

    def __reduce__(self) -> tuple[Any, ...]:
        model: Any = self
        _require_described(model)
        return rebuilt, (type(self), model.config(), model.device.name, states(self))


def states(model: Any) -> dict[str, dict[str, Any]]:
    """Host copies of the parameters of each part of a model."""
    return {part: p.state_dict() for part, p in _parts(model).items()}


def rebuilt(kind: Any, config: Mapping[str, Any], device: str, states: Mapping[str, dict[str, Any]]) -> Any:
    """The model of class `kind` that `config` describes, with these parameters."""
    model = kind.from_config(config, devices.get(device))
    for part, p in _parts(model).items():
        p.load_state_dict(states[part])
    return model


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write the model's description and parameters to `path`; an existing file is replaced only when all is written.

    Raises `ValueError` for a model that couldn't be read back: one with layers, losses or units of your own.
    """
    _require_described(model)
    arrays = {f"{part}{name}": x for part, p in _parts(model).items() for name, x in p.state_dict().items()}
    archive.write(path, arrays=arrays, header=description(model), kind="model")


def _require_described(model: Any) -> None:
    """Raise `ValueError` where the model's description doesn't lead back to it."""
    try:
        type(model).from_config(json.loads(json.dumps(model.config())), devices.get("cpu"))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"this {type(model).__name__} couldn't be read back: {error}; save its arrays, such as "
            "numpy.savez(path, **model.parameters.state_dict()), and put them into a model that you have made anew"
        ) from error


def description(model: Any) -> dict[str, Any]:
    """What a file says of a model, besides its parameters."""
    package = type(model).__module__.partition(".")[0]
    return {"model": type(model).__name__, "package": package, "config": model.config()}


def load(
    path: str | os.PathLike[str],
    device: Any = "auto",
    model: type[Any] | None = None,
    others: Mapping[str, Any] | None = None,
) -> Any:
    """The model saved at `path`, or of the checkpoint there as it was then, on the given device; with `model`, a class, which may be your
    own, one of this class. `others` are further models by name, for packages around this one.

    Raises `FileNotFoundError`, or `ArchiveError` (a `ValueError`) for a file that is truncated, damaged, of a newer version, of
    another model or no model of this toolkit; for a device that is not there, what `device.get` raises.
    """
    from .dbm import DBM
    from .dbn import DBN
    from .rbm import RBM

    device = devices.get(device)
    arrays, header = archive.read(path, "model", "checkpoint")
    models: dict[str, Any] = {"RBM": RBM, "DBM": DBM, "DBN": DBN, **(others or {})}
    if model is not None:
        models.setdefault(model.__name__, model)
    try:
        if "state" in header:
            arrays, header = checkpoints.model_in(arrays, header)
        if header["model"] not in models:
            # a class of a user's own loads itself
            place = header["package"] if header.get("package") in ("ebm", "neural") else header["model"]
            hint = f": write {place}.load(path)" if "package" in header else ""
            raise ValueError(f"found model {header['model']!r}; this version knows {sorted(models)}{hint}")
        found = models[header["model"]]
        if model is not None and not issubclass(found, model):
            raise ArchiveError(
                f"{os.fspath(path)} holds a {found.__name__}; expected a {model.__name__}: write {header['package']}.load(path)"
            )
        loaded = found.from_config(header["config"], device)
        parts = _parts(loaded)
        states: dict[str, dict[str, Any]] = {part: {} for part in parts}
        for name, array in arrays.items():
            part = max((part for part in parts if name.startswith(part)), key=len)
            states[part][name.removeprefix(part)] = array
        for part, state in states.items():
            parts[part].load_state_dict(state)
    except ArchiveError:
        raise
    except (IndexError, KeyError, MemoryError, TypeError, ValueError) as error:
        raise ArchiveError(f"{os.fspath(path)} does not describe a model of this version: {error}") from error
    return loaded


def _parts(model: Any) -> dict[str, Parameters]:
    """The parameters by what their names begin with in a file."""
    return {f"{part}.": p for part, p in model.parts.items()} if hasattr(model, "parts") else {"": model.parameters}
