"""The scikit-learn face: autoencoders, unrolled belief networks and classifiers that follow scikit-learn's rules."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self, get_args

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context, clone
from sklearn.utils import check_array, check_random_state, gen_batches, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ebm.data.minibatches import dense
from ebm.estimators import DBM, DBN
from ebm.estimators.inputs import BLOCK, DTYPES, seed_from
from ebm.estimators.model import ModelEstimator, ModelTransformer, clipped
from ebm.training.callbacks import Callback
from ebm.training.optimizers import Optimizer
from ebm.training.penalties import Penalty
from ebm.training.schedules import Schedule

from .autoencoder import Autoencoder as AutoencoderModel
from .classifier import Classifier as ClassifierModel
from .corruption import Corruption
from .layers import Layer
from .line_search import LineSearch
from .losses import LOSSES, Loss
from .unroll import unroll
from .vae import VAE as VAEModel
from .vae import Bound, GrayLevelsWarning

# What all of them take.
_TRAINING: dict[str, list[Any]] = {
    "optimizer": [HasMethods("start"), None],
    "penalties": [tuple, list],
    "epochs": [Interval(Integral, 0, None, closed="left")],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "callbacks": [tuple, list],
    "device": [str],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


class _Coder(ModelTransformer):
    """What encodes and decodes with a `neural.Autoencoder`, `autoencoder_`."""

    autoencoder_: AutoencoderModel

    _name = "autoencoder_"
    _kind: ClassVar[Any] = AutoencoderModel

    def transform(self, X: Any) -> np.ndarray:
        """The codes of the rows of `X` (n_samples, n_features): (n_samples, units of the last hidden layer)."""
        X = self._rows(X)
        return self.autoencoder_.encode(X)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """What the rows of `X` (n_samples, units of the last hidden layer), codes, stand for: (n_samples, n_features)."""
        check_is_fitted(self, self._name)
        return self.autoencoder_.decode(check_array(X, dtype=DTYPES))

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the squared error of what comes back of the rows of `X` (n_samples, n_features), summed over features, averaged over rows.

        The higher the better, as `GridSearchCV` wants it, whatever the loss that was trained with.
        """
        X, total = self._checked(X), 0.0
        for block in gen_batches(X.shape[0], BLOCK):
            rows = dense(X[block])
            back = self.autoencoder_.reconstruct(clipped(rows) if self._limited else rows)
            total += float(((rows - back) ** 2).sum(dtype=np.float64))
        return -total / X.shape[0]

    @property
    def _n_features_out(self) -> int:
        return self.autoencoder_.outputs


