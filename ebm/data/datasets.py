"""Data sets by name, always as train, validation and test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from . import idx
from .download import Source, fetch


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows with labels: `images` (n, width) float32 in [0, 1], `labels` (n,) int64, and the `shape` of one image."""

    images: np.ndarray
    labels: np.ndarray
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"<{len(self)} images of {self.shape[0]} × {self.shape[1]}>"


MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
}

# In the order train images, train labels, test images, test labels.
FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
SHA256 = {
    "mnist": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    "fashion-mnist": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
}
NAMES = ("digits", *MIRRORS)


def load(name: str) -> tuple[Dataset, Dataset, Dataset]:
    """The data set called `name`, split into train, validation and test.

    - `"digits"`: scikit-learn's bundled 8 × 8 digits (Alpaydin & Kaynak 1998, UCI test part), shuffled once and for all and
      split 1197 / 300 / 300; intensities of 0 to 16 become sixteenths.
    - `"mnist"` (LeCun et al. 1998), `"fashion-mnist"` (Xiao et al. 2017): 28 × 28, 50,000 / 10,000 / 10,000 in the published
      order: validation is the last 10,000 of the official training rows. Intensities of 0 to 255 are divided by 255. The files
      come from the folder `EBM_DATA` where that is set, else from the official mirrors through a cache; 12 and 31 MB.

    Raises `ValueError` for an unknown name, `DataFileError` where a file cannot be had or is damaged.

    >>> train, validation, test = load("digits")
    >>> train, validation, test
    (<1197 images of 8 × 8>, <300 images of 8 × 8>, <300 images of 8 × 8>)
    >>> train.images.shape, train.images.dtype.name, train.labels.shape, train.labels.dtype.name
    ((1197, 64), 'float32', (1197,), 'int64')
    """
    if name == "digits":
        return _digits()
    if name in MIRRORS:
        return _idx(name)
    close = get_close_matches(str(name).lower(), NAMES, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ValueError(f"found data set name {name!r}; {hint}expected one of {', '.join(map(repr, NAMES))}")


def _digits() -> tuple[Dataset, Dataset, Dataset]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    # NumPy promises the bits of its bit generators for all versions, but not those of Generator.permutation.
    order = np.argsort(np.random.Philox(key=0).random_raw(len(images)))
    train, validation, test = (
        Dataset((images[rows] / 16).astype(np.float32), labels[rows].astype(np.int64), (8, 8))
        for rows in np.split(order, [1197, 1497])
    )
    return train, validation, test


def _idx(name: str) -> tuple[Dataset, Dataset, Dataset]:
    images, labels, test_images, test_labels = _arrays(name)
    train, validation, test = (
        # A division per split: three arrays that can be freed one by one, and no float64 in between.
        Dataset(np.divide(x.reshape(len(x), -1), 255, dtype=np.float32), y.astype(np.int64), x.shape[1:])
        for x, y in (
            (images[:-10_000], labels[:-10_000]),
            (images[-10_000:], labels[-10_000:]),
            (test_images, test_labels),
        )
    )
    return train, validation, test


def _arrays(name: str) -> Iterator[np.ndarray]:
    for file, sha256 in zip(FILES, SHA256[name], strict=True):
        yield idx.read(fetch(Source(f"{name}/{file}", sha256, MIRRORS[name])))
