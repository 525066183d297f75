import inspect

import numpy as np
import pytest
from enumeration import Enumeration, binary_rows, randomize
from test_machine import assert_same, host

from ebm import RBM, Bernoulli, data
from ebm.compute.random import Stream
from ebm.machine import BoltzmannMachine
from ebm.training import Callback


def small(dtype="float64", seed=1, scale=1.0):
    rbm = RBM(5, 4, device="cpu", dtype=dtype)
    return rbm, randomize(rbm, seed, scale)


def test_free_energy_sums_the_hidden_states_out():
    rbm, exact = small()
    v = binary_rows(5)
    np.testing.assert_allclose(-rbm.free_energy(v) - exact.log_partition, np.log(exact.marginal(0)), rtol=1e-12)


def test_free_energy_in_float32():
    rbm, exact = small("float32", scale=3.0)
    found = rbm.free_energy(binary_rows(5).astype(np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, -np.log(exact.marginal(0)) - exact.log_partition, rtol=2e-6, atol=2e-5)


def test_means_given_the_other_layer():
    rbm, exact = small()
    np.testing.assert_allclose(rbm.mean_hidden(binary_rows(5)), exact.conditional(1, given=0) @ binary_rows(4), rtol=1e-11)
    np.testing.assert_allclose(rbm.mean_visible(binary_rows(4)), exact.conditional(0, given=1) @ binary_rows(5), rtol=1e-11)


def test_fields_scale_with_beta():
    rbm, _ = small()
    v, h = binary_rows(5), binary_rows(4)
    np.testing.assert_allclose(rbm.hidden_field(v, 0.3), 0.3 * (v @ rbm.weights + rbm.hidden.bias), rtol=1e-13)
    np.testing.assert_allclose(rbm.visible_field(h, 0.3), 0.3 * (h @ rbm.weights.T + rbm.visible.bias), rtol=1e-13)


def test_reconstruction_and_its_error():
    rbm, _ = small()
    v = np.random.default_rng(2).random((6, 5))
    h = 1 / (1 + np.exp(-(v @ rbm.weights + rbm.hidden.bias)))
    back = 1 / (1 + np.exp(-(h @ rbm.weights.T + rbm.visible.bias)))
    np.testing.assert_allclose(rbm.reconstruct(v), back, rtol=1e-12)
    assert rbm.squared_error(v) == pytest.approx(((v - back) ** 2).sum(axis=1).mean(), rel=1e-12)


def test_a_draw_is_the_mean_and_the_sample():
    rbm, _ = small()
    v = binary_rows(5)
    mean, sample = rbm.draw_hidden(v, Stream(1))
    np.testing.assert_array_equal(mean, rbm.mean_hidden(v))
    np.testing.assert_array_equal(sample, rbm.sample_hidden(v, Stream(1)))


def test_transform_goes_through_the_rows_in_blocks():
    rbm, _ = small("float32")
    rows = np.random.default_rng(3).random((2345, 5))
    expected = 1 / (1 + np.exp(-(rows @ rbm.weights + rbm.hidden.bias)))
    found = rbm.transform(rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_parameters_are_named_writable_arrays():
    rbm = RBM(Bernoulli(5), 4, device="cpu")
    rbm.weights[...] = 1
    rbm.visible.bias[...] = 2
    rbm.hidden.bias[2] = 3
    np.testing.assert_array_equal(rbm.mean_hidden(np.zeros((1, 5), np.float32))[0, 2], np.float32(1 / (1 + np.exp(-3.0))))
    assert rbm.parameters.buffer.sum() == 20 + 10 + 3
    assert (rbm.visible.units, rbm.hidden.units) == (Bernoulli(5), Bernoulli(4))


def test_the_seed_decides_the_weights():
    np.testing.assert_array_equal(RBM(5, 4, device="cpu", seed=3).weights, RBM(5, 4, device="cpu", seed=3).weights)
    for seed in (4, None):
        assert not np.array_equal(RBM(5, 4, device="cpu", seed=3).weights, RBM(5, 4, device="cpu", seed=seed).weights)


def test_visible_biases_from_the_data():
    rows = np.random.default_rng(4).random((50, 5))
    rows[:, 0], rows[:, 1] = 0, 1
    rbm = RBM(5, 4, device="cpu", dtype="float64")
    rbm.initialize_bias_(rows)
    p = (rows.sum(axis=0) + 1) / 52
    np.testing.assert_allclose(rbm.visible.bias, np.log(p / (1 - p)), rtol=1e-12)


def test_fit_sets_the_visible_biases_only_where_they_are_all_zero():
    rows = np.random.default_rng(5).random((50, 5))
    rbm, other = RBM(5, 4, device="cpu", dtype="float64"), RBM(5, 4, device="cpu", dtype="float64")
    rbm.fit(rows, epochs=0, batch_size=10)
    other.initialize_bias_(rows)
    np.testing.assert_array_equal(rbm.visible.bias, other.visible.bias)
    other.visible.bias[...] = [0, 0, 0, 0, 0.5]
    other.fit(rows, epochs=0, batch_size=10)
    np.testing.assert_array_equal(other.visible.bias, [0, 0, 0, 0, 0.5])


def test_sampling_is_reproducible():
    rbm, _ = small("float32")
    first = rbm.sample(20, 10, seed=1)
    assert first.shape == (20, 5)
    assert set(np.unique(first)) <= {0.0, 1.0}
    np.testing.assert_array_equal(rbm.sample(20, 10, seed=1), first)
    assert not np.array_equal(rbm.sample(20, 10, seed=2), first)
    assert not np.array_equal(rbm.sample(20, 10), rbm.sample(20, 10))


def test_sampling_leaves_the_start_and_the_machine_alone():
    rbm, _ = small("float32")
    before = host(rbm.parameters)
    start = np.ones((20, 5), np.float32)
    rbm.sample(20, 3, start=start, clamp=([1, 0, 0, 0, 0], np.zeros((20, 5))), seed=1)
    assert (start == 1).all()
    assert_same(host(rbm.parameters), before)


def test_an_rbm_is_a_boltzmann_machine_of_two_layers():
    rbm, exact = small()
    machine = BoltzmannMachine([5, 4], device="cpu", dtype="float64")
    machine.parameters.load_state_dict(host(rbm.parameters))
    np.testing.assert_array_equal(machine.energy(exact.states), rbm.energy(exact.states))
    np.testing.assert_array_equal(Enumeration.of(machine).probabilities, exact.probabilities)


def test_validation_metrics():
    """The gap is a difference of mean free energies, and over-fitted machines have a positive one."""
    train, validation, _ = data.load("digits")
    seen, held = train.images[:100], validation.images[:70]
    rbm = RBM(64, 30, device="cpu", seed=1)
    metrics = {}

    class Keep(Callback):
        order = 5

        def on_epoch(self, run):
            metrics.update(run.metrics)

    rbm.fit(seen, epochs=3, batch_size=20, validation=held, callbacks=[Keep()])
    gap = rbm.free_energy(held).mean(dtype=float) - rbm.free_energy(seen[:70]).mean(dtype=float)
    assert metrics["free_energy_gap"] == pytest.approx(gap, rel=1e-4)
    assert metrics["validation_reconstruction"] == pytest.approx(float(rbm.squared_error(held)), rel=1e-5)
    assert metrics.keys() == {"reconstruction", "free_energy_gap", "validation_reconstruction"}


def test_fit_has_no_positional_options():
    kinds = [p.kind for p in inspect.signature(RBM.fit).parameters.values()]
    assert kinds[2:] == [inspect.Parameter.KEYWORD_ONLY] * len(kinds[2:])


def test_everything_works_on_another_device(strict):
    """Arrays come back on the machine's device, host arrays where the method says so, and the numbers are the CPU's."""
    rows = np.random.default_rng(6).random((30, 5)).astype(np.float32)
    cpu, other = (RBM(5, 4, device=device, seed=1) for device in ("cpu", strict))
    for rbm in (cpu, other):
        rbm.fit(rows, epochs=1, batch_size=10, validation=rows[:7], binarization="stochastic")
    expected = cpu.parameters.state_dict()
    assert_same(other.parameters.state_dict(), expected, rtol=1e-4, atol=1e-6)
    other.parameters.load_state_dict(expected)
    np.testing.assert_allclose(other.transform(rows), cpu.transform(rows), rtol=1e-5)
    np.testing.assert_allclose(other.reconstruct(rows), cpu.reconstruct(rows), rtol=1e-5)
    clamp = np.array([1, 0, 0, 0, 1], bool), rows[0]
    for options in ({}, {"clamp": clamp, "beta": 0.5}, {"start": rows[:8]}):
        np.testing.assert_array_equal(other.sample(8, 3, seed=2, **options), cpu.sample(8, 3, seed=2, **options))
    v = strict.asarray(rows)
    for name in ("free_energy", "mean_hidden", "up_and_down", "squared_error"):
        np.testing.assert_allclose(strict.to_host(getattr(other, name)(v)), getattr(cpu, name)(rows), rtol=1e-5)
    for verb in ("mean", "mode"):
        found, wanted = other.sweep([v, None], verb), cpu.sweep([rows, None], verb)
        np.testing.assert_allclose(strict.to_host(found[0]), wanted[0], rtol=1e-5)
    np.testing.assert_allclose(strict.to_host(other.energy([v, found[1]])), cpu.energy([rows, wanted[1]]), rtol=1e-4, atol=1e-5)


def test_blocks_of_rows_change_nothing(monkeypatch):
    rbm, rows = RBM(5, 4, device="cpu", dtype="float64", seed=1), np.random.default_rng(4).random((50, 5))
    found = {}
    for block in (7, 1000):
        monkeypatch.setattr("ebm.data.minibatches.BLOCK", block)
        found[block] = [rbm.transform(rows), rbm.transform(rows, seed=3), rbm.reconstruct(rows)]
    for few, all_at_once in zip(*found.values(), strict=True):
        np.testing.assert_allclose(few, all_at_once, rtol=1e-12)
    np.testing.assert_array_equal(rbm.encode(rows), rbm.transform(rows))
    assert found[7][1].shape == (50, 4)
    assert set(np.unique(found[7][1])) == {0, 1}
