"""Fine-tuning a deep autoencoder, 784-1000-500-250-30: a step of this toolkit against PyTorch's, and against the matrix products alone.

    python -m benchmarks.autoencoder --peers torch

Every contestant trains the same network, sigmoid layers with a linear code, on batches of 100 by cross-entropy and Adam, in float32.
"torch" is written as tutorials write it; "torch, fused" has PyTorch's fused Adam. All take their rows from the same
`Minibatches`. Before timing, the changes of the last weights from one state are compared.
"""

from __future__ import annotations

import argparse
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import Contestant, Process, check, in_turn, table, write_json
from ebm.compute import gemm as products
from ebm.compute.device import CPU
from ebm.compute.gemm import gemm
from ebm.data.minibatches import Minibatches
from ebm.training import Adam
from neural import Autoencoder
from neural.step import Step

SIZES = (784, 1000, 500, 250, 30)
RATE = 1e-3


def rows() -> np.ndarray:
    """Data (10000, 784) in [0, 1] with a low-dimensional cause behind each row; the same at each call."""
    rng = np.random.default_rng(0)
    return CPU.asarray(1 / (1 + np.exp(2 - rng.normal(size=(10_000, 20)) @ rng.normal(size=(20, SIZES[0])))), np.float32)


def model() -> Autoencoder:
    """The network; its weights are where all begin."""
    return Autoencoder(SIZES, code="identity", device="cpu", seed=1)


def ours(batch: int) -> Contestant:
    """A step of `Autoencoder.fit`, the gathering of the batch included."""
    autoencoder, batches = model(), Minibatches(rows(), batch, seed=1)
    step = Step(autoencoder.parameters, autoencoder._objective, Adam(RATE), steps_per_epoch=len(batches), seed=1)
    return lambda: step(batches.batch(*divmod(step.step, len(batches)))), lambda: autoencoder.network.layers[-1].own["weights"]


def torch_eager(batch: int, fused: bool) -> Contestant:
    """The same in eager PyTorch, on its own threads."""
    import torch

    start, layers = model(), list[Any]()
    for layer in start.network.layers:
        if layer.own:
            linear = torch.nn.Linear(*layer.own["weights"].shape)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(layer.own["weights"].T.copy()))
                linear.bias.zero_()
            layers.append(linear)
        else:
            layers.append(torch.nn.Sigmoid())
    network, batches, steps = torch.nn.Sequential(*layers), Minibatches(rows(), batch, seed=1), count()
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, fused=fused)

    def call() -> None:
        v = torch.from_numpy(batches.batch(*divmod(next(steps), len(batches))))
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(v), v, reduction="sum") / batch
        loss.backward()
        optimizer.step()

    return call, lambda: layers[-1].weight.detach().numpy().T


def products_alone(batch: int) -> Contestant:
    """The step's matrix products in the same library: the floor."""
    network = model().network
    weights = [layer.own["weights"] for layer in network.layers if layer.own]
    gradients = [CPU.zeros(w.shape, w.dtype) for w in weights]
    widths = [*SIZES, *SIZES[-2::-1]]
    states = [CPU.asarray(np.random.default_rng(0).random((batch, width)), np.float32) for width in widths]
    others = [CPU.zeros(x.shape, x.dtype) for x in states]

    def floor() -> None:
        for k, w in enumerate(weights):
            gemm(states[k], w, others[k + 1])
        for k in range(len(weights) - 1, -1, -1):
            gemm(states[k].T, others[k + 1], gradients[k])
            if k:
                gemm(others[k + 1], weights[k].T, others[k])

    return floor, None


def main() -> None:
    """Read the command line, check, time, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="torch", help="torch, or nothing")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument(
        "--json", type=Path, help="where to write the figures, for instance benchmarks/results/autoencoder.json"
    )
    options = parser.parse_args()
    contestants = {"ours": Process(partial(ours, options.batch))}
    if options.peers == "torch":
        contestants["torch"] = Process(partial(torch_eager, options.batch, fused=False))
        contestants["torch, fused"] = Process(partial(torch_eager, options.batch, fused=True))
    elif options.peers:
        raise SystemExit(f"unknown peers {options.peers!r}; known is torch")
    check(contestants)
    contestants["products alone"] = Process(partial(products_alone, options.batch))
    times = in_turn(contestants, options.rounds, options.calls)
    print(f"\n{'-'.join(map(str, SIZES))}, batch {options.batch}, Adam, float32, BLAS: {products.library()}")
    print(table(times, "ours"))
    if options.json:
        write_json(options.json, "fine-tuning step", {"sizes": SIZES, "batch": options.batch}, times)


if __name__ == "__main__":
    main()
