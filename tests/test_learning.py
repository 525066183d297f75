import numpy as np
import pytest
from enumeration import Enumeration, assert_distributed, binary_rows, number, randomize
from strict import steps_without_waiting
from test_machine import assert_same, host

from ebm import CD, PCD, RBM, TAP, Exact, FastPCD, data
from ebm.compute.random import Stream
from ebm.data.minibatches import Minibatches
from ebm.learning import Step
from ebm.training import L1, SGD, Adam, Linear, MaxNorm, SparsityTarget, WeightDecay, momentum_ramp

ROWS = 20_000
V, H = 4, 3


def far_from_equilibrium():
    """A machine that is still mixing after seven steps, its exact quantities, and the tables p(v | h) and p(h | v)."""
    rbm = RBM(V, H, device="cpu")
    exact = randomize(rbm, 2, scale=3.0)
    return rbm, exact, exact.conditional(0, given=1), exact.conditional(1, given=0)


def point(state, size):
    """The distribution of rows that are all `state`."""
    return np.eye(2**size)[number(np.atleast_2d(state))[0]]


def is_refused(rows, probabilities):
    try:
        assert_distributed(rows, probabilities)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("k", [1, 2, 3])
def test_cd_ends_where_the_transition_matrix_says(k):
    rbm, _, to_visible, to_hidden = far_from_equilibrium()
    pattern = np.array([1.0, 0.0, 1.0, 1.0], np.float32)
    v = np.tile(pattern, (ROWS, 1))
    (seen, driven), (fantasy, mean) = CD(k)(rbm, v, {}, Stream(4))
    np.testing.assert_array_equal(seen, v)
    np.testing.assert_allclose(driven[0], to_hidden[number(v[:1])[0]] @ binary_rows(H), rtol=1e-5)
    np.testing.assert_allclose(mean, to_hidden[number(fantasy)] @ binary_rows(H), rtol=1e-5)
    assert_distributed(fantasy, point(pattern, V) @ np.linalg.matrix_power(to_hidden @ to_visible, k))
    # one step more or less would not pass
    for other in (k - 1, k + 1):
        assert is_refused(fantasy, point(pattern, V) @ np.linalg.matrix_power(to_hidden @ to_visible, other))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_pcd_moves_its_chains_as_the_transition_matrix_says(k):
    rbm, _, to_visible, to_hidden = far_from_equilibrium()
    state = np.array([1.0, 0.0, 1.0], np.float32)
    chains = {"layer.1": np.tile(state, (ROWS, 1))}
    stream = Stream(5)
    v = np.eye(V, dtype=np.float32)
    for update in (1, 2):
        (seen, driven), (fantasy, mean) = PCD(k)(rbm, v, chains, stream)
        np.testing.assert_array_equal(seen, v)
        np.testing.assert_allclose(driven, to_hidden[number(v)] @ binary_rows(H), rtol=1e-5)
        np.testing.assert_allclose(mean, to_hidden[number(fantasy)] @ binary_rows(H), rtol=1e-5)
        steps = update * k
        after = point(state, H) @ np.linalg.matrix_power(to_visible @ to_hidden, steps)
        assert_distributed(chains["layer.1"], after)
        # the visible states come before the last hidden ones
        assert_distributed(fantasy, point(state, H) @ to_visible @ np.linalg.matrix_power(to_hidden @ to_visible, steps - 1))
        assert is_refused(chains["layer.1"], after @ to_visible @ to_hidden)


def test_pcd_starts_its_chains_at_the_hidden_biases():
    rbm, exact, _, _ = far_from_equilibrium()
    chains = PCD(chains=ROWS).start(rbm, 10, Stream(6))
    alone = Enumeration(exact.biases, {(0, 1): np.zeros((V, H))})
    assert_distributed(chains["layer.1"], alone.marginal(1))
    assert PCD().start(rbm, 10, Stream(6))["layer.1"].shape == (10, H)


def statistics(rbm, positive, negative):
    gradient = rbm.parameters.zeros_like()
    rbm.add_statistics_(gradient, positive, 1.0)
    rbm.add_statistics_(gradient, negative, -1.0)
    return host(gradient)


