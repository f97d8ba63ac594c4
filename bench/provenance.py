"""Where a result comes from: code, packages, machine, scheduler and command of each attempt; and what differs.

A study whose runs were made by unlike code or on unlike machines says so in its status and in its report.  torch is
imported only where an attempt is described: `bench.status` compares without it.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import os
import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import bench
from bench.files import now, read_json, write_bytes, write_json
from bench.liveness import this_job
from bench.setting import NUMERICS
from bench.store import RunFolder, RunState, Store

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).parent
PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-image",
    "scikit-learn",
    "pillow",
    "clean-fid",
    "pydantic",
    "ruamel.yaml",
    "submitit",
)
STAMPED = ("commit", "dirty", "code", "torch", "threads", "device", "cpu", "host", "earlier")
"""What trained.json repeats."""
COMPARED = {
    "code": ("mixed code", "trained by different code"),
    "torch": ("mixed torch versions", "trained with different versions of torch"),
    "device": ("mixed devices", "trained on different devices"),
    "threads": ("mixed threads", "trained with different numbers of threads"),
    "cpu": ("mixed instruction sets", "trained with different instruction sets"),
    "scoring": ("scored by mixed code", "scored by different code"),
}
"""What should be the same in all runs of a study; what to say, in short and in a sentence, when it is not."""
DIFF_LIMIT = 2**18
"""Bytes kept of the changes that are in no commit."""
GIT_S = 20.0


# ---------------------------------------------------------------------------------------------------------
# What one attempt runs on.


def record(attempt: Path, device: torch.device) -> dict[str, Any]:
    """Write an attempt's provenance.json, and changes.diff where the code is in no commit; return what it says.

    Raises StoreError.
    """
    commit, changes = git_state()
    if changes:
        write_bytes(attempt / "changes.diff", changes)
    made_by = {"commit": commit, "dirty": None if changes is None else bool(changes), **describe(device)}
    made_by["earlier"] = _earlier(attempt, made_by)
    write_json(attempt / "provenance.json", made_by)
    return made_by


def stamps(made_by: Mapping[str, Any]) -> dict[str, Any]:
    """Pick what stands in trained.json as well."""
    return {key: made_by[key] for key in STAMPED}


def describe(device: torch.device) -> dict[str, Any]:
    """Say which code, packages, machine and command this process is."""
    import torch

    return {
        "version": bench.__version__,
        "numerics": NUMERICS,
        "code": code(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "packages": packages(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "gpu": _gpu(device) if device.type == "cuda" else None,
        "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "cpu_model": _cpu_model(),
        "threads": torch.get_num_threads(),
        "host": platform.node(),
        "system": platform.platform(),
        "slurm": _slurm(),
        "command": sys.orig_argv,
        "started": now(),
    }


@functools.cache
def packages() -> dict[str, str]:
    """Versions of the packages that take part, of those that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _gpu(device: torch.device) -> dict[str, Any]:
    import torch

    properties = torch.cuda.get_device_properties(device)
    return {
        "memory_gb": round(properties.total_memory / 2**30, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


def _driver() -> str | None:
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", _read("/proc/driver/nvidia/version"))
    return found[1] if found else None


def _cpu_model() -> str | None:
    found = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _slurm() -> dict[str, Any] | None:
    """The job that this process is in; None outside of one."""
    job = this_job()
    said = os.environ.get
    return job and {**job, "partition": said("SLURM_JOB_PARTITION"), "node": said("SLURMD_NODENAME")}


# ---------------------------------------------------------------------------------------------------------
# The code.

_IMPORT = re.compile(
    r"^\s*(?:from\s+(bench[\w.]*)\s+import\s+(\([^)]*\)|.*)|import\s+(bench[\w.]*(?:\s*,\s*bench[\w.]*)*))",
    re.MULTILINE,
)


@functools.cache
def code() -> str:
    """Hash the source of every module of ours that a job can import: sixteen hex digits.

    What only plans, launches or shows is not in it: a change to a figure makes no other weights.  Modules of the
    user's own are in the setting.
    """
    hashed = hashlib.sha256()
    for path, content in sorted(sources().items()):
        hashed.update(f"{path}\0{len(content)}\0".encode())
        hashed.update(content)
    return hashed.hexdigest()[:16]


def sources(start: str = "bench.job") -> dict[str, bytes]:
    """Read `start` and all of ours that it imports, anywhere in its text: path within bench/ → content."""
    found: dict[str, bytes] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if path is None or (place := path.relative_to(ROOT).as_posix()) in found:
            continue
        found[place] = path.read_bytes()
        waiting += _imported(found[place].decode(errors="replace"))
        waiting += [name.rpartition(".")[0]]  # importing a module runs its package first
    return found


def _source(name: str) -> Path | None:
    """The file of `bench.x.y`; None for a name that is no module of ours."""
    path = ROOT.joinpath(*name.split(".")[1:])
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in candidates if name.startswith("bench") and file.is_file()), None)


def _imported(text: str) -> Iterator[str]:
    for package, names, modules in _IMPORT.findall(text):
        yield from re.split(r"\s*,\s*", modules)
        yield package
        for name in re.findall(r"(\w+)(?:\s+as\s+\w+)?", re.sub(r"#.*", "", names)):
            yield f"{package}.{name}"


