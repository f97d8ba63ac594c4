"""Figures by their structure: what is drawn, where, in which colour."""

import dataclasses

import miniature as mini
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from bench import figures


@pytest.fixture
def design(tmp_path):
    return mini.a_design(tmp_path)


def values(design, fn=lambda number, seed, step: 100.0 - 10 * number + seed - step, status="done"):
    return pd.DataFrame(
        [
            {"cell": cell.name, "seed": seed, "kimg": 8.0 * step, "value": fn(number, seed, step), "status": status}
            for number, cell in enumerate(design.cells)
            for seed in (0, 1, 2)
            for step in (1, 2, 3, 4)
        ]
    )


def test_reference_is_grey_and_a_level_keeps_its_colour(design):
    drawn = figures.looks(design)
    reference, spectral, adain, both = (drawn[cell.name] for cell in design.cells)
    assert reference.colours == (figures.REFERENCE,)
    assert len({*spectral.colours, *adain.colours}) == 2 and figures.REFERENCE not in spectral.colours
    assert both.colours == (*adain.colours, *spectral.colours)  # striped with both its levels
    assert len({look.marker for look in drawn.values()}) == 4
    assert len({look.label for look in drawn.values()}) == 4


def test_labels_say_the_factor_where_the_level_says_little(design):
    cell = dataclasses.replace(design.cells[0], levels={"g_norm": "adain", "pixel_norm": "true"})
    assert figures.short_name(cell, {}) == "adain · pixel_norm=true"
    many = dataclasses.replace(cell, levels={"g_norm": "bn", "d_weight": "none", "mbstd": "4"})
    assert figures.short_name(many, {"g_norm": "bn", "d_weight": "none", "mbstd": "0"}) == "mbstd=4"
    assert figures.short_name(many, many.levels) == "reference"


def test_cells_never_share_a_label(tmp_path):
    """A level that two factors have, or that is a number, stands with its factor: no two cells read alike."""
    factors = "factors:\n  g_weight: [none, spectral]\n  d_weight: [none, spectral]\n  train.lr: [1e-4, 1e-5]\n"
    body, _, rest = mini.STUDY.partition("factors:")
    text = body + factors + rest[rest.index("seeds:") :]
    text = text[: text.index("reference:")] + text[text.index("metrics:") : text.index("claims:")]
    study = mini.a_design(tmp_path, text=text)
    labels = [look.label for look in figures.looks(study).values()]
    assert len(set(labels)) == len(labels) == 8
    assert "train.lr=1e-05" in labels


def test_curves_draw_every_seed_and_the_mean(design):
    drawn = figures.looks(design)
    ax = figures.curves(values(design), drawn, title="FD", scale="log")
    thick = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    assert set(thick) == {look.label for look in drawn.values()}
    first = thick[drawn[design.cells[0].name].label]
    # Mean over seeds 0, 1, 2 of 100 + seed - step is 101 - step.
    np.testing.assert_allclose(first.get_ydata(), [100, 99, 98, 97])
    np.testing.assert_allclose(first.get_xdata(), [8, 16, 24, 32])
    thin = [lines for lines in ax.collections if lines.get_label() == "_seeds"]
    assert [len(lines.get_segments()) for lines in thin] == [3, 3, 3, 3]
    np.testing.assert_allclose(thin[0].get_segments()[2], [[8, 101], [16, 100], [24, 99], [32, 98]])
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "kimg shown to D"


def test_a_diverged_run_ends_in_a_cross(design):
    one_cell = values(design)
    one_cell.loc[(one_cell["cell"] == design.cells[0].name) & (one_cell["seed"] == 1), "status"] = "diverged"
    one_cell = one_cell[(one_cell["status"] == "done") | (one_cell["kimg"] <= 16)]
    ax = figures.curves(one_cell, figures.looks(design), title="FD")
    (crosses,) = [marks for marks in ax.collections if type(marks).__name__ == "PathCollection"]
    np.testing.assert_allclose(crosses.get_offsets(), [(16.0, 100.0 + 1 - 2)])
    assert to_hex(crosses.get_edgecolor()[0]) == figures.looks(design)[design.cells[0].name].colours[0]


def test_a_log_axis_is_not_forced_on_what_is_not_positive(design):
    ax = figures.curves(
        values(design, lambda n, seed, step: seed - 1.0), figures.looks(design), title="KID", scale="log"
    )
    assert ax.get_yscale() == "linear"


