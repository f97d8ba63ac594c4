"""What a score costs: cells by the hours of a run and the score at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.figures.curves import log_axis
from bench.figures.looks import Look
from bench.figures.style import CROWD, INK, MUTED, NAMED, PAPER, STYLE, WIDTHS, short, spread

WIDE = 4.0
"""Costs that differ by more than such a factor have a log axis."""


class Priced(NamedTuple):
    """One cell."""

    hours: float
    score: float
    seeds: Sequence[tuple[float, float]]
    """Of each seed (hours, score)."""


def cost(
    cells: Mapping[str, Priced],
    looks: Mapping[str, Look],
    front: Sequence[str],
    *,
    title: str,
    label: str,
    unit: str = "",
    scale: str = "raw",
    ax: Axes | None = None,
) -> Axes:
    """Draw each cell at its hours and score, its seeds faint behind it, and the front of those that none beats.

    front: names of cells by rising hours; the line through them falls (or rises) in steps, since nothing between two
    of them has been seen.  label: what the hours are; scale: of the score, as `curves` takes it.
    """
    with mpl.rc_context(STYLE):
        if ax is None:
            ax = Figure(figsize=(WIDTHS["column"], 2.5), layout="constrained").add_subplot()
        places = [(priced.hours, priced.score) for priced in cells.values()]
        everything = [*places, *(seed for priced in cells.values() for seed in priced.seeds)]
        _axes(ax, everything, scale)
        if len(front) > 1:
            on = [cells[name] for name in front]
            ax.plot(
                [one.hours for one in on], [one.score for one in on], color=MUTED, lw=1, ls=(0, (4, 2)),
                drawstyle="steps-post", zorder=2, label="_front",
            )  # fmt: skip
        for name, priced in cells.items():
            look = looks[name]
            if len(cells) <= CROWD and priced.seeds:
                hours, scores = zip(*priced.seeds, strict=True)
                ax.plot(hours, scores, ls="none", marker=look.marker, ms=3, color=look.colours[0], alpha=0.4, mew=0)
            _cell(ax, priced, look, name in front)
        ax.set_title(title)
        ax.set_xlabel(label)
        if unit:
            ax.set_ylabel(unit)
        if len(cells) <= NAMED:
            _names(ax, cells, looks)
        return ax


def _cell(ax: Axes, priced: Priced, look: Look, outlined: bool) -> None:
    """Draw one cell: its first colour about its last, and an outline where no cell beats it."""
    layers = [(8.0, INK)] if outlined else [(7.5, PAPER)]
    layers += [(6.5, look.colours[0])] + ([(3.5, look.colours[1])] if len(look.colours) > 1 else [])
    for number, (size, colour) in enumerate(layers):
        label = look.label if size == 6.5 else "_around"
        ax.plot(priced.hours, priced.score, ls="none", marker=look.marker, ms=size, color=colour, mew=0,
                zorder=5 + 0.1 * number, label=label)  # fmt: skip


def _axes(ax: Axes, everything: Sequence[tuple[float, float]], scale: str) -> None:
    hours, scores = zip(*everything, strict=True)
    if min(hours) > 0 and max(hours) > WIDE * min(hours):
        log_axis(ax, hours, "x")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4))
    if scale == "log" and min(scores) > 0:
        log_axis(ax, scores)
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.margins(0.08, 0.1)


def _names(ax: Axes, cells: Mapping[str, Priced], looks: Mapping[str, Look]) -> None:
    """Write the names at the right edge, at the heights of their cells or as near as they fit."""
    scale = ax.yaxis.get_transform().transform
    low, high = scale(np.array(ax.get_ylim()))
    points = (cast(Figure, ax.figure).get_figheight() - 0.7) * 72
    spots = sorted((float(points * (scale(one.score) - low) / (high - low)), name) for name, one in cells.items())
    for (_, name), target in zip(spots, spread([height for height, _ in spots], 8.5), strict=True):
        ax.annotate(
            short(looks[name].label), (cells[name].hours, cells[name].score), xytext=(1.03, target / points),
            textcoords="axes fraction", va="center", fontsize=6.5, color=INK, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "ls": (0, (1, 2)), "color": MUTED, "lw": 0.6, "shrinkA": 1, "shrinkB": 4},
        )  # fmt: skip
