"""Classifier: a network with a softmax top."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np

from ebm import storage
from ebm.compute.device import Array, Device, device_of
from ebm.compute.random import Stream
from ebm.data.minibatches import Binarization, in_blocks
from ebm.data.validation import check_rows
from ebm.training import checkpoints
from ebm.training.callbacks import Callback
from ebm.training.optimizers import Adam, Optimizer
from ebm.training.parameters import Parameters
from ebm.training.penalties import Penalty
from ebm.units.base import positive

from .autoencoder import Autoencoder
from .gradient import Gradient
from .initializers import Glorot, Initializer
from .layers import Activation, Dense, Dropout, Layer, Reshape, Shape, Softmax, UnitMean, activation
from .layers import from_config as layer_from_config
from .line_search import LineSearch
from .losses import CategoricalCrossEntropy, Loss, SquaredError, as_loss
from .losses import from_config as loss_from_config
from .network import Network
from .training import fit


class Classifier(storage.Described):
    """A network whose last layer gives a number for each of `classes`, before the softmax that belongs to the loss.

    `layers` are sizes, inputs first, `[784, 500, 300]`, with `activation` and `dropout` after each, or layers for rows of `inputs`
    numbers; a Dense layer of `classes` units comes on top of them. `Classifier.on(model, 10)` starts from what a model has learned.
    Labels are whole numbers from 0. The loss is `CategoricalCrossEntropy`; `SquaredError` of one-hot rows is there for comparison.

    >>> model = Classifier([64, 32], classes=10, device="cpu")
    >>> model.predict(np.zeros((2, 64))).shape
    (2,)
    """

    def __init__(
        self,
        layers: Sequence[int] | Sequence[Layer],
        classes: int,
        *,
        inputs: int | Shape | None = None,
        activation: str | Layer = "sigmoid",
        dropout: float = 0.0,
        loss: Loss | None = None,
        initial: Initializer | None = None,
        device: str | Device = "auto",
        dtype: Any = "float32",
        seed: int | None = 0,
    ) -> None:
        self._describe(classes, loss)
        given = [layer for layer in layers if isinstance(layer, Layer)]
        if not given and layers:
            sizes = [size for size in layers if not isinstance(size, Layer)]
            if inputs is not None:
                raise ValueError(
                    f"found layers={layers!r} and inputs={inputs!r}; the first size is that of a row: leave inputs out"
                )
            given, inputs = _dense(sizes[1:], activation, dropout, initial or Glorot()), sizes[0]
        elif len(given) < len(layers) or inputs is None:
            raise ValueError(f"found layers={layers!r}, inputs={inputs!r}; expected sizes, or layers and inputs=")
        elif dropout or activation != "sigmoid":
            raise ValueError(
                f"found activation={activation!r}, dropout={dropout!r} beside layers, which have their own; leave them out, and put "
                f"Dropout(rate) among the layers"
            )
        elif given and isinstance(given[-1], Softmax):
            raise ValueError(
                f"found {given[-1]} at the end, which belongs to the loss, after a Dense layer that is added; leave it out"
            )
        self._build(given, inputs, initial=initial, device=device, dtype=dtype, seed=seed)

    def _describe(self, classes: int, loss: Loss | None) -> None:
        self.classes, self.loss = positive("classes", classes, least=2), as_loss(loss, CategoricalCrossEntropy())
        if not isinstance(self.loss, (CategoricalCrossEntropy, SquaredError)):
            raise ValueError(f"found loss={loss}; expected CategoricalCrossEntropy(), or SquaredError() for comparison")

    def _build(
        self, layers: Sequence[Layer], inputs: int | Shape, *, initial: Initializer | None = None, **options: Any
    ) -> None:
        """The network of these layers and the top."""
        top = Dense(self.loss.width(self.classes), initial=initial or Glorot())
        self.network = Network([*layers, top], inputs, **options)

    @classmethod
    def on(
        cls,
        model: Autoencoder,
        classes: int,
        *,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        loss: Loss | None = None,
        seed: int | None = None,
    ) -> Self:
        """A classifier on the encoder of a model, copied: an autoencoder, or a machine or stack that `unroll` made one of.

        `dropout` is put after each activation, `input_dropout` before the first layer that learns. The model stays as it is.
        """
        if not isinstance(model, Autoencoder):
            raise TypeError(
                f"found {type(model).__name__}; expected an Autoencoder: of a machine or a stack make one by unroll(model)"
            )
        source, layers, numbers = model.network, list[Layer](), list[int]()
        # not `source.fixed`, which counts layers that are frozen: the copies learn
        first = next((k for k, layer in enumerate(source.layers) if layer.names.keys() - layer.still()), -1)
        for k, layer in enumerate(source.layers[: model.depth]):
            if input_dropout and k == first:
                layers.append(Dropout(input_dropout))
                numbers.append(-1)
            layers.append(layer_from_config(layer.config()))
            numbers.append(k)
            if dropout and isinstance(layer, (Activation, UnitMean)):
                layers.append(Dropout(dropout))
                numbers.append(-1)
        if len(source.layers[model.depth - 1].outputs or ()) > 1:
            layers.append(Reshape(model.outputs))
            numbers.append(-1)
        found = cls.__new__(cls)
        found._describe(classes, loss)
        found._build(
            layers, source.inputs, device=source.device, dtype=source.dtype, seed=source.seed if seed is None else seed
        )
        for k, number in enumerate(numbers):
            if number >= 0:
                found.network.copy_layer_(k, source, number)
        return found

    @property
    def inputs(self) -> int:
        """The width of a row of data."""
        return math.prod(self.network.inputs)

    @property
    def parameters(self) -> Parameters:
        """All weights and biases, in one buffer."""
        return self.network.parameters

    @property
    def device(self) -> Device:
        """Where the arrays are."""
        return self.network.device

    def fit(
        self,
        data: Any,
        labels: Any,
        *,
        epochs: int = 10,
        top_epochs: int = 0,
        adversarial: float = 0.0,
        batch_size: int = 100,
        optimizer: Optimizer | LineSearch | None = None,
        penalties: Sequence[Penalty] = (),
        binarization: Binarization = None,
        validation: tuple[Any, Any] | None = None,
        callbacks: Iterable[Callback] = (),
        seed: int | None = None,
        resume: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Train on the rows of `data` (rows, inputs) and their `labels` (rows,), and return the model.

        The first `top_epochs` epochs train the last layer alone, then `epochs` train all layers that aren't frozen (`network.freeze`);
        callbacks see the second part. `validation=(rows, labels)` adds the metrics "validation_loss" and "validation_error", the share of
        wrong labels. All else is as for `Autoencoder.fit`.

        `adversarial` is how far every input is moved, up or down, to where the loss J grows: then half of what is learned are such rows,

            J(x) / 2 + J(x + adversarial sign(dJ/dx)) / 2

        (Goodfellow, Shlens, Szegedy 2015, "Explaining and harnessing adversarial examples", section 5), x being the rows, or what first
        layers that have nothing to learn make of them. A step takes nearly twice as long.

        Raises `ValueError` for labels out of range and rows of another width, before anything changes.
        """
        if not 0 <= adversarial < math.inf:
            raise ValueError(f"found adversarial={adversarial}; expected a number >= 0, such as 0.1 for inputs between 0 and 1")
        if adversarial and isinstance(optimizer, LineSearch):
            raise ValueError(
                f"found adversarial={adversarial} with {optimizer}, which needs the gradient of one loss; write SGD or Adam"
            )
        self._check(data, "data")
        targets = self._one_hot(labels, data.shape[0], "labels")
        if validation is not None:
            if not isinstance(validation, (tuple, list)) or len(validation) != 2:
                raise TypeError(
                    f"found a {type(validation).__name__} for validation; expected a pair: write validation=(rows, labels)"
                )
            self._check(validation[0], "validation rows")
            validation = validation[0], self._one_hot(validation[1], validation[0].shape[0], "validation labels")
        options: dict[str, Any] = {
            "adversarial": adversarial,
            "batch_size": batch_size,
            "optimizer": optimizer or Adam(1e-3),
            "penalties": penalties,
            "binarization": binarization,
            "seed": self.network.seed if seed is None else seed,
        }
        if top_epochs and (resume is None or checkpoints.empty(resume)):
            segments = self.parameters.segments
            frozen = {name: segment.frozen for name, segment in segments.items()}
            try:
                self.network.freeze(*range(len(self.network.layers) - 1))
                self._run(data, targets, epochs=top_epochs, validation=None, callbacks=(), resume=None, **options)
            finally:
                for name, segment in segments.items():
                    segment.frozen = frozen[name]
        self._run(data, targets, epochs=epochs, validation=validation, callbacks=callbacks, resume=resume, **options)
        return self

    def _run(
        self, data: Any, targets: np.ndarray, *, adversarial: float, validation: tuple[Any, np.ndarray] | None, **options: Any
    ) -> None:
        network, first = self.network, 0
        if options["binarization"] is None:
            # what learns nothing and is the same in training as in evaluation is computed once
            first = next((k for k, layer in enumerate(network.layers) if layer.differs or k == network.fixed), 0)

        def below(rows: Any) -> Any:
            return network.evaluate(rows, 0, first).reshape(rows.shape[0], -1) if first else rows

        options["validate"] = validation and partial(self._validate, first, below(validation[0]), validation[1])
        fit(self, partial(self._objective, first, adversarial), below(data), targets, **options)

    def _objective(
        self, first: int, adversarial: float, batch: tuple[Array, Array], stream: Stream, gradient: Gradient
    ) -> Mapping[str, Array]:
        x, target = batch
        x = x.reshape(x.shape[0], *(self.network.layers[first].inputs or ()))

        def learn(x: Array, share: float, through: bool) -> tuple[Array, Array]:
            """This share of the mean loss, and its derivative by x."""
            z, backprop = self.network(x, stream, first)
            values, slope = self.loss(z, target)
            slope *= slope.dtype.type(share / x.shape[0])
            return x.dtype.type(share) * values.mean(), backprop(slope, gradient, through)

        if not adversarial:
            return {"loss": learn(x, 1.0, False)[0]}
        loss, dx = learn(x, 0.5, True)
        return {"loss": loss + learn(x + x.dtype.type(adversarial) * device_of(dx).xp.sign(dx), 0.5, False)[0]}

    def _validate(self, first: int, rows: Any, targets: np.ndarray) -> Mapping[str, float]:
        z, target = (self.device.asarray(part, self.network.dtype) for part in (self.network.evaluate(rows, first), targets))
        wrong = self.loss.output(z).argmax(axis=1) != target.argmax(axis=1)
        means = {"validation_loss": self.loss(z, target)[0], "validation_error": wrong}
        return {name: float(self.device.to_host(values.mean(dtype=np.float64))) for name, values in means.items()}

    def predict_proba(self, rows: Any) -> np.ndarray:
        """The probability of each class, (rows, classes), for rows of a host array. Raises `TypeError` after training by squared error,
        whose outputs are none."""
        if not isinstance(self.loss, CategoricalCrossEntropy):
            raise TypeError(
                f"found {self.loss}, whose outputs are no probabilities; write predict(rows), or train with CategoricalCrossEntropy()"
            )
        return self._outputs(rows)

    def _outputs(self, rows: Any) -> np.ndarray:
        self._check(rows, "rows")
        network = self.network
        blocks = in_blocks(network.evaluate(rows), network.device, network.dtype)
        return np.concatenate([network.device.to_host(self.loss.output(z)) for z in blocks])

    def predict(self, rows: Any) -> np.ndarray:
        """The likeliest class of each row, (rows,)."""
        return self._outputs(rows).argmax(axis=1)

    def score(self, rows: Any, labels: Any) -> float:
        """The share of rows whose label is predicted."""
        return float((self._predicted(rows, labels) == np.asarray(labels)).mean())

    def _predicted(self, rows: Any, labels: Any) -> np.ndarray:
        """`predict`, once both are checked."""
        self._check(rows, "rows")
        self._one_hot(labels, rows.shape[0], "labels")
        return self.predict(rows)

    def report(self, rows: Any, labels: Any) -> str:
        """Precision, recall, F1 and number of rows of each class, as a table (scikit-learn's)."""
        from sklearn.metrics import classification_report

        predicted = self._predicted(rows, labels)
        return classification_report(labels, predicted, labels=range(self.classes), digits=4, zero_division=0)

    def confusion(self, rows: Any, labels: Any) -> np.ndarray:
        """How many rows of each class (down) are predicted to be of each (across), (classes, classes)."""
        from sklearn.metrics import confusion_matrix

        return confusion_matrix(labels, self._predicted(rows, labels), labels=range(self.classes))

    def _check(self, rows: Any, name: str) -> None:
        check_rows(rows, self.inputs, low=-math.inf, high=math.inf, sparse=True, name=name)

    def _one_hot(self, labels: Any, rows: int, name: str) -> np.ndarray:
        """Checked labels as rows."""
        labels = np.asarray(labels)
        if labels.shape != (rows,) or not np.issubdtype(labels.dtype, np.integer):
            cure = ""
            if labels.shape == (rows, self.classes):
                cure = f": write {name}.argmax(axis=1) of one-hot rows"
            elif labels.shape == (rows,):
                number = np.issubdtype(labels.dtype, np.floating) or labels.dtype == bool
                whole = number and (labels == np.floor(labels)).all()
                cure = f": write {name}.astype(int)" if whole else f": write np.unique({name}, return_inverse=True)[1]"
            elif labels.shape == (rows, 1):
                cure = f": write {name}.ravel()"
            raise ValueError(
                f"{name}: found {labels.dtype} of shape {labels.shape}; expected {rows} whole numbers, one for each row{cure}"
            )
        if rows and (labels.min() < 0 or labels.max() >= self.classes):
            wrong = int(((labels < 0) | (labels >= self.classes)).argmax())
            cure = f": write {name} - 1" if labels.min() == 1 and labels.max() == self.classes else ""
            raise ValueError(f"{name}[{wrong}] is {labels[wrong]}; expected whole numbers from 0 to {self.classes - 1}{cure}")
        return np.eye(self.classes, dtype=np.float32)[labels]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one safetensors file; read it back with `neural.load`."""
        storage.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: Any = "auto") -> Self:
        """The model saved at `path`; raises as `neural.load` does, and for a file of another model."""
        from .storage import load

        return load(path, device, cls)

    def config(self) -> dict[str, Any]:
        """What a file says of this model, besides its parameters."""
        return {"network": self.network.config(), "classes": self.classes, "loss": self.loss.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], device: Device) -> Self:
        """The model, with parameters of its own, that `config` describes."""
        model = cls.__new__(cls)
        model.network = Network.from_config(config["network"], device)
        model.classes, model.loss = config["classes"], loss_from_config(config["loss"])
        return model

    def __repr__(self) -> str:
        return f"Classifier({self.network!r}, classes={self.classes}, loss={self.loss!r})"


def _dense(sizes: Sequence[int], name: str | Layer, dropout: float, initial: Initializer) -> list[Layer]:
    layers: list[Layer] = []
    for size in sizes:
        layers += [Dense(size, initial=initial), activation(name), *([Dropout(dropout)] if dropout else [])]
    return layers
