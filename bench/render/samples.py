"""Samples for the page and for print: the grid's pictures, and what stands for each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench import figures
from bench.render.grid import Grid, Tile, data_uri, grid, mosaic
from bench.render.part import Given, Part
from bench.render.sketch import sketch

MOST = 8
"""Cells of the figure for print; more do not fit on a page."""


def part(given: Given) -> Part:
    """Cut and encode the mosaics of the page's `grid`; draw the median seeds' for print."""
    made = grid(given.design, given.store, given.frame, given.content["metrics"])
    samples = {
        "medians": made.medians,
        "chosen_by": made.chosen_by,
        "rows": made.rows,
        "tiles_shown": made.side**2,
    }
    part = Part({"samples": samples}, {"grid": _pictures(made)})
    if given.printed:
        _for_print(part, made, given)
    return part


def on_paper(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the cells (`content["cells"]`) that a figure for print has room for; of too many the reference first."""
    if len(cells) > MOST:
        cells = sorted(cells, key=lambda cell: not cell["reference"])[:MOST]
    return [cell["name"] for cell in cells]


def left_out(shown: int, cells: int) -> str:
    """What a caption says of the cells that are not in its figure; "" where all are."""
    return f" {shown} of {cells} cells are shown, {cells - shown} are left out." if shown < cells else ""


def _pictures(grid: Grid) -> dict[str, Any]:
    """Say in words what each mosaic shows, with its pixels as a data URI."""
    rows = []
    for number, (name, places) in enumerate(zip(grid.rows, grid.tiles, strict=True)):
        beside = [
            {"what": what, "uri": data_uri(pixels) if pixels is not None else None}
            for what, pixels in grid.beside(number)
        ]
        pictures = [[_picture(tile, grid.side) for tile in place] for place in places]
        rows.append({"name": name, "beside": beside, "places": pictures})
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


def _picture(tile: Tile, side: int) -> dict[str, Any]:
    pixels = mosaic(tile.path, side) if tile.path else None
    return {
        "seed": tile.seed,
        "shown": tile.shown,
        "kimg": tile.kimg,
        "reason": None if pixels is not None else tile.reason or "the sample file cannot be read",
        "uri": data_uri(pixels) if pixels is not None else None,
        "width": pixels.shape[1] if pixels is not None else None,
    }


def _for_print(part: Part, samples: Grid, given: Given) -> None:
    """Keep the median seeds' grid; nothing where there is no sample at all."""
    if not samples.rows or not any(tile.path for row in samples.tiles for place in row for tile in place):
        return
    design = given.design
    reference, shared = figures.reference_levels(design), figures.shared_levels(design)
    chosen = on_paper(given.content["cells"])
    every = {cell.name: (place, cell) for place, cell in enumerate(design.cells)}
    places = [every[name][0] for name in chosen]
    names = [figures.short_name(every[name][1], reference, shared) for name in chosen]
    drawn: list[list[Any]] = []
    for number, row in enumerate(samples.tiles):
        line: list[Any] = []
        for place in places:
            tile = next(tile for tile in row[place] if tile.shown)
            picture = mosaic(tile.path, samples.side) if tile.path else None
            line.append(picture if picture is not None else tile.reason or "not readable")
        drawn.append([real if real is not None else "not readable" for _, real in samples.beside(number)] + line)
    columns = [*(what for what, _ in samples.beside(0)), *names]
    drawing = sketch(figures.sample_grid, drawn, columns=columns, rows=samples.rows)
    drawn_from = "inputs" if samples.inputs else "z"
    caption = (
        f"The same {samples.side**2} {drawn_from} in each cell, at each row's length; uncurated, from the averaged "
        f"generator. Each cell by its median seed{f' by {samples.chosen_by}' if samples.chosen_by else ''}; "
        f"a hatched tile says why there is no sample.{left_out(len(chosen), len(design.cells))}"
    )
    part.keep(drawing, "samples", "Samples", caption)
