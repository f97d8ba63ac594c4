"""Styles from a mapping of z and from an image: who reads them, what they are, and that they learn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from bench.batches import Batches
from bench.data import Part
from bench.models import build
from bench.models.style import MappingNetwork, StyleEncoder
from bench.norms import AdaIN, SelfModulatedBatchNorm
from bench.objectives import Nets, phases
from bench.setting import Setting, resolve

TINY = {"data.channels": 3, "g_width": 4, "d_width": 4, "max_width": 16, "z_dim": 6, "mapping_layers": 2}
PLACES = [("dcgan", 28), ("dcgan", 32), ("sndcgan", 16), ("resnet", 32), ("resnet", 48)]


def tiny(network: str, size: int, **knobs: Any) -> Setting:
    said = {"network": network, "data.size": size, "g_norm": "adain", "g_input_norm": "bn", "train.batch": 4}
    return resolve(TINY, said, {name.replace("__", "."): value for name, value in knobs.items()})


def part(setting: Setting) -> Part:
    shape = (9, 3, setting.data.size, setting.data.size)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Part(images, torch.zeros(9, dtype=torch.int64))


@pytest.mark.parametrize(("network", "size"), PLACES)
@pytest.mark.parametrize("source", ["mapping", "image"])
@pytest.mark.parametrize("g_norm", ["adain", "selfmod_bn"])
def test_gradients_reach_every_parameter(network: str, size: int, source: str, g_norm: str) -> None:
    setting = tiny(network, size, style_source=source, g_norm=g_norm)
    G, D = build(setting)
    batches = Batches(setting, part(setting), "cpu")
    for phase in phases(setting):
        batch = batches.draw(phase, 0)
        assert ("style" in batch) == (source == "image")
        loss, _ = phase.loss(Nets(G, D), batch)
    loss.backward()  # G's, the last
    assert not [name for name, p in G.named_parameters() if p.grad is None or not p.grad.any()]


def test_the_mapping_gives_every_norm_its_style() -> None:
    """G with a mapping is G without one, given the mapped z, but for its first layer, which still reads z."""
    mapped, _ = build(tiny("dcgan", 32, style_source="mapping"))
    assert isinstance(mapped.style, MappingNetwork)
    z, seen = torch.randn(3, 6), []
    for module in mapped.modules():
        if isinstance(module, AdaIN):
            module.affine.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    first = mapped.blocks[0].conv.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    mapped(z)
    first.remove()
    assert torch.equal(seen[0], z) and len(seen) == 3
    for style in seen[1:]:
        assert torch.equal(style, mapped.style(z))


def test_no_norm_that_reads_a_style_no_mapping() -> None:
    G, _ = build(tiny("dcgan", 32, style_source="mapping", g_norm="in"))
    assert G.style is None


def test_the_mapping_is_he_normal_whatever_the_scheme() -> None:
    for init in ("normal002", "wgan_gp"):
        G, _ = build(tiny("dcgan", 32, style_source="mapping", mapping_layers=8, z_dim=100, init=init))
        weight = G.style.layers[1].weight.detach()
        assert float(weight.std()) == pytest.approx((2 / 100) ** 0.5, rel=0.05)
        # So a style is about as large as z; eight layers of N(0, 0.02) would leave less than a millionth of it.
        assert 0.1 < float(G.style(torch.randn(50, 100)).detach().square().mean()) < 10


@pytest.mark.parametrize("kind", [AdaIN, SelfModulatedBatchNorm])
def test_an_image_style_is_standard_deviation_and_mean_of_the_encoders_map(kind: type[nn.Module]) -> None:
    norm = kind(5, 6, image_side=8)
    assert not list(norm.parameters())
    x, encoded = torch.randn(4, 5, 8, 8), torch.randn(4, 5, 8, 8) * 3 + 2
    style = torch.cat([encoded.flatten(2).std(dim=2), encoded.mean(dim=(2, 3))], dim=1)
    made = norm(x, {(5, 8): style})
    if kind is AdaIN:  # its maps have the style's statistics, image by image
        torch.testing.assert_close(made.mean(dim=(2, 3)), style[:, 5:], atol=1e-4, rtol=1e-4)
        spread = made.flatten(2).std(dim=2, correction=0)
        torch.testing.assert_close(spread, style[:, :5], atol=1e-3, rtol=1e-3)
    else:
        plain = norm.statistics(x)
        torch.testing.assert_close(made, style[:, :5, None, None] * plain + style[:, 5:, None, None])


def test_the_encoder_follows_gs_maps_from_the_largest_down() -> None:
    """sndcgan at 16 px: maps of 2, 4, 8 and 16 px, the first with batch norm; 28 px has two widths at 14 px."""
    G, _ = build(tiny("sndcgan", 16, style_source="image"))
    assert isinstance(G.style, StyleEncoder)
    assert G.style.sites == ((4, 16), (8, 8), (16, 4))
    assert [tuple(conv.stride) for conv in G.style.convs] == [(1, 1), (2, 2), (2, 2)]
    G, _ = build(tiny("dcgan", 28, style_source="image", max_width=64))
    assert G.style.sites == ((4, 14), (8, 14))
    G, _ = build(tiny("resnet", 48, style_source="image", max_width=64))
    assert G.style.sites == ((4, 48), (8, 24), (16, 12), (32, 6))[: len(G.style.sites)]
    styles = G.style(torch.empty(0), torch.rand(2, 3, 48, 48))
    assert {site: tuple(style.shape) for site, style in styles.items()} == {s: (2, 2 * s[0]) for s in G.style.sites}


def test_a_style_is_the_encoders_statistics() -> None:
    encoder = StyleEncoder(1, 8, [(2, 8), (3, 2)])
    y = torch.randn(4, 1, 8, 8)
    styles = encoder(torch.empty(0), y)
    h = nn.functional.leaky_relu(encoder.convs[0](y), 0.2)
    for site, conv in zip(((2, 8), (3, 2)), (None, encoder.convs[1]), strict=True):
        h = h if conv is None else nn.functional.leaky_relu(conv(h), 0.2)
        assert h.shape[1:] == (*site[:1], site[1], site[1])
        torch.testing.assert_close(styles[site][:, : site[0]], h.flatten(2).std(dim=2), atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(styles[site][:, site[0] :], h.mean(dim=(2, 3)))


def test_style_images_are_reals_drawn_by_address() -> None:
    setting = tiny("dcgan", 32, style_source="image", train__g_batch=6)
    batches, reals = Batches(setting, part(setting), "cpu"), part(setting).images
    d_phase, g_phase = phases(setting)
    first, again = (batches.draw(d_phase, 3)["style"] for _ in range(2))
    assert torch.equal(first, again)
    others = [batches.draw(d_phase, 4)["style"], batches.draw(g_phase, 3)["style"]]
    assert [len(style) for style in (first, *others)] == [4, 4, 6]
    assert not torch.equal(first, others[0]) and not torch.equal(first, others[1][:4])
    for image in first:
        assert any(torch.equal(image, real / 127.5 - 1) for real in reals)


def test_noise_on_reals_is_centred_and_drawn_by_address() -> None:
    plain, noisy = tiny("dcgan", 32), tiny("dcgan", 32, dequantize=1 / 128)
    real, shown, again = (
        Batches(setting, part(setting), "cpu").draw(phases(setting)[0], 2)["real"] for setting in (plain, noisy, noisy)
    )
    noise = shown - real
    assert torch.equal(shown, again)
    assert float(noise.abs().max()) <= 1 / 256 + 1e-6
    assert float(noise.mean()) == pytest.approx(0, abs=1e-4)
    assert float(noise.std()) == pytest.approx(1 / 128 / 12**0.5, rel=0.05)


@pytest.mark.parametrize(("network", "size"), PLACES)
def test_activation_output_and_normalized_z_of_g(network: str, size: int) -> None:
    def made(z: torch.Tensor, **knobs: Any) -> tuple[nn.Module, torch.Tensor]:
        G, _ = build(tiny(network, size, g_norm="bn", **knobs))
        return G, G.eval()(z)

    z = torch.randn(3, 6)
    family, image = made(z)
    _, unbounded = made(z, output="linear")
    torch.testing.assert_close(torch.tanh(unbounded), image)
    for word, kind in (("relu", nn.ReLU), ("lrelu", nn.LeakyReLU)):
        G, _ = made(z, activation=word)
        found = {type(m) for m in G.modules() if isinstance(m, nn.ReLU | nn.LeakyReLU)}
        assert found == {kind}
        if kind is nn.LeakyReLU:
            assert {m.negative_slope for m in G.modules() if isinstance(m, kind)} == {0.2}
    same, image = made(z, z_normalized=True)
    torch.testing.assert_close(same(5 * z), image, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(family(z / z.square().mean(dim=1, keepdim=True).sqrt()), image, atol=1e-5, rtol=1e-4)
