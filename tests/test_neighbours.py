"""The norms that a study compares with: group, conditional and affine-free norms, weight norm, orthogonality."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from bench.models import build
from bench.norms import (
    WITHIN_SAMPLE,
    ConditionalBatchNorm,
    NormError,
    OwnNorm,
    WeightNorm,
    activation_norm,
    check_own,
    has_conv_bias,
    norm_at,
    normalized,
    orthogonality,
)
from bench.norms.activation import STATIC, groups
from bench.setting import Setting, resolve

TINY = {"data.size": 16, "data.channels": 1, "g_width": 4, "d_width": 4, "z_dim": 6}


def maps(*shape: int, seed: int = 0) -> Tensor:
    """Draw maps whose means and spreads differ between samples and channels."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(shape[0], shape[1], 1, 1, generator=generator) * 3 + 0.5
    return torch.randn(shape, generator=generator) * spread + spread * 2


def tiny(**knobs: Any) -> Setting:
    return resolve(TINY, {name.replace("__", "."): value for name, value in knobs.items()})


# ---------------------------------------------------------------------------------------------------------
# Group norm.


def test_groups_are_thirty_two_from_sixty_four_channels_on_and_divide() -> None:
    assert [groups(channels) for channels in (64, 128, 512)] == [32, 32, 32]
    for channels in range(1, 200):
        n = groups(channels)
        assert channels % n == 0 and n <= 32 and (n == 1 or channels // n >= 2)
        assert not any(channels % more == 0 for more in range(n + 1, min(32, channels // 2) + 1))


def test_group_norm_by_its_formula() -> None:
    x = maps(3, 8, 5, 5)
    grouped = x.view(3, 4, 2 * 25)
    mean, var = grouped.mean(dim=2, keepdim=True), grouped.var(dim=2, correction=0, keepdim=True)
    expected = ((grouped - mean) / (var + 1e-5).sqrt()).view_as(x)
    for z_dim in (3, None):  # in either net
        norm = activation_norm("gn", 8, 5, z_dim=z_dim, seed=0)
        torch.testing.assert_close(norm(x), expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(STATIC))
@pytest.mark.parametrize("z_dim", [3, None])
def test_within_sample_is_who_keeps_samples_apart(name: str, z_dim: int | None) -> None:
    norm, x = activation_norm(name, 8, 5, z_dim=z_dim, seed=0), maps(4, 8, 5, 5)
    other = torch.cat([x[:1], maps(4, 8, 5, 5, seed=9)[1:]])
    with torch.no_grad():
        moved = float((norm(x)[0] - norm(other)[0]).abs().max())
    assert moved == 0 if name in WITHIN_SAMPLE else moved > 0.01


# ---------------------------------------------------------------------------------------------------------
# Conditional batch norm.


def test_conditional_batch_norm_is_batch_norm_with_the_affine_of_each_class() -> None:
    x, y, norm = maps(5, 3, 4, 4), torch.tensor([0, 2, 1, 2, 0]), ConditionalBatchNorm(3, 4)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, 12).view(4, 3))
        norm.bias.copy_(torch.linspace(-1, 1, 12).view(4, 3))
    plain = F.batch_norm(x, None, None, training=True)
    for i, label in enumerate(y):
        expected = plain[i] * norm.weight[label][:, None, None] + norm.bias[label][:, None, None]
        torch.testing.assert_close(norm(x, y)[i], expected, atol=1e-6, rtol=1e-5)


def test_a_class_learns_from_its_own_samples_alone() -> None:
    norm = ConditionalBatchNorm(3, 4)
    norm(maps(4, 3, 4, 4), torch.tensor([1, 1, 3, 3])).square().sum().backward()
    for parameter in (norm.weight, norm.bias):
        assert parameter.grad is not None
        assert parameter.grad[[0, 2]].eq(0).all() and parameter.grad[[1, 3]].ne(0).all()


def test_gains_of_classes_are_drawn_around_one() -> None:
    """N(1, 0.02) under DCGAN's scheme, as batch norm's: 10 classes × 32 channels; 1 under the others."""
    wide = {"g_norm": "cbn", "g_width": 32, "data__classes": 10, "condition": "projection"}
    gains, shifts = (build(tiny(**wide))[0].blocks[1].norm.get_parameter(name) for name in ("weight", "bias"))
    assert gains.shape == (10, 32) and not shifts.any()
    assert float(gains.detach().mean()) == pytest.approx(1, abs=0.005)
    assert float(gains.detach().std()) == pytest.approx(0.02, rel=0.2)
    assert not torch.equal(gains[0], gains[1])
    assert build(tiny(**wide, init="wgan_gp"))[0].blocks[1].norm.weight.eq(1).all()


def test_labels_reach_the_norms_of_g() -> None:
    G, _ = build(tiny(g_norm="cbn", data__classes=3, condition="projection"))
    z, y = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    G.eval()
    with torch.no_grad():
        for block in G.blocks:
            block.norm.bias.normal_(generator=torch.Generator().manual_seed(0))
        one, two = G(z, y), G(z, torch.tensor([0, 1, 2, 1]))
    assert torch.equal(one[:3], two[:3]) and not torch.equal(one[3], two[3])


def test_conditional_batch_norm_wants_classes() -> None:
    with pytest.raises(NormError, match=r"data\.classes"):
        build(tiny(g_norm="cbn"))
    with pytest.raises(NormError, match="cbn is no norm of D"):
        activation_norm("cbn", 4, 8, z_dim=None, seed=0, classes=3)


LAB = """
from torch import nn
class ByClass(nn.Module):
    wants_z = wants_y = True
    def __init__(self, channels, z_dim, classes):
        super().__init__()
        self.gain, self.shift = nn.Embedding(classes, channels), nn.Linear(z_dim, channels)
    def forward(self, x, z, y):
        return x * self.gain(y)[:, :, None, None] + self.shift(z)[:, :, None, None]
"""


def test_a_norm_of_ones_own_may_want_labels_too(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab_by_class_under_test.py").write_text(LAB)
    monkeypatch.syspath_prepend(tmp_path)
    name = "lab_by_class_under_test:ByClass"
    check_own(name, 5, 3)
    with pytest.raises(NormError, match="wants y"):
        check_own(name, 5)
    norm, x, z, y = OwnNorm(name, 4, 5, 0, 3), maps(2, 4, 3, 3), torch.ones(2, 5), torch.tensor([2, 0])
    expected = x * norm.own.gain(y)[:, :, None, None] + norm.own.shift(z)[:, :, None, None]
    torch.testing.assert_close(normalized(norm, x, z, y), expected)


# ---------------------------------------------------------------------------------------------------------
# Knobs of norms.


@pytest.mark.parametrize("name", ["bn", "selfmod_bn", "cbn"])
def test_momentum_and_epsilon_reach_every_batch_norm(name: str) -> None:
    knobs = {"bn_momentum": 0.25, "bn_eps": 0.5, "data__classes": 3, "g_norm": name, "d_norm": "bn"}
    found = [m for net in build(tiny(**knobs)) for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(found) == 3 and {(m.momentum, m.eps) for m in found} == {(0.25, 0.5)}
    norm, x = found[0], maps(4, found[0].num_features, 6, 6)
    with torch.no_grad():
        made = norm(x)
    mean, var = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)
    expected = (x - mean[:, None, None]) / (var[:, None, None] + 0.5).sqrt()
    if norm.affine:
        expected = expected * norm.weight[:, None, None].detach()
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(norm.running_mean, 0.25 * mean)


@pytest.mark.parametrize("name", ["bn", "ln", "in", "gn"])
def test_norms_of_d_without_affine(name: str) -> None:
    learned, free = (norm_at(tiny(d_norm_affine=on), "D.blocks.1.norm", name, 8, 5) for on in (True, False))
    assert [p.shape for p in learned.parameters()] == [(8,), (8,)] and not list(free.parameters())
    x = maps(4, 8, 5, 5)
    torch.testing.assert_close(free(x), learned(x), atol=1e-6, rtol=1e-6)  # gain 1 and shift 0, as torch starts
    in_g = norm_at(tiny(d_norm_affine=False), "G.blocks.1.norm", name, 8, 5)
    assert len(list(in_g.parameters())) == 2  # the knob is D's


@pytest.mark.parametrize("name", ["none", "bn", "ln", "in", "gn"])
@pytest.mark.parametrize("affine", [True, False])
def test_each_layer_has_one_learned_shift_unless_the_norm_would_take_it_out(name: str, affine: bool) -> None:
    s, path = tiny(d_norm=name, d_norm_affine=affine), "D.blocks.1.norm"
    norm, x = norm_at(s, path, name, 8, 5), maps(4, 8, 5, 5)
    shifted = x + torch.linspace(-1, 1, 8).view(8, 1, 1)
    with torch.no_grad():
        felt = float((norm(shifted) - norm(x)).abs().max()) > 1e-3
    has_shift = getattr(norm, "bias", None) is not None
    assert has_conv_bias(s, path, name) == (felt and not has_shift)
    conv = build(s)[1].blocks[1].conv
    assert (conv.bias is not None) == has_conv_bias(s, path, name)


# ---------------------------------------------------------------------------------------------------------
# Weight norm.

LAYERS = {
    "conv": (nn.Conv2d, (5, 7, 3), 0),
    "deconv": (nn.ConvTranspose2d, (5, 7, 4), 1),
    "dense": (nn.Linear, (9, 4), 0),
}


def layer_of(kind: str, *, channels_last: bool = False) -> tuple[Any, int]:
    made, sizes, axis = LAYERS[kind]
    layer = made(*sizes)
    with torch.no_grad():
        layer.weight.normal_(generator=torch.Generator().manual_seed(3))
    return (layer.to(memory_format=torch.channels_last) if channels_last else layer), axis


def lay(layer: Any, axis: int, *, gain: bool = True) -> WeightNorm:
    norm = WeightNorm(layer.weight, axis, gain=gain)  # type: ignore[arg-type]
    parametrize.register_parametrization(layer, "weight", norm, unsafe=True)
    return norm


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kind", list(LAYERS))
def test_weight_norm_and_its_gradients_are_torchs(kind: str, channels_last: bool) -> None:
    (ours, axis), (theirs, _) = layer_of(kind, channels_last=channels_last), layer_of(kind)
    norm = lay(ours, axis)
    parametrizations.weight_norm(theirs, dim=axis)
    torch.testing.assert_close(ours.weight, layer_of(kind)[0].weight)  # g starts at |v|
    g, v = theirs.parametrizations.weight.original0, theirs.parametrizations.weight.original1
    with torch.no_grad():
        for parameter in (g, norm.g):
            parameter.copy_(torch.linspace(0.5, 2, g.numel()).view(parameter.shape))
    torch.testing.assert_close(ours.weight, theirs.weight)
    for layer in (ours, theirs):
        layer.weight.pow(3).sum().backward()
    assert norm.g is not None and norm.g.grad is not None
    torch.testing.assert_close(norm.g.grad, g.grad.flatten())
    torch.testing.assert_close(ours.parametrizations.weight.original.grad, v.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", list(LAYERS))
def test_weight_norm_without_gain_has_channels_of_unit_length(kind: str) -> None:
    layer, axis = layer_of(kind)
    before = layer.weight.detach().clone()
    lay(layer, axis, gain=False)
    rows, raw = (w.transpose(0, axis).flatten(1) for w in (layer.weight, before))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
    torch.testing.assert_close(F.cosine_similarity(rows, raw), torch.ones(len(rows)))
    assert {name for name, _ in layer.named_parameters()} == {"bias", "parametrizations.weight.original"}


def test_nets_under_weight_norm_start_as_without_and_go_through_a_checkpoint() -> None:
    plain, normed = (build(tiny(g_weight=name, d_weight=name, equalized=True)) for name in ("none", "weight"))
    z = torch.randn(3, 6)
    with torch.no_grad():
        torch.testing.assert_close(normed[0](z), plain[0](z))
        normed[0].get_parameter("rgb.parametrizations.weight.1.g").mul_(2)
    twin = build(tiny(g_weight="weight", equalized=True, seed=3))[0].to(memory_format=torch.channels_last)
    file = io.BytesIO()
    torch.save(normed[0].state_dict(), file)
    file.seek(0)
    twin.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        for other in (twin, copy.deepcopy(normed[0])):
            torch.testing.assert_close(other.eval()(z), normed[0].eval()(z))


def test_gain_of_weight_norm_in_d_is_a_knob() -> None:
    """SNGAN compares a weight norm without gain; G's keeps its own."""
    G, D = build(tiny(g_weight="weight", d_weight="weight", d_norm_affine=False))
    assert [n for n, _ in G.named_parameters() if n.endswith(".g")]
    assert not [n for n, _ in D.named_parameters() if n.endswith(".g")]


# ---------------------------------------------------------------------------------------------------------
# Orthogonality.


@pytest.mark.parametrize("kind", list(LAYERS))
def test_orthogonality_by_its_formula(kind: str) -> None:
    layer, axis = layer_of(kind, channels_last=True)
    w = layer.weight.detach().transpose(0, axis).flatten(1)
    expected = (w @ w.t() - torch.eye(len(w))).square().sum()
    torch.testing.assert_close(orthogonality(nn.Sequential(layer)).detach(), expected, rtol=1e-4, atol=1e-3)


def test_orthogonality_of_tall_matrices_is_that_of_the_larger_product() -> None:
    """More outputs than inputs: the smaller product W' W is used, W W' is meant."""
    layer = nn.Linear(3, 11)
    with torch.no_grad():
        layer.weight.normal_(generator=torch.Generator().manual_seed(1))
    w = layer.weight.detach()
    torch.testing.assert_close(orthogonality(layer).detach(), (w @ w.t() - torch.eye(11)).square().sum())
    orthogonality(layer).backward()
    (expected,) = torch.autograd.grad((layer.weight @ layer.weight.t() - torch.eye(11)).square().sum(), layer.weight)
    torch.testing.assert_close(layer.weight.grad, expected, atol=1e-4, rtol=1e-4)


def test_orthogonality_is_zero_for_orthogonal_rows_and_sums_over_layers() -> None:
    one, two = nn.Conv2d(4, 6, 2), nn.Linear(8, 5)
    for layer in (one, two):
        nn.init.orthogonal_(layer.weight)
    assert float(orthogonality(nn.Sequential(one, two)).detach()) == pytest.approx(0, abs=1e-9)
    with torch.no_grad():
        one.weight.mul_(2)
        two.weight.mul_(3)
    # W W' = 4 I and 9 I: 6 · 3^2 + 5 · 8^2.
    assert float(orthogonality(nn.Sequential(one, nn.ReLU(), two)).detach()) == pytest.approx(54 + 320, rel=1e-4)
