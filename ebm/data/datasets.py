"""Data sets by name, always as train, validation and test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import partial

import numpy as np

from . import idx, images, tables
from .download import Source, fetch
from .splits import Dataset, Splits, shuffled

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


def load(name: str) -> Splits:
    """The data set called `name`, split into train, validation and test.

    Grey values, divided by their largest possible value; labels from 0:

    - `"digits"`: scikit-learn's bundled 8 × 8 digits (Alpaydin & Kaynak 1998, UCI test part), shuffled once and for all and
      split 1197 / 300 / 300.
    - `"mnist"` (LeCun et al. 1998), `"fashion-mnist"` (Xiao et al. 2017): 28 × 28, 50,000 / 10,000 / 10,000 in the published
      order: validation is the last 10,000 of the official training rows.
    - `"frey-faces"`: frames of a film of one face (Roweis), 28 × 20, no labels, shuffled once and for all, 1565 / 200 / 200.
      Neighboring frames are alike and fall into different parts, so that a test row has near copies in training.
    - `"olivetti-faces"`: ten pictures of each of forty persons (AT&T Cambridge), 64 × 64, labels are persons. Persons 0 to 29
      are for training as in Hinton & Salakhutdinov 2006, the last five of them for validation here: 250 / 50 / 100.
    - `"cifar10-subset"`: the first 4000 of CIFAR-10 (Krizhevsky 2009), 32 × 32 × 3 with red, green and blue of a pixel side by
      side, shuffled once and for all, 3000 / 500 / 500. The labels were inferred from the images; they are None where the
      folder `EBM_DATA` doesn't have them.

    Bits:

    - `"binarized-mnist"`: Larochelle & Murray 2011, 28 × 28, 50,000 / 10,000 / 10,000 as published, no labels.
    - `"caltech101-silhouettes"`: Marlin et al. 2010, 28 × 28, 4100 / 2264 / 2307 as published; here figures are 1 on 0 and
      pixels run row by row, the file has both the other way around.
    - `"nltcs"` (16 columns), `"plants"` (69), `"dna"` (180), `"mushrooms"` (112), `"jester"` (100): the density-estimation
      benchmark of UCLA StarAI, in the published parts, no labels.
    - `"20news-w100"`: which of 100 words occur in 16,242 documents of 20 newsgroups (Roweis), labels are four groups of them,
      the words are the `vocabulary`; shuffled once and for all, 10,000 / 1242 / 5000. No document is empty.

    Measurements, unscaled (see `Standardizer`):

    - `"mammography"`, `"musk"`, `"pendigits"`, `"satellite"`, `"shuttle"`, `"thyroid"`, `"cardio"`: the anomaly-detection
      benchmark ADBench (Han et al. 2022), label 1 for anomalies, which are in all parts; shuffled once and for all, a fifth of
      the rows each for validation and test.

    The files come from the folder `EBM_DATA` where that is set, else from those who publish them, through a cache; all are
    checked against a checksum.

    Raises `ValueError` for an unknown name, `DataFileError` where a file cannot be had or is damaged.

    >>> train, validation, test = load("digits")
    >>> train, validation, test
    (<1197 images of 8 × 8>, <300 images of 8 × 8>, <300 images of 8 × 8>)
    >>> train.images.shape, train.images.dtype.name, train.labels.shape, train.labels.dtype.name
    ((1197, 64), 'float32', (1197,), 'int64')
    """
    if name in LOADERS:
        return LOADERS[name]()
    close = get_close_matches(str(name).lower(), LOADERS, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ValueError(f"found data set name {name!r}; {hint}expected one of {', '.join(map(repr, LOADERS))}")


def _digits() -> Splits:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return shuffled(Dataset((images / 16).astype(np.float32), labels.astype(np.int64), (8, 8)), 300, 300)


def _idx(name: str) -> Splits:
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


LOADERS: dict[str, Callable[[], Splits]] = {
    "digits": _digits,
    **{name: partial(_idx, name) for name in MIRRORS},
    "binarized-mnist": images.binarized_mnist,
    "caltech101-silhouettes": images.caltech_silhouettes,
    "frey-faces": images.frey_faces,
    "olivetti-faces": images.olivetti_faces,
    "cifar10-subset": images.cifar10_subset,
    **{name: partial(tables.density, name) for name in tables.DENSITY},
    "20news-w100": tables.newsgroups,
    **{name: partial(tables.anomalies, name) for name in tables.ADBENCH},
}
