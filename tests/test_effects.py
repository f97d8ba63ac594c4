"""Effects, readings and outcomes of a worked 2×2, against statsmodels, and of studies where something is missing."""

import json
import math

import miniature as mini
import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.multitest import multipletests

from bench import effects, stats, table
from bench.contrasts import contrast
from bench.questions import questions
from bench.readings import Readings
from bench.store import Store
from bench.summary import summarise

LOGS = {  # cell → the logarithm, to base 2, of its fd in seeds 0, 1, 2: the worked example
    "g_norm=bn,d_weight=none": (6, 7, 8),
    "g_norm=bn,d_weight=spectral": (5, 5, 8),
    "g_norm=adain,d_weight=none": (5, 7, 6),
    "g_norm=adain,d_weight=spectral": (2, 3, 4),
}
FD = mini.STUDY.replace("[fd, swd, ms_ssim]", "[fd]")
T2 = 4.302652729911275  # t(2 degrees of freedom) at 97.5 %, as every table has it: 4.303


def studied(folder, values, *, text=FD, seeds=3, only=lambda run: True, status=lambda run: "done", change=lambda d: d):
    """A study whose runs have one fd each, at the end: values[cell][seed], as 2 to that power."""
    design = change(mini.a_design(folder, text=text, seeds=seeds))
    store = Store(folder / "results")
    for run in design.runs:
        if not only(run):
            continue
        state = status(run)
        mini.write_run(store, run, status=state, cause=None if state == "done" else "loss_D is nan")
        if state == "done" and values.get(run.cell.name):
            value = 2.0 ** values[run.cell.name][run.seed]
            mini.write_score(store, run, design, mini.LABELS[-1], "fd", {"fd[random]": value})
    frame = table.collect(design, store)
    return design, store, frame, Readings(design, store, frame)


def answered(design, readings):
    found = effects.estimate(design, readings)
    return found[found["metric"] == "fd[random]"].set_index(["kind", "effect_of"])


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    design, _, frame, readings = studied(tmp_path_factory.mktemp("worked"), LOGS)
    return design, frame, readings, answered(design, readings)


def test_the_worked_example_by_hand(worked):
    """In powers of two, seed by seed.

    d_weight: spectral − none within bn: (5−6, 5−7, 8−8) = (−1, −2, 0); within adain: (2−5, 3−7, 4−6) = (−3, −4, −2).
      Main effect: half their sum, (−2, −3, −1): mean −2, so that fd is multiplied by 2^−2 = 0.25; sd 1, se 1/√3;
      half-width 4.3027 · 0.57735 = 2.48414, so 2^(−2 ± 2.48414) = [0.04467, 1.39910].
    g_norm: adain − bn within none: (−1, 0, −2); within spectral: (−3, −2, −4); main: (−2, −1, −3): mean −2, sd 1.
    Interaction: (−3, −4, −2) − (−1, −2, 0) = (−2, −2, −2): 2^−2 = 0.25 with no spread at all, so no interval.
    Cell against cell: adain,spectral − bn,none: (−4, −4, −4): 2^−4 = 0.0625, no spread either.
    """
    found = worked[3]
    half = T2 / math.sqrt(3)
    for name in ("d_weight: spectral", "g_norm: adain"):
        row = found.loc[("main", name)]
        assert (row["scale"], row["n"], row["method"], row["df"]) == ("ratio", 3, "paired", 2)
        assert row["effect"] == pytest.approx(0.25)
        assert (row["low"], row["high"]) == pytest.approx((2 ** (-2 - half), 2 ** (-2 + half)))
        assert row["se"] == pytest.approx(math.log(2) / math.sqrt(3))
        # t = −2 · √3 = −3.4641; with two degrees of freedom p = 1 − t/√(2 + t²), here 1 − 3.4641/√14 = 0.07418.
        assert row["p"] == pytest.approx(1 - math.sqrt(12 / 14))
        # All three seeds have the same sign: 2 of the 8 patterns of signs are as far out.
        assert row["sign_flip_p"] == row["smallest_sign_flip_p"] == 0.25
    both = found.loc[("interaction", "g_norm × d_weight: adain, spectral")]
    assert both["effect"] == pytest.approx(0.25) and math.isnan(both["low"]) and math.isnan(both["p"])
    assert both["note"] == "no interval: every seed gives the same number"
    within = found.loc[("simple", "d_weight: spectral | g_norm=adain")]
    assert within["effect"] == pytest.approx(2.0**-3)
    last = found.loc[("reference", "g_norm=adain,d_weight=spectral")]
    assert last["effect"] == pytest.approx(2.0**-4) and last["better"] == 1.0
    # Of the nine pairs of bn,spectral (5, 5, 8) and bn,none (6, 7, 8): the fives win 6; the 8 loses 2 and ties 1.
    assert found.loc[("reference", "g_norm=bn,d_weight=spectral")]["better"] == pytest.approx(6.5 / 9)


