"""Studies to runs: crossing, exclusions, ladders, fractions, selections."""

import itertools
import math
from pathlib import Path

import pytest

from bench import datasets, study
from bench.design import CONFIRM_RUNS, Facts, expand, expand_with, needs_confirmation
from bench.setting import run_id
from bench.study import StudyError, load

HEAD = "study: s\nrecipe: wgan_gp\ndata: {name: faces}\ntrain: {kimg: 4}\n"
SQUARE = HEAD + "factors:\n  g_norm: [bn, adain]\n  d_weight: [none, spectral]\n"


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Write a study, load it with `overrides`, expand it."""
    monkeypatch.chdir(tmp_path)

    def make(text, overrides=(), **options):
        Path("s.yaml").write_text(text)
        return expand_with(load(Path("s.yaml"), None, overrides), lambda data: Facts("f" * 16, 1, 0), **options)

    return make


def names(design):
    return [cell.name for cell in design.cells]


def test_full_crossing(plan):
    design = plan(SQUARE + "seeds: [3, 1]\n")
    assert names(design) == [
        "g_norm=bn,d_weight=none",
        "g_norm=bn,d_weight=spectral",
        "g_norm=adain,d_weight=none",
        "g_norm=adain,d_weight=spectral",
    ]
    assert [cell.levels for cell in design.cells[1:3]] == [
        {"g_norm": "bn", "d_weight": "spectral"},
        {"g_norm": "adain", "d_weight": "none"},
    ]
    # Whole replicates first, and the same seeds in every cell.
    assert [(run.seed, run.cell.name) for run in design.runs] == list(itertools.product([3, 1], names(design)))
    assert len({run.run_id for run in design.runs}) == 8
    assert not design.exclusions


def test_a_run_is_its_resolved_setting(plan):
    for run in plan(SQUARE).runs:
        assert run.run_id == run_id(run.setting)
        assert run.setting.seed == run.seed
        assert (run.setting.g_norm, run.setting.d_weight) == tuple(run.cell.levels.values())
        assert (run.setting.loss, run.setting.train.kimg, run.setting.train.g_steps) == ("wasserstein", 4.0, None)
        assert (run.setting.data.fingerprint, run.setting.data.channels) == ("f" * 16, 1)
        assert run.cell.settings["gp_weight"] == 10.0 and "seed" not in run.cell.settings


def test_studies_that_share_a_cell_share_its_runs(plan):
    square = {run.run_id for run in plan(SQUARE + "resources: {cpus: 7, hours: 3}\nmetrics: [swd]\n").runs}
    text = (
        "study: s\nrecipe: wgan_gp\ntrain: {kimg: 4, lr: 1e-4}\nrows: {only: {g_norm: adain}}\nevaluate: {fakes: 9}\n"
    )
    ladder = {run.run_id for run in plan(text).runs}
    assert ladder < square


def test_own_exclusions(plan):
    text = SQUARE + "exclude: [{where: {g_norm: [adain], d_weight: spectral}, why: too dear}]\n"
    design = plan(text)
    assert len(design.cells) == 3
    (left_out,) = design.exclusions
    assert (left_out.name, left_out.why, left_out.rule) == ("g_norm=adain,d_weight=spectral", "too dear", None)


DENIED = HEAD + "factors:\n  d_norm: [ln, bn]\n  penalty: [gp, clip]\n"


def test_the_rules_exclude(plan):
    design = plan(DENIED)
    assert names(design) == ["d_norm=ln,penalty=gp", "d_norm=ln,penalty=clip", "d_norm=bn,penalty=clip"]
    (left_out,) = design.exclusions
    assert (left_out.name, left_out.rule) == ("d_norm=bn,penalty=gp", 1)
    assert "mixes the samples" in left_out.why


def test_force_runs_what_the_rules_deny_and_marks_it(plan):
    text = DENIED + "force: [{where: {d_norm: bn}, why: to show that it fails}]\n"
    design = plan(text)
    assert not design.exclusions
    forced = {cell.name: cell.forced for cell in design.cells if cell.forced}
    assert forced == {"d_norm=bn,penalty=gp": "to show that it fails"}
    assert {run.cell.name for run in design.runs if run.setting.forced} == set(forced)
    unforced = {run.run_id for run in plan(DENIED).runs}
    assert unforced < {run.run_id for run in design.runs}  # what is legal keeps its id under `force`


def test_warnings_are_said(plan):
    design = plan(SQUARE + "pixel_norm: true\n")
    assert all(any("(rule 11)" in warning for warning in cell.warnings) for cell in design.cells)
    assert [any("(rule 27)" in warning for warning in cell.warnings) for cell in design.cells] == [False] * 2 + [
        True
    ] * 2


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (HEAD + "rows:\n  a: {}\n  b: {d_norm: bn}\n", "s.yaml:7:6"),
        (DENIED + "reference: {d_norm: bn}\n", "s.yaml:8:12"),
        (DENIED + "design: one_at_a_time\nreference: {d_norm: bn}\n", "s.yaml:9:12"),
    ],
)
def test_a_denied_cell_named_by_hand_is_a_mistake(plan, text, place):
    with pytest.raises(StudyError, match=r"mixes the samples.*\(rule 1\)") as caught:
        plan(text)
    assert [problem.place for problem in caught.value.problems] == [place]


def test_an_excluded_reference_is_a_mistake(plan):
    with pytest.raises(StudyError, match="is the reference and excluded: why not"):
        plan(SQUARE + "reference: {g_norm: bn}\nexclude: [{where: {g_norm: bn}, why: why not}]\n")


def test_no_cell_left(plan):
    with pytest.raises(StudyError, match=r"no cell is left: batch norm in D .*\(rule 1\)"):
        plan(SQUARE + "d_norm: bn\n")


def test_a_size_that_one_of_the_networks_cannot_make_is_excluded(plan):
    design = plan(HEAD + "factors: {network: [dcgan, sndcgan], data.size: [32, 48]}\n")
    assert [(item.name, item.rule) for item in design.exclusions] == [("network=dcgan,data.size=48", 25)]


def test_one_at_a_time(plan):
    text = HEAD + "factors:\n  g_norm: [bn, in, adain]\n  mbstd: [0, 4]\n  sle: [none, sle]\n"
    design = plan(text + "reference: {g_norm: in, sle: sle}\ndesign: one_at_a_time\n")
    assert [tuple(cell.levels.values()) for cell in design.cells] == [
        ("in", "0", "sle"),
        ("bn", "0", "sle"),
        ("adain", "0", "sle"),
        ("in", "4", "sle"),
        ("in", "0", "none"),
    ]


def test_a_ladder(plan):
    design = plan(HEAD + "rows:\n  a: {}\n  b: {from: a, set: {mbstd: 4}}\n  c: {from: b, set: {equalized: true}}\n")
    assert [(cell.name, cell.levels) for cell in design.cells] == [(name, {"row": name}) for name in "abc"]
    settings = [run.setting for run in design.runs[:3]]
    assert [(s.mbstd, s.equalized) for s in settings] == [(0, False), (4, False), (4, True)]


# ---------------------------------------------------------------------------------------------------------
# Fractions.

SEVEN = (
    "study: s\nrecipe: dcgan\ntrain: {kimg: 4}\nd_norm: none\nfactors:\n  g_norm: [bn, adain]\n"
    "  d_weight: [none, spectral]\n  penalty: [none, gp]\n  mbstd: [0, 4]\n  pixel_norm: [false, true]\n"
    "  equalized: [false, true]\n  sle: [none, sle]\n"
)


def signs(design):
    """Return each cell as factor → ±1, +1 at the reference's level."""
    return [
        {f: 1 if level == design.study.reference[f] else -1 for f, level in cell.levels.items()}
        for cell in design.cells
    ]


