"""Machines of every pair of unit types: energies, free energies, gradients and partition functions against sums and integrals."""

import itertools

import numpy as np
import pytest
from pairs import CONTINUOUS, DISCRETE, LENGTH, PAIRS, draw, energy, lengths, log_partition, machine, single, states, summed
from quadrature import nodes
from test_machine import assert_same, host

from ebm import RBM, Bernoulli, Gaussian, ReLU, ReplicatedSoftmax, Softmax
from ebm.learning import CD
from ebm.likelihood import exact_log_partition, log_probability
from ebm.machine import BoltzmannMachine
from ebm.training import SGD, DivergenceError

every_pair = pytest.mark.parametrize("name", PAIRS)
with_a_discrete_side = pytest.mark.parametrize("name", DISCRETE)
real_valued = pytest.mark.parametrize("name", CONTINUOUS)


def rows_of(rbm, layer, n=6, seed=2):
    """States of a layer; of word counts documents of one to five words."""
    generator = np.random.default_rng(seed)
    units = rbm.layers[layer].units
    if units.replicated:
        return np.float64(generator.multinomial(np.arange(n) % 5 + 1, [0.2, 0.5, 0.3]))
    if units.discrete:
        return states(rbm, layer)[generator.integers(len(states(rbm, layer)), size=n)]
    x = generator.normal(0, 1.5, (n, units.size))
    return np.abs(x) if isinstance(units, ReLU) else x


@every_pair
def test_energy_follows_the_formula(name):
    for dtype, rounding in (("float64", 1e-13), ("float32", 2e-6)):
        rbm = machine(PAIRS[name], dtype=dtype)
        v, h = (rows_of(rbm, i).astype(dtype) for i in (0, 1))
        found = rbm.energy([v, h])
        assert found.dtype == dtype
        np.testing.assert_allclose(found, energy(rbm, v, h), rtol=rounding, atol=4 * rounding)


@every_pair
def test_free_energy_sums_the_hidden_states_out(name):
    for dtype, rounding in (("float64", 1e-11), ("float32", 3e-6)):
        rbm = machine(PAIRS[name], dtype=dtype)
        v = rows_of(rbm, 0).astype(dtype)
        found = rbm.free_energy(v)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, -summed(rbm, 1, v)[0], rtol=rounding, atol=4 * rounding)


@every_pair
def test_means_are_the_conditionals(name):
    rbm = machine(PAIRS[name])
    v, h = rows_of(rbm, 0), rows_of(rbm, 1)
    np.testing.assert_allclose(rbm.mean_hidden(v), summed(rbm, 1, v)[1], rtol=1e-9, atol=1e-11)
    like = np.tile([LENGTH, 0.0, 0.0], (len(h), 1)) if rbm.visible.units.replicated else None
    np.testing.assert_allclose(rbm.mean_visible(h, like=like), summed(rbm, 0, h)[1], rtol=1e-9, atol=1e-11)
    for layer, verb in itertools.product((0, 1), ("mean", "mode")):
        expected = getattr(rbm.layers[layer].units.like(v), verb)(rbm.field(layer, [v, h]))
        np.testing.assert_array_equal(rbm.update(layer, [v, h], verb), expected)


@every_pair
def test_means_and_sums_at_another_temperature(name):
    rbm, beta = machine(PAIRS[name]), 0.4
    v = rows_of(rbm, 0)
    found = rbm.update(1, [v, None], "mean", beta=beta)
    np.testing.assert_allclose(found, summed(rbm, 1, v, beta)[1], rtol=1e-9, atol=1e-11)
    # what is most likely stays so
    modes = [rbm.update(1, [v, None], "mode", beta=b) for b in (beta, 1.0)]
    np.testing.assert_allclose(*modes, rtol=1e-12)
    found = rbm.hidden.units.log_partition(rbm.hidden_field(v, beta), beta)
    rest = -beta * energy(rbm, v, np.zeros((len(v), rbm.hidden.units.size)))
    np.testing.assert_allclose(found + rest, summed(rbm, 1, v, beta)[0], rtol=1e-10, atol=1e-10)


