"""exp, log and their compositions inside kernels: float32 as polynomials that vectorize, float64 from the C library.

LLVM doesn't vectorize calls into the C library, which made the sigmoid the slowest part of a float32 step. The coefficients
are those of Cephes (Moshier, `expf.c`, `logf.c`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

_f = np.float32


@njit(inline="always")
def _exp32(x: Any) -> Any:  # pragma: no cover
    # At these bounds the exponent below becomes that of zero and that of infinity. The result is 0 under -87.68 already, where
    # it would be subnormal, and infinite over 88.37, a quarter of a percent early.
    x = min(max(x, _f(-88)), _f(88.7))
    k = np.floor(x * _f(1.44269504) + _f(0.5))
    r = (x - k * _f(0.693359375)) + k * _f(2.12194440e-4)
    p = _f(1.9875691500e-4)
    p = p * r + _f(1.3981999507e-3)
    p = p * r + _f(8.3334519073e-3)
    p = p * r + _f(4.1665795894e-2)
    p = p * r + _f(1.6666665459e-1)
    p = p * r + _f(5.0000001201e-1)
    exponent = np.int32(np.int32(k) + np.int32(127)) << np.int32(23)
    return (p * r * r + r + _f(1)) * np.int32(exponent).view(np.float32)


@njit(inline="always")
def _log32(x: Any) -> Any:  # pragma: no cover
    """For normal positive x."""
    bits = np.float32(x).view(np.int32)
    # the mantissa is taken in [sqrt(1/2), sqrt(2)), where the polynomial is centered
    exponent = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))
    m = np.int32(bits - np.int32(exponent << np.int32(23))).view(np.float32) - _f(1)
    z = m * m
    p = _f(7.0376836292e-2)
    p = p * m + _f(-1.1514610310e-1)
    p = p * m + _f(1.1676998740e-1)
    p = p * m + _f(-1.2420140846e-1)
    p = p * m + _f(1.4249322787e-1)
    p = p * m + _f(-1.6668057665e-1)
    p = p * m + _f(2.0000714765e-1)
    p = p * m + _f(-2.4999993993e-1)
    p = p * m + _f(3.3333331174e-1)
    k = _f(exponent)
    return (m + (p * m * z + (k * _f(-2.12194440e-4) - _f(0.5) * z))) + k * _f(0.693359375)


@njit(inline="always")
def _log1p32(x: Any) -> Any:  # pragma: no cover
    # Kahan's correction: the error of log(u) for u = 1 + x rounded is undone by x / (u - 1)
    u = _f(1) + x
    return x if u == _f(1) else _log32(u) * (x / (u - _f(1)))


def _by_precision(single: Callable[[Any], Any], double: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function for use inside compiled kernels that takes `single` for a float32 argument and `double` for others."""

    def compiled_only(x: Any) -> Any:
        raise TypeError("this function exists inside compiled kernels only; call NumPy's here")

    # Numba compares the signatures of both levels, annotations included: hence lambdas
    overload(compiled_only, inline="always")(lambda x: (lambda x: single(x)) if x == types.float32 else (lambda x: double(x)))
    return compiled_only


exp = _by_precision(_exp32, math.exp)
log = _by_precision(_log32, math.log)  # for normal positive numbers
log1p = _by_precision(_log1p32, math.log1p)  # for numbers >= -1/2
