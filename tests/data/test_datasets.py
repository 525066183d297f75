import gzip
import hashlib
import os
import re
import struct
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ebm import data
from ebm.data import datasets, splits

needs_files = pytest.mark.skipif(
    not os.environ.get("EBM_DATA"), reason="EBM_DATA names no folder with the official files, and tests download nothing"
)


def assert_well_formed(splits, sizes, shape):
    assert isinstance(splits, tuple)
    for split, size in zip(splits, sizes, strict=True):
        assert len(split) == size
        assert split.shape == shape
        assert split.images.shape == (size, shape[0] * shape[1])
        assert split.images.dtype == np.float32
        assert split.images.flags.c_contiguous
        assert (split.images.min(), split.images.max()) == (0, 1)
        assert split.labels.shape == (size,)
        assert split.labels.dtype == np.int64
        assert set(split.labels) == set(range(10))


class TestDigits:
    def test_splits(self):
        assert_well_formed(data.load("digits"), (1197, 300, 300), (8, 8))

    def test_every_bundled_image_is_there_once_with_its_label(self):
        bundled, labels = load_digits(return_X_y=True)
        expected = Counter((label, row.tobytes()) for row, label in zip(bundled, labels, strict=True))
        found = Counter()
        for split in data.load("digits"):
            found.update((label, row.tobytes()) for row, label in zip(split.images * np.float64(16), split.labels, strict=True))
        assert found == expected

    def test_split_is_shuffled_once_and_for_all(self):
        np.random.seed(3)  # noqa: NPY002  (the split must not listen to it)
        heads = [split.labels[:8].tolist() for split in data.load("digits")]
        assert heads == [[2, 4, 5, 4, 8, 2, 0, 6], [4, 6, 6, 2, 4, 1, 3, 9], [9, 2, 3, 6, 8, 0, 9, 7]]


class TestMirrored:
    """`mnist` and `fashion-mnist`, by way of a loopback mirror with images of 2 × 3 pixels."""

    @pytest.fixture
    def arrays(self, mirror, cache, monkeypatch):
        rng = np.random.default_rng(1)
        shapes = (10_070, 2, 3), (10_070,), (40, 2, 3), (40,)
        arrays = [rng.integers(0, 256 if len(shape) == 3 else 10, shape, dtype=np.uint8) for shape in shapes]
        files = [
            gzip.compress(bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes(), 1)
            for array in arrays
        ]
        mirror.bodies.update(zip(datasets.FILES, files, strict=True))
        hashes = tuple(hashlib.sha256(file).hexdigest() for file in files)
        monkeypatch.setitem(datasets.SHA256, "mnist", hashes)
        monkeypatch.setitem(datasets.MIRRORS, "mnist", (mirror.url,))
        monkeypatch.setattr("pooch.os_cache", lambda project: cache / project)
        return arrays

    def test_load(self, arrays):
        images, labels, test_images, test_labels = arrays
        splits = data.load("mnist")
        assert_well_formed(splits, (70, 10_000, 40), (2, 3))
        train, validation, test = splits
        np.testing.assert_array_equal(train.images, (images[:70].reshape(70, 6) / 255).astype(np.float32))
        np.testing.assert_array_equal(validation.images, (images[70:].reshape(-1, 6) / 255).astype(np.float32))
        np.testing.assert_array_equal(test.images, (test_images.reshape(40, 6) / 255).astype(np.float32))
        np.testing.assert_array_equal(np.concatenate([train.labels, validation.labels]), labels)
        np.testing.assert_array_equal(test.labels, test_labels)

    def test_tampered_labels(self, arrays, mirror):
        name = datasets.FILES[1]
        mirror.bodies[name] = gzip.compress(gzip.decompress(mirror.bodies[name])[:-1] + b"\x0b")
        with pytest.raises(data.DataFileError, match=f"{name} .*could not be downloaded"):
            data.load("mnist")


