"""`--executor slurm`: unfinished runs → job arrays.  Submits and returns; `bench.launch.task` works in the jobs."""

from __future__ import annotations

import math
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.design import Run
from bench.files import StoreError, now, write_bytes
from bench.harmless import complain
from bench.launch import sbatch
from bench.launch.sbatch import SlurmError
from bench.launch.submission import REPORT, Submission, SubmissionFolder, TaskResources, comment, new_id
from bench.orders import Stage
from bench.resources import Resources, Scoring, Slurm
from bench.site import Site
from bench.store import Store

MOST_TASKS = 1000
"""Of one array, even where the site allows more."""
SHORTEST_HOURS = 5 / 60
"""Slurm may give its signal a minute early; below this a task has no time to work in."""


class Limits(NamedTuple):
    """What the cluster allows and has."""

    tasks: int = MOST_TASKS
    """Tasks of one array."""
    has_gpus: bool = False


class Batch(NamedTuple):
    """Runs that are submitted alike: one submission, of one array or several."""

    stage: Stage
    tasks: tuple[tuple[str, ...], ...]
    chunks: tuple[tuple[int, int], ...]
    resources: TaskResources
    slurm: Slurm
    at_once: int | None
    """Tasks that may run at a time."""
    follows: int | None = None
    """The batch of equal shape whose tasks each task of this one waits for."""

    @property
    def runs(self) -> int:
        """How many runs it has."""
        return sum(map(len, self.tasks))


def limits() -> Limits:
    """Ask the cluster.  Raises SlurmError when it does not answer."""
    said = sbatch.config()
    most = int(found[0]) if (found := re.match(r"\d+", said.get("MaxArraySize", ""))) else MOST_TASKS + 1
    return Limits(max(1, min(most - 1, MOST_TASKS)), "gpu" in re.split(r"[,\s]", said.get("GresTypes", "")))


def too_short(resources: Resources) -> str | None:
    """Why jobs of this length cannot work; None for those that can."""
    shortest = max(SHORTEST_HOURS, ((resources.slurm or Slurm()).lead_s + 120) / 3600)
    scoring = (resources.slurm or Slurm()).scoring
    for said in (resources.hours, scoring.hours if scoring else None):
        if said is not None and said < shortest:
            minutes = math.ceil(60 * shortest)
            return f"a Slurm job of {60 * said:.3g} minutes would be told to leave as it begins: {minutes} at least"
    return None


# ---------------------------------------------------------------------------------------------------------
# The plan.


def batches(runs: Sequence[Run], trained: frozenset[str], resources: Resources, known: Limits) -> list[Batch]:
    """Plan the arrays for these runs, of which `trained` only lack scores."""
    slurm = resources.slurm or Slurm()
    groups: dict[tuple[Stage, int], list[str]] = {}
    for run in runs:
        stage: Stage = "all" if slurm.scoring is None else "score" if run.run_id in trained else "train"
        groups.setdefault((stage, run.setting.train.world_size), []).append(run.run_id)
    planned: list[Batch] = []
    for (stage, ranks), names in sorted(groups.items(), reverse=True):  # training before scoring
        has = task_resources(resources, ranks, known)
        planned.append(_batch(stage, names, has, resources, slurm, known))
        if stage == "train" and slurm.scoring is not None:
            planned.append(_scoring(planned[-1], len(planned) - 1, slurm, slurm.scoring))
    for number, batch in enumerate(planned):
        if batch.stage == "score" and batch.follows is None and slurm.scoring is not None:
            planned[number] = _scoring(batch, None, slurm, slurm.scoring)
    return planned


def task_resources(resources: Resources, ranks: int, known: Limits) -> TaskResources:
    """What one task needs for the runs that it has side by side, or for the ranks of one run."""
    slurm = resources.slurm or Slurm()
    asked = resources.gpus if resources.gpus is not None else int(known.has_gpus)
    beside = resources.runs_per_gpu if asked and ranks == 1 else 1
    beside = min(beside, resources.parallel or beside)
    cores = max(resources.cpus, resources.cpu_threads)
    nodes = math.ceil(ranks / (slurm.ranks_per_node or ranks))
    each = math.ceil(ranks / nodes)
    return TaskResources(
        side_by_side=beside,
        nodes=nodes,
        gpus=asked * each,
        cpus=cores * beside * each,
        cpu_threads=resources.cpu_threads,
        memory_gb=None if resources.memory_gb is None else resources.memory_gb * beside / nodes,
        minutes=None if resources.hours is None else math.ceil(60 * resources.hours),
        lead_s=slurm.lead_s,
        retries=resources.retries,
    )


