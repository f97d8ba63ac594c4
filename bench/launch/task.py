"""One task of a job array: works through its runs by the supervisor of `bench.launch.pool`, and requeues itself.

Slurm's signal comes some time before the time limit and when a job is preempted: children keep a checkpoint and stop,
and if Slurm still has the job running, this task asks for itself to be started again.  It does so once, at its end,
and nobody else does: submitit's own handlers are replaced, and what it was given has no `checkpoint()`.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError

from bench import datasets
from bench.datasets import DataError
from bench.files import StoreError
from bench.harmless import tell
from bench.launch.places import places_of_task
from bench.launch.pool import BAD_INPUT, FAILED, OK, Pool, Terms, failures_of
from bench.launch.preparing import prepare_by_claim
from bench.launch.start import worst
from bench.launch.submission import SubmissionFolder
from bench.launch.watch import Watch
from bench.liveness import this_job
from bench.orders import Orders
from bench.scheduler import ask
from bench.setting import digest
from bench.stop import Stop
from bench.store import Store
from bench.terminal import Terminal

EARLY_S = 60.0
"""So much earlier than it was asked to Slurm may send its signal."""
START_UP_S = 60.0
"""A run that is started now has its first checkpoint worth keeping after so long."""
LAST_S = 20.0
"""Before Slurm kills the task, so long is left for requeueing."""
FRUITLESS = 5
"""A task that ended so often in a row with nothing more kept does not get anywhere in its time."""
ASKED = 5
"""How often a controller that does not answer is asked to requeue."""


def work(folder: str, task: int) -> NoReturn:
    """Work through the runs of one task of the submission in `folder`; leave with their worst exit code.

    It leaves by SystemExit, so that Slurm knows how it ended, and submitit writes no result.
    """
    stop = Stop(exits=False)
    stop.install()  # lets through what came meanwhile (`bench.launch.sbatch.HOLD_BACK`)
    signal.signal(signal.SIGCONT, signal.SIG_DFL)  # submitit's would be inherited as well
    try:
        mine = Task(SubmissionFolder(Path(folder)), task, stop)
    except (StoreError, ValidationError) as error:
        tell(error)
        sys.exit(BAD_INPUT)
    try:
        code = mine.run()
    except (StoreError, OSError) as error:  # the file system's fault, not the runs': they go on when it answers
        tell(error)
        mine.requeue(len(mine.runs))
        code = FAILED
    sys.exit(code)


class Task:
    """One task of a submission.  Raises StoreError when the submission or its orders cannot be read."""

    def __init__(self, folder: SubmissionFolder, number: int, stop: Stop) -> None:
        self.began = time.monotonic()
        self.folder, self.stop = folder, stop
        self.submission = folder.read()
        self.resources, self.stage = self.submission.resources, self.submission.stage
        self.store = Store(folder.store)
        self.orders_path = folder.orders(self.submission)
        self.orders = Orders.read(self.orders_path)
        self.runs = self.submission.tasks[number]
        self.job = (this_job() or {}).get("id")
        self.seconds = seconds_given(self.job)

    def run(self) -> int:
        """Work through the runs; requeue when there is more to do than time; return the worst exit code."""
        todo = [run_id for run_id in self.runs if not self.refusal(run_id) and not self.is_finished(run_id)]
        tell(f"job {self.job or '-'}: {len(todo)} of {len(self.runs)} runs to work on")
        if todo:
            folders = [self.store.run(run_id) for run_id in todo]
            study_dir = self.folder.path.parents[1]
            try:
                prepare_by_claim(folders, self.store, self.orders_path, study_dir, self.stop, tell)
            except StoreError as error:  # a full disk: each run says so in its own folder, or finds room
                tell(str(error))
        terms = Terms(
            self.is_finished,
            retries=self.resources.retries,
            failures=lambda run_id: failures_of(self.store, self.job, run_id) if self.job else 0,
            stage=self.stage,
            refusal=self.refusal,
            has_time=self.has_time,
            patience_s=self.patience_s,
            waits=False,
        )
        watch = Watch({run_id: run_id for run_id in self.runs}, len(self.runs) - len(todo), Terminal(width=200))
        pool = Pool(self.store, self.orders_path, places_of_task(self.resources), watch, terms, self.stop)
        codes = pool.run(todo)
        left = [run_id for run_id in pool.left if not self.refusal(run_id)]
        if left and (self.stop.reason is not None or pool.late):
            self.requeue(len(left))
        if self.stage == "train" and any(self.store.run(run_id).state().trained for run_id in self.runs):
            return OK  # else the job that scores what is trained would never begin
        return worst(list(codes.values()))

    def is_finished(self, run_id: str) -> bool:
        """Whether all that this task should do with a run is done."""
        folder = self.store.run(run_id)
        trained = folder.state().trained
        if trained is None or self.stage == "train":
            return trained is not None
        try:
            setting = self.orders.placed(folder.setting())
            source = datasets.describe(setting.data, self.orders.data_root)
            return not self.orders.unscored(folder, setting, trained["snapshots"], source)
        except (StoreError, DataError):
            return False  # its job will say what is wrong, where it is looked for

    def refusal(self, run_id: str) -> str:
        """Why this task does not work on a run; nothing where it does."""
        if run_id in self.folder.cancelled():
            return "cancelled"
        if self.stage == "score" and self.store.run(run_id).state().trained is None:
            return "nothing to score: it is not trained"
        return ""

    def has_time(self) -> bool:
        """Whether a run that is started now comes further than its start before Slurm's signal."""
        left = self.seconds - (time.monotonic() - self.began)
        return left > self.resources.lead_s + EARLY_S + START_UP_S

    def patience_s(self, number: int) -> float:
        """How long children may take after a signal.

        After the early one, so long that this task can still requeue; after SIGTERM Slurm's own patience counts.
        """
        return max(self.resources.lead_s - LAST_S, 10.0) if number == signal.SIGUSR2 else math.inf

    def requeue(self, left: int) -> None:
        """Have Slurm start this job again for so many runs, unless it ended it, or nothing would come of it."""
        if self.job is None:
            return
        with contextlib.suppress(StoreError, OSError):  # where it cannot be read, it cannot be judged
            if self.folder.fruitless_lives(self.job, self.kept()) >= FRUITLESS:
                tell(f"not requeued: {FRUITLESS} times in a row nothing was kept; give it more time (resources.hours)")
                return
        for _ in range(ASKED):
            said = ask(["scontrol", "-o", "show", "job", self.job]) or ""
            state = found.group(1) if (found := re.search(r"\bJobState=(\w+)", said)) else None
            if state not in (None, "RUNNING"):
                tell(f"not requeued: Slurm says {state}")
                return
            if state and ask(["scontrol", "requeue", self.job]) is not None:
                tell(f"requeued: {left} runs to go on with")
                return
            time.sleep(2.0)
        tell("not requeued: Slurm does not answer, or refuses; start the study again to go on")

    def kept(self) -> str:
        """Digest what stands of this task's work: what runs share, newest checkpoints, outcomes and scores."""
        shared = sorted(str(path.relative_to(self.store.cache)) for path in self.store.cache.rglob("[!.]*"))
        runs = []
        for folder in map(self.store.run, self.runs):
            checkpoints = (path.name for path in folder.path.glob("attempts/*/checkpoints/*.pt"))
            scores = sorted(path.name for path in folder.scores.glob("[!.]*"))
            runs.append([folder.trained.exists(), max(checkpoints, default=""), scores])
        return digest([shared, runs])


def seconds_given(job: str | None) -> float:
    """How long this job may run, from its start; infinity where it has no limit.

    The difference of two times by the controller's clock, which may differ from this host's.
    """
    began, ends = os.environ.get("SLURM_JOB_START_TIME", ""), os.environ.get("SLURM_JOB_END_TIME", "")
    if job is not None and not (began.isdecimal() and ends.isdecimal()):
        said = ask(["scontrol", "-o", "show", "job", job]) or ""
        found = {name: re.search(rf"\b{name}=(\d+)(?=\s)", said) for name in ("StartTime", "EndTime")}
        began, ends = (match.group(1) if match else "" for match in found.values())
    if not (began.isdecimal() and ends.isdecimal()):
        return math.inf
    return float(int(ends) - int(began))
