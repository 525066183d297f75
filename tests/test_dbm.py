"""DBM: pretraining, composition, joint training, storage."""

import numpy as np
import pytest
from deep import Table, randomize
from fixtures import fixture
from strict import steps_without_waiting
from test_machine import assert_same

import ebm
from ebm import (
    CD,
    DBM,
    DBN,
    PCD,
    RBM,
    TAP,
    Exact,
    FastPCD,
    Gaussian,
    ParallelTempering,
    ReplicatedSoftmax,
    Softmax,
    data,
    likelihood,
)
from ebm.compute.random import Stream
from ebm.data.minibatches import Minibatches
from ebm.dbm import TiedRBM
from ebm.learning import Step
from ebm.mixing import MixingMonitor
from ebm.training import SGD, Callback, Checkpoint, History, Linear, Piecewise, SparsityTarget, WeightDecay


def logistic(z):
    return 1 / (1 + np.exp(-z))


def bars(labels=False):
    """Bars and stripes of 3 x 3; with labels two more columns that say whether the middle is black."""
    patterns, probabilities = data.bars_and_stripes(3)
    rows = np.repeat(patterns, np.rint(probabilities * 16).astype(int), axis=0).astype(np.float32)
    return np.hstack([rows, rows[:, 4:5], 1 - rows[:, 4:5]]) if labels else rows


SHAPES = {
    "two hidden layers": ([5, 4, 3], None),
    "three": ([5, 4, 3, 4], None),
    "four": ([5, 4, 3, 4, 2], None),
    "labels": ([5, 4, 3], 3),
    "labels above three": ([5, 4, 3, 2], 2),
    "one": ([5, 4], None),
}
shapes = pytest.mark.parametrize("name", SHAPES)


def composed(name, seed=1):
    """A DBM composed of RBMs with random parameters, and these."""
    layers, labels = SHAPES[name]
    dbm = DBM(layers, labels=labels, device="cpu", dtype="float64", seed=seed)
    randomize_all(dbm)  # what is there before must not shine through
    stack = dbm.stack()
    for k, rbm in enumerate(stack.layers):
        randomize_all(rbm, seed=k)
    dbm.compose_(stack)
    return dbm, stack.layers


def randomize_all(machine, seed=9):
    generator = np.random.default_rng(seed)
    for name in machine.parameters:
        machine.parameters[name][...] = generator.normal(0, 1, machine.parameters[name].shape)


@shapes
def test_every_field_of_the_composed_machine_is_the_mean_of_what_its_rbms_give(name):
    """Intermediate layers': the mean of the doubled fields from the RBMs below and above; end layers': their own RBM's."""
    dbm, rbms = composed(name)
    generator = np.random.default_rng(2)
    x = [generator.normal(0, 1, (6, layer.units.size)) for layer in dbm.layers]
    depth, labels = len(rbms), len(dbm.observed) > 1
    for layer in range(depth + 1):
        fields = []
        if layer > 0:  # from below, with the labels at the top
            below = np.hstack([x[layer - 1], x[-1]]) if labels and layer == depth else x[layer - 1]
            fields.append(rbms[layer - 1].hidden_field(below))
        if layer < depth:
            above = rbms[layer].visible_field(x[layer + 1])
            fields.append(above[:, : x[layer].shape[1]])
        np.testing.assert_allclose(dbm.field(layer, x), np.mean(fields, axis=0), atol=1e-12)
    if labels:
        own = rbms[-1].visible_field(x[depth])[:, -x[-1].shape[1] :]
        np.testing.assert_allclose(dbm.field(depth + 1, x), own, atol=1e-12)


