"""Denoising, sparse and contractive autoencoders: filters, stacked classifiers, a vector field, restored images.

    python -m demos.denoising --out out/denoising

- filters of one layer for more and more noise, and how local they are;
- three layers trained greedily by each kind of autoencoder, then fine-tuned to tell digits: test errors beside the published ones;
- where a denoising autoencoder moves the points around a curve in the plane;
- test digits with Gaussian noise, missing and wrong pixels, and what comes back of them.

A run that is stopped goes on where it was when the command is given again. Dropout in fine-tuning is that of
`demos.pretraining`, chosen on held-out digits for a belief network, its epochs were doubled with it; other settings were chosen on
held-out digits of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter, median_filter

from demos.command import arguments, completed, last_checkpoint, training_and_test
from ebm import Stack, data, plots
from ebm.compute.random import Stream
from ebm.plots.style import COLORS
from ebm.training import Adam, Checkpoint, Cosine, Progress
from neural import Autoencoder, Classifier, evaluation, unroll
from neural.corruption import Corruption, GaussianNoise, Masking, SaltAndPepper
from neural.losses import SquaredError
from neural.penalties import Contractive, KLSparsity

# Test errors in percent of three layers, and who published them.
PUBLISHED = {"plain": (1.40, "Vincent et al. 2010"), "denoising": (1.28, "Vincent et al. 2010")}
KINDS: dict[str, dict[str, Any]] = {
    "random weights": {},
    "plain": {},
    "denoising": {"corruption": Masking(0.25)},
    "sparse": {"code_penalties": (KLSparsity(0.05, 0.1),)},
    "contractive": {"code_penalties": (Contractive(0.1),)},
}
SIZES = (784, 1000, 1000, 1000)
NOISE: dict[str, Corruption] = {
    "Gaussian noise": GaussianNoise(0.5),
    "half of the pixels missing": Masking(0.5),
    "a third of the pixels wrong": SaltAndPepper(0.33),
}
SHARES = (0.0, 0.1, 0.25, 0.5)


def stem(name: str) -> str:
    """A file's name for `name`."""
    return name.lower().replace(" ", "-")


def filters(share: float, train: np.ndarray, epochs: int, device: str, out: Path) -> dict[str, float]:
    """Train one layer on digits of which a share of the pixels is missing, draw what its units look for, and say how many pixels hold
    half of a filter's energy."""
    model = Autoencoder([784, 256], tied=True, corruption=Masking(share) if share else None, device=device, seed=1)
    model.fit(train, epochs=epochs, optimizer=Adam(Cosine(2e-3, 0.0, epochs)), callbacks=[Progress()])
    weights = model.device.to_host(model.network.layers[0].own["weights"])
    title = f"{share:.0%} of the pixels missing in training"
    plots.filters(weights[:, :100], (28, 28), title=title).savefig(out / f"filters-{share:.0%}.png".replace("%", ""), dpi=90)
    energy = np.sort(weights**2, axis=0)[::-1].cumsum(axis=0)
    return {"pixels with half of the energy": float((energy < 0.5 * energy[-1]).sum(axis=0).mean() + 1)}


def classified(
    kind: str, train: data.Dataset, test: data.Dataset, pretraining: int, epochs: int, folder: Path, device: str
) -> dict[str, float]:
    """The test error after fine-tuning three layers trained as autoencoders of a `kind`."""
    stack = Stack([Autoencoder(pair, device=device, seed=1 + k, **KINDS[kind]) for k, pair in enumerate(pairwise(SIZES))])
    if kind != "random weights":
        optimizer = Adam(Cosine(1e-3, 0.0, pretraining))
        stack.fit(train.images, epochs=pretraining, optimizer=optimizer, callbacks=[Progress()], folder=folder / "pretraining")
    model = Classifier.on(unroll(stack), 10, input_dropout=0.2, dropout=0.5, seed=1)
    checkpoints = folder / "fine-tuning"
    model.fit(
        train.images,
        train.labels,
        epochs=epochs,
        optimizer=Adam(Cosine(1e-3, 0.0, epochs)),
        callbacks=[Progress(), Checkpoint(checkpoints, every_epochs=5, keep=1)],
        resume=last_checkpoint(checkpoints),
    )
    return {"test error, %": 100 * (1 - model.score(test.images, test.labels))}


