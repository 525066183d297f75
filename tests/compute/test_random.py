"""Streams: the published vectors of Philox, addresses, and the distributions."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ebm.compute.device import CPU, Arena, MixedDevicesError
from ebm.compute.kernel import Kernel, Words, kernel, registry
from ebm.compute.kernels.philox import CUDA, philox, philox_jit
from ebm.compute.kernels.sampling import to_uniform
from ebm.compute.random import Stream

# Random123, kat_vectors, philox4x32 with 10 rounds: counter, key, result.
PUBLISHED = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.fixture
def one_block() -> Any:
    """One block of Philox as a kernel: the functions that the sampling kernels are made of, without an address."""

    @kernel
    def one_block(counter: Words, key: Words, out: Words) -> None:
        words = philox(tuple(counter[i : i + 1] for i in range(4)), (key[0:1], key[1:2]))
        for i in range(4):
            out[i : i + 1] = words[i]

    @one_block.numba
    def _(counter: Any, key: Any, out: Any) -> None:
        c, k = counter.astype(np.uint64), key.astype(np.uint64)
        out[0], out[1], out[2], out[3] = philox_jit(c[0], c[1], c[2], c[3], k[0], k[1])

    one_block.cuda(
        """extern "C" __global__ void one_block(const unsigned* counter, const unsigned* key, unsigned* out) {
            Block block = philox(counter[0], counter[1], counter[2], counter[3], key[0], key[1]);
            if (first_item() < 4) out[first_item()] = block.word[first_item()];
        }""",
        CUDA,
    )
    yield one_block
    del registry["one_block"]


def test_published_words(one_block: Kernel, device):
    for counter, key, result in PUBLISHED:
        arrays = [device.asarray(np.array(words, np.uint32)) for words in (counter, key, (0,) * 4)]
        one_block(*arrays)
        assert device.to_host(arrays[2]).tolist() == list(result)


def test_address_of_an_element():
    """The documented address, computed by hand: a seed, a name or a layout that changes meaning breaks stored checkpoints."""
    seed, columns = 0x299F31D0_A4093822, 10
    stream = Stream(seed, "hidden")
    stream.words(3)
    words = stream.words((4, columns), first_row=6)
    name = 0x885DE9BD  # CRC-32 of "hidden"
    for row, column in ((0, 0), (3, 9), (2, 3), (1, 5)):
        block, quarter = column % 3, column // 3
        counter = [np.array([x], np.uint32) for x in (block, 6 + row, 1, name)]
        key = [np.array([x], np.uint32) for x in (0xA4093822, 0x299F31D0)]
        assert words[row, column] == philox(tuple(counter), tuple(key))[quarter][0]


FIELD = np.random.default_rng(0).normal(0, 2, (37, 12)).astype(np.float32)
DRAWS = {
    "words": lambda stream, array, row: stream.words(array.shape, row),
    "uniform": lambda stream, array, row: stream.uniform(array.shape, np.float32, row),
    "uniform in float64": lambda stream, array, row: stream.uniform(array.shape, np.float64, row),
    "normal": lambda stream, array, row: stream.normal(array.shape, np.float32, row),
    "bernoulli": lambda stream, array, row: stream.bernoulli(abs(array) / 10, row),
    "categorical": lambda stream, array, row: stream.categorical(array, 4, row),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_any_split_over_calls_and_threads_gives_the_same_bits(draw, device):
    def part(rows: slice) -> np.ndarray:
        field = device.asarray(FIELD[rows])
        return device.to_host(draw(Stream(5, "x", device).at(3), field, rows.start))

    whole = part(slice(0, 37))
    for cuts in ([0, 1, 37], [0, 10, 11, 30, 37], list(range(38))):
        parts = [slice(*pair) for pair in itertools.pairwise(cuts)]
        if device is CPU:
            with ThreadPoolExecutor(4) as pool:
                results = list(pool.map(part, parts))
        else:
            results = [part(rows) for rows in parts]
        np.testing.assert_array_equal(np.concatenate(results), whole)


@pytest.mark.parametrize("name", ["words", "uniform", "uniform in float64", "bernoulli"])
def test_devices_give_the_same_bits(name, device):
    want = DRAWS[name](Stream(2**64 - 1, "x"), FIELD, 2**32 - 7)
    got = DRAWS[name](Stream(2**64 - 1, "x", device), device.asarray(FIELD), 2**32 - 7)
    np.testing.assert_array_equal(device.to_host(got), want)


def test_both_precisions_hold_the_same_uniforms():
    np.testing.assert_array_equal(Stream(1).uniform((50, 50), np.float32), Stream(1).uniform((50, 50), np.float64))


def test_uniform_lies_on_its_grid():
    k = Stream(0).uniform(500_000).astype(float) * 2**24
    assert (k == np.floor(k)).all()
    assert 0 <= k.min() < 2**9
    assert 2**24 - 2**9 < k.max() < 2**24
    # each of the 24 bits is as often 0 as 1
    bits = (k.astype(np.uint32)[:, None] >> np.arange(24, dtype=np.uint32) & 1).mean(axis=0)
    assert (abs(bits - 0.5) < 4 * 0.5 / np.sqrt(k.size)).all()


def test_largest_and_smallest_uniforms(device):
    ends = device.asarray(np.array([0, 255, 256, 2**32 - 1], np.uint32))
    for dtype in (np.float32, np.float64):
        u = device.to_host(to_uniform(ends, np.dtype(dtype)))
        assert u.tolist() == [0, 0, 2**-24, 1 - 2**-24]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniform_distribution(dtype):
    u = Stream(3, "uniform").uniform((500, 1001), dtype).ravel().astype(float)
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert stats.kstest(np.diff(u[::2]), stats.triang(0.5, -1, 2).cdf).pvalue > 1e-3  # neighbours are independent


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal_distribution(dtype):
    x = Stream(4, "normal").normal((500, 1001), dtype).astype(float)
    assert stats.kstest(x.ravel(), "norm").pvalue > 1e-3
    n = x.size
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((x**power).mean() - moment) < 4 * np.sqrt(variance / n)
    assert 4.5 < abs(x).max() < 5.9
    # The two of a pair have one radius; neither they nor their squares may be correlated.
    quarter = 251
    for a, b in ((0, 1), (2, 3), (0, 2), (1, 2)):
        first, second = (x[:, q * quarter : q * quarter + 248] for q in (a, b))
        for transform in (lambda v: v, lambda v: v**2 - 1):
            assert abs(np.corrcoef(transform(first).ravel(), transform(second).ravel())[0, 1]) < 4 / np.sqrt(first.size)


def test_bernoulli_distribution():
    p = np.array([0, 2**-24, 0.001, 0.25, 0.5, 0.9, 1 - 2**-24, 1], np.float32)
    sample = Stream(5).bernoulli(np.tile(p, (50_000, 1)))
    assert set(np.unique(sample)) == {0, 1}
    frequency = sample.mean(axis=0, dtype=float)
    assert (abs(frequency - p) <= 4 * np.sqrt(p * (1 - p) / len(sample)) + 1e-6 * (p * (1 - p) > 0)).all()
    assert frequency[0] == 0
    assert frequency[-1] == 1
    assert abs(np.corrcoef(sample[:, 3:6].T) - np.eye(3)).max() < 4 / np.sqrt(len(sample))


@pytest.mark.parametrize("categories", [1, 2, 5, 10])
def test_categorical_distribution(categories):
    field = np.linspace(-3, 2, 10, dtype=np.float32)
    sample = Stream(6).categorical(np.tile(field + 50, (20_000, 1)), categories)
    assert (sample.reshape(-1, categories).sum(axis=1) == 1).all()
    probability = np.exp(field.astype(float)).reshape(-1, categories)
    probability /= probability.sum(axis=1, keepdims=True)
    for counts, p in zip(sample.sum(axis=0, dtype=float).reshape(-1, categories), probability, strict=True):
        assert categories == 1 or stats.chisquare(counts, p * len(sample)).pvalue > 1e-3


def test_seeds_names_and_draws_are_independent():
    streams = [
        Stream(0),
        Stream(1),
        Stream(2**32),
        Stream(0, "a"),
        Stream(0, "b"),
        Stream(1, "a"),
        Stream(0).at(1),
        Stream(0).at(2**31),
    ]
    u = np.array([stream.uniform((100, 500)).ravel() for stream in streams])
    off_diagonal = np.corrcoef(u.astype(float)) - np.eye(len(u))
    assert abs(off_diagonal).max() < 4.5 / np.sqrt(u.shape[1])


def test_a_seed_of_the_operating_system_is_kept():
    first, second = Stream(), Stream()
    assert first.seed != second.seed
    np.testing.assert_array_equal(Stream(first.seed).words(5), first.words(5))


def test_draws_follow_each_other(device):
    stream = Stream(7, "x", device)
    kinds = (
        lambda s: s.uniform((3, 5)),
        lambda s: s.normal((3, 5)),
        lambda s: s.words((3, 5)),
        lambda s: s.bernoulli(device.asarray(np.full((3, 5), 0.5))),
        lambda s: s.categorical(device.zeros((3, 5), np.float32)),
    )
    for number, kind in enumerate(kinds):
        assert stream.draw == number
        np.testing.assert_array_equal(device.to_host(kind(stream)), device.to_host(kind(Stream(7, "x", device).at(number))))


def test_ending_a_step_changes_no_draw(device):
    """The counter in device memory plus the offset is the draw, whichever of the two has counted."""
    plain, stepping = Stream(7, "x", device), Stream(7, "x", device)
    plain.seek_(2**32 - 3)  # over the end of the counter too
    stepping.seek_(2**32 - 3)
    for draws in (1, 0, 2, 3):
        for _ in range(draws):
            np.testing.assert_array_equal(device.to_host(plain.words(9)), device.to_host(stepping.words(9)))
        stepping.advance_()
        assert plain.draw == stepping.draw
    assert stepping.draw == 3


def test_drawing_waits_for_nothing(strict):
    stream = Stream(7, "x", strict)
    uploads = strict.uploads
    stream.normal((3, 5))
    stream.bernoulli(strict.zeros((3, 5), np.float32))
    stream.categorical(strict.zeros((3, 6), np.float32), 2)
    stream.advance_()
    assert (strict.syncs, strict.uploads) == (0, uploads)


def test_state_is_a_few_integers_and_continues_elsewhere(device):
    stream = Stream(2**63 + 5, "chains", device)
    stream.uniform(3)
    stream.advance_()
    stream.uniform(3)
    state = stream.state_dict()
    assert state == {"seed": 2**63 + 5, "name": "chains", "draw": 2}
    other = Stream(0, "", CPU)
    other.uniform(4)
    other.load_state_dict(state)
    np.testing.assert_array_equal(other.words(7), device.to_host(stream.words(7)))
    assert repr(other) == f"Stream(seed={2**63 + 5}, name='chains', draw=3)"


def test_restoring_keeps_the_memory_that_a_captured_step_reads(device):
    stream = Stream(1, "x", device)
    address = stream.take(0)[0]
    stream.load_state_dict({"seed": 2**40 + 9, "name": "y", "draw": 5})
    assert stream.take(0)[0] is address
    np.testing.assert_array_equal(device.to_host(address), Stream(2**40 + 9, "y").at(5).take(0)[0])


def test_a_stream_made_in_a_step_outlives_it():
    buffers = Arena()
    with CPU.arena(buffers):
        stream = Stream(1)
        CPU.zeros(4, np.uint32)
    with CPU.arena(buffers):
        CPU.zeros(4, np.uint32)
    np.testing.assert_array_equal(stream.words(5), Stream(1).words(5))


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, "1", np.float64(3)])
def test_bad_seeds(seed):
    with pytest.raises(ValueError, match=r"found seed=.*expected an integer in \[0, 2\*\*64\) or None"):
        Stream(seed)


def test_bad_arguments(strict):
    with pytest.raises(MixedDevicesError):
        Stream(1).bernoulli(strict.zeros((2, 2), np.float32))
    with pytest.raises(TypeError, match="float16"):
        Stream(1).uniform(5, np.float16)
    for categories in (0, -1, 3):
        with pytest.raises(ValueError, match=f"found groups of {categories} in 4 columns"):
            Stream(1).categorical(np.zeros((2, 4)), categories)
    for shape in ((4,), (1, 2, 2)):
        with pytest.raises(ValueError, match="expected \\(rows, categories\\)"):
            Stream(1).categorical(np.zeros(shape))
