"""Multi-scale structural similarity between pairs of images, as ProGAN reports it (arXiv 1710.10196, appendix).

Wang et al. 2003: the product over scales of contrast-structure terms and, at the coarsest, SSIM, each to its weight.
Filters are banded matrices: with the rows of a whole batch side by side, a scale is two plain matrix products.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bench import draws
from bench.metrics import threads
from bench.metrics.failure import MetricError

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Wang's weights, first scale first; they sum to 1.0001 and are used as they are."""
WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
BATCH = {"cpu": 64, "cuda": 1024}
"""Pairs at a time, by kind of device: what a core's caches hold, what fills a GPU."""
TILE = 16
"""Windows along one axis that are filtered together: of a banded matrix, most is zero beyond that."""
GREY = 128.0
"""Taken off all pixels first: variances then lose fewer digits in float32."""


def scales(size: int) -> int:
    """Scales used at this side: five, or fewer where a side is odd or 1 (16 to 1; 24, 12, 6, 3)."""
    count = 1
    while count < len(WEIGHTS) and size % 2 == 0:
        size, count = size // 2, count + 1
    return count


@functools.cache
def _window(size: int) -> Tensor:
    """Gaussian filtering without padding as a matrix [size − w + 1, size]; the window shrinks with small sides."""
    width = min(WINDOW, size)
    sigma = SIGMA * width / WINDOW
    offsets = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    taps = torch.exp(-offsets.square() / (2 * sigma**2))
    taps /= taps.sum()
    rows = size - width + 1
    matrix = torch.zeros(rows, size, dtype=torch.float64)
    for row in range(rows):
        matrix[row, row : row + width] = taps
    return matrix


def _term(both: Tensor, last: bool) -> Tensor:
    """Mean over pixels and channels of contrast-structure, or at the last scale of SSIM: [N].

    `both`: [R, 2, N, C, R], rows first: sum of the two images less 256, and their difference.  With S and D the
    variances of those in a window, 2 cov = (S − D) / 2 and var + var = (S + D) / 2; likewise for the means.
    """
    side, _, n, channels, _ = both.shape
    window = _window(side).to(both)
    count, width = len(window), side - len(window)
    maps = torch.cat([both, both * both], dim=1)
    step = -(-count // -(-count // TILE))
    tiles = [slice(start, min(start + step, count)) for start in range(0, count, step)]
    total = torch.zeros(n, dtype=torch.float64, device=both.device)
    for rows in tiles:
        under = slice(rows.start, rows.stop + width)
        filtered = (window[rows, under] @ maps[under].flatten(1)).view(-1, side)
        for columns in tiles:
            under = slice(columns.start, columns.stop + width)
            tile = (window[columns, under] @ filtered[:, under].T).view(-1, 4, n, channels)
            total += _similarity(tile, last).sum(dim=(0, 2))
    return total / (count * count * channels)


def _similarity(tile: Tensor, last: bool) -> Tensor:
    """Contrast-structure, or SSIM, of each window; from its filtered maps [windows, 4, N, C], which are overwritten."""
    means, squares = tile[:, :2], tile[:, 2:]
    powers = means.square()
    total, gap = squares.sub_(powers).unbind(1)
    total += 2 * C2
    structure = (total - gap).div_(total.add_(gap))
    if not last:
        return structure
    brightness, gap = (means[:, 0] + 2 * GREY).square_().add_(2 * C1), powers[:, 1]
    return structure.mul_(brightness - gap).div_(brightness.add_(gap))


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """MS-SSIM of each pair of uint8 images `a`, `b` [N, C, R, R]: float64 [N]; 1 for equal images, at least 0.

    Terms are averaged over pixels and channels within a scale, clipped at 0, then multiplied.  Maps are float32,
    means and products float64: within 2e-6 of all float64.
    """
    _check(a, b)
    return _each(_pairs, a, b)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """SSIM of each pair of uint8 images [N, C, R, R] at full size: float64 [N], at most 1, 1 for equal images.

    Wang et al. 2004: 11-tap Gaussian windows (σ 1.5) that fit wholly into the image, population covariances, mean over
    windows and channels.
    """
    _check(a, b)
    return _each(lambda x, y: _term(_both(x, y), True), a, b)


def _each(value: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    batch = BATCH.get(a.device.type, BATCH["cpu"])
    with threads.pool(a.device) as workers:
        return torch.cat(list(workers.map(value, a.split(batch), b.split(batch))))


def _check(a: Tensor, b: Tensor) -> None:
    if a.dtype != torch.uint8 or b.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, not {a.dtype} and {b.dtype}")
    if a.shape != b.shape:
        raise MetricError(f"pairs need images of one shape, not {tuple(a.shape)} and {tuple(b.shape)}")


def _both(a: Tensor, b: Tensor) -> Tensor:
    """Sum less 256, and difference, of two batches [N, C, R, R]: [R, 2, N, C, R]."""
    a, b = (x.permute(2, 0, 1, 3).float() for x in (a, b))
    return torch.stack([a + b - 2 * GREY, a - b], dim=1)


def _pairs(a: Tensor, b: Tensor) -> Tensor:
    count = scales(a.shape[-1])
    value = torch.ones(len(a), dtype=torch.float64, device=a.device)
    both = _both(a, b)
    for scale, weight in enumerate(WEIGHTS[:count]):
        last = scale == count - 1
        value *= _term(both, last).clamp(min=0) ** weight
        both = both if last else _halve(both)
    return value


def _halve(images: Tensor) -> Tensor:
    """Means of 2 × 2 pixels of [R, ..., R]."""
    rows = images[0::2] + images[1::2]
    return (rows[..., 0::2] + rows[..., 1::2]).mul_(0.25)


def stream_pairs(n: int) -> tuple[Tensor, Tensor]:
    """Pair a stream of n images as ProGAN does: 0 with 1, 2 with 3, …; an odd last one is left out.

    Raises MetricError below two images.
    """
    if n < 2:
        raise MetricError(f"a pair needs two images, there are {n}")
    index = torch.arange(n - n % 2)
    return index[0::2], index[1::2]


def shuffled_pairs(n: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw `count` pairs of n images: successive seeded permutations, each paired as a stream."""

    def rounds() -> Iterator[tuple[Tensor, Tensor]]:
        first, second = stream_pairs(n)
        for step in range(-(-count // len(first))):
            order = draws.permutation(n, seed, "ms_ssim.pairs", step)
            yield order[first], order[second]

    drawn = list(rounds())
    return torch.cat([a for a, _ in drawn])[:count], torch.cat([b for _, b in drawn])[:count]
