"""What makes no sense is refused before anything changes, by an error that says what was found, what was expected and the cure."""

import errno

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from ebm import CD, PCD, RBM, Gaussian, ReLU, ReplicatedSoftmax, Softmax
from ebm.compute.device import MixedDevicesError
from ebm.compute.random import Stream
from ebm.learning import Step
from ebm.machine import BoltzmannMachine
from ebm.training import SGD, Callback, Checkpoint

GOOD = np.random.default_rng(1).random((20, 6)).astype(np.float32)


def bad(value, row=3, column=2):
    rows = GOOD.copy()
    rows[row, column] = value
    return rows


ROWS = {
    "NaN": (bad(np.nan), ValueError, r"NAME\[3, 2\] is nan; expected values in \[0\.0, 1\.0\]: fill in the missing values"),
    "infinity": (bad(np.inf), ValueError, r"NAME\[3, 2\] is inf; expected .*: look for a division by zero"),
    "pixels": (GOOD * 255, ValueError, r"NAME\[0, 0\] is .*; expected values in \[0\.0, 1\.0\]: .* divide by 255: NAME / 255"),
    "pixel bytes": ((GOOD * 255).astype(np.uint8), ValueError, "divide by 255: NAME / 255"),
    "negative": (bad(-0.25), ValueError, r"NAME\[3, 2\] is -0\.25; expected .*: .* \(NAME \+ 1\) / 2"),
    "spins": (np.sign(GOOD - 0.5), ValueError, r"is -1\.0; expected .*\(NAME \+ 1\) / 2"),
    "too wide": (np.ones((20, 7)), ValueError, r"NAME has shape \(20, 7\), 7 columns; expected 6 columns"),
    "transposed": (GOOD.T, ValueError, r"20 columns; expected 6 columns: rows and columns are swapped, write NAME\.T"),
    "one row": (GOOD[0], ValueError, r"NAME has shape \(6,\); expected \(n, 6\).*write NAME\.reshape\(1, -1\)"),
    "images": (GOOD.reshape(20, 2, 3), ValueError, r"NAME has shape \(20, 2, 3\); .*write NAME\.reshape\(len\(NAME\), -1\)"),
    "no rows": (GOOD[:0], ValueError, r"NAME is empty, of shape \(0, 6\); expected .* at least one row"),
    "a list": (GOOD.tolist(), TypeError, r"NAME is a list; expected a NumPy array: write np\.asarray\(NAME"),
    "complex": (GOOD.astype(complex), TypeError, r"NAME has dtype complex128; expected real numbers: write NAME\.astype"),
    "objects": (GOOD.astype(object), TypeError, "NAME has dtype object; expected real numbers"),
    "text": (GOOD.astype(str), TypeError, "NAME has dtype <U.*; expected real numbers"),
}


@pytest.fixture
def rbm():
    """A machine as it is made: its visible biases are zero, so that `fit` would set them."""
    return RBM(6, 4, device="cpu", seed=1)


@pytest.fixture
def unchanged(rbm):
    """Holds that the machine is not changed by the test."""
    before = rbm.parameters.buffer.copy()
    yield
    np.testing.assert_array_equal(rbm.parameters.buffer, before)


@pytest.mark.parametrize("name", ROWS)
def test_rows_that_are_no_data(rbm, unchanged, name):
    rows, error, match = ROWS[name]
    with pytest.raises(error, match=match.replace("NAME", "data")):
        rbm.fit(rows, batch_size=5)
    with pytest.raises(error, match=match.replace("NAME", "validation")):
        rbm.fit(GOOD, batch_size=5, validation=rows)
    with pytest.raises(error, match=match.replace("NAME", "data")):
        rbm.transform(rows)


