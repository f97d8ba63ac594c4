"""Precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991), density and coverage (Naeem et al. 2020).

The latter: arXiv 2002.09797.  Distances are Euclidean, in float64, compared strictly, and made in tiles: memory
beside the features does not grow with the sets.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.metrics.arrays import Array, beside, float64, names
from bench.metrics.failure import MetricError

TILE = 2048
"""Rows and columns of distances at a time."""


def prdc(real: Array, fake: Array, k: int = 5) -> dict[str, float]:
    """Precision, recall, density and coverage of features `fake` [m, d] against `real` [n, d].

    A ball reaches to the k-th neighbour within its own set.  Precision: share of fakes in any real's ball.  Recall:
    share of reals in any fake's ball.  Density: mean number of real balls around a fake, over k (may pass 1).
    Coverage: share of reals whose ball holds a fake.  Raises MetricError when a set has no k neighbours.
    """
    if min(len(real), len(fake)) <= k:
        raise MetricError(f"k = {k} neighbours need {k + 1} images of each set: {len(real)} real, {len(fake)} fake")
    real_radius, fake_radius = _radii(real, k), _radii(fake, k)
    balls_around_fake = beside(np.zeros(len(fake), dtype=np.int64), fake)
    recalled, covered = (beside(np.zeros(len(real), dtype=bool), real) for _ in range(2))
    for rows, columns, squared in squared_distances(real, fake):
        inside = squared < real_radius[rows, None]
        balls_around_fake[columns] += inside.sum(axis=0)
        covered[rows] |= inside.any(axis=1)
        recalled[rows] |= (squared < fake_radius[columns]).any(axis=1)
    return {
        "precision": int((balls_around_fake > 0).sum()) / len(fake),
        "recall": int(recalled.sum()) / len(real),
        "density": int(balls_around_fake.sum()) / len(fake) / k,
        "coverage": int(covered.sum()) / len(real),
    }


def squared_distances(a: Array, b: Array, *, half: bool = False) -> Iterator[tuple[slice, slice, Array]]:
    """Yield tiles (rows of a, rows of b, squared distances); `half`: a is b, no tiles below the diagonal."""
    xp = names(a)
    for start in range(0, len(a), TILE):
        rows = slice(start, min(start + TILE, len(a)))
        x = float64(a[rows])
        x_norms = xp.square(x).sum(axis=1)[:, None]
        for other in range(start if half else 0, len(b), TILE):
            columns = slice(other, min(other + TILE, len(b)))
            y = float64(b[columns])
            squared = x_norms + xp.square(y).sum(axis=1) - 2.0 * (x @ y.T)
            yield rows, columns, xp.clip(squared, 0.0, None, out=squared)


def _radii(features: Array, k: int) -> Array:
    """Squared distance of each row to its k-th neighbour, itself not counted."""
    nearest = beside(np.full((len(features), k + 1), np.inf), features)
    for rows, columns, squared in squared_distances(features, features, half=True):
        if rows == columns:
            own = np.arange(len(squared))
            squared[own, own] = 0.0
        else:
            nearest[columns] = _smallest(nearest[columns], squared.T, k)
        nearest[rows] = _smallest(nearest[rows], squared, k)
    return names(nearest).amax(nearest, axis=1)


def _smallest(known: Array, more: Array, k: int) -> Array:
    """Keep the k + 1 smallest of each row."""
    both = names(known).concatenate([known, more], axis=1)
    if isinstance(both, np.ndarray):
        both.partition(k, axis=1)
        return both[:, : k + 1]
    return both.topk(k + 1, dim=1, largest=False).values
