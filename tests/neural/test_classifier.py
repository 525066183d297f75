"""Classifier: what it learns from, frozen layers, reports, storage."""

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from ebm import DBM, DBN, PCD, Stack, data
from ebm.training import SGD, Adam, Checkpoint, History
from ebm.units import Gaussian
from neural import Autoencoder, Classifier, LineSearch, load, unroll
from neural.layers import (
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    MaxPool,
    MeanField,
    ReLU,
    Reshape,
    Sigmoid,
    Softmax,
)
from neural.losses import BinaryCrossEntropy, SquaredError

TRAIN, VALIDATION, TEST = data.load("digits")


@pytest.fixture(scope="module")
def encoders():
    """Models that have learned from the images alone."""
    images = TRAIN.images
    options = {"epochs": 15, "batch_size": 50, "binarization": "stochastic"}
    autoencoders = [Autoencoder([64, 60], device="cpu", seed=1), Autoencoder([60, 40], device="cpu", seed=2)]
    return {
        "DBN": unroll(DBN([64, 60, 40], device="cpu", seed=1).fit(images, **options)),
        "DBM": unroll(DBM([64, 60, 40], device="cpu", seed=1).fit(images, learning=PCD(2), centered=True, **options)),
        "stacked autoencoder": unroll(Stack(autoencoders).fit(images, epochs=15)),
    }


@pytest.mark.parametrize("name", ["DBN", "DBM", "stacked autoencoder"])
def test_fine_tuning_what_was_learned_without_labels(name, encoders):
    model = Classifier.on(encoders[name], 10, seed=1)
    codes = encoders[name].encode(TEST.images)
    np.testing.assert_allclose(model.network.evaluate(TEST.images, 0, len(model.network.layers) - 1), codes, rtol=1e-6)
    model.fit(TRAIN.images, TRAIN.labels, epochs=40, top_epochs=20, optimizer=Adam(5e-3))
    assert model.score(TEST.images, TEST.labels) > 0.9
    np.testing.assert_array_equal(encoders[name].encode(TEST.images), codes)  # the source is as it was


@pytest.mark.parametrize(("name", "place"), [("DBN", 0), ("DBM", 1)])
def test_dropout_of_inputs_comes_before_the_first_layer_that_learns(name, place, encoders):
    plain, dropped = (Classifier.on(encoders[name], 10, input_dropout=rate, seed=1) for rate in (0.0, 0.5))
    kinds = [type(layer).__name__ for layer in plain.network.layers]
    assert [type(layer).__name__ for layer in dropped.network.layers] == [*kinds[:place], "Dropout", *kinds[place:]]
    assert dropped.network.layers[place].rate == 0.5
    np.testing.assert_array_equal(dropped.predict_proba(TEST.images), plain.predict_proba(TEST.images))


def test_dropout_comes_after_each_activation():
    layers = [Reshape(8, 8, 1), Conv2D(4, 3, padding=1), ReLU(), MaxPool(2), Reshape(64), Dense(10), Sigmoid()]
    source = Autoencoder(layers, [Dense(64)], inputs=64, device="cpu")
    found = [type(layer).__name__ for layer in Classifier.on(source, 10, dropout=0.5).network.layers]
    assert found == ["Reshape", "Conv2D", "ReLU", "Dropout", "MaxPool", "Reshape", "Dense", "Sigmoid", "Dropout", "Dense"]
    units = Gaussian(6, learn_variance=True)
    found = Classifier.on(unroll(DBN([9, units, 4], device="cpu")), 10, dropout=0.5).network.layers
    assert [type(layer).__name__ for layer in found][:3] == ["Dense", "UnitMean", "Dropout"]


def test_a_code_of_shares_carries_a_classifier():
    """Though layers that end with a softmax are taken for a mistake where they are given by themselves."""
    source = Autoencoder([64, 20, 10], code=Softmax(), device="cpu")
    model = Classifier.on(source, 10)
    assert [type(layer).__name__ for layer in model.network.layers] == ["Dense", "Sigmoid", "Dense", "Softmax", "Dense"]


