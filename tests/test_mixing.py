"""Autocorrelation times and effective sample sizes against chains whose true ones are known, and the monitor of training."""

import math

import numpy as np
import pytest
from enumeration import Enumeration, binary_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from ebm import CD, PCD, RBM, TAP, FastPCD, Gaussian, ReplicatedSoftmax, data
from ebm.compute.random import Stream
from ebm.learning.tempering import ParallelTempering
from ebm.mixing import MixingMonitor, autocorrelation, autocorrelation_time, effective_sample_size
from ebm.training import SGD, Callback, Checkpoint, History


def ar1(rho, steps, chains, seed=1):
    """Stationary chains x' = rho x + noise of variance 1."""
    generator = np.random.default_rng(seed)
    series = np.empty((steps, chains))
    series[0] = generator.normal(size=chains)
    for s in range(1, steps):
        series[s] = rho * series[s - 1] + math.sqrt(1 - rho**2) * generator.normal(size=chains)
    return series


def within_five_errors(series, true):
    """Sokal's standard error of an autocorrelation time, tau sqrt(2 (2 M + 1) / N), for a window M of four times tau."""
    return pytest.approx(true, rel=5 * math.sqrt(2 * (8 * max(true, 3) + 1) / series.size))


def test_the_autocorrelation_is_its_definition():
    series = ar1(0.8, 40, 3) + np.array([0, 5, 1])
    x = series - series.mean()
    expected = [sum((x[s] * x[s + t]).sum() for s in range(40 - t)) / (x**2).sum() for t in range(40)]
    np.testing.assert_allclose(autocorrelation(series), expected, atol=1e-12)


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.5, 0.9, 0.97])
def test_an_autoregressive_chain(rho):
    series = ar1(rho, 4000, 50)
    tau = (1 + rho) / (1 - rho)
    np.testing.assert_allclose(autocorrelation(series)[:5], rho ** np.arange(5), atol=0.02)
    assert autocorrelation_time(series) == within_five_errors(series, tau)
    assert effective_sample_size(series) == pytest.approx(series.size / autocorrelation_time(series))


def test_the_effective_size_is_what_the_mean_has():
    """The variance of the mean over many independent sets of chains is that of so many independent draws."""
    sets = ar1(0.8, 500, 4 * 400, seed=2).reshape(500, 400, 4)
    sizes = [effective_sample_size(sets[:, i]) for i in range(400)]
    assert sets.mean(axis=(0, 2)).var() * np.mean(sizes) == pytest.approx(1, rel=5 * math.sqrt(2 / 400))


def test_a_chain_of_two_states():
    a, b = 0.02, 0.05
    generator = np.random.default_rng(3)
    states = (generator.random((1, 200)) < a / (a + b)).astype(np.int64)
    series = np.empty((3000, 200), np.int64)
    for s in range(3000):
        leaves = generator.random(200) < np.where(states == 0, a, b)
        states = states ^ leaves
        series[s] = states
    eigenvalue = 1 - a - b
    assert autocorrelation_time(series) == within_five_errors(series, (1 + eigenvalue) / (1 - eigenvalue))


def time_of(p, transition, f):
    """1 + 2 sum_t rho(t) of f under a stationary Markov chain, from the fundamental matrix."""
    f = f - p @ f
    later = np.linalg.solve(np.eye(p.size) - transition + p, transition @ f)
    return 1 + 2 * (p * f) @ later / (p @ f**2)


def slow_machine(hidden, scale):
    """Three visible units that like to be equal; the probabilities of their states, and one sweep over these."""
    rbm = RBM(3, hidden, device="cpu", dtype="float64")
    rbm.weights[...] = scale
    rbm.visible.bias[...] = np.array([0.8, 0.4, 0.2]) - hidden * scale / 2
    rbm.hidden.bias[...] = -3 * scale / 2
    exact = Enumeration.of(rbm)
    return rbm, exact.marginal(0), exact.conditional(1, given=0) @ exact.conditional(0, given=1)


