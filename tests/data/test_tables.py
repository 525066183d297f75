"""The loaders of published tables, on small files of the published formats and, where they are, on the files themselves."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from scipy.io import savemat

from ebm import data
from ebm.data import tables

RNG = np.random.default_rng(3)
# Rows for training, validation and test, and columns.
DENSITY = {
    "nltcs": (16181, 2157, 3236, 16),
    "plants": (17412, 2321, 3482, 69),
    "dna": (1600, 400, 1186, 180),
    "mushrooms": (2000, 500, 5624, 112),
    "jester": (9000, 1000, 4116, 100),
}
# Rows, columns and anomalies.
ADBENCH = {
    "mammography": (11183, 6, 260),
    "musk": (3062, 166, 97),
    "pendigits": (6870, 16, 156),
    "satellite": (6435, 36, 2036),
    "shuttle": (49097, 9, 3511),
    "thyroid": (3772, 6, 93),
    "cardio": (1831, 21, 176),
}


def supplied_splits(name, folder):
    if not os.environ.get("EBM_DATA") or not Path(os.environ["EBM_DATA"], folder).is_dir():
        pytest.skip(f"EBM_DATA names no folder with {folder}, and tests download nothing")
    return data.load(name)


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def text(rows):
    return "".join(",".join(map(str, row)) + "\n" for row in rows.astype(int)).encode()


def assert_rows(splits, sizes, width):
    for split, size in zip(splits, sizes, strict=True):
        assert split.shape == (width,)
        assert split.images.shape == (size, width)
        assert split.images.dtype == np.float32
        assert split.images.flags.c_contiguous


class TestDensity:
    PARTS = tuple(RNG.integers(0, 2, (n, 6), np.uint8) for n in (9, 4, 5))

    def assert_parts(self, splits):
        assert_rows(splits, (9, 4, 5), 6)
        for split, rows in zip(splits, self.PARTS, strict=True):
            np.testing.assert_array_equal(split.images, rows)
            assert split.labels is None

    def test_numpy(self, supply, monkeypatch):
        content = npz(**dict(zip(("train", "valid", "test"), self.PARTS, strict=True)))
        monkeypatch.setitem(tables.DENSITY, "dna", supply(tables.DENSITY["dna"], content))
        self.assert_parts(data.load("dna"))

    def test_text_is_downloaded(self, mirror, cache, monkeypatch):
        sources = []
        for source, rows in zip(tables.DENSITY_TEXT["dna"], self.PARTS, strict=True):
            mirror.bodies[source.name] = text(rows)
            checksum = hashlib.sha256(text(rows)).hexdigest()
            sources.append(dataclasses.replace(source, checksum=checksum, mirrors=(mirror.url,)))
        monkeypatch.setitem(tables.DENSITY_TEXT, "dna", tuple(sources))
        monkeypatch.setattr("pooch.os_cache", lambda project: cache / project)
        self.assert_parts(data.load("dna"))
        assert mirror.requests == ["dna.train.data", "dna.valid.data", "dna.test.data"]

    @pytest.mark.parametrize("name", DENSITY)
    def test_published(self, name):
        splits = supplied_splits(name, "density")
        *sizes, width = DENSITY[name]
        assert_rows(splits, sizes, width)
        for split, source in zip(splits, tables.DENSITY_TEXT[name], strict=True):
            assert set(np.unique(split.images)) == {0, 1}
            # The text on the benchmark's page holds the same rows.
            assert hashlib.sha256(text(split.images)).hexdigest() == source.checksum


class TestAnomalies:
    def test_small(self, supply, monkeypatch):
        rows, flags = RNG.normal(100, 50, (23, 4)), RNG.integers(0, 2, 23)
        monkeypatch.setitem(tables.ADBENCH, "musk", supply(tables.ADBENCH["musk"], npz(X=rows, y=flags)))
        splits = data.load("musk")
        assert_rows(splits, (15, 4, 4), 4)
        known = {row.astype(np.float32).tobytes(): flag for row, flag in zip(rows, flags, strict=True)}
        for split in splits:
            assert [known.pop(row.tobytes()) for row in split.images] == split.labels.tolist()
            assert split.labels.dtype == np.int64
            assert split.categories == ("normal", "anomaly")

    @pytest.mark.parametrize("name", ADBENCH)
    def test_published(self, name):
        splits = supplied_splits(name, "adbench")
        rows, width, anomalies = ADBENCH[name]
        assert_rows(splits, (rows - 2 * (rows // 5), rows // 5, rows // 5), width)
        assert sum(split.labels.sum() for split in splits) == anomalies
        for split in splits:
            assert set(split.labels) == {0, 1}
            # The flags are of these rows: the flagged ones lie farther out.
            z = np.abs(data.Standardizer().fit(splits[0].images).transform(split.images)).mean(axis=1)
            assert name == "satellite" or z[split.labels == 1].mean() > z[split.labels == 0].mean()


class TestNewsgroups:
    def test_small(self, supply, monkeypatch):
        documents = RNG.integers(0, 2, (7, 6_300), np.uint8)
        groups = RNG.integers(1, 5, 6_300)
        file = io.BytesIO()
        words = np.array([["aids", "baseball", "bible", "bmw", "cancer", "car", "card"]], object)
        names = np.array([["comp.*", "rec.*", "sci.*", "talk.*"]], object)
        variables = {"documents": scipy.sparse.csc_matrix(documents.astype(bool)), "newsgroups": groups[None]}
        savemat(file, variables | {"wordlist": words, "groupnames": names})
        monkeypatch.setattr(tables, "NEWSGROUPS", supply(tables.NEWSGROUPS, file.getvalue()))
        splits = data.load("20news-w100")
        assert_rows(splits, (58, 1_242, 5_000), 7)
        code, expected = 2.0 ** np.arange(7), np.zeros((2**7, 4), int)
        np.add.at(expected, ((code @ documents).astype(int), groups - 1), 1)
        found = np.zeros_like(expected)
        for split in splits:
            np.add.at(found, ((split.images @ code).astype(int), split.labels), 1)
            assert split.vocabulary == ("aids", "baseball", "bible", "bmw", "cancer", "car", "card")
            assert split.categories == ("comp.*", "rec.*", "sci.*", "talk.*")
        np.testing.assert_array_equal(found, expected)

    def test_published(self):
        splits = supplied_splits("20news-w100", "20news-w100")
        assert_rows(splits, (10_000, 1_242, 5_000), 100)
        train = splits[0]
        assert np.bincount(np.concatenate([split.labels for split in splits])).tolist() == [4605, 3519, 2657, 5461]
        for split in splits:
            data.check_counts(split.images)
            assert split.images.max() == 1
        # Words are those of their columns: each occurs mostly where it belongs.
        for word, group in (("windows", "comp.*"), ("hockey", "rec.*"), ("nasa", "sci.*"), ("bible", "talk.*")):
            of_word = train.labels[train.images[:, train.vocabulary.index(word)] == 1]
            assert train.categories[np.bincount(of_word).argmax()] == group
