"""Snapshot → fakes, and the sheet of samples that the report shows."""

from __future__ import annotations

import copy
import io
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from bench import draws
from bench.batches import draw_labels, draw_z
from bench.data import Dataset, to_float, to_uint8
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
    y: Tensor | None = None,
    inputs: Tensor | None = None,
) -> Tensor:
    """Sample `n` images from G, uint8 [n, C, H, W] on the CPU.

    z comes from the evaluation's own seed, the same for all runs; batches are of a fixed size, since batch
    statistics (`sample_stats: batch`) and the last bits of an image depend on it.  A partial last batch is
    sampled whole and cut.  `y`: the classes asked for, int64 [n], where G reads labels; unset: `asked`.  A G that
    has not grown to the data's size yet makes small images, which are enlarged.
    Of pairs, image i is made of `inputs` [i mod N], uint8 [N, C_in, H, W], and batch statistics are those of
    `train.batch` images, as G was trained (pix2pix: of one).  With `style_source: image`, inputs are `style_images`.
    Raises SampleError when G makes NaN.
    """
    sampler = copy.deepcopy(G).to(device)
    sampler.train(setting.sample_stats == "batch")
    if inputs is not None and setting.sample_stats == "batch":
        batch = setting.train.batch
    images = []
    classes = torch.empty(0, dtype=torch.int64)
    if setting.gives_labels:
        whole = -(-n // batch) * batch
        classes = asked(setting, whole, seed=seed, stream=stream, batch=batch)
        if y is not None:
            classes = torch.cat([y, y[-1:].expand(whole - n)])
    for index in range(-(-n // batch)):
        set_chance(sampler, seed, stream, index)
        z = draw_z(setting, batch, seed, stream, index, device)
        if inputs is not None:
            rows = torch.arange(index * batch, (index + 1) * batch) % len(inputs)
            made = sampler(z, to_float(inputs[rows]).to(device))
        elif setting.gives_labels:
            made = sampler(z, classes[index * batch : (index + 1) * batch].to(device))
        else:
            made = sampler(z)
        if not bool(torch.isfinite(made).all()):
            raise SampleError("G makes values that are not finite")
        images.append(to_uint8(enlarged(made, setting.data.size)).cpu())
    return torch.cat(images)[:n].contiguous()


def asked(setting: Setting, n: int, *, seed: int, stream: str = "evaluation_z", batch: int = 64) -> Tensor:
    """Draw the classes that fakes are asked to be, int64 [n] on the CPU, every class as likely."""
    drawn = [draw_labels(setting, batch, seed, f"{stream}_y", index) for index in range(-(-n // batch))]
    return torch.cat(drawn)[:n]


def of_columns(setting: Setting) -> Tensor:
    """Return the classes of a sheet's tiles, int64 [64]: column c shows class c, of fewer than 8 classes c mod K."""
    return torch.arange(SHEET * SHEET) % SHEET % (setting.data.classes or 1)


class Pairs(NamedTuple):
    """Targets and their inputs, uint8 [64, C, H, W] and [64, C_in, H, W]."""

    images: Tensor
    inputs: Tensor


def sheet_pairs(dataset: Dataset) -> Pairs | None:
    """Draw the 64 pairs that every sheet shows, of the test part (where it is empty, of training), over again if fewer.

    None for a set without pairs.
    """
    images, _, inputs = dataset.part("test" if len(dataset.parts["test"]) else "train")
    if inputs is None:
        return None
    rows = draws.permutation(len(images), SHEET_SEED, "sheet_reals", 0)[torch.arange(SHEET**2) % len(images)]
    return Pairs(images[rows], inputs[rows])


def style_images(setting: Setting, dataset: Dataset, seed: int) -> Tensor | None:
    """Shuffle the training part, uint8 [N, C, H, W], for fakes to take their styles from; None where G reads none."""
    if setting.style_source != "image" or setting.data.pairs != "none":
        return None
    images = dataset.part("train").images
    return images[draws.permutation(len(images), seed, "style", 0)]


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