@shapes
def test_doubled_fields_are_those_of_salakhutdinov_and_hinton(name):
    """From the RBMs' arrays: 2 (c + v W) up from all but the last, 2 (b + h W^T) down from all but the first; labels are not doubled."""
    _, rbms = composed(name)
    labels = SHAPES[name][1] or 0
    for k, rbm in enumerate(rbms):
        v, h = np.random.default_rng(3).normal(0, 1, (2, rbm.inputs)), np.random.default_rng(4).normal(0, 1, (2, rbm.outputs))
        last = k == len(rbms) - 1
        up = (1 if last else 2) * (rbm.hidden.bias + v @ rbm.weights)
        down = (1 if k == 0 else 2) * (rbm.visible.bias + h @ rbm.weights.T)
        if last and labels:
            down[:, -labels:] = (rbm.visible.bias + h @ rbm.weights.T)[:, -labels:]
        np.testing.assert_allclose(rbm.hidden_field(v), up, atol=1e-12)
        np.testing.assert_allclose(rbm.visible_field(h), down, atol=1e-12)


def test_pretraining_learns_with_the_doubled_fields():
    """The phases of contrastive divergence in a first RBM: means of twice the field; with two copies of v it is a step of their RBM."""
    rbm = TiedRBM(4, 3, (1.0, 2.0), device="cpu", dtype="float64", seed=1)
    randomize_all(rbm)
    v = np.eye(4)
    (seen, driven), (fantasy, mean) = CD(1)(rbm, v, {}, Stream(1))
    np.testing.assert_array_equal(seen, v)
    np.testing.assert_allclose(driven, logistic(2 * (rbm.hidden.bias + v @ rbm.weights)))
    np.testing.assert_allclose(mean, logistic(2 * (rbm.hidden.bias + fantasy @ rbm.weights)))
    both = RBM(8, 3, device="cpu", dtype="float64")
    both.weights[...], both.hidden.bias[...] = np.vstack([rbm.weights] * 2), 2 * rbm.hidden.bias
    both.visible.bias[...] = np.tile(rbm.visible.bias, 2)
    np.testing.assert_allclose(both.mean_hidden(np.hstack([v, v])), driven)
    np.testing.assert_allclose(both.mean_visible(driven), np.tile(rbm.mean_visible(driven), 2))


def test_the_next_rbm_learns_from_the_means_of_twice_the_field():
    rows = bars()
    seen = []

    def spy(rbm, v, chains, stream):
        seen.append((rbm, v.copy()))
        return CD(1)(rbm, v, chains, stream)

    dbm = DBM([9, 6, 4, 3], device="cpu", seed=1)
    dbm.pretrain(rows, epochs=1, batch_size=len(rows), learning=spy)
    rbms = [rbm for rbm, _ in seen]
    first = rbms[0]
    expected = logistic(2 * (first.hidden.bias + rows @ first.weights))
    np.testing.assert_allclose(np.sort(seen[1][1], axis=0), np.sort(expected, axis=0), rtol=1e-5)
    assert [rbm.inputs for rbm in rbms] == [9, 6, 4]


def test_per_layer_settings_folders_and_going_on(tmp_path):
    """Stopped in the second layer and called again, pretraining ends where an unbroken one does."""

    class Stop(Callback):
        def on_step(self, run):
            if run.step == 5:
                raise KeyboardInterrupt

    options = {"epochs": 3, "batch_size": 4, "learning": PCD(1)}
    whole = DBM([9, 6, 4], device="cpu", seed=1)
    whole.pretrain(bars(), per_layer=[{}, {"epochs": 5, "optimizer": SGD(0.1)}], folder=tmp_path / "whole", **options)
    broken = {"per_layer": [{}, {"epochs": 5, "optimizer": SGD(0.1), "callbacks": [Stop()]}], **options}
    with pytest.raises(KeyboardInterrupt):
        DBM([9, 6, 4], device="cpu", seed=1).pretrain(bars(), folder=tmp_path / "broken", **broken)
    again = DBM([9, 6, 4], device="cpu", seed=1)
    again.pretrain(bars(), per_layer=[{}, {"epochs": 5, "optimizer": SGD(0.1)}], folder=tmp_path / "broken", **options)
    np.testing.assert_array_equal(again.parameters.buffer, whole.parameters.buffer)
    assert [len((tmp_path / f"whole/layer-{k}.csv").read_text().splitlines()) for k in (0, 1)] == [4, 6]


