"""Metrics: means over the steps of an epoch, summed on the device and read only when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..compute.device import Array, device_of


class RunningMeans:
    """Means of named device scalars.

    Sums are float64 and stay on the scalars' device: adding waits for nothing, reading does. What a checkpoint gave back stays a
    number until its device is known, that is, until the next value of that name.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Array | float] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, Array]) -> None:
        """Add one step's scalars, arrays of shape () or (1,), which the next step may overwrite."""
        if not isinstance(metrics, Mapping):
            raise TypeError(
                f"the step returned {type(metrics).__name__}; expected its metrics: return {{'error': array}}, or {{}}"
            )
        for name, value in metrics.items():
            if isinstance(value, int | float | np.generic):  # NumPy's own reductions return no arrays
                value = np.asarray(value)
            total = self._sums.get(name, 0.0)
            if isinstance(total, float):
                device = device_of(value)
                if value.shape not in ((), (1,)):
                    raise ValueError(f"metric {name!r} has shape {value.shape}; expected a scalar, () or (1,): return its mean")
                self._sums[name] = device.zeros(value.shape, np.float64)
                self._sums[name] += total
            self._sums[name] += value
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self) -> dict[str, float]:
        """The means so far (waits for the device)."""
        return {name: total / self._counts[name] for name, total in self._read_sums().items()}

    def clear(self) -> None:
        """Start anew."""
        self._sums.clear()
        self._counts.clear()

    def _read_sums(self) -> dict[str, float]:
        return {
            name: total if isinstance(total, float) else float(device_of(total).to_host(total).item())
            for name, total in self._sums.items()
        }

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self._read_sums(), "counts": dict(self._counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._sums = dict(state["sums"])
        self._counts = dict(state["counts"])
