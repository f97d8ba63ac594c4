"""Where a step's time goes, before and after: the plain loop's largest costs, and ours.

    python tests/perf/trace.py --case sngan32 --out traces
    python tests/perf/trace.py --case wgan_gp32 --device cuda --out traces

Prints the operators with the most time of their own (of the CPU, or of the GPU's kernels) in a step, and what share of
the step they are; writes Chrome traces (chrome://tracing, ui.perfetto.dev) to `--out`.  Cases are those of step.py.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import step
import torch
import turns
from torch.profiler import ProfilerActivity, profile


class Watched:
    """Starts a profiler after the warm-up and stops it `steps` blocks later; called at the end of each block."""

    def __init__(self, profiler: profile, warmup: int, steps: int) -> None:
        self.profiler, self.starts, self.ends, self.blocks = profiler, warmup, warmup + steps, 0
        self.seconds = 0.0

    def __call__(self) -> None:
        self.blocks += 1
        if self.blocks == self.starts:
            self.profiler.start()
            self.seconds = -time.perf_counter()
        if self.blocks == self.ends:
            self.seconds += time.perf_counter()
            self.profiler.stop()


def watched(device: torch.device, warmup: int, steps: int) -> Watched:
    """A profiler for the device."""
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    return Watched(profile(activities=kinds), warmup, steps)


def show(name: str, watch: Watched, steps: int, rows: int, on_gpu: bool) -> dict[str, Any]:
    """Print the largest costs of a step; return them."""

    def own(event: Any) -> float:
        return float(event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1000 / steps

    events = sorted(watch.profiler.key_averages(), key=own, reverse=True)
    total = sum(own(event) for event in events)
    wall = 1000 * watch.seconds / steps
    print(f"\n{name}: {wall:.2f} ms a step under the profiler, {total:.2f} ms of operators' own time")
    for event in events[:rows]:
        print(f"  {own(event):9.2f} ms {own(event) / total:6.1%}  {event.count / steps:7.1f} calls  {event.key[:70]}")
    largest = [{"operator": event.key, "ms": own(event), "calls": event.count / steps} for event in events[:rows]]
    return {"side": name, "ms": wall, "largest": largest}


def run_plain(watch: Watched, one: Callable[[], None], blocks: int) -> None:
    """Do the plain loop's steps under a profiler."""
    for _ in range(blocks):
        one()
        watch()


def main() -> None:
    """Print both tables; write both traces."""
    parser = turns.arguments(__doc__)
    parser.add_argument("--case", choices=step.CASES, default="sngan32")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the Chrome traces go")
    parser.add_argument("--rows", type=int, default=12)
    parser.set_defaults(steps=4, block=1)
    given = parser.parse_args()
    turns.settle(given)
    device, setting = torch.device(given.device), step.setting_of(given.case, given)
    images, found = turns.pictures(2000, setting.data.size), []
    sides: dict[str, Callable[[Watched], Any]] = {
        "before: the plain loop": lambda watch: run_plain(
            watch, step.plain_step(setting, images, device), given.warmup + given.steps
        ),
        "after: ours": lambda watch: turns.race(setting, images, {"profiler": watch}, given),
    }
    for name, work in sides.items():
        watch = watched(device, given.warmup, given.steps)
        work(watch)
        found.append(show(f"{given.case}, {name}", watch, given.steps, given.rows, device.type == "cuda"))
        if given.out:
            given.out.mkdir(parents=True, exist_ok=True)
            path = given.out / f"{given.case}-{device.type}-{name.partition(':')[0]}.json"
            watch.profiler.export_chrome_trace(str(path))
            print(f"  trace: {path}")
    turns.write(given.json, found, given)


if __name__ == "__main__":
    main()