@every_pair
def test_reconstructions_have_the_documents_lengths(name):
    rbm = machine(PAIRS[name])
    v = rows_of(rbm, 0)
    back = rbm.mean_visible(rbm.mean_hidden(v), like=v)
    np.testing.assert_array_equal(rbm.reconstruct(v), back)
    assert rbm.squared_error(v) == pytest.approx(((v - back) ** 2).sum(axis=1).mean(), rel=1e-12)
    if rbm.visible.units.replicated:
        np.testing.assert_allclose(back.sum(axis=1), v.sum(axis=1), rtol=1e-12)


@every_pair
def test_statistics_are_the_derivatives_of_the_energy(name):
    rbm = machine(PAIRS[name])
    v, h = rows_of(rbm, 0), rows_of(rbm, 1)
    gradient = rbm.parameters.zeros_like()
    rbm.add_statistics_(gradient, [v, h], 1.0)
    step = 1e-4  # the energy is linear, but for precisions
    for key, array in rbm.parameters.named_arrays().items():
        flat, found = array.reshape(-1), gradient[key].reshape(-1)
        if rbm.parameters.segments[key].frozen:
            assert not found.any(), f"{key} is not trained"
            continue
        for i in range(flat.size):
            middle, ends = flat[i], []
            for flat[i] in (middle + step, middle - step):
                ends.append(rbm.energy([v, h]).mean())
            flat[i] = middle
            assert found[i] == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-7, abs=1e-8), f"{key}[{i}]"


def test_only_learned_precisions_are_trained():
    rbm = RBM(Gaussian(3, learn_variance=True), Gaussian(2), device="cpu")
    segments = rbm.parameters.segments
    assert (segments["log_precision.0"].frozen, segments["log_precision.1"].frozen) == (False, True)
    assert 0 < segments["log_precision.0"].rate < 1
    assert not segments["log_precision.0"].is_weights, "weight decay would pull variances toward 1"
    assert not rbm.parameters["log_precision.0"].any()


# Partition functions.


def exact(rbm):
    return exact_log_partition(rbm, LENGTH if rbm.visible.units.replicated else None)


@with_a_discrete_side
def test_exact_log_partition_is_the_sum_over_everything(name, monkeypatch):
    rbm = machine(DISCRETE[name])
    expected = log_partition(rbm)
    assert exact(rbm) == pytest.approx(expected, rel=1e-10)
    monkeypatch.setattr("ebm.enumeration._BLOCK", 3)
    assert exact(rbm) == pytest.approx(expected, rel=1e-10)
    assert exact(machine(DISCRETE[name], dtype="float32")) == pytest.approx(expected, rel=1e-5)


@with_a_discrete_side
def test_probabilities_sum_to_one(name):
    pair = DISCRETE[name]
    rbm = machine((single(pair[0]), pair[1]))
    if rbm.visible.units.discrete:
        assert np.exp(log_probability(rbm, states(rbm, 0), exact(rbm))).sum() == pytest.approx(1, rel=1e-10)
    else:
        x, w = nodes(0 if isinstance(rbm.visible.units, ReLU) else -20, 20, 40)
        assert np.exp(log_probability(rbm, x[:, None], exact(rbm))) @ w == pytest.approx(1, rel=1e-10)


@real_valued
def test_without_a_layer_that_can_be_listed_there_is_no_exact_sum(name):
    rbm = machine(PAIRS[name])
    message = r"found RBM\(.*\), neither layer with at most 2\^25 states .* is real-valued.*write ais.estimate\("
    with pytest.raises(ValueError, match=message):
        exact_log_partition(rbm)


@real_valued
def test_free_energies_of_real_valued_pairs_integrate_to_the_partition_function(name):
    """One unit each: the integral over both in the plane, and of e^-F over a line."""
    rbm = machine(tuple(map(single, CONTINUOUS[name])))
    x, w = nodes(0 if isinstance(rbm.visible.units, ReLU) else -20, 20, 40)
    total = np.log(np.exp(-rbm.free_energy(x[:, None])) @ w)
    assert total == pytest.approx(log_partition(rbm), rel=1e-10)


