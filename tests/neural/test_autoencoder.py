"""Autoencoder: what comes back, gradients of every combination of corruption and penalty, PCA, storage."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from ebm import data
from ebm.compute.random import Stream
from ebm.training import SGD, Adam, Checkpoint, DivergenceError, History, WeightDecay
from ebm.units import Bernoulli
from neural import Autoencoder, LineSearch, load
from neural.corruption import GaussianNoise, Masking, SaltAndPepper, emphasized
from neural.gradient import Gradient
from neural.initializers import He
from neural.layers import BatchNorm, Conv2D, ConvTranspose2D, Dense, Dropout, ReLU, Reshape, Sigmoid, Softmax, UnitMean
from neural.losses import BinaryCrossEntropy, CategoricalCrossEntropy, GaussianLikelihood, SquaredError
from neural.penalties import CodeL1, Contractive, KLSparsity, SquaredSparsity, StochasticContractive


def rows(n=20, width=6, seed=1):
    return np.random.default_rng(seed).random((n, width))


def tiny(**options):
    return Autoencoder([6, 5, 3], device="cpu", dtype="float64", seed=3, **options)


def loss_and_gradient(model, x, draw=1):
    """The objective at the model's parameters with the noise of one draw, and its gradient."""
    stream = Stream(5)
    stream.seek_(draw)
    gradient = Gradient(model.parameters.zeros_like())
    metrics = model._objective(x, stream, gradient)
    gradient.finish()
    return sum(float(v) for v in metrics.values()), gradient.target.buffer


COMPOSITIONS = {
    "plain": {},
    "tied": {"tied": True},
    "linear code": {"code": "identity", "activation": "tanh"},
    "Gaussian noise": {"corruption": GaussianNoise(0.3)},
    "masking": {"corruption": Masking(0.4)},
    "emphasis": {"corruption": SaltAndPepper(0.4, emphasis=(1.0, 0.2))},
    "L1": {"code_penalties": [CodeL1(0.3)]},
    "KL": {"code_penalties": [KLSparsity(0.1, 0.5)]},
    "squared sparsity": {"code_penalties": [SquaredSparsity(0.2, 0.5)]},
    "stochastic contraction": {"code_penalties": [StochasticContractive(0.3, 0.2)]},
    "all at once": {
        "corruption": Masking(0.3, emphasis=(1.0, 0.5)),
        "code_penalties": [CodeL1(0.1), KLSparsity(0.2), StochasticContractive(0.2)],
        "tied": True,
    },
    "squared error": {"loss": SquaredError("sigmoid")},
    "Gaussian likelihood": {"loss": GaussianLikelihood()},
}


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_the_gradient_is_the_derivative_of_the_objective(name):
    model, x = tiny(**COMPOSITIONS[name]), rows()
    check_gradient(model, x)


def check_gradient(model, x):
    generator = np.random.default_rng(2)
    model.parameters.buffer[...] += 0.3 * generator.normal(size=model.parameters.buffer.size)
    _, gradient = loss_and_gradient(model, x)
    direction, start, h = generator.normal(size=gradient.size), model.parameters.buffer.copy(), 1e-6
    values = []
    for sign in (1, -1):
        model.parameters.buffer[...] = start + sign * h * direction
        values.append(loss_and_gradient(model, x)[0])
    assert (values[0] - values[1]) / (2 * h) == pytest.approx(gradient @ direction, rel=1e-6)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "softplus", "elu", "relu", "leakyrelu", "identity"])
