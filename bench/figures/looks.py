"""How each cell of a design is drawn: its colour, marker and short name."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bench.design import Cell, Design
from bench.figures.style import LEVELS, MARKERS, REFERENCE


@dataclass(frozen=True)
class Look:
    """How one cell is drawn everywhere."""

    colours: tuple[str, ...]
    """One colour, or the two that its line is striped with."""
    marker: str
    label: str
    """Short name for direct labels."""


def looks(design: Design) -> dict[str, Look]:
    """Give every cell of the design its look: cell name → Look."""
    reference, colour_of = reference_levels(design), level_colours(design)
    drawn = {}
    shared = shared_levels(design)
    for number, cell in enumerate(design.cells):
        colours = [colour_of[level] for level in departures(cell, reference)][:2] or [REFERENCE]
        drawn[cell.name] = Look(tuple(colours), MARKERS[number % len(MARKERS)], short_name(cell, reference, shared))
    return drawn


def level_colours(design: Design) -> dict[tuple[str, str], str]:
    """Give every level but the reference's its colour: (factor, level) → colour."""
    reference = reference_levels(design)
    found: dict[tuple[str, str], str] = {}
    for cell in design.cells:
        for level in departures(cell, reference):
            found.setdefault(level, LEVELS[len(found) % len(LEVELS)])
    return found


def reference_levels(design: Design) -> dict[str, str]:
    """The reference's level of every factor; the first cell's where the study names none."""
    first = dict(design.cells[0].levels) if design.cells else {}
    return {**first, **design.study.reference}


def departures(cell: Cell, reference: Mapping[str, str]) -> list[tuple[str, str]]:
    """List the (factor, level) in which a cell is not the reference."""
    return [(factor, level) for factor, level in cell.levels.items() if level != reference.get(factor)]


def shared_levels(design: Design) -> frozenset[str]:
    """Names that are levels of more than one factor: `spectral`, of d_weight and of g_weight."""
    factors_of: dict[str, set[str]] = {}
    for levels in (cell.levels for cell in design.cells):
        for factor, level in levels.items():
            factors_of.setdefault(level, set()).add(factor)
    return frozenset(level for level, factors in factors_of.items() if len(factors) > 1)


def short_name(cell: Cell, reference: Mapping[str, str], shared: Collection[str] = ()) -> str:
    """Name a cell as briefly as is clear: `adain · spectral`; from three factors on, what differs.

    A level that says little by itself (`true`, `4`), or that is in `shared`, stands with its factor.
    """
    levels = list(cell.levels.items()) if len(cell.levels) <= 2 else departures(cell, reference)
    alone = [level not in shared and not _says_little(level) for _, level in levels]
    shown = [level if clear else f"{factor}={level}" for (factor, level), clear in zip(levels, alone, strict=True)]
    return " · ".join(shown) or "reference"


def _says_little(level: str) -> bool:
    with contextlib.suppress(ValueError):
        float(level)
        return True
    return level.lower() in ("true", "false", "none")
