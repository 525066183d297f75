from __future__ import annotations

import inspect
import pickle
import re
import signal
import tracemalloc
import warnings
from collections.abc import Iterator
from itertools import count, product
from typing import Any

import joblib
import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit
from sklearn import neural_network
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from ebm.estimators import BernoulliRBM, bernoulli_rbm

ARRAYS = ("components_", "intercept_hidden_", "intercept_visible_", "h_samples_")
FORMATS = {
    "array": np.asarray,
    "fortran": np.asfortranarray,
    "csr_matrix": sparse.csr_matrix,
    "csc_matrix": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "csc_array": sparse.csc_array,
}


def binary(rows: int, columns: int, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    return (np.random.default_rng(seed).random((rows, columns)) < 0.4).astype(dtype)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_digits().data / 16


def positions_of_flips(estimator: Any) -> dict[str, str]:
    reason = (
        "score_samples flips a feature chosen by the row's place in X; scikit-learn's own class fails this for the same reason"
    )
    return {"check_methods_subset_invariance": reason, "check_methods_sample_order_invariance": reason}


@pytest.mark.filterwarnings("ignore:X holds values from:UserWarning")  # the checks fit normal numbers
@parametrize_with_checks([BernoulliRBM(n_iter=5)], expected_failed_checks=positions_of_flips)
def test_scikit_learn_check(estimator: Any, check: Any) -> None:
    check(estimator)


def assembled(
    template: Any, random_state: Any, dtype: Any = np.float64, rows: int = 4, hidden: int = 5, visible: int = 9
) -> Any:
    """A model of the class of `template` with arrays set by hand."""
    rng = np.random.default_rng(7)
    model = template(n_components=hidden, random_state=random_state)
    model.components_ = rng.normal(size=(hidden, visible)).astype(dtype)
    model.intercept_hidden_ = rng.normal(size=hidden).astype(dtype)
    model.intercept_visible_ = rng.normal(size=visible).astype(dtype)
    model.h_samples_ = (rng.random((rows, hidden)) < 0.5).astype(dtype)
    return model


def test_it_has_what_scikit_learns_class_has() -> None:
    theirs = neural_network.BernoulliRBM(n_components=3, n_iter=1, random_state=0).fit(binary(20, 4))
    ours = BernoulliRBM(n_components=3, n_iter=1, random_state=0).fit(binary(20, 4))
    signatures = [inspect.signature(c).parameters.values() for c in (BernoulliRBM, neural_network.BernoulliRBM)]
    assert [(p.name, p.kind, p.default) for p in signatures[0]] == [(p.name, p.kind, p.default) for p in signatures[1]]
    for name in dir(theirs):
        assert name.startswith("_") or hasattr(ours, name), name
    assert {n for n in vars(ours) if not n.startswith("_")} == {n for n in vars(theirs) if not n.startswith("_")}
    for name in ARRAYS:
        assert type(getattr(ours, name)) is np.ndarray
        assert getattr(ours, name).shape == getattr(theirs, name).shape
    assert get_tags(ours) == get_tags(theirs)
    assert list(ours.get_feature_names_out()) == list(theirs.get_feature_names_out())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_both_classes_start_from_the_same_weights_and_zeros(dtype: Any) -> None:
    X = binary(20, 6, dtype=dtype)
    ours, theirs = (c(4, n_iter=0, batch_size=7, random_state=3).fit(X) for c in (BernoulliRBM, neural_network.BernoulliRBM))
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        assert getattr(ours, name).dtype == dtype


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("model_dtype", [np.float64, np.float32])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, bool])
def test_transform_and_score_equal_scikit_learns(layout: str, model_dtype: Any, dtype: Any) -> None:
    X = FORMATS[layout](binary(2500, 9, dtype=dtype))
    ours, theirs = (assembled(c, 11, model_dtype) for c in (BernoulliRBM, neural_network.BernoulliRBM))
    tolerance = 1e-12 if model_dtype == dtype == np.float64 else 2e-5
    for method in ("transform", "score_samples"):
        found, expected = getattr(ours, method)(X), getattr(theirs, method)(X)
        assert found.dtype == expected.dtype or method == "score_samples"  # where scikit-learn's depends on the input's format
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("order", ["C", "F", "gaps"])
def test_arrays_of_any_layout_may_be_assigned(order: str) -> None:
    models = [assembled(c, 11) for c in (BernoulliRBM, neural_network.BernoulliRBM)]
    for model in models:
        W = model.components_
        model.components_ = np.repeat(W, 2, axis=1)[:, ::2] if order == "gaps" else np.array(W, order=order)
    X = binary(10, 9)
    np.testing.assert_allclose(models[0].transform(X), models[1].transform(X), rtol=1e-12)
    np.testing.assert_allclose(models[0].score_samples(X), models[1].score_samples(X), rtol=1e-12)
    models[0].partial_fit(X)


