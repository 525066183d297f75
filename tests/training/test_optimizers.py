"""Optimizers against the formulas of their papers in NumPy, array by array, and against PyTorch's."""

import numpy as np
import pytest

from ebm.compute.random import Stream
from ebm.training import L1, SGD, Adam, MaxNorm, WeightDecay
from ebm.training.parameters import Parameters
from ebm.training.schedules import Linear, momentum_ramp

SHAPES = {"weights": (7, 5), "bias.0": (7,), "bias.1": (5,)}
STEPS, STEPS_PER_EPOCH = 12, 4


class Oracle:
    """One array's update rule, in float64. `x` moves by `step(gradient, rate, momentum)`."""

    def __init__(self, x, l2=0.0, l1=0.0):
        self.x, self.l2, self.l1, self.t = np.float64(x), l2, l1, 0
        self.m, self.v = np.zeros_like(self.x), np.zeros_like(self.x)

    def penalized(self, gradient):
        self.t += 1
        return gradient + self.l2 * self.x + self.l1 * np.sign(self.x)


class SGDOracle(Oracle):
    def step(self, gradient, rate, momentum):
        self.v = momentum * self.v + self.penalized(gradient)
        self.x = self.x - rate * self.v


class NesterovOracle(Oracle):
    def step(self, gradient, rate, momentum):
        g = self.penalized(gradient)
        self.v = momentum * self.v + g
        self.x = self.x - rate * (g + momentum * self.v)


class AdamOracle(Oracle):
    b1, b2, epsilon = 0.8, 0.95, 1e-3

    def step(self, gradient, rate, momentum):
        g = self.penalized(gradient)
        self.m = self.b1 * self.m + (1 - self.b1) * g
        self.v = self.b2 * self.v + (1 - self.b2) * g**2
        m, v = self.m / (1 - self.b1**self.t), self.v / (1 - self.b2**self.t)
        self.x = self.x - rate * m / (np.sqrt(v) + self.epsilon)


RATE, RAMP = Linear(0.3, 0.1, epochs=2), momentum_ramp(0.5, 0.9, 1)
OPTIMIZERS = {
    "plain": (SGD(0.2), SGDOracle, lambda e: 0.2, lambda e: 0.0),
    "momentum": (SGD(0.2, 0.8), SGDOracle, lambda e: 0.2, lambda e: 0.8),
    "scheduled": (SGD(RATE, RAMP), SGDOracle, RATE, RAMP),
    "nesterov": (SGD(0.2, 0.8, nesterov=True), NesterovOracle, lambda e: 0.2, lambda e: 0.8),
    "nesterov scheduled": (SGD(RATE, RAMP, nesterov=True), NesterovOracle, RATE, RAMP),
    "adam": (Adam(0.1, 0.8, 0.95, epsilon=1e-3), AdamOracle, lambda e: 0.1, lambda e: 0.0),
    "adam scheduled": (Adam(RATE, 0.8, 0.95, epsilon=1e-3), AdamOracle, RATE, lambda e: 0.0),
}
each = pytest.mark.parametrize("name", OPTIMIZERS)


def begun(dtype="float64", device=None):
    parameters = Parameters(SHAPES, dtype, *([] if device is None else [device]))
    generator = np.random.default_rng(1)
    parameters.load_state_dict({name: generator.normal(size=shape) for name, shape in SHAPES.items()})
    return parameters


def gradients():
    generator = np.random.default_rng(2)
    return [{name: generator.normal(size=shape) for name, shape in SHAPES.items()} for _ in range(STEPS)]


def advance(update, steps, first=0):
    """Steps `first`, `first` + 1, ... with the gradients above."""
    dtype, device = update.parameters.dtype, update.parameters.device
    for number, gradient in list(enumerate(gradients()))[first : first + steps]:
        beta = update.begin(number / STEPS_PER_EPOCH)
        for name, g in gradient.items():
            accumulated = update.gradient[name]
            accumulated *= dtype.type(beta)
            accumulated += device.asarray(g, dtype)
        update.apply_(Stream(0, device=update.parameters.device))


