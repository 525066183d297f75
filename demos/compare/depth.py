"""The experiment on layerwise pretraining: depth and initialization, the same time for all.

Autoencoders of one to three hidden layers of logistic units start from random weights, from RBMs, from RBMs trained for a deep Boltzmann
machine, whose weights are halved, and from denoising autoencoders; half of the time goes to that, the rest (for random weights all of it)
to backpropagation. Beside them stands what has replaced pretraining: units that don't saturate (ELU), from random weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from ebm import DBM, DBN, Stack
from ebm.training import Adam
from neural import Autoencoder, Classifier, unroll
from neural.corruption import SaltAndPepper
from neural.layers import Dense

from .measure import Found
from .models import ENDLESS, Train, backpropagated, machine_settings
from .problem import Problem

DEPTHS = (1, 2, 3)
LABELS = (1, 3, 10, 30)
Start = Callable[[Problem, list[int], float], Autoencoder]


def from_random(problem: Problem, sizes: list[int], share: float) -> Autoencoder:
    """Glorot's weights, whose variance fits the sizes of layers."""
    return Autoencoder(sizes, device=problem.device, seed=problem.seed)


def from_random_elu(problem: Problem, sizes: list[int], share: float) -> Autoencoder:
    """The same with exponential linear units."""
    return Autoencoder(sizes, activation="elu", device=problem.device, seed=problem.seed)


def from_rbms(problem: Problem, sizes: list[int], share: float) -> Autoencoder:
    """A belief network, unrolled."""
    dbn = DBN(sizes, device=problem.device, seed=problem.seed)
    return unroll(dbn.fit(problem.rows, per_layer=_per_layer(problem, sizes, share)))


def from_halved_rbms(problem: Problem, sizes: list[int], share: float) -> Autoencoder:
    """The weights of a deep Boltzmann machine after its pretraining; the way down has their transposes."""
    dbm = DBM(sizes, device=problem.device, seed=problem.seed)
    dbm.pretrain(problem.rows, per_layer=_per_layer(problem, sizes, share))
    model = from_random(problem, sizes, share)
    dense = [layer for layer in model.network.layers if isinstance(layer, Dense)]
    last = len(sizes) - 1
    for k, weights in enumerate(dbm.weights):
        up, down = dense[k], dense[len(dense) - 1 - k]
        # between two hidden layers a unit hears one of its two sides only: twice, in its place
        up.own["weights"][...] = weights * (1 if k + 1 == last else 2)
        down.own["weights"][...] = weights.T * (1 if k == 0 else 2)
        up.own["bias"][...], down.own["bias"][...] = dbm.layers[k + 1].bias, dbm.layers[k].bias
    return model


def from_denoising(problem: Problem, sizes: list[int], share: float) -> Autoencoder:
    """A stack of denoising autoencoders, unrolled."""
    stack = Stack(
        [
            Autoencoder(pair, corruption=SaltAndPepper(0.25), device=problem.device, seed=problem.seed + k)
            for k, pair in enumerate(pairwise(sizes))
        ]
    )
    per_layer = []
    for k in range(len(sizes) - 1):
        clock, callbacks = problem.watched(f"layer {k + 1}", share / (len(sizes) - 1))
        per_layer.append({"optimizer": Adam(clock.cosine(2e-3)), "callbacks": callbacks})
    return unroll(stack.fit(problem.rows, epochs=ENDLESS, batch_size=problem.batch, per_layer=per_layer))


STARTS: dict[str, Start] = {
    "random weights": from_random,
    "RBMs": from_rbms,
    "halved RBMs": from_halved_rbms,
    "denoising autoencoders": from_denoising,
    "random weights, ELU": from_random_elu,
}


def _per_layer(problem: Problem, sizes: Sequence[int], share: float) -> list[dict[str, Any]]:
    layers = len(sizes) - 1
    return [machine_settings(problem, f"layer {k + 1}", share / layers) | {"centered": True} for k in range(layers)]


def trained(problem: Problem, start: Start, depth: int) -> Autoencoder:
    """The network after pretraining and backpropagation."""
    share = 0.0 if start in (from_random, from_random_elu) else 0.5
    model = start(problem, [problem.width, *[64 if problem.small else 300] * depth], share)
    return backpropagated(model, problem, "backpropagation", 1 - share, validation=problem.validation.images[:1000])


def measured(model: Autoencoder, problem: Problem) -> Found:
    """Squared error of test images, and accuracies of classifiers on the encoder with few labels a class."""
    found = Found({"squared error": model.squared_error(problem.test.images)}, {}, {})
    if problem.train.labels is None:
        found.notes["labels"] = "the images have no labels"
        return found
    labels, rng = np.asarray(problem.train.labels), np.random.default_rng(problem.seed)
    members = [rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    for n in LABELS:
        if min(map(len, members)) < n:
            continue
        chosen = np.concatenate([rows[:n] for rows in members])
        classifier = Classifier.on(model, len(members), seed=problem.seed)
        classifier.fit(problem.rows[chosen], labels[chosen], epochs=40, batch_size=min(50, len(chosen)), optimizer=Adam(2e-3))
        found.values[label(n)] = 100 * classifier.score(problem.test.images, problem.test.labels)
    return found


def label(n: int) -> str:
    """The name of a figure."""
    return f"{n} label{'s' * (n > 1)} a class"


def tasks() -> dict[str, Train]:
    """All combinations by name."""
    return {
        name(start, depth): partial(trained, start=function, depth=depth)
        for start, function in STARTS.items()
        for depth in DEPTHS
    }


def name(start: str, depth: int) -> str:
    """The name of a combination."""
    return f"{start}, {depth} layer{'s' * (depth > 1)}"
