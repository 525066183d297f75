"""Belief networks against the table of all their states: bounds, importance weights, samples; mixed units; what is refused."""

import numpy as np
import pytest
from belief import Belief
from enumeration import Enumeration, assert_counts, assert_distributed, binary_rows, number, randomize
from scipy.integrate import quad
from scipy.special import expit, logsumexp
from scipy.stats import norm
from test_learning import is_refused, point

from ebm import CD, DBN, RBM, Bernoulli, Exact, Gaussian, Joint, ReLU, ReplicatedSoftmax, Softmax, data
from ebm.compute.random import Stream
from ebm.likelihood import exact_log_partition, importance_sampled, recognition_bound
from ebm.training import SGD

CHAINS = 20_000
# layers, labels, whether the way down has weights of its own
NETWORKS = {
    "two RBMs": ([4, 3, 2], 0, False),
    "three RBMs": ([3, 3, 2, 2], 0, False),
    "untied": ([4, 3, 2], 0, True),
    "three untied": ([3, 3, 2, 2], 0, True),
    "labels": ([3, 3, 2], 3, False),
    "labels untied": ([3, 2, 2, 2], 2, True),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def network(name, scale=1.0, **options):
    """A network far from its initial parameters, with different ones for the way up and the way down where it is untied."""
    layers, labels, untied = NETWORKS[name]
    dbn = DBN(layers, labels=labels, device="cpu", **{"dtype": "float64", **options})
    if untied:
        dbn.untie_()
    for seed, rbm in enumerate({id(rbm): rbm for rbm in (*dbn.layers, *dbn.generative)}.values()):
        generator = np.random.default_rng(seed)
        for key in rbm.parameters:
            rbm.parameters[key][...] = generator.normal(0, scale, rbm.parameters[key].shape)
    return dbn


def assert_average(draws, expected, variance):
    """The means over the columns of independent draws, to 5 standard errors."""
    error = np.abs(draws.mean(axis=0) - expected)
    limit = 5 * np.sqrt(variance / len(draws)) + 1e-12
    assert (error < limit).all(), f"means are off by {(error / limit).max() * 5:.1f} standard errors"


# Likelihoods.


@every_network
def test_bound_and_importance_weights_are_those_of_the_table(name):
    dbn = network(name)
    exact, log_z = Belief(dbn), exact_log_partition(dbn.top)
    assert log_z == pytest.approx(exact.log_partition, abs=1e-10)
    assert exact.probabilities.sum() == pytest.approx(1, abs=1e-12)
    v = exact.rows
    weights = dbn.log_weights(np.tile(v, (4000, 1)), Stream(3)).reshape(4000, -1) - log_z
    assert weights.dtype == np.float64
    terms = exact.log_p - exact.log_q
    bound, log_p = exact.bound(v), exact.log_probability(v)
    assert_average(weights, bound, exact.recognized(terms**2) - bound**2)
    variance = exact.recognized(np.exp(2 * terms)) - np.exp(2 * log_p)
    assert_average(np.exp(weights), np.exp(log_p), variance)
    # another network's would not pass
    dbn.generative[0].weights[...] += 0.5
    other = Belief(dbn)
    with pytest.raises(AssertionError, match="standard errors"):
        assert_average(weights, other.bound(v), exact.recognized(terms**2) - bound**2)
    with pytest.raises(AssertionError, match="standard errors"):
        assert_average(np.exp(weights), np.exp(other.log_probability(v)), variance)


@every_network
def test_the_functions_average_the_weights(name):
    dbn = network(name, scale=0.7)
    exact, log_z = Belief(dbn), exact_log_partition(dbn.top)
    v, draws = exact.rows, 1000
    terms = exact.log_p - exact.log_q
    bound, log_p = exact.bound(v), exact.log_probability(v)
    found = recognition_bound(dbn, v, log_z, samples=draws, seed=1)
    deviation = np.sqrt(exact.recognized(terms**2) - bound**2)
    assert (np.abs(found - bound) < 5 * deviation / np.sqrt(draws) + 1e-12).all()
    estimated = importance_sampled(dbn, v, log_z, samples=draws, seed=1)
    relative = np.sqrt(exact.recognized(np.exp(2 * terms)) / np.exp(2 * log_p) - 1)
    assert (np.abs(estimated - log_p) < 6 * relative / np.sqrt(draws) + 1e-12).all()
    # the same draws: the logarithm of a mean is above the mean of the logarithms
    assert (estimated >= found).all()
    assert (log_p >= bound).all()
    # with one draw they are the same
    one = (f(dbn, v, log_z, samples=1, seed=2) for f in (recognition_bound, importance_sampled))
    np.testing.assert_allclose(*one, rtol=1e-12)


def test_exact_recognition_has_weights_without_variance():
    """Under its own transpose an RBM's posterior is exact (Hinton, Osindero, Teh 2006, section 4): each draw gives ln p(v)."""
    rbm = RBM(4, 3, device="cpu", dtype="float64")
    exact = randomize(rbm, 5, scale=1.5)
    dbn = DBN([rbm, rbm.transposed()])
    v = binary_rows(4)
    log_p = np.log(exact.marginal(0))
    log_z = exact_log_partition(dbn.top)
    assert log_z == pytest.approx(exact.log_partition, abs=1e-10)
    for samples in (1, 7):
        np.testing.assert_allclose(recognition_bound(dbn, v, log_z, samples=samples), log_p, atol=1e-10)
        np.testing.assert_allclose(importance_sampled(dbn, v, log_z, samples=samples), log_p, atol=1e-10)
    np.testing.assert_allclose(Belief(dbn).log_probability(v), log_p, atol=1e-10)
    # and another transpose on top changes nothing
    deeper = DBN([rbm, rbm.transposed(), rbm.transposed().transposed()])
    np.testing.assert_allclose(recognition_bound(deeper, v, exact.log_partition), log_p, atol=1e-10)


def test_a_network_of_one_rbm_is_the_rbm():
    rbm = RBM(4, 3, device="cpu", dtype="float64")
    exact = randomize(rbm, 6)
    dbn, v = DBN([rbm]), binary_rows(4)
    np.testing.assert_allclose(recognition_bound(dbn, v, exact.log_partition), np.log(exact.marginal(0)), atol=1e-10)
    np.testing.assert_array_equal(dbn.sample(9, 4, seed=3), rbm.sample(9, 4, seed=3))
    clamp = np.array([True, False, False, True]), np.ones(4)
    np.testing.assert_array_equal(
        dbn.sample(16, 4, clamp=clamp, start=v, means=True, seed=3), rbm.sample(16, 4, clamp=clamp, start=v, means=True, seed=3)
    )
    np.testing.assert_array_equal(dbn.transform(v), rbm.transform(v))
    np.testing.assert_array_equal(dbn.reconstruct(v), rbm.reconstruct(v))
    assert dbn.tied


def test_a_second_layer_trained_on_the_first_raises_the_bound():
    """It starts at the transpose, where the bound is the RBM's likelihood, and climbs from there."""
    patterns, probabilities = data.bars_and_stripes(3)
    rows = np.tile(np.repeat(patterns, np.rint(probabilities * 16).astype(int), axis=0).astype(float), (4, 1))
    rbm = RBM(9, 6, device="cpu", dtype="float64", seed=1)
    rbm.fit(rows, epochs=600, batch_size=len(rows), optimizer=SGD(0.4, 0.5))
    dbn = DBN([rbm])
    dbn.add(rbm.transposed())
    before = Belief(dbn).bound(rows).mean()
    assert before == pytest.approx(Enumeration.of(rbm).log_likelihood(rows), abs=1e-10)
    dbn.fit(rows, epochs=150, batch_size=len(rows), learning=Exact(), optimizer=SGD(0.4, 0.5), binarization="stochastic")
    after = Belief(dbn)
    assert after.bound(rows).mean() > before + 0.1
    assert after.log_probability(rows).mean() > before + 0.1


def test_a_wider_layer_begins_near_the_one_below_upside_down():
    rbm = RBM(5, 3, device="cpu", dtype="float64", seed=1)
    expected = randomize(rbm, 1).log_likelihood(binary_rows(5))
    dbn = DBN([rbm, rbm.transposed(8)])
    rows = binary_rows(5)
    assert Belief(dbn).bound(rows).mean() == pytest.approx(expected, abs=0.01)
    extra = dbn.top.weights[:, 5:]
    assert 0 < abs(extra).max() < 0.1
    sigma = RBM(Gaussian(4, learn_variance=True), 3, device="cpu", seed=1)
    randomize(sigma, 2)
    again = sigma.transposed().transposed()
    for name in sigma.parameters:
        np.testing.assert_array_equal(again.parameters[name], sigma.parameters[name])


def test_rounded_products_are_left_out_of_the_probability():
    """Draws are recognized with rounded weights, which costs variance only: p is that of the weights as they are."""
    rbm = RBM(6, 5, device="cpu", precision="bfloat16")
    exact = randomize(rbm, 7, scale=3.0)
    dbn, v = DBN([rbm, rbm.transposed()]), binary_rows(6).astype(np.float32)
    weights = dbn.log_weights(np.tile(v, (3000, 1)), Stream(1)).reshape(3000, -1)
    weights = np.exp(weights - exact.log_partition - np.log(exact.marginal(0)))
    assert 1e-4 < weights.std(axis=0).max() < 0.5
    assert_average(weights, 1.0, weights.var(axis=0) + 1e-8)


def average_of(dbn, row, draws=60_000):
    """The mean of exp(log_weights) and its standard error."""
    weights = np.exp(dbn.log_weights(np.tile(np.asarray(row, dbn.dtype), (draws, 1)), Stream(4)))
    return weights.mean(), weights.std() / np.sqrt(draws)


def unnormalized(rbm, x):
    """sum_h e^-E(x, h) of an RBM of binary hidden units, but for e(x)."""
    return np.exp(x @ rbm.visible.bias) * np.prod(1 + np.exp(rbm.hidden.bias + x @ rbm.weights), axis=-1)


def moderate(layers, **options):
    dbn = DBN(layers, device="cpu", dtype="float64", **options)
    for seed, rbm in enumerate(dbn.layers):
        generator = np.random.default_rng(seed)
        for key in rbm.parameters:
            rbm.parameters[key][...] = generator.normal(0, 0.5, rbm.parameters[key].shape)
    return dbn


def test_weights_of_gaussian_visible_and_softmax_hidden_units():
    dbn = moderate([Gaussian(2, learn_variance=True), Softmax(3, groups=2), 2])
    h = dbn.layers[0].hidden.units.states(0, 9)
    for v in ([0.3, -0.8], [1.5, 0.2]):
        precision = np.exp(dbn.layers[0].parameters["log_precision.0"])
        mean = (dbn.layers[0].visible.bias + h @ dbn.layers[0].weights.T) / precision
        density = norm.pdf(v, mean, precision**-0.5).prod(axis=1)
        # p(v) Z = sum_h p(v | h) sum_h2 e^-E(h, h2)
        found, error = average_of(dbn, v)
        assert found == pytest.approx(density @ unnormalized(dbn.top, h), abs=5 * error)


@pytest.mark.parametrize("hidden", [ReLU(1), Gaussian(1)], ids=repr)
def test_weights_of_real_valued_hidden_units(hidden):
    dbn = moderate([3, hidden, 2])
    lowest = 0 if isinstance(hidden, ReLU) else -15
    v = np.array([1.0, 0.0, 1.0])

    def integrand(h):
        field = dbn.layers[0].visible.bias + h * dbn.layers[0].weights[:, 0]
        precision = np.exp(dbn.top.parameters["log_precision.0"][0]) if isinstance(hidden, Gaussian) else 1.0
        return (
            np.prod(expit(np.where(v == 1, field, -field)))
            * unnormalized(dbn.top, np.array([h]))
            * np.exp(-precision * h * h / 2)
        )

    found, error = average_of(dbn, v)
    assert found == pytest.approx(quad(integrand, lowest, 15)[0], abs=5 * error)


def test_weights_of_documents():
    """One ordered document of each row's own length."""
    dbn = moderate([ReplicatedSoftmax(3), 2, 2])
    h = binary_rows(2)
    words = dbn.layers[0].visible.bias + h @ dbn.layers[0].weights.T
    log_share = words - logsumexp(words, axis=1, keepdims=True)
    for v in ([2.0, 0.0, 1.0], [1.0, 1.0, 5.0]):
        found, error = average_of(dbn, v)
        assert found == pytest.approx(np.exp(log_share @ v) @ unnormalized(dbn.top, h), abs=5 * error)


# Samples.


@every_network
def test_samples_are_distributed_as_the_network(name):
    dbn = network(name, dtype="float32")
    exact = Belief(dbn)
    found = dbn.sample(CHAINS, 50, seed=1)
    assert found.shape == (CHAINS, exact.rows.shape[1])
    assert_counts(np.bincount(exact.number(found), minlength=len(exact.rows)), exact.probabilities)
    dbn.generative[0].weights[...] += 0.5
    with pytest.raises(AssertionError, match="chi-square"):
        assert_counts(np.bincount(exact.number(found), minlength=len(exact.rows)), Belief(dbn).probabilities)


def given_label(exact, size, k):
    """p(v, label) of each of the rows, given that the label is k."""
    p = np.where(exact.rows[:, size + k] == 1, exact.probabilities, 0)
    return p / p.sum()


def depend_on_labels(dbn):
    """Make the last RBM one whose labels and visible units say much of each other; random ones hardly do."""
    sign = np.array([1, -1])
    visible = np.append(np.resize([2.0, -2.0, 2.0], dbn.top.inputs - dbn.labels), [2.5, -2.5, 0.5][: dbn.labels])
    dbn.top.weights[...] = np.outer(visible, sign)
    dbn.top.visible.bias[...] = 0
    dbn.top.hidden.bias[...] = -sign * visible[: -dbn.labels].sum() / 2
    for rbm in {id(rbm): rbm for rbm in (*dbn.layers[:-1], *dbn.generative)}.values():
        rbm.weights[...] *= 2


@pytest.mark.parametrize("name", ["labels", "labels untied"])
def test_samples_of_a_class_are_distributed_as_the_network_given_it(name):
    dbn = network(name, dtype="float32")
    size, labels = dbn.inputs, dbn.labels
    depend_on_labels(dbn)
    exact = Belief(dbn)
    mask = np.arange(size + labels) >= size
    for k in range(labels):
        # what lies outside of the mask may be anything
        values = np.where(mask, np.append(np.zeros(size), np.eye(labels)[k]), np.nan)
        for start in (None, np.tile(exact.rows[0], (CHAINS, 1))):
            found = dbn.sample(CHAINS, 40, clamp=(mask, values), start=start, seed=k)
            assert (found[:, size:] == np.eye(labels)[k]).all()
            counts = np.bincount(exact.number(found), minlength=len(exact.rows))
            assert_counts(counts, given_label(exact, size, k))
            # the same pixels are not distributed as those of another class
            other = (k + 1) % labels
            moved = np.concatenate([found[:, :size], np.tile(np.eye(labels)[other], (CHAINS, 1))], axis=1)
            with pytest.raises(AssertionError, match="chi-square"):
                assert_counts(np.bincount(exact.number(moved), minlength=len(exact.rows)), given_label(exact, size, other))


@pytest.mark.parametrize("k", [0, 2])
def test_labels_are_held_from_the_first_step(k):
    """One step: from a draw of the biases, with the label, to the last RBM's hidden units and down to the visible ones."""
    dbn = network("labels")
    depend_on_labels(dbn)
    weights, bias, hidden = (np.array(x) for x in (dbn.top.weights, dbn.top.visible.bias, dbn.top.hidden.bias))
    v, x, h = binary_rows(3), binary_rows(3), binary_rows(2)
    begun = table(x, bias[None, :3])[0]
    up = table(h, hidden + np.concatenate([x, np.tile(np.eye(3)[k], (8, 1))], axis=1) @ weights)
    down = table(x, bias[:3] + h @ weights[:3].T) @ table(v, dbn.layers[0].visible.bias + x @ dbn.layers[0].weights.T)
    clamp = np.arange(6) >= 3, np.append(np.zeros(3), np.eye(3)[k])
    assert_distributed(dbn.sample(CHAINS, 1, clamp=clamp, seed=1)[:, :3], begun @ up @ down)


def table(states, field):
    """The probability of each of the states of binary units under each row of fields, (fields, states)."""
    return np.prod(expit(np.where(states[None] == 1, field[:, None], -field[:, None])), axis=2)


def matrices(dbn):
    """q(h | v), p(v | h) and a step of Gibbs sampling h -> h' in the last RBM, of a network of two."""
    v, h = binary_rows(dbn.inputs), binary_rows(dbn.layers[0].outputs)
    top = Enumeration.of(dbn.top)

    up = table(h, dbn.layers[0].hidden.bias + v @ dbn.layers[0].weights)
    down = table(v, dbn.generative[0].visible.bias + h @ dbn.generative[0].weights.T)
    return up, down, top.conditional(1, given=0) @ top.conditional(0, given=1)


@pytest.mark.parametrize("name", ["two RBMs", "untied"])
@pytest.mark.parametrize("steps", [1, 2])
def test_chains_move_as_the_transition_matrices_say(name, steps):
    dbn = network(name, scale=2.0)
    dbn.top.weights[...] = [[6, -5], [5, -6], [-4, 5]]
    dbn.top.hidden.bias[...] = [-3, 2]
    up, down, step = matrices(dbn)
    row = np.array([1.0, 0.0, 1.0, 1.0])
    found = dbn.sample(CHAINS, steps, start=np.tile(row, (CHAINS, 1)), seed=2)
    arrived = point(row, 4) @ up @ np.linalg.matrix_power(step, steps)
    assert_distributed(found, arrived @ down)
    assert is_refused(found, point(row, 4) @ up @ np.linalg.matrix_power(step, steps - 1) @ down)
    # without a start at the biases of the last RBM
    p = expit(dbn.top.visible.bias)
    begun = np.prod(np.where(binary_rows(3) == 1, p, 1 - p), axis=1)
    assert_distributed(dbn.sample(CHAINS, steps, seed=3), begun @ np.linalg.matrix_power(step, steps) @ down)
    # the means of the last pass down say which state it came from
    found = dbn.sample(CHAINS, steps, start=np.tile(row, (CHAINS, 1)), means=True, seed=4)
    means = expit(dbn.generative[0].visible.bias + binary_rows(3) @ dbn.generative[0].weights.T)
    distance = np.abs(found[:, None] - means).max(axis=2)
    assert distance.min(axis=1).max() < 1e-12
    assert_distributed(binary_rows(3)[distance.argmin(axis=1)], arrived)


def test_only_the_visible_units_are_means():
    """All layers above them are drawn: the three units of the first have eight states, and there are as many means."""
    dbn = network("three untied")
    found = dbn.sample(2000, 3, means=True, seed=4)
    possible = expit(dbn.generative[0].visible.bias + binary_rows(3) @ dbn.generative[0].weights.T)
    assert np.abs(found[:, None] - possible).max(axis=2).min(axis=1).max() < 1e-12
    assert len(np.unique(found.round(12), axis=0)) == 8


@pytest.mark.parametrize("name", ["two RBMs", "untied"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_held_pixels_are_put_back_before_each_pass_up(name, steps):
    dbn = network(name, scale=2.0)
    up, down, step = matrices(dbn)
    mask, values = np.array([True, False, False, True]), np.array([1.0, np.nan, np.nan, 0.0])
    v = binary_rows(4)
    held = np.eye(16)[number(np.where(mask, np.nan_to_num(values), v))]
    row = np.array([0.0, 1.0, 0.0, 1.0])
    again = np.linalg.matrix_power(step @ down @ held @ up, steps - 1)
    expected = point(row, 4) @ held @ up @ again @ step @ down @ held
    found = dbn.sample(CHAINS, steps, clamp=(mask, values), start=np.tile(row, (CHAINS, 1)), seed=5)
    assert_distributed(found, expected)
    p = expit(dbn.top.visible.bias)
    begun = np.prod(np.where(binary_rows(3) == 1, p, 1 - p), axis=1)
    expected = begun @ np.linalg.matrix_power(down @ held @ up @ step, steps) @ down @ held
    assert_distributed(dbn.sample(CHAINS, steps, clamp=(mask, values), seed=6), expected)


def test_pixels_and_labels_are_held_together():
    dbn = network("labels", dtype="float32")
    generator = np.random.default_rng(8)
    mask = generator.random((40, 6)) < 0.5
    mask[:, 3:] = mask[:, 3:4]
    values = np.concatenate([generator.random((40, 3)), np.eye(3)[generator.integers(3, size=40)]], axis=1).astype(np.float32)
    for options in ({}, {"means": True}, {"start": np.tile([1.0, 0, 1, 0, 1, 0], (40, 1))}):
        found = dbn.sample(40, 3, clamp=(mask, values), seed=9, **options)
        np.testing.assert_array_equal(found[mask], values[mask])
        assert (found[:, 3:].sum(axis=1) == 1).all()
        free = found[:, :3][~mask[:, :3]]
        assert (set(free) == {0.0, 1.0}) == ("means" not in options)
    np.testing.assert_array_equal(dbn.sample(2, 3, clamp=(np.ones(6, int), values[0]), seed=1), np.tile(values[0], (2, 1)))


def test_the_seed_decides_the_samples():
    dbn = network("labels")
    np.testing.assert_array_equal(dbn.sample(20, 3, seed=1), dbn.sample(20, 3, seed=1))
    assert not np.array_equal(dbn.sample(20, 3, seed=1), dbn.sample(20, 3, seed=2))


# Means.


def test_the_means_are_those_of_the_definition():
    for name in ("three RBMs", "three untied"):
        dbn = network(name)
        v = np.random.default_rng(10).random((7, 3))
        hidden = v
        for rbm in dbn.layers:
            hidden = expit(rbm.hidden.bias + hidden @ rbm.weights)
        np.testing.assert_allclose(dbn.transform(v), hidden, rtol=1e-12)
        for rbm in (dbn.top, dbn.generative[1], dbn.generative[0]):
            hidden = expit(rbm.visible.bias + hidden @ rbm.weights.T)
        np.testing.assert_allclose(dbn.reconstruct(v), hidden, rtol=1e-12)


def test_labels_do_not_enter_the_means_and_are_predicted_by_free_energy(monkeypatch):
    dbn = network("labels untied", scale=3.0)
    v = np.random.default_rng(11).random((10, 3))
    labeled = np.concatenate([v, np.eye(2)[np.arange(10) % 2]], axis=1)
    hidden = v
    for rbm in dbn.layers[:-1]:
        hidden = expit(rbm.hidden.bias + hidden @ rbm.weights)

    def energies():
        both = [np.concatenate([hidden, np.tile(label, (10, 1))], axis=1) for label in np.eye(2)]
        top = dbn.top
        return [-x @ top.visible.bias - np.logaddexp(0, top.hidden.bias + x @ top.weights).sum(axis=1) for x in both]

    # both labels are the likelier one of some rows
    dbn.top.visible.bias[-1] += np.median(np.subtract(*energies()[::-1]))
    expected = np.argmin(energies(), axis=0)
    assert set(expected) == {0, 1}
    back = hidden
    for rbm in reversed(dbn.generative):
        back = expit(rbm.visible.bias + back @ rbm.weights.T)
    monkeypatch.setattr("ebm.data.minibatches.BLOCK", 4)
    for rows in (v, labeled):
        np.testing.assert_allclose(dbn.transform(rows), hidden, rtol=1e-12)
        np.testing.assert_allclose(dbn.reconstruct(rows), back, rtol=1e-12)
        np.testing.assert_array_equal(dbn.predict(rows), expected)


# Training.


def test_pretraining_is_what_one_makes_by_hand():
    rows = np.random.default_rng(12).random((60, 6)).astype(np.float32)
    labels = np.eye(3, dtype=np.float32)[np.arange(60) % 3]
    dbn = DBN([6, ReLU(5), 4], labels=3, device="cpu", seed=7)
    options = {"epochs": 2, "batch_size": 20}
    alone = [RBM(6, ReLU(5), device="cpu", seed=7), RBM(Joint(ReLU(5), Softmax(3)), 4, device="cpu", seed=8)]
    for rbm, other in zip(dbn.layers, alone, strict=True):
        np.testing.assert_array_equal(rbm.parameters.buffer, other.parameters.buffer)
    assert dbn.fit(np.concatenate([rows, labels], axis=1), per_layer=[{}, {"learning": CD(2)}], **options) is dbn
    alone[0].fit(rows, **options)
    alone[1].fit(np.concatenate([alone[0].transform(rows), labels], axis=1), learning=CD(2), **options)
    for rbm, other in zip(dbn.layers, alone, strict=True):
        np.testing.assert_array_equal(rbm.parameters.buffer, other.parameters.buffer)
    assert (dbn.trained, dbn.tied) == (2, True)
    assert dbn.generative[0] is dbn.layers[0]


def test_a_layer_is_added_on_top():
    rows = np.random.default_rng(13).random((60, 6)).astype(np.float32)
    options = {"epochs": 2, "batch_size": 20}
    whole = DBN([6, 5, 4, 3], device="cpu", seed=2).fit(rows, **options)
    grown = DBN([6, 5], device="cpu", seed=2).fit(rows, **options)
    grown.add(4)
    grown.add(RBM(4, Bernoulli(3), device="cpu", seed=4))
    assert (grown.trained, len(grown.generative)) == (1, 2)
    grown.fit(rows, **options)
    for rbm, other in zip(grown.layers, whole.layers, strict=True):
        np.testing.assert_array_equal(rbm.parameters.buffer, other.parameters.buffer)
    np.testing.assert_array_equal(grown.sample(5, 3, seed=1), whole.sample(5, 3, seed=1))
    assert (
        repr(grown)
        == repr(whole)
        == "DBN(Bernoulli(6), Bernoulli(5), Bernoulli(4), Bernoulli(3), device='cpu', dtype='float32')"
    )


def test_digits_are_learned_with_their_labels():
    train, _, test = data.load("digits")
    rows, labels = train.images, np.eye(10, dtype=np.float32)[train.labels]
    dbn = DBN([64, 60, 100], labels=10, device="cpu", seed=1)
    both = np.concatenate([rows, labels], axis=1)
    dbn.fit(both, epochs=30, batch_size=20, binarization="stochastic", optimizer=SGD(0.1, 0.5))
    assert (dbn.predict(test.images) == test.labels).mean() > 0.88
    # what it dreams of a class it takes for that class
    dreams = dbn.sample(200, 200, clamp=(np.arange(74) >= 64, np.append(np.zeros(64), np.eye(10)[3])), means=True, seed=2)
    assert (dbn.predict(dreams) == 3).mean() > 0.4


MIXED = {
    "gaussian, softmax, rectified": ([Gaussian(3, learn_variance=True), Softmax(4), ReLU(3), 2], 0),
    "rectified hidden units and labels": ([4, ReLU(3), 3], 3),
    "groups": ([Softmax(3, groups=2), 4, Softmax(2, groups=2)], 2),
    "pixels and a category": ([Joint(3, Softmax(3)), 4, 3], 2),
    "words": ([ReplicatedSoftmax(5), 4, 3], 0),
    "gaussian in the middle": ([4, Gaussian(3, learn_variance=True), 3], 0),
    "one RBM of pixels, a category and labels": ([Joint(3, Softmax(3)), 4], 2),
}


def mixed_rows(units, rows=40):
    generator = np.random.default_rng(14)
    if isinstance(units, Joint):
        return np.concatenate([mixed_rows(m, rows) for m in units.members], axis=1)
    if isinstance(units, Gaussian):
        return generator.normal(0, 1, (rows, units.size))
    if units.replicated:
        return np.float64(generator.multinomial(np.arange(rows) % 4 + 1, np.full(units.size, 1 / units.size)))
    return np.concatenate([units.states(i, i + 1) for i in generator.integers(units.number_of_states(), size=rows)])


@pytest.mark.parametrize("name", MIXED)
def test_networks_of_mixed_units_do_all_that_others_do(name):
    layers, labels = MIXED[name]
    dbn = DBN(layers, labels=labels, device="cpu", dtype="float64", seed=1, passed="samples")
    rows = mixed_rows(dbn.visible_units)
    before = [rbm.parameters.buffer.copy() for rbm in dbn.layers]
    dbn.fit(rows, epochs=2, batch_size=10)
    dbn.fine_tune(rows, epochs=2, batch_size=10)
    for rbm, old in zip((*dbn.layers, *dbn.generative), before + before[:-1], strict=True):
        assert np.isfinite(rbm.parameters.buffer).all()
        assert (rbm.parameters.buffer != old).any()
    found = dbn.sample(len(rows), 5, start=rows, seed=2)
    dbn.visible_units.check(found, "samples")
    np.testing.assert_array_equal(
        found.sum(axis=1) if dbn.visible_units.replicated else 0, rows.sum(axis=1) if dbn.visible_units.replicated else 0
    )
    assert np.isfinite(dbn.sample(len(rows), 5, start=rows, means=True, seed=2)).all()
    assert dbn.reconstruct(rows).shape == (len(rows), dbn.inputs)
    assert np.isfinite(dbn.log_weights(rows, Stream(1))).all()
    if labels:
        assert set(dbn.predict(rows)) <= set(range(labels))
    if not dbn.visible_units.replicated:
        mask = np.ones(dbn.visible_units.size, bool)
        mask[0] = isinstance(dbn.layers[0].visible.units, Softmax)
        np.testing.assert_array_equal(dbn.sample(len(rows), 2, clamp=(mask, rows), seed=3)[:, mask], rows[:, mask])


def test_a_network_on_another_device_is_the_same(strict):
    """Chains are not compared between devices in general; at these sizes no sample lies within rounding of where it changes."""
    found = {}
    rows = np.concatenate([binary_rows(3), np.eye(3)[np.arange(8) % 3]], axis=1)
    for device in ("cpu", strict):
        dbn = DBN([3, 3, 2], labels=3, device=device, dtype="float64", seed=3)
        dbn.fit(rows, epochs=2, batch_size=4, binarization="stochastic")
        clamp = np.arange(6) > 1, rows
        found[dbn.device.name] = [
            dbn.transform(rows),
            dbn.reconstruct(rows),
            dbn.predict(rows),
            dbn.sample(8, 3, seed=1),
            dbn.sample(8, 3, clamp=clamp, seed=1),
            dbn.sample(8, 3, clamp=clamp, start=rows, seed=1),
            recognition_bound(dbn, rows, 0.0, samples=3, seed=1),
        ]
    for a, b in zip(*found.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


# Bad input.


def rbm(visible, hidden, **options):
    return RBM(visible, hidden, device="cpu", **options)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: DBN([4]), ValueError, r"found layers=\[4\]; expected at least two"),
        (lambda: DBN([]), ValueError, r"found layers=\[\]; expected at least two"),
        (lambda: DBN([rbm(4, 3), 2]), TypeError, "expected sizes and units, or RBMs, and not both"),
        (lambda: DBN([4, 3], labels=1), ValueError, "found categories=1"),
        (lambda: DBN([4, 3], labels=-2), ValueError, "labels=-2|categories=-2"),
        (
            lambda: DBN([rbm(4, 3), rbm(4, 2)]),
            ValueError,
            r"layer 1, .*, has visible Bernoulli\(4\); expected Bernoulli\(3\), the hidden",
        ),
        (lambda: DBN([rbm(4, 3), rbm(Gaussian(3), 2)]), ValueError, r"has visible Gaussian\(3\); expected Bernoulli\(3\)"),
        (
            lambda: DBN([rbm(4, 3), rbm(3, 2)], labels=2),
            ValueError,
            r"expected Joint\(Bernoulli\(3\), Softmax\(2\)\), .* beside 2 labels",
        ),
        (lambda: DBN([rbm(4, 3), rbm(5, 2)], labels=2), ValueError, r"has visible Bernoulli\(5\); expected Joint"),
        (lambda: DBN([rbm(4, 3), rbm(Joint(3, Softmax(2)), 2)]), ValueError, r"expected Bernoulli\(3\), the hidden units of"),
        (
            lambda: DBN([rbm(6, 3)], labels=2),
            ValueError,
            r"has visible Bernoulli\(6\); expected Joint\(Bernoulli\(6\), Softmax\(2\)\)",
        ),
        (
            lambda: rbm(4, 3).transposed(3),
            ValueError,
            "found hidden=3 .*; expected 4, or more where the visible units are binary",
        ),
        (lambda: rbm(Gaussian(4), 3).transposed(5), ValueError, "found hidden=5 .*; expected 4, or more"),
        (lambda: DBN([rbm(4, 3), rbm(3, 2, dtype="float64")]), ValueError, "expected RBMs of one device and one dtype"),
        (lambda: DBN([ReplicatedSoftmax(4), 3, 2], labels=2), ValueError, "labels=2 beside ReplicatedSoftmax.*leave them out"),
        (lambda: DBN([ReplicatedSoftmax(4), 3], labels=2), ValueError, "labels=2 beside ReplicatedSoftmax"),
        (lambda: DBN([4, ReplicatedSoftmax(3), 2]), ValueError, "word counts can only be visible"),
    ],
)
def test_what_is_no_network(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_machines_of_two_devices_are_no_network(strict):
    with pytest.raises(ValueError, match="expected RBMs of one device and one dtype"):
        DBN([rbm(4, 3), RBM(3, 2, device=strict)])


PIXELS = binary_rows(3)[[1, 3, 4, 6, 7, 0]]
CLASSES = np.arange(6) % 2
ONE_HOT = np.eye(2)[CLASSES]


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (np.hstack([ONE_HOT, PIXELS]), r"data\[:, 3:5\]\[1, 0:2\] is .*; expected a 1 among zeros"),
        (np.hstack([PIXELS, 1 - 0.5 * ONE_HOT]), "expected a 1 among zeros"),
        (np.hstack([PIXELS, 0 * ONE_HOT]), "expected a 1 among zeros"),
        (np.hstack([PIXELS, CLASSES[:, None]]), r"found shape \(6, 4\); expected \(rows, 3 \+ 2 = 5\)"),
        (PIXELS, r"found shape \(6, 3\); expected \(rows, 3 \+ 2 = 5\)"),
        (np.hstack([PIXELS * 255, ONE_HOT]), "divide by 255"),
        (np.hstack([PIXELS, ONE_HOT, ONE_HOT]), r"found shape \(6, 7\)"),
    ],
)
def test_rows_and_labels_that_do_not_fit_change_nothing(rows, match):
    dbn = DBN([3, 4, 2], labels=2, device="cpu", seed=1)
    before = [rbm.parameters.buffer.copy() for rbm in dbn.layers]
    with pytest.raises(ValueError, match=match):
        dbn.fit(rows, epochs=1, batch_size=2)
    good = np.hstack([PIXELS, ONE_HOT])
    with pytest.raises(ValueError, match="validation"):
        dbn.fit(good, validation=rows, epochs=1, batch_size=2)
    dbn.trained = 2
    with pytest.raises(ValueError, match=match):
        dbn.fine_tune(rows, epochs=1, batch_size=2)
    for machine, old in zip(dbn.layers, before, strict=True):
        np.testing.assert_array_equal(machine.parameters.buffer, old)
    assert dbn.tied


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n": 0}, "found n=0, steps=2; expected whole numbers >= 1"),
        ({"steps": 0}, "found n=2, steps=0"),
        ({"steps": 1.5}, r"steps=1\.5"),
        ({"start": np.zeros((2, 3))}, r"start: found shape \(2, 3\); expected \(2, 5\)"),
        ({"start": np.zeros((2, 5))}, r"start\[:, 3:5\].* expected a 1 among zeros"),
        (
            {"clamp": (np.ones(4, bool), np.ones(4))},
            r"expected \(2, 5\) or \(5,\): visible units can be held, hidden ones can't",
        ),
        ({"clamp": (np.arange(5) > 3, np.ones(5))}, "found a mask that holds a part of a group"),
        ({"clamp": (np.arange(5) > 2, np.ones(5))}, "clamp values.* expected a 1 among zeros"),
        ({"clamp": np.ones(5)}, "expected a pair"),
    ],
)
def test_samples_that_cannot_be(options, match):
    dbn = DBN([3, 4, 2], labels=2, device="cpu")
    with pytest.raises(ValueError, match=match):
        dbn.sample(**{"n": 2, "steps": 2, "seed": 1, **options})


