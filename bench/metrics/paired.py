"""Outputs made of inputs, against the targets of these: PSNR, L1, what depends on the input, and how sharp images are.

SSIM is in `ms_ssim`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.metrics.failure import MetricError

COLUMNS = 4096
"""Pixels whose variances are taken together."""
IMAGES = 256
"""Images whose gradients are taken together."""


def shown(n: int, inputs: int) -> int:
    """Say how many of the inputs n outputs are made of: so many that each is there twice at least, in other draws."""
    return max(1, min(inputs, n // 2))


def inputs_of(n: int, inputs: int) -> Tensor:
    """Say which input each of n outputs is made of, int64 [n]: the first `shown` in turn, again and again."""
    return torch.arange(n) % shown(n, inputs)


def psnr(real: Tensor, fake: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each pair of uint8 images [N, C, H, W], peak 255: float64 [N], in dB.

    The mean squared error is taken over an image's pixels and channels; equal images have infinity.
    """
    error = _gap(real, fake).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(255.0**2 / error)


def l1(real: Tensor, fake: Tensor) -> Tensor:
    """Mean absolute difference of each pair of uint8 images [N, C, H, W]: float64 [N], in grey levels 0 to 255."""
    return _gap(real, fake).abs().mean(dim=(1, 2, 3))


def edge_energy(images: Tensor) -> float:
    """Mean length of the gradient over the pixels and channels of uint8 images [N, C, H, W], in grey levels a pixel.

    Differences go to the next pixel right and below; the last row and column have none.
    """
    total = 0.0
    for some in images.split(IMAGES):
        x = some.double()
        across, down = x[..., :-1, 1:] - x[..., :-1, :-1], x[..., 1:, :-1] - x[..., :-1, :-1]
        total += float(torch.hypot(across, down).mean(dim=(1, 2, 3)).sum())
    return total / len(images)


def variances(outputs: Tensor, rows: Tensor) -> tuple[float, float]:
    """Split the variance of outputs, uint8 [N, C, H, W], into that across inputs and that within one, by `rows` [N].

    Mean over pixels and channels of the two components of a one-way analysis of variance, unbiased: the first is the
    variance of the means of inputs, less the share that draws within an input have in it, and may be below 0.
    Raises MetricError unless there are two inputs, and an input with two outputs.
    """
    inputs, group, counts = torch.unique(rows, return_inverse=True, return_counts=True)
    n, m = len(rows), len(inputs)
    if m < 2 or n == m:
        raise MetricError(f"variance across inputs and within one: {n} outputs of {m} inputs are too few")
    across = within = 0.0
    share = float((1.0 / counts.double()).mean())
    for columns in outputs.flatten(1).split(COLUMNS, dim=1):
        x = columns.double()
        means = x.new_zeros(m, x.shape[1]).index_add_(0, group, x) / counts[:, None].to(x)
        inner = (x - means[group]).square().sum(dim=0) / (n - m)
        across += float((means.var(dim=0, correction=1) - share * inner).sum())
        within += float(inner.sum())
    pixels = outputs[0].numel()
    return across / pixels, within / pixels


def variance(images: Tensor) -> float:
    """Mean over pixels and channels of the unbiased variance across uint8 images [N, C, H, W]."""
    total = sum(float(x.double().var(dim=0, correction=1).sum()) for x in images.flatten(1).split(COLUMNS, dim=1))
    return total / images[0].numel()


def _gap(real: Tensor, fake: Tensor) -> Tensor:
    if real.dtype != torch.uint8 or fake.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, not {real.dtype} and {fake.dtype}")
    if real.shape != fake.shape:
        raise MetricError(f"pairs need images of one shape, not {tuple(real.shape)} and {tuple(fake.shape)}")
    return fake.double() - real.double()