def test_the_correlation_of_the_sides_is_numpys(worked):
    """d_weight: spectral, mean of (5, 5, 8) and (2, 3, 4) a seed, with none, of (6, 7, 8) and (5, 7, 6)."""
    rho = worked[3].loc[("main", "d_weight: spectral")]["rho"]
    assert rho == pytest.approx(np.corrcoef([3.5, 4, 6], [5.5, 7, 7])[0, 1])


def test_the_pooled_model_is_that_of_statsmodels_formula(worked):
    _, frame, _, found = worked
    last = table.last_values(frame).assign(y=lambda f: np.log(f["value"]))
    model = ols("y ~ C(g_norm, Sum) * C(d_weight, Sum) + C(seed)", last).fit()
    # With sum coding the coefficient is half the difference of two levels, and a quarter of the interaction.
    for name, key, times in (
        ("C(d_weight, Sum)[S.none]", ("main", "d_weight: spectral"), -2),
        ("C(g_norm, Sum)[S.adain]", ("main", "g_norm: adain"), 2),
        ("C(g_norm, Sum)[S.adain]:C(d_weight, Sum)[S.none]", ("interaction", "g_norm × d_weight: adain, spectral"), -4),
    ):
        bounds = sorted(times * bound for bound in model.conf_int().loc[name])
        row = found.loc[key]
        shown = (row["pooled_effect"], row["pooled_low"], row["pooled_high"])
        assert np.log(shown) == pytest.approx((times * model.params[name], *bounds))
        assert row["effect"] == pytest.approx(row["pooled_effect"])  # complete: the estimates agree, the errors differ


def test_a_diverged_run_changes_no_other_cells_numbers(tmp_path, worked):
    lost = "g_norm=adain,d_weight=spectral"
    design, _, frame, readings = studied(
        tmp_path, LOGS, status=lambda run: "diverged" if (run.cell.name, run.seed) == (lost, 1) else "done"
    )
    before, after = (summarise(f, design).set_index("cell") for f in (worked[1], frame))
    others = [cell for cell in LOGS if cell != lost]
    assert before.loc[others].equals(after.loc[others])
    assert (after.loc[lost, "n"], after.loc[lost, "success_k"], after.loc[lost, "success_n"]) == (2, 2, 3)
    assert after.loc[lost, "median"] == pytest.approx(2.0**4)  # of 2², 2⁴ and a failure, the middle one
    found = answered(design, readings)
    untouched = ("simple", "d_weight: spectral | g_norm=bn")
    assert found.loc[untouched, "effect"] == worked[3].loc[untouched, "effect"]
    row = found.loc[("simple", "d_weight: spectral | g_norm=adain")]
    # Means of the survivors: (2 + 4)/2 − (5 + 7 + 6)/3 = −3, by Welch: se² = 2/2 + 1/3.
    assert row["effect"] == pytest.approx(2.0**-3) and row["method"] == "satterthwaite" and row["greyed"]
    assert row["se"] == pytest.approx(math.log(2) * math.sqrt(4 / 3))
    assert row["left_success"] == "2/3" and "the cells differ in success" in row["note"]
    assert not found.loc[untouched, "greyed"]


