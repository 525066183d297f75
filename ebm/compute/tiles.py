"""Products of bfloat16 on CPUs with AMX, whose registers are tiles: 16 rows of 64 bytes.

One instruction adds to a tile of 16 × 16 float32 the product of two tiles, 16 × 32 and 32 × 16 bfloat16, neighboring rows of the latter
being interleaved: each of its 16 lines of 16 words holds pairs from two rows. Operands are rounded and laid out so beforehand, with zeros
where they end within a tile: the left one as (row tiles, k tiles, 16, 16) words, the right one as (column tiles, k tiles, 16, 16). A right
tile is, word by word, the transpose of a left tile of the transposed matrix. (Intel 64 and IA-32 Architectures Software Developer's Manual,
volume 1, chapter 18.)

Weights are laid out once for all products of a step (see `gemm.prepared`); MKL lays them out anew at each call.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from . import threads
from .device import CPU
from .kernels.rounding import nearest
from .vectors import Laid, copy_line, transpose, usable

# From so many multiply-adds on, several milliseconds, as many threads as the BLAS has are worth their start.
_LARGE = 1 << 31
# So many bytes of a right operand stay in a core's second cache while all rows of the left one pass.
_CACHE = 1 << 20

_ARCH_PRCTL, _REQUEST, _TILE_DATA = 158, 0x1023, 18


@functools.cache
def available() -> bool:
    """Whether this CPU has the instructions, Numba may use them, and the system lets this process."""
    return usable("amx-bf16") and ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST, _TILE_DATA) == 0


def tiled(b: np.ndarray) -> Laid:
    """`b` (k, m), float32, C-contiguous or the transpose of such an array, as a right operand."""
    k, m = b.shape
    # an even number of columns of tiles, for two are multiplied at a time
    tiles = CPU.empty((2 * -(-m // 32), -(-k // 32), 16, 16), np.uint32)
    if b.flags.c_contiguous:
        _lay_pairs(b.view(np.uint32), tiles)
    else:
        _lay_rows(b.T.view(np.uint32), tiles)
        _transpose(tiles)
    return Laid(b, tiles)


def product(
    a: np.ndarray, b: np.ndarray | Laid, out: np.ndarray, alpha: float, beta: float, row: np.ndarray | None = None
) -> None:
    """out = alpha a b + beta out, or + beta `row`, of float32 arrays that `gemm` has checked."""
    if row is not None:
        out[...] = row
    n, k = a.shape
    left = CPU.empty((-(-n // 16), -(-k // 32), 16, 16), np.uint32)
    if a.flags.c_contiguous:
        _lay_rows(a.view(np.uint32), left)
    else:
        _lay_pairs(a.T.view(np.uint32), left)
        _transpose(left)
    right = (b if isinstance(b, Laid) else tiled(b)).laid
    pairs = right.shape[0] // 2
    count = threads.number(CPU) if n * k * out.shape[1] >= _LARGE else 1
    block = max(1, min(_CACHE // (2 * right[0].nbytes), -(-pairs // count)))
    blocks = [slice(2 * start, 2 * min(start + block, pairs)) for start in range(0, pairs, block)]

    def columns(part: slice, proceed: Callable[[], None] = lambda: None) -> None:
        proceed()
        panel = CPU.empty((32, 16 * (part.stop - part.start)), np.float32)
        _multiply(left, right, out, np.float32(alpha), np.float32(beta), part.start, part.stop, panel, _CONFIGURATION)

    if count > 1:
        threads.over_blocks(CPU, blocks, columns)
        return
    for part in blocks:
        columns(part)


# Loops run over whole slices: an index that Numba can't tell from a negative one keeps LLVM from vectorizing.
@njit(nogil=True, cache=True)
def _lay_rows(x: Any, tiles: Any) -> None:  # pragma: no cover
    """Rows of float32, given by their bits, as left tiles; or as right tiles of the transpose, each still to be transposed."""
    n, k = x.shape
    line = np.zeros(32 * tiles.shape[1], np.uint16)
    for r in range(16 * tiles.shape[0]):
        if r < n:
            row = x[r]
            for c in range(k):
                line[c] = np.uint16(nearest(row[c]) >> np.uint32(16))
        else:
            line[:] = 0
        place = tiles.ctypes.data + 1024 * tiles.shape[1] * (r // 16) + 64 * (r % 16)
        for t in range(tiles.shape[1]):
            copy_line(line.ctypes.data + 64 * t, place + 1024 * t)


@njit(nogil=True, cache=True)
def _lay_pairs(x: Any, tiles: Any) -> None:  # pragma: no cover
    """Rows of float32, given by their bits, as right tiles; or as left tiles of the transpose, each still to be transposed."""
    k, m = x.shape
    line, upper = np.zeros(16 * tiles.shape[0], np.uint32), np.uint32(0xFFFF0000)
    for p in range(16 * tiles.shape[1]):
        if 2 * p + 1 < k:
            even, odd = x[2 * p], x[2 * p + 1]
            for c in range(m):
                line[c] = np.uint32(nearest(even[c]) >> np.uint32(16)) | np.uint32(nearest(odd[c]) & upper)
        elif 2 * p < k:
            even = x[2 * p]
            for c in range(m):
                line[c] = nearest(even[c]) >> np.uint32(16)
        else:
            line[:] = 0
        place = tiles.ctypes.data + 64 * p
        for j in range(tiles.shape[0]):
            copy_line(line.ctypes.data + 64 * j, place + 1024 * tiles.shape[1] * j)


@njit(nogil=True, cache=True)
def _transpose(tiles: Any) -> None:  # pragma: no cover
    """Each tile in its place."""
    for i in range(tiles.shape[0] * tiles.shape[1]):
        tile = tiles.ctypes.data + 1024 * i
        transpose(tile, 64, tile, 64)


@njit(nogil=True, cache=True)
def _multiply(
    left: Any, right: Any, out: Any, alpha: float, beta: float, start: int, stop: int, panel: Any, configuration: Any
) -> None:  # pragma: no cover
    """What the columns of right tiles from `start` to `stop` are for: 32 rows of the product at a time into `panel`, and from there into
    `out`; four tiles at a time, so that each tile of an operand is loaded once for two of them."""
    n, first, last = out.shape[0], 16 * start, min(16 * stop, out.shape[1])
    along = right.shape[1]
    step, line = 1024 * along, 4 * panel.shape[1]
    _configure(configuration.ctypes.data)
    for i in range(0, left.shape[0], 2):
        pair = i + 1 < left.shape[0]
        for j in range(start, stop, 2):
            a, b, o = left.ctypes.data + i * step, right.ctypes.data + j * step, panel.ctypes.data + 64 * (j - start)
            _zero(0)
            _zero(1)
            _zero(2)
            _zero(3)
            for t in range(along):
                _load(4, a + 1024 * t, 64)
                _load(6, b + 1024 * t, 64)
                _dot(0, 4, 6)
                _load(7, b + step + 1024 * t, 64)
                _dot(1, 4, 7)
                if pair:
                    _load(5, a + step + 1024 * t, 64)
                    _dot(2, 5, 6)
                    _dot(3, 5, 7)
            _store(0, o, line)
            _store(1, o + 64, line)
            _store(2, o + 16 * line, line)
            _store(3, o + 16 * line + 64, line)
        for r in range(min(32, n - 16 * i)):
            sums, numbers = panel[r], out[16 * i + r, first:last]
            if beta == 0:
                for c in range(numbers.size):
                    numbers[c] = alpha * sums[c]
            else:
                for c in range(numbers.size):
                    numbers[c] = alpha * sums[c] + beta * numbers[c]
    _release()


# All eight tiles: 16 rows of 64 bytes, of palette 1.
_CONFIGURATION = np.zeros(64, np.uint8)
_CONFIGURATION[0] = 1
_CONFIGURATION[16:32].view(np.uint16)[:] = 64
_CONFIGURATION[48:56] = 16


def _emit(name: str) -> Callable[..., Any]:
    """What emits a call of LLVM's intrinsic for an instruction, whose parameters are numbers of tiles (literals), addresses, and bytes."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values = []
        for kind, value in zip(signature.args, arguments, strict=True):
            if isinstance(kind, types.Literal):
                value = ir.Constant(ir.IntType(8), kind.literal_value)
            elif kind == types.uintp:
                value = builder.inttoptr(value, ir.IntType(8).as_pointer())
            values.append(value)
        kinds = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        builder.call(cgutils.get_or_insert_function(builder.module, kinds, f"llvm.x86.{name}"), values)
        return context.get_dummy_value()

    return code


@intrinsic(prefer_literal=True)
def _configure(context: Any, address: Any) -> Any:
    return types.void(types.uintp), _emit("ldtilecfg")


@intrinsic(prefer_literal=True)
def _release(context: Any) -> Any:
    return types.void(), _emit("tilerelease")


@intrinsic(prefer_literal=True)
def _zero(context: Any, tile: Any) -> Any:
    return types.void(tile), _emit("tilezero")


@intrinsic(prefer_literal=True)
def _load(context: Any, tile: Any, address: Any, line: Any) -> Any:
    return types.void(tile, types.uintp, types.intp), _emit("tileloadd64")


@intrinsic(prefer_literal=True)
def _store(context: Any, tile: Any, address: Any, line: Any) -> Any:
    return types.void(tile, types.uintp, types.intp), _emit("tilestored64")


@intrinsic(prefer_literal=True)
def _dot(context: Any, sums: Any, left: Any, right: Any) -> Any:
    return types.void(sums, left, right), _emit("tdpbf16ps")
