import csv
import io
import itertools
import json
import math
import signal
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from least_squares import Arrays, LeastSquares, Rows

import ebm.training.history
from ebm.training import progress
from ebm.training.callbacks import Callback, EarlyStopping, Validation
from ebm.training.checkpoints import Checkpoint
from ebm.training.divergence import DivergenceError, DivergenceGuard
from ebm.training.history import History
from ebm.training.loop import train
from ebm.training.progress import Progress
from ebm.training.tensorboard import TensorBoard


class Two:
    """Two batches per epoch: 0 and 1."""

    def __len__(self):
        return 2

    def batch(self, epoch, index):
        return index


def run_with(values, *callbacks, epochs=None, **arguments):
    """A run whose epochs have the given values of `metric` (None: not measured)."""
    values = iter([value for value in values for _ in range(2)])

    def step(batch):
        value = next(values)
        return {} if value is None else {"metric": np.array(value)}

    return train(step, Two(), epochs or 100, callbacks, **arguments)


class Watch(Callback):
    def __init__(self):
        self.metrics = []

    def on_epoch(self, run):
        self.metrics.append(dict(run.metrics))


def test_validation_comes_first_and_on_its_epochs_only():
    watch = Watch()
    validation = Validation(lambda: {"error": np.float32(0.5)}, every=2)
    run_with([1.0] * 4, watch, validation, epochs=4)
    assert watch.metrics == [{"metric": 1.0}, {"metric": 1.0, "error": 0.5}] * 2
    assert type(watch.metrics[1]["error"]) is float
    assert validation.latest == {"error": 0.5}


def test_validation_refuses_what_is_no_mapping_and_names_that_are_taken():
    with pytest.raises(TypeError, match="validation returned float; expected a mapping"):
        run_with([1.0], Validation(lambda: 0.5))
    with pytest.raises(ValueError, match=r"validation returned \['metric'\], which are metrics already"):
        run_with([1.0], Validation(lambda: {"metric": 0.5}))


def test_validation_remembers_its_values_when_resumed(tmp_path):
    run_with([1.0], Validation(lambda: {"error": 0.5}), Checkpoint(tmp_path), epochs=1)
    validation = Validation(lambda: {"error": 0.25}, every=9)
    run_with([1.0], validation, epochs=2, resume=tmp_path)
    assert validation.latest == {"error": 0.5}


@pytest.mark.parametrize("every", [0, -1, 1.5, None])
def test_counts_must_be_positive_integers(every):
    for make in (lambda n: Validation(dict, n), lambda n: EarlyStopping("x", n), lambda n: DivergenceGuard(n)):
        with pytest.raises(ValueError, match="expected an integer of at least 1"):
            make(every)


@pytest.mark.parametrize(
    ("values", "arguments", "stopped", "best"),
    [
        ([3.0, 2.0, 2.5, 2.0, 1.0], {}, 4, 2),  # equal is no improvement
        ([3.0, 2.0, 2.5, 1.0, 1.1, 1.2], {}, 6, 4),  # an improvement begins the patience anew
        ([1.0, 2.0, 1.5, 2.0, 3.0], {"minimize": False}, 4, 2),
        ([3.0, 2.0, 1.95, 1.9, 1.0], {"min_delta": 0.2}, 4, 2),
        ([3.0, 2.0, None, None], {}, 4, 2),
        ([3.0, 2.0, None, 1.0, 1.0, 1.0], {}, 6, 4),
    ],
)
def test_early_stopping(values, arguments, stopped, best):
    early = EarlyStopping("metric", patience=2, **arguments)
    run = run_with(values, early)
    assert (run.epoch, early.best.epoch, early.best.value) == (stopped, best, values[best - 1])
    assert run.stop_reason == f"metric has not improved on {early.best.value:g} since epoch {best}"


@pytest.mark.parametrize("worse", [[2.0, 2.0], [-math.inf, math.nan]])
def test_early_stopping_on_a_validation_metric_given_after_it(worse):
    values = iter([3.0, 2.0, *worse])
    early = EarlyStopping("error", patience=2)
    assert run_with([1.0] * 9, early, Validation(lambda: {"error": next(values)})).epoch == 4
    assert (early.best.epoch, early.best.value) == (2, 2.0)