def test_cd_statistics_are_those_of_the_exact_k_step_distribution():
    """The whole gradient estimate of CD-2, against its exact expectation."""
    rbm, exact, to_visible, to_hidden = far_from_equilibrium()
    patterns = binary_rows(V)[[3, 12, 5, 11]]
    v = np.repeat(patterns, ROWS // 4, axis=0).astype(np.float32)
    found = statistics(rbm, *CD(2)(rbm, v, {}, Stream(7)))
    start = np.bincount(number(patterns), minlength=2**V) / 4
    end = start @ np.linalg.matrix_power(to_hidden @ to_visible, 2)
    joint = [(p[:, None] * to_hidden)[number(exact.states[0]), number(exact.states[1])] for p in (start, end)]
    positive, negative = map(exact.expectation, joint)
    # each statistic is a mean of ROWS numbers in [0, 1]: 5 standard errors of at most 1/2 each
    assert_same(found, {name: positive[name] - negative[name] for name in positive}, atol=5 * 0.5 / np.sqrt(ROWS))


@pytest.mark.parametrize("k", [1, 3])
def test_pcd_from_the_exact_distribution_estimates_the_exact_gradient(k):
    rbm, exact, _, _ = far_from_equilibrium()
    v = binary_rows(V)[[3, 12, 5, 11]].astype(np.float32)
    chains = {"layer.1": exact.draw(ROWS, seed=8)[1]}
    stream = Stream(9)
    tolerance = 5 * 0.5 / np.sqrt(ROWS)
    for _ in range(2):
        assert_same(statistics(rbm, *PCD(k)(rbm, v, chains, stream)), exact.gradient(v), atol=tolerance)
    # from one state, as far away as chains can be, it would not
    stuck = {"layer.1": np.ones((ROWS, H), np.float32)}
    wrong, right = statistics(rbm, *PCD(k)(rbm, v, stuck, stream)), exact.gradient(v)
    assert max(np.abs(wrong[name] - right[name]).max() for name in right) > 2 * tolerance


def test_the_difference_of_exact_phases_is_the_gradient_of_the_log_likelihood():
    rbm = RBM(4, 3, device="cpu", dtype="float64")
    exact = randomize(rbm, 10)
    v = np.random.default_rng(11).integers(0, 2, (7, 4)).astype(float)
    gradient = rbm.parameters.zeros_like()
    rbm.add_statistics_(gradient, (v, rbm.mean_hidden(v)), 1.0)
    for row, p in zip(binary_rows(4), exact.marginal(0), strict=True):
        rbm.add_statistics_(gradient, (row[None], rbm.mean_hidden(row[None])), -p)
    assert_same(host(gradient), exact.gradient(v), rtol=0, atol=1e-10)
    h = 1e-5
    for name in rbm.parameters:
        flat, expected = rbm.parameters[name].reshape(-1), exact.gradient(v)[name].reshape(-1)
        for i in range(flat.size):
            middle, ends = flat[i], []
            for flat[i] in (middle + h, middle - h):
                ends.append(Enumeration.of(rbm).log_likelihood(v))
            flat[i] = middle
            assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(expected[i], abs=1e-9)


def bars():
    patterns, probabilities = data.bars_and_stripes(3)
    return np.repeat(patterns, np.rint(probabilities * 16).astype(int), axis=0)


def log_likelihood(rbm, rows):
    """The mean over the rows of ln p, from 2^visible free energies in NumPy."""
    W, b, c = (np.float64(x) for x in (rbm.weights, rbm.visible.bias, rbm.hidden.bias))

    def negative_free_energy(v):
        return v @ b + np.logaddexp(0, v @ W + c).sum(axis=1)

    everything = negative_free_energy(binary_rows(b.size))
    largest = everything.max()
    return negative_free_energy(np.float64(rows)).mean() - largest - np.log(np.exp(everything - largest).sum())


@pytest.mark.parametrize("centered", [False, True])
def test_pcd_learns_bars_and_stripes(centered):
    """The independent model reaches -9 ln 2 = -6.24 nats a row, the data's own distribution -2.60."""
    rows = bars()
    rbm = RBM(9, 12, device="cpu", seed=1)
    rbm.fit(rows, epochs=1, batch_size=16)
    assert log_likelihood(rbm, rows) == pytest.approx(-9 * np.log(2), abs=0.05)
    rbm.fit(rows, epochs=2500, batch_size=16, learning=PCD(2, chains=100), optimizer=SGD(0.1), centered=centered, seed=2)
    assert log_likelihood(rbm, rows) > -4


def test_cd_learns_bars_and_stripes():
    rbm = RBM(9, 12, device="cpu", dtype="float64", seed=1)
    rbm.fit(bars(), epochs=2000, batch_size=16, learning=CD(3), optimizer=SGD(0.1, momentum=0.5), seed=2)
    assert log_likelihood(rbm, bars()) > -4


def pcd_with_restarts(rbm, v, chains, stream):
    """A researcher's own rule: at each update a tenth of the chains start again at the data."""
    count = v.shape[0] // 10
    chains["hidden"][:count] = rbm.sample_hidden(v, stream)[:count]
    fantasy = rbm.sample_visible(chains["hidden"], stream)
    mean, chains["hidden"][...] = rbm.draw_hidden(fantasy, stream)
    chains["updates"][...] += 1
    return (v, rbm.mean_hidden(v)), (fantasy, mean)


def test_any_function_is_a_rule():
    """A plain function of (rbm, v, chains, stream): contrastive divergence without sampling."""
    calls = []

    def reconstruction_without_sampling(rbm, v, chains, stream):
        calls.append((rbm, v.shape, dict(chains), type(stream)))
        h = rbm.mean_hidden(v)
        back = rbm.mean_visible(h)
        return (v, h), (back, rbm.mean_hidden(back))

    rbm = RBM(9, 6, device="cpu", seed=1)
    before = float(rbm.squared_error(bars()))
    rbm.fit(bars(), epochs=300, batch_size=8, learning=reconstruction_without_sampling, optimizer=SGD(0.1, 0.5))
    assert float(rbm.squared_error(bars())) < before / 3
    assert len(calls) == 600
    assert calls[0] == (rbm, (8, 9), {}, Stream)


def test_a_rule_with_chains_is_a_class_with_start():
    class Rule:
        __call__ = staticmethod(pcd_with_restarts)

        def start(self, rbm, batch_size, stream):
            hidden = rbm.device.zeros((4 * batch_size, rbm.hidden.units.size), rbm.dtype)
            return {"hidden": hidden, "updates": rbm.device.zeros(1, np.int64)}

    rbm = RBM(9, 12, device="cpu", seed=1)
    rbm.fit(bars(), epochs=2000, batch_size=16, learning=Rule(), optimizer=SGD(Linear(0.1, 0, 2000), momentum=0.5))
    assert log_likelihood(rbm, bars()) > -5  # -6.24 by chance
    step = Step(rbm, Rule(), SGD(), batch_size=16, steps_per_epoch=1)
    step(bars())
    assert step.state_dict()["chains.updates"] == 1
    assert step.state_dict()["chains.hidden"].any()


def test_chains_are_moved_in_place_and_not_replaced():
    """An array of a step's own is overwritten where the step is replayed, so as chains it would be lost (see `Arena`)."""

    def assign(rbm, v, chains, stream):
        chains["layer.1"] = rbm.sample_hidden(v, stream)
        return (v, chains["layer.1"]), (v, chains["layer.1"])

    assign.start = PCD().start
    step = Step(RBM(9, 6, device="cpu"), assign, SGD(), batch_size=16, steps_per_epoch=1)
    with pytest.raises(TypeError, match="does not support item assignment"):
        step(bars())


def test_a_step_needs_no_more_memory_for_more_gibbs_steps():
    needed = []
    for rule in (PCD(2), PCD(20)):
        step = Step(RBM(9, 6, device="cpu"), rule, SGD(), batch_size=16, steps_per_epoch=1)
        for _ in range(2):
            step(bars())
        needed.append({size: len(blocks) for size, blocks in step._graph._arena.blocks.items()})
    assert needed[0] == needed[1]


@pytest.mark.parametrize("rule", ["pcd", None, 3, CD, PCD])
def test_what_is_no_rule_is_refused(rule):
    rbm = RBM(9, 6, device="cpu")
    with pytest.raises(TypeError, match=r"found learning=.*; expected a rule, such as CD\(1\), PCD\(5\) or a function of"):
        rbm.fit(bars(), batch_size=8, learning=rule)
    assert not rbm.visible.bias.any()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: CD(0), r"found CD\(steps=0\); expected whole numbers >= 1"),
        (lambda: CD(1.0), r"found CD\(steps=1\.0\)"),
        (lambda: PCD(chains=0), r"found PCD\(steps=1, chains=0, mean_field=10\)"),
        (lambda: PCD(steps=-1), "expected whole numbers >= 1"),
    ],
)
def test_steps_and_chains_are_counted_from_one(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_whole_numbers_of_numpy_count_too():
    assert (CD(np.int64(3)), PCD(np.int32(2), np.int64(5))) == (CD(3), PCD(2, 5))


# What a step is made of: the same calls by hand.


def started(**options):
    rbm = RBM(9, 6, device="cpu", dtype="float64", seed=1)
    randomize(rbm, 12, scale=0.5)
    return rbm, Step(rbm, options.pop("learning", CD()), options.pop("optimizer", SGD(0.1)), steps_per_epoch=4, **options)


def test_a_step_descends_along_the_difference_of_the_phases():
    rbm, step = started(batch_size=16, optimizer=SGD(0.1, momentum=0.5))
    parameters, velocity = host(rbm.parameters), dict.fromkeys(rbm.parameters, 0.0)
    stream = Stream(0, "learning")
    twin = RBM(9, 6, device="cpu", dtype="float64")
    for _ in range(3):
        twin.parameters.load_state_dict(parameters)
        gradient = statistics(twin, *CD()(twin, np.float64(bars()), {}, stream))
        velocity = {name: 0.5 * velocity[name] + gradient[name] for name in gradient}
        parameters = {name: parameters[name] + 0.1 * velocity[name] for name in gradient}
        step(np.float64(bars()))
    assert_same(host(rbm.parameters), parameters, rtol=1e-11, atol=1e-13)


def test_schedules_see_fractions_of_epochs():
    seen = []

    def rate(epoch):
        seen.append(epoch)
        return 0.1

    _, step = started(batch_size=16, optimizer=SGD(rate, momentum=momentum_ramp()))
    for _ in range(6):
        step(np.float64(bars()))
    assert seen == [0, 0.25, 0.5, 0.75, 1.0, 1.25]


@pytest.mark.parametrize("centered", [False, True])
def test_a_sparsity_target_adds_its_gradient_to_the_step(centered):
    """Uncentered, strength (target - q) for the hidden biases, and that times the mean of v for the weights."""
    penalty = SparsityTarget(0.1, strength=0.7, decay=0.6)
    v = np.float64(bars())
    results = []
    for penalties in ((), (penalty,)):
        rbm, step = started(batch_size=16, penalties=penalties, centered=centered)
        before, mean = host(rbm.parameters), rbm.mean_hidden(v).mean(axis=0)
        step(v)
        results.append({name: host(rbm.parameters)[name] - before[name] for name in before})
    q = 0.6 * 0.1 + 0.4 * mean
    pull = 0.7 * (0.1 - q)
    mu = 0.99 * 0.5 + 0.01 * v.mean(axis=0) if centered else np.zeros(9)
    lam = 0.99 * 0.5 + 0.01 * mean if centered else np.zeros(6)
    dW = np.outer(v.mean(axis=0) - mu, pull)
    expected = {"weights": dW, "bias.0": -dW @ lam, "bias.1": pull - dW.T @ mu}
    found = {name: (results[1][name] - results[0][name]) / 0.1 for name in expected}
    assert_same(found, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(step.state_dict()["activation.0"], q, rtol=1e-13)


def test_two_sparsity_targets_do_not_see_each_other():
    v = np.float64(bars())
    moved = []
    for targets in ([0.1], [0.4], [0.1, 0.4]):
        rbm, step = started(batch_size=16, penalties=[SparsityTarget(t, strength=0.5) for t in targets])
        step(v)
        moved.append(rbm.hidden.bias.copy())
    rbm, step = started(batch_size=16)
    step(v)
    np.testing.assert_allclose(moved[2] + rbm.hidden.bias, moved[0] + moved[1], rtol=1e-12)


def test_centers_follow_the_batches():
    rbm, step = started(batch_size=16, centered=True)
    v = np.float64(bars())
    expected = [np.full(9, 0.5), np.full(6, 0.5)]
    for _ in range(3):
        means = [v.mean(axis=0), rbm.mean_hidden(v).mean(axis=0)]
        expected = [0.99 * c + 0.01 * m for c, m in zip(expected, means, strict=True)]
        step(v)
    for i, center in enumerate(expected):
        np.testing.assert_allclose(step.state_dict()[f"center.{i}"], center, rtol=1e-12)


@pytest.mark.parametrize("target", [0.05, 0.3])
def test_a_sparsity_target_is_reached_in_training(target):
    train = data.load("digits")[0].images
    rbm = RBM(64, 20, device="cpu", seed=1)
    penalties = [SparsityTarget(target, strength=3.0, decay=0.9)]
    rbm.fit(train[:600], epochs=20, batch_size=50, optimizer=SGD(0.05, 0.5), penalties=penalties)
    assert np.abs(rbm.transform(train[:600]).mean(axis=0) - target).max() < 0.2 * target + 0.02


def test_the_metric_is_measured_every_so_many_steps():
    rbm, step = started(batch_size=16, measure_every=3)
    v = np.float64(bars())
    # steps 0 and 3 of each epoch of four
    assert [bool(step(v)) for _ in range(8)] == [True, False, False, True] * 2
    rbm, step = started(batch_size=16, measure_every=1)
    assert step(v)["reconstruction"] == pytest.approx(float(rbm.squared_error(v)), rel=1e-12)
    _, step = started(batch_size=16, measure_every=None)
    assert not any(step(v) for _ in range(8))


def test_the_seed_of_fit_decides_order_and_draws():
    rows = np.random.default_rng(13).random((60, 9))

    def trained(**options):
        rbm = RBM(9, 6, device="cpu", seed=1)
        return rbm.fit(rows, epochs=2, batch_size=20, **options).weights

    np.testing.assert_array_equal(trained(), trained(seed=1))
    assert not np.array_equal(trained(seed=2), trained(seed=1))
    assert not np.array_equal(trained(binarization="stochastic"), trained())


# The strict device refuses hidden reads by the host and counts the declared ones.

PENALTIES = [WeightDecay(1e-3), L1(1e-4), MaxNorm(2.0), SparsityTarget(0.1)]
OPTIMIZERS = {
    "SGD": SGD(0.1),
    "momentum": SGD(0.1, momentum_ramp(0.5, 0.9, 1)),
    "Nesterov": SGD(0.1, 0.9, nesterov=True),
    "Adam": Adam(0.01),
}


@pytest.mark.parametrize("learning", [CD(1), CD(3), PCD(1), PCD(2, chains=7), FastPCD(2, chains=7), TAP(2), Exact()], ids=repr)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("centered", [False, True])
def test_a_step_makes_the_host_wait_for_nothing_and_equals_the_cpus(strict, learning, optimizer, centered):
    rows = np.random.default_rng(14).random((30, 9))
    found = {}
    for device in ("cpu", strict):
        rbm = RBM(9, 6, device=device, seed=2)
        generator = np.random.default_rng(15)
        rbm.parameters.load_state_dict({name: generator.normal(0, 0.5, rbm.parameters[name].shape) for name in rbm.parameters})
        batches = Minibatches(rows, 10, device=rbm.device, seed=3, binarization="stochastic")
        step = Step(
            rbm,
            learning,
            OPTIMIZERS[optimizer],
            batch_size=10,
            steps_per_epoch=3,
            penalties=PENALTIES,
            centered=centered,
            measure_every=2,
        )
        errors = steps_without_waiting(strict, step, batches, 1)
        assert [name for name in errors if "reconstruction" in name] == ["0 reconstruction", "2 reconstruction"]
        # a captured step would find the next draw in device memory
        assert step.stream.take(0)[1] == 0
        found[rbm.device.name] = rbm.parameters.state_dict() | errors
    # A sample may differ where |u - p| is within rounding, at less than 500 draws a step one seed in 10^4; not these.
    assert_same(found["strict"], found["cpu"], rtol=1e-4, atol=2e-6)
