"""Annealed importance sampling: one temperature of this toolkit against PyTorch's, and against the matrix products alone.

    python -m benchmarks.ais --peers torch

100 chains of a machine of 784 x 500 binary units (`--machine FILE`: of a trained one) move along the same inverse temperatures, in
float32 with log-weights in float64. Before timing, the estimates of ln Z are compared. The last line is how long Salakhutdinov & Murray's
14,500 temperatures take.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import Contestant, Process, in_turn, table, write_json
from ebm import RBM
from ebm.annealing import Path as Annealing
from ebm.compute import gemm as products
from ebm.compute import threads
from ebm.compute.device import CPU
from ebm.compute.gemm import gemm
from ebm.compute.random import Stream

# A call of a contestant moves its chains through so many temperatures.
STEPS = 500
PUBLISHED = 14_500


def machine(visible: int, hidden: int, path: Path | None) -> RBM:
    """The machine saved at `path`; else random weights large enough that the weights of chains differ, biases as of images."""
    if path is not None:
        return RBM.load(path, device="cpu")
    rng = np.random.default_rng(0)
    rbm = RBM(visible, hidden, device="cpu", seed=1)
    rbm.weights[...] = rng.normal(0, 0.08, rbm.weights.shape)
    rbm.visible.bias[...] = rng.normal(-2, 1, visible)
    rbm.hidden.bias[...] = rng.normal(-1, 1, hidden)
    return rbm


def ours(visible: int, hidden: int, chains: int, saved: Path | None) -> Contestant:
    """`Path.anneal`, from the biases alone to the machine, in threads as `ais.estimate` does it."""
    rbm = machine(visible, hidden, saved)
    path, total, calls = Annealing(rbm, [rbm.visible.bias.copy()]), np.zeros(chains), count()
    betas = np.linspace(0, 1, STEPS + 1)
    part = -(-chains // threads.number(CPU))
    blocks = [slice(start, min(start + part, chains)) for start in range(0, chains, part)]

    def call() -> None:
        name = f"benchmark {next(calls)}"

        def anneal(block: slice, proceed: Callable[[], None]) -> np.ndarray:
            stream = Stream(1, name)
            states = path.draw_base(block.stop - block.start, stream, block.start)
            stream.advance_()
            return path.anneal(states, betas, stream, block.start)

        total[...] += np.concatenate(threads.over_blocks(CPU, blocks, anneal))

    return call, lambda: total


def torch_eager(visible: int, hidden: int, chains: int, saved: Path | None) -> Contestant:
    """The same in eager PyTorch, on its own threads."""
    import torch

    rbm = machine(visible, hidden, saved)
    w, b, c = (torch.from_numpy(x.copy()) for x in (rbm.weights, rbm.visible.bias, rbm.hidden.bias))
    betas, total = np.linspace(0, 1, STEPS + 1), np.zeros(chains)
    softplus = torch.nn.functional.softplus

    @torch.no_grad()
    def call() -> None:
        v = torch.bernoulli(torch.sigmoid(b).expand(chains, -1))
        log_weights = torch.zeros(chains, dtype=torch.float64)
        for before, after in pairwise(betas):
            z = torch.addmm(c, v, w)
            log_weights += (softplus(after * z) - softplus(before * z)).sum(1, dtype=torch.float64)
            h = (torch.rand_like(z) < torch.sigmoid(after * z)).float()
            p = torch.sigmoid(torch.addmm(b, h, w.t(), alpha=after))
            v = (torch.rand_like(p) < p).float()
        total[...] += log_weights.numpy()

    return call, lambda: total


def products_alone(visible: int, hidden: int, chains: int, saved: Path | None) -> Contestant:
    """The two products of each temperature in the same library: the floor."""
    rbm = machine(visible, hidden, saved)
    v, h = CPU.zeros((chains, visible), np.float32), CPU.zeros((chains, hidden), np.float32)
    up, down = CPU.zeros(h.shape, h.dtype), CPU.zeros(v.shape, v.dtype)

    def floor() -> None:
        for _ in range(STEPS):
            gemm(v, rbm.weights, up)
            gemm(h, rbm.weights.T, down)

    return floor, None


def log_mean(log_weights: np.ndarray) -> tuple[float, float]:
    """ln of the mean weight and its standard error."""
    weights = np.exp(log_weights - log_weights.max())
    return float(log_weights.max() + np.log(weights.mean())), float(weights.std() / weights.mean() / np.sqrt(weights.size))


def main() -> None:
    """Read the command line, check, time, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="torch", help="torch, or nothing")
    parser.add_argument("--visible", type=int, default=784)
    parser.add_argument("--hidden", type=int, default=500)
    parser.add_argument("--chains", type=int, default=100)
    parser.add_argument(
        "--machine", type=Path, help="a saved RBM of Bernoulli units, whose states are as sparse as those of its data"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write the figures, for instance benchmarks/results/ais.json")
    options = parser.parse_args()
    start = machine(options.visible, options.hidden, options.machine)
    size = start.visible.units.size, start.hidden.units.size, options.chains, options.machine
    contestants = {"ours": Process(partial(ours, *size))}
    if options.peers:
        contestants["torch"] = Process(partial(torch_eager, *size))
        (a, error), (b, other) = (log_mean(np.concatenate([c.change(1) for _ in range(3)])) for c in contestants.values())
        print(f"ln Z less that of the base: ours {a:.2f} ± {error:.2f}, torch {b:.2f} ± {other:.2f}")
        if abs(a - b) > 5 * np.hypot(error, other):
            raise SystemExit("the two do not compute the same thing")
    contestants["products alone"] = Process(partial(products_alone, *size))
    times = {
        name: [s / STEPS for s in seconds] for name, seconds in in_turn(contestants, options.rounds, options.calls).items()
    }
    print(f"\none temperature, {size[0]} x {size[1]}, {size[2]} chains, float32, BLAS: {products.library()}")
    print(table(times, "ours"))
    print(f"{PUBLISHED} temperatures: {PUBLISHED * statistics.median(times['ours']):.1f} s")
    if options.json:
        settings: dict[str, Any] = {
            "visible": size[0],
            "hidden": size[1],
            "chains": size[2],
            "temperatures": STEPS,
            "trained": options.machine is not None,
        }
        write_json(options.json, "AIS, one temperature", settings, times)


if __name__ == "__main__":
    main()
