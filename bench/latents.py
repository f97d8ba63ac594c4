"""Arithmetic and paths in the space of z (Radford et al. 2016, section 6.3), and attributes measured from images.

A concept is the mean z of a few exemplars ("results from only one exemplar were unstable", so they took three).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench import draws
from bench.data import to_uint8
from bench.sample import enlarged

Measured = NDArray[np.float64]


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Straight line: (1 - t) a + t b, for a, b [z_dim] and t [T]: [T, z_dim]."""
    return a + t[:, None] * (b - a)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Arc (Shoemake 1985; White 2016): sin((1-t)w)/sin(w) a + sin(tw)/sin(w) b, w the angle of a, b [z_dim].

    t [T]: [T, z_dim].  Unlike on the line, the length of z stays that of a draw of N(0, I).  Where the angle is nothing
    or half a turn, no arc is told from another, and the line is taken.
    """
    cosine = torch.dot(a, b) / (a.norm() * b.norm())
    angle = torch.arccos(cosine.clamp(-1, 1))
    if float(torch.sin(angle)) < 1e-4:
        return lerp(a, b, t)
    return (torch.sin((1 - t) * angle)[:, None] * a + torch.sin(t * angle)[:, None] * b) / torch.sin(angle)


PATHS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"lerp": lerp, "slerp": slerp}


def concept(z: Tensor, exemplars: Sequence[int], average: int) -> Tensor:
    """Mean of the first `average` exemplars of z [N, z_dim]: [z_dim]."""
    return z[list(exemplars[:average])].mean(dim=0)


@torch.no_grad()
def images_at(
    G: nn.Module, z: Tensor, size: int, *, batch: int = 64, device: torch.device | str = "cpu", y: int | None = None
) -> Tensor:
    """Make images, uint8 [N, C, size, size] on the CPU, of z [N, z_dim] by G as it stands, `batch` at a time.

    The last batch is filled up, since the last bits of an image depend on its batch.  `y`: the class of all, where G
    is told one.  Smaller images, of a G that has not grown yet, are enlarged.  Raises FloatingPointError when G makes
    NaN.
    """
    made = []
    for start in range(0, len(z), batch):
        block = z[start : start + batch]
        full = torch.cat([block, block[-1:].expand(batch - len(block), -1)]).to(device)
        images = G(full) if y is None else G(full, torch.full((batch,), y, device=device))
        made.append(to_uint8(enlarged(images[: len(block)], size)).cpu())
    return torch.cat(made)


# ---------------------------------------------------------------------------------------------------------
# Attributes.


def intensity(images: Tensor) -> Measured:
    """Mean grey level of uint8 images [N, C, H, W], 0 to 255: [N]."""
    return np.asarray(_grey(images).mean(axis=(1, 2)))


def contrast(images: Tensor) -> Measured:
    """Standard deviation of the grey levels of uint8 images [N, C, H, W]: [N]."""
    return np.asarray(_grey(images).std(axis=(1, 2)))


def thickness(images: Tensor) -> Measured:
    """Mean width of bright strokes on dark, in pixels, of uint8 images [N, C, H, W]: ink over its skeleton, [N].

    Ink is what is brighter than half of 255; 0 where there is none.
    """
    from skimage.morphology import skeletonize

    ink = _grey(images) > 127.5
    return np.array([one.sum() / max(skeletonize(one).sum(), 1) for one in ink], dtype=np.float64)


def slant(images: Tensor) -> Measured:
    """Lean of bright strokes to the right, of uint8 images [N, C, H, W]: columns a row upwards, [N].

    From central moments weighted by brightness, -mu_11 / mu_02, as MNIST is usually deskewed; 0 for a flat image.
    """
    weight = _grey(images)
    rows, columns = (np.arange(side, dtype=np.float64) for side in weight.shape[1:])
    total = np.maximum(weight.sum(axis=(1, 2)), 1e-12)
    y0 = (weight.sum(axis=2) @ rows / total)[:, None]
    x0 = (weight.sum(axis=1) @ columns / total)[:, None]
    y, x = rows - y0, columns - x0
    mixed = np.einsum("nyx,ny,nx->n", weight, y, x)
    spread = np.einsum("nyx,ny->n", weight, y * y)
    return np.asarray(-mixed / np.maximum(spread, 1e-12))


def _grey(images: Tensor) -> Measured:
    return np.asarray(images.double().mean(dim=1).numpy())


ATTRIBUTES: dict[str, Callable[[Tensor], Measured]] = {
    "intensity": intensity,
    "contrast": contrast,
    "thickness": thickness,
    "slant": slant,
}


# ---------------------------------------------------------------------------------------------------------
# How well an edit does what its exemplars say.


class Edits(NamedTuple):
    """Edits by the difference of two concepts, over trials with exemplars of their own."""

    correct: float
    """Share of fresh images whose attribute rises."""
    cosine: float
    """Mean cosine between directions of different trials: 1 when exemplars do not matter, 0 when they are all."""


def edits(
    make: Callable[[Tensor], Tensor],
    attribute: Callable[[Tensor], Measured],
    pool: Tensor,
    fresh: Tensor,
    *,
    average: int,
    trials: int,
    seed: int,
) -> Edits:
    """Measure edits along mean z of `average` exemplars high in an attribute minus mean z of as many low in it.

    `make`: z [N, z_dim] → uint8 images.  Exemplars of a trial are drawn from the upper and the lower quarter of `pool`
    [P, z_dim], so that directions of different trials are independent estimates; each is tried on all of `fresh`
    [F, z_dim].  Raises ValueError when a quarter of the pool has fewer than `average` members.
    """
    quarter = len(pool) // 4
    if quarter < average:
        raise ValueError(f"{len(pool)} images are too few: a quarter of them must hold {average} exemplars")
    order = torch.from_numpy(np.argsort(attribute(make(pool)), kind="stable"))
    low, high = order[:quarter], order[-quarter:]
    before = attribute(make(fresh))
    directions, rises = [], []
    for trial in range(trials):
        chosen = [
            group[draws.permutation(quarter, seed, f"edit_{side}_{average}", trial)[:average]]
            for side, group in (("low", low), ("high", high))
        ]
        direction = pool[chosen[1]].mean(dim=0) - pool[chosen[0]].mean(dim=0)
        directions.append(direction / direction.norm())
        rises.append((attribute(make(fresh + direction)) > before).mean())
    unit = torch.stack(directions)
    between = (unit @ unit.T)[~torch.eye(trials, dtype=torch.bool)]
    return Edits(float(np.mean(rises)), float(between.mean()) if trials > 1 else 1.0)
