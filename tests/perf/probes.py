"""What probes cost: `python tests/perf/probes.py`.

Trains some settings with all probes on, one thread, and prints the share of each run's time that its rows took: both
sides of the ratio are of one run, so that a busy machine moves them alike.  Asked: under 3 %.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch  # noqa: E402

from bench import draws  # noqa: E402
from bench.data import Part  # noqa: E402
from bench.probes import NAMES  # noqa: E402
from bench.probes.watch import Probes  # noqa: E402
from bench.recipes import RECIPES  # noqa: E402
from bench.schedule import schedule  # noqa: E402
from bench.setting import resolve  # noqa: E402
from bench.train import train  # noqa: E402

SETTINGS: dict[str, tuple[str, int, int, dict[str, Any]]] = {
    # name: recipe, channels, G updates, what else
    "quickstart": ("wgan_gp", 1, 400, {"g_width": 16, "d_width": 16, "train.batch": 16}),
    "dcgan, width 32": ("dcgan", 3, 400, {"g_width": 32, "d_width": 32}),
    "sngan, width 16": ("sngan", 3, 200, {"g_width": 16, "d_width": 16, "train.n_critic": 5}),
}


class Rows:
    """A keeper that keeps the seconds of each row."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def probe(self, row: dict[str, Any]) -> None:
        self.seconds.append(row["seconds"])

    def load_checkpoint(self) -> None: ...
    def save_checkpoint(self, step: int, state: dict[str, Any]) -> None: ...
    def log(self, row: dict[str, Any]) -> None: ...
    def snapshot(self, label: str, G_ema: torch.nn.Module) -> None: ...
    def progress(self, **words: float) -> None: ...

    def checkpoint_due(self) -> bool:
        return False

    def stop_asked(self) -> bool:
        return False


def main() -> None:
    """Print a line a setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SETTINGS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name, (recipe, channels, steps, layer) in SETTINGS.items():
        if given.only in (None, name):
            known = {"data.size": 32, "data.channels": channels, "train.epochs": None, "train.g_steps": steps}
            setting = resolve(RECIPES[recipe], known, layer)
            images = (draws.uniform((200, channels, 32, 32), 0, "perf", 0) * 255).to(torch.uint8)
            part = Part(images, torch.zeros(200, dtype=torch.int64))
            plan, rows = schedule(setting, 200), Rows()
            outcome = train(setting, part, plan, rows, probes=Probes(NAMES, setting, plan, part, part))
            share = sum(rows.seconds) / outcome.seconds
            each = sorted(rows.seconds)[len(rows.seconds) // 2]
            print(
                f"{name:20} {share:6.2%}   {len(rows.seconds)} rows of {each * 1000:.0f} ms in {outcome.seconds:.1f} s"
            )


if __name__ == "__main__":
    main()
