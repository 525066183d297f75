"""Optimizer steps: one pass over parameters, gradient and moments.

The parameters are one buffer of segments; segment s ends before element `ends[s]` and `table[s]` holds its (rate factor, L2, L1).
`state` holds what changes from step to step, in device memory: see each kernel. A rate factor of zero leaves a segment untouched.
As the last kernel of a step each also adds the step's `draws` to the `counter` of its random stream, (1,): one launch less on a GPU.

Velocities and moments below 2^-126, the least normal float32, become zero: arithmetic on lesser numbers takes thirty times as long, and
where gradients have become zero they would stay so small for ever, for 0.9 times the least number there is is rounded to itself.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ..device import Array, device_of
from ..kernel import Floats, Indices, Words, kernel

_LEAST = 2.0**-126

_SEGMENT_CUDA = (
    f"#define LEAST (T){_LEAST!r}"
    + r"""
__device__ inline long long first_item() { return blockIdx.x * (long long)blockDim.x + threadIdx.x; }
__device__ inline long long stride() { return gridDim.x * (long long)blockDim.x; }
__device__ inline const T* row_of(const T* table, const long long* ends, long long i) {
    while (i >= *ends) { ++ends; table += 3; }
    return table;
}
__device__ inline T flushed(T x) { return fabs(x) < LEAST ? (T)0 : x; }
__device__ inline T penalized(T gradient, T x, const T* row) {
    return gradient + row[1] * x + row[2] * (T)((x > 0) - (x < 0));
}
"""
)


def _coefficients(parameters: Array, gradient: Array, ends: Array, table: Array) -> tuple[Array, Array, Array]:
    """Each element's rate factor, whether it moves, and its gradient with the penalties' added."""
    xp = device_of(parameters).xp
    rows = table[xp.searchsorted(ends, xp.arange(parameters.size), side="right")]
    penalized = gradient + rows[:, 1] * parameters + rows[:, 2] * xp.sign(parameters)
    return rows[:, 0], rows[:, 0] != 0, penalized


def _normal(x: Array) -> Array:
    return device_of(x).xp.where(abs(x) < _LEAST, x.dtype.type(0), x)


@njit(inline="always")
def _flushed(x: Any) -> Any:  # pragma: no cover
    return type(x)(0) if abs(x) < type(x)(_LEAST) else x


@njit(inline="always")
def _sign(x: Any) -> Any:  # pragma: no cover
    # a selection vectorizes, a difference of booleans goes through 64-bit integers
    zero, one = type(x)(0), type(x)(1)
    return (one if x > zero else zero) - (one if x < zero else zero)


@kernel
def momentum_step(
    parameters: Floats, velocity: Floats, ends: Indices, table: Floats, state: Floats, counter: Words, draws: int
) -> None:
    """v += L2 x + L1 sign x, x -= rate v, where v arrives as momentum v + gradient; `state` = (rate, momentum).

    Sutskever, Martens, Dahl, Hinton 2013, "On the importance of initialization and momentum", equations 1 and 2, with the rate
    outside the velocity.
    """
    xp = device_of(parameters).xp
    factor, moving, v = _coefficients(parameters, velocity, ends, table)
    v = _normal(v)
    velocity[...] = xp.where(moving, v, velocity)
    parameters -= state[0:1] * factor * v
    counter += np.uint32(draws)


momentum_step.same_shape("parameters", "velocity")


@momentum_step.numba
def _(parameters: Any, velocity: Any, ends: Any, table: Any, state: Any, counter: Any, draws: int) -> None:  # pragma: no cover
    start = 0
    for s in range(ends.size):
        rate, l2, l1 = state[0] * table[s, 0], table[s, 1], table[s, 2]
        if table[s, 0] != 0:
            x, v = parameters[start : ends[s]], velocity[start : ends[s]]
            for i in range(x.size):
                v[i] = _flushed(v[i] + (l2 * x[i] + l1 * _sign(x[i])))
                x[i] -= rate * v[i]
        start = ends[s]
    counter[0] += np.uint32(draws)


momentum_step.cuda(
    r"""
extern "C" __global__ void momentum_step(T* parameters, T* velocity, const long long* ends, const T* table, const T* state,
                                         unsigned* counter, long long draws, long long parameters_columns) {
    if (first_item() == 0) *counter += (unsigned)draws;
    for (long long i = first_item(); i < parameters_columns; i += stride()) {
        const T* row = row_of(table, ends, i);
        if (row[0] == 0) continue;
        T x = parameters[i], v = flushed(penalized(velocity[i], x, row));
        velocity[i] = v;
        parameters[i] = x - state[0] * row[0] * v;
    }
}
""",
    _SEGMENT_CUDA,
)


@kernel
def nesterov_step(
    parameters: Floats,
    gradient: Floats,
    velocity: Floats,
    ends: Indices,
    table: Floats,
    state: Floats,
    counter: Words,
    draws: int,
) -> None:
    """g += L2 x + L1 sign x, v = momentum v + g, x -= rate (g + momentum v); `state` = (rate, momentum).

    Sutskever et al. 2013, equations 3 and 4, in the form that keeps the parameters at the look-ahead point.
    """
    xp = device_of(parameters).xp
    factor, moving, g = _coefficients(parameters, gradient, ends, table)
    v = _normal(state[1:2] * velocity + g)
    velocity[...] = xp.where(moving, v, velocity)
    parameters -= state[0:1] * factor * (g + state[1:2] * v)
    counter += np.uint32(draws)


nesterov_step.same_shape("parameters", "gradient", "velocity")


@nesterov_step.numba
def _(
    parameters: Any, gradient: Any, velocity: Any, ends: Any, table: Any, state: Any, counter: Any, draws: int
) -> None:  # pragma: no cover
    momentum = state[1]
    start = 0
    for s in range(ends.size):
        rate, l2, l1 = state[0] * table[s, 0], table[s, 1], table[s, 2]
        if table[s, 0] != 0:
            x, g, v = parameters[start : ends[s]], gradient[start : ends[s]], velocity[start : ends[s]]
            for i in range(x.size):
                penalized = g[i] + l2 * x[i] + l1 * _sign(x[i])
                v[i] = _flushed(momentum * v[i] + penalized)
                x[i] -= rate * (penalized + momentum * v[i])
        start = ends[s]
    counter[0] += np.uint32(draws)


nesterov_step.cuda(
    r"""
