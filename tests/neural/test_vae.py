"""VAE: bounds against exact likelihoods, gradients of every objective, what codes are for, storage."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from ebm import data
from ebm.compute.random import Stream
from ebm.training import SGD, Adam, Checkpoint, History, Linear
from neural import VAE, load
from neural.gradient import Gradient
from neural.latent import attribute, interpolate, manifold, traverse
from neural.layers import BatchNorm, Conv2D, ConvTranspose2D, Dense, GaussianSample, ReLU, Reshape
from neural.losses import BinaryCrossEntropy, GaussianLikelihood, SquaredError
from neural.network import Network
from neural.penalties import CodeL1
from neural.step import Step
from neural.vae import Elbo, GrayLevelsWarning, _Objective, _shares


def bits(n=20, width=6, seed=1):
    return (np.random.default_rng(seed).random((n, width)) < 0.4).astype(float)


def tiny(**options):
    return VAE([6, 5], **{"latent": 2, "device": "cpu", "dtype": "float64", "seed": 3} | options)


def linear(latent=2, inputs=4, variance=0.3):
    """A linear-Gaussian model with arbitrary weights, and its exact ln p(x)."""
    model = VAE([inputs], latent=latent, loss=GaussianLikelihood(variance), device="cpu", dtype="float64", seed=1)
    rng = np.random.default_rng(4)
    model.parameters.buffer[...] = rng.normal(0, 0.5, model.parameters.buffer.size)
    decoder = model.network.layers[-1].own
    covariance = decoder["weights"].T @ decoder["weights"] + variance * np.eye(inputs)
    exact = multivariate_normal(decoder["bias"], covariance)
    return model, exact


def with_the_exact_posterior(model):
    """Let the encoder of a linear-Gaussian model say N((W W^T / s^2 + 1)^-1 W (x - b) / s^2, ...), where that has no correlations."""
    decoder, encoder = model.network.layers[-1].own, model.network.layers[0].own
    rows = decoder["weights"]
    rows[...] = np.linalg.qr(rows.T)[0].T * np.array([[1.3], [0.6]])
    variance = 1 / ((rows**2).sum(axis=1) / model.loss.variance + 1)
    to_mean = rows.T * variance / model.loss.variance
    encoder["weights"][...] = np.concatenate([to_mean, 0 * to_mean], axis=1)
    encoder["bias"][...] = np.concatenate([-decoder["bias"] @ to_mean, np.log(variance)])
    return multivariate_normal(decoder["bias"], rows.T @ rows + model.loss.variance * np.eye(rows.shape[1]))


# Likelihoods.


def test_importance_sampling_finds_the_likelihood_of_a_linear_model():
    model, _ = linear()
    exact = with_the_exact_posterior(model)
    model.network.layers[0].own["bias"][...] += [0.2, -0.3, 0.4, 0.3]  # another mean, and wider
    x = exact.rvs(50, random_state=5)
    found, errors = model.log_likelihood(x, samples=2000, seed=2)
    expected = exact.logpdf(x)
    assert 1e-3 < errors.mean() < 0.1
    deviations = (found - expected) / errors
    assert np.abs(deviations).max() < 5
    assert 0.5 < np.sqrt((deviations**2).mean()) < 1.6


def test_with_the_exact_posterior_each_draw_is_the_likelihood():
    model, _ = linear()
    exact = with_the_exact_posterior(model)
    x = exact.rvs(30, random_state=5)
    found, errors = model.log_likelihood(x, samples=3)
    np.testing.assert_allclose(found, exact.logpdf(x), rtol=1e-10)
    assert errors.max() < 1e-6
    # and the mean of the bound over draws is the likelihood too
    bounds = np.mean([model.elbo(x, seed=seed).bound for seed in range(400)], axis=0)
    np.testing.assert_allclose(bounds, exact.logpdf(x), atol=0.5)
    assert bounds.mean() == pytest.approx(exact.logpdf(x).mean(), abs=0.05)


def test_the_elbo_is_its_parts_and_below_the_likelihood():
    model, exact = linear()
    x = exact.rvs(200, random_state=5)
    found = model.elbo(x)
    np.testing.assert_allclose(found.bound, -found.reconstruction - found.latent)
    mean, deviation = model.posterior(x)
    divergence = 0.5 * (mean**2 + deviation**2 - 1 - 2 * np.log(deviation)).sum(axis=1)
    np.testing.assert_allclose(found.latent, divergence)
    assert found.bound.mean() < exact.logpdf(x).mean() - 0.1
    assert isinstance(found, Elbo)


def test_more_samples_make_a_tighter_bound():
    model, exact = linear()
    x = exact.rvs(300, random_state=5)
    one, ten, hundred = (np.mean([model.log_likelihood(x, k, seed=s)[0].mean() for s in range(5)]) for k in (1, 10, 100))
    assert one < ten < hundred < exact.logpdf(x).mean() + 0.01


def test_figures_do_not_depend_on_the_rows_beside():
    model = tiny()
    x = bits(250)
    values, errors = model.log_likelihood(x, samples=120)
    np.testing.assert_allclose(model.log_likelihood(x[:130], samples=120)[0], values[:130])
    assert errors.shape == (250,)
    np.testing.assert_allclose(model.elbo(x[:130]).bound, model.elbo(x).bound[:130])


# Training.


def objective_and_gradient(model, x, objective, draw=1):
    stream = Stream(5)
    stream.seek_(draw)
    gradient = Gradient(model.parameters.zeros_like())
    metrics = objective(x, stream, gradient)
    gradient.finish()
    return sum(float(v) for v in metrics.values()), gradient.target.buffer


@pytest.mark.parametrize("loss", [BinaryCrossEntropy(), GaussianLikelihood(), GaussianLikelihood(0.5)], ids=repr)
@pytest.mark.parametrize(("bound", "samples", "beta"), [("elbo", 1, 1.0), ("elbo", 3, 2.5), ("iwae", 1, 1.0), ("iwae", 4, 0.7)])
def test_the_gradient_is_the_derivative_of_the_objective(loss, bound, samples, beta):
    model, x = tiny(loss=loss), bits()
    generator = np.random.default_rng(2)
    model.parameters.buffer[...] += 0.3 * generator.normal(size=model.parameters.buffer.size)
    objective = _Objective(model, lambda epoch: beta, samples, bound)
    objective.begin(0)
    _, gradient = objective_and_gradient(model, x, objective)
    direction, start, h, values = generator.normal(size=gradient.size), model.parameters.buffer.copy(), 1e-6, []
    for sign in (1, -1):
        model.parameters.buffer[...] = start + sign * h * direction
        values.append(objective_and_gradient(model, x, objective)[0])
    assert (values[0] - values[1]) / (2 * h) == pytest.approx(gradient @ direction, rel=1e-6)


def test_the_objectives_are_the_bounds():
    """Over many draws each objective is minus the bound that evaluation gives; with one sample both are the same on average."""
    model, x = tiny(), np.repeat(bits(2), 20_000, axis=0)
    found = {}
    for bound, samples in (("elbo", 1), ("iwae", 1), ("iwae", 10)):
        objective = _Objective(model, lambda epoch: 1.0, samples, bound)
        objective.begin(0)
        found[bound, samples] = -objective_and_gradient(model, x, objective)[0]
    assert found["elbo", 1] == pytest.approx(model.elbo(x).bound.mean(), abs=0.02)
    assert found["iwae", 1] == pytest.approx(found["elbo", 1], abs=0.02)
    assert found["iwae", 10] == pytest.approx(model.log_likelihood(x, 10)[0].mean(), abs=0.02)
    assert found["iwae", 10] > found["iwae", 1] + 0.01


def test_beta_is_a_schedule():
    """A warm-up starts without the latent term, and a larger beta leaves less in the codes."""
    history = History()
    tiny().fit(bits(), epochs=3, batch_size=20, beta=Linear(0, 1, 2), callbacks=[history])
    latent = [row["latent"] for row in history.rows]
    assert latent[0] == 0 < latent[1] < latent[2]
    train = data.binarize(data.load("digits")[0].images, seed=1)
    divergence = {}
    for beta in (0.2, 5.0):
        model = VAE([64, 30], latent=4, device="cpu", seed=1).fit(train, epochs=10, optimizer=Adam(3e-3), beta=beta)
        divergence[beta] = model.elbo(train).latent.mean()
    assert divergence[5.0] < 0.3 * divergence[0.2]


def test_it_learns_digits():
    train, validation, _ = data.load("digits")
    bits_held = data.binarize(validation.images, seed=2)
    rate = train.images.mean(axis=0).clip(0.01, 0.99)
    independent = (bits_held * np.log(rate) + (1 - bits_held) * np.log(1 - rate)).sum(axis=1).mean()
    history = History()
    model = VAE([64, 60], latent=8, device="cpu", seed=1)
    model.fit(
        train.images,
        epochs=40,
        batch_size=50,
        optimizer=Adam(3e-3),
        binarization="stochastic",
        validation=bits_held,
        callbacks=[history],
    )
    likelihood, _ = model.log_likelihood(bits_held, samples=100)
    assert likelihood.mean() > independent + 2
    last = history.rows[-1]
    assert last["validation_reconstruction"] + last["validation_latent"] == pytest.approx(-model.elbo(bits_held).bound.mean())
    # samples are like the digits: as much ink, and as far from one another
    samples = model.sample(300, seed=1)
    assert set(np.unique(samples)) == {0, 1}
    assert samples.mean() == pytest.approx(bits_held.mean(), abs=0.03)
    np.testing.assert_array_equal(model.sample(300, seed=1), samples)
    assert 0.5 < model.sample(300, means=True, seed=1).var(axis=0).sum() / train.images.var(axis=0).sum() < 1.2


def test_samples_have_the_models_distribution():
    model, exact = linear()
    found = model.sample(60_000, seed=1)
    np.testing.assert_allclose(found.mean(axis=0), exact.mean, atol=0.03)
    np.testing.assert_allclose(np.cov(found.T), exact.cov, atol=0.05)
    learned = VAE([3], latent=1, loss=GaussianLikelihood(), device="cpu", dtype="float64", seed=1)
    last = learned.network.layers[-1].own
    last["weights"][...], last["bias"][...] = 0, [1, 2, 3, *np.log([0.1, 1, 4])]
    found = learned.sample(40_000, seed=1)
    np.testing.assert_allclose(found.mean(axis=0), [1, 2, 3], atol=0.05)
    np.testing.assert_allclose(found.var(axis=0), [0.1, 1, 4], rtol=0.05)


def test_a_convolutional_one_learns():
    train = data.load("digits")[0].images
    encoder = [Reshape(8, 8, 1), Conv2D(8, 4, stride=2, padding=1), BatchNorm(), ReLU(), Reshape(128)]
    decoder = [Dense(128), ReLU(), Reshape(4, 4, 8), ConvTranspose2D(1, 4, stride=2, padding=1), Reshape(64)]
    model = VAE(encoder, decoder, inputs=64, latent=6, device="cpu", seed=1)
    held = data.binarize(train, seed=3)
    before = model.elbo(held).bound.mean()
    model.fit(train, epochs=8, batch_size=50, optimizer=Adam(3e-3), binarization="stochastic")
    assert model.elbo(held).bound.mean() > before + 15
    assert model.latent == 6


def test_a_resumed_run_is_the_unbroken_one(tmp_path):
    options = {"batch_size": 6, "optimizer": Adam(0.01), "samples": 3, "bound": "iwae", "beta": Linear(0, 1, 5)}
    whole = tiny().fit(bits(), epochs=6, **options)
    tiny().fit(bits(), epochs=3, callbacks=[Checkpoint(tmp_path)], **options)
    part = tiny().fit(bits(), epochs=6, resume=tmp_path, **options)
    np.testing.assert_array_equal(part.parameters.buffer, whole.parameters.buffer)


@pytest.mark.parametrize("bound", ["elbo", "iwae"])
def test_training_on_a_strict_device_waits_for_nothing_and_equals_the_cpus(strict, bound):
    found = {}
    for device in ("cpu", strict):
        model = tiny(device=device)
        model.parameters.load_state_dict(tiny().parameters.state_dict())
        objective = _Objective(model, lambda epoch: 0.5, 3, bound)
        step = Step(model.parameters, objective, SGD(0.1, 0.5), steps_per_epoch=3, seed=2)
        x = model.device.asarray(bits())
        step(x)
        syncs, uploads = strict.syncs, strict.uploads
        step(x)
        assert (strict.syncs, strict.uploads) == (syncs, uploads)
        found[model.device.name] = model.parameters.state_dict()
    for name, value in found["cpu"].items():
        np.testing.assert_allclose(found["strict"][name], value, rtol=1e-9, atol=1e-12)


# Codes.


def test_codes_are_means_and_samples_of_them_have_the_deviation():
    model, x = tiny(), bits()
    mean, deviation = model.posterior(x)
    np.testing.assert_allclose(model.encode(x), mean)
    np.testing.assert_allclose(model.reconstruct(x), model.decode(mean))
    network = Network([GaussianSample()], 4, device="cpu", dtype="float64")
    rows = np.concatenate([mean[:1], 2 * np.log(deviation[:1])], axis=1).repeat(50_000, axis=0)
    drawn = network(rows, Stream(1))[0]
    np.testing.assert_allclose(drawn.mean(axis=0), mean[0], atol=0.03)
    np.testing.assert_allclose(drawn.std(axis=0), deviation[0], rtol=0.02)
    np.testing.assert_array_equal(network(rows)[0], rows[:, :2])


def test_paths_through_the_space_of_codes():
    model, x = tiny(), bits()
    codes = model.encode(x)
    path = interpolate(model, codes[0], codes[1], steps=5)
    np.testing.assert_allclose(path[[0, -1]], model.reconstruct(x[:2]))
    np.testing.assert_allclose(path[2], model.decode(codes[:2].mean(axis=0, keepdims=True))[0])
    lines = traverse(model, codes[0], [1], [-1.0, codes[0, 1], 1.0])
    assert lines.shape == (1, 3, 6)
    np.testing.assert_allclose(lines[0, 1], model.reconstruct(x[:1])[0])
    np.testing.assert_allclose(lines[0, 2], model.decode(np.array([[codes[0, 0], 1.0]]))[0])
    grid = manifold(model, side=3)
    np.testing.assert_allclose(grid[4], model.decode(np.zeros((1, 2)))[0])
    np.testing.assert_allclose(grid[2], model.decode(np.full((1, 2), 0.9674216))[0], rtol=1e-6)
    direction = attribute(model, x[:5], x[5:])
    np.testing.assert_allclose(codes[5:].mean(axis=0) + direction, codes[:5].mean(axis=0))


def test_a_saved_one_is_the_same(tmp_path):
    model = tiny(loss=GaussianLikelihood()).fit(bits(), epochs=1, batch_size=5)
    model.save(tmp_path / "model.safetensors")
    for loaded in (load(tmp_path / "model.safetensors", "cpu"), VAE.load(tmp_path / "model.safetensors", "cpu")):
        assert isinstance(loaded, VAE)
        assert repr(loaded) == repr(model)
        np.testing.assert_array_equal(loaded.log_likelihood(bits(), 7)[0], model.log_likelihood(bits(), 7)[0])


def test_gray_levels_are_told_what_their_figure_means():
    gray = np.random.default_rng(1).random((5, 6))
    for figure in (tiny().elbo, tiny().log_likelihood):
        with pytest.warns(GrayLevelsWarning, match="bounds no likelihood"):
            figure(gray)
    tiny(loss=GaussianLikelihood(0.1)).elbo(gray)
    tiny().fit(gray, epochs=1, batch_size=5, validation=gray)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: VAE([6, 3], latent=0), "latent=0"),
        (lambda: VAE([], latent=2), "expected sizes"),
        (lambda: VAE([6, 3], latent=2, inputs=6), "the first that of a row"),
        (lambda: VAE([6, 3], latent=2, loss=SquaredError()), r"no distribution of the data.*GaussianLikelihood\(variance"),
        (lambda: VAE([6, 3], latent=2, loss=BinaryCrossEntropy(0.1)), "no distribution of the data"),
        (
            lambda: VAE([Dense(3), 4], [Dense(6)], inputs=6, latent=2),
            "sizes alone, which the decoder mirrors, or layers for both",
        ),
        (lambda: VAE([Dense(3)], [Dense(5)], inputs=6, latent=2), "BinaryCrossEntropy.* needs 6"),
        (lambda: VAE([Dense(3)], latent=2), "decoder="),
        (lambda: tiny().fit(bits(), samples=0), "samples=0"),
        (lambda: tiny().fit(bits(), beta=-1), "found beta=-1.* after 0 epochs; expected a schedule of finite numbers >= 0"),
        (lambda: tiny().log_likelihood(bits(), 0), "samples=0"),
        (lambda: tiny().fit(bits(), bound="elbow"), "expected 'elbo' or 'iwae'"),
        (lambda: tiny().fit(2 * bits()), r"expected values in \[0.0, 1.0\]"),
        (lambda: tiny().elbo(bits(width=5)), "5 columns; expected 6"),
        (lambda: tiny().elbo(-bits()), r"expected values in \[0.0, 1.0\]"),
        (lambda: tiny().log_likelihood(2 * bits(), 5), r"expected values in \[0.0, 1.0\]"),
        (lambda: VAE([Dense(3)], [Dense(6)], inputs=6, latent=2, activation="relu"), "activation='relu' beside layers"),
        (lambda: VAE([6, 3], [3, 6], latent=2), r"decoder=\[3, 6\]"),
        (lambda: penalized().fit(bits()), r"code_penalties=\[.*which a VAE doesn't have"),
        (lambda: Network([GaussianSample()], 5, device="cpu"), "vectors of even length"),
        (
            lambda: VAE([Dense(3), BatchNorm()], [Dense(6)], inputs=6, latent=2, device="cpu").fit(
                bits(1), epochs=1, batch_size=1
            ),
            "expected batches of two rows or more",
        ),
        (lambda: interpolate(tiny(), np.zeros(2), np.zeros(3)), r"\(2,\) and \(3,\)"),
        (lambda: traverse(tiny(), np.zeros(2), [2], [0.0]), r"numbers=\[2\]"),
    ],
)
def test_bad_input(make, match):
    with pytest.raises((ValueError, TypeError), match=match):
        make()


def penalized():
    model = tiny()
    model.code_penalties = [CodeL1(0.1)]
    return model


def test_one_sample_has_no_known_error():
    values, errors = tiny().log_likelihood(bits(), 1)
    assert np.isfinite(values).all()
    assert np.isnan(errors).all()


def test_shares_of_weights_that_are_far_apart_are_zero_not_subnormal():
    """Subnormal shares made products of a step with fifty codes twice as slow."""
    log_weights = -np.array([[0, 1, 20, 60, 90, 100, 300], [700, 700, 705, 790, 800, 900, 950]], np.float32)
    shares, log_means = _shares(log_weights)
    exact = np.exp(log_weights.astype(float) - log_weights.max(axis=1, keepdims=True))
    np.testing.assert_allclose(shares, exact / exact.sum(axis=1, keepdims=True), rtol=1e-6, atol=1e-13)
    np.testing.assert_allclose(log_means, np.log(exact.mean(axis=1)) + log_weights.max(axis=1), rtol=1e-6)
    assert shares[shares > 0].min() > 1e-16
    assert (shares == 0).sum() == 8
