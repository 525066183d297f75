"""What a rule may do besides returning two pairs of arrays, and what machines and parameters offer for it."""

import numpy as np
import pytest
from enumeration import Enumeration, randomize
from pairs import PAIRS, machine
from test_learning import bars
from test_machine import assert_same, expected_statistics, host

import ebm
from ebm import CD, PCD, RBM, TAP, Exact, FastPCD, Gaussian, ReplicatedSoftmax
from ebm.compute.random import Stream
from ebm.learning import Step
from ebm.machine import BoltzmannMachine
from ebm.training import SGD, History


def test_every_rule_is_a_public_name():
    assert {"CD", "PCD", "FastPCD", "TAP", "Exact"} <= set(ebm.__all__)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: FastPCD(0), r"found FastPCD\(steps=0, .*expected whole numbers >= 1"),
        (lambda: FastPCD(chains=0), "expected whole numbers >= 1"),
        (lambda: FastPCD(fast_rate=-0.1), r"found FastPCD\(.*fast_rate=-0.1.*; expected a finite fast_rate >= 0"),
        (lambda: FastPCD(fast_rate=float("nan")), "expected a finite fast_rate >= 0"),
        (lambda: FastPCD(fast_rate=float("inf")), "expected a finite fast_rate >= 0"),
        (lambda: FastPCD(decay=1), "0 <= decay < 1"),
        (lambda: TAP(0), r"found TAP\(iterations=0, damping=0.5\); expected whole numbers >= 1"),
        (lambda: TAP(damping=1.0), r"found TAP\(iterations=10, damping=1.0\); expected 0 <= damping < 1"),
        (lambda: TAP(damping=-0.5), "expected 0 <= damping < 1"),
    ],
)
def test_numbers_out_of_range_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize(
    ("rule", "layers", "match"),
    [
        (TAP(), (Gaussian(9), 4), r"found RBM\(Gaussian\(9\), .*Bernoulli units on both sides: write learning=PCD\(5\)"),
        (TAP(), (9, Gaussian(4)), "Bernoulli units on both sides"),
        (
            Exact(),
            (17, 17),
            r"neither layer with at most 2\^16 states; .*write learning=PCD\(5\), or give .* at most 16 binary",
        ),
        (Exact(), (Gaussian(2), Gaussian(2)), r"neither layer with at most 2\^16 states"),
        (FastPCD(2, chains=3), (ReplicatedSoftmax(9), 4), r"expected as many chains, write FastPCD\(2\)"),
    ],
    ids=repr,
)
def test_machines_that_a_rule_cannot_teach_are_refused(rule, layers, match):
    with pytest.raises(ValueError, match=match):
        rule.start(RBM(*layers, device="cpu"), 10, Stream(1))


def test_they_are_refused_before_anything_changes():
    rbm = RBM(9, Gaussian(4), device="cpu", seed=1)
    before = rbm.parameters.buffer.copy()
    with pytest.raises(ValueError, match="Bernoulli units on both sides"):
        rbm.fit(bars(), batch_size=8, learning=TAP())
    np.testing.assert_array_equal(rbm.parameters.buffer, before)


# What a rule may do besides.


class Reporting(PCD):
    """PCD that counts its updates, and reports their number."""

    def start(self, rbm, batch_size, stream):
        return {**super().start(rbm, batch_size, stream), "updates": rbm.device.zeros(1, rbm.dtype)}

    def __call__(self, rbm, v, chains, stream):
        chains["updates"][...] += 1
        return super().__call__(rbm, v, chains, stream)

    def metrics(self, chains):
        return {"updates": chains["updates"], "twice": 2 * chains["updates"]}


def test_a_rule_reports_at_the_steps_that_measure():
    step = Step(RBM(9, 6, device="cpu"), Reporting(), SGD(), batch_size=16, steps_per_epoch=4, measure_every=2)
    found = [{name: float(value[0]) for name, value in step(bars()).items() if name != "reconstruction"} for _ in range(5)]
    assert found == [{"updates": 1, "twice": 2}, {}, {"updates": 3, "twice": 6}, {}, {"updates": 5, "twice": 10}]


def test_what_a_rule_reports_is_in_the_history():
    history = History()
    RBM(9, 6, device="cpu").fit(bars(), epochs=30, batch_size=8, learning=Reporting(), callbacks=[history])
    # measured at the first of the two steps of an epoch
    assert [row["updates"] for row in history.rows] == [1 + 2 * epoch for epoch in range(30)]


