"""Step sizes and momenta over a run, in closed form; the mapping network's group."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from bench.models.style import MappingNetwork, normalized_z
from bench.objectives import phases
from bench.optimizers import decayed, make_optimizer, momentum, set_rates
from bench.setting import Setting, resolve


def knobs(**said: object) -> Setting:
    return resolve({f"train.{key}": value for key, value in said.items()})


@pytest.mark.parametrize(
    ("decay", "rates"),
    [
        ("none", [1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [1.0, 0.75, 0.5, 0.25, 0.0]),
        ("second_half", [1.0, 1.0, 1.0, 0.5, 0.0]),
    ],
)
def test_step_size_at_quarters_of_a_run(decay: str, rates: list[float]) -> None:
    train = knobs(lr_decay=decay).train
    assert [decayed(0.2, train, step, 8) for step in (0, 2, 4, 6, 8)] == pytest.approx([0.2 * r for r in rates])


def test_exponential_decay_halves_by_its_half_life_and_has_a_floor() -> None:
    train = knobs(lr_decay="exponential").train
    half_life = math.log(2) / math.log(1.000004)  # 173,287 steps, whatever the run's length
    for steps in (10, 10**6):
        assert decayed(0.1, train, round(half_life), steps) == pytest.approx(0.05, rel=1e-5)
    assert decayed(0.1, train, 0, 10) == 0.1
    assert decayed(0.1, train, 10**7, 10) == 1e-6


def test_momentum_rises_on_a_line_and_stays() -> None:
    train = knobs(momentum=0.5, final_momentum=0.7, momentum_epochs=250).train
    assert [momentum(train, epochs) for epochs in (0, 125, 250, 300)] == pytest.approx([0.5, 0.6, 0.7, 0.7])
    assert momentum(knobs(momentum=0.5).train, 300) == 0.5


def test_rates_reach_the_optimizers_of_their_nets() -> None:
    setting = knobs(optimizer="sgd", lr=0.1, d_lr=0.4, momentum=0.5, final_momentum=0.7, lr_decay="linear")
    plan = phases(setting)
    nets = {"G": nn.Linear(2, 2), "D": nn.Linear(2, 1)}
    optimizers = {phase.name: make_optimizer(nets[phase.trains], phase.trains, setting) for phase in plan}
    set_rates(optimizers, plan, setting.train, step=1, steps=4, epochs=125)
    for name, lr in (("G", 0.075), ("D", 0.3)):
        (group,) = optimizers[name].param_groups
        assert (group["lr"], group["momentum"]) == pytest.approx((lr, 0.6))


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_mapping_is_slower_before_and_after_a_checkpoint(optimizer: str) -> None:
    setting = resolve({"train.optimizer": optimizer, "train.lr_decay": "linear", "train.lr": 0.5, "mapping_lr": 0.01})
    plan = [phase for phase in phases(setting) if phase.trains == "G"]
    net = nn.Sequential(MappingNetwork(3, 2), nn.Linear(3, 2))
    made = make_optimizer(net, "G", setting)
    assert [sum(p.numel() for p in group["params"]) for group in made.param_groups] == [8, 24]
    resumed = make_optimizer(net, "G", setting)
    resumed.load_state_dict(made.state_dict())
    for one in (made, resumed):
        assert [group["lr"] for group in one.param_groups] == pytest.approx([0.5, 0.005])
        set_rates({"G": one}, plan, setting.train, step=1, steps=2, epochs=0)
        assert [group["lr"] for group in one.param_groups] == pytest.approx([0.25, 0.0025])


def test_mapping_step_is_a_hundredth_under_adam() -> None:
    """Adam's first step is lr × sign of the gradient, so the two groups move by lr and lr / 100."""
    setting = resolve({"train.lr": 0.5, "mapping_lr": 0.01})
    torch.manual_seed(0)
    net = nn.Sequential(MappingNetwork(4, 1), nn.Linear(4, 2))
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = make_optimizer(net, "G", setting)
    net(torch.randn(8, 4)).sum().backward()
    optimizer.step()
    moved = [float((p - old).detach().abs().max()) for p, old in zip(net.parameters(), before, strict=True)]
    assert moved == pytest.approx([0.005, 0.005, 0.5, 0.5], rel=1e-3)


def test_normalized_z_has_unit_mean_square_and_its_direction() -> None:
    z = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)) * 3
    made = normalized_z(z)
    torch.testing.assert_close(made.square().mean(dim=1), torch.ones(5))
    torch.testing.assert_close(nn.functional.cosine_similarity(made, z), torch.ones(5))


def test_mapping_is_dense_layers_with_leaky_relu_of_normalized_z() -> None:
    mapping = MappingNetwork(6, 3)
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    h = z / z.norm(dim=1, keepdim=True) * math.sqrt(6)
    for layer in mapping.layers:
        h = h @ layer.weight.T + layer.bias
        h = torch.maximum(h, 0.2 * h)
    torch.testing.assert_close(mapping(z), h)
    torch.testing.assert_close(mapping(2 * z), mapping(z))


TRAINS = """
import sys, torch
from bench.optimizers import make_optimizer
from bench.setting import resolve
for kind in ("adam", "rmsprop", "sgd"):
    net = torch.nn.Linear(3, 3)
    optimizer = make_optimizer(net, "D", resolve({"train.optimizer": kind}))
    net(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    optimizer.load_state_dict(optimizer.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""


def test_training_does_not_import_the_compiler() -> None:
    """It takes over a second of each run's start."""
    assert subprocess.run([sys.executable, "-c", TRAINS]).returncode == 0


@pytest.mark.parametrize("kind", ["adam", "rmsprop", "sgd"])
def test_optimizers_are_torchs_own(kind: str) -> None:
    """Without their wrappers, bit for bit: three steps on the same gradients."""
    plain = {
        "adam": lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.5, 0.999), fused=True),
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.99, foreach=True),
        "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5, fused=True),
    }[kind]
    nets = []
    for make in (lambda net: make_optimizer(net, "D", knobs(optimizer=kind, lr=0.1, momentum=0.5)), None):
        torch.manual_seed(0)
        net = nn.Linear(5, 3)
        optimizer = make(net) if make else plain(net.parameters())
        for step in range(3):
            optimizer.zero_grad()
            net(torch.full((2, 5), 1.0 + step)).square().sum().backward()
            optimizer.step()
        nets.append(net)
    for ours, theirs in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(ours, theirs)
