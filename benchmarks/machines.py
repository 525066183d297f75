"""Machines of binary layers, trained by everyone: RBMs (two layers) and deep machines (three) by contrastive divergence.

All contestants learn from the same data from the same weights, with momentum, weight decay and biases. Data drive the hidden layers as
means; chains are sampled, the last hidden states in the statistics being means. With `chains` they are persistent (PCD), without they
start at the data (CD). In a deep machine the data's phase is mean field, from an upward pass with doubled fields.

At bfloat16 the operands of products are rounded, the weights that are trained are float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any, Literal

import numpy as np

from benchmarks.timing import Contestant, Entries, Training
from ebm import CD, DBM, PCD, RBM
from ebm.compute import device as devices
from ebm.compute.device import CPU
from ebm.compute.gemm import Precision, bfloat16_bits, gemm, prepared
from ebm.compute.graph import Graph
from ebm.data.minibatches import Minibatches
from ebm.learning import Step
from ebm.training import SGD, WeightDecay

RATE, MOMENTUM, DECAY = 0.01, 0.5, 1e-4

# "plain" is written as tutorials write it; "tuned" accumulates products into velocities and samples by comparison with uniforms, the
# fastest eager code that we found; "compiled" is that under torch.compile, "graph" that in a CUDA graph.
Form = Literal["plain", "tuned", "compiled", "graph"]


@dataclass(frozen=True)
class Machine:
    """What is trained, and how: two or three layers' sizes, steps of Gibbs sampling, persistent chains, sweeps of mean field."""

    sizes: tuple[int, ...]
    batch: int = 100
    steps: int = 1
    chains: int | None = None
    sweeps: int = 5

    @property
    def checked(self) -> Machine:
        """This with so many rows that the sampling of a few steps is small against what they learn."""
        return replace(self, batch=1000, chains=self.chains and 1000)

    @property
    def rows(self) -> int:
        """Rows of the model's phase."""
        return self.chains or self.batch

    def data(self) -> np.ndarray:
        """Binary rows (10000 or more, visible) with a low-dimensional cause behind each, so that there is something to learn."""
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(max(10_000, self.batch), 20)) @ rng.normal(size=(20, self.sizes[0])) > 4
        return CPU.asarray(rows, np.float32)

    def weights(self) -> list[np.ndarray]:
        """Where all begin; biases begin at zero."""
        rng = np.random.default_rng(1)
        return [CPU.asarray(rng.normal(0, 0.1, shape), np.float32) for shape in zip(self.sizes, self.sizes[1:], strict=False)]


def contestants(machine: Machine) -> Entries:
    """All of them for the CPU; the products alone are the floor."""
    low: dict[str, Any] = {"precision": "bfloat16"}
    return {
        "ours": (None, partial(ours, machine)),
        "ours, bfloat16": (None, partial(ours, machine, **low)),
        "torch": ("torch", partial(in_torch, machine, "plain")),
        "torch, tuned": ("torch", partial(in_torch, machine, "tuned")),
        "torch, bfloat16": ("torch", partial(in_torch, machine, "tuned", **low)),
        "torch.compile": ("compile", partial(in_torch, machine, "compiled")),
        "torch.compile, bfloat16": ("compile", partial(in_torch, machine, "compiled", **low)),
        "jax": ("jax", partial(in_jax, machine)),
        "jax, bfloat16": ("jax", partial(in_jax, machine, **low)),
        "products alone": (None, partial(products_alone, machine)),
        "products alone, bfloat16": (None, partial(products_alone, machine, **low)),
    }


def training(machine: Machine, precision: Precision = None, device: str = "cpu") -> Training:
    """What `RBM.fit` and `DBM.fit` do."""
    options: dict[str, Any] = {"device": device, "seed": 1, "precision": precision}
    model = DBM(machine.sizes, **options) if len(machine.sizes) > 2 else RBM(*machine.sizes, **options)
    for connection, weights in zip(model.connections, machine.weights(), strict=True):
        connection.weights[...] = model.device.asarray(weights)
    persistent = PCD(machine.steps, machine.chains, mean_field=machine.sweeps)
    batches = Minibatches(machine.data(), machine.batch, device=model.device)
    step = Step(
        model,
        CD(machine.steps) if machine.chains is None else persistent,
        SGD(RATE, MOMENTUM),
        batch_size=machine.batch,
        steps_per_epoch=len(batches),
        penalties=[WeightDecay(DECAY)],
        measure_every=None,
    )
    return Training(
        step, batches, lambda: [model.device.to_host(c.weights) for c in model.connections], model.device.synchronize
    )


def ours(machine: Machine, precision: Precision = None, device: str = "cpu") -> Contestant:
    """This toolkit."""
    return training(machine, precision, device).contestant()


def operand(array: Any, precision: Precision) -> Any:
    """A left operand, on a GPU rounded before."""
    return bfloat16_bits(array) if precision == "bfloat16" and devices.device_of(array) is not CPU else array


