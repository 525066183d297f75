"""Saving and loading models: one safetensors file with a JSON header. Nothing is pickled, and loading runs no code of the file's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .compute import archive
from .compute import device as devices
from .compute.archive import ArchiveError

if TYPE_CHECKING:
    from .rbm import RBM


def save(model: RBM, path: str | os.PathLike[str]) -> None:
    """Write the model's description and parameters to `path`; an existing file is replaced only when all is written."""
    header = {"model": type(model).__name__, "config": model.config()}
    archive.write(path, arrays=model.parameters.state_dict(), header=header, kind="model")


def load(path: str | os.PathLike[str], device: Any = "auto") -> RBM:
    """The model saved at `path`, on the given device.

    Raises `FileNotFoundError`, or `ArchiveError` (a `ValueError`) for a file that is truncated, damaged, of a newer version or no
    model of this toolkit; for a device that is not there, what `device.get` raises.
    """
    from .rbm import RBM
    from .units import from_config

    device = devices.get(device)
    arrays, header = archive.read(path, kind="model")
    models = {"RBM": RBM}
    try:
        if header["model"] not in models:
            raise ValueError(f"found model {header['model']!r}; this version knows {sorted(models)}")
        config = header["config"]
        layers = [from_config(layer) for layer in config["layers"]]
        options = {"dtype": config["dtype"], "precision": config.get("precision")}
        model = models[header["model"]](*layers, device=device, **options)
        model.parameters.load_state_dict(arrays)
    except (KeyError, MemoryError, TypeError, ValueError) as error:
        raise ArchiveError(f"{os.fspath(path)} does not describe a model of this version: {error}") from error
    return model
