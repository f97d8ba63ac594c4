"""What each data set is: its channels, classes and parts, where its files may lie, and its fingerprint.

Parts.  Official splits are kept: the official test set is `test`, and a tenth of the official training set,
drawn by `split`, is `held_out`.  CelebA has all three.  Sets without an official split, folders, and MNIST or
Fashion-MNIST of which only one half is there, are split by `split` into 80 % train, 10 % held out, 10 % test.
Pairs in folders may bring their split: sub-folders train, val and test, or train and one of these.
Stacked sets stack three digits of one part of their base set, so that their parts share no digit.

This module imports neither torch nor numpy: a plan asks it.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench import folders
from bench.folders import DataError
from bench.setting import Data, digest

PARTS = ("train", "held_out", "test")
SPLIT_SEED = 20200
"""Seed of every split made here.  It is part of what a run computes: changing it changes all numbers."""

FACES_SHA256 = "4621670220ef7f4ca9261a20601e1aaa9d7d4275b6535ce42cd1abed1b185953"
"""Of scikit-image's 200 LFW crops (100 faces, then 100 others) as uint8."""
DIGITS_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
"""Of scikit-learn's 1,797 digits (0 to 16, as uint8), then their labels."""

DIGIT_NAMES = tuple("0123456789")


@dataclass(frozen=True)
class Idx:
    """A set in MNIST's IDX files."""

    torchvision: str
    """Class in torchvision.datasets that downloads it."""
    places: tuple[str, ...]
    """Folders below the root where the files may lie."""
    md5: dict[str, str]
    """File name to the MD5 of its uncompressed content."""
    classes: tuple[str, ...]
    download_mb: float


IDX = {
    "mnist": Idx(
        torchvision="MNIST",
        places=("MNIST/raw", "MNIST", "mnist", "."),
        md5={
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        },
        classes=DIGIT_NAMES,
        download_mb=11.6,
    ),
    # Its files have MNIST's names, so the root itself is MNIST's alone.
    "fashion_mnist": Idx(
        torchvision="FashionMNIST",
        places=("FashionMNIST/raw", "FashionMNIST", "fashion_mnist"),
        md5={
            "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
        },
        classes=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        download_mb=30.9,
    ),
}
IDX_COUNTS = {"train": 60_000, "t10k": 10_000}

STACKED: dict[str, Literal["mnist", "digits"]] = {"stacked_mnist": "mnist", "stacked_digits": "digits"}
"""Sets of 1000 modes (Metz et al. 2017): one digit of the base set in each of the channels R, G, B."""
STACKED_PARTS = {"train": 25_600, "held_out": 2_560, "test": 2_560}
"""Images of a stacked set: 25,600 is what Metz et al. sample to count modes; each mode is there some 26 times."""
STACKED_CLASSES = tuple(f"{mode:03}" for mode in range(1000))
"""Mode d0 + 10 d1 + 100 d2 has digit d0 in R, d1 in G, d2 in B; so `321` is a 1 in red, a 2 in green, a 3 in blue."""

CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
"""Of the binary archive; published by the set's authors."""
CIFAR10_PYTHON = "cifar-10-batches-py"
CIFAR10_BATCHES = {  # as torchvision checks them
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)

CELEBA_MD5 = {
    "img_align_celeba.zip": "00d2c5bc6d35e252742224ab0c1e8fcb",
    "list_eval_partition.txt": "d32c9cbf5e040fd4025c592c306e6668",
}
CELEBA_PARTS = {"train": 162_770, "held_out": 19_867, "test": 19_962}


@dataclass(frozen=True)
class Source:
    """A data set as a plan needs it."""

    name: str
    channels: int
    """1 or 3: what `data.channels` says, else as the set has it."""
    classes: tuple[str, ...]
    """() where there are no labels."""
    parts: dict[str, int]
    """Images in train, held_out and test, should all be readable."""
    download_mb: float
    """What must be fetched first, in MB; 0 when nothing."""
    where: str
    """Where files may be put."""
    present: bool


def data_root() -> Path:
    """Where downloaded sets lie: $BENCH_DATA, else ./data."""
    return Path(os.environ.get("BENCH_DATA", "data")).resolve()


