import tracemalloc

import numpy as np
import pytest
import scipy.sparse

from ebm.data import Standardizer, Whitener, check_standardized, scaling, validation

RNG = np.random.default_rng(4)
# Correlated columns of very different scale, far from 0.
ROWS = RNG.normal(size=(500, 6)) @ RNG.normal(size=(6, 6)) * [1e-3, 1, 1, 30, 1e4, 1] + [0, 5, -100, 0, 1e6, 1]
SMALL_CHUNKS = 8 * 6 * 7  # seven rows of ROWS


@pytest.fixture(params=[SMALL_CHUNKS, validation.CHUNK_BYTES])
def chunk_bytes(request, monkeypatch):
    monkeypatch.setattr(validation, "CHUNK_BYTES", request.param)


class TestMoments:
    def test_against_numpy(self, chunk_bytes):
        mean, deviation, constant = scaling.moments(ROWS)
        np.testing.assert_allclose(mean, ROWS.mean(axis=0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(deviation, ROWS.std(axis=0), rtol=1e-12)
        assert not constant.any()

    def test_small_deviation_beside_a_large_mean(self, chunk_bytes):
        rows = 1e9 + ROWS[:, :1] / ROWS[:, :1].std()
        assert scaling.moments(rows)[1] == pytest.approx(1, rel=1e-6)

    @pytest.mark.parametrize("dtype", ["u1", "?", "f2", "f4", "i8"])
    def test_other_dtypes(self, dtype, chunk_bytes):
        rows = RNG.integers(0, 2, (300, 4)).astype(dtype)
        rows[:, 2] = 1
        mean, deviation, constant = scaling.moments(rows)
        np.testing.assert_allclose(mean, rows.mean(axis=0, dtype=float), rtol=1e-12)
        np.testing.assert_allclose(deviation, rows.std(axis=0, dtype=float), rtol=1e-12)
        assert constant.tolist() == [False, False, True, False]

    def test_constant_is_exact(self, chunk_bytes):
        rows = np.full((100, 2), 0.1)  # whose mean over 100 rows is not 0.1
        rows[-1, 1] = np.nextafter(0.1, 1)
        assert scaling.moments(rows)[2].tolist() == [True, False]


class TestStandardizer:
    def test_moments_become_0_and_1(self, chunk_bytes):
        z = Standardizer().fit(ROWS).transform(ROWS)
        np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-10)
        np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-10)

    @pytest.mark.parametrize("dtype", ["f4", "f8"])
    def test_inverse_restores_other_rows(self, dtype, chunk_bytes):
        standardizer = Standardizer().fit(ROWS[:400])
        others = ROWS[400:].astype(dtype)
        z = standardizer.transform(others)
        assert z.dtype == dtype
        np.testing.assert_allclose(z, (others - standardizer.mean) / standardizer.scale, rtol=1e-5, atol=1e-6)
        back = standardizer.inverse_transform(z)
        assert back.dtype == dtype
        np.testing.assert_allclose(back, others, rtol=1e-5, atol=1e-5 * standardizer.scale.min())

    def test_small_integers_become_float32(self):
        rows = RNG.integers(0, 256, (50, 3), np.uint8)
        assert Standardizer().fit(rows).transform(rows).dtype == np.float32

    def test_constant_columns_are_named(self):
        rows = ROWS.copy()
        rows[:, [1, 4]] = 7
        with pytest.raises(ValueError, match=r"constant columns \(1, 4\).* write Standardizer\(drop_constant=True\)"):
            Standardizer().fit(rows)

    def test_constant_columns_are_dropped_and_put_back(self, chunk_bytes):
        rows = ROWS.copy()
        rows[:, [1, 4]] = [0.1, 7]
        standardizer = Standardizer(drop_constant=True).fit(rows)
        z = standardizer.transform(rows)
        np.testing.assert_allclose(z, Standardizer().fit(ROWS).transform(ROWS)[:, [0, 2, 3, 5]])
        np.testing.assert_allclose(standardizer.inverse_transform(z), rows, rtol=1e-10)
        assert standardizer.kept.tolist() == [0, 2, 3, 5]

    def test_nothing_but_constants(self):
        with pytest.raises(ValueError, match=r"rows \(1, 6\) have constant columns \(0, 1, 2, 3, 4 and 1 more\)"):
            Standardizer(drop_constant=True).fit(ROWS[:1])

    @pytest.mark.parametrize("method", ["transform", "inverse_transform"])
    def test_wrong_rows(self, method):
        standardizer = Standardizer()
        with pytest.raises(ValueError, match=r"this Standardizer has not seen data; call its fit\(rows\) first"):
            getattr(standardizer, method)(ROWS)
        standardizer.fit(ROWS)
        with pytest.raises(ValueError, match="expected 6 columns"):
            getattr(standardizer, method)(ROWS[:, :5])
        with pytest.raises(ValueError, match=r"rows\[0, 0\] is nan"):
            getattr(standardizer, method)(np.full((1, 6), np.nan))

    def test_sparse_rows_would_become_dense(self):
        with pytest.raises(TypeError, match=r"write rows.toarray\(\)"):
            Standardizer().fit(scipy.sparse.csr_array(ROWS))

    def test_memory_map_is_scanned_in_chunks(self, tmp_path):
        rows = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, (1 << 16, 256))  # 64 MiB
        rows[::2] = 3
        tracemalloc.start()
        try:
            standardizer = Standardizer().fit(rows)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (standardizer.mean == 1.5).all()
        assert (standardizer.scale == 1.5).all()
        assert peak < 6 * validation.CHUNK_BYTES


