"""Networks: how layers chain, share, stand still and are copied; where their gradients add up, and the step over them."""

import json

import numpy as np
import pytest
from cases import assert_rounding, backward, gradient_of
from scipy.sparse import csr_array

from ebm.compute.device import CPU
from ebm.compute.random import Stream
from ebm.training import SGD, Adam
from ebm.training.penalties import SparsityTarget
from neural.gradient import Gradient
from neural.layers import BatchNorm, Conv2D, Dense, Dropout, Layer, ReLU, Reshape, Sigmoid, Tanh
from neural.losses import BinaryCrossEntropy, SquaredError
from neural.network import Network
from neural.step import Step


def small(dtype="float64", **options):
    return Network([Dense(5), Tanh(), Dense(3), Sigmoid(), Dense(2)], 4, device="cpu", dtype=dtype, **options)


def rows(*shape, dtype=np.float64):
    return np.random.default_rng(1).normal(size=shape).astype(dtype)


class Recorder(Layer):
    """Hands on what it gets, and remembers it."""

    def __init__(self):
        super().__init__()
        self.forward_rows, self.backward_rows = [], []

    def shape_after(self, inputs):
        return inputs

    def forward(self, x, training):
        self.forward_rows.append(x.shape[0])

        def backprop(dy, gradient=None, through=True):
            self.backward_rows.append(dy.shape[0])
            return dy

        return x, backprop


# The chain.


def test_layers_follow_each_other():
    network, x = small(), rows(7, 4)
    y, backprop = network(x)
    by_hand, passes = x, []
    for layer in network.layers:
        by_hand, one = layer(by_hand)
        passes.append(one)
    np.testing.assert_array_equal(y, by_hand)
    dy = d = rows(7, 2)
    for one in reversed(passes):
        d = one(d)
    np.testing.assert_array_equal(backprop(dy), d)
    assert network.outputs == (2,)
    assert list(network.parameters) == [f"{k}.{name}" for k in (0, 2, 4) for name in ("weights", "bias")]


def test_a_part_of_a_network_is_a_network():
    network, x = small(), rows(7, 4)
    code, back_to_inputs = network(x, last=2)
    z, back_to_code = network(code, first=2)
    y, backprop = network(x)
    np.testing.assert_array_equal(z, y)
    dy, gradient, whole = rows(7, 2), gradient_of(network), gradient_of(network)
    np.testing.assert_array_equal(back_to_inputs(back_to_code(dy, gradient), gradient), backprop(dy, whole))
    np.testing.assert_array_equal(gradient.target.buffer, whole.target.buffer)


def test_the_message_shows_the_chain():
    with pytest.raises(ValueError, match=r"layer 3 does not fit: found images 2 x 2 before Conv2D") as found:
        Network([Reshape(4, 4, 1), Conv2D(6, 3), ReLU(), Conv2D(2, 3), Dense(1)], 16, device="cpu")
    assert str(found.value).endswith(
        "the chain so far: (16,) -> Reshape(4, 4, 1) -> (4, 4, 1) -> Conv2D(channels=6, kernel=3) -> (2, 2, 6) -> ReLU() -> "
        "(2, 2, 6) -> Conv2D(channels=2, kernel=3)"
    )


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [Dense(3), Dense(5, tied_to=0)],
            r"found weights \(4, 3\) of layer 0 for Dense\(size=5, tied_to=0\) after rows of 3; ",
        ),
        ([Dense(3), Dense(4, tied_to=1)], r"layer 1, Dense\(size=4, tied_to=1\): found no weights in layer 1; "),
        ([Dense(3), Tanh(), Dense(4, tied_to=1)], r"found no weights in layer 1; expected an earlier Dense with its own"),
        ([Dense(3), Dense(4, tied_to=0), Dense(3, tied_to=1)], r"layer 2, .* found no weights in layer 1; "),
        ([Dense(3), Dense(4, tied_to=-1)], r"found no weights in layer -1; "),
        ([Dense(3, tied_to=1), Dense(4)], r"layer 0, .* found no weights in layer 1; expected an earlier Dense"),
    ],
)
def test_ties_that_do_not_fit_are_refused(layers, message):
    with pytest.raises(ValueError, match=message + r"(.|\n)*the chain: \(4,\) -> Dense\(size=3.*\) -> \(3,\) -> "):
        Network(layers, 4, device="cpu")


