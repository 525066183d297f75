"""Deep Boltzmann machines and belief networks: bounds on test images beside the published ones, samples, completions.

    python -m demos.dbm_mnist --out out/dbm_mnist

Trains, one after the other, a belief network 500-2000 and a deep Boltzmann machine 500-1000 on MNIST for as long as they get better, then each
within twenty minutes on two cores: 500-500-1000, the same machine without pretraining, plain and centered, and both models on
Fashion-MNIST and on Caltech-101 silhouettes. A run that is stopped goes on where it was when the command is given again.

Bounds are on the mean of ln p(v) over the test rows, in nats, with ln Z between two sides (`ais.estimate`): variational for the deep Boltzmann
machines, by recognition for the belief networks. Settings were chosen on held-out training images; test figures are computed once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from demos.command import arguments
from ebm import DBM, DBN, PCD, ais, data, likelihood, plots
from ebm.training import SGD, Callback, Checkpoint, Linear, Progress, WeightDecay
from ebm.training.loop import Run

PUBLISHED = {
    "DBN 500-2000": (-84.49, "Burda et al. 2015"),
    "DBM 500-1000": (-84.62, "Salakhutdinov & Hinton 2009"),
    "DBM 500-500-1000": (-85.10, "Salakhutdinov & Hinton 2009"),
}


@dataclass(frozen=True)
class Recipe:
    """What is trained on what, and for how many epochs: each layer of the pretraining (none: 0), and all layers together."""

    model: type[DBM] | type[DBN]
    hidden: tuple[int, ...]
    pretraining: tuple[int, ...]
    epochs: int = 0
    centered: bool = True
    rate: float = 0.05
    source: str = "mnist"


RECIPES = {
    "DBN 500-2000": Recipe(DBN, (500, 2000), (300, 100)),
    "DBM 500-1000": Recipe(DBM, (500, 1000), (100, 100), 200),
    "DBM 500-500-1000": Recipe(DBM, (500, 500, 1000), (20, 20, 20), 25),
    "DBM 500-1000, no pretraining": Recipe(DBM, (500, 1000), (), 50, centered=False),
    "DBM 500-1000, centered, no pretraining": Recipe(DBM, (500, 1000), (), 50),
    "DBM 500-1000, Fashion-MNIST": Recipe(DBM, (500, 1000), (30, 30), 30, source="fashion-mnist"),
    "DBN 500-2000, Fashion-MNIST": Recipe(DBN, (500, 2000), (100, 40), source="fashion-mnist"),
    "DBM 500-1000, silhouettes": Recipe(DBM, (500, 1000), (200, 200), 300, source="caltech101-silhouettes"),
    "DBN 500-2000, silhouettes": Recipe(DBN, (500, 2000), (500, 300), source="caltech101-silhouettes"),
}


class Stopwatch(Callback):
    """Seconds of training, over all layers and resumed runs."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on_start(self, run: Run) -> None:
        self.since = time.perf_counter()

    def on_epoch(self, run: Run) -> None:
        now = time.perf_counter()
        self.seconds, self.since = self.seconds + now - self.since, now

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds = state["seconds"]
