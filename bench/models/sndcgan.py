"""SNGAN's standard CNN (Miyato et al. 2018, table 3), with every normalization of the study as a switch.

G: dense R/8 × R/8 × 512 → Tc4s2p1 256 → 128 → 64 → c3s1p1 → tanh, ReLU between.
D: c3s1 64, c4s2 64, c3s1 128, c4s2 128, c3s1 256, c4s2 256, c3s1 512 → dense, LeakyReLU(0.1) between.  Widths and
slope are the paper's; `sndcgan_form: gan_landscape` doubles at the strided convs (64, 128, 128, 256, 256, 512, 512), as
compare_gan does, the code of Kurach et al. 2019 (slope 0.1 too), and chainer-gan-lib (slope 0.2, which is not here).

Biases: on both outputs and on D's first layer in every cell (as in chainer-gan-lib).  Each layer between has exactly
one learned shift: the norm's, or, with norm `none`, a bias of the conv.
"""

from __future__ import annotations

from torch import nn

from bench.models.layers import Block, DenseMap, Discriminator, FlatDense, Generator, doubling, generator_of
from bench.models.minibatch import discrimination
from bench.norms import has_conv_bias, norm_at
from bench.setting import Setting


def generator(setting: Setting, channels: int) -> Generator:
    """Make G of `setting` for images of `channels`; its weights are still torch's own."""
    size = setting.data.size
    rgb = nn.Conv2d(min(setting.g_width, setting.max_width), channels, 3, 1, 1)
    return generator_of(setting, doubling(setting, [size // 8, size // 4, size // 2, size], DenseMap, _up), rgb)


def _up(inputs: int, width: int, bias: bool) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, width, 4, 2, 1, bias=bias)


def discriminator(setting: Setting, channels: int) -> Discriminator:
    """Make D of `setting` for images of `channels`; its weights are still torch's own."""
    blocks: list[Block] = []
    size, inputs, paper = setting.data.size, channels, setting.sndcgan_form == "paper"
    for i in range(7):
        strided = i % 2 == 1
        width = min(setting.max_width, setting.d_width << (i // 2 if paper else (i + 1) // 2))
        size = size // 2 if strided else size
        name, path = setting.d_norm if i else "none", f"D.blocks.{i}.norm"
        kernel, stride = (4, 2) if strided else (3, 1)
        conv = nn.Conv2d(inputs, width, kernel, stride, 1, bias=has_conv_bias(setting, path, name))
        blocks.append(Block(conv, norm_at(setting, path, name, width, size), nn.LeakyReLU(0.1)))
        inputs = width
    inputs += bool(setting.mbstd)
    compared = discrimination(setting.mbdiscrimination, inputs * size * size)
    logit = FlatDense((inputs + setting.mbdiscrimination) * size * size, 1)
    return Discriminator(blocks, setting.mbstd, logit, mbdiscrimination=compared, dropout=setting.d_dropout)
