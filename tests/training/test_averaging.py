"""The mean of the parameters: its values, its noise, its place in checkpoints, and that training never sees it."""

import math
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from strict import steps_without_waiting

from ebm import CD, PCD, RBM, data
from ebm.data.minibatches import Minibatches
from ebm.learning import Step
from ebm.training import SGD, Callback, Checkpoint, PolyakAverage, Validation
from ebm.training.loop import train
from ebm.training.parameters import Parameters


class Counted:
    """`count` batches per epoch, which say how many came before them."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def batch(self, epoch, index):
        return epoch * self.count + index


class Each(Callback):
    """Calls a function after each step."""

    def __init__(self, function):
        self.on_step = function


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, run):
        if run.step == self.step:
            run.stop("enough")


def follow(path, *callbacks, epochs=3, **options):
    """A run whose parameters after step k (from 1) are path(k)."""
    parameters = Parameters({"weights": (3, 2), "bias": (5,)}, np.float64)

    def step(k):
        parameters["weights"][...] = path(k + 1)
        parameters["bias"][...] = -path(k + 1)
        return {}

    train(step, Counted(4), epochs, callbacks, {"parameters": parameters}, **options)
    return parameters


@pytest.mark.parametrize(("start", "first"), [(0, 1), (1, 5), (1.5, 7), (2.75, 12)])
def test_the_mean_is_that_of_all_steps_after_the_start(start, first):
    average = PolyakAverage(start)
    follow(lambda k: 2.0 + 3.0 * k, average)
    mean = np.mean([2.0 + 3.0 * k for k in range(first, 13)])
    np.testing.assert_allclose(average.parameters["weights"], np.full((3, 2), mean), rtol=1e-14)
    np.testing.assert_allclose(average.parameters["bias"], np.full(5, -mean), rtol=1e-14)
    assert average.count == 13 - first


def test_the_exponential_mean_is_the_plain_one_until_its_memory_is_full():
    found = []
    average = PolyakAverage(start=1, decay=0.75)
    follow(math.sqrt, average, Each(lambda run: found.append(average.parameters["bias"][0])))
    values = np.sqrt(np.arange(5, 13))
    # four steps of weight 1/4, from then on each a quarter of what comes and three of what was
    weights = np.full(4, 0.25)
    expected = [values[:n].mean() for n in range(1, 5)]
    for n in range(5, 9):
        weights = np.append(0.75 * weights, 0.25)
        expected.append(weights @ values[:n])
    np.testing.assert_allclose(found[4:], -np.array(expected), rtol=1e-14)


def test_up_to_its_start_the_mean_is_the_model():
    seen = []
    average = PolyakAverage(start=2)
    watch = Each(lambda run: seen.append(float(average.parameters["weights"][2, 1])))
    parameters = follow(float, average, watch)
    assert seen == [1, 2, 3, 4, 5, 6, 7, 8, 9, 9.5, 10, 10.5]
    # a run that never came to the start leaves the model as it is
    late = PolyakAverage(start=9)
    parameters = follow(float, late)
    late.apply_()
    assert (late.count, parameters["weights"][0, 0], late.parameters["weights"][0, 0]) == (0, 12, 12)


def test_a_parameter_that_stands_still_keeps_every_bit():
    average = PolyakAverage()
    parameters = follow(lambda k: 0.1, average, epochs=50)
    np.testing.assert_array_equal(average.parameters["weights"], parameters["weights"])


def noisy_descent(average, steps, rate=0.1, size=4000):
    """SGD on x^2 / 2 with unit normal noise on the gradient, from its stationary distribution; the last x and the mean."""
    generator = np.random.default_rng(7)
    parameters = Parameters({"x": (size,)}, np.float32)
    parameters["x"][...] = generator.normal(0, math.sqrt(rate / (2 - rate)), size)

    def step(batch):
        x = parameters["x"]
        x -= np.float32(rate) * (x + generator.normal(size=size).astype(np.float32))
        return {}

    train(step, Counted(steps), 1, [average], {"parameters": parameters})
    return parameters["x"], average.parameters["x"]


def test_the_noise_is_lower_by_the_factors_of_theory():
    """The iterates are AR(1) with correlation r = 1 - rate, at variance rate / (2 - rate)."""
    rate, steps, decay = 0.1, 400, 0.98
    r, variance = 1 - rate, rate / (2 - rate)
    five_errors = 5 * math.sqrt(2 / 4000)
    last, mean = noisy_descent(PolyakAverage(), steps, rate)
    assert last.var() == pytest.approx(variance, rel=five_errors)
    # exactly, and about 1 / steps, whatever the rate
    of_mean = variance / steps * ((1 + r) / (1 - r) - 2 * r * (1 - r**steps) / (steps * (1 - r) ** 2))
    assert of_mean == pytest.approx(1 / steps, rel=0.06)
    assert mean.var() == pytest.approx(of_mean, rel=five_errors)
    _, mean = noisy_descent(PolyakAverage(decay=decay), steps, rate)
    assert mean.var() == pytest.approx(
        variance * (1 - decay) / (1 + decay) * (1 + r * decay) / (1 - r * decay), rel=five_errors
    )


ROWS = data.load("digits")[0].images[:200]
OPTIONS = {"epochs": 4, "batch_size": 40, "learning": PCD(), "optimizer": SGD(0.1, 0.5)}


def fit(*callbacks, **options):
    return RBM(64, 10, device="cpu", seed=1).fit(ROWS, callbacks=callbacks, **(OPTIONS | options))


@pytest.mark.parametrize("decay", [None, 0.8])
@pytest.mark.parametrize("stop", [3, 10, 14, 20])
def test_a_resumed_mean_equals_an_unbroken_one(tmp_path, stop, decay):
    whole, resumed = (PolyakAverage(start=2, decay=decay) for _ in range(2))
    machine = fit(whole)
    fit(PolyakAverage(start=2, decay=decay), Checkpoint(tmp_path), StopAt(stop))
    fit(resumed, resume=tmp_path)
    np.testing.assert_array_equal(resumed.parameters.buffer, whole.parameters.buffer)
    assert resumed.count == whole.count == 10
    assert np.abs(whole.parameters.buffer - machine.parameters.buffer).max() > 1e-3


def test_a_new_run_and_the_checkpoint_of_one_without_a_mean_start_it_anew(tmp_path):
    used, fresh = PolyakAverage(), PolyakAverage()
    fit(used, epochs=3)
    fit(used, Checkpoint(tmp_path / "with"), StopAt(6))
    fit(fresh, StopAt(6))
    np.testing.assert_array_equal(used.parameters.buffer, fresh.parameters.buffer)
    assert used.count == 6
    fit(used, resume=tmp_path / "with")
    assert used.count == 20
    fit(Checkpoint(tmp_path / "without"), StopAt(15))
    fit(used, resume=tmp_path / "without")
    assert used.count == 5
    # as when a resumed run is refused after this callback has its state
    used.load_state_dict(fresh.state_dict())
    fit(used, StopAt(2))
    assert used.count == 2


def test_a_run_without_steps_leaves_the_model_as_it_began():
    average = PolyakAverage()
    rbm = fit(average, epochs=0)
    average.apply_()
    assert rbm.visible.bias.any()  # set from the data when the run starts
    np.testing.assert_array_equal(average.parameters["weights"], rbm.weights)


def test_training_never_sees_the_mean():
    plain = fit()
    average, rbm, seen = PolyakAverage(start=1), RBM(64, 10, device="cpu", seed=1), []

    def validate():
        machine = rbm.with_parameters(average.parameters)
        seen.append(np.array(machine.weights))
        return {"mean": float(machine.free_energy(ROWS[:50]).mean()), "last": float(rbm.free_energy(ROWS[:50]).mean())}

    metrics = []
    record = Callback()
    record.on_epoch = lambda run: metrics.append(dict(run.metrics))
    rbm.fit(ROWS, callbacks=[average, Validation(validate), record], **OPTIONS)
    np.testing.assert_array_equal(rbm.parameters.buffer, plain.parameters.buffer)
    assert metrics[0]["mean"] == metrics[0]["last"]  # up to the start they are the same
    assert all(m["mean"] != m["last"] for m in metrics[1:])
    assert not np.array_equal(seen[-1], seen[-2])
    average.apply_()
    np.testing.assert_array_equal(rbm.weights, seen[-1])
    np.testing.assert_array_equal(rbm.parameters.buffer, average.parameters.buffer)


@pytest.mark.parametrize("ending", ["error", "interrupt"])
def test_whatever_ends_a_run_leaves_the_model_its_own_parameters(ending):
    average, rbm = PolyakAverage(), RBM(64, 10, device="cpu", seed=1)

    def end(run):
        if run.step == 7:
            with pytest.raises(RuntimeError, match=r"apply_\(\) during training, .*; write machine.with_parameters"):
                average.apply_()
            if ending == "error":
                raise ZeroDivisionError
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(ZeroDivisionError if ending == "error" else KeyboardInterrupt):
        rbm.fit(ROWS, callbacks=[average, Each(end)], **OPTIONS)
    np.testing.assert_array_equal(rbm.parameters.buffer, fit(StopAt(7)).parameters.buffer)
    average.apply_()
    np.testing.assert_array_equal(rbm.parameters.buffer, average.parameters.buffer)


def test_averaging_waits_for_nothing(strict):
    rbm, average = RBM(64, 10, device=strict, seed=1), PolyakAverage(decay=0.6)
    batches = Minibatches(ROWS, 40, device=strict)
    step = Step(rbm, CD(), SGD(0.1, 0.5), batch_size=40, steps_per_epoch=5)
    run = SimpleNamespace(state=step.stateful(), step=0, steps_per_epoch=5)
    average.on_start(run)
    iterates = []

    def both(batch):
        metrics = step(batch)
        run.step += 1
        average.on_step(run)
        iterates.append(rbm.weights.copy())
        return metrics

    both.machine = rbm
    steps_without_waiting(strict, both, batches, 0)
    first, second, third = (strict.to_host(x).astype(np.float64) for x in iterates)
    mean = strict.to_host(average.parameters["weights"])
    np.testing.assert_allclose(mean, 0.3 * first + 0.3 * second + 0.4 * third, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"start": -1}, "found start=-1; expected a number of epochs"),
        ({"start": math.nan}, "found start=nan"),
        ({"start": math.inf}, "found start=inf"),
        ({"decay": 0}, "found decay=0; expected a number between 0 and 1"),
        ({"decay": 1.0}, "found decay=1.0"),
        ({"decay": math.nan}, "found decay=nan"),
    ],
)
def test_bad_arguments_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        PolyakAverage(**arguments)


def test_without_a_run_or_parameters_there_is_no_mean():
    average = PolyakAverage()
    for use in (average.apply_, lambda: average.parameters):
        with pytest.raises(RuntimeError, match=r"found an average of no run; write fit\(\.\.\., callbacks=\[average\]\) first"):
            use()
    with pytest.raises(ValueError, match=r"found NoneType as the parameters of a run with the state \[\]; expected Parameters"):
        train(lambda batch: {}, Counted(2), 1, [average])
