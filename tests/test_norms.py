"""Norms against their formulas, against torch, and against the singular value decomposition."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from bench.models.layers import MinibatchStd, PixelNorm, SkipExcitation
from bench.norms import (
    AdaIN,
    EqualizedRate,
    InstanceNorm,
    NormError,
    OwnNorm,
    SelfModulatedBatchNorm,
    SpectralNorm,
    activation_norm,
    check_own,
)


def maps(*shape: int, seed: int = 0) -> Tensor:
    """Draw maps whose means and spreads differ between samples and channels."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(shape[0], shape[1], 1, 1, generator=generator) * 3 + 0.5
    return torch.randn(shape, generator=generator) * spread + spread * 2


def spectral(layer: nn.Module, output_axis: int = 0, seed: int = 0) -> SpectralNorm:
    weight = layer.weight
    u = torch.randn(weight.shape[output_axis], generator=torch.Generator().manual_seed(seed))
    norm = SpectralNorm(u, output_axis)  # type: ignore[arg-type]
    parametrize.register_parametrization(layer, "weight", norm, unsafe=True)
    return norm


# ---------------------------------------------------------------------------------------------------------
# Activation norms.


def test_instance_norm_is_torchs() -> None:
    x = maps(3, 5, 6, 7)
    norm = InstanceNorm(5)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, 5))
        norm.bias.copy_(torch.linspace(-1, 1, 5))
    torch.testing.assert_close(norm(x), F.instance_norm(x, weight=norm.weight, bias=norm.bias), atol=2e-6, rtol=1e-5)


def test_adain_gives_each_map_the_mean_and_spread_of_its_style() -> None:
    x, z = maps(4, 6, 8, 8), torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    norm = AdaIN(6, 3)
    y = norm(x, z)
    scale, shift = (norm.affine.weight @ z[:, :, None])[:, :, 0].add(norm.affine.bias).split(6, dim=1)
    # x has variance of order one at least, so that eps moves the spread by 1e-5 at most.
    torch.testing.assert_close(y.mean(dim=(2, 3)), shift, atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std(dim=(2, 3), correction=0), scale.abs(), atol=0, rtol=1e-4)


def test_self_modulated_batch_norm_is_batch_norm_with_the_affine_of_adain() -> None:
    x, z = maps(4, 6, 5, 5), torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    norm = SelfModulatedBatchNorm(6, 3)
    scale, shift = norm.affine(z).chunk(2, dim=1)
    expected = F.batch_norm(x, None, None, training=True) * scale[:, :, None, None] + shift[:, :, None, None]
    torch.testing.assert_close(norm(x, z), expected, atol=1e-5, rtol=1e-5)
    assert norm.statistics.num_batches_tracked == 1
    norm.eval()
    running = F.batch_norm(x, norm.statistics.running_mean, norm.statistics.running_var)
    torch.testing.assert_close(
        norm(x, z), running * scale[:, :, None, None] + shift[:, :, None, None], atol=1e-5, rtol=1e-5
    )


def test_layer_norm_is_over_channels_and_pixels_of_a_sample() -> None:
    x = maps(3, 4, 5, 5)
    torch.testing.assert_close(
        activation_norm("ln", 4, 5, z_dim=None, seed=0)(x), F.layer_norm(x, (4, 5, 5)), atol=2e-6, rtol=1e-5
    )


def first_alone(layer: nn.Module, x: Tensor, z: Tensor | None) -> float:
    """How far the first sample's output moves when the other samples change."""
    other = torch.cat([x[:1], maps(*x.shape, seed=9)[1:]])
    call: Callable[[Tensor], Tensor] = layer if z is None else lambda x: layer(x, z)
    with torch.no_grad():
        return float((call(x)[0] - call(other)[0]).abs().max())


@pytest.mark.parametrize("name", ["none", "in", "adain"])
def test_norms_of_g_that_keep_samples_apart(name: str) -> None:
    norm = activation_norm(name, 6, 8, z_dim=3, seed=0)
    assert first_alone(norm, maps(4, 6, 8, 8), torch.ones(4, 3) if name == "adain" else None) == 0


