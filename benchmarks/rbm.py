"""One step of contrastive divergence: this toolkit against scikit-learn and PyTorch, and against the matrix products alone.

    python -m benchmarks.rbm --peers torch,sklearn

Every contestant trains the same machine (784 x 512 Bernoulli units, batches of 100, float32 by default) with momentum, weight
decay and biases, except scikit-learn, which has neither momentum nor decay and does PCD-1. "torch" is written as tutorials write
it; "torch, tuned" accumulates the products into the velocity and samples by comparison with uniforms, the fastest eager code that
we found. Before timing, the changes of the weights from one state are compared.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import Contestant, Process, check, in_turn, table, write_json
from ebm import CD, RBM
from ebm.compute import gemm as products
from ebm.compute.device import CPU
from ebm.compute.gemm import gemm
from ebm.data.minibatches import Minibatches
from ebm.learning import Step
from ebm.training import SGD, WeightDecay

RATE, MOMENTUM, DECAY = 0.01, 0.5, 1e-4


def problem(visible: int, hidden: int) -> tuple[np.ndarray, np.ndarray]:
    """Data (10000, visible) of binary rows with a low-dimensional cause behind each, so that there is something to learn, and
    initial weights (visible, hidden); the same at each call."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(10_000, 20)) @ rng.normal(size=(20, visible)) > 4
    return CPU.asarray(data, np.float32), CPU.asarray(rng.normal(size=(visible, hidden)) * 0.01, np.float32)


def ours(visible: int, hidden: int, batch: int) -> Contestant:
    """A step of `RBM.fit`, the gathering of the batch included."""
    data, weights = problem(visible, hidden)
    rbm = RBM(visible, hidden, device="cpu", seed=1)
    rbm.weights[...] = weights
    batches = Minibatches(data, batch)
    step = Step(
        rbm,
        CD(1),
        SGD(RATE, MOMENTUM),
        batch_size=batch,
        steps_per_epoch=len(batches),
        penalties=[WeightDecay(DECAY)],
        measure_every=None,
    )
    return lambda: step(batches.batch(*divmod(step.step, len(batches)))), lambda: rbm.weights


def products_alone(visible: int, hidden: int, batch: int) -> Contestant:
    """The step's matrix products in the same library: the floor."""
    data, weights = problem(visible, hidden)
    v, h = CPU.asarray(data[:batch]), CPU.zeros((batch, hidden), np.float32)
    v2, w = CPU.asarray(data[:batch] + 0), CPU.asarray(weights + 0)
    up, down, gradient = CPU.zeros(h.shape, h.dtype), CPU.zeros(v.shape, v.dtype), CPU.zeros(w.shape, w.dtype)

    def floor() -> None:
        gemm(v, w, up)
        gemm(h, w.T, down)
        gemm(v2, w, up)
        gemm(v.T, h, gradient, beta=MOMENTUM)
        gemm(v2.T, h, gradient, beta=1.0)

    return floor, None