def test_the_free_energy_along_gibbs_chains_of_an_enumerated_machine():
    rbm, p, sweep = slow_machine(2, 3.0)
    exact = time_of(p, sweep, -np.log(p))
    assert 7 < exact < 9
    stream, series = Stream(5), np.empty((3000, 300))
    v = binary_rows(3)[np.random.default_rng(4).choice(8, 300, p=p)]
    for row in series:
        v = rbm.sample_visible(rbm.sample_hidden(v, stream), stream)
        row[:] = rbm.free_energy(v)
    assert autocorrelation_time(series) == within_five_errors(series, exact)


def test_the_sum_ends_at_the_first_pair_that_is_not_positive_and_never_rises():
    """Waves make the pairs rise again, which those of a reversible chain can't."""
    waves = np.cos(2 * np.pi * (np.arange(600)[:, None] / 20 + np.random.default_rng(8).random(30)))
    series = ar1(0.98, 600, 30) + 0.5 * waves
    rho = autocorrelation(series)
    total, last, rose = -1.0, math.inf, False
    for pair in rho[::2] + rho[1::2]:
        if pair <= 0:
            break
        rose |= pair > last
        last = min(pair, last)
        total += 2 * last
    assert rose
    assert autocorrelation_time(series) == pytest.approx(total)


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_chains_that_never_leave_their_modes_count_once(noise):
    """Their mean has the variance of the levels over the number of chains, whatever is sampled around them."""
    generator = np.random.default_rng(5)
    levels = generator.normal(size=50)
    series = levels + noise * generator.normal(size=(2000, 50))
    assert effective_sample_size(series) == pytest.approx(50 * (levels.var() + noise**2) / levels.var(), rel=0.1)
    assert effective_sample_size(series - levels + 1e-3 * levels) > 25_000 or not noise


def test_chains_that_drift_together_do_not_count_as_many():
    series = ar1(0.0, 1000, 20) + np.linspace(0, 5, 1000)[:, None]
    assert effective_sample_size(series) < 100


def test_alternating_chains_have_a_finite_size():
    series = np.resize([-1.0, 1.0], (400, 5))
    assert effective_sample_size(series) == pytest.approx(2000 * math.log10(2000))


@settings(deadline=None, max_examples=50)
@given(st.integers(10, 80), st.integers(1, 4), st.integers(0, 2**32 - 1), st.floats(0.5, 1.0))
def test_a_time_never_exceeds_the_steps_nor_depends_on_units(steps, chains, seed, smooth):
    generator = np.random.default_rng(seed)
    series = generator.normal(size=(steps, chains))
    for s in range(1, steps):
        series[s] += smooth * series[s - 1]
    time = autocorrelation_time(series)
    assert 0 < time <= steps * (1 + 1e-12)
    assert autocorrelation_time(1000 - 7 * series) == pytest.approx(time, rel=1e-6)


def nan_in(series):
    series[3, 1] = np.nan
    return series


@pytest.mark.parametrize(
    ("series", "match"),
    [
        (np.arange(20.0), r"shape \(20,\); expected \(steps, chains\); write series\[:, None\] for one chain"),
        (np.zeros((20, 2, 2)), r"shape \(20, 2, 2\); expected \(steps, chains\)$"),
        (np.zeros((20, 0)), r"shape \(20, 0\)"),
        (ar1(0, 9, 3), r"found 9 steps; expected at least 10$"),
        (ar1(0, 4, 100), r"found 4 steps; expected at least 10; write series.T"),
        (nan_in(ar1(0, 20, 3)), "found 1 of 60 values that are not finite; .* lower learning rate"),
        (np.where(np.eye(20), np.inf, 0), "found 20 of 400 values that are not finite"),
        (np.full((20, 3), 0.1), "found 0.1 at each of 20 steps of 3 chains; expected values that change"),
        (np.full((20, 3), "0.1"), "found a series of <U3; expected real numbers"),
        (np.ones((20, 3), complex), "found a series of complex128; expected real numbers"),
    ],
)
@pytest.mark.parametrize("function", [autocorrelation, autocorrelation_time, effective_sample_size])
def test_bad_series_are_refused(function, series, match):
    with pytest.raises(ValueError, match=match):
        function(series)


class PCDFrom(PCD):
    """PCD whose chains start at the given hidden states."""

    def start(self, rbm, batch_size, stream):
        return {"layer.1": rbm.device.asarray(STARTS[rbm.hidden.units.size], rbm.dtype).copy()}


