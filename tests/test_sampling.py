"""Every sampler leaves the exact distribution where it is, and a broken one does not.

Many chains start at independent exact draws of the enumerated distribution. After some sweeps of a sound kernel they are again
independent exact draws, so that the numbers of chains in each state are multinomial and Pearson's chi-square has a known distribution:
the limit is passed by a sound sampler once in 10^5 seeds, and the seeds are fixed. The same check must reject two broken kernels.
"""

import numpy as np
import pytest
from enumeration import Enumeration, assert_distributed, binary_rows, randomize

from ebm import RBM
from ebm.compute.random import Stream
from ebm.machine import BoltzmannMachine
from ebm.units import Bernoulli

CHAINS = 20_000


def halve_the_field(monkeypatch):
    draw = Bernoulli.draw

    def broken(self, field, *arguments):
        field *= 0.5
        return draw(self, field, *arguments)

    monkeypatch.setattr(Bernoulli, "draw", broken)


def reuse_the_uniforms(monkeypatch):
    """Both layers of a sweep are drawn with the same numbers."""
    monkeypatch.setattr(Stream, "take", lambda self, first_row: (self._address, 0, first_row))


BREAKAGES = {"sound": None, "field halved": halve_the_field, "uniforms reused": reuse_the_uniforms}
broken_or_not = pytest.mark.parametrize("breakage", BREAKAGES)


def judge(monkeypatch, breakage, check):
    """Run `check`, which must fail exactly if the sampler is broken."""
    if BREAKAGES[breakage] is None:
        check()
    else:
        BREAKAGES[breakage](monkeypatch)
        with pytest.raises(AssertionError, match="chi-square"):
            check()


def rbm(seed=1, scale=1.2, dtype="float32"):
    model = RBM(4, 3, device="cpu", dtype=dtype)
    return model, randomize(model, seed, scale)


@broken_or_not
@pytest.mark.parametrize(("dtype", "beta"), [("float32", 1.0), ("float64", 1.0), ("float32", 0.6)])
def test_gibbs_sampling_does_not_drift(monkeypatch, breakage, dtype, beta):
    model, _ = rbm(dtype=dtype)
    exact = Enumeration.of(model, beta)
    v = exact.draw(CHAINS, seed=2)[0].astype(dtype)
    stream = Stream(3)

    def check(v=v):
        for _ in range(4):
            h = model.sample_hidden(v, stream, beta)
            v = model.sample_visible(h, stream, beta)
        # v is drawn given h, so the two are a draw of the joint distribution
        assert_distributed(np.concatenate([v, h], axis=1), exact.probabilities)

    judge(monkeypatch, breakage, check)


GRAPHS = {
    "rbm": ([4, 3], None),
    "three layers": ([2, 3, 2], None),
    "star": ([2, 2, 2, 2], [(0, 3), (1, 3), (2, 3)]),
    "square": ([2, 2, 2, 2], [(0, 1), (1, 2), (2, 3), (3, 0)]),
}


@broken_or_not
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("beta", [1.0, 0.6])
def test_sweeps_do_not_drift(monkeypatch, breakage, graph, beta):
    model = BoltzmannMachine(*GRAPHS[graph], device="cpu")
    randomize(model, 4, scale=1.2)
    exact = Enumeration.of(model, beta)

    def check():
        states, stream = exact.draw(CHAINS, seed=5), Stream(6)
        for _ in range(4):
            states = model.sweep(states, "sample", stream, beta=beta)
        assert_distributed(np.concatenate(states, axis=1), exact.probabilities)

    judge(monkeypatch, breakage, check)


@broken_or_not
@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_the_sampler_of_the_rbm_does_not_drift(monkeypatch, breakage, beta):
    model, _ = rbm()
    exact = Enumeration.of(model, beta)
    start = exact.draw(CHAINS, seed=7)[0]
    judge(
        monkeypatch,
        breakage,
        lambda: assert_distributed(model.sample(CHAINS, 3, start=start, beta=beta, seed=8), exact.marginal(0)),
    )


