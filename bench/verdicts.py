"""Claims, judged: supported, refuted, undecided (with the seeds it would take) or not estimable.

A study's claims are its primary family.  Each is tested in both directions by its own error, the p of the family are
adjusted by Holm, and a claim is decided where its adjusted p is at most 0.05.  Their intervals are simultaneous: all
of them hold the truth in 95 % of studies (Bonferroni).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Literal

from bench import stats
from bench.claims import Sides, compared, members
from bench.contrasts import Contrast, contrast, tail
from bench.design import Design
from bench.evidence import MOST_SEEDS, Evidence, figure, of_contrast, of_rates, seeds_in, seeds_of_counts
from bench.readings import NOT_COMPUTED, Reading, Readings, moment
from bench.study_file import Claim

Word = Literal["supported", "refuted", "undecided", "not estimable", "skipped"]
Bounds = tuple[float | None, float | None]
LEVEL = 0.05
APPROXIMATE = ("barnard", "binomial", "pearson")
"""Methods whose interval (Newcombe's, Wilson's, Fisher's) is another than their test's."""
SIGN = {"lower": -1, "fewer": -1, "negative": -1, "higher": 1, "more": 1, "positive": 1}


def judge(design: Design, readings: Readings) -> list[dict[str, Any]]:
    """Judge each claim of the study, in its order, JSON-able; [] for a study that gives no evidence.

    Claims whose measure is not computed here are `skipped`, and no part of the family.
    """
    if not design.study.evidence:
        return []
    found = [_weigh(claim, design, readings) for claim in design.study.claims]
    family = [place for place, one in enumerate(found) if one.reason != NOT_COMPUTED]
    p = [min(1.0, 2 * min(one.p_for, one.p_against)) for one in found]
    adjusted = dict(zip(family, stats.holm([p[place] for place in family]), strict=True))
    return [
        _verdict(claim, one, p[place], adjusted.get(place), len(family))
        for place, (claim, one) in enumerate(zip(design.study.claims, found, strict=True))
    ]


def _verdict(claim: Claim, one: Evidence, p: float, adjusted: float | None, tests: int) -> dict[str, Any]:
    word: Word
    if one.reason:
        word = "skipped" if one.reason == NOT_COMPUTED else "not estimable"
    elif adjusted is not None and adjusted <= LEVEL:
        word = "supported" if one.p_for < one.p_against else "refuted"
    else:
        word = "undecided"
    more = one.needed(LEVEL / max(tests, 1)) if word == "undecided" and one.needed else None
    estimable = word in ("supported", "refuted", "undecided")
    level = 1 - LEVEL / max(tests, 1)
    low, high = one.interval(level)
    alone = one.interval(1 - LEVEL)
    notes = list(one.notes)
    if word == "undecided" and p <= LEVEL:
        notes.append(f"alone it would be decided (p = {p:.2g}); with {tests} claims in the family it is not")
    if estimable:
        notes += _unlike(one, word, p, tests, (low, high))
    if estimable and one.method not in ("pearson", "barnard", "binomial") and one.n < 5:
        notes.append(f"{one.n} seeds describe; they do not decide much")
    return {
        "says": claim.says,
        "kind": claim.kind,
        "at": moment(claim.at),
        "verdict": word,
        "why": _why(claim, one, word, more, (low, high), tests),
        "estimate": one.estimate,
        "low": low,
        "high": high,
        "interval_kind": interval_words(tests),
        "alone_low": alone[0],
        "alone_high": alone[1],
        "scale": one.scale,
        "margin": claim.margin,
        "n": one.n,
        "method": one.method,
        "p": p if estimable else None,
        "p_holm": adjusted if estimable else None,
        "tests": tests,
        "seeds": more if one.unit == "seeds" else None,
        "notes": notes,
        **dict(one.more),
        **({"steps": [_step(step, level, len(one.steps)) for step in one.steps]} if one.steps else {}),
    }


def interval_words(tests: int) -> str:
    """Say what the interval of a claim is, of a family of so many."""
    return f"95 % simultaneous over {tests} claims" if tests > 1 else "95 %"


def _step(one: Evidence, level: float, steps: int) -> dict[str, Any]:
    """A step of an order, whose interval holds together with those of the others."""
    low, high = one.interval(_each(level, steps))
    return {"estimate": one.estimate, "low": low, "high": high, "n": one.n}


def _each(level: float, of: int) -> float:
    """Level of each of so many intervals that are to hold together at `level` (Bonferroni)."""
    return 1 - (1 - level) / of


def _unlike(one: Evidence, word: Word, p: float, tests: int, bounds: Bounds) -> list[str]:
    """Say why a verdict and the interval beside it do not tell the same, where they do not."""
    low, high = bounds
    inside = [edge for edge in one.edges if (low is None or low <= edge) and (high is None or edge <= high)]
    edges = " and ".join(map(figure, dict.fromkeys(inside or one.edges)))
    if word == "undecided":
        if inside or not one.edges:
            return []
        why = (
            "the interval is an approximation"
            if one.method in APPROXIMATE
            else "either sign would support it, and each is tested at half the level"
        )
        return [f"the interval excludes {edges}, the test does not: {why}"]
    if not inside:
        return []
    if p > LEVEL / tests:
        why = f"it is one for all {tests} claims at once, and Holm asks less of a claim once clearer ones are decided"
    elif one.method in APPROXIMATE:
        why = "it is an approximation, which the test is not"
    else:
        why = f"it is one for all {len(one.steps)} steps at once, and the test takes each by itself"
    return [f"decided although the interval holds {edges}: {why}"]


def _why(claim: Claim, one: Evidence, word: Word, more: int | None, bounds: Bounds, tests: int) -> str:
    """The numbers behind a verdict, in a line."""
    if one.reason:
        return one.reason
    signed = one.scale in ("difference", "correlation")
    said = {"ratio": "× ", "share": "share ", "correlation": "r = "}.get(one.scale, "") + figure(one.estimate, signed)
    if bounds != (None, None):
        said += f" [{figure(bounds[0], signed)}, {figure(bounds[1], signed)}]"
        said += f" ({interval_words(tests)})" if tests > 1 else ""
    said += f", n = {one.n}"
    if claim.margin is not None:
        said += f", margin {figure(claim.margin)}"
    if word == "undecided":
        count = f"about {more}" if more else f"not even {MOST_SEEDS}"
        said += f"; {count} {one.unit} would decide it"
        said += ", not more seeds" if one.unit == "cells" else ""
    return said


# ---------------------------------------------------------------------------------------------------------
# Each kind of claim.


def _weigh(claim: Claim, design: Design, readings: Readings) -> Evidence:
    if claim.kind == "correlation":
        return _correlation(claim, design, readings)
    reading = readings.of(claim.measure, claim.at)
    if reading.reason:
        return Evidence(reason=reading.reason, more={"measure": claim.measure})
    found = _KINDS[claim.kind](claim, design, readings, reading)
    about = {"measure": claim.measure, "metric": reading.name, "label": reading.label, "real": reading.real}
    return found._replace(more={**about, **found.more})


def scaled_margin(claim: Claim, reading: Reading) -> float:
    """The margin on the measure's scale; 0 where none is stated."""
    if claim.margin is None:
        return 0.0
    return abs(math.log(claim.margin)) if reading.scale == "log" else claim.margin


def _difference(claim: Any, design: Design, readings: Readings, reading: Reading) -> Evidence:
    """The effect is on the expected side of the margin, or of nothing."""
    asked = compared(claim, design)
    if not asked.weights:
        return Evidence(reason=asked.reason)
    sign, bound = SIGN[claim.expect], scaled_margin(claim, reading)
    if reading.kind == "outcome":
        return of_rates(reading, asked, [sign * bound], lambda tails: _one_sided(tails(sign * bound), sign))
    one = contrast(reading.cells, asked.weights)
    p_for, p_against = _one_sided(tail(one, sign * bound), sign)
    return of_contrast(one, reading, asked, readings, p_for, p_against, [sign * bound])


def _one_sided(tails: tuple[float, float], sign: int) -> tuple[float, float]:
    """Order (p not below, p not above) as (for, against) an effect that is expected on the side of `sign`.

    `tails[1]` is small where the effect is above the bound: p of “not above”.
    """
    return (tails[1], tails[0]) if sign > 0 else (tails[0], tails[1])


def _within(below: tuple[float, float], above: tuple[float, float]) -> tuple[float, float]:
    """Two one-sided tests: (p for, p against) an effect between two bounds, from the tails at each."""
    return max(below[1], above[0]), min(below[0], above[1])


def _equivalence(claim: Any, design: Design, readings: Readings, reading: Reading) -> Evidence:
    """The effect lies between −margin and margin (Schuirmann 1987, each side at 2.5 %)."""
    asked = compared(claim, design)
    if not asked.weights:
        return Evidence(reason=asked.reason)
    if claim.margin is None:
        return Evidence(reason="an equivalence without a margin cannot be judged: say how far apart is still alike")
    bound = scaled_margin(claim, reading)
    if reading.kind == "outcome":
        return of_rates(reading, asked, [-bound, bound], lambda tails: _within(tails(-bound), tails(bound)))
    one = contrast(reading.cells, asked.weights)
    p_for, p_against = _within(tail(one, -bound), tail(one, bound))
    return of_contrast(one, reading, asked, readings, p_for, p_against, [-bound, bound])


def _interaction(claim: Any, design: Design, readings: Readings, reading: Reading) -> Evidence:
    """The effect of one factor depends on another: the difference of differences is not nothing, or has a sign.

    Without a sign there are two ways to be supported, and each is judged at half the level: its p counts twice.
    """
    asked = compared(claim, design)
    if not asked.weights:
        return Evidence(reason=asked.reason)
    one, bound = contrast(reading.cells, asked.weights), scaled_margin(claim, reading)
    if claim.expect:
        sign = SIGN[claim.expect]
        p_for, p_against = _one_sided(tail(one, sign * bound), sign)
        return of_contrast(one, reading, asked, readings, p_for, p_against, [sign * bound])
    p_against, p_for = _within(tail(one, -bound), tail(one, bound))
    beyond, within = min(1.0, 2 * p_for), p_against if bound else 1.0
    found = of_contrast(one, reading, asked, readings, beyond, within, [-bound, bound])
    level_of = found.needed
    return found._replace(needed=level_of and (lambda level: level_of(level / 2)))


def _order(claim: Any, design: Design, readings: Readings, reading: Reading) -> Evidence:
    """Each is on the expected side of the next: for, all of the steps must be; against, one of them is not."""
    steps = []
    for left, right in zip(claim.cells, claim.cells[1:], strict=False):
        step = claim.model_copy(update={"left": left, "right": right})
        found = _difference(step, design, readings, reading)
        if found.reason:
            return found
        steps.append(found)
    weakest = max(steps, key=lambda one: one.p_for)
    notes = tuple(dict.fromkeys(note for one in steps for note in one.notes))
    several = f", its interval one for all {len(steps)} steps at once" if len(steps) > 1 else ""
    return weakest._replace(
        p_against=min(1.0, len(steps) * min(one.p_against for one in steps)),
        interval=lambda level: weakest.interval(_each(level, len(steps))),
        notes=(f"the step that says least for it is shown{several}", *notes),
        steps=tuple(steps),
    )


def _threshold(claim: Any, design: Design, readings: Readings, reading: Reading) -> Evidence:
    """The mean of the cells is on the expected side of a value, by the margin where one is stated."""
    names = members(claim.cells, design)
    if not names:
        return Evidence(reason="no such cell was run")
    sign = SIGN[claim.expect]
    if reading.kind == "outcome":
        return _share_of(claim, reading, names, sign)
    if reading.scale == "log" and claim.value <= 0:
        return Evidence(reason=f"{claim.value:g} has no logarithm, and this measure is judged by its logarithm")
    value = math.log(claim.value) if reading.scale == "log" else claim.value
    one = _mean_over(reading, names)
    edge = value + sign * scaled_margin(claim, reading)
    p_for, p_against = _one_sided(tail(one, edge), sign)
    asked = Sides({name: 1 / len(names) for name in names})
    found = of_contrast(one, reading, asked, readings, p_for, p_against, [edge])
    return found._replace(scale="mean", more={**found.more, "value": claim.value})


def _mean_over(reading: Reading, names: Sequence[str]) -> Contrast:
    """The mean over cells, of the seeds that all of them have: cells share what a seed draws, and errors that go
    together do not average out as those of cells apart would."""
    seeds = set.intersection(*(set(reading.cells[name]) for name in names))
    common = {name: {seed: v for seed, v in reading.cells[name].items() if seed in seeds} for name in names}
    return contrast(common, {name: 1 / len(names) for name in names})


def _share_of(claim: Any, reading: Reading, names: Sequence[str], sign: int) -> Evidence:
    """The share of all runs of the cells, against a value: the exact binomial test."""
    values = [value for name in names for value in reading.cells[name].values()]
    k, n = round(sum(values)), len(values)
    edge = claim.value + sign * (claim.margin or 0.0)
    if not n or not 0 <= edge <= 1:
        return Evidence(reason=f"{edge:g} is no share of runs" if n else "no run has an outcome")

    def repeated(times: int) -> tuple[float, float]:
        return _one_sided(stats.share_tails(times * k, times * n, edge), sign)

    def wilson(level: float) -> Bounds:
        return stats.success_interval(k, n, level) or (None, None)

    needed, more = seeds_of_counts(repeated, seeds_in(reading, names)), {"value": claim.value, "left_runs": [k, n]}
    return Evidence(*repeated(1), k / n, wilson, (edge,), "share", n, "binomial", needed, more=more)


def _along(claim: Any, design: Design, readings: Readings) -> Evidence:
    """Spearman's rho over the snapshots of each run; its mean over the cells, one value a seed."""
    reading = readings.ranked_together(claim.x, claim.y)
    about = {"measure": reading.measure, "metric": reading.name, "label": reading.label}
    names = members(claim.cells, design) if claim.cells else [cell.name for cell in design.cells]
    if reading.reason or not names:
        return Evidence(reason=reading.reason or "no such cell was run", more=about)
    sign, asked = SIGN[claim.expect], Sides({name: 1 / len(names) for name in names})
    one = _mean_over(reading, names)
    edge = sign * (claim.margin or 0.0)
    found = of_contrast(one, reading, asked, readings, *_one_sided(tail(one, edge), sign), [edge])
    return found._replace(scale="correlation", more={**found.more, **about})


def _correlation(claim: Any, design: Design, readings: Readings) -> Evidence:
    """Pearson's r on the measures' scales, with Fisher's interval: over cells by their means, in one over its seeds.

    Runs of a cell are no replicates of what differs between cells: counted as such, chance alone would look like much.
    """
    if claim.over == "snapshots":
        return _along(claim, design, readings)
    x, y = readings.of(claim.x, claim.at), readings.of(claim.y, claim.at)
    about = {"measure": f"{claim.x}, {claim.y}", "metric": f"{x.name}, {y.name}", "label": f"{y.label} with {x.label}"}
    names = members(claim.cells, design) if claim.cells else [cell.name for cell in design.cells]
    if reason := x.reason or y.reason:
        return Evidence(reason=reason, more=about)
    both = {
        name: [
            (x.cells[name][seed], y.cells[name][seed]) for seed in sorted(x.cells[name].keys() & y.cells[name].keys())
        ]
        for name in names
    }
    unit: Literal["cells", "seeds"] = "cells" if len(names) > 1 else "seeds"
    pairs = [pair for found in both.values() for pair in found]
    if unit == "cells":
        pairs = [
            (statistics.fmean(one for one, _ in found), statistics.fmean(one for _, one in found))
            for found in both.values()
            if found
        ]
    found = stats.correlation(pairs)
    if found is None:
        what = "cells" if unit == "cells" else "runs"
        return Evidence(
            reason=f"{len(pairs)} {what} have both, and they must differ: four at least are due", more=about
        )

    def fisher(level: float) -> Bounds:
        at = stats.correlation(pairs, level)
        return (at.low, at.high) if at else (None, None)

    p_for, p_against = _one_sided((found.p_below, found.p_above), SIGN[claim.expect])
    return Evidence(
        p_for,
        p_against,
        found.r,
        fisher,
        (0.0,),
        "correlation",
        len(pairs),
        "pearson",
        lambda level: stats.pairs_needed(found.r, level, most=MOST_SEEDS),
        unit,
        notes=("over cells: each counts once, by the means over its seeds",) if unit == "cells" else (),
        more={**about, "pairs": [list(pair) for pair in pairs]},
    )


_KINDS: dict[str, Callable[[Any, Design, Readings, Reading], Evidence]] = {
    "difference": _difference,
    "equivalence": _equivalence,
    "interaction": _interaction,
    "order": _order,
    "threshold": _threshold,
}
