"""The figures of effects: which rows a forest has, in which colours, and what their captions say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from bench import figures
from bench.render.part import Given, Part
from bench.render.save import FORMATS, file_name
from bench.render.sketch import sketch

MOST_ROWS = 40
"""A forest has no more rows; the rest are in the tables."""
MOST_CROSSINGS, MOST_ASIDE = 10, 3
"""Pairs of factors that are drawn: of the measure that a study is about, and of another."""
ASIDE = ("svg", "pdf")
"""Files of the figures of measures that a study is not about."""


def forest(made: Part, given: Given, one: Mapping[str, Any]) -> dict[str, Any] | None:
    """Draw one measure's effects; None for details, for a ladder's steps, and where success differs nowhere.

    one: an entry of `effects` in report.json.  Returns {chart, caption, left_out}.
    """
    rows = forest_rows(one)
    if one["detail"] or not rows or (one["metric"] == "success" and all(row["effect"] == 0 for _, row in rows)):
        return None
    shown = rows[:MOST_ROWS]
    colours = figures.level_colours(given.design)
    effects = [
        figures.Effect(
            group,
            row["effect_of"],
            f"{row['text']} {row['interval']}",
            row["effect"],
            row["low"],
            row["high"],
            [value for value in row["by_seed"].values() if value is not None],
            row["method"] == "paired",
            None if row["noise_low"] is None else (row["noise_low"], row["noise_high"]),
            _colour(row, colours, given),
            bool(row["greyed"]),
        )
        for group, row in shown
    ]
    what = "ratio" if one["scale"] == "ratio" else "difference"
    label = f"{what} of {one['label']} ({one['meaning']})"
    picture = sketch(figures.forest, effects, scale=cast(Any, one["scale"]), label=label)
    caption = _forest_caption(one, [row for _, row in shown])
    chart = made.draw(
        picture,
        file_name(f"effects-{one['metric']}", _taken(made)),
        f"Effects on {one['label']}",
        f"Effects on {one['label']}. " + "; ".join(f"{e.label} {e.text}".strip() for e in effects) + ".",
        FORMATS if one["primary"] else ASIDE,
        caption=caption,
        metrics=[one["metric"]],
    )
    return {"chart": chart, "caption": caption, "left_out": len(rows) - len(shown)}


def forest_rows(one: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """What a forest shows: (group, row).

    Main effects and interactions; first, where an interaction's interval excludes none, the simple effects of its
    factors.  Cells against the reference where the design tells no factors apart; a ladder's steps have their own
    figure.
    """
    groups = {group["kind"]: group for group in one["groups"]}
    if "step" in groups:
        return []
    interacting = [set(row["factors"]) for row in groups.get("interaction", {}).get("rows", []) if row["excludes_none"]]
    kinds = ("simple", "main", "interaction") if "main" in groups else ("reference",)
    return [
        (groups[kind]["title"], row)
        for kind in kinds
        if kind in groups
        for row in groups[kind]["rows"]
        if kind != "simple" or {*row["factors"], row["given"][0]} in interacting
    ]


def _colour(row: Mapping[str, Any], colours: Mapping[tuple[str, str], str], given: Given) -> str:
    """A level's own colour; ink for an interaction; a cell's first colour."""
    if row["kind"] == "reference":
        return given.looks[row["effect_of"]].colours[0]
    if len(row["factors"]) > 1:
        return figures.INK
    return colours.get((row["factors"][0], row["levels"][0]), figures.INK)


def _forest_caption(one: Mapping[str, Any], rows: list[Mapping[str, Any]]) -> str:
    """Say what dots, bars and band are, and over how many seeds."""
    counts = sorted({row["n"] for row in rows})
    seeds = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    if one["metric"] == "success":
        return f"Differences in the share of runs that succeed, with Newcombe’s 95 % interval; {seeds} runs a side."
    mean = "geometric mean over seeds" if one["scale"] == "ratio" else "mean over seeds"
    said = f"Effects on {one['label']}: {mean} and 95 % t interval, each with its own error; faint: one dot a seed"
    said += f"; {seeds}."
    if any(row["method"] != "paired" for row in rows):
        said += " Hollow dots: seeds that all compared cells have, where others are missing; the estimate uses all."
    noise = one["noise"]
    if noise and any(row["noise_low"] is not None for row in rows):
        of = "logarithm" if one["scale"] == "ratio" else "value"
        said += (
            f" Band: evaluation noise, ± 1 sd: how far an effect of none would stray if every score were made anew, by "
            f"the sd of one snapshot’s {of} over {noise['evaluations']} evaluation seeds ({noise['sd']:.2g}), taken as "
            "independent from score to score."
        )
    if any(row["greyed"] for row in rows):
        said += " Grey, with a hollow mark: the compared cells differ in success, and only runs that reached their "
        said += "end are compared."
    return said + " Exploratory."


# ---------------------------------------------------------------------------------------------------------
# Two factors at a time.


def crossed(made: Part, given: Given, one: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Draw the first crossings of one measure: [{chart, crossing}]; none for details."""
    if one["detail"]:
        return []
    colours = figures.level_colours(given.design)
    drawn = []
    for crossing in one["crossings"][: MOST_CROSSINGS if one["primary"] else MOST_ASIDE]:
        across, factor = crossing["factors"]
        lines = {
            level: figures.Look(
                (colours.get((factor, level), figures.REFERENCE),),
                figures.MARKERS[number % len(figures.MARKERS)],
                level,
            )
            for number, level in enumerate(crossing["levels"][1])
        }
        points = {tuple(point["levels"]): (point["value"], _known(point["by_seed"])) for point in crossing["points"]}
        picture = sketch(
            figures.interaction,
            cast(Any, points),
            crossing["levels"][0],
            lines,
            scale="log" if crossing["scale"] == "ratio" else "raw",
            title=f"{one['label']} by {factor}",
            factor=across,
        )
        chart = made.draw(
            picture,
            file_name(f"interaction-{one['metric']}-{across}-{factor}", _taken(made)),
            f"{one['label']}: {across} × {factor}",
            _crossing_alt(one, crossing),
            FORMATS if one["primary"] else ASIDE,
            caption=_crossing_caption(one, crossing),
            metrics=[one["metric"]],
        )
        drawn.append({"chart": chart, "crossing": crossing})
    return drawn


def _known(by_seed: Mapping[str, float | None]) -> dict[str, float]:
    return {seed: value for seed, value in by_seed.items() if value is not None}


def _crossing_alt(one: Mapping[str, Any], crossing: Mapping[str, Any]) -> str:
    across, factor = crossing["factors"]
    points = "; ".join(
        f"{across}={point['levels'][0]}, {factor}={point['levels'][1]}: {point['value']:.3g}"
        for point in crossing["points"]
    )
    return f"{one['label']} over {across}, a line for each level of {factor}. {points}."


def _crossing_caption(one: Mapping[str, Any], crossing: Mapping[str, Any]) -> str:
    across, factor = crossing["factors"]
    counts = sorted({point["n"] for point in crossing["points"]})
    seeds = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    mean = "means"
    if crossing["scale"] == "ratio":
        mean, seeds = "geometric means", f"{seeds}; the table of results has arithmetic ones"
    said = (
        f"{one['label']} over {across} by {factor}: {mean} over seeds ({seeds}); faint: one line a seed; dashed: where "
        "a line would lie if the factors did not interact."
    )
    k, n = crossing["over"]
    return said if n <= 1 else f"{said} Averaged over {k} of {n} settings of the other factors."


def _taken(made: Part) -> list[str]:
    return [drawn.id for drawn in made.drawn]
