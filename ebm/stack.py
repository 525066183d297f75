"""Stack: layers trained greedily, each on what the one below makes of the data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from .data.minibatches import dense
from .training.checkpoints import Checkpoint
from .training.history import History


class LayerModel(Protocol):
    """What a stack is made of: anything that learns from rows and transforms them.

    Where it has `inputs` and `outputs`, the widths of its rows before and after, they are compared with its neighbors'.
    """

    def fit(self, data: Any, **settings: Any) -> Any:
        """Learn from the rows of `data`."""

    def transform(self, data: Any) -> np.ndarray:
        """The rows for the next layer."""


class Stack:
    """Layer models that are trained from the bottom up, one after the other. `trained` counts those that have been.

    The last `labels` columns of the data go past the lower layers to the last one, beside what comes from below. `passed` says what is
    passed up: "means", `transform(data)`, or "samples", `transform(data, seed=...)`, drawn once. (Binary layers that learn with
    binarization="stochastic" draw samples from the means anew at each visit.)

    Hinton, Osindero, Teh 2006, "A fast learning algorithm for deep belief nets".

    Raises `ValueError` for layers whose sizes do not chain.
    """

    def __init__(
        self, layers: Sequence[Any], *, labels: int = 0, passed: Literal["means", "samples"] = "means", seed: int = 0
    ) -> None:
        if passed not in ("means", "samples"):
            raise ValueError(f"found passed={passed!r}; expected 'means' or 'samples'")
        self.layers: list[Any] = []
        self.labels, self.passed, self.seed, self.trained = labels, passed, seed, 0
        for k, layer in enumerate(layers):
            self._append(layer, labels if k == len(layers) - 1 else 0)
        if not self.layers:
            raise ValueError("found no layers; expected one or more models with fit and transform")

    def _append(self, layer: Any, labels: int = 0) -> None:
        for method in ("fit", "transform"):
            if not callable(getattr(layer, method, None)):
                raise TypeError(
                    f"found {layer!r} without {method}; expected a model with fit(data, **settings) and transform(data)"
                )
        found = getattr(layer, "inputs", None)
        below = getattr(self.layers[-1], "outputs", None) if self.layers else None
        if found is not None and below is not None and found != below + labels:
            beside = f" beside {labels} labels" if labels else ""
            raise ValueError(
                f"layer {len(self.layers)}, {layer}, takes rows of {found}; expected {below + labels}, what comes from below{beside}: make "
                f"its size that, or that of the layer below"
            )
        self.layers.append(layer)

    def add(self, layer: Any) -> None:
        """Put a further layer, to be trained by the next `fit`, on top. Raises `ValueError` for a size that does not chain, and above
        labels."""
        if self.labels:
            raise ValueError("found labels at the top; a further layer would have to come below them: build the stack anew")
        self._append(layer)

    def fit(
        self,
        data: Any,
        *,
        layers: Sequence[int] | None = None,
        per_layer: Sequence[Mapping[str, Any]] = (),
        folder: str | os.PathLike[str] | None = None,
        validation: Any = None,
        **settings: Any,
    ) -> Any:
        """Train the layers that are not trained yet, or those numbered `layers`, on the rows of `data`; returns the stack.

        `settings` go to the `fit` of each layer; `per_layer`, one mapping for each layer, says what differs. `validation` rows are
        passed up as well. With a `folder`, layer k has checkpoints in `folder/layer-k` and a history in `folder/layer-k.csv`; the same
        call then goes on where an earlier one was stopped, in another process too.

        Raises `ValueError` where all layers are trained, for layers out of order, and for rows of another width.
        """
        numbers = list(range(self.trained, len(self.layers))) if layers is None else list(layers)
        if not numbers:
            raise ValueError(
                f"found all {len(self.layers)} layers trained; add(...) another, or write stack.trained = 0 to train them further"
            )
        if numbers != list(range(self.trained, self.trained + len(numbers))) or numbers[-1] >= len(self.layers):
            raise ValueError(
                f"found layers={numbers} where {self.trained} of {len(self.layers)} are trained; expected consecutive numbers from "
                f"{self.trained}: a layer learns from what the trained ones below it make of the data"
            )
        if per_layer and len(per_layer) != len(self.layers):
            raise ValueError()
        rows = self._split(data)
        held = None if validation is None else self._split(validation)
        for k, layer in enumerate(self.layers[: numbers[-1] + 1]):
            if k in numbers:
                options = settings | dict(per_layer[k] if per_layer else {})
                if held is not None:
                    options["validation"] = self._joined(held, k)
                if folder is not None:
                    options |= _kept(Path(folder) / f"layer-{k}", options)
                layer.fit(self._joined(rows, k), **options)
                self.trained = k + 1
            if k < numbers[-1]:
                rows = self._up(k, rows[0]), rows[1]
                held = None if held is None else (self._up(k, held[0]), held[1])
        return self

    def transform(self, data: Any) -> np.ndarray:
        """The means of the last layer, (rows, size); with labels those below it, which need none."""
        rows = data if not self.labels or data.shape[1] == self.inputs else self._split(data)[0]
        for layer in self.layers[: -1 if self.labels else None]:
            rows = layer.transform(rows)
        return rows

    @property
    def inputs(self) -> int | None:
        """The width of a row of data without labels."""
        first = self.layers[0]
        return first.inputs - (self.labels if len(self.layers) == 1 else 0) if hasattr(first, "inputs") else None

    def _split(self, data: Any) -> tuple[Any, Any]:
        """Rows for the first layer, and labels."""
        if getattr(data, "ndim", None) != 2:
            raise ValueError(f"data: found shape {getattr(data, 'shape', None)}; expected (rows, columns)")
        if self.inputs is not None and data.shape[1] != self.inputs + self.labels:
            beside = f" + {self.labels} labels, one-hot" if self.labels else ""
            raise ValueError(f"data: found shape {data.shape}; expected (rows, {self.inputs}{beside})")
        if not self.labels:
            return data, None
        return data[:, : -self.labels], dense(data[:, -self.labels :])

    def _joined(self, rows: tuple[Any, Any], k: int) -> Any:
        """What layer k learns from."""
        features, labels = rows
        if labels is None or k < len(self.layers) - 1:
            return features
        return np.concatenate([dense(features), labels.astype(features.dtype)], axis=1)

    def _up(self, k: int, rows: Any) -> np.ndarray:
        layer = self.layers[k]
        return layer.transform(rows) if self.passed == "means" else layer.transform(rows, seed=self.seed + k)


def _kept(folder: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with a checkpoint and a history of the layer's own."""
    callbacks = [*options.get("callbacks", ()), Checkpoint(folder), History(folder.with_suffix(".csv"))]
    return {"callbacks": callbacks, "resume": folder if any(folder.glob("*.safetensors")) else options.get("resume")}
