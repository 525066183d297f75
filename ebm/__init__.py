"""Energy-based generative models: restricted Boltzmann machines on CPU and GPU from one source."""

from . import ais, data, likelihood
from .learning import CD, PCD, TAP, Exact, FastPCD, ParallelTempering
from .rbm import RBM
from .storage import load, save
from .units import Bernoulli, Gaussian, ReLU, ReplicatedSoftmax, Softmax

__all__ = [
    "CD",
    "PCD",
    "RBM",
    "TAP",
    "Bernoulli",
    "Exact",
    "FastPCD",
    "Gaussian",
    "ParallelTempering",
    "ReLU",
    "ReplicatedSoftmax",
    "Softmax",
    "ais",
    "data",
    "likelihood",
    "load",
    "save",
]