def test_documents_are_sampled_at_given_lengths():
    dbn = DBN([ReplicatedSoftmax(4), 3, 2], device="cpu", seed=1)
    with pytest.raises(ValueError, match="write start=counts of documents so long"):
        dbn.sample(2, 3)
    with pytest.raises(ValueError, match="found a clamp for word counts"):
        dbn.sample(2, 3, start=np.ones((2, 4)), clamp=(np.ones(4, bool), np.ones(4)))


def test_a_top_without_a_partition_function_is_not_sampled():
    dbn = DBN([3, Gaussian(2), ReLU(2)], device="cpu")
    dbn.top.weights[...] = 2.0
    with pytest.raises(ValueError, match="expected less than 1"):
        dbn.sample(2, 3)


def test_rows_of_another_width_have_no_weights():
    dbn = DBN([3, 4, 2], labels=2, device="cpu")
    for wrong in (np.zeros((2, 3), np.float32), np.zeros((2, 6), np.float32), np.zeros(5, np.float32)):
        with pytest.raises(ValueError, match=r"v: found shape .*; expected \(rows, 5\), 2 of them labels"):
            dbn.log_weights(wrong, Stream(1))
    for method in (dbn.transform, dbn.reconstruct, dbn.predict):
        with pytest.raises(ValueError, match=r"found shape \(2, 6\); expected \(rows, 3 \+ 2 = 5\)"):
            method(np.zeros((2, 6)))
        with pytest.raises(ValueError, match="divide by 255"):
            method(255 * PIXELS)


