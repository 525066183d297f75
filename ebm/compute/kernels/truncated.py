"""The normal distribution cut off below zero: what a rectified linear unit is, given its field.

With energy x^2 / 2 and field z the state has density proportional to exp(z x - x^2 / 2) on x >= 0: a normal distribution with
mean z and variance 1, restricted to x >= 0. All arithmetic is float64 inside: the mean, z + phi(z) / Phi(z), cancels for
negative z.

Everything comes from erfcx(x) = e^(x^2) erfc(x), x >= 0, as a Chebyshev series of (1 + 2 x) erfcx(x) in (x - 3) / (x + 3): the
form of Shepherd & Laframboise 1981, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < infinity", with coefficients
fitted for this file.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ..device import Array, device_of
from ..kernel import Floats, Words, kernel
from .philox import CUDA, as_matrix, fill_row, reference_words, unit
from .sampling import ULP

SERIES = (
    1.17756257419656074e00,
    5.35390453961577268e-03,
    -9.37755034228417717e-02,
    5.43665255574434722e-02,
    -1.89765967078451350e-02,
    4.45342606146284601e-03,
    -6.33553171055131021e-04,
    1.76617195231861419e-05,
    1.28415328641446863e-05,
    -2.00722856599266861e-06,
    -1.80752279002431152e-07,
    7.54982835437600000e-08,
    1.88566859770649300e-09,
    -2.69951911216528067e-09,
    -1.46006811279745397e-11,
    1.03616043037201786e-10,
    1.47586741345955816e-12,
    -4.27728959011981106e-12,
    -2.07968214501493622e-13,
    1.81177864647308156e-13,
    1.98338472844089317e-14,
    -7.34273739796940059e-15,
    -1.32062539963694468e-15,
)
LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)
ROOT_HALF = math.sqrt(0.5)
ROOT_2_OVER_PI = math.sqrt(2 / math.pi)
# Below this field the mean and variance come from their asymptotic series, which then is the more accurate form.
FAR = -50.0
# Hastings' rational start for the inverse of the upper tail (Abramowitz & Stegun 26.2.23), good to 4.5e-4.
HASTINGS = (2.515517, 0.802853, 0.010328, 1.432788, 0.189269, 0.001308)
NEWTON_STEPS = 2


def _erfcx(x: Array) -> Array:
    """e^(x^2) erfc(x) for x >= 0, relative error 3e-15 (Clenshaw's recurrence)."""
    t = (x - 3) / (x + 3)
    b1, b2 = 0 * t, 0 * t
    for c in SERIES[:0:-1]:
        b1, b2 = 2 * t * b1 - b2 + c, b1
    return (t * b1 - b2 + SERIES[0]) / (1 + 2 * x)


def _log_tail(y: Array) -> Array:
    """ln P(normal > y) for y >= 0."""
    return np.log(0.5 * _erfcx(y * ROOT_HALF)) - 0.5 * y * y


def _inverse_log_tail(p: Array, xp: Any) -> Array:
    """y >= 0 with ln P(normal > y) = p, for p <= ln 1/2."""
    a, b, c, d, e, f = HASTINGS
    s = xp.sqrt(-2 * p)
    y = xp.maximum(s - (a + s * (b + s * c)) / (1 + s * (d + s * (e + s * f))), 0)
    for _ in range(NEWTON_STEPS):
        y = y + (_log_tail(y) - p) * _erfcx(y * ROOT_HALF) / ROOT_2_OVER_PI
    return y


def _log_cdf(z: Array, xp: Any) -> Array:
    """ln P(normal < z)."""
    tail = _log_tail(xp.abs(z))
    return xp.where(z < 0, tail, xp.log1p(-xp.exp(xp.where(z < 0, -1.0, tail))))


@kernel
def truncated_moments(field: Floats, mean: Floats, variance: Floats, log_partition: Floats) -> None:
    """Of the density exp(z x - x^2 / 2) on x >= 0, z = field: mean m = z + r with r = phi(z) / Phi(z), variance 1 - r m, and the
    logarithm of its integral, z^2 / 2 + ln sqrt(2 pi) + ln Phi(z)."""
    xp = device_of(field).xp
    z = field.astype(np.float64)
    far = z < FAR
    near = xp.where(far, FAR, z)
    e = _erfcx(xp.abs(near) * ROOT_HALF)
    density = xp.exp(-0.5 * near * near)
    r = ROOT_2_OVER_PI / xp.where(near < 0, e, (2 - density * e)) * xp.where(near < 0, 1.0, density)
    m = near + r
    i = 1 / xp.where(far, z, -1.0)
    mean[...] = xp.where(far, -i * (1 - i * i * (2 - 10 * i * i)), m)
    variance[...] = xp.where(far, i * i * (1 - i * i * (6 - 50 * i * i)), 1 - r * m)
    tail = xp.log(0.5 * _erfcx(xp.abs(z) * ROOT_HALF))
    whole = xp.log1p(-xp.exp(xp.where(z < 0, -1.0, tail - 0.5 * z * z))) + 0.5 * z * z
    log_partition[...] = LOG_ROOT_2PI + xp.where(z < 0, tail, whole)


truncated_moments.same_shape("field", "mean", "variance", "log_partition")


@njit
def _erfcx_jit(x: float) -> float:  # pragma: no cover
    t = (x - 3) / (x + 3)
    b1 = b2 = 0.0
    for k in range(len(SERIES) - 1, 0, -1):
        b1, b2 = 2 * t * b1 - b2 + SERIES[k], b1
    return (t * b1 - b2 + SERIES[0]) / (1 + 2 * x)


@njit
def _log_tail_jit(y: float) -> float:  # pragma: no cover
    return math.log(0.5 * _erfcx_jit(y * ROOT_HALF)) - 0.5 * y * y


@njit
def _inverse_log_tail_jit(p: float) -> float:  # pragma: no cover
    a, b, c, d, e, f = HASTINGS
    s = math.sqrt(-2 * p)
    y = max(s - (a + s * (b + s * c)) / (1 + s * (d + s * (e + s * f))), 0.0)
    for _ in range(NEWTON_STEPS):
        scaled = _erfcx_jit(y * ROOT_HALF)
        y += (math.log(0.5 * scaled) - 0.5 * y * y - p) * scaled / ROOT_2_OVER_PI
    return y


@njit
def _ratio_and_mean_jit(z: float) -> tuple[float, float]:  # pragma: no cover
    if z < FAR:
        i = 1 / z
        m = -i * (1 - i * i * (2 - 10 * i * i))
        return m - z, m
    e = _erfcx_jit(abs(z) * ROOT_HALF)
    if z < 0:
        r = ROOT_2_OVER_PI / e
    else:
        density = math.exp(-0.5 * z * z)
        r = ROOT_2_OVER_PI * density / (2 - density * e)
    return r, z + r


@truncated_moments.numba
def _(field: Any, mean: Any, variance: Any, log_partition: Any) -> None:  # pragma: no cover
    x, m, v, p = (
        field.reshape(field.size),
        mean.reshape(field.size),
        variance.reshape(field.size),
        log_partition.reshape(field.size),
    )
    for k in range(x.size):
        z = float(x[k])
        r, m_k = _ratio_and_mean_jit(z)
        m[k] = m_k
        if z < FAR:
            i = 1 / z
            v[k] = i * i * (1 - i * i * (6 - 50 * i * i))
        else:
            v[k] = 1 - r * m_k
        tail = math.log(0.5 * _erfcx_jit(abs(z) * ROOT_HALF))
        if z < 0:
            p[k] = LOG_ROOT_2PI + tail
        else:
            p[k] = LOG_ROOT_2PI + (math.log1p(-math.exp(tail - 0.5 * z * z)) + 0.5 * z * z)


TRUNCATED_CUDA = r"""
__device__ inline double erfcx_series(double x) {
    const double series[] = {
        1.17756257419656074e+00, 5.35390453961577268e-03, -9.37755034228417717e-02, 5.43665255574434722e-02,
        -1.89765967078451350e-02, 4.45342606146284601e-03, -6.33553171055131021e-04, 1.76617195231861419e-05,
        1.28415328641446863e-05, -2.00722856599266861e-06, -1.80752279002431152e-07, 7.54982835437600000e-08,
        1.88566859770649300e-09, -2.69951911216528067e-09, -1.46006811279745397e-11, 1.03616043037201786e-10,
        1.47586741345955816e-12, -4.27728959011981106e-12, -2.07968214501493622e-13, 1.81177864647308156e-13,
        1.98338472844089317e-14, -7.34273739796940059e-15, -1.32062539963694468e-15,
    };
    const int terms = sizeof(series) / sizeof(double);
    double t = (x - 3) / (x + 3), b1 = 0, b2 = 0;
    for (int k = terms - 1; k > 0; --k) {
        double next = 2 * t * b1 - b2 + series[k];
        b2 = b1; b1 = next;
    }
    return (t * b1 - b2 + series[0]) / (1 + 2 * x);
}

#define ROOT_HALF 0.70710678118654752
#define ROOT_2_OVER_PI 0.79788456080286536
#define LOG_ROOT_2PI 0.91893853320467274

__device__ inline double log_tail(double y) { return log(0.5 * erfcx_series(y * ROOT_HALF)) - 0.5 * y * y; }

__device__ inline double inverse_log_tail(double p) {
    double s = sqrt(-2 * p);
    double y = s - (2.515517 + s * (0.802853 + s * 0.010328)) / (1 + s * (1.432788 + s * (0.189269 + s * 0.001308)));
    y = y > 0 ? y : 0;
    for (int step = 0; step < 2; ++step) y += (log_tail(y) - p) * erfcx_series(y * ROOT_HALF) / ROOT_2_OVER_PI;
    return y;
}

struct RatioAndMean { double ratio, mean; };

__device__ inline RatioAndMean ratio_and_mean(double z) {
    if (z < -50) {
        double i = 1 / z, m = -i * (1 - i * i * (2 - 10 * i * i));
        return {m - z, m};
    }
    double e = erfcx_series((z < 0 ? -z : z) * ROOT_HALF), density = exp(-0.5 * z * z);
    double r = z < 0 ? ROOT_2_OVER_PI / e : ROOT_2_OVER_PI * density / (2 - density * e);
    return {r, z + r};
}
"""

truncated_moments.cuda(
    r"""
extern "C" __global__ void truncated_moments(const T* field, T* mean, T* variance, T* log_partition, long long field_rows,
                                             long long field_columns) {
    for (long long k = first_item(); k < field_rows * field_columns; k += stride()) {
        double z = field[k];
        RatioAndMean found = ratio_and_mean(z);
        double i = 1 / z;
        mean[k] = (T)found.mean;
        variance[k] = (T)(z < -50 ? i * i * (1 - i * i * (6 - 50 * i * i)) : 1 - found.ratio * found.mean);
        double tail = log(0.5 * erfcx_series((z < 0 ? -z : z) * ROOT_HALF));
        log_partition[k] = (T)(LOG_ROOT_2PI + (z < 0 ? tail : log1p(-exp(tail - 0.5 * z * z)) + 0.5 * z * z));
    }
}
""",
    CUDA,
    TRUNCATED_CUDA,
)


@kernel
def truncated_sample(field: Floats, sample: Floats, address: Words, offset: int, first_row: int) -> None:
    """field becomes its mean, and sample a draw by the inverse of the upper tail: x = y - t where P(normal > y) = u P(normal > t)
    and t = -field.

    u = (k + 1/2) 2^-24 is never zero; one uniform an element.
    """
    xp = device_of(field).xp
    z = field.astype(np.float64)
    words = reference_words(field.shape, address, offset, first_row)
    u = ((words >> np.uint32(8)).astype(np.float64) + 0.5) * ULP
    p = xp.log(u) + _log_cdf(z, xp)
    upper = p <= -math.log(2.0)
    # the other half of the distribution is inverted from its lower tail, ln (1 - e^p)
    folded = xp.where(upper, p, xp.log(-xp.expm1(xp.where(upper, -1.0, p))))
    y = _inverse_log_tail(folded, xp)
    sample[...] = xp.maximum(xp.where(upper, y, -y) + z, 0)
    unused = xp.empty(field.shape, field.dtype)
    truncated_moments.reference(field + 0, field, unused, unused)


truncated_sample.same_shape("field", "sample")


@truncated_sample.numba
def _(field: Any, sample: Any, address: Any, offset: int, first_row: int) -> None:  # pragma: no cover
    rows, columns = as_matrix(field)
    mean, out = field.reshape(rows, columns), sample.reshape(rows, columns)
    words = np.empty(4 * ((columns + 3) // 4), np.uint32)
    for r in range(rows):
        fill_row(words, address, offset, first_row + r)
        for c in range(columns):
            z = float(mean[r, c])
            tail = _log_tail_jit(abs(z))
            p = math.log(float(unit(words[c])) + 0.5 * ULP) + (tail if z < 0 else math.log1p(-math.exp(tail)))
            upper = p <= -math.log(2.0)
            y = _inverse_log_tail_jit(p if upper else math.log(-math.expm1(p)))
            out[r, c] = max(y + z if upper else z - y, 0.0)
            mean[r, c] = _ratio_and_mean_jit(z)[1]


truncated_sample.cuda(
    r"""
extern "C" __global__ void truncated_sample(T* field, T* sample, const unsigned* address, long long offset, long long first_row,
                                            long long field_rows, long long field_columns) {
    long long blocks = (field_columns + 3) / 4;
    for (long long i = first_item(); i < field_rows * blocks; i += stride()) {
        long long row = i / blocks, block = i % blocks;
        Block random = philox_at(address, offset, first_row + row, block);
        for (int q = 0; q < 4; ++q) {
            long long column = block + q * blocks, e = row * field_columns + column;
            if (column >= field_columns) continue;
            double z = field[e], tail = log_tail(z < 0 ? -z : z);
            double u = ((double)(random.word[q] >> 8) + 0.5) * 5.9604644775390625e-8;
            double p = log(u) + (z < 0 ? tail : log1p(-exp(tail)));
            double y = p <= -0.69314718055994531 ? inverse_log_tail(p) : -inverse_log_tail(log(-expm1(p)));
            sample[e] = (T)(y + z < 0 ? 0 : y + z);
            field[e] = (T)ratio_and_mean(z).mean;
        }
    }
}
""",
    CUDA,
    TRUNCATED_CUDA,
)
