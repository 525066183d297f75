"""AdversarialStep: one update of a generator and of the discriminator that it plays against."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ebm.compute.device import Array, device_of
from ebm.compute.graph import Graph
from ebm.compute.random import Stream
from ebm.training.optimizers import Optimizer
from ebm.training.parameters import Parameters
from ebm.training.penalties import Penalty

from .gradient import Gradient
from .layers import Backprop
from .line_search import LineSearch
from .losses import BinaryCrossEntropy
from .network import Network
from .step import on_weights

if TYPE_CHECKING:
    from .gan import GAN

GeneratorLoss = Literal["non-saturating", "minimax"]

# The least spread of data that others are compared with: constant data divide by it.
_LEAST_SPREAD = 1e-6


class Players:
    """The parameters of several networks as one part of a checkpoint, and as what a `DivergenceGuard` looks at."""

    def __init__(self, parts: Mapping[str, Parameters]) -> None:
        self.parts = parts

    def named_arrays(self) -> dict[str, Array]:
        """All parameters, named "generator.0.weights" and so on."""
        return {f"{player}.{name}": x for player, part in self.parts.items() for name, x in part.named_arrays().items()}

    def state_dict(self) -> dict[str, Any]:
        """Host copies by player and name."""
        return {player: part.state_dict() for player, part in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Overwrite all arrays; raises as that of `Parameters`."""
        for player, part in self.parts.items():
            part.load_state_dict(state[player])


class _Player:
    """A network's side of a training run: its optimizer, and where its gradient goes."""

    def __init__(self, network: Network, name: str, optimizer: Optimizer, penalties: Sequence[Penalty]) -> None:
        if not hasattr(optimizer, "start") or isinstance(optimizer, (type, LineSearch)):
            raise TypeError(
                f"found {name}={optimizer!r}; expected an optimizer of small steps, since the other player moves too: "
                "Adam(2e-4, beta1=0.5) or SGD(0.1)"
            )
        self.update = optimizer.start(network.parameters, on_weights(penalties))
        # under the table of the parameters, which says what stands still
        self._target = network.parameters.over(self.update.gradient.buffer)

    def gradient(self, beta: float) -> Gradient:
        """What the next update's derivatives are added to."""
        return Gradient(self._target, beta)

    def apply_(self, gradient: Gradient, stream: Stream) -> None:
        """Move the parameters, and the stream past its draws so far."""
        gradient.finish()
        self.update.apply_(stream)


