"""One run, start to finish: `python -m bench.job RUN_DIR --orders FILE`.

Trains what is not trained, scores what is not scored, and says how it ended by its exit code: 0 an outcome is
recorded, 2 bad input, 75 stopped and can go on, anything else a failure.  Every executor launches this same
command, and a run interrupted anywhere is taken up by launching it again.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from bench import data, datasets, draws, evaluate, norms, sample
from bench.keeper import RunKeeper, Stop, newest_checkpoints
from bench.models import build
from bench.orders import Orders
from bench.schedule import schedule
from bench.setting import NUMERICS, Data, Setting
from bench.store import RunFolder, Store, StoreError, now, publish, publish_json, read_json, write_json
from bench.train import Outcome, train

OK, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 75
BAD_INPUTS = (StoreError, datasets.DataError, norms.NormError)


def run(folder: RunFolder, orders: Orders, *, stop: Stop, attempt: int | None = None) -> int:
    """Bring one run to its outcome and its scores; return the exit code.

    `attempt`: the attempt that the supervisor has claimed for this process; None: claim one here.
    """
    try:
        setting = folder.setting()
    except StoreError as error:
        print(error, file=sys.stderr)
        if attempt is not None:
            folder.end(attempt, BAD_INPUT, str(error))
        return BAD_INPUT
    if attempt is None:
        attempt = folder.claim()
        if attempt is None:
            print(f"run {folder.path.name}: another process is at it", flush=True)
            return STOPPED
    else:
        folder.adopt(attempt)
    code, reason = FAILED, ""
    try:
        code, reason = _train_and_score(folder, setting, orders, attempt, stop)
    except BAD_INPUTS as error:
        code, reason = BAD_INPUT, str(error)
        print(error, file=sys.stderr)
    except (Exception, SystemExit) as error:  # a module of the user's own may try to leave
        reason = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    try:
        folder.end(attempt, code, reason)
    except StoreError as error:
        print(error, file=sys.stderr)
    return code


def _train_and_score(folder: RunFolder, setting: Setting, orders: Orders, attempt: int, stop: Stop) -> tuple[int, str]:
    device = prepare_torch(setting, orders)
    setting = with_folder(setting, orders)
    provenance = describe_process(setting, device)
    write_json(folder.attempt(attempt) / "provenance.json", provenance)
    store = Store(folder.path.parent.parent)
    dataset = data.load(setting.data, orders.data_root, store.cache)
    if folder.trained.exists() and folder.state().trained is None:
        print(f"{folder.trained} is half-written: set aside as {folder.set_aside(folder.trained).name}")
    if folder.state().trained is None:
        outcome = _train(folder, setting, orders, attempt, stop, dataset, device, provenance)
        if outcome.status == "stopped":
            return STOPPED, stop.reason or "asked to stop"
    for path in newest_checkpoints(folder):
        path.unlink(missing_ok=True)
    return _score(folder, setting, orders, stop, store, dataset, device)


def _train(
    folder: RunFolder,
    setting: Setting,
    orders: Orders,
    attempt: int,
    stop: Stop,
    dataset: data.Dataset,
    device: torch.device,
    provenance: dict[str, Any],
) -> Outcome:
    images, _ = dataset.part("train")
    plan = schedule(setting, len(images))
    keeper = RunKeeper(folder, attempt, setting, stop, checkpoint_s=60.0 * orders.checkpoint_minutes)
    try:
        outcome = train(setting, images, plan, keeper, device)
    finally:
        keeper.close()
    if outcome.status != "stopped":
        kept = [label for label in plan.snapshots.values() if (folder.snapshots / f"{label}.pt").exists()]
        publish_json(
            folder.trained,
            {
                "status": outcome.status,
                "cause": outcome.cause,
                "step": outcome.step,
                "nimg": outcome.nimg,
                "kimg": outcome.nimg / 1000,
                "seconds": round(outcome.seconds, 3),
                "images_per_second": round(outcome.nimg / max(outcome.seconds, 1e-9), 2),
                "weights": outcome.weights,
                "snapshots": kept,
                "attempt": attempt,
                "finished": now(),
                "packed": orders.packed,
                **{key: provenance[key] for key in ("commit", "dirty", "torch", "threads", "device", "host")},
            },
        )
        print(f"{outcome.status}: {outcome.nimg / 1000:g} kimg in {outcome.seconds:.1f} s", flush=True)
    return outcome


def _score(
    folder: RunFolder,
    setting: Setting,
    orders: Orders,
    stop: Stop,
    store: Store,
    dataset: data.Dataset,
    device: torch.device,
) -> tuple[int, str]:
    """Compute the scores that are missing or failed."""
    trained = read_json(folder.trained) or {}
    for label, missing in orders.unscored(folder, setting, trained.get("snapshots", []), dataset).items():
        if stop.reason is not None:
            return STOPPED, stop.reason
        head = {"run": folder.path.name, "snapshot": label}
        try:
            shown = _fakes(folder, setting, orders, label, device)
        except sample.SampleError as error:
            for request in missing:
                failed = evaluate.failed(request, str(error))
                write_json(folder.scores / f"{request.id}.json", {**head, **failed})
            continue
        records = evaluate.score(
            missing, shown, setting.data, orders.evaluate, root=orders.data_root, cache=store.cache
        )
        for record in records:
            write_json(folder.scores / f"{record['id']}.json", {**head, **record})
            if record["status"] == "failed":
                print(f"score {record['metric']} of snapshot {label} failed: {record['reason']}", flush=True)
    return OK, ""


def _fakes(folder: RunFolder, setting: Setting, orders: Orders, label: str, device: torch.device) -> torch.Tensor:
    G, _ = build(setting)
    G.load_state_dict(torch.load(folder.snapshots / f"{label}.pt", map_location="cpu", weights_only=True))
    asked = orders.evaluate
    return sample.fakes(G, setting, asked.fakes, seed=asked.seed, batch=asked.batch, device=device)


# ---------------------------------------------------------------------------------------------------------
# What many runs need once.


def prepare(orders: Orders, setting: Setting, study: Path) -> None:
    """Do before any run starts what would fail or be made many times: data, own modules, reference statistics.

    Raises DataError or NormError with the place and the remedy.
    """
    prepare_torch(setting, orders)
    setting = with_folder(setting, orders)
    for name, z_dim in ((setting.g_norm, setting.z_dim), (setting.d_norm, None)):
        if ":" in name:
            norms.check_own(name, z_dim)
    cache = study.parent.parent / "cache"
    dataset = data.load(setting.data, orders.data_root, cache)
    for file, reason in dataset.unreadable[:20]:
        print(f"not readable, left out: {file}: {reason}", file=sys.stderr)
    if len(dataset.unreadable) > 20:
        print(f"… and {len(dataset.unreadable) - 20} more", file=sys.stderr)
    images, _ = dataset.part("train")
    chosen = draws.permutation(len(images), sample.SHEET_SEED, "sheet_reals", 0)
    publish(study / "reals.png", sample.sheet(images[chosen]))
    evaluate.prepare(setting.data, orders.evaluate, orders.metrics, root=orders.data_root, cache=cache)


def prepare_torch(setting: Setting, orders: Orders) -> torch.device:
    """Set threads, determinism and device for this process."""
    torch.set_num_threads(orders.cpu_threads)
    # fp32 means fp32: convolutions on CUDA would use TF32 otherwise.
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    cuda = torch.cuda.is_available()
    # Our CPU kernels repeat bit for bit at equal thread counts; asking for it here costs 1.6 s of imports.
    if setting.deterministic and cuda:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    return torch.device("cuda" if cuda else "cpu")


def with_folder(setting: Setting, orders: Orders) -> Setting:
    """Say where the images of `data: {folder: ...}` lie on this machine; that is no part of the run."""
    if orders.folder is None:
        return setting
    where: Data = setting.data.model_copy(update={"folder": str(orders.folder)})
    return setting.model_copy(update={"data": where})


def describe_process(setting: Setting, device: torch.device) -> dict[str, Any]:
    """Provenance of an attempt: code, versions, machine, command."""
    commit, dirty = git_state()
    return {
        "commit": commit,
        "dirty": dirty,
        "numerics": NUMERICS,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "host": platform.node(),
        "command": sys.argv,
        "started": now(),
    }


def git_state() -> tuple[str | None, bool | None]:
    """Commit of this code and whether its tree differs from it; (None, None) outside a checkout."""
    here = Path(__file__).parent
    git = shutil.which("git")
    if git is None or not (here.parent / ".git").exists():
        return None, None
    ask = [git, "-C", str(here)]
    head = subprocess.run([*ask, "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode != 0:
        return None, None
    changes = subprocess.run(
        [*ask, "status", "--porcelain", "--untracked-files=no", "."], capture_output=True, text=True
    )
    return head.stdout.strip(), bool(changes.stdout.strip())


# ---------------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.job", description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder, results/runs/<run_id>")
    parser.add_argument("--orders", type=Path, required=True, help="results/studies/<study>/orders.json")
    parser.add_argument("--attempt", type=int, help="the attempt that the supervisor has claimed")
    parser.add_argument("--prepare", type=Path, metavar="STUDY_DIR", help="only make what all runs need")
    parser.add_argument("--supervised", action="store_true", help="stop when standard input closes")
    given = parser.parse_args(arguments)
    stop = Stop()
    stop.install()
    if given.supervised:
        stop.follow(sys.stdin.buffer)
    try:
        orders = Orders.read(given.orders)
        if given.prepare:
            started = time.monotonic()
            prepare(orders, RunFolder(given.run).setting(), given.prepare)
            print(f"prepared in {time.monotonic() - started:.1f} s", flush=True)
            return OK
    except (*BAD_INPUTS, ValidationError) as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    return run(RunFolder(given.run), orders, stop=stop, attempt=given.attempt)


if __name__ == "__main__":
    sys.exit(main())
