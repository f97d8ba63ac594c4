"""Every network under every pair of factor levels, and its first weights by address."""

from __future__ import annotations

import copy
import io
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import draws
from bench.models import build
from bench.models.layers import AddSkip, skip_sources
from bench.models.weights import fan_in, gain_of
from bench.norms import NormError, SpectralNorm
from bench.objectives import Nets, phases
from bench.recipes import RECIPES
from bench.setting import Setting, resolve

TINY = {"data.size": 16, "data.channels": 1, "g_width": 4, "d_width": 4, "max_width": 32, "z_dim": 6}
OWN = "torch.nn:BatchNorm2d"


def tiny(**knobs: Any) -> Setting:
    return resolve(TINY, {name.replace("__", "."): value for name, value in knobs.items()})


def state(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, under the names that they have without weight norms."""
    found = {}
    for name, value in net.state_dict().items():
        name = name.replace("parametrizations.weight.original", "weight").replace("parametrizations.weight.", "")
        found[name] = value
    return found


# ---------------------------------------------------------------------------------------------------------
# Networks × sizes × factor levels, every pair of levels at least once.

LEVELS: dict[str, list[Any]] = {
    "net": [("dcgan", 16), ("dcgan", 32), ("dcgan", 64), ("sndcgan", 16), ("sndcgan", 24), ("sndcgan", 32)],
    "g_norm": ["none", "bn", "in", "adain", "selfmod_bn", OWN],
    "d_norm": ["none", "bn", "ln", "in", OWN],
    "penalty": ["none", "gp", "r1", "clip"],
    "g_input_norm": ["same", "none", "bn"],
    "mbstd": [0, 2, "all"],
    "sle": ["none", "add", "sle"],
    "data.channels": [1, 3],
    "g_weight": ["none", "spectral"],
    "d_weight": ["none", "spectral"],
    "equalized": [False, True],
    "pixel_norm": [False, True],
    "init": ["normal002", "wgan_gp"],
    "d_batching": ["separate", "joint"],
}


def pairwise(levels: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Cover every pair of levels of every two factors, greedily: rows of one level a factor."""
    names = list(levels)
    open_pairs = {
        (a, i, b, j)
        for a, b in itertools.combinations(names, 2)
        for i in range(len(levels[a]))
        for j in range(len(levels[b]))
    }
    rows = []
    while open_pairs:
        a, i, b, j = min(open_pairs, key=lambda pair: (names.index(pair[0]), pair[1], names.index(pair[2]), pair[3]))
        row = {a: i, b: j}
        for name in names:
            if name not in row:
                # Ties go to another level in each row.
                turn = [(k + len(rows)) % len(levels[name]) for k in range(len(levels[name]))]
                row[name] = max(turn, key=lambda k: _closed(open_pairs, row, name, k))
        open_pairs -= {(a, row[a], b, row[b]) for a, b in itertools.combinations(names, 2)}
        rows.append({name: levels[name][row[name]] for name in names})
    return rows


def _closed(open_pairs: set[tuple[str, int, str, int]], row: dict[str, int], name: str, level: int) -> int:
    pairs = [((other, at, name, level), (name, level, other, at)) for other, at in row.items()]
    return sum(one in open_pairs or two in open_pairs for one, two in pairs)


def settings(row: dict[str, Any]) -> Setting:
    network, size = row["net"]
    knobs = {name: value for name, value in row.items() if name != "net"}
    return resolve(TINY, {"network": network, "data.size": size, "z_dim": 16}, knobs)


ROWS = pairwise(LEVELS)


def label(row: dict[str, Any]) -> str:
    return ",".join(str(value).replace("torch.nn:", "own:") for value in row.values()).replace("'", "")


def test_the_rows_cover_every_pair() -> None:
    for a, b in itertools.combinations(LEVELS, 2):
        seen = {(str(row[a]), str(row[b])) for row in ROWS}
        assert len(seen) == len(LEVELS[a]) * len(LEVELS[b])


@pytest.mark.parametrize("row", ROWS, ids=label)
def test_every_net_under_every_pair_of_levels(row: dict[str, Any]) -> None:
    s = settings(row)
    G, D = build(s)
    generator = torch.Generator().manual_seed(1)
    shape = (4, s.data.channels, s.data.size, s.data.size)
    batch = {
        "z": torch.randn(4, s.z_dim, generator=generator),
        "real": torch.rand(shape, generator=generator) * 2 - 1,
        "gp_alpha": torch.rand(4, 1, 1, 1, generator=generator),
    }
    G, D = (net.to(memory_format=torch.channels_last) for net in (G, D))

    fake = G(batch["z"])
    assert fake.shape == shape and fake.detach().abs().max() <= 1
    logits = D(fake)
    assert logits.shape == (4,) and logits.isfinite().all()

    if D.logit.bias is not None:  # while D cannot tell reals from fakes, the gradient at bias 0 is exactly 0
        nn.init.constant_(D.logit.bias, 0.5)
    for phase, net, other in zip(phases(s), (D, G), (G, D), strict=True):
        net.requires_grad_(True)
        other.requires_grad_(False)
        other.zero_grad()
        if phase.before is not None:
            phase.before(Nets(G, D))
        before = {name: p.detach().clone() for name, p in net.named_parameters()}
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        loss, _ = phase.loss(Nets(G, D), batch)
        loss.backward()
        without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
        assert not without
        assert all(p.grad is None for p in other.parameters())
        optimizer.step()
        assert not [name for name, p in net.named_parameters() if torch.equal(p, before[name])]
        assert all(p.isfinite().all() for p in net.parameters())

    for net, given in ((G, batch["z"]), (D, batch["real"])):
        file = io.BytesIO()
        torch.save(net.state_dict(), file)
        file.seek(0)
        twin = build(s.model_copy(update={"seed": 99}))[0 if net is G else 1].to(memory_format=torch.channels_last)
        twin.load_state_dict(torch.load(file, weights_only=True))
        with torch.no_grad():
            assert torch.equal(net.eval()(given), twin.eval()(given))


@pytest.mark.parametrize(("network", "size"), [("dcgan", 128), ("sndcgan", 48), ("sndcgan", 128), ("sndcgan", 8)])
def test_other_sizes(network: str, size: int) -> None:
    s = tiny(network=network, data__size=size, sle="sle", mbstd="all", d_norm="ln")
    G, D = build(s)
    fake = G(torch.randn(2, 6))
    assert fake.shape == (2, 1, size, size) and D(fake).shape == (2,)


@pytest.mark.parametrize(
    ("network", "size", "says"),
    [("dcgan", 8, "powers of two from 16"), ("dcgan", 48, "powers of two"), ("sndcgan", 28, "multiples of 8")],
)
def test_sizes_that_a_network_cannot_make(network: str, size: int, says: str) -> None:
    with pytest.raises(ValueError, match=f"no images of {size} px.*{says}"):
        build(tiny(network=network, data__size=size))


def test_instance_statistics_of_a_single_pixel_are_refused() -> None:
    with pytest.raises(NormError, match="one pixel"):
        build(tiny(network="sndcgan", data__size=8, g_norm="adain"))
    build(tiny(network="sndcgan", data__size=8, g_norm="adain", g_input_norm="bn"))


def test_channels_must_be_filled_in() -> None:
    with pytest.raises(ValueError, match="channels"):
        build(resolve({"data.size": 16}))


# ---------------------------------------------------------------------------------------------------------
# Counts, by hand.


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("recipe", "size", "g_count", "d_count"),
    [
        # G: 100*512*16 + (512*256 + 256*128 + 128*64)*16 + 64*3*16 = 3,574,784; norms 2*(512 + 256 + 128 + 64) = 1,920.
        # D: (3*64 + 64*128 + 128*256 + 256*512 + 512)*16 = 2,763,776; norms 2*(128 + 256 + 512) = 1,792.
        ("dcgan", 64, 3_576_704, 2_765_568),
        ("wgan", 64, 3_576_704, 2_765_568),
        # Kwak & Ko's reference: 1024 to 64.  G: 128*1024*16 + (1024*512 + 512*256 + 256*128 + 128*64)*16 + 64*3*16
        # = 2,097,152 + 11,141,120 + 3,072; norms 2*(1024 + 512 + 256 + 128 + 64) = 3,968.
        # D: (3*64 + 64*128 + 128*256 + 256*512 + 512*1024 + 1024)*16 = 11,160,576;
        # biases 128 + 256 + 512 + 1024 = 1,920.
        ("wgan_gp", 128, 13_245_312, 11_162_496),
        # Table 3 at 32 px.  G: dense 128*8192 + its bias 8192 (no norm there) = 1,056,768;
        # (512*256 + 256*128 + 128*64)*16 = 2,752,512; norms 2*(256 + 128 + 64) = 896; rgb 64*3*9 + 3 = 1,731.
        # D: 3x3: (3*64 + 64*128 + 128*256 + 256*512)*9 = 1,550,016; 4x4: (64*64 + 128*128 + 256*256)*16 = 1,376,256;
        # biases 64 + 64 + 128 + 128 + 256 + 256 + 512 = 1,408; dense 512*16 + 1 = 8,193.
        ("sngan", 32, 3_811_907, 2_935_873),
    ],
)
def test_parameter_counts_at_the_papers_sizes(recipe: str, size: int, g_count: int, d_count: int) -> None:
    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.models.finish", lambda *args, **kwargs: None)  # counts alone
        G, D = build(resolve(RECIPES[recipe], {"data.size": size, "data.channels": 3}))
    assert (count(G), count(D)) == (g_count, d_count)


