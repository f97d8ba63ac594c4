"""First weights, drawn by address, and weight norms.

A net is made plain, whatever its weight norms; `finish` then draws each parameter at (seed, "init", its name), so that
adding a layer moves no other weight, and lays the weight norms over the layers.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.utils import parametrize

from bench import draws
from bench.draws import Chance
from bench.models.chance import RandomLayer
from bench.norms import AdaIN, EqualizedRate, OwnNorm, SelfModulatedBatchNorm, SpectralNorm, WeightNorm
from bench.norms.weight import Layer, output_axis

GAINS = {
    **dict.fromkeys(("rgb", "small_rgb", "logit", "mix", "gate", "kernels"), 1.0),
    **dict.fromkeys(("first", "stem", "shortcut"), 1.0),  # of ResNets: a norm or a sum follows
    **dict.fromkeys(("aux", "embed"), 1.0),
    "affine": 0.2,
}
"""Gain of the layers, by last name, that no ReLU follows; of all others it is sqrt(2).

An `affine` (A of AdaIN) is small: 0.2 is the spread of A z that N(0, 0.02) gives at z_dim 100.
"""
RESIDUAL = ("conv1", "conv2")
"""Last names of the convs on a residual branch."""
UNIFORM = {"G": 0.05, "D": 0.005}
"""Bounds of `init: uniform` (goodfeli/adversarial mnist.yaml: irange)."""


def finish(
    net: nn.Module,
    name: str,
    *,
    seed: int,
    init: str,
    equalized: bool,
    weight: str,
    weight_gain: bool = True,
    keep: bool = False,
) -> None:
    """Draw all weights of `net` and lay weight norms over them.

    `name` is "G" or "D": the first weight's address is (seed, "init", "G.blocks.0.conv.weight").
    Equalized rate comes first, the weight norm sees what it makes; `weight_gain` is whether `weight` learns one.
    Norms of the user's own are left alone; `keep` leaves all weights as they are.
    """
    chance = Chance()
    net.chance = chance  # type: ignore[assignment]
    for path, module in _own_modules(net):
        address = f"{name}.{path}"
        if isinstance(module, RandomLayer):
            module.chance, module.name = chance, address
        if keep:
            continue
        if isinstance(module, Layer):
            _draw_layer(module, address, seed, init, equalized)
        elif _is_affine(module):
            _draw_gain(module, address, seed, init)
    for path, module in _own_modules(net):
        if isinstance(module, (AdaIN, SelfModulatedBatchNorm)) and isinstance(module.affine, nn.Linear) and not keep:
            with torch.no_grad():
                module.affine.bias.copy_(torch.tensor([1.0, 0.0]).repeat_interleave(module.affine.out_features // 2))
        if isinstance(module, Layer):
            _lay_weight_norms(module, f"{name}.{path}", seed, equalized, weight, weight_gain)


def _own_modules(net: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """List (path, module), without what is inside a norm of the user's own."""
    found = []
    for name, module in net.named_children():
        if not isinstance(module, OwnNorm):
            found += [(prefix + name, module), *_own_modules(module, f"{prefix}{name}.")]
    return found


def _is_affine(module: nn.Module) -> bool:
    """Say whether a module has a gain and a shift, as norms have."""
    gain, shift = getattr(module, "weight", None), getattr(module, "bias", None)
    return isinstance(gain, nn.Parameter) and isinstance(shift, nn.Parameter) and gain.shape == shift.shape


def gain_of(path: str) -> float:
    """Return the gain of the layer at `path`, for initial weights and for equalized rate."""
    return GAINS.get(path.rpartition(".")[2], math.sqrt(2))


def fan_in(layer: Layer) -> int:
    """Return k * k * in, also for transposed convs (ProGAN's convention)."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    return layer.in_channels * math.prod(layer.kernel_size)


@torch.no_grad()
def _draw_layer(layer: Layer, address: str, seed: int, init: str, equalized: bool) -> None:
    shape = layer.weight.shape
    if equalized:
        drawn = draws.normal(shape, seed, "init", f"{address}.weight")
    elif init == "he" or ".style." in address:
        drawn = draws.normal(shape, seed, "init", f"{address}.weight") * _he_std(layer, address)
    elif init == "normal002" or address.endswith(".affine"):
        drawn = draws.normal(shape, seed, "init", f"{address}.weight") * 0.02
    else:
        bound = _uniform_bound(layer, address, init)
        drawn = draws.uniform(shape, seed, "init", f"{address}.weight", -bound, bound)
    layer.weight.copy_(drawn)
    if layer.bias is not None:
        layer.bias.zero_()


def _he_std(layer: Layer, address: str) -> float:
    """Return gain / sqrt(fan_in)."""
    return gain_of(address) / math.sqrt(fan_in(layer))


def _uniform_bound(layer: Layer, address: str, init: str) -> float:
    if init == "uniform":
        return UNIFORM[address[0]]
    if init == "glorot":
        gain = math.sqrt(2) if address.rpartition(".")[2] in RESIDUAL else 1.0
        return math.sqrt(3) * _mean_fan_std(layer, gain, strided=False)
    return math.sqrt(3) * _mean_fan_std(layer, gain_of(address), strided=True)


def _mean_fan_std(layer: Layer, gain: float, *, strided: bool) -> float:
    """Return gain * sqrt(2 / (fan_in + fan_out)): Glorot's at gain 1 and, at sqrt(2), what WGAN-GP's code calls He.

    `strided`: there a stride of s divides by s^2 the fan on the side of the larger map.
    """
    if isinstance(layer, nn.Linear):
        into, out = float(layer.in_features), float(layer.out_features)
    else:
        taps, skipped = math.prod(layer.kernel_size), math.prod(layer.stride) if strided else 1
        into, out = float(layer.in_channels * taps), float(layer.out_channels * taps)
        if isinstance(layer, nn.ConvTranspose2d):
            into /= skipped
        else:
            out /= skipped
    return gain * math.sqrt(2 / (into + out))


@torch.no_grad()
def _draw_gain(norm: nn.Module, address: str, seed: int, init: str) -> None:
    """Gains of a static affine: N(1, 0.02) under DCGAN's scheme, else 1; shifts 0."""
    assert isinstance(norm.weight, nn.Parameter) and isinstance(norm.bias, nn.Parameter)
    norm.weight.fill_(1.0)
    if init == "normal002":
        norm.weight.add_(draws.normal(norm.weight.shape, seed, "init", f"{address}.weight"), alpha=0.02)
    norm.bias.zero_()


def _lay_weight_norms(layer: Layer, address: str, seed: int, equalized: bool, weight: str, gain: bool) -> None:
    axis = output_axis(layer)
    # unsafe: skip torch's trial forward, which would take a power iteration.
    if equalized:
        scale = _he_std(layer, address)
        parametrize.register_parametrization(layer, "weight", EqualizedRate(scale), unsafe=True)
    if weight == "spectral":
        u = draws.normal((layer.weight.shape[axis],), seed, "init", f"{address}.u")
        parametrize.register_parametrization(layer, "weight", SpectralNorm(u, axis), unsafe=True)
    elif weight == "weight":
        norm = WeightNorm(layer.weight, axis, gain=gain)
        parametrize.register_parametrization(layer, "weight", norm, unsafe=True)
