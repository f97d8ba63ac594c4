"""Claims, judged by hand-made runs: each kind, each verdict; and what may not be judged is not."""

import dataclasses
import math

import miniature as mini
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from simulated import Drawn
from test_effects import FD, LOGS, ROWS, T2, studied

from bench import stats, table, verdicts
from bench.claims import compared, members
from bench.contrasts import seeds_needed
from bench.readings import Reading, Readings
from bench.store import Store
from bench.study_file import Correlation, Difference, Moment

HEAD = FD[: FD.index("claims:")]
TAIL = FD[FD.index("profiles:") :]
PAIR = "left: {{g_norm: adain}}, right: {{g_norm: bn}}"


def judged(folder, *claims, values=LOGS, text=FD, **how):
    """Judge a study of these claims (YAML flow maps without `says`) on the worked example's numbers."""
    folder.mkdir(exist_ok=True)
    lines = "".join(f"  - {{{{says: 'number {place}', {claim}}}}}\n" for place, claim in enumerate(claims))
    head = text[: text.index("claims:")] if "claims:" in text else text
    design, _, _, readings = studied(folder, values, text=f"{head}claims:\n{lines}", **how)
    return verdicts.judge(design, readings)


SPREAD = {  # log2 of fd: bn about 8, adain about 4, none and spectral alike but for noise; five seeds
    "g_norm=bn,d_weight=none": (8.0, 8.1, 7.9, 8.2, 7.8),
    "g_norm=bn,d_weight=spectral": (8.3, 8.1, 8.0, 8.1, 7.9),
    "g_norm=adain,d_weight=none": (4.0, 4.2, 3.9, 4.1, 3.8),
    "g_norm=adain,d_weight=spectral": (4.1, 4.0, 3.8, 4.2, 3.9),
}


def test_difference_supported_refuted_and_undecided(tmp_path):
    lower, higher, open_, wide = judged(
        tmp_path,
        f"kind: difference, {PAIR}, measure: fd, expect: lower",
        f"kind: difference, {PAIR}, measure: fd, expect: higher",
        "kind: difference, left: {{d_weight: spectral}}, right: {{d_weight: none}}, measure: fd, expect: lower",
        f"kind: difference, {PAIR}, measure: fd, expect: lower, margin: 20",
        values=SPREAD,
        seeds=5,
    )
    # adain − bn a seed: ((4.0−8.0)+(4.1−8.3))/2 = −4.1; (−3.9−4.1)/2 = −4; (−4−4.2)/2 = −4.1; (−4.1−3.9)/2 = −4;
    # (−4−4)/2 = −4: mean −4.04, squares 2·0.06² + 3·0.04² = 0.012, sd √(0.012/4), half-width t(4) · sd/√5.
    middle, half, wider = -4.04, *(scipy_stats.t.ppf([0.975, 1 - 0.05 / 8], 4) * math.sqrt(0.003 / 5))
    assert (lower["verdict"], higher["verdict"], open_["verdict"]) == ("supported", "refuted", "undecided")
    assert (lower["estimate"], lower["alone_low"], lower["alone_high"]) == pytest.approx(
        (2**middle, 2 ** (middle - half), 2 ** (middle + half)), rel=1e-6
    )
    assert (lower["low"], lower["high"]) == pytest.approx((2 ** (middle - wider), 2 ** (middle + wider)), rel=1e-6)
    assert (lower["n"], lower["tests"], lower["scale"], lower["metric"]) == (5, 4, "ratio", "fd[random]")
    # A sixteenth is not a twentieth: the whole interval falls short of the margin.
    assert wide["verdict"] == "refuted"
    assert lower["p"] == higher["p"] < wide["p"] and lower["p_holm"] == pytest.approx(4 * lower["p"])
    assert open_["seeds"] > 5 and "seeds would decide it" in open_["why"]
    assert lower["by_seed"]["1"] == pytest.approx(2**-4)