def contrast(rows, effect):
    return tuple(math.prod(row[factor] for factor in effect) for row in rows)


@pytest.mark.parametrize(("fraction", "cells"), [("1/2", 64), ("1/8", 16)])
def test_a_fraction(plan, fraction, cells):
    design = plan(SEVEN + f"design: {{fraction: {fraction}}}\nreference: {{mbstd: 4}}\n")
    rows = signs(design)
    assert len(rows) == cells
    assert dict.fromkeys(design.study.factors, 1) in rows  # the reference is among the cells
    factors = list(design.study.factors)
    effects = [(f,) for f in factors] + list(itertools.combinations(factors, 2))
    columns = {effect: contrast(rows, effect) for effect in effects}
    assert all(sum(column) == 0 for column in columns.values())  # balanced, and orthogonal pairs
    # Resolution IV: no effect of one factor equals, up to sign, another of one or two factors.
    for one, other in itertools.combinations(effects, 2):
        aliased = columns[one] in (columns[other], tuple(-x for x in columns[other]))
        assert not (aliased and len(one) == 1)
    # The aliases that are told are those that are.
    groups: dict[tuple[int, ...], set[str]] = {}
    for effect in effects:
        groups.setdefault(columns[effect], set()).add("×".join(effect))
    assert {frozenset(line.split(" = ")) for line in design.aliases} == {
        frozenset(group) for group in groups.values() if len(group) > 1
    }


def test_a_fraction_by_generators(plan):
    text = SEVEN + "design: {fraction: 1/2, generators: {penalty: [g_norm, sle, mbstd]}}\n"
    rows = signs(plan(text))
    assert len(rows) == 64
    assert all(row["penalty"] == row["g_norm"] * row["sle"] * row["mbstd"] for row in rows)


