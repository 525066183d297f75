"""GAN: a generator that learns from a discriminator which learns to tell its rows from data."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np

from ebm import storage
from ebm.compute.device import Array, Device
from ebm.compute.random import Stream
from ebm.data.minibatches import Binarization, Minibatches
from ebm.data.validation import check_rows
from ebm.training.callbacks import Callback, listed
from ebm.training.checkpoints import Description
from ebm.training.loop import train
from ebm.training.optimizers import Adam, Optimizer
from ebm.training.parameters import Parameters
from ebm.training.penalties import Penalty
from ebm.units.base import positive

from .adversarial import AdversarialStep, GeneratorLoss
from .balance import BalanceMonitor
from .initializers import Normal
from .layers import (
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Layer,
    LeakyReLU,
    Maxout,
    ReLU,
    Reshape,
    Shape,
    Sigmoid,
    Tanh,
)
from .losses import BinaryCrossEntropy
from .network import Network

Prior = Literal["normal", "uniform"]


class GAN(storage.Described):
    """Two networks: `generator` makes rows x = G(z) of noise z, `discriminator` gives a logit, ln D(x) / (1 - D(x)), for "x is data".

    Both are lists of layers. The generator starts with rows of `latent` numbers, standard normal or, with `prior="uniform"`, uniform on
    [-1, 1], and ends with as many numbers as `inputs` says, its output nonlinearity being its last layer. The discriminator starts with
    rows of `inputs` numbers (or of this shape) and ends with Dense(1): the logistic function belongs to the loss. (Goodfellow,
    Pouget-Abadie, Mirza, Xu, Warde-Farley, Ozair, Courville, Bengio 2014, "Generative adversarial nets".)

    `GAN.dense` and `GAN.convolutional` are two that are known to work.

    >>> model = GAN([Dense(6), Sigmoid()], [Dense(5), ReLU(), Dense(1)], latent=2, inputs=6, device="cpu")
    >>> model.sample(3).shape, model.discriminate(np.zeros((4, 6))).shape
    ((3, 6), (4,))
    """

    def __init__(
        self,
        generator: Sequence[Layer],
        discriminator: Sequence[Layer],
        *,
        latent: int,
        inputs: int | Shape,
        prior: Prior = "normal",
        device: str | Device = "auto",
        dtype: Any = "float32",
        seed: int | None = 0,
    ) -> None:
        made = Network(generator, positive("latent", latent), device=device, dtype=dtype, seed=seed)
        # a seed of its own, lest both begin with the same weights
        judge = Network(discriminator, inputs, device=made.device, dtype=dtype, seed=(made.seed + 1) % 2**64)
        self._take(made, judge, prior)

    def _take(self, generator: Network, discriminator: Network, prior: Prior) -> None:
        if prior not in ("normal", "uniform"):
            raise ValueError(f"found prior={prior!r}; expected 'normal' or 'uniform'")
        if math.prod(generator.outputs) != math.prod(discriminator.inputs):
            raise ValueError(
                f"found a generator that ends with rows of {generator.outputs} for a discriminator of rows of "
                f"{discriminator.inputs}; expected {math.prod(discriminator.inputs)} numbers"
            )
        last = discriminator.layers[-1]
        if isinstance(last, Sigmoid):
            raise ValueError(f"found a discriminator that ends with {last}, which belongs to the loss; leave the layer out")
        if discriminator.outputs != (1,):
            raise ValueError(
                f"found a discriminator that ends with rows of {discriminator.outputs}; expected one logit: end it with Dense(1)"
            )
        self.generator, self.discriminator, self.prior = generator, discriminator, prior

    @classmethod
    def dense(
        cls,
        inputs: int = 784,
        latent: int = 100,
        *,
        hidden: int = 1200,
        units: int = 240,
        prior: Prior = "uniform",
        **options: Any,
    ) -> Self:
        """The networks of Goodfellow et al. 2014 for MNIST; `options` are device, dtype and seed.

        The generator has two layers of `hidden` ReLU units and a sigmoid, for data in [0, 1]; the discriminator two layers of `units`
        Maxout units of five pieces, with dropout of 20 % of the inputs and half of the units. Its weights begin with deviation 0.003, that
        of the uniform ones in the published configuration (github.com/goodfeli/adversarial, mnist.yaml).
        """
        hidden, units = positive("hidden", hidden), positive("units", units)
        generator = [Dense(hidden), ReLU(), Dense(hidden), ReLU(), Dense(inputs), Sigmoid()]
        small = Normal(0.003)
        discriminator = [
            Dropout(0.2),
            Maxout(units, 5, initial=small),
            Dropout(0.5),
            Maxout(units, 5, initial=small),
            Dropout(0.5),
            Dense(1, initial=small),
        ]
        return cls(generator, discriminator, latent=latent, inputs=inputs, prior=prior, **options)

    @classmethod
    def convolutional(
        cls,
        shape: Shape = (28, 28, 1),
        latent: int = 100,
        *,
        channels: int = 64,
        hidden: int = 1024,
        prior: Prior = "normal",
        **options: Any,
    ) -> Self:
        """A DCGAN for images of `shape`, (height, width, channels), both sides divisible by four; `options` are device, dtype and seed.

        The generator goes from a layer of `hidden` units to a quarter of the size with 2 `channels`, to half of it with `channels` and to
        the whole, by transposed convolutions of kernel 4 and stride 2, and ends with a Sigmoid, for data in [0, 1]; the discriminator goes
        back the same way, with LeakyReLU(0.2). BatchNorm lies everywhere but at the end of the generator and both ends of the
        discriminator, and all weights begin as N(0, 0.02^2). (Radford, Metz, Chintala 2016, "Unsupervised representation learning with
        deep convolutional generative adversarial networks"; the layers of those for MNIST, github.com/Newmu/dcgan_code, without classes
        and with kernels of 4 in place of 5, which put no pattern of squares into images.)
        """
        if len(shape) != 3 or shape[0] % 4 or shape[1] % 4:
            raise ValueError(f"found shape={shape}; expected (height, width, channels) with sides that four divides")
        channels, hidden = positive("channels", channels), positive("hidden", hidden)
        small = Normal(0.02)
        window: dict[str, Any] = {"kernel": 4, "stride": 2, "padding": 1, "initial": small}
        quarter = shape[0] // 4, shape[1] // 4, 2 * channels
        generator = [
            Dense(hidden, bias=False, initial=small),
            BatchNorm(),
            ReLU(),
            Dense(math.prod(quarter), bias=False, initial=small),
            Reshape(*quarter),
            BatchNorm(),
            ReLU(),
            ConvTranspose2D(channels, bias=False, **window),
            BatchNorm(),
            ReLU(),
            ConvTranspose2D(shape[2], **window),
            Sigmoid(),
        ]
        discriminator = [
            Conv2D(channels, **window),
            LeakyReLU(0.2),
            Conv2D(2 * channels, bias=False, **window),
            BatchNorm(),
            LeakyReLU(0.2),
            Reshape(math.prod(quarter)),
            Dense(hidden, bias=False, initial=small),
            BatchNorm(),
            LeakyReLU(0.2),
            Dense(1, initial=small),
        ]
        return cls(generator, discriminator, latent=latent, inputs=shape, prior=prior, **options)

    @property
    def inputs(self) -> int:
        """The width of a row of data."""
        return math.prod(self.discriminator.inputs)

    @property
    def latent(self) -> int:
        """The width of a row of noise."""
        return math.prod(self.generator.inputs)

    @property
    def parts(self) -> dict[str, Parameters]:
        """The parameters of both networks, each in one buffer."""
        return {"generator": self.generator.parameters, "discriminator": self.discriminator.parameters}

    @property
    def device(self) -> Device:
        """Where the arrays are."""
        return self.generator.device

    def draw(self, n: int, stream: Stream) -> Array:
        """z ~ p(z), (n, latent), on the device."""
        shape, dtype = (n, self.latent), self.generator.dtype
        if self.prior == "normal":
            return stream.normal(shape, dtype)
        z = stream.uniform(shape, dtype)
        z *= dtype.type(2)
        z -= dtype.type(1)
        return z

    def latents(self, n: int, seed: int | None = None) -> np.ndarray:
        """n rows of noise (n, latent) on the host: `sample(n, seed)` is `decode(latents(n, seed))`."""
        return self.device.to_host(self.draw(positive("n", n), Stream(seed, "sample", self.device)))

    def decode(self, codes: Any) -> np.ndarray:
        """G(z) for rows of noise (rows, latent) of a host array, (rows, inputs); a BatchNorm uses its running means."""
        check_rows(codes, self.latent, low=-math.inf, high=math.inf, name="codes")
        return self.generator.evaluate(codes).reshape(codes.shape[0], -1)

    def sample(self, n: int, seed: int | None = None) -> np.ndarray:
        """n rows from the generator, (n, inputs), on the host; others at each call unless a `seed` is given."""
        return self.decode(self.latents(n, seed))

    def discriminate(self, rows: Any) -> np.ndarray:
        """D(x), the discriminator's probability that a row is data and not generated, (rows,), for rows of a host array.

        A BatchNorm uses its running means, in which data and generated rows are mixed; in training it sees either alone.
        """
        self._check(rows, "rows")
        return BinaryCrossEntropy().output(self.discriminator.evaluate(rows))[:, 0]

    def fit(
        self,
        data: Any,
        *,
        epochs: int = 10,
        batch_size: int = 100,
        optimizer: Optimizer | None = None,
        discriminator_optimizer: Optimizer | None = None,
        loss: GeneratorLoss = "non-saturating",
        real_label: float = 0.9,
        discriminator_steps: int = 1,
        penalties: Sequence[Penalty] = (),
        discriminator_penalties: Sequence[Penalty] = (),
        binarization: Binarization = None,
        callbacks: Iterable[Callback] = (),
        seed: int | None = None,
        resume: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Train both networks on the rows of `data` (rows, inputs), an array, memory map or sparse matrix, and return the model.

        A step is `discriminator_steps` updates of the discriminator, each on `batch_size` rows of its own, and one of the generator; what
        they descend and which metrics they give is said at `AdversarialStep`. `optimizer` and `penalties` are the generator's. No optimizer
        is Adam(2e-4, beta1=0.5) for the generator, and for the discriminator the generator's. `loss="minimax"` is the one of the game's
        value, which gives the generator hardly any gradient once it loses. `real_label` less than 1 smooths the labels of data alone.
        Unless there is one in `callbacks`, a `BalanceMonitor` warns when the discriminator has won or the generator collapses.
        `binarization`, `callbacks`, `seed` and `resume` as for `RBM.fit`.

        Raises `ValueError` for data that the generator's last layer can't make, and for a batch of one, before anything changes.
        """
        self._check(data, "data", *((0.0, 1.0) if binarization is not None else self._range()))
        positive("discriminator_steps", discriminator_steps)
        if positive("batch_size", batch_size) < 2:
            raise ValueError("found batch_size=1; one row has no spread to compare with the data's: expected two or more")
        rows = batch_size * discriminator_steps
        if rows > data.shape[0]:
            raise ValueError(
                f"found {data.shape[0]} rows; a step takes batch_size * discriminator_steps = {rows}: expected as many or more"
            )
        seed = self.generator.seed if seed is None else seed
        options: dict[str, Any] = {"device": self.device, "dtype": self.generator.dtype, "seed": seed}
        batches = Minibatches(data, rows, binarization=binarization, **options)
        optimizer = optimizer or Adam(2e-4, beta1=0.5)
        step = AdversarialStep(
            self,
            optimizer,
            discriminator_optimizer or optimizer,
            steps_per_epoch=len(batches),
            loss=loss,
            real_label=real_label,
            discriminator_steps=discriminator_steps,
            penalties=penalties,
            discriminator_penalties=discriminator_penalties,
            seed=seed,
        )
        callbacks = listed(callbacks)
        if not any(isinstance(callback, BalanceMonitor) for callback in callbacks):
            callbacks.append(BalanceMonitor())
        state = step.stateful() | {"batches": batches, "model": Description(storage.description(self))}
        train(step, batches, epochs, callbacks, state=state, resume=resume)
        return self

    def _range(self) -> tuple[float, float]:
        """What the generator can make."""
        last = next((layer for layer in reversed(self.generator.layers) if not isinstance(layer, Reshape)), None)
        return (0.0, 1.0) if isinstance(last, Sigmoid) else (-1.0, 1.0) if isinstance(last, Tanh) else (-math.inf, math.inf)

    def _check(self, rows: Any, name: str, low: float = -math.inf, high: float = math.inf) -> None:
        check_rows(rows, self.inputs, low=low, high=high, sparse=True, name=name)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write both networks to one safetensors file; read it back with `neural.load`."""
        storage.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: Any = "auto") -> Self:
        """The model saved at `path`; raises as `neural.load` does, and for a file of another model."""
        from .storage import load

        return load(path, device, cls)

    def config(self) -> dict[str, Any]:
        """What a file says of this model, besides its parameters."""
        return {"generator": self.generator.config(), "discriminator": self.discriminator.config(), "prior": self.prior}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], device: Device) -> Self:
        """The model, with parameters of its own, that `config` describes."""
        model = cls.__new__(cls)
        networks = [Network.from_config(config[player], device) for player in ("generator", "discriminator")]
        model._take(networks[0], networks[1], config["prior"])
        return model

    def __repr__(self) -> str:
        return f"GAN({self.generator!r}, {self.discriminator!r}, prior={self.prior!r})"
