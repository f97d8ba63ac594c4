"""What the harness costs: a run by `bench.job`, with all it does beside training, over the bare loop of its phases.

    python tests/perf/overhead.py

The run is one of the quickstart's (steps of some 30 ms, where overhead shows most), probes off, a row of its log every
tenth step.  Its keeper is the real one; at the end of each step the bare loop does the same step: the same batches,
losses, optimizers and average, and nothing else.  Turns are summed by hundreds, one ratio each.  Checkpoints are timed
apart, and counted as one in two minutes.  Asked: at most 2 %.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import one_run
import torch
import turns

from bench import job
from bench.batches import Batches
from bench.data import Part
from bench.keeper import RunKeeper
from bench.models import build
from bench.objectives import Nets, phases
from bench.optimizers import make_optimizer
from bench.orders import Orders
from bench.schedule import d_updates_before
from bench.setting import Setting
from bench.stop import Stop
from bench.train import average

CHECKPOINT_EVERY, CHECKPOINT_S, TOGETHER = 100, 120.0, 100


def bare_step(setting: Setting, part: Part, device: torch.device) -> Callable[[], None]:
    """The training loop without the harness."""
    G, D = (net.to(device, memory_format=torch.channels_last).train() for net in build(setting))  # type: ignore
    G_ema, nets, plan = copy.deepcopy(G), Nets(G, D), phases(setting)
    trained = {"G": G, "D": D}
    optimizers = {phase.name: make_optimizer(trained[phase.trains], phase.trains, setting) for phase in plan}
    batches, state = Batches(setting, part, device), {"step": 0}

    def step() -> None:
        for phase in plan:
            for net in (G, D):
                net.requires_grad_(net is trained[phase.trains])
            first = d_updates_before(setting.train, state["step"]) if phase.trains == "D" else state["step"]
            for repeat in range(phase.times(state["step"])):
                loss, _ = phase.loss(nets, batches.draw(phase, first + repeat))
                optimizers[phase.name].zero_grad(set_to_none=True)
                loss.backward()
                optimizers[phase.name].step()
        if setting.ema:
            average(G_ema, G, setting.ema, setting.ema_buffers)
        state["step"] += 1

    return step


class Kept(RunKeeper):
    """The real keeper, which gives the bare loop its turn at the end of each step."""

    taken: turns.Turns
    saved: list[float]
    bare: Callable[[], None]
    steps = 0
    wanted = 0

    def stop_asked(self) -> bool:
        """Take turns; stop after enough of them."""
        Kept.steps += 1
        self.taken.end("ours")
        self.taken.begin()
        Kept.bare()
        self.taken.end("bare")
        if Kept.steps >= self.wanted:
            self.stop.reason = "measured"
        self.taken.begin()
        return super().stop_asked()

    def checkpoint_due(self) -> bool:
        """Every hundredth step."""
        return Kept.steps % CHECKPOINT_EVERY == 0

    def save_checkpoint(self, step: int, state: dict[str, Any]) -> None:
        """Time it, outside of the turns."""
        began = time.perf_counter()
        super().save_checkpoint(step, state)
        self.saved.append(time.perf_counter() - began)
        self.taken.begin()


def measure(place: Path, given: argparse.Namespace) -> list[float]:
    """Overheads, one for each hundred turns."""
    folder, orders = one_run.make(place, given.threads, 2000, ema=0.999)
    setting = folder.setting()
    Kept.taken, Kept.saved = turns.Turns(torch.device(given.device), 1, given.warmup), []
    Kept.wanted = given.warmup + given.steps
    part = job.data.load(setting.data, place / "data", place / "results" / "cache").part("train")
    Kept.bare = staticmethod(bare_step(setting, part, torch.device(given.device)))
    job.RunKeeper = Kept  # type: ignore[misc]
    Kept.taken.begin()
    assert job.run(folder, Orders.read(orders), stop=Stop(), stage="train") == job.STOPPED
    low, saving, high = turns.quartiles(Kept.saved)
    print(f"checkpoint {1000 * saving:.1f} ms [{1000 * low:.1f}, {1000 * high:.1f}], in two minutes once: "
          f"{saving / CHECKPOINT_S:.3%}")  # fmt: skip
    sides = [Kept.taken.seconds(name) for name in ("ours", "bare")]
    sums = [[sum(side[i : i + TOGETHER]) for i in range(0, len(side), TOGETHER)] for side in sides]
    return [100 * (ours / bare - 1 + saving / CHECKPOINT_S) for ours, bare in zip(*sums, strict=True)]


def main() -> None:
    """Print the overhead, in per cent."""
    parser = turns.arguments(__doc__)
    parser.set_defaults(steps=1000, warmup=20, threads=1)
    given = parser.parse_args()
    turns.settle(given)
    with tempfile.TemporaryDirectory() as place:
        overheads = measure(Path(place), given)
    low, middle, high = turns.quartiles(overheads)
    for side in ("ours", "bare"):
        print(f"{side:6} {1000 * turns.quartiles(Kept.taken.seconds(side))[1]:8.2f} ms a step")
    print(f"harness over the bare loop: {middle:.2f} % [{low:.2f}, {high:.2f}]   asked ≤ 2 %")
    what = "harness overhead over the bare loop"
    turns.write(given.json, [turns.row(what, "≤ 2 %", overheads, middle <= 2, unit="%")], given)


if __name__ == "__main__":
    main()
