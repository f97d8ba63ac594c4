"""Tidy tables → Axes and Figures.  Nothing here reads or writes a file.

Colour follows the level of a factor and is the same in every figure and table of a report: the reference is
neutral grey, every other level has one Okabe-Ito colour, and a cell with two such levels is striped with both.
Marker and dash say the same again, for those who do not see the colours.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from bench.design import Cell, Design

INK, MUTED, LINE, PAPER, REFERENCE = "#1a1d21", "#5b626b", "#d9dde2", "#ffffff", "#767c85"
LEVELS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a7f00")
"""Okabe & Ito's colours, most distinct first; their yellow is darkened, or it would vanish on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
WIDTHS = {"column": 3.25, "page": 6.75}
"""Inches."""
CROWD = 16
"""More cells than that are drawn by their means alone."""

STYLE: Any = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
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
    reference = reference_levels(design)
    colour_of: dict[tuple[str, str], str] = {}
    for cell in design.cells:
        for level in departures(cell, reference):
            colour_of.setdefault(level, LEVELS[len(colour_of) % len(LEVELS)])
    drawn = {}
    shared = shared_levels(design)
    for number, cell in enumerate(design.cells):
        colours = [colour_of[level] for level in departures(cell, reference)][:2] or [REFERENCE]
        drawn[cell.name] = Look(tuple(colours), MARKERS[number % len(MARKERS)], short_name(cell, reference, shared))
    return drawn


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


# ---------------------------------------------------------------------------------------------------------
# Curves of one score.


