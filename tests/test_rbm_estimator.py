"""`ebm.estimators.RBM`: the machine of `ebm.RBM` under scikit-learn's rules."""

from __future__ import annotations

import copy
import io
import math
import pickle
import re
import signal
import warnings
from functools import partial
from typing import Any

import joblib
import numpy as np
import pytest
from scipy import sparse
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import ebm
from ebm import CD, PCD, Bernoulli, Gaussian, ReLU, ReplicatedSoftmax, Softmax
from ebm.estimators import RBM
from ebm.likelihood import exact_log_partition
from ebm.training import SGD, Adam, Callback, DivergenceError, History, SparsityTarget, WeightDecay

LEARNED = partial(Gaussian, learn_variance=True)


def triples(width: int) -> Softmax:
    return Softmax(3, width // 3)


def states(units: Any, rows: int = 120, seed: int = 0) -> np.ndarray:
    """Data of 6 columns for units of each type."""
    rng = np.random.default_rng(seed)
    if units in ("Gaussian", Gaussian, LEARNED):
        return rng.normal(size=(rows, 6)) @ (np.eye(6) + 0.5)
    if units == "ReLU":
        return np.abs(rng.normal(size=(rows, 6)))
    if units is triples:
        return np.eye(3)[rng.integers(3, size=(rows, 2))].reshape(rows, 6)
    if units == "ReplicatedSoftmax":
        return rng.poisson(2, (rows, 6)) + np.eye(6)[rng.integers(6, size=rows)]
    return (rng.random((rows, 6)) < 0.4).astype(float)


KINDS = ["Bernoulli", "Gaussian", LEARNED, "ReLU", triples, "ReplicatedSoftmax"]
kinds = pytest.mark.parametrize("kind", KINDS, ids=["bernoulli", "gaussian", "learned", "relu", "softmax", "counts"])


@pytest.mark.filterwarnings("ignore:X holds values from:UserWarning")  # the checks fit normal numbers
@pytest.mark.filterwarnings(r"ignore:(column \d+ of X|X has constant columns):UserWarning")
@parametrize_with_checks([RBM(epochs=5), RBM(visible="Gaussian", epochs=3), RBM(visible=LEARNED, epochs=2)])
def test_scikit_learn_check(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    data = load_digits()
    return data.data, data.target


def test_codes_of_digits_in_a_pipeline(digits: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = digits
    rbm = RBM(60, visible="Gaussian", learning=PCD(), epochs=10, batch_size=20, random_state=0)
    pipeline = make_pipeline(VarianceThreshold(), StandardScaler(), rbm, LogisticRegression(tol=0.01))
    assert pipeline.fit(X[:1200], y[:1200]).score(X[1200:], y[1200:]) > 0.75  # untrained: 0.1
    scaled = pipeline[:2].transform(X[:1200])
    real = ebm.RBM(Gaussian(scaled.shape[1]), 60, device="cpu", dtype="float64", seed=pipeline[2].rbm_.seed)
    real.fit(scaled, learning=PCD(), epochs=10, batch_size=20)
    np.testing.assert_array_equal(pipeline[2].transform(scaled), real.transform(scaled))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"n_components": 5},
        {"visible": Gaussian},
        {"visible": LEARNED, "optimizer": SGD(0.03, momentum=0.9)},
        {"visible": "ReLU"},
        {"visible": triples},
        {"visible": "ReplicatedSoftmax"},
        {"hidden": "Gaussian"},
        {"hidden": "ReLU"},
        {"n_components": 6, "hidden": triples},
        {"learning": CD(3)},
        {"learning": PCD(2, chains=7)},
        {"optimizer": Adam(0.01)},
        {"penalties": (WeightDecay(0.1), SparsityTarget(0.1))},
        {"epochs": 4},
        {"batch_size": 7},
        {"centered": True},
        {"binarization": "stochastic"},
    ],
    ids=lambda parameters: ",".join(parameters) or "defaults",
)
def test_it_is_the_real_machine(parameters: dict[str, Any]) -> None:
    visible = parameters.get("visible", Bernoulli)
    X = states(visible) if visible != Bernoulli else np.random.default_rng(0).random((60, 6))
    model = RBM(**{"n_components": 4, "epochs": 2, "batch_size": 10, "random_state": 3} | parameters).fit(X)
    types = {"ReLU": ReLU, "ReplicatedSoftmax": ReplicatedSoftmax, "Gaussian": Gaussian}
    hidden = parameters.get("hidden", Bernoulli)
    units = types.get(visible, visible)(6), types.get(hidden, hidden)(model.n_components)
    real = ebm.RBM(*units, device="cpu", dtype="float64", seed=model.rbm_.seed)
    keys = ("learning", "optimizer", "penalties", "centered", "binarization")
    options = {"epochs": 2, "batch_size": 10} | {k: v for k, v in parameters.items() if k in (*keys, "epochs", "batch_size")}
    real.fit(X, **options)
    assert [layer.units for layer in model.rbm_.layers] == list(units)
    for name, array in real.parameters.named_arrays().items():
        np.testing.assert_array_equal(model.rbm_.parameters[name], array)
    np.testing.assert_array_equal(model.transform(X), real.transform(X))