def test_equivalence_by_two_tests(tmp_path):
    alike, apart, close, unsaid = judged(
        tmp_path,
        "kind: equivalence, left: {{d_weight: spectral}}, right: {{d_weight: none}}, measure: fd, margin: 1.5",
        f"kind: equivalence, {PAIR}, measure: fd, margin: 1.5",
        "kind: equivalence, left: {{d_weight: spectral}}, right: {{d_weight: none}}, measure: fd, margin: 1.01",
        "kind: equivalence, left: {{d_weight: spectral}}, right: {{d_weight: none}}, measure: diverged, margin: 0.9",
        values=SPREAD,
        seeds=5,
    )
    assert (alike["verdict"], apart["verdict"], close["verdict"]) == ("supported", "refuted", "undecided")
    # 0 of 10 against 0 of 10: Newcombe's interval is ± z²/(10 + z²) = ± 0.278, within ± 0.9.
    assert unsaid["verdict"] == "supported" and unsaid["alone_high"] == pytest.approx(0.2775, abs=1e-4)
    z = scipy_stats.norm.ppf(1 - 0.05 / 8)
    assert unsaid["high"] == pytest.approx(z**2 / (10 + z**2))


def test_interaction_order_and_threshold(tmp_path):
    values = {
        "g_norm=bn,d_weight=none": (8.0, 8.1, 7.9, 8.2, 7.8),
        "g_norm=bn,d_weight=spectral": (7.1, 6.9, 7.0, 7.1, 6.9),
        "g_norm=adain,d_weight=none": (6.0, 6.2, 5.9, 6.1, 5.8),
        "g_norm=adain,d_weight=spectral": (2.1, 2.0, 1.8, 2.2, 1.9),
    }
    cells = "{{g_norm: adain, d_weight: spectral}}, {{g_norm: adain, d_weight: none}}, {{g_norm: bn, d_weight: none}}"
    both, less, order, wrong, below, above = judged(
        tmp_path,
        "kind: interaction, factors: [g_norm, d_weight], measure: fd",
        "kind: interaction, factors: [g_norm, d_weight], measure: fd, expect: lower, margin: 2",
        f"kind: order, cells: [{cells}], measure: fd, expect: lower",
        f"kind: order, cells: [{cells}], measure: fd, expect: higher",
        "kind: threshold, cells: {{g_norm: adain}}, measure: fd, value: 32, expect: lower",
        "kind: threshold, cells: {{g_norm: adain}}, measure: fd, value: 32, expect: higher",
        values=values,
        seeds=5,
    )
    # (2 − 6) − (7 − 8) = −3 on average: an eighth.
    assert both["verdict"] == less["verdict"] == "supported" and both["estimate"] == pytest.approx(1 / 8)
    assert (order["verdict"], wrong["verdict"]) == ("supported", "refuted")
    assert [step["estimate"] for step in order["steps"]] == pytest.approx([1 / 16, 1 / 4])
    # −3.9, −4.2, −4.1, −3.9, −3.9 and −2, −1.9, −2, −2.1, −2: squares 0.08 and 0.02. Six claims; two steps at once.
    for step, middle, squares in zip(order["steps"], (-4, -2), (0.08, 0.02), strict=True):
        half = scipy_stats.t.ppf(1 - 0.05 / 6 / 2 / 2, 4) * math.sqrt(squares / 4 / 5)
        assert (step["low"], step["high"]) == pytest.approx((2 ** (middle - half), 2 ** (middle + half)))
    assert (order["low"], order["high"]) in [(step["low"], step["high"]) for step in order["steps"]]
    # The mean of logarithms is 4: a geometric mean of 16, below 32.
    assert (below["verdict"], above["verdict"]) == ("supported", "refuted")
    assert (below["estimate"], below["scale"]) == (pytest.approx(16), "mean")


def test_outcomes_are_claimed_by_counts(tmp_path):
    """adain diverges in 9 of 10 runs, bn in none: Barnard's exact p, Newcombe's interval from Wilson's two."""
    more, fewer, rare, often = judged(
        tmp_path,
        f"kind: difference, {PAIR}, measure: diverged, expect: more",
        f"kind: difference, {PAIR}, measure: diverged, expect: fewer",
        "kind: threshold, cells: {{g_norm: bn}}, measure: diverged, value: 0.5, expect: fewer",
        f"kind: difference, {PAIR}, measure: diverged, expect: more, margin: 0.3",
        values=SPREAD,
        seeds=5,
        status=lambda run: "diverged" if "adain" in run.cell.name and (run.seed or "none" in run.cell.name) else "done",
    )
    assert [x["verdict"] for x in (more, fewer, rare, often)] == ["supported", "refuted", "supported", "supported"]
    assert (more["left_runs"], more["right_runs"]) == ([9, 10], [0, 10])
    assert more["p"] == pytest.approx(2 * scipy_stats.barnard_exact([[9, 0], [1, 10]], alternative="greater").pvalue)
    for low, high, level in (("alone_low", "alone_high", 0.95), ("low", "high", 1 - 0.05 / 4)):
        (l1, u1), (l2, u2) = stats.success_interval(9, 10, level), stats.success_interval(0, 10, level)
        assert more[low] == pytest.approx(0.9 - math.hypot(0.9 - l1, u2 - 0))
        assert more[high] == pytest.approx(0.9 + math.hypot(u1 - 0.9, 0 - l2))
        assert [rare[low], rare[high]] == pytest.approx([l2, u2])  # 0 of 10 as well
    assert rare["p"] == pytest.approx(2 * 0.5**10)  # ten heads


