"""What a study found, a sentence an effect: for studies that claim nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.design import Design
from bench.effects import CONFOUNDED_STEP

CONFOUNDED = (
    "Rows were added in this order only: what a step shows may depend on the steps before it, and the last row is no "
    "test of an interaction."
)
MOST = 8
"""So many sentences stand at the head; the rest are in the tables."""


def answers(design: Design, listed: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Say each main effect on the primary measure, or each step, or each cell against the reference, in a sentence.

    None for a study with claims, which its verdicts answer; for one that is no evidence; and where nothing is
    estimated.
    """
    study = design.study
    one = next((one for one in listed if one["primary"]), None)
    if study.claims or not study.evidence or one is None:
        return None
    by_kind = {group["kind"]: group["rows"] for group in one["groups"]}
    rows: list[Mapping[str, Any]] = next(
        (by_kind[kind] for kind in ("main", "step", "reference") if kind in by_kind), []
    )
    said = [
        {
            "effect_of": row["effect_of"],
            "says": sentence(row, one["label"]),
            "told": row["excludes_none"],
            "n": row["n"],
            "success": f"{row['left_success']} : {row['right_success']}",
            "notes": [note for note in (row["note"] or "").split("; ") if note and note != CONFOUNDED_STEP],
        }
        for row in rows
    ]
    about = f" {CONFOUNDED}" if rows and rows[0]["kind"] == "step" else ""
    more = max(0, len(said) - MOST)
    return {"label": one["label"], "sentences": said[:MOST], "more": more, "about": about} if said else None


def sentence(row: Mapping[str, Any], label: str) -> str:
    """Say one effect; that it has a sign is said only where its interval excludes none.

    row: as report.json has it.  label: of the measure.
    """
    who = f"{row['effect_of']} instead of {row['against']}"
    ratio = row["scale"] == "ratio"
    size = row["text"].removeprefix("× ")
    seeds = f"n = {row['n']} {'seed' if row['n'] == 1 else 'seeds'}"
    if row["kind"] == "step":
        who = f"{row['effect_of']} after {row['against']}"
    elif row["kind"] == "reference":
        who = f"{row['effect_of']} against {row['against']}"
    if not row["interval"]:
        seen = f"goes with {row['text']} in {label}" if ratio else f"goes with {size} in {label}"
        why = (
            "one seed says nothing of the spread" if row["n"] == 1 else "every seed gives the same number: no interval"
        )
        return f"{who} {seen}; {why}."
    if not row["excludes_none"]:
        return f"Whether {who} changes {label} is open: {row['text']} {row['interval']}, {seeds}."
    verb = f"multiplies {label} by {size}" if ratio else f"moves {label} by {size}"
    return f"{who} {verb} {row['interval']}, {seeds}."
