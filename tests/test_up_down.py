"""Contrastive wake-sleep: its expected gradients, its runs, and what becomes of the weights."""

import numpy as np
import pytest
from belief import Belief
from scipy.special import expit, logsumexp
from scipy.stats import norm
from strict import steps_without_waiting
from test_dbn import network
from test_machine import assert_same, host
from test_rbm_resume import StopAt

from ebm import CD, DBN, PCD, RBM, TAP, Exact, FastPCD, Gaussian, ReplicatedSoftmax, data
from ebm.data.minibatches import Minibatches
from ebm.learning import ParallelTempering
from ebm.training import L1, SGD, Adam, Checkpoint, History, Linear, MaxNorm, SparsityTarget, WeightDecay
from ebm.units.gaussian import LOG_PRECISION_BOUNDS
from ebm.up_down import UpDown

ROWS = 20_000


def slopes(objective, parameters):
    """The gradient of `objective()` by each parameter, by central differences."""
    found = {}
    for name in parameters:
        flat = parameters[name].reshape(-1)
        found[name] = np.zeros(flat.size)
        for i in range(flat.size):
            middle, ends = flat[i], []
            for flat[i] in (middle + 1e-5, middle - 1e-5):
                ends.append(objective())
            flat[i] = middle
            found[name][i] = (ends[0] - ends[1]) / 2e-5
        found[name] = found[name].reshape(parameters[name].shape)
    return found


def learned(dbn, rows, negative, **options):
    """The gradients of one step, upward; the model's phase of the last RBM has the visible states `negative`."""

    def rule(rbm, v, chains, stream):
        return (v, rbm.mean_hidden(v)), (negative, rbm.mean_hidden(negative))

    step = UpDown(dbn, rule, SGD(0.1), batch_size=len(rows), steps_per_epoch=1, **options)
    step(np.ascontiguousarray(rows))
    return {name: {key: -value for key, value in host(update.gradient).items()} for name, update in step.updates.items()}


@pytest.mark.parametrize("name", ["untied", "three untied", "labels untied"])
def test_expected_gradients_are_those_of_the_two_objectives(name):
    """Awake E_q ln p(v, h) by the weights of p, given exact samples of the last RBM; asleep E_p ln q(h | v) by those of q."""
    dbn = network(name)
    exact = Belief(dbn)
    patterns = exact.rows[[1, 2, 5, len(exact.rows) - 2]]
    chosen = np.random.default_rng(1).choice(len(exact.top), ROWS, p=np.exp(exact.log_p))
    before = {part: host(parameters) for part, parameters in dbn.parts.items()}
    found = learned(dbn, np.repeat(patterns, ROWS // 4, axis=0), np.ascontiguousarray(exact.top[chosen]))
    for part, parameters in dbn.parts.items():
        parameters.load_state_dict(before[part])
    seen = np.bincount(exact.number(patterns), minlength=len(exact.rows)) / 4
    awake, asleep = seen[exact.row] * np.exp(exact.log_q), np.exp(exact.log_p)
    expected = {
        f"generative.{k}": slopes(lambda: awake @ Belief(dbn).log_down, p.parameters) for k, p in enumerate(dbn.generative)
    }
    for k, rbm in enumerate(dbn.layers[:-1]):
        expected[f"layer.{k}"] = slopes(lambda: asleep @ Belief(dbn).log_q, rbm.parameters)
    expected[f"layer.{k + 1}"] = slopes(lambda: awake @ Belief(dbn).log_top, dbn.top.parameters)
    assert found.keys() == expected.keys()
    # each is a mean, or a difference of two, of numbers with a standard deviation of at most 1/2
    tolerance = 5 * 0.5 * np.sqrt(2 / ROWS)
    for part in expected:
        assert_same(found[part], expected[part], atol=tolerance)
        assert max(np.abs(x).max() for x in expected[part].values()) > 4 * tolerance
        # what the pass does not read gets nothing at all
        unread = {"generative": "bias.1", "layer": "bias.0"}[part.split(".")[0]]
        if part != f"layer.{k + 1}":
            assert not found[part][unread].any()


def gaussian(layers, seed=3):
    dbn = DBN(layers, device="cpu", dtype="float64")
    dbn.untie_()
    generator = np.random.default_rng(seed)
    for rbm in (*dbn.layers, *dbn.generative):
        for key in rbm.parameters:
            rbm.parameters[key][...] = generator.normal(0, 0.6, rbm.parameters[key].shape)
    return dbn


H = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])


