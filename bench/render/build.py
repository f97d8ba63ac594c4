"""Build the whole report of a study: tables, figures, report.json, index.html."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import effects, figures, table, verdicts
from bench.design import Design
from bench.files import write_bytes
from bench.readings import Readings
from bench.render import (
    checklist,
    cost,
    findings,
    ladder,
    methods,
    plan,
    probing,
    qualitative,
    reproduce,
    samples,
    scores,
    sensitivity,
    stability,
)
from bench.render import effects as shown_effects
from bench.render.content import content as gather
from bench.render.freshness import report_folder
from bench.render.page import page
from bench.render.paper import paper
from bench.render.part import Given, Legend, Part
from bench.render.save import Stamp
from bench.render.tables import best, protocols
from bench.setting import digest
from bench.store import Store
from bench.summary import summarise

PARTS: tuple[Callable[[Given], Part], ...] = (
    plan.part,
    findings.part,
    shown_effects.part,
    ladder.part,
    scores.part,
    stability.part,
    cost.part,
    probing.part,
    samples.part,
    qualitative.part,
    sensitivity.part,
    checklist.part,
    methods.part,
    reproduce.part,
)


def build(design: Design, store: Store, reports: Path, reload_s: int | None = None) -> list[str]:
    """Write everything; return the names of what was written, relative to the report's folder.

    reload_s: the page loads itself anew after so many seconds; what is only for print is left for the last build.

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
        "verdicts": findings.verdict_table(judged),
    }
    table.write(store.study(design.study.name), **tables)
    content = gather(design, store, frame, summary, noise)
    given = Given(design, store, frame, readings, judged, estimated, content, figures.looks(design))
    shown: dict[str, Any] = {}
    legends: list[Legend] = []
    files = {f"tables/{name}.csv": table.to_csv(one) for name, one in tables.items()}
    content["built_from"] = _built_from(design, files["tables/runs.csv"])
    content.update(best=best(readings, content["metrics"]), protocols=protocols(frame, store))
    stamp = Stamp(design.study.name, content["built_from"], tuple(sorted(run.run_id for run in design.runs)))
    for make in PARTS:
        made = make(given)
        content.update(made.content)
        shown.update(made.shown)
        files.update(made.files)
        if reload_s is None:
            files.update(made.printed(stamp))
            legends += [drawn.legend for drawn in made.drawn]
    if reload_s is None:
        files.update(paper(content, legends, design.study.path.stem, stamp))
    files["report.json"] = (json.dumps(content, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()
    files["index.html"] = page(content, shown, _downloads([*files]), reload_s).encode()
    for name, written in files.items():
        write_bytes(folder / name, written)
    return sorted(files)


def _built_from(design: Design, runs: bytes) -> str:
    """Digest of the study as it was asked for and of all its results; blind to when and where files were written."""
    study = design.study
    return digest([study.text, study.profile, list(study.overrides), hashlib.sha256(runs).hexdigest()])


def _downloads(files: Sequence[str]) -> list[dict[str, Any]]:
    """Group the files beside the page by stem: [{name, links: [{form, path}]}]."""
    grouped: dict[str, list[dict[str, str]]] = {}
    for path in sorted([*files]):
        stem, _, form = path.rpartition(".")
        grouped.setdefault(stem, []).append({"form": form, "path": path})
    return [{"name": stem, "links": links} for stem, links in grouped.items()]
