"""What a design asks by itself: its main effects, interactions, simple effects and steps, as weights of cells.

A question is a contrast (`bench.contrasts`): the cells that it compares, each with its weight.  A crossing is what an
interaction is read from: the means at each pair of two factors' levels.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator
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
    levels: tuple[str, ...] = ()
    """To which `factors` change, where it asks of factors."""
    given: tuple[str, str] | None = None
    """Of a simple effect: the factor that stays, and its level."""


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
            to = tuple(left for left, _ in changes.values())
            yield Question(kind, name, against, tuple(changes), met, (), over, to, given)

    for factor, level, base in pairs:
        yield from asked("main", f"{factor}: {level}", base, {factor: (level, base)})
    for (one, left, base), (other, right, ground) in itertools.combinations(pairs, 2):
        if one != other:
            name = f"{one} × {other}: {left}, {right}"
            changes = {one: (left, base), other: (right, ground)}
            yield from asked("interaction", name, "no interaction", changes)
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
# Two factors at a time.


class Crossing(NamedTuple):
    """The cells to average at each pair of levels of two factors."""

    factors: tuple[str, str]
    levels: tuple[tuple[str, ...], tuple[str, ...]]
    """Of each factor, the reference's first."""
    weights: dict[tuple[str, str], dict[str, float]]
    """Pair of levels → cell → weight, which add up to 1; a pair without values is left out."""
    over: tuple[int, int]
    """Over how many settings of the other factors, of how many that the design has."""


def crossings(design: Design, known: Collection[str] | None = None) -> list[Crossing]:
    """List the pairs of factors whose interaction a design shows, as means of cells with values (`known`; unset: all).

    All pairs of levels are averaged over the same settings of the other factors, alike, so that the difference of
    differences of these means is the interaction's contrast.  A pair of factors is there when the reference's levels
    and some other pair of levels make four corners.  A fraction averages over all its cells, and has none with cells
    lost; a ladder has none.
    """
    cells = [cell for cell in design.cells if known is None or cell.name in known]
    fraction = isinstance(design.study.design, FractionDesign)
    if design.study.rows or not cells or (fraction and len(cells) < len(design.cells)):
        return []
    factors = changing(design)
    found = []
    for one, other in itertools.combinations(factors, 2):
        here = _contexts(cells, one, other, pooled=fraction)
        alike: dict[frozenset[tuple[str, str]], list[dict[tuple[str, str], list[str]]]] = {}
        for context in here:
            alike.setdefault(frozenset(context), []).append(context)
        used = max(alike.values(), key=lambda group: (len(group[0]), len(group)))
        base, ground = factors[one][0], factors[other][0]
        if not any(
            {(base, ground), (base, right), (left, ground)} <= used[0].keys()
            for left, right in used[0]
            if left != base and right != ground
        ):
            continue
        names = {
            pair: [name for context in used for name in context[pair]]
            for pair in itertools.product(factors[one], factors[other])
            if pair in used[0]
        }
        weights = {pair: dict.fromkeys(chosen, 1 / len(chosen)) for pair, chosen in names.items()}
        planned = len(_contexts(design.cells, one, other, pooled=fraction))
        levels = (tuple(factors[one]), tuple(factors[other]))
        found.append(Crossing((one, other), levels, weights, (len(used), planned)))
    return found


def _contexts(cells: Iterable[Cell], one: str, other: str, *, pooled: bool) -> list[dict[tuple[str, str], list[str]]]:
    """For each setting of all other factors (`pooled`: for all of them at once), pair of levels → cells."""
    found: dict[tuple[str, ...], dict[tuple[str, str], list[str]]] = {}
    for cell in cells:
        context = () if pooled else tuple(level for name, level in cell.levels.items() if name not in (one, other))
        found.setdefault(context, {}).setdefault((cell.levels[one], cell.levels[other]), []).append(cell.name)
    return list(found.values())


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
            levels = tuple(factors[factor][1] for factor in word)
            name = f"{' × '.join(word)}: {', '.join(levels)}"
            if len(word) == 1:
                yield Question("main", name, factors[word[0]][0], word, weights, others, levels=levels)
            else:
                against = "no interaction"
                yield Question("interaction", name, against, word, weights, others, levels=levels)


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