def test_images_are_flattened_before_the_top():
    source = Autoencoder([Conv2D(4, 2, stride=2), ReLU()], [ConvTranspose2D(1, 2, stride=2)], inputs=(8, 8, 1), device="cpu")
    model = Classifier.on(source, 10, seed=1)
    np.testing.assert_array_equal(model.network.evaluate(TEST.images, 0, 3), source.encode(TEST.images))
    assert model.fit(TRAIN.images, TRAIN.labels, epochs=15, optimizer=Adam(5e-3)).score(TEST.images, TEST.labels) > 0.9


def test_dropout_of_inputs_stays_there_where_the_source_is_frozen():
    source = Autoencoder([64, 20, 10], device="cpu", seed=1)
    source.network.freeze(0)
    layers = Classifier.on(source, 10, input_dropout=0.5, seed=1).network.layers
    assert [type(layer).__name__ for layer in layers[:2]] == ["Dropout", "Dense"]


def test_the_first_epochs_train_the_top_alone(encoders):
    model = Classifier.on(encoders["DBN"], 10, seed=1)
    before = model.parameters.state_dict()
    model.fit(TRAIN.images, TRAIN.labels, epochs=0, top_epochs=3)
    moved = {name for name, value in model.parameters.state_dict().items() if (value != before[name]).any()}
    assert moved == {"4.weights", "4.bias"}
    assert not any(segment.frozen for segment in model.parameters.segments.values())


def test_frozen_layers_stand_still_and_are_computed_once(encoders, monkeypatch):
    model = Classifier.on(encoders["DBN"], 10, dropout=0.3, seed=1)
    assert [type(layer).__name__ for layer in model.network.layers] == [
        "Dense",
        "Sigmoid",
        "Dropout",
        "Dense",
        "Sigmoid",
        "Dropout",
        "Dense",
    ]
    model.network.freeze(0)
    before, calls = model.parameters.state_dict(), []
    forward = Dense.forward

    def counted(self, x, training):
        calls.append((self.names["weights"], x.shape[0]))
        return forward(self, x, training)

    monkeypatch.setattr(Dense, "forward", counted)
    model.fit(TRAIN.images, TRAIN.labels, epochs=2, batch_size=100)
    assert sum(n for name, n in calls if name == "0.weights") == len(TRAIN.images)
    moved = {name for name, value in model.parameters.state_dict().items() if (value != before[name]).any()}
    assert moved == {"3.weights", "3.bias", "6.weights", "6.bias"}


def test_a_network_of_random_weights_learns_as_scikit_learns_does():
    """The same layers, optimizer, batches of 100 and epochs: the same test accuracy to two points."""
    model = Classifier([64, 50], 10, activation="relu", device="cpu", seed=1)
    model.fit(TRAIN.images, TRAIN.labels, epochs=60, batch_size=100, optimizer=Adam(3e-3))
    theirs = MLPClassifier(
        (50,), batch_size=100, learning_rate_init=3e-3, max_iter=60, alpha=0, tol=0, n_iter_no_change=60, random_state=1
    )
    with pytest.warns(UserWarning, match="Maximum iterations"):
        theirs.fit(TRAIN.images, TRAIN.labels)
    assert model.score(TEST.images, TEST.labels) == pytest.approx(theirs.score(TEST.images, TEST.labels), abs=0.02)


def test_convolutions_normalization_and_dropout():
    layers = [Reshape(8, 8, 1), Conv2D(12, 3, padding=1), BatchNorm(), ReLU(), MaxPool(2), Reshape(192), Dropout(0.2)]
    model = Classifier(layers, 10, inputs=64, device="cpu", seed=1)
    model.fit(TRAIN.images, TRAIN.labels, epochs=15, optimizer=Adam(3e-3))
    assert model.score(TEST.images, TEST.labels) > 0.95


def test_probabilities_reports_and_confusion():
    model = Classifier([64, 30], 10, device="cpu", seed=1).fit(TRAIN.images, TRAIN.labels, epochs=20, optimizer=Adam(0.01))
    p = model.predict_proba(TEST.images)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    predicted = model.predict(TEST.images)
    np.testing.assert_array_equal(predicted, p.argmax(axis=1))
    counts = model.confusion(TEST.images, TEST.labels)
    for i in range(10):
        for j in range(10):
            assert counts[i, j] == ((TEST.labels == i) & (predicted == j)).sum()
    assert model.score(TEST.images, TEST.labels) == pytest.approx(counts.trace() / counts.sum())
    report = model.report(TEST.images, TEST.labels)
    recall = counts[3, 3] / counts[3].sum()
    assert f"{recall:.4f}" in next(line for line in report.splitlines() if line.strip().startswith("3 "))


