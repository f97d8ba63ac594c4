"""ProGAN (Karras et al. 2018): nets that grow from 4x4 to the size of the data, every level with an RGB layer.

The 2018 code in TensorFlow and its Theano original are followed where they agree; together they say more than table 2.
G: z → dense 4x4 → c3, then for each level nearest x2 → c3 → c3; RGB by 1x1 conv, no tanh; LeakyReLU(0.2), pixel norm
after it.  D mirrors it: RGB by 1x1 conv, for each level c3 → c3 → average x1/2; at 4x4 minibatch standard deviation,
c3, dense, dense.  Minibatch discrimination stands before the last dense layer, as in the Theano code.

`growth: false` makes plain nets of the full size, without the RGB layers below it.  An activation norm comes between
conv and activation in all layers of G and in all but the first of D, the dense one too (but not `in`, whose variance of
one pixel is zero), as in table 1's first rows.  A layer has one learned shift: the norm's, or a bias of its own.

Unlike in both codes, a growing D reads images of its stage's size, not upsampled ones, so the gradient penalty is of
that size too: theirs sees a gradient 2^k times as small, k levels below the full size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import schedule
from bench.models.conditions import Judge
from bench.models.layers import (
    ACTIVATIONS,
    OUTPUTS,
    SKIPS,
    Block,
    DeconvMap,
    FlatDense,
    MinibatchStd,
    input_norm,
    skip_sources,
)
from bench.models.minibatch import MinibatchDiscrimination
from bench.models.style import normalized_z, style_of
from bench.norms import has_conv_bias, norm_at
from bench.setting import Setting


def double(x: Tensor) -> Tensor:
    """Nearest upsampling by two."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def halve(x: Tensor) -> Tensor:
    """Average of 2x2 pixels."""
    return F.avg_pool2d(x, 2)


class Growing(nn.Module):
    """A net with a stage: the size that it works at, and the strength of that level over the one below.

    The stage is a buffer, so that a snapshot knows its own; the numbers that the forward pass reads are beside it, read
    back from the buffer on loading alone.
    """

    stage: Tensor

    def __init__(self, size: int) -> None:
        """Begin at full strength of `size`."""
        super().__init__()
        self.size, self.fade = size, 1.0
        self.register_buffer("stage", torch.tensor([float(size), 1.0], dtype=torch.float64))

    def set_stage(self, size: int, fade: float) -> None:
        """Work at `size`, faded in by `fade`, from 0 to 1."""
        if (size, fade) != (self.size, self.fade):
            self.size, self.fade = size, fade
            self.stage.copy_(torch.tensor([float(size), fade], dtype=torch.float64))

    def _load_from_state_dict(self, *given: object) -> None:
        super()._load_from_state_dict(*given)
        self.size, self.fade = int(self.stage[0]), float(self.stage[1])


# ---------------------------------------------------------------------------------------------------------
# G.


