"""Contrasts of cells over paired seeds: cells and weights in, an effect with its interval out.

Values are on the measure's declared scale (logarithms of distances, so that an effect is a ratio).  Each contrast has
an error of its own: where every cell in it has the same seeds, the weighted sum of one seed is one number, and those
numbers have a t interval with n - 1 degrees of freedom.  A pooled error would borrow from cells that may be noisier.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import special

Cells = Mapping[str, Mapping[int, float]]
"""Cell → seed → value; a run without a value is left out."""
Weights = Mapping[str, float]
"""Cell → weight; they add up to 0."""


class Contrast(NamedTuple):
    """An effect and what is known of its error; None where nothing can be said."""

    estimate: float | None
    low: float | None
    high: float | None
    se: float | None
    df: float | None
    p: float | None
    """Two-sided, of no effect."""
    n: int
    """Seeds in it; of an incomplete contrast, those of its smallest cell."""
    method: Literal["paired", "satterthwaite", "none"]
    by_seed: dict[int, float]
    """The effect in each seed that all its cells have."""


NOTHING = Contrast(None, None, None, None, None, None, 0, "none", {})


def contrast(cells: Cells, weights: Weights, level: float = 0.95, *, paired: bool = True) -> Contrast:
    """Estimate sum of weight · mean over the cells in `weights`.

    Paired where all of them have the same two seeds or more: mean ± t(n - 1) · sd / √n of the seeds' own weighted sums
    (Student 1908).  Else, or not `paired`, from each cell's mean and variance, with Satterthwaite's degrees of freedom
    (1946), which loses what pairing gives.  With one value in some cell there is no interval, and with none no
    estimate; nor is there an interval where no value differs from seed to seed.
    """
    values = {cell: cells.get(cell, {}) for cell in weights}
    seeds = sorted(set.intersection(*(set(found) for found in values.values()))) if values else []
    by_seed = {seed: math.fsum(weights[cell] * values[cell][seed] for cell in weights) for seed in seeds}
    n = min((len(found) for found in values.values()), default=0)
    if n == 0:
        return NOTHING
    largest = max(abs(weights[cell] * value) for cell, found in values.items() for value in found.values())
    rounding = 1e-12 * (largest if math.isfinite(largest) else 0.0)  # what differs by less does not differ
    if paired and all(len(found) == len(seeds) for found in values.values()):
        differences = np.array(list(by_seed.values()))
        estimate = math.fsum(differences) / n
        known = n > 1 and math.isfinite(estimate)
        se = math.sqrt(math.fsum((differences - estimate) ** 2) / (n - 1) / n) if known else None
        return _with_interval(estimate, se, n - 1.0, n, "paired", by_seed, level, rounding)
    estimate = math.fsum(weights[cell] * math.fsum(found.values()) / len(found) for cell, found in values.items())
    if n < 2 or not math.isfinite(estimate):
        return _with_interval(estimate, None, 0.0, n, "satterthwaite", by_seed, level, rounding)
    shares = [
        (weights[cell] ** 2 * float(np.var(list(found.values()), ddof=1)) / len(found), len(found))
        for cell, found in values.items()
    ]
    variance = math.fsum(share for share, _ in shares)
    spread = math.fsum(share**2 / (count - 1) for share, count in shares)
    df = variance**2 / spread if spread > 0 else float(n - 1)
    return _with_interval(estimate, math.sqrt(variance), df, n, "satterthwaite", by_seed, level, rounding)


def _with_interval(
    estimate: float,
    se: float | None,
    df: float,
    n: int,
    method: Literal["paired", "satterthwaite"],
    by_seed: dict[int, float],
    level: float,
    rounding: float,
) -> Contrast:
    if se is None or se <= rounding:
        return Contrast(estimate, None, None, None, None, None, n, method, by_seed)
    p = 2 * float(special.stdtr(df, -abs(estimate) / se))
    found = Contrast(estimate, None, None, se, df, p, n, method, by_seed)
    low, high = interval(found, level)
    return found._replace(low=low, high=high)


def interval(found: Contrast, level: float) -> tuple[float | None, float | None]:
    """Bound an effect at any level: estimate ± t(df; (1 + level) / 2) · se; None, None where its error is not known."""
    if found.estimate is None or found.se is None:
        return None, None
    half = float(special.stdtrit(found.df, 0.5 + level / 2)) * found.se
    return found.estimate - half, found.estimate + half


def tail(found: Contrast, bound: float) -> tuple[float, float]:
    """One-sided p of an effect not below, and of one not above, `bound`; 1, 1 of a contrast without an interval."""
    if found.estimate is None or found.se is None:
        return 1.0, 1.0
    t = (found.estimate - bound) / found.se
    return float(special.stdtr(found.df, t)), float(special.stdtr(found.df, -t))


def noise_gain(cells: Cells, weights: Weights) -> float | None:
    """How much of one value's own error an effect has: √(Σ w² / n) over its cells, where errors are independent.

    None where a cell has no value.
    """
    counts = {cell: len(cells.get(cell, {})) for cell in weights}
    if not counts or not all(counts.values()):
        return None
    return math.sqrt(math.fsum(weights[cell] ** 2 / n for cell, n in counts.items()))


def seed_correlation(cells: Cells, weights: Weights) -> float | None:
    """How the two sides of a contrast go together over the seeds that all its cells have; None below three seeds.

    Pairing gains from it: var(left - right) = var(left) + var(right) - 2 ρ sd sd.
    """
    values = {cell: cells.get(cell, {}) for cell in weights}
    seeds = sorted(set.intersection(*(set(found) for found in values.values()))) if values else []
    sides = [
        [
            math.fsum(sign * weights[cell] * values[cell][seed] for cell in weights if sign * weights[cell] > 0)
            for seed in seeds
        ]
        for sign in (1, -1)
    ]
    if len(seeds) < 3 or any(float(np.ptp(side)) <= 1e-12 * max(map(abs, side)) for side in sides):
        return None
    return float(np.corrcoef(np.array(sides))[0, 1])


# ---------------------------------------------------------------------------------------------------------
# Which cells a question compares.  levels: cell → factor → level.


def effect(levels: Mapping[str, Mapping[str, str]], changes: Mapping[str, tuple[str, str]]) -> dict[str, float]:
    """Weigh cells for the effect of the factors in `changes` (factor → (left, right)), averaged over all others.

    One factor: left minus right, the main effect.  Two: the difference of differences, their interaction; and so on.
    Settings of the other factors count alike, and only those count in which all compared cells stand: with cells left
    out, the effect is that over the rest.  {} when there is none.
    """
    others = [factor for factor in next(iter(levels.values()), {}) if factor not in changes]
    index = {tuple(sorted(found.items())): cell for cell, found in levels.items()}
    corners = [
        (
            {factor: pair[side] for (factor, pair), side in zip(changes.items(), sides, strict=True)},
            (-1.0) ** sum(sides),
        )
        for sides in itertools.product((0, 1), repeat=len(changes))
    ]
    contexts = {tuple((factor, found[factor]) for factor in others) for found in levels.values()}
    complete: list[dict[str, float]] = []
    for context in sorted(contexts):
        compared = {index.get(tuple(sorted({**dict(context), **corner}.items()))): sign for corner, sign in corners}
        if None not in compared and len(compared) == len(corners):
            complete.append({str(cell): sign for cell, sign in compared.items()})
    return {cell: sign / len(complete) for compared in complete for cell, sign in compared.items()}


# ---------------------------------------------------------------------------------------------------------
# Checks by randomisation, and what a design can show.


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Exact two-sided p of no effect when each seed's difference is as likely to have the other sign (Fisher 1935).

    None for no or more than 20 seeds.  It cannot be less than `smallest_p`.
    """
    n = len(differences)
    if not 0 < n <= 20:
        return None
    found = np.asarray(differences, dtype=float)
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=n)))
    observed = abs(found.sum())
    tolerance = 1e-9 * np.abs(found).sum()
    return float((np.abs(signs @ found) >= observed - tolerance).mean())