def test_factors_that_add_no_parameters_add_none() -> None:
    plain = [count(net) for net in build(tiny())]
    free = {"g_weight": "spectral", "d_weight": "spectral", "equalized": True, "pixel_norm": True}
    assert [count(net) for net in build(tiny(**free))] == plain
    # A norm of affine 2 per channel replaced by a bias of 1 per channel: one learned shift either way.
    # dcgan-16, width 4: G has 8 + 4 hidden channels, D 8 behind its first layer.
    assert [count(net) for net in build(tiny(g_norm="none"))] == [plain[0] - 12, plain[1]]
    assert [count(net) for net in build(tiny(d_norm="bn"))] == [plain[0], plain[1] + 8]


def test_skips_pair_the_maps_that_exist() -> None:
    assert skip_sources([4, 8]) == {8: 4}
    assert skip_sources([4, 8, 16]) == {16: 4}
    assert skip_sources([4, 8, 16, 32]) == {32: 4}
    assert skip_sources([4, 8, 16, 32, 64]) == {64: 4}
    assert skip_sources([4, 8, 16, 32, 64, 128]) == {64: 4, 128: 8}
    assert skip_sources([4, 8, 16, 32, 64, 128, 256]) == {64: 4, 128: 8, 256: 16}


def test_plain_skip_is_upsample_then_mix_then_add() -> None:
    skip = AddSkip(3, 2)
    x, low = torch.randn(2, 2, 8, 8), torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(skip(x, low), x + skip.mix(low.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)))