FITS = {
    "batches larger than the data": (
        {"batch_size": 21},
        ValueError,
        r"batch_size=21 for data of shape \(20, 6\).*at most the num",
    ),
    "empty batches": ({"batch_size": 0}, ValueError, r"found batch_size=0 .*at least 1"),
    "half batches": ({"batch_size": 2.5}, ValueError, r"found batch_size=2\.5 .*whole number"),
    "negative epochs": ({"epochs": -1}, ValueError, "found epochs=-1; expected 0 or more"),
    "half epochs": ({"epochs": 1.5}, TypeError, r"found epochs=1\.5; expected a whole number"),
    "epochs in words": ({"epochs": "ten"}, TypeError, "found epochs='ten'; expected a whole number"),
    "unknown binarization": ({"binarization": "coin"}, ValueError, "found binarization='coin'; expected None or 'stochastic'"),
    "unknown rule": ({"learning": "pcd"}, TypeError, r"found learning='pcd'; expected a rule, such as CD\(1\)"),
    "a class for a rule": ({"learning": CD}, TypeError, r"found learning=<class .*CD'>; expected a rule, such as CD\(1\)"),
    "unknown optimizer": ({"optimizer": "adam"}, TypeError, r"found optimizer='adam'; expected .* SGD\(0\.05\)"),
    "a class for an optimizer": ({"optimizer": SGD}, TypeError, r"found optimizer=<class .*SGD'>; expected .* SGD\(0\.05\)"),
    "an infinite rate": ({"optimizer": SGD(np.inf)}, ValueError, "found inf; expected a finite number"),
    "unknown penalty": ({"penalties": ["l2"]}, TypeError, r"found the penalty 'l2'; expected .*WeightDecay\(1e-4\)"),
    "a negative seed": ({"seed": -1}, ValueError, r"found seed=-1; expected an integer in \[0, 2\*\*64\) or None"),
    "nothing to resume": ({"resume": "nowhere"}, FileNotFoundError, "nowhere"),
}


@pytest.mark.parametrize("name", FITS)
def test_runs_that_cannot_be(rbm, unchanged, name):
    options, error, match = FITS[name]
    with pytest.raises(error, match=match):
        rbm.fit(GOOD, **({"batch_size": 5} | options))


def test_a_folder_of_another_run_is_refused_before_the_machine_changes(tmp_path, rbm):
    rbm.fit(GOOD, epochs=1, batch_size=5, callbacks=[Checkpoint(tmp_path)])
    other = RBM(6, 4, device="cpu", seed=2)
    before = other.parameters.buffer.copy()
    with pytest.raises(FileExistsError, match="write resume="):
        other.fit(GOOD, epochs=1, batch_size=5, callbacks=[Checkpoint(tmp_path)])
    np.testing.assert_array_equal(other.parameters.buffer, before)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float64"])
def test_numbers_of_any_real_type_are_data(dtype):
    bits = np.random.default_rng(2).integers(0, 2, (20, 6))
    machines = [RBM(6, 4, device="cpu", seed=1) for _ in range(2)]
    for rbm, rows in zip(machines, (bits.astype(np.float32), bits.astype(dtype)), strict=True):
        rbm.fit(rows, epochs=2, batch_size=5, validation=rows)
    np.testing.assert_array_equal(machines[1].parameters.buffer, machines[0].parameters.buffer)
    np.testing.assert_array_equal(rbm.transform(bits.astype(dtype)), rbm.transform(bits.astype(np.float32)))


