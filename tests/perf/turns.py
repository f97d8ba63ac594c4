"""Sides that take turns in one process, their times, and what is said of them.

Ours is `bench.train.train` itself.  Its keeper is a stand-in that is asked once a step: there our time stops, the
others take their turn, and ours goes on.  So a busy machine slows all sides alike, and what is compared is of one turn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bench import draws
from bench.data import Part
from bench.recipes import RECIPES
from bench.schedule import Schedule
from bench.setting import Setting, resolve
from bench.train import Forgetful, train
from bench.updates import own_stream, recorder_for

LOG_EVERY = 10
"""Our steps in one row of the log, which reads losses and weights back; a run of 2,000 steps has as many."""


class Turns:
    """Seconds a step of each side in each turn, on the wall and of the processor; the first turns do not count."""

    def __init__(self, device: torch.device, block: int, warmup: int) -> None:
        self.device, self.block, self.warmup = device, block, warmup
        self.wall: dict[str, list[float]] = {}
        self.processor: dict[str, list[float]] = {}
        self._began = self.now()

    def now(self) -> tuple[float, float]:
        """Both clocks, once the device has done all it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter(), time.process_time()

    def begin(self) -> None:
        """Start a side's turn."""
        self._began = self.now()

    def end(self, side: str) -> None:
        """End a side's turn of `block` steps."""
        taken = [(now - began) / self.block for now, began in zip(self.now(), self._began, strict=True)]
        for kept, seconds in zip((self.wall, self.processor), taken, strict=True):
            kept.setdefault(side, []).append(seconds)

    def seconds(self, side: str, of: str = "wall") -> list[float]:
        """A step's seconds in each turn that counts."""
        kept: dict[str, list[float]] = getattr(self, of)
        return kept[side][self.warmup :]

    def ratio(self, side: str, of: str = "wall") -> list[float]:
        """Another side's seconds over ours, turn by turn."""
        return [theirs / ours for theirs, ours in zip(self.seconds(side, of), self.seconds("ours", of), strict=True)]


class Alternating(Forgetful):
    """A keeper that keeps nothing: after each block of our steps it lets the others take theirs."""

    def __init__(self, turns: Turns, others: Mapping[str, Callable[[], None]]) -> None:
        self.turns, self.others, self.steps = turns, others, 0

    def stop_asked(self) -> bool:
        """Asked at the end of each step of ours."""
        self.steps += 1
        if self.steps % self.turns.block == 0:
            self.turns.end("ours")
            for name, step in self.others.items():
                self.turns.begin()
                for _ in range(self.turns.block):
                    step()
                self.turns.end(name)
            self.turns.begin()
        return False


def race(
    setting: Setting, images: torch.Tensor, others: Mapping[str, Callable[[], None]], given: argparse.Namespace
) -> Turns:
    """Train as `setting` says, in turns with the others; `given` as of `arguments`."""
    turns = Turns(torch.device(given.device), given.block, given.warmup)
    part = Part(images, torch.zeros(len(images), dtype=torch.int64))
    plan = Schedule((given.warmup + given.steps) * given.block, {}, LOG_EVERY)
    recorder = recorder_for(turns.device, wanted=True)
    with own_stream(turns.device):
        turns.begin()
        ended = train(setting, part, plan, Alternating(turns, others), given.device, recorder=recorder)
    assert ended.status == "done", ended.cause
    return turns


# ---------------------------------------------------------------------------------------------------------
# What is asked, and what is shown.


def arguments(about: str | None) -> argparse.ArgumentParser:
    """The options that all comparisons of steps share."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, help="images in an update; unset: the case's")
    parser.add_argument("--width", type=int, help="of G and D; unset: the case's")
    parser.add_argument("--steps", type=int, default=15, help="turns that count")
    parser.add_argument("--warmup", type=int, default=3, help="turns before them")
    parser.add_argument("--block", type=int, help="steps in a turn; unset: 1 on a CPU, 20 on a GPU")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there as well")
    return parser


def settle(given: argparse.Namespace) -> None:
    """Fill in what was not said, and set torch up."""
    given.block = given.block or (1 if given.device == "cpu" else 20)
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)


def setting_of(recipe: str, layer: Mapping[str, Any]) -> Setting:
    """A recipe's setting, with `layer` over it; its length is the race's."""
    return resolve(RECIPES[recipe], {"data.channels": 3, "train.g_steps": 1_000_000}, layer)


def pictures(n: int, size: int) -> torch.Tensor:
    """Noise: uint8 [n, 3, size, size]."""
    return (draws.uniform((n, 3, size, size), 0, "perf", 0) * 256).to(torch.uint8)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    if len(values) < 2:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def row(what: str, bar: str, values: Sequence[float], met: bool | None = None, **more: Any) -> dict[str, Any]:
    """A row of the table: `values` are ratios or whatever else the bar speaks of."""
    low, middle, high = quartiles(values)
    return {"what": what, "bar": bar, "median": middle, "quartiles": [low, high], "n": len(values), "met": met, **more}


def report(turns: Turns, bars: Mapping[str, tuple[str, float | None]], given: argparse.Namespace) -> None:
    """Print each side's step, and of each other side the ratio to ours; `bars`: side to (what it is, bar or None)."""
    for side in turns.wall:
        low, middle, high = (1000 * x for x in quartiles(turns.seconds(side)))
        busy = 1000 * statistics.median(turns.seconds(side, "processor"))
        print(f"{side:10} {middle:9.2f} ms a step [{low:.2f}, {high:.2f}]   {busy:9.2f} ms of the processor")
    rows = []
    for side, (what, bar) in bars.items():
        wall, busy = turns.ratio(side), statistics.median(turns.ratio(side, "processor"))
        low, middle, high = quartiles(wall)
        asked = "stated" if bar is None else f"≥ {bar:g}"
        of_processor = f"of the processor {busy:.2f} ×" if turns.device.type == "cpu" else ""
        print(f"{what:56} {middle:6.2f} × [{low:.2f}, {high:.2f}]   asked {asked:8} {of_processor}", flush=True)
        seconds = {name: list(quartiles(turns.seconds(name))) for name in ("ours", side)}
        met = None if bar is None else middle >= bar
        rows.append(row(what, asked, wall, met, unit="×", seconds=seconds, of_processor=busy))
    write(given.json, rows, given)


def environment(given: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on."""
    device = torch.device(getattr(given, "device", "cpu"))
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": getattr(given, "threads", None),
        "load": round(os.getloadavg()[0], 2),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
    }


def cpu_name() -> str:
    """The processor's name, as well as the system knows it."""
    known = Path("/proc/cpuinfo")
    if known.exists():
        for line in known.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def write(path: Path | None, rows: Sequence[Mapping[str, Any]], given: argparse.Namespace) -> None:
    """Write rows, options and the environment as JSON."""
    if path is not None:
        options = {name: value for name, value in vars(given).items() if isinstance(value, (int, float, str))}
        content = {"rows": list(rows), "options": options, "environment": environment(given)}
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
