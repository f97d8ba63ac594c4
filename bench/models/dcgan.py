"""DCGAN's generator and discriminator (Radford et al. 2016), with every normalization of the study as a switch.

G: z → Tc4s1p0 → (Tc4s2p1)* → Tc4s2p1 → tanh, ReLU between.  D: c4s2p1 until 4x4 → c4s1p0, LeakyReLU(0.2) between.
Each halving of the side doubles the width, as WGAN's code scales it: 1024, 512, 256, 128, 64 at 128 px.  With
`kernel: 5` the strided convs are those of the paper's Theano code and of WGAN-GP's CIFAR net.

Biases: as in DCGAN's code, none on D's first layer and on both outputs, in any cell.  Each layer between has exactly
one learned shift: the norm's, or, with norm `none`, a bias of the conv.

At 28 px it is the net of Langr & Bok 2019, chapter 4.  G: dense 7x7 of 256 → Tc3s2 128 → Tc3s1 64 → Tc3s2 → tanh, no
activation on the dense map; D: c3s2 32 → 64 → 128 → dense; LeakyReLU(0.01) between, and dropout of `d_dropout` before
the dense layer (0.5 in chapter 7).  All ends have a bias, as in Keras.  Keras pads a strided conv of an even side below
and to the right alone, here it is all around: the maps are as large.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from bench.models.layers import (
    Block,
    DeconvMap,
    DenseMap,
    Discriminator,
    FlatDense,
    Generator,
    Row,
    doubling,
    generator_of,
)
from bench.models.minibatch import discrimination
from bench.norms import has_conv_bias, norm_at
from bench.setting import Setting

BOOK_SIZE, BOOK_SLOPE = 28, 0.01


def generator(setting: Setting, channels: int) -> Generator:
    """Make G of `setting` for images of `channels`; its weights are still torch's own."""
    width = min(setting.g_width, setting.max_width)
    if setting.data.size == BOOK_SIZE:
        twice, four_times = (min(times * setting.g_width, setting.max_width) for times in (2, 4))
        rows = [
            Row(7, four_times, partial(DenseMap, setting.z_dim, four_times, 7)),
            Row(14, twice, lambda bias: nn.ConvTranspose2d(four_times, twice, 3, 2, 1, 1, bias=bias)),
            Row(14, width, lambda bias: nn.ConvTranspose2d(twice, width, 3, 1, 1, bias=bias)),
        ]
        rgb = nn.ConvTranspose2d(width, channels, 3, 2, 1, 1)
        return generator_of(setting, rows, rgb, activation=partial(nn.LeakyReLU, BOOK_SLOPE), linear_first=True)
    half = setting.data.size // 2
    sizes = [4 << i for i in range(half.bit_length() - 2)]  # 4, 8, ... half
    up = partial(_up, setting.kernel)
    return generator_of(setting, doubling(setting, sizes, DeconvMap, up), up(width, channels, False))


def _up(kernel: int, inputs: int, width: int, bias: bool) -> nn.ConvTranspose2d:
    """Double the side: by 5x5 kernels, one row and column more than by 4x4 are cut off at the far ends."""
    more = kernel - 4
    return nn.ConvTranspose2d(inputs, width, kernel, 2, 1 + more, more, bias=bias)


def discriminator(setting: Setting, channels: int) -> Discriminator:
    """Make D of `setting` for images of `channels`; its weights are still torch's own."""
    book = setting.data.size == BOOK_SIZE
    kernel = 3 if book else setting.kernel
    blocks: list[Block] = []
    size, width, inputs = setting.data.size, setting.d_width, channels
    while size > 4:
        size, width, i = (size + 1) // 2, min(width, setting.max_width), len(blocks)
        name, path = setting.d_norm if i else "none", f"D.blocks.{i}.norm"
        bias = (book or i > 0) and has_conv_bias(setting, path, name)
        conv = nn.Conv2d(inputs, width, kernel, 2, 2 if kernel == 5 else 1, bias=bias)
        activation = nn.LeakyReLU(BOOK_SLOPE if book else 0.2)
        blocks.append(Block(conv, norm_at(setting, path, name, width, size), activation))
        inputs, width = width, 2 * width
    inputs += bool(setting.mbstd)
    compared = discrimination(setting.mbdiscrimination, inputs * 16)
    inputs += setting.mbdiscrimination
    logit = FlatDense(inputs * 16, 1) if book else nn.Conv2d(inputs, 1, 4, bias=False)
    return Discriminator(blocks, setting.mbstd, logit, mbdiscrimination=compared, dropout=setting.d_dropout)
