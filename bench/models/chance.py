"""Layers that draw while they run: dropout and noise, from the net's `bench.draws.Chance`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.draws import Chance


class RandomLayer(nn.Module):
    """A layer with an address of its own; `bench.models.weights.finish` gives it its net's chance and its name."""

    def __init__(self) -> None:
        super().__init__()
        self.chance = Chance()
        self.name = ""


class Dropout(RandomLayer):
    """Inverted dropout of single values (Srivastava et al. 2014): x m / (1 - rate), m = 1 with chance 1 - rate.

    `always`: at sampling too (pix2pix).
    """

    def __init__(self, rate: float, *, always: bool = False) -> None:
        super().__init__()
        self.rate, self.always = rate, always

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0 or not (self.training or self.always):
            return x
        kept = self.chance.uniform(self.name, x.shape, x.device) >= self.rate
        return x * kept / (1 - self.rate)


class Noise(RandomLayer):
    """x + strength · N(0, 1) of [B, 1, H, W], the strength learned from 0 (Liu et al. 2021, released code)."""

    def __init__(self) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        drawn = self.chance.normal(self.name, (x.shape[0], 1, *x.shape[2:]), x.device)
        return x + self.strength * drawn
