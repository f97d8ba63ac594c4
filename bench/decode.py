"""Files to square uint8 images: readers of the named sets, and what is done to any one picture.

Nothing is unpickled: IDX files and CIFAR-10's binary records are plain bytes, and CIFAR-10's Python batches are
taken apart opcode by opcode, without running them, after their checksum has been verified.
"""

from __future__ import annotations

import gzip
import hashlib
import pickletools
import struct
import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from bench import datasets, folders
from bench.datasets import DataError
from bench.setting import Data

FILTERS = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
WHITE = (255, 255, 255, 255)
ORIENTATION = 0x0112
TURNS = {  # EXIF orientation to what undoes it
    2: (Image.Transpose.FLIP_LEFT_RIGHT,),
    3: (Image.Transpose.ROTATE_180,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.TRANSPOSE,),
    6: (Image.Transpose.ROTATE_270,),
    7: (Image.Transpose.TRANSVERSE,),
    8: (Image.Transpose.ROTATE_90,),
}


@dataclass(frozen=True)
class Pictures:
    """A set before decoding, in the order of its files."""

    names: Sequence[str]
    labels: Sequence[int]
    parts: Sequence[str]
    """"train", "held_out" or "test", for each picture."""
    classes: tuple[str, ...]
    read: Callable[[int], Image.Image]
    """Picture at an index; raises whatever its file makes a reader raise."""
    read_input: Callable[[int], Image.Image] | None = None
    """The input image of that picture, where it has a file of its own (`pairs: folders`)."""


def pictures(data: Data, root: Path) -> Pictures:
    """Open a set whose files are there.

    Raises DataError when a file is not what was published (naming the checksum expected) or cannot be read.
    """
    try:
        if data.name == "folder":
            return _folder(data)
        if data.name == "faces":
            return _faces(data.non_faces)
        if data.name == "digits":
            return _digits()
        if data.name in datasets.IDX:
            return _idx(data.name, root)
        if data.name in datasets.STACKED:
            return _stacked(data, root)
        if data.name == "cifar10":
            return _cifar10(root)
        return _celeba(root)
    except OSError as error:
        raise DataError(f"{data.name}: {error}") from error


# ---------------------------------------------------------------------------------------------------------
# One picture.


def square(picture: Image.Image, size: int, channels: int, resize_filter: str) -> np.ndarray:
    """Bring a picture to uint8 [channels, size, size].

    The shorter side is resized to `size` by Pillow's antialiased filter and the centre is cropped (an odd pixel
    goes to the right or bottom); a picture whose shorter side is `size` already is cropped only.  Turned upright
    as its EXIF orientation says.  Transparency is laid on white; 16-bit values are divided by 257; grey becomes RGB
    by repetition, RGB becomes grey by ITU-R 601 luma.
    Raises ValueError for pixels without an agreed white point (32-bit integers, floats outside [0, 1]).
    """
    turns = TURNS.get(picture.getexif().get(ORIENTATION, 1), ())
    picture = to_mode(picture, "L" if channels == 1 else "RGB")
    for turn in turns:
        picture = picture.transpose(turn)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    if side == size:
        return _planes(picture.crop(box))
    # Resizing only the centre's box equals resizing all and cropping: the filter still sees beyond the box.
    return _planes(picture.resize((size, size), FILTERS[resize_filter], box=box))


