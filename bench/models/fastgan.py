"""FastGAN's generator and discriminator (Liu et al. 2021, arXiv 2101.04775), with every normalization as a switch.

G: z → Tc4s1p0 → levels of (nearest x2, c3s1p1), each conv followed by norm and GLU; the levels 8, 32, 128, 512 have a
second conv, and noise after both.  Skip-layer excitation from r to 16 r.  Two heads: c3 → the image, and c1 → a small
one of side min(128, R/2).
D: a stem to side min(256, R), residual halvings (two branches, averaged) to 8x8, 5x5 logits; skips to an eighth of the
side; a small branch, with 5x5 logits of its own, on the small image; decoders that rebuild reals from D's maps.

After an early fork of the released code; the paper's figures draw LeakyReLU in the excitation where code has Swish.
Deviations: tanh at every side (the fork: at 1024 alone); one quadrant for each image (the fork: one a batch).  Below
256 px, which the fork does not make, the top levels are dropped, and with them the skips that would end there.

Widths: `g_width` and `d_width` are the code's ngf and ndf, with the multipliers of the code.  Biases: none, but
wherever the norm is `none`, so that each layer between has exactly one learned shift.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.chance import Dropout
from bench.models.layers import (
    ACTIVATIONS,
    OUTPUTS,
    SKIPS,
    Block,
    DeconvMap,
    Generator,
    MinibatchStd,
    input_norm,
    skip_sources,
)
from bench.models.minibatch import discrimination
from bench.models.style import style_of
from bench.norms import has_conv_bias, norm_at
from bench.setting import Setting

G_WIDTHS = {4: 16.0, 8: 8.0, 16: 4.0, 32: 2.0, 64: 2.0, 128: 1.0, 256: 0.5, 512: 0.25, 1024: 0.125}
"""Side of a map in G → its channels, over `g_width`."""
TWICE = (8, 32, 128, 512)
"""Levels of G with two convs."""
LAST_SKIP = 512
"""Side of the largest map of G that a skip leads to."""
LOGITS = 50
"""Of one image: 5x5 of the large branch and 5x5 of the small one."""
D_SKIP = 8
"""D's skips go to an eighth of the side."""


