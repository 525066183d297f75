"""DBM: the deep Boltzmann machine, layers of units connected each with the next.

E(v, h1, h2) = -b v - c1 h1 - c2 h2 - v W1 h1 - h1 W2 h2 (for binary units and two hidden layers),   p = e^-E / Z.

Salakhutdinov & Hinton 2009, "Deep Boltzmann machines".
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from .compute.device import Array, Device
from .compute.gemm import Precision
from .data.minibatches import Binarization, in_blocks
from .learning import CD, PCD, TAP, Exact, ParallelTempering, Rule
from .learning.fit import fit
from .machine import DEVIATION, BoltzmannMachine
from .mean_field import converged
from .rbm import RBM
from .stack import Stack
from .training.callbacks import Callback, Validation, listed
from .training.optimizers import Optimizer
from .training.penalties import Penalty
from .units import Joint, Softmax, Units


class DBM(BoltzmannMachine):
    """A deep Boltzmann machine of `layers`, visible first (numbers mean Bernoulli units), each connected with the next.

    `labels=10` adds ten categories as visible softmax units, connected with the last layer; rows of data, samples and clamps then have
    ten more columns. `connections` and `observed` describe other graphs, such as two pathways with a common top:
    `DBM([784, 500, 1000, 300, Softmax(20, 10)], [(0, 1), (1, 2), (3, 2), (4, 3)], observed=(0, 4))`.

    `weights[i]` and `layers[i].bias` are writable arrays on `device`. Methods take and return arrays as those of `RBM` do.

    >>> DBM([784, 500, 1000], labels=10, device="cpu")
    DBM(Bernoulli(784), Bernoulli(500), Bernoulli(1000), Softmax(10), device='cpu', dtype='float32')
    """

    def __init__(
        self,
        layers: Sequence[int | Units],
        connections: Sequence[tuple[int, int]] | None = None,
        *,
        labels: int | None = None,
        observed: Sequence[int] = (0,),
        device: str | Device = "auto",
        dtype: Any = "float32",
        seed: int | None = 0,
        precision: Precision = None,
    ) -> None:
        layers = list(layers)
        if labels is not None:
            if connections is not None:
                raise ValueError(
                    "found both labels and connections; write Softmax(categories) among the layers and its connection"
                )
            top = len(layers) - 1
            connections = [*((i, i + 1) for i in range(top)), (top + 1, top)]
            layers, observed = [*layers, Softmax(labels)], (*observed, top + 1)
        super().__init__(layers, connections, observed=observed, device=device, dtype=dtype, seed=seed, precision=precision)
        self._trained = False

    @classmethod
    def on(cls, machine: RBM | DBM, layers: Sequence[int | Units], *, deviation: float = 0.04, seed: int | None = None) -> Self:
        """A machine with further hidden `layers` on a trained RBM or chain, copied; `fit(..., centered=True)` trains all of them together.

        The new weights are draws of N(0, deviation^2), against whose mean effect the biases below are set. With zeros, log p(v) would be
        that of `machine`, and nothing would learn; with small ones the bound begins near it, and the upper layers may take little part for
        good (`demos.dbm_mnist` prints what is left of their weights): for such that do, there is `pretrain`. The machine stays as it is.

        Raises `ValueError` for graphs other than a chain, for machines with labels, and for a deviation that is not positive.

        >>> DBM.on(RBM(784, 500, device="cpu"), [1000])
        DBM(Bernoulli(784), Bernoulli(500), Bernoulli(1000), device='cpu', dtype='float32')
        """
        chain = [(i, i + 1) for i in range(len(machine.layers) - 1)]
        if (
            type(machine) not in (RBM, DBM)
            or machine.observed != (0,)
            or [(c.lower, c.upper) for c in machine.connections] != chain
        ):
            raise ValueError(f"found {machine}; expected an RBM, or a DBM that is a chain of layers without labels")
        if not 0 < deviation < float("inf"):
            raise ValueError(f"found deviation={deviation}; expected a positive number: weights of zero learn nothing")
        options: dict[str, Any] = {"device": machine.device, "dtype": machine.dtype, "precision": machine.precision}
        given = [layer.units for layer in machine.layers]
        found = cls([*given, *layers], **options, seed=machine.seed if seed is None else seed)
        for old, new in zip(machine.connections, found.connections, strict=False):
            new.weights[...] = old.weights
        for below, layer in zip(machine.layers, found.layers, strict=False):
            layer.copy_(below)
        for new in found.connections[len(machine.connections) :]:
            upper = found.layers[new.upper]
            new.weights[...] *= found.dtype.type(deviation / DEVIATION)
            found.layers[new.lower].bias[...] -= (new.weights * upper.units.mean(upper.bias[None])).sum(axis=1)
        found._trained = True
        return found

    def config(self) -> dict[str, Any]:
        """What a file says of this machine, besides its parameters."""
        return super().config() | {"trained": self._trained}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], device: Device) -> Self:
        """The machine, with parameters of its own, that `config` describes."""
        dbm = super().from_config(config, device)
        dbm._trained = config["trained"]
        return dbm

    @property
    def weights(self) -> list[Array]:
        """The weights of each connection, (lower size, upper size)."""
        return [c.weights for c in self.connections]

    def transform(self, data: Any, layer: int | None = None, *, tolerance: float | None = None) -> np.ndarray:
        """E[h | v] of a hidden layer, by default the last one, for every row of a host array, by mean field; (rows, size)."""
        self.visible_units.check(data, "data")
        layer = self.outward[-1] if layer is None else layer
        if layer not in self.hidden_layers:
            raise ValueError(f"found layer={layer} for {self}; expected one of the hidden layers {self.hidden_layers}")
        found = (converged(self, v, tolerance) for v in in_blocks(data, self.device, self.dtype))
        return np.concatenate([self.device.to_host(q.states[layer]) for q in found])

    encode = transform

    def pretrain(
        self,
        data: Any,
        *,
        per_layer: Sequence[Mapping[str, Any]] = (),
        folder: str | os.PathLike[str] | None = None,
        **settings: Any,
    ) -> DBM:
        """Train a stack of RBMs greedily and compose this machine of them; returns the machine.

        Each hidden layer hears one RBM below and one above, and would hear everything twice: so the first RBM's hidden units have
        twice the field (two tied copies of the visible ones), the last RBM's visible units have twice theirs, and those in between both.
        In the composed machine a layer has the sum of its two biases and hears each side once, which is the mean of both fields
        (Salakhutdinov & Hinton 2009, section 3.1). Labels are visible units of the last RBM, with fields that are not doubled.

        `settings` are those of `RBM.fit` for every layer, `per_layer` one mapping for each with what differs. With a `folder` each layer
        has its checkpoints and history there, and the same call goes on where an earlier one was stopped.

        Raises `ValueError` for graphs other than a chain, and for a machine that was trained as a whole, which this would undo.
        """
        stack = self.stack()
        if self._trained:
            raise ValueError(
                f"found {self} trained as a whole; pretraining comes first and would undo that: write DBM(...).pretrain(data).fit(data)"
            )
        stack.fit(data, per_layer=per_layer, folder=folder, **settings)
        self.compose_(stack)
        return self

    def stack(self) -> TiedStack:
        """The RBMs that pretraining trains, with this machine's sizes; `compose_` takes them back."""
        depth = len(self.layers) - (len(self.observed) - 1)
        chain = [(i, i + 1) for i in range(depth - 1)]
        top = depth - 1
        expected = chain if len(self.observed) == 1 else [*chain, (depth, top)]
        if [(c.lower, c.upper) for c in self.connections] != expected or self.observed != (0, depth)[: len(self.observed)]:
            raise ValueError(
                f"found {self} with connections {[(c.lower, c.upper) for c in self.connections]}; pretraining knows chains of layers, with "
                f"labels at the top or without: train RBMs of your own and copy their weights, or write fit(..., centered=True)"
            )
        return TiedStack(self)

    def compose_(self, stack: TiedStack) -> None:
        """Set weights and biases from the RBMs of `stack()`."""
        for i in range(len(self.layers)):
            self.layers[i].bias[...] = 0
        for k, rbm in enumerate(stack.layers):
            visible, hidden = self.layers[k], self.layers[k + 1]
            size = visible.units.size
            self.connections[k].weights[...] = rbm.weights[:size]
            visible.bias[...] += rbm.visible.bias[:size]
            hidden.bias[...] += rbm.hidden.bias
            if rbm.weights.shape[0] > size:  # labels
                self.connections[-1].weights[...] = rbm.weights[size:]
                self.layers[-1].bias[...] = rbm.visible.bias[size:]
            for name, array in rbm.visible.units.own.items():
                if name in visible.units.own:
                    visible.units.own[name][...] = array

    def fit(
        self,
        data: Any,
        *,
        epochs: int = 10,
        batch_size: int = 100,
        learning: Rule = PCD(5),
        optimizer: Optimizer | None = None,
        penalties: Sequence[Penalty] = (),
        binarization: Binarization = None,
        centered: bool = False,
        validation: Any = None,
        callbacks: Iterable[Callback] = (),
        seed: int | None = None,
        resume: str | os.PathLike[str] | None = None,
    ) -> DBM:
        """Train all layers together on the rows of `data` (rows, visible), and return the machine.

        The data's phase is mean field, `PCD(steps, chains, mean_field=10)` sweeps of it, the model's are persistent chains. Without
        `pretrain` write `centered=True`: else the weights of higher layers hardly leave zero. `validation` rows add the metric
        "validation_reconstruction". All else is as for `RBM.fit`.
        """
        if isinstance(learning, (CD, TAP, Exact, ParallelTempering)):
            raise ValueError(
                f"found learning={learning} for {self}; it is a rule for one hidden layer: write PCD(5) or FastPCD(5)"
            )
        self.visible_units.check_training(data, "data")
        if validation is not None:
            self.visible_units.check(validation, "validation")
            callbacks = [Validation(lambda: self._validate(validation)), *listed(callbacks)]
        self._trained = True
        fit(
            self,
            data,
            epochs=epochs,
            batch_size=batch_size,
            learning=learning,
            optimizer=optimizer,
            penalties=penalties,
            binarization=binarization,
            centered=centered,
            callbacks=callbacks,
            seed=seed,
            resume=resume,
        )
        return self

    def _validate(self, validation: Any) -> Mapping[str, float]:
        total = 0.0
        for rows in in_blocks(validation, self.device, self.dtype):
            total += float(self.device.to_host(self.squared_error(rows))) * rows.shape[0]
        return {"validation_reconstruction": total / validation.shape[0]}


