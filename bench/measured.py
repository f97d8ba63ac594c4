"""What `bench.profile` found of a study: its form as JSON, where it is kept, and the arithmetic of medians and ratios.

Torch-free: a plan reads the last profile for its cost.  docs/profile.md says what each number means.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from bench.files import write_bytes
from bench.launch.places import GPU_MEMORY
from bench.setting import Strict

FILE = "profile.json"
"""In the study's folder of results/."""
CONTEXT_MIB = 600
"""About what CUDA takes of a GPU for each process, beside its tensors."""


class Spread(Strict):
    """A median, with the quartiles of single steps, or the least and the most of rounds."""

    median: float
    low: float
    high: float


class Machine(Strict):
    """What was measured on."""

    device: str
    """`cpu`, or the GPU's name."""
    host: str
    cpu: str | None
    threads: int
    cores: int
    torch: str
    gpu_memory_mib: float | None
    """All that the GPU has; None on a CPU."""


class Ceilings(Strict):
    """The most that this device was seen to do, on the spot."""

    matmul_tflops: dict[str, float]
    """Product of two large square matrices, 10^12 FLOP a second, by the form of its arithmetic."""
    copy_gb_s: float
    """10^9 bytes read and written a second, by a large copy."""


class Penalty(Strict):
    """What the penalty costs: a G step with it less one without, measured in alternation."""

    name: str
    ms: Spread
    """The difference, in ms a G step, over the rounds."""


class Memory(Strict):
    """The peak of one run and its parts, MiB: on a GPU of torch's tensors, on a CPU of the process."""

    peak: float
    before: float
    """On a CPU, what the process had before: packages, above all."""
    weights: float
    """G, D and G_ema."""
    optimizer: float
    data: float
    """The training part; on a CPU it is mapped from the cache, and runs share it."""
    rest: float
    """Of the peak: gradients, activations, what kernels work in."""


class Versus(Strict):
    """A cell against another, measured in alternation."""

    cell: str
    """The other."""
    ratios: dict[str, Spread]
    """This cell over the other, over the rounds; of `memory` and `gflop_per_image` there is one value."""


class CellTimes(Strict):
    """What one cell's run takes, in its last stage."""

    cell: str
    shape: str
    """Digest of `overview.shape`: cells that share it cost the same."""
    from_step: int
    """G step of the run from which it was measured."""
    measured_steps: int
    images_a_step: float
    """Real images shown to D in one G step."""
    images_per_second: float
    seconds_an_image: float
    """Mean over the whole run; of a growing net, over all its levels.  For forecasts."""
    step_ms: Spread
    """One G step with its D updates, the log's share included; quartiles over steps."""
    parts_ms: dict[str, float]
    """Of a G step: data, each phase, ema, log (a row's cost over the steps between rows), rest.  Medians."""
    updates: dict[str, float]
    """Updates of each phase in one G step."""
    penalty: Penalty | None
    memory_mib: Memory
    parameters: dict[str, int]
    gflop_per_image: float
    tflops: float
    """Reached, 10^12 FLOP a second."""
    ceiling_share: dict[str, float]
    """Of each of `Ceilings.matmul_tflops`."""
    busy: float | None
    """Share of the time in which kernels ran on the GPU; None on a CPU."""
    vs: Versus | None = None


class Forecast(Strict):
    """What the missing runs would take, training alone."""

    runs: int
    seconds: float | None
    """One after another, each as fast as it was measured alone; None where nothing is left."""
    places: int
    """Runs side by side."""
    unlike: int
    """Runs of shapes that were not measured: the median rate stands for theirs."""


class Advice(Strict):
    """How many runs should share a GPU."""

    runs_per_gpu: int | None
    """None without a GPU."""
    why: str


class Measured(Strict):
    """One profile."""

    format: Literal[1] = 1
    study: str
    made: str
    """UTC."""
    rounds: int
    core_share: float | None
    """On a CPU: share of the time in which this process had its core.  Far below 1, other work is in all times."""
    machine: Machine
    ceilings: Ceilings
    cells: tuple[CellTimes, ...]
    forecast: Forecast
    advice: Advice

    def write(self, path: Path) -> None:
        """Replace `path` atomically.  Raises StoreError."""
        write_bytes(path, (self.model_dump_json(indent=1) + "\n").encode())


def read(path: Path) -> Measured | None:
    """Read a profile; None where there is none, or it is of another form."""
    try:
        return Measured.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


class Rates(NamedTuple):
    """What a plan takes from the last profile."""

    seconds: Mapping[str, float] = {}
    """Shape's digest → seconds an image shown to D."""
    source: str = ""


def rates(study: Path, threads: int) -> Rates:
    """Read what the last profile in a study's folder says; nothing where it was made with other threads."""
    found = read(study / FILE)
    if found is None or found.machine.threads != threads:
        return Rates()
    seconds = {cell.shape: cell.seconds_an_image for cell in found.cells}
    return Rates(seconds, f"bench.profile on {found.machine.device}, {found.made[:10]}")


# ---------------------------------------------------------------------------------------------------------
# Arithmetic.


def of_steps(values: Sequence[float]) -> Spread:
    """Median and quartiles."""
    if len(values) < 2:
        return Spread(median=values[0], low=values[0], high=values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median=median, low=low, high=high)


def of_rounds(values: Sequence[float]) -> Spread:
    """Median, least and most."""
    return Spread(median=statistics.median(values), low=min(values), high=max(values))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread | None:
    """One over the other in each round: what slows the machine for a while slows both.  None over nothing."""
    if not all(theirs):
        return None
    return of_rounds([one / other for one, other in zip(ours, theirs, strict=True)])


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """One less the other in each round."""
    return of_rounds([one - other for one, other in zip(ours, theirs, strict=True)])


def advice(cells: Sequence[CellTimes], machine: Machine, places: int) -> Advice:
    """Say how many runs should share a GPU: as many as fit and as find it idle, by the most demanding cell."""
    if machine.gpu_memory_mib is None:
        runs = f"{places} run{'' if places == 1 else 's'} side by side"
        threads = f"{machine.threads} thread{'' if machine.threads == 1 else 's'} each"
        return Advice(runs_per_gpu=None, why=f"no GPU here: {runs}, {threads}, on {machine.cores} cores")
    peak, busy = max(cell.memory_mib.peak for cell in cells), max(cell.busy or 1.0 for cell in cells)
    fit = int(GPU_MEMORY * machine.gpu_memory_mib / (peak + CONTEXT_MIB))
    fill, cores = round(1.0 / busy), machine.cores // machine.threads
    said = f"memory holds {fit} ({peak:,.0f} MiB each), kernels run {busy:.0%} of the time, cores drive {cores}"
    return Advice(runs_per_gpu=max(1, min(fit, fill, cores)), why=said)
