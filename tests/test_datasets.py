"""What sets are, where their files lie, how they are listed, split and fingerprinted: all without torch."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from bench import datasets, folders
from bench.datasets import DataError, check_batch, describe, fingerprint, shares, split
from bench.setting import Data


def picture(path: Path, colour: int = 0, mode: str = "L", size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


def folder(path: Path) -> Data:
    return Data(name="folder", folder=str(path))


def pack(place: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(place.rglob("*"), reverse=True):
            archive.write(file, prefix + str(file.relative_to(place)))
    return target


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for i in range(4):
        picture(tmp_path / "pets/cat" / f"{i}.png", i)
        picture(tmp_path / "pets/dog/deep" / f"{i}.JPG", 100 + i)
    (tmp_path / "pets/notes.txt").write_text("not an image")
    picture(tmp_path / "pets/.hidden/x.png")
    picture(tmp_path / "pets/cat/._0.png")
    return tmp_path / "pets"


def test_planning_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from pathlib import Path; from bench import datasets; from bench.setting import Data\n"
        "for name in ('faces', 'digits', 'mnist', 'fashion_mnist', 'cifar10', 'celeba'):\n"
        "    datasets.describe(Data(name=name), Path('absent'))\n"
        "    datasets.fingerprint(Data(name=name), Path('absent'), Path('absent'))\n"
        "assert not {'torch', 'numpy', 'PIL', 'torchvision'} & set(sys.modules), sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --------------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize("n", [1, 2, 3, 9, 10, 11, 19, 20, 100, 1797, 10_000])
def test_shares_add_up_and_leave_no_part_empty_from_three_images_on(n: int) -> None:
    sizes = shares(n)
    assert sum(sizes.values()) == n
    assert sizes["train"] >= max(sizes["held_out"], sizes["test"])
    assert (min(sizes.values()) > 0) == (n >= 3)


@pytest.mark.parametrize(
    "counts", [{0: 100}, {0: 100, 1: 100}, {0: 178, 1: 182, 2: 177}, {0: 500, 1: 30, 2: 7}, {3: 2}, {0: 1, 1: 1, 2: 1}]
)
def test_split_is_a_partition_of_the_sizes_asked_that_keeps_class_shares(counts: dict[int, int]) -> None:
    labels = [label for label, count in counts.items() for _ in range(count)]
    sizes = shares(len(labels))
    parts = split(labels, sizes)
    assert Counter(parts) == Counter({part: size for part, size in sizes.items() if size})
    for label, count in counts.items():
        # Systematic sampling: within half an image of the class's share for each cut, and the cut itself is off by
        # at most half an image a class.
        slack = 0.5 + len(counts) / 2
        for part in ("held_out", "test"):
            got = sum(p == part and c == label for p, c in zip(parts, labels, strict=True))
            assert abs(got - sizes[part] * count / len(labels)) <= 2 * slack


def test_split_does_not_follow_the_order_of_files() -> None:
    parts = split([0] * 1000, shares(1000))
    where = [i for i, part in enumerate(parts) if part == "test"]
    # The mean of 100 draws without replacement from 0..999 has sd 27; 5 sd around 499.5.
    assert abs(sum(where) / len(where) - 499.5) < 137
    assert len({b - a for a, b in pairwise(where)}) > 5


def test_a_second_class_moves_no_image_of_the_first() -> None:
    alone, both = split([0] * 100, shares(100)), split([0] * 100 + [1] * 100, shares(200))
    assert both[:100] == alone


@pytest.mark.parametrize("name", ["faces", "digits", "mnist", "fashion_mnist", "cifar10", "celeba"])
def test_every_set_declares_three_parts(name: str, tmp_path: Path) -> None:
    source = describe(Data(name=name), tmp_path)  # type: ignore[arg-type]
    assert tuple(source.parts) == datasets.PARTS
    assert min(source.parts.values()) >= 10
    totals = {"faces": 100, "digits": 1797, "cifar10": 60_000, "celeba": 202_599}
    assert sum(source.parts.values()) == totals.get(name, 70_000)
    assert source.present == (name in ("faces", "digits"))
    assert (source.download_mb > 0) == (not source.present)
    assert source.channels == (3 if name in ("cifar10", "celeba") else 1)


def test_settings_of_the_study_override_channels_and_add_the_second_class(tmp_path: Path) -> None:
    assert describe(Data(name="faces", channels=3), tmp_path).channels == 3
    both = describe(Data(name="faces", non_faces=True), tmp_path)
    assert both.classes == ("face", "non_face")
    assert both.parts == {"train": 160, "held_out": 20, "test": 20}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (Data(name="folder"), "data.folder"),
        (Data(name="faces", folder="x"), "name: folder"),
        (Data(name="digits", non_faces=True), "non_faces"),
    ],
)
def test_settings_that_do_not_fit_the_set(data: Data, says: str, tmp_path: Path) -> None:
    for ask in (lambda: describe(data, tmp_path), lambda: fingerprint(data, tmp_path, tmp_path)):
        with pytest.raises(DataError, match=says):
            ask()


def test_batch_larger_than_the_part_is_refused(tmp_path: Path) -> None:
    source = describe(Data(name="faces"), tmp_path)
    check_batch(source, 80)
    check_batch(source, 10, "test")
    with pytest.raises(DataError, match=r"train\.batch=81 .* 80 images"):
        check_batch(source, 81)
    with pytest.raises(DataError, match="test part"):
        check_batch(source, 11, "test")


# ------------------------------------------------------------------------------------------------- folders


def test_a_folder_is_listed_sorted_with_labels_from_first_level_folders(pets: Path) -> None:
    found = folders.listing(pets)
    assert found.names == tuple(sorted(found.names))
    assert found.names[0] == "cat/0.png" and found.names[-1] == "dog/deep/3.JPG" and len(found.names) == 8
    assert found.classes == ("cat", "dog")
    assert found.labels == (0,) * 4 + (1,) * 4
    assert describe(folder(pets), pets).parts == {"train": 6, "held_out": 1, "test": 1}


@pytest.mark.parametrize("prefix", ["", "all/pets/"])
def test_a_zip_is_the_folder_it_packs(pets: Path, tmp_path: Path, prefix: str) -> None:
    packed = pack(pets, tmp_path / "pets.zip", prefix)
    one, other = folders.listing(pets), folders.listing(packed)
    assert (one.names, one.labels, one.classes) == (other.names, other.labels, other.classes)
    read_one, read_other = folders.reader(one), folders.reader(other)
    assert [read_one(i) for i in range(8)] == [read_other(i) for i in range(8)]
    assert fingerprint(folder(pets), tmp_path, tmp_path / "a") == fingerprint(folder(packed), tmp_path, tmp_path / "b")


def test_images_outside_sub_folders_make_a_set_unlabelled(pets: Path) -> None:
    picture(pets / "stray.png")
    assert folders.listing(pets).classes == ()
    assert folders.listing(pets / "cat").classes == ()


def test_links_are_followed_and_loops_are_not(pets: Path, tmp_path: Path) -> None:
    elsewhere = picture(tmp_path / "elsewhere/in/9.png").parent
    (pets / "eel").symlink_to(elsewhere)
    (pets / "cat/up").symlink_to(pets)
    (pets / "dog/self").symlink_to(pets / "dog")
    (pets / "dog/gone.png").symlink_to(pets / "nowhere.png")
    names = folders.listing(pets).names
    assert "eel/9.png" in names and "dog/gone.png" in names
    assert len(names) == 8 + 2


def test_bad_places_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty/sub").mkdir(parents=True)
    (tmp_path / "file.txt").write_text("words")
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04 and then nothing")
    pack(tmp_path / "empty", tmp_path / "empty.zip")
    for name, says in {
        "missing": "no such folder",
        "empty": "no images",
        "empty.zip": "no images",
        "file.txt": "neither a folder nor a zip",
        "torn.zip": "neither a folder nor a zip",
    }.items():
        with pytest.raises(DataError, match=says) as caught:
            describe(folder(tmp_path / name), tmp_path)
        assert str(tmp_path / name) in str(caught.value)


def test_channels_of_a_folder_are_grey_only_when_all_looked_at_are(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "mixed" / f"{i}.png", mode="L" if i else "RGB")
        picture(tmp_path / "grey" / f"{i}.png", mode=("1", "L", "LA")[i])
    (tmp_path / "grey/torn.png").write_bytes(b"\x89PNG")
    assert describe(folder(tmp_path / "grey"), tmp_path).channels == 1
    assert describe(folder(tmp_path / "mixed"), tmp_path).channels == 3


def test_fingerprint_follows_content_and_names_and_nothing_else(pets: Path, tmp_path: Path) -> None:
    def mark(place: Path) -> str:
        return fingerprint(folder(place), tmp_path, tmp_path / "cache")

    before = mark(pets)
    assert mark(pets) == before and len(before) == 16
    os.utime(pets / "cat/0.png")
    (pets / "notes.txt").write_text("other words")
    assert mark(pets) == before
    assert mark(pets.rename(tmp_path / "moved")) == before
    picture(tmp_path / "moved/cat/0.png", 77)
    assert (changed := mark(tmp_path / "moved")) != before
    (tmp_path / "moved/cat/0.png").rename(tmp_path / "moved/cat/00.png")
    assert mark(tmp_path / "moved") not in (before, changed)


def test_a_folder_is_hashed_once(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    before = fingerprint(folder(pets), tmp_path, cache)
    opened: list[int] = []
    monkeypatch.setattr(folders, "reader", lambda found: opened.append)
    assert fingerprint(folder(pets), tmp_path, cache) == before
    assert opened == []
    monkeypatch.undo()
    (kept,) = (cache / "folders").iterdir()
    kept.write_bytes(kept.read_bytes()[:20])
    assert fingerprint(folder(pets), tmp_path, cache) == before


def test_a_cache_that_cannot_be_written_does_not_stop_a_plan(
    pets: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "results").write_text("a file where the cache should be")
    assert fingerprint(folder(pets), tmp_path, tmp_path / "results") == fingerprint(
        folder(pets), tmp_path, tmp_path / "cache"
    )
    assert "cannot keep" in caplog.text


def test_unreadable_members_count_in_the_hash(pets: Path, tmp_path: Path) -> None:
    before = fingerprint(folder(pets), tmp_path, tmp_path)
    (pets / "dog/gone.png").symlink_to(pets / "nowhere.png")
    assert fingerprint(folder(pets), tmp_path, tmp_path) != before


# ---------------------------------------------------------------------------------------------- named sets


def test_fingerprints_tell_sets_and_their_halves_apart(tmp_path: Path) -> None:
    def mark(data: Data, root: Path) -> str:
        return fingerprint(data, root, tmp_path)

    empty, lone, whole = tmp_path / "empty", tmp_path / "lone", tmp_path / "whole"
    for root, halves in ((lone, ["t10k"]), (whole, ["t10k", "train"])):
        for half in halves:
            for kind in ("images-idx3-ubyte", "labels-idx1-ubyte.gz"):
                (root / "MNIST/raw").mkdir(parents=True, exist_ok=True)
                (root / "MNIST/raw" / f"{half}-{kind}").touch()
    mnist = Data(name="mnist")
    assert mark(mnist, empty) == mark(mnist, whole) != mark(mnist, lone)
    assert describe(mnist, lone).parts == {"train": 8000, "held_out": 1000, "test": 1000}
    assert describe(mnist, whole).parts == {"train": 54_000, "held_out": 6000, "test": 10_000}
    marks = [
        mark(data, empty)
        for data in (
            *(Data(name=name) for name in ("faces", "digits", "mnist", "fashion_mnist", "cifar10", "celeba")),
            Data(name="faces", non_faces=True),
        )
    ]
    assert len(set(marks)) == len(marks)


def test_images_without_their_labels_are_not_a_half(tmp_path: Path) -> None:
    (tmp_path / "t10k-images-idx3-ubyte.gz").touch()
    assert not describe(Data(name="mnist"), tmp_path).present
    (tmp_path / "t10k-labels-idx1-ubyte").touch()
    assert describe(Data(name="mnist"), tmp_path).present
    assert not describe(Data(name="fashion_mnist"), tmp_path).present


def test_checksums_agree_with_torchvision() -> None:
    try:
        from torchvision.datasets import CIFAR10, CelebA
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported: {error}")
    assert dict([*CIFAR10.train_list, *CIFAR10.test_list]) == datasets.CIFAR10_BATCHES
    theirs = {name: md5 for _, md5, name in CelebA.file_list}
    assert {name: theirs[name] for name in datasets.CELEBA_MD5} == datasets.CELEBA_MD5


# ----------------------------------------------------------------------------------------------- few, stacked


def test_a_ranking_is_the_splits_own_order_and_its_head_keeps_the_classes_shares() -> None:
    labels = [i % 4 for i in range(80)]
    order = datasets.ranking(labels)
    parts = split(labels, {"test": 8, "held_out": 12, "train": 60})
    assert [parts[i] for i in order] == ["test"] * 8 + ["held_out"] * 12 + ["train"] * 60
    for n in (4, 20, 40):
        assert Counter(labels[i] for i in order[:n]) == Counter(dict.fromkeys(range(4), n // 4))


def test_a_subset_is_as_large_as_asked_or_refused(tmp_path: Path) -> None:
    data = Data(name="digits", subset=100)
    assert describe(data, tmp_path).parts == {"train": 100, "held_out": 179, "test": 179}
    with pytest.raises(DataError, match=r"data\.subset=5000 .* 1439"):
        describe(Data(name="digits", subset=5000), tmp_path)


@pytest.mark.parametrize("name", list(datasets.STACKED))
def test_stacked_sets_have_a_thousand_modes_in_colour(name: str, tmp_path: Path) -> None:
    source = describe(Data(name=name), tmp_path)  # type: ignore[arg-type]
    base = describe(Data(name=datasets.STACKED[name]), tmp_path)
    assert (source.channels, len(source.classes), source.parts) == (3, 1000, datasets.STACKED_PARTS)
    assert (source.present, source.download_mb) == (base.present, base.download_mb)
    with pytest.raises(DataError, match="three channels"):
        describe(Data(name=name, channels=1), tmp_path)  # type: ignore[arg-type]
