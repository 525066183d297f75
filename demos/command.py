"""The command line that all demos share."""

from __future__ import annotations

import argparse
from pathlib import Path


def arguments(doc: str | None, name: str) -> argparse.Namespace:
    """`--out` (a folder, made here), `--quick` and `--device`, read from the command line."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out") / name, help="folder for pictures and figures")
    parser.add_argument("--quick", action="store_true", help="a tenth of the training, to see that it runs")
    parser.add_argument("--device", default="auto", help="cpu, gpu or auto")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    return options
