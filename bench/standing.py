"""How the runs of a study stand: what their files say, then Slurm's queue; nothing is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from bench.design import Design
from bench.launch import submission
from bench.store import RunState, Store

WAITING = ("missing", "stopped", "failed")
"""Statuses of runs that a job in the queue may yet bring further."""


def states(design: Design, store: Store, *, settled: bool = False) -> dict[str, RunState]:
    """The status of each run of the design, by its id; what a live job will take up is `queued`.

    `settled`: attempts whose heartbeats look old are watched first, which takes `liveness.WATCH_S` seconds.
    """
    found = store.states(run.run_id for run in design.runs)
    if settled:
        found = store.settle(found)
    waiting = {run_id: state for run_id, state in found.items() if state.status in WAITING}
    study = design.study.name
    if waiting and submission.folders(store, study):
        if store.witness.scheduler.jobs() is None:
            for run_id, noted in submission.last_jobs(store, study).items():
                if run_id in waiting:
                    cause = f"job {noted} may stand for it: Slurm does not answer"
                    if waiting[run_id].cause:
                        cause += f"; before: {waiting[run_id].cause}"
                    found[run_id] = dataclasses.replace(waiting[run_id], cause=cause)
        for run_id, job in submission.covered(store, study, store.witness.scheduler, waiting).items():
            cause = f"job {job.job} is {job.state.lower()}"
            if job.reason not in ("", "None"):
                cause += f" ({job.reason})"
            if waiting[run_id].cause:
                cause += f"; before: {waiting[run_id].cause}"
            found[run_id] = dataclasses.replace(waiting[run_id], status="queued", cause=cause, job=job.job)
    return found


def unanswered(design: Design, store: Store, found: Mapping[str, RunState]) -> str | None:
    """What to add where Slurm was asked and did not answer: runs may be in its queue without our knowing."""
    doubtful = sum(state.status in WAITING for state in found.values())
    if not doubtful or not submission.folders(store, design.study.name):
        return None
    if store.witness.scheduler.jobs() is not None:
        return None
    return f"Slurm does not answer here: of the {doubtful} runs that wait, some may be in its queue"
