"""Who works on a study of the campaign, found by what their commands say; and how each can be hurt.

A process is signalled by its descriptor and its command is read again first, so nobody else's is ever hit.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.files import read_json
from bench.store import RunFolder

ELSEWHERE = "elsewhere"


class Worker(NamedTuple):
    """One process at work in a place."""

    pid: int
    command: tuple[str, ...]

    @property
    def run(self) -> RunFolder | None:
        """The run that it is at; None for one that is at none."""
        return RunFolder(Path(self.command[3])) if self.is_job and "--prepare" not in self.command else None

    @property
    def is_job(self) -> bool:
        """Whether it trains and scores, or prepares."""
        return self.command[1:3] == ("-m", "bench.job")

    @property
    def is_task(self) -> bool:
        """Whether it is the supervisor in a Slurm task."""
        return "submitit.core._submit" in self.command

    @property
    def is_driver(self) -> bool:
        """Whether it is a command that a user has given."""
        return "--executor" in self.command

    @property
    def attempt(self) -> Path | None:
        """The folder of its attempt."""
        if self.run is None:
            return None
        return self.run.attempt(int(self.command[self.command.index("--attempt") + 1]))

    @property
    def phase(self) -> str:
        """starting, training or scoring."""
        if self.run is None or self.attempt is None:
            return "starting"
        if self.run.trained.exists():
            return "scoring"
        with contextlib.suppress(OSError):
            if (self.attempt / "train.jsonl").stat().st_size:
                return "training"
        return "starting"

    def send(self, number: int) -> bool:
        """Send it a signal; say whether it was there."""
        try:
            handle = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if command_of(self.pid) != self.command:
                return False
            signal.pidfd_send_signal(handle, number)
            return True
        except OSError:
            return False
        finally:
            os.close(handle)


def command_of(pid: int) -> tuple[str, ...]:
    """The words of a process's command; () once it is gone."""
    with contextlib.suppress(OSError):
        return tuple(Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1])
    return ()


def at_work(place: Path) -> list[Worker]:
    """All processes of Python whose command names something under a place."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            command = command_of(int(entry))
            if any(word.startswith(f"{place}/") for word in command) and "python" in Path(command[0]).name:
                found.append(Worker(int(entry), command))
    return found


# ---------------------------------------------------------------------------------------------------------
# Faults: each says what happened, or nothing.

Fault = Callable[["Scene"], str]


class Scene(NamedTuple):
    """What a fault may touch."""

    place: Path
    chance: random.Random
    victim: Worker
    begin: Callable[[], object]
    """Starts another driver."""


class Choice(NamedTuple):
    """A fault that may be drawn."""

    who: str
    fits: Callable[[Worker], bool]
    """Whether it can befall a process."""
    fault: Fault


def is_at_a_run(worker: Worker) -> bool:
    return worker.run is not None


def is_training(worker: Worker) -> bool:
    return worker.phase == "training"


def is_preparing(worker: Worker) -> bool:
    return worker.is_job and worker.run is None


def is_driver(worker: Worker) -> bool:
    return worker.is_driver


def is_task(worker: Worker) -> bool:
    return worker.is_task


def signalled(number: signal.Signals) -> Fault:
    """Send the victim a signal."""
    return lambda scene: number.name if scene.victim.send(number) else ""


def pause(scene: Scene) -> str:
    """SIGSTOP, and on again a while later."""
    done = scene.victim.send(signal.SIGSTOP)
    time.sleep(scene.chance.uniform(0.2, 1.5))
    scene.victim.send(signal.SIGCONT)
    return "paused" if done else ""


def power_cut(scene: Scene) -> str:
    """SIGKILL to all at once."""
    hit = [worker.send(signal.SIGKILL) for worker in at_work(scene.place)]
    return "all of them SIGKILL at once" if any(hit) else ""


def tear_checkpoint(scene: Scene) -> str:
    """SIGKILL, and its newest checkpoint is torn or damaged."""
    attempt = scene.victim.attempt
    if attempt is None or not _killed(scene.victim):
        return ""
    with contextlib.suppress(IndexError, FileNotFoundError):  # the next attempt may have ended training meanwhile
        newest = sorted(attempt.glob("checkpoints/*.pt"))[-1]
        content = bytearray(newest.read_bytes())
        if scene.chance.random() < 0.5:
            del content[scene.chance.randrange(len(content)) :]
        else:
            content[scene.chance.randrange(len(content))] ^= 0xFF
        with newest.open("r+b") as file:
            file.write(content)
            file.truncate()
        return "SIGKILL, newest checkpoint damaged"
    return signal.SIGKILL.name


def lose_log(scene: Scene) -> str:
    """SIGKILL, and of its log only what stood at its newest checkpoint is kept, with half a line: power went."""
    attempt, run = scene.victim.attempt, scene.victim.run
    if attempt is None or run is None or not _killed(scene.victim):
        return ""
    kept, log = sorted(attempt.glob("checkpoints/*.pt")), attempt / "train.jsonl"
    lines = log.read_bytes().splitlines(keepends=True) if log.exists() else []
    if kept and lines and not run.trained.exists():
        safe = int(kept[-1].name[:9]) - json.loads(lines[0])["step"] + 1
        if len(lines) > safe:
            os.truncate(log, sum(map(len, lines[:safe])) + len(lines[safe]) // 2)
            return "SIGKILL, log torn after its checkpoint"
    return signal.SIGKILL.name


def _killed(worker: Worker) -> bool:
    if not worker.send(signal.SIGKILL):
        return False
    while command_of(worker.pid) == worker.command:
        time.sleep(0.01)
    return True


def hang(scene: Scene) -> str:
    """All hang, so long that another host takes over; then they come back and know nothing of it."""
    hung = [worker for worker in at_work(scene.place) if worker.send(signal.SIGSTOP)]
    told = [attempt for worker in hung if (attempt := worker.attempt) is not None and attempt.is_dir()]
    owners = {attempt: _to_elsewhere(attempt) for attempt in told}
    scene.begin()
    until = time.monotonic() + 15
    while time.monotonic() < until and not all(map(_is_taken_over, told)):
        time.sleep(0.05)
    taken_over = any(map(_is_taken_over, told))
    time.sleep(scene.chance.uniform(0.0, 2.0))
    for worker in hung:
        worker.send(signal.SIGCONT)
    for attempt, (content, when) in owners.items():  # where nobody has come, it is this host's again
        if (read_json(attempt / "owner.json") or {}).get("host") == ELSEWHERE:
            _replace(attempt / "owner.json", content, when)
    return "hung, taken over, back as zombies" if taken_over else "paused"


def _to_elsewhere(attempt: Path) -> tuple[bytes, float]:
    """Have an attempt look as another host's, not heard of for days; return what its owner was, and since when."""
    owner, long_ago = attempt / "owner.json", time.time() - 2 * 86400.0
    content, when = owner.read_bytes(), owner.stat().st_mtime
    said = {**json.loads(content), "host": ELSEWHERE, "boot_id": ELSEWHERE}
    said.pop("job", None)
    _replace(owner, json.dumps(said).encode(), long_ago)
    with contextlib.suppress(FileNotFoundError):
        os.utime(attempt / "alive", (long_ago, long_ago))
    return content, when


def _replace(path: Path, content: bytes, when: float) -> None:
    part = path.with_name(".owner.part")
    part.write_bytes(content)
    os.utime(part, (when, when))
    part.replace(path)


def _is_taken_over(attempt: Path) -> bool:
    return any(number > int(attempt.name) for number in RunFolder(attempt.parent.parent).attempts())
