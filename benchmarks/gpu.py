"""Everything on a GPU in one command: tests, checks, then this toolkit against PyTorch, JAX and the matrix products alone.

    python -m benchmarks.gpu --json benchmarks/results/gpu.json
    python -m benchmarks.gpu --only cd pcd --peers ""

First come the tests that need a GPU, and those of kernels under compute-sanitizer. Checked are, for each step, that from one state it comes
out as the CPU's; how many nodes its CUDA graph has, the gathering of the batch included; and that replayed steps do what steps do. Nothing
in a step makes the host wait, or it could not be captured. Timed are steps as `fit` makes them, which captures them, uncaptured ones,
PyTorch's eager ones, those under torch.compile(mode="reduce-overhead"), those captured by hand, and JAX's; at float32, TF32 and bfloat16.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ais, autoencoder, machines, networks, timing, vae
from benchmarks.figures import bars, table, write_json
from benchmarks.machines import Machine, repeated
from benchmarks.timing import Contestant, Entries, Make, Training, plainly
from ebm.compute import device as devices
from ebm.data.minibatches import Minibatches
from ebm.training import Adam
from neural import GAN
from neural.adversarial import AdversarialStep
from neural.layers import Dense, LeakyReLU, ReLU, Sigmoid

# As the tests compare steps of two devices in float32; a sample may differ where rounding moves its probability across the uniform.
RTOL, ATOL, SHARE = 1e-4, 2e-6, 0.01
PRECISIONS = (None, "tf32", "bfloat16")


# What devices are called in PyTorch and JAX.
PEERS = {"gpu": "cuda", "cpu": "cpu"}
# Forms of PyTorch's contestants, by name.
MACHINE = {"torch": "tuned", "torch.compile": "compiled", "torch, graph": "graph"}
NETWORK = {"torch": "fused", "torch.compile": "compiled", "torch, graph": "graph"}
# Runs of tests. The checker knows no bounds within CuPy's pool of memory, so that it is done without.
_WITHOUT_POOL = "import sys, cupy, pytest; cupy.cuda.set_allocator(None); sys.exit(pytest.main(sys.argv[1:]))"
_GPU_TESTS = ("-q", "-m", "gpu", "-p", "no:cacheprovider")
_KERNELS = ("tests/compute/test_kernels.py", "tests/compute/test_random.py")
SUITES = {
    "tests": [sys.executable, "-m", "pytest", *_GPU_TESTS],
    "memcheck": ["compute-sanitizer", "--error-exitcode", "9", sys.executable, "-c", _WITHOUT_POOL, *_GPU_TESTS, *_KERNELS],
}
# Numbers of noise that a generator starts with.
LATENT = 100
# So many, of which the last ones are replayed.
STEPS = 6


@dataclass(frozen=True)
class Subject:
    """A training step: `training(precision=, device=)`, `in_torch(form=, precision=, device=)`, the forms of PyTorch's,
    `in_jax(precision=, device=)`, and its `products` alone; `checked` is the same with so many rows that contestants can be compared."""

    training: Callable[..., Training]
    in_torch: Callable[..., Contestant]
    forms: Mapping[str, str]
    in_jax: Callable[..., Contestant] | None = None
    products: Callable[..., Contestant] | None = None
    checked: Subject | None = None


def gan(visible: int, hidden: int, batch: int, precision: str | None = None, device: str = "cpu") -> Training:
    """What `GAN.fit` does: dense networks, from 100 numbers to rows, and from rows to one."""
    made, judge = [Dense(hidden), ReLU(), Dense(visible), Sigmoid()], [Dense(hidden), LeakyReLU(0.2), Dense(1)]
    model = GAN(made, judge, latent=LATENT, inputs=visible, device=device, seed=1)
    batches = Minibatches(Machine((visible,), batch).data(), batch, device=model.device)
    optimizer = Adam(2e-4, beta1=0.5)
    step = AdversarialStep(model, optimizer, optimizer, steps_per_epoch=len(batches))
    players = (model.generator, model.discriminator)
    layers = [layer for player in players for layer in player.layers if layer.own]
    return Training(
        step, batches, lambda: [model.device.to_host(layer.own["weights"]) for layer in layers], model.device.synchronize
    )


def gan_in_torch(
    visible: int, hidden: int, batch: int, form: str = "fused", precision: str | None = None, device: str = "cpu"
) -> Contestant:
    """The same in PyTorch."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    x = torch.from_numpy(Machine((visible,), batch).data()).to(device)
    generator = nn.Sequential(nn.Linear(LATENT, hidden), nn.ReLU(), nn.Linear(hidden, visible), nn.Sigmoid()).to(device)
    discriminator = nn.Sequential(nn.Linear(visible, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1)).to(device)
    layers = [layer for player in (generator, discriminator) for layer in player if isinstance(layer, nn.Linear)]
    for layer, weights in zip(layers, gan(visible, hidden, batch).weights(), strict=True):
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weights.T.copy()))
            layer.bias.zero_()
    options: dict[str, Any] = {"lr": 2e-4, "betas": (0.5, 0.999), "fused": True, "capturable": form == "graph"}
    make, judge = (torch.optim.Adam(player.parameters(), **options) for player in (generator, discriminator))
    entropy = nn.functional.binary_cross_entropy_with_logits

    def judged(v: Any, fake: Any) -> Any:
        real, made = discriminator(v), discriminator(fake.detach())
        return entropy(real, torch.full_like(real, 0.9)) + entropy(made, torch.zeros_like(made))

    def fooled(fake: Any) -> Any:
        made = discriminator(fake)
        return entropy(made, torch.ones_like(made))

    kind: Any = "compiled" if form == "compiled" else "plain"
    making, judging, fooling = (repeated(f, kind, device) for f in (generator, judged, fooled))

    def step() -> None:
        if form == "compiled" and device == "cuda":
            torch.compiler.cudagraph_mark_step_begin()  # else each of the three ends what the one before has made
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            fake = making(torch.randn(batch, LATENT, device=device))
            judge.zero_grad()
            judging(x[torch.randint(len(x), (batch,), device=device)], fake).backward()
            judge.step()
            make.zero_grad()
            fooling(fake).backward()
            make.step()

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    call = repeated(step, "graph", device) if form == "graph" else step
    return Contestant(call, lambda: [layer.weight.detach().cpu().numpy().T for layer in layers], wait)