def test_first_layer_of_g_is_a_transposed_conv() -> None:
    G, _ = build(tiny(g_norm="none"))
    layer, z = G.blocks[0].conv, torch.randn(3, 6)
    with torch.no_grad():
        layer.bias.normal_()
        expected = nn.functional.conv_transpose2d(z[:, :, None, None], layer.weight, layer.bias)
        torch.testing.assert_close(layer(z), expected)


# ---------------------------------------------------------------------------------------------------------
# First weights.


def test_first_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    s = tiny(g_norm="adain", d_weight="spectral", sle="sle", d_norm="bn")
    first = build(s)
    torch.manual_seed(2)
    expected = torch.rand(1)
    torch.manual_seed(2)
    second, other = build(s), build(s.model_copy(update={"seed": 1}))
    assert torch.equal(torch.rand(1), expected)  # the global generator is not moved
    for one, two, three in zip(first, second, other, strict=True):
        for name, value in state(one).items():
            assert torch.equal(value, state(two)[name]), name
            if name.endswith(("conv.weight", "norm.weight")):
                assert not torch.equal(value, state(three)[name]), name


@pytest.mark.parametrize(
    "knobs",
    [
        {"g_norm": "adain"},
        {"g_norm": "selfmod_bn"},
        {"g_norm": "in"},
        {"g_norm": "none"},
        {"g_norm": OWN},
        {"g_norm": "adain", "g_input_norm": "bn"},
        {"g_weight": "spectral", "d_weight": "spectral"},
        {"d_norm": "ln"},
        {"d_norm": OWN},
        {"sle": "sle"},
        {"sle": "add"},
        {"pixel_norm": True},
        {"mbstd": "all"},
        {"penalty": "gp", "loss": "wasserstein", "ema": 0.9},
    ],
    ids=str,
)
@pytest.mark.parametrize("network", ["dcgan", "sndcgan"])
@pytest.mark.parametrize("init", ["normal002", "wgan_gp"])
def test_a_factor_moves_no_other_first_weight(network: str, init: str, knobs: dict[str, Any]) -> None:
    plain, changed = build(tiny(network=network, init=init)), build(tiny(network=network, init=init, **knobs))
    for one, two in zip(plain, changed, strict=True):
        before, after = state(one), state(two)
        layers = [name for name in before if name.endswith("weight") and "norm" not in name]
        assert len(layers) >= 3 and set(layers) <= set(after)
        for name in layers:
            if name == "logit.weight" and "mbstd" in knobs:  # one map more at its input: a layer of another shape
                assert after[name].numel() == before[name].numel() + (16 if network == "dcgan" else 4)
                continue
            assert torch.equal(before[name], after[name]), name


