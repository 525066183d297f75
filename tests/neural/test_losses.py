"""What every loss must do: the right derivative, PyTorch's numbers, no overflow; and what it refuses."""

import json
import math
import re

import numpy as np
import pytest
from cases import LOSS_CASES, PROBABILITIES, ROWS, assert_rounding, directional
from scipy.sparse import csr_array
from scipy.special import log_softmax
from scipy.stats import norm

from neural.losses import LOSSES, BinaryCrossEntropy, CategoricalCrossEntropy, GaussianLikelihood, SquaredError, from_config

everywhere = pytest.mark.parametrize("case", LOSS_CASES.values(), ids=LOSS_CASES)
BY_ELEMENT = {name: case for name, case in LOSS_CASES.items() if not name.startswith("Categorical")}
by_element = pytest.mark.parametrize("case", BY_ELEMENT.values(), ids=BY_ELEMENT)
REAL = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def test_every_loss_has_a_case():
    assert {name.partition(",")[0] for name in LOSS_CASES} == set(LOSSES)
    for name, case in LOSS_CASES.items():
        assert type(case.loss) is LOSSES[name.partition(",")[0]]


@everywhere
@pytest.mark.parametrize("weighted", [False, True])
def test_the_slope_is_the_derivative(case, weighted):
    z, target, rng = case.outputs(), case.targets, np.random.default_rng(1)
    rows = rng.normal(size=ROWS)
    weights = rng.uniform(size=target.shape) if weighted else None
    if weighted and isinstance(case.loss, CategoricalCrossEntropy):
        with pytest.raises(ValueError, match="found weights of elements for CategoricalCrossEntropy"):
            case.loss(z, target, weights)
        return
    slope = case.loss(z, target, weights)[1]
    differences, along = directional(lambda: float(rows @ case.loss(z, target, weights)[0]), [z], [rows[:, None] * slope])
    assert along == pytest.approx(differences, rel=1e-8)
    assert abs(along) > 1e-2


@everywhere
@REAL
def test_pytorch_gives_the_same(case, dtype):
    torch = pytest.importorskip("torch")
    z, target = case.outputs().astype(dtype), case.targets.astype(dtype)
    values, slope = case.loss(z, target)
    tensor = torch.tensor(z, requires_grad=True)
    expected = case.torch(torch, tensor, torch.tensor(target))
    expected = expected.sum(dim=1) if expected.ndim == 2 else expected
    expected.sum().backward()
    assert_rounding(values, expected.detach().numpy())
    assert_rounding(slope, tensor.grad.numpy())


@by_element
def test_weights_are_factors_of_the_terms(case):
    z, target, loss = case.outputs(), case.targets, case.loss
    before, weights = (z.copy(), target.copy()), np.random.default_rng(2).uniform(size=target.shape)
    values, slope = loss(z, target, weights)
    parts = [loss(np.ascontiguousarray(z[:, i::4]), target[:, i : i + 1]) for i in range(4)]
    np.testing.assert_allclose(values, sum(weights[:, i] * part[0] for i, part in enumerate(parts)), rtol=1e-12)
    for i, part in enumerate(parts):
        np.testing.assert_allclose(slope[:, i::4], weights[:, i : i + 1] * part[1], rtol=1e-12)
    np.testing.assert_array_equal(z, before[0])
    np.testing.assert_array_equal(target, before[1])


@everywhere
def test_devices_agree_and_never_wait(case, device):
    z, target = case.outputs().astype(np.float32), case.targets.astype(np.float32)
    weights = None if isinstance(case.loss, CategoricalCrossEntropy) else np.full_like(target, 0.7)
    expected = *case.loss(z, target, weights), case.loss.output(z)
    z, target, weights = (None if a is None else device.asarray(a) for a in (z, target, weights))
    copies = getattr(device, "syncs", 0), getattr(device, "uploads", 0)
    found = *case.loss(z, target, weights), case.loss.output(z)
    assert (getattr(device, "syncs", 0), getattr(device, "uploads", 0)) == copies
    for a, b in zip(found, expected, strict=True):
        assert_rounding(device.to_host(a), b)


@everywhere
def test_losses_are_values(case):
    again = from_config(json.loads(json.dumps(case.loss.config())))
    assert again == case.loss
    assert hash(again) == hash(case.loss)
    assert repr(again) == repr(case.loss)
    assert [other.loss for other in LOSS_CASES.values() if other.loss == again] == [again]


# Large outputs.

LARGE = np.array([-1000, -100, -10, 0, 10, 100, 1000.0])


