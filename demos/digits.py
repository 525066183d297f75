"""An RBM on scikit-learn's 8 x 8 digits, in under a minute on two cores.

    python -m demos.digits --out out/digits

Trains 64 hidden units by persistent contrastive divergence with the centered gradient, prints reconstruction errors beside two
baselines, and draws filters, samples from chains that started at noise, and lower halves of test digits sampled given their upper
halves.
"""

from __future__ import annotations

import time

import numpy as np

from demos.command import arguments
from ebm import PCD, RBM, data, plots
from ebm.training import SGD, History, Linear, Progress, SparsityTarget, WeightDecay
from neural.evaluation import squared_error


def principal_components(train: np.ndarray, test: np.ndarray, size: int) -> np.ndarray:
    """Rows of `test` projected onto the first `size` principal components of `train`: the best linear code of that size."""
    mean = train.mean(axis=0)
    _, _, axes = np.linalg.svd(train - mean, full_matrices=False)
    return (test - mean) @ axes[:size].T @ axes[:size] + mean


def main() -> None:
    """Train, print, draw."""
    options = arguments(__doc__, "digits")
    epochs = 40 if options.quick else 400

    train, validation, test = data.load("digits")
    rbm = RBM(64, 64, device=options.device, seed=1)
    print(f"{rbm}: {len(train)} training digits, {epochs} epochs")
    history = History()
    start = time.perf_counter()
    rbm.fit(
        train.images,
        epochs=epochs,
        batch_size=50,
        learning=PCD(steps=5, chains=100),
        optimizer=SGD(Linear(0.1, 0.001, epochs=epochs), momentum=0.5),
        penalties=[WeightDecay(1e-3), SparsityTarget(0.1, strength=0.03)],
        centered=True,
        binarization="stochastic",
        validation=validation.images,
        callbacks=[Progress(), history],
    )
    seconds = time.perf_counter() - start

    reconstructions = rbm.reconstruct(test.images)
    mean = np.broadcast_to(train.images.mean(axis=0), test.images.shape)
    print(f"\n{'squared error per test digit':44}")
    print(f"  {'mean of the training digits':42}{squared_error(test.images, mean):8.2f}")
    print(
        f"  {'8 principal components':42}{squared_error(test.images, principal_components(train.images, test.images, 8)):8.2f}"
    )
    print(f"  {'RBM, one pass up and down':42}{squared_error(test.images, reconstructions):8.2f}")
    print(f"{'free-energy gap, validation less training':44}{history.rows[-1]['free_energy_gap']:8.2f} nats")
    print(f"{'training':44}{seconds:8.1f} s")

    # what is shown of a sample is the mean of its pixels given its hidden units
    fantasies = rbm.sample(100, steps=1000, seed=2)
    upper = np.zeros(64, bool)
    upper[:32] = True
    originals = (test.images[:12] > 0.5).astype(np.float32)
    completed = rbm.sample(12, steps=200, clamp=(upper, originals), seed=3)

    def shown(binary: np.ndarray) -> np.ndarray:
        return rbm.reconstruct(binary)

    half = np.where(upper, originals, 0.5)
    shape = train.shape
    pictures = {
        "filters": plots.filters(rbm.device.to_host(rbm.weights), shape, title="filters: red excites, blue inhibits"),
        "samples": plots.images(shown(fantasies), shape, title="samples after 1000 Gibbs steps from noise"),
        "inpainting": plots.images(
            np.concatenate([test.images[:12], half, np.where(upper, originals, shown(completed))]),
            shape,
            columns=12,
            title="test digits, what is given, and the lower half sampled",
        ),
    }
    for name, figure in pictures.items():
        figure.savefig(options.out / f"{name}.png", dpi=110)
        print(f"wrote {options.out / name}.png")


if __name__ == "__main__":
    main()
