"""Convolutions against their definition, as adjoints of each other, and what sizes they refuse."""

import itertools

import numpy as np
import pytest
from cases import assert_rounding, backward, gradient_of
from scipy.signal import correlate2d

from neural.layers import Conv2D, ConvTranspose2D, MaxPool, ReLU, Reshape, Upsample
from neural.network import Network

# kernel, stride, padding, image
WINDOWS = [
    (1, 1, 0, (3, 2)),
    (3, 1, 0, (4, 5)),
    (3, 1, 1, (4, 3)),
    (4, 2, 1, (6, 4)),
    (2, 3, 0, (5, 8)),
    (3, 2, 2, (3, 5)),
    (2, 1, 2, (1, 1)),
]
windows = pytest.mark.parametrize(("kernel", "stride", "padding", "image"), WINDOWS)


def images(*shape):
    return np.random.default_rng(1).normal(size=shape)


@windows
def test_convolution_is_that_of_scipy(kernel, stride, padding, image):
    network = Network([Conv2D(3, kernel, stride=stride, padding=padding)], (*image, 2), device="cpu", dtype="float64")
    network.parameters["0.bias"][...] = bias = [1.0, 2.0, 3.0]
    x = images(2, *image, 2)
    y, _ = network(x)
    framed = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    weights = network.parameters["0.weights"].reshape(kernel, kernel, 2, 3)
    for row, out in itertools.product(range(2), range(3)):
        whole = sum(correlate2d(framed[row, :, :, c], weights[:, :, c, out], mode="valid") for c in range(2))
        assert_rounding(y[row, :, :, out], whole[::stride, ::stride] + bias[out])


@windows
def test_the_transpose_is_the_adjoint(kernel, stride, padding, image):
    down = Network([Conv2D(3, kernel, stride=stride, padding=padding, bias=False)], (*image, 2), device="cpu", dtype="float64")
    transpose = ConvTranspose2D(2, kernel, stride=stride, padding=padding, bias=False)
    up = Network([transpose], down.outputs, device="cpu", dtype="float64")
    assert up.outputs == (*image, 2)
    up.parameters["0.weights"][...] = down.parameters["0.weights"].T
    x, y = images(2, *image, 2), images(2, *down.outputs)
    assert (down(x)[0] * y).sum() == pytest.approx((x * up(y)[0]).sum(), rel=1e-12)
    np.testing.assert_allclose(up(y)[0], down(x)[1](y), rtol=1e-12, atol=1e-12)


def test_rows_do_not_hear_each_other():
    layers = [Conv2D(2, 3, padding=1), ReLU(), MaxPool(2), ConvTranspose2D(3, 2, stride=2), Upsample(2)]
    network, x = Network(layers, (4, 6, 1), device="cpu", dtype="float64"), images(5, 4, 6, 1)
    y = network(x)[0]
    for row in range(5):
        np.testing.assert_allclose(network(x[row : row + 1])[0], y[row : row + 1], rtol=1e-12)


def test_a_convolutional_autoencoder_comes_back_to_the_image():
    layers = [Reshape(28, 28, 1), Conv2D(4, 4, stride=2, padding=1), ReLU(), Conv2D(2, 3, stride=2, padding=0)]
    layers += [ConvTranspose2D(4, 4, stride=2), ReLU(), ConvTranspose2D(1, 2, stride=2), Reshape(784)]
    with pytest.raises(ValueError, match=r"found images 14 x 14 before Conv2D\(channels=2, kernel=3, stride=2\)"):
        Network(layers, 784, device="cpu")
    layers[3] = Conv2D(2, 4, stride=2)
    assert Network(layers, 784, device="cpu").outputs == (784,)


def test_transposed_arrays_are_taken_too():
    network, x = Network([Conv2D(2, 3), ReLU(), MaxPool(2)], (6, 4, 3), device="cpu", dtype="float64"), images(3, 6, 4, 5)
    turned = np.ascontiguousarray(x.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)[..., :3]
    np.testing.assert_array_equal(network(turned)[0], network(np.ascontiguousarray(x[..., :3]))[0])


