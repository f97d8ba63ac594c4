"""Where a style comes from that AdaIN and self-modulation read: z itself, a mapping of z, or a style image.

A style is called with z and y, and what it makes is given to every norm that wants z.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.norms import ImageStyle
from bench.setting import Setting


def normalized_z(z: Tensor) -> Tensor:
    """z / sqrt(mean of z^2 + 1e-8): unit mean square, z [B, z_dim] (Karras et al. 2018, released code)."""
    return z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)


class MappingNetwork(nn.Module):
    """StyleGAN's mapping f: z [B, z_dim] → style [B, z_dim]; Karras et al. 2019, section 2.

    z is normalized, then `layers` dense layers with LeakyReLU(0.2), each as wide as z.  Its step size is `mapping_lr`
    times that of G (see `bench.optimizers`), where StyleGAN scales weights to the same effect.  Weights start
    He-normal, whatever G's scheme: eight layers of N(0, 0.02) would let nothing through.
    """

    def __init__(self, z_dim: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(z_dim, z_dim) for _ in range(layers))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        h = normalized_z(z)
        for layer in self.layers:
            h = nn.functional.leaky_relu(layer(h), 0.2)
        return h


class StyleEncoder(nn.Module):
    """Style image y [B, C, R, R] → for each (channels, side) of a norm in G the image's style, [B, 2 · channels].

    Of pairs, y is the input image.
    A style is the standard deviation and mean over H, W of an encoder's map of that width and side: Huang & Belongie
    2017, eq. 8, where they take maps of a fixed VGG-19 and train the decoder alone.  Here the encoder is learned with
    G: convs from the image down, c4s2p1 where the side halves and c3s1p1 where it stays, LeakyReLU(0.2) after each.
    Its weights start He-normal, whatever G's scheme, so that the first scales are around 1.
    """

    def __init__(self, channels: int, size: int, sites: Sequence[tuple[int, int]]) -> None:
        """List `sites` from the largest map to the smallest."""
        super().__init__()
        self.sites = tuple(sites)
        convs = []
        for width, side in sites:
            times = size // side
            kernel, padding = (3, 1) if times == 1 else (2 * times, times // 2)
            convs.append(nn.Conv2d(channels, width, kernel, times, padding))
            channels, size = width, side
        self.convs = nn.ModuleList(convs)

    def forward(self, z: Tensor, y: Tensor) -> dict[tuple[int, int], Tensor]:
        styles: dict[tuple[int, int], Tensor] = {}
        for site, conv in zip(self.sites, self.convs, strict=True):
            y = nn.functional.leaky_relu(conv(y), 0.2)
            mean = y.mean(dim=(2, 3))
            std = (y.var(dim=(2, 3), correction=1) + 1e-5).sqrt()
            styles[site] = torch.cat([std, mean], dim=1)
        return styles


def style_of(setting: Setting, blocks: Sequence[nn.Module]) -> nn.Module | None:
    """Make what gives the norms of `blocks`, from the smallest map up, their style; None: they read z, or none does."""
    parts = [part for block in blocks for part in block.modules()]
    if setting.style_source == "mapping" and any(getattr(part, "wants_z", False) for part in parts):
        return MappingNetwork(setting.z_dim, setting.mapping_layers)
    sites = [part.site for part in parts if isinstance(part, ImageStyle)]
    if not sites:
        return None
    channels = setting.data.input_channels or setting.data.channels
    assert channels is not None
    return StyleEncoder(channels, setting.data.size, list(dict.fromkeys(reversed(sites))))
