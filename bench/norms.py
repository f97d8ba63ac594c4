"""The factor studied: name → activation norm, name → weight norm.

An activation norm stands between a conv and its activation and keeps the shape [B, C, H, W].  A weight norm
is a parametrization of a conv's or dense layer's weight.  Both are looked up here by the words of a study.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-5
"""Added to the variance by every activation norm (batch norm's and Huang & Belongie's value)."""


class NormError(ValueError):
    """A norm that cannot stand where it was asked for."""


# ---------------------------------------------------------------------------------------------------------
# Activation norms.  Those with `wants_z` are called with (x, z), the others with x.


class InstanceNorm(nn.Module):
    """gain_c (x - mean_bc) / sqrt(var_bc + eps) + shift_c, mean and variance over H, W of one sample.

    The affine is static and learned: the control level that takes AdaIN's statistics without its style.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return _instance_norm(x, self.weight[None], self.bias[None])


class AdaIN(nn.Module):
    """Adaptive instance norm: scale(z) (x - mean_bc) / sqrt(var_bc + eps) + shift(z).

    Huang & Belongie 2017, eq. 8, with the style read as Kwak & Ko 2020 use it: (scale, shift) = A z + b, one A
    per normalized layer.  A starts small, b at scale 1 and shift 0; the scale is unconstrained.
    """

    wants_z = True

    def __init__(self, channels: int, z_dim: int) -> None:
        super().__init__()
        self.affine = nn.Linear(z_dim, 2 * channels)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return _instance_norm(x, *self.affine(z).chunk(2, dim=1))


class SelfModulatedBatchNorm(nn.Module):
    """Batch norm whose affine is AdaIN's: batch statistics, (scale, shift) = A z + b.

    Chen et al. 2019 ("On self modulation"), with a linear map instead of their small MLP, so that it differs
    from `AdaIN` in the statistics alone and from batch norm in the affine alone.
    """

    wants_z = True

    def __init__(self, channels: int, z_dim: int) -> None:
        super().__init__()
        self.statistics = nn.BatchNorm2d(channels, eps=EPS, affine=False)
        self.affine = nn.Linear(z_dim, 2 * channels)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        scale, shift = self.affine(z).chunk(2, dim=1)
        return torch.addcmul(shift[:, :, None, None], self.statistics(x), scale[:, :, None, None])