METHODS = {
    "free_energy": lambda rbm, v: rbm.free_energy(v),
    "mean_hidden": lambda rbm, v: rbm.mean_hidden(v),
    "hidden_field": lambda rbm, v: rbm.hidden_field(v),
    "sample_hidden": lambda rbm, v: rbm.sample_hidden(v, Stream(1)),
    "draw_hidden": lambda rbm, v: rbm.draw_hidden(v, Stream(1)),
    "up_and_down": lambda rbm, v: rbm.up_and_down(v),
    "squared_error": lambda rbm, v: rbm.squared_error(v),
    "CD": lambda rbm, v: CD(1)(rbm, v, {}, Stream(1)),
}
STATES = {
    "too wide": (np.ones((3, 7), np.float32), ValueError, r"v: found shape \(3, 7\); expected \(rows, 6\)"),
    "one row": (GOOD[0], ValueError, r"v: found shape \(6,\); expected \(rows, 6\); write v\.reshape\(1, -1\) for one row"),
    "another dtype": (GOOD.astype(np.float64), TypeError, r"v: found float64; expected float32: write v\.astype\('float32'\)"),
    "integers": (GOOD.astype(int), TypeError, r"v: found int64; expected float32: write v\.astype\('float32'\)"),
    "a list": (GOOD.tolist(), TypeError, r"found list; expected an array: write device\.asarray"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", STATES)
def test_states_that_do_not_fit(rbm, unchanged, method, name):
    states, error, match = STATES[name]
    with pytest.raises(error, match=match):
        METHODS[method](rbm, states)


def test_hidden_states_that_do_not_fit(rbm):
    for method in (rbm.mean_visible, rbm.visible_field, lambda h: rbm.sample_visible(h, Stream(1))):
        with pytest.raises(ValueError, match=r"h: found shape \(3, 6\); expected \(rows, 4\)"):
            method(np.ones((3, 6), np.float32))


def test_states_of_another_device(rbm, strict):
    with pytest.raises(MixedDevicesError, match=r"v: found an array of <device strict> .*; write model\.device\.asarray\(v\)"):
        rbm.mean_hidden(strict.asarray(GOOD))
    with pytest.raises(MixedDevicesError, match=r"v: found an array of <device cpu> for a machine on <device strict>"):
        RBM(6, 4, device=strict).free_energy(GOOD)


def test_no_rows_have_no_free_energy_and_no_gradient(rbm, unchanged):
    none = GOOD[:0]
    assert rbm.free_energy(none).shape == (0,)
    assert rbm.mean_hidden(none).shape == (0, 4)
    step = Step(rbm, PCD(chains=3), SGD(), batch_size=5, steps_per_epoch=1)
    with pytest.raises(ValueError, match="found states of no rows; expected at least one"):
        step(none)


MASK, VALUES = np.array([1, 0, 0, 1, 0, 1], bool), np.full(6, 0.5)
SAMPLES = {
    "no samples": ({"n": 0}, ValueError, "found n=0, steps=10; expected whole numbers >= 1"),
    "half samples": ({"n": 2.5}, ValueError, r"found n=2\.5, steps=10; expected whole numbers >= 1"),
    "no steps": ({"steps": 0}, ValueError, "found n=8, steps=0"),
    "a short mask": ({"clamp": (MASK[:5], VALUES)}, ValueError, r"found mask of shape \(5,\); expected \(8, 6\) or \(6,\)"),
    "a tall mask": ({"clamp": (np.ones((9, 6)), VALUES)}, ValueError, r"found mask of shape \(9, 6\); expected \(8, 6\) or"),
    "short values": ({"clamp": (MASK, VALUES[:5])}, ValueError, r"clamp: found values of shape \(5,\); expected \(8, 6\)"),
    "a grey mask": ({"clamp": (VALUES, VALUES)}, ValueError, r"a mask with values other than 0 and 1; expected booleans"),
    "a NaN in the mask": ({"clamp": (VALUES * np.nan, VALUES)}, ValueError, "a mask with values other than 0 and 1"),
    "NaN to hold": ({"clamp": (MASK, VALUES * np.nan)}, ValueError, r"clamp values\[0, 0\] is nan; expected values in"),
    "large values": ({"clamp": (MASK, VALUES * 9)}, ValueError, r"clamp values\[0, 0\] is 4\.5; expected values in"),
    "a mask alone": ({"clamp": MASK}, ValueError, r"clamp: found ndarray; expected a pair \(mask, values\)"),
    "three arrays": ({"clamp": (MASK, VALUES, 1)}, ValueError, r"clamp: found tuple; expected a pair \(mask, values\)"),
    "a short start": ({"start": GOOD[:7]}, ValueError, r"start: found shape \(7, 6\); expected \(8, 6\)"),
    "a wild start": ({"start": GOOD[:8] + 2}, ValueError, r"start\[0, 0\] is 2\..*; expected values in \[0\.0, 1\.0\]"),
    "a negative beta": ({"beta": -0.5}, ValueError, r"found beta .*-0\.5.*; expected a finite number >= 0"),
    "an infinite beta": ({"beta": np.inf}, ValueError, r"found beta .*inf.*; expected a finite number >= 0"),
    "few betas": ({"beta": [0.5, 1.0]}, ValueError, r"found beta of shape \(2,\).*; expected .* one for each of 10 steps"),
    "no betas": ({"beta": []}, ValueError, r"found beta .*; expected .* one for each of 10 steps"),
    "a seed in words": ({"seed": "one"}, ValueError, r"found seed='one'; expected an integer in \[0, 2\*\*64\)"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_that_cannot_be(rbm, unchanged, name):
    options, error, match = SAMPLES[name]
    with pytest.raises(error, match=match):
        rbm.sample(**({"n": 8, "steps": 10} | options))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"device": "tpu"}, ValueError, "found device='tpu'; expected 'cpu', 'gpu' or 'auto'"),
        ({"dtype": "float16"}, TypeError, "found dtype='float16'; expected 'float32' or 'float64'"),
        ({"dtype": "real"}, TypeError, "real"),
        ({"seed": 1.5}, ValueError, r"found seed=1\.5; expected an integer in"),
        ({"precision": "bf16"}, ValueError, "found precision='bf16' .*; expected None, or 'bfloat16' or 'tf32' with 'float32'"),
        ({"precision": "bfloat16", "dtype": "float64"}, ValueError, "found precision='bfloat16' with dtype='float64'"),
        ({"precision": "tf32", "dtype": "float64"}, ValueError, "found precision='tf32' with dtype='float64'"),
        ({"visible": 0}, ValueError, "found size=0; expected a whole number of at least 1"),
        ({"hidden": "many"}, ValueError, "found size='many'; expected a whole number of at least 1"),
    ],
)
def test_machines_that_cannot_be(options, error, match):
    with pytest.raises(error, match=match):
        RBM(**({"visible": 6, "hidden": 4, "device": "cpu"} | options))


