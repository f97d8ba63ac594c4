"""A curve of each score over training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench import figures
from bench.render.part import Chart, Given, Part
from bench.render.save import file_name
from bench.render.sketch import sketch

MOST_KEYS = 120
"""Cells of the key; more do not fit on a page, nor can their looks be told apart."""


def part(given: Given) -> Part:
    """Draw `charts`, a curve a score; and for print, of many cells, the key to their looks."""
    content, made = given.content, Part()
    _key(made, given)
    charts: list[Chart] = []
    for metric in content["metrics"]:
        if not metric["detail"] and content["curves"][metric["name"]]:
            name = file_name(f"curve-{metric['name']}", [chart.id for chart in charts])
            charts.append(_chart(made, given, metric, name))
    made.shown["charts"] = charts
    return made


def _key(made: Part, given: Given) -> None:
    """Draw the key, for paper, of cells that are too many to be named in each figure."""
    looks = dict(list(given.looks.items())[:MOST_KEYS])
    if len(looks) > figures.NAMED and any(run["outcome"] for run in given.content["runs"]):
        first = f" (the first {len(looks)} of {len(given.looks)})" if len(looks) < len(given.looks) else ""
        caption = f"Colours and marks of the cells{first} in all figures that do not name them; the reference is grey."
        made.keep(sketch(figures.key, looks), "key", "Colours and marks of the cells", caption)


def keyed(looks: Mapping[str, figures.Look]) -> str:
    """What a caption says where the key has the cells' names."""
    return " Cells are named in the key to colours and marks." if len(looks) > figures.NAMED else ""


def _chart(made: Part, given: Given, metric: Mapping[str, Any], ident: str) -> Chart:
    curves = sketch(
        figures.curves,
        given.frame.loc[given.frame["metric"] == metric["name"], list(figures.CURVES)],
        given.looks,
        title=f"{metric['label']} {metric['arrow']}",
        unit=metric["axis_unit"],
        scale=metric["scale"],
        real=metric["real"]["value"] if metric["direction"] == "reference" else None,
        floor=metric["floor"]["value"] if metric["direction"] == "lower" else None,
        noise=(metric["noise"]["mean"], metric["noise"]["value"]) if metric["noise"]["evaluations"] else None,
        runs={cell["name"]: cell["success"]["n"] for cell in given.content["cells"]},
    )
    caption = (
        f"{metric['label']} over thousands of real images shown to the discriminator, {metric['meaning']}. Thin: one "
        "seed; thick: their arithmetic mean, dashed where fewer seeds have a value than the cell has runs; band: their "
        "minimum to maximum; collapsed runs are among them, a cross ends a run that diverged." + keyed(given.looks)
    )
    return made.draw(
        curves,
        ident,
        f"{metric['label']} over kimg",
        _alt(metric, given.content["cells"]),
        caption=caption,
        metrics=[metric["name"]],
    )


def _alt(metric: Mapping[str, Any], cells: list[dict[str, Any]]) -> str:
    """Say in words what a curve shows: where each cell ends."""
    ends = [
        f"{cell['label']} {cell['estimates'][metric['name']]['text']}"
        for cell in cells
        if cell["estimates"][metric["name"]]["n"]
    ]
    said = f"{metric['label']} over kimg, {metric['meaning']}. "
    return said + (f"Means at the end: {', '.join(ends)}." if ends else "No run has reached the end.")