def test_score_is_the_pseudo_likelihood_in_expectation() -> None:
    model = assembled(BernoulliRBM, np.random.RandomState(0))
    v = binary(1, 9)
    W, b, c = model.components_, model.intercept_visible_, model.intercept_hidden_

    def free_energy(v: np.ndarray) -> np.ndarray:
        return -v @ b - np.log1p(np.exp(v @ W.T + c)).sum(axis=-1)

    flipped = np.abs(v - np.eye(9))
    terms = -9 * np.log1p(np.exp(free_energy(v) - free_energy(flipped)))
    n = 20_000
    scores = model.score_samples(np.repeat(v, n, axis=0))
    assert abs(scores.mean() - terms.mean()) < 5 * terms.std() / n**0.5
    np.testing.assert_allclose(np.unique(scores.round(9)), np.unique(terms.round(9)))


def test_gibbs_samples_the_conditionals() -> None:
    model = assembled(BernoulliRBM, 0)
    v = binary(1, 9)
    hidden = np.array(list(product([0, 1], repeat=5)))
    p = expit(v @ model.components_.T + model.intercept_hidden_)
    weight = np.prod(np.where(hidden, p, 1 - p), axis=1)
    means = expit(hidden @ model.components_ + model.intercept_visible_)
    expected = np.einsum("h,hi,hj->ij", weight, means, means)
    np.fill_diagonal(expected, weight @ means)
    n = 40_000
    samples = model.gibbs(np.repeat(v, n, axis=0))
    assert samples.dtype == bool
    found = samples.T.astype(float) @ samples / n
    assert (np.abs(found - expected) < 5 * np.sqrt(expected * (1 - expected) / n)).all()


def test_gibbs_takes_what_scikit_learns_takes_and_goes_on() -> None:
    X = binary(30, 9)
    model = assembled(BernoulliRBM, 0)
    first, second = model.gibbs(X), model.gibbs(X)
    assert (first != second).any()
    again = assembled(BernoulliRBM, 0)
    np.testing.assert_array_equal(again.gibbs(sparse.csr_array(X)), first)
    np.testing.assert_array_equal(again.gibbs(X.astype(bool)), second)
    assert again.gibbs(X[0]).shape == (9,)


def saturated(template: Any, dtype: Any, rows: int, **parameters: Any) -> Any:
    """A model whose visible units are certain whatever the chains are, so that updates are deterministic."""
    model = assembled(template, 0, dtype, rows)
    model.intercept_visible_ = np.array([90, -90] * 4 + [90], dtype)
    return model.set_params(**parameters)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("layout", ["array", "fortran", "csr_matrix", "csc_array"])
def test_updates_equal_scikit_learns(dtype: Any, layout: str) -> None:
    models = [saturated(c, dtype, rows=8, learning_rate=0.3) for c in (BernoulliRBM, neural_network.BernoulliRBM)]
    for seed in range(6):
        X = FORMATS[layout](np.random.default_rng(seed).random((8, 9)).astype(dtype))
        for model in models:
            model.learning_rate *= 0.9
            model.partial_fit(X)
    ours, theirs = models
    for name in ARRAYS[:3]:
        assert getattr(ours, name).dtype == dtype
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-12 if dtype == np.float64 else 1e-5)
    assert set(np.unique(ours.h_samples_)) == {0, 1}
    v = np.array([1, 0] * 4 + [1.0], dtype)
    mean = theirs.transform(v[None])[0]
    n = 4000
    ours.learning_rate = 1e-9
    ours.h_samples_ = np.zeros((n, 5))
    ours.partial_fit(X)
    assert (np.abs(ours.h_samples_.mean(axis=0) - mean) < 5 * np.sqrt(mean * (1 - mean) / n) + 1e-6).all()


