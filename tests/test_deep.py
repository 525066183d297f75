"""Machines of any graph against a table of all their states: sums, conditionals, chains, mean field, annealing."""

import itertools

import numpy as np
import pytest
from deep import randomize
from enumeration import assert_counts

from ebm import DBM, RBM, Gaussian, Joint, ReLU, ReplicatedSoftmax, Softmax, ais, likelihood, mean_field
from ebm.compute.random import Stream
from ebm.enumeration import exact_samples
from ebm.machine import BoltzmannMachine
from ebm.mean_field import MeanFieldWarning

# Layers, connections, observed layers.
GRAPHS = {
    "one hidden layer": ([4, 3], None, (0,)),
    "two": ([4, 3, 2], None, (0,)),
    "three": ([3, 3, 2, 2], None, (0,)),
    "four": ([3, 2, 2, 2, 2], None, (0,)),
    "softmax on top": ([3, 2, Softmax(3)], None, (0,)),
    "softmax below": ([Softmax(3, groups=2), 3, Softmax(2, groups=2), 2], None, (0,)),
    "joint": ([Joint(2, Softmax(3)), 3, 2], None, (0,)),
    "Gaussian data": ([Gaussian(1), 3, 2], None, (0,)),
    "Gaussian between": ([3, Gaussian(1), 2], None, (0,)),
    "rectified on top": ([3, 3, ReLU(1)], None, (0,)),
    "labels": ([3, 3, 2, Softmax(3)], [(0, 1), (1, 2), (3, 2)], (0, 3)),
    "two pathways": ([3, 2, 2, 2, Softmax(3)], [(0, 1), (1, 2), (3, 2), (4, 3)], (0, 4)),
    "two apart": ([3, 2, 2, 3], [(0, 1), (2, 3)], (0, 2)),
    "data at the end": ([2, 3, 3], None, (2,)),
}
every = pytest.mark.parametrize("name", GRAPHS)
DISCRETE = [name for name in GRAPHS if name not in ("Gaussian data", "Gaussian between", "rectified on top")]
discrete = pytest.mark.parametrize("name", DISCRETE)
DEEP = [name for name in GRAPHS if name not in ("one hidden layer", "two apart")]


def build(name, seed=3, dtype="float64", scale=0.8, device="cpu"):
    layers, connections, observed = GRAPHS[name]
    machine = BoltzmannMachine(layers, connections, observed=observed, device="cpu", dtype=dtype)
    table = randomize(machine, seed, scale)
    if device == "cpu":
        return machine, table
    other = BoltzmannMachine(layers, connections, observed=observed, device=device, dtype=dtype)
    other.parameters.load_state_dict(machine.parameters.state_dict())
    return other, table


