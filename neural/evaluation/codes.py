"""What codes are good for: units that are in use, and how much of the labels they tell."""

from __future__ import annotations

from typing import Any

import numpy as np

from ebm.units.base import positive

from .distances import check
from .measured import Measured


def active_units(codes: Any, threshold: float = 0.01) -> np.ndarray:
    """Which units of `codes` (rows, units), the posterior's means, vary with the data, (units,) of booleans: Var_x(E_q[z | x]) > 0.01.

    `active_units(codes).sum()` is their number. (Burda, Grosse, Salakhutdinov 2016, "Importance weighted autoencoders", section 5.2.)

    >>> active_units(np.array([[1.0, 0.5], [-1.0, 0.5]]))
    array([ True, False])
    """
    check(codes, "codes", least=2, sparse=False)
    return np.asarray(codes.var(axis=0, dtype=np.float64) > threshold)


def linear_probe(codes: Any, labels: Any, test_codes: Any, test_labels: Any) -> float:
    """The share of test codes whose label multinomial logistic regression, trained on `codes` (n, units) and `labels` (n,), tells.

    Codes are standardized by the training codes; the summed cross-entropy has the penalty |W|^2 / 2 (scikit-learn's C = 1).

    Raises `ValueError` for widths that differ, numbers that are not finite, labels that don't fit the codes, and test labels that no
    training code has.
    """
    return _probe(*_standardized(codes, labels, test_codes, test_labels))


def nearest_neighbors(codes: Any, labels: Any, test_codes: Any, test_labels: Any, neighbors: int = 5) -> float:
    """The share of test codes whose label the majority of the nearest codes has, standardized as for `linear_probe`; raises as it does,
    and for less codes than neighbors."""
    from sklearn.neighbors import KNeighborsClassifier

    check(codes, "codes", least=positive("neighbors", neighbors), sparse=False)
    codes, labels, test_codes, test_labels = _standardized(codes, labels, test_codes, test_labels)
    return float(KNeighborsClassifier(neighbors).fit(codes, labels).score(test_codes, test_labels))


def few_labels(
    codes: Any, labels: Any, test_codes: Any, test_labels: Any, per_class: int = 10, *, draws: int = 10, seed: int = 0
) -> Measured:
    """The accuracy of `linear_probe` with `per_class` labels of each class, mean and standard error over so many random draws of them.

    All codes count for the standardization, which needs no labels. Raises as `linear_probe` does, and for a class with fewer codes.
    """
    positive("per_class", per_class)
    positive("draws", draws, least=2)
    codes, labels, test_codes, test_labels = _standardized(codes, labels, test_codes, test_labels)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    fewest = min(members, key=len)
    if fewest.size < per_class:
        raise ValueError(
            f"found {fewest.size} codes of class {labels[fewest[0]]}; expected at least per_class={per_class} of each class"
        )
    random, found = np.random.default_rng(seed), []
    for _ in range(draws):
        drawn = np.concatenate([random.choice(member, per_class, replace=False) for member in members])
        found.append(_probe(codes[drawn], labels[drawn], test_codes, test_labels))
    return Measured.of(np.array(found))


def _probe(codes: np.ndarray, labels: np.ndarray, test_codes: np.ndarray, test_labels: np.ndarray) -> float:
    from sklearn.linear_model import LogisticRegression

    return float(LogisticRegression(C=1.0, max_iter=1000).fit(codes, labels).score(test_codes, test_labels))


def _standardized(codes: Any, labels: Any, test_codes: Any, test_labels: Any) -> tuple[np.ndarray, ...]:
    """All four, checked, and the codes in float64 with mean 0 and variance 1 over the training codes."""
    from sklearn.preprocessing import StandardScaler

    labels, test_labels = np.asarray(labels), np.asarray(test_labels)
    for name, x, y in (("codes", codes, labels), ("test_codes", test_codes, test_labels)):
        check(x, name, codes.shape[1] if x is test_codes else None, sparse=False)
        if y.shape != x.shape[:1]:
            raise ValueError(f"found labels of shape {y.shape} for {x.shape[0]} {name}; expected one for each")
    if (classes := np.unique(labels)).size < 2:
        raise ValueError(f"found labels of one class, {classes[0]}; expected at least two classes")
    if unseen := set(np.unique(test_labels).tolist()) - set(classes.tolist()):
        raise ValueError(
            f"found test labels {sorted(unseen)} that no training code has; expected labels among {classes.tolist()}"
        )
    scaler = StandardScaler().fit(codes.astype(np.float64))
    return scaler.transform(codes.astype(np.float64)), labels, scaler.transform(test_codes.astype(np.float64)), test_labels
