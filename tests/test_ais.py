"""Annealed importance sampling: unbiased in both directions, inside its sides, and not believed where it must not be."""

import numpy as np
import pytest
from fixtures import fixture
from pairs import CONTINUOUS, LENGTH, PAIRS, draw, log_partition, machine, single
from scipy.special import gammaln, logsumexp

import ebm.ais as module
from ebm import RBM, ais, annealing, data, likelihood
from ebm.compute.random import Stream
from ebm.sandwich import objections

# Steps so few that a wrong weight shows, chains so many that it shows clearly.
BETAS = np.linspace(0, 1, 9)
CHAINS = 4000


def small(name, **options):
    """A machine of a pair, with one visible unit where nothing else has an oracle."""
    pair = PAIRS[name]
    return machine((single(pair[0]), pair[1]) if name in CONTINUOUS else pair, **options)


def path_of(rbm, seed=3):
    """A path from a base that is neither uniform nor the machine's biases."""
    return annealing.Path(rbm, [np.random.default_rng(seed).normal(0, 0.5, rbm.visible.units.size).astype(rbm.dtype)])


def documents(rbm, rows):
    return np.tile([LENGTH, 0.0, 0.0], (rows, 1)).astype(rbm.dtype) if rbm.visible.units.replicated else None


def forward_weights(rbm, path, stream):
    """weights / Z of many independent runs."""
    states = path.draw_base(CHAINS, stream, like=documents(rbm, CHAINS))
    log_weights = path.anneal(states, BETAS, stream) + path.base_log_partition(documents(rbm, 1))
    return np.exp(log_weights - log_partition(rbm))


def reverse_weights(rbm, path, stream):
    """Z times the estimates of 1 / Z, from exact samples."""
    states = [draw(rbm, CHAINS, seed=5)[0], None]
    states = path.move(states, path.fields(states), np.ones(1), stream)
    log_weights = path.anneal(states, BETAS[::-1], stream) - path.base_log_partition(documents(rbm, 1))
    return np.exp(log_weights + log_partition(rbm))


DIRECTIONS = {"forward": forward_weights, "reverse": reverse_weights}


def assert_unbiased(weights):
    """The mean is 1, to five of its standard errors."""
    error = weights.std(ddof=1) / np.sqrt(weights.size)
    assert abs(weights.mean() - 1) < 5 * error, f"mean {weights.mean():.4f} ± {error:.4f}"


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", PAIRS)
def test_weights_are_unbiased(name, direction):
    rbm = small(name)
    assert_unbiased(DIRECTIONS[direction](rbm, path_of(rbm), Stream(11, "test")))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", PAIRS)
def test_a_planted_bias_is_noticed(name, direction):
    """A bias that the weights forget, and a base whose partition function is another one's."""
    rbm = small(name)
    forgotten = path_of(rbm)
    forgotten.change = {0: 0 * forgotten.change[0]}
    wrong = path_of(rbm)
    # its logarithm is larger for units of every type
    wrong.base_log_partition = annealing.Path(rbm, [abs(wrong.base[0]) + rbm.dtype.type(0.3)]).base_log_partition
    for path in (forgotten, wrong):
        with pytest.raises(AssertionError, match="mean"):
            assert_unbiased(DIRECTIONS[direction](rbm, path, Stream(11, "test")))


# The whole estimate.


def exact(rbm):
    return likelihood.exact_log_partition(rbm, LENGTH if rbm.visible.units.replicated else None)


@pytest.mark.parametrize("name", PAIRS)
def test_estimates_of_every_pair(name):
    rbm = small(name)
    v = draw(rbm, 500, seed=2)[0]
    length = LENGTH if rbm.visible.units.replicated else None
    found = ais.estimate(rbm, chains=400, temperatures=40, data=v, length=length, sweeps=30, seed=1)
    truth = log_partition(rbm)
    for side in (*found.sides.values(), *found.coarse.values()):
        assert abs(side.log_partition - truth) < 5 * side.standard_error + 1e-9
    assert found.certified, str(found)
    assert abs(found.reverse - truth) < 0.1
    assert found.gap < 0.2
    assert set(found.sides) == {
        "forward",
        *(f"reverse, from {o}" for o in ORIGINS[module.smaller_block(rbm, length) is not None]),
    }