def test_parameters_of_the_machine() -> None:
    X = states("Bernoulli")
    model = RBM(4, epochs=1).fit(X)
    assert model.components_.shape == (4, 6)
    for _ in range(2):
        np.testing.assert_array_equal(model.components_, model.rbm_.weights.T)
        np.testing.assert_array_equal(model.intercept_hidden_, model.rbm_.hidden.bias)
        np.testing.assert_array_equal(model.intercept_visible_, model.rbm_.visible.bias)
        kept = model.components_
        model.rbm_.fit(X, epochs=1)
        assert (model.components_ != kept).any()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32, np.uint8, bool])
def test_floats_keep_their_precision_and_others_become_float64(dtype: Any) -> None:
    X = states("Bernoulli").astype(dtype)
    expected = dtype if dtype in (np.float64, np.float32) else np.float64
    model = RBM(3, epochs=1).fit(X)
    found = [model.components_, model.intercept_hidden_, model.intercept_visible_, model.transform(X), model.score_samples(X)]
    found += [model.inverse_transform(model.transform(X)), model.sample(2, steps=1)]
    assert {array.dtype for array in found} == {np.dtype(expected)}
    assert type(model.score(X)) is float
    assert get_tags(model).transformer_tags.preserves_dtype == ["float64", "float32"]


@kinds
def test_inverse_transform_gives_the_visible_means(kind: Any) -> None:
    X = states(kind)
    model = RBM(4, visible=kind, epochs=3, random_state=0).fit(X)
    H = model.transform(X)
    field = H @ model.components_ + model.intercept_visible_
    one_word = kind == "ReplicatedSoftmax"
    mean = Softmax(6).mean(field) if one_word else model.rbm_.visible.units.mean(field)
    found = model.inverse_transform(H)
    np.testing.assert_allclose(found, mean, rtol=1e-12)
    np.testing.assert_allclose(model.inverse_transform(H.tolist()), mean, rtol=1e-12)
    scale = X.sum(axis=1, keepdims=True) if one_word else 1
    np.testing.assert_allclose(model.score(X), -((X - scale * found) ** 2).sum(axis=1).mean(), rtol=1e-12)


def test_score_samples_is_a_log_probability_but_for_a_constant() -> None:
    model = RBM(3, epochs=5, random_state=0).fit(states("Bernoulli"))
    everything = Bernoulli(6).states(0, 64)
    np.testing.assert_allclose(logsumexp(model.score_samples(everything)), exact_log_partition(model.rbm_), rtol=1e-12)
    gaussian = RBM(3, visible="Gaussian", epochs=5, random_state=0).fit(states("Gaussian"))
    rows = states("Gaussian")
    assert gaussian.score_samples(rows + 30).max() < gaussian.score_samples(rows).min()


def test_rows_are_transformed_alike_alone_and_together() -> None:
    model = RBM(3, epochs=1).fit(states("Bernoulli"))
    X = np.random.default_rng(0).random((2100, 6))
    for method in (model.transform, model.score_samples):
        together = method(X)
        assert len(together) == 2100
        np.testing.assert_allclose(
            together[::50], np.concatenate([method(X[i : i + 1]) for i in range(0, 2100, 50)]), rtol=1e-12
        )


