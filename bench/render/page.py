"""Content + pictures → index.html: one file, no network, readable without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jinja2
from markupsafe import Markup, escape

from bench.figures import CROWD, LEVELS, REFERENCE
from bench.harmless import harmless
from bench.render.grid import Grid, data_uri, mosaic

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


Charts = list[dict[str, Any]]


def page(
    content: Mapping[str, Any],
    grid: Grid,
    charts: Charts,
    probed: Charts,
    troubled: Mapping[str, Charts],
    downloads: list[dict[str, Any]],
) -> str:
    """Render the whole page.

    charts, probed: id, title, svg (trusted: matplotlib's own) and alt of each curve; troubled: the same by run id.
    Everything else is escaped.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench.render", "templates"),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["swatch"] = swatch
    environment.filters["breakable"] = _breakable
    template = environment.get_template("index.html.j2")
    return template.render(
        **content,
        grid=_pictures(grid, content),
        charts=_trusted(charts),
        probed=_trusted(probed),
        troubled={run: _trusted(found) for run, found in troubled.items()},
        downloads=downloads,
        crowd=CROWD,
        headline=[metric for metric in content["metrics"] if not metric["detail"]],
        details=[metric for metric in content["metrics"] if metric["detail"]],
    )


def _shown(value: Any) -> Any:
    return harmless(value) if type(value) is str else value


def _trusted(charts: Charts) -> Charts:
    return [{**chart, "svg": Markup(chart["svg"])} for chart in charts]


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


def _breakable(name: str) -> Markup:
    """Let a long name break after the signs that part it."""
    return Markup(re.sub(r"([=,_./])", r"\1<wbr>", str(escape(name))))


def _variable(colour: str) -> str:
    return "var(--level-0)" if colour == REFERENCE else f"var(--level-{LEVELS.index(colour) + 1})"


def _pictures(grid: Grid, content: Mapping[str, Any]) -> dict[str, Any]:
    """Cut and encode the mosaics; say in words what each shows."""
    rows = []
    for number, (name, places) in enumerate(zip(grid.rows, grid.tiles, strict=True)):
        rows.append(
            {
                "name": name,
                "beside": [
                    {"what": what, "uri": data_uri(pixels) if pixels is not None else None}
                    for what, pixels in grid.beside(number)
                ],
                "places": [[_picture(tile, grid.side) for tile in place] for place in places],
            }
        )
    seeds = sorted({tile.seed for row in grid.tiles for place in row for tile in place})
    several = any(len(place) > 1 for row in grid.tiles for place in row)
    return {
        "rows": rows,
        "seeds": seeds if several else [],
        "medians": grid.medians,
        "chosen_by": grid.chosen_by,
        "side": grid.side,
        "count": grid.side**2,
        "pixels": grid.side * grid.tile,
        "scale": grid.scale,
        "beside": [what for what, _ in grid.beside(0)],
        "drawn": "inputs" if grid.inputs else "z",
    }


def _picture(tile: Any, side: int) -> dict[str, Any]:
    pixels = mosaic(tile.path, side) if tile.path else None
    return {
        "seed": tile.seed,
        "shown": tile.shown,
        "kimg": tile.kimg,
        "reason": None if pixels is not None else tile.reason or "the sample file cannot be read",
        "uri": data_uri(pixels) if pixels is not None else None,
        "width": pixels.shape[1] if pixels is not None else None,
    }
