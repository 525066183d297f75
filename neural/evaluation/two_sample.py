"""The classifier two-sample test: can a network tell samples from rows?"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..classifier import Classifier
from .distances import check

# The network of the paper's C2ST-NN.
_HIDDEN, _EPOCHS = 20, 100


class TwoSampleTest(NamedTuple):
    """A held-out accuracy, the probability of at least this one by guessing, and the number of held-out cases."""

    accuracy: float
    p_value: float
    cases: int

    def __str__(self) -> str:
        return f"accuracy {self.accuracy:.3f} (p = {self.p_value:.2g}, {self.cases} held-out cases)"


def two_sample_test(rows: Any, samples: Any, *, seed: int = 0) -> TwoSampleTest:
    """The accuracy with which a network tells `samples` (m, width) from `rows` (n, width), both such that it has not seen: 0.5 where they
    have the same distribution, as far as it can see.

    Of both sets as many as the smaller one has are drawn; one half of them trains a network of 20 ReLU units for 100 epochs, on columns
    standardized by it, the other half is held out. `p_value` is the probability that as many or more of the held-out cases come out right
    by guessing, P(Binomial(cases, 1/2) >= right). Rows must be held out from the model's training, and of the samples' kind: grey levels
    are told from binary samples at a glance. (Lopez-Paz & Oquab 2017, "Revisiting classifier two-sample tests".)

    Raises `ValueError` for less than four rows or samples, widths that differ and numbers that are not finite.
    """
    from scipy.special import bdtrc

    check(rows, "rows", least=4, sparse=False)
    check(samples, "samples", rows.shape[1], least=4, sparse=False)
    random, half = np.random.default_rng(seed), min(len(rows), len(samples)) // 2
    drawn = [x[random.permutation(len(x))[: 2 * half]].astype(np.float64) for x in (rows, samples)]
    train, held = (np.concatenate([x[part] for x in drawn]) for part in (slice(half), slice(half, None)))
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    deviation[train.min(axis=0) == train.max(axis=0)] = 1
    labels = np.repeat([0, 1], half)
    network = Classifier([rows.shape[1], _HIDDEN], 2, activation="relu", device="cpu", seed=seed)
    network.fit((train - mean) / deviation, labels, epochs=_EPOCHS, batch_size=min(100, 2 * half), seed=seed)
    right = int((network.predict((held - mean) / deviation) == labels).sum())
    return TwoSampleTest(right / (2 * half), float(bdtrc(right - 1, 2 * half, 0.5)), 2 * half)