@REAL
@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_binary_cross_entropy_is_stable(dtype, smoothing):
    z, t = (a.reshape(-1, 1).astype(dtype) for a in np.meshgrid(LARGE, [0, 0.25, 1]))
    with np.errstate(all="raise", under="ignore"):
        values, slope = BinaryCrossEntropy(smoothing)(z, t)
    z, t = z.astype(float), (1 - smoothing) * t.astype(float) + smoothing / 2
    # -t ln p - (1 - t) ln(1 - p), of which no digit cancels
    expected = t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z)
    tiny = np.finfo(dtype).tiny
    np.testing.assert_allclose(values[:, None], expected, rtol=16 * np.finfo(dtype).eps, atol=tiny)
    expected = np.where(z >= 0, (1 - t) - np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))), 1 / (1 + np.exp(-z.clip(-700, 0))) - t)
    np.testing.assert_allclose(slope, expected, rtol=0, atol=4 * np.finfo(dtype).eps)


@REAL
@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_categorical_cross_entropy_is_stable(dtype, smoothing):
    z = np.array([[1000, 0, 0], [-1000, 0, 0], [1000, 1000, -1000], [-1000] * 3, [10, -10, 0], [100, -100, 0]], dtype)
    for chosen in range(3):
        t = np.tile(np.eye(3, dtype=dtype)[chosen], (len(z), 1))
        with np.errstate(all="raise", under="ignore"):
            values, slope = CategoricalCrossEntropy(smoothing)(z, t)
        t, log_p = (1 - smoothing) * t.astype(float) + smoothing / 3, log_softmax(z.astype(float), axis=1)
        np.testing.assert_allclose(values, -(t * log_p).sum(axis=1), rtol=16 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)
        np.testing.assert_allclose(slope, np.exp(log_p) - t, rtol=0, atol=8 * np.finfo(dtype).eps)