def test_an_error_in_a_callback_leaves_whole_steps(tmp_path, rbm):
    """The parameters are those after the step before the error, and what was saved earlier is whole."""

    class Fail(Callback):
        def on_step(self, run):
            if run.step == 6:
                raise RuntimeError("the teacher tripped over the cable")

    other = RBM(6, 4, device="cpu", seed=1)
    with pytest.raises(RuntimeError, match="cable"):
        rbm.fit(GOOD, epochs=3, batch_size=5, callbacks=[Fail(), Checkpoint(tmp_path)])

    class Stop(Callback):
        def on_step(self, run):
            if run.step == 6:
                run.stop("enough")

    other.fit(GOOD, epochs=3, batch_size=5, callbacks=[Stop()])
    np.testing.assert_array_equal(rbm.parameters.buffer, other.parameters.buffer)
    whole = RBM(6, 4, device="cpu", seed=1).fit(GOOD, epochs=3, batch_size=5)
    rbm.fit(GOOD, epochs=3, batch_size=5, resume=tmp_path)
    np.testing.assert_array_equal(rbm.parameters.buffer, whole.parameters.buffer)


def test_a_full_disk_stops_the_run_with_a_whole_machine(tmp_path, rbm, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"no room for .* bytes .*Free some space or write to another disk"):
        rbm.fit(GOOD, epochs=2, batch_size=5, callbacks=[Checkpoint(tmp_path)])
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    np.testing.assert_array_equal(
        rbm.parameters.buffer, RBM(6, 4, device="cpu", seed=1).fit(GOOD, epochs=1, batch_size=5).parameters.buffer
    )


# Other than binary units.

LAYERS = {
    "groups": Softmax(3, groups=2),
    "counts": ReplicatedSoftmax(3, longest=6),
    "Gaussian": Gaussian(3),
    "ReLU": ReLU(3),
}
REALS = np.random.default_rng(3).normal(0, 1, (20, 3)).astype(np.float32)
COUNTS = np.array([[1, 0, 2], [0, 4, 0], [2, 2, 2], [1, 0, 0]] * 5)
HOT = np.eye(3)[np.random.default_rng(4).integers(3, size=(20, 2))].reshape(20, 6)
SUITABLE = {"groups": HOT, "counts": COUNTS, "Gaussian": REALS, "ReLU": np.abs(REALS)}


def changed(rows, index, value):
    rows = rows.astype(float)
    rows[index] = value
    return rows


