"""Networks of dense layers, trained by everyone: from the same weights on the same batches with Adam."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from itertools import count
from typing import Any, Literal

import numpy as np

from benchmarks.machines import jax_on, operand, repeated
from benchmarks.timing import Contestant, Entries, Training
from ebm.compute import device as devices
from ebm.compute.device import CPU
from ebm.compute.gemm import Precision, gemm, prepared
from ebm.compute.graph import Graph
from ebm.data.minibatches import Minibatches
from ebm.training import Adam
from neural.step import Step

RATE = 1e-3

# "plain" is written as tutorials write it, "fused" has PyTorch's fused Adam, "compiled" the loss under torch.compile besides, "graph" the
# fused step in a CUDA graph.
Form = Literal["plain", "fused", "compiled", "graph"]


@dataclass(frozen=True)
class Problem:
    """What is trained: `model(precision=..., device=...)` makes ours and its objective; the peers' losses of rows v are
    `torch_loss(dense, v)` and `jax_loss(dense, v, key)`, where `dense(k, x)` is layer k of x."""

    model: Callable[..., tuple[Any, Any]]
    torch_loss: Callable[..., Any]
    jax_loss: Callable[..., Any]
    batch: int = 100

    @property
    def checked(self) -> Problem:
        """This with so many rows that the noise of a few steps is small against what they learn."""
        return replace(self, batch=2000)

    def parameters(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weights and biases of each layer, where all begin."""
        return [(layer.own["weights"], layer.own["bias"]) for layer in _layers(self.model()[0])]

    def batches(self, device: Any = CPU) -> Minibatches:
        """Batches of rows (10000, inputs) in [0, 1] with a low-dimensional cause behind each."""
        rng = np.random.default_rng(0)
        rows = 1 / (1 + np.exp(2 - rng.normal(size=(10_000, 20)) @ rng.normal(size=(20, self.parameters()[0][0].shape[0]))))
        return Minibatches(rows.astype(np.float32), self.batch, device=device, seed=1)

    def order(self) -> np.ndarray:
        """The numbers of the rows of all batches of an epoch, (batches, batch)."""
        batches = self.batches()
        return batches.order(0, 0, len(batches) * self.batch).reshape(-1, self.batch)


def contestants(problem: Problem) -> Entries:
    """All of them for the CPU; the products alone are the floor."""
    low: dict[str, Any] = {"precision": "bfloat16"}
    return {
        "ours": (None, partial(ours, problem)),
        "ours, bfloat16": (None, partial(ours, problem, **low)),
        "torch": ("torch", partial(in_torch, problem, "plain")),
        "torch, fused": ("torch", partial(in_torch, problem, "fused")),
        "torch, autocast": ("torch", partial(in_torch, problem, "fused", **low)),
        "torch.compile": ("compile", partial(in_torch, problem, "compiled")),
        "torch.compile, autocast": ("compile", partial(in_torch, problem, "compiled", **low)),
        "jax": ("jax", partial(in_jax, problem)),
        "jax, bfloat16": ("jax", partial(in_jax, problem, **low)),
        "products alone": (None, partial(products_alone, problem)),
        "products alone, bfloat16": (None, partial(products_alone, problem, **low)),
    }


def _layers(model: Any) -> list[Any]:
    return [layer for layer in model.network.layers if layer.own]


def training(problem: Problem, precision: Precision = None, device: str = "cpu") -> Training:
    """What `fit` does."""
    model, objective = problem.model(precision=precision, device=device)
    batches = problem.batches(model.device)
    step = Step(model.parameters, objective, Adam(RATE), steps_per_epoch=len(batches), seed=1)
    to_host = model.device.to_host
    return Training(step, batches, lambda: [to_host(k.own["weights"]) for k in _layers(model)], model.device.synchronize)


def ours(problem: Problem, precision: Precision = None, device: str = "cpu") -> Contestant:
    """This toolkit."""
    return training(problem, precision, device).contestant()


