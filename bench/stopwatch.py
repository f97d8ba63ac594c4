"""Short throw-away runs of the real loop, timed: `bench.train.train` with a keeper that keeps nothing.

A run is timed from amid its length, where growing nets are grown and a critic's warm-up is over; its weights there are
those after its first step, which cost the same.
"""

from __future__ import annotations

import bisect
import contextlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from bench.data import Part
from bench.schedule import Schedule, levels, nimg_after, schedule, stage
from bench.setting import Setting
from bench.train import Forgetful, Outcome, train
from bench.updates import own_stream, recorder_for

WARM = 5
"""G steps at the beginning of each block that are not counted: CUDA graphs are recorded in them (`bench.updates`)."""
PATIENCE_S = 5.0
"""Slow nets: neither warm-up nor counting begins another step after so long."""

Mark = float | torch.cuda.Event
"""A moment: seconds, or an event in the GPU's stream, which nothing waits for in the loop."""


class DivergedError(Exception):
    """A run that was to be timed has diverged; the message says where."""


class Step(NamedTuple):
    """One G step with its D updates, ms."""

    whole: float
    parts: dict[str, float]
    """Name of each span → all of it in this step."""
    counts: dict[str, int]
    logged: bool
    """Whether a row of the log was written in it."""

    @property
    def own(self) -> float:
        """What it takes without reading back losses, which happens once in so many steps."""
        return self.whole - self.parts.get("log", 0.0)


class Spans:
    """When each span of each step began and ended; give it to `train` as `span`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.spans: list[list[tuple[str, Mark, Mark]]] = [[]]
        """By the boundary that they come before."""
        self.bounds: list[Mark] = []
        """Between steps."""

    def mark(self) -> Mark:
        """This moment."""
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time what is within."""
        began = self.mark()
        yield
        self.spans[-1].append((name, began, self.mark()))

    def bound(self) -> None:
        """End a step and begin the next."""
        self.bounds.append(self.mark())
        self.spans.append([])

    def step(self, number: int, logged: bool) -> Step:
        """What lies between boundary `number` and the next; on CUDA when all is over."""
        parts, counts = dict[str, float](), dict[str, int]()
        for name, began, ended in self.spans[number + 1]:
            parts[name] = parts.get(name, 0.0) + milliseconds(began, ended)
            counts[name] = counts.get(name, 0) + 1
        return Step(milliseconds(self.bounds[number], self.bounds[number + 1]), parts, counts, logged)


def milliseconds(began: Mark, ended: Mark) -> float:
    """Time between two moments."""
    if isinstance(began, float) or isinstance(ended, float):
        return 1000.0 * (float(ended) - float(began))  # type: ignore[arg-type]
    return float(began.elapsed_time(ended))


class Throwaway(Forgetful):
    """Stands in for a run's keeper: begins it from a given state, and stops it after so many steps beyond `warm`."""

    def __init__(self, spans: Spans, start: bytes | None, steps: int, warm: int = WARM) -> None:
        self.spans, self.start, self.wanted, self.warm = spans, start, steps, warm
        self.state: dict[str, Any] = {}
        self.logged: set[int] = set()
        self.counted_from: int | None = None
        self.since = time.perf_counter()

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The state to begin with, from the host's memory, so that it counts in no GPU's peak."""
        if self.start is None:
            return None
        return dict(torch.load(io.BytesIO(self.start), map_location="cpu", weights_only=True))

    def save_checkpoint(self, step: int, state: dict[str, Any]) -> None:
        """Hold the state at the stop."""
        self.state = state

    def log(self, row: dict[str, Any]) -> None:
        """Note in which step a row was written."""
        self.logged.add(len(self.spans.bounds) - 1)

    def stop_asked(self) -> bool:
        """Count a step, and say whether it was the last: the loop asks once a step."""
        self.spans.bound()
        done, now = len(self.spans.bounds) - 1, time.perf_counter()
        if self.counted_from is None:
            if done + 1 < self.warm and now - self.since < PATIENCE_S:
                return False
            self.counted_from, self.since = done, now
        counted = done - self.counted_from
        return counted >= self.wanted or (counted > 0 and now - self.since > PATIENCE_S)

    def steps(self) -> list[Step]:
        """The steps that were counted."""
        first = self.counted_from or 0
        return [self.spans.step(n, n in self.logged) for n in range(first, len(self.spans.bounds) - 1)]


@dataclass(frozen=True)
class Throw:
    """A setting's throw-away run, ready to be timed again and again."""

    setting: Setting
    part: Part
    plan: Schedule
    """Without snapshots; with some rows of the log within each block."""
    log_every: int
    """G steps between rows of the log in the run itself."""
    first: int
    """G step at which it begins."""
    start: bytes
    """A checkpoint there."""
    steps: int
    """G steps that a block counts."""
    device: torch.device
    cuda_graphs: bool
    """Whether updates are recorded, on CUDA; as of `Orders`."""

    def without_penalty(self) -> Throw:
        """The same without its penalty."""
        setting = self.setting.model_copy(update={"penalty": "none", "penalty_every": 1})
        return Throw(**{**self.__dict__, "setting": setting})

    def block(self) -> Block:
        """Run and time it.  Raises DivergedError."""
        return self.run(Throwaway(Spans(self.device), self.start, self.steps))

    def one_step(self) -> Block:
        """Run one G step of it."""
        return self.run(Throwaway(Spans(self.device), self.start, 0, warm=1))

    def run(self, keeper: Throwaway) -> Block:
        """Run it with this keeper.  Raises DivergedError."""
        synchronize(self.device)
        recorder = recorder_for(self.device, wanted=self.cuda_graphs)
        with own_stream(self.device):
            outcome = train(
                self.setting, self.part, self.plan, keeper, self.device, recorder=recorder, span=keeper.spans
            )
        synchronize(self.device)
        if outcome.status == "diverged":
            raise DivergedError(f"diverged while it was timed: {outcome.cause}")
        return Block(keeper.steps(), outcome, keeper.state)


class Block(NamedTuple):
    """One throw-away run."""

    steps: list[Step]
    outcome: Outcome
    state: dict[str, Any]
    """As for a checkpoint, where it stopped."""


def throw(
    setting: Setting,
    part: Part,
    device: torch.device,
    steps: int,
    before: int | None = None,
    *,
    cuda_graphs: bool = True,
) -> Throw:
    """Make ready to time a setting's run before G step `before`, unset: its end.  Its first step is done here."""
    whole = schedule(setting, len(part.images))
    first = max(1, (before or whole.steps) - WARM - steps - 1)
    keeper = Throwaway(Spans(device), None, 0, warm=1)
    train(setting, part, Schedule(2, {}, 2), keeper, device)
    nothing: dict[str, Any] = {"sums": {}, "counts": {}, "first_bad": {}}
    buffer = io.BytesIO()
    torch.save({**keeper.state, "step": first, "sums": nothing}, buffer)
    end = max(whole.steps, first + WARM + steps + 1)
    plan = Schedule(end, {}, min(whole.log_every, max(1, steps // 2)))
    return Throw(setting, part, plan, whole.log_every, first, buffer.getvalue(), steps, device, cuda_graphs)


def levels_of(setting: Setting, steps: int) -> list[tuple[int, int]]:
    """Of each level that a run grows through: the G step before which it ends, and the images shown in it."""
    found, begin = [], 0
    for size in levels(setting):
        end = bisect.bisect_right(range(steps), size, key=lambda step: stage(setting, step).size)
        if end > begin:
            found.append((end, nimg_after(setting, end) - nimg_after(setting, begin)))
        begin = end
    return found


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