UNITS_ROWS = {
    "a constant column": (
        "Gaussian",
        changed(REALS, (slice(None), 1), 2.5),
        r"data has constant columns \(1\).*Standardizer\(drop_constant=True\)\.fit\(data\)",
    ),
    "unscaled columns": (
        "Gaussian",
        REALS * 100 + 300,
        r"column 0 of data has mean .*write ebm\.data\.Standardizer\(\)\.fit\(data\)",
    ),
    "bytes": ("Gaussian", np.tile(np.arange(0, 250, 13, np.uint8)[:, None], 3), "Standardizer"),
    "a missing value": ("Gaussian", changed(REALS, (2, 1), np.nan), r"data\[2, 1\] is nan; .*fill in the missing values"),
    "an infinity": ("Gaussian", changed(REALS, (2, 1), np.inf), r"data\[2, 1\] is inf"),
    "a negative state": (
        "ReLU",
        changed(np.abs(REALS), (5, 2), -0.5),
        r"data\[5, 2\] is -0\.5; expected values in \[0\.0, inf\]",
    ),
    "negative counts": ("counts", changed(COUNTS, (0, 0), -1), r"data\[0, 0\] is -1\.0; expected counts, whole numbers >= 0"),
    "fractional counts": ("counts", COUNTS / 4, r"data\[0, 0\] is 0\.25; expected counts, whole numbers >= 0"),
    "an empty document": ("counts", changed(COUNTS, 3, 0), "data has 1 document without words, row 3; expected at least one"),
    "a long document": (
        "counts",
        changed(COUNTS, (7, 2), 9),
        r"data: row 7 has 10 words; expected at most 6: write ReplicatedSoftmax\(3, longest=10\)",
    ),
    "groups that do not divide the width": ("groups", HOT[:, :5], r"data has shape \(20, 5\), 5 columns; expected 6 columns"),
    "labels": ("groups", np.arange(20) % 3, r"data has shape \(20,\) and looks like labels; .* write np\.eye\(3"),
    "labels in columns": (
        "groups",
        np.tile(np.arange(20)[:, None] % 3, 6),
        r"data\[0, 0:3\] is \[0 0 0\]; expected a 1 among zeros",
    ),
    "probabilities": ("groups", np.full((20, 6), 1 / 3), r"data\[0, 0:3\] is .*; expected a 1 among zeros"),
    "two of one group": ("groups", changed(HOT, (4, slice(3, 6)), [1, 1, 0]), r"data\[4, 3:6\] is \[1\. 1\. 0\.\]"),
    "none of one group": ("groups", changed(HOT, (4, slice(0, 3)), 0), r"data\[4, 0:3\] is \[0\. 0\. 0\.\]"),
    "a sparse matrix of reals": ("Gaussian", csr_matrix(REALS), r"data is a csr_matrix; .*write data\.toarray\(\)"),
}


# What can't be learned from may well be looked at.
FOR_TRAINING_ONLY = {"a constant column", "unscaled columns", "bytes"}


@pytest.mark.parametrize("name", UNITS_ROWS)
def test_rows_that_are_no_states_of_the_units(name):
    layer, rows, match = UNITS_ROWS[name]
    rbm = RBM(LAYERS[layer], 4, device="cpu", seed=1)
    before = rbm.parameters.buffer.copy()
    with pytest.raises((TypeError, ValueError), match=match):
        rbm.fit(rows, batch_size=5)
    if name not in FOR_TRAINING_ONLY:
        for use in (lambda: rbm.fit(SUITABLE[layer], batch_size=5, validation=rows), lambda: rbm.transform(rows)):
            with pytest.raises((TypeError, ValueError), match=match.replace("data", "(data|validation)")):
                use()
    np.testing.assert_array_equal(rbm.parameters.buffer, before)
    if name in FOR_TRAINING_ONLY:
        rbm.fit(SUITABLE[layer], epochs=1, batch_size=5, validation=rows)
        assert np.isfinite(rbm.transform(rows)).all()


@pytest.mark.parametrize("layer", LAYERS)
def test_suitable_rows_are_taken(layer):
    """The twin of the test above: nothing is refused of what makes sense, and sparse counts and choices are as good as dense ones."""
    machines = [RBM(LAYERS[layer], 4, device="cpu", seed=1) for _ in range(2)]
    rows = SUITABLE[layer]
    machines[0].fit(rows, epochs=2, batch_size=5, validation=rows)
    if layer in ("groups", "counts"):
        sparse = csr_matrix(rows)
        machines[1].fit(sparse, epochs=2, batch_size=5, validation=sparse)
        np.testing.assert_array_equal(machines[1].parameters.buffer, machines[0].parameters.buffer)
        np.testing.assert_array_equal(machines[1].transform(sparse), machines[0].transform(rows))
        found = machines[1].sample(20, 2, start=sparse, seed=1)
        np.testing.assert_array_equal(found, machines[0].sample(20, 2, start=rows, seed=1))


