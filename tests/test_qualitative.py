"""The report's neighbours and interpolations: shown where scoring kept them, and not a word where it did not."""

import base64
import io
import json

import miniature as mini
import numpy as np
import pytest
from PIL import Image

from bench import exhibits
from bench.figures.qualitative import Beside, interpolations, neighbours
from bench.files import publish
from bench.render import qualitative, report
from bench.store import Store

SIDE = 32
HELD_OUT = [20.0, 30.0, 40.0]


def keep(store, run, *, nearest=(10.0, 15.0, 25.0, 35.0), spaces=("pixels", "random"), held_out=True):
    """Leave pictures of known greys and distances: tile (row, column) of space number i is 10 row + column + 100 i."""
    folder = store.run(run.run_id).samples
    rows, columns = np.mgrid[:8, : 1 + exhibits.K]
    for number, space in enumerate(spaces):
        grey = (10 * rows + columns + 100 * number).astype(np.uint8)
        tiles = np.broadcast_to(grey[..., None, None, None], (*grey.shape, SIDE, SIDE, 1))
        said = {
            "space": space,
            "extractor": None if space == "pixels" else space,
            "side": SIDE if space == "pixels" else None,
            "seed": 0,
            "n_train": 80,
            "mirror": False,
            "distances": [[1.0] * 5] * 8,
            "nearest": list(nearest),
            "held_out": {"part": "held_out", "n": 3, "distances": HELD_OUT} if held_out else None,
        }
        publish(exhibits.neighbours_path(folder, mini.LABELS[-1], space), exhibits.encode(tiles, said))
    paths = np.broadcast_to(np.arange(exhibits.STEPS, dtype=np.uint8)[:, None, None, None], (8, 11, SIDE, SIDE, 1))
    said = {"seed": 0, "path": "slerp", "classes": [None] * 8}
    publish(exhibits.interpolations_path(folder, mini.LABELS[-1]), exhibits.encode(paths, said))


