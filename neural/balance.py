"""BalanceMonitor: says when the game of a GAN is decided or its generator has collapsed."""

from __future__ import annotations

import warnings
from typing import Any

from ebm.training.callbacks import Callback
from ebm.training.loop import Run


class BalanceWarning(UserWarning):
    """One of a GAN's players has stopped teaching the other."""


class BalanceMonitor(Callback):
    """Looks at the metrics of a GAN after each epoch and gives a `BalanceWarning`, once for each of two failures.

    The discriminator has won: it takes fewer than 1 % of the generated rows for data, and the data for data (a smoothed label keeps
    that mean from 1). The generator collapses: "diversity", the spread of its rows over that of the data, lies below `diversity` and has
    not grown since the epoch before; the little spread of one that begins is no collapse. Raises `ValueError` in a run of other models.
    """

    def __init__(self, diversity: float = 0.1) -> None:
        self.diversity = diversity
        self._said: list[str] = []
        self._before = 0.0

    def on_start(self, run: Run) -> None:
        """Forget an earlier run."""
        if run.step == 0:
            self._said, self._before = [], 0.0

    def on_epoch(self, run: Run) -> None:
        """Look at the epoch's means."""
        if not {"real", "fake", "diversity"} <= run.metrics.keys():
            raise ValueError(f"found the metrics {sorted(run.metrics)}; BalanceMonitor is for GANs: leave it out")
        real, fake, diversity = (run.metrics[name] for name in ("real", "fake", "diversity"))
        if fake < 0.01 and real > 0.5:
            self._say(
                "won",
                f"the discriminator has won: in epoch {run.epoch} it gave data {real:.3f} and generated rows {fake:.4f} on average, and "
                "little is left for the generator to learn from. Make it weaker: a smaller learning rate in discriminator_optimizer, "
                "Dropout between its layers, fewer units, discriminator_steps=1, real_label=0.9; and train with "
                "loss='non-saturating'",
            )
        if diversity < self.diversity and diversity <= self._before:
            self._say(
                "collapsed",
                f"the generator has collapsed: in epoch {run.epoch} the spread of its rows was {diversity:.3f} of that of the data. "
                "Lower the learning rate of its optimizer, give the discriminator more steps (discriminator_steps=2), put BatchNorm "
                "between the generator's layers or take larger batches, and go on from an earlier checkpoint",
            )
        self._before = diversity

    def _say(self, what: str, message: str) -> None:
        if what not in self._said:
            self._said.append(what)
            # at the line that called fit
            warnings.warn(message, BalanceWarning, stacklevel=5)

    def state_dict(self) -> dict[str, Any]:
        """What was said, and the last epoch's diversity."""
        return {"said": list(self._said), "before": self._before}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._said, self._before = list(state["said"]), state["before"]
