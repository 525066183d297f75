"""A Gaussian RBM on patches of natural images finds edges.

    python -m demos.patches --out out/patches

60,000 gray patches of 10 x 10 pixels from CIFAR-10 images, each less its mean, whitened. A sparse RBM with 100 hidden units draws
its filters (compare Lee, Ekanadham, Ng 2008, "Sparse deep belief net model for visual area V2", figure 2); one with 20, whose
partition function can be summed exactly, is compared by held-out log-likelihood with a diagonal and a full Gaussian.
"""

from __future__ import annotations

import json

import numpy as np

from demos.baselines import diagonal_gaussian, full_gaussian
from demos.command import arguments
from ebm import CD, PCD, RBM, Gaussian, data, likelihood, plots
from ebm.training import SGD, Linear, Progress, SparsityTarget, WeightDecay

SIZE, COUNT = 10, 60_000


def gray_patches(images: np.ndarray, shape: tuple[int, ...], count: int, seed: int) -> np.ndarray:
    """Patches (count, SIZE^2) of the gray images, each less its mean."""
    gray = images.reshape(len(images), shape[0] * shape[1], 3).mean(axis=2)
    rows = data.patches(gray, shape[:2], SIZE, count, seed)
    return rows - rows.mean(axis=1, keepdims=True)


def main() -> None:
    """Train, print, draw."""
    options = arguments(__doc__, "patches")
    epochs = 6 if options.quick else 60

    sets = data.load("cifar10-subset")
    whitener = data.Whitener(floor=1e-2).fit(gray_patches(sets[0].images, sets[0].shape, COUNT, seed=1))
    train = whitener.transform(gray_patches(sets[0].images, sets[0].shape, COUNT, seed=1)).astype(np.float32)
    test = whitener.transform(gray_patches(sets[2].images, sets[2].shape, 5000, seed=2)).astype(np.float32)

    sparse = RBM(Gaussian(SIZE**2, learn_variance=True), 100, device=options.device, seed=1)
    sparse.hidden.bias[...] = -3  # units begin rarely active, as the target wants them
    sparse.fit(
        train,
        epochs=epochs,
        learning=CD(1),
        optimizer=SGD(Linear(0.02, 0.001, epochs), momentum=0.9),
        penalties=[SparsityTarget(0.02, strength=1.0), WeightDecay(1e-4)],
        callbacks=[Progress()],
    )
    small = RBM(Gaussian(SIZE**2, learn_variance=True), 20, device=options.device, seed=1)
    small.hidden.bias[...] = -3
    small.fit(
        train,
        epochs=max(2, epochs // 3),
        learning=PCD(5),
        optimizer=SGD(Linear(0.01, 0.0005, max(2, epochs // 3)), momentum=0.9),
        callbacks=[Progress()],
    )
    log_z = likelihood.exact_log_partition(small)
    figures = {
        "mean alone: diagonal Gaussian": diagonal_gaussian(train, test),
        "full Gaussian, shrunk": full_gaussian(train, test),
        "RBM, 20 hidden units, exact": float(likelihood.log_probability(small, small.device.asarray(test), log_z).mean()),
        "mean activation, 100 sparse units": float(sparse.transform(test).mean()),
    }
    print("\nheld-out log-likelihood of whitened patches, nats per patch")
    for label, value in figures.items():
        print(f"  {label:36}{value:12.3f}")
    plots.filters(sparse.device.to_host(sparse.weights), (SIZE, SIZE), columns=10).savefig(options.out / "filters.png", dpi=90)
    (options.out / "patches.json").write_text(json.dumps({"quick": options.quick, **figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