@pytest.mark.parametrize("learned", [False, True])
def test_the_gaussian_gaussian_machine_is_a_normal_distribution(learned):
    """Its free energy is that of the visible marginal of N(P^-1 b, P^-1), P = [[Γ, -W], [-W', Γ']]."""
    rbm = machine((Gaussian(3, learned), Gaussian(2, learned)))
    precision, bias = joint_precision(rbm), np.concatenate([rbm.visible.bias, rbm.hidden.bias])
    covariance = np.linalg.inv(precision)
    mean = covariance @ bias
    log_z = 2.5 * np.log(2 * np.pi) - np.linalg.slogdet(precision)[1] / 2 + bias @ covariance @ bias / 2
    v = np.random.default_rng(3).normal(0, 1, (5, 3))
    shift = v - mean[:3]
    marginal = covariance[:3, :3]
    log_p = -np.einsum("ri,ij,rj->r", shift, np.linalg.inv(marginal), shift) / 2
    log_p -= np.linalg.slogdet(marginal)[1] / 2 + 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(-rbm.free_energy(v) - log_z, log_p, rtol=1e-11)


def test_the_layer_with_fewer_states_is_summed(monkeypatch):
    """2^25 states are the limit; whichever side has fewer is listed."""
    monkeypatch.setattr("ebm.enumeration.LARGEST", 16)
    for visible, hidden in ((Bernoulli(40), Bernoulli(4)), (Bernoulli(4), Bernoulli(40)), (Gaussian(40), Softmax(2, groups=4))):
        rbm = RBM(visible, hidden, device="cpu", dtype="float64")
        assert np.isfinite(exact_log_partition(rbm))
    with pytest.raises(ValueError, match=r"neither layer with at most 2\^25 states"):
        exact_log_partition(RBM(5, 6, device="cpu"))
    monkeypatch.undo()
    listed, states_of = [], Bernoulli.states
    monkeypatch.setattr(Bernoulli, "states", lambda self, *ends: (listed.append(self.size), states_of(self, *ends))[1])
    for sizes in ((9, 4), (4, 9)):
        exact_log_partition(RBM(*sizes, device="cpu"))
    assert set(listed) == {4}
    # without weights a product over units
    rbm.weights[...] = 0
    assert exact_log_partition(rbm) == pytest.approx(20 * np.log(2 * np.pi) + 4 * np.log(2), rel=1e-12)


def test_large_energies_do_not_overflow():
    rbm = RBM(6, 3, device="cpu", dtype="float64")
    rbm.weights[...] = 0
    rbm.visible.bias[...] = 400
    rbm.hidden.bias[...] = -400
    assert exact_log_partition(rbm) == pytest.approx(2400, rel=1e-12)


def test_lengths_are_for_word_counts():
    with pytest.raises(ValueError, match=r"found no length for ReplicatedSoftmax\(3, longest=9\); .*write length=D"):
        exact_log_partition(RBM(ReplicatedSoftmax(3, longest=9), 2, device="cpu"))
    with pytest.raises(ValueError, match=r"found length=5 for Bernoulli\(3\); expected .* none for others"):
        exact_log_partition(RBM(3, 2, device="cpu"), length=5)


# The gradient of the log-likelihood.


