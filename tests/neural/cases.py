"""The registry of layers and losses: what the gradient check, PyTorch and the devices are asked about. A further one joins by a case."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ebm import DBM
from ebm.compute.device import CPU
from ebm.compute.random import Stream
from ebm.units import Bernoulli, Gaussian, Joint
from ebm.units import ReLU as ReLUUnits
from ebm.units import Softmax as SoftmaxUnits
from neural.gradient import Gradient
from neural.layers import (
    ELU,
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    GaussianSample,
    Layer,
    LeakyReLU,
    Maxout,
    MaxPool,
    MeanField,
    ReLU,
    Reshape,
    Sigmoid,
    Softmax,
    Softplus,
    Tanh,
    UnitMean,
    Upsample,
)
from neural.losses import BinaryCrossEntropy, CategoricalCrossEntropy, GaussianLikelihood, Loss, SquaredError
from neural.network import Network

ROWS = 5


@dataclass
class Case:
    """Layers for rows of `inputs`, and the same function of tensors in PyTorch, (torch, x, parameters, training) -> y."""

    layers: Sequence[Layer]
    inputs: int | tuple[int, ...]
    torch: Callable[..., Any] | None = None
    # Of how many outputs the layer gives the derivative, if not of all.
    differentiable: int | None = None

    def network(self, dtype: Any = np.float64, device: Any = CPU) -> Network:
        """The layers with arbitrary parameters, none of them where training starts."""
        network = Network(self.layers, self.inputs, device=device, dtype=dtype)
        rng = np.random.default_rng(1)
        for name, view in network.parameters.named_arrays().items():
            values = rng.normal(0, 0.7, view.shape)
            view[...] = device.asarray(np.exp(values) if name.endswith("variance") else values, dtype)
        return network

    def rows(self, dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray]:
        """Inputs, and weights of the outputs that make them one number."""
        rng = np.random.default_rng(2)
        network = Network(self.layers, self.inputs, device=CPU)
        weights = rng.normal(size=(ROWS, *network.outputs))
        if self.differentiable is not None:
            weights[:, self.differentiable :] = 0
        return rng.normal(size=(ROWS, *network.inputs)).astype(dtype), weights.astype(dtype)


def noise(training: bool, device: Any = CPU) -> Stream | None:
    """The stream that makes a pass one of training, always at the same draw."""
    if not training:
        return None
    stream = Stream(5, "noise", device)
    stream.seek_(3)
    return stream


def gradient_of(network: Network, beta: float = 0.0) -> Gradient:
    """Where a backward pass adds to."""
    parameters = network.parameters
    return Gradient(parameters.over(parameters.device.zeros(parameters.buffer.shape, parameters.dtype)), beta)


def backward(network: Network, x: Any, dy: Any, training: bool) -> tuple[Any, Any, dict[str, Any]]:
    """y, dL/dx and dL/dparameters by name."""
    y, backprop = network(x, noise(training, network.device))
    gradient = gradient_of(network)
    dx = backprop(dy, gradient)
    return y, dx, gradient.target.named_arrays()


def directional(
    value: Callable[[], float], arrays: Sequence[np.ndarray], gradients: Sequence[np.ndarray]
) -> tuple[float, float]:
    """The derivative of `value` along one random direction of the arrays, which it reads: by central differences, by the gradients."""
    rng, h = np.random.default_rng(3), 1e-5
    directions = [rng.normal(size=array.shape) for array in arrays]
    values = []
    for move in (h, -2 * h):
        for array, direction in zip(arrays, directions, strict=True):
            array += move * direction
        values.append(value())
    for array, direction in zip(arrays, directions, strict=True):
        array += h * direction
    along = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
    return (values[0] - values[1]) / (2 * h), along


def assert_rounding(found: Any, expected: Any, factor: float = 50) -> None:
    """Equality up to the rounding of sums of numbers as large as the largest that is expected."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    tolerance = factor * np.finfo(found.dtype).eps * max(1, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def _first(images: Any) -> Any:
    return images.permute(0, 3, 1, 2)


def _last(images: Any) -> Any:
    return images.permute(0, 2, 3, 1)


def _convolution(kernel: int, **options: int) -> Callable[..., Any]:
    def function(torch: Any, x: Any, p: dict[str, Any], training: bool) -> Any:
        weights = p["0.weights"].reshape(kernel, kernel, x.shape[3], -1).permute(3, 2, 0, 1)
        return _last(torch.nn.functional.conv2d(_first(x), weights, p.get("0.bias"), **options))

    return function


