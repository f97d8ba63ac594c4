"""Content + pictures → index.html: one file, no network, readable without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from markupsafe import Markup, escape

from bench.figures import CROWD, LEVELS, REFERENCE
from bench.harmless import harmless

_SHAPES = {
    "o": "M8,4.4a3.6,3.6 0 1,0 0.001,0z",
    "s": "M4.7,4.7h6.6v6.6h-6.6z",
    "^": "M8,3.6L12.2,11.4H3.8z",
    "D": "M8,3.2L12.8,8L8,12.8L3.2,8z",
    "v": "M8,12.4L12.2,4.6H3.8z",
    "P": "M6.4,3.6h3.2v2.8h2.8v3.2h-2.8v2.8h-3.2v-2.8h-2.8v-3.2h2.8z",
    "X": "M5,3.4L8,6.4L11,3.4L12.6,5L9.6,8L12.6,11L11,12.6L8,9.6L5,12.6L3.4,11L6.4,8L3.4,5z",
    "*": "M8,2.8L9.4,6.6H13.2L10.2,9L11.3,12.8L8,10.5L4.7,12.8L5.8,9L2.8,6.6H6.6z",
}
"""matplotlib's markers, drawn in a box of 16 units."""
_LONG = 17
"""Letters of a word from which on it may be broken: `d_weight=none` never is."""


def page(
    content: Mapping[str, Any],
    shown: Mapping[str, Any],
    downloads: list[dict[str, Any]],
    reload_s: int | None = None,
) -> str:
    """Render the whole page.

    shown: charts and pictures by the name that the templates give them.  Whatever is no Markup (matplotlib's own
    SVG is) is escaped.  reload_s: the page loads itself anew after so many seconds; None: never.
    """
    return (
        environment()
        .get_template("index.html.j2")
        .render(
            **content,
            **shown,
            downloads=downloads,
            reload_s=reload_s,
            crowd=CROWD,
            files_of_runs=_of_runs(downloads, content["runs"]),
            headline=[metric for metric in content["metrics"] if not metric["detail"]],
            details=[metric for metric in content["metrics"] if metric["detail"]],
        )
    )


def environment() -> jinja2.Environment:
    """Jinja with all that pages share; whatever is no Markup is escaped, and harmless."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("bench.render", "templates"),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["swatch"] = swatch
    made.filters["breakable"] = _breakable
    return made


def _shown(value: Any) -> Any:
    return harmless(value) if type(value) is str else value


def _of_runs(
    downloads: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]
) -> dict[str, list[dict[str, str]]]:
    """Run id → the files beside the page that are of this run alone: those whose names have its id."""
    ids = {run["run_id"] for run in runs}
    found: dict[str, list[dict[str, str]]] = {}
    for file in downloads:
        words = re.split(r"[-/]", file["name"])
        for run_id in ids.intersection(words):
            name = " ".join(word for word in words[1:] if word != run_id)
            found.setdefault(run_id, []).append({"name": name, "path": file["links"][-1]["path"]})
    return found


def swatch(look: Mapping[str, Any]) -> Markup:
    """Draw a cell's line and marker as in the curves: a small inline SVG in the page's colours."""
    first, last = (_variable(look["colours"][place]) for place in (0, -1))
    stripes = Markup('<path d="M16,8H32" stroke="{}"/>').format(last)
    return Markup(
        '<svg class="swatch" viewBox="0 0 32 16" width="32" height="16" aria-hidden="true" focusable="false">'
        '<g fill="none" stroke-width="2.5"><path d="M0,8H32" stroke="{first}"/>{stripes}</g>'
        '<path transform="translate(8,0)" d="{shape}" fill="{last}" stroke="var(--paper)" stroke-width="0.8"/></svg>'
    ).format(
        first=first,
        last=last,
        stripes=stripes if last != first else "",
        shape=_SHAPES[look["marker"]],
    )


def _breakable(text: str) -> Markup:
    """Let long words break after the signs that part them, and no number; after `_` where nothing else helps."""
    return Markup(re.sub(rf"\S{{{_LONG},}}", _parted, str(escape(harmless(text)))))


def _parted(word: re.Match[str]) -> str:
    parts = re.split(r"(?<=[=/])|(?<=[.,])(?!\d)|(?<=\D[.,])", word[0])
    return "<wbr>".join(part.replace("_", "_<wbr>") if len(part) >= _LONG else part for part in parts)


def _variable(colour: str) -> str:
    return "var(--level-0)" if colour == REFERENCE else f"var(--level-{LEVELS.index(colour) + 1})"
