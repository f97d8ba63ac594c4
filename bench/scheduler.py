"""What Slurm says of this user's jobs: scontrol, and sacct of those that scontrol has forgotten.

Every question changes nothing, is bounded in time and never raises: where Slurm is absent, down or slow, the answer
is None, and whoever asked judges by files.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

TIMEOUT_S = 8.0
"""A question not answered by then has no answer."""
FRESH_S = 5.0
"""So long an answer is given again without asking."""
SILENT_S = 30.0
"""So long a scheduler that did not answer is not asked again."""

ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "OUT_OF_MEMORY"}
ENDED |= {"PREEMPTED", "REVOKED", "TIMEOUT"}
WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
RUNNING = {"RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING"}


class Job(NamedTuple):
    """One job, or one task of an array."""

    id: str
    """`12`, or `12_3` for task 3 of array 12."""
    state: str
    """In Slurm's word: PENDING, RUNNING, TIMEOUT, …"""
    reason: str = ""
    restarts: int = 0
    exit: str = ""
    """`code:signal`."""
    comment: str = ""
    started: float | None = None
    """When it was last started, seconds since 1970; of a job that waits: when Slurm expects to."""

    @property
    def live(self) -> bool:
        """Whether it waits, runs or is about to end; so is one in a state of which this code does not know."""
        return self.state not in ENDED

    @property
    def waiting(self) -> bool:
        """Whether nothing of it runs, and it may yet start."""
        return self.state in WAITING

    @property
    def running(self) -> bool:
        """Whether its processes are there.  (One that is COMPLETING is neither waiting nor surely running.)"""
        return self.state in RUNNING


Ask = Callable[[Sequence[str]], str | None]


def ask(command: Sequence[str]) -> str | None:
    """Run a command and return what it printed; None when it is not there, fails, or takes too long."""
    plain = {"LC_ALL": "C", "SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"}  # the last: lists of tasks, uncut
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, env={**os.environ, **plain}
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


class Scheduler:
    """Slurm, as far as it can be asked from here."""

    def __init__(self, ask: Ask = ask) -> None:
        self._ask = ask
        self._jobs: dict[str, Job] | None = None
        self._asked: float | None = None
        self._cluster: str | None = None
        self._ended: dict[str, Job] = {}
        self._looked_up: dict[str, float] = {}
        self._no_accounting_until = 0.0

    def jobs(self) -> dict[str, Job] | None:
        """This user's jobs that Slurm still knows, ended ones among them, by id; None when nobody answers."""
        fresh = SILENT_S if self._jobs is None else FRESH_S
        if self._asked is None or time.monotonic() - self._asked >= fresh:
            said = self._ask(["scontrol", "--all", "--oneliner", "show", "job"])
            self._jobs = None if said is None else {job.id: job for job in parse(said, os.getuid())}
            self._asked = time.monotonic()
        return self._jobs

    def forget(self) -> None:
        """Ask anew at the next question: a job was just submitted or cancelled."""
        self._asked = None

    def cluster(self) -> str | None:
        """The name of the cluster that answers; None when nobody does."""
        if self._cluster is None and self.jobs() is not None:
            named = re.search(r"^ClusterName\s*=\s*(\S+)", self._ask(["scontrol", "show", "config"]) or "", re.M)
            self._cluster = named.group(1) if named else None
        return self._cluster

    def ended(self, ids: Iterable[str]) -> dict[str, Job] | None:
        """Those of the jobs that accounting says have ended; None when there is no accounting that answers."""
        wanted, now = list(ids), time.monotonic()
        due = {one for one in wanted if one not in self._ended and now >= self._looked_up.get(one, 0.0)}
        if due:
            if now < self._no_accounting_until:
                return None
            arrays = ",".join(sorted({one.partition("_")[0] for one in due}))
            columns = "JobID,State,ExitCode"
            said = self._ask(["sacct", "-n", "-P", "-X", "-j", arrays, "-o", columns])
            if said is None:
                self._no_accounting_until = now + SILENT_S
                return None
            self._ended |= {job.id: job for job in parse_accounting(said) if not job.live}
            self._looked_up |= dict.fromkeys(due, now + SILENT_S)
        return {one: self._ended[one] for one in wanted if one in self._ended}


# ---------------------------------------------------------------------------------------------------------
# What the commands print.

WORDS = ("JobId", "ArrayJobId", "ArrayTaskId", "UserId", "JobState", "Reason", "Restarts", "ExitCode", "StartTime")
_FIELD = {name: re.compile(rf"(?:^|\s){name}=(\S*)") for name in (*WORDS, "Comment")}


def parse(said: str, uid: int) -> Iterator[Job]:
    """Read what `scontrol -o show job` prints: the jobs of one user, each task of an array by itself."""
    owned = f"({uid})"
    for line in said.splitlines():
        if owned not in line:
            continue
        word = {name: found.group(1) if (found := pattern.search(line)) else "" for name, pattern in _FIELD.items()}
        if not word["UserId"].endswith(owned) or not word["JobState"]:
            continue
        started = word["StartTime"]
        job = Job(
            word["JobId"],
            word["JobState"],
            word["Reason"],
            int(word["Restarts"]) if word["Restarts"].isdecimal() else 0,
            word["ExitCode"],
            word["Comment"],
            float(started) if started.isdecimal() else None,
        )
        if not word["ArrayTaskId"]:
            yield job
        for task in tasks(word["ArrayTaskId"]):
            yield job._replace(id=f"{word['ArrayJobId']}_{task}")


def parse_accounting(said: str) -> Iterator[Job]:
    """Read what `sacct -n -P -o JobID,State,ExitCode` prints."""
    for line in said.splitlines():
        identifier, _, rest = line.partition("|")
        state, _, code = rest.partition("|")
        array, bracket, listed = identifier.partition("_[")
        job = Job(identifier, state.split(" ")[0], exit=code)  # `CANCELLED by 1000`
        if not bracket:
            yield job
        for task in tasks(listed.rstrip("]")):
            yield job._replace(id=f"{array}_{task}")


def tasks(listed: str) -> Iterator[int]:
    """Expand a list of tasks as Slurm writes it: `0,2-3,8-12:2%4` is 0, 2, 3, 8, 10, 12."""
    for part in filter(None, listed.partition("%")[0].split(",")):
        found = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if found:
            first, last, step = found.groups()
            yield from range(int(first), int(last or first) + 1, int(step or 1))
