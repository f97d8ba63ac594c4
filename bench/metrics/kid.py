"""Kernel Inception distance (Bińkowski et al. 2018, arXiv 1801.01401, section 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.metrics.failure import MetricError


def kernel_distance(
    real: NDArray[np.floating],
    fake: NDArray[np.floating],
    rng: np.random.Generator,
    subsets: int = 100,
    size: int = 1000,
) -> tuple[float, float]:
    """Unbiased MMD² with the kernel (x·y/d + 1)³: mean and population sd over random subsets of both sets.

    `real` [n, d], `fake` [m, d].  Subsets are drawn without replacement; `size` is cut to the smaller set.
    Not scaled by 10³.  May be negative.  Raises MetricError when a subset has fewer than two images.
    """
    size = min(size, len(real), len(fake))
    if size < 2:
        raise MetricError(f"an unbiased MMD needs two images of each set, there are {len(real)} and {len(fake)}")
    wide_real, wide_fake = real.astype(np.float64), fake.astype(np.float64)
    values = [
        _mmd2(
            wide_real[rng.choice(len(real), size, replace=False)],
            wide_fake[rng.choice(len(fake), size, replace=False)],
        )
        for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def _mmd2(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    m = len(x)
    within = 0.0
    for z in (x, y):
        kernel = _kernel(z, z)
        within += float(kernel.sum() - np.trace(kernel))
    between = float(_kernel(x, y).sum())
    return within / (m * (m - 1)) - 2.0 * between / (m * m)


def _kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    base = x @ y.T / x.shape[1] + 1.0
    cubed: NDArray[np.float64] = base * base * base  # numpy's ** 3 takes ten times as long
    return cubed
