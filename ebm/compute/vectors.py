"""Products of float32 on CPUs with AVX-512, whose registers are vectors of 16 numbers; of bfloat16 where it has that too.

24 of the 32 registers hold a piece of the result, 6 rows of 4 vectors, while for one k after another 4 vectors of the right operand are
multiplied by 6 numbers of the left one (Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication"). What 64 columns
and 128 k have of the right operand is copied to where it stays in a core's first cache; the left operand is read where it lies.

Words of 32 bits stand for pairs of bfloat16 with neighboring k, of which one instruction adds both products (AVX512_BF16): the same with
half as many k.

Where most words of the left operand are zero, as those of binary images are, its others are listed first, and each adds its multiple of a
row of the right operand to one of the result.

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
# A left operand is listed where fewer than this share of its words is not zero; from 0.33 to 0.38 on lists take longer.
_LISTED = 1 / 3
# So many k of a listed operand are multiplied at a time, by a copy that leaves room for little else in the first cache.
_REACH = 192
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
    lists = _lists(left, a_plain, pairs) if _few(left.view(np.uint32), _MAGNITUDE[pairs]) else _NONE
    job = _job(helpers.number(), pairs, left, a_plain, right, b_plain, out, added, float(alpha), float(beta), lists)
    helpers.run(_loop(_multiply), job)


@njit(cache=True)
def _job(
    threads: int,
    pairs: int,
    a: Any,
    a_plain: bool,
    b: Any,
    b_plain: bool,
    out: Any,
    added: Any,
    alpha: float,
    beta: float,
    lists: Any,
) -> Any:  # pragma: no cover
    """What `_multiply` reads: compiled, as Python takes longer for the addresses than some products do."""
    job = np.empty(18, np.int64)
    job[0], job[1], job[2] = 0, threads, pairs
    job[3], job[4], job[5] = out.shape[0], a.shape[1] if a_plain else a.shape[0], out.shape[1]
    job[6], job[7], job[8] = a.ctypes.data, 4 * (a.shape[1] if a_plain else 1), 4 * (1 if a_plain else a.shape[1])
    job[9], job[10], job[11] = b.ctypes.data, 4 * (b.shape[1] if b_plain else 1), 4 * (1 if b_plain else b.shape[1])
    job[12], job[13], job[14] = out.ctypes.data, added.ctypes.data, 4 * out.shape[1] * (added.shape[0] == out.shape[0])
    job[15] = lists.ctypes.data if lists.size else 0
    numbers = job[16:].view(np.float64)
    numbers[0], numbers[1] = alpha, beta
    return job


_NONE = np.empty((0, 0), np.uint32)
# What a word is without its signs, that of a float32 and those of a pair: -0 is zero too.
_MAGNITUDE = np.array([0x7FFFFFFF, 0x7FFF7FFF], np.uint32)


@njit(cache=True)
def _few(words: Any, magnitude: Any) -> bool:  # pragma: no cover
    """Whether few words are not zero, in one of four rows."""
    total, seen = 0, 0
    for r in range(0, words.shape[0], 4):
        row, count = words[r], np.int32(0)  # 32 bits: as many lanes as the words have
        for i in range(row.size):
            count += np.int32(np.uint32(row[i] & magnitude) != 0)
        total += int(count)
        seen += row.size
    return total < _LISTED * seen


def _lists(left: np.ndarray, plain: bool, pairs: int) -> np.ndarray:
    """Of each row of the left operand (of `left` or its transpose) the words that are not zero: see `_list`."""
    rows, k = left.shape if plain else left.shape[::-1]
    lists = CPU.empty((rows, _sizes(k)[2]), np.uint32)
    helpers.run(_loop(_list), _listing(left, plain, pairs, lists))
    return lists


@njit(cache=True)
def _sizes(k: int) -> tuple[int, int, int]:
    """The pieces of a row of k words, how many places its list has, and how many words a row of `lists` has: places and words, where each
    piece begins and where the last ends. Pieces are filled up to an even number, and 16 places are written at once."""
    pieces = -(-k // _REACH)
    places = -(-(k + pieces + 16) // 16) * 16
    return pieces, places, 2 * places + pieces + 1


@njit(cache=True)
def _listing(a: Any, plain: bool, pairs: int, lists: Any) -> Any:  # pragma: no cover
    """What `_list` reads."""
    job = np.empty(8, np.int64)
    job[0], job[1], job[2] = 0, lists.shape[0], a.shape[1] if plain else a.shape[0]
    job[3], job[4], job[5] = a.ctypes.data, 4 * (a.shape[1] if plain else 1), 4 * (1 if plain else a.shape[1])
    job[6], job[7] = lists.ctypes.data, _MAGNITUDE[pairs]
    return job


def _list(address: Any) -> None:  # pragma: no cover
    job = carray(address, 8)
    rows, k, a, a_row, a_column, lists, magnitude = job[1:]
    pieces, places, line = _sizes(k)
    wide = -(-k // 16) * 16
    memory = np.empty(16 * wide + 16, np.float32)
    turned = -(-memory.ctypes.data // 64) * 64
    first = 16 * take(job)
    while first < rows:
        last = min(first + 16, rows)
        source, step = a + first * a_row, a_row
        if a_column != 4:
            source, step = turned, 4 * wide
            whole = k // 16 * 16 if last - first == 16 else 0
            for c in range(0, whole, 16):
                transpose(a + first * a_row + c * a_column, a_column, turned + 4 * c, step)
            for r in range(last - first):
                for c in range(whole, k):
                    _at(turned + r * step + 4 * c)[0] = _at(a + (first + r) * a_row + c * a_column)[0]
        for r in range(last - first):
            here = lists + 4 * (first + r) * line
            words, begins, count = here + 4 * places, here + 8 * places, 0
            for piece in range(pieces):
                start, stop = piece * _REACH, min((piece + 1) * _REACH, k)
                _at(begins + 4 * piece)[0] = np.uint32(count)
                for c in range(start, stop, 16):
                    offset = 4 * _COLUMNS * (c - start)
                    number = min(16, stop - c)
                    count += _keep(source + r * step + 4 * c, number, magnitude, offset, here + 4 * count, words + 4 * count)
                # zero times the piece's first row
                _at(here + 4 * count)[0] = _at(words + 4 * count)[0] = np.uint32(0)
                count += count % 2
            _at(begins + 4 * pieces)[0] = np.uint32(count)
        first = 16 * take(job)
    memory[0] = 0  # Numba frees an array after its last use, which is not that of its address


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
    job = carray(address, 18)
    threads, pairs, n, k, m, a, a_row, a_column, b, b_row, b_column, out, added, added_row, lists = job[1:16]
    alpha, beta = job[16:].view(np.float64)
    _, places, list_line = _sizes(k)
    step, deep = (1, _REACH) if lists else (_ROWS, _DEPTH)
    panels, chunks = -(-m // _COLUMNS), -(-n // _CHUNK)
    height = -(-n // (chunks * _ROWS)) * _ROWS
    memory = np.empty((deep + _ROWS + 1) * _COLUMNS, np.float32)
    panel = -(-memory.ctypes.data // 64) * 64
    edge = panel + 4 * _COLUMNS * deep
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
        for start in range(0, k, deep):
            depth = min(deep, k - start)
            _copy(b + start * b_row + column * b_column, b_row, b_column, depth, width, panel)
            rest = np.float32(beta) if start == 0 else np.float32(1)
            for row in range(first, last, step):
                target, rows = out + 4 * (row * m + column), min(step, last - row)
                # a tile that doesn't fit goes where it does first
                place, line, kept = (target, 4 * m, rest) if width == _COLUMNS else (edge, 4 * _COLUMNS, np.float32(0))
                old, old_line = (added + row * added_row + 4 * column, added_row) if start == 0 else (target, 4 * m)
                if lists:
                    here = lists + 4 * row * list_line
                    begins = here + 8 * places + 4 * (start // deep)
                    begin, end = int(_at(begins)[0]), int(_at(begins + 4)[0])
                    listed = here + 4 * begin, here + 4 * (places + begin), end - begin, panel, place, old
                    _sum_listed(pairs != 0, width <= 16, listed, np.float32(alpha), kept)
                else:
                    source = a + row * a_row + start * a_column
                    sizes = source, a_row, a_column, rows, panel, depth, place, line, old, old_line
                    _tile(pairs != 0, width <= 16, sizes, np.float32(alpha), kept)
                if width < _COLUMNS:
                    _add_edge(edge, target, 4 * m, old, old_line, rows, width, rest)
    _restore(before)
    memory[0] = 0  # as in _list


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


@intrinsic
def _keep(context: Any, source: Any, number: Any, magnitude: Any, offset: Any, places: Any, words: Any) -> Any:
    """Of up to 16 words those that are not zero, with their places, bytes in a panel from that of its first row; returns how many.
    `magnitude` has the bits that count."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, *sizes = arguments[:4]
        number, magnitude, offset = (_everywhere(builder, builder.trunc(size, _WORD)) for size in sizes)
        pointer, mask, zeros = _WORDS.as_pointer(), ir.VectorType(ir.IntType(1), 16), ir.Constant(_WORDS, [0] * 16)
        inside = builder.icmp_signed("<", ir.Constant(_WORDS, list(range(16))), number)
        kind = ir.FunctionType(_WORDS, [pointer, _WORD, mask, _WORDS])
        load = cgutils.get_or_insert_function(builder.module, kind, "llvm.masked.load.v16i32.p0")
        found = builder.call(load, [builder.inttoptr(source, pointer), _WORD(4), inside, zeros])
        there = builder.add(ir.Constant(_WORDS, [4 * _COLUMNS * c for c in range(16)]), offset)
        on = builder.icmp_unsigned("!=", builder.and_(found, magnitude), zeros)
        kind = ir.FunctionType(_WORDS, [_WORDS, _WORDS, mask])
        compress = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.mask.compress.v16i32")
        for numbers, target in zip((there, found), arguments[4:], strict=True):
            builder.store(builder.call(compress, [numbers, zeros, on]), builder.inttoptr(target, pointer), align=4)
        return builder.zext(builder.ctpop(builder.bitcast(on, ir.IntType(16))), _INT)

    return types.intp(*[types.intp] * 6), code


