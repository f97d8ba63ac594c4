"""What a design asks by itself: its main effects, interactions, simple effects and steps, as weights of cells.

A question is a contrast (`bench.contrasts`): the cells that it compares, each with its weight.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from typing import Literal, NamedTuple

import numpy as np

from bench.contrasts import effect
from bench.design import Cell, Design
from bench.study import FractionDesign

Kind = Literal["main", "interaction", "simple", "reference", "step"]


class Question(NamedTuple):
    """One contrast that a design asks."""

    kind: Kind
    name: str
    """`d_weight: spectral`, `g_norm × d_weight: adain, spectral`, `d_weight: spectral | g_norm=adain`, a cell."""
    against: str
    """What it is compared with; of an interaction, what is summed: the effects of each alone."""
    factors: tuple[str, ...]
    """Those that change."""
    weights: dict[str, float]
    aliases: tuple[str, ...] = ()
    """Of a fraction: the effects that this one cannot be told from; `−` before one that counts the other way."""
    over: tuple[int, int] = (1, 1)
    """In how many settings of the other factors all compared cells stand, of how many that the design has."""


def questions(design: Design, known: Collection[str] | None = None) -> list[Question]:
    """List what a design asks of cells that have values (`known`; unset: all of them), the main effects first.

    A question that cannot be answered from these cells is not in the list.
    """
    cells = [cell for cell in design.cells if known is None or cell.name in known]
    if design.study.rows:
        return [*_steps(design, cells), *_against_reference(design, cells)]
    if isinstance(design.study.design, FractionDesign):
        return [*_of_fraction(design, cells), *_against_reference(design, cells)]
    return [*_of_factors(design, cells), *_against_reference(design, cells)]


def changing(design: Design) -> dict[str, list[str]]:
    """Factor → its levels in the design, the reference's first; factors with one level have no effect."""
    found: dict[str, dict[str, None]] = {}
    for cell in design.cells:
        for factor, level in cell.levels.items():
            found.setdefault(factor, {})[level] = None
    reference = design.study.reference
    return {
        name: [level for first in (True, False) for level in levels if (level == reference.get(name)) is first]
        for name, levels in found.items()
        if len(levels) > 1
    }


def _of_factors(design: Design, cells: list[Cell]) -> Iterator[Question]:
    planned = {cell.name: cell.levels for cell in design.cells}
    here = {cell.name: cell.levels for cell in cells}
    factors = changing(design)
    pairs = [(factor, level, levels[0]) for factor, levels in factors.items() for level in levels[1:]]

    def asked(
        kind: Kind, name: str, against: str, changes: dict[str, tuple[str, str]], given: tuple[str, str] | None = None
    ) -> Iterator[Question]:
        met, wanted = (
            effect({cell: found for cell, found in levels.items() if not given or found[given[0]] == given[1]}, changes)
            for levels in (here, planned)
        )
        corners = 2 ** len(changes)
        if met:
            over = (len(met) // corners, len(wanted) // corners)
            yield Question(kind, name, against, tuple(changes), met, (), over)

    for factor, level, base in pairs:
        yield from asked("main", f"{factor}: {level}", base, {factor: (level, base)})
    for (one, left, base), (other, right, ground) in itertools.combinations(pairs, 2):
        if one != other:
            name = f"{one} × {other}: {left}, {right}"
            changes = {one: (left, base), other: (right, ground)}
            yield from asked("interaction", name, "the sum of the two effects", changes)
    for factor, level, base in pairs:
        for given, levels in factors.items():
            for at in levels if given != factor else []:
                name = f"{factor}: {level} | {given}={at}"
                yield from asked("simple", name, base, {factor: (level, base)}, (given, at))


def _against_reference(design: Design, cells: list[Cell]) -> Iterator[Question]:
    reference = next((cell.name for cell in cells if cell.levels == design.study.reference), None)
    for cell in cells:
        if reference not in (None, cell.name):
            factors = tuple(name for name in cell.levels if cell.levels[name] != design.study.reference.get(name))
            yield Question("reference", cell.name, str(reference), factors, {cell.name: 1.0, str(reference): -1.0})


def _steps(design: Design, cells: list[Cell]) -> Iterator[Question]:
    """Each row against the one before it; where that one has no value, there is no step."""
    names, here = [cell.name for cell in design.cells], {cell.name for cell in cells}
    for before, row in itertools.pairwise(names):
        if before in here and row in here:
            yield Question("step", row, before, ("row",), {row: 1.0, before: -1.0})


# ---------------------------------------------------------------------------------------------------------
# Fractions.


def _of_fraction(design: Design, cells: list[Cell]) -> Iterator[Question]:
    """Main effects and interactions of two factors by least squares on the cells' means.

    The model has one column for each set of aliased effects.  With cells lost, those effects remain that the rank of
    what is left still tells apart; the others are absent.
    """
    factors, names = changing(design), [cell.name for cell in cells]
    groups = alias_groups(design)
    if not names:
        return
    columns = [np.ones(len(names)), *(_signs(cells, design, group[0][0]) for group in groups)]
    model = np.stack(columns, axis=1)
    inverse = np.linalg.pinv(model)
    told = inverse @ model
    for place, group in enumerate(groups, 1):
        if not np.allclose(told[place], np.eye(len(columns))[place], atol=1e-9):
            continue
        for word, sign in group:
            others = tuple(
                ("" if sign == other_sign else "−") + "×".join(other) for other, other_sign in group if other != word
            )
            scale = sign * 2.0 ** len(word)
            weights = {
                name: round(scale * float(w), 12)
                for name, w in zip(names, inverse[place], strict=True)
                if abs(w) > 1e-12
            }
            levels = ", ".join(factors[factor][1] for factor in word)
            name = f"{' × '.join(word)}: {levels}"
            if len(word) == 1:
                yield Question("main", name, factors[word[0]][0], word, weights, others)
            else:
                yield Question("interaction", name, "the sum of the two effects", word, weights, others)


def alias_groups(design: Design) -> list[list[tuple[tuple[str, ...], int]]]:
    """Sets of effects of one and two factors that a fraction cannot tell apart: each effect with its sign.

    Effects are counted as those of leaving the reference, so that an odd word stands against an even one with −.
    """
    factors = list(changing(design))
    words = [(factor,) for factor in factors] + list(itertools.combinations(factors, 2))
    groups: dict[tuple[float, ...], list[tuple[tuple[str, ...], int]]] = {}
    for word in words:
        signs = _signs(list(design.cells), design, word)
        for sign in (1, -1):
            key = tuple((sign * signs).tolist())
            if key in groups:
                groups[key].append((word, sign))
                break
        else:
            groups[tuple(signs.tolist())] = [(word, 1)]
    return list(groups.values())


def _signs(cells: list[Cell], design: Design, word: tuple[str, ...]) -> np.ndarray:
    reference = design.study.reference
    return np.array(
        [np.prod([1.0 if cell.levels[factor] != reference[factor] else -1.0 for factor in word]) for cell in cells]
    )