def restored(kind: str, train: np.ndarray, test: np.ndarray, epochs: int, device: str, out: Path) -> dict[str, float]:
    """Train on digits with one kind of noise, and undo it on test digits: squared errors per image beside those of filters."""
    corruption = NOISE[kind]
    model = Autoencoder([784, 1000, 500], activation="relu", corruption=corruption, device=device, seed=1)
    model.fit(train, epochs=epochs, optimizer=Adam(Cosine(1e-3, 0.0, epochs)), callbacks=[Progress()])
    noisy = corruption(test, Stream(7, "corruption"))[0]
    squares = noisy.reshape(-1, 28, 28)
    found = {
        "noisy": noisy,
        "Gaussian filter": gaussian_filter(squares, (0, 1, 1)).reshape(noisy.shape),
        "median filter": median_filter(squares, (1, 3, 3)).reshape(noisy.shape),
        "autoencoder": model.reconstruct(noisy),
    }
    shown = [test[:10], noisy[:10], found["autoencoder"][:10]]
    title = f"test digits, with {kind}, restored"
    plots.images(np.concatenate(shown), (28, 28), columns=10, title=title).savefig(out / f"restored-{stem(kind)}.png", dpi=100)
    return {name: evaluation.squared_error(test, rows) for name, rows in found.items()}


def curve(n: int, seed: int) -> np.ndarray:
    """Points on a spiral in the plane, (n, 2)."""
    t = np.sqrt(np.random.default_rng(seed).uniform(0.05, 1, n)) * 3 * np.pi
    return (np.stack([t * np.cos(t), t * np.sin(t)], axis=1) / 6).astype(np.float32)


def vector_field(epochs: int, device: str, out: Path) -> dict[str, float]:
    """Learn to undo noise on a spiral; draw where points around it are moved, and say how much nearer to it they come."""
    points, noise = curve(5000, 1), 0.15
    model = Autoencoder(
        [2, 100, 100],
        activation="relu",
        loss=SquaredError(),
        corruption=GaussianNoise(noise),
        device=device,
        seed=1,
    )
    model.fit(points, epochs=epochs, optimizer=Adam(Cosine(3e-3, 0.0, epochs)), callbacks=[Progress()])
    axis = np.linspace(-1.9, 1.9, 30, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    move = model.reconstruct(grid) - grid
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    axes.plot(*points[:1500].T, ".", ms=2, color=COLORS[1])
    axes.quiver(*grid.T, *move.T, angles="xy", scale_units="xy", scale=1.5, width=0.0025, color=COLORS[0])
    axes.set(aspect="equal", title="r(x) - x of a denoising autoencoder", xlim=(-2, 2), ylim=(-2, 2))
    figure.savefig(out / "vector-field.png", dpi=100)
    held = curve(1000, 2)
    noisy = held + np.random.default_rng(3).normal(0, noise, held.shape).astype(np.float32)
    ends = {"noisy": noisy, "one step": model.reconstruct(noisy)}
    dense = curve(100_000, 4)
    return {name: float(np.mean([np.sqrt(((dense - x) ** 2).sum(axis=1).min()) for x in rows])) for name, rows in ends.items()}


def in_words(found: dict[str, float]) -> str:
    """Names and figures in a line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in found.items())


def main() -> None:
    """Everything that is not in the results yet; then the tables."""
    options = arguments(__doc__, "denoising")
    train, test = training_and_test("mnist", 1000 if options.quick else None)
    sizes = {"filters": 15, "pretraining": 10, "fine-tuning": 60, "restoration": 10, "field": 200}
    if options.quick:
        sizes = {"filters": 1, "pretraining": 1, "fine-tuning": 1, "restoration": 15, "field": 5}
    tasks: dict[str, Callable[[], dict[str, float]]] = {}
    for share in SHARES:
        tasks[f"filters, {share:.0%} missing"] = partial(
            filters, share, train.images, sizes["filters"], options.device, options.out
        )
    tasks["vector field"] = partial(vector_field, sizes["field"], options.device, options.out)
    for kind in NOISE:
        tasks[kind] = partial(restored, kind, train.images, test.images, sizes["restoration"], options.device, options.out)
    kinds = list(KINDS)[1:3] if options.quick else list(KINDS)
    for kind in kinds:
        folder, epochs = options.out / "runs" / stem(kind), sizes["fine-tuning"]
        tasks[f"stacked, {kind}"] = partial(classified, kind, train, test, sizes["pretraining"], epochs, folder, options.device)
    results = completed(options, "denoising", tasks, in_words)
    print(f"\n{'squared error per test image':30}{'noisy':>10}{'Gaussian':>10}{'median':>10}{'ours':>10}")
    for kind in NOISE:
        print(f"{kind:30}" + "".join(f"{value:10.2f}" for value in results[kind].values()))
    print(f"\n{'test error, %, three layers':30}{'ours':>10}{'published':>11}")
    for kind in kinds:
        published, who = PUBLISHED.get(kind, (None, ""))
        theirs = f"{published:11.2f}  {who}" if published else ""
        print(f"{kind:30}{results[f'stacked, {kind}']['test error, %']:10.2f}{theirs}")


if __name__ == "__main__":
    main()
