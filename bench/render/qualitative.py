"""What scoring kept to look at: samples beside their nearest training images, and paths between two z.

Pictures are shown for each cell's median seed, as its samples are; a run that has none says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from bench import datasets, exhibits, table
from bench.design import Run
from bench.exhibits import PIXELS, Exhibit
from bench.figures.qualitative import Beside, interpolations, mosaic, neighbours
from bench.render.grid import data_uri
from bench.render.part import Given, Part
from bench.render.samples import MOST, left_out, on_paper
from bench.render.sketch import sketch

BUDGET = 3_000_000
"""Bytes of these pictures in one page; beyond it fewer samples, then fewer cells are shown."""
LARGEST = 64
"""Pixels of a tile's side on the page; larger images are averaged down by a whole factor."""
FEW = 4
"""Samples of each cell in print, and on the page where it has more cells than that."""
EVERY = 2
"""Of a path's steps the page shows each second one, print all."""


class Kept(NamedTuple):
    """The pictures of one run."""

    run: Run
    label: str
    near: dict[str, Exhibit]
    """By space."""
    paths: Exhibit | None


def part(given: Given) -> Part:
    """Say the distances, show the pictures, draw both for print.  It follows `samples`, which chooses the seeds."""
    found = list(filter(None, (_kept(run, given) for run in _shown(given))))
    if not found:
        return Part({"qualitative": None})
    rows, cells = _fitting(found)
    names = {cell["name"]: cell["label"] for cell in given.content["cells"]}
    made = Part(
        {
            "qualitative": {
                "cells": [_said(kept, names) for kept in found],
                "samples_shown": rows,
                "left_out": [kept.run.cell.name for kept in found[cells:]],
                "chosen_by": given.content["samples"]["chosen_by"],
                "seed": _seed(found[0]),
                "counts": _counts(found),
                "mirror": any(exhibit.said["mirror"] for kept in found for exhibit in kept.near.values()),
            }
        },
        {"gallery": [_pictures(kept, rows, names) for kept in found[:cells]]},
    )
    by_name = {kept.run.cell.name: kept for kept in found}
    with_pictures = [cell for cell in given.content["cells"] if cell["name"] in by_name]
    if given.printed:
        _print(made, [by_name[name] for name in on_paper(with_pictures)], names, len(found))
    return made


def _shown(given: Given) -> list[Run]:
    medians = given.content["samples"]["medians"]
    return [run for run in table.in_order(given.design) if medians.get(run.cell.name) == run.seed]


def _kept(run: Run, given: Given) -> Kept | None:
    """Read what scoring kept of a run's last snapshot, in pixels and in the features that the study asks for."""
    folder, study = given.store.run(run.run_id), given.design.study
    labels = table.snapshots(folder, folder.state())
    if not labels:
        return None
    source = datasets.describe(run.setting.data, datasets.data_root())
    extractor = exhibits.extractor_asked(study.metrics, study.evaluate, run.setting, source)
    spaces = [PIXELS] + ([exhibits.space_of(extractor)] if extractor else [])
    read = {space: exhibits.read(exhibits.neighbours_path(folder.samples, labels[-1], space)) for space in spaces}
    near = {space: one for space, one in read.items() if one is not None}
    paths = exhibits.read(exhibits.interpolations_path(folder.samples, labels[-1]))
    return Kept(run, labels[-1], near, paths) if near or paths else None


def _seed(kept: Kept) -> int:
    """The seed of the z that all sheets share."""
    return int(next(filter(None, (*kept.near.values(), kept.paths))).said["seed"])


# ---------------------------------------------------------------------------------------------------------
# Numbers.


def _said(kept: Kept, names: Mapping[str, str]) -> dict[str, Any]:
    paths = kept.paths
    return {
        "cell": kept.run.cell.name,
        "label": names[kept.run.cell.name],
        "seed": kept.run.seed,
        "run_id": kept.run.run_id,
        "kimg": float(kept.label),
        "spaces": [_distances(space, exhibit) for space, exhibit in kept.near.items()],
        "paths": None if paths is None else {"kind": paths.said["path"], "classes": paths.said["classes"]},
    }


def _counts(found: Sequence[Kept]) -> dict[str, str]:
    """How many samples, training images and held-out reals were measured."""
    said = [exhibit.said for kept in found for exhibit in kept.near.values()]
    counts = {
        "samples": {len(one["nearest"]) for one in said},
        "n_train": {one["n_train"] for one in said},
        "held_out": {one["held_out"]["n"] for one in said if one["held_out"]},
    }
    return {name: " or ".join(f"{n:,}" for n in sorted(numbers)) for name, numbers in counts.items()}


def _distances(space: str, exhibit: Exhibit) -> dict[str, Any]:
    """Sum up how far samples are from the training images, beside held-out reals.

    `ratio`: the samples' median over the held-out reals'.  `nearer`: samples that are nearer to a training image than
    every held-out real is.
    """
    said = exhibit.said
    held_out, samples = said["held_out"], said["nearest"]
    of_reals = median(held_out["distances"]) if held_out else None
    ratio = median(samples) / of_reals if of_reals else None
    return {
        "space": space,
        "words": words(space, exhibit),
        "unit": "grey levels" if space == PIXELS else "",
        "samples": len(samples),
        "n_train": said["n_train"],
        "median": median(samples),
        "text": _three(median(samples)),
        "held_out": None if held_out is None else {"part": held_out["part"].replace("_", "-"), "n": held_out["n"]},
        "held_out_median": of_reals,
        "held_out_text": None if of_reals is None else _three(of_reals),
        "ratio": ratio,
        "ratio_text": None if ratio is None else f"{ratio:.2f}",
        "nearer": None if held_out is None else sum(one < held_out["distances"][0] for one in samples),
        "nearest": samples,
        "of_shown": said["distances"],
    }


