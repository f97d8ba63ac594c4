"""Where a result comes from: the code, the packages, the machine and the command of an attempt."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import bench
from bench.setting import NUMERICS
from bench.store import now, write_json

STAMPED = ("commit", "dirty", "torch", "threads", "device", "host")
"""What trained.json repeats."""


def record(attempt: Path, device: torch.device) -> dict[str, Any]:
    """Write an attempt's provenance.json; return what it says.  Raises StoreError."""
    made_by = describe(device)
    write_json(attempt / "provenance.json", made_by)
    return made_by


def stamps(made_by: dict[str, Any]) -> dict[str, Any]:
    """Pick what stands in trained.json as well."""
    return {key: made_by[key] for key in STAMPED}


def describe(device: torch.device) -> dict[str, Any]:
    """Provenance of an attempt: code, versions, machine, command."""
    commit, dirty = git_state()
    return {
        "commit": commit,
        "dirty": dirty,
        "version": bench.__version__,
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