@pytest.mark.parametrize("hessian", [0.0, 0.7])
@pytest.mark.parametrize("tied", [False, True])
def test_the_contractive_penalty_is_the_jacobians_norm(activation, hessian, tied):
    """Against the Jacobian by differences, and its gradient against that of the objective."""
    penalty = Contractive(0.5, hessian=hessian, deviation=0.2, samples=2)
    model = Autoencoder(
        [4, 3], activation=activation, tied=tied, device="cpu", dtype="float64", seed=3, code_penalties=[penalty]
    )
    x = rows(7, 4)
    model.parameters.buffer[...] += 0.3 * np.random.default_rng(1).normal(size=model.parameters.buffer.size)

    def jacobians(at):
        h, columns = 1e-6, []
        for i in range(4):
            step = np.zeros(4)
            step[i] = h
            columns.append((model.encode(at + step) - model.encode(at - step)) / (2 * h))
        return np.stack(columns, axis=1)

    stream = Stream(5)
    stream.seek_(1)
    code = model.network(x, None, 0, model.depth)[0]
    value = penalty(model, x, code, stream, Gradient(model.parameters.zeros_like()))[0]
    expected = 0.5 * (jacobians(x) ** 2).sum(axis=(1, 2)).mean()
    if hessian:
        again = Stream(5)
        again.seek_(1)
        moved = [x + 0.2 * again.normal(x.shape, x.dtype) for _ in range(2)]
        expected += hessian * np.mean([((jacobians(x) - jacobians(y)) ** 2).sum(axis=(1, 2)).mean() for y in moved])
    assert float(value) == pytest.approx(expected, rel=1e-6)
    check_gradient(model, x)


def test_the_stochastic_contraction_approaches_the_jacobians_norm():
    model = Autoencoder([4, 3], device="cpu", dtype="float64", seed=3)
    model.parameters.buffer[...] += np.random.default_rng(1).normal(size=model.parameters.buffer.size)
    x = np.repeat(rows(1, 4), 50_000, axis=0)
    code = model.network(x, None, 0, model.depth)[0]
    found, exact = (
        float(p(model, x, code, Stream(1), Gradient(model.parameters.zeros_like()))[0])
        for p in (StochasticContractive(1.0, 1e-3), Contractive(1.0))
    )
    assert found == pytest.approx(exact, rel=0.03)


@pytest.mark.parametrize("layer", [Dropout(0.5), BatchNorm()], ids=repr)
def test_the_stochastic_contraction_is_that_of_the_encoder_as_it_is_evaluated(layer):
    x, penalty = rows(), StochasticContractive(1.0, 0.1)
    model = Autoencoder([Dense(5), Sigmoid(), layer, Dense(3)], [Dense(6)], inputs=6, device="cpu", dtype="float64", seed=3)
    code, back = model.network(x, Stream(7), 0, model.depth)
    noise = 0.1 * Stream(1).normal(x.shape, x.dtype)

    def expected():
        return ((model.encode(x + noise) - model.encode(x)) ** 2).sum() / 0.1**2 / len(x)

    gradient = Gradient(model.parameters.zeros_like())
    value, slope = penalty(model, x, code, Stream(1), gradient)
    if slope is not None:
        back(slope, gradient, through=False)
    gradient.finish()
    assert float(value) == pytest.approx(expected())
    for name in ("0.weights", "3.weights"):
        at, h = (2, 1), 1e-6
        weights, differences = model.parameters[name], []
        for step in (h, -2 * h):
            weights[at] += step
            differences.append(expected())
        weights[at] += h
        assert gradient.target[name][at] == pytest.approx((differences[0] - differences[1]) / (2 * h), rel=1e-5)


def test_sparsity_and_contraction_do_what_they_are_for():
    train = data.load("digits")[0].images
    fitted = {
        name: Autoencoder([64, 40], device="cpu", seed=1, code_penalties=penalties).fit(train, epochs=30, optimizer=Adam(3e-3))
        for name, penalties in {"plain": [], "sparse": [KLSparsity(0.05, 3.0)], "contractive": [Contractive(0.3)]}.items()
    }
    active = {name: model.encode(train).mean() for name, model in fitted.items()}
    assert active["sparse"] < 0.1 < 0.2 < active["plain"]
    noise = 0.05 * np.random.default_rng(1).normal(size=train.shape)
    moves = {
        name: ((model.encode(train + noise) - model.encode(train)) ** 2).sum(axis=1).mean() for name, model in fitted.items()
    }
    assert moves["contractive"] < 0.3 * moves["plain"]


