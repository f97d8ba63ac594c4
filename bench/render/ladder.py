"""A ladder's table: what each row has on, its value, its step from the row before, and a figure of the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench import figures
from bench.contrasts import contrast
from bench.design import Design
from bench.effects import WORDS, shower
from bench.readings import Reading
from bench.render.answers import CONFOUNDED
from bench.render.content import APART, plain
from bench.render.drawings import ASIDE
from bench.render.effects import primary
from bench.render.part import Given, Part
from bench.render.save import FORMATS, file_name
from bench.render.sketch import sketch
from bench.setting import resolved
from bench.verdicts import figure


def part(given: Given) -> Part:
    """Gather `ladder`, None for a study of factors, and draw each measure's.  It reads what `effects` has gathered."""
    design = given.design
    if not design.study.rows or len(design.cells) < 2:
        return Part({"ladder": None})
    settings = _settings(design)
    columns = _columns(settings)
    names = [cell.name for cell in design.cells]
    rows = [
        {
            "name": name,
            "changes": _changes(settings[before], settings[name]) if before else [],
            "on": [any(settings[name][key] != settings[names[0]][key] for key in column) for column in columns],
            "levels": [settings[name][column[0]] if len(column) == 1 else "" for column in columns],
        }
        for before, name in zip(["", *names], names, strict=False)
    ]
    measures = [_measure(given, metric) for metric in given.content["metrics"] if not metric["detail"]]
    first = primary(design, given.content["metrics"])
    there = sorted((one for one in measures if one is not None), key=lambda one: one["metric"] != first)
    listed = [{"label": _label(column), "settings": column} for column in columns]
    made = Part({"ladder": {"columns": listed, "rows": rows, "measures": there, "confounded": CONFOUNDED}})
    made.shown["ladders"] = {one["metric"]: _draw(made, given, one, one["metric"] == first) for one in there}
    return made


def _settings(design: Design) -> dict[str, dict[str, str]]:
    """Row → the settings in which rows differ, as text, resolved to the last number."""
    found: dict[str, dict[str, str]] = {}
    for run in design.runs:
        if run.cell.name not in found:
            every = {key: value for key, value in resolved(run.setting).items() if key not in APART}
            found[run.cell.name] = {key: _text(value) for key, value in every.items()}
    differ = [key for key in next(iter(found.values()), {}) if len({one[key] for one in found.values()}) > 1]
    return {cell.name: {key: found[cell.name][key] for key in differ} for cell in design.cells}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else plain(value)


def _columns(settings: Mapping[str, Mapping[str, str]]) -> list[list[str]]:
    """Settings that change together in all rows share a column; columns in the order in which they first change."""
    rows = list(settings.values())
    groups: dict[tuple[int, ...], list[str]] = {}
    for key in rows[0]:
        seen: dict[str, int] = {}
        pattern = tuple(seen.setdefault(row[key], len(seen)) for row in rows)
        groups.setdefault(pattern, []).append(key)
    first = {pattern: next(place for place, level in enumerate(pattern) if level) for pattern in groups}
    return [groups[pattern] for pattern in sorted(groups, key=lambda pattern: first[pattern])]


def _label(column: Sequence[str]) -> str:
    short = [key.removeprefix("train.") for key in column]
    return ", ".join(short) if len(short) <= 2 else f"{short[0]} and {len(short) - 1} more"


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[dict[str, str]]:
    return [
        {"setting": key, "before": before[key], "after": value} for key, value in after.items() if value != before[key]
    ]


def _measure(given: Given, metric: Mapping[str, Any]) -> dict[str, Any] | None:
    """A measure's value in each row, on the scale of its steps, and the steps; None where no row has one."""
    reading = given.readings.of(metric["name"])
    if not reading.known:
        return None
    steps = {
        row["effect_of"]: row
        for one in given.content["effects"]
        if one["metric"] == metric["name"]
        for group in one["groups"]
        if group["kind"] == "step"
        for row in group["rows"]
    }
    cells = {cell["name"]: cell for cell in given.content["cells"]}
    return {
        "metric": metric["name"],
        "label": metric["label"],
        "meaning": metric["meaning"],
        "scale": WORDS[reading.scale],
        "rows": [
            {"name": name, "success": cells[name]["success"]["text"], "step": steps.get(name), **_value(reading, name)}
            for name in cells
        ],
    }


def _value(reading: Reading, row: str) -> dict[str, Any]:
    one, shown = contrast(reading.cells, {row: 1.0}), shower(reading)
    value, low, high = (shown(number) for number in (one.estimate, one.low, one.high))
    return {
        "value": value,
        "low": low,
        "high": high,
        "n": one.n,
        "by_seed": {str(seed): shown(found) for seed, found in one.by_seed.items()},
        "text": figure(value),
        "interval": f"[{figure(low)}, {figure(high)}]" if low is not None or high is not None else "",
    }


def _draw(made: Part, given: Given, one: Mapping[str, Any], first: bool) -> dict[str, Any]:
    """Draw one measure's ladder: {chart, caption}."""
    ladder = made.content["ladder"]
    rungs = []
    for row, told in zip(ladder["rows"], one["rows"], strict=True):
        colour = given.looks[row["name"]].colours[0]
        value = _effect(told["value"], told, colour, whole=True) if told["value"] is not None else None
        step = told["step"]
        found = _effect(step["effect"], step, colour, whole=step["method"] == "paired") if step else None
        rungs.append(figures.Rung(row["name"], row["on"], value, found))
    picture = sketch(
        figures.ladder,
        rungs,
        [column["label"] for column in ladder["columns"]],
        scale=one["scale"],
        value_label=f"{one['label']}\n({one['meaning']})",
        step_label=f"{'ratio' if one['scale'] == 'ratio' else 'difference'} to the row before",
    )
    mean = "mean over seeds"
    if one["scale"] == "ratio":
        mean = "geometric mean over seeds (the table of results has arithmetic ones)"
    caption = (
        f"{one['label']} row by row: at the left what each row has that the first has not; {mean} with its "
        "95 % t interval; the step from the row before, with its own; faint: one dot a seed. " + CONFOUNDED
    )
    alt = "; ".join(
        f"{told['name']} {told['text']}"
        + (f", step {told['step']['text']} {told['step']['interval']}" if told["step"] else "")
        for told in one["rows"]
    )
    chart = made.draw(
        picture,
        file_name(f"ladder-{one['metric']}", [known.id for known in made.drawn]),
        f"{one['label']} row by row",
        f"{one['label']} of each row, and its step from the row before: {alt}.",
        FORMATS if first else ASIDE,
        caption=caption,
        metrics=[one["metric"]],
    )
    return {"chart": chart, "caption": caption}


def _effect(value: float, told: Mapping[str, Any], colour: str, *, whole: bool) -> figures.Effect:
    seeds = [found for found in told["by_seed"].values() if found is not None]
    greyed = bool(told.get("greyed"))
    return figures.Effect("", "", "", value, told["low"], told["high"], seeds, whole, None, colour, greyed)
