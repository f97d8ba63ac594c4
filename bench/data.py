"""Data sets as uint8 tensors, decoded once and cached; seeded batches by position.

A set is decoded, made square and written to `<cache>/data/<key>.npy`, with what was done in a JSON beside it.
Any number of processes may ask at once: each that finds nothing makes the same bytes and puts them in place whole.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor

from bench import datasets, decode, draws, fetch, pairs
from bench.datasets import PARTS, DataError
from bench.folders import publish
from bench.setting import Data, digest

log = logging.getLogger(__name__)

FORMAT = 1
"""Of the cache.  Raise it when decoding, resizing, splitting or the layout changes: old files are then left alone."""
NPY_HEADER = 128
"""Bytes before the pixels: the count of images is known only after the last one, so the header's room is fixed."""


class Part(NamedTuple):
    """One part of a set, as views."""

    images: Tensor
    """uint8 [N, C, H, W]"""
    labels: Tensor
    """int64 [N]; 0 throughout where there are no classes."""
    inputs: Tensor | None = None
    """Of pairs: the image that G makes each of `images` of, uint8 [N, C_in, H, W]."""

    def at(self, rows: Tensor | slice) -> Part:
        """Return the images at these rows with all that is theirs."""
        return Part(self.images[rows], self.labels[rows], None if self.inputs is None else self.inputs[rows])

    def to(self, device: torch.device | str) -> Part:
        """Return the part on a device."""
        inputs = None if self.inputs is None else self.inputs.to(device)
        return Part(self.images.to(device), self.labels.to(device), inputs)


@dataclass(frozen=True)
class Dataset:
    """A whole set in memory, ordered train, held_out, test, and by file name within each."""

    images: Tensor
    """uint8 [N, C, H, W]; a private view of the cached file, whose pages processes on one host share."""
    labels: Tensor
    """int64 [N]; 0 throughout where there are no classes."""
    classes: tuple[str, ...]
    parts: dict[str, Tensor]
    """"train", "held_out", "test" to int64 indices into `images`."""
    unreadable: tuple[tuple[str, str], ...]
    """(file, reason) of each image that could not be decoded; none of them is in `images`."""
    fingerprint: str
    inputs: Tensor | None = None
    """Of pairs: the input images, uint8 [N, C_in, H, W]."""

    @property
    def channels(self) -> int:
        """1 or 3."""
        return int(self.images.shape[1])

    def part(self, name: str) -> Part:
        """Return a part.  Raises DataError when no image is in it."""
        index = self.parts[name]
        if len(index) == 0:
            raise DataError(f"the {name} part is empty: the set has {len(self.images)} images in all")
        whole = int(index[-1]) - int(index[0]) + 1 == len(index)
        chosen = slice(int(index[0]), int(index[-1]) + 1) if whole else index  # of a few-shot subset, copies
        return Part(self.images, self.labels, self.inputs).at(chosen)


def load(data: Data, root: Path, cache: Path) -> Dataset:
    """Return the set at `data.size`, from the cache or made and cached.

    With `data.subset`, the training part is the first so many by `datasets.ranking`; one cache serves all subsets.
    `root` is where downloads lie or go, `cache` is `<results>/cache`.  With `data.fingerprint` and `data.channels`
    filled by a plan, a cached set is used without its source being there.  A cache file that fails its checksum is
    made again, with a warning.
    Raises DataError: no such data, nothing readable, content that is not what was planned or published, a cache that
    cannot be written.
    """
    source = None if data.fingerprint and data.channels else datasets.describe(data, root)
    channels = data.channels or (source or datasets.describe(data, root)).channels
    fingerprint = data.fingerprint or datasets.fingerprint(data, root, cache)
    said = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "size": data.size,
        "channels": channels,
        "resize_filter": data.resize_filter,
    }
    if data.pairs != "none":
        said |= {"pairs": data.pairs, "direction": data.direction}
    place = cache / "data" / f"{digest(said)}.npy"
    made = _read(place)
    if made is None:
        source = source or datasets.describe(data, root)
        if not source.present:
            fetch.fetch(source, root)
        actual = datasets.fingerprint(data, root, cache)
        if actual != fingerprint:
            raise DataError(
                f"{data.folder or data.name}: its content ({actual}) is no longer what was planned ({fingerprint}); "
                "plan the study again"
            )
        _make(place, decode.pictures(data, root), data, channels, fingerprint)
        made = _read(place)
        if made is None:
            raise DataError(f"{place}: what was just written cannot be read back; is the disk sound?")
    return made if data.subset is None else _few(made, data.subset)