@pytest.mark.parametrize("name", ["none", "ln", "in"])
def test_norms_of_d_that_keep_samples_apart(name: str) -> None:
    assert first_alone(activation_norm(name, 6, 8, z_dim=None, seed=0), maps(4, 6, 8, 8), None) == 0


@pytest.mark.parametrize("name", ["bn", "selfmod_bn"])
def test_batch_statistics_mix_samples(name: str) -> None:
    norm = activation_norm(name, 6, 8, z_dim=3, seed=0)
    assert first_alone(norm, maps(4, 6, 8, 8), torch.ones(4, 3) if name == "selfmod_bn" else None) > 0.01


def test_minibatch_std_mixes_samples_of_a_group_alone() -> None:
    x, other = maps(4, 3, 5, 5), maps(4, 3, 5, 5, seed=9)
    layer = MinibatchStd(2)  # M = 2: groups are samples {0, 2} and {1, 3}
    within, across = x.clone(), x.clone()
    within[2], across[1] = other[2], other[1]
    assert float((layer(x)[0] - layer(within)[0]).abs().max()) > 1e-3
    assert torch.equal(layer(x)[0], layer(across)[0])


@pytest.mark.parametrize("name", ["in", "adain"])
def test_instance_statistics_of_one_pixel_are_refused(name: str) -> None:
    with pytest.raises(NormError, match="one pixel"):
        activation_norm(name, 4, 1, z_dim=3, seed=0)


def test_a_norm_of_the_other_net_is_refused() -> None:
    with pytest.raises(NormError, match="adain is no norm of D"):
        activation_norm("adain", 4, 8, z_dim=None, seed=0)
    with pytest.raises(NormError, match="cbn is no norm of D"):
        activation_norm("cbn", 4, 8, z_dim=None, seed=0)


# ---------------------------------------------------------------------------------------------------------
# Neighbours of the norms.


def test_pixel_norm_gives_unit_mean_square() -> None:
    y = PixelNorm()(maps(2, 7, 3, 3))
    torch.testing.assert_close(y.square().mean(dim=1), torch.ones(2, 3, 3))


def test_minibatch_std_of_a_constant_batch_is_zero() -> None:
    x = maps(1, 3, 4, 4).expand(6, -1, -1, -1)
    y = MinibatchStd("all")(x)
    assert torch.equal(y[:, :3], x)
    assert float(y[:, 3].max()) == pytest.approx(math.sqrt(1e-8))


def test_minibatch_std_by_hand() -> None:
    # Two groups of two: {0, 2} hold 1 and 5 (deviation 2), {1, 3} hold 2 and 8 (deviation 3).
    x = torch.tensor([1.0, 2.0, 5.0, 8.0]).view(4, 1, 1, 1).expand(4, 2, 3, 3)
    torch.testing.assert_close(MinibatchStd(2)(x)[:, 2, 0, 0], torch.tensor([2.0, 3.0, 2.0, 3.0]))


def test_minibatch_std_refuses_a_batch_that_its_groups_do_not_divide() -> None:
    with pytest.raises(ValueError, match="batch of 6 does not divide into groups of 4"):
        MinibatchStd(4)(maps(6, 2, 3, 3))
    assert MinibatchStd(4)(maps(3, 2, 3, 3)).shape == (3, 3, 3, 3)  # a batch smaller than the group is the group


def test_excitation_gates_channels_between_nothing_and_all() -> None:
    layer = SkipExcitation(5, 3)
    x, low = torch.ones(2, 3, 16, 16), maps(2, 5, 8, 8)
    with torch.no_grad():
        layer.squeeze.weight.zero_()
        half = layer(x, low)
        torch.testing.assert_close(half, x / 2)  # sigmoid(0)
        layer.squeeze.weight.normal_(generator=torch.Generator().manual_seed(0))
        gated = layer(x, low)
    assert torch.equal(gated, gated[:, :, :1, :1].expand_as(gated))
    assert gated.min() >= 0 and gated.max() <= 1 and gated.std() > 0


