"""What a report says, laid out as tables for print: results, effects, verdicts, cells, protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench.contrasts import contrast
from bench.files import read_json
from bench.readings import Reading, Readings
from bench.render.latex import Table
from bench.store import Store

SHOWN_FACTORS = 3
"""Of more factors, cells stand by their short names."""
SENTENCE = 400
"""Letters of a claim, or of what it rests on, that are printed."""
INTERVAL = "95 % t interval over seeds"
_STATES = ("done", "diverged", "collapsed", "never_learned", "failed", "unfinished")


# ---------------------------------------------------------------------------------------------------------
# What tables and captions need beside what the page says.


def best(readings: Readings, metrics: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each value that has a better direction: the best cell, and all that cannot be told from it, itself among them.

    Best by the mean on the metric's scale.  A cell can be told from it when the 95 % t interval of their contrast
    excludes none: paired over the seeds that both have, or not paired where those are fewer than two.  Without an
    interval nothing is told apart.  Cells with fewer than two seeds take no part, and alone a cell is best of nothing.
    Not adjusted for the number of cells.
    """
    found = {}
    for metric in metrics:
        reading = readings.of(metric["name"])
        known = {cell: values for cell, values in reading.cells.items() if len(values) > 1}
        if metric["direction"] == "reference" or len(known) < 2:
            continue
        sign = 1 if metric["direction"] == "lower" else -1
        first = min(known, key=lambda cell: sign * sum(known[cell].values()) / len(known[cell]))
        alike = [cell for cell in known if cell == first or _alike(reading, cell, first)]
        found[metric["name"]] = {"cell": first, "alike": alike}
    return found


def _alike(reading: Reading, cell: str, other: str) -> bool:
    shared = sorted(set(reading.cells[cell]) & set(reading.cells[other]))
    paired = len(shared) > 1
    pair = {name: {seed: reading.cells[name][seed] for seed in shared} for name in (cell, other)}
    one = contrast(pair if paired else reading.cells, {cell: 1.0, other: -1.0}, paired=paired)
    return one.low is None or one.high is None or one.low <= 0 <= one.high


def protocols(frame: pd.DataFrame, store: Store) -> dict[str, dict[str, Any]]:
    """How each value was made, by its name: the stamp of its score, whole.  (One table holds no unlike ones.)"""
    scored = frame[frame["score_status"] == "ok"].drop_duplicates("metric")
    stamps = {}
    for row in scored.to_dict("records"):
        record = read_json(store.run(row["run_id"]).scores / f"{row['score_id']}.json") or {}
        stamps[str(row["metric"])] = dict(record.get("protocol") or {})
    return stamps


def replicates(content: Mapping[str, Any]) -> str:
    """`n = 3 training seeds in each cell`, with what is short of it."""
    seeds = len(content["design"]["seeds"])
    said = f"n = {seeds} training seed{'s' * (seeds != 1)} in each cell"
    if content["status"]["counts"].get("done", 0) < content["status"]["total"]:
        said += f" where nothing is said ({content['status']['line']})"
    return said


def protocol_words(content: Mapping[str, Any], metrics: Sequence[str]) -> str:
    """`N = 2,000 fakes, 8,000 reals (train part), evaluation seed 0`; that of most, then others with their metrics."""
    labels = {metric["name"]: metric["label"] for metric in content["metrics"]}
    groups: dict[str, list[str]] = {}
    for name in metrics:
        if name in content["protocols"]:
            groups.setdefault(_protocol(name, content["protocols"][name]), []).append(labels[name])
    first, *others = sorted(groups.items(), key=lambda group: -len(group[1])) or [("", [])]
    return "; ".join([first[0], *(f"of {' and '.join(names)}: {words}" for words, names in others)])


def _protocol(name: str, stamp: Mapping[str, Any]) -> str:
    """An extractor that the name of the value has is not said again."""
    counts = [f"{stamp[key]:,} {word}" for key, word in (("n_fake", "fakes"), ("n_real", "reals")) if stamp.get(key)]
    part = f" ({stamp['part']} part)" if stamp.get("part") else ""
    said = f"N = {', '.join(counts)}{part}" if counts else f"measured on the {stamp.get('part') or 'whole'} part"
    extractor = f", extractor {stamp['extractor']}" if stamp.get("extractor") and "[" not in name else ""
    return f"{said}{extractor}, evaluation seed {stamp.get('seed', 0)}"


