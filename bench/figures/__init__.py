"""Tidy tables → Axes and Figures.  Nothing here reads or writes a file.

Colour follows the level of a factor and is the same in every figure and table of a report: the reference is
neutral grey, every other level has one Okabe-Ito colour, and a cell with two such levels is striped with both.
Marker and dash say the same again, for those who do not see the colours.
"""

from __future__ import annotations

from bench.figures.cost import Priced, cost
from bench.figures.curves import CURVES, curves
from bench.figures.forest import Effect, forest
from bench.figures.interaction import interaction
from bench.figures.key import key
from bench.figures.ladder import Rung, ladder
from bench.figures.looks import Look, departures, level_colours, looks, reference_levels, shared_levels, short_name
from bench.figures.probing import probe, probed
from bench.figures.samples import sample_grid
from bench.figures.stability import ENDS, MOST_ROWS, outcomes, survival
from bench.figures.style import (
    CROWD,
    INK,
    LEVELS,
    LINE,
    MARKERS,
    MUTED,
    NAMED,
    PAPER,
    REFERENCE,
    STYLE,
    WIDTHS,
    settle,
    spread,
)

__all__ = [
    "CROWD",
    "CURVES",
    "ENDS",
    "INK",
    "LEVELS",
    "LINE",
    "MARKERS",
    "MOST_ROWS",
    "MUTED",
    "NAMED",
    "PAPER",
    "REFERENCE",
    "STYLE",
    "WIDTHS",
    "Effect",
    "Look",
    "Priced",
    "Rung",
    "cost",
    "curves",
    "departures",
    "forest",
    "interaction",
    "key",
    "ladder",
    "level_colours",
    "looks",
    "outcomes",
    "probe",
    "probed",
    "reference_levels",
    "sample_grid",
    "settle",
    "shared_levels",
    "short_name",
    "spread",
    "survival",
]
