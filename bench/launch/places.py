"""The places that runs have side by side: on this machine, or in a Slurm task."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.launch.submission import TaskResources
from bench.resources import Resources

GPU_MEMORY = 0.9
"""Of a GPU's memory, what runs that share it may take together: each has a context of CUDA besides."""


class Place(NamedTuple):
    """Where one run may go."""

    environment: Mapping[str, str]
    gpu_share: float = 1.0
    """The part of its GPU's memory that it may take."""


def places_here(resources: Resources) -> list[Place]:
    """Places of the local pool: on each GPU that this process may use, or as many as its cores hold."""
    if resources.gpus == 0 or not gpus():
        beside = resources.parallel or max(1, cores() // resources.cpu_threads)
        return on_cpu(beside, resources.cpu_threads, hide=resources.gpus == 0)
    return on_gpus(gpus(), resources.runs_per_gpu, resources.cpu_threads)[: resources.parallel]


def places_of_task(resources: TaskResources) -> list[Place]:
    """Places of one Slurm task: on the GPUs that Slurm gave it, or on its cores."""
    if resources.gpus == 0 or not gpus():
        return on_cpu(resources.side_by_side, resources.cpu_threads, hide=resources.gpus == 0)
    if resources.side_by_side < resources.gpus:  # the ranks of a run have a GPU each
        each = resources.gpus // resources.side_by_side
        groups = [",".join(gpus()[first : first + each]) for first in range(0, len(gpus()), each)]
        return on_gpus(groups, 1, resources.cpu_threads)
    return on_gpus(gpus(), max(1, resources.side_by_side // resources.gpus), resources.cpu_threads)


def on_gpus(names: list[str], each: int, cpu_threads: int) -> list[Place]:
    """Make `each` places on each of these GPUs."""
    shared: dict[str, str] = {}
    if each > 1 and "PYTORCH_CUDA_ALLOC_CONF" not in os.environ:
        shared["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"  # memory that lies idle is the neighbours'
    share = GPU_MEMORY / each if each > 1 else 1.0
    threads = _threads(cpu_threads)
    return [Place({**threads, **shared, "CUDA_VISIBLE_DEVICES": name}, share) for name in names for _ in range(each)]


def on_cpu(beside: int, cpu_threads: int, *, hide: bool = False) -> list[Place]:
    """Make so many places on the cores; `hide`: GPUs that there may be."""
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if hide else {}
    return [Place({**_threads(cpu_threads), **hidden})] * beside


def room_for(ranks: int, free: Sequence[Place], everywhere: Sequence[Place]) -> list[Place] | None:
    """Choose the places of a run's ranks, each on a GPU of its own where there are GPUs; None while too few are free.

    Where `everywhere` has fewer than there are ranks, all of them: ranks share cores, and the job says what GPUs it
    lacks.
    """
    if ranks == 1:
        return [free[-1]] if free else None

    def apart(places: Sequence[Place]) -> list[Place]:
        gpus = {place.environment.get("CUDA_VISIBLE_DEVICES"): place for place in places}
        gpus.pop("", None)
        return list(places) if None in gpus or not gpus else list(gpus.values())

    chosen, needed = apart(free), min(ranks, len(apart(everywhere)))
    return chosen[:needed] if len(chosen) >= needed else None


def environment_of(places: Sequence[Place], ranks: int) -> dict[str, str]:
    """What a run in these places is started with: it sees a GPU for each of its ranks, as far as there are some."""
    gpus = dict.fromkeys(place.environment.get("CUDA_VISIBLE_DEVICES") for place in places)
    names = [name for name in gpus if name]
    return {**places[0].environment, **({"CUDA_VISIBLE_DEVICES": ",".join(names[:ranks])} if names else {})}


def _threads(cpu_threads: int) -> dict[str, str]:
    return {name: str(cpu_threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus() -> list[str]:
    """Names for CUDA_VISIBLE_DEVICES of the GPUs that this process may use, found without CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    with contextlib.suppress(OSError):
        return [str(i) for i, _ in enumerate(sorted(os.listdir("/proc/driver/nvidia/gpus")))]
    return []
