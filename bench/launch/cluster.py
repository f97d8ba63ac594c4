"""The driver under Slurm: which runs no job stands for, submitted in turn with other drivers; and following them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import ValidationError
from rich.console import Console

from bench.datasets import Source
from bench.design import Design, Run
from bench.files import StoreError, make_folder, read_json
from bench.heartbeat import Heartbeat
from bench.launch import sbatch, slurm
from bench.launch.sbatch import SlurmError
from bench.launch.slurm import Batch, Submitted, Submitter
from bench.launch.submission import covers
from bench.launch.todo import unfinished
from bench.launch.watch import Watch
from bench.orders import Orders
from bench.resources import Slurm
from bench.setting import Data
from bench.site import Site
from bench.store import OUTCOMES, RunFolder, RunState, Store

OK, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 75
FOLLOW_S = 5.0


class OnSlurm(NamedTuple):
    """What the Slurm executor needs to know beside the study."""

    site: Site
    rebuild: Sequence[str]
    """The command that rebuilds the report."""
    wait: bool = False
    """Whether to stay until the jobs have ended."""


class Work(NamedTuple):
    """A design and all that tells what is left of it."""

    design: Design
    store: Store
    orders: Orders
    orders_name: str
    """Its orders' file, from the study's folder."""
    sources: Mapping[Data, Source]

    def asks_the_same_as(self, orders_name: str) -> bool:
        """Whether other orders of this study ask for the same scores and probes, whatever else they say."""
        asked = {"metrics", "evaluate", "probes", "probe_every_kimg", "noise_run"}
        try:
            other = Orders.read(self.store.study(self.design.study.name) / orders_name)
        except (StoreError, ValidationError):
            return False
        return other.model_dump(include=asked) == self.orders.model_dump(include=asked)

    def left(self) -> list[Run]:
        """Runs without an outcome or with scores that do not stand."""
        return unfinished(self.design, self.store, self.orders, self.sources)


class Standing(NamedTuple):
    """Runs that are left, by who stands for them."""

    free: list[Run]
    """Nobody does: to be submitted."""
    queued: list[Run]
    """A live job does."""
    other_scores: list[Run]
    """A live job will train it, or score it, by other orders: what is asked now comes after it."""
    running: list[Run]
    """A process outside of our jobs is at it."""


def standing(work: Work, left: Sequence[Run]) -> Standing:
    """Sort the runs that are left.  Raises SlurmError when Slurm does not say which jobs there are."""
    scheduler = work.store.witness.scheduler
    if scheduler.jobs() is None:
        raise SlurmError("scontrol did not say which jobs there are: try again in a while", passing=True)
    # A heartbeat that looks old is watched: what died far away would else be taken for alive by every new driver.
    states = work.store.settle(work.store.states([run.run_id for run in left]))
    by_run: dict[str, list[bool]] = {}
    same_scores = {work.orders_name: True}
    for run_id, queued in covers(work.store, work.design.study.name, scheduler, states):
        if queued.orders not in same_scores:
            same_scores[queued.orders] = work.asks_the_same_as(queued.orders)
        by_run.setdefault(run_id, []).append(same_scores[queued.orders])
    found = Standing([], [], [], [])
    for run in left:
        same, state = by_run.get(run.run_id, []), states[run.run_id]
        if any(same):
            found.queued.append(run)
        elif same and state.trained is None:
            found.other_scores.append(run)
        elif state.status == "running":
            found.running.append(run)
        else:
            found.free.append(run)
    return found


@contextlib.contextmanager
def turn(store: Store, study: str, say: Callable[[str], None]) -> Iterator[None]:
    """Submit while no other driver of this study does: what it submitted is seen before more is."""
    place, waited = RunFolder(store.study(study) / "turns", store.witness), False
    make_folder(place.path)
    while (number := place.claim()) is None:
        if not waited:
            owner = read_json(place.attempt(place.attempts()[-1]) / "owner.json") or {}
            at = f"process {owner.get('pid')} on {owner.get('host')}"
            say(f"another driver of this study is submitting ({at}): waiting for it, 10 minutes if it has died there")
        waited = True
        time.sleep(0.5)
    with Heartbeat(place.attempt(number)):
        try:
            yield
        finally:
            with contextlib.suppress(StoreError):
                place.end(number, OK, "")


def submit(work: Work, on: OnSlurm, prepare: Callable[[Sequence[Run]], int], console: Console) -> tuple[int, int]:
    """Submit what no job stands for; return the exit code, and how many of the runs that are left are in jobs.

    `prepare`: makes what the runs need from here, and returns an exit code.  Raises StoreError.
    """
    resources = work.design.study.resources
    try:
        if refused := sbatch.refused_path(work.store.root):
            raise SlurmError(refused)
        known = slurm.limits()
        free = standing(work, work.left()).free
        if free and (code := prepare(free)) != OK:
            return code, 0
        with turn(work.store, work.design.study.name, console.print):
            work.store.witness.scheduler.forget()
            left = work.left()
            found = standing(work, left)
            trained = frozenset(run.run_id for run in found.free if work.store.run(run.run_id).state().trained)
            planned = slurm.batches(found.free, trained, resources, known)
            sender = Submitter(
                work.store,
                work.design.study.name,
                work.orders_name,
                resources.slurm or Slurm(),
                on.site,
                on.rebuild,
            )
            submitted = sender.submit(planned) if planned else Submitted([])
    except SlurmError as error:
        console.print(str(error), soft_wrap=True, markup=False)
        return (FAILED if error.passing else BAD_INPUT), 0
    work.store.witness.scheduler.forget()
    for line in said(found, submitted):
        console.print(line, soft_wrap=True, markup=False)
    queued = len(left) if submitted.refused is None else len(found.queued) + sum(_runs(submitted))
    if submitted.refused is not None:
        return (FAILED if submitted.refused.passing else BAD_INPUT), queued
    return OK, queued


def said(found: Standing, submitted: Submitted) -> list[str]:
    """What to tell of a submission, a line each."""
    lines = []
    for array in submitted.arrays:
        what = {"all": "train and score", "train": "train", "score": "score"}[array.batch.stage]
        lines.append(f"job {array.job}: {size(array.batch, array.tasks)}, to {what}")
    if submitted.report is not None:
        lines.append(f"job {submitted.report}: rebuilds the report when they have ended")
    if submitted.no_report is not None:
        lines.append(
            f"the report will not be rebuilt by itself ({submitted.no_report}): python -m bench.report does it"
        )
    others = {
        "in the queue or at work already": found.queued,
        "queued with other scores asked for: run this command again when they have ended": found.other_scores,
        "under way outside of Slurm, or in another study's job": found.running,
    }
    lines += [f"{_counted(len(runs))} {why}" for why, runs in others.items() if runs]
    if submitted.refused is not None:
        rest = len(found.free) - sum(_runs(submitted))
        lines.append(f"{_counted(rest)} not submitted: {submitted.refused}")
    return lines


def size(batch: Batch, tasks: int) -> str:
    """`6 tasks of 2 runs, 2 at a time`."""
    each = max(map(len, batch.tasks))
    words = "1 task" if tasks == 1 else f"{tasks} tasks"
    words += " of 1 run" if each == 1 else f" of {each} runs"
    if batch.resources.side_by_side > 1:
        words += f", {batch.resources.side_by_side} side by side"
    return words if batch.at_once is None else f"{words}, {batch.at_once} at a time"


def _counted(runs: int) -> str:
    return "1 run" if runs == 1 else f"{runs} runs"


def _runs(submitted: Submitted) -> Iterator[int]:
    """Runs of each array that was accepted, but for those that another array of ours trains."""
    seen: dict[int, int] = {}
    for array in submitted.arrays:
        number = seen[id(array.batch)] = seen.get(id(array.batch), -1) + 1
        first, count = array.batch.chunks[number]
        yield sum(map(len, array.batch.tasks[first : first + count])) if array.batch.follows is None else 0


# ---------------------------------------------------------------------------------------------------------
# Following.


def follow(work: Work, names: Mapping[str, str], console: Console) -> int:
    """Show how the runs go until no job and no process is at any of them; return the exit code.

    `names`: run id → cell and seed, in words.  Ctrl-C ends the following, not the jobs.
    """
    store, scheduler = work.store, work.store.witness.scheduler
    told, quiet = set[str](), 0
    with Watch(names, 0, console) as watch:
        while True:
            began = time.monotonic()
            left = [run.run_id for run in work.left()]
            states = store.states([run.run_id for run in work.design.runs])
            for run_id, state in states.items():
                if state.status in OUTCOMES and run_id not in told:
                    told.add(run_id)
                    watch.finished(run_id, state, OK)
            if not left:
                return OK
            covered = {run for run, _ in covers(store, work.design.study.name, scheduler, states)}.intersection(left)
            running = [run for run in left if states[run].status == "running"]
            # While nobody answers, jobs may be there; and one that has just ended may have files yet unseen.
            quiet = 0 if covered or running or scheduler.jobs() is None else quiet + 1
            if quiet == 2:
                return code_of(work, left, states)
            watch.tick([(run, store.run(run).attempt(states[run].attempt)) for run in running], len(covered))
            time.sleep(max(FOLLOW_S, 5 * (time.monotonic() - began)))


def code_of(work: Work, left: Sequence[str], states: Mapping[str, RunState]) -> int:
    """The exit code for runs that are left when nobody is at them any longer."""
    codes = set()
    for run in work.design.runs:
        state = states[run.run_id]
        if run.run_id not in left:
            continue
        if state.trained is None:
            said = (state.ended or {}).get("exit")
            codes.add(STOPPED if state.status != "failed" else BAD_INPUT if said == BAD_INPUT else FAILED)
        else:
            folder, snapshots = work.store.run(run.run_id), state.trained["snapshots"]
            lacking = work.orders.unscored(folder, run.setting, snapshots, work.sources[run.setting.data])
            asked = [request.id for evaluation in lacking for request in evaluation.requests]
            # A score that was tried and failed stands in the report, and is no fault of the launch.
            codes.add(OK if all((folder.scores / f"{one}.json").exists() for one in asked) else STOPPED)
    return next((code for code in (FAILED, BAD_INPUT, STOPPED) if code in codes), OK)
