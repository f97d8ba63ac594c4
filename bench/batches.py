"""Seeded batches: every tensor that a phase's loss reads, drawn at the address (seed, stream, step).

Equal across cells, whatever else a cell draws, and a checkpoint holds no generator state.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from bench import draws, ranks
from bench.data import Part, indices_at, to_float
from bench.held import Held
from bench.labelled import labelled, pool_indices, unlabelled
from bench.models.fastgan import LOGITS
from bench.objectives import Phase
from bench.objectives.augment import DRAWN
from bench.schedule import Stage, d_updates_before, stage
from bench.setting import Setting


class Batches:
    """Draws the batch of each update, or a rank's share of it (`bench.ranks`).  By name, with B of the whole batch:

    real      reals [B, C, R, R] in [-1, 1]: positions B·index onwards of the seeded order, at the stage's size
    y         their labels, int64 [B]; of pairs, their inputs [B, C_in, R, R], mirrored and cropped as they are
    labelled      reals of the label budget, in a seeded order of their own
    y_labelled    their labels, int64 [B]
    unlabelled    reals outside the budget (of the whole part, where all are labelled), likewise
    z         [B, z_dim]; in a G update, B is `train.g_batch` where that is set
    y_fake    labels of the fakes, int64 [B], every class as likely; of pairs, and in D's updates under a penalty at
              interpolates, the same as y
    style     style images for G, [B, C, R, R]: reals of any positions, drawn with replacement
    gp_alpha  [B, 1, 1, 1] in [0, 1)
    dragan_noise  [B, C, R, R] in [0, 1)
    augment_real, augment_fake  what DiffAugment draws for each image, [B, 7] in [0, 1)
    margin_real, margin_fake    the hinge's margin for each logit, [B, n] in [1 - hinge_jitter, 1)
    part      which quadrant of each real a decoder rebuilds, int64 [B] in 0..3
    """

    def __init__(self, setting: Setting, part: Part, device: torch.device | str) -> None:
        self.setting, self.device = setting, torch.device(device)
        self.stage = stage(setting, 0)
        self.held = Held(part, self.device)
        self.part = self.held.part
        self._makers: dict[str, Callable[[Phase, int], Tensor]] = {
            "real": self._real,
            "y": self._y,
            "labelled": self._labelled,
            "y_labelled": self._y_labelled,
            "unlabelled": self._unlabelled,
            "z": self._z,
            "y_fake": self._y_fake,
            "style": self._style,
            "gp_alpha": self._gp_alpha,
            "dragan_noise": self._dragan_noise,
            "augment_real": self._augment_real,
            "augment_fake": self._augment_fake,
            "margin_real": lambda phase, index: self._margin("margin_real", index),
            "margin_fake": lambda phase, index: self._margin("margin_fake", index),
            "part": self._part,
        }

    def draw(self, phase: Phase, index: int) -> dict[str, Tensor]:
        """Draw what update number `index` (from 0) of a phase needs."""
        return {name: ranks.share(self._makers[name](phase, index)) for name in phase.at(index).needs}

    def _size(self, phase: Phase) -> int:
        g_batch = self.setting.train.g_batch
        return g_batch if phase.trains == "G" and g_batch else self.stage.batch

    def _chosen(self, index: int) -> Tensor:
        n = len(self.part.images)
        position = self.stage.position(index)
        return indices_at(n, position, self.stage.batch, self.setting.seed, self.held.device)

    def _pair(self, phase: Phase, index: int) -> int:
        """Number of the D update whose reals a phase is shown: G's update is given D's last."""
        if phase.trains != "G":
            return index
        return d_updates_before(self.setting.train, index + 1) - 1

    def _shown(self, positions: Tensor, stream: str, index: int, of: Tensor | None = None) -> Tensor:
        """Images at these positions as D sees them: crops, mirrors and noise are draws of (seed, stream, index)."""
        images = self.held.images(positions, self.part.images if of is None else of)
        if room := images.shape[-1] - self.setting.data.size:
            unit = draws.uniform((2, len(images)), self.setting.seed, f"crop_{stream}", index, device=self.device)
            images = crops(images, unit.mul(room + 1).long().clamp_(max=room), self.setting.data.size)
        images = to_float(images)
        if self.setting.data.mirror:
            coins = draws.uniform((len(images), 1, 1, 1), self.setting.seed, stream, index, device=self.device)
            images = torch.where(coins < 0.5, images.flip(3), images)
        images = at_stage(images, self.stage)
        if self.setting.dequantize and of is None:
            name, seed = f"dequantize_{stream}", self.setting.seed
            unit = draws.uniform(images.shape, seed, name, index, device=self.device)
            images = images + (unit - 0.5) * self.setting.dequantize
        return images.contiguous(memory_format=torch.channels_last)

    def _real(self, phase: Phase, index: int) -> Tensor:
        index = self._pair(phase, index)
        shown = self._shown(self._chosen(index), "mirror", index)
        self.held.fetch_ahead(lambda: self._chosen(index + 1))
        return shown

    def _y(self, phase: Phase, index: int) -> Tensor:
        index = self._pair(phase, index)
        if self.part.inputs is not None:
            return self._shown(self._chosen(index), "mirror", index, self.part.inputs)
        return self.held.labels(self._chosen(index))

    def _of_pool(self, pool: Tensor, stream: str, index: int) -> Tensor:
        drawn = pool_indices(len(pool), self.setting.train.batch, index, self.setting.seed, stream)
        return pool[drawn.to(pool.device)]

    @cached_property
    def _budget(self) -> Tensor:
        return labelled(self.part.labels.cpu(), self.setting.data, self.setting.seed).to(self.held.device)

    @cached_property
    def _beyond(self) -> Tensor:
        return unlabelled(self.part.labels.cpu(), self.setting.data, self.setting.seed).to(self.held.device)

    def _labelled(self, phase: Phase, index: int) -> Tensor:
        return self._shown(self._of_pool(self._budget, "labelled", index), "mirror_labelled", index)

    def _y_labelled(self, phase: Phase, index: int) -> Tensor:
        return self.held.labels(self._of_pool(self._budget, "labelled", index))

    def _unlabelled(self, phase: Phase, index: int) -> Tensor:
        return self._shown(self._of_pool(self._beyond, "unlabelled", index), "mirror_unlabelled", index)

    def _z(self, phase: Phase, index: int) -> Tensor:
        stream = f"z_{phase.stream or phase.name}"
        return draw_z(self.setting, self._size(phase), self.setting.seed, stream, index, self.device)

    def _y_fake(self, phase: Phase, index: int) -> Tensor:
        between = phase.trains == "D" and self.setting.penalty in ("gp", "gp0")
        if self.part.inputs is not None or between:  # a penalty between the two is of one class
            return self._y(phase, index)
        stream = f"y_{phase.stream or phase.name}"
        return draw_labels(self.setting, self._size(phase), self.setting.seed, stream, index, self.device)

    def _style(self, phase: Phase, index: int) -> Tensor:
        stream, n = f"style_{phase.stream or phase.name}", len(self.part.images)
        unit = draws.uniform((self._size(phase),), self.setting.seed, stream, index, device=self.device)
        return self._shown(unit.mul(n).long().clamp_(max=n - 1).to(self.held.device), f"mirror_{stream}", index)

    def _gp_alpha(self, phase: Phase, index: int) -> Tensor:
        shape = (self.stage.batch, 1, 1, 1)
        return draws.uniform(shape, self.setting.seed, "gp_alpha", index, device=self.device)

    def _dragan_noise(self, phase: Phase, index: int) -> Tensor:
        channels = self.setting.data.channels or self.part.images.shape[1]
        shape = (self.stage.batch, channels, self.stage.size, self.stage.size)
        return draws.uniform(shape, self.setting.seed, "dragan_noise", index, device=self.device)

    def _augment_real(self, phase: Phase, index: int) -> Tensor:
        return draws.uniform((self.stage.batch, DRAWN), self.setting.seed, "augment_real", index, device=self.device)

    def _augment_fake(self, phase: Phase, index: int) -> Tensor:
        stream = f"augment_fake_{phase.stream or phase.name}"
        return draws.uniform((self._size(phase), DRAWN), self.setting.seed, stream, index, device=self.device)

    def _margin(self, stream: str, index: int) -> Tensor:
        shape = (self.stage.batch, LOGITS) if self.setting.network == "fastgan" else (self.stage.batch,)
        low = 1 - self.setting.hinge_jitter
        return draws.uniform(shape, self.setting.seed, stream, index, low, 1.0, self.device)

    def _part(self, phase: Phase, index: int) -> Tensor:
        drawn = draws.uniform((self.stage.batch,), self.setting.seed, "part", index, device=self.device)
        return drawn.mul(4).long().clamp_(max=3)


def crops(images: Tensor, corners: Tensor, size: int) -> Tensor:
    """Cut a square out of each image [B, C, S, S] at its corner (top, left), corners int64 [2, B]."""
    taken = torch.arange(size, device=images.device)
    rows, columns = (corner[:, None] + taken for corner in corners)
    batch, channel = (torch.arange(n, device=images.device) for n in images.shape[:2])
    return images[batch[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]


def at_stage(images: Tensor, now: Stage) -> Tensor:
    """Bring reals [B, C, R, R] to a stage: its size by box filter, and faded as G's images are (Karras et al. 2018).

    A fading level shows them as lerp(halved and doubled again, as they are, fade).  The released code rounds the
    halved images to whole grey values; here they stay as averaged.
    """
    if images.shape[-1] != now.size:
        images = F.avg_pool2d(images, images.shape[-1] // now.size)
    if now.fade == 1.0:
        return images
    coarse = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2, mode="nearest")
    return torch.lerp(coarse, images, now.fade)


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
