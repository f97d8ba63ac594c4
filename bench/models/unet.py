"""pix2pix's generators and PatchGAN (Isola et al. 2017, appendix 6.1), with every normalization as a switch.

G maps the input image y to the output; z is read by norms that want it alone (AdaIN), else chance is dropout's.
Encoder: c4s2p1 from R down to 1x1, of widths 64, 128, 256, 512, 512 …; decoder: Tc4s2p1 back up.  A norm after each
conv but the first, the innermost (one pixel: batch norm of a batch of one would erase it) and the output;
LeakyReLU(0.2) before the encoder's convs, ReLU before the decoder's; dropout after the decoder's first three; tanh.
The U-Net (`unet_skips`) gives each map of the encoder to the decoder's map of its size, as it is before its activation;
without them it is the encoder-decoder.  At 128 px one level fewer, and so on: log2(R) levels.

D: c4s2p1 64, 128, 256 …, at most 8 times the first, c4s1p1, c4s1p1 to one channel; LeakyReLU(0.2), a norm after each
conv but the first and last.  Its receptive field is 16, 34, 70, 142, 286 px with 1 to 5 strided convs, and 1 with 1x1
convs.

Where sources disagree: dropout stands on the decoder's first three blocks, as in the paper and the Torch code (the
authors' PyTorch port has none on the innermost and one more further out).  Convs without a norm have no bias, since the
Torch code sets all biases of convs to 0 in each step (the port leaves them on D's ends and on G's output).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from bench.models.chance import Dropout, Noise
from bench.models.layers import ACTIVATIONS, OUTPUTS, SKIPS, Block, MinibatchStd, PixelNorm, skip_sources
from bench.models.style import style_of
from bench.norms import has_conv_bias, norm_at, normalized
from bench.setting import Setting

DROPPED = 3
"""Blocks of the decoder, from the innermost, that have dropout."""
STRIDED = {1: 0, 16: 1, 34: 2, 70: 3, 142: 4, 286: 5}
"""Receptive field of PatchGAN, in pixels, to its strided convs."""


class Level(nn.Module):
    """activation → conv → noise → activation norm → dropout."""

    def __init__(
        self, before: nn.Module, conv: nn.Module, norm: nn.Module, *, noise: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.before = before
        self.conv = conv
        self.noise = Noise() if noise else nn.Identity()
        self.norm = norm
        self.dropout = Dropout(dropout, always=True)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        h = normalized(self.norm, self.noise(self.conv(self.before(x))), z)
        dropped: Tensor = self.dropout(h)
        return dropped


class UNet(nn.Module):
    """Encoder and decoder: z [B, z_dim] and y [B, C_in, R, R] → [B, C, R, R].

    `ups` maps the side of each of the decoder's maps to the level that makes it; `skips` and `sources` are among these
    maps, as in `bench.models.layers.Generator`, and so is `style`.  `connected`: whether the decoder gets the encoder's
    maps.
    """

    def __init__(
        self,
        downs: Sequence[Level],
        ups: Mapping[int, Level],
        last: nn.Module,
        rgb: nn.Module,
        output: nn.Module,
        *,
        connected: bool,
        skips: Mapping[int, nn.Module],
        sources: Mapping[int, int],
        style: nn.Module | None,
    ) -> None:
        super().__init__()
        self.downs = nn.ModuleList(downs)
        self.sizes = tuple(ups)
        self.ups = nn.ModuleList(ups.values())
        self.last = last
        self.rgb = rgb
        self.output = output
        self.connected = connected
        self.sources = dict(sources)
        self.skips = nn.ModuleDict({str(size): skip for size, skip in skips.items()})
        self.style = style

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Make images [B, C, R, R] of input images y [B, C_in, R, R].  Raises ValueError without them."""
        if y is None:
            raise ValueError("network unet makes images of input images, and data.pairs is none")
        style = z if self.style is None else self.style(z, y)
        h, encoded = y, []
        for down in self.downs:
            h = down(h, style)
            encoded.append(h)
        decoded: dict[int, Tensor] = {}
        for depth, (size, up) in enumerate(zip(self.sizes, self.ups, strict=True)):
            h = up(h, style)
            if size in self.sources:
                h = self.skips[str(size)](h, decoded[self.sources[size]])
            decoded[size] = h
            if self.connected:
                h = torch.cat([h, encoded[-2 - depth]], dim=1)
        made: Tensor = self.output(self.rgb(self.last(h)))
        return made


