"""Pictures of every mode to square uint8, resizing against its definition, and the named sets' own formats."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from bench import datasets, decode
from bench.datasets import DataError
from bench.decode import square
from bench.setting import Data

RNG = np.random.default_rng(0)


def stored(picture: Image.Image, fmt: str, **options: object) -> Image.Image:
    """The picture as it comes back from a file of that format."""
    file = io.BytesIO()
    picture.save(file, fmt, **options)
    opened = Image.open(io.BytesIO(file.getvalue()))
    opened.load()
    return opened


# -------------------------------------------------------------------------------------------------- resize


def kernel(name: str, x: np.ndarray) -> np.ndarray:
    """The textbook kernels: triangle, Keys' cubic with a = -1/2, Lanczos with 3 lobes."""
    x = np.abs(x)
    if name == "box":
        return (x < 0.5) * 1.0
    if name == "bilinear":
        return np.maximum(1 - x, 0)
    if name == "bicubic":
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        return np.where(x < 1, near, np.where(x < 2, far, 0))
    return np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0)


def weights(name: str, before: int, after: int) -> np.ndarray:
    """Antialiased resampling along one axis, [after, before]: the kernel is as wide as the coarser grid."""
    scale = before / after
    centres = (np.arange(after) + 0.5) * scale
    w = kernel(name, (np.arange(before) + 0.5 - centres[:, None]) / max(scale, 1))
    return w / w.sum(1, keepdims=True)


@pytest.mark.parametrize("name", list(decode.FILTERS))
@pytest.mark.parametrize(("before", "after"), [(48, 12), (25, 32), (40, 17)])
def test_resize_is_the_filter_it_says_antialiased(name: str, before: int, after: int) -> None:
    # Mid-range values: an overshoot between the two passes would be clipped near 0 and 255.
    pixels = RNG.integers(64, 192, (before, before), dtype=np.uint8)
    w = weights(name, before, after)
    got = square(Image.fromarray(pixels), after, 1, name)[0]
    assert np.abs(got - w @ pixels.astype(float) @ w.T).max() <= 1.3  # rounded once in each of two passes


@pytest.mark.parametrize("name", list(decode.FILTERS))
@pytest.mark.parametrize(("width", "height", "size"), [(25, 25, 32), (100, 63, 16), (7, 50, 64), (5, 5, 4)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_constant_picture_stays_constant(name: str, width: int, height: int, size: int, channels: int) -> None:
    got = square(Image.new("L", (width, height), 201), size, channels, name)
    assert got.shape == (channels, size, size) and got.dtype == np.uint8
    assert (got == 201).all()


def test_box_at_half_size_is_the_mean_of_four_pixels() -> None:
    means = RNG.integers(1, 255, (8, 8))
    cells = means[:, :, None, None] + np.array([[-1, 1], [1, -1]])
    pixels = cells.transpose(0, 2, 1, 3).reshape(16, 16).astype(np.uint8)
    assert (square(Image.fromarray(pixels), 8, 1, "box")[0] == means).all()


@pytest.mark.parametrize("name", list(decode.FILTERS))
def test_equal_size_is_untouched(name: str) -> None:
    pixels = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert (square(Image.fromarray(pixels), 32, 3, name) == pixels.transpose(2, 0, 1)).all()


def test_the_centre_is_cropped() -> None:
    pixels = RNG.integers(0, 256, (10, 17), dtype=np.uint8)
    assert (square(Image.fromarray(pixels), 10, 1, "lanczos")[0] == pixels[:, 3:13]).all()
    assert (square(Image.fromarray(pixels.T.copy()), 10, 1, "lanczos")[0] == pixels.T[3:13]).all()


@pytest.mark.parametrize("name", list(decode.FILTERS))
def test_resizing_the_centre_equals_resizing_all_and_cropping(name: str) -> None:
    pixels = Image.fromarray(RNG.integers(0, 256, (48, 64), dtype=np.uint8))
    whole = np.asarray(pixels.resize((32, 24), decode.FILTERS[name]))[:, 4:28]
    assert (square(pixels, 24, 1, name)[0] == whole).all()


# --------------------------------------------------------------------------------------------------- modes


def test_transparency_is_laid_on_white() -> None:
    for mode, clear, half in (("RGBA", (0, 0, 0, 0), (0, 100, 200, 128)), ("LA", (0, 0), (100, 128))):
        assert (square(stored(Image.new(mode, (8, 8), clear), "PNG"), 8, 3, "box") == 255).all()
        got = square(stored(Image.new(mode, (8, 8), half), "PNG"), 8, 3, "box")[:, 0, 0]
        expected = np.broadcast_to(np.array(half[:-1]) * 128 / 255 + 255 * 127 / 255, 3)
        assert np.abs(got - expected).max() <= 1


def test_palettes_with_and_without_transparency() -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 255, 40, 7])
    assert square(stored(picture, "PNG"), 8, 3, "box")[:, 0, 0].tolist() == [255, 40, 7]
    assert (square(stored(picture, "PNG", transparency=1), 8, 3, "box") == 255).all()
    faded = square(stored(picture, "PNG", transparency=b"\x00\x80"), 8, 3, "box")[:, 0, 0]
    assert np.abs(faded - (np.array([255, 40, 7]) * 128 + 255 * 127) / 255).max() <= 1


