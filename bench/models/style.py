"""Where a style comes from that AdaIN and self-modulation read: z itself, a mapping of z, or a style image."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def normalized_z(z: Tensor) -> Tensor:
    """z / sqrt(mean of z^2 + 1e-8): unit mean square, z [B, z_dim] (Karras et al. 2018, released code)."""
    return z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)


class MappingNetwork(nn.Module):
    """StyleGAN's mapping f: z [B, z_dim] → style [B, z_dim]; Karras et al. 2019, section 2.

    z is normalized, then `layers` dense layers with LeakyReLU(0.2), each as wide as z.  Its step size is `mapping_lr`
    times that of G (see `bench.optimizers`), where StyleGAN scales weights to the same effect.
    """

    def __init__(self, z_dim: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(z_dim, z_dim) for _ in range(layers))

    def forward(self, z: Tensor) -> Tensor:
        h = normalized_z(z)
        for layer in self.layers:
            h = nn.functional.leaky_relu(layer(h), 0.2)
        return h
