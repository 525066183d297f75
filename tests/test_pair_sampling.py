"""Gibbs sampling leaves the exact distribution of every pair of unit types where it is, and broken kernels do not.

Many chains start at independent exact draws (see `pairs`). After some sweeps of a sound kernel they are exact draws again.
"""

import numpy as np
import pytest
from enumeration import FALSE_ALARM
from pairs import CONTINUOUS, DISCRETE, PAIRS, assert_joint, assert_states, draw, machine, single, states, summed
from scipy.special import logsumexp
from scipy.stats import kstest, norm

from ebm import Gaussian, ReLU, ReplicatedSoftmax, Softmax
from ebm.compute.random import Stream
from ebm.learning import PCD

CHAINS = 6000
EXAMPLES = DISCRETE | {name: (single(v), single(h)) for name, (v, h) in CONTINUOUS.items()}
every_pair = pytest.mark.parametrize("name", EXAMPLES)


def halve_the_field(monkeypatch, units):
    sample = type(units).sample

    def broken(self, field, *arguments, **options):
        field *= 0.5
        return sample(self, field, *arguments, **options)

    monkeypatch.setattr(type(units), "sample", broken)


def swept(rbm, states, stream, beta, sweeps=3):
    """Some sweeps, and one more by the methods for one layer."""
    for _ in range(sweeps):
        states = rbm.sweep(states, "sample", stream, beta=beta)
    h = rbm.sample_hidden(states[0], stream, beta)
    return rbm.sample_visible(h, stream, beta, like=states[0]), h


@every_pair
@pytest.mark.parametrize(("dtype", "beta"), [("float32", 1.0), ("float64", 0.6)])
def test_sweeps_do_not_drift(name, dtype, beta):
    rbm = machine(EXAMPLES[name], seed=3, dtype=dtype)
    start = draw(rbm, CHAINS, seed=4, beta=beta)
    assert_joint(rbm, *start, beta=beta)
    assert_joint(rbm, *swept(rbm, start, Stream(5), beta), beta=beta)


@every_pair
@pytest.mark.parametrize("layer", [0, 1])
def test_a_broken_kernel_drifts(monkeypatch, name, layer):
    rbm = machine(EXAMPLES[name], seed=3)
    start = draw(rbm, CHAINS, seed=4)
    halve_the_field(monkeypatch, rbm.layers[layer].units)
    with pytest.raises(AssertionError, match=r"chi-square|Kolmogorov"):
        assert_joint(rbm, *swept(rbm, start, Stream(5), 1.0))


def test_a_layer_that_ignores_its_precision_drifts(monkeypatch):
    rbm = machine(PAIRS["Gaussian learned x Bernoulli"], seed=3)
    start = draw(rbm, CHAINS, seed=4)
    monkeypatch.setattr(Gaussian, "precision", lambda self, like, beta=1.0: np.ones(self.size, like.dtype))
    with pytest.raises(AssertionError, match=r"chi-square|Kolmogorov"):
        assert_joint(rbm, *swept(rbm, start, Stream(5), 1.0))


def test_the_rectified_rule_of_nair_and_hinton_drifts(monkeypatch):
    """max(0, field + noise) is no Gibbs step of this energy."""
    rbm = machine(PAIRS["Bernoulli x ReLU"], seed=3)
    start = draw(rbm, CHAINS, seed=4)
    assert_joint(rbm, *start)

    def rule(self, field, stream, first_row=0, beta=1.0):
        return np.maximum(field + stream.normal(field.shape, field.dtype), 0)

    monkeypatch.setattr(ReLU, "sample", rule)
    with pytest.raises(AssertionError, match=r"chi-square|Kolmogorov"):
        assert_joint(rbm, *swept(rbm, start, Stream(5), 1.0))


def test_two_gaussian_layers_stay_normal():
    """All five units together, whitened by the Cholesky factor of their precision."""
    rbm = machine((Gaussian(3, learn_variance=True), Gaussian(2)), seed=6)
    precisions = [np.diag(np.exp(rbm.parameters[f"log_precision.{i}"])) for i in (0, 1)]
    P = np.block([[precisions[0], -rbm.weights], [-rbm.weights.T, precisions[1]]])
    mean = np.linalg.solve(P, np.concatenate([rbm.visible.bias, rbm.hidden.bias]))
    L = np.linalg.cholesky(P)
    x = mean + np.linalg.solve(L.T, np.random.default_rng(7).standard_normal((5, CHAINS))).T
    found = np.concatenate(swept(rbm, [np.ascontiguousarray(x[:, :3]), np.ascontiguousarray(x[:, 3:])], Stream(8), 1.0), axis=1)
    white = (found - mean) @ L
    for column in white.T:
        assert kstest(column, "norm").pvalue > FALSE_ALARM
    assert (np.abs(white.T @ white / CHAINS - np.eye(5)) < 5 * np.sqrt((1 + np.eye(5)) / CHAINS)).all()