ORIGINS = {True: ["exact samples"], False: ["data", "noise"]}


def test_sides_say_what_the_weights_are():
    log_weights = np.log([1.0, 2.0, 3.0, 6.0]) + 1000
    side = ais.Side.of(log_weights, 5.0)
    assert side.log_partition == pytest.approx(1005 + np.log(3))
    assert side.standard_error == pytest.approx(np.std([1, 2, 3, 6], ddof=1) / 2 / 3)
    assert side.effective_sample_size == pytest.approx(12**2 / (1 + 4 + 9 + 36))
    assert ais.Side.of(log_weights, 5.0, -1).log_partition == pytest.approx(5 - 1000 - np.log(3))
    assert ais.Side.of(log_weights[:1], 0.0).standard_error == np.inf


def two_modes(coupling, units=30):
    """A machine of two far modes, all units off or all on, between which no Gibbs step leads; ones have about 20 times the mass.

    Returns it and its ln Z, by a sum over the number of visible units that are on.
    """
    rbm = RBM(units, units, device="cpu", dtype="float64", seed=1)
    rbm.weights[...] = coupling
    rbm.hidden.bias[...] = -coupling * units / 2
    rbm.visible.bias[...] = -coupling * units / 2 + 0.1
    on = np.arange(units + 1)
    orderings = gammaln(units + 1) - gammaln(on + 1) - gammaln(units - on + 1)
    terms = orderings + on * rbm.visible.bias[0] + units * np.logaddexp(0, rbm.hidden.bias[0] + coupling * on)
    return rbm, float(logsumexp(terms))


@pytest.mark.parametrize("coupling", [0.25, 0.5, 0.75])
def test_stuck_chains_certify_nothing(coupling, monkeypatch):
    """Data of the small mode: forward annealing and reverse annealing from data agree with each other, far from the truth."""
    monkeypatch.setattr(module, "smaller_block", lambda *_: None)
    rbm, truth = two_modes(coupling)
    generator = np.random.default_rng(0)
    rows = (generator.random((200, 30)) < 0.02).astype(float)
    found = ais.estimate(rbm, data=rows, temperatures=1000, sweeps=200, seed=1)
    stuck = [found.sides[name].log_partition for name in ("forward", "reverse, from data")]
    assert abs(stuck[0] - stuck[1]) < 0.1
    assert truth - stuck[0] > 2
    assert not found.certified
    assert "NOT CERTIFIED, do not believe it" in str(found)
    assert "stuck in different modes" in str(found)


def test_two_near_modes_are_certified(monkeypatch):
    monkeypatch.setattr(module, "smaller_block", lambda *_: None)
    rbm, truth = two_modes(0.17)
    rows = np.repeat([[0.0], [1.0]], 100, axis=0) + np.zeros(30)
    found = ais.estimate(rbm, data=rows, temperatures=2000, sweeps=500, seed=1)
    assert found.certified, str(found)
    assert abs(found.log_partition - truth) < 0.1
    assert f"certified within {found.gap:.3f} nats" in str(found)


def side(log_partition, error=0.1, chains=50.0):
    return ais.Side(log_partition, error, chains)


BOTH = ["data", "noise"]
OBJECTIONS = {
    "nothing": (side(10.0), side(10.2), side(10.3), side(10.4), BOTH, None),
    "gap": (side(10.0), side(10.0), side(10.6), side(10.6), BOTH, "differ by 0.600 nats, more than the tolerance of 0.5"),
    "moved": (side(10.0), side(10.0), side(10.3), side(11.0), BOTH, "moved reverse by 0.700 nats"),
    "few": (side(10.0), side(10.0), side(10.1, chains=3.0), side(10.1), BOTH, "3.0 effective chains"),
    "rounding": (side(10.0, 0.0), side(10.0005, 0.0), side(10.0, 0.0), side(10.0, 0.0), BOTH, None),
    "forward alone": (side(10.0), side(10.0), None, None, [], "write reverse=True"),
    "no data": (side(10.0), side(10.0), side(10.0), side(10.0), ["noise"], "write data=train"),
}


