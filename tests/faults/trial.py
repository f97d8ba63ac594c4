"""One round of the campaign: a study, the drivers that are started at it, and what befalls them."""

from __future__ import annotations

import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import crew
import queue_of_slurm as queue
from crew import Choice, Scene, at_work, is_at_a_run, is_driver, is_preparing, is_training, signalled
from ledger import Findings, Ledger

from bench.store import RunFolder

STUDY = """\
study: small
recipe: dcgan
data: {name: faces, size: 16}
g_width: 4
d_width: 4
z_dim: 8
train: {batch: 4, g_steps: 60, snapshots_g_steps: [30, 60]}
factors: {g_norm: [bn, adain]}
seeds: 2
metrics: [swd]
evaluate: {fakes: 64}
resources:
  {gpus: 0, memory_gb: 1, parallel: 2, retries: 1, checkpoint_minutes: 0.001, slurm: {partition: low, runs_per_task: 2}}
"""
RUNS = 4
DRIVER = """
import sys, types
left_out = sys.argv.pop(1)
from bench.launch import pool, preparing, start
pool.LOOK_S = preparing.LOOK_S = 0.5
if "report" in left_out:
    page = types.SimpleNamespace(build=lambda *given: None, verdicts=lambda page: None)
    sys.modules["bench.render.report"] = page
if "preparation" in left_out:
    start.prepare = lambda *given: 0
from bench import command, run
sys.exit(command.exit_code(run.main))
"""
"""`bench.run`, which looks more often at runs of other processes; without parts that take seconds."""
PATIENCE_S = 300.0
MOST_STARTS = 25

LOCAL: Sequence[Choice] = [
    *(Choice("worker", is_at_a_run, signalled(number)) for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR2)),
    Choice("worker", is_at_a_run, crew.pause),
    Choice("worker", is_training, crew.tear_checkpoint),
    Choice("worker", is_training, crew.lose_log),
    *(Choice("driver", is_driver, signalled(number)) for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)),
    Choice("preparation", is_preparing, signalled(signal.SIGKILL)),
    Choice("host", is_at_a_run, crew.power_cut),
    Choice("host", is_training, crew.hang),
]
PHASES = ("starting", "training", "training", "scoring")
"""When a worker is hit, as often as it is named."""


def environment(top: Path) -> dict[str, str]:
    """What drivers are started with: the set is fetched once."""
    return {**os.environ, "BENCH_DATA": str(top / "data"), "OMP_NUM_THREADS": "1", "COLUMNS": "150"}


def undisturbed(top: Path, runs: int = RUNS) -> Path:
    """Make the study in one process, one run after another; return its results."""
    (top / "small.yaml").write_text(STUDY)
    driver = [sys.executable, "-c", DRIVER, "report", "small.yaml", f"--limit={runs}"]
    driver += ["--executor", "inline", "--results", "undisturbed"]
    subprocess.run(driver, cwd=top, env=environment(top), check=True, stdout=subprocess.DEVNULL)
    return top / "undisturbed"


