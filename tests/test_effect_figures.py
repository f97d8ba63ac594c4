"""Forests, crossings of two factors and ladders, by what is drawn and where."""

import dataclasses
import itertools
import math

import miniature as mini
import numpy as np
import pytest
from matplotlib.colors import to_hex

from bench import figures
from bench.contrasts import contrast, noise_gain
from bench.figures.forest import LONGEST, limits
from bench.figures.interaction import parallels
from bench.questions import crossings, questions
from bench.render.answers import sentence

SHORT = figures.Effect("Main effects", "a", "× 0.5", 0.5, 0.4, 0.625, (0.4, 0.625), True, (0.8, 1.25), "#0072b2")
WIDE = SHORT._replace(label="b", estimate=2.0, low=1e-6, high=4e6, noise=None, seeds=(2.0,))
GREY = SHORT._replace(group="Interactions", label="c", greyed=True, whole=False, noise=None)


def marks(ax, marker):
    return [line for line in ax.lines if line.get_marker() == marker]


def artist(ax, kind, zorder):
    (found,) = [one for one in ax.collections if type(one).__name__ == kind and one.get_zorder() == zorder]
    return found


def estimates(ax):
    return artist(ax, "PathCollection", 6)


def seeds_of(ax):
    return artist(ax, "PathCollection", 3)


def bars_of(ax):
    return artist(ax, "LineCollection", 4).get_segments()


def test_a_forest_has_a_row_an_effect():
    ax = figures.forest([SHORT, WIDE, GREY], scale="ratio", label="ratio of fd")
    figures.settle(ax.figure)
    assert ax.get_xscale() == "log" and ax.get_xlabel() == "ratio of fd"
    # Two groups: their names take the rows 0 and 3; the first effect stands on top.
    assert dict(zip((t.get_text() for t in ax.get_yticklabels()), ax.get_yticks(), strict=True)) == {
        "a": 1, "b": 2, "c": 4,
    }  # fmt: skip
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    np.testing.assert_allclose(estimates(ax).get_offsets(), [(0.5, 1), (2.0, 2), (0.5, 4)])
    np.testing.assert_allclose(bars_of(ax)[0], [(0.4, 1), (0.625, 1)])
    (none,) = [line for line in ax.lines if list(line.get_xdata()) == [1, 1]]
    assert none.get_ydata()[0] == 0  # over the whole height
    seeds = [(0.4, 1.27), (0.625, 1.27), (2.0, 2.27), (0.4, 4.27), (0.625, 4.27)]
    np.testing.assert_allclose(seeds_of(ax).get_offsets(), seeds)
    said = {text.get_text() for text in ax.texts}
    assert {"Main effects", "Interactions", "× 0.5"} <= said


def test_noise_is_a_band_of_its_rows_height():
    ax = figures.forest([SHORT, WIDE], scale="ratio", label="")
    (band,) = artist(ax, "PolyCollection", 0).get_paths()
    corners = band.get_extents()
    assert (corners.x0, corners.x1) == pytest.approx((0.8, 1.25))
    assert (corners.y0, corners.y1) == (-0.5, 0.5)


def test_an_interval_that_would_squash_the_others_is_cut_off_by_an_arrow():
    ax = figures.forest([SHORT, WIDE], scale="ratio", label="")
    low, high = limits([SHORT, WIDE], "ratio")
    # The farthest of estimates, seeds and noise is 0.4: intervals are cut at 0.4 to the power of LONGEST and beyond.
    assert low < 0.4**LONGEST < 0.4 and low > 1e-6 and high < 4e6
    assert [marks(ax, sign)[0].get_xdata()[0] for sign in "<>"] == pytest.approx([low, high])
    assert not marks(figures.forest([SHORT], scale="ratio", label=""), "<")


def test_survivors_are_hollow_and_grey():
    ax = figures.forest([GREY], scale="ratio", label="")
    (inside,), (outline,) = estimates(ax).get_facecolor(), estimates(ax).get_edgecolor()
    assert to_hex(inside) == figures.PAPER and to_hex(outline) == figures.MUTED
    assert not seeds_of(ax).get_facecolor()[:, 3].any()  # the estimate is not the mean of these seeds


def test_one_seed_has_no_bar():
    alone = SHORT._replace(low=None, high=None, seeds=(0.5,), noise=None)
    ax = figures.forest([alone], scale="ratio", label="")
    assert len(estimates(ax).get_offsets()) == 1 and not bars_of(ax)


# ---------------------------------------------------------------------------------------------------------
# Two factors at a time.

MEANS = {("bn", "none"): 2.0**7, ("bn", "spectral"): 2.0**6, ("adain", "none"): 2.0**6, ("adain", "spectral"): 2.0**3}
"""Of the worked example (test_effects): geometric means of each cell."""


