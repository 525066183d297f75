"""Scaling of real-valued columns, which Gaussian units need, and the way back."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .validation import check_rows, chunks, listed

LEAST_DEVIATION, LARGEST_DEVIATION = 0.05, 20
LARGEST_MEAN = 10  # in standard deviations


def check_standardized(rows: np.ndarray, width: int | None = None, *, name: str = "X") -> None:
    """Check that the columns of `rows` (n, width) have a scale on which Gaussian units learn at their default rates.

    Each column's standard deviation must lie in [0.05, 20] and its mean within ten standard deviations of 0: far wider than
    what `Standardizer` and `Whitener` deliver, but not so wide that pixels of 0 to 255 or measurements in odd units pass. One
    scan in chunks. Meant for training rows; others may well be constant in a column.

    Raises `ValueError` otherwise, and as `check_rows` for any real numbers.

    >>> check_standardized(np.array([[1000.0, 0.2], [1010.0, 0.8]]))
    Traceback (most recent call last):
    ...
    ValueError: column 0 of X has mean 1e+03 and standard deviation 5 (1 of 2 columns are unscaled); Gaussian units expect ...
    """
    check_rows(rows, width, low=-np.inf, high=np.inf, name=name)
    mean, deviation, constant = moments(rows)
    if constant.any():
        raise ValueError(
            f"{name} has constant columns ({listed(np.flatnonzero(constant))}), whose variance a Gaussian unit can't learn: "
            f"leave them out, write ebm.data.Standardizer(drop_constant=True).fit({name}).transform({name})"
        )
    far = (deviation < LEAST_DEVIATION) | (deviation > LARGEST_DEVIATION) | (np.abs(mean) > LARGEST_MEAN * deviation)
    if far.any():
        first = int(far.argmax())
        raise ValueError(
            f"column {first} of {name} has mean {mean[first]:.3g} and standard deviation {deviation[first]:.3g} "
            f"({np.count_nonzero(far)} of {far.size} columns are unscaled); Gaussian units expect 0 and 1 or near, "
            f"a deviation of {LEAST_DEVIATION} to {LARGEST_DEVIATION} and a mean within {LARGEST_MEAN} deviations of 0: "
            f"write ebm.data.Standardizer().fit({name}).transform({name})"
        )


class Standardizer:
    """Columns of mean 0 and standard deviation 1: z = (x - mean) / scale, and back.

    `fit` finds `mean` and `scale` (the standard deviation over the rows, divisor n), both (columns,) float64. A constant column
    has no scale: it is an error, or with `drop_constant=True` left out of z (`kept` lists those that stay) and put back by
    `inverse_transform`. Results are float32 (float64 for float64 and wide integers).

    >>> rows = np.array([[1.0, 5.0], [3.0, 9.0]])
    >>> standardizer = Standardizer().fit(rows)
    >>> standardizer.transform(rows)
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> standardizer.inverse_transform(np.array([[0.0, 2.0]]))
    array([[ 2., 11.]])
    """

    mean: np.ndarray
    scale: np.ndarray
    kept: np.ndarray

    def __init__(self, drop_constant: bool = False) -> None:
        self.drop_constant = drop_constant

    def fit(self, rows: np.ndarray) -> Standardizer:
        """Find mean and scale of each column of `rows` (n, columns); memory maps are scanned in chunks.

        Raises `ValueError` for constant columns unless they are dropped, and as `check_rows` for any real numbers.
        """
        check_rows(rows, low=-np.inf, high=np.inf, name="rows")
        mean, scale, constant = moments(rows)
        if constant.all() or (constant.any() and not self.drop_constant):
            cure = "" if constant.all() else ": leave them out, or write Standardizer(drop_constant=True)"
            raise ValueError(
                f"rows {rows.shape} have constant columns ({listed(np.flatnonzero(constant))}); "
                f"expected columns with a standard deviation above 0{cure}"
            )
        self.mean, self.scale, self.kept = mean, scale, np.flatnonzero(~constant)
        return self

    def transform(self, rows: np.ndarray) -> np.ndarray:
        """z of `rows` (n, columns): (n, columns kept)."""
        check_rows(rows, _fitted(self).size, low=-np.inf, high=np.inf, name="rows")
        out = np.empty((len(rows), self.kept.size), _result_type(rows))
        mean, scale = self.mean[self.kept], self.scale[self.kept]
        for start, chunk in chunks(rows):
            np.divide(chunk[:, self.kept] - mean, scale, out=out[start : start + len(chunk)], casting="same_kind")
        return out

    def inverse_transform(self, rows: np.ndarray) -> np.ndarray:
        """x of z, (n, columns kept): (n, columns), the constant columns with their value."""
        mean = _fitted(self)
        check_rows(rows, self.kept.size, low=-np.inf, high=np.inf, name="rows")
        out = np.empty((len(rows), mean.size), _result_type(rows))
        out[:] = mean
        for start, chunk in chunks(rows):
            out[start : start + len(chunk), self.kept] = chunk * self.scale[self.kept] + mean[self.kept]
        return out


class Whitener:
    """Columns without correlation, of variance 1: z = (x - mean) A, and back.

    With the eigenvectors U and eigenvalues λ of the covariance, A = U diag(λ)^(-1/2) for `method="pca"` (z are principal
    components, the largest first) and A = U diag(λ)^(-1/2) Uᵀ for `"zca"` (z are as near to x as they can be: whitened images
    look like images; Bell & Sejnowski 1997, "The independent components of natural scenes are edge filters"). Eigenvalues below
    `floor` times the largest are raised to that, so that directions of hardly any variance, mostly noise, stay small in z.

    `fit` finds `mean` (columns,), `forward` A and `backward`, its inverse, (columns, columns), float64. Results are float32
    (float64 for float64 and wide integers).
    """

    mean: np.ndarray
    forward: np.ndarray
    backward: np.ndarray

    def __init__(self, method: Literal["zca", "pca"] = "zca", floor: float = 1e-6) -> None:
        if method not in ("zca", "pca"):
            raise ValueError(f"found method={method!r}; expected 'zca' or 'pca'")
        if not 0 < floor <= 1:
            raise ValueError(f"found floor={floor!r}; expected a part of the largest eigenvalue, above 0 and at most 1")
        self.method = method
        self.floor = floor

    def fit(self, rows: np.ndarray) -> Whitener:
        """Find mean and covariance of `rows` (n, columns); memory maps are scanned in chunks.

        Raises `ValueError` when all columns are constant, and as `check_rows` for any real numbers.
        """
        check_rows(rows, low=-np.inf, high=np.inf, name="rows")
        mean, _, constant = moments(rows)
        if constant.all():
            raise ValueError(f"rows {rows.shape} are all the same; expected rows that differ, at least two of them")
        covariance = np.zeros((mean.size, mean.size))
        for _, chunk in chunks(rows):
            centered = chunk - mean
            covariance += centered.T @ centered
        values, vectors = np.linalg.eigh(covariance / len(rows))
        values, vectors = values[::-1], vectors[:, ::-1]
        # LAPACK leaves the signs open
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(mean.size)])
        scale = np.sqrt(np.maximum(values, self.floor * values[0]))
        back = vectors if self.method == "zca" else np.eye(mean.size)
        self.mean = mean
        self.forward = vectors / scale @ back.T
        self.backward = back * scale @ vectors.T
        return self

    def transform(self, rows: np.ndarray) -> np.ndarray:
        """z of `rows` (n, columns), (n, columns)."""
        mean = _fitted(self)
        return _product(rows, -mean @ self.forward, self.forward)

    def inverse_transform(self, rows: np.ndarray) -> np.ndarray:
        """x of z, both (n, columns)."""
        return _product(rows, _fitted(self), self.backward)


def moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation (divisor n) and whether it is constant, of each column; float64, in one scan.

    The moments of chunks are joined as by Chan, Golub & LeVeque (1983), "Algorithms for computing the sample variance".
    """
    count = 0
    mean, squares = np.zeros((2, rows.shape[1]))
    first, constant = np.asarray(rows[0]), np.ones(rows.shape[1], bool)
    for _, chunk in chunks(rows):
        x = chunk.astype(np.float64)
        n = len(x)
        center = x.mean(axis=0)
        x -= center
        shift = center - mean
        squares += np.einsum("ij,ij->j", x, x) + shift * shift * (count * n / (count + n))
        mean += shift * (n / (count + n))
        count += n
        constant &= (chunk == first).all(axis=0)
    return mean, np.sqrt(squares / count), constant


def _product(rows: np.ndarray, offset: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """offset + rows · matrix, in chunks."""
    check_rows(rows, len(matrix), low=-np.inf, high=np.inf, name="rows")
    out = np.empty((len(rows), matrix.shape[1]), _result_type(rows))
    for start, chunk in chunks(rows):
        out[start : start + len(chunk)] = chunk @ matrix + offset
    return out


def _fitted(scaler: Standardizer | Whitener) -> np.ndarray:
    """The mean, which `fit` has found."""
    if not hasattr(scaler, "mean"):
        raise ValueError(f"this {type(scaler).__name__} has not seen data; call its fit(rows) first")
    return scaler.mean


def _result_type(rows: np.ndarray) -> np.dtype:
    return np.result_type(rows.dtype, np.float32)