def log_likelihood(dbm, rows):
    return float(likelihood.log_probability(dbm, rows, likelihood.exact_log_partition(dbm)).mean())


def best(rows):
    """The log-likelihood of the rows' own distribution."""
    p = np.unique(rows, axis=0, return_counts=True)[1] / len(rows)
    return float((p * np.log(p)).sum())


LEARNED = {"learning": PCD(5, chains=100), "batch_size": 16, "optimizer": SGD(0.1, 0.5)}


@pytest.mark.parametrize("hidden", [[8, 6, 6]], ids=str)
@pytest.mark.parametrize("way", ["pretrained", "centered"])
def test_joint_training_raises_the_exact_likelihood(hidden, way):
    dbm = DBM([9, *hidden], device="cpu", seed=1)
    if way == "pretrained":
        dbm.pretrain(bars(), epochs=200, batch_size=16, optimizer=SGD(0.05, 0.5))
    start = log_likelihood(dbm, bars())
    dbm.fit(bars(), epochs=1500, centered=way == "centered", **LEARNED)
    assert log_likelihood(dbm, bars()) > max(start, -4.2)
    assert best(bars()) == pytest.approx(-2.60, abs=0.2)


def noisy(prototypes, n, noise, seed=1):
    """n rows, each a prototype in turn with some of its units flipped."""
    rows = np.asarray(prototypes)[np.arange(n) % len(prototypes)]
    return (rows != (np.random.default_rng(seed).random(rows.shape) < noise)).astype(np.float32)


def test_labels_are_learned_with_the_images():
    """Given the image, the label is right; given the label, samples are of its class."""
    prototypes = np.array([[1, 1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0, 1, 1, 1]])
    labels = np.eye(3, dtype=np.float32)[np.arange(120) % 3]
    rows = np.hstack([noisy(prototypes, 120, 0.05), labels])
    dbm = DBM([9, 8, 8], labels=3, device="cpu", seed=1)
    dbm.fit(
        rows, epochs=200, batch_size=20, learning=PCD(5, chains=100), optimizer=SGD(Linear(0.1, 0, 200), 0.9), centered=True
    )
    mask = np.arange(12) < 9
    found = dbm.sample(120, 60, clamp=(mask, rows), seed=1)
    assert (found[:, 9:].argmax(axis=1) == np.arange(120) % 3).mean() > 0.85
    # with the label held the chains mix slowly: after 100 steps from 60 to 90 % of them are of its class, after 1000 from 80 to 95
    images = dbm.sample(300, 1000, clamp=(~mask, np.tile(rows[:3], (100, 1))), seed=2)[:, :9]
    nearest = np.abs(images[:, None] - prototypes).sum(axis=2).argmin(axis=1)
    assert (nearest == np.arange(300) % 3).mean() > 0.7


def test_a_branched_machine_learns_both_sides_and_one_from_the_other():
    """Two pathways of visible units; the density it has learned, and the conditional of each side, by enumeration."""
    prototypes = np.array([[1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 0, 0]])
    rows, noise = noisy(prototypes, 400, 0.1), 0.1
    dbm = DBM([3, 4, 3, 4, 3], [(0, 1), (1, 2), (3, 2), (4, 3)], observed=(0, 4), device="cpu", seed=2)
    dbm.fit(rows, epochs=60, batch_size=20, learning=PCD(5, chains=100), optimizer=SGD(Linear(0.2, 0, 60), 0.5), centered=True)
    everything, log_p = Table(dbm).visible()
    where = (everything[:, None] == rows[None]).all(axis=2).argmax(axis=0)
    flips = np.abs(rows[:, None] - prototypes).sum(axis=2)
    truth = np.log((noise**flips * (1 - noise) ** (6 - flips)).mean(axis=1)).mean()
    assert log_p[where].mean() > truth - 0.05
    for side in (0, 1):
        held = np.arange(6) // 3 == side
        for prototype in prototypes:
            p = np.exp(log_p) * (everything[:, held] == prototype[held]).all(axis=1)
            p /= p.sum()
            right = p[(everything == prototype).all(axis=1)].sum()
            assert right > 0.6  # 0.73 by the truth, 0.36 of sides that know nothing of each other
            found = dbm.sample(4000, 300, clamp=(held, np.where(held, prototype, 0)), seed=3)
            assert (found == prototype).all(axis=1).mean() == pytest.approx(right, abs=0.04)


