"""Neural counterparts of the models in `ebm`: networks with explicit backpropagation, autoencoders, classifiers. Imports `ebm`, never
the other way round."""

from .autoencoder import Autoencoder
from .classifier import Classifier
from .network import Network
from .storage import load
from .unroll import unroll

__all__ = ["Autoencoder", "Classifier", "Network", "load", "unroll"]
