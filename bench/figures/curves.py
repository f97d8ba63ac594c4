"""Curves of one score or probe over training, a line a seed and a mean a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bench.figures.looks import Look
from bench.figures.style import CROWD, INK, MUTED, NAMED, PAPER, STYLE, WIDTHS, short, spread

CURVES = ("cell", "seed", "kimg", "value", "status")
"""Columns that curves are drawn from."""


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
    runs: Mapping[str, int] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one score over the images shown to D.

    values: rows of the tidy table for one metric; of their columns `CURVES` are read.
    scale: `log` draws a log axis (where all is positive).  real: the real set's own value; floor: real against
    real, below which nothing can be told apart.  noise: mean and sd of one snapshot over evaluation seeds, a band.
    runs: cell → how many should have a value; at least those that have one anywhere.
    One thin line a seed; thick, the mean over the seeds that have a value there, dashed where they are fewer; the band
    spans their minimum and maximum; × ends a run that diverged.  Of more than `CROWD` cells, only the means and the ×.
    """
    with mpl.rc_context(STYLE):
        if ax is None:
            figure = Figure(figsize=(WIDTHS["column"], 2.3), layout="constrained")
            ax = figure.add_subplot()
        values = values[values["value"].notna()]
        ends: list[tuple[float, float, Look]] = []
        gathered = _gathered(values)
        for cell, look in looks.items():
            if cell in gathered:
                ends.append(_cell_curve(ax, gathered[cell], look, len(looks), (runs or {}).get(cell, 0)))
        _dead(ax, values, looks)
        near = floor is not None and len(values) and floor > values["value"].min() / 3
        everything = [*values["value"], *(v for v in (real, floor if near else None) if v is not None)]
        if scale == "log" and everything and min(everything) > 0:
            log_axis(ax, everything)
        else:
            ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.margins(x=0.03, y=0.08)
        if len(values) and not values["value"].any():
            ax.set_ylim(-0.04, 1)  # nothing but zeros: matplotlib's axis would go as far below
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=values["kimg"].max() > 4 if len(values) else False))
        ax.set_title(title)
        far = "" if floor is None or near else f"\nnoise floor: {floor:.3g}, below this axis"
        ax.set_xlabel("kimg shown to D" + far)
        if unit:
            ax.set_ylabel(unit)
        _references(ax, real, floor if near else None, noise)
        if len(ends) <= NAMED:
            direct_labels(ax, ends)
        return ax


class _Cell(NamedTuple):
    """The points of one cell, along kimg."""

    over: pd.DataFrame
    """Columns kimg, mean, min, max, count."""
    seeds: list[np.ndarray]
    """Of each, [[kimg, value], …]."""


def _gathered(values: pd.DataFrame) -> dict[str, _Cell]:
    """Sort the points by cell: all at once, since asking the table for each cell takes longer than drawing it."""
    values = values.sort_values("kimg", kind="stable")
    over = values.groupby(["cell", "kimg"])["value"].agg(["mean", "min", "max", "count"]).reset_index()
    points = values[["kimg", "value"]].to_numpy(float)
    seeds: dict[str, list[np.ndarray]] = {}
    found: Any = values.groupby(["cell", "seed"]).indices
    for (cell, _), places in sorted(found.items()):
        seeds.setdefault(cell, []).append(points[places])
    return {str(cell): _Cell(here, seeds[str(cell)]) for cell, here in over.groupby("cell")}


