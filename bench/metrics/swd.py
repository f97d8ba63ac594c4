"""Sliced Wasserstein distance of Laplacian-pyramid patches (ProGAN: Karras et al. 2018, arXiv 1710.10196, section 5).

Per level, 128 random 7×7 patches of each image, standardised per set and colour channel; the sorted-projection
distance (W1) over 4 × 128 random unit directions, times 10³.  Grey counts as three equal channels.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from bench import draws
from bench.metrics.failure import MetricError

PATCHES = 128
PATCH = 7
REPEATS = 4
DIRECTIONS = 128
COARSEST = 16


def levels(size: int) -> list[int]:
    """Sides of the pyramid: the full size, halved while the half is a whole number of 16 or more.

    Below 16 px there is one level, the image itself.  Raises MetricError below one patch (7 px).
    """
    if size < PATCH:
        raise MetricError(f"a {PATCH}×{PATCH} patch does not fit into {size} px")
    sides = [size]
    while sides[-1] % 2 == 0 and sides[-1] // 2 >= COARSEST:
        sides.append(sides[-1] // 2)
    return sides


@functools.cache
def _halving(size: int) -> tuple[Tensor, Tensor]:
    """Matrices of the smoothed halving [size/2, size] and of its counterpart [size, size/2], mirror borders."""
    taps = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    smooth = np.zeros((size, size))
    for row in range(size):
        for offset, tap in zip(range(-2, 3), taps, strict=True):
            column = abs(row + offset)
            smooth[row, min(column, 2 * (size - 1) - column)] += tap
    # Zero insertion keeps a quarter of the mean, so each axis is doubled.
    return torch.from_numpy(smooth[::2]).float(), torch.from_numpy(2.0 * smooth[:, ::2]).float()


def laplacian_pyramid(images: Tensor) -> dict[int, Tensor]:
    """Split images [N, C, R, R] into detail levels by side, float32; the last is the low-pass image itself."""
    pyramid = {}
    current = images.float()
    sides = levels(images.shape[-1])
    for side in sides[:-1]:
        down, up = (matrix.to(images.device) for matrix in _halving(side))
        coarse = down @ current @ down.T
        pyramid[side] = current - up @ coarse @ up.T
        current = coarse
    pyramid[sides[-1]] = current
    return pyramid


def patches(level: Tensor, seed: int, stream: str) -> Tensor:
    """Cut 128 patches at random places from each image of a level [N, C, R, R]: [N · 128, C, 7, 7].

    Places are addressed by (seed, stream, side): the same for whatever images stand there.
    """
    n, _, side, _ = level.shape
    generator = draws.generator(seed, stream, side)
    places = torch.randint(side - PATCH + 1, (2, n, PATCHES), generator=generator).to(level.device)
    windows = level.unfold(2, PATCH, 1).unfold(3, PATCH, 1)
    image = torch.arange(n, device=level.device)[:, None].expand(n, PATCHES)
    return windows[image, :, places[0], places[1]].reshape(n * PATCHES, -1, PATCH, PATCH)


def standardise(descriptors: Tensor) -> Tensor:
    """Subtract each channel's mean over all descriptors [P, C, 7, 7] and divide by its population sd.

    Returns [P, C · 49].  Raises MetricError when a channel does not vary at all.
    """
    mean = descriptors.mean(dim=(0, 2, 3), keepdim=True, dtype=torch.float64)
    centred = descriptors - mean.float()
    sd = centred.square().mean(dim=(0, 2, 3), keepdim=True, dtype=torch.float64).sqrt()
    if not bool((sd > 0).all()):
        raise MetricError("every image is one flat colour: its patches cannot be standardised")
    return (centred / sd.float()).flatten(1)


def directions(seed: int, side: int, repeat: int, channels: int = 3) -> Tensor:
    """Draw 128 unit directions in the space of 7×7×3 patches: [channels · 49, 128].

    For one channel, the three are added up: projecting a grey patch, tiled three times, is the same.
    """
    drawn = draws.normal((3, PATCH * PATCH, DIRECTIONS), seed, "swd.directions", f"{side}.{repeat}")
    unit = drawn / drawn.flatten(0, 1).norm(dim=0)
    return unit.flatten(0, 1) if channels == 3 else unit.sum(dim=0)


def sliced_distance(a: Tensor, b: Tensor, projection: Tensor) -> float:
    """Mean |sorted projection of a − of b| over rows and directions: `a`, `b` [P, D], `projection` [D, K].

    Equal numbers of rows: it is then the mean over directions of the one-dimensional W1.
    """
    if a.shape != b.shape:
        raise MetricError(f"sorted projections need equal counts, not {len(a)} and {len(b)}")
    gap = _sorted(projection.T @ a.T).sub_(_sorted(projection.T @ b.T))
    return float(gap.abs_().mean(dtype=torch.float64))


def _sorted(rows: Tensor) -> Tensor:
    """Sort each row; on the CPU in place."""
    if rows.device.type == "cpu":  # numpy's vectorised sort is three times as fast as torch's here
        rows.numpy().sort(axis=1)
        return rows
    return rows.sort(dim=1).values


def swd(real: Tensor, fake: Tensor, seed: int = 0) -> dict[str, float]:
    """SWD × 10³ of uint8 images `fake` against `real`, both [N, C, R, R] with the same N; C is 1 or 3.

    Returns `swd_<side>` for each level and their plain mean `swd`; 0 for equal distributions of infinitely many
    images.  It cannot see a channel's mean and gain.  Raises MetricError on unequal shapes or flat images.
    """
    if real.dtype != torch.uint8 or fake.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, not {real.dtype} and {fake.dtype}")
    if real.shape != fake.shape:
        raise MetricError(f"SWD needs sets of one shape, not {tuple(real.shape)} and {tuple(fake.shape)}")
    values = {}
    fake_pyramid = laplacian_pyramid(fake)
    for side, level in laplacian_pyramid(real).items():
        of_real = standardise(patches(level, seed, "swd.real"))
        of_fake = standardise(patches(fake_pyramid[side], seed, "swd.fake"))
        distances = [
            sliced_distance(of_real, of_fake, directions(seed, side, repeat, real.shape[1]).to(real.device))
            for repeat in range(REPEATS)
        ]
        values[f"swd_{side}"] = 1e3 * float(np.mean(distances))
    return {"swd": float(np.mean(list(values.values()))), **values}