def describe(data: Data, root: Path) -> Source:
    """Say what a set is, from names of files alone (a folder's images are counted, few are opened).

    Raises DataError for a folder that is missing, empty or not one, and for settings that do not fit the set.
    """
    _check(data)
    if data.name == "folder":
        held = folders.of_set(data)
        native, classes = 3, held.images.classes
        parts = shares(len(held.images.files)) if held.said is None else dict(Counter(folder_parts(held)))
        if data.channels is None:
            native = max(folders.channels(found) for found in held.listings)
        mb, where, present = 0.0, str(held.images.place), True
    elif data.name == "faces":
        native, classes = 1, ("face", "non_face") if data.non_faces else ()
        parts, mb, where, present = shares(200 if data.non_faces else 100), 0.0, "inside scikit-image", True
    elif data.name == "digits":
        native, classes, parts = 1, DIGIT_NAMES, shares(1797)
        mb, where, present = 0.0, "inside scikit-learn", True
    elif data.name in IDX:
        idx = IDX[data.name]
        halves = idx_halves(data.name, root)
        parts = idx_parts(tuple(halves))
        native, classes, mb, present = 1, idx.classes, 0.0 if halves else idx.download_mb, bool(halves)
        where = f"{', '.join(f'{file}.gz' for file in idx.md5)} (or unpacked) in {_either(root, idx.places)}"
    elif data.name in STACKED:
        below = describe(base_set(data), root)
        native, classes, parts = 3, STACKED_CLASSES, dict(STACKED_PARTS)
        mb, where, present = below.download_mb, below.where, below.present
    elif data.name == "cifar10":
        native, classes, present = 3, CIFAR10_CLASSES, cifar10_files(root) is not None
        parts = {**official(50_000), "test": 10_000}
        mb = 0.0 if present else 170.1
        where = f"{CIFAR10_ARCHIVE} (or the folder {CIFAR10_PYTHON}) in {_either(root, CIFAR10_PLACES)}"
    else:
        native, classes, present = 3, (), celeba_files(root) is not None
        parts, mb = dict(CELEBA_PARTS), 0.0 if present else 1446.3
        where = f"{' and '.join(CELEBA_MD5)} (or the folder img_align_celeba) in {root / 'celeba'}"
    if data.subset:
        parts = {**parts, "train": _few(data.subset, parts["train"], data.name)}
    if data.pairs == "grayscale" and (data.channels or native) == 1:
        raise DataError(f"pairs: grayscale of grey images ({data.name}): the input would be the target")
    return Source(data.name, data.channels or native, classes, parts, mb, where, present)


def fingerprint(data: Data, root: Path, cache: Path) -> str:
    """Return 16 hex digits for the content: published checksums and which files are there, or a content hash.

    Nothing of a named set is read: files that differ from what was published are refused when they are loaded.
    A set that is absent has the fingerprint it will have once downloaded.  A folder is hashed image by image,
    which is remembered in `cache`; its path and the way it is packed do not enter.
    Raises DataError as `describe` does.
    """
    _check(data)
    marks: list[str]
    if data.name == "folder":
        marks = [folders.content(found, cache) for found in folders.of_set(data).listings]
    elif data.name == "faces":
        marks = [FACES_SHA256, "faces and others" if data.non_faces else "faces"]
    elif data.name == "digits":
        marks = [DIGITS_SHA256]
    elif data.name in IDX:
        halves = tuple(idx_halves(data.name, root)) or tuple(IDX_COUNTS)
        marks = [md5 for file, md5 in IDX[data.name].md5.items() if file.startswith(halves)]
    elif data.name in STACKED:
        marks = [fingerprint(base_set(data), root, cache), repr(STACKED_PARTS)]
    elif data.name == "cifar10":
        marks = [CIFAR10_MD5]
    else:
        marks = list(CELEBA_MD5.values())
    return digest([data.name, *marks])


def check_batch(source: Source, batch: int, part: str = "train") -> None:
    """Raise DataError when a batch is larger than the part it is drawn from."""
    if batch > source.parts[part]:
        raise DataError(
            f"train.batch={batch} is more than the {source.parts[part]} images in the {part} part of "
            f"{source.name}; set train.batch to {source.parts[part]} or less"
        )


def _check(data: Data) -> None:
    if data.name == "folder" and data.folder is None:
        raise DataError("data.name is `folder`: say data.folder, the path of a folder or zip of images")
    if data.name != "folder" and data.folder is not None:
        raise DataError(f"data.folder is read only with `name: folder`, and data.name is `{data.name}`")
    if data.name != "faces" and data.non_faces:
        raise DataError(f"data.non_faces is for `faces` only, and data.name is `{data.name}`")
    if data.name in STACKED and data.channels == 1:
        raise DataError(f"data.channels: {data.name} has one digit in each of three channels, so it is 3 or unset")
    if data.pairs in ("ab", "folders") and data.name != "folder":
        raise DataError(f"data.pairs: {data.pairs} is for `name: folder`, and data.name is `{data.name}`")
    if (data.pairs == "folders") != (data.input_folder is not None):
        raise DataError(
            "data.input_folder, the folder of input images, goes with `pairs: folders`: say both or neither"
        )
    if data.pairs == "downscale" and data.size % 4:
        raise DataError(f"data.pairs: downscale takes means of 4 x 4 pixels, which do not divide {data.size} px")
    if data.direction != "a_to_b" and data.pairs != "ab":
        raise DataError(f"data.direction is read only with `pairs: ab`, and data.pairs is `{data.pairs}`")


def base_set(data: Data) -> Data:
    """Return the grey digits that a stacked set is made of, at the same size and by the same filter."""
    unlike = {"name": STACKED[data.name], "channels": 1, "subset": None, "fingerprint": ""}
    return data.model_copy(update=unlike)


