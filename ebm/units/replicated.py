"""ReplicatedSoftmax: word counts of documents of any length."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..compute.device import Array, device_of
from ..compute.kernels.counts import tally
from ..compute.random import Stream
from ..data.validation import check_counts
from .base import Units, positive
from .softmax import Softmax


class ReplicatedSoftmax(Units):
    """Counts of `words` in documents of D words: D softmax units that share one field, energy -bias x for counts x. Visible only.

    The hidden bias is multiplied by D, and the partition function is that of ordered documents of one length (a count vector
    stands for D! / prod_k x_k! of them). `longest` bounds the length of a document. Salakhutdinov & Hinton 2009, "Replicated
    softmax: an undirected topic model".
    """

    replicated = True

    def __init__(self, words: int, longest: int = 1000) -> None:
        super().__init__(positive("words", words, least=2))
        self.longest = positive("longest", longest)
        self._word = Softmax(self.size)
        self._lengths: Array | None = None

    def arguments(self) -> dict[str, Any]:
        """What the constructor was given."""
        return {"words": self.size, "longest": self.longest}

    def like(self, states: Array | None) -> Units:
        """These units with the document lengths of `states`."""
        if states is None:
            return self
        units = copy.copy(self)
        units._lengths = states.sum(axis=1)
        return units

    def repeats(self, states: Array) -> Array | None:
        """The document lengths, (rows,)."""
        return states.sum(axis=1)

    def _lengths_for(self, field: Array) -> Array:
        if self._lengths is None:
            raise ValueError("the lengths of the documents are unknown; write like=v, with counts v of documents so long")
        if self._lengths.shape != field.shape[:1]:
            raise ValueError(
                f"found {self._lengths.shape[0]} documents for {field.shape[0]} rows; expected like=v with one document a row"
            )
        return self._lengths

    def energy(self, states: Array, bias: Array) -> Array:
        """-sum_k bias_k x_k."""
        return self._word.energy(states, bias)

    def log_partition(self, field: Array, beta: float = 1.0) -> Array:
        """D ln sum_k e^field_k."""
        return self._lengths_for(field) * self._word.log_partition(field)

    def mean(self, field: Array, beta: float = 1.0) -> Array:
        """D e^field_k / sum_j e^field_j."""
        return self._lengths_for(field)[:, None] * self._word.mean(field)

    def variance(self, field: Array, beta: float = 1.0) -> Array:
        """D p (1 - p), word by word."""
        return self._lengths_for(field)[:, None] * self._word.variance(field)

    def mode(self, field: Array, beta: float = 1.0) -> Array:
        """D times the likeliest word: the most likely ordered document."""
        return self._lengths_for(field)[:, None] * self._word.mode(field)

    def draw(self, field: Array, stream: Stream, first_row: int = 0, beta: float = 1.0) -> tuple[Array, Array]:
        """(mean, counts of D draws); `field` is overwritten with the mean."""
        device = device_of(field)
        probability = self._word.mean(field)
        sample = device.empty(field.shape, field.dtype)
        cumulative = device.empty(field.shape, field.dtype)
        cumulative[...] = device.xp.cumsum(probability, axis=1)
        lengths = device.empty(field.shape[:1], field.dtype)
        lengths[...] = self._lengths_for(field)
        tally(cumulative, lengths, sample, self.longest, *stream.take(first_row))
        field[...] = lengths[:, None] * probability
        return field, sample

    def bias_from_mean(self, mean: Array, rows: int | Array) -> Array:
        """ln of the words' shares, with one pseudo-observation of each."""
        counts = mean * rows + 1
        return device_of(mean).xp.log(counts / counts.sum())

    def check(self, rows: Any, name: str) -> None:
        """Whole numbers of at least 0, no empty document, none longer than `longest`."""
        check_counts(rows, self.size, name=name)
        lengths = np.asarray(rows.sum(axis=1)).ravel()
        if (longest := lengths.max()) > self.longest:
            raise ValueError(
                f"{name}: row {lengths.argmax()} has {longest:.0f} words; expected at most {self.longest}: write "
                f"ReplicatedSoftmax({self.size}, longest={longest:.0f})"
            )

    def check_clamp(self, mask: np.ndarray, values: np.ndarray) -> None:
        """Refused: the counts of a document depend on each other by its length."""
        raise ValueError("clamp: found a clamp for word counts, which can't be held singly; sample without it")
