"""Annealed importance sampling: one temperature of this toolkit against PyTorch's and JAX's, and against the matrix products alone.

    python -m benchmarks.ais

100 chains of a machine of 784 x 500 binary units (`--machine FILE`: of a trained one) move along the same inverse temperatures, in
float32 with log-weights in float64. Before timing, the estimates of ln Z are compared. The last line is how long Salakhutdinov & Murray's
14,500 temperatures take. There is no bfloat16 here: rounding the weights changes the machine whose Z is estimated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import timing
from benchmarks.machines import jax_on, repeated
from benchmarks.timing import Contestant, Local, Process
from ebm import RBM
from ebm.annealing import Path as Annealing
from ebm.compute import device as devices
from ebm.compute import threads
from ebm.compute.gemm import gemm
from ebm.compute.graph import Graph
from ebm.compute.random import Stream

# A call of a contestant moves its chains through so many temperatures.
STEPS = 500
PUBLISHED = 14_500


@dataclass(frozen=True)
class Chains:
    """What is annealed: a machine of these sizes, or the one saved in a file, in so many chains."""

    visible: int = 784
    hidden: int = 500
    chains: int = 100
    file: Path | None = None

    def machine(self, device: str = "cpu") -> RBM:
        """The machine of the file; else random weights large enough that the weights of chains differ, biases as of images."""
        if self.file is not None:
            return RBM.load(self.file, device=device)
        rng = np.random.default_rng(0)
        rbm = RBM(self.visible, self.hidden, device=device, seed=1)
        means = ((rbm.weights, 0, 0.08), (rbm.visible.bias, -2, 1), (rbm.hidden.bias, -1, 1))
        for array, mean, deviation in means:
            array[...] = rbm.device.asarray(rng.normal(mean, deviation, array.shape), np.float32)
        return rbm


def ours(problem: Chains, device: str = "cpu") -> Contestant:
    """`Path.anneal`, from the biases alone to the machine, in threads as `ais.estimate` does it."""
    rbm, chains = problem.machine(device), problem.chains
    path, total, calls = Annealing(rbm, [rbm.visible.bias.copy()]), np.zeros(chains), count()
    betas = np.linspace(0, 1, STEPS + 1)
    part = -(-chains // threads.number(rbm.device))
    blocks = [slice(start, min(start + part, chains)) for start in range(0, chains, part)]

    def call() -> None:
        name = f"benchmark {next(calls)}"

        def anneal(block: slice, proceed: Callable[[], None]) -> np.ndarray:
            stream = Stream(1, name, rbm.device)
            states = path.draw_base(block.stop - block.start, stream, block.start)
            stream.advance_()
            return rbm.device.to_host(path.anneal(states, betas, stream, block.start))

        total[...] += np.concatenate(threads.over_blocks(rbm.device, blocks, anneal))

    return Contestant(call, lambda: [total], steps=STEPS)


def in_torch(problem: Chains, compiled: bool = False, device: str = "cpu") -> Contestant:
    """PyTorch, on its own threads."""
    import torch

    rbm = problem.machine()
    w, b, c = (torch.from_numpy(x.copy()).to(device) for x in (rbm.weights, rbm.visible.bias, rbm.hidden.bias))
    betas, total = torch.linspace(0, 1, STEPS + 1, device=device), np.zeros(problem.chains)
    softplus = torch.nn.functional.softplus

    def step(v: Any, before: Any, after: Any) -> tuple[Any, Any]:
        z = torch.addmm(c, v, w)
        ratio = (softplus(after * z) - softplus(before * z)).sum(1, dtype=torch.float64)
        h = (torch.rand_like(z) < torch.sigmoid(after * z)).float()
        p = torch.sigmoid(b + after * (h @ w.t()))
        return (torch.rand_like(p) < p).float(), ratio

    move = repeated(step, "compiled" if compiled else "plain", device)

    @torch.no_grad()
    def call() -> None:
        v = torch.bernoulli(torch.sigmoid(b).expand(problem.chains, -1))
        log_weights = torch.zeros(problem.chains, dtype=torch.float64, device=device)
        for before, after in pairwise(betas):
            v, ratio = move(v, before, after)
            if compiled and device == "cuda":
                v = v.clone()  # the next replay of its graph writes there
            log_weights += ratio
        total[...] += log_weights.cpu().numpy()

    return Contestant(call, lambda: [total], steps=STEPS)


def in_jax(problem: Chains, device: str = "cpu") -> Contestant:
    """JAX, all temperatures in one loop under jit; its log-weights are float32 sums of a temperature's terms, added up in float64."""
    jax, jnp = import_module("jax"), import_module("jax.numpy")
    product, rbm = jax_on(device, None), problem.machine()
    w, b, c = (jnp.array(x) for x in (rbm.weights, rbm.visible.bias, rbm.hidden.bias))
    betas, total, calls = jnp.linspace(0, 1, STEPS + 1), np.zeros(problem.chains), count()

    @jax.jit
    def anneal(key: Any, w: Any) -> Any:
        def step(v: Any, given: Any) -> tuple[Any, Any]:
            before, after, key = given
            up, down = jax.random.split(key)
            z = product(v, w) + c
            h = (jax.random.uniform(up, z.shape) < jax.nn.sigmoid(after * z)).astype(jnp.float32)
            p = jax.nn.sigmoid(b + after * product(h, w.T))
            ratio = (jax.nn.softplus(after * z) - jax.nn.softplus(before * z)).sum(1)
            return (jax.random.uniform(down, p.shape) < p).astype(jnp.float32), ratio

        keys = jax.random.split(key, STEPS + 1)
        v = (jax.random.uniform(keys[0], (problem.chains, b.size)) < jax.nn.sigmoid(b)).astype(jnp.float32)
        return jax.lax.scan(step, v, (betas[:-1], betas[1:], keys[1:]))[1]

    def call() -> None:
        total[...] += np.asarray(anneal(jax.random.key(next(calls)), w), np.float64).sum(axis=0)

    return Contestant(call, lambda: [total], steps=STEPS)


