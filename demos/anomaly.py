"""Anomaly detection on seven sets of ADBench: reconstruction error and free energy beside scikit-learn's IsolationForest.

    python -m demos.anomaly --out out/anomaly

Nothing is told which rows are anomalies: they are among the training rows, as they would be. Scored are test rows. Prints the area under
the ROC curve, mean and standard error over five seeds, beside figures that PyOD's benchmark publishes for the same sets (IsolationForest
and principal components, 60 % of the rows for training); draws them, and the histogram of both scores for one set.

Settings are the same for all sets: choosing them would need labels.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from demos.command import arguments, completed
from ebm import CD, RBM, Gaussian, data
from ebm.plots.style import COLORS, MARKERS, label
from ebm.training import Adam, Cosine, Progress, WeightDecay
from neural import Autoencoder
from neural.baselines import PCA
from neural.losses import SquaredError

SETS = ("mammography", "musk", "pendigits", "satellite", "shuttle", "thyroid", "cardio")
# The area under the ROC curve of PyOD's benchmark on the ODDS versions of these sets: IsolationForest, PCA.
PUBLISHED = {
    "cardio": (0.924, 0.953),
    "musk": (0.999, 1.000),
    "pendigits": (0.943, 0.936),
    "satellite": (0.701, 0.596),
    "shuttle": (0.997, 0.990),
}
METHODS = ("free energy", "reconstruction error", "principal components", "IsolationForest")


def scores(train: np.ndarray, test: np.ndarray, seed: int, epochs: int, device: str) -> dict[str, np.ndarray]:
    """How anomalous each test row is to each method."""
    width = train.shape[1]
    rbm = RBM(Gaussian(width), 100, device=device, seed=seed)
    rbm.fit(
        train,
        epochs=epochs,
        learning=CD(1),
        optimizer=Adam(Cosine(1e-3, 0.0, epochs)),
        penalties=[WeightDecay(1e-3)],
        callbacks=[Progress()],
    )
    code = max(2, round(width**0.5))
    model = Autoencoder(
        [width, 64, code], activation="tanh", code="identity", loss=SquaredError(), device=device, seed=seed
    ).fit(train, epochs=epochs, optimizer=Adam(Cosine(1e-3, 0.0, epochs)), callbacks=[Progress()])
    pca = PCA(code).fit(train)
    forest = IsolationForest(random_state=seed).fit(train)
    return {
        "free energy": rbm.device.to_host(rbm.free_energy(rbm.device.asarray(test, rbm.dtype))),
        "reconstruction error": ((model.reconstruct(test) - test) ** 2).sum(axis=1),
        "principal components": ((pca.decode(pca.encode(test)) - test) ** 2).sum(axis=1),
        "IsolationForest": -forest.score_samples(test),
    }


def parts(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standardized training rows, test rows and their labels. Far values are cut at ten deviations: a single such row would be all that a
    Gaussian unit learns from."""
    train, validation, test = data.load(name)
    rows = np.concatenate([train.images, validation.images])
    standardizer = data.Standardizer(drop_constant=True).fit(rows)
    rows, held = (np.clip(standardizer.transform(x), -10, 10).astype(np.float32) for x in (rows, test.images))
    return rows, held, np.asarray(test.labels)


def run(name: str, seeds: int, steps: int, device: str) -> dict[str, Any]:
    """The area under the ROC curve of each method, for each seed."""
    train, test, labels = parts(name)
    epochs = max(2, round(steps * 100 / len(train)))
    found: dict[str, list[float]] = {method: [] for method in METHODS}
    for seed in range(1, seeds + 1):
        for method, values in scores(train, test, seed, epochs, device).items():
            found[method].append(float(roc_auc_score(labels, values)))
    return {"anomalies, %": 100 * float(labels.mean()), "epochs": epochs} | found


def draw(results: dict[str, Any]) -> Figure:
    """A line for each set, a mark for each method."""
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    for method, color, marker in zip(METHODS, COLORS, MARKERS, strict=False):
        areas = [np.mean(results[name][method]) for name in SETS]
        axes.plot(areas, range(len(SETS)), marker, color=color, label=method, ms=7, alpha=0.8)
    axes.set_yticks(range(len(SETS)), SETS)
    axes.grid(axis="y", lw=0.5, color="0.9")
    label(axes, "area under the ROC curve", "")
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8, handletextpad=0.2)
    return figure


def histogram(name: str, steps: int, device: str) -> Figure:
    """Scores of ordinary rows and of anomalies, by free energy and by reconstruction error."""
    train, test, labels = parts(name)
    found = scores(train, test, 1, max(2, round(steps * 100 / len(train))), device)
    figure = Figure(figsize=(6, 4.6), layout="constrained")
    for axes, method in zip(figure.subplots(2), METHODS[:2], strict=True):
        values = found[method]
        edges = np.linspace(values.min(), np.quantile(values, 0.99), 40)
        for kind, color, text in ((0, COLORS[0], "ordinary"), (1, COLORS[1], "anomalies")):
            share, _ = np.histogram(values[labels == kind].clip(edges[0], edges[-1]), edges)
            axes.stairs(share / share.sum(), edges, fill=True, alpha=0.6, color=color, label=text)
        label(axes, method, "share of rows")
    figure.axes[0].legend(frameon=False)
    figure.suptitle(name, fontsize=11)
    return figure


def main() -> None:
    """Every set that is not in the results yet; then the pictures and the table."""
    options = arguments(__doc__, "anomaly")
    seeds, steps = (1, 50) if options.quick else (5, 4000)
    tasks = {name: partial(run, name, seeds, steps, options.device) for name in SETS}
    results = completed(options, "anomaly", tasks, lambda found: ", ".join(f"{m} {np.mean(found[m]):.3f}" for m in METHODS))
    draw(results).savefig(options.out / "areas.png", dpi=100)
    histogram("cardio", steps, options.device).savefig(options.out / "cardio.png", dpi=100)
    print(f"\n{'area under the ROC curve':14}" + "".join(f"{method:>24}" for method in METHODS) + "   published: forest, PCA")
    for name in SETS:
        cells = []
        for method in METHODS:
            areas = np.array(results[name][method])
            error = areas.std(ddof=1) / len(areas) ** 0.5 if len(areas) > 1 else 0.0
            cells.append(f"{areas.mean():.3f} ± {error:.3f}")
        known = "   {:.3f}, {:.3f}".format(*PUBLISHED[name]) if name in PUBLISHED else ""
        print(f"{name:14}" + "".join(f"{cell:>24}" for cell in cells) + known)
    means = [np.mean([np.mean(results[name][method]) for name in SETS]) for method in METHODS]
    print(f"{'mean':14}" + "".join(f"{area:24.3f}" for area in means))


if __name__ == "__main__":
    main()
