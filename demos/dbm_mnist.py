"""Deep Boltzmann machines and belief networks: bounds on test images beside the published ones, samples, completions.

    python -m demos.dbm_mnist --out out/dbm_mnist

Trains one after the other a belief network 500-2000 and a deep Boltzmann machine 500-1000 on MNIST, then each within twenty minutes
on two cores: a belief network whose first layer stops early; 500-500-1000; 500-1000 with the published pretraining, and without any,
plain and centered; and both models on Fashion-MNIST and on Caltech-101 silhouettes. A run that is stopped goes on where it was when
the command is given again.

A deep Boltzmann machine begins with an RBM as its first layer and small weights above it (`DBM.on`), where nothing else is said: from
there it reached a better bound on held-out training images, in less time, than from the published pretraining.

Bounds are means over the test rows of a lower bound of ln p(v), in nats: variational for the deep Boltzmann machines, by recognition for
the belief networks, with ln Z between two sides (`ais.estimate`). Settings were chosen on held-out training images; test figures are
computed once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from demos.command import arguments, completed, last_checkpoint, training_and_test
from ebm import DBM, DBN, PCD, ais, data, likelihood, plots
from ebm.training import SGD, Callback, Checkpoint, Linear, Progress, WeightDecay
from ebm.training.loop import Run

# Nats on the test images, and who published them.
PUBLISHED = {
    "DBN 500-2000": (-84.49, "Burda et al. 2015"),
    "DBM 500-1000": (-84.62, "Salakhutdinov & Hinton 2009"),
    "DBM 500-500-1000": (-85.10, "Salakhutdinov & Hinton 2009"),
}


@dataclass(frozen=True)
class Recipe:
    """What is trained on what: `layers` are the epochs of each layer alone, `together` those of all. A DBM with one layer trained
    alone begins with that RBM, one with all of them with the published pretraining. Rates fall linearly to zero. `decay` of the weights
    is that of `demos.rbm_mnist` and `demos.density`, which chose it."""

    model: type[DBM] | type[DBN]
    hidden: tuple[int, ...]
    layers: tuple[int, ...] = ()
    together: int = 0
    centered: bool = True
    source: str = "mnist"
    temperatures: int = 5000
    # for the first RBM of a belief network, where more are needed
    first_temperatures: int | None = None
    decay: float = 2e-5
    # of the weights that `DBM.on` begins with; two further layers run away from 0.04
    deviation: float = 0.04


# How often the training images are binarized for the higher layers of a belief network; an epoch goes through all of that.
COPIES = 3
FASHION, SILHOUETTES = "fashion-mnist", "caltech101-silhouettes"
RECIPES = {
    "DBN 500-2000": Recipe(DBN, (500, 2000), (300, 40), temperatures=10_000),
    "DBM 500-1000": Recipe(DBM, (500, 1000), (300,), 150, temperatures=10_000),
    # the first layer stops early: what the second adds is then more than the doubt about ln Z
    "DBN 500-2000, young first layer": Recipe(DBN, (500, 2000), (20, 20), temperatures=10_000, first_temperatures=40_000),
    "DBM 500-500-1000": Recipe(DBM, (500, 500, 1000), (100,), 20, deviation=0.02),
    "DBM 500-1000, published pretraining": Recipe(DBM, (500, 1000), (20, 20), 20),
    "DBM 500-1000, not pretrained": Recipe(DBM, (500, 1000), (), 20, centered=False),
    "DBM 500-1000, centered, not pretrained": Recipe(DBM, (500, 1000), (), 20),
    "DBM 500-1000, Fashion-MNIST": Recipe(DBM, (500, 1000), (60,), 14, source=FASHION),
    "DBN 500-2000, Fashion-MNIST": Recipe(DBN, (500, 2000), (80, 8), source=FASHION),
    "DBM 500-1000, silhouettes": Recipe(DBM, (500, 1000), (200,), 100, source=SILHOUETTES, temperatures=10_000, decay=1e-3),
    "DBN 500-2000, silhouettes": Recipe(DBN, (500, 2000), (200, 100), source=SILHOUETTES, temperatures=10_000, decay=1e-3),
}


class Stopwatch(Callback):
    """Seconds of training, over all layers and resumed runs."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on_start(self, run: Run) -> None:
        self.since = time.perf_counter()

    def on_epoch(self, run: Run) -> None:
        now = time.perf_counter()
        self.seconds, self.since = self.seconds + now - self.since, now

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds = state["seconds"]