def curves(
    values: pd.DataFrame,
    looks: Mapping[str, Look],
    *,
    title: str,
    unit: str = "",
    scale: str = "raw",
    real: float | None = None,
    floor: float | None = None,
    noise: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one score over the images shown to D.

    values: rows of the tidy table for one metric; read: cell, seed, kimg, value, status.
    scale: `log` draws a log axis (where all is positive).  real: the real set's own value; floor: real against
    real, below which nothing can be told apart.  noise: mean and sd of one snapshot over evaluation seeds, a band.
    One thin line a seed; thick, the mean over the seeds that have a value there; the band spans their minimum and
    maximum; × ends a run that diverged.  Of more than `CROWD` cells, only the means and the ×.
    """
    with mpl.rc_context(STYLE):
        if ax is None:
            figure = Figure(figsize=(WIDTHS["column"], 2.3), layout="constrained")
            ax = figure.add_subplot()
        values = values[values["value"].notna()]
        ends: list[tuple[float, float, Look]] = []
        for cell, look in looks.items():
            here = values[values["cell"] == cell]
            if len(here):
                ends.append(_cell_curve(ax, here, look, len(looks)))
        near = floor is not None and len(values) and floor > values["value"].min() / 3
        everything = [*values["value"], *(v for v in (real, floor if near else None) if v is not None)]
        if scale == "log" and everything and min(everything) > 0:
            _log_axis(ax, everything)
        else:
            ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.margins(x=0.03, y=0.08)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=values["kimg"].max() > 4 if len(values) else False))
        ax.set_title(title)
        far = "" if floor is None or near else f"\nnoise floor: {floor:.3g}, below this axis"
        ax.set_xlabel("kimg shown to D" + far)
        if unit:
            ax.set_ylabel(unit)
        _references(ax, real, floor if near else None, noise)
        if len(ends) <= 8:
            _direct_labels(ax, ends)
        return ax


def _cell_curve(ax: Axes, here: pd.DataFrame, look: Look, cells: int) -> tuple[float, float, Look]:
    main, bold = look.colours[0], cells <= 8
    for _, line in here.groupby("seed"):
        line = line.sort_values("kimg")
        if cells <= CROWD:
            ax.plot(line["kimg"], line["value"], color=main, lw=0.6, alpha=0.4, zorder=2)
        if line["status"].iloc[-1] == "diverged":
            ax.plot(line["kimg"].iloc[-1], line["value"].iloc[-1], "x", color=main, ms=5, mew=1.2, zorder=5)
    over = here.groupby("kimg")["value"].agg(["mean", "min", "max"])
    if cells <= CROWD:
        ax.fill_between(over.index, over["min"], over["max"], color=main, alpha=0.08, lw=0, zorder=1)
    striped: dict[str, Any] = {"linestyle": (0, (3, 3)), "gapcolor": look.colours[1]} if len(look.colours) > 1 else {}
    ax.plot(
        over.index,
        over["mean"],
        color=main,
        lw=1.6 if bold else 0.9,
        marker=look.marker,
        ms=4 if bold else 2,
        markerfacecolor=look.colours[-1],
        markeredgecolor=PAPER,
        markeredgewidth=0.5,
        zorder=4,
        label=look.label,
        **striped,
    )
    return float(over.index[-1]), float(over["mean"].iloc[-1]), look


def _log_axis(ax: Axes, everything: Sequence[float]) -> None:
    ax.set_yscale("log")
    decades = np.log10(max(everything) / min(everything))
    if decades < 0.7:
        ax.yaxis.set_major_locator(MaxNLocator(5))
    else:
        ax.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0) if decades < 3 else (1.0,)))
    ax.yaxis.set_major_formatter(ScalarFormatter())
    ax.yaxis.set_minor_formatter(NullFormatter())


def _references(ax: Axes, real: float | None, floor: float | None, noise: tuple[float, float] | None) -> None:
    """Mark the real set's own value by a dotted line, the noise floor by a band up from the axis.

    And one snapshot's mean ± sd over evaluation seeds by a band across.
    """
    if noise is not None:
        mean, sd = noise
        ax.axhspan(mean - sd, mean + sd, color=MUTED, alpha=0.25, lw=0, zorder=0)
        _note(ax, (0.01, mean + sd), "evaluation noise", ("axes fraction", "data"))
    if real is not None:
        ax.axhline(real, color=INK, lw=0.9, ls=(0, (1, 2)), zorder=3)
        _note(ax, (0.01, real), "real images", ("axes fraction", "data"))
    if floor is not None:
        low, _ = ax.get_ylim()
        ax.axhspan(min(low, floor), floor, color=MUTED, alpha=0.15, lw=0, zorder=0)
        _note(ax, (0.01, floor), "noise floor", ("axes fraction", "data"))


def _note(ax: Axes, at: tuple[float, float], text: str, within: tuple[str, str]) -> None:
    ax.annotate(
        text, at, xycoords=within, xytext=(0, 2), textcoords="offset points", va="bottom", fontsize=6.5, color=MUTED
    )


def _direct_labels(ax: Axes, ends: Sequence[tuple[float, float, Look]]) -> None:
    """Write each cell's name at the end of its line, moved apart where they would touch.

    A cell whose line stops early is left to the legend: its name would stand on the others' lines.
    """
    last = max((x for x, _, _ in ends), default=0.0)
    scale = ax.yaxis.get_transform().transform
    low, high = scale(np.array(ax.get_ylim()))
    points = (cast(Figure, ax.figure).get_figheight() - 0.6) * 72  # height of the axes, title and labels apart
    measured = [(float(points * (scale(y) - low) / (high - low)), y, look) for x, y, look in ends if x == last]
    spots = sorted(measured, key=lambda spot: spot[0])
    placed = spread([spot[0] for spot in spots], 8.0)
    for (height, y, look), target in zip(spots, placed, strict=True):
        ax.annotate(
            _short(look.label), (last, y), xytext=(6, target - height), textcoords="offset points",
            va="center", fontsize=6.5, color=INK, annotation_clip=False,
        )  # fmt: skip


def _short(text: str, longest: int = 26) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _wrapped(text: str, letters: int) -> str:
    """Break a text into lines of at most so many letters, where a name can be broken."""
    lines = [""]
    for part in re.split(r"(?<=[=,_/ ])", text):
        if lines[-1] and len(lines[-1] + part.rstrip()) > letters:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def settle(figure: Figure) -> Figure:
    """Lay a figure out once and for all: every format then has the same layout, and none waits for its own."""
    figure.draw_without_rendering()
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


# ---------------------------------------------------------------------------------------------------------
# The sample grid.


def sample_grid(tiles: Sequence[Sequence[np.ndarray | str]], *, columns: Sequence[str], rows: Sequence[str]) -> Figure:
    """Lay out samples as Kwak & Ko's figure 1: columns = cells, rows = snapshots.

    tiles: [rows][columns], each a mosaic uint8 [H, W, 3], or, where there is none, the reason as text (drawn
    hatched).  Page width; pixels are drawn as they are, never smoothed.
    """
    with mpl.rc_context({**STYLE, "axes.grid": False, "hatch.linewidth": 0.5, "hatch.color": LINE}):
        n_rows, n_columns = len(rows), len(columns)
        left = 0.25  # inches for the rows' names
        side = (WIDTHS["page"] - left) / max(n_columns, 3)
        letters = int(side * 72 / 4.4)  # of 7 points
        names = [_wrapped(_short(name, 40), letters) for name in columns]
        top = 0.1 + 0.125 * max(name.count("\n") + 1 for name in names)
        width, height = left + side * n_columns, top + side * n_rows
        figure = Figure(figsize=(width, height))
        figure.subplots_adjust(left / width, 0, 1, 1 - top / height, wspace=0.03, hspace=0.03)
        axes = figure.subplots(n_rows, n_columns, squeeze=False)
        for row, (name, line) in enumerate(zip(rows, tiles, strict=True)):
            for column, tile in enumerate(line):
                ax = axes[row][column]
                _tile(ax, tile if not isinstance(tile, str) else _wrapped(_short(tile, 60), letters - 2))
                if row == 0:
                    ax.set_title(names[column], fontsize=7, loc="center", pad=3)
                if column == 0:
                    ax.set_ylabel(name, fontsize=7)
        return figure


def _tile(ax: Axes, tile: np.ndarray | str) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    if isinstance(tile, str):
        ax.add_patch(Rectangle((0, 0), 1, 1, transform=ax.transAxes, fill=False, hatch="////", lw=0))
        ax.text(
            0.5, 0.5, tile, transform=ax.transAxes, ha="center", va="center", fontsize=6.5,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 2},
        )  # fmt: skip
        ax.set_aspect("equal")
        ax.set_box_aspect(1)
    else:
        ax.imshow(tile, interpolation="none", aspect="equal")
