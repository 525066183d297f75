"""DBN: the deep belief network as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.utils import check_array, check_random_state, gen_batches
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from ..data.minibatches import Binarization
from ..dbn import DBN as Machine
from ..learning import CD, Rule
from ..training.optimizers import Optimizer
from ..training.penalties import Penalty
from ..units import Units
from .inputs import BLOCK, DTYPES, seed_from
from .model import MachineTransformer
from .rbm import RBM, _units

# What the deep machines have in common with the RBM.
SHARED = (
    *("visible", "learning", "optimizer", "penalties", "epochs", "batch_size", "binarization", "device", "random_state"),
    "verbose",
)


class DBN(MachineTransformer):
    """A deep belief network, trained greedily layer by layer, as a transformer: `ebm.DBN` under scikit-learn's rules.

    `hidden` are the layers above the data, sizes of binary layers or units: `(500, 250, Gaussian(30))` for a linear code. `visible` as for
    `RBM`; `passed` as for `ebm.DBN`. The other parameters are those of `ebm.RBM.fit`, for every layer, with these differences: a batch
    larger than the data shrinks to it, and `device` is a name. `verbose` shows a progress bar for each layer.

    For Bernoulli visible units values outside [0, 1] are clipped, with a warning in `fit`. Gaussian ones refuse columns far from mean 0
    and variance 1 (begin the pipeline with `VarianceThreshold` and `StandardScaler`); other units refuse what can't be their states.

    Fitted: `dbn_`, the `ebm.DBN` itself, in the data's precision (float32, or else float64).

    >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    >>> model = DBN((4, 2), epochs=3, random_state=0).fit(X)
    >>> model.dbn_
    DBN(Bernoulli(3), Bernoulli(4), Bernoulli(2), device='cpu', dtype='float64')
    >>> model.transform(X).shape
    (4, 2)
    """

    dbn_: Machine

    _name, _kind = "dbn_", Machine
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden": [tuple, list],
        "passed": [StrOptions({"means", "samples"})],
    } | {name: RBM._parameter_constraints[name] for name in SHARED}

    def __init__(
        self,
        hidden: Sequence[int | Units] = (100, 100),
        *,
        visible: str | Callable[[int], Units] = "Bernoulli",
        passed: Literal["means", "samples"] = "means",
        learning: Rule = CD(),
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
        self.passed = passed
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
        dbn = Machine(layers, passed=self.passed, device=self.device, dtype=X.dtype, seed=seed)
        with self._keeping(lambda: dbn):
            dbn.fit(
                X,
                epochs=self.epochs,
                batch_size=min(self.batch_size, X.shape[0]),
                learning=self.learning,
                optimizer=self.optimizer,
                penalties=self.penalties,
                binarization=self.binarization,
                callbacks=self._callbacks(),
            )

    def transform(self, X: Any) -> np.ndarray:
        """The means of the last layer for the rows of `X` (n_samples, n_features), by one pass up: (n_samples, units of the last layer)."""
        X = self._rows(X)
        return self.dbn_.transform(X)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """The means of the visible units for rows of `transform` (n_samples, units of the last layer), by one pass down.

        Of `transform(X)` it is the reconstruction `dbn_.reconstruct(X)`, not the rows themselves.
        """
        check_is_fitted(self, "dbn_")
        X, dbn, found = check_array(X, dtype=DTYPES), self.dbn_, []
        for rows in gen_batches(X.shape[0], BLOCK):
            h = dbn.device.asarray(X[rows], dbn.dtype)
            for rbm in reversed([*dbn.generative, dbn.top]):
                h = rbm.mean_visible(h)
            found.append(dbn.device.to_host(h))
        return np.concatenate(found)

    @property
    def _n_features_out(self) -> int:
        return self.dbn_.top.outputs
