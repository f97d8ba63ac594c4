"""Several studies side by side: what they have in common, and only what was measured in the same way.

Made of their report.json alone.  A score whose protocol differs between studies stands in no table; the page says why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.files import read_json, write_bytes
from bench.render.latex import Table, to_frame, to_latex, to_markdown
from bench.render.page import environment
from bench.render.save import Stamp
from bench.render.tables import SENTENCE
from bench.setting import digest
from bench.table import to_csv

Report = Mapping[str, Any]
NONE = "—"
KINDS = ("main", "interaction", "simple", "step", "reference")
"""Of effects, in the order of the page."""
_WORDS = {"n_fake": "fakes", "n_real": "reals", "n_floor": "reals of the floor", "fingerprint": "data"}


class Common(NamedTuple):
    """One kind of score in those studies that have it."""

    family: str
    """`fid`, whatever the number of its fakes."""
    label: str
    names: dict[str, str]
    """Study → the value's name there."""
    reason: str
    """Why they cannot stand in one table; "" where they can."""
    arrow: str = ""


def build(folders: Sequence[Path], reports: Path) -> Path:
    """Write reports/compare-<names>/: index.html, compare.json and tables; return the page's path.

    folders: of the studies' reports, whole.  Raises StoreError when a file cannot be written.
    """
    found = [read_json(folder / "report.json") or {} for folder in folders]
    content = side_by_side(found)
    tables = _tables(content)
    names = "+".join(re.sub(r"[^\w.]+", "_", report["study"]["name"]) for report in found)
    folder = reports / f"compare-{names if len(names) <= 100 else names[:80] + '-' + digest(names, 8)}"
    stamp = Stamp(", ".join(content["names"]), digest([report["built_from"] for report in found]), ())
    files = {f"{table.name}.tex": to_latex(table, stamp) for table in tables}
    files |= {f"{table.name}.md": to_markdown(table) for table in tables}
    files |= {f"{table.name}.csv": to_csv(to_frame(table)) for table in tables}
    files["compare.json"] = (json.dumps(content, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()
    rendered = (
        environment()
        .get_template("compare.html.j2")
        .render(**content, files=sorted([*files]), places=[folder_.name for folder_ in folders])
    )
    files["index.html"] = rendered.encode()
    for name, written in files.items():
        write_bytes(folder / name, written)
    for path in folder.iterdir():
        if path.suffix in (".tex", ".md", ".csv") and path.name not in files:
            path.unlink()  # of an earlier comparison, when more was common
    return folder / "index.html"


def side_by_side(reports: Sequence[Report]) -> dict[str, Any]:
    """Gather all that the page says of the studies, JSON-able, in the order in which they were named."""
    found = common(reports)
    return {
        "names": [report["study"]["name"] for report in reports],
        "studies": [_study(report) for report in reports],
        "settings": _settings(reports),
        "refused": [{"label": one.label, "reason": one.reason} for one in found if one.reason],
        "verdicts": _verdicts(reports, found),
        "effects": _effects(reports, found),
        "scores": [_scores(reports, one) for one in found if not one.reason and one.family != "success"],
    }


def _study(report: Report) -> dict[str, Any]:
    about = next(iter(report["study"]["about"].split("\n\n")), "")
    shown = {key: report["status"][key] for key in ("line", "shape", "length")}
    cautions = [badge["text"] for badge in report["badges"] if badge["tone"] == "caution"]
    return {"name": report["study"]["name"], "about": about, **shown, "cautions": cautions}


# ---------------------------------------------------------------------------------------------------------
# What may be compared.


def family(name: str) -> str:
    """The kind of a value, without what its name says of the protocol: `fid2k` → `fid`, `fd[random]` → `fd`."""
    plain = re.sub(r"(_legacy_\w+|\[.+\])$", "", name)
    plain = re.sub(r"_\d+s?$", "", plain)
    return re.sub(r"^(fid|is)[0-9.]+k?$", r"\1", plain)


def common(reports: Sequence[Report]) -> list[Common]:
    """List the kinds of scores that two studies or more have, success among them, and whether they were made alike."""
    known: dict[str, dict[str, Mapping[str, Any]]] = {}
    for report in reports:
        for metric in report["metrics"]:
            if not metric["detail"]:
                known.setdefault(family(metric["name"]), {})[report["study"]["name"]] = metric
    stamps = {report["study"]["name"]: report["protocols"] for report in reports}
    found = []
    for kind, metrics in known.items():
        names = {study: metric["name"] for study, metric in metrics.items()}
        if len(names) > 1:
            reason = unlike({study: stamps[study].get(name, {}) for study, name in names.items()})
            if not reason and len({*names.values()}) > 1:
                reason = "; ".join(f"{name} in {study}" for study, name in names.items())
            first = next(iter(metrics.values()))
            label = kind if len({*names.values()}) > 1 else first["label"]
            found.append(Common(kind, label, names, reason, first["arrow"]))
    criteria = {report["study"]["name"]: {"criterion of collapse": report["collapse"]["words"]} for report in reports}
    alike = {report["study"]["name"]: "success" for report in reports}
    return [*found, Common("success", "success", alike, unlike(criteria))]


def unlike(stamps: Mapping[str, Mapping[str, Any]]) -> str:
    """Say in which fields protocols differ: `fakes: 2,000 in a, 10,000 in b`; "" where they are equal."""
    fields = sorted({field for stamp in stamps.values() for field in stamp})
    said = []
    for field in fields:
        values = {study: stamp.get(field) for study, stamp in stamps.items()}
        if len({json.dumps(value, sort_keys=True) for value in values.values()}) > 1:
            shown = ", ".join(f"{_said(value)} in {study}" for study, value in values.items())
            said.append(f"{_WORDS.get(field, field)}: {shown}")
    return "; ".join(said)


def _said(value: Any) -> str:
    if value is None or value == "":
        return "none"
    return f"{value:,}" if isinstance(value, int) else str(value)


# ---------------------------------------------------------------------------------------------------------
# Tables.


def _settings(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """Settings in which the studies differ, with each one's value; of a factor, its levels."""
    columns = []
    for report in reports:
        design = report["design"]
        said = {"recipe": design["recipe"], "design": design["kind"], **design["shared"]}
        said |= {f"evaluate.{key}": value for key, value in design["evaluate"].items()}
        said |= {one["name"]: " | ".join(level["name"] for level in one["levels"]) for one in design["factors"]}
        columns.append(said | {"seeds": ", ".join(map(str, design["seeds"])), "collapse": report["collapse"]["words"]})
    keys = dict.fromkeys(key for said in columns for key in said)
    rows = [{"key": key, "values": [said.get(key, NONE) for said in columns]} for key in keys]
    return [row for row in rows if len({*row["values"]}) > 1]


def _verdicts(reports: Sequence[Report], found: Sequence[Common]) -> list[dict[str, Any]]:
    """Claims that two studies or more make, in the words of the first; numbers only where they are comparable."""
    refused = {name for one in found if one.reason for name in one.names.values()}
    if "success" in refused:
        refused |= {"done", "collapsed", "never_learned"}
    rows: dict[str, dict[str, Any]] = {}
    for place, report in enumerate(reports):
        for claim, verdict in zip(report["claims"], report["verdicts"], strict=False):
            key = json.dumps(claim["terms"], sort_keys=True)
            measure = ", ".join(filter(None, [verdict.get("label") or verdict.get("measure"), verdict["at"]]))
            row = rows.setdefault(key, {"says": claim["says"], "measure": measure, "values": [None] * len(reports)})
            measured = str(verdict.get("metric") or verdict.get("measure")).split(", ")  # two, of a correlation
            why = "" if refused.intersection(measured) else verdict["why"]
            row["values"][place] = {"verdict": verdict["verdict"], "why": why}
    return [row for row in rows.values() if _shared(row["values"])]


def _effects(reports: Sequence[Report], found: Sequence[Common]) -> list[dict[str, Any]]:
    """By kind of score: effects that two studies or more estimate of the same levels."""
    listed = []
    for one in found:
        if one.reason:
            continue
        rows: dict[tuple[str, str, str], dict[str, Any]] = {}
        for place, report in enumerate(reports):
            name = one.names.get(report["study"]["name"])
            for effect in _effect_rows(report, name):
                key = (effect["kind"], effect["effect_of"], effect["against"])
                about = {"kind": key[0], "effect_of": key[1], "against": key[2]}
                row = rows.setdefault(key, {**about, "values": [None] * len(reports)})
                kept = ("effect", "low", "high", "scale", "text", "interval", "n", "greyed", "excludes_none")
                row["values"][place] = {field: effect[field] for field in kept}
        shared = sorted(
            (row for row in rows.values() if _shared(row["values"])), key=lambda row: KINDS.index(row["kind"])
        )
        if shared:
            listed.append({"label": one.label, "arrow": one.arrow, "rows": shared})
    return listed


def _effect_rows(report: Report, name: str | None) -> list[Mapping[str, Any]]:
    of = [one for one in report["effects"] if one["metric"] == name]
    return [row for one in of for group in one["groups"] for row in group["rows"]]


def _scores(reports: Sequence[Report], one: Common) -> dict[str, Any]:
    """Each cell's score in each study: cells are the same when they have the same levels."""
    rows: dict[str, dict[str, Any]] = {}
    for place, report in enumerate(reports):
        name = one.names.get(report["study"]["name"])
        for cell in report["cells"] if name else []:
            row = rows.setdefault(cell["name"], {"cell": cell["name"], "values": [None] * len(reports)})
            estimate = cell["estimates"][name]
            alike = report["best"].get(name, {}).get("alike", [])
            row["values"][place] = {
                **{key: estimate[key] for key in ("n", "mean", "low", "high", "text", "sd_text", "interval")},
                "has_sd": estimate["sd_train"] is not None,
                "success": cell["success"]["text"],
                "best": cell["name"] in alike,
            }
    return {"label": one.label, "arrow": one.arrow, "rows": [*rows.values()]}


def _shared(values: Sequence[Any]) -> bool:
    return sum(value is not None for value in values) > 1


# ---------------------------------------------------------------------------------------------------------
# For print.


def _tables(content: Mapping[str, Any]) -> list[Table]:
    names = content["names"]
    about = f"{', '.join(names)} side by side"
    effects = [
        [one["label"], row["effect_of"], row["against"], *(_effect_text(value) for value in row["values"])]
        for one in content["effects"]
        for row in one["rows"]
    ]
    verdicts = [
        [row["says"], row["measure"], *(value["verdict"] if value else NONE for value in row["values"])]
        for row in content["verdicts"]
    ]
    scores = [
        [one["label"], row["cell"], *(_score_text(value) for value in row["values"])]
        for one in content["scores"]
        for row in one["rows"]
    ]
    settings = [[row["key"], *row["values"]] for row in content["settings"]]
    refused = "".join(f" {one['label']} is left out: {one['reason']}." for one in content["refused"])
    made = [
        Table(
            "effects",
            f"{about}: effects of the same levels, with 95 % intervals over n seeds (of success, runs); × is a ratio."
            f" †: the compared cells differ in success.{refused}",
            ["measure", "effect of", "against", *names],
            effects,
            (0, 1, 2),
        ),
        Table(
            "verdicts",
            f"{about}: verdicts on the same claims, each within its own study's family (Holm).",
            ["claim", "measure", *names],
            verdicts,
            range(2 + len(names)),
            longest=SENTENCE,
        ),
        Table(
            "scores",
            f"{about}: mean ± sd over n training seeds at the last snapshot. Bold: what the 95 % t interval of the "
            f"paired contrast cannot tell from the best cell of its study.{refused}",
            ["measure", "cell", *names],
            scores,
            (0, 1),
            [
                [False, False, *(bool(value and value["best"]) for value in row["values"])]
                for one in content["scores"]
                for row in one["rows"]
            ],
        ),
        Table(
            "settings",
            f"{about}: settings in which they differ; of a factor, its levels.",
            ["setting", *names],
            settings,
            range(1 + len(names)),
        ),
    ]
    return [table for table in made if table.rows]


def _effect_text(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return NONE
    mark = " †" if value["greyed"] else ""
    return f"{value['text']}{mark} {value['interval']}".rstrip() + f" (n = {value['n']})"


def _score_text(value: Mapping[str, Any] | None) -> str:
    if value is None or not value["n"]:
        return NONE
    return value["text"] + (f" ± {value['sd_text']}" if value["has_sd"] else "") + f" (n = {value['n']})"