class Trial:
    """A study in a place of its own."""

    def __init__(
        self,
        place: Path,
        reference: Path,
        chance: random.Random,
        cluster: Any = None,
        *,
        runs: int | None = None,
        choices: Sequence[Choice] | None = None,
    ) -> None:
        """`cluster`: a Slurm whose jobs shall do it; `runs`, `choices`: else drawn, and all that there are."""
        self.place, self.reference, self.chance, self.cluster = place, reference, chance, cluster
        self.choices = choices or (LOCAL if cluster is None else queue.choices(cluster))
        self.results = place / "results-0"
        self.started, self.faults = 0, collections.Counter[str]()
        self.ledger, self.drivers = Ledger(), list[subprocess.Popen[bytes]]()
        place.mkdir()
        shutil.copy(reference.parent / "small.yaml", place)
        shutil.copytree(reference / "cache", self.results / "cache")
        (self.results / "studies" / "small").mkdir(parents=True)
        shutil.copy(reference / "studies" / "small" / "reals.png", self.results / "studies" / "small")
        listed = (reference / "studies" / "small" / "design.csv").read_text().splitlines()[1:]
        self.run_ids = [line.partition(",")[0] for line in listed][: runs or chance.randint(2, RUNS)]
        self.left = chance.randint(2, 5)
        """Faults that are still to come."""
        self._draw()

    def attempts(self) -> int:
        """How many there were in all."""
        return sum(len(RunFolder(self.results / "runs" / run_id).attempts()) for run_id in self.run_ids)

    def carry_out(self) -> Findings:
        """Start the study until it is done, whatever befalls it; return what is wrong with it then."""
        for _ in range(MOST_STARTS):
            if self._session():
                break
            if self.cluster is None and self.left > 0 and self.chance.random() < 0.15:
                self._move()
        else:
            self.ledger.findings.lost.append(f"not done after the command was given {self.started} times")
        deadline = time.monotonic() + 60
        while at_work(self.place) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.ledger.findings.lost += [f"left behind: {' '.join(w.command)}" for w in at_work(self.place)]
        return self.ledger.close(self.results, self.reference, self.run_ids)

    # -- Drivers ------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Give the command."""
        left_out = [part for part, share in (("report", 0.9), ("preparation", 0.7)) if self.chance.random() < share]
        driver = [sys.executable, "-c", DRIVER, ",".join(left_out), "small.yaml", f"--limit={len(self.run_ids)}"]
        driver += ["--executor", "local" if self.cluster is None else "slurm"]
        driver += ["--results", str(self.results), "--reports", str(self.place / "reports")]
        with (self.place / "drivers.log").open("ab") as log:
            self.drivers.append(
                subprocess.Popen(
                    driver, cwd=self.place, env=environment(self.place.parent), stdout=log, stderr=subprocess.STDOUT
                )
            )
        self.started += 1

    def _session(self) -> bool:
        """Start one driver or two, and hurt them until nobody is at work; say whether the study is done."""
        self.drivers.clear()
        began = time.monotonic()
        self.begin()
        second = began + self.chance.uniform(0.0, 3.0) if self.chance.random() < 0.3 else None
        while True:
            working = [driver for driver in self.drivers if driver.poll() is None]
            tasks = self.cluster is not None and not working and queue.push_on(self.cluster)
            if not working and not tasks:
                said_so = 0 in [driver.returncode for driver in self.drivers]
                return said_so and (self.cluster is None or self._is_scored())
            if second is not None and second < time.monotonic():
                second = self.begin()
            if time.monotonic() - began > PATIENCE_S:
                self.ledger.findings.lost.append(f"still at work after {PATIENCE_S:.0f} s")
                for worker in at_work(self.place):
                    worker.send(signal.SIGKILL)
                self.left, began = 0, time.monotonic()
            self.ledger.look(self.results)
            self._hurt()
            time.sleep(0.03)

    def _is_scored(self) -> bool:
        """Under Slurm a driver returns 0 when the rest is in jobs, which may have failed since."""
        made, should = (
            {path.relative_to(root) for run_id in self.run_ids for path in root.glob(f"runs/{run_id}/scores/*.json")}
            for root in (self.results, self.reference)
        )
        return made >= should

    def _move(self) -> None:
        """Move all results to another place, whoever is still at work in the old one."""
        there = self.place / f"results-{int(self.results.name.partition('-')[2]) + 1}"
        self.results.rename(there)
        self.results = there
        self.faults["results moved"] += 1

    # -- Faults -------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        self.choice = self.chance.choice(self.choices)
        self.phase = self.chance.choice(PHASES)
        self.due = time.monotonic() + (self.chance.uniform(0.0, 5.0) if self.choice.who == "driver" else 0.0)
        self.until = self.due + 15.0

    def _hurt(self) -> None:
        """Do the fault that was drawn, once its moment has come; draw the next."""
        now = time.monotonic()
        if not self.left or now < self.due:
            return
        victims = [worker for worker in at_work(self.place) if self.choice.fits(worker)]
        if self.choice.who == "worker":
            victims = [worker for worker in victims if worker.phase == self.phase]
        did = ""
        if victims:
            time.sleep(self.chance.uniform(0.0, 0.2))
            did = self.choice.fault(Scene(self.place, self.chance, self.chance.choice(victims), self.begin))
        if did:
            self.faults[f"{self.choice.who}: {did}"] += 1
            self.left -= 1
        if did or now > self.until:
            self._draw()