@pytest.mark.parametrize("below", ["bernoulli", "gaussian", "deep"])
def test_a_machine_on_another_has_its_likelihood(below):
    visible = Gaussian(3, learn_variance=True) if below == "gaussian" else 3
    source = DBM([3, 4, 2], dtype="float64", seed=3) if below == "deep" else RBM(visible, 4, dtype="float64", seed=3)
    randomize_all(source)
    before = source.parameters.buffer.copy()
    dbm = DBM.on(source, [2, 3])
    v = np.random.default_rng(1).random((5, 3)).round()
    expected = likelihood.log_probability(source, v, likelihood.exact_log_partition(source))
    found = likelihood.log_probability(dbm, v, likelihood.exact_log_partition(dbm))
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert abs(found - expected).max() > 1e-6
    assert [0.01 < w.std() < 0.1 for w in dbm.weights[-2:]] == [True, True]
    dbm.parameters.buffer[...] = 0
    np.testing.assert_array_equal(source.parameters.buffer, before)


def test_with_one_hidden_layer_it_is_the_rbm():
    rbm, dbm = RBM(9, 6, device="cpu", seed=1), DBM([9, 6], device="cpu", seed=1)
    for machine in (rbm, dbm):
        machine.fit(bars(), epochs=5, batch_size=4, learning=PCD(2), centered=True, penalties=[WeightDecay(1e-3)])
    np.testing.assert_array_equal(rbm.parameters.buffer, dbm.parameters.buffer)
    np.testing.assert_array_equal(rbm.sample(5, 10, seed=1), dbm.sample(5, 10, seed=1))
    np.testing.assert_array_equal(rbm.transform(bars()), dbm.transform(bars()))
    np.testing.assert_allclose(
        likelihood.lower_bound(dbm, bars(), 1.0), likelihood.log_probability(rbm, bars(), 1.0), rtol=1e-6
    )
    plain = RBM(9, 6, device="cpu", seed=1).fit(bars(), epochs=2, batch_size=4)
    pretrained = DBM([9, 6], device="cpu", seed=1).pretrain(bars(), epochs=2, batch_size=4)
    np.testing.assert_allclose(pretrained.parameters.buffer, plain.parameters.buffer, atol=1e-6)


@pytest.mark.parametrize("learning", [PCD(2, chains=7, mean_field=3), FastPCD(2, chains=7, mean_field=3)], ids=repr)
@pytest.mark.parametrize("name", ["three", "labels"])
def test_a_step_makes_the_host_wait_for_nothing_and_equals_the_cpus(strict, learning, name):
    layers, labels = SHAPES[name]
    generator = np.random.default_rng(1)
    rows = (generator.random((30, 5)) < 0.4).astype(float)
    if labels:
        rows = np.hstack([rows, np.eye(labels)[generator.integers(labels, size=30)]])
    found = {}
    for device in ("cpu", strict):
        dbm = DBM(layers, labels=labels, device=device, dtype="float64")
        source = DBM(layers, labels=labels, device="cpu", dtype="float64")
        randomize_all(source)
        dbm.parameters.load_state_dict(source.parameters.state_dict())
        batches = Minibatches(rows, 10, device=dbm.device, dtype=dbm.dtype, seed=3)
        penalties = [WeightDecay(1e-3), SparsityTarget(0.1), SparsityTarget(0.3, layer=2)]
        step = Step(
            dbm, learning, SGD(0.02, 0.5), batch_size=10, steps_per_epoch=3, penalties=penalties, centered=True, measure_every=2
        )
        metrics = steps_without_waiting(strict, step, batches, 0)
        assert {name.split(" ")[1] for name in metrics} == {"reconstruction", "mean_field_residual"}
        found[dbm.device.name] = dbm.parameters.state_dict() | metrics
    assert_same(found["strict"], found["cpu"], rtol=1e-8, atol=1e-10)