class AdversarialStep:
    """One training run of a GAN: the moments of both optimizers and a random stream.

    Calling it with a batch (discriminator_steps rows, inputs) makes so many updates of the discriminator D, each on rows x of its own and
    on as many generated rows G(z), down the gradient of

        -E[t ln D(x) + (1 - t) ln(1 - D(x))] - E[ln(1 - D(G(z)))],      t = real_label,

    and then one of the generator G, against the discriminator as it has become, on the rows that it has seen last, down that of
    -E[ln D(G(z))], or for "minimax" of E[ln(1 - D(G(z)))]. (Goodfellow et al. 2014, "Generative adversarial nets", algorithm 1; Salimans
    et al. 2016, "Improved techniques for training GANs", section 3.4, for t.) Both networks are in training all the time, and data and
    generated rows pass the discriminator apart: each has a BatchNorm's mean and variance of its own, as in PyTorch's DCGAN.

    The metrics: "generator_loss" and "discriminator_loss" as above, in nats; "real" and "fake", the means of D(x) and D(G(z)), before
    the discriminator's last update; and "diversity", the standard deviation of generated rows over that of the data, each the mean of all
    columns. No value is read on the host.
    """

    def __init__(
        self,
        model: GAN,
        optimizer: Optimizer,
        discriminator_optimizer: Optimizer,
        *,
        steps_per_epoch: int,
        loss: GeneratorLoss = "non-saturating",
        real_label: float = 0.9,
        discriminator_steps: int = 1,
        penalties: Sequence[Penalty] = (),
        discriminator_penalties: Sequence[Penalty] = (),
        seed: int = 0,
    ) -> None:
        if loss not in ("non-saturating", "minimax"):
            raise ValueError(f"found loss={loss!r}; expected 'non-saturating' or 'minimax'")
        if not 0.5 < real_label <= 1:
            raise ValueError(f"found real_label={real_label!r}; expected 0.5 < real_label <= 1, such as 0.9")
        self.model, self.loss, self.real_label, self.steps_per_epoch = model, loss, real_label, steps_per_epoch
        self.discriminator_steps = discriminator_steps
        self._generator = _Player(model.generator, "optimizer", optimizer, penalties)
        self._discriminator = _Player(
            model.discriminator, "discriminator_optimizer", discriminator_optimizer, discriminator_penalties
        )
        self.stream = Stream(seed, "learning", model.device)
        self.step = 0
        self._graph = Graph(model.device)

    def __call__(self, batch: Array) -> dict[str, Array]:
        """Learn from the batch."""
        progress = self.step / self.steps_per_epoch
        betas = tuple(player.update.begin(progress) for player in (self._discriminator, self._generator))
        metrics: dict[str, Array] = self._graph(functools.partial(self._learn, batch, *betas), (batch,), betas)
        self.step += 1
        return metrics

    def _learn(self, batch: Array, discriminator_beta: float, generator_beta: float) -> dict[str, Array]:
        """The updates on the device."""
        model, metrics = self.model, dict[str, Array]()
        rows = batch.shape[0] // self.discriminator_steps
        for k in range(self.discriminator_steps):
            x = batch[k * rows : (k + 1) * rows]
            fake, to_latent = model.generator(model.draw(rows, self.stream), self.stream)
            gradient = self._discriminator.gradient(discriminator_beta)
            metrics |= self.judge(x, fake, gradient)
            self._discriminator.apply_(gradient, self.stream)
        gradient = self._generator.gradient(generator_beta)
        metrics |= self.fool(fake, to_latent, gradient)
        self._generator.apply_(gradient, self.stream)
        metrics["diversity"] = _spread(fake) / device_of(x).xp.maximum(_spread(x), x.dtype.type(_LEAST_SPREAD))
        return metrics

    def judge(self, x: Array, fake: Array, gradient: Gradient) -> dict[str, Array]:
        """The discriminator's loss on rows of data and generated ones; adds its derivatives."""
        loss, network, metrics = BinaryCrossEntropy(), self.model.discriminator, dict[str, Array]()
        total: Any = 0
        for name, rows, label in (("real", x, self.real_label), ("fake", fake, 0)):
            z, backprop = network(rows.reshape(rows.shape[0], *network.inputs), self.stream)
            values, slope = loss(z, _labels(z, label))
            slope *= z.dtype.type(1 / z.shape[0])
            backprop(slope, gradient, through=False)
            metrics[name] = loss.output(z).mean()
            total = total + values.mean()
        return metrics | {"discriminator_loss": total}

    def fool(self, fake: Array, to_latent: Backprop, gradient: Gradient) -> dict[str, Array]:
        """The generator's loss on rows that it has just made; adds its derivatives, through a discriminator that stands still."""
        network, minimax = self.model.discriminator, self.loss == "minimax"
        z, to_rows = network(fake.reshape(fake.shape[0], *network.inputs), self.stream)
        # E[ln(1 - D)] is the discriminator's own loss on generated rows, negated
        sign, label = (-1, 0) if minimax else (1, 1)
        values, slope = BinaryCrossEntropy()(z, _labels(z, label))
        slope *= z.dtype.type(sign / z.shape[0])
        to_latent(to_rows(slope).reshape(fake.shape), gradient, through=False)
        return {"generator_loss": sign * values.mean()}

    def stateful(self) -> dict[str, Any]:
        """The parts of a checkpoint, by name."""
        return {
            "parameters": Players(self.model.parts),
            "optimizer.generator": self._generator.update,
            "optimizer.discriminator": self._discriminator.update,
            "stream": self.stream,
            "learning": self,
        }

    def state_dict(self) -> dict[str, Any]:
        """The number of steps."""
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.step = state["step"]


def _labels(z: Array, label: float) -> Array:
    """The target of a whole batch."""
    return device_of(z).xp.full(z.shape, label, z.dtype)


def _spread(rows: Array) -> Array:
    """The standard deviation over the rows, averaged over their elements."""
    return rows.std(axis=0).mean()
