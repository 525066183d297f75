import errno
import os

import numpy as np
import pytest
from least_squares import Arrays, LeastSquares, Rows, fit

from ebm.compute import archive
from ebm.compute.archive import ArchiveError, read
from ebm.training.callbacks import EarlyStopping, Validation
from ebm.training.checkpoints import Checkpoint
from ebm.training.history import History
from ebm.training.loop import train


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_keeps_the_newest_files_and_the_best(tmp_path):
    values = iter([3.0, 1.0, 2.0, 2.0, 2.0])
    validation = Validation(lambda: {"error": next(values)})
    model = LeastSquares()
    train(model.step, Rows(), 5, [Checkpoint(tmp_path, keep=2, best="error"), validation], model.state)
    assert files(tmp_path) == ["best.safetensors", "step-00000080.safetensors", "step-00000100.safetensors"]
    assert read(tmp_path / "best.safetensors", "checkpoint")[1]["run"]["step"] == 40


def test_the_best_file_is_written_before_the_one_that_knows_its_value(tmp_path, monkeypatch):
    replace = os.replace

    def killed(source, target):
        replace(source, target)
        raise RuntimeError

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(RuntimeError):
        train(LeastSquares().step, Rows(), 1, [Checkpoint(tmp_path, best="loss")])
    assert files(tmp_path) == ["best.safetensors"]


def test_best_may_be_the_largest(tmp_path):
    values = iter([3.0, 5.0, 2.0])
    model = LeastSquares()
    callbacks = [Checkpoint(tmp_path, best="score", minimize=False), Validation(lambda: {"score": next(values)})]
    train(model.step, Rows(), 3, callbacks, model.state)
    assert read(tmp_path / "best.safetensors", "checkpoint")[1]["run"]["step"] == 40


def test_training_can_go_on_from_the_best_file(tmp_path):
    values = iter([1.0, 2.0, 2.0])
    model = LeastSquares()
    callbacks = [Checkpoint(tmp_path / "a", best="error"), Validation(lambda: {"error": next(values)})]
    train(model.step, Rows(), 3, callbacks, model.state)
    best = LeastSquares()
    run = train(
        best.step, Rows(), 1, [Validation(dict), Checkpoint(tmp_path / "b")], best.state, tmp_path / "a" / "best.safetensors"
    )
    reference = LeastSquares()
    train(reference.step, Rows(), 1, (), reference.state)
    np.testing.assert_array_equal(best.weights, reference.weights)
    assert (run.step, run.checkpoint) == (20, tmp_path / "a" / "best.safetensors")


@pytest.mark.parametrize(
    ("every_epochs", "every_steps", "expected"),
    [
        (1, None, [20, 40, 60]),
        (2, None, [40, 60]),
        (None, 10, [10, 20, 30, 40, 50, 60]),
        (2, 15, [15, 30, 40, 45, 60]),
        (None, None, [60]),
    ],
)
def test_files_are_written_when_due_and_at_the_end(tmp_path, every_epochs, every_steps, expected):
    train(LeastSquares().step, Rows(), 3, [Checkpoint(tmp_path, every_epochs, every_steps, keep=9)])
    assert files(tmp_path) == [f"step-{step:08d}.safetensors" for step in expected]


def test_a_checkpoint_holds_everything_without_pickle(tmp_path):
    model = LeastSquares()
    early = EarlyStopping("loss", 5)
    train(model.step, Rows(), 2, [Checkpoint(tmp_path), early], model.state)
    arrays, header = read(tmp_path / "step-00000040.safetensors", "checkpoint")
    np.testing.assert_array_equal(arrays["state/parameters/weights"], model.weights)
    np.testing.assert_array_equal(arrays["state/moments/velocity"], model.velocity)
    assert header["state"]["noise"] == model.noise.state_dict()
    assert header["callbacks"]["EarlyStopping"] == early.state_dict()
    assert header["run"]["steps_per_epoch"] == 20


def test_several_callbacks_of_a_class_get_their_own_states_back(tmp_path):
    def callbacks():
        return [EarlyStopping("loss", 9), EarlyStopping("validation loss", 9, minimize=False)]

    model = LeastSquares()
    validation = Validation(model.validate)
    before = callbacks()
    train(model.step, Rows(), 3, [*before, validation, Checkpoint(tmp_path)], model.state)
    after = callbacks()
    train(model.step, Rows(), 3, [*after, validation, Checkpoint(tmp_path)], model.state, tmp_path)
    assert [early.best.value for early in after] == [early.best.value for early in before]
    assert after[0].best.value != after[1].best.value