def small_side(size: int) -> int:
    """Side of the second head's image: 128, or half of an image that is not larger than 256."""
    return min(128, size // 2)


def quadrant(x: Tensor, part: Tensor) -> Tensor:
    """Cut one quarter out of each map: x [B, C, R, R], part int64 [B] (0 1 above, 2 3 below) → [B, C, R/2, R/2]."""
    quarters = x.unflatten(3, (2, -1)).unflatten(2, (2, -1))  # [B, C, 2, R/2, 2, R/2]
    return quarters[torch.arange(len(x), device=x.device), :, part // 2, :, part % 2]


# ---------------------------------------------------------------------------------------------------------
# G.


class UpConv(nn.Conv2d):
    """Nearest upsampling by 2, then the conv."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The blocks that make one resolution."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, z: Tensor, y: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, z, y)
        return x


class FastGenerator(Generator):
    """z [B, z_dim] → images [B, C, R, R] in [-1, 1]; `heads` makes the small images too."""

    small_rgb: nn.Module

    def heads(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Make images of both sides, as D is shown them: [B, C, R, R] and [B, C, S, S], S = `small_side(R)`."""
        h, maps = self.maps(z, y)
        return self.output(self.rgb(h)), self.output(self.small_rgb(maps[small_side(self.sizes[-1])]))


def generator(setting: Setting, channels: int) -> FastGenerator:
    """Make G of `setting` for images of `channels`; its weights are still torch's own."""
    size = setting.data.size
    sizes = [4 << i for i in range((size // 4).bit_length())]  # 4, 8, ... size
    widths = {side: _width(setting, setting.g_width * G_WIDTHS[side]) for side in sizes}
    levels: list[nn.Module] = [_up_block(setting, "G.blocks.0", DeconvMap, setting.z_dim, widths[4], 4)]
    for i, side in enumerate(sizes[1:], 1):
        width, path = widths[side], f"G.blocks.{i}.blocks"
        blocks = [_up_block(setting, f"{path}.0", UpConv, widths[side // 2], width, side)]
        if side in TWICE:
            blocks.append(_up_block(setting, f"{path}.1", nn.Conv2d, width, width, side))
        levels.append(Level(blocks))
    skip = SKIPS[setting.sle]
    sources = skip_sources([side for side in sizes if side <= LAST_SKIP]) if skip else {}
    G = FastGenerator(
        list(zip(sizes, levels, strict=True)),
        nn.Conv2d(widths[size], channels, 3, 1, 1, bias=False),
        {large: skip(widths[small], widths[large]) for large, small in sources.items()} if skip else {},
        sources,
        output=OUTPUTS.get(setting.output, nn.Tanh)(),
        style=style_of(setting, levels),
        z_normalized=setting.z_normalized,
    )
    G.small_rgb = nn.Conv2d(widths[small_side(size)], channels, 1, bias=False)
    return G


def _width(setting: Setting, width: float) -> int:
    return max(1, min(setting.max_width, int(width)))


def _up_block(setting: Setting, path: str, conv: Callable[..., nn.Module], inputs: int, width: int, side: int) -> Block:
    """conv → noise → norm → activation; GLU halves the channels, so that the conv makes twice as many."""
    gated = setting.activation == "family"
    made = 2 * width if gated else width
    first = side == 4
    name = input_norm(setting) if first else setting.g_norm
    bias = has_conv_bias(setting, f"{path}.norm", name)
    layer = conv(inputs, made, 4, bias) if first else conv(inputs, made, 3, 1, 1, bias=bias)
    act = nn.GLU(dim=1) if gated else ACTIVATIONS[setting.activation]()
    noise = setting.g_noise and side in TWICE
    return Block(layer, norm_at(setting, f"{path}.norm", name, made, side), act, setting.pixel_norm, noise)


# ---------------------------------------------------------------------------------------------------------
# D.


class Halving(nn.Module):
    """The mean of two branches: c4s2, c3 and 2x2 average pooling, c1; each conv with norm and LeakyReLU."""

    def __init__(self, down: Block, then: Block, direct: Block) -> None:
        super().__init__()
        self.down, self.then, self.direct = down, then, direct

    def forward(self, x: Tensor) -> Tensor:
        return (self.then(self.down(x)) + self.direct(F.avg_pool2d(x, 2))) / 2


class Decoder(nn.Module):
    """Map [B, C, 8, 8] → image [B, C, S, S]: (nearest x2, c3, norm, GLU)*, c3, tanh.

    The code pools its maps to 8x8 first; all three are that already.
    """

    def __init__(self, blocks: Sequence[Block], rgb: nn.Module) -> None:
        super().__init__()
        self.blocks, self.rgb = nn.ModuleList(blocks), rgb

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return torch.tanh(self.rgb(x))


class FastDiscriminator(nn.Module):
    """Images [B, C, R, R], or (full, small) images, → logits [B, 50].

    Of one image it makes the small one itself, by nearest sampling as the code does.  `skips` maps the side of a map
    to the skip that changes it after its halving, with the map of `D_SKIP` times its side as the source.
    """

    def __init__(
        self,
        stem: nn.Module,
        halvings: Mapping[int, nn.Module],
        skips: Mapping[int, nn.Module],
        branch: nn.Module,
        heads: nn.ModuleDict,
        decoders: Mapping[str, Decoder],
        small: int,
    ) -> None:
        super().__init__()
        self.stem, self.branch, self.heads, self.small = stem, branch, heads, small
        self.halvings = nn.ModuleDict({str(side): halving for side, halving in halvings.items()})
        self.skips = nn.ModuleDict({str(side): skip for side, skip in skips.items()})
        self.decoders = nn.ModuleDict(dict(decoders))

    def forward(self, x: Tensor | tuple[Tensor, Tensor], y: Tensor | None = None) -> Tensor:
        return self._judge(x)[0]

    def rebuild(self, x: Tensor, part: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Judge images [B, C, R, R] and rebuild them: logits, and by decoder its images [B, C, S, S].

        `whole` and `small` rebuild the image from the last map of each branch; `part` rebuilds the quadrant `part`
        (see `quadrant`) from the same quadrant of the 16x16 map.
        """
        logits, maps = self._judge(x)
        maps["part"] = quadrant(maps["part"], part)
        return logits, {name: decoder(maps[name]) for name, decoder in self.decoders.items()}

    def _judge(self, x: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, and the maps that decoders read."""
        full, small = x if isinstance(x, tuple) else (x, F.interpolate(x, size=self.small, mode="nearest"))
        h = self.stem(full)
        maps = {h.shape[2]: h}
        for side, halving in self.halvings.items():
            h = halving(h)
            if side in self.skips:
                h = self.skips[side](h, maps[int(side) * D_SKIP])
            maps[int(side)] = h
        below = self.branch(small)
        logits = torch.cat([self.heads["full"](h).flatten(1), self.heads["small"](below).flatten(1)], dim=1)
        return logits, {"whole": h, "small": below, "part": maps[16]}


DECODERS: dict[str, tuple[str, ...]] = {
    "none": (),
    "whole": ("whole", "small"),
    "part": ("part",),
    "both": ("whole", "small", "part"),
}
"""The decoders by the words of a setting."""


def discriminator(setting: Setting, channels: int) -> FastDiscriminator:
    """Make D of `setting` for images of `channels`; its weights are still torch's own."""
    size, top = setting.data.size, min(256, setting.data.size)
    sides = [8 << i for i in range((top // 8).bit_length())][::-1]  # top, ... 16, 8
    widths = {side: _width(setting, setting.d_width * 64 / side) for side in (1024, 512, *sides)}
    halvings = {
        side: Halving(
            _down_block(setting, f"D.halvings.{side}.down", widths[2 * side], widths[side], side, 4),
            _down_block(setting, f"D.halvings.{side}.then", widths[side], widths[side], side, 3),
            _down_block(setting, f"D.halvings.{side}.direct", widths[2 * side], widths[side], side, 1),
        )
        for side in sides[1:]
    }
    skip = SKIPS[setting.d_sle]
    ends = [side for side in sides if side * D_SKIP in sides] if skip else []
    skips = {side: skip(widths[side * D_SKIP], widths[side]) for side in ends} if skip else {}
    small = small_side(size)
    branch = {side: _width(setting, setting.d_width * 32 / side) for side in sides if side < small}
    twice = _width(setting, 2 * widths[8])
    mix = _down_block(setting, "D.heads.full.mix", widths[8], twice, 8, 1)
    heads = nn.ModuleDict(
        {
            "full": nn.Sequential(OrderedDict(mix=mix, **_ending(setting, twice))),
            "small": nn.Sequential(OrderedDict(**_ending(setting, branch[8]))),
        }
    )
    inputs = {"whole": widths[8], "small": branch[8], "part": widths[16]}
    decoders = {name: _decoder(setting, name, inputs[name], channels, small) for name in DECODERS[setting.decoders]}
    return FastDiscriminator(
        _stem(setting, channels, widths, top),
        halvings,
        skips,
        _branch(setting, channels, branch),
        heads,
        decoders,
        small,
    )


def _down_block(setting: Setting, path: str, inputs: int, width: int, side: int, kernel: int, norm: str = "") -> Block:
    """c4s2p1, c3s1p1 or c1 → norm → LeakyReLU(0.2)."""
    name = norm or setting.d_norm
    bias = not norm and has_conv_bias(setting, f"{path}.norm", name)
    conv = nn.Conv2d(inputs, width, kernel, 2 if kernel == 4 else 1, 0 if kernel == 1 else 1, bias=bias)
    return Block(conv, norm_at(setting, f"{path}.norm", name, width, side), nn.LeakyReLU(0.2))


def _ending(setting: Setting, inputs: int) -> dict[str, nn.Module]:
    """Make what judges a branch's 8x8 map: statistics of the batch and dropout where asked, then 5x5 logits."""
    maps = inputs + bool(setting.mbstd)
    return {
        "mbstd": MinibatchStd(setting.mbstd) if setting.mbstd else nn.Identity(),
        "mbdiscrimination": discrimination(setting.mbdiscrimination, maps * 64) or nn.Identity(),
        "dropout": Dropout(setting.d_dropout),
        "logit": nn.Conv2d(maps + setting.mbdiscrimination, 1, 4, bias=False),
    }


def _stem(setting: Setting, channels: int, widths: Mapping[int, int], top: int) -> nn.Module:
    """Image → map of side `top`: c4s2 from 1024 and 512 px, else c3; the first conv has no norm."""
    size = setting.data.size
    if size == top:
        return nn.Sequential(_down_block(setting, "D.stem.0", channels, widths[top], top, 3, norm="none"))
    sides = [size >> i for i in range((size // top).bit_length())]  # size, ... top
    blocks = [_down_block(setting, "D.stem.0", channels, widths[sides[1]], sides[1], 4, norm="none")]
    if len(sides) == 3:
        blocks.append(_down_block(setting, "D.stem.1", widths[sides[1]], widths[top], top, 4))
    return nn.Sequential(*blocks)


def _branch(setting: Setting, channels: int, widths: Mapping[int, int]) -> nn.Module:
    """Small image → 8x8: c4s2 until there; the first conv has no norm."""
    blocks: list[Block] = []
    inputs = channels
    for i, (side, width) in enumerate(widths.items()):
        blocks.append(_down_block(setting, f"D.branch.{i}", inputs, width, side, 4, norm="" if i else "none"))
        inputs = width
    return nn.Sequential(*blocks)


def _decoder(setting: Setting, name: str, inputs: int, channels: int, size: int) -> Decoder:
    """8x8 → `size`; widths 2, 1, 1 and 1/2 times `d_width` (128, 64, 64, 32 in the code), as many as it takes."""
    blocks: list[Block] = []
    for i, times in enumerate((2, 1, 1, 0.5)[: (size // 8).bit_length() - 1]):
        width, path = _width(setting, setting.d_width * times), f"D.decoders.{name}.blocks.{i}.norm"
        bias = has_conv_bias(setting, path, setting.d_norm)
        conv = UpConv(inputs, 2 * width, 3, 1, 1, bias=bias)
        blocks.append(Block(conv, norm_at(setting, path, setting.d_norm, 2 * width, 16 << i), nn.GLU(dim=1)))
        inputs = width
    return Decoder(blocks, nn.Conv2d(inputs, channels, 3, 1, 1, bias=False))