@pytest.mark.parametrize("name", OBJECTIONS)
def test_objections(name):
    forward, coarse_forward, reverse, coarse_reverse, origins, expected = OBJECTIONS[name]
    sides = {"forward": forward} | ({"reverse": reverse} if reverse else {})
    coarse = {"forward": coarse_forward} | ({"reverse": coarse_reverse} if reverse else {})
    found = list(objections(sides, coarse, 0.5, origins))
    assert len(found) == (expected is not None)
    assert expected is None or expected in found[0]


def test_forward_alone_is_never_certified():
    rbm = small("Bernoulli x Bernoulli")
    found = ais.estimate(rbm, temperatures=100, reverse=False, seed=1)
    assert found.reverse is found.gap is None
    assert not found.certified
    assert set(found.sides) == {"forward"}
    assert "write reverse=True" in str(found)


# Schedules, blocks, seeds, devices.


def test_salakhutdinov_and_murrays_temperatures():
    betas = ais.salakhutdinov_murray()
    published = np.concatenate([np.arange(0, 0.5, 1e-3), np.arange(0.5, 0.9, 1e-4), np.arange(0.9, 1, 1e-5), [1.0]])
    np.testing.assert_allclose(betas, published[: len(betas)], atol=1e-12)
    assert len(betas) == 14_501
    assert len(ais.salakhutdinov_murray(29)) == 30


def test_temperatures_are_a_number_or_the_inverse_temperatures_themselves():
    rbm = small("Bernoulli x Bernoulli")
    number, sequence = (
        ais.estimate(rbm, temperatures=temperatures, reverse=False, seed=1) for temperatures in (4, [0, 0.25, 0.5, 0.75, 1])
    )
    assert number == sequence
    assert number.temperatures == 4
    other = ais.estimate(rbm, temperatures=[0, 0.1, 0.2, 0.3, 1], reverse=False, seed=1)
    assert other.log_partition != number.log_partition


@pytest.mark.parametrize("name", ["Bernoulli x Bernoulli", "counts x ReLU", "Gaussian x Softmax"])
def test_blocks_of_chains_change_nothing(name, monkeypatch):
    rbm = small(name)
    rows = draw(rbm, 50, seed=2)[0]
    length = LENGTH if rbm.visible.units.replicated else None
    monkeypatch.setattr(module, "smaller_block", lambda *_: None)
    options = {"data": rows, "chains": 11, "temperatures": 7, "sweeps": 3, "length": length, "seed": 4}
    whole = ais.estimate(rbm, **options)
    monkeypatch.setattr(module, "_BLOCK", 3 * sum(layer.units.size for layer in rbm.layers))
    parts = ais.estimate(rbm, **options)
    assert parts.sides["forward"].log_partition == pytest.approx(whole.log_partition, abs=1e-9)
    # tempered chains are drawn block by block
    for name in found_from(parts):
        assert (
            abs(parts.sides[name].log_partition - whole.sides[name].log_partition) < 5 * parts.sides[name].standard_error + 0.5
        )
    assert ais.estimate(rbm, **options | {"seed": 5}).log_partition != whole.log_partition
    assert ais.estimate(rbm, **options) == parts


@pytest.mark.parametrize("name", ["Bernoulli x Bernoulli", "Gaussian x ReLU", "Softmax x Gaussian"])
def test_devices_agree(name, device, monkeypatch):
    """The host reads the weights, and nothing while chains move."""
    rbm = small(name)
    path = path_of(rbm)
    there = RBM(rbm.visible.units, rbm.hidden.units, device=device, dtype="float64")
    there.parameters.load_state_dict(rbm.parameters.state_dict())
    other = annealing.Path(there, [device.asarray(path.base[0])])
    streams = Stream(1, "x"), Stream(1, "x", device)
    states = path.draw_base(40, streams[0]), other.draw_base(40, streams[1])
    counts = [getattr(device, count, 0) for count in ("syncs", "uploads")]
    found = other.anneal(states[1], BETAS, streams[1])
    # one upload: the temperatures
    assert [getattr(device, count, 0) for count in ("syncs", "uploads")] == [counts[0], counts[1] + hasattr(device, "uploads")]
    np.testing.assert_allclose(device.to_host(found), path.anneal(states[0], BETAS, streams[0]), rtol=1e-9, atol=1e-11)