def test_correlation_over_runs(tmp_path):
    up, down = judged(
        tmp_path,
        "kind: correlation, x: loss_D, y: fd, expect: positive",
        "kind: correlation, x: fd, y: fd, expect: positive",
    )
    assert up["verdict"] == "not estimable"  # the miniature's losses are all alike
    assert down["verdict"] == "supported" and down["estimate"] == pytest.approx(1) and down["n"] == 4  # cells


def correlated(folder, x, y, **said):
    """Judge a correlation over runs of measures x and y: cell → seed → value."""
    claim = Correlation(says="x", kind="correlation", x="x", y="y", expect="positive", **said)
    design = mini.a_design(folder)
    design = dataclasses.replace(design, study=dataclasses.replace(design.study, claims=(claim,)))
    [one] = verdicts.judge(design, Drawn({}, 0, {"x": x, "y": y}))
    return one


def test_several_cells_are_correlated_by_their_means(tmp_path):
    """Means 1, 2, 3, 4 and 1, 3, 2, 4, to which seeds add the same for both: r = 4 / 5, by hand; n = 4, t = 1.886."""
    add = {0: -1.0, 1: 0.0, 2: 1.0}
    x, y = ({cell: {seed: value + d for seed, d in add.items()} for cell, value in zip(LOGS, means, strict=True)}
            for means in ((1, 2, 3, 4), (1, 3, 2, 4)))  # fmt: skip
    one = correlated(tmp_path, x, y)
    assert one["estimate"] == pytest.approx(0.8) and (one["n"], one["verdict"]) == (4, "undecided")
    assert one["p"] == pytest.approx(0.2)  # of a t of 0.8·√(2 / 0.36) with two degrees of freedom: 1 − t/√(2 + t²)
    # More seeds are no more cells: Fisher's (2.8016 / artanh 0.8)² + 3 = 9.5
    assert one["seeds"] is None and one["why"].endswith("about 10 cells would decide it, not more seeds")
    assert one["pairs"] == [[1, 1], [2, 3], [3, 2], [4, 4]]
    assert one["low"] == pytest.approx(math.tanh(math.atanh(0.8) - 1.959964))  # Fisher's z, whose error is 1 / √(4 − 3)
    # a cell that lacks the one measure is none: three are left
    few = correlated(tmp_path, x, {**y, next(iter(LOGS)): {}})
    assert few["verdict"] == "not estimable" and few["why"].startswith("3 cells have both")


def test_one_cell_is_correlated_over_its_seeds(tmp_path):
    cell = "g_norm=bn,d_weight=none"
    x, y = ({cell: dict(enumerate(values))} for values in ((1.0, 2.0, 3.0, 4.0, 5.0), (2.0, 1.0, 4.0, 5.0, 3.0)))
    one = correlated(tmp_path, x, y, cells={"g_norm": "bn", "d_weight": "none"})
    # deviations −2 … 2 and −1, −2, 1, 2, 0: r = 6 / 10; Fisher's (2.8016 / artanh 0.6)² + 3 = 19.3
    assert one["estimate"] == pytest.approx(0.6) and (one["n"], one["seeds"]) == (5, 20)
    assert one["why"].endswith("about 20 seeds would decide it")


def test_pairs_needed_are_those_of_the_textbook():
    """Hulley et al., Designing Clinical Research, table 6C: 783 and 85 at 5 % and 80 % power."""
    assert (stats.pairs_needed(0.1), stats.pairs_needed(-0.3)) == (783, 85)
    assert stats.pairs_needed(0.0) is None and stats.pairs_needed(0.1, most=782) is None
    assert stats.pairs_needed(1e-300) is None and stats.pairs_needed(1.0) == 4


