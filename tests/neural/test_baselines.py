"""PCA against SciPy's SVD; logistic PCA."""

import numpy as np
import pytest
from scipy.linalg import svd
from scipy.sparse import csr_matrix

from ebm import data
from ebm.training import Adam
from neural.baselines import PCA, logistic_pca


def test_principal_components_are_those_of_the_svd():
    rows = np.random.default_rng(1).normal(size=(2500, 7)) * np.arange(1, 8) + 3
    model = PCA(3).fit(rows)
    _, s, axes = svd(rows - rows.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(model.axes @ axes[:3].T), np.eye(3), atol=1e-9)
    assert model.squared_error(rows) == pytest.approx((s[3:] ** 2).sum() / len(rows))
    np.testing.assert_allclose(
        model.decode(model.encode(rows)), (rows - rows.mean(axis=0)) @ axes[:3].T @ axes[:3] + rows.mean(axis=0)
    )
    sparse = csr_matrix(np.where(rows > 3, rows, 0))
    assert PCA(3).fit(sparse).squared_error(sparse) == pytest.approx(
        PCA(3).fit(sparse.toarray()).squared_error(sparse.toarray())
    )


def test_logistic_components_describe_binary_rows_better_than_linear_ones():
    train, _, test = data.load("digits")
    binary = [(x.images > 0.5).astype(np.float32) for x in (train, test)]
    model = logistic_pca(64, 12, device="cpu", seed=1).fit(binary[0], epochs=60, optimizer=Adam(0.01))
    assert model.squared_error(binary[1]) < 0.9 * PCA(12).fit(binary[0]).squared_error(binary[1])
    codes = model.encode(binary[1])
    weights, bias = (model.network.layers[0].own[name] for name in ("weights", "bias"))
    np.testing.assert_allclose(codes, binary[1] @ weights + bias, rtol=1e-4, atol=1e-4)


def test_bad_input():
    with pytest.raises(ValueError, match=r"found 8 components for data of shape \(20, 7\); expected at most 7"):
        PCA(8).fit(np.zeros((20, 7)))
    with pytest.raises(ValueError, match="components=0; expected a whole number of at least 1"):
        PCA(0)
    with pytest.raises(ValueError, match=r"found PCA\(3\) before it has seen data; write .fit\(data\) first"):
        PCA(3).encode(np.zeros((20, 7)))