def _batch(
    stage: Stage, names: Sequence[str], has: TaskResources, resources: Resources, slurm: Slurm, known: Limits
) -> Batch:
    each = slurm.runs_per_task or has.side_by_side
    tasks = tuple(tuple(names[first : first + each]) for first in range(0, len(names), each))
    chunks = tuple((first, min(known.tasks, len(tasks) - first)) for first in range(0, len(tasks), known.tasks))
    at_once = None if resources.parallel is None else max(1, resources.parallel // min(each, has.side_by_side))
    return Batch(stage, tasks, chunks, has, slurm, at_once)


def _scoring(batch: Batch, follows: int | None, slurm: Slurm, asked: Scoring) -> Batch:
    """The same tasks, scored by jobs of their own."""
    said = asked.model_dump(exclude_none=True, exclude={"partition", "hours"})
    minutes = None if asked.hours is None else math.ceil(60 * asked.hours)
    beside = batch.resources.side_by_side if asked.gpus != 0 else 1
    has = batch.resources.model_copy(update={**said, "minutes": minutes, "side_by_side": beside, "nodes": 1})
    return batch._replace(stage="score", resources=has, slurm=elsewhere(slurm, asked.partition), follows=follows)


def elsewhere(slurm: Slurm, partition: str | None) -> Slurm:
    """The same for another partition, without what was said of the first one's nodes."""
    if partition is None or partition == slurm.partition:
        return slurm
    of_nodes = ("constraint", "exclude", "reservation", "gpu_type")
    return slurm.model_copy(update={"partition": partition, **dict.fromkeys(of_nodes)})


# ---------------------------------------------------------------------------------------------------------
# Submitting.


class Array(NamedTuple):
    """One job array that sbatch has accepted."""

    job: str
    batch: Batch
    tasks: int


@dataclass
class Submitted:
    """What came of submitting; it grows as sbatch accepts."""

    arrays: list[Array]
    report: str | None = None
    """The job that rebuilds the report."""
    refused: SlurmError | None = None
    """What stopped it; what was accepted before stays."""
    no_report: Exception | None = None


class Submitter:
    """Submits the batches of one study."""

    def __init__(self, store: Store, study: str, orders: str, slurm: Slurm, site: Site, rebuild: Sequence[str]) -> None:
        """`orders`: as in `Submission.orders`; `rebuild`: the command that rebuilds the report."""
        self.store, self.study, self.orders = store, study, orders
        self.slurm, self.site, self.rebuild = slurm, site, rebuild

    def folder(self, identifier: str) -> SubmissionFolder:
        """A submission's folder, which need not exist yet."""
        return SubmissionFolder(self.store.study(self.study) / "submissions" / identifier)

    def submit(self, planned: Sequence[Batch]) -> Submitted:
        """Submit all, as far as Slurm and the disk go along."""
        submitted, jobs = Submitted([]), list[list[str]]()
        place = self.folder(new_id())
        first = place
        try:
            for batch in planned:
                jobs.append([])
                self._write(place, batch)
                for chunk, (_, tasks) in enumerate(batch.chunks):
                    after = dependency(planned, len(jobs) - 1, chunk, jobs)
                    job = _submit(place, chunk, self.script(place, batch, chunk, after))
                    jobs[-1].append(job)
                    submitted.arrays.append(Array(job, batch, tasks))
                place = self.folder(new_id())
        except SlurmError as error:
            submitted.refused = error
            if not error.passing and not jobs[-1]:
                shutil.rmtree(place.path)  # no job will ever ask for it
        except (StoreError, OSError) as error:
            submitted.refused = SlurmError(str(error), passing=True)
        if submitted.arrays:
            accepted = [array.job for array in submitted.arrays]
            try:
                submitted.report = _submit(first, REPORT, self.report_script(first, accepted))
            except (SlurmError, StoreError) as error:
                submitted.no_report = error
        return submitted

    def _write(self, place: SubmissionFolder, batch: Batch) -> None:
        place.write(
            Submission(
                id=place.path.name,
                study=self.study,
                created=now(),
                orders=self.orders,
                stage=batch.stage,
                tasks=batch.tasks,
                chunks=batch.chunks,
                resources=batch.resources,
                command=tuple(sys.argv),
            )
        )
        for chunk, (first, count) in enumerate(batch.chunks):
            sbatch.write_tasks(place.submitit, place.path, chunk, first, count)

    def script(self, place: SubmissionFolder, batch: Batch, chunk: int, after: str | None) -> str:
        """The text that sbatch gets for one array."""
        return sbatch.array_script(
            place.submitit,
            batch.resources,
            batch.slurm,
            self.site.setup,
            name=self.study,
            comment=comment(place.path.name, chunk),
            chunk=chunk,
            tasks=batch.chunks[chunk][1],
            at_once=batch.at_once,
            after=after,
        )

    def report_script(self, place: SubmissionFolder, jobs: Sequence[str]) -> str:
        """The text of the job that rebuilds the report when these have ended, however they did."""
        return sbatch.report_script(
            place.submitit,
            elsewhere(self.slurm, self.slurm.report.partition),
            self.site.setup,
            self.rebuild,
            name=f"{self.study}-report",
            comment=comment(place.path.name, REPORT),
            after="afterany:" + ":".join(jobs),
        )


def dependency(planned: Sequence[Batch], number: int, chunk: int, jobs: Sequence[Sequence[str]]) -> str | None:
    """What an array waits for: the training of its own runs; where runs are throttled, the array before it."""
    batch = planned[number]
    if batch.follows is not None:
        return f"aftercorr:{jobs[batch.follows][chunk]}"
    before = [job for other, listed in zip(planned, jobs, strict=False) if other.follows is None for job in listed]
    return f"afterany:{before[-1]}" if before and batch.at_once is not None else None


def _submit(place: SubmissionFolder, chunk: int | str, text: str) -> str:
    script = place.submitit / f"{chunk}.sh"
    write_bytes(script, text.encode())
    job = sbatch.sbatch(script)
    try:
        place.note_job(chunk, job)
    except StoreError as error:  # the job carries its submission's name, and is found by that
        complain(error)
    return job
