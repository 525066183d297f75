"""Ring 0: data sets with their splits, binarization, toy distributions and the checks that rows pass before training."""

from .binarization import binarize, threshold
from .datasets import Dataset, load
from .download import DataFileError
from .toys import bars_and_stripes, shifter
from .validation import check_rows

__all__ = [
    "DataFileError",
    "Dataset",
    "bars_and_stripes",
    "binarize",
    "check_rows",
    "load",
    "shifter",
    "threshold",
]