def test_the_gradient_of_persistent_chains_that_are_exact_is_that_of_the_bound():
    """With the positive phase at its fixed point and chains drawn from the machine, the step is up the gradient of the mean-field bound."""
    dbm = DBM([4, 3, 3], device="cpu", dtype="float64")
    table = randomize(dbm, 3)
    rows = table.states[0][3:9]
    chains = {f"layer.{j}": x for j, x in zip([1], [table.draw(60_000, seed=1)[1]], strict=True)}
    chains["residual"] = np.zeros(1)
    rule = PCD(1, chains=60_000, mean_field=200)
    positive, negative = rule(dbm, rows, chains, Stream(4))
    gradient = dbm.parameters.zeros_like()
    dbm.add_statistics_(gradient, positive, 1.0)
    dbm.add_statistics_(gradient, negative, -1.0)
    for name, index in (("weights.0.1", (1, 2)), ("weights.1.2", (0, 1)), ("bias.0", (3,)), ("bias.1", (0,)), ("bias.2", (2,))):
        bounds = []
        for h in (1e-5, -1e-5):
            dbm.parameters[name][index] += h
            bounds.append(likelihood.lower_bound(dbm, rows, likelihood.exact_log_partition(dbm)).mean())
            dbm.parameters[name][index] -= h
        assert gradient[name][index] == pytest.approx((bounds[0] - bounds[1]) / 2e-5, abs=0.015)
    assert float(chains["residual"][0]) < 1e-12


def test_chains_mix_on_and_remember_the_second_block():
    dbm = DBM([4, 3, 3, 2], device="cpu", seed=1)
    rule = PCD(2, chains=6)
    chains = rule.start(dbm, 10, Stream(1))
    assert {name: x.shape for name, x in chains.items()} == {"layer.1": (6, 3), "layer.3": (6, 2), "residual": (1,)}
    before = {name: x.copy() for name, x in chains.items()}
    positive, negative = rule(dbm, np.eye(4, dtype=np.float32), chains, Stream(2))
    assert [x.shape for x in positive] == [(4, 4), (4, 3), (4, 3), (4, 2)]
    assert [x.shape for x in negative] == [(6, 4), (6, 3), (6, 3), (6, 2)]
    for i, x in enumerate(negative):  # the first block is drawn, the second averaged
        assert np.isin(x, (0, 1)).all() == (i in (0, 2))
    assert any((chains[name] != before[name]).any() for name in ("layer.1", "layer.3"))


def test_sparsity_reaches_the_layer_it_is_for():
    means = {}
    for layer in (None, 1, 2):
        penalties = [SparsityTarget(0.05, strength=2.0, layer=layer)]
        dbm = DBM([9, 8, 8], device="cpu", seed=1).fit(bars(), epochs=200, centered=True, penalties=penalties, **LEARNED)
        means[layer] = [float(dbm.transform(bars(), layer=i).mean()) for i in (1, 2)]
    assert max(means[None]) < 0.2
    assert means[1][0] < 0.2 < means[1][1]
    assert means[2][1] < 0.2 < means[2][0]
    with pytest.raises(ValueError, match=r"found SparsityTarget\(.*layer=0\) .*expected a hidden layer, one of \[1, 2\]"):
        DBM([9, 8, 8], device="cpu").fit(bars(), batch_size=4, penalties=[SparsityTarget(0.1, layer=0)])