def products_alone(problem: Chains, device: str = "cpu") -> Contestant:
    """The two products of each temperature by `gemm`, on states that are on as often as the machine's: the floor."""
    on, rbm = devices.get(device), problem.machine(device)
    if problem.file is None:
        share = [1 / (1 + np.exp(-on.to_host(layer.bias))) for layer in rbm.layers]
        rng = np.random.default_rng(1)
        states = [rng.random((problem.chains, p.size)) < p for p in share]
    else:
        v = rbm.sample(problem.chains, steps=100, seed=1)
        states = [v, rbm.transform(v, seed=1)]
    v, h = (on.asarray(x, np.float32) for x in states)
    up, down = on.zeros(h.shape, h.dtype), on.zeros(v.shape, v.dtype)

    def floor() -> None:
        gemm(v, rbm.weights, up)
        gemm(h, rbm.weights.T, down)

    return Contestant(partial(Graph(on), floor), wait=on.synchronize)


def log_mean(log_weights: np.ndarray) -> tuple[float, float]:
    """ln of the mean weight and its standard error."""
    weights = np.exp(log_weights - log_weights.max())
    return float(log_weights.max() + np.log(weights.mean())), float(weights.std() / weights.mean() / np.sqrt(weights.size))


def check(contestants: Mapping[str, Local | Process]) -> None:
    """Raise unless all estimate the same ln Z."""
    found = {name: log_mean(np.concatenate([c.change(1)[0] for _ in range(3)])) for name, c in contestants.items()}
    for name, (value, error) in found.items():
        print(f"ln Z less that of the base, {name}: {value:.2f} ± {error:.2f}")
        if abs(value - found["ours"][0]) > 5 * np.hypot(error, found["ours"][1]) + 0.01:
            raise SystemExit(f"{name} and ours do not compute the same thing")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, check, time, print, draw and write."""
    sizes = {"visible": 784, "hidden": 500, "chains": 100}
    parser = timing.command(__doc__, ("torch", "compile", "jax"), rounds=9, calls=5 * STEPS, **sizes)
    parser.add_argument(
        "--machine", type=Path, help="a saved RBM of Bernoulli units, whose states are as sparse as those of its data"
    )
    options = timing.parse(parser, arguments, visible=30, hidden=20)
    problem = Chains(options.visible, options.hidden, options.chains, options.machine)
    entries: timing.Entries = {
        "ours": (None, partial(ours, problem)),
        "torch": ("torch", partial(in_torch, problem)),
        "torch.compile": ("compile", partial(in_torch, problem, True)),
        "jax": ("jax", partial(in_jax, problem)),
        "products alone": (None, partial(products_alone, problem)),
    }
    rbm = problem.machine()
    title = f"one temperature of AIS, {rbm.inputs} x {rbm.outputs}, {options.chains} chains, float32"
    seconds = timing.race(options, title, entries, check=check)["ours"]
    print(f"{PUBLISHED} temperatures: {PUBLISHED * seconds:.1f} s")


if __name__ == "__main__":
    main()
