"""Evaluation that treats all generative models alike: what is measured are arrays on the host (rows, samples, reconstructions, codes), not
models."""

from __future__ import annotations

from .codes import active_units, few_labels, linear_probe, nearest_neighbors
from .features import Comparison, FeatureSpace
from .frechet import frechet_distance
from .manifolds import precision_recall
from .measured import Measured
from .parzen import BANDWIDTHS, parzen, parzen_bandwidth
from .protocol import Encodes, Reconstructs, Samples, Scores
from .reconstruction import squared_error
from .two_sample import TwoSampleTest, two_sample_test

__all__ = [
    "BANDWIDTHS",
    "Comparison",
    "Encodes",
    "FeatureSpace",
    "Measured",
    "Reconstructs",
    "Samples",
    "Scores",
    "TwoSampleTest",
    "active_units",
    "few_labels",
    "frechet_distance",
    "linear_probe",
    "nearest_neighbors",
    "parzen",
    "parzen_bandwidth",
    "precision_recall",
    "squared_error",
    "two_sample_test",
]
