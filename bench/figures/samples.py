"""The grid of samples, for print."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bench.figures.style import LINE, PAPER, STYLE, WIDTHS, short, wrapped


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
        names = [wrapped(short(name, 40), letters) for name in columns]
        top = 0.1 + 0.125 * max(name.count("\n") + 1 for name in names)
        width, height = left + side * n_columns, top + side * n_rows
        figure = Figure(figsize=(width, height))
        figure.subplots_adjust(left / width, 0, 1, 1 - top / height, wspace=0.03, hspace=0.03)
        axes = figure.subplots(n_rows, n_columns, squeeze=False)
        for row, (name, line) in enumerate(zip(rows, tiles, strict=True)):
            for column, tile in enumerate(line):
                ax = axes[row][column]
                _tile(ax, tile if not isinstance(tile, str) else wrapped(short(tile, 60), letters - 2))
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
