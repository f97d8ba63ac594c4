"""What networks are made of: skips, pixel norm, minibatch standard deviation, blocks, and nets of blocks in a row.

A layer has the same name in every cell, so that it has the same first weights (see `bench.models.weights`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from bench import ranks
from bench.models.chance import Dropout, Noise
from bench.models.conditions import Judge
from bench.models.style import normalized_z, style_of
from bench.norms import has_conv_bias, norm_at, normalized
from bench.precision import raised
from bench.setting import Setting

# ---------------------------------------------------------------------------------------------------------
# Layers.


class PixelNorm(nn.Module):
    """x / sqrt(mean over channels of x^2 + 1e-8): unit mean square at each pixel (Karras et al. 2018, 4.2)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(raised(x).square().mean(dim=1, keepdim=True) + 1e-8).to(x.dtype)


class MinibatchStd(nn.Module):
    """Append one map: the standard deviation over a group of samples, averaged over C, H, W.

    Karras et al. 2018, section 3.  With B samples and groups of `group`, sample n belongs to group n mod M,
    M = B / group; `all`, or a group larger than the batch: the batch is one group.  B is all ranks'.
    Raises ValueError for a batch that groups do not divide.
    """

    def __init__(self, group: int | Literal["all"]) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        whole = ranks.gather(x)
        batch, _, height, width = whole.shape
        group = batch if self.group == "all" else min(self.group, batch)
        if batch % group:
            raise ValueError(f"mbstd: a batch of {batch} does not divide into groups of {group}")
        grouped = whole.unflatten(0, (group, batch // group))
        std = (raised(grouped).var(dim=0, correction=0) + 1e-8).sqrt().mean(dim=(1, 2, 3)).to(x.dtype)
        maps = ranks.share(std.repeat(group)).view(-1, 1, 1, 1).expand(-1, 1, height, width)
        return torch.cat([x, maps], dim=1)


def pooled_to(x: Tensor, side: int) -> Tensor:
    """Average x [B, C, R, R] down to `side`, adaptively: windows are equal where they can be.

    On CUDA the gradient of equal windows is deterministic by plain pooling, and that of adaptive pooling is not; for
    windows of a power of two both have the same bits.
    """
    window, rest = divmod(x.shape[2], side)
    if window and not rest and window & (window - 1) == 0:
        return nn.functional.avg_pool2d(x, window)
    return nn.functional.adaptive_avg_pool2d(x, side)


class AddSkip(nn.Module):
    """The plain skip connection: nearest upsampling, 1x1 conv, sum.  The control of `SkipExcitation`.

    From a larger map (FastGAN's D), average pooling stands for the upsampling.
    """

    def __init__(self, small: int, large: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(small, large, 1, bias=False)

    def forward(self, x: Tensor, low: Tensor) -> Tensor:
        if low.shape[2] > x.shape[2]:
            return x + self.mix(nn.functional.avg_pool2d(low, low.shape[2] // x.shape[2]))
        # The 1x1 conv commutes with nearest upsampling and is cheaper before it.
        return x + nn.functional.interpolate(self.mix(low), size=x.shape[2:], mode="nearest")


class SkipExcitation(nn.Module):
    """Skip-layer excitation: a gate per channel of the larger map, read from the smaller one.

    Liu et al. 2021 (FastGAN), eq. 1: adaptive average pooling to 4x4, valid 4x4 conv, Swish, 1x1 conv, sigmoid.
    """

    def __init__(self, small: int, large: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(small, large, 4, bias=False)
        self.gate = nn.Conv2d(large, large, 1, bias=False)

    def forward(self, x: Tensor, low: Tensor) -> Tensor:
        pooled = pooled_to(low, 4)
        return x * torch.sigmoid(self.gate(nn.functional.silu(self.squeeze(pooled))))


SKIPS: dict[str, type[AddSkip] | type[SkipExcitation] | None] = {
    "none": None,
    "add": AddSkip,
    "sle": SkipExcitation,
}


def skip_sources(sizes: Sequence[int]) -> dict[int, int]:
    """Map the side of each map that has a skip to the side of its source, for hidden maps of sides `sizes`.

    FastGAN gates r -> 16 r.  Here the ratio is min(16, largest / smallest), so that small nets have a pair too.
    """
    ratio = min(16, sizes[-1] // sizes[0])
    return {size * ratio: size for size in sizes if size * ratio in sizes and ratio > 1}


class DenseMap(nn.Linear):
    """z [B, z_dim] → map [B, channels, size, size]."""

    def __init__(self, z_dim: int, channels: int, size: int, bias: bool) -> None:
        super().__init__(z_dim, channels * size * size, bias=bias)
        self.shape = (channels, size, size)

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z).unflatten(1, self.shape)


class DeconvMap(nn.ConvTranspose2d):
    """z [B, z_dim] → map [B, channels, size, size]: a transposed conv of a 1x1 map, done as the product that it is."""

    def __init__(self, z_dim: int, channels: int, size: int, bias: bool) -> None:
        super().__init__(z_dim, channels, size, bias=bias)

    def forward(self, z: Tensor, output_size: list[int] | None = None) -> Tensor:
        weight = self.weight.permute(0, 2, 3, 1)  # pixels first: the product comes out channels-last
        h = (z @ weight.flatten(1)).unflatten(1, weight.shape[1:])
        if self.bias is not None:
            h = h + self.bias
        return h.permute(0, 3, 1, 2)


class FlatDense(nn.Linear):
    """Map [B, C, H, W] → [B, out_features]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1))


# ---------------------------------------------------------------------------------------------------------
# A block, and the two nets of a family whose blocks stand in a row.


class Block(nn.Module):
    """conv → noise → activation norm → activation → pixel norm; noise and the last where asked."""

    def __init__(
        self,
        conv: nn.Module,
        norm: nn.Module,
        activation: nn.Module,
        pixel_norm: bool = False,
        noise: bool = False,
    ) -> None:
        super().__init__()
        self.conv = conv
        self.noise = Noise() if noise else nn.Identity()
        self.norm = norm
        self.activation = activation
        self.pixel_norm = PixelNorm() if pixel_norm else nn.Identity()

    def forward(self, x: Tensor, z: Tensor | None = None, y: Tensor | None = None) -> Tensor:
        h = normalized(self.norm, self.noise(self.conv(x)), z, y)
        return self.pixel_norm(self.activation(h))


class Generator(nn.Module):
    """Blocks in a row, skips between them, an RGB layer and its end: z [B, z_dim] → [B, C, R, R].

    `rungs` gives the side of each hidden map and the block that makes it, `skips` the side of a map to the skip that
    changes it after its first block, with its source as in `skip_sources`.  `style` makes of (z, y) what norms read
    that want z; without one they read z.
    """

    def __init__(
        self,
        rungs: Sequence[tuple[int, nn.Module]],
        rgb: nn.Module,
        skips: Mapping[int, nn.Module],
        sources: Mapping[int, int],
        *,
        output: nn.Module,
        style: nn.Module | None = None,
        z_normalized: bool = False,
    ) -> None:
        super().__init__()
        self.sizes = tuple(size for size, _ in rungs)
        self.sources = dict(sources)
        self.z_normalized = z_normalized
        self.blocks = nn.ModuleList(block for _, block in rungs)
        self.rgb = rgb
        self.skips = nn.ModuleDict({str(size): skip for size, skip in skips.items()})
        self.style = style
        self.output = output

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        image: Tensor = self.output(self.rgb(self.maps(z, y)[0]))
        return image

    def maps(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, dict[int, Tensor]]:
        """Make the last hidden map, and the first of each side."""
        if self.z_normalized:
            z = normalized_z(z)
        style = z if self.style is None else self.style(z, y)
        h = z
        kept: dict[int, Tensor] = {}
        for size, block in zip(self.sizes, self.blocks, strict=True):
            h = block(h, style, y)
            if size in self.sources and size not in kept:
                h = self.skips[str(size)](h, kept[self.sources[size]])
            kept.setdefault(size, h)
        return h, kept


class Discriminator(Judge):
    """Blocks in a row, both ways of comparing a batch where asked, dropout, and a logit: [B, C, R, R] → [B]."""

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        mbstd: int | Literal["all"],
        logit: nn.Module,
        *,
        mbdiscrimination: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.mbstd = MinibatchStd(mbstd) if mbstd else nn.Identity()
        self.mbdiscrimination = mbdiscrimination or nn.Identity()
        self.dropout = Dropout(dropout)
        self.logit = logit

    def maps(self, x: Tensor, y: Tensor | None) -> Tensor:
        for block in self.blocks:
            x = block(x, None, y)
        made: Tensor = self.dropout(self.mbdiscrimination(self.mbstd(x)))
        return made


class Row(NamedTuple):
    """One hidden layer of G."""

    size: int
    """Side of its map."""
    width: int
    conv: Callable[[bool], nn.Module]
    """bias → what makes the map."""


def generator_of(
    setting: Setting,
    rows: Sequence[Row],
    rgb: nn.Module,
    *,
    activation: Callable[[], nn.Module] = nn.ReLU,
    output: Callable[[], nn.Module] = nn.Tanh,
    linear_first: bool = False,
) -> Generator:
    """Make a G of blocks in a row under the setting's factors.

    `activation` and `output` are the family's own, which `activation` and `output` of the setting replace;
    `linear_first`: its first layer has no activation.
    """
    rungs: list[tuple[int, int, nn.Module]] = []
    chosen = ACTIVATIONS.get(setting.activation, activation)
    for i, row in enumerate(rows):
        name, path = input_norm(setting) if i == 0 else setting.g_norm, f"G.blocks.{i}.norm"
        conv = row.conv(has_conv_bias(setting, path, name))
        norm = norm_at(setting, path, name, row.width, row.size)
        made = nn.Identity() if linear_first and i == 0 else chosen()
        rungs.append((row.size, row.width, Block(conv, norm, made, setting.pixel_norm, setting.g_noise)))
    return assembled(setting, rungs, rgb, output)


def assembled(
    setting: Setting,
    rungs: Sequence[tuple[int, int, nn.Module]],
    rgb: nn.Module,
    output: Callable[[], nn.Module] = nn.Tanh,
) -> Generator:
    """Make a G of (side, width, block), with the skips, style and output of the setting."""
    skip = SKIPS[setting.sle]
    widths: dict[int, int] = {}
    for size, width, _ in rungs:
        widths.setdefault(size, width)
    sources = skip_sources(tuple(widths)) if skip else {}
    return Generator(
        [(size, block) for size, _, block in rungs],
        rgb,
        {large: skip(widths[small], widths[large]) for large, small in sources.items()} if skip else {},
        sources,
        output=OUTPUTS.get(setting.output, output)(),
        style=style_of(setting, [block for _, _, block in rungs]),
        z_normalized=setting.z_normalized,
    )


def input_norm(setting: Setting) -> str:
    """Name the norm of G's first block."""
    return setting.g_norm if setting.g_input_norm == "same" else setting.g_input_norm


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "lrelu": lambda: nn.LeakyReLU(0.2)}
OUTPUTS: dict[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "linear": nn.Identity}
"""Of G, by the settings' words."""


def doubling(
    setting: Setting,
    sizes: Sequence[int],
    first: type[DenseMap] | type[DeconvMap],
    up: Callable[[int, int, bool], nn.Module],
) -> list[Row]:
    """List one row a size: `first` (z → map), then `up` (inputs, width, bias); widths halve where sizes double."""
    widths = [min(setting.max_width, setting.g_width * (sizes[-1] // size)) for size in sizes]
    rows = [Row(sizes[0], widths[0], partial(first, setting.z_dim, widths[0], sizes[0]))]
    for size, inputs, width in zip(sizes[1:], widths[:-1], widths[1:], strict=True):
        rows.append(Row(size, width, partial(up, inputs, width)))
    return rows
