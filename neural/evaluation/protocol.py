"""What a model can do, as far as an evaluation needs to know; `isinstance(model, Samples)` asks whether it has the method."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Samples(Protocol):
    """A model that generates."""

    def sample(self, n: int, *, seed: int | None = None) -> np.ndarray:
        """n samples, (n, width), on the host; the same `seed` gives the same ones."""


@runtime_checkable
class Encodes(Protocol):
    """A model with codes."""

    def encode(self, rows: Any) -> np.ndarray:
        """The code of each row of a host array, (rows, code), on the host: of a distribution over codes the mean."""


@runtime_checkable
class Reconstructs(Protocol):
    """A model that returns rows through a code."""

    def reconstruct(self, rows: Any) -> np.ndarray:
        """What comes back of the rows of a host array, (rows, width), on the host."""


@runtime_checkable
class Scores(Protocol):
    """A model with a likelihood."""

    def log_likelihood(self, rows: Any) -> tuple[np.ndarray, np.ndarray]:
        """ln p of each row of a host array and the standard errors of these numbers, (rows,) nats each."""
