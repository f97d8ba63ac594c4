"""Everything that a report says, as plain data: the page shows nothing that is not in here, and so in report.json.

Numbers come with the text in which they are shown.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench import figures, outcomes, protocol, table
from bench.design import Design
from bench.render.runs import mixed_stamps, run_rows, unjudged, unlabelled
from bench.store import Store
from bench.study import shipped

DESCRIPTIVE_BELOW = 5
"""Fewer seeds than this describe; they do not decide."""
ARROWS = {"lower": ("↓", "lower is better"), "higher": ("↑", "higher is better"), "reference": ("≈", "as real images")}
LABELS = ("collapsed", "never_learned")
NONE = "—"
APART = ("seed", "sources", "forced", "data.folder", "data.input_folder", "data.fingerprint")
"""Knobs that are no settings to compare or to print: what each run has of its own, paths of a machine, and the mark of
the data, which stands with the data."""


def content(
    design: Design, store: Store, frame: pd.DataFrame, summary: pd.DataFrame, noise: pd.DataFrame
) -> dict[str, Any]:
    """Say all that the report of a study says, JSON-able, the same whenever the results are the same."""
    runs = run_rows(design, store, frame)
    mixed = mixed_stamps(design, store)
    metrics = _metrics(frame, summary, noise)
    cells = _cells(design, summary, metrics)
    study = design.study
    return {
        "study": {
            "name": study.name,
            "about": study.about,
            "profile": study.profile,
            "overrides": list(study.overrides),
            "evidence": study.evidence,
            "text": study.text,
            "command": command(design),
        },
        "status": _status(runs, design),
        "badges": _badges(design, runs, cells, frame, mixed),
        "metrics": metrics,
        "cells": cells,
        "curves": _curves(frame, metrics),
        "collapse": {
            "words": outcomes.words(study.collapse),
            "unlabelled": unlabelled(runs),
            "unjudged": unjudged(runs),
        },
        "claims": [_claim(claim) for claim in study.claims],
        "exclusions": [{"name": gone.name, "why": gone.why, "rule": gone.rule} for gone in design.exclusions],
        "failed_scores": _failed_scores(frame),
        "runs": runs,
        "mixed": mixed,
    }


def command(design: Design) -> str:
    """The command that makes this study from nothing."""
    study = design.study
    said = ["python", "-m", "bench.run", _shown_path(study.path)]
    if study.profile:
        said += ["--profile", study.profile]
    for override in study.overrides:
        said += ["--set", override]
    return shlex.join(said)


def _shown_path(path: Path) -> str:
    """The path from a checkout; of a file elsewhere its name: the same wherever the report is built."""
    return f"ablations/{path.name}" if shipped().get(path.stem) == path.resolve() else path.name


# ---------------------------------------------------------------------------------------------------------
# Head.


def _status(runs: Sequence[Mapping[str, Any]], design: Design) -> dict[str, Any]:
    counts = Counter(run["status"] for run in runs)
    lengths = sorted({run["kimg"] for run in runs if run["status"] == "done"})
    words = [f"{counts['done']} of {len(runs)} runs done"]
    words += [f"{counts[status]} {status}" for status in _ORDER[1:] if counts[status]]
    labels = Counter(run["outcome"] for run in runs)
    words += [f"{labels[label]} {label.replace('_', ' ')}" for label in LABELS if labels[label]]
    return {
        "counts": {status: counts[status] for status in _ORDER if counts[status]},
        "total": len(runs),
        "line": ", ".join(words),
        "shape": f"{plural(len(design.cells), 'cell')} × {plural(len(design.study.seeds), 'seed')}",
        "length": " or ".join(f"{length:g}" for length in lengths) + " kimg a run" if lengths else None,
    }


_ORDER = ("done", "diverged", "failed", "running", "stopped", "missing")


def plural(n: int, noun: str) -> str:
    """Write a count with its noun."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _badges(
    design: Design,
    runs: Sequence[Mapping[str, Any]],
    cells: Sequence[Mapping[str, Any]],
    frame: pd.DataFrame,
    mixed: Sequence[Mapping[str, Any]],
) -> list[dict[str, str]]:
    study, n = design.study, len(design.study.seeds)
    said: list[tuple[str, str, str]] = []
    if not study.evidence:
        profile = f": profile {study.profile}" if study.profile else ""
        said.append(("caution", f"evidence: false{profile}", "A trial of the machinery. Its numbers decide nothing."))
    if n == 1:
        said.append(("caution", "no replication: no interval", "One seed: nothing is known of the spread over seeds."))
    elif n < DESCRIPTIVE_BELOW:
        title = f"Fewer than {DESCRIPTIVE_BELOW} seeds describe; they do not decide."
        said.append(("caution", f"descriptive: {n} seeds", title))
    else:
        said.append(("plain", f"{n} seeds", "Replicates with the same seeds in every cell."))
    scored = frame[frame["score_status"] == "ok"]
    sizes = {size: rows["asked"].unique() for size, rows in scored.groupby(["n_fake", "n_real"])}
    for (n_fake, n_real), asked in sorted(sizes.items()):
        whose = f" for {', '.join(asked)}" if len(sizes) > 1 else ""
        title = f"Reals: the {study.evaluate.part} part."
        said.append(("plain", f"N = {n_fake:,} fakes, {n_real:,} reals{whose}", title))
    if any(run["dirty"] for run in runs):
        title = "Some runs were trained from a tree with changes that are in no commit."
        said.append(("caution", "dirty git tree", title))
    commits = sorted({run["commit"] for run in runs if run["commit"] is not None})
    if len(commits) > 1:
        said.append(("caution", "mixed commits", f"Runs were trained with {', '.join(commits)}."))
    said += [("caution", mixture["badge"], mixture["line"]) for mixture in mixed]
    if len({(cell["success"]["k"], cell["success"]["n"]) for cell in cells if cell["success"]["n"]}) > 1 and any(
        cell["diverged"] or cell["collapsed"] or cell["never_learned"] for cell in cells
    ):
        title = "Means are over the runs that reached the end, collapsed ones included: compare them with care."
        said.append(("caution", "cells differ in success", title))
    if why := unjudged(runs):
        title = f"Success means that a run reached its end: {why}."
        said.append(("caution", "collapse was not judged", title))
    if any(cell.forced for cell in design.cells):
        said.append(("caution", "forced cells", "Some cells run against the validity rules."))
    return [{"tone": tone, "text": text, "title": title} for tone, text, title in said]


