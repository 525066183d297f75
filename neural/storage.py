"""Loading models of both packages; saving is `ebm.storage.save`."""

from __future__ import annotations

import os
from typing import Any

from ebm import storage


def load(path: str | os.PathLike[str], device: Any = "auto", model: type[Any] | None = None) -> Any:
    """The model saved at `path`, a network's or a machine's, on the given device; with `model`, a class, one of this class.

    Raises what `ebm.load` raises.
    """
    from .autoencoder import Autoencoder
    from .classifier import Classifier
    from .gan import GAN
    from .vae import VAE

    return storage.load(path, device, model, {"Autoencoder": Autoencoder, "Classifier": Classifier, "GAN": GAN, "VAE": VAE})
