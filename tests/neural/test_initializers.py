"""Initial weights: their distributions, and that a seed makes them."""

import math

import numpy as np
import pytest
from scipy.stats import kstest

from ebm.compute.device import CPU
from ebm.compute.random import Stream
from neural.initializers import Glorot, He, Normal, Sparse
from neural.layers import BatchNorm, Conv2D, Dense, Reshape
from neural.network import Network

FALSE_ALARM = 1e-6
INITIALIZERS = [Glorot(), He(), Normal(0.3), Sparse(7)]
everywhere = pytest.mark.parametrize("initial", INITIALIZERS, ids=repr)


def filled(initial, shape=(300, 200), seed=1, dtype=np.float64, device=CPU):
    weights = device.empty(shape, dtype)
    initial.fill_(weights, 300, 200, Stream(seed, "weights", device))
    return device.to_host(weights)


@pytest.mark.parametrize("gain", [1, 4])
def test_glorot_is_uniform(gain):
    limit = gain * math.sqrt(6 / 500)
    weights = filled(Glorot(gain)).ravel()
    assert np.abs(weights).max() <= limit
    assert kstest(weights, "uniform", args=(-limit, 2 * limit)).pvalue > FALSE_ALARM


@pytest.mark.parametrize("initial", [He(), He(gain=2), Normal(0.3)], ids=repr)
def test_he_and_normal_are_normal(initial):
    deviation = 0.3 if isinstance(initial, Normal) else initial.gain * math.sqrt(2 / 300)
    assert kstest(filled(initial).ravel(), "norm", args=(0, deviation)).pvalue > FALSE_ALARM


def test_sparse_units_have_so_many_connections():
    weights = filled(Sparse(7, deviation=0.5))
    np.testing.assert_array_equal((weights != 0).sum(axis=0), np.full(200, 7))
    assert kstest(weights[weights != 0], "norm", args=(0, 0.5)).pvalue > FALSE_ALARM
    # each input as likely as another: 1400 connections on 300 inputs
    assert ((weights != 0).sum(axis=1) - 7 * 200 / 300).max() < 5 * math.sqrt(7 * 200 / 300)
    assert (filled(Sparse(1000)) != 0).all()


@everywhere
def test_a_seed_makes_the_weights(initial):
    weights = filled(initial)
    np.testing.assert_array_equal(filled(initial), weights)
    assert (filled(initial, seed=2) != weights).any()
    # the kernels' positions come before the units
    np.testing.assert_array_equal(filled(initial, (2, 150, 200)).reshape(300, 200), weights)


@everywhere
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_devices_agree(initial, device, dtype):
    found, expected = filled(initial, dtype=dtype, device=device), filled(initial, dtype=dtype)
    np.testing.assert_allclose(found, expected, rtol=0, atol=8 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(found == 0, expected == 0)


@everywhere
def test_layers_draw_one_after_the_other(initial):
    layers = [Dense(20, initial=initial), Dense(20, initial=initial)]
    network = Network(layers, 20, device="cpu", seed=3)
    first, second = (network.parameters[f"{k}.weights"] for k in range(2))
    assert (first != second).any()
    np.testing.assert_array_equal(Network(layers, 20, device="cpu", seed=3).parameters.buffer, network.parameters.buffer)
    assert (Network(layers, 20, device="cpu", seed=4).parameters["0.weights"] != first).any()
    assert Network(layers, 20, device="cpu", seed=None).seed != network.seed


def test_networks_start_with_biases_of_zero_and_no_normalization():
    network = Network([Reshape(4, 4, 1), Conv2D(2, 3), BatchNorm(), Reshape(8), Dense(3)], 16, device="cpu")
    for name in ("1.bias", "2.shift", "2.mean", "4.bias"):
        assert not network.parameters[name].any()
    for name in ("2.scale", "2.variance"):
        assert (network.parameters[name] == 1).all()
    for name in ("1.weights", "4.weights"):
        assert network.parameters[name].all()
