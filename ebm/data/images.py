"""Published sets of images, read from the files in which they are passed on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from . import bits
from .download import Source, fetch, supplied
from .splits import Dataset, Splits, divided, shuffled

ROWEIS = "https://cs.nyu.edu/~roweis/data/"

_LAROCHELLE = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
_BINARIZED = f"part of MNIST binarized by Larochelle & Murray (2011), published at {_LAROCHELLE}"
# In the order train, validation, test: the published text (checksums as in TensorFlow Datasets), and the same bits for MATLAB.
BINARIZED_MNIST_TEXT = tuple(
    Source(f"binarized-mnist/binarized_mnist_{part}.amat", sha256, (_LAROCHELLE,), _BINARIZED)
    for part, sha256 in (
        ("train", "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d"),
        ("valid", "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2"),
        ("test", "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c"),
    )
)
BINARIZED_MNIST_MATLAB = tuple(
    Source(f"binarized-mnist/binarized_mnist_{part}.mat", sha256)
    for part, sha256 in (
        ("train", "79a0312c7389d855cfc97e3812de3998417c5829d8a51543b56a90a91252ae7e"),
        ("valid", "7436afc856959075c7787025bb8a4ba2b520b9230ee39667c66aa7dd2819dd68"),
        ("test", "5bc30222e1e7896cbccd1e1db6b28540cc1230f4d2d5473841a5f6cc54be8d38"),
    )
)
CALTECH = Source(
    "caltech101-silhouettes/caltech101_silhouettes_28_split1.mat",
    "eb6735e8d84b1850fabc5590124aab1755e90c9fd28123585324398405e1e42a",
    ("https://people.cs.umass.edu/~marlin/data/",),
    "the Caltech-101 silhouettes, 28 × 28, split 1, published by Marlin at https://people.cs.umass.edu/~marlin/data.shtml",
)
FREY_MATLAB = Source(
    "frey-faces/frey_rawface.mat",
    "5aeb024d42b8a6091f30e5eb18c8a48d",
    (ROWEIS,),
    "the film of Frey's face, published as frey_rawface.mat on Roweis' page of data, https://cs.nyu.edu/~roweis/data.html",
)
FREY_NUMPY = Source("frey-faces/frey_faces.npz", "1c58fcb13050c85ee5d82af2775551de2559542826981e3dc5f535c3a7ca910a")
_OLIVETTI = (
    "the Olivetti faces of AT&T Cambridge, published as olivettifaces.mat on Roweis' page, https://cs.nyu.edu/~roweis/data.html"
)
OLIVETTI = Source(  # the checksum that scikit-learn knows
    "olivetti-faces/original/olivettifaces.mat",
    "b612fb967f2dc77c9c62d3e1266e0c73d5fca46a4b8906c18e454d41af987794",
    ("https://ndownloader.figshare.com/files/5976027", ROWEIS),
    _OLIVETTI,
)
OLIVETTI_RESAVED = Source(
    "olivetti-faces/olivettifaces.mat", "b1988d02c72fe5b8ee82b5ef3bb7982eafc74f1e1ff0ae0ade35061ad0af534d"
)
CIFAR10 = tuple(
    Source(
        f"cifar10-subset/cifar10_batch_{number}.png",
        sha256,
        (
            "https://raw.githubusercontent.com/karpathy/convnetjs/39afa8cd5e4cfb5771dc8a1f51bc56aa080f0b51/demo/cifar10/",
            "https://cs.stanford.edu/people/karpathy/convnetjs/demo/cifar10/",
        ),
        "one of the first four thousands of CIFAR-10 (Krizhevsky 2009), published with Karpathy's ConvNetJS, "
        "https://github.com/karpathy/convnetjs, in demo/cifar10",
    )
    for number, sha256 in enumerate(
        (
            "0614720d69293a033786d5fe2924c4e9a9b48874f19ca4627c4662a864ee9f2d",
            "2927e26ea68602e34a7424826b76b7336ce36b8f6bcc2e9fce0c05568ff6b4c1",
            "0b2759e307bb405bb1a6531f8a0f557eaec46d7546050612fdb836f0fa60eae0",
            "a4530ff15c83886058a97c352f53f38be07d191de8f410e998e91786b5900a26",
        )
    )
)
CIFAR10_LABELS = Source(
    "cifar10-subset/labels_inferred.txt", "12324eb5b8a5d1c2c91dcf12bfdc7b4f6e7171439db5d64483e932c80c5822d5"
)
CIFAR10_CATEGORIES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def binarized_mnist() -> Splits:
    """Bits as Larochelle & Murray drew them, 50,000 / 10,000 / 10,000 of 28 × 28."""
    parts = []
    for matlab, text in zip(BINARIZED_MNIST_MATLAB, BINARIZED_MNIST_TEXT, strict=True):
        path = supplied(matlab)
        rows = bits.read(fetch(text)) if path is None else matlab_file(path, "X")["X"]
        parts.append(Dataset(np.ascontiguousarray(rows, np.float32), None, (28, 28)))
    train, validation, test = parts
    return train, validation, test


def caltech_silhouettes() -> Splits:
    """Marlin's split, 4,100 / 2,264 / 2,307 of 28 × 28, with the rows and the values turned over: figures of 1."""
    parts = "train", "val", "test"
    names = [f"{part}_{kind}" for part in parts for kind in ("data", "labels")]
    file = matlab_file(fetch(CALTECH), "classnames", *names)
    categories = tuple(str(cell.item()) for cell in file["classnames"].ravel())
    train, validation, test = (
        Dataset(
            1 - _row_major(file[f"{part}_data"], 28, 28).astype(np.float32),
            file[f"{part}_labels"].ravel().astype(np.int64) - 1,
            (28, 28),
            categories,
        )
        for part in parts
    )
    return train, validation, test