class GLevel(nn.Module):
    """A level of G: two blocks, the first after doubling but at 4x4, and an RGB layer where one is needed."""

    def __init__(self, blocks: Sequence[Block], rgb: nn.Module | None, doubles: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.rgb = rgb
        self.doubles = doubles

    def forward(self, h: Tensor, z: Tensor, y: Tensor | None) -> Tensor:
        h = double(h) if self.doubles else h
        for block in self.blocks:
            h = block(h, z, y)
        return h


class Generator(Growing):
    """z [B, z_dim] → [B, C, S, S] for the stage's size S, linear or in [-1, 1].

    While a level fades in: lerp(doubled RGB of the level below, its own RGB, fade).  `skips`, `sources`, `style`,
    `output` and `z_normalized` as in `bench.models.layers.Generator`; `begins` is the size to start at.
    """

    def __init__(
        self,
        levels: Mapping[int, GLevel],
        skips: Mapping[int, nn.Module],
        sources: Mapping[int, int],
        *,
        output: nn.Module,
        style: nn.Module | None,
        z_normalized: bool,
        begins: int,
    ) -> None:
        super().__init__(begins)
        self.sizes, self.sources, self.z_normalized = tuple(levels), dict(sources), z_normalized
        self.levels = nn.ModuleList(levels.values())
        self.skips = nn.ModuleDict({str(size): skip for size, skip in skips.items()})
        self.style = style
        self.output = output

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Make images [B, C, S, S] of z [B, z_dim], S the side that the stage has reached; y: labels [B]."""
        if self.z_normalized:
            z = normalized_z(z)
        style = z if self.style is None else self.style(z, y)
        maps: dict[int, Tensor] = {}
        h = z
        for size, level in zip(self.sizes, self.levels, strict=True):
            h = level(h, style, y)
            if size in self.sources:
                h = self.skips[str(size)](h, maps[self.sources[size]])
            maps[size] = h
            if size == self.size:
                break
        image = self._rgb(self.size)(h)
        if self.fade < 1:
            below = self.size // 2
            image = torch.lerp(double(self._rgb(below)(maps[below])), image, self.fade)
        made: Tensor = self.output(image)
        return made

    def _rgb(self, size: int) -> nn.Module:
        level: Any = self.levels[self.sizes.index(size)]
        rgb: nn.Module = level.rgb
        return rgb


def generator(setting: Setting, channels: int) -> Generator:
    """Make G of `setting` for images of `channels`; its weights are still torch's own."""
    sizes, shown = _sizes(setting), schedule.levels(setting)
    widths = {size: min(setting.max_width, setting.g_width * (sizes[-1] // size)) for size in sizes}
    levels: dict[int, GLevel] = {}
    for i, size in enumerate(sizes):
        blocks = [_g_block(setting, i, j, size, widths) for j in range(2)]
        levels[size] = GLevel(blocks, nn.Conv2d(widths[size], channels, 1) if size in shown else None, i > 0)
    skip = SKIPS[setting.sle]
    sources = skip_sources(sizes) if skip else {}
    skips = {large: skip(widths[small], widths[large]) for large, small in sources.items()} if skip else {}
    return Generator(
        levels,
        skips,
        sources,
        output=OUTPUTS.get(setting.output, nn.Identity)(),
        style=style_of(setting, [block for level in levels.values() for block in level.blocks]),
        z_normalized=setting.z_normalized,
        begins=shown[0],
    )


def _g_block(setting: Setting, level: int, j: int, size: int, widths: Mapping[int, int]) -> Block:
    """Make block j (0 or 1) of a level of G."""
    name = input_norm(setting) if level == j == 0 else setting.g_norm
    path = f"G.levels.{level}.blocks.{j}.norm"
    bias = has_conv_bias(setting, path, name)
    conv: nn.Module
    if level == j == 0:
        # As a transposed conv its fan-in is 16 z_dim: the gain sqrt(2) / 4 of the dense layer in the TensorFlow code.
        conv = DeconvMap(setting.z_dim, widths[size], size, bias)
    else:
        conv = nn.Conv2d(widths[size if j else size // 2] if level else widths[size], widths[size], 3, 1, 1, bias=bias)
    norm = norm_at(setting, path, name, widths[size], size)
    activation = ACTIVATIONS.get(setting.activation, partial(nn.LeakyReLU, 0.2))
    return Block(conv, norm, activation(), setting.pixel_norm, setting.g_noise)


def _sizes(setting: Setting) -> list[int]:
    """Sides of the maps, 4 to the full size."""
    return [4 << i for i in range((setting.data.size // 4).bit_length())]


# ---------------------------------------------------------------------------------------------------------
# D.


class DLevel(nn.Module):
    """A level of D: an RGB layer where one is needed, two convs, and halving."""

    def __init__(self, from_rgb: Block | None, blocks: Sequence[Block]) -> None:
        super().__init__()
        self.from_rgb = from_rgb
        self.blocks = nn.ModuleList(blocks)

    def forward(self, h: Tensor) -> Tensor:
        for block in self.blocks:
            h = block(h)
        return halve(h)


class Smallest(nn.Module):
    """The 4x4 level of D, to a vector [B, F, 1, 1]; both ways of comparing the images of a batch stand here."""

    def __init__(
        self, from_rgb: Block | None, mbstd: nn.Module, blocks: Sequence[Block], mbdiscrimination: nn.Module
    ) -> None:
        super().__init__()
        self.from_rgb = from_rgb
        self.mbstd = mbstd
        self.blocks = nn.ModuleList(blocks)
        self.mbdiscrimination = mbdiscrimination

    def forward(self, h: Tensor) -> Tensor:
        h = self.mbstd(h)
        for block in self.blocks:
            h = block(h)
        compared: Tensor = self.mbdiscrimination(h)
        return compared


class Discriminator(Growing, Judge):
    """[B, C, S, S] → [B], S the stage's size; larger images are brought to it by box filter.

    While a level fades in, what it makes is lerp(RGB of the halved image at the level below, its own, fade).
    `levels` maps the side of the maps that a level reads to it, 4 upwards; `begins` is the size to start at.
    """

    def __init__(self, levels: Mapping[int, DLevel | Smallest], logit: nn.Module, *, begins: int) -> None:
        super().__init__(begins)
        self.sizes = tuple(levels)
        self.levels = nn.ModuleList(levels.values())
        self.logit = logit

    def maps(self, x: Tensor, y: Tensor | None) -> Tensor:
        top = self.sizes.index(self.size)
        if x.shape[-1] > self.size:
            x = F.avg_pool2d(x, x.shape[-1] // self.size)
        levels: Sequence[Any] = [*self.levels]
        h: Tensor = levels[top].from_rgb(x)
        if self.fade < 1:
            h = torch.lerp(levels[top - 1].from_rgb(halve(x)), levels[top](h), self.fade)
            top -= 1
        for level in levels[top::-1]:
            h = level(h)
        return h


def discriminator(setting: Setting, channels: int) -> Discriminator:
    """Make D of `setting` for images of `channels`; its weights are still torch's own."""
    sizes, shown = _sizes(setting), schedule.levels(setting)
    widths = {size: min(setting.max_width, setting.d_width * (sizes[-1] // size)) for size in [2, *sizes]}

    def from_rgb(size: int) -> Block | None:
        conv = nn.Conv2d(channels, widths[size], 1)
        return Block(conv, nn.Identity(), nn.LeakyReLU(0.2)) if size in shown else None

    def block(level: int, j: int, inputs: int, width: int, side: int, kernel: int = 3) -> Block:
        path = f"D.levels.{level}.blocks.{j}.norm"
        name = "none" if side == 1 and setting.d_norm == "in" else setting.d_norm
        bias = has_conv_bias(setting, path, name)
        conv = nn.Conv2d(inputs, width, kernel, padding=kernel // 2 if side > 1 else 0, bias=bias)
        return Block(conv, norm_at(setting, path, name, width, side), nn.LeakyReLU(0.2))

    appended, kernels = int(bool(setting.mbstd)), setting.mbdiscrimination
    levels: dict[int, DLevel | Smallest] = {
        4: Smallest(
            from_rgb(4),
            MinibatchStd(setting.mbstd) if setting.mbstd else nn.Identity(),
            [block(0, 0, widths[4] + appended, widths[4], 4), block(0, 1, widths[4], widths[2], 1, 4)],
            MinibatchDiscrimination(widths[2], kernels) if kernels else nn.Identity(),
        )
    }
    for i, size in enumerate(sizes[1:], 1):
        wide, narrow = widths[size // 2], widths[size]
        convs = [block(i, 0, narrow, narrow, size), block(i, 1, narrow, wide, size)]
        levels[size] = DLevel(from_rgb(size), convs)
    return Discriminator(levels, FlatDense(widths[2] + kernels, 1), begins=shown[0])