@needs_files
class TestOfficialFiles:
    def test_mnist(self):
        splits = data.load("mnist")
        assert_well_formed(splits, (50_000, 10_000, 10_000), (28, 28))
        train, validation, test = splits
        assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
        labels = np.concatenate([train.labels, validation.labels])
        assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        assert labels[:5].tolist() == [5, 0, 4, 1, 9]
        # The mean and standard deviation that the literature standardizes with.
        pixels = np.concatenate([train.images, validation.images]).astype(np.float64)
        assert (pixels.mean(), pixels.std()) == pytest.approx((0.1307, 0.3081), abs=5e-5)

    def test_fashion_mnist(self):
        splits = data.load("fashion-mnist")
        assert_well_formed(splits, (50_000, 10_000, 10_000), (28, 28))
        train, validation, test = splits
        assert np.bincount(test.labels).tolist() == [1000] * 10
        assert np.bincount(np.concatenate([train.labels, validation.labels])).tolist() == [6000] * 10
        pixels = np.concatenate([train.images, validation.images]).astype(np.float64)
        assert (pixels.mean(), pixels.std()) == pytest.approx((0.2860, 0.3530), abs=5e-5)


@pytest.mark.parametrize(
    ("name", "suggestion"), [("minst", "'mnist'"), ("Fashion_MNIST", "'fashion-mnist'"), ("cifar", None), (None, None)]
)
def test_unknown_name(name, suggestion):
    with pytest.raises(ValueError, match="expected one of 'digits', 'mnist', 'fashion-mnist'") as caught:
        data.load(name)
    assert repr(name) in str(caught.value)
    assert ("did you mean" in str(caught.value)) == (suggestion is not None)
    assert suggestion is None or f"did you mean {suggestion}" in str(caught.value)


def test_import_is_light():
    code = "import sys, ebm.data; print(*{'pooch', 'requests', 'sklearn', 'tqdm'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


PUBLISHED = [name for name in datasets.LOADERS if name not in ("digits", "mnist", "fashion-mnist")]


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_cannot_be_had_is_explained(name, tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setenv("EBM_DATA", str(tmp_path))
    monkeypatch.setattr("pooch.retrieve", refuse)
    with pytest.raises(data.DataFileError) as caught:
        data.load(name)
    path = re.search(r"copy the file to FOLDER/(\S+) and set the environment variable EBM_DATA=FOLDER", str(caught.value))
    assert path is not None
    assert re.search(r"\nIt is .*(published|benchmark).* https?://\S+", str(caught.value))
    # and a file at that very place is looked at
    (tmp_path / path[1]).parent.mkdir(parents=True)
    (tmp_path / path[1]).write_bytes(b"nonsense")
    with pytest.raises(data.DataFileError, match=f"{re.escape(path[1])} is damaged"):
        data.load(name)


class TestDataset:
    def test_says_what_it_is(self):
        rows = np.zeros((5, 12), np.float32)
        assert repr(data.Dataset(rows, None, (2, 2, 3))) == "<5 images of 2 × 2 × 3>"
        assert repr(data.Dataset(rows, None, (12,))) == "<5 rows of 12>"

    def test_shuffled_keeps_rows_with_their_labels(self):
        rows = np.arange(1000, dtype=np.float32)[:, None]
        parts = splits.shuffled(data.Dataset(rows, np.arange(1000), (1,), ("a",), ("b",)), 100, 300)
        assert [len(part) for part in parts] == [600, 100, 300]
        assert sorted(np.concatenate([part.labels for part in parts])) == list(range(1000))
        for part in parts:
            assert (part.images[:, 0] == part.labels).all()
            assert (np.diff(part.labels) < 0).any()
            assert (part.shape, part.categories, part.vocabulary) == ((1,), ("a",), ("b",))
        assert splits.shuffled(data.Dataset(rows, None, (1,)), 100, 300)[0].labels is None
