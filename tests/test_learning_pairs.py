"""Training of machines with other than binary units: every pair on the strict device, and Gaussian units that learn their variance."""

import numpy as np
import pytest
from pairs import PAIRS, machine
from strict import steps_without_waiting
from test_machine import assert_same, host

import ebm
from ebm import CD, PCD, RBM, Bernoulli, Exact, FastPCD, Gaussian, ReplicatedSoftmax, data
from ebm.data.minibatches import Minibatches
from ebm.learning import Step
from ebm.likelihood import exact_log_partition, log_probability
from ebm.training import SGD, Adam, Callback, Checkpoint, WeightDecay
from ebm.units.gaussian import LOG_PRECISION_BOUNDS

every_pair = pytest.mark.parametrize("name", PAIRS)


def rows_for(units, n=30, seed=1):
    """Rows that such units can be trained on; documents of one to six words."""
    generator = np.random.default_rng(seed)
    if units.replicated:
        return np.float64(generator.multinomial(np.arange(n) % 6 + 1, [0.3, 0.3, 0.4]))
    if isinstance(units, Gaussian):
        return generator.normal(0, 1, (n, units.size))
    if units.number_of_states() is None:
        return np.abs(generator.normal(0, 1, (n, units.size)))
    return np.concatenate([units.states(i, i + 1) for i in generator.integers(units.number_of_states(), size=n)])


def can_learn(name, rule):
    """Whether the exact gradient is to be had, if that is the rule."""
    return not isinstance(rule, Exact) or any(units.number_of_states() for units in PAIRS[name])


RULES = [(name, rule) for name in PAIRS for rule in (CD(2), PCD(1), FastPCD(1), Exact()) if can_learn(name, rule)]


@pytest.mark.parametrize(("name", "learning"), RULES, ids=repr)
def test_a_step_of_every_pair_makes_the_host_wait_for_nothing_and_equals_the_cpus(strict, name, learning):
    start = host(machine(PAIRS[name]).parameters)
    rows = rows_for(PAIRS[name][0])
    found = {}
    for device in ("cpu", strict):
        rbm = RBM(*PAIRS[name], device=device, dtype="float64")
        rbm.parameters.load_state_dict(start)
        centered = not rbm.visible.units.replicated
        batches = Minibatches(rows, 10, device=rbm.device, dtype=rbm.dtype, seed=3)
        penalties = [WeightDecay(1e-3)]
        step = Step(
            rbm,
            learning,
            SGD(0.02, 0.5),
            batch_size=10,
            steps_per_epoch=3,
            penalties=penalties,
            centered=centered,
            measure_every=2,
        )
        metrics = steps_without_waiting(strict, step, batches, 0)
        found[rbm.device.name] = rbm.parameters.state_dict() | metrics
    assert any((found["cpu"][key] != start[key]).any() for key in start)
    # at one seed in 10^11 a uniform lies within rounding of where a sample changes
    assert_same(found["strict"], found["cpu"], rtol=1e-8, atol=1e-10)


@every_pair
def test_every_pair_trains_at_its_defaults(name):
    """The whole of `fit`, which leaves finite parameters, and frozen ones as they were."""
    visible, hidden = PAIRS[name]
    rbm = RBM(visible, hidden, device="cpu", seed=1)
    rows = rows_for(visible, 60)
    rbm.fit(rows, epochs=3, batch_size=20, validation=rows[:20])
    assert np.isfinite(rbm.parameters.buffer).all()
    assert rbm.visible.bias.any()
    for key, segment in rbm.parameters.segments.items():
        if key.startswith("log_precision"):
            assert rbm.parameters[key].any() != segment.frozen, key
    assert rbm.transform(rows).shape == (60, hidden.size)


# Variances.


def test_independent_columns_get_their_variance():
    deviation = np.array([0.4, 1.0, 2.0])
    rows = np.random.default_rng(2).normal([0.5, -1, 0], deviation, (3000, 3)).astype(np.float32)
    rbm = RBM(Gaussian(3, learn_variance=True), 1, device="cpu", seed=1)
    rbm.weights[...] = 0
    rbm.parameters.segments["weights"].frozen = True  # a hidden unit would explain a part of it
    rbm.fit(rows, epochs=40, batch_size=100, optimizer=SGD(0.05, 0.5))
    assert not rbm.weights.any()
    np.testing.assert_allclose(np.exp(rbm.parameters["log_precision.0"]), 1 / rows.var(axis=0), rtol=0.1)
    np.testing.assert_allclose(rbm.visible.bias / np.exp(rbm.parameters["log_precision.0"]), rows.mean(axis=0), atol=0.1)