def test_references_are_drawn_and_said(design):
    ax = figures.curves(values(design), figures.looks(design), title="t", real=80.0, floor=60.0)
    said = {text.get_text() for text in ax.texts}
    assert {"real images", "noise floor"} <= said
    assert ax.get_ylim()[0] < 60 and any(np.allclose(line.get_ydata(), 80) for line in ax.lines)
    # two lines at almost one height: their names stand a line apart (6.5 pt letters)
    close = figures.curves(values(design), figures.looks(design), title="t", real=80.0, noise=(79.0, 0.9)).texts
    settled = [text for text in close if text.get_text() in ("real images", "evaluation noise")]
    figures.settle(settled[0].figure)
    low, high = sorted((text.get_window_extent() for text in settled), key=lambda box: box.y0)
    assert len(settled) == 2 and low.y1 <= high.y0 + 1
    far = figures.curves(values(design), figures.looks(design), title="t", scale="log", floor=0.5)
    assert far.get_ylim()[0] > 10  # a floor far below does not squeeze the curves
    assert "noise floor: 0.5" in far.get_xlabel()


def test_zeros_have_no_axis_below_them(design):
    ax = figures.curves(values(design, lambda n, seed, step: 0.0), figures.looks(design), title="dead units")
    assert -0.1 < ax.get_ylim()[0] < 0 < ax.get_ylim()[1] == 1


def test_nothing_to_draw_is_drawn(design):
    ax = figures.curves(values(design).iloc[:0], figures.looks(design), title="t", scale="log")
    assert ax.get_title(loc="left") == "t"


def test_names_are_not_read_as_formulas(design):
    drawn = {name: dataclasses.replace(look, label="$x_{") for name, look in figures.looks(design).items()}
    ax = figures.curves(values(design), drawn, title="50 % of $5 & _")
    figures.settle(ax.figure)  # would raise on a broken formula
    assert "$x_{" in {text.get_text() for text in ax.texts}


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ([0.0, 10.0, 20.0], [0.0, 10.0, 20.0]),  # far enough apart: nothing moves
        ([5.0, 5.0], [4.0, 6.0]),  # two on one spot: one gap apart about it
        ([0.0, 1.0, 1.0, 30.0], [2 / 3 - 2, 2 / 3, 2 / 3 + 2, 30.0]),  # three pooled about their mean, 2/3
        ([], []),
    ],
)
def test_spread_by_hand(positions, expected):
    assert figures.spread(positions, 2.0) == pytest.approx(expected)


def test_spread_keeps_order_and_gap():
    positions = np.sort(np.random.default_rng(0).uniform(0, 20, size=12))
    placed = np.array(figures.spread(list(positions), 3.0))
    assert (np.diff(placed) >= 3 - 1e-9).all()
    assert placed.mean() == pytest.approx(positions.mean())


def test_sample_grid_places_mosaics_and_reasons():
    mosaic = np.random.default_rng(0).integers(0, 256, size=(64, 64, 3), dtype=np.uint8)
    figure = figures.sample_grid(
        [[mosaic, "diverged at 8 kimg"], [mosaic, mosaic]], columns=["bn", "adain"], rows=["8 kimg", "16 kimg"]
    )
    axes = figure.axes
    assert [ax.get_title(loc="center") for ax in axes[:2]] == ["bn", "adain"]
    assert [axes[0].get_ylabel(), axes[2].get_ylabel()] == ["8 kimg", "16 kimg"]
    np.testing.assert_array_equal(axes[0].images[0].get_array(), mosaic)
    assert axes[0].images[0].get_interpolation() == "none"
    assert not axes[1].images and axes[1].texts[0].get_text() == "diverged at 8 kimg"
    assert axes[1].patches[0].get_hatch()


def test_a_crowd_is_drawn_by_its_means(design):
    cells = [dataclasses.replace(design.cells[0], name=f"c{n}", levels={"row": f"c{n}"}) for n in range(20)]
    many = dataclasses.replace(design, cells=tuple(cells), runs=())
    ax = figures.curves(values(many), figures.looks(many), title="t")
    assert len(ax.lines) == 20 and not ax.texts


def test_names_break_where_they_can():
    assert figures.style.wrapped("pixel_norm=true", 12) == "pixel_norm=\ntrue"
    assert figures.style.wrapped("diverged at 18 kimg", 12) == "diverged at\n18 kimg"
    assert figures.style.wrapped("short", 12) == "short"
