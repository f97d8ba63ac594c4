"""What the design asks of each measure, answered: effects.csv.

All of it is exploratory: it comes beside the study's claims, whatever they were (`bench.verdicts`).  Each contrast has
its own error; a model that pools the errors of all cells stands beside it as a labelled check of sensitivity.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.regression.linear_model import OLS

from bench import stats
from bench.contrasts import Contrast, contrast, noise_gain, seed_correlation, sign_flip_p, smallest_p
from bench.design import Design
from bench.questions import Question, questions
from bench.readings import Reading, Readings

COLUMNS = (
    "study",
    "kind",
    "effect_of",
    "against",
    "asked",
    "metric",
    "scale",
    "n",
    "method",
    "effect",
    "low",
    "high",
    "se",
    "df",
    "p",
    "q",
    "tests",
    "by_seed",
    "noise_gain",
    "rho",
    "sign_flip_p",
    "smallest_sign_flip_p",
    "unpaired_low",
    "unpaired_high",
    "pooled_effect",
    "pooled_low",
    "pooled_high",
    "better",
    "left_success",
    "right_success",
    "aliases",
    "greyed",
    "note",
)
"""Columns of effects.csv; docs/statistics.md says what each holds."""
Bounds = tuple[float | None, float | None, float | None]
CONFOUNDED_STEP = "the order of the rows is confounded with what they add"
WORDS = {"log": "ratio", "raw": "difference"}


def estimate(design: Design, readings: Readings) -> pd.DataFrame:
    """Answer each question of the design for each value at the last snapshot, and for success.

    A question has no row for a value that some compared cell lacks: what cannot be estimated is absent.  `effect` is
    a ratio where `scale` says so, with its 95 % interval, empty with one seed.  Survivors only: `greyed` where the
    compared cells differ in success.
    """
    success = readings.success()
    rows: list[dict[str, Any]] = []
    for asked, name in readings.values():
        reading = readings.of(name)
        failures = readings.with_failures(name)
        rows += _of_measure(design, reading, asked, success, failures)
    rows += _of_success(design, success)
    named = [{"study": design.study.name, **row} for row in rows]
    return pd.DataFrame.from_records(named, columns=list(COLUMNS))


def _of_measure(
    design: Design,
    reading: Reading,
    asked: str,
    success: Mapping[str, tuple[int, int]],
    failures: Mapping[str, Sequence[float | None]],
) -> list[dict[str, Any]]:
    found = [(question, contrast(reading.cells, question.weights)) for question in questions(design, reading.known)]
    pooled = pooled_contrasts(reading.cells, [question.weights for question, _ in found])
    q, tests = _adjusted([_key(question.weights) for question, _ in found], [one.p for _, one in found])
    interacting = [
        question
        for question, one in found
        if question.kind == "interaction" and one.low is not None and one.high is not None and one.low * one.high > 0
    ]
    rows = []
    for (question, one), pool, adjusted in zip(found, pooled, q, strict=True):
        shown = shower(reading)
        unpaired = contrast(reading.cells, question.weights, paired=False)
        left, right = sides(question.weights)
        rows.append(
            {
                "kind": question.kind,
                "effect_of": question.name,
                "against": question.against,
                "asked": asked,
                "metric": reading.name,
                "scale": WORDS[reading.scale],
                "n": one.n,
                "method": one.method,
                **dict(zip(("effect", "low", "high"), map(shown, (one.estimate, one.low, one.high)), strict=True)),
                "se": one.se,
                "df": one.df,
                "p": one.p,
                "q": adjusted,
                "tests": tests,
                "by_seed": json.dumps({str(seed): shown(value) for seed, value in one.by_seed.items()}),
                "noise_gain": noise_gain(reading.cells, question.weights),
                "rho": seed_correlation(reading.cells, question.weights),
                **_randomised(one),
                "unpaired_low": shown(unpaired.low),
                "unpaired_high": shown(unpaired.high),
                **dict(zip(("pooled_effect", "pooled_low", "pooled_high"), map(shown, pool), strict=True)),
                "better": stats.chance_of_better(
                    [value for cell in left for value in failures[cell]],
                    [value for cell in right for value in failures[cell]],
                    str(reading.direction),
                )
                if question.kind in ("reference", "step")
                else None,
                "left_success": _share(left, success),
                "right_success": _share(right, success),
                "aliases": " = ".join(question.aliases) or None,
                "greyed": unequal(question.weights, success),
                "note": "; ".join(_notes(question, one, success, interacting)) or None,
            }
        )
    return rows


def shower(reading: Reading) -> Any:
    """How a contrast of this measure is shown: as a ratio where its scale is the logarithm.

    None, no bound, for a ratio that no number can hold.
    """

    def shown(value: float | None) -> float | None:
        if value is None or reading.scale == "raw":
            return value
        return math.exp(value) if value < 700 else None

    return shown


def sides(weights: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """Cells that count for an effect, and those that count against it."""
    return [cell for cell, w in weights.items() if w > 0], [cell for cell, w in weights.items() if w < 0]


def unequal(weights: Mapping[str, float], success: Mapping[str, tuple[int, int]]) -> bool:
    """Whether the compared cells differ in their share of success, so that survivors are compared with survivors."""
    shares = {success[cell][0] / success[cell][1] for cell in weights if success[cell][1]}
    return len(shares) > 1


def _share(cells: Sequence[str], success: Mapping[str, tuple[int, int]]) -> str:
    return "/".join(str(sum(success[cell][place] for cell in cells)) for place in (0, 1))


def _randomised(one: Contrast) -> dict[str, float | None]:
    """The exact test by signs, and the least p that it can give with so many seeds; nothing for a broken pairing."""
    if one.method != "paired" or one.n < 2:
        return {"sign_flip_p": None, "smallest_sign_flip_p": None}
    return {"sign_flip_p": sign_flip_p(list(one.by_seed.values())), "smallest_sign_flip_p": smallest_p(one.n)}


def _notes(
    question: Question, one: Contrast, success: Mapping[str, tuple[int, int]], interacting: Sequence[Question]
) -> list[str]:
    said = []
    if unequal(question.weights, success):
        said.append("over the runs that reached the end: the cells differ in success")
    if question.over[0] < question.over[1]:
        said.append(f"over {question.over[0]} of {question.over[1]} settings of the other factors")
    if one.method == "satterthwaite":
        said.append("not paired: cells have different seeds")
    elif one.n > 1 and one.se is None:
        said.append("no interval: every seed gives the same number")
    if question.kind == "main":
        depends = [other.name for other in interacting if question.factors[0] in other.factors]
        if depends:
            said.append(f"depends on another factor ({', '.join(depends)}): read the simple effects first")
    if question.kind == "step":
        said.append(CONFOUNDED_STEP)
    return said


def _key(weights: Mapping[str, float]) -> frozenset[tuple[str, float]]:
    """What two questions that are one test have in common: weights that are alike but for a factor."""
    first = weights[min(weights)] if weights else 1.0
    return frozenset((cell, round(weight / first, 9)) for cell, weight in weights.items())


def _adjusted(keys: Sequence[Hashable], p: Sequence[float | None]) -> tuple[list[float | None], int]:
    """Benjamini and Hochberg's q of those that have a p, over distinct tests; and how many those are.

    A row that asks what another asks, under another name, has the same key: it counts once, and has the same q.
    """
    distinct = {key: one for key, one in zip(keys, p, strict=True) if one is not None}
    q = dict(zip(distinct, stats.benjamini_hochberg(list(distinct.values())), strict=True))
    return [None if one is None else q[key] for key, one in zip(keys, p, strict=True)], len(distinct)


def _of_success(design: Design, success: Mapping[str, tuple[int, int]]) -> list[dict[str, Any]]:
    """Differences in the share of runs that succeed, for each question of two sides."""
    known = [cell for cell, (_, n) in success.items() if n]
    rows: list[dict[str, Any]] = []
    keys: list[Hashable] = []
    for question in questions(design, known):
        left, right = sides(question.weights)
        counts = [sum(success[cell][place] for cell in side) for side in (left, right) for place in (0, 1)]
        found = stats.compare_rates(*counts)
        if question.kind == "interaction" or found is None:
            continue
        keys.append(frozenset((frozenset(left), frozenset(right))))
        rows.append(
            {
                "kind": question.kind,
                "effect_of": question.name,
                "against": question.against,
                "asked": "success",
                "metric": "success",
                "scale": "difference",
                "n": min(counts[1], counts[3]),
                "method": "barnard",
                "effect": found.estimate,
                "low": found.low,
                "high": found.high,
                "p": min(1.0, 2 * min(found.p_above, found.p_below)),
                "left_success": _share(left, success),
                "right_success": _share(right, success),
                "aliases": " = ".join(question.aliases) or None,
                "greyed": False,
            }
        )
    adjusted, tests = _adjusted(keys, [row["p"] for row in rows])
    for row, q in zip(rows, adjusted, strict=True):
        row.update(q=q, tests=tests)
    return rows


# ---------------------------------------------------------------------------------------------------------
# Sensitivity: one model for all.


def pooled_contrasts(cells: Mapping[str, Mapping[int, float]], wanted: Sequence[Mapping[str, float]]) -> list[Bounds]:
    """Estimate contrasts by least squares on cell + seed, with one error pooled from all cells.

    Returns (estimate, low, high) at 95 % for each; None where nothing is left to estimate the error from.  It is
    trusted less than a contrast's own error: with one cell four times as noisy as the others it covered 84 to 92 %.
    """
    nothing: list[Bounds] = [(None, None, None)] * len(wanted)
    rows = [(cell, seed, value) for cell, found in cells.items() for seed, value in found.items()]
    names, seeds = [cell for cell, found in cells.items() if found], sorted({seed for _, seed, _ in rows})
    if not wanted or len(rows) <= len(names) + len(seeds) - 1:
        return nothing
    model = np.zeros((len(rows), len(names) + len(seeds) - 1))
    for number, (cell, seed, _) in enumerate(rows):
        model[number, names.index(cell)] = 1
        if seed != seeds[0]:
            model[number, len(names) + seeds.index(seed) - 1] = 1
    if np.linalg.matrix_rank(model) < model.shape[1]:
        return nothing
    fit = OLS(np.array([value for _, _, value in rows]), model).fit()
    if fit.ssr <= 1e-24:
        return nothing
    asked = np.zeros((len(wanted), model.shape[1]))
    for number, weights in enumerate(wanted):
        for cell, weight in weights.items():
            asked[number, names.index(cell)] = weight
    tested = fit.t_test(asked)
    bounds = np.atleast_2d(tested.conf_int(0.05))
    return [
        (float(effect), float(low), float(high))
        for effect, (low, high) in zip(np.atleast_1d(tested.effect), bounds, strict=True)
    ]