def build(folder, prepare):
    design = mini.a_design(folder, text=mini.STUDY.replace("[fd, swd, ms_ssim]", "[fd]"))
    store = Store(folder / "results")
    mini.write_all(design, store)
    prepare(design, store)
    page = report.build(design, store, folder / "reports")
    return page, json.loads((page.parent / "report.json").read_text())


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Every run has pictures, but for those of the third cell; the fourth has no held-out reals and pixels alone."""

    def prepare(design, store):
        first, second, _, fourth = design.cells
        for run in design.runs:
            if run.cell in (first, second):
                keep(store, run)
            elif run.cell == fourth:
                keep(store, run, spaces=("pixels",), held_out=False)

    return build(tmp_path_factory.mktemp("shown"), prepare)


def pictures(page):
    section = page.read_text().partition('id="qualitative"')[2].partition("</section>")[0]
    found = [part.partition('"')[0] for part in section.split('src="data:image/png;base64,')[1:]]
    return section, [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri)))) for uri in found]


def test_the_section_shows_each_cells_median_seed(shown):
    page, said = shown
    medians = said["samples"]["medians"]
    cells = said["qualitative"]["cells"]
    assert [cell["cell"] for cell in cells] == [said["cells"][number]["name"] for number in (0, 1, 3)]
    assert all(cell["seed"] == medians[cell["cell"]] and cell["kimg"] == 32 for cell in cells)
    section, drawn = pictures(page)
    # of two cells: samples, pixels, features, paths; of the last: samples, pixels, paths
    shapes = [picture.shape for picture in drawn]
    assert shapes == [(256, 32), (256, 160), (256, 160), (256, 192)] * 2 + [(256, 32), (256, 160), (256, 192)]
    samples, near, features, paths = (picture[::SIDE, ::SIDE] for picture in drawn[:4])
    assert samples[:, 0].tolist() == [10 * row for row in range(8)]
    assert near[3].tolist() == [31, 32, 33, 34, 35] and features[3].tolist() == [131, 132, 133, 134, 135]
    assert paths[0].tolist() == [0, 2, 4, 6, 8, 10]
    assert "8 samples of bn · d_weight=none, seed 1, 32 kimg" in section
    assert 'href="#qualitative"' in page.read_text()


def test_distances_stand_beside_those_of_held_out_reals(shown):
    page, said = shown
    first, last = said["qualitative"]["cells"][0], said["qualitative"]["cells"][-1]
    # samples' median (15 + 25) / 2 = 20, held-out reals' 30; 10 and 15 are below all of 20, 30, 40
    for space in first["spaces"]:
        assert (space["median"], space["held_out_median"], space["nearer"]) == (20, 30, 2)
        assert space["ratio"] == pytest.approx(2 / 3)
    assert [space["words"] for space in first["spaces"]] == ["pixels", "random features"]
    assert last["spaces"][0]["ratio"] is None and last["spaces"][0]["held_out"] is None
    section, _ = pictures(page)
    for told in ("20.0", "30.0", "0.67", "2 of 4", "80 training images", "3 held-out reals"):
        assert told in section


def test_figures_for_print_say_what_they_show(shown):
    page, _ = shown
    for name in ("neighbours", "interpolations"):
        for form, magic in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
            assert (page.parent / "figures" / f"{name}.{form}").read_bytes().startswith(magic)


def test_without_pictures_there_is_no_section(tmp_path):
    page, said = build(tmp_path, lambda design, store: None)
    assert said["qualitative"] is None
    assert "qualitative" not in page.read_text() and not list((page.parent / "figures").glob("neighbours.*"))
    # Damaged ones are as good as none; whole ones are a reason to build again.
    design = mini.a_design(tmp_path, text=mini.STUDY.replace("[fd, swd, ms_ssim]", "[fd]"))
    store = Store(tmp_path / "results")
    for run in (run for run in design.runs if run.cell == design.cells[0]):
        keep(store, run)
        place = exhibits.interpolations_path(store.run(run.run_id).samples, mini.LABELS[-1])
        place.write_bytes(place.read_bytes()[:80])
    again = report.build(design, store, tmp_path / "reports")
    (cell,) = json.loads((again.parent / "report.json").read_text())["qualitative"]["cells"]
    assert cell["paths"] is None and len(cell["spaces"]) == 2
    assert not (again.parent / "figures" / "interpolations.png").exists()


def test_large_images_are_averaged_and_many_cells_show_fewer():
    tiles = np.zeros((2, 3, 128, 128, 3), np.uint8)
    tiles[..., ::2, :, :] = 200
    small = qualitative._smaller(tiles)
    assert small.shape == (2, 3, 64, 64, 3) and (small == 100).all()
    said = {"nearest": [1.0], "held_out": None}
    for channels, side, cells in ((3, 32, 4), (3, 64, 9), (3, 128, 64)):
        noise = np.random.default_rng(0).integers(0, 256, (8, 6, side, side, channels), np.uint8)
        one = qualitative.Kept(None, "", {"pixels": exhibits.Exhibit(noise, said)}, None)
        rows, shown = qualitative._fitting([one] * cells)
        assert rows in (2, 4, 8) and 1 <= shown <= cells
        assert rows * shown * 12 * 3 * min(side, 64) ** 2 * 4 / 3 <= qualitative.BUDGET


def test_figures_place_pixels_unsmoothed():
    tiles = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 8, 3), np.uint8)
    blocks = [Beside(f"cell {number}", tiles[:, 0], {"nearest": tiles[:, 1:]}) for number in range(3)]
    figure = neighbours(blocks)
    assert len(figure.axes) == 6 and figure.get_figwidth() == 6.75 and neighbours(blocks[:1]).get_figwidth() == 3.25
    assert np.asarray(figure.axes[1].images[0].get_array())[:8, 8:16].tolist() == tiles[0, 2].tolist()
    strips = interpolations([("a · b", tiles), ("a · c", tiles)])
    assert [text.get_text() for text in strips.texts] == ["a\nb", "a\nc"]
    for ax in (*figure.axes, *strips.axes):
        box = ax.get_window_extent()
        height, width = ax.images[0].get_array().shape[:2]
        assert ax.images[0].get_interpolation() == "none"
        assert box.width / width == pytest.approx(box.height / height, rel=1e-6)
