"""Machines with known answers, in a folder beside the data sets."""

import os
from pathlib import Path
from typing import Any

import pytest
from scipy.io import loadmat


def fixture(name: str) -> dict[str, Any]:
    """A file of the folder that EBM_FIXTURES names, by default the neighbor of EBM_DATA."""
    folder = os.environ.get("EBM_FIXTURES") or Path(os.environ.get("EBM_DATA", ".")).parent / "fixtures"
    if not (path := Path(folder) / name).exists():
        pytest.skip(f"{name} is not there: set EBM_FIXTURES to its folder")
    return loadmat(path)
