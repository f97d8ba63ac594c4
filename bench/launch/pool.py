"""`--executor local`: keep some runs going side by side, each in its own subprocess.

A child that dies does not hurt the others; children stop when the supervisor is gone, since it holds the other
end of their standard input.  The supervisor never imports torch, so it never initialises CUDA.
"""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from bench.launch.watch import Watch
from bench.store import RunFolder, Store, StoreError

OK, BAD_INPUT, STOPPED = 0, 2, 75
POLL_S = 0.1
TWICE_S = 1.0
"""A second signal within so many seconds is the first one again: a shell and a wrapper may both pass it on."""
ELSEWHERE_S = 5.0
"""How often to look at a run that another process is at."""


@dataclass
class Child:
    """One run under way."""

    run_id: str
    folder: RunFolder
    attempt: int
    process: subprocess.Popen[bytes]
    slot: Mapping[str, str]


def slots(parallel: int | None, cpu_threads: int, runs_per_gpu: int) -> list[dict[str, str]]:
    """Environment of each place in the pool: `runs_per_gpu` places on each GPU; without GPUs, `cpu_slots`.

    `parallel`: not more than so many.
    """
    threads = _threads(cpu_threads)
    places = [{**threads, "CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus() for _ in range(runs_per_gpu)]
    return places[:parallel] if places else cpu_slots(parallel, cpu_threads)


def cpu_slots(parallel: int | None, cpu_threads: int) -> list[dict[str, str]]:
    """As many places as the cores that this process may use hold runs of `cpu_threads` threads, or `parallel`."""
    return [_threads(cpu_threads)] * (parallel or max(1, cores() // cpu_threads))


def _threads(cpu_threads: int) -> dict[str, str]:
    return {name: str(cpu_threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus() -> list[str]:
    """Names for CUDA_VISIBLE_DEVICES of the GPUs that this process may use, found without CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    with contextlib.suppress(OSError):
        return [str(i) for i, _ in enumerate(sorted(os.listdir("/proc/driver/nvidia/gpus")))]
    return []


class Pool:
    """The supervisor of one study's runs on this machine."""

    def __init__(
        self,
        store: Store,
        orders_path: Path,
        places: Sequence[Mapping[str, str]],
        retries: int,
        watch: Watch,
        is_finished: Callable[[str], bool],
    ) -> None:
        """`is_finished`: whether another process has meanwhile done all that is asked of a run."""
        self.store, self.orders_path, self.retries, self.watch = store, orders_path, retries, watch
        self.is_finished = is_finished
        self.free: list[Mapping[str, str]] = list(places)
        self.children: list[Child] = []
        self.codes: dict[str, int] = {}
        self.tries: collections.Counter[str] = collections.Counter()
        self.signals = 0
        self.signalled = 0.0

    def run(self, run_ids: Sequence[str]) -> dict[str, int]:
        """Run all; return exit codes.  After a signal, codes are 75 where a run can go on."""
        waiting = collections.deque(run_ids)
        elsewhere: dict[str, float] = {}
        with self._signals(), self.watch:
            while waiting or self.children or elsewhere:
                while waiting and self.free and not self.signals:
                    run_id = waiting.popleft()
                    if self.is_finished(run_id):
                        self.codes[run_id] = OK
                        self.watch.finished(run_id, self.store.run(run_id).state(), OK, "done by another process")
                    elif not self._start(run_id):
                        elsewhere[run_id] = time.monotonic() + ELSEWHERE_S
                for run_id in [r for r, due in elsewhere.items() if due < time.monotonic()]:
                    del elsewhere[run_id]
                    waiting.append(run_id)
                for child in [c for c in self.children if c.process.poll() is not None]:
                    if self._finish(child):
                        waiting.append(child.run_id)
                if self.signals and not self.children:
                    for run_id in (*waiting, *elsewhere):
                        self.codes[run_id] = STOPPED
                    break
                self.watch.tick([(c.run_id, c.folder.attempt(c.attempt)) for c in self.children], len(elsewhere))
                time.sleep(POLL_S)
        return self.codes

    def _start(self, run_id: str) -> bool:
        """Claim and start a run; False when another process is at it."""
        folder = self.store.run(run_id)
        attempt = folder.claim()
        if attempt is None:
            return False
        slot = self.free.pop()
        command = [sys.executable, "-m", "bench.job", str(folder.path), "--orders", str(self.orders_path)]
        with (folder.attempt(attempt) / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--attempt", str(attempt), "--supervised"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **slot, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        self.children.append(Child(run_id, folder, attempt, process, slot))
        if self.signals:  # one came while this child was being made
            process.terminate()
        return True

    def _finish(self, child: Child) -> bool:
        """Take a finished child off; whether its run is to be tried again."""
        code = child.process.returncode
        self.children.remove(child)
        self.free.append(child.slot)
        if child.process.stdin is not None:
            child.process.stdin.close()
        reason = how_it_died(code, child.folder)
        if self.signals and code in (-signal.SIGTERM, -signal.SIGKILL):
            code = STOPPED  # by us: before it could listen, or at the second signal
        with contextlib.suppress(StoreError):  # a full disk must not take the other runs along
            child.folder.end(child.attempt, code, reason)
        self.codes[child.run_id] = code
        self.tries[child.run_id] += 1
        again = code not in (OK, BAD_INPUT, STOPPED) and not self.signals and self.tries[child.run_id] <= self.retries
        self.watch.finished(child.run_id, child.folder.state(), code, child.folder.reason(child.attempt), again)
        return again

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """First signal: children stop in order.  Second: they are killed; their checkpoints stand."""

        def on_signal(number: int, frame: FrameType | None) -> None:
            if self.signals and time.monotonic() - self.signalled < TWICE_S:
                return
            self.signals, self.signalled = self.signals + 1, time.monotonic()
            for child in list(self.children):
                child.process.send_signal(signal.SIGTERM if self.signals == 1 else signal.SIGKILL)

        handled = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
        before = [(number, signal.signal(number, on_signal)) for number in handled]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)
            for child in self.children:
                child.process.terminate()


def how_it_died(code: int, folder: RunFolder) -> str:
    """Say in a line how a child that left no word ended."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
        return f"killed by signal {-code}"
    tail = folder.log_tail(1)
    return tail or f"exit code {code}"
