"""How much memory a run takes at most: its process's, and its GPU's."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def forget_peak(device: torch.device) -> None:
    """Begin to measure: runs that share a process do not share a peak, where the system lets it be forgotten."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak of what is resident
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def peaks(device: torch.device) -> dict[str, float | None]:
    """Say the largest amounts since `forget_peak`, in MiB.

    `peak_rss_mib`: of this process, resident in memory: packages and data included.  `peak_gpu_mib`: of tensors on
    the GPU, as torch's allocator counts them; None on a CPU.
    """
    gpu = None
    if device.type == "cuda":
        import torch

        gpu = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return {"peak_rss_mib": round(resident(), 1), "peak_gpu_mib": gpu}


def resident() -> float:
    """The most that this process has had in memory, in MiB.

    Linux's VmHWM: a child's ru_maxrss begins with what its parent had when it was started.
    """
    with contextlib.suppress(OSError):
        found = _PEAK.search(Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) / 2**10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)