def products_alone(machine: Machine, precision: Precision = None, device: str = "cpu") -> Contestant:
    """The step's matrix products by `gemm`, on states that are on as often as the step's, with weights prepared before: the floor."""
    on = devices.get(device)
    rng = np.random.default_rng(2)
    w = [on.asarray(array) for array in machine.weights()]
    gradients = [on.zeros(x.shape, x.dtype) for x in w]
    data = machine.data()

    def states(rows: int) -> list[Any]:
        hidden = [rng.random((rows, size)) < 0.5 for size in machine.sizes[1:]]
        return [on.asarray(x, np.float32) for x in (data[np.arange(rows) % len(data)], *hidden)]

    def out(rows: int) -> list[Any]:
        return [on.zeros((rows, size), np.float32) for size in machine.sizes]

    x, z = states(machine.batch), out(machine.batch)
    y, u = (x, z) if machine.chains is None else (states(machine.rows), out(machine.rows))
    up, down = zip(*(prepared(array, precision) for array in w), strict=True)
    x, y = ([operand(array, precision) for array in arrays] for arrays in (x, y))

    def floor() -> None:
        product = partial(gemm, precision=precision)
        product(x[0], up[0], z[1])
        if len(w) > 1:
            product(x[1], up[1], z[2])
            for _ in range(machine.sweeps):
                product(x[2], down[1], z[1])
                product(x[1], up[1], z[2])
        for _ in range(machine.steps):
            product(y[1], down[0], u[0])
            product(y[0], up[0], u[1])
            if len(w) > 1:
                product(y[1], up[1], u[2])
                product(y[2], down[1], u[1])
        for k, gradient in enumerate(gradients):
            product(x[k].T, x[k + 1], gradient, beta=MOMENTUM)
            product(y[k].T, y[k + 1], gradient, beta=1.0)

    return Contestant(partial(Graph(on), floor), wait=on.synchronize)


def in_torch(machine: Machine, form: Form = "tuned", precision: str | None = None, device: str = "cpu") -> Contestant:
    """PyTorch, on its own threads."""
    import torch

    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    real, plain = torch.bfloat16 if precision == "bfloat16" else torch.float32, form == "plain"
    x = torch.from_numpy(machine.data()).to(device, real)
    w = [torch.from_numpy(weights).to(device) for weights in machine.weights()]
    b = [torch.zeros(size, device=device) for size in machine.sizes]
    vw, vb = ([torch.zeros_like(array) for array in arrays] for arrays in (w, b))
    chain = (torch.rand(machine.rows, machine.sizes[1], device=device) < 0.5).to(real)

    def field(bias: Any, *products: tuple[Any, Any]) -> Any:
        if plain:
            return sum((state @ weights for state, weights in products), bias)
        z = torch.addmm(bias, *products[0])
        for state, weights in products[1:]:
            z.addmm_(state, weights)
        return z

    def mean(z: Any) -> Any:
        return torch.sigmoid(z) if plain else z.sigmoid_()

    def draw(p: Any) -> Any:
        # uniforms are float32 always: those of bfloat16 know no probability below 1/256
        return torch.bernoulli(p) if plain else (torch.rand(p.shape, device=device) < p).to(real)

    def learn(weights: Any, velocity: Any, positive: tuple[Any, Any], negative: tuple[Any, Any]) -> None:
        (v, h), (v1, h1) = positive, negative
        if plain:
            velocity.mul_(MOMENTUM).add_(v.t() @ h / len(v) - v1.t() @ h1 / len(v1) - DECAY * weights)
        elif precision == "bfloat16":
            velocity.mul_(MOMENTUM).add_(v.t() @ h, alpha=1 / len(v)).add_(v1.t() @ h1, alpha=-1 / len(v1))
            velocity.add_(weights, alpha=-DECAY)
        else:
            velocity.addmm_(v.t(), h, beta=MOMENTUM, alpha=1 / len(v)).addmm_(v1.t(), h1, alpha=-1 / len(v1))
            velocity.add_(weights, alpha=-DECAY)
        weights.add_(velocity, alpha=RATE)

    @torch.no_grad()
    def step() -> None:
        (w1, *w2), (b0, b1, *b2) = ([array.to(real) for array in arrays] for arrays in (w, b))
        v = x[torch.randint(len(x), (machine.batch,), device=device)]
        up = field(b1, (v, w1))
        if w2:
            h = mean(2 * up - b1)
            g = mean(field(b2[0], (h, w2[0])))
            for _ in range(machine.sweeps):
                h = mean(field(up, (g, w2[0].t())))
                g = mean(field(b2[0], (h, w2[0])))
            positive = [v, h, g]
        else:
            positive = [v, mean(up)]
        state = draw(positive[1]) if machine.chains is None else chain
        for k in range(machine.steps):
            v = draw(mean(field(b0, (state, w1.t()))))
            above = [draw(mean(field(b2[0], (state, w2[0]))))] if w2 else []
            h = mean(field(b1, (v, w1), *((g, w2[0].t()) for g in above)))
            if machine.chains is not None or k + 1 < machine.steps:
                state = draw(h)
        if machine.chains is not None:
            chain.copy_(state)
        negative = [v, h, *above]
        for k in range(len(w)):
            learn(w[k], vw[k], (positive[k], positive[k + 1]), (negative[k], negative[k + 1]))
        for bias, velocity, data, model in zip(b, vb, positive, negative, strict=True):
            velocity.mul_(MOMENTUM).add_(data.mean(0, dtype=torch.float32) - model.mean(0, dtype=torch.float32))
            bias.add_(velocity, alpha=RATE)

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    return Contestant(
        repeated(step, form, device, [x, chain, *w, *b, *vw, *vb]), lambda: [array.cpu().numpy() for array in w], wait
    )


