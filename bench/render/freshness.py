"""Whether a report on disk still says what the results say.  Imports neither pandas nor matplotlib: it is asked
each time that a study is run again, and should cost milliseconds."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import Any

import bench
from bench.design import Design
from bench.files import read_json, write_json
from bench.setting import digest
from bench.store import RunFolder, Store

SIDECAR = ".built.json"
"""In the report's folder: the digest of what it was built from, and the files that were written."""


def report_folder(design: Design, reports: Path) -> Path:
    """Where a study's report stands."""
    return reports / design.study.name


def up_to_date(design: Design, store: Store, reports: Path, reload_s: int | None = None) -> bool:
    """Say whether `report.build` would write the same again: nothing it reads has changed, all it wrote is there."""
    folder = report_folder(design, reports)
    built = read_json(folder / SIDECAR)
    if built is None or built.get("reload_s") != reload_s or built.get("inputs") != inputs(design, store, reload_s):
        return False
    tables = [
        store.study(design.study.name) / name for name in ("runs.csv", "summary.csv", "effects.csv", "verdicts.csv")
    ]
    written = [folder / name for name in built.get("files", [])]
    return all(path.is_file() for path in [*tables, *written])


def stamp(design: Design, reports: Path, digest_before: str, files: list[str], reload_s: int | None = None) -> None:
    """Record what the report was built from (`inputs` as taken before anything was read) and remove what an
    earlier report had and this one has not.

    reload_s: of a report that is watched.  It has nothing for print, and what an earlier one had stays until the last.
    """
    folder = report_folder(design, reports)
    earlier = [name for name in (read_json(folder / SIDECAR) or {}).get("files", []) if name not in files]
    if reload_s is not None:
        files = files + [name for name in earlier if (folder / name).is_file()]
    else:
        for name in earlier:
            (folder / name).unlink(missing_ok=True)
    write_json(folder / SIDECAR, {"inputs": digest_before, "reload_s": reload_s, "files": sorted(files)})


def inputs(design: Design, store: Store, reload_s: int | None = None) -> str:
    """Digest all that a report depends on: the study, the design, our code, and the state of each run's files.

    reload_s: of a report that is watched.  It is not built again for each row of a log.
    """
    study = design.study
    return digest(
        {
            "code": code(),
            "study": [study.name, str(study.path), study.text, study.profile, list(study.overrides)],
            "cells": [[cell.name, list(cell.warnings), cell.forced] for cell in design.cells],
            "exclusions": [[gone.name, gone.why, gone.rule] for gone in design.exclusions],
            "submitted": [
                *_files(store.study(study.name), only=("study.yaml",)),
                *(one for one in _files(store.study(study.name) / "submissions") if one[0].endswith(".csv")),
            ],
            "reals": _files(store.study(study.name), only=("reals.png", "inputs.png")),
            "runs": {
                run.run_id: [run.cell.name, run.seed, *_run(store.run(run.run_id), reload_s)] for run in design.runs
            },
        }
    )


def _run(folder: RunFolder, reload_s: int | None) -> list[Any]:
    trained = _files(folder.path, only=("trained.json",))
    state = None
    if not trained:  # whether an attempt is alive is not in its files alone
        now = folder.state()
        logs = _files(folder.attempt(now.attempt), only=("train.jsonl", "probes.jsonl")) if reload_s is None else []
        state = [now.status, now.attempt, now.cause, logs]
    return [trained, state, _files(folder.snapshots), _files(folder.samples), _files(folder.scores)]


def _files(folder: Path, only: tuple[str, ...] = ()) -> list[tuple[str, int, int]]:
    """List (name, bytes, time of change) of a folder's files, temporary ones apart."""
    try:
        with os.scandir(folder) as entries:
            found = [
                (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
                for entry in entries
                if not entry.name.startswith(".") and (not only or entry.name in only)
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found)


@functools.cache
def code() -> str:
    """Hash the whole package: what a report says hangs on recipes and schedules as well."""
    hashed = hashlib.sha256(bench.__version__.encode())
    for path in sorted(Path(bench.__file__).parent.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            hashed.update(path.read_bytes())
    return hashed.hexdigest()[:16]
