"""Parzen windows: a density made of samples, a Gaussian around each.

With 10,000 samples in many dimensions the estimate is far below the likelihood that it stands for, and ranks models otherwise (Theis, van
den Oord, Bethge 2016, "A note on the evaluation of generative models"): it is here to be put beside published figures.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .distances import check, squared_distances
from .measured import Measured

# Those of Goodfellow et al. 2014 (their parzen_ll.py), for pixels in [0, 1].
BANDWIDTHS = tuple(float(bandwidth) for bandwidth in np.logspace(-1, 0, 10))


def parzen_bandwidth(samples: Any, validation: Any, candidates: Sequence[float] = BANDWIDTHS) -> float:
    """The bandwidth among the candidates by which Parzen windows around `samples` give `validation` rows the largest mean log-density.

    Goodfellow's protocol takes 10,000 samples and 1000 validation rows. Warns when the best is the first or the last of the candidates by
    size: a better one may lie beyond. Raises as `parzen` does.
    """
    scores = _log_densities(samples, validation, candidates, "validation").mean(axis=1)
    best, least, largest = float(candidates[int(scores.argmax())]), min(candidates), max(candidates)
    if best in (least, largest) and len(candidates) > 1:
        beyond = "smaller" if best == least else "larger"
        warnings.warn(
            f"the best bandwidth is {best:g}, at the edge of the candidates from {least:g} to {largest:g}; a {beyond} one may be better: "
            f"write candidates=np.logspace(a, b, 10) with 10^a to 10^b around {best:g}",
            stacklevel=2,
        )
    return best


def parzen(samples: Any, rows: Any, bandwidth: float) -> Measured:
    """The mean log-density of `rows` (n, width) under Parzen windows around `samples` (m, width), in nats, with its standard error:

        ln p(x) = ln 1/m sum_s N(x; s, bandwidth^2 I).

    Computed in blocks, in float64. Raises `ValueError` for widths that differ, numbers that are not finite, less than two rows, and a
    bandwidth that is not positive. (Goodfellow et al. 2014, "Generative adversarial nets", section 5; Breuleux, Bengio, Vincent 2011.)

    >>> samples, rows = np.random.default_rng(1).normal(size=(2, 1000, 3))
    >>> print(parzen(samples, rows, 0.5))
    -4.307 ± 0.033
    """
    return Measured.of(_log_densities(samples, rows, [bandwidth], "rows")[0])


def _log_densities(samples: Any, rows: Any, bandwidths: Sequence[float], name: str) -> np.ndarray:
    """ln p of each row by each bandwidth, (bandwidths, rows)."""
    check(samples, "samples")
    check(rows, name, samples.shape[1], least=2)
    if not len(bandwidths) or not all(0 < bandwidth < math.inf for bandwidth in bandwidths):
        raise ValueError(f"found bandwidths {list(bandwidths)}; expected positive numbers, at least one")
    nearest, total = np.full(rows.shape[0], np.inf), np.zeros((len(bandwidths), rows.shape[0]))
    precisions = [1 / bandwidth**2 for bandwidth in bandwidths]
    for here, _, squared in squared_distances(rows, samples):
        least = np.minimum(nearest[here], squared.min(axis=1))
        squared -= least[:, None]
        for k, precision in enumerate(precisions):
            # what was added up so far was measured from a sample that was the nearest then
            total[k, here] *= np.exp(-0.5 * precision * (nearest[here] - least))
            total[k, here] += np.exp(-0.5 * precision * squared).sum(axis=1)
        nearest[here] = least
    scale = np.array(precisions)[:, None]
    normalization = 0.5 * samples.shape[1] * np.log(2 * math.pi / scale) + math.log(samples.shape[0])
    return np.log(total) - 0.5 * scale * nearest - normalization