def test_success_is_compared_too(tmp_path):
    """bn trains in 6 of 6 runs, adain in none.  Barnard's p for 3 of 3 against 0 of 3: at ½ each, 2 of 64."""
    design, _, _, readings = studied(
        tmp_path, LOGS, status=lambda run: "diverged" if "adain" in run.cell.name else "done"
    )
    found = effects.estimate(design, readings)
    row = found[(found["metric"] == "success") & (found["effect_of"] == "g_norm: adain | d_weight=none")].iloc[0]
    assert (row["effect"], row["left_success"], row["right_success"]) == (-1, "0/3", "3/3")
    assert row["p"] == pytest.approx(2 / 64)
    # No value of a cell of adain is left: what would compare it is absent, not zero.
    assert set(answered(design, readings).reset_index()["effect_of"]) == {
        "d_weight: spectral",
        "d_weight: spectral | g_norm=bn",
        "g_norm=bn,d_weight=spectral",
    }
    main = answered(design, readings).loc[("main", "d_weight: spectral")]
    assert "over 1 of 2 settings of the other factors" in main["note"]


def test_benjamini_hochberg_and_holm_by_hand():
    """p of 0.01, 0.04, 0.03, 0.5.  Holm: 4·0.01, 3·0.03, then 2·0.04 raised to 0.09, 0.5.

    Benjamini and Hochberg from the largest: 0.5; 0.04·4/3 = 0.0533; 0.03·4/2 = 0.06 lowered to 0.0533; 0.01·4 = 0.04.
    """
    p = [0.01, 0.04, 0.03, 0.5]
    assert stats.holm(p) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert stats.benjamini_hochberg(p) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert stats.holm([]) == stats.benjamini_hochberg([]) == []
    drawn = np.random.default_rng(0).uniform(size=20) ** 3
    assert stats.holm(drawn.tolist()) == pytest.approx(multipletests(drawn, method="holm")[1])
    assert stats.benjamini_hochberg(drawn.tolist()) == pytest.approx(multipletests(drawn, method="fdr_bh")[1])


def test_the_same_contrast_under_two_names_is_one_test(tmp_path):
    """A 2×2 asks 10 questions: 2 main effects, an interaction, 4 simple effects, 3 cells against the reference.

    Of those three, two are the simple effects at the reference's levels: 8 tests, and as many q by statsmodels.
    """
    wide = {cell: [value + place**2 * seed for seed, value in enumerate(found)] for place, (cell, found) in
            enumerate(LOGS.items(), 1)}  # fmt: skip
    design, _, _, readings = studied(tmp_path, wide)
    found = answered(design, readings)
    assert len(found) == 10 and set(found["tests"]) == {8}
    twins = [("simple", "g_norm: adain | d_weight=none"), ("reference", "g_norm=adain,d_weight=none")]
    twins += [("simple", "d_weight: spectral | g_norm=bn"), ("reference", "g_norm=bn,d_weight=spectral")]
    for simple, reference in (twins[:2], twins[2:]):
        assert (
            found.loc[simple, "p"] == found.loc[reference, "p"] and found.loc[simple, "q"] == found.loc[reference, "q"]
        )
    once = found.drop(index=[twins[1], twins[3]])
    assert once["q"].tolist() == pytest.approx(multipletests(once["p"], method="fdr_bh")[1].tolist())
    success = effects.estimate(design, readings)
    assert set(success[success["metric"] == "success"]["tests"]) == {7}  # an interaction has no two sides


def test_the_composite_median_by_hand():
    assert stats.composite_median([1.0, 5.0, None], "lower") == 5.0
    assert stats.composite_median([1.0, 5.0, None], "higher") == 1.0
    assert stats.composite_median([1.0, None], "lower") is None  # half failed
    assert stats.composite_median([1.0, 3.0, 2.0, None], "lower") == 2.5
    assert stats.composite_median([1.0], "reference") is None and stats.composite_median([], "lower") is None


def test_chances_count_failures_as_lost():
    """(1, failed) against (2, failed), lower is better: 1 wins both pairs; failed loses to 2 and halves with failed."""
    assert stats.chance_of_better([1.0, None], [2.0, None], "lower") == 2.5 / 4
    assert stats.chance_of_better([1.0, None], [2.0, None], "higher") == 1.5 / 4
    assert stats.chance_of_better([], [1.0], "lower") is None