def test_early_stopping_names_a_metric_that_never_comes():
    with pytest.raises(ValueError, match=r"found no finite metric 'eror' in 3 epochs; the metrics are \{'metric': 1.0\}"):
        run_with([1.0] * 9, EarlyStopping("eror", patience=3))


def test_early_stopping_serves_a_second_run():
    early = EarlyStopping("metric", patience=2)
    run_with([1.0, 1.0, 1.0], early)
    assert run_with([5.0, 4.0, 4.0, 4.0], early).epoch == 4


def test_progress_shows_epoch_time_and_the_metrics_that_matter():
    file = io.StringIO()
    bar = Progress(file, seconds=0)
    early = Validation(lambda: {"error": 0.125}, every=2)
    train(lambda batch: {"loss": np.array(batch + 1.0), "other": np.array(7.0)}, Two(), 4, [bar, early])
    assert file.getvalue().endswith("\n")
    lines = file.getvalue().split("\r")
    assert "epoch 4/4: 100%" in lines[-1]
    assert "8/8 [" in lines[-1]
    assert "loss 1.5, error 0.125]" in lines[-1]
    assert "other" not in file.getvalue()


def test_progress_of_a_resumed_run_counts_from_where_it_was(tmp_path):
    run_with([1.0] * 3, Checkpoint(tmp_path), epochs=3)
    file = io.StringIO()
    run_with([1.0], Progress(file), epochs=4, resume=tmp_path)
    assert "| 6/8 [" in file.getvalue().split("\r")[1]
    assert "100%" in file.getvalue()


def test_progress_prints_nothing_elsewhere(capsys):
    run_with([1.0, 1.0], Progress(io.StringIO()), epochs=2)
    assert capsys.readouterr() == ("", "")
    run_with([1.0, 1.0], Progress(), epochs=2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 2/2" in err


def clock(monkeypatch, module):
    """Makes each look at the clock of a module take a second."""
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=itertools.count().__next__))


def test_progress_reads_the_metrics_now_and_then(monkeypatch):
    clock(monkeypatch, progress)

    class Counted(Progress):
        shown = 0

        def _show(self, run):
            self.shown += 1

    shown = Counted(io.StringIO(), seconds=10)
    run_with([1.0] * 50, shown, epochs=50)
    assert shown.shown - 50 == 10  # beside the epochs: every tenth of 100 steps


def test_history_has_a_row_per_epoch():
    history = History()
    run_with([1.0, 3.0], history, Validation(lambda: {"error": 0.5}, every=2), epochs=2)
    assert [{**row, "seconds": 0} for row in history.rows] == [
        {"epoch": 1, "step": 2, "seconds": 0, "metric": 1.0},
        {"epoch": 2, "step": 4, "seconds": 0, "metric": 3.0, "error": 0.5},
    ]
    assert 0 <= history.rows[0]["seconds"] <= history.rows[1]["seconds"] < 10


def test_history_counts_the_seconds_of_a_resumed_run(tmp_path, monkeypatch):
    clock(monkeypatch, ebm.training.history)
    first = History()
    run_with([1.0] * 3, first, Checkpoint(tmp_path), epochs=3)  # looks twice per epoch, for the row and for the checkpoint
    second = History()
    run_with([1.0] * 2, second, epochs=5, resume=tmp_path)
    assert [row["seconds"] for row in second.rows] == [1, 3, 5, 7, 8]
    run_with([1.0] * 2, second, epochs=2)
    assert [row["seconds"] for row in second.rows] == [1, 2]


def test_history_without_epochs_is_an_empty_file(tmp_path):
    for name in ("h.csv", "h.jsonl"):
        train(lambda batch: {}, Two(), 0, [History(tmp_path / name)])
        assert (tmp_path / name).read_bytes() == b""