def logistic(states, field):
    return np.prod(expit(np.where(states == 1, field, -field)), axis=-1)


def test_visible_units_learn_their_variance():
    dbn = gaussian([Gaussian(2, learn_variance=True), 2, 2])
    recognition, generation = dbn.layers[0], dbn.generative[0]
    rows = np.array([[0.5, -1.0], [1.5, 0.3], [-0.7, 0.2]])
    q = np.array([logistic(H, recognition.hidden.bias + v @ recognition.weights) for v in rows])

    def objective():
        precision = np.exp(generation.parameters["log_precision.0"])
        mean = (generation.visible.bias + H @ generation.weights.T) / precision
        return (q * norm.logpdf(rows[:, None], mean, precision**-0.5).sum(axis=2)).sum() / 3

    expected = slopes(objective, generation.parameters)
    found = learned(dbn, np.repeat(rows, ROWS, axis=0), H)["generative.0"]
    assert_same(found, expected, atol=5 * 1.5 / np.sqrt(3 * ROWS))
    assert np.abs(expected["log_precision.0"]).min() > 0.05


def test_hidden_units_learn_their_variance():
    dbn = gaussian([3, Gaussian(2, learn_variance=True), 2])
    recognition, generation = dbn.layers[0], dbn.generative[0]
    dreams = np.array([[0.5, -1.0], [1.5, 0.3], [-0.7, 0.2]])
    v = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)], float)
    p = np.array([logistic(v, generation.visible.bias + y @ generation.weights.T) for y in dreams])

    def objective():
        precision = np.exp(recognition.parameters["log_precision.1"])
        mean = (recognition.hidden.bias + v @ recognition.weights) / precision
        return (p * norm.logpdf(dreams[:, None], mean, precision**-0.5).sum(axis=2)).sum() / 3

    expected = slopes(objective, recognition.parameters)
    found = learned(dbn, np.repeat(v, 3, axis=0), np.repeat(dreams, ROWS, axis=0))["layer.0"]
    assert_same(found, expected, atol=5 * 1.5 / np.sqrt(3 * ROWS))
    assert np.abs(expected["log_precision.1"]).min() > 0.05


