import numpy as np
import pytest
from enumeration import Enumeration, assert_distributed, binary_rows, number, randomize

from ebm.compute.random import Stream
from ebm.learning import Step
from ebm.machine import BoltzmannMachine
from ebm.training import SGD
from ebm.units import Bernoulli

# Layers, connections, and the two blocks that they fall into.
GRAPHS = {
    "rbm": ([4, 3], None, ([0], [1])),
    "chain": ([3, 4, 2], None, ([0, 2], [1])),
    "four": ([2, 3, 2, 2], None, ([0, 2], [1, 3])),
    "star": ([2, 2, 2, 3], [(0, 3), (1, 3), (2, 3)], ([0, 1, 2], [3])),
    "reversed": ([3, 2], [(1, 0)], ([0], [1])),
    "square": ([2, 2, 2, 2], [(0, 1), (1, 2), (2, 3), (3, 0)], ([0, 2], [1, 3])),
    "two machines": ([2, 2, 2, 2], [(0, 1), (2, 3)], ([0, 2], [1, 3])),
}
every_graph = pytest.mark.parametrize("name", GRAPHS)


def machine(name, seed=1, dtype="float64"):
    layers, connections, _ = GRAPHS[name]
    return BoltzmannMachine(layers, connections, device="cpu", dtype=dtype, seed=seed)


def expected_statistics(model, gradient, weighted_states, factor=1.0, centers=None):
    """Add factor * sum_r weight_r * statistics(row r) to `gradient`: an expectation with exact weights, row by row."""
    for weight, states in weighted_states:
        model.add_statistics_(gradient, states, factor * weight, centers=centers)


def rows_of(states, weights):
    return [(weight, [x[r : r + 1].copy() for x in states]) for r, weight in enumerate(weights)]


def host(parameters):
    return {name: np.array(parameters[name]) for name in parameters}


def assert_same(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], err_msg=name, **tolerance)


@every_graph
def test_layers_fall_into_two_blocks(name):
    assert machine(name).blocks == GRAPHS[name][2]


@pytest.mark.parametrize(
    ("layers", "connections", "match"),
    [
        ([2, 2, 2], [(0, 1), (1, 2), (2, 0)], r"connection .* closes an odd cycle"),
        ([2, 2], [(0, 1), (1, 1)], r"connection \(1, 1\) closes an odd cycle"),
        ([2, 2, 2], [(0, 1)], "layer 2 of 3 has no connection"),
        ([2], None, "layer 0 of 1 has no connection"),
        ([2, 2], [(0, 1), (1, 2)], r"found connection \(1, 2\) in a machine of 2 layers"),
        ([2, 2], [(0, 1), (5, 6)], r"found connection \(5, 6\) in a machine of 2 layers"),
        ([2, 2], [(0, 1), (-2, -1)], r"found connection \(-2, -1\) in a machine of 2 layers"),
        ([2, 2], [(0, 1), (1, 0)], r"layers 0 and 1 are connected twice"),
        ([2, 2], [(0, 1), (0, 1)], r"layers 0 and 1 are connected twice"),
    ],
)
def test_graphs_without_two_blocks_are_refused(layers, connections, match):
    with pytest.raises(ValueError, match=match):
        BoltzmannMachine(layers, connections, device="cpu")


def test_parameters_start_small_and_are_views_of_one_buffer():
    model = BoltzmannMachine([30, Bernoulli(20), 10], device="cpu", seed=3)
    for connection in model.connections:
        # standard deviation 0.01 within 5 standard errors, mean zero within 5
        n = connection.weights.size
        assert abs(connection.weights.std() / 0.01 - 1) < 5 / np.sqrt(2 * n)
        assert abs(connection.weights.mean()) < 5 * 0.01 / np.sqrt(n)
        assert np.shares_memory(connection.weights, model.parameters.buffer)
    assert not np.array_equal(model.connections[0].weights.ravel()[:200], model.connections[1].weights.ravel())
    assert all((layer.bias == 0).all() and np.shares_memory(layer.bias, model.parameters.buffer) for layer in model.layers)
    other = [BoltzmannMachine([30, Bernoulli(20), 10], device="cpu", seed=seed) for seed in (3, 4)]
    np.testing.assert_array_equal(other[0].parameters.buffer, model.parameters.buffer)
    assert not np.array_equal(other[1].parameters.buffer, model.parameters.buffer)


