"""The loop in float32 against training written out plainly in float64 (`reference_loop`), update by update.

A run's updates are watched: the loss, the gradient that the optimizer is given, the weights after it.  They are
compared in two ways.

- **Each update by itself** (`follow`).  The reference begins each update at the run's own weights.  Its loss and its
  gradients must be those of the run; an optimizer written from its paper, fed with the run's gradients, must make the
  run's weights.  Nothing that one update rounds is carried to the next, so that Adam, whose first steps are the signs
  of the gradients, is compared as tightly as anything else.
- **On its own.**  The reference trains from the first weights to the last and hears nothing of the run.  SGD's steps
  are proportional to gradients, so that rounding stays rounding.

What float32 may do is said before anything is measured.  Its unit is eps = 2^-23.  A sum of n products is off by about
sqrt(n) eps / 2 (Higham & Mary 2019: errors of rounding are of either sign), and a layer's sum has no more products than
its fan-in; layer upon layer the errors add.  An update is a pass forward and one back through the layers of G and D,
and a gradient penalty differentiates D a second time: four passes at most.  So

    T = 4 · layers of G and D · sqrt(the largest fan-in) · eps / 2,

from 1.6e-5 to 7e-5 in the nets below, where what the last tests must find is 1e-2.  Measured errors are a fifth of T at
most (a 32 px ResNet), mostly a fiftieth.

The nets are the project's, but that their ReLUs have no kink (`reference_loop.smooth` says why).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
import torch
from reference_loop import Named, Reference, Update, smooth
from test_train import Memory
from torch import Tensor, nn

from bench import draws
from bench import train as train_module
from bench.data import Part
from bench.models import build
from bench.schedule import schedule
from bench.setting import Setting, resolve
from bench.snapshot import nets
from bench.updates import Updates

EPS = 2.0**-23
BASE = {
    "data.size": 16,
    "data.channels": 1,
    "g_width": 4,
    "d_width": 4,
    "z_dim": 6,
    "init": "he",  # logits and slopes of order one at the start
    "ema": 0.9,
    "train.batch": 4,
    "train.lr": 1e-3,
    "train.g_steps": 4,
}
GROWING = {
    **{"growth": True, "growth_stable_kimg": 0.008, "growth_fade_kimg": 0.012, "growth_reset": True},
    **{"train.g_steps": 12},  # of 4 images: 2 steps at 4 px, a fade of 3 and 2 at 8 px, and again at 16 px
}
CASES: dict[str, dict[str, object]] = {
    "wgan_gp": {
        **{"loss": "wasserstein", "penalty": "gp", "d_norm": "ln", "train.n_critic": 2},
        **{"train.betas": [0.0, 0.9], "train.lr_decay": "linear", "train.d_lr": 2e-3},
    },
    "wgan_clip_rmsprop": {
        **{"loss": "wasserstein", "penalty": "clip", "clip_value": 0.1, "train.n_critic": 3},
        **{"train.optimizer": "rmsprop"},
    },
    "sngan": {
        **{"network": "sndcgan", "loss": "hinge", "d_weight": "spectral", "train.n_critic": 2},
        **{"train.lr_decay": "second_half"},
    },
    "nonsaturating_bn": {"d_norm": "bn", "ema_buffers": "average"},
    "least_squares_resnet": {"network": "resnet", "data.size": 32, "loss": "leastsquares", "g_weight": "spectral"},
    "r1_adain": {"g_norm": "adain", "penalty": "r1", "r1_weight": 2.0},
    "lazy_r1": {"penalty": "r1", "penalty_every": 2},
    "relativistic": {"loss": "relativistic", "penalty": "gp", "gp_weight": 1.0},
    "relativistic_average_bn": {"loss": "relativistic_average", "d_norm": "bn", "train.n_critic": 2},
    "sgan": {"condition": "sgan", "data.classes": 4, "d_norm": "bn"},
    "progan": {
        **{"network": "progan", "max_width": 8, "g_norm": "none", "equalized": True, "pixel_norm": True},
        **{"z_normalized": True, "mbstd": "all", "loss": "wasserstein", "penalty": "gp", "gp_target": 2.0},
        **{"drift": 0.5, "train.betas": [0.0, 0.99], **GROWING},  # of the paper's drift, 0.001, 1 % would not show
    },
    "pix2pix": {
        **{"network": "unet", "data.pairs": "downscale", "data.channels": 3, "data.size": 32, "patch": 16},
        **{"g_norm": "bn", "d_norm": "bn", "g_dropout": 0.5, "l1_weight": 100.0, "d_loss_weight": 0.5},
    },
}
TOGETHER = ("sngan",)
"""Where D's power iteration is taken once in an update: reals and fakes share a pass (docs/design.md)."""
SGD = {"train.optimizer": "sgd", "train.momentum": 0.5, "train.lr": 1e-3, "train.d_lr": None}


# ---------------------------------------------------------------------------------------------------------
# What is compared.


def setting_of(case: str, **more: object) -> Setting:
    return resolve(BASE, CASES[case], more)