def _dead(ax: Axes, values: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """Mark where diverged runs end."""
    ends = values.sort_values("kimg", kind="stable").drop_duplicates(["cell", "seed"], keep="last")
    ends = ends[(ends["status"] == "diverged") & ends["cell"].isin(looks.keys())]
    if len(ends):
        colours = [looks[cell].colours[0] for cell in ends["cell"]]
        ax.scatter(ends["kimg"], ends["value"], marker="x", c=colours, s=25, linewidths=1.2, zorder=5)


def _cell_curve(ax: Axes, here: _Cell, look: Look, cells: int, runs: int) -> tuple[float, float, Look]:
    main, bold, over = look.colours[0], cells <= NAMED, here.over
    kimg, mean = over["kimg"].to_numpy(), over["mean"].to_numpy()
    if cells <= CROWD:
        style: Any = {"capstyle": "round", "joinstyle": "round", "label": "_seeds"}
        ax.add_collection(LineCollection(here.seeds, color=main, lw=0.6, alpha=0.4, zorder=2, **style))
        ax.fill_between(kimg, over["min"], over["max"], color=main, alpha=0.08, lw=0, zorder=1)
    striped: dict[str, Any] = {"linestyle": (0, (3, 3)), "gapcolor": look.colours[1]} if len(look.colours) > 1 else {}
    shape: dict[str, Any] = {
        "lw": 1.6 if bold else 0.9,
        "marker": look.marker,
        "ms": 4 if bold else 2,
        "markerfacecolor": look.colours[-1],
        "markeredgecolor": PAPER,
        "markeredgewidth": 0.5,
        "markevery": max(1, round(len(over) / 10)),
        "zorder": 4,
    }
    fewer = over["count"].to_numpy() < max(runs, len(here.seeds))
    ax.plot(kimg, np.where(fewer, np.nan, mean), color=main, label=look.label, **shape, **striped)
    if fewer.any():
        beside = np.convolve(fewer, (1, 1, 1), "same") > 0
        for number, colour in enumerate(look.colours):
            dash = (0, (4, 2)) if len(look.colours) == 1 else (5 * number, (3, 7))
            ax.plot(kimg, np.where(beside, mean, np.nan), color=colour, ls=dash, **{**shape, "zorder": 3.5})
    return float(kimg[-1]), float(mean[-1]), look


def log_axis(ax: Axes, everything: Sequence[float], which: Literal["x", "y"] = "y") -> None:
    """Make an axis logarithmic, with ticks that people read, for positive values."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    ax.set(**{f"{which}scale": "log"})
    decades = np.log10(max(everything) / min(everything))
    if decades < 0.7:
        axis.set_major_locator(MaxNLocator(5))
    else:
        axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0) if decades < 3 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())  # unseen anyway, and slow to lay out


def _references(ax: Axes, real: float | None, floor: float | None, noise: tuple[float, float] | None) -> None:
    """Mark the real set's own value by a dotted line, the noise floor by a band up from the axis.

    And one snapshot's mean ± sd over evaluation seeds by a band across.  Their names stand on them, apart from each
    other.
    """
    named: list[tuple[float, str]] = []
    if noise is not None:
        mean, sd = noise
        ax.axhspan(mean - sd, mean + sd, color=MUTED, alpha=0.25, lw=0, zorder=0)
        named.append((mean + sd, "evaluation noise"))
    if real is not None:
        ax.axhline(real, color=INK, lw=0.9, ls=(0, (1, 2)), zorder=3)
        named.append((real, "real images"))
    if floor is not None:
        low, _ = ax.get_ylim()
        ax.axhspan(min(low, floor), floor, color=MUTED, alpha=0.15, lw=0, zorder=0)
        named.append((floor, "noise floor"))
    named.sort()
    heights = _heights(ax, [y for y, _ in named])
    for (y, text), height, target in zip(named, heights, spread(heights, 7.5), strict=True):
        ax.annotate(
            text, (0.01, y), xycoords=("axes fraction", "data"), xytext=(0, 2 + target - height),
            textcoords="offset points", va="bottom", fontsize=6.5, color=MUTED, zorder=6,
        )  # fmt: skip


def _heights(ax: Axes, values: Sequence[float]) -> list[float]:
    """How far above the axis values stand, in points, before the figure is laid out."""
    scale = ax.yaxis.get_transform().transform
    low, high = scale(np.array(ax.get_ylim()))
    points = (cast(Figure, ax.figure).get_figheight() - 0.6) * 72  # height of the axes, title and labels apart
    return [float(points * (scale(y) - low) / (high - low)) for y in values]


def direct_labels(ax: Axes, ends: Sequence[tuple[float, float, Look]]) -> None:
    """Write each cell's name at the end of its line, moved apart where they would touch.

    A cell whose line stops early is left to the legend: its name would stand on the others' lines.
    """
    last = max((x for x, _, _ in ends), default=0.0)
    there = [(y, look) for x, y, look in ends if x == last]
    heights = _heights(ax, [y for y, _ in there])
    spots = sorted(
        ((height, y, look) for height, (y, look) in zip(heights, there, strict=True)), key=lambda spot: spot[0]
    )
    placed = spread([spot[0] for spot in spots], 8.0)
    for (height, y, look), target in zip(spots, placed, strict=True):
        ax.annotate(
            short(look.label), (last, y), xytext=(6, target - height), textcoords="offset points",
            va="center", fontsize=6.5, color=INK, annotation_clip=False,
        )  # fmt: skip
