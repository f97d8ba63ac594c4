"""A ladder of rows: which settings each row has on, its value, and its step from the row before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.figures.curves import log_axis
from bench.figures.forest import ROW, Effect, Scale, effect_rows, limits
from bench.figures.style import INK, LINE, STYLE, WIDTHS, short

PER_COLUMN = 0.19
"""Inches of a column of dots."""


class Rung(NamedTuple):
    """One row of the ladder."""

    name: str
    on: Sequence[bool]
    """For each column: whether the row departs from the first one in it."""
    value: Effect | None
    """Its mean over seeds; an Effect's group, label, text and noise are not read."""
    step: Effect | None
    """Its effect against the row before."""


def ladder(rungs: Sequence[Rung], columns: Sequence[str], *, scale: Scale, value_label: str, step_label: str) -> Figure:
    """Draw a ladder, the first row on top: dots at the left, values, steps.

    columns: names of the settings that change.  scale: of the steps; values have a log axis where steps are ratios.
    """
    widths = [max(PER_COLUMN * len(columns), 0.6), 1.5, 2.0]
    with mpl.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(WIDTHS["page"], ROW * 1.25 * len(rungs) + 1.6), layout="constrained")
        dots, values, steps = figure.subplots(1, 3, sharey=True, width_ratios=widths)
        _dots(dots, rungs, columns)
        _values(values, rungs, scale, value_label)
        _steps(steps, rungs, scale, step_label)
        dots.set_ylim(len(rungs) - 0.4, -0.6)
        dots.set_yticks(range(len(rungs)), [short(rung.name, 20) for rung in rungs], color=INK)
        return figure


def _dots(ax: Axes, rungs: Sequence[Rung], columns: Sequence[str]) -> None:
    ax.grid(visible=False)
    ax.spines["bottom"].set_visible(False)
    for y, rung in enumerate(rungs):
        lit = [x for x, on in enumerate(rung.on) if on]
        ax.scatter(range(len(columns)), [y] * len(columns), s=26, color=LINE, zorder=2)
        ax.plot([lit[0], lit[-1]] if lit else [], [y, y] if lit else [], color=INK, lw=1.0, zorder=3)
        ax.scatter(lit, [y] * len(lit), s=26, color=INK, zorder=4)
    ax.set_xlim(-0.6, max(len(columns) - 0.4, 0.6))
    ax.xaxis.tick_top()
    ax.set_xticks(range(len(columns)), [short(name, 30) for name in columns], rotation=60, ha="left", fontsize=6.5)


def _values(ax: Axes, rungs: Sequence[Rung], scale: Scale, label: str) -> None:
    there = [(y, rung.value) for y, rung in enumerate(rungs) if rung.value is not None]
    known = [v for _, e in there for v in (e.estimate, e.low, e.high, *e.seeds) if v is not None]
    if scale == "ratio" and known and min(known) > 0:
        log_axis(ax, known, "x")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(3))
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    effect_rows(ax, there, (low, high))
    ax.margins(x=0.08)
    ax.set_xlabel(label)


def _steps(ax: Axes, rungs: Sequence[Rung], scale: Scale, label: str) -> None:
    there = [(y, rung.step) for y, rung in enumerate(rungs) if rung.step is not None]
    low, high = limits([step for _, step in there], scale)
    if scale == "ratio":
        log_axis(ax, [low, high], "x")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set_xlim(low, high)
    ax.axvline(1.0 if scale == "ratio" else 0.0, color=INK, lw=0.9, zorder=1.5)
    effect_rows(ax, there, (low, high))
    ax.set_xlabel(label)
