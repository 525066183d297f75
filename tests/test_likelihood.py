"""Likelihoods by ln Z or an estimate of it, pseudo-likelihoods, and what is said where there is none."""

import numpy as np
import pytest
from enumeration import Enumeration, binary_rows, number
from pairs import LENGTH, PAIRS, assert_joint, machine, states, summed
from scipy.sparse import csr_matrix
from scipy.special import logsumexp
from sklearn.neural_network import BernoulliRBM
from test_pairs import rows_of

from ebm import RBM, Bernoulli, ReplicatedSoftmax, Softmax
from ebm.ais import estimate
from ebm.compute.random import Stream
from ebm.enumeration import exact_samples
from ebm.likelihood import exact_log_partition, log_probability, pseudo_log_likelihood

SUPPORTED = [name for name, (v, _) in PAIRS.items() if isinstance(v, (Bernoulli, Softmax))]


def by_enumeration(rbm, v):
    """ln p(x_g | the rest) of each row and group of visible units, (rows, groups), from the energies of all states."""
    width = getattr(rbm.visible.units, "categories", 1)
    every = states(rbm, 0)
    log_p = summed(rbm, 1, every)[0]
    conditionals = []
    for row in v:
        mine = log_p[(every == row).all(axis=1)]
        rest = [
            np.delete(every, range(g, g + width), axis=1) == np.delete(row, range(g, g + width))
            for g in range(0, row.size, width)
        ]
        conditionals.append([(mine - logsumexp(log_p[same.all(axis=1)])).item() for same in rest])
    return np.array(conditionals)


@pytest.mark.parametrize("name", SUPPORTED)
def test_pseudo_likelihood_is_the_sum_of_the_conditionals(name, monkeypatch):
    rbm = machine(PAIRS[name])
    v = states(rbm, 0)
    expected = by_enumeration(rbm, v)
    np.testing.assert_allclose(pseudo_log_likelihood(rbm, v), expected.sum(axis=1), rtol=1e-10)
    single = machine(PAIRS[name], dtype="float32")
    np.testing.assert_allclose(pseudo_log_likelihood(single, v.astype(np.float32)), expected.sum(axis=1), rtol=1e-5, atol=1e-5)
    # one unit at a time: each of its values is one of the conditionals times their number, all equally often
    many = np.repeat(v, 500, axis=0)
    found = pseudo_log_likelihood(rbm, many, Stream(3, "test")).reshape(len(v), 500)
    for row, conditionals in zip(found, expected, strict=True):
        matches = np.isclose(row[:, None], expected.shape[1] * conditionals)
        assert matches.any(axis=1).all()
        assert abs(row.mean() - conditionals.sum()) < 5 * row.std() / np.sqrt(500) + 1e-9
    monkeypatch.setattr("ebm.data.minibatches.BLOCK", 3)
    np.testing.assert_allclose(pseudo_log_likelihood(rbm, v), expected.sum(axis=1), rtol=1e-10)


def test_the_stochastic_one_is_scikit_learns():
    theirs = BernoulliRBM(7, random_state=0, n_iter=3).fit((np.random.default_rng(1).random((50, 20)) < 0.3).astype(float))
    rbm = RBM(20, 7, device="cpu", dtype="float64")
    rbm.weights[...] = theirs.components_.T
    rbm.visible.bias[...], rbm.hidden.bias[...] = theirs.intercept_visible_, theirs.intercept_hidden_
    v = (np.random.default_rng(2).random((20_000, 20)) < 0.3).astype(float)
    # of the same distribution over units and rows
    ours, scores = pseudo_log_likelihood(rbm, v, Stream(1, "test")), theirs.score_samples(v)
    assert abs(ours.mean() - scores.mean()) < 5 * np.sqrt((ours.var() + scores.var()) / len(v))
    assert ours.std() == pytest.approx(scores.std(), rel=0.05)
    assert pseudo_log_likelihood(rbm, v[:2000]).mean() == pytest.approx(scores.mean(), abs=0.2)


def test_pseudo_likelihood_without_waiting(device):
    rbm = RBM(5, 3, device=device, dtype="float64", seed=1)
    cpu = RBM(5, 3, device="cpu", dtype="float64", seed=1)
    cpu.weights[...] = device.to_host(rbm.weights)
    v = binary_rows(5)
    syncs = getattr(device, "syncs", 0)
    found = pseudo_log_likelihood(rbm, v)
    assert getattr(device, "syncs", 0) - syncs <= 5  # the parameters' check, and the result
    np.testing.assert_allclose(found, pseudo_log_likelihood(cpu, v), rtol=1e-12)
    streams = Stream(1, "x", device), Stream(1, "x")
    found, expected = (pseudo_log_likelihood(m, v, s) for m, s in zip((rbm, cpu), streams, strict=True))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(PAIRS.keys() - set(SUPPORTED)))