def frey_faces() -> Splits:
    """1,965 frames of 28 × 20, shuffled once and for all: 1,565 / 200 / 200."""
    path = supplied(FREY_NUMPY)
    if path is None:
        faces = matlab_file(fetch(FREY_MATLAB), "ff")["ff"].T
    else:
        with np.load(path, allow_pickle=False) as file:
            faces = file["faces"]
    return shuffled(Dataset(_intensities(faces), None, (28, 20)), 200, 200)


def olivetti_faces() -> Splits:
    """Ten images of 64 × 64 for each of forty persons: persons 0 to 24 / 25 to 29 / 30 to 39."""
    faces = matlab_file(supplied(OLIVETTI_RESAVED) or fetch(OLIVETTI), "faces")["faces"].T
    rows = Dataset(_intensities(_row_major(faces, 64, 64)), np.arange(len(faces)) // 10, (64, 64))
    return divided(rows, np.arange(len(rows)), 250, 50)


def cifar10_subset() -> Splits:
    """4,000 images of 32 × 32 in color, shuffled once and for all: 3,000 / 500 / 500."""
    from PIL import Image

    images = []
    for source in CIFAR10:
        with Image.open(fetch(source)) as file:  # an image a row: its pixels in reading order, red, green and blue side by side
            images.append(np.asarray(file.convert("RGB")).reshape(file.height, -1))
    path = supplied(CIFAR10_LABELS)
    labels = None if path is None else np.array(path.read_text("ascii").split(), np.int64)
    return shuffled(Dataset(_intensities(np.concatenate(images)), labels, (32, 32, 3), CIFAR10_CATEGORIES), 500, 500)


def matlab_file(path: Path, *names: str) -> dict[str, Any]:
    """The variables called `names` in a MATLAB file."""
    from scipy.io import loadmat

    return loadmat(path, variable_names=names)


def _row_major(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Images that list their pixels column by column, as MATLAB does, row by row: (n, height · width) both."""
    return images.reshape(len(images), width, height).transpose(0, 2, 1).reshape(len(images), -1)


def _intensities(pixels: np.ndarray) -> np.ndarray:
    """Bytes as float32 in [0, 1]."""
    return np.divide(pixels, 255, dtype=np.float32)