class Autoencoder(_Coder):
    """An autoencoder as a transformer into its codes: `neural.Autoencoder` under scikit-learn's rules.

    `hidden` are the sizes of the layers down to the code; the decoder mirrors them. `activation`, `code`, `tied`, `corruption` and
    `code_penalties` are as for `neural.Autoencoder`, `loss` is a loss or its name; the other parameters are those of its `fit`, with these
    differences: a batch larger than the data shrinks to it, `device` is a name, and callbacks are used as given but copied by
    `clone`. `verbose` shows a progress bar.

    Where the output is a sigmoid, as with the default loss, values outside [0, 1] are clipped, with a warning in `fit`; of standardized
    data write `loss="SquaredError"`.

    Fitted: `autoencoder_`, the `neural.Autoencoder` itself, in the data's precision (float32, or else float64). What is pickled of it are
    layers, loss and weights.

    >>> from neural.corruption import Masking
    >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    >>> model = Autoencoder((2,), corruption=Masking(0.3), epochs=5, random_state=0).fit(X)
    >>> codes = model.transform(X)
    >>> codes.shape, model.inverse_transform(codes).shape
    ((4, 2), (4, 3))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = _TRAINING | {
        "hidden": [tuple, list],
        "activation": [str, Layer],
        "code": [str, Layer, None],
        "tied": ["boolean"],
        "loss": [StrOptions(set(LOSSES)), Loss],
        "corruption": [callable, None],
        "code_penalties": [tuple, list],
    }

    def __init__(
        self,
        hidden: Sequence[int] = (100,),
        *,
        activation: str | Layer = "sigmoid",
        code: str | Layer | None = None,
        tied: bool = False,
        loss: str | Loss = "BinaryCrossEntropy",
        corruption: Corruption | None = None,
        code_penalties: Sequence[Any] = (),
        optimizer: Optimizer | LineSearch | None = None,
        penalties: Sequence[Penalty] = (),
        epochs: int = 100,
        batch_size: int = 100,
        callbacks: Sequence[Callback] = (),
        device: str = "cpu",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.code = code
        self.tied = tied
        self.loss = loss
        self.corruption = corruption
        self.code_penalties = code_penalties
        self.optimizer = optimizer
        self.penalties = penalties
        self.epochs = epochs
        self.batch_size = batch_size
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _loss(self) -> Loss:
        return LOSSES[self.loss]() if isinstance(self.loss, str) else self.loss

    def _bounded(self, width: int) -> bool:
        return self._loss().nonlinear

    def _learn(self, X: Any) -> None:
        model = AutoencoderModel(
            [X.shape[1], *self.hidden],
            activation=self.activation,
            code=self.code,
            tied=self.tied,
            loss=self._loss(),
            corruption=self.corruption,
            code_penalties=self.code_penalties,
            device=self.device,
            dtype=X.dtype,
            seed=seed_from(check_random_state(self.random_state)),
        )
        with self._keeping(lambda: model):
            model.fit(X, **_settings(self, X))


class VAE(_Coder):
    """A variational autoencoder as a transformer into the means of its codes: `neural.VAE` under scikit-learn's rules.

    `hidden` are the sizes of the layers between rows and codes of `latent` numbers; the decoder mirrors them. `loss` is
    "BinaryCrossEntropy" for bits, "GaussianLikelihood" for numbers, or a loss; `beta`, `samples` and `bound` are as for `neural.VAE.fit`.
    The other parameters are as for `Autoencoder`.

    `score` is the mean evidence lower bound of rows, in nats. With the default loss values outside [0, 1] are clipped, with a warning in
    `fit`.

    Fitted: `autoencoder_`, the `neural.VAE` itself.

    >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    >>> model = VAE((8,), latent=2, epochs=5, random_state=0).fit(X)
    >>> model.transform(X).shape, model.sample(3).shape
    ((4, 2), (3, 3))
    """

    autoencoder_: VAEModel

    _kind = VAEModel
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = _TRAINING | {
        "hidden": [tuple, list],
        "latent": [Interval(Integral, 1, None, closed="left")],
        "activation": [str, Layer],
        "loss": [StrOptions({"BinaryCrossEntropy", "GaussianLikelihood"}), Loss],
        "beta": [Interval(Real, 0, None, closed="left"), callable],
        "samples": [Interval(Integral, 1, None, closed="left")],
        "bound": [StrOptions({"elbo", "iwae"})],
    }

    def __init__(
        self,
        hidden: Sequence[int] = (100,),
        *,
        latent: int = 2,
        activation: str | Layer = "tanh",
        loss: str | Loss = "BinaryCrossEntropy",
        beta: float | Schedule = 1.0,
        samples: int = 1,
        bound: Bound = "elbo",
        optimizer: Optimizer | None = None,
        penalties: Sequence[Penalty] = (),
        epochs: int = 100,
        batch_size: int = 100,
        callbacks: Sequence[Callback] = (),
        device: str = "cpu",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.hidden = hidden
        self.latent = latent
        self.activation = activation
        self.loss = loss
        self.beta = beta
        self.samples = samples
        self.bound = bound
        self.optimizer = optimizer
        self.penalties = penalties
        self.epochs = epochs
        self.batch_size = batch_size
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def score(self, X: Any, y: Any = None) -> float:
        """The mean evidence lower bound of the rows of `X` (n_samples, n_features), in nats, the same for the same rows; of gray levels
        with the default loss minus their cross-entropy and latent term, which still says which model is better."""
        X = self._rows(X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GrayLevelsWarning)
            return float(self.autoencoder_.elbo(X).bound.mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Rows that the model draws, (n_samples, n_features)."""
        check_is_fitted(self, self._name)
        return self.autoencoder_.sample(n_samples, seed=seed_from(check_random_state(random_state)))

    def _loss(self) -> Loss:
        return LOSSES[self.loss]() if isinstance(self.loss, str) else self.loss

    def _bounded(self, width: int) -> bool:
        return self._loss().nonlinear

    def _learn(self, X: Any) -> None:
        model = VAEModel(
            [X.shape[1], *self.hidden],
            latent=self.latent,
            activation=self.activation,
            loss=self._loss(),
            device=self.device,
            dtype=X.dtype,
            seed=seed_from(check_random_state(self.random_state)),
        )
        with self._keeping(lambda: model):
            model.fit(X, beta=self.beta, samples=self.samples, bound=self.bound, **_settings(self, X))


