"""Every headline number of a study as a LaTeX command, so that a paper's text cannot disagree with its tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bench.harmless import harmless
from bench.render.latex import escaped
from bench.render.save import Stamp
from bench.render.tables import protocol_words
from bench.verdicts import figure

_DIGITS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
_LONGEST = 60


class Macro(NamedTuple):
    """A number and what it is."""

    name: tuple[str, ...]
    """What the command's name is made of."""
    value: str
    about: str


def macros(content: Mapping[str, Any], stem: str, stamp: Stamp) -> bytes:
    """Write `macros.tex`: `\\newcommand{\\<Study><What>}{<number>}`, each under a comment that says what it is.

    stem: name of the study file, without a profile: a paper that was written on a trial then takes the whole study's.
    Names are of letters only, digits spelled; one that is taken gets B, C, … at its end, in the order of the report.
    """
    lines = [
        f"% {harmless(stamp.words())}",
        "% \\input{macros} in the preamble.  Numbers as the tables show them.",
    ]
    taken: set[str] = set()
    for macro in _all(content):
        name = _unique(_letters(stem) + "".join(map(_letters, macro.name)), taken)
        about = re.sub(r"\s+", " ", harmless(macro.about))
        lines += [f"% {about}", f"\\newcommand{{\\{name}}}{{{_value(macro.value)}}}"]
    return "\n".join([*lines, ""]).encode()


def _value(text: str) -> str:
    """Escape, so that it may also stand within a formula."""
    return re.sub(r"(?<!\\)\$([^$]*)\$", r"\\ensuremath{\1}", escaped(text))


def _letters(text: str) -> str:
    """Turn any text into the letters of a name: `fd[random]` → `FdRandom`, `2k` → `TwoK`."""
    spelled = re.sub(r"[0-9]", lambda found: f" {_DIGITS[int(found[0])]} ", text)
    words = re.findall(r"[A-Za-z]+", spelled)
    return "".join(word[0].upper() + word[1:] for word in words)[:_LONGEST]


def _unique(name: str, taken: set[str]) -> str:
    chosen, number = name, 0
    while chosen in taken:
        number += 1
        chosen = name + _suffix(number)
    taken.add(chosen)
    return chosen


def _suffix(number: int) -> str:
    """1 → B, 25 → Z, 26 → ZB, …"""
    return "Z" * ((number - 1) // 25) + "BCDEFGHIJKLMNOPQRSTUVWXYZ"[(number - 1) % 25]


def _all(content: Mapping[str, Any]) -> Iterator[Macro]:
    yield from _study(content)
    yield from _of_cells(content)
    yield from _of_effects(content)
    yield from _of_verdicts(content)


def _study(content: Mapping[str, Any]) -> Iterator[Macro]:
    counts, status = content["status"]["counts"], content["status"]
    seeds, cells = len(content["design"]["seeds"]), len(content["cells"])
    yield Macro(("Seeds",), str(seeds), "training seeds in each cell")
    yield Macro(("Cells",), str(cells), "cells: combinations of levels")
    yield Macro(("Runs",), f"{status['total']:,}", "runs that were planned")
    yield Macro(("RunsDone",), f"{counts.get('done', 0):,}", "runs that reached the end")
    yield Macro(("RunsDiverged",), f"{counts.get('diverged', 0):,}", "runs that diverged")
    headline = [metric["name"] for metric in content["metrics"] if not metric["detail"]]
    words = protocol_words(content, headline)
    yield Macro(("Protocol",), words or "no score yet", "how the scores were made")


def _of_cells(content: Mapping[str, Any]) -> Iterator[Macro]:
    for cell in content["cells"]:
        label, success = cell["label"], cell["success"]
        yield Macro(
            ("Success", label), success["text"], f"{cell['name']}: runs that succeeded of those with an outcome"
        )
        if success["n"]:
            yield Macro(("Success", label, "Interval"), success["interval"], "the same, Wilson's 95 % interval")
        for metric in content["metrics"]:
            one = cell["estimates"][metric["name"]]
            if metric["detail"] or not one["n"]:
                continue
            about = f"{metric['label']} of {cell['name']}"
            yield Macro((metric["name"], label), one["text"], f"{about}: mean over seeds at the last snapshot")
            yield Macro((metric["name"], label, "N"), str(one["n"]), f"{about}: seeds")
            if one["sd_train"] is not None:
                yield Macro((metric["name"], label, "Sd"), one["sd_text"], f"{about}: sd over training seeds")
            if one["low"] is not None:
                yield Macro(
                    (metric["name"], label, "Interval"), one["interval"], f"{about}: 95 % t interval of the mean"
                )


def _of_effects(content: Mapping[str, Any]) -> Iterator[Macro]:
    for one in content["effects"]:
        if one["detail"]:
            continue
        for group in one["groups"]:
            for row in group["rows"]:
                name = (one["metric"], group["kind"], row["effect_of"])
                about = f"{one['label']}: {row['effect_of']} against {row['against']} ({group['kind']}, {row['scale']})"
                yield Macro(name, figure(row["effect"], row["scale"] == "difference"), about)
                yield Macro(
                    (*name, "N"), str(row["n"]), f"{about}: {'runs' if one['metric'] == 'success' else 'seeds'}"
                )
                if row["interval"]:
                    yield Macro((*name, "Interval"), row["interval"], f"{about}: 95 % interval")
                if row["p_text"]:
                    yield Macro((*name, "P"), row["p_text"], f"{about}: two-sided p, not adjusted")


def _of_verdicts(content: Mapping[str, Any]) -> Iterator[Macro]:
    for number, one in enumerate(content["verdicts"], 1):
        name, about = ("Claim", str(number)), f"“{one['says']}”"
        yield Macro(name, one["verdict"], about)
        yield Macro((*name, "Numbers"), one["why"], f"{about}: the numbers behind it")
        if one["estimate"] is None:
            continue
        signed = one["scale"] in ("difference", "correlation")
        yield Macro((*name, "Estimate"), figure(one["estimate"], signed), f"{about}: {one['scale']}")
        yield Macro((*name, "N"), str(one["n"]), f"{about}: n")
        if one["low"] is not None or one["high"] is not None:
            interval = f"[{figure(one['low'], signed)}, {figure(one['high'], signed)}]"
            yield Macro((*name, "Interval"), interval, f"{about}: interval, {one['interval_kind']}")
        if one["p_holm"] is not None:
            yield Macro((*name, "P"), one["p_holm_text"], f"{about}: p after Holm")