def test_an_interaction_without_a_sign_is_judged_at_half_the_level(tmp_path):
    """The effect of spectral norm within adain less that within bn, seed by seed: a t test's two-sided p, twice."""
    claim = "kind: interaction, factors: [g_norm, d_weight], measure: fd"
    values = {**SPREAD, "g_norm=adain,d_weight=spectral": (4.5, 4.8, 4.1, 4.9, 4.4)}
    either, more, less = (
        judged(tmp_path / name, f"{claim}{said}", values=values, seeds=5)[0]
        for name, said in (("a", ""), ("b", ", expect: higher"), ("c", ", expect: lower"))
    )
    rows = list(values.values())
    d = [d - c - b + a for a, b, c, d in zip(*rows, strict=True)]
    p = scipy_stats.ttest_1samp(d, 0).pvalue
    assert 0.025 < p < 0.05
    assert more["p"] == less["p"] == pytest.approx(p) and either["p"] == pytest.approx(2 * p)
    assert (more["verdict"], less["verdict"], either["verdict"]) == ("supported", "refuted", "undecided")
    sd = scipy_stats.tstd(d)
    assert either["low"] > 1 and any("either sign would support it" in note for note in either["notes"])
    assert either["seeds"] == seeds_needed(sum(d) / 5, sd, 0.025) > seeds_needed(sum(d) / 5, sd, 0.05)


def test_undecided_outcomes_say_how_many_seeds(tmp_path):
    """2 of 10 runs diverge against none; by Barnard's test with so many times the runs.  0 of 10 against 10 %."""
    how = {"values": SPREAD, "seeds": 5, "status": lambda run: "diverged" if divergent(run) else "done"}

    def divergent(run):
        return run.cell.name == "g_norm=adain,d_weight=none" and run.seed < 2

    def p(times):
        table = [[2 * times, 0], [8 * times, 10 * times]]
        return 2 * scipy_stats.barnard_exact(table, alternative="greater").pvalue

    claims = (f"{PAIR}, measure: diverged, expect: more", "cells: {{g_norm: bn}}, measure: diverged, value: 0.1, ")
    [more] = judged(tmp_path / "a", f"kind: difference, {claims[0]}", **how)
    assert more["verdict"] == "undecided"
    assert more["seeds"] == 5 * next(times for times in range(1, 9) if p(times) <= 0.05)
    assert more["why"].endswith(f"about {more['seeds']} seeds would decide it")
    # 0.9 to the power of 10, 20, 30, 40: 0.015 is the first of at most 0.025
    [rare] = judged(tmp_path / "b", f"kind: threshold, {claims[1]}expect: fewer", **how)
    assert (rare["verdict"], rare["seeds"]) == ("undecided", 20)
    # as many on both sides: never
    [same] = judged(tmp_path / "c", f"kind: difference, {claims[0]}", **{**how, "status": lambda run: "done"})
    assert same["seeds"] is None and same["why"].endswith("not even 1000 seeds would decide it")


def test_a_plan_beyond_200_runs_takes_the_normal_limit_of_barnards_test():
    exact, quick = (stats.rate_tails(90, 300, 110, 300, 0, quick=quick) for quick in (False, True))
    z = (-20 / 300) / math.sqrt(2 / 300 * (1 / 3) * (2 / 3))
    assert quick == pytest.approx((scipy_stats.norm.cdf(z), scipy_stats.norm.sf(z))) and exact[0] != quick[0]
    assert quick[0] == pytest.approx(exact[0], rel=0.1)
    assert stats.rate_tails(0, 300, 0, 300, 0, quick=True) == (1, 1)


