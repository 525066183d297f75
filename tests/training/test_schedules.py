import math
import pickle

import numpy as np
import pytest

from ebm.training import SGD, Adam
from ebm.training.parameters import Parameters
from ebm.training.schedules import Constant, Cosine, GrowingMomentum, InverseTime, Linear, Piecewise, as_schedule, momentum_ramp

ALL = [
    Constant(0.1),
    Linear(0.1, 0.0, 4),
    Cosine(0.1, 0.0, 4),
    Piecewise((0.1, 0.01), (4,)),
    InverseTime(0.1, 4),
    momentum_ramp(),
    GrowingMomentum(),
]


def test_constant():
    assert [Constant(0.3)(t) for t in (0, 1.5, 1e6)] == [0.3] * 3


def test_linear():
    assert [Linear(1, 0, 4)(t) for t in (0, 1, 3.5, 4, 5)] == [1, 0.75, 0.125, 0, 0]
    assert Linear(0.1, 0.9, 4)(2) == pytest.approx(0.5)


def test_cosine():
    np.testing.assert_allclose([Cosine(1, 0.2, 6)(t) for t in (0, 2, 3, 6, 100)], [1, 0.8, 0.6, 0.2, 0.2])


def test_step_takes_the_new_value_at_its_epoch():
    schedule = Piecewise((3, 2, 1), (1, 2.5))
    assert [schedule(t) for t in (0, 0.999, 1, 2.499, 2.5, 9)] == [3, 3, 2, 2, 1, 1]


def test_momentum_ramp():
    assert [momentum_ramp()(t) for t in (0, 4.99, 5, 20)] == [0.5, 0.5, 0.9, 0.9]


def test_growing_momentum_is_sutskevers():
    """Their formula in updates, 250 of which are half an epoch here; up to the limit."""
    schedule = GrowingMomentum(0.995, every=0.5)
    for update in (0, 249, 250, 1000, 12_345, 10**6):
        expected = min(1 - 2 ** (-1 - math.log2(update // 250 + 1)), 0.995)
        assert schedule(update / 500) == pytest.approx(expected)
    with pytest.raises(ValueError, match="expected 0 <= limit < 1"):
        GrowingMomentum(1.0)


def test_inverse_time():
    assert [InverseTime(1, 2)(t) for t in (0, 2, 6)] == [1, 0.5, 0.25]
    assert InverseTime(1, 2, power=0.5)(6) == pytest.approx(0.5)
    assert 1e9 * InverseTime(3, 2)(1e9) == pytest.approx(6)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_schedules_are_values(schedule):
    same = pickle.loads(pickle.dumps(schedule))
    assert same == schedule == eval(repr(schedule))
    assert hash(same) == hash(schedule)


@pytest.mark.parametrize("number", [0.1, 1, np.float32(0.5)])
def test_a_number_is_a_constant(number):
    assert as_schedule(number) == Constant(float(number))


def test_a_schedule_is_itself():
    schedule = Linear(1, 0, 2)
    assert as_schedule(schedule) is schedule


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.5])
@pytest.mark.parametrize("optimizer", ["rate", "momentum", "Nesterov", "Adam"])
def test_an_optimizer_takes_no_other_values_of_a_schedule(value, optimizer):
    schedule, name = Piecewise((0.5, value), (1,)), "momentum" if optimizer in ("momentum", "Nesterov") else "learning_rate"
    update = {
        "rate": lambda: SGD(schedule),
        "momentum": lambda: SGD(0.1, schedule),
        "Nesterov": lambda: SGD(0.1, schedule, nesterov=True),
        "Adam": lambda: Adam(schedule),
    }[optimizer]().start(Parameters({"weights": (3, 2)}))
    update.begin(0.5)
    with pytest.raises(ValueError, match=rf"found {name}={value} after 1.5 epochs; expected a schedule of finite numbers >= 0"):
        update.begin(1.5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_refuses_numbers_that_are_not_finite(value):
    with pytest.raises(ValueError, match="expected a finite number"):
        as_schedule(value)


@pytest.mark.parametrize("value", ["fast", None, [1]])
def test_refuses_what_is_neither(value):
    with pytest.raises(TypeError, match="a number or a schedule, such as"):
        as_schedule(value)


@pytest.mark.parametrize(("values", "epochs"), [((1, 2), ()), ((1,), (1,)), ((1, 2, 3), (5, 5)), ((1, 2, 3), (5, 4))])
def test_refuses_steps_that_do_not_fit(values, epochs):
    with pytest.raises(ValueError, match="one value more than epochs"):
        Piecewise(values, epochs)


@pytest.mark.parametrize(
    "make", [lambda: Linear(1, 0, 0), lambda: Cosine(1, 0, -1), lambda: InverseTime(1, 0), lambda: InverseTime(1, 1, math.nan)]
)
def test_refuses_durations_that_are_not_positive(make):
    with pytest.raises(ValueError, match="expected a positive number"):
        make()
