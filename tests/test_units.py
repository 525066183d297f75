"""Identities that every type of units satisfies. A further type joins by a case in `CASES`."""

import numpy as np
import pytest
from enumeration import binary_rows

from ebm.compute.random import Stream
from ebm.units import TYPES, Bernoulli, as_units, from_config

# Units and all their states.
CASES = [pytest.param(Bernoulli(5), binary_rows(5), id="Bernoulli")]
everywhere = pytest.mark.parametrize(("units", "states"), CASES)
REAL = pytest.mark.parametrize("dtype", [np.float32, np.float64])
FIELDS = np.random.default_rng(1).normal(0, 2, (7, 5))


def derivative(function, fields, h=1e-5):
    """d function_r / d field_ri by central differences; `function` gives one number, or one a unit, for each row."""
    columns = []
    for i in range(fields.shape[1]):
        step = np.zeros_like(fields)
        step[:, i] = h
        difference = (function(fields + step) - function(fields - step)) / (2 * h)
        columns.append(difference if difference.ndim == 1 else difference[:, i])
    return np.stack(columns, axis=1)


def test_every_type_has_a_case():
    assert {type(case.values[0]) for case in CASES} == set(TYPES.values())


@everywhere
def test_the_mean_is_the_derivative_of_log_partition(units, states):
    np.testing.assert_allclose(derivative(units.log_partition, FIELDS), units.mean(FIELDS), rtol=1e-8, atol=1e-9)


@everywhere
def test_the_variance_is_the_derivative_of_the_mean(units, states):
    np.testing.assert_allclose(derivative(units.mean, FIELDS), units.variance(FIELDS), rtol=1e-7, atol=1e-9)


@everywhere
def test_log_partition_is_the_sum_over_states(units, states):
    for field, found in zip(FIELDS, units.log_partition(FIELDS), strict=True):
        assert found == pytest.approx(np.log(np.exp(-units.energy(states, field)).sum()), rel=1e-13)


@everywhere
def test_the_mode_is_the_most_likely_state(units, states):
    for field, found in zip(FIELDS, units.mode(FIELDS), strict=True):
        np.testing.assert_array_equal(found, states[units.energy(states, field).argmin()])


@everywhere
@REAL
def test_samples_have_mean_and_variance(units, states, dtype):
    n = 40_000
    field = np.array([-3.0, -0.5, 0.0, 1.0, 4.0], dtype)
    mean, sample = units.draw(np.tile(field, (n, 1)), Stream(3))
    np.testing.assert_array_equal(mean, np.tile(units.mean(field[None]), (n, 1)))
    assert sample.dtype == dtype
    # 5 standard errors: 2 * 5 moments of two dtypes fail a sound sampler once in 10^5
    p, variance = units.mean(field[None])[0], units.variance(field[None])[0]
    assert (np.abs(sample.mean(axis=0, dtype=float) - p) < 5 * np.sqrt(variance / n)).all()
    squares = (sample - p) ** 2
    assert (np.abs(squares.mean(axis=0, dtype=float) - variance) < 5 * squares.std(axis=0) / np.sqrt(n) + 1e-6).all()
    off_diagonal = np.cov(sample.T.astype(float)) - np.diag(variance)
    assert (np.abs(off_diagonal) < 5 * np.sqrt(np.outer(variance, variance) / n) + 0.02 * np.eye(5)).all()


@everywhere
def test_a_sample_is_the_second_half_of_a_draw(units, states):
    drawn = units.draw(FIELDS.copy(), Stream(4))[1]
    np.testing.assert_array_equal(units.sample(FIELDS.copy(), Stream(4)), drawn)
    np.testing.assert_array_equal(units.sample(FIELDS[3:].copy(), Stream(4), first_row=3), drawn[3:])


@everywhere
def test_bias_from_mean_reproduces_the_mean(units, states):
    rows = 10**6
    mean = np.linspace(0.01, 0.99, units.size)
    bias = units.bias_from_mean(mean, rows)
    np.testing.assert_allclose(units.mean(bias[None])[0], mean, atol=1 / rows)
    assert np.isfinite(units.bias_from_mean(units.mode(np.linspace(-1, 1, units.size)[None])[0], 10)).all()


@everywhere
def test_units_are_values(units, states):
    again = from_config(units.config())
    assert again == units
    assert hash(again) == hash(units)
    assert repr(units) == f"{type(units).__name__}({units.size})"
    assert type(units)(units.size + 1) != units


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


def test_numbers_mean_bernoulli():
    assert as_units(7) == Bernoulli(7)
    assert as_units(units := Bernoulli(3)) is units


@pytest.mark.parametrize("size", [0, -1, 2.0, "784", True, None])
def test_sizes_are_whole_numbers(size):
    with pytest.raises(ValueError, match=f"found size={size!r}; expected a positive number of units"):
        Bernoulli(size)


def test_unknown_units_are_refused_by_name():
    with pytest.raises(ValueError, match=r"found units 'Cauchy'; this version knows \['Bernoulli'"):
        from_config({"units": "Cauchy", "size": 3})
