"""Networks of the user's own, `pkg.module:Name`: what builds G and D from a setting."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench import draws, own_modules
from bench.own_modules import OwnModuleError
from bench.setting import Setting


def own_family(name: str) -> Any:
    """Import `pkg.module:Name`, which has `generator(setting, channels)` and `discriminator(setting, channels)`.

    Name is a class with static or class methods, or any object with both.
    Raises OwnModuleError if it does not import or lacks one.
    """
    family = own_modules.load(name)
    for maker in ("generator", "discriminator"):
        if not callable(getattr(family, maker, None)):
            raise OwnModuleError(f"{name}: has no function {maker}(setting, channels)")
    return family


def make_own(setting: Setting, channels: int) -> tuple[nn.Module, nn.Module]:
    """Make G and D of the user's own for images of `channels`; what they draw comes from the seed.

    Under a condition they are called with labels, with pairs with the input image: G(z, y) and D(x, y), and do with
    it what they like.  Convs and dense layers are drawn again, as `init` says, save where the net says
    `keeps_weights = True`.
    Moves the global generator.  Raises OwnModuleError for what is no module.
    """
    name, made = setting.network, []
    family = own_family(name)
    torch.manual_seed(draws.address(setting.seed, "init", "own"))
    for maker in ("generator", "discriminator"):
        try:
            net = getattr(family, maker)(setting, channels)
        except Exception as error:
            raise OwnModuleError(f"{name}.{maker}(setting, {channels}) fails: {own_modules.said(error)}") from error
        if not isinstance(net, nn.Module):
            raise OwnModuleError(f"{name}.{maker} gives {type(net).__name__}, not a torch.nn.Module")
        made.append(net)
    G, D = made
    return G, D


@torch.no_grad()
def check_own_network(G: nn.Module, D: nn.Module, setting: Setting) -> None:
    """Pass a small batch through freshly built nets of the user's own.

    This runs the user's code: call it in a child process.
    Raises OwnModuleError where G makes no images of the setting's size in [-1, 1], or D no logits of them.
    """
    name, data = setting.network, setting.data
    n = setting.mbstd if isinstance(setting.mbstd, int) and setting.mbstd > 1 else 4
    y = [torch.zeros(n, dtype=torch.int64)] if setting.gives_labels else []
    if data.input_channels is not None:  # of pairs, y is the input image
        y = [torch.linspace(-1.0, 1.0, n * data.input_channels * data.size**2).view(n, -1, data.size, data.size)]
    z = torch.linspace(-1.0, 1.0, n * setting.z_dim).view(n, setting.z_dim)
    fake = _called(f"{name}: G on z of shape {tuple(z.shape)}", G, z, *y)
    due = (n, data.channels, data.size, data.size)
    if fake.shape != due:
        raise OwnModuleError(f"{name}: G must make images of shape {due}; it makes {tuple(fake.shape)}")
    largest = float(fake.abs().max())
    if setting.output != "linear" and not largest <= 1:
        raise OwnModuleError(f"{name}: G must make images in [-1, 1]; it makes {largest:g} (tanh? or output: linear)")
    logits = _called(f"{name}: D on images of shape {due}", D, fake, *y)
    if logits.ndim not in (1, 2) or len(logits) != n:
        shape = tuple(logits.shape)
        raise OwnModuleError(f"{name}: D must give logits of shape ({n},) or ({n}, patches); it gives {shape}")
    if not bool(logits.isfinite().all()):
        raise OwnModuleError(f"{name}: D gives logits that are not finite")


def _called(said: str, net: nn.Module, *given: Tensor) -> Tensor:
    try:
        made = net(*given)
    except Exception as error:
        raise OwnModuleError(f"{said} fails: {own_modules.said(error)}") from error
    if not isinstance(made, Tensor):
        raise OwnModuleError(f"{said} gives {type(made).__name__}, not a tensor")
    return made
