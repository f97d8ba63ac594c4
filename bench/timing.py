"""Times the cells of a study by throw-away runs in alternation, and says what the whole study will take."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bench import data, memory, overview, provenance
from bench.data import Part
from bench.datasets import Source
from bench.design import Cell, Design
from bench.device import MIB, Flops, busy, bytes_of, ceilings, give_back
from bench.files import now
from bench.launch.places import cores
from bench.measured import (
    CellTimes,
    Forecast,
    Machine,
    Measured,
    Memory,
    Penalty,
    Rates,
    Spread,
    Versus,
    advice,
    difference,
    of_rounds,
    of_steps,
    ratio,
)
from bench.orders import Orders
from bench.preparation import larger, prepare_torch
from bench.schedule import nimg_after, schedule
from bench.setting import Data, Setting
from bench.stopwatch import Block, Step, Throw, levels_of, throw
from bench.store import Store

ROUNDS = 5
"""Turns that each setting has in the alternation."""
WITH, WITHOUT = "as it is", "without its penalty"
Turn = Sequence[Step]
"""The steps of one round."""


@dataclass(frozen=True)
class Asked:
    """What is to be timed."""

    cells: Sequence[Cell]
    vs: Cell | None
    """What the others are set against; one of `cells`."""
    steps: int
    """G steps that are counted of each setting, over all rounds."""
    places: int
    """Runs side by side."""


def profile(
    design: Design,
    store: Store,
    orders: Orders,
    sources: Mapping[Data, Source],
    asked: Asked,
    say: Callable[[str], None] = lambda line: None,
) -> Measured:
    """Time cells of a study on this device.

    Raises DataError, DeviceError, DivergedError, NormError, OwnModuleError.
    """
    settings = {run.cell.name: run.setting for run in reversed(design.runs)}
    device = prepare_torch(settings[asked.cells[0].name], orders)
    say("ceilings of this device")
    most, rounds = ceilings(device), min(ROUNDS, asked.steps)
    subjects = {}
    for cell in asked.cells:
        say(f"memory and FLOPs of {cell.name}")
        setting = orders.placed(settings[cell.name])
        part = training_part(setting, orders.data_root, store.cache)
        subjects[cell.name] = look(throw(setting, part, device, asked.steps // rounds, cuda_graphs=orders.cuda_graphs))
    began, worked = time.perf_counter(), time.thread_time()
    turns = alternate(subjects, rounds, say)
    had_core = (time.thread_time() - worked) / (time.perf_counter() - began)
    found = []
    for name, subject in subjects.items():
        vs = asked.vs.name if asked.vs is not None and asked.vs.name != name else None
        against = vs and Versus(cell=vs, ratios=ratios(subject, turns[name, WITH], subjects[vs], turns[vs, WITH]))
        penalty = penalty_of(subject, turns[name, WITH], turns.get((name, WITHOUT)))
        steps = [step for turn in turns[name, WITH] for step in turn]
        found.append(times_of(name, subject, steps, most.matmul_tflops, penalty, against or None))
    machine = describe(device)
    return Measured(
        study=design.study.name,
        made=now(),
        rounds=rounds,
        core_share=None if device.type == "cuda" else had_core,
        machine=machine,
        ceilings=most,
        cells=tuple(found),
        forecast=forecast(design, store, sources, found, asked.places),
        advice=advice(found, machine, asked.places),
    )


def training_part(setting: Setting, root: Path, cache: Path) -> Part:
    """The reals to train on, decoded and cached as a job has them.  Raises DataError."""
    return data.load(larger(setting.data) if setting.data.jitter else setting.data, root, cache).part("train")


def describe(device: torch.device) -> Machine:
    """Say what this is measured on."""
    made_by = provenance.describe(device)
    whole = torch.cuda.get_device_properties(device).total_memory / MIB if device.type == "cuda" else None
    return Machine(
        device=made_by["device"],
        host=platform.node(),
        cpu=made_by["cpu_model"],
        threads=made_by["threads"],
        cores=cores(),
        torch=made_by["torch"],
        gpu_memory_mib=whole,
    )


# ---------------------------------------------------------------------------------------------------------
# One cell.


@dataclass(frozen=True)
class Subject:
    """A setting to be timed, with what is known of it without a clock."""

    throw: Throw
    images_a_step: float
    flop_a_step: int
    memory_mib: Memory
    parameters: Mapping[str, int]
    busy: float | None
    below: tuple[tuple[int, float], ...]
    """Of each level that the run has grown through before: images shown in it, and the seconds that one takes."""
    images: int
    """Images shown in the last level."""

    @property
    def gflop_per_image(self) -> float:
        """10^9 FLOP for each real image shown to D, its share of G's updates included."""
        return self.flop_a_step / self.images_a_step / 1e9