# ---------------------------------------------------------------------------------------------------------
# Numbers.


def _count(values: pd.Series) -> int | None:
    known = values.dropna()
    return int(known.iloc[0]) if len(known) else None


def _metrics(frame: pd.DataFrame, summary: pd.DataFrame, noise: pd.DataFrame) -> list[dict[str, Any]]:
    listed = []
    moves = {row["metric"]: row for row in _records(noise)}
    for asked, name in table.metrics_of(frame):
        what = protocol.measure(name)
        rows = summary[summary["metric"] == name]
        scored = frame[frame["metric"] == name]
        first = scored[scored["score_status"] == "ok"].iloc[:1]
        decimals = _decimals(rows["sd_train"].dropna().tolist(), scored["value"].dropna().abs().tolist())
        real, floor = _known(scored["real"]), _known(scored["floor"])
        moved = moves.get(name, {})
        arrow, meaning = ARROWS[what.direction]
        listed.append(
            {
                "name": name,
                "asked": asked,
                "label": what.label,
                "axis_unit": "" if "×" in what.label else what.unit,  # the label has said it
                "direction": what.direction,
                "arrow": arrow,
                "meaning": meaning,
                "scale": what.scale,
                "detail": protocol.is_detail(name),
                "decimals": decimals,
                "real": {"value": real, "text": number(real, decimals)},
                "floor": {"value": floor, "text": number(floor, decimals), "n": _count(scored["n_floor"])},
                "noise": {
                    "value": moved.get("sd"),
                    "sd_log": moved.get("sd_log"),
                    "text": number(moved.get("sd"), _decimals([moved.get("sd") or 0.0], [])),
                    "mean": moved.get("mean"),
                    "evaluations": moved.get("evaluations", 0),
                },
                "protocol": first["protocol"].iloc[0] if len(first) else None,
                "extractor": _known_text(first["extractor"]),
            }
        )
    return listed


