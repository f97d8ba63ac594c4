"""DCGAN's generator and discriminator (Radford et al. 2016), with every normalization of the study as a switch.

G: z → Tc4s1p0 → (Tc4s2p1)* → Tc4s2p1 → tanh, ReLU between.  D: c4s2p1 until 4x4 → c4s1p0, LeakyReLU(0.2) between.
Each halving of the side doubles the width, as WGAN's code scales it: 1024, 512, 256, 128, 64 at 128 px.

Biases: as in DCGAN's code, none on D's first layer and on both outputs, in any cell.  Each layer between has exactly
one learned shift: the norm's, or, with norm `none`, a bias of the conv.
"""

from __future__ import annotations

from torch import nn

from bench.models.layers import Block, DeconvMap, Discriminator, Generator, make_generator
from bench.norms import has_conv_bias, norm_at
from bench.setting import Setting


def generator(setting: Setting, channels: int) -> Generator:
    """Make G of `setting` for images of `channels`; its weights are still torch's own."""
    half = setting.data.size // 2
    sizes = [4 << i for i in range(half.bit_length() - 2)]  # 4, 8, ... half
    rgb = nn.ConvTranspose2d(min(setting.g_width, setting.max_width), channels, 4, 2, 1, bias=False)
    return make_generator(setting, sizes, DeconvMap, rgb)


def discriminator(setting: Setting, channels: int) -> Discriminator:
    """Make D of `setting` for images of `channels`; its weights are still torch's own."""
    blocks: list[Block] = []
    size, width, inputs = setting.data.size, setting.d_width, channels
    while size > 4:
        size, width, i = size // 2, min(width, setting.max_width), len(blocks)
        name, path = setting.d_norm if i else "none", f"D.blocks.{i}.norm"
        conv = nn.Conv2d(inputs, width, 4, 2, 1, bias=i > 0 and has_conv_bias(setting, path, name))
        blocks.append(Block(conv, norm_at(setting, path, name, width, size), nn.LeakyReLU(0.2)))
        inputs, width = width, 2 * width
    logit = nn.Conv2d(inputs + bool(setting.mbstd), 1, 4, bias=False)
    return Discriminator(blocks, setting.mbstd, logit)
