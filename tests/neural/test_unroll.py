"""unroll: before fine-tuning a network is the model it was made from."""

import numpy as np
import pytest

from ebm import CD, DBM, DBN, RBM, Gaussian, ReLU, ReplicatedSoftmax, Softmax, Stack, data, mean_field
from ebm.training import SGD, Adam
from neural import Autoencoder, Classifier, load, unroll
from neural.layers import Conv2D, ConvTranspose2D, Dense, MeanField, Sigmoid, UnitMean
from neural.losses import BinaryCrossEntropy, CategoricalCrossEntropy, SquaredError

SHAPES = {
    "binary": [9, 7, 5, 3],
    "linear code": [9, 7, Gaussian(3)],
    "rectified and softmax": [9, ReLU(6), Softmax(2, groups=2)],
    "Gaussian data": [Gaussian(9), 6, 4],
    "Gaussian data with precisions": [Gaussian(9, learn_variance=True), 6, 4],
    "softmax data": [Softmax(3), 6, 4],
    "softmax groups": [Softmax(3, groups=3), 6, 4],
}
LOSSES = {"softmax data": CategoricalCrossEntropy, "binary": BinaryCrossEntropy, "linear code": BinaryCrossEntropy}
shapes = pytest.mark.parametrize("name", SHAPES)


def randomized(model, seed=1, scale=0.5):
    generator = np.random.default_rng(seed)
    for part in model.parts.values() if isinstance(model, DBN) else [model.parameters]:
        for name in part:
            part[name][...] = generator.normal(0, scale, part[name].shape)
    return model


def rows_for(units, n=20):
    generator = np.random.default_rng(2)
    if isinstance(units, Softmax):
        return units.states(0, units.number_of_states())[generator.integers(units.number_of_states(), size=n)]
    return generator.normal(size=(n, units.size)) if isinstance(units, Gaussian) else generator.random((n, units.size))


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@shapes
@pytest.mark.parametrize("tied", [False, True])
def test_a_belief_networks_codes_and_reconstructions_are_the_networks(name, tied):
    dbn = randomized(DBN(SHAPES[name], device="cpu", dtype="float64", seed=1))
    x = rows_for(dbn.visible_units)
    before = {k: p.state_dict() for k, p in dbn.parts.items()}
    model = unroll(dbn, tied)
    assert relative(model.encode(x), dbn.transform(x)) < 1e-12
    assert relative(model.reconstruct(x), dbn.reconstruct(x)) < 1e-12
    assert isinstance(model.loss, LOSSES.get(name, SquaredError if "data" in name or "groups" in name else BinaryCrossEntropy))
    own = sum(p.endswith("weights") for p in model.parameters)
    assert own == len(dbn.layers) * (1 if tied else 2)
    model.fit(x, epochs=2, batch_size=5, optimizer=SGD(0.01))
    for k, p in dbn.parts.items():
        for parameter, value in p.state_dict().items():
            np.testing.assert_array_equal(value, before[k][parameter])


@shapes
def test_an_unrolled_activation_has_the_units_mean_and_variance(name):
    dbn = randomized(DBN(SHAPES[name], device="cpu", dtype="float64", seed=1))
    network = unroll(dbn).network
    units = [rbm.hidden.units for rbm in dbn.layers]
    found = [layer for layer in network.layers[: 2 * len(units)] if not isinstance(layer, Dense)]
    z = np.random.default_rng(3).normal(size=(6, 1))
    for layer, u in zip(found, units, strict=True):
        field = np.tile(z, (1, u.size)) * np.arange(1, u.size + 1)
        y, backprop = layer(field)
        np.testing.assert_allclose(y, u.mean(field), rtol=1e-14)
        slopes = np.stack([backprop(np.tile(e, (6, 1)))[:, j] for j, e in enumerate(np.eye(u.size))], axis=1)
        np.testing.assert_allclose(slopes, u.variance(field), rtol=1e-12, atol=1e-15)


