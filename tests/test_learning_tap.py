"""TAP: the expansion of ln Z to second order, and learning by it."""

import numpy as np
import pytest
from enumeration import Enumeration, randomize
from test_learning import bars, log_likelihood
from test_machine import assert_same, host

from ebm import RBM, TAP, Gaussian
from ebm.compute.random import Stream
from ebm.learning import Step, tap_free_energy, tap_log_partition
from ebm.training import SGD

STEP = 1e-5
SOLVED = TAP(iterations=400)


def weak(seed, scale=0.5, dtype="float64"):
    """A machine of 5 and 4 units with biases of order 1, and rows of data."""
    rbm = RBM(5, 4, device="cpu", dtype=dtype)
    randomize(rbm, seed)
    rbm.weights[...] *= scale
    return rbm, np.random.default_rng(seed).integers(0, 2, (6, 5)).astype(dtype)


def derivatives(rbm, function):
    """Central differences of a function of the machine by every parameter."""
    found = {}
    for name in rbm.parameters:
        flat = rbm.parameters[name].reshape(-1)
        found[name] = np.empty(rbm.parameters[name].shape)
        for i in range(flat.size):
            middle, ends = flat[i], []
            for flat[i] in (middle + STEP, middle - STEP):
                ends.append(function(rbm))
            flat[i] = middle
            found[name].reshape(-1)[i] = (ends[0] - ends[1]) / (2 * STEP)
    return found


def objective(rbm, v):
    """The log-likelihood of the rows with TAP's ln Z."""
    return -rbm.free_energy(v).mean() - tap_log_partition(rbm)


def ascent(rbm, v, rule=SOLVED, centers=None):
    """The gradient that a step would follow."""
    gradient = rbm.parameters.zeros_like()
    positive, negative = rule(rbm, v, rule.start(rbm, len(v), Stream(1)), Stream(1))
    rbm.add_statistics_(gradient, positive, 1.0, centers=centers)
    negative(gradient, factor=-1.0, centers=centers)
    return host(gradient)


def magnetizations(rbm, v):
    """Solutions of the equations as the paper has them, undamped, in NumPy."""
    W, b, c = rbm.weights, rbm.visible.bias, rbm.hidden.bias
    x, y = v, 1 / (1 + np.exp(-c - v @ W))
    for _ in range(500):
        y = 1 / (1 + np.exp(-(c + x @ W - (y - 0.5) * ((x - x * x) @ W**2))))
        x = 1 / (1 + np.exp(-(b + y @ W.T - (x - 0.5) * ((y - y * y) @ (W**2).T))))
    return x, y


def test_without_weights_it_is_exact():
    rbm, _ = weak(1, scale=0.0)
    assert tap_log_partition(rbm) == pytest.approx(Enumeration.of(rbm).log_partition, abs=1e-12)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_its_error_is_of_third_order(seed):
    """Half the weights, an eighth of the error; without the last term of F it would be a quarter."""
    errors = []
    for scale in (0.04, 0.02, 0.01):
        rbm, _ = weak(seed, scale)
        errors.append(abs(tap_log_partition(rbm) - Enumeration.of(rbm).log_partition))
    assert errors[2] > 1e-11, "found nothing to measure"
    assert errors[0] / errors[1] > 7
    assert errors[1] / errors[2] > 7


def test_the_free_energy_is_stationary_where_the_equations_are_solved():
    rbm, v = weak(2)
    m = [x[:1].copy() for x in magnetizations(rbm, v)]
    for x in m:
        for i in range(x.size):
            middle, ends = x[0, i], []
            for x[0, i] in (middle + STEP, middle - STEP):
                ends.append(tap_free_energy(rbm, *m)[0])
            x[0, i] = middle
            assert (ends[0] - ends[1]) / (2 * STEP) == pytest.approx(0, abs=1e-8)
    assert tap_log_partition(rbm) == pytest.approx(-tap_free_energy(rbm, *m)[0], abs=1e-11)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_gradient_is_that_of_the_likelihood_with_the_free_energy(seed):
    rbm, v = weak(seed)
    expected = derivatives(rbm, lambda rbm: objective(rbm, v))
    assert_same(ascent(rbm, v), expected, rtol=0, atol=1e-8)
    # the products alone are something else
    gradient = rbm.parameters.zeros_like()
    m = magnetizations(rbm, v)
    rbm.add_statistics_(gradient, (v, rbm.mean_hidden(v)), 1.0)
    rbm.add_statistics_(gradient, m, -1.0)
    assert np.abs(gradient["weights"] - expected["weights"]).max() > 1e-3


@pytest.mark.parametrize("seed", [1, 2])
def test_the_centered_gradient_follows_the_paper(seed):
    """Melchior et al. 2016, of the gradient above."""
    rbm, v = weak(seed)
    mu, lam = centers = [np.random.default_rng(3).random(n) for n in (5, 4)]
    plain = derivatives(rbm, lambda rbm: objective(rbm, v))
    dW = plain["weights"] - np.outer(mu, plain["bias.1"]) - np.outer(plain["bias.0"], lam)
    expected = {"weights": dW, "bias.0": plain["bias.0"] - dW @ lam, "bias.1": plain["bias.1"] - dW.T @ mu}
    assert_same(ascent(rbm, v, centers=centers), expected, rtol=0, atol=1e-8)