def test_a_linear_autoencoder_finds_the_subspace_of_principal_components():
    generator = np.random.default_rng(3)
    x = (
        generator.normal(size=(400, 8))
        * np.array([5, 4, 3, 1, 0.5, 0.5, 0.3, 0.2])
        @ np.linalg.qr(generator.normal(size=(8, 8)))[0]
    )
    model = Autoencoder([8, 3], activation="identity", loss=SquaredError(), device="cpu", dtype="float64", seed=1)
    model.fit(x, epochs=300, batch_size=100, optimizer=Adam(0.01)).fit(x, epochs=100, batch_size=400, optimizer=SGD(0.002, 0.9))
    centered = x - x.mean(axis=0)
    _, s, axes = np.linalg.svd(centered, full_matrices=False)
    assert np.rad2deg(subspace_angles(model.network.layers[-1].own["weights"].T, axes[:3].T)).max() < 1.0
    assert model.squared_error(x) == pytest.approx((s[3:] ** 2).sum() / len(x), rel=1e-3)


def test_a_denoising_autoencoder_removes_noise():
    train, _, test = data.load("digits")
    model = Autoencoder([64, 100], device="cpu", seed=1, corruption=Masking(0.4), loss=SquaredError("sigmoid"))
    model.fit(train.images, epochs=60, optimizer=Adam(3e-3))
    noisy, _ = Masking(0.4)(test.images, Stream(1))
    before, after = (((x - test.images) ** 2).sum(axis=1).mean() for x in (noisy, model.reconstruct(noisy)))
    assert after < 0.4 * before


def test_corruptions_hit_what_they_say():
    x = np.full((2000, 50), 0.5, np.float32)
    noisy, changed = GaussianNoise(0.2)(x, Stream(1))
    assert changed is None
    assert (noisy - x).std() == pytest.approx(0.2, rel=0.02)
    masked, hit = Masking(0.3)(x, Stream(1))
    assert hit.mean() == pytest.approx(0.3, abs=0.01)
    np.testing.assert_array_equal(masked, np.where(hit > 0, 0, x))
    salted, hit = SaltAndPepper(0.3)(x, Stream(1))
    np.testing.assert_array_equal(salted[hit == 0], 0.5)
    assert set(np.unique(salted[hit > 0])) == {0, 1}
    assert salted[hit > 0].mean() == pytest.approx(0.5, abs=0.01)
    weights = emphasized(Masking(0.3, emphasis=(1.0, 0.25)), hit)
    np.testing.assert_array_equal(weights, np.where(hit > 0, 1, 0.25))
    assert emphasized(Masking(0.3), hit) is None


@pytest.mark.parametrize("shape", [[6, 3], [6, 12], [6, 5, 4, 2]], ids=str)
def test_under_and_overcomplete_and_deep_ones_chain(shape):
    model = Autoencoder(shape, device="cpu", seed=1)
    assert (model.inputs, model.outputs) == (6, shape[-1])
    x = rows()
    np.testing.assert_allclose(model.reconstruct(x), model.decode(model.encode(x)))
    assert model.encode(x).shape == (20, shape[-1])
    assert model.squared_error(x) == pytest.approx(((x - model.reconstruct(x)) ** 2).sum(axis=1).mean(), rel=1e-6)


def test_tied_weights_are_transposes_and_stay_so():
    model = Autoencoder([6, 5, 3], tied=True, device="cpu", seed=1).fit(rows(), epochs=3, batch_size=5)
    dense = [layer for layer in model.network.layers if isinstance(layer, Dense)]
    assert dense[2].own["weights"] is dense[1].own["weights"]
    assert dense[3].own["weights"] is dense[0].own["weights"]
    assert sum(name.endswith("weights") for name in model.parameters) == 2