@pytest.mark.parametrize("live", [True, False])
def test_history_as_csv(tmp_path, live):
    path = tmp_path / "h.csv"
    history = History(path if live else None)
    run_with([1 / 3, 3.0, 4.0], history, Validation(lambda: {"error": math.nan}, every=2), epochs=3)
    if not live:
        history.to_csv(path)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "step", "seconds", "metric", "error"]
    assert [(row["epoch"], float(row["metric"]), row["error"]) for row in rows] == [
        ("1", 1 / 3, ""),
        ("2", 3, "nan"),
        ("3", 4, ""),
    ]
    assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("live", [True, False])
def test_history_as_json_lines(tmp_path, live):
    path = tmp_path / "h.jsonl"
    history = History(path if live else None)
    run_with([1.0, 3.0], history, Validation(lambda: {"error": math.inf}, every=2), epochs=2)
    if not live:
        history.to_json_lines(path)
    rows = [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]
    assert [(row["epoch"], row["metric"], row.get("error", 0)) for row in rows] == [(1, 1.0, 0), (2, 3.0, None)]


def test_history_is_on_disk_after_each_epoch(tmp_path):
    path = tmp_path / "h.jsonl"
    lines = []
    after = Callback()
    after.on_epoch = lambda run: lines.append(path.read_text().count("\n"))
    run_with([1.0] * 3, History(path), after, epochs=3)
    assert lines == [1, 2, 3]


def test_history_removes_what_a_killed_run_was_writing(tmp_path):
    (tmp_path / ".h[1].jsonl.123.tmp").touch()
    (tmp_path / ".h1.jsonl.123.tmp").touch()
    run_with([1.0], History(tmp_path / "h[1].jsonl"), epochs=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".h1.jsonl.123.tmp", "h[1].jsonl"]


def test_history_begins_anew_with_a_new_run(tmp_path):
    path = tmp_path / "h.csv"
    history = History(path)
    run_with([1.0] * 3, history, epochs=3)
    run_with([2.0], history, epochs=1)
    assert [row["metric"] for row in history.rows] == [2.0]
    assert len(path.read_text().splitlines()) == 2


def test_history_knows_two_formats():
    with pytest.raises(ValueError, match=r"h\.txt'; expected one that ends in \.csv or \.jsonl"):
        History("h.txt")


def diverging(value, at=5, entry=(1, 2)):
    model = LeastSquares()

    def step(batch):
        step.count += 1
        if step.count == at:
            model.weights[entry] = value
        return {}

    step.count = 0
    return step, model


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_guard_names_parameters_that_are_not_finite(value):
    step, model = diverging(value)
    with pytest.raises(DivergenceError) as caught:
        train(step, Rows(), 1, [DivergenceGuard(every=3)], model.state)
    message = str(caught.value)
    assert f"after step 6 (epoch 0 of 1 done) 1 of 24 entries of weights are not finite, such as {value} at [1, 2]" in message
    assert "lower the learning rate" in message
    assert "There is no checkpoint" in message
    assert isinstance(caught.value, FloatingPointError)


@pytest.mark.parametrize("last", [6, len(Rows())])
def test_a_run_without_a_guard_looks_at_the_end(last):
    """Of an epoch, and where the run is stopped in the middle of one."""
    step, model = diverging(math.nan)

    class Stop(Callback):
        def on_step(self, run):
            if run.step == 6 == last:
                run.stop("enough")

    with pytest.raises(DivergenceError, match=f"after step {last} "):
        train(step, Rows(), 2, [Stop()], model.state)


def test_a_run_without_a_guard_names_metrics_that_are_not_finite():
    with pytest.raises(DivergenceError, match=r"the metric 'metric' is nan"):
        run_with([1.0, math.nan])


def test_no_checkpoint_holds_diverged_parameters(tmp_path):
    step, model = diverging(math.nan, at=5)
    with pytest.raises(DivergenceError, match=r"after step 6 .*The last good checkpoint is .*step-00000003"):
        train(step, Rows(), 3, [Checkpoint(tmp_path, every_steps=3)], model.state)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003.safetensors"]


