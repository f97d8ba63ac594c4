"""The pictures of `bench.latent`: a numbered sheet, arithmetic on z, and paths between two z.  PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from bench import figures
from bench.render.save import figure_bytes

SIDE = 0.62
"""Inches of one tile."""
COLUMNS = 8


def sheet(images: Tensor) -> bytes:
    """Lay out uint8 images [N, C, H, W] in rows of 8, each with its number from 0 below it."""
    rows = -(-len(images) // COLUMNS)
    with mpl.rc_context({**figures.STYLE, "axes.grid": False}):
        figure, axes = _canvas(rows, COLUMNS, left=0.0, top=0.05, between=0.16)
        for index, ax in enumerate(axes.flat):
            if index < len(images):
                _show(ax, images[index], below=str(index))
            else:
                ax.set_visible(False)
        return figure_bytes(figure, "png")


def arithmetic(exemplars: Mapping[str, Tensor], concepts: Tensor, around: Tensor) -> bytes:
    """Draw A, B and C: exemplars [n, C, H, W] by row, then the image of their mean; and A - B + C among neighbours.

    concepts: images [4, C, H, W] at the means of A, B, C and at the result; around: 3 × 3 images with the result in the
    middle.
    """
    count = max(len(shown) for shown in exemplars.values())
    with mpl.rc_context({**figures.STYLE, "axes.grid": False}):
        figure, axes = _canvas(3, count + 5, left=0.75, top=0.22, between=0.04)
        for ax in axes.flat:
            ax.set_visible(False)
        for row, ((name, shown), sign) in enumerate(zip(exemplars.items(), ("", "−", "+"), strict=True)):
            for column, image in enumerate(shown):
                _show(axes[row][column], image)
            _show(axes[row][count], concepts[row])
            axes[row][0].set_ylabel(_broken(f"{sign} {name}".strip()), rotation=0, ha="right", va="center", fontsize=7)
        for index, image in enumerate(around):
            _show(axes[index // 3][count + 2 + index % 3], image)
        for edge in axes[1][count + 3].spines.values():
            edge.set(visible=True, color=figures.REFERENCE, linewidth=1.5)
        axes[0][count].set_title("mean z", fontsize=7, pad=3, loc="center")
        axes[0][count + 3].set_title("A − B + C and neighbours", fontsize=7, pad=3, loc="center")
        return figure_bytes(figure, "png")


def interpolation(paths: Mapping[str, Tensor], kind: str) -> bytes:
    """Draw each path's images [T, C, H, W] in a row, from one end to the other."""
    steps = max(len(images) for images in paths.values())
    with mpl.rc_context({**figures.STYLE, "axes.grid": False}):
        figure, axes = _canvas(len(paths), steps, left=0.95, top=0.22, between=0.04)
        for row, (name, images) in enumerate(paths.items()):
            for column, image in enumerate(images):
                _show(axes[row][column], image)
            axes[row][0].set_ylabel(_broken(name), rotation=0, ha="right", va="center", fontsize=7)
        for column in range(steps):
            share = column / max(steps - 1, 1)
            axes[0][column].set_title(kind if column == 0 else f"{share:.0%}", fontsize=7, pad=3, loc="center")
        return figure_bytes(figure, "png")


def _canvas(rows: int, columns: int, *, left: float, top: float, between: float) -> tuple[Figure, np.ndarray]:
    width, height = left + columns * SIDE, top + rows * (SIDE + between) + 0.02
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(left / width, between / height, 1, 1 - top / height, 0.06, between / SIDE)
    return figure, axes


def _show(ax: Axes, image: Tensor, below: str = "") -> None:
    pixels = image.permute(1, 2, 0).numpy()
    ax.set_visible(True)
    ax.set_xticks([])
    ax.set_yticks([])
    for edge in ax.spines.values():
        edge.set_visible(False)
    ax.imshow(pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels, interpolation="none", aspect="equal")
    if below:
        ax.set_xlabel(below, fontsize=6.5, labelpad=1.5)


def _broken(name: str) -> str:
    words: Sequence[str] = name.split(" ")
    half = (len(words) + 1) // 2
    return name if len(name) < 12 else " ".join(words[:half]) + "\n" + " ".join(words[half:])