class TiedRBM(RBM):
    """An RBM one of whose sides, or both, hears the other twice: what a layer of a DBM is pretrained as.

    `scales` multiply the fields of the visible and of the hidden units. Where `hidden` hears two copies of the visible units,

        E(v, v', h) = -b v - b v' - 2 c h - (v + v') W h   with v = v',

    the field of h is 2 (c + v W), that of v stays b + h W^T. Visible `labels`, the last columns, hear the hidden units once.
    """

    def __init__(
        self, visible: int | Units, hidden: int | Units, scales: tuple[float, float], labels: int = 0, **options: Any
    ) -> None:
        super().__init__(visible, hidden, **options)
        once = np.ones(labels, self.dtype)
        self._scales = [
            self.device.asarray(np.append(np.full(layer.units.size - once.size, scale, self.dtype), once))
            for layer, scale, once in zip(self.layers, scales, (once, once[:0]), strict=True)
        ]

    def field(
        self, layer: int, states: Sequence[Array], beta: float = 1.0, out: Array | None = None, *, times: float = 1.0
    ) -> Array:
        """The field of an RBM, times the layer's scale."""
        field = super().field(layer, states, beta, out, times=times)
        field *= self._scales[layer]
        return field


class TiedStack(Stack):
    """The RBMs of a DBM's pretraining, each trained on the means of the one below; on samples, where a hidden layer is not binary."""

    def __init__(self, dbm: DBM) -> None:
        units = [layer.units for layer in dbm.layers]
        labels = [units.pop()] if len(dbm.observed) > 1 else []
        last, width = len(units) - 2, sum(u.size for u in labels)
        options: dict[str, Any] = {"device": dbm.device, "dtype": dbm.dtype, "precision": dbm.precision}
        layers = []
        for k in range(last + 1):
            beside = labels if k == last else []
            visible = Joint(units[k], *beside) if beside else units[k]
            scales = (1.0 if k == 0 else 2.0, 1.0 if k == last else 2.0)
            layers.append(TiedRBM(visible, units[k + 1], scales, sum(u.size for u in beside), seed=dbm.seed + k, **options))
        grey = all(u.grey for u in units[1:-1])
        super().__init__(layers, labels=width, passed="means" if grey else "samples", seed=dbm.seed)