@with_a_discrete_side
def test_the_difference_of_exact_phases_is_the_gradient_of_the_log_likelihood(name):
    pair = DISCRETE[name]
    rbm = machine((single(pair[0]), pair[1]))
    v = rows_of(rbm, 0)
    if rbm.visible.units.replicated:
        v = states(rbm, 0)[[0, 5, 7, 20]]
    gradient = rbm.parameters.zeros_like()
    rbm.add_statistics_(gradient, (v, rbm.mean_hidden(v)), 1.0)
    if rbm.visible.units.discrete:
        x, w = states(rbm, 0), 1.0
    else:
        x, w = nodes(0 if isinstance(rbm.visible.units, ReLU) else -20, 20, 20)
        x = x[:, None]
    p = w * np.exp(log_probability(rbm, x, exact(rbm)))
    for row, weight in zip(x, p, strict=True):
        rbm.add_statistics_(gradient, (row[None], rbm.mean_hidden(row[None])), -weight)
    step = 1e-4
    for key, array in rbm.parameters.named_arrays().items():
        flat, found = array.reshape(-1), gradient[key].reshape(-1)
        for i in range(flat.size if not rbm.parameters.segments[key].frozen else 0):
            middle, ends = flat[i], []
            for flat[i] in (middle + step, middle - step):
                ends.append(log_probability(rbm, v, exact(rbm)).mean())
            flat[i] = middle
            assert found[i] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6, abs=2e-7), f"{key}[{i}]"


@pytest.mark.parametrize("name", ["Gaussian learned x Bernoulli", "Bernoulli x Gaussian learned", "ReLU x groups"])
def test_the_centered_gradient_of_real_valued_layers(name):
    """Melchior et al. 2016, equations 8 to 10, with precisions left as they are."""
    rbm = machine(PAIRS[name])
    phases = [(rows_of(rbm, 0, n, seed=n), rows_of(rbm, 1, n, seed=n + 1)) for n in (5, 8)]
    centers = [np.random.default_rng(4).normal(0, 1, layer.units.size) for layer in rbm.layers]
    plain, centered = (rbm.parameters.zeros_like() for _ in range(2))
    for gradient, given in ((plain, None), (centered, centers)):
        for phase, sign in zip(phases, (1, -1), strict=True):
            rbm.add_statistics_(gradient, phase, sign, centers=given)
    expected = host(plain)
    mu, lam = centers
    dW = expected["weights"] - np.outer(mu, expected["bias.1"]) - np.outer(expected["bias.0"], lam)
    expected |= {"weights": dW, "bias.0": expected["bias.0"] - dW @ lam, "bias.1": expected["bias.1"] - dW.T @ mu}
    assert_same(host(centered), expected, rtol=1e-11, atol=1e-12)


# Where there is no partition function.


def joint_precision(rbm):
    """P of two Gaussian layers: the energy is x P x / 2 - bias x."""
    roots = [np.exp(rbm.parameters[f"log_precision.{i}"]) for i in (0, 1)]
    W = np.float64(rbm.weights)
    return np.block([[np.diag(roots[0]), -W], [-W.T, np.diag(roots[1])]])


@pytest.mark.parametrize("seed", range(4))
def test_the_boundary_is_where_the_precision_is_no_longer_positive(seed):
    for norm, finite in ((0.999, True), (1.001, False)):
        rbm = machine((Gaussian(4, learn_variance=True), Gaussian(3)), seed, norm=norm)
        assert (np.linalg.eigvalsh(joint_precision(rbm)).min() > 0) == finite
        assert refused(rbm) != finite


def refused(rbm):
    try:
        rbm.require_finite()
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("hidden", [ReLU(1), Gaussian(1)])
def test_the_integral_over_rectified_units_diverges_where_the_machine_is_refused(hidden):
    """The free energy of a large state falls without end from a weight of 1 on, and rises below."""
    rbm = RBM(ReLU(1), hidden, device="cpu", dtype="float64")
    far = np.array([[100.0], [200.0]])
    for weight in (0.9, 0.99, 1.01, 1.1):
        rbm.weights[...] = weight
        fall = np.diff(rbm.free_energy(far))
        assert (fall < 0) == refused(rbm)
    # below -1 only a Gaussian unit on the other side makes it infinite; rectified ones are refused as well, to be simple
    rbm.weights[...] = -1.1
    assert refused(rbm)


