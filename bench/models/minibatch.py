"""What lets D compare the images of a batch by learned distances: minibatch discrimination."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench import ranks

DISTANCES = 5
"""Dimensions of each kernel's space (Salimans et al. 2016, released code)."""


class MinibatchDiscrimination(nn.Module):
    """Append to each sample, for each kernel, how close the others of its batch are: [B, C, H, W] → [B, C + K, H, W].

    o_k(x_i) = sum over j ≠ i of exp(-|M_ik - M_jk|_1), M_i = T f(x_i) in K spaces of 5 dimensions; Salimans et al.
    2016, section 3.2.  f is the map, flattened; each o_k becomes a constant map.  As in the released code a sample is
    not compared with itself (in the paper it is, which adds 1).  The code also normalizes T, scales it by a first batch
    and adds a bias to o; here T is a plain dense layer, whose spread at the start gives M that of f.  Ranks that share
    a batch compare with all of it.
    """

    def __init__(self, features: int, kernels: int) -> None:
        """`features` is C · H · W."""
        super().__init__()
        self.count = kernels
        self.kernels = nn.Linear(features, kernels * DISTANCES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.closeness(x)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return torch.cat([x, maps], dim=1)

    def closeness(self, x: Tensor) -> Tensor:
        """o of [B, C, H, W], as [B, kernels]."""
        spaces = self.kernels(x.flatten(1)).unflatten(1, (self.count, DISTANCES))
        apart = (spaces[:, None] - ranks.gather(spaces)[None]).abs().sum(dim=3)
        return (-apart).exp().sum(dim=1) - 1


def discrimination(kernels: int, features: int) -> MinibatchDiscrimination | None:
    """Make it for maps of `features` numbers; None where no kernels are asked for."""
    return MinibatchDiscrimination(features, kernels) if kernels else None
