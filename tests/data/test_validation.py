import re
import tracemalloc

import numpy as np
import pytest
import scipy.sparse

from ebm.data import check_counts, check_one_hot, check_rows, validation

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


SPARSE = [scipy.sparse.csr_array, scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.csc_matrix]


@pytest.fixture(params=SPARSE)
def sparse(request):
    return request.param


class TestSparse:
    def test_passes_where_it_is_asked_for(self, sparse):
        check_rows(sparse(ROWS.round()), 5, sparse=True)
        check_rows(sparse((3, 5), dtype=np.uint8), 5, sparse=True)
        check_rows(ROWS, 5, sparse=True)

    def test_is_refused_where_it_is_not(self, sparse):
        with pytest.raises(TypeError, match=rf"X is a {sparse.__name__}; expected a NumPy array: write X.toarray\(\)"):
            check_rows(sparse(ROWS))

    def test_other_formats(self):
        with pytest.raises(TypeError, match=r"X is a coo_array; expected CSR or CSC among sparse formats: write X.tocsr\(\)"):
            check_rows(scipy.sparse.coo_array(ROWS), sparse=True)

    @pytest.mark.parametrize("value", [-1.0, 1.5, np.nan, np.inf])
    @pytest.mark.parametrize("chunk_bytes", [1, validation.CHUNK_BYTES])
    def test_wrong_value_is_found_at_its_place(self, sparse, value, chunk_bytes, monkeypatch):
        monkeypatch.setattr(validation, "CHUNK_BYTES", chunk_bytes)
        rows = np.where(ROWS > 0.6, ROWS, 0)
        rows[2] = 0
        rows[4, 3] = value
        with pytest.raises(ValueError, match=rf"^X\[4, 3\] is {value}; expected values in"):
            check_rows(sparse(rows), sparse=True)

    def test_shape_and_dtype(self, sparse):
        with pytest.raises(ValueError, match=r"shape \(7, 5\), 5 columns; expected 7 columns: .*X.T"):
            check_rows(sparse(ROWS), 7, sparse=True)
        with pytest.raises(ValueError, match=r"empty, of shape \(0, 5\)"):
            check_rows(sparse((0, 5)), sparse=True)
        with pytest.raises(TypeError, match="dtype complex128"):
            check_rows(sparse(ROWS.astype(complex)), sparse=True)

    @pytest.mark.parametrize("format", ["csr", "csc"])
    def test_values_stored_for_one_place_add_up(self, format):
        places = ([1, 1], [2, 2]) if format == "csr" else ([2, 2], [1, 1])
        pointers = np.searchsorted(places[0], np.arange(4))
        twice = getattr(scipy.sparse, f"{format}_array")(([0.75, 0.75], places[1], pointers), (3, 3))
        with pytest.raises(ValueError, match=r"X\[1, 2\] is 1.5"):
            check_rows(twice, sparse=True)
        assert twice.nnz == 2  # the caller's matrix is left alone

    def test_is_scanned_without_becoming_dense(self):
        rows = scipy.sparse.random_array((100_000, 100_000), density=1e-5, format="csr", rng=np.random.default_rng(1))
        tracemalloc.start()
        try:
            check_rows(rows, 100_000, sparse=True)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 1 << 20


