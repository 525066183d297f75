"""Minibatches: rows of a data set in shuffled order, gathered into one fixed buffer on the device.

A batch is addressed by (epoch, index), so that a run resumes anywhere with two integers. The order is a permutation that is
computed where it is needed, not stored: a memory-mapped file of any size costs no memory beyond the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numba import njit

from ..compute.device import CPU, Array, Device, device_of
from ..compute.random import Stream
from ..compute.upload import Upload

Binarization = Literal["stochastic"] | None

# Host data up to this size is copied to a GPU as a whole, once; of larger data one batch after the other.
RESIDENT_BYTES = 2 << 30
# Rows that are evaluated at once where a method walks through a whole data set.
BLOCK = 1000
_CHUNK = 1 << 16  # positions of the order that are computed at once
_ROUNDS = 8


def permuted(positions: np.ndarray, rows: int, keys: np.ndarray) -> np.ndarray:
    """The rows at `positions` of a permutation of range(rows) that the round keys choose.

    A balanced Feistel network over the next even number of bits, applied again while the result lies outside ("cycle walking":
    Black & Rogaway 2002, "Ciphers with arbitrary finite domains"). Any integer array of positions, values in [0, rows).
    """
    result = np.array(positions, np.int64, order="C")
    _permute(result.reshape(-1), rows, keys.astype(np.uint64), max(1, (max(rows - 1, 1).bit_length() + 1) // 2))
    return result


@njit(nogil=True, cache=True)
def _permute(positions: Any, rows: int, keys: Any, half: int) -> None:  # pragma: no cover
    """Each position in its place; as whole arrays in NumPy small epochs cost a millisecond each."""
    bits, limit = np.uint64(half), np.uint64(rows)
    mask = (np.uint64(1) << bits) - np.uint64(1)
    for i in range(positions.size):
        result = np.uint64(positions[i])
        while True:
            left, right = result >> bits, result & mask
            for key in keys:
                mixed = (right ^ key) * np.uint64(0x9E3779B97F4A7C15)
                mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
                left, right = right, left ^ (mixed >> np.uint64(32) & mask)
            result = left << bits | right
            if result < limit:
                break
        positions[i] = np.int64(result)


def dense(rows: Any) -> np.ndarray:
    """Rows of a host array or a scipy sparse matrix as a NumPy array."""
    return rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows)


def in_blocks(rows: Any, device: Device, dtype: Any) -> Iterator[Array]:
    """Rows of an array, on the host or the device, or of a scipy sparse matrix: on the device, some at a time."""
    for start in range(0, rows.shape[0], BLOCK):
        block = rows[start : start + BLOCK]
        yield device.asarray(block.toarray() if hasattr(block, "toarray") else block, dtype)


class Minibatches:
    """Batches of `data` (rows, width) on `device`: each epoch visits every row once, in an order of its own.

    The last batch of an epoch is filled up from the epoch's beginning, so that every batch is full. `data` may be a NumPy array
    or memory map of any numeric dtype, a scipy sparse matrix (its rows become dense batch by batch), or an array on `device`; it
    isn't copied, except that a host array up to 2 GiB is copied to a GPU whole. From larger data and sparse matrices each batch is
    gathered and sent to the GPU while it learns from the one before. `binarization="stochastic"` draws each value anew at each visit,
    Bernoulli with the value as probability.

    A batch, always the same array, stays valid until the next one is asked for. Raises `ValueError` when `data` has fewer rows than a
    batch.
    """

    def __init__(
        self,
        data: Array,
        batch_size: int,
        *,
        device: Device = CPU,
        dtype: Any = np.float32,
        seed: int = 0,
        binarization: Binarization = None,
        shuffle: bool = True,
    ) -> None:
        if data.ndim != 2 or not isinstance(batch_size, (int, np.integer)) or not 1 <= batch_size <= data.shape[0]:
            raise ValueError(
                f"found batch_size={batch_size!r} for data of shape {data.shape}; expected rows of data and a whole number "
                "of at least 1 and at most the number of rows"
            )
        if binarization not in (None, "stochastic"):
            raise ValueError(f"found binarization={binarization!r}; expected None or 'stochastic'")
        if device is not CPU and isinstance(data, np.ndarray) and data.nbytes <= RESIDENT_BYTES:
            data = device.asarray(data)
        self.data = data
        self.batch_size = batch_size
        self.device = device
        self.shuffle = shuffle
        sparse = hasattr(data, "toarray")
        self._on_device = not sparse and device_of(data) is device
        # NumPy's take, the faster way, would copy any other array as a whole at each call
        self._takes_rows = not sparse and (not isinstance(data, np.ndarray) or (data.flags.c_contiguous and data.flags.aligned))
        self._seed = Stream(seed, "order").seed
        self._buffer = device.empty((batch_size, data.shape[1]), dtype)
        self._binarize = Stream(self._seed, "binarization", device) if binarization else None
        self._binary = device.empty(self._buffer.shape, dtype) if binarization else None
        # the smaller of the two dtypes travels
        travels = min(self._buffer.dtype, data.dtype.newbyteorder("="), key=lambda dtype: dtype.itemsize)
        self._upload = None if self._on_device or device is CPU else Upload(device, self._buffer.shape, travels)
        self._sent: tuple[int, int] | None = None  # the place of the batch that was sent last
        self._batches_per_chunk = max(1, _CHUNK // batch_size)
        self._chunk: tuple[int, int] | None = None
        self._order: Array = None

    def __len__(self) -> int:
        return -(-self.data.shape[0] // self.batch_size)

    def order(self, epoch: int, start: int, count: int) -> np.ndarray:
        """The row numbers at positions start, ..., start + count - 1 of an epoch, wrapping at its end."""
        rows = self.data.shape[0]
        positions = np.arange(start, start + count) % rows
        if not self.shuffle:
            return positions
        return permuted(positions, rows, Stream(self._seed, "order").at(epoch).words(_ROUNDS))

    def batch(self, epoch: int, index: int) -> Array:
        """The batch (batch_size, width) at a place in the schedule."""
        batch = self._buffer
        if self._upload is None:
            self._gather(epoch, index, batch)
        else:
            if self._sent != (epoch, index):
                self._send(self._upload, epoch, index)
            self._upload.receive(batch)
        if self._binarize is not None:
            batch = self._binary
            self._binarize.seek_(epoch * len(self) + index)
            self._binarize.bernoulli(self._buffer, out=batch)
        if self._upload is not None:
            # what comes next, most likely; meanwhile the device works on the steps that are queued
            self._send(self._upload, *divmod(epoch * len(self) + index + 1, len(self)))
        return batch

    def _send(self, upload: Upload, epoch: int, index: int) -> None:
        self._sent = None
        self._gather(epoch, index, upload.room())
        upload.send()
        self._sent = epoch, index

    def _gather(self, epoch: int, index: int, out: Array) -> None:
        """Put the rows of a batch into an array that is where the data are."""
        chunk = epoch, index // self._batches_per_chunk
        if chunk != self._chunk:
            first = chunk[1] * self._batches_per_chunk
            batches = min(self._batches_per_chunk, len(self) - first)
            order = self.order(epoch, first * self.batch_size, batches * self.batch_size)
            self._order = self.device.asarray(order) if self._on_device else order
            self._chunk = chunk
        start = (index % self._batches_per_chunk) * self.batch_size
        rows = self._order[start : start + self.batch_size]
        if self.data.dtype == out.dtype and self._takes_rows:
            # NumPy buffers the output of a checked take; CuPy knows no modes
            xp: Any = np if isinstance(self.data, np.ndarray) else self.device.xp
            xp.take(self.data, rows, axis=0, out=out, **({"mode": "clip"} if xp is np else {}))
            return
        chosen = self.data[rows]
        if not hasattr(chosen, "toarray"):
            out[...] = chosen
        elif chosen.dtype == out.dtype:
            chosen.toarray(out=out)
        else:
            out[...] = chosen.toarray()

    def state_dict(self) -> dict[str, Any]:
        """The seed: a run that is resumed goes on in its own order."""
        return {"seed": self._seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the order and the draws of `state`."""
        self._seed = state["seed"]
        self._chunk = self._sent = None
        if self._binarize is not None:
            self._binarize = Stream(self._seed, "binarization", self.device)
