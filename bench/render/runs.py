"""What became of each run: the rows of the report's run table, with the log's tail of those that did not end well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench import figures, outcomes, provenance
from bench.design import Design, Run
from bench.files import read_json
from bench.store import RunState, Store
from bench.table import commit, in_order

TAIL_LINES = 12
LABEL = ("outcome", "collapsed_at_kimg", "outcome_note")


def run_rows(design: Design, store: Store, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """List every run of the design, cell by cell, JSON-able; `frame`: the tidy table."""
    looks = figures.looks(design)
    said = frame.drop_duplicates("run_id").set_index("run_id")[[*LABEL]].astype(object)
    labels = said.where(said.notna(), None).to_dict("index")
    return [
        {
            "label": looks[run.cell.name].label,
            **_row(run, store),
            **{key: labels[run.run_id][key] for key in LABEL},
        }
        for run in in_order(design)
    ]


def unlabelled(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Why runs that are done have no label, and how many: [{note, runs}]."""
    notes = Counter(run["outcome_note"] for run in runs if run["outcome_note"])
    return [{"note": note, "runs": n} for note, n in sorted(notes.items())]


def unjudged(runs: Sequence[Mapping[str, Any]]) -> str:
    """Why collapse was judged of no run at all; "" where it was of any, or none has reached the end."""
    notes = [run["outcome_note"] for run in runs if run["status"] == "done"]
    if not all(outcomes.unknown(note) for note in notes):
        return ""
    return "; ".join(sorted({note.partition(": ")[2] for note in notes}))


def mixed_stamps(design: Design, store: Store) -> list[dict[str, Any]]:
    """What should be the same in all runs and is not (`provenance.Mixture`), with the words for it, JSON-able."""
    states = store.states([run.run_id for run in design.runs])
    found = provenance.mixtures({run.run_id: run.cell.name for run in design.runs}, states, store)
    return [
        {**mixture._asdict(), "badge": provenance.COMPARED[mixture.what][0], "line": f"Runs were {mixture.line()}."}
        for mixture in found
    ]


def _row(run: Run, store: Store) -> dict[str, Any]:
    folder = store.run(run.run_id)
    state = folder.state()
    trained = state.trained or {}
    trained_in = trained.get("attempt") or state.attempt
    made_by = read_json(folder.attempt(trained_in) / "provenance.json") or {}
    return {
        "run_id": run.run_id,
        "cell": run.cell.name,
        "seed": run.seed,
        "status": state.status,
        "cause": state.cause,
        "kimg": trained.get("kimg"),
        "seconds": trained.get("seconds"),
        "images_per_second": trained.get("images_per_second"),
        "time": _duration(trained.get("seconds")),
        "rate": _rate(trained.get("images_per_second")),
        "packed": bool(trained.get("packed")),
        "attempts": state.attempt,
        "trained_in": trained_in,
        "commit": commit(state),
        "dirty": bool(trained.get("dirty")),
        "code": trained.get("code"),
        "python": made_by.get("python"),
        "torch": trained.get("torch"),
        "device": trained.get("device"),
        "threads": trained.get("threads"),
        "host": trained.get("host"),
        "finished": trained.get("finished"),
        "log_tail": folder.log_tail(TAIL_LINES) if state.status in ("failed", "diverged", "stopped") else "",
        "last_logged": _last_logged(folder.log()) if state.status == "diverged" else None,
    }


def _duration(seconds: float | None) -> str:
    """Write a time as `35 s`, `4 min 20 s`, `3 h 05 min`."""
    if seconds is None:
        return "—"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _rate(rate: float | None) -> str:
    return "—" if rate is None else f"{rate:,.3g}" if rate < 100 else f"{rate:,.0f}"


def _last_logged(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What the training log said last, finite or not, as text."""
    return {key: _text(value) for key, value in rows[-1].items()} if rows else None


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def describe(state: RunState, kimg: float | None) -> str:
    """Say in a few words why a run has no sample here."""
    if state.status == "diverged":
        return f"diverged at {kimg:g} kimg" if kimg is not None else "diverged"
    return {
        "failed": "failed",
        "missing": "not run yet",
        "running": "still running",
        "stopped": "stopped, can go on",
        "done": "no samples were kept",
    }[state.status]