@pytest.mark.parametrize("centered", [False, True])
def test_the_models_phase_may_be_a_function(centered):
    """One that adds the statistics of the pair of arrays gives the same training, and a weighted half of it another."""

    def by_function(factor_of_rule):
        def rule(rbm, v, chains, stream):
            positive, states = CD(1)(rbm, v, chains, stream)

            def negative(gradient, *, factor, centers):
                rbm.add_statistics_(gradient, states, factor * factor_of_rule, centers=centers)

            return positive, negative

        return rule

    trained = []
    for rule in (CD(1), by_function(1.0), by_function(0.5)):
        rbm = RBM(9, 6, device="cpu", seed=1)
        trained.append(rbm.fit(bars(), epochs=5, batch_size=8, learning=rule, centered=centered).parameters.buffer)
    np.testing.assert_allclose(trained[1], trained[0], rtol=0, atol=1e-7)  # the order of a sum is another
    assert not np.allclose(trained[2], trained[0], rtol=0, atol=1e-4)


# What machines and parameters offer for it.


@pytest.mark.parametrize(
    ("name", "centered"),
    [
        ("Bernoulli x Bernoulli", False),
        ("Bernoulli x Bernoulli", True),
        ("Gaussian learned x groups", True),
        ("counts x Bernoulli", False),
    ],
)
def test_weighted_statistics_are_sums_of_rows(name, centered):
    rbm = machine(PAIRS[name])
    generator = np.random.default_rng(3)
    if rbm.visible.units.replicated:
        v = np.float64(generator.multinomial(np.arange(1, 6), [0.3, 0.3, 0.4]))
    else:
        v = generator.normal(0, 1, (5, rbm.visible.units.size))
    h = generator.random((5, rbm.hidden.units.size))
    weights = generator.random(5)
    centers = [generator.random(layer.units.size) for layer in rbm.layers] if centered else None
    found, expected = (rbm.parameters.zeros_like() for _ in range(2))
    for gradient in (found, expected):
        gradient.buffer[...] = 4.0
    rbm.add_statistics_(found, (v, h), -2.0, 0.5, centers, weights)
    expected.buffer[...] *= 0.5
    rows = [(w, [v[r : r + 1].copy(), h[r : r + 1].copy()]) for r, w in enumerate(weights)]
    expected_statistics(rbm, expected, rows, -2.0, centers)
    assert_same(host(found), host(expected), rtol=1e-12)
    # equal weights are a mean
    rbm.add_statistics_(found, (v, h), 1.0, 0.0, centers, np.full(5, 0.2))
    rbm.add_statistics_(expected, (v, h), 1.0, 0.0, centers)
    assert_same(host(found), host(expected), rtol=1e-12)


def test_a_machine_with_other_parameters_is_that_machine():
    """A chain of three layers, and precisions: everything that reads parameters reads the new ones, and the old machine stays."""
    model = BoltzmannMachine([3, 4, 2], device="cpu", dtype="float64")
    exact = randomize(model, 4)
    other = model.with_parameters(model.parameters.over(0.5 * model.parameters.buffer))
    halved = Enumeration([0.5 * bias for bias in exact.biases], {pair: 0.5 * w for pair, w in exact.weights.items()})
    np.testing.assert_allclose(other.energy(halved.states), halved.energy(halved.states), rtol=1e-12)
    states = [np.random.default_rng(5).random((6, n)) for n in (3, 4, 2)]
    np.testing.assert_allclose(other.field(1, states), 0.5 * model.field(1, states), rtol=1e-12)
    np.testing.assert_allclose(model.energy(exact.states), exact.energy(exact.states), rtol=1e-12)
    rbm = machine(PAIRS["Gaussian learned x Bernoulli"])
    twice = rbm.with_parameters(rbm.parameters.over(2 * rbm.parameters.buffer))
    h = np.eye(3)
    precision = np.exp(2 * rbm.parameters["log_precision.0"])
    np.testing.assert_allclose(twice.mean_visible(h), 2 * (rbm.visible.bias + h @ rbm.weights.T) / precision, rtol=1e-12)
    assert isinstance(twice, RBM)


def test_parameters_over_another_buffer_are_views_of_it():
    rbm = RBM(3, 2, device="cpu")
    rbm.parameters.segments["weights"].frozen = True
    buffer = np.arange(rbm.parameters.buffer.size, dtype=np.float32)
    over = rbm.parameters.over(buffer)
    over["weights"][...] = 7
    segment = over.segments["weights"]
    assert (buffer[segment.start : segment.stop] == 7).all()
    assert segment.frozen
    assert not (rbm.weights == 7).any()
