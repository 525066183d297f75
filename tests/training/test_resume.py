import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import least_squares
import numpy as np
import pytest
from least_squares import EPOCHS, LeastSquares, Rows, fit

from ebm.compute import archive
from ebm.training.callbacks import Callback
from ebm.training.checkpoints import Checkpoint
from ebm.training.loop import train


def timeless(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The weights, the metrics, the history and the best weights of a run that nothing disturbed."""
    model = LeastSquares()
    folder = tmp_path_factory.mktemp("unbroken")
    run, history = fit(model, folder)
    assert run.step == 20 * EPOCHS
    return model.weights, run.metrics, timeless(history.rows), best(folder)


def best(folder):
    return archive.read(folder / "best.safetensors", "checkpoint")[0]["state/parameters/weights"]


def rows_on_disk(folder):
    return timeless(map(json.loads, (folder / "history.jsonl").read_text().splitlines()))


class Killed(Exception):
    pass


class KillAt(Callback):
    def __init__(self, event, step):
        setattr(self, event, self.kill)
        self.step = step

    def kill(self, run):
        if run.step == self.step:
            raise Killed


class KillAfterCheckpoint(KillAt):
    order = 2


@pytest.mark.parametrize("killer", [KillAt, KillAfterCheckpoint])
@pytest.mark.parametrize(
    ("event", "step"),
    [*(("on_step", n) for n in (7, 13, 20, 21, 140, 280)), *(("on_epoch", n) for n in (20, 60, 140, 280)), ("on_end", 280)],
)
def test_a_resumed_run_equals_an_unbroken_one(tmp_path, unbroken, killer, event, step):
    weights, metrics, rows, _ = unbroken
    with pytest.raises(Killed):
        fit(LeastSquares(), tmp_path, more=[killer(event, step)])
    model = LeastSquares()
    resume = tmp_path if any(tmp_path.glob("step-*")) else None
    run, history = fit(model, tmp_path, resume)
    np.testing.assert_array_equal(model.weights, weights)
    assert run.metrics == metrics
    assert timeless(history.rows) == rows
    assert rows_on_disk(tmp_path) == rows


def python(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(Path(archive.__file__).parents[2])}
    return [sys.executable, least_squares.__file__, *map(str, arguments)], environment


def assert_unbroken(folder, unbroken):
    weights, _, rows, best_weights = unbroken
    np.testing.assert_array_equal(np.load(folder / "weights.npy"), weights)
    assert rows_on_disk(folder) == rows
    np.testing.assert_array_equal(best(folder), best_weights)
    assert sorted(path.stem for path in folder.glob("step-*")) == ["step-00000273", "step-00000280"]
    assert not list(folder.glob(".*"))


def test_a_run_killed_at_random_moments_equals_an_unbroken_one(tmp_path, unbroken):
    command, environment = python(tmp_path)
    seed = random.SystemRandom().randrange(2**32)
    delays = random.Random(seed)
    killed = 0
    for _ in range(5):
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "training\n", f"seed {seed}"
            time.sleep(delays.uniform(0, 0.2))
            process.kill()
            killed += process.wait() != 0
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert killed >= 3, f"seed {seed}"
    assert_unbroken(tmp_path, unbroken)


@pytest.mark.parametrize(
    ("call", "number", "when"),
    [("fsync", 4, "before"), ("fsync", 9, "after"), ("replace", 6, "before"), ("replace", 8, "after")],
)
def test_a_run_killed_while_it_writes_equals_an_unbroken_one(tmp_path, unbroken, call, number, when):
    command, environment = python(tmp_path)
    assert subprocess.run([*command, call, str(number), when], env=environment, capture_output=True).returncode == 9
    model = LeastSquares()
    fit(model, tmp_path, tmp_path)
    np.save(tmp_path / "weights.npy", model.weights)
    assert_unbroken(tmp_path, unbroken)


def test_a_finished_run_can_be_made_longer(tmp_path, unbroken):
    fit(LeastSquares(), tmp_path, epochs=4)
    model = LeastSquares()
    fit(model, tmp_path, tmp_path)
    np.testing.assert_array_equal(model.weights, unbroken[0])


def test_a_finished_run_resumed_does_nothing_and_has_its_metrics(tmp_path, unbroken):
    fit(LeastSquares(), tmp_path)
    model = LeastSquares()
    run, _ = fit(model, tmp_path, tmp_path)
    np.testing.assert_array_equal(model.weights, unbroken[0])
    assert (run.step, run.metrics) == (20 * EPOCHS, unbroken[1])


def test_ctrl_c_saves_the_running_step(tmp_path, unbroken):
    model = LeastSquares()

    class Press(Callback):
        def on_step(self, run):
            if run.step == 34:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"after step 34 .*; resume='.*step-00000034\.safetensors' goes on from there"):
        fit(model, tmp_path, more=[Press()])
    assert (tmp_path / "step-00000034.safetensors").exists()
    resumed = LeastSquares()
    fit(resumed, tmp_path, tmp_path)
    np.testing.assert_array_equal(resumed.weights, unbroken[0])


def test_a_second_ctrl_c_saves_nothing(tmp_path):
    def step(batch):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(step, Rows(), 1, [Checkpoint(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_passed_over_by_name(tmp_path, unbroken):
    fit(LeastSquares(), tmp_path, epochs=3)
    newest = tmp_path / "step-00000060.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    model = LeastSquares()
    with pytest.warns(
        UserWarning, match=r"resuming from .*step-00000056\.safetensors, because of .*step-00000060\.safetensors is damaged"
    ):
        fit(model, tmp_path, tmp_path)
    np.testing.assert_array_equal(model.weights, unbroken[0])


def test_an_empty_folder_starts_at_the_beginning(tmp_path, unbroken):
    model = LeastSquares()
    with pytest.warns(UserWarning, match="found no checkpoint in .*training starts at its beginning"):
        fit(model, tmp_path, tmp_path)
    np.testing.assert_array_equal(model.weights, unbroken[0])