def _few(dataset: Dataset, n: int) -> Dataset:
    """Keep the first n of the training part by `datasets.ranking`, in the set's order.

    Raises DataError when it has fewer.
    """
    train = dataset.parts["train"]
    if n > len(train):
        raise DataError(f"data.subset={n} is more than the {len(train)} images in the train part")
    chosen = datasets.ranking(dataset.labels[train].tolist())[:n]
    few = train[torch.tensor(sorted(chosen))]
    return replace(dataset, parts={**dataset.parts, "train": few})


# ---------------------------------------------------------------------------------------------------------
# The cache.


def _read(place: Path) -> Dataset | None:
    """Return a cached set; None when there is none, or it is damaged (which is said)."""
    try:
        record = json.loads(place.with_suffix(".json").read_bytes())
        check = record.pop("check")
        pixels = np.load(place, mmap_mode="c", allow_pickle=False)
        sound = (
            check == digest(record)
            and list(pixels.shape) == record["shape"]
            and pixels.dtype == np.uint8
            and hashlib.sha256(pixels).hexdigest() == record["sha256"]
        )
    except FileNotFoundError as error:
        if Path(error.filename) == place:
            log.warning("%s: missing beside its .json; made again", place)
        return None
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        log.warning("%s: damaged (%s); made again", place, error)
        return None
    if not sound:
        log.warning("%s: damaged (its checksum differs); made again", place)
        return None
    ends = np.cumsum([record["parts"][part] for part in PARTS]).tolist()
    starts = [0, *ends[:-1]]
    images, inputs = torch.from_numpy(np.asarray(pixels)), None
    if "pairs" in record:  # the channels of a target, then those of its input
        images, inputs = images.tensor_split([record["pairs"]["channels"]], dim=1)
    return Dataset(
        images=images,
        labels=torch.tensor(record["labels"], dtype=torch.int64),
        classes=tuple(record["classes"]),
        parts={part: torch.arange(start, end) for part, start, end in zip(PARTS, starts, ends, strict=True)},
        unreadable=tuple((file, reason) for file, reason in record["unreadable"]),
        fingerprint=record["fingerprint"],
        inputs=inputs,
    )


def _make(place: Path, pictures: decode.Pictures, data: Data, channels: int, fingerprint: str) -> None:
    """Decode all pictures into `place` and its JSON, both put there whole."""
    order = [i for part in PARTS for i in range(len(pictures.parts)) if pictures.parts[i] == part]
    kept: list[int] = []
    unreadable: list[tuple[str, str]] = []
    pixels = hashlib.sha256()
    draft = place.with_name(f".{place.name}.{uuid4().hex}.tmp")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(bytes(NPY_HEADER))
            for index in order:  # threads gain nothing: pictures this small are bound by the interpreter
                outcome = _square(pictures, data, channels, index)
                if isinstance(outcome, str):
                    unreadable.append((pictures.names[index], outcome))
                else:
                    kept.append(index)
                    file.write(outcome)
                    pixels.update(outcome)
            planes = channels + (data.model_copy(update={"channels": channels}).input_channels or 0)
            shape = (len(kept), planes, data.size, data.size)
            file.seek(0)
            file.write(_npy_header(shape))
        unreadable.sort()
        _say_unreadable(unreadable, len(order), data)
        counts = Counter(pictures.parts[i] for i in kept)
        record: dict[str, Any] = {
            "set": data.name,
            "fingerprint": fingerprint,
            "shape": shape,
            "sha256": pixels.hexdigest(),
            "resize_filter": data.resize_filter,
            "pillow": PIL.__version__,
            "classes": pictures.classes,
            "parts": {part: counts[part] for part in PARTS},
            "split_seed": datasets.SPLIT_SEED,
            "unreadable": unreadable,
            "labels": [pictures.labels[i] for i in kept],
        }
        if data.pairs != "none":
            record["pairs"] = {"how": data.pairs, "channels": channels, "skimage": version("scikit-image")}
        os.replace(draft, place)
        publish(place.with_suffix(".json"), json.dumps({**record, "check": digest(record)}).encode())
    except OSError as error:
        raise DataError(
            f"{place.parent}: the cache of decoded images cannot be written ({error.strerror}); "
            "make room or choose another --results"
        ) from error
    finally:
        _remove(draft)


