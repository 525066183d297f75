import tracemalloc

import numpy as np
import pytest
import scipy.sparse

from ebm.data import check_rows, validation

ROWS = np.random.default_rng(0).random((7, 5))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "?", "u1", "u2", "i8"])
def test_numeric_dtypes_pass(dtype):
    check_rows(ROWS.round().astype(dtype), 5)


@pytest.mark.parametrize("rows", [ROWS[::2], ROWS[:, ::-1], np.asfortranarray(ROWS), ROWS[:1], ROWS[:, :1]])
def test_layouts_pass(rows):
    check_rows(rows, rows.shape[1])


def test_bounds_belong_to_the_interval():
    check_rows(np.array([[-1.0, 2.0]]), low=-1, high=2)
    check_rows(np.array([[0.1]], np.float32), low=0.1, high=0.1)  # float32(0.1) is not the float64 0.1
    check_rows(np.array([[-1e30, 1e30]]), low=-np.inf, high=np.inf)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0.0, 1.0]], r"X is a list; expected a NumPy array: write np.asarray\(X, dtype=np.float32\)"),
        (scipy.sparse.csr_array(ROWS), r"X is a csr_array; expected a NumPy array: write X.toarray\(\)"),
        (ROWS.astype(complex), "dtype complex128; expected real numbers"),
        (ROWS.astype(object), "dtype object"),
        (ROWS.astype("U"), "dtype <U"),
    ],
)
def test_wrong_type(rows, message):
    with pytest.raises(TypeError, match=message):
        check_rows(rows)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((), r"shape \(\); expected \(n, 5\), one example per row$"),
        ((5,), r"shape \(5,\); expected \(n, 5\).*write X.reshape\(1, -1\) for a single row"),
        ((3, 5, 1), r"shape \(3, 5, 1\).*write X.reshape\(len\(X\), -1\)"),
        ((0, 5), r"empty, of shape \(0, 5\).*at least one row"),
        ((3, 0), r"empty, of shape \(3, 0\)"),
        ((3, 4), r"shape \(3, 4\), 4 columns; expected 5 columns$"),
        ((5, 4), r"shape \(5, 4\), 4 columns; expected 5 columns: rows and columns are swapped, write X.T"),
    ],
)
def test_wrong_shape(shape, message):
    with pytest.raises(ValueError, match=message):
        check_rows(np.zeros(shape), 5)


@pytest.mark.parametrize("place", [(0, 0), (3, 2), (6, 4)])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, r"is nan; expected values in \[0.0, 1.0\]: fill in the missing values"),
        (np.inf, "is inf; .*overflow"),
        (-np.inf, "is -inf; .*overflow"),
        (1.5, r"is 1.5; .*rescale"),
        (255.0, "is 255.0; .*divide by 255: X / 255"),
        (-0.5, r"is -0.5; .*\(X \+ 1\) / 2"),
        (-3.0, "is -3.0; .*rescale"),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1, 80, validation.CHUNK_BYTES])
def test_wrong_value(monkeypatch, place, value, message, chunk_bytes):
    monkeypatch.setattr(validation, "CHUNK_BYTES", chunk_bytes)
    rows = ROWS.copy()
    rows[place] = value
    with pytest.raises(ValueError, match=rf"^X\[{place[0]}, {place[1]}\] {message}"):
        check_rows(rows)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_unbounded_values_are_finite(value):
    with pytest.raises(ValueError, match=rf"X\[0, 1\] is {value}"):
        check_rows(np.array([[0.0, value, value]]), low=-np.inf, high=np.inf)


def test_first_offender_in_reading_order():
    with pytest.raises(ValueError, match=r"batch\[1, 2\] is 2"):
        check_rows(np.array([[0, 1, 0], [1, 0, 2], [3, 0, 0]]), name="batch")


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_map_is_scanned_without_a_copy(tmp_path, order):
    shape = (1 << 16, 256)  # 64 MiB
    rows = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, shape, fortran_order=order == "F")
    rows[-1, -1] = 7
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"X\[65535, 255\] is 7.0"):
            check_rows(rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The masks of the offending chunk, a byte an element each, are all that may be allocated.
    assert peak < 2 * validation.CHUNK_BYTES
