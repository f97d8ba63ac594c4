"""The training loop: one function, straight down.

stage → batch → phases → EMA → log / probe / snapshot / checkpoint → done?  Objectives say what each phase minimises;
`update` alone does backward and step.  All draws are addressed by (seed, stream, step), so a checkpoint holds no
generator state and a resumed run equals one never stopped, bit for bit.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bench import ranks
from bench.batches import Batches
from bench.data import Part
from bench.graphs import Recorder
from bench.models import build, set_stage
from bench.objectives import Nets, phases
from bench.optimizers import load_state, make_optimizer, set_rates
from bench.probes.watch import Probes
from bench.schedule import Schedule, d_updates_before, nimg_after, stage
from bench.setting import Setting
from bench.snapshot import to_keep
from bench.updates import Updates


class Keeper(Protocol):
    """Where a run's files go; `bench.job` provides it."""

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The newest good checkpoint of any attempt."""

    def save_checkpoint(self, step: int, state: dict[str, Any]) -> None:
        """Keep all state."""

    def log(self, row: dict[str, Any]) -> None:
        """Append one row to train.jsonl."""

    def probe(self, row: dict[str, Any]) -> None:
        """Append one row to probes.jsonl."""

    def snapshot(self, label: str, kept: nn.Module) -> None:
        """Keep a snapshot, as `bench.snapshot.to_keep` makes it, and its samples."""

    def progress(self, **words: float) -> None:
        """Say how far the run is."""

    def checkpoint_due(self) -> bool:
        """Whether enough time has passed since the last checkpoint."""

    def stop_asked(self) -> bool:
        """Whether a signal asked the run to stop."""


class Forgetful:
    """A keeper that keeps nothing and stops for nothing, for others to build on."""

    def load_checkpoint(self) -> dict[str, Any] | None:
        """None: begin at the beginning."""
        return None

    def save_checkpoint(self, step: int, state: dict[str, Any]) -> None:
        """Keep nothing."""

    def log(self, row: dict[str, Any]) -> None:
        """Keep nothing."""

    def probe(self, row: dict[str, Any]) -> None:
        """Keep nothing."""

    def snapshot(self, label: str, kept: nn.Module) -> None:
        """Keep nothing."""

    def progress(self, **words: float) -> None:
        """Say nothing."""

    def checkpoint_due(self) -> bool:
        """Never."""
        return False

    def stop_asked(self) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class Outcome:
    """How training ended."""

    status: str
    """`done`, `diverged`, or `stopped`: asked to, and can go on."""
    step: int
    nimg: int
    seconds: float
    weights: str = ""
    """SHA-256 of the final weights of G, D and G_ema."""
    cause: str | None = None
    parameters: Mapping[str, int] = field(default_factory=dict)
    """How many numbers the parameters of G and of D are."""
    plain_because: str = ""
    """Why updates were not recorded, although there was a recorder."""


def train(
    setting: Setting,
    part: Part,
    schedule: Schedule,
    keeper: Keeper,
    device: torch.device | str = "cpu",
    probes: Probes | None = None,
    recorder: Recorder | None = None,
    span: Callable[[str], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
) -> Outcome:
    """Train one run on the training part, from its newest checkpoint to its end; `probes` watch and change nothing.

    On several ranks each calls it, rank 0 alone with a keeper of files and with probes.  `recorder`: records updates
    and launches them as one (`bench.graphs`); the weights are the same.  `span` is entered around each part of a step,
    by name: "data", each phase's own, "ema", "log" (`bench.stopwatch`).
    """
    knobs = setting.train
    if ranks.joined() != knobs.world_size:
        raise ValueError(f"train.world_size is {knobs.world_size}, and {ranks.joined()} ranks have come")

    # Networks and optimizers.
    G, D = build(setting)
    for net in (G, D):
        net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        net.train()
    G_ema = copy.deepcopy(G).requires_grad_(False) if setting.ema else G
    nets = Nets(G, D)
    trained: dict[str, nn.Module] = {"G": G, "D": D}
    plan = phases(setting)
    optimizers = {phase.name: make_optimizer(trained[phase.trains], phase.trains, setting) for phase in plan}
    update = Updates(setting, nets, optimizers, recorder)
    batches = Batches(setting, part, device)

    # Resume.
    step, seconds_before = 0, 0.0
    sums = Sums(device)
    checkpoint = ranks.from_rank_0(keeper.load_checkpoint())
    if checkpoint is not None:
        step, seconds_before = checkpoint["step"], checkpoint["seconds"]
        for name, net in {"G": G, "D": D, "G_ema": G_ema}.items():
            net.load_state_dict(checkpoint[name])
        for name, optimizer in optimizers.items():
            load_state(optimizer, checkpoint["optimizers"][name])
        sums.load(checkpoint["sums"])
        if probes is not None:
            probes.load(checkpoint.get("probes", {}))
        checkpoint = None  # a second copy of all weights and moments
    elif probes is not None:
        keeper.probe(probes.row(0, G, D))
    started, started_at = time.monotonic(), step

    def state() -> dict[str, Any]:
        return {
            "step": step,
            "seconds": seconds_before + time.monotonic() - started,
            **{name: net.state_dict() for name, net in {"G": G, "D": D, "G_ema": G_ema}.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
            "sums": sums.state(),
            **({"probes": probes.state()} if probes is not None else {}),
        }

    def outcome(status: str, cause: str | None = None) -> Outcome:
        weights = weights_digest(G, D, G_ema) if status == "done" else ""
        seconds = seconds_before + time.monotonic() - started
        sizes = {name: sum(p.numel() for p in net.parameters()) for name, net in trained.items()}
        return Outcome(status, step, nimg_after(setting, step), seconds, weights, cause, sizes, update.plain_because)

    while step < schedule.steps:
        # The stage: size, fade and batch; a new period of growth forgets the optimizers' moments.
        now = batches.stage = stage(setting, step)
        for net in (G, D, G_ema):
            set_stage(net, now.size, now.fade)
        if setting.growth_reset and step and now.period != stage(setting, step - 1).period:
            for optimizer in optimizers.values():
                optimizer.state.clear()

        # One step: D's updates, then G's.
        epochs = nimg_after(setting, step) / len(part.images)
        set_rates(optimizers, plan, knobs, step=step, steps=schedule.steps, epochs=epochs)
        first_update = {"D": d_updates_before(knobs, step), "G": step}
        for phase in plan:
            for index in range(first_update[phase.trains], first_update[phase.trains] + phase.times(step)):
                with span("data"), ranks.sharing():
                    batch = batches.draw(phase, index)
                with span(phase.name):
                    told = update(phase, index, batch, now)
                sums.add(step, phase.name, *told)
        step += 1
        ranks.follow_rank_0(G, D)

        # Moving average of G.
        if setting.ema:
            with span("ema"):
                average(G_ema, G, setting.ema, setting.ema_buffers)

        # Read back: losses, and whether all is finite.
        nimg = nimg_after(setting, step)
        logging, keeping = step % schedule.log_every == 0, step in schedule.snapshots
        stopping, due = ranks.agreed(keeper.stop_asked(), keeper.checkpoint_due())
        with span("log"):
            trouble = sums.divergence(step, G=G, D=D) if logging or keeping else None
            if trouble is not None:
                step, cause = trouble
                return outcome("diverged", cause)
            if logging:
                seconds = seconds_before + time.monotonic() - started
                row = {"step": step, "nimg": nimg, "kimg": nimg / 1000, **sums.means()}
                keeper.log({**row, "seconds": round(seconds, 3)})
                rate = (nimg - nimg_after(setting, started_at)) / max(time.monotonic() - started, 1e-9)
                keeper.progress(**row, steps=schedule.steps, images_per_second=rate)

        # Take the probes; keep a snapshot; keep a checkpoint; stop if asked.
        if probes is not None and probes.due(step):
            keeper.probe(probes.row(step, G, D))
        if keeping:
            keeper.snapshot(schedule.snapshots[step], to_keep(setting, G_ema, D))
        if (stopping or due) and step < schedule.steps:
            keeper.save_checkpoint(step, state())
        if stopping and step < schedule.steps:
            return outcome("stopped", "asked to stop")

    return outcome("done")


# ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def average(G_ema: nn.Module, G: nn.Module, decay: float, buffers: str) -> None:
    """Move G_ema towards G: parameters by `decay`; running statistics copied, or averaged the same way."""
    kept: list[Tensor] = list(G_ema.parameters())
    current: list[Tensor] = list(G.parameters())
    copied: list[tuple[Tensor, Tensor]] = []
    for (name, of_ema), of_g in zip(G_ema.named_buffers(), G.buffers(), strict=True):
        if buffers == "average" and name.endswith(("running_mean", "running_var")):
            kept.append(of_ema)
            current.append(of_g)
        else:  # a stage, or a vector of unit length, has no average
            copied.append((of_ema, of_g))
    torch._foreach_lerp_(kept, current, 1.0 - decay)
    if copied:
        torch._foreach_copy_([of_ema for of_ema, _ in copied], [of_g for _, of_g in copied])


def weights_digest(*nets: nn.Module) -> str:
    """SHA-256 over all parameters and buffers, in order."""
    sha = hashlib.sha256()
    for net in nets:
        for name, value in net.state_dict().items():
            sha.update(name.encode())
            sha.update(value.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


class Sums:
    """Losses since the last log row, and the first step at which one was not finite; read back only when logged."""

    def __init__(self, device: torch.device | str) -> None:
        self.device = device
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.first_bad: dict[str, Tensor] = {}

    def add(self, step: int, name: str, loss: Tensor, logs: Mapping[str, Tensor]) -> None:
        """Take in one update's loss and logs, all 0-d tensors."""
        for key, value in logs.items():
            self.sums[key] = self.sums[key] + value if key in self.sums else value.clone()
            self.counts[key] = self.counts.get(key, 0) + 1
        never = torch.full((), math.inf, device=self.device)
        now = torch.where(torch.isfinite(loss), never, float(step + 1))
        self.first_bad[name] = torch.minimum(self.first_bad.get(name, never), now)

    def means(self) -> dict[str, float]:
        """Mean of each log since the last call."""
        means = {key: float(value) / self.counts[key] for key, value in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means

    def divergence(self, step: int, **nets: nn.Module) -> tuple[int, str] | None:
        """Since which step something is not finite, and what; None when all is well."""
        name, first = min(self.first_bad.items(), key=lambda item: float(item[1]))
        if math.isfinite(float(first)):
            return int(first), f"the loss of {name} is not finite at step {int(first)}"
        for name, net in nets.items():
            for parameter, value in net.named_parameters():
                if not bool(torch.isfinite(value).all()):
                    return step, f"the parameter {name}.{parameter} is not finite at step {step}"
        return None

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"sums": self.sums, "counts": self.counts, "first_bad": self.first_bad}

    def load(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])
        self.first_bad = dict(state["first_bad"])