def _remove(draft: Path) -> None:
    try:
        draft.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s: left behind (%s)", draft, error)


def _square(pictures: decode.Pictures, data: Data, channels: int, index: int) -> bytes | str:
    """One picture's pixels, then those of its input where there are pairs; or the reason why there are none."""
    try:
        return b"".join(plane.tobytes() for plane in _planes(pictures, data, channels, index))
    except Exception as error:
        # Pillow's and zipfile's readers raise all kinds on damaged files; each is listed with its reason.
        return f"{type(error).__name__}: {error}"


def _planes(pictures: decode.Pictures, data: Data, channels: int, index: int) -> Iterator[np.ndarray]:
    def square(picture: Image.Image) -> np.ndarray:
        return decode.square(picture, data.size, channels, data.resize_filter)

    picture = pictures.read(index)
    if data.pairs == "ab":
        a, b = (square(half) for half in pairs.halves(picture))
        yield from (b, a) if data.direction == "a_to_b" else (a, b)
        return
    target = square(picture)
    yield target
    if pictures.read_input is not None:
        yield square(pictures.read_input(index))
    elif data.pairs != "none":
        yield pairs.made(target, data.pairs)


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """NumPy's format 1.0 header for uint8 in C order, padded to NPY_HEADER bytes."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + (NPY_HEADER - 10).to_bytes(2, "little") + f"{text:<{NPY_HEADER - 11}}\n".encode()


def _say_unreadable(unreadable: list[tuple[str, str]], n: int, data: Data) -> None:
    if not unreadable:
        return
    first = "; ".join(f"{file} ({reason})" for file, reason in unreadable[:3])
    if len(unreadable) == n:
        raise DataError(f"{data.folder or data.name}: none of its {n} images can be read: {first}")
    log.warning("%s: %d of %d images cannot be read: %s", data.folder or data.name, len(unreadable), n, first)


# ---------------------------------------------------------------------------------------------------------
# Batches and values.


def batch_indices(n: int, batch: int, step: int, seed: int) -> Tensor:
    """Return int64 [batch]: what the D update number `step` (from 0) sees of a part of n images.

    Raises DataError when the batch is larger than the part.
    """
    return indices_at(n, step * batch, batch, seed)


def indices_at(n: int, position: int, batch: int, seed: int, device: torch.device | str = "cpu") -> Tensor:
    """Return int64 [batch], on a device: the next images of a part of n, when `position` images have been shown.

    They are the positions onwards in the concatenation of one permutation an epoch, each drawn from (seed, "data",
    epoch): every image once an epoch, batches may straddle two, and nothing but the position is state.
    Raises DataError when the batch is larger than the part.
    """
    if batch > n:
        raise DataError(f"train.batch={batch} is more than the {n} images in the part it is drawn from")
    epoch, offset = divmod(position, n)
    head = _permutation(n, seed, epoch, device)[offset : offset + batch]
    if len(head) == batch:
        return head.clone()  # the cached permutation stays the epoch's
    return torch.cat([head, _permutation(n, seed, epoch + 1, device)[: batch - len(head)]])


@lru_cache(maxsize=4)
def _permutation(n: int, seed: int, epoch: int, device: torch.device | str) -> Tensor:
    return draws.permutation(n, seed, "data", epoch).to(device)


def to_float(images: Tensor) -> Tensor:
    """Map uint8 [...] to float32 in [-1, 1]: x / 127.5 - 1."""
    return images.to(torch.float32).div(127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Map float [...] to uint8 as scores see it: round((x + 1) * 127.5), ties to even, clamped to 0..255.

    Raises FloatingPointError, counting the images, when a value is NaN or infinite: a diverged G is not a grey one.
    """
    finite = torch.isfinite(images)
    if not finite.all():
        bad = int((~finite).flatten(1).any(1).sum()) if images.dim() > 1 else int((~finite).sum())
        raise FloatingPointError(f"{bad} of {len(images)} images hold NaN or infinite values")
    return images.to(torch.float32).add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
