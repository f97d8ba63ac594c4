"""ResNets of SNGAN (Miyato et al. 2018, tables 4 to 6) and of WGAN-GP (Gulrajani et al. 2017, appendices F and C).

G: dense 4x4 → blocks that double the side → norm, ReLU → c3 → tanh.
D: SNGAN's optimised block, blocks that halve the side, plain blocks → ReLU → pool over the map → dense.
`d_pool: sum` is SNGAN's and `mean` WGAN-GP's CIFAR critic, the same net but for this; `flat` is WGAN-GP's at 64 px:
c3 → blocks that halve down to 4x4 → dense of the whole map, without a last ReLU.
A block: x → (norm, ReLU, c3) twice, plus a 1x1 conv of x where width or side change.  G upsamples by repeating pixels,
in D's blocks by averaging four; both commute with the 1x1 conv, which here is done on the smaller map.  D's optimised
block has no norm or ReLU before its first conv, nor before its shortcut.

Widths (`g_width` times these in G from its first map on, `d_width` times these in D, none above `max_width`):

    px    G                     D
    32    1, 1, 1, 1            down 1, 1, plain 1, 1              CIFAR: 256 and 128 in SNGAN, 128 and 128 in WGAN-GP
    48    8, 4, 2, 1, from 6x6  down 1, 2, 4, 8, plain 16          STL-10: 64 and 64
    64    16, 8, 4, 2, 1        down 1, 2, 4, 8, 16                sngan_projection: 64 and 64; its last map is 2x2
    128   32, 16, 8, 4, 2, 1    down 1, 2, 4, 8, 16, plain 16      table 6: 64 and 64, `max_width: 1024`
    2^k   one more on the left  one down more                      ours
    flat  the same, 32 px too   c3 1, down 2, 4 … to 4x4           64 px: 64 and 64, `max_width: 512`

Biases: on G's dense layer and output, on D's ends and on the last conv of each of D's blocks.  In G a shift of a
residual branch reaches norms only, so each of its convs has one where the norms do not shift (`none`).  The codes have
biases on all convs, shortcuts too: those left out here are taken out again by the next norm, or stand twice in a sum.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.chance import Noise
from bench.models.layers import (
    ACTIVATIONS,
    Block,
    DenseMap,
    Discriminator,
    FlatDense,
    Generator,
    PixelNorm,
    assembled,
    input_norm,
)
from bench.models.minibatch import discrimination
from bench.norms import has_conv_bias, norm_at, normalized
from bench.setting import Setting


class Layout(NamedTuple):
    """Widths at a size, in units of `g_width` and `d_width`."""

    g: tuple[int, ...]
    """Of G's maps, from the first; each is twice as large as the one before."""
    downs: tuple[int, ...]
    """Of D's blocks that halve the side."""
    plains: tuple[int, ...]
    """Of D's blocks that keep it."""


LAYOUTS = {
    32: Layout((1, 1, 1, 1), (1, 1), (1, 1)),
    48: Layout((8, 4, 2, 1), (1, 2, 4, 8), (16,)),
    64: Layout((16, 8, 4, 2, 1), (1, 2, 4, 8, 16), ()),
}


def layout(size: int, *, flat: bool) -> Layout:
    """Return the layout at a size, as in the table above."""
    rising = tuple(1 << i for i in range((size // 4).bit_length()))
    if flat:
        return Layout(rising[::-1], rising[1:], ())
    return LAYOUTS.get(size) or Layout(rising[::-1], rising[:-1], rising[-2:-1])


class First(nn.Module):
    """z → map, by a dense layer; noise after it where asked."""

    def __init__(self, dense: DenseMap, noise: bool) -> None:
        super().__init__()
        self.first = dense
        self.noise = Noise() if noise else nn.Identity()

    def forward(self, z: Tensor, style: object = None, y: Tensor | None = None) -> Tensor:
        made: Tensor = self.noise(self.first(z))
        return made


class ResidualBlock(nn.Module):
    """shortcut(x) + (norm → activation → c3) twice, at another side or width where asked.

    `times` is 2 to double the side before the first conv, 1/2 to halve it after the second.  `bare`: D's optimised
    block, whose branch begins with its conv.
    """

    def __init__(
        self,
        norms: tuple[nn.Module, nn.Module],
        activation: nn.Module,
        widths: tuple[int, int, int],
        *,
        times: float,
        biases: tuple[bool, bool],
        bare: bool = False,
        pixel_norm: bool = False,
        noise: bool = False,
    ) -> None:
        """Make it of `widths` (in, between the convs, out)."""
        super().__init__()
        into, between, out = widths
        self.times, self.bare = times, bare
        self.activation = activation
        self.norm1, self.norm2 = norms
        self.conv1 = nn.Conv2d(into, between, 3, 1, 1, bias=biases[0])
        self.conv2 = nn.Conv2d(between, out, 3, 1, 1, bias=biases[1])
        self.shortcut = nn.Conv2d(into, out, 1, bias=False) if into != out or times != 1 else nn.Identity()
        self.pixel_norm = PixelNorm() if pixel_norm else nn.Identity()
        self.noise1, self.noise2 = (Noise() if noise else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor, style: Tensor | None = None, y: Tensor | None = None) -> Tensor:
        h = x if self.bare else self._active(normalized(self.norm1, x, style, y))
        if self.times == 2:
            h = F.interpolate(h, scale_factor=2, mode="nearest")
        h = self.noise1(self.conv1(h))
        h = self.noise2(self.conv2(self._active(normalized(self.norm2, h, style, y))))
        if self.times == 2:
            return h + F.interpolate(self.shortcut(x), scale_factor=2, mode="nearest")
        if self.times == 0.5:
            return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))
        made: Tensor = h + self.shortcut(x)
        return made

    def _active(self, x: Tensor) -> Tensor:
        made: Tensor = self.pixel_norm(self.activation(x))
        return made


class Pooled(nn.Linear):
    """Map [B, C, H, W] → [B, out_features], of the sum or mean over H, W."""

    def __init__(self, inputs: int, mean: bool) -> None:
        super().__init__(inputs, 1)
        self.mean = mean

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mean(dim=(2, 3)) if self.mean else x.sum(dim=(2, 3)))


