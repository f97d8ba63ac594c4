"""Takes the probes of a run: rows for probes.jsonl.

Everything is read off copies of the nets, on one small fixed batch drawn at addresses of its own, or off gradients that
stand there anyway: training is the same, bit for bit, with probes and without.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench import draws
from bench.batches import Batches
from bench.data import Part
from bench.models import set_stage
from bench.objectives import Batch, Phase, phases
from bench.objectives.adversarial import judged
from bench.objectives.heads import full, given, make
from bench.objectives.penalties import call
from bench.objectives.phase import Images
from bench.probes import ProbeName
from bench.probes.layers import Recorder, SpectralNorms, gradient_norms, still
from bench.schedule import Schedule, Stage, nimg_after, stage
from bench.setting import Setting

ROWS = 50
"""At most so many rows a run, beside those at the start and at snapshots."""
UPDATES = 100
"""At least so many updates of nets between two rows: a row costs about two."""
READ = ("z", "y", "y_fake", "style")
"""What nets are given beside reals, where the run's updates need it."""
BATCH = 32
"""Images of the fixed batch, or the run's batch where that is smaller or the nets compare samples."""


class Probes:
    """The probes of one run."""

    def __init__(
        self,
        names: Sequence[ProbeName],
        setting: Setting,
        plan: Schedule,
        part: Part,
        held_out: Part | None,
        device: torch.device | str = "cpu",
        *,
        every_kimg: float | None = None,
    ) -> None:
        """Draw the fixed batches.  `held_out`: reals that D never sees; None where the set has none."""
        self.names, self.setting, self.plan, self.every_kimg = frozenset(names), setting, plan, every_kimg
        self.every = row_distance(setting, plan)
        plan_of_run = phases(setting)
        self.nets = frozenset(phase.trains for phase in plan_of_run)
        asked = {name for phase in plan_of_run for name in phase.needs}
        needs = ("real", *(name for name in READ if name in asked))
        self.batches = Fixed(setting, part, device, needs)
        self.held_out: Fixed | None = None
        if held_out is not None and len(held_out.images) and "logits" in self.names:
            self.held_out = Fixed(setting, held_out, device, tuple(name for name in needs if name in ("real", "y")))
        self.norms = SpectralNorms()

    def due(self, step: int) -> bool:
        """Say whether a row is due after G update number `step`; 0 is the start."""
        if step == 0 or step in self.plan.snapshots:
            return True
        if self.every_kimg is None:
            return step % self.every == 0
        images = 1000 * self.every_kimg
        before, now = (nimg_after(self.setting, at) / images + 1e-6 for at in (step - 1, step))
        return math.floor(now) > math.floor(before)

    def row(self, step: int, G: nn.Module, D: nn.Module) -> dict[str, Any]:
        """Take all probes of the nets as they stand after `step`; JSON-able, null for what is not finite.

        `values` holds one number a measure, `layers` one a layer; `exact` says how spectral norms were made.
        """
        started = time.perf_counter()
        exact = step == 0 or step in self.plan.snapshots
        by_layer: dict[str, dict[str, Tensor]] = {}
        values: dict[str, Tensor] = {}
        trained = {name: net for name, net in {"G": G, "D": D}.items() if name in self.nets}
        if "gradients" in self.names:
            by_net = {name: gradient_norms(net) for name, net in trained.items()}
            by_layer["gradient_norm"] = _joined(by_net)
            values |= _each("gradient_norm", by_net, lambda found: torch.stack(found).square().sum().sqrt())
        twins = {name: still(net, self.setting.seed) for name, net in trained.items()}
        if "weights" in self.names:
            by_net = {name: self.norms(net, name, exact=exact) for name, net in twins.items()}
            by_layer["spectral_norm"] = _joined(by_net)
            values |= _each("spectral_norm", by_net, lambda found: torch.stack(found).max())
        self._passes(step, twins, by_layer, values)
        nimg = nimg_after(self.setting, step)
        return {
            "step": step,
            "nimg": nimg,
            "kimg": nimg / 1000,
            "exact": exact,
            "values": _plain(values),
            "layers": {name: _plain(found) for name, found in by_layer.items()},
            "seconds": round(time.perf_counter() - started, 4),
        }

    def state(self) -> dict[str, Any]:
        """For a checkpoint: where the power iterations are."""
        return {"vectors": dict(self.norms.vectors)}

    def load(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint, be it of an attempt without probes."""
        self.norms.vectors = dict(state.get("vectors", {}))

    def _passes(
        self,
        step: int,
        twins: Mapping[str, nn.Module],
        by_layer: dict[str, dict[str, Tensor]],
        values: dict[str, Tensor],
    ) -> None:
        """What one pass of G, and D's passes over reals and fakes, tell."""
        activations, drift = "activations" in self.names, "batch_statistics" in self.names
        if not (activations or drift or self.names & {"critic_gradient", "logits"}):
            return
        now, batch = self.batches.stage(step), self.batches.at(step)
        for net in twins.values():  # at the start the loop has not set it yet
            set_stage(net, now.size, now.fade)
        recorders = {name: Recorder(net, activations=activations, drift=drift) for name, net in twins.items()}
        with torch.no_grad():
            made = make(twins["G"], batch["z"], given(batch)) if "G" in twins else None
            logits = self._judged(twins["D"], batch, made) if "D" in twins else {}
        for recorder in recorders.values():
            recorder.close()
        if activations:
            _activations(recorders, by_layer, values)
        if drift:
            by_net = {name: {path: _mean(all_) for path, all_ in r.drift.items()} for name, r in recorders.items()}
            by_layer["batch_drift"] = _joined(by_net)
            values |= _each("batch_drift", by_net, lambda found: torch.stack(found).max())
        if "logits" in self.names and logits:
            self._logits(step, twins["D"], logits, values)
        if "critic_gradient" in self.names and made is not None and "D" in twins:
            fake = full(made)
            alpha = draws.uniform((len(fake), 1, 1, 1), self.setting.seed, "probe_alpha", 0, device=fake.device)
            norms = critic_gradients(twins["D"], batch["real"], fake, alpha, batch.get("y"))
            values["critic_gradient_mean"], values["critic_gradient_sd"] = norms.mean(), norms.std(correction=0)

    def _judged(self, D: nn.Module, batch: Batch, fake: Images | None) -> dict[str, Tensor]:
        """Logits of reals and fakes, passed through D together where an update passes them together."""
        if fake is None:
            return {"logit_train": call(D, batch["real"], batch.get("y"))}
        r, f = judged(self.setting, D, batch["real"], fake, batch)
        return {"logit_train": r, "logit_generated": f}

    def _logits(self, step: int, D: nn.Module, logits: Mapping[str, Tensor], values: dict[str, Tensor]) -> None:
        values |= {name: logit.mean() for name, logit in logits.items()}
        if "logit_generated" in values:
            values["logit_gap_fake"] = values["logit_train"] - values["logit_generated"]
        if self.held_out is not None:
            unseen = self.held_out.at(step)
            with torch.no_grad():
                held = call(D, unseen["real"], unseen.get("y")).mean()
            values["logit_held_out"], values["logit_gap_held_out"] = held, values["logit_train"] - held


class Fixed:
    """One small batch of a part: always the same reals, z and conditions, at the size that the nets are at."""

    def __init__(self, setting: Setting, part: Part, device: torch.device | str, needs: tuple[str, ...]) -> None:
        self.whole, self.setting = setting, smaller(setting, len(part.images))
        chosen = draws.permutation(len(part.images), setting.seed, "probe_real", 0)[: self.setting.train.batch]
        self.batches = Batches(self.setting, part.at(chosen), device)
        self.phase = Phase("probe", "D", needs, lambda step: 1, lambda nets, batch: (torch.zeros(()), {}))

    def stage(self, step: int) -> Stage:
        """What the nets stood at after `step`, with our batch."""
        now = stage(self.whole, max(step - 1, 0))
        size = self.setting.train.batch
        return dataclasses.replace(now, batch=size, period=0, first_update=0, first_image=0)

    def at(self, step: int) -> Batch:
        """Draw it for the nets as they stand after `step`."""
        self.batches.stage = self.stage(step)
        return self.batches.draw(self.phase, 0)


# ---------------------------------------------------------------------------------------------------------


def row_distance(setting: Setting, plan: Schedule) -> int:
    """G updates between two rows: a fiftieth of the run, but never fewer than `UPDATES` updates of nets."""
    return max(math.ceil(plan.steps / ROWS), math.ceil(UPDATES / (setting.train.n_critic + 1)))


def smaller(setting: Setting, images: int) -> Setting:
    """Return the setting with the probes' batch: a part may have fewer images; groups must divide it."""
    size = setting.train.batch if setting.mbstd else min(setting.train.batch, BATCH)
    size = min(size, images)
    if isinstance(setting.mbstd, int) and setting.mbstd and size % min(setting.mbstd, size):
        size -= size % setting.mbstd
    train = setting.train.model_copy(update={"batch": size, "g_batch": None})
    return setting.model_copy(update={"train": train})


def critic_gradients(D: nn.Module, real: Tensor, fake: Tensor, alpha: Tensor, y: Tensor | None = None) -> Tensor:
    """Norm of D's gradient at x = real + alpha (fake − real), one a sample: [B].  What WGAN-GP wants at 1."""
    x = torch.lerp(real, fake, alpha).requires_grad_()
    (gradient,) = torch.autograd.grad(call(D, x, y).sum(), x)
    return torch.linalg.vector_norm(gradient.flatten(1), dim=1)


def _activations(
    recorders: Mapping[str, Recorder], by_layer: dict[str, dict[str, Tensor]], values: dict[str, Tensor]
) -> None:
    rms = {name: {path: _mean(all_).sqrt() for path, all_ in r.squares.items()} for name, r in recorders.items()}
    by_layer["activation_rms"] = _joined(rms)
    values |= _each("activation_rms", rms, lambda found: torch.stack(found).log().mean().exp())
    dead = {name: {path: _alive(all_) for path, all_ in r.dead.items()} for name, r in recorders.items()}
    shares = {name: {path: found.float().mean() for path, found in units.items()} for name, units in dead.items()}
    by_layer["dead_units"] = _joined(shares)
    values |= _each("dead_units", dead, lambda found: torch.cat(found).float().mean())


def _alive(passes: Sequence[Tensor]) -> Tensor:
    """A unit is dead when it is so in every pass."""
    return torch.stack(list(passes)).all(dim=0)


def _mean(found: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(found)).mean()


def _joined(by_net: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{name}.{path}": value for name, found in by_net.items() for path, value in found.items()}


def _each(measure: str, by_net: Mapping[str, Mapping[str, Tensor]], over: Any) -> dict[str, Tensor]:
    """Sum up each net's layers: measure_G, measure_D; a net without such layers has none."""
    return {f"{measure}_{name}": over(list(found.values())) for name, found in by_net.items() if found}


def _plain(found: Mapping[str, Tensor]) -> dict[str, float | None]:
    """Read all values back in one transfer."""
    if not found:
        return {}
    read = torch.stack([value.detach().float() for value in found.values()]).tolist()
    return dict(zip(found, _finite(read), strict=True))


def _finite(read: Iterable[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in read]