def test_correlation_along_the_snapshots_of_each_run(tmp_path, monkeypatch):
    """By hand: ranks 1 2 3 4 against 1 2 4 3 are 1 - 6·2/(4·15) = 0.8, against 4 3 2 1 they are -1; three seeds."""
    orders = {0: (1, 2, 3, 4), 1: (1, 2, 4, 3), 2: (1, 2, 4, 3)}

    def of(self, measure, at="last"):
        place = round(at.kimg) - 1 if at != "last" else 3
        drawn = {seed: float((range(1, 5) if measure == "loss_D" else orders[seed])[place]) for seed in orders}
        return Reading(measure, measure, measure, "metric", "raw", "lower", dict.fromkeys(LOGS, drawn))

    monkeypatch.setattr(Readings, "of", of)
    claim = Correlation(says="x", kind="correlation", x="loss_D", y="fd", over="snapshots", expect="positive")
    design, _, _, readings = studied(tmp_path, LOGS)
    readings._frame = pd.DataFrame({"kimg": [1.0, 2.0, 3.0, 4.0, 4.0]})
    found = readings.ranked_together("loss_D", "fd")
    assert found.cells == dict.fromkeys(LOGS, pytest.approx({0: 1.0, 1: 0.8, 2: 0.8}))
    design = dataclasses.replace(design, study=dataclasses.replace(design.study, claims=(claim,)))
    [one] = verdicts.judge(design, readings)
    sd = math.sqrt(((1 - 2.6 / 3) ** 2 + 2 * (0.8 - 2.6 / 3) ** 2) / 2)
    half = T2 * sd / math.sqrt(3)
    assert (one["estimate"], one["low"], one["high"]) == pytest.approx((2.6 / 3, 2.6 / 3 - half, 2.6 / 3 + half))
    assert one["verdict"] == "supported" and one["n"] == 3 and one["scale"] == "correlation"


def test_three_snapshots_rank_nothing():
    assert stats.rank_correlation([(1, 1), (2, 2), (3, 3)]) is None
    assert stats.rank_correlation([(1, 1), (2, 1), (3, 1), (4, 1)]) is None
    # ranks 1 2 3 4 5 against 2 1 5 3.5 3.5: Pearson's of them is 5.5/√(10 · 9.5), by hand
    pairs = [(1.0, 2.0), (2.0, 1.0), (3.0, 5.0), (4.0, 3.0), (5.0, 3.0)]
    assert stats.rank_correlation(pairs) == pytest.approx(5.5 / math.sqrt(95))


def test_correlation_is_scipys():
    pairs = [(0.0, 1.0), (1.0, 0.5), (2.0, 2.5), (3.0, 2.0), (5.0, 4.0)]
    theirs = scipy_stats.pearsonr(*zip(*pairs, strict=True))
    bounds = theirs.confidence_interval()
    found = stats.correlation(pairs)
    assert (found.r, found.low, found.high) == pytest.approx((theirs.statistic, bounds.low, bounds.high))
    assert 2 * found.p_above == pytest.approx(theirs.pvalue)
    assert stats.correlation(pairs[:3]) is None and stats.correlation([(1.0, y) for _, y in pairs]) is None


def test_what_cannot_be_judged_is_not(tmp_path):
    text = FD.replace("claims:", "probes: false\nclaims:")
    skipped, several, unwatched, later, early, outcome = judged(
        tmp_path,
        f"kind: difference, {PAIR}, measure: fid, expect: lower",
        f"kind: difference, {PAIR}, measure: swd, expect: lower",
        f"kind: difference, {PAIR}, measure: critic_gradient_mean, expect: lower",
        f"kind: difference, {PAIR}, measure: fd, at: 50%, expect: lower",
        f"kind: difference, {PAIR}, measure: fd, at: {{{{seconds: 1}}}}, expect: lower",
        f"kind: difference, {PAIR}, measure: diverged, at: 25%, expect: fewer",
        text=text,
    )
    assert [x["verdict"] for x in (skipped, several)] == ["skipped", "skipped"]
    assert unwatched["verdict"] == "not estimable" and "does not watch critic_gradient" in unwatched["why"]
    assert (later["verdict"], later["why"]) == ("not estimable", "no run has a value at 50%")
    assert early["verdict"] == "not estimable"
    assert (outcome["verdict"], outcome["why"]) == (
        "not estimable",
        "an outcome is of the whole run: it has no other moment",
    )
    assert {x["tests"] for x in (skipped, later)} == {4} and skipped["p"] is None


def test_one_seed_is_never_judged(tmp_path):
    one = judged(tmp_path, f"kind: difference, {PAIR}, measure: fd, expect: lower", seeds=1)[0]
    assert one["verdict"] == "not estimable" and "one seed" in one["why"] and one["p"] is None and one["low"] is None


