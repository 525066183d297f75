"""`neural.estimators`: autoencoders, unrolled belief networks and classifiers under scikit-learn's rules."""

import copy
import io
import math
import pickle
import signal
import warnings

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import ebm
import neural
from ebm import PCD, Gaussian
from ebm.estimators import DBM, DBN
from ebm.estimators.inputs import seed_from
from ebm.training import SGD, Adam, Callback, DivergenceError, History, Linear, WeightDecay
from neural import LineSearch
from neural.corruption import Masking
from neural.estimators import VAE, Autoencoder, Classifier, UnrolledDBN
from neural.layers import ReLU
from neural.losses import BinaryCrossEntropy, GaussianLikelihood, SquaredError
from neural.penalties import CodeL1
from neural.step import Step

# Few steps that learn what the checks ask for.
QUICK = {"epochs": 15, "batch_size": 20, "optimizer": Adam(0.05)}


@pytest.mark.filterwarnings("ignore:X holds values from:UserWarning")  # the checks fit normal numbers
@parametrize_with_checks(
    [
        Autoencoder((5, 3), epochs=2),
        Autoencoder((3,), loss="SquaredError", epochs=2),
        VAE((5,), epochs=2),
        VAE((5,), loss="GaussianLikelihood", epochs=2),
        UnrolledDBN(DBN((5, 3), epochs=1), epochs=1),
        Classifier((10,), **QUICK),
        Classifier(DBN((10,), epochs=1), **QUICK),
    ]
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


def grey(rows=60, width=6, seed=0):
    return np.random.default_rng(seed).random((rows, width))


LABELS = np.array(["few", "some", "many"])[np.digitize(grey().sum(axis=1), [2.7, 3.3])]
FEW = {"epochs": 2, "batch_size": 10, "random_state": 3}
SMALL = {
    "Autoencoder": Autoencoder((4, 3), **FEW),
    "VAE": VAE((4,), latent=3, **FEW),
    "UnrolledDBN": UnrolledDBN(DBN((4, 3), epochs=2, batch_size=10), **FEW),
    "Classifier": Classifier((4, 3), **FEW),
    "Classifier on DBN": Classifier(DBN((4, 3), epochs=2, batch_size=10), **FEW),
    "Classifier on DBM": Classifier(DBM((4, 3), epochs=2, pretrain_epochs=1, batch_size=10), **FEW),
    "Classifier on Autoencoder": Classifier(Autoencoder((4, 3), epochs=2, batch_size=10), **FEW),
    "Classifier on UnrolledDBN": Classifier(UnrolledDBN(DBN((4, 3), epochs=1), epochs=1), **FEW),
}
every = pytest.mark.parametrize("name", SMALL)
coders = pytest.mark.parametrize("name", ["Autoencoder", "UnrolledDBN", "VAE"])


def small(name, **parameters):
    return clone(SMALL[name]).set_params(**parameters)


def model_of(estimator):
    return getattr(estimator, "classifier_" if isinstance(estimator, Classifier) else "autoencoder_")


def outputs(estimator, X):
    """What it says of rows."""
    return estimator.predict_proba(X) if isinstance(estimator, Classifier) else estimator.transform(X)


def assert_same(found, expected):
    assert repr(found) == repr(expected)
    arrays = found.parameters.named_arrays()
    for name, x in expected.parameters.named_arrays().items():
        np.testing.assert_array_equal(arrays[name], x, err_msg=name)


def named(parameters):
    return ",".join(parameters) or "defaults"


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"hidden": (5,)},
        {"activation": "tanh"},
        {"activation": ReLU(), "code": "identity"},
        {"tied": True},
        {"loss": "SquaredError"},
        {"loss": SquaredError("sigmoid")},
        {"loss": "GaussianLikelihood"},
        {"corruption": Masking(0.4)},
        {"code_penalties": [CodeL1(0.5)]},
        {"optimizer": SGD(0.05, 0.5)},
        {"optimizer": LineSearch()},
        {"penalties": [WeightDecay(0.5)]},
        {"epochs": 4},
        {"batch_size": 7},
    ],
    ids=named,
)
def test_it_is_the_real_autoencoder(parameters):
    X = grey()
    estimator = small("Autoencoder", **parameters).fit(X)
    losses = {"SquaredError": SquaredError(), "GaussianLikelihood": GaussianLikelihood()}
    options = {"loss": BinaryCrossEntropy()} | parameters
    made = ("activation", "code", "tied", "loss", "corruption", "code_penalties")
    construction = {name: value for name, value in options.items() if name in made}
    if isinstance(construction["loss"], str):
        construction["loss"] = losses[construction["loss"]]
    sizes = [6, *parameters.get("hidden", (4, 3))]
    seed = seed_from(np.random.RandomState(3))
    real = neural.Autoencoder(sizes, device="cpu", dtype="float64", seed=seed, **construction)
    real.fit(X, **{"epochs": 2, "batch_size": 10} | {k: v for k, v in parameters.items() if k not in (*made, "hidden")})
    assert_same(estimator.autoencoder_, real)
    codes = estimator.transform(X)
    np.testing.assert_array_equal(codes, real.encode(X))
    np.testing.assert_array_equal(estimator.inverse_transform(codes.tolist()), real.decode(codes))
    assert estimator.score(X) == pytest.approx(-real.squared_error(X), rel=1e-12)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"tied": True},
        {"dbn": DBN((5, Gaussian(2)), learning=PCD(2), epochs=3, batch_size=15, binarization="stochastic")},
        {"dbn": DBN((4,), visible="Gaussian", epochs=2, batch_size=10)},
        {"optimizer": SGD(0.05, 0.5)},
        {"penalties": [WeightDecay(0.5)]},
        {"epochs": 4},
        {"batch_size": 7},
    ],
    ids=named,
)
def test_it_is_the_real_network_unrolled(parameters):
    estimator = small("UnrolledDBN", **parameters)
    dbn = estimator.dbn
    gaussian = dbn.visible == "Gaussian"
    X = StandardScaler().fit_transform(grey()) if gaussian else grey()
    estimator.fit(X)
    rng = np.random.RandomState(3)
    layers = [Gaussian(6) if gaussian else 6, *dbn.hidden]
    machine = ebm.DBN(layers, device="cpu", dtype="float64", seed=seed_from(rng))
    machine.fit(X, epochs=dbn.epochs, batch_size=dbn.batch_size, learning=dbn.learning, binarization=dbn.binarization)
    real = neural.unroll(machine, tied=parameters.get("tied", False))
    options = {k: v for k, v in parameters.items() if k not in ("dbn", "tied")}
    real.fit(X, seed=seed_from(rng), **{"epochs": 2, "batch_size": 10} | options)
    assert_same(estimator.autoencoder_, real)
    np.testing.assert_array_equal(estimator.transform(X), real.encode(X))
    np.testing.assert_array_equal(estimator.inverse_transform(real.encode(X)), real.reconstruct(X))
    assert estimator.score(X) == pytest.approx(-real.squared_error(X), rel=1e-12)