def softmax_regression(x, weights, bias, target):
    """Its mean loss, and the derivatives by x, weights and bias."""
    z = x @ weights + bias
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    slope = (p - target) / len(x)
    return -np.log((p * target).sum(axis=1)).mean(), slope @ weights.T, x.T @ slope, slope.sum(axis=0)


@pytest.mark.parametrize("device", ["cpu", "strict"])
@pytest.mark.parametrize("distance", [0.0, 0.07])
def test_half_of_an_adversarial_step_is_where_the_loss_grows(distance, device, request):
    """A step of softmax regression, and the same by NumPy."""
    if device == "strict":
        device = request.getfixturevalue("strict")
    images, labels, rate, history = TRAIN.images[:50].astype(float), TRAIN.labels[:50], 0.3, History()
    model = Classifier([64], 10, device=device, dtype="float64", seed=1)
    before = [model.device.to_host(model.parameters[f"0.{name}"]) for name in ("weights", "bias")]
    options = {"epochs": 1, "batch_size": 50, "optimizer": SGD(rate), "callbacks": [history]}
    model.fit(images, labels, adversarial=distance, **options)
    target = np.eye(10)[labels]
    loss, dx, *gradient = softmax_regression(images, *before, target)
    moved = softmax_regression(images + distance * np.sign(dx), *before, target)
    assert history.rows[-1]["loss"] == pytest.approx((loss + moved[0]) / 2, rel=1e-12)
    assert (moved[0] > loss + 0.1) == (distance > 0)
    for k, name in enumerate(("weights", "bias")):
        expected = before[k] - rate * (gradient[k] + moved[2 + k]) / 2
        np.testing.assert_allclose(model.device.to_host(model.parameters[f"0.{name}"]), expected, rtol=1e-12, atol=1e-15)


def test_adversarial_training_helps_against_what_it_trains_with():
    """On test images moved against each model, whose own error it leaves about as it is."""
    errors = {}
    for distance in (0.0, 0.1):
        model = Classifier([64, 50], 10, activation="relu", device="cpu", dtype="float64", seed=1)
        model.fit(TRAIN.images, TRAIN.labels, epochs=40, adversarial=distance, optimizer=Adam(3e-3))
        images = TEST.images.astype(float)
        z, backprop = model.network(images)
        moved = images + 0.1 * np.sign(backprop(model.loss(z, np.eye(10)[TEST.labels])[1]))
        errors[distance] = [1 - model.score(rows, TEST.labels) for rows in (images, moved)]
    assert errors[0.1][1] < errors[0.0][1] / 1.5
    assert errors[0.1][0] < errors[0.0][0] + 0.01


def test_what_fixed_layers_make_of_rows_is_moved(encoders):
    """Pixels and what the machine infers of them, both from below the dropout of inputs; and a frozen layer's outputs."""
    model = Classifier.on(encoders["DBM"], 10, input_dropout=0.1, seed=1)
    seen = []
    forward = Dropout.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dropout, "forward", lambda self, x, training: seen.append(x) or forward(self, x, training))
        model.fit(TRAIN.images[:60], TRAIN.labels[:60], epochs=1, batch_size=60, adversarial=0.25)
    plain, moved = seen
    assert plain.shape == (60, 64 + 40)
    distances = np.unique(np.abs(moved - plain).round(6))
    np.testing.assert_array_equal(distances, np.array([0, 0.25], np.float32))  # none where the input is dropped


def test_adversarial_training_goes_on_where_it_was(tmp_path):
    def new():
        return Classifier([64, 20], 10, dropout=0.2, device="cpu", seed=1)

    options = {"batch_size": 100, "adversarial": 0.1}
    whole = new().fit(TRAIN.images, TRAIN.labels, epochs=4, **options)
    new().fit(TRAIN.images, TRAIN.labels, epochs=2, callbacks=[Checkpoint(tmp_path)], **options)
    part = new().fit(TRAIN.images, TRAIN.labels, epochs=4, resume=tmp_path, **options)
    np.testing.assert_array_equal(part.parameters.buffer, whole.parameters.buffer)


