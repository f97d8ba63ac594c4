"""The fast loop in float32 against a plain one in float64 (`reference_loop`), phase by phase and over steps.

Gradients: rounding of float32 is 6e-8 of a value; sums of a few thousand terms over some ten layers, forward and back
and twice for a penalty, leave the gradient, taken whole, within 1e-4 of its length.  A mistake of one percent in a
penalty moves it by far more, which the last tests see.

Weights: Adam's step is lr m / sqrt(v), so of a weight whose gradient is near zero (a bias before batch norm has none)
the sign is chance, and it may be 2 lr away after each step.  Most are not: after one step the median difference is held
to a thousandth of lr, and the largest to 2 lr a step; after some, what chance has moved moves the others' gradients.
"""

import pytest
import torch
from reference_loop import Reference, angle
from test_train import Memory, images

from bench.batches import Batches
from bench.data import Part
from bench.models import build
from bench.objectives import Nets, phases
from bench.optimizers import make_optimizer
from bench.schedule import Schedule, stage
from bench.train import train
from bench.updates import Updates

LABELS = torch.arange(20) % 10
CASES = {
    "wgan_gp": {"loss": "wasserstein", "penalty": "gp", "train__betas": [0.0, 0.9]},
    "hinge_spectral": {"network": "sndcgan", "d_weight": "spectral", "loss": "hinge", "ema": 0.9},
    "resnet_spectral": {"network": "resnet", "data__size": 32, "d_weight": "spectral", "loss": "hinge"},
    "batch_norm_in_both": {"d_norm": "bn", "ema": 0.99, "train__lr_decay": "linear"},
    "r1_adain": {"g_norm": "adain", "penalty": "r1", "r1_weight": 1000.0, "train__n_critic": 1},
    "relativistic_drift": {"loss": "relativistic", "drift": 0.01, "d_norm": "ln"},
    "sgan": {
        **{"data__name": "digits", "data__classes": 10, "data__labels": 10, "condition": "sgan"},
        **{"d_norm": "bn", "train__n_critic": 1},
    },
    "pix2pix": {
        **{"network": "unet", "data__pairs": "edges", "data__size": 32, "d_norm": "bn", "patch": 16},
        **{"l1_weight": 100.0, "d_loss_weight": 0.5, "train__n_critic": 1, "g_dropout": 0.0, "sample_stats": "batch"},
    },
}
GROWING = {
    **{"network": "progan", "growth": True, "growth_start": 8, "growth_stable_kimg": 0.016, "growth_fade_kimg": 0.032},
    **{"g_norm": "none", "pixel_norm": True, "equalized": True, "mbstd": 4, "loss": "wasserstein", "penalty": "gp"},
    **{"drift": 0.001, "ema": 0.9, "train__betas": [0.0, 0.99], "train__lr": 1e-3, "train__n_critic": 1},
}


def part_of(setting):
    n, size = 20, setting.data.size
    inputs = images(n, size).flip(3) if setting.data.pairs != "none" else None
    return Part(images(n, size), LABELS, inputs)


def gradients(setting):
    """Of each phase at the first weights, in float32, by the project's own update, before any step; and its loss."""
    found = {}
    for phase in phases(setting):
        nets = Nets(*(net.to(memory_format=torch.channels_last).train() for net in build(setting)))
        net = getattr(nets, phase.trains)
        optimizer = make_optimizer(net, phase.trains, setting)
        optimizer.step = lambda: None
        batches = Batches(setting, part_of(setting), "cpu")
        now = stage(setting, 0)
        loss, _ = Updates(setting, nets, {phase.name: optimizer})(phase, 0, batches.draw(phase, 0), now)
        found[phase.name] = float(loss.detach()), [p.grad for p in net.parameters()]
    return found


def expected_gradients(setting, wrong=1.0):
    found = {}
    for name in [phase.name for phase in phases(setting)]:
        reference = Reference(setting, part_of(setting), wrong=wrong)
        batch = reference.batch(name, 0)
        loss = reference.of_g(batch) if name == "G" else reference.of_d(name, batch)
        found[name] = (
            float(loss.detach()),
            torch.autograd.grad(loss, reference.adams[name].parameters, allow_unused=True),
        )
    return found


@pytest.mark.parametrize("case", CASES)
def test_each_phase_has_the_loss_and_the_gradient_of_float64(tiny, case):
    setting = tiny(**CASES[case])
    found, expected = gradients(setting), expected_gradients(setting)
    assert found.keys() == expected.keys()
    for name, (loss, gradient) in found.items():
        assert loss == pytest.approx(expected[name][0], rel=1e-4, abs=1e-5), name
        length, direction = angle(gradient, expected[name][1])
        assert length < 1e-4, name
        assert direction < 1e-4, name


def trained(setting, steps):
    keeper = Memory(every=1)
    made = setting.model_copy(update={"train": setting.train.model_copy(update={"g_steps": steps + 1})})
    ended = train(made, part_of(setting), Schedule(steps + 1, {}, steps + 1), keeper)
    assert ended.status == "done"
    assert keeper.checkpoint["step"] == steps
    return keeper.checkpoint


def differences(setting, steps, wrong=1.0):
    """Median and largest difference of the parameters of each net, in units of lr times its updates."""
    reference = Reference(setting, part_of(setting), wrong=wrong)
    for _ in range(steps):
        reference.step(steps + 1)
    kept = trained(setting, steps)
    found = {}
    for name in ("G", "D", "G_ema") if setting.ema else ("G", "D"):
        parameters = dict(getattr(reference, name).named_parameters())
        apart = torch.cat([(kept[name][key].double() - p.detach()).abs().flatten() for key, p in parameters.items()])
        updates = steps * (setting.train.n_critic if name == "D" else 1) * (3 if setting.condition == "sgan" else 1)
        found[name] = [float(x) / (setting.train.lr * updates) for x in (apart.median(), apart.max())]
    return found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("steps", [1, 4])
def test_weights_after_some_steps_are_those_of_float64(tiny, case, steps):
    for name, (middle, largest) in differences(tiny(**CASES[case]), steps).items():
        assert middle < (1e-3 if steps == 1 else 0.03), name
        assert largest < 2, name


def test_progan_grows_as_in_float64(tiny):
    """4 steps at 8 px, 8 while 16 px fade in, 3 after: Adam's moments begin anew at both ends of the fade."""
    for name, (middle, largest) in differences(tiny(**GROWING), 15).items():
        assert middle < 1e-3, name
        assert largest < 2, name


@pytest.mark.parametrize("case", ["wgan_gp", "r1_adain", "pix2pix"])
def test_one_percent_too_much_of_a_penalty_is_seen(tiny, case):
    setting = tiny(**CASES[case])
    found, off = gradients(setting), expected_gradients(setting, wrong=1.01)
    assert max(angle(found[name][1], off[name][1])[1] for name in found) > 2e-4


def test_another_beta_is_seen(tiny):
    setting = tiny(**CASES["wgan_gp"])
    other = setting.model_copy(update={"train": setting.train.model_copy(update={"betas": (0.0, 0.8)})})
    reference, kept = Reference(other, part_of(setting)), trained(setting, 4)
    for _ in range(4):
        reference.step(5)
    apart = [(kept["D"][key].double() - p.detach()).abs().flatten() for key, p in reference.D.named_parameters()]
    assert float(torch.cat(apart).median()) / (setting.train.lr * 8) > 1e-2