def test_before_fine_tuning_it_is_the_belief_network():
    X = grey()
    estimator = small("UnrolledDBN", epochs=0).fit(X)
    dbn = clone(estimator.dbn).set_params(random_state=3).fit(X)
    np.testing.assert_allclose(estimator.transform(X), dbn.transform(X), rtol=1e-12)
    back = dbn.inverse_transform(dbn.transform(X))
    np.testing.assert_allclose(estimator.inverse_transform(estimator.transform(X)), back, rtol=1e-12)
    assert UnrolledDBN(epochs=0).fit(X).transform(X).shape == (60, DBN().hidden[-1])


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"hidden": ()},
        {"hidden": [5]},
        {"activation": "relu"},
        {"activation": ReLU()},
        {"dropout": 0.4},
        {"optimizer": SGD(0.05, 0.5)},
        {"penalties": [WeightDecay(0.5)]},
        {"epochs": 4},
        {"top_epochs": 2},
        {"adversarial": 0.2},
        {"batch_size": 7},
    ],
    ids=named,
)
def test_it_is_the_real_classifier(parameters):
    X, (classes, numbers) = grey(), np.unique(LABELS, return_inverse=True)
    estimator = small("Classifier", **parameters).fit(X, LABELS)
    construction = {k: v for k, v in parameters.items() if k in ("activation", "dropout")}
    sizes, seed = [6, *parameters.get("hidden", (4, 3))], seed_from(np.random.RandomState(3))
    real = neural.Classifier(sizes, 3, device="cpu", dtype="float64", seed=seed, **construction)
    options = {k: v for k, v in parameters.items() if k not in (*construction, "hidden")}
    real.fit(X, numbers, **{"epochs": 2, "batch_size": 10} | options)
    assert_same(estimator.classifier_, real)
    np.testing.assert_array_equal(estimator.predict_proba(X), real.predict_proba(X))
    np.testing.assert_array_equal(estimator.predict(X), classes[real.predict(X)])
    assert estimator.score(X, LABELS) == real.score(X, numbers)