def smallest_p(n: int) -> float:
    """The least p that `sign_flip_p` can give with n seeds: 2 in 2^n."""
    return min(1.0, 2.0 ** (1 - n))


def power(effect_size: float, sd: float, n: int, alpha: float = 0.05) -> float:
    """Chance that a two-sided t test of n paired differences with that mean and standard deviation finds an effect."""
    if n < 2:
        return 0.0
    bound = float(special.stdtrit(n - 1, 1 - alpha / 2))
    shift = abs(effect_size) / sd * math.sqrt(n)
    below, above = (float(special.nctdtr(n - 1, shift, edge)) for edge in (-bound, bound))
    # Where a tail is less than 1e-90, SciPy's is NaN at places.
    return 1.0 - (0.0 if math.isnan(above) else above) + (0.0 if math.isnan(below) else below)


def detectable(sd: float, n: int, alpha: float = 0.05, wanted: float = 0.8) -> float | None:
    """Smallest mean difference that n seeds find with the wanted power; None for one seed, which finds nothing."""
    if n < 2:
        return None
    low, high = 0.0, 1e4
    for _ in range(60):  # by halves: importing SciPy's root finders would take longer
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle, 1.0, n, alpha) < wanted else (low, middle)
    return sd * high


def seeds_needed(
    effect_size: float, sd: float, alpha: float = 0.05, wanted: float = 0.8, most: int = 10_000
) -> int | None:
    """Fewest seeds that find a mean difference with the wanted power; None when more than `most`."""
    if power(effect_size, sd, most, alpha) < wanted:
        return None
    return 2 + bisect.bisect_left(range(2, most), True, key=lambda n: power(effect_size, sd, n, alpha) >= wanted)
