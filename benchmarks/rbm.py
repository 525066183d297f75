"""One step of training an RBM: this toolkit against scikit-learn, PyTorch and JAX, and against the matrix products alone.

    python -m benchmarks.rbm
    python -m benchmarks.rbm --steps 10 --chains 250

Every contestant trains the same machine (784 x 512 Bernoulli units, batches of 100) by CD, or with `--chains` by PCD, see
`benchmarks.machines`; except scikit-learn, which has neither momentum nor decay and does PCD-1. Before timing, the changes of the
weights from one state are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from benchmarks import timing
from benchmarks.machines import RATE, Machine, contestants
from benchmarks.timing import Contestant

# What one call of scikit-learn's `fit` is given.
BATCHES = 20


def in_sklearn(machine: Machine, whole: bool) -> Contestant:
    """scikit-learn's PCD-1: `partial_fit` on one batch, or `fit` on 20."""
    from sklearn.neural_network import BernoulliRBM

    data, rng = machine.data(), np.random.default_rng(0)
    rbm = BernoulliRBM(n_components=machine.sizes[1], learning_rate=RATE, batch_size=machine.batch, n_iter=1, random_state=0)
    if whole:
        rows = data[np.arange(BATCHES * machine.batch) % len(data)]
        return Contestant(lambda: rbm.fit(rows), steps=BATCHES)
    return Contestant(lambda: rbm.partial_fit(data[rng.integers(0, len(data), machine.batch)]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, check, time, print, draw and write."""
    peers = ("torch", "compile", "jax", "sklearn")
    parser = timing.command(__doc__, peers, visible=784, hidden=512, batch=100, steps=1)
    parser.add_argument("--chains", type=int, metavar="N", help="so many persistent chains: PCD; by default CD")
    options = timing.parse(parser, arguments, visible=60, hidden=40)
    machine = Machine((options.visible, options.hidden), options.batch, options.steps, options.chains)
    entries = dict(contestants(machine))
    if (machine.steps, machine.chains) == (1, None):
        entries["sklearn, partial_fit"] = "sklearn", partial(in_sklearn, machine, False)
        entries["sklearn, fit"] = "sklearn", partial(in_sklearn, machine, True)
    rule = f"CD-{machine.steps}" if machine.chains is None else f"PCD-{machine.steps}, {machine.chains} chains"
    timing.race(
        options, f"{rule}, {options.visible} x {options.hidden}, batch {options.batch}", entries, contestants(machine.checked)
    )


if __name__ == "__main__":
    main()
