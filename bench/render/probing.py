"""What happened inside, for the report: the critic's estimate, probes by cell, all probes of troubled runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import pandas as pd
from matplotlib.figure import Figure

from bench import figures, table, traces
from bench.design import Design
from bench.probes import MEASURES, PROBES
from bench.render.save import FORMATS, figure_bytes, page_svg
from bench.store import Store

SHOWN = 4
"""So many troubled runs are shown with all their probes; the others' lie beside the runs."""
TROUBLE = ("diverged", "collapsed", "never_learned")


class Charts(NamedTuple):
    """Figures for the page, each {id, title, svg, alt}, and the files beside it."""

    logged: list[dict[str, Any]]
    """Curves of the training log."""
    probed: list[dict[str, Any]]
    """A curve a measure."""
    troubled: dict[str, list[dict[str, Any]]]
    """By run id, a figure a probe."""
    content: dict[str, Any]
    """Every point of every curve, for report.json: measure → cell → seed → [[kimg, value], …]."""
    files: dict[str, bytes]


def charts(design: Design, store: Store, runs: Sequence[Mapping[str, Any]]) -> Charts:
    """Draw all of it; `runs`: rows of the report's run table."""
    shown = [name for name, what in MEASURES.items() if what.probe != "log"]
    trace = traces.collect(design, store, ["critic_estimate", *shown])
    looks = figures.looks(design)
    files: dict[str, bytes] = {}
    by_cell = {name: _measure(trace, name, looks, files) for name in trace["measure"].unique()}
    logged = [chart for name, chart in by_cell.items() if MEASURES[name].probe == "log"]
    probed = [by_cell[name] for name in shown if name in by_cell]
    if probed:
        files["tables/probes.csv"] = table.to_csv(trace)
    troubled = [run for run in runs if run["outcome"] in TROUBLE]
    first = sorted(troubled, key=lambda run: run["seed"])[:SHOWN]  # one of each cell before a second of any
    drawn = {run["run_id"]: _of_run(run, store, files) for run in first}
    return Charts(logged, probed, {run: found for run, found in drawn.items() if found}, _points(trace), files)


def _measure(
    trace: pd.DataFrame, name: str, looks: Mapping[str, figures.Look], files: dict[str, bytes]
) -> dict[str, Any]:
    what, here = MEASURES[name], trace[trace["measure"] == name]
    ax = figures.curves(here, looks, title=what.label, unit=what.unit, scale=what.scale)
    last = here.sort_values("kimg").groupby(["cell", "seed"]).tail(1).groupby("cell", sort=False)["value"].mean()
    ends = ", ".join(f"{looks[str(cell)].label} {value:.3g}" for cell, value in last.items())
    alt = f"{what.label} over kimg. Means at the end: {ends}."
    return _chart(cast(Figure, ax.figure), f"probe-{name.replace('_', '-')}", what.label, alt, files)


def _of_run(run: Mapping[str, Any], store: Store, files: dict[str, bytes]) -> list[dict[str, Any]]:
    rows = store.run(run["run_id"]).probe_log()
    found = []
    for name, what in PROBES.items():
        ax = figures.probe(rows, name)
        if ax is not None:
            alt = (
                f"{what.title} over kimg, {run['cell']}, seed {run['seed']}, which {run['outcome'].replace('_', ' ')}."
            )
            ident = f"probe-{run['run_id']}-{name.replace('_', '-')}"
            found.append(_chart(cast(Figure, ax.figure), ident, what.title, alt, files, ("png", "svg")))
    return found


def _chart(
    figure: Figure, ident: str, title: str, alt: str, files: dict[str, bytes], forms: Sequence[str] = FORMATS
) -> dict[str, Any]:
    figures.settle(figure)
    files.update({f"figures/{ident}.{form}": figure_bytes(figure, form) for form in forms})
    return {"id": ident, "title": title, "svg": page_svg(figure, ident), "alt": alt}


def _points(trace: pd.DataFrame) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    for (measure, cell, seed), points in trace.groupby(["measure", "cell", "seed"], sort=False):
        line = points[["kimg", "value"]].to_numpy().tolist()
        drawn.setdefault(str(measure), {}).setdefault(str(cell), {})[str(seed)] = line
    return drawn