def look(ready: Throw) -> Subject:
    """Count FLOPs and bytes."""
    block, held = weighed(ready)
    with Flops() as flops:
        ready.one_step()
    steps = range(ready.first, ready.first + ready.steps)
    images = statistics.median(nimg_after(ready.setting, n + 1) - nimg_after(ready.setting, n) for n in steps)
    share = busy(ready.block, ready.device)
    *earlier, (_, last) = levels_of(ready.setting, schedule(ready.setting, len(ready.part.images)).steps)
    below = tuple((shown, seconds_below(ready, end)) for end, shown in earlier)
    return Subject(ready, images, flops.total, held, block.outcome.parameters, share, below, last)


def seconds_below(ready: Throw, end: int) -> float:
    """Seconds an image in the level that ends before G step `end`."""
    level = throw(ready.setting, ready.part, ready.device, ready.steps, before=end, cuda_graphs=ready.cuda_graphs)
    step_ms = statistics.median(step.own for step in level.block().steps)
    return step_ms / 1000 / (nimg_after(ready.setting, end) - nimg_after(ready.setting, end - 1))


def seconds_an_image(subject: Subject, last: float) -> float:
    """Mean over the whole run, where one of the last level takes `last` seconds."""
    shown = [*subject.below, (subject.images, last)]
    return sum(n * seconds for n, seconds in shown) / sum(n for n, _ in shown)


def weighed(ready: Throw) -> tuple[Block, Memory]:
    """Run a block and say what memory it took."""
    give_back()
    memory.forget_peak(ready.device)
    on_gpu = ready.device.type == "cuda"
    before = torch.cuda.memory_allocated(ready.device) / MIB if on_gpu else memory.resident()
    block = ready.block()
    peaks = memory.peaks(ready.device)
    peak = peaks["peak_gpu_mib"] if on_gpu else peaks["peak_rss_mib"]
    weights = bytes_of([block.state[net] for net in ("G", "D", "G_ema")])
    optimizer, images = bytes_of(block.state["optimizers"]), bytes_of(ready.part)
    rest = max(0.0, (peak or 0.0) - before - weights - optimizer - (images if on_gpu else 0.0))
    held = Memory(peak=peak or 0.0, before=before, weights=weights, optimizer=optimizer, data=images, rest=rest)
    return block, held


def alternate(
    subjects: Mapping[str, Subject], rounds: int, say: Callable[[str], None]
) -> dict[tuple[str, str], list[list[Step]]]:
    """Time each setting, and at once the same without its penalty, in turn, again and again.

    What slows the machine for a while slows all of them.  Returns the steps of each round.
    """
    turns: dict[tuple[str, str], list[list[Step]]] = {}
    for number in range(rounds):
        for name, subject in subjects.items():
            say(f"round {number + 1} of {rounds}: {name}")
            turns.setdefault((name, WITH), []).append(subject.throw.block().steps)
            if subject.throw.setting.penalty != "none":
                turns.setdefault((name, WITHOUT), []).append(subject.throw.without_penalty().block().steps)
    return turns


