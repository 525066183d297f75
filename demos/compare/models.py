"""The models that are compared, each a function from a `Problem` to a trained model.

What is measured of a model is what it has of four methods: `encode(rows)`, `reconstruct(rows)`, `sample(n, seed=...)` and
`log_likelihood(rows)`, which gives values and their errors. Where it lacks one, `lacks` may say why; `parameters` is their number, and
`filters` the weights (pixels, units) between rows and the first layer, to be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ebm import DBM, DBN, PCD, RBM, Gaussian, ais, likelihood
from ebm.training import SGD, Adam, WeightDecay
from ebm.units import Units
from neural import GAN, VAE, Autoencoder, baselines, unroll
from neural.corruption import SaltAndPepper
from neural.layers import BatchNorm, Dense, Layer, LeakyReLU, ReLU, Sigmoid
from neural.penalties import KLSparsity, StochasticContractive

from .problem import Problem

Train = Callable[[Problem], Any]
# More epochs than any time suffices for.
ENDLESS = 10**9
# Temperatures and sweeps of annealing, for machines of small images and of others.
EFFORT = ((500, 100), (5000, 1000))
_NO_DISTRIBUTION = "it has no distribution of images"


class Machine:
    """An RBM, DBN or DBM: samples by Gibbs sampling, and ln p of bits with ln Z between two sides."""

    def __init__(self, machine: RBM | DBN | DBM, rows: np.ndarray, small: bool) -> None:
        self.machine, self.rows, self.small = machine, rows, small
        self.encode, self.reconstruct = machine.encode, machine.reconstruct
        self.parameters = count(machine)
        first = machine.layers[0] if isinstance(machine, DBN) else machine
        self.filters = first.device.to_host(first.connections[0].weights)

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """Means of the visible units in the last of 500 steps from noise."""
        return self.machine.sample(n, 500, means=True, seed=seed)

    def log_likelihood(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """ln p(v) of an RBM, lower bounds of the others, and the error of ln Z; `how` then says what they are, `doubt` how far the sides of
        ln Z are apart."""
        machine = self.machine
        temperatures, sweeps = EFFORT[0 if self.small else 1]
        effort: dict[str, Any] = {"chains": 100, "temperatures": temperatures, "sweeps": sweeps, "seed": 1}
        if isinstance(machine, DBN):
            below = self.rows[:2000]
            for rbm in machine.layers[:-1]:
                below = rbm.transform(below)
            estimate = ais.estimate(machine.top, data=below, **effort)
            nats, what = likelihood.recognition_bound(machine, rows, estimate, samples=10, seed=1), "lower bound by recognition"
        else:
            estimate = ais.estimate(machine, data=self.rows[:2000], **effort)
            if isinstance(machine, DBM):
                nats, what = likelihood.lower_bound(machine, rows, estimate), "lower bound by mean field"
            else:
                nats, what = likelihood.log_probability(machine, rows, estimate), "exact but for ln Z"
        sure = "certified within" if estimate.certified else "NOT CERTIFIED: they are apart by"
        self.how = f"{what}, ln Z by annealing from both sides, {sure} {estimate.gap:.2f}"
        self.doubt = estimate.gap
        return nats, np.full(len(nats), estimate.standard_error)


class Variational:
    """A VAE: samples are means, ln p by importance sampling."""

    def __init__(self, vae: VAE) -> None:
        self.vae, self.parameters = vae, count(vae)
        self.encode, self.reconstruct, self.decode = vae.encode, vae.reconstruct, vae.decode
        self.filters = first_weights(vae)

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """Means of p(x | z) at codes from the prior."""
        return self.vae.sample(n, means=True, seed=seed)

    def log_likelihood(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """By 1000 codes for each row."""
        self.how = "importance sampling with 1000 codes for each image"
        return self.vae.log_likelihood(rows, 1000, seed=1)


class Coder:
    """An autoencoder or principal components: no distribution."""

    lacks: ClassVar = {"sample": _NO_DISTRIBUTION, "log_likelihood": _NO_DISTRIBUTION}

    def __init__(self, model: Any, parameters: int) -> None:
        self.model, self.parameters = model, parameters
        self.encode, self.decode = model.encode, model.decode
        self.filters = model.axes.T if isinstance(model, baselines.PCA) else first_weights(model)

    def reconstruct(self, rows: np.ndarray) -> np.ndarray:
        """What comes back of rows, as pixels."""
        return np.clip(self.decode(self.encode(rows)), 0, 1)


class Adversarial:
    """A GAN: samples only."""

    lacks: ClassVar = {
        "log_likelihood": "the density of what a generator makes is not known",
        "encode": "it has no encoder",
        "reconstruct": "it has no encoder",
    }

    def __init__(self, gan: GAN) -> None:
        self.sample, self.decode = gan.sample, gan.decode
        self.parameters = count(gan)


def count(model: Any) -> int:
    """The number of a model's parameters."""
    if isinstance(model, DBN):
        return sum(rbm.parameters.buffer.size for rbm in model.layers)
    parts = model.parts.values() if hasattr(model, "parts") else [model.parameters]
    return sum(segment.stop - segment.start for part in parts for segment in part.segments.values() if not segment.frozen)