@pytest.mark.parametrize("name", [name for name in SMALL if " on " in name])
@pytest.mark.parametrize("parameters", [{}, {"dropout": 0.3, "top_epochs": 3}], ids=named)
def test_a_pretrained_classifier_is_the_real_one_on_the_same_encoder(name, parameters):
    X, numbers = grey(), np.unique(LABELS, return_inverse=True)[1]
    estimator = small(name, **parameters).fit(X, LABELS)
    rng = np.random.RandomState(3)
    seed = seed_from(rng)
    template = clone(estimator.hidden).set_params(random_state=rng).fit(X)
    encoder = getattr(template, "autoencoder_", None) or neural.unroll(getattr(template, "dbn_", None) or template.dbm_)
    real = neural.Classifier.on(encoder, 3, dropout=parameters.get("dropout", 0), seed=seed)
    real.fit(X, numbers, epochs=2, batch_size=10, top_epochs=parameters.get("top_epochs", 0))
    assert_same(estimator.classifier_, real)
    np.testing.assert_array_equal(estimator.predict_proba(X), real.predict_proba(X))
    assert set(vars(estimator.hidden)) == set(estimator.hidden.get_params(deep=False))  # a template stays one
    assert estimator.hidden.random_state is None


@pytest.mark.parametrize(
    "classes",
    [["a", "b", "c"], [-7, 0, 300], [0.0, 1.0, 2.0], [False, True], np.array(["x", "yy"], object)],
    ids=["text", "numbers", "floats", "booleans", "objects"],
)
def test_labels_may_be_of_any_type(classes):
    classes = np.asarray(classes)
    numbers = np.arange(60) % len(classes)
    X = np.eye(len(classes))[numbers]
    estimator = Classifier((8,), epochs=60, batch_size=20, optimizer=Adam(0.02), random_state=0).fit(X, classes[numbers])
    np.testing.assert_array_equal(estimator.classes_, classes)
    np.testing.assert_array_equal(estimator.predict(X), classes[numbers])
    assert estimator.predict(X).dtype == classes.dtype
    assert estimator.score(X, classes[numbers]) == 1
    assert estimator.predict_proba(X[:1]).argmax() == numbers[0]


@every
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32, bool])
def test_floats_keep_their_precision_and_others_become_float64(name, dtype):
    X = (grey() < 0.5).astype(dtype)
    expected = dtype if dtype in (np.float64, np.float32) else np.float64
    estimator = small(name).fit(X, LABELS)
    found = [outputs(estimator, X), *model_of(estimator).parameters.named_arrays().values()]
    if not isinstance(estimator, Classifier):
        found.append(estimator.inverse_transform(found[0]))
        assert get_tags(estimator).transformer_tags.preserves_dtype == ["float64", "float32"]
        assert type(estimator.score(X)) is float
    assert {x.dtype for x in found} == {np.dtype(expected)}


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


def test_codes_of_digits_in_pipelines(digits):
    X, y = digits
    for scaler, coder in (
        (MinMaxScaler(), Autoencoder((40,), epochs=20, optimizer=Adam(3e-3), random_state=0)),
        (StandardScaler(), Autoencoder((40,), code="tanh", loss="SquaredError", epochs=20, random_state=0)),
        (MinMaxScaler(), UnrolledDBN(DBN((40,), optimizer=SGD(0.1, 0.5)), epochs=20, random_state=0)),
    ):
        pipeline = make_pipeline(scaler, coder, LogisticRegression(tol=0.01)).fit(X[:1200], y[:1200])
        assert pipeline.score(X[1200:], y[1200:]) > 0.7
        names = list(pipeline[:-1].get_feature_names_out())
        assert names == [f"{type(coder).__name__.lower()}{i}" for i in range(40)]
        scaled = scaler.transform(X[1200:])
        untrained = clone(coder).set_params(epochs=0).fit(scaler.transform(X[:1200]))
        assert 1.3 * coder.score(scaled) > untrained.score(scaled)