@pytest.mark.parametrize("method", ["zca", "pca"])
class TestWhitener:
    def test_covariance_becomes_the_identity(self, method, chunk_bytes):
        rows = ROWS / ROWS.std(axis=0)
        z = Whitener(method, floor=1e-12).fit(rows).transform(rows)
        np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-8)
        np.testing.assert_allclose(z.T @ z / len(z), np.eye(6), atol=1e-8)

    @pytest.mark.parametrize("dtype", ["f4", "f8"])
    def test_inverse_restores_other_rows(self, method, dtype, chunk_bytes):
        rows = (ROWS / ROWS.std(axis=0)).astype(dtype)
        whitener = Whitener(method).fit(rows[:400])
        z = whitener.transform(rows[400:])
        assert z.dtype == dtype
        back = whitener.inverse_transform(z)
        assert back.dtype == dtype
        np.testing.assert_allclose(back, rows[400:], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(whitener.forward @ whitener.backward, np.eye(6), atol=1e-9)

    def test_floor_keeps_noise_small(self, method):
        rows = np.outer(RNG.normal(size=2000), [3.0, 4.0]) + 1e-4 * RNG.normal(size=(2000, 2))
        along, across = np.array([0.6, 0.8]), np.array([0.8, -0.6])
        whitener = Whitener(method, floor=1e-4).fit(rows)
        z = whitener.transform(rows)
        # variance 1 along the large direction; across it 1e-8 / (1e-4 · 25)
        variances = np.sort(np.linalg.eigvalsh(np.cov(z.T, ddof=0)))
        np.testing.assert_allclose(variances, [4e-6, 1], rtol=0.15)
        np.testing.assert_allclose(np.linalg.norm(along @ whitener.forward), 1 / rows.dot(along).std(), rtol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(across @ whitener.forward), 100 / rows.dot(along).std(), rtol=1e-6)
        np.testing.assert_allclose(whitener.inverse_transform(z), rows, atol=1e-9)

    def test_fewer_rows_than_columns(self, method):
        rows = RNG.normal(size=(4, 6))
        whitener = Whitener(method).fit(rows)
        z = whitener.transform(rows)
        np.testing.assert_allclose(np.linalg.eigvalsh(z.T @ z / 4), [0, 0, 0, 1, 1, 1], atol=1e-6)
        np.testing.assert_allclose(whitener.inverse_transform(z), rows, atol=1e-6)

    def test_wrong_rows(self, method):
        whitener = Whitener(method)
        with pytest.raises(ValueError, match="this Whitener has not seen data"):
            whitener.transform(ROWS)
        with pytest.raises(ValueError, match="this Whitener has not seen data"):
            whitener.inverse_transform(ROWS)
        with pytest.raises(ValueError, match=r"rows \(1, 6\) are all the same"):
            whitener.fit(ROWS[:1])
        whitener.fit(ROWS)
        with pytest.raises(ValueError, match="expected 6 columns"):
            whitener.transform(ROWS[:, :5])
        with pytest.raises(ValueError, match=r"rows\[0, 0\] is inf"):
            whitener.inverse_transform(np.full((1, 6), np.inf))


def test_zca_is_symmetric_and_nearest_to_the_rows():
    whitener = Whitener("zca").fit(ROWS / ROWS.std(axis=0))
    np.testing.assert_allclose(whitener.forward, whitener.forward.T, rtol=1e-6, atol=1e-9)
    assert (np.linalg.eigvalsh(whitener.forward) > 0).all()


def test_pca_is_ordered_and_has_settled_signs():
    rows = RNG.normal(size=(3000, 3)) * [1, 9, 4]
    whitener = Whitener("pca").fit(rows)
    assert np.abs(whitener.forward).argmax(axis=0).tolist() == [1, 2, 0]
    assert (whitener.forward[[1, 2, 0], [0, 1, 2]] > 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("zac",), "method='zac'; expected 'zca' or 'pca'"),
        (("zca", 0), "floor=0; expected"),
        (("pca", 1.5), "floor=1.5; expected"),
    ],
)
def test_whitener_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Whitener(*arguments)


