"""Colour moments: what SWD, which standardises its descriptors, cannot see."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 1024
"""Images at a time: counting takes eight bytes a pixel."""


def colour_moments(images: Tensor) -> Tensor:
    """Mean and population sd of each channel over all pixels of uint8 images [N, C, H, W]: float64 [2, C], 0 to 255."""
    if images.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype}")
    channels = images.shape[1]
    # A histogram is exact whatever the number of images and threads.
    levels = torch.arange(256, dtype=torch.float64)
    moments = torch.empty(2, channels, dtype=torch.float64)
    for channel in range(channels):
        counts = torch.zeros(256, dtype=torch.float64)
        for block in images[:, channel].split(BLOCK):
            counts += torch.bincount(block.reshape(-1).to(torch.int64), minlength=256).cpu()
        total = counts.sum()
        mean = (counts * levels).sum() / total
        moments[0, channel] = mean
        moments[1, channel] = ((counts * (levels - mean) ** 2).sum() / total).sqrt()
    return moments


def colour_distance(real: Tensor, fake: Tensor) -> float:
    """Wasserstein-2 distance of Gaussians with the two sets' moments [2, C], root mean square over channels.

    In grey levels: sqrt(mean over channels of (Δmean² + Δsd²)).
    """
    return float((real - fake).square().sum(dim=0).mean().sqrt())
