"""Pictures of host arrays: samples, filters, reconstructions, activations, parameters, curves and codes.

Each function returns a Matplotlib figure of its own, six inches wide, that pyplot knows nothing of: write
`figure.savefig("samples.png")`, or let a notebook show it. They raise `ValueError` for arrays of other shapes and for NaN and
infinity, and `MixedDevicesError` for arrays on a device. Nothing in `ebm` imports this package.
"""

from .curves import learning_curves
from .distributions import hidden_activations, histograms
from .embeddings import embedding
from .tiles import filters, images, reconstructions

__all__ = ["embedding", "filters", "hidden_activations", "histograms", "images", "learning_curves", "reconstructions"]