@broken_or_not
@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_clamped_sampling_reaches_and_keeps_the_conditional_distribution(monkeypatch, breakage, beta):
    model, _ = rbm()
    exact = Enumeration.of(model, beta)
    mask, values = np.array([True, False, False, True]), np.array([1.0, np.nan, np.nan, 0.0])
    expected = exact.clamped(mask, values)
    start = binary_rows(4)[np.random.default_rng(9).choice(16, CHAINS, p=expected)]
    start[:, mask] = 1 - values[mask]  # is overwritten before the first step

    def check():
        for n, begin in ((1, start), (3, start), (30, None)):
            found = model.sample(CHAINS, n, clamp=(mask, values), start=begin, beta=beta, seed=10)
            np.testing.assert_array_equal(found[:, mask], np.tile([1.0, 0.0], (CHAINS, 1)))
            assert_distributed(found, expected)

    judge(monkeypatch, breakage, check)


def test_held_units_do_not_change_at_any_step():
    model, _ = rbm()
    generator = np.random.default_rng(11)
    mask, values = generator.random((50, 4)) < 0.5, generator.random((50, 4)).astype(np.float32)
    for steps in (1, 2, 5):
        found = model.sample(50, steps, clamp=(mask, values), start=np.ones((50, 4)), seed=12)
        np.testing.assert_array_equal(found[mask], values[mask])
        assert set(found[~mask]) == {0.0, 1.0}


def test_everything_may_be_held():
    model, _ = rbm()
    values = np.array([0.0, 1.0, 0.5, 1.0])
    np.testing.assert_array_equal(model.sample(3, 5, clamp=(np.ones(4, int), values)), np.tile(values, (3, 1)))


def test_one_row_may_be_held_where_another_is_free():
    model, exact = rbm()
    mask = np.zeros((2 * CHAINS, 4), bool)
    mask[::2, 1] = True
    found = model.sample(2 * CHAINS, 30, clamp=(mask, np.ones(4)), seed=13)
    assert_distributed(found[::2], exact.clamped([0, 1, 0, 0], np.ones(4)))
    assert_distributed(found[1::2], exact.marginal(0))


def test_chains_start_at_the_base_rate():
    """With beta = 0 for the last steps all is forgotten; with weights of zero one step is an exact draw of the biases."""
    model, _ = rbm()
    assert_distributed(model.sample(CHAINS, 2, beta=[1.0, 0.0], seed=14), np.full(16, 1 / 16))
    model.weights[...] = 0
    assert_distributed(model.sample(CHAINS, 1, seed=15), Enumeration.of(model).marginal(0))
    model.weights[...] = 0.5
    starts = []
    sweep = model.sweep
    model.sweep = lambda states, *a, **k: (starts.append(states[0]), sweep(states, *a, **k))[1]
    model.sample(CHAINS, 1, seed=16)
    p = 1 / (1 + np.exp(-np.float64(model.visible.bias)))
    assert_distributed(starts[0], np.prod(np.where(binary_rows(4) == 1, p, 1 - p), axis=1))


def test_tempering_takes_its_betas_in_order():
    """From a cold start stuck in one mode, a hot phase that is cooled again finds both; the same betas reversed end hot."""
    model = RBM(4, 3, device="cpu")
    model.weights[...] = 6.0
    model.visible.bias[...] = -9.0
    model.hidden.bias[...] = -12.0
    exact = Enumeration.of(model)
    betas = np.concatenate([np.zeros(1), np.linspace(0, 1, 300)])
    start = np.zeros((2000, 4))
    cold = model.sample(2000, 20, start=start, seed=17)
    assert cold.mean() < 0.05
    ends = binary_rows(4) @ np.ones(4) / 4 @ exact.marginal(0)
    annealed = model.sample(2000, len(betas), start=start, beta=betas, seed=18)
    assert abs(annealed.mean() - ends) < 0.1
    assert np.isin(annealed.sum(axis=1), (0, 4)).mean() > 0.95
    hot = model.sample(2000, len(betas), start=start, beta=betas[::-1], seed=19)
    assert_distributed(hot, np.full(16, 1 / 16))


def test_the_check_accepts_exact_draws_and_sees_biased_ones():
    _, exact = rbm()
    draws = np.concatenate(exact.draw(CHAINS, seed=20), axis=1)
    assert_distributed(draws, exact.probabilities)
    biased = exact.probabilities.copy()
    biased[biased.argmax()] *= 1.5
    with pytest.raises(AssertionError, match="chi-square"):
        assert_distributed(draws, biased / biased.sum())
    impossible = exact.probabilities.copy()
    impossible[impossible.argmax()] = 0
    with pytest.raises(AssertionError, match="probability zero"):
        assert_distributed(draws, impossible / impossible.sum())
    with pytest.raises(AssertionError, match="not binary"):
        assert_distributed(draws * 0.5, exact.probabilities)
