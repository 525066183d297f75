"""What every layer must do: the right derivative, PyTorch's numbers, the same on every device."""

import json

import numpy as np
import pytest
from cases import LAYER_CASES, ROWS, Case, assert_rounding, backward, directional, gradient_of, noise

from ebm.compute.device import CPU
from ebm.compute.random import Stream
from ebm.units import TYPES, Bernoulli, Gaussian, ReplicatedSoftmax
from ebm.units import Softmax as SoftmaxUnits
from neural.layers import LAYERS, BatchNorm, Dense, Dropout, Maxout, MaxPool, ReLU, Reshape, UnitMean, activation, from_config
from neural.network import Network

everywhere = pytest.mark.parametrize("case", LAYER_CASES.values(), ids=LAYER_CASES)
TORCH = {name: case for name, case in LAYER_CASES.items() if case.torch}
MODES = pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
REAL = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def test_every_layer_has_a_case():
    assert {name.partition(",")[0] for name in LAYER_CASES} == set(LAYERS)
    for name, case in LAYER_CASES.items():
        assert LAYERS[name.partition(",")[0]] in map(type, case.layers)
    # PyTorch has all but the means of Boltzmann machines, and the noise of its dropout is another
    assert set(LAYERS) - {name.partition(",")[0] for name in TORCH} == {"Dropout", "GaussianSample", "MeanField"}


def test_every_type_of_units_has_a_case():
    units = {type(case.layers[0].units) for name, case in LAYER_CASES.items() if name.startswith("UnitMean")}
    assert units == set(TYPES.values()) - {ReplicatedSoftmax}


@everywhere
@MODES
def test_backprop_is_the_derivative(case, training):
    network, (x, weights) = case.network(), case.rows()
    _, dx, gradients = backward(network, x, weights, training)
    learned = [name for name, segment in network.parameters.segments.items() if not segment.frozen]
    differences, along = directional(
        lambda: float((weights * network(x, noise(training))[0]).sum()),
        [x, *(network.parameters[name] for name in learned)],
        [dx, *(gradients[name] for name in learned)],
    )
    assert along == pytest.approx(differences, rel=1e-7, abs=1e-8)
    assert abs(along) > 1e-2


@everywhere
@MODES
def test_the_first_layer_needs_no_derivative_by_its_input(case, training):
    network, (x, weights) = case.network(), case.rows()
    given = weights.copy()
    _, dx, gradients = backward(network, x, weights, training)
    gradient = gradient_of(network)
    y, backprop = network(x, noise(training))
    before = y.copy()
    backprop(weights, gradient, through=False)
    for name, value in gradient.target.named_arrays().items():
        np.testing.assert_array_equal(value, gradients[name])
    # once more, and without the parameters: nothing of a call is used up, and neither dy nor y is overwritten
    np.testing.assert_array_equal(backprop(weights), dx)
    np.testing.assert_array_equal(weights, given)
    np.testing.assert_array_equal(y, before)


@pytest.mark.parametrize("case", TORCH.values(), ids=TORCH)
@MODES
@REAL
def test_pytorch_gives_the_same(case, training, dtype):
    torch = pytest.importorskip("torch")
    network, (x, weights) = case.network(dtype), case.rows(dtype)
    tensors = {name: torch.tensor(view.copy()) for name, view in network.parameters.named_arrays().items()}
    y, dx, gradients = backward(network, x, weights, training)
    for name, tensor in tensors.items():
        tensor.requires_grad_(not network.parameters.segments[name].frozen)
    inputs = torch.tensor(x, requires_grad=True)
    outputs = case.torch(torch, inputs, tensors, training)
    outputs.backward(torch.tensor(weights))
    assert_rounding(y, outputs.detach().numpy())
    assert_rounding(dx, inputs.grad.numpy())
    for name, tensor in tensors.items():
        if network.parameters.segments[name].frozen:
            assert_rounding(network.parameters[name], tensor.numpy())  # the running means
        else:
            assert_rounding(gradients[name], tensor.grad.numpy())


@everywhere
@MODES
def test_devices_agree_and_never_wait(case, training, device):
    network, (x, weights) = case.network(np.float32, device), case.rows(np.float32)
    expected = backward(case.network(np.float32), x, weights, training)
    stream, x, weights = noise(training, device), device.asarray(x), device.asarray(weights)
    gradient = gradient_of(network)
    copies = getattr(device, "syncs", 0), getattr(device, "uploads", 0)
    y, backprop = network(x, stream)
    dx = backprop(weights, gradient)
    assert (getattr(device, "syncs", 0), getattr(device, "uploads", 0)) == copies
    for found, value in zip((y, dx), expected[:2], strict=True):
        assert_rounding(device.to_host(found), value)
    for name, value in expected[2].items():
        assert_rounding(device.to_host(gradient.target[name]), value)


