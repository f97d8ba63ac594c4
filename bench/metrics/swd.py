"""Sliced Wasserstein distance of Laplacian-pyramid patches (ProGAN: Karras et al. 2018, arXiv 1710.10196, section 5).

Per level, 128 random 7×7 patches of each image, standardised per set and colour channel; the sorted-projection
distance (W1) over 4 × 128 random unit directions, times 10³.  Grey counts as three equal channels.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from bench import draws
from bench.metrics import threads
from bench.metrics.failure import MetricError

PATCHES = 128
PATCH = 7
REPEATS = 4
DIRECTIONS = 128
COARSEST = 16
IMAGES = 16384
"""Images of each set in the published protocol; more add memory (75 kB a colour image and set), hardly precision."""
BLOCK = {"cpu": 16, "cuda": 2048}
"""Images at a time, by kind of device."""
PROJECTIONS = 2**25
"""Projections of one set held at a time: 134 MB, some directions of all descriptors."""
PIECE = 8192
"""Descriptors in one matrix product on a CPU."""
FLAT = 1e-4
"""Grey levels of standard deviation that float32 makes of images without any."""


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


def split_level(images: Tensor) -> tuple[Tensor, Tensor]:
    """Split images [N, C, R, R] into details [N, C, R, R] and what they refine [N, C, R/2, R/2], float32."""
    down, up = (matrix.to(images.device) for matrix in _halving(images.shape[-1]))
    current = images.float()
    coarse = down @ current @ down.T
    return current - up @ coarse @ up.T, coarse


def patches(level: Tensor, places: Tensor, out: Tensor | None = None) -> Tensor:
    """Cut patches out of a level [N, C, R, R] at `places` [2, N, 128] (top, left): [N · 128, C · 7 · 7]."""
    n, channels, side, _ = level.shape
    # A patch is C · 7 runs of seven numbers: windows of the flat level.
    plane = (
        torch.arange(channels, device=level.device)[:, None] * side + torch.arange(PATCH, device=level.device)
    ) * side
    image = torch.arange(n, device=level.device)[:, None] * (channels * side * side)
    start = ((image + places[0] * side + places[1]).view(-1, 1) + plane.flatten()).flatten()
    windows = level.reshape(-1).unfold(0, PATCH, 1)
    runs = None if out is None else out.view(-1, PATCH)
    return torch.index_select(windows, 0, start, out=runs).view(n * PATCHES, -1)


def draw_places(n: int, side: int, seed: int, stream: str) -> Tensor:
    """Draw 128 places in each of n images of a level: [2, n, 128], addressed by (seed, stream, side)."""
    return torch.randint(side - PATCH + 1, (2, n, PATCHES), generator=draws.generator(seed, stream, side))


def descriptors(
    images: Tensor, seed: int, stream: str, workers: ThreadPoolExecutor, *, last: bool
) -> tuple[Tensor, Tensor]:
    """Standardised patches of one level [N · 128, C · 49], and the images of the next level.

    `last`: the level is the images themselves.  Made in blocks, so that no more than the result is held.
    """
    n, channels, side, _ = images.shape
    places = draw_places(n, side, seed, stream).to(images.device)
    made = torch.empty(n * PATCHES, channels * PATCH**2, device=images.device)
    coarser = images if last else torch.empty(n, channels, side // 2, side // 2, device=images.device)
    block = BLOCK.get(images.device.type, BLOCK["cpu"])

    def cut(start: int) -> None:
        part = slice(start, min(start + block, n))
        level = images[part].float()
        if not last:
            level, coarser[part] = split_level(level)
        patches(level, places[:, part], made[part.start * PATCHES : part.stop * PATCHES])

    list(workers.map(cut, range(0, n, block)))
    return standardise(made, channels, workers), coarser


def standardise(rows: Tensor, channels: int, workers: ThreadPoolExecutor) -> Tensor:
    """Subtract each channel's mean over all descriptors [P, C · 49] and divide by its population sd, in place.

    Raises MetricError when a channel does not vary.
    """
    blocks = rows.view(len(rows), channels, -1).split(PATCHES * BLOCK.get(rows.device.type, BLOCK["cpu"]))
    count = rows.numel() // channels
    mean = torch.tensor(list(workers.map(_sum, blocks)), dtype=torch.float64).sum(dim=0) / count
    shift = mean.float()[:, None].to(rows.device)
    squares = list(workers.map(lambda block: _sum(block.sub_(shift).square()), blocks))
    sd = (torch.tensor(squares, dtype=torch.float64).sum(dim=0) / count).sqrt()
    if not bool((sd > FLAT).all()):
        raise MetricError("every image is one flat colour: its patches cannot be standardised")
    gain = (1 / sd).float()[:, None].to(rows.device)
    list(workers.map(lambda block: block.mul_(gain), blocks))
    return rows


def _sum(block: Tensor) -> list[float]:
    """Sum each channel of [P, C, 49]: a patch in float32, patches in float64.

    No tensors: small ones that stay would leave the memory between them in pieces.
    """
    sums: list[float] = block.sum(dim=2).double().sum(dim=0).tolist()
    return sums


def directions(seed: int, side: int, repeat: int, channels: int = 3) -> Tensor:
    """Draw 128 unit directions in the space of 7×7×3 patches: [channels · 49, 128].

    For one channel, the three are added up: projecting a grey patch, tiled three times, is the same.
    """
    drawn = draws.normal((3, PATCH * PATCH, DIRECTIONS), seed, "swd.directions", f"{side}.{repeat}")
    unit = drawn / drawn.flatten(0, 1).norm(dim=0)
    return unit.flatten(0, 1) if channels == 3 else unit.sum(dim=0)


def sliced_distance(a: Tensor, b: Tensor, projection: Tensor, workers: ThreadPoolExecutor) -> float:
    """Mean |sorted projection of a − of b| over rows and directions: `a`, `b` [P, D], `projection` [D, K].

    Equal numbers of rows: it is then the mean over directions of the one-dimensional W1.
    """
    if a.shape != b.shape:
        raise MetricError(f"sorted projections need equal counts, not {len(a)} and {len(b)}")
    directions = projection.T.contiguous()
    some = max(min(len(directions), DIRECTIONS, PROJECTIONS // len(a)), 1)
    kept = [torch.empty(some, len(a), device=a.device) for _ in range(2)]  # memory anew each time costs a fifth
    total = 0.0
    for block in directions.split(some):
        for rows, out in zip((a, b), kept, strict=True):
            _project(block, rows, out, workers)
        of_a, of_b = (out[: len(block)] for out in kept)
        if a.device.type == "cpu":
            total += sum(workers.map(functools.partial(_gap, _sort(len(a))), of_a, of_b))
        else:
            total += float((of_a.sort(dim=1).values - of_b.sort(dim=1).values).abs_().sum(dtype=torch.float64))
    return total / (len(a) * len(directions))


def _project(directions: Tensor, rows: Tensor, out: Tensor, workers: ThreadPoolExecutor) -> None:
    """Write directions · rowsᵀ into the first rows of `out`."""
    step = len(rows) if rows.device.type != "cpu" else PIECE

    def piece(start: int) -> None:
        part = slice(start, start + step)
        torch.mm(directions, rows[part].T, out=out[: len(directions), part])

    list(workers.map(piece, range(0, len(rows), step)))


def _sort_floats(row: Tensor) -> None:
    """Sort float32 [P] in place by NumPy: three times as fast as torch's, and outside Python's lock."""
    row.numpy().sort()


def _sort_bits(row: Tensor) -> None:
    """Sort float32 [P] in place as integers, which torch does by radix: the bits of floats are in their numbers' order.

    Those of negative ones are so the other way round, and turned.
    """
    bits = row.view(torch.int32)
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).sort().values
    torch.bitwise_xor(ordered, (ordered >> 31) & 0x7FFFFFFF, out=bits)


SORTS = (_sort_floats, _sort_bits)


@functools.cache
def _sort(length: int) -> Callable[[Tensor], None]:
    """Race the sorts on a row of this length: processors differ by a factor of four, what is sorted not at all."""
    row = torch.randn(length, generator=torch.Generator().manual_seed(0))
    took = {}
    for sort in SORTS * 2:  # the first round warms up
        copy, started = row.clone(), time.perf_counter()
        sort(copy)
        took[sort] = time.perf_counter() - started
    return min(took, key=lambda sort: took[sort])


def _gap(sort: Callable[[Tensor], None], a: Tensor, b: Tensor) -> float:
    """Sum of |sorted a − sorted b|, both [P] on the CPU, which are overwritten."""
    for row in (a, b):
        sort(row)
    gap = a.sub_(b).abs_()
    # Short float32 sums of sorted, so similar, numbers; float64 from there.
    return float(gap.view(-1, math.gcd(len(a), PATCHES)).sum(dim=1).double().sum())


def _level(
    real: Tensor, fake: Tensor, seed: int, workers: ThreadPoolExecutor, *, last: bool
) -> tuple[float, Tensor, Tensor]:
    """Distance at one level, and both sets' images of the next.  Its descriptors go before others are made."""
    channels, side = real.shape[1], real.shape[-1]
    of_real, real = descriptors(real, seed, "swd.real", workers, last=last)
    of_fake, fake = descriptors(fake, seed, "swd.fake", workers, last=last)
    drawn = torch.cat([directions(seed, side, repeat, channels) for repeat in range(REPEATS)], dim=1)
    return sliced_distance(of_real, of_fake, drawn.to(of_real.device), workers), real, fake


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
    sides = levels(real.shape[-1])
    with threads.pool(real.device) as workers:
        for side in sides:
            distance, real, fake = _level(real, fake, seed, workers, last=side == sides[-1])
            values[f"swd_{side}"] = 1e3 * distance
    return {"swd": float(np.mean(list(values.values()))), **values}