def test_learned_precisions_are_those_of_the_noise():
    """Draws of a machine whose noise is known, around the corners of a parallelepiped."""
    precision = np.array([1, 2, 4, 1, 3, 6])
    source = RBM(Gaussian(6, learn_variance=True), 3, device="cpu", seed=5)
    source.parameters["log_precision.0"][...] = np.log(precision)
    source.weights[...] = 1.8 * np.sqrt(precision)[:, None] * np.random.default_rng(3).choice([-1, 1], (6, 3))
    source.hidden.bias[...] = -(source.weights**2 / precision[:, None]).sum(axis=0) / 2
    rows = source.sample(4000, 100, seed=1)
    rbm = RBM(Gaussian(6, learn_variance=True), 3, device="cpu", seed=2)
    rbm.fit(rows, epochs=150, batch_size=100, learning=PCD(), optimizer=SGD(0.1, 0.5))
    found = np.exp(rbm.parameters["log_precision.0"])
    np.testing.assert_allclose(found, precision, rtol=0.2)
    # and not those of the columns, of which the corners are a part
    assert (found * rows.var(axis=0) > 1.3).all()


def test_variances_stay_as_they_are_unless_they_are_learned():
    rows = np.random.default_rng(4).normal(0, 0.3, (200, 3))
    rbm = RBM(Gaussian(3), 2, device="cpu", seed=1)
    given = np.array([0.5, -0.25, 9.0], np.float32)  # outside of the bounds for learned ones
    rbm.parameters["log_precision.0"][...] = given
    for optimizer in (SGD(0.01, 0.5), SGD(0.01, 0.5, nesterov=True), Adam(0.01)):
        rbm.fit(rows, epochs=2, batch_size=20, optimizer=optimizer, penalties=[WeightDecay(0.1)])
        np.testing.assert_array_equal(rbm.parameters["log_precision.0"], given)


@pytest.mark.parametrize("optimizer", [SGD(1.0, 0.9), SGD(100.0), Adam(10.0)], ids=repr)
def test_no_learning_rate_drives_a_precision_out_of_its_bounds(optimizer):
    rows = np.random.default_rng(5).normal(0, [0.1, 1, 3], (200, 3))
    rbm = RBM(Gaussian(3, learn_variance=True), 4, device="cpu", seed=1)
    seen = []

    class Watch(Callback):
        def on_step(self, run):
            seen.append(rbm.parameters["log_precision.0"].copy())

    rbm.fit(rows, epochs=5, batch_size=20, optimizer=optimizer, callbacks=[Watch()])
    low, high = np.float32(LOG_PRECISION_BOUNDS)
    assert (np.array(seen) >= low).all()
    assert (np.array(seen) <= high).all()
    assert np.isin(seen, (low, high)).any(), "found bounds that were never reached"


# Files.


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_is_saved_and_loaded(tmp_path, name):
    rbm = machine(PAIRS[name], dtype="float32")
    rbm.save(tmp_path / "model.safetensors")
    again = ebm.load(tmp_path / "model.safetensors", device="cpu")
    assert repr(again) == repr(rbm)
    assert_same(host(again.parameters), host(rbm.parameters))
    v = rows_for(PAIRS[name][0], 5).astype(np.float32)
    np.testing.assert_array_equal(again.free_energy(v), rbm.free_energy(v))
    np.testing.assert_array_equal(again.sample(5, 3, start=v, seed=1), rbm.sample(5, 3, start=v, seed=1))


@pytest.mark.parametrize("name", ["Gaussian learned x Bernoulli", "Bernoulli x Gaussian learned", "counts x groups"])
def test_a_stopped_run_resumed_equals_one_in_one_go(tmp_path, name):
    rows = rows_for(PAIRS[name][0], 60)
    options = {"epochs": 3, "batch_size": 20, "learning": PCD(), "seed": 3}

    class StopAt(Callback):
        def on_step(self, run):
            if run.step == 5:
                run.stop("enough")

    whole, stopped = (RBM(*PAIRS[name], device="cpu", seed=1) for _ in range(2))
    whole.fit(rows, **options)
    stopped.fit(rows, callbacks=[Checkpoint(tmp_path), StopAt()], **options)
    fresh = RBM(*PAIRS[name], device="cpu", seed=9).fit(rows, resume=tmp_path, **options)
    assert_same(host(fresh.parameters), host(whole.parameters))
    if "learned" in name:
        assert any(host(whole.parameters)[key].any() for key in whole.parameters if key.startswith("log_precision"))


# What is learned.


