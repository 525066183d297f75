"""Ring 1: the training loop and what surrounds it. Knows no model."""

from .averaging import PolyakAverage
from .callbacks import Callback, EarlyStopping, Validation
from .checkpoints import Checkpoint
from .divergence import DivergenceError, DivergenceGuard
from .history import History
from .optimizers import SGD, Adam
from .penalties import L1, MaxNorm, SparsityTarget, WeightDecay
from .progress import Progress
from .schedules import Constant, Cosine, GrowingMomentum, InverseTime, Linear, Piecewise, momentum_ramp
from .tensorboard import TensorBoard

__all__ = [
    "L1",
    "SGD",
    "Adam",
    "Callback",
    "Checkpoint",
    "Constant",
    "Cosine",
    "DivergenceError",
    "DivergenceGuard",
    "EarlyStopping",
    "GrowingMomentum",
    "History",
    "InverseTime",
    "Linear",
    "MaxNorm",
    "Piecewise",
    "PolyakAverage",
    "Progress",
    "SparsityTarget",
    "TensorBoard",
    "Validation",
    "WeightDecay",
    "momentum_ramp",
]
