"""A model for tests of training: least squares by SGD with momentum and noisy inputs, in NumPy alone.

As a program, `least_squares.py FOLDER [CALL NUMBER WHEN]` trains it with checkpoints in FOLDER, resuming from those that are there,
and saves the weights. With the further arguments it dies before or after the NUMBER-th call of `os.fsync` or `os.replace`.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

from ebm.training.callbacks import EarlyStopping, Validation
from ebm.training.checkpoints import Checkpoint
from ebm.training.history import History
from ebm.training.loop import train

EPOCHS = 14


class Arrays:
    def __init__(self, **arrays):
        self.arrays = arrays

    def named_arrays(self):
        return self.arrays

    def state_dict(self):
        return {name: array.copy() for name, array in self.arrays.items()}

    def load_state_dict(self, state):
        for name, array in self.arrays.items():
            array[...] = state[name]


class Noise:
    def __init__(self, seed):
        self.generator = np.random.default_rng(seed)

    def state_dict(self):
        return self.generator.bit_generator.state

    def load_state_dict(self, state):
        self.generator.bit_generator.state = state


class Rows:
    """Shuffled batches, addressed by epoch and index."""

    def __init__(self, rows=200, size=10):
        generator = np.random.default_rng(1)
        self.inputs = generator.normal(size=(rows, 8)).astype(np.float32)
        self.targets = self.inputs @ generator.normal(size=(8, 3)).astype(np.float32)
        self.size = size

    def __len__(self):
        return len(self.inputs) // self.size

    def batch(self, epoch, index):
        chosen = np.random.default_rng((2, epoch)).permutation(len(self.inputs))[index * self.size :][: self.size]
        return self.inputs[chosen], self.targets[chosen]


class LeastSquares:
    def __init__(self, outputs=3, rate=0.01, pause=0.0):
        self.weights = np.zeros((8, outputs), np.float32)
        self.velocity = np.zeros_like(self.weights)
        self.noise = Noise(3)
        self.rate = rate
        self.pause = pause
        self.state = {
            "parameters": Arrays(weights=self.weights),
            "moments": Arrays(velocity=self.velocity),
            "noise": self.noise,
        }
        self.loss = np.zeros(1, np.float32)  # overwritten by every step, as the buffers of a device are

    def step(self, batch):
        x, y = batch
        x = x + self.noise.generator.normal(0, 0.3, x.shape).astype(np.float32)
        error = x @ self.weights - y
        self.velocity *= 0.9
        self.velocity -= self.rate * (x.T @ error) / len(x)
        self.weights += self.velocity
        self.loss[0] = (error**2).mean()
        time.sleep(self.pause)
        return {"loss": self.loss}

    def validate(self):
        batches = Rows()
        return {"validation loss": ((batches.inputs @ self.weights - batches.targets) ** 2).mean()}


def fit(model, folder, resume=None, epochs=EPOCHS, more=()):
    history = History(Path(folder) / "history.jsonl")
    callbacks = [
        Checkpoint(folder, every_steps=7, keep=2, best="validation loss"),
        history,
        Validation(model.validate, every=2),
        EarlyStopping("loss", patience=EPOCHS),
        *more,
    ]
    return train(model.step, Rows(), epochs, callbacks, model.state, resume), history


def die(call, number, when):
    original = getattr(os, call)
    calls = iter(range(1, number + 1))

    def function(*arguments):
        last = next(calls) == number
        if not last or when == "after":
            original(*arguments)
        if last:
            os._exit(9)

    setattr(os, call, function)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    if sys.argv[2:]:
        die(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    resume = folder if any(folder.glob("step-*")) else None
    model = LeastSquares(pause=0.0 if sys.argv[2:] else 0.006)
    print("training", flush=True)
    fit(model, folder, resume)
    np.save(folder / "weights.npy", model.weights)
