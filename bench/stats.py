"""Estimates from few seeds: arrays in, numbers out.  Nothing is read, drawn or written here.

An interval over seeds is a t interval, never a bootstrap: resampling three numbers cannot invent the missing
tail (a nominal 95 % percentile interval over 3 seeds covers about 76 %).
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats
from statsmodels.stats.proportion import confint_proportions_2indep


class Estimate(NamedTuple):
    """A mean over seeds with what is known of its error; None where nothing can be said."""

    n: int
    mean: float | None
    """None when n = 0."""
    sd: float | None
    """Sample standard deviation (n - 1); None where there are no bounds."""
    low: float | None
    high: float | None
    """Bounds of the t interval; None when n < 2, or where a value, the spread or a bound is too large for a float."""


def mean_interval(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Estimate:
    """Estimate a mean from independent replicates.

    values: [n], one number a seed (training replicates, not resamplings of one generator).
    level: coverage of the two-sided interval mean ± t(n - 1) · sd / √n (Student 1908).
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n == 0 or not np.isfinite(values).all():
        return Estimate(n, None, None, None, None)
    if n == 1:
        return Estimate(1, float(values[0]), None, None, None)
    try:
        mean = math.fsum(values) / n  # exactly rounded, so blind to the order of the runs
        with np.errstate(over="ignore"):
            sd = math.sqrt(math.fsum((values - mean) ** 2) / (n - 1))
    except OverflowError:  # of a sum; what overflows in a square is infinite
        return Estimate(n, math.fsum(values / n), None, None, None)
    half = float(special.stdtrit(n - 1, 0.5 + level / 2)) * sd / math.sqrt(n)
    if not (math.isfinite(mean - half) and math.isfinite(mean + half)):
        return Estimate(n, mean, None, None, None)
    return Estimate(n, mean, sd, mean - half, mean + half)


def success_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float] | None:
    """Bound a probability from `successes` of `n` runs: Wilson's score interval (1927); None when n = 0.

    Raises ValueError unless 0 <= successes <= n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} runs")
    if n == 0:
        return None
    bounds = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    return float(bounds.low), float(bounds.high)


def median_index(values: Sequence[float | None], direction: str) -> int | None:
    """Position of the typical run: the median by value, the worse of the middle two when n is even.

    values: [n], None for runs without one, which rank worst: where most fail, the typical run is one that failed.
    direction: `lower` (is better), `higher`, or `reference` (ranked like `lower`).
    Returns None when n = 0.
    """
    sign = -1.0 if direction == "higher" else 1.0
    badness = [math.inf if value is None else sign * value for value in values]
    ranked = sorted(range(len(values)), key=lambda place: (badness[place], place))
    return ranked[len(ranked) // 2] if ranked else None


# ---------------------------------------------------------------------------------------------------------
# Failures as outcomes.


class Rates(NamedTuple):
    """Two shares of runs compared, left minus right."""

    estimate: float
    low: float
    high: float
    """Newcombe's 95 % interval."""
    p_above: float
    """One-sided p of left not above right: Barnard's exact test (1945)."""
    p_below: float


def newcombe(left: int, n_left: int, right: int, n_right: int, level: float) -> tuple[float, float]:
    """Bound the difference of two shares of runs: Newcombe's interval (1998), from Wilson's of each."""
    low, high = confint_proportions_2indep(left, n_left, right, n_right, method="newcomb", alpha=1 - level)
    return float(low), float(high)


@functools.cache
def compare_rates(left: int, n_left: int, right: int, n_right: int) -> Rates | None:
    """Compare `left` of `n_left` runs with `right` of `n_right`; None when a side has none.

    Runs count as independent, whatever cell and seed they are of.
    """
    if not n_left or not n_right:
        return None
    estimate = left / n_left - right / n_right
    table = [[left, right], [n_left - left, n_right - right]]
    above = float(stats.barnard_exact(table, alternative="greater").pvalue) if estimate > 0 else 1.0
    below = float(stats.barnard_exact(table, alternative="less").pvalue) if estimate < 0 else 1.0
    return Rates(estimate, *newcombe(left, n_left, right, n_right, 0.95), min(1.0, above), min(1.0, below))