@pytest.mark.parametrize(("rows", "chains"), [(3, 40), (40, 3)])
def test_each_phase_is_averaged_over_its_own_rows(rows: int, chains: int) -> None:
    model = saturated(BernoulliRBM, np.float64, chains, learning_rate=0.5)
    X = binary(rows, 9)
    v = np.array([1, 0] * 4 + [1.0])
    h, fantasy = model.transform(X), model.transform(v[None])
    expected = model.components_ + 0.5 * (h.T @ X / rows - fantasy.T @ v[None])
    hidden = model.intercept_hidden_ + 0.5 * (h.mean(axis=0) - fantasy[0])
    visible = model.intercept_visible_ + 0.5 * (X.mean(axis=0) - v)
    assert model.partial_fit(X) is model
    np.testing.assert_allclose(model.components_, expected)
    np.testing.assert_allclose(model.intercept_hidden_, hidden)
    np.testing.assert_allclose(model.intercept_visible_, visible)
    assert model.h_samples_.shape == (chains, 5)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[np.ndarray]]:
    """Copies of the batches that training steps have seen."""
    seen: list[np.ndarray] = []
    step = bernoulli_rbm.Step.__call__

    def record(self: Any, v: np.ndarray) -> Any:
        seen.append(v.copy())
        return step(self, v)

    monkeypatch.setattr(bernoulli_rbm.Step, "__call__", record)
    return seen


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("size", [5, 6, 23, 100])
def test_every_row_is_visited_once_an_iteration(layout: str, size: int, batches: list[np.ndarray]) -> None:
    X = np.random.default_rng(0).random((23, 4))
    model = BernoulliRBM(2, batch_size=size, n_iter=3, random_state=0).fit(FORMATS[layout](X))
    np.testing.assert_array_equal(np.concatenate(batches), np.tile(X, (3, 1)))
    assert [len(v) for v in batches[: len(batches) // 3]] == [len(X[i : i + size]) for i in range(0, 23, size)]
    assert model.h_samples_.shape == (size, 2)


def test_sparse_rows_are_never_dense_as_a_whole() -> None:
    X = sparse.random_array((3000, 4000), density=0.001, format="csc", rng=np.random.default_rng(0))
    model = BernoulliRBM(2, batch_size=50, n_iter=1, random_state=0)
    model.fit(X[:100])  # loads the kernels
    tracemalloc.start()
    model.fit(X).transform(X)
    model.score_samples(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000 * 4000 * 8 / 8


def pseudo_likelihood(model: Any, X: np.ndarray) -> float:
    """The exact one: the mean over rows of sum_i ln P(v_i | all other v), v binary."""
    field = X @ model.components_.T + model.intercept_hidden_
    total = np.zeros(len(X))
    for i in range(X.shape[1]):
        change = 1 - 2 * X[:, i]
        flipped = field + change[:, None] * model.components_[:, i]
        gain = (np.logaddexp(0, field) - np.logaddexp(0, flipped)).sum(axis=1) - change * model.intercept_visible_[i]
        total -= np.logaddexp(0, -gain)
    return float(total.mean())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_it_learns_as_much_as_scikit_learns(digits: np.ndarray, dtype: Any) -> None:
    X = (digits[:1000] > 0.5).astype(dtype)
    ours, theirs = (
        np.array([pseudo_likelihood(c(40, n_iter=6, learning_rate=0.05, random_state=s).fit(X), X) for s in range(4)])
        for c in (BernoulliRBM, neural_network.BernoulliRBM)
    )
    untrained = pseudo_likelihood(BernoulliRBM(40, n_iter=0, random_state=0).fit(X), X)
    noise = np.hypot(ours.std(ddof=1), theirs.std(ddof=1)) / 4**0.5
    assert theirs.mean() - untrained > 15
    assert abs(ours.mean() - theirs.mean()) < 5 * noise
    assert noise < 0.3


def test_partial_fit_learns_batch_by_batch(digits: np.ndarray) -> None:
    X = digits[:1000] > 0.5
    model = BernoulliRBM(40, learning_rate=0.05, batch_size=10, random_state=0)
    scores = []
    for _ in range(3):
        for start in range(0, 1000, 10):
            model.partial_fit(X[start : start + 10])
        scores.append(pseudo_likelihood(model, X.astype(float)))
    assert scores[0] < scores[1] < scores[2]
    assert scores[2] > 64 * np.log(0.5) + 15
    assert model.components_.dtype == np.float64
    assert (model.n_features_in_, model.h_samples_.shape) == (64, (10, 40))


def test_partial_fit_keeps_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    machine = bernoulli_rbm.Machine
    monkeypatch.setattr(bernoulli_rbm, "Machine", lambda *a, **k: built.append(a) or machine(*a, **k))
    model = BernoulliRBM(3, random_state=0)
    for seed in range(5):
        model.partial_fit(binary(10, 6, seed))
        model.set_params(learning_rate=0.1 / (seed + 1))
        model.transform(binary(4, 6))
    assert built == [(6, 3)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32, np.uint8, bool])
def test_floats_keep_their_precision_and_others_become_float64(dtype: Any) -> None:
    X = binary(20, 6, dtype=dtype)
    expected = dtype if dtype in (np.float64, np.float32) else np.float64
    for model in (
        BernoulliRBM(3, n_iter=2).fit(X),
        BernoulliRBM(3).partial_fit(X),
        BernoulliRBM(3, n_iter=2).fit(sparse.csr_array(X)),
    ):
        assert {getattr(model, name).dtype for name in ARRAYS} == {np.dtype(expected)}
        assert model.transform(X).dtype == model.score_samples(X).dtype == expected


def test_a_model_keeps_its_precision_for_other_data() -> None:
    X = binary(20, 6, dtype=np.float32)
    for first, then in ((np.float32, np.float64), (np.float64, np.float32), (np.float32, bool)):
        model = BernoulliRBM(3, random_state=0).partial_fit(X.astype(first))
        for data in (X.astype(then), sparse.csr_array(X.astype(then))):
            before = model.components_.copy()
            model.partial_fit(data)
            assert (model.components_ != before).any()
        assert {getattr(model, name).dtype for name in ARRAYS} == {np.dtype(first)}


def test_what_is_assigned_is_honored_and_never_written_into() -> None:
    X = binary(10, 9)
    model = BernoulliRBM(5, batch_size=10, random_state=0).partial_fit(X)
    kept = model.components_
    before, other = kept.copy(), assembled(BernoulliRBM, 0).components_
    copy = other.copy()
    model.components_ = other
    np.testing.assert_allclose(model.transform(X), expit(X @ other.T + model.intercept_hidden_))
    model.partial_fit(X)
    np.testing.assert_array_equal(other, copy)
    np.testing.assert_array_equal(kept, before)
    assert 0 < np.abs(model.components_ - other).max() < 0.2
    model.components_ = kept
    model.set_params(learning_rate=1e-12).partial_fit(X)
    np.testing.assert_allclose(model.components_, before, atol=1e-10)
    model.components_[:] = 2
    model.intercept_visible_ += 3
    model.partial_fit(X)
    np.testing.assert_allclose(model.components_, 2, atol=1e-10)
    np.testing.assert_allclose(model.transform(X), expit(2 * X.sum(axis=1)[:, None] + model.intercept_hidden_))


def test_chains_may_be_kept_and_set_back() -> None:
    model = BernoulliRBM(50, random_state=0).partial_fit(binary(10, 9))
    kept = model.h_samples_
    before = kept.copy()
    model.partial_fit(binary(10, 9))
    np.testing.assert_array_equal(kept, before)
    assert (model.h_samples_ != before).any()
    model.h_samples_ = np.ones((33, 50))
    assert model.partial_fit(binary(10, 9)).h_samples_.shape == (33, 50)


def test_a_second_fit_starts_anew() -> None:
    X = binary(30, 6)
    model = BernoulliRBM(3, n_iter=2, random_state=0).fit(X)
    first = model.components_
    copy = first.copy()
    np.testing.assert_array_equal(model.fit(X).components_, copy)
    model.fit(binary(30, 8))
    np.testing.assert_array_equal(first, copy)
    assert model.components_.shape == (3, 8)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_random_state_decides_everything(method: str) -> None:
    X = binary(50, 8)

    def run(random_state: Any) -> list[np.ndarray]:
        model = BernoulliRBM(6, n_iter=2, random_state=random_state)
        for _ in range(2):
            getattr(model, method)(X)
        return [getattr(model, name) for name in ARRAYS] + [model.gibbs(X), model.score_samples(X)]

    def alike(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
        return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))

    assert alike(run(1), run(1))
    assert not alike(run(1), run(2))
    state = np.random.RandomState(1)
    first, second = run(state), run(state)
    assert not alike(first, second)
    state = np.random.RandomState(1)
    assert alike(run(state), first)
    assert alike(run(state), second)
    found = []
    for seed in (5, 5, 6):
        np.random.seed(seed)  # noqa: NPY002
        found.append(run(None))
    assert alike(found[0], found[1])
    assert not alike(found[0], found[2])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_pickled_model_goes_on_like_the_original(dtype: Any) -> None:
    X = binary(50, 8, dtype=dtype)
    model = BernoulliRBM(6, random_state=0).partial_fit(X).partial_fit(X)
    text = pickle.dumps(model)
    for foreign in (b"numba", b"ebm.compute", b"ebm.rbm", b"ebm.learning", b"ebm.training"):
        assert foreign not in text
    copy = pickle.loads(text)
    np.testing.assert_array_equal(copy.transform(X), model.transform(X))
    for _ in range(2):
        for each in (model, copy):
            each.partial_fit(X)
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(copy, name), getattr(model, name))
        np.testing.assert_array_equal(copy.gibbs(X), model.gibbs(X))


