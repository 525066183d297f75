"""Gaussian RBMs on the Frey and Olivetti faces.

    python -m demos.faces --out out/faces

On each set an RBM with 20 binary hidden units and learned variances, whose partition function can be summed exactly, is compared by
held-out log-likelihood with a diagonal and a full Gaussian fitted to the same data; a wider one, with 200, draws filters,
reconstructions and samples. Pixels are standardized; likelihoods are of standardized pixels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from demos.baselines import diagonal_gaussian, full_gaussian
from demos.command import arguments
from ebm import PCD, RBM, Gaussian, data, likelihood, plots
from ebm.training import SGD, Linear, Progress


def halved(images: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, int]]:
    """Images of half the height and width: means of 2 x 2 pixels."""
    height, width = shape[0] // 2, shape[1] // 2
    return images.reshape(-1, height, 2, width, 2).mean(axis=(2, 4)).reshape(len(images), -1), (height, width)


def run(name: str, out: Path, quick: bool, device: str) -> dict[str, Any]:
    """Train on one data set, print and draw; returns the figures."""
    sets = data.load(name)
    rows, shape = [s.images for s in sets], (sets[0].shape[0], sets[0].shape[1])
    while shape[0] > 32:
        rows, shape = [halved(r, shape)[0] for r in rows], halved(rows[0], shape)[1]
    scaler = data.Standardizer().fit(rows[0])
    train, _, test = (scaler.transform(r).astype(np.float32) for r in rows)
    width, epochs, batch = train.shape[1], 20 if quick else 200, min(100, len(train))

    def fitted(hidden: int) -> RBM:
        rbm = RBM(Gaussian(width, learn_variance=True), hidden, device=device, seed=1)
        optimizer = SGD(Linear(0.01, 0.0005, epochs), momentum=0.5)
        return rbm.fit(train, epochs=epochs, batch_size=batch, learning=PCD(1), optimizer=optimizer, callbacks=[Progress()])

    small, wide = fitted(12 if quick else 20), fitted(200)
    log_z = likelihood.exact_log_partition(small)
    rows_on_device = small.device.asarray(test)
    figures = {
        "pixels": width,
        "training rows": len(train),
        "mean alone: diagonal Gaussian": diagonal_gaussian(train, test),
        "full Gaussian, shrunk": full_gaussian(train, test),
        f"RBM, {small.hidden.units.size} hidden units, exact": float(
            likelihood.log_probability(small, rows_on_device, log_z).mean()
        ),
        "squared error, 200 hidden units": float(wide.device.to_host(wide.squared_error(rows_on_device))),
    }
    print(f"\n{name}: held-out log-likelihood, nats per face")
    for label, value in figures.items():
        print(f"  {label:36}{value:12.2f}")

    def pixels(standardized: np.ndarray) -> np.ndarray:
        return np.clip(scaler.inverse_transform(standardized), 0, 1)

    def reconstructed(v: np.ndarray) -> np.ndarray:
        return pixels(wide.reconstruct(v))

    fantasies = wide.sample(20, steps=100 if quick else 1000, seed=2)
    pictures = {
        "filters-small": plots.filters(small.device.to_host(small.weights), shape, columns=10),
        "filters-wide": plots.filters(wide.device.to_host(wide.weights)[:, :60], shape, columns=12),
        "reconstructions": plots.reconstructions(pixels(test[:10]), reconstructed(test[:10]), shape, colors="gray"),
        "samples": plots.images(reconstructed(fantasies), shape, columns=10, colors="gray"),
    }
    for picture, figure in pictures.items():
        figure.savefig(out / f"{name}-{picture}.png", dpi=90)
    return figures


def main() -> None:
    """Both sets."""
    options = arguments(__doc__, "faces")
    figures = {name: run(name, options.out, options.quick, options.device) for name in ("frey-faces", "olivetti-faces")}
    (options.out / "faces.json").write_text(json.dumps({"quick": options.quick, **figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