def _planes(picture: Image.Image) -> np.ndarray:
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def to_mode(picture: Image.Image, mode: str) -> Image.Image:
    """Convert a picture of any mode to 8-bit "L" or "RGB"."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG"):
        picture = Image.fromarray(_eight_bit(np.asarray(picture), 65535))
    elif picture.mode == "F":
        picture = Image.fromarray(_eight_bit(np.asarray(picture), 1.0))
    elif picture.mode == "I":
        raise ValueError("32-bit integer pixels have no agreed white point; convert to 8 or 16 bits")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, WHITE), picture).convert("RGB")
    return picture.convert(mode)


def _eight_bit(pixels: np.ndarray, white: float) -> np.ndarray:
    if not (pixels.min() >= 0 and pixels.max() <= white):  # not: NaN must fail too
        raise ValueError(f"pixels from {pixels.min()} to {pixels.max()}, expected 0 to {white:g}")
    return np.rint(pixels * (255 / white)).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------------
# Sets.


def _folder(data: Data) -> Pictures:
    held = folders.of_set(data)
    found, parts = held.images, datasets.folder_parts(held)
    read_input = _in_order(_file_reader(held.inputs), held.partners) if held.inputs is not None else None
    return Pictures(found.names, found.labels, parts, found.classes, _file_reader(found), read_input)


def _in_order(read: Callable[[int], Image.Image], order: Sequence[int]) -> Callable[[int], Image.Image]:
    return lambda index: read(order[index])


def _file_reader(found: folders.Listing) -> Callable[[int], Image.Image]:
    read = folders.reader(found)

    def picture(index: int) -> Image.Image:
        content = read(index)
        try:
            opened = Image.open(BytesIO(content))
        except UnidentifiedImageError:
            raise ValueError(f"no image format that Pillow knows ({len(content)} bytes)") from None
        opened.load()
        return opened

    return picture


def _arrays(pixels: np.ndarray, labels: Sequence[int], parts: list[str], classes: tuple[str, ...]) -> Pictures:
    """Pixels: uint8 [N, H, W] or [N, H, W, 3]."""
    names = [f"image {i}" for i in range(len(pixels))]
    return Pictures(names, labels, parts, classes, lambda i: Image.fromarray(pixels[i]))


def _faces(non_faces: bool) -> Pictures:
    from skimage.data import lfw_subset

    pixels = np.rint(lfw_subset() * 255).astype(np.uint8)
    _expect("scikit-image's lfw_subset", datasets.FACES_SHA256, hashlib.sha256(pixels.tobytes()))
    labels = [0] * 100 + [1] * 100
    if not non_faces:
        pixels, labels = pixels[:100], labels[:100]
    parts = datasets.split(labels, datasets.shares(len(labels)))
    return _arrays(pixels, labels, parts, ("face", "non_face") if non_faces else ())


def _digits() -> Pictures:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
    got = hashlib.sha256(pixels.tobytes() + labels.tobytes())
    _expect("scikit-learn's digits", datasets.DIGITS_SHA256, got)
    parts = datasets.split(labels.tolist(), datasets.shares(len(labels)))
    return _arrays(_eight_bit(pixels, 16), labels.tolist(), parts, datasets.DIGIT_NAMES)


def _idx(name: str, root: Path) -> Pictures:
    halves = datasets.idx_halves(name, root)
    md5 = datasets.IDX[name].md5
    pixels, labels = [], []
    for images, classes in halves.values():
        pixels.append(read_idx(images, md5[images.name.removesuffix(".gz")], 3))
        labels.append(read_idx(classes, md5[classes.name.removesuffix(".gz")], 1))
    sizes = datasets.idx_parts(tuple(halves))
    flat = np.concatenate(labels).tolist()
    if len(halves) == 1:
        parts = datasets.split(flat, sizes)
    else:
        train = len(labels[0])
        parts = datasets.split(flat[:train], {**sizes, "test": 0}) + ["test"] * (len(flat) - train)
    return _arrays(np.concatenate(pixels), flat, parts, datasets.IDX[name].classes)


def read_idx(path: Path, md5: str, dimensions: int) -> np.ndarray:
    """Read an IDX file of bytes, plain or gzipped, as uint8 with that many dimensions.

    Raises DataError when the MD5 of the uncompressed content is another, or the file is torn.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); put a whole copy there") from error
    _expect(str(path), md5, hashlib.md5(content, usedforsecurity=False))
    header = 4 + 4 * dimensions
    zeros, kind, axes, *shape = struct.unpack(f">HBB{dimensions}I", content[:header])
    if (zeros, kind, axes) != (0, 8, dimensions):
        raise DataError(f"{path}: not an IDX file of bytes with {dimensions} dimensions")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _stacked(data: Data, root: Path) -> Pictures:
    """Stack three pictures of one part of the base set, each drawn by the SHA-256 of its place, as R, G and B."""
    base = pictures(datasets.base_set(data), root)
    members = {part: [i for i, one in enumerate(base.parts) if one == part] for part in datasets.PARTS}
    drawn: list[tuple[int, ...]] = []
    parts: list[str] = []
    for part, count in datasets.STACKED_PARTS.items():
        pool = members[part]
        for index in range(count):
            mark = hashlib.sha256(f"{datasets.SPLIT_SEED}:stacked:{part}:{index}".encode()).digest()
            words = (int.from_bytes(mark[start : start + 8], "big") for start in (0, 8, 16))
            drawn.append(tuple(pool[word % len(pool)] for word in words))
            parts.append(part)
    labels = [sum(base.labels[i] * 10**place for place, i in enumerate(three)) for three in drawn]
    names = [f"image {'+'.join(map(str, three))}" for three in drawn]

    def read(index: int) -> Image.Image:
        return Image.merge("RGB", [base.read(i).convert("L") for i in drawn[index]])

    return Pictures(names, labels, parts, datasets.STACKED_CLASSES, read)


