"""unroll: a stack of layers, a belief network or a deep Boltzmann machine becomes an autoencoder that backpropagation can fine-tune.

Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks"; for the deep Boltzmann machine Salakhutdinov &
Hinton 2009, "Deep Boltzmann machines", section 3.3.
"""

from __future__ import annotations

from typing import Any

from ebm import DBM, DBN, RBM, Stack
from ebm.compute.device import Array, Device
from ebm.units import Bernoulli, Softmax, Units
from ebm.units import from_config as units_from_config

from .autoencoder import Autoencoder
from .layers import Dense, Layer, MeanField, Reshape, Shape, Sigmoid, UnitMean
from .layers import from_config as layer_from_config
from .losses import BinaryCrossEntropy, CategoricalCrossEntropy, Loss, SquaredError
from .network import Network

# A layer, and the parameters it starts with.
Part = tuple[Layer, dict[str, Array]]


def unroll(model: DBN | DBM | RBM | Stack, tied: bool = False) -> Autoencoder:
    """The autoencoder whose encoder is the model's way up and whose decoder its way down, as a copy; the model stays as it is.

    Before fine-tuning `encode(X)` is `model.transform(X)` and, where the model has that, `reconstruct(X)` is `model.reconstruct(X)`; of a
    DBM as far as mean field has converged, for the three sweep differently often: `transform` until nothing moves, `reconstruct` 10
    times, the network 50 times. An activation is the mean of the units, its derivative their variance. The loss is that of the visible
    units: `BinaryCrossEntropy` for Bernoulli, `CategoricalCrossEntropy` for one Softmax group, else `SquaredError`. `tied=True` keeps the
    transposed weights of the encoder in the decoder. A belief network with labels is unrolled up to the last RBM, which is about labels.
    A DBM of two hidden layers gets what it infers about the second one as further inputs (`MeanField`); a stack may also be made of
    autoencoders.

    Raises `ValueError` for word counts, DBMs of other graphs, and tied weights where the way down has weights of its own, `TypeError` for
    other models.
    """
    if not isinstance(model, (DBM, RBM, Stack)):
        raise TypeError(f"found {type(model).__name__}; expected a DBN, a DBM, an RBM, or a Stack of RBMs or autoencoders")
    if isinstance(model, DBM):
        encoder, decoder, units, device, dtype = _dbm(model, tied)
        loss = _fused(units, decoder)
    elif isinstance(model, RBM):
        encoder, decoder = _rbm(model, model, 0, tied)
        units, device, dtype = model.visible.units, model.device, model.dtype
        loss = _fused(units, decoder)
    elif all(isinstance(layer, RBM) for layer in model.layers):
        encoder, decoder, loss, device, dtype = _rbms(model, tied)
    elif all(isinstance(layer, Autoencoder) for layer in model.layers):
        encoder, decoder, loss, device, dtype = _autoencoders(model, tied)
    else:
        raise ValueError(f"found a stack of {model.layers}; expected RBMs only, or autoencoders only")
    parts = [*encoder, *decoder]
    first = model if isinstance(model, (DBM, RBM)) else model.layers[0]
    inputs = first.visible_units.size if isinstance(first, (DBM, RBM)) else first.network.inputs
    network = Network([layer for layer, _ in parts], inputs, device=device, dtype=dtype)
    for bound, (_, values) in zip(network.layers, parts, strict=True):
        for name, value in values.items():
            bound.own[name][...] = value
    return Autoencoder.of(network, len(encoder), loss)


def _rbms(model: Any, tied: bool) -> tuple[list[Part], list[Part], Loss, Device, Any]:
    rbms = model.layers[: -1 if model.labels else None]
    down = [*model.generative, model.layers[-1]] if isinstance(model, DBN) else model.layers
    if not rbms:
        raise ValueError(f"found {model}; below the RBM of the labels there is no layer to unroll")
    encoder: list[Part] = []
    decoder: list[Part] = []
    for rbm, back in zip(rbms, down, strict=False):
        up, way_down = _rbm(rbm, back, len(encoder), tied)
        encoder, decoder = encoder + up, way_down + decoder
    return encoder, decoder, _fused(rbms[0].visible.units, decoder), rbms[0].device, rbms[0].dtype


def _rbm(up: RBM, down: RBM, first: int, tied: bool) -> tuple[list[Part], list[Part]]:
    """The layers of one RBM: the encoder's, whose first is number `first` of the network, and the decoder's."""
    if up.visible.units.replicated:
        raise ValueError(
            f"found {up.visible.units}; a network knows no document lengths: train it on shares, counts / length, with Softmax units"
        )
    if tied and up is not down:
        raise ValueError(
            "found tied=True for a network that was fine-tuned, whose way down has weights of its own; write tied=False"
        )
    own = up.precision
    weights = {} if tied else {"weights": down.weights.T}
    encoder = [
        (Dense(up.outputs, precision=own), {"weights": up.weights, "bias": up.hidden.bias}),
        _mean(up.hidden.units),
    ]
    decoder = [
        (Dense(up.inputs, tied_to=first if tied else None, precision=own), weights | {"bias": down.visible.bias}),
        _mean(up.visible.units),
    ]
    return encoder, decoder