def repeated(step: Any, form: Form, device: str = "cpu", tensors: Any = ()) -> Any:
    """The step in a form that is fast to call again; it moves some of the `tensors` in place."""
    import torch

    if form == "compiled" and device == "cuda":
        for tensor in tensors:  # else CUDA graphs refuse what they find changed
            torch._dynamo.mark_static_address(tensor)
        return torch.compile(step, mode="reduce-overhead")
    if form == "compiled":
        return torch.compile(step)
    if form != "graph":
        return step
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def jax_on(device: str, precision: str | None) -> Callable[[Any, Any], Any]:
    """Has JAX compute on "cpu" or "cuda" from now on; its product of two matrices."""
    jax, jnp = import_module("jax"), import_module("jax.numpy")
    jax.config.update("jax_default_device", jax.devices(device)[0])
    real = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    # by default a GPU's products of float32 are of TF32
    exact = jax.lax.Precision.HIGH if precision == "tf32" else jax.lax.Precision.HIGHEST

    def product(a: Any, b: Any) -> Any:
        return jnp.dot(a.astype(real), b.astype(real), precision=exact, preferred_element_type=jnp.float32)

    return product


def in_jax(machine: Machine, precision: str | None = None, device: str = "cpu") -> Contestant:
    """JAX, the whole step under jit."""
    jax, jnp = import_module("jax"), import_module("jax.numpy")
    product = jax_on(device, precision)

    def step(state: Any, x: Any) -> Any:
        (w, b), (vw, vb), chain, key = state
        key, *some = jax.random.split(key, 4 + 3 * machine.steps)
        keys: Iterator[Any] = iter(some)

        def draw(p: Any) -> Any:
            return (jax.random.uniform(next(keys), p.shape) < p).astype(jnp.float32)

        v = x[jax.random.randint(next(keys), (machine.batch,), 0, len(x))]
        up = b[1] + product(v, w[0])
        positive = [v, jax.nn.sigmoid(up)]
        if len(w) > 1:
            h = jax.nn.sigmoid(2 * up - b[1])
            g = jax.nn.sigmoid(b[2] + product(h, w[1]))
            for _ in range(machine.sweeps):
                h = jax.nn.sigmoid(up + product(g, w[1].T))
                g = jax.nn.sigmoid(b[2] + product(h, w[1]))
            positive = [v, h, g]
        hidden = draw(positive[1]) if machine.chains is None else chain
        for _ in range(machine.steps):
            v = draw(jax.nn.sigmoid(b[0] + product(hidden, w[0].T)))
            above = [draw(jax.nn.sigmoid(b[2] + product(hidden, w[1])))] if len(w) > 1 else []
            h = jax.nn.sigmoid(b[1] + product(v, w[0]) + sum(product(g, w[1].T) for g in above))
            hidden = draw(h)
        negative = [v, h, *above]
        vw = [
            MOMENTUM * velocity
            + product(positive[k].T, positive[k + 1]) / machine.batch
            - product(negative[k].T, negative[k + 1]) / machine.rows
            - DECAY * w[k]
            for k, velocity in enumerate(vw)
        ]
        vb = [MOMENTUM * velocity + p.mean(0) - n.mean(0) for velocity, p, n in zip(vb, positive, negative, strict=True)]
        move = jax.tree.map(lambda parameter, velocity: parameter + RATE * velocity, (w, b), (vw, vb))
        return move, (vw, vb), hidden, key

    parameters = [jnp.array(a) for a in machine.weights()], [jnp.zeros(size) for size in machine.sizes]
    key = jax.random.key(0)
    chain = (jax.random.uniform(key, (machine.rows, machine.sizes[1])) < 0.5).astype(jnp.float32)
    state = parameters, jax.tree.map(jnp.zeros_like, parameters), chain, key
    x, jitted = jnp.array(machine.data()), jax.jit(step, donate_argnums=0)

    def call() -> None:
        nonlocal state
        state = jitted(state, x)

    return Contestant(call, lambda: [np.asarray(array) for array in state[0][0]], lambda: jax.block_until_ready(state))
