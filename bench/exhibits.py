"""Pictures that a run keeps beside its samples: nearest training images, interpolations.  Their places, how they read.

A picture is one PNG of tiles without borders that carries its numbers as JSON in a text chunk, so that the two are
published at once and can never belong to different attempts.  `bench.gallery` makes them; a report only reads them.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from bench.protocol import Evaluate, Reals, askable, requests
from bench.setting import Setting

VERSION = 1
"""Of what the pictures and their numbers are: raise it when either changes, and they are made again."""
SHOWN, K = 8, 5
"""Samples that are shown with their neighbours, and neighbours of each."""
STEPS = 11
"""Images along the path from each of these samples to the next, both ends among them."""
PIXELS = "pixels"
"""The space that every image set has."""
_CHUNK = "bench"


class Exhibit(NamedTuple):
    """A picture as it was kept."""

    tiles: np.ndarray
    """uint8 [rows, columns, H, W, 3]"""
    said: dict[str, Any]
    """Its numbers and how they were made."""


def neighbours_path(samples: Path, label: str, space: str) -> Path:
    """Where the neighbours of a snapshot's samples lie, by the space in which they are nearest."""
    return samples / f"{label}.neighbours.{space}.png"


def interpolations_path(samples: Path, label: str) -> Path:
    """Where the paths of a snapshot's G lie."""
    return samples / f"{label}.interpolations.png"


def extractor_asked(
    metrics: Sequence[str], evaluate: Evaluate, setting: Setting, source: Reals
) -> dict[str, Any] | None:
    """Return the settings of the extractor that a study's Fréchet distance reads, else its first metric of features.

    None where no metric reads features.
    """
    asked = requests(askable(metrics, setting), evaluate, setting.data, "", "", source)
    reading = [request for request in asked if "extractor" in request.settings]
    first = next((request for request in reading if request.metric in ("fid", "fd")), reading[0] if reading else None)
    keys = ("extractor", "extractor_source", "resize", "batch")
    return None if first is None else {key: first.settings.get(key) for key in keys}


def space_of(settings: Mapping[str, Any]) -> str:
    """Name the space of an extractor's features as files carry it: `inception`, `random`, `lab.nets.Net-1a2b3c4d`."""
    resize, source = settings.get("resize"), settings.get("extractor_source")
    name = re.sub(r"[^\w.]+", ".", settings["extractor"])
    return name + (f"_{resize}" if resize not in (None, "clean") else "") + (f"-{source[:8]}" if source else "")


def encode(tiles: np.ndarray, said: Mapping[str, Any]) -> bytes:
    """Lay out tiles, uint8 [rows, columns, H, W, C], as one PNG that carries what is said of them."""
    rows, columns, height, width, channels = tiles.shape
    pixels = tiles.swapaxes(1, 2).reshape(rows * height, columns * width, channels)
    info = PngInfo()
    info.add_itxt(_CHUNK, json.dumps({**said, "version": VERSION, "rows": rows, "columns": columns}, sort_keys=True))
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels)).save(
        buffer, format="PNG", pnginfo=info
    )
    return buffer.getvalue()


def read(path: Path) -> Exhibit | None:
    """Read a picture; None when it is not there, damaged, or of another version."""
    try:
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("RGB"))
            said = json.loads(getattr(opened, "text", {})[_CHUNK])
        rows, columns = said["rows"], said["columns"]
        if said["version"] != VERSION or pixels.shape[0] % rows or pixels.shape[1] % columns:
            return None
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return None
    height, width = pixels.shape[0] // rows, pixels.shape[1] // columns
    return Exhibit(pixels.reshape(rows, height, columns, width, 3).swapaxes(1, 2), said)