def found_from(estimate):
    return [name for name in estimate.sides if name != "forward"]


@pytest.mark.parametrize("name", ["Bernoulli x Bernoulli", "Gaussian x ReLU", "counts x Softmax"])
@pytest.mark.parametrize("exactly", [True, False])
def test_the_whole_estimate_on_every_device(name, exactly, device, monkeypatch):
    monkeypatch.setattr(module.threads, "number", lambda device: 1)  # tempered chains are drawn block by block
    if not exactly:
        monkeypatch.setattr(module, "smaller_block", lambda *_: None)
    rbm = small(name)
    there = RBM(rbm.visible.units, rbm.hidden.units, device=device, dtype="float64")
    there.parameters.load_state_dict(rbm.parameters.state_dict())
    length = LENGTH if rbm.visible.units.replicated else None
    options = {"data": draw(rbm, 30, seed=2)[0], "chains": 6, "temperatures": 5, "sweeps": 4, "length": length, "seed": 3}
    found, expected = (ais.estimate(r, **options) for r in (there, rbm))
    for name in expected.sides:
        assert found.sides[name].log_partition == pytest.approx(expected.sides[name].log_partition, abs=1e-6)


def test_one_chain_is_enough_to_run():
    found = ais.estimate(small("Gaussian x Gaussian"), data=np.full((3, 1), 0.5), chains=1, temperatures=3, sweeps=1, seed=1)
    assert not found.certified
    assert "1.0 effective chains" in str(found)


def test_products_are_not_rounded():
    rbm = RBM(20, 30, device="cpu", seed=1, precision="bfloat16")
    rbm.weights[...] *= 100
    plain = RBM(20, 30, device="cpu", seed=1)
    plain.parameters.load_state_dict(rbm.parameters.state_dict())
    assert ais.estimate(rbm, temperatures=50, seed=1) == ais.estimate(plain, temperatures=50, seed=1)


def test_progress_counts_every_move(capsys, monkeypatch):
    rbm = small("Bernoulli x Bernoulli")
    for exactly in (True, False):
        if not exactly:
            monkeypatch.setattr(module, "smaller_block", lambda *_: None)
        ais.estimate(rbm, data=np.ones((3, 4)), chains=7, temperatures=9, sweeps=5, seed=1, progress=True)
        assert "100%" in capsys.readouterr().err.splitlines()[-1]


# RAISE.


def test_raise_is_the_likelihood_of_the_annealed_model():
    """Averaged before the logarithm it is exact: the probabilities of all states add up to 1; with more temperatures they are the
    machine's."""
    rbm = small("Bernoulli x Bernoulli")
    rbm.parameters.buffer[...] *= 3
    rows = np.float64([[i >> k & 1 for k in range(4)] for i in range(16)])
    truth = likelihood.log_probability(rbm, rows, exact(rbm))
    rate = [0.2, 0.4, 0.6, 0.5]
    few, many = (
        ais.raise_bound(rbm, rows, chains=4000, temperatures=temperatures, base_rate=rate, seed=1) for temperatures in (2, 200)
    )
    assert np.exp(few).sum() == pytest.approx(1, abs=0.02)
    assert abs(few - truth).max() > 0.1
    np.testing.assert_allclose(many, truth, atol=0.02)
    single_chains = ais.raise_bound(rbm, np.repeat(rows, 200, axis=0), temperatures=2, base_rate=rate, seed=1)
    assert (single_chains.reshape(16, 200).mean(axis=1) < few).all(), "a bound on average"


def test_raise_of_documents_of_any_length():
    rbm = small("counts x Bernoulli")
    rows = np.float64([[1, 0, 0], [0, 3, 1], [2, 2, 2]])
    found = ais.raise_bound(rbm, rows, chains=500, temperatures=500, seed=1)
    for row, bound in zip(rows, found, strict=True):
        log_z = likelihood.exact_log_partition(rbm, int(row.sum()))
        assert bound == pytest.approx(likelihood.log_probability(rbm, row[None], log_z)[0], abs=0.02)


