"""Nearest training images and interpolations: against SciPy, on planted copies, and once a run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import cdist

from bench import data, datasets, draws, exhibits, gallery, job, sample
from bench.batches import draw_z
from bench.latents import slerp
from bench.metrics.neighbours import nearest
from bench.metrics.prdc import TILE
from bench.orders import Orders
from bench.protocol import Evaluate
from bench.setting import resolve
from bench.stop import Stop


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("n", [3, 40, TILE + 30])
def test_neighbours_are_those_of_scipy(n, kind):
    rng = np.random.default_rng(n)
    queries, reals = rng.normal(size=(7, 5)), rng.normal(size=(n, 5))
    given = [torch.from_numpy(array) if kind == "torch" else array for array in (queries, reals)]
    rows, far = nearest([given[0]], given[1], 5)
    expected = cdist(queries, reals)
    assert rows.tolist() == np.argsort(expected, axis=1)[:, :5].tolist()
    np.testing.assert_allclose(far, np.sort(expected, axis=1)[:, :5], rtol=1e-12)


def test_a_real_is_as_near_as_the_nearest_form_of_a_query():
    rng = np.random.default_rng(1)
    forms, reals = rng.normal(size=(2, 6, 4)), rng.normal(size=(30, 4))
    rows, far = nearest(list(forms), reals, 5)
    expected = np.minimum(cdist(forms[0], reals), cdist(forms[1], reals))
    assert rows.tolist() == np.argsort(expected, axis=1)[:, :5].tolist()
    np.testing.assert_allclose(far, np.sort(expected, axis=1)[:, :5], rtol=1e-12)


def test_of_equals_the_lower_row_comes_first_and_a_copy_is_at_nothing():
    reals = np.array([[4.0, 0.1], [1e4, 3.3], [4.0, 0.1], [4.0, 0.1]], np.float32)
    rows, far = nearest([reals[1:3]], reals, 3)
    assert rows.tolist()[1] == [0, 2, 3]
    assert far[0, 0] == 0 and far[1].tolist() == [0, 0, 0]


def make_gallery(tmp_path, *, metrics=("fd",), **knobs):
    layer = {"data.name": "faces", "data.size": 16, "network": "dcgan", "g_width": 4, "d_width": 4, "z_dim": 8}
    setting = resolve(layer, {key.replace("__", "."): value for key, value in knobs.items()})
    orders = Orders(data_root=tmp_path / "data", metrics=tuple(metrics), evaluate=Evaluate(extractor="random"))
    dataset = data.load(setting.data, orders.data_root, tmp_path / "cache")
    return gallery.Gallery(setting, dataset, orders, tmp_path / "cache")


def a_sheet(found, copies, seed=0):
    """Noise, with training images planted at the first places."""
    shape = (64, *found.dataset.images.shape[1:])
    sheet = draws.uniform(shape, seed, "test", 0, 0, 256).to(torch.uint8)
    sheet[: len(copies)] = found.dataset.part("train").images[copies]
    return sheet


@pytest.mark.parametrize(("size", "side"), [(16, 16), (64, 32)])
def test_a_planted_training_image_is_its_own_nearest_at_nothing(tmp_path, size, side):
    found = make_gallery(tmp_path, data__size=size)
    copies = [5, 71, 0]
    sheet = a_sheet(found, copies)
    train = found.dataset.part("train").images
    for space in found.spaces.values():
        place = tmp_path / "kept.png"
        place.write_bytes(found.neighbours(sheet, space))
        tiles, said = exhibits.read(place)
        assert [rows[0] for rows in said["rows_of_train"][:3]] == copies
        assert said["nearest"][:3] == [0, 0, 0] and min(said["nearest"][3:]) > 0
        assert tiles.shape == (exhibits.SHOWN, 1 + exhibits.K, size, size, 3)
        for query, rows, line in zip(sheet, said["rows_of_train"], tiles, strict=False):
            shown = torch.cat([query[None], train[rows]]).permute(0, 2, 3, 1).expand(-1, -1, -1, 3)
            assert (line == shown.numpy()).all()
        assert said["n_train"] == len(train) == 80
    assert list(found.spaces) == ["pixels", "random"]
    assert gallery.pixels(found.reals, found.cache).train.shape == (80, side**2)


def test_pixel_distances_are_root_mean_squares_of_grey_levels(tmp_path):
    found = make_gallery(tmp_path)
    sheet, train = a_sheet(found, []), found.dataset.part("train").images
    (tmp_path / "kept.png").write_bytes(found.neighbours(sheet, found.spaces["pixels"]))
    said = exhibits.read(tmp_path / "kept.png").said
    flat = [images.flatten(1).double().numpy() for images in (sheet, train, found.dataset.part("held_out").images)]
    np.testing.assert_allclose(said["nearest"], cdist(flat[0], flat[1]).min(axis=1) / 16, rtol=1e-5)
    held_out = said["held_out"]
    assert (held_out["part"], held_out["n"]) == ("held_out", len(flat[2]))
    np.testing.assert_allclose(held_out["distances"], np.sort(cdist(flat[2], flat[1]).min(axis=1)) / 16, rtol=1e-5)


def test_where_d_sees_mirror_images_a_mirrored_copy_is_a_copy(tmp_path):
    plain, mirrored = make_gallery(tmp_path), make_gallery(tmp_path, data__mirror=True)
    sheet = a_sheet(plain, [3, 9]).flip(3)
    assert plain.measured(sheet, plain.spaces["pixels"](), 1)[1][0, 0] > 0
    rows, far = mirrored.measured(sheet, mirrored.spaces["pixels"](), 1)
    assert rows[:2, 0].tolist() == [3, 9] and far[:2, 0].tolist() == [0, 0]


def test_pairs_have_neither_and_a_run_without_features_has_pixels_alone(tmp_path):
    assert list(make_gallery(tmp_path, metrics=("swd",)).spaces) == ["pixels"]
    paired = make_gallery(tmp_path, data__size=32, data__pairs="edges", network="unet", objective="gan")
    assert paired.spaces == {} and paired.interpolations(tmp_path / "none.pt", "cpu") is None


def test_the_space_is_that_of_the_studys_frechet_distance():
    setting = resolve({"data.name": "faces"})
    source = datasets.describe(setting.data, Path("data"))

    def asked(*metrics, **said):
        return exhibits.extractor_asked(metrics, Evaluate(**said), setting, source)

    assert asked("swd") is None
    assert exhibits.space_of(asked("kid", "fid", extractor="random")) == "inception"
    assert exhibits.space_of(asked("fid", resize="legacy_pytorch")) == "inception_legacy_pytorch"
    assert exhibits.space_of(asked("prdc")) == "random"
    own = {"extractor": "lab.nets:Net", "extractor_source": "0123456789abcdef", "resize": None}
    assert exhibits.space_of(own) == "lab.nets.Net-01234567"


def test_scoring_makes_them_once_and_with_the_same_bytes(make_run):
    folder, orders = make_run(metrics=["fd"], evaluate={"fakes": 64, "extractor": "random"})
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    *earlier, label = folder.state().trained["snapshots"]
    kept = {path.name: path for path in folder.samples.iterdir()}
    kinds = ["interpolations", "neighbours.pixels", "neighbours.random"]
    sheets = [f"{one}.png" for one in (*earlier, label)]
    assert sorted(kept) == sorted([*sheets, *(f"{label}.{kind}.png" for kind in kinds)])
    before = {name: (path.read_bytes(), path.stat().st_mtime_ns) for name, path in kept.items()}
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    assert before == {name: (path.read_bytes(), path.stat().st_mtime_ns) for name, path in kept.items()}
    torn, gone = kept[f"{label}.neighbours.pixels.png"], kept[f"{label}.interpolations.png"]
    torn.write_bytes(torn.read_bytes()[:200])
    gone.unlink()
    assert job.run(folder, Orders.read(orders), stop=Stop(), stage="score") == 0
    assert {name: content for name, (content, _) in before.items()} == {
        name: path.read_bytes() for name, path in kept.items()
    }
    # Neighbours need no snapshot; a run that has lost its own goes without paths, and is done.
    gone.unlink()
    (folder.snapshots / f"{label}.pt").unlink()
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    assert not gone.exists() and torn.exists() and folder.state().status == "done"


def test_paths_follow_the_arc_between_samples_of_the_sheet(make_run):
    folder, orders = make_run(metrics=[], g_norm="in")
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    label = folder.state().trained["snapshots"][-1]
    tiles, said = exhibits.read(exhibits.interpolations_path(folder.samples, label))
    assert tiles.shape == (8, exhibits.STEPS, 16, 16, 3) and said["classes"] == [None] * 8
    sheet = gallery.read_sheet(folder.samples / f"{label}.png", 1, 16).permute(0, 2, 3, 1).expand(-1, -1, -1, 3)
    ends = torch.stack([sheet[:8], sheet[:8].roll(-1, 0)], dim=1).numpy().astype(int)
    assert np.abs(tiles[:, [0, -1]] - ends).max() <= 1  # another batch size: the last bit of a float
    z = draw_z(folder.setting(), 64, sample.SHEET_SEED, "sheet_z", 0)
    lengths = slerp(z[0], z[1], torch.linspace(0, 1, exhibits.STEPS)).norm(dim=1)
    low, high = sorted((float(z[0].norm()), float(z[1].norm())))
    assert float(lengths.min()) > 0.8 * low and float(lengths.max()) < 1.2 * high


def test_what_is_no_exhibit_is_none(tmp_path, monkeypatch):
    place = tmp_path / "x.png"
    assert exhibits.read(place) is None
    place.write_bytes(b"no picture")
    assert exhibits.read(place) is None
    Image.new("L", (8, 8)).save(place)
    assert exhibits.read(place) is None
    whole = exhibits.encode(np.zeros((2, 3, 4, 4, 1), np.uint8), {"a": 1})
    place.write_bytes(whole)
    assert exhibits.read(place).said["a"] == 1
    monkeypatch.setattr(exhibits, "VERSION", exhibits.VERSION + 1)
    assert exhibits.read(place) is None


def test_where_g_is_told_a_class_a_path_keeps_that_of_its_first_sample(make_run):
    folder, orders = make_run(metrics=[], data__name="digits", data__classes=10, g_norm="cbn")
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    label = folder.state().trained["snapshots"][-1]
    tiles, said = exhibits.read(exhibits.interpolations_path(folder.samples, label))
    assert said["classes"] == list(range(8))
    sheet = gallery.read_sheet(folder.samples / f"{label}.png", 1, 16).permute(0, 2, 3, 1).expand(-1, -1, -1, 3)
    assert np.abs(tiles[:, 0].astype(int) - sheet[:8].numpy()).max() <= 1