@everywhere
def test_outputs_are_contiguous_and_of_the_shape_that_was_said(case):
    network, (x, weights) = case.network(), case.rows()
    y, backprop = network(x)
    dx = backprop(weights)
    assert y.shape == (ROWS, *network.outputs)
    assert dx.shape == x.shape
    assert y.flags.c_contiguous
    assert dx.flags.c_contiguous


@pytest.mark.parametrize("name", LAYER_CASES)
@MODES
def test_no_rows_are_no_trouble(name, training):
    if training and name.startswith("BatchNorm"):
        pytest.skip("no rows have no variance")
    network, (x, _) = LAYER_CASES[name].network(), LAYER_CASES[name].rows()
    y, backprop = network(x[:0], noise(training))
    assert y.shape == (0, *network.outputs)
    assert backprop(y, gradient_of(network)).shape == (0, *network.inputs)


@everywhere
def test_layers_are_described_in_json(case):
    network, (x, _) = case.network(), case.rows()
    again = Network.from_config(json.loads(json.dumps(network.config())), CPU)
    assert list(map(repr, again.layers)) == list(map(repr, network.layers))
    again.parameters.buffer[...] = network.parameters.buffer
    np.testing.assert_array_equal(again(x)[0], network(x)[0])


def test_unknown_layers_are_refused():
    with pytest.raises(ValueError, match=r"found layer 'Attention'; this version knows \['BatchNorm'"):
        from_config({"layer": "Attention"})
    with pytest.raises(ValueError, match=r"found activation 'swish'; expected one of \['elu', 'leakyrelu'"):
        activation("swish")


def test_activations_have_names():
    assert isinstance(activation("relu"), ReLU)
    given = ReLU()
    assert activation(given) is given


@everywhere
def test_rows_of_another_shape_are_refused(case):
    network, (x, _) = case.network(), case.rows()
    layer = network.layers[0]
    with pytest.raises(ValueError, match=r"found x of shape \(5,.*; expected \(rows, "):
        layer(np.concatenate([x, x], axis=-1))


def test_a_layer_belongs_to_a_network():
    with pytest.raises(TypeError, match=r"write Network\(\[Dense\(size=3\)\], inputs=...\).layers\[0\]"):
        Dense(3)(np.zeros((2, 4)))


# Means of units.


@pytest.mark.parametrize("case", [case for name, case in LAYER_CASES.items() if name.startswith("UnitMean")])
def test_the_derivative_of_a_mean_is_the_variance(case):
    network, (x, _) = case.network(), case.rows()
    units = case.layers[0].units.bound(network.layers[0].own)
    backprop = network(x)[1]
    jacobian = np.stack([backprop(np.tile(row, (ROWS, 1))) for row in np.eye(units.size)], axis=1)
    np.testing.assert_allclose(np.diagonal(jacobian, axis1=1, axis2=2), units.variance(x), rtol=1e-12)
    np.testing.assert_allclose(jacobian, np.swapaxes(jacobian, 1, 2), rtol=1e-12)  # a covariance


def test_within_a_group_the_derivative_is_the_covariance():
    network = Network([UnitMean(SoftmaxUnits(3, groups=2))], 6, device="cpu", dtype="float64")
    x = np.random.default_rng(7).normal(size=(1, 6))
    y, backprop = network(x)
    found = np.stack([backprop(row[None])[0] for row in np.eye(6)])
    p = y.reshape(2, 3)
    expected = np.zeros((6, 6))
    for g in range(2):
        expected[3 * g : 3 * g + 3, 3 * g : 3 * g + 3] = np.diag(p[g]) - np.outer(p[g], p[g])
    np.testing.assert_allclose(found, expected, atol=1e-15)


def test_means_of_units_need_their_size_and_no_lengths():
    with pytest.raises(ValueError, match=r"found rows of shape \(4,\) before UnitMean\(Bernoulli\(5\)\); expected \(5,\)"):
        Network([UnitMean(Bernoulli(5))], 4, device="cpu")
    with pytest.raises(ValueError, match=r"needs the length of a document: write UnitMean\(Softmax\(9\)\)"):
        UnitMean(ReplicatedSoftmax(9))


def test_parameters_of_units_stand_still():
    network = Network([UnitMean(Gaussian(3, learn_variance=True))], 3, device="cpu")
    assert network.parameters.segments["0.log_precision"].frozen


# The largest of several.