def test_a_rbm_and_a_fine_tuned_network_unroll_too():
    rbm = randomized(RBM(9, 5, device="cpu", dtype="float64"))
    x = rows_for(rbm.visible.units)
    model = unroll(rbm)
    np.testing.assert_allclose(model.encode(x), rbm.transform(x), rtol=1e-12)
    np.testing.assert_allclose(model.reconstruct(x), rbm.reconstruct(x), rtol=1e-12)
    dbn = DBN([9, 7, 5], device="cpu", dtype="float64", seed=1)
    dbn.fit(x, epochs=1, batch_size=5).fine_tune(x, epochs=3, batch_size=5, learning=CD(1), optimizer=SGD(0.5))
    assert relative(unroll(dbn).reconstruct(x), dbn.reconstruct(x)) < 1e-12
    with pytest.raises(ValueError, match="way down has weights of its own; write tied=False"):
        unroll(dbn, tied=True)


def test_a_belief_network_with_labels_is_unrolled_up_to_them():
    dbn = randomized(DBN([9, 7, 5], labels=3, device="cpu", dtype="float64", seed=1))
    x = rows_for(dbn.layers[0].visible.units)
    model = unroll(dbn)
    assert model.outputs == 7
    np.testing.assert_allclose(model.encode(x), dbn.transform(x), rtol=1e-12)
    np.testing.assert_allclose(model.reconstruct(x), dbn.reconstruct(x), rtol=1e-12)


@pytest.mark.parametrize("hidden", [(6, 4), (6, Gaussian(3))], ids=str)
def test_a_deep_boltzmann_machine_becomes_a_network_with_its_own_inference(hidden, tmp_path):
    """Codes and reconstructions to the tolerance of mean field; what it infers about h2 comes from the frozen, saved machine."""
    dbm = randomized(DBM([9, *hidden], device="cpu", dtype="float64", seed=1), scale=0.4)
    x = rows_for(dbm.layers[0].units)
    model = unroll(dbm)
    assert relative(model.encode(x), dbm.transform(x)) < 1e-8
    states = mean_field.converged(dbm, x).states
    assert relative(model.reconstruct(x), mean_field.downward(dbm, states)[0]) < 1e-8
    np.testing.assert_allclose(model.reconstruct(x), dbm.reconstruct(x), atol=1e-4)  # whose sweeps are ten
    first = model.network.layers[0]
    assert isinstance(first, MeanField)
    inferred = model.network.evaluate(x, 0, 1)
    np.testing.assert_allclose(inferred, np.hstack([x, states[2]]), atol=1e-8)
    machine = dbm.parameters.state_dict()
    model.fit(x, epochs=3, batch_size=5, optimizer=SGD(0.1))
    for name, value in machine.items():  # neither the source nor the copy has moved
        np.testing.assert_array_equal(dbm.parameters[name], value)
        np.testing.assert_array_equal(first.own[name], value)
    np.testing.assert_array_equal(model.network.evaluate(x, 0, 1), inferred)
    assert (model.encode(x) != unroll(dbm).encode(x)).any()
    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "model.safetensors", device="cpu").reconstruct(x), model.reconstruct(x))


def test_a_stack_of_autoencoders_unrolls_into_a_deep_one():
    train = data.load("digits")[0].images
    second = Autoencoder([40, 20], loss=SquaredError("sigmoid"), device="cpu", seed=2)
    stack = Stack([Autoencoder([64, 40], tied=True, device="cpu", seed=1), second])
    stack.fit(train, epochs=5, optimizer=Adam(3e-3))
    model = unroll(stack)
    np.testing.assert_allclose(model.encode(train), stack.transform(train), rtol=1e-5)
    below = stack.layers[1].reconstruct(stack.layers[0].encode(train))
    np.testing.assert_allclose(model.reconstruct(train), stack.layers[0].decode(below), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"found tied=True for Autoencoder.* weights of its own; write tied=False"):
        unroll(stack, tied=True)
    start = model.squared_error(train)
    assert model.fit(train, epochs=5).squared_error(train) < start