def _transposed(kernel: int, **options: int) -> Callable[..., Any]:
    def function(torch: Any, x: Any, p: dict[str, Any], training: bool) -> Any:
        weights = p["0.weights"].reshape(x.shape[3], kernel, kernel, -1).permute(0, 3, 1, 2)
        return _last(torch.nn.functional.conv_transpose2d(_first(x), weights, p.get("0.bias"), **options))

    return function


def _batch_norm(torch: Any, x: Any, p: dict[str, Any], training: bool) -> Any:
    rows = x.reshape(-1, x.shape[-1])
    own = [p[f"0.{name}"] for name in ("mean", "variance", "scale", "shift")]
    return torch.nn.functional.batch_norm(rows, *own, training, 0.2, 1e-3).reshape(x.shape)


def _tied(torch: Any, x: Any, p: dict[str, Any], training: bool) -> Any:
    h = torch.tanh(torch.nn.functional.linear(x, p["0.weights"].T, p["0.bias"]))
    return torch.nn.functional.linear(h, p["0.weights"], p["2.bias"])


def _maxout(torch: Any, x: Any, p: dict[str, Any], training: bool) -> Any:
    z = torch.nn.functional.linear(x, p["0.weights"].T, p["0.bias"])
    return torch.stack(z.chunk(4, dim=1)).amax(dim=0)


def _pool(*window: int) -> Callable[..., Any]:
    return lambda torch, x, p, training: _last(torch.nn.functional.max_pool2d(_first(x), *window))


def _function(name: str, *arguments: Any) -> Callable[..., Any]:
    return lambda torch, x, p, training: getattr(torch.nn.functional, name)(x, *arguments)


# By the name of the layer's type, and what is special about it.
LAYER_CASES = {
    "BatchNorm": Case([BatchNorm(momentum=0.2, epsilon=1e-3)], 4, _batch_norm),
    "BatchNorm, images": Case([BatchNorm(momentum=0.2, epsilon=1e-3)], (3, 2, 4), _batch_norm),
    "Conv2D": Case([Conv2D(3, 3)], (5, 4, 2), _convolution(3)),
    "Conv2D, stride and padding": Case(
        [Conv2D(2, 4, stride=2, padding=1, bias=False)], (6, 4, 3), _convolution(4, stride=2, padding=1)
    ),
    "Conv2D, gaps": Case([Conv2D(2, 2, stride=3)], (5, 8, 1), _convolution(2, stride=3)),
    "ConvTranspose2D": Case([ConvTranspose2D(3, 3)], (3, 2, 2), _transposed(3)),
    "ConvTranspose2D, stride and padding": Case(
        [ConvTranspose2D(2, 4, stride=2, padding=1, bias=False)], (3, 2, 3), _transposed(4, stride=2, padding=1)
    ),
    "ConvTranspose2D, gaps": Case([ConvTranspose2D(2, 2, stride=3)], (2, 3, 1), _transposed(2, stride=3)),
    "Dense": Case([Dense(3)], 4, lambda torch, x, p, training: torch.nn.functional.linear(x, p["0.weights"].T, p["0.bias"])),
    "Dense, without bias": Case([Dense(3, bias=False)], 4, lambda torch, x, p, training: x @ p["0.weights"]),
    "Dense, tied": Case([Dense(3), Tanh(), Dense(4, tied_to=0)], 4, _tied),
    "Dense, twice": Case(
        [Dense(3), Dense(2)], 4, lambda torch, x, p, training: (x @ p["0.weights"] + p["0.bias"]) @ p["1.weights"] + p["1.bias"]
    ),
    "Dropout": Case([Dropout(0.3)], 6),
    "Dropout, images": Case([Dropout(0.3)], (3, 2, 2)),
    "ELU": Case([ELU(0.7)], 4, _function("elu", 0.7)),
    "GaussianSample": Case([GaussianSample()], 6),
    "LeakyReLU": Case([LeakyReLU(0.1)], 4, _function("leaky_relu", 0.1)),
    "MaxPool": Case([MaxPool(2)], (4, 6, 3), _pool(2)),
    "MaxPool, overlapping": Case([MaxPool(3, stride=2)], (5, 7, 2), _pool(3, 2)),
    "Maxout": Case([Maxout(3, pieces=4)], 5, _maxout),
    "MeanField": Case([MeanField(DBM([4, 3, 2], device="cpu", dtype="float64").config(), hidden=2)], 4, differentiable=4),
    "ReLU": Case([ReLU()], 4, _function("relu")),
    "Reshape": Case([Reshape(2, 3, 2)], 12, lambda torch, x, p, training: x.reshape(-1, 2, 3, 2)),
    "Sigmoid": Case([Sigmoid()], 4, _function("sigmoid")),
    "Softmax": Case([Softmax()], 4, _function("softmax", -1)),
    "Softmax, images": Case([Softmax()], (2, 3, 4), _function("softmax", -1)),
    "Softplus": Case([Softplus()], 4, _function("softplus")),
    "Tanh": Case([Tanh()], 4, _function("tanh")),
    "UnitMean, Bernoulli": Case([UnitMean(Bernoulli(4))], 4, _function("sigmoid")),
    "UnitMean, Gaussian": Case(
        [UnitMean(Gaussian(4, learn_variance=True))], 4, lambda torch, x, p, training: x / p["0.log_precision"].exp()
    ),
    "UnitMean, ReLU": Case([UnitMean(ReLUUnits(4))], 4),
    "UnitMean, Softmax": Case(
        [UnitMean(SoftmaxUnits(3, groups=2))], 6, lambda torch, x, p, training: x.reshape(-1, 2, 3).softmax(2).reshape(-1, 6)
    ),
    "UnitMean, Joint": Case([UnitMean(Joint(2, SoftmaxUnits(3), Gaussian(2), SoftmaxUnits(2, groups=2)))], 11),
    "Upsample": Case(
        [Upsample(3)],
        (2, 3, 2),
        lambda torch, x, p, training: _last(torch.nn.functional.interpolate(_first(x), scale_factor=3, mode="nearest")),
    ),
}


