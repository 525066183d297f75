"""Pictures of a comparison, from what the first seed's models left behind."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from ebm import plots
from ebm.plots.style import COLORS, TITLE, label

from .problem import Problem
from .run import Results


def figures(problem: Problem, results: Results) -> dict[str, Figure]:
    """All pictures by what they show."""
    return dict(_figures(problem, results))


def _figures(problem: Problem, results: Results) -> Iterator[tuple[str, Figure]]:
    shape, labels = problem.test.shape, problem.test.labels
    arrays = results.arrays
    coders = {name.removeprefix("codes-"): found for name, found in arrays.items() if name.startswith("codes-")}
    back = {name: found for name, found in coders.items() if "reconstructions" in found}
    for title, before, after in (
        ("reconstructions", "originals", "reconstructions"),
        ("denoising", "noisy", "denoised"),
        ("inpainting", "halves", "completed"),
    ):
        if back:
            rows = [next(iter(back.values()))[before], *(found[after] for found in back.values())]
            yield title, _lines(["test images" if title == "reconstructions" else "given", *back], rows, shape, title)
    for name, found in arrays.items():
        if "samples" in found:
            model = name.removeprefix("generation-")
            yield f"samples of {model}", plots.images(found["samples"], shape, columns=8, title=f"samples of the {model}")
    for name, found in coders.items():
        if "codes" in found and labels is not None and found["codes"].shape[1] > 1:
            yield f"codes of {name}", plots.embedding(found["codes"], np.asarray(labels)[: len(found["codes"])], title=name)
    if back:
        yield "errors elsewhere", _elsewhere({name: found for name, found in back.items() if "errors" in found})
    curves = {r["model"]: r["curves"] for r in results.records if r.get("curves") and r["table"] == "codes"}
    for name, runs in curves.items():
        for stage, rows in runs.items():
            if len(rows) > 1:
                yield f"learning curve of {name}, {stage}", plots.learning_curves(rows, title=f"{name}: {stage}")


def _lines(names: list[str], rows: list[np.ndarray], shape: tuple[int, ...], title: str) -> Figure:
    """A line of images for each name."""
    height, width = shape
    figure = Figure(figsize=(6, 6 * len(rows) * height / (10 * width + 40) + 0.3), layout="constrained")
    axes = figure.subplots()
    page = np.full((len(rows) * (height + 1), 10 * (width + 1)), np.nan)
    for i, line in enumerate(rows):
        for j, image in enumerate(line[:10]):
            page[i * (height + 1) : i * (height + 1) + height, j * (width + 1) : j * (width + 1) + width] = image.reshape(shape)
    axes.imshow(np.ma.masked_invalid(page), cmap="gray_r", vmin=0, vmax=1, interpolation="none")
    axes.set_yticks([(i + 0.5) * (height + 1) - 1 for i in range(len(rows))], names, fontsize=8)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.set_frame_on(False)
    axes.set_title(title, fontsize=TITLE)
    return figure


def _elsewhere(coders: dict[str, dict[str, np.ndarray]]) -> Figure:
    """Histograms of reconstruction errors of test images, and of the same in shuffled squares."""
    figure = Figure(figsize=(6, 1.1 * len(coders) + 0.6), layout="constrained")
    panels = figure.subplots(len(coders), squeeze=False, sharex=False)[:, 0]
    for axes, (name, found) in zip(panels, coders.items(), strict=True):
        both = found["errors"], found["errors elsewhere"]
        edges = np.linspace(0, max(np.quantile(x, 0.99) for x in both), 40)
        for values, color, text in zip(both, COLORS, ("test images", "their squares shuffled"), strict=False):
            axes.stairs(np.histogram(values.clip(0, edges[-1]), edges)[0], edges, fill=True, alpha=0.6, color=color, label=text)
        label(axes, "", "")
        axes.set_yticks([])
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    panels[-1].set_xlabel("squared error of what comes back")
    panels[0].legend(frameon=False, fontsize=8)
    return figure