def penalty_of(subject: Subject, ours: Sequence[Turn], without: Sequence[Turn] | None) -> Penalty | None:
    """What the penalty costs; None where there is none."""
    if without is None:
        return None
    return Penalty(name=subject.throw.setting.penalty, ms=difference(medians(ours), medians(without)))


def times_of(
    name: str,
    subject: Subject,
    steps: Sequence[Step],
    most: Mapping[str, float],
    penalty: Penalty | None,
    against: Versus | None,
) -> CellTimes:
    """Sum up the steps of a cell."""
    log = log_ms(steps, subject.throw.log_every)
    whole = of_steps([step.own + log for step in steps])
    parts = {part: statistics.median(step.parts.get(part, 0.0) for step in steps) for part in names(steps)}
    rest = statistics.median(step.whole - sum(step.parts.values()) for step in steps)
    n_updates = {part: statistics.mean(step.counts.get(part, 0) for step in steps) for part in parts}
    reached = subject.flop_a_step / whole.median / 1e9
    return CellTimes(
        cell=name,
        shape=overview.shape_digest(subject.throw.setting),
        from_step=subject.throw.first,
        measured_steps=len(steps),
        images_a_step=subject.images_a_step,
        images_per_second=1000 * subject.images_a_step / whole.median,
        seconds_an_image=seconds_an_image(subject, whole.median / 1000 / subject.images_a_step),
        step_ms=whole,
        parts_ms={**parts, "log": log, "rest": rest},
        updates={part: n for part, n in n_updates.items() if part not in ("data", "ema")},
        penalty=penalty,
        memory_mib=subject.memory_mib,
        parameters=dict(subject.parameters),
        gflop_per_image=subject.gflop_per_image,
        tflops=reached,
        ceiling_share={form: reached / ceiling for form, ceiling in most.items()},
        busy=subject.busy,
        vs=against,
    )


def names(steps: Sequence[Step]) -> list[str]:
    """Names of the spans that every step has, in their order; the log is apart."""
    return [name for name in dict.fromkeys(name for step in steps for name in step.parts) if name != "log"]


def log_ms(steps: Sequence[Step], log_every: int) -> float:
    """What a row of the log takes, over the steps from one row to the next."""
    rows = [step.parts["log"] for step in steps if step.logged]
    return statistics.median(rows) / log_every if rows else 0.0


def medians(turns: Sequence[Turn], part: str | None = None) -> list[float]:
    """Median of a part of a step in each round, ms; None: of the whole step but the log."""
    return [
        statistics.median(step.own if part is None else step.parts.get(part, 0.0) for step in turn) for turn in turns
    ]


def ratios(one: Subject, ours: Sequence[Turn], other: Subject, theirs: Sequence[Turn]) -> dict[str, Spread]:
    """One cell over another: times by rounds; memory and FLOPs, which do not vary."""
    images = one.images_a_step / other.images_a_step
    found = {"step": ratio(medians(ours), medians(theirs))}
    found["images_per_second"] = ratio([images * ms for ms in medians(theirs)], medians(ours))
    for part in (part for part in names(ours[0]) if part in names(theirs[0])):
        found[part] = ratio(medians(ours, part), medians(theirs, part))
    found["memory"] = of_rounds([one.memory_mib.peak / other.memory_mib.peak])
    found["gflop_per_image"] = ratio([one.gflop_per_image], [other.gflop_per_image])
    return {key: value for key, value in found.items() if value is not None}


# ---------------------------------------------------------------------------------------------------------
# The whole study.


def forecast(
    design: Design, store: Store, sources: Mapping[Data, Source], found: Sequence[CellTimes], places: int
) -> Forecast:
    """What the missing runs will take by these times alone."""
    left = [run for run in design.runs if store.run(run.run_id).state().trained is None]
    rates = Rates({cell.shape: cell.seconds_an_image for cell in found})
    estimated = overview.estimate_of(left, {}, rates, sources)
    return Forecast(runs=len(left), seconds=estimated.seconds, places=places, unlike=estimated.unlike)
