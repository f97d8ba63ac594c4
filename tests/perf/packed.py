"""Runs that share a GPU, over the same runs one after another: the whole command, training and start-up.

    python tests/perf/packed.py --device cuda [--size 32] [--runs 8] [--beside 8]

DCGAN on noise, by `bench.run` with `resources.runs_per_gpu`, no scores.  Asked: at least 2.5.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import turns
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
STUDY = """
study: packed
recipe: dcgan
data: {{name: folder, folder: pictures, size: {size}}}
train: {{batch: 64, g_steps: {steps}, snapshots_g_steps: [{steps}]}}
factors:
  d_weight: [none, spectral]
seeds: {seeds}
reference: {{d_weight: none}}
metrics: [colour]
evaluate: {{fakes: 64}}
resources: {{runs_per_gpu: {beside}}}
"""


def seconds(given: argparse.Namespace, beside: int) -> float:
    """Seconds of the whole study with so many runs on a GPU."""
    with tempfile.TemporaryDirectory() as place:
        pictures = Path(place) / "pictures"
        pictures.mkdir()
        for number in range(256):
            noise = np.random.default_rng(number).integers(0, 256, (given.size, given.size, 3), dtype=np.uint8)
            Image.fromarray(noise).save(pictures / f"{number:03}.png")
        said = STUDY.format(size=given.size, steps=given.steps, seeds=given.runs // 2, beside=beside)
        (Path(place) / "packed.yaml").write_text(said)
        command = [sys.executable, "-m", "bench.run", "packed.yaml", "--yes", "--executor", "local"]
        if given.device == "cpu":
            command += ["--set", f"resources.parallel={beside}"]
        began = time.perf_counter()
        ran = subprocess.run(
            command, cwd=place, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )
        if ran.returncode:
            raise RuntimeError(f"exit {ran.returncode}\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
        return time.perf_counter() - began


def main() -> None:
    """Print the seconds of each, and the ratio."""
    asked = turns.arguments(__doc__)
    asked.add_argument("--size", type=int, default=32)
    asked.add_argument("--runs", type=int, default=8)
    asked.add_argument("--beside", type=int, default=8, help="runs on the GPU at once")
    asked.add_argument("--rounds", type=int, default=3)
    asked.set_defaults(steps=10_000)
    given = asked.parse_args()
    ratios = []
    for _ in range(given.rounds):
        alone, together = seconds(given, 1), seconds(given, given.beside)
        ratios.append(alone / together)
        print(f"one after another {alone:.1f} s, {given.beside} at once {together:.1f} s", flush=True)
    low, middle, high = turns.quartiles(ratios)
    what = f"packed study over the same runs one after another, DCGAN-{given.size}"
    print(f"{what}: {middle:.2f} × [{low:.2f}, {high:.2f}]   asked ≥ 2.5")
    met = middle >= 2.5 if given.device == "cuda" else None
    turns.write(given.json, [turns.row(what, "≥ 2.5", ratios, met, unit="×")], given)


if __name__ == "__main__":
    main()
