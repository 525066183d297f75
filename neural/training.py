"""A training run of a network on rows and their targets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ebm import storage
from ebm.compute.device import Array
from ebm.data.minibatches import Binarization, Minibatches
from ebm.data.validation import check_rows
from ebm.training.callbacks import Callback, Validation, listed
from ebm.training.checkpoints import Description
from ebm.training.loop import train
from ebm.training.optimizers import Optimizer
from ebm.training.penalties import Penalty

from .line_search import LineSearch
from .step import Objective, Step


class Pairs:
    """Batches (x, target) of two data sets in the same order."""

    def __init__(self, x: Minibatches, target: Minibatches) -> None:
        self.x, self.target = x, target

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, epoch: int, index: int) -> tuple[Array, Array]:
        """The batch at a place in the schedule."""
        return self.x.batch(epoch, index), self.target.batch(epoch, index)

    def state_dict(self) -> dict[str, Any]:
        """The seed."""
        return self.x.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the order of `state`."""
        self.x.load_state_dict(state)
        self.target.load_state_dict(state)


def fit(
    model: Any,
    objective: Objective,
    data: Any,
    targets: Any = None,
    *,
    epochs: int,
    batch_size: int,
    optimizer: Optimizer | LineSearch,
    penalties: Sequence[Penalty],
    binarization: Binarization,
    validate: Callable[[], Mapping[str, float]] | None,
    callbacks: Iterable[Callback],
    seed: int,
    resume: str | os.PathLike[str] | None,
) -> None:
    """Train the network of a model on the rows of `data`, or on pairs of them and `targets`, down the gradient of `objective`."""
    if binarization is not None:
        check_rows(data, low=0.0, high=1.0, sparse=True, name="data")
    options: dict[str, Any] = {"device": model.network.device, "dtype": model.network.dtype, "seed": seed}
    batches: Any = Minibatches(data, batch_size, binarization=binarization, **options)
    if targets is not None:
        batches = Pairs(batches, Minibatches(targets, batch_size, **options))
    step = Step(model.parameters, objective, optimizer, steps_per_epoch=len(batches), penalties=penalties, seed=seed)
    if validate is not None:
        callbacks = [Validation(validate), *listed(callbacks)]
    state = step.stateful() | {"batches": batches, "model": Description(storage.description(model))}
    train(step, batches, epochs, callbacks, state=state, resume=resume)
