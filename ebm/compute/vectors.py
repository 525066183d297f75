"""Products of float32 on CPUs with AVX-512, whose registers are vectors of 16 numbers; of bfloat16 where it has that too.

24 of the 32 registers hold a piece of the result, 6 rows of 4 vectors, while for one k after another 4 vectors of the right operand are
multiplied by 6 numbers of the left one (Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication"). What 64 columns
and 128 k have of the right operand is copied to where it stays in a core's first cache; the left operand is read where it lies.

Words of 32 bits stand for pairs of bfloat16 with neighboring k, of which one instruction adds both products (AVX512_BF16): the same with
half as many k.

Subnormal numbers count as zero: they take a hundred times as long, and saturated units' means and slopes have many for products.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from . import helpers
from .device import CPU
from .helpers import take
from .kernels.rounding import nearest

_ROWS, _COLUMNS, _DEPTH = 6, 64, 128
# So many rows are multiplied by one copy of the right operand.
_CHUNK = 192
# So many rows of words are rounded by one thread at a time.
_HEIGHT = 16


def usable(*names: str) -> bool:
    """Whether this CPU has AVX-512 and the features of these names, and Numba may use them."""
    if sys.platform != "linux" or numba.config.CPU_NAME or numba.config.CPU_FEATURES:
        return False
    features = binding.get_host_cpu_features()
    return all(features.get(name) for name in ("avx512f", *names))


@functools.cache
def available(*names: str) -> bool:
    """`usable`, found out once: products of float32, with "avx512bf16" those of pairs."""
    return usable(*names)


@dataclass(frozen=True)
class Laid:
    """A right operand rounded to bfloat16 and laid out as products take it, as it was then; and the array that it was made of."""

    source: np.ndarray
    laid: np.ndarray


def paired(b: np.ndarray) -> Laid:
    """`b` (k, m), float32, C-contiguous or the transpose of such an array, as a right operand of `product_of_pairs`."""
    return Laid(b, _across(b) if b.flags.c_contiguous else _along(b.T).T)


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray, alpha: float, beta: float, row: np.ndarray | None = None) -> None:
    """out = alpha a b + beta out, or + beta `row`, of float32 arrays that `gemm` has checked."""
    _run(a, b, out, alpha, beta, row, 0)


def product_of_pairs(
    a: np.ndarray, b: np.ndarray | Laid, out: np.ndarray, alpha: float, beta: float, row: np.ndarray | None = None
) -> None:
    """The same of operands rounded to bfloat16."""
    left = _along(a) if a.flags.c_contiguous else _across(a.T).T
    _run(left, (b if isinstance(b, Laid) else paired(b)).laid, out, alpha, beta, row, 1)


def _run(a: np.ndarray, b: np.ndarray, out: np.ndarray, alpha: float, beta: float, row: Any, pairs: int) -> None:
    a_plain, b_plain = a.flags.c_contiguous, b.flags.c_contiguous
    left, right, added = a if a_plain else a.T, b if b_plain else b.T, out if row is None else row.reshape(-1, out.shape[1])
    job = _job(helpers.number(), pairs, left, a_plain, right, b_plain, out, added, float(alpha), float(beta))
    helpers.run(_loop(_multiply), job)


@njit(cache=True)
def _job(
    threads: int, pairs: int, a: Any, a_plain: bool, b: Any, b_plain: bool, out: Any, added: Any, alpha: float, beta: float
) -> Any:  # pragma: no cover
    """What `_multiply` reads: compiled, as Python takes longer for the addresses than some products do."""
    job = np.empty(17, np.int64)
    job[0], job[1], job[2] = 0, threads, pairs
    job[3], job[4], job[5] = out.shape[0], a.shape[1] if a_plain else a.shape[0], out.shape[1]
    job[6], job[7], job[8] = a.ctypes.data, 4 * (a.shape[1] if a_plain else 1), 4 * (1 if a_plain else a.shape[1])
    job[9], job[10], job[11] = b.ctypes.data, 4 * (b.shape[1] if b_plain else 1), 4 * (1 if b_plain else b.shape[1])
    job[12], job[13], job[14] = out.ctypes.data, added.ctypes.data, 4 * out.shape[1] * (added.shape[0] == out.shape[0])
    numbers = job[15:].view(np.float64)
    numbers[0], numbers[1] = alpha, beta
    return job


def _along(x: np.ndarray) -> np.ndarray:
    """Neighbors in the rows of x (n, k), rounded, as words (n, k / 2)."""
    words = CPU.empty((x.shape[0], -(-x.shape[1] // 2)), np.uint32)
    helpers.run(_loop(_round), _rounding(x, words, False))
    return words


def _across(x: np.ndarray) -> np.ndarray:
    """Neighbors in the columns of x (k, m), rounded, as words (k / 2, m)."""
    words = CPU.empty((-(-x.shape[0] // 2), x.shape[1]), np.uint32)
    helpers.run(_loop(_round), _rounding(x, words, True))
    return words


@njit(cache=True)
def _rounding(x: Any, words: Any, across: bool) -> Any:  # pragma: no cover
    """What `_round` reads."""
    job = np.empty(6, np.int64)
    job[0], job[1], job[2], job[3], job[4], job[5] = 0, across, x.shape[0], x.shape[1], x.ctypes.data, words.ctypes.data
    return job


def _round(address: Any) -> None:  # pragma: no cover
    job = carray(address, 6)
    across, rows, columns, source, target = job[1:]
    height, width = (-(-rows // 2), columns) if across else (rows, -(-columns // 2))
    x, words = carray(_at(source), (rows, columns)), carray(_at(target), (height, width))
    start = _HEIGHT * take(job)
    while start < height:
        for r in range(start, min(start + _HEIGHT, height)):
            if across:
                _pair_across(x, words[r], r)
            else:
                _pair_along(x[r], words[r])
        start = _HEIGHT * take(job)


# Loops run over whole slices: an index that Numba can't tell from a negative one keeps LLVM from vectorizing.
@njit(nogil=True, cache=True)
def _pair_along(row: Any, line: Any) -> None:  # pragma: no cover
    whole = row.size // 2
    for c in range(whole):
        line[c] = _pair(row[2 * c], row[2 * c + 1])
    if whole < line.size:
        line[whole] = _pair(row[2 * whole], np.uint32(0))


@njit(nogil=True, cache=True)
def _pair_across(x: Any, line: Any, r: int) -> None:  # pragma: no cover
    even = x[2 * r]
    if 2 * r + 1 < x.shape[0]:
        odd = x[2 * r + 1]
        for c in range(line.size):
            line[c] = _pair(even[c], odd[c])
    else:
        for c in range(line.size):
            line[c] = _pair(even[c], np.uint32(0))


@njit(inline="always")
def _pair(even: Any, odd: Any) -> Any:  # pragma: no cover
    return np.uint32(nearest(even) >> np.uint32(16)) | np.uint32(nearest(odd) & np.uint32(0xFFFF0000))


@functools.cache
def _loop(function: Callable[[Any], None]) -> int:
    """The address of what helpers run."""
    binding.initialize_native_asmparser()
    return cfunc(types.void(types.CPointer(types.int64)), cache=True)(function).address


def _multiply(address: Any) -> None:  # pragma: no cover
    job = carray(address, 17)
    threads, pairs, n, k, m, a, a_row, a_column, b, b_row, b_column, out, added, added_row = job[1:15]
    alpha, beta = job[15:].view(np.float64)
    panels, chunks = -(-m // _COLUMNS), -(-n // _CHUNK)
    height = -(-n // (chunks * _ROWS)) * _ROWS
    memory = np.empty((_DEPTH + _ROWS + 1) * _COLUMNS, np.float32)
    panel = -(-memory.ctypes.data // 64) * 64
    edge = panel + 4 * _COLUMNS * _DEPTH
    before = _flush_subnormal()
    # threads begin far apart: neighboring blocks have cache lines of the result in common, where its rows don't end with a line
    share = -(-panels * chunks // threads)
    turn = take(job)
    while turn < share * threads:
        block = turn % threads * share + turn // threads
        turn = take(job)
        if block >= panels * chunks:
            continue
        first, column = block // panels * height, block % panels * _COLUMNS
        width, last = min(_COLUMNS, m - column), min(first + height, n)
        for start in range(0, k, _DEPTH):
            depth = min(_DEPTH, k - start)
            _copy(b + start * b_row + column * b_column, b_row, b_column, depth, width, panel)
            rest = np.float32(beta) if start == 0 else np.float32(1)
            for row in range(first, last, _ROWS):
                source, target, rows = a + row * a_row + start * a_column, out + 4 * (row * m + column), min(_ROWS, last - row)
                # a tile that doesn't fit goes where it does first
                place, line, kept = (target, 4 * m, rest) if width == _COLUMNS else (edge, 4 * _COLUMNS, np.float32(0))
                old, old_line = (added + row * added_row + 4 * column, added_row) if start == 0 else (target, 4 * m)
                sizes = source, a_row, a_column, rows, panel, depth, place, line, old, old_line
                if pairs:
                    if width <= 16:
                        _tile(True, 1, sizes, np.float32(alpha), kept)
                    else:
                        _tile(True, 4, sizes, np.float32(alpha), kept)
                elif width <= 16:
                    _tile(False, 1, sizes, np.float32(alpha), kept)
                else:
                    _tile(False, 4, sizes, np.float32(alpha), kept)
                if width < _COLUMNS:
                    _add_edge(edge, target, 4 * m, old, old_line, rows, width, rest)
    _restore(before)
    memory[0] = 0  # Numba frees an array after its last use, which is not that of its address


@njit(nogil=True, cache=True)
def _copy(b: int, row: int, column: int, depth: int, width: int, panel: int) -> None:  # pragma: no cover
    """`depth` rows of `width` words of the right operand to rows of 64, the rest zeros."""
    line = 4 * _COLUMNS
    whole, wide = 0, width // 16 * 16
    if width < _COLUMNS:
        carray(_at(panel), depth * _COLUMNS)[:] = 0
    if column == 4:
        whole = depth
        for r in range(depth):
            for c in range(0, wide, 16):
                copy_line(b + r * row + 4 * c, panel + r * line + 4 * c)
    else:
        whole = depth // 16 * 16
        for r in range(0, whole, 16):
            for c in range(0, wide, 16):
                transpose(b + r * row + c * column, column, panel + r * line + 4 * c, line)
    for r in range(depth):
        for c in range(wide if r < whole else 0, width):
            _at(panel + r * line + 4 * c)[0] = _at(b + r * row + c * column)[0]


@njit(nogil=True, cache=True)
def _add_edge(
    edge: int, out: int, line: int, old: int, old_line: int, rows: int, width: int, beta: float
) -> None:  # pragma: no cover
    for r in range(rows):
        sums = carray(_at(edge + 4 * _COLUMNS * r), width).view(np.float32)
        before = carray(_at(old + old_line * r), width).view(np.float32)
        after = carray(_at(out + line * r), width).view(np.float32)
        for c in range(width):
            after[c] = sums[c] if beta == 0 else sums[c] + beta * before[c]


_FLOAT, _WORD, _INT = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_LINE, _WORDS = ir.VectorType(_FLOAT, 16), ir.VectorType(_WORD, 16)


@intrinsic
def _at(context: Any, address: Any) -> Any:
    """The address as a pointer to words."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], _WORD.as_pointer())

    return types.CPointer(types.uint32)(types.intp), code


