import errno
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save

import ebm.compute.archive
from ebm.compute.archive import ArchiveError, read, replace_file, write

ARRAYS = {"weights": np.arange(6, dtype=np.float32).reshape(2, 3), "mask": np.array([True, False]), "step": np.array(7)}
HEADER = {"layers": [784, 500], "name": "größer", "best": float("inf"), "seed": 2**80, "empty": {}}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape
        assert found[name].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found[name], array)


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "model.safetensors"
    write(path, ARRAYS, HEADER, "model")
    return path


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint32", "uint64", "int64", "uint8", "bool", ">f4", ">i8"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (5,), (4, 3)])
def test_every_type_and_shape_comes_back_and_is_writable(tmp_path, dtype, shape):
    array = (np.random.default_rng(1).random(shape) * 5).astype(dtype)
    array = np.asarray(array)
    write(tmp_path / "a", {"x": array}, {}, "model")
    arrays, _ = read(tmp_path / "a", "model")
    assert_equal(arrays, {"x": array})
    arrays["x"][...] = 1


def test_strided_arrays_are_stored_by_value(tmp_path):
    base = np.arange(24.0).reshape(4, 6)
    views = {"transposed": base.T, "strided": base[::2, ::-3], "broadcast": np.broadcast_to(base[0], (3, 6))}
    write(tmp_path / "a", views, {}, "model")
    assert_equal(read(tmp_path / "a", "model")[0], views)


def test_nan_keeps_its_bits(tmp_path):
    array = np.array([0x7FC00001, 0xFFC12345, 0x80000000], np.uint32).view(np.float32)
    write(tmp_path / "a", {"x": array}, {}, "model")
    np.testing.assert_array_equal(read(tmp_path / "a", "model")[0]["x"].view(np.uint32), array.view(np.uint32))


def test_header_comes_back(valid):
    assert read(valid, "model")[1] == HEADER


def test_no_arrays(tmp_path):
    write(tmp_path / "a", {}, {"x": (1, 2)}, "checkpoint")
    assert read(tmp_path / "a", "checkpoint") == ({}, {"x": [1, 2]})


def test_header_with_keys_that_are_no_strings_matches_its_checksum(tmp_path):
    write(tmp_path / "a", {}, {1: "one", "1": "two"}, "model")
    assert read(tmp_path / "a", "model")[1] == {"1": "two"}


def test_equal_content_gives_equal_files(tmp_path, valid):
    write(tmp_path / "a", dict(reversed(ARRAYS.items())), HEADER, "model")
    assert (tmp_path / "a").read_bytes() == valid.read_bytes()


def test_other_programs_read_the_arrays(valid):
    assert_equal(load_file(valid), ARRAYS)


def test_what_is_read_does_not_depend_on_the_file_afterwards(tmp_path, valid):
    copy = tmp_path / "copy"
    copy.write_bytes(valid.read_bytes())
    arrays, _ = read(copy, "model")
    with open(copy, "r+b") as file:
        file.write(bytes(copy.stat().st_size))
    assert_equal(arrays, ARRAYS)


@pytest.mark.parametrize(
    "array", [np.array(["a"]), np.array([object()]), np.zeros(2, "c8"), np.zeros(2, "M8[s]"), np.zeros(2, "g")]
)
def test_refuses_other_types_by_name(tmp_path, array):
    if array.dtype.itemsize == 8 and array.dtype.kind == "f":
        pytest.skip("long double is double here")
    with pytest.raises(TypeError, match=r"moments/x: found an array of .*; an archive holds"):
        write(tmp_path / "a", {"moments/x": array}, {}, "model")
    assert not list(tmp_path.iterdir())


def test_refuses_a_header_that_is_not_json(tmp_path):
    with pytest.raises(TypeError):
        write(tmp_path / "a", {}, {"x": np.zeros(2)}, "model")
    assert not list(tmp_path.iterdir())


