"""What the demos share: the command line, results that a run which is stopped goes on from, rows, a network that begins at their means."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ebm import data

if TYPE_CHECKING:
    from neural.network import Network


def arguments(doc: str | None, name: str, tasks: Collection[str] = ()) -> argparse.Namespace:
    """`--out` (a folder, made here), `--quick`, `--device` and `--only`, some of the `tasks`, none for all; read from the command line."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out") / name, help="folder for pictures and figures")
    parser.add_argument("--quick", action="store_true", help="a small part of the training, to see that it runs")
    parser.add_argument("--device", default="auto", help="cpu, gpu or auto")
    parser.set_defaults(only=())
    if tasks:
        some = ", ".join(f'"{task}"' for task in tasks)
        parser.add_argument("--only", nargs="+", choices=tasks, metavar="TASK", help=f"of {some}; without table and picture")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    return options


def completed(
    options: argparse.Namespace, name: str, tasks: Mapping[str, Callable[[], Any]], say: Callable[[Any], str]
) -> dict[str, Any]:
    """The result of each task by its name, and "quick". Those in `OUT/name.json` are taken from there, the others are computed and written
    to it one by one; `say` puts one into words.

    Stops the program where the file holds results of the other form, quick or long.
    """
    tasks = {task: compute for task, compute in tasks.items() if task in (options.only or tasks)}
    path = options.out / f"{name}.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"quick": options.quick}
    if results["quick"] != options.quick:
        raise SystemExit(
            f"{path} holds results {'with' if results['quick'] else 'without'} --quick; give another folder with --out"
        )
    for task, compute in tasks.items():
        if task not in results:
            results[task] = compute()
            unfinished = path.with_suffix(".part")
            unfinished.write_text(json.dumps(results, indent=1) + "\n")
            unfinished.replace(path)
            print(f"{task}: {say(results[task])}", flush=True)
    return results


def last_checkpoint(folder: Path) -> Path | None:
    """`folder` for `fit(resume=...)`, None where it holds no checkpoint yet."""
    return folder if any(folder.glob("step-*.safetensors")) else None


def training_and_test(name: str, rows: int | None = None) -> tuple[data.Dataset, data.Dataset]:
    """The training and validation rows of a data set as one, and its test rows; or the first `rows` of the former and a quarter as many
    of the latter."""
    first, second, test = data.load(name)
    images = np.concatenate([first.images, second.images])
    labels = None if first.labels is None or second.labels is None else np.concatenate([first.labels, second.labels])
    held = None if rows is None else rows // 4
    some = None if test.labels is None else test.labels[:held]
    train = data.Dataset(images[:rows], None if labels is None else labels[:rows], first.shape)
    return train, data.Dataset(test.images[:held], some, test.shape)


def show_means(network: Network, rows: np.ndarray) -> None:
    """Set the last bias of a network so that its sigmoid outputs begin at the mean of each column of `rows`."""
    rate = rows.mean(axis=0, dtype=np.float64).clip(1e-3, 1 - 1e-3)
    last = [layer.own for layer in network.layers if "bias" in layer.own][-1]
    last["bias"][...] = network.device.asarray(np.log(rate / (1 - rate)), network.dtype)