@functools.cache
def git_state() -> tuple[str | None, bytes | None]:
    """The commit of this code and how its tree differs from it (b"": not at all); (None, None) outside a checkout."""
    if not (ROOT.parent / ".git").exists():
        return None, None
    try:
        head = _git("rev-parse", "HEAD").decode().strip()
        changes = _git("diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD", "--", ".")
        fresh = _git("ls-files", "--others", "--exclude-standard", "-z", "--", "*.py").decode().split("\0")
    except (OSError, subprocess.SubprocessError):
        return None, None
    for name in filter(None, fresh):
        lines = _read(str(ROOT / name)).splitlines(keepends=True)
        changes += "".join(difflib.unified_diff([], lines, "/dev/null", f"b/bench/{name}")).encode()
    if len(changes) > DIFF_LIMIT:
        said = f"\n[cut: {len(changes):,} bytes in all, of which the first {DIFF_LIMIT:,} are kept]\n"
        changes = changes[:DIFF_LIMIT] + said.encode()
    return head, changes


def _git(*arguments: str) -> bytes:
    """What git says of our folder.  It takes no lock, since many attempts may ask at once, and runs no hook."""
    named = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    environment = {key: value for key, value in os.environ.items() if key not in named} | {"GIT_OPTIONAL_LOCKS": "0"}
    command = ["git", "-c", "core.fsmonitor=false", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=GIT_S, check=True)
    return done.stdout


# ---------------------------------------------------------------------------------------------------------
# What differs.


class Mixture(NamedTuple):
    """One thing that should be the same in all runs, and is not."""

    what: str
    """A key of COMPARED."""
    values: dict[str, int]
    """Each value, and how many runs it had a part in."""
    runs: list[str]
    """Ids of the runs that have more than one: it changed between their attempts."""
    cells: list[str]
    """Names of the cells whose runs have more than one."""
    apart: bool
    """Whether cells differ from each other: then it lies upon their contrast."""

    def line(self) -> str:
        """Say it in a line."""
        values = ", ".join(f"{value} ({_count(n, 'run')})" for value, n in self.values.items())
        text = f"{COMPARED[self.what][1]}: {values}"
        if self.runs:
            text += f"; within {_count(len(self.runs), 'run')}: {_some(self.runs)}"
        if self.cells:
            text += f"; within {_count(len(self.cells), 'cell')}: {_some(self.cells)}"
        return text + ("; the cells differ from each other" if self.apart else "")


def mixtures(cells: Mapping[str, str], states: Mapping[str, RunState], store: Store) -> list[Mixture]:
    """List what differs between attempts, runs and cells; nothing is known of a run without attempts.

    `cells`: the name of each run's cell, by the run's id.
    """
    of_runs = {run_id: of_run(run_id, states[run_id], store) for run_id in cells}
    found = []
    for what in COMPARED:
        counts = Counter(value for known in of_runs.values() for value in known.get(what, ()))
        if len(counts) < 2:
            continue
        of_cells: dict[str, set[str]] = {}
        for run_id, name in cells.items():
            of_cells.setdefault(name, set()).update(of_runs[run_id].get(what, ()))
        found.append(
            Mixture(
                what,
                dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
                [run_id for run_id, known in of_runs.items() if len(known.get(what, ())) > 1],
                [name for name, values in of_cells.items() if len(values) > 1],
                len({frozenset(values) for values in of_cells.values() if values}) > 1,
            )
        )
    return found


def of_run(run_id: str, state: RunState, store: Store) -> dict[str, list[str]]:
    """What each of COMPARED was in the attempts at a run, each value once."""
    trained = state.trained
    if trained is None:
        return _values(_read_attempts(folder := store.run(run_id), folder.attempts())) if state.attempt else {}
    known = _values([trained])
    earlier = trained.get("earlier")
    for what, values in earlier.items() if isinstance(earlier, dict) else ():
        known[what] = list(dict.fromkeys([*map(str, values), *known.get(what, [])]))
    # Attempts after the one that trained it only scored.
    last = trained.get("attempt")
    if not isinstance(last, int) or last >= state.attempt:
        return known
    later = _read_attempts(store.run(run_id), range(last + 1, state.attempt + 1))
    scored = dict.fromkeys(str(made_by["code"]) for made_by in (trained, *later) if made_by.get("code"))
    return {**known, "scoring": list(scored)}


def _read_attempts(folder: RunFolder, numbers: Iterable[int]) -> list[dict[str, Any]]:
    read = (read_json(folder.attempt(number) / "provenance.json") for number in numbers)
    return [made_by for made_by in read if made_by is not None]


def _values(made_by: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    known: dict[str, list[str]] = {}
    for said in made_by:
        for what in COMPARED:
            # A GPU's run does not depend on the instructions of the CPU beside it.
            if said.get(what) is None or (what == "cpu" and said.get("device") != "cpu"):
                continue
            if (value := str(said[what])) not in known.setdefault(what, []):
                known[what].append(value)
    return known


def _earlier(attempt: Path, made_by: Mapping[str, Any]) -> dict[str, list[str]]:
    """What was otherwise in the attempts before this one."""
    folder = RunFolder(attempt.parent.parent)
    before = _values(_read_attempts(folder, [n for n in folder.attempts() if n < int(attempt.name)]))
    here = _values([made_by])
    others = {what: [value for value in values if value not in here.get(what, [])] for what, values in before.items()}
    return {what: values for what, values in others.items() if values}


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def _some(names: list[str], shown: int = 3) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