def test_a_stack_of_tied_autoencoders_stays_tied():
    train = data.load("digits")[0].images
    stack = Stack([Autoencoder([64, 40, 30], tied=True, device="cpu"), Autoencoder([30, 20], tied=True, device="cpu", seed=2)])
    stack.fit(train, epochs=3, optimizer=Adam(3e-3))
    model = unroll(stack, tied=True)
    assert sum(name.endswith("weights") for name in model.parameters) == 3
    np.testing.assert_allclose(model.encode(train), stack.transform(train), rtol=1e-5)
    below = stack.layers[1].reconstruct(stack.layers[0].encode(train))
    np.testing.assert_allclose(model.reconstruct(train), stack.layers[0].decode(below), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(unroll(stack).reconstruct(train), model.reconstruct(train), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("top", ["dense", "convolutional"])
def test_a_stack_of_convolutional_autoencoders_unrolls(top):
    train, options = data.load("digits")[0].images, {"device": "cpu", "seed": 1}
    first = Autoencoder([Conv2D(4, 2, stride=2), Sigmoid()], [ConvTranspose2D(1, 2, stride=2)], inputs=(8, 8, 1), **options)
    second = {
        "dense": lambda: Autoencoder([64, 10], **options),
        "convolutional": lambda: Autoencoder(
            [Conv2D(3, 2, stride=2), Sigmoid()], [ConvTranspose2D(4, 2, stride=2)], inputs=(4, 4, 4), **options
        ),
    }[top]()
    stack = Stack([first, second]).fit(train, epochs=2)
    model = unroll(stack)
    np.testing.assert_allclose(model.encode(train), stack.transform(train), rtol=1e-5)
    below = second.reconstruct(first.encode(train))
    np.testing.assert_allclose(model.reconstruct(train), first.decode(below), rtol=1e-5, atol=1e-6)
    start = model.squared_error(train)
    assert model.fit(train, epochs=3).squared_error(train) < start
    with pytest.raises(ValueError, match="weights of its own; write tied=False"):
        unroll(stack, tied=True)


def test_fine_tuning_an_unrolled_network_beats_the_machines():
    train, _, test = data.load("digits")
    dbn = DBN([64, 40, 12], device="cpu", seed=1).fit(train.images, epochs=20, batch_size=50, binarization="stochastic")
    before = ((test.images - dbn.reconstruct(test.images)) ** 2).sum(axis=1).mean()
    model = unroll(dbn)
    assert model.squared_error(test.images) == pytest.approx(before, rel=1e-5)
    assert model.fit(train.images, epochs=60, optimizer=Adam(3e-3)).squared_error(test.images) < 0.7 * before


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: unroll(DBN([ReplicatedSoftmax(9), 4, 3], device="cpu")), "a network knows no document lengths"),
        (lambda: unroll(DBM([9, 4, 3, 2], device="cpu")), "unrolled are chains of two hidden layers without labels"),
        (lambda: unroll(DBM([9, 4, 3], labels=2, device="cpu")), "unrolled are chains of two hidden layers without labels"),
        (lambda: unroll(DBM([9, 4, 3], device="cpu"), tied=True), "write tied=False"),
        (lambda: unroll(DBN([9, 4], labels=2, device="cpu")), "there is no layer to unroll"),
        (
            lambda: unroll(Stack([RBM(9, 4, device="cpu"), Autoencoder([4, 3], device="cpu")])),
            "expected RBMs only, or autoencoders only",
        ),
        (lambda: unroll(Autoencoder([9, 4], device="cpu")), "found Autoencoder; expected a DBN, a DBM, an RBM, or a Stack"),
    ],
)
def test_bad_input(make, match):
    with pytest.raises((ValueError, TypeError), match=match):
        make()


def test_unit_means_are_named_by_their_units():
    layers = unroll(DBN([9, ReLU(6), 4], device="cpu")).network.layers
    assert isinstance(layers[1], UnitMean)
    assert repr(layers[1]) == "UnitMean(ReLU(6))"
    assert isinstance(layers[3], Sigmoid)
    assert isinstance(Classifier.on(unroll(DBN([9, ReLU(6), 4], device="cpu")), 3).network.layers[1], UnitMean)