def test_survival_by_hand():
    """Five runs: one fails at 8 of 32 kimg, one at 16; three reach the end.  Shares 4/5, then 3/5.

    Greenwood on the log-log scale at 4/5: sd of log(−log S) is √(1/(5·4)) / |log 0.8|.
    """
    steps = stats.survival([(32.0, False), (8.0, True), (32.0, False), (16.0, True), (32.0, False)])
    assert [(step.kimg, step.share) for step in steps] == [(8.0, pytest.approx(0.8)), (16.0, pytest.approx(0.6))]
    spread = math.sqrt(1 / 20) / abs(math.log(0.8))
    bounds = sorted(0.8 ** math.exp(sign * 1.959964 * spread) for sign in (-1, 1))
    assert (steps[0].low, steps[0].high) == pytest.approx(bounds, rel=1e-6)
    assert stats.survival([(32.0, False)]) == [] and stats.survival([]) == []
    assert stats.survival([(0.0, True), (0.0, True)])[-1].share == 0


# ---------------------------------------------------------------------------------------------------------
# Where something is missing.


def test_one_seed_has_effects_and_no_interval_anywhere(tmp_path):
    design, _, _, readings = studied(tmp_path, LOGS, seeds=1)
    found = answered(design, readings)
    assert found.loc[("main", "d_weight: spectral"), "effect"] == pytest.approx(2.0**-2)
    for column in ("low", "high", "p", "q", "sign_flip_p", "unpaired_low", "pooled_low"):
        assert found[column].isna().all(), column


def test_one_run_alone_has_no_effect(tmp_path):
    design, _, frame, readings = studied(
        tmp_path, LOGS, only=lambda run: run.seed == 0 and run.cell.name == next(iter(LOGS))
    )
    assert effects.estimate(design, readings).empty
    assert summarise(frame, design)["n"].sum() == 1


def test_all_diverged(tmp_path):
    design, _, _, readings = studied(tmp_path, LOGS, status=lambda run: "diverged")
    found = effects.estimate(design, readings)
    assert set(found["metric"]) == {"success"} and (found["effect"] == 0).all() and (found["p"] == 1).all()


def test_infinite_and_absent_values_are_holes(tmp_path):
    design, store, _, _ = studied(tmp_path, LOGS)
    run = next(run for run in design.runs if run.cell.name == "g_norm=bn,d_weight=none" and run.seed == 2)
    other = next(run for run in design.runs if run.cell.name == "g_norm=bn,d_weight=none" and run.seed == 1)
    for one, value in ((run, math.inf), (other, math.nan)):
        path = mini.write_score(store, one, design, mini.LABELS[-1], "fd", {"fd[random]": value})
        assert not math.isfinite(json.loads(path.read_text())["values"]["fd[random]"])
    readings = Readings(design, store, table.collect(design, store))
    found = answered(design, readings)
    row = found.loc[("simple", "d_weight: spectral | g_norm=bn")]
    assert (row["n"], row["effect"]) == (1, pytest.approx(1.0)) and math.isnan(row["low"])  # 2^(6 − 6)
    assert found.loc[("simple", "d_weight: spectral | g_norm=adain"), "n"] == 3


def test_a_value_of_nothing_has_no_ratio(tmp_path):
    design, store, _, _ = studied(tmp_path, LOGS)
    mini.write_score(store, design.runs[0], design, mini.LABELS[-1], "fd", {"fd[random]": 0.0})
    readings = Readings(design, store, table.collect(design, store))
    assert readings.of("fd").reason == "a value is not positive: no ratio can be taken"
    assert answered(design, readings).empty


# ---------------------------------------------------------------------------------------------------------
# Ladders and fractions.


ROWS = (
    FD[: FD.index("factors:")]
    + "rows:\n  a: {{}}\n  b: {{from: a, set: {{d_weight: spectral}}}}\n"
    + ("  c: {{from: b, set: {{g_norm: adain}}}}\nseeds: {seeds}\nmetrics: [fd]\n")
)


def test_a_ladder_steps_from_row_to_row(tmp_path):
    """fd of a, b, c is 2 to (5, 6, 7), (3, 5, 4), (3, 6, 5): steps (−2, −1, −3) and (0, 1, 1), means −2 and 2/3."""
    values = {"a": (5, 6, 7), "b": (3, 5, 4), "c": (3, 6, 5)}
    design, _, _, readings = studied(tmp_path, values, text=ROWS)
    found = answered(design, readings)
    assert [key for key in found.index if key[0] == "step"] == [("step", "b"), ("step", "c")]
    assert found.loc[("step", "b"), "effect"] == pytest.approx(2.0**-2)
    assert found.loc[("step", "c"), "effect"] == pytest.approx(2.0 ** (2 / 3))
    assert (found.loc[("step", "c"), "against"], found.loc[("reference", "c"), "against"]) == ("b", "a")
    assert "confounded" in found.loc[("step", "c"), "note"]


