"""The scikit-learn face: estimators that follow scikit-learn's rules and learn with this package's kernels."""

from .bernoulli_rbm import BernoulliRBM
from .dbm import DBM
from .dbn import DBN
from .rbm import RBM

__all__ = ["DBM", "DBN", "RBM", "BernoulliRBM"]