def test_an_early_stopped_run_stays_stopped_unless_its_patience_grows(tmp_path):
    def resumed(patience, resume=None):
        model = LeastSquares()
        callbacks = [EarlyStopping("constant", patience), Checkpoint(tmp_path)]
        return train(lambda batch: model.step(batch) | {"constant": 1.0}, Rows(), 9, callbacks, model.state, resume)

    assert resumed(2).epoch == 3
    run = resumed(2, tmp_path)
    assert (run.epoch, run.stop_reason) == (3, "constant has not improved on 1 since epoch 1")
    assert resumed(4, tmp_path).epoch == 5


def test_a_full_disk_leaves_the_old_checkpoint_and_the_parameters(tmp_path, monkeypatch):
    model = LeastSquares()
    original = os.fsync

    def full(descriptor):
        if full.calls == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        full.calls += 1
        original(descriptor)

    full.calls = 0
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"no room for .* bytes .*step-00000060") as caught:
        train(model.step, Rows(), 5, [Checkpoint(tmp_path)], model.state)
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert files(tmp_path) == ["step-00000020.safetensors", "step-00000040.safetensors"]
    reference = LeastSquares()
    train(reference.step, Rows(), 3, (), reference.state)
    np.testing.assert_array_equal(model.weights, reference.weights)
    train(model.step, Rows(), 5, [Checkpoint(tmp_path)], model.state, tmp_path)


def test_nothing_readable(tmp_path):
    (tmp_path / "step-00000001.safetensors").write_bytes(b"rubbish")
    with pytest.raises(ArchiveError, match=r"no readable checkpoint in .*step-00000001\.safetensors is damaged"):
        fit(LeastSquares(), tmp_path, tmp_path)
    with pytest.raises(ArchiveError, match="is damaged"):
        fit(LeastSquares(), tmp_path, tmp_path / "step-00000001.safetensors")
    with pytest.raises(FileNotFoundError):
        fit(LeastSquares(), tmp_path, tmp_path / "elsewhere")


def test_steps_are_compared_as_numbers(tmp_path):
    model = LeastSquares()
    train(model.step, Rows(), 1, [Checkpoint(tmp_path)], model.state)
    train(model.step, Rows(), 2, [Checkpoint(tmp_path)], model.state, tmp_path)
    (tmp_path / "step-00000040.safetensors").rename(tmp_path / "step-100000000.safetensors")
    (tmp_path / "step-later.safetensors").write_bytes(b"not one of ours")
    assert train(model.step, Rows(), 2, (), model.state, tmp_path).step == 40


def test_a_folder_with_a_later_run_is_refused(tmp_path):
    model = LeastSquares()
    train(model.step, Rows(), 2, [Checkpoint(tmp_path)], model.state)
    before = files(tmp_path)
    with pytest.raises(FileExistsError, match=r"step-00000020\.safetensors, but this run starts at step 0; write resume="):
        train(model.step, Rows(), 2, [Checkpoint(tmp_path)], model.state)
    with pytest.raises(FileExistsError, match=r"step-00000040\.safetensors, but this run starts at step 20"):
        train(model.step, Rows(), 2, [Checkpoint(tmp_path)], model.state, tmp_path / before[0])
    assert files(tmp_path) == before


def saved(folder):
    model = LeastSquares()
    train(model.step, Rows(), 2, [Checkpoint(folder)], model.state)
    return folder


def assert_refused(model, batches, epochs, folder, match):
    before = model.weights.copy()
    with pytest.raises(ValueError, match=match):
        train(model.step, batches, epochs, (), model.state, folder)
    np.testing.assert_array_equal(model.weights, before)