extern "C" __global__ void nesterov_step(T* parameters, const T* gradient, T* velocity, const long long* ends, const T* table,
                                         const T* state, unsigned* counter, long long draws, long long parameters_columns) {
    if (first_item() == 0) *counter += (unsigned)draws;
    for (long long i = first_item(); i < parameters_columns; i += stride()) {
        const T* row = row_of(table, ends, i);
        if (row[0] == 0) continue;
        T x = parameters[i], g = penalized(gradient[i], x, row), v = flushed(state[1] * velocity[i] + g);
        velocity[i] = v;
        parameters[i] = x - state[0] * row[0] * (g + state[1] * v);
    }
}
""",
    _SEGMENT_CUDA,
)


@kernel
def adam_step(
    parameters: Floats,
    gradient: Floats,
    first: Floats,
    second: Floats,
    ends: Indices,
    table: Floats,
    state: Floats,
    counter: Words,
    draws: int,
) -> None:
    """g += L2 x + L1 sign x, m = b1 m + (1 - b1) g, s = b2 s + (1 - b2) g^2,
    x -= rate m / (1 - b1^t) / (sqrt(s / (1 - b2^t)) + epsilon); `state` = (rate, b1, b2, epsilon, b1^t, b2^t).

    Kingma & Ba 2015, "Adam: a method for stochastic optimization", algorithm 1.
    """
    xp = device_of(parameters).xp
    factor, moving, g = _coefficients(parameters, gradient, ends, table)
    b1, b2 = state[1:2], state[2:3]
    m, v = _normal(b1 * first + (1 - b1) * g), _normal(b2 * second + (1 - b2) * g * g)
    first[...] = xp.where(moving, m, first)
    second[...] = xp.where(moving, v, second)
    parameters -= state[0:1] * factor * (m / (1 - state[4:5])) / (xp.sqrt(v / (1 - state[5:6])) + state[3:4])
    counter += np.uint32(draws)


adam_step.same_shape("parameters", "gradient", "first", "second")


@adam_step.numba
def _(
    parameters: Any, gradient: Any, first: Any, second: Any, ends: Any, table: Any, state: Any, counter: Any, draws: int
) -> None:  # pragma: no cover
    one = parameters.dtype.type(1)
    b1, b2, epsilon = state[1], state[2], state[3]
    correction1, correction2 = one / (one - state[4]), one / (one - state[5])
    start = 0
    for s in range(ends.size):
        rate, l2, l1 = state[0] * table[s, 0], table[s, 1], table[s, 2]
        if table[s, 0] != 0:
            x, g = parameters[start : ends[s]], gradient[start : ends[s]]
            m, v = first[start : ends[s]], second[start : ends[s]]
            for i in range(x.size):
                penalized = g[i] + l2 * x[i] + l1 * _sign(x[i])
                m[i] = _flushed(b1 * m[i] + (one - b1) * penalized)
                v[i] = _flushed(b2 * v[i] + (one - b2) * penalized * penalized)
                x[i] -= rate * (m[i] * correction1) / (math.sqrt(v[i] * correction2) + epsilon)
        start = ends[s]
    counter[0] += np.uint32(draws)


adam_step.cuda(
    r"""
extern "C" __global__ void adam_step(T* parameters, const T* gradient, T* first, T* second, const long long* ends, const T* table,
                                     const T* state, unsigned* counter, long long draws, long long parameters_columns) {
    if (first_item() == 0) *counter += (unsigned)draws;
    T b1 = state[1], b2 = state[2];
    for (long long i = first_item(); i < parameters_columns; i += stride()) {
        const T* row = row_of(table, ends, i);
        if (row[0] == 0) continue;
        T x = parameters[i], g = penalized(gradient[i], x, row);
        T m = flushed(b1 * first[i] + (1 - b1) * g), v = flushed(b2 * second[i] + (1 - b2) * g * g);
        first[i] = m;
        second[i] = v;
        parameters[i] = x - state[0] * row[0] * (m / (1 - state[4])) / (sqrt(v / (1 - state[5])) + state[3]);
    }
}
""",
    _SEGMENT_CUDA,
)
