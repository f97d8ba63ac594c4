"""Two factors at a time: a line a level, and where the lines would lie if effects did not depend on each other."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.figures.curves import direct_labels, log_axis
from bench.figures.looks import Look
from bench.figures.style import INK, PAPER, STYLE, WIDTHS, short, wrapped

Pair = tuple[str, str]


def interaction(
    points: Mapping[Pair, tuple[float, Mapping[str, float]]],
    across: Sequence[str],
    lines: Mapping[str, Look],
    *,
    scale: Literal["log", "raw"],
    title: str,
    factor: str,
    unit: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a value over the levels of one factor, a line for each level of another.

    points: (level of the one, level of the other) → (mean, seed → value).  across: levels of the one, the reference's
    first; factor: its name.  lines: level of the other → look, the reference's first.  Thick: means; faint: a line a
    seed; dashed: `parallels`, from which a line departs by the interaction.
    """
    with mpl.rc_context(STYLE):
        if ax is None:
            ax = Figure(figsize=(WIDTHS["column"], 2.5), layout="constrained").add_subplot()
        place = {level: float(number) for number, level in enumerate(across)}
        ends: list[tuple[float, float, Look]] = []
        for level, look in lines.items():
            here = [name for name in across if (name, level) in points]
            if not here:
                continue
            _seeds(ax, [(place[name], points[name, level][1]) for name in here], look)
            x, y = [place[name] for name in here], [points[name, level][0] for name in here]
            ax.plot(
                x, y, color=look.colours[0], lw=1.8, marker=look.marker, ms=5, zorder=4, label=look.label,
                markeredgecolor=PAPER, markeredgewidth=0.5,
            )  # fmt: skip
            ends.append((x[-1], y[-1], look))
        for level, line in parallels(points, across, list(lines), scale).items():
            x = [place[name] for name in line]
            colour = lines[level].colours[0]
            ax.plot(x, list(line.values()), color=colour, lw=1.0, ls=(0, (2, 2)), zorder=3, label="_parallel")
        everything = [v for mean, seeds in points.values() for v in (mean, *seeds.values())]
        if scale == "log" and min(everything) > 0:
            log_axis(ax, everything)
        else:
            ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.margins(y=0.1)
        ax.set_xlim(-0.3, len(across) - 0.7)
        ax.set_xticks(list(place.values()), [wrapped(short(name, 30), 12) for name in across])
        ax.set_xlabel(factor)
        ax.set_title(title)
        if unit:
            ax.set_ylabel(unit)
        direct_labels(ax, ends)
        last = max(at for at, _, _ in ends)
        for at, height, look in ends:
            if at < last:  # a line that stops early has its name above its end
                ax.annotate(
                    short(look.label),
                    (at, height),
                    xytext=(0, 5),
                    textcoords="offset points",
                    ha="center",
                    fontsize=6.5,
                    color=INK,
                )
        return ax


def parallels(
    points: Mapping[Pair, tuple[float, Any]], across: Sequence[str], lines: Sequence[str], scale: Literal["log", "raw"]
) -> dict[str, dict[str, float]]:
    """Where each line but the first would lie if the factors did not interact: line → level → value.

    It starts where the line starts and runs parallel to the first one: the same ratios on a log scale, else the same
    differences.
    """
    first, start = lines[0], across[0]
    found: dict[str, dict[str, float]] = {}
    for level in lines[1:]:
        if (start, level) not in points or (start, first) not in points:
            continue
        own, base = points[start, level][0], points[start, first][0]
        found[level] = {
            name: own * points[name, first][0] / base if scale == "log" else own + points[name, first][0] - base
            for name in across
            if (name, first) in points
        }
    return {level: line for level, line in found.items() if len(line) > 1}


def _seeds(ax: Axes, places: Sequence[tuple[float, Mapping[str, float]]], look: Look) -> None:
    seeds = sorted({seed for _, values in places for seed in values})
    lines = [[(at, values[seed]) for at, values in places if seed in values] for seed in seeds]
    if not lines:
        return
    faint: Any = {"color": look.colours[0], "alpha": 0.35, "zorder": 2, "label": "_seeds"}
    ax.add_collection(LineCollection(lines, lw=0.6, capstyle="round", joinstyle="round", **faint))
    ax.plot(*zip(*itertools.chain.from_iterable(lines), strict=True), ls="none", marker="o", ms=2, **faint)