class PatchDiscriminator(nn.Module):
    """PatchGAN: images [B, C, R, R], and with `sees_input` their inputs y [B, C_in, R, R] → logits [B, patches]."""

    def __init__(
        self, blocks: Sequence[Block], mbstd: int | Literal["all"], logit: nn.Module, sees_input: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.mbstd = MinibatchStd(mbstd) if mbstd else nn.Identity()
        self.logit = logit
        self.sees_input = sees_input

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.maps(x, y).flatten(1)

    def maps(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Logits where their patches lie, [B, 1, h, w]."""
        if self.sees_input:
            if y is None:
                raise ValueError("d_sees_input: D is shown pairs, and data.pairs is none")
            x = torch.cat([y, x], dim=1)
        for block in self.blocks:
            x = block(x)
        made: Tensor = self.logit(self.mbstd(x))
        return made


# ---------------------------------------------------------------------------------------------------------


def generator(setting: Setting, channels: int) -> UNet:
    """Make G of `setting` for images of `channels`; its weights are still torch's own."""
    size = setting.data.size
    depth = size.bit_length() - 1  # log2(R) halvings: down to one pixel
    widths = [_width(setting.g_width, i, setting) for i in range(depth)]
    inputs = [setting.data.input_channels or channels, *widths]
    downs = []
    for i in range(depth):
        conv = nn.Conv2d(inputs[i], widths[i], 4, 2, 1, bias=_bias(setting, f"G.downs.{i}", 0 < i < depth - 1))
        before = _before(setting, _leaky) if i else nn.Identity()
        norm = _norm(setting, f"G.downs.{i}", widths[i], size >> (i + 1), 0 < i < depth - 1)
        downs.append(Level(before, conv, norm, noise=setting.g_noise))
    twice = 2 if setting.unet_skips else 1
    ups, into = {}, widths[-1]
    for i, width in enumerate(reversed(widths[:-1])):
        conv_up = nn.ConvTranspose2d(into, width, 4, 2, 1, bias=_bias(setting, f"G.ups.{i}", True))
        norm = _norm(setting, f"G.ups.{i}", width, 2 << i, True)
        dropout = setting.g_dropout if i < DROPPED else 0.0
        ups[2 << i] = Level(_before(setting, nn.ReLU), conv_up, norm, noise=setting.g_noise, dropout=dropout)
        into = twice * width
    skip = SKIPS[setting.sle]
    sources = skip_sources([side for side in ups if side >= 4]) if skip else {}
    made_of = dict(zip(ups, reversed(widths[:-1]), strict=True))
    skips = {large: skip(made_of[small], made_of[large]) for large, small in sources.items()} if skip else {}
    return UNet(
        downs,
        ups,
        _before(setting, nn.ReLU),
        nn.ConvTranspose2d(into, channels, 4, 2, 1, bias=False),
        OUTPUTS.get(setting.output, nn.Tanh)(),
        connected=setting.unet_skips,
        skips=skips,
        sources=sources,
        style=style_of(setting, [*downs, *ups.values()]),
    )


def _width(first: int, doublings: int, setting: Setting) -> int:
    return min(first << min(doublings, 3), setting.max_width)


def _before(setting: Setting, family: Callable[[], nn.Module]) -> nn.Module:
    """What stands before a conv of G."""
    chosen = ACTIVATIONS.get(setting.activation, family)()
    return nn.Sequential(chosen, PixelNorm()) if setting.pixel_norm else chosen


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2)


def _bias(setting: Setting, path: str, normed: bool) -> bool:
    return normed and has_conv_bias(setting, f"{path}.norm", setting.g_norm)


def _norm(setting: Setting, path: str, width: int, side: int, normed: bool) -> nn.Module:
    return norm_at(setting, f"{path}.norm", setting.g_norm if normed else "none", width, side)


def discriminator(setting: Setting, channels: int) -> PatchDiscriminator:
    """Make D of `setting` for images of `channels`; its weights are still torch's own."""
    strided = STRIDED[setting.patch]
    sees_input = setting.d_sees_input and setting.data.input_channels is not None
    inputs = channels + (setting.data.input_channels or 0 if sees_input else 0)
    # (kernel, stride, padding) of each conv, the logit's last.
    shapes = [(4, 2, 1)] * strided + [(4, 1, 1)] * 2 if strided else [(1, 1, 0)] * 3
    blocks, side = [], setting.data.size
    for i, shape in enumerate(shapes[:-1]):
        width, side = _width(setting.d_width, i, setting), (side + 2 * shape[2] - shape[0]) // shape[1] + 1
        name, path = setting.d_norm if i else "none", f"D.blocks.{i}.norm"
        conv = nn.Conv2d(inputs, width, *shape, bias=i > 0 and has_conv_bias(setting, path, name))
        blocks.append(Block(conv, norm_at(setting, path, name, width, side), nn.LeakyReLU(0.2)))
        inputs = width
    logit = nn.Conv2d(inputs + bool(setting.mbstd), 1, *shapes[-1], bias=False)
    return PatchDiscriminator(blocks, setting.mbstd, logit, sees_input)
