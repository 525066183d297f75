import copy
import json
import pickle
import re

import numpy as np
import pytest
from enumeration import randomize
from safetensors.numpy import load_file
from test_machine import assert_same, host

import ebm
import neural
from ebm import DBM, DBN, RBM, Gaussian, Joint, ReLU, Softmax
from ebm.compute import archive
from ebm.compute.archive import ArchiveError
from ebm.compute.random import Stream
from ebm.training import Checkpoint
from neural.corruption import Masking
from neural.layers import Dense, Tanh
from neural.losses import SquaredError


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


class Mirrored(RBM):
    """A machine of a user's own."""


class Twice(Tanh):
    """A layer of a user's own."""


class Weighted(SquaredError):
    """A loss of a user's own."""


def test_a_class_of_ones_own_loads_itself(tmp_path):
    rbm = Mirrored(5, 4, device="cpu", seed=2)
    rbm.save(tmp_path / "a")
    again = Mirrored.load(tmp_path / "a", device="cpu")
    assert type(again) is Mirrored
    assert_same(host(again.parameters), host(rbm.parameters))
    with pytest.raises(ArchiveError, match=r"found model 'Mirrored'; .*: write Mirrored\.load\(path\)"):
        ebm.load(tmp_path / "a")


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (
            lambda: neural.Autoencoder([Dense(2), Twice()], [Dense(5)], inputs=5, loss=SquaredError(), device="cpu"),
            "layer 'Twice'",
        ),
        (lambda: neural.Autoencoder([5, 2], loss=Weighted(), device="cpu"), "loss 'Weighted'"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, model, match):
    model = model()
    for write in (lambda: model.save(tmp_path / "a"), lambda: pickle.dumps(model)):
        with pytest.raises(ValueError, match=rf"this Autoencoder couldn't be read back: found {match}; .*numpy\.savez"):
            write()
    assert not list(tmp_path.iterdir())
    model.fit(np.eye(5, dtype=np.float32), epochs=1, batch_size=5, callbacks=[Checkpoint(tmp_path)])
    assert len(list(tmp_path.iterdir())) == 1  # training goes on from checkpoints all the same


