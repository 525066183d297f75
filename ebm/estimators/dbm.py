"""DBM: the deep Boltzmann machine as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from ..data.minibatches import Binarization
from ..dbm import DBM as Machine
from ..learning import PCD, Rule
from ..training.optimizers import Optimizer
from ..training.penalties import Penalty
from ..units import Units
from .dbn import SHARED
from .inputs import seed_from
from .model import MachineTransformer
from .rbm import RBM, _units


class DBM(MachineTransformer):
    """A deep Boltzmann machine, pretrained layer by layer and then trained as a whole, as a transformer: `ebm.DBM` under scikit-learn's
    rules.

    `hidden` and `visible` are as for `DBN`, and so is what data may hold. Pretraining takes `pretrain_epochs` for each layer, by CD(1).
    Without it, `pretrain_epochs=0`, the gradient is the centered one: the weights of higher layers hardly leave zero otherwise. `epochs`
    and `learning` are about the training as a whole, the other parameters about both.

    Its means vary little from row to row: `StandardScaler()` belongs between them and a linear classifier.

    Fitted: `dbm_`, the `ebm.DBM` itself, in the data's precision (float32, or else float64).

    >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    >>> DBM((4, 2), epochs=3, random_state=0).fit_transform(X).shape
    (4, 2)
    """

    dbm_: Machine

    _name, _kind = "dbm_", Machine
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden": [tuple, list],
        "pretrain_epochs": [Interval(Integral, 0, None, closed="left")],
    } | {name: RBM._parameter_constraints[name] for name in SHARED}

    def __init__(
        self,
        hidden: Sequence[int | Units] = (100, 100),
        *,
        visible: str | Callable[[int], Units] = "Bernoulli",
        pretrain_epochs: int = 10,
        learning: Rule = PCD(5),
        optimizer: Optimizer | None = None,
        penalties: Sequence[Penalty] = (),
        epochs: int = 10,
        batch_size: int = 100,
        binarization: Binarization = None,
        device: str = "cpu",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.hidden = hidden
        self.visible = visible
        self.pretrain_epochs = pretrain_epochs
        self.learning = learning
        self.optimizer = optimizer
        self.penalties = penalties
        self.epochs = epochs
        self.batch_size = batch_size
        self.binarization = binarization
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _learn(self, X: Any) -> None:
        layers = [_units(self.visible, X.shape[1], "visible"), *self.hidden]
        seed = seed_from(check_random_state(self.random_state))
        dbm = Machine(layers, device=self.device, dtype=X.dtype, seed=seed)
        settings: dict[str, Any] = {
            "batch_size": min(self.batch_size, X.shape[0]),
            "optimizer": self.optimizer,
            "penalties": self.penalties,
            "binarization": self.binarization,
            "callbacks": self._callbacks(),
        }
        with self._keeping(lambda: dbm):
            if self.pretrain_epochs:
                # a rule for one hidden layer is refused now, not when pretraining has taken its time
                dbm.fit(X, epochs=0, batch_size=settings["batch_size"], learning=self.learning)
                stack = dbm.stack()
                try:
                    stack.fit(X, epochs=self.pretrain_epochs, **settings)
                finally:
                    dbm.compose_(stack)  # after Ctrl-C too: of what the layers have learned by then
            dbm.fit(X, epochs=self.epochs, learning=self.learning, centered=not self.pretrain_epochs, **settings)

    def transform(self, X: Any) -> np.ndarray:
        """E[h | v] of the last layer for the rows v of `X` (n_samples, n_features), by mean field: (n_samples, units of the last layer).

        Warns (`ebm.mean_field.MeanFieldWarning`) where mean field does not converge.
        """
        X = self._rows(X)
        return self.dbm_.transform(X)

    @property
    def _n_features_out(self) -> int:
        return self.dbm_.layers[-1].units.size