def first_weights(model: Autoencoder) -> np.ndarray:
    """The weights (pixels, units) of an encoder's first layer."""
    return model.device.to_host(model.network.layers[0].own["weights"])


def hidden(problem: Problem) -> tuple[int, int]:
    """The two layers between pixels and code."""
    return (128, 64) if problem.small else (500, 250)


def machine_settings(problem: Problem, name: str, share: float, rate: float = 0.2) -> dict[str, Any]:
    """What RBMs are trained with, for a share of the time; the run is called `name`."""
    clock, callbacks = problem.watched(name, share)
    chains = problem.batch
    return {
        "epochs": ENDLESS,
        "batch_size": chains,
        "learning": PCD(1, chains=chains),
        "optimizer": SGD(clock.line(rate)),
        "penalties": [WeightDecay(2e-4)],
        "binarization": "stochastic",
        "callbacks": callbacks,
    }


def _machine(machine: Any, problem: Problem) -> Machine:
    return Machine(machine, problem.rows, problem.small)


def rbm(problem: Problem, units: int) -> Machine:
    """A restricted Boltzmann machine, by persistent contrastive divergence with the centered gradient."""
    machine = RBM(problem.width, units, device=problem.device, seed=problem.seed)
    return _machine(machine.fit(problem.rows, centered=True, **machine_settings(problem, "training", 1.0)), problem)


def _layers(problem: Problem, sizes: Sequence[int | Units], share: float) -> DBN:
    """A belief network whose layers share the time equally."""
    dbn = DBN([problem.width, *sizes], device=problem.device, seed=problem.seed)
    per_layer = []
    for k, units in enumerate(sizes):
        real = isinstance(units, Gaussian)
        rate = 0.2 if not real else 0.02 if problem.small else 0.002
        settings = machine_settings(problem, f"layer {k + 1}", share / len(sizes), rate)
        per_layer.append(settings | {"centered": not real})
    return dbn.fit(problem.rows, per_layer=per_layer)


def dbn(problem: Problem, sizes: Sequence[int | Units]) -> Machine:
    """A deep belief network, layer by layer."""
    return _machine(_layers(problem, sizes, 1.0), problem)


def dbm(problem: Problem, sizes: Sequence[int], pretrained: bool) -> Machine:
    """A deep Boltzmann machine: half of the time for its layers one by one, or for an RBM as its first, half for all layers together.

    An RBM below makes for the better distribution, and layers above that take little part in it; codes need the published pretraining.
    """
    if pretrained:
        machine, share = DBM([problem.width, *sizes], device=problem.device, seed=problem.seed), 0.5 / len(sizes)
        layers = [machine_settings(problem, f"layer {k + 1}", share) | {"centered": True} for k in range(len(sizes))]
        machine.pretrain(problem.rows, per_layer=layers)
    else:
        first = RBM(problem.width, sizes[0], device=problem.device, seed=problem.seed)
        machine = DBM.on(first.fit(problem.rows, centered=True, **machine_settings(problem, "first layer", 0.5)), sizes[1:])
    settings = machine_settings(problem, "all layers", 0.5, 0.05)
    settings["learning"] = PCD(2, chains=settings["batch_size"], mean_field=5)
    return _machine(machine.fit(problem.rows, centered=True, **settings), problem)


def backpropagated(model: Autoencoder, problem: Problem, name: str, share: float, **options: Any) -> Autoencoder:
    """The model after training by Adam for a share of the time; the run is called `name`. Logistic units take larger steps than others."""
    logistic = isinstance(model.network.layers[1], Sigmoid)
    rate = (1e-2 if logistic else 3e-3) if problem.small else (2e-3 if logistic else 1e-3)
    clock, callbacks = problem.watched(name, share)
    settings: dict[str, Any] = {"epochs": ENDLESS, "batch_size": problem.batch, "callbacks": callbacks}
    return model.fit(problem.rows, optimizer=Adam(clock.cosine(rate)), **settings, **options)


