import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import chi2

from ebm import CD, RBM
from ebm.compute.device import get
from ebm.compute.upload import Upload
from ebm.data.minibatches import Minibatches, permuted

KEYS = np.array([7, 2**32 - 1, 0, 12345, 99, 4_000_000_000, 1, 2], np.uint32)


def numbered(rows, width=1, dtype=np.float64):
    """Rows that say which they are."""
    return np.repeat(np.arange(rows, dtype=dtype)[:, None], width, axis=1)


def epoch_of(batches, epoch):
    return np.concatenate([batches.batch(epoch, i)[:, 0].copy() for i in range(len(batches))]).astype(int)


def test_the_order_is_a_permutation_of_every_length():
    for rows in [*range(1, 301), 1023, 1024, 1025, 65_537, 200_000]:
        order = permuted(np.arange(rows), rows, KEYS)
        assert np.array_equal(np.sort(order), np.arange(rows)), rows


def test_positions_may_be_asked_for_in_any_order_and_split():
    order = permuted(np.arange(777), 777, KEYS)
    np.testing.assert_array_equal(permuted(np.arange(777)[::-1], 777, KEYS)[::-1], order)
    np.testing.assert_array_equal(permuted(np.array([5, 5, 776]), 777, KEYS), order[[5, 5, 776]])
    assert permuted(np.array([10**15]), 10**15 + 3, KEYS)[0] < 10**15 + 3
    grid = np.arange(12).reshape(3, 4).T  # of any shape and layout
    np.testing.assert_array_equal(permuted(grid, 777, KEYS), order[grid])


def orders(rows, epochs):
    batches = Minibatches(np.zeros((rows, 1)), 1, seed=5)
    return np.array([batches.order(epoch, 0, rows) for epoch in range(epochs)])


@pytest.mark.parametrize("rows", [2, 3, 5, 16, 50])
def test_every_row_is_as_likely_at_every_position(rows):
    """Chi-square over rows x positions, (rows - 1)^2 degrees of freedom; a sound order fails once in 10^5 seeds."""
    epochs = 1500
    found = orders(rows, epochs)
    counts = np.array([np.bincount(found[:, position], minlength=rows) for position in range(rows)])
    # the table is doubly stochastic: hence the factor and the degrees of freedom
    statistic = ((counts - epochs / rows) ** 2 / (epochs / rows)).sum() * (rows - 1) / rows
    assert statistic < chi2.ppf(1 - 1e-5, (rows - 1) ** 2)


@pytest.mark.parametrize("distance", [1, 2, 7])
def test_neighbours_are_not_correlated(distance):
    """The differences of rows that follow each other, modulo the number of rows, are uniform over what is not zero."""
    rows, epochs = 41, 1000
    found = orders(rows, epochs)
    differences = (found[:, distance:] - found[:, :-distance]) % rows
    counts = np.bincount(differences.ravel(), minlength=rows)
    assert counts[0] == 0
    expected = differences.size / (rows - 1)
    # differences within an epoch depend on each other a little: twice the limit of independent ones
    assert ((counts[1:] - expected) ** 2 / expected).sum() < 2 * chi2.ppf(1 - 1e-5, rows - 2)


def test_neighbours_in_a_large_set_are_far_apart():
    order = orders(100_000, 1)[0]
    steps = np.abs(np.diff(order)) / 100_000
    # |difference| of two independent uniform numbers has mean 1/3 and standard deviation sqrt(1/18)
    assert abs(steps.mean() - 1 / 3) < 5 * np.sqrt(1 / 18 / 100_000)
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 5 / np.sqrt(100_000)


def test_epochs_and_seeds_have_orders_of_their_own():
    first = Minibatches(numbered(40), 10, seed=1)
    same, other = Minibatches(numbered(40), 10, seed=1), Minibatches(numbered(40), 10, seed=2)
    np.testing.assert_array_equal(epoch_of(first, 3), epoch_of(same, 3))
    assert not np.array_equal(epoch_of(first, 0), epoch_of(first, 1))
    assert not np.array_equal(epoch_of(first, 0), epoch_of(other, 0))
    assert not np.array_equal(epoch_of(first, 0), np.arange(40))


