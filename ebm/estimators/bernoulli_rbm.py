"""BernoulliRBM: a drop-in for scikit-learn's class of that name."""

from __future__ import annotations

import time
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.utils import check_array, check_random_state, gen_batches
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from ..compute.device import CPU
from ..compute.gemm import gemm
from ..compute.kernels.logistic import logistic, softplus
from ..compute.random import Stream
from ..learning import PCD, Step
from ..rbm import RBM as Machine
from ..training.callbacks import Callback
from ..training.loop import Run, train
from ..training.optimizers import SGD
from ..units import Bernoulli
from .inputs import BLOCK, DTYPES, seed_from, warn_outside


class BernoulliRBM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A restricted Boltzmann machine with binary units that takes the place of `sklearn.neural_network.BernoulliRBM`.

    Parameters, attributes and methods are those of scikit-learn's class, and so is the algorithm: persistent contrastive
    divergence with one step of Gibbs sampling an update (Tieleman 2008), over batches of `batch_size` neighbouring rows in
    the given order; every iteration visits every row once, the last batch may be short. From one `random_state` both classes
    start with the same weights and score with the same flips; their draws in training differ.

    Three things differ on purpose. Each phase of the gradient is averaged over its own rows: scikit-learn divides both by the rows
    of the batch, so that a batch with fewer rows than there are chains weighs the model's phase too much. `partial_fit` learns
    in float32 from float32 data. Data outside [0, 1], where values are no probabilities, are accepted with a warning.

    Fitted attributes are plain arrays and may be assigned: `components_` (n_components, n_features), `intercept_hidden_`
    (n_components,), `intercept_visible_` (n_features,), and the states of the chains, `h_samples_` (batch_size, n_components).

    >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    >>> rbm = BernoulliRBM(n_components=2, random_state=0).fit(X)
    >>> rbm
    BernoulliRBM(n_components=2, random_state=0)
    >>> rbm.transform(X).shape
    (4, 2)
    """

    components_: np.ndarray
    intercept_hidden_: np.ndarray
    intercept_visible_: np.ndarray
    h_samples_: np.ndarray
    random_state_: np.random.RandomState

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "n_iter": [Interval(Integral, 0, None, closed="left")],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components: int = 256,
        *,
        learning_rate: float = 0.1,
        batch_size: int = 10,
        n_iter: int = 10,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.verbose = verbose
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> BernoulliRBM:
        """Learn from the rows of `X` (n_samples, n_features), dense or sparse, in `n_iter` iterations from fresh weights.

        `verbose` prints the mean pseudo-likelihood of `X` and the time of each iteration. After Ctrl-C the attributes are those of
        the last whole update. Raises `ValueError` for NaN, infinities and parameters out of range, before anything changes.
        """
        X = validate_data(self, X, accept_sparse="csr", dtype=DTYPES)
        warn_outside(X)
        rng = check_random_state(self.random_state)
        for name in ("components_", "intercept_hidden_", "intercept_visible_", "h_samples_"):
            self.__dict__.pop(name, None)
        step = self._training(X, rng)
        train(step, _Slices(X, self.batch_size), self.n_iter, [_Report(self, X)] if self.verbose else [])
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None) -> BernoulliRBM:
        """Make one update with all rows of `X` (n_samples, n_features), dense or sparse; the first call makes the arrays.

        Raises `ValueError` for NaN, infinities, another number of features and parameters out of range.
        """
        X = validate_data(self, X, accept_sparse="csr", dtype=DTYPES, reset=not hasattr(self, "components_"))
        warn_outside(X)
        step = self._training(X, self._continued_random_state())
        step(CPU.asarray(X.toarray() if sparse.issparse(X) else X, step.machine.dtype))
        return self

    def transform(self, X: Any) -> np.ndarray:
        """P(h = 1 | v) for the rows v of `X` (n_samples, n_features), dense or sparse: (n_samples, n_components)."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=DTYPES, reset=False)
        means = np.empty((X.shape[0], self.components_.shape[0]), np.result_type(X.dtype, self.components_.dtype))
        for rows in gen_batches(X.shape[0], BLOCK):
            logistic(self._hidden_field(X[rows]), means[rows])
        return means

    def gibbs(self, v: Any) -> np.ndarray:
        """One step of Gibbs sampling from the states `v` (n_samples, n_features) or (n_features,): booleans of that shape."""
        check_is_fitted(self)
        if np.ndim(v) == 1:
            return self.gibbs(np.reshape(v, (1, -1)))[0]
        # names of features are not compared: what this method returns has none, and goes into the next call
        v = check_array(v, accept_sparse="csr", dtype=np.result_type(self.components_, np.float32))
        stream = Stream(seed_from(self._continued_random_state()), "gibbs")
        visible, hidden = self._units()
        samples = []
        for rows in gen_batches(v.shape[0], BLOCK):
            h = hidden.sample(self._hidden_field(v[rows]), stream)
            field = gemm(h, _operand(self.components_, h.dtype))
            field += self.intercept_visible_
            samples.append(visible.sample(field, stream).astype(bool))
        return np.concatenate(samples)

    def score_samples(self, X: Any) -> np.ndarray:
        """The pseudo-likelihood of each row of `X` (n_samples, n_features), dense or sparse, estimated from one feature: (n_samples,).

        n_features ln P(v_i | all other v) = -n_features ln(1 + e^(F(v) - F(v with v_i flipped))) nats, with F the free energy and i
        drawn anew for each row. The rows are taken for binary ones.
        """
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=DTYPES, reset=False)
        return self._pseudo_likelihood(X)

    def _pseudo_likelihood(self, X: Any) -> np.ndarray:
        flips = check_random_state(self.random_state).randint(0, X.shape[1], X.shape[0])
        hidden = self._units()[1]
        scores = []
        for rows in gen_batches(X.shape[0], BLOCK):
            v, i = X[rows], flips[rows]
            change = 1 - 2 * np.asarray(v[np.arange(len(i)), i]).ravel()
            field = self._hidden_field(v)
            flipped = field.copy()
            flipped += change[:, None] * self.components_.T[i]
            gain = hidden.log_partition(field) - hidden.log_partition(flipped)
            gain -= change * self.intercept_visible_[i]
            score = np.empty_like(gain)
            softplus(-gain, score)
            scores.append(-X.shape[1] * score)
        return np.concatenate(scores)

    def _hidden_field(self, v: Any) -> np.ndarray:
        """intercept_hidden_ + v components_^T, (rows, n_components), of dense or sparse rows, in the wider of the two dtypes."""
        if v.shape[1] != self.components_.shape[1]:
            raise ValueError(
                f"found {v.shape[1]} features; expected {self.components_.shape[1]}, one for each column of components_"
            )
        dtype = np.result_type(v.dtype, self.components_.dtype)
        weights = _operand(self.components_.T, dtype)
        field = v @ weights if sparse.issparse(v) else gemm(_operand(v, dtype), weights)
        field += self.intercept_hidden_
        return field

    def _units(self) -> tuple[Bernoulli, Bernoulli]:
        """Visible and hidden."""
        n_components, n_features = self.components_.shape
        return Bernoulli(n_features), Bernoulli(n_components)

    def _training(self, X: Any, rng: np.random.RandomState) -> Step:
        """The training step on a machine whose parameters the fitted attributes are.

        Attributes that aren't there are made; where some were assigned since the last call there is a new machine with all values, so
        that an array which the caller has kept is never written into.
        """
        if not hasattr(self, "components_"):
            self.components_ = rng.normal(0, 0.01, (self.n_components, X.shape[1])).astype(X.dtype)
        n_components, n_features = self.components_.shape
        for name, shape in {
            "intercept_hidden_": (n_components,),
            "intercept_visible_": (n_features,),
            "h_samples_": (self.batch_size, n_components),
        }.items():
            if not hasattr(self, name):
                setattr(self, name, np.zeros(shape, self.components_.dtype))
        optimizer = SGD(float(self.learning_rate))
        step, used, views = self.__dict__.get("_run", (None, None, {}))
        if step is None or any(getattr(self, name) is not view for name, view in views.items()):
            rbm = Machine(n_features, n_components, device=CPU, dtype=np.result_type(self.components_, np.float32))
            views = {"components_": rbm.weights.T, "intercept_hidden_": rbm.hidden.bias, "intercept_visible_": rbm.visible.bias}
            for name, view in views.items():
                view[...] = getattr(self, name)
                setattr(self, name, view)
            step = Step(rbm, PCD(), optimizer, batch_size=1, steps_per_epoch=1, measure_every=None)
        elif optimizer != used:
            step.update = optimizer.start(step.machine.parameters)
        self._run = step, optimizer, views
        chains = CPU.empty(self.h_samples_.shape, step.machine.dtype)
        chains[...] = self.h_samples_
        self.h_samples_ = chains
        step.chains = {"layer.1": chains}
        step.stream = Stream(seed_from(rng), "learning")
        return step

    def _continued_random_state(self) -> np.random.RandomState:
        """The generator that goes on from call to call; all randomness is in it, so that a pickled estimator goes on alike."""
        if not hasattr(self, "random_state_"):
            self.random_state_ = check_random_state(self.random_state)
        return self.random_state_

    @property
    def _n_features_out(self) -> int:
        return self.components_.shape[0]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_run"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class _Slices:
    """`size` neighbouring rows at a time, dense, in one buffer; the last batch holds what is left."""

    def __init__(self, X: Any, size: int) -> None:
        self.X = X
        self.size = size
        self._buffer = CPU.empty((min(size, X.shape[0]), X.shape[1]), X.dtype)

    def __len__(self) -> int:
        return -(-self.X.shape[0] // self.size)

    def batch(self, epoch: int, index: int) -> np.ndarray:
        rows = self.X[index * self.size : (index + 1) * self.size]
        batch = self._buffer[: rows.shape[0]]
        if sparse.issparse(rows):
            rows.toarray(out=batch)
        else:
            batch[...] = rows
        return batch


class _Report(Callback):
    """Prints what scikit-learn's class prints after each iteration."""

    def __init__(self, estimator: BernoulliRBM, X: Any) -> None:
        self.estimator = estimator
        self.X = X

    def on_start(self, run: Run) -> None:
        self._begin = time.perf_counter()

    def on_epoch(self, run: Run) -> None:
        seconds = time.perf_counter() - self._begin
        score, name = self.estimator._pseudo_likelihood(self.X).mean(), type(self.estimator).__name__
        print(f"[{name}] Iteration {run.epoch}, pseudo-likelihood = {score:.2f}, time = {seconds:.2f}s")
        self._begin = time.perf_counter()


def _operand(array: np.ndarray, dtype: Any) -> np.ndarray:
    """`array` as a matrix product takes it, copied only where it must be."""
    array = np.asarray(array, dtype)
    return array if array.flags.forc else np.ascontiguousarray(array)
