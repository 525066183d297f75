"""RBMs as density models of four binary data sets: test log-likelihoods with error bars.

    python -m demos.density --out out/density

For each set, hidden units and weight decay are chosen by the log-likelihood of the validation rows, then the test rows are scored once. A
machine with at most 2^25 states on one side has the exact ln Z, the others one between two sides (`ais.estimate`). A run that is stopped
goes on with the next set when the command is given again.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import numpy as np

from demos.command import arguments, completed
from ebm import PCD, RBM, ais, data, likelihood
from ebm.training import SGD, Linear, Progress, WeightDecay

EPOCHS = {"nltcs": 100, "plants": 150, "dna": 400, "caltech101-silhouettes": 400}
HIDDEN = (16, 50, 150, 400)
DECAYS = (1e-4, 1e-3, 5e-3)


def fitted(rows: np.ndarray, hidden: int, decay: float, epochs: int, device: str) -> RBM:
    """A machine trained by PCD with a rate that falls to zero."""
    return RBM(rows.shape[1], hidden, device=device, seed=1).fit(
        rows,
        epochs=epochs,
        learning=PCD(3, chains=100),
        optimizer=SGD(Linear(0.1, 0.0, epochs)),
        penalties=[WeightDecay(decay)],
        centered=True,
        callbacks=[Progress()],
    )


def quick_score(rbm: RBM, train: np.ndarray, rows: np.ndarray) -> float:
    """Mean log-likelihood, with ln Z exact or by forward annealing: for choosing among machines."""
    if min(layer.units.size for layer in rbm.layers) <= 16:
        return float(likelihood.log_probability(rbm, rows, likelihood.exact_log_partition(rbm)).mean())
    estimate = ais.estimate(rbm, data=train, temperatures=1000, reverse=False, seed=1)
    return float(likelihood.log_probability(rbm, rows, estimate).mean())


def run(name: str, quick: bool, device: str) -> dict[str, Any]:
    """Choose, train, score."""
    train, validation, test = (s.images.astype(np.float32) for s in data.load(name))
    epochs = 2 if quick else EPOCHS[name]
    choices = list(product(HIDDEN[:2] if quick else HIDDEN, DECAYS[:1] if quick else DECAYS))
    scores = {}
    for hidden, decay in choices:
        rbm = fitted(train, hidden, decay, epochs, device)
        scores[hidden, decay] = quick_score(rbm, train, validation)
        print(f"{name}: {hidden} hidden units, weight decay {decay:g}: {scores[hidden, decay]:.3f} validation nats", flush=True)
    hidden, decay = max(scores, key=scores.__getitem__)
    rbm = fitted(train, hidden, decay, epochs, device)
    rate = (train.sum(axis=0) + 1) / (len(train) + 2)
    independent = float((test @ np.log(rate) + (1 - test) @ np.log1p(-rate)).mean())
    found: dict[str, Any] = {"hidden units": hidden, "weight decay": decay, "validation": scores[hidden, decay]}
    if min(rbm.visible.units.size, hidden) <= 25:
        nats = likelihood.log_probability(rbm, test, likelihood.exact_log_partition(rbm))
        found |= {"ln Z": "exact", "gap": 0.0}
    else:
        estimate = ais.estimate(rbm, data=train, temperatures=100 if quick else 20_000, sweeps=20 if quick else 2000, seed=1)
        print(f"{name}: {estimate}", flush=True)
        nats = likelihood.log_probability(rbm, test, estimate)
        found |= {"ln Z": "certified" if estimate.certified else "NOT CERTIFIED", "gap": estimate.gap}
        found |= {"standard error of ln Z": estimate.standard_error, "objections": list(estimate.objections)}
    error = float(nats.std(ddof=1) / np.sqrt(len(nats)))
    return found | {"test": float(nats.mean()), "standard error": error, "independent units": independent}


def main() -> None:
    """All four sets."""
    options = arguments(__doc__, "density")
    tasks = {name: partial(run, name, options.quick, options.device) for name in EPOCHS}
    results = completed(options, "density", tasks, lambda found: f"{found['test']:.3f} test nats")
    print(f"\n{'test nats':26}{'independent':>12}{'RBM':>10}{'error':>8}{'hidden':>8}{'gap':>8}  ln Z")
    for name in tasks:
        found = results[name]
        row = f"{name:26}{found['independent units']:12.2f}{found['test']:10.3f}{found['standard error']:8.3f}"
        print(f"{row}{found['hidden units']:8}{found['gap']:8.3f}  {found['ln Z']}")


if __name__ == "__main__":
    main()
