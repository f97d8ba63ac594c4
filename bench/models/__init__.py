"""Networks: one file a family, every factor a switch."""

from __future__ import annotations

import torch
from torch import nn

from bench.models import dcgan, sndcgan
from bench.models.weights import finish
from bench.rules import size_mistake
from bench.setting import Setting

FAMILIES = {"dcgan": dcgan, "sndcgan": sndcgan}


def build(setting: Setting) -> tuple[nn.Module, nn.Module]:
    """Make (G, D) of `setting`, on the CPU in training mode, every weight drawn from the seed by its name.

    G maps z [B, z_dim] to [B, C, R, R] in [-1, 1]; D maps that to logits [B].  The global generator is neither read
    nor moved.
    Raises ValueError for a size that the network cannot make or channels not filled in, and NormError for a norm.
    """
    family, channels = FAMILIES[setting.network], setting.data.channels
    if channels is None:
        raise ValueError("data.channels is not filled in")
    if mistake := size_mistake(setting.network, setting.data.size):
        raise ValueError(mistake)
    with torch.random.fork_rng(devices=[]):
        G: nn.Module = family.generator(setting, channels)
        D: nn.Module = family.discriminator(setting, channels)
    for net, name, weight in ((G, "G", setting.g_weight), (D, "D", setting.d_weight)):
        finish(net, name, seed=setting.seed, init=setting.init, equalized=setting.equalized, weight=weight)
    return G, D
