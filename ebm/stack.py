"""Stack: layers trained greedily, each on what the one below makes of the data."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from .data.minibatches import dense
from .training.checkpoints import Checkpoint
from .training.history import History
from .units.base import positive


class Stack:
    """Layer models that are trained from the bottom up, one after the other. `trained` counts those that have been.

    A layer is any object with `fit(data, **settings)` and `transform(data)`. Where it has `inputs` and `outputs`, the widths of its
    rows before and after, they are compared with its neighbors'.

    The last `labels` columns of the data go past the lower layers to the last one, beside what comes from below. `passed` says what is
    passed up: "means", `transform(data)`, or "samples", `transform(data, seed=...)`, drawn once. (Binary layers that learn with
    binarization="stochastic" draw samples from the means anew at each visit.)

    Hinton, Osindero, Teh 2006, "A fast learning algorithm for deep belief nets".

    Raises `ValueError` for layers whose sizes do not chain, `TypeError` for what is no layer.
    """

    def __init__(
        self, layers: Sequence[Any], *, labels: int = 0, passed: Literal["means", "samples"] = "means", seed: int = 0
    ) -> None:
        if passed not in ("means", "samples"):
            raise ValueError(f"found passed={passed!r}; expected 'means' or 'samples'")
        if not layers:
            raise ValueError("found no layers; expected one or more models with fit and transform")
        self.layers: list[Any] = []
        self.labels, self.passed, self.seed, self.trained = positive("labels", labels, least=0), passed, seed, 0
        for k, layer in enumerate(layers):
            self._check(layer, labels if k == len(layers) - 1 else 0)
            self.layers.append(layer)

    def _check(self, layer: Any, labels: int) -> None:
        """Raise unless `layer` can be the next one, with so many labels beside what comes from below."""
        for method in ("fit", "transform"):
            if not callable(getattr(layer, method, None)):
                raise TypeError(
                    f"found {layer!r} without {method}; expected a model with fit(data, **settings) and transform(data)"
                )
        if self.passed == "samples" and self.layers:
            last = self.layers[-1]
            takes = inspect.signature(last.transform).parameters.values()
            if not any(p.name == "seed" or p.kind is p.VAR_KEYWORD for p in takes):
                raise TypeError(f"found passed='samples' above {last!r}, whose transform takes no seed; write passed='means'")
        found = getattr(layer, "inputs", None)
        below = getattr(self.layers[-1], "outputs", None) if self.layers else None
        if found is not None and below is not None and found != below + labels:
            beside = f" beside {labels} labels" if labels else ""
            raise ValueError(
                f"layer {len(self.layers)}, {layer}, takes rows of {found}; expected {below + labels}, what comes from below{beside}: make "
                f"its size that, or that of the layer below"
            )

    def add(self, layer: Any) -> None:
        """Put a further layer, to be trained by the next `fit`, on top. Raises `ValueError` for a size that does not chain, and above
        labels."""
        if self.labels:
            raise ValueError("found labels at the top; a further layer would have to come below them: build the stack anew")
        self._check(layer, 0)
        self.layers.append(layer)

    def fit(
        self,
        data: Any,
        *,
        layers: Sequence[int] | None = None,
        per_layer: Sequence[Mapping[str, Any]] = (),
        folder: str | os.PathLike[str] | None = None,
        validation: Any = None,
        **settings: Any,
    ) -> Self:
        """Train the layers that are not trained yet, or those numbered `layers`, on the rows of `data`; returns the stack.

        `settings` go to the `fit` of each layer; `per_layer`, one mapping for each layer, says what differs. `validation` rows are
        passed up as well. With a `folder`, layer k has checkpoints in `folder/layer-k` and a history in `folder/layer-k.csv`; the same
        call then goes on where an earlier one was stopped, in another process too. (It needs layers whose `fit` takes `callbacks` and
        `resume`.)

        Raises `ValueError` where all layers are trained, for layers out of order, and for rows of another width.
        """
        remaining = list(range(self.trained, len(self.layers)))
        numbers = remaining if layers is None else list(layers)
        if not remaining:
            raise ValueError(
                f"found all {len(self.layers)} layers trained; add(...) another, or write stack.trained = 0 to train them further"
            )
        if not numbers or numbers != remaining[: len(numbers)]:
            raise ValueError(
                f"found layers={numbers} where {self.trained} of {len(self.layers)} are trained; expected {remaining}, or the first of "
                f"these: a layer learns from what the trained ones below it make of the data"
            )
        if per_layer and len(per_layer) != len(self.layers):
            raise ValueError(
                f"found {len(per_layer)} settings in per_layer for {len(self.layers)} layers; expected one mapping for each, {{}} where "
                f"nothing differs"
            )
        if "resume" in settings:
            raise ValueError(
                f"found resume={settings['resume']!r} for all layers, which have checkpoints of their own: write folder=..., and the same "
                f"call goes on from them"
            )
        rows = self._split(data, "data")
        held = None if validation is None else self._split(validation, "validation")
        for k, layer in enumerate(self.layers[: numbers[-1] + 1]):
            if k in numbers:
                options = settings | dict(per_layer[k] if per_layer else {})
                if held is not None:
                    options["validation"] = self._joined(held, k)
                if folder is not None:
                    options |= _kept(Path(folder), k, options)
                layer.fit(self._joined(rows, k), **options)
                self.trained = k + 1
            if k < numbers[-1]:
                rows = self._up(k, rows[0]), rows[1]
                held = None if held is None else (self._up(k, held[0]), held[1])
        return self

    def transform(self, data: Any) -> np.ndarray:
        """The means of the last layer, (rows, size), for rows of a host array; with labels those of the layer below it, which depend on
        none: rows may have them or not."""
        rows = self._unlabeled(data)
        for layer in self.layers[: -1 if self.labels else None]:
            rows = layer.transform(rows)
        return rows

    @property
    def inputs(self) -> int | None:
        """The width of a row of data without labels, None where the first layer does not say."""
        first = self.layers[0]
        return first.inputs - (self.labels if len(self.layers) == 1 else 0) if hasattr(first, "inputs") else None

    def _split(self, data: Any, name: str) -> tuple[Any, Any]:
        """Rows for the first layer, and labels."""
        if getattr(data, "ndim", None) != 2:
            raise ValueError(f"{name}: found shape {getattr(data, 'shape', None)}; expected (rows, columns)")
        if self.inputs is not None and data.shape[1] != self.inputs + self.labels:
            beside = f" + {self.labels} labels, one-hot" if self.labels else ""
            raise ValueError(f"{name}: found shape {data.shape}; expected (rows, {self.inputs}{beside})")
        if not self.labels:
            return data, None
        return data[:, : -self.labels], dense(data[:, -self.labels :])

    def _unlabeled(self, data: Any) -> Any:
        """The rows without labels."""
        bare = self.labels and getattr(data, "ndim", None) == 2 and data.shape[1] == self.inputs
        return data if bare else self._split(data, "data")[0]

    def _joined(self, rows: tuple[Any, Any], k: int) -> Any:
        """What layer k learns from."""
        features, labels = rows
        if labels is None or k < len(self.layers) - 1:
            return features
        return np.concatenate([dense(features), labels.astype(features.dtype)], axis=1)

    def _up(self, k: int, rows: Any) -> np.ndarray:
        layer = self.layers[k]
        return layer.transform(rows) if self.passed == "means" else layer.transform(rows, seed=self.seed + k)


def _kept(folder: Path, k: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """The callbacks with a checkpoint and a history of the layer's own, and where to go on from."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints = folder / f"layer-{k}"
    callbacks = [*options.get("callbacks", ()), History(folder / f"layer-{k}.csv"), Checkpoint(checkpoints)]
    return {"callbacks": callbacks} | ({"resume": checkpoints} if any(checkpoints.glob("step-*.safetensors")) else {})
