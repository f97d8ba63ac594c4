"""Multi-scale structural similarity between pairs of images, as ProGAN reports it (arXiv 1710.10196, appendix).

Wang et al. 2003: the product over scales of contrast-structure terms and, at the coarsest, SSIM, each to its weight.
Filters are banded matrices, so that a whole batch is two matrix products a map.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from bench import draws
from bench.metrics.failure import MetricError

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Wang's weights, first scale first; they sum to 1.0001 and are used as they are."""
WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
BATCH = 16
"""Pairs at a time: bounds memory, changes no pair's value."""


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


def _terms(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM and its contrast-structure factor, [N] each, averaged over rows, columns and channels."""
    window = _window(a.shape[-1]).to(a)
    maps = window @ torch.stack([a, b, a * a + b * b, a * b]) @ window.T
    mean_a, mean_b, squares, product = maps
    between = mean_a * mean_b
    powers = mean_a.square() + mean_b.square()
    structure = (2 * (product - between) + C2) / (squares - powers + C2)
    luminance = (2 * between + C1) / (powers + C1)
    return (luminance * structure).mean(dim=(1, 2, 3)), structure.mean(dim=(1, 2, 3))


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """MS-SSIM of each pair of uint8 images `a`, `b` [N, C, R, R]: float64 [N]; 1 for equal images, at least 0.

    Terms are averaged over pixels and channels within a scale, clipped at 0, then multiplied.
    """
    if a.dtype != torch.uint8 or b.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, not {a.dtype} and {b.dtype}")
    return torch.cat([_pairs(x, y) for x, y in zip(a.split(BATCH), b.split(BATCH), strict=True)])


def _pairs(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.double(), b.double()
    count = scales(a.shape[-1])
    value = torch.ones(len(a), dtype=torch.float64, device=a.device)
    for scale, weight in enumerate(WEIGHTS[:count]):
        similarity, structure = _terms(a, b)
        last = scale == count - 1
        value *= (similarity if last else structure).clamp(min=0) ** weight
        if not last:
            a, b = _halve(a), _halve(b)
    return value


def _halve(images: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(images, 2)


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
