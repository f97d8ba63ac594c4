"""Each cell against the reference, seed by seed: effects.csv."""

from __future__ import annotations

import math

import pandas as pd

from bench import protocol, table
from bench.contrasts import contrast
from bench.design import Design

COLUMNS = ["study", "cell", "reference", "asked", "metric", "scale", "n", "method", "effect", "low", "high", "p"]


def against_reference(frame: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Contrast each cell with the reference at the last snapshot of the runs that are done, for each value.

    `effect` is a ratio for values on the log scale, else a difference, with its 95 % interval and the p of no effect,
    none of them corrected for the others.  Survivors only.  No row where a cell or the reference has no value, or one
    on the log scale is not positive.
    """
    at_end = table.last_values(frame)
    reference = next((cell.name for cell in design.cells if cell.levels == design.study.reference), None)
    rows = []
    for asked, metric in table.metrics_of(frame):
        measured = at_end[at_end["metric"] == metric]
        ratio = protocol.measure(metric).scale == "log"
        if ratio and not (measured["value"] > 0).all():
            continue
        values = measured["value"].map(math.log) if ratio else measured["value"]
        cells: dict[str, dict[int, float]] = {}
        for cell, seed, value in zip(measured["cell"], measured["seed"], values, strict=True):
            cells.setdefault(cell, {})[seed] = value
        for cell in design.cells:
            if reference in (None, cell.name):
                continue
            found = contrast(cells, {cell.name: 1.0, str(reference): -1.0})
            if found.estimate is None:
                continue
            bounds = (found.estimate, found.low, found.high)
            shown = [math.exp(x) if ratio and x is not None else x for x in bounds]
            about = (design.study.name, cell.name, reference, asked, metric, "ratio" if ratio else "difference")
            rows.append((*about, found.n, found.method, *shown, found.p))
    return pd.DataFrame.from_records(rows, columns=COLUMNS)