def some(rows, *others, n=30):
    """About n of the rows, and what belongs to them."""
    chosen = slice(None, None, -(-len(rows) // n))
    return [np.ascontiguousarray(x[chosen]) for x in (rows, *others)]


@every
def test_the_exact_partition_function_is_the_sum_over_all_states(name):
    machine, table = build(name)
    assert likelihood.exact_log_partition(machine) == pytest.approx(table.log_partition, abs=1e-10)


@every
def test_ln_p_of_a_row_sums_over_the_hidden_layers(name):
    machine, table = build(name)
    rows, log_p = some(*table.visible())
    np.testing.assert_allclose(likelihood.log_probability(machine, rows, table.log_partition), log_p, atol=1e-9)


def test_two_machines_side_by_side_have_the_sum_of_their_log_partitions():
    machine, _ = build("two apart")
    parts = []
    for i, c in enumerate(machine.connections):
        rbm = RBM(machine.layers[2 * i].units, machine.layers[2 * i + 1].units, device="cpu", dtype="float64")
        rbm.weights[...], rbm.visible.bias[...] = c.weights, machine.layers[2 * i].bias
        rbm.hidden.bias[...] = machine.layers[2 * i + 1].bias
        parts.append(likelihood.exact_log_partition(rbm))
    assert likelihood.exact_log_partition(machine) == pytest.approx(sum(parts), abs=1e-12)


@every
def test_the_machine_given_some_layers_is_the_conditional_one(name):
    """ln Z of the rest, with the energy of what is given, is the log of the sum over the rest; also row by row."""
    machine, table = build(name)
    rows, log_p = some(*table.visible(), n=3)
    for v, expected in zip(rows, log_p, strict=True):
        states = machine.split(v[None])
        rest = machine.given(states)
        assert len(rest.layers) == len(machine.hidden_layers)
        found = likelihood.exact_log_partition(rest) - float(machine.energy(states)[0]) - table.log_partition
        assert found == pytest.approx(expected, abs=1e-9)
    together = machine.given(machine.split(rows))
    for k, v in enumerate(rows):
        for many, one in zip(together.layers, machine.given(machine.split(v[None])).layers, strict=True):
            np.testing.assert_allclose(many.bias[k] if many.bias.ndim == 2 else many.bias, one.bias, atol=1e-14)


@discrete
def test_chains_that_start_at_the_machine_stay_there(name):
    machine, table = build(name, dtype="float32")
    states, stream = table.draw(40_000, seed=5), Stream(6)
    for _ in range(3):
        states = machine.sweep(states, "sample", stream)
        stream.advance_()
    for i, j in itertools.combinations(range(len(states)), 2):
        first, second = table.number(i, states[i]), table.number(j, states[j])
        p = np.exp(table.marginal(i, j))
        assert_counts(np.bincount(first * p.shape[1] + second, minlength=p.size), p.ravel())


@discrete
def test_samples_of_the_visible_layers_are_those_of_the_machine(name):
    machine, table = build(name, dtype="float32", scale=0.5)
    rows, log_p = table.visible()
    found = machine.sample(20_000, steps=30, seed=7)
    place = (found[:, None] == rows[None]).all(axis=2)
    assert_counts(place.sum(axis=0), np.exp(log_p))


@pytest.mark.parametrize("name", ["two", "labels", "two pathways", "joint"])
@pytest.mark.parametrize("side", [0, 1])
def test_one_side_is_sampled_given_the_other(name, side):
    """Of the visible columns the first half is held, or the second: images given labels, text given images."""
    machine, table = build(name, dtype="float32", scale=0.7)
    rows, log_p = table.visible()
    split = machine.layers[machine.observed[0]].units.size if len(machine.observed) > 1 else 2
    mask = (np.arange(rows.shape[1]) < split) == (side == 0)
    v = rows[np.argsort(log_p)[len(rows) // 2]]
    fits = (rows[:, mask] == v[mask]).all(axis=1)
    p = np.exp(log_p) * fits
    found = machine.sample(20_000, steps=40, clamp=(mask, np.where(mask, v, np.nan)), seed=8)
    assert_counts((found[:, None] == rows[None]).all(axis=2).sum(axis=0), p / p.sum())


def test_the_means_of_the_last_step_average_to_those_of_the_machine():
    machine, table = build("labels", dtype="float32", scale=0.5)
    rows, log_p = table.visible()
    found = machine.sample(20_000, steps=30, means=True, seed=7)
    assert ((found > 0) & (found < 1)).any(axis=1).all()
    np.testing.assert_allclose(found.mean(axis=0), np.exp(log_p) @ rows, atol=0.02)


@discrete
def test_exact_samples_of_all_layers(name):
    machine, table = build(name, dtype="float32")
    states = exact_samples(machine, 20_000, Stream(9))
    for i, j in machine_pairs(machine):
        p = np.exp(table.marginal(i, j))
        first, second = table.number(i, states[i]), table.number(j, states[j])
        assert_counts(np.bincount(first * p.shape[1] + second, minlength=p.size), p.ravel())


def machine_pairs(machine):
    return list(itertools.combinations(range(len(machine.layers)), 2))


def factorial(machine, table, means):
    """E_q[-E] + H(q) - ln Z of one row's means of discrete layers, from the definition: a sum over all states of the hidden ones."""
    log_q = np.zeros(())
    for i in range(len(machine.layers)):
        x, m = table.states[i], np.clip(means[i], 1e-300, 1)
        units = machine.layers[i].units
        parts = units.members if isinstance(units, Joint) else [units]
        one_hot = np.concatenate([np.full(u.size, isinstance(u, Softmax)) for u in parts])
        terms = x * np.log(m) + (1 - x) * np.log(np.clip(1 - means[i], 1e-300, 1)) * ~one_hot
        log_q = np.add.outer(log_q, terms.sum(axis=1))
    q = np.exp(log_q)
    return float((q * (table.log_p - np.where(q > 1e-200, log_q, 0))).sum())


@discrete
def test_the_mean_field_bound_is_its_definition(name):
    machine, table = build(name)
    rows, log_p = some(*table.visible(), n=8)
    found = likelihood.lower_bound(machine, rows, table.log_partition)
    q = mean_field.converged(machine, rows)
    for k in range(len(rows)):
        assert found[k] == pytest.approx(factorial(machine, table, [m[k] for m in q.states]), abs=1e-8)
    assert (found <= log_p + 1e-9).all()
    if machine.deep:
        assert (found < log_p - 1e-5).all()
    else:
        np.testing.assert_allclose(found, log_p, atol=1e-9)


@every
def test_the_bound_holds_and_sweeps_never_lower_it(name):
    machine, table = build(name, scale=1.2)
    rows, log_p = some(*table.visible(), n=8)
    bounds = [
        mean_field.lower_bound(machine, mean_field.posterior(machine, rows, sweeps)) - table.log_partition
        for sweeps in (0, 1, 2, 5, 50)
    ]
    assert (np.diff(bounds, axis=0) >= -1e-9).all()
    assert (bounds[-1] <= log_p + 1e-9).all()


@every
def test_at_a_fixed_point_every_mean_is_that_under_its_field(name):
    machine, table = build(name)
    rows = some(table.visible()[0])[0]
    q = mean_field.converged(machine, rows)
    for i in machine.hidden_layers:
        np.testing.assert_allclose(machine.update(i, q.states, "mean"), q.states[i], atol=1e-8)
    assert float(q.residual[0]) <= 1e-10


def test_the_upward_pass_hears_twice_what_is_not_yet_answered_from_above():
    machine, _ = build("two pathways")
    v = np.array([[1, 0, 1, 0, 1, 0]], float)
    states = mean_field.upward(machine, v)
    W = [c.weights for c in machine.connections]
    b = [layer.bias for layer in machine.layers]
    logistic = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    h1 = logistic(b[1] + 2 * v[:, :3] @ W[0])
    h3 = logistic(b[3] + 2 * v[:, 3:] @ W[3])
    np.testing.assert_allclose(states[1], h1, atol=1e-12)
    np.testing.assert_allclose(states[3], h3, atol=1e-12)
    np.testing.assert_allclose(states[2], logistic(b[2] + h1 @ W[1] + h3 @ W[2]), atol=1e-12)


def test_mean_field_that_does_not_converge_says_so_with_the_residual():
    machine, table = build("three", scale=3.0)
    rows = np.ascontiguousarray(table.visible()[0])
    with pytest.warns(
        MeanFieldWarning,
        match=r"after 2 sweeps one still changes a mean by [\d.e-]+, more than the tolerance of 1e-14.*sweeps=4",
    ):
        found = likelihood.lower_bound(machine, rows, table.log_partition, tolerance=1e-14, sweeps=2)
    assert (found <= table.visible()[1] + 1e-9).all()
    with pytest.raises(ValueError, match="found tolerance=0, sweeps=10; expected a tolerance > 0"):
        mean_field.converged(machine, rows, 0, 10)


@pytest.mark.parametrize("name", ["two", "four", "labels", "two pathways", "joint", "Gaussian between", "rectified on top"])
@pytest.mark.parametrize("data", [True, False])
def test_annealing_in_both_directions_finds_the_partition_function(name, data):
    machine, table = build(name)
    rows = machine.sample(100, 20, seed=1) if data else None
    estimate = ais.estimate(machine, data=rows, temperatures=400, chains=200, sweeps=50, seed=2)
    for side in estimate.sides.values():
        assert abs(side.log_partition - table.log_partition) < 5 * side.standard_error + 1e-6
    assert estimate.certified
    assert list(estimate.sides) == ["forward", "reverse, from exact samples"]


@pytest.mark.parametrize("name", ["two", "three", "labels", "rectified on top"])
def test_tempered_chains_of_deep_machines_are_samples_of_them(name, monkeypatch):
    machine, table = build(name)
    rows = machine.sample(100, 20, seed=1)
    monkeypatch.setattr(ais, "smaller_block", lambda *_: None)
    estimate = ais.estimate(machine, data=rows, temperatures=400, chains=400, sweeps=50, seed=3)
    assert list(estimate.sides) == ["forward", "reverse, from data", "reverse, from noise"]
    assert estimate.certified
    for side in estimate.sides.values():
        assert abs(side.log_partition - table.log_partition) < 5 * side.standard_error


@pytest.mark.parametrize("sign", [1, -1])
def test_weights_of_a_deep_machine_average_to_its_partition_function(sign):
    """Unbiased: mean(w) is Z / Z_0 forward, Z_0 / Z in reverse, whatever the temperatures; with a base that is not uniform."""
    machine, table = build("three")
    data = machine.sample(50, 20, seed=1)
    found = []
    for seed in range(8):
        estimate = ais.estimate(machine, data=data, temperatures=3, chains=4000, seed=seed)
        side = estimate.sides["forward" if sign > 0 else "reverse, from exact samples"]
        found.append(np.exp(sign * (side.log_partition - table.log_partition)))
    mean, error = np.mean(found), np.std(found, ddof=1) / np.sqrt(len(found))
    assert abs(mean - 1) < 6 * error + 1e-3
    assert error < 0.05


@pytest.mark.parametrize("name", ["two", "three", "labels", "two pathways", "softmax on top", "Gaussian between"])
def test_the_tightness_of_the_bound_is_what_enumeration_says(name):
    machine, table = build(name, scale=1.0)
    rows, log_p = some(*table.visible(), n=3)
    bound = likelihood.lower_bound(machine, rows, table.log_partition)
    found, error = ais.tightness(machine, rows, chains=500, temperatures=100, seed=1)
    assert (np.abs(found - (log_p - bound)) < 5 * error + 1e-6).all()
    assert (error < 0.05).all()


def test_deep_machines_on_every_device(device):
    """The same sums, bounds and annealing as on the CPU, where arrays refuse what a GPU refuses."""
    on = [build("labels", dtype="float32", device=where)[0] for where in ("cpu", device)]
    v = on[0].sample(20, 5, seed=1)
    z = [likelihood.exact_log_partition(m) for m in on]
    assert z[0] == pytest.approx(z[1], abs=1e-5)
    bounds = [likelihood.lower_bound(m, v, z[0]) for m in on]
    np.testing.assert_allclose(*bounds, atol=1e-4)
    np.testing.assert_array_equal(*(m.sample(20, 5, clamp=(np.arange(6) > 2, v), seed=2) for m in on))
    estimates = [ais.estimate(m, data=v, temperatures=10, chains=20, sweeps=3, seed=1) for m in on]
    assert estimates[0].log_partition == pytest.approx(estimates[1].log_partition, abs=1e-4)


def test_rows_of_several_layers_are_taken_apart_and_joined():
    machine, _ = build("labels")
    v = np.arange(12.0).reshape(2, 6)
    states = machine.split(v)
    assert [None if x is None else x.shape for x in states] == [(2, 3), None, None, (2, 3)]
    np.testing.assert_array_equal(machine.join(states), v)
    assert machine.outward == [1, 2]
    assert machine.hidden_layers == [1, 2]
    assert machine.visible_units == Joint(3, Softmax(3))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: DBM([4, 3], observed=(2,)), r"found observed=\(2,\) for 2 layers; expected the numbers of the visible layers"),
        (lambda: DBM([4, 3], observed=()), r"found observed=\(\) for 2 layers"),
        (lambda: DBM([4, 3], observed=(0, 0)), r"found observed=\(0, 0\)"),
        (lambda: DBM([4, 3, 2], [(0, 1), (1, 2), (0, 2)]), "closes an odd cycle"),
        (lambda: DBM([4, ReplicatedSoftmax(3), 2]), "word counts can only be visible, layer 0"),
        (lambda: build("two")[0].free_energy(np.zeros((1, 4))), "has no closed form; write likelihood.lower_bound"),
        (
            lambda: build("labels")[0].sample(2, 1, clamp=(np.ones(8), np.ones(8))),
            "visible units can be held, hidden ones can't",
        ),
        (
            lambda: build("labels")[0].sample(2, 1, clamp=([0, 0, 0, 1, 0, 0], np.ones(6))),
            "a mask that holds a part of a group",
        ),
        (lambda: build("labels")[0].sample(1, 1, start=np.ones((1, 6))), r"start\[:, 3:6\]"),
        (lambda: likelihood.exact_log_partition(DBM([784, 500, 1000], device="cpu")), "neither block of layers with at most"),
        (
            lambda: likelihood.log_probability(DBM([40, 50, 60], device="cpu"), np.zeros((1, 40), np.float32), 0.0),
            "whose hidden layers have no block of at most 2\\^25 states; write likelihood.lower_bound",
        ),
    ],
)
def test_bad_input(make, match):
    with pytest.raises((ValueError, TypeError), match=match):
        make()
