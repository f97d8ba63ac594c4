"""The original GAN's nets (Goodfellow et al. 2014): dense layers on flat pixels.

G: z → (dense, ReLU) × `hidden_layers` → dense → sigmoid, of width `g_width` (1200 on MNIST).
D: (dense, maxout of `maxout` pieces) × `hidden_layers` → dense, of width `d_width` (240 on MNIST); dropout of
`d_dropout` before each dense layer, of 0.4 times that on the pixels: 0.5 and 0.2 in the released code
(goodfeli/adversarial mnist.yaml), which the paper does not state.
`maxout: 0` is the book's net (Langr & Bok 2019, chapter 3): LeakyReLU(0.01) in both, G ends in tanh.

Data: the paper's images lie in [0, 1], here as everywhere in [-1, 1].  So G's sigmoid is stretched, 2 sigma(a) - 1, and
a D of maxout units reads (x + 1) / 2: the two nets compute what the paper's do.  The book's lie in [-1, 1] too.

Hidden layers are maps of one pixel, [B, C, 1, 1], so that every norm can stand between dense layer and activation.  A
dense layer before a norm that shifts has no bias.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from bench.models.chance import Dropout
from bench.models.layers import Block, Discriminator, FlatDense, Generator, Row, generator_of
from bench.models.minibatch import discrimination
from bench.norms import has_conv_bias, norm_at
from bench.setting import Setting

BOOK_SLOPE = 0.01
PIXELS_RATE = 0.4
"""Dropout of D's input, relative to that of its hidden layers: 0.2 where they have 0.5."""


class Dense(nn.Linear):
    """Any x of a sample → map [B, features, 1, 1]; dropout of `rate` on x, at sampling too where `always`."""

    def __init__(self, inputs: int, features: int, bias: bool, *, rate: float = 0.0, always: bool = False) -> None:
        super().__init__(inputs, features, bias=bias)
        self.dropout = Dropout(rate, always=always)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.dropout(x.flatten(1)))[:, :, None, None]


class UnitPixels(Dense):
    """The same, of pixels in [-1, 1] that are read as in [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x + 1) / 2)


class ToPixels(Dense):
    """Map [B, C, 1, 1] → image [B, *shape]."""

    def __init__(self, inputs: int, shape: tuple[int, int, int], *, rate: float) -> None:
        super().__init__(inputs, shape[0] * shape[1] * shape[2], True, rate=rate, always=True)
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).flatten(1).unflatten(1, self.shape)


class Maxout(nn.Module):
    """Map [B, pieces · C, 1, 1] → [B, C, 1, 1]: the largest of each unit's pieces (Goodfellow et al. 2013, eq. 1).

    Unit c's pieces lie side by side, from c · pieces on.
    """

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, self.pieces)).amax(dim=2)


class StretchedSigmoid(nn.Module):
    """2 sigma(a) - 1, the sigmoid's [0, 1] as [-1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 2)


def generator(setting: Setting, channels: int) -> Generator:
    """Make G of `setting` for images of `channels`; its weights are still torch's own."""
    width, size, rate = min(setting.g_width, setting.max_width), setting.data.size, setting.g_dropout
    rows = [Row(1, width, partial(Dense, setting.z_dim, width))]
    rows += [Row(1, width, partial(Dense, width, width, rate=rate, always=True))] * (setting.hidden_layers - 1)
    rgb = ToPixels(width, (channels, size, size), rate=rate)
    if setting.maxout:
        return generator_of(setting, rows, rgb, output=StretchedSigmoid)
    return generator_of(setting, rows, rgb, activation=partial(nn.LeakyReLU, BOOK_SLOPE))


def discriminator(setting: Setting, channels: int) -> Discriminator:
    """Make D of `setting` for images of `channels`; its weights are still torch's own."""
    width, pieces, rate = min(setting.d_width, setting.max_width), max(1, setting.maxout), setting.d_dropout
    inputs = channels * setting.data.size**2
    blocks: list[Block] = []
    for i in range(setting.hidden_layers):
        name, path = setting.d_norm if i else "none", f"D.blocks.{i}.norm"
        kind = UnitPixels if setting.maxout and i == 0 else Dense
        bias = has_conv_bias(setting, path, name)
        dense = kind(inputs, width * pieces, bias, rate=rate if i else PIXELS_RATE * rate)
        activation = Maxout(pieces) if setting.maxout else nn.LeakyReLU(BOOK_SLOPE)
        blocks.append(Block(dense, norm_at(setting, path, name, width * pieces, 1), activation))
        inputs = width
    inputs += bool(setting.mbstd)
    compared = discrimination(setting.mbdiscrimination, inputs)
    logit = FlatDense(inputs + setting.mbdiscrimination, 1)
    return Discriminator(blocks, setting.mbstd, logit, mbdiscrimination=compared, dropout=rate)
