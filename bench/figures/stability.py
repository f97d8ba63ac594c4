"""What became of the runs of each cell, and how many were still well at each length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from bench.figures.curves import direct_labels
from bench.figures.looks import Look
from bench.figures.style import INK, LINE, MUTED, NAMED, PAPER, STYLE, WIDTHS, short

ROW = 0.24
"""Inches of a cell's row."""
MOST_ROWS = 40
"""More cells than that are not drawn."""
MOST_BLOCKS = 12
"""Up to so many runs, each is a block of its own."""


class End(NamedTuple):
    """How an end of a run is drawn."""

    label: str
    hatch: str
    outcome: bool
    """Whether it counts; what does not is drawn in grey."""


ENDS = {
    "success": End("trained", "", True),
    "collapsed": End("collapsed", "/////", True),
    "never_learned": End("never learned", "\\\\\\\\\\", True),
    "diverged": End("diverged", "xxxxx", True),
    "failed": End("failed: to be retried", ".....", False),
    "unfinished": End("to come", "", False),
}
"""From left to right."""


def outcomes(
    counts: Mapping[str, Mapping[str, int]],
    looks: Mapping[str, Look],
    said: Mapping[str, str],
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw a bar a cell, a part an end: full for runs that trained, hatched for those that did not.

    counts: cell → key of `ENDS` → runs.  said: cell → what stands at the right of its bar.  Of more than `MOST_ROWS`
    cells, the first.
    """
    cells = [cell for cell in looks if cell in counts][:MOST_ROWS]
    with mpl.rc_context({**STYLE, "axes.grid": False, "hatch.linewidth": 0.7}):
        if ax is None:
            ax = Figure(figsize=(WIDTHS["column"], 0.85 + ROW * len(cells)), layout="constrained").add_subplot()
        longest = max((sum(counts[cell].values()) for cell in cells), default=0)
        for row, cell in enumerate(cells):
            start = 0
            for end in ENDS:
                n = counts[cell].get(end, 0)
                block, gap = (1, 0.05) if longest <= MOST_BLOCKS else (max(n, 1), 0.0)
                for left in range(start, start + n, block):
                    _part(ax, row, left, block - gap, end, looks[cell].colours)
                start += n
            ax.annotate(
                said[cell], (1.02, row), xycoords=("axes fraction", "data"),
                va="center", fontsize=6.5, color=INK, annotation_clip=False,
            )  # fmt: skip
        ax.set_yticks(range(len(cells)), [short(looks[cell].label, 30) for cell in cells])
        ax.tick_params(axis="y", labelcolor=INK)
        ax.set_ylim(len(cells) - 0.4, -0.6)
        ax.set_xlim(0, max(longest, 1))
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.spines["bottom"].set_visible(False)
        ax.set_title("What became of the runs")
        ax.set_xlabel("runs")
        _legend(ax, [end for end in ENDS if any(counts[cell].get(end, 0) for cell in cells)])
        return ax


def _part(ax: Axes, row: int, left: float, width: float, end: str, colours: Sequence[str]) -> None:
    what, height = ENDS[end], 0.62
    if end == "success":  # a cell of two levels has a half of each colour
        for half, colour in enumerate(dict.fromkeys(colours)):
            share = height / len(dict.fromkeys(colours))
            ax.barh(row - height / 2 + half * share, width, share, left=left, align="edge", color=colour, zorder=3)
        return
    colour = colours[-1] if what.outcome else MUTED
    style: dict[str, Any] = {"linestyle": (0, (2, 2)), "edgecolor": LINE} if end == "unfinished" else {}
    ax.barh(row, width, height, left=left, zorder=3, **{**_face(what, colour), **style})


def _face(what: End, colour: str) -> dict[str, Any]:
    return {"facecolor": PAPER, "edgecolor": colour, "hatch": what.hatch, "linewidth": 0.8}


def _legend(ax: Axes, ends: Sequence[str]) -> None:
    handles = []
    for end in ends:
        face = {"facecolor": MUTED} if end == "success" else _face(ENDS[end], MUTED if end != "unfinished" else LINE)
        handles.append(Patch(label=ENDS[end].label, **face))
    if handles:
        figure = ax.figure
        figure.legend(
            handles=handles, loc="outside lower left", ncols=3, fontsize=6.5, frameon=False,
            handlelength=1.6, handleheight=0.9, columnspacing=1.2,
        )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------


def survival(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    censored: Mapping[str, Sequence[float]],
    looks: Mapping[str, Look],
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw the share of each cell's runs that have not failed, in steps; a tick where a run's record ends.

    curves: cell → (kimg, share from there on), a step each, [] where none failed: all those are one grey line.
    censored: cell → kimg at which a run ended without having failed.
    """
    with mpl.rc_context(STYLE):
        if ax is None:
            ax = Figure(figsize=(WIDTHS["column"], 2.3), layout="constrained").add_subplot()
        last = max((kimg for ends in (*_kimgs(curves), *censored.values()) for kimg in ends), default=0) or 1.0
        unhurt = [cell for cell in looks if cell in curves and not curves[cell]]
        ends: list[tuple[float, float, Look]] = []
        if unhurt:
            ax.plot([0, last], [1, 1], color=MUTED, lw=1.2, zorder=2, label="_none failed")
            name = looks[unhurt[0]].label if len(unhurt) == 1 else f"{len(unhurt)} cells without loss"
            ends.append((last, 1.0, Look((MUTED,), "", name)))
        for cell, look in looks.items():
            if curves.get(cell):
                share = _steps(ax, curves[cell], censored.get(cell, ()), last, look)
                ends.append((last, share, look))
        ax.set_ylim(-0.04, 1.06)
        ax.set_xlim(-0.02 * last, 1.03 * last)
        ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=last > 4))
        ax.set_title("Runs that had not failed yet")
        ax.set_xlabel("kimg shown to D")
        if len(ends) <= NAMED:
            direct_labels(ax, ends)
        return ax


def _kimgs(curves: Mapping[str, Sequence[tuple[float, float]]]) -> list[list[float]]:
    return [[kimg for kimg, _ in steps] for steps in curves.values()]


def _steps(ax: Axes, steps: Sequence[tuple[float, float]], censored: Sequence[float], last: float, look: Look) -> float:
    """Draw one cell's; return the share at its end."""
    kimg, share = [0.0, *(at for at, _ in steps), last], [1.0, *(left for _, left in steps)]
    share.append(share[-1])
    main = look.colours[0]
    striped: dict[str, Any] = {"linestyle": (0, (3, 3)), "gapcolor": look.colours[1]} if len(look.colours) > 1 else {}
    ax.plot(
        kimg, share, color=main, lw=1.6, drawstyle="steps-post", zorder=4, label=look.label,
        marker=look.marker, ms=4, markerfacecolor=look.colours[-1], markeredgecolor=PAPER, markeredgewidth=0.5,
        markevery=slice(1, len(kimg) - 1), **striped,
    )  # fmt: skip
    if len(censored):
        still = [share[int(np.searchsorted(kimg[:-1], at, side="right")) - 1] for at in sorted(censored)]
        ax.plot(sorted(censored), still, ls="none", marker="|", ms=6, mew=1.1, color=main, zorder=5)
    return share[-1]
