"""Snapshot → fakes, and the sheet of samples that the report shows."""

from __future__ import annotations

import copy
import io

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from bench.batches import draw_labels, draw_z
from bench.data import to_uint8
from bench.models import set_chance
from bench.setting import Setting

SHEET = 8
"""A sheet has 8 × 8 tiles."""
SHEET_SEED = 0
"""Every sheet of every run shows the same z (for equal z_dim and z_dist)."""


class SampleError(Exception):
    """G makes something that is no image."""


@torch.no_grad()
def fakes(
    G: nn.Module,
    setting: Setting,
    n: int,
    *,
    seed: int,
    stream: str = "evaluation_z",
    batch: int = 64,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Sample `n` images from G, uint8 [n, C, H, W] on the CPU.

    z comes from the evaluation's own seed, the same for all runs; batches are of a fixed size, since batch
    statistics (`sample_stats: batch`) and the last bits of an image depend on it.  A partial last batch is
    sampled whole and cut.  A G that has not grown to the data's size yet makes small images, which are enlarged.
    Raises SampleError when G makes NaN.
    """
    sampler = copy.deepcopy(G).to(device)
    sampler.train(setting.sample_stats == "batch")
    images = []
    for index in range(-(-n // batch)):
        set_chance(sampler, seed, stream, index)
        z = draw_z(setting, batch, seed, stream, index, device)
        if setting.gives_labels:
            made = sampler(z, draw_labels(setting, batch, seed, f"{stream}_y", index, device))
        else:
            made = sampler(z)
        if not bool(torch.isfinite(made).all()):
            raise SampleError("G makes values that are not finite")
        images.append(to_uint8(enlarged(made, setting.data.size)).cpu())
    return torch.cat(images)[:n].contiguous()


def enlarged(images: Tensor, size: int) -> Tensor:
    """Bring images [B, C, S, S] to side `size`, a multiple of S, each pixel a square, as ProGAN's code shows them."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, scale_factor=size // images.shape[-1], mode="nearest")


def sheet(images: Tensor) -> bytes:
    """Lay out the first 64 images, uint8 [N, C, H, W], as one PNG of 8 × 8 tiles without borders.

    Fewer than 64 leave black tiles.
    """
    n, channels, height, width = images.shape
    tiles = torch.zeros(SHEET * SHEET, channels, height, width, dtype=torch.uint8)
    tiles[: min(n, SHEET * SHEET)] = images[: SHEET * SHEET]
    grid = tiles.reshape(SHEET, SHEET, channels, height, width).permute(0, 3, 1, 4, 2)
    pixels = grid.reshape(SHEET * height, SHEET * width, channels)
    picture = Image.fromarray(pixels.squeeze(-1).numpy() if channels == 1 else pixels.numpy())
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=False)
    return buffer.getvalue()