def test_precisions_count():
    rbm = RBM(Gaussian(2, learn_variance=True), ReLU(2), device="cpu")
    rbm.weights[...] = 1.5 * np.eye(2)
    assert refused(rbm)
    rbm.parameters["log_precision.0"][...] = np.log(1.5**2) + 0.01
    assert not refused(rbm)
    rbm.parameters["log_precision.0"][1] -= 0.02
    assert refused(rbm)
    other = RBM(ReLU(2), Gaussian(2), device="cpu")
    other.weights[...] = np.diag([0.5, 2])
    assert refused(other)
    other.parameters["log_precision.1"][...] = [-1, np.log(4.1)]
    assert not refused(other)


@with_a_discrete_side
def test_a_discrete_side_is_always_finite(name):
    rbm = machine(DISCRETE[name])
    rbm.weights[...] = 50
    rbm.require_finite()


def test_three_real_valued_layers_are_judged_together():
    """Two weights below 1 may be too much for the layer between them."""
    chain = BoltzmannMachine([Gaussian(1), Gaussian(1), Gaussian(1)], device="cpu", dtype="float64")
    precision = np.eye(3)
    for weight in (0.70, 0.71):
        for c in chain.connections:
            c.weights[...] = weight
            precision[c.lower, c.upper] = precision[c.upper, c.lower] = -weight
        assert (np.linalg.eigvalsh(precision).min() > 0) == (not refused(chain))
    square = BoltzmannMachine([ReLU(2), Gaussian(1), 3, Gaussian(2)], [(0, 1), (1, 2), (3, 2), (3, 0)], device="cpu")
    for c in square.connections:
        c.weights[...] = 9 if 2 in (c.lower, c.upper) else 0.3
    assert not refused(square)
    for c in square.connections:
        c.weights[...] = 9 if 2 in (c.lower, c.upper) else 0.6
    assert refused(square)


REASON = (
    r"the weights between Gaussian\(3\) and ReLU\(2\) have spectral norm 1\.2 \(scaled by the precisions\); expected less than 1, "
    r"else .* no partition function: shrink the weights, lower the learning rate, add WeightDecay, or make one of the layers Bern"
)


def test_without_a_partition_function_nothing_is_computed():
    rbm = machine((Gaussian(3), ReLU(2)), norm=1.2, dtype="float32")
    data = np.random.default_rng(5).normal(0, 1, (20, 3))
    before = rbm.parameters.buffer.copy()
    for act in (lambda: rbm.sample(2), lambda: exact_log_partition(rbm), lambda: rbm.fit(data, batch_size=10)):
        with pytest.raises(ValueError, match=REASON):
            act()
    np.testing.assert_array_equal(rbm.parameters.buffer, before)
    rbm.parameters["weights"][...] = np.nan
    with pytest.raises(ValueError, match="spectral norm"):
        rbm.sample(2)


def test_a_run_that_loses_its_partition_function_ends():
    generator = np.random.default_rng(6)
    data = generator.normal(0, 3, (200, 1)) + 0.1 * generator.normal(0, 1, (200, 4))
    rbm = RBM(Gaussian(4), Gaussian(3), device="cpu", seed=1)
    with pytest.raises(
        DivergenceError, match=r"after epoch \d+: the weights between Gaussian\(4\) and Gaussian\(3\) have spectral"
    ):
        rbm.fit(data, epochs=200, batch_size=20, learning=CD(1), optimizer=SGD(0.003))
    rbm = RBM(Gaussian(4), Gaussian(3), device="cpu", seed=1)
    rbm.fit(data / 3.1, epochs=5, batch_size=20, optimizer=SGD(0.001))
    rbm.require_finite()


def test_the_oracle_draws_what_it_says():
    """The mean of exact draws is that of the sums and integrals they come from."""
    for name in ("Gaussian learned x Bernoulli", "ReLU x Softmax", "counts x Gaussian"):
        rbm = machine(PAIRS[name])
        v, h = draw(rbm, 400, seed=7)
        given = summed(rbm, 0, h)[1]
        error = np.abs((v - given).mean(axis=0)) / ((v - given).std(axis=0) / np.sqrt(len(v)))
        assert (error < 5).all()
        assert (lengths(rbm, v) == (LENGTH if rbm.visible.units.replicated else 1)).all()
