"""What the runs say of one claim: its p in both directions, the estimate, and how many seeds would decide it."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from bench import stats
from bench.claims import Sides
from bench.contrasts import Contrast, interval, seed_correlation, seeds_needed, sign_flip_p
from bench.effects import shower, sides, unequal
from bench.readings import Reading, Readings

MOST_SEEDS = 1000
"""Beyond so many, `seeds` is not told: the claim will not be decided this way."""
Tails = Callable[[float], tuple[float, float]]
"""Bound → one-sided p of an effect not below, and of one not above, it."""


class Evidence(NamedTuple):
    """What the runs say of one claim."""

    p_for: float = 1.0
    """One-sided p of the claim's contrary."""
    p_against: float = 1.0
    """One-sided p of the claim."""
    estimate: float | None = None
    """As shown: a ratio, a difference, a share, a mean or a correlation."""
    interval: Callable[[float], tuple[float | None, float | None]] = lambda level: (None, None)
    """Level → the estimate's bounds, as shown."""
    edges: tuple[float, ...] = ()
    """What the estimate is judged by, as shown: an interval that holds none of them decides."""
    scale: Literal["ratio", "difference", "share", "mean", "correlation"] = "difference"
    n: int = 0
    method: str = "none"
    needed: Callable[[float], int | None] | None = None
    """Level of the two-sided p → how many of `unit` would decide it; None beyond `MOST_SEEDS`."""
    unit: Literal["seeds", "cells"] = "seeds"
    reason: str = ""
    """Why nothing can be estimated."""
    steps: tuple[Evidence, ...] = ()
    """Of an order: what is said of each of its steps."""
    notes: tuple[str, ...] = ()
    more: Mapping[str, Any] = {}
    """Further numbers, for report.json."""


def figure(value: float | None, signed: bool = False) -> str:
    """Write a number of a verdict to three digits; — where there is none."""
    if value is None or math.isnan(value):
        return "—"
    text = f"{value:+.3g}" if signed else f"{value:.3g}"
    return text.replace("-", "−")


def of_contrast(
    one: Contrast,
    reading: Reading,
    asked: Sides,
    readings: Readings,
    p_for: float,
    p_against: float,
    edges: Sequence[float],
) -> Evidence:
    """Dress a contrast for showing; nothing is estimable without an interval.

    edges: what the estimate is judged by, on the scale of the contrast.  More seeds are counted from its distance to
    the nearest, at 80 % power.
    """
    success = readings.success()
    shown = shower(reading)
    left, right = sides(asked.weights)
    sd = one.se * math.sqrt(one.n) if one.se is not None else None
    distance = None if one.estimate is None else min(abs(one.estimate - edge) for edge in edges)

    def shown_at(level: float) -> tuple[float | None, float | None]:
        low, high = interval(one, level)
        return shown(low), shown(high)

    more = {
        "sd": sd,
        "df": one.df,
        "rho": seed_correlation(reading.cells, asked.weights),
        "sign_flip_p": sign_flip_p(list(one.by_seed.values())) if one.method == "paired" and one.n > 1 else None,
        "by_seed": {str(seed): shown(value) for seed, value in one.by_seed.items()},
        "left_runs": [sum(success[cell][place] for cell in left) for place in (0, 1)],
        "right_runs": [sum(success[cell][place] for cell in right) for place in (0, 1)],
        "cells": {"left": left, "right": right},
        "aliases": list(asked.aliases),
    }
    notes = list(asked.notes)
    if unequal(asked.weights, success):
        notes.append("over the runs that reached the end: the cells differ in success")
    if one.method == "satterthwaite" and one.n > 1:
        notes.append("not paired: cells have different seeds")
    scale: Literal["ratio", "difference"] = "ratio" if reading.scale == "log" else "difference"
    found = Evidence(
        p_for,
        p_against,
        shown(one.estimate),
        shown_at,
        tuple(edge for edge in map(shown, edges) if edge is not None),
        scale,
        one.n,
        one.method,
        lambda level: None if distance is None or sd is None else seeds_needed(distance, sd, level, most=MOST_SEEDS),
        notes=tuple(notes),
        more=more,
    )
    if one.estimate is None:
        return found._replace(reason="a compared cell has no value")
    if one.se is None:
        why = "one seed: nothing is known of the spread" if one.n < 2 else "every seed gives the same number"
        return found._replace(reason=f"{why} ({figure(found.estimate)})")
    return found


def of_rates(
    reading: Reading, asked: Sides, edges: Sequence[float], judged: Callable[[Tails], tuple[float, float]]
) -> Evidence:
    """Compare shares of runs; `judged` turns the tails at a bound into (p for, p against).  edges: such bounds."""
    values = [[v for cell in side for v in reading.cells[cell].values()] for side in sides(asked.weights)]
    (left, n_left), (right, n_right) = counts = [(round(sum(side)), len(side)) for side in values]
    found = stats.compare_rates(left, n_left, right, n_right)
    if found is None:
        return Evidence(reason="a compared side has no run with an outcome")

    def repeated(times: int) -> tuple[float, float]:
        runs = times * left, times * n_left, times * right, times * n_right
        return judged(lambda bound: stats.rate_tails(*runs, bound, quick=times > 1))

    p_for, p_against = repeated(1)
    more = {"left_runs": list(counts[0]), "right_runs": list(counts[1]), "aliases": list(asked.aliases)}
    said = f"{left} of {n_left} runs against {right} of {n_right}"
    return Evidence(
        p_for,
        p_against,
        found.estimate,
        lambda level: stats.newcombe(left, n_left, right, n_right, level),
        tuple(edges),
        n=min(n_left, n_right),
        method="barnard",
        needed=seeds_of_counts(repeated, seeds_in(reading, asked.weights)),
        notes=(said, *asked.notes),
        more=more,
    )


def seeds_in(reading: Reading, cells: Iterable[str]) -> int:
    """How many seeds the runs of these cells have; of incomplete cells, the most."""
    return max(len(reading.cells[cell]) for cell in cells)


def seeds_of_counts(repeated: Callable[[int], tuple[float, float]], seeds: int) -> Callable[[float], int | None]:
    """Count the seeds at which shares of runs would be decided, were they the very same: a multiple of `seeds`.

    repeated: times → (p for, p against) with so many times the runs.
    """

    def needed(level: float) -> int | None:
        def decided(times: int) -> bool:
            return 2 * min(repeated(times)) <= level

        # By doubling, as an exact test of many runs is slow; then by halves.
        tried = [2**step for step in range(1, 10) if 2**step * seeds <= MOST_SEEDS]
        enough = next((times for times in tried if decided(times)), None)
        if enough is None:
            return None
        between = range(enough // 2 + 1, enough + 1)
        return seeds * between[bisect.bisect_left(between, True, hi=len(between) - 1, key=decided)]

    return needed