@each
@pytest.mark.parametrize("penalties", [(), (WeightDecay(0.1), L1(0.05), WeightDecay(0.2))], ids=["free", "penalized"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_optimizers_follow_their_formulas(name, penalties, dtype):
    optimizer, oracle, rate, momentum = OPTIMIZERS[name]
    parameters = begun(dtype)
    norms = {"weights": (0.1 + 0.2, 0.05)} if penalties else {}
    expected = {key: oracle(value, *norms.get(key, ())) for key, value in parameters.state_dict().items()}
    advance(optimizer.start(parameters, penalties), STEPS)
    for number, gradient in enumerate(gradients()):
        epoch = number / STEPS_PER_EPOCH
        for key, g in gradient.items():
            expected[key].step(g, rate(epoch), momentum(epoch))
    tolerance = {"float32": 3e-5, "float64": 1e-12}[dtype]
    for key in SHAPES:
        np.testing.assert_allclose(parameters[key], expected[key].x, tolerance, tolerance, err_msg=key)


@pytest.mark.parametrize(
    ("optimizer", "early"),
    [
        (SGD(0.1, 0.5), {"velocity": 0.5**100}),
        (SGD(0.1, 0.5, nesterov=True), {"velocity": 0.5**100}),
        (Adam(0.1, beta1=0.5, beta2=0.6), {"first": 0.5**101, "second": 0.4 * 0.6**100}),
    ],
    ids=["momentum", "nesterov", "adam"],
)
def test_moments_end_at_zero_not_at_subnormal_numbers(optimizer, early, device):
    update = optimizer.start(begun("float32", device))
    for step in range(300):
        update.gradient.buffer[...] *= np.float32(update.begin(step))
        update.gradient.buffer[...] += np.float32(step == 0)
        update.apply_(Stream(0, device=update.parameters.device))
        if step == 100:
            for name, expected in early.items():
                np.testing.assert_allclose(device.to_host(update.moments()[name]), expected, rtol=1e-4)
    for name in early:
        np.testing.assert_array_equal(device.to_host(update.moments()[name]), 0)


@each
def test_frozen_segments_stand_still_and_rates_multiply(name):
    optimizer, oracle, rate, momentum = OPTIMIZERS[name]
    parameters = begun()
    parameters.segments["weights"].frozen = True
    parameters.segments["bias.1"].rate = 0.25
    before = parameters.state_dict()
    expected = {key: oracle(value) for key, value in before.items()}
    advance(optimizer.start(parameters, [WeightDecay(0.1), MaxNorm(0.1)]), STEPS)
    for number, gradient in enumerate(gradients()):
        epoch = number / STEPS_PER_EPOCH
        expected["bias.0"].step(gradient["bias.0"], rate(epoch), momentum(epoch))
        expected["bias.1"].step(gradient["bias.1"], 0.25 * rate(epoch), momentum(epoch))
    np.testing.assert_array_equal(parameters["weights"], before["weights"])
    for key in ("bias.0", "bias.1"):
        np.testing.assert_allclose(parameters[key], expected[key].x, rtol=1e-12)


@each
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_resumed_optimizer_goes_on_bit_for_bit(name, dtype):
    optimizer = OPTIMIZERS[name][0]
    unbroken = begun(dtype)
    advance(optimizer.start(unbroken, [WeightDecay(0.1)]), STEPS)
    first = begun(dtype)
    update = optimizer.start(first, [WeightDecay(0.1)])
    advance(update, 5)
    state, parameters = update.state_dict(), first.state_dict()
    advance(update, 1, first=5)  # what comes after the state was taken changes nothing in it
    second = begun(dtype)
    second.load_state_dict(parameters)
    resumed = optimizer.start(second, [WeightDecay(0.1)])
    advance(resumed, 1, first=5)
    second.load_state_dict(parameters)
    resumed.load_state_dict(state)
    advance(resumed, STEPS - 5, first=5)
    np.testing.assert_array_equal(second.buffer, unbroken.buffer)


def test_states_of_another_optimizer_or_model_are_refused():
    momentum, adam = SGD(0.1, 0.5).start(begun()), Adam().start(begun())
    for update, state in ((momentum, adam.state_dict()), (adam, momentum.state_dict())):
        with pytest.raises(ValueError, match=r"found the moments \[.*\] of another optimizer or model; expected \["):
            update.load_state_dict(state)
    with pytest.raises(ValueError, match=r"found the moments \['velocity'\]"):
        momentum.load_state_dict({"velocity": np.zeros(3)})


@each
def test_optimizers_wait_for_nothing_and_agree_between_devices(strict, name):
    optimizer = OPTIMIZERS[name][0]
    found = {}
    for device in (None, strict):
        parameters = begun("float32", device)
        update = optimizer.start(parameters, [WeightDecay(0.1), L1(0.01), MaxNorm(1.5)])
        before = strict.syncs
        advance(update, STEPS)
        assert strict.syncs == before
        found[device] = parameters.state_dict()
    for key in SHAPES:
        np.testing.assert_allclose(found[strict][key], found[None][key], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (SGD(0.1), "SGD", {"lr": 0.1}),
        (SGD(0.1, 0.9), "SGD", {"lr": 0.1, "momentum": 0.9}),
        (SGD(0.1, 0.9, nesterov=True), "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        (Adam(0.01), "Adam", {"lr": 0.01}),
        (Adam(0.1, 0.7, 0.9, epsilon=0.1), "Adam", {"lr": 0.1, "betas": (0.7, 0.9), "eps": 0.1}),
    ],
    ids=repr,
)
@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_optimizers_equal_those_of_pytorch(ours, theirs, options, decay):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    parameters = begun()
    weights = torch.tensor(parameters["weights"].copy(), requires_grad=True)
    peer = getattr(torch.optim, theirs)([weights], weight_decay=decay, **options)
    advance(ours.start(parameters, [WeightDecay(decay)]), STEPS)
    for gradient in gradients():
        weights.grad = torch.tensor(gradient["weights"])
        peer.step()
    np.testing.assert_allclose(parameters["weights"], weights.detach().numpy(), rtol=1e-10)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: SGD(0.0), "found learning_rate=0.0; expected a number > 0"),
        (lambda: SGD(-1), "found learning_rate=-1"),
        (lambda: SGD(np.float32(-1)), "found learning_rate=-1.0"),
        (lambda: SGD(float("nan")), "found learning_rate=nan"),
        (lambda: SGD(0.1, 1.0), r"found momentum=1\.0; expected 0 <= number < 1"),
        (lambda: SGD(0.1, -0.1), r"found momentum=-0\.1"),
        (lambda: Adam(0), "found learning_rate=0"),
        (lambda: Adam(beta1=1.0), r"found beta1=1\.0"),
        (lambda: Adam(beta2=-1), "found beta2=-1"),
        (lambda: Adam(epsilon=0), "found epsilon=0"),
    ],
)
def test_rates_out_of_range_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_a_rate_that_is_no_number_is_refused():
    for optimizer, error in ((SGD("fast"), TypeError), (SGD(float("inf")), ValueError)):
        with pytest.raises(error, match=r"found 'fast'; expected a number or a schedule|found inf; expected a finite number"):
            optimizer.start(begun())
