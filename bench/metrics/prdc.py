"""Precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991), density and coverage (Naeem et al. 2020).

The latter: arXiv 2002.09797.  Distances are Euclidean, in float64, compared strictly, and made in blocks of rows:
memory is O(n · block).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bench.metrics.failure import MetricError

Array = NDArray[np.float64]
BLOCK = 1024


def prdc(real: NDArray[np.floating], fake: NDArray[np.floating], k: int = 5) -> dict[str, float]:
    """Precision, recall, density and coverage of features `fake` [m, d] against `real` [n, d].

    A ball reaches to the k-th neighbour within its own set.  Precision: share of fakes in any real's ball.  Recall:
    share of reals in any fake's ball.  Density: mean number of real balls around a fake, over k (may pass 1).
    Coverage: share of reals whose ball holds a fake.  Raises MetricError when a set has no k neighbours.
    """
    if min(len(real), len(fake)) <= k:
        raise MetricError(f"k = {k} neighbours need {k + 1} images of each set: {len(real)} real, {len(fake)} fake")
    wide_real, wide_fake = real.astype(np.float64), fake.astype(np.float64)
    real_radius, fake_radius = _radii(wide_real, k), _radii(wide_fake, k)
    balls_around_fake = np.zeros(len(fake), dtype=np.int64)
    recalled = np.zeros(len(real), dtype=bool)
    covered = np.zeros(len(real), dtype=bool)
    for rows, squared in _squared_distances(wide_real, wide_fake):
        inside = squared < real_radius[rows, None]
        balls_around_fake += inside.sum(axis=0)
        covered[rows] = inside.any(axis=1)
        recalled[rows] = (squared < fake_radius[None, :]).any(axis=1)
    return {
        "precision": float((balls_around_fake > 0).mean()),
        "recall": float(recalled.mean()),
        "density": float(balls_around_fake.mean() / k),
        "coverage": float(covered.mean()),
    }


def _squared_distances(a: Array, b: Array) -> Iterator[tuple[slice, Array]]:
    norms = np.square(b).sum(axis=1)
    for start in range(0, len(a), BLOCK):
        rows = slice(start, min(start + BLOCK, len(a)))
        block = a[rows]
        squared = np.square(block).sum(axis=1)[:, None] + norms - 2.0 * block @ b.T
        yield rows, np.maximum(squared, 0.0, out=squared)


def _radii(features: Array, k: int) -> Array:
    """Squared distance of each row to its k-th neighbour, itself not counted."""
    radii = np.empty(len(features))
    for rows, squared in _squared_distances(features, features):
        squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = 0.0
        radii[rows] = np.partition(squared, k, axis=1)[:, k]
    return radii
