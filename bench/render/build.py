"""Build the whole report of a study: tables, figures, report.json, index.html."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd
from matplotlib.figure import Figure

from bench import effects, figures, table, verdicts
from bench.design import Design
from bench.readings import Readings
from bench.render.content import content as gather
from bench.render.findings import findings, verdict_table
from bench.render.freshness import report_folder
from bench.render.grid import Grid, grid, mosaic
from bench.render.page import page
from bench.render.probing import charts as charts_inside
from bench.render.save import FORMATS, figure_bytes, file_name, latex, page_svg, results_table
from bench.store import Store, write_bytes
from bench.summary import summarise


def build(design: Design, store: Store, reports: Path) -> list[str]:
    """Write everything; return the names of what was written, relative to the report's folder.

    Raises ProtocolError when unlike scores would stand in one table, StoreError when a file cannot be written.
    """
    folder = report_folder(design, reports)
    frame = table.collect(design, store)
    summary = summarise(frame, design)
    noise = table.evaluation_noise(design, store)
    readings = Readings(design, store, frame)
    judged = verdicts.judge(design, readings)
    estimated = effects.estimate(design, readings)
    tables = {
        "runs": frame,
        "summary": summary,
        "noise": noise,
        "effects": estimated,
        "verdicts": verdict_table(judged),
    }
    table.write(store.study(design.study.name), **tables)
    content = gather(design, store, frame, summary, noise)
    content.update(findings(design, judged, estimated, content["runs"]))
    looks = figures.looks(design)
    charts: list[dict[str, Any]] = []
    files = dict(_tables(tables, content))
    for metric in content["metrics"]:
        if not metric["detail"] and content["curves"][metric["name"]]:
            name = file_name(metric["name"], [chart["id"] for chart in charts])
            charts.append(_chart(frame, metric, looks, content["cells"], name))
            files.update(charts[-1].pop("files"))
    inside = charts_inside(design, store, content["runs"])
    files.update(inside.files)
    content["traces"] = inside.content
    samples = grid(design, store, frame, content["metrics"])
    files.update(_sample_figure(samples, design))
    content["samples"] = {
        "medians": samples.medians,
        "chosen_by": samples.chosen_by,
        "rows": samples.rows,
        "tiles_shown": samples.side**2,
    }
    files["report.json"] = (json.dumps(content, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()
    html = page(content, samples, charts + inside.logged, inside.probed, inside.troubled, _downloads([*files]))
    files["index.html"] = html.encode()
    for name, written in files.items():
        write_bytes(folder / name, written)
    return sorted(files)


def _tables(plain: Mapping[str, pd.DataFrame], content: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    for name, frame in plain.items():
        yield f"tables/{name}.csv", table.to_csv(frame)
    caption = (
        f"{content['study']['name']}: mean ± sd over training seeds of the runs that reached the end "
        f"({content['status']['line']}); k/n: runs that reached it, neither collapsed nor never learned, "
        "of those with an outcome."
    )
    yield "tables/results.tex", latex(results_table(content), caption, "tab:results")
    yield "tables/results.csv", table.to_csv(_flat(results_table(content)))


def _flat(shown: pd.DataFrame) -> pd.DataFrame:
    flat = shown.copy()
    flat.columns = pd.Index([" ".join(levels) for levels in shown.columns.to_list()])
    return flat.rename_axis("cell").reset_index()


def _chart(
    frame: pd.DataFrame,
    metric: Mapping[str, Any],
    looks: Mapping[str, figures.Look],
    cells: Sequence[Mapping[str, Any]],
    name: str,
) -> dict[str, Any]:
    ax = figures.curves(
        frame[frame["metric"] == metric["name"]],
        looks,
        title=f"{metric['label']} {metric['arrow']}",
        unit=metric["axis_unit"],
        scale=metric["scale"],
        real=metric["real"]["value"] if metric["direction"] == "reference" else None,
        floor=metric["floor"]["value"] if metric["direction"] == "lower" else None,
        noise=(metric["noise"]["mean"], metric["noise"]["value"]) if metric["noise"]["evaluations"] else None,
    )
    figure = figures.settle(cast(Figure, ax.figure))
    return {
        "id": f"curve-{name}",
        "title": metric["label"],
        "svg": page_svg(figure, f"curve-{name}"),
        "alt": _alt(metric, cells),
        "files": {f"figures/curve-{name}.{form}": figure_bytes(figure, form) for form in FORMATS},
    }


def _alt(metric: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> str:
    """Say in words what a curve shows: where each cell ends."""
    ends = [
        f"{cell['label']} {cell['estimates'][metric['name']]['text']}"
        for cell in cells
        if cell["estimates"][metric["name"]]["n"]
    ]
    said = f"{metric['label']} over kimg, {metric['meaning']}. "
    return said + (f"Means at the end: {', '.join(ends)}." if ends else "No run has reached the end.")


def _sample_figure(samples: Grid, design: Design) -> Iterable[tuple[str, bytes]]:
    """The median seeds' grid for print; nothing where there is no sample at all, or too many cells for a page."""
    most = 8
    if not samples.rows or not any(tile.path for row in samples.tiles for place in row for tile in place):
        return
    reference = figures.reference_levels(design)
    names = [figures.short_name(cell, reference, figures.shared_levels(design)) for cell in design.cells][:most]
    drawn: list[list[Any]] = []
    for number, row in enumerate(samples.tiles):
        line: list[Any] = []
        for place in row[:most]:
            tile = next(tile for tile in place if tile.shown)
            picture = mosaic(tile.path, samples.side) if tile.path else None
            line.append(picture if picture is not None else tile.reason or "not readable")
        drawn.append([real if real is not None else "not readable" for _, real in samples.beside(number)] + line)
    columns = [*(what for what, _ in samples.beside(0)), *names]
    figure = figures.sample_grid(drawn, columns=columns, rows=samples.rows)
    for form in FORMATS:
        yield f"figures/samples.{form}", figure_bytes(figure, form)


def _downloads(files: Sequence[str]) -> list[dict[str, Any]]:
    """Group the files beside the page by stem: [{name, links: [{form, path}]}]."""
    grouped: dict[str, list[dict[str, str]]] = {}
    for path in sorted([*files]):
        stem, _, form = path.rpartition(".")
        grouped.setdefault(stem, []).append({"form": form, "path": path})
    return [{"name": stem, "links": links} for stem, links in grouped.items()]
