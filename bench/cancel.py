"""`python -m bench.cancel STUDY`: take runs of a study out of Slurm; what is done stays, and they can go on later.

First it is written that no task shall work on these runs; then the tasks that have nothing else left to do are
cancelled.  A run that is under way keeps a checkpoint where Slurm gives it the time.
"""

from __future__ import annotations

import argparse
import collections
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bench.command import OK, add_study_arguments, exit_code, open_design
from bench.files import StoreError
from bench.harmless import complain
from bench.launch import sbatch
from bench.launch.sbatch import SlurmError
from bench.launch.submission import REPORT, Claim, SubmissionFolder, folders, is_due, live_jobs, runs_of
from bench.store import Store

FAILED = 1
AT_ONCE = 500
"""Jobs that one scancel is given."""


class Cancelled(NamedTuple):
    """What was taken out."""

    runs: frozenset[str]
    """Runs that tasks will no longer work on."""
    jobs: list[str]
    """Jobs, tasks and whole arrays, to be cancelled."""
    in_jobs: frozenset[str]
    """Runs that live jobs of ours were submitted for, cancelled or not."""


def cancel(store: Store, study: str, runs: frozenset[str] | None) -> Cancelled:
    """Write that no task shall work on these runs, None for all; return what is to be cancelled in Slurm.

    Raises StoreError, and SlurmError when Slurm does not say which jobs there are: it is written all the same.
    """
    known = store.witness.scheduler.jobs()
    claims = collections.defaultdict(list)
    for claim in live_jobs(store.witness.scheduler):
        claims[claim.submission].append(claim)
    taken, jobs, in_jobs = set[str](), list[str](), set[str]()
    for place in folders(store, study):
        if known is not None and place.path.name not in claims:
            continue
        try:
            submission = place.read()
        except StoreError as error:  # the others' jobs are cancelled all the same
            complain(error)
            continue
        listed = frozenset(run for task in submission.tasks for run in task)
        asked = (listed if runs is None else listed & runs) - place.cancelled()
        for claim in claims[place.path.name]:
            here = runs_of(submission, int(claim.chunk), claim.job.id) if claim.chunk.isdecimal() else ()
            in_jobs |= set(here)
            due = (run for run in here if is_due(store.run(run), store.run(run).state(), submission, claim.job))
            taken |= asked.intersection(due)
        if asked:
            place.cancel(asked)
        jobs += idle(store, place, claims[place.path.name], everything=runs is None)
    if known is None:
        raise SlurmError(
            "scontrol did not say which jobs there are. It is written that no task shall work on these runs; "
            "the same command, in a while, cancels the tasks as well",
            passing=True,
        )
    return Cancelled(frozenset(taken), jobs, frozenset(in_jobs))


def idle(store: Store, place: SubmissionFolder, claims: Sequence[Claim], *, everything: bool) -> list[str]:
    """The jobs of a submission that have nothing left to do; `everything`: the report's job too."""
    submission, cancelled = place.read(), place.cancelled()
    arrays: dict[str, list[tuple[str, bool]]] = collections.defaultdict(list)
    for claim in claims:
        job = claim.job
        if claim.chunk == REPORT:
            rest = not everything
        else:
            left = [run for run in runs_of(submission, int(claim.chunk), job.id) if run not in cancelled]
            rest = any(is_due(store.run(run), store.run(run).state(), submission, job) for run in left)
        arrays[job.id.partition("_")[0]].append((job.id, rest))
    whole = {array for array, tasks in arrays.items() if not any(rest for _, rest in tasks)}
    single = [job for array, tasks in arrays.items() if array not in whole for job, rest in tasks if not rest]
    return [*sorted(whole), *single]


def scancel(store: Store, jobs: Sequence[str]) -> None:
    """Cancel jobs; those that have ended meanwhile are none of ours.  Raises SlurmError."""
    for first in range(0, len(jobs), AT_ONCE):
        some = jobs[first : first + AT_ONCE]
        try:
            sbatch.ask(["scancel", *some])
        except SlurmError:
            store.witness.scheduler.forget()
            if left := still_there(store, some):
                sbatch.ask(["scancel", *left])
    store.witness.scheduler.forget()


def still_there(store: Store, jobs: Iterable[str]) -> list[str]:
    """Those of the jobs that are live."""
    known = store.witness.scheduler.jobs() or {}
    live = {job.id for job in known.values() if job.live} | {
        i.partition("_")[0] for i, job in known.items() if job.live
    }
    return [job for job in jobs if job in live]


def main() -> int:
    """Cancel, and say what."""
    parser = argparse.ArgumentParser(prog="python -m bench.cancel", description=__doc__.split("\n\n")[0])
    add_study_arguments(parser)
    given = parser.parse_args()
    design, store = open_design(given)
    part = given.only or given.limit is not None
    asked = frozenset(run.run_id for run in design.runs) if part else None
    try:
        found = cancel(store, design.study.name, asked)
        scancel(store, found.jobs)
    except SlurmError as error:
        complain(error)
        return FAILED
    for run in design.runs:
        state = store.run(run.run_id).state()
        elsewhere = run.run_id not in found.in_jobs
        if state.status == "running" and elsewhere and (asked is None or run.run_id in asked):
            print(f"{run.run_id} is under way outside of this study's jobs: stop the process that started it")
    if not found.runs and not found.jobs:
        print("nothing of it is in Slurm's queue")
    else:
        print(f"{len(found.runs)} runs taken out; cancelled in Slurm: {', '.join(found.jobs) or 'no task'}")
    return OK


if __name__ == "__main__":
    sys.exit(exit_code(main))
