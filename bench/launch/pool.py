"""The supervisor: keeps some runs going side by side, each in its own subprocess; of this machine, or of a Slurm task.

A child that dies does not hurt the others; children stop when the supervisor is gone, since it holds the other
end of their standard input.  The supervisor never imports torch, so it never initialises CUDA.
"""

from __future__ import annotations

import collections
import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import oom
from bench.files import StoreError, read_json
from bench.launch.places import Place, environment_of, room_for
from bench.launch.watch import Watch
from bench.orders import Stage
from bench.stop import Stop, held_back
from bench.store import RunFolder, Store

OK, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 75
POLL_S = 0.1
LOOK_S = 5.0
"""How often to look at a run that another process is at, and whether runs under way are still wanted."""
MUTE_S = 600.0
"""A task gives up a run whose owner is taken for alive and has not beaten for so long."""


@dataclass(frozen=True)
class Terms:
    """What a pool keeps to, beside its places; unsaid: those of a machine of one's own."""

    is_finished: Callable[[str], bool]
    """Whether all that is asked of a run is done: another process may have done it meanwhile."""
    retries: int = 0
    """Further attempts at a run that failed."""
    failures: Callable[[str], int] = lambda run_id: 0
    """How often a run has failed before, as far as that counts."""
    stage: Stage = "all"
    refusal: Callable[[str], str] = lambda run_id: ""
    """Why a run is not to be started, or to be stopped where it is under way: it was cancelled."""
    has_time: Callable[[], bool] = lambda: True
    """Whether a run that is started now can get anywhere."""
    patience_s: Callable[[int], float] = lambda number: math.inf
    """How long after a signal a child may take to stop before it is killed."""
    waits: bool = True
    """Whether to stay for a run that a living process elsewhere is at."""


@dataclass
class Child:
    """One run under way."""

    run_id: str
    folder: RunFolder
    attempt: int
    process: subprocess.Popen[bytes]
    places: list[Place]
    """One for each of its ranks; all of them where it runs alone."""
    alone: bool
    kills: int | None
    """Processes that had died for want of memory when it began."""
    told: float | None = None
    """When it was asked to stop."""
    killed: str = ""
    """Why it was killed by us."""


@dataclass
class Elsewhere:
    """A run that another process is at."""

    due: float
    """When to look again."""
    sign: object = None
    """Its owner's last sign of life."""
    since: float = field(default_factory=time.monotonic)