# ---------------------------------------------------------------------------------------------------------
# Weight norms.


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kind", ["conv", "deconv", "dense"])
def test_spectral_norm_after_many_iterations_is_the_largest_singular_value(kind: str, channels_last: bool) -> None:
    layer: nn.Module = {
        "conv": nn.Conv2d(5, 7, 3),
        "deconv": nn.ConvTranspose2d(5, 7, 4),
        "dense": nn.Linear(9, 4),
    }[kind]
    with torch.no_grad():
        layer.weight.normal_(generator=torch.Generator().manual_seed(3))
    if channels_last:
        layer = layer.to(memory_format=torch.channels_last)
    raw = layer.weight.detach().clone()
    matrix = (raw.transpose(0, 1) if kind == "deconv" else raw).flatten(1)
    sigma = torch.linalg.svdvals(matrix)[0]
    spectral(layer, 1 if kind == "deconv" else 0)
    for _ in range(300):
        effective = layer.weight
    torch.testing.assert_close(effective, raw / sigma, atol=1e-6, rtol=1e-5)


def test_spectral_norm_and_its_gradient_are_torchs() -> None:
    ours, theirs = nn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, 3)
    with torch.no_grad():
        ours.weight.normal_(generator=torch.Generator().manual_seed(3))
    theirs.load_state_dict(ours.state_dict())
    norm = spectral(ours)
    parametrizations.spectral_norm(theirs)
    for layer in (ours.double(), theirs.double()):
        for _ in range(1000):  # both converge to the same singular vectors
            layer.weight  # noqa: B018
    x = maps(2, 4, 5, 5).double()
    for layer in (ours, theirs):
        layer(x).square().sum().backward()
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(
        ours.parametrizations.weight.original.grad,
        theirs.parametrizations.weight.original.grad,
    )
    assert norm.u.shape == (6,)


def test_spectral_norm_takes_one_iteration_a_training_forward_and_none_in_evaluation() -> None:
    layer = nn.Linear(8, 5)
    norm = spectral(layer)
    weight, u = layer.parametrizations.weight.original.detach(), norm.u.clone()
    v = F.normalize(weight.t() @ u, dim=0)
    layer(torch.ones(1, 8))
    torch.testing.assert_close(norm.u, F.normalize(weight @ v, dim=0))
    layer.eval()
    before = norm.u.clone()
    layer(torch.ones(1, 8))
    assert torch.equal(norm.u, before)


def test_spectral_norm_can_be_differentiated_twice() -> None:
    layer = nn.Linear(4, 3, bias=False).double()
    norm = spectral(layer)
    norm.u = norm.u.double()
    layer.eval()  # u is held, as the gradient holds it

    def penalty(weight: Tensor) -> Tensor:
        x = torch.linspace(-1, 1, 8, dtype=torch.float64).view(2, 4).requires_grad_()
        y = torch.tanh(F.linear(x, held(weight)))
        (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        return gradient.square().sum()

    u = norm.u
    v = F.normalize(layer.parametrizations.weight.original.detach().t() @ u, dim=0)

    def held(weight: Tensor) -> Tensor:
        return weight / (u @ weight @ v)

    raw = layer.parametrizations.weight.original.detach().requires_grad_()
    assert torch.autograd.gradcheck(penalty, (raw,))
    x = torch.linspace(-1, 1, 8, dtype=torch.float64).view(2, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(torch.tanh(layer(x)).sum(), x, create_graph=True)
    gradient.square().sum().backward()
    (expected,) = torch.autograd.grad(penalty(raw), raw)
    torch.testing.assert_close(layer.parametrizations.weight.original.grad, expected)


def test_two_forwards_before_one_backward() -> None:
    layer = nn.Conv2d(2, 3, 3)
    spectral(layer)
    x = maps(2, 2, 5, 5)
    (layer(x).sum() - layer(2 * x).square().sum()).backward()
    assert layer.parametrizations.weight.original.grad.abs().sum() > 0


def test_state_of_spectral_norm_is_plain_tensors() -> None:
    layer = nn.Conv2d(2, 3, 3)
    spectral(layer)
    layer(maps(1, 2, 4, 4))
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = nn.Conv2d(2, 3, 3)
    spectral(other, seed=1)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(layer.eval()(torch.ones(1, 2, 4, 4)), other.eval()(torch.ones(1, 2, 4, 4)))


@pytest.mark.parametrize("fan_in", [4, 64, 1024])
def test_equalized_rate_makes_adams_step_shrink_with_fan_in(fan_in: int) -> None:
    """Adam's first step moves each raw weight by lr, whatever its gradient: the effective one moves by lr * scale."""
    layer = nn.Linear(fan_in, 3, bias=False)
    parametrize.register_parametrization(layer, "weight", EqualizedRate(math.sqrt(2 / fan_in)), unsafe=True)
    before = layer.weight.detach().clone()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    layer(torch.ones(1, fan_in)).sum().backward()
    optimizer.step()
    moved = (layer.weight - before).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.1 * math.sqrt(2 / fan_in)), atol=1e-6, rtol=1e-4)


