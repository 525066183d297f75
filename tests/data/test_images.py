"""The loaders of published images, on small files of the published formats and, where they are, on the files themselves."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from ebm import data
from ebm.data import images

RNG = np.random.default_rng(2)


def matlab(**variables):
    file = io.BytesIO()
    savemat(file, variables)
    return file.getvalue()


def supplied_splits(name):
    folder = Path(os.environ.get("EBM_DATA", ""), name)
    if not os.environ.get("EBM_DATA") or not folder.is_dir():
        pytest.skip(f"EBM_DATA names no folder with {name}, and tests download nothing")
    return data.load(name)


def assert_images(splits, sizes, shape):
    for split, size in zip(splits, sizes, strict=True):
        assert split.shape == shape
        assert split.images.shape == (size, np.prod(shape))
        assert split.images.dtype == np.float32
        assert split.images.flags.c_contiguous
        assert split.images.flags.owndata or split.images.base.nbytes <= split.images.nbytes
        assert split.images.min() >= 0
        assert split.images.max() <= 1
        if split.labels is not None:
            assert split.labels.shape == (size,)
            assert split.labels.dtype == np.int64


def likeness(image, other):
    return np.corrcoef(image.ravel(), other.ravel())[0, 1]


class TestBinarizedMnist:
    def test_matlab(self, supply, monkeypatch):
        expected = [RNG.integers(0, 2, (n, 784), np.uint8) for n in (5, 3, 2)]
        sources = [
            supply(source, matlab(X=rows.astype(float)))
            for source, rows in zip(images.BINARIZED_MNIST_MATLAB, expected, strict=True)
        ]
        monkeypatch.setattr(images, "BINARIZED_MNIST_MATLAB", sources)
        splits = data.load("binarized-mnist")
        assert_images(splits, (5, 3, 2), (28, 28))
        for split, rows in zip(splits, expected, strict=True):
            np.testing.assert_array_equal(split.images, rows)
            assert split.labels is None

    def test_text_is_downloaded(self, mirror, cache, monkeypatch):
        expected = [RNG.integers(0, 2, (n, 784), np.uint8) for n in (5, 3, 2)]
        sources = []
        for source, rows in zip(images.BINARIZED_MNIST_TEXT, expected, strict=True):
            text = "".join(" ".join(map(str, row)) + "\n" for row in rows).encode()
            mirror.bodies[source.name] = text
            sources.append(dataclasses.replace(source, checksum=hashlib.sha256(text).hexdigest(), mirrors=(mirror.url,)))
        monkeypatch.setattr(images, "BINARIZED_MNIST_TEXT", sources)
        monkeypatch.setattr("pooch.os_cache", lambda project: cache / project)
        for split, rows in zip(data.load("binarized-mnist"), expected, strict=True):
            np.testing.assert_array_equal(split.images, rows)

    def test_published(self):
        splits = supplied_splits("binarized-mnist")
        assert_images(splits, (50_000, 10_000, 10_000), (28, 28))
        assert set(np.unique(splits[2].images)) == {0, 1}
        # Each bit is drawn with the intensity as its probability, so that the mean is that of MNIST.
        assert splits[0].images.mean(dtype=float) == pytest.approx(0.1307, abs=3e-4)

    def test_published_text_holds_the_same_bits(self):
        for split, source in zip(supplied_splits("binarized-mnist"), images.BINARIZED_MNIST_TEXT, strict=True):
            text = np.full((len(split), 2 * 784), ord(" "), np.uint8)
            text[:, ::2] = split.images + ord("0")
            text[:, -1] = ord("\n")
            assert hashlib.sha256(text.tobytes()).hexdigest() == source.checksum


class TestCaltechSilhouettes:
    def test_small(self, supply, monkeypatch):
        # A figure of 0 on a ground of 1 fills the upper three rows and the rightmost column.
        image = np.ones((28, 28))
        image[:3] = 0
        image[:, -1] = 0
        variables = {"classnames": np.array([["Leopards", "yin yang"]], object)}
        for part, n in (("train", 3), ("val", 2), ("test", 4)):
            variables[f"{part}_data"] = np.tile(image.ravel(order="F"), (n, 1))
            variables[f"{part}_labels"] = np.arange(n)[:, None] % 2 + 1.0
        monkeypatch.setattr(images, "CALTECH", supply(images.CALTECH, matlab(**variables)))
        splits = data.load("caltech101-silhouettes")
        assert_images(splits, (3, 2, 4), (28, 28))
        for split in splits:
            np.testing.assert_array_equal(split.images, np.tile(1 - image.ravel(), (len(split), 1)))
            assert split.labels.tolist() == [i % 2 for i in range(len(split))]
            assert split.categories == ("Leopards", "yin yang")

    def test_published(self):
        splits = supplied_splits("caltech101-silhouettes")
        assert_images(splits, (4100, 2264, 2307), (28, 28))
        train = splits[0]
        assert set(np.unique(train.images)) == {0, 1}
        assert len(train.categories) == 101
        assert set(train.labels) == set(range(101))
        mean = train.images.mean(axis=0).reshape(28, 28)
        assert mean[10:18, 10:18].min() > 0.6 > 0.4 > mean[[0, 0, -1, -1], [0, -1, 0, -1]].max()
        umbrella = train.images[train.labels == train.categories.index("umbrella")].mean(axis=0).reshape(28, 28)
        assert umbrella[4:14].mean() > 2 * umbrella[14:24].mean()  # opened, the handle below
        assert likeness(umbrella, umbrella[:, ::-1]) > 0.9


class TestFreyFaces:
    FACES = RNG.integers(8, 239, (403, 560), np.uint8)

    def assert_faces(self, splits):
        assert_images(splits, (3, 200, 200), (28, 20))
        rows = np.concatenate([split.images for split in splits])
        expected = (self.FACES / 255).astype(np.float32)
        np.testing.assert_array_equal(np.unique(rows, axis=0), np.unique(expected, axis=0))
        assert splits[0].labels is None

    def test_numpy(self, supply, monkeypatch):
        file = io.BytesIO()
        np.savez(file, faces=self.FACES)
        monkeypatch.setattr(images, "FREY_NUMPY", supply(images.FREY_NUMPY, file.getvalue()))
        self.assert_faces(data.load("frey-faces"))

    def test_matlab(self, supply, monkeypatch):
        monkeypatch.setattr(images, "FREY_MATLAB", supply(images.FREY_MATLAB, matlab(ff=self.FACES.T)))
        self.assert_faces(data.load("frey-faces"))

    def test_pickles_are_not_opened(self, supply, monkeypatch):
        file = io.BytesIO()
        np.savez(file, faces=np.array([print], object))
        monkeypatch.setattr(images, "FREY_NUMPY", supply(images.FREY_NUMPY, file.getvalue()))
        with pytest.raises(ValueError, match="allow_pickle=False"):
            data.load("frey-faces")

    def test_published(self):
        splits = supplied_splits("frey-faces")
        assert_images(splits, (1565, 200, 200), (28, 20))
        face = splits[0].images.mean(axis=0).reshape(28, 20)
        assert likeness(face, face[:, ::-1]) > 0.5 > likeness(face, face[::-1])  # a face, upright


class TestOlivettiFaces:
    @pytest.mark.parametrize("source", ["OLIVETTI", "OLIVETTI_RESAVED"])
    def test_small(self, supply, monkeypatch, source):
        faces = RNG.integers(0, 256, (400, 64, 64), np.uint8)
        content = matlab(faces=np.stack([face.ravel(order="F") for face in faces], axis=1))
        monkeypatch.setattr(images, source, supply(getattr(images, source), content))
        splits = data.load("olivetti-faces")
        assert_images(splits, (250, 50, 100), (64, 64))
        rows = np.concatenate([split.images for split in splits])
        np.testing.assert_array_equal(rows, (faces.reshape(400, -1) / 255).astype(np.float32))
        labels = np.concatenate([split.labels for split in splits])
        np.testing.assert_array_equal(labels, np.repeat(np.arange(40), 10))

    def test_published(self):
        splits = supplied_splits("olivetti-faces")
        assert_images(splits, (250, 50, 100), (64, 64))
        people = [set(split.labels) for split in splits]
        assert people == [set(range(25)), set(range(25, 30)), set(range(30, 40))]
        face = splits[0].images.mean(axis=0).reshape(64, 64)
        assert likeness(face, face[:, ::-1]) > 0.9 > likeness(face, face[::-1])
        # Two pictures of one person are more alike than those of two.
        rows, labels = splits[0].images, splits[0].labels
        alike = np.corrcoef(rows - rows.mean(axis=0))
        same = labels[:, None] == labels
        assert alike[same & ~np.eye(250, dtype=bool)].mean() > alike[~same].mean() + 0.3


class TestCifar10Subset:
    @pytest.fixture
    def pixels(self, supply, monkeypatch):
        pixels = RNG.integers(0, 256, (4, 260, 1024, 3), np.uint8)
        sources = []
        for source, batch in zip(images.CIFAR10, pixels, strict=True):
            file = io.BytesIO()
            Image.fromarray(batch).save(file, "png", compress_level=0)
            sources.append(supply(source, file.getvalue()))
        monkeypatch.setattr(images, "CIFAR10", sources)
        return pixels.reshape(1040, 3072)

    def test_small(self, pixels, supply, monkeypatch):
        labels = RNG.integers(0, 10, 1040)
        text = "".join(f"{label}\n" for label in labels).encode()
        monkeypatch.setattr(images, "CIFAR10_LABELS", supply(images.CIFAR10_LABELS, text))
        splits = data.load("cifar10-subset")
        assert_images(splits, (40, 500, 500), (32, 32, 3))
        known = {(row / 255).astype(np.float32).tobytes(): label for row, label in zip(pixels, labels, strict=True)}
        for split in splits:
            assert [known.pop(row.tobytes()) for row in split.images] == split.labels.tolist()
            assert split.categories[7] == "horse"
        assert not known

    def test_labels_may_be_missing(self, pixels):
        splits = data.load("cifar10-subset")
        assert_images(splits, (40, 500, 500), (32, 32, 3))
        assert [split.labels for split in splits] == [None, None, None]

    def test_published(self):
        splits = supplied_splits("cifar10-subset")
        assert_images(splits, (3000, 500, 500), (32, 32, 3))
        train = splits[0]
        pictures = train.images.reshape(-1, 32, 32, 3)
        assert likeness(pictures[:, :, 1:], pictures[:, :, :-1]) > 0.9
        assert likeness(pictures[:, 1:], pictures[:, :-1]) > 0.9
        # Airplanes fly in a blue sky, whose light comes from above.
        red, _, blue = pictures[train.labels == train.categories.index("airplane")].mean(axis=(0, 1, 2))
        assert blue > red + 0.02
        assert pictures[:, :8].mean() > pictures[:, -8:].mean()


def test_only_what_is_asked_for_is_read(tmp_path):
    savemat(tmp_path / "a.mat", {"x": np.eye(2), "y": np.ones(3)})
    assert "y" in loadmat(tmp_path / "a.mat")
    assert "y" not in images.matlab_file(tmp_path / "a.mat", "x")