def test_classifiers_of_digits_in_pipelines(digits):
    X, y = digits
    options = {"epochs": 20, "optimizer": Adam(3e-3), "random_state": 0}
    for scaler, hidden, least in (
        (StandardScaler(), (50,), 0.88),
        (MinMaxScaler(), DBN((40,), optimizer=SGD(0.1, 0.5)), 0.85),
        (MinMaxScaler(), Autoencoder((50,), corruption=Masking(0.3), epochs=10), 0.85),
    ):
        pipeline = make_pipeline(scaler, Classifier(hidden, **options)).fit(X[:1200], y[:1200])
        assert pipeline.score(X[1200:], y[1200:]) > least


def test_search_over_the_size_of_a_code(digits):
    X = digits[0][:300] / 16
    search = GridSearchCV(
        Autoencoder(epochs=40, batch_size=20, optimizer=Adam(5e-3), random_state=0),
        {"hidden": [(2,), (20,)], "optimizer": [Adam(5e-3), SGD(1e308)]},
        cv=2,
        error_score=-1e6,
    )
    with pytest.warns(FitFailedWarning, match="4 fits failed"), np.errstate(all="ignore"):
        search.fit(X)
    assert search.best_params_ == {"hidden": (20,), "optimizer": Adam(5e-3)}
    assert -4 < search.best_score_ < 0
    assert search.score(X) == search.best_estimator_.score(X)


def test_search_over_pretraining(digits):
    X, y = digits[0][:300] / 16, digits[1][:300]
    estimator = Classifier(epochs=10, batch_size=20, optimizer=Adam(0.01), random_state=0)
    search = GridSearchCV(estimator, {"hidden": [(2,), (40,), DBN((2,)), Autoencoder((40,), epochs=10)]}, cv=2).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert min(scores[[1, 3]]) > max(scores[[0, 2]]) + 0.2
    alone = clone(estimator).set_params(**search.best_params_).fit(X, y)
    np.testing.assert_array_equal(search.predict_proba(X), alone.predict_proba(X))
    nested = GridSearchCV(Classifier(DBN((40,)), **QUICK, random_state=0), {"hidden__hidden": [(1,), (40,)]}, cv=2).fit(X, y)
    assert nested.best_params_ == {"hidden__hidden": (40,)}


@every
def test_random_state_decides_everything(name):
    X = grey()

    def run(random_state):
        return outputs(small(name, random_state=random_state).fit(X, LABELS), X)

    np.testing.assert_array_equal(run(1), run(1))
    assert (run(1) != run(2)).any()
    generator = np.random.RandomState(1)
    np.testing.assert_array_equal(run(generator), run(1))
    assert (run(generator) != run(1)).any()


@every
@pytest.mark.parametrize("make", [sparse.csr_array, sparse.csc_matrix])
def test_sparse_rows_give_what_dense_ones_give(name, make):
    X = (grey() < 0.3).astype(float)
    dense, found = (small(name).fit(x, LABELS) for x in (X, make(X)))
    assert_same(model_of(found), model_of(dense))
    np.testing.assert_array_equal(outputs(found, make(X)), outputs(dense, X))
    assert found.score(make(X), LABELS) == dense.score(X, LABELS)
    assert get_tags(found).input_tags.sparse


def test_only_real_valued_units_take_no_sparse_rows():
    gaussian = DBN((3,), visible="Gaussian")
    for estimator in (UnrolledDBN(gaussian), Classifier(gaussian), Classifier(UnrolledDBN(gaussian))):
        assert not get_tags(estimator).input_tags.sparse
        with pytest.raises(TypeError, match=r"csr_array.*write data\.toarray\(\)"):
            estimator.fit(sparse.csr_array(grey()), LABELS)


@every
def test_a_batch_larger_than_the_data_shrinks(name):
    large, whole = (small(name, batch_size=size).fit(grey(), LABELS) for size in (1000, 60))
    assert_same(model_of(large), model_of(whole))
    assert large.batch_size == 1000