@pytest.mark.parametrize("value", [1001.0, -1001.0])
def test_guard_names_an_explosion(value):
    step, model = diverging(value)
    with pytest.raises(DivergenceError, match=rf"weights has grown beyond limit=1000, such as {value:g} at \[1, 2\]"):
        train(step, Rows(), 1, [DivergenceGuard(every=5)], model.state)
    step, model = diverging(value)
    assert train(step, Rows(), 1, [DivergenceGuard(every=5, limit=1002)], model.state).epoch == 1


def test_guard_names_metrics_during_and_after_an_epoch():
    with pytest.raises(DivergenceError, match=r"after step 1 .* the metric 'metric' is nan"):
        run_with([math.nan], DivergenceGuard(every=1))
    with pytest.raises(DivergenceError, match=r"after step 2 .* the metric 'error' is inf"):
        run_with([1.0], DivergenceGuard(), Validation(lambda: {"error": math.inf}))


def test_guard_keeps_diverged_parameters_out_of_checkpoints(tmp_path):
    step, model = diverging(math.nan, at=25)
    callbacks = [Checkpoint(tmp_path, every_steps=3), DivergenceGuard(every=1000)]
    with pytest.raises(DivergenceError, match=r"after step 27 .* The last good checkpoint is .*step-00000024\.safetensors"):
        train(step, Rows(), 3, callbacks, model.state)
    assert max(path.name for path in tmp_path.iterdir()) == "step-00000024.safetensors"


def test_guard_of_an_interrupted_run_prevents_the_last_checkpoint(tmp_path):
    step, model = diverging(math.nan, at=2)

    def interrupted(batch):
        if step.count == 2:
            signal.raise_signal(signal.SIGINT)
        return step(batch)

    with pytest.raises(DivergenceError, match="after step 3"):
        train(interrupted, Rows(), 1, [Checkpoint(tmp_path), DivergenceGuard()], model.state)
    assert not list(tmp_path.iterdir())


def test_guard_passes_over_empty_and_integer_arrays():
    state = {"parameters": Arrays(none=np.zeros((0, 3)), counts=np.arange(3))}
    assert train(lambda batch: {}, Rows(), 1, [DivergenceGuard(every=1)], state).epoch == 1


def test_an_exploding_run_is_stopped_before_its_end():
    model = LeastSquares(rate=3.0)
    with pytest.raises(DivergenceError, match="beyond limit"), np.errstate(all="ignore"):
        train(model.step, Rows(), 10, [DivergenceGuard(every=10)], model.state)
    assert np.isfinite(model.weights).all()  # seen while the numbers still tell something


def scalars(directory):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(directory))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_shows_metrics_of_epochs(tmp_path):
    pytest.importorskip("tensorboard")
    seen = []
    after = Callback()
    after.on_epoch = lambda run: seen.append(len(scalars(tmp_path / "logs")["metric"]))
    threads = threading.active_count()
    run_with([1.0, 3.0], TensorBoard(tmp_path / "logs"), after, Validation(lambda: {"error": 0.5}, every=2), epochs=2)
    assert seen == [1, 2]
    assert threading.active_count() == threads
    assert scalars(tmp_path / "logs") == {"metric": [(2, 1.0), (4, 3.0)], "error": [(4, 0.5)]}


def test_tensorboard_shows_epochs_of_a_resumed_run_once(tmp_path):
    pytest.importorskip("tensorboard")

    def killed(run):
        if run.epoch == 3:
            raise RuntimeError

    killer = Callback()
    killer.on_epoch = killed
    with pytest.raises(RuntimeError):
        run_with([1.0, 2.0, 3.0], TensorBoard(tmp_path), Checkpoint(tmp_path / "c", every_epochs=2), killer)
    assert scalars(tmp_path)["metric"] == [(2, 1.0), (4, 2.0), (6, 3.0)]
    run_with([30.0, 40.0], TensorBoard(tmp_path), Checkpoint(tmp_path / "c"), epochs=4, resume=tmp_path / "c")
    assert scalars(tmp_path)["metric"] == [(2, 1.0), (4, 2.0), (6, 30.0), (8, 40.0)]


def test_tensorboard_names_the_missing_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    with pytest.raises(ImportError, match=r"pip install 'ebm-toolkit\[tensorboard\]'"):
        run_with([1.0], TensorBoard(tmp_path))
