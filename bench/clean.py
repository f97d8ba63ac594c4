"""`python -m bench.clean`: list what results/ could do without, and with --yes delete it.

Checkpoints go by themselves when a run is trained.  This is for the rest: temporary files of writers that died,
checkpoints of runs that nobody will take up, runs that no study in results/studies refers to, and caches.  Nothing
that is running or in Slurm's queue, no trained run of a study there and no score is ever touched.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.command import OK, exit_code
from bench.files import StoreError
from bench.harmless import complain
from bench.launch import submission
from bench.store import Store

STALE_S = 86400.0
"""A temporary file this old has no writer, whatever clocks say."""


def untaken(store: Store) -> Iterator[Path]:
    """Folders of runs that no process is at and no live job will take up."""
    waiting = queued(store)
    for folder in sorted(store.root.glob("runs/[!.]*")):
        if folder.name not in waiting and store.run(folder.name).state().status != "running":
            yield folder


def queued(store: Store) -> set[str]:
    """Runs that live jobs will take up; where Slurm does not answer, all that were ever submitted."""
    found: set[str] = set()
    studies = [path.parent.name for path in store.root.glob("studies/*/submissions")]
    for study in studies:
        for folder in submission.folders(store, study):
            with contextlib.suppress(StoreError):  # damaged: no job can read it either
                found.update(*folder.read().tasks)
    scheduler = store.witness.scheduler
    if not found or scheduler.jobs() is None:
        return found
    states = store.states(found)
    return {run for study in studies for run in submission.covered(store, study, scheduler, states)}


def temporary(store: Store) -> Iterator[Path]:
    """Temporary files and claims that died before their rename."""
    for pattern in ("**/.*.tmp", "runs/*/attempts/.claim-*"):
        for path in store.root.glob(pattern):
            if time.time() - path.stat().st_mtime > STALE_S:
                yield path


def checkpoints(store: Store) -> Iterator[Path]:
    """Checkpoints of runs that are neither running nor queued: they would start over."""
    for folder in untaken(store):
        yield from folder.glob("attempts/*/checkpoints")


def unreferenced(store: Store) -> Iterator[Path]:
    """Runs that no list of runs of any study names."""
    named = set()
    for pattern in ("studies/*/submissions/*.csv", "studies/*/runs.csv"):
        for path in store.root.glob(pattern):
            with path.open(newline="") as file:
                named |= {row["run_id"] for row in csv.DictReader(file)}
    yield from (folder for folder in untaken(store) if folder.name not in named)


def caches(store: Store) -> Iterator[Path]:
    """Decoded data, stand-in extractors and reference features: made again when needed."""
    if store.cache.exists():
        yield store.cache


KINDS = {"temporary": temporary, "checkpoints": checkpoints, "unreferenced": unreferenced, "caches": caches}


def size(path: Path) -> int:
    """Bytes of a file, or of all files under a folder."""
    if path.is_dir():
        return sum(item.lstat().st_size for item in path.rglob("*") if not item.is_dir())
    return path.lstat().st_size


def _behind_a_link(path: Path, store: Store) -> bool:
    """Whether `path` may be another folder's: below runs/ (which may be a link itself) or results/ stands a link."""
    parts = path.relative_to(store.root).parts
    steps = [store.root.joinpath(*parts[: depth + 1]) for depth in range(len(parts))]
    return any(step.is_symlink() for step in steps if step != store.root / "runs")


def main() -> int:
    """List, and with --yes delete."""
    parser = argparse.ArgumentParser(prog="python -m bench.clean", description=__doc__.split("\n")[0])
    parser.add_argument("kinds", nargs="*", help=f"any of {', '.join(KINDS)}; default: temporary")
    parser.add_argument("--yes", action="store_true", help="delete what is listed")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    given = parser.parse_args()
    if unknown := [kind for kind in given.kinds if kind not in KINDS]:
        parser.error(f"no such kind: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    store = Store(given.results.resolve())
    total = 0
    for kind in given.kinds or ["temporary"]:
        for path in KINDS[kind](store):
            if _behind_a_link(path, store):
                complain(f"left as it is, {path} lies behind a link")
                continue
            total += (bytes_here := size(path))
            print(f"{kind:12}  {bytes_here / 1e6:9.1f} MB  {path}")
            if given.yes:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    print(f"{total / 1e6:.1f} MB " + ("deleted" if given.yes else "to delete; --yes deletes it"))
    return OK


if __name__ == "__main__":
    sys.exit(exit_code(main))
