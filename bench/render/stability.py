"""How surely each cell trains: what became of its runs, for how long they were well, and the losses on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench import figures, stats, traces
from bench.render.findings import ends
from bench.render.part import Chart, Given, Part
from bench.render.probing import measure_chart, points
from bench.render.scores import keyed
from bench.render.sketch import sketch
from bench.verdicts import figure

LOSSES = ("loss_D", "loss_G")


def part(given: Given) -> Part:
    """Gather `stability`; None while no run has come to an end."""
    runs, cells = given.content["runs"], given.content["cells"]
    if not any(run["outcome"] or run["status"] == "failed" for run in runs):
        return Part({"stability": None})
    rows = [_row(cell, ends(runs, cell["name"])) for cell in cells]
    losses = traces.thinned(given.traces.of(LOSSES))
    drawn = points(losses)
    said = {
        "cells": rows,
        "kinds": [
            {"key": end, "label": what.label}
            for end, what in figures.ENDS.items()
            if any(row["counts"][end] for row in rows)
        ],
        "honesty": _honesty(rows),
        "unjudged": given.content["collapse"]["unjudged"],
        "tests": _tests(cells, runs),
        "losses": drawn,
        "shown": min(len(rows), figures.MOST_ROWS),
    }
    made = Part({"stability": said})
    made.shown["stability_charts"] = _charts(made, rows, given)
    made.shown["loss_charts"] = [
        measure_chart(made, losses[losses["measure"] == name], name, given.looks) for name in LOSSES if name in drawn
    ]
    return made


def _row(cell: Mapping[str, Any], ended: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """What became of a cell's runs, and its survival curve with the marks of those that did not fail."""
    counts = {key: cell[key] for key in ("collapsed", "never_learned", "diverged", "failed", "unfinished")}
    steps = [
        {**step._asdict(), "text": f"{100 * step.share:.0f} %", "interval": f"[{step.low:.2f}, {step.high:.2f}]"}
        for step in stats.survival(ended)
    ]
    return {
        "name": cell["name"],
        "label": cell["label"],
        "counts": {"success": cell["success"]["k"], **counts},
        "runs": cell["seeds"],
        "success": cell["success"],
        "survival": steps,
        "censored": sorted(kimg for kimg, failed in ended if not failed),
    }


def _honesty(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say what no loss at all would still allow, for the cell with most runs that have an outcome."""
    n = max(row["success"]["n"] for row in rows)
    bounds = stats.success_interval(0, n)
    if bounds is None:
        return "No run has an outcome yet."
    return (
        f"0 of {n} lost: Wilson [{bounds[0]:.2f}, {bounds[1]:.2f}], so a cell without a loss may still lose up to "
        f"{100 * bounds[1]:.0f} % of its runs. Stability takes more seeds than quality."
    )


def _tests(cells: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Log-rank tests of every other cell against the reference, where one of the two has lost a run; exploratory."""
    reference = next((cell for cell in cells if cell["reference"]), None)
    if reference is None:
        return []
    against = ends(runs, reference["name"])
    found = [
        (cell, stats.compare_survival(ends(runs, cell["name"]), against)) for cell in cells if cell is not reference
    ]
    tested = [(cell, p) for cell, p in found if p is not None]
    q = stats.benjamini_hochberg([p for _, p in tested])
    return [
        {"cell": cell["name"], "label": cell["label"], "p": p, "q": one, "p_text": figure(p), "q_text": figure(one)}
        for (cell, p), one in zip(tested, q, strict=True)
    ]


def _charts(made: Part, rows: Sequence[Mapping[str, Any]], given: Given) -> list[Chart]:
    bars = sketch(
        figures.outcomes,
        {row["name"]: row["counts"] for row in rows},
        given.looks,
        {row["name"]: f"{row['success']['text']} {row['success']['interval']}" for row in rows},
    )
    alt = "Runs of each cell by their end. " + "; ".join(f"{row['label']}: {_words(row)}" for row in rows) + "."
    caption = (
        "Runs of each cell by their end: trained, or not, and how. At the right k of n runs that trained, of those "
        "with an outcome, with Wilson’s 95 % interval."
    )
    charts = [made.draw(bars, "stability-outcomes", "What became of the runs", alt, caption=caption)]
    if any(row["survival"] for row in rows):
        steps = sketch(
            figures.survival,
            {row["name"]: [(step["kimg"], step["share"]) for step in row["survival"]] for row in rows if _ended(row)},
            {row["name"]: row["censored"] for row in rows},
            given.looks,
        )
        well = "not diverged" if given.content["collapse"]["unjudged"] else "neither diverged nor collapsed"
        alt = "Share of runs that had not failed, over kimg. " + "; ".join(map(_survived, filter(_ended, rows))) + "."
        caption = (
            f"Share of each cell’s runs that had {well}, by images shown to the discriminator "
            "(Kaplan and Meier); ticks are runs that ended without having failed." + keyed(given.looks)
        )
        title = "Runs that had not failed yet"
        charts.append(made.draw(steps, "stability-survival", title, alt, caption=caption))
    return charts


def _ended(row: Mapping[str, Any]) -> bool:
    return bool(row["success"]["n"])


def _words(row: Mapping[str, Any]) -> str:
    said = [f"{n} {figures.ENDS[end].label.partition(':')[0]}" for end, n in row["counts"].items() if n]
    return ", ".join(said) or "no run"


def _survived(row: Mapping[str, Any]) -> str:
    last = row["survival"][-1] if row["survival"] else None
    return f"{row['label']} {last['text']} after {last['kimg']:g} kimg" if last else f"{row['label']} all"
