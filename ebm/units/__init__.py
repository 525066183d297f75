"""Units: what a layer's variables are, given their field. One file a type.

Free energy, Gibbs steps, gradients and mean field are written once on top of five functions of a unit type, whose identities are
tested for every type: the derivative of `log_partition` by the field is `mean`, that of `mean` is `variance`.
"""

from __future__ import annotations

from typing import Any

from .base import Units
from .bernoulli import Bernoulli
from .gaussian import Gaussian
from .joint import Joint
from .relu import ReLU
from .replicated import ReplicatedSoftmax
from .softmax import Softmax

__all__ = [
    "TYPES",
    "Bernoulli",
    "Gaussian",
    "Joint",
    "ReLU",
    "ReplicatedSoftmax",
    "Softmax",
    "Units",
    "as_units",
    "from_config",
]

TYPES: dict[str, type[Units]] = {t.__name__: t for t in (Bernoulli, Gaussian, ReLU, Softmax, ReplicatedSoftmax, Joint)}


def as_units(layer: int | Units) -> Units:
    """Units as given; a number means Bernoulli units."""
    return layer if isinstance(layer, Units) else Bernoulli(layer)


def from_config(config: dict[str, Any]) -> Units:
    """The units that a file describes; raises `ValueError` for an unknown type."""
    arguments = dict(config)
    name = arguments.pop("units", None)
    if name not in TYPES:
        raise ValueError(f"found units {name!r}; this version knows {sorted(TYPES)}")
    if name == "Joint":
        return Joint(*(from_config(member) for member in arguments["members"]))
    return TYPES[name](**arguments)
