"""FastGAN: its nets by count and formula, its decoders, and updates in which G is shown D's own fakes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import draws
from bench.batches import Batches
from bench.data import Part
from bench.metrics.ms_ssim import ssim
from bench.models import build, fastgan, set_chance
from bench.models.fastgan import LOGITS, TWICE, quadrant, small_side
from bench.models.layers import AddSkip, SkipExcitation, pooled_to
from bench.objectives import Nets, phases
from bench.objectives.heads import unmoved
from bench.objectives.losses import d_hinge
from bench.objectives.reconstruction import (
    VGG_FILE,
    VGG_STAGES,
    dissimilarity,
    feature_distance,
    l1,
    perceptual,
    reconstruction,
    vgg16_layers,
)
from bench.recipes import RECIPES
from bench.sample import fakes
from bench.schedule import schedule
from bench.setting import Setting, resolve
from bench.train import train

SMALL = {
    "data.size": 64,
    "data.channels": 1,
    "g_width": 4,
    "d_width": 4,
    "z_dim": 6,
    "train.batch": 4,
    "train.g_steps": 4,
    "reconstruction": "l1",
}


def small(**knobs: object) -> Setting:
    layer = {name.replace("__", "."): value for name, value in knobs.items()}
    return resolve(RECIPES["fastgan"], SMALL, layer)


def pictures(n: int, setting: Setting) -> Part:
    side = setting.data.size
    drawn = draws.uniform((n, setting.data.channels or 1, side, side), 0, "pictures", 0)
    return Part((drawn * 255).to(torch.uint8), torch.zeros(n, dtype=torch.int64))


# ---------------------------------------------------------------------------------------------------------
# Shapes and counts.


@pytest.mark.parametrize(
    ("size", "knobs"),
    [
        (64, {}),
        (64, {"g_norm": "adain", "g_input_norm": "bn", "d_norm": "ln", "mbstd": 2, "sle": "add", "d_sle": "add"}),
        (
            64,
            {"g_norm": "none", "d_norm": "none", "g_noise": False, "sle": "none", "d_sle": "none", "pixel_norm": True},
        ),
        (
            64,
            {"mbdiscrimination": 3, "mbstd": "all", "d_dropout": 0.3, "z_normalized": True, "style_source": "mapping"},
        ),
        (64, {"activation": "lrelu", "g_norm": "selfmod_bn", "equalized": True, "decoders": "part"}),
        (128, {"decoders": "whole", "loss": "nonsaturating", "hinge_jitter": 0.0, "init": "wgan_gp"}),
    ],
    ids=str,
)
def test_shapes_range_and_a_step_of_every_parameter(size: int, knobs: dict[str, object]) -> None:
    setting = small(data__size=size, data__channels=3, **knobs)
    G, D = build(setting)
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    set_chance(G, 0, "z", 0)
    full, tiny = G.heads(z)
    assert full.shape == (4, 3, size, size) and tiny.shape == (4, 3, size // 2, size // 2)
    assert max(float(x.detach().abs().max()) for x in (full, tiny)) <= 1
    assert D((full, tiny)).shape == D(full).shape == (4, LOGITS)

    batches = Batches(setting, pictures(9, setting), "cpu")
    for phase, net, other in zip(phases(setting), (D, G), (G, D), strict=True):
        net.requires_grad_(True)
        other.requires_grad_(False)
        net.zero_grad()
        before = {name: p.detach().clone() for name, p in net.named_parameters()}
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        set_chance(G, 0, "D", 0)
        phase.loss(Nets(G, D), batches.draw(phase, 0))[0].backward()
        optimizer.step()
        still = [name for name, p in net.named_parameters() if torch.equal(p, before[name])]
        assert not still and all(p.isfinite().all() for p in net.parameters())


def c(kernel: int, inputs: int, outputs: int) -> int:
    return kernel * kernel * inputs * outputs


def bn(channels: int) -> int:
    return 2 * channels


def up(inputs: int, width: int) -> int:
    return c(3, inputs, 2 * width) + bn(2 * width)


def comp(inputs: int, width: int) -> int:
    return up(inputs, width) + up(width, width) + 2  # two strengths of noise


def excitation(of: int, gated: int) -> int:
    return c(4, of, gated) + c(1, gated, gated)


def halving(inputs: int, width: int) -> int:
    return c(4, inputs, width) + c(3, width, width) + c(1, inputs, width) + 3 * bn(width)


def decoder(inputs: int) -> int:
    return up(inputs, 128) + up(128, 64) + up(64, 64) + up(64, 32) + c(3, 32, 3)


G_256 = [
    c(4, 256, 2048) + bn(2048),  # z → 4x4 of 1024
    *(comp(1024, 512), up(512, 256), comp(256, 128), up(128, 128), comp(128, 64), up(64, 32)),  # 8 … 256
    *(excitation(1024, 128), excitation(512, 64), excitation(256, 32)),  # 4 → 64, 8 → 128, 16 → 256
    c(1, 64, 3),  # the head of 128 px
]
G_512 = [*G_256, comp(32, 16), excitation(128, 16)]  # 512; 32 → 512
G_1024 = [*G_512, up(16, 8)]
D_BELOW = [
    *(halving(16, 32), halving(32, 64), halving(64, 128), halving(128, 256), halving(256, 512)),  # 128 … 8
    *(excitation(16, 128), excitation(32, 256), excitation(64, 512)),  # 256 → 32, 128 → 16, 64 → 8
    c(1, 512, 1024) + bn(1024) + c(4, 1024, 1),
    c(4, 3, 32) + c(4, 32, 64) + bn(64) + c(4, 64, 128) + bn(128) + c(4, 128, 256) + bn(256) + c(4, 256, 1),
    *(decoder(512), decoder(256), decoder(256)),
]


@pytest.mark.parametrize(
    ("size", "g_count", "d_count"),
    [
        (256, sum(G_256) + c(3, 32, 3), sum(D_BELOW) + c(3, 3, 16)),
        (512, sum(G_512) + c(3, 16, 3), sum(D_BELOW) + c(4, 3, 16)),
        (1024, sum(G_1024) + c(3, 8, 3), sum(D_BELOW) + c(4, 3, 8) + c(4, 8, 16) + bn(16)),
    ],
)
def test_native_sizes_by_shape_and_count(size: int, g_count: int, d_count: int) -> None:
    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.models.finish", lambda *args, **kwargs: None)  # counts alone
        G, D = build(resolve(RECIPES["fastgan"], {"data.size": size, "data.channels": 3}))
        assert [sum(p.numel() for p in net.parameters()) for net in (G, D)] == [g_count, d_count]
        for module in G.modules():  # no draws on meta
            if hasattr(module, "noise"):
                module.noise = nn.Identity()
        full, tiny = G.heads(torch.empty(2, 256))
        assert full.shape == (2, 3, size, size) and tiny.shape == (2, 3, 128, 128)
        logits, rebuilt = D.rebuild(full, torch.zeros(2, dtype=torch.int64))
        assert logits.shape == (2, 50)
        assert {name: image.shape for name, image in rebuilt.items()} == dict.fromkeys(
            ("whole", "small", "part"), (2, 3, 128, 128)
        )


def test_there_are_no_biases_under_batch_norm_and_one_shift_a_layer_without() -> None:
    for net in build(small()):
        assert all(m.bias is None for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))
    for net in build(small(g_norm="none", d_norm="none", d_weight="none", g_weight="none")):
        for name, module in net.named_modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                ends = any(part in name for part in ("rgb", "logit", "skips", "stem.0", "branch.0"))
                assert (module.bias is None) == ends, name


def test_skips_lead_where_there_are_maps() -> None:
    for size, in_g, in_d in ((64, {"64"}, {"8"}), (128, {"64", "128"}, {"16", "8"})):
        G, D = build(small(data__size=size))
        assert (set(G.skips), set(D.skips)) == (in_g, in_d)
        assert all(isinstance(skip, SkipExcitation) for net in (G, D) for skip in net.skips.values())
        assert small_side(size) == size // 2
    assert [small_side(size) for size in (256, 512, 1024)] == [128, 128, 128]
    plain = build(small(sle="none", d_sle="none"))
    assert not [skip for net in plain for skip in net.skips]


@pytest.mark.parametrize(
    "knobs",
    [
        {"sle": "add"},
        {"sle": "none"},
        {"decoders": "none"},
        {"g_noise": False},
        {"d_norm": "none"},
        {"g_norm": "adain"},
    ],
    ids=str,
)
def test_a_factor_moves_no_other_first_weight(knobs: dict[str, object]) -> None:
    for one, two in zip(build(small()), build(small(**knobs)), strict=True):
        after = dict(two.named_parameters())
        weights = {name: w for name, w in one.named_parameters() if ".conv." in name or "rgb" in name}
        kept = [name for name in weights if name in after]
        assert len(kept) >= 9
        assert all(torch.equal(weights[name], after[name]) for name in kept)


# ---------------------------------------------------------------------------------------------------------
# Layers.


def test_gated_units_halve_the_channels() -> None:
    G, _ = build(small(g_norm="none", g_weight="none"))
    block = G.blocks[1].blocks[1]
    x = torch.randn(2, block.conv.in_channels, 8, 8)
    made = block.conv(x).chunk(2, dim=1)
    torch.testing.assert_close(block(x), made[0] * torch.sigmoid(made[1]))


def test_levels_double_by_nearest_and_every_second_has_two_convs() -> None:
    G, _ = build(small(g_norm="none", g_weight="none", g_noise=False, data__size=128))
    assert [size for size, level in zip(G.sizes, G.blocks, strict=True) if len(getattr(level, "blocks", "1")) == 2] == [
        size for size in TWICE if size <= 128
    ]
    first = G.blocks[2].blocks[0].conv
    x = torch.randn(2, first.in_channels, 8, 8)
    doubled = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(first(x), F.conv2d(doubled, first.weight, first.bias, padding=1))


def test_excitation_of_d_gates_channels_by_the_larger_map() -> None:
    skip = SkipExcitation(2, 3)
    x, large = torch.randn(2, 3, 8, 8), torch.randn(2, 2, 64, 64)
    pooled = large.detach().view(2, 2, 4, 16, 4, 16).mean(dim=(3, 5)).numpy()
    squeezed = np.einsum("bihw,oihw->bo", pooled, skip.squeeze.weight.detach().numpy())
    swish = squeezed / (1 + np.exp(-squeezed))
    gate = 1 / (1 + np.exp(-swish @ skip.gate.weight.detach().numpy()[:, :, 0, 0].T))
    expected = x * torch.from_numpy(gate.astype(np.float32))[:, :, None, None]
    torch.testing.assert_close(skip(x, large).detach(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("side", [2, 3, 4, 6, 8, 12, 64])
def test_pooling_is_the_adaptive_one_to_the_last_bit(side: int) -> None:
    x, y = (torch.randn(3, 5, side, side, generator=torch.Generator().manual_seed(0)).requires_grad_() for _ in "xy")
    made, expected = pooled_to(x, 4), F.adaptive_avg_pool2d(y, 4)
    assert torch.equal(made, expected)
    for given, out in ((x, made), (y, expected)):
        out.square().sum().backward()
        assert given.grad is not None
    assert torch.equal(x.grad, y.grad)


def test_plain_skip_from_a_larger_map_is_pool_then_mix_then_add() -> None:
    skip = AddSkip(2, 3)
    x, large = torch.randn(2, 3, 4, 4), torch.randn(2, 2, 32, 32)
    torch.testing.assert_close(skip(x, large), x + skip.mix(F.avg_pool2d(large, 8)))


def test_halving_is_the_mean_of_two_branches() -> None:
    _, D = build(small(d_norm="none", d_weight="none"))
    halve = D.halvings["16"]
    x = torch.randn(2, halve.direct.conv.in_channels, 32, 32)
    down, then, direct = (layer.conv for layer in (halve.down, halve.then, halve.direct))
    main = F.leaky_relu(F.conv2d(x, down.weight, down.bias, stride=2, padding=1), 0.2)
    main = F.leaky_relu(F.conv2d(main, then.weight, then.bias, padding=1), 0.2)
    side = F.leaky_relu(F.conv2d(F.avg_pool2d(x, 2), direct.weight, direct.bias), 0.2)
    torch.testing.assert_close(halve(x), (main + side) / 2)


def test_noise_is_nothing_at_first_and_then_comes_from_the_address() -> None:
    z = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    for network, knobs in (("fastgan", {}), ("dcgan", {"data__size": 16}), ("sndcgan", {"data__size": 16})):
        # DCGAN and SNDCGAN take the switch too; FastGAN's own parts are off.
        plain = {"decoders": "none", "d_sle": "none"} if network != "fastgan" else {}
        setting = small(network=network, **knobs, **plain)
        G, _ = build(setting)
        quiet, _ = build(setting.model_copy(update={"g_noise": False}))
        assert torch.equal(G(z), quiet(z))
        strengths = [p for name, p in G.named_parameters() if name.endswith("noise.strength")]
        assert len(strengths) == {"fastgan": 4, "dcgan": 2, "sndcgan": 4}[network]
        for strength in strengths:
            nn.init.constant_(strength, 0.5)
        made = []
        for step in (1, 1, 2):
            set_chance(G, 0, "z", step)
            with unmoved(G), torch.no_grad():
                made.append(G(z))
        assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


def test_heads_and_the_sampled_image_are_one() -> None:
    G, _ = build(small())
    z = torch.randn(2, 6)
    with torch.no_grad(), unmoved(G):
        full = G.heads(z)[0]
    with torch.no_grad():
        assert torch.equal(G(z), full)


def test_d_makes_the_small_image_of_one_image_itself() -> None:
    _, D = build(small(d_weight="none"))
    x = torch.rand(3, 1, 64, 64)
    torch.testing.assert_close(D(x), D((x, x[:, :, ::2, ::2])))
    assert not torch.equal(D(x), D((x, x[:, :, 1::2, ::2])))


# ---------------------------------------------------------------------------------------------------------
# Decoders.


def test_quadrants() -> None:
    x = torch.arange(4 * 2 * 6 * 6).view(4, 2, 6, 6)
    made = quadrant(x, torch.tensor([0, 1, 2, 3]))
    expected = [x[0, :, :3, :3], x[1, :, :3, 3:], x[2, :, 3:, :3], x[3, :, 3:, 3:]]
    assert torch.equal(made, torch.stack(expected))


def test_the_part_that_is_rebuilt_is_the_part_that_d_saw() -> None:
    """A mark in one quadrant of the image shows in that quadrant of the map, and in no other."""
    _, D = build(small(d_norm="none", d_weight="none", d_sle="none", decoders="part"))
    D.decoders["part"] = nn.Identity()
    blank, every = torch.zeros(4, 1, 64, 64), torch.arange(4)
    marked = blank.clone()
    for part, (row, column) in enumerate(((16, 16), (16, 48), (48, 16), (48, 48))):
        marked[part, :, row - 2 : row + 2, column - 2 : column + 2] = 1
    assert torch.equal(quadrant(marked, every).sum(dim=(1, 2, 3)), torch.full((4,), 16.0))
    for turn in range(4):
        part = (every + turn) % 4
        moved = D.rebuild(marked, part)[1]["part"] - D.rebuild(blank, part)[1]["part"]
        assert moved.shape[2:] == (8, 8)
        assert moved.flatten(1).any(dim=1).tolist() == [turn == 0] * 4


class Rebuilding(nn.Module):
    """A D whose decoders give known images."""

    def __init__(self, images: dict[str, Tensor]) -> None:
        super().__init__()
        self.images = images

    def rebuild(self, x: Tensor, part: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.zeros(len(x), LOGITS), self.images


def test_the_loss_of_rebuilding_is_summed_over_batch_and_decoders() -> None:
    rebuild = reconstruction(small())
    assert rebuild is not None and reconstruction(small(decoders="none")) is None
    real = torch.rand(3, 1, 64, 64) * 2 - 1
    part = torch.tensor([2, 0, 3])
    images = {name: torch.rand(3, 1, 32, 32) for name in ("whole", "small", "part")}
    _, total = rebuild(Rebuilding(images), real, part)
    corner = torch.stack([real[0, :, 32:, :32], real[1, :, :32, :32], real[2, :, 32:, 32:]])
    halved = real[:, :, ::2, ::2]
    expected = sum(
        float((made[i] - aim[i]).abs().mean())
        for made, aim in ((images["whole"], halved), (images["small"], halved), (images["part"], corner))
        for i in range(3)
    )
    assert float(total) == pytest.approx(expected, rel=1e-5)
    _, nothing = rebuild(Rebuilding({"whole": halved, "part": corner}), real, part)
    assert float(nothing) == 0


def test_decoders_learn_from_reals_alone() -> None:
    setting = small()
    G, D = build(setting)
    z, real, part = torch.randn(4, 6), torch.rand(4, 1, 64, 64), torch.arange(4)
    D(G.heads(z)).sum().backward()
    assert all(p.grad is None for p in D.decoders.parameters())
    D.zero_grad()
    rebuild = reconstruction(setting)
    assert rebuild is not None
    rebuild(D, real, part)[1].backward()
    assert all(p.grad is not None and p.grad.any() for p in D.decoders.parameters())
    assert all(p.grad is None for p in D.heads.parameters())
    trunk = [p for name, p in D.named_parameters() if name.startswith(("stem", "halvings", "branch", "skips"))]
    assert all(p.grad is not None and p.grad.any() for p in trunk)


def test_the_words_of_decoders() -> None:
    made = {word: set(build(small(decoders=word))[1].decoders) for word in ("none", "whole", "part", "both")}
    assert made == {
        "none": set(),
        "whole": {"whole", "small"},
        "part": {"part"},
        "both": {"whole", "small", "part"},
    }


def test_ssim_is_that_of_the_metric_and_lets_gradients_through() -> None:
    a, b = ((draws.uniform((3, 3, 32, 32), 0, name, 0) * 255).to(torch.uint8) for name in "ab")
    b = b // 2 + a // 2
    x, y = (image.float() / 127.5 - 1 for image in (a, b))
    torch.testing.assert_close(dissimilarity(x, y).double(), 1 - ssim(a, b), atol=1e-4, rtol=0)
    assert float(dissimilarity(x, x).abs().max()) < 1e-6
    x.requires_grad_()
    value = dissimilarity(x, y).sum()
    value.backward()
    with torch.no_grad():
        assert dissimilarity(x - 0.1 * x.grad.sign() / 255, y).sum() < value
    assert torch.equal(l1(y, y), torch.zeros(3)) and l1(y, y + 0.5)[0] == pytest.approx(0.5)


def test_feature_distance_by_hand() -> None:
    """With layers that change nothing, the five stages are the image, standardised, at unit length in each pixel."""
    distance = feature_distance(nn.Sequential(*(nn.Identity() for _ in range(30))))
    a, b = (draws.uniform((2, 3, 8, 8), 0, name, 0, -1.0, 1.0) for name in "ab")
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

    def unit(x: Tensor) -> np.ndarray:
        scaled = ((x.numpy().transpose(0, 2, 3, 1) + 1) / 2 - mean) / std
        return scaled / np.sqrt((scaled**2).sum(axis=-1, keepdims=True))

    expected = 5 * ((unit(a) - unit(b)) ** 2).sum(axis=-1).mean(axis=(1, 2))
    np.testing.assert_allclose(distance(a, b).numpy(), expected, rtol=1e-4)
    grey = a[:, :1]
    torch.testing.assert_close(distance(grey, b), distance(grey.expand(-1, 3, -1, -1), b))


def test_layers_of_vgg16() -> None:
    """Simonyan & Zisserman 2015: 13 convs before the dense layers, 14,714,688 parameters; torchvision counts layers."""
    layers = vgg16_layers()
    assert [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)] == list(VGG_STAGES)
    assert [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)] == [
        *(0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    ]
    assert sum(p.numel() for p in layers.parameters()) == 14_714_688


def test_perceptual_wants_the_weights_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"vgg16-397923af\.pth.*ssim or l1"):
        reconstruction(small(reconstruction="perceptual"))

    (tmp_path / "checkpoints").mkdir()
    one = torch.full((1,), 0.01)  # a number that stands for all: the file is small
    weights = {f"features.{name}": one.expand(w.shape) for name, w in vgg16_layers().state_dict().items()}
    torch.save({**weights, "classifier.6.bias": one}, tmp_path / "checkpoints" / VGG_FILE)
    distance = perceptual()
    a = draws.uniform((1, 1, 32, 32), 0, "a", 0, -1.0, 1.0).requires_grad_()
    value = distance(a, torch.zeros(1, 1, 32, 32))
    value.sum().backward()
    assert value.shape == (1,) and value.isfinite().all() and a.grad is not None


# ---------------------------------------------------------------------------------------------------------
# Updates.


def test_jittered_hinge_by_hand() -> None:
    generator = np.random.default_rng(0)
    r, f = generator.normal(size=(4, 7)), generator.normal(size=(4, 7))
    margin_r, margin_f = generator.uniform(0.8, 1, size=(4, 7)), generator.uniform(0.8, 1, size=(4, 7))
    expected = np.maximum(0, margin_r - r).mean() + np.maximum(0, margin_f + f).mean()
    made = d_hinge(*(torch.from_numpy(x) for x in (r, f, margin_r, margin_f)))
    assert float(made) == pytest.approx(float(expected))


def test_margins_are_drawn_for_each_logit() -> None:
    setting = small()
    batch = Batches(setting, pictures(9, setting), "cpu").draw(phases(setting)[0], 0)
    for name in ("margin_real", "margin_fake"):
        margin = batch[name]
        assert margin.shape == (4, LOGITS) and 0.8 <= float(margin.min()) < 0.83 < 0.97 < float(margin.max()) < 1
    assert not torch.equal(batch["margin_real"], batch["margin_fake"])
    plain = resolve(SMALL, {"data.size": 16, "loss": "hinge", "hinge_jitter": 0.5})
    assert Batches(plain, pictures(9, plain), "cpu").draw(phases(plain)[0], 0)["margin_real"].shape == (4,)
    assert set(batch["part"].tolist()) <= {0, 1, 2, 3}


def test_quadrants_are_drawn_alike() -> None:
    setting = small(train__batch=400)
    part = Batches(setting, pictures(400, setting), "cpu").draw(phases(setting)[0], 0)["part"]
    counts = torch.bincount(part, minlength=4)
    assert len(counts) == 4 and int(counts.min()) > 60  # 100 each, standard deviation 9


class Keeper:
    """Holds in memory what a run would keep."""

    def __init__(self, stop_after: int | None = None, checkpoint: dict | None = None) -> None:
        self.stop_after, self.checkpoint, self.asked = stop_after, checkpoint, 0

    def load_checkpoint(self) -> dict | None:
        return self.checkpoint

    def save_checkpoint(self, step: int, state: dict) -> None:
        copied: Callable = lambda x: x.clone() if isinstance(x, Tensor) else x  # noqa: E731
        self.checkpoint = torch.utils._pytree.tree_map(copied, state)

    def log(self, row: dict) -> None:
        assert all(math.isfinite(value) for value in row.values())

    def snapshot(self, label: str, G_ema: nn.Module) -> None:
        pass

    def progress(self, **words: float) -> None:
        pass

    def checkpoint_due(self) -> bool:
        return False

    def stop_asked(self) -> bool:
        self.asked += 1
        return self.asked == self.stop_after


def run(setting: Setting, keeper: Keeper) -> str:
    return train(setting, pictures(9, setting), schedule(setting, 9), keeper).weights


def test_g_is_shown_the_fakes_of_d_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, Tensor, Tensor]] = []

    def judge(self: nn.Module, x: Tensor | tuple[Tensor, Tensor], y: Tensor | None = None) -> Tensor:
        if isinstance(x, tuple):
            seen.append((x[0].requires_grad, x[0].detach().clone(), x[1].detach().clone()))
        return self._judge(x)[0]

    monkeypatch.setattr(fastgan.FastDiscriminator, "forward", judge)
    run(small(g_noise=True), Keeper())
    assert [for_g for for_g, _, _ in seen] == [False, True] * 4
    for (_, full_d, small_d), (_, full_g, small_g) in zip(seen[::2], seen[1::2], strict=True):
        assert torch.equal(full_d, full_g) and torch.equal(small_d, small_g)
    assert not torch.equal(seen[0][1], seen[2][1])

    seen.clear()
    run(small(train__n_critic=2), Keeper())
    assert [for_g for for_g, _, _ in seen] == [False, False, True] * 4
    assert not torch.equal(seen[0][1], seen[2][1]) and not torch.equal(seen[1][1], seen[2][1])


def test_fakes_for_d_leave_g_as_it_was() -> None:
    setting = small()
    G, D = build(setting)
    before = {name: value.clone() for name, value in G.state_dict().items()}
    d, g = phases(setting)
    batches = Batches(setting, pictures(9, setting), "cpu")
    d.loss(Nets(G, D), batches.draw(d, 0))
    assert all(torch.equal(value, before[name]) for name, value in G.state_dict().items())
    g.loss(Nets(G, D), batches.draw(g, 0))
    moved = [name for name, value in G.state_dict().items() if not torch.equal(value, before[name])]
    assert any(name.endswith("running_mean") for name in moved) and any(name.endswith(".u") for name in moved)


def test_stop_and_resume_equals_no_stop() -> None:
    setting = small()
    whole = run(setting, Keeper())
    stopped = Keeper(stop_after=2)
    assert run(setting, stopped) == "" and stopped.checkpoint is not None
    assert run(setting, Keeper(checkpoint=stopped.checkpoint)) == whole != ""


def test_samples_are_the_same_each_time() -> None:
    setting = small()
    G, _ = build(setting)
    for name, parameter in G.named_parameters():
        if name.endswith("strength"):
            nn.init.constant_(parameter, 0.3)
    made = [fakes(G, setting, 6, seed=seed, batch=4) for seed in (0, 0, 1)]
    assert made[0].shape == (6, 1, 64, 64) and made[0].dtype == torch.uint8
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