def test_clone_copies_parameters_only() -> None:
    model = BernoulliRBM(6, learning_rate=0.3, random_state=0).fit(binary(20, 4))
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert set(vars(copy)) == set(model.get_params())


def test_rows_are_transformed_alike_alone_and_together() -> None:
    model = assembled(BernoulliRBM, 0)
    X = np.random.default_rng(0).random((2100, 9))
    together = model.transform(X)
    alone = np.concatenate([model.transform(X[i : i + 1]) for i in range(0, 2100, 50)])
    np.testing.assert_allclose(together[::50], alone, rtol=1e-12)
    np.testing.assert_allclose(model.transform(X[::-1])[::-1], together, rtol=1e-12)


def test_grid_search_over_a_pipeline() -> None:
    X, y = load_digits(n_class=4, return_X_y=True)
    pipeline = make_pipeline(MinMaxScaler(), BernoulliRBM(n_iter=15, random_state=0), LogisticRegression(C=10, max_iter=1000))
    grid = {"bernoullirbm__n_components": [2, 60], "bernoullirbm__learning_rate": [0.06]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    assert search.best_params_["bernoullirbm__n_components"] == 60
    assert search.best_score_ > 0.85


def test_models_learn_side_by_side_in_threads(digits: np.ndarray) -> None:
    def fit(seed: int) -> np.ndarray:
        return BernoulliRBM(20, n_iter=2, random_state=seed).fit(digits[:500]).components_

    threaded = joblib.Parallel(n_jobs=4, backend="threading")(joblib.delayed(fit)(seed) for seed in range(8))
    for seed in range(8):
        np.testing.assert_array_equal(threaded[seed], fit(seed))


def test_names_of_features_and_data_frames() -> None:
    pandas = pytest.importorskip("pandas", reason="data frames need pandas")
    X = pandas.DataFrame(binary(30, 3), columns=["a", "b", "c"])
    model = BernoulliRBM(2, n_iter=1, verbose=1).set_output(transform="pandas")
    found = model.fit_transform(X)
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    assert list(found.columns) == ["bernoullirbm0", "bernoullirbm1"]
    assert model.gibbs(X).shape == (30, 3)
    with pytest.raises(ValueError, match="feature names"):
        model.transform(X.rename(columns={"a": "z"}))


@pytest.mark.parametrize("layout", FORMATS)
def test_values_outside_the_unit_interval_warn_once(layout: str) -> None:
    X = FORMATS[layout](np.linspace(-1, 255, 60).reshape(20, 3))
    model = BernoulliRBM(2, batch_size=5, n_iter=3, learning_rate=1e-4)
    for method in (model.fit, model.partial_fit):
        with pytest.warns(UserWarning, match=re.escape("X holds values from -1 to 255")) as caught:
            method(X)
        assert [w.filename for w in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.transform(X)
        model.score_samples(X)
        BernoulliRBM(2).fit(FORMATS[layout](np.array([[0.0, 1], [1, 0]])))
        BernoulliRBM(2).fit(FORMATS[layout](np.zeros((4, 2))))
    for values in ([[0, 0.0], [-0.1, 0]], [[0, 0], [1.1, 1]]):
        with pytest.warns(UserWarning, match="X holds values"):
            BernoulliRBM(2).fit(FORMATS[layout](np.array(values)))


def test_verbose_prints_a_line_an_iteration(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    X = binary(40, 6)
    seconds = count()
    monkeypatch.setattr(bernoulli_rbm.time, "perf_counter", lambda: next(seconds))
    quiet = BernoulliRBM(3, n_iter=3, random_state=0).fit(X)
    assert capsys.readouterr().out == ""
    model = BernoulliRBM(3, n_iter=3, random_state=0, verbose=1).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for i, line in enumerate(lines, 1):
        assert re.fullmatch(rf"\[BernoulliRBM\] Iteration {i}, pseudo-likelihood = -\d+\.\d\d, time = 1\.00s", line)
    assert f"pseudo-likelihood = {model.score_samples(X).mean():.2f}," in lines[-1]
    np.testing.assert_array_equal(model.components_, quiet.components_)


@pytest.mark.parametrize("call", ["transform", "score_samples", "gibbs"])
def test_a_model_must_be_fitted(call: str) -> None:
    with pytest.raises(NotFittedError, match="BernoulliRBM"):
        getattr(BernoulliRBM(2), call)(binary(3, 2))
    with pytest.raises(NotFittedError):
        BernoulliRBM(2).get_feature_names_out()


@pytest.mark.parametrize("call", ["fit", "partial_fit", "transform", "score_samples", "gibbs"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_must_be_finite(call: str, value: float) -> None:
    model = BernoulliRBM(2, n_iter=1).fit(binary(20, 4))
    before = model.components_.copy()
    X = binary(5, 4)
    X[2, 1] = value
    for data in (X, sparse.csr_array(X)):
        with pytest.raises(ValueError, match=r"contains (NaN|infinity)"):
            getattr(model, call)(data)
    np.testing.assert_array_equal(model.components_, before)


@pytest.mark.parametrize("call", ["partial_fit", "transform", "score_samples", "gibbs"])
def test_the_number_of_features_must_be_that_of_the_fit(call: str) -> None:
    model = BernoulliRBM(2, n_iter=1).fit(binary(20, 4))
    for data in (binary(5, 3), sparse.csr_array(binary(5, 3))):
        with pytest.raises(ValueError, match=r"3 features.*expect.* 4"):
            getattr(model, call)(data)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_components", 0),
        ("n_components", 2.5),
        ("learning_rate", 0),
        ("learning_rate", -0.1),
        ("learning_rate", np.inf),
        ("batch_size", 0),
        ("n_iter", -1),
        ("verbose", -1),
        ("random_state", "one"),
    ],
)
def test_parameters_are_checked_when_fitting(name: str, value: Any) -> None:
    model = BernoulliRBM(**{name: value})
    for method in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=f"'{name}' parameter of BernoulliRBM must be"):
            method(binary(10, 3))
    assert set(vars(model)) == set(model.get_params())


def test_numbers_of_numpy_are_parameters_too() -> None:
    model = BernoulliRBM(np.int64(3), learning_rate=np.float32(0.1), batch_size=np.int32(4), n_iter=np.int64(1)).fit(
        binary(9, 2)
    )
    assert model.components_.shape == (3, 2)


def test_ctrl_c_leaves_the_last_whole_update(batches: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = bernoulli_rbm.Step.__call__

    def interrupt(self: Any, v: np.ndarray) -> Any:
        if len(batches) == 2:
            signal.raise_signal(signal.SIGINT)
        return recorded(self, v)

    monkeypatch.setattr(bernoulli_rbm.Step, "__call__", interrupt)
    model = BernoulliRBM(3, random_state=0, batch_size=5)
    with pytest.raises(KeyboardInterrupt):
        model.fit(binary(50, 4))
    assert len(batches) == 3
    assert model.transform(binary(5, 4)).shape == (5, 3)
    assert (model.h_samples_ != 0).any()
