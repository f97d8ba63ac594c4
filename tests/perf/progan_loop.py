"""ProGAN's networks in our training loop and in StyleGAN2-ADA's.

    python tests/perf/progan_loop.py --stylegan2-ada ../stylegan2-ada-pytorch
    python tests/perf/progan_loop.py --stylegan2-ada ../stylegan2-ada-pytorch --size 128 --width 128 --device cuda

Both sides train the same networks, ours, at full size: their G has another architecture (modulated convs, noise), so
that their networks against ours would compare papers, not loops.  Their `StyleGAN2Loss.accumulate_gradients` drives
them, behind faces that take z for w; around it stands what their `training_loop` does in each iteration: uint8 reals
sent to the device, phases Gboth and Dboth (R1 in every update, as ours; lazy on neither side), gradients made finite,
Adam, and the average of G tensor by tensor.  Off on their side: style mixing and path length, which need a w, and ADA.
The algorithm is one: non-saturating loss, R1, minibatch standard deviation in fours, one D update for one of G.
"""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import fetched
import torch
import turns
from torch import Tensor, nn

from bench.models import build
from bench.setting import Setting

LAYER: dict[str, Any] = {
    "growth": False,
    "data.mirror": False,
    "loss": "nonsaturating",
    "penalty": "r1",
    "drift": 0.0,
    "mbstd": 4,
    "ema": 0.999,
    "g_width": 32,
    "d_width": 32,
}


class Faced(nn.Module):
    """One of our networks, called as theirs are: with labels, and with words of theirs that it does not know."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, c: object = None, **words: object) -> Tensor:
        made: Tensor = self.net(x)
        return made


def batches(images: Tensor, batch: int, device: torch.device) -> Iterator[Tensor]:
    """Reals in [-1, 1] without end, sent to the device as uint8."""
    while True:
        for rows in torch.randperm(len(images)).split(batch)[: len(images) // batch]:
            chosen = images[rows].pin_memory() if device.type == "cuda" else images[rows]
            yield chosen.to(device).to(torch.float32) / 127.5 - 1


def their_step(folder: Path, setting: Setting, images: Tensor, device: torch.device) -> Callable[[], None]:
    """One iteration of their loop."""
    fetched.use(folder, ("click", "psutil", "ninja", "requests"))
    losses, misc = importlib.import_module("training.loss"), importlib.import_module("torch_utils.misc")
    G, D = (net.to(device).train().requires_grad_(False) for net in build(setting))
    G_ema, train = copy.deepcopy(G).eval(), setting.train
    options = {"style_mixing_prob": 0, "pl_weight": 0, "r1_gamma": setting.r1_weight}
    loss = losses.StyleGAN2Loss(device, Faced(nn.Identity()), Faced(G), Faced(D), **options)
    phases = [(name, net, torch.optim.Adam(net.parameters(), train.lr, train.betas)) for name, net in
              (("Gboth", G), ("Dboth", D))]  # fmt: skip
    reals = batches(images, train.batch, device)
    label = torch.empty(train.batch, 0, device=device)

    def step() -> None:
        real = next(reals)
        all_z = torch.randn(len(phases) * train.batch, setting.z_dim, device=device).split(train.batch)
        for (name, net, optimizer), z in zip(phases, all_z, strict=True):
            optimizer.zero_grad(set_to_none=True)
            net.requires_grad_(True)
            loss.accumulate_gradients(name, real, label, z, label, sync=True, gain=1)
            net.requires_grad_(False)
            for parameter in net.parameters():
                if parameter.grad is not None:
                    misc.nan_to_num(parameter.grad, nan=0, posinf=1e5, neginf=-1e5, out=parameter.grad)
            optimizer.step()
        with torch.no_grad():
            for kept, now in zip(G_ema.parameters(), G.parameters(), strict=True):
                kept.copy_(now.lerp(kept, setting.ema))
            for kept, now in zip(G_ema.buffers(), G.buffers(), strict=True):
                kept.copy_(now)

    return step


def main() -> None:
    """Print the medians of an iteration, and the ratio."""
    parser = turns.arguments(__doc__)
    parser.add_argument("--size", type=int, choices=(32, 64, 128), default=64)
    parser.add_argument("--stylegan2-ada", type=Path, metavar="FOLDER", dest="stylegan2_ada", help="its checkout")
    given = parser.parse_args()
    turns.settle(given)
    folder = fetched.checkout("stylegan2-ada", given.stylegan2_ada)
    asked = {"g_width": given.width, "d_width": given.width, "train.batch": given.batch, "data.size": given.size}
    setting = turns.setting_of("progan", LAYER | {key: value for key, value in asked.items() if value})
    images = turns.pictures(500, given.size)
    G, D = build(setting)
    print(
        f"{given.size} px, batch {setting.train.batch}: G {fetched.parameters(G)}, D {fetched.parameters(D)} parameters"
    )
    sides = {"theirs": their_step(folder, setting, images, torch.device(given.device))} if folder else {}
    found = turns.race(setting, images, sides, given)
    what = f"ProGAN {given.size} px on {torch.device(given.device).type}: StyleGAN2-ADA's loop over ours"
    turns.report(found, {"theirs": (what, None)} if folder else {}, given)


if __name__ == "__main__":
    main()
