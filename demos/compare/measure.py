"""What is measured of a trained model: the two tables, and what the report's pictures are made of."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ebm.compute.random import Stream
from neural import evaluation
from neural.corruption import SaltAndPepper
from neural.evaluation import FeatureSpace
from neural.latent import interpolate

from .problem import Problem

# Metrics in the order of the tables: name, unit, whether larger is better, and how it is measured.
Metric = tuple[str, str, bool, str]
CODES: tuple[Metric, ...] = (
    ("squared error", "per image", False, "sum over pixels of (x - reconstruction)^2, mean over test images"),
    ("cross-entropy", "nats", False, "-sum x ln r + (1 - x) ln(1 - r) of reconstructions r, cut to [0.001, 0.999]"),
    (
        "denoising",
        "per image",
        False,
        "squared error of what comes back of images of which a quarter of the pixels is black or white",
    ),
    ("inpainting", "per image", False, "squared error of what comes back of images whose right half is white"),
    ("linear probe", "%", True, "test images told by multinomial logistic regression on codes of up to 10,000 training images"),
    ("5 neighbors", "%", True, "test images told by the five nearest codes of up to 10,000 training images"),
    ("10 labels a class", "%", True, "the linear probe with ten labels of each class, mean of five draws"),
)
GENERATION: tuple[Metric, ...] = (
    ("log-likelihood", "nats", True, "mean ln p of up to 2000 test images binarized once; how, is said beside each"),
    ("Fréchet distance", "", False, "of up to 2000 test images and as many samples, in the features of a small classifier"),
    ("precision", "", True, "share of samples within the manifold of test images, 3 neighbors, same features"),
    ("recall", "", True, "share of test images within the manifold of samples, 3 neighbors, same features"),
)
COSTS: tuple[Metric, ...] = (
    ("parameters", "", False, "all that are trained"),
    ("training", "s", False, "seconds, compilation excluded where the budget ends it"),
    ("inference", "images/s", True, "test images through encoder and decoder, or samples of a model without encoder"),
    (
        "peak memory",
        "MB",
        False,
        "most arrays and objects on the host at once in training, looked at in a short run of its own",
    ),
)
# Training images whose codes are probed, and test images that samples are compared with.
_PROBED, _COMPARED = 10_000, 2000
# How far a number of a code is moved.
STEPS = (-100, -10, -1, 0, 1, 10, 100)


@dataclass
class Found:
    """The figures of a trained model, what it says of how they came about or why they are missing, and arrays for pictures."""

    values: dict[str, float]
    notes: dict[str, str]
    arrays: dict[str, np.ndarray]


def codes(model: Any, problem: Problem, pictures: bool) -> Found:
    """What the codes of a model are good for."""
    test, found = problem.test.images, Found({}, {}, {})
    if pictures and hasattr(model, "filters"):
        found.arrays["filters"] = model.filters[:, :40]
    for method in ("encode", "reconstruct"):
        if not callable(getattr(model, method, None)):
            found.notes[method] = _why(model, method)
    if "reconstruct" not in found.notes:
        noisy = SaltAndPepper(0.25)(test, Stream(1, "comparison"))[0]
        half = test.reshape(-1, *problem.test.shape).copy()
        half[:, :, problem.test.shape[1] // 2 :] = 0
        half = half.reshape(test.shape)
        back = model.reconstruct(test)
        cut = np.clip(back, 1e-3, 1 - 1e-3)
        found.values |= {
            "squared error": evaluation.squared_error(test, back),
            "cross-entropy": -float((test * np.log(cut) + (1 - test) * np.log1p(-cut)).sum(axis=1, dtype=np.float64).mean()),
            "denoising": evaluation.squared_error(test, restored := model.reconstruct(noisy)),
            "inpainting": evaluation.squared_error(test, completed := model.reconstruct(half)),
            "inference": len(test) / _seconds(lambda: model.reconstruct(test)),
        }
        if pictures:
            shown = slice(0, 10)
            found.arrays |= {
                "originals": test[shown],
                "reconstructions": back[shown],
                "noisy": noisy[shown],
                "denoised": restored[shown],
                "halves": half[shown],
                "completed": completed[shown],
                "errors": ((back - test) ** 2).sum(axis=1),
                "errors elsewhere": _errors(model, elsewhere(test, problem.test.shape)),
            }
    if "encode" not in found.notes:
        held = model.encode(test)
        if problem.train.labels is not None:
            found.values |= _told(model.encode(problem.rows[:_PROBED]), held, problem)
        else:
            found.notes["labels"] = "the images have no labels"
        if pictures:
            found.arrays["codes"] = held[:2000]
    return found


def generation(model: Any, problem: Problem, space: FeatureSpace | None, pictures: bool) -> Found:
    """How likely test images are, and how good samples."""
    test, found = problem.test.images[:_COMPARED], Found({}, {}, {})
    if callable(getattr(model, "log_likelihood", None)):
        nats, errors = model.log_likelihood(problem.bits()[:_COMPARED])
        found.values["log-likelihood"] = float(np.mean(nats))
        found.notes["log-likelihood"] = getattr(model, "how", "as the model says")
        found.values["doubt of the log-likelihood"] = getattr(model, "doubt", 0.0)
        found.values["error of the log-likelihood"] = float(np.sqrt(np.mean(np.square(errors))))
    else:
        found.notes["log-likelihood"] = _why(model, "log_likelihood")
    if callable(getattr(model, "sample", None)):
        samples = model.sample(len(test), seed=problem.seed)
        if space is None:
            found.notes["Fréchet distance"] = "the images have no labels for a classifier to learn"
        else:
            compared = space.compare(test, samples)
            found.values |= {
                "Fréchet distance": compared.frechet_distance,
                "precision": compared.precision,
                "recall": compared.recall,
            }
            found.notes["Fréchet distance"] = f"feature space {compared.sha256[:8]}"
        if pictures:
            found.arrays["samples"] = samples[:64]
        if not callable(getattr(model, "reconstruct", None)):
            found.values["inference"] = len(test) / _seconds(lambda: model.sample(len(test), seed=0))
    else:
        found.notes["Fréchet distance"] = _why(model, "sample")
    if callable(getattr(model, "reconstruct", None)):
        found.values["inference"] = len(test) / _seconds(lambda: model.reconstruct(test))
    return found


def gallery(model: Any, problem: Problem) -> Found:
    """Arrays of what lies in the space of codes: reconstructions, a path between two images, single numbers moved, the plane."""
    test = problem.test.images
    codes = model.encode(test)
    most = [int(k) for k in np.argsort(codes.var(axis=0))[::-1][:6]]
    moved = np.repeat(codes[None, :1], len(most) * len(STEPS), axis=0).reshape(len(most), len(STEPS), -1)
    for line, k in zip(moved, most, strict=True):
        line[:, k] += STEPS
    arrays = {
        "originals": test[:10],
        "reconstructions": model.reconstruct(test[:10]),
        "path": interpolate(model, codes[0], codes[1], 10),
        "moved": model.decode(moved.reshape(-1, codes.shape[1]).astype(codes.dtype)),
    }
    if codes.shape[1] == 2:
        arrays |= {"codes": codes[:2000], "plane": _plane(model, codes)}
    return Found({"squared error": evaluation.squared_error(test, model.reconstruct(test))}, {}, arrays)


def _plane(model: Any, codes: np.ndarray, side: int = 12) -> np.ndarray:
    """What codes on a grid stand for, between the quantiles of those of test images."""
    (left, low), (right, high) = np.quantile(codes, (0.02, 0.98), axis=0)
    x, y = np.meshgrid(np.linspace(left, right, side), np.linspace(high, low, side))
    return model.decode(np.stack([x.ravel(), y.ravel()], axis=1).astype(codes.dtype))


def elsewhere(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Images of another kind with the same pixels: those given, in squares of a quarter of the side that are shuffled."""
    height, width = shape
    side = max(1, min(height, width) // 4)
    lines, columns = height // side, width // side
    squares = rows.reshape(-1, height, width)[:, : lines * side, : columns * side]
    squares = (
        squares.reshape(-1, lines, side, columns, side).transpose(0, 1, 3, 2, 4).reshape(len(rows), lines * columns, side, side)
    )
    order = np.random.default_rng(1).permuted(np.tile(np.arange(lines * columns), (len(rows), 1)), axis=1)
    moved = np.take_along_axis(squares, order[:, :, None, None], axis=1)
    found = np.zeros((len(rows), height, width), rows.dtype)
    moved = moved.reshape(-1, lines, columns, side, side).transpose(0, 1, 3, 2, 4)
    found[:, : lines * side, : columns * side] = moved.reshape(len(rows), lines * side, columns * side)
    return found.reshape(rows.shape)


def _told(seen: np.ndarray, held: np.ndarray, problem: Problem) -> dict[str, float]:
    labels, test_labels = np.asarray(problem.train.labels)[:_PROBED], np.asarray(problem.test.labels)
    given = seen, labels, held, test_labels
    found = {"linear probe": 100 * evaluation.linear_probe(*given), "5 neighbors": 100 * evaluation.nearest_neighbors(*given)}
    if np.unique(labels, return_counts=True)[1].min() >= 10:
        found["10 labels a class"] = 100 * evaluation.few_labels(*given, 10, draws=5).value
    return found


def _errors(model: Any, rows: np.ndarray) -> np.ndarray:
    return ((model.reconstruct(rows) - rows) ** 2).sum(axis=1)


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _why(model: Any, method: str) -> str:
    return getattr(model, "lacks", {}).get(method, f"it has no method {method}")