def test_the_functions_are_the_methods(tmp_path, saved):
    rbm = small()
    ebm.save(rbm, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == saved.read_bytes()


def test_other_programs_can_read_the_arrays(saved):
    arrays = load_file(saved)
    assert_same(arrays, host(small().parameters))


def test_a_machine_of_another_device_has_the_same_file(tmp_path, strict, saved):
    rbm = RBM(5, 4, device=strict, seed=small().seed)
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
        (header(model="Potts"), r"found model 'Potts'; this version knows \['DBM', 'DBN', 'RBM'\]"),
        (header(model="DBM"), "'observed'"),
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
    archive.write(tmp_path / "c", {}, {"state": {}}, kind="checkpoint")
    for name, match in (
        ("a", "of another program"),
        ("b", "is damaged, or no archive"),
        ("c", "a checkpoint without a description of its model; training goes on from it with resume="),
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


# Deep models: several machines in one file.


def filled(model, seed=3):
    """Small normal parameters."""
    generator = np.random.default_rng(seed)
    for parameters in model.parts.values() if isinstance(model, DBN) else [model.parameters]:
        for name in parameters:
            parameters[name][...] = generator.normal(0, 0.3, parameters[name].shape)
    return model


def untied(*arguments, **options):
    dbn = DBN(*arguments, **options)
    dbn.untie_()
    return dbn


NETWORKS = {
    "tied": lambda: DBN([5, 4, 3, 2], device="cpu"),
    "untied, float64": lambda: untied([5, 4, 3, 2], device="cpu", dtype="float64"),
    "labels": lambda: untied([5, 4, 3], labels=3, passed="samples", seed=4, device="cpu"),
    "mixed units": lambda: untied([Joint(Gaussian(3, learn_variance=True), Softmax(2)), ReLU(4), 3], labels=3, device="cpu"),
    "one RBM": lambda: DBN([5, 4], labels=3, device="cpu"),
    "rounded": lambda: untied([5, 4, 3], precision="bfloat16", device="cpu"),
    # so many that one number begins like another
    "twelve RBMs": lambda: untied([2] * 13, device="cpu"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_comes_back(tmp_path, name):
    dbn = filled(NETWORKS[name]())
    dbn.trained = 1
    dbn.save(tmp_path / "model.safetensors")
    for again in (
        ebm.load(tmp_path / "model.safetensors", device="cpu"),
        DBN.load(tmp_path / "model.safetensors", device="cpu"),
    ):
        assert type(again) is DBN
        assert repr(again) == repr(dbn)
        assert (again.tied, again.trained, again.passed, again.seed) == (dbn.tied, 1, dbn.passed, dbn.seed)
        assert [rbm.precision for rbm in again.generative] == [rbm.precision for rbm in dbn.generative]
        assert again.parts.keys() == dbn.parts.keys()
        for part, parameters in dbn.parts.items():
            assert_same(host(again.parts[part]), host(parameters))
            if part.startswith("generative"):
                assert not np.array_equal(parameters.buffer, dbn.parts[part.replace("generative", "layer")].buffer)
        v = again.sample(6, 2, seed=1)
        np.testing.assert_array_equal(v, dbn.sample(6, 2, seed=1))
        np.testing.assert_array_equal(again.log_weights(v, Stream(2)), dbn.log_weights(v, Stream(2)))


def test_a_loaded_network_goes_on_as_the_saved_one(tmp_path):
    """Between two layers, before fine-tuning and after it."""
    rows = np.random.default_rng(5).random((40, 5)).astype(np.float32)
    options = {"epochs": 2, "batch_size": 10}
    whole = DBN([5, 4, 3], device="cpu", passed="samples", seed=6)
    saved = DBN([5, 4, 3], device="cpu", passed="samples", seed=6)
    for method, extra in (("fit", {"layers": [0]}), ("fit", {}), ("fine_tune", {}), ("fine_tune", {"seed": 8})):
        getattr(whole, method)(rows, **options, **extra)
        getattr(saved, method)(rows, **options, **extra)
        saved.save(tmp_path / "a")
        saved = ebm.load(tmp_path / "a", device="cpu")
        for part, parameters in whole.parts.items():
            np.testing.assert_array_equal(saved.parts[part].buffer, parameters.buffer)


@pytest.mark.filterwarnings("ignore::neural.balance.BalanceWarning")
def test_a_checkpoint_is_the_model_as_it_was_then(tmp_path):
    """Of an RBM, of a network with parts, and of networks around this package."""
    rows = (np.random.default_rng(5).random((40, 5)) < 0.5).astype(np.float32)
    dbn = DBN([5, 4, 3], device="cpu").fit(rows, epochs=1, batch_size=10)
    trained = {
        "RBM": (RBM(5, 4, device="cpu", precision="bfloat16"), "fit"),
        "DBM": (DBM([5, 4, 3], device="cpu"), "fit"),
        "DBN": (dbn, "fine_tune"),
        "Autoencoder": (neural.Autoencoder([5, 3], tied=True, device="cpu"), "fit"),
        "GAN": (neural.GAN.dense(5, 2, hidden=3, units=2, device="cpu"), "fit"),
    }
    for name, (model, method) in trained.items():
        getattr(model, method)(rows, epochs=2, batch_size=10, callbacks=[Checkpoint(tmp_path / name)])
        again = neural.load(tmp_path / name / "step-00000008.safetensors", device="cpu")
        first = neural.load(tmp_path / name / "step-00000004.safetensors", device="cpu")
        assert repr(again) == repr(model)
        for now, then, expected in zip(*map(buffers, (again, first, model)), strict=True):
            np.testing.assert_array_equal(now, expected)
            assert not np.array_equal(then, expected)


COPIED = {
    "RBM": lambda: RBM(Gaussian(5, learn_variance=True), ReLU(4), device="cpu", seed=3),
    "DBM": lambda: DBM([5, 4, 3], device="cpu", precision="bfloat16"),
    "DBN": lambda: untied([5, 4, 3], labels=3, device="cpu"),
    "unrolled": lambda: neural.unroll(DBM([5, 4, 3], device="cpu")),
    "autoencoder": lambda: neural.Autoencoder([5, 3], tied=True, corruption=Masking(0.3), device="cpu", seed=3),
    "classifier": lambda: neural.Classifier([5, 4], 5, device="cpu"),
    "VAE": lambda: neural.VAE([5, 4], latent=2, device="cpu", dtype="float64"),
    "GAN": lambda: neural.GAN.dense(5, 2, hidden=3, units=2, device="cpu"),
    "network": lambda: neural.Network([Dense(3)], 5, device="cpu", seed=3),
}


@pytest.mark.parametrize("name", COPIED)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"])
@pytest.mark.filterwarnings("ignore::neural.balance.BalanceWarning")
def test_copies_and_pickles_are_models_of_their_own(duplicate, name):
    model = COPIED[name]()
    again = duplicate(model)
    assert type(again) is type(model)
    assert repr(again) == repr(model)
    before = [x.copy() for x in buffers(model)]
    for x, y in zip(buffers(again), before, strict=True):
        np.testing.assert_array_equal(x, y)
    if hasattr(model, "fit") and name != "DBN":
        rows = np.random.default_rng(5).random((40, 5)).astype(np.float32)
        rows = (rows - rows.mean(axis=0)) / rows.std(axis=0) if name == "RBM" else rows
        options = {"labels": np.arange(40) % 5} if name == "classifier" else {}
        again.fit(rows, epochs=1, batch_size=10, **options)
        for x, y in zip(buffers(model), before, strict=True):
            np.testing.assert_array_equal(x, y)
        model.fit(rows, epochs=1, batch_size=10, **options)  # by the same draws
        for x, y in zip(buffers(model), buffers(again), strict=True):
            np.testing.assert_array_equal(x, y)
    shallow = copy.copy(model)
    assert all(x is y for x, y in zip(buffers(shallow), buffers(model), strict=True))


def buffers(model):
    return [part.buffer for part in (model.parts.values() if hasattr(model, "parts") else [model.parameters])]


MODELS = {
    "RBM": lambda: RBM(5, 4, device="cpu"),
    "DBM": lambda: DBM([5, 4, 3], device="cpu"),
    "DBN": lambda: DBN([5, 4, 3], device="cpu"),
}


@pytest.mark.parametrize("found", MODELS)
@pytest.mark.parametrize("expected", MODELS)
def test_a_class_loads_its_own_files(tmp_path, found, expected):
    path = tmp_path / "model.safetensors"
    filled(MODELS[found]()).save(path)
    assert type(ebm.load(path, device="cpu")).__name__ == found
    if found == expected:
        assert type(getattr(ebm, expected).load(path, device="cpu")).__name__ == found
    else:
        match = rf"model\.safetensors holds a {found}; expected a {expected}: write ebm\.load\(path\)"
        with pytest.raises(ArchiveError, match=match):
            getattr(ebm, expected).load(path, device="cpu")


@pytest.mark.parametrize("name", ["DBM", "DBN"])
def test_a_deep_model_of_another_device_has_the_same_file(tmp_path, strict, name):
    layers, options = [5, Gaussian(4), 3], {"labels": 3}
    model = filled(getattr(ebm, name)(layers, device="cpu", **options))
    model.save(tmp_path / "a")
    elsewhere = ebm.load(tmp_path / "a", device=strict)
    assert elsewhere.device is strict
    elsewhere.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"layers": []}, "does not describe a model"),
        ({"layers": [{"layers": LAYERS, "dtype": "float32"}]}, "does not describe a model"),
        ({"labels": 3}, r"has visible Bernoulli\(4\); expected Joint"),
        ({"tied": False}, r"found parameters \{\}; expected"),
        ({"seeds": [1]}, "does not describe a model"),
        ({"passed": "modes"}, "found passed='modes'"),
    ],
)
def test_a_network_that_its_file_does_not_describe_is_refused(tmp_path, changes, match):
    dbn = DBN([5, 4, 3], device="cpu")
    arrays = {f"{part}.{name}": x for part, p in dbn.parts.items() for name, x in p.state_dict().items()}
    archive.write(tmp_path / "a", arrays, {"model": "DBN", "config": dbn.config() | changes}, kind="model")
    with pytest.raises(ArchiveError, match=match):
        ebm.load(tmp_path / "a", device="cpu")


def test_arrays_of_no_part_of_a_network_are_refused(tmp_path):
    dbn = DBN([5, 4, 3], device="cpu")
    arrays = {f"{part}.{name}": x for part, p in dbn.parts.items() for name, x in p.state_dict().items()}
    for changed in (arrays | {"layer.2.weights": np.zeros(3)}, dict(list(arrays.items())[1:])):
        archive.write(tmp_path / "a", changed, {"model": "DBN", "config": dbn.config()}, kind="model")
        with pytest.raises(ArchiveError, match="does not describe a model of this version"):
            ebm.load(tmp_path / "a", device="cpu")