def test_a_convolutional_one_learns():
    train = data.load("digits")[0].images
    encoder = [Reshape(8, 8, 1), Conv2D(6, 2, stride=2), ReLU(), Reshape(96), Dense(16)]
    decoder = [Dense(96), ReLU(), Reshape(4, 4, 6), ConvTranspose2D(1, 2, stride=2), Reshape(64)]
    model = Autoencoder(encoder, decoder, inputs=64, device="cpu", seed=1)
    start = model.squared_error(train)
    model.fit(train, epochs=10, batch_size=50, optimizer=Adam(3e-3))
    assert model.squared_error(train) < 0.35 * start
    assert model.outputs == 16


def test_a_resumed_run_is_the_unbroken_one(tmp_path):
    def new():
        return Autoencoder([6, 4], device="cpu", seed=1, corruption=Masking(0.3), code_penalties=[CodeL1(0.1)])

    options = {"batch_size": 6, "optimizer": Adam(0.01), "penalties": [WeightDecay(1e-3)]}
    whole = new().fit(rows(), epochs=6, **options)
    new().fit(rows(), epochs=3, callbacks=[Checkpoint(tmp_path)], **options)
    part = new().fit(rows(), epochs=6, resume=tmp_path, **options)
    np.testing.assert_array_equal(part.parameters.buffer, whole.parameters.buffer)


def test_the_checkpoint_of_another_model_changes_nothing(tmp_path):
    x = (rows() > 0).astype(np.float32)
    tiny().fit(x, epochs=1, batch_size=5, callbacks=[Checkpoint(tmp_path)])
    for other, match in (
        (lambda: tiny(activation="tanh"), "with config/network/layers/1/layer 'Sigmoid' where this run has 'Tanh'"),
        (
            lambda: tiny(loss=SquaredError("sigmoid")),
            "with config/loss .*BinaryCrossEntropy.* where this run has .*SquaredError",
        ),
    ):
        model = other()
        before = model.parameters.buffer.copy()
        with pytest.raises(ValueError, match=match):
            model.fit(x, epochs=2, batch_size=5, resume=tmp_path)
        np.testing.assert_array_equal(model.parameters.buffer, before)
    model = tiny()
    model.network.freeze(0)
    model.fit(x, epochs=2, batch_size=5, resume=tmp_path)  # how it is trained is free


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_diverged_one_is_called_so():
    model = tiny(activation="relu", loss=SquaredError())
    with pytest.raises(DivergenceError, match="Training diverged: lower the learning rate"):
        model.fit(rows(), epochs=5, batch_size=5, optimizer=SGD(1e6))
    with pytest.raises(DivergenceError, match="training has diverged"):
        model.reconstruct(rows())


def test_penalties_of_one_class_add_up():
    x, both, one = (rows() > 0).astype(np.float32), History(), History()
    tiny(code_penalties=[CodeL1(0.1), CodeL1(0.2)]).fit(x, epochs=1, batch_size=20, callbacks=[both])
    tiny(code_penalties=[CodeL1(0.3)]).fit(x, epochs=1, batch_size=20, callbacks=[one])
    assert both.rows[0]["CodeL1"] == pytest.approx(one.rows[0]["CodeL1"], rel=1e-6)


def test_validation_is_measured_without_corruption():
    history, model = History(), tiny(corruption=Masking(0.3))
    model.fit(rows(), epochs=1, batch_size=5, validation=rows(seed=2), callbacks=[history])
    x = rows(seed=2)
    p = model.reconstruct(x)
    assert history.rows[-1]["validation_squared_error"] == pytest.approx(model.squared_error(x))
    expected = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1).mean()
    assert history.rows[-1]["validation_loss"] == pytest.approx(expected)


def test_a_saved_one_is_the_same(tmp_path):
    model = Autoencoder([6, 5, 3], tied=True, loss=SquaredError("sigmoid"), code="tanh", device="cpu", seed=1).fit(
        rows(), epochs=1, batch_size=5
    )
    model.network.freeze(0)
    model.save(tmp_path / "model.safetensors")
    for loaded in (
        load(tmp_path / "model.safetensors", device="cpu"),
        Autoencoder.load(tmp_path / "model.safetensors", device="cpu"),
    ):
        assert repr(loaded) == repr(model)
        np.testing.assert_array_equal(loaded.reconstruct(rows()), model.reconstruct(rows()))
        assert loaded.parameters.segments["0.weights"].frozen


