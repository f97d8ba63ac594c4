"""Activation norms by name.  Those with `wants_z` are called with z after x, those with `wants_y` with y after that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench import draws, ranks
from bench.norms.own import NormError, OwnNorm
from bench.precision import raised
from bench.setting import Setting

EPS = 1e-5
"""Added to the variance by every norm but batch norm, whose is a knob (Huang & Belongie's value)."""


class InstanceNorm(nn.Module):
    """gain_c (x - mean_bc) / sqrt(var_bc + eps) + shift_c, mean and variance over H, W of one sample.

    The affine is static and learned: the control level that takes AdaIN's statistics without its style.
    `affine` false: gain 1, shift 0.
    """

    def __init__(self, channels: int, *, affine: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        if self.weight is None or self.bias is None:
            return _instance_norm(x, x.new_ones(1, x.shape[1]), x.new_zeros(1, x.shape[1]))
        return _instance_norm(x, self.weight[None], self.bias[None])


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch norm with the statistics of the whole batch that ranks share, in training; alone it is plain batch norm.

    `torch.nn.SyncBatchNorm` is of CUDA alone, and has no second derivative.  Each rank's mean and variance are joined,
    and not its mean of squares, which loses all digits where the mean is large.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or ranks.size() == 1:
            return super().forward(x)
        means, variances = ranks.gather(torch.stack(_moments(x))[None]).unbind(1)
        mean = means.mean(dim=0)
        variance = variances.mean(dim=0) + (means - mean).square().mean(dim=0)
        self._remember(mean.detach(), variance.detach(), x.numel() // x.shape[1] * len(means))
        gain = torch.rsqrt(variance + self.eps)
        gain = gain if self.weight is None else gain * self.weight
        shift = -mean * gain if self.bias is None else self.bias - mean * gain
        return torch.addcmul(shift[:, None, None], x, gain[:, None, None])

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        share = 0.1 if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (count / (count - 1)), share)  # torch keeps the unbiased one
        self.num_batches_tracked += 1


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel, [C]."""
    mean = x.mean(dim=(0, 2, 3))
    return mean, (x - mean[:, None, None]).square().mean(dim=(0, 2, 3))


class ImageStyle(nn.Module):
    """(scale, shift) [B, 2 · channels] of a norm at maps of this side, out of a style image's, by (channels, side)."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.site = (channels, side)

    def forward(self, styles: Mapping[tuple[int, int], Tensor]) -> Tensor:
        return styles[self.site]


def _affine(channels: int, z_dim: int, image_side: int | None) -> nn.Module:
    return nn.Linear(z_dim, 2 * channels) if image_side is None else ImageStyle(channels, image_side)


class AdaIN(nn.Module):
    """Adaptive instance norm: scale(z) (x - mean_bc) / sqrt(var_bc + eps) + shift(z).

    Huang & Belongie 2017, eq. 8, with the style read as Kwak & Ko 2020 use it: (scale, shift) = A z + b, one A
    per normalized layer.  A starts small, b at scale 1 and shift 0; the scale is unconstrained.  For z may stand a
    mapping of z.  With `image_side`, scale and shift are a style image's, and nothing is learned here.
    """

    wants_z = True

    def __init__(self, channels: int, z_dim: int, *, image_side: int | None = None) -> None:
        super().__init__()
        self.affine = _affine(channels, z_dim, image_side)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return _instance_norm(x, *self.affine(z).chunk(2, dim=1))


class SelfModulatedBatchNorm(nn.Module):
    """Batch norm whose affine is AdaIN's: batch statistics, (scale, shift) = A z + b.

    Chen et al. 2019 ("On self modulation"), with a linear map instead of their small MLP, so that it differs
    from `AdaIN` in the statistics alone and from batch norm in the affine alone.
    """

    wants_z = True

    def __init__(
        self,
        channels: int,
        z_dim: int,
        *,
        image_side: int | None = None,
        eps: float = EPS,
        momentum: float = 0.1,
        synced: bool = False,
    ) -> None:
        super().__init__()
        kind = SyncedBatchNorm if synced else nn.BatchNorm2d
        self.statistics = kind(channels, eps=eps, momentum=momentum, affine=False)
        self.affine = _affine(channels, z_dim, image_side)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        scale, shift = self.affine(z).chunk(2, dim=1)
        return _affine_of(self.statistics(x), scale, shift)


class ConditionalBatchNorm(nn.Module):
    """Batch norm with a gain and a shift for each class: gain_yc (x - mean_c) / sqrt(var_c + eps) + shift_yc.

    Dumoulin et al. 2017, as sngan_projection's CategoricalConditionalBatchNormalization has it: statistics are of the
    whole batch, whatever its classes, and gains start around 1.  y: int64 [B] in [0, classes).
    """

    wants_y = True

    def __init__(
        self, channels: int, classes: int, *, eps: float = EPS, momentum: float = 0.1, synced: bool = False
    ) -> None:
        super().__init__()
        kind = SyncedBatchNorm if synced else nn.BatchNorm2d
        self.statistics = kind(channels, eps=eps, momentum=momentum, affine=False)
        self.weight = nn.Parameter(torch.ones(classes, channels))
        self.bias = nn.Parameter(torch.zeros(classes, channels))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return _affine_of(self.statistics(x), self.weight[y], self.bias[y])


def _affine_of(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Scale and shift each map of x [B, C, H, W] by numbers of its own, [B, C]; in float32, then as x is."""
    scaled = torch.addcmul(raised(shift)[:, :, None, None], raised(x), raised(scale)[:, :, None, None])
    return scaled.to(x.dtype)


def _instance_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Normalize each map of x [B, C, H, W], then apply scale and shift, [B, C] or [1, C], in one pass."""
    kind, x = x.dtype, raised(x)
    # Two means: on channels-last maps several times faster than torch.var_mean and F.instance_norm.
    mean = x.mean(dim=(2, 3), keepdim=True)
    variance = (x - mean).square().mean(dim=(2, 3), keepdim=True)
    gain = scale[:, :, None, None] * torch.rsqrt(variance + EPS)
    return torch.addcmul(shift[:, :, None, None] - mean * gain, x, gain).to(kind)


def groups(channels: int) -> int:
    """How many groups `gn` makes: the largest divisor of `channels` that is at most 32 and at most channels / 2.

    From 64 channels on, for powers of two, it is Wu & He's 32 (2018, table 3).  Below, they say nothing: two channels
    a group at least, since one a group is instance norm.
    """
    return max(n for n in range(1, max(1, min(32, channels // 2)) + 1) if channels % n == 0)


# ---------------------------------------------------------------------------------------------------------
# Names.


class Place(NamedTuple):
    """Where a norm stands, and what it may read there."""

    channels: int
    z_dim: int | None
    """None in D."""
    classes: int | None = None
    """None where no labels are read."""
    affine: bool = True
    """Whether a static norm learns a gain and a shift."""
    eps: float = EPS
    """Of batch norm."""
    momentum: float = 0.1
    """Of batch norm's running statistics, as torch counts it."""
    image_side: int | None = None
    """Side of the map, where the style is a style image's."""
    synced: bool = False
    """Whether batch norm's statistics are those of all ranks."""


def _batch_norm(place: Place) -> nn.Module:
    kind = SyncedBatchNorm if place.synced else nn.BatchNorm2d
    return kind(place.channels, eps=place.eps, momentum=place.momentum, affine=place.affine)


def _conditional(place: Place) -> nn.Module:
    if place.classes is None:
        raise NormError("cbn reads the classes of images, which are not filled in (data.classes)")
    return ConditionalBatchNorm(
        place.channels, place.classes, eps=place.eps, momentum=place.momentum, synced=place.synced
    )


STATIC: dict[str, Callable[[Place], nn.Module]] = {
    "none": lambda place: nn.Identity(),
    "bn": _batch_norm,
    # Layer norm as WGAN-GP has it: statistics over C, H, W, affine per channel.  That is one group.
    "ln": lambda place: nn.GroupNorm(1, place.channels, eps=EPS, affine=place.affine),
    "in": lambda place: InstanceNorm(place.channels, affine=place.affine),
    "gn": lambda place: nn.GroupNorm(groups(place.channels), place.channels, eps=EPS, affine=place.affine),
}
"""Norms of either net."""

G_NORMS: dict[str, Callable[[Place], nn.Module]] = {
    **STATIC,
    "adain": lambda place: AdaIN(place.channels, place.z_dim or 0, image_side=place.image_side),
    "selfmod_bn": lambda place: SelfModulatedBatchNorm(
        place.channels,
        place.z_dim or 0,
        image_side=place.image_side,
        eps=place.eps,
        momentum=place.momentum,
        synced=place.synced,
    ),
    "cbn": _conditional,
}
WITHIN_SAMPLE = frozenset({"none", "ln", "in", "gn"})
"""The norms of D under which no sample of a batch reads another."""


def activation_norm(
    name: str,
    channels: int,
    size: int,
    *,
    z_dim: int | None,
    seed: int,
    classes: int | None = None,
    affine: bool = True,
    eps: float = EPS,
    momentum: float = 0.1,
    image_style: bool = False,
    synced: bool = False,
) -> nn.Module:
    """Make the norm `name` for maps [B, channels, size, size]; `z_dim` is None in D.

    `seed` is used by a norm of the user's own alone; the others get their weights from `models.build`.  `affine`,
    `eps`, `momentum` and `synced` as in `Place`.  `image_style`: AdaIN and self-modulation read a style image.
    Raises NormError for a norm that cannot be made, and for instance statistics of a single pixel.
    """
    if name in ("in", "adain") and size == 1:
        raise NormError(f"{name} on a 1x1 map: the variance of one pixel is zero")
    if ":" in name:
        return OwnNorm(name, channels, z_dim, seed, classes)
    norms = STATIC if z_dim is None else G_NORMS
    if name not in norms:
        raise NormError(f"{name} is no norm of {'D' if z_dim is None else 'G'}")
    return norms[name](Place(channels, z_dim, classes, affine, eps, momentum, size if image_style else None, synced))


def norm_at(setting: Setting, path: str, name: str, channels: int, size: int) -> nn.Module:
    """Make the norm `name` for the layer at `path` ("G.blocks.0.norm", "D.blocks.1.norm") under the setting's knobs.

    Raises NormError as `activation_norm` does.
    """
    in_g = path.startswith("G.")
    return activation_norm(
        name,
        channels,
        size,
        z_dim=setting.z_dim if in_g else None,
        seed=draws.address(setting.seed, "init", path),
        classes=setting.data.classes,
        affine=in_g or setting.d_norm_affine,
        eps=setting.bn_eps,
        momentum=setting.bn_momentum,
        image_style=in_g and setting.style_source == "image",
        synced=setting.train.sync_bn and setting.train.world_size > 1,
    )


def has_conv_bias(setting: Setting, path: str, name: str) -> bool:
    """Say whether the conv before the norm `name` at `path` has a bias: where the norm does not shift.

    A norm without affine shifts nothing either; but batch and instance norm would take a bias out again.
    """
    without = path.startswith("D.") and not setting.d_norm_affine and name in ("ln", "gn")
    return name == "none" or without


def normalized(norm: nn.Module, x: Tensor, z: Tensor | None = None, y: Tensor | None = None) -> Tensor:
    """Call a norm with x and what it wants of z and y."""
    wanted = [given for wants, given in (("wants_z", z), ("wants_y", y)) if getattr(norm, wants, False)]
    made: Tensor = norm(x, *wanted)
    return made
