"""1,000 runs planned, submitted to a real Slurm, held there, and their status read: seconds of each command.

python tests/perf/slurm.py [RUNS]
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "slurm"))
from one_node import OneNode

HELD = ["--set", "resources.slurm.flags.hold=true", "--set", "resources.gpus=0"]


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    study = ["quickstart", "--set", f"seeds={runs // 4}", "--yes", *HELD]
    with OneNode() as slurm, tempfile.TemporaryDirectory() as place:
        spent = 0.0
        for command in (
            ["run", *study, "--executor", "slurm"],
            ["status", *study],
            ["run", *study, "--executor", "slurm"],
        ):
            began = time.perf_counter()
            ran = subprocess.run(
                [sys.executable, "-m", f"bench.{command[0]}", *command[1:]],
                cwd=place,
                env={**os.environ, **slurm.env},
                capture_output=True,
                text=True,
            )
            took = time.perf_counter() - began
            spent += took
            shown = ran.stdout.splitlines()
            said = [line for line in shown if "task" in line or "queue" in line or " runs: " in line] or [ran.stderr]
            print(f"{took:6.2f} s  bench.{command[0]}: exit {ran.returncode}, {'; '.join(said)[:120]}", flush=True)
        arrays = len({job.partition("_")[0] for job in slurm.queue() if "_" in job})
        print(f"{spent:6.2f} s  for {runs} runs in {arrays} arrays; the last command found all of them in the queue")


if __name__ == "__main__":
    main()