UNITS_RUNS = {
    "stochastic binarization": (
        "Gaussian",
        {"binarization": "stochastic"},
        r"binarization='stochastic' for Gaussian\(3\); only binary",
    ),
    "stochastic words": (
        "counts",
        {"binarization": "stochastic"},
        r"for ReplicatedSoftmax\(3, longest=6\); only binary units have it",
    ),
    "centered words": ("counts", {"centered": True}, "found centered=True for word counts, .*; write centered=False"),
    "chains without documents": (
        "counts",
        {"learning": PCD(chains=7)},
        r"found PCD\(steps=1, chains=7, mean_field=10\) with batches of 5 rows .*expected as many chains, write PCD\(1\)",
    ),
}


@pytest.mark.parametrize("name", UNITS_RUNS)
def test_runs_that_the_units_rule_out(name):
    layer, options, match = UNITS_RUNS[name]
    rbm = RBM(LAYERS[layer], 4, device="cpu", seed=1)
    before = rbm.parameters.buffer.copy()
    with pytest.raises(ValueError, match=match):
        rbm.fit(SUITABLE[layer], **({"batch_size": 5} | options))
    np.testing.assert_array_equal(rbm.parameters.buffer, before)
    if "learning" in options:
        rbm.fit(SUITABLE[layer], epochs=1, batch_size=7, learning=options["learning"])


HALF = [1, 1, 0, 0, 0, 0]
UNITS_SAMPLES = {
    "part of a group": (
        "groups",
        {"clamp": (HALF, [0, 1, 0, 0, 0, 0])},
        "mask that holds a part of a group; hold all 3 columns of a",
    ),
    "two in a group": (
        "groups",
        {"clamp": ([1, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0])},
        r"clamp values\[0, 0:3\] is \[0\. 1\. 1\.\]",
    ),
    "counts to hold": (
        "counts",
        {"start": COUNTS[:8], "clamp": ([1, 0, 0], [1, 0, 0])},
        "clamp for word counts, which can't be held",
    ),
    "counts without a start": ("counts", {}, "word counts are sampled at given document lengths; write start=counts"),
    "a start without words": ("counts", {"start": 0 * COUNTS[:8]}, "start has 8 documents without words"),
    "a long start": ("counts", {"start": 4 * COUNTS[:8]}, r"start: row 2 has 24 words; expected at most 6"),
    "a negative state to hold": ("ReLU", {"clamp": ([1, 0, 0], [-1, 0, 0])}, r"clamp values\[0, 0\] is -1;"),
    "NaN to hold": ("Gaussian", {"clamp": ([1, 0, 0], [np.nan, 0, 0])}, r"clamp values\[0, 0\] is nan"),
    "an infinite start": ("Gaussian", {"start": np.full((8, 3), np.inf)}, r"start\[0, 0\] is inf"),
    "no temperature": ("Gaussian", {"beta": 0}, "found beta=0; at infinite temperature real-valued units have no distribution"),
    "none at the end": ("ReLU", {"beta": [1.0] * 9 + [0.0]}, "found beta=0; .*expected beta > 0"),
}


@pytest.mark.parametrize("name", UNITS_SAMPLES)
def test_samples_that_the_units_rule_out(name):
    layer, options, match = UNITS_SAMPLES[name]
    with pytest.raises(ValueError, match=match):
        RBM(LAYERS[layer], 4, device="cpu").sample(8, 10, **options)


def test_hidden_real_valued_units_have_no_infinite_temperature_either():
    with pytest.raises(ValueError, match="found beta=0; at infinite temperature"):
        RBM(4, Gaussian(3), device="cpu").sample(8, 2, beta=[1, 0])
    assert RBM(LAYERS["groups"], 4, device="cpu").sample(8, 2, beta=0).sum() == 16


def test_word_counts_are_visible():
    match = r"found ReplicatedSoftmax\(3, longest=6\) as layer {}; word counts can only be visible, layer 0"
    with pytest.raises(ValueError, match=match.format(1)):
        RBM(4, LAYERS["counts"], device="cpu")
    with pytest.raises(ValueError, match=match.format(2)):
        BoltzmannMachine([LAYERS["counts"], 4, LAYERS["counts"]], device="cpu")


def test_documents_fit_the_rows():
    rbm = RBM(LAYERS["counts"], 4, device="cpu")
    h = np.zeros((2, 4), np.float32)
    for use in (rbm.mean_visible, lambda h, like: rbm.sample_visible(h, Stream(1), like=like)):
        with pytest.raises(ValueError, match="found 4 documents for 2 rows; expected like=v with one document a row"):
            use(h, like=np.ones((4, 3), np.float32))
