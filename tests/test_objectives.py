"""Losses and penalties against closed forms and torch's own, and the shape of the phases."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models import build
from bench.objectives import Nets, Phase, phases
from bench.objectives.losses import LOSSES
from bench.objectives.penalties import gradient_penalty, r1_penalty
from bench.setting import Setting, resolve

R = torch.tensor([2.0, -1.0, 0.5])
FAKE = torch.tensor([-3.0, 0.25, 1.5])
TINY = {"data.size": 16, "data.channels": 1, "g_width": 4, "d_width": 4, "z_dim": 6, "train.batch": 4}


class Linear(nn.Module):
    """A critic with a known gradient: D(x) = w · x + b."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight + self.bias


class Quadratic(nn.Module):
    """D(x) = a |x|^2, whose gradient at x is 2 a x."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a))

    def forward(self, x: Tensor) -> Tensor:
        return self.a * x.flatten(1).square().sum(dim=1)


def images(batch: int = 4, size: int = 4, seed: int = 0) -> Tensor:
    return torch.rand(batch, 1, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# ---------------------------------------------------------------------------------------------------------
# Losses.


def test_bce_losses_are_torchs() -> None:
    one, zero = torch.ones(3), torch.zeros(3)
    bce = F.binary_cross_entropy_with_logits
    for name in ("minimax", "nonsaturating"):
        torch.testing.assert_close(LOSSES[name][0](R, FAKE), bce(R, one) + bce(FAKE, zero))
    torch.testing.assert_close(LOSSES["nonsaturating"][1](FAKE), bce(FAKE, one))
    torch.testing.assert_close(LOSSES["minimax"][1](FAKE), -bce(FAKE, zero))


def test_wasserstein_and_hinge_by_hand() -> None:
    # Means: R 0.5, FAKE -5/12.
    assert float(LOSSES["wasserstein"][0](R, FAKE)) == pytest.approx(-0.41666667 - 0.5)
    assert float(LOSSES["wasserstein"][1](FAKE)) == pytest.approx(0.41666667)
    # max(0, 1 - r) = 0, 2, 0.5; max(0, 1 + f) = 0, 1.25, 2.5.
    assert float(LOSSES["hinge"][0](R, FAKE)) == pytest.approx(2.5 / 3 + 3.75 / 3)
    assert float(LOSSES["hinge"][1](FAKE)) == pytest.approx(0.41666667)


def test_minimax_gradient_vanishes_where_d_is_sure_and_nonsaturating_does_not() -> None:
    """d/df -softplus(f) = -sigma(f); d/df softplus(-f) = -sigma(-f)."""
    gradients = {}
    for name in ("minimax", "nonsaturating"):
        f = torch.tensor([-20.0], requires_grad=True)
        LOSSES[name][1](f).backward()
        gradients[name] = float(f.grad)
    assert gradients["minimax"] == pytest.approx(-1 / (1 + math.exp(20)), rel=1e-4)
    assert gradients["nonsaturating"] == pytest.approx(-1, rel=1e-4)


@pytest.mark.parametrize("name", list(LOSSES))
def test_losses_stay_finite_at_huge_logits(name: str) -> None:
    huge = torch.tensor([1e4, -1e4])
    assert LOSSES[name].d(huge, -huge).isfinite() and LOSSES[name].g(huge, -huge).isfinite()


# ---------------------------------------------------------------------------------------------------------
# Penalties.


@pytest.mark.parametrize("length", [0.0, 0.5, 1.0, 3.0])
def test_gradient_penalty_of_a_linear_critic(length: float) -> None:
    """The gradient is w wherever x is: (|w| - 1)^2, two-sided, with slope 2 (|w| - 1) along w."""
    direction = F.normalize(torch.arange(1.0, 17.0), dim=0)
    D = Linear(direction * length)
    value = gradient_penalty(D, images(), images(seed=1), torch.rand(4, 1, 1, 1))
    assert float(value.detach()) == pytest.approx((length - 1) ** 2, abs=1e-6)
    value.backward()
    if length:
        torch.testing.assert_close(D.weight.grad, 2 * (length - 1) * direction, atol=1e-5, rtol=1e-5)
    assert D.weight.grad.isfinite().all()


def test_gradient_penalty_is_taken_between_real_and_fake_at_one_alpha_a_sample() -> None:
    """For D = a |x|^2 the norm at x is 2 a |x|, so that each sample's place shows in the value."""
    real, fake = images(), images(seed=1)
    alpha = torch.tensor([0.0, 1.0, 0.25, 0.5]).view(4, 1, 1, 1)
    x = real + alpha * (fake - real)
    expected = (2 * 0.7 * x.flatten(1).norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(gradient_penalty(Quadratic(0.7), real, fake, alpha).detach(), expected)


def test_r1_of_a_quadratic_critic() -> None:
    """|grad|^2 = 4 a^2 |x|^2, so R1 = 2 a^2 E|x|^2 and its slope in a is 4 a E|x|^2."""
    D, real = Quadratic(0.7), images().requires_grad_()
    mean_square = float(real.detach().flatten(1).square().sum(dim=1).mean())
    value = r1_penalty(real, D(real))
    assert float(value.detach()) == pytest.approx(2 * 0.7**2 * mean_square, rel=1e-5)
    value.backward()
    assert float(D.a.grad) == pytest.approx(4 * 0.7 * mean_square, rel=1e-5)


# ---------------------------------------------------------------------------------------------------------
# Phases.


class Still(nn.Module):
    """A generator that ignores z."""

    def __init__(self, fake: Tensor) -> None:
        super().__init__()
        self.fake = nn.Parameter(fake)

    def forward(self, z: Tensor) -> Tensor:
        return 1 * self.fake  # not the leaf itself: a pass without a graph must leave it behind


def setting(**knobs: object) -> Setting:
    return resolve(TINY, {"g_norm": "none", **{name.replace("__", "."): value for name, value in knobs.items()}})


def pair(made: Setting) -> tuple[Phase, Phase]:
    d, g = phases(made)
    assert (d.name, d.trains, g.name, g.trains) == ("D", "D", "G", "G")
    return d, g


def batch() -> dict[str, Tensor]:
    return {"real": images(), "z": torch.zeros(4, 6), "gp_alpha": torch.full((4, 1, 1, 1), 0.5)}


def test_phases_of_wgan_gp_in_closed_form() -> None:
    weight = torch.linspace(-1, 1, 16)
    nets = Nets(Still(images(seed=1)), Linear(weight))
    d, g = pair(setting(loss="wasserstein", penalty="gp", gp_weight=7.0))
    total, logs = d.loss(nets, batch())
    distance = (images(seed=1) - images()).flatten(1).mean(dim=0) @ weight
    penalty = 7 * (weight.norm() - 1) ** 2
    torch.testing.assert_close(total.detach(), distance + penalty, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logs["loss_D"], distance, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(logs["penalty"], penalty, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logs["logit_fake"] - logs["logit_real"], distance, atol=1e-6, rtol=1e-5)
    total.backward()
    assert nets.G.fake.grad is None  # fakes are made without a graph
    assert float(nets.D.bias.grad) == 0  # the derived set: a critic's output bias moves nothing
    total, logs = g.loss(nets, batch())
    torch.testing.assert_close(total.detach(), -nets.D(images(seed=1)).mean())
    assert d.needs == ("real", "z", "gp_alpha") and g.needs == ("z",) and set(logs) == {"loss_G"}


def test_r1_is_half_gamma_times_the_square_of_the_gradient() -> None:
    weight = torch.linspace(-1, 1, 16)
    for batching in ("separate", "joint"):
        d, _ = pair(setting(penalty="r1", r1_weight=3.0, d_batching=batching))
        given = batch()
        _, logs = d.loss(Nets(Still(images(seed=1)), Linear(weight)), given)
        torch.testing.assert_close(logs["penalty"], 1.5 * weight.square().sum())
        assert not given["real"].requires_grad
    assert d.needs == ("real", "z")


@pytest.mark.parametrize("penalty", ["none", "gp", "r1", "clip"])
def test_logs_are_detached_scalars(penalty: str) -> None:
    made = setting(penalty=penalty, loss="hinge")
    G, D = build(made)
    given = batch() | {"real": images(size=16)}
    d, g = pair(made)
    for phase in (d, g):
        total, logs = phase.loss(Nets(G, D), given)
        assert total.requires_grad and total.ndim == 0
        assert all(value.ndim == 0 and not value.requires_grad for value in logs.values())
    assert ("penalty" in d.loss(Nets(G, D), given)[1]) == (penalty in ("gp", "r1"))


def test_clip_clamps_every_parameter_of_d_before_its_update() -> None:
    made = setting(loss="wasserstein", penalty="clip", d_norm="bn", clip_value=0.01)
    G, D = build(made)
    d, g = pair(made)
    assert d.before is not None and g.before is None
    gains = [p.detach() for name, p in D.named_parameters() if name.endswith("norm.weight")]
    inside = {name: p.detach().clone().clamp(-0.01, 0.01) for name, p in D.named_parameters()}
    assert gains and all(float(gain.min()) > 0.5 for gain in gains)
    d.before(Nets(G, D))
    for name, parameter in D.named_parameters():
        assert torch.equal(parameter, inside[name])


def test_schedule_of_the_critic() -> None:
    warm, _ = pair(setting(train__n_critic=5, train__critic_warmup=True))
    assert [warm.times(step) for step in (0, 24, 25, 499, 500, 501, 1000)] == [100, 100, 5, 5, 100, 5, 100]
    made = setting(train__n_critic=3)
    d, g = pair(made)
    assert d.times(0) == 3 and g.times(0) == 1


class Counting(nn.Module):
    """A critic that notes the sizes of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.weight = nn.Parameter(torch.ones(16))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return x.flatten(1) @ self.weight


@pytest.mark.parametrize(
    ("knobs", "sizes"),
    [
        ({"d_norm": "none"}, [8]),
        ({"d_norm": "ln"}, [8]),
        ({"d_norm": "in"}, [8]),
        ({"d_norm": "bn"}, [4, 4]),
        ({"d_norm": "none", "mbstd": "all"}, [4, 4]),
        ({"d_norm": "lab.norms:Own"}, [4, 4]),
        ({"d_norm": "none", "penalty": "r1"}, [4, 4]),
        ({"d_norm": "bn", "d_batching": "joint"}, [8]),
        ({"d_norm": "none", "mbstd": 4, "d_batching": "joint"}, [8]),
    ],
)
def test_reals_and_fakes_share_a_pass_where_samples_do_not_meet_or_it_is_asked(
    knobs: dict[str, object], sizes: list[int]
) -> None:
    D = Counting()
    pair(setting(**knobs))[0].loss(Nets(Still(images(seed=1)), D), batch())
    assert D.seen == sizes


def test_one_pass_and_two_are_the_same_mathematics() -> None:
    made = setting(d_norm="ln")
    G, D = build(made)
    given = batch() | {"real": images(size=16)}
    together, _ = pair(made)[0].loss(Nets(G, D), given)
    with torch.no_grad():
        fake = G(given["z"])
    apart = LOSSES["nonsaturating"][0](D(given["real"]), D(fake))
    torch.testing.assert_close(together, apart)


def test_fakes_for_d_update_the_running_statistics_of_g() -> None:
    made = setting(g_norm="bn")
    G, D = build(made)
    pair(made)[0].loss(Nets(G, D), batch() | {"real": images(size=16), "z": torch.randn(4, 6)})
    assert int(G.blocks[0].norm.num_batches_tracked) == 1
