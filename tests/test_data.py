"""Loading, the cache and who may break it, unreadable images, batches by position, pixel values."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench import data as data_module
from bench import datasets, folders
from bench.data import Dataset, batch_indices, load, to_float, to_uint8
from bench.datasets import DataError, describe
from bench.setting import Data

FACES = Data(name="faces", size=16)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for i in range(20):
        for kind in ("cat", "dog"):
            path = tmp_path / "pets" / kind / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    return tmp_path / "pets"


def folder(path: Path, **settings: object) -> Data:
    return Data(name="folder", folder=str(path), **{"size": 16, **settings})  # type: ignore[arg-type]


def same(a: Dataset, b: Dataset) -> bool:
    return (
        torch.equal(a.images, b.images)
        and torch.equal(a.labels, b.labels)
        and all(torch.equal(a.parts[part], b.parts[part]) for part in datasets.PARTS)
        and (a.classes, a.unreadable, a.fingerprint) == (b.classes, b.unreadable, b.fingerprint)
    )


# ------------------------------------------------------------------------------------------------- loading


def test_a_loaded_set_is_what_was_described(pets: Path, tmp_path: Path) -> None:
    for data in (FACES, Data(name="faces", non_faces=True, size=32), Data(name="digits", size=8), folder(pets)):
        source = describe(data, tmp_path)
        got = load(data, tmp_path, tmp_path / "cache")
        assert got.images.shape == (sum(source.parts.values()), source.channels, data.size, data.size)
        assert got.images.dtype == torch.uint8 and got.labels.dtype == torch.int64
        assert got.classes == source.classes
        assert {part: len(index) for part, index in got.parts.items()} == source.parts
        everything = torch.cat(list(got.parts.values()))
        assert torch.equal(everything.sort().values, torch.arange(len(got.images)))
        for part, index in got.parts.items():
            images, labels, _ = got.part(part)
            assert torch.equal(images, got.images[index]) and torch.equal(labels, got.labels[index])


def test_pixels_labels_and_parts_belong_together(pets: Path, tmp_path: Path) -> None:
    got = load(folder(pets), tmp_path, tmp_path / "cache")
    found = folders.listing(pets)
    parts = datasets.split(found.labels, datasets.shares(40))
    for part in datasets.PARTS:
        expected = [i for i in range(40) if parts[i] == part]
        images, labels, _ = got.part(part)
        for image, label, i in zip(images, labels, expected, strict=True):
            assert (image.permute(1, 2, 0).numpy() == np.asarray(Image.open(pets / found.names[i]))).all()
            assert got.classes[label] == found.names[i].split("/")[0]


def test_cached_equals_fresh_and_needs_no_source(pets: Path, tmp_path: Path) -> None:
    first = load(folder(pets), tmp_path, tmp_path / "cache")
    assert same(load(folder(pets), tmp_path, tmp_path / "cache"), first)
    assert same(load(folder(pets), tmp_path, tmp_path / "elsewhere"), first)
    planned = folder(pets, fingerprint=first.fingerprint, channels=3)
    pets.rename(tmp_path / "gone")
    assert same(load(planned, tmp_path, tmp_path / "cache"), first)


def test_writing_to_a_loaded_set_does_not_reach_the_cache(tmp_path: Path) -> None:
    first = load(FACES, tmp_path, tmp_path / "cache")
    kept = first.images.clone()
    first.images.zero_()
    assert torch.equal(load(FACES, tmp_path, tmp_path / "cache").images, kept)


def test_size_channels_and_filter_have_caches_of_their_own(tmp_path: Path) -> None:
    variants = [
        {"size": 16},
        {"size": 32},
        {"size": 16, "channels": 3},
        {"size": 16, "resize_filter": "box"},
        {"size": 16, "non_faces": True},
    ]
    for variant in variants:
        load(Data(name="faces", **variant), tmp_path, tmp_path / "cache")
    assert len(list((tmp_path / "cache/data").glob("*.npy"))) == len(variants)
    assert len(list((tmp_path / "cache/data").iterdir())) == 2 * len(variants)
    grey = load(Data(name="faces", size=16), tmp_path, tmp_path / "cache").images
    colour = load(Data(name="faces", size=16, channels=3), tmp_path, tmp_path / "cache").images
    assert torch.equal(colour, grey.expand(-1, 3, -1, -1))


def test_the_record_says_how_the_pixels_were_made(tmp_path: Path) -> None:
    load(FACES, tmp_path, tmp_path / "cache")
    (path,) = (tmp_path / "cache/data").glob("*.json")
    record = json.loads(path.read_text())
    assert record["shape"] == [100, 1, 16, 16] and record["resize_filter"] == "lanczos"
    assert {"pillow", "sha256", "fingerprint", "unreadable", "split_seed"} <= set(record)
    assert np.load(path.with_suffix(".npy"), allow_pickle=False).shape == (100, 1, 16, 16)


def test_a_folder_that_changed_since_the_plan_is_refused(pets: Path, tmp_path: Path) -> None:
    mark = datasets.fingerprint(folder(pets), tmp_path, tmp_path / "cache")
    (pets / "cat/00.png").unlink()
    with pytest.raises(DataError, match="no longer what was planned"):
        load(folder(pets, fingerprint=mark), tmp_path, tmp_path / "cache")


# ------------------------------------------------------------------------------------------ damaged caches


def truncate(npy: Path) -> None:
    npy.write_bytes(npy.read_bytes()[:-1000])


def empty(npy: Path) -> None:
    npy.write_bytes(b"")


def flip_a_bit(npy: Path) -> None:
    content = bytearray(npy.read_bytes())
    content[-5] ^= 1
    npy.write_bytes(content)


def tear_the_record(npy: Path) -> None:
    record = npy.with_suffix(".json")
    record.write_bytes(record.read_bytes()[:-10])


def edit_a_label(npy: Path) -> None:
    record = json.loads(npy.with_suffix(".json").read_text())
    record["labels"][0] ^= 1
    npy.with_suffix(".json").write_text(json.dumps(record))


def empty_the_record(npy: Path) -> None:
    npy.with_suffix(".json").write_text("[]")


@pytest.mark.parametrize(
    "damage", [truncate, empty, flip_a_bit, tear_the_record, edit_a_label, empty_the_record, Path.unlink]
)
def test_a_damaged_cache_is_made_again_and_said(damage, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = Data(name="faces", non_faces=True, size=16)
    first = load(data, tmp_path, tmp_path / "cache")
    kept = first.images.clone()
    (npy,) = (tmp_path / "cache/data").glob("*.npy")
    assert caplog.records == []
    del first
    damage(npy)
    again = load(data, tmp_path, tmp_path / "cache")
    assert torch.equal(again.images, kept)
    assert "made again" in caplog.text and str(npy) in caplog.text
    caplog.clear()
    assert same(load(data, tmp_path, tmp_path / "cache"), again)
    assert caplog.records == []


def test_processes_that_start_together_share_one_cache(pets: Path, tmp_path: Path) -> None:
    go, ready, cache = tmp_path / "go", tmp_path / "ready", tmp_path / "cache"
    ready.mkdir()
    code = (
        "import hashlib, sys, time; from pathlib import Path; from bench import data; from bench.setting import Data\n"
        "go, ready, pets, cache = sys.argv[1:]\n"
        "Path(ready).touch()\n"
        "while not Path(go).exists(): time.sleep(0.001)\n"
        "got = data.load(Data(name='folder', folder=pets, size=64), Path('absent'), Path(cache))\n"
        "print(hashlib.sha256(got.images.numpy()).hexdigest(), got.labels.tolist(), got.fingerprint)\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-W", "error::ResourceWarning", "-c", code, go, ready / str(i), pets, cache],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for i in range(2)
    ]
    while len(list(ready.iterdir())) < 2 and all(racer.poll() is None for racer in racers):
        time.sleep(0.01)
    go.touch()
    outcomes = [racer.communicate(timeout=60) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0], outcomes
    assert len({out for out, _ in outcomes}) == 1
    assert [err for _, err in outcomes] == ["", ""]
    assert sorted(path.suffix for path in (cache / "data").iterdir()) == [".json", ".npy"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"results.*cannot be written.*--results"):
        load(FACES, tmp_path, tmp_path / "results")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(data_module.os, "replace", full)
    with pytest.raises(DataError, match="No space left on device"):
        load(FACES, tmp_path, tmp_path / "cache")
    assert list((tmp_path / "cache/data").iterdir()) == []


def test_a_read_only_cache_is_named_but_still_read(tmp_path: Path) -> None:
    load(FACES, tmp_path, tmp_path / "cache")
    (tmp_path / "cache/data").chmod(0o500)
    if os.access(tmp_path / "cache/data", os.W_OK):
        pytest.skip("this user may write anywhere")
    try:
        load(FACES, tmp_path, tmp_path / "cache")
        with pytest.raises(DataError, match="cannot be written"):
            load(Data(name="faces", size=24), tmp_path, tmp_path / "cache")
    finally:
        (tmp_path / "cache/data").chmod(0o700)


# ---------------------------------------------------------------------------------------- unreadable images


def damage_some(pets: Path) -> set[str]:
    whole = (pets / "cat/00.png").read_bytes()
    (pets / "cat/00.png").write_bytes(whole[: len(whole) // 2])
    (pets / "cat/01.png").write_bytes(b"")
    (pets / "dog/02.png").write_text("not an image")
    Image.fromarray(np.full((8, 8), 2.0, np.float32)).save(pets / "dog/03.tif")
    jpeg = pets / "dog/04.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(jpeg)
    jpeg.write_bytes(jpeg.read_bytes()[:1500])
    return {"cat/00.png", "cat/01.png", "dog/02.png", "dog/03.tif", "dog/04.jpg"}


@pytest.mark.parametrize("packed", [False, True])
def test_unreadable_images_are_listed_with_reasons(
    pets: Path, tmp_path: Path, packed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    bad = damage_some(pets)
    place = pets
    if packed:
        place = tmp_path / "pets.zip"
        with zipfile.ZipFile(place, "w") as archive:
            for file in pets.rglob("*.*"):
                archive.write(file, str(file.relative_to(pets)))
    else:
        (pets / "dog/05.png").chmod(0)
        if not os.access(pets / "dog/05.png", os.R_OK):  # a superuser may read it all the same
            bad.add("dog/05.png")
    got = load(folder(place), tmp_path, tmp_path / "cache")
    assert {file for file, _ in got.unreadable} == bad
    assert all(reason for _, reason in got.unreadable)
    assert len(got.images) == 42 - len(bad) == sum(len(index) for index in got.parts.values())
    assert f"{len(bad)} of 42 images cannot be read" in caplog.text
    assert same(load(folder(place), tmp_path, tmp_path / "cache"), got)


def test_a_corrupt_zip_member_is_listed(pets: Path, tmp_path: Path) -> None:
    packed = tmp_path / "pets.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted(pets.rglob("*.png")):
            archive.write(file, str(file.relative_to(pets)))
        offset = archive.getinfo("dog/07.png").header_offset
    content = bytearray(packed.read_bytes())
    content[offset + 300] ^= 255
    packed.write_bytes(content)
    ((file, reason),) = load(folder(packed), tmp_path, tmp_path / "cache").unreadable
    assert file == "dog/07.png" and "CRC" in reason


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "torn").mkdir()
    for i in range(5):
        (tmp_path / f"torn/{i}.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"none of its 5 images can be read: 0\.png \("):
        load(folder(tmp_path / "torn"), tmp_path, tmp_path / "cache")
    assert not list((tmp_path / "cache/data").iterdir())


def test_a_part_without_images_is_an_error(tmp_path: Path) -> None:
    for i in range(2):
        (tmp_path / "two").mkdir(exist_ok=True)
        Image.new("L", (8, 8), i).save(tmp_path / f"two/{i}.png")
    got = load(folder(tmp_path / "two"), tmp_path, tmp_path / "cache")
    assert len(got.part("train")[0]) == 2
    with pytest.raises(DataError, match="held_out part is empty"):
        got.part("held_out")


# ------------------------------------------------------------------------------------------- batches, values


@pytest.mark.parametrize(("n", "batch"), [(10, 3), (10, 10), (7, 1), (64, 48), (1, 1), (97, 16)])
@pytest.mark.parametrize("seed", [0, 5])
def test_batches_are_the_epochs_permutations_cut_in_order(n: int, batch: int, seed: int) -> None:
    epochs = 5
    steps = -(-epochs * n // batch)
    stream = torch.cat([batch_indices(n, batch, step, seed) for step in range(steps)])
    assert stream.shape == (steps * batch,) and stream.dtype == torch.int64
    seen = [stream[epoch * n : (epoch + 1) * n] for epoch in range(epochs)]
    for epoch in seen:
        assert torch.equal(epoch.sort().values, torch.arange(n))
    if n > 50:
        assert not torch.equal(seen[0], seen[1])
        other = torch.cat([batch_indices(n, batch, step, seed + 1) for step in range(steps)])
        assert not torch.equal(stream, other)


def test_position_alone_restores_a_batch() -> None:
    steps = list(range(40))
    forwards = {step: batch_indices(23, 8, step, 3) for step in steps}
    data_module._permutation.cache_clear()
    for step in reversed(steps):
        batch = batch_indices(23, 8, step, 3)
        assert torch.equal(batch, forwards[step])
        batch.zero_()  # a caller's writing must not reach the epoch
    assert torch.equal(batch_indices(23, 8, 0, 3), forwards[0])


def test_a_batch_larger_than_the_part_is_refused() -> None:
    with pytest.raises(DataError, match=r"train\.batch=11 .* 10 images"):
        batch_indices(10, 11, 0, 0)


def test_every_byte_survives_the_way_to_float_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8)
    floats = to_float(levels)
    assert floats.dtype == torch.float32 and floats.min() == -1 and floats.max() == 1
    assert torch.equal(to_uint8(floats), levels)
    assert torch.equal(floats, to_float(levels))


def test_quantisation_rounds_and_clamps() -> None:
    halfway = to_float(torch.tensor([100], dtype=torch.uint8)) + torch.tensor([[-0.49, 0.49, 0.51]]) / 127.5
    assert to_uint8(halfway).tolist() == [[100, 100, 101]]
    assert to_uint8(torch.tensor([[-1.5, 1.5, 1e30]])).tolist() == [[0, 255, 255]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_fakes_that_are_not_finite_are_not_images(bad: float) -> None:
    fakes = torch.zeros(5, 1, 4, 4)
    fakes[1, 0, 2, 3] = fakes[4, 0, 0, 0] = bad
    with pytest.raises(FloatingPointError, match="2 of 5 images"):
        to_uint8(fakes)


# ------------------------------------------------------------------------------------------------ real data


def real_data(name: str) -> Path:
    path = Path(os.environ.get("BENCH_TEST_DATA", "")) / name
    if not path.exists():
        pytest.skip(f"BENCH_TEST_DATA names no folder with {name}")
    return path


def test_the_ten_thousand_test_digits_alone_are_a_set(tmp_path: Path) -> None:
    got = load(Data(name="mnist", size=28), real_data("mnist-t10k"), tmp_path)
    assert {part: len(index) for part, index in got.parts.items()} == {"train": 8000, "held_out": 1000, "test": 1000}
    # The digits of the official test half: 980 zeros, 1135 ones, ...
    assert got.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    for part in datasets.PARTS:
        share = got.part(part)[1].bincount() / len(got.parts[part]) - got.labels.bincount() / 10_000
        assert share.abs().max() < 0.002


def test_planning_with_a_zip_of_fifty_thousand_images_is_quick(tmp_path: Path) -> None:
    data = folder(real_data("cifar10-train-jpeg.zip"))
    assert describe(data, tmp_path).parts == {"train": 40_000, "held_out": 5000, "test": 5000}
    mark = datasets.fingerprint(data, tmp_path, tmp_path)
    started = time.perf_counter()
    assert datasets.fingerprint(data, tmp_path, tmp_path) == mark
    assert time.perf_counter() - started < 1.5


# ----------------------------------------------------------------------------------------------- few, stacked


def test_a_subset_is_the_head_of_the_ranking_and_shares_the_cache(tmp_path: Path) -> None:
    whole = load(Data(name="digits", size=8), tmp_path, tmp_path / "cache")
    few = load(Data(name="digits", size=8, subset=30), tmp_path, tmp_path / "cache")
    images, labels, _ = whole.part("train")
    expected = sorted(datasets.ranking(labels.tolist())[:30])
    assert torch.equal(few.part("train").images, images[expected])
    assert torch.equal(few.part("train").labels, labels[expected])
    assert torch.equal(few.part("test").images, whole.part("test").images)
    assert few.fingerprint == whole.fingerprint and len(list((tmp_path / "cache/data").glob("*.npy"))) == 1
    with pytest.raises(DataError, match="more than the 1439"):
        load(Data(name="digits", size=8, subset=2000), tmp_path, tmp_path / "cache")


def test_stacked_labels_are_those_of_the_digits_in_each_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each plane is an image of the base set's same part, and the mode's digits are its planes' labels."""
    monkeypatch.setattr(datasets, "STACKED_PARTS", {"train": 200, "held_out": 40, "test": 40})
    stacked = load(Data(name="stacked_digits", size=8), tmp_path, tmp_path / "cache")
    base = load(Data(name="digits", size=8), tmp_path, tmp_path / "cache")
    for part in datasets.PARTS:
        known: dict[bytes, set[int]] = {}
        for image, label in zip(*base.part(part)[:2], strict=True):
            known.setdefault(image.numpy().tobytes(), set()).add(int(label))
        for image, mode in zip(*stacked.part(part)[:2], strict=True):
            digits = [int(mode) // place % 10 for place in (1, 10, 100)]
            assert all(digit in known[plane.numpy().tobytes()] for plane, digit in zip(image, digits, strict=True))
            assert stacked.classes[int(mode)] == "".join(map(str, reversed(digits)))
