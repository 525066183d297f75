"""Files of public data sets: from the folder `EBM_DATA`, from the cache, or from the first mirror that has them intact."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path


class DataFileError(OSError):
    """A file of a data set cannot be had, or is not the file that was published."""


@dataclass(frozen=True)
class Source:
    """One published file: where it lies below `EBM_DATA` and below the cache, its checksum, and who serves it."""

    path: str  # "mnist/train-labels-idx1-ubyte.gz"
    checksum: str  # in hexadecimal: a sha256, or an md5 where no other was published
    mirrors: tuple[str, ...] = ()  # addresses of the file or, ending in "/", of its folder; tried in this order
    origin: str = ""  # what the file belongs to and who publishes it, for a reader who has to fetch it by hand

    @property
    def name(self) -> str:
        """The name of the file itself."""
        return self.path.rpartition("/")[2]

    @property
    def algorithm(self) -> str:
        """What computes the checksum, as `hashlib` calls it."""
        return "md5" if len(self.checksum) == 32 else "sha256"


def fetch(source: Source, cache: str | Path | None = None) -> Path:
    """The path of a verified copy of `source`, downloaded only when there is none yet.

    The folder named by the environment variable `EBM_DATA` is looked into first, then `cache` (by default the operating
    system's cache folder), then the mirrors in turn. Every copy is checked against its checksum each time. A download gets its
    name in the cache only after the check, so that a broken one leaves nothing behind; a damaged copy in the cache is replaced.

    Raises `DataFileError` when the copy in `EBM_DATA` is damaged, when `EBM_DATA` names no folder, or when no mirror delivers.
    """
    return supplied(source) or _downloaded(source, cache)


def supplied(source: Source) -> Path | None:
    """The verified file in the folder `EBM_DATA`, None if it isn't there. Raises as `fetch` does."""
    folder = os.environ.get("EBM_DATA")
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise DataFileError(f"EBM_DATA={folder} names no folder; correct it, or unset it to download")
    path = Path(folder, source.path)
    if not path.exists():
        return None
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, source.algorithm).hexdigest()
    if found != source.checksum:
        raise DataFileError(
            f"{path} is damaged: found {source.algorithm} {found} over {path.stat().st_size} bytes, expected {source.checksum}; "
            f"replace it, or delete it to download {source.name} anew"
        )
    return path


def _downloaded(source: Source, cache: str | Path | None) -> Path:
    """The file in the cache, downloaded from the first mirror that delivers it intact."""
    import pooch

    folder = Path(cache or pooch.os_cache("ebm-toolkit"), source.path).parent
    # Pooch's default of 1 KiB flushes the file ten thousand times for MNIST.
    downloader = pooch.HTTPDownloader(chunk_size=1 << 16)
    known = f"{source.algorithm}:{source.checksum}"
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    reasons = []
    try:
        for mirror in source.mirrors:
            url = mirror + source.name if mirror.endswith("/") else mirror
            try:
                return Path(pooch.retrieve(url, known, source.name, folder, downloader=downloader))
            except (OSError, ValueError) as error:  # the network or the disk; a wrong checksum
                reasons.append(f"  {url}: {error}")
    finally:
        logger.setLevel(level)
    raise DataFileError(
        f"{source.name} ({source.algorithm} {source.checksum}) could not be downloaded to {folder}:\n"
        + "\n".join(reasons)
        + (f"\nIt is {source.origin}." if source.origin else "")
        + f"\nOn a machine without these mirrors, copy the file to FOLDER/{source.path} and set the environment variable "
        "EBM_DATA=FOLDER"
    )
