"""Makes the pictures of `bench.exhibits`: samples of a run beside the training images nearest to them; its G's paths.

The samples are those of the last snapshot's sheet, at the z that every run shows.  Held-out reals are measured in the
same way, once for a data set: samples that lie much nearer to training images than these do are copies, or images that
are simpler than reals.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from bench import draws, evaluate, exhibits, snapshot
from bench.batches import draw_z
from bench.data import Dataset
from bench.exhibits import PIXELS, SHOWN, STEPS, K
from bench.files import publish, write_bytes
from bench.latents import images_at, slerp
from bench.metrics.arrays import Array, kept_on, on_host
from bench.metrics.neighbours import nearest
from bench.metrics.reference import kept
from bench.metrics.suite import device as comparing
from bench.models import set_chance
from bench.orders import Orders
from bench.reals import ReferenceSet
from bench.sample import SHEET, SHEET_SEED, of_columns
from bench.setting import Setting
from bench.store import RunFolder

log = logging.getLogger(__name__)

SIDE = 32
"""Pixels are compared at this side at most; larger images are averaged down to it."""
HELD_OUT = 512
"""Held-out reals that are measured; of more, so many are drawn."""
_BLOCK = 512


class Space(NamedTuple):
    """A space in which images are near to each other or far."""

    name: str
    train: Array
    """The training images in it, [N, d]."""
    place: Callable[[Tensor], Array]
    """Images uint8 [n, C, H, W] → [n, d]."""
    unit: float
    """A Euclidean distance over this is what is told."""
    said: dict[str, Any]
    """What places in it depend on."""


class Gallery:
    """What the pictures of one run need of its data set."""

    def __init__(self, setting: Setting, dataset: Dataset, orders: Orders, cache: Path) -> None:
        """`orders`: they say which features are asked for, and where data lie."""
        self.setting, self.dataset, self.cache = setting, dataset, cache
        self.extractor = exhibits.extractor_asked(orders.metrics, orders.evaluate, setting, dataset)
        self.reals = evaluate.reference(setting.data, "train", orders.data_root, cache)[0]

    @property
    def spaces(self) -> dict[str, Callable[[], Space]]:
        """How to make each space, by name; none of pairs, whose outputs are each near to their own target."""
        if self.setting.data.pairs != "none" or self.setting.objective == "supervised":
            return {}
        made: dict[str, Callable[[], Space]] = {PIXELS: lambda: pixels(self.reals, self.cache)}
        if (settings := self.extractor) is not None:
            made[exhibits.space_of(settings)] = lambda: features(self.reals, settings)
        return made

    def prepare(self) -> None:
        """Make what all runs share: held-out reals' distances.  A space that cannot be had is said on the log."""
        for name, make in self.spaces.items():
            try:
                self.held_out(make())
            except Exception as error:
                log.warning("samples will have no neighbours in the space %s: %s", name, evaluate.reason(error))
        self.reals.rest()

    def held_out(self, space: Space) -> dict[str, Any] | None:
        """Measure held-out reals' distances to the nearest training image; None where there are no such reals.

        {part, n, distances: ascending}.
        """
        part = next((name for name in ("held_out", "test") if len(self.dataset.parts[name])), None)
        if part is None:
            return None
        images = self.dataset.part(part).images
        chosen = draws.permutation(len(images), SHEET_SEED, "held_out", 0)[:HELD_OUT].sort().values
        said = {**space.said, "of": part, "n": len(chosen), "mirror": self.setting.data.mirror}

        def make() -> dict[str, np.ndarray]:
            return {"nearest": np.sort(self.measured(images[chosen], space, 1)[1][:, 0])}

        distances = kept(self.cache, "neighbours", {**said, "version": exhibits.VERSION}, make)["nearest"]
        return {"part": part, "n": len(chosen), "distances": _rounded(distances)}

    def measured(self, images: Tensor, space: Space, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the k nearest training images of each, and how far they are: [n, k] both.

        Where D sees reals and their mirror images, so do we.
        """
        views = [images, images.flip(3)] if self.setting.data.mirror else [images]
        rows, far = nearest([space.place(view) for view in views], space.train, k)
        return rows, far / space.unit

    def neighbours(self, sheet: Tensor, made: Callable[[], Space]) -> bytes:
        """Set the first samples of a sheet, uint8 [64, C, H, W], beside their neighbours; measure all 64.

        `made`: one of `spaces`.
        """
        space = made()
        rows, far = self.measured(sheet, space, K)
        train = self.dataset.part("train").images
        near = train[torch.from_numpy(rows[:SHOWN])]
        tiles = torch.cat([sheet[:SHOWN, None], near], dim=1)
        said = {
            "space": space.name,
            "extractor": None if self.extractor is None or space.name == PIXELS else self.extractor["extractor"],
            "side": min(SIDE, sheet.shape[-1]) if space.name == PIXELS else None,
            "seed": SHEET_SEED,
            "n_train": len(train),
            "mirror": self.setting.data.mirror,
            "rows_of_train": rows[:SHOWN].tolist(),
            "distances": [_rounded(row) for row in far[:SHOWN]],
            "nearest": _rounded(far[:, 0]),
            "held_out": self.held_out(space),
        }
        return exhibits.encode(tiles.permute(0, 1, 3, 4, 2).numpy(), said)

    def interpolations(self, path: Path, device: torch.device | str) -> bytes | None:
        """Follow a snapshot's G along the arc from the z of each of the sheet's first samples to the next one's.

        Where G is told a class, a path keeps that of its first end.  None where z, and a class, do not say an image.
        Raises SnapshotError, and FloatingPointError when G makes NaN.
        """
        setting = self.setting
        if setting.data.pairs != "none" or setting.style_source == "image" or setting.objective == "supervised":
            return None
        G = snapshot.load(setting, path)["G"].to(device).train(setting.sample_stats == "batch")
        z = draw_z(setting, SHEET**2, SHEET_SEED, "sheet_z", 0)
        t = torch.linspace(0, 1, STEPS)
        classes = of_columns(setting)[:SHOWN].tolist() if setting.gives_labels else [None] * SHOWN
        made = []
        for number, y in enumerate(classes):
            along = slerp(z[number], z[(number + 1) % SHOWN], t)
            set_chance(G, SHEET_SEED, "interpolations", number)
            made.append(images_at(G, along, setting.data.size, batch=STEPS, device=device, y=y))
        tiles = torch.stack(made).permute(0, 1, 3, 4, 2).numpy()
        return exhibits.encode(tiles, {"seed": SHEET_SEED, "path": "slerp", "classes": classes})


def hang(folder: RunFolder, label: str, gallery: Gallery, device: torch.device | str = "cpu") -> list[str]:
    """Keep the pictures of a snapshot that do not stand yet; return what could not be made, with the reason.

    Raises StoreError when they cannot be written.
    """
    said = []
    sheet = read_sheet(folder.samples / f"{label}.png", gallery.dataset.channels, gallery.setting.data.size)
    path = folder.snapshots / f"{label}.pt"
    wanted: dict[Path, Callable[[], bytes | None]] = {
        exhibits.interpolations_path(folder.samples, label): partial(gallery.interpolations, path, device)
    }
    if sheet is not None:
        for name, space in gallery.spaces.items():
            place = exhibits.neighbours_path(folder.samples, label, name)
            wanted[place] = partial(gallery.neighbours, sheet, space)
    for place, make in wanted.items():
        if exhibits.read(place) is not None:
            continue
        try:
            made = make()
        except Exception as error:
            said.append(f"{place.name}: {evaluate.reason(error)}")
            continue
        if made is not None:
            write_bytes(place, made) if place.exists() else publish(place, made)
    gallery.reals.rest()
    return said


def read_sheet(path: Path, channels: int, size: int) -> Tensor | None:
    """Read a sheet's 64 samples, uint8 [64, channels, size, size]; None when it is not there or damaged."""
    try:
        with Image.open(path) as opened:
            pixels = np.array(opened.convert("L" if channels == 1 else "RGB"))
    except (OSError, SyntaxError):
        return None
    if pixels.shape[:2] != (SHEET * size, SHEET * size):
        return None
    tiles = torch.from_numpy(pixels).reshape(SHEET, size, SHEET, size, channels).permute(0, 2, 4, 1, 3)
    return tiles.reshape(SHEET**2, channels, size, size)


# ---------------------------------------------------------------------------------------------------------
# Spaces.


def pixels(reals: ReferenceSet, cache: Path) -> Space:
    """Pixels as they are, or averaged down to 32 × 32; distances are root mean squares of grey levels."""
    train = reals.side.images
    if train.shape[-1] > SIDE:
        said = {**reals.said, "side": SIDE, "version": exhibits.VERSION}
        small = kept(cache, "thumbnails", said, lambda: {"images": _small(train).numpy()})["images"]
        train = torch.from_numpy(small)
    where = comparing()

    def place(images: Tensor) -> Array:
        return kept_on(_small(images).flatten(1), where)

    flat = kept_on(train.flatten(1), where)
    return Space(PIXELS, flat, place, flat.shape[1] ** 0.5, {**reals.said, "space": PIXELS, "side": SIDE})


def _small(images: Tensor) -> Tensor:
    if images.shape[-1] <= SIDE:
        return images
    blocks = images.split(_BLOCK)
    return torch.cat([F.interpolate(b.float(), size=SIDE, mode="area").round_().to(torch.uint8) for b in blocks])


def features(reals: ReferenceSet, settings: Mapping[str, Any]) -> Space:
    """Features of an extractor, Euclidean.  Raises MetricError when it cannot be had."""
    said = {**reals.said, **reals.extractor_stamp(settings), "batch": settings["batch"]}
    name = exhibits.space_of(settings)

    def place(images: Tensor) -> Array:
        return reals.extract(images, settings).features

    return Space(name, reals.side.features(settings).features, place, 1.0, {**said, "space": name})


def _rounded(distances: np.ndarray) -> list[float]:
    """Six digits are more than a report shows, and fewer than libraries and devices disagree in."""
    return [float(f"{value:.6g}") for value in on_host(distances)]
