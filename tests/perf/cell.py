"""One Kwak & Ko cell at its paper's scale, by measured rate: minutes for 4.05 million images, and the ceiling's share.

    python tests/perf/cell.py --device cuda [--batch 64] [--precision bf16]
    python tests/perf/cell.py --size 32 --width 8 --steps 3            # does it run?  any machine

The recipe is `wgan_gp` at 128 px with batch norm in G: 5 D updates to one of G, the penalty in TF32 under bf16.  Paper:
20 epochs of CelebA in 24 hours on a GTX 1080 Ti.  `--batch 256` is the row of the ceiling.  Images are noise: what
they show costs nothing.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import turns

from bench.data import Part
from bench.device import Flops, ceilings
from bench.stopwatch import throw

IMAGES = 4.05e6
KIND = {"fp32": "float32", "tf32": "tf32", "bf16": "bfloat16"}


def main() -> None:
    """Print images a second, minutes a cell, and TFLOP/s beside what this device can do."""
    asked = turns.arguments(__doc__)
    asked.add_argument("--size", type=int, default=128)
    asked.add_argument("--precision", choices=tuple(KIND), default="bf16")
    asked.set_defaults(steps=40, batch=64)
    given = asked.parse_args()
    turns.settle(given)
    device = torch.device(given.device)
    layer = {"data.size": given.size, "train.batch": given.batch, "train.precision": given.precision}
    layer |= {"g_width": given.width, "d_width": given.width} if given.width else {}
    layer |= {"train.penalty_precision": "tf32"} if given.precision == "bf16" else {}
    setting = turns.setting_of("wgan_gp", layer)
    most = ceilings(device).matmul_tflops
    part = Part(turns.pictures(4 * given.batch, given.size), torch.zeros(4 * given.batch, dtype=torch.int64))
    run = throw(setting, part, device, given.steps)
    with Flops() as counted:
        run.one_step()
    images = setting.train.batch * setting.train.n_critic
    rates = [1000 * images / step.whole for step in run.block().steps]
    each = counted.total / images
    low, middle, high = turns.quartiles(rates)
    reached = statistics.median(rates) * each / 1e12
    ceiling = most.get(KIND[given.precision], most["float32"])
    print(f"{middle:.1f} images/s [{low:.1f}, {high:.1f}], {each / 1e9:.2f} GFLOP an image, {reached:.2f} TFLOP/s:")
    print(f"{100 * reached / ceiling:.0f} % of {ceiling:.2f} TFLOP/s in products of matrices, {given.threads} threads")
    minutes = [IMAGES / rate / 60 for rate in rates]
    paper = given.size == 128 and device.type == "cuda"
    rows = [
        turns.row(
            "one Kwak & Ko cell at its paper's scale",
            "≤ 12 minutes",
            minutes,
            statistics.median(minutes) <= 12 if paper else None,
            unit="minutes",
        ),
        turns.row(
            f"share of the ceiling, {given.size} px, batch {given.batch}",
            "stated",
            [100 * rate * each / 1e12 / ceiling for rate in rates],
            unit="%",
        ),
    ]
    turns.write(given.json, rows, given)


if __name__ == "__main__":
    main()