@pytest.mark.parametrize(("rows", "size"), [(10, 3), (12, 4), (7, 7), (5, 1), (8, 5), (70_000, 999)])
def test_batches_are_full_and_an_epoch_visits_each_row_once(rows, size):
    batches = Minibatches(numbered(rows), size, seed=1)
    assert len(batches) == -(-rows // size)
    found = epoch_of(batches, 2)
    assert len(found) == len(batches) * size
    np.testing.assert_array_equal(np.sort(found[:rows]), np.arange(rows))
    # what fills the last batch is the epoch's beginning
    np.testing.assert_array_equal(found[rows:], found[: len(found) - rows])
    assert len(set(found[-size:])) == size


@pytest.mark.parametrize("chunk", [1, 8, 20])
def test_batches_are_addressed_and_do_not_depend_on_what_was_asked_before(monkeypatch, chunk):
    expected = Minibatches(numbered(50), 4, seed=1)
    whole = [[expected.batch(epoch, i).copy() for i in range(13)] for epoch in range(3)]
    monkeypatch.setattr("ebm.data.minibatches._CHUNK", chunk)
    batches = Minibatches(numbered(50), 4, seed=1)
    for epoch, index in ((2, 12), (0, 0), (0, 7), (1, 7), (1, 6), (0, 7)):
        np.testing.assert_array_equal(batches.batch(epoch, index), whole[epoch][index])


def test_rows_in_order_without_shuffling():
    batches = Minibatches(numbered(10), 4, shuffle=False)
    for epoch in range(2):
        np.testing.assert_array_equal(epoch_of(batches, epoch), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", ">f4", "float32", "float64"])
@pytest.mark.parametrize("target", ["float32", "float64"])
def test_every_type_of_data_becomes_the_machines(dtype, target):
    data = np.random.default_rng(1).integers(0, 2, (20, 3)).astype(dtype)
    batches = Minibatches(data, 20, dtype=target, seed=1)
    batch = batches.batch(0, 0)
    assert batch.dtype == np.dtype(target)
    np.testing.assert_array_equal(batch, data[batches.order(0, 0, 20)])


LAYOUTS = {
    "rows": lambda x: x,
    "columns": np.asfortranarray,
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "some columns": lambda x: np.concatenate([x, x], axis=1)[:, : x.shape[1]],
    "unaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_no_layout_of_the_data_makes_a_batch_copy_them_all(layout, dtype):
    data = LAYOUTS[layout](np.random.default_rng(2).integers(0, 2, (20_000, 50)).astype(dtype))
    batches = Minibatches(data, 20, seed=1)
    first = batches.batch(0, 0).copy()
    tracemalloc.start()
    batches.batch(0, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < data.nbytes / 20
    np.testing.assert_array_equal(first, data[batches.order(0, 0, 20)])


# Binarization: a draw is a function of seed, epoch, batch and place.


def test_bits_have_the_intensities_as_means_and_differ_between_visits():
    intensity = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    batches = Minibatches(np.tile(intensity, (1000, 1)), 100, seed=1, binarization="stochastic")
    visits = np.array([[batches.batch(epoch, i).copy() for i in range(10)] for epoch in range(3)])
    assert set(np.unique(visits)) == {0.0, 1.0}
    n = visits.size / 5
    means = visits.reshape(-1, 5).mean(axis=0, dtype=float)
    assert (np.abs(means - intensity) <= 5 * np.sqrt(intensity * (1 - intensity) / n)).all()
    flat = visits.reshape(30, -1)
    assert len({visit.tobytes() for visit in flat}) == 30
    between = np.corrcoef(visits[..., 2].reshape(30, -1))[~np.eye(30, dtype=bool)]
    assert np.abs(between).max() < 5.5 / np.sqrt(100)  # of 435 pairs


def test_bits_are_addressed():
    grey = np.random.default_rng(3).random((30, 4))
    batches, again = (Minibatches(grey, 10, seed=1, binarization="stochastic") for _ in range(2))
    visited = {(epoch, i): batches.batch(epoch, i).copy() for epoch in range(3) for i in range(3)}
    for place in [(2, 2), (0, 1), (1, 0), (0, 1)]:
        np.testing.assert_array_equal(again.batch(*place), visited[place])
    other = Minibatches(grey, 10, seed=2, binarization="stochastic")
    assert not np.array_equal(other.batch(0, 0), visited[0, 0])


def test_the_data_themselves_are_not_binarized():
    grey = np.full((10, 2), 0.5)
    Minibatches(grey, 10, binarization="stochastic").batch(0, 0)
    assert (grey == 0.5).all()


@pytest.mark.parametrize("binarization", [None, "stochastic"])
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_another_device_gets_the_same_batches(strict, monkeypatch, binarization, resident, dtype):
    if not resident:
        monkeypatch.setattr("ebm.data.minibatches.RESIDENT_BYTES", 10)
    data = np.random.default_rng(4).integers(0, 2, (25, 6)).astype(dtype)
    host, device = (Minibatches(data, 10, seed=1, binarization=binarization, **options) for options in ({}, {"device": strict}))
    before = strict.syncs
    for place in [(0, 0), (0, 2), (3, 1)]:
        batch = device.batch(*place)
        assert strict.syncs == before
        np.testing.assert_array_equal(strict.to_host(batch), host.batch(*place))
        before = strict.syncs


def test_data_on_the_device_stay_there(strict):
    data = np.random.default_rng(5).random((25, 6)).astype(np.float32)
    there = strict.asarray(data)
    uploads = strict.uploads
    batch = Minibatches(there, 10, device=strict, seed=1).batch(0, 1)
    np.testing.assert_array_equal(strict.to_host(batch), Minibatches(data, 10, seed=1).batch(0, 1))
    assert strict.uploads - uploads <= 1  # the order


# Streaming: what is not on the device comes there batch by batch, each while the one before is learned from.

WIDTH = 6
FORMS = {
    "the device's type": lambda x, folder: x,
    "bytes": lambda x, folder: (100 * x).astype(np.uint8),
    "bits": lambda x, folder: x > 0.5,
    "doubles": lambda x, folder: x.astype(np.float64) + 1e-9,
    "big-endian": lambda x, folder: x.astype(">f4"),
    "columns": lambda x, folder: np.asfortranarray(x),
    "sparse": lambda x, folder: sparse.csr_array(x * (x > 0.7)),
    "sparse doubles": lambda x, folder: sparse.csr_matrix(x.astype(np.float64) * (x > 0.7)),
    "a file": lambda x, folder: mapped(x, folder / "rows"),
}


def mapped(x, file):
    x.tofile(file)
    return np.memmap(file, x.dtype, "r", shape=x.shape)


@pytest.fixture
def streamed(monkeypatch):
    monkeypatch.setattr("ebm.data.minibatches.RESIDENT_BYTES", 10)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("binarization", [None, "stochastic"])
def test_streamed_batches_are_the_same(strict, streamed, tmp_path, form, binarization):
    data = FORMS[form](np.random.default_rng(6).random((25, WIDTH), np.float32), tmp_path)
    host, device = (Minibatches(data, 10, seed=1, binarization=binarization, **options) for options in ({}, {"device": strict}))
    first = device.batch(0, 0)
    strict.syncs = strict.uploads = 0
    for place in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 0), (0, 2), (3, 1), (3, 2), (4, 0), (4, 1)]:
        batch = device.batch(*place)
        assert batch is first, "a captured step reads always the same array"
        assert (strict.syncs, strict.uploads) == (0, 0)
        np.testing.assert_array_equal(strict.to_host(batch), host.batch(*place), err_msg=str(place))
        strict.syncs = 0


@pytest.mark.parametrize(
    ("dtype", "travels"), [("u1", "u1"), (">i2", "i2"), ("f4", "f4"), ("f8", "f4"), (">f4", "f4"), ("i8", "f4")]
)
def test_the_smaller_type_travels(strict, streamed, monkeypatch, dtype, travels):
    sent = set()
    room = Upload.room
    monkeypatch.setattr(Upload, "room", lambda self: sent.add(room(self).dtype.str) or room(self))
    Minibatches(np.ones((20, 3), dtype), 5, device=strict).batch(0, 0)
    assert sent == {np.dtype(travels).str}


def test_a_batch_is_gathered_once_and_sent_before_it_is_asked_for(strict, streamed, monkeypatch):
    log = []
    send, receive = Upload.send, Upload.receive
    monkeypatch.setattr(Upload, "send", lambda self: log.append("send") or send(self))
    monkeypatch.setattr(Upload, "receive", lambda self, out: log.append("receive") or receive(self, out))
    batches = Minibatches(numbered(25), 10, device=strict)
    for epoch in range(2):
        for i in range(3):
            batches.batch(epoch, i)
    assert log == ["send"] + 6 * ["receive", "send"]


def test_what_was_sent_ahead_is_of_the_old_order(strict, streamed):
    data = numbered(30)
    first, second = (Minibatches(data, 10, seed=seed, device=strict) for seed in (1, 2))
    second.batch(0, 0)
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(strict.to_host(second.batch(0, 1)), Minibatches(data, 10, seed=1).batch(0, 1))


@pytest.mark.parametrize("sent", [False, True])
def test_an_interruption_leaves_nothing_behind(strict, streamed, monkeypatch, sent):
    data = numbered(30)
    batches, expected = Minibatches(data, 10, seed=1, device=strict), Minibatches(data, 10, seed=1)
    batches.batch(0, 0)
    send = Upload.send

    def interrupted(upload):
        if sent:
            send(upload)
        raise KeyboardInterrupt

    for place in [(0, 1), (0, 0)]:
        with monkeypatch.context() as patch:
            patch.setattr(Upload, "send", interrupted)
            with pytest.raises(KeyboardInterrupt):
                batches.batch(*place)
        np.testing.assert_array_equal(strict.to_host(batches.batch(*place)), expected.batch(*place))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_a_machine_learns_the_same_from_streamed_rows(strict, monkeypatch, form):
    data = (np.random.default_rng(7).random((50, WIDTH)) < 0.3).astype(np.float32)
    options = {"epochs": 3, "batch_size": 20, "learning": CD(), "binarization": "stochastic"}
    resident, streaming = (RBM(WIDTH, 4, device=strict, seed=1) for _ in range(2))
    resident.fit(data, **options)
    monkeypatch.setattr("ebm.data.minibatches.RESIDENT_BYTES", 10)
    streaming.fit(form(data), **options)
    np.testing.assert_array_equal(*(strict.to_host(rbm.parameters.buffer) for rbm in (resident, streaming)))


@pytest.mark.gpu
@pytest.mark.parametrize("form", FORMS)
def test_streamed_batches_are_the_same_on_a_gpu(monkeypatch, tmp_path, form):
    gpu = get("gpu")
    data = FORMS[form](np.random.default_rng(8).random((5_000, 600), np.float32), tmp_path)
    places = [(0, 4), *((epoch, i) for epoch in range(2) for i in range(5)), (0, 2), (0, 1), (3, 4), (4, 0), (4, 0)]
    resident = Minibatches(
        gpu.asarray(data.toarray() if sparse.issparse(data) else data.astype(data.dtype.newbyteorder("="))),
        1_000,
        seed=1,
        device=gpu,
    )
    monkeypatch.setattr("ebm.data.minibatches.RESIDENT_BYTES", 10)
    streaming = Minibatches(data, 1_000, seed=1, device=gpu)
    work, seen = gpu.xp.ones((4_000, 4_000), np.float32), []
    for place in places:
        batch = streaming.batch(*place)
        for _ in range(3):  # steps that last longer than the copies, so that host and copies run ahead
            work = work @ work * np.float32(1 / 4_000)
        seen.append(batch.copy())
    for place, batch in zip(places, seen, strict=True):
        np.testing.assert_array_equal(gpu.to_host(batch), gpu.to_host(resident.batch(*place)), err_msg=str(place))


def test_the_seed_belongs_to_the_state_of_a_run():
    """A machine made with seed=None has another seed in the process that resumes its run."""
    grey = numbered(30) / 30
    first, second = (Minibatches(grey, 10, seed=seed, binarization="stochastic") for seed in (1, 2))
    second.batch(0, 0)
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(second.batch(0, 0), first.batch(0, 0))
    np.testing.assert_array_equal(second.batch(1, 2), first.batch(1, 2))


@pytest.mark.parametrize(
    ("data", "size", "match"),
    [
        (
            np.zeros((5, 2)),
            6,
            r"found batch_size=6 for data of shape \(5, 2\); expected rows of data and a whole number of at least 1",
        ),
        (np.zeros((5, 2)), 0, r"found batch_size=0"),
        (np.zeros((5, 2)), 2.0, r"found batch_size=2\.0"),
        (np.zeros((5, 2)), "2", r"found batch_size='2'"),
        (np.zeros((0, 2)), 1, r"data of shape \(0, 2\)"),
        (np.zeros(5), 1, r"data of shape \(5,\)"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(data, size, match):
    with pytest.raises(ValueError, match=match):
        Minibatches(data, size)


def test_unknown_binarizations_are_refused():
    with pytest.raises(ValueError, match="found binarization='random'; expected None or 'stochastic'"):
        Minibatches(np.zeros((5, 2)), 1, binarization="random")


GIGABYTES = """
import mmap
import sys
import numpy as np
import ebm
from ebm import CD, RBM
from ebm.data.minibatches import Minibatches
from ebm.learning import Step
from ebm.training import SGD

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

rbm = RBM(500, 20, device="cpu", seed=1)
rbm.fit(np.eye(500, dtype=np.float32), epochs=1, batch_size=50)  # compiles and warms up
for dtype in (np.float32, np.uint8):
    data = np.memmap(sys.argv[1], dtype, "r")
    data._mmap.madvise(mmap.MADV_RANDOM)  # some systems read megabytes ahead of each row
    data = data.reshape(-1, 500)
    before = anonymous()
    batches = Minibatches(data, 20, seed=1, binarization="stochastic")
    step = Step(rbm, CD(), SGD(0.01), batch_size=20, steps_per_epoch=len(batches))
    for i in range(200):
        step(batches.batch(0, i * 97 % len(batches)))
    assert data.nbytes == 8_000_000_000
    print("steps", anonymous() - before)
    before = anonymous()
    part = data[: 100_000_000 // data.itemsize // 500]
    rbm.fit(part, epochs=1, batch_size=10_000)
    print("fit", anonymous() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells how much anonymous memory a process has")
def test_a_mapped_file_of_eight_gigabytes_is_not_read_into_memory(tmp_path):
    """Holes of a sparse file read as zeros. The fit goes over 100 MB only, since it looks at all rows before the first step."""
    file = tmp_path / "rows"
    file.touch()
    os.truncate(file, 8_000_000_000)
    environment = {**os.environ, "PYTHONPATH": str(Path(sys.modules["ebm"].__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", GIGABYTES, str(file)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    growth = [float(line.split()[1]) for line in done.stdout.splitlines()]
    assert len(growth) == 4
    assert max(growth) < 50, done.stdout
