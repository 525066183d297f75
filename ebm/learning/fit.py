"""A training run of a machine on data that were checked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .. import storage
from ..data.minibatches import Binarization, Minibatches
from ..training.callbacks import Callback, listed
from ..training.checkpoints import Description
from ..training.divergence import DivergenceError
from ..training.loop import Run, train
from ..training.optimizers import SGD, Optimizer
from ..training.penalties import Penalty
from .rule import Rule
from .step import Step

if TYPE_CHECKING:
    from ..machine import BoltzmannMachine


def fit(
    machine: BoltzmannMachine,
    data: Any,
    *,
    epochs: int,
    batch_size: int,
    learning: Rule,
    optimizer: Optimizer | None,
    penalties: Sequence[Penalty],
    binarization: Binarization,
    centered: bool,
    callbacks: Iterable[Callback],
    seed: int | None = None,
    resume: str | os.PathLike[str] | None = None,
) -> None:
    """Train on the rows of `data`, see `RBM.fit`."""
    units = machine.visible_units
    if binarization is not None and not units.grey:
        raise ValueError(f"found binarization={binarization!r} for {units}; only binary units have it")
    if centered and units.replicated:
        raise ValueError("found centered=True for word counts, whose hidden bias counts once a word; write centered=False")
    seed = machine.seed if seed is None else seed
    batches = Minibatches(data, batch_size, device=machine.device, dtype=machine.dtype, seed=seed, binarization=binarization)
    step = Step(
        machine,
        learning,
        optimizer or SGD(0.05 if all(layer.units.discrete for layer in machine.layers) else 0.01, momentum=0.5),
        batch_size=batch_size,
        steps_per_epoch=len(batches),
        penalties=penalties,
        centered=centered,
        seed=seed,
    )
    callbacks = [*listed(callbacks), _Bounds(machine, data)]
    state = step.stateful() | {"batches": batches, "model": Description(storage.description(machine))}
    train(step, batches, epochs, callbacks, state=state, resume=resume)


class _Bounds(Callback):
    """Sets the biases from the data when nothing can refuse the run any more, and a resumed one has its parameters back; ends a
    run whose machine has lost its partition function."""

    order = 2

    def __init__(self, machine: BoltzmannMachine, data: Any) -> None:
        self.machine, self.data = machine, data

    def on_start(self, run: Run) -> None:
        machine = self.machine
        machine.require_finite()
        if run.step == 0 and not any(machine.device.to_host(machine.layers[i].bias).any() for i in machine.observed):
            machine.initialize_bias_(self.data)

    def on_epoch(self, run: Run) -> None:
        try:
            self.machine.require_finite()
        except ValueError as error:
            raise DivergenceError(f"after epoch {run.epoch}: {error}") from error
