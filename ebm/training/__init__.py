"""Ring 1: the training loop and what surrounds it. Knows no model."""

from .callbacks import Callback, EarlyStopping, Validation
from .optimizers import SGD, Adam
from .penalties import L1, MaxNorm, SparsityTarget, WeightDecay

__all__ = ["L1", "SGD", "Adam", "Callback", "EarlyStopping", "MaxNorm", "SparsityTarget", "Validation", "WeightDecay"]
