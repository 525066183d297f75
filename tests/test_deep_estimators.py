"""`ebm.estimators.DBN` and `DBM`: the deep machines under scikit-learn's rules."""

from __future__ import annotations

import copy
import io
import math
import pickle
import signal
import warnings
from typing import Any

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import ebm
from ebm import CD, PCD, Bernoulli, Gaussian, Softmax
from ebm.estimators import DBM, DBN
from ebm.training import SGD, DivergenceError, WeightDecay


@pytest.mark.filterwarnings("ignore:X holds values from:UserWarning")  # the checks fit normal numbers
@parametrize_with_checks([DBN((5, 3), epochs=2), DBM((5, 3), pretrain_epochs=1, epochs=2)])
def test_scikit_learn_check(estimator: Any, check: Any) -> None:
    check(estimator)


def grey(rows: int = 60, width: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((rows, width))


def standardized(rows: int = 60, seed: int = 0) -> np.ndarray:
    X = np.random.default_rng(seed).normal(size=(rows, 6)) @ (np.eye(6) + 0.5)
    return (X - X.mean(axis=0)) / X.std(axis=0)


def small(template: Any, **parameters: Any) -> Any:
    """Four and three hidden units, and few epochs."""
    few = {"epochs": 2} | ({"pretrain_epochs": 1} if template is DBM else {})
    return template(**{"hidden": (4, 3), "batch_size": 10, "random_state": 3} | few | parameters)


def machine(model: Any) -> Any:
    return model.dbn_ if isinstance(model, DBN) else model.dbm_


def arrays(found: Any) -> dict[str, np.ndarray]:
    """All parameters of a machine."""
    parts = found.parts if hasattr(found, "parts") else {"": found.parameters}
    return {f"{part}.{name}": x for part, p in parts.items() for name, x in p.named_arrays().items()}


def assert_same(found: Any, expected: Any) -> None:
    assert arrays(found).keys() == arrays(expected).keys()
    for name, x in arrays(expected).items():
        np.testing.assert_array_equal(arrays(found)[name], x, err_msg=name)


both = pytest.mark.parametrize("template", [DBN, DBM])


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"hidden": (5,)},
        {"hidden": (4, 3, Gaussian(2))},
        {"visible": "Gaussian"},
        {"visible": lambda width: Softmax(3, width // 3)},
        {"passed": "samples"},
        {"learning": PCD(2)},
        {"optimizer": SGD(0.01)},
        {"penalties": [WeightDecay(0.5)]},
        {"epochs": 4},
        {"batch_size": 7},
        {"binarization": "stochastic"},
    ],
    ids=lambda parameters: ",".join(parameters) or "defaults",
)
def test_it_is_the_real_belief_network(parameters: dict[str, Any]) -> None:
    visible = parameters.get("visible", Bernoulli)
    units = {"Gaussian": Gaussian}.get(visible, visible)(6)
    X = {Bernoulli: grey(), Gaussian: standardized()}.get(type(units), np.tile(np.eye(3), (20, 2)))
    model = small(DBN, **parameters).fit(X)
    layers = [units, *parameters.get("hidden", (4, 3))]
    real = ebm.DBN(layers, passed=parameters.get("passed", "means"), device="cpu", dtype="float64", seed=model.dbn_.seed)
    others = {name: value for name, value in parameters.items() if name not in ("hidden", "visible", "passed")}
    real.fit(X, **{"epochs": 2, "batch_size": 10} | others)
    assert repr(model.dbn_) == repr(real)
    assert_same(model.dbn_, real)
    np.testing.assert_array_equal(model.transform(X), real.transform(X))
    np.testing.assert_array_equal(model.inverse_transform(model.transform(X)), real.reconstruct(X))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"hidden": (5,)},
        {"visible": "Gaussian"},
        {"pretrain_epochs": 0},
        {"pretrain_epochs": 3},
        {"learning": PCD(2, chains=7)},
        {"optimizer": SGD(0.01)},
        {"penalties": [WeightDecay(0.5)]},
        {"epochs": 4},
        {"batch_size": 7},
        {"binarization": "stochastic"},
    ],
    ids=lambda parameters: ",".join(parameters) or "defaults",
)
def test_it_is_the_real_boltzmann_machine(parameters: dict[str, Any]) -> None:
    gaussian = parameters.get("visible") == "Gaussian"
    X = standardized() if gaussian else grey()
    model = small(DBM, **parameters).fit(X)
    options = {"batch_size": 10} | {k: v for k, v in parameters.items() if k in ("optimizer", "penalties", "binarization")}
    options |= {"batch_size": parameters.get("batch_size", 10)}
    layers = [Gaussian(6) if gaussian else 6, *parameters.get("hidden", (4, 3))]
    real = ebm.DBM(layers, device="cpu", dtype="float64", seed=model.dbm_.seed)
    epochs = parameters.get("pretrain_epochs", 1)
    if epochs:
        real.pretrain(X, epochs=epochs, **options)
    learning = parameters.get("learning", PCD(5))
    real.fit(X, epochs=parameters.get("epochs", 2), learning=learning, centered=not epochs, **options)
    assert repr(model.dbm_) == repr(real)
    assert_same(model.dbm_, real)
    np.testing.assert_array_equal(model.transform(X), real.transform(X))


