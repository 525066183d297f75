import signal
import threading

import numpy as np
import pytest

from ebm.training.callbacks import Callback
from ebm.training.loop import train


class Counted:
    """Batches that are their own addresses."""

    def __init__(self, length=3):
        self.length = length

    def __len__(self):
        return self.length

    def batch(self, epoch, index):
        return epoch, index


class Recorder(Callback):
    def __init__(self, log, name="", fail=None):
        self.log = log
        self.name = name
        self.fail = fail

    def _record(self, event, run):
        self.log.append(f"{self.name}{event}")
        if event == self.fail:
            raise RuntimeError(f"{self.name}failed")

    def on_start(self, run):
        self._record("start", run)

    def on_step(self, run):
        self._record("step", run)

    def on_epoch(self, run):
        self._record("epoch", run)

    def on_end(self, run):
        self._record("end", run)


class First(Recorder):
    order = -1


class EveryStep(Callback):
    def __init__(self, function):
        self.on_step = function


def nothing(batch):
    return {}


def test_batches_come_in_order():
    seen = []
    run = train(lambda batch: seen.append(batch) or {}, Counted(2), 3)
    assert seen == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert (run.step, run.epoch, run.steps_per_epoch, run.epochs, run.stop_reason) == (6, 3, 2, 3, None)


def test_no_epochs_call_no_step():
    log = []
    assert train(lambda batch: pytest.fail("a step"), Counted(), 0, [Recorder(log)]).step == 0
    assert log == ["start", "end"]


def test_numpy_counts_epochs_too():
    assert type(train(nothing, Counted(), np.int64(2)).epochs) is int


def test_callbacks_come_in_order_and_end_in_reverse():
    log = []
    train(nothing, Counted(2), 1, [Recorder(log, "b "), First(log, "a "), Recorder(log, "c ")])
    expected = ["a start", "b start", "c start", *["a step", "b step", "c step"] * 2, "a epoch", "b epoch", "c epoch"]
    assert log == [*expected, "c end", "b end", "a end"]


def test_every_started_callback_ends_whatever_fails():
    log = []
    with pytest.raises(RuntimeError, match="a failed"):
        train(nothing, Counted(), 1, [Recorder(log, "a ", "end"), Recorder(log, "b ", "end")])
    assert log[-2:] == ["b end", "a end"]
    log.clear()
    with pytest.raises(RuntimeError, match="b failed"):
        train(nothing, Counted(), 1, [Recorder(log, "a "), Recorder(log, "b ", "start"), Recorder(log, "c ")])
    assert log == ["a start", "b start", "a end"]


def test_callbacks_see_the_error_of_a_step():
    errors = []
    callback = Callback()
    callback.on_end = lambda run: errors.append((run.error, run.step))

    def step(batch):
        if batch == (1, 1):
            raise ZeroDivisionError
        return {}

    with pytest.raises(ZeroDivisionError) as caught:
        train(step, Counted(), 2, [callback])
    assert errors == [(caught.value, 4)]


def test_stop_ends_the_run_after_the_step_and_keeps_the_first_reason():
    def stop(run):
        if run.step == 4:
            run.stop("enough")
            run.stop("more than enough")

    run = train(nothing, Counted(), 10, [EveryStep(stop)])
    assert (run.step, run.epoch, run.stop_reason) == (4, 1, "enough")


def test_a_stop_at_the_start_prevents_the_first_step():
    callback = Callback()
    callback.on_start = lambda run: run.stop("no")
    assert train(nothing, Counted(), 1, [callback]).step == 0


@pytest.mark.parametrize("shape", [(), (1,)])
def test_metrics_are_means_of_the_epoch_though_steps_reuse_their_arrays(shape):
    buffer = np.zeros(shape, np.float32)

    def step(batch):
        buffer[...] = 10 * batch[0] + batch[1]
        return {"x": buffer}

    seen = []
    callback = Callback()
    callback.on_epoch = lambda run: seen.append(run.metrics)
    train(step, Counted(3), 2, [callback])
    assert seen == [{"x": 1.0}, {"x": 11.0}]
    assert type(seen[0]["x"]) is float


def test_steps_that_do_not_measure_do_not_count():
    def step(batch):
        epoch, index = batch
        return {"x": np.array(float(index))} if epoch == 0 and index % 2 else {}

    metrics = []
    callback = Callback()
    callback.on_epoch = lambda run: metrics.append(run.metrics)
    train(step, Counted(4), 2, [callback])
    assert metrics == [{"x": 2.0}, {}]


