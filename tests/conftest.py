"""Devices for the tests, and what is skipped where."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

# a shell starts what runs in the background deaf to Ctrl-C, which tests raise
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _numba_cache() -> Path:
    """A cache of compiled kernels for exactly these sources: Numba's own forgets that a kernel calls functions of other files."""
    digest = hashlib.sha256()
    for source in sorted(path for package in ("ebm", "neural") for path in (ROOT / package).rglob("*.py")):
        if b"njit" in (text := source.read_bytes()) or b".numba" in text:
            digest.update(text)
    # among what `pytest --cache-clear` clears
    return ROOT / ".pytest_cache" / "d" / "numba" / digest.hexdigest()[:16]


# Before Numba is imported, and for the processes that tests start.
os.environ["NUMBA_CACHE_DIR"] = str(_numba_cache())
if "PYTEST_XDIST_WORKER" in os.environ:
    # pools of threads in several workers wait for each other's cores; before NumPy is imported
    os.environ |= {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "data: reads the datasets in the folder that EBM_DATA names")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("data") and not os.environ.get("EBM_DATA"):
        pytest.skip("EBM_DATA names no folder of datasets")
    if item.get_closest_marker("gpu"):
        from ebm.compute import device

        try:
            device.get("gpu")
        except RuntimeError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="session")
def _devices(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Any]:
    from strict import HostCuda, StrictDevice

    from ebm.compute import device

    cache = getattr(request.config, "cache", None)
    devices = {
        d.name: d for d in (StrictDevice(), HostCuda(cache.mkdir("cuda_on_host") if cache else tmp_path_factory.mktemp("c")))
    }
    for d in devices.values():
        device.register(d)
    return devices


@pytest.fixture
def strict(_devices: dict[str, Any]) -> Any:
    """The strict device, its counters at zero."""
    device = _devices["strict"]
    device.syncs = device.uploads = 0
    return device


@pytest.fixture
def hostcuda(_devices: dict[str, Any]) -> Any:
    """The device that runs the CUDA sources on the host, its counters at zero."""
    if not shutil.which("g++"):
        pytest.skip("there is no g++ to compile the CUDA sources for the host")
    device = _devices["hostcuda"]
    device.syncs = device.uploads = 0
    return device


@pytest.fixture(params=["cpu", "strict", "hostcuda", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Any:
    """Every device in turn: Numba, the reference, the CUDA sources on the host, a GPU."""
    from ebm.compute.device import get

    return request.getfixturevalue(request.param) if request.param in ("strict", "hostcuda") else get(request.param)
