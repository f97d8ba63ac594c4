"""DiffAugment by its formulas, and that D sees changed reals and changed fakes alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import draws
from bench.batches import Batches
from bench.data import Part
from bench.objectives import Nets, phases
from bench.objectives.augment import augment, color, cutout, translation
from bench.setting import Setting, resolve

SIDE = 16
JUST_BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


def images(batch: int = 5, channels: int = 3, side: int = SIDE) -> Tensor:
    return draws.uniform((batch, channels, side, side), 0, "images", 0, 0.5, 1.0)


def drawn(batch: int = 5, **columns: list[float]) -> Tensor:
    """Rows of seven, random but for the columns that are given."""
    numbers = draws.uniform((batch, 7), 1, "drawn", 0)
    for column, values in columns.items():
        numbers[:, int(column[1:])] = torch.tensor(values)
    return numbers


def test_color_is_brightness_then_saturation_then_contrast() -> None:
    x, u = images(), drawn()
    for image, (brightness, saturation, contrast), made in zip(
        x.numpy().astype(np.float64), u.numpy().astype(np.float64)[:, :3], color(x, u).numpy(), strict=True
    ):
        image = image + brightness - 0.5
        grey = image.mean(axis=0)
        image = grey + 2 * saturation * (image - grey)
        image = image.mean() + (contrast + 0.5) * (image - image.mean())
        np.testing.assert_allclose(made, image, atol=1e-5)


def test_color_without_saturation_is_grey_and_halves_leave_an_image_as_it_is() -> None:
    grey = color(images(), drawn(c1=[0.0] * 5))
    torch.testing.assert_close(grey, grey.mean(dim=1, keepdim=True).expand_as(grey))
    torch.testing.assert_close(color(images(), torch.full((5, 7), 0.5)), images())


@pytest.mark.parametrize("side", [16, 28])
def test_translation_shifts_by_up_to_an_eighth_and_fills_with_nothing(side: int) -> None:
    most = int(side * 0.125 + 0.5)
    steps = 2 * most + 1
    values = [(k + 0.5) / steps for k in range(steps)]  # each shift once
    u = drawn(steps, c3=values, c4=values[::-1])
    x = images(steps, side=side)
    for k, (image, made) in enumerate(zip(x, translation(x, u), strict=True)):
        down, right = k - most, (steps - 1 - k) - most
        expected = torch.zeros_like(image)
        for row in range(side):
            for column in range(side):
                if 0 <= row + down < side and 0 <= column + right < side:
                    expected[:, row, column] = image[:, row + down, column + right]
        assert torch.equal(made, expected)


@pytest.mark.parametrize("side", [16, 28])
def test_cutout_takes_a_square_of_half_the_side(side: int) -> None:
    x = images(3, side=side)
    # A centre in the middle; in the first corner; on the last rows and columns.
    u = drawn(3, c5=[0.5, 0.0, JUST_BELOW_ONE], c6=[0.5, 0.0, JUST_BELOW_ONE])
    made, half, quarter = cutout(x, u), side // 2, side // 4
    gone = (made == 0).all(dim=1)
    assert gone.flatten(1).sum(dim=1).tolist() == [half**2, quarter**2, quarter**2]
    assert gone[0, quarter : quarter + half, quarter : quarter + half].all()
    assert gone[1, :quarter, :quarter].all() and gone[2, -quarter:, -quarter:].all()
    kept = ~gone[:, None].expand_as(x)
    assert torch.equal(made[kept], x[kept])


def test_the_last_number_below_one_stays_within_range() -> None:
    """1024 · (1 - 2^-24) rounds to 1024 in float32."""
    for side in (64, 1024):
        x = torch.ones(1, 1, side, side)
        u = torch.full((1, 7), JUST_BELOW_ONE)
        assert float(translation(x, u).sum()) == (side - int(side * 0.125 + 0.5)) ** 2
        assert float((cutout(x, u) == 0).sum()) == (side // 4) ** 2


def test_the_policy_is_applied_in_its_order() -> None:
    x, u = images(), drawn(c0=[0.9] * 5, c3=[0.0] * 5)
    torch.testing.assert_close(augment(x, u, ("color", "translation")), translation(color(x, u), u))
    moved_first = augment(x, u, ("translation", "color"))
    torch.testing.assert_close(moved_first, color(translation(x, u), u))
    assert augment(x, u, ("color", "translation"))[:, :, 0].eq(0).all() and not moved_first[:, :, 0].eq(0).any()
    assert torch.equal(augment(x, u, ()), x)


def test_gradients_pass() -> None:
    x, u = images(2, side=8).double().requires_grad_(), drawn(2).double()
    assert torch.autograd.gradcheck(lambda x: augment(x, u, ("color", "translation", "cutout")), (x,))


# ---------------------------------------------------------------------------------------------------------
# In the update.

TINY = {
    "data.size": SIDE,
    "data.channels": 1,
    "g_width": 4,
    "d_width": 4,
    "z_dim": 6,
    "train.batch": 4,
    "augment": ["color", "translation", "cutout"],
}


def tiny(**knobs: object) -> Setting:
    return resolve(TINY, {name.replace("__", "."): value for name, value in knobs.items()})


def batches(setting: Setting) -> Batches:
    shown = (images(9, 1, setting.data.size) * 255).to(torch.uint8)
    return Batches(setting, Part(shown, torch.zeros(9, dtype=torch.int64)), "cpu")


class Seeing(nn.Module):
    """A D that keeps what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        self.seen.append(x)
        return self.gain * x.flatten(1).sum(dim=1)


class Still(nn.Module):
    """A G whose images are a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.images = nn.Parameter(-images(4, 1))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return 1 * self.images


def test_d_sees_changed_reals_and_changed_fakes_and_g_learns_through_the_change() -> None:
    setting = tiny()
    d, g = phases(setting)
    nets, drawn_for = Nets(Still(), Seeing()), batches(setting)
    batch = drawn_for.draw(d, 3)
    d.loss(nets, batch)
    (seen,) = nets.D.seen
    assert torch.equal(seen[:4], augment(batch["real"], batch["augment_real"], setting.augment))
    assert torch.equal(seen[4:], augment(nets.G.images, batch["augment_fake"], setting.augment))
    assert not torch.equal(batch["augment_real"], batch["augment_fake"])

    batch = drawn_for.draw(g, 3)
    g.loss(nets, batch)[0].backward()
    cut = augment(torch.ones(4, 1, SIDE, SIDE), batch["augment_fake"], ["translation", "cutout"]) == 0
    assert cut.any()
    assert torch.equal(nets.D.seen[-1][cut], torch.zeros_like(nets.D.seen[-1][cut]))
    assert nets.G.images.grad is not None and nets.G.images.grad.abs().sum() > 0


def test_draws_are_addressed_and_equal_across_cells() -> None:
    plain, other = batches(tiny()), batches(tiny(g_norm="adain", d_norm="ln", loss="hinge", hinge_jitter=0.5))
    d, g = phases(tiny())
    for phase in (d, g):
        for name in phase.needs:
            if name.startswith("augment"):
                assert torch.equal(plain.draw(phase, 2)[name], other.draw(phase, 2)[name])
                assert not torch.equal(plain.draw(phase, 2)[name], plain.draw(phase, 1)[name])
    assert not torch.equal(plain.draw(d, 2)["augment_fake"], plain.draw(g, 2)["augment_fake"])
    assert "augment_real" in d.needs and "augment_real" not in g.needs
    assert not [name for name in phases(tiny(augment=[]))[0].needs if name.startswith("augment")]