def _coder(model: Autoencoder) -> Coder:
    return Coder(model, count(model))


def deep_autoencoder(problem: Problem) -> Coder:
    """A belief network with a linear code, unrolled and fine-tuned for two thirds of the time."""
    pretrained = _layers(problem, [*hidden(problem), Gaussian(problem.code)], 1 / 3)
    return _coder(backpropagated(unroll(pretrained), problem, "fine-tuning", 2 / 3))


def autoencoder(problem: Problem, **options: Any) -> Coder:
    """The same sizes with units that need no pretraining; `options` make it sparse, denoising or contractive."""
    options = {"activation": "elu", "code": "identity"} | options
    sizes = [problem.width, *hidden(problem), problem.code]
    model = Autoencoder(sizes, device=problem.device, seed=problem.seed, **options)
    return _coder(backpropagated(model, problem, "training", 1.0))


def vae(problem: Problem, latent: int) -> Variational:
    """A variational autoencoder with the same layers."""
    model = VAE([problem.width, *hidden(problem)], latent=latent, activation="relu", device=problem.device, seed=problem.seed)
    clock, callbacks = problem.watched("training")
    model.fit(
        problem.rows,
        epochs=ENDLESS,
        batch_size=problem.batch,
        optimizer=Adam(clock.cosine(2e-3)),
        binarization="stochastic",
        callbacks=callbacks,
    )
    return Variational(model)


def gan(problem: Problem) -> Adversarial:
    """A generative adversarial network of dense layers, with the normalization and the slopes of a DCGAN; in so short a time many small
    steps of small players come furthest."""
    units, latent = (128, 20) if problem.small else (256, 100)
    generator: list[Layer] = []
    for _ in range(2):
        generator += [Dense(units), BatchNorm(), ReLU()]
    discriminator: list[Layer] = []
    for _ in range(2):
        discriminator += [Dense(units), LeakyReLU(0.2)]
    model = GAN(
        [*generator, Dense(problem.width), Sigmoid()],
        [*discriminator, Dense(1)],
        latent=latent,
        inputs=problem.width,
        device=problem.device,
        seed=problem.seed,
    )
    clock, callbacks = problem.watched("training")
    adam = Adam(clock.line(2e-3, 5e-4), beta1=0.5)
    model.fit(problem.rows, epochs=ENDLESS, batch_size=25, optimizer=adam, callbacks=callbacks)
    return Adversarial(model)


def principal_components(problem: Problem) -> Coder:
    """The linear baseline."""
    model = baselines.PCA(problem.code).fit(problem.rows)
    return Coder(model, model.axes.size + model.mean.size)


# All with codes of one size.
CODES: dict[str, Train] = {
    "PCA": principal_components,
    "RBM": lambda p: rbm(p, p.code),
    "DBN": lambda p: dbn(p, [*hidden(p), Gaussian(p.code)]),
    "DBM": lambda p: dbm(p, [hidden(p)[0], p.code], True),
    "deep autoencoder": deep_autoencoder,
    "autoencoder": autoencoder,
    "sparse autoencoder": lambda p: autoencoder(p, code="sigmoid", code_penalties=[KLSparsity(0.2, 0.1)]),
    "denoising autoencoder": lambda p: autoencoder(p, corruption=SaltAndPepper(0.25)),
    "contractive autoencoder": lambda p: autoencoder(p, code_penalties=[StochasticContractive(0.1)]),
    "VAE": lambda p: vae(p, p.code),
}
# What the report shows paths through codes of, and code sizes.
GALLERY: dict[str, Train] = {"deep autoencoder": deep_autoencoder, "VAE": lambda p: vae(p, p.code)}
SIZES = (2, 10, 20)
# Each family as it is usually built.
GENERATION: dict[str, Train] = {
    "RBM": lambda p: rbm(p, 128 if p.small else 500),
    "DBN": lambda p: dbn(p, [128, 256] if p.small else [500, 1000]),
    "DBM": lambda p: dbm(p, [128, 128] if p.small else [500, 500], False),
    "VAE": lambda p: vae(p, 10 if p.small else 50),
    "GAN": gan,
    "deep autoencoder": deep_autoencoder,
}
