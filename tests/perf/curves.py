"""How the time of a step grows with resolution, width and batch, and that of a plan with runs and seeds.

    python tests/perf/curves.py [--device cuda] [--threads 1] [--only size,width,batch,runs,seeds] [--json FILE]

Steps are of WGAN-GP with DCGAN's networks (n_critic 5), timed as in `step.py`, each point in its own run; plans are
`bench.run --dry-run` whole, in a process of its own.  Beside each point stands the slope to the point before: 1 where
the time grows as what is on the axis does, 2 where it grows as its square.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import turns

SIZES, WIDTHS, BATCHES = (16, 32, 64, 128, 256), (8, 16, 32, 64, 128), (4, 8, 16, 32, 64, 128)
RUNS, SEEDS = (10, 100, 1_000, 10_000), (1, 5, 25, 125)
AXES = {
    "size": ("data.size", SIZES, "width 16, batch 16", {"train.batch": 16, "g_width": 16, "d_width": 16}),
    "width": ("width", WIDTHS, "32 px, batch 16", {"train.batch": 16, "data.size": 32}),
    "batch": ("train.batch", BATCHES, "32 px, width 32", {"data.size": 32, "g_width": 32, "d_width": 32}),
}
EXPECTED = {
    "size": "towards 2, pixels, where they outweigh what each layer costs; deeper levels add little",
    "width": "from 1, bound by memory, towards 2, bound by products",
    "batch": "from 0, where launching costs, towards 1",
    "runs": "from 0, a start, towards 1",
    "seeds": "below 1: seeds of a cell share all but their id",
}
STUDY = """
study: planned
recipe: wgan_gp
data: {{name: faces, size: 32}}
train: {{kimg: 32}}
factors:
  g_norm: [bn, adain]
  d_weight: [none, spectral]
  optimizer:
{optimizers}
seeds: {seeds}
reference: {{g_norm: bn, d_weight: none, optimizer: a0}}
metrics: [swd]
"""


def step_ms(axis: str, value: int, given: Any) -> tuple[float, float, float]:
    """Milliseconds of a step: quartiles and median."""
    key, _, _, layer = AXES[axis]
    point = {"g_width": value, "d_width": value} if key == "width" else {key: value}
    setting = turns.setting_of("wgan_gp", layer | point)
    race = turns.race(setting, turns.pictures(256, setting.data.size), {}, given)
    low, middle, high = (1000 * seconds for seconds in turns.quartiles(race.seconds("ours")))
    return low, middle, high


def plan_ms(cells: int, seeds: int) -> tuple[float, float, float]:
    """Milliseconds of `bench.run --dry-run` of so many cells and seeds."""
    rates = "\n".join(f"    a{n}: {{train.lr: {1e-4 * (1 + n / 1000):.8f}}}" for n in range(max(1, cells // 4)))
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "planned.yaml").write_text(STUDY.format(optimizers=rates, seeds=seeds))
        command = [sys.executable, "-m", "bench.run", "planned.yaml", "--dry-run", "--yes"]
        paths = {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "BENCH_DATA": place}
        taken = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run(command, cwd=place, env={**os.environ, **paths}, check=True, stdout=subprocess.DEVNULL)
            taken.append(1000 * (time.perf_counter() - began))
    return min(taken), statistics.median(taken), max(taken)


def main() -> None:
    asked = turns.arguments(__doc__)
    asked.add_argument("--only", default="size,width,batch,runs,seeds")
    asked.set_defaults(threads=1, steps=7, warmup=2)
    given = asked.parse_args()
    turns.settle(given)
    rows = []
    for axis in given.only.split(","):
        values = AXES[axis][1] if axis in AXES else RUNS if axis == "runs" else SEEDS
        about = f"ms a step, {AXES[axis][2]}" if axis in AXES else "ms a plan" + ", 20 cells" * (axis == "seeds")
        print(f"\n{axis}: {about}; expected: {EXPECTED[axis]}", flush=True)
        before: tuple[int, float] | None = None
        for value in values:
            if axis in AXES:
                low, middle, high = step_ms(axis, value, given)
            else:
                cells, seeds = (max(4, value // 5), min(5, max(1, value // 4))) if axis == "runs" else (20, value)
                low, middle, high = plan_ms(cells, seeds)
            slope = math.log(middle / before[1]) / math.log(value / before[0]) if before else None
            said = f"   slope {slope:.2f}" if slope is not None else ""
            print(f"{value:7} {middle:10.1f} [{low:.1f}, {high:.1f}]{said}", flush=True)
            rows.append({"axis": axis, "at": value, "ms": middle, "range": [low, high], "slope": slope})
            before = value, middle
    turns.write(given.json, rows, given)


if __name__ == "__main__":
    main()