def test_raise_in_blocks(monkeypatch):
    rbm = small("Bernoulli x Gaussian")
    rows = draw(rbm, 30, seed=1)[0]
    found = ais.raise_bound(rbm, rows, chains=50, temperatures=200, seed=1)
    monkeypatch.setattr(module, "_BLOCK", 500 * 6)
    np.testing.assert_allclose(ais.raise_bound(rbm, rows, chains=50, temperatures=200, seed=1), found, atol=0.1)


# Bad input.


BAD = {
    "chains=0": ({"chains": 0}, "chains=0; expected a whole number of at least 1"),
    "temperatures=0": ({"temperatures": 0}, "temperatures=0; expected a whole number of at least 1"),
    "temperatures=2.5": ({"temperatures": 2.5}, "temperatures=2.5; expected a whole number"),
    "falling": ({"temperatures": [0, 0.5, 0.4, 1]}, "expected a whole number of steps >= 1, or inverse temperatures that grow from 0 to 1"),
    "none": ({"temperatures": []}, "of none; expected"),
    "from 0.1": ({"temperatures": [0.1, 1]}, "from 0.1 to 1.0"),
    "sweeps=0": ({"sweeps": 0}, "sweeps=0"),
    "tolerance=0": ({"tolerance": 0}, "tolerance=0; expected a number of nats > 0"),
    "rate 0": ({"base_rate": [0.5, 0.0, 0.5, 0.5]}, "found 0.0 at unit 1.*write data=train"),
    "rate 1": ({"base_rate": [0.5, 0.5, 0.5, 1.0]}, "found 1.0 at unit 3"),
    "rate nan": ({"base_rate": [np.nan, 0.5, 0.5, 1.0]}, "found nan at unit 0"),
    "rates of others": ({"base_rate": [0.5, 0.5]}, r"found shape \(2,\); expected \(4,\)"),
    "data of others": ({"data": np.zeros((5, 3))}, "data has shape"),
    "length": ({"length": 3}, "length=3"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    options, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        ais.estimate(small("Bernoulli x Bernoulli"), **options)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_that_are_not_finite(value):
    rbm = small("Bernoulli x Bernoulli")
    rbm.weights[1, 2] = value
    with pytest.raises(ValueError, match=r"found 1 of 12 weights that are NaN or infinite.*load an earlier checkpoint"):
        ais.estimate(rbm)


def test_word_counts_need_a_length():
    with pytest.raises(ValueError, match="write length="):
        ais.estimate(small("counts x Bernoulli"))


def test_a_likelihood_by_an_estimate():
    rbm = small("Bernoulli x Bernoulli")
    rows = draw(rbm, 20, seed=2)[0]
    found = ais.estimate(rbm, temperatures=10, data=rows, seed=1)
    np.testing.assert_array_equal(
        likelihood.log_probability(rbm, rows, found), likelihood.log_probability(rbm, rows, found.log_partition)
    )


# A trained machine whose ln Z is known.


@pytest.mark.data
def test_a_machine_of_mnist_with_a_known_partition_function():
    """784 x 15 units by pylearn2, exact ln Z 215.138405525: within 0.1 nats, forward and reverse on their sides up to their errors."""
    arrays = fixture("mnistvh.mat")
    truth = 215.138405525
    for dtype, rounding in (("float64", 1e-8), ("float32", 1e-3)):
        rbm = RBM(784, 15, device="cpu", dtype=dtype)
        rbm.weights[...] = arrays["vishid"]
        rbm.visible.bias[...], rbm.hidden.bias[...] = arrays["visbiases"].ravel(), arrays["hidbiases"].ravel()
        assert likelihood.exact_log_partition(rbm) == pytest.approx(truth, abs=rounding)
    train, *_ = data.load("mnist")
    found = ais.estimate(rbm, chains=100, temperatures=10_000, data=train.images, seed=1)
    assert found.certified, str(found)
    assert abs(found.log_partition - truth) < 0.1
    assert found.standard_error < 0.1
    (back,) = (side for name, side in found.sides.items() if name != "forward")
    assert found.log_partition < truth + 3 * found.standard_error
    assert back.log_partition > truth - 3 * back.standard_error
    assert back.standard_error < 0.1
