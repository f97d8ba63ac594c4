"""How far fakes are from the nearest real: a sign of memorisation, where the reals are those that D was shown.

Fréchet distances against the training images reward copies of them (Liu et al. 2021 score FastGAN so); this does not.
"""

from __future__ import annotations

import numpy as np

from bench.metrics.arrays import Array, beside, names
from bench.metrics.failure import MetricError
from bench.metrics.prdc import squared_distances


def nearest_distance(real: Array, fake: Array) -> float:
    """Mean distance from fakes [m, d] to their nearest real, over that from reals [n, d] to their nearest other real.

    0: copies of reals.  1: as far from the reals as these are from each other, which held-out reals would be.  Above:
    away from them.  Distances are Euclidean, in float64.
    Raises MetricError for fewer than two reals, and where each real has its copy among the others.
    """
    if len(real) < 2:
        raise MetricError("the distance between reals needs two of them")
    between = _mean_nearest(real, real, same=True)
    if between == 0:
        raise MetricError("the reals are copies of each other, so that there is no distance to compare with")
    return _mean_nearest(fake, real, same=False) / between


def _mean_nearest(a: Array, b: Array, *, same: bool) -> float:
    """Mean over rows of a of the distance to the nearest row of b; `same`: a is b, and no row is its own neighbour."""
    xp = names(a)
    nearest = beside(np.full(len(a), np.inf), a)
    for rows, columns, squared in squared_distances(a, b):
        if same and rows == columns:
            own = np.arange(len(squared))
            squared[own, own] = np.inf
        nearest[rows] = xp.minimum(nearest[rows], xp.amin(squared, axis=1))
    return float(xp.sqrt(nearest).mean())
