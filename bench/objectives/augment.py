"""DiffAugment (Zhao et al. 2020, arXiv 2006.10738): reals and fakes alike are changed before D sees them.

The formulas are those of the released PyTorch code.  What is drawn comes as a tensor of the batch, so that an update
stays a function of its batch; all of it is differentiable in the images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

DRAWN = 7
"""Uniform numbers an image: brightness, saturation, contrast, rows and columns shifted, row and column cut out."""


def augment(x: Tensor, drawn: Tensor, policy: Sequence[str]) -> Tensor:
    """Change each image of x [B, C, R, R] by its row of `drawn` [B, 7] in [0, 1), in the policy's order."""
    for name in policy:
        x = CHANGES[name](x, drawn)
    return x


def color(x: Tensor, drawn: Tensor) -> Tensor:
    """Add brightness in [-1/2, 1/2), scale saturation by [0, 2), then contrast by [1/2, 3/2)."""
    brightness, saturation, contrast = drawn[:, :3, None, None, None].unbind(1)
    x = x + (brightness - 0.5)
    grey = x.mean(dim=1, keepdim=True)
    x = (x - grey) * (2 * saturation) + grey
    level = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - level) * (contrast + 0.5) + level


def translation(x: Tensor, drawn: Tensor) -> Tensor:
    """Shift by up to an eighth of the side, each way, whole pixels; what comes in is 0."""
    batch, _, height, width = x.shape
    image = torch.arange(batch, device=x.device)[:, None, None]
    # One pixel of padding stands for all that lies outside.
    rows = _shifted(height, drawn[:, 3]).clamp(-1, height)[:, :, None] + 1
    columns = _shifted(width, drawn[:, 4]).clamp(-1, width)[:, None, :] + 1
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    return padded.permute(0, 2, 3, 1)[image, rows, columns].permute(0, 3, 1, 2)


def _shifted(side: int, drawn: Tensor) -> Tensor:
    """Where each row of an image comes from: int64 [B, side]."""
    most = (side + 4) // 8  # int(side / 8 + 1/2)
    shift = _whole(drawn, 2 * most + 1) - most
    return torch.arange(side, device=drawn.device) + shift[:, None]


def cutout(x: Tensor, drawn: Tensor) -> Tensor:
    """Set a square of half the side to 0; its centre lies anywhere, so that parts of it may lie outside."""
    rows, columns = _cut(x.shape[2], drawn[:, 5])[:, :, None], _cut(x.shape[3], drawn[:, 6])[:, None, :]
    return x * ~(rows & columns)[:, None]


def _cut(side: int, drawn: Tensor) -> Tensor:
    """Which rows are cut: bool [B, side]."""
    length = (side + 1) // 2  # int(side / 2 + 1/2)
    centre = _whole(drawn, side + 1 - length % 2)
    row = torch.arange(side, device=drawn.device) - centre[:, None] + length // 2
    return (row >= 0) & (row < length)


def _whole(drawn: Tensor, n: int) -> Tensor:
    """Make 0..n-1 of [0, 1): int64.  A product just below n may have been rounded to n."""
    return (drawn * n).floor().long().clamp(max=n - 1)


CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "color": color,
    "translation": translation,
    "cutout": cutout,
}
