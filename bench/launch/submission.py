"""What was submitted to Slurm, as files: results/studies/<study>/submissions/<id>/.

    submission.json     which runs, in which tasks, by which sbatch; written before the first sbatch
    jobs/<chunk>.json   the array job that a chunk became, noted after sbatch has returned
    cancelled/<id>.json runs that a task shall no longer work on, one file a `bench.cancel`
    lives/<job>.json    what a task had kept when it last had itself started again
    submitit/           sbatch scripts, submitit's own files, logs; closed to others

A job carries `bench:<submission>:<chunk>` as its comment.  What a submission still stands for goes by the comments
of live jobs alone, so a driver that died before it noted a job, or job ids that start anew, change nothing.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field, ValidationError

from bench.files import StoreError, read_json, write_bytes, write_json
from bench.orders import Stage
from bench.scheduler import Job, Scheduler
from bench.setting import PositiveFloat, PositiveInt, Strict
from bench.store import RunFolder, RunState, Store

Id = Annotated[str, Field(pattern=r"^[0-9A-HJKMNP-TV-Z]{26}$")]
RunId = Annotated[str, Field(pattern=r"^[0-9a-z]+$")]
REPORT = "report"
"""In a comment, in place of the chunk: the job that rebuilds the report."""
_COMMENT = re.compile(r"bench:([0-9A-HJKMNP-TV-Z]{26}):(\w+)")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id() -> str:
    """A ULID: sorts by the time that it was made."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def comment(submission: str, chunk: int | str) -> str:
    """The comment of the job of one chunk, or of the report."""
    return f"bench:{submission}:{chunk}"


class TaskResources(Strict):
    """What one task of the array has, and how it shares it out."""

    side_by_side: PositiveInt = 1
    """Runs at a time; the gpus, cpus and memory below are the task's, for all of them together."""
    nodes: PositiveInt = 1
    """The gpus, cpus and memory are of each; the task's own process is on the first."""
    gpus: Annotated[int, Field(ge=0)] = 0
    cpus: PositiveInt = 1
    cpu_threads: PositiveInt = 1
    """Threads of one run's arithmetic."""
    memory_gb: PositiveFloat | None = None
    minutes: PositiveInt | None = None
    """Time limit of the task; None: the partition's."""
    lead_s: PositiveInt = 90
    """How long before its time limit a task gets SIGUSR2."""
    retries: Annotated[int, Field(ge=0)] = 1
    """Further attempts at a run that failed."""


class Submission(Strict):
    """What submission.json says."""

    id: Id
    study: Annotated[str, Field(pattern=r"^[^/\x00-\x1f]+$")]
    created: str
    orders: Annotated[str, Field(pattern=r"^orders/[0-9a-z]+\.json$")]
    """The orders of its runs, from the study's folder."""
    stage: Stage = "all"
    """What its tasks do with a run: train it, score it, or both."""
    tasks: tuple[tuple[RunId, ...], ...]
    """The runs that each task works through, in turn."""
    chunks: tuple[tuple[int, PositiveInt], ...]
    """First task and number of tasks of each array job."""
    resources: TaskResources
    command: tuple[str, ...] = ()
    """The command that submitted it."""


class Queued(NamedTuple):
    """The live job that will work on a run."""

    job: str
    state: str
    """Slurm's word: PENDING, RUNNING, …"""
    reason: str
    """Why it is pending, in Slurm's word: Priority, Resources, BeginTime, …"""
    submission: str = ""
    stage: Stage = "all"
    orders: str = ""
    """The orders that it follows, as in `Submission.orders`."""


