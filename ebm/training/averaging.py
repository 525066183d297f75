"""Averaging: the mean of the parameters over the steps is less noisy than the last ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .callbacks import Callback
from .parameters import Parameters

if TYPE_CHECKING:
    from .loop import Run


class PolyakAverage(Callback):
    """Keeps the running mean of the model's parameters x over the steps from epoch `start` (a fraction counts) on:

        mean_n = mean_(n-1) + max(1 / n, 1 - decay) (x_n - mean_(n-1)),   n = 1, 2, ...

    Without `decay` this is the mean of all x_1, ..., x_n; with it the weights fall off exponentially once there are 1 / (1 - decay)
    steps. At a constant learning rate the iterates circle around the optimum, and their mean is nearer to it; start when they have
    come to where they circle. (Not for a network with BatchNorm: the statistics of the mean network are no mean of statistics.) `of` are
    the parameters x, by default those of the run's one model; for a GAN's generator write `of=gan.generator.parameters`.

    `parameters` holds the means, which are the model's own up to `start`; training never sees them:
    `machine.with_parameters(average.parameters)` is a machine that has them, `model.network.with_parameters(...)` a network, also in a
    `Validation` during the run. `apply_()` puts them into the model itself. `count` is n. All are in checkpoints. It costs one more copy
    of the parameters and no wait for the device.

    Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging"; for RBMs Swersky, Chen, Marlin, de Freitas 2010, "A
    tutorial on stochastic approximation algorithms for training restricted Boltzmann machines and deep belief nets".

    Raises `ValueError` unless start >= 0 and 0 < decay < 1, and, without `of`, at the start of a run that trains several models.
    """

    def __init__(self, start: float = 0, decay: float | None = None, *, of: Parameters | None = None) -> None:
        if not 0 <= start < math.inf:
            raise ValueError(f"found start={start!r}; expected a number of epochs, 0 or more")
        if decay is not None and not 0 < decay < 1:
            raise ValueError(
                f"found decay={decay!r}; expected a number between 0 and 1, such as 0.999, or None for the plain mean"
            )
        self.start = start
        self.decay = decay
        self.of = of
        self.count = 0
        self._model: Parameters | None = None
        self._mean: Parameters | None = None
        self._loaded: dict[str, Any] | None = None
        self._running = False

    @property
    def parameters(self) -> Parameters:
        """The means, in the layout of the model's parameters. Raises `RuntimeError` before the first run."""
        return self._both()[1]

    def apply_(self) -> None:
        """Overwrite the model's parameters with the means, after training (where no step was averaged, they stay as they are).

        Raises `RuntimeError` during the run, which would go on from the means.
        """
        model, mean = self._both()
        if self._running:
            raise RuntimeError(
                "found apply_() during training, which would go on from the means; write "
                "machine.with_parameters(average.parameters), or model.network.with_parameters(...), to look at them, and apply_() "
                "after fit"
            )
        if self.count:
            model.buffer[...] = mean.buffer

    def _both(self) -> tuple[Parameters, Parameters]:
        if self._model is None or self._mean is None:
            raise RuntimeError("found an average of no run; write fit(..., callbacks=[average]) first")
        return self._model, self._mean

    def on_start(self, run: Run) -> None:
        model = self.of or run.state.get("parameters")
        if not isinstance(model, Parameters):
            raise ValueError(
                f"found {type(model).__name__} as the parameters of a run with the state {sorted(run.state)}; expected Parameters to "
                "average: name them, such as PolyakAverage(of=gan.generator.parameters)"
            )
        self._model, self._mean = model, model.over(model.device.zeros(model.buffer.shape, model.dtype))
        self._mean.buffer[...] = model.buffer
        self.count = 0
        loaded, self._loaded = self._loaded, None
        if run.step and loaded is not None:
            self._mean.load_state_dict(loaded["mean"])
            self.count = loaded["count"]
        self._running = True

    def on_step(self, run: Run) -> None:
        self.count += run.step > self.start * run.steps_per_epoch
        x, mean = (parameters.buffer for parameters in self._both())
        if not self.count:
            mean[...] = x
            return
        # the equation without memory in between, and exact for a parameter that stands still
        mean -= x
        mean *= mean.dtype.type(1 - max(1 / self.count, 0 if self.decay is None else 1 - self.decay))
        mean += x

    def on_end(self, run: Run) -> None:
        self._running = False

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "mean": self.parameters.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._loaded = state