@pytest.mark.parametrize("rule", [CD, PCD])
def test_the_number_of_gibbs_steps_follows_a_schedule(rule):
    """One step before the first epoch ends, then three: the same as two runs with these numbers."""
    scheduled, fixed = (RBM(9, 6, device="cpu", seed=1) for _ in range(2))
    run = {"batch_size": 16, "steps_per_epoch": 1, "seed": 1}
    step = Step(scheduled, rule(Piecewise((1, 3), (1,))), SGD(0.1), **run)
    other = Step(fixed, rule(1), SGD(0.1), **run)
    step(bars())
    other(bars())
    np.testing.assert_array_equal(scheduled.parameters.buffer, fixed.parameters.buffer)
    other.learning = rule(3)
    step(bars())
    other(bars())
    np.testing.assert_array_equal(scheduled.parameters.buffer, fixed.parameters.buffer)
    with pytest.raises(ValueError, match="expected whole numbers >= 1"):
        Step(scheduled, rule(lambda epoch: 0), SGD(0.1), **run)(bars())


def test_a_resumed_run_is_the_unbroken_one(tmp_path):
    options = {"batch_size": 4, "learning": PCD(2, chains=5), "centered": True, "penalties": [SparsityTarget(0.1)]}
    whole = DBM([9, 6, 4], labels=2, device="cpu", seed=1).fit(bars(True), epochs=6, **options)
    DBM([9, 6, 4], labels=2, device="cpu", seed=1).fit(bars(True), epochs=3, callbacks=[Checkpoint(tmp_path)], **options)
    part = DBM([9, 6, 4], labels=2, device="cpu", seed=7).fit(bars(True), epochs=6, resume=tmp_path, **options)
    np.testing.assert_array_equal(part.parameters.buffer, whole.parameters.buffer)


def test_validation_and_the_mixing_monitor():
    history = History()
    dbm = DBM([9, 8, 8], device="cpu", seed=1)
    dbm.fit(bars(), epochs=2, batch_size=4, validation=bars()[:5], callbacks=[MixingMonitor(every=1, updates=50), history])
    expected = ((bars()[:5] - dbm.reconstruct(bars()[:5])) ** 2).sum(axis=1).mean()
    assert history.rows[-1]["validation_reconstruction"] == pytest.approx(expected, rel=1e-5)
    assert history.rows[-1]["chain_autocorrelation_time"] >= 0.1
    assert history.rows[-1]["mean_field_residual"] < 0.1


@pytest.mark.parametrize("branched", [False, True])
def test_a_saved_machine_is_the_same(tmp_path, branched):
    graph = {"connections": [(0, 1), (1, 2), (3, 2)], "observed": (0, 3)} if branched else {"labels": 3}
    layers = [5, 4, 3, Softmax(3)] if branched else [5, 4, 3]
    dbm = DBM(layers, device="cpu", dtype="float64", seed=1, **graph)
    randomize_all(dbm)
    dbm.save(tmp_path / "dbm.safetensors")
    for loaded in (ebm.load(tmp_path / "dbm.safetensors", device="cpu"), DBM.load(tmp_path / "dbm.safetensors", device="cpu")):
        assert isinstance(loaded, DBM)
        assert (repr(loaded), loaded.observed) == (repr(dbm), dbm.observed)
        np.testing.assert_array_equal(loaded.sample(4, 5, seed=1), dbm.sample(4, 5, seed=1))
    with pytest.raises(ValueError, match=r"holds a DBM; expected a DBN: write ebm\.load"):
        DBN.load(tmp_path / "dbm.safetensors")
    with pytest.raises(ValueError, match="holds a DBM; expected a RBM"):
        RBM.load(tmp_path / "dbm.safetensors")


ROWS = bars()


def strong(dbm):
    """With weights between real-valued layers that have no partition function."""
    dbm.weights[1][...] = 0.6
    return dbm


