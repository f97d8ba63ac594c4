"""Kernel Inception distance (Bińkowski et al. 2018, arXiv 1801.01401, section 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.metrics.arrays import Array, beside, float64, names, on_host
from bench.metrics.failure import MetricError

Index = NDArray[np.int64]
TILE = 2048
"""Rows and columns of the kernel at a time."""


def kernel_distance(
    real: Array,
    fake: Array,
    rng: np.random.Generator,
    subsets: int = 100,
    size: int = 1000,
) -> tuple[float, float]:
    """Unbiased MMD² with the kernel (x·y/d + 1)³: mean and population sd over random subsets of both sets.

    `real` [n, d], `fake` [m, d], both arrays or both tensors.  Subsets are drawn without replacement; `size` is cut to
    the smaller set.  Not scaled by 10³.  May be negative.  Raises MetricError when a subset has fewer than two images.
    """
    size = min(size, len(real), len(fake))
    if size < 2:
        raise MetricError(f"an unbiased MMD needs two images of each set, there are {len(real)} and {len(fake)}")
    # Drawn in turns, as every other implementation does.
    drawn = [
        (rng.choice(len(real), size, replace=False), rng.choice(len(fake), size, replace=False)) for _ in range(subsets)
    ]
    of_real, of_fake = [index for index, _ in drawn], [index for _, index in drawn]
    within = _sums(real, real, of_real, of_real) - _diagonal(real, of_real)
    within += _sums(fake, fake, of_fake, of_fake) - _diagonal(fake, of_fake)
    between = _sums(real, fake, of_real, of_fake)
    values = within / (size * (size - 1)) - 2.0 * between / (size * size)
    return float(np.mean(values)), float(np.std(values))


def _sums(x: Array, y: Array, of_x: list[Index], of_y: list[Index]) -> NDArray[np.float64]:
    """Sum the kernel over each subset's pairs, float64 [subsets].

    Sets small enough for subsets to overlap much: the whole kernel once, in tiles, and its sums over subsets as a
    product with their indicators.  Else subset by subset.
    """
    same = x is y and of_x is of_y
    if len(x) * len(y) > len(of_x) * len(of_x[0]) * len(of_y[0]):
        return np.array([float(_kernel(x, y, i, i if same else j).sum()) for i, j in zip(of_x, of_y, strict=True)])
    in_x, in_y = (beside(_indicators(len(s), of_s), s) for s, of_s in ((x, of_x), (y, of_y)))
    sums = beside(np.zeros(len(of_x)), x)
    for start in range(0, len(x), TILE):
        rows = slice(start, start + TILE)
        for other in range(start if same else 0, len(y), TILE):
            columns = rows if same and other == start else slice(other, other + TILE)
            kernel = _kernel(x, y, rows, columns)
            twice = 2.0 if same and other > start else 1.0  # a symmetric kernel's other half
            sums += twice * (in_x[rows] * (kernel @ in_y[columns])).sum(axis=0)
    return on_host(sums)


def _indicators(n: int, subsets: list[Index]) -> NDArray[np.float64]:
    """Column s is 1 in the rows of subset s: [n, subsets]."""
    inside = np.zeros((n, len(subsets)))
    for column, index in enumerate(subsets):
        inside[index, column] = 1.0
    return inside


def _diagonal(x: Array, subsets: list[Index]) -> NDArray[np.float64]:
    """Sum the kernel of each image with itself over each subset."""
    blocks = (float64(x[start : start + TILE]) for start in range(0, len(x), TILE))
    squares = names(x).concatenate([(block * block).sum(axis=1) for block in blocks])
    own = (squares / x.shape[1] + 1.0) ** 3
    return np.array([float(own[index].sum()) for index in subsets])


def _kernel(x: Array, y: Array, i: slice | Index, j: slice | Index) -> Array:
    left = float64(x[i])
    right = left if i is j else float64(y[j])  # of one array with itself BLAS makes half the products
    base = left @ right.T / x.shape[1] + 1.0
    return base * base * base  # numpy's ** 3 takes ten times as long
