"""Which cells a claim compares: levels as the study names them → weights of cells."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from bench.contrasts import effect
from bench.design import Design
from bench.questions import alias_groups, changing
from bench.study import FractionDesign


class Sides(NamedTuple):
    """The cells that a claim compares."""

    weights: dict[str, float]
    """Cell → weight; {} where nothing can be compared."""
    reason: str = ""
    """Why not."""
    notes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    """Of a fraction: effects that this one cannot be told from."""


def members(said: Mapping[str, Any], design: Design) -> list[str]:
    """Cells of the design that a claim names; a factor that is not named may have any level."""
    wanted = _sets(said)
    return [cell.name for cell in design.cells if all(cell.levels.get(f) in levels for f, levels in wanted.items())]


def _sets(said: Mapping[str, Any]) -> dict[str, set[str]]:
    return {factor: {levels} if isinstance(levels, str) else set(levels) for factor, levels in said.items()}


def compared(claim: Any, design: Design) -> Sides:
    """Weigh the cells of a difference, an equivalence or an interaction."""
    return _interaction(claim.factors, design) if claim.kind == "interaction" else _two_sides(claim, design)


def _two_sides(claim: Any, design: Design) -> Sides:
    """Average each side over the settings of all that does not differ between the sides, as far as both have them.

    So with cells left out, like is still compared with like.
    """
    left, right = _sets(claim.left), _sets(claim.right)
    names = [members(side, design) for side in (claim.left, claim.right)]
    if not all(names):
        return Sides({}, "no such cell was run")
    if isinstance(design.study.design, FractionDesign):
        return _weighed([names], (), _aliases_of({f for f in left | right if left.get(f) != right.get(f)}, design))
    levels = {cell.name: cell.levels for cell in design.cells}
    differing = {factor for factor in left.keys() | right.keys() if left.get(factor) != right.get(factor)}

    def context(cell: str) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((f, level) for f, level in levels[cell].items() if f not in differing))

    def place(cell: str) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((f, level) for f, level in levels[cell].items() if f in differing))

    whole = [{place(cell) for cell in side} for side in names]
    contexts = sorted({context(cell) for side in names for cell in side})
    complete = []
    for one in contexts:
        here = [[cell for cell in side if context(cell) == one] for side in names]
        if all({place(cell) for cell in side} == due for side, due in zip(here, whole, strict=True)):
            complete.append(here)
    if not complete:
        return Sides({}, "no setting of the other factors has all the compared cells")
    left_out = len(contexts) - len(complete)
    note = f"over {len(complete)} of {len(contexts)} settings of the other factors" if left_out else ""
    return _weighed(complete, (note,) if note else (), ())


def _weighed(contexts: list[list[list[str]]], notes: tuple[str, ...], aliases: tuple[str, ...]) -> Sides:
    """Weigh settings alike, and the cells of one side in one setting alike."""
    weights: dict[str, float] = {}
    for here in contexts:
        for sign, side in zip((1.0, -1.0), here, strict=True):
            for cell in side:
                weights[cell] = weights.get(cell, 0.0) + sign / len(side) / len(contexts)
    kept = {cell: weight for cell, weight in weights.items() if weight}
    return Sides(kept, "" if kept else "left and right are the same cells", notes, aliases)


def _interaction(factors: Collection[str], design: Design) -> Sides:
    """The difference of differences of leaving the reference, averaged over the levels that leave it."""
    levels = changing(design)
    if missing := [factor for factor in factors if factor not in levels]:
        return Sides({}, f"{', '.join(missing)} has one level here")
    if isinstance(design.study.design, FractionDesign):
        return _of_fraction(tuple(factors), design)
    cells = {cell.name: cell.levels for cell in design.cells}
    asked = [
        dict(zip(factors, pairs, strict=True))
        for pairs in itertools.product(*([(level, levels[f][0]) for level in levels[f][1:]] for f in factors))
    ]
    found = [effect(cells, changes) for changes in asked]
    if not all(found):
        return Sides({}, "no setting of the other factors has all the compared cells")
    weights: dict[str, float] = {}
    for one in found:
        for cell, weight in one.items():
            weights[cell] = weights.get(cell, 0.0) + weight / len(found)
    note = "averaged over the levels that leave the reference"
    return Sides({c: w for c, w in weights.items() if abs(w) > 1e-12}, "", (note,) if len(found) > 1 else ())


def _of_fraction(factors: tuple[str, ...], design: Design) -> Sides:
    """The product of the factors' signs: what a fraction has of an interaction."""
    reference = design.study.reference
    weights = {}
    for cell in design.cells:
        sign = 1.0
        for factor in factors:
            sign *= 1.0 if cell.levels[factor] != reference[factor] else -1.0
        weights[cell.name] = sign * 2.0 ** len(factors) / len(design.cells)
    if len(set(weights.values())) < 2:
        return Sides({}, "this fraction cannot tell it from the mean")
    return Sides(weights, "", (), _aliases_of(set(factors), design))


def _aliases_of(factors: set[str], design: Design) -> tuple[str, ...]:
    for group in alias_groups(design):
        for word, sign in group:
            if set(word) == factors:
                return tuple(("" if sign == s else "−") + "×".join(other) for other, s in group if other != word)
    return ()
