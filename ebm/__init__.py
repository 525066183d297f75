"""Energy-based generative models: restricted Boltzmann machines on CPU and GPU from one source."""

from . import data
from .learning import CD, PCD
from .rbm import RBM
from .storage import load, save
from .units import Bernoulli, Gaussian, ReLU, ReplicatedSoftmax, Softmax

__all__ = ["CD", "PCD", "RBM", "Bernoulli", "Gaussian", "ReLU", "ReplicatedSoftmax", "Softmax", "data", "load", "save"]