@every_graph
def test_energy_follows_the_formula(name):
    model = machine(name)
    exact = randomize(model, 2)
    np.testing.assert_allclose(model.energy(exact.states), exact.energy(exact.states), rtol=1e-12, atol=1e-12)


@every_graph
@pytest.mark.parametrize("beta", [1.0, 0.3, 0.0])
def test_means_are_the_conditionals(name, beta):
    model = machine(name)
    randomize(model, 3)
    exact = Enumeration.of(model, beta)
    for i, size in enumerate(exact.sizes):
        found = model.update(i, exact.states, "mean", beta=beta)
        # p(x_i = 1 | all others), from the table of joint probabilities
        others = number(np.concatenate([x for j, x in enumerate(exact.states) if j != i], axis=1))
        total = np.bincount(others, exact.probabilities)
        for unit in range(size):
            on = np.bincount(others, exact.probabilities * exact.states[i][:, unit])
            np.testing.assert_allclose(found[:, unit], (on / total)[others], rtol=1e-9)


@every_graph
def test_modes_are_the_most_likely_states(name):
    model = machine(name)
    exact = randomize(model, 4)
    for i in range(len(exact.sizes)):
        energies = []
        for state in binary_rows(exact.sizes[i]):
            states = list(exact.states)
            states[i] = np.broadcast_to(state, states[i].shape)
            energies.append(exact.energy(states))
        best = binary_rows(exact.sizes[i])[np.argmin(energies, axis=0)]
        np.testing.assert_array_equal(model.update(i, exact.states, "mode"), best)


def test_samples_of_one_layer_have_the_conditional_distribution():
    model = machine("chain")
    randomize(model, 5)
    exact = Enumeration.of(model, beta=0.7)
    one = [x[:1] for x in exact.draw(1, 6)]
    states = [np.repeat(x, 20_000, axis=0).astype(np.float64) for x in one]
    found = model.update(1, states, "sample", Stream(7), beta=0.7)
    given = (exact.states[0] == one[0]).all(axis=1) & (exact.states[2] == one[2]).all(axis=1)
    p = np.bincount(number(exact.states[1]), exact.probabilities * given, 2**4)
    assert_distributed(found, p / p.sum())


def test_mean_field_and_ascent_reach_fixed_points():
    model = machine("chain")
    randomize(model, 8, scale=0.3)
    states = [np.full((1, size), 0.5) for size in (3, 4, 2)]
    for _ in range(200):
        states = model.sweep(states, "mean")
    for i, x in enumerate(states):
        np.testing.assert_allclose(x, 1 / (1 + np.exp(-model.field(i, states))), rtol=1e-12)
    exact = randomize(model, 9)
    states = exact.states
    for _ in range(20):
        before, states = states, model.sweep(states, "mode")
        assert (model.energy(states) <= model.energy(before) + 1e-12).all()
    np.testing.assert_array_equal(np.concatenate(states, axis=1), np.concatenate(before, axis=1))