def test_steps_ascend():
    rbm, v = weak(3)
    step = Step(rbm, SOLVED, SGD(0.1), batch_size=6, steps_per_epoch=1)
    values = [objective(rbm, v)]
    for _ in range(20):
        step(v)
        values.append(objective(rbm, v))
    assert (np.diff(values) > 0).all()


def test_an_iteration_is_the_papers_damped():
    """The state after two of them, seen through the products and variances that reach the gradient."""
    rbm, v = weak(4)
    W, b, c = rbm.weights, rbm.visible.bias, rbm.hidden.bias

    def sigma(x):
        return 1 / (1 + np.exp(-x))

    x, y = v, sigma(c + v @ W)
    for _ in range(2):
        to_y = sigma(c + x @ W - (y - 0.5) * ((x - x * x) @ W**2))
        missed = np.abs(to_y - y).max()
        y = 0.3 * y + 0.7 * to_y
        to_x = sigma(b + y @ W.T - (x - 0.5) * ((y - y * y) @ (W**2).T))
        missed = max(missed, np.abs(to_x - x).max())
        x = 0.3 * x + 0.7 * to_x
    rule = TAP(2, damping=0.3)
    chains, gradient = rule.start(rbm, 6, Stream(1)), rbm.parameters.zeros_like()
    rule(rbm, v, chains, Stream(1))[1](gradient, factor=1.0, centers=None)
    second = W * ((x - x * x).T @ (y - y * y)) / 6
    expected = {"weights": x.T @ y / 6 + second, "bias.0": x.mean(axis=0), "bias.1": y.mean(axis=0)}
    assert_same(host(gradient), expected, rtol=1e-11)
    assert rule.metrics(chains)["tap_residual"] == pytest.approx(missed, rel=1e-11)


def test_the_residual_is_measured():
    rbm, v = weak(5)
    rule = TAP(5)
    step = Step(rbm, rule, SGD(0.1), batch_size=6, steps_per_epoch=1, measure_every=1)
    chains = rule.start(rbm, 6, Stream(1))
    rule(rbm, v, chains, Stream(1))
    assert 1e-6 < chains["residual"] < 0.5
    assert step(v)["tap_residual"] == chains["residual"]


def two_modes(dtype="float64"):
    """All on or all off, the first the likelier."""
    rbm = RBM(8, 4, device="cpu", dtype=dtype)
    rbm.weights[...] = 1.5
    rbm.visible.bias[...], rbm.hidden.bias[...] = -2.8, -5.8
    return rbm


def test_the_likeliest_of_the_solutions_that_are_reached_counts():
    rbm = two_modes()
    starts = np.array([[0.0], [1.0]]).repeat(8, axis=1)
    off, on = (tap_log_partition(rbm, start[None]) for start in starts)
    assert on > off + 1
    assert tap_log_partition(rbm, starts) == pytest.approx(on, abs=1e-12)
    assert on == pytest.approx(Enumeration.of(rbm).log_partition, abs=0.3)


def test_magnetizations_at_zero_and_one_have_a_free_energy():
    """There is no entropy left: F is the energy."""
    rbm = two_modes("float32")
    v = np.float32([[0] * 8, [1] * 8, [0, 1] * 4])
    h = np.float32([[1] * 4, [0] * 4, [0, 1, 1, 0]])
    np.testing.assert_allclose(tap_free_energy(rbm, v, h), rbm.energy([v, h]), rtol=1e-6)


def test_a_partition_function_in_single_precision():
    rbm, _ = weak(6)
    single, _ = weak(6, dtype="float32")
    assert tap_log_partition(single) == pytest.approx(tap_log_partition(rbm), abs=1e-5)
    rounded = RBM(5, 4, device="cpu", precision="bfloat16")
    rounded.parameters.load_state_dict(single.parameters.state_dict())
    assert tap_log_partition(rounded) == tap_log_partition(single)


def test_equations_without_a_stable_solution_are_reported():
    rbm = RBM(30, 30, device="cpu", dtype="float64")
    rbm.weights[...] = np.random.default_rng(1).normal(0, 4, rbm.weights.shape)
    with pytest.raises(
        RuntimeError, match=r"unsolved after 1000 iterations: found magnetizations that miss them by .*expected"
    ):
        tap_log_partition(rbm)


def test_other_units_have_no_such_equations():
    with pytest.raises(ValueError, match=r"found RBM\(Gaussian\(3\), .*Bernoulli units on both sides"):
        tap_log_partition(RBM(Gaussian(3), 2, device="cpu"))


@pytest.mark.parametrize("options", [{"iterations": 0}, {"damping": 1.0}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="expected"):
        tap_log_partition(RBM(3, 2, device="cpu"), **options)


def test_tap_learns_bars_and_stripes():
    rbm = RBM(9, 12, device="cpu", seed=1)
    rbm.fit(bars(), epochs=2500, batch_size=16, learning=TAP(), optimizer=SGD(0.1), centered=True, seed=2)
    assert log_likelihood(rbm, bars()) > -3.3