@REAL
def test_squared_error_is_stable(dtype):
    z, t = (a.reshape(-1, 1).astype(dtype) for a in np.meshgrid(LARGE, [0, 0.25, 1]))
    with np.errstate(all="raise", under="ignore"):
        plain, sigmoid = SquaredError()(z, t), SquaredError(output_by="sigmoid")(z, t)
    z, t = z.astype(float), t.astype(float)
    np.testing.assert_allclose(plain[0][:, None], (z - t) ** 2, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(plain[1], 2 * (z - t), rtol=4 * np.finfo(dtype).eps)
    y = 1 / (1 + np.exp(-z.clip(-700, None)))
    np.testing.assert_allclose(np.sqrt(sigmoid[0])[:, None], np.abs(y - t), rtol=0, atol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(sigmoid[1], 2 * (y - t) * y * (1 - y), rtol=0, atol=8 * np.finfo(dtype).eps)


@REAL
def test_gaussian_likelihood_is_stable(dtype):
    mean, z, t = (a.reshape(-1, 1).astype(dtype) for a in np.meshgrid(LARGE, LARGE, [-2, 0, 1000]))
    with np.errstate(all="raise", under="ignore"):
        values, slope = GaussianLikelihood()(np.hstack([mean, z]), t)
    mean, z, t = (a[:, 0].astype(float) for a in (mean, z, t))
    log_variance = np.logaddexp(z, math.log(1e-6))
    squared = (mean - t) ** 2 * np.exp(-log_variance)
    # a float32 logarithm of 1000 carries its rounding into the variance
    rounding = (2000 if dtype == np.float32 else 4000) * np.finfo(dtype).eps
    np.testing.assert_allclose(values, (squared + log_variance + math.log(2 * math.pi)) / 2, rtol=rounding)
    np.testing.assert_allclose(slope[:, 0], (mean - t) * np.exp(-log_variance), rtol=rounding, atol=np.finfo(dtype).tiny)
    np.testing.assert_allclose(slope[:, 1], (1 - squared) / 2 * np.exp(z - log_variance), rtol=rounding, atol=rounding)


def test_gaussian_likelihood_is_that_of_scipy():
    z, t = np.array([[0.3, -2.0, 1.5, -0.5]]), np.array([[1.0, -1.0]])
    values, _ = GaussianLikelihood()(z, t)
    np.testing.assert_allclose(values, -norm(z[:, :2], np.sqrt(np.exp(z[:, 2:]) + 1e-6)).logpdf(t).sum(axis=1), rtol=1e-13)
    values, _ = GaussianLikelihood(variance=0.5)(z[:, :2], t)
    np.testing.assert_allclose(values, -norm(z[:, :2], math.sqrt(0.5)).logpdf(t).sum(axis=1), rtol=1e-13)


def test_losses_say_how_many_outputs_they_need_and_what_they_mean():
    assert [case.loss.width(4) for case in LOSS_CASES.values()] == [4, 4, 4, 4, 8, 4, 4, 4]
    z = np.array([[-1.0, 0, 2, 3]])
    sigmoid = 1 / (1 + np.exp(-z))
    for loss in (BinaryCrossEntropy(), SquaredError(output_by="sigmoid")):
        np.testing.assert_allclose(loss.output(z), sigmoid, rtol=1e-14)
    np.testing.assert_allclose(CategoricalCrossEntropy().output(z), np.exp(z) / np.exp(z).sum(), rtol=1e-14)
    for loss in (SquaredError(), GaussianLikelihood(2.0)):
        np.testing.assert_array_equal(loss.output(z), z)
    np.testing.assert_array_equal(GaussianLikelihood().output(z), z[:, :2])
    assert [type(case.loss).__name__ for case in LOSS_CASES.values() if case.loss.nonlinear] == [
        *["BinaryCrossEntropy"] * 2,
        *["CategoricalCrossEntropy"] * 2,
        "SquaredError",
    ]


@REAL
def test_what_is_predicted_is_stable(dtype):
    z = np.array([[-1000, 0, 1000]], dtype)
    with np.errstate(all="raise", under="ignore"):
        for loss in (BinaryCrossEntropy(), SquaredError(output_by="sigmoid")):
            np.testing.assert_array_equal(loss.output(z), [[0, 0.5, 1]])
        np.testing.assert_array_equal(CategoricalCrossEntropy().output(z), [[0, 0, 1]])


# Targets.


@everywhere
def test_good_targets_pass(case):
    case.loss.check(case.targets)
    case.loss.check(csr_array(case.targets))
    case.loss.check(case.targets.astype(np.float32))


@pytest.mark.parametrize("loss", [BinaryCrossEntropy(), CategoricalCrossEntropy()], ids=repr)
@pytest.mark.parametrize("value", [-0.1, 1.5, math.nan])
@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_targets_outside_the_range_are_found(loss, value, form):
    targets = np.tile(np.eye(3), (700, 1))
    targets[1234, 2] = value
    with pytest.raises(
        ValueError, match=rf"{re.escape(repr(loss))} is for targets in \[0, 1\], .*labels\[1234, 2\] is {value}; expected"
    ):
        loss.check(form(targets), "labels")


@pytest.mark.parametrize("loss", [SquaredError(), GaussianLikelihood()], ids=repr)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_targets_are_finite(loss, value):
    with pytest.raises(ValueError, match=rf"targets\[0, 1\] is {value}; expected finite numbers"):
        loss.check(np.array([[0, value]]))
    loss.check(np.array([[-1e30, 1e30]]))


def test_labels_become_one_hot_rows():
    with pytest.raises(ValueError, match=r"targets\[1\] sums to 2; .* write np.eye\(categories\)\[labels\]"):
        CategoricalCrossEntropy().check(np.array([[1, 0, 0], [1, 0, 1]]))
    with pytest.raises(ValueError, match=r"found shape \(3,\); .* expects one-hot rows: write np.eye\(categories\)\[labels\]"):
        CategoricalCrossEntropy().check(np.array([0, 1, 0]))


@pytest.mark.parametrize("loss", [BinaryCrossEntropy, CategoricalCrossEntropy])
@pytest.mark.parametrize("share", [-0.1, 1, 2])
def test_label_smoothing_is_a_share(loss, share):
    with pytest.raises(ValueError, match=f"found label_smoothing={share}; expected 0 <= label_smoothing < 1"):
        loss(label_smoothing=share)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="found output_by='tanh'; expected 'identity' or 'sigmoid'"):
        SquaredError(output_by="tanh")
    for variance in (0, -1.0):
        with pytest.raises(ValueError, match=f"found variance={variance}; expected a positive number"):
            GaussianLikelihood(variance)


def test_the_arguments_are_not_overwritten():
    for case in LOSS_CASES.values():
        z, target = case.outputs(), PROBABILITIES / PROBABILITIES.sum(axis=1, keepdims=True)
        before = z.copy(), target.copy()
        case.loss(z, target)
        np.testing.assert_array_equal(z, before[0])
        np.testing.assert_array_equal(target, before[1])
