"""FeatureSpace: where images are compared, the last hidden layer of a classifier that this toolkit trains."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..classifier import Classifier
from ..layers import Conv2D, Dense, MaxPool, ReLU, Reshape
from .distances import check
from .frechet import frechet_distance
from .manifolds import precision_recall

_EPOCHS = 5


@dataclass(frozen=True)
class Comparison:
    """Samples against rows in one feature space, the one whose file has this SHA-256: figures of others can't be put beside them."""

    frechet_distance: float
    precision: float
    recall: float
    rows: int
    samples: int
    sha256: str

    def __str__(self) -> str:
        return (
            f"Fréchet distance {self.frechet_distance:.2f}, precision {self.precision:.3f}, recall {self.recall:.3f} "
            f"({self.samples} samples, {self.rows} rows, feature space {self.sha256[:8]})"
        )


class FeatureSpace:
    """The outputs of the last hidden layer of a classifier: a function from rows (n, inputs) to features (n, features).

    It takes the place that Inception has for photographs, and is not Inception: figures in it are comparable with each other only where
    they name the same `sha256`, that of its file. It keeps a copy of the `classifier`, so that the hash stays true; the file is the
    classifier's.

    >>> space = FeatureSpace(Classifier([64, 32], classes=10, device="cpu"))
    >>> space(np.zeros((2, 64))).shape
    (2, 32)
    """

    def __init__(self, classifier: Classifier) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "classifier.safetensors")
            classifier.save(path)
            self._read(path, classifier.device)

    def _read(self, path: str | os.PathLike[str], device: Any) -> None:
        self.classifier = Classifier.load(path, device)
        self.sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()

    @classmethod
    def train(
        cls,
        rows: Any,
        labels: Any,
        shape: tuple[int, ...],
        *,
        features: int = 64,
        device: Any = "auto",
        seed: int = 0,
        **settings: Any,
    ) -> Self:
        """The recipe: a convolutional classifier of images, trained on `rows` (n, inputs) of this `shape` and their `labels` (n,).

        Twice a convolution of 5 x 5 (8, then 16 channels), ReLU and pooling of 2 x 2, then a dense layer of `features` ReLU units and the
        softmax. `shape` is (height, width) or (height, width, channels), both sizes divisible by four. Adam(1e-3), batches of 100, 5
        epochs; other `settings` are those of `Classifier.fit`.

        Raises `ValueError` as `Classifier` and its `fit` do.
        """
        if len(shape) not in (2, 3):
            raise ValueError(f"found shape={shape!r}; expected that of images, (height, width) or (height, width, channels)")
        height, width, channels = (*shape, 1)[:3]
        layers = [
            Reshape(height, width, channels),
            *(Conv2D(8, 5, padding=2), ReLU(), MaxPool(2)),
            *(Conv2D(16, 5, padding=2), ReLU(), MaxPool(2)),
            Reshape(height // 4 * (width // 4) * 16),
            *(Dense(features), ReLU()),
        ]
        classes = int(np.max(labels)) + 1
        classifier = Classifier(layers, classes, inputs=height * width * channels, device=device, seed=seed)
        return cls(classifier.fit(rows, labels, **({"epochs": _EPOCHS} | settings)))

    @property
    def features(self) -> int:
        """How many there are."""
        return math.prod(self.classifier.network.layers[-1].inputs or ())

    def __call__(self, rows: Any) -> np.ndarray:
        """The features of rows of a host array, (n, features)."""
        check(rows, "rows", self.classifier.inputs)
        return self.classifier.network.evaluate(rows, 0, len(self.classifier.network.layers) - 1).reshape(rows.shape[0], -1)

    def compare(self, rows: Any, samples: Any, neighbors: int = 3) -> Comparison:
        """`frechet_distance` and `precision_recall` of the features of `samples` (m, inputs) against those of `rows` (n, inputs).

        Raises `ValueError` as these do: there must be more rows and more samples than features.
        """
        held, made = self(rows), self(samples)
        precision, recall = precision_recall(held, made, neighbors)
        return Comparison(frechet_distance(held, made), precision, recall, len(held), len(made), self.sha256)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the classifier to one safetensors file, whose SHA-256 is `sha256`; read it back with `FeatureSpace.load`."""
        self.classifier.save(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: Any = "auto") -> Self:
        """The feature space saved at `path`, or that of any saved classifier; raises as `Classifier.load` does."""
        space = cls.__new__(cls)
        space._read(path, device)
        return space

    def __repr__(self) -> str:
        return f"FeatureSpace({self.classifier!r}, sha256={self.sha256[:8]})"
