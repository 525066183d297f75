"""What the deep estimators share: how they take rows, keep their model through Ctrl-C, and pickle it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import storage
from ..training.callbacks import Callback
from ..training.progress import Progress
from ..units import TYPES, Bernoulli
from .inputs import DTYPES
from .rbm import _units


class ModelEstimator(BaseEstimator):
    """An estimator whose fitted attribute `_name` is a model of class `_kind`."""

    _name: ClassVar[str]
    _kind: ClassVar[Any]
    # Whether the fitted model takes values in [0, 1] only.
    _limited: bool

    @property
    def _model(self) -> Any:
        return getattr(self, self._name)

    @contextmanager
    def _keeping(self, make: Callable[[], Any], **others: Any) -> Iterator[None]:
        """When the block is done, and when Ctrl-C ends it, the estimator has the model that `make` returns, and `others`."""
        interrupt = None
        try:
            yield
        except KeyboardInterrupt as error:
            interrupt = error
        self.__dict__.update({self._name: make()} | others)
        if interrupt is not None:
            raise interrupt

    def _checked(self, X: Any) -> Any:
        """Rows to evaluate, as they were given."""
        check_is_fitted(self, self._name)
        return validate_data(self, X, accept_sparse="csr", dtype=DTYPES, reset=False)

    def _rows(self, X: Any) -> Any:
        """Rows to evaluate, as the model takes them."""
        X = self._checked(X)
        return clipped(X) if self._limited else X

    def _callbacks(self) -> list[Callback]:
        return [Progress()] if self.verbose else []

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if self._name in state:
            state[self._name] = self._model.config(), storage.states(self._model)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self._name in state:
            config, parameters = state[self._name]
            setattr(self, self._name, storage.rebuilt(self._kind, config, self.device, parameters))


class ModelTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ModelEstimator):
    """One that learns without labels and transforms."""

    def _bounded(self, width: int) -> bool:
        """Whether values must be in [0, 1], of rows so wide."""
        raise NotImplementedError

    def _learn(self, X: Any) -> None:
        """Make the model and train it on checked rows."""
        raise NotImplementedError

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from the rows of `X` (n_samples, n_features) with a fresh model.

        After Ctrl-C the model is as its last whole step left it. Raises `ValueError` for data and parameters that don't fit, and
        `DivergenceError`, a `FloatingPointError`, when parameters stop being finite.
        """
        X = validate_data(self, X, accept_sparse="csr", dtype=DTYPES)
        self._limited = self._bounded(X.shape[1])
        self._learn(clipped(X, warn=True) if self._limited else X)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class MachineTransformer(ModelTransformer):
    """One whose model has `visible` units."""

    def _bounded(self, width: int) -> bool:
        return isinstance(_units(self.visible, width, "visible"), Bernoulli)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        units = TYPES.get(self.visible) if isinstance(self.visible, str) else getattr(self.visible, "func", self.visible)
        tags.input_tags.sparse = getattr(units, "discrete", True)
        return tags


def clipped(X: Any, warn: bool = False) -> Any:
    """Rows with all values in [0, 1], a copy where some are not; with `warn` whoever called the caller's caller hears of it."""
    values = X.data if sparse.issparse(X) else X
    least, largest = (values.min(), values.max()) if values.size else (0, 0)
    if least >= 0 and largest <= 1:
        return X
    if warn:
        warnings.warn(
            f"X holds values from {least:g} to {largest:g}; they are clipped to [0, 1], since the model takes them for probabilities: "
            "rescale them, for instance with sklearn.preprocessing.MinMaxScaler()",
            stacklevel=4,
        )
    if not sparse.issparse(X):
        return np.clip(X, 0, 1)
    X = X.copy()
    X.sum_duplicates()
    X.data = np.clip(X.data, 0, 1)
    return X
