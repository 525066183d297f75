"""A run that is killed and resumed gives the parameters of an unbroken one, bit for bit.

As a program, `test_rbm_resume.py FOLDER` trains a machine on digits with checkpoints in FOLDER, resumes from those that are there, and
saves its parameters. The rows are in the file rows.npy beside FOLDER.
"""

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import ebm
from ebm import CD, PCD, RBM, TAP, Exact, FastPCD, data
from ebm.training import SGD, Adam, Callback, Checkpoint, Linear, MaxNorm, SparsityTarget, WeightDecay, momentum_ramp

EPOCHS = 8


class Pause(Callback):
    """Stretches a step, so that most kills meet training and not the start of Python."""

    def on_step(self, run):
        time.sleep(0.003)


def program(folder):
    rbm = RBM(64, 32, device="cpu", seed=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "found no checkpoint", UserWarning)
        rbm.fit(
            np.load(folder.parent / "rows.npy"),
            epochs=EPOCHS,
            batch_size=50,
            learning=PCD(2, chains=40),
            optimizer=SGD(Linear(0.1, 0.01, EPOCHS), momentum_ramp(0.5, 0.9, 2)),
            penalties=[WeightDecay(1e-4), SparsityTarget(0.1)],
            binarization="stochastic",
            centered=True,
            callbacks=[Checkpoint(folder, every_steps=7, keep=2), Pause()],
            seed=5,
            resume=folder,
        )
    np.save(folder / "parameters.npy", rbm.parameters.buffer)


def start(folder):
    environment = {**os.environ, "PYTHONPATH": str(Path(ebm.__file__).parents[1])}
    folder.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, __file__, str(folder)], env=environment, stderr=subprocess.PIPE, text=True)


def finish(folder):
    process = start(folder)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return np.load(folder / "parameters.npy")


def newest(folder):
    return max((path.name for path in folder.glob("step-*")), default="")


def test_a_killed_run_resumed_equals_an_unbroken_one(tmp_path):
    """The seed of the moments is fixed; where in a step they fall is the machine's affair, and must not matter."""
    np.save(tmp_path / "rows.npy", data.load("digits")[0].images[:1200])
    unbroken = finish(tmp_path / "unbroken")
    # bit for bit needs a machine where training moved: not the initial state on both sides
    assert np.abs(unbroken).max() > 0.1
    moments = random.Random(1)
    folder = tmp_path / "killed"
    reached = []
    for _ in range(3):
        before = newest(folder)
        process = start(folder)
        deadline = time.monotonic() + 60
        while newest(folder) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(moments.random() * 0.15)
        process.kill()
        process.communicate()
        if (folder / "parameters.npy").exists():
            break
        reached.append(newest(folder))
    assert len(reached) > 1, "found a run that was done before it could be killed twice"
    assert reached == sorted(set(reached)), "found a resumed run that made no progress"
    np.testing.assert_array_equal(finish(folder), unbroken)


def test_a_run_killed_before_its_first_checkpoint_starts_like_a_new_one(tmp_path):
    rows = data.load("digits")[0].images[:200]
    fresh, again = (RBM(64, 8, device="cpu", seed=1) for _ in range(2))
    fresh.fit(rows, epochs=1, batch_size=50)
    with pytest.warns(UserWarning, match="training starts at its beginning"):
        again.fit(rows, epochs=1, batch_size=50, resume=tmp_path)
    np.testing.assert_array_equal(again.parameters.buffer, fresh.parameters.buffer)


def test_biases_that_training_brought_to_zero_are_not_set_again(tmp_path):
    rows = data.load("digits")[0].images[:200]
    machine = RBM(64, 8, device="cpu", seed=1)

    class Clear(Callback):
        def on_step(self, run):
            machine.visible.bias[...] = 0

    machine.fit(rows, epochs=1, batch_size=50, callbacks=[Clear(), Checkpoint(tmp_path)])
    machine.fit(rows, epochs=1, batch_size=50, resume=tmp_path)
    assert not machine.visible.bias.any()


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, run):
        if run.step == self.step:
            run.stop("enough")