def _decimals(sds: Sequence[float], sizes: Sequence[float]) -> int:
    """Digits after the point that show two digits of the typical sd over seeds; else three of the value."""
    typical = sorted(sd for sd in sds if sd > 0)
    if typical:
        return min(6, max(0, 1 - math.floor(math.log10(typical[len(typical) // 2]))))
    largest = max(sizes, default=0.0)
    return min(6, max(0, 2 - math.floor(math.log10(largest)))) if largest > 0 else 2


def number(value: float | None, decimals: int) -> str:
    """Write a number for reading; — where there is none."""
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def _known(values: pd.Series) -> float | None:
    known = values.dropna()
    return float(known.iloc[0]) if len(known) else None


def _known_text(values: pd.Series) -> str | None:
    known = values.dropna()
    return str(known.iloc[0]) if len(known) else None


def _cells(design: Design, summary: pd.DataFrame, metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    looks = figures.looks(design)
    reference = figures.reference_levels(design)
    rows = {(row["cell"], row["metric"]): row for row in _records(summary)}
    counted = {row["cell"]: row for row in _records(summary.drop_duplicates("cell"))}
    listed = []
    for cell in design.cells:
        counted_as = ("seeds", "done", *LABELS, "diverged", "failed", "unfinished")
        counts = {key: counted[cell.name][key] for key in counted_as}
        look = looks[cell.name]
        k, n, *bounds = (counted[cell.name][f"success_{part}"] for part in ("k", "n", "low", "high"))
        listed.append(
            {
                "name": cell.name,
                "label": look.label,
                "levels": dict(cell.levels),
                "reference": not figures.departures(cell, reference),
                "look": {"colours": list(look.colours), "marker": look.marker},
                **counts,
                "success": {
                    "k": k,
                    "n": n,
                    "low": bounds[0],
                    "high": bounds[1],
                    "text": f"{k}/{n}" if n else NONE,
                    "interval": f"[{bounds[0]:.2f}, {bounds[1]:.2f}]" if n else NONE,
                },
                "estimates": {
                    metric["name"]: _estimate(rows[cell.name, metric["name"]], metric["decimals"]) for metric in metrics
                },
            }
        )
    return listed


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain Python values; None where there is none."""
    rows = [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
    return [{key: None if pd.isna(value) else value for key, value in row.items()} for row in rows]


def _estimate(row: Mapping[str, Any], decimals: int) -> dict[str, Any]:
    mean, sd, low, high, median = (row[key] for key in ("mean", "sd_train", "low", "high", "median"))
    return {
        "n": row["n"],
        "mean": mean,
        "sd_train": sd,
        "low": low,
        "high": high,
        "median": median,
        "median_text": number(median, decimals),
        "text": number(mean, decimals),
        "sd_text": number(sd, decimals),
        "interval": f"[{number(low, decimals)}, {number(high, decimals)}]" if low is not None else NONE,
    }


def _curves(frame: pd.DataFrame, metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Every point of every curve: metric → cell → seed → [[kimg, value], …]."""
    scored = frame[frame["value"].notna()]
    drawn: dict[str, Any] = {}
    for metric in metrics:
        here = scored[scored["metric"] == metric["name"]]
        cells: dict[str, Any] = {}
        for (cell, seed), line in table.lines(here, "cell", "seed").items():
            cells.setdefault(str(cell), {})[str(seed)] = sorted(line)
        drawn[metric["name"]] = cells
    return drawn


def _failed_scores(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Scores that are not there although the run has an outcome, with the reason."""
    trained = frame["status"].isin(["done", "diverged"])
    gone = frame[trained & frame["score_status"].isin(["failed", "missing"])]
    return [
        {
            "run_id": row["run_id"],
            "cell": row["cell"],
            "seed": row["seed"],
            "snapshot": f"{row['kimg']:g}",
            "metric": row["metric"] or row["asked"],
            "reason": "not computed yet" if row["score_status"] == "missing" else row["reason"],
        }
        for row in _records(gone)
    ]


# ---------------------------------------------------------------------------------------------------------
# The study as it was planned; more of it in `bench.render.plan`.


def _claim(claim: Any) -> dict[str, Any]:
    said = claim.model_dump(mode="json", exclude_none=True)
    return {"says": said.pop("says"), "terms": {key: plain(value) for key, value in said.items()}}


def plain(value: Any) -> str:
    """Write a setting's value in a line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={plain(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(plain(part) for part in value)
    return str(value)