def test_words_are_dreamed_at_the_lengths_of_the_batch():
    """Biases count once a word: documents of three words, all of them, in their order."""
    dbn = gaussian([ReplicatedSoftmax(3), 2, 2])
    recognition, generation = dbn.layers[0], dbn.generative[0]
    rows = np.array([[3.0, 0, 0], [1, 1, 1], [0, 2, 1]])
    documents = np.array([np.eye(3)[[i // 9, i // 3 % 3, i % 3]].sum(axis=0) for i in range(27)])

    def log_shares():
        words = generation.visible.bias + H @ generation.weights.T
        return words - logsumexp(words, axis=1, keepdims=True)

    def q(v):
        return logistic(H, (3 * recognition.hidden.bias + v @ recognition.weights)[:, None])

    posterior = q(rows)
    awake = slopes(lambda: (posterior * (rows @ log_shares().T)).sum() / 3, generation.parameters)
    p = np.exp(documents @ log_shares().T)
    asleep = slopes(lambda: (p * np.log(q(documents))).sum() / 4, recognition.parameters)
    found = learned(dbn, np.repeat(rows, ROWS, axis=0), np.repeat(H, ROWS, axis=0))
    for part, expected in (("generative.0", awake), ("layer.0", asleep)):
        assert_same(found[part], expected, atol=5 * 1.5 / np.sqrt(3 * ROWS))
    dbn.trained = 2
    for chains in (2, 5):
        dbn.fine_tune(np.array([[3.0, 0, 0], [0, 0, 1], [0, 4, 1]]), epochs=2, batch_size=3, learning=PCD(chains=chains))


def bars():
    patterns, probabilities = data.bars_and_stripes(3)
    return np.tile(np.repeat(patterns, np.rint(probabilities * 16).astype(int), axis=0).astype(float), (4, 1))


@pytest.mark.parametrize("learning", [CD(3), PCD(3)], ids=repr)
def test_fine_tuning_raises_the_likelihood_of_the_data(learning):
    rows = bars()
    dbn = DBN([9, 6, 5], device="cpu", dtype="float64", seed=1)
    dbn.fit(rows, epochs=300, batch_size=32, optimizer=SGD(0.2, 0.5), binarization="stochastic")
    before = Belief(dbn)
    history = History()
    dbn.fine_tune(rows, epochs=400, batch_size=32, learning=learning, optimizer=SGD(0.1), callbacks=[history])
    after = Belief(dbn)
    assert after.log_probability(rows).mean() > before.log_probability(rows).mean() + 0.3
    assert after.bound(rows).mean() > before.bound(rows).mean() + 0.3
    assert history.columns == ["epoch", "step", "seconds", "reconstruction"]


def test_weights_are_tied_until_fine_tuning():
    rows = bars()
    dbn = DBN([9, 6, 5], device="cpu", seed=1).fit(rows, epochs=1, batch_size=32)
    assert dbn.tied
    assert dbn.generative == dbn.layers[:-1]
    assert sorted(dbn.parts) == ["layer.0", "layer.1"]
    samples = dbn.sample(5, 3, seed=1)
    dbn.untie_()
    assert not dbn.tied
    assert sorted(dbn.parts) == ["generative.0", "layer.0", "layer.1"]
    recognition, generation = dbn.layers[0], dbn.generative[0]
    assert generation.parameters.buffer.ctypes.data % 64 == 0
    np.testing.assert_array_equal(generation.parameters.buffer, recognition.parameters.buffer)
    np.testing.assert_array_equal(dbn.sample(5, 3, seed=1), samples)
    dbn.untie_()
    assert dbn.generative[0] is generation
    # no array is shared
    generation.weights[...] += 1
    assert not np.array_equal(generation.weights, recognition.weights)
    dbn.fine_tune(rows, epochs=1, batch_size=32)
    assert dbn.generative[0] is generation


RUNS = {
    "CD": {},
    "PCD": {"learning": PCD(2, chains=15), "optimizer": SGD(Linear(0.05, 0.01, 3), 0.9)},
    "FastPCD": {"learning": FastPCD(2, chains=15), "optimizer": SGD(0.05, 0.9, nesterov=True)},
    "Adam": {"learning": CD(2), "optimizer": Adam(0.01), "penalties": [WeightDecay(1e-3), L1(1e-4), MaxNorm(2.0)]},
    "tempering": {"learning": ParallelTempering(5)},
    "binarization": {"binarization": "stochastic"},
}


def pretrained(dtype="float32", seed=1, labels=3):
    rows = np.random.default_rng(2).random((50, 6)).astype(np.float32)
    both = np.concatenate([rows, np.eye(3, dtype=np.float32)[np.arange(50) % 3]], axis=1) if labels else rows
    dbn = DBN([6, 5, 4, 3], labels=labels, device="cpu", dtype=dtype, seed=seed)
    return dbn.fit(both, epochs=1, batch_size=10), both


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_stopped_run_resumed_equals_one_in_one_go(tmp_path, name, dtype):
    options = {"epochs": 3, "batch_size": 20, "seed": 3, **RUNS[name]}
    (whole, rows), (stopped, _), (other, _) = (pretrained(dtype, seed) for seed in (1, 1, 9))
    whole.fine_tune(rows, **options)
    stopped.fine_tune(rows, callbacks=[Checkpoint(tmp_path), StopAt(4)], **options)
    before = {part: host(parameters) for part, parameters in stopped.parts.items()}
    # into the network itself, and into one that was trained with another seed
    for dbn in (stopped, other):
        dbn.fine_tune(rows, resume=tmp_path, **(options | {"seed": 20}))
        for part, parameters in whole.parts.items():
            assert_same(host(dbn.parts[part]), host(parameters), rtol=0)
            assert not np.array_equal(parameters["weights"], before[part]["weights"])


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("labels", [0, 3])
def test_a_step_makes_the_host_wait_for_nothing_and_equals_the_cpus(strict, name, labels):
    found = {}
    start, rows = pretrained("float64", labels=labels)
    for device in ("cpu", strict):
        dbn = DBN([6, 5, 4, 3], labels=labels, device=device, dtype="float64")
        for part, parameters in dbn.parts.items():
            parameters.load_state_dict(host(start.parts[part]))
        options = {"learning": CD(3), "optimizer": SGD(0.1, 0.5)} | RUNS[name]
        batches = Minibatches(
            rows, 10, device=dbn.device, dtype="float64", seed=3, binarization=options.pop("binarization", None)
        )
        step = UpDown(dbn, batch_size=10, steps_per_epoch=3, measure_every=2, **options)
        step.machine = dbn
        # a captured step would find the next draw in device memory
        assert step.stream.take(0)[1] == 0
        measured = steps_without_waiting(strict, step, batches, 0)
        assert [key for key in measured if "reconstruction" in key] == ["0 reconstruction", "2 reconstruction"]
        assert step.stream.take(0)[1] == 0
        found[dbn.device.name] = measured | {
            f"{part} {key}": value for part, p in dbn.parts.items() for key, value in p.state_dict().items()
        }
    # at one seed in 10^11 a uniform lies within rounding of where a sample changes
    assert_same(found["strict"], found["cpu"], rtol=1e-8, atol=1e-10)


def test_momentum_carries_each_part_on():
    """Two steps that differ only in what they had before."""
    velocities = []
    for before in (0.0, 1.0):
        dbn, rows = pretrained("float64")
        step = UpDown(dbn, CD(), SGD(0.1, 0.25), batch_size=50, steps_per_epoch=1)
        for update in step.updates.values():
            update.velocity.buffer[...] = before
        step(np.float64(rows))
        velocities.append({f"{part} {key}": x for part, u in step.updates.items() for key, x in host(u.velocity).items()})
    for key, value in velocities[0].items():
        part, _, name = key.partition(" ")
        unread = name == {"generative": "bias.1", "layer": "bias.0"}[part.split(".")[0]] and part != "layer.2"
        if not unread:
            np.testing.assert_allclose(velocities[1][key] - value, 0.25, atol=1e-12)


def test_the_seed_decides_order_and_draws():
    def trained(**options):
        dbn, rows = pretrained(seed=4)
        return dbn.fine_tune(rows, epochs=1, batch_size=10, **options).generative[0].parameters.buffer

    np.testing.assert_array_equal(trained(), trained(seed=4))
    assert not np.array_equal(trained(), trained(seed=5))
    assert not np.array_equal(trained(), trained(binarization="stochastic"))


def test_the_number_of_gibbs_steps_follows_a_schedule():
    seen, trained = [], []

    def schedule(epoch):
        seen.append(epoch)
        return 3

    for steps in (3, schedule):
        dbn, rows = pretrained()
        dbn.fine_tune(rows, epochs=2, batch_size=25, learning=CD(steps))
        trained.append(dbn.top.parameters.buffer)
    np.testing.assert_array_equal(*trained)
    assert seen == [0, 0.5, 1.0, 1.5]


def test_learned_variances_stay_within_their_bounds():
    rows = np.random.default_rng(6).normal(0, [0.1, 1, 3], (200, 3))
    dbn = DBN([Gaussian(3, learn_variance=True), 2, 2], device="cpu", seed=1).fit(rows, epochs=1, batch_size=20)
    dbn.fine_tune(rows, epochs=20, batch_size=20, optimizer=SGD(1.0, 0.9))
    found, (low, high) = dbn.generative[0].parameters["log_precision.0"], np.float32(LOG_PRECISION_BOUNDS)
    assert ((low <= found) & (found <= high)).all()
    assert np.isin(found, (low, high)).any(), "found bounds that were never reached"


def test_chains_are_moved_in_place_and_not_replaced():
    """As for `learning.Step`."""

    def assign(rbm, v, chains, stream):
        chains["layer.1"] = rbm.sample_hidden(v, stream)
        return (v, chains["layer.1"]), (v, chains["layer.1"])

    assign.start = PCD().start
    dbn, rows = pretrained()
    with pytest.raises(TypeError, match="does not support item assignment"):
        dbn.fine_tune(rows, epochs=1, batch_size=10, learning=assign)


def test_the_metrics_are_those_of_the_network_and_the_rule():
    dbn, rows = pretrained("float64", labels=0)
    step = UpDown(dbn, ParallelTempering(5), SGD(0.1), batch_size=50, steps_per_epoch=4, measure_every=3)
    found = [step(np.float64(rows)) for _ in range(8)]
    # steps 0 and 3 of each epoch of four
    assert [bool(metrics) for metrics in found] == [True, False, False, True] * 2
    assert sorted(found[-1]) == ["reconstruction", "swap_rate"]
    difference = rows - dbn.reconstruct(rows)
    assert found[-1]["reconstruction"] == pytest.approx((difference**2).sum(axis=1).mean(), rel=1e-12)


def test_a_network_of_one_rbm_is_fine_tuned_by_the_rule_alone():
    rows = bars()
    dbn = DBN([9, 6], device="cpu", dtype="float64", seed=1).fit(rows, epochs=1, batch_size=32)
    before = Belief(dbn).log_probability(rows).mean()
    dbn.fine_tune(rows, epochs=300, batch_size=16, learning=CD(2), optimizer=SGD(0.2, 0.5))
    assert Belief(dbn).log_probability(rows).mean() > before + 0.5
    assert dbn.tied


# Bad input.


@pytest.mark.parametrize("learning", [Exact(), TAP(3)], ids=repr)
def test_rules_without_rows_have_nothing_to_pass_down(learning):
    rows = bars()
    dbn = DBN([9, 6, 5], device="cpu", seed=1).fit(rows, epochs=1, batch_size=32)
    before = [rbm.parameters.buffer.copy() for rbm in dbn.layers]
    with pytest.raises(
        TypeError, match=r"found learning=.*whose model's phase has no rows to pass down; write CD\(3\) or PCD\(3\)"
    ):
        dbn.fine_tune(rows, epochs=1, batch_size=32, learning=learning)
    for rbm, old in zip((*dbn.layers, *dbn.generative), before + before[:-1], strict=True):
        np.testing.assert_array_equal(rbm.parameters.buffer, old)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"learning": "pcd"}, TypeError, r"found learning='pcd'; expected a rule, such as CD\(3\)"),
        ({"learning": CD}, TypeError, "found learning=.*expected a rule"),
        ({"optimizer": SGD}, TypeError, r"found optimizer=.*expected an optimizer, such as SGD\(0\.01\)"),
        (
            {"penalties": [SparsityTarget(0.1)]},
            ValueError,
            r"found SparsityTarget.*fine-tuning has penalties on weights only: leave it out",
        ),
        ({"batch_size": 1000}, ValueError, "found batch_size=1000"),
        ({"binarization": "random"}, ValueError, "found binarization='random'"),
    ],
)
def test_what_is_no_run_of_fine_tuning_leaves_the_weights_tied(options, error, match):
    rows = bars()
    dbn = DBN([9, 6, 5], device="cpu", seed=1).fit(rows, epochs=1, batch_size=32)
    with pytest.raises(error, match=match):
        dbn.fine_tune(rows, **{"epochs": 1, "batch_size": 32, **options})
    assert dbn.tied


