"""Learning rules: where the two phases of the gradient come from, and the step that follows it.

The gradient of the mean log-likelihood is a difference of two expectations, -dE/dparameters over the data and over the model:
for the weights <v h> - <v h>'. A rule is a function

    positive, negative = rule(rbm, v, chains, stream)

of a machine, a batch, the run's persistent chains and its random stream; each phase is a pair (visible, hidden) of arrays with as
many rows as it likes. Any function of this form can be passed as `learning=`. A rule may have two methods besides:

- `start(rbm, batch_size, stream)` returns its persistent chains, a dictionary of arrays, which it then moves in place:
  `chains["layer.1"][...] = h`. They are in every checkpoint.
- `metrics(chains)` returns what it has to report, a dictionary of scalars on the device.

Where the model's expectation is no average over rows, `negative` is a function `negative(gradient, factor=..., centers=...)` that adds
factor times the expectation to `gradient` itself, as `BoltzmannMachine.add_statistics_` does for rows.

On a GPU steps whose rule is a frozen dataclass are captured and replayed (see `compute.graph`): such a rule must queue the same operations
each time and read nothing on the host. Other rules are called at each step.
"""

from .contrastive import CD
from .exact import Exact
from .persistent import PCD, FastPCD
from .rule import Chains, Phase, Rule, Statistics
from .step import Step
from .tap import TAP, tap_free_energy, tap_log_partition
from .tempering import ParallelTempering

__all__ = [
    "CD",
    "PCD",
    "TAP",
    "Chains",
    "Exact",
    "FastPCD",
    "ParallelTempering",
    "Phase",
    "Rule",
    "Statistics",
    "Step",
    "tap_free_energy",
    "tap_log_partition",
]
