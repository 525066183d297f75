import numpy as np
import pytest

from ebm.compute.device import CPU
from ebm.compute.random import Stream
from ebm.training import L1, SGD, MaxNorm, SparsityTarget, WeightDecay
from ebm.training.parameters import Parameters


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_max_norm_shortens_long_columns_and_leaves_the_others(dtype):
    weights = np.array([[3.0, 0.3, 0.0, 1e-3], [4.0, -0.4, 0.0, 0.0]], dtype)
    before = weights.copy()
    MaxNorm(1.0).constrain_(weights)
    np.testing.assert_allclose(weights[:, 0], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(weights[:, 1:], before[:, 1:])
    assert weights.dtype == dtype


def test_max_norm_holds_after_each_step_for_weights_alone():
    parameters = Parameters({"weights": (4, 3), "bias": (4,)})
    update = SGD(1.0).start(parameters, [MaxNorm(0.7)])
    for _ in range(3):
        update.begin(0.0)
        update.gradient["weights"][...] = np.arange(12).reshape(4, 3) - 4.0
        update.gradient["bias"][...] = -2.0
        update.apply_(Stream(0, device=update.parameters.device))
        np.testing.assert_allclose(np.linalg.norm(parameters["weights"], axis=0), [0.7] * 3, rtol=1e-6)
    np.testing.assert_array_equal(parameters["bias"], [6.0] * 4)


def test_norm_penalties_are_the_gradients_of_what_they_say():
    """d/dW (rate / 2 sum W^2) and d/dW (rate sum |W|), by one plain step without any other gradient."""
    generator = np.random.default_rng(1)
    for penalty, objective in (
        (WeightDecay(0.3), lambda W: 0.3 / 2 * (W**2).sum()),
        (L1(0.3), lambda W: 0.3 * np.abs(W).sum()),
    ):
        parameters = Parameters({"weights": (4, 3), "bias": (3,)}, "float64", CPU)
        parameters.load_state_dict({"weights": generator.normal(size=(4, 3)), "bias": np.ones(3)})
        before = parameters.state_dict()
        update = SGD(1.0).start(parameters, [penalty])
        update.begin(0.0)
        update.apply_(Stream(0, device=update.parameters.device))
        h, W = 1e-6, before["weights"]
        for i in np.ndindex(W.shape):
            e = np.zeros_like(W)
            e[i] = h
            expected = (objective(W + e) - objective(W - e)) / (2 * h)
            assert before["weights"][i] - parameters["weights"][i] == pytest.approx(expected, abs=1e-8)
        np.testing.assert_array_equal(parameters["bias"], before["bias"])


def test_l1_leaves_zeros_at_zero():
    parameters = Parameters({"weights": (2, 2)}, "float64", CPU)
    update = SGD(1.0).start(parameters, [L1(0.5)])
    update.begin(0.0)
    update.apply_(Stream(0, device=update.parameters.device))
    assert not parameters.buffer.any()


def test_the_sparsity_target_pulls_along_the_cross_entropy_of_its_running_mean():
    generator = np.random.default_rng(2)
    penalty = SparsityTarget(0.2, strength=0.5, decay=0.7)
    running = np.full(6, 0.2)
    q = running.copy()
    for _ in range(4):
        mean = generator.random((9, 6))
        kept = mean.copy()
        pull = penalty.pull(mean, running)
        q = 0.7 * q + 0.3 * kept.mean(axis=0)
        np.testing.assert_allclose(running, q, rtol=1e-14)
        np.testing.assert_allclose(pull, 0.5 * (0.2 - q), rtol=1e-14)
        np.testing.assert_array_equal(mean, kept)
    # Hinton 2010, section 11: with q = logistic(field), d/dfield of -(p ln q + (1 - p) ln (1 - q)) is q - p
    field, h, p = 0.3, 1e-5, 0.2

    def cross_entropy(field):
        q = 1 / (1 + np.exp(-field))
        return -(p * np.log(q) + (1 - p) * np.log(1 - q))

    slope = (cross_entropy(field + h) - cross_entropy(field - h)) / (2 * h)
    q = 1 / (1 + np.exp(-field))
    direct = SparsityTarget(p, strength=1.0, decay=0.0).pull(np.full((3, 1), q), np.zeros(1))
    assert -direct[0] == pytest.approx(slope, rel=1e-8)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: WeightDecay(-0.1), r"found WeightDecay\(rate=-0\.1\); expected a finite number >= 0"),
        (lambda: WeightDecay(float("nan")), "expected a finite number >= 0"),
        (lambda: L1(float("inf")), "expected a finite number >= 0"),
        (lambda: L1(-1), r"found L1\(rate=-1\)"),
        (lambda: MaxNorm(0), r"found MaxNorm\(limit=0\); expected limit > 0"),
        (lambda: SparsityTarget(0), r"found SparsityTarget\(target=0,.*expected 0 < target < 1 and 0 <= decay < 1"),
        (lambda: SparsityTarget(1.0), "found SparsityTarget"),
        (lambda: SparsityTarget(0.1, decay=1.0), "found SparsityTarget"),
        (lambda: SparsityTarget(0.1, strength=-1), "expected a finite number >= 0"),
    ],
)
def test_values_out_of_range_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()