def test_only_binary_units_are_binarized():
    rows = np.random.default_rng(4).normal(0, 1, (40, 3))
    dbn = DBN([Gaussian(3), 3, 2], device="cpu").fit(rows, epochs=1, batch_size=20)
    with pytest.raises(ValueError, match="found binarization='stochastic' for Gaussian"):
        dbn.fine_tune(rows, epochs=1, batch_size=20, binarization="stochastic")
    with pytest.raises(ValueError, match="Standardizer"):
        dbn.fine_tune(100 * rows, epochs=1, batch_size=20)


def test_fine_tuning_from_exact_recognition_starts_at_rest():
    """Under its transpose an RBM's recognition is exact, so that asleep there is nothing to learn from exact dreams."""
    rbm = RBM(4, 3, device="cpu", dtype="float64")
    generator = np.random.default_rng(5)
    for key in rbm.parameters:
        rbm.parameters[key][...] = generator.normal(0, 1.5, rbm.parameters[key].shape)
    dbn = DBN([rbm, rbm.transposed()])
    exact = Belief(dbn)
    chosen = generator.choice(len(exact.top), ROWS, p=np.exp(exact.log_p))
    found = learned(dbn, exact.rows, np.ascontiguousarray(exact.top[chosen]))["layer.0"]
    for value in found.values():
        assert np.abs(value).max() < 5 * 0.5 / np.sqrt(ROWS)
