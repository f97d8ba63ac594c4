"""Fréchet distance between Gaussians fitted to two feature sets (Heusel et al. 2017, arXiv 1706.08500, eq. 6).

d² = |m₁ − m₂|² + tr S₁ + tr S₂ − 2 tr (S₁S₂)^½, all in float64, with no matrix square root and nothing complex:
tr (S₁S₂)^½ is the sum of the singular values of F₁F₂ᵀ for any factors Fᵢ with S = FᵀF.  With fewer images than
dimensions the factors are the centred features themselves; else F₁ is the reference's root, made once by Cholesky
or eigh, and the singular values are the roots of the eigenvalues of the symmetric F₁S₂F₁ᵀ, unless one of those is
nothing but rounding, whose root would be 1e-8 of the largest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.metrics.arrays import Array, beside, float64, names, on_host
from bench.metrics.failure import MetricError

BLOCK = 4096
"""Rows at a time: features of many images are never held in float64 as a whole."""
SOUND = 1e-9
"""Least pivot of a Cholesky root over its largest; below it, null directions may hide among rounding."""

NOISE = 16 * float(np.finfo(np.float64).eps)
"""Least eigenvalue of a product over its largest that is more than rounding."""


@dataclass(frozen=True)
class Gaussian:
    """Mean and covariance (divided by n − 1) of n features of length d, float64: arrays, or tensors of one device."""

    n: int
    mean: Array
    """[d]"""
    factor: Array | None
    """[r, d] with covariance = factorᵀ factor: the centred features / sqrt(n − 1), or a root made by `with_root`."""
    covariance: Array | None
    """[d, d]; None when n ≤ d: the centred features say it better."""

    @property
    def trace(self) -> float:
        """Trace of the covariance."""
        if self.covariance is not None:
            return float(names(self.covariance).trace(self.covariance))
        assert self.factor is not None
        return float(names(self.factor).square(self.factor).sum())

    def beside(self, array: Array) -> Gaussian:
        """Return the same Gaussian as what `array` is, on its device."""
        mean, factor, covariance = (
            None if of is None else beside(of, array) for of in (self.mean, self.factor, self.covariance)
        )
        return Gaussian(self.n, mean, factor, covariance)


def gaussian(features: Array) -> Gaussian:
    """Fit a Gaussian to features [n, d], an array or a tensor, accumulating in float64 where they are.

    Raises MetricError below two images.
    """
    n, d = features.shape
    if n < 2:
        raise MetricError(f"a covariance needs two images, there are {n}")
    if n <= d:
        wide = float64(features)
        mean = wide.mean(axis=0)
        return Gaussian(n, mean, (wide - mean) / math.sqrt(n - 1), None)
    parts = [features[start : start + BLOCK] for start in range(0, n, BLOCK)]
    mean = sum(part.sum(axis=0, dtype=names(part).float64) for part in parts) / n
    covariance = beside(np.zeros((d, d)), mean)
    for part in parts:
        centred = part - mean
        covariance += centred.T @ centred
    return Gaussian(n, mean, None, covariance / (n - 1))


def with_root(fitted: Gaussian) -> Gaussian:
    """Give a reference its factor, so that each later distance pays one eigvalsh.

    Cholesky where it is well conditioned.  Else by eigh: directions in which the reference does not vary
    (eigenvalues below d·eps of the largest) leave the factor; they add nothing to the trace term, and their rounding
    would.
    """
    if fitted.factor is not None:
        return fitted
    assert fitted.covariance is not None
    covariance = on_host(fitted.covariance)
    root = _cholesky(covariance)
    if root is None:
        values, vectors = np.linalg.eigh(covariance)
        kept = values > max(values[-1], 0.0) * len(values) * np.finfo(np.float64).eps
        root = np.sqrt(values[kept])[:, None] * vectors[:, kept].T
    return Gaussian(fitted.n, fitted.mean, beside(root, fitted.covariance), fitted.covariance)


def _cholesky(covariance: NDArray[np.float64]) -> NDArray[np.float64] | None:
    try:
        lower = np.linalg.cholesky(covariance).astype(np.float64, copy=False)
    except np.linalg.LinAlgError:
        return None
    pivots = np.diagonal(lower)
    return lower.T if pivots.min() > SOUND**0.5 * pivots.max() else None


def frechet_distance(reference: Gaussian, other: Gaussian) -> float:
    """Squared Fréchet distance (what the field calls FID), at least 0; symmetric up to rounding.

    Products are made where `other` is; the eigenvalues of the last one by LAPACK, on the CPU.  Raises MetricError when
    the dimensions differ or a statistic is not finite.
    """
    if reference.mean.shape != other.mean.shape:
        raise MetricError(f"features of length {len(reference.mean)} and {len(other.mean)} cannot be compared")
    reference = reference.beside(other.mean)
    gap = float(names(other.mean).square(reference.mean - other.mean).sum())
    traces = reference.trace + other.trace
    if not math.isfinite(gap + traces):
        raise MetricError("the features' mean or covariance is not finite")
    return max(gap + traces - 2.0 * _trace_of_root(reference, other), 0.0)


def _trace_of_root(reference: Gaussian, other: Gaussian) -> float:
    factor = with_root(reference).factor
    assert factor is not None
    if other.covariance is not None:
        product = on_host(factor @ other.covariance @ factor.T)
        values = np.linalg.eigvalsh((product + product.T) / 2)
        if values[0] > NOISE * values[-1]:
            return float(np.sqrt(values).sum())
    other_factor = with_root(other).factor
    assert other_factor is not None
    return float(np.linalg.svd(on_host(factor @ other_factor.T), compute_uv=False).sum())


def frechet_infinity(reference: Gaussian, features: Array, rng: np.random.Generator, points: int = 15) -> float:
    """Fréchet distance extrapolated to infinitely many fakes (Chong & Forsyth 2020, arXiv 1911.07023).

    A straight line in 1/n through `points` subset sizes from a quarter of the fakes to all of them; its intercept.
    The original starts at 5,000 of 50,000.  May be negative.  Raises MetricError below 4 · `points` fakes.
    """
    total = len(features)
    if total < 4 * points:
        raise MetricError(f"extrapolation needs {4 * points} fakes, there are {total}")
    rooted = with_root(reference).beside(features)
    sizes = np.linspace(total // 4, total, points).astype(int)
    distances = [frechet_distance(rooted, gaussian(features[np.sort(rng.permutation(total)[:size])])) for size in sizes]
    slope_and_intercept = np.polyfit(1.0 / sizes, distances, 1)
    return float(slope_and_intercept[1])
