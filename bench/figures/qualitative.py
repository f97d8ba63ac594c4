"""Samples beside the training images nearest to them, and paths between two z, for print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.figures.style import MUTED, STYLE, WIDTHS, short

GAP = 0.3
"""Between a sample and its neighbours, in tiles."""
HEAD = 0.29
"""Inches above each block of neighbours, for its names."""


class Beside(NamedTuple):
    """Samples of one cell, each with its neighbours."""

    name: str
    samples: np.ndarray
    """uint8 [rows, H, W, 3]"""
    near: Mapping[str, np.ndarray]
    """By the words for a space, uint8 [rows, k, H, W, 3]."""


def mosaic(tiles: np.ndarray) -> np.ndarray:
    """Lay tiles [rows, columns, H, W, 3] side by side without borders: [rows H, columns W, 3]."""
    rows, columns, height, width, channels = tiles.shape
    return tiles.swapaxes(1, 2).reshape(rows * height, columns * width, channels)


def neighbours(blocks: Sequence[Beside]) -> Figure:
    """Draw each cell's samples at the left of a row, their nearest training images at its right, two cells abreast.

    At page width, a single cell at column width.  Pixels are drawn as they are, never smoothed.
    """
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        abreast = min(2, len(blocks))
        width = WIDTHS["page"] if abreast == 2 else WIDTHS["column"]
        lines = -(-len(blocks) // abreast)
        each = (width - 0.2 * (abreast - 1)) / abreast
        across = max(1 + sum(GAP + tiles.shape[1] for tiles in block.near.values()) for block in blocks)
        tile = each / across
        tall = HEAD + tile * max(len(block.samples) for block in blocks)
        height = lines * tall + 0.12 * (lines - 1)
        figure = Figure(figsize=(width, height))
        for number, block in enumerate(blocks):
            left, top = (number % abreast) * (each + 0.2), (number // abreast) * (tall + 0.12)
            figure.text(left / width, 1 - (top + 0.03) / height, short(block.name, 44), va="top", ha="left", fontsize=8)
            parts = {"": block.samples[:, None], **block.near}
            for said, tiles in parts.items():
                rows, columns = tiles.shape[:2]
                box = (left, top + HEAD, tile * columns, tile * rows)
                ax = _picture(figure, box, mosaic(tiles))
                ax.set_title(said or "sample", fontsize=6, pad=2, loc="left", color=MUTED)
                left += tile * (columns + GAP)
        return figure


def interpolations(strips: Sequence[tuple[str, np.ndarray]]) -> Figure:
    """Draw each cell's paths, uint8 [paths, steps, H, W, 3], one below the other; page width, the same tile for all."""
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        label, width = 1.0, WIDTHS["page"]
        tile = (width - label) / max(tiles.shape[1] for _, tiles in strips)
        height = sum(tile * len(tiles) for _, tiles in strips) + 0.06 * (len(strips) - 1)
        figure, top = Figure(figsize=(width, height)), 0.0
        for name, tiles in strips:
            paths, steps = tiles.shape[:2]
            _picture(figure, (label, top, tile * steps, tile * paths), mosaic(tiles))
            middle = 1 - (top + tile * paths / 2) / height
            figure.text((label - 0.08) / width, middle, _broken(name), va="center", ha="right", fontsize=7)
            top += tile * paths + 0.06
        return figure


def _picture(figure: Figure, box: tuple[float, float, float, float], pixels: np.ndarray) -> Axes:
    """Show pixels in a box (left, top, width, height) in inches from the figure's upper left corner."""
    width, height = figure.get_size_inches()
    left, top, across, tall = box
    ax = figure.add_axes((left / width, 1 - (top + tall) / height, across / width, tall / height))
    ax.set_axis_off()
    ax.imshow(pixels, interpolation="none", aspect="auto")
    return ax


def _broken(name: str) -> str:
    """Break a name at its dots, as cells' short names have them."""
    return "\n".join(short(part, 18) for part in name.split(" · "))
