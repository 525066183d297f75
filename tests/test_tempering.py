"""Parallel tempering: exchanges leave the distribution as it is, and lead from mode to mode."""

import numpy as np
import pytest
from enumeration import Enumeration, assert_counts, number
from pairs import PAIRS as ALL
from pairs import assert_joint, draw, machine
from test_ais import path_of, two_modes

from ebm import RBM, ParallelTempering
from ebm.annealing import Path
from ebm.compute.random import Stream
from ebm.learning import Step
from ebm.tempering import Replicas
from ebm.training import SGD

BETAS = np.array([0.0, 0.4, 0.7, 1.0])
PAIRS = ["Bernoulli x Bernoulli", "Gaussian x Bernoulli", "Softmax x ReLU", "Bernoulli x Gaussian learned", "groups x Softmax"]


def at(rbm, base, beta):
    """The machine at an inverse temperature of the path, in closed form for discrete pairs and Gaussian own energies at one."""
    other = machine((rbm.visible.units, rbm.hidden.units))
    for name, array in rbm.parameters.named_arrays().items():
        other.parameters[name][...] = array if name.startswith("log_precision") else beta * array
    other.visible.bias[...] += (1 - beta) * base
    return other


def replicas_at_equilibrium(rbm, path, rows):
    """Every level starts with exact samples of its machine."""
    levels = [draw(at(rbm, path.base[0], beta), rows, seed=k + 1) for k, beta in enumerate(BETAS)]
    return Replicas(path, BETAS, [np.concatenate([states[i] for states in levels]) for i in (0, 1)])


@pytest.mark.parametrize("name", PAIRS)
def test_no_drift(name):
    """Sweeps leave every level's distribution where it was."""
    rbm = machine(ALL[name])
    path = path_of(rbm)
    rows = 2000
    replicas = replicas_at_equilibrium(rbm, path, rows)
    stream = Stream(8, "test")
    for _ in range(12):
        replicas.sweep(stream)
    for level, beta in enumerate(BETAS):
        v, h = (x[level * rows : (level + 1) * rows] for x in replicas.states)
        assert_joint(at(rbm, path.base[0], beta), v, h)
    assert (replicas.swap_rates > 0.3).all()


def test_broken_exchanges_drift():
    """The same test notices exchanges that are accepted always."""
    rbm = machine(ALL["Bernoulli x Bernoulli"])
    rbm.parameters.buffer[...] *= 6
    path = path_of(rbm)
    rows = 2000
    path.log_ratio = lambda states, fields, before, after: 0 * before
    replicas = replicas_at_equilibrium(rbm, path, rows)
    stream = Stream(8, "test")
    for _ in range(12):
        replicas.sweep(stream)
    with pytest.raises(AssertionError, match="chi-square"):
        assert_joint(rbm, *replicas.samples())


def test_swap_rates_are_those_of_the_distributions():
    """The expected acceptance between two levels, by enumeration: E min(1, e^(gain + gain'))."""
    rbm = machine(ALL["Bernoulli x Bernoulli"])
    rbm.parameters.buffer[...] *= 3
    path = path_of(rbm)
    rows = 4000
    found = np.zeros((40, len(BETAS) - 1))
    replicas = replicas_at_equilibrium(rbm, path, rows)
    stream = Stream(9, "test")
    for k in range(40):
        before = replicas.swap_rates.copy()
        replicas.sweep(stream)
        found[k] = (replicas.swap_rates - 0.98 * before) / 0.02
    for level in range(len(BETAS) - 1):
        low, high = (Enumeration.of(at(rbm, path.base[0], beta)) for beta in BETAS[level : level + 2])
        energies = [-np.log(m.marginal(0)) for m in (low, high)]
        gain = energies[0][:, None] - energies[1][:, None] + (energies[1] - energies[0])[None, :]
        joint = low.marginal(0)[:, None] * high.marginal(0)[None, :]
        expected = (joint * np.minimum(1, np.exp(gain))).sum()
        assert found[level % 2 :: 2, level].mean() == pytest.approx(expected, abs=0.01)
        assert (found[1 - level % 2 :: 2, level] != found[level % 2, level]).all()


def test_exchanges_lead_from_mode_to_mode():
    rbm, _ = two_modes(0.2)
    stuck = np.zeros((200, 30))
    streams = Stream(1, "stuck"), Stream(2, "stuck")
    for _ in range(400):
        stuck = rbm.sample_visible(rbm.sample_hidden(stuck, streams[0]), streams[1])
    assert stuck.mean() < 0.2
    path = Path(rbm, [np.zeros(30)])
    betas = np.linspace(0, 1, 8)
    replicas = Replicas(path, betas, [np.zeros((200 * 8, 30)), None])
    stream = Stream(3, "test")
    for _ in range(400):
        replicas.sweep(stream)
    share = (replicas.samples()[0].mean(axis=1) > 0.5).mean()
    assert share > 0.8, "the mode of ones has most of the mass"


# The learning rule.


def test_the_rule_learns_two_modes_that_chains_alone_do_not_join():
    """A fixed machine of two modes: the model's phase has both in their proportions, where PCD's stays where it started."""
    rbm, _ = two_modes(0.2)
    rule = ParallelTempering(steps=400, chains=200, levels=8)
    stream = Stream(4, "test")
    chains = rule.start(rbm, 10, stream)
    data = np.repeat([[0.0], [1.0]], 5, axis=0) + np.zeros(30)
    _, (v, h) = rule(rbm, data, chains, stream)
    assert v.shape == (200, 30)
    assert h.shape == (200, 30)
    np.testing.assert_array_equal(h, rbm.mean_hidden(v))
    assert 0.8 < (v.mean(axis=1) > 0.5).mean() < 1
    np.testing.assert_array_equal(chains["replicas"][-200:], v)
    assert rule.metrics(chains)["swap_rate"] == chains["swap_rates"].min() > 0.1


def test_samples_of_the_rule_are_those_of_the_machine():
    rbm = machine(ALL["Bernoulli x Bernoulli"])
    rule = ParallelTempering(steps=60, chains=3000, levels=3)
    stream = Stream(5, "test")
    chains = rule.start(rbm, 10, stream)
    _, (v, _) = rule(rbm, np.zeros((10, 4)), chains, stream)
    assert_counts(np.bincount(number(v), minlength=16), Enumeration.of(rbm).marginal(0))


def test_word_counts_and_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="word counts have PCD and CD"):
        ParallelTempering().start(machine(ALL["counts x Bernoulli"]), 10, Stream(1, "x"))
    for options in ({"steps": 0}, {"levels": 1}, {"chains": 0}):
        with pytest.raises(ValueError, match="expected whole numbers"):
            ParallelTempering(**options)


def test_the_swap_rate_is_a_metric():
    rbm = RBM(6, 4, device="cpu", seed=1)
    step = Step(rbm, ParallelTempering(), SGD(0.1), batch_size=5, steps_per_epoch=1)
    metrics = step(np.zeros((5, 6), np.float32))
    assert 0 <= metrics["swap_rate"] <= 1
