"""Generative against neural autoencoders: RBM, DBN, DBM, deep, sparse, denoising and contractive autoencoders, VAE and GAN, trained on
the same images for the same time, and measured alike.

    python -m demos.compare                                         (digits, two minutes)
    python -m demos.compare --dataset mnist --seeds 5 --out out/mnist
    python -m demos.compare --dataset PATH                          (a folder of gray images, a CSV file of square images in [0, 1])

Prints two tables, and writes them with pictures as report.html, results.csv and results.jsonl to the output folder.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ebm.compute import device as devices
from ebm.data import DataFileError

from . import Comparison, models, pictures, report, tables
from .problem import problem
from .run import Results, require_known, run


def main() -> None:
    """Read the command line, compare, write."""
    parser = argparse.ArgumentParser(
        prog="python -m demos.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = list(dict.fromkeys([*models.CODES, *models.GENERATION]))
    parser.add_argument("--dataset", default="digits", help="digits, mnist, fashion-mnist, ..., or a path")
    parser.add_argument("--labels", help="the column of labels in a CSV file, by name or number")
    parser.add_argument("--models", help=f"some of: {', '.join(known)} (comma-separated)")
    parser.add_argument("--code-size", type=int, help="numbers in a code; default 10 for small images, else 30")
    parser.add_argument(
        "--seeds", type=int, default=1, help="how often everything is trained; five tell differences from noise"
    )
    parser.add_argument(
        "--budget", type=float, help="seconds of training for each model and seed; default 1.5 for small images, else 60"
    )
    parser.add_argument("--device", default="cpu", help="cpu, gpu or auto")
    parser.add_argument("--out", type=Path, default=Path("out/compare"), help="folder for the report")
    parser.add_argument("--resume", action="store_true", help="go on with what is in the folder")
    options = parser.parse_args()
    try:
        compared(options)
    except KeyboardInterrupt:
        raise SystemExit(f"\nstopped; the same command with --resume goes on in {options.out}") from None
    except (ValueError, DataFileError, OSError, RuntimeError) as error:
        raise SystemExit(f"{parser.prog}: {error}") from error


def compared(options: argparse.Namespace) -> None:
    """Run the comparison and write its report."""
    if options.seeds < 1:
        raise ValueError(f"found --seeds {options.seeds}; expected 1 or more")
    devices.get(options.device)
    names = None if options.models is None else [name.strip() for name in options.models.split(",")]
    require_known(names)
    labels = options.labels
    task = problem(
        options.dataset,
        labels=int(labels) if labels and labels.lstrip("-").isdigit() else labels,
        code=options.code_size,
        seconds=options.budget,
        device=options.device,
    )
    settings = {"data": options.dataset, "code": task.code, "seconds of training": task.seconds, "device": options.device}
    folder: Path = options.out
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check(folder, settings, options.resume)
    except OSError as error:
        raise OSError(f"found --out {folder}, {error.strerror}; expected a folder that can be written to") from error
    found = Comparison(task, run(task, options.seeds, Results(folder), names, extras=True))
    (folder / "results.csv").write_text(tables.to_csv(found.rows), encoding="utf-8")
    title = f"Generative against neural autoencoders: {options.dataset}"
    facts = report.facts(settings | {"seeds": options.seeds, "training images": len(task.rows), "test images": len(task.test)})
    deeper = pictures.pretraining(found.results)
    page = report.page(title, facts, found.tables, found.figures, task.code, "pretraining.html" if deeper else "")
    (folder / "report.html").write_text(page, encoding="utf-8")
    if deeper:
        title = f"Is layerwise pretraining worth its time? {options.dataset}"
        page = report.pretraining(title, facts, found.results.records, deeper, "report.html")
        (folder / "pretraining.html").write_text(page, encoding="utf-8")
    print(f"\n{found}\n\n{folder / 'report.html'} shows all this, with pictures")


def _check(folder: Path, settings: dict[str, object], resume: bool) -> None:
    """Raise `ValueError` for a folder with results that are not to be gone on with."""
    path = folder / "settings.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if not resume:
            raise ValueError(
                f"{folder} holds an earlier comparison; write --resume to go on with it, or another folder with --out"
            )
        if before != settings:
            raise ValueError(
                f"{folder} holds a comparison with {before}; found {settings}: expected the same settings for --resume"
            )
    path.write_text(json.dumps(settings) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