class TestCheckStandardized:
    Z = RNG.normal(size=(400, 5))

    def test_passes(self):
        check_standardized(self.Z, 5)
        check_standardized(Standardizer().fit(ROWS).transform(ROWS))
        check_standardized(Whitener().fit(ROWS[:, 1:4]).transform(ROWS[:, 1:4]))
        check_standardized(self.Z.clip(0, 1))

    def test_constant_columns(self):
        z = self.Z.copy()
        z[:, [1, 3]] = 0, 2
        with pytest.raises(ValueError, match=r"v has constant columns \(1, 3\), whose variance") as caught:
            check_standardized(z, name="v")
        cure = str(caught.value).rpartition("write ")[2]
        assert cure == "ebm.data.Standardizer(drop_constant=True).fit(v).transform(v)"
        check_standardized(Standardizer(drop_constant=True).fit(z).transform(z))

    @pytest.mark.parametrize(("scale", "shift"), [(0.04, 0), (25, 0), (1, 11), (1, -11), (0.1, 2)])
    def test_unscaled_columns(self, scale, shift):
        z = self.Z.copy()
        z[:, [2, 4]] = z[:, [2, 4]] * scale + shift
        with pytest.raises(
            ValueError, match=r"^column 2 of X has mean .* \(2 of 5 columns are unscaled\); Gaussian units expect 0 and 1"
        ) as caught:
            check_standardized(z)
        assert str(caught.value).endswith("write ebm.data.Standardizer().fit(X).transform(X)")
        check_standardized(Standardizer().fit(z).transform(z))

    @pytest.mark.parametrize(("scale", "shift"), [(0.06, 0), (18, 0), (1, 9), (2, -15)])
    def test_nearly_scaled_columns_pass(self, scale, shift):
        check_standardized(self.Z * scale + shift)

    def test_what_rows_must_be(self):
        with pytest.raises(ValueError, match=r"X\[3, 1\] is nan; .*missing"):
            check_standardized(np.where(np.arange(2000).reshape(400, 5) == 16, np.nan, self.Z))
        with pytest.raises(ValueError, match="expected 4 columns"):
            check_standardized(self.Z, 4)
