"""The quickstart's 12 runs: two at a time with one thread each, over one after another with two threads.

    python tests/perf/pool.py [--kimg 8] [--rounds 1]

Both are the whole command with its report.  One after another means `--executor inline`: one process, so that its runs
have no start-up, which is kind to it.  The machine must have two cores and nothing else to do.  Asked: at least 1.05.
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

import turns

ROOT = Path(__file__).resolve().parents[2]
SIDES = {
    "pool": ["--executor", "local", "--set", "resources.cpu_threads=1"],
    "in turn": ["--executor", "inline", "--set", "resources.cpu_threads=2"],
}


def cost(side: str, given: argparse.Namespace) -> float:
    """Seconds of the whole study."""
    with tempfile.TemporaryDirectory() as place:
        length = ["--set", f"train.kimg={given.kimg}"] if given.kimg else []
        command = [sys.executable, "-m", "bench.run", "quickstart", "--yes", *SIDES[side], *length]
        began = time.perf_counter()
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        ran = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True)
        if ran.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit {ran.returncode}\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
        return time.perf_counter() - began


def main() -> None:
    """Print the seconds of each, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kimg", type=float, help="shorter runs; unset: the quickstart's 32")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    ratios = []
    for _ in range(given.rounds):
        seconds = {side: cost(side, given) for side in SIDES}
        ratios.append(seconds["in turn"] / seconds["pool"])
        print(", ".join(f"{side} {took:.1f} s" for side, took in seconds.items()), flush=True)
    low, middle, high = turns.quartiles(ratios)
    print(f"one after another with two threads, over the pool: {middle:.2f} × [{low:.2f}, {high:.2f}]   asked ≥ 1.05")
    what = "CPU, 2 cores: 12-run quickstart, pool over one after another with two threads"
    turns.write(given.json, [turns.row(what, "≥ 1.05", ratios, middle >= 1.05, unit="×")], given)


if __name__ == "__main__":
    main()
