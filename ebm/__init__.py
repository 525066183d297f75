"""Energy-based generative models: restricted and deep Boltzmann machines and belief networks, on CPU and GPU from one source."""

from . import ais, data, likelihood
from .dbm import DBM
from .dbn import DBN
from .learning import CD, PCD, TAP, Exact, FastPCD, ParallelTempering
from .rbm import RBM
from .stack import Stack
from .storage import load, save
from .units import Bernoulli, Gaussian, Joint, ReLU, ReplicatedSoftmax, Softmax

__all__ = [
    "CD",
    "DBM",
    "DBN",
    "PCD",
    "RBM",
    "TAP",
    "Bernoulli",
    "Exact",
    "FastPCD",
    "Gaussian",
    "Joint",
    "ParallelTempering",
    "ReLU",
    "ReplicatedSoftmax",
    "Softmax",
    "Stack",
    "ais",
    "data",
    "likelihood",
    "load",
    "save",
]