def test_the_first_epochs_are_not_left_out_where_there_is_nothing_to_resume(tmp_path):
    def run(folder, resume):
        model = Classifier([64, 20], 10, device="cpu", seed=1)
        options = {"epochs": 2, "top_epochs": 2, "batch_size": 100, "callbacks": [Checkpoint(folder)]}
        return model.fit(TRAIN.images, TRAIN.labels, resume=resume, **options).parameters.buffer

    plain = run(tmp_path / "a", None)
    (tmp_path / "b").mkdir()
    with pytest.warns(UserWarning, match="found no checkpoint in .*: training starts at its beginning"):
        np.testing.assert_array_equal(run(tmp_path / "b", tmp_path / "b"), plain)
    np.testing.assert_array_equal(run(tmp_path / "b", tmp_path / "b"), plain)
    with pytest.raises(FileNotFoundError):
        run(tmp_path / "c", tmp_path / "c")


def test_validation_metrics_and_resumption(tmp_path):
    def new():
        return Classifier([64, 20], 10, dropout=0.2, device="cpu", seed=1)

    history = History()
    options = {"batch_size": 100, "optimizer": Adam(0.01)}
    held = VALIDATION.images, VALIDATION.labels
    whole = new().fit(TRAIN.images, TRAIN.labels, epochs=4, validation=held, callbacks=[history], **options)
    last = history.rows[-1]
    assert last["validation_error"] == pytest.approx(1 - whole.score(VALIDATION.images, VALIDATION.labels))
    p = whole.predict_proba(VALIDATION.images)[np.arange(len(VALIDATION)), VALIDATION.labels]
    assert last["validation_loss"] == pytest.approx(-np.log(p).mean(), rel=1e-4)
    new().fit(TRAIN.images, TRAIN.labels, epochs=2, callbacks=[Checkpoint(tmp_path)], **options)
    part = new().fit(TRAIN.images, TRAIN.labels, epochs=4, resume=tmp_path, **options)
    np.testing.assert_array_equal(part.parameters.buffer, whole.parameters.buffer)


def test_mean_field_is_computed_once_for_each_row(encoders, monkeypatch):
    rows = []
    forward = MeanField.forward
    monkeypatch.setattr(MeanField, "forward", lambda layer, x, training: rows.append(len(x)) or forward(layer, x, training))
    model, history = Classifier.on(encoders["DBM"], 10, dropout=0.1), History()
    held = VALIDATION.images, VALIDATION.labels
    model.fit(TRAIN.images, TRAIN.labels, epochs=3, validation=held, callbacks=[history])
    assert sum(rows) == len(TRAIN) + len(VALIDATION)
    assert history.rows[-1]["validation_error"] == pytest.approx(1 - model.score(*held))


def test_a_saved_one_is_the_same(tmp_path, encoders):
    model = Classifier.on(encoders["DBM"], 10, dropout=0.1).fit(TRAIN.images, TRAIN.labels, epochs=1)
    model.save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors", device="cpu")
    assert repr(loaded) == repr(model)
    np.testing.assert_array_equal(loaded.predict_proba(TEST.images), model.predict_proba(TEST.images))
    with pytest.raises(ValueError, match="holds a Classifier; expected a Autoencoder"):
        Autoencoder.load(tmp_path / "model.safetensors")


def test_squared_error_of_one_hot_rows_is_for_comparison():
    model = Classifier([64, 30], 10, loss=SquaredError("sigmoid"), device="cpu", seed=1)
    model.fit(TRAIN.images, TRAIN.labels, epochs=30, optimizer=Adam(0.01))
    assert model.score(TEST.images, TEST.labels) > 0.85
    with pytest.raises(TypeError, match=r"outputs are no probabilities; write predict\(rows\)"):
        model.predict_proba(TEST.images)


def small():
    return Classifier([64, 5], 10, device="cpu")


