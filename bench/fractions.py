"""Regular fractions of two-level designs, by pyDOE."""

from __future__ import annotations

import string

from bench.study import FractionDesign, Study, StudyError

_SEARCH = 400
"""Sets of generators that are tried; the most promising come first."""


def fraction(study: Study, design: FractionDesign) -> tuple[set[tuple[str, ...]], tuple[str, ...]]:
    """Choose the cells of a regular fraction.

    Returns the cells, each as the tuple of its levels in the order of the factors, and the aliases among effects of
    one and two factors, as `g_norm×d_weight = sle×mbstd`.  The reference cell is always among the cells.
    Raises StudyError when the resolution is below the one asked for.
    """
    import pydoe  # scipy and numpy: only when a fraction is asked for

    factors = list(study.factors)
    halvings = int(design.fraction[2:]).bit_length() - 1
    try:
        if design.generators:
            words = _words(factors, design.generators)
        else:
            words = str(pydoe.fracfact_opt(len(factors), halvings, _SEARCH)[0]).split()
        matrix = pydoe.fracfact(" ".join(words))
        groups = [group.split(" = ") for group in pydoe.fracfact_aliasing(matrix)[0]]
    except ValueError as error:
        raise StudyError([study.problem(("design", "fraction"), str(error))]) from error
    resolution = _resolution(groups)
    if resolution < design.resolution:
        said = (
            f"{design.fraction} of {len(factors)} factors has resolution {resolution}: an effect of one factor hides "
            f"behind one of {resolution - 1}; take a larger fraction, or say resolution: {resolution}"
        )
        if design.resolution <= 5:  # beyond, pyDOE's search for the smallest design can take minutes
            needed = len(pydoe.fracfact_by_res(len(factors), design.resolution))
            said += f" (resolution {design.resolution} takes {needed} cells, 1/{2 ** len(factors) // needed})"
        raise StudyError([study.problem(("design",), said)])
    # +1 is the reference's level, so that the product of any factors is +1 there: the reference is in every fraction.
    sides = [
        (study.reference[name], next(x for x in study.factors[name] if x != study.reference[name])) for name in factors
    ]
    cells = {tuple(high if row[n] > 0 else low for n, (high, low) in enumerate(sides)) for row in matrix.tolist()}
    return cells, tuple(_aliases(groups, factors))


def _words(factors: list[str], generators: dict[str, tuple[str, ...]]) -> list[str]:
    """Write generators as pyDOE does: `a b ab`, a letter for each factor that is not generated."""
    letters = iter(string.ascii_lowercase)
    letter = {name: next(letters) for name in factors if name not in generators}
    return ["".join(sorted(letter[one] for one in generators.get(name, (name,)))) for name in factors]


def _resolution(groups: list[list[str]]) -> int:
    """Return the length of the shortest word that is aliased with the mean.

    Where a word of length R is, each of its factors is aliased with the product of its R − 1 others.
    """
    shortest = [sorted(map(len, group)) for group in groups]
    return min((1 + lengths[1] for lengths in shortest if lengths[0] == 1 and len(lengths) > 1), default=99)


def _aliases(groups: list[list[str]], factors: list[str]) -> list[str]:
    lines = []
    for group in groups:
        short = [word for word in group if len(word) <= 2]
        if len(short) > 1:
            names = ["×".join(factors[ord(letter) - ord("a")] for letter in word) for word in short]
            lines.append(" = ".join(names))
    return lines
