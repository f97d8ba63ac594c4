"""Memory of training beside weights, optimizer and data, and whether it grows in 10,000 steps.

    python tests/perf/memory_growth.py [--steps 10000] [--device cuda]

Trains a small run and reads, every hundredth step, the process's resident memory, or what torch holds on the GPU.
Weights are those of G, D and G_ema, the optimizers' state two moments a weight of G and D, data the uint8 part.
Growth is the median of the last tenth over that of the second.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import turns

from bench.data import Part
from bench.models import build
from bench.schedule import Schedule
from bench.train import train

EVERY = 100


def held_mb(device: torch.device) -> float:
    """Megabytes held now."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 2**20
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Watching(turns.Alternating):
    """A keeper that reads memory."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.steps, self.held = device, 0, list[float]()

    def stop_asked(self) -> bool:
        """Asked at the end of each step."""
        self.steps += 1
        if self.steps % EVERY == 0:
            self.held.append(held_mb(self.device))
        return False


def main() -> None:
    """Print what is held, and how it grows."""
    parser = turns.arguments(__doc__)
    parser.set_defaults(steps=10_000, width=8, batch=8, threads=1)
    given = parser.parse_args()
    turns.settle(given)
    layer: dict[str, Any] = {"g_width": given.width, "d_width": given.width, "train.batch": given.batch, "ema": 0.999}
    setting = turns.setting_of("wgan_gp", {**layer, "data.size": 32, "train.n_critic": 1})
    device, images = torch.device(given.device), turns.pictures(2000, 32)
    part = Part(images, torch.zeros(len(images), dtype=torch.int64))
    G, D = (sum(p.numel() for p in net.parameters()) * 4 / 2**20 for net in build(setting))
    known = {"weights": 2 * G + D, "optimizers": 2 * (G + D), "data": images.numel() / 2**20}
    before = held_mb(device)
    keeper = Watching(device)
    ended = train(setting, part, Schedule(given.steps, {}, max(1, given.steps // 200)), keeper, device)
    assert ended.status == "done", ended.cause
    report(keeper.held, before, known, given)


def report(held: list[float], before: float, known: dict[str, float], given: argparse.Namespace) -> None:
    """Print and write."""
    tenth = max(1, len(held) // 10)
    early, late = (statistics.median(part) for part in (held[tenth : 2 * tenth], held[-tenth:]))
    said = ", ".join(f"{name} {mb:.1f} MB" for name, mb in known.items())
    data_counts = known["data"] if given.device != "cpu" else 0.0  # on a CPU they lay there before
    beside = late - before - known["weights"] - known["optimizers"] - data_counts
    print(f"{said}; before training {before:.1f} MB, at its end {late:.1f} MB, peak {max(held):.1f} MB")
    print(f"beside weights, optimizers and data: {beside:.1f} MB")
    print(f"growth over {given.steps:,} steps: {late - early:.2f} MB")
    what = f"memory beside weights, optimizer and data; growth over {given.steps:,} steps"
    rows = [turns.row(what, "stated", [beside], unit="MB"), turns.row(what, "no growth", [late - early], unit="MB")]
    turns.write(given.json, rows, given)


if __name__ == "__main__":
    main()
