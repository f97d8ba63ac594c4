"""Start-up of a run: from the start of its process to its first step, its data cached, beside a bare `import torch`.

    python tests/perf/startup.py

In turns: `python -c "import torch"`, and `python -m bench.job` of a run as a pool starts it, until the first row of its
log is there (a row a step).  Asked: at most the import and 2 s.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import one_run
import turns

ROOT = Path(__file__).resolve().parents[2]
POLL_S = 0.002


def busy() -> float:
    """Processor seconds of all children that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def imported() -> tuple[float, float]:
    """Seconds of `import torch` in a fresh process, on the wall and of the processor."""
    began, spent = time.perf_counter(), busy()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - began, busy() - spent


def started(place: Path) -> tuple[float, float]:
    """Seconds until a run's first step is done, in a fresh process, likewise."""
    folder, orders = one_run.make(place, 1, 200, seed=time.time_ns() % 2**31)
    command = [sys.executable, "-m", "bench.job", str(folder.path), "--orders", str(orders), "--stage", "train"]
    began, spent = time.perf_counter(), busy()
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    try:
        while not any(log.stat().st_size for log in folder.path.glob("attempts/*/train.jsonl")):
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}")
            time.sleep(POLL_S)
        wall = time.perf_counter() - began
    finally:
        process.kill()
        process.wait()
    return wall, busy() - spent


def main() -> None:
    """Print both, and their difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        started(Path(folder))  # data are cached, files are in memory
        pairs = [(imported(), started(Path(folder))) for _ in range(given.rounds)]
    for name, seconds in zip(("import torch", "first step"), zip(*pairs, strict=True), strict=True):
        (low, middle, high), spent = (turns.quartiles([pair[i] for pair in seconds]) for i in (0, 1))
        print(f"{name:14} {middle:5.2f} s [{low:.2f}, {high:.2f}]   {spent[1]:5.2f} s of the processor")
    beyond, processor = ([first[i] - alone[i] for alone, first in pairs] for i in (0, 1))
    (low, middle, high), spent = turns.quartiles(beyond), turns.quartiles(processor)
    print(
        f"{'beyond it':14} {middle:5.2f} s [{low:.2f}, {high:.2f}]   {spent[1]:5.2f} s of the processor   asked ≤ 2 s"
    )
    what = "run start-up, beyond a bare import of torch"
    turns.write(
        given.json, [turns.row(what, "≤ import + 2 s", beyond, middle <= 2, unit="s", of_processor=spent[1])], given
    )


if __name__ == "__main__":
    main()
