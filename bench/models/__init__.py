"""Networks: one file a family, every factor a switch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bench.draws import Chance
from bench.models import conditions, dcgan, fastgan, mlp, progan, resnet, sndcgan, unet
from bench.models.own import make_own
from bench.models.progan import Growing
from bench.models.weights import finish
from bench.setting import Setting
from bench.sizes import size_mistake

FAMILIES = {
    "dcgan": dcgan,
    "fastgan": fastgan,
    "mlp": mlp,
    "resnet": resnet,
    "sndcgan": sndcgan,
    "progan": progan,
    "unet": unet,
}


def build(setting: Setting) -> tuple[nn.Module, nn.Module]:
    """Make (G, D) of `setting`, on the CPU in training mode, every weight drawn from the seed by its name.

    G maps z [B, z_dim] to [B, C, R, R] in [-1, 1]; D maps that to logits [B].  The global generator is neither read
    nor moved.
    Raises ValueError for a size that the network cannot make or channels not filled in, NormError for a norm, and
    OwnModuleError for a network of the user's own.
    """
    channels = setting.data.channels
    if channels is None:
        raise ValueError("data.channels is not filled in")
    if mistake := size_mistake(setting.network, setting.data.size):
        raise ValueError(mistake)
    own = ":" in setting.network
    with torch.random.fork_rng(devices=[]):
        G, D = make_own(setting, channels) if own else _made(setting, channels)
    for net, name, weight, gain in (
        (G, "G", setting.g_weight, True),
        (D, "D", setting.d_weight, setting.d_norm_affine),
    ):
        finish(
            net,
            name,
            seed=setting.seed,
            init=setting.init,
            equalized=setting.equalized,
            weight=weight,
            weight_gain=gain,
            keep=own and bool(getattr(net, "keeps_weights", False)),
        )
    return G, D


def _made(setting: Setting, channels: int) -> tuple[nn.Module, nn.Module]:
    family: Any = FAMILIES[setting.network]
    joined = setting.model_copy(update={"z_dim": conditions.z_length(setting)})
    shown = conditions.image_channels(setting, channels)
    G, D = family.generator(joined, channels), family.discriminator(setting, shown)
    conditions.attach(G, D, setting, shown)
    return G, D


def set_stage(net: nn.Module, size: int, fade: float) -> None:
    """Set the size of a net's images and the strength of its last level; nets that do not grow are left alone."""
    if isinstance(net, Growing):
        net.set_stage(size, fade)


def set_chance(net: nn.Module, seed: int, stream: str, step: int) -> None:
    """Say where the random layers of a net draw from now on; nets without any are left alone."""
    chance = getattr(net, "chance", None)
    if isinstance(chance, Chance):
        chance.at(seed, stream, step)