def test_a_fraction_of_low_resolution_must_be_asked_for(plan):
    """Seven factors in eight cells have resolution III at best; resolution IV takes sixteen (the 2^(7-3) design)."""
    with pytest.raises(StudyError, match=r"has resolution 3.*resolution 4 takes 16 cells, 1/8"):
        plan(SEVEN + "design: {fraction: 1/16}\n")
    design = plan(SEVEN + "design: {fraction: 1/16, resolution: 3}\n")
    assert len(design.cells) == 8
    assert len(design.aliases) == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            SEVEN.replace("[0, 4]", "[0, 4, all]") + "design: {fraction: 1/2}\n",
            "needs two levels in each factor, not 3",
        ),
        (SEVEN + "design: {fraction: 1/2}\nexclude: [{where: {sle: sle}, why: x}]\n", "nothing can be excluded"),
        (SEVEN + "design: {fraction: 1/4, generators: {sle: [mbstd, g_norm]}}\n", "takes 2 generators"),
        (SEVEN + "design: {fraction: 1/2, generators: {sle: [mbstd, gnorm]}}\n", "did you mean g_norm?"),
        (HEAD + "rows: {a: {}}\ndesign: one_at_a_time\n", "`design` is for factors"),
    ],
)
def test_fractions_that_cannot_be(plan, text, message):
    with pytest.raises(StudyError) as caught:
        plan(text)
    assert message in str(caught.value)


# ---------------------------------------------------------------------------------------------------------
# Selections.


def test_only(plan):
    design = plan(SQUARE, only=["g_norm=adain,seed=0", "seed=2"])
    assert [(run.seed, run.cell.levels["g_norm"]) for run in design.runs] == [(0, "adain")] * 2 + [(2, "adain")] * 2
    assert len(design.cells) == 2
    assert len(plan(SQUARE, only=["g_norm=adain,g_norm=bn,d_weight=none"]).cells) == 2
    assert names(plan(HEAD + "rows: {a: {}, b: {g_norm: in}}\n", only=["row=b"])) == ["b"]


def test_limit(plan):
    assert [run.run_id for run in plan(SQUARE, limit=5).runs] == [run.run_id for run in plan(SQUARE).runs[:5]]
    assert len(plan(SQUARE, limit=3).cells) == 3
    with pytest.raises(StudyError, match="at least 1"):
        plan(SQUARE, limit=0)


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("g_norm=adan", "g_norm has no level 'adan'; it has bn, adain (did you mean adain?)"),
        ("gnorm=adain", "did you mean g_norm?"),
        ("seed=7", "seed has no level '7'; it has 0, 1, 2"),
        ("adain", "FACTOR=LEVEL is due"),
    ],
)
def test_a_selection_that_matches_nothing(plan, only, message):
    with pytest.raises(StudyError) as caught:
        plan(SQUARE, only=[only])
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"--only {only}: ")


def test_a_selection_outside_the_design(plan):
    with pytest.raises(StudyError, match="--only g_norm=adain,d_weight=spectral: s has no such cell"):
        plan(SQUARE + "design: one_at_a_time\n", only=["g_norm=adain,d_weight=spectral"])


def test_a_typo_that_makes_ten_thousand_cells_asks(plan, tmp_path):
    assert needs_confirmation(plan(SQUARE).study) is None
    factors = "".join(
        f"  {name}: [{', '.join(map(str, range(1, 11)))}]\n" for name in ("g_width", "d_width", "z_dim", "max_width")
    )
    Path("s.yaml").write_text(HEAD + "factors:\n" + factors)
    said = needs_confirmation(load(Path("s.yaml")))
    assert said == "s: 10,000 cells × 3 seeds = 30,000 runs"
    assert needs_confirmation(load(Path("s.yaml"), None, ["design=one_at_a_time"])) is None
    just = load(Path("s.yaml"), None, ["design=one_at_a_time", f"seeds={-(-CONFIRM_RUNS // 37)}"])
    assert needs_confirmation(just) is not None


# ---------------------------------------------------------------------------------------------------------
# What the plan fills in.


def test_facts_come_from_the_data(plan, tmp_path):
    made = plan(SQUARE)
    design = expand(made.study, root=tmp_path, cache=tmp_path / "cache")
    data = design.runs[0].setting.data
    assert data.channels == datasets.describe(data, tmp_path).channels
    assert (
        data.fingerprint
        == datasets.fingerprint(data, tmp_path, tmp_path / "cache")
        != made.runs[0].setting.data.fingerprint
    )


def test_a_source_is_in_the_runs_that_use_it(plan, tmp_path):
    (tmp_path / "mylab.py").write_text("class Evo: pass\n")
    text = SQUARE.replace("adain", "mylab:Evo")
    before = plan(text)
    assert {run.cell.levels["g_norm"]: bool(run.setting.sources) for run in before.runs} == {
        "bn": False,
        "mylab:Evo": True,
    }
    (tmp_path / "mylab.py").write_text("class Evo: x = 1\n")
    after = plan(text)
    same = [old.run_id == new.run_id for old, new in zip(before.runs, after.runs, strict=True)]
    assert same == [run.cell.levels["g_norm"] == "bn" for run in before.runs]


def test_the_shipped_grid_is_legal_and_crosses_in_full():
    s = load(study.find("normalization"), None, ["design=full"])
    design = expand_with(s, lambda data: Facts("f", 3, 10))
    assert (len(design.cells), len(design.runs), design.exclusions) == (128, 640, ())
    assert len({run.run_id for run in design.runs}) == 640
    alone = expand_with(load(study.find("normalization")), lambda data: Facts("f", 3, 10))
    assert len(alone.cells) == 8
    assert {run.run_id for run in alone.runs} < {run.run_id for run in design.runs}
