"""The results table beside the page, and a curve of each score over training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pandas as pd
from matplotlib.figure import Figure

from bench import figures, table
from bench.render.part import Chart, Given, Part
from bench.render.save import file_name, latex, results_table


def part(given: Given) -> Part:
    """Draw `charts`, a curve a score, and write the results table in LaTeX and CSV."""
    content, made = given.content, Part()
    caption = (
        f"{content['study']['name']}: mean ± sd over training seeds of the runs that reached the end "
        f"({content['status']['line']}); k/n: runs that reached it, neither collapsed nor never learned, "
        "of those with an outcome."
    )
    results = results_table(content)
    made.files["tables/results.tex"] = latex(results, caption, "tab:results")
    made.files["tables/results.csv"] = table.to_csv(_flat(results))
    charts: list[Chart] = []
    for metric in content["metrics"]:
        if not metric["detail"] and content["curves"][metric["name"]]:
            name = file_name(f"curve-{metric['name']}", [chart.id for chart in charts])
            charts.append(_chart(made, given, metric, name))
    made.shown["charts"] = charts
    return made


def _flat(shown: pd.DataFrame) -> pd.DataFrame:
    flat = shown.copy()
    flat.columns = pd.Index([" ".join(levels) for levels in shown.columns.to_list()])
    return flat.rename_axis("cell").reset_index()


def _chart(made: Part, given: Given, metric: Mapping[str, Any], ident: str) -> Chart:
    ax = figures.curves(
        given.frame[given.frame["metric"] == metric["name"]],
        given.looks,
        title=f"{metric['label']} {metric['arrow']}",
        unit=metric["axis_unit"],
        scale=metric["scale"],
        real=metric["real"]["value"] if metric["direction"] == "reference" else None,
        floor=metric["floor"]["value"] if metric["direction"] == "lower" else None,
        noise=(metric["noise"]["mean"], metric["noise"]["value"]) if metric["noise"]["evaluations"] else None,
    )
    caption = (
        f"{metric['label']} over thousands of real images shown to the discriminator, {metric['meaning']}. Thin: one "
        "seed; thick: their mean; band: their minimum to maximum; a cross ends a run that diverged."
    )
    return made.draw(
        cast(Figure, ax.figure),
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