@pytest.mark.parametrize("name", [name for name in SMALL if name != "Classifier"])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_values_outside_the_unit_interval_are_clipped_with_one_warning(name, make):
    X = 4 * grey() - 2
    X[grey(seed=1) < 0.3] = 0
    before, inside = X.copy(), np.clip(X, 0, 1)
    with pytest.warns(UserWarning, match=f"X holds values from {X.min():g} to {X.max():g}; they are clipped") as caught:
        estimator = small(name).fit(make(X), LABELS)
    assert [w.filename for w in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clean = small(name).fit(make(inside), LABELS)
        np.testing.assert_array_equal(outputs(estimator, make(X)), outputs(clean, make(inside)))
        estimator.score(make(X), LABELS)
    assert_same(model_of(estimator), model_of(clean))
    np.testing.assert_array_equal(X, before)
    if isinstance(estimator, (Autoencoder, UnrolledDBN)):
        # the error is that of the rows as they are, so that losses can be compared
        back = estimator.inverse_transform(clean.transform(inside))
        assert estimator.score(make(X)) == pytest.approx(-((X - back) ** 2).sum(axis=1).mean())


@pytest.mark.parametrize(
    "estimator",
    [
        small("Autoencoder", loss="SquaredError"),
        small("Autoencoder", loss="GaussianLikelihood"),
        small("UnrolledDBN", dbn__visible="Gaussian"),
        small("Classifier"),
        small("Classifier on DBN", hidden__visible="Gaussian"),
        small("Classifier on Autoencoder", hidden__loss="SquaredError"),
    ],
    ids=repr,
)
def test_where_any_numbers_make_sense_none_are_clipped(estimator):
    X = StandardScaler().fit_transform(grey())
    estimator = clone(estimator).fit(X, LABELS)
    model = model_of(estimator)
    real = model.predict_proba if isinstance(estimator, Classifier) else model.encode
    np.testing.assert_array_equal(outputs(estimator, X), real(X))
    assert (outputs(estimator, X) != real(np.clip(X, 0, 1))).any()
    if not isinstance(estimator, Classifier):
        assert estimator.score(X) == pytest.approx(-model.squared_error(X))


def test_a_sigmoid_for_squared_error_has_bounds_too():
    with pytest.warns(UserWarning, match="X holds values"):
        small("Autoencoder", loss=SquaredError("sigmoid")).fit(3 * grey())


def interrupt(monkeypatch, step):
    """Ctrl-C in this step of the networks that are trained from now on."""
    calls, run = [], Step.__call__

    def interrupted(self, batch):
        calls.append(batch)
        if len(calls) == step:
            signal.raise_signal(signal.SIGINT)
        return run(self, batch)

    monkeypatch.setattr(Step, "__call__", interrupted)


@every
def test_ctrl_c_leaves_the_last_whole_step(name, monkeypatch):
    X, pretraining = grey(), {"Classifier on Autoencoder": 12, "Classifier on UnrolledDBN": 1}.get(name, 0)
    interrupt(monkeypatch, pretraining + 12)
    estimator = small(name, epochs=5)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, LABELS)
    monkeypatch.undo()
    assert_same(model_of(estimator), model_of(small(name, epochs=2).fit(X, LABELS)))
    assert outputs(estimator, X).shape == (60, 3)
    if isinstance(estimator, Classifier):
        assert list(estimator.classes_) == ["few", "many", "some"]


def test_ctrl_c_while_the_top_is_trained(monkeypatch):
    X = grey()
    interrupt(monkeypatch, 6)
    estimator = small("Classifier", top_epochs=3)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, LABELS)
    monkeypatch.undo()
    assert_same(estimator.classifier_, small("Classifier", top_epochs=1, epochs=0).fit(X, LABELS).classifier_)