@kinds
def test_samples_are_states(kind: Any) -> None:
    X = states(kind)
    model = RBM(4, visible=kind, epochs=2, random_state=0).fit(X)
    start = X[:20] if kind == "ReplicatedSoftmax" else None

    def sample(random_state: Any) -> np.ndarray:
        return model.sample(20, steps=5, start=start, random_state=random_state)

    first = sample(1)
    model.rbm_.visible.units.check(first, "samples")
    assert first.shape == (20, 6)
    np.testing.assert_array_equal(first, sample(1))
    generator = np.random.RandomState(1)
    np.testing.assert_array_equal(first, sample(generator))
    assert (first != sample(generator)).any()
    assert (first != sample(2)).any()
    if start is not None:
        np.testing.assert_array_equal(first.sum(axis=1), start.sum(axis=1))
        with pytest.raises(ValueError, match="start=counts"):
            model.sample(20)


def test_random_state_decides_everything() -> None:
    X = states("Bernoulli")

    def run(random_state: Any) -> np.ndarray:
        return RBM(4, epochs=2, random_state=random_state).fit(X).components_

    np.testing.assert_array_equal(run(1), run(1))
    assert (run(1) != run(2)).all()
    assert (run(None) != run(None)).all()
    generator = np.random.RandomState(1)
    np.testing.assert_array_equal(run(generator), run(1))
    assert (run(generator) != run(1)).all()


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csr_array, sparse.csc_array, sparse.coo_array])
@pytest.mark.parametrize("kind", ["Bernoulli", triples, "ReplicatedSoftmax"])
def test_sparse_rows_give_what_dense_ones_give(kind: Any, make: Any) -> None:
    X = states(kind)
    dense, found = (RBM(3, visible=kind, epochs=2, batch_size=7, random_state=0).fit(x) for x in (X, make(X)))
    np.testing.assert_array_equal(found.components_, dense.components_)
    for method in ("transform", "score_samples", "score"):
        np.testing.assert_array_equal(getattr(found, method)(make(X)), getattr(dense, method)(X))


@pytest.mark.parametrize("kind", ["Gaussian", Gaussian, LEARNED, "ReLU"])
def test_real_valued_units_take_no_sparse_rows(kind: Any) -> None:
    X = states(kind)
    model = RBM(3, visible=kind, epochs=1)
    assert not get_tags(model).input_tags.sparse
    assert get_tags(RBM(visible=triples)).input_tags.sparse
    with pytest.raises(TypeError, match=r"X is sparse.*write X\.toarray\(\)"):
        model.fit(sparse.csr_array(X))
    with pytest.raises(TypeError, match="X is sparse"):
        model.fit(X).transform(sparse.csr_array(X))


