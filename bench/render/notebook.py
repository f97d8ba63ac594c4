"""A notebook to start from: it reads report.json and runs.csv beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bench.harmless import harmless

_READ = """\
import json
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

here = Path(".")  # the folder of the report
report = json.loads((here / "report.json").read_text(encoding="utf-8"))
runs = pd.read_csv(here / "tables" / "runs.csv")
print(report["study"]["name"], "·", report["status"]["line"])
"""
_TABLE = """\
# One row a run, snapshot and value; `status` says what became of the run.
last = runs[runs["kimg"] == runs.groupby("run_id")["kimg"].transform("max")]
done = last[(last["status"] == "done") & last["value"].notna()]
results = done.pivot_table(index="cell", columns="metric", values="value", aggfunc=["mean", "std", "count"], sort=False)
results
"""
_FIGURE = """\
# The first metric over training: a thin line a seed, a thick one the mean.
scored = runs[runs["value"].notna()]
figure, ax = plt.subplots(figsize=(6.75, 3), layout="constrained")
metric = scored["metric"].iloc[0] if len(scored) else "no score yet"
colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
for number, (cell, here_) in enumerate(scored[scored["metric"] == metric].groupby("cell", sort=False)):
    colour = colours[number % len(colours)]
    for _, seed in here_.groupby("seed"):
        ax.plot(seed["kimg"], seed["value"], color=colour, lw=0.6, alpha=0.5)
    mean = here_.groupby("kimg")["value"].mean()
    ax.plot(mean.index, mean, color=colour, lw=2, marker="o", label=cell)
ax.set(xlabel="kimg shown to D", title=metric)
if len(scored):
    ax.legend(fontsize="small")
"""
_EFFECTS = """\
# Effects with their intervals, and the verdicts, as the report shows them.
effects = pd.DataFrame(
    [
        {"metric": one["metric"], "kind": row["kind"], "effect of": row["effect_of"], "against": row["against"],
         "effect": row["effect"], "low": row["low"], "high": row["high"], "n": row["n"], "scale": row["scale"]}
        for one in report["effects"]
        for group in one["groups"]
        for row in group["rows"]
    ]
)
for verdict in report["verdicts"]:
    print(verdict["verdict"].ljust(14), verdict["says"], "·", verdict["why"])
effects
"""


def notebook(content: Mapping[str, Any]) -> bytes:
    """Write `starter.ipynb`: JSON of nbformat 4.5, without output."""
    title = (
        f"# {harmless(content['study']['name'])}\n\n"
        "Start here: the data of the report, as tables of pandas. `docs/results.md` says what each column means."
    )
    cells = [
        _cell(number, kind, source)
        for number, (kind, source) in enumerate(
            [("markdown", title), ("code", _READ), ("code", _TABLE), ("code", _FIGURE), ("code", _EFFECTS)]
        )
    ]
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    made = {"cells": cells, "metadata": {"kernelspec": python}, "nbformat": 4, "nbformat_minor": 5}
    return (json.dumps(made, indent=1, ensure_ascii=False) + "\n").encode()


def _cell(number: int, kind: str, source: str) -> dict[str, Any]:
    said: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
    said["source"] = source.rstrip("\n").splitlines(keepends=True)
    return said | ({"execution_count": None, "outputs": []} if kind == "code" else {})
