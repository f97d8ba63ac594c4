"""A folder or a zip of images: what is in it, how it is labelled, and the hash of its content.

Nothing is extracted from a zip.  Imports neither torch nor numpy: plans read this.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from uuid import uuid4

from bench.setting import Data, digest

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
PEEKED = 64
"""How many images' headers tell whether a folder is grey."""

LARGEST = 2**28
"""Bytes of an image's file, unpacked from a zip."""


class DataError(Exception):
    """The data cannot be had or does not fit.  The message names the place and the remedy."""


@dataclass(frozen=True)
class Listing:
    """The images of a folder or zip, sorted by name, whatever order the file system lists them in."""

    place: Path
    files: tuple[str, ...]
    """Where each image lies below `place` (or in the zip), with forward slashes."""
    names: tuple[str, ...]
    """The same without the folders that all images share: a wrapped zip equals its content."""
    labels: tuple[int, ...]
    """Index into `classes`; 0 where there are none."""
    classes: tuple[str, ...]
    """First-level sub-folders, sorted; () unless every image lies in one and there are two or more."""


def listing(place: Path, knob: str = "data.folder") -> Listing:
    """List the images below a folder (links followed, loops not) or in a zip; `knob` said where.

    Files are taken by suffix; names that start with a dot, and `__MACOSX`, are passed over.
    Raises DataError when the path is missing, is neither folder nor zip, or holds no image.
    """
    if place.is_dir():
        files = sorted(_walk(place, "", ()))
    elif not place.exists():
        raise DataError(f"{place}: no such folder or zip of images ({knob})")
    elif place.is_file() and zipfile.is_zipfile(place):
        files = sorted(name for name in set(_open_zip(place).namelist()) if _is_image(name))
    else:
        raise DataError(f"{place}: neither a folder nor a zip of images ({knob})")
    if not files:
        raise DataError(f"{place}: no images in it ({', '.join(sorted(SUFFIXES))}); check {knob}")
    names = _without_shared_folders(files)
    tops = [name.split("/", 1)[0] if "/" in name else None for name in names]
    found = {top for top in tops if top is not None}
    if None in tops or len(found) < 2:
        return Listing(place, tuple(files), names, (0,) * len(files), ())
    classes = tuple(sorted(found))
    index = {name: i for i, name in enumerate(classes)}
    return Listing(place, tuple(files), names, tuple(index[top] for top in tops if top is not None), classes)


PARTS_SAID = frozenset({"train", "val", "test"})
"""Sub-folders that pix2pix's sets have for parts."""


@dataclass(frozen=True)
class FolderSet:
    """What `data: {name: folder, ...}` names."""

    images: Listing
    """Targets, where there are pairs."""
    inputs: Listing | None
    """Of `pairs: folders`."""
    partners: tuple[int, ...]
    """Index into `inputs` of each image's input."""
    said: tuple[str, ...] | None
    """The part of each image, as its sub-folder says: train, val, test; None where they say none."""

    @property
    def listings(self) -> tuple[Listing, ...]:
        """Images, then inputs."""
        return (self.images,) if self.inputs is None else (self.images, self.inputs)


def of_set(data: Data) -> FolderSet:
    """List the images of a set.

    Where pairs come in folders (`ab`, `folders`), the sub-folders train, val and test, or train and one of the others,
    are parts, not labels.  Raises DataError as `listing` and `partners` do.
    """
    images = listing(Path(data.folder or "").expanduser())
    inputs: Listing | None = None
    found: tuple[int, ...] = ()
    if data.pairs == "folders":
        inputs = listing(Path(data.input_folder or "").expanduser(), "data.input_folder")
        found = partners(images, inputs)
    if (
        data.pairs not in ("ab", "folders")
        or "train" not in images.classes
        or not PARTS_SAID.issuperset(images.classes)
    ):
        return FolderSet(images, inputs, found, None)
    said = tuple(images.classes[label] for label in images.labels)
    return FolderSet(replace(images, labels=(0,) * len(said), classes=()), inputs, found, said)


def partners(found: Listing, inputs: Listing) -> tuple[int, ...]:
    """Find the input image of each image: the one in `inputs` that has its name, suffix aside.

    Raises DataError that names files without a partner, or with two.
    """
    ours, theirs = _by_stem(found), _by_stem(inputs)
    for having, lacking, place in ((ours, theirs, inputs.place), (theirs, ours, found.place)):
        if alone := sorted(set(having) - set(lacking)):
            raise DataError(f"{place}: pairs go by name, suffix aside, and it has no {_some(alone)}")
    return tuple(theirs[stem] for stem in ours)