def test_the_way_back_after_fine_tuning_is_the_generative_one() -> None:
    X = grey()
    model = small(DBN).fit(X)
    model.dbn_.fine_tune(X, epochs=3, batch_size=10, optimizer=SGD(0.5))
    np.testing.assert_array_equal(model.inverse_transform(model.transform(X).tolist()), model.dbn_.reconstruct(X))


@both
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32, bool])
def test_floats_keep_their_precision_and_others_become_float64(template: Any, dtype: Any) -> None:
    X = (grey() < 0.5).astype(dtype)
    expected = dtype if dtype in (np.float64, np.float32) else np.float64
    model = small(template).fit(X)
    found = [model.transform(X), *arrays(machine(model)).values()]
    if template is DBN:
        found.append(model.inverse_transform(found[0]))
    assert {x.dtype for x in found} == {np.dtype(expected)}
    assert get_tags(model).transformer_tags.preserves_dtype == ["float64", "float32"]


def test_codes_of_digits_in_pipelines() -> None:
    X, y = load_digits(return_X_y=True)
    options = {"epochs": 15, "batch_size": 20, "random_state": 0}
    fine = options | {"binarization": "stochastic"}
    logistic = LogisticRegression(tol=0.01)
    for steps, least in (
        ((MinMaxScaler(), DBN((80, 60), **fine)), 0.6),
        ((MinMaxScaler(), DBM((60, 40), pretrain_epochs=15, **fine)), 0.7),
        ((VarianceThreshold(0.1), StandardScaler(), DBN((80, 60), visible="Gaussian", **options)), 0.7),
    ):
        pipeline = make_pipeline(*steps, logistic).fit(X[:1200], y[:1200])
        assert pipeline.score(X[1200:], y[1200:]) > least  # untrained: 0.1
        names = list(pipeline[:-1].get_feature_names_out())
        assert names[:2] == [f"{type(steps[-1]).__name__.lower()}{i}" for i in range(2)]
        assert len(names) == steps[-1].hidden[-1]


def test_search_over_layers() -> None:
    X, y = load_digits(n_class=4, return_X_y=True)
    dbn = DBN(optimizer=SGD(0.1, 0.8), batch_size=20, random_state=0)
    pipeline = make_pipeline(MinMaxScaler(), dbn, LogisticRegression(C=10, tol=0.01, max_iter=500))
    search = GridSearchCV(pipeline, {"dbn__hidden": [(1, 1), (40, 30)], "dbn__learning": [CD(1), PCD(1)]}, cv=2).fit(X, y)
    assert search.best_params_["dbn__hidden"] == (40, 30)
    assert search.best_score_ > 0.8
    alone = clone(pipeline).set_params(**search.best_params_).fit(X, y)
    np.testing.assert_array_equal(search.predict_proba(X), alone.predict_proba(X))


