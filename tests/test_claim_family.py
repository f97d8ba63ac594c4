"""The claims of a study are one family: what Holm decides of them, and the intervals that hold for all at once."""

import math

import pytest
from scipy import stats as scipy_stats
from test_effects import T2
from test_verdicts import PAIR, SPREAD, judged

CLEAR = f"kind: difference, {PAIR}, measure: fd, expect: lower"


def test_holm_takes_what_stands_alone(tmp_path):
    """Main effect of spectral norm in the worked example: t = −2√3, p = 0.0742; with more claims it is less clear."""
    one = judged(
        tmp_path,
        "kind: difference, left: {{d_weight: spectral}}, right: {{d_weight: none}}, measure: fd, expect: lower",
        f"kind: difference, {PAIR}, measure: fd, expect: lower",
    )
    assert [round(x["p"], 4) for x in one] == [0.0742, 0.0742] and [round(x["p_holm"], 4) for x in one] == [0.1484] * 2
    assert {x["verdict"] for x in one} == {"undecided"}
    # By seed −2, −3, −1. With 2 degrees of freedom t(P) = (2P − 1) / √(2P(1 − P)); P = 1 − 0.05 / (2 · 2) gives 6.205.
    t = 0.975 / math.sqrt(2 * 0.9875 * 0.0125)
    assert t == pytest.approx(6.2053, abs=1e-4)
    said = one[0]
    for bounds, wide in ((("low", "high"), t), (("alone_low", "alone_high"), T2)):
        expected = [2 ** (-2 + sign * wide / math.sqrt(3)) for sign in (-1, 1)]
        assert [said[bound] for bound in bounds] == pytest.approx(expected)
    assert said["interval_kind"] == "95 % simultaneous over 2 claims"
    assert "[0.0209, 3] (95 % simultaneous over 2 claims), n = 3" in said["why"]


def test_one_claim_has_one_interval(tmp_path):
    [one] = judged(tmp_path, CLEAR, values=SPREAD, seeds=5)
    assert (one["low"], one["high"]) == (one["alone_low"], one["alone_high"]) and one["interval_kind"] == "95 %"
    assert "simultaneous" not in one["why"] and not any("interval" in note for note in one["notes"])


def test_what_holm_decides_beyond_bonferroni_is_said(tmp_path):
    """Two claims: the clear one first, then the other needs p ≤ 0.05, while its interval is at 97.5 %."""
    values = {**SPREAD, "g_norm=adain,d_weight=spectral": (4.5, 4.8, 4.1, 4.9, 4.4)}
    clear, later = judged(
        tmp_path,
        CLEAR,
        "kind: interaction, factors: [g_norm, d_weight], measure: fd, expect: higher",
        values=values,
        seeds=5,
    )
    assert 0.025 < later["p"] == later["p_holm"] <= 0.05 and later["verdict"] == clear["verdict"] == "supported"
    assert later["low"] < 1 < later["alone_low"]
    assert [
        n for n in later["notes"] if n.startswith("decided although the interval holds 1: it is one for all 2 claims")
    ]
    assert not any("although" in note for note in clear["notes"])


def test_a_claim_that_holm_alone_leaves_open_says_so(tmp_path):
    near = {**SPREAD, "g_norm=bn,d_weight=none": (4.4, 4.55, 4.25, 4.2, 4.35)}
    claims = ["kind: difference, left: {{g_norm: adain, d_weight: none}}, right: {{g_norm: bn, d_weight: none}}, "]
    alone = judged(tmp_path, claims[0] + "measure: fd, expect: lower", values=near, seeds=5)
    assert alone[0]["verdict"] == "supported"
    many = [claims[0] + "measure: fd, expect: lower"] + [
        "kind: difference, left: {{d_weight: spectral}}, right: {{d_weight: none}}, measure: diverged, expect: fewer"
    ] * 40
    crowd = judged(tmp_path, *many, values=near, seeds=5)
    assert crowd[0]["verdict"] == "undecided" and crowd[0]["p"] == alone[0]["p"]
    assert any("alone it would be decided" in note for note in crowd[0]["notes"])


def test_an_exact_test_may_decide_what_its_interval_does_not(tmp_path):
    """4 of 20 against 0 of 20: Newcombe's interval begins below 0 (at −0.0005), twice Barnard's p is 0.039."""
    [one] = judged(
        tmp_path,
        f"kind: difference, {PAIR}, measure: diverged, expect: more",
        values={cell: [float(seed) for seed in range(10)] for cell in SPREAD},
        seeds=10,
        status=lambda run: "diverged" if "adain" in run.cell.name and run.seed < 2 else "done",
    )
    assert (one["verdict"], round(one["p"], 3)) == ("supported", 0.039) and -0.001 < one["low"] < 0
    assert "decided although the interval holds 0: it is an approximation, which the test is not" in one["notes"]


def test_an_interval_that_decides_more_than_its_test(tmp_path):
    """3 of 5 against 0 of 5: Newcombe's interval begins at 0.03, twice Barnard's p is 0.058."""
    [one] = judged(
        tmp_path,
        "kind: difference, left: {{g_norm: adain, d_weight: none}}, right: {{g_norm: bn, d_weight: none}}, "
        "measure: diverged, expect: more",
        values=SPREAD,
        seeds=5,
        status=lambda run: "diverged" if run.cell.name == "g_norm=adain,d_weight=none" and run.seed < 3 else "done",
    )
    assert one["verdict"] == "undecided" and one["low"] > 0
    assert "the interval excludes 0, the test does not: the interval is an approximation" in one["notes"]


def test_the_steps_of_one_order_share_its_interval(tmp_path):
    """One claim of two steps: 0.025 < p < 0.05 of the weaker decides, each by itself; its interval is at 97.5 %."""
    values = {**SPREAD, "g_norm=bn,d_weight=spectral": (8.5, 8.2, 7.9, 8.7, 8.2)}
    cells = "{{g_norm: adain, d_weight: none}}, {{g_norm: bn, d_weight: none}}, {{g_norm: bn, d_weight: spectral}}"
    [one] = judged(tmp_path, f"kind: order, cells: [{cells}], measure: fd, expect: lower", values=values, seeds=5)
    difference = [
        a - b for a, b in zip(values["g_norm=bn,d_weight=none"], values["g_norm=bn,d_weight=spectral"], strict=True)
    ]
    test = scipy_stats.ttest_1samp(difference, 0)
    bounds = test.confidence_interval(1 - 0.05 / 2)
    assert 0.025 < test.pvalue < 0.05 and one["p"] == pytest.approx(test.pvalue) and one["verdict"] == "supported"
    assert (one["low"], one["high"]) == pytest.approx((2**bounds.low, 2**bounds.high)) and one["high"] > 1
    assert "decided although the interval holds 1: it is one for all 2 steps at once" in "; ".join(one["notes"])