def test_other_units_have_none(name):
    rbm = machine(PAIRS[name])
    with pytest.raises(ValueError, match=r"needs Bernoulli or Softmax visible units: write ais.estimate"):
        pseudo_log_likelihood(rbm, rows_of(rbm, 0))


# Probabilities by ln Z.


def test_rows_come_from_anywhere(monkeypatch):
    rbm = machine(PAIRS["Bernoulli x Bernoulli"])
    v, log_z = binary_rows(4), exact_log_partition(machine(PAIRS["Bernoulli x Bernoulli"]))
    expected = np.log(Enumeration.of(rbm).marginal(0))[number(v)]
    monkeypatch.setattr("ebm.data.minibatches.BLOCK", 5)
    for rows in (v, v.astype(np.float32), csr_matrix(v)):
        np.testing.assert_allclose(log_probability(rbm, rows, log_z), expected, rtol=1e-10)


def test_an_estimate_of_one_length_is_for_documents_of_that_length():
    rbm = machine(PAIRS["counts x Bernoulli"])
    found = estimate(rbm, length=LENGTH, temperatures=50, seed=1)
    assert np.exp(log_probability(rbm, states(rbm, 0), found)).sum() == pytest.approx(1, abs=0.02)
    with pytest.raises(ValueError, match=r"found 1 of 2 documents of another length than 3.*length=D"):
        log_probability(rbm, np.float64([[1, 1, 1], [1, 1, 2]]), found)


def test_products_are_not_rounded():
    rounded = RBM(12, 5, device="cpu", precision="bfloat16", seed=1)
    rounded.weights[...] *= 150
    plain = RBM(12, 5, device="cpu", seed=1)
    plain.weights[...] = rounded.weights
    v = binary_rows(12)[::7].astype(np.float32)
    assert (rounded.free_energy(v) != plain.free_energy(v)).any()
    log_z = exact_log_partition(plain)
    assert exact_log_partition(rounded) == log_z
    np.testing.assert_array_equal(log_probability(rounded, v, log_z), log_probability(plain, v, log_z))
    np.testing.assert_array_equal(pseudo_log_likelihood(rounded, v), pseudo_log_likelihood(plain, v))


# Exact samples.


@pytest.mark.parametrize("name", [name for name, (v, h) in PAIRS.items() if v.discrete or h.discrete])
def test_exact_samples_are_the_machines(name, monkeypatch):
    monkeypatch.setattr("ebm.enumeration._BLOCK", 3)
    rbm = machine(PAIRS[name])
    v, h = exact_samples(rbm, 4000, Stream(6, "test"), LENGTH if rbm.visible.units.replicated else None)
    assert v.dtype == h.dtype == rbm.dtype
    assert_joint(rbm, v, h)


def test_exact_samples_reach_every_state_of_a_large_layer():
    """Twenty independent fair units: their states are uniform over 2^20, where 24 bits would show."""
    rbm = RBM(20, 30, device="cpu", dtype="float64")
    rbm.weights[...] = 0
    v, _ = exact_samples(rbm, 4096, Stream(7, "test"))
    assert len(np.unique(number(v))) > 4096 - 40
    assert abs(v.mean(axis=0) - 0.5).max() < 5 * 0.5 / 64


# Errors.


def test_beyond_the_limit_the_error_names_the_estimator_and_its_time():
    message = (
        r"found RBM\(.*\), neither layer with at most 2\^25 states \(Bernoulli\(784\) has 2\^784; Bernoulli\(500\) has 2\^500\): "
        r"write ais.estimate\(model, data=train\), whose 100 chains take about [1-9]\d* s here"
    )
    with pytest.raises(ValueError, match=message):
        exact_log_partition(RBM(784, 500, device="cpu"))
    with pytest.raises(ValueError, match=r"ReplicatedSoftmax\(2000, longest=1000\) has 2\^1097; Bernoulli\(50\) has 2\^50"):
        exact_log_partition(RBM(ReplicatedSoftmax(2000), 50, device="cpu"), length=100)


@pytest.mark.parametrize("function", [exact_log_partition, lambda rbm: pseudo_log_likelihood(rbm, np.zeros((1, 3)))])
def test_parameters_that_are_not_finite(function):
    rbm = RBM(3, 2, device="cpu", dtype="float64")
    rbm.hidden.bias[1] = np.nan
    with pytest.raises(ValueError, match=r"found 1 of 2 bias.1 that are NaN or infinite.*load an earlier checkpoint"):
        function(rbm)
