"""The deep autoencoder 784-1000-500-250-30: pretrained as a belief network, unrolled, fine-tuned.

    python -m demos.deep_autoencoder --out out/deep_autoencoder

Prints the squared error per test image beside the published one, beside PCA, logistic PCA and the same network from random weights, and
draws reconstructions and the two-dimensional codes of 784-1000-500-250-2. A run that is stopped goes on where it was when the command is
given again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from demos.command import arguments
from ebm import CD, DBN, Gaussian, data, plots
from ebm.training import SGD, Adam, Checkpoint, Cosine, Linear, Progress, WeightDecay
from neural import Autoencoder, unroll
from neural.baselines import PCA, logistic_pca

PUBLISHED = {"fine-tuned": 3.00, "logistic PCA": 8.01, "PCA": 13.87}
HIDDEN = (1000, 500, 250)
PRETRAINING, EPOCHS = 20, 150


def resumed(folder: Path) -> Path | None:
    """Where a run that was stopped goes on."""
    return folder if any(folder.glob("step-*.safetensors")) else None


def pretrained(train: np.ndarray, code: int, folder: Path, epochs: int, device: str) -> DBN:
    """A belief network with a linear code, by contrastive divergence."""
    dbn = DBN([train.shape[1], *HIDDEN, Gaussian(code)], device=device, seed=1)
    settings: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": 100,
        "learning": CD(1),
        "penalties": [WeightDecay(2e-4)],
        "callbacks": [Progress()],
    }
    binary, linear = SGD(Linear(0.1, 0.01, epochs), 0.9), SGD(Linear(0.002, 0.0002, epochs), 0.9)
    per_layer = [{"optimizer": binary}] * len(HIDDEN) + [{"optimizer": linear}]
    return dbn.fit(train, per_layer=per_layer, folder=folder, **settings)


def fine_tuned(model: Autoencoder, train: np.ndarray, folder: Path, epochs: int) -> Autoencoder:
    """By Adam with a rate that falls to zero, on cross-entropy."""
    checkpoints = folder / "fine-tuning"
    return model.fit(
        train,
        epochs=epochs,
        batch_size=100,
        optimizer=Adam(Cosine(1e-3, 0.0, epochs)),
        callbacks=[Progress(), Checkpoint(checkpoints, every_epochs=5, keep=1)],
        resume=resumed(checkpoints),
    )


def of_random_weights(train: np.ndarray, code: int, device: str) -> Autoencoder:
    """The same network without pretraining."""
    return Autoencoder([train.shape[1], *HIDDEN, code], code="identity", device=device, seed=1)


def main() -> None:
    """Everything that is not in the results yet; then the pictures."""
    options = arguments(__doc__, "deep_autoencoder")
    sets = data.load("mnist")
    train, test, labels = np.concatenate([sets[0].images, sets[1].images]), sets[2].images, np.asarray(sets[2].labels)
    if options.quick:
        train, test, labels = train[:2000], test[:500], labels[:500]
    first, epochs = (1, 2) if options.quick else (PRETRAINING, EPOCHS)
    runs = options.out / "runs"
    path = options.out / "deep_autoencoder.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"quick": options.quick}
    if results["quick"] != options.quick:
        raise SystemExit(f"{path} holds results of another form; give another folder with --out")

    def deep(name: str, code: int, random: bool) -> float:
        folder = runs / name
        if random:
            model = of_random_weights(train, code, options.device)
        else:
            model = unroll(pretrained(train, code, folder / "pretraining", first, options.device))
        fine_tuned(model, train, folder, epochs).save(folder / "model.safetensors")
        return model.squared_error(test)

    def logistic() -> float:
        model = logistic_pca(784, 30, device=options.device, seed=1)
        n = 2 if options.quick else 40
        return model.fit(train, epochs=n, optimizer=Adam(Cosine(3e-3, 0.0, n)), callbacks=[Progress()]).squared_error(test)

    tasks: dict[str, Callable[[], float]] = {
        "PCA": lambda: PCA(30).fit(train).squared_error(test),
        "logistic PCA": logistic,
        "random weights": partial(deep, "random weights", 30, True),
        "fine-tuned": partial(deep, "fine-tuned", 30, False),
        "two numbers": partial(deep, "two numbers", 2, False),
    }
    for name, task in tasks.items():
        if name not in results:
            results[name] = task()
            path.write_text(json.dumps(results, indent=1) + "\n")
            print(f"{name}: squared error {results[name]:.2f} per test image", flush=True)

    model = Autoencoder.load(runs / "fine-tuned" / "model.safetensors", device=options.device)
    shown = [
        test[:10],
        model.reconstruct(test[:10]),
        np.clip(PCA(30).fit(train).decode(PCA(30).fit(train).encode(test[:10])), 0, 1),
    ]
    title = "test digits, 30 numbers of the deep autoencoder, 30 principal components"
    plots.images(np.concatenate(shown), (28, 28), columns=10, title=title).savefig(options.out / "reconstructions.png", dpi=100)
    flat = Autoencoder.load(runs / "two numbers" / "model.safetensors", device=options.device)
    plots.embedding(flat.encode(test), labels, title="784-1000-500-250-2").savefig(options.out / "codes.png", dpi=100)
    plots.embedding(PCA(2).fit(train).encode(test), labels, title="two principal components").savefig(
        options.out / "pca.png", dpi=100
    )
    print(f"\n{'squared error per test image':32}{'ours':>8}{'published':>11}")
    for name in tasks:
        published = f"{PUBLISHED[name]:11.2f}" if name in PUBLISHED else ""
        print(f"{name:32}{results[name]:8.2f}{published}")


if __name__ == "__main__":
    main()
