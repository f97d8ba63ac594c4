"""Penalties of critics whose gradients are known, and what the phases add to D's and G's losses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.batches import Batches
from bench.data import Part
from bench.models import build
from bench.norms import orthogonality
from bench.objectives import Nets, phases
from bench.objectives.penalties import dragan_penalty, gradient_penalty, r1_penalty, zero_centred_penalty
from bench.setting import Setting, resolve

TINY = {"data.size": 16, "data.channels": 1, "g_width": 4, "d_width": 4, "z_dim": 6, "train.batch": 4}


class Quadratic(nn.Module):
    """D(x) = a |x|^2, whose gradient at x is 2 a x; in `patches` equal parts, and a_y = (1 + y) a where y is given."""

    def __init__(self, a: float, patches: int = 0) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a))
        self.patches = patches

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        logit = self.a * x.flatten(1).square().sum(dim=1)
        logit = logit if y is None else (1 + y) * logit
        return logit[:, None].expand(-1, self.patches) / self.patches if self.patches else logit


class Still(nn.Module):
    """A generator that ignores z."""

    def __init__(self, fake: Tensor) -> None:
        super().__init__()
        self.fake = nn.Parameter(fake)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return 1 * self.fake


def images(seed: int = 0) -> Tensor:
    return torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def square(x: Tensor) -> Tensor:
    """|x|^2 of each sample."""
    return x.flatten(1).square().sum(dim=1)


ALPHA = torch.tensor([0.0, 1.0, 0.25, 0.5]).view(4, 1, 1, 1)
BETWEEN = images() + ALPHA * (images(1) - images())
NOISE = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(5))
AROUND = images() + 0.5 * images().flatten().std(correction=0) * NOISE


def test_zero_centred_penalty_of_a_quadratic_critic() -> None:
    """|grad|^2 = 4 a^2 |x|^2 at the interpolates; its slope in a is 8 a E|x|^2."""
    D = Quadratic(0.7)
    value = zero_centred_penalty(D, images(), images(1), ALPHA)
    torch.testing.assert_close(value.detach(), 4 * 0.7**2 * square(BETWEEN).mean())
    value.backward()
    assert float(D.a.grad) == pytest.approx(float(8 * 0.7 * square(BETWEEN).mean()), rel=1e-5)


def test_dragan_of_a_quadratic_critic() -> None:
    """The norm at x = real + 0.5 std U is 2 a |x|, std that of all values of the batch."""
    expected = (2 * 0.7 * square(AROUND).sqrt() - 1).square().mean()
    torch.testing.assert_close(dragan_penalty(Quadratic(0.7), images(), NOISE).detach(), expected)


@pytest.mark.parametrize("target", [0.5, 3.0])
def test_the_target_is_the_norm_that_costs_nothing(target: float) -> None:
    direction = F.normalize(torch.arange(1.0, 257.0), dim=0)

    def critic(x: Tensor) -> Tensor:
        return x.flatten(1) @ (direction * target)

    value = gradient_penalty(critic, images(), images(1), ALPHA, target=target)  # type: ignore[arg-type]
    assert float(value) == pytest.approx(0, abs=1e-9)
    assert float(dragan_penalty(critic, images(), NOISE, target=target)) == pytest.approx(0, abs=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize("patches", [1, 5])
def test_a_patch_d_is_differentiated_as_the_sum_over_its_patches(patches: int) -> None:
    whole, parts, real = Quadratic(0.7), Quadratic(0.7, patches), images().requires_grad_()
    torch.testing.assert_close(
        gradient_penalty(parts, real, images(1), ALPHA), gradient_penalty(whole, real, images(1), ALPHA)
    )
    torch.testing.assert_close(r1_penalty(real, parts(real)), r1_penalty(real, whole(real)))


def test_penalties_are_taken_under_the_labels_of_reals() -> None:
    """With a_y = (1 + y) a, |grad|^2 = 4 (1 + y)^2 a^2 |x|^2."""
    y, D = torch.tensor([0, 1, 2, 0]), Quadratic(0.7)
    expected = (4 * (1 + y) ** 2 * 0.7**2 * square(BETWEEN)).mean()
    torch.testing.assert_close(zero_centred_penalty(D, images(), images(1), ALPHA, y).detach(), expected)
    norms = 2 * (1 + y) * 0.7 * square(AROUND).sqrt()
    torch.testing.assert_close(dragan_penalty(D, images(), NOISE, y).detach(), (norms - 1).square().mean())


# ---------------------------------------------------------------------------------------------------------
# As the phases add them.


def setting(**knobs: object) -> Setting:
    return resolve(TINY, {"g_norm": "none"}, {name.replace("__", "."): value for name, value in knobs.items()})


def logs_of(made: Setting, D: nn.Module, **batch: Tensor) -> dict[str, Tensor]:
    given = {"real": images(), "z": torch.zeros(4, 6), **batch}
    phase = phases(made)[0]
    assert set(phase.needs) <= set(given)
    total, logs = phase.loss(Nets(Still(images(1)), D), given)
    added = [logs[name] for name in ("penalty", "drift", "orthogonal_D") if name in logs]
    torch.testing.assert_close(total.detach(), logs["loss_D"] + sum(added))
    return logs


REAL, FAKE = 2 * 0.7**2 * square(images()).mean(), 2 * 0.7**2 * square(images(1)).mean()


@pytest.mark.parametrize("batching", ["separate", "joint"])
@pytest.mark.parametrize(("penalty", "expected"), [("r1", REAL), ("r2", FAKE), ("r1r2", REAL + FAKE)])
def test_r1_and_r2_take_their_own_images(penalty: str, expected: Tensor, batching: str) -> None:
    logs = logs_of(setting(penalty=penalty, r1_weight=3.0, d_batching=batching), Quadratic(0.7))
    torch.testing.assert_close(logs["penalty"], 3 * expected)


def test_gradient_penalties_with_their_weight_and_target() -> None:
    """A target other than 1 divides the weight by its square."""
    knobs = {"gp_weight": 7.0, "gp_target": 2.0}
    between = (2 * 0.7 * square(BETWEEN).sqrt() - 2).square().mean()
    around = (2 * 0.7 * square(AROUND).sqrt() - 2).square().mean()
    D = Quadratic(0.7)
    torch.testing.assert_close(logs_of(setting(penalty="gp", **knobs), D, gp_alpha=ALPHA)["penalty"], 7 / 4 * between)
    torch.testing.assert_close(
        logs_of(setting(penalty="dragan", **knobs), D, dragan_noise=NOISE)["penalty"], 7 / 4 * around
    )
    zero = logs_of(setting(penalty="gp0", gp_weight=7.0), D, gp_alpha=ALPHA)["penalty"]
    torch.testing.assert_close(zero, 7 * 4 * 0.7**2 * square(BETWEEN).mean())


@pytest.mark.parametrize("patches", [0, 3])
def test_drift_is_the_mean_square_of_the_logits_of_reals(patches: int) -> None:
    D = Quadratic(0.7, patches)
    logs = logs_of(setting(drift=0.25), D)
    torch.testing.assert_close(logs["drift"], 0.25 * D(images()).detach().square().mean())


@pytest.mark.parametrize("penalty", ["r1", "r2", "r1r2", "gp", "gp0", "dragan"])
def test_every_penalty_reaches_the_weights_of_d_and_leaves_g_alone(penalty: str) -> None:
    made = setting(penalty=penalty, loss="wasserstein", d_norm="gn")
    G, D = build(made)
    given = {"real": images(), "z": torch.randn(4, 6), "gp_alpha": ALPHA, "dragan_noise": NOISE}
    phases(made)[0].loss(Nets(G, D), given)[0].backward()
    assert all(p.grad is None for p in G.parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in D.parameters())
    assert not given["real"].requires_grad


def test_noise_for_dragan_is_drawn_by_its_address() -> None:
    made = setting(penalty="dragan")
    part = Part(torch.zeros(10, 1, 16, 16, dtype=torch.uint8), torch.zeros(10, dtype=torch.int64))
    phase = phases(made)[0]
    one, two = (Batches(made, part, "cpu").draw(phase, 3)["dragan_noise"] for _ in range(2))
    assert one.shape == (4, 1, 16, 16) and one.min() >= 0 and one.max() < 1 and torch.equal(one, two)
    assert not torch.equal(one, Batches(made, part, "cpu").draw(phase, 4)["dragan_noise"])


def test_orthogonal_regularisation_stands_in_the_loss_of_its_net() -> None:
    made = setting(g_weight="orthogonal", d_weight="orthogonal", orthogonal_weight=0.5)
    G, D = build(made)
    batch = {"real": images(), "z": torch.randn(4, 6)}
    for phase, net, name in zip(phases(made), (D, G), ("D", "G"), strict=True):
        total, logs = phase.loss(Nets(G, D), batch)
        expected = 0.5 * orthogonality(net).detach()
        torch.testing.assert_close(logs[f"orthogonal_{name}"], expected)
        torch.testing.assert_close(total.detach(), logs[f"loss_{name}"] + expected)
