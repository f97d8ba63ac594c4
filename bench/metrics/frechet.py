"""Fréchet distance between Gaussians fitted to two feature sets (Heusel et al. 2017, arXiv 1706.08500, eq. 6).

d² = |m₁ − m₂|² + tr S₁ + tr S₂ − 2 tr (S₁S₂)^½, all in float64, with no matrix square root and nothing complex:
tr (S₁S₂)^½ is the sum of the singular values of F₁F₂ᵀ for any factors Fᵢ with S = FᵀF.  With fewer images than
dimensions the factors are the centred features themselves; else F₁ is the reference's root, made once by Cholesky
or eigh, and the singular values are the roots of the eigenvalues of the symmetric F₁S₂F₁ᵀ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.metrics.failure import MetricError

Array = NDArray[np.float64]
BLOCK = 4096
"""Rows at a time: features of many images are never held in float64 as a whole."""
SOUND = 1e-9
"""Least pivot of a Cholesky root over its largest; below it, null directions may hide among rounding."""


@dataclass(frozen=True)
class Gaussian:
    """Mean and covariance (divided by n − 1) of n features of length d."""

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
            return float(np.trace(self.covariance))
        assert self.factor is not None
        return float(np.square(self.factor).sum())


def gaussian(features: NDArray[np.floating]) -> Gaussian:
    """Fit a Gaussian to features [n, d], accumulating in float64.  Raises MetricError below two images."""
    n, d = features.shape
    if n < 2:
        raise MetricError(f"a covariance needs two images, there are {n}")
    if n <= d:
        wide = features.astype(np.float64)
        mean = wide.mean(axis=0)
        wide -= mean
        return Gaussian(n, mean, wide / np.sqrt(n - 1), None)
    parts = [features[start : start + BLOCK] for start in range(0, n, BLOCK)]
    mean = np.sum([part.sum(axis=0, dtype=np.float64) for part in parts], axis=0) / n
    covariance = np.zeros((d, d))
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
    root = _cholesky(fitted.covariance)
    if root is None:
        values, vectors = np.linalg.eigh(fitted.covariance)
        kept = values > max(values[-1], 0.0) * len(values) * np.finfo(np.float64).eps
        root = np.sqrt(values[kept])[:, None] * vectors[:, kept].T
    return Gaussian(fitted.n, fitted.mean, root, fitted.covariance)


def _cholesky(covariance: Array) -> Array | None:
    try:
        lower = np.linalg.cholesky(covariance).astype(np.float64, copy=False)
    except np.linalg.LinAlgError:
        return None
    pivots = np.diagonal(lower)
    return lower.T if pivots.min() > SOUND**0.5 * pivots.max() else None


def frechet_distance(reference: Gaussian, other: Gaussian) -> float:
    """Squared Fréchet distance (what the field calls FID), at least 0; symmetric up to rounding.

    Raises MetricError when the dimensions differ or a statistic is not finite.
    """
    if reference.mean.shape != other.mean.shape:
        raise MetricError(f"features of length {len(reference.mean)} and {len(other.mean)} cannot be compared")
    gap = float(np.square(reference.mean - other.mean).sum())
    traces = reference.trace + other.trace
    if not np.isfinite(gap + traces):
        raise MetricError("the features' mean or covariance is not finite")
    return max(gap + traces - 2.0 * _trace_of_root(reference, other), 0.0)


def _trace_of_root(reference: Gaussian, other: Gaussian) -> float:
    if other.covariance is None:
        factor = with_root(reference).factor
        assert factor is not None and other.factor is not None
        return float(np.linalg.svd(factor @ other.factor.T, compute_uv=False).sum())
    factor = with_root(reference).factor
    assert factor is not None
    product = factor @ other.covariance @ factor.T
    values = np.linalg.eigvalsh((product + product.T) / 2)
    return float(np.sqrt(np.clip(values, 0.0, None)).sum())


def frechet_infinity(
    reference: Gaussian, features: NDArray[np.floating], rng: np.random.Generator, points: int = 15
) -> float:
    """Fréchet distance extrapolated to infinitely many fakes (Chong & Forsyth 2020, arXiv 1911.07023).

    A straight line in 1/n through `points` subset sizes from a quarter of the fakes to all of them; its intercept.
    The original starts at 5,000 of 50,000.  May be negative.  Raises MetricError below 4 · `points` fakes.
    """
    total = len(features)
    if total < 4 * points:
        raise MetricError(f"extrapolation needs {4 * points} fakes, there are {total}")
    rooted = with_root(reference)
    sizes = np.linspace(total // 4, total, points).astype(int)
    distances = [frechet_distance(rooted, gaussian(features[np.sort(rng.permutation(total)[:size])])) for size in sizes]
    slope_and_intercept = np.polyfit(1.0 / sizes, distances, 1)
    return float(slope_and_intercept[1])