@intrinsic
def copy_line(context: Any, source: Any, target: Any) -> Any:
    """64 bytes."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        here, there = (builder.inttoptr(address, _WORDS.as_pointer()) for address in arguments)
        builder.store(builder.load(here, align=4), there, align=64)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), code


@intrinsic
def transpose(context: Any, source: Any, step: Any, target: Any, line: Any) -> Any:
    """16 × 16 words, by exchanging one bit of the row's number with one of the column's at a time. Rows are `step` bytes apart at `source`,
    `line` bytes at `target`."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def places(start: Any, step: Any) -> list[Any]:
            addresses = [builder.add(start, builder.mul(step, _INT(r))) for r in range(16)]
            return [builder.inttoptr(address, _WORDS.as_pointer()) for address in addresses]

        rows = [builder.load(place, align=4) for place in places(*arguments[:2])]
        for bit in (1, 2, 4, 8):
            low = ir.Constant(_WORDS, [c if not c & bit else 16 + c - bit for c in range(16)])
            high = ir.Constant(_WORDS, [c + bit if not c & bit else 16 + c for c in range(16)])
            for r in range(16):
                if not r & bit:
                    x, y = rows[r], rows[r + bit]
                    rows[r], rows[r + bit] = builder.shuffle_vector(x, y, low), builder.shuffle_vector(x, y, high)
        for place, row in zip(places(*arguments[2:]), rows, strict=True):
            builder.store(row, place, align=64)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp), code