@pytest.mark.parametrize("fmt", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(fmt: str) -> None:
    pixels = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    got = square(stored(Image.fromarray(pixels), fmt), 8, 1, "box")[0]
    assert np.abs(got - pixels / 257).max() <= 0.5
    assert (square(stored(Image.fromarray(pixels), fmt), 8, 3, "box") == got).all()


def test_sixteen_bit_rgb_keeps_its_range() -> None:
    ramp = np.linspace(0, 65535, 8).astype(">u2")
    rows = b"".join(b"\0" + np.repeat(value, 24).astype(">u2").tobytes() for value in ramp)
    chunks = (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    got = square(Image.open(io.BytesIO(png)), 8, 3, "box")
    assert np.abs(got[:, :, 0] - ramp.astype(float) / 257).max() <= 1  # Pillow keeps the high byte


def test_floats_in_the_unit_interval_and_no_others() -> None:
    def float_tiff(value: float) -> Image.Image:
        return stored(Image.fromarray(np.full((8, 8), value, np.float32)), "TIFF")

    assert (square(float_tiff(0.2), 8, 1, "box") == 51).all()
    for value in (-0.1, 1.1, 200.0, float("nan")):
        with pytest.raises(ValueError, match="expected 0 to 1"):
            square(float_tiff(value), 8, 1, "box")
    with pytest.raises(ValueError, match="white point"):
        square(stored(Image.fromarray(np.full((8, 8), 70_000, np.int32)), "TIFF"), 8, 1, "box")


def test_cmyk_bilevel_and_luma() -> None:
    red = stored(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    assert red.mode == "CMYK"
    assert np.abs(square(red, 8, 3, "box")[:, 0, 0] - np.array([255, 0, 0])).max() <= 2
    assert abs(int(square(red, 8, 1, "box")[0, 0, 0]) - 0.299 * 255) <= 1.5
    assert (square(stored(Image.new("1", (8, 8), 1), "PNG"), 8, 3, "box") == 255).all()
    green = Image.new("RGB", (8, 8), (0, 200, 0))
    assert abs(int(square(green, 8, 1, "box")[0, 0, 0]) - 0.587 * 200) <= 0.5


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(fmt: str, orientation: int) -> None:
    picture = Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if fmt == "WEBP" else {}
    opened = stored(picture, fmt, exif=exif, **options)
    picture.getexif()[0x0112] = orientation
    expected = ImageOps.exif_transpose(picture)
    assert (square(opened, 8, 3, "box") == np.asarray(expected).transpose(2, 0, 1)).all()


def test_the_first_frame_of_a_gif() -> None:
    frames = [Image.new("L", (8, 8), value) for value in (10, 200)]
    animated = stored(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert animated.n_frames == 2  # type: ignore[attr-defined]
    animated.seek(0)
    assert (square(animated, 8, 1, "box") == 10).all()


# -------------------------------------------------------------------------------------------- embedded sets


def test_faces_and_digits_are_what_they_say() -> None:
    faces = decode.pictures(Data(name="faces", non_faces=True), Path("absent"))
    assert Counter(faces.labels) == {0: 100, 1: 100}
    assert faces.read(0).size == (25, 25)
    digits = decode.pictures(Data(name="digits"), Path("absent"))
    pixels = np.stack([np.asarray(digits.read(i)) for i in range(len(digits.names))])
    assert pixels.shape == (1797, 8, 8) and pixels.max() == 255 and len(np.unique(pixels)) == 17


def test_other_bytes_than_the_known_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "FACES_SHA256", "0" * 64)
    monkeypatch.setattr(datasets, "DIGITS_SHA256", "0" * 64)
    for name in ("faces", "digits"):
        with pytest.raises(DataError, match="expected 0000"):
            decode.pictures(Data(name=name), Path("absent"))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ named sets


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A small MNIST in its own files, whose checksums stand in for the published ones."""
    counts = {"train": 60, "t10k": 30}
    monkeypatch.setattr(datasets, "IDX_COUNTS", counts)
    halves = {}
    for half, n in counts.items():
        images, labels = RNG.integers(0, 256, (n, 28, 28)), np.arange(n) % 10
        halves[half] = (images, labels)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            name = f"{half}-{kind}-ubyte"
            monkeypatch.setitem(datasets.IDX["mnist"].md5, name, md5(idx(array)))
            packed = half == "train"
            content = gzip.compress(idx(array)) if packed else idx(array)
            (tmp_path / (f"{name}.gz" if packed else name)).write_bytes(content)
    return halves


def test_mnist_keeps_its_official_test_half(mnist: dict, tmp_path: Path) -> None:
    got = decode.pictures(Data(name="mnist"), tmp_path)
    pixels = np.stack([np.asarray(got.read(i)) for i in range(90)])
    assert (pixels == np.concatenate([mnist["train"][0], mnist["t10k"][0]])).all()
    assert (np.array(got.labels) == np.concatenate([mnist["train"][1], mnist["t10k"][1]])).all()
    assert list(got.parts[60:]) == ["test"] * 30
    assert Counter(got.parts[:60]) == {"train": 54, "held_out": 6}


@pytest.mark.parametrize("half", ["train", "t10k"])
def test_one_half_of_mnist_is_a_set(mnist: dict, tmp_path: Path, half: str) -> None:
    for file in tmp_path.glob("*-ubyte*"):
        if not file.name.startswith(half):
            file.unlink()
    got = decode.pictures(Data(name="mnist"), tmp_path)
    n = len(mnist[half][0])
    assert Counter(got.parts) == {"train": n * 8 // 10, "held_out": n // 10, "test": n // 10}
    assert Counter(got.parts) == datasets.describe(Data(name="mnist"), tmp_path).parts


def test_torn_or_foreign_idx_files_are_refused_by_name(mnist: dict, tmp_path: Path) -> None:
    file = tmp_path / "train-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: cannot be read"):
        decode.pictures(Data(name="mnist"), tmp_path)
    file.write_bytes(gzip.compress(idx(np.zeros((60, 28, 28)))))
    with pytest.raises(DataError, match=datasets.IDX["mnist"].md5["train-images-idx3-ubyte"]):
        decode.pictures(Data(name="mnist"), tmp_path)
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    with pytest.raises(DataError, match="not an IDX file of bytes with 3 dimensions"):
        decode.read_idx(labels, md5(labels.read_bytes()), 3)


CIFAR = [RNG.integers(0, 256, (12, 3072), dtype=np.uint8) for _ in range(6)]
CIFAR_LABELS = [RNG.integers(0, 10, 12, dtype=np.uint8) for _ in range(6)]


@pytest.fixture
def cifar_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / datasets.CIFAR10_ARCHIVE
    with tarfile.open(path, "w:gz") as archive:
        for batch, pixels, labels in zip(datasets.CIFAR10_BATCHES, CIFAR, CIFAR_LABELS, strict=True):
            body = np.concatenate([labels[:, None], pixels], axis=1).tobytes()
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{batch}.bin")
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    monkeypatch.setattr(datasets, "CIFAR10_MD5", md5(path.read_bytes()))
    return path


def python_batch(pixels: np.ndarray, labels: np.ndarray) -> bytes:
    """A pickle in the opcodes that Python 2's cPickle wrote: protocol 2, raw strings, one-byte integers."""
    n, body = len(pixels), pixels.tobytes()
    uint8 = b"cnumpy\ndtype\nq\x09U\x02u1K\x00K\x01\x87Rq\x0a(K\x03U\x01|NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00tb"
    shape = b"K" + bytes([n]) + b"M\x00\x0c\x86"
    blank = b"cnumpy._core.multiarray\n_reconstruct\nq\x06cnumpy\nndarray\nq\x07K\x00\x85U\x01b\x87Rq\x08"
    array = blank + b"(K\x01" + shape + uint8 + b"\x89T" + struct.pack("<I", len(body)) + body + b"tb"
    names = b"".join(b"U\x06%02d.png" % i for i in range(n))
    return (
        b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03"
        + (b"U\x06labelsq\x04]q\x05(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e")
        + (b"U\x04dataq\x0b" + array)
        + (b"U\x09filenamesq\x0c](" + names + b"eu.")
    )


@pytest.fixture
def cifar_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cifar10" / datasets.CIFAR10_PYTHON
    folder.mkdir(parents=True)
    for batch, pixels, labels in zip(list(datasets.CIFAR10_BATCHES), CIFAR, CIFAR_LABELS, strict=True):
        content = python_batch(pixels, labels)
        (folder / batch).write_bytes(content)
        monkeypatch.setitem(datasets.CIFAR10_BATCHES, batch, md5(content))
    return folder


def test_python_batches_are_read_as_unpickling_would(cifar_folder: Path) -> None:
    oracle = [
        pickle.loads((cifar_folder / batch).read_bytes(), encoding="latin1") for batch in datasets.CIFAR10_BATCHES
    ]
    pixels, labels = decode.read_cifar_batches(cifar_folder)
    assert (pixels == np.concatenate([batch["data"] for batch in oracle])).all()
    assert labels == [label for batch in oracle for label in batch["labels"]]


def test_both_forms_of_cifar10_are_one_set(cifar_archive: Path, cifar_folder: Path, tmp_path: Path) -> None:
    binary = decode.pictures(Data(name="cifar10"), tmp_path)
    python = decode.pictures(Data(name="cifar10"), cifar_folder.parent)
    assert (binary.labels, binary.parts) == (python.labels, python.parts)
    flat = np.concatenate(CIFAR).reshape(-1, 3, 32, 32)
    for i in range(72):
        assert (square(binary.read(i), 32, 3, "box") == flat[i]).all()
        assert (square(python.read(i), 32, 3, "box") == flat[i]).all()
    assert Counter(binary.parts) == {"train": 54, "held_out": 6, "test": 12}
    assert list(binary.parts[60:]) == ["test"] * 12


def test_no_pickle_is_ever_run(tmp_path: Path, cifar_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR."
    (cifar_folder / "data_batch_1").write_bytes(bomb)
    with pytest.raises(DataError, match="not the published content"):
        decode.pictures(Data(name="cifar10"), tmp_path)
    monkeypatch.setitem(datasets.CIFAR10_BATCHES, "data_batch_1", md5(bomb))
    with pytest.raises(ValueError):
        decode.read_cifar_batches(cifar_folder)
    assert not (tmp_path / "ran").exists()


def test_a_foreign_archive_is_refused(cifar_archive: Path, tmp_path: Path) -> None:
    cifar_archive.write_bytes(cifar_archive.read_bytes() + b"\0")
    with pytest.raises(DataError, match=datasets.CIFAR10_MD5):
        decode.pictures(Data(name="cifar10"), tmp_path)


@pytest.fixture
def celeba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "celeba"
    place.mkdir()
    with zipfile.ZipFile(place / "img_align_celeba.zip", "w") as archive:
        for i in range(12):
            file = io.BytesIO()
            Image.new("RGB", (178, 218), (20 * i, 0, 0)).save(file, "JPEG")
            archive.writestr(f"img_align_celeba/{i + 1:06}.jpg", file.getvalue())
    text = "".join(f"{i + 1:06}.jpg {(0, 0, 1, 2)[i % 4]}\n" for i in range(12))
    (place / "list_eval_partition.txt").write_text(text)
    for file in place.iterdir():
        monkeypatch.setitem(datasets.CELEBA_MD5, file.name, md5(file.read_bytes()))
    return place


def test_celeba_keeps_its_official_partition_zipped_or_not(celeba: Path, tmp_path: Path) -> None:
    zipped = decode.pictures(Data(name="celeba"), tmp_path)
    assert list(zipped.parts) == ["train", "train", "held_out", "test"] * 3
    assert zipped.read(3).size == (178, 218)
    with zipfile.ZipFile(celeba / "img_align_celeba.zip") as archive:
        archive.extractall(celeba)
    folder = decode.pictures(Data(name="celeba"), tmp_path)
    assert (folder.names, folder.parts) == (zipped.names, zipped.parts)
    (celeba / "img_align_celeba/000003.jpg").unlink()
    with pytest.raises(DataError, match="1 of CelebA's 12 images are missing"):
        decode.pictures(Data(name="celeba"), tmp_path)


def test_a_torn_celeba_zip_is_refused(celeba: Path, tmp_path: Path) -> None:
    file = celeba / "img_align_celeba.zip"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=datasets.CELEBA_MD5["img_align_celeba.zip"]):
        decode.pictures(Data(name="celeba"), tmp_path)
