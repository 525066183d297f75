"""Published tables: binary densities, anomalies and words in documents."""

from __future__ import annotations

import numpy as np

from . import bits
from .download import Source, fetch, supplied
from .images import ROWEIS, matlab_file
from .splits import Dataset, Splits, shuffled

_STARAI = "https://raw.githubusercontent.com/UCLA-StarAI/Density-Estimation-Datasets/master/datasets/"
# The same rows as one NumPy file.
DENSITY = {
    name: Source(f"density/{name}.npz", sha256)
    for name, sha256 in (
        ("nltcs", "a8420b36315e682f0eb471817d216293df38fa02173e2d4a2edf52fc3b79bc37"),
        ("plants", "2a4d15b4d93411e78f97a5692348875ae4bb89a53a0a75f3fc1568e86c040345"),
        ("dna", "a1a01944f2e95e56ec53e5d1f3d66c7000f06258e16d11d0397be2cb594b3a56"),
        ("mushrooms", "f99ab91a07c02ba27beeca427aaa04cfda9b5984d7d5c9bf82426ec2293656b4"),
        ("jester", "2caf3089ab012233a1f086cd483667862a869cec000e53f1a404b937e3395f76"),
    )
}
# In the order train, validation, test.
DENSITY_TEXT = {
    name: tuple(
        Source(
            f"density/{name}.{part}.data",
            sha256,
            (f"{_STARAI}{name}/",),
            f"part of {name}, of the density-estimation benchmark of UCLA StarAI, "
            "https://github.com/UCLA-StarAI/Density-Estimation-Datasets",
        )
        for part, sha256 in zip(("train", "valid", "test"), checksums, strict=True)
    )
    for name, checksums in (
        (
            "nltcs",
            (
                "e547a7aedad1dd2f7177030881ab1b92c7e24ae5464c71a0f1f89daecaf52b30",
                "93bbbf5c6febdc9bc6e5b5bfab636f4dc0685ab2896d24b23dd267794c3bfcf6",
                "f9ffa6b74b27dc03bee3203d157ee31079e80b13be40d0c0093d635c25aed523",
            ),
        ),
        (
            "plants",
            (
                "1fb1219ff94068d12a563f9e81f8889a1885f41e867884cff608669300c6848f",
                "47834ed318b2d74f48e4b083226ef47fd446d41986012ceae19d230574821b34",
                "95f53c033cd1d86467aec2610dc5bfe014534206c2da4919f73bcab246ab8755",
            ),
        ),
        (
            "dna",
            (
                "bb8de0ca4b6ad9b610036b7a302962ebecd4b504354b14c02c7d0bee48d207d9",
                "4b0fc89cda5eaf5c75926e281afb6af99de194a546070d5b81b524ba251f4f3f",
                "fec3ae7b26804020a9c43c99828441c5e08bb76b23719368a74ad2b09af99100",
            ),
        ),
        (
            "mushrooms",
            (
                "465c712c066bbbee3ccceded24bbe42b4c379df67b524e28cce9bf3a8b83f27b",
                "5a067e6854df71623415e6adc8e913cbff766637a324788882ba800907aa5385",
                "313c5f04b5d0a18bee2f2ffa264be265d09f5362aad6f714637acd9552f81aa0",
            ),
        ),
        (
            "jester",
            (
                "dd93578c3359d5b234bb278bf0901c5215d83b910f7d51d7c91951a0a4c244cd",
                "91df833941e189265345898d3f63211560c2456df599f34beee8e95381ee7524",
                "346044fb561cf18f284f7e9d5896178b03048991b6ebb6f7482885fccbc16082",
            ),
        ),
    )
}
ADBENCH = {
    name: Source(
        f"adbench/{number}_{name}.npz",
        sha256,
        (
            "https://raw.githubusercontent.com/Minqi824/ADBench/f7fed68dea6901fe9a81ed51b251b1d2456790cd/"
            "adbench/datasets/Classical/",
        ),
        f"{name} of the anomaly-detection benchmark ADBench (Han et al. 2022), https://github.com/Minqi824/ADBench, "
        "in adbench/datasets/Classical",
    )
    for number, name, sha256 in (
        (23, "mammography", "a0308ac9712d78321073b1c2dc98dc37665c0f35c1cc33019416fe8f8d7de7ea"),
        (25, "musk", "2ed3f4392197b76a1e59116ff880c7720a4b026cf4842073a53b56fdea265017"),
        (28, "pendigits", "c4936b89dcdad59d303020e492f763a0f54170080d787c77497609acbb9c2d79"),
        (30, "satellite", "1f048f5686f1b8c16a227fdfa3c81a62cd9a92715714a6b24c69b1c5ad96b46e"),
        (32, "shuttle", "26900b0f6be45d9ddb7a402c9b2f956ceda42d23a8ca4cf4406b8bc1352823d1"),
        (38, "thyroid", "8de161b3f235b7647bb0b39a836d983ff61d67bf234edac461da2d71e889cb87"),
        (6, "cardio", "bc5009bde6930b4d298b594f31b34485a9a17210cff0e8fb00a8c3068b885a2d"),
    )
}
NEWSGROUPS = Source(
    "20news-w100/20news_w100.mat",
    "6667c5459e22eb544a854bff1443edaaea71735cf1af7b12cc5d986e74af7064",
    (
        ROWEIS,
        "https://raw.githubusercontent.com/probml/pyprobml/74d7cfc77b96261b56bb554ea3be015711d9f927/data/",
    ),
    "100 words of the 20 newsgroups, published as 20news_w100.mat on Roweis' page, https://cs.nyu.edu/~roweis/data.html",
)


def density(name: str) -> Splits:
    """Binary rows in the published parts."""
    path = supplied(DENSITY[name])
    if path is None:
        parts = [bits.read(fetch(source)) for source in DENSITY_TEXT[name]]
    else:
        with np.load(path, allow_pickle=False) as file:
            parts = [file[part] for part in ("train", "valid", "test")]
    train, validation, test = (Dataset(np.ascontiguousarray(rows, np.float32), None, rows.shape[1:]) for rows in parts)
    return train, validation, test


def anomalies(name: str) -> Splits:
    """Measurements as they are, labels that are 1 for anomalies; shuffled once and for all, a fifth each for validation and test."""
    with np.load(fetch(ADBENCH[name]), allow_pickle=False) as file:
        rows, flags = file["X"], file["y"]
    part = len(rows) // 5
    categories = "normal", "anomaly"
    return shuffled(Dataset(rows.astype(np.float32), flags.astype(np.int64), rows.shape[1:], categories), part, part)


def newsgroups() -> Splits:
    """Which of 100 words occur in each of 16,242 documents, shuffled once and for all: 10,000 / 1,242 / 5,000."""
    file = matlab_file(fetch(NEWSGROUPS), "documents", "newsgroups", "wordlist", "groupnames")
    rows = np.ascontiguousarray(file["documents"].T.toarray(), np.float32)
    labels = file["newsgroups"].ravel().astype(np.int64) - 1
    groups, words = (tuple(str(cell.item()) for cell in file[key].ravel()) for key in ("groupnames", "wordlist"))
    return shuffled(Dataset(rows, labels, rows.shape[1:], groups, words), 1_242, 5_000)
