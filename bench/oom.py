"""What tells of a process that ran out of memory: its words, or the kernel's count of those that it killed."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

_WORDS = re.compile(
    r"OutOfMemoryError|\bMemoryError\b|\bout of memory\b|can't allocate memory|Cannot allocate memory|bad_alloc"
    r"|CUBLAS_STATUS_ALLOC_FAILED|exceeded memory limit|oom[-_]kill",
    re.IGNORECASE,
)


def told(text: str) -> bool:
    """Whether a log or a reason speaks of memory that could not be had."""
    return _WORDS.search(text) is not None


def kills() -> int | None:
    """How many processes the kernel has killed for want of memory, on this machine or in this control group.

    None: it does not tell.
    """
    counts = [int(found.group(1)) for path in _counters() if (found := _COUNT.search(_text(path)))]
    return sum(counts) if counts else None


_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def _counters() -> list[Path]:
    found = [Path("/proc/vmstat")]
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            found.append(Path(f"/sys/fs/cgroup{group}/memory.events"))
        elif "memory" in controllers.split(","):
            found.append(Path(f"/sys/fs/cgroup/memory{group}/memory.oom_control"))
    return found


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return ""
