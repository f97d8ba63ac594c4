"""Thousands of lines in columns, for a terminal: rich's own tables take seconds for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions
from rich.segment import Segment

from bench.harmless import harmless

GAP = "  "
LEAST = 24
"""A column that is folded stays this wide."""


class Rows:
    """Rows of texts in columns; a column that does not fit is folded within its width.

    `folded`: the columns that may be folded, in the order in which they give way.  `styles`: each row's style, as of
    rich, for its column `styled`.
    """

    def __init__(
        self,
        head: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        folded: Sequence[int],
        styled: int,
        styles: Sequence[str],
    ) -> None:
        self.head, self.folded, self.styled, self.styles = head, folded, styled, styles
        self.rows = [[harmless(cell) for cell in row] for row in rows]

    def widths(self, room: int) -> list[int]:
        """Cells that each column takes of `room`; more where its columns cannot be made any narrower."""
        wanted = [
            max((cell_len(line) for cell in column for line in cell.split("\n")), default=0)
            for column in zip(self.head, *self.rows, strict=True)
        ]
        for place in self.folded:
            over = sum(wanted) + len(GAP) * (len(wanted) - 1) - room
            wanted[place] = max(min(wanted[place], LEAST), wanted[place] - max(0, over))
        return wanted

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        widths = self.widths(options.max_width)
        styles = {name: console.get_style(name) for name in {"bold", *self.styles}}
        for line in _lines(self.head, widths):
            yield Segment("".join(line) + "\n", styles["bold"])
        for row, name in zip(self.rows, self.styles, strict=True):
            for line in _lines(row, widths):
                yield Segment("".join(line[: self.styled]))
                yield Segment(line[self.styled], styles[name])
                yield Segment("".join(line[self.styled + 1 :]) + "\n")


def _lines(row: Sequence[str], widths: Sequence[int]) -> Iterator[list[str]]:
    cells = [_folded(cell, width) for cell, width in zip(row, widths, strict=True)]
    for number in range(max(map(len, cells))):
        line = [lines[number] if number < len(lines) else "" for lines in cells]
        padded = [text + " " * (width - cell_len(text)) + GAP for text, width in zip(line, widths, strict=True)]
        yield [*padded[:-1], line[-1]]


def _folded(cell: str, width: int) -> list[str]:
    if "\n" not in cell and cell_len(cell) <= width:
        return [cell]
    return [part for line in cell.split("\n") for part in (chop_cells(line, width) if line else [""])]