def test_a_sweep_updates_the_second_block_first_and_leaves_its_input_alone():
    model = machine("chain")
    exact = randomize(model, 10)
    before = [x.copy() for x in exact.states]
    swept = model.sweep(exact.states, "mean")
    middle = model.update(1, before, "mean")
    outer = [model.update(i, [None, middle, None], "mean") for i in (0, 2)]
    for found, expected in zip(swept, (outer[0], middle, outer[1]), strict=True):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(exact.states, before, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("verb", ["sample", "mean", "mode"])
def test_clamped_units_are_held_under_each_verb(verb):
    model = machine("chain")
    exact = randomize(model, 11)
    mask, values = np.array([[True, False, True]]), np.array([[0.0, 9.0, 0.5]])
    free = model.sweep(exact.states, verb, Stream(1))
    held = model.sweep(exact.states, verb, Stream(1), clamp={0: (mask, values)})
    np.testing.assert_array_equal(held[0][:, [0, 2]], np.tile([0.0, 0.5], (len(held[0]), 1)))
    np.testing.assert_array_equal(held[0][:, 1], free[0][:, 1])


def test_verbs_are_checked():
    model = machine("rbm")
    states = [np.zeros((1, 4)), np.zeros((1, 3))]
    with pytest.raises(ValueError, match="found verb='guess'; expected 'sample', 'mean' or 'mode'"):
        model.sweep(states, "guess")
    with pytest.raises(TypeError, match=r"verb='sample' needs a stream; write Stream\(seed\)"):
        model.sweep(states, "sample")


@every_graph
def test_statistics_of_all_states_are_the_exact_expectation(name):
    model = machine(name)
    exact = randomize(model, 12)
    gradient = model.parameters.zeros_like()
    expected_statistics(model, gradient, rows_of(exact.states, exact.probabilities))
    assert_same(host(gradient), exact.expectation(), rtol=1e-11, atol=1e-13)


def test_statistics_are_means_over_rows_and_accumulate():
    model = machine("chain")
    randomize(model, 13)
    generator = np.random.default_rng(14)
    states = [generator.random((5, size)) for size in (3, 4, 2)]
    expected = {f"bias.{i}": x.mean(axis=0) for i, x in enumerate(states)}
    expected |= {f"weights.{i}.{j}": states[i].T @ states[j] / 5 for i, j in ((0, 1), (1, 2))}
    gradient = model.parameters.zeros_like()
    for name in gradient:
        gradient[name][...] = 7.0
    model.add_statistics_(gradient, states, factor=-2.0, beta=0.5)
    assert_same(host(gradient), {name: 3.5 - 2 * value for name, value in expected.items()}, rtol=1e-13)
    repeated = model.parameters.zeros_like()
    model.add_statistics_(repeated, [np.repeat(x, 3, axis=0) for x in states], 1.0)
    assert_same(host(repeated), expected, rtol=1e-13)


@pytest.mark.parametrize("centered", [False, True])
def test_beta_zero_overwrites_whatever_was_there(centered):
    model = machine("chain")
    states = [np.ones((2, size)) for size in (3, 4, 2)]
    centers = [np.full(size, 0.25) for size in (3, 4, 2)] if centered else None
    clean, dirty = (model.parameters.zeros_like() for _ in range(2))
    dirty.buffer[...] = np.nan
    for gradient in (clean, dirty):
        model.add_statistics_(gradient, states, 1.0, 0.0, centers)
    assert_same(host(dirty), host(clean))


def test_statistics_of_no_rows_are_refused():
    model = machine("rbm")
    with pytest.raises(ValueError, match="found states of no rows; expected at least one"):
        model.add_statistics_(model.parameters.zeros_like(), [np.zeros((0, 4)), np.zeros((0, 3))], 1.0)


def phases(seed=15):
    """Two phases of a chain with different numbers of rows, and centers."""
    generator = np.random.default_rng(seed)
    positive, negative = ([generator.random((rows, size)) for size in (3, 4, 2)] for rows in (5, 8))
    return positive, negative, [generator.random(size) for size in (3, 4, 2)]


@pytest.mark.parametrize("name", ["chain", "rbm"])
@pytest.mark.parametrize("centered", [False, True])
def test_a_difference_is_two_calls(name, centered):
    """Of phases with different numbers of rows."""
    model, generator = machine(name), np.random.default_rng(16)
    sizes = [layer.units.size for layer in model.layers]
    positive, negative = ([generator.random((rows, size)) for size in sizes] for rows in (5, 8))
    centers = [generator.random(size) for size in sizes] if centered else None
    once, twice = (model.parameters.zeros_like() for _ in range(2))
    for gradient in (once, twice):
        gradient.buffer[...] = 2.0
    model.add_statistics_(once, positive, -3.0, 0.5, centers, minus=negative)
    model.add_statistics_(twice, positive, -3.0, 0.5, centers)
    model.add_statistics_(twice, negative, 3.0, 1.0, centers)
    assert_same(host(once), host(twice), rtol=1e-12)
    with pytest.raises(ValueError, match="found weights and minus"):
        model.add_statistics_(once, positive, 1.0, weights=np.ones(5), minus=negative)


def centered_difference(positive, negative, centers):
    """Melchior, Fischer, Wiskott 2016, equations 8 to 10, for each pair of connected layers: the weights' gradient is
    <(x - mu)(y - lambda)>_d - <(x - mu)(y - lambda)>_m, a bias's <x>_d - <x>_m - dW lambda, summed over its connections."""
    shift = [[x - c for x, c in zip(phase, centers, strict=True)] for phase in (positive, negative)]
    expected = {f"bias.{i}": p.mean(axis=0) - n.mean(axis=0) for i, (p, n) in enumerate(zip(positive, negative, strict=True))}
    for i, j in ((0, 1), (1, 2)):
        dW = sum(sign * s[i].T @ s[j] / len(s[i]) for sign, s in zip((1, -1), shift, strict=True))
        expected[f"weights.{i}.{j}"] = dW
        expected[f"bias.{i}"] = expected[f"bias.{i}"] - dW @ centers[j]
        expected[f"bias.{j}"] = expected[f"bias.{j}"] - dW.T @ centers[i]
    return expected


def test_the_centered_gradient_follows_the_paper():
    model = machine("chain")
    positive, negative, centers = phases()
    gradient = model.parameters.zeros_like()
    gradient.buffer[...] = 2.0
    model.add_statistics_(gradient, positive, 1.0, 0.5, centers)
    model.add_statistics_(gradient, negative, -1.0, 1.0, centers)
    expected = {name: 1 + value for name, value in centered_difference(positive, negative, centers).items()}
    assert_same(host(gradient), expected, rtol=1e-12)


def test_zero_centers_give_the_plain_gradient():
    model = machine("chain")
    positive, negative, _ = phases()
    plain, centered = (model.parameters.zeros_like() for _ in range(2))
    for gradient, centers in ((plain, None), (centered, [np.zeros(size) for size in (3, 4, 2)])):
        model.add_statistics_(gradient, positive, 1.0, centers=centers)
        model.add_statistics_(gradient, negative, -1.0, centers=centers)
    assert_same(host(centered), host(plain), rtol=1e-13)


def flip(parameters, flipped):
    """The parameters of the machine over 1 - x for the flipped units x: the same distribution, other coordinates."""
    p = {name: np.array(value) for name, value in parameters.items()}
    for layer, unit in flipped:
        row = p["weights"][unit] if layer == 0 else p["weights"][:, unit]
        p[f"bias.{1 - layer}"] += row
        p[f"bias.{layer}"][unit] *= -1
        row *= -1
    return p


def exact_update(parameters, data, centers):
    """Parameters after a step of size 0.3 along the exact, possibly centered gradient of the data's log-likelihood."""
    model = BoltzmannMachine([4, 3], device="cpu", dtype="float64")
    model.parameters.load_state_dict(parameters)
    exact = Enumeration.of(model)
    gradient = model.parameters.zeros_like()
    expected_statistics(model, gradient, rows_of(exact.states, exact.given_data(data)), 1.0, centers)
    expected_statistics(model, gradient, rows_of(exact.states, exact.probabilities), -1.0, centers)
    return {name: parameters[name] + 0.3 * gradient[name] for name in parameters}


def test_the_centered_update_does_not_depend_on_what_is_called_on():
    """Flipping units before or after a centered update is the same; of the plain update it is not (Melchior et al., section 2)."""
    model = machine("rbm")
    randomize(model, 16)
    start = host(model.parameters)
    data = np.random.default_rng(17).integers(0, 2, (6, 4)).astype(float)
    flipped = [(0, 0), (0, 2), (1, 1)]
    mirrored = data.copy()
    mirrored[:, [0, 2]] = 1 - mirrored[:, [0, 2]]
    centers = [np.random.default_rng(18).random(size) for size in (4, 3)]
    other = [c.copy() for c in centers]
    for layer, unit in flipped:
        other[layer][unit] = 1 - other[layer][unit]
    after = flip(exact_update(start, data, centers), flipped)
    before = exact_update(flip(start, flipped), mirrored, other)
    assert_same(before, after, rtol=1e-10, atol=1e-12)
    plain = flip(exact_update(start, data, None), flipped), exact_update(flip(start, flipped), mirrored, None)
    assert max(np.abs(plain[0][name] - plain[1][name]).max() for name in start) > 1e-2


def test_states_are_checked_without_reading_values():
    model = machine("rbm", dtype="float32")
    for states, error, match in (
        (np.zeros((2, 5), np.float32), ValueError, r"v: found shape \(2, 5\); expected \(rows, 4\)"),
        (
            np.zeros(4, np.float32),
            ValueError,
            r"found shape \(4,\); expected \(rows, 4\); write v\.reshape\(1, -1\) for one row",
        ),
        (np.zeros((2, 4)), TypeError, r"found float64; expected float32: write v\.astype\('float32'\)"),
        ([[0, 0, 0, 0]], TypeError, "found list; expected an array"),
    ):
        with pytest.raises(error, match=match):
            model.check_states(0, states, "v")
    model.check_states(0, np.full((0, 4), np.nan, np.float32), "v")


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64"])
def test_machines_are_float32_or_float64(dtype):
    with pytest.raises(TypeError, match=f"found dtype='{dtype}'; expected 'float32' or 'float64'"):
        BoltzmannMachine([2, 2], device="cpu", dtype=dtype)


def test_a_prepared_machine_has_the_fields_of_the_weights_as_they_were():
    rng = np.random.default_rng(3)
    model = BoltzmannMachine([30, 20, 10], device="cpu", seed=3, precision="bfloat16")
    model.parameters.buffer[...] = rng.normal(size=model.parameters.buffer.shape)
    states = [rng.random((4, layer.units.size), np.float32) for layer in model.layers]
    before, ready = [model.field(i, states) for i in range(3)], model.prepared()
    assert np.abs(before[1] - model.full_precision.field(1, states)).max() > 1e-3
    for connection in model.connections:
        connection.weights[...] *= 2
    for i in range(3):
        np.testing.assert_array_equal(ready.field(i, states), before[i])
        np.testing.assert_array_equal(ready.full_precision.field(i, states), model.full_precision.field(i, states))
        np.testing.assert_array_equal(ready.prepared().field(i, states), model.field(i, states))
    assert ready.parameters is model.parameters


def test_what_is_given_a_prepared_machine_s_layers_is_prepared_too():
    """Each sweep of mean field rounded the weights again."""
    rng = np.random.default_rng(3)
    model = BoltzmannMachine([30, 20, 10, 5], device="cpu", seed=3, precision="bfloat16")
    states = [rng.random((4, layer.units.size), np.float32) for layer in model.layers]
    rest = model.prepared().given([states[0], None, None, None])
    before = [rest.field(i, states[1:]) for i in range(3)]
    for connection in model.connections:
        connection.weights[...] *= 2
    for i in range(3):
        np.testing.assert_array_equal(rest.field(i, states[1:]), before[i])


@pytest.mark.parametrize("precision", [None, "bfloat16", "tf32"])
def test_a_rule_sees_the_weights_of_its_step(precision):
    model = BoltzmannMachine([6, 5], device="cpu", precision=precision)
    v, weights = np.ones((3, 6), np.float32), []

    def rule(ready, v, chains, stream):
        states = [v, np.ones((3, 5), np.float32)]
        for i in range(2):
            np.testing.assert_array_equal(ready.field(i, states), model.field(i, states))
        weights.append(model.connections[0].weights.copy())
        return states, [0 * x for x in states]

    step = Step(model, rule, SGD(1.0), batch_size=3, steps_per_epoch=3)
    for _ in range(3):
        step(v)
    assert np.abs(np.diff(weights, axis=0)).min() > 0.9


def test_repr_shows_what_the_machine_is():
    assert repr(machine("chain")) == "BoltzmannMachine(Bernoulli(3), Bernoulli(4), Bernoulli(2), device='cpu', dtype='float64')"