def test_training_on_a_strict_device_waits_for_nothing_and_equals_the_cpus(strict):
    from neural.step import Step

    found = {}
    for device in ("cpu", strict):
        penalties = [Contractive(0.1, 0.1), KLSparsity(0.1)]
        options = {"corruption": SaltAndPepper(0.3, (1, 0.5)), "code_penalties": penalties}
        model = Autoencoder([6, 5], device=device, dtype="float64", seed=1, **options)
        model.parameters.load_state_dict(Autoencoder([6, 5], device="cpu", dtype="float64", seed=1).parameters.state_dict())
        step = Step(model.parameters, model._objective, SGD(0.1, 0.5), steps_per_epoch=3, seed=2)
        x = model.device.asarray(rows())
        step(x)
        syncs, uploads = strict.syncs, strict.uploads
        step(x)
        assert (strict.syncs, strict.uploads) == (syncs, uploads)
        found[model.device.name] = model.parameters.state_dict()
    for name, value in found["cpu"].items():
        np.testing.assert_allclose(found["strict"][name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Autoencoder([6]), "expected two sizes or more"),
        (
            lambda: Autoencoder([Dense(3)], inputs=6),
            "expected sizes alone, or layers for the encoder, layers for the decoder, and inputs=",
        ),
        (
            lambda: Autoencoder([Dense(3), Sigmoid()], [Dense(6), Sigmoid()], inputs=6),
            "has the output nonlinearity in it; leave the layer out",
        ),
        (
            lambda: Autoencoder([Dense(3)], [Dense(5)], inputs=6),
            r"rows of \(5,\); BinaryCrossEntropy.* needs 6: let it end with Dense\(6\)\n  the chain: \(6,\) -> Dense\(size=3\) -> Dense",
        ),
        (lambda: ending(Sigmoid(), Reshape(2, 3)), r"found Sigmoid\(\) before BinaryCrossEntropy"),
        (lambda: ending(Sigmoid(), Dropout(0.1)), r"found Sigmoid\(\) before BinaryCrossEntropy"),
        (lambda: ending(ReLU()), r"found ReLU\(\) before BinaryCrossEntropy"),
        (lambda: ending(UnitMean(Bernoulli(6))), r"found UnitMean\(Bernoulli\(6\)\) before BinaryCrossEntropy"),
        (lambda: ending(Softmax(), loss=SquaredError("sigmoid")), r"found Softmax\(\) before SquaredError"),
        (lambda: Autoencoder(64), "found encoder=64; expected sizes"),
        (lambda: Autoencoder([6, 3], [3, 6]), r"found encoder=\[6, 3\], decoder=\[3, 6\]"),
        (lambda: ending(tied=True), "tied=True.* beside layers, which have their own; leave them out"),
        (lambda: ending(code="identity"), "code='identity'.* beside layers"),
        (lambda: ending(activation="relu"), "activation='relu'.* beside layers"),
        (lambda: ending(initial=He()), r"initial=He\(gain=1.0\) beside layers"),
        (lambda: Autoencoder([6, 3], loss="SquaredError"), "found loss='SquaredError'; expected a loss of neural.losses"),
        (lambda: Autoencoder([6, 3], loss=SquaredError), "expected a loss of neural.losses"),
        (lambda: Autoencoder([6, 3], initial="he"), r"found initial='he'; expected .*, such as He\(\)"),
        (lambda: Autoencoder([6, 3], code_penalties=Contractive(0.1)), r"expected a list .* such as \[CodeL1\(0.1\)\]"),
        (lambda: Autoencoder([6, 3], code_penalties=[Contractive]), "expected a list of those of neural.penalties"),
        (lambda: Autoencoder([6, 3], corruption=Masking), r"expected one of neural.corruption, such as Masking\(0.25\)"),
        (lambda: Autoencoder([6, 3], corruption=0.3), "found corruption=0.3; expected one of neural.corruption"),
        (lambda: contraction_of_a_deep_encoder(), r"write StochasticContractive\(strength=1.0\)"),
        (lambda: tiny().squared_error(rows().tolist()), r"write np.asarray\(rows, dtype=np.float32\)"),
        (lambda: tiny().squared_error(rows()[:0]), "rows is empty"),
        (lambda: Contractive(-1.0), "expected strength >= 0"),
        (lambda: Contractive(1.0, hessian=1.0, samples=0), "samples=0; expected a whole number of at least 1"),
        (lambda: CodeL1(-1.0), "expected strength >= 0"),
        (
            lambda: tiny(loss=SquaredError("sigmoid")).fit(2 + rows()),
            r"SquaredError\(output_by='sigmoid'\) is for targets in \[0, 1\]",
        ),
        (
            lambda: tiny(loss=SquaredError()).fit(2 + rows(), binarization="stochastic"),
            r"expected values in \[0.0, 1.0\]",
        ),
        (lambda: tiny(loss=SquaredError()).fit(rows(), batch_size=5, callbacks=History()), r"write callbacks=\[...\]"),
        (lambda: tiny(loss=SquaredError()).fit(rows(), batch_size=5, callbacks=[History]), "made from ebm.training.Callback"),
        (
            lambda: tiny(loss=SquaredError()).fit(rows(), batch_size=5, penalties=WeightDecay(0.1)),
            r"write penalties=\[WeightDecay\(rate=0.1\)\]",
        ),
        (
            lambda: tiny().fit(rows() * 0, batch_size=5, optimizer=LineSearch(), penalties=WeightDecay(0.1)),
            r"write penalties=\[WeightDecay\(rate=0.1\)\]",
        ),
        (lambda: SquaredSparsity(0.1, -1.0), "expected strength >= 0"),
        (lambda: Autoencoder([6, 3], tied=True, loss=GaussianLikelihood()), "write tied=False"),
        (lambda: Autoencoder([6, 5, 3], code_penalties=[Contractive(0.1)]), r"write StochasticContractive\(strength=0.1\)"),
        (
            lambda: Autoencoder([6, 3], activation="relu", code_penalties=[KLSparsity()]),
            "for codes of ReLU.*expected probabilities",
        ),
        (lambda: Autoencoder([6, 3], activation="sinus"), "found activation 'sinus'; expected one of"),
        (
            lambda: tiny().fit(2 * rows()),
            r"BinaryCrossEntropy\(label_smoothing=0.0\) is for .*data\[\d+, \d+\] is 1\.\d+; expected .*rescale them",
        ),
        (lambda: tiny(loss=CategoricalCrossEntropy()).fit(rows()), "expects one-hot rows"),
        (lambda: tiny().fit(rows(width=5)), "5 columns; expected 6"),
        (lambda: tiny().encode(rows(width=5)), "5 columns; expected 6"),
        (lambda: tiny().fit(rows() * np.nan), "nan"),
        (lambda: Masking(1.0), "expected 0 < share < 1"),
        (lambda: SaltAndPepper(0.5, emphasis=(1.0, -1.0)), "two weights >= 0"),
        (lambda: GaussianNoise(0), "expected deviation > 0"),
        (lambda: KLSparsity(0.0), "expected 0 < target < 1"),
        (lambda: StochasticContractive(1.0, 0.0), "deviation > 0"),
        (lambda: BinaryCrossEntropy(label_smoothing=1.0), "expected 0 <= label_smoothing < 1"),
    ],
)
def test_bad_input(make, match):
    with pytest.raises((ValueError, TypeError), match=match):
        make()


def ending(*layers, **options):
    """With a decoder that ends so."""
    return Autoencoder([Dense(3)], [Dense(6), *layers], inputs=6, device="cpu", **options)


def contraction_of_a_deep_encoder():
    """Penalties may be set later than in the constructor, as of an unrolled machine."""
    model = tiny()
    model.code_penalties = [Contractive(1.0)]
    model.fit(rows())