# ---------------------------------------------------------------------------------------------------------
# Tables.


def all_tables(content: Mapping[str, Any]) -> list[Table]:
    """List the study's tables for print; those that have nothing to say are not there."""
    headline = [metric for metric in content["metrics"] if not metric["detail"]]
    details = [metric for metric in content["metrics"] if metric["detail"]]
    listed = [_verdicts(content), _results(content, headline, "results")]
    listed += [_results(content, details, "details")] if details else []
    listed += [_effects(content), _cells(content), _protocols(content)]
    return [table for table in listed if table.rows]


def _naming(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """What names a cell: a column a factor, or one of short names.  Returns columns, and each cell's texts."""
    cells = content["cells"]
    factors = [factor["name"] for factor in content["design"]["factors"]]
    if len(factors) > SHOWN_FACTORS or not factors:
        return ["cell"], [[cell["label"]] for cell in cells]
    return factors, [[cell["levels"].get(factor, "—") for factor in factors] for cell in cells]


def _results(content: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]], name: str) -> Table:
    """Rows: cells, then what they are measured against; columns: success, then a score each."""
    columns, names = _naming(content)
    seeds = len(content["design"]["seeds"])
    alike = {metric["name"]: content["best"].get(metric["name"], {}).get("alike", []) for metric in metrics}
    rows = [
        [*naming, cell["success"]["text"], *(_estimate(cell["estimates"][metric["name"]], seeds) for metric in metrics)]
        for naming, cell in zip(names, content["cells"], strict=True)
    ]
    bold = [
        [False] * (len(columns) + 1) + [cell["name"] in alike[metric["name"]] for metric in metrics]
        for cell in content["cells"]
    ]
    blank = [""] * len(columns)
    for title, key in (("real images", "real"), ("noise floor", "floor"), ("evaluation noise (sd)", "noise")):
        if any(metric[key]["value"] is not None for metric in metrics):
            rows.append([title, *blank, *(metric[key]["text"] for metric in metrics)])
            bold.append([False] * len(rows[-1]))
    spread = (
        f"mean ± sd over training seeds; {replicates(content)}" if seeds > 1 else "one training seed (n = 1): no sd"
    )
    kind = " (parts of the scores)" if name == "details" else ""
    caption = (
        f"{content['study']['name']}, results{kind} at the last snapshot of the runs that reached the end: {spread}. "
        "k/n: runs that reached it, neither collapsed nor never learned, of those with an outcome. "
        + _bold_words(any(map(any, bold)))
        + f"{protocol_words(content, [metric['name'] for metric in metrics])}."
    )
    titles = [*columns, "k/n", *(f"{metric['label']} {metric['arrow']}" for metric in metrics)]
    rule = {len(names): ""} if len(rows) > len(names) else {}
    return Table(name, caption, titles, rows, range(len(columns)), bold, rule)


def _bold_words(any_bold: bool) -> str:
    if not any_bold:
        return "Nothing is bold: no cell is known to be best. "
    return (
        "Bold: the best cell and all that cannot be told from it, by the 95 % t interval of the paired contrast over "
        "the seeds that both have (not adjusted for the number of cells). "
    )


def _estimate(one: Mapping[str, Any], seeds: int) -> str:
    spread = f" ± {one['sd_text']}" if one["sd_train"] is not None else ""
    short = f" (n = {one['n']})" if 0 < one["n"] < seeds else ""
    return f"{one['text']}{spread}{short}"


def _cells(content: Mapping[str, Any]) -> Table:
    columns, names = _naming(content)
    states = [state for state in _STATES if state == "done" or any(cell[state] for cell in content["cells"])]
    rows = [
        [*naming, str(cell["seeds"]), *(str(cell[state]) for state in states), *_success(cell["success"])]
        for naming, cell in zip(names, content["cells"], strict=True)
    ]
    caption = (
        f"{content['study']['name']}, what became of the runs of each cell ({content['status']['line']}). Success: "
        "done and neither collapsed nor never learned, of those with an outcome, with Wilson's 95 % interval."
    )
    words = ["to come" if state == "unfinished" else state.replace("_", " ") for state in states]
    return Table("cells", caption, [*columns, "seeds", *words, "k/n", "95 %"], rows, range(len(columns)))


def _success(success: Mapping[str, Any]) -> list[str]:
    return [success["text"], success["interval"]]