def rate_tails(
    left: int, n_left: int, right: int, n_right: int, bound: float, quick: bool = False
) -> tuple[float, float]:
    """One-sided p of a difference of shares not below, and of one not above, `bound`.

    At 0 Barnard's exact test; elsewhere the level at which Newcombe's interval begins to hold the bound.
    quick: for plans, above 200 runs a side, the normal limit of Barnard's statistic.
    """
    if not n_left or not n_right:
        return 1.0, 1.0
    estimate = left / n_left - right / n_right
    if bound == 0 and quick and max(n_left, n_right) > 200:
        share = (left + right) / (n_left + n_right)
        se = math.sqrt(share * (1 - share) * (1 / n_left + 1 / n_right))
        return (float(special.ndtr(estimate / se)), float(special.ndtr(-estimate / se))) if se else (1.0, 1.0)
    if bound == 0:
        found = compare_rates(left, n_left, right, n_right)
        return (found.p_below, found.p_above) if found else (1.0, 1.0)

    def reach(alpha: float, side: int) -> float:
        return newcombe(left, n_left, right, n_right, 1 - alpha)[side] - bound

    def p(side: int) -> float:
        away = (1, -1)[side]
        if away * (estimate - bound) <= 0:
            return 1.0
        least, most = 1e-9, 1 - 1e-9
        if away * reach(least, side) > 0:
            return least / 2
        return float(optimize.brentq(reach, least, most, args=(side,))) / 2

    return p(1), p(0)


def share_tails(k: int, n: int, bound: float) -> tuple[float, float]:
    """One-sided p of a share not below, and of one not above, `bound`: the exact binomial test."""
    below, above = (float(stats.binomtest(k, n, bound, alternative=side).pvalue) for side in ("less", "greater"))
    return below, above


def composite_median(values: Sequence[float | None], direction: str) -> float | None:
    """Median over all runs with an outcome, failures (None) ranked worst; None when half of them or more failed.

    direction: `lower` (is better) or `higher`; for `reference` there is no worst, and None.
    """
    if direction == "reference" or not values:
        return None
    worst = -math.inf if direction == "higher" else math.inf
    median = float(np.median([worst if value is None else value for value in values]))
    return median if math.isfinite(median) else None


def chance_of_better(left: Sequence[float | None], right: Sequence[float | None], direction: str) -> float | None:
    """Share of all pairs of runs in which left is better; a failure (None) loses, and two failures or equals are half.

    The Mann-Whitney statistic over n_left · n_right.  None where a side has no run, or no direction is better.
    """
    if direction == "reference" or not left or not right:
        return None
    sign = -1.0 if direction == "lower" else 1.0
    rank = [[-math.inf if value is None else sign * value for value in side] for side in (left, right)]
    won = sum(1.0 if one > other else 0.5 if one == other else 0.0 for one in rank[0] for other in rank[1])
    return won / (len(left) * len(right))


class Alive(NamedTuple):
    """A step of a survival curve."""

    kimg: float
    share: float
    low: float
    high: float


def survival(ends: Sequence[tuple[float, bool]], level: float = 0.95) -> list[Alive]:
    """Share of runs that have not failed by each kimg: Kaplan and Meier (1958) with log-log bounds.

    ends: of each run (kimg, whether it failed there); one that did not fail is censored there.
    Returns a step for each kimg at which one failed; [] for none.
    """
    if not any(failed for _, failed in ends):
        return []
    curve = stats.ecdf(_censored(ends)).sf
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The confidence interval is undefined")  # at shares of 0 and 1
        bounds = curve.confidence_interval(level, method="log-log")
    steps = []
    for kimg, share, low, high in zip(
        curve.quantiles, curve.probabilities, bounds.low.probabilities, bounds.high.probabilities, strict=True
    ):
        if any(failed and end == kimg for end, failed in ends):
            low, high = (low if math.isfinite(low) else 0.0, high if math.isfinite(high) else 1.0)
            steps.append(Alive(float(kimg), float(share), float(low), float(high)))
    return steps