def test_spectral_norm_cancels_the_scale_of_equalized_rate() -> None:
    x = maps(2, 3, 5, 5)
    plain, both = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
    both.load_state_dict(plain.state_dict())
    parametrize.register_parametrization(both, "weight", EqualizedRate(0.037), unsafe=True)
    spectral(plain)
    spectral(both)
    torch.testing.assert_close(plain(x), both(x))


# ---------------------------------------------------------------------------------------------------------
# Norms of the user's own.

OWN = """
import torch
from torch import nn

class Scale(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, 1, 1))
    def forward(self, x):
        return x * self.weight

class Styled(nn.Module):
    wants_z = True
    def __init__(self, channels, z_dim):
        super().__init__()
        self.affine = nn.Linear(z_dim, channels)
    def forward(self, x, z):
        return x * self.affine(z)[:, :, None, None]

class Halves(nn.Module):
    def __init__(self, channels):
        super().__init__()
    def forward(self, x):
        return x[:, ::2]

class Greedy(nn.Module):
    def __init__(self, channels, unforeseen):
        super().__init__()

class Raises(Halves):
    def forward(self, x):
        raise RuntimeError("no luck")

class Pair(Halves):
    def forward(self, x):
        return x, x

def function(channels):
    return nn.Identity()

NUMBER = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "lab_norms_under_test.py").write_text(OWN)
    (tmp_path / "lab_broken_under_test.py").write_text("def (")
    monkeypatch.syspath_prepend(tmp_path)
    return "lab_norms_under_test"


def test_own_norms_that_hold(own: str) -> None:
    check_own(f"{own}:Scale", 5)
    check_own(f"{own}:Scale", None)
    check_own(f"{own}:Styled", 5)
    check_own("torch.nn:BatchNorm2d", 5)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lab_missing_under_test:Norm", "lab_missing_under_test does not import: ModuleNotFoundError"),
        ("lab_broken_under_test:Norm", "does not import: SyntaxError"),
        ("lab_norms_under_test:Missing", "has no Missing"),
        ("lab_norms_under_test:function", "not a class derived from torch.nn.Module"),
        ("lab_norms_under_test:NUMBER", "not a class derived from torch.nn.Module"),
        ("lab_norms_under_test:Greedy", "Greedy\\(8\\) cannot be made: TypeError"),
        ("lab_norms_under_test:Raises", "fails on a batch.*no luck"),
        ("lab_norms_under_test:Pair", "returns tuple, not a tensor"),
        ("lab_norms_under_test:Halves", "must keep the shape; made \\(2, 4, 4, 4\\) of \\(2, 8, 4, 4\\)"),
    ],
)
def test_own_norms_that_do_not(own: str, name: str, says: str) -> None:
    with pytest.raises(NormError, match=says):
        check_own(name, 5)


def test_d_has_no_z_to_give(own: str) -> None:
    with pytest.raises(NormError, match="wants z"):
        check_own(f"{own}:Styled", None)


def test_own_norm_is_drawn_at_its_address_and_leaves_the_global_generator_alone(own: str) -> None:
    torch.manual_seed(1)
    first = OwnNorm(f"{own}:Scale", 4, None, seed=7).own.weight
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))
    torch.manual_seed(2)
    assert torch.equal(first, OwnNorm(f"{own}:Scale", 4, None, seed=7).own.weight)
    assert not torch.equal(first, OwnNorm(f"{own}:Scale", 4, None, seed=8).own.weight)
