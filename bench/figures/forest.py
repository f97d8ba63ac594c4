"""Effects as a forest: a row each, with its interval, its seeds, and the noise of evaluation about no effect."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.figures.curves import log_axis
from bench.figures.style import INK, MUTED, PAPER, STYLE, WIDTHS, short

Scale = Literal["ratio", "difference"]
ROW = 0.24
"""Inches."""
LONGEST = 3.0
"""An interval is cut off, with an arrow, where it goes so many times as far from no effect as any estimate or seed."""


class Effect(NamedTuple):
    """One row."""

    group: str
    """Rows of one group stand together under its name."""
    label: str
    text: str
    """The numbers, written at the right."""
    estimate: float
    low: float | None
    high: float | None
    seeds: Sequence[float]
    """Each seed's own effect."""
    whole: bool
    """Whether the estimate is the mean of `seeds` (of ratios: geometric); else they are drawn hollow."""
    noise: tuple[float, float] | None
    """What evaluation alone can do, about no effect."""
    colour: str
    greyed: bool = False


def forest(effects: Sequence[Effect], *, scale: Scale, label: str, ax: Axes | None = None) -> Axes:
    """Draw effects, the first on top; ratios on a log axis.

    label: what the axis says.  Dot and bar: estimate and interval; faint: a dot a seed; the line is no effect, the band
    about it the noise of evaluation.  Greyed rows have a hollow dot.
    """
    lines = list(_lines(effects))
    with mpl.rc_context({**STYLE, "axes.grid.axis": "x"}):
        if ax is None:
            size = (WIDTHS["page"], ROW * len(lines) + 0.65)
            ax = Figure(figsize=size, layout="constrained").add_subplot()
        none = 1.0 if scale == "ratio" else 0.0
        low, high = limits(effects, scale)
        if scale == "ratio":
            log_axis(ax, [low, high], "x")
        else:
            ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.set_xlim(low, high)
        ax.set_ylim(len(lines) - 0.4, -0.6)
        ax.axvline(none, color=INK, lw=0.9, zorder=1.5)
        effect_rows(ax, [(y, line) for y, line in enumerate(lines) if not isinstance(line, str)], (low, high))
        for y, line in enumerate(lines):
            if isinstance(line, str):
                ax.annotate(
                    line, (0, y), xycoords=("axes fraction", "data"), xytext=(-4, 0), textcoords="offset points",
                    ha="right", va="center", fontsize=7, color=MUTED, fontweight="bold",
                )  # fmt: skip
        ax.tick_params(axis="y", length=0)
        places = [y for y, line in enumerate(lines) if not isinstance(line, str)]
        ax.set_yticks(places, [short(effect.label, 44) for effect in effects])
        for tick, effect in zip(ax.get_yticklabels(), effects, strict=True):
            tick.set_color(MUTED if effect.greyed else INK)
        ax.set_xlabel(label)
        return ax


def limits(effects: Sequence[Effect], scale: Scale) -> tuple[float, float]:
    """Where the axis ends: all estimates, seeds and noise fit, and intervals as far as `LONGEST` lets them."""

    def far(value: float) -> float:
        return math.log(value) if scale == "ratio" else value

    core = [far(v) for e in effects for v in (e.estimate, *e.seeds, *(e.noise or ()))]
    reach = max(map(abs, core), default=0.0)
    bounds = [far(v) for e in effects for v in (e.low, e.high) if v is not None and (scale != "ratio" or v > 0)]
    cut = LONGEST * reach if reach else math.inf
    low = min([0.0, *core, *(max(v, -cut) for v in bounds)])
    high = max([0.0, *core, *(min(v, cut) for v in bounds)])
    room = 0.06 * (high - low) or 0.1
    ends = (low - room, high + room)
    return (math.exp(ends[0]), math.exp(ends[1])) if scale == "ratio" else ends


def _lines(effects: Sequence[Effect]) -> Iterator[str | Effect]:
    """The rows with the names of their groups, where there are several."""
    several = len({effect.group for effect in effects}) > 1
    last = None
    for effect in effects:
        if several and effect.group != last:
            yield effect.group
        last = effect.group
        yield effect


def effect_rows(ax: Axes, rows: Sequence[tuple[float, Effect]], ends: tuple[float, float]) -> None:
    """Draw effects at their heights; `ends` of the axis, where intervals are cut off.

    What all rows have is one artist for all: hundreds would take long to draw.
    """
    colours = [MUTED if effect.greyed else effect.colour for _, effect in rows]
    noise = [(y, effect.noise) for y, effect in rows if effect.noise is not None]
    bands = [[(low, y - 0.5), (low, y + 0.5), (high, y + 0.5), (high, y - 0.5)] for y, (low, high) in noise]
    ax.add_collection(PolyCollection(bands, color=MUTED, alpha=0.2, lw=0, zorder=0))
    _seeds(ax, rows, colours)
    _intervals(ax, rows, colours, ends)
    ax.scatter(
        [effect.estimate for _, effect in rows], [y for y, _ in rows], s=5.5**2, zorder=6,
        facecolors=[PAPER if effect.greyed else effect.colour for _, effect in rows],
        edgecolors=[MUTED if effect.greyed else PAPER for _, effect in rows],
        linewidths=[1.0 if effect.greyed else 0.6 for _, effect in rows],
    )  # fmt: skip
    for y, effect in rows:
        ax.annotate(
            effect.text, (1, y), xycoords=("axes fraction", "data"), xytext=(8, 0), textcoords="offset points",
            va="center", fontsize=7, color=MUTED if effect.greyed else INK, annotation_clip=False,
        )  # fmt: skip


def _seeds(ax: Axes, rows: Sequence[tuple[float, Effect]], colours: Sequence[str]) -> None:
    """A faint dot a seed; hollow where the estimate is not their mean."""
    dots = [
        (seed, y + 0.27, to_rgba(colour, 0.5), to_rgba(colour, 0.5 if effect.whole else 0))
        for (y, effect), colour in zip(rows, colours, strict=True)
        for seed in effect.seeds
    ]
    if dots:
        x, y, edges, faces = zip(*dots, strict=True)
        ax.scatter(x, y, s=9, facecolors=faces, edgecolors=edges, lw=0.5, zorder=3)


def _intervals(
    ax: Axes, rows: Sequence[tuple[float, Effect]], colours: Sequence[str], ends: tuple[float, float]
) -> None:
    """A bar an interval, with an arrow where it is cut off."""
    bars, shades = [], []
    for (y, effect), colour in zip(rows, colours, strict=True):
        low, high = effect.low, effect.high
        if low is None and high is None:
            continue
        left = ends[0] if low is None else max(low, ends[0])
        right = ends[1] if high is None else min(high, ends[1])
        bars.append([(left, y), (right, y)])
        shades.append(to_rgba(colour, 0.6 if effect.greyed else 1))
        for shown, true, marker in ((left, low, "<"), (right, high, ">")):
            if shown != true:
                ax.plot([shown], [y], marker, color=colour, ms=5, clip_on=False, zorder=5)
    ax.add_collection(LineCollection(bars, colors=shades, lw=1.8, capstyle="round", zorder=4))
