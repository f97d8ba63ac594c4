"""ProGAN's nets: continuity where a level begins and ends, counts against the paper, scales, comparing a batch."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.models import build, progan
from bench.models.layers import MinibatchStd
from bench.models.minibatch import DISTANCES, MinibatchDiscrimination
from bench.models.progan import double, halve
from bench.setting import Setting, resolve

TINY = {
    "network": "progan",
    "data.size": 16,
    "data.channels": 3,
    "g_width": 4,
    "d_width": 4,
    "max_width": 8,
    "z_dim": 6,
    "g_norm": "none",
    "init": "he",
}


def nets(**knobs: Any) -> tuple[Any, Any]:
    """Build G and D, grown up."""
    return grown(*build(setting(**knobs)))


def grown(*pair: Any) -> Any:
    for net in pair:
        net.set_stage(net.sizes[-1], 1.0)
    return pair


def setting(**knobs: Any) -> Setting:
    return resolve(TINY, {name.replace("__", "."): value for name, value in knobs.items()})


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


# ---------------------------------------------------------------------------------------------------------
# Stages.


@pytest.mark.parametrize("knobs", [{}, {"equalized": True, "pixel_norm": True}, {"output": "tanh", "g_norm": "adain"}])
def test_g_is_continuous_where_a_level_begins_and_ends(knobs: dict[str, Any]) -> None:
    """At strength 0 a new level shows what the one below made, pixel for pixel; to strength 1 there is no jump."""
    G, _ = nets(growth=True, **knobs)
    z = normal(5, 6)
    for size in (8, 16):
        G.set_stage(size // 2, 1.0)
        before = G(z)
        G.set_stage(size, 0.0)
        assert torch.equal(G(z), double(before))
        G.set_stage(size, 1.0)
        after = G(z)
        assert not torch.allclose(after, double(before), atol=1e-3)
        G.set_stage(size, 1 - 1e-7)
        torch.testing.assert_close(G(z), after)


def test_g_fades_linearly_in_rgb() -> None:
    G, _ = nets(growth=True)
    z = normal(5, 6)
    made = {}
    for size, fade in ((8, 1.0), (16, 1.0), (16, 0.25)):
        G.set_stage(size, fade)
        made[size, fade] = G(z)
    torch.testing.assert_close(made[16, 0.25], 0.75 * double(made[8, 1.0]) + 0.25 * made[16, 1.0])


@pytest.mark.parametrize("knobs", [{}, {"equalized": True, "mbstd": "all", "mbdiscrimination": 3}, {"d_norm": "ln"}])
def test_d_is_continuous_where_a_level_begins_and_ends(knobs: dict[str, Any]) -> None:
    """At strength 0 a new level is blind: D judges the halved image as before; to strength 1 there is no jump."""
    _, D = nets(growth=True, **knobs)
    for size in (8, 16):
        x = normal(5, 3, size, size)
        D.set_stage(size // 2, 1.0)
        before = D(halve(x))
        D.set_stage(size, 0.0)
        assert torch.equal(D(x), before)
        D.set_stage(size, 1.0)
        after = D(x)
        assert not torch.allclose(after, before, atol=1e-4)
        D.set_stage(size, 1 - 1e-7)
        torch.testing.assert_close(D(x), after)


def test_d_fades_linearly_in_its_maps() -> None:
    """Where a level's maps meet those of the one below: 3 of 4 parts of the halved image's RGB at strength 1/4."""
    _, D = nets(growth=True)
    smallest, middle, _ = D.levels
    x = normal(5, 3, 8, 8)
    mixed = 0.75 * smallest.from_rgb(halve(x)) + 0.25 * middle(middle.from_rgb(x))
    D.set_stage(8, 0.25)
    torch.testing.assert_close(D(x), D.logit(smallest(mixed)).flatten())


def test_d_reads_larger_images_at_its_own_size() -> None:
    _, D = nets(growth=True)
    x = normal(2, 3, 16, 16)
    D.set_stage(4, 1.0)
    torch.testing.assert_close(D(x), D(halve(halve(x))))


def test_a_level_below_strength_trains_both_levels_and_no_other() -> None:
    """From 4 to 8 px the RGB layers of both are trained; those of 16 px, and what leads to them, are not."""
    G, D = nets(growth=True)
    for net in (G, D):
        net.set_stage(8, 0.5)
    D(G(normal(4, 6))).sum().backward()
    for net in (G, D):
        trained = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
        assert trained == {name for name, _ in net.named_parameters() if not name.startswith("levels.2.")}


def test_a_state_knows_its_stage() -> None:
    for net, twin, given in zip(
        nets(growth=True), nets(growth=True, seed=9), (normal(2, 6), normal(2, 3, 8, 8)), strict=True
    ):
        net.set_stage(8, 0.3)
        file = io.BytesIO()
        torch.save(net.state_dict(), file)
        file.seek(0)
        twin.load_state_dict(torch.load(file, weights_only=True))
        assert (twin.size, twin.fade) == (8, 0.3)
        assert torch.equal(net(given), twin(given))


def test_growing_nets_begin_at_the_first_size() -> None:
    G, D = build(setting(growth=True, growth_start=8))
    assert G(normal(2, 6)).shape == (2, 3, 8, 8)
    assert (G.size, G.fade) == (D.size, D.fade) == (8, 1.0)


def test_without_growth_it_is_the_grown_net() -> None:
    """The same weights under the same names, without the RGB layers of smaller sizes."""
    for full, plain, given in zip(nets(growth=True), nets(), (normal(2, 6), normal(2, 3, 16, 16)), strict=True):
        assert torch.equal(full(given), plain(given))
        missing = set(full.state_dict()) - set(plain.state_dict())
        assert {name.rpartition(".")[0] for name in missing} in (
            {"levels.0.rgb", "levels.1.rgb"},
            {"levels.0.from_rgb.conv", "levels.1.from_rgb.conv"},
        )


# ---------------------------------------------------------------------------------------------------------
# The paper's nets.


def counted(base: int, size: int, z_dim: int) -> tuple[int, int]:
    """Parameters of G and D by table 2 of the paper: nf(s) = min(base / 2^s, 512), 3x3 convs with biases."""

    def nf(stage: int) -> int:
        return min(base // 2**stage, 512)

    def conv(inputs: int, outputs: int, kernel: int) -> int:
        return kernel**2 * inputs * outputs + outputs

    top = int(math.log2(size))
    g = conv(z_dim, nf(1), 4) + conv(nf(1), nf(1), 3)  # 4x4
    d = conv(nf(1) + 1, nf(1), 3) + conv(nf(1), nf(0), 4) + conv(nf(0), 1, 1)  # one map more: minibatch stddev
    for r in range(3, top + 1):
        g += conv(nf(r - 2), nf(r - 1), 3) + conv(nf(r - 1), nf(r - 1), 3)
        d += conv(nf(r - 1), nf(r - 1), 3) + conv(nf(r - 1), nf(r - 2), 3)
    rgb = sum(3 * nf(r - 1) for r in range(2, top + 1))
    return g + rgb + 3 * (top - 1), d + rgb + sum(nf(r - 1) for r in range(2, top + 1))


def test_the_released_totals() -> None:
    """The count above against the totals that the released code prints for its 1024 px nets."""
    assert counted(8192, 1024, 512) == (23_079_115, 23_087_249)


@pytest.mark.parametrize(("base", "size", "z_dim"), [(8192, 1024, 512), (2048, 128, 512), (2048, 128, 128)])
def test_parameters_of_the_papers_nets(base: int, size: int, z_dim: int) -> None:
    width = base // (size // 2)
    s = setting(
        g_width=width, d_width=width, max_width=512, z_dim=z_dim, data__size=size, mbstd=16, growth=True, init="he"
    )
    with torch.device("meta"):
        G, D = grown(progan.generator(s, 3), progan.discriminator(s, 3))
        z = torch.empty(16, z_dim)
        assert G(z).shape == (16, 3, size, size)
        assert D(G(z)).shape == (16,)
    assert tuple(sum(p.numel() for p in net.parameters()) for net in (G, D)) == counted(base, size, z_dim)


def test_widths_of_table_1() -> None:
    """Base 2048: 512 at 4 and 8 px, 256 at 16, 128 at 32, 64 at 64, 32 at 128."""
    s = setting(g_width=32, d_width=32, max_width=512, data__size=128)
    with torch.device("meta"):
        G = progan.generator(s, 3)
    assert [level.blocks[1].conv.out_channels for level in G.levels] == [512, 512, 256, 128, 64, 32]


def test_equalized_scale_is_gain_over_root_fan_in() -> None:
    """And gains are 1 where no activation follows, sqrt(2) elsewhere; the dense layer's fan-in is 16 z_dim."""
    for net in nets(growth=True, equalized=True, mbdiscrimination=3):
        layers = [
            (name, m) for name, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))
        ]
        for name, layer in layers:
            shape = layer.weight.shape
            taps = math.prod(shape[2:])
            inputs = shape[0] if isinstance(layer, nn.ConvTranspose2d) else shape[1]
            linear = name.endswith(".rgb") or name in ("logit", "levels.0.mbdiscrimination.kernels")
            scale = (1.0 if linear else math.sqrt(2)) / math.sqrt(taps * inputs)
            torch.testing.assert_close(layer.weight, layer.parametrizations.weight.original * scale)
    dense = nets(equalized=True)[0].levels[0].blocks[0].conv
    ratio = dense.weight / dense.parametrizations.weight.original
    torch.testing.assert_close(ratio, torch.full_like(ratio, math.sqrt(2) / 4 / math.sqrt(6)))