@intrinsic
def _flush_subnormal(context: Any) -> Any:
    """Have this thread's vector instructions take subnormal numbers for zero; returns how it was before."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = cgutils.alloca_once(builder, _WORD)
        _control(builder, "st", place)
        before = builder.load(place)
        # bits FTZ and DAZ of MXCSR
        builder.store(builder.or_(before, _WORD(0x8040)), place)
        _control(builder, "ld", place)
        return before

    return types.uint32(), code


@intrinsic
def _restore(context: Any, before: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = cgutils.alloca_once(builder, _WORD)
        builder.store(arguments[0], place)
        _control(builder, "ld", place)
        return context.get_dummy_value()

    return types.void(types.uint32), code


def _control(builder: Any, way: str, place: Any) -> None:
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{way}mxcsr")
    builder.call(function, [builder.bitcast(place, byte)])


@intrinsic(prefer_literal=True)
def _tile(context: Any, pairs: Any, vectors: Any, sizes: Any, alpha: Any, beta: Any) -> Any:
    """out = alpha a panel + beta old, for 1 to 6 rows and 1 or 4 vectors of columns. `sizes` are addresses and bytes: of `a`, from row to
    row and from column to column of its words; the number of rows; of the panel, and its depth; of `out` and `old`, each with the bytes
    from row to row."""
    paired, count = pairs.literal_value, vectors.literal_value

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, row, column, rows, panel, depth, out, line, old, old_line = cgutils.unpack_tuple(builder, arguments[2])
        alpha, beta = arguments[3:]

        def everywhere(number: Any) -> Any:
            none = ir.Constant(ir.VectorType(number.type, 16), ir.Undefined)
            return builder.shuffle_vector(builder.insert_element(none, number, _WORD(0)), none, ir.Constant(_WORDS, [0] * 16))

        def lines(address: Any) -> list[Any]:
            return [builder.inttoptr(builder.add(address, _INT(64 * v)), _LINE.as_pointer()) for v in range(count)]

        def summed(x: Any, y: Any, sums: Any) -> Any:
            kind = ir.FunctionType(_LINE, [_LINE, _LINE, _LINE])
            if paired:  # by its name in assembly, as llvmlite has no type for LLVM's bfloat
                return builder.asm(kind, "vdpbf16ps $2, $1, $0", "=v,v,v,0", [x, y, sums], False)
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v16f32"), [x, y, sums])

        # rows that aren't there are the last one once more
        last = builder.sub(rows, _INT(1))
        offsets = [
            builder.mul(row, builder.select(builder.icmp_signed("<", last, _INT(r)), last, _INT(r))) for r in range(_ROWS)
        ]
        ahead = builder.mul(row, _INT(_ROWS))
        before, loop, done = builder.block, builder.append_basic_block("depth"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        here, there, step = places = [builder.phi(_INT) for _ in range(3)]
        sums = [builder.phi(_LINE) for _ in range(_ROWS * count)]
        right = [builder.load(place, align=64) for place in lines(there)]
        new = []
        for r in range(_ROWS):
            address = builder.add(here, offsets[r])
            left = everywhere(builder.load(builder.inttoptr(address, _FLOAT.as_pointer()), align=4))
            _fetch(builder, builder.add(address, ahead))
            new += [summed(left, right[v], sums[r * count + v]) for v in range(count)]
        steps = [builder.add(here, column), builder.add(there, _INT(4 * _COLUMNS)), builder.add(step, _INT(1))]
        zeros = [ir.Constant(_LINE, [0.0] * 16)] * len(sums)
        for phi, first, following in zip([*places, *sums], [a, panel, _INT(0), *zeros], [*steps, *new], strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", steps[2], depth), loop, done)
        builder.position_at_end(done)
        scale, share = everywhere(alpha), everywhere(beta)
        fresh = builder.fcmp_ordered("==", beta, _FLOAT(0))
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_LINE, [_LINE] * 3), "llvm.fma.v16f32")
        for r in range(_ROWS):
            with builder.if_then(builder.icmp_signed("<", _INT(r), rows)):
                places, given = (lines(builder.add(x, builder.mul(y, _INT(r)))) for x, y in ((out, line), (old, old_line)))
                found = list(zip(places, given, new[r * count : (r + 1) * count], strict=True))
                with builder.if_else(fresh) as (then, otherwise):
                    with then:
                        for place, _, total in found:
                            builder.store(builder.fmul(scale, total), place, align=4)
                    with otherwise:
                        for place, there, total in found:
                            kept = builder.fmul(share, builder.load(there, align=4))
                            builder.store(builder.call(fma, [scale, total, kept]), place, align=4)
        return context.get_dummy_value()

    return types.void(pairs, vectors, types.UniTuple(types.intp, 10), types.float32, types.float32), code


def _fetch(builder: Any, address: Any) -> None:
    """Ask for what lies at an address, which may be anybody's, to be brought into the first cache."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, _WORD, _WORD, _WORD])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [builder.inttoptr(address, byte), _WORD(0), _WORD(3), _WORD(1)])