@pytest.mark.parametrize(
    ("act", "match"),
    [
        (lambda: small().fit(TRAIN.images, TRAIN.labels + 1), r"is 10; expected whole numbers from 0 to 9: write labels - 1"),
        (lambda: small().fit(TRAIN.images, TRAIN.labels[:, None]), r"write labels.ravel\(\)"),
        (lambda: small().fit(TRAIN.images, TRAIN.labels + 0.5), r"write np.unique\(labels, return_inverse=True\)\[1\]"),
        (
            lambda: small().fit(TRAIN.images, TRAIN.labels, optimizer=SGD(lambda epoch: 1 - 30 * epoch)),
            "found learning_rate=-1.* after .* epochs; expected a schedule of finite numbers >= 0",
        ),
        (lambda: small().fit(TRAIN.images, TRAIN.labels - 1), "is -1; expected"),
        (lambda: small().fit(TRAIN.images, TRAIN.labels[:-1]), "whole numbers, one for each row"),
        (lambda: small().fit(TRAIN.images, TRAIN.labels * 1.0), r"found float64.*write labels.astype\(int\)"),
        (lambda: small().fit(TRAIN.images, np.eye(10)[TRAIN.labels]), r"write labels.argmax\(axis=1\)"),
        (lambda: small().fit(TRAIN.images, TRAIN.labels.astype(str)), r"write np.unique\(labels, return_inverse=True\)\[1\]"),
        (lambda: small().fit(TRAIN.images, TRAIN.labels, validation=TEST.images), r"write validation=\(rows, labels\)"),
        (lambda: small().fit(TRAIN.images, TRAIN.labels, validation=(TEST.images,)), r"write validation=\(rows, labels\)"),
        (
            lambda: small().fit(TRAIN.images, TRAIN.labels, adversarial=-0.1),
            "found adversarial=-0.1; expected a number >= 0, such",
        ),
        (lambda: small().fit(TRAIN.images, TRAIN.labels, adversarial=np.nan), "found adversarial=nan"),
        (lambda: small().fit(TRAIN.images, TRAIN.labels, adversarial=np.inf), "found adversarial=inf"),
        (
            lambda: small().fit(TRAIN.images, TRAIN.labels, adversarial=0.1, optimizer=LineSearch()),
            r"adversarial=0.1 with LineSearch\(.*; write SGD or Adam",
        ),
        (lambda: small().score(TEST.images.tolist(), TEST.labels), r"write np.asarray\(rows"),
        (lambda: small().confusion(TEST.images, TEST.labels + 5), r"expected whole numbers from 0 to 9"),
        (lambda: small().report(TEST.images, TEST.labels + 5), r"expected whole numbers from 0 to 9"),
        (lambda: small().report(TEST.images, TEST.labels[1:]), "one for each row"),
        (
            lambda: Classifier([64, 5], 10, loss=BinaryCrossEntropy()),
            r"expected CategoricalCrossEntropy\(\), or SquaredError\(\)",
        ),
        (lambda: Classifier([Dense(10), Softmax()], 10, inputs=64), "belongs to the loss, after a Dense layer that is added"),
        (lambda: Classifier([Dense(5)], 10, inputs=64, dropout=0.5), r"dropout=0.5 beside layers.* put Dropout\(rate\) among"),
        (lambda: Classifier.on(DBN([64, 5], device="cpu"), 10), r"found DBN; expected an Autoencoder: .*unroll\(model\)"),
        (lambda: small().fit(TRAIN.images[:, :60], TRAIN.labels), "60 columns; expected 64"),
        (lambda: small().predict(TRAIN.images[:, :60]), "60 columns; expected 64"),
        (lambda: Classifier([64], 1), "classes=1; expected a whole number of at least 2"),
        (lambda: Classifier([64, 5], 10, inputs=64), "leave inputs out"),
        (lambda: Classifier([Dense(3)], 10), "expected sizes, or layers and inputs="),
        (lambda: Classifier([Reshape(8, 8, 1)], 10, inputs=64), r"the chain so far.*Reshape\(8, 8, 1\)"),
        (
            lambda: Classifier([BatchNorm()], 10, inputs=64).fit(TRAIN.images, TRAIN.labels, batch_size=1),
            "batches of two rows or more",
        ),
    ],
)
def test_bad_input(act, match):
    with pytest.raises((ValueError, TypeError), match=match):
        act()
