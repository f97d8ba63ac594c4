"""The layout of results/: paths, attempts at a run, and the status derived from them.  Its files: `bench.files`.

The file system is the only state.  Each file has one writer; what several may write is published by link(2),
first wins.  `state` derives and never writes.  docs/results.md names every file.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.files import StoreError, explained, now, plain, publish_json, read_json, read_rows, write_json
from bench.liveness import WATCH_S, Witness, this_process
from bench.setting import Setting, identity, resolved, run_id, unflatten

Status = Literal["missing", "queued", "running", "stopped", "done", "diverged", "failed"]
OUTCOMES = ("done", "diverged")
TAIL_BYTES = 16384


# ---------------------------------------------------------------------------------------------------------
# One run's folder.


@dataclass(frozen=True)
class RunState:
    """What the files say of a run."""

    status: Status
    attempt: int = 0
    """The newest attempt; 0: none yet."""
    cause: str | None = None
    trained: dict[str, Any] | None = None
    alive: dict[str, Any] = field(default_factory=dict)
    """The running attempt's last word: step, total, kimg, images_per_second."""
    ended: dict[str, Any] | None = None
    """How the newest attempt of a run without an outcome ended: its ended.json."""
    job: str | None = None
    """The Slurm job of the newest attempt of a run without an outcome: `12`, or `12_3`."""


class RunFolder:
    """results/runs/<run_id>/."""

    def __init__(self, path: Path, witness: Witness | None = None) -> None:
        """`witness`: who judges whether attempts are alive; one that is kept for long judges better."""
        self.path = path
        self.witness = witness or Witness()

    @property
    def snapshots(self) -> Path:
        """What was sampled from: <kimg>.pt."""
        return self.path / "snapshots"

    @property
    def samples(self) -> Path:
        """Sheets of fakes: <kimg>.png."""
        return self.path / "samples"

    @property
    def scores(self) -> Path:
        """One file a score: <id>.json."""
        return self.path / "scores"

    @property
    def trained(self) -> Path:
        """What ends training."""
        return self.path / "trained.json"

    def attempt(self, number: int) -> Path:
        """Folder of one attempt."""
        return self.path / "attempts" / str(number)

    def attempts(self) -> list[int]:
        """Numbers of all attempts, in order."""
        try:
            names = os.listdir(f"{self.path}/attempts")
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(int(name) for name in names if name.isdecimal())

    def setting(self) -> Setting:
        """Read the run's setting.  Raises StoreError when it was edited or cannot be read."""
        path = self.path / "setting.json"
        content = read_json(path)
        if content is None:
            raise StoreError(f"{path}: missing or not readable. Delete the folder {self.path} to start it anew.")
        try:
            setting = Setting.model_validate_json(json.dumps(content["setting"]))
        except (KeyError, ValueError) as error:
            raise StoreError(f"{path}: not a setting: {error}. Restore it, or delete {self.path}.") from error
        if run_id(setting) != self.path.name or content.get("identity") != json.loads(json.dumps(identity(setting))):
            raise StoreError(
                f"{path}: does not belong to the run {self.path.name}: it was edited, or made by another version. "
                f"Restore it, or delete {self.path}; to train another setting, change the study."
            )
        return setting

    def write_setting(self, setting: Setting) -> None:
        """Write the setting once; a second writer must agree.  Raises StoreError."""
        path = self.path / "setting.json"
        shown = unflatten({k: v for k, v in resolved(setting).items() if k != "data.folder"})
        if path.exists() or not publish_json(path, {"identity": identity(setting), "setting": shown}):
            self.setting()

    def claim(self) -> int | None:
        """Start a new attempt, owned by this process; None when a living process owns the newest one.

        The folder appears with its owner in it, by one rename: of many that try, one succeeds.
        Raises StoreError.
        """
        parent = self.path / "attempts"
        while True:
            number = max(self.attempts(), default=0)
            if number and self.owned_alive(number):
                return None
            if not self.path.is_dir():  # no second tree shall grow where results were moved from
                raise StoreError(f"{self.path} is gone: the results were moved or deleted. Start the study again.")
            with explained(parent):
                parent.mkdir(exist_ok=True)
                fresh = Path(tempfile.mkdtemp(prefix=".claim-", dir=parent))
                fresh.chmod(0o755)
                write_json(fresh / "owner.json", {**this_process(), "claimed": now(), "claim": fresh.name})
                try:
                    os.rename(fresh, self.attempt(number + 1))
                    return number + 1
                except OSError as error:
                    shutil.rmtree(fresh, ignore_errors=True)
                    if self._owner(number + 1).get("claim") == fresh.name:
                        return number + 1  # a file server lost its reply and tried again
                    if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                        raise

    def adopt(self, number: int) -> None:
        """Become the owner of an attempt that the supervisor claimed for this process."""
        write_json(self.attempt(number) / "owner.json", {**self._owner(number), **this_process()})

    def owned_alive(self, number: int) -> bool:
        """Whether the attempt is still under way."""
        folder = self.attempt(number)
        return not (folder / "ended.json").exists() and self.witness.is_alive(folder, self._owner(number))

    def _owner(self, number: int) -> dict[str, Any]:
        return read_json(f"{self.path}/attempts/{number}/owner.json") or {}

    def end(self, number: int, code: int, reason: str, *, again: bool = False, oom: bool = False) -> None:
        """Record how an attempt ended; the first word on code and reason stands.

        `again`: its supervisor will try the run again, or the job when it is started anew.  `oom`: it ran out of
        memory.
        """
        path = self.attempt(number) / "ended.json"
        word = {"exit": code, "reason": reason, "finished": now(), "again": again, "oom": oom}
        if not publish_json(path, word) and (again or oom):
            write_json(path, {**(read_json(path) or word), "again": again, "oom": oom})

    def state(self) -> RunState:
        """Derive the status from the files, as far as they and the scheduler tell; write nothing."""
        attempts = self.attempts()
        newest = attempts[-1] if attempts else 0
        if reached := self._outcome(newest):
            return reached
        if not newest:
            return RunState("missing")
        folder = self.attempt(newest)
        ended = read_json(folder / "ended.json")
        own = self._owner(newest).get("job")
        job = str(own.get("id")) if isinstance(own, dict) else None
        if ended is None and self.owned_alive(newest):
            return RunState("running", newest, alive=read_json(folder / "alive") or {}, job=job)
        ended = ended or read_json(folder / "ended.json")
        if reached := self._outcome(newest):  # while we looked
            return reached
        status: Status = "stopped"
        if self.trained.exists():
            cause = "trained.json is half-written: training goes on"
        elif ended is None:
            cause = "its process vanished without a word"
        else:
            cause = str(ended.get("reason") or "")
            status = "stopped" if ended.get("exit") in (0, 75) or ended.get("again") else "failed"
        return RunState(status, newest, cause, ended=ended, job=job)

    def _outcome(self, newest: int) -> RunState | None:
        """What trained.json says, where it stands."""
        trained = read_json(f"{self.path}/trained.json")
        if not trained or trained.get("status") not in OUTCOMES:
            return None
        trained["snapshots"] = [plain(str(label)) for label in trained.get("snapshots") or []]
        return RunState(trained["status"], newest, trained.get("cause"), trained)

    def half_written(self) -> list[Path]:
        """Published files that cannot be read: a disk or a file server lost part of them.  They are made again."""
        found = [self.trained, *sorted(self.scores.glob("*.json"))]
        return [path for path in found if path.exists() and read_json(path) is None]

    def reason(self, number: int) -> str:
        """What an attempt left to say when it ended."""
        return str((read_json(self.attempt(number) / "ended.json") or {}).get("reason") or "")

    def is_scored(self, score_id: str) -> bool:
        """Whether a score stands and is good; a failed or half-written one may be computed again."""
        score = read_json(self.scores / f"{plain(score_id)}.json")
        return score is not None and score.get("status") == "ok"

    def log(self) -> list[dict[str, Any]]:
        """The training log over all attempts, one row a logged step: no gaps, no doubles."""
        return self._merged("train.jsonl")

    def probe_log(self) -> list[dict[str, Any]]:
        """The probes over all attempts, likewise; empty where none were switched on."""
        return self._merged("probes.jsonl")

    def _merged(self, name: str) -> list[dict[str, Any]]:
        rows = itertools.chain.from_iterable(read_rows(self.attempt(number) / name) for number in self.attempts())
        merged = {row["step"]: row for row in rows if "step" in row}
        return [merged[step] for step in sorted(merged)]

    def log_tail(self, lines: int = 12) -> str:
        """The last lines that the newest attempt printed."""
        for number in reversed(self.attempts()):
            with contextlib.suppress(OSError), (self.attempt(number) / "log.txt").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
                text = file.read().decode(errors="replace")
                return "\n".join(text.rstrip().splitlines()[-lines:])
        return ""

    def set_aside(self, path: Path) -> Path:
        """Move a half-written file out of the way, keeping it."""
        for number in itertools.count(1):
            aside = path.with_name(f"{path.name}.torn-{number}")
            if not aside.exists():
                break
        os.replace(path, aside)
        return aside


