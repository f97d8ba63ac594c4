"""What a design can show before it runs, and the commands that say it."""

import dataclasses
import math
import re
import sys

import miniature as mini
import pytest
from test_effects import LOGS, ROWS, studied

from bench import plan, power
from bench.contrasts import detectable, seeds_needed
from bench.store import Store
from bench.study_file import Difference, Equivalence


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("power")
    return folder, *studied(folder, LOGS)


def asked(folder, *arguments):
    return ["bench", str(folder / "miniature.yaml"), "--results", str(folder / "results"), *arguments]


def test_the_spread_is_pooled_over_cells(done):
    """log2 fd: (6, 7, 8), (5, 5, 8), (5, 7, 6), (2, 3, 4): squares 2 + 6 + 2 + 2 = 12 over 4 · 2 degrees of freedom."""
    _, design, store, *_ = done
    found = power.spread(design, store)
    assert found.sd == pytest.approx(math.log(2) * math.sqrt(12 / 8))
    assert (found.measure, found.scale, found.source) == ("fd[random]", "log", "from 12 runs in 4 cells")
    assert power.spread(design, store, sd=0.1) == ("fd", "log", 0.1, "as given")
    assert power.spread(design, store, sd=0.1, measure="ms_ssim").scale == "raw"


def test_what_three_seeds_of_a_two_by_two_can_show(tmp_path):
    """A main effect weighs four cells by ½: its sd a seed is that of a run; an interaction's is twice that."""
    design = mini.a_design(tmp_path)
    said = power.said(design, power.spread(design, Store(tmp_path / "results"), sd=0.1))
    size = detectable(0.1, 3)
    assert size == pytest.approx(0.1 * 3.26, abs=0.001)  # G*Power 3.1: dz = 3.26 for three pairs
    assert f"  main effect of g_norm, d_weight: × {math.exp(size):.3g} or × {math.exp(-size):.2g}" in said
    assert f"  interaction g_norm × d_weight: × {math.exp(2 * size):.3g} or × {math.exp(-2 * size):.2g}" in said
    assert any("cannot reach 0.05 with this design: its least p with 3 seeds is 0.25" in line for line in said)
    # Wilson: none of 3 failed, the upper bound is z²/(3 + z²) = 3.8415/6.8415.
    assert any("may fail up to 56 % of the time" in line for line in said)
    blind = power.said(design, power.spread(design, Store(tmp_path / "results")))
    assert "  main effect of g_norm, d_weight: 3.3 sd" in blind


def test_six_seeds_can_reach_it_and_one_can_show_nothing(tmp_path):
    store = Store(tmp_path / "results")
    six = power.said(design := mini.a_design(tmp_path, seeds=6), power.spread(design, store, sd=0.1))
    assert not any("cannot reach" in line for line in six)
    one = power.said(design := mini.a_design(tmp_path, seeds=1), power.spread(design, store, sd=0.1))
    assert one == ["one seed: no interval, no test, no verdict; two are the least, five decide"]


def test_a_ladder_asks_for_steps(tmp_path):
    design = mini.a_design(tmp_path, text=ROWS)
    found = power.spread(design, Store(tmp_path / "results"), sd=0.1)
    seeds = dict(power.seeds_for(design, found, math.log(0.9)))
    assert seeds["a row against the one before it"] == seeds_needed(math.log(0.9), 0.1 * math.sqrt(2))


def test_the_command_says_how_many_seeds(done, monkeypatch, capsys):
    folder = done[0]
    monkeypatch.setattr(sys, "argv", asked(folder, "--detect", "0.9", "--sd", "0.1"))
    assert plan.main() == 0
    shown = capsys.readouterr().out
    needed = seeds_needed(math.log(0.9), 0.1)
    assert re.search(rf"^ +{needed}  main effect of g_norm, d_weight$", shown, re.M)
    assert re.search(rf"^ +{needed}  claim: AdaIN ends lower than batch norm$", shown, re.M)  # alone in its family
    assert "the study has 3" in shown
    monkeypatch.setattr(sys, "argv", asked(folder))
    assert plan.main() == 0
    assert "from 12 runs in 4 cells" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("measure", "listed"),
    [
        ("ssim", {"ssim"}),
        ("ms_ssim", {"ms"}),
        ("ms_ssim_5s", {"ms"}),
        ("fd", {"fd"}),
        ("fd[random]", {"fd"}),
        ("fid2k", {"fd", "fid"}),
        ("fid", {"fid"}),
        ("fid_infinity", set()),
        ("swd_16", set()),
    ],
)
def test_only_claims_of_an_effect_on_that_measure_are_listed(tmp_path, measure, listed):
    """`ssim` is in `ms_ssim` as text only; on Inception `fd` is `fid2k`; a level of SWD is not SWD."""
    design = mini.a_design(tmp_path)
    sides = {"left": {"d_weight": "spectral"}, "right": {"d_weight": "none"}}
    names = {"ssim": "ssim", "ms": "ms_ssim", "fd": "fd", "fid": "fid", "swd": "swd"}
    claims = (
        *(Difference(says=x, kind="difference", measure=m, expect="lower", **sides) for x, m in names.items()),
        *(Equivalence(says=f"{x} =", kind="equivalence", measure=m, margin=1.1, **sides) for x, m in names.items()),
    )
    design = dataclasses.replace(design, study=dataclasses.replace(design.study, claims=claims))
    found = power.seeds_for(design, power.Spread(measure, "log", 0.1, "as given"), 0.1)
    assert {what for what, _ in found if what.startswith("claim")} == {f"claim: {one}" for one in listed}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--detect", "1"), "has ratios"),
        (("--detect", "-2"), "has ratios"),
        (("--detect", "0", "--measure", "ms_ssim"), "not nothing"),
        (("--sd", "0"), "a spread is due"),
        (("--power", "1"), "between 0 and 1"),
        (("--detect", "0.9", "--measure", "kid"), "say the spread"),
    ],
)
def test_what_is_no_effect_is_bad_input(done, monkeypatch, capsys, arguments, said):
    monkeypatch.setattr(sys, "argv", asked(done[0], *arguments))
    assert plan.exit_code(plan.main) == 2
    assert said in capsys.readouterr().err