# half of the chains in each of two modes
STARTS = {1: np.zeros((500, 1)), 4: np.repeat([[0.0] * 4, [1.0] * 4], 20, axis=0)}
STILL = {"optimizer": SGD(1e-12), "epochs": 1, "batch_size": 2}


def measured(rbm, *callbacks, **options):
    """The metrics of a run that hardly moves the machine."""
    history = History()
    rows = binary_rows(rbm.visible.units.size)[[0, -1]]
    rbm.fit(rows, callbacks=[history, *callbacks], **(STILL | options))
    return next(row for row in history.rows if "chain_autocorrelation_time" in row)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_monitor_measures_the_chains_of_the_rule(steps):
    """With one hidden unit there is one direction, and both exact times are known; two sweeps an update halve them."""
    rbm, p, sweep = slow_machine(1, 5.0)
    update = np.linalg.matrix_power(sweep, steps)
    of_energy, exact = (time_of(p, update, f) for f in (-np.log(p), rbm.mean_hidden(binary_rows(3))[:, 0]))
    assert exact > 26 / steps
    assert of_energy < exact / 2
    # the first updates take the chains to their distribution
    found = measured(rbm, MixingMonitor(100, updates=1000), learning=PCDFrom(steps), epochs=100)
    assert found["chain_autocorrelation_time"] == within_five_errors(np.empty((1000, 500)), exact)
    assert found["chain_effective_sample_size"] == pytest.approx(500_000 / found["chain_autocorrelation_time"])


def two_modes(scale):
    """All units off and all units on have the same energy; `scale` sets the wall between them."""
    rbm = RBM(8, 4, device="cpu")
    rbm.weights[...] = scale
    rbm.visible.bias[...] = -4 * scale / 2
    rbm.hidden.bias[...] = -8 * scale / 2
    return rbm


def test_two_far_modes_of_the_same_free_energy_make_the_monitor_speak():
    monitor = MixingMonitor(1, updates=100)
    with pytest.warns(
        UserWarning, match=r"after epoch 1 .*hardly mix: 100 updates .* lower the learning rate, give the rule mor"
    ):
        found = measured(two_modes(3.0), monitor, learning=PCDFrom(1))
    assert found["chain_autocorrelation_time"] == pytest.approx(100, rel=0.05)
    assert found["chain_effective_sample_size"] == pytest.approx(40, rel=0.05)


def test_a_low_wall_leaves_it_silent():
    found = measured(two_modes(0.5), MixingMonitor(1, updates=100), learning=PCDFrom(1))
    assert found["chain_autocorrelation_time"] < 5
    assert found["chain_effective_sample_size"] == pytest.approx(4000 / found["chain_autocorrelation_time"])


def test_tempering_carries_chains_over_the_wall():
    """What does not mix by Gibbs sampling alone mixes as the rule moves it."""
    rbm = two_modes(1.5)
    with pytest.warns(UserWarning, match="hardly mix"):
        plain = measured(rbm, MixingMonitor(1, updates=200), learning=PCDFrom(1), epochs=1)
    tempered = measured(rbm, MixingMonitor(1, updates=200), learning=ParallelTempering(1, chains=40, levels=6), epochs=1)
    assert tempered["chain_autocorrelation_time"] < plain["chain_autocorrelation_time"] / 5


def test_frozen_chains_are_not_mixing():
    rbm = two_modes(1.0)
    rbm.weights[...] = 0
    rbm.visible.bias[...] = rbm.hidden.bias[...] = 100
    with pytest.warns(UserWarning, match="hardly mix"):
        found = measured(rbm, MixingMonitor(1, updates=50), learning=PCD(1, chains=7))
    assert (found["chain_autocorrelation_time"], found["chain_effective_sample_size"]) == (50, 7)


DIGITS = data.load("digits")[0].images[:200]
RULES = [PCD(1, chains=15), FastPCD(1, chains=15), ParallelTempering(1, chains=15, levels=4)]


def fit(learning, *callbacks, **options):
    options = {"epochs": 4, "batch_size": 40, "optimizer": SGD(0.3, 0.5), "binarization": "stochastic"} | options
    return RBM(64, 10, device="cpu", seed=1).fit(DIGITS, learning=learning, callbacks=callbacks, **options)


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, run):
        if run.step == self.step:
            run.stop("enough")