class Exploit:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def with_header(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def with_envelope(text: str) -> bytes:
    return save({"x": np.zeros(2)}, metadata={"ebm": text})


DAMAGED = {
    "empty": b"",
    "short": b"abc",
    "length prefix alone": bytes(8),
    "huge length prefix": (2**62).to_bytes(8, "little") + b"{}",
    "negative length prefix": b"\xff" * 8 + b"{}",
    "length prefix beyond the end": (50).to_bytes(8, "little") + b"{}",
    "no UTF-8": with_header(b"\xff\xfe"),
    "nested header": with_header(b'{"__metadata__":' + b"[" * 100_000),
    "array beyond the end": with_header(b'{"x":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}', b"1234"),
    "type that NumPy lacks": with_header(
        json.dumps({"__metadata__": {"ebm": '{"version":1,"kind":"model","sha256":"","header":{}}'}}).encode()[:-1]
        + b',"x":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}',
        b"1234",
    ),
    "envelope is no JSON": with_envelope("{"),
    "envelope is a list": with_envelope("[]"),
    "envelope is nested": with_envelope("[" * 100_000),
    "envelope is empty": with_envelope("{}"),
    "no header": with_envelope('{"version": 1, "kind": "model", "sha256": ""}'),
    "no checksum": with_envelope('{"version": 1, "kind": "model", "header": {}}'),
    "version is text": with_envelope('{"version": "1", "kind": "model", "sha256": "", "header": {}}'),
    "header is a list": with_envelope('{"version": 1, "kind": "model", "sha256": "", "header": []}'),
    "wrong checksum": with_envelope('{"version": 1, "kind": "model", "sha256": "0", "header": {}}'),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_files(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ArchiveError, match="damaged"):
        read(tmp_path / "a", "model")


def test_a_pickle_is_refused_and_not_executed(tmp_path):
    (tmp_path / "a").write_bytes(pickle.dumps(Exploit(tmp_path / "executed")))
    with pytest.raises(ArchiveError, match="no archive at all"):
        read(tmp_path / "a", "model")
    assert not (tmp_path / "executed").exists()


def test_foreign_safetensors(tmp_path):
    for number, metadata in enumerate([None, {"format": "pt"}]):
        (tmp_path / str(number)).write_bytes(save({"x": np.zeros(2)}, metadata=metadata))
        with pytest.raises(ArchiveError, match="of another program"):
            read(tmp_path / str(number), "model")


def test_newer_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(ebm.compute.archive, "VERSION", 2)
    write(tmp_path / "a", ARRAYS, HEADER, "model")
    monkeypatch.undo()
    with pytest.raises(ArchiveError, match=r"version 2, newer than 1.*pip install --upgrade"):
        read(tmp_path / "a", "model")


def test_another_kind(valid):
    with pytest.raises(ArchiveError, match="holds a model, expected a checkpoint"):
        read(valid, "checkpoint")


def test_folders_and_missing_files(tmp_path, valid):
    with pytest.raises(ArchiveError, match="is no file"):
        read(tmp_path, "model")
    with pytest.raises(FileNotFoundError, match=r"its folder holds model\.safetensors"):
        read(valid.parent / "modle.safetensors", "model")
    with pytest.raises(FileNotFoundError, match="no archive in that folder"):
        read(tmp_path / "nowhere" / "model.safetensors", "model")


def refused_or_unchanged(path, data):
    path.write_bytes(data)
    try:
        arrays, header = read(path, "model")
    except ArchiveError:
        return
    assert_equal(arrays, ARRAYS)
    assert header == HEADER


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_changed_files_are_refused_or_mean_the_same(valid, data):
    original = bytearray(valid.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(original)))
        match data.draw(st.sampled_from(["flip", "truncate", "insert", "delete", "overwrite"])):
            case "flip" if place < len(original):
                original[place] ^= 1 << data.draw(st.integers(0, 7))
            case "truncate":
                del original[place:]
            case "insert":
                original[place:place] = data.draw(st.binary(min_size=1, max_size=16))
            case "delete":
                del original[place : place + data.draw(st.integers(1, 16))]
            case "overwrite":
                new = data.draw(st.binary(min_size=1, max_size=16))
                original[place : place + len(new)] = new
    refused_or_unchanged(valid.with_name("changed"), bytes(original))


def test_every_single_flipped_bit_is_noticed_or_means_the_same(valid):
    original = valid.read_bytes()
    for place in range(len(original)):
        changed = bytearray(original)
        changed[place] ^= 1 << place % 8
        refused_or_unchanged(valid.with_name("changed"), bytes(changed))


@pytest.mark.parametrize(("old", "new"), [(b'"F32"', b'"I32"'), (b"[2,3]", b"[3,2]"), (b'"mask"', b'"mass"'), (b"784", b"785")])
def test_another_type_shape_name_or_header_is_noticed(valid, old, new):
    original = valid.read_bytes()
    assert original.count(old) == 1
    valid.with_name("changed").write_bytes(original.replace(old, new))
    with pytest.raises(ArchiveError, match="checksum"):
        read(valid.with_name("changed"), "model")


def test_every_flipped_bit_of_the_values_is_noticed(valid):
    original = valid.read_bytes()
    for place in range(8 + int.from_bytes(original[:8], "little"), len(original)):
        changed = bytearray(original)
        changed[place] ^= 1 << place % 8
        valid.with_name("changed").write_bytes(changed)
        with pytest.raises(ArchiveError, match="checksum"):
            read(valid.with_name("changed"), "model")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_files_are_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "random"
    path.write_bytes(data)
    with pytest.raises(ArchiveError):
        read(path, "model")


def test_truncation_anywhere_is_refused(valid):
    original = valid.read_bytes()
    for length in range(len(original)):
        valid.with_name("changed").write_bytes(original[:length])
        with pytest.raises(ArchiveError):
            read(valid.with_name("changed"), "model")


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EIO, "I/O"), KeyboardInterrupt()]
)
def test_a_failed_write_changes_nothing(tmp_path, monkeypatch, function, error):
    path = tmp_path / "a"
    write(path, ARRAYS, HEADER, "model")
    before = path.read_bytes()

    def fail(*_):
        assert len(list(tmp_path.iterdir())) == 2  # the temporary file lies beside its target
        raise error

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(type(error)) as caught:
        write(path, {"x": np.zeros(1000)}, {}, "model")
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    if getattr(error, "errno", None) == errno.ENOSPC:
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(path)
        assert re.search(r"no room for 8,\d\d\d bytes .*nothing was changed. Free some space", caught.value.strerror)


def test_a_process_that_may_not_write_more_keeps_the_old_file(tmp_path):
    pytest.importorskip("resource")
    script = """
import resource, sys
import numpy as np
from ebm.compute import archive
archive.write(sys.argv[1], {"x": np.arange(10.0)}, {}, "model")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    archive.write(sys.argv[1], {"x": np.zeros(100_000)}, {}, "model")
except OSError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(ebm.compute.archive.__file__).parents[2])}
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a")], env=environment, capture_output=True, text=True, check=True
    )
    assert "no room for 800," in result.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert_equal(read(tmp_path / "a", "model")[0], {"x": np.arange(10.0)})


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="make it first"):
        replace_file(tmp_path / "no" / "a", b"")
    with pytest.raises(IsADirectoryError, match="expected the name of a file"):
        replace_file(tmp_path, b"")