def _instance_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Normalize each map of x [B, C, H, W], then apply scale and shift, [B, C] or [1, C], in one pass."""
    # Two means: on channels-last maps several times faster than torch.var_mean and F.instance_norm.
    mean = x.mean(dim=(2, 3), keepdim=True)
    variance = (x - mean).square().mean(dim=(2, 3), keepdim=True)
    gain = scale[:, :, None, None] * torch.rsqrt(variance + EPS)
    return torch.addcmul(shift[:, :, None, None] - mean * gain, x, gain)


class OwnNorm(nn.Module):
    """A norm of the user's own, `pkg.module:Name`, drawn at its own address.

    It is made as `Name(channels)` and called with x.  With a class attribute `wants_z = True` it is made as
    `Name(channels, z_dim)` and called with (x, z); G alone has a z to give.  It brings its own learned shift,
    as batch norm does: the conv before it has no bias.  What its constructor draws comes from `seed`.
    """

    def __init__(self, name: str, channels: int, z_dim: int | None, seed: int) -> None:
        super().__init__()
        made_from = load_own(name)
        self.wants_z = bool(getattr(made_from, "wants_z", False))
        if self.wants_z and z_dim is None:
            raise NormError(f"{name} wants z, which D does not have")
        sizes = (channels, z_dim) if self.wants_z else (channels,)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                self.own = made_from(*sizes)
            except Exception as error:
                arguments = ", ".join(map(str, sizes))
                raise NormError(f"{name}({arguments}) cannot be made: {_said(error)}") from error

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        return self.own(x, z) if self.wants_z else self.own(x)


G_NORMS: dict[str, Callable[[int, int], nn.Module]] = {
    "none": lambda channels, z_dim: nn.Identity(),
    "bn": lambda channels, z_dim: nn.BatchNorm2d(channels, eps=EPS),
    "in": lambda channels, z_dim: InstanceNorm(channels),
    "adain": AdaIN,
    "selfmod_bn": SelfModulatedBatchNorm,
}
D_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda channels: nn.Identity(),
    "bn": lambda channels: nn.BatchNorm2d(channels, eps=EPS),
    # Layer norm as WGAN-GP has it: statistics over C, H, W, affine per channel.  That is one group.
    "ln": lambda channels: nn.GroupNorm(1, channels, eps=EPS),
    "in": InstanceNorm,
}
WITHIN_SAMPLE = frozenset({"none", "ln", "in"})
"""The norms of D under which no sample of a batch reads another."""


def activation_norm(name: str, channels: int, size: int, *, z_dim: int | None, seed: int) -> nn.Module:
    """Make the norm `name` for maps [B, channels, size, size]; `z_dim` is None in D.

    `seed` is used by a norm of the user's own alone; the others get their weights from `models.build`.
    Raises NormError for a norm that cannot be made, and for instance statistics of a single pixel.
    """
    if name in ("in", "adain") and size == 1:
        raise NormError(f"{name} on a 1x1 map: the variance of one pixel is zero")
    if ":" in name:
        return OwnNorm(name, channels, z_dim, seed)
    try:
        return D_NORMS[name](channels) if z_dim is None else G_NORMS[name](channels, z_dim)
    except KeyError:
        raise NormError(f"{name} is no norm of {'D' if z_dim is None else 'G'}") from None


# ---------------------------------------------------------------------------------------------------------
# Norms of the user's own.


def load_own(name: str) -> type[nn.Module]:
    """Import `pkg.module:Name`.

    Raises NormError if the module does not import, has no such name, or the name is no module class.
    """
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise NormError(f"{name}: {module_name} does not import: {_said(error)}") from error
    found = getattr(module, class_name, None)
    if found is None:
        raise NormError(f"{name}: {module_name} has no {class_name}")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise NormError(f"{name}: not a class derived from torch.nn.Module")
    return found


def check_own(name: str, z_dim: int | None) -> None:
    """Make the norm for 8 channels and pass [2, 8, 4, 4] through it; `z_dim` is None for a norm of D.

    This runs the user's code: call it in a child process.
    Raises NormError if it does not import, is no module class, fails, or returns another shape.
    """
    norm = OwnNorm(name, 8, z_dim, seed=0)
    x = torch.linspace(-1.0, 1.0, 2 * 8 * 4 * 4).view(2, 8, 4, 4)
    try:
        y = norm(x, torch.ones(2, z_dim)) if z_dim is not None else norm(x)
    except Exception as error:
        raise NormError(f"{name}: fails on a batch of shape {tuple(x.shape)}: {_said(error)}") from error
    if not isinstance(y, Tensor):
        raise NormError(f"{name}: returns {type(y).__name__}, not a tensor")
    if y.shape != x.shape:
        raise NormError(f"{name}: must keep the shape; made {tuple(y.shape)} of {tuple(x.shape)}")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


# ---------------------------------------------------------------------------------------------------------
# Weight norms.


class EqualizedRate(nn.Module):
    """Equalized learning rate: w * gain / sqrt(fan_in) at run time, of weights drawn from N(0, 1).

    Karras et al. 2018, section 4.1.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.scale


class SpectralNorm(nn.Module):
    """W / sigma(W), W as a matrix of output channels × all else.

    Miyato et al. 2018, algorithm 1: each training forward takes one power iteration, from the kept left vector
    u; sigma = u' W v with u and v constant in the gradient.  Only u is kept, so a state is the same whatever the
    memory format, which `torch.nn.utils.parametrizations.spectral_norm` (with its v, and fifteen iterations at the
    start from the global generator) does not offer.
    """

    u: Tensor

    def __init__(self, u: Tensor, output_axis: Literal[0, 1]) -> None:
        """Start from `u`, [output channels], of any length; `output_axis` is 1 for transposed convs."""
        super().__init__()
        self.output_axis = output_axis
        self.register_buffer("u", F.normalize(u, dim=0, eps=1e-12))

    def forward(self, weight: Tensor) -> Tensor:
        matrix = self._matrix(weight)
        with torch.no_grad():
            v = F.normalize(torch.mv(matrix.t(), self.u), dim=0, eps=1e-12)
        stretched = torch.mv(matrix, v)
        u = self.u
        if self.training:
            # A new tensor for the graph: the next forward overwrites the kept one.
            u = F.normalize(stretched.detach(), dim=0, eps=1e-12)
            self.u.copy_(u)
        return weight / torch.dot(u, stretched)

    def _matrix(self, weight: Tensor) -> Tensor:
        """View the weight as [output channels, rest]; without a copy where it lies channels-last."""
        if weight.ndim == 2:
            return weight
        pixels_first = weight.permute(0, 2, 3, 1)
        return pixels_first.flatten(1) if self.output_axis == 0 else pixels_first.flatten(0, 2).t()


WEIGHT_NORMS: dict[str, type[SpectralNorm] | None] = {"none": None, "spectral": SpectralNorm}