def test_checkpoints_of_another_run_are_refused(tmp_path):
    folder = saved(tmp_path)
    assert_refused(LeastSquares(), Rows(size=20), 3, folder, "saved with 20 batches per epoch, this run has 10")
    assert_refused(LeastSquares(), Rows(), 1, folder, "at step 40, beyond the end of this run, step 20; write epochs=2 or more")
    assert_refused(
        LeastSquares(outputs=2), Rows(), 2, folder, r"parameters/weights of shape \(8, 3\) .* this run's has shape \(8, 2\)"
    )
    model = LeastSquares()
    model.state["moments"] = Arrays(velocity=np.zeros((8, 3)))
    assert_refused(model, Rows(), 2, folder, "moments/velocity .* type float32, .* type float64")
    model.state["chains"] = model.state.pop("noise")
    assert_refused(model, Rows(), 2, folder, r"holds \['moments', 'noise', 'parameters'\], this run has \['chains',")


def test_an_archive_that_is_no_training_run(tmp_path):
    archive.write(tmp_path / "a", {}, {"run": {}, "state": {}}, "checkpoint")
    with pytest.raises(ArchiveError, match="lacks 'callbacks'"):
        train(LeastSquares().step, Rows(), 1, resume=tmp_path / "a")


def test_states_of_callbacks_that_are_gone_are_reported(tmp_path):
    model = LeastSquares()
    train(model.step, Rows(), 1, [Checkpoint(tmp_path), EarlyStopping("loss", 3), History()], model.state)
    with pytest.warns(UserWarning, match="callbacks that this run does not have: EarlyStopping"):
        train(model.step, Rows(), 2, [Checkpoint(tmp_path), History()], model.state, tmp_path)


def test_a_best_metric_that_never_comes_is_reported(tmp_path):
    with pytest.warns(UserWarning, match=r"found no finite metric 'los'; the last metrics are \{'loss':"):
        train(LeastSquares().step, Rows(), 1, [Checkpoint(tmp_path, best="los")])


def test_the_best_value_of_another_metric_is_no_yardstick(tmp_path):
    train(lambda batch: {"a": 1.0, "b": 2.0}, Rows(), 1, [Checkpoint(tmp_path, best="a")])
    train(lambda batch: {"a": 1.0, "b": 2.0}, Rows(), 2, [Checkpoint(tmp_path, best="b")], resume=tmp_path)
    assert read(tmp_path / "best.safetensors", "checkpoint")[1]["run"]["step"] == 40


def test_a_checkpoint_serves_a_second_run(tmp_path):
    checkpoint = Checkpoint(tmp_path, best="x")
    for value in (1.0, 2.0):
        for path in tmp_path.iterdir():
            path.unlink()
        train(lambda batch, value=value: {"x": value}, Rows(), 1, [checkpoint])
        assert files(tmp_path) == ["best.safetensors", "step-00000020.safetensors"]


class Holder:
    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


def test_states_are_trees_of_arrays_and_json(tmp_path):
    tree = {
        "list": [np.arange(3), {"deep": np.array(1.5)}],
        "tuple": (1, "two", None, True),
        "nested": {"x": 2.5, "seed": 2**70},
    }
    run_state = {"tree": Holder(tree)}
    train(LeastSquares().step, Rows(), 1, [Checkpoint(tmp_path)], run_state)
    holder = Holder({})
    train(LeastSquares().step, Rows(), 1, (), {"tree": holder}, tmp_path)
    np.testing.assert_array_equal(holder.state["list"][0], np.arange(3))
    assert holder.state["list"][1]["deep"].shape == ()
    assert holder.state["tuple"] == [1, "two", None, True]
    assert holder.state["nested"] == tree["nested"]


@pytest.mark.parametrize(
    ("state", "error", "match"),
    [
        ({"x": np.float32(1)}, TypeError, r"found float32 at state/a/x .*scalar\.item\(\)"),
        ({"x": [object()]}, TypeError, "found object at state/a/x/0"),
        ({1: 2}, TypeError, r"found the keys \[1\] at state/a "),
        ({"__array__": "x"}, TypeError, "expected strings other than"),
        ({"x/y": np.zeros(1), "x": {"y": np.zeros(1)}}, ValueError, "two arrays at state/a/x/y"),
    ],
)
def test_other_states_are_refused_by_name(tmp_path, state, error, match):
    with pytest.raises(error, match=match):
        train(LeastSquares().step, Rows(), 1, [Checkpoint(tmp_path)], {"a": Holder(state)})
    assert files(tmp_path) == []


def test_sizes_and_counts_are_checked():
    for arguments in ({"every_epochs": 0}, {"every_steps": 1.5}, {"keep": 0}):
        with pytest.raises(ValueError, match="expected an integer of at least 1"):
            Checkpoint("folder", **arguments)