def _three(value: float) -> str:
    """Write a distance with three digits."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else "0"


def words(space: str, exhibit: Exhibit) -> str:
    """Say a space in a few words: `pixels`, `pixels at 32 px`, `random features`."""
    if space != PIXELS:
        return f"{exhibit.said['extractor']} features"
    side = exhibit.said["side"]
    return "pixels" if side == exhibit.tiles.shape[2] else f"pixels at {side} px"


# ---------------------------------------------------------------------------------------------------------
# Pictures.


def _fitting(found: Sequence[Kept]) -> tuple[int, int]:
    """How many samples of each cell, and how many cells, fit into the page's budget; fewer where cells are many."""
    one = next(filter(None, (*found[0].near.values(), found[0].paths))).tiles
    channels = 1 if bool((one == one[..., :1]).all()) else 3
    weight = channels * min(one.shape[2], LARGEST) ** 2 * 4 / 3  # bytes of one tile as base64, hardly compressed
    across = max(1 + sum(exhibit.tiles.shape[1] - 1 for exhibit in kept.near.values()) for kept in found)
    across += len(range(0, exhibits.STEPS, EVERY))
    for rows in (exhibits.SHOWN, FEW) if len(found) <= FEW else (FEW,):
        if len(found) * weight * rows * across <= BUDGET:
            return rows, len(found)
    return 2, min(len(found), max(1, int(BUDGET / (weight * 2 * across))))


def _smaller(tiles: np.ndarray) -> np.ndarray:
    """Average tiles [rows, columns, H, W, 3] down by the least whole factor that brings them to 64 px."""
    side = tiles.shape[2]
    factor = next(f for f in range(-(-side // LARGEST), side + 1) if side % f == 0)
    if factor == 1:
        return tiles
    rows, columns = tiles.shape[:2]
    blocks = tiles.reshape(rows, columns, side // factor, factor, side // factor, factor, 3)
    return np.rint(blocks.mean(axis=(3, 5))).astype(np.uint8)


def _pictures(kept: Kept, rows: int, names: Mapping[str, str]) -> dict[str, Any]:
    """Encode one cell's pictures with words for each."""
    of = f"{names[kept.run.cell.name]}, seed {kept.run.seed}, {float(kept.label):g} kimg"
    shown: list[dict[str, Any]] = []
    for space, exhibit in kept.near.items():
        small = _smaller(exhibit.tiles[:rows])
        if not shown:
            shown.append(_picture(small[:, :1], "sample", f"{len(small)} samples of {of}"))
        told, k = words(space, exhibit), small.shape[1] - 1
        alt = f"The {k} training images nearest in {told} to each of {len(small)} samples of {of}, the nearest first"
        shown.append(_picture(small[:, 1:], f"nearest in {told}", alt))
    paths = None
    if kept.paths is not None:
        tiles = _smaller(kept.paths.tiles[:rows, ::EVERY])
        alt = f"{tiles.shape[1]} images on the way from each of {len(tiles)} samples to the next, {of}"
        paths = _picture(tiles, "arc to the next sample", alt)
    return {"cell": kept.run.cell.name, "near": shown, "paths": paths}


def _picture(tiles: np.ndarray, said: str, alt: str) -> dict[str, Any]:
    pixels = mosaic(tiles)
    scale = max(1, LARGEST // tiles.shape[2])
    return {
        "said": said,
        "alt": alt,
        "uri": data_uri(pixels),
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "scale": scale,
    }


def _print(made: Part, found: Sequence[Kept], names: Mapping[str, str], cells: int) -> None:
    """Draw neighbours and paths for print, of some of so many cells."""
    blocks = [
        Beside(
            names[kept.run.cell.name],
            next(iter(kept.near.values())).tiles[:FEW, 0],
            {f"nearest in {words(space, one)}": one.tiles[:FEW, 1:] for space, one in kept.near.items()},
        )
        for kept in found
        if kept.near
    ]
    at = f"z of seed {_seed(found[0])}, G_ema, uncurated, each cell's median seed at the end"
    if blocks:
        caption = f"Samples beside the {exhibits.K} training images nearest to them: {at}.{left_out(len(found), cells)}"
        made.keep(sketch(neighbours, blocks), "neighbours", "Nearest training images", caption)
    drawn = [kept for kept in found if kept.paths is not None]
    few = 2 if len(drawn) <= MOST // 2 else 1
    strips = [(names[kept.run.cell.name], kept.paths.tiles[:few]) for kept in drawn if kept.paths is not None]
    if strips:
        caption = f"Arcs (slerp) between two z in {exhibits.STEPS} steps: {at}.{left_out(len(found), cells)}"
        made.keep(sketch(interpolations, strips), "interpolations", "Interpolations", caption)
