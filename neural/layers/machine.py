"""MeanField: what a deep Boltzmann machine infers about a row, as further inputs of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from ebm import DBM
from ebm.compute import device as devices
from ebm.compute.device import Array, device_of
from ebm.compute.random import Stream
from ebm.mean_field import posterior

from ..gradient import Gradient
from .base import Backprop, Layer, Shape


class MeanField(Layer):
    """y = [x, E[h | x]] with the means of one hidden layer of a DBM, after a fixed number of mean-field sweeps.

    The machine's parameters are the layer's own, saved with the network, and stand still: they are those it was pretrained with, whatever
    becomes of the network. (Salakhutdinov & Hinton 2009, section 3.3.)
    """

    def __init__(self, machine: dict[str, Any], hidden: int, sweeps: int = 50) -> None:
        super().__init__()
        self.machine, self.hidden, self.sweeps = machine, hidden, sweeps
        self._machine = DBM.from_config(machine, devices.get("cpu"))
        self._shapes = {name: segment.shape for name, segment in self._machine.parameters.segments.items()}

    def shape_after(self, inputs: Shape) -> Shape:
        """The visible units and those of the layer."""
        visible = self._machine.visible_units.size
        if inputs != (visible,):
            raise ValueError(f"found rows of shape {inputs} before {self}; expected ({visible},)")
        return (visible + self._machine.layers[self.hidden].units.size,)

    def shapes(self, inputs: Shape) -> dict[str, Shape]:
        """The machine's parameters."""
        return dict(self._shapes)

    def still(self) -> set[str]:
        """All of them."""
        return set(self._shapes)

    def bound(self, inputs: Shape, own: Mapping[str, Array], names: Mapping[str, str]) -> Self:
        """A copy whose machine has these arrays for parameters."""
        layer = super().bound(inputs, own, names)
        some = next(iter(own.values()))
        machine: Any = DBM.from_config({**self.machine, "dtype": str(some.dtype)}, device_of(some))
        layer._machine = machine.with_parameters(own)
        return layer

    def forward(self, x: Array, training: Stream | None) -> tuple[Array, Backprop]:
        """y; the derivative by x passes the machine by: its means count as given."""
        means = posterior(self._machine, x, self.sweeps).states[self.hidden]
        xp = device_of(x).xp
        y = xp.concatenate([x, means], axis=1)

        def backprop(dy: Array, gradient: Gradient | None = None, through: bool = True) -> Array:
            return xp.ascontiguousarray(dy[:, : x.shape[1]])

        return y, backprop

    def arguments(self) -> dict[str, Any]:
        """The machine's description, the hidden layer's number, and the sweeps."""
        return {"machine": self.machine, "hidden": self.hidden, "sweeps": self.sweeps}

    def __repr__(self) -> str:
        return f"MeanField({self._machine!r}, hidden={self.hidden})"
