"""The original GAN's nets: their counts, formulas and ends, and the book's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from bench import draws
from bench.models import build, set_chance
from bench.models.mlp import Dense, Maxout
from bench.recipes import RECIPES
from bench.setting import Setting, resolve

SMALL = {"network": "mlp", "data.size": 6, "data.channels": 1, "g_width": 5, "d_width": 4, "z_dim": 3}


def small(**knobs: object) -> Setting:
    return resolve(SMALL, {"g_norm": "none"}, {name.replace("__", "."): value for name, value in knobs.items()})


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("recipe", "g_count", "d_count"),
    [
        # G: 100*1200 + 1200, 1200*1200 + 1200, 1200*784 + 784; D: 784*(240*5) + 1200, 240*1200 + 1200, 240 + 1.
        ("gan", 121_200 + 1_441_200 + 941_584, 942_000 + 289_200 + 241),
        # G: 100*128 + 128, 128*784 + 784; D: 784*128 + 128, 128 + 1.
        ("gan_book", 12_928 + 101_136, 100_480 + 129),
    ],
)
def test_parameter_counts_on_mnist(recipe: str, g_count: int, d_count: int) -> None:
    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.models.finish", lambda *args, **kwargs: None)
        G, D = build(resolve(RECIPES[recipe], {"data.size": 28, "data.channels": 1}))
        assert G(torch.empty(2, 100)).shape == (2, 1, 28, 28)
        assert D.eval()(torch.empty(2, 1, 28, 28)).shape == (2,)
    assert (count(G), count(D)) == (g_count, d_count)


def test_maxout_is_the_largest_of_each_units_pieces() -> None:
    x = torch.tensor([[3.0, 1.0, -2.0, -5.0, 4.0, 0.0]])[:, :, None, None]
    assert Maxout(2)(x).flatten().tolist() == [3.0, -2.0, 4.0]
    assert Maxout(3)(x).flatten().tolist() == [3.0, 4.0]


def dense(layer: Dense, x: Tensor) -> Tensor:
    return x @ layer.weight.T + layer.bias


def test_nets_compute_the_papers_formulas_on_images_in_0_to_1() -> None:
    """D on x in [-1, 1] is the paper's D on (x + 1) / 2; G's images are the paper's sigmoid, stretched."""
    G, D = build(small(init="uniform", maxout=3))
    with torch.no_grad():
        z = torch.randn(4, 3)
        h = z
        for block in G.blocks:
            h = dense(block.conv, h).relu()
        unit = torch.sigmoid(dense(G.rgb, h)).view(4, 1, 6, 6)
        torch.testing.assert_close((G(z) + 1) / 2, unit)

        h = unit.flatten(1)
        for block in D.blocks:
            h = dense(block.conv, h).view(4, 4, 3).max(dim=2).values
        torch.testing.assert_close(D(G(z)), dense(D.logit, h).flatten())


def test_the_books_nets_are_leaky_and_end_in_tanh() -> None:
    G, D = build(small(maxout=0, hidden_layers=1))
    with torch.no_grad():
        z = torch.randn(4, 3)
        h = dense(G.blocks[0].conv, z)
        image = torch.tanh(dense(G.rgb, torch.maximum(h, 0.01 * h))).view(4, 1, 6, 6)
        torch.testing.assert_close(G(z), image)
        h = dense(D.blocks[0].conv, image.flatten(1))
        torch.testing.assert_close(D(image), dense(D.logit, torch.maximum(h, 0.01 * h)).flatten())


def test_first_weights_are_uniform_within_the_codes_bounds() -> None:
    G, D = build(small(init="uniform", g_width=40, d_width=40))
    for net, bound in ((G, 0.05), (D, 0.005)):
        for layer in (net.blocks[0].conv, net.blocks[1].conv):
            largest, spread = float(layer.weight.detach().abs().max()), float(layer.weight.detach().std())
            assert 0.9 * bound < largest <= bound
            assert spread == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_dropout_keeps_eight_of_ten_pixels_and_half_of_the_units() -> None:
    _, D = build(small(d_dropout=0.5, d_width=64))
    assert [block.conv.dropout.rate for block in D.blocks] == [0.2, 0.5]
    assert D.dropout.rate == 0.5
    image = torch.zeros(2, 1, 6, 6)
    set_chance(D, 0, "D", 0)
    first = D(image)
    set_chance(D, 0, "D", 0)
    assert torch.equal(D(image), first)
    set_chance(D, 0, "D", 1)
    assert not torch.equal(D(image), first)
    assert torch.equal(D.eval()(image), D(image))


def test_dropout_of_g_is_kept_at_sampling() -> None:
    G, _ = build(small(g_dropout=0.5, g_width=32))
    G.eval()
    z = draws.normal((2, 3), 0, "test", 0)
    made = []
    for step in (0, 0, 1):
        set_chance(G, 0, "evaluation_z", step)
        made.append(G(z))
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


@pytest.mark.parametrize("g_norm", ["bn", "ln", "gn", "selfmod_bn", "cbn"])
def test_norms_stand_between_dense_layer_and_activation(g_norm: str) -> None:
    """Batch norm over a batch of one unit's values, against its formula; the others by shape and gradient."""
    G, _ = build(small(g_norm=g_norm, data__classes=3, init="normal002"))
    z, y = torch.randn(8, 3), torch.arange(8) % 3
    made = G(z, y)
    assert made.shape == (8, 1, 6, 6)
    made.square().sum().backward()
    assert all(p.grad is not None for p in G.parameters())
    if g_norm == "bn":
        assert G.blocks[0].conv.bias is None
        h = z @ G.blocks[0].conv.weight.T
        h = (h - h.mean(dim=0)) / (h.var(dim=0, correction=0) + 1e-5).sqrt() * G.blocks[0].norm.weight
        torch.testing.assert_close(G.blocks[0](z).flatten(1), h.relu())