def test_the_dashed_line_is_where_effects_multiply_by_hand():
    """bn → adain halves under none (2⁷ → 2⁶), so spectral would go from 2⁶ to 2⁵; it is at 2³: off by 2⁻², which is
    the interaction of the worked example.  On a raw scale: 64 + (64 − 128) = 0."""
    points = {pair: (value, {}) for pair, value in MEANS.items()}
    (line,) = parallels(points, ["bn", "adain"], ["none", "spectral"], "log").values()
    assert line == {"bn": 2.0**6, "adain": 2.0**5}
    assert MEANS["adain", "spectral"] / line["adain"] == 2.0**-2
    assert parallels(points, ["bn", "adain"], ["none", "spectral"], "raw") == {"spectral": {"bn": 64.0, "adain": 0.0}}
    del points["bn", "spectral"]
    assert parallels(points, ["bn", "adain"], ["none", "spectral"], "log") == {}


def test_lines_by_level_with_their_names_and_seeds():
    points = {pair: (value, {"0": value / 2, "1": value * 2}) for pair, value in MEANS.items()}
    lines = {
        "none": figures.Look((figures.REFERENCE,), "o", "none"),
        "spectral": figures.Look(("#d55e00",), "s", "spectral"),
    }
    ax = figures.interaction(points, ["bn", "adain"], lines, scale="log", title="FD", factor="g_norm")
    drawn = {label: [line for line in ax.lines if line.get_label() == label] for label in (*lines, "_parallel")}
    assert list(drawn["spectral"][0].get_ydata()) == [2.0**6, 2.0**3] and drawn["spectral"][0].get_color() == "#d55e00"
    seeds = [one.get_segments() for one in ax.collections if one.get_label() == "_seeds"]
    np.testing.assert_allclose(seeds[1], [[(0, 2.0**5), (1, 2.0**2)], [(0, 2.0**7), (1, 2.0**4)]])
    assert len(seeds[0]) == 2 and list(drawn["_parallel"][0].get_ydata()) == [2.0**6, 2.0**5]
    assert drawn["_parallel"][0].is_dashed() and ax.get_yscale() == "log" and ax.get_xlabel() == "g_norm"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["bn", "adain"]
    assert {"none", "spectral"} <= {text.get_text() for text in ax.texts}
    del points["adain", "spectral"]  # its line stops early, and has its name all the same
    ax = figures.interaction(points, ["bn", "adain"], lines, scale="log", title="FD", factor="g_norm")
    assert {"none", "spectral"} <= {text.get_text() for text in ax.texts}


THREE = mini.STUDY.replace("  d_weight: [none, spectral]\n", "  d_weight: [none, spectral]\n  mbstd: [0, 4]\n").replace(
    "d_weight: none}}", 'd_weight: none, mbstd: "0"}}', 1
)


def of(kind, design, known=None):
    return {question.factors: question for question in questions(design, known) if question.kind == kind}


def departure(found, crossing):
    """The difference of differences of the means at the corners."""
    one, other = crossing.levels
    at = {pair: contrast(found, crossing.weights[pair]).estimate for pair in itertools.product(one[:2], other[:2])}
    return at[one[1], other[1]] - at[one[0], other[1]] - at[one[1], other[0]] + at[one[0], other[0]]


def test_crossings_depart_from_parallel_by_the_interaction(tmp_path):
    text = THREE[: THREE.index("claims:")] + THREE[THREE.index("profiles:") :]
    design = mini.a_design(tmp_path, text=text)
    rng = np.random.default_rng(0)
    found = {cell.name: dict(enumerate(rng.normal(size=3))) for cell in design.cells}
    assert [one.factors for one in crossings(design)] == [
        ("g_norm", "d_weight"),
        ("g_norm", "mbstd"),
        ("d_weight", "mbstd"),
    ]
    for one in crossings(design):
        assert all(math.isclose(sum(weights.values()), 1) for weights in one.weights.values()) and one.over == (2, 2)
        whole = contrast(found, of("interaction", design)[one.factors].weights)
        assert departure(found, one) == pytest.approx(whole.estimate)
    # With a cell lost, all corners are averaged over the setting that is left, as the contrast is.
    lost = design.cells[-1]
    known = [cell.name for cell in design.cells if cell != lost]
    for one in crossings(design, known):
        assert one.over == (1, 2) and all(len(weights) == 1 for weights in one.weights.values())
        left = contrast(found, of("interaction", design, known)[one.factors].weights)
        assert departure(found, one) == pytest.approx(left.estimate)
    assert crossings(design, []) == []


def test_a_missing_corner_leaves_no_crossing(tmp_path):
    design = mini.a_design(tmp_path)
    assert len(crossings(design)) == 1
    assert crossings(design, [cell.name for cell in design.cells[:3]]) == []