def test_softmax_units_between_two_machines_pass_samples():
    rows = np.random.default_rng(15).random((40, 4))
    dbn = DBN([4, Joint(2, Softmax(3)), 3], device="cpu", seed=1)
    before = dbn.layers[0].parameters.buffer.copy()
    with pytest.raises(ValueError, match=r"found passed='means' with Joint.*its means are no states.*passed='samples'"):
        dbn.fit(rows, epochs=1, batch_size=20)
    np.testing.assert_array_equal(dbn.layers[0].parameters.buffer, before)
    dbn = DBN([4, Joint(2, Softmax(3)), 3], device="cpu", seed=1, passed="samples").fit(rows, epochs=1, batch_size=20)
    x = dbn.layers[0].transform(rows).astype(np.float64)
    np.testing.assert_allclose(dbn.transform(rows), expit(dbn.top.hidden.bias + x @ dbn.top.weights), rtol=1e-5)


def test_labels_are_predicted_where_there_are_some():
    with pytest.raises(ValueError, match=r"without labels; write DBN\(\[\.\.\.\], labels=10\)"):
        DBN([3, 2], device="cpu").predict(PIXELS)
    with pytest.raises(ValueError, match="divide by 255"):
        DBN([3, 2], labels=2, device="cpu").predict(255 * PIXELS)


