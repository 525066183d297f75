import json
import re

import numpy as np
import pytest
from enumeration import randomize
from safetensors.numpy import load_file
from test_machine import assert_same, host

import ebm
from ebm import RBM
from ebm.compute import archive
from ebm.compute.archive import ArchiveError


def small(dtype="float32"):
    rbm = RBM(5, 4, device="cpu", dtype=dtype, seed=2)
    randomize(rbm, 1)
    return rbm


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("storage") / "model.safetensors"
    small().save(path)
    return path


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_machine_comes_back(tmp_path, dtype):
    rbm = small(dtype)
    rbm.save(tmp_path / "model.safetensors")
    again = ebm.load(str(tmp_path / "model.safetensors"), device="cpu")
    assert type(again) is RBM
    assert repr(again) == repr(rbm)
    assert_same(host(again.parameters), host(rbm.parameters))
    np.testing.assert_array_equal(again.sample(5, 4, seed=1), rbm.sample(5, 4, seed=1))
    again.fit(np.eye(5), epochs=1, batch_size=5)


def test_the_functions_are_the_methods(tmp_path, saved):
    rbm = small()
    ebm.save(rbm, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == saved.read_bytes()


def test_other_programs_can_read_the_arrays(saved):
    arrays = load_file(saved)
    assert_same(arrays, host(small().parameters))


def test_a_machine_of_another_device_has_the_same_file(tmp_path, strict, saved):
    rbm = RBM(5, 4, device=strict)
    rbm.parameters.load_state_dict(host(small().parameters))
    rbm.save(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == saved.read_bytes()
    assert ebm.load(saved, device=strict).device is strict


def test_saving_replaces_the_file_or_leaves_it(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    small().save(path)
    before = path.read_bytes()
    other = RBM(6, 3, device="cpu")

    def fail(*arguments):
        raise OSError("no")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="no"):
        other.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    other.save(path)
    assert ebm.load(path, device="cpu").visible.units.size == 6


def test_there_is_no_such_file_or_folder(tmp_path, saved):
    with pytest.raises(FileNotFoundError, match=r"found no file of that name; its folder holds model\.safetensors"):
        ebm.load(saved.with_name("modell.safetensors"))
    with pytest.raises(FileNotFoundError, match="found no such folder; make it first"):
        small().save(tmp_path / "nowhere" / "model.safetensors")


def test_no_truncated_file_is_a_model(tmp_path, saved):
    content = saved.read_bytes()
    for length in range(0, len(content), 7):
        (tmp_path / "a").write_bytes(content[:length])
        with pytest.raises(ArchiveError, match="is damaged"):
            ebm.load(tmp_path / "a", device="cpu")


def test_no_flipped_bit_changes_the_model(tmp_path, saved):
    content = saved.read_bytes()
    generator = np.random.default_rng(1)
    expected = host(small().parameters)
    unnoticed = 0
    for position in generator.choice(len(content), 150, replace=False):
        changed = bytearray(content)
        changed[position] ^= 1 << int(generator.integers(8))
        (tmp_path / "a").write_bytes(bytes(changed))
        try:
            found = ebm.load(tmp_path / "a", device="cpu")
        except ArchiveError:
            continue
        # a bit of white space, or of the way the JSON spells a character
        assert_same(host(found.parameters), expected)
        unnoticed += 1
    assert unnoticed < 10


def header(**changes):
    config = {
        "layers": [{"units": "Bernoulli", "size": 5}, {"units": "Bernoulli", "size": 4}],
        "connections": [[0, 1]],
        "dtype": "float32",
    }
    return {"model": "RBM", "config": config | changes.pop("config", {})} | changes


LAYERS = header()["config"]["layers"]


@pytest.mark.parametrize(
    ("described", "match"),
    [
        (header(model="DBM"), r"found model 'DBM'; this version knows \['RBM'"),
        (header(model=["RBM"]), "does not describe a model"),
        ({"config": header()["config"]}, "'model'"),
        ({"model": "RBM"}, "'config'"),
        ({"model": "RBM", "config": 3}, "does not describe a model"),
        (header(config={"layers": [{"units": "Potts", "size": 5}, LAYERS[1]]}), r"found units 'Potts'; this version knows"),
        (header(config={"layers": [{"units": "Bernoulli"}, LAYERS[1]]}), "size"),
        (header(config={"layers": [{"units": "Bernoulli", "size": 5, "spin": 2}, LAYERS[1]]}), "spin"),
        (header(config={"layers": [{"units": "Bernoulli", "size": -5}, LAYERS[1]]}), "found size=-5"),
        (header(config={"layers": [{"units": "Bernoulli", "size": 10**15}, LAYERS[1]]}), "Unable to allocate"),
        (header(config={"layers": LAYERS[:1]}), "does not describe a model"),
        (header(config={"layers": [*LAYERS, LAYERS[0]]}), "does not describe a model"),
        (header(config={"layers": LAYERS[::-1]}), r"found parameters \{.*\(5, 4\).*\}; expected \{.*\(4, 5\)"),
        (header(config={"dtype": "int8"}), "found dtype='int8'"),
        (header(config={"dtype": "os.system"}), "os.system"),
    ],
)
def test_what_this_version_does_not_know_is_refused_by_name(tmp_path, described, match):
    archive.write(tmp_path / "a", small().parameters.state_dict(), described, kind="model")
    with pytest.raises(ArchiveError, match=f"{re.escape(str(tmp_path / 'a'))} does not describe a model.*{match}|{match}"):
        ebm.load(tmp_path / "a", device="cpu")


@pytest.mark.parametrize(
    "arrays",
    [
        {"weights": np.zeros((5, 4), np.float32)},
        {"weights": np.zeros((4, 5)), "bias.0": np.zeros(5), "bias.1": np.zeros(4)},
        {"weights": np.zeros((5, 4)), "bias.0": np.zeros(5), "bias.1": np.zeros(4), "bias.2": np.zeros(4)},
    ],
)
def test_arrays_of_other_shapes_are_refused(tmp_path, arrays):
    archive.write(tmp_path / "a", arrays, header(), kind="model")
    with pytest.raises(ArchiveError, match=r"found parameters \{.*\}; expected \{'weights': \(5, 4\)"):
        ebm.load(tmp_path / "a", device="cpu")


def test_files_of_others(tmp_path):
    from safetensors.numpy import save_file

    save_file({"weights": np.zeros(3)}, tmp_path / "a")
    (tmp_path / "b").write_text(json.dumps(header()))
    archive.write(tmp_path / "c", {}, {}, kind="checkpoint")
    for name, match in (
        ("a", "of another program"),
        ("b", "is damaged, or no archive"),
        ("c", "holds a checkpoint, expected a model"),
    ):
        with pytest.raises(ArchiveError, match=match):
            ebm.load(tmp_path / name)


def test_newer_files_name_the_cure(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "VERSION", 2)
    small().save(tmp_path / "a")
    monkeypatch.undo()
    with pytest.raises(ArchiveError, match=r"version 2, newer than 1.*pip install --upgrade"):
        ebm.load(tmp_path / "a")


def test_a_wrong_device_is_not_the_files_fault(saved):
    with pytest.raises(ValueError, match="found device='tpu'; expected 'cpu', 'gpu' or 'auto'") as caught:
        ebm.load(saved, device="tpu")
    assert not isinstance(caught.value, ArchiveError)


def test_a_loaded_model_rounds_its_products_as_the_saved_one(tmp_path):
    RBM(4, 3, device="cpu", precision="bfloat16").save(tmp_path / "a")
    assert ebm.load(tmp_path / "a", device="cpu").precision == "bfloat16"
