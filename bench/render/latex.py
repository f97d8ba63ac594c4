"""Tables and text → LaTeX that pdflatex compiles, whatever names hold; the same tables as Markdown and CSV."""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pandas as pd

from bench.harmless import harmless
from bench.render.save import Stamp

LONGEST_NAME = 72
"""Letters of a name in a printed table; the CSV has all of it."""
LONGEST_WORD = 24
"""Letters in a row after which a line may break, where names may break at all."""
LINES_A_FLOAT = 42
COLUMN_PT, PAGE_PT = 234, 486
"""Widths of a column and of both, of the paper."""
LETTER_PT, GAP_PT = 3.9, 8.0
"""Mean width of a letter in 8 points, and the room between columns."""
LONG_PT = 80.0
"""A column of names that is wider may break."""
SHRUNK = 1.15
"""So many times as wide as the page, a table is made smaller; wider, its columns are parted."""

_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu "
    "nu xi . pi rho . sigma tau upsilon phi chi psi omega"
)
"""From U+03B1 on; those that look like Latin letters, or stand at a word's end, apart."""
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    '"': r"\textquotedbl{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "[": "{[}",  # after a line's end it would begin an argument
    "*": "{*}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": "$-$",
    "—": "---",
    "–": "--",
    "×": r"$\times$",
    "÷": r"$\div$",
    "∞": r"$\infty$",
    "√": r"$\surd$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "←": r"$\leftarrow$",
    "→": r"$\rightarrow$",
    "≈": r"$\approx$",
    "·": r"$\cdot$",
    "…": r"\ldots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "°": r"\textdegree{}",
    "µ": r"$\mu$",
    "§": r"\S{}",
    "†": r"\dag{}",
    "\u00a0": "~",
    "\u2009": r"\,",
    "\u200b": r"\allowbreak{}",
    **{letter: f"$^{number}$" for number, letter in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{letter: f"$_{number}$" for number, letter in enumerate("₀₁₂₃₄₅₆₇₈₉")},
    "⁻": "$^-$",
    "ⁿ": "$^n$",
    **{chr(0x3B1 + place): f"$\\{name}$" for place, name in enumerate(_GREEK.split()) if len(name) > 1},
    "Δ": r"$\Delta$",
    "Σ": r"$\Sigma$",
    "Ω": r"$\Omega$",
}
_NOT_IN_T1 = set("ĦħĸĿŀŉŦŧſ")


def escaped(text: object, *, breaks: bool = False) -> str:
    """Write any text so that pdflatex prints it (input utf8, font encoding T1).

    A letter that it has no glyph for stands as its code point: `[U+D55C]`; of a long row of them, the first.
    breaks: let a line break after the signs that part a name, and within a very long word.
    """
    plain = unicodedata.normalize("NFC", harmless(text)).replace("\n", " ").replace("\t", " ")
    if breaks:
        plain = re.sub(rf"([A-Za-z0-9]{{{LONGEST_WORD}}})(?=[A-Za-z0-9])", "\\1\u200b", plain)
    written, unknown = [], list[str]()
    for before, letter, after in zip(" " + plain, plain, plain[1:] + " ", strict=False):
        if not _known(letter):
            unknown.append(f"U+{ord(letter):04X}")
            if not _known(after):
                continue
            shown = unknown if len(unknown) <= 6 else [*unknown[:4], f"and {len(unknown) - 4} more"]
            written.append(r"\texttt{[" + " ".join(shown) + "]}")
            unknown = []
            continue
        if letter == before and letter in "-,'":
            written.append("{}")  # no ligature
        written.append(_ESCAPES.get(letter, letter))
        if breaks and letter in "=,_/.:|" and after != " " and not (letter in ",." and after.isdigit()):
            written.append(r"\allowbreak{}")
    return "".join(written)


def _known(letter: str) -> bool:
    if letter in _ESCAPES or " " <= letter <= "~":
        return True
    return "À" <= letter <= "ſ" and letter not in _NOT_IN_T1


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """Cut a name that no table has room for."""
    return name if len(name) <= longest else name[: longest - 1] + "…"


# ---------------------------------------------------------------------------------------------------------
# Tables.


@dataclass(frozen=True)
class Table:
    """A table of texts for print."""

    name: str
    """Of its files; its label is `tab:<name>`."""
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[int] = (0,)
    """Columns that hold names or sentences, which may be long and break; the others hold numbers."""
    bold: Sequence[Sequence[bool]] = ()
    """As `rows`, where anything is."""
    groups: Mapping[int, str] = field(default_factory=dict)
    """Row number → what stands above it; "" for a rule alone."""
    longest: int = LONGEST_NAME
    """Letters that are printed of a cell."""


def to_latex(table: Table, stamp: Stamp) -> bytes:
    """Typeset with booktabs' rules, in floats of at most 40 lines.  One wider than the page is made smaller."""
    said = [f"% {harmless(stamp.words())}", "% Needs the packages booktabs, array and graphicx."]
    floats = [_float(table, start, stop) for start, stop in _pages(table)]
    return "\n".join([*said, *floats, ""]).encode()


def _pages(table: Table) -> list[tuple[int, int]]:
    """Part the rows so that each float has at most so many lines, headings of groups among them."""
    starts, lines = [0], 0
    panels = len(_panels(table, _widths(table)))
    for place in range(len(table.rows)):
        lines += panels * (1 + 2 * (place in table.groups))
        if lines > LINES_A_FLOAT and place > starts[-1]:
            starts.append(place)
            lines = panels
    return list(zip(starts, [*starts[1:], len(table.rows)], strict=True))


def _float(table: Table, start: int, stop: int) -> str:
    """One float: the caption above, as tables have it, and the columns in as many panels as they need."""
    caption = f"\\caption{{{escaped(table.caption)}}}\n\\label{{tab:{table.name}}}"
    if start:
        caption = "\\addtocounter{table}{-1}\n\\caption{Continued.}"
    widths = _widths(table)
    environment = "table" if sum(widths) <= COLUMN_PT else "table*"
    panels = [
        "\\sbox0{%\n" + _tabular(table, start, stop, places, _formats(table, widths, places)) + "}%\n"
        r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi"
        for places in _panels(table, widths)
    ]
    size = r"\footnotesize\setlength{\tabcolsep}{4pt}"
    inner = [r"\centering", caption, size, "\\par\\medskip\n".join(f"{panel}\n" for panel in panels).rstrip()]
    return "\n".join([f"\\begin{{{environment}}}[tbp]", *inner, f"\\end{{{environment}}}"])


def _widths(table: Table) -> list[float]:
    """About how wide each column is, in points."""
    cells = [[len(short(row[place], table.longest)) for row in table.rows] for place in range(len(table.columns))]
    return [
        max([1, *column, *map(len, _lines(title))]) * LETTER_PT + GAP_PT
        for title, column in zip(table.columns, cells, strict=True)
    ]


def _panels(table: Table, widths: Sequence[float]) -> list[list[int]]:
    """Part the columns so that each panel is about as wide as the page; names stand in all of them."""
    names = [place for place in range(len(widths)) if place in table.words]
    if len(names) == len(widths) or sum(widths) <= SHRUNK * PAGE_PT or names != [*range(len(names))]:
        return [[*range(len(widths))]]
    room = max(SHRUNK * PAGE_PT - sum(min(widths[place], LONG_PT) for place in names), PAGE_PT / 2)
    numbers = [place for place in range(len(widths)) if place not in names]
    count = math.ceil(sum(widths[place] for place in numbers) / room)
    each = math.ceil(len(numbers) / count)
    return [names + numbers[first : first + each] for first in range(0, len(numbers), each)]


def _formats(table: Table, widths: Sequence[float], places: Sequence[int]) -> str:
    """Each column's format: long names get what room is left, and break."""
    long = [place for place in places if place in table.words and widths[place] > LONG_PT]
    formats = {place: "l" if place in table.words else "r" for place in places}
    if long and sum(widths[place] for place in places) > PAGE_PT:
        left = PAGE_PT - sum(widths[place] for place in places if place not in long)
        whole = sum(widths[place] for place in long)
        for place in long:
            points = max(LONG_PT, left * widths[place] / whole) - GAP_PT
            formats[place] = rf">{{\raggedright\arraybackslash}}p{{{points:.0f}pt}}"
    return "".join(formats.values())


def _tabular(table: Table, start: int, stop: int, places: Sequence[int], formats: str) -> str:
    rows = table.rows[start:stop]
    frame = pd.DataFrame(
        [[short(row[place], table.longest) for place in places] for row in rows], columns=range(len(places))
    )
    words = {column: place in table.words for column, place in enumerate(places)}
    titles = [_header(table.columns[place]) for place in places]
    written = {column: functools.partial(escaped, breaks=breaks) for column, breaks in words.items()}
    styled = frame.style.hide(axis="index").format(cast(Any, written))
    styled = styled.format_index(cast(Any, titles.__getitem__), axis="columns")
    if table.bold:
        bold = [[row[place] for place in places] for row in table.bold[start:stop]]
        marks = pd.DataFrame(bold).map(lambda is_bold: "textbf:--rwrap;" * is_bold)
        styled = styled.apply(lambda _: marks, axis=None)
    lines = styled.to_latex(hrules=True, column_format=formats).splitlines()
    body = lines.index(r"\midrule") + 1
    for row in sorted(table.groups, reverse=True):
        if start <= row < stop:
            heading = rf"\multicolumn{{{len(places)}}}{{@{{}}l}}{{\emph{{{escaped(table.groups[row])}}}}} \\"
            above = [r"\addlinespace"] if row > start else []
            place = body + row - start
            lines[place:place] = [*above, heading] if table.groups[row] else [r"\midrule"]
    return "\n".join(lines)


def _lines(title: str) -> list[str]:
    """Break a long title where its name ends."""
    return re.split(r" (?=[\[(])|(?<=,) |(?<=[a-z]{4}) (?=[a-z]{4})", title) if len(title) > 12 else [title]


def _header(title: str) -> str:
    lines = [escaped(line) for line in _lines(title)]
    return lines[0] if len(lines) == 1 else r"\shortstack{" + r"\\".join(lines) + "}"


# ---------------------------------------------------------------------------------------------------------
# The same for other readers.


def to_markdown(table: Table) -> bytes:
    """Write a table as GitHub's Markdown has it, its caption below."""
    numbers = ["---" if place in table.words else "--:" for place in range(len(table.columns))]
    lines = [_row(map(_plain, table.columns)), _row(numbers)]
    for place, row in enumerate(table.rows):
        if title := table.groups.get(place):
            lines.append(_row([f"**{_plain(title)}**", *[""] * (len(table.columns) - 1)]))
        marks = table.bold[place] if table.bold else [False] * len(row)
        lines.append(
            _row(f"**{_plain(cell)}**" if bold else _plain(cell) for cell, bold in zip(row, marks, strict=True))
        )
    return "\n".join([*lines, "", _plain(table.caption), ""]).encode()


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plain(text: str) -> str:
    """Text that Markdown takes for text."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$])", r"\\\1", harmless(text).replace("\n", " "))


def to_frame(table: Table) -> pd.DataFrame:
    """A table as CSV has it: names in full, and no groups."""
    return pd.DataFrame([[*row] for row in table.rows], columns=pd.Index([*table.columns]))
