"""Intervals from few seeds, against worked numbers and scipy's own tests."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from bench import stats


def test_three_seeds_by_hand():
    # Values 1, 2, 6: mean 3; deviations -2, -1, 3, squares 4 + 1 + 9 = 14, sd = sqrt(14 / 2) = sqrt 7.
    # t(2 df, 97.5 %) = 4.302653 (every printed t table); half width 4.302653 * sqrt(7) / sqrt(3) = 6.572481.
    estimate = stats.mean_interval([1.0, 2.0, 6.0])
    assert (estimate.n, estimate.mean) == (3, 3.0)
    assert estimate.sd == pytest.approx(math.sqrt(7), rel=1e-15)
    assert estimate.high - 3 == pytest.approx(4.302653 * math.sqrt(7 / 3), rel=1e-6)
    assert 3 - estimate.low == pytest.approx(estimate.high - 3, rel=1e-12)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_agrees_with_the_one_sample_t_test(level):
    values = np.random.default_rng(0).normal(5, 2, size=7)
    interval = scipy_stats.ttest_1samp(values, 0).confidence_interval(level)
    estimate = stats.mean_interval(values, level)
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high), rel=1e-12)


def test_covers_what_it_says_at_three_seeds():
    # 4,000 intervals over 3 normal values: the share that holds the true mean lies within four standard errors
    # of 0.95, sqrt(0.95 * 0.05 / 4000) = 0.00345.  (A percentile bootstrap would give about 0.76.)
    draws = np.random.default_rng(1).normal(10, 3, size=(4000, 3))
    held = sum(e.low <= 10 <= e.high for e in map(stats.mean_interval, draws))
    assert abs(held / 4000 - 0.95) < 4 * 0.00345


def test_no_replication_no_interval():
    assert stats.mean_interval([4.0]) == (1, 4.0, None, None, None)
    assert stats.mean_interval([]) == (0, None, None, None, None)
    assert stats.mean_interval([1.0, math.inf]).mean is None


def test_what_no_float_can_hold_has_no_interval():
    """A sum above the largest float, squares above it, and a bound above it; the means are those by hand."""
    for values, mean in (([1e308, 1.5e308], 1.25e308), ([1e200, 3e200], 2e200), ([-1.7e308, 1.7e308], 0.0)):
        estimate = stats.mean_interval(values)
        assert estimate == (2, pytest.approx(mean), None, None, None)
    assert stats.mean_interval([1e150, 3e150]).sd == pytest.approx(math.sqrt(2) * 1e150)


def test_the_order_of_seeds_changes_no_bit():
    values = np.random.default_rng(2).lognormal(size=50)
    assert stats.mean_interval(values) == stats.mean_interval(values[::-1])


def test_wilson_by_hand():
    # No success in n: the upper bound is z² / (n + z²); z = 1.959964, z² = 3.841459.  n = 3: 3.841459 / 6.841459.
    low, high = stats.success_interval(0, 3)
    assert low == pytest.approx(0, abs=1e-12) and high == pytest.approx(3.841459 / 6.841459, rel=1e-6)
    # Success and failure mirror each other.
    mirrored = stats.success_interval(3, 3)
    assert mirrored == pytest.approx((1 - high, 1.0), rel=1e-6)
    # One of five solves (p - 1/5)² = z² p (1 - p) / 5.
    for bound in stats.success_interval(1, 5):
        assert (bound - 0.2) ** 2 == pytest.approx(3.841459 * bound * (1 - bound) / 5, rel=1e-5)
    assert stats.success_interval(0, 0) is None


def test_wilson_refuses_the_impossible():
    with pytest.raises(ValueError):
        stats.success_interval(4, 3)


@pytest.mark.parametrize(
    ("values", "direction", "place"),
    [
        ([3.0, 1.0, 2.0], "lower", 2),
        ([3.0, 1.0, 2.0], "higher", 2),
        ([1.0, 4.0, 2.0, 3.0], "lower", 3),  # even: the worse of 2 and 3
        ([1.0, 4.0, 2.0, 3.0], "higher", 2),
        ([1.0, None, 2.0], "lower", 2),  # a run without a value is the worst of the three
        ([None, None, 7.0], "lower", 0),  # 7, none, none: the typical run has none
        ([5.0], "reference", 0),
        ([], "lower", None),
    ],
)
def test_median_run(values, direction, place):
    assert stats.median_index(values, direction) == place