def _by_stem(found: Listing) -> dict[str, int]:
    stems = [os.path.splitext(name)[0] for name in found.names]
    if twice := sorted(stem for stem, count in Counter(stems).items() if count > 1):
        raise DataError(f"{found.place}: pairs go by name, suffix aside, and it has twice {_some(twice)}")
    return {stem: index for index, stem in enumerate(stems)}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _is_image(name: str) -> bool:
    hidden = name.startswith((".", "__MACOSX/")) or "/." in name or "/__MACOSX/" in name
    return not hidden and os.path.splitext(name)[1].lower() in SUFFIXES


def _walk(place: Path, below: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    try:
        status = os.stat(place / below)
        entries = list(os.scandir(place / below))
    except OSError as error:
        raise DataError(f"{place / below}: cannot be listed: {error.strerror}") from error
    here = (status.st_dev, status.st_ino)
    if here in above:  # a link back to a folder we are inside of
        return
    for entry in entries:
        name = below + entry.name
        if entry.is_dir():
            if not entry.name.startswith(".") and entry.name != "__MACOSX":
                yield from _walk(place, name + "/", (*above, here))
        elif _is_image(name) and (entry.is_file() or entry.is_symlink()):
            yield name  # a dangling link is listed: it will be named among the unreadable


def _without_shared_folders(files: list[str]) -> tuple[str, ...]:
    while True:
        top, slash, _ = files[0].partition("/")
        if not slash or not all(name.startswith(top + slash) for name in files):
            return tuple(files)
        files = [name[len(top) + 1 :] for name in files]


def _open_zip(place: Path) -> zipfile.ZipFile:
    try:
        status = place.stat()
        return _kept_open(place, status.st_size, status.st_mtime_ns)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{place}: cannot be read as a zip: {error}") from error


@lru_cache(maxsize=2)
def _kept_open(place: Path, size: int, mtime_ns: int) -> zipfile.ZipFile:
    """A plan opens a zip three times, and the directory of 50,000 files takes 0.3 s to read."""
    return zipfile.ZipFile(place)


def reader(found: Listing) -> Callable[[int], bytes]:
    """Return a function from an image's index to its file's bytes; it is safe in threads.

    The function raises what the file system or `zipfile` raises.
    """
    if found.place.is_dir():
        return partial(_read_file, found)
    return partial(_read_member, found, _open_zip(found.place))


def _read_file(found: Listing, index: int) -> bytes:
    return (found.place / found.files[index]).read_bytes()


def _read_member(found: Listing, archive: zipfile.ZipFile, index: int) -> bytes:
    member = archive.getinfo(found.files[index])
    if member.file_size > LARGEST:  # a few packed kilobytes can be gigabytes of zeros
        raise OSError(f"too large: {member.file_size:,} bytes")
    return archive.read(member)


def channels(found: Listing) -> int:
    """Return 1 when the headers of up to 64 images, evenly spaced in the listing, are all grey; else 3.

    Unreadable ones do not vote; a set of which none can be read counts as RGB.
    """
    from io import BytesIO

    from PIL import Image

    read = reader(found)
    step = -(-len(found.files) // PEEKED)
    grey = []
    for index in range(0, len(found.files), step):
        try:
            with Image.open(BytesIO(read(index))) as image:
                grey.append(image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I"))
        except Exception:
            # Pillow's readers raise many kinds; the file will be named among the unreadable when it is decoded.
            continue
    return 1 if grey and all(grey) else 3


def content(found: Listing, cache: Path) -> str:
    """Hash the names and bytes of all images: equal for a folder, its copy elsewhere and its zip.

    The answer is kept in `cache` beside (path, size, mtime) of each file, so that asking again reads no image.
    A file that cannot be read counts as such.  Nothing is raised when `cache` cannot be written.
    """
    stamp = _stamp(found)
    kept = cache / "folders" / f"{digest(os.path.abspath(found.place))}.json"
    try:
        known = json.loads(kept.read_bytes())
        if known["stamp"] == stamp and isinstance(known["content"], str):
            return known["content"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # absent or torn: hash anew
    read = reader(found)
    whole = hashlib.sha256()
    for index, name in enumerate(found.names):
        try:
            inside = hashlib.sha256(read(index)).hexdigest()
        except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError):
            inside = "unreadable"
        whole.update(json.dumps([name, inside]).encode())
    answer = whole.hexdigest()
    try:
        publish(kept, json.dumps({"stamp": stamp, "content": answer}).encode())
    except OSError as error:
        log.warning("%s: cannot keep the folder's hash (%s); it is computed again each time", kept, error)
    return answer


def _stamp(found: Listing) -> str:
    if not found.place.is_dir():
        status = found.place.stat()
        return digest([status.st_size, status.st_mtime_ns])
    rows = hashlib.sha256()
    for name in found.files:
        try:
            status = os.stat(f"{found.place}/{name}")
            row = f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n"
        except OSError:
            row = f"{name}\0unreadable\n"
        rows.update(row.encode(errors="surrogateescape"))
    return rows.hexdigest()


def publish(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; the last of several writers wins.  Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
