"""Generative adversarial networks: Parzen estimates by the published protocol, samples, latent arithmetic, the Fréchet distance.

    python -m demos.gan --out out/gan

Trains Goodfellow's dense networks and a DCGAN on MNIST, and a small convolutional classifier in whose features samples are compared with
test digits: Fréchet distance, precision, recall. Models that `demos.vae` and `demos.dbm_mnist` have saved beside the output folder are
compared too, and so are training digits, which say what the best figure can be. The bandwidth of the Parzen estimate is chosen on
validation digits, the last 10,000 of the training set, which no GAN sees; so were rates, noise, averaging and layers. A run that is
stopped goes on where it was when the command is given again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from demos.command import arguments, completed, last_checkpoint, show_means, training_and_test
from ebm import data, plots
from ebm.training import SGD, Adam, Checkpoint, History, Linear, PolyakAverage, Progress
from neural import GAN, evaluation, load
from neural.evaluation import FeatureSpace

# Parzen estimates in nats of 10,000 samples: Goodfellow et al. 2014, table 1.
PUBLISHED = {"dense": 225.0, "DBN": 138.0}
EPOCHS = {"dense": 75, "DCGAN": 15}
# Models of other demos, beside the output folder, and Gibbs steps for those that need them: machines that train in minutes, as these do.
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "VAE": ("vae/runs/k = 1/model.safetensors", {}),
    "DBN": ("dbm_mnist/runs/DBN 500-2000, young first layer/model.safetensors", {"steps": 1000}),
    "DBM": ("dbm_mnist/runs/DBM 500-1000, published pretraining/model.safetensors", {"steps": 1000}),
}


def networks(name: str, train: np.ndarray, device: str) -> tuple[GAN, dict[str, Any]]:
    """A model and how it is trained."""
    if name == "dense":
        # published are noise of 100 numbers and 0.1 for both players
        momentum = Linear(0.5, 0.7, EPOCHS[name])
        settings = {"optimizer": SGD(0.4, momentum), "discriminator_optimizer": SGD(0.1, momentum), "real_label": 1.0}
        model = GAN.dense(latent=10, prior="normal", device=device, seed=1)
        show_means(model.generator, train)
        return model, settings
    optimizer = Adam(Linear(2e-4, 0.0, EPOCHS[name]), beta1=0.5)
    return GAN.convolutional(latent=20, channels=32, device=device, seed=1), {"optimizer": optimizer}


def trained(name: str, train: np.ndarray, epochs: int, folder: Path, device: str) -> tuple[GAN, float]:
    """The model after training and the seconds it took. The dense generator is the mean of the last ten thousand or so; the mean of
    networks with BatchNorm would need statistics of its own."""
    model, settings = networks(name, train, device)
    history, checkpoints = History(folder / "history.csv"), folder / "checkpoints"
    averages = [PolyakAverage(decay=0.9999, of=model.generator.parameters)] if name == "dense" else []
    callbacks = [Progress(), history, *averages, Checkpoint(checkpoints, every_epochs=1, keep=1)]
    model.fit(train, epochs=epochs, batch_size=100, callbacks=callbacks, resume=last_checkpoint(checkpoints), **settings)
    for average in averages:
        average.apply_()
    model.save(folder / "model.safetensors")
    return model, history.rows[-1]["seconds"]


def measured(
    sample: Callable[[int], np.ndarray], validation: np.ndarray, test: np.ndarray, space: FeatureSpace, n: int
) -> dict[str, Any]:
    """The Parzen estimate, and the comparison in the feature space, of n samples."""
    samples = sample(n)
    bandwidth = evaluation.parzen_bandwidth(samples, validation[:1000])
    density, compared = evaluation.parzen(samples, test, bandwidth), space.compare(test, samples)
    return {
        "Parzen": density.value,
        "standard error": density.standard_error,
        "bandwidth": bandwidth,
        "Fréchet distance": compared.frechet_distance,
        "precision": compared.precision,
        "recall": compared.recall,
        "feature space": compared.sha256,
        "samples": n,
    }


def feature_space(train: data.Dataset, path: Path, device: str, epochs: int) -> FeatureSpace:
    """That of the classifier at `path`, which is trained where it isn't there."""
    if not path.exists():
        FeatureSpace.train(train.images, train.labels, train.shape, device=device, epochs=epochs, callbacks=[Progress()]).save(
            path
        )
    return FeatureSpace.load(path, device)


def arithmetic(model: GAN, space: FeatureSpace) -> np.ndarray:
    """The mean noise of eights less that of threes, added none to three times to that of five threes, a line for each: (rows, 784). None
    where the generator makes no threes or no eights."""
    codes = model.latents(2000, seed=3)
    digits = space.classifier.predict(model.decode(codes))
    if not {3, 8} <= set(digits.tolist()):
        return codes[:0]
    direction = codes[digits == 8].mean(axis=0) - codes[digits == 3].mean(axis=0)
    steps = np.linspace(0, 3, 7, dtype=codes.dtype)[:, None]
    return np.concatenate([model.decode(code + steps * direction) for code in codes[digits == 3][:5]])


def main() -> None:
    """Everything that is not in the results yet; then the pictures and the table."""
    options = arguments(__doc__, "gan")
    quick, device, out = options.quick, options.device, options.out
    train, held = training_and_test("mnist", 2000 if quick else None)
    seen, test, n = len(train.images) * 5 // 6, held.images, 500 if quick else 10_000
    validation = train.images[seen:]
    space = feature_space(train, out / "classifier.safetensors", device, 1 if quick else 5)
    print(f"feature space {space.sha256[:8]}: {100 * space.classifier.score(test, held.labels):.2f} % of the test digits told")

    def adversarial(name: str) -> dict[str, Any]:
        folder = out / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        model, seconds = trained(name, train.images[:seen], 1 if quick else EPOCHS[name], folder, device)
        return measured(partial(model.sample, seed=1), validation, test, space, n) | {"seconds": seconds}

    def other(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
        model = load(path, device)
        return measured(partial(model.sample, means=True, seed=1, **settings), validation, test, space, n)

    tasks: dict[str, Callable[[], dict[str, Any]]] = {name: partial(adversarial, name) for name in EPOCHS}
    tasks["training digits"] = lambda: measured(lambda k: train.images[:k], validation, test, space, n)
    for name, (place, settings) in OTHERS.items():
        if (path := out.parent / place).exists() and not quick:
            tasks[name] = partial(other, path, settings)
    results = completed(options, "gan", tasks, lambda found: f"Parzen {found['Parzen']:.1f} nats")

    for name in EPOCHS:
        model = GAN.load(out / "runs" / name / "model.safetensors", device)
        pictures = {
            "samples": (model.sample(100, seed=1), 10, f"{name}: samples"),
            "arithmetic": (arithmetic(model, space), 7, f"{name}: threes, and eights less threes added"),
        }
        for kind, (rows, columns, title) in pictures.items():
            if len(rows):
                figure = plots.images(rows, (28, 28), columns=columns, title=title)
                figure.savefig(out / f"{name.lower()}-{kind}.png", dpi=100)
    print(f"\n{'':18}{'Parzen, nats':>16}{'published':>11}{'Fréchet':>10}{'precision':>11}{'recall':>8}")
    for name in tasks:
        found, known = results[name], PUBLISHED.get(name)
        theirs = f"{known:11.0f}" if known else " " * 11
        print(
            f"{name:18}{found['Parzen']:10.1f} ± {found['standard error']:3.1f}{theirs}{found['Fréchet distance']:10.2f}"
            f"{found['precision']:11.3f}{found['recall']:8.3f}"
        )


if __name__ == "__main__":
    main()
