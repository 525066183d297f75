"""Archives: named arrays and a JSON header in one safetensors file, whole or not there at all.

The file is plain safetensors, so other programs read its arrays. Its metadata has one entry, `ebm`: a JSON text with the version of
this format, the kind of content (`model`, `checkpoint`), the header, and a SHA-256 over header, names, types, shapes and values.
Nothing in it is code: reading one never executes anything. Equal content gives equal bytes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

VERSION = 1

_TYPES = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})

# A full disk, a used-up quota (Windows has no such number) and a size limit of the process look alike to the user.
_NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


class ArchiveError(ValueError):
    """A file is no archive of ours, or a damaged one, or one of another kind or a newer version."""


def write(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], header: Mapping[str, Any], kind: str = "model"
) -> None:
    """Write `arrays` and the JSON object `header` to `path`, replacing a file there only when the new one is complete.

    Raises `TypeError` for arrays that are not of booleans, integers or floats and for headers that are not JSON, `OSError` (see
    `replace_file`) when the file cannot be written.
    """
    from safetensors.numpy import save

    header = json.loads(json.dumps(header))  # as `read` will see it: keys are strings and none comes twice
    plain = {}
    for name, array in arrays.items():
        if array.dtype.str[1:] not in _TYPES:
            raise TypeError(
                f"{name}: found an array of {array.dtype}; an archive holds booleans, integers and floats of 1 to 8 bytes"
            )
        plain[name] = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    envelope = {"version": VERSION, "kind": kind, "sha256": _digest(plain, kind, header), "header": header}
    replace_file(path, save(plain, metadata={"ebm": json.dumps(envelope)}))


def read(path: str | os.PathLike[str], *kinds: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays, writable, and the header of the archive at `path`, which must be of one of the kinds.

    Raises `ArchiveError` for a file that is truncated, corrupted, foreign, of another kind or of a newer version, and
    `FileNotFoundError` where there is none.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.exists():
        neighbors = sorted(file.name for file in path.parent.glob("*.safetensors"))[:8]
        hint = f"its folder holds {', '.join(neighbors)}" if neighbors else "there is no archive in that folder"
        raise FileNotFoundError(errno.ENOENT, f"found no file of that name; {hint}", str(path))
    if not path.is_file():
        raise ArchiveError(f"{path} is no file; name an archive, a file written by this package")
    try:
        with safe_open(path, framework="numpy") as file:
            envelope = _envelope(path, file.metadata(), kinds)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, KeyError) as error:  # the latter two: types that NumPy does not have
        raise ArchiveError(f"{path} is damaged, or no archive at all ({error}); use another copy of the file") from error
    if _digest(arrays, envelope["kind"], envelope["header"]) != envelope["sha256"]:
        raise ArchiveError(f"{path} is damaged: its content does not match its checksum; use another copy of the file")
    return arrays, envelope["header"]


def _envelope(path: Path, metadata: Mapping[str, str] | None, kinds: Collection[str]) -> dict[str, Any]:
    if not metadata or "ebm" not in metadata:
        raise ArchiveError(f"{path} is a safetensors file of another program; expected one that this package wrote")
    try:
        envelope = json.loads(metadata["ebm"])
        version, found = envelope["version"], envelope["kind"]
        complete = isinstance(version, int) and isinstance(envelope["header"], dict) and "sha256" in envelope
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArchiveError(f"{path} is damaged: its header cannot be read ({error}); use another copy of the file") from error
    if not complete:
        raise ArchiveError(f"{path} is damaged: its header is incomplete; use another copy of the file")
    if version > VERSION:
        raise ArchiveError(
            f"{path} has format version {version}, newer than {VERSION}, the newest that this package reads: "
            "pip install --upgrade ebm-toolkit"
        )
    if found not in kinds:
        raise ArchiveError(
            f"{path} holds a {found}, expected a {' or a '.join(kinds)}: models are read by `load`, checkpoints also by training with "
            f"`resume=`"
        )
    return dict(envelope)


def _digest(arrays: Mapping[str, np.ndarray], kind: str, header: Mapping[str, Any]) -> str:
    names = sorted(arrays)
    table = [[name, arrays[name].dtype.str, arrays[name].shape] for name in names]
    digest = hashlib.sha256(json.dumps([VERSION, kind, header, table]).encode())
    for name in names:
        digest.update(arrays[name].reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def replace_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Make `data` the content of the file `path`; whatever stops this, a kill included, the old content stays whole.

    Raises `OSError`: with the space needed and found where the disk is full, `FileNotFoundError` where the folder is missing.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "found no such folder; make it first, or write to another", str(path.parent))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "found a folder; expected the name of a file to write", str(path))
    # In the same folder, because a rename is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            free = shutil.disk_usage(path.parent).free
            message = (
                f"no room for {len(data):,} bytes ({free:,} are free, less any quota); nothing was changed. "
                "Free some space or write to another disk"
            )
            raise OSError(error.errno, message, str(path)) from error
        raise


def remove_leftovers(folder: Path, pattern: str) -> None:
    """Remove what `replace_file` has left of files like `pattern` when a process was killed while it wrote."""
    for leftover in folder.glob(f".{pattern}.*.tmp"):
        leftover.unlink(missing_ok=True)
