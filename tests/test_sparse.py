"""Sparse matrices train like the arrays that they stand for."""

import numpy as np
import pytest
from scipy import sparse

from ebm import PCD, RBM, ReplicatedSoftmax
from ebm.data.minibatches import Minibatches

BINARY = (np.random.default_rng(0).random((60, 12)) < 0.2).astype(np.float32)
COUNTS = np.random.default_rng(1).poisson(0.5, (60, 12)).astype(np.float32) + np.eye(60, 12, dtype=np.float32)
COUNTS[COUNTS.sum(axis=1) == 0, 0] = 1


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csr_array, sparse.csc_array])
def test_batches(form):
    thin, full = (Minibatches(data, 7, seed=3) for data in (form(BINARY), BINARY))
    for epoch in range(2):
        for index in range(len(full)):
            np.testing.assert_array_equal(thin.batch(epoch, index), full.batch(epoch, index))


@pytest.mark.parametrize(("visible", "data"), [(12, BINARY), (ReplicatedSoftmax(12), COUNTS)], ids=["binary", "counts"])
def test_fit_and_transform(visible, data):
    options = {"epochs": 2, "batch_size": 10, "learning": PCD(), "validation": data[:20]}
    dense = RBM(visible, 5, device="cpu", seed=1).fit(data, **options)
    thin = sparse.csr_array(data)
    options["validation"] = thin[:20]
    other = RBM(visible, 5, device="cpu", seed=1).fit(thin, **options)
    np.testing.assert_array_equal(other.parameters.buffer, dense.parameters.buffer)
    np.testing.assert_array_equal(other.transform(thin), dense.transform(data))


def test_what_is_stored_is_checked():
    with pytest.raises(ValueError, match=r"expected values in \[0.0, 1.0\]"):
        RBM(12, 5, device="cpu").fit(sparse.csr_array(2 * BINARY), batch_size=10)
