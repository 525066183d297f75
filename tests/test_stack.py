"""Stacks: layers in their order, what is passed up, and runs that are stopped and go on."""

import csv
import shutil
import signal

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from ebm import PCD, RBM, Stack
from ebm.training import Callback, History

ROWS = np.random.default_rng(1).random((60, 6)).astype(np.float32)
LABELS = np.eye(3, dtype=np.float32)[np.arange(60) % 3]


class Scale:
    """A model that learns a factor: no machine, without sizes. It keeps what it was given."""

    def __init__(self, factor=2.0):
        self.factor, self.fits, self.seeds = factor, [], []

    def fit(self, data, **settings):
        self.fits.append((np.array(data.toarray() if hasattr(data, "toarray") else data), settings))
        return self

    def transform(self, data, seed=None):
        assert self.fits, "found a layer that passes up before it is trained"
        self.seeds.append(seed)
        return data * self.factor

    @property
    def seen(self):
        return self.fits[-1][0]


class Sized(Scale):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.inputs, self.outputs = inputs, outputs


def interrupt_at(step):
    class Interrupt(Callback):
        def on_step(self, run):
            if run.step == step:
                signal.raise_signal(signal.SIGINT)

    return Interrupt()


def rbms(seed=1):
    return [RBM(6, 5, device="cpu", seed=seed), RBM(5, 4, device="cpu", seed=seed + 1), RBM(4, 3, device="cpu", seed=seed + 2)]


def parameters(stack):
    return np.concatenate([rbm.parameters.buffer for rbm in stack.layers])


def test_any_model_learns_from_what_the_one_below_makes():
    stack = Stack([Scale(2), Scale(4), Scale(8)])
    assert stack.fit(ROWS, epochs=7, per_layer=[{}, {"epochs": 8, "rate": 0.1}, {}]) is stack
    for layer, factor in zip(stack.layers, (1, 2, 8), strict=True):
        np.testing.assert_array_equal(layer.seen, factor * ROWS)
    assert [layer.fits[0][1] for layer in stack.layers] == [{"epochs": 7}, {"epochs": 8, "rate": 0.1}, {"epochs": 7}]
    np.testing.assert_array_equal(stack.transform(ROWS[:4]), 64 * ROWS[:4])
    assert stack.trained == 3
    assert [layer.seeds for layer in stack.layers] == [[None, None], [None, None], [None]]


def test_models_of_different_kinds_stand_on_each_other():
    stack = Stack([Scale(0.5), RBM(6, 4, device="cpu", seed=1)]).fit(ROWS, per_layer=[{}, {"epochs": 2, "batch_size": 20}])
    alone = RBM(6, 4, device="cpu", seed=1).fit(ROWS / 2, epochs=2, batch_size=20)
    np.testing.assert_array_equal(stack.layers[1].parameters.buffer, alone.parameters.buffer)
    np.testing.assert_array_equal(stack.transform(ROWS), alone.transform(ROWS / 2))


class Means:
    def fit(self, data):
        """Nothing to learn."""

    def transform(self, data):
        return data


class AnyOptions(Means):
    def transform(self, data, **options):
        return data


def test_layers_that_draw_no_samples_pass_up_means_only():
    layers = [Means(), Means()]
    Stack(layers)
    Stack([Scale(2), *layers[1:]], passed="samples")
    Stack([AnyOptions(), *layers[1:]], passed="samples")
    with pytest.raises(
        TypeError, match=r"found passed='samples' above .*, whose transform takes no seed; write passed='means'"
    ):
        Stack(layers, passed="samples")


@pytest.mark.parametrize("passed", ["means", "samples"])
def test_a_stack_of_machines_is_what_one_makes_by_hand(passed):
    stack = Stack(rbms(), passed=passed, seed=11).fit(ROWS, epochs=2, batch_size=20, validation=ROWS[:10] ** 2)
    rows, held, alone = ROWS, ROWS[:10] ** 2, rbms()
    for k, rbm in enumerate(alone):
        rbm.fit(rows, epochs=2, batch_size=20, validation=held)
        seed = {"samples": 11 + k, "means": None}[passed]
        rows, held = rbm.transform(rows, seed=seed), rbm.transform(held, seed=seed)
        assert (np.unique(rows).size == 2) == (passed == "samples")
    np.testing.assert_array_equal(parameters(stack), parameters(Stack(alone)))