def test_bad_networks_are_refused():
    with pytest.raises(ValueError, match="found no layers; expected at least one"):
        Network([], 4, device="cpu")
    with pytest.raises(TypeError, match="found dtype='float16'; expected 'float32' or 'float64'"):
        Network([Dense(3)], 4, device="cpu", dtype="float16")
    for wrong in ("relu", Dense):
        with pytest.raises(TypeError, match=r"among the layers; expected layers of neural.layers, such as Dense\(10\)"):
            Network([wrong], 4, device="cpu")
    with pytest.raises(ValueError, match="found inputs=0; expected a whole number of at least 1"):
        Network([Dense(3)], 0, device="cpu")
    with pytest.raises(ValueError, match="found shape=-1; expected a whole number of at least 1"):
        Reshape(-1, 8, 1)
    with pytest.raises(ValueError, match=r"BatchNorm\(momentum=5, .*expected 0 < momentum <= 1"):
        BatchNorm(momentum=5)
    network = Network([Dense(3)], 4, device="cpu")
    for layer, number in ((0, 10), (10, 0)):
        with pytest.raises(ValueError, match="found layer 10 of 1; expected 0 to 0"):
            network.copy_layer_(layer, network, number)


def test_described_layers_serve_many_networks():
    layers = [Dense(3), Dense(4, tied_to=0)]
    first, second = (Network(layers, 4, device="cpu") for _ in range(2))
    first.parameters.buffer[...] = 0
    assert second.parameters["0.weights"].all()
    assert layers[0].own == {}
    assert repr(first) == ("Network(4 -> Dense(size=3) -> Dense(size=4, tied_to=0), device='cpu', dtype='float32')")
    assert repr(Network([ReLU()], (2, 3, 1), device="cpu")).startswith("Network((2, 3, 1) -> ReLU(), ")


# Shared weights.


def test_tied_layers_are_the_transposed_ones():
    tied = Network([Dense(3), Tanh(), Dense(4, tied_to=0)], 4, device="cpu", dtype="float64")
    untied = Network([Dense(3), Tanh(), Dense(4)], 4, device="cpu", dtype="float64")
    assert list(tied.parameters) == ["0.weights", "0.bias", "2.bias"]
    untied.copy_layer_(0, tied, 0)
    untied.parameters["2.weights"][...] = tied.parameters["0.weights"].T
    x, dy = rows(6, 4), rows(6, 4)
    (y, dx, found), (z, dz, parts) = (backward(network, x, dy, False) for network in (tied, untied))
    np.testing.assert_allclose(y, z, rtol=1e-13)
    np.testing.assert_allclose(dx, dz, rtol=1e-13)
    np.testing.assert_allclose(found["0.weights"], parts["0.weights"] + parts["2.weights"].T, rtol=1e-13)
    np.testing.assert_allclose(found["2.bias"], parts["2.bias"], rtol=1e-13)


# Standing still.


def test_frozen_layers_get_no_gradient():
    network, x, dy = small(), rows(7, 4), rows(7, 2)
    free = backward(network, x, dy, False)
    network.freeze(0, 4)
    _, dx, found = backward(network, x, dy, False)
    np.testing.assert_array_equal(dx, free[1])
    for name, value in found.items():
        np.testing.assert_array_equal(value, free[2][name] if name.startswith("2.") else np.zeros_like(value))
    network.freeze(0, 4, frozen=False)
    for name, value in backward(network, x, dy, False)[2].items():
        np.testing.assert_array_equal(value, free[2][name])
    with pytest.raises(ValueError, match=r"found layer 5 of 5; expected 0 to 4"):
        network.freeze(5)


def test_frozen_weights_that_are_shared_get_no_gradient_from_either():
    network = Network([Dense(3), Dense(4, tied_to=0)], 4, device="cpu", dtype="float64")
    network.freeze(0)
    gradients = backward(network, rows(5, 4), rows(5, 4), False)[2]
    assert {name for name, value in gradients.items() if value.any()} == {"1.bias"}