def trained(recipe: Recipe, train: np.ndarray, folder: Path, quick: bool, device: str) -> tuple[DBM | DBN, float]:
    """The model, and the seconds that its training took; goes on from the checkpoints in `folder`."""
    watch = Stopwatch()
    epochs = [8 if quick else n for n in recipe.layers]
    common: dict[str, Any] = {"batch_size": 250, "penalties": [WeightDecay(recipe.decay)], "binarization": "stochastic"}
    # the second layer of a belief network goes on from the first, and would be thrown back by its rate
    rates = (0.2, 0.05) if recipe.model is DBN else (0.2, 0.2)
    per_layer = [{"epochs": n, "optimizer": SGD(Linear(rate, 0.0, n))} for n, rate in zip(epochs, rates, strict=False)]
    alone = common | {
        "folder": folder / "layers",
        "learning": PCD(1, chains=250),
        "centered": True,
        "callbacks": [Progress(), watch],
    }
    sizes = [train.shape[1], *recipe.hidden]
    if recipe.model is DBN or len(epochs) == 1:
        dbn = DBN(sizes[:2], device=device, seed=1).fit(train, per_layer=per_layer[:1], **alone)
    if recipe.model is DBN:
        # from here the bound rises: it begins at the first RBM's log-likelihood
        dbn.add(dbn.top.transposed(sizes[2]))
        # and it is about bits: what comes of them is another distribution than what comes of gray levels
        gray = not set(np.unique(train)) <= {0, 1}
        bits = np.concatenate([data.binarize(train, seed=s) for s in range(COPIES)]) if gray else train
        return dbn.fit(bits, per_layer=per_layer, **alone), watch.seconds
    if len(epochs) == 1:
        dbm = DBM.on(dbn.top, sizes[2:], deviation=recipe.deviation)
    else:
        dbm = DBM(sizes, device=device, seed=1)
        if epochs:
            dbm.pretrain(train, per_layer=per_layer, **alone)
    checkpoints, n = folder / "together", 8 if quick else recipe.together
    dbm.fit(
        train,
        epochs=n,
        learning=PCD(2, chains=250, mean_field=5),
        optimizer=SGD(Linear(0.05, 0.0, n)),
        centered=recipe.centered,
        callbacks=[Progress(), watch, Checkpoint(checkpoints, every_epochs=1, keep=1)],
        resume=last_checkpoint(checkpoints),
        **common,
    )
    return dbm, watch.seconds


