"""What all figures share: colours, sizes, rcParams, and how names and labels are laid out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

INK, MUTED, LINE, PAPER, REFERENCE = "#1a1d21", "#5b626b", "#d9dde2", "#ffffff", "#767c85"
LEVELS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a7f00")
"""Okabe & Ito's colours, most distinct first; their yellow is darkened, or it would vanish on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
WIDTHS = {"column": 3.25, "page": 6.75}
"""Inches."""
CROWD = 16
"""More cells than that are drawn by their means alone."""

NAMED = 8
"""Of so many cells each has its name at its line's end; of more, the key (`figures.key`) has them."""

STYLE: Any = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # where it would come to stand anyway, but not sought anew in each format
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.bottom": False,
    "ytick.left": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,  # names are the user's own: a `$` is a dollar
    "svg.hashsalt": "bench",
    "pdf.fonttype": 42,
}
"""rcParams of every figure: 8 pt at final size."""


def short(text: str, longest: int = 26) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def wrapped(text: str, letters: int) -> str:
    """Break a text into lines of at most so many letters, where a name can be broken."""
    lines = [""]
    for part in re.split(r"(?<=[=,_/ ])", text):
        if lines[-1] and len(lines[-1] + part.rstrip()) > letters:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def settle(figure: Figure) -> Figure:
    """Lay a figure out once and for all: every format then has the same layout, and none waits for its own."""
    if (engine := figure.get_layout_engine()) is not None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a name in another script
            engine.execute(figure)
    figure.set_layout_engine("none")
    return figure


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Move ascending positions as little as is needed to stand `gap` apart (least squares; groups that would
    touch are pooled and centred on their mean)."""
    groups: list[tuple[float, int]] = []  # (centre of the group, members)
    for position in positions:
        groups.append((position, 1))
        while len(groups) > 1:
            (below, m), (above, k) = groups[-2:]
            if above - below >= gap * (m + k) / 2:
                break
            groups[-2:] = [((below * m + above * k) / (m + k), m + k)]
    return [centre + gap * (i - (n - 1) / 2) for centre, n in groups for i in range(n)]
