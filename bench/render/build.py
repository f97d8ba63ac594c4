"""Build the whole report of a study: tables, figures, report.json, index.html."""

from __future__ import annotations

import gc
import hashlib
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

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
from bench.render.content import content as said_of_all
from bench.render.freshness import report_folder
from bench.render.page import page
from bench.render.paper import paper
from bench.render.part import Drawn, Given, Legend, Part
from bench.render.save import Stamp
from bench.render.shelf import Shelf
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


def build(
    design: Design, store: Store, reports: Path, reload_s: int | None = None, *, again: bool = False
) -> list[str]:
    """Write everything; return the names of what was written, relative to the report's folder.

    reload_s: the page loads itself anew after so many seconds; what is only for print is left for the last build.
    again: draw each figure, also those that an earlier build has drawn from the same data.

    Raises ProtocolError when unlike scores would stand in one table, StoreError when a file cannot be written.
    """
    folder = report_folder(design, reports)
    given, csv = _gather(design, store, printed=reload_s is None)
    for name, written in csv.items():
        write_bytes(store.study(design.study.name) / name, written)
    files = {f"tables/{name}": written for name, written in csv.items()}
    content, shown = dict(given.content), dict[str, Any]()
    waiting: deque[Drawn] = deque()
    for make in PARTS:
        made = make(given._replace(content=content))
        content.update(made.content)
        shown.update(made.shown)
        files.update(made.files)
        waiting.extend(made.drawn)
    stamp = Stamp(design.study.name, content["built_from"], tuple(sorted(run.run_id for run in design.runs)))
    shelf = Shelf(folder, again=again)
    svgs, printed, legends = _draw(waiting, shelf, stamp if given.printed else None)
    files.update(printed)
    if given.printed:
        files.update(paper(content, legends, design.study.path.stem, stamp))
    files["report.json"] = _json(content)
    files["index.html"] = page(content, shown | {"svgs": svgs}, _downloads([*files]), reload_s).encode()
    for name, written in files.items():
        write_bytes(folder / name, written)
    shelf.save()
    return sorted(files)


def _gather(design: Design, store: Store, *, printed: bool) -> tuple[Given, dict[str, bytes]]:
    """All that parts are made from, and the tables as CSV: name → bytes."""
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
    csv = {f"{name}.csv": table.to_csv(one) for name, one in tables.items()}
    content = said_of_all(design, store, frame, summary, noise)
    content["built_from"] = _built_from(design, csv["runs.csv"])
    content.update(best=best(readings, content["metrics"]), protocols=protocols(frame, store))
    looks = figures.looks(design)
    return Given(design, store, frame, readings, judged, estimated, content, looks, readings.traces, printed), csv


def _draw(
    waiting: deque[Drawn], shelf: Shelf, stamp: Stamp | None
) -> tuple[dict[str, Markup], dict[str, bytes], list[Legend]]:
    """Draw all figures, each let go before the next: SVGs of the page by id; and with a stamp files, and legends."""
    svgs: dict[str, Markup] = {}
    files: dict[str, bytes] = {}
    legends: list[Legend] = []
    gc.freeze()  # what is known of the runs is no garbage: looking through it took a fifth of the drawing
    try:
        while waiting:
            drawn = waiting.popleft()
            if drawn.in_page:
                svgs[drawn.id] = Markup(shelf.svg(drawn))
            if stamp is not None:
                files.update(shelf.files(drawn, stamp))
                legends.append(drawn.legend(shelf.size(drawn)))
    finally:
        gc.unfreeze()
    return svgs, files, legends


def _built_from(design: Design, runs: bytes) -> str:
    """Digest of the study as it was asked for and of all its results; blind to when and where files were written."""
    study = design.study
    return digest([study.text, study.profile, list(study.overrides), hashlib.sha256(runs).hexdigest()])


def _json(content: Mapping[str, Any]) -> bytes:
    """A line a key: a line a number is three times as long, and takes as much longer to write."""
    lines = [
        f"{json.dumps(key)}: {json.dumps(content[key], sort_keys=True, allow_nan=False)}" for key in sorted(content)
    ]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _downloads(files: Sequence[str]) -> list[dict[str, Any]]:
    """Group the files beside the page by stem: [{name, links: [{form, path}]}]."""
    grouped: dict[str, list[dict[str, str]]] = {}
    for path in sorted([*files]):
        stem, _, form = path.rpartition(".")
        grouped.setdefault(stem, []).append({"form": form, "path": path})
    return [{"name": stem, "links": links} for stem, links in grouped.items()]
