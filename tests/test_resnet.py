"""ResNets of SNGAN and WGAN-GP: widths by the papers' tables, counts by hand, blocks by their formulas."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models import build
from bench.models.resnet import ResidualBlock
from bench.recipes import RECIPES
from bench.setting import Setting, resolve

TINY = {"network": "resnet", "data.size": 32, "data.channels": 3, "g_width": 4, "d_width": 4, "z_dim": 6}


def tiny(**knobs: Any) -> Setting:
    return resolve(TINY, {name.replace("__", "."): value for name, value in knobs.items()})


def on_meta(*layers: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    """Make nets of the papers' widths without their weights."""
    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.models.finish", lambda *args, **kwargs: None)
        return build(resolve(*layers))


def widths(net: nn.Module) -> list[tuple[int, int, float]]:
    """(in, out, times the side) of each residual block."""
    blocks = [block for block in net.blocks if isinstance(block, ResidualBlock)]
    return [(block.conv1.in_channels, block.conv2.out_channels, block.times) for block in blocks]


UP, DOWN, SAME = 2, 0.5, 1
SIXTY_FOUR = {"g_width": 64, "d_width": 64}
SNGAN_48_UP = [(512, 256, UP), (256, 128, UP), (128, 64, UP)]
DOWN_TO_512 = [(3, 64, DOWN), (64, 128, DOWN), (128, 256, DOWN), (256, 512, DOWN)]


@pytest.mark.parametrize(
    ("recipe", "said", "g", "d"),
    [
        # SNGAN table 4.
        (
            *("sngan_resnet", {"data.size": 32}, [(256, 256, UP)] * 3),
            [(3, 128, DOWN), (128, 128, DOWN), (128, 128, SAME), (128, 128, SAME)],
        ),
        # SNGAN table 5 (STL-10).
        ("sngan_resnet", {"data.size": 48, **SIXTY_FOUR}, SNGAN_48_UP, [*DOWN_TO_512, (512, 1024, SAME)]),
        # sngan_projection, resnet_64.py and snresnet_64.py.
        (
            *("sngan_resnet", {"data.size": 64, **SIXTY_FOUR}, [(1024, 512, UP), *SNGAN_48_UP]),
            [*DOWN_TO_512, (512, 1024, DOWN)],
        ),
        # SNGAN table 6 (ImageNet).
        (
            *("sngan_resnet", {"data.size": 128, **SIXTY_FOUR}, [(1024, 1024, UP), (1024, 512, UP), *SNGAN_48_UP]),
            [*DOWN_TO_512, (512, 1024, DOWN), (1024, 1024, SAME)],
        ),
        # gan_cifar_resnet.py.
        (
            *("wgan_gp_resnet", {"data.size": 32}, [(128, 128, UP)] * 3),
            [(3, 128, DOWN), (128, 128, DOWN), (128, 128, SAME), (128, 128, SAME)],
        ),
        # gan_64x64.py, and one block more at 128 px.
        (
            *("wgan_gp_resnet_64", {}, [(512, 512, UP), *SNGAN_48_UP]),
            [(64, 128, DOWN), (128, 256, DOWN), (256, 512, DOWN), (512, 512, DOWN)],
        ),
        (
            *("wgan_gp_resnet_64", {"data.size": 128}, [(512, 512, UP), (512, 512, UP), *SNGAN_48_UP]),
            [(64, 128, DOWN), (128, 256, DOWN), (256, 512, DOWN), (512, 512, DOWN), (512, 512, DOWN)],
        ),
    ],
)
def test_widths_are_the_papers(recipe: str, said: dict[str, Any], g: list[Any], d: list[Any]) -> None:
    G, D = on_meta(RECIPES[recipe], {"data.channels": 3}, said)
    assert (widths(G), widths(D)) == (g, d)
    size = resolve(RECIPES[recipe], said).data.size
    fake = G(torch.empty(2, 128, device="meta"))
    assert fake.shape == (2, 3, size, size)
    assert D(fake).shape == (2,)


def c(into: int, out: int, kernel: int = 3, *, bias: bool = False) -> int:
    """Parameters of a conv."""
    return into * out * kernel**2 + (out if bias else 0)


def up(into: int, out: int) -> int:
    """An up block: two norms of 2 a channel, two 3x3 convs, a 1x1 shortcut."""
    return 2 * into + c(into, out) + 2 * out + c(out, out) + c(into, out, 1)


def down(into: int, out: int, *, shortcut: bool = True, bare: bool = False) -> int:
    """A block of D without norms: two 3x3 convs with biases; the optimised one is wide from its first conv on."""
    between = out if bare else into
    return c(into, between, bias=True) + c(between, out, bias=True) + (c(into, out, 1) if shortcut else 0)


def test_parameter_counts_of_sngans_cifar_net() -> None:
    G, D = on_meta(RECIPES["sngan_resnet"], {"data.size": 32, "data.channels": 3})
    dense = 128 * (4 * 4 * 256) + 4 * 4 * 256
    assert sum(p.numel() for p in G.parameters()) == dense + 3 * up(256, 256) + 2 * 256 + c(256, 3, bias=True)
    plain = down(128, 128, shortcut=False)
    by_hand = down(3, 128, bare=True) + down(128, 128) + 2 * plain + (128 + 1)
    assert sum(p.numel() for p in D.parameters()) == by_hand


