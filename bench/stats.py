"""Estimates from few seeds: arrays in, numbers out.  Nothing is read, drawn or written here.

An interval over seeds is a t interval, never a bootstrap: resampling three numbers cannot invent the missing
tail (a nominal 95 % percentile interval over 3 seeds covers about 76 %).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special, stats


class Estimate(NamedTuple):
    """A mean over seeds with what is known of its error; None where nothing can be said."""

    n: int
    mean: float | None
    """None when n = 0."""
    sd: float | None
    """Sample standard deviation (n - 1); None when n < 2."""
    low: float | None
    high: float | None
    """Bounds of the t interval; None when n < 2 or a value is not finite."""


def mean_interval(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Estimate:
    """Estimate a mean from independent replicates.

    values: [n], one number a seed (training replicates, not resamplings of one generator).
    level: coverage of the two-sided interval mean ± t(n - 1) · sd / √n (Student 1908).
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n == 0 or not np.isfinite(values).all():
        return Estimate(n, None, None, None, None)
    mean = math.fsum(values) / n  # exactly rounded, so blind to the order of the runs
    if n == 1:
        return Estimate(1, mean, None, None, None)
    sd = math.sqrt(math.fsum((values - mean) ** 2) / (n - 1))
    half = float(special.stdtrit(n - 1, 0.5 + level / 2)) * sd / math.sqrt(n)
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