def _cifar10(root: Path) -> Pictures:
    place = datasets.cifar10_files(root)
    if place is None:
        raise DataError(f"cifar10 vanished from {root} while it was being read")
    pixels, labels = read_cifar_batches(place) if place.is_dir() else read_cifar_archive(place)
    train = len(labels) * 5 // 6
    parts = datasets.split(labels[:train], {**datasets.official(train), "test": 0})
    pixels = np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return _arrays(pixels, labels, parts + ["test"] * (len(labels) - train), datasets.CIFAR10_CLASSES)


def read_cifar_archive(path: Path) -> tuple[np.ndarray, list[int]]:
    """Read cifar-10-binary.tar.gz, unextracted: (uint8 [N, 3072], labels), five training files then the test file."""
    _expect(str(path), datasets.CIFAR10_MD5, _md5(path))
    batches = []
    with tarfile.open(path) as archive:
        for batch in datasets.CIFAR10_BATCHES:
            member = archive.extractfile(f"cifar-10-batches-bin/{batch}.bin")
            if member is None:
                raise DataError(f"{path}: {batch}.bin is not a file in it")
            batches.append(np.frombuffer(member.read(), np.uint8).reshape(-1, 1 + 3072))
    records = np.concatenate(batches)
    return records[:, 1:], records[:, 0].tolist()


def read_cifar_batches(folder: Path) -> tuple[np.ndarray, list[int]]:
    """Read the folder cifar-10-batches-py: the same images in the same order as in the binary archive.

    Each file is a pickle of {"data": bytes of an array, "labels": small integers, ...}.  Its opcodes are read, never
    run: the longest string is the pixels; one-byte integers between the key "labels" and the next key are labels.
    """
    pixels: list[np.ndarray] = []
    labels: list[int] = []
    for batch, md5 in datasets.CIFAR10_BATCHES.items():
        content = (folder / batch).read_bytes()
        _expect(str(folder / batch), md5, hashlib.md5(content, usedforsecurity=False))
        key, longest = "", ""
        for opcode, argument, _ in pickletools.genops(content):
            if isinstance(argument, str):
                longest = max(longest, argument, key=len)
                key = argument if argument in ("data", "labels", "batch_label", "filenames") else key
            elif isinstance(argument, int) and opcode.name == "BININT1" and key == "labels":
                labels.append(argument)
        pixels.append(np.frombuffer(longest.encode("latin-1"), np.uint8).reshape(-1, 3072))
    return np.concatenate(pixels), labels


def _celeba(root: Path) -> Pictures:
    files = datasets.celeba_files(root)
    if files is None:
        raise DataError(f"celeba vanished from {root} while it was being read")
    images, partition = files
    for path in (images, partition):
        if path.is_file():
            _expect(str(path), datasets.CELEBA_MD5[path.name], _md5(path))
    part_of = dict(line.split() for line in partition.read_text().splitlines() if line.strip())
    found = folders.listing(images)
    if set(found.names) != set(part_of):
        raise DataError(
            f"{images}: {len(set(part_of) - set(found.names))} of CelebA's {len(part_of)} images are missing and "
            f"{len(set(found.names) - set(part_of))} others are there; put img_align_celeba.zip there instead"
        )
    parts = [datasets.PARTS[int(part_of[name])] for name in found.names]
    return Pictures(found.names, found.labels, parts, (), _file_reader(found))


def _md5(path: Path) -> hashlib._Hash:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))


def _expect(what: str, expected: str, got: hashlib._Hash) -> None:
    if got.hexdigest() != expected:
        raise DataError(
            f"{what}: not the published content ({got.name} is {got.hexdigest()}, expected {expected}); "
            "replace it, or show images of your own as `name: folder`"
        )
