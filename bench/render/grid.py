"""The sample grid: columns = cells, rows = snapshots, the same z everywhere (Kwak & Ko 2020, figure 1).

Which run stands for a cell is not ours to pick by eye: it is the cell's median seed by the first score asked for.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError

from bench import stats, table
from bench.design import Design, Run
from bench.render.runs import describe
from bench.store import OUTCOMES, RunFolder, RunState, Store

SHEET = 8
"""A sheet has 8 × 8 tiles without borders."""
LARGEST = 256
"""Pixels of a mosaic's side on the page."""
WIDE = 5
"""From so many columns on (the reals' included), mosaics are a quarter smaller, so that five stand side by side."""
BUDGET = 8_000_000
"""Bytes of samples in one page; beyond it fewer tiles and only the median seeds are shown."""


@dataclass(frozen=True)
class Tile:
    """One place of the grid: a mosaic of a run's snapshot, or why there is none."""

    seed: int
    shown: bool
    """Whether it stands there before anyone chooses a seed."""
    reason: str | None
    kimg: float | None
    path: Path | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Grid:
    """Tiles by row (snapshot), column (cell) and seed."""

    rows: list[str]
    tiles: list[list[list[Tile]]]
    medians: dict[str, int]
    """The seed that stands for each cell."""
    chosen_by: str | None
    """The value whose median chose it."""
    side: int
    """Tiles along a mosaic's side."""
    tile: int
    """Pixels of one tile."""
    scale: int
    """Whole factor of enlargement on the page."""
    reals: Path | None
    inputs: Path | None = None
    """Of pairs; `reals` are then their targets."""

    def beside(self, row: int) -> list[tuple[str, np.ndarray | None]]:
        """Columns before the cells: what they show, and a mosaic, None where its file cannot be read.

        Other reals in each row; of pairs, the inputs and targets of the outputs that stand in the row.
        """
        if self.inputs is not None and self.reals is not None:
            return [("inputs", mosaic(self.inputs, self.side)), ("targets", mosaic(self.reals, self.side))]
        return [("real images", mosaic(self.reals, self.side, row * self.side**2))] if self.reals else []