class UnrolledDBN(_Coder):
    """A deep belief network that is trained layer by layer, unrolled into an autoencoder and fine-tuned, as a transformer.

    `dbn` is an `ebm.estimators.DBN`, by default `DBN()`; `fit` trains a clone of it that takes its randomness and `device` from here.
    `tied` is as for `neural.unroll`. The other parameters are about fine-tuning and as for `Autoencoder`. With `epochs=0` codes and
    reconstructions are those of the DBN.

    The loss is that of the visible units. What `dbn` says of its data holds here.

    Fitted: `autoencoder_`, a `neural.Autoencoder`.

    >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    >>> model = UnrolledDBN(DBN((4, 2), epochs=5), epochs=5, random_state=0).fit(X)
    >>> model.transform(X).shape
    (4, 2)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = _TRAINING | {"dbn": [DBN, None], "tied": ["boolean"]}

    def __init__(
        self,
        dbn: DBN | None = None,
        *,
        tied: bool = False,
        optimizer: Optimizer | LineSearch | None = None,
        penalties: Sequence[Penalty] = (),
        epochs: int = 100,
        batch_size: int = 100,
        callbacks: Sequence[Callback] = (),
        device: str = "cpu",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.dbn = dbn
        self.tied = tied
        self.optimizer = optimizer
        self.penalties = penalties
        self.epochs = epochs
        self.batch_size = batch_size
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _template(self) -> DBN:
        return DBN() if self.dbn is None else self.dbn

    def _bounded(self, width: int) -> bool:
        return self._template()._bounded(width)

    def _learn(self, X: Any) -> None:
        rng = check_random_state(self.random_state)
        dbn = _instance(self._template(), rng, self.device)
        with self._keeping(lambda: unroll(dbn.dbn_, tied=self.tied)):
            dbn._learn(X)
        self.autoencoder_.fit(X, seed=seed_from(rng), **_settings(self, X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = get_tags(self._template()).input_tags.sparse
        return tags


# What can learn the layers of a classifier before it.
Pretraining = DBN | DBM | Autoencoder | UnrolledDBN


class Classifier(ClassifierMixin, ModelEstimator):
    """A network with a softmax top as a classifier: `neural.Classifier` under scikit-learn's rules.

    `hidden` are the sizes of layers with `activation` that start from random weights, or an estimator that learns layers from `X` alone
    first: a `DBN`, `DBM` (of two hidden layers), `Autoencoder` or `UnrolledDBN`. `fit` trains a clone of it that takes its randomness and
    `device` from here, and the layers of its encoder are then fine-tuned. `dropout`, `top_epochs` and `adversarial` are as for
    `neural.Classifier`; the other parameters are those of its `fit`, as for `Autoencoder`.

    Labels may be of any type. Layers from random weights take any numbers; for the others holds what their estimator says of its data.

    Fitted: `classes_`, the labels in order, and `classifier_`, the `neural.Classifier` itself, in the data's precision (float32, or
    else float64).

    >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]] * 5)
    >>> y = np.array(["none", "two", "two", "three"] * 5)
    >>> str(Classifier((8,), random_state=0).fit(X, y).predict(X[2:3])[0])
    'two'
    >>> pretrained = Classifier(DBN((8, 8), epochs=5), random_state=0).fit(X, y)
    >>> pretrained.predict_proba(X).shape
    (20, 3)
    """

    classes_: np.ndarray
    classifier_: ClassifierModel

    _name, _kind = "classifier_", ClassifierModel
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = _TRAINING | {
        "hidden": [tuple, list, *get_args(Pretraining)],
        "activation": [str, Layer],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "top_epochs": [Interval(Integral, 0, None, closed="left")],
        "adversarial": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        hidden: Sequence[int] | Pretraining = (100,),
        *,
        activation: str | Layer = "sigmoid",
        dropout: float = 0.0,
        optimizer: Optimizer | LineSearch | None = None,
        penalties: Sequence[Penalty] = (),
        top_epochs: int = 0,
        adversarial: float = 0.0,
        epochs: int = 100,
        batch_size: int = 100,
        callbacks: Sequence[Callback] = (),
        device: str = "cpu",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.dropout = dropout
        self.optimizer = optimizer
        self.penalties = penalties
        self.top_epochs = top_epochs
        self.adversarial = adversarial
        self.epochs = epochs
        self.batch_size = batch_size
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any) -> Self:
        """Learn the labels `y` (n_samples,) of the rows of `X` (n_samples, n_features) with a fresh network.

        After Ctrl-C the network is as its last whole step left it; where that was one of the pretraining, the top has random weights.
        Raises `ValueError` for data, labels and parameters that don't fit, and `DivergenceError`, a `FloatingPointError`, when
        parameters stop being finite.
        """
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=DTYPES)
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
        if classes.size < 2:
            raise ValueError(f"found one class in y, {classes.tolist()}; expected labels of two or more")
        rng, pretraining = check_random_state(self.random_state), self._pretraining()
        self._limited = pretraining is not None and pretraining._bounded(X.shape[1])
        if self._limited:
            X = clipped(X, warn=True)
        settings = _settings(self, X) | {"top_epochs": self.top_epochs, "adversarial": self.adversarial}
        if pretraining is None:
            model = ClassifierModel(
                [X.shape[1], *self.hidden],
                classes.size,
                activation=self.activation,
                dropout=self.dropout,
                device=self.device,
                dtype=X.dtype,
                seed=seed_from(rng),
            )
            with self._keeping(lambda: model, classes_=classes):
                model.fit(X, labels, **settings)
            return self
        learned, seed = _instance(pretraining, rng, self.device), seed_from(rng)

        def on_learned() -> ClassifierModel:
            found = learned._model
            encoder = found if isinstance(found, AutoencoderModel) else unroll(found)
            return ClassifierModel.on(encoder, classes.size, dropout=self.dropout, seed=seed)

        with self._keeping(on_learned, classes_=classes):
            learned._learn(X)
        self.classifier_.fit(X, labels, **settings)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each of `classes_` for the rows of `X` (n_samples, n_features): (n_samples, n_classes)."""
        X = self._rows(X)
        return self.classifier_.predict_proba(X)

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest label of each row of `X` (n_samples, n_features): (n_samples,)."""
        likeliest = self.predict_proba(X).argmax(axis=1)
        return self.classes_[likeliest]

    def _pretraining(self) -> Pretraining | None:
        if not isinstance(self.hidden, Pretraining):
            return None
        if self.activation != "sigmoid":
            raise ValueError(
                f"found activation={self.activation!r} beside hidden={self.hidden!r}, whose layers have their own; leave it out"
            )
        if isinstance(self.hidden, DBM) and len(self.hidden.hidden) != 2:
            raise ValueError(
                f"found hidden={self.hidden!r}; expected a DBM of two hidden layers, which can be unrolled: DBM((100, 100))"
            )
        return self.hidden

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not isinstance(self.hidden, Pretraining) or get_tags(self.hidden).input_tags.sparse
        return tags


def _settings(estimator: Any, X: Any) -> dict[str, Any]:
    """What `fit` of a model takes of an estimator's parameters."""
    return {
        "epochs": estimator.epochs,
        "batch_size": min(estimator.batch_size, X.shape[0]),
        "optimizer": estimator.optimizer,
        "penalties": estimator.penalties,
        "callbacks": [*estimator.callbacks, *estimator._callbacks()],
    }


def _instance(template: Any, rng: np.random.RandomState, device: str) -> Any:
    """A clone of an estimator in a parameter, with checked parameters of its own."""
    found = clone(template).set_params(random_state=rng, device=device)
    found._validate_params()
    return found