class TestCounts:
    COUNTS = np.random.default_rng(1).poisson(1.0, (7, 5)) + np.eye(7, 5, dtype=int) + np.eye(7, 5, -5, dtype=int)

    @pytest.mark.parametrize("dtype", ["i8", "u1", "f4", "f8"])
    def test_pass(self, dtype, sparse):
        check_counts(self.COUNTS.astype(dtype), 5)
        check_counts(sparse(self.COUNTS.astype(dtype)), 5)
        check_counts(self.COUNTS > 0)

    @pytest.mark.parametrize(("value", "dtype"), [(-1, int), (-1.0, float), (0.5, float), (2.5, float)])
    @pytest.mark.parametrize("form", [np.asarray, *SPARSE])
    def test_negative_and_fractional(self, value, dtype, form):
        rows = self.COUNTS.astype(dtype)
        rows[3, 1] = value
        with pytest.raises(
            ValueError, match=rf"X\[3, 1\] is {value}; expected counts, whole numbers >= 0: .*not frequencies, TF-IDF"
        ):
            check_counts(form(rows))

    @pytest.mark.parametrize("form", [np.asarray, *SPARSE])
    @pytest.mark.parametrize("chunk_bytes", [1, validation.CHUNK_BYTES])
    def test_documents_of_length_zero(self, form, chunk_bytes, monkeypatch):
        monkeypatch.setattr(validation, "CHUNK_BYTES", chunk_bytes)
        rows = self.COUNTS.copy()
        rows[[2, 6]] = 0
        with pytest.raises(ValueError, match=r"X has 2 documents without words, rows 2, 6; expected at least one") as caught:
            check_counts(form(rows))
        cure = str(caught.value).rpartition(": ")[2]
        check_counts(eval(cure, {"np": np, "X": form(rows)}))
        with pytest.raises(ValueError, match=r"9 documents without words, rows 0, 1, 2, 3, 4 and 4 more;"):
            check_counts(form(np.zeros((9, 2))))

    def test_what_rows_must_be(self):
        with pytest.raises(ValueError, match=r"X\[0, 1\] is nan; .*missing"):
            check_counts(np.array([[1, np.nan]]))
        with pytest.raises(ValueError, match="expected 4 columns"):
            check_counts(self.COUNTS, 4)


class TestOneHot:
    LABELS = np.array([[0, 2], [1, 1], [2, 0], [0, 0]])
    ROWS = np.eye(3)[LABELS].reshape(4, 6)

    @pytest.mark.parametrize("dtype", ["f4", "u1", "?"])
    def test_pass(self, dtype, sparse):
        check_one_hot(self.ROWS.astype(dtype), 3, 6)
        check_one_hot(sparse(self.ROWS.astype(dtype)), 3, 6)
        check_one_hot(np.eye(6)[[0, 5, 3]], 6)

    def test_groups_that_do_not_divide_the_width(self):
        with pytest.raises(ValueError, match="X has 6 columns, which groups of 4 do not divide; expected a multiple of 4"):
            check_one_hot(self.ROWS, 4)

    @pytest.mark.parametrize("dtype", [int, np.uint8, float])
    @pytest.mark.parametrize("labels", [LABELS[:, 0], LABELS[:, :1], LABELS[:, [0, 1, 1]]])
    def test_labels_are_named_with_their_cure(self, labels, dtype):
        labels = labels.astype(dtype)
        with pytest.raises(ValueError, match=r"labels.* np.eye\(3, dtype=np.float32\)\[y.astype\(int\)\]") as caught:
            check_one_hot(labels, 3, name="y")
        cure = re.search(r"np\.eye.*", str(caught.value))[0]
        check_one_hot(eval(cure, {"np": np, "y": labels}), 3)

    @pytest.mark.parametrize(
        "group", [[0, 0, 0], [1, 1, 0], [0.5, 0.5, 0], [2, -1, 0], [1, 0.5, -0.5], [np.nan, 1, 0], [2, 0, 0], [0, 0, np.inf]]
    )
    @pytest.mark.parametrize("form", [np.asarray, *SPARSE])
    @pytest.mark.parametrize("chunk_bytes", [1, validation.CHUNK_BYTES])
    def test_groups_without_exactly_one(self, group, form, chunk_bytes, monkeypatch):
        monkeypatch.setattr(validation, "CHUNK_BYTES", chunk_bytes)
        rows = self.ROWS.copy()
        rows[2, 3:] = group
        with pytest.raises(ValueError, match=r"^X\[2, 3:6\] is \[.*\]; expected a 1 among zeros"):
            check_one_hot(form(rows), 3)

    @pytest.mark.parametrize("categories", [1, 0, -3, 2.0, None])
    def test_size_of_a_group(self, categories):
        with pytest.raises(ValueError, match=rf"found categories={categories}; expected a whole number >= 2"):
            check_one_hot(self.ROWS, categories)

    def test_what_rows_must_be(self):
        with pytest.raises(TypeError, match="X is a list"):
            check_one_hot([[0, 1]], 2)
        with pytest.raises(ValueError, match="expected 9 columns"):
            check_one_hot(self.ROWS, 3, 9)