def test_a_batch_larger_than_the_data_shrinks() -> None:
    X = states("Bernoulli")
    large, whole = (RBM(3, epochs=3, batch_size=size, learning=PCD(), random_state=0).fit(X) for size in (1000, 120))
    np.testing.assert_array_equal(large.components_, whole.components_)
    assert large.batch_size == 1000


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_binary_units_take_any_numbers_with_a_warning(make: Any) -> None:
    X = np.array([[-300.0, 255, 0.1], [200, 90, 0.3]] * 10)
    with pytest.warns(UserWarning, match="X holds values from -300 to 255") as caught:
        model = RBM(3, epochs=0).fit(make(X))
    assert [w.filename for w in caught] == [__file__]
    expected = Bernoulli(3).bias_from_mean(np.array([0, 1, 0.2]), 20)
    np.testing.assert_allclose(model.intercept_visible_, expected)
    with pytest.warns(UserWarning, match="X holds values"):
        model.set_params(epochs=5).fit(make(X))
    assert np.isfinite(model.components_).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in (model.transform, model.score_samples, model.score):
            assert np.isfinite(method(make(X))).all()
        RBM(3, epochs=0).fit(make(X / 600 + 0.5))


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (np.linspace(0, 255, 120), "column 2 of X has mean 128 and standard deviation 74.2"),
        (np.linspace(2e4, 2.1e4, 120), "column 2 of X has mean 2.05e[+]04"),
        (np.full(120, 0.3), "X has constant columns \\(2\\)"),
    ],
)
def test_gaussian_units_warn_about_columns_that_the_real_machine_refuses(column: np.ndarray, found: str) -> None:
    X = states("Gaussian")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = RBM(3, visible="Gaussian", epochs=2, random_state=0).fit(X)
    X[:, 2] = column
    with pytest.raises(ValueError, match=found.replace("X", "data")):
        ebm.RBM(Gaussian(6), 3, device="cpu", dtype="float64").fit(X)
    with pytest.warns(UserWarning, match=found) as caught:
        model.fit(X)
    assert [w.filename for w in caught] == [__file__]
    for cure in ("ebm.data.Standardizer", "VarianceThreshold()", "StandardScaler()"):
        assert cure in str(caught[0].message)
    # DivergenceGuard's limit for scaled data would end the run with the largest column
    np.testing.assert_allclose(model.intercept_visible_[2], column.mean(), rtol=0.1, atol=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.transform(X)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("ReLU", -1.0, r"X\[4, 2\] is -1.0"),
        (triples, 0.5, "expected a 1 among zeros"),
        ("ReplicatedSoftmax", 0.5, "expected counts"),
        ("ReplicatedSoftmax", 2000, r"row 4 has 20\d\d words"),
        ("Gaussian", np.nan, "NaN"),
        ("Bernoulli", np.inf, "infinity"),
    ],
)
@pytest.mark.parametrize("call", ["fit", "transform", "score_samples", "score"])
def test_rows_must_be_states(kind: Any, value: float, message: str, call: str) -> None:
    X = states(kind)
    model = RBM(3, visible=kind, epochs=1).fit(X)
    before = model.components_
    X[4, 2] = value
    with pytest.raises(ValueError, match=message):
        getattr(model, call)(X)
    np.testing.assert_array_equal(model.components_, before)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 0}, "'n_components' parameter of RBM must be"),
        ({"visible": "gaussian"}, "'visible' parameter of RBM must be"),
        ({"visible": Gaussian(6)}, "'visible' parameter of RBM must be"),
        ({"hidden": None}, "'hidden' parameter of RBM must be"),
        ({"learning": "PCD"}, "'learning' parameter of RBM must be"),
        ({"optimizer": 0.1}, "'optimizer' parameter of RBM must be"),
        ({"penalties": WeightDecay(0.1)}, "'penalties' parameter of RBM must be"),
        ({"epochs": -1}, "'epochs' parameter of RBM must be"),
        ({"batch_size": 0}, "'batch_size' parameter of RBM must be"),
        ({"centered": "yes"}, "'centered' parameter of RBM must be"),
        ({"binarization": "threshold"}, "'binarization' parameter of RBM must be"),
        ({"callbacks": History()}, "'callbacks' parameter of RBM must be"),
        ({"device": None}, "'device' parameter of RBM must be"),
        ({"device": "tpu"}, "device='tpu'"),
        ({"random_state": "one"}, "'random_state' parameter of RBM must be"),
        ({"verbose": -1}, "'verbose' parameter of RBM must be"),
        ({"visible": lambda width: Softmax(4, width // 4)}, r"visible: found Softmax\(4\), 4 columns wide, for a width of 6"),
        ({"hidden": lambda width: width}, "hidden: found 3 for a width of 3"),
        ({"hidden": "ReplicatedSoftmax"}, "word counts can only be visible"),
        ({"visible": "Gaussian", "binarization": "stochastic"}, "only binary units have it"),
        ({"visible": "Gaussian", "hidden": lambda width: 2}, "expected a function of the width"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else value,
)
def test_parameters_are_checked_when_fitting(parameters: dict[str, Any], message: str) -> None:
    X = states(parameters.get("visible"))
    model = RBM(3, epochs=1).fit(states("Bernoulli"))
    before = model.rbm_
    model.set_params(**parameters)
    assert all(model.get_params()[name] is value for name, value in parameters.items())
    with pytest.raises(ValueError, match=message):
        model.fit(X)
    assert model.rbm_ is before


def test_rules_and_optimizers_given_as_classes_are_refused() -> None:
    for parameters, message in (({"learning": CD}, "expected a rule"), ({"optimizer": SGD}, "expected an optimizer")):
        model = RBM(3, **parameters)
        with pytest.raises(TypeError, match=message):
            model.fit(states("Bernoulli"))
        assert not hasattr(model, "rbm_")


class Refuse(Callback):
    order = 2

    def on_start(self, run: Any) -> None:
        raise RuntimeError("no")


def test_a_run_that_is_refused_leaves_the_fitted_machine() -> None:
    model = RBM(3, epochs=1).fit(states("Bernoulli"))
    before = model.rbm_
    with pytest.raises(RuntimeError, match="no"):
        model.set_params(callbacks=[Refuse()]).fit(states("Bernoulli"))
    assert model.rbm_ is before


class StopAfterTwo(Callback):
    def on_epoch(self, run: Any) -> None:
        if run.epoch == 2:
            run.stop("enough")


def test_callbacks_see_the_run_and_may_end_it(capsys: pytest.CaptureFixture[str]) -> None:
    history = History()
    model = RBM(3, epochs=5, callbacks=[history, StopAfterTwo()], random_state=0).fit(states("Bernoulli"))
    assert model.n_iter_ == len(history.rows) == 2
    assert model.callbacks[0] is history
    assert RBM(3, epochs=3).fit(states("Bernoulli")).n_iter_ == 3
    assert capsys.readouterr() == ("", "")
    loud = RBM(3, epochs=2, random_state=0, verbose=1).fit(states("Bernoulli"))
    assert "epoch 2/2" in capsys.readouterr().err
    np.testing.assert_array_equal(loud.components_, model.components_)


def test_ctrl_c_leaves_the_last_whole_step() -> None:
    calls = []

    def rule(rbm: Any, v: Any, chains: Any, stream: Any) -> Any:
        calls.append(len(v))
        if len(calls) == 8:
            signal.raise_signal(signal.SIGINT)
        return CD()(rbm, v, chains, stream)

    model = RBM(3, learning=rule, batch_size=40, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(states("Bernoulli"))
    assert calls == [40] * 8
    assert model.n_iter_ == 2
    assert model.transform(states("Bernoulli")).shape == (120, 3)


def not_a_number(rbm: Any, v: Any, chains: Any, stream: Any) -> Any:
    positive, negative = CD()(rbm, v, chains, stream)
    return positive, (negative[0] * v.dtype.type(math.nan), negative[1])


def test_a_run_that_leaves_the_finite_numbers_fails() -> None:
    with pytest.raises(DivergenceError, match="not finite"):
        RBM(3, learning=not_a_number, epochs=1).fit(states("Bernoulli"))


def test_search_over_rules_and_penalties(digits: tuple[np.ndarray, np.ndarray]) -> None:
    X = (digits[0] / 16)[:300]
    rules, penalties = [CD(1), PCD(5), not_a_number], [(), [WeightDecay(3.0)]]
    rbm = RBM(20, optimizer=SGD(0.1, momentum=0.8), epochs=10, batch_size=10, random_state=0)
    search = GridSearchCV(rbm, {"learning": rules, "penalties": penalties}, cv=2, error_score=-1e6)
    with pytest.warns(FitFailedWarning, match="4 fits failed"):
        search.fit(X)
    scores = dict(zip(map(repr, search.cv_results_["params"]), search.cv_results_["mean_test_score"], strict=True))
    assert len(scores) == 6
    for rule in rules[:2]:
        free, decayed = (scores[repr({"learning": rule, "penalties": p})] for p in penalties)
        assert -1e6 < decayed < free < 0
        assert scores[repr({"learning": not_a_number, "penalties": ()})] == -1e6
    assert search.best_params_["penalties"] == ()
    assert search.best_estimator_.learning == search.best_params_["learning"]
    assert search.score(X) == search.best_estimator_.score(X)


def test_search_in_a_pipeline_side_by_side(digits: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = digits[0][:400] / 16, digits[1][:400]
    rbm = RBM(optimizer=SGD(0.1, momentum=0.8), epochs=20, batch_size=10, random_state=0)
    pipeline = Pipeline([("rbm", rbm), ("classifier", LogisticRegression(tol=0.01))])
    grid = {"rbm__n_components": [2, 60], "rbm__learning": [CD(), PCD()]}
    with joblib.parallel_backend("threading"):
        search = GridSearchCV(pipeline, grid, cv=2, n_jobs=4).fit(X, y)
    assert search.best_params_["rbm__n_components"] == 60
    assert search.best_score_ > 0.65
    alone = clone(pipeline).set_params(**search.best_params_).fit(X, y)
    np.testing.assert_array_equal(search.predict_proba(X), alone.predict_proba(X))


def test_clone_copies_parameters_only() -> None:
    model = RBM(3, visible=LEARNED, learning=PCD(2), penalties=[WeightDecay(0.1)], callbacks=[History()], epochs=1)
    model.fit(states("Gaussian"))
    copied = clone(model)
    assert set(vars(copied)) == set(model.get_params())
    assert (copied.learning, copied.penalties, copied.visible.keywords) == (
        PCD(2),
        [WeightDecay(0.1)],
        {"learn_variance": True},
    )
    assert copied.callbacks[0] is not model.callbacks[0]


@kinds
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_pickled_model_goes_on_like_the_original(kind: Any, dtype: Any) -> None:
    X = states(kind).astype(dtype)
    model = RBM(4, visible=kind, epochs=2, random_state=0).fit(X)
    text = pickle.dumps(model)
    for foreign in (b"numba", b"ebm.compute", b"ebm.rbm", b"ebm.machine", b"Parameters"):
        assert foreign not in text
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    before = model.transform(X)
    copies = [pickle.loads(text), joblib.load(file), copy.deepcopy(model)]
    model.rbm_.fit(X, epochs=1)
    for other in copies:
        assert [layer.units for layer in other.rbm_.layers] == [layer.units for layer in model.rbm_.layers]
        np.testing.assert_array_equal(other.transform(X), before)
        other.rbm_.fit(X, epochs=1)
        for name, array in model.rbm_.parameters.named_arrays().items():
            np.testing.assert_array_equal(other.rbm_.parameters[name], array)
        np.testing.assert_array_equal(other.transform(X), model.transform(X))
    assert pickle.loads(pickle.dumps(RBM(4))).n_components == 4


def test_every_device_gives_host_arrays(device: Any) -> None:
    X = states("Gaussian").astype(np.float32)
    model = RBM(4, visible=LEARNED, epochs=2, device=device.name, random_state=0).fit(X)
    assert model.rbm_.device is device
    on_cpu = pickle.loads(pickle.dumps(copy.copy(model).set_params(device="cpu")))
    assert on_cpu.rbm_.device.name == "cpu"
    H = model.transform(X)
    found = {name: getattr(model, name)(X) for name in ("transform", "score_samples", "score")}
    found |= {"inverse_transform": model.inverse_transform(H), "sample": model.sample(5, steps=1, random_state=0)}
    expected = {name: getattr(on_cpu, name)(X) for name in ("transform", "score_samples", "score")}
    expected |= {"inverse_transform": on_cpu.inverse_transform(H), "sample": on_cpu.sample(5, steps=1, random_state=0)}
    for name, value in found.items():
        assert type(value) in (np.ndarray, float)
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(model.components_, on_cpu.components_)
    with pytest.warns(UserWarning, match="X holds values"):
        RBM(2, epochs=1, device=device.name).fit(X)


@pytest.mark.parametrize("call", ["transform", "inverse_transform", "score_samples", "score", "sample"])
def test_a_model_must_be_fitted(call: str) -> None:
    model = RBM(2)
    with pytest.raises(NotFittedError, match="RBM"):
        getattr(model, call)(states("Bernoulli"))
    with pytest.raises(NotFittedError):
        model.get_feature_names_out()
    assert not any(hasattr(model, name) for name in ("components_", "intercept_hidden_", "intercept_visible_"))


def test_the_number_of_columns_must_fit() -> None:
    model = RBM(2, epochs=1).fit(states("Bernoulli"))
    assert (model.n_features_in_, list(model.get_feature_names_out())) == (6, ["rbm0", "rbm1"])
    for call in (model.transform, model.score_samples, model.score):
        with pytest.raises(ValueError, match=r"5 features.*expect.* 6"):
            call(states("Bernoulli")[:, :5])
    with pytest.raises(ValueError, match=re.escape("found shape (120, 6); expected (rows, 2)")):
        model.inverse_transform(states("Bernoulli"))


def test_names_of_features_and_data_frames() -> None:
    pandas = pytest.importorskip("pandas", reason="data frames need pandas")
    X = pandas.DataFrame(states("Bernoulli"), columns=list("abcdef"))
    model = RBM(2, epochs=1).set_output(transform="pandas")
    found = model.fit_transform(X)
    assert list(model.feature_names_in_) == list("abcdef")
    assert list(found.columns) == ["rbm0", "rbm1"]
    assert model.inverse_transform(found).shape == (120, 6)
    with pytest.raises(ValueError, match="feature names"):
        model.score(X.rename(columns={"a": "z"}))
