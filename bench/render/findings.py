"""What a study found, as plain data for the page and report.json: verdicts, survival.

Numbers come with the text in which they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import pandas as pd

from bench import stats
from bench.design import Design
from bench.render.part import Given, Part
from bench.verdicts import Word, figure

VERDICT_COLUMNS = (
    "says",
    "verdict",
    "why",
    "kind",
    "measure",
    "metric",
    "at",
    "scale",
    "estimate",
    "low",
    "high",
    "interval_kind",
    "alone_low",
    "alone_high",
    "margin",
    "n",
    "method",
    "p",
    "p_holm",
    "tests",
    "seeds",
    "notes",
)
"""Columns of verdicts.csv; docs/statistics.md says what each holds."""


def part(given: Given) -> Part:
    """Say what was found."""
    verdicts = given.verdicts
    said = {
        "verdicts": [
            {
                **one,
                **{f"{p}_text": figure(one[p]) for p in ("p", "p_holm") if one[p] is not None},
                "success": " : ".join(f"{k}/{n}" for k, n in _runs(one)),
            }
            for one in verdicts
        ],
        "family": {
            "tests": verdicts[0]["tests"] if verdicts else 0,
            "method": "Holm",
            "level": 0.05,
            "interval_kind": verdicts[0]["interval_kind"] if verdicts else "",
            "tally": _tally([one["verdict"] for one in verdicts]),
        },
        "survival": _survival(given.design, given.content["runs"]),
    }
    return Part(said)


def _runs(one: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Success, (k, n), of each side of a contrast, of which a threshold has one; nothing for claims about outcomes,
    whose notes count runs."""
    if one["method"] not in ("paired", "satterthwaite"):
        return []
    return [(one[side][0], one[side][1]) for side in ("left_runs", "right_runs") if any(one.get(side) or ())]


def _tally(words: Sequence[str]) -> str:
    """Count the verdicts: `Of 3 claims: 2 supported, 1 undecided.`"""
    counts = {word: words.count(word) for word in get_args(Word) if word in words}
    listed = ", ".join(f"{n} {word}" for word, n in counts.items())
    return f"Of {len(words)} {'claim' if len(words) == 1 else 'claims'}: {listed}." if words else ""


def verdict_table(verdicts: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The verdicts as a table, in the study's order."""
    rows = [{**one, "notes": "; ".join(one["notes"])} for one in verdicts]
    return pd.DataFrame.from_records(rows, columns=list(VERDICT_COLUMNS))


def _survival(design: Design, runs: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, float]]]:
    """Share of each cell's runs that have neither diverged nor collapsed by each kimg; [] where none has.

    A run that never learned has failed from the start.
    """
    curves = {}
    for cell in design.cells:
        curves[cell.name] = [step._asdict() for step in stats.survival(ends(runs, cell.name))]
    return curves


def ends(runs: Sequence[Mapping[str, Any]], cell: str) -> list[tuple[float, bool]]:
    """Return where each run of a cell that has an outcome ended, in kimg, and whether it failed there."""
    return [_end(run) for run in runs if run["cell"] == cell and run["outcome"]]


def _end(run: Mapping[str, Any]) -> tuple[float, bool]:
    if run["outcome"] == "collapsed":
        return float(run["collapsed_at_kimg"]), True
    if run["outcome"] == "never_learned":
        return 0.0, True
    return float(run["kimg"]), run["outcome"] == "diverged"
