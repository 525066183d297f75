"""VAE: an autoencoder whose codes are distributions, and so a model of the data."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from ebm.compute.device import Array, Device, device_of
from ebm.compute.random import Stream
from ebm.data.minibatches import Binarization, dense
from ebm.training.callbacks import Callback
from ebm.training.optimizers import Optimizer
from ebm.training.penalties import Penalty
from ebm.training.schedules import Schedule, as_schedule, evaluated
from ebm.units.base import positive

from .autoencoder import Autoencoder
from .gradient import Gradient
from .initializers import Glorot, Initializer
from .kernels import divergence, divergence_slope
from .layers import Dense, GaussianSample, Layer, Shape, activation
from .line_search import LineSearch
from .losses import BinaryCrossEntropy, GaussianLikelihood, Loss, as_loss

# Rows, and draws for each, that are evaluated at once. Changing them changes which noise belongs to which draw.
_ROWS, _DRAWS = 100, 50

Bound = Literal["elbo", "iwae"]


class GrayLevelsWarning(UserWarning):
    """A likelihood of bits was asked for rows that are not bits."""


class Elbo(NamedTuple):
    """The two parts of a lower bound of ln p(x) for each row, (rows,) nats: ln p(x) >= -(reconstruction + latent)."""

    reconstruction: np.ndarray
    latent: np.ndarray

    @property
    def bound(self) -> np.ndarray:
        """The bound itself."""
        return -(self.reconstruction + self.latent)


class VAE(Autoencoder):
    """A variational autoencoder: p(x) = E p(x | z) with codes z ~ N(0, 1) of `latent` numbers, and q(z | x) = N(mean(x), deviation(x)^2).

    `encoder` are sizes, visible first: `VAE([784, 400], latent=20)` has dense layers with `activation` between rows and code, and a
    decoder that mirrors them. Or `encoder` and `decoder` are lists of layers for rows of `inputs` numbers: the encoder's last gives
    vectors, on which comes a Dense layer of means and log-variances; the decoder begins with codes and ends before the output
    nonlinearity. `loss` says what p(x | z) is: `BinaryCrossEntropy` for bits, `GaussianLikelihood` for numbers.

    What an `Autoencoder` does with codes, this does with their means. (Kingma & Welling 2014, "Auto-encoding variational Bayes".)

    >>> model = VAE([64, 32], latent=2, device="cpu")
    >>> model.encode(np.zeros((3, 64))).shape, model.sample(5, seed=1).shape
    ((3, 2), (5, 64))
    """

    loss: BinaryCrossEntropy | GaussianLikelihood

    def __init__(
        self,
        encoder: Sequence[int] | Sequence[Layer],
        decoder: Sequence[Layer] | None = None,
        *,
        latent: int,
        inputs: int | Shape | None = None,
        activation: str | Layer = "tanh",
        loss: Loss | None = None,
        initial: Initializer | None = None,
        device: str | Device = "auto",
        dtype: Any = "float32",
        seed: int | None = 0,
    ) -> None:
        loss = as_loss(loss, BinaryCrossEntropy())
        if not isinstance(loss, (BinaryCrossEntropy, GaussianLikelihood)) or (
            isinstance(loss, BinaryCrossEntropy) and loss.label_smoothing
        ):
            raise ValueError(
                f"found loss={loss}, which is no distribution of the data; expected BinaryCrossEntropy() for bits, or "
                f"GaussianLikelihood() or GaussianLikelihood(variance=...) for numbers"
            )
        code = [Dense(2 * positive("latent", latent), initial=initial or Glorot()), GaussianSample()]
        layers = [layer for layer in encoder if isinstance(layer, Layer)]
        if decoder is None and not layers:
            sizes = [size for size in encoder if not isinstance(size, Layer)]
            if not sizes or inputs is not None:
                raise ValueError(f"found encoder={encoder!r}, inputs={inputs!r}; expected sizes, the first that of a row")
            inputs = sizes[0]
            layers = _dense(sizes[1:], activation, initial or Glorot())
            back = _dense(sizes[:0:-1], activation, initial or Glorot())
            decoder = [*back, Dense(loss.width(sizes[0]), initial=initial or Glorot())]
        elif len(layers) < len(encoder) or decoder is None:
            raise ValueError(
                f"found encoder={encoder!r}, decoder={decoder!r}; expected sizes alone, which the decoder mirrors, or layers for both"
            )
        elif activation != "tanh":
            raise ValueError(f"found activation={activation!r} beside layers, which have their own; leave it out")
        super().__init__([*layers, *code], decoder, inputs=inputs, loss=loss, device=device, dtype=dtype, seed=seed)

    @property
    def latent(self) -> int:
        """The number of numbers in a code."""
        return self.outputs

    def posterior(self, rows: Any) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of q(z | x), (rows, latent) each, for rows (rows, inputs) of a host array."""
        self._check(rows, "rows")
        found = self.network.evaluate(rows, 0, self.depth - 1)
        return found[:, : self.latent], np.exp(0.5 * found[:, self.latent :])

    def sample(self, n: int, *, means: bool = False, seed: int | None = None) -> np.ndarray:
        """n samples, (n, inputs), on the host; with `means` the means of p(x | z) instead of draws from it, which make smoother
        pictures."""
        stream, found = Stream(seed, "samples", self.device), []
        for start in range(0, positive("n", n), _ROWS * _DRAWS):
            rows = min(_ROWS * _DRAWS, n - start)
            z = self._decoded(stream.at(0).normal((rows, self.latent), self.network.dtype, first_row=start))
            x = self.loss.output(z) if means else self.loss.draw(z, stream.at(1), first_row=start)
            found.append(self.device.to_host(x))
        return np.concatenate(found)

    def elbo(self, rows: Any, *, seed: int = 0) -> Elbo:
        """The evidence lower bound of rows (rows, inputs) of a host array, in its two parts: -ln p(x | z) at one draw of z from q(z |
        x), and KL(q(z | x) || N(0, 1)).

        Warns (`GrayLevelsWarning`) of gray levels where p(x | z) is of bits: then the figure is no bound of a likelihood.
        """
        self._check_data(rows)
        stream = Stream(seed, "posterior", self.device)
        reconstruction, latent = [], []
        for start, x, code in self._codes(rows):
            z = self._drawn(code, stream, start, 0, 1)
            reconstruction.append(self.device.to_host(self.loss(self._decoded(z), x)[0]))
            latent.append(self.device.to_host(divergence(code)))
        return Elbo(*(np.concatenate(parts).astype(np.float64) for parts in (reconstruction, latent)))

    def log_likelihood(self, rows: Any, samples: int = 5000, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """ln p(x) of rows (rows, inputs) of a host array, (rows,) nats, and its standard error (NaN for one sample), by importance
        sampling from q(z | x):

            p(x) ~ mean of p(x | z) p(z) / q(z | x) over `samples` draws,

        whose logarithm is too low on average and grows toward ln p(x) with the samples: the bound of Burda, Grosse, Salakhutdinov 2016,
        "Importance weighted autoencoders". Warns (`GrayLevelsWarning`) as `elbo` does.
        """
        self._check_data(rows)
        positive("samples", samples)
        stream = Stream(seed, "posterior", self.device)
        values, errors = [], []
        for start, x, code in self._codes(rows):
            n = x.shape[0]
            sums, squares = np.full(n, -np.inf), np.full(n, -np.inf)
            for first in range(0, samples, _DRAWS):
                count = min(_DRAWS, samples - first)
                z = self._drawn(code, stream, start, first // _DRAWS, count)
                log_weights = self.device.to_host(self._log_weights(x, code, z)).astype(np.float64).reshape(n, count)
                sums = np.logaddexp(sums, np.logaddexp.reduce(log_weights, axis=1))
                squares = np.logaddexp(squares, np.logaddexp.reduce(2 * log_weights, axis=1))
            values.append(sums - math.log(samples))
            # the relative variance of the mean of the weights, of which one weight says nothing
            variance = np.maximum(np.exp(squares - 2 * sums) - 1 / samples, 0) if samples > 1 else np.full(n, np.nan)
            errors.append(np.sqrt(variance))
        return np.concatenate(values), np.concatenate(errors)

    def fit(
        self,
        data: Any,
        *,
        epochs: int = 10,
        batch_size: int = 100,
        optimizer: Optimizer | LineSearch | None = None,
        beta: float | Schedule = 1.0,
        samples: int = 1,
        bound: Bound = "elbo",
        penalties: Sequence[Penalty] = (),
        binarization: Binarization = None,
        validation: Any = None,
        callbacks: Iterable[Callback] = (),
        seed: int | None = None,
        resume: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Train on the rows of `data` (rows, inputs), and return the model.

        `bound="elbo"` goes up E_q ln p(x | z) - beta KL(q(z | x) || N(0, 1)), with the expectation over `samples` draws; its metrics
        are "reconstruction" and "latent", beta times the divergence. `bound="iwae"` goes up E_q ln mean(p(x | z) p(z) / q(z | x)),
        which is tighter the more samples there are; its metric is "loss". `beta`, a number or a schedule over epochs, weighs ln q(z |
        x) - ln p(z): above 1 it makes codes independent (Higgins et al. 2017), and `Linear(0, 1, 10)` is a warm-up of ten epochs.
        `validation` rows add "validation_reconstruction" and "validation_latent", always with beta 1. The others are as for
        `Autoencoder.fit`.

        Raises `ValueError` for data that the loss can't have as targets, before anything changes.
        """
        if self.corruption is not None or self.code_penalties:
            raise ValueError(
                f"found corruption={self.corruption!r}, code_penalties={self.code_penalties!r}, which a VAE doesn't have; set them to "
                f"None and ()"
            )
        if bound not in ("elbo", "iwae"):
            raise ValueError(f"found bound={bound!r}; expected 'elbo' or 'iwae'")
        return self._train(
            _Objective(self, as_schedule(beta), positive("samples", samples), bound),
            data,
            validation,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            penalties=penalties,
            binarization=binarization,
            callbacks=callbacks,
            seed=seed,
            resume=resume,
        )

    def _validate(self, rows: Any) -> Mapping[str, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GrayLevelsWarning)
            found = self.elbo(rows)
        return {f"validation_{name}": float(values.mean()) for name, values in found._asdict().items()}

    def _codes(self, rows: Any) -> Iterator[tuple[int, Array, Array]]:
        """Blocks of rows: the first one's number, the rows, and means and log-variances of their codes."""
        network = self.network
        for start in range(0, rows.shape[0], _ROWS):
            x = network.device.asarray(dense(rows[start : start + _ROWS]), network.dtype)
            yield start, x, network(x.reshape(x.shape[0], *network.inputs), None, 0, self.depth - 1)[0]

    def _drawn(self, code: Array, stream: Stream, start: int, draw: int, count: int) -> Array:
        """`count` codes of each row, (rows * count, latent), the first row being number `start`."""
        n, xp = code.shape[0], self.device.xp
        noise = stream.at(draw).normal((n, count * self.latent), code.dtype, first_row=start).reshape(-1, self.latent)
        repeated = xp.repeat(code, count, axis=0)
        return repeated[:, : self.latent] + noise * xp.exp(code.dtype.type(0.5) * repeated[:, self.latent :])

    def _decoded(self, z: Array, training: Stream | None = None) -> Array:
        """What the decoder gives for codes, as the loss takes it."""
        return self.network(z, training, self.depth)[0].reshape(z.shape[0], -1)

    def _log_weights(self, x: Array, code: Array, z: Array) -> Array:
        """ln p(x | z) p(z) / q(z | x) of the codes z (rows * count, latent) of rows, (rows * count,)."""
        xp, count = self.device.xp, z.shape[0] // x.shape[0]
        repeated = xp.repeat(code, count, axis=0)
        return _log_ratio(repeated, z) - self.loss(self._decoded(z), xp.repeat(x, count, axis=0))[0]

    def _check_data(self, rows: Any) -> None:
        """Raise for rows that p(x | z) can't have, and warn of gray levels."""
        self._check(rows, "rows")
        self.loss.check(rows, "rows")
        if not isinstance(self.loss, BinaryCrossEntropy):
            return
        for start in range(0, rows.shape[0], 1000):
            block = dense(rows[start : start + 1000])
            if ((block != 0) & (block != 1)).any():
                warnings.warn(
                    "found gray levels where p(x | z) is of bits: the figure is a cross-entropy, -sum x ln p + (1 - x) ln(1 - p), "
                    "and bounds no likelihood; compare it with figures of the same kind only, or write ebm.data.binarize(rows, seed=1)",
                    GrayLevelsWarning,
                    stacklevel=3,
                )
                return


class _Objective:
    """Minus a bound of ln p(x), and its gradient."""

    def __init__(self, model: VAE, beta: Schedule, samples: int, bound: Bound) -> None:
        self.model, self.schedule, self.samples = model, beta, samples
        self.weighted = bound == "iwae"
        self.beta = model.device.zeros((1,), model.network.dtype)
        self._written: float | None = None
        self.begin(0.0)

    def begin(self, epoch: float) -> None:
        """Set beta to what it is after so many epochs, in device memory, where a captured step finds it."""
        value = evaluated(self.schedule, epoch, "beta")
        if value != self._written:
            self.beta[...] = value
            self._written = value

    def __call__(self, x: Array, stream: Stream, gradient: Gradient) -> Mapping[str, Array]:
        """The metrics; the derivatives go to the gradient."""
        model, rows, k = self.model, x.shape[0], self.samples
        network, xp, one = model.network, model.device.xp, x.dtype.type
        code, back_to_inputs = network(x.reshape(rows, *network.inputs), stream, 0, model.depth - 1)
        each, target = (xp.repeat(rows_of, k, axis=0) if k > 1 else rows_of for rows_of in (code, x))
        z, back_to_code = network(each, stream, model.depth - 1, model.depth)
        out, back_to_z = network(z, stream, model.depth)
        values, slope = model.loss(out.reshape(rows * k, -1), target)
        size = model.latent
        if self.weighted:
            log_weights = (self.beta * _log_ratio(each, z) - values).reshape(rows, k)
            shares, log_means = _shares(log_weights)
            metrics = {"loss": -log_means.mean()}
            weights = (shares / one(rows)).reshape(rows * k, 1)
            slope *= weights
            # at a fixed draw of the noise, ln q(z | x) is -log_variance / 2 but for a constant
            d_each = back_to_code(back_to_z(slope.reshape(out.shape), gradient) + self.beta * weights * z)
            d_each[:, size:] -= one(0.5) * self.beta * weights
            d_code = d_each.reshape(rows, k, 2 * size).sum(axis=1)
        else:
            slope *= one(1 / (rows * k))
            d_each = back_to_code(back_to_z(slope.reshape(out.shape), gradient))
            d_code = d_each.reshape(rows, k, 2 * size).sum(axis=1) if k > 1 else d_each
            latent = model.device.empty(rows, code.dtype)
            divergence_slope(code, self.beta, latent, d_code)
            metrics = {"reconstruction": values.mean(), "latent": latent.mean()}
        back_to_inputs(d_code, gradient, through=False)
        return metrics


def _shares(log_weights: Array) -> tuple[Array, Array]:
    """w_i / sum_j w_j and the logarithm of the mean weight, for each row of ln w (rows, k).

    Shares far below rounding are zero: with them slopes become subnormal numbers further down, and products take twice as long.
    """
    xp, dtype = device_of(log_weights).xp, log_weights.dtype.type
    largest = log_weights.max(axis=1)[:, None]
    weights = xp.exp(log_weights - largest)
    weights = xp.where(weights < dtype(np.finfo(dtype).eps ** 2), dtype(0), weights)
    total = weights.sum(axis=1)[:, None]
    return weights / total, (largest + xp.log(total / dtype(log_weights.shape[1])))[:, 0]


def _log_ratio(code: Array, z: Array) -> Array:
    """ln p(z) / q(z | x) of each row, (rows,)."""
    size, xp = z.shape[1], device_of(z).xp
    mean, log_variance = code[:, :size], code[:, size:]
    noise = (z - mean) * xp.exp(code.dtype.type(-0.5) * log_variance)
    return code.dtype.type(0.5) * (noise * noise + log_variance - z * z).sum(axis=1)


def _dense(sizes: Sequence[int], name: str | Layer, initial: Initializer) -> list[Layer]:
    layers: list[Layer] = []
    for size in sizes:
        layers += [Dense(size, initial=initial), activation(name)]
    return layers
