"""What happened inside, for the report: the critic's estimate, probes by cell, all probes of troubled runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench import figures, table
from bench.probes import MEASURES, PROBES
from bench.render.part import Chart, Given, Part
from bench.render.scores import keyed
from bench.render.sketch import sketch
from bench.store import Store

SHOWN = 4
"""So many troubled runs are shown with all their probes; the others' lie beside the runs."""
TROUBLE = ("diverged", "collapsed", "never_learned")


def part(given: Given) -> Part:
    """Draw all of it: `logged`, curves of the training log; `probed`, a curve a measure; `troubled`, a figure a probe
    by run id.  `traces` holds every point: measure → cell → seed → [[kimg, value], …]."""
    shown = [name for name, what in MEASURES.items() if what.probe != "log"]
    trace = given.traces.of(["critic_estimate", *shown])
    made = Part({"traces": points(trace)})
    by_cell = {
        str(name): measure_chart(made, here, str(name), given.looks)
        for name, here in trace.groupby("measure", sort=False)
    }
    made.shown["logged"] = [chart for name, chart in by_cell.items() if MEASURES[name].probe == "log"]
    made.shown["probed"] = [by_cell[name] for name in shown if name in by_cell]
    if made.shown["probed"] and given.printed:
        made.files["tables/probes.csv"] = table.to_csv(trace)
    troubled = [run for run in given.content["runs"] if run["outcome"] in TROUBLE]
    first = sorted(troubled, key=lambda run: run["seed"])[:SHOWN]  # one of each cell before a second of any
    drawn = {run["run_id"]: _of_run(made, run, given.store) for run in first}
    made.shown["troubled"] = {run: found for run, found in drawn.items() if found}
    return made


def measure_chart(made: Part, here: pd.DataFrame, name: str, looks: Mapping[str, figures.Look]) -> Chart:
    """Draw a measure over training, a line a seed and a mean a cell; `here`: its rows of a trace (`traces.Traces`)."""
    what = MEASURES[name]
    curves = sketch(
        figures.curves, here[list(figures.CURVES)], looks, title=what.label, unit=what.unit, scale=what.scale
    )
    last = (
        here.sort_values("kimg", kind="stable")
        .groupby(["cell", "seed"])
        .tail(1)
        .groupby("cell", sort=False)["value"]
        .mean()
    )
    ends = ", ".join(f"{looks[str(cell)].label} {value:.3g}" for cell, value in last.items())
    alt = f"{what.label} over kimg. Means at the end: {ends}."
    crowd = len(looks) > figures.CROWD
    caption = (
        f"{what.label} over thousands of real images shown to the discriminator"
        f"{f', {what.unit}' if what.unit else ''}. "
        + ("Lines: means over seeds" if crowd else "Thin: one seed; thick: a cell’s mean over seeds")
        + ", dashed where fewer seeds have a value"
        + ("; " if crowd else "; band: their minimum to maximum; ")
        + "a cross ends a run that diverged."
        + keyed(looks)
    )
    ident = f"probe-{name.replace('_', '-')}"
    return made.draw(curves, ident, f"{what.label} over kimg", alt, caption=caption)


def _of_run(made: Part, run: Mapping[str, Any], store: Store) -> list[Chart]:
    rows = store.run(run["run_id"]).probe_log()
    found = []
    for name, what in PROBES.items():
        if figures.probed(rows, name):
            outcome = run["outcome"].replace("_", " ")
            alt = f"{what.title} over kimg, {run['cell']}, seed {run['seed']}, which {outcome}."
            ident = f"probe-{run['run_id']}-{name.replace('_', '-')}"
            lines = (
                "a line a layer, blue in G, orange in D, paler towards the input" if what.layers else "a line a number"
            )
            caption = f"{alt.removesuffix('.')}: one run, so no mean and no band; {lines}."
            title, forms = f"{what.title} over kimg", ("png", "svg")
            picture = sketch(figures.probe, rows, name)
            found.append(made.draw(picture, ident, title, alt, forms, caption=caption, run=run["run_id"]))
    return found


def points(trace: pd.DataFrame) -> dict[str, Any]:
    """Every point of a trace: measure → cell → seed → [[kimg, value], …]."""
    drawn: dict[str, Any] = {}
    for (measure, cell, seed), line in table.lines(trace, "measure", "cell", "seed").items():
        drawn.setdefault(str(measure), {}).setdefault(str(cell), {})[str(seed)] = line
    return drawn