def test_equalized_and_plain_weights_are_one_draw() -> None:
    plain, equalized = (state(build(tiny(equalized=value))[1]) for value in (False, True))
    for name in ("blocks.0.conv.weight", "logit.weight"):
        torch.testing.assert_close(plain[name], 0.02 * equalized[name])


def test_weights_and_power_vectors_lie_at_their_addresses() -> None:
    s = tiny(seed=11, g_weight="spectral", d_weight="spectral")
    for net, letter in zip(build(s), "GD", strict=True):
        conv = net.blocks[1].conv
        norm, weight = conv.parametrizations.weight[0], conv.parametrizations.weight.original
        drawn = draws.normal(weight.shape, 11, "init", f"{letter}.blocks.1.conv.weight")
        assert torch.equal(weight, drawn * 0.02)
        u = draws.normal((conv.out_channels,), 11, "init", f"{letter}.blocks.1.conv.u")
        assert isinstance(norm, SpectralNorm)
        torch.testing.assert_close(norm.u, u / u.norm())


def spread(weight: Tensor) -> float:
    return float(weight.detach().std())


def test_spreads_of_first_weights() -> None:
    """Wide enough for the sample's spread: of n draws its relative error is about 1 / sqrt(2 n)."""
    wide = {"g_width": 32, "d_width": 32, "max_width": 512}
    G, D = build(tiny(**wide, d_norm="bn", g_norm="adain", g_input_norm="bn"))
    assert spread(D.blocks[1].conv.weight) == pytest.approx(0.02, rel=0.02)
    assert spread(G.blocks[0].norm.weight) == pytest.approx(0.02, rel=0.4)
    affine = G.blocks[1].norm.affine
    assert spread(affine.weight) == pytest.approx(0.02, rel=0.2)
    assert torch.equal(affine.bias, torch.tensor([1.0] * 32 + [0.0] * 32))

    # WGAN-GP: c4s2 32 → 64 has fans 32*16 and 64*16/4, uniform of spread sqrt(4 / (512 + 256)).
    G, D = build(tiny(**wide, init="wgan_gp"))
    weight = D.blocks[1].conv.weight
    assert spread(weight) == pytest.approx(math.sqrt(4 / 768), rel=0.02)
    assert float(weight.detach().abs().max()) <= math.sqrt(3 * 4 / 768)
    # Tc4s2 64 → 32: fans 64*16/4 and 32*16.
    assert spread(G.blocks[1].conv.weight) == pytest.approx(math.sqrt(4 / 768), rel=0.02)
    # The output is not followed by ReLU: Glorot's, half the variance; c4s1 64 → 1 has fans 1024 and 16.
    assert spread(D.logit.weight) == pytest.approx(math.sqrt(2 / 1040), rel=0.1)
    assert torch.equal(G.blocks[0].norm.weight, torch.ones(64))