def test_nothing_goes_back_below_the_lowest_layer_that_learns():
    layers = [Recorder(), Dense(3), Recorder(), Dense(3), Recorder(), Dense(2)]
    network = Network(layers, 4, device="cpu")
    below, between, above = (network.layers[k] for k in (0, 2, 4))

    def steps(**options):
        backprop = network(rows(6, 4, dtype=np.float32), **options)[1]
        backprop(rows(6, 2, dtype=np.float32), gradient_of(network), through=False)
        found = [len(layer.backward_rows) for layer in (below, between, above)]
        for layer in (below, between, above):
            layer.backward_rows.clear()
        return found

    assert (network.fixed, steps()) == (1, [0, 1, 1])
    network.freeze(1)
    assert (network.fixed, steps()) == (3, [0, 0, 1])
    network.freeze(3)
    assert (network.fixed, steps()) == (5, [0, 0, 0])
    network.freeze(5)
    assert (network.fixed, steps()) == (6, [0, 0, 0])
    # dL/dx is had all the way where it is asked for
    assert network(rows(6, 4, dtype=np.float32))[1](rows(6, 2, dtype=np.float32)).shape == (6, 4)
    assert below.backward_rows == [6]


def test_running_means_stand_still_with_their_layer():
    network, x = Network([Dense(3), BatchNorm(), Dropout(0.5)], 4, device="cpu", dtype="float64"), rows(8, 4)
    network(x, Stream(1))
    network.freeze(0, 1)
    before = network.parameters.buffer.copy()
    y = network(x, Stream(1))[0]
    np.testing.assert_array_equal(network.parameters.buffer, before)
    kept = y != 0
    assert 0 < kept.mean() < 1  # what has no parameters goes on
    np.testing.assert_allclose(y[kept], 2 * network(x)[0][kept], rtol=1e-13)
    network.freeze(1, frozen=False)
    network(x, Stream(1))
    assert (network.parameters["1.mean"] != before[network.parameters.segments["1.mean"].start :][:3]).all()
    assert network.parameters.segments["1.mean"].frozen  # no gradient's business


# Rows on the host.


@pytest.mark.parametrize("form", [np.asarray, csr_array, lambda x: x.astype(np.float32)])
def test_data_sets_are_evaluated_in_blocks(form):
    network, x = Network([Recorder(), Dense(3)], 4, device="cpu", dtype="float64"), np.sign(rows(2500, 4))
    y = network(x)[0]
    seen = network.layers[0].forward_rows
    seen.clear()
    found = network.evaluate(form(x))
    np.testing.assert_allclose(found, y, rtol=1e-12, atol=1e-14)
    assert seen == [1000, 1000, 500]
    assert network.evaluate(form(x)[:0]).shape == (0, 3)


def test_blocks_of_wide_layers_are_smaller():
    network = Network([Recorder(), Reshape(60, 60, 1), Conv2D(4, 1)], 3600, device="cpu")
    y = network.evaluate(np.zeros((1000, 3600), np.uint8), last=2)
    assert y.shape == (1000, 60, 60, 1)
    assert max(network.layers[0].forward_rows) * 60 * 60 * 4 <= 10**7


def test_parts_are_evaluated():
    network, x = small(), rows(30, 4)
    np.testing.assert_allclose(network.evaluate(network.evaluate(x, last=2), first=2), network(x)[0], rtol=1e-12)
    images = Network([Conv2D(2, 3), Reshape(8)], (4, 4, 1), device="cpu", dtype="float64")
    np.testing.assert_array_equal(images.evaluate(x.reshape(-1)[:48].reshape(3, 16)).shape, (3, 8))


