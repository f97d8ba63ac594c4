"""The key to the cells' colours and marks, for figures that have no room for names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.figures.looks import Look
from bench.figures.style import PAPER, STYLE, WIDTHS, short

LONGEST = 40
"""Letters of a name."""


def key(looks: Mapping[str, Look]) -> Figure:
    """Draw each cell's line and mark beside its name, in columns, at page width."""
    with mpl.rc_context(STYLE):
        names = [short(look.label, LONGEST) for look in looks.values()]
        wide = 0.45 + 0.056 * max(map(len, names))  # inches of a column, at 6.5 points
        columns = max(1, min(len(names), int(WIDTHS["page"] / wide)))
        figure = Figure(figsize=(WIDTHS["page"], 0.1 + 0.15 * -(-len(names) // columns)))
        figure.legend(
            [_line(look) for look in looks.values()],
            [f" {name}" for name in names],  # matplotlib hides names that begin with an underscore
            loc="center", ncols=columns, fontsize=6.5, frameon=False, handlelength=2.6, columnspacing=1.2,
            labelspacing=0.35, borderpad=0, borderaxespad=0,
        )  # fmt: skip
        return figure


def _line(look: Look) -> Line2D:
    striped: dict[str, Any] = {"linestyle": (0, (3, 3)), "gapcolor": look.colours[1]} if len(look.colours) > 1 else {}
    return Line2D(
        [0], [0], color=look.colours[0], lw=1.6, marker=look.marker, ms=4, markerfacecolor=look.colours[-1],
        markeredgecolor=PAPER, markeredgewidth=0.5, **striped,
    )  # fmt: skip
