"""One joint training step of a deep Boltzmann machine: this toolkit against PyTorch and JAX, and against the matrix products alone.

    python -m benchmarks.dbm

Every contestant trains the same machine (784-500-1000 Bernoulli units, batches of 100) with 5 sweeps of mean field and PCD-5 on 100
chains, see `benchmarks.machines`. Before timing, the changes of the weights from one state are compared.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import timing
from benchmarks.machines import Machine, contestants


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, check, time, print, draw and write."""
    sizes = {"visible": 784, "hidden": 500, "top": 1000, "batch": 100, "steps": 5, "chains": 100, "sweeps": 5}
    parser = timing.command(__doc__, ("torch", "compile", "jax"), calls=20, **sizes)
    options = timing.parse(parser, arguments, visible=60, hidden=40, top=50)
    layers = options.visible, options.hidden, options.top
    machine = Machine(layers, options.batch, options.steps, options.chains, options.sweeps)
    title = f"DBM {'-'.join(map(str, layers))}, batch {options.batch}, {options.sweeps} sweeps, PCD-{options.steps}"
    timing.race(options, f"{title} on {options.chains} chains", contestants(machine), contestants(machine.checked))


if __name__ == "__main__":
    main()