def _subject(made: Any, by: Any, forms: Mapping[str, str]) -> Subject:
    """What the module `by` makes of a machine or a problem."""
    training, in_torch, in_jax, products = (
        partial(function, made) for function in (by.training, by.in_torch, by.in_jax, by.products_alone)
    )
    checked = None if made == made.checked else _subject(made.checked, by, forms)
    return Subject(training, in_torch, forms, in_jax, products, checked)


def _machine(machine: Machine) -> Subject:
    return _subject(machine, machines, MACHINE)


def _network(problem: networks.Problem) -> Subject:
    return _subject(problem, networks, NETWORK)


def subjects(quick: bool) -> dict[str, Subject]:
    """All steps that are timed here but AIS, which trains nothing."""
    rbm, dbm = ((60, 40), (60, 40, 50)) if quick else ((784, 512), (784, 500, 1000))
    sizes = (60, 40) if quick else (784, 400)
    many = Subject(partial(gan, *sizes, 4000), partial(gan_in_torch, *sizes, 4000), NETWORK)
    return {
        "cd": _machine(Machine(rbm)),
        "large": _machine(Machine((100, 100), 200) if quick else Machine((4096, 4096), 4096)),
        "pcd": _machine(Machine(rbm, steps=10, chains=250)),
        "dbm": _machine(Machine(dbm, steps=5, chains=100)),
        "autoencoder": _network(autoencoder.problem((60, 40, 20, 5)) if quick else autoencoder.problem()),
        "vae": _network(vae.problem(60, 40, 5) if quick else vae.problem()),
        "gan": Subject(partial(gan, *sizes, 100), partial(gan_in_torch, *sizes, 100), NETWORK, checked=many),
    }


def entries(subject: Subject, device: str) -> Entries:
    """The contestants of a step at each precision."""
    found: dict[str, tuple[str | None, Make]] = {}
    for precision in PRECISIONS if subject.products else (None,):
        name = f", {precision}" if precision else ""
        options: dict[str, Any] = {"precision": precision, "device": device}
        found[f"ours{name}"] = None, partial(ours, subject.training, options)
        if device == "gpu":
            found[f"ours, uncaptured{name}"] = None, partial(uncaptured, subject.training, options)
        for form, argument in subject.forms.items():
            if argument != "graph" or device == "gpu":
                peer = "compile" if argument == "compiled" else "torch"
                make = partial(subject.in_torch, form=argument, precision=precision, device=PEERS[device])
                found[f"{form}{name}"] = peer, make
        if subject.in_jax:
            found[f"jax{name}"] = "jax", partial(subject.in_jax, precision=precision, device=PEERS[device])
        if subject.products:
            found[f"products alone{name}"] = None, partial(subject.products, **options)
    return found


def ours(training: Callable[..., Training], options: Mapping[str, Any]) -> Contestant:
    """The step as `fit` makes it."""
    return training(**options).contestant()


def uncaptured(training: Callable[..., Training], options: Mapping[str, Any]) -> Contestant:
    """The step operation by operation."""
    on, made = devices.get(options["device"]), training(**options)

    def call() -> None:
        with plainly(on):
            made()

    return Contestant(call, made.weights, made.wait)