@dataclass
class LossCase:
    """A loss, targets (rows, 4) for it, and the same in PyTorch: (torch, z, targets) -> the terms, (rows, 4), or their sums, (rows,)."""

    loss: Loss
    targets: np.ndarray
    torch: Callable[..., Any]

    def outputs(self) -> np.ndarray:
        """What a network gives before the loss."""
        return np.random.default_rng(4).normal(0, 2, (ROWS, self.loss.width(4)))


def _binary(smoothing: float = 0) -> Callable[..., Any]:
    return lambda torch, z, t: torch.nn.functional.binary_cross_entropy_with_logits(
        z, (1 - smoothing) * t + smoothing / 2, reduction="none"
    )


def _categorical(smoothing: float = 0) -> Callable[..., Any]:
    return lambda torch, z, t: torch.nn.functional.cross_entropy(z, t, reduction="none", label_smoothing=smoothing)


def _normal(variance: float) -> Callable[..., Any]:
    return lambda torch, z, t: torch.nn.functional.gaussian_nll_loss(
        z, t, torch.full_like(z, variance), full=True, reduction="none"
    )


def _normal_by_network(torch: Any, z: Any, t: Any) -> Any:
    return torch.nn.functional.gaussian_nll_loss(z[:, :4], t, z[:, 4:].exp() + 1e-6, full=True, eps=1e-9, reduction="none")


def _squared(torch: Any, z: Any, t: Any) -> Any:
    return torch.nn.functional.mse_loss(z, t, reduction="none")


_rng = np.random.default_rng(6)
PROBABILITIES, REAL = _rng.uniform(size=(ROWS, 4)), _rng.normal(0, 2, (ROWS, 4))
SHARES, ONE_HOT = PROBABILITIES / PROBABILITIES.sum(axis=1, keepdims=True), np.eye(4)[[3, 0, 0, 2, 1]]
LOSS_CASES = {
    "BinaryCrossEntropy": LossCase(BinaryCrossEntropy(), PROBABILITIES, _binary()),
    "BinaryCrossEntropy, smoothed": LossCase(BinaryCrossEntropy(0.2), ONE_HOT, _binary(0.2)),
    "CategoricalCrossEntropy": LossCase(CategoricalCrossEntropy(), SHARES, _categorical()),
    "CategoricalCrossEntropy, smoothed": LossCase(CategoricalCrossEntropy(0.2), ONE_HOT, _categorical(0.2)),
    "GaussianLikelihood": LossCase(GaussianLikelihood(), REAL, _normal_by_network),
    "GaussianLikelihood, one variance": LossCase(GaussianLikelihood(math.pi), REAL, _normal(math.pi)),
    "SquaredError": LossCase(SquaredError(), REAL, _squared),
    "SquaredError, sigmoid": LossCase(
        SquaredError(output_by="sigmoid"), PROBABILITIES, lambda torch, z, t: _squared(torch, z.sigmoid(), t)
    ),
}