def test_equalized_rate_starts_as_hes_weights_and_steps_as_it_should() -> None:
    """Row f of table 1 begins with row e's functions, bit for bit; Adam's first step is lr times scale."""
    plain, scaled = nets(growth=True)[0], nets(growth=True, equalized=True)[0]
    z = normal(4, 6)
    assert torch.equal(plain(z), scaled(z))
    layer = scaled.levels[1].blocks[0].conv
    before = layer.weight.detach().clone()
    optimizer = torch.optim.Adam(scaled.parameters(), lr=1e-3, betas=(0.0, 0.99), eps=0)
    scaled(z).square().sum().backward()
    optimizer.step()
    moved = (layer.weight - before).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 1e-3 * math.sqrt(2 / (9 * 8))), rtol=1e-3, atol=1e-6)


# ---------------------------------------------------------------------------------------------------------
# Factors.

FACTORS: list[dict[str, Any]] = [
    {"growth": True, "growth_start": 8, "g_norm": "bn", "d_norm": "ln", "output": "tanh", "activation": "relu"},
    {"g_norm": "adain", "g_input_norm": "bn", "d_weight": "spectral", "sle": "sle", "z_normalized": True},
    {"g_norm": "selfmod_bn", "d_norm": "bn", "sle": "add", "mbstd": 2, "data__channels": 1},
    {"g_norm": "in", "d_norm": "in", "mbdiscrimination": 2, "pixel_norm": True, "equalized": True},
    {"g_norm": "torch.nn:BatchNorm2d", "d_norm": "gn", "g_weight": "spectral", "g_noise": True, "data__size": 4},
]


