"""Energy-based generative models: restricted Boltzmann machines on CPU and GPU from one source."""

from . import data
from .learning import CD, PCD
from .rbm import RBM
from .storage import load, save
from .units import Bernoulli

__all__ = ["CD", "PCD", "RBM", "Bernoulli", "data", "load", "save"]
