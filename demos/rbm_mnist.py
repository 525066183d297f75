"""RBMs on MNIST: the published table of test log-likelihoods, reprinted with ours beside it.

    python -m demos.rbm_mnist --out out/rbm_mnist

Two hours on two cores; a run that is stopped goes on where it was when the command is given again. Prints and draws

- 16 hidden units, thresholded images, also inverted, normal and centered gradient: exact log-likelihoods;
- 500 hidden units, learning rules given the same time, and the best of them given more: log-likelihoods between two sides, with the
  verdict of `ais.estimate`, and the likelihood against training time for each rule.

Rates and numbers of epochs were chosen on held-out training images. Training uses all 60,000, test figures are computed once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import ebm
from demos.command import arguments, completed, last_checkpoint, training_and_test
from ebm import CD, PCD, RBM, FastPCD, ParallelTempering, ais, data, likelihood
from ebm.learning import Rule
from ebm.plots.style import COLORS
from ebm.training import SGD, Callback, Checkpoint, Linear, Progress, WeightDecay
from ebm.training.loop import Run

# Test nats per image, and who published them.
PUBLISHED = {
    "centered": (-142.56, "PyDeep"),
    "normal": (-149.05, "PyDeep"),
    "centered, inverted": (-142.09, "PyDeep"),
    "normal, inverted": (-183.36, "PyDeep"),
    "CD-1": (-125.53, "Larochelle & Murray 2011"),
    "CD-3": (-105.50, "Larochelle & Murray 2011"),
    "CD-25": (-86.34, "Larochelle & Murray 2011"),
    "best": (-84.6, "Grosse & Salakhutdinov 2015"),
}


@dataclass(frozen=True)
class Recipe:
    """How 500 hidden units are trained. Rates fall linearly to zero; they were chosen among 0.1, 0.2 and 0.4 on held-out images, after
    80 seconds of training."""

    rule: Rule
    epochs: int
    rate: float = 0.2


# About eight minutes of training each on two quiet cores, eleven for the best.
RECIPES = {
    "CD-1": Recipe(CD(1), 232, rate=0.4),
    "CD-3": Recipe(CD(3), 128, rate=0.4),
    "CD-25": Recipe(CD(25), 23),
    "PCD-1": Recipe(PCD(1, chains=250), 236),
    "PCD-5": Recipe(PCD(5, chains=250), 89),
    "FastPCD-1": Recipe(FastPCD(1, chains=250, fast_rate=0.01), 150),
    "parallel tempering": Recipe(ParallelTempering(1, chains=250, levels=5), 44),
    "best": Recipe(PCD(1, chains=250), 300),
}
SMALL = ("centered", "normal", "centered, inverted", "normal, inverted")
PRECISIONS, SEEDS = (None, "bfloat16"), (1, 2, 3)
SNAPSHOTS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)


class Snapshots(Callback):
    """Saves the machine at some epochs, and times the epochs without what callbacks do."""

    def __init__(self, rbm: RBM, folder: Path, epochs: int) -> None:
        self.rbm, self.folder = rbm, folder
        self.due = {max(1, round(share * epochs)) for share in SNAPSHOTS}
        self.durations: list[float] = []
        self.taken: list[int] = []

    @property
    def pace(self) -> float:
        """Seconds an epoch takes while nothing else keeps the cores busy: a tenth of the epochs were faster."""
        return float(np.quantile(self.durations, 0.1))

    def on_start(self, run: Run) -> None:
        self.since = time.perf_counter()

    def on_epoch(self, run: Run) -> None:
        self.rbm.device.synchronize()
        self.durations.append(time.perf_counter() - self.since)
        if run.epoch in self.due:
            self.rbm.save(self.folder / f"{run.epoch:04d}.safetensors")
            self.taken.append(run.epoch)
        self.since = time.perf_counter()

    def on_checkpoint(self, run: Run) -> None:
        self.since = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        return {"durations": self.durations, "taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.durations, self.taken = state["durations"], state["taken"]


def small_machine(name: str, train: np.ndarray, test: np.ndarray, quick: bool, device: str) -> dict[str, Any]:
    """The exact test log-likelihood of 16 hidden units on thresholded images, averaged over seeds: each ends in an optimum of its own."""
    rows, held = (1 - x if "inverted" in name else x for x in (data.threshold(train), data.threshold(test)))
    epochs, nats = 2 if quick else 50, []
    for seed in range(1, 3 if quick else 6):
        rbm = RBM(784, 16, device=device, seed=seed)
        optimizer = SGD(Linear(0.1, 0.0, epochs))
        rbm.fit(rows, epochs=epochs, learning=PCD(1), optimizer=optimizer, centered="centered" in name, callbacks=[Progress()])
        nats.append(float(likelihood.log_probability(rbm, held, likelihood.exact_log_partition(rbm)).mean()))
    return {
        "test": float(np.mean(nats)),
        "standard error over seeds": float(np.std(nats, ddof=1) / np.sqrt(len(nats))),
        "seeds": nats,
    }


def trained(
    recipe: Recipe, train: np.ndarray, epochs: int, folder: Path, device: str, seed: int = 1, precision: Any = None
) -> tuple[RBM, Snapshots]:
    """500 hidden units after `epochs` epochs; goes on from the last checkpoint in `folder`."""
    rbm = RBM(784, 500, device=device, seed=seed, precision=precision)
    checkpoints, snapshots = folder / "checkpoints", Snapshots(rbm, folder, epochs)
    folder.mkdir(parents=True, exist_ok=True)
    rbm.fit(
        train,
        epochs=epochs,
        batch_size=250,
        learning=recipe.rule,
        optimizer=SGD(Linear(recipe.rate, 0.0, epochs)),
        penalties=[WeightDecay(2e-5)],
        centered=True,
        binarization="stochastic",
        callbacks=[Progress(), snapshots, Checkpoint(checkpoints, every_epochs=5, keep=1)],
        resume=last_checkpoint(checkpoints),
    )
    return rbm, snapshots


def rule(name: str, train: np.ndarray, test: np.ndarray, quick: bool, folder: Path, device: str) -> dict[str, Any]:
    """Train by one rule; the test log-likelihood between its sides, and that of the snapshots by forward annealing."""
    recipe, bits = RECIPES[name], data.binarize(test, seed=1)
    epochs = max(2, recipe.epochs // 100) if quick else recipe.epochs
    rbm, snapshots = trained(recipe, train, epochs, folder, device)
    effort: dict[str, Any] = (
        {"chains": 20, "temperatures": 100, "sweeps": 10} if quick else {"chains": 500, "temperatures": 10_000}
    )
    estimate = ais.estimate(rbm, data=train, seed=1, progress=True, **effort)
    print(f"{name}: {estimate}", flush=True)
    curve = []
    for epoch in snapshots.taken:
        at_epoch = estimate
        if epoch < epochs:
            at = ebm.load(folder / f"{epoch:04d}.safetensors", device=device)
            at_epoch = ais.estimate(at, data=train, temperatures=20 if quick else 5000, reverse=False, seed=1)
        else:
            at = rbm
        nats = likelihood.log_probability(at, bits, at_epoch)
        curve.append({"epoch": epoch, "seconds": epoch * snapshots.pace, "test": float(nats.mean())})
    test_nats = likelihood.log_probability(rbm, bits, estimate)
    highest = max(side.log_partition for side in estimate.sides.values())
    return {
        "recipe": str(recipe),
        "seconds": epochs * snapshots.pace,
        "seconds on the clock": sum(snapshots.durations),
        "test": float(test_nats.mean()),
        "test, by the highest side": float(test_nats.mean() + estimate.log_partition - highest),
        "standard error of the test mean": float(test_nats.std(ddof=1) / np.sqrt(len(test_nats))),
        "training": float(likelihood.log_probability(rbm, data.binarize(train[:10_000], seed=2), estimate).mean()),
        "log partition": estimate.log_partition,
        "standard error": estimate.standard_error,
        "reverse": estimate.reverse,
        "gap": estimate.gap,
        "certified": estimate.certified,
        "objections": list(estimate.objections),
        "curve": curve,
    }


def precisions(
    seed: int, precision: Any, train: np.ndarray, test: np.ndarray, quick: bool, folder: Path, device: str
) -> dict[str, Any]:
    """A shorter run of the best rule, for the comparison of float32 and bfloat16 products."""
    recipe, epochs = RECIPES["best"], 2 if quick else 40
    rbm, snapshots = trained(recipe, train, epochs, folder, device, seed, precision)
    chains, temperatures = (50, 100) if quick else (500, 10_000)
    estimate = ais.estimate(rbm, data=train, chains=chains, temperatures=temperatures, reverse=False, seed=1)
    nats = likelihood.log_probability(rbm, data.binarize(test, seed=1), estimate)
    return {"test": float(nats.mean()), "standard error": estimate.standard_error, "seconds": epochs * snapshots.pace}


def draw(results: dict[str, Any], path: Path) -> None:
    """Test log-likelihood against the time of training, a line for each rule."""
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    axes = figure.subplots()
    for name, color in zip(RECIPES, (*COLORS, COLORS[3]), strict=True):
        curve = results[name]["curve"]
        line, label = ("o--", "best: PCD-1, longer") if name == "best" else ("o-", name)
        axes.plot([c["seconds"] / 60 for c in curve], [c["test"] for c in curve], line, ms=3, color=color, label=label)
    axes.axhline(PUBLISHED["best"][0], color="0.5", lw=0.8, ls=":")
    axes.annotate(
        "best published RBM", (0.01, PUBLISHED["best"][0]), xycoords=("axes fraction", "data"), va="bottom", color="0.4"
    )
    axes.set(xscale="log", xlabel="minutes of training, by the end of which the rate has fallen to zero", ylim=(-115, -82))
    axes.set_ylabel("test log-likelihood (nats)")
    minutes = [0.5, 1, 2, 5, 10]
    axes.set_xticks(minutes, [f"{m:g}" for m in minutes])
    axes.minorticks_off()
    figure.legend(frameon=False, fontsize=8, loc="outside right center")
    figure.savefig(path, dpi=110)


def table(results: dict[str, Any]) -> None:
    """Ours beside the published figures, and the two precisions beside each other."""
    print(f"\n{'16 hidden units, exact':28}{'test nats':>10}{'± seeds':>9}{'published':>11}")
    for name in SMALL:
        ours, (published, who) = results[name], PUBLISHED[name]
        print(f"{name:28}{ours['test']:10.2f}{ours['standard error over seeds']:9.2f}{published:11.2f}  {who}")
    print(f"\n{'500 hidden units':28}{'test nats':>10}{'at worst':>9}{'published':>11}{'minutes':>9}")
    for name in RECIPES:
        ours, known = results[name], PUBLISHED.get(name)
        theirs, who = (f"{known[0]:11.2f}", known[1]) if known else (" " * 11, "")
        row = f"{name:28}{ours['test']:10.2f}{ours['test, by the highest side']:9.2f}{theirs}{ours['seconds'] / 60:9.1f}"
        print(f"{row}  {who}{'' if ours['certified'] else '  NOT CERTIFIED'}")
    pairs = [[results[f"{precision or 'float32'}, seed {seed}"]["test"] for precision in PRECISIONS] for seed in SEEDS]
    print(f"\nbfloat16 less float32, by seed: {', '.join(f'{b - a:+.2f}' for a, b in pairs)} nats")


def said(found: Mapping[str, Any]) -> str:
    """A result in words; the small machines' training isn't timed."""
    return f"{found['test']:.2f} test nats" + (f", {found['seconds']:.0f} s of training" if "seconds" in found else "")


def main() -> None:
    """Everything that is not in the results yet; then the table and the plot."""
    options = arguments(__doc__, "rbm_mnist", (*SMALL, *RECIPES))
    train, test = (part.images for part in training_and_test("mnist", 1000 if options.quick else None))
    tasks: dict[str, Callable[[], dict[str, Any]]] = {}
    for name in SMALL:
        tasks[name] = partial(small_machine, name, train, test, options.quick, options.device)
    for name in RECIPES:
        tasks[name] = partial(rule, name, train, test, options.quick, options.out / "runs" / name, options.device)
    for seed in SEEDS:
        for precision in PRECISIONS:
            name = f"{precision or 'float32'}, seed {seed}"
            folder = options.out / "runs" / name
            tasks[name] = partial(precisions, seed, precision, train, test, options.quick, folder, options.device)
    results = completed(options, "rbm_mnist", tasks, said)
    if not options.only:
        draw(results, options.out / "likelihood-by-time.png")
        table(results)


if __name__ == "__main__":
    main()
