"""Ring 0: data sets with their splits, your own data, binarization, scaling, toy distributions, and checks before training."""

from .binarization import binarize, threshold
from .datasets import load
from .download import DataFileError
from .patches import patches
from .scaling import Standardizer, Whitener, check_standardized
from .sources import from_csv, from_folder
from .splits import Dataset
from .toys import bars_and_stripes, shifter
from .validation import check_counts, check_one_hot, check_rows

__all__ = [
    "DataFileError",
    "Dataset",
    "Standardizer",
    "Whitener",
    "bars_and_stripes",
    "binarize",
    "check_counts",
    "check_one_hot",
    "check_rows",
    "check_standardized",
    "from_csv",
    "from_folder",
    "load",
    "patches",
    "shifter",
    "threshold",
]