def products_alone(problem: Problem, precision: Precision = None, device: str = "cpu") -> Contestant:
    """The step's matrix products by `gemm`, with weights prepared before: the floor."""
    on, rng = devices.get(device), np.random.default_rng(0)
    weights = [on.asarray(w) for w, _ in problem.parameters()]
    gradients = [on.zeros(w.shape, w.dtype) for w in weights]
    below, above = ([on.asarray(rng.random((problem.batch, w.shape[k])), np.float32) for w in weights] for k in (0, 1))
    w, w_t = zip(*(prepared(array, precision) for array in weights), strict=True)
    x, y = ([operand(array, precision) for array in arrays] for arrays in (below, above))
    up, down = ([on.zeros(array.shape, np.float32) for array in arrays] for arrays in (above, below))

    def floor() -> None:
        for k in range(len(w)):
            gemm(x[k], w[k], up[k], precision=precision)
        for k in reversed(range(len(w))):
            gemm(x[k].T, y[k], gradients[k], precision=precision)
            if k:
                gemm(y[k], w_t[k], down[k], precision=precision)

    return Contestant(partial(Graph(on), floor), wait=on.synchronize)


def in_torch(problem: Problem, form: Form = "fused", precision: str | None = None, device: str = "cpu") -> Contestant:
    """PyTorch, on its own threads."""
    import torch

    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    layers = torch.nn.ModuleList()
    for weights, bias in problem.parameters():
        layer = torch.nn.Linear(*weights.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weights.T.copy()))
            layer.bias.copy_(torch.from_numpy(bias))
        layers.append(layer)
    layers.to(device)
    optimizer = torch.optim.Adam(layers.parameters(), lr=RATE, fused=form != "plain", capturable=form == "graph")
    x, order = (torch.from_numpy(array).to(device) for array in (problem.batches().data, problem.order()))
    number, place = count(), torch.zeros(1, dtype=torch.int64, device=device)

    def batch() -> Any:
        if form != "graph":
            return x[order[next(number) % len(order)]]
        rows = order.index_select(0, place.add_(1).remainder(len(order)))[0]
        return x.index_select(0, rows)

    def objective(v: Any) -> Any:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            return problem.torch_loss(lambda k, x: layers[k](x), v)

    loss = repeated(objective, "compiled" if form == "compiled" else "plain", device)

    def step() -> None:
        optimizer.zero_grad()
        loss(batch()).backward()
        optimizer.step()

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    call = repeated(step, "graph", device) if form == "graph" else step
    return Contestant(call, lambda: [layer.weight.detach().cpu().numpy().T for layer in layers], wait)


def in_jax(problem: Problem, precision: str | None = None, device: str = "cpu") -> Contestant:
    """JAX, the whole step under jit."""
    jax, jnp = import_module("jax"), import_module("jax.numpy")
    product = jax_on(device, precision)

    def loss(parameters: Any, v: Any, key: Any) -> Any:
        def dense(k: int, x: Any) -> Any:
            w, b = parameters[k]
            return product(x, w) + b

        return problem.jax_loss(dense, v, key)

    def step(state: Any, x: Any, order: Any) -> Any:
        parameters, first, second, number, key = state
        key, noise = jax.random.split(key)
        gradient = jax.grad(loss)(parameters, x[order[number % len(order)]], noise)
        number = number + 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
        second = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, second, gradient)
        scale, root = RATE / (1 - 0.9**number), jnp.sqrt(1 - 0.999**number)
        moved = jax.tree.map(lambda p, m, s: p - scale * m / (jnp.sqrt(s) / root + 1e-8), parameters, first, second)
        return moved, first, second, number, key

    parameters = [(jnp.array(w), jnp.array(b)) for w, b in problem.parameters()]
    zeros = [jax.tree.map(jnp.zeros_like, parameters) for _ in range(2)]
    state = (parameters, *zeros, jnp.zeros((), int), jax.random.key(0))
    x, order, jitted = jnp.array(problem.batches().data), jnp.array(problem.order()), jax.jit(step, donate_argnums=0)

    def call() -> None:
        nonlocal state
        state = jitted(state, x, order)

    return Contestant(call, lambda: [np.asarray(w) for w, _ in state[0]], lambda: jax.block_until_ready(state))