RUNS = {
    "CD": {},
    "PCD": {"learning": PCD(2, chains=15), "optimizer": SGD(0.05, momentum_ramp(0.5, 0.9, 1))},
    "FastPCD": {"learning": FastPCD(2, chains=15), "centered": True},
    "TAP": {"learning": TAP(3), "centered": True},
    "Exact": {"learning": Exact()},
    "Nesterov": {"optimizer": SGD(0.05, 0.9, nesterov=True), "penalties": [MaxNorm(1.0)]},
    "Adam": {"learning": CD(2), "optimizer": Adam(Linear(0.01, 0.001, 3)), "centered": True},
    "all": {
        "learning": PCD(),
        "centered": True,
        "binarization": "stochastic",
        "penalties": [SparsityTarget(0.1), SparsityTarget(0.2), WeightDecay(1e-3)],
    },
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_stopped_run_resumed_equals_one_in_one_go(tmp_path, name, dtype):
    rows = data.load("digits")[0].images[:230]
    options = {"epochs": 3, "batch_size": 40, "seed": 3, **RUNS[name]}
    whole = RBM(64, 10, device="cpu", dtype=dtype, seed=1).fit(rows, **options)
    stopped = RBM(64, 10, device="cpu", dtype=dtype, seed=1)
    stopped.fit(rows, callbacks=[Checkpoint(tmp_path), StopAt(8)], **options)
    assert not np.array_equal(stopped.parameters.buffer, whole.parameters.buffer)
    # into the machine itself, and into one that was never trained and has another seed
    for machine in (stopped, RBM(64, 10, device="cpu", dtype=dtype, seed=9)):
        machine.fit(rows, resume=tmp_path, **(options | {"seed": machine.seed + 20}))
        np.testing.assert_array_equal(machine.parameters.buffer, whole.parameters.buffer)


def test_a_longer_run_goes_on_where_a_short_one_ended(tmp_path):
    rows = data.load("digits")[0].images[:200]
    whole = RBM(64, 10, device="cpu", seed=1).fit(rows, epochs=4, batch_size=50, learning=PCD())
    part = RBM(64, 10, device="cpu", seed=1)
    part.fit(rows, epochs=2, batch_size=50, learning=PCD(), callbacks=[Checkpoint(tmp_path)])
    part.fit(rows, epochs=4, batch_size=50, learning=PCD(), resume=tmp_path)
    np.testing.assert_array_equal(part.parameters.buffer, whole.parameters.buffer)


OTHERS = {
    "another optimizer": ({"optimizer": Adam(0.01)}, "holds no optimizer/first, optimizer/second"),
    "chains": ({"learning": PCD()}, r"learning/chains\.layer\.1"),
    "another number of chains": ({"learning": PCD(chains=7)}, r"learning/chains\.layer\.1"),
    "centers": ({"centered": True}, r"learning/center\.0"),
    "a sparsity target": ({"penalties": [SparsityTarget(0.1)]}, r"learning/activation\.0"),
    "another batch size": ({"batch_size": 40}, "4 batches per epoch, this run has 5"),
    "fewer epochs": ({"epochs": 1}, "beyond the end of this run"),
    "another machine": ({"hidden": 9}, "another model, with config/layers/1/size 10 where this run has 9"),
    "another dtype": ({"dtype": "float64"}, "with config/dtype"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_checkpoint_of_another_run_changes_nothing(tmp_path, name):
    rows = data.load("digits")[0].images[:200]
    options = {"epochs": 2, "batch_size": 50}
    changes, match = OTHERS[name]
    first = CD() if name != "another number of chains" else PCD()
    RBM(64, 10, device="cpu", seed=1).fit(rows, learning=first, callbacks=[Checkpoint(tmp_path)], **options)
    changes = dict(changes)
    machine = RBM(64, changes.pop("hidden", 10), device="cpu", dtype=changes.pop("dtype", "float32"), seed=1)
    before = machine.parameters.state_dict()
    with pytest.raises(ValueError, match=match):
        machine.fit(rows, resume=tmp_path, **(options | changes))
    for key, value in machine.parameters.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_ctrl_c_leaves_a_whole_machine_and_a_whole_checkpoint(tmp_path):
    class Interrupt(Callback):
        def on_step(self, run):
            if run.step == 7:
                signal.raise_signal(signal.SIGINT)

    rows = data.load("digits")[0].images[:200]
    options = {"epochs": 3, "batch_size": 50, "learning": PCD()}
    machine, stopped, whole = (RBM(64, 10, device="cpu", seed=1) for _ in range(3))
    with pytest.raises(KeyboardInterrupt, match=r"stopped after step 7 .*resume=.*step-00000007"):
        machine.fit(rows, callbacks=[Interrupt(), Checkpoint(tmp_path)], **options)
    stopped.fit(rows, callbacks=[StopAt(7)], **options)
    np.testing.assert_array_equal(machine.parameters.buffer, stopped.parameters.buffer)
    assert np.isfinite(machine.sample(3, 5)).all()
    whole.fit(rows, **options)
    machine.fit(rows, resume=tmp_path, **options)
    np.testing.assert_array_equal(machine.parameters.buffer, whole.parameters.buffer)


if __name__ == "__main__":
    program(Path(sys.argv[1]))
