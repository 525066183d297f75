"""Pictures of a comparison, from what the first seed's models left behind."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from ebm import plots
from ebm.plots.style import COLORS, TITLE, label

from . import depth
from .measure import STEPS
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
        if "filters" in found:
            yield f"filters of {name}", plots.filters(found["filters"], shape, columns=10, title=f"first layer of the {name}")
    for name, found in coders.items():
        if "codes" in found and labels is not None and found["codes"].shape[1] > 1:
            yield f"codes of {name}", plots.embedding(found["codes"], np.asarray(labels)[: len(found["codes"])], title=name)
    if back:
        yield "errors elsewhere", _elsewhere({name: found for name, found in back.items() if "errors" in found})
    yield from _paths(
        {name.removeprefix("gallery-"): found for name, found in arrays.items() if name.startswith("gallery-")}, shape, labels
    )
    curves = {r["model"]: r["curves"] for r in results.records if r.get("curves") and r["table"] == "codes"}
    for name, runs in curves.items():
        for stage, rows in runs.items():
            if len(rows) > 1:
                yield f"learning curve of {name}, {stage}", plots.learning_curves(rows, title=f"{name}: {stage}")


def _paths(
    gallery: dict[str, dict[str, np.ndarray]], shape: tuple[int, ...], labels: np.ndarray | None
) -> Iterator[tuple[str, Figure]]:
    """What lies in the space of codes of several sizes."""
    if not gallery:
        return
    originals = next(iter(gallery.values()))["originals"]
    rows = [originals, *(found["reconstructions"] for found in gallery.values())]
    yield "code sizes", _lines(["test images", *gallery], rows, shape, "")
    yield "interpolations", _lines(list(gallery), [found["path"] for found in gallery.values()], shape, "")
    for name, found in gallery.items():
        title = f"{name}: one moved by ±100, ±10, ±1"
        yield f"traversals of {name}", plots.images(found["moved"], shape, columns=len(STEPS), title=title)
        if "plane" in found:
            yield f"plane of {name}", plots.images(found["plane"], shape, columns=12, title=f"{name}: the plane")
            if labels is not None:
                held = np.asarray(labels)[: len(found["codes"])]
                yield f"map of {name}", plots.embedding(found["codes"], held, title=name)


def pretraining(results: Results) -> dict[str, Figure]:
    """The pictures of the experiment on pretraining: errors over time, and accuracies by the number of labels, a panel a depth."""
    records = {r["model"]: r for r in results.records if r["table"] == "pretraining" and "failed" not in r}
    if not records:
        return {}
    time, few = (Figure(figsize=(6.5, 2.4 * len(depth.DEPTHS)), layout="constrained") for _ in range(2))
    for figure, names in (
        (time, ("seconds", "squared error")),
        (few, ("labels a class", "test images told, %")),
    ):
        figure.subplots(len(depth.DEPTHS), sharex=True)
        for axes, layers in zip(figure.axes, depth.DEPTHS, strict=True):
            label(axes, names[0] if layers == depth.DEPTHS[-1] else "", names[1])
            axes.set_title(f"{layers} hidden layer{'s' * (layers > 1)}", fontsize=TITLE)
    for start, color in zip(depth.STARTS, COLORS, strict=False):
        for number, layers in enumerate(depth.DEPTHS):
            record = records.get(depth.name(start, layers))
            if record is None:
                continue
            before = sum(rows[-1]["seconds"] for stage, rows in record["curves"].items() if stage != "backpropagation" and rows)
            rows = record["curves"]["backpropagation"]
            x, y = [before + row["seconds"] for row in rows], [row["validation_squared_error"] for row in rows]
            if rows:  # none where time ran out before the first epoch: an empty panel can't have a logarithmic scale
                time.axes[number].plot(x, y, color=color, label=start)
            told = [(n, record["values"][depth.label(n)]) for n in depth.LABELS if depth.label(n) in record["values"]]
            few.axes[number].plot(*zip(*told, strict=True), "o-", color=color, label=start) if told else None
    for axes in time.axes:
        axes.set_yscale("log" if axes.lines else "linear")
    for axes in few.axes:
        axes.set_xscale("log")
        axes.set_xticks(depth.LABELS, map(str, depth.LABELS))
        axes.minorticks_off()
    for figure in (time, few):
        for axes in [axes for axes in figure.axes if axes.lines][:1]:
            axes.legend(frameon=False, fontsize=8)
    return {"reconstruction": time, "few labels": few}


def _lines(names: list[str], rows: list[np.ndarray], shape: tuple[int, ...], title: str) -> Figure:
    """A line of images for each name."""
    height, width = shape
    page = np.full((len(rows) * (height + 1), 10 * (width + 1)), np.nan)
    for i, line in enumerate(rows):
        for j, image in enumerate(line[:10]):
            page[i * (height + 1) : i * (height + 1) + height, j * (width + 1) : j * (width + 1) + width] = image.reshape(shape)
    # in inches, 0.07 for a letter: constrained layout cuts long names where images fill the height
    left, above = 0.2 + 0.07 * max(map(len, names)), 0.3 if title else 0.05
    tall = (6 - left) * page.shape[0] / page.shape[1]
    figure = Figure(figsize=(6, tall + above))
    axes = figure.add_axes((left / 6, 0, 1 - left / 6, tall / (tall + above)))
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