@both
def test_random_state_decides_everything(template: Any) -> None:
    X = grey()

    def run(random_state: Any) -> np.ndarray:
        return small(template, random_state=random_state).fit(X).transform(X)

    np.testing.assert_array_equal(run(1), run(1))
    assert (run(1) != run(2)).any()
    generator = np.random.RandomState(1)
    np.testing.assert_array_equal(run(generator), run(1))
    assert (run(generator) != run(1)).any()


@both
@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_array])
def test_sparse_rows_give_what_dense_ones_give(template: Any, make: Any) -> None:
    X = (grey() < 0.3).astype(float)
    dense, found = (small(template).fit(x) for x in (X, make(X)))
    assert_same(machine(found), machine(dense))
    np.testing.assert_array_equal(found.transform(make(X)), dense.transform(X))
    assert get_tags(found).input_tags.sparse


@both
def test_real_valued_units_take_no_sparse_and_no_unscaled_rows(template: Any) -> None:
    model, X = small(template, visible="Gaussian"), standardized()
    assert not get_tags(model).input_tags.sparse
    assert get_tags(small(template, visible=lambda width: Softmax(3, width // 3))).input_tags.sparse
    with pytest.raises(TypeError, match=r"csr_array.*write data\.toarray\(\)"):
        model.fit(sparse.csr_array(X))
    with pytest.raises(ValueError, match="column 2 of data has mean"):
        model.fit(X + 100 * np.eye(6)[2])
    assert not hasattr(model, "dbn_")
    model.fit(X)
    np.testing.assert_array_equal(model.transform(5 * X), machine(model).transform(5 * X))  # not clipped


@both
def test_a_batch_larger_than_the_data_shrinks(template: Any) -> None:
    large, whole = (small(template, batch_size=size).fit(grey()) for size in (1000, 60))
    assert_same(machine(large), machine(whole))
    assert large.batch_size == 1000


@both
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array, sparse.csc_matrix])
def test_values_outside_the_unit_interval_are_clipped_with_one_warning(template: Any, make: Any) -> None:
    X = 3 * standardized()
    X[grey() < 0.3] = 0
    before, least, largest = X.copy(), X.min(), X.max()
    with pytest.warns(UserWarning, match=f"X holds values from {least:g} to {largest:g}; they are clipped") as caught:
        model = small(template).fit(make(X))
    assert [w.filename for w in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inside = np.clip(X, 0, 1)
        clean = small(template).fit(make(inside))
        assert_same(machine(model), machine(clean))
        np.testing.assert_array_equal(model.transform(make(X)), clean.transform(make(inside)))
    np.testing.assert_array_equal(X, before)
    for wrong in (-0.1, 1.1):
        with pytest.warns(UserWarning, match="X holds values"):
            small(template).fit(make(np.where(grey() < 0.01, wrong, inside)))


def test_a_sparse_matrix_with_values_stored_twice_is_clipped_after_they_are_added() -> None:
    twice = sparse.csr_array((np.array([0.8, 0.8, 2.0]), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 2))
    with pytest.warns(UserWarning, match="X holds values from 0.8 to 2"):
        model = small(DBN, batch_size=2).fit(twice)
    np.testing.assert_array_equal(model.transform(twice), model.transform(np.array([[0, 1.0], [1, 0]])))
    assert twice.nnz == 3


@pytest.mark.parametrize(
    ("template", "parameters", "message"),
    [
        (DBN, {"hidden": 4}, "'hidden' parameter of DBN must be"),
        (DBN, {"hidden": (4, 0)}, "found size=0"),
        (DBN, {"hidden": ()}, "expected at least two, visible and hidden"),
        (DBN, {"visible": "gaussian"}, "'visible' parameter of DBN must be"),
        (DBN, {"visible": lambda width: Gaussian(3)}, "visible: found Gaussian.*3 columns wide, for a width of 6"),
        (DBN, {"passed": "modes"}, "'passed' parameter of DBN must be"),
        (DBN, {"learning": "CD"}, "'learning' parameter of DBN must be"),
        (DBN, {"optimizer": 0.1}, "'optimizer' parameter of DBN must be"),
        (DBN, {"penalties": WeightDecay(0.1)}, "'penalties' parameter of DBN must be"),
        (DBN, {"epochs": -1}, "'epochs' parameter of DBN must be"),
        (DBN, {"batch_size": 0}, "'batch_size' parameter of DBN must be"),
        (DBN, {"binarization": "threshold"}, "'binarization' parameter of DBN must be"),
        (DBN, {"device": "tpu"}, "device='tpu'"),
        (DBN, {"random_state": "one"}, "'random_state' parameter of DBN must be"),
        (DBM, {"hidden": 4}, "'hidden' parameter of DBM must be"),
        (DBM, {"pretrain_epochs": -1}, "'pretrain_epochs' parameter of DBM must be"),
        (DBM, {"verbose": -1}, "'verbose' parameter of DBM must be"),
        (DBM, {"learning": CD(), "pretrain_epochs": 0}, "it is a rule for one hidden layer"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else getattr(value, "__name__", value),
)
def test_parameters_are_checked_when_fitting(template: Any, parameters: dict[str, Any], message: str) -> None:
    model = small(template).fit(grey())
    before = machine(model)
    model.set_params(**parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(grey())
    assert machine(model) is before


def test_a_rule_for_one_layer_is_refused_before_pretraining(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ebm.DBM, "stack", lambda self: pytest.fail("has begun"))
    with pytest.raises(ValueError, match="it is a rule for one hidden layer"):
        small(DBM, learning=CD()).fit(grey())


def stop_at(call: int, learning: Any) -> Any:
    """A rule that is interrupted at this call."""
    calls = []

    def rule(rbm: Any, v: Any, chains: Any, stream: Any) -> Any:
        calls.append(len(v))
        if len(calls) == call:
            signal.raise_signal(signal.SIGINT)
        return learning(rbm, v, chains, stream)

    rule.start = getattr(learning, "start", lambda *_: {})  # type: ignore[attr-defined]
    return rule


def test_ctrl_c_leaves_the_layers_that_are_trained() -> None:
    X = grey()
    model = small(DBN, learning=stop_at(15, CD()))  # the third step of the second layer
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    whole = small(DBN).fit(X)
    assert model.dbn_.trained == 1
    assert_same(model.dbn_.layers[0], whole.dbn_.layers[0])
    assert (model.dbn_.layers[1].weights != whole.dbn_.layers[1].weights).any()
    assert model.transform(X).shape == (60, 3)


def test_ctrl_c_in_the_training_as_a_whole_leaves_its_last_step() -> None:
    X = grey()
    model = small(DBM, epochs=3, learning=stop_at(12, PCD(5)))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert_same(model.dbm_, small(DBM, epochs=2, learning=PCD(5)).fit(X).dbm_)
    assert model.transform(X).shape == (60, 3)


def test_ctrl_c_in_pretraining_leaves_what_was_pretrained(monkeypatch: pytest.MonkeyPatch) -> None:
    X, fit = grey(), ebm.RBM.fit

    def interrupted(self: Any, data: Any, **settings: Any) -> Any:
        if data.shape[1] == 4:  # the second layer
            raise KeyboardInterrupt
        return fit(self, data, **settings)

    monkeypatch.setattr(ebm.RBM, "fit", interrupted)
    model = small(DBM, pretrain_epochs=4)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    weights = model.dbm_.weights
    monkeypatch.undo()
    whole = small(DBM, pretrain_epochs=4, epochs=0).fit(X).dbm_.weights
    np.testing.assert_array_equal(weights[0], whole[0])
    assert (weights[1] != whole[1]).any()
    assert model.transform(X).shape == (60, 3)


def not_a_number(machine: Any, v: Any, chains: Any, stream: Any) -> Any:
    positive, negative = CD()(machine, v, chains, stream)
    return positive, (negative[0] * v.dtype.type(math.nan), negative[1])


def test_a_run_that_leaves_the_finite_numbers_fails_and_the_fitted_model_stays() -> None:
    model = small(DBN).fit(grey())
    before = model.dbn_
    with pytest.raises(DivergenceError, match="not finite"):
        model.set_params(learning=not_a_number).fit(grey())
    assert model.dbn_ is before


@both
def test_clone_copies_parameters_only(template: Any) -> None:
    model = small(template, hidden=(4, Gaussian(3)), learning=PCD(2), penalties=[WeightDecay(0.1)]).fit(grey())
    copied = clone(model)
    assert set(vars(copied)) == set(model.get_params())
    assert copied.get_params() == model.get_params()
    assert copied.penalties is not model.penalties


@both
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("visible", ["Bernoulli", "Gaussian"])
def test_a_pickled_model_goes_on_like_the_original(template: Any, dtype: Any, visible: str) -> None:
    X = (standardized() if visible == "Gaussian" else grey()).astype(dtype)
    model = small(template, visible=visible).fit(X)
    if template is DBN:
        model.dbn_.fine_tune(X, epochs=1, batch_size=10)
    text = pickle.dumps(model)
    for foreign in (b"numba", b"ebm.compute", b"ebm.machine", b"ebm.dbn", b"ebm.dbm", b"ebm.stack", b"Parameters"):
        assert foreign not in text
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    before = model.transform(X)
    for other in (pickle.loads(text), joblib.load(file), copy.deepcopy(model)):
        assert repr(machine(other)) == repr(machine(model))
        assert_same(machine(other), machine(model))
        assert machine(other) is not machine(model)
        np.testing.assert_array_equal(other.transform(X), before)
        outside = 3 * X - 1  # clipped or not, as by the original
        np.testing.assert_array_equal(other.transform(outside), model.transform(outside))
    other = pickle.loads(text)
    for each in (other, model):
        if template is DBN:
            each.dbn_.fine_tune(X, epochs=1, batch_size=10)
        else:
            each.dbm_.fit(X, epochs=1, batch_size=10)
    assert_same(machine(other), machine(model))
    assert (model.transform(X) != before).any()
    assert pickle.loads(pickle.dumps(template((7,)))).hidden == (7,)


@both
def test_a_strict_device_gives_host_arrays(template: Any, strict: Any) -> None:
    X = grey().astype(np.float32)
    model = small(template, device=strict.name).fit(X)
    assert machine(model).device is strict
    on_cpu = pickle.loads(pickle.dumps(copy.copy(model).set_params(device="cpu")))
    assert machine(on_cpu).device.name == "cpu"
    calls = {"transform": X} | ({"inverse_transform": grey(width=3)} if template is DBN else {})
    for name, rows in calls.items():
        found = getattr(model, name)(rows)
        assert type(found) is np.ndarray
        np.testing.assert_allclose(found, getattr(on_cpu, name)(rows), rtol=1e-4, atol=1e-5)


def test_verbose_shows_a_bar_for_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    for template, bars in ((DBN, 2), (DBM, 3)):
        quiet = small(template).fit(grey())
        assert capsys.readouterr() == ("", "")
        loud = small(template, verbose=1).fit(grey())
        shown = capsys.readouterr().err
        assert len({line.split("|")[-1] for line in shown.split("\n") if "100%" in line}) == bars
        assert_same(machine(loud), machine(quiet))


@both
def test_a_model_must_be_fitted_and_rows_must_fit(template: Any) -> None:
    model = small(template)
    for call in (model.transform, getattr(model, "inverse_transform", model.transform)):
        with pytest.raises(NotFittedError, match=template.__name__):
            call(grey())
    with pytest.raises(NotFittedError):
        model.get_feature_names_out()
    model.fit(grey())
    assert model.n_features_in_ == 6
    with pytest.raises(ValueError, match=r"5 features.*expect.* 6"):
        model.transform(grey(width=5))
    bad = grey()
    bad[1, 2] = math.nan
    for call in (model.fit, model.transform):
        with pytest.raises(ValueError, match="NaN"):
            call(bad)
    if template is DBN:
        with pytest.raises(ValueError, match=r"found shape \(60, 6\); expected \(rows, 3\)"):
            model.inverse_transform(grey())
