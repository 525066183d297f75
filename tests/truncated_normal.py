"""The normal distribution cut off below zero, to twenty digits in decimal arithmetic: the oracle of rectified units."""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import cache

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtri_exp

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


@cache
def exact_moments(z: float) -> tuple[float, float, float]:
    """Mean, variance and logarithm of the integral of exp(z x - x^2 / 2) over x >= 0.

    With I_n the integral of x^n times that, I_1 = 1 + z I_0 and I_2 = I_0 + z I_1. I_0 is the continued fraction
    1 / (a + 1 / (a + 2 / (a + ...))), a = -z, for negative z, else sqrt(pi / 2) e^(z^2 / 2) + z + z^3 / 3 + z^5 / 15 + ...
    """
    with localcontext() as context:
        # what cancels for positive z: z^2 times 0.43 digits of e^(z^2 / 2) in 1 + z m - m^2
        context.prec = 60 + int(0.25 * z * z) if 0 <= z < 50 else 60
        x = Decimal(z)
        if z < -4:
            fraction = Decimal(0)
            for k in range(4000 if z > -10 else 800, 0, -1):
                fraction = k / (fraction - x)
            integral = 1 / (fraction - x)
        elif z < 50:
            term = total = x
            k = 1
            while term and abs(term) > abs(total) * Decimal(10) ** -context.prec:
                term *= x * x / (2 * k + 1)
                total += term
                k += 1
            integral = (PI / 2).sqrt() * (x * x / 2).exp() + total
        else:
            # nothing is cut off that 500 digits could show
            return z, 1.0, float(x * x / 2 + (2 * PI).ln() / 2)
        mean = (1 + x * integral) / integral
        return float(mean), float(1 + x * mean - mean * mean), float(integral.ln())


def cdf(x: np.ndarray, z: np.ndarray | float) -> np.ndarray:
    """P(state < x) under the field z."""
    return -np.expm1(log_ndtr(z - np.asarray(x, float)) - log_ndtr(z))


def quantile_of_tail(u: np.ndarray | float, z: np.ndarray | float) -> np.ndarray:
    """The x with P(state > x) = u under the field z."""
    u, z = np.broadcast_arrays(np.asarray(u, float), np.asarray(z, float))
    x = np.array(np.maximum(z - ndtri_exp(np.log(u) + log_ndtr(z)), 0))
    # below zero the two logarithms are alike in many digits: Newton's steps on their difference
    far = z < -1
    for _ in range(3):
        scaled = erfcx((x[far] - z[far]) / np.sqrt(2))
        error = np.log(scaled / erfcx(-z[far] / np.sqrt(2))) + z[far] * x[far] - x[far] ** 2 / 2 - np.log(u[far])
        x[far] += error * scaled * np.sqrt(np.pi / 2)
    return x