FRACTION = """\
study: {name}
recipe: wgan_gp
data: {{name: faces, size: 32}}
train: {{batch: 16, kimg: 32}}
factors:
  g_norm: [bn, adain]
  d_weight: [none, spectral]
  mbstd: [0, 4]
  pixel_norm: [false, true]
seeds: {seeds}
design: {{fraction: 1/2}}
metrics: [fd]
"""


def test_a_fractions_effects_are_those_of_the_whole_and_their_aliases_stand_beside(tmp_path):
    """Half of 2⁴: eight cells.  log2 fd = 6 − d_weight + 2 mbstd + g_norm·d_weight, each 0 or 1, and a seed's noise.

    Averaged over the other factor, d_weight adds −1 + ½ and g_norm ½; the interaction of g_norm and d_weight is 1,
    and its alias mbstd × pixel_norm is 0, so that their common estimate is the sum: 1.
    """
    noise = {0: 0.0, 1: 0.3, 2: -0.2}
    wobble = np.random.default_rng(0).normal(0, 1e-6, size=(8, 3))

    def value(number, cell, seed):
        on = {factor: level not in ("bn", "none", "0", "false") for factor, level in cell.levels.items()}
        size = 6 - on["d_weight"] + 2 * on["mbstd"] + (on["g_norm"] and on["d_weight"])
        return size + noise[seed] + wobble[number, seed]

    design = mini.a_design(tmp_path, text=FRACTION)
    values = {cell.name: tuple(value(i, cell, s) for s in range(3)) for i, cell in enumerate(design.cells)}
    design, _, _, readings = studied(tmp_path, values, text=FRACTION)
    assert len(design.cells) == 8
    found = answered(design, readings)
    for name, size in (("d_weight: spectral", -0.5), ("mbstd: 4", 2), ("g_norm: adain", 0.5), ("pixel_norm: true", 0)):
        assert math.log2(found.loc[("main", name), "effect"]) == pytest.approx(size, abs=1e-4), name
        assert pd.isna(found.loc[("main", name), "aliases"])  # resolution IV
    one = found.loc[("interaction", "g_norm × d_weight: adain, spectral")]
    assert math.log2(one["effect"]) == pytest.approx(1, abs=1e-4) and one["aliases"] == "mbstd×pixel_norm"
    # Eight cells, eight columns: with a cell lost nothing is left to tell them apart, and only cells are compared.
    lost = design.cells[-1].name
    kinds = {question.kind for question in questions(design, [c.name for c in design.cells if c.name != lost])}
    assert kinds == {"reference"}


def test_a_fraction_with_cells_to_spare_keeps_what_it_can_still_tell(tmp_path):
    """A quarter of 2⁶ has 16 cells for a mean, 6 main effects and 7 sets of interactions: two to spare."""
    text = FRACTION.replace("seeds:", "  equalized: [false, true]\n  sle: [none, sle]\nseeds:").replace("1/2", "1/4")
    design = mini.a_design(tmp_path, text=text.replace("faces, size: 32", "faces, size: 64"))
    assert len(design.cells) == 16
    sizes = dict(zip(design.cells[0].levels, (1.0, -2.0, 3.0, 0.5, -0.25, 4.0), strict=True))
    values = {
        cell.name: {0: sum(sizes[f] for f, level in cell.levels.items() if level != design.study.reference[f])}
        for cell in design.cells
    }
    for known in (list(values), list(values)[:-1]):
        asked = {q.factors: q for q in questions(design, known) if q.kind in ("main", "interaction")}
        assert len(asked) == 6 + 15
        for factors, question in asked.items():
            found = contrast({cell: values[cell] for cell in known}, question.weights)
            assert found.estimate == pytest.approx(sizes[factors[0]] if len(factors) == 1 else 0, abs=1e-9)
    assert all(question.aliases for question in asked.values() if len(question.factors) == 2)