def gaussian_log_likelihoods(train, test):
    """The mean log-density of test rows under a diagonal Gaussian fitted to the training rows, and under one of full covariance."""
    mean, found = train.mean(axis=0), []
    for covariance in (np.diag(train.var(axis=0)), np.cov(train.T)):
        shift = test - mean
        distance = np.einsum("ri,ij,rj->r", shift, np.linalg.inv(covariance), shift).mean()
        found.append(-(distance + np.linalg.slogdet(2 * np.pi * covariance)[1]) / 2)
    return found


def test_a_mixture_of_gaussians_is_learned_at_the_defaults():
    """Five far components in ten dimensions: above both Gaussians fitted to the same data, by nats a row."""
    generator = np.random.default_rng(6)
    centers = generator.normal(0, 4, (5, 10))
    rows = centers[generator.integers(5, size=7000)] + generator.normal(0, 1, (7000, 10))
    scaler = data.Standardizer().fit(rows[:5000])
    train, test = scaler.transform(rows[:5000]), scaler.transform(rows[5000:])
    rbm = RBM(Gaussian(10, learn_variance=True), 10, device="cpu", seed=1)
    rbm.fit(train, epochs=80, learning=PCD())
    found = log_probability(rbm, test.astype(np.float32), exact_log_partition(rbm)).mean()
    diagonal, full = gaussian_log_likelihoods(train, test)
    assert diagonal == pytest.approx(-5 * np.log(2 * np.pi) - 5, abs=0.2)
    assert found > diagonal + 4
    assert found > full
    # as many modes are visited as there are components
    samples = scaler.inverse_transform(rbm.sample(500, 500, seed=7))
    nearest = ((samples[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
    assert len(np.unique(nearest)) == 5


def test_topics_are_learned_at_the_defaults():
    """Two topics, documents of all lengths: a hidden unit tells them apart, and counts are likelier than under word frequencies."""
    generator = np.random.default_rng(8)
    topics = np.array([[0.3, 0.3, 0.3, 0.05, 0.03, 0.02], [0.02, 0.03, 0.05, 0.3, 0.3, 0.3]])
    topic = generator.integers(2, size=1000)
    rows = np.array([generator.multinomial(n, topics[t]) for n, t in zip(generator.integers(5, 40, 1000), topic, strict=True)])
    rbm = RBM(ReplicatedSoftmax(6, longest=40), 2, device="cpu", dtype="float64", seed=1)
    rbm.fit(rows[:800], epochs=20, batch_size=50)
    codes = rbm.transform(rows[800:])
    assert max(abs(np.corrcoef(code, topic[800:])[0, 1]) for code in codes.T) > 0.9
    frequency = rows[:800].sum(axis=0) / rows[:800].sum()
    length = 20
    same = np.float64([generator.multinomial(length, topics[t]) for t in generator.integers(2, size=300)])
    found = log_probability(rbm, same, exact_log_partition(rbm, length)).mean()
    assert found > (same @ np.log(frequency)).mean() + 2


def test_real_valued_hidden_units_learn_a_plane():
    """A Gaussian machine with two Gaussian hidden units is a factor model: two directions of large variance."""
    generator = np.random.default_rng(9)
    rows = generator.normal(0, 1, (2000, 2)) @ generator.normal(0, 1, (2, 6)) + 0.3 * generator.normal(0, 1, (2000, 6))
    rows = data.Standardizer().fit(rows).transform(rows).astype(np.float32)
    rbm = RBM(Gaussian(6, learn_variance=True), Gaussian(2), device="cpu", seed=1)
    rbm.fit(rows, epochs=60, batch_size=50, optimizer=SGD(0.01, 0.5))
    rbm.require_finite()
    explained = np.linalg.svd(rows, full_matrices=False)[2][:2]
    learned = np.linalg.qr(np.float64(rbm.weights))[0]
    assert np.linalg.svd(explained @ learned)[1].min() > 0.95
    assert float(rbm.squared_error(rows)) < 0.5 * (rows**2).sum(axis=1).mean()


def test_the_default_rate_is_smaller_for_real_valued_units():
    rates = {}
    for units in (Bernoulli(3), Gaussian(3)):
        rbm = RBM(units, 2, device="cpu", seed=1, dtype="float64")
        before = rbm.weights.copy()
        rows = rows_for(Bernoulli(3), 20)
        rbm.visible.bias[...] = 0.1
        moved = RBM(units, 2, device="cpu", seed=1, dtype="float64")
        moved.visible.bias[...] = 0.1
        rbm.fit(rows, epochs=1, batch_size=20)
        moved.fit(rows, epochs=1, batch_size=20, optimizer=SGD(1.0))
        rates[type(units)] = np.abs(rbm.weights - before).max() / np.abs(moved.weights - before).max()
    assert rates == pytest.approx({Bernoulli: 0.05, Gaussian: 0.01}, rel=1e-6)
