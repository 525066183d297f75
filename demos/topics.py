"""A replicated softmax finds topics in 16,242 newsgroup postings over 100 words.

    python -m demos.topics --out out/topics

Prints what words each hidden unit stands for, and compares retrieval by the codes with retrieval by TF-IDF: precision at each
recall, over test postings as queries, where a posting counts as relevant when it is from the same one of four groups (the
experiment of Salakhutdinov & Hinton 2009, "Replicated softmax", section 4.3, on a smaller set).
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from demos.baselines import average_precision
from demos.command import arguments
from ebm import CD, RBM, ReplicatedSoftmax, data
from ebm.training import SGD, Linear, Progress


def main() -> None:
    """Train, print, draw."""
    options = arguments(__doc__, "topics")
    epochs = 10 if options.quick else 100

    train, _, test = data.load("20news-w100")
    assert train.labels is not None
    assert test.labels is not None
    rbm = RBM(ReplicatedSoftmax(train.images.shape[1]), 50, device=options.device, seed=1)
    rbm.fit(
        train.images,
        epochs=epochs,
        learning=CD(1),
        optimizer=SGD(Linear(0.05, 0.005, epochs), momentum=0.9),
        callbacks=[Progress()],
    )
    weights = rbm.device.to_host(rbm.weights)
    active = rbm.transform(train.images).mean(axis=0)
    print("\ntopics: the words that most raise a hidden unit, strongest units first")
    topics: list[dict[str, Any]] = []
    for j in np.argsort(-weights.max(axis=0)):
        words = [train.vocabulary[k] for k in np.argsort(-weights[:, j])[:7]]
        topics.append({"active": round(float(active[j]), 3), "words": words})
    for topic in topics[:15]:
        print(f"  {topic['active']:6.1%} of postings: {', '.join(topic['words'])}")

    documents_with = (train.images > 0).sum(axis=0)
    idf = np.log(len(train.images) / documents_with)
    queries = slice(0, 1000)
    curves = {
        "replicated softmax, 50 units": average_precision(
            rbm.transform(test.images[queries]), rbm.transform(train.images), test.labels[queries], train.labels
        ),
        "TF-IDF, 100 words": average_precision(
            test.images[queries] * idf, train.images * idf, test.labels[queries], train.labels
        ),
    }
    figures = {}
    retrieved = [10, 100, 1000]
    print(f"\n{'precision among the first':34}" + "".join(f"{n:>9}" for n in retrieved))
    for name, precision in curves.items():
        figures[name] = {str(n): round(float(precision[n - 1]), 4) for n in retrieved}
        print(f"  {name:32}" + "".join(f"{precision[n - 1]:9.3f}" for n in retrieved))

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, precision in curves.items():
        axes.semilogx(np.arange(1, len(precision) + 1), precision, label=name)
    axes.set(xlabel="postings retrieved", ylabel="precision", ylim=(0, 1), title="1000 test postings as queries")
    axes.legend()
    figure.savefig(options.out / "retrieval.png", dpi=90)
    (options.out / "topics.json").write_text(json.dumps({"quick": options.quick, **figures, "topics": topics}, indent=1) + "\n")


if __name__ == "__main__":
    main()
