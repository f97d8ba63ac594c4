"""One G update with its D updates: our training loop against mimicry's, StudioGAN's and the plainest correct loop.

    python tests/perf/step.py --case sngan32 --mimicry ../mimicry --studiogan ../PyTorch-StudioGAN
    python tests/perf/step.py --case wgan_gp32
    python tests/perf/step.py --case dcgan64
    python tests/perf/step.py --case sngan32 --mimicry ../mimicry --device cuda

Ours is `bench.train.train`; the others take turns with it, in one process.  mimicry's and StudioGAN's networks are
their own, of the same blocks and widths (parameters are printed), and their steps their own functions.  The plain loop
trains our networks as any tutorial would: maps in the usual order, fakes with a graph that is thrown away, reals and
fakes in two passes, Adam one tensor at a time.  Each does n_critic D updates, one G update and, in the plain cases, a
moving average of G; mimicry and StudioGAN's default keep none, so there ours keeps none either.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import fetched
import torch
import turns
from torch import Tensor

from bench.models import build
from bench.setting import Setting

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    # name: recipe, and what is laid over it
    "sngan32": ("sngan_resnet", {"train.batch": 32, "train.g_batch": None, "g_width": 64, "d_width": 64}),
    "wgan_gp32": ("wgan_gp_resnet", {"train.g_batch": None, "dequantize": 0.0, "ema": 0.999}),
    "dcgan64": ("wgan_gp", {"data.size": 64, "ema": 0.999}),
}
BARS = {
    ("sngan32", "cpu"): {"mimicry": 1.8},
    ("wgan_gp32", "cpu"): {"plain": 1.0},
    ("dcgan64", "cpu"): {"plain": 1.0},
    ("sngan32", "cuda"): {"mimicry": 4.0, "studiogan": 3.0},
    ("wgan_gp32", "cuda"): {"mimicry": 4.0, "studiogan": 3.0},
}


def setting_of(case: str, given: argparse.Namespace) -> Setting:
    """The case's setting, with the width and batch that were asked for."""
    recipe, layer = CASES[case]
    asked = {"g_width": given.width, "d_width": given.width, "train.batch": given.batch}
    return turns.setting_of(recipe, layer | {key: value for key, value in asked.items() if value})


def plain_step(setting: Setting, images: Tensor, device: torch.device) -> Callable[[], None]:
    """Train our networks by the plainest correct loop."""
    G, D = (net.to(device).train() for net in build(setting))
    G_ema = copy.deepcopy(G)
    train = setting.train
    optG, optD = (
        torch.optim.Adam(net.parameters(), train.lr, train.betas, foreach=False, fused=False) for net in (G, D)
    )
    reals = images.to(device)

    def d_loss(real: Tensor, fake: Tensor) -> Tensor:
        if setting.loss == "hinge":
            return torch.relu(1 - D(real)).mean() + torch.relu(1 + D(fake)).mean()
        between = torch.lerp(real, fake, torch.rand(len(real), 1, 1, 1, device=device)).requires_grad_()
        (gradient,) = torch.autograd.grad(D(between).sum(), between, create_graph=True)
        penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
        return D(fake).mean() - D(real).mean() + setting.gp_weight * penalty

    def step() -> None:
        for _ in range(train.n_critic):
            real = reals[torch.randint(len(reals), (train.batch,), device=device)].float() / 127.5 - 1
            fake = G(torch.randn(train.batch, setting.z_dim, device=device)).detach()
            optD.zero_grad()
            d_loss(real, fake).backward()
            optD.step()
        optG.zero_grad()
        (-D(G(torch.randn(train.batch, setting.z_dim, device=device))).mean()).backward()
        optG.step()
        if setting.ema:
            with torch.no_grad():
                for kept, now in zip(G_ema.parameters(), G.parameters(), strict=True):
                    kept.mul_(setting.ema).add_(now, alpha=1 - setting.ema)
                for kept, now in zip(G_ema.buffers(), G.buffers(), strict=True):
                    kept.copy_(now)

    return step


def others(case: str, setting: Setting, images: Tensor, given: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """The sides that were asked for and can be had."""
    device, made = torch.device(given.device), {}
    makers = {"mimicry": fetched.mimicry_step, "studiogan": fetched.studiogan_step}
    for name, maker in makers.items():
        if case != "dcgan64" and (folder := fetched.checkout(name, getattr(given, name))):
            made[name] = maker(folder, setting, images, device)
    return {**made, "plain": plain_step(setting, images, device)}


def main() -> None:
    """Print the medians of a step, and the ratios."""
    parser = turns.arguments(__doc__)
    parser.add_argument("--case", choices=CASES, default="sngan32")
    parser.add_argument("--mimicry", type=Path, metavar="FOLDER", help="a checkout of github.com/kwotsin/mimicry")
    parser.add_argument(
        "--studiogan", type=Path, metavar="FOLDER", help="of github.com/POSTECH-CVLab/PyTorch-StudioGAN"
    )
    given = parser.parse_args()
    turns.settle(given)
    setting = setting_of(given.case, given)
    images = turns.pictures(2000, setting.data.size)
    sizes = ", ".join(f"{name} {fetched.parameters(net)}" for name, net in zip("GD", build(setting), strict=True))
    print(
        f"{given.case}: width {setting.g_width}, batch {setting.train.batch}, {setting.train.n_critic} D : 1 G; {sizes}"
    )
    sides = others(given.case, setting, images, given)
    found = turns.race(setting, images, sides, given)
    kind = torch.device(given.device).type
    asked = BARS.get((given.case, kind), {})
    bars = {side: (f"{given.case} on {kind}: {side}'s step over ours", asked.get(side)) for side in sides}
    turns.report(found, bars, given)


if __name__ == "__main__":
    main()