def test_equalized_rate_scales_every_layer_by_gain_over_root_fan_in() -> None:
    G, D = build(tiny(equalized=True, g_norm="adain", sle="sle", g_width=16, d_width=16))
    layers = {name: m for net in (G, D) for name, m in net.named_modules() if hasattr(m, "parametrizations")}
    assert {name.rpartition(".")[2] for name in layers} == {"conv", "affine", "squeeze", "gate", "rgb", "logit"}
    for name, layer in layers.items():
        raw = layer.parametrizations.weight.original
        gain = {"rgb": 1, "logit": 1, "gate": 1, "affine": 0.2}.get(name.rpartition(".")[2], math.sqrt(2))
        scale = gain / math.sqrt(fan_in(layer))
        assert gain_of(name) == gain
        torch.testing.assert_close(layer.weight, raw * scale)
        assert spread(raw) == pytest.approx(1, abs=5 / math.sqrt(2 * raw.numel()))
    # Transposed convs count k * k * in.
    assert fan_in(G.blocks[1].conv) == 4 * 4 * G.blocks[1].conv.in_channels


def test_equalized_comes_before_spectral() -> None:
    _, D = build(tiny(equalized=True, d_weight="spectral"))
    kinds = [type(p).__name__ for p in D.blocks[0].conv.parametrizations.weight]
    assert kinds == ["EqualizedRate", "SpectralNorm"]


def test_every_layer_of_a_net_has_its_weight_norm_and_the_other_net_none() -> None:
    G, D = build(tiny(d_weight="spectral"))
    layers = [m for m in D.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 3 and all(hasattr(layer, "parametrizations") for layer in layers)
    assert not any(hasattr(m, "parametrizations") for m in G.modules())


def test_a_norm_of_the_users_own_keeps_its_own_weights() -> None:
    """torch's batch norm starts at gain 1; the project's under the same scheme at N(1, 0.02)."""
    G, _ = build(tiny(g_norm=OWN))
    assert torch.equal(G.blocks[1].norm.own.weight, torch.ones(4))
    assert not torch.equal(build(tiny(g_norm="bn"))[0].blocks[1].norm.weight, torch.ones(4))


def test_a_copy_is_its_own_net() -> None:
    """G_ema is a deep copy of G: power vectors and weights are not shared, and it computes the same."""
    G, _ = build(tiny(g_norm="adain", g_weight="spectral", equalized=True))
    copied, z = copy.deepcopy(G).eval(), torch.randn(3, 6)
    with torch.no_grad():
        assert torch.equal(copied(z), G.eval()(z))
        before = copied(z)
        G.train()(z)
        G.blocks[0].conv.parametrizations.weight.original.zero_()
        assert torch.equal(copied(z), before)


def test_norms_stand_where_they_should() -> None:
    G, D = build(tiny(g_norm="adain", g_input_norm="bn", d_norm="ln", data__size=32))
    assert [type(b.norm).__name__ for b in G.blocks] == ["BatchNorm2d", "AdaIN", "AdaIN"]
    assert [type(b.norm).__name__ for b in D.blocks] == ["Identity", "GroupNorm", "GroupNorm"]
    G, _ = build(tiny(g_norm="bn", g_input_norm="none"))
    assert [type(b.norm).__name__ for b in G.blocks] == ["Identity", "BatchNorm2d"]


def test_pixel_norm_comes_after_the_activation() -> None:
    G, _ = build(tiny(pixel_norm=True))
    z = torch.randn(4, 6)
    h = G.blocks[0](z, z)
    assert h.min() >= 0  # ReLU went before
    mean_square = h.square().mean(dim=1)
    alive = mean_square > 0.5  # a pixel whose units are all dead stays zero
    torch.testing.assert_close(mean_square[alive], torch.ones_like(mean_square[alive]), atol=1e-4, rtol=0)
    assert alive.float().mean() > 0.9