def generator(setting: Setting, channels: int) -> Generator:
    """Make G of `setting` for images of `channels`; its weights are still torch's own."""
    widths = [min(setting.max_width, setting.g_width * n) for n in _layout(setting).g]
    side = setting.data.size >> (len(widths) - 1)
    activation = ACTIVATIONS.get(setting.activation, nn.ReLU)
    dense = DenseMap(setting.z_dim, widths[0], side, True)
    rungs: list[tuple[int, int, nn.Module]] = [(side, widths[0], First(dense, setting.g_noise))]
    for i, (into, out) in enumerate(itertools.pairwise(widths), 1):
        name, path = input_norm(setting) if i == 1 else setting.g_norm, f"G.blocks.{i}.norm"
        norms = (
            norm_at(setting, f"{path}1", name, into, side),
            norm_at(setting, f"{path}2", setting.g_norm, out, 2 * side),
        )
        block = ResidualBlock(
            norms,
            activation(),
            (into, out, out),
            times=2,
            biases=(has_conv_bias(setting, path, setting.g_norm),) * 2,
            pixel_norm=setting.pixel_norm,
            noise=setting.g_noise,
        )
        side *= 2
        rungs.append((side, out, block))
    last = norm_at(setting, f"G.blocks.{len(rungs)}.norm", setting.g_norm, widths[-1], side)
    rungs.append((side, widths[-1], Block(nn.Identity(), last, activation(), setting.pixel_norm)))
    return assembled(setting, rungs, nn.Conv2d(widths[-1], channels, 3, 1, 1))


def _layout(setting: Setting) -> Layout:
    return layout(setting.data.size, flat=setting.d_pool == "flat")


class Stem(nn.Module):
    """The plain conv that a `flat` D begins with."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, 1, 1)

    def forward(self, x: Tensor, style: object = None, y: Tensor | None = None) -> Tensor:
        made: Tensor = self.stem(x)
        return made


class Rectified(nn.Module):
    """D's last ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = nn.ReLU()

    def forward(self, x: Tensor, style: object = None, y: Tensor | None = None) -> Tensor:
        made: Tensor = self.activation(x)
        return made


def discriminator(setting: Setting, channels: int) -> Discriminator:
    """Make D of `setting` for images of `channels`; its weights are still torch's own."""
    plan, flat = _layout(setting), setting.d_pool == "flat"
    size, inputs = setting.data.size, channels
    blocks: list[nn.Module] = []
    if flat:
        inputs = min(setting.d_width, setting.max_width)
        blocks.append(Stem(channels, inputs))
    for i, times in enumerate(plan.downs + plan.plains):
        width, halves = min(setting.max_width, setting.d_width * times), i < len(plan.downs)
        blocks.append(_d_block(setting, len(blocks), (inputs, width), size, halves=halves))
        size, inputs = size // 2 if halves else size, width
    inputs += bool(setting.mbstd)
    compared = discrimination(setting.mbdiscrimination, inputs * size * size)
    inputs += setting.mbdiscrimination
    if not flat:
        blocks.append(Rectified())
    logit = FlatDense(inputs * size * size, 1) if flat else Pooled(inputs, setting.d_pool == "mean")
    return Discriminator(blocks, setting.mbstd, logit, mbdiscrimination=compared, dropout=setting.d_dropout)


def _d_block(setting: Setting, i: int, widths: tuple[int, int], size: int, *, halves: bool) -> ResidualBlock:
    """Make block `i` of D, on maps of side `size`; the first is the optimised one."""
    into, out = widths
    (between, name), path = (into, setting.d_norm) if i else (out, "none"), f"D.blocks.{i}.norm"
    return ResidualBlock(
        (norm_at(setting, f"{path}1", name, into, size), norm_at(setting, f"{path}2", name, between, size)),
        nn.ReLU(),
        (into, between, out),
        times=0.5 if halves else 1,
        biases=(has_conv_bias(setting, path, name), True),
        bare=i == 0,
    )
