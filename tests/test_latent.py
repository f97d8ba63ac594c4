"""Latent arithmetic: paths and attributes against closed forms, edits on a G that is known, and the command."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from bench import draws, latent, latents
from bench.data import to_uint8
from bench.models import build
from bench.protocol import measure
from bench.setting import resolve, run_id
from bench.store import RunFolder

TINY = {"data.size": 16, "data.channels": 1, "g_width": 4, "d_width": 4, "z_dim": 8, "train.g_steps": 1}
RUN = run_id(resolve(TINY))


def test_paths_begin_and_end_at_their_ends():
    a, b = draws.normal((2, 50), 0, "test", 0)
    for path in latents.PATHS.values():
        found = path(a, b, torch.tensor([0.0, 1.0]))
        torch.testing.assert_close(found, torch.stack([a, b]))


def test_slerp_is_the_arc_of_a_circle():
    """Between unit vectors at a right angle: (cos, sin) of t quarter turns; and lengths stay."""
    t = torch.linspace(0, 1, 7)
    found = latents.slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), t)
    quarter = t * math.pi / 2
    torch.testing.assert_close(found, torch.stack([quarter.cos(), quarter.sin()], dim=1))
    line = latents.lerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.5]))
    torch.testing.assert_close(line, torch.tensor([[0.5, 0.5]]))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_slerp_of_parallel_vectors_is_finite(sign):
    a = torch.tensor([1.0, 2.0])
    assert bool(latents.slerp(a, sign * a, torch.linspace(0, 1, 5)).isfinite().all())


def bar(width, lean, side=33):
    """One bright bar of `width` columns, moved to the right by `lean` columns a row upwards."""
    rows, columns = np.mgrid[:side, :side]
    centre = side // 2 - lean * (rows - side // 2)
    inside = (np.abs(columns - centre) <= width / 2) & (np.abs(rows - side // 2) <= 10)
    return torch.from_numpy(255 * inside.astype(np.uint8))[None, None]


@pytest.mark.parametrize("lean", [-0.5, 0.0, 0.3])
def test_slant_is_the_lean_of_a_bar(lean):
    assert latents.slant(bar(3, lean))[0] == pytest.approx(lean, abs=0.03)


def test_thickness_is_the_width_of_a_bar():
    thin, thick = latents.thickness(torch.cat([bar(3, 0.0), bar(7, 0.0)]))
    assert thin == pytest.approx(3, rel=0.25)
    assert thick == pytest.approx(7, rel=0.4)
    assert latents.thickness(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)).tolist() == [0.0]


def test_intensity_and_contrast_of_known_images():
    half = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    half[..., :2] = 200
    assert latents.intensity(half).tolist() == [100.0]
    assert latents.contrast(half).tolist() == [100.0]
    assert np.isfinite(latents.slant(torch.zeros_like(half))).all()


def test_edits_on_a_generator_whose_brightness_is_one_axis_of_z():
    """With brightness = z_0 in many dimensions, more exemplars point more surely along it."""

    def make(z):
        return to_uint8(torch.tanh(z[:, :1, None, None] / 4).expand(-1, 1, 4, 4))

    pool, fresh = draws.normal((400, 30), 0, "pool", 0), draws.normal((50, 30), 0, "fresh", 0)
    found = {
        n: latents.edits(make, latents.intensity, pool, fresh, average=n, trials=12, seed=0) for n in (1, 3, 10, 100)
    }
    cosines = [found[n].cosine for n in (1, 3, 10, 100)]
    assert cosines == sorted(cosines)
    assert found[100].cosine > 0.99 and found[1].cosine < 0.5
    assert found[100].correct == 1.0
    with pytest.raises(ValueError, match="too few"):
        latents.edits(make, latents.intensity, pool[:8], fresh, average=3, trials=2, seed=0)


def test_images_of_a_g_that_has_not_grown_are_of_the_data_s_size():
    """As its fakes and the sheets are: each pixel a square."""

    def G(z):
        return z.view(-1, 1, 2, 2)

    z = draws.normal((3, 4), 0, "z", 0).clamp(-1, 1)
    small, large = latents.images_at(G, z, 2, batch=2), latents.images_at(G, z, 8, batch=2)
    assert large.shape == (3, 1, 8, 8)
    assert torch.equal(large, small.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3))


@pytest.fixture
def run_folder(tmp_path):
    """A run with one snapshot of an untrained G."""
    setting = resolve(TINY)
    folder = RunFolder(tmp_path / "results" / "runs" / RUN)
    folder.write_setting(setting)
    folder.snapshots.mkdir(parents=True)
    G, _ = build(setting)
    torch.save(G.state_dict(), folder.snapshots / "000001.000.pt")
    return folder


def said(tmp_path, *more):
    return [RUN[:5], "--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports"), *more]


def test_the_command_draws_a_sheet_then_arithmetic_and_paths(run_folder, tmp_path, capsys):
    place = tmp_path / "reports" / "latent" / f"{RUN}-000001.000"
    assert latent.main(said(tmp_path, "--count", "12")) == 0
    assert sorted(path.name for path in place.iterdir()) == ["sheet.png"]
    assert latent.main(said(tmp_path, "--a", "3,7,2", "--b", "5,9,11", "--c", "2,8,3", "--interpolate", "lerp")) == 0
    assert sorted(path.name for path in place.iterdir()) == ["arithmetic.png", "interpolation.png", "sheet.png"]
    told = capsys.readouterr().out
    for path in place.iterdir():
        assert np.asarray(Image.open(path).convert("L")).std() > 10
        assert str(path) in told
    assert latent.main(said(tmp_path, "--attribute", "intensity")) == 0
    assert "by intensity: A " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--a", "1,2,3"], "go together"),
        (["--a", "1", "--b", "2", "--c", "3"], "3 exemplars are averaged, 1 are named"),
        (["--a", "1,2,64", "--b", "2,3,4", "--c", "3,4,5"], "64 is not on the sheet"),
        (["--a", "x", "--b", "2", "--c", "3"], "numbers are due"),
        (["--a=-1,2,3", "--b", "2", "--c", "3"], "begin at 0"),
        (["--attribute", "slant", "--a", "1,2,3"], "leave out --a and --b"),
        (["--average", "0"], "at least 1"),
        (["--attribute", "slant", "--average", "65"], "the sheet has 64 images"),
    ],
)
def test_mistakes_on_the_command_line_are_named(run_folder, tmp_path, capsys, more, message):
    with pytest.raises(SystemExit) as left:
        latent.main(said(tmp_path, *more))
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_runs_and_snapshots_that_are_not_there(run_folder, tmp_path, capsys):
    assert latent.main(["ffff", "--results", str(tmp_path / "results")]) == 2
    assert "no run whose id begins with 'ffff'" in capsys.readouterr().err
    assert latent.main(said(tmp_path, "--snapshot", "000002.000")) == 2
    assert "it has 000001.000" in capsys.readouterr().err
    (run_folder.snapshots / "000001.000.pt").write_bytes(b"torn")
    assert latent.main(said(tmp_path)) == 2
    assert "missing or damaged" in capsys.readouterr().err


def gaussian_world(spread=1.0):
    """Reals whose brightness is N(128, 20²) in each quarter, and a G that makes them of four numbers of z."""
    from bench.metrics.features import Features
    from bench.metrics.suite import Side

    def make(z):
        quarters = (128 + 20 * spread * z[:, :4]).clamp(0, 255).view(-1, 1, 2, 2)
        return torch.nn.functional.interpolate(quarters, size=8, mode="nearest").round().to(torch.uint8)

    def extract(images):
        return Features(images.float().unfold(2, 4, 4).unfold(3, 4, 4).mean(dim=(4, 5)).flatten(1).numpy(), None)

    images = make(draws.normal((2000, 8), 1, "reals", 0))
    return make, Side(images, lambda settings: extract(images), real=True), extract


def test_paths_of_a_g_on_the_manifold_stay_on_it():
    """Midpoints of arcs between draws of N(0, I) are draws of it, to a few per cent in 64 dimensions."""
    from bench.metrics.latent import score_paths

    settings = {"fakes": 2000, "extractor": "own", "seed": 0}
    make, real, extract = gaussian_world()

    def draw(n, stream):
        return draws.normal((n, 64), 0, stream, 0)

    found = score_paths(make, draw, settings, real, extract).values
    assert found["paths_nearest[own]"] == pytest.approx(1, abs=0.1)


def test_paths_through_a_hole_are_worse_than_their_ends():
    """A G that is right on the sphere where draws of z lie, and wrong inside it, is told by the straight line alone."""
    from bench.metrics import latent as scores

    settings = {"fakes": 1000, "extractor": "own", "seed": 0}
    make, real, extract = gaussian_world()

    def hollow(z):
        inside = (z.norm(dim=1) < 6.5)[:, None, None, None]
        return torch.where(inside, torch.zeros((), dtype=torch.uint8), make(z))

    def draw(n, stream):
        return draws.normal((n, 64), 0, stream, 0)

    arc = scores.score_paths(hollow, draw, settings, real, extract).values["paths[own]"]
    assert arc < 2
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scores, "slerp", latents.lerp)
        line = scores.score_paths(hollow, draw, settings, real, extract).values["paths[own]"]
    assert line > 100


def test_edits_name_their_attribute_and_count():
    from bench.metrics.latent import score_edits

    make, _, _ = gaussian_world()
    settings = {"fakes": 400, "edit_attribute": "intensity", "seed": 0}
    result = score_edits(make, lambda n, stream: draws.normal((n, 8), 0, stream, 0), settings)
    assert {f"edits_{n}[intensity]" for n in (1, 3, 10)} < result.values.keys()
    assert result.values["edits_10[intensity]"] >= result.values["edits_1[intensity]"]
    assert result.values["edit_cosine_10[intensity]"] > result.values["edit_cosine_1[intensity]"]
    for name in result.values:
        assert measure(name).label