def test_parameter_counts_of_wgan_gps_net_of_64_px() -> None:
    G, D = on_meta(RECIPES["wgan_gp_resnet_64"], {"data.channels": 3})
    dense = 128 * (4 * 4 * 512) + 4 * 4 * 512
    ups = up(512, 512) + up(512, 256) + up(256, 128) + up(128, 64)
    assert sum(p.numel() for p in G.parameters()) == dense + ups + 2 * 64 + c(64, 3, bias=True)
    # Layer norm has a gain and a shift for each channel; the conv before it no bias.
    downs = sum(down(a, b) - a + 2 * (2 * a) for a, b in ((64, 128), (128, 256), (256, 512), (512, 512)))
    assert sum(p.numel() for p in D.parameters()) == c(3, 64, bias=True) + downs + 512 * 4 * 4 + 1


def test_an_up_block_is_its_formula() -> None:
    G, _ = build(tiny(g_norm="none", d_pool="flat"))  # flat: widths halve, so the shortcut changes them
    block = G.blocks[1]
    assert block.conv1.in_channels == 2 * block.conv1.out_channels
    x = torch.randn(2, block.conv1.in_channels, 4, 4)
    with torch.no_grad():
        for conv in (block.conv1, block.conv2):
            conv.bias.normal_()
        big = x.relu().repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        h = block.conv2(block.conv1(big).relu())
        shortcut = block.shortcut(x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
        torch.testing.assert_close(block(x), h + shortcut)


def mean_of_four(x: Tensor) -> Tensor:
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def test_blocks_of_d_are_their_formulas() -> None:
    _, D = build(tiny(data__size=48))
    first, second, plain = D.blocks[0], D.blocks[1], D.blocks[4]
    with torch.no_grad():
        x = torch.randn(2, 3, 8, 8)
        h = mean_of_four(first.conv2(first.conv1(x).relu()))
        torch.testing.assert_close(first(x), h + mean_of_four(first.shortcut(x)))
        x = torch.randn(2, 4, 8, 8)
        h = mean_of_four(second.conv2(second.conv1(x.relu()).relu()))
        torch.testing.assert_close(second(x), h + mean_of_four(second.shortcut(x)))
        x = torch.randn(2, 32, 3, 3)
        torch.testing.assert_close(plain(x), plain.conv2(plain.conv1(x.relu()).relu()) + plain.shortcut(x))


@pytest.mark.parametrize("pool", ["sum", "mean"])
def test_d_pools_what_the_last_relu_leaves(pool: str) -> None:
    _, D = build(tiny(d_pool=pool))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        h = x
        for block in D.blocks[:4]:
            h = block(h)
        h = h.relu()
        pooled = h.sum(dim=(2, 3)) if pool == "sum" else h.mean(dim=(2, 3))
        torch.testing.assert_close(D(x), F.linear(pooled, D.logit.weight, D.logit.bias).flatten())


def test_norms_stand_where_they_should() -> None:
    G, D = build(tiny(g_norm="adain", g_input_norm="bn", d_norm="ln"))
    norms = [(type(b.norm1).__name__, type(b.norm2).__name__) for b in G.blocks[1:-1]]
    assert norms == [("BatchNorm2d", "AdaIN"), ("AdaIN", "AdaIN"), ("AdaIN", "AdaIN")]
    assert type(G.blocks[-1].norm).__name__ == "AdaIN"
    norms = [(type(b.norm1).__name__, type(b.norm2).__name__) for b in D.blocks[:-1]]
    assert norms == [("Identity", "Identity"), *[("GroupNorm", "GroupNorm")] * 3]


def test_every_weight_of_d_is_spectrally_normalized() -> None:
    _, D = build(tiny(d_weight="spectral"))
    layers = [m for m in D.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 2 * 4 + 2 + 1
    assert all(hasattr(layer, "parametrizations") for layer in layers)


def test_first_weights_have_root_two_on_the_residual_branch_alone() -> None:
    """Uniform in ± gain sqrt(6 / (fan_in + fan_out)), fans k * k * channels."""
    G, D = build(tiny(g_width=16, d_width=16, init="glorot"))
    for layer, gain, fans in (
        (G.blocks[1].conv1, math.sqrt(2), 9 * 32),
        (D.blocks[1].conv2, math.sqrt(2), 9 * 32),
        (D.blocks[1].shortcut, 1.0, 32),
        (G.blocks[0].first, 1.0, 6 + 256),
        (G.rgb, 1.0, 9 * 19),
        (D.logit, 1.0, 17),
    ):
        bound, weight = gain * math.sqrt(6 / fans), layer.weight.detach()
        assert float(weight.abs().max()) <= bound
        assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=3 / math.sqrt(weight.numel()))


def test_wgan_gps_first_weights_are_he_on_the_residual_branch_and_glorot_elsewhere() -> None:
    G, D = build(tiny(g_width=16, d_width=16, init="wgan_gp", d_pool="flat"))
    for layer, variance in (
        (G.blocks[3].conv2, 4 / (2 * 9 * 16)),
        (D.blocks[1].conv1, 4 / (2 * 9 * 16)),
        (D.blocks[1].shortcut, 2 / (16 + 32)),
        (D.blocks[0].stem, 2 / (27 + 9 * 16)),
        (G.blocks[0].first, 2 / (6 + 128 * 16)),
    ):
        spread = float(layer.weight.detach().std())
        assert spread == pytest.approx(math.sqrt(variance), rel=3 / math.sqrt(layer.weight.numel()))


@pytest.mark.parametrize("g_norm", ["none", "bn"])
def test_no_bias_is_without_effect(g_norm: str) -> None:
    """Shifts that a norm would take out again are left out: every bias that there is has a gradient."""
    G, _ = build(tiny(g_norm=g_norm, init="glorot"))
    G(torch.randn(4, 6, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    biases = {name: p for name, p in G.named_parameters() if name.endswith("bias") and "norm" not in name}
    assert len(biases) == (8 if g_norm == "none" else 2)
    assert all(p.grad is not None and float(p.grad.abs().max()) > 1e-6 for p in biases.values())