def test_values_without_spread_are_never_judged(tmp_path):
    """adain,spectral against bn,none in the worked example: −4 in every seed."""
    claim = "left: {{g_norm: adain, d_weight: spectral}}, right: {{g_norm: bn, d_weight: none}}"
    one = judged(tmp_path, f"kind: difference, {claim}, measure: fd, expect: lower")[0]
    assert one["verdict"] == "not estimable" and one["why"] == "every seed gives the same number (0.0625)"


def test_a_claim_at_a_moment_reads_the_snapshot_there(tmp_path):
    """In the miniature fd falls by 10 from snapshot to snapshot, of four: at 25 % it is 30 above the end's."""
    text = f"{HEAD}claims:\n  - {{{{says: x, kind: threshold, cells: {{{{g_norm: bn, d_weight: none}}}}, measure: fd, "
    text += f"at: 25%, value: 50, expect: higher}}}}\n{TAIL}"
    design = mini.a_design(tmp_path, text=text)
    store = Store(tmp_path / "results")
    for run in design.runs:
        mini.write_run(store, run)
        mini.write_scores(store, run, design)
    readings = Readings(design, store, table.collect(design, store))
    first = readings.of("fd", "25%").cells["g_norm=bn,d_weight=none"]
    assert {seed: round(math.exp(value), 6) for seed, value in first.items()} == {0: 130, 1: 131, 2: 132}
    assert readings.of("fd", "30%").reason == "no run has a value at 30%"
    for at in (Moment(kimg=16.0), Moment(g_steps=200)):
        value = readings.of("fd", at).cells["g_norm=bn,d_weight=none"][0]
        assert at.g_steps or round(math.exp(value), 6) == 120
    assert verdicts.judge(design, readings)[0]["verdict"] == "supported"


def test_a_try_out_is_not_judged(tmp_path):
    design, _, _, readings = studied(tmp_path, LOGS)
    quiet = dataclasses.replace(design, study=dataclasses.replace(design.study, evidence=False))
    assert verdicts.judge(quiet, readings) == [] and len(verdicts.judge(design, readings)) == 1


def test_rows_are_compared_by_name(tmp_path):
    values = {"a": (5, 6, 7), "b": (3, 5, 4), "c": (3, 6, 5)}
    one = judged(
        tmp_path,
        "kind: difference, left: {{row: b}}, right: {{row: a}}, measure: fd, expect: lower",
        text=ROWS,
        values=values,
    )[0]
    assert one["estimate"] == pytest.approx(2.0**-2) and one["high"] == pytest.approx(2 ** (-2 + T2 / math.sqrt(3)))


# ---------------------------------------------------------------------------------------------------------
# Which cells.


def a_claim(**said):
    return Difference(says="x", kind="difference", measure="fd", expect="lower", **said)


def test_like_is_compared_with_like(tmp_path):
    text = FD.replace("[bn, adain]", "[bn, in, adain]").replace(
        "seeds:", "exclude: [{{where: {{g_norm: adain, d_weight: none}}, why: 'no'}}]\nseeds:"
    )
    design = mini.a_design(tmp_path, text=text)
    assert len(design.cells) == 5
    # adain stands with spectral alone: there it is compared, and nowhere else.
    sides = compared(a_claim(left={"g_norm": "adain"}, right={"g_norm": ["bn", "in"]}), design)
    assert sides.weights == {
        "g_norm=adain,d_weight=spectral": 1.0,
        "g_norm=bn,d_weight=spectral": -0.5,
        "g_norm=in,d_weight=spectral": -0.5,
    }
    assert sides.notes == ("over 1 of 2 settings of the other factors",)
    both = compared(a_claim(left={"g_norm": "in"}, right={"g_norm": "bn"}), design)
    assert set(both.weights.values()) == {0.5, -0.5} and len(both.weights) == 4
    assert members({"d_weight": "none"}, design) == ["g_norm=bn,d_weight=none", "g_norm=in,d_weight=none"]
    unmatched = compared(a_claim(left={"g_norm": "adain", "d_weight": "spectral"}, right={"g_norm": "bn"}), design)
    # d_weight differs between the sides: left is spectral, right both
    assert unmatched.weights == {
        "g_norm=adain,d_weight=spectral": 1.0,
        "g_norm=bn,d_weight=none": -0.5,
        "g_norm=bn,d_weight=spectral": -0.5,
    }
