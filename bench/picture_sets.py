"""Any folder, zip or .npz of images → one uint8 array, for `bench.score`."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench import decode, draws, folders
from bench.decode import Pictures, square
from bench.folders import DataError
from bench.setting import Data

FILTER = "lanczos"
"""Where `size` asks for a resize."""


@dataclass(frozen=True)
class PictureSet:
    """Images of one source, and what could not be read."""

    place: Path
    images: Tensor
    """uint8 [N, C, R, R]"""
    unreadable: tuple[tuple[str, str], ...]
    """(file, reason)"""

    @property
    def fingerprint(self) -> str:
        """Hash of the pixels that are compared."""
        hashed = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        hashed.update(self.images.numpy().reshape(-1).data)
        return hashed.hexdigest()[:16]


@dataclass(frozen=True)
class Source:
    """A set whose files are listed but not yet decoded."""

    place: Path
    count: int
    size: tuple[int, int]
    """Width and height of the first image."""
    channels: int
    pictures: Pictures | None
    """None: `pixels` has them."""
    pixels: np.ndarray | None
    """uint8 [N, H, W, 1 or 3]"""


def look(place: Path) -> Source:
    """List a folder or zip of images (sorted by name, below any depth), or open an .npz.

    An .npz holds one array, or one named `images`: uint8 [N, H, W], [N, H, W, 1 or 3] or [N, 1 or 3, H, W].
    Raises DataError that names the place and the remedy.
    """
    if place.suffix.lower() == ".npz":
        pixels = _npz(place)
        return Source(place, len(pixels), (pixels.shape[2], pixels.shape[1]), pixels.shape[3], None, pixels)
    pictures = decode.pictures(Data(name="folder", folder=str(place)), place)
    for index in range(len(pictures.names)):
        try:
            size = pictures.read(index).size
        except Exception:
            continue  # named among the unreadable when it is decoded
        return Source(place, len(pictures.names), size, folders.channels(folders.listing(place)), pictures, None)
    raise DataError(f"{place}: none of its {len(pictures.names)} images can be read")


def _npz(place: Path) -> np.ndarray:
    try:
        with place.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            name = "images" if "images" in file.files else file.files[0] if len(file.files) == 1 else None
            if name is None:
                raise DataError(f"{place}: holds {', '.join(file.files) or 'nothing'}; name the images `images`")
            pixels = file[name]
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{place}: cannot be read as .npz ({error}); pickled arrays are never read") from error
    if pixels.dtype != np.uint8:
        raise DataError(
            f"{place}: pixels are {pixels.dtype}{_range(pixels)}, not uint8 from 0 to 255; round and clamp them first"
        )
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    elif pixels.ndim == 4 and pixels.shape[3] not in (1, 3) and pixels.shape[1] in (1, 3):
        pixels = pixels.transpose(0, 2, 3, 1)
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
        raise DataError(f"{place}: an array {list(pixels.shape)} is neither [N, H, W, 1 or 3] nor [N, 1 or 3, H, W]")
    if not pixels.size:
        raise DataError(f"{place}: no images in it")
    return pixels


def _range(pixels: np.ndarray) -> str:
    if not np.issubdtype(pixels.dtype, np.floating) or not pixels.size:
        return ""
    bad = int((~np.isfinite(pixels)).sum())
    return f" from {np.nanmin(pixels):g} to {np.nanmax(pixels):g}" + (f" with {bad} not finite" if bad else "")


def side(real: Source, fake: Source, asked: int | None) -> int:
    """Agree on the side at which images are compared.  Raises DataError unless both have it or one was asked for."""
    if asked is not None:
        return asked
    if real.size != fake.size:
        raise DataError(
            f"{real.place} has images of {_by(real.size)} and {fake.place} of {_by(fake.size)}: "
            "say --size to bring both to one side"
        )
    if real.size[0] != real.size[1]:
        raise DataError(f"images of {_by(real.size)} are not square: say --size to crop and resize them")
    return real.size[0]


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def read(
    source: Source, size: int, channels: int, *, limit: int | None, seed: int, fixed: bool, progress: Callable[[], None]
) -> PictureSet:
    """Decode a set to uint8 [N, channels, size, size]; what cannot be read is left out and named.

    `limit`: so many, drawn by the seed, in the order of the names.  `fixed`: a picture of another size is an error;
    else its shorter side is resized by Lanczos and its centre cropped.  Raises DataError.
    """
    order = torch.arange(source.count)
    if limit is not None and limit < source.count:
        order = draws.permutation(source.count, seed, "score.limit", 0)[:limit].sort().values
    made = np.empty((len(order), channels, size, size), np.uint8)
    unreadable: list[tuple[str, str]] = []
    kept = 0
    for index in order.tolist():
        name = source.pictures.names[index] if source.pictures else f"image {index}"
        try:
            picture = _picture(source, index)
            if fixed and picture.size != (size, size):
                raise DataError(
                    f"{source.place}: {name} is {_by(picture.size)}, others {_by((size, size))}: say --size to bring "
                    "all to one side"
                )
            made[kept] = square(picture, size, channels, FILTER)
            kept += 1
        except DataError:
            raise
        except Exception as error:  # Pillow's readers raise many kinds
            unreadable.append((name, str(error) or type(error).__name__))
        progress()
    if kept < 2:
        raise DataError(f"{source.place}: two images are needed, {kept} can be read")
    return PictureSet(source.place, torch.from_numpy(made[:kept]), tuple(unreadable))


def _picture(source: Source, index: int) -> Image.Image:
    if source.pictures is not None:
        return source.pictures.read(index)
    assert source.pixels is not None
    pixels = np.ascontiguousarray(source.pixels[index])
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