class Pool:
    """The supervisor of some runs.  After `run`, `left` has those that it should go on with when started again."""

    def __init__(
        self,
        store: Store,
        orders_path: Path,
        places: Sequence[Place],
        watch: Watch,
        terms: Terms,
        stop: Stop | None = None,
    ) -> None:
        """`stop`: set up by the caller; None: signals are taken over while the pool runs."""
        self.store, self.orders_path, self.watch, self.terms = store, orders_path, watch, terms
        self.stop, self._own_stop = stop or Stop(exits=False), stop is None
        self.packed = len(places) > 1
        self.places = places
        self.free: list[Place] = list(places)
        self.children: list[Child] = []
        self.waiting: collections.deque[str] = collections.deque()
        self.alone: collections.deque[str] = collections.deque()
        """Runs that ran out of memory beside others."""
        self.elsewhere: dict[str, Elsewhere] = {}
        self.codes: dict[str, int] = {}
        self.left: list[str] = []
        self.late = False
        """Whether a run was not started because the time that remains is too short."""
        self._failures: dict[str, int] = {}
        self._crowded_out: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._started = 0
        self._looked = 0.0
        self._hinted = False

    def run(self, run_ids: Sequence[str]) -> dict[str, int]:
        """Work through the runs; return exit codes, 75 where a run can go on."""
        for run_id in run_ids:
            (self.alone if self.packed and self._was_crowded_out(run_id) else self.waiting).append(run_id)
        with self.stop.installed() if self._own_stop else contextlib.nullcontext(), self.watch:
            try:
                while self.waiting or self.alone or self.children or self.elsewhere:
                    self._look_elsewhere()
                    self._start_what_fits()
                    self._tell()
                    for child in [c for c in self.children if c.process.poll() is not None]:
                        self._finish(child)
                    if not self.children and (self.stop.reason is not None or self.late):
                        break
                    running = [(c.run_id, c.folder.attempt(c.attempt)) for c in self.children]
                    self.watch.tick(running, len(self.elsewhere))
                    time.sleep(POLL_S)
            finally:
                for child in self.children:
                    child.process.terminate()
        self.left += [run_id for run_id in (*self.alone, *self.waiting) if run_id not in self.elsewhere]
        for run_id in (*self.left, *self.elsewhere):
            self.codes.setdefault(run_id, STOPPED)
        return self.codes

    def _was_crowded_out(self, run_id: str) -> bool:
        """Whether it ran out of memory beside others when its supervisor, or the job's last life, ended."""
        folder = self.store.run(run_id)
        newest = max(folder.attempts(), default=0)
        ended = (newest and read_json(folder.attempt(newest) / "ended.json")) or {}
        return bool(ended.get("oom") and ended.get("again"))

    # -- Starting -----------------------------------------------------------------------------------------

    def _look_elsewhere(self) -> None:
        now = time.monotonic()
        for run_id, found in list(self.elsewhere.items()):
            if found.due < now and run_id not in self.waiting:
                self.waiting.append(run_id)

    def _start_what_fits(self) -> None:
        while self.free and self.stop.reason is None and (self.waiting or self.alone):
            if self._started and not self.terms.has_time():
                self.late = True
                return
            if not self.alone:
                places = room_for(self._ranks(self.waiting[0]), self.free, self.places)
                if places is None:  # it is next: runs that need less do not go before it
                    return
                self._take(self.waiting.popleft(), places)
            elif self.children:  # they are let end
                return
            else:
                self._take(self.alone.popleft(), list(self.free), alone=True)

    def _ranks(self, run_id: str) -> int:
        """How many places a run takes; one is enough to score it."""
        if self.terms.stage == "score":
            return 1
        if run_id not in self._sizes:
            self._sizes[run_id] = 1
            with contextlib.suppress(StoreError):  # its job says what is wrong with it
                self._sizes[run_id] = self.store.run(run_id).setting().train.world_size
        return self._sizes[run_id]

    def _take(self, run_id: str, places: list[Place], *, alone: bool = False) -> None:
        """Start a run, or say why not."""
        for place in places:
            self.free.remove(place)
        if refusal := self.terms.refusal(run_id):
            self._pass_over(run_id, places, STOPPED, refusal)
        elif self.terms.is_finished(run_id):
            self._pass_over(run_id, places, OK, "done by another process")
        else:
            try:
                if not self._start(run_id, places, alone):
                    self.free += places
                    self._leave_or_wait(run_id)
            except (StoreError, OSError) as error:  # a full disk, no more processes
                self.elsewhere.pop(run_id, None)
                self._pass_over(run_id, places, FAILED, str(error))

    def _pass_over(self, run_id: str, places: list[Place], code: int, why: str) -> None:
        self.free += places
        self.elsewhere.pop(run_id, None)
        self.codes[run_id] = code
        self.watch.finished(run_id, self.store.run(run_id).state(), code, why)

    def _start(self, run_id: str, places: list[Place], alone: bool) -> bool:
        """Claim and start a run; False when another process is at it."""
        folder = self.store.run(run_id)
        attempt = folder.claim()
        if attempt is None:
            return False
        if run_id not in self._failures:  # before this attempt has an end of its own, which would count twice
            self._failures[run_id] = self.terms.failures(run_id)
        self.elsewhere.pop(run_id, None)
        command = [sys.executable, "-m", "bench.job", str(folder.path), "--orders", str(self.orders_path)]
        command += ["--attempt", str(attempt), "--stage", self.terms.stage, "--supervised"]
        if places[0].gpu_share < 1.0 and not alone:
            command += ["--gpu-share", f"{places[0].gpu_share:.4f}"]
        try:
            with held_back(), (folder.attempt(attempt) / "log.txt").open("ab") as log:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **environment_of(places, self._ranks(run_id)), "PYTHONUNBUFFERED": "1"},
                    start_new_session=True,
                )
                self.children.append(Child(run_id, folder, attempt, process, places, alone, oom.kills()))
        except OSError as error:
            folder.end(attempt, FAILED, f"it could not be started: {error}")
            raise
        self._started += 1
        return True

    def _leave_or_wait(self, run_id: str) -> None:
        """Look again soon at a run that another process is at; a task leaves it to one that shows life."""
        now = time.monotonic()
        folder = self.store.run(run_id)
        newest = folder.attempts()[-1]
        sign = (newest, read_json(folder.attempt(newest) / "alive"))
        found = self.elsewhere.get(run_id)
        if found is None:
            self.elsewhere[run_id] = Elsewhere(now + LOOK_S, sign)
        elif self.terms.waits or self._has_more() or (found.sign == sign and now - found.since < MUTE_S):
            found.due = now + LOOK_S
        else:
            del self.elsewhere[run_id]
            self.codes[run_id] = STOPPED
            self.watch.finished(run_id, folder.state(), STOPPED, "left to another process")

    def _has_more(self) -> bool:
        """Whether there is work beside the runs of other processes: they are looked at again until there is none."""
        return bool(self.children or self.alone or any(run not in self.elsewhere for run in self.waiting))

    # -- Stopping -----------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Pass a stop on to the children, once; kill those that would not hear, or all at the second Ctrl-C."""
        now = time.monotonic()
        if signal.SIGINT in self.stop.received and not self._hinted:
            self._hinted = True
            self.watch.console.print("stopping: each run keeps a checkpoint first; Ctrl-C again ends them at once")
        refused = set[str]()
        if now - self._looked > LOOK_S:
            self._looked = now
            refused = {child.run_id for child in self.children if self.terms.refusal(child.run_id)}
        patience = [self.terms.patience_s(number) + came for number, came in self.stop.received.items()]
        for child in self.children:
            if child.told is None and (self.stop.reason is not None or child.run_id in refused):
                child.told = now
                child.process.terminate()
            until = min(patience, default=math.inf)
            if child.told is not None and not patience:  # cancelled
                until = child.told + self.terms.patience_s(signal.SIGUSR2)
            if child.told is not None and not child.killed and (self.stop.insisted or now > until):
                insisted = "killed at the second Ctrl-C"
                child.killed = insisted if self.stop.insisted else "killed: it did not stop when it was asked to"
                child.process.kill()

    def _finish(self, child: Child) -> None:
        """Take a finished child off; its run may be tried again."""
        self.children.remove(child)
        self.free += child.places
        if child.process.stdin is not None:
            child.process.stdin.close()
        code, starved = self._judge(child)
        alone_next = starved and self.packed and not child.alone and child.run_id not in self._crowded_out
        stopped = code == STOPPED and self.stop.reason is not None and not self.terms.refusal(child.run_id)
        # One that stopped and that we had not asked to was asked by somebody else, and has a try like any other.
        failed = code not in (OK, BAD_INPUT, STOPPED) or (code == STOPPED and child.told is None and not stopped)
        if failed and not alone_next:
            self._failures[child.run_id] += 1
        again = failed and (alone_next or self._failures[child.run_id] <= self.terms.retries)
        with contextlib.suppress(StoreError):  # a full disk must not take the other runs along
            if child.folder.attempt(child.attempt).is_dir():
                reason = how_it_died(code, child, starved)
                child.folder.end(child.attempt, code, reason, again=again or stopped, oom=starved)
        self.codes[child.run_id] = code
        if alone_next:
            self._crowded_out.add(child.run_id)
            self.alone.append(child.run_id)
        elif again:
            self.waiting.append(child.run_id)
        elif stopped:
            self.left.append(child.run_id)
        note = child.folder.reason(child.attempt) + (", beside others" if alone_next else "")
        self.watch.finished(child.run_id, child.folder.state(), code, note, again and self.stop.reason is None)

    def _judge(self, child: Child) -> tuple[int, bool]:
        """The exit code of a finished child, and whether it ran out of memory."""
        code = child.process.returncode
        if child.told is not None and code in (-signal.SIGTERM, -signal.SIGKILL):
            return STOPPED, False  # by us: its checkpoints stand
        ended = read_json(child.folder.attempt(child.attempt) / "ended.json")
        if code == OK and ended is None and child.folder.state().trained is None:
            return FAILED, False  # it left without a word: `os._exit(0)` in a module of the user's own
        if code in (OK, BAD_INPUT, STOPPED):
            return code, False
        if ended is not None:
            return code, bool(ended.get("oom"))
        if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
            before, now = child.kills, oom.kills()
            if before is None or now is None or now > before:  # where the kernel does not tell, it is likely
                return code, True
        return code, oom.told(child.folder.log_tail(40))


def how_it_died(code: int, child: Child, starved: bool) -> str:
    """Say in a line how a child that left no word ended."""
    returned = child.process.returncode
    if child.killed:
        return child.killed
    if returned < 0:
        named = f"signal {-returned}"
        with contextlib.suppress(ValueError):
            named = signal.Signals(-returned).name
        return f"killed by {named}" + (": out of memory, it seems" if starved else "")
    if returned == OK and code == FAILED:
        return "its process left without a word: something in it ended it"
    return child.folder.log_tail(1) or f"exit code {returned}"


def failures_of(store: Store, job: str, run_id: str) -> int:
    """Count the failures of a run in attempts that this Slurm job made."""
    folder, found = store.run(run_id), 0
    for number in folder.attempts():
        owner = read_json(folder.attempt(number) / "owner.json") or {}
        ended = read_json(folder.attempt(number) / "ended.json") or {}
        own = owner.get("job")
        mine = isinstance(own, dict) and own.get("id") == job
        found += mine and ended.get("exit") not in (None, OK, BAD_INPUT, STOPPED)
    return found
