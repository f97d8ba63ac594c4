"""An update of a phase: loss, backward, step; as it is written, or recorded once and launched as a CUDA graph."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from bench import precision, ranks
from bench.draws import Chance
from bench.graphs import CudaGraphs, Recorder, Recording, Told
from bench.models import set_chance
from bench.objectives import Batch, Nets, Phase
from bench.optimizers import fixed_reason
from bench.schedule import Stage
from bench.setting import Setting

WARM = 3
"""Updates of a kind that are done as written before one is recorded: libraries choose kernels, moments are made."""
Kind = tuple[object, ...]
"""What one recording serves: a phase, with its penalty or without, at a stage, of a batch's shapes."""


class Updates:
    """Minimises phases' losses, each by one step of its optimizer."""

    def __init__(
        self,
        setting: Setting,
        nets: Nets,
        optimizers: Mapping[str, torch.optim.Optimizer],
        recorder: Recorder | None = None,
    ) -> None:
        """`recorder`: records updates where that can be done (`plain_because` says why not); None: never."""
        self.setting, self.nets, self.optimizers, self.recorder = setting, nets, optimizers, recorder
        self.trained: dict[str, nn.Module] = {"G": nets.G, "D": nets.D}
        # A network of the user's own may hold some of its weights fixed.
        self.learned = {name: [p for p in net.parameters() if p.requires_grad] for name, net in self.trained.items()}
        self.device = next(nets.G.parameters()).device
        self.plain_because = "" if recorder is None else cannot_record(setting)
        self._period: int | None = None
        self._seen: Counter[Kind] = Counter()
        self._recorded: dict[Kind, Recording] = {}

    def __call__(self, phase: Phase, index: int, batch: Batch, now: Stage) -> Told:
        """Do update number `index` of a phase; what it tells is to be read before the next."""
        phase = phase.at(index)
        self._set_chances(phase, index)
        if self.recorder is None or self.plain_because:
            return self._do(phase, batch)
        if self._period != now.period:  # other maps and perhaps other moments: what was recorded is of no use
            self._period, self._recorded = now.period, {}
            self._seen.clear()
        shapes = tuple(sorted((name, tuple(value.shape)) for name, value in batch.items()))
        kind = (phase.name, phase.spared is None, now.fade, shapes)
        self._seen[kind] += 1
        if kind not in self._recorded:
            if self._seen[kind] <= WARM:
                return self._do(phase, batch)
            try:
                self._recorded[kind] = Recording.of(
                    self.recorder, lambda own: self._do(phase, own), batch, chances_of(self.nets)
                )
            except RuntimeError as error:
                self.plain_because = f"the phase {phase.name} cannot be recorded: {first_line(error)}"
                self._set_chances(phase, index)  # layers may have drawn before it failed
                return self._do(phase, batch)
        return self._recorded[kind].again(batch)

    def _set_chances(self, phase: Phase, index: int) -> None:
        for net in self.trained.values():
            set_chance(net, self.setting.seed, phase.stream or phase.name, index)

    def _do(self, phase: Phase, batch: Batch) -> Told:
        with precision.products(self.setting):
            return self._minimised(phase, batch)

    def _minimised(self, phase: Phase, batch: Batch) -> Told:
        learned = self.learned[phase.trains]
        for name, parameters in self.learned.items():
            for parameter in parameters:
                parameter.requires_grad_(name == phase.trains)
        if phase.before is not None:
            phase.before(self.nets)
        with ranks.sharing():
            with precision.lowered(self.setting, self.device):
                loss, logs = phase.loss(self.nets, batch)
            self.optimizers[phase.name].zero_grad(set_to_none=True)
            loss.backward()
        told = ranks.average(learned, loss.detach(), logs)
        self.optimizers[phase.name].step()
        return told


def cannot_record(setting: Setting) -> str:
    """Say why updates cannot be recorded; "" where they can."""
    if setting.train.world_size > 1:
        return "several ranks share the batch"
    return fixed_reason(setting.train)


def chances_of(nets: Nets) -> list[Chance]:
    """Where the random layers of these nets draw."""
    found = [getattr(net, "chance", None) for net in (nets.G, nets.D)]
    return [chance for chance in found if isinstance(chance, Chance)]


def first_line(error: Exception) -> str:
    """What an error says, in a line."""
    return str(error).strip().split("\n")[0]


@contextlib.contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Work on a stream of one's own, where CUDA is to record: its default stream cannot."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)


def recorder_for(device: torch.device, *, wanted: bool) -> Recorder | None:
    """Return what records updates on this device."""
    return CudaGraphs() if wanted and device.type == "cuda" else None
