"""Optimizers and losses: a perceptron 784-100-50-10 on MNIST with SGD or Adam, squared error or cross-entropy.

    python -m demos.optimizers --out out/optimizers

Prints the test accuracies beside those of a lecture, and draws learning curves. The rates were chosen on held-out training images.
"""

from __future__ import annotations

import json
from typing import Any

from demos.command import arguments, training_and_test
from ebm import plots
from ebm.training import SGD, Adam, History, Progress
from neural import Classifier
from neural.losses import CategoricalCrossEntropy, SquaredError

# Test accuracies in percent of the lecture: optimizer, loss.
LECTURE = {
    ("SGD", "squared error"): 89.0,
    ("SGD", "cross-entropy"): 95.0,
    ("Adam", "squared error"): 91.0,
    ("Adam", "cross-entropy"): 98.0,
}
LOSSES = {"squared error": SquaredError("sigmoid"), "cross-entropy": CategoricalCrossEntropy()}
OPTIMIZERS: dict[tuple[str, str], SGD | Adam] = {
    ("SGD", "squared error"): SGD(0.1),
    ("SGD", "cross-entropy"): SGD(0.1),
    ("Adam", "squared error"): Adam(1e-3),
    ("Adam", "cross-entropy"): Adam(1e-3),
}
EPOCHS = 20


def main() -> None:
    """Four runs, the table, the curves."""
    options = arguments(__doc__, "optimizers")
    train, test = training_and_test("mnist", 5000 if options.quick else None)
    epochs = 2 if options.quick else EPOCHS
    results: dict[str, Any] = {"quick": options.quick}
    histories = []
    for (name, loss), optimizer in OPTIMIZERS.items():
        model = Classifier([784, 100, 50], 10, activation="relu", loss=LOSSES[loss], device=options.device, seed=1)
        history = History()
        model.fit(
            train.images,
            train.labels,
            epochs=epochs,
            optimizer=optimizer,
            validation=(test.images, test.labels),
            callbacks=[Progress(), history],
        )
        histories.append([{k: v for k, v in row.items() if k in ("epoch", "validation_error")} for row in history.rows])
        results[f"{name}, {loss}"] = {
            "optimizer": repr(optimizer),
            "accuracy": 100 * model.score(test.images, test.labels),
            "lecture": LECTURE[name, loss],
        }
    (options.out / "optimizers.json").write_text(json.dumps(results, indent=1) + "\n")
    names = [", ".join(pair) for pair in OPTIMIZERS]
    plots.learning_curves(histories, names, title="784-100-50-10 on MNIST: share of wrong test images").savefig(
        options.out / "optimizers.png", dpi=100
    )
    print(f"\n{'test accuracy, %':28}{'ours':>8}{'lecture':>9}")
    for name in names:
        print(f"{name:28}{results[name]['accuracy']:8.2f}{results[name]['lecture']:9.0f}")


if __name__ == "__main__":
    main()
