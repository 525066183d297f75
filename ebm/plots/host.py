"""Checks of what a picture is made of: finite numbers in host arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compute.device import CPU, MixedDevicesError


def on_host(array: Any, name: str) -> np.ndarray:
    """`array` as a NumPy array; raises `MixedDevicesError` for one on a device."""
    try:
        return CPU.asarray(array)
    except MixedDevicesError as error:
        raise MixedDevicesError(f"found {name} on a device; pictures take host arrays: write device.to_host({name})") from error


def finite(array: Any, name: str) -> np.ndarray:
    """`array` on the host in a floating dtype; raises `ValueError` where it is empty or holds anything but finite real numbers."""
    array = on_host(array, name)
    if array.dtype.kind not in "fiub" or not array.size:
        raise ValueError(
            f"found {name} of dtype {array.dtype} and shape {array.shape}; expected real numbers, at least one: write "
            f"{name}.toarray() for a sparse matrix"
        )
    if bad := int(array.size - np.isfinite(array).sum()):
        raise ValueError(f"found {bad} of {array.size} values of {name} NaN or infinite; expected finite numbers")
    return array.astype(np.result_type(array, np.float32), copy=False)


def rows_of(array: Any, name: str, width: int | None = None) -> np.ndarray:
    """`finite` numbers of shape (n, width); raises `ValueError` for other shapes."""
    array = finite(array, name)
    if array.ndim != 2 or width not in (None, array.shape[1]):
        raise ValueError(
            f"found {name} of shape {array.shape}; expected (n, {'width' if width is None else width}): write "
            f"{name}.reshape(len({name}), -1) for a stack of images, {name}[None] for a single row"
        )
    return array
