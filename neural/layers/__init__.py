"""Layers: functions that return their own backward pass. One file a family."""

from __future__ import annotations

from typing import Any

from .activations import ELU, Activation, LeakyReLU, ReLU, Sigmoid, Softmax, Softplus, Tanh, UnitMean
from .base import Backprop, Layer, Shape
from .convolution import Conv2D, ConvTranspose2D, MaxPool, Upsample
from .dense import Dense
from .machine import MeanField
from .maxout import Maxout
from .regularization import BatchNorm, Dropout
from .sample import GaussianSample
from .shape import Reshape

__all__ = [
    "ELU",
    "LAYERS",
    "Activation",
    "Backprop",
    "BatchNorm",
    "Conv2D",
    "ConvTranspose2D",
    "Dense",
    "Dropout",
    "GaussianSample",
    "Layer",
    "LeakyReLU",
    "MaxPool",
    "Maxout",
    "MeanField",
    "ReLU",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "UnitMean",
    "Upsample",
    "activation",
    "from_config",
]

LAYERS: dict[str, type[Layer]] = {
    t.__name__: t
    for t in (
        BatchNorm,
        Conv2D,
        ConvTranspose2D,
        Dense,
        Dropout,
        ELU,
        GaussianSample,
        LeakyReLU,
        MaxPool,
        Maxout,
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
}


def activation(name: str | Layer) -> Layer:
    """A layer as given, or the activation of this name: "sigmoid", "tanh", "relu", ..."""
    if isinstance(name, Layer):
        return name
    found = {n.lower(): t for n, t in LAYERS.items() if issubclass(t, Activation)}
    if name not in found:
        raise ValueError(f"found activation {name!r}; expected one of {sorted(found)}, or a layer")
    return found[name]()


def from_config(config: dict[str, Any]) -> Layer:
    """The layer that a file describes; raises `ValueError` for an unknown type."""
    arguments = dict(config)
    name = arguments.pop("layer", None)
    if name not in LAYERS:
        raise ValueError(f"found layer {name!r}; this version knows {sorted(LAYERS)}")
    if name == "UnitMean":
        return UnitMean.from_config(config)
    if name == "Reshape":
        return Reshape(*arguments["shape"])
    return LAYERS[name](**arguments)