def test_long_runs_from_the_base_rate_reach_the_distribution():
    """`sample` with a warm start of nothing but biases: the visible states alone, for pairs that mix."""
    for name in ("Gaussian learned x Bernoulli", "ReLU x Softmax", "Softmax x Gaussian", "groups x ReLU"):
        rbm = machine(PAIRS[name], seed=9, dtype="float32")
        rbm.weights[...] *= 0.5
        v = rbm.sample(CHAINS, 40, seed=10)
        assert v.dtype == np.float32
        h = rbm.sample_hidden(v, Stream(11))
        assert_joint(rbm, v, h)


def test_a_tempered_sample_of_real_valued_units():
    rbm = machine(PAIRS["Gaussian learned x Bernoulli"], seed=9)
    v = rbm.sample(CHAINS, 40, beta=0.5, seed=10)
    assert_joint(rbm, v, rbm.sample_hidden(v, Stream(11), beta=0.5), beta=0.5)
    with pytest.raises(AssertionError):
        assert_joint(rbm, v, rbm.sample_hidden(v, Stream(11)))


# Clamped units.


def test_real_valued_units_may_be_held():
    """The free unit is distributed as a mixture over the hidden states, weighted by how well they explain the held one."""
    rbm = machine((Gaussian(2, learn_variance=True), PAIRS["Bernoulli x Bernoulli"][1]), seed=12, dtype="float32")
    held = -0.7
    v = rbm.sample(CHAINS, 40, clamp=([True, False], [held, np.nan]), seed=13)
    assert (v[:, 0] == np.float32(held)).all()
    h = states(rbm, 1)
    precision = np.exp(np.float64(rbm.parameters["log_precision.0"]))
    mean = (rbm.visible.bias + h @ rbm.weights.T) / precision
    log_weight = h @ rbm.hidden.bias + (precision * mean**2 / 2).sum(axis=1) - precision[0] * (held - mean[:, 0]) ** 2 / 2
    p = np.exp(log_weight - logsumexp(log_weight))

    def below(x):
        return norm.cdf(x[:, None], mean[:, 1], precision[1] ** -0.5) @ p

    assert kstest(np.float64(v[:, 1]), below).pvalue > FALSE_ALARM


def test_groups_may_be_held():
    rbm = machine((Softmax(3, groups=2), Gaussian(2)), seed=14)
    value = [0, 1, 0]
    mask = np.arange(6) < 3
    v = rbm.sample(CHAINS, 40, clamp=(mask, value + [np.nan] * 3), seed=15)
    possible = states(rbm, 0)[(states(rbm, 0)[:, :3] == value).all(axis=1)]
    log_weights = summed(rbm, 1, possible)[0]
    assert_states(v, possible, np.exp(log_weights - logsumexp(log_weights)))


# Word counts.


def test_documents_keep_their_lengths():
    rbm = machine((ReplicatedSoftmax(3, longest=9), PAIRS["Bernoulli x Bernoulli"][1]), seed=16)
    start = np.zeros((9, 3))
    start[:, 1] = np.arange(1, 10)
    found = rbm.sample(9, 20, start=start, seed=17)
    np.testing.assert_array_equal(found.sum(axis=1), np.arange(1, 10))
    assert (found[:, [0, 2]] > 0).any()
    h = rbm.mean_hidden(start)
    with pytest.raises(ValueError, match="the lengths of the documents are unknown; write like=v"):
        rbm.mean_visible(h)
    with pytest.raises(ValueError, match="the lengths of the documents are unknown"):
        rbm.sample_visible(h, Stream(1))


def test_the_hidden_bias_counts_once_a_word():
    """Salakhutdinov & Hinton 2009, equation 4: documents twice as long have twice the field."""
    rbm = machine(PAIRS["counts x Bernoulli"])
    v = np.array([[1.0, 2, 0], [2, 4, 0]])
    field = rbm.hidden_field(v)
    np.testing.assert_allclose(field[1], 2 * field[0], rtol=1e-13)
    np.testing.assert_allclose(field[0], 3 * rbm.hidden.bias + v[0] @ rbm.weights, rtol=1e-13)


def test_persistent_chains_of_documents():
    """A chain takes the length of its row of the batch."""
    rbm = machine(PAIRS["counts x Bernoulli"])
    v = np.zeros((6, 3))
    v[:, 0] = [1, 2, 3, 4, 5, 6]
    rule = PCD(2)
    chains = rule.start(rbm, 6, Stream(18))
    _, (fantasy, _) = rule(rbm, v, chains, Stream(19))
    np.testing.assert_array_equal(fantasy.sum(axis=1), v.sum(axis=1))
    assert fantasy.shape == (6, 3)