def compare_survival(left: Sequence[tuple[float, bool]], right: Sequence[tuple[float, bool]]) -> float | None:
    """Two-sided p of two survival curves being one: the log-rank test (Mantel 1966).

    left, right: as `survival` takes them.  None where a side is empty, no run failed, or nothing can differ.
    """
    if not left or not right or not any(failed for _, failed in (*left, *right)):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        p = float(stats.logrank(_censored(left), _censored(right)).pvalue)
    return p if math.isfinite(p) else None


def _censored(ends: Sequence[tuple[float, bool]]) -> stats.CensoredData:
    return stats.CensoredData(
        uncensored=[kimg for kimg, failed in ends if failed], right=[kimg for kimg, failed in ends if not failed]
    )


class Correlation(NamedTuple):
    """Pearson's r with Fisher's interval (1915), and its one-sided p (t with n - 2 degrees of freedom)."""

    r: float
    low: float
    high: float
    p_above: float
    """Of an r not above 0."""
    p_below: float


def correlation(pairs: Sequence[tuple[float, float]], level: float = 0.95) -> Correlation | None:
    """Correlate; None for fewer than four pairs, or where one side does not vary."""
    values = np.asarray(pairs, dtype=float).reshape(-1, 2)
    spread = np.ptp(values, axis=0) if len(values) else np.zeros(2)
    if len(values) < 4 or (spread <= 1e-12 * np.abs(values).max(axis=0)).any():
        return None
    found = stats.pearsonr(values[:, 0], values[:, 1], alternative="greater")
    bounds = stats.pearsonr(values[:, 0], values[:, 1]).confidence_interval(level)
    return Correlation(
        float(found.statistic), float(bounds.low), float(bounds.high), float(found.pvalue), float(1 - found.pvalue)
    )


def pairs_needed(r: float, alpha: float = 0.05, wanted: float = 0.8, most: int = 10_000) -> int | None:
    """Fewest pairs whose test finds a correlation of r with the wanted power; None when more than `most`.

    By Fisher's z (1921), whose standard error is 1 / √(n - 3): n = ((z(1 - alpha / 2) + z(wanted)) / artanh r)² + 3.
    """
    if not 0 < abs(r) < 1:
        return 4 if r else None
    due = float(special.ndtri(1 - alpha / 2) + special.ndtri(wanted)) / math.atanh(abs(r))
    n = max(4, math.ceil(due**2 + 3)) if due < most else most + 1
    return n if n <= most else None


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's rho; None for fewer than four pairs, or where one side does not vary."""
    values = np.asarray(pairs, dtype=float).reshape(-1, 2)
    if len(values) < 4 or (np.ptp(values, axis=0) == 0).any():
        return None
    return float(stats.spearmanr(values[:, 0], values[:, 1]).statistic)


# ---------------------------------------------------------------------------------------------------------
# Two aims at once.


def pareto(points: Sequence[tuple[float, float]], direction: str) -> list[int]:
    """Places of the points that no other beats: none is as good in both cost and value and better in one.

    points: of each (cost, value), finite; less cost is better.  direction: of the value, `lower` or `higher`.
    Equal points stand or fall together.  Returned by rising cost.
    """
    sign = -1.0 if direction == "higher" else 1.0
    badness = [(cost, sign * value) for cost, value in points]
    front = [
        place
        for place, (cost, bad) in enumerate(badness)
        if not any(c <= cost and b <= bad and (c, b) != (cost, bad) for c, b in badness)
    ]
    return sorted(front, key=lambda place: (badness[place][0], place))


# ---------------------------------------------------------------------------------------------------------
# Many tests at once.


def holm(p: Sequence[float]) -> list[float]:
    """Adjust the p of a family so that the chance of any false finding stays below the level (Holm 1979).

    Ours, not statsmodels': its `multipletests` collects all garbage at every call, a third of a second in a report.
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return adjusted


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjust p so that the share of false ones among the findings stays below the level (1995)."""
    return [float(one) for one in stats.false_discovery_control(p)] if len(p) else []