def torch_eager(visible: int, hidden: int, batch: int, tuned: bool) -> Contestant:
    """CD-1 in eager PyTorch, on its own threads."""
    import torch

    data, weights = problem(visible, hidden)
    x, w = torch.from_numpy(data), torch.from_numpy(weights.copy())
    b, c = torch.zeros(weights.shape[0]), torch.zeros(weights.shape[1])
    vw, vb, vc = torch.zeros_like(w), torch.zeros_like(b), torch.zeros_like(c)
    generator = torch.Generator().manual_seed(0)

    def rows() -> Any:
        return x[torch.randint(0, len(x), (batch,), generator=generator)]

    @torch.no_grad()
    def plain() -> None:
        v0 = rows()
        p0 = torch.sigmoid(v0 @ w + c)
        v1 = torch.bernoulli(torch.sigmoid(torch.bernoulli(p0) @ w.t() + b))
        p1 = torch.sigmoid(v1 @ w + c)
        vw.mul_(MOMENTUM).add_((v0.t() @ p0 - v1.t() @ p1) / batch - DECAY * w)
        vb.mul_(MOMENTUM).add_((v0 - v1).mean(0))
        vc.mul_(MOMENTUM).add_((p0 - p1).mean(0))
        for parameter, velocity in ((w, vw), (b, vb), (c, vc)):
            parameter.add_(velocity, alpha=RATE)

    @torch.no_grad()
    def fast() -> None:
        v0 = rows()
        p0 = torch.addmm(c, v0, w).sigmoid_()
        p = torch.addmm(b, (torch.rand_like(p0) < p0).float(), w.t()).sigmoid_()
        v1 = (torch.rand_like(p) < p).float()
        p1 = torch.addmm(c, v1, w).sigmoid_()
        vw.addmm_(v0.t(), p0, beta=MOMENTUM, alpha=1 / batch).addmm_(v1.t(), p1, alpha=-1 / batch).add_(w, alpha=-DECAY)
        vb.mul_(MOMENTUM).add_((v0 - v1).mean(0))
        vc.mul_(MOMENTUM).add_((p0 - p1).mean(0))
        for parameter, velocity in ((w, vw), (b, vb), (c, vc)):
            parameter.add_(velocity, alpha=RATE)

    return fast if tuned else plain, lambda: w.numpy()


def sklearn_partial_fit(visible: int, hidden: int, batch: int) -> Contestant:
    """scikit-learn's PCD-1 on one batch."""
    from sklearn.neural_network import BernoulliRBM

    data, _ = problem(visible, hidden)
    rbm = BernoulliRBM(n_components=hidden, learning_rate=RATE, batch_size=batch, random_state=0)
    rng = np.random.default_rng(0)
    return lambda: rbm.partial_fit(data[rng.integers(0, len(data), batch)]), None


def sklearn_fit(visible: int, hidden: int, batch: int) -> Contestant:
    """scikit-learn's `fit` over 20 batches; divide by 20."""
    from sklearn.neural_network import BernoulliRBM

    data, _ = problem(visible, hidden)
    rbm = BernoulliRBM(n_components=hidden, learning_rate=RATE, batch_size=batch, n_iter=1, random_state=0)
    return lambda: rbm.fit(data[: 20 * batch]), None


def main() -> None:
    """Read the command line, check, time, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="torch,sklearn", help="comma-separated: torch, sklearn")
    parser.add_argument("--visible", type=int, default=784)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--json", type=Path, help="where to write the figures, for instance benchmarks/results/rbm.json")
    options = parser.parse_args()
    peers = set(filter(None, options.peers.split(",")))
    if unknown := peers - {"torch", "sklearn"}:
        raise SystemExit(f"unknown peers {sorted(unknown)}; known are torch, sklearn")

    size = options.visible, options.hidden, options.batch
    contestants = {"ours": Process(partial(ours, *size))}
    if "torch" in peers:
        contestants["torch"] = Process(partial(torch_eager, *size, tuned=False))
        contestants["torch, tuned"] = Process(partial(torch_eager, *size, tuned=True))
    check(contestants)
    contestants["products alone"] = Process(partial(products_alone, *size))
    times = in_turn(contestants, options.rounds, options.calls)
    print(f"\nCD-1, {size[0]} x {size[1]}, batch {size[2]}, float32, BLAS: {products.library()}")
    print(table(times, "ours"))
    if "sklearn" in peers:
        pair = {"ours ": contestants["ours"], "sklearn, partial_fit": Process(partial(sklearn_partial_fit, *size))}
        pair["sklearn, fit"] = Process(partial(sklearn_fit, *size))
        slow = in_turn(pair, options.rounds, 20)
        slow["sklearn, fit"] = [seconds / 20 for seconds in slow["sklearn, fit"]]
        print(table(slow, "ours "))
        times |= slow
    if options.json:
        settings: dict[str, Any] = {"visible": size[0], "hidden": size[1], "batch": size[2], "calls": options.calls}
        write_json(options.json, "CD-1 step", settings, times)


if __name__ == "__main__":
    main()
