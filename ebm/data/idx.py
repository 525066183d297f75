"""IDX: the file format of MNIST and of the data sets that follow it."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

UNSIGNED_BYTE = 0x08


def read(path: str | Path) -> np.ndarray:
    """The array of unsigned bytes in the gzip-compressed IDX file at `path`, as uint8 of the shape that its header states.

    The header is two zero bytes, a type code, the number of dimensions, and each dimension as a big-endian 32-bit integer;
    the elements follow in row-major order. The array is read-only. Source: http://yann.lecun.com/exdb/mnist/, "The IDX file
    format".

    Raises `ValueError` for a file that is no gzip file, not IDX, of another element type, or shorter or longer than its
    header states.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path} is no whole gzip file ({error}); write the file as it was published, still compressed"
        ) from error
    if len(content) < 4 or content[:2] != b"\0\0":
        raise ValueError(f"{path} starts with bytes {content[:4].hex(' ')}; an IDX file starts with 00 00, a type and a rank")
    element, rank = content[2], content[3]
    if element != UNSIGNED_BYTE:
        raise ValueError(f"{path} holds elements of IDX type 0x{element:02x}; expected 0x{UNSIGNED_BYTE:02x}, unsigned bytes")
    start = 4 + 4 * rank
    if len(content) < start:
        raise ValueError(f"{path} ends within its header: {len(content)} bytes, {rank} dimensions need {start}")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", rank, offset=4))
    if len(content) - start != math.prod(shape):
        raise ValueError(f"{path} holds {len(content) - start} bytes of data; its header states {shape}: {math.prod(shape)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
