"""RBM: the restricted Boltzmann machine with any units, learning rule and penalties, as a scikit-learn transformer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.utils import check_array, check_random_state, gen_batches
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ..compute.device import Array
from ..data.minibatches import Binarization, dense
from ..learning import CD, Rule
from ..learning.fit import fit
from ..rbm import RBM as Machine
from ..training.callbacks import Callback
from ..training.loop import Run
from ..training.optimizers import Optimizer
from ..training.penalties import Penalty
from ..training.progress import Progress
from ..units import TYPES, Bernoulli, Units
from .inputs import BLOCK, DTYPES, seed_from, warn_outside


class RBM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A restricted Boltzmann machine with units, a learning rule and penalties of any kind, as a transformer: `ebm.RBM` under
    scikit-learn's rules.

    `visible` and `hidden` are names of unit types, or functions of a width that return units: `Gaussian`,
    `functools.partial(Gaussian, learn_variance=True)`, `lambda width: Softmax(10, width // 10)` (which plain pickle can't keep). The
    visible width is the number of features, the hidden one `n_components`. The other parameters are those of `ebm.RBM.fit`, with
    these differences: a batch larger than the data shrinks to it, `device` is a name, and callbacks are used as given but copied by
    `clone`, and so by `GridSearchCV`. `verbose` shows a progress bar.

    Bernoulli visible units take any finite numbers, with a warning outside [0, 1]; Gaussian ones warn about columns that `ebm.RBM`
    refuses. Other units raise `ValueError` for what can't be their states. Sparse data go to all but Gaussian and ReLU units.

    Fitted: `rbm_`, the `ebm.RBM` itself, in the data's precision (float32, or else float64), and `n_iter_`, the completed epochs.

    >>> from ebm import PCD
    >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    >>> model = RBM(2, learning=PCD(5), epochs=3, random_state=0).fit(X)
    >>> model.rbm_
    RBM(Bernoulli(3), Bernoulli(2), device='cpu', dtype='float64')
    >>> model.transform(X).shape, model.components_.shape
    ((4, 2), (2, 3))
    """

    rbm_: Machine
    n_iter_: int

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "visible": [StrOptions(set(TYPES)), callable],
        "hidden": [StrOptions(set(TYPES)), callable],
        "learning": [callable],
        "optimizer": [HasMethods("start"), None],
        "penalties": [tuple, list],
        "epochs": [Interval(Integral, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "centered": ["boolean"],
        "binarization": [StrOptions({"stochastic"}), None],
        "callbacks": [tuple, list],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components: int = 100,
        *,
        visible: str | Callable[[int], Units] = "Bernoulli",
        hidden: str | Callable[[int], Units] = "Bernoulli",
        learning: Rule = CD(),
        optimizer: Optimizer | None = None,
        penalties: Sequence[Penalty] = (),
        epochs: int = 10,
        batch_size: int = 100,
        centered: bool = False,
        binarization: Binarization = None,
        callbacks: Sequence[Callback] = (),
        device: str = "cpu",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.visible = visible
        self.hidden = hidden
        self.learning = learning
        self.optimizer = optimizer
        self.penalties = penalties
        self.epochs = epochs
        self.batch_size = batch_size
        self.centered = centered
        self.binarization = binarization
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> RBM:
        """Learn from the rows of `X` (n_samples, n_features) with a fresh machine.

        After Ctrl-C `rbm_` is as its last whole step left it. Raises `ValueError` for data and parameters that don't fit, and
        `DivergenceError`, a `FloatingPointError`, when parameters stop being finite.
        """
        X = validate_data(self, X, accept_sparse="csr", dtype=DTYPES)
        visible, hidden = _units(self.visible, X.shape[1], "visible"), _units(self.hidden, self.n_components, "hidden")
        _check(visible, X)
        seed = seed_from(check_random_state(self.random_state))
        rbm = Machine(visible, hidden, device=self.device, dtype=X.dtype, seed=seed)
        if not isinstance(visible, Bernoulli):
            _warn_unscaled(visible, X)
        elif warn_outside(X):
            # there are no log odds of a mean outside [0, 1]
            mean = np.clip(np.asarray(X.mean(axis=0, dtype=np.float64)).ravel(), 0, 1)
            rbm.visible.bias[...] = rbm.device.asarray(visible.bias_from_mean(mean, X.shape[0]), rbm.dtype)
        fit(
            rbm,
            X,
            epochs=self.epochs,
            batch_size=min(self.batch_size, X.shape[0]),
            learning=self.learning,
            optimizer=self.optimizer,
            penalties=self.penalties,
            binarization=self.binarization,
            centered=self.centered,
            callbacks=[
                *self.callbacks,
                _Keep(self, rbm),
                *([Progress()] if self.verbose else []),
            ],
        )
        return self

    @property
    def components_(self) -> np.ndarray:
        """A copy of the weights, (n_components, n_features); `rbm_.weights` are the machine's own."""
        return self._parameter("weights").T

    @property
    def intercept_hidden_(self) -> np.ndarray:
        """A copy of the hidden biases, (n_components,)."""
        return self._parameter("bias.1")

    @property
    def intercept_visible_(self) -> np.ndarray:
        """A copy of the visible biases, (n_features,)."""
        return self._parameter("bias.0")

    def transform(self, X: Any) -> np.ndarray:
        """E[h | v] for the rows v of `X` (n_samples, n_features): (n_samples, n_components), in the machine's precision."""
        X = self._checked(X)
        return self._by_blocks(self.rbm_.mean_hidden, X)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """E[v | h] for the rows h of `X` (n_samples, n_components): (n_samples, n_features). Of word counts, whose number the hidden
        states don't tell, it is that of one word: the words' probabilities."""
        check_is_fitted(self)
        rbm = self.rbm_

        def mean_visible(h: Array) -> Array:
            like = rbm.device.zeros((h.shape[0], rbm.visible.units.size), rbm.dtype)
            like[:, 0] = 1
            return rbm.mean_visible(h, like)

        return self._by_blocks(mean_visible, check_array(X, dtype=DTYPES))

    def score_samples(self, X: Any) -> np.ndarray:
        """Minus the free energy of each row of `X` (n_samples, n_features): (n_samples,) nats.

        This is the logarithm of the row's probability but for a constant, -ln Z, which differs from machine to machine: it tells
        which rows one machine holds for likelier (outliers have low ones), not which machine fits the data better.
        """
        X = self._checked(X)
        return -self._by_blocks(self.rbm_.free_energy, X)

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the squared error of the reconstructions E[v | E[h | v]] of the rows of `X` (n_samples, n_features), averaged over rows.

        Not the mean of `score_samples`: machines can be compared by it, as `GridSearchCV` does. But it measures how well the hidden
        means keep a row, not how likely the row is; where there are labels, search by the score of the classifier after it.
        """
        X = self._checked(X)
        return -float(self._by_blocks(lambda v: ((v - self.rbm_.up_and_down(v)) ** 2).sum(axis=1), X).mean(dtype=np.float64))

    def sample(self, n_samples: int = 1, *, steps: int = 1000, start: Any = None, random_state: Any = None) -> np.ndarray:
        """Samples of the visible units after `steps` steps of Gibbs sampling, (n_samples, n_features).

        The chains begin at `start` (n_samples, n_features), else at draws from the visible biases; word counts need it, for the
        lengths of documents. Raises `ValueError` as `ebm.RBM.sample` does.
        """
        check_is_fitted(self)
        return self.rbm_.sample(n_samples, steps, start=start, seed=seed_from(check_random_state(random_state)))

    def _checked(self, X: Any) -> Any:
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=DTYPES, reset=False)
        _check(self.rbm_.visible.units, X)
        return X

    def _by_blocks(self, function: Callable[[Array], Array], X: Any) -> np.ndarray:
        """`function` of all rows, which enter in blocks, on the host."""
        device, dtype = self.rbm_.device, self.rbm_.dtype
        blocks = (device.asarray(dense(X[rows]), dtype) for rows in gen_batches(X.shape[0], BLOCK))
        return np.concatenate([device.to_host(function(block)) for block in blocks])

    def _parameter(self, name: str) -> np.ndarray:
        return self.rbm_.device.to_host(self.rbm_.parameters[name])

    @property
    def _n_features_out(self) -> int:
        return self.rbm_.hidden.units.size

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "rbm_" in state:
            units = [layer.units.bound({}) for layer in self.rbm_.layers]
            state["rbm_"] = units, str(self.rbm_.dtype), self.rbm_.seed, self.rbm_.parameters.state_dict()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "rbm_" in state:
            units, dtype, seed, parameters = state["rbm_"]
            self.rbm_ = Machine(*units, device=self.device, dtype=dtype, seed=seed)
            self.rbm_.parameters.load_state_dict(parameters)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        units = TYPES.get(self.visible) if isinstance(self.visible, str) else getattr(self.visible, "func", self.visible)
        tags.input_tags.sparse = getattr(units, "discrete", True)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class _Keep(Callback):
    """Gives the estimator its machine when nothing can refuse the run any more, and counts the completed epochs."""

    order = 3

    def __init__(self, estimator: RBM, rbm: Machine) -> None:
        self.estimator, self.rbm = estimator, rbm

    def on_start(self, run: Run) -> None:
        self.estimator.rbm_, self.estimator.n_iter_ = self.rbm, 0

    def on_epoch(self, run: Run) -> None:
        self.estimator.n_iter_ = run.epoch


def _units(make: str | Callable[[int], Units], width: int, name: str) -> Units:
    units = (TYPES[make] if isinstance(make, str) else make)(width)
    if not isinstance(units, Units) or units.size != width:
        found = f"{units}, {units.size} columns wide," if isinstance(units, Units) else f"{units!r}"
        raise ValueError(
            f"{name}: found {found} for a width of {width}; expected a function of the width that returns units so wide, such as "
            "Gaussian or lambda width: Softmax(10, width // 10), which takes widths that 10 divides"
        )
    return units


def _check(units: Units, X: Any) -> None:
    """Raise for data that can't be states of such units; Bernoulli units take any numbers."""
    if sparse.issparse(X) and not units.discrete:
        raise TypeError(f"X is sparse; {units} expect a dense array, since zeros are values like others: write X.toarray()")
    if not isinstance(units, Bernoulli):
        units.check(X, "X")


def _warn_unscaled(units: Units, X: Any) -> None:
    try:
        units.check_training(X, "X")
    except ValueError as error:
        warnings.warn(
            f"{error}; or begin the pipeline with sklearn.feature_selection.VarianceThreshold() against constant columns and "
            "sklearn.preprocessing.StandardScaler()",
            stacklevel=4,
        )
