"""Least squares and relativistic losses against closed forms and torch's own, and losses of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.models import build
from bench.objectives import Nets, phases
from bench.objectives.losses import LOSSES, check_own_loss, loss_named
from bench.own_modules import OwnModuleError
from bench.setting import resolve

R = torch.tensor([2.0, -1.0, 0.5])
FAKE = torch.tensor([-3.0, 0.25, 1.5])
TINY = {"data.size": 16, "data.channels": 1, "g_width": 4, "d_width": 4, "z_dim": 6, "train.batch": 4}
bce = F.binary_cross_entropy_with_logits


def test_least_squares_are_half_torchs_mean_square() -> None:
    one, zero = torch.ones(3), torch.zeros(3)
    loss = LOSSES["leastsquares"]
    torch.testing.assert_close(loss.d(R, FAKE), (F.mse_loss(R, one) + F.mse_loss(FAKE, zero)) / 2)
    torch.testing.assert_close(loss.g(FAKE, None), F.mse_loss(FAKE, one) / 2)


def test_least_squares_is_least_where_reals_are_one_and_fakes_zero() -> None:
    loss = LOSSES["leastsquares"]
    assert float(loss.d(torch.ones(3), torch.zeros(3))) == 0 == float(loss.g(torch.ones(3), None))


def test_relativistic_is_torchs_cross_entropy_of_differences() -> None:
    loss = LOSSES["relativistic"]
    torch.testing.assert_close(loss.d(R, FAKE), bce(R - FAKE, torch.ones(3)))
    torch.testing.assert_close(loss.g(FAKE, R), bce(FAKE - R, torch.ones(3)))


def test_relativistic_average_is_torchs_cross_entropy_against_the_other_mean() -> None:
    one, zero, loss = torch.ones(3), torch.zeros(3), LOSSES["relativistic_average"]
    real, fake = R - FAKE.mean(), FAKE - R.mean()
    torch.testing.assert_close(loss.d(R, FAKE), bce(real, one) + bce(fake, zero))
    torch.testing.assert_close(loss.g(FAKE, R), bce(fake, one) + bce(real, zero))


@pytest.mark.parametrize("name", ["relativistic", "relativistic_average"])
def test_relativistic_losses_see_differences_alone_and_exchange_roles(name: str) -> None:
    loss = LOSSES[name]
    torch.testing.assert_close(loss.d(R + 7, FAKE + 7), loss.d(R, FAKE))
    torch.testing.assert_close(loss.g(FAKE, R), loss.d(FAKE, R))
    assert float(loss.d(R, R - 1)) < float(loss.d(R, R)) < float(loss.d(R, R + 1))


def test_pairs_matter_to_the_paired_loss_alone() -> None:
    shuffled = FAKE[[1, 2, 0]]
    torch.testing.assert_close(LOSSES["relativistic_average"].d(R, shuffled), LOSSES["relativistic_average"].d(R, FAKE))
    assert float((LOSSES["relativistic"].d(R, shuffled) - LOSSES["relativistic"].d(R, FAKE)).abs()) > 0.01


@pytest.mark.parametrize("name", [name for name in LOSSES])
def test_a_patch_gives_the_mean_over_its_patches(name: str) -> None:
    r, f = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0)).unbind()
    loss = LOSSES[name]
    torch.testing.assert_close(loss.d(r, f), loss.d(r.flatten(), f.flatten()))
    torch.testing.assert_close(loss.g(f, r), loss.g(f.flatten(), r.flatten()))


@pytest.mark.parametrize(("loss", "reads"), [("relativistic", True), ("relativistic_average", True), ("hinge", False)])
def test_g_is_shown_reals_where_its_loss_compares(loss: str, reads: bool) -> None:
    made = resolve(TINY, {"loss": loss, "g_norm": "none"})
    _, g = phases(made)
    assert g.needs == (("z", "real") if reads else ("z",))
    batch = {"z": torch.randn(4, 6), "real": torch.rand(4, 1, 16, 16)}
    G, D = build(made)
    total, _ = g.loss(Nets(G, D.requires_grad_(False)), batch)
    with torch.no_grad():
        f, r = D(G(batch["z"])), D(batch["real"])
    torch.testing.assert_close(total.detach(), LOSSES[loss].g(f, r))
    total.backward()
    assert all(p.grad is not None for p in G.parameters())


def test_average_compares_batches_of_unlike_size() -> None:
    made = resolve(TINY, {"loss": "relativistic_average", "train.g_batch": 7, "d_norm": "ln"})
    G, D = build(made)
    total, _ = phases(made)[1].loss(Nets(G, D), {"z": torch.randn(7, 6), "real": torch.rand(4, 1, 16, 16)})
    assert total.ndim == 0


# ---------------------------------------------------------------------------------------------------------
# Losses of the user's own.

OWN = """
import torch
from torch.nn import functional as F

class Square:
    def d(self, r, f):
        return (r - 1).square().mean() + (f + 1).square().mean()
    def g(self, f, r):
        assert r is None
        return f.square().mean()

class Pairs:
    g_reads_real = True
    def d(self, r, f):
        return F.softplus(f - r).mean()
    def g(self, f, r):
        return F.softplus(r - f).mean()

class Needs(Square):
    def __init__(self, weight):
        pass

class OneSided:
    def d(self, r, f):
        return r.mean()

class Fails(Square):
    def g(self, f, r):
        return (f - r).mean()

class Vector(Square):
    def d(self, r, f):
        return r - f

class Number(Square):
    def g(self, f, r):
        return 0.5

class Endless(Square):
    def d(self, r, f):
        return (f * 0).mean() + torch.tensor(float("inf"))

class Cut(Square):
    def g(self, f, r):
        return f.detach().mean()
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "lab_losses_under_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "lab_losses_under_test"


def test_own_losses_that_hold(own: str) -> None:
    check_own_loss(f"{own}:Square")
    check_own_loss(f"{own}:Pairs")
    assert loss_named(f"{own}:Pairs").g_reads_real and not loss_named(f"{own}:Square").g_reads_real
    expected: Tensor = LOSSES["relativistic"].d(R, FAKE)
    torch.testing.assert_close(loss_named(f"{own}:Pairs").d(R, FAKE), expected)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Missing", "lab_losses_under_test has no Missing"),
        ("Needs", r"Needs\(\) cannot be made: TypeError"),
        ("OneSided", "has no method g"),
        ("Fails", r"g on logits of shape \(4,\) fails: TypeError"),
        ("Vector", r"d on logits of shape \(4,\) must give a scalar tensor; it gives shape \(4,\)"),
        ("Number", "must give a scalar tensor; it gives float"),
        ("Endless", "gives inf"),
        ("Cut", "no gradient in the logits of fakes"),
    ],
)
def test_own_losses_that_do_not(own: str, name: str, says: str) -> None:
    with pytest.raises(OwnModuleError, match=says):
        check_own_loss(f"{own}:{name}")