def evaluated(name: str, model: DBM | DBN, train: np.ndarray, test: np.ndarray, quick: bool, recipe: Recipe) -> dict[str, Any]:
    """The bound on the test rows, between the sides of ln Z, and how tight it is for some of them; for a belief network also how likely its
    first RBM alone makes them, which the layers above are to exceed."""
    besides: dict[str, Any]
    rows = data.binarize(test, seed=1)

    def effort(chains: int, temperatures: int) -> dict[str, Any]:
        chains, temperatures = (20, 100) if quick else (chains, temperatures)
        return {"chains": chains, "temperatures": temperatures, "sweeps": temperatures // 10, "seed": 1, "progress": True}

    if isinstance(model, DBN):
        below = data.binarize(train[:10_000], seed=2)
        features = model.layers[0].transform(below)
        for rbm in model.layers[1:-1]:
            features = rbm.transform(features)
        estimate = ais.estimate(model.top, data=features, **effort(100, recipe.temperatures))
        nats = likelihood.recognition_bound(model, rows, estimate, samples=2 if quick else 20, seed=1)
        sampled = likelihood.importance_sampled(model, rows[:100], estimate, samples=10 if quick else 1000, seed=1)
        tightness, error = sampled - nats[:100], np.zeros(100)
        # what the layers above have gained is a fraction of a nat
        more = recipe.first_temperatures or recipe.temperatures
        first = ais.estimate(model.layers[0], data=train, **effort(500, more))
        print(f"{name}, first RBM: {first}", flush=True)
        besides = {
            "first RBM": float(likelihood.log_probability(model.layers[0], rows, first).mean()),
            "its gap": first.gap,
            "it is certified": first.certified,
        }
    else:
        estimate = ais.estimate(model, data=train, **effort(100, recipe.temperatures))
        nats = likelihood.lower_bound(model, rows, estimate)
        tightness, error = ais.tightness(model, rows[: 2 if quick else 20], temperatures=50 if quick else 2000, seed=1)
        besides = {"deviations of the weights": [float(model.device.to_host(w).std()) for w in model.weights]}
    print(f"{name}: {estimate}", flush=True)
    highest = max(side.log_partition for side in estimate.sides.values())
    return besides | {
        "test": float(nats.mean()),
        "test, by the highest side": float(nats.mean() + estimate.log_partition - highest),
        "standard error of the test mean": float(nats.std(ddof=1) / np.sqrt(len(nats))),
        "tightness": float(tightness.mean()),
        "standard error of the tightness": float(np.sqrt((error**2).sum()) / len(error)),
        "log partition": estimate.log_partition,
        "standard error": estimate.standard_error,
        "reverse": estimate.reverse,
        "gap": estimate.gap,
        "certified": estimate.certified,
        "objections": list(estimate.objections),
    }


def draw(name: str, model: DBM | DBN, train: np.ndarray, test: np.ndarray, shape: Any, quick: bool, out: Path) -> None:
    """Samples, fantasies over Gibbs steps, completions of the right half; features of a deep Boltzmann machine."""
    steps = 20 if quick else 1000
    pictures = {
        "samples": plots.images(model.sample(100, 5 * steps, means=True, seed=1), shape, title=f"{name}: samples from noise")
    }
    stages = [1, max(2, steps // 100), max(3, steps // 10), steps]
    rows = [model.sample(10, n, means=True, seed=2) for n in stages]
    title = f"{name}: after {', '.join(map(str, stages))} Gibbs steps"
    pictures["fantasies"] = plots.images(np.concatenate(rows), shape, columns=10, title=title)
    left = np.zeros(shape[:2], bool)
    left[:, : shape[1] // 2] = True
    originals = data.binarize(test[:10], seed=3)
    completed = model.sample(10, steps, clamp=(left.ravel(), originals), means=True, seed=3)
    given = np.where(left.ravel(), originals, 0.5)
    pictures["completions"] = plots.images(
        np.concatenate([originals, given, completed]),
        shape,
        columns=10,
        title=f"{name}: right halves",
    )
    if isinstance(model, DBM):
        first, second = (model.device.to_host(w) for w in model.weights[:2])
        pictures["features-1"] = plots.filters(first[:, :100], shape, title=f"{name}: first layer")
        # a second-layer unit by the first-layer features that it is connected with most
        strongest = np.where(np.abs(second) >= np.quantile(np.abs(second), 0.98, axis=0), second, 0)
        pictures["features-2"] = plots.filters((first @ strongest)[:, :100], shape, title=f"{name}: second layer")
    stem = name.lower().replace(",", "").replace(" ", "-")
    for kind, figure in pictures.items():
        figure.savefig(out / f"{stem}-{kind}.png", dpi=90)


def run(name: str, quick: bool, device: str, out: Path) -> dict[str, Any]:
    """Train, score, draw."""
    recipe = RECIPES[name]
    images, held = training_and_test(recipe.source, 1000 if quick else None)
    train, test = images.images.astype(np.float32), held.images.astype(np.float32)
    model, seconds = trained(recipe, train, out / "runs" / name, quick, device)
    model.save(out / "runs" / name / "model.safetensors")
    found = evaluated(name, model, train, test, quick, recipe)
    draw(name, model, train, test, held.shape, quick, out)
    return {"recipe": str(recipe), "seconds": seconds} | found


def table(results: dict[str, Any], names: Sequence[str]) -> None:
    """Ours beside the published figures."""
    for name in names:
        if "deviations of the weights" in results[name]:
            print(
                f"{name}: weights have the deviations {', '.join(f'{x:.3f}' for x in results[name]['deviations of the weights'])}"
            )
        else:
            print(
                f"{name}: its first RBM alone {results[name]['first RBM']:.2f} nats, sides {results[name]['its gap']:.2f} apart"
                + ("" if results[name]["it is certified"] else ", NOT CERTIFIED")
            )
    print(f"\n{'bound on test rows, nats':40}{'ours':>9}{'at worst':>10}{'tight by':>10}{'published':>11}{'minutes':>9}")
    for name in names:
        found = results[name]
        known, who = PUBLISHED.get(name, (None, ""))
        theirs = f"{known:11.2f}" if known else " " * 11
        row = f"{name:40}{found['test']:9.2f}{found['test, by the highest side']:10.2f}{found['tightness']:10.2f}{theirs}"
        print(f"{row}{found['seconds'] / 60:9.1f}  {who}{'' if found['certified'] else '  NOT CERTIFIED'}")


def main() -> None:
    """Everything that is not in the results yet; then the table."""
    options = arguments(__doc__, "dbm_mnist", tuple(RECIPES))
    names = list(options.only) or list(RECIPES)[: 2 if options.quick else None]
    tasks = {name: partial(run, name, options.quick, options.device, options.out) for name in names}
    results = completed(options, "dbm_mnist", tasks, lambda found: f"{found['test']:.2f} test nats, a lower bound")
    if not options.only:
        table(results, names)


if __name__ == "__main__":
    main()
