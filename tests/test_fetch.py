"""Downloads: said before they start, whole or not at all, and what is said when they cannot be had."""

from __future__ import annotations

import sys
import urllib.error
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import datasets, fetch
from bench.data import load
from bench.datasets import DataError, describe
from bench.setting import Data


def test_without_torchvision_the_files_and_places_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets.utils", None)
    for name, file in {
        "mnist": "t10k-images-idx3-ubyte.gz",
        "fashion_mnist": "train-labels-idx1-ubyte.gz",
        "cifar10": "cifar-10-binary.tar.gz",
        "celeba": "list_eval_partition.txt",
    }.items():
        with pytest.raises(DataError, match="torchvision") as caught:
            load(Data(name=name), tmp_path / "data", tmp_path / "cache")  # type: ignore[arg-type]
        assert file in str(caught.value) and str(tmp_path / "data") in str(caught.value)


def test_offline_the_download_is_said_and_nothing_half_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def download_url(url: str, place: Path, name: str, md5: str) -> None:
        assert "170.1 MB" in caplog.text and str(tmp_path / "data") in caplog.text
        (place / name).write_bytes(b"half")
        raise urllib.error.URLError("no route to host")

    monkeypatch.setitem(sys.modules, "torchvision.datasets.utils", SimpleNamespace(download_url=download_url))
    with pytest.raises(DataError, match=r"no route to host.*cifar-10-binary\.tar\.gz"):
        load(Data(name="cifar10"), tmp_path / "data", tmp_path / "cache")
    assert list((tmp_path / "data").iterdir()) == []


def test_a_download_lands_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def idx_class(place: Path, download: bool) -> None:
        raw = place / "FashionMNIST/raw"
        raw.mkdir(parents=True)
        for name in datasets.IDX["fashion_mnist"].md5:
            (raw / name).write_bytes(b"unpacked")
            (raw / f"{name}.gz").write_bytes(b"packed")

    def from_drive(drive: str, place: Path, name: str, md5: str) -> None:
        place.mkdir(exist_ok=True)
        (place / name).write_bytes(md5.encode())

    monkeypatch.setitem(sys.modules, "torchvision.datasets", SimpleNamespace(FashionMNIST=idx_class))
    tools = SimpleNamespace(download_file_from_google_drive=from_drive)
    monkeypatch.setitem(sys.modules, "torchvision.datasets.utils", tools)
    for name in ("fashion_mnist", "celeba"):
        data = Data(name=name)  # type: ignore[arg-type]
        absent = describe(data, tmp_path)
        assert not absent.present
        fetch.fetch(absent, tmp_path)
        assert describe(data, tmp_path).present
    assert not list(tmp_path.rglob("*-ubyte")) and not list(tmp_path.glob(".download*"))


def test_a_root_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets.utils", SimpleNamespace())
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DataError, match="BENCH_DATA"):
        load(Data(name="cifar10"), tmp_path / "data", tmp_path / "cache")