@pytest.mark.parametrize("learning", RULES, ids=lambda rule: type(rule).__name__)
def test_the_monitor_changes_no_bit_and_goes_on_in_a_resumed_run(tmp_path, learning):
    whole, resumed = History(), History()
    plain = fit(learning)
    watched = fit(learning, MixingMonitor(2, updates=50), whole)
    np.testing.assert_array_equal(watched.parameters.buffer, plain.parameters.buffer)
    names = ["chain_autocorrelation_time", "chain_effective_sample_size"]
    assert [[name in row for name in names] for row in whole.rows] == [[False] * 2, [True] * 2] * 2
    assert whole.rows[1][names[0]] != whole.rows[3][names[0]]
    fit(learning, MixingMonitor(2, updates=50), History(), Checkpoint(tmp_path), StopAt(13))
    fit(learning, MixingMonitor(2, updates=50), resumed, resume=tmp_path)
    assert [[row.get(name) for name in names] for row in resumed.rows] == [[row.get(n) for n in names] for row in whole.rows]


def test_the_warning_comes_once_a_run_and_again_in_the_next():
    monitor = MixingMonitor(1, updates=50)
    for _ in range(2):
        with pytest.warns(UserWarning, match="after epoch 1 ") as warned:
            measured(two_modes(3.0), monitor, learning=PCDFrom(1), epochs=3)
        assert len(warned) == 1


def test_a_measurement_waits_for_the_device_at_its_ends_only(strict):
    counts = []

    class Count(MixingMonitor):
        def on_epoch(self, run):
            before = strict.syncs, strict.uploads
            super().on_epoch(run)
            counts.append((strict.syncs - before[0], strict.uploads - before[1]))

    for updates in (50, 60):
        rbm = RBM(64, 10, device=strict, seed=1)
        rbm.fit(DIGITS, learning=PCD(), epochs=1, batch_size=200, callbacks=[Count(1, updates)])
    assert counts[0] == counts[1]
    assert counts[0][0] == 2


def test_the_monitor_measures_the_same_on_other_devices(hostcuda):
    """Draws fall otherwise only where a uniform is within rounding of its probability."""
    found = {}
    for device in ("cpu", "hostcuda"):
        history = History()
        rbm = RBM(64, 10, device=device, seed=1)
        rbm.fit(DIGITS[:50], learning=PCD(), epochs=1, batch_size=50, callbacks=[MixingMonitor(1, 50), history])
        found[device] = history.rows[0]["chain_effective_sample_size"]
    assert found["hostcuda"] == pytest.approx(found["cpu"], rel=0.05)


def test_rules_without_chains_and_word_counts_are_refused():
    for learning in (CD(1), TAP(3)):
        with pytest.raises(
            ValueError, match=r"learning=(CD|TAP)\(.*, which has no persistent chains to watch; write learning=PCD"
        ):
            fit(learning, MixingMonitor(), binarization=None)
    counts = np.random.default_rng(6).integers(0, 3, (20, 5)) + 1
    with pytest.raises(ValueError, match=r"found ReplicatedSoftmax.*different lengths"):
        RBM(ReplicatedSoftmax(5), 4, device="cpu").fit(counts, learning=PCD(), batch_size=5, callbacks=[MixingMonitor()])


@pytest.mark.parametrize("hidden", [4, Gaussian(4)], ids=str)
def test_a_diverged_machine_is_called_so(hidden):
    rbm = RBM(8, hidden, device="cpu")

    class Break(Callback):
        order = MixingMonitor.order - 1

        def on_epoch(self, run):
            if run.epoch == 2:
                rbm.weights[0, 0] = np.nan

    with pytest.raises(ValueError, match=r"values that are not finite; .* has diverged"):
        measured(rbm, Break(), MixingMonitor(2), learning=PCDFrom(1), epochs=2)


@pytest.mark.parametrize(("arguments", "match"), [((0,), "found every=0"), ((1, 49), "found updates=49; .* at least 50")])
def test_bad_arguments_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        MixingMonitor(*arguments)
