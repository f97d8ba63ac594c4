"""How near an image comes to the one it should be: PSNR and L1; SSIM is in `ms_ssim`."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.metrics.failure import MetricError


def psnr(real: Tensor, fake: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each pair of uint8 images [N, C, H, W], peak 255: float64 [N], in dB.

    The mean squared error is taken over an image's pixels and channels; equal images have infinity.
    """
    error = _gap(real, fake).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(255.0**2 / error)


def l1(real: Tensor, fake: Tensor) -> Tensor:
    """Mean absolute difference of each pair of uint8 images [N, C, H, W]: float64 [N], in grey levels 0 to 255."""
    return _gap(real, fake).abs().mean(dim=(1, 2, 3))


def _gap(real: Tensor, fake: Tensor) -> Tensor:
    if real.dtype != torch.uint8 or fake.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, not {real.dtype} and {fake.dtype}")
    if real.shape != fake.shape:
        raise MetricError(f"pairs need images of one shape, not {tuple(real.shape)} and {tuple(fake.shape)}")
    return fake.double() - real.double()