@pytest.mark.parametrize(
    ("act", "match"),
    [
        (lambda: DBM([4, 3], [(0, 1)], labels=2), "found both labels and connections"),
        (lambda: DBM([9, 4, 3]).fit(ROWS[:, :5], batch_size=4), "5 columns; expected 9 columns"),
        (lambda: DBM([9, 4, 3], labels=2).fit(ROWS, batch_size=4), r"found shape \(16, 9\); expected \(rows, 9 \+ 2 = 11\)"),
        (
            lambda: DBM([9, 4, 3], labels=2).fit(np.hstack([ROWS, 2 * ROWS[:, :2] + 1]), batch_size=4),
            r"data\[:, 9:11\]",
        ),
        (
            lambda: DBM([9, 4, 3], labels=2).pretrain(np.hstack([ROWS, 0 * ROWS[:, :2]]), batch_size=4),
            r"expected a 1 among zeros",
        ),
        (lambda: DBM([9, 4, 3]).fit(ROWS, learning=CD(1)), r"found learning=CD\(steps=1\) .* one hidden layer: write PCD\(5\)"),
        (lambda: DBM([9, 4, 3]).fit(ROWS, learning=TAP()), "rule for one hidden layer"),
        (lambda: DBM([9, 4, 3]).fit(ROWS, learning=Exact()), "rule for one hidden layer"),
        (lambda: DBM([9, 4, 3]).fit(ROWS, learning=ParallelTempering()), "rule for one hidden layer"),
        (
            lambda: DBM([9, 4, 3]).fit(ROWS, epochs=0, batch_size=4).pretrain(ROWS),
            "pretraining comes first and would undo that",
        ),
        (lambda: DBM.on(RBM(9, 4), [3]).pretrain(ROWS), "pretraining comes first and would undo that"),
        (lambda: DBM.on(RBM(9, 4), [3], deviation=0), "found deviation=0; expected a positive number"),
        (lambda: DBM.on(DBM([9, 4, 3], labels=2), [3]), "expected an RBM, or a DBM that is a chain of layers without labels"),
        (lambda: DBM([9, 4, 3], [(0, 1), (1, 2)], observed=(0, 2)).pretrain(ROWS), "pretraining knows chains of layers"),
        (lambda: DBM([9, 4, 3]).pretrain(ROWS, per_layer=[{}], batch_size=4), "found 1 settings in per_layer for 2 layers"),
        (lambda: DBM([9, 4, 3]).transform(ROWS, layer=0), r"found layer=0 .*one of the hidden layers \[1, 2\]"),
        (
            lambda: DBM([ReplicatedSoftmax(9), 4, 3]).fit(ROWS + 1, batch_size=4, centered=True),
            "found centered=True for word counts",
        ),
        (lambda: strong(DBM([9, Gaussian(4), Gaussian(3)])).sample(1, 1), r"spectral norm 2\.\d+ .*expected less than 1"),
    ],
)
def test_bad_input(act, match):
    with pytest.raises((ValueError, TypeError), match=match):
        act()


@pytest.mark.data
def test_a_published_machine_has_its_published_likelihood():
    """5-6-7 units by pylearn2: exact ln Z, ln p(0), and the converged mean-field bound of it, by enumeration and by mean field."""
    arrays = fixture("dbm.mat")
    dbm = DBM([5, 6, 7], device="cpu", dtype="float64")
    for connection, name in zip(dbm.weights, ("vishid", "hidpen"), strict=True):
        connection[...] = arrays[name]
    for layer, name in zip(dbm.layers, ("visbiases", "hidbiases", "penbiases"), strict=True):
        layer.bias[...] = arrays[name].ravel()
    log_z, nothing = likelihood.exact_log_partition(dbm), np.zeros((1, 5))
    assert log_z == pytest.approx(9.917126302, abs=1e-6)
    assert likelihood.log_probability(dbm, nothing, log_z)[0] == pytest.approx(-8.067954277, abs=1e-6)
    assert likelihood.lower_bound(dbm, nothing, log_z)[0] == pytest.approx(-8.104263972, abs=1e-6)
