"""Which reals are nearest to a sample, and how far: what shows copies of training images to the eye and as a number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.metrics.arrays import Array, beside, float64, names, on_host
from bench.metrics.prdc import squared_distances

Found = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Rows of the reals [m, k], and distances to them [m, k]."""


def nearest(views: Sequence[Array], reals: Array, k: int) -> Found:
    """Find the k of `reals` [n, d] that are nearest to each query, the nearest first; of equals the lower row first.

    `views`: the queries [m, d], once or in several forms (images and their mirror images): a real's distance is that
    to the nearest form.  Euclidean, in float64, in tiles: memory does not grow with n.  With fewer than k reals, all.
    """
    found = [_of_view(view, reals, min(k, len(reals))) for view in views]
    rows, far = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
    order = np.lexsort((rows, far), axis=1)
    rows, far = np.take_along_axis(rows, order, axis=1), np.take_along_axis(far, order, axis=1)
    # A real that two forms found stands twice.
    kept = np.array([np.sort(np.unique(row, return_index=True)[1])[: found[0][0].shape[1]] for row in rows])
    return np.take_along_axis(rows, kept, axis=1), np.take_along_axis(far, kept, axis=1)


def _of_view(queries: Array, reals: Array, k: int) -> Found:
    rows, squared = np.zeros((len(queries), k), np.int64), np.full((len(queries), k), np.inf)
    for block, columns, tile in squared_distances(queries, reals):
        values = on_host(tile)
        chosen = np.argpartition(values, min(k, values.shape[1]) - 1, axis=1)[:, :k]
        both = np.concatenate([squared[block], np.take_along_axis(values, chosen, axis=1)], axis=1)
        places = np.concatenate([rows[block], chosen + columns.start], axis=1)
        order = np.lexsort((places, both), axis=1)[:, :k]
        rows[block] = np.take_along_axis(places, order, axis=1)
        squared[block] = np.take_along_axis(both, order, axis=1)
    return rows, _distances(queries, reals, rows)


def _distances(queries: Array, reals: Array, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distances by differences: that of a copy is 0, which the expanded square only comes near to."""
    chosen = float64(reals[beside(rows, reals)])
    squared = names(chosen).square(float64(queries)[:, None] - chosen).sum(axis=-1)
    return np.asarray(on_host(names(chosen).sqrt(squared)))
