"""Studies with known effects, unequal spreads and failures: what intervals, verdicts and families are held against."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import miniature as mini
import numpy as np
from scipy import stats

from bench import verdicts
from bench.claims import compared
from bench.contrasts import contrast
from bench.design import Design
from bench.readings import Reading
from bench.study_file import Correlation, Difference, Equivalence, Interaction, Order, Threshold

SN, ADAIN = {"d_weight": "spectral"}, {"g_norm": "adain"}
CLAIMS = (
    Difference(says="sn", kind="difference", left=SN, right={"d_weight": "none"}, measure="fd", expect="lower"),
    Difference(says="adain", kind="difference", left=ADAIN, right={"g_norm": "bn"}, measure="fd", expect="higher"),
    Difference(
        says="one", kind="difference", left={**ADAIN, **SN}, right={**ADAIN, "d_weight": "none"}, measure="fd",
        expect="lower",
    ),
    Equivalence(says="alike", kind="equivalence", left=SN, right={"d_weight": "none"}, measure="fd", margin=1.2),
)  # fmt: skip
EVERY = ({**ADAIN, **SN}, {**ADAIN, "d_weight": "none"}, {"g_norm": "bn", **SN})
ALONE = (
    Interaction(says="depends", kind="interaction", factors=("g_norm", "d_weight"), measure="fd"),
    Interaction(says="less", kind="interaction", factors=("g_norm", "d_weight"), measure="fd", expect="lower"),
    Threshold(says="above", kind="threshold", cells={}, measure="fd", value=math.exp(4), expect="higher"),
    Order(says="falls", kind="order", cells=EVERY, measure="fd", expect="lower"),
    Correlation(says="goes with", kind="correlation", x="apart", y="fd_apart", expect="positive"),
    Difference(
        says="fails less", kind="difference", left=SN, right={"d_weight": "none"}, measure="diverged", expect="fewer"
    ),
)  # fmt: skip
"""Claims each judged alone, as a family of one; none is true where spectral norm does nothing."""
TRUE = {"sn": 0.0, "adain": 0.0, "one": 0.0, "alike": math.log(1.2)}
"""The effect, on the logarithm, at which each claim is just not true: that of a null study."""


class Drawn:
    """What `bench.readings.Readings` gives, of numbers drawn here: one measure's, unless others are named."""

    def __init__(
        self,
        cells: dict[str, dict[int, float]],
        seeds: int,
        others: dict[str, dict[str, dict[int, float]]] | None = None,
    ) -> None:
        self._cells, self._seeds, self._others = cells, seeds, others or {}

    def of(self, measure: str, at: object = "last") -> Reading:
        if measure == "diverged":
            ended = {
                cell: {seed: float(seed not in found) for seed in range(self._seeds)}
                for cell, found in self._cells.items()
            }
            return Reading(measure, measure, measure, "outcome", "raw", None, ended)
        cells = self._others.get(measure, self._cells)
        return Reading(measure, "fd[random]", "fd", "metric", "log", "lower", cells)

    def success(self) -> dict[str, tuple[int, int]]:
        return {cell: (len(found), self._seeds) for cell, found in self._cells.items()}


def a_study(folder: Path) -> Design:
    """A 2×2 with the claims above."""
    design = mini.a_design(folder)
    return dataclasses.replace(design, study=dataclasses.replace(design.study, claims=CLAIMS))


def draw(rng: np.random.Generator, design: Design, seeds: int, effect: float, failing: float) -> Drawn:
    """Draw a study: log values with what a seed shares, one cell four times as noisy, runs lost by chance.

    effect: of spectral norm, with either norm.
    """
    shared = rng.normal(0, 0.1, seeds)
    cells: dict[str, dict[int, float]] = {}
    for place, cell in enumerate(design.cells):
        spread = 0.4 if place == len(design.cells) - 1 else 0.1
        base = 4.0 + (effect if cell.levels["d_weight"] == "spectral" else 0.0)
        values = base + shared + rng.normal(0, spread, seeds)
        cells[cell.name] = {seed: float(v) for seed, v in enumerate(values) if rng.random() >= failing}
    # Two measures that have nothing to do with each other, of which cells have levels of their own.
    others = {
        name: {
            cell: dict(zip(found, level + rng.normal(0, 0.1, len(found)), strict=True))
            for (cell, found), level in zip(cells.items(), rng.normal(0, 1, len(cells)), strict=True)
        }
        for name in ("apart", "fd_apart")
    }
    return Drawn(cells, seeds, others)


