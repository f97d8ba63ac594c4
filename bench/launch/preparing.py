"""What many runs need once, made in a child process before they start: by the driver, and in Slurm tasks by claim.

Of the tasks that need the same set, one decodes it and the others wait: the claim is a folder with attempts, like a
run's, under results/studies/<study>/prepared/.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from bench.design import Run
from bench.files import StoreError, make_folder, now, publish_json
from bench.heartbeat import Heartbeat
from bench.orders import Orders
from bench.own_modules import OWN_KEYS
from bench.setting import Data, digest
from bench.stop import Stop
from bench.store import RunFolder, Store

OK, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 75
POLL_S = 0.1
LOOK_S = 2.0


def prepare(todo: Sequence[Run], store: Store, orders_path: Path, study_dir: Path, part: str = "all") -> int:
    """Make what all runs need, once for each set and module of the user's own; return the exit code.

    A network of the user's own is tried in each cell.  `part`: as `bench.preparation.Part`; a driver of Slurm's
    leaves what is laborious to the tasks.
    """
    firsts: dict[Hashable, Run] = {}
    for run in todo:
        own = [name for key in OWN_KEYS if ":" in (name := getattr(run.setting, key))]
        cell = run.cell.name if ":" in run.setting.network else ""
        firsts.setdefault((run.setting.data, *own, cell), run)
    child = start([store.run(run.run_id) for run in firsts.values()], orders_path, study_dir, part)
    try:
        with child:
            code = child.wait()
    except KeyboardInterrupt:
        child.kill()
        return STOPPED
    return code if code in (OK, BAD_INPUT) else FAILED


def start(folders: Sequence[RunFolder], orders_path: Path, study_dir: Path, part: str) -> subprocess.Popen[bytes]:
    """Start the child that prepares for these runs."""
    paths = [str(folder.path) for folder in folders]
    command = [sys.executable, "-m", "bench.job", *paths, "--orders", str(orders_path), "--prepare", str(study_dir)]
    return subprocess.Popen([*command, "--part", part, "--supervised"], stdin=subprocess.PIPE, start_new_session=True)


def prepare_by_claim(
    folders: Sequence[RunFolder],
    store: Store,
    orders_path: Path,
    study_dir: Path,
    stop: Stop,
    say: Callable[[str], None],
) -> None:
    """Have what these runs share made: here, or by another task that is at it already.

    Where it fails the runs are started all the same: each says in its own folder what it lacks.
    """
    orders, firsts = Orders.read(orders_path), dict[Data, RunFolder]()
    for folder in folders:
        try:
            firsts.setdefault(folder.setting().data, folder)
        except StoreError as error:
            say(str(error))
    for data, folder in firsts.items():
        asked = {"data": data.model_dump(mode="json"), "metrics": orders.metrics}
        key = digest({**asked, "study": study_dir.name, "evaluate": orders.evaluate.model_dump(mode="json")})
        # What says that it is made lies with it: who deletes the cache deletes both.
        made = store.cache / "prepared" / f"{key}.json"
        claims = RunFolder(study_dir / "prepared" / key, store.witness)
        make_folder(claims.path)
        while not made.exists() and stop.reason is None:
            attempt = claims.claim()
            if attempt is None:
                time.sleep(LOOK_S)
                continue
            code = OK if made.exists() else _prepare(claims, attempt, folder, orders_path, study_dir, stop)
            if code == OK:
                publish_json(made, {"finished": now()})  # before the claim ends: who claims next looks again
            claims.end(attempt, code, stop.reason or "")
            if code != OK:
                say(f"what the runs share could not be made (exit code {code}); they go on without")
                break


def _prepare(claims: RunFolder, attempt: int, folder: RunFolder, orders_path: Path, study_dir: Path, stop: Stop) -> int:
    """Make it here; return the exit code.  Killed by a stop, since what it writes is whole or not there."""
    with Heartbeat(claims.attempt(attempt)), start([folder], orders_path, study_dir, "task") as child:
        while child.poll() is None:
            if stop.reason is not None:
                child.kill()
            time.sleep(POLL_S)
    return STOPPED if stop.reason is not None else child.returncode
