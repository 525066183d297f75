"""Training a variational autoencoder, 784-400-20: a step of this toolkit against PyTorch's and JAX's, and the matrix products alone.

    python -m benchmarks.vae

Every contestant trains the same network, tanh layers and a code drawn once for each row, on batches of 100 by the evidence lower bound
and Adam, see `benchmarks.networks`. Before timing, the changes of all weights from one state are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks import timing
from benchmarks.networks import Problem, contestants
from ebm.compute.gemm import Precision
from ebm.training.schedules import as_schedule
from neural import VAE
from neural.layers import Dense, Tanh
from neural.vae import _Objective


def model(visible: int, hidden: int, latent: int, precision: Precision = None, device: str = "cpu") -> tuple[VAE, _Objective]:
    """The network and its objective; the layer of codes, which is small, has float32 products always."""
    encoder = [Dense(hidden, precision=precision), Tanh()]
    decoder = [Dense(hidden, precision=precision), Tanh(), Dense(visible, precision=precision)]
    found = VAE(encoder, decoder, latent=latent, inputs=visible, device=device, seed=1)
    return found, _Objective(found, as_schedule(1.0), 1, "elbo")


def torch_loss(dense: Any, v: Any) -> Any:
    """Minus the bound, per row."""
    import torch

    mean, log_variance = dense(1, torch.tanh(dense(0, v))).chunk(2, dim=1)
    z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
    logits = dense(3, torch.tanh(dense(2, z)))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, v, reduction="sum")
    return (loss - 0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()) / len(v)


def jax_loss(dense: Any, v: Any, key: Any) -> Any:
    """The same."""
    jax, jnp = import_module("jax"), import_module("jax.numpy")

    mean, log_variance = jnp.split(dense(1, jnp.tanh(dense(0, v))), 2, axis=1)
    z = mean + jax.random.normal(key, mean.shape) * jnp.exp(0.5 * log_variance)
    logits = dense(3, jnp.tanh(dense(2, z)))
    loss = (jax.nn.softplus(logits) - v * logits).sum()
    return (loss - 0.5 * (1 + log_variance - mean**2 - jnp.exp(log_variance)).sum()) / len(v)


def problem(visible: int = 784, hidden: int = 400, latent: int = 20, batch: int = 100) -> Problem:
    """What all train."""
    return Problem(partial(model, visible, hidden, latent), torch_loss, jax_loss, batch)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, check, time, print, draw and write."""
    parser = timing.command(__doc__, ("torch", "compile", "jax"), calls=40, visible=784, hidden=400, latent=20, batch=100)
    options = timing.parse(parser, arguments, visible=60, hidden=40, latent=5)
    sizes = options.visible, options.hidden, options.latent
    title = f"VAE {'-'.join(map(str, sizes))}, batch {options.batch}, Adam"
    timing.race(options, title, contestants(problem(*sizes, options.batch)), contestants(problem(*sizes).checked))


if __name__ == "__main__":
    main()
