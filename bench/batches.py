"""Seeded batches: every tensor that a phase's loss reads, drawn at the address (seed, stream, step).

Equal across cells, whatever else a cell draws, and a checkpoint holds no generator state.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench import draws
from bench.data import Part, batch_indices, to_float
from bench.objectives import Phase
from bench.setting import Setting


class Batches:
    """Draws the batch of each update.  By name:

    real      reals [B, C, R, R] in [-1, 1]: positions B·index onwards of the seeded order
    y         their labels, int64 [B]
    z         [B, z_dim]; in a G update, B is `train.g_batch` where that is set
    y_fake    labels of the fakes, int64 [B], every class as likely
    gp_alpha  [B, 1, 1, 1] in [0, 1)
    """

    def __init__(self, setting: Setting, part: Part, device: torch.device | str) -> None:
        self.setting, self.device = setting, torch.device(device)
        self.part = Part(*(tensor.to(device) for tensor in part))
        self._makers: dict[str, Callable[[Phase, int], Tensor]] = {
            "real": self._real,
            "y": self._y,
            "z": self._z,
            "y_fake": self._y_fake,
            "gp_alpha": self._gp_alpha,
        }

    def draw(self, phase: Phase, index: int) -> dict[str, Tensor]:
        """Draw what update number `index` (from 0) of a phase needs."""
        return {name: self._makers[name](phase, index) for name in phase.needs}

    def _size(self, phase: Phase) -> int:
        train = self.setting.train
        return train.g_batch if phase.trains == "G" and train.g_batch else train.batch

    def _chosen(self, index: int) -> Tensor:
        n = len(self.part.images)
        return batch_indices(n, self.setting.train.batch, index, self.setting.seed).to(self.device)

    def _real(self, phase: Phase, index: int) -> Tensor:
        return to_float(self.part.images[self._chosen(index)]).contiguous(memory_format=torch.channels_last)

    def _y(self, phase: Phase, index: int) -> Tensor:
        return self.part.labels[self._chosen(index)]

    def _z(self, phase: Phase, index: int) -> Tensor:
        stream = f"z_{phase.stream or phase.name}"
        return draw_z(self.setting, self._size(phase), self.setting.seed, stream, index, self.device)

    def _y_fake(self, phase: Phase, index: int) -> Tensor:
        stream = f"y_{phase.stream or phase.name}"
        return draw_labels(self.setting, self._size(phase), self.setting.seed, stream, index, self.device)

    def _gp_alpha(self, phase: Phase, index: int) -> Tensor:
        shape = (self.setting.train.batch, 1, 1, 1)
        return draws.uniform(shape, self.setting.seed, "gp_alpha", index, device=self.device)


def draw_z(setting: Setting, n: int, seed: int, stream: str, step: int, device: torch.device | str = "cpu") -> Tensor:
    """Draw z, float32 [n, z_dim], as the setting says: N(0, I) or U(-1, 1)."""
    shape = (n, setting.z_dim)
    if setting.z_dist == "normal":
        return draws.normal(shape, seed, stream, step, device)
    return draws.uniform(shape, seed, stream, step, -1.0, 1.0, device)


def draw_labels(
    setting: Setting, n: int, seed: int, stream: str, step: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Draw labels, int64 [n], every class as likely."""
    classes = setting.data.classes
    if classes is None:
        raise ValueError("data.classes is not filled in")
    return draws.uniform((n,), seed, stream, step, device=device).mul(classes).long().clamp_(max=classes - 1)
