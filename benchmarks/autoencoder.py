"""Fine-tuning a deep autoencoder, 784-1000-500-250-30: a step of this toolkit against PyTorch's and JAX's, and the matrix products alone.

    python -m benchmarks.autoencoder

Every contestant trains the same network, sigmoid layers with a linear code, on batches of 100 by cross-entropy and Adam, see
`benchmarks.networks`. Before timing, the changes of all weights from one state are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks import timing
from benchmarks.networks import Problem, contestants
from ebm.compute.gemm import Precision
from neural import Autoencoder
from neural.layers import Dense, Layer, Sigmoid

SIZES = (784, 1000, 500, 250, 30)


def model(sizes: Sequence[int], precision: Precision = None, device: str = "cpu") -> tuple[Autoencoder, Any]:
    """The network and its objective."""
    down, up = (list[Layer]() for _ in range(2))
    for size in sizes[1:-1]:
        down += [Dense(size, precision=precision), Sigmoid()]
    for size in sizes[-2:0:-1]:
        up += [Dense(size, precision=precision), Sigmoid()]
    code, out = (Dense(size, precision=precision) for size in (sizes[-1], sizes[0]))
    found = Autoencoder([*down, code], [*up, out], inputs=sizes[0], device=device, seed=1)
    return found, found._objective


def torch_loss(depth: int, dense: Any, v: Any) -> Any:
    """Cross-entropy per row, `depth` layers down and as many up."""
    import torch

    x = v
    for k in range(2 * depth):
        z = dense(k, x)
        x = z if k == depth - 1 else torch.sigmoid(z)
    return torch.nn.functional.binary_cross_entropy_with_logits(z, v, reduction="sum") / len(v)


def jax_loss(depth: int, dense: Any, v: Any, key: Any) -> Any:
    """The same."""
    jax = import_module("jax")

    x = v
    for k in range(2 * depth):
        z = dense(k, x)
        x = z if k == depth - 1 else jax.nn.sigmoid(z)
    return (jax.nn.softplus(z) - v * z).sum() / len(v)


def problem(sizes: Sequence[int] = SIZES, batch: int = 100) -> Problem:
    """What all train."""
    depth = len(sizes) - 1
    return Problem(partial(model, tuple(sizes)), partial(torch_loss, depth), partial(jax_loss, depth), batch)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, check, time, print, draw and write."""
    parser = timing.command(__doc__, ("torch", "compile", "jax"), calls=20, batch=100)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N", help="from the rows to the code")
    options = timing.parse(parser, arguments, sizes=(60, 40, 20, 5))
    entries = contestants(problem(options.sizes, options.batch))
    title = f"fine-tuning {'-'.join(map(str, options.sizes))}, batch {options.batch}, Adam"
    timing.race(options, title, entries, contestants(problem(options.sizes).checked))


if __name__ == "__main__":
    main()