@intrinsic
def _sum_listed(context: Any, pairs: Any, narrow: Any, listed: Any, alpha: Any, beta: Any) -> Any:
    """out = alpha sum_j words_j panel_j + beta old, one row of 1 or 4 vectors. `listed` are the addresses of the places in the panel, in
    bytes, and of the words, an even number of each; their number; the addresses of the panel, of `out` and `old`."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def of(pairs: bool, count: int) -> None:
            offsets, words, number, panel, out, old = cgutils.unpack_tuple(builder, arguments[2])
            before = builder.block
            head, body, done = (builder.append_basic_block(name) for name in ("listed", "two", "done"))
            builder.branch(head)
            builder.position_at_end(head)
            step, *sums = builder.phi(_INT), *(builder.phi(_LINE) for _ in range(2 * count))
            builder.cbranch(builder.icmp_signed("<", step, number), body, done)
            builder.position_at_end(body)
            new = []
            # two at a time, each with sums of its own: one sum would wait for the other
            for j in range(2):
                here = builder.mul(builder.add(step, _INT(j)), _INT(4))
                offset = builder.load(builder.inttoptr(builder.add(offsets, here), _WORD.as_pointer()), align=4)
                word = builder.load(builder.inttoptr(builder.add(words, here), _FLOAT.as_pointer()), align=4)
                places = _lines(builder, builder.add(panel, builder.zext(offset, _INT)), count)
                left, right = _everywhere(builder, word), [builder.load(place, align=64) for place in places]
                own = sums[j * count : (j + 1) * count]
                new += [_summed(builder, pairs, left, x, y) for x, y in zip(right, own, strict=True)]
            firsts = [_INT(0), *[ir.Constant(_LINE, [0.0] * 16)] * len(sums)]
            for phi, first, following in zip([step, *sums], firsts, [builder.add(step, _INT(2)), *new], strict=True):
                phi.add_incoming(first, before)
                phi.add_incoming(following, body)
            builder.branch(head)
            builder.position_at_end(done)
            totals = [builder.fadd(x, y) for x, y in zip(sums[:count], sums[count:], strict=True)]
            alpha, beta = arguments[3:]
            _store(builder, [(_lines(builder, out, count), _lines(builder, old, count), totals)], alpha, beta)

        _whichever(builder, arguments[0], arguments[1], of)
        return context.get_dummy_value()

    return types.void(types.boolean, types.boolean, types.UniTuple(types.intp, 6), types.float32, types.float32), code


@intrinsic
def _tile(context: Any, pairs: Any, narrow: Any, sizes: Any, alpha: Any, beta: Any) -> Any:
    """out = alpha a panel + beta old, for 1 to 6 rows and 1 or 4 vectors of columns. `sizes` are addresses and bytes: of `a`, from row to
    row and from column to column of its words; the number of rows; of the panel, and its depth; of `out` and `old`, each with the bytes
    from row to row."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def of(pairs: bool, count: int) -> None:
            a, row, column, rows, panel, depth, out, line, old, old_line = cgutils.unpack_tuple(builder, arguments[2])
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
            right = [builder.load(place, align=64) for place in _lines(builder, there, count)]
            new = []
            for r in range(_ROWS):
                address = builder.add(here, offsets[r])
                left = _everywhere(builder, builder.load(builder.inttoptr(address, _FLOAT.as_pointer()), align=4))
                _fetch(builder, builder.add(address, ahead))
                new += [_summed(builder, pairs, left, right[v], sums[r * count + v]) for v in range(count)]
            steps = [builder.add(here, column), builder.add(there, _INT(4 * _COLUMNS)), builder.add(step, _INT(1))]
            zeros = [ir.Constant(_LINE, [0.0] * 16)] * len(sums)
            for phi, first, following in zip([*places, *sums], [a, panel, _INT(0), *zeros], [*steps, *new], strict=True):
                phi.add_incoming(first, before)
                phi.add_incoming(following, loop)
            builder.cbranch(builder.icmp_signed("<", steps[2], depth), loop, done)
            builder.position_at_end(done)
            found = []
            for r in range(_ROWS):
                places, given = (
                    _lines(builder, builder.add(x, builder.mul(y, _INT(r))), count) for x, y in ((out, line), (old, old_line))
                )
                found.append((places, given, new[r * count : (r + 1) * count]))
            alpha, beta = arguments[3:]
            _store(builder, found, alpha, beta, rows)

        _whichever(builder, arguments[0], arguments[1], of)
        return context.get_dummy_value()

    return types.void(types.boolean, types.boolean, types.UniTuple(types.intp, 10), types.float32, types.float32), code