def _few(subset: int, n: int, name: str) -> int:
    if subset > n:
        raise DataError(f"data.subset={subset} is more than the {n} images in the train part of {name}")
    return subset


def _either(root: Path, places: Sequence[str]) -> str:
    return " or ".join(str(root / place) for place in places)


# ---------------------------------------------------------------------------------------------------------
# Files.


def idx_halves(name: str, root: Path) -> dict[str, tuple[Path, Path]]:
    """Find the halves ("train", "t10k") of an IDX set: images and labels, each plain or `.gz`, in one folder."""
    found = {}
    for half in IDX_COUNTS:
        for place in IDX[name].places:
            pair = [_plain_or_gz(root / place / f"{half}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
            if pair[0] and pair[1]:
                found[half] = (pair[0], pair[1])
                break
    return found


def _plain_or_gz(path: Path) -> Path | None:
    packed = path.with_name(path.name + ".gz")
    return packed if packed.is_file() else path if path.is_file() else None


CIFAR10_PLACES = (".", "cifar10", "CIFAR10")


def cifar10_files(root: Path) -> Path | None:
    """Find CIFAR-10: the binary archive, or the folder of all six Python batches."""
    for place in CIFAR10_PLACES:
        archive, batches = root / place / CIFAR10_ARCHIVE, root / place / CIFAR10_PYTHON
        if archive.is_file():
            return archive
        if all((batches / batch).is_file() for batch in CIFAR10_BATCHES):
            return batches
    return None


def celeba_files(root: Path) -> tuple[Path, Path] | None:
    """Find CelebA as torchvision lays it out: (folder or zip of aligned images, partition file)."""
    place = root / "celeba"
    partition = place / "list_eval_partition.txt"
    for images in (place / "img_align_celeba", place / "img_align_celeba.zip"):
        if images.exists() and partition.is_file():
            return images, partition
    return None


# ---------------------------------------------------------------------------------------------------------
# Parts.


def shares(n: int) -> dict[str, int]:
    """Sizes of the parts of n images without an official split: a tenth, rounded down, held out, as many for test.

    From three images on, each part has at least one.
    """
    tenth = max(1, n // 10) if n >= 3 else 0
    return {"train": n - 2 * tenth, "held_out": tenth, "test": tenth}


def official(n: int) -> dict[str, int]:
    """Sizes of the two parts of an official training set of n images: a tenth of it is held out."""
    return {"train": n - n // 10, "held_out": n // 10}


def idx_parts(halves: Sequence[str]) -> dict[str, int]:
    """Sizes of the parts of an IDX set when these halves are there (none: both are to be downloaded)."""
    if len(halves) == 1:
        return shares(IDX_COUNTS[halves[0]])
    return {**official(IDX_COUNTS["train"]), "test": IDX_COUNTS["t10k"]}


def folder_parts(held: folders.FolderSet) -> list[str]:
    """Say which part each image of a folder is in: by its sub-folder, where these are parts, else by `split`.

    Of two, train and another, a tenth of train is held out, and the other is test, as pix2pix's sets use `val`.
    """
    if held.said is None:
        return split(held.images.labels, shares(len(held.images.files)))
    if set(held.said) == {"train", "val", "test"}:
        return ["held_out" if said == "val" else said for said in held.said]
    train = held.said.count("train")
    drawn = iter(split([0] * train, {**official(train), "test": 0}))
    return [next(drawn) if said == "train" else "test" for said in held.said]


def split(labels: Sequence[int], sizes: dict[str, int]) -> list[str]:
    """Say for each image which part it is in, by a fixed permutation that keeps the classes' shares.

    Within each class images are ranked by the SHA-256 of (seed, class, position in class), so neither a library's
    generator nor another class moves them.  Then all are ordered by (rank + 1/2) / class size: `test` takes the
    first, `held_out` the next, `train` the rest.
    `sizes` is from part to count; they add up to the number of labels.
    """
    order = ranking(labels)
    parts = ["train"] * len(labels)
    start = 0
    for part in ("test", "held_out"):
        stop = start + sizes.get(part, 0)
        for index in order[start:stop]:
            parts[index] = part
        start = stop
    return parts


def ranking(labels: Sequence[int]) -> list[int]:
    """Order images, by their positions, so that the first n are a fixed draw with the classes' shares; see `split`."""
    members: dict[int, list[tuple[str, int]]] = {}
    for index, label in enumerate(labels):
        ranks = members.setdefault(label, [])
        mark = hashlib.sha256(f"{SPLIT_SEED}:{label}:{len(ranks)}".encode()).hexdigest()
        ranks.append((mark, index))
    order = sorted(
        ((2 * rank + 1) / (2 * len(ranks)), mark, index)
        for ranks in members.values()
        for rank, (mark, index) in enumerate(sorted(ranks))
    )
    return [index for _, _, index in order]