def test_rows_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"found rows of shape \(5,\) before layer 0; expected \(4,\)"):
        small().evaluate(np.zeros((3, 5)))
    with pytest.raises(ValueError, match=r"found rows of shape \(4,\) before layer 2; expected \(5,\)"):
        small().evaluate(np.zeros((3, 4)), first=2)
    with pytest.raises(ValueError, match=r"Dense\(size=5\): found x of shape \(3, 5\); expected \(rows, 4\)"):
        small()(np.zeros((3, 5)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_networks_are_the_same_on_every_device(device, dtype):
    layers = [Dense(5), Tanh(), Dense(4, tied_to=0), Reshape(2, 2, 1), Conv2D(3, 2), Reshape(3)]
    here, there = (Network(layers, 4, device=d, dtype=dtype, seed=5) for d in (CPU, device))
    assert there.device is device
    assert_rounding(there.evaluate(rows(9, 4)), here.evaluate(rows(9, 4)))


# Copies.


def test_layers_move_between_networks(device):
    target, source = Network([Tanh(), Dense(5)], 4, device=device, dtype="float32"), small(seed=3)
    target.copy_layer_(1, source, 0)
    for name, value in source.layers[0].own.items():
        np.testing.assert_array_equal(device.to_host(target.layers[1].own[name]), value.astype(np.float32))
    target.parameters["1.bias"][...] = 7
    assert not source.parameters["0.bias"].any()


def test_layers_of_another_shape_do_not():
    with pytest.raises(ValueError, match=r"found parameters {'weights': \(5, 3\), .*} in layer 2 of the source; layer 0 has {"):
        small().copy_layer_(0, small(), 2)
    with pytest.raises(ValueError, match=r"found parameters {} in layer 1 of the source; layer 0 has {'weights': \(4, 5\)"):
        small().copy_layer_(0, small(), 1)


def test_other_parameters_make_another_network():
    network = Network([Dense(3), BatchNorm(), Dense(4, tied_to=0)], 4, device="cpu", dtype="float64")
    parameters = network.parameters.over(network.parameters.buffer.copy())
    other = network.with_parameters(parameters)
    before = network(rows(6, 4))[0]
    np.testing.assert_array_equal(other(rows(6, 4))[0], before)
    parameters["0.weights"][...] *= 2
    np.testing.assert_array_equal(network(rows(6, 4))[0], before)
    assert (other(rows(6, 4))[0] != before).any()
    assert np.shares_memory(other.layers[2].own["weights"], parameters.buffer)
    assert np.shares_memory(network.layers[2].own["weights"], network.parameters.buffer)


def test_a_file_holds_what_makes_the_network():
    network = Network([Conv2D(2, 3, padding=1), BatchNorm(), Reshape(32), Dense(3)], (4, np.int64(4), 1), device="cpu")
    network.freeze(0)
    again = Network.from_config(json.loads(json.dumps(network.config())), CPU)
    again.parameters.load_state_dict(network.parameters.state_dict())
    assert (repr(again), again.inputs, again.dtype) == (repr(network), (4, 4, 1), network.dtype)
    assert {n: s.frozen for n, s in again.parameters.segments.items()} == {
        n: s.frozen for n, s in network.parameters.segments.items()
    }
    x = rows(3, 4, 4, 1, dtype=np.float32)
    np.testing.assert_array_equal(again(x)[0], network(x)[0])


# Gradients.


def test_the_first_part_scales_what_was_there_and_those_after_it_add():
    network = Network([Dense(3), Dense(3), Dense(3)], 3, device="cpu", dtype="float64")
    before, (a, b, c) = rows(3, 3), rows(3, 3, 3)
    network.freeze(2)
    gradient = gradient_of(network, beta=0.5)
    for name in gradient.target:
        gradient.target[name][...] = before if name.endswith("weights") else before[0]
    gradient.add("0.weights", a)
    gradient.add_product("0.weights", b, c)
    gradient.add_product("1.weights", b, c)
    gradient.add("1.weights", a)
    gradient.add("2.weights", a)
    gradient.add_product("2.weights", b, c)
    gradient.finish()
    gradient.finish()
    np.testing.assert_allclose(gradient.target["0.weights"], before / 2 + a + b @ c, rtol=1e-13)
    np.testing.assert_allclose(gradient.target["1.weights"], before / 2 + a + b @ c, rtol=1e-13)
    np.testing.assert_array_equal(gradient.target["2.weights"], before)  # it stands still
    np.testing.assert_array_equal(gradient.target["0.bias"], before[0] / 2)
    gradient.add("0.bias", a[0])
    np.testing.assert_allclose(gradient.target["0.bias"], before[0] / 2 + a[0], rtol=1e-13)


def test_without_momentum_what_was_there_does_not_matter():
    network = Network([Dense(3), Dense(3)], 3, device="cpu", dtype="float64")
    gradient = gradient_of(network)
    gradient.target.buffer[...] = np.nan
    gradient.add_product("0.weights", np.eye(3), np.eye(3))
    gradient.add("0.bias", np.ones(3))
    gradient.finish()
    np.testing.assert_array_equal(gradient.target["0.weights"], np.eye(3))
    np.testing.assert_array_equal(gradient.target["0.bias"], np.ones(3))
    assert not gradient.target["1.weights"].any()
    assert not gradient.target["1.bias"].any()


# Steps.


def objective_of(network, loss):
    def objective(batch, stream, gradient):
        x, target = batch
        z, backprop = network(x, stream)
        values, slope = loss(z, target)
        slope *= slope.dtype.type(1 / x.shape[0])
        backprop(slope, gradient, through=False)
        return {"loss": values.mean()}

    return objective


def test_momentum_adds_up_in_the_velocity():
    network, by_hand = small(), small()
    loss, x, target = SquaredError(), rows(8, 4), rows(8, 2)
    network.freeze(2)
    step = Step(network.parameters, objective_of(network, loss), SGD(0.05, momentum=0.8), steps_per_epoch=10)
    velocity, still = (
        np.zeros_like(network.parameters.buffer),
        [network.parameters[f"2.{n}"].copy() for n in ("weights", "bias")],
    )
    for _ in range(3):
        y, backprop = by_hand(x)
        values, slope = loss(y, target)
        gradient = Gradient(by_hand.parameters.zeros_like())
        backprop(slope / 8, gradient)
        velocity = 0.8 * velocity + gradient.target.buffer
        by_hand.parameters.buffer[...] -= 0.05 * velocity
        for view, value in zip((by_hand.parameters[f"2.{n}"] for n in ("weights", "bias")), still, strict=True):
            view[...] = value
        assert step((x, target))["loss"] == pytest.approx(values.mean(), rel=1e-13)
        np.testing.assert_allclose(network.parameters.buffer, by_hand.parameters.buffer, rtol=1e-12, atol=1e-15)
    assert not any(step.update.gradient[f"2.{n}"].any() for n in ("weights", "bias"))  # nothing was computed for it
    assert step.step == 3


def test_momentum_goes_on_where_a_batch_adds_nothing():
    network = small()
    whole, before = objective_of(network, SquaredError()), network.parameters.buffer.copy()
    step = Step(
        network.parameters,
        lambda batch, stream, gradient: whole(batch, stream, gradient) if batch else {},
        SGD(0.05, momentum=0.8),
        steps_per_epoch=10,
    )
    step((rows(8, 4), rows(8, 2)))
    first = network.parameters.buffer - before
    step(None)
    np.testing.assert_allclose(network.parameters.buffer - before, 1.8 * first, rtol=1e-10, atol=1e-15)


def test_noise_differs_from_step_to_step_at_the_same_offset():
    network, seen = Network([Dropout(0.5), Dense(1)], 64, device="cpu"), []

    def objective(batch, stream, gradient):
        offset = stream.take(0)[1]  # what a captured step has in it
        seen.append((offset, network(batch, stream, last=1)[0].copy()))
        return {}

    step = Step(network.parameters, objective, SGD(), steps_per_epoch=10, seed=1)
    for _ in range(2):
        step(np.ones((2, 64), np.float32))
    assert seen[0][0] == seen[1][0] == 0
    assert (seen[0][1] != seen[1][1]).any()


@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.5), Adam(1e-2)], ids=repr)
def test_a_step_never_waits_and_learns_the_same(device, optimizer):
    layers = [Reshape(4, 4, 1), Conv2D(3, 3), BatchNorm(), ReLU(), Dropout(0.2), Reshape(12), Dense(5), Tanh()]
    layers += [Dense(12, tied_to=6), Dense(16)]
    found = []
    for where in (CPU, device):
        network = Network(layers, 16, device=where)
        step = Step(network.parameters, objective_of(network, BinaryCrossEntropy()), optimizer, steps_per_epoch=10, seed=1)
        x = where.asarray((rows(20, 16) > 0).astype(np.float32))
        batch = (x, x)
        step(batch)
        copies = getattr(where, "syncs", 0), getattr(where, "uploads", 0)
        losses = [step(batch)["loss"] * 1 for _ in range(3)]
        assert (getattr(where, "syncs", 0), getattr(where, "uploads", 0)) == copies
        found.append(np.array([where.to_host(loss) for loss in losses]))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)
    assert found[0][-1] < found[0][0]


def test_only_optimizers_and_penalties_of_networks_make_steps():
    network = small()
    with pytest.raises(TypeError, match=r"found optimizer=<class .*Adam'>; expected an optimizer, such as SGD\(0.1\)"):
        Step(network.parameters, objective_of(network, SquaredError()), Adam, steps_per_epoch=1)
    with pytest.raises(TypeError, match=r"a penalty of machines; .*for codes write one of neural\.penalties"):
        Step(
            network.parameters, objective_of(network, SquaredError()), SGD(), steps_per_epoch=1, penalties=[SparsityTarget(0.1)]
        )
