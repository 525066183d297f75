"""The scikit-learn face: estimators that follow scikit-learn's rules and learn with this package's kernels."""

from .bernoulli_rbm import BernoulliRBM
from .rbm import RBM

__all__ = ["RBM", "BernoulliRBM"]
