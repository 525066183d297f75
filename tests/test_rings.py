"""Who imports whom: inward only, and nothing heavy until it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OWN = {"ebm", "neural", "demos", "benchmarks", "tests"}

# The part of the tree, and all that it may import of this project. The first line that fits a module holds for it.
RINGS = {
    "ebm.compute": {"ebm.compute"},
    "ebm.data": {"ebm.compute", "ebm.data"},
    "ebm.training": {"ebm.compute", "ebm.data", "ebm.training"},
    "ebm": {"ebm"},
    "neural": {"ebm", "neural"},
}
BY_NOBODY = {"ebm.plots", "ebm.estimators", "neural.estimators", "demos", "benchmarks", "tests"}


def is_part(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def modules() -> Iterator[tuple[str, Path]]:
    for package in ("ebm", "neural"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(module: str, source: str, is_package: bool) -> set[str]:
    """All modules of this project that `source` imports, inside functions too, with the names taken from packages."""
    found = set()
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            found |= {name if is_module(name := f"{origin}.{alias.name}") else origin for alias in node.names}
    return {name for name in found if name.partition(".")[0] in OWN}


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def violations(module: str, found: set[str]) -> set[str]:
    allowed = next(inner for ring, inner in RINGS.items() if is_part(module, ring))
    outward = {name for name in found if not any(is_part(name, inner) for inner in allowed)}
    # the faces of both packages share their ground
    closed = BY_NOBODY - {"ebm.estimators"} if is_part(module, "neural.estimators") else BY_NOBODY
    return outward | {name for name in found if any(is_part(name, n) and not is_part(module, n) for n in closed)}


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_go_inward(module, path):
    assert not violations(module, imports(module, path.read_text("utf-8"), path.stem == "__init__"))


@pytest.mark.parametrize(
    ("module", "source", "outward"),
    [
        ("ebm.compute.kernels.logistic", "from ..device import CPU\nfrom ..kernel import kernel", set()),
        ("ebm.compute.kernels.logistic", "def f():\n    from ...data import load", {"ebm.data"}),
        ("ebm.compute.gemm", "from .. import training", {"ebm.training"}),
        ("neural.estimators", "from ebm.estimators import DBN", set()),
        ("neural.network", "from ebm.estimators import DBN", {"ebm.estimators"}),
        ("ebm.data.toys", "import ebm.rbm", {"ebm.rbm"}),
        ("ebm.data.toys", "from ebm import RBM", {"ebm"}),
        ("ebm.training.loop", "from ..compute.random import Stream\nfrom ..machine import X", {"ebm.machine"}),
        ("ebm.rbm", "from neural import layers\nimport numpy", {"neural"}),
        ("ebm.rbm", "from . import plots, storage", {"ebm.plots"}),
        ("neural.network", "from ebm import RBM\nimport demos.digits", {"demos.digits"}),
    ],
)
def test_outward_imports_are_noticed(module, source, outward, monkeypatch):
    monkeypatch.setitem(globals(), "is_module", lambda name: name in {"ebm.data", "ebm.training", "ebm.plots", "ebm.storage"})
    assert violations(module, imports(module, source, False)) == outward


IMPORT_QUIETLY = """
import os, sys, threading
environment = dict(os.environ)
import ebm, neural
heavy = {"cupy", "matplotlib", "sklearn", "pooch", "tqdm", "tensorboard"} & set(sys.modules)
assert not heavy, f"imported {heavy}"
assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
changed = {name for name in environment.keys() | os.environ.keys() if environment.get(name) != os.environ.get(name)}
assert not changed, f"changed {changed}"
"""


def test_imports_are_light_and_silent():
    done = subprocess.run([sys.executable, "-W", "error", "-c", IMPORT_QUIETLY], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