def test_a_layer_that_does_not_fit_is_not_added():
    dbn = DBN([3, 4], device="cpu", seed=1)
    for wrong in (rbm(5, 2), rbm(Gaussian(4), 2), rbm(4, 2, dtype="float64")):
        with pytest.raises(ValueError, match=r"expected Bernoulli\(4\)|one dtype"):
            dbn.add(wrong)
    assert (len(dbn.layers), dbn.generative) == (1, [])
    with pytest.raises(ValueError, match=r"found labels at the top; .*: build the stack anew"):
        DBN([3, 4], labels=2, device="cpu").add(2)


def test_pretraining_and_layers_come_before_fine_tuning():
    dbn = DBN([3, 4, 2], device="cpu", seed=1)
    with pytest.raises(ValueError, match=r"found 0 of 2 layers trained; .*: write dbn\.fit\(data\) first"):
        dbn.fine_tune(PIXELS, epochs=1, batch_size=2)
    dbn.fit(PIXELS, epochs=1, batch_size=2, layers=[0])
    with pytest.raises(ValueError, match="found 1 of 2 layers trained"):
        dbn.fine_tune(PIXELS, epochs=1, batch_size=2)
    assert dbn.tied
    dbn.fit(PIXELS, epochs=1, batch_size=2).fine_tune(PIXELS, epochs=1, batch_size=2)
    with pytest.raises(ValueError, match="found a network that was fine-tuned; add layers before fine_tune"):
        dbn.add(2)
    dbn.trained = 0
    with pytest.raises(ValueError, match=r"found a network that was fine-tuned; pretraining comes first: write fine_tune"):
        dbn.fit(PIXELS, epochs=1, batch_size=2)