def test_numbers_of_the_host_are_metrics_too():
    run = train(lambda batch: {"a": 1.5, "b": np.float32(2.5), "c": 3}, Counted(2), 1)
    assert run.metrics == {"a": 1.5, "b": 2.5, "c": 3.0}


def test_sums_lose_nothing_of_float32():
    run = train(lambda batch: {"x": np.array(1e8 if batch[1] == 0 else 1.0, np.float32)}, Counted(1001), 1)
    assert run.metrics["x"] == (1e8 + 1000) / 1001


def test_current_metrics_are_those_of_the_running_epoch():
    seen = []
    train(
        lambda batch: {"x": np.array(10.0 * batch[0] + batch[1])},
        Counted(2),
        2,
        [EveryStep(lambda run: seen.append((run.current_metrics(), dict(run.metrics))))],
    )
    assert seen == [({"x": 0.0}, {}), ({"x": 0.5}, {"x": 0.5}), ({"x": 10.0}, {"x": 0.5}), ({"x": 10.5}, {"x": 10.5})]


def test_refuses_metrics_that_are_no_scalars():
    with pytest.raises(ValueError, match=r"metric 'x' has shape \(2,\)"):
        train(lambda batch: {"x": np.zeros(2)}, Counted(), 1)
    with pytest.raises(TypeError, match="expected an array"):
        train(lambda batch: {"x": "low"}, Counted(), 1)
    with pytest.raises(TypeError, match="the step returned NoneType"):
        train(lambda batch: None, Counted(), 1)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_the_loop_reads_from_the_device_once_per_metric_and_epoch(strict, shape):
    buffer, one = strict.zeros(shape, np.float32), strict.asarray(np.ones(1))
    strict.uploads = 0

    def step(batch):
        buffer[...] = batch[1]
        return {"x": buffer, "y": one}

    reads = []
    run = train(step, Counted(50), 3, [EveryStep(lambda run: reads.append(strict.syncs))])
    assert run.metrics == {"x": 24.5, "y": 1.0}
    assert reads[48:50] == [0, 2]
    assert (strict.syncs, strict.uploads) == (6, 0)


@pytest.mark.parametrize(("batches", "epochs", "error"), [(0, 1, ValueError), (3, -1, ValueError), (3, 1.5, TypeError)])
def test_refuses_runs_without_a_length(batches, epochs, error):
    with pytest.raises(error):
        train(nothing, Counted(batches), epochs)


def test_ctrl_c_waits_for_the_step_and_its_callbacks():
    finished = []
    log = []

    def step(batch):
        if batch == (1, 2):
            signal.raise_signal(signal.SIGINT)
        finished.append(batch)
        return {"x": np.array(1.0)}

    with pytest.raises(KeyboardInterrupt, match=r"stopped after step 6 \(epoch 2 of 5 done\)$"):
        train(step, Counted(3), 5, [Recorder(log)])
    assert finished[-1] == (1, 2)
    assert log[-3:] == ["step", "epoch", "end"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_callbacks_see_an_interruption_as_a_stop_without_error():
    ends = []
    callback = EveryStep(lambda run: signal.raise_signal(signal.SIGINT))
    callback.on_end = lambda run: ends.append((run.stop_reason, run.error))
    with pytest.raises(KeyboardInterrupt):
        train(nothing, Counted(), 1, [callback])
    assert ends == [("interrupted", None)]


def test_a_second_ctrl_c_takes_effect_at_once():
    errors = []
    callback = Callback()
    callback.on_end = lambda run: errors.append((type(run.error), run.step))

    def step(batch):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("not interrupted")

    with pytest.raises(KeyboardInterrupt):
        train(step, Counted(), 1, [callback])
    assert errors == [(KeyboardInterrupt, 0)]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_while_the_run_ends_is_not_lost():
    callback = Callback()
    callback.on_end = lambda run: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="after step 3"):
        train(nothing, Counted(), 1, [callback])


def test_the_handler_of_the_program_stays():
    pressed = []
    previous = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        run = train(nothing, Counted(), 1, [EveryStep(lambda run: signal.raise_signal(signal.SIGINT))])
    finally:
        signal.signal(signal.SIGINT, previous)
    assert run.step == len(pressed) == 3


def test_off_the_main_thread_nothing_is_installed():
    handlers = []
    thread = threading.Thread(
        target=lambda: train(nothing, Counted(), 1, [EveryStep(lambda run: handlers.append(signal.getsignal(signal.SIGINT)))])
    )
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler] * 3
