"""FastPCD: chains that move under fast parameters besides the machine's."""

import numpy as np
import pytest
from enumeration import Enumeration, assert_distributed, binary_rows, number
from pairs import PAIRS, machine
from test_learning import ROWS, H, V, bars, far_from_equilibrium, is_refused, log_likelihood, point
from test_learning_pairs import rows_for
from test_machine import assert_same, host

from ebm import PCD, RBM, FastPCD
from ebm.compute.random import Stream
from ebm.learning import Step
from ebm.training import SGD


def fast_parameters(rbm, seed, scale):
    """A buffer of normal numbers in the places of weights and biases."""
    fast = rbm.parameters.zeros_like()
    generator = np.random.default_rng(seed)
    for name in fast:
        fast[name][...] = generator.normal(0, scale, fast[name].shape)
    return fast


@pytest.mark.parametrize("k", [1, 3])
def test_chains_move_under_the_sum_and_statistics_are_the_machines(k):
    rbm, exact, _, to_hidden = far_from_equilibrium()
    fast = fast_parameters(rbm, 3, 2.0)
    total = Enumeration(
        [bias + np.float64(fast[f"bias.{i}"]) for i, bias in enumerate(exact.biases)],
        {(0, 1): exact.weights[0, 1] + np.float64(fast["weights"])},
    )
    down, up = total.conditional(0, given=1), total.conditional(1, given=0)
    state = np.array([1.0, 0.0, 1.0], np.float32)
    chains = {"layer.1": np.tile(state, (ROWS, 1)), "fast": fast.buffer}
    v = np.eye(V, dtype=np.float32)
    before = rbm.parameters.buffer.copy()
    (seen, driven), (fantasy, mean) = FastPCD(k, fast_rate=0)(rbm, v, chains, Stream(5))
    np.testing.assert_array_equal(seen, v)
    np.testing.assert_allclose(driven, to_hidden[number(v)] @ binary_rows(H), rtol=1e-5)
    np.testing.assert_allclose(mean, to_hidden[number(fantasy)] @ binary_rows(H), rtol=1e-5)
    assert_distributed(fantasy, point(state, H) @ down @ np.linalg.matrix_power(up @ down, k - 1))
    assert_distributed(chains["layer.1"], point(state, H) @ np.linalg.matrix_power(down @ up, k))
    # the machine's own parameters would not take them there, and are not touched
    alone = exact.conditional(0, given=1) @ to_hidden
    assert is_refused(chains["layer.1"], point(state, H) @ np.linalg.matrix_power(alone, k))
    np.testing.assert_array_equal(rbm.parameters.buffer, before)


def test_chains_stay_in_the_distribution_of_the_sum():
    rbm, exact, _, _ = far_from_equilibrium()
    fast = fast_parameters(rbm, 4, 1.0)
    moving = rbm.with_parameters(rbm.parameters.over(rbm.parameters.buffer + fast.buffer))
    total = Enumeration.of(moving)
    chains = {"layer.1": total.draw(ROWS, seed=6)[1], "fast": fast.buffer.copy()}
    FastPCD(4, fast_rate=0)(rbm, np.eye(V, dtype=np.float32), chains, Stream(7))
    assert_distributed(chains["layer.1"], total.marginal(1))
    assert is_refused(chains["layer.1"], exact.marginal(1))


def test_fast_parameters_follow_the_gradient_and_decay():
    rbm = machine(PAIRS["Bernoulli x Bernoulli"])
    rule, stream = FastPCD(2, chains=7, fast_rate=0.3, decay=0.8), Stream(8)
    chains = rule.start(rbm, 5, stream)
    assert not chains["fast"].any()
    v = rows_for(rbm.visible.units, 5)
    expected = dict.fromkeys(rbm.parameters, 0.0)
    for _ in range(3):
        positive, negative = rule(rbm, v, chains, stream)
        means = [
            {"weights": x.T @ h / len(x), "bias.0": x.mean(axis=0), "bias.1": h.mean(axis=0)} for x, h in (positive, negative)
        ]
        expected = {name: 0.8 * expected[name] + 0.3 * (means[0][name] - means[1][name]) for name in expected}
        assert_same(host(rbm.parameters.over(chains["fast"])), expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", ["Bernoulli x Bernoulli", "Gaussian learned x Gaussian learned"])
def test_frozen_and_own_parameters_have_no_fast_part(name):
    rbm = machine(PAIRS[name])
    rbm.parameters.segments["bias.1"].frozen = True
    step = Step(rbm, FastPCD(), SGD(0.01), batch_size=30, steps_per_epoch=1)
    for _ in range(2):
        step(rows_for(rbm.visible.units))
    fast = host(rbm.parameters.over(step.chains["fast"]))
    assert {key for key, value in fast.items() if value.any()} == {"weights", "bias.0"}


def test_without_a_fast_rate_it_is_pcd():
    trained = []
    for rule in (PCD(2, chains=30), FastPCD(2, chains=30, fast_rate=0), FastPCD(2, chains=30, fast_rate=0.1)):
        rbm = RBM(9, 12, device="cpu", seed=1)
        trained.append(rbm.fit(bars(), epochs=20, batch_size=8, learning=rule, centered=True).parameters.buffer)
    np.testing.assert_allclose(trained[1], trained[0], rtol=1e-5, atol=1e-6)
    assert np.abs(trained[2] - trained[0]).max() > 0.01


def test_fast_parameters_drive_chains_out_of_a_mode():
    """A machine with two modes, all on and all off, and data of both: chains that all are in one stay there with PCD."""
    rbm = RBM(8, 4, device="cpu", seed=1)
    rbm.weights[...] = 2
    rbm.visible.bias[...], rbm.hidden.bias[...] = -4, -8
    v = np.repeat([[0.0], [1.0]], 8, axis=1).astype(np.float32).repeat(10, axis=0)
    crossed = {}
    for rule in (PCD(chains=100), FastPCD(chains=100, fast_rate=0.1)):
        chains, stream = {**rule.start(rbm, 20, Stream(9))}, Stream(10)
        chains["layer.1"][...] = 0
        was_on = np.zeros(100, bool)
        for _ in range(100):
            rule(rbm, v, chains, stream)
            was_on |= chains["layer.1"].mean(axis=1) > 0.5
        crossed[type(rule)] = was_on.mean()
    assert crossed[PCD] < 0.05
    # until the modes are as even as in the data
    assert crossed[FastPCD] > 0.3


def test_fast_pcd_learns_bars_and_stripes():
    """Of one step of its chains; PCD-1 is 0.2 to 0.5 nats below."""
    rbm = RBM(9, 12, device="cpu", seed=2)
    rbm.fit(bars(), epochs=2500, batch_size=16, learning=FastPCD(), optimizer=SGD(0.1), seed=2)
    assert log_likelihood(rbm, bars()) > -3.75