def grid(design: Design, store: Store, frame: pd.DataFrame, metrics: Sequence[Mapping[str, Any]]) -> Grid:
    """Find the samples of every cell, seed and snapshot; rows pair the cells' snapshots by position."""
    runs = _by_cell(design)
    medians, chosen_by = _medians(design, runs, frame, metrics)
    opened = {run.run_id: (store.run(run.run_id), store.run(run.run_id).state()) for run in design.runs}
    labels = {run_id: table.snapshots(folder, state) for run_id, (folder, state) in opened.items()}
    longest = {
        cell.name: max((labels[run.run_id] for run in runs[cell.name]), key=len, default=[]) for cell in design.cells
    }
    height = max((len(labels) for labels in longest.values()), default=0)
    rows = [_row_name(number, longest.values()) for number in range(height)]
    tiles = [
        [
            [
                _tile(run, number, longest[cell.name], labels[run.run_id], *opened[run.run_id], medians)
                for run in runs[cell.name]
            ]
            for cell in design.cells
        ]
        for number in range(height)
    ]
    reals, inputs = (store.study(design.study.name) / name for name in ("reals.png", "inputs.png"))
    pixels = _tile_size(reals, tiles)
    side, all_seeds = _mosaic_side(pixels, tiles, len(design.cells) + 1 + inputs.is_file())
    if not all_seeds:
        tiles = [[[tile for tile in place if tile.shown] for place in row] for row in tiles]
    return Grid(
        rows,
        tiles,
        medians,
        chosen_by,
        side,
        pixels,
        max(1, min(4, LARGEST // (4 * pixels)) if side >= 3 else LARGEST // (side * pixels)),
        reals if reals.is_file() else None,
        inputs if inputs.is_file() else None,
    )


def _by_cell(design: Design) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {cell.name: [] for cell in design.cells}
    for run in table.in_order(design):
        runs[run.cell.name].append(run)
    return runs


def _medians(
    design: Design, runs: Mapping[str, list[Run]], frame: pd.DataFrame, metrics: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, int], str | None]:
    chooser = next((m for m in metrics if m["direction"] != "reference" and not m["detail"]), None)
    at_end = table.last_values(frame)
    ended = set(frame.loc[frame["status"].isin(OUTCOMES), "run_id"])
    found: dict[str, int] = {}
    for cell in design.cells:
        seeds = [run.seed for run in runs[cell.name] if run.run_id in ended]
        place = None
        if chooser is not None:
            here = at_end[(at_end["cell"] == cell.name) & (at_end["metric"] == chooser["name"])]
            value = dict(zip(here["seed"], here["value"], strict=True))
            place = stats.median_index([value.get(seed) for seed in seeds], chooser["direction"])
        seeds = seeds or [run.seed for run in runs[cell.name]]
        if seeds:
            found[cell.name] = seeds[place or 0]
    return found, chooser["label"] if chooser else None


def _row_name(number: int, labels: Any) -> str:
    """Name a row by its kimg where all cells that have it agree, else by its number."""
    here = {of_cell[number] for of_cell in labels if len(of_cell) > number}
    return f"{float(here.pop()):g} kimg" if len(here) == 1 else f"snapshot {number + 1}"


def _tile(
    run: Run,
    number: int,
    of_cell: list[str],
    labels: list[str],
    folder: RunFolder,
    state: RunState,
    medians: Mapping[str, int],
) -> Tile:
    label = of_cell[number] if len(of_cell) > number else None
    path = folder.samples / f"{label}.png" if label in labels else None
    shown = medians[run.cell.name] == run.seed
    kimg = float(label) if label else None
    if path is None or not path.is_file():
        return Tile(run.seed, shown, describe(state, (state.trained or {}).get("kimg")), kimg)
    return Tile(run.seed, shown, None, kimg, path)


def _tile_size(reals: Path, tiles: list[list[list[Tile]]]) -> int:
    paths = [reals] + [tile.path for row in tiles for place in row for tile in place if tile.path]
    for path in paths:
        try:
            with Image.open(path) as sheet:
                return max(1, sheet.width // SHEET)
        except (OSError, UnidentifiedImageError):
            continue
    return 32


def _mosaic_side(pixels: int, tiles: list[list[list[Tile]]], columns: int) -> tuple[int, bool]:
    """Choose how many tiles stand along a mosaic's side, and whether all seeds fit into the page's budget."""
    every = [tile for row in tiles for place in row for tile in place if tile.path]
    chosen = sum(tile.shown for tile in every)
    best = max(1, min(4 if columns < WIDE else 3, LARGEST // pixels))
    weight = 3 * pixels**2 * 4 / 3  # bytes of one tile as base64, hardly compressed
    for side in range(best, 0, -1):
        if len(every) * weight * side**2 <= BUDGET:
            return side, True
        if chosen * weight * side**2 <= BUDGET:
            return side, False
    return 1, False


# ---------------------------------------------------------------------------------------------------------
# Pixels.


def mosaic(path: Path, side: int, offset: int = 0) -> np.ndarray | None:
    """Cut side × side tiles out of a sheet, from tile number `offset` on (round the end): uint8 [H, W, 3].

    None when the file is no picture.
    """
    try:
        with Image.open(path) as opened:
            sheet = np.asarray(opened.convert("RGB"))
    except (OSError, UnidentifiedImageError):
        return None
    size = sheet.shape[1] // SHEET
    tiles = sheet.reshape(SHEET, size, SHEET, size, 3).swapaxes(1, 2).reshape(-1, size, size, 3)
    taken = tiles[np.arange(offset, offset + side**2) % len(tiles)]
    return taken.reshape(side, side, size, size, 3).swapaxes(1, 2).reshape(side * size, side * size, 3)


def data_uri(pixels: np.ndarray) -> str:
    """Encode uint8 [H, W, 3] as a lossless PNG within the page."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    if bool((pixels == pixels[..., :1]).all()):
        image = image.convert("L")
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