def _verdicts(content: Mapping[str, Any]) -> Table:
    rows = [
        [
            str(number),
            one["says"],
            ", ".join(filter(None, [one.get("label"), one["at"]])),
            one["verdict"],
            one["why"],
            one.get("p_holm_text", "—"),
        ]
        for number, one in enumerate(content["verdicts"], 1)
    ]
    tests = content["family"]["tests"]
    caption = (
        f"{content['study']['name']}, the claims of the study, judged at 5 % after Holm's correction for {tests} "
        f"claim{'s' * (tests != 1)}. Numbers: the contrast of the compared cells over the same seeds with the t "
        f"interval of its own error (×: a ratio), or of shares of runs with Newcombe's; intervals: "
        f"{content['family']['interval_kind']}; n: seeds, of shares runs. "
    )
    measured = [one["metric"] for one in content["verdicts"] if one.get("metric") in content["protocols"]]
    caption += f"{protocol_words(content, [*dict.fromkeys(measured)])}." if measured else ""
    columns = ["", "claim", "measure", "verdict", "numbers", "p (Holm)"]
    return Table("verdicts", caption.rstrip(), columns, rows, (0, 1, 2, 3, 4), longest=SENTENCE)


def _effects(content: Mapping[str, Any]) -> Table:
    """Effects of the headline values, a group a value and kind: what a paper has room for."""
    rows: list[list[str]] = []
    groups: dict[int, str] = {}
    marked = False
    shown = [one for one in content["effects"] if not one["detail"]]
    for one in shown:
        for group in _for_print(one):
            groups[len(rows)] = f"{one['label']}: {group['title'].lower()}"
            for row in group["rows"]:
                marked |= row["greyed"]
                mark = " †" if row["greyed"] else ""
                aliases = f" (= {row['aliases']})" if row["aliases"] else ""
                effect = " ".join(filter(None, [row["text"] + mark, row["interval"]]))
                name = row["effect_of"] + aliases
                rows.append([name, row["against"], effect, str(row["n"]), row["p_text"], row["q_text"]])
    asked = sum(len(group["rows"]) for one in content["effects"] for group in one["groups"])
    more = f" (effects.csv has all {asked})" if asked > len(rows) else ""
    caption = (
        f"{content['study']['name']}, effects at the last snapshot, exploratory: estimate with {INTERVAL}, each with "
        f"its own error{more}; × is a ratio. n: seeds, of success runs (whose interval is Newcombe's). q: p after "
        "Benjamini and Hochberg over all effects on one value. "
        + ("†: over the runs that reached the end; the compared cells differ in success. " if marked else "")
    )
    measured = [one["metric"] for one in shown if one["metric"] in content["protocols"]]
    caption += f"{protocol_words(content, measured)}." if measured else ""
    columns = ["effect of", "against", "effect [95 %]", "n", "p", "q"]
    return Table("effects", caption.rstrip(), columns, rows, (0, 1), groups=groups)


def _for_print(one: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Main effects, interactions, steps; simple effects where factors interact; single cells where all else lacks."""
    kinds = {"main", "interaction", "step", *(["simple"] if one["interacting"] else [])}
    return [group for group in one["groups"] if group["kind"] in kinds] or one["groups"]


def _protocols(content: Mapping[str, Any]) -> Table:
    keys = ("n_fake", "n_real", "n_floor", "part", "extractor", "resize", "seed", "version")
    titles = ("fakes", "reals", "floor, each half", "part", "extractor", "resize", "seed", "version")
    used = [key for key in keys if any(stamp.get(key) not in (None, "") for stamp in content["protocols"].values())]
    labels = {metric["name"]: metric["label"] for metric in content["metrics"]}
    rows = [
        [labels[name], *(_said(stamp.get(key)) for key in used)]
        for name, stamp in content["protocols"].items()
        if name in labels
    ]
    caption = (
        f"{content['study']['name']}, how each score was made: number of fakes and reals, which reals, features, and "
        "the version of the code. Scores that were made in unlike ways stand in no table together."
    )
    words = dict(zip(keys, titles, strict=True))
    text = [0, *(place for place, key in enumerate(used, 1) if key in ("part", "extractor", "resize"))]
    return Table("protocols", caption, ["score", *(words[key] for key in used)], rows, text)


def _said(value: Any) -> str:
    if value is None or value == "":
        return "—"
    return f"{value:,}" if isinstance(value, int) else str(value)