@pytest.mark.parametrize("name", ["UnrolledDBN", "Classifier on DBN", "Classifier on UnrolledDBN"])
def test_ctrl_c_in_pretraining_leaves_what_was_pretrained(name, monkeypatch):
    X, fit = grey(), ebm.RBM.fit

    def interrupted(self, data, **settings):
        if data.shape[1] == 4:  # the second layer
            raise KeyboardInterrupt
        return fit(self, data, **settings)

    monkeypatch.setattr(ebm.RBM, "fit", interrupted)
    estimator = small(name)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, LABELS)
    monkeypatch.undo()
    fine = {"hidden__epochs": 0} if name == "Classifier on UnrolledDBN" else {}
    whole = small(name, epochs=0, **fine).fit(X, LABELS)
    found, expected = (model_of(each).parameters for each in (estimator, whole))
    np.testing.assert_array_equal(found["0.weights"], expected["0.weights"])
    assert (found["2.weights"] != expected["2.weights"]).any()
    assert outputs(estimator, X).shape == (60, 3)


class StopAfterOne(Callback):
    def on_epoch(self, run):
        run.stop("enough")


@every
def test_callbacks_see_the_run_and_may_end_it(name):
    history = History()
    estimator = small(name, callbacks=[history, StopAfterOne()]).fit(grey(), LABELS)
    assert len(history.rows) == 1
    assert history.rows[0]["reconstruction" if name == "VAE" else "loss"] > 0
    assert_same(model_of(estimator), model_of(small(name, epochs=1).fit(grey(), LABELS)))
    assert estimator.callbacks[0] is history


def test_verbose_shows_bars(capsys):
    for name in ("Autoencoder", "UnrolledDBN", "Classifier"):
        quiet = small(name).fit(grey(), LABELS)
        assert capsys.readouterr() == ("", "")
        loud = small(name, verbose=1).fit(grey(), LABELS)
        assert "epoch 2/2" in capsys.readouterr().err
        assert_same(model_of(loud), model_of(quiet))


@every
def test_a_run_that_leaves_the_finite_numbers_fails(name):
    with pytest.raises(DivergenceError, match="Training diverged"), np.errstate(all="ignore"):
        small(name, optimizer=SGD(1e30), penalties=[WeightDecay(1.0)], epochs=20).fit(grey(), LABELS)


def test_unscaled_data_may_need_large_parameters():
    X = 5000 + grey()
    estimator = Autoencoder((3,), loss="SquaredError", epochs=150, batch_size=60, optimizer=Adam(50.0), random_state=0).fit(X)
    assert estimator.autoencoder_.parameters["2.bias"].max() > 1000  # where a DivergenceGuard for scaled data stops
    assert estimator.score(X) > -0.1 * (X**2).sum(axis=1).mean()


BAD = [
    ("Autoencoder", {"hidden": 4}, "'hidden' parameter of Autoencoder must be"),
    ("Autoencoder", {"hidden": ()}, "expected two sizes or more"),
    ("Autoencoder", {"hidden": (0,)}, "found size=0"),
    ("Autoencoder", {"activation": "sinus"}, "found activation 'sinus'"),
    ("Autoencoder", {"activation": None}, "'activation' parameter of Autoencoder must be"),
    ("Autoencoder", {"code": 3}, "'code' parameter of Autoencoder must be"),
    ("Autoencoder", {"tied": "yes"}, "'tied' parameter of Autoencoder must be"),
    ("Autoencoder", {"loss": "squared"}, "'loss' parameter of Autoencoder must be"),
    ("Autoencoder", {"loss": "CategoricalCrossEntropy"}, "expects one-hot rows"),
    ("Autoencoder", {"corruption": 0.3}, "'corruption' parameter of Autoencoder must be"),
    ("Autoencoder", {"code_penalties": CodeL1(0.1)}, "'code_penalties' parameter of Autoencoder must be"),
    ("Autoencoder", {"optimizer": 0.1}, "'optimizer' parameter of Autoencoder must be"),
    ("Autoencoder", {"penalties": WeightDecay(0.1)}, "'penalties' parameter of Autoencoder must be"),
    ("Autoencoder", {"epochs": -1}, "'epochs' parameter of Autoencoder must be"),
    ("Autoencoder", {"batch_size": 0}, "'batch_size' parameter of Autoencoder must be"),
    ("Autoencoder", {"callbacks": History()}, "'callbacks' parameter of Autoencoder must be"),
    ("Autoencoder", {"device": "tpu"}, "device='tpu'"),
    ("Autoencoder", {"random_state": "one"}, "'random_state' parameter of Autoencoder must be"),
    ("Autoencoder", {"verbose": -1}, "'verbose' parameter of Autoencoder must be"),
    ("UnrolledDBN", {"dbn": (4, 3)}, "'dbn' parameter of UnrolledDBN must be"),
    ("UnrolledDBN", {"dbn": DBN((4,), epochs=-1)}, "'epochs' parameter of DBN must be"),
    ("UnrolledDBN", {"tied": 1.5}, "'tied' parameter of UnrolledDBN must be"),
    ("UnrolledDBN", {"device": "tpu"}, "device='tpu'"),
    ("Classifier", {"hidden": 4}, "'hidden' parameter of Classifier must be"),
    ("Classifier", {"hidden": DBN}, "'hidden' parameter of Classifier must be"),
    ("Classifier", {"hidden": DBN((4,), batch_size=0)}, "'batch_size' parameter of DBN must be"),
    ("Classifier", {"hidden": DBN((4,)), "activation": "relu"}, "activation='relu' beside hidden=DBN.*leave it out"),
    ("Classifier", {"activation": "sinus"}, "found activation 'sinus'"),
    ("Classifier", {"dropout": 1.0}, "'dropout' parameter of Classifier must be"),
    ("Classifier", {"top_epochs": -1}, "'top_epochs' parameter of Classifier must be"),
    ("Classifier", {"adversarial": -0.1}, "'adversarial' parameter of Classifier must be"),
    ("Classifier", {"hidden": DBM((4, 3, 2), epochs=1, pretrain_epochs=1)}, r"a DBM of two hidden layers.*DBM\(\(100, 100\)\)"),
]