def _whichever(builder: Any, pairs: Any, narrow: Any, code: Callable[[bool, int], None]) -> None:
    """`code(pairs, vectors)` for words that are pairs and for numbers, for 1 vector of columns and for 4, chosen when it runs."""
    with builder.if_else(pairs) as kinds:
        for kind, words in zip((True, False), kinds, strict=True):
            with words, builder.if_else(narrow) as widths:
                for count, columns in zip((1, 4), widths, strict=True):
                    with columns:
                        code(kind, count)


def _everywhere(builder: Any, number: Any) -> Any:
    """A vector of one number."""
    none = ir.Constant(ir.VectorType(number.type, 16), ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(none, number, _WORD(0)), none, ir.Constant(_WORDS, [0] * 16))


def _lines(builder: Any, address: Any, count: int) -> list[Any]:
    """Pointers to neighboring vectors."""
    return [builder.inttoptr(builder.add(address, _INT(64 * v)), _LINE.as_pointer()) for v in range(count)]


def _summed(builder: Any, pairs: bool, x: Any, y: Any, sums: Any) -> Any:
    """sums + x y."""
    kind = ir.FunctionType(_LINE, [_LINE, _LINE, _LINE])
    if pairs:  # by its name in assembly, as llvmlite has no type for LLVM's bfloat
        return builder.asm(kind, "vdpbf16ps $2, $1, $0", "=v,v,v,0", [x, y, sums], False)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v16f32"), [x, y, sums])


def _store(builder: Any, rows: list[Any], alpha: Any, beta: Any, number: Any = None) -> None:
    """out = alpha totals + beta old in the first `number` of these rows, or all; each has the places of all three."""
    scale, share = _everywhere(builder, alpha), _everywhere(builder, beta)
    fresh = builder.fcmp_ordered("==", beta, _FLOAT(0))
    for r, row in enumerate(rows):
        there = builder.icmp_signed("<", _INT(r), _INT(len(rows)) if number is None else number)
        with builder.if_then(there), builder.if_else(fresh) as (then, otherwise):
            with then:
                for place, _, total in zip(*row, strict=True):
                    builder.store(builder.fmul(scale, total), place, align=4)
            with otherwise:
                for place, old, total in zip(*row, strict=True):
                    kept = builder.fmul(share, builder.load(old, align=4))
                    builder.store(_summed(builder, False, scale, total, kept), place, align=4)


def _fetch(builder: Any, address: Any) -> None:
    """Ask for what lies at an address, which may be anybody's, to be brought into the first cache."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, _WORD, _WORD, _WORD])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [builder.inttoptr(address, byte), _WORD(0), _WORD(3), _WORD(1)])
