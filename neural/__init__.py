"""Neural counterparts of the models in `ebm`: networks with explicit backpropagation, autoencoders, classifiers. Imports `ebm`, never
the other way round."""

from .autoencoder import Autoencoder
from .classifier import Classifier
from .gan import GAN
from .line_search import LineSearch
from .network import Network
from .storage import load
from .unroll import unroll
from .vae import VAE

__all__ = ["GAN", "VAE", "Autoencoder", "Classifier", "LineSearch", "Network", "load", "unroll"]