@pytest.mark.parametrize("factors", FACTORS, ids=lambda factors: ",".join(map(str, factors.values())))
def test_every_factor_has_its_place(factors: dict[str, Any]) -> None:
    s = setting(**factors)
    G, D = grown(*build(s))
    fake = G(normal(4, 6))
    assert fake.shape == (4, s.data.channels, s.data.size, s.data.size)
    assert fake.abs().max() <= (1 if s.output == "tanh" else math.inf)
    logits = D(fake)
    assert logits.shape == (4,)
    logits.square().sum().backward()
    below = () if not s.growth else ("levels.1.rgb", "levels.1.from_rgb")
    for net in (G, D):
        without = {name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()}
        assert all(name.startswith(below) for name in without), without


def test_z_normalized_makes_the_length_of_z_indifferent() -> None:
    z = normal(4, 6)
    G, _ = nets(z_normalized=True, g_norm="adain")
    torch.testing.assert_close(G(7 * z), G(z))
    G, _ = nets(g_norm="adain")
    assert not torch.allclose(G(7 * z), G(z))


# ---------------------------------------------------------------------------------------------------------
# Comparing a batch.


@pytest.mark.parametrize("group", [2, 4, "all"])
def test_mbstd_of_equal_images_is_the_root_of_its_epsilon(group: Any) -> None:
    x = normal(1, 3, 4, 4).expand(8, -1, -1, -1)
    appended = MinibatchStd(group)(x)[:, 3]
    torch.testing.assert_close(appended, torch.full((8, 4, 4), 1e-4))


def test_minibatch_discrimination_is_salimans_formula() -> None:
    layer = MinibatchDiscrimination(3 * 2 * 2, 4)
    x = normal(5, 3, 2, 2)
    made = layer(x)
    assert torch.equal(made[:, :3], x)
    T = layer.kernels.weight.T.reshape(12, 4, DISTANCES)
    M = torch.einsum("na,abc->nbc", x.flatten(1), T)
    for i in range(5):
        for b in range(4):
            others = [math.exp(-float((M[i, b] - M[j, b]).detach().abs().sum())) for j in range(5) if j != i]
            torch.testing.assert_close(made[i, 3 + b].detach(), torch.full((2, 2), sum(others)))


def test_minibatch_discrimination_reads_the_batch_and_tells_copies() -> None:
    """A batch of copies is as close as can be, each to all others; a sample's own output moves with the others."""
    layer = MinibatchDiscrimination(3, 2)
    x = normal(6, 3, 1, 1)
    copies = layer.closeness(x[:1].expand(6, -1, -1, -1))
    torch.testing.assert_close(copies, torch.full((6, 2), 5.0))
    assert (layer.closeness(x) < 5).all()
    assert not torch.allclose(layer.closeness(x)[0], layer.closeness(torch.cat([x[:1], 2 * x[1:]]))[0])
