"""Line searches on batches: known minima, noise that stands still, what they leave alone."""

import numpy as np
import pytest

from ebm import data
from ebm.training import L1, Checkpoint, MaxNorm, WeightDecay
from neural import Autoencoder, Classifier, LineSearch
from neural.corruption import Masking
from neural.layers import BatchNorm, Dense, ReLU
from neural.losses import SquaredError
from neural.network import Network
from neural.step import Step

METHODS = pytest.mark.parametrize("method", ["CG", "L-BFGS-B"])


def regression(x, y):
    """The squared error of a linear network as an objective of whole data."""
    network = Network([Dense(2, bias=False)], 3, device="cpu", dtype="float64", seed=1)

    def objective(batch, stream, gradient):
        z, backprop = network(x)
        values, slope = SquaredError()(z, y)
        backprop(slope / len(x), gradient)
        return {"loss": values.mean()}

    return network, objective


@METHODS
def test_ridge_regression_is_solved(method):
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(50, 3)), generator.normal(size=(50, 2))
    network, objective = regression(x, y)
    step = Step(network.parameters, objective, LineSearch(method, 50), steps_per_epoch=1, penalties=[WeightDecay(0.3)])
    step(None)
    expected = np.linalg.solve(2 * x.T @ x / 50 + 0.3 * np.eye(3), 2 * x.T @ y / 50)
    np.testing.assert_allclose(network.layers[0].own["weights"], expected, atol=1e-4)


@METHODS
def test_a_few_iterations_on_each_batch_train_a_deep_autoencoder(method):
    train = data.load("digits")[0].images
    model = Autoencoder([64, 30, 10], code="identity", device="cpu", seed=1)
    start = model.squared_error(train)
    model.fit(train, epochs=3, batch_size=400, optimizer=LineSearch(method, 5))
    assert model.squared_error(train) < 0.6 * start


def test_all_evaluations_of_a_step_see_the_same_noise():
    x = np.random.default_rng(1).random((40, 6))
    model, seen = Autoencoder([6, 4], device="cpu", seed=1, corruption=lambda x, stream: spy(x, stream)), []

    def spy(x, stream):
        corrupted, hit = Masking(0.5)(x, stream)
        seen.append(hit.copy())
        return corrupted, hit

    model.fit(x, epochs=2, batch_size=40, optimizer=LineSearch("CG", 2))
    assert len(seen) > 4
    different = {hit.tobytes() for hit in seen}
    assert len(different) == 2  # one for each of both steps


def test_frozen_layers_stand_still_and_runs_resume(tmp_path):
    x = np.random.default_rng(1).random((60, 6))

    def new():
        model = Autoencoder([6, 4], device="cpu", seed=1, corruption=Masking(0.3))
        model.network.freeze(0)
        return model

    options = {"batch_size": 20, "optimizer": LineSearch("CG", 2), "penalties": [WeightDecay(1e-2)]}
    before = new().parameters.state_dict()
    whole = new().fit(x, epochs=4, **options)
    for name, value in whole.parameters.state_dict().items():
        assert (value == before[name]).all() == name.startswith("0.")
    new().fit(x, epochs=2, callbacks=[Checkpoint(tmp_path)], **options)
    part = new().fit(x, epochs=4, resume=tmp_path, **options)
    np.testing.assert_array_equal(part.parameters.buffer, whole.parameters.buffer)


def test_running_means_follow_each_batch_once():
    train, _, test = data.load("digits")
    x, options = train.images * 16, {"inputs": 64, "device": "cpu", "seed": 1}
    model = Classifier([Dense(30), BatchNorm(momentum=0.5), ReLU()], 10, **options)
    hidden = x[:200] @ model.network.layers[0].own["weights"]
    model.fit(x[:200], train.labels[:200], epochs=1, batch_size=200, optimizer=LineSearch("CG", 3))
    np.testing.assert_allclose(model.parameters["1.mean"], 0.5 * hidden.mean(axis=0), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(model.parameters["1.variance"], 0.5 + 0.5 * hidden.var(axis=0, ddof=1), rtol=1e-3)
    model.fit(x, train.labels, epochs=6, batch_size=500, optimizer=LineSearch("CG", 5))
    assert model.score(test.images * 16, test.labels) > 0.93


def test_classifiers_take_them_too():
    train, _, test = data.load("digits")
    model = Classifier([64, 30], 10, device="cpu", seed=1)
    model.fit(train.images, train.labels, epochs=3, batch_size=len(train), optimizer=LineSearch("L-BFGS-B", 30))
    assert model.score(test.images, test.labels) > 0.9


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: LineSearch("BFGS"), "expected 'CG' or 'L-BFGS-B'"),
        (lambda: LineSearch(iterations=0), "iterations=0; expected a whole number of at least 1"),
        (lambda: fitted(penalties=[L1(0.1)]), "line searches need a smooth loss"),
        (lambda: fitted(penalties=[MaxNorm(1)]), "line searches need a smooth loss"),
        (lambda: fitted(freeze=(0, 1, 2)), r"all layers are frozen; write network.freeze\(..., frozen=False\)"),
    ],
)
def test_bad_input(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def fitted(freeze=(), **options):
    rows, model = np.zeros((4, 6)), Autoencoder([6, 4], device="cpu")
    model.network.freeze(*freeze)
    return model.fit(rows, batch_size=4, optimizer=LineSearch(), **options)