def part_of(setting: Setting) -> Part:
    def pictures(channels: int, stream: str) -> Tensor:
        shape = (20, channels, setting.data.size, setting.data.size)
        return (draws.uniform(shape, 0, stream, 0) * 255).to(torch.uint8)

    data = setting.data
    inputs = pictures(data.input_channels, "inputs") if data.input_channels else None
    return Part(pictures(data.channels or 1, "images"), torch.arange(20) % (data.classes or 1), inputs)


@dataclass
class Ran:
    """What a training did."""

    updates: list[Update]
    ema: Named


class Keeping(Memory):
    """Keeps the last G_ema."""

    def snapshot(self, label: str, kept: nn.Module) -> None:
        self.ema = {name: value.clone() for name, value in nets(kept)["G"].state_dict().items()}


def run(setting: Setting) -> Ran:
    """Train by `bench.train`, as always, and watch."""
    seen: list[Update] = []

    class Watched(Updates):
        def __call__(self, phase, index, batch, now):
            told = super().__call__(phase, index, batch, now)
            parameters = dict(self.trained[phase.trains].named_parameters())
            seen.append(
                Update(
                    phase.name,
                    told[0].item(),
                    {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None},
                    {name: p.detach().clone() for name, p in parameters.items()},
                    buffers={
                        f"{net}.{n}": b.clone() for net in self.trained for n, b in self.trained[net].named_buffers()
                    },
                )
            )
            return told

    part, keeper = part_of(setting), Keeping()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_module, "Updates", Watched)
        patch.setattr(train_module, "build", smooth)
        outcome = train_module.train(setting, part, schedule(setting, 20), keeper)
    assert outcome.status == "done"
    return Ran(seen, keeper.ema)


def reference(setting: Setting, follow: Ran | None = None, *, together: bool = False) -> Ran:
    """Train by the reference."""
    loop = Reference(setting, part_of(setting), together=together)
    updates = loop.train(schedule(setting, 20).steps, follow.updates if follow else None)
    return Ran(updates, loop.G_ema.state_dict())


@pytest.fixture(scope="module")
def ran():
    """Runs of the cases, each done once."""
    kept: dict[str, Ran] = {}

    def get(case: str) -> Ran:
        if case not in kept:
            kept[case] = run(setting_of(case))
        return kept[case]

    return get


# ---------------------------------------------------------------------------------------------------------
# What float32 may do.


