"""Identities that every type of units satisfies. A further type joins by a case in `CASES`."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from enumeration import FALSE_ALARM, binary_rows
from quadrature import nodes
from scipy.stats import chi2, kstest, norm, truncnorm
from truncated_normal import exact_moments

from ebm import RBM
from ebm.compute.random import Stream
from ebm.units import TYPES, Bernoulli, Gaussian, Joint, ReLU, ReplicatedSoftmax, Softmax, as_units, from_config

REAL = pytest.mark.parametrize("dtype", [np.float32, np.float64])
BETAS = pytest.mark.parametrize("beta", [1.0, 0.3])
LENGTH = 3
PRECISIONS = np.array([0.5, 1.0, 30.0])


@dataclass
class Case:
    """Units, all their states if they are discrete (ordered documents of `LENGTH` words for counts), else their least value."""

    units: object
    states: np.ndarray | None = None
    least: float = -np.inf

    def at(self, rows):
        """The units as they are for so many rows of fields."""
        documents = np.zeros((rows, self.units.size))
        documents[:, 0] = LENGTH
        return self.units.like(documents)

    def fields(self, rows=7):
        return np.random.default_rng(1).normal(0, 2, (rows, self.units.size))


def one_hot(categories, groups):
    return np.array([np.concatenate(choice) for choice in itertools.product(np.eye(categories), repeat=groups)])


def bound(precisions, dtype=np.float64):
    """Gaussian units of these precisions."""
    return Gaussian(len(precisions), learn_variance=True).bound({"log_precision": np.log(precisions).astype(dtype)})


CASES = {
    "Bernoulli": Case(Bernoulli(5), binary_rows(5)),
    "Gaussian": Case(Gaussian(3)),
    "Gaussian of given precisions": Case(bound(PRECISIONS)),
    "ReLU": Case(ReLU(3), least=0),
    "Softmax": Case(Softmax(4), one_hot(4, 1)),
    "Softmax in groups": Case(Softmax(3, groups=2), one_hot(3, 2)),
    "ReplicatedSoftmax": Case(ReplicatedSoftmax(4, longest=9), one_hot(4, LENGTH).reshape(-1, LENGTH, 4).sum(axis=1)),
    "Joint": Case(Joint(2, Softmax(3)), np.hstack([np.tile(binary_rows(2), (3, 1)), np.repeat(np.eye(3), 4, axis=0)])),
}
everywhere = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
DISCRETE = {name: case for name, case in CASES.items() if case.states is not None}
CONTINUOUS = {name: case for name, case in CASES.items() if case.states is None}


def jacobian(function, fields, h=1e-5):
    """d function_r / d field_ri by central differences, (rows, fields) for one number a row, (rows, values, fields) for several."""
    columns = []
    for i in range(fields.shape[1]):
        step = np.zeros_like(fields)
        step[:, i] = h
        columns.append((function(fields + step) - function(fields - step)) / (2 * h))
    return np.stack(columns, axis=-1)


def weights_of(units, states, field, beta):
    """exp(field x - beta e(x)) of the states x under one field, from the energy e(x) - bias x with bias = field / beta."""
    return np.exp(-beta * units.energy(states, field / beta))


def quadrature(case, field, beta):
    """For each unit of a real-valued layer the integrals of 1, x and x^2 times its weight, (3, units)."""
    x, w = nodes(max(case.least, -60), 60, 200)
    moments = []
    for i in range(case.units.size):
        states = np.zeros((x.size, case.units.size))
        states[:, i] = x
        weight = w * weights_of(case.units, states, field, beta)
        moments.append([weight.sum(), weight @ x, weight @ x**2])
    return np.array(moments).T


def test_every_type_has_a_case():
    assert {type(case.units) for case in CASES.values()} == set(TYPES.values())
    assert all(case.units.discrete == (case.states is not None) for case in CASES.values())


@everywhere
@BETAS
def test_the_mean_is_the_derivative_of_log_partition(case, beta):
    units, fields = case.at(7), case.fields()
    found = jacobian(lambda f: units.log_partition(f, beta), fields)
    np.testing.assert_allclose(found, units.mean(fields, beta), rtol=1e-7, atol=1e-8)


@everywhere
@BETAS
def test_the_variance_is_the_derivative_of_the_mean(case, beta):
    units, fields = case.at(7), case.fields()
    found = np.diagonal(jacobian(lambda f: units.mean(f, beta), fields), axis1=1, axis2=2)
    np.testing.assert_allclose(found, units.variance(fields, beta), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("case", DISCRETE.values(), ids=DISCRETE)
@BETAS
def test_log_partition_is_the_sum_over_states(case, beta):
    fields = case.fields()
    for field, found in zip(fields, case.at(7).log_partition(fields, beta), strict=True):
        assert found == pytest.approx(np.log(weights_of(case.units, case.states, field, beta).sum()), rel=1e-13)


@pytest.mark.parametrize("case", CONTINUOUS.values(), ids=CONTINUOUS)
@BETAS
def test_log_partition_and_moments_are_integrals_over_states(case, beta):
    fields = case.fields()
    found = zip(*(f(fields, beta) for f in (case.units.log_partition, case.units.mean, case.units.variance)), strict=True)
    for field, (log_partition, mean, variance) in zip(fields, found, strict=True):
        total, first, second = quadrature(case, field, beta)
        assert log_partition == pytest.approx(np.log(total).sum(), rel=1e-12, abs=1e-12)
        np.testing.assert_allclose(mean, first / total, rtol=1e-9)
        np.testing.assert_allclose(variance, second / total - (first / total) ** 2, rtol=1e-7)


@pytest.mark.parametrize("case", DISCRETE.values(), ids=DISCRETE)
def test_all_states_are_listed_once(case):
    if case.units.replicated:
        assert case.units.number_of_states() is None
        return
    n = case.units.number_of_states()
    listed = np.concatenate([case.units.states(start, min(start + 3, n)) for start in range(0, n, 3)])
    np.testing.assert_array_equal(np.unique(listed, axis=0), np.unique(case.states, axis=0))
    assert len(listed) == len(case.states)


def test_what_cannot_be_listed_says_so():
    for units in (Gaussian(2), ReLU(2), ReplicatedSoftmax(5)):
        assert units.number_of_states() is None
        with pytest.raises(TypeError, match=r"the states of .*\(.*\) can't be listed"):
            units.states(0, 1)


@everywhere
@BETAS
def test_the_mode_is_the_most_likely_state(case, beta):
    fields = case.fields()
    for field, found in zip(fields, case.at(7).mode(fields, beta), strict=True):
        if case.states is not None:
            np.testing.assert_array_equal(found, case.states[case.units.energy(case.states, field / beta).argmin()])
            continue
        best = case.units.energy(found[None], field / beta)
        for i, step in itertools.product(range(case.units.size), (-1e-3, 1e-3)):
            moved = found.copy()
            moved[i] = max(moved[i] + step, case.least)
            assert (moved == found).all() or case.units.energy(moved[None], field / beta) > best


@everywhere
@REAL
@BETAS
def test_samples_have_mean_and_covariance(case, dtype, beta):
    n = 20_000
    units, exact = case.at(n), case.at(1)
    field = np.linspace(-3, 4, case.units.size)
    mean, sample = units.draw(np.tile(field, (n, 1)).astype(dtype), Stream(3), beta=beta)
    np.testing.assert_allclose(mean, np.tile(exact.mean(field[None], beta), (n, 1)), rtol=8 * np.finfo(dtype).eps)
    assert sample.dtype == mean.dtype == dtype
    m = exact.mean(field[None], beta)[0]
    covariance = jacobian(lambda f: exact.mean(f, beta), field[None])[0]
    # 5 standard errors: a sound sampler fails one of some 600 comparisons once in 3000 seeds, which are fixed
    shift = sample.astype(float) - m
    assert (np.abs(shift.mean(axis=0)) < 5 * np.sqrt(np.diag(covariance) / n)).all()
    products = shift[:, :, None] * shift[:, None, :]
    assert (np.abs(products.mean(axis=0) - covariance) < 5 * products.std(axis=0) / np.sqrt(n) + 1e-6).all()


@pytest.mark.parametrize("case", DISCRETE.values(), ids=DISCRETE)
def test_samples_of_discrete_units_are_states(case):
    sample = case.at(500).sample(np.tile(case.fields(1), (500, 1)), Stream(6))
    assert {tuple(row) for row in sample} <= {tuple(state) for state in case.states}


@REAL
@pytest.mark.parametrize("beta", [1.0, 0.25])
def test_samples_of_real_valued_units_follow_their_distribution(dtype, beta):
    """Kolmogorov and Smirnov's test against SciPy's distributions."""
    fields = np.array([-30.0, -5.0, 0.0, 5.0])
    precision = np.array([1.0, 0.3, 20.0, 4.0])
    tiled = np.tile(fields, (20_000, 1)).astype(dtype)
    gaussian = bound(precision, dtype).sample(tiled.copy(), Stream(8), beta=beta)
    rectified = ReLU(4).sample(tiled.copy(), Stream(9), beta=beta)
    for i, z in enumerate(fields):
        normal = norm(z / beta / precision[i], 1 / np.sqrt(beta * precision[i]))
        cut = truncnorm(-z / np.sqrt(beta), np.inf, loc=z / beta, scale=1 / np.sqrt(beta))
        for found, expected in ((gaussian, normal), (rectified, cut)):
            assert kstest(found[:, i].astype(float), expected.cdf).pvalue > FALSE_ALARM
            # and of another field, or another temperature, they would not be
            assert kstest(found[:, i] * 1.05 + 0.05, expected.cdf).pvalue < FALSE_ALARM


@everywhere
def test_a_sample_is_the_second_half_of_a_draw(case):
    units, fields = case.at(7), case.fields()
    drawn = units.draw(fields.copy(), Stream(4))[1]
    np.testing.assert_array_equal(units.sample(fields.copy(), Stream(4)), drawn)
    np.testing.assert_array_equal(case.at(4).sample(fields[3:].copy(), Stream(4), first_row=3), drawn[3:])


@everywhere
def test_a_draw_leaves_the_mean_in_the_field(case):
    fields = case.fields()
    given = fields.copy()
    mean, _ = case.at(7).draw(given, Stream(4), beta=0.5)
    assert mean is given
    np.testing.assert_allclose(mean, case.at(7).mean(fields, 0.5), rtol=1e-14)


@everywhere
def test_bias_from_mean_reproduces_the_mean(case):
    rows = 10**6
    mean = case.at(1).mean(np.linspace(-2, 3, case.units.size)[None])[0]
    bias = case.units.bias_from_mean(mean, rows)
    np.testing.assert_allclose(case.at(1).mean(bias[None])[0], mean, atol=20 / rows)
    # columns that are constant, at the mode or at zero
    for constant in (case.at(1).mode(np.linspace(-1, 1, case.units.size)[None])[0], np.zeros(case.units.size)):
        assert np.isfinite(case.units.bias_from_mean(constant, 10)).all()


@everywhere
def test_no_rows_are_no_trouble(case):
    nothing = np.zeros((0, case.units.size), np.float32)
    units = case.at(0)
    assert units.log_partition(nothing).shape == (0,)
    for found in (units.mean(nothing), units.variance(nothing), units.mode(nothing), units.sample(nothing, Stream(1))):
        assert found.shape == nothing.shape


REPRESENTED = {
    "Bernoulli(3)": Bernoulli(3),
    "Gaussian(3)": Gaussian(3),
    "Gaussian(3, learn_variance=True)": Gaussian(3, learn_variance=True),
    "ReLU(3)": ReLU(3),
    "Softmax(3)": Softmax(3),
    "Softmax(3, groups=2)": Softmax(3, groups=2),
    "Softmax(6)": Softmax(6),
    "ReplicatedSoftmax(3, longest=1000)": ReplicatedSoftmax(3),
    "ReplicatedSoftmax(3, longest=9)": ReplicatedSoftmax(np.int64(3), longest=9),
}


@pytest.mark.parametrize("text", REPRESENTED)
def test_units_are_values(text):
    units = REPRESENTED[text]
    assert repr(units) == text
    for again in (from_config(units.config()), eval(text), units.bound({}), units.like(np.ones((2, units.size)))):
        assert again == units
        assert hash(again) == hash(units)
    assert [other for other in REPRESENTED.values() if other == units] == [units]
    assert type(units)(7) != units
    assert units != 3
    assert all(type(value) in (str, int, bool) for value in units.config().values())  # what JSON keeps


@REAL
@pytest.mark.parametrize("size", [10, 100, 1000])
def test_bernoulli_is_stable_in_large_fields(dtype, size):
    units = Bernoulli(1)
    field = np.array([[-size], [size]], dtype)
    tiny, rounding = np.finfo(dtype).tiny, 4 * np.finfo(dtype).eps
    exact = np.exp(-float(size))
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(units.log_partition(field), [np.log1p(exact), size + np.log1p(exact)], rounding, tiny)
        np.testing.assert_allclose(units.mean(field), [[exact / (1 + exact)], [1 / (1 + exact)]], rounding, tiny)
        # 1 - mean would be zero, or wrong in most digits
        np.testing.assert_allclose(units.variance(field), [[exact / (1 + exact) ** 2]] * 2, rounding, tiny)
    np.testing.assert_array_equal(units.mode(field), [[0], [1]])
    if size > 20:
        np.testing.assert_array_equal(units.sample(np.tile(field, (1, 1)), Stream(5)), [[0], [1]])


@REAL
@pytest.mark.parametrize("size", [10, 100, 1000])
def test_softmax_is_stable_in_large_fields(dtype, size):
    units = Softmax(3, groups=4)
    fields = np.array([[size, 0, 0], [-size, 0, 0], [size, size, -size], [-size, -size, -size]], dtype).reshape(1, 12)
    e = np.exp(-float(size))
    p = np.array([[1, e, e], [e, 1, 1], [1, 1, e * e], [1, 1, 1]])
    total = p.sum(axis=1, keepdims=True)
    rounding = 4 * np.finfo(dtype).eps
    counts = ReplicatedSoftmax(3).like(np.array([[0, 5, 2]], dtype))
    with np.errstate(all="raise", under="ignore"):
        expected = np.log(total).sum() + size + 0 + size - size
        np.testing.assert_allclose(units.log_partition(fields), [expected], rounding, 4 * size * rounding)
        np.testing.assert_allclose(units.mean(fields), (p / total).reshape(1, 12), 10 * rounding, np.finfo(dtype).tiny)
        variance = (p / total * (1 - p / total)).reshape(1, 12)
        np.testing.assert_allclose(units.variance(fields), variance, 10 * rounding, rounding)
        for field, share in zip(fields.reshape(4, 1, 3), p / total, strict=True):
            np.testing.assert_allclose(counts.mean(field)[0], 7 * share, 10 * rounding, np.finfo(dtype).tiny)
            assert counts.log_partition(field) == pytest.approx(7 * Softmax(3).log_partition(field)[0], rel=1e-6)
            assert counts.sample(field.copy(), Stream(1)).sum() == 7
    sample = units.sample(fields.copy(), Stream(5)).reshape(4, 3)
    np.testing.assert_array_equal(sample.sum(axis=1), np.ones(4))
    if size > 20:
        assert sample[0, 0] == 1
        assert sample[1, 0] == sample[2, 2] == 0


@REAL
@pytest.mark.parametrize("size", [10, 100, 1000])
def test_rectified_units_are_stable_in_large_fields(dtype, size):
    units = ReLU(1)
    field = np.array([[-size], [size]], dtype)
    rounding = 2 * np.finfo(dtype).eps
    mean, variance, log_partition = np.array([exact_moments(float(z)) for z in field[:, 0]]).T
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(units.log_partition(field), log_partition, rounding)
        np.testing.assert_allclose(units.mean(field)[:, 0], mean, rounding + 1e-9)
        np.testing.assert_allclose(units.variance(field)[:, 0], variance, rounding + 1e-8)
        np.testing.assert_allclose(units.mode(field), [[0], [size]])
        sample = units.sample(np.repeat(field, 1000, axis=0), Stream(5)).reshape(2, 1000).astype(float)
    assert (sample >= 0).all()
    # nearly exponential with mean 1 / size below, normal above
    assert (np.abs(sample.mean(axis=1) - mean) < 5 * np.sqrt(variance / 1000)).all()


@REAL
@pytest.mark.parametrize("size", [10, 100, 1000])
def test_gaussian_units_are_stable_in_large_fields(dtype, size):
    precision = np.array([1e-2, 1.0, 1e3])
    units = bound(precision, dtype)
    field = np.array([[size] * 3, [-size] * 3], dtype)
    rounding = 8 * np.finfo(dtype).eps
    with np.errstate(all="raise", under="ignore"):
        log_partition = (size**2 / 2 / precision + np.log(2 * np.pi / precision) / 2).sum()
        np.testing.assert_allclose(units.log_partition(field), [log_partition] * 2, rounding)
        np.testing.assert_allclose(units.mean(field), [size / precision, -size / precision], rounding)
        np.testing.assert_allclose(units.variance(field), [1 / precision] * 2, rounding)
        deviation = (units.sample(field.copy(), Stream(5)) - field / precision) * np.sqrt(precision)
    assert (np.abs(deviation) < 6 + 1e3 * np.sqrt(precision) * size / precision * np.finfo(dtype).eps).all()
    assert (deviation != 0).all()


def test_two_categories_are_a_binary_unit():
    pairs = np.random.default_rng(10).normal(0, 3, (50, 2))
    difference = pairs[:, 1:] - pairs[:, :1]
    softmax, binary = Softmax(2), Bernoulli(1)
    np.testing.assert_allclose(softmax.mean(pairs)[:, 1:], binary.mean(difference), rtol=1e-13)
    np.testing.assert_allclose(softmax.variance(pairs)[:, 1:], binary.variance(difference), rtol=1e-11)
    np.testing.assert_allclose(softmax.log_partition(pairs), pairs[:, 0] + binary.log_partition(difference), rtol=1e-12)
    np.testing.assert_array_equal(softmax.mode(pairs)[:, 1:], binary.mode(difference))
    n = 20_000
    second = Softmax(2, groups=20).sample(np.tile(pairs[:20].reshape(1, 40), (n, 1)), Stream(11))[:, 1::2]
    on = Bernoulli(20).sample(np.tile(difference[:20].T, (n, 1)), Stream(12))
    p = binary.mean(difference[:20])[:, 0]
    # one distribution: the numbers of ones differ by no more than those of two independent binomials do
    statistic = ((second.sum(axis=0) - on.sum(axis=0)) ** 2 / (2 * n * p * (1 - p))).sum()
    assert statistic < chi2.ppf(1 - FALSE_ALARM, 20)


def test_a_gaussian_of_tiny_variance_is_its_mean():
    precision = np.array([1e4, 1e8, 1e12])
    units = bound(precision)
    means = np.random.default_rng(13).normal(0, 2, (1000, 3))
    mean, sample = units.draw(means * precision, Stream(14))
    np.testing.assert_allclose(mean, means, rtol=1e-14)
    assert (np.abs(sample - means) < 6 / np.sqrt(precision)).all()
    assert (sample != means).any()
    np.testing.assert_allclose(units.variance(mean * precision), np.tile(1 / precision, (1000, 1)), rtol=1e-13)


def test_gaussian_units_without_a_machine_have_precision_one():
    fields = np.random.default_rng(15).normal(0, 2, (5, 3))
    given = bound(np.ones(3))
    for name in ("mean", "variance", "log_partition"):
        np.testing.assert_allclose(getattr(Gaussian(3), name)(fields, 0.7), getattr(given, name)(fields, 0.7), rtol=1e-14)
    np.testing.assert_array_equal(Gaussian(3).bias_from_mean(fields[0], 10), fields[0])


# Word counts.


@REAL
def test_counts_are_of_the_documents_lengths(dtype):
    lengths = np.arange(1, 1001)
    documents = np.zeros((1000, 6), dtype)
    documents[:, 2] = lengths
    units = ReplicatedSoftmax(6).like(documents)
    field = np.tile(np.linspace(-1, 2, 6), (1000, 1)).astype(dtype)
    mean, counts = units.draw(field.copy(), Stream(16))
    np.testing.assert_array_equal(counts.sum(axis=1), lengths)
    np.testing.assert_array_equal(counts, np.floor(counts))
    np.testing.assert_allclose(mean.sum(axis=1), lengths, rtol=1e-5)
    np.testing.assert_array_equal(units.mode(field).sum(axis=1), lengths)
    share = mean[0] / mean[0].sum()
    # all words together are one multinomial
    expected = share * lengths.sum()
    assert ((counts.sum(axis=0) - expected) ** 2 / expected).sum() < chi2.ppf(1 - FALSE_ALARM, 5)


def test_a_document_of_one_word_is_a_softmax_unit():
    n = 20_000
    fields = np.random.default_rng(17).normal(0, 1.5, (7, 5))
    one = np.eye(5)[np.zeros(7, int)]
    counts, softmax = ReplicatedSoftmax(5).like(one), Softmax(5)
    for name in ("mean", "variance", "log_partition", "mode"):
        np.testing.assert_array_equal(getattr(counts, name)(fields), getattr(softmax, name)(fields))
    np.testing.assert_array_equal(counts.energy(np.eye(5), fields[0]), softmax.energy(np.eye(5), fields[0]))
    drawn = [
        units.sample(np.tile(fields[0], (n, 1)), Stream(18)).sum(axis=0)
        for units in (ReplicatedSoftmax(5).like(np.tile(one[:1], (n, 1))), softmax)
    ]
    expected = n * softmax.mean(fields[:1])[0]
    assert ((drawn[0] - drawn[1]) ** 2 / (2 * expected)).sum() < chi2.ppf(1 - FALSE_ALARM, 4)


def test_a_document_is_as_many_softmax_units_with_one_field():
    """The multinomial distribution of counts, by chi-square over all documents of three words."""
    case = CASES["ReplicatedSoftmax"]
    n = 30_000
    field = np.array([0.5, -1, 1, 0])
    counts = case.at(n).sample(np.tile(field, (n, 1)), Stream(19))
    key = (LENGTH + 1) ** np.arange(4)
    probability = np.bincount((case.states @ key).astype(int), np.exp(case.states @ field))
    probability /= probability.sum()
    found = np.bincount((counts @ key).astype(int), minlength=len(probability))
    possible = probability > 0
    assert not found[~possible].any()
    statistic = ((found - n * probability)[possible] ** 2 / (n * probability[possible])).sum()
    assert statistic < chi2.ppf(1 - FALSE_ALARM, possible.sum() - 1)


def test_counts_need_lengths():
    units = ReplicatedSoftmax(4)
    for use in (units.mean, units.variance, units.mode, units.log_partition, lambda f: units.sample(f, Stream(1))):
        with pytest.raises(ValueError, match="the lengths of the documents are unknown; write like=v"):
            use(np.zeros((2, 4)))
    assert units.like(None) is units


# Parameters of their own.


@pytest.mark.parametrize("name", CASES)
def test_arrays_of_units_are_views_into_the_machines_parameters(name):
    described = CASES[name].units
    for layer, units in enumerate((described, None if described.replicated else described)):
        if units is None:
            continue
        layers = [2, 2]
        layers[layer] = from_config(units.config())
        rbm = RBM(*layers, device="cpu")
        bound_units = rbm.layers[layer].units
        assert set(bound_units.own) == set(units.own_parameters())
        assert layers[layer].own == {}
        for own in bound_units.own:
            assert np.shares_memory(bound_units.own[own], rbm.parameters.buffer)
            before = bound_units.mean(np.ones((1, units.size), np.float32))
            rbm.parameters[f"{own}.{layer}"][...] += 0.5
            assert (bound_units.mean(np.ones((1, units.size), np.float32)) != before).all()
        sizes = {"weights": (rbm.layers[0].units.size, rbm.layers[1].units.size)}
        sizes |= {f"bias.{i}": (x.units.size,) for i, x in enumerate(rbm.layers)}
        sizes |= {f"{own}.{layer}": (units.size,) for own in units.own_parameters()}
        assert {key: view.shape for key, view in rbm.parameters.named_arrays().items()} == sizes


def test_two_machines_of_one_description_share_nothing():
    units = Gaussian(3, learn_variance=True)
    first, second = (RBM(units, 2, device="cpu") for _ in range(2))
    first.parameters["log_precision.0"][...] = 2
    assert not second.visible.units.own["log_precision"].any()
    both = RBM(units, units, device="cpu")
    both.parameters["log_precision.1"][...] = 1
    assert not both.visible.units.own["log_precision"].any()


# Sizes.


def test_numbers_mean_bernoulli():
    assert as_units(7) == Bernoulli(7)
    assert as_units(units := Bernoulli(3)) is units


@pytest.mark.parametrize("size", [0, -1, 2.0, "784", True, None])
@pytest.mark.parametrize(
    ("make", "name", "least"),
    [
        (Bernoulli, "size", 1),
        (Gaussian, "size", 1),
        (ReLU, "size", 1),
        (Softmax, "categories", 2),
        (lambda size: Softmax(3, groups=size), "groups", 1),
        (ReplicatedSoftmax, "words", 2),
        (lambda size: ReplicatedSoftmax(3, longest=size), "longest", 1),
    ],
)
def test_sizes_are_whole_numbers(make, name, least, size):
    with pytest.raises(ValueError, match=f"found {name}={size!r}; expected a whole number of at least {least}"):
        make(size)


@pytest.mark.parametrize("make", [Softmax, ReplicatedSoftmax])
def test_one_category_is_no_choice(make):
    with pytest.raises(ValueError, match="=1; expected a whole number of at least 2"):
        make(1)


def test_unknown_units_are_refused_by_name():
    with pytest.raises(ValueError, match=r"found units 'Cauchy'; this version knows \['Bernoulli'"):
        from_config({"units": "Cauchy", "size": 3})