def check(training: Callable[..., Training], device: str) -> dict[str, Any]:
    """What is found of a step: the share of weights that it leaves elsewhere than on the CPU, and the nodes of its graph. Raises where
    replayed steps do anything else than steps."""
    weights, share = {}, 0.0
    for name in ("cpu", device):
        made = training(device=name)
        made()
        weights[name] = np.concatenate([array.ravel() for array in made.weights()])
        share = 1 - float(np.isclose(weights[name], weights["cpu"], RTOL, ATOL).mean())
    if share > SHARE:
        raise SystemExit(f"{share:.2%} of the weights are elsewhere on {device} than on the CPU; allowed are {SHARE:.0%}")
    if device == "cpu":
        return {"elsewhere": share, "nodes": "no graph on a CPU"}
    on, plain, replayed = devices.get(device), training(device=device), training(device=device)
    for _ in range(STEPS):
        replayed()
    with plainly(on):
        for _ in range(STEPS):
            plain()
        for x, y in zip(replayed.weights(), plain.weights(), strict=True):
            np.testing.assert_allclose(x, y, RTOL, ATOL)
        if plain.step.step % len(plain.batches) == 0:
            plain()  # the first batch of an epoch uploads its order, which can't be captured
        replay, _ = on.capture(plain)
    graph: Any = replay.__self__  # type: ignore[attr-defined]
    return {"elsewhere": share, "nodes": len(set(re.findall(r"node_(\d+)", graph.debug_dot_str())))}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, check, time, print and write after each subject."""
    # a GPU's clock takes milliseconds to rise
    parser = timing.command(__doc__, ("torch", "compile", "jax"), rounds=7, calls=400)
    known = (*SUITES, *subjects(True), "ais")
    parser.add_argument("--only", nargs="+", choices=known, default=known, metavar="SUBJECT", help=f"of {', '.join(known)}")
    parser.add_argument("--device", choices=tuple(PEERS), default="gpu", help="cpu: rehearse without one; nothing is captured")
    options = timing.parse(parser, arguments)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else JAX takes three quarters of the GPU's memory
    try:
        device = devices.get(options.device)
    except RuntimeError as error:
        raise SystemExit(f"there is no GPU here, and nothing was timed: {error}") from error
    name = device.xp.cuda.runtime.getDeviceProperties(0)["name"].decode() if options.device == "gpu" else "none, a rehearsal"
    print(f"GPU: {name}")
    seconds: dict[str, Any] = {}
    ready: dict[str, Any] = {}
    checks: dict[str, Any] = {}
    for subject in options.only:
        print(f"\n{subject}", flush=True)
        checks[subject] = {}
        try:
            if subject in SUITES:
                checks[subject]["found"] = suite(SUITES[subject]) if options.device == "gpu" else "nothing on a CPU"
                continue
            if subject == "ais":
                found = timing.contest(options, annealing(options.quick, options.device), check=ais.check)
            else:
                found = contest(subjects(options.quick)[subject], options, checks[subject])
            seconds[subject], ready[subject] = found
            print(table(found[0], [key for key in ("ours", "ours, uncaptured") if key in found[0]], found[1]), flush=True)
            if options.plot:
                bars(options.plot.with_stem(f"{options.plot.stem}-{subject}"), f"a step of {subject} on {name}", found[0])
        except (Exception, SystemExit) as error:  # the other subjects are timed nevertheless
            traceback.print_exc()
            checks[subject]["failed"] = str(error)
        finally:
            if options.json:
                write_json(options.json, "steps on a GPU", options, seconds, first_call=ready, checks=checks, gpu=name)
    if failed := [key for key, value in checks.items() if "failed" in value]:
        raise SystemExit(f"failed: {', '.join(failed)}")


def suite(command: Sequence[str]) -> str:
    """The last line that a run of tests prints; raises where it fails."""
    run = subprocess.run(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(run.stdout[-4000:], flush=True)
    last = run.stdout.strip().rpartition("\n")[2]
    if run.returncode:
        raise SystemExit(f"{' '.join(command[:3])} ended with {run.returncode}: {last}")
    return last


def contest(subject: Subject, options: Any, found: dict[str, Any]) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Check a step, which `found` is told, and time it."""
    found |= check(subject.training, options.device)
    print(", ".join(f"{key}: {value}" for key, value in found.items()), flush=True)
    small = entries(subject.checked or subject, options.device)
    # what is compiled or captured is the eager code, and takes its time
    eager = {name: entry for name, entry in small.items() if not any(word in name for word in ("compile", "graph"))}
    return timing.contest(options, entries(subject, options.device), eager)


def annealing(quick: bool, device: str) -> Entries:
    """Temperatures of AIS."""
    problem = ais.Chains(30, 20) if quick else ais.Chains()
    return {
        "ours": (None, partial(ais.ours, problem, device)),
        "torch": ("torch", partial(ais.in_torch, problem, False, PEERS[device])),
        "torch.compile": ("compile", partial(ais.in_torch, problem, True, PEERS[device])),
        "jax": ("jax", partial(ais.in_jax, problem, PEERS[device])),
        "products alone": (None, partial(ais.products_alone, problem, device)),
    }


if __name__ == "__main__":
    main()
