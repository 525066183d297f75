"""The exact gradient against finite differences of the exact log-likelihood, of every pair that has a layer to enumerate."""

import numpy as np
import pytest
from pairs import DISCRETE, LENGTH, log_partition, machine, summed
from test_learning import bars, log_likelihood
from test_learning_pairs import rows_for
from test_machine import assert_same, host

from ebm import CD, RBM, Bernoulli, Exact, Gaussian, ReplicatedSoftmax, Softmax
from ebm.compute.random import Stream
from ebm.learning import Step
from ebm.likelihood import exact_log_partition
from ebm.training import SGD

LISTED = {name: pair for name, pair in DISCRETE.items() if any(units.number_of_states() for units in pair)}
STEP = 1e-4


def rows(units, n=6):
    """Rows of data; documents of the oracle's length."""
    if units.replicated:
        return np.float64(np.random.default_rng(2).multinomial(LENGTH, [0.3, 0.3, 0.4], n))
    return rows_for(units, n, seed=2)


def likelihood(rbm, v):
    """The mean of ln p of the rows, by the oracle."""
    return summed(rbm, 1, v)[0].mean() - log_partition(rbm)


def ascent(rbm, v, centers=None):
    """The gradient that a step would follow."""
    gradient = rbm.parameters.zeros_like()
    positive, negative = Exact()(rbm, v, Exact().start(rbm, len(v), Stream(1)), Stream(1))
    rbm.add_statistics_(gradient, positive, 1.0, centers=centers)
    negative(gradient, factor=-1.0, centers=centers)
    return host(gradient)


def derivatives(rbm, function):
    """Central differences by every parameter that learns."""
    found = {}
    for name, segment in rbm.parameters.segments.items():
        flat = rbm.parameters[name].reshape(-1)
        found[name] = np.zeros(segment.shape)
        for i in range(0 if segment.frozen else flat.size):
            middle, ends = flat[i], []
            for flat[i] in (middle + STEP, middle - STEP):
                ends.append(function(rbm))
            flat[i] = middle
            found[name].reshape(-1)[i] = (ends[0] - ends[1]) / (2 * STEP)
    return found


@pytest.mark.parametrize("name", LISTED)
def test_it_is_the_gradient_of_the_log_likelihood(name):
    rbm = machine(LISTED[name])
    v = rows(rbm.visible.units)
    expected = derivatives(rbm, lambda rbm: likelihood(rbm, v))
    assert_same(ascent(rbm, v), expected, rtol=1e-6, atol=1e-7)
    assert all(value.any() or rbm.parameters.segments[key].frozen for key, value in expected.items())


@pytest.mark.parametrize("name", [name for name in LISTED if not LISTED[name][0].replicated])
def test_the_centered_gradient_follows_the_paper_and_ascends(name):
    """Melchior et al. 2016, equations 8 to 10, of differences of the log-likelihood; precisions as they are."""
    rbm = machine(LISTED[name], seed=3)
    v = rows(rbm.visible.units)
    plain = derivatives(rbm, lambda rbm: likelihood(rbm, v))
    mu, lam = centers = [np.random.default_rng(4).normal(0.5, 0.5, layer.units.size) for layer in rbm.layers]
    dW = plain["weights"] - np.outer(mu, plain["bias.1"]) - np.outer(plain["bias.0"], lam)
    centered = {"weights": dW, "bias.0": plain["bias.0"] - dW @ lam, "bias.1": plain["bias.1"] - dW.T @ mu}
    found = ascent(rbm, v, centers)
    assert_same(found, plain | centered, rtol=1e-6, atol=1e-6)
    before = likelihood(rbm, v)
    for key, value in found.items():
        rbm.parameters[key][...] += 1e-3 * value
    expected = 1e-3 * sum((plain[key] * found[key]).sum() for key in plain)
    assert expected > 0
    assert likelihood(rbm, v) - before == pytest.approx(expected, rel=0.1)


def test_documents_have_the_partition_function_of_their_length():
    """Rows of one to six words, each likely as a document of its length."""
    rbm = machine((ReplicatedSoftmax(3, longest=6), Bernoulli(3)))
    v = rows_for(rbm.visible.units, 12)
    assert len(set(v.sum(axis=1))) == 6

    def likelihood(rbm):
        partition = {length: exact_log_partition(rbm, int(length)) for length in set(v.sum(axis=1))}
        return (summed(rbm, 1, v)[0] - [partition[length] for length in v.sum(axis=1)]).mean()

    assert_same(ascent(rbm, v), derivatives(rbm, likelihood), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("visible", "hidden", "shape"),
    [
        (5, 3, (8, 3)),
        (3, 5, (8, 3)),
        (Gaussian(2), 4, (16, 4)),
        (Softmax(3, groups=2), 16, (9, 6)),
        (40, Softmax(7), (7, 7)),
        (16, 17, (2**16, 16)),
        (ReplicatedSoftmax(5), 2, (4, 2)),
    ],
)
def test_the_layer_with_fewer_states_is_enumerated(visible, hidden, shape):
    rbm = RBM(visible, hidden, device="cpu", dtype="float64")
    states = Exact().start(rbm, 10, Stream(1))["states"]
    assert states.shape == shape
    assert len(np.unique(states, axis=0)) == shape[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_strong_weights_neither_overflow_nor_vanish(dtype):
    """Energies of thousands of nats: all probability is in one state, all on, and none in the data's, all off."""
    rbm = RBM(6, 4, device="cpu", dtype=dtype, seed=1)
    rbm.weights[...] = 200
    rbm.visible.bias[...], rbm.hidden.bias[...] = -100, -600
    for value in ascent(rbm, np.zeros((2, 6), dtype)).values():
        np.testing.assert_allclose(value, -1, rtol=1e-6)


def test_single_precision_is_near():
    rbm, single = machine((Bernoulli(8), Bernoulli(14))), RBM(8, 14, device="cpu")
    single.parameters.load_state_dict(rbm.parameters.state_dict())
    v = rows(rbm.visible.units)
    assert_same(ascent(single, v.astype(np.float32)), ascent(rbm, v), rtol=0, atol=1e-6)


def test_every_step_ascends():
    """The batch is the data, and nothing is drawn."""
    rbm = RBM(9, 6, device="cpu", dtype="float64", seed=1)
    rbm.weights[...] *= 30
    v = np.float64(bars())
    step = Step(rbm, Exact(), SGD(0.2), batch_size=16, steps_per_epoch=1)
    values = [log_likelihood(rbm, v)]
    for _ in range(300):
        step(v)
        values.append(log_likelihood(rbm, v))
    assert (np.diff(values) > 0).all()
    assert values[-1] > values[0] + 0.5


@pytest.mark.parametrize("centered", [False, True])
def test_it_learns_more_than_contrastive_divergence(centered):
    found = {}
    for rule in (CD(1), Exact()):
        rbm = RBM(9, 12, device="cpu", seed=1)
        rbm.fit(bars(), epochs=2500, batch_size=16, learning=rule, optimizer=SGD(0.1), centered=centered)
        found[rule] = log_likelihood(rbm, bars())
    assert found[Exact()] > found[CD(1)] + 0.1
