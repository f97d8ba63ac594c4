"""pix2pix: PatchGAN's field, the U-Net's wiring and size, what is minimised, what is drawn, and a run as a whole."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from PIL import Image
from test_train import Memory
from torch import Tensor, nn
from torch.nn import functional as F

from bench import job, sample
from bench.batches import Batches
from bench.data import Part
from bench.models import build, set_chance, unet
from bench.objectives import Nets, phases
from bench.orders import Orders
from bench.recipes import RECIPES
from bench.schedule import schedule
from bench.setting import Setting, resolve
from bench.stop import Stop
from bench.train import train

TINY = {
    "network": "unet",
    "data.size": 32,
    "data.channels": 3,
    "data.pairs": "edges",
    "g_width": 4,
    "d_width": 4,
    "max_width": 16,
    "z_dim": 3,
    "patch": 16,
    "l1_weight": 100.0,
    "d_norm": "bn",
    "train.batch": 4,
    "train.g_steps": 4,
}


def tiny(**knobs: Any) -> Setting:
    return resolve(TINY, {name.replace("__", "."): value for name, value in knobs.items()})


def pixels(n: int, channels: int, size: int = 32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator)


def part(n: int = 12, size: int = 32) -> Part:
    return Part(pixels(n, 3, size), torch.zeros(n, dtype=torch.int64), pixels(n, 1, size, 1))


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


# --------------------------------------------------------------------------------------------------- nets


@pytest.mark.parametrize("field", list(unet.STRIDED))
def test_a_logit_of_patchgan_sees_its_field_and_no_more(field: int) -> None:
    s = tiny(patch=field, d_norm="none", d_sees_input=False, data__channels=1, data__size=512, d_width=1)
    D = unet.discriminator(s, 1).double()
    for parameter in D.parameters():  # all weights positive: nothing cancels
        nn.init.constant_(parameter, 0.1)
    x = torch.rand(1, 1, 512, 512, dtype=torch.float64).requires_grad_()
    maps = D.maps(x)
    middle = maps.shape[2] // 2
    (gradient,) = torch.autograd.grad(maps[0, 0, middle, middle], x)
    rows, columns = (gradient[0, 0].any(dim=dim).nonzero().flatten() for dim in (1, 0))
    for seen in (rows, columns):
        assert (int(seen[-1]) - int(seen[0]) + 1, len(seen)) == (field, field)


@pytest.mark.parametrize("size", [32, 64, 128, 256, 512, 1024])
def test_every_size_has_log2_levels_down_to_one_pixel(size: int) -> None:
    s = resolve(
        RECIPES["pix2pix"], {"data.size": size, "data.channels": 3, "data.pairs": "downscale", "g_dropout": 0.0}
    )
    with torch.device("meta"):
        G, D = unet.generator(s, 3), unet.discriminator(s, 3)
        y, z = torch.empty(2, 3, size, size), torch.empty(2, 8)
        shapes = []
        for down in G.downs:
            down.register_forward_hook(lambda net, given, made: shapes.append(tuple(made.shape[1:])))
        assert G(z, y).shape == (2, 3, size, size)
        assert D(y, y).shape == (2, (size // 8 - 2) ** 2)
    widths = [min(64 * 2**i, 512) for i in range(len(shapes))]
    assert shapes == [(width, size >> i, size >> i) for i, width in enumerate(widths, 1)]
    assert shapes[-1] == (512, 1, 1)


def test_counts_are_those_of_the_paper() -> None:
    """Appendix 6.1, by hand; and the authors' PyTorch port says 54.414 M and 2.769 M, with biases on its ends."""
    s = resolve(RECIPES["pix2pix"], {"data.size": 256, "data.channels": 3, "data.pairs": "downscale"})
    with torch.device("meta"):
        G, D = unet.generator(s, 3), unet.discriminator(s, 3)
        plain = unet.generator(s.model_copy(update={"unet_skips": False}), 3)
    encoder = [3, 64, 128, 256, 512, 512, 512, 512, 512]
    into, out = [512, 1024, 1024, 1024, 1024, 512, 256, 128], [512, 512, 512, 512, 256, 128, 64, 3]
    taps = sum(16 * a * b for a, b in zip(encoder[:-1] + into, encoder[1:] + out, strict=True))
    gains = 2 * (sum(encoder[2:-1]) + sum(out[:-1]))
    assert count(G) == taps + gains
    assert f"{(count(G) + 3) / 1e6:.3f}" == "54.414"
    assert f"{(count(D) + 64 + 1) / 1e6:.3f}" == "2.769"
    # Without skips, each of the decoder's convs but the first reads half as much.
    assert count(G) - count(plain) == sum(16 * (a // 2) * b for a, b in zip(into[1:], out[1:], strict=True))


def test_skips_give_each_map_of_the_encoder_to_the_decoders_map_of_its_size() -> None:
    G, _ = build(tiny())
    encoded: dict[int, Tensor] = {}
    given: dict[int, Tensor] = {}
    for down in G.downs:
        down.register_forward_hook(lambda net, x, made: encoded.__setitem__(made.shape[2], made))
    for up in (*G.ups[1:], G.last):
        up.register_forward_hook(lambda net, x, made: given.__setitem__(x[0].shape[2], x[0]))
    G(torch.zeros(2, 3), torch.rand(2, 1, 32, 32))
    assert sorted(given) == [2, 4, 8, 16]
    for side, read in given.items():
        width = encoded[side].shape[1]
        assert read.shape[1] == 2 * width
        assert torch.equal(read[:, width:], encoded[side])


@pytest.mark.parametrize("skips", [True, False])
def test_with_the_innermost_map_erased_only_skips_tell_the_input(skips: bool) -> None:
    G, _ = build(tiny(unet_skips=skips, g_norm="none"))
    nn.init.zeros_(G.downs[-1].conv.weight)
    y = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        one, other = G(torch.zeros(2, 3), y)
    assert torch.equal(one, other) != skips


def test_norms_stand_everywhere_but_at_the_ends_and_the_innermost() -> None:
    G, D = build(tiny())
    has = [[isinstance(level.norm, nn.BatchNorm2d) for level in levels] for levels in (G.downs, G.ups, D.blocks)]
    assert has == [[False, True, True, True, False], [True] * 4, [False, True]]
    assert [level.dropout.rate for level in build(tiny(g_dropout=0.5))[0].ups] == [0.5, 0.5, 0.5, 0.0]
    G(torch.zeros(1, 3), torch.rand(1, 1, 32, 32))  # one image: batch norm of the innermost pixel would raise


@pytest.mark.parametrize("sees", [True, False])
def test_d_is_shown_the_input_or_not(sees: bool) -> None:
    _, D = build(tiny(d_sees_input=sees))
    x, y = torch.rand(2, 3, 32, 32), torch.rand(2, 1, 32, 32)
    assert D.blocks[0].conv.in_channels == 3 + sees
    assert torch.equal(D(x, y), D(x, y + 1)) != sees


# -------------------------------------------------------------------------------------------- what is minimised


def test_losses_are_those_of_the_paper() -> None:
    s = tiny(d_loss_weight=0.5, gan_weight=2.0, d_norm="none")
    G, D = build(s)
    batches = Batches(s, part(), "cpu")
    d_phase, g_phase = phases(s)
    batch = batches.draw(g_phase, 0)
    real, y = batch["real"], batch["y"]
    with torch.no_grad():
        fake = G(batch["z"], y)
        r, f = D(real, y), D(fake, y)
        total, logs = d_phase.loss(Nets(G, D), batches.draw(d_phase, 0))
        assert float(total) == pytest.approx(float(F.softplus(-r).mean() + F.softplus(f).mean()) / 2, rel=1e-5)
        total, logs = g_phase.loss(Nets(G, D), batch)
    gan, l1 = float(F.softplus(-f).mean()), float((real - fake).abs().mean())
    assert float(logs["loss_G"]) == pytest.approx(gan, rel=1e-5)
    assert float(logs["loss_L1"]) == pytest.approx(l1, rel=1e-5)
    assert float(total) == pytest.approx(2 * gan + 100 * l1, rel=1e-5)


def test_l1_alone_trains_no_d_and_a_gan_alone_reads_no_target() -> None:
    alone = phases(tiny(gan_weight=0.0))
    assert [phase.name for phase in alone] == ["G"]
    s = tiny(l1_weight=0.0)
    G, D = build(s)
    g_phase = phases(s)[1]
    batch = Batches(s, part(), "cpu").draw(g_phase, 0)
    loss, logs = g_phase.loss(Nets(G, D), batch)
    moved, _ = g_phase.loss(Nets(G, D), {**batch, "real": batch["real"] + 1})
    assert set(logs) == {"loss_G"} and torch.equal(loss, moved)


def test_both_phases_of_a_step_see_the_same_pairs_and_the_same_fakes() -> None:
    s = tiny(g_dropout=0.5)
    G, D = build(s)
    batches = Batches(s, part(), "cpu")
    seen: dict[str, tuple[Tensor, ...]] = {}
    for phase in phases(s):
        shown: list[Tensor] = []
        hook = D.register_forward_pre_hook(lambda net, given, shown=shown: shown.extend(x.detach() for x in given))
        set_chance(G, s.seed, phase.stream or phase.name, 3)
        batch = batches.draw(phase, 3)
        phase.loss(Nets(G, D), batch)
        hook.remove()
        seen[phase.name] = (batch["real"], batch["y"], *shown[-2:])  # D's second pass is of fakes
    for of_d, of_g in zip(seen["D"], seen["G"], strict=True):
        assert torch.equal(of_d, of_g)


def test_g_is_given_the_last_pairs_of_several_d_updates() -> None:
    s = tiny(train__n_critic=3)
    batches = Batches(s, part(), "cpu")
    d_phase, g_phase = phases(s)
    for step in range(3):
        last = batches.draw(d_phase, 3 * step + 2)
        assert all(torch.equal(batches.draw(g_phase, step)[name], last[name]) for name in ("real", "y", "y_fake"))


# ----------------------------------------------------------------------------------------------- what is drawn


def test_flips_and_crops_hit_both_images_of_a_pair() -> None:
    s = tiny(data__mirror=True, data__jitter=4, data__pairs="downscale")
    images = pixels(12, 3, 36)
    batches = Batches(s, Part(images, torch.zeros(12, dtype=torch.int64), images), "cpu")
    (phase, _) = phases(s)
    whole = images.float().div(127.5).sub(1)
    found = set()
    for index in range(9):
        batch = batches.draw(phase, index)
        assert torch.equal(batch["real"], batch["y"]) and batch["real"].shape == (4, 3, 32, 32)
        for image in batch["real"]:
            for flipped in (False, True):
                for top in range(5):
                    for left in range(5):
                        window = whole[:, :, top : top + 32, left : left + 32]
                        window = window.flip(3) if flipped else window
                        if (window[:, 0, 0] == image[0, 0]).all(dim=1).any() and (window == image).all((1, 2, 3)).any():
                            found.add((flipped, top, left))
    assert {flipped for flipped, _, _ in found} == {False, True}
    assert {top for _, top, _ in found} == {left for _, _, left in found} == set(range(5))


def test_draws_of_pairs_are_addressed() -> None:
    s = tiny(data__mirror=True, data__jitter=4)
    (phase, _) = phases(s)
    one, other = (Batches(s, part(size=36), "cpu") for _ in range(2))
    one.draw(phase, 0)
    assert all(
        torch.equal(a, b) for a, b in zip(one.draw(phase, 5).values(), other.draw(phase, 5).values(), strict=True)
    )


def test_dropout_is_on_at_sampling_and_drawn_by_address() -> None:
    inputs = pixels(1, 1)
    wide = {"init": "glorot", "g_norm": "none"}  # N(0, 0.02) weights make all outputs one grey
    s = tiny(g_dropout=0.5, **wide)
    G, _ = build(s)

    def outputs(setting: Setting, seed: int) -> Tensor:
        return sample.fakes(G, setting, 4, seed=seed, batch=2, inputs=inputs)

    first = outputs(s, 0)
    assert torch.equal(first, outputs(s, 0))
    assert not torch.equal(first, outputs(s, 1))
    assert len({image.numpy().tobytes() for image in first}) == 4  # one input, four draws
    off, _ = build(tiny(**wide))
    same = sample.fakes(off, tiny(**wide), 4, seed=0, batch=2, inputs=inputs)
    assert len({image.numpy().tobytes() for image in same}) == 1


def test_batch_statistics_at_sampling_are_of_as_many_images_as_in_training() -> None:
    """With batch 1 no output depends on another input, whatever batch the evaluation asks for; with 2 it does."""
    first, second = pixels(4, 1, seed=2), pixels(4, 1, seed=2)
    second[1] = 255 - second[1]
    for batch, apart in ((1, True), (2, False)):
        s = tiny(sample_stats="batch", train__batch=batch)
        G, _ = build(s)
        a, b = (sample.fakes(G, s, 4, seed=0, batch=64, inputs=inputs) for inputs in (first, second))
        assert torch.equal(a[0], b[0]) == apart
        assert torch.equal(a[2:], b[2:]) and not torch.equal(a[1], b[1])


# ----------------------------------------------------------------------------------------------------- a run


@pytest.mark.parametrize("form", [{}, {"gan_weight": 0.0, "train__n_critic": 2, "data__jitter": 4, "ema": 0.9}])
def test_stop_and_resume_equals_no_stop(form: dict[str, Any]) -> None:
    s = tiny(g_dropout=0.5, data__mirror=True, **form)
    pairs = part(size=32 + s.data.jitter)

    def run(keeper: Memory) -> Any:
        return train(s, pairs, schedule(s, 12), keeper)

    whole, parts = Memory(), Memory(stop_after=2)
    expected = run(whole)
    assert (expected.status, run(parts).step) == ("done", 2)
    second = Memory(checkpoint=parts.checkpoint)
    assert run(second).weights == expected.weights
    assert parts.rows + second.rows == whole.rows


def test_a_run_from_end_to_end(make_run, tmp_path) -> None:
    knobs = {name.replace(".", "__"): value for name, value in TINY.items() if name != "data.channels"}
    metrics = ("l1", "psnr", "ssim", "swd", "edge_energy", "input_dependence")
    said = {"fakes": 40, "part": "test"}
    more = {"g_dropout": 0.5, "sample_stats": "batch", "data__jitter": 2, "data__mirror": True, "train__n_critic": 1}
    folder, orders = make_run(metrics=metrics, evaluate=said, **{**knobs, **more})
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    records = [job.read_json(path) for path in folder.scores.glob("*.json")]
    assert {record["status"] for record in records} == {"ok"}
    snapshots = sorted(path.stem for path in folder.snapshots.iterdir())
    assert len(records) == len(metrics) * len(snapshots)
    assert {record["protocol"]["data_pairs"] for record in records} == {"edges"}
    study = tmp_path / "results" / "studies" / "test"
    job.prepare(Orders.read(orders), [folder.setting()], study)
    sheets = [Image.open(io.BytesIO(path.read_bytes())) for path in (study / "inputs.png", study / "reals.png")]
    assert {sheet.size for sheet in sheets} == {(256, 256)}
