"""Whose process is at an attempt, and is it alive?

Asked in this order: the process itself, on its own host; the scheduler, of the job that it ran in; and where neither
can answer, the attempt's heartbeat.  Clocks of two hosts may differ by hours, so what an old heartbeat says is checked
by looking again, on the looker's own clock.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import time
from calendar import timegm
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.scheduler import Scheduler

SILENCE_S = 600.0
"""An attempt of which nothing else is known and that has been silent for so long is dead."""
WATCH_S = 20.0
"""Four heartbeats: one that looks old must stay unchanged for so long while it is watched, for clocks may differ."""
LOOK_S = 60.0
"""Between two looks at most so much silence counts: while a file server hangs, nobody can beat and nobody can look."""
SKEW_S = 7200.0
"""Clocks may differ by less than this."""
DAY_S = 86400.0
"""No clock is wrong by more than this, time zones mistaken for others included."""


@functools.cache
def boot_id() -> str:
    """What changes when this host restarts."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return "unknown"


@functools.cache
def pid_namespace() -> str:
    """What differs between containers on one host, each of which counts its own processes."""
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return "unknown"


def started(pid: int) -> str | None:
    """When the process started, in the kernel's ticks (a pid may be used again); None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        if Path("/proc/self").exists():
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return "unknown"
    return None if fields[0] == "Z" else fields[19]


def this_process() -> dict[str, Any]:
    """Identify this process, and the Slurm job that it is a task of, for `owner.json`."""
    pid = os.getpid()
    owner = {
        "host": socket.gethostname(),
        "boot_id": boot_id(),
        "pid_namespace": pid_namespace(),
        "pid": pid,
        "started": started(pid),
    }
    job = this_job()
    return {**owner, "job": job} if job else owner


def this_job() -> dict[str, Any] | None:
    """The Slurm job that this process is a task of: id (`12`, or `12_3`), restarts, cluster; None outside of one."""
    said = os.environ
    if "SLURM_JOB_ID" not in said:
        return None
    array, task = said.get("SLURM_ARRAY_JOB_ID"), said.get("SLURM_ARRAY_TASK_ID")
    return {
        "id": f"{array}_{task}" if array and task else said["SLURM_JOB_ID"],
        "restarts": int(said.get("SLURM_RESTART_COUNT") or 0),
        "cluster": said.get("SLURM_CLUSTER_NAME"),
    }


class Witness:
    """Judges whether attempts are alive; remembers what it saw, so one that is kept judges better."""

    def __init__(self, scheduler: Scheduler | None = None) -> None:
        self.scheduler = scheduler or Scheduler()
        self.suspects: set[Path] = set()
        """Attempts taken for alive whose heartbeat looks old: after `WATCH_S` of further looks they are judged."""
        self._seen: dict[Path, _Seen] = {}

    def is_alive(self, folder: Path, owner: Mapping[str, Any] | None) -> bool:
        """Whether the attempt in `folder`, which has not ended, is still under way.  `owner`: its owner.json."""
        self.suspects.discard(folder)
        owner = owner or {}
        said = by_process(owner)
        if said is None:
            said = self.by_job(owner)
            if said and not self.by_heartbeat(folder, owner):
                self.suspects.discard(folder)
                return self._silent_s(folder) < SILENCE_S  # a job may live on without its process: a shell does
        return self.by_heartbeat(folder, owner) if said is None else said

    def by_job(self, owner: Mapping[str, Any]) -> bool | None:
        """What the scheduler says; None when it does not know, or when the job is just ending."""
        own = owner.get("job")
        if not isinstance(own, dict) or own.get("cluster") not in (None, self.scheduler.cluster()):
            return None
        identifier = str(own.get("id"))
        job = (self.scheduler.jobs() or {}).get(identifier)
        if job is None:  # forgotten, which alone proves nothing
            return False if identifier in (self.scheduler.ended([identifier]) or {}) else None
        if not job.live or job.waiting:
            return False
        if not job.running:
            return None
        claimed = _seconds(owner.get("claimed"))
        if claimed is not None and job.started is not None and job.started > claimed + SKEW_S:
            return False  # ids are given anew: this job is another one
        return job.restarts == own.get("restarts")

    def by_heartbeat(self, folder: Path, owner: Mapping[str, Any]) -> bool:
        """What the heartbeat says; before the first beat the claim speaks."""
        with contextlib.suppress(OSError):
            os.listdir(folder)  # a file server's client looks again at a folder that is listed, not before
        for name in ("alive", "owner.json"):
            with contextlib.suppress(OSError), (folder / name).open("rb") as file:
                beat = file.read(), os.fstat(file.fileno()).st_mtime
                break
        else:
            return False
        clock = time.monotonic()
        seen = self._seen.get(folder)
        if seen is None or beat[0] != seen.beat[0] or beat[1] > seen.beat[1]:
            self._seen[folder] = seen = _Seen(beat, clock, known=seen is not None)
        else:
            seen.silent += min(clock - seen.looked, LOOK_S)
            seen.looked = clock
        age = time.time() - beat[1]
        if seen.silent >= SILENCE_S or age > DAY_S or _before_boot(owner, beat[1]):
            return False
        if seen.known or -DAY_S < age < SILENCE_S:
            return True
        if seen.silent >= WATCH_S:
            return False
        self.suspects.add(folder)
        return True

    def _silent_s(self, folder: Path) -> float:
        """For how long it has been seen not to beat."""
        seen = self._seen.get(folder)
        return seen.silent if seen else 0.0


class _Seen:
    """A heartbeat as last seen."""

    def __init__(self, beat: tuple[bytes, float], looked: float, known: bool) -> None:
        self.beat, self.looked, self.silent = beat, looked, 0.0
        self.known = known
        """It was seen to change."""


def by_process(owner: Mapping[str, Any]) -> bool | None:
    """What this host's kernel says; None for a process of another host, container or boot."""
    here = {"host": socket.gethostname(), "boot_id": boot_id()}
    if any(owner.get(key) != value for key, value in here.items()):
        return None
    if owner.get("pid_namespace", pid_namespace()) != pid_namespace():
        return None
    pid = owner.get("pid")
    return isinstance(pid, int) and started(pid) == owner.get("started")


def _before_boot(owner: Mapping[str, Any], beat: float) -> bool:
    """Whether the owner ran on this host, and has not been heard of since it restarted."""
    if owner.get("host") != socket.gethostname() or owner.get("boot_id") == boot_id():
        return False
    with contextlib.suppress(OSError, ValueError):
        return beat < time.time() - float(Path("/proc/uptime").read_text().split()[0])
    return False


def _seconds(stamp: object) -> float | None:
    with contextlib.suppress(TypeError, ValueError):
        return float(timegm(time.strptime(str(stamp), "%Y-%m-%dT%H:%M:%SZ")))
    return None
