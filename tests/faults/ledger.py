"""What a disturbed study must not do: lose a result, make one twice, make another one, lose or repeat a step.

What is published is watched while the study is worked on, and held against a study that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.files import read_json, read_rows
from bench.store import RunFolder

PUBLISHED = ("trained.json", "snapshots/*.pt", "samples/*.png")
"""What is made once and stands: the first of several who make it wins."""


@dataclass
class Findings:
    """What went wrong, a line each."""

    lost: list[str] = field(default_factory=list)
    """Results that are not there, or were and are not."""
    twice: list[str] = field(default_factory=list)
    """Results published a second time with other bytes; runs trained after they were done."""
    differing: list[str] = field(default_factory=list)
    """Weights, snapshots, samples or scores that are not those of the undisturbed study."""
    steps: list[str] = field(default_factory=list)
    """Steps lost or repeated in a log, or logged with other losses."""

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def lines(self) -> list[str]:
        """All of it, with its kind."""
        return [f"{kind}: {one}" for kind, found in vars(self).items() for one in found]


class Ledger:
    """Published files of a results folder, as they were first seen."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, str]] = {}
        self.findings = Findings()

    def look(self, results: Path) -> None:
        """Compare what is there with what was; cheap to call often."""
        here = set()
        for pattern in PUBLISHED:
            for path in results.glob(f"runs/*/{pattern}"):
                name = str(path.relative_to(results))
                here.add(name)
                with contextlib.suppress(FileNotFoundError):
                    self._note(name, path)
        for name in self._seen.keys() - here:
            del self._seen[name]
            self.findings.lost.append(f"{name} is gone")

    def _note(self, name: str, path: Path) -> None:
        inode = path.stat().st_ino
        before = self._seen.get(name)
        if before is None or before[0] != inode:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if before is not None and before[1] != digest:
                self.findings.twice.append(f"{name} was published again with other bytes")
            self._seen[name] = inode, digest

    def close(self, results: Path, undisturbed: Path, run_ids: list[str]) -> Findings:
        """Check a study that is at its end; return all that was found from the first look on."""
        self.look(results)
        for name, (_, digest) in self._seen.items():
            if hashlib.sha256((results / name).read_bytes()).hexdigest() != digest:
                self.findings.twice.append(f"{name} was written over")
        for run_id in run_ids:
            check_run(RunFolder(results / "runs" / run_id), RunFolder(undisturbed / "runs" / run_id), self.findings)
        return self.findings


def check_run(run: RunFolder, expected: RunFolder, found: Findings) -> None:
    """Hold one run against the same one undisturbed."""
    name, state = run.path.name, run.state()
    trained, should = state.trained, expected.state().trained
    assert should is not None
    if trained is None:
        found.lost.append(f"{name} has no outcome: {state.status}, {state.cause}")
        return
    if [trained[key] for key in ("status", "step", "weights")] != [should[k] for k in ("status", "step", "weights")]:
        found.differing.append(f"{name}: {trained['status']}, weights {trained['weights'][:16]}")
    for folder in ("snapshots", "samples", "scores"):
        for path in sorted((expected.path / folder).iterdir()):
            other = run.path / folder / path.name
            if not other.exists():
                found.lost.append(f"{name}/{folder}/{path.name} is not there")
            elif content(other) != content(path):
                found.differing.append(f"{name}/{folder}/{path.name}")
    check_log(run, expected, found)
    for number in run.attempts():
        if number > trained["attempt"] and is_trained_after(run, number):
            found.twice.append(f"{name} was trained by attempt {number} after attempt {trained['attempt']} was done")


def check_log(run: RunFolder, expected: RunFolder, found: Findings) -> None:
    """Each step once, with the losses that it has undisturbed; in each attempt one after another."""
    name, rows, should = run.path.name, without_time(run.log()), without_time(expected.log())
    if [row["step"] for row in rows] != [row["step"] for row in should]:
        found.steps.append(f"{name}: {len(rows)} rows, not {len(should)}")
    elif rows != should:
        first = next(row["step"] for row, other in zip(rows, should, strict=True) if row != other)
        found.steps.append(f"{name}: other losses from step {first} on")
    for number in run.attempts():
        steps = [row["step"] for row in read_rows(run.attempt(number) / "train.jsonl")]
        if steps and steps != list(range(steps[0], steps[0] + len(steps))):
            found.steps.append(f"{name}: attempt {number} does not log step by step")


def without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def content(path: Path) -> Any:
    """What must be the same in a file; of a score its values, since it says when it was made."""
    if path.suffix != ".json":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    score = read_json(path) or {}
    return json.dumps([score.get(key) for key in ("status", "values", "spread", "real", "floor")])


def is_trained_after(run: RunFolder, number: int) -> bool:
    """Whether an attempt's process came when the outcome stood, and trained all the same."""
    folder = run.attempt(number)
    if not read_rows(folder / "train.jsonl"):
        return False
    return (folder / "owner.json").stat().st_mtime_ns > run.trained.stat().st_mtime_ns