class Store:
    """results/: all runs and studies of one user."""

    def __init__(self, root: Path, witness: Witness | None = None) -> None:
        """`witness`: who judges whether attempts are alive; kept, so that it may watch them."""
        self.root = root
        self.runs = root / "runs"
        self.cache = root / "cache"
        self.witness = witness or Witness()

    def run(self, identifier: str) -> RunFolder:
        """A run's folder, which need not exist yet.  Raises StoreError for what is no identifier."""
        return RunFolder(self.runs / plain(identifier), self.witness)

    def study(self, name: str) -> Path:
        """A study's folder, which need not exist yet.  Raises StoreError for what is no name."""
        return self.root / "studies" / plain(name)

    def check_writable(self) -> None:
        """Raise StoreError unless a file can be written under the root."""
        with explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root) as file:
                file.write(b"\0" * 65536)
                file.flush()
                os.fsync(file.fileno())

    def states(self, identifiers: Iterable[str]) -> dict[str, RunState]:
        """Statuses of many runs."""
        return {identifier: self.run(identifier).state() for identifier in identifiers}

    def settle(self, found: Mapping[str, RunState]) -> dict[str, RunState]:
        """Return statuses after a closer look at attempts whose heartbeats look old, which a wrong clock may do too.

        Takes `liveness.WATCH_S` seconds where there are any, else none.
        """
        settled, began = dict(found), time.monotonic()
        while time.monotonic() - began < 2 * WATCH_S:
            doubtful = {folder.parent.parent.name for folder in self.witness.suspects} & found.keys()
            if not doubtful:
                break
            time.sleep(WATCH_S / 8)
            settled |= self.states(doubtful)
        return settled
