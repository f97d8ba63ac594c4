"""What a device can do, and what a run takes of it: ceilings, FLOPs, the share of time in which it works, bytes."""

from __future__ import annotations

import contextlib
import ctypes
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from bench.measured import Ceilings
from bench.precision import tf32

REPEATS = 7
MIB = 2**20


# ---------------------------------------------------------------------------------------------------------
# Ceilings.


def ceilings(device: torch.device) -> Ceilings:
    """Measure them: some seconds on a CPU."""
    side = 8192 if device.type == "cuda" else 1536
    found = {"float32": matmul(side, torch.float32, device)}
    if device.type == "cuda":
        with tf32():
            found["tf32"] = matmul(side, torch.float32, device)
        found["bfloat16"] = matmul(side, torch.bfloat16, device)
    source = torch.ones((2048 if device.type == "cuda" else 256) * MIB, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = median_seconds(lambda: target.copy_(source), device)
    return Ceilings(matmul_tflops=found, copy_gb_s=2 * source.nbytes / seconds / 1e9)


def matmul(side: int, dtype: torch.dtype, device: torch.device) -> float:
    """10^12 FLOP a second of a product of two matrices of this side: 2 side^3 FLOP."""
    a, b = (torch.randn((side, side), dtype=dtype, device=device) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * side**3 / median_seconds(lambda: torch.mm(a, b, out=out), device) / 1e12


def median_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Median time of some calls, after one that is not counted."""
    taken = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


# ---------------------------------------------------------------------------------------------------------
# What a run takes.


class Flops(TorchDispatchMode):
    """Counts the FLOPs of products and convolutions, forward and backward, by torch's own formulas: 2 a multiply-add.

    torch.utils.flop_counter.FlopCounterMode follows modules as well, which fails at the gradient of a penalty.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        said = kwargs or {}
        out = func(*args, **said)
        formula = flop_registry.get(getattr(func, "_overloadpacket", None))
        if formula is not None:
            self.total += formula(*args, **said, out_val=out)
        return out


def busy(work: Callable[[], object], device: torch.device) -> float | None:
    """Share of the second half of `work` in which kernels run on the GPU; None on a CPU, or where none is seen."""
    if device.type != "cuda":
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiled:
        work()
        torch.cuda.synchronize(device)
    on_gpu = torch.autograd.DeviceType.CUDA
    ranges = [(e.time_range.start, e.time_range.end) for e in profiled.events() if e.device_type == on_gpu]
    return covered(ranges) if ranges else None


def covered(ranges: Iterable[tuple[float, float]]) -> float:
    """Share of the second half, from the middle of all to the last end, that lies in at least one range."""
    ordered = sorted(ranges)
    end = max(stop for _, stop in ordered)
    reached = begin = (ordered[0][0] + end) / 2
    inside = 0.0
    for start, stop in ordered:
        inside += max(0.0, stop - max(start, reached))
        reached = max(reached, stop)
    return inside / (end - begin)


def bytes_of(held: Any) -> float:
    """MiB of all tensors in a tree of maps and lists, each storage once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors_in(held)}
    return sum(storages.values()) / MIB


def tensors_in(held: Any) -> Iterator[Tensor]:
    """All tensors in a tree of maps and lists."""
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, Mapping):
        for value in held.values():
            yield from tensors_in(value)
    elif isinstance(held, list | tuple):
        for value in held:
            yield from tensors_in(value)


def give_back() -> None:
    """Give memory that is free but held back to the system, where that can be asked for."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # glibc has it, musl does not
            ctypes.CDLL(None).malloc_trim(0)
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