# Pooling and upsampling.


def test_pooling_takes_the_largest():
    x = images(2, 5, 7, 3)
    y, _ = Network([MaxPool(3, stride=2)], (5, 7, 3), device="cpu", dtype="float64")(x)
    for i, j in itertools.product(range(2), range(3)):
        np.testing.assert_array_equal(y[:, i, j], x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max(axis=(1, 2)))


def test_the_first_of_equals_gets_the_derivative():
    network = Network([MaxPool(2)], (2, 4, 1), device="cpu", dtype="float64")
    x = np.array([[[0, 3, 1, 1], [3, 3, 1, 1]]], float).reshape(1, 2, 4, 1)
    dx = network(x)[1](np.array([5.0, 7.0]).reshape(1, 1, 2, 1))
    np.testing.assert_array_equal(dx.reshape(2, 4), [[0, 5, 7, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize("place", range(4))
def test_pooling_does_not_hide_what_is_no_number(place):
    x = np.zeros((1, 2, 2, 1), np.float32)
    x.reshape(4)[place] = np.nan
    with np.errstate(invalid="ignore"):
        assert np.isnan(Network([MaxPool(2)], (2, 2, 1), device="cpu")(x)[0]).all()


def test_upsampling_repeats():
    x = images(2, 3, 2, 4)
    y, backprop = Network([Upsample(2)], (3, 2, 4), device="cpu", dtype="float64")(x)
    np.testing.assert_array_equal(y, x.repeat(2, axis=1).repeat(2, axis=2))
    np.testing.assert_allclose(backprop(y), 4 * x, rtol=1e-15)


# Weights.


def test_what_a_number_depends_on_sets_the_weights():
    class Fans:
        def fill_(self, weights, fan_in, fan_out, stream):
            self.found = fan_in, fan_out

    down, up = Fans(), Fans()
    Network([Conv2D(8, 4, stride=2, initial=down), ConvTranspose2D(5, 4, stride=2, initial=up)], (8, 8, 3), device="cpu")
    assert down.found == (16 * 3, 4 * 8)
    assert up.found == (4 * 8, 16 * 5)


def test_activations_keep_their_size_from_layer_to_layer():
    layers = [Conv2D(32, 4, stride=2), ConvTranspose2D(32, 4, stride=2), Conv2D(32, 3), ConvTranspose2D(32, 3)]
    x = np.random.default_rng(2).normal(size=(4, 30, 30, 32)).astype(np.float32)
    network = Network(layers, (30, 30, 32), device="cpu")
    for k in range(len(layers)):
        inner = network(x, last=k + 1)[0][:, 4:-4, 4:-4]
        assert 0.4 < inner.std() < 1.6


def test_bfloat16_rounds_the_operands_of_products():
    x = images(2, 6, 6, 2).astype(np.float32)
    for layer in (Conv2D, ConvTranspose2D):
        exact, rounded = (
            Network([layer(3, 4, stride=2, padding=1, precision=p)], (6, 6, 2), device="cpu") for p in (None, "bfloat16")
        )
        y = exact(x)[0]
        for a, b in zip(backward(exact, x, y, False)[:2], backward(rounded, x, y, False)[:2], strict=True):
            assert 1e-4 < np.abs(a - b).max() / np.abs(a).max() < 0.02
        gradients = []
        for network in (exact, rounded):
            gradient = gradient_of(network)
            network(x)[1](y, gradient)
            gradients.append(gradient.target["0.weights"])
        assert 1e-4 < np.abs(gradients[0] - gradients[1]).max() / np.abs(gradients[0]).max() < 0.02


# Bad input.

REFUSED = {
    "a stride that leaves a pixel": (
        [Conv2D(2, 4, stride=2, padding=1)],
        (7, 7, 1),
        r"found images 7 x 7 before Conv2D\(channels=2, kernel=4, stride=2, padding=1\); expected sizes with \(size \+ 2 - 4\) "
        r"divisible by the stride 2, over are 1 x 1 pixels: write kernel=5, or crop them to 6 x 6",
    ),
    "in one direction": ([Conv2D(2, 2, stride=2)], (4, 5, 1), r"over are 0 x 1 pixels: crop them to 4 x 4"),
    "nothing to crop": ([Conv2D(2, 2, stride=3, padding=1)], (1, 2, 1), r"over are 1 x 2 pixels: write stride=1"),
    "a pool": (
        [MaxPool(2)],
        (7, 7, 1),
        r"found images 7 x 7 before MaxPool\(size=2\); .* write MaxPool\(3, 2\), or crop them to 6 x 6",
    ),
    "a kernel that is too large": (
        [Conv2D(2, 5, padding=1)],
        (4, 2, 1),
        r"found images 4 x 2 before Conv2D\(channels=2, kernel=5, padding=1\); expected at least 3 pixels each way",
    ),
    "a padding that leaves nothing": (
        [ConvTranspose2D(2, 2, padding=1)],
        (1, 3, 1),
        r"found images 1 x 3 before ConvTranspose2D\(.*\), which makes them 0 x 2; .* write a smaller padding",
    ),
    **{
        f"{type(layer).__name__} of vectors": (
            [layer],
            16,
            r"found rows of shape \(16,\) before .*; expected images \(height, width, channels\): put Reshape\(",
        )
        for layer in (Conv2D(1, 2), ConvTranspose2D(1, 2), MaxPool(), Upsample())
    },
}


@pytest.mark.parametrize(("layers", "inputs", "message"), REFUSED.values(), ids=REFUSED)
def test_sizes_that_do_not_fit_are_refused(layers, inputs, message):
    with pytest.raises(ValueError, match=message):
        Network(layers, inputs, device="cpu")


@pytest.mark.parametrize(("kernel", "stride", "padding"), list(itertools.product([1, 2, 3, 5], [1, 2, 3], [0, 1])))
def test_the_advice_is_good(kernel, stride, padding):
    for size in range(kernel, 9):
        try:
            Network([Conv2D(1, kernel, stride=stride, padding=padding)], (size, size, 1), device="cpu")
            if not padding:
                Network([MaxPool(kernel, stride)], (size, size, 1), device="cpu")
        except ValueError as error:
            advised = int(str(error).partition("write kernel=")[2].partition(",")[0])
            Network([Conv2D(1, advised, stride=stride, padding=padding)], (size, size, 1), device="cpu")
            if not padding:
                with pytest.raises(ValueError, match="write MaxPool") as found:
                    Network([MaxPool(kernel, stride)], (size, size, 1), device="cpu")
                pool = map(int, str(found.value).partition("write MaxPool(")[2].partition(")")[0].split(","))
                Network([MaxPool(*pool)], (size, size, 1), device="cpu")
            if "crop them to " in str(error):
                cropped = int(str(error).partition("crop them to ")[2].partition(" x")[0])
                Network([Conv2D(1, kernel, stride=stride, padding=padding)], (cropped, cropped, 1), device="cpu")


@pytest.mark.parametrize(
    ("make", "name", "least"),
    [
        (lambda n: Conv2D(n, 3), "channels", 1),
        (lambda n: Conv2D(3, n), "kernel", 1),
        (lambda n: ConvTranspose2D(3, 3, stride=n), "stride", 1),
        (lambda n: ConvTranspose2D(3, 3, padding=n), "padding", 0),
        (MaxPool, "size", 1),
        (lambda n: MaxPool(2, n), "stride", 1),
        (Upsample, "factor", 1),
    ],
)
@pytest.mark.parametrize("value", [-1, 1.5, "same"])
def test_windows_are_whole_numbers(make, name, least, value):
    with pytest.raises(ValueError, match=f"found {name}={value!r}; expected a whole number of at least {least}"):
        make(value)
