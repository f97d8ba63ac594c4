"""Contrasts against a worked 2x2, scipy's own tests, and simulated studies with known effects."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from bench.contrasts import NOTHING, contrast, detectable, effect, power, seeds_needed, sign_flip_p, smallest_p

LEVELS = {f"{a}{b}": {"norm": a, "sn": b} for a, b in itertools.product(("bn", "in"), ("no", "yes"))}
CELLS = {  # three seeds of a 2x2
    "bnno": {0: 10.0, 1: 12.0, 2: 14.0},
    "bnyes": {0: 8.0, 1: 9.0, 2: 13.0},
    "inno": {0: 9.0, 1: 12.0, 2: 12.0},
    "inyes": {0: 4.0, 1: 6.0, 2: 8.0},
}


def test_a_worked_two_by_two():
    """Main effect of sn, a seed: ((8-10)+(4-9))/2 = -3.5; ((9-12)+(6-12))/2 = -4.5; ((13-14)+(8-12))/2 = -2.5.

    Mean -3.5, sd 1, se 1/sqrt(3); t(2) at 0.975 is 4.302653: half-width 2.484138.
    Interaction, a seed: (4-9)-(8-10) = -3; (6-12)-(9-12) = -3; (8-12)-(13-14) = -3: no spread at all,
    so that nothing is known of its error, and no interval is printed.
    """
    weights = effect(LEVELS, {"sn": ("yes", "no")})
    assert weights == {"bnyes": 0.5, "bnno": -0.5, "inyes": 0.5, "inno": -0.5}
    found = contrast(CELLS, weights)
    assert found.by_seed == {0: -3.5, 1: -4.5, 2: -2.5}
    assert (found.method, found.n, found.df) == ("paired", 3, 2)
    assert found.estimate == pytest.approx(-3.5)
    assert found.high - found.estimate == pytest.approx(2.484138, abs=1e-6)
    both = effect(LEVELS, {"norm": ("in", "bn"), "sn": ("yes", "no")})
    assert both == {"inyes": 1, "inno": -1, "bnyes": -1, "bnno": 1}
    found = contrast(CELLS, both)
    assert (found.estimate, found.low, found.high, found.p) == (-3, None, None, None)


def test_paired_is_scipys_paired_t_test():
    found = contrast(CELLS, {"inyes": 1, "bnyes": -1})
    theirs = stats.ttest_rel(list(CELLS["inyes"].values()), list(CELLS["bnyes"].values()))
    interval = theirs.confidence_interval()
    assert (found.p, found.low, found.high) == pytest.approx((theirs.pvalue, interval.low, interval.high))


def test_incomplete_is_welch():
    lost = {**CELLS, "bnno": {0: 10.0, 2: 14.0}}
    found = contrast(lost, {"inyes": 1, "bnno": -1})
    theirs = stats.ttest_ind([4.0, 6.0, 8.0], [10.0, 14.0], equal_var=False)
    interval = theirs.confidence_interval()
    assert found.method == "satterthwaite" and found.df == pytest.approx(theirs.df)
    assert (found.p, found.low, found.high) == pytest.approx((theirs.pvalue, interval.low, interval.high))
    assert found.by_seed == {0: -6.0, 2: -6.0}


def test_what_cannot_be_said_is_not_said():
    one = contrast({"a": {0: 1.0}, "b": {0: 3.0}}, {"a": 1, "b": -1})
    assert (one.estimate, one.low, one.p) == (-2.0, None, None)
    assert contrast({"a": {0: 1.0}, "b": {}}, {"a": 1, "b": -1}) == NOTHING
    assert contrast({"a": {0: 1.0}}, {"a": 1, "b": -1}) == NOTHING
    assert contrast({}, {}) == NOTHING
    infinite = contrast({"a": {0: math.inf, 1: 1.0}, "b": {0: 1.0, 1: 1.0}}, {"a": 1, "b": -1})
    assert infinite.low is None
    single = contrast({"a": {0: 1.0, 1: 2.0}, "b": {3: 1.0}}, {"a": 1, "b": -1})
    assert (single.estimate, single.low) == (0.5, None)


def test_an_effect_is_over_the_settings_in_which_all_compared_cells_stand():
    levels = {name: found for name, found in LEVELS.items() if name != "inyes"}
    assert effect(levels, {"sn": ("yes", "no")}) == {"bnyes": 1, "bnno": -1}
    assert effect(levels, {"norm": ("in", "bn"), "sn": ("yes", "no")}) == {}
    assert effect(levels, {"sn": ("often", "no")}) == {}


def test_three_factors_weigh_alike():
    levels = {"".join(cell): dict(zip("abc", cell, strict=True)) for cell in itertools.product("01", "01", "01")}
    main = effect(levels, {"a": ("1", "0")})
    assert set(map(abs, main.values())) == {0.25} and sum(main.values()) == 0
    three = effect(levels, {factor: ("1", "0") for factor in "abc"})
    # The interaction of an additive response is nothing; of a product, the product of the steps.
    additive = {cell: {0: sum(map(int, cell)), 1: 2.0 * sum(map(int, cell))} for cell in levels}
    product = {cell: {0: float(math.prod(map(int, cell))), 1: 0.0} for cell in levels}
    assert contrast(additive, three).estimate == pytest.approx(0)
    assert contrast(product, three).by_seed == {0: 1.0, 1: 0.0}


def test_intervals_cover_when_one_cell_is_four_times_as_noisy():
    """95 % intervals of 2,000 simulated studies hold the truth as often as a binomial allows, at 3 and 5 seeds."""
    rng = np.random.default_rng(0)
    weights = effect(LEVELS, {"sn": ("yes", "no")})
    for seeds in (3, 5):
        held = 0
        for _ in range(2000):
            shared = rng.normal(size=seeds)
            cells = {
                cell: dict(enumerate(shared + rng.normal(size=seeds) * (4 if cell == "inyes" else 1)))
                for cell in LEVELS
            }
            found = contrast(cells, weights)
            held += found.low <= 0 <= found.high
        low, high = stats.binom.interval(0.999, 2000, 0.95)
        assert low <= held <= high


def test_sign_flips_by_hand_and_by_scipy():
    """Of the eight sign patterns of (1, 2, 3), only all plus and all minus are as far from 0."""
    assert sign_flip_p([1, 2, 3]) == 2 / 8 == smallest_p(3)
    assert sign_flip_p([1, -1]) == 1.0
    assert sign_flip_p([]) is None and sign_flip_p([1.0] * 21) is None
    values = [0.3, 1.2, -0.4, 2.0, 0.9, 1.1]
    theirs = stats.permutation_test(
        (values,), lambda x: abs(np.sum(x)), permutation_type="samples", alternative="greater", n_resamples=np.inf
    )
    assert sign_flip_p(values) == pytest.approx(theirs.pvalue)
    assert [smallest_p(n) for n in (1, 2, 5, 6)] == [1, 0.5, 0.0625, 0.03125]


def test_power_against_the_literature_and_by_simulation():
    """Cohen's tables and G*Power: 80 % power for an effect of one sd needs 10 pairs, of half an sd 34."""
    assert seeds_needed(1.0, 1.0) == 10
    assert seeds_needed(0.5, 1.0) == 34
    assert seeds_needed(0.0, 1.0) is None
    assert power(1.0, 1.0, 1) == 0 and detectable(1.0, 1) is None
    assert power(detectable(2.0, 5), 2.0, 5) == pytest.approx(0.8)
    rng = np.random.default_rng(1)
    found = stats.ttest_1samp(rng.normal(1.5, 1.0, size=(4000, 6)), 0, axis=1).pvalue < 0.05
    low, high = stats.binom.interval(0.999, 4000, power(1.5, 1.0, 6))
    assert low <= found.sum() <= high