@pytest.mark.parametrize(
    ("name", "parameters", "message"), BAD, ids=lambda value: ",".join(value) if isinstance(value, dict) else value
)
def test_parameters_are_checked_when_fitting(name, parameters, message):
    estimator = small(name).fit(grey(), LABELS)
    before = model_of(estimator)
    estimator.set_params(**parameters)
    with pytest.raises(ValueError, match=message):
        estimator.fit(grey(), LABELS)
    assert model_of(estimator) is before


def test_a_machine_that_does_not_unroll_is_refused_before_it_is_trained(monkeypatch):
    trained = []
    monkeypatch.setattr(DBM, "_learn", lambda self, X: trained.append(X))
    with pytest.raises(ValueError, match="expected a DBM of two hidden layers"):
        small("Classifier").set_params(hidden=DBM((4, 3, 2))).fit(grey(), LABELS)
    assert not trained


def test_optimizers_given_as_classes_are_refused():
    estimator = small("Classifier").fit(grey(), LABELS)
    before = estimator.classifier_
    with pytest.raises(TypeError, match="expected an optimizer"):
        estimator.set_params(optimizer=SGD).fit(grey(), LABELS == "few")
    assert estimator.classifier_ is before
    assert estimator.classes_.size == 3


def test_labels_must_be_classes():
    for y, message in (
        (np.ones(60), r"found one class in y, \[1.0\]; expected labels of two or more"),
        (grey()[:, 0], "Unknown label type: continuous"),
        (LABELS[:-1], "inconsistent numbers of samples"),
        (np.where(np.arange(60), 1.0, np.nan), "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            small("Classifier").fit(grey(), y)


@every
def test_clone_copies_parameters_only(name):
    estimator = small(name, callbacks=[History()], penalties=[WeightDecay(0.1)]).fit(grey(), LABELS)
    copied = clone(estimator)
    assert set(vars(copied)) == set(estimator.get_params(deep=False))
    for key in ("epochs", "penalties", "random_state"):
        assert getattr(copied, key) == getattr(estimator, key)
    assert copied.callbacks[0] is not estimator.callbacks[0]


@every
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_pickled_model_says_what_the_original_says(name, dtype):
    X = grey().astype(dtype)
    estimator = small(name).fit(X, LABELS)
    text = pickle.dumps(estimator)
    for foreign in (b"numba", b"ebm.compute", b"ebm.machine", b"ebm.dbn", b"neural.network", b"neural.layers", b"Parameters"):
        assert foreign not in text
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    before = outputs(estimator, X)
    copies = [pickle.loads(text), joblib.load(file), copy.deepcopy(estimator)]
    model_of(estimator).parameters.buffer[...] = 0
    for other in copies:
        np.testing.assert_array_equal(outputs(other, X), before)
        assert other.score(X, LABELS) != 0
        if isinstance(other, Classifier):
            np.testing.assert_array_equal(other.classes_, ["few", "many", "some"])
    assert (outputs(estimator, X) != before).any()
    assert pickle.loads(pickle.dumps(small(name))).epochs == 2


@every
def test_a_strict_device_gives_host_arrays(name, strict):
    X = grey().astype(np.float32)
    estimator = small(name, device=strict.name).fit(X, LABELS)
    assert model_of(estimator).device is strict
    on_cpu = pickle.loads(pickle.dumps(copy.copy(estimator).set_params(device="cpu")))
    assert model_of(on_cpu).device.name == "cpu"
    found, expected = outputs(estimator, X), outputs(on_cpu, X)
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert estimator.score(X, LABELS) == pytest.approx(on_cpu.score(X, LABELS), rel=1e-4)


@every
def test_an_estimator_must_be_fitted_and_rows_must_fit(name):
    estimator = small(name)
    calls = ["predict", "predict_proba"] if isinstance(estimator, Classifier) else ["transform", "inverse_transform", "score"]
    for call in calls:
        with pytest.raises(NotFittedError, match=type(estimator).__name__):
            getattr(estimator, call)(grey())
    estimator.fit(grey(), LABELS)
    assert estimator.n_features_in_ == 6
    bad = grey()
    bad[1, 2] = math.nan
    for call in calls:
        if call != "inverse_transform":
            with pytest.raises(ValueError, match=r"5 features.*expect.* 6"):
                getattr(estimator, call)(grey(width=5))
        with pytest.raises(ValueError, match="NaN"):
            getattr(estimator, call)(bad)
    with pytest.raises(ValueError, match="NaN"):
        estimator.fit(bad, LABELS)


@coders
def test_codes_must_have_the_width_of_the_code(name):
    with pytest.raises(ValueError, match="6 columns; expected 3"):
        small(name).fit(grey()).inverse_transform(grey())


@pytest.mark.parametrize("name", ["Autoencoder", "UnrolledDBN"])
def test_rows_are_scored_alike_in_blocks_and_alone(name):
    estimator = small(name).fit(grey())
    X = grey(2100)
    alone = [estimator.score(X[i : i + 30]) for i in range(0, 2100, 30)]
    assert estimator.score(X) == pytest.approx(np.mean(alone))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"hidden": (5, 4)},
        {"latent": 1},
        {"activation": "relu"},
        {"loss": "GaussianLikelihood"},
        {"loss": GaussianLikelihood(0.1)},
        {"beta": 3.0},
        {"beta": Linear(0, 1, 2)},
        {"samples": 4},
        {"samples": 4, "bound": "iwae"},
    ],
    ids=named,
)
def test_it_is_the_real_vae(parameters):
    X = (grey() > 0.5).astype(float)
    estimator = small("VAE", **parameters).fit(X)
    rng = np.random.RandomState(3)
    options = {"loss": BinaryCrossEntropy(), "hidden": (4,), "latent": 3} | parameters
    training = {name: options.pop(name) for name in ("beta", "samples", "bound") if name in options}
    loss = options.pop("loss")
    loss = GaussianLikelihood() if loss == "GaussianLikelihood" else loss
    hidden = options.pop("hidden")
    model = neural.VAE([6, *hidden], loss=loss, device="cpu", dtype="float64", seed=seed_from(rng), **options)
    model.fit(X, epochs=2, batch_size=10, **training)
    assert_same(estimator.autoencoder_, model)
    assert estimator.score(X) == pytest.approx(model.elbo(X).bound.mean())
    np.testing.assert_array_equal(estimator.transform(X), model.encode(X))
    np.testing.assert_array_equal(
        estimator.sample(5, random_state=1), model.sample(5, seed=seed_from(np.random.RandomState(1)))
    )


def test_a_grid_over_vaes_finds_the_larger_bound():
    X = (load_digits().data[:400] > 8).astype(np.float32)
    search = GridSearchCV(VAE((30,), batch_size=40, optimizer=Adam(0.003), random_state=0), {"epochs": [2, 20]}, cv=2)
    assert search.fit(X).best_params_ == {"epochs": 20}