def test_validation_rows_go_up_as_the_data_do():
    stack = Stack([Scale(2), Scale(3)], labels=3)
    held = np.concatenate([ROWS[:7] + 1, LABELS[:7]], axis=1)
    stack.fit(np.concatenate([ROWS, LABELS], axis=1), validation=held)
    np.testing.assert_array_equal(stack.layers[0].fits[0][1]["validation"], ROWS[:7] + 1)
    np.testing.assert_array_equal(
        stack.layers[1].fits[0][1]["validation"], np.concatenate([2 * ROWS[:7] + 2, LABELS[:7]], axis=1)
    )
    history = History()
    Stack(rbms()).fit(ROWS, epochs=1, batch_size=20, validation=ROWS[:20], per_layer=[{}, {}, {"callbacks": [history]}])
    assert "validation_reconstruction" in history.columns


@pytest.mark.parametrize("form", [np.array, csr_matrix, "mapped"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_labels_go_past_the_lower_layers(tmp_path, form, count):
    both = np.concatenate([np.round(ROWS), LABELS], axis=1)
    if form == "mapped":
        np.save(tmp_path / "rows.npy", both)
        data = np.load(tmp_path / "rows.npy", mmap_mode="r")
    else:
        data = form(both)
    stack = Stack([Scale(2) for _ in range(count)], labels=3).fit(data)
    for k, layer in enumerate(stack.layers):
        expected = 2**k * np.round(ROWS)
        np.testing.assert_array_equal(layer.seen, np.concatenate([expected, LABELS], axis=1) if k == count - 1 else expected)
    # what comes out depends on no label
    found = stack.transform(data)
    np.testing.assert_array_equal(found.toarray() if form is csr_matrix else found, 2 ** (count - 1) * np.round(ROWS))


def test_rows_to_transform_may_have_labels_or_not():
    stack = Stack([RBM(6, 4, device="cpu", seed=1), RBM(4 + 3, 2, device="cpu")], labels=3)
    with_labels = np.concatenate([ROWS, LABELS], axis=1)
    np.testing.assert_array_equal(stack.transform(ROWS), stack.layers[0].transform(ROWS))
    np.testing.assert_array_equal(stack.transform(with_labels), stack.transform(ROWS))
    assert stack.inputs == 6
    assert Stack([RBM(6 + 3, 2, device="cpu")], labels=3).inputs == 6
    assert Stack([Scale()]).inputs is None


def test_layers_are_trained_some_at_a_time():
    stack = Stack([Scale(2), Scale(4), Scale(8), Scale(16)])
    stack.fit(ROWS, layers=[0, 1])
    assert (stack.trained, [len(layer.fits) for layer in stack.layers]) == (2, [1, 1, 0, 0])
    stack.fit(ROWS, layers=(2,))
    np.testing.assert_array_equal(stack.layers[2].seen, 8 * ROWS)
    stack.fit(ROWS)
    assert (stack.trained, [len(layer.fits) for layer in stack.layers]) == (4, [1, 1, 1, 1])
    np.testing.assert_array_equal(stack.layers[3].seen, 64 * ROWS)
    stack.trained = 0
    stack.fit(ROWS)
    assert [len(layer.fits) for layer in stack.layers] == [2, 2, 2, 2]


def test_a_layer_is_added_and_trained_alone():
    stack = Stack([Scale(2), Scale(4)]).fit(ROWS)
    stack.add(Scale(8))
    assert stack.trained == 2
    stack.fit(ROWS)
    assert [len(layer.fits) for layer in stack.layers] == [1, 1, 1]
    np.testing.assert_array_equal(stack.layers[2].seen, 8 * ROWS)


@pytest.mark.parametrize(
    ("layers", "trained", "match"),
    [
        (
            [1],
            0,
            r"found layers=\[1\] where 0 of 3 are trained; expected \[0, 1, 2\], or the first of these: a layer learns from",
        ),
        ([0, 2], 0, r"found layers=\[0, 2\]"),
        ([0], 1, r"found layers=\[0\] where 1 of 3 are trained; expected \[1, 2\]"),
        ([1, 2, 3], 1, r"found layers=\[1, 2, 3\]"),
        ([], 0, r"found layers=\[\]"),
        ([2, 1], 1, r"found layers=\[2, 1\]"),
        (None, 3, r"found all 3 layers trained; add\(\.\.\.\) another, or write stack\.trained = 0"),
        ([2], 3, "found all 3 layers trained"),
    ],
)
def test_the_order_of_layers_is_kept(layers, trained, match):
    stack = Stack([Scale(), Scale(), Scale()])
    stack.trained = trained
    with pytest.raises(ValueError, match=match):
        stack.fit(ROWS, layers=layers)
    assert not any(layer.fits for layer in stack.layers)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (
            lambda: Stack([Sized(6, 5), Sized(4, 3)]),
            ValueError,
            "layer 1, .*, takes rows of 4; expected 5, what comes from below: make",
        ),
        (
            lambda: Stack([Sized(6, 5), Sized(5, 3)], labels=2),
            ValueError,
            "takes rows of 5; expected 7, what .* beside 2 labels",
        ),
        (
            lambda: Stack([Scale(), 3]),
            TypeError,
            r"found 3 without fit; expected a model with fit\(data, \*\*settings\) and transform",
        ),
        (lambda: Stack([History]), TypeError, "without fit"),
        (lambda: Stack([]), ValueError, "found no layers; expected one or more models"),
        (lambda: Stack([Scale()], passed="modes"), ValueError, "found passed='modes'; expected 'means' or 'samples'"),
        (lambda: Stack([Scale()], labels=-1), ValueError, "found labels=-1; expected a whole number of at least 0"),
        (lambda: Stack([Scale()], labels=0.5), ValueError, r"found labels=0\.5"),
        (lambda: Stack([Scale()], labels=2).add(Scale()), ValueError, "found labels at the top; .*: build the stack anew"),
    ],
)
def test_what_is_no_stack(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_a_layer_that_does_not_fit_is_not_added():
    stack = Stack([Sized(6, 5), Sized(5, 4)])
    with pytest.raises(ValueError, match=r"layer 2, .*, takes rows of 5; expected 4"):
        stack.add(Sized(5, 3))
    assert len(stack.layers) == 2


@pytest.mark.parametrize(
    ("data", "options", "match"),
    [
        (ROWS[0], {}, r"data: found shape \(6,\); expected \(rows, columns\)"),
        (ROWS.tolist(), {}, "data: found shape None"),
        (ROWS[:, :5], {}, r"data: found shape \(60, 5\); expected \(rows, 6 \+ 3 labels, one-hot\)"),
        (ROWS, {}, r"data: found shape \(60, 6\); expected \(rows, 6 \+ 3 labels, one-hot\)"),
        (np.hstack([ROWS, LABELS]), {"validation": ROWS}, r"validation: found shape \(60, 6\); expected"),
        (
            np.hstack([ROWS, LABELS]),
            {"per_layer": [{}]},
            "found 1 settings in per_layer for 2 layers; expected one mapping for each",
        ),
        (np.hstack([ROWS, LABELS]), {"resume": "there"}, r"found resume='there' for all layers.*write folder=\.\.\."),
    ],
)
def test_what_cannot_be_learned_from_reaches_no_layer(data, options, match):
    stack = Stack([Sized(6, 4), Sized(7, 2)], labels=3)
    with pytest.raises(ValueError, match=match):
        stack.fit(data, **options)
    assert (stack.trained, stack.layers[0].fits) == (0, [])


def test_rows_of_another_width_are_not_transformed():
    stack = Stack([Sized(6, 4), Sized(7, 2)], labels=3).fit(np.hstack([ROWS, LABELS]))
    for wrong in (ROWS[:, :5], ROWS[0], np.hstack([ROWS, LABELS, LABELS])):
        with pytest.raises(ValueError, match="data: found shape"):
            stack.transform(wrong)


# Folders: each layer's checkpoints and history, and what goes on from there.

OPTIONS = {"epochs": 3, "batch_size": 20, "learning": PCD(), "validation": ROWS[:20]}


def history(path):
    """The rows of a history but for the time."""
    with open(path, newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.parametrize("passed", ["means", "samples"])
def test_a_stack_that_is_stopped_goes_on_in_its_folder(tmp_path, passed):
    """Ctrl-C in the middle of an epoch of layer 1; then another object, as after a restart of Python."""
    whole, stopped = (Stack(rbms(), passed=passed, seed=5) for _ in range(2))
    whole.fit(ROWS, folder=tmp_path / "whole", **OPTIONS)
    folder = tmp_path / "a" / "stopped"  # neither of the two is there
    with pytest.raises(KeyboardInterrupt, match="stopped after step 4"):
        stopped.fit(ROWS, folder=folder, per_layer=[{}, {"callbacks": [interrupt_at(4)]}, {}], **OPTIONS)
    assert stopped.trained == 1
    assert sorted(path.name for path in folder.iterdir()) == ["layer-0", "layer-0.csv", "layer-1", "layer-1.csv"]
    shutil.copytree(folder, tmp_path / "b")
    # the object itself, and a new one, whose trained layers have other parameters and seeds
    for stack, place in ((stopped, folder), (Stack([*rbms(20)[:2], rbms()[2]], passed=passed, seed=5), tmp_path / "b")):
        stack.fit(ROWS, folder=place, **OPTIONS)
        assert stack.trained == 3
        np.testing.assert_array_equal(parameters(stack), parameters(whole))
        for k in range(3):
            rows = history(place / f"layer-{k}.csv")
            assert rows == history(tmp_path / "whole" / f"layer-{k}.csv")
            assert [row["epoch"] for row in rows] == ["1", "2", "3"]
            assert "validation_reconstruction" in rows[0]
            assert max(path.name for path in (place / f"layer-{k}").iterdir()) == "step-00000009.safetensors"


def test_a_layer_added_later_goes_on_in_the_same_folder(tmp_path):
    whole = Stack(rbms()).fit(ROWS, folder=tmp_path / "whole", **OPTIONS)
    stack = Stack(rbms()[:2]).fit(ROWS, folder=tmp_path / "part", **OPTIONS)
    stack.add(rbms()[2])
    stack.fit(ROWS, folder=tmp_path / "part", **OPTIONS)
    np.testing.assert_array_equal(parameters(stack), parameters(whole))
    # further epochs: each layer goes on from its own last checkpoint
    stack.trained = 0
    stack.fit(ROWS, folder=tmp_path / "part", **OPTIONS | {"epochs": 4})
    assert [row["epoch"] for row in history(tmp_path / "part" / "layer-0.csv")] == ["1", "2", "3", "4"]
    longer = RBM(6, 5, device="cpu", seed=1).fit(ROWS, **OPTIONS | {"epochs": 4})
    np.testing.assert_array_equal(stack.layers[0].parameters.buffer, longer.parameters.buffer)


def test_a_layer_that_was_stopped_without_a_folder_is_trained_again():
    stack = Stack(rbms())
    with pytest.raises(KeyboardInterrupt):
        stack.fit(ROWS, per_layer=[{}, {"callbacks": [interrupt_at(4)]}, {}], **OPTIONS)
    assert stack.trained == 1
    before = stack.layers[0].parameters.buffer.copy()
    stack.fit(ROWS, **OPTIONS)
    np.testing.assert_array_equal(stack.layers[0].parameters.buffer, before)
    assert stack.trained == 3


def test_the_callers_callbacks_are_kept(tmp_path):
    mine, special = History(), History()
    stack = Stack(rbms()).fit(
        ROWS, folder=tmp_path, callbacks=[mine], per_layer=[{}, {"callbacks": [special]}, {"epochs": 2}], **OPTIONS
    )
    assert [row["epoch"] for row in special.rows] == [1, 2, 3]
    assert [row["epoch"] for row in mine.rows] == [1, 2]  # of the last layer that had them
    assert len(history(tmp_path / "layer-1.csv")) == 3
    assert stack.trained == 3