def _mean(units: Units) -> Part:
    """The activation of units, and their own parameters."""
    return (Sigmoid(), {}) if isinstance(units, Bernoulli) else (UnitMean(_description(units)), dict(units.own))


def _description(units: Units) -> Units:
    """The units' description, without arrays."""
    return units_from_config(units.config())


def _fused(units: Units, decoder: list[Part]) -> Loss:
    """The loss of visible units; where the output nonlinearity is part of it, it goes from the end of the decoder."""
    if isinstance(units, Bernoulli):
        decoder.pop()
        return BinaryCrossEntropy()
    if isinstance(units, Softmax) and units.groups == 1:
        decoder.pop()
        return CategoricalCrossEntropy()
    return SquaredError()


def _dbm(dbm: DBM, tied: bool) -> tuple[list[Part], list[Part], Units, Device, Any]:
    if len(dbm.layers) != 3 or dbm.observed != (0,) or [(c.lower, c.upper) for c in dbm.connections] != [(0, 1), (1, 2)]:
        raise ValueError(f"found {dbm}; unrolled are chains of two hidden layers without labels, such as DBM([784, 500, 1000])")
    if tied:
        raise ValueError("found tied=True for a DBM, whose first layer hears two others; write tied=False")
    xp, (visible, first, second) = dbm.device.xp, dbm.layers
    w1, w2 = dbm.weights
    mean_field: Part = (MeanField(dbm.config(), hidden=2), dict(dbm.parameters.named_arrays()))
    encoder: list[Part] = [
        mean_field,
        (Dense(first.units.size, precision=dbm.precision), {"weights": xp.concatenate([w1, w2.T]), "bias": first.bias}),
        _mean(first.units),
        (Dense(second.units.size, precision=dbm.precision), {"weights": w2, "bias": second.bias}),
        _mean(second.units),
    ]
    # the first hidden layer hears the second one twice, in the place of the data
    decoder: list[Part] = [
        (Dense(first.units.size, precision=dbm.precision), {"weights": 2 * w2.T, "bias": first.bias}),
        _mean(first.units),
        (Dense(visible.units.size, precision=dbm.precision), {"weights": w1.T, "bias": visible.bias}),
        _mean(visible.units),
    ]
    return encoder, decoder, visible.units, dbm.device, dbm.dtype


def _autoencoders(stack: Stack, tied: bool) -> tuple[list[Part], list[Part], Loss, Device, Any]:
    encoder: list[Part] = []
    decoder: list[Part] = []
    code: Shape = ()
    for k, model in enumerate(stack.layers):
        network = model.network
        if k and network.inputs != code:
            encoder.append((Reshape(*network.inputs), {}))
        up, down = _parts(model, len(encoder), tied)
        if k:
            down += _output(model.loss)
        if k and network.outputs != code:
            down.append((Reshape(*code), {}))
        encoder, decoder = encoder + up, down + decoder
        code = network.layers[model.depth - 1].outputs or ()
    first = stack.layers[0]
    return encoder, decoder, first.loss, first.device, first.network.dtype


def _parts(model: Autoencoder, first: int, tied: bool) -> tuple[list[Part], list[Part]]:
    """The layers of one autoencoder: the encoder's, whose first is number `first` of the network, and the decoder's."""
    parts: list[Part] = []
    for number, bound in enumerate(model.network.layers):
        layer, values = layer_from_config(bound.config()), dict(bound.own)
        if isinstance(layer, Dense) and layer.tied_to is not None:
            weights = values.pop("weights")
            if tied:
                layer.tied_to += first
            else:
                layer.tied_to, values["weights"] = None, weights.T
        elif tied and number >= model.depth and "weights" in values:
            raise ValueError(f"found tied=True for {model}, whose way down has weights of its own; write tied=False")
        parts.append((layer, values))
    return parts[: model.depth], parts[model.depth :]


def _output(loss: Loss) -> list[Part]:
    """The output nonlinearity of a loss as layers, between two layers of a deep decoder."""
    if isinstance(loss, BinaryCrossEntropy) or (isinstance(loss, SquaredError) and loss.output_by == "sigmoid"):
        return [(Sigmoid(), {})]
    if isinstance(loss, SquaredError):
        return []
    raise ValueError(f"found {loss} inside of a stack; expected BinaryCrossEntropy or SquaredError")