def rounding(setting: Setting) -> float:
    """T of the text above."""
    layers = [m for net in build(setting) for m in net.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
    fans = [m.weight[0].numel() for m in layers]
    return 4 * len(layers) * math.sqrt(max(fans)) * EPS / 2


def length(tensors: Iterable[Tensor]) -> float:
    return math.sqrt(sum(float(x.double().square().sum()) for x in tensors))


def first_weights(setting: Setting) -> Named:
    """First weights of both nets, "G.…" and "D.…"."""
    made = zip("GD", build(setting), strict=True)
    return {f"{net}.{name}": p.detach() for net, module in made for name, p in module.named_parameters()}


def errors_of_updates(setting: Setting, ours: Ran, plain: Ran) -> dict[str, float]:
    """The largest error of each kind, as a multiple of what float32 may do.

    loss        T, of the loss or of logits, which are of order one and cancel in it
    gradient    T, of the lengths of the gradients of the loss's terms, which cancel (those of reals and fakes leave
                nothing to the last bias under Wasserstein's loss), and of the tensor's share, by its size, in the
                length of all, since samples cancel too
    weight      of each number: it is rounded once, and the step before it a few times: 16 eps of the step
    buffer      T: running statistics and vectors of power iterations are made in a pass forward
    average     G_ema is rounded in each step, in a product and in a sum
    """
    T = rounding(setting)
    worst = dict.fromkeys(("loss", "gradient", "weight", "buffer", "average"), 0.0)

    def note(kind: str, error: float, allowed: float) -> None:
        assert math.isfinite(error)
        worst[kind] = max(worst[kind], error / allowed if error else 0.0)

    before: Named = first_weights(setting)
    for one, other in zip(ours.updates, plain.updates, strict=True):
        assert one.phase == other.phase
        assert one.gradients.keys() == other.gradients.keys()  # which weights a loss reaches
        note("loss", abs(one.loss - other.loss), T * max(1.0, abs(other.loss)))
        whole, size = math.hypot(*other.lengths.values()), sum(g.numel() for g in other.gradients.values())
        for name, g in other.gradients.items():
            allowed = T * (other.lengths[name] + whole * math.sqrt(g.numel() / size))
            note("gradient", length([one.gradients[name].double() - g]), allowed)
        for name, p in other.parameters.items():
            apart = (one.parameters[name].double() - p).abs()
            step = (p - before[f"{one.phase[0]}.{name}"]).abs() + setting.train.lr
            note("weight", float((apart / (EPS * (p.abs() + 16 * step))).max()), 1.0)
        before |= {f"{one.phase[0]}.{name}": p.double() for name, p in one.parameters.items()}
        for name, b in other.buffers.items():
            note("buffer", length([one.buffers[name].double() - b]), T * length([b]))
    steps = sum(update.phase == "G" for update in plain.updates)
    for name, value in plain.ema.items():
        apart = (ours.ema[name].double() - value).abs().max()
        note("average", float(apart), 2 * steps * EPS * float(value.abs().max()))
    return worst


# ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_each_update_is_that_of_a_plain_loop_in_float64(case: str, ran) -> None:
    setting = setting_of(case)
    plain = reference(setting, ran(case), together=case in TOGETHER)
    errors = errors_of_updates(setting, ran(case), plain)
    assert max(errors.values()) <= 1, errors


def errors_on_their_own(setting: Setting, ours: Ran, plain: Ran) -> float:
    """How far the weights of G and D lie apart in the end, as a multiple of what float32 may do.

    Each of n updates may err by T, as a share of the way that a net has gone, and rounds the weights themselves; what
    earlier updates did wrong shows in the gradients of later ones, in smooth nets and over so few steps no larger.
    """
    T, n = rounding(setting), len(plain.updates)
    first = first_weights(setting)
    worst = 0.0
    for net in "GD":
        one, other = (next(u.parameters for u in reversed(r.updates) if u.phase[0] == net) for r in (ours, plain))
        way = length(p - first[f"{net}.{name}"] for name, p in other.items())
        apart = length(one[name].double() - p for name, p in other.items())
        assert math.isfinite(apart)
        worst = max(worst, apart / (n * (T * way + EPS * length(other.values()))))
    return worst


@pytest.mark.parametrize("case", CASES)
def test_a_run_by_sgd_stays_beside_a_plain_loop_that_never_hears_of_it(case: str) -> None:
    setting = setting_of(case, **SGD)
    ours, plain = run(setting), reference(setting, together=case in TOGETHER)
    assert [update.phase for update in ours.updates] == [update.phase for update in plain.updates]
    error = errors_on_their_own(setting, ours, plain)
    assert error <= 1


# ---------------------------------------------------------------------------------------------------------
# The comparison can fail.

WRONG: list[tuple[str, dict[str, object], str]] = [
    ("wgan_gp", {"gp_weight": 10.1}, "gradient"),
    ("wgan_gp", {"train.betas": [0.0, 0.909]}, "weight"),
    ("wgan_gp", {"train.d_lr": 2.02e-3}, "weight"),
    ("wgan_gp", {"train.lr_decay": "second_half"}, "weight"),
    ("wgan_clip_rmsprop", {"clip_value": 0.101}, "gradient"),
    ("nonsaturating_bn", {"bn_momentum": 0.101}, "buffer"),
    ("nonsaturating_bn", {"ema": 0.909}, "average"),
    ("nonsaturating_bn", {"ema_buffers": "copy"}, "average"),
    ("nonsaturating_bn", {"train.betas": [0.505, 0.999]}, "weight"),
    ("nonsaturating_bn", {"train.betas": [0.5, 0.98901]}, "weight"),
    ("r1_adain", {"r1_weight": 2.02}, "gradient"),
    ("lazy_r1", {"penalty_every": 1}, "gradient"),
    ("relativistic_average_bn", {"loss": "relativistic"}, "gradient"),
    ("progan", {"gp_target": 2.02}, "gradient"),
    ("progan", {"drift": 0.505}, "gradient"),
    ("progan", {"growth_reset": False}, "weight"),
    ("pix2pix", {"l1_weight": 101.0}, "gradient"),
    ("pix2pix", {"d_loss_weight": 0.505}, "gradient"),
    ("pix2pix", {"g_dropout": 0.505}, "gradient"),
]


@pytest.mark.parametrize(("case", "wrong", "kind"), WRONG, ids=lambda x: "+".join(x) if isinstance(x, dict) else x)
def test_an_error_of_one_per_cent_is_found(case: str, wrong: dict[str, object], kind: str, ran) -> None:
    """A reference with one number 1 % off, or one word another, is told apart where it works: tenfold at least."""
    plain = reference(setting_of(case, **wrong), ran(case))
    errors = errors_of_updates(setting_of(case), ran(case), plain)
    assert errors[kind] > 10, errors


@pytest.mark.parametrize("case", ["nonsaturating_bn", "sngan"])
def test_passes_through_d_are_counted(case: str, ran) -> None:
    """Reals and fakes in one pass share the statistics of batch norm, and a power iteration; in two they do not."""
    setting = setting_of(case)
    plain = reference(setting, ran(case), together=case not in TOGETHER)
    assert errors_of_updates(setting, ran(case), plain)["gradient"] > 10


def test_a_penalty_one_per_cent_off_shows_in_the_weights_of_a_run_on_its_own() -> None:
    right, wrong = (setting_of("wgan_gp", **SGD, gp_weight=weight) for weight in (10.0, 10.1))
    assert errors_on_their_own(right, run(right), reference(wrong)) > 10