class SubmissionFolder:
    """results/studies/<study>/submissions/<id>/."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.jobs = path / "jobs"
        self.submitit = path / "submitit"

    @property
    def store(self) -> Path:
        """The results folder that it lies in."""
        return self.path.parents[3]

    def read(self) -> Submission:
        """Read submission.json.  Raises StoreError when it is not there or not a submission of this place."""
        path = self.path / "submission.json"
        try:
            submission = Submission.model_validate_json(path.read_bytes())
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}. Start the study again with python -m bench.run.") from error
        except ValidationError as error:
            raise StoreError(f"{path}: not a submission: {error}") from error
        if submission.id != self.path.name or submission.study != self.path.parents[1].name:
            raise StoreError(f"{path}: is of another submission or study: it was moved or edited.")
        return submission

    def write(self, submission: Submission) -> None:
        """Write submission.json, with what it needs around it.  Raises StoreError."""
        self.submitit.mkdir(parents=True, mode=0o700)
        write_bytes(self.path / "submission.json", (submission.model_dump_json(indent=1) + "\n").encode())

    def orders(self, submission: Submission) -> Path:
        """Path of its orders."""
        return self.path.parents[1] / submission.orders

    def note_job(self, chunk: int | str, job: str) -> None:
        """Note the job that a chunk became.  Raises StoreError."""
        write_json(self.jobs / f"{chunk}.json", {"job": job})

    def noted_jobs(self) -> dict[str, str]:
        """Chunk → the job that was noted for it; job ids may have been given anew since."""
        noted = {path.stem: read_json(path) or {} for path in sorted(self.jobs.glob("*.json"))}
        return {chunk: str(content["job"]) for chunk, content in noted.items() if "job" in content}

    def fruitless_lives(self, job: str, kept: str) -> int:
        """How many times in a row a job has ended with no more kept than the time before; this end is noted.

        `kept`: differs as soon as anything more is.  Raises StoreError.
        """
        path = self.path / "lives" / f"{job}.json"
        before = read_json(path) or {}
        lives = int(before.get("fruitless", 0)) + 1 if before.get("kept") == kept else 0
        write_json(path, {"kept": kept, "fruitless": lives})
        return lives

    def cancel(self, runs: frozenset[str]) -> None:
        """Say that no task shall work on these runs any longer.  Raises StoreError."""
        write_json(self.path / "cancelled" / f"{new_id()}.json", {"runs": sorted(runs)})

    def cancelled(self) -> frozenset[str]:
        """Runs that were cancelled: a task does not start them, and stops those that are under way."""
        said = (read_json(path) or {} for path in (self.path / "cancelled").glob("*.json"))
        return frozenset(run for content in said for run in content.get("runs", ()))


def folders(store: Store, study: str) -> list[SubmissionFolder]:
    """All submissions of a study, the oldest first."""
    place = store.study(study) / "submissions"
    return [SubmissionFolder(path.parent) for path in sorted(place.glob("*/submission.json"))]


def last_jobs(store: Store, study: str) -> dict[str, str]:
    """The job that was last noted for each run that was submitted and not cancelled; it may have ended long ago."""
    found: dict[str, str] = {}
    for place in folders(store, study):
        with contextlib.suppress(StoreError):
            submission, cancelled = place.read(), place.cancelled()
            for chunk, job in place.noted_jobs().items():
                if chunk.isdecimal() and int(chunk) < len(submission.chunks):
                    first, count = submission.chunks[int(chunk)]
                    runs = (run for task in submission.tasks[first : first + count] for run in task)
                    found.update({run: job for run in runs if run not in cancelled})
    return found


# ---------------------------------------------------------------------------------------------------------
# What live jobs will still work on.


class Claim(NamedTuple):
    """A live job of a submission."""

    submission: str
    chunk: str
    job: Job


def live_jobs(scheduler: Scheduler) -> list[Claim]:
    """This user's live jobs that were submitted by us, for whatever study; none when nobody answers."""
    found = []
    for job in (scheduler.jobs() or {}).values():
        if job.live and (ours := _COMMENT.fullmatch(job.comment)):
            found.append(Claim(ours[1], ours[2], job))
    return found


def ended_for_good(folder: RunFolder, job: str) -> bool:
    """Whether the newest attempt at a run ended in this very job, and the job will not try it again.

    Its supervisor says so: a run that was stopped with the job goes on when that is started again, and one that
    failed while tries are left.
    """
    newest = max(folder.attempts(), default=0)
    ended = read_json(folder.attempt(newest) / "ended.json") if newest else None
    if not ended or ended.get("again"):
        return False
    owner = read_json(folder.attempt(newest) / "owner.json") or {}
    return bool((owner.get("job") or {}).get("id") == job)


def covers(
    store: Store, study: str, scheduler: Scheduler, states: Mapping[str, RunState]
) -> Iterator[tuple[str, Queued]]:
    """Each run of `states` with each live job of a submission of this study that will train or score it."""
    read: dict[str, tuple[Submission, frozenset[str]] | None] = {}
    for claim in live_jobs(scheduler):
        if claim.submission not in read:
            place = SubmissionFolder(store.study(study) / "submissions" / claim.submission)
            read[claim.submission] = None  # of another study, or damaged
            with contextlib.suppress(StoreError):
                read[claim.submission] = (place.read(), place.cancelled())
        if (found := read[claim.submission]) is None or not claim.chunk.isdecimal():
            continue
        submission, cancelled = found
        for run in runs_of(submission, int(claim.chunk), claim.job.id):
            if run in states and run not in cancelled and is_due(store.run(run), states[run], submission, claim.job):
                said = (claim.job.id, claim.job.state, claim.job.reason)
                yield run, Queued(*said, submission.id, submission.stage, submission.orders)


def runs_of(submission: Submission, chunk: int, job: str) -> tuple[str, ...]:
    """The runs of one task of an array job, "12_3"; () when the submission has no such task."""
    number = job.partition("_")[2]
    if chunk >= len(submission.chunks) or not number.isdecimal():
        return ()
    first, count = submission.chunks[chunk]
    return submission.tasks[first + int(number)] if int(number) < count else ()


def is_due(folder: RunFolder, state: RunState, submission: Submission, job: Job) -> bool:
    """Whether a live job of a submission will do something for one of its runs."""
    if submission.stage == ("score" if state.trained is None else "train"):
        return False
    return not (state.attempt and ended_for_good(folder, job.id))


def covered(store: Store, study: str, scheduler: Scheduler, states: Mapping[str, RunState]) -> dict[str, Queued]:
    """Which runs of `states` a live job of a submission of this study will still work on.

    Where several jobs will: one that is running already, else the oldest submission's.
    """
    found: dict[str, Queued] = {}
    for run, queued in covers(store, study, scheduler, states):
        best = found.setdefault(run, queued)
        if _rank(queued) < _rank(best):
            found[run] = queued
    return found


def _rank(queued: Queued) -> tuple[bool, str, str]:
    return queued.state != "RUNNING", queued.submission, queued.job