def test_the_first_of_equal_numbers_gets_the_derivative():
    pool = Network([MaxPool(2, 1)], (2, 3, 1), device="cpu")
    dx = pool(np.ones((1, 2, 3, 1), np.float32))[1](np.array([2.0, 3.0], np.float32).reshape(1, 1, 2, 1))
    np.testing.assert_array_equal(dx[0, :, :, 0], [[2, 3, 0], [0, 0, 0]])

    network = Network([Maxout(2, 3)], 1, device="cpu")
    network.layers[0].own["weights"][...] = [[1, 5, 2, 5, 2, 5]]  # W_1, W_2, W_3 of two outputs each
    gradients = backward(network, np.ones((1, 1), np.float32), np.array([[7.0, 9.0]], np.float32), False)[2]
    np.testing.assert_array_equal(gradients["0.weights"], [[0, 9, 7, 0, 0, 0]])


# Dropout.


def test_dropout_keeps_the_mean():
    network, n = Network([Dropout(0.3)], 100, device="cpu"), 2000
    x = np.ones((n, 100), np.float32)
    y, backprop = network(x, Stream(1))
    kept = (y != 0).mean()
    assert abs(kept - 0.7) < 5 * np.sqrt(0.21 / y.size)
    np.testing.assert_allclose(y[y != 0], 1 / 0.7, rtol=1e-6)
    np.testing.assert_array_equal(backprop(x), y)  # what was dropped gets nothing
    assert network(x)[0] is x


def test_dropout_draws_anew_at_each_pass():
    network, x, stream = Network([Dropout()], 50, device="cpu"), np.ones((3, 50), np.float32), Stream(1)
    first, second = network(x, stream)[0], network(x, stream)[0]
    assert (first != second).any()
    assert (first[0] != first[1]).any()
    np.testing.assert_array_equal(network(x, Stream(1))[0], first)


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5])
def test_dropout_leaves_something(rate):
    with pytest.raises(ValueError, match=r"expected 0 <= rate < 1"):
        Dropout(rate)


# BatchNorm.


def test_batch_norm_normalizes_in_training_and_remembers():
    network, rng = Network([BatchNorm(momentum=0.25)], 3, device="cpu", dtype="float64"), np.random.default_rng(8)
    x = rng.normal([0, 5, -2], [1, 3, 0.5], (200, 3))
    y, _ = network(x, Stream(1))
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=0), 1, rtol=1e-4)
    np.testing.assert_allclose(network.parameters["0.mean"], 0.25 * x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(network.parameters["0.variance"], 0.75 + 0.25 * x.var(axis=0, ddof=1), rtol=1e-12)
    for _ in range(200):
        network(x, Stream(1))
    np.testing.assert_allclose(
        network(x)[0], (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0, ddof=1) + 1e-5), rtol=1e-9, atol=1e-9
    )


def test_batch_norm_does_not_remember_in_evaluation():
    network = Case([BatchNorm()], 4).network()
    before = network.parameters.buffer.copy()
    alone = network(np.full((1, 4), 2.0))[0]
    np.testing.assert_array_equal(network(np.stack([np.full(4, 2.0), np.zeros(4)]))[0][:1], alone)
    np.testing.assert_array_equal(network.parameters.buffer, before)


def test_one_row_has_no_variance():
    network = Network([BatchNorm()], 4, device="cpu")
    before = network.parameters.buffer.copy()
    with pytest.raises(
        ValueError, match="found one row in training, which has no variance; expected batches of two rows or more"
    ):
        network(np.ones((1, 4), np.float32), Stream(1))
    np.testing.assert_array_equal(network.parameters.buffer, before)
    images = Network([BatchNorm()], (2, 2, 4), device="cpu")
    assert np.isfinite(images(np.ones((1, 2, 2, 4), np.float32), Stream(1))[0]).all()  # four pixels have one


# Dense and Reshape.


def test_dense_takes_vectors():
    with pytest.raises(ValueError, match=r"expected vectors: put Reshape\(24\) before it"):
        Network([Dense(3)], (2, 3, 4), device="cpu")


def test_reshape_keeps_the_number_of_elements():
    with pytest.raises(ValueError, match=r"found rows of shape \(12,\), 12 elements, before Reshape\(3, 3\); expected 9"):
        Network([Reshape(3, 3)], 12, device="cpu")


@pytest.mark.parametrize("size", [0, 2.5, None])
def test_sizes_are_whole_numbers(size):
    with pytest.raises(ValueError, match="expected a whole number of at least 1"):
        Dense(size)


def test_bfloat16_rounds_the_operands_of_products():
    x, weights = np.float32(1 + 2**-7 + 2**-12), np.float32(3 + 2**-6 + 2**-10)
    network = Network([Dense(1, precision="bfloat16")], 1, device="cpu")
    network.parameters["0.weights"][...] = weights
    y, backprop = network(np.full((1, 1), x))
    gradient = gradient_of(network)
    dx = backprop(np.full((1, 1), x), gradient)
    assert y[0, 0] == dx[0, 0] == (1 + 2**-7) * (3 + 2**-6)
    assert gradient.target["0.weights"][0, 0] == (1 + 2**-7) ** 2