def test_a_fractions_crossing_departs_by_the_aliased_sum(tmp_path):
    from test_effects import FRACTION

    design = mini.a_design(tmp_path, text=FRACTION)
    rng = np.random.default_rng(1)
    found = {cell.name: {0: float(rng.normal())} for cell in design.cells}
    made = crossings(design)
    assert len(made) == 6
    for one in made:
        asked = of("interaction", design)[one.factors]
        assert departure(found, one) == pytest.approx(contrast(found, asked.weights).estimate)
    assert crossings(design, [cell.name for cell in design.cells[1:]]) == []


def test_the_noise_of_an_effect_is_that_of_simulated_noise():
    """√(Σ w²/n): of a difference of two cells with 3 and 2 seeds, √(1/3 + 1/2)."""
    cells = {"a": {0: 0.0, 1: 0.0, 2: 0.0}, "b": {0: 0.0, 1: 0.0}}
    assert noise_gain(cells, {"a": 1.0, "b": -1.0}) == pytest.approx(math.sqrt(1 / 3 + 1 / 2))
    rng = np.random.default_rng(0)
    drawn = [
        contrast({c: {s: rng.normal() for s in found} for c, found in cells.items()}, {"a": 1.0, "b": -1.0}).estimate
        for _ in range(4000)
    ]
    assert np.std(drawn) == pytest.approx(math.sqrt(5 / 6), rel=0.05)  # its own sd is 1.1 %
    assert noise_gain({"a": {0: 1.0}}, {"a": 1.0, "b": -1.0}) is None


# ---------------------------------------------------------------------------------------------------------
# Ladders.


def test_a_ladders_dots_values_and_steps():
    value = SHORT._replace(estimate=10.0, low=8.0, high=12.0, seeds=(9.0, 11.0), noise=None)
    rungs = [
        figures.Rung("a", (False, False), value, None),
        figures.Rung("b", (True, False), value._replace(estimate=5.0), SHORT),
        figures.Rung("c", (True, True), None, None),
    ]
    figure = figures.ladder(rungs, ["growth", "mbstd"], scale="ratio", value_label="SWD", step_label="ratio")
    figures.settle(figure)
    dots, values, steps = figure.axes
    assert [t.get_text() for t in dots.get_yticklabels()] == ["a", "b", "c"]
    assert [t.get_text() for t in dots.get_xticklabels()] == ["growth", "mbstd"]
    ink = {
        tuple(at)
        for c in dots.collections
        for at in c.get_offsets()
        if len(c.get_offsets()) and tuple(c.get_facecolor()[0][:3]) < (0.2, 0.2, 0.2)
    }
    assert ink == {(0, 1), (0, 2), (1, 2)}
    np.testing.assert_allclose(estimates(values).get_offsets(), [(10.0, 0), (5.0, 1)])
    np.testing.assert_allclose(estimates(steps).get_offsets(), [(0.5, 1)])
    assert values.get_xscale() == steps.get_xscale() == "log"


# ---------------------------------------------------------------------------------------------------------
# Sentences.

ROW = {
    "kind": "main", "effect_of": "d_weight: spectral", "against": "none", "scale": "ratio", "text": "× 0.82",
    "interval": "[0.71, 0.95]", "excludes_none": True, "n": 5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "d_weight: spectral instead of none multiplies FID by 0.82 [0.71, 0.95], n = 5 seeds."),
        (
            {"interval": "[0.71, 1.1]", "excludes_none": False},
            "Whether d_weight: spectral instead of none changes FID is open: × 0.82 [0.71, 1.1], n = 5 seeds.",
        ),
        (
            {"interval": "", "excludes_none": False, "n": 1},
            "d_weight: spectral instead of none goes with × 0.82 in FID; one seed says nothing of the spread.",
        ),
        (
            {"kind": "step", "effect_of": "b", "against": "a", "scale": "difference", "text": "−0.2"},
            "b after a moves FID by −0.2 [0.71, 0.95], n = 5 seeds.",
        ),
    ],
)
def test_a_sentence_claims_a_sign_only_where_the_interval_has_one(changed, said):
    assert sentence({**ROW, **changed}, "FID") == said


def test_every_level_but_the_references_has_a_colour(tmp_path):
    design = mini.a_design(tmp_path)
    colours = figures.level_colours(design)
    assert set(colours) == {("g_norm", "adain"), ("d_weight", "spectral")}
    assert figures.REFERENCE not in colours.values()
    looks = figures.looks(design)
    alone = next(cell for cell in design.cells if cell.levels == {"g_norm": "adain", "d_weight": "none"})
    assert looks[alone.name].colours == (colours["g_norm", "adain"],)
    assert figures.level_colours(dataclasses.replace(design, cells=design.cells[:1])) == {}