def truths(effect: float) -> dict[str, float]:
    """What each claim of `CLAIMS` and `ALONE` is about, as it is shown, where spectral norm has this effect."""
    ratio = math.exp(effect)
    mean = math.exp(4 + effect / 2)
    return {"sn": ratio, "adain": 1, "one": ratio, "alike": ratio, "depends": 1, "less": 1, "above": mean} | {
        "goes with": 0,
        "fails less": 0,
    }


def hold(judged: list[dict[str, Any]], effect: float, bounds: tuple[str, str]) -> bool:
    """Whether all intervals of a study's claims hold the truth.

    Of an order, those of its steps (down, then up), which have none of their own to stand alone.
    """
    true = truths(effect)
    shown = [(one, true[one["says"]]) for one in judged if one["says"] in true]
    if bounds == ("low", "high"):
        steps = [one["steps"] for one in judged if one["says"] == "falls" and "steps" in one]
        shown += [pair for two in steps for pair in zip(two, (math.exp(effect), math.exp(-effect)), strict=True)]
    low, high = bounds
    return all(one[low] is None or one[low] <= truth <= one[high] for one, truth in shown)


def simulate(design: Design, studies: int, seeds: int, failing: float, seed: int) -> dict[str, tuple[int, int]]:
    """Count over so many studies: (times, of how many) the interval held the truth, a null claim was supported, ….

    `covered`: main effect of a real one; `any false`: some claim of a null study decided against what is true, where
    the claims of differences are exactly null; `supported: X`: null claims supported, of those that could be judged;
    `all held`: all claims as one family, every simultaneous interval held the truth; `all held, each alone`: every
    claim's own 95 % interval did.
    """
    rng = np.random.default_rng(seed)
    counts: dict[str, list[int]] = {}

    def note(what: str, happened: bool) -> None:
        count = counts.setdefault(what, [0, 0])
        count[0] += happened
        count[1] += 1

    family = dataclasses.replace(design, study=dataclasses.replace(design.study, claims=CLAIMS + ALONE))
    weights = {claim.says: compared(claim, design).weights for claim in CLAIMS}
    for _ in range(studies):
        effect = math.log(0.8)
        drawn = draw(rng, design, seeds, effect, failing)
        for name, truth in (("sn", effect), ("adain", 0.0)):
            found = contrast(drawn.of("fd").cells, weights[name])
            if found.low is not None and found.high is not None:
                note(f"covered: {name}", found.low <= truth <= found.high)
        judged = verdicts.judge(family, drawn)  # type: ignore[arg-type]
        note("all held", hold(judged, effect, ("low", "high")))
        note("all held, each alone", hold(judged, effect, ("alone_low", "alone_high")))
        nothing = draw(rng, design, seeds, 0.0, failing)
        for claim in ALONE:
            alone = dataclasses.replace(design, study=dataclasses.replace(design.study, claims=(claim,)))
            [one] = verdicts.judge(alone, nothing)  # type: ignore[arg-type]
            if one["verdict"] != "not estimable":
                note(f"supported: {claim.says}", one["verdict"] == "supported")
        null = verdicts.judge(design, nothing)  # type: ignore[arg-type]
        for one in null[:3]:
            if one["verdict"] != "not estimable":
                note(f"supported: {one['says']}", one["verdict"] == "supported")
        note("any false", any(one["verdict"] in ("supported", "refuted") for one in null[:3]))
        edge = verdicts.judge(design, draw(rng, design, seeds, TRUE["alike"], failing))[3]  # type: ignore[arg-type]
        if edge["verdict"] != "not estimable":
            note("supported: alike", edge["verdict"] == "supported")
    return {what: (k, n) for what, (k, n) in counts.items()}


def at_most(k: int, n: int, share: float) -> bool:
    """Whether k of n is as few as a true share of at most `share` gives, but once in a thousand."""
    return k <= stats.binom.ppf(0.999, n, share)


def at_least(k: int, n: int, share: float) -> bool:
    """Whether k of n is as many as a true share of at least `share` gives, but once in a thousand."""
    return k >= stats.binom.ppf(0.001, n, share)
