"""Input images: halves of a picture, a second folder, made from the image; cached and checked as images are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2gray
from skimage.feature import canny

from bench import datasets, pairs, study
from bench.data import load
from bench.datasets import DataError, describe
from bench.orders import Orders
from bench.protocol import Evaluate
from bench.setting import Data, resolve, run_id
from bench.yaml_places import StudyError

SIDE = 16


def picture(seed: int, width: int = SIDE, height: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def folder(path: Path, **settings: object) -> Data:
    return Data(name="folder", folder=str(path), **{"size": SIDE, **settings})  # type: ignore[arg-type]


def planes(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


# --------------------------------------------------------------------------------------------- made inputs


def test_made_inputs_are_scikit_images() -> None:
    colour = picture(0, 24, 24)
    image = colour.transpose(2, 0, 1)
    grey = rgb2gray(colour)
    assert np.array_equal(pairs.made(image, "grayscale"), np.rint(255 * grey).astype(np.uint8)[None])
    edges = pairs.made(image, "edges")
    assert np.array_equal(edges == 255, canny(grey)[None])
    assert set(np.unique(edges)) == {0, 255}
    small = image.astype(float).reshape(3, 6, 4, 6, 4).mean((2, 4))
    assert np.array_equal(pairs.made(image, "downscale"), np.rint(np.kron(small, np.ones((1, 4, 4)))).astype(np.uint8))


def test_grey_images_have_edges_and_blocks_too() -> None:
    square = np.zeros((1, 24, 24), np.uint8)
    square[:, 6:18, 6:18] = 255
    edges = pairs.made(square, "edges")[0]
    assert edges[10:14, 10:14].sum() == 0 and edges[0].sum() == 0  # neither inside nor far outside
    assert all(edges[12, column - 1 : column + 2].any() for column in (6, 17))
    assert pairs.made(square, "downscale").shape == (1, 24, 24)
    with pytest.raises(ValueError, match="does not divide 18"):
        pairs.made(square[:, :18, :18], "downscale")


@pytest.mark.parametrize(("how", "channels"), [("edges", 1), ("grayscale", 1), ("downscale", 3)])
def test_any_set_has_pairs(how: str, channels: int, tmp_path: Path) -> None:
    data = Data(name="faces", size=SIDE, channels=3, pairs=how)  # type: ignore[arg-type]
    assert data.input_channels == channels
    plain = load(data.model_copy(update={"pairs": "none"}), tmp_path, tmp_path / "cache")
    got = load(data, tmp_path, tmp_path / "cache")
    assert plain.inputs is None
    assert got.inputs is not None and got.inputs.shape == (100, channels, SIDE, SIDE)
    assert torch.equal(got.images, plain.images)
    for image, made in zip(got.images[:5], got.inputs[:5], strict=True):
        assert np.array_equal(pairs.made(image.numpy(), how), made.numpy())
    part = got.part("test")
    assert part.inputs is not None and torch.equal(part.inputs, got.inputs[got.parts["test"]])


def test_what_cannot_be_made_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the input would be the target"):
        describe(Data(name="faces", size=SIDE, pairs="grayscale"), tmp_path)
    with pytest.raises(DataError, match="do not divide 18 px"):
        describe(Data(name="faces", size=18, pairs="downscale"), tmp_path)
    with pytest.raises(DataError, match="is for `name: folder`"):
        describe(Data(name="faces", pairs="ab"), tmp_path)
    with pytest.raises(DataError, match="say both or neither"):
        describe(folder(tmp_path, pairs="folders"), tmp_path)
    with pytest.raises(DataError, match=r"data\.direction"):
        describe(Data(name="faces", pairs="edges", direction="b_to_a"), tmp_path)


# ------------------------------------------------------------------------------------------- A|B pictures


@pytest.fixture
def side_by_side(tmp_path: Path) -> Path:
    for number in range(12):
        a, b = picture(number), picture(100 + number)
        save(tmp_path / "ab" / f"{number:02}.png", np.concatenate([a, b], axis=1))
    return tmp_path / "ab"


def test_halves_go_their_way(side_by_side: Path, tmp_path: Path) -> None:
    there = load(folder(side_by_side, pairs="ab"), tmp_path, tmp_path / "cache")
    back = load(folder(side_by_side, pairs="ab", direction="b_to_a"), tmp_path, tmp_path / "cache")
    assert there.inputs is not None and back.inputs is not None
    assert torch.equal(there.images, back.inputs) and torch.equal(there.inputs, back.images)
    assert there.fingerprint == back.fingerprint
    parts = datasets.split([0] * 12, datasets.shares(12))
    order = [i for part in datasets.PARTS for i in range(12) if parts[i] == part]
    for row, number in enumerate(order):
        assert torch.equal(there.inputs[row], planes(picture(number)))
        assert torch.equal(there.images[row], planes(picture(100 + number)))


def test_halves_of_a_turned_photograph_are_cut_after_it_is_upright() -> None:
    upright = np.concatenate([picture(1), picture(2)], axis=1)
    turned = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # to be turned by 270 degrees
    a, b = pairs.halves(turned)
    assert np.array_equal(np.asarray(a), picture(1)) and np.array_equal(np.asarray(b), picture(2))
    assert {half.getexif().get(0x0112, 1) for half in (a, b)} == {1}


def test_a_picture_of_odd_width_is_left_out_and_named(side_by_side: Path, tmp_path: Path) -> None:
    save(side_by_side / "odd.png", picture(3, 2 * SIDE + 1))
    got = load(folder(side_by_side, pairs="ab"), tmp_path, tmp_path / "cache")
    ((name, reason),) = got.unreadable
    assert name == "odd.png" and "33 pixels wide" in reason
    assert got.inputs is not None and len(got.inputs) == len(got.images) == 12


@pytest.mark.parametrize(
    ("subfolders", "expected"),
    [
        ({"train": 20, "val": 3, "test": 4}, {"train": 20, "held_out": 3, "test": 4}),
        ({"train": 20, "val": 5}, {"train": 18, "held_out": 2, "test": 5}),
        ({"train": 20, "test": 5}, {"train": 18, "held_out": 2, "test": 5}),
    ],
)
def test_subfolders_of_pairs_are_their_parts(subfolders, expected, tmp_path: Path) -> None:
    for name, count in subfolders.items():
        for number in range(count):
            both = picture(7, 2 * SIDE)
            both[0, :, 0] = ["train", "val", "test"].index(name)
            save(tmp_path / "set" / name / f"{number}.png", both)
    data = folder(tmp_path / "set", pairs="ab")
    source, got = describe(data, tmp_path), load(data, tmp_path, tmp_path / "cache")
    assert source.parts == expected and source.classes == got.classes == ()
    assert {part: len(rows) for part, rows in got.parts.items()} == expected
    last = 2 if "test" in subfolders else 1
    assert set(got.part("test").images[:, 0, 0].unique().tolist()) == {last}
    assert set(got.part("train").images[:, 0, 0].unique().tolist()) == {0}
    # Of a plain set they are labels, as all sub-folders are.
    assert describe(folder(tmp_path / "set"), tmp_path).classes == tuple(sorted(subfolders))


# --------------------------------------------------------------------------------------------- two folders


@pytest.fixture
def two_folders(tmp_path: Path) -> tuple[Path, Path]:
    for number in range(12):
        save(tmp_path / "photos" / f"{number:02}.jpg", picture(number))
        save(tmp_path / "maps" / f"{number:02}.png", picture(100 + number))
    return tmp_path / "maps", tmp_path / "photos"


def test_folders_pair_by_name(two_folders: tuple[Path, Path], tmp_path: Path) -> None:
    targets, inputs = two_folders
    data = folder(targets, pairs="folders", input_folder=str(inputs))
    got = load(data, tmp_path, tmp_path / "cache")
    alone = load(folder(inputs), tmp_path, tmp_path / "cache")
    assert got.inputs is not None and torch.equal(got.inputs, alone.images)
    assert torch.equal(got.images, load(folder(targets), tmp_path, tmp_path / "cache").images)


def test_the_content_of_inputs_is_in_the_fingerprint_and_their_place_is_not(two_folders, tmp_path: Path) -> None:
    targets, inputs = two_folders

    def mark(place: Path) -> str:
        data = folder(targets, pairs="folders", input_folder=str(place))
        return datasets.fingerprint(data, tmp_path, tmp_path / "cache")

    first = mark(inputs)
    moved = inputs.rename(tmp_path / "elsewhere")
    assert mark(moved) == first
    save(moved / "00.jpg", picture(55))
    assert mark(moved) != first


def test_names_that_do_not_match_are_named(two_folders, tmp_path: Path) -> None:
    targets, inputs = two_folders
    data = folder(targets, pairs="folders", input_folder=str(inputs))
    (inputs / "03.jpg").rename(inputs / "three.jpg")
    with pytest.raises(DataError, match=r"photos: .* has no 03$"):
        describe(data, tmp_path)
    (inputs / "03.jpg").write_bytes((inputs / "three.jpg").read_bytes())
    with pytest.raises(DataError, match=r"maps: .* has no three$"):
        describe(data, tmp_path)
    (inputs / "three.jpg").rename(inputs / "04.jpeg")
    with pytest.raises(DataError, match=r"photos: .* has twice 04$"):
        describe(data, tmp_path)
    with pytest.raises(DataError, match=r"nowhere: no such folder .*data\.input_folder"):
        describe(data.model_copy(update={"input_folder": str(tmp_path / "nowhere")}), tmp_path)


def test_an_unreadable_input_leaves_its_pair_out(two_folders, tmp_path: Path) -> None:
    targets, inputs = two_folders
    (inputs / "05.jpg").write_bytes(b"no picture")
    got = load(folder(targets, pairs="folders", input_folder=str(inputs)), tmp_path, tmp_path / "cache")
    assert [name for name, _ in got.unreadable] == ["05.png"]
    assert got.inputs is not None and len(got.inputs) == len(got.images) == 11


# ---------------------------------------------------------------------------------------------------- cache


def test_a_damaged_cache_of_inputs_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = Data(name="faces", size=SIDE, pairs="edges")
    first = load(data, tmp_path, tmp_path / "cache")
    assert first.inputs is not None
    kept = first.inputs.clone()
    (npy,) = (tmp_path / "cache/data").glob("*.npy")
    content = bytearray(npy.read_bytes())
    content[-1] ^= 255  # the last pixel of the last input
    npy.write_bytes(content)
    del first
    again = load(data, tmp_path, tmp_path / "cache")
    assert again.inputs is not None and torch.equal(again.inputs, kept)
    assert "made again" in caplog.text


def test_pairings_have_caches_of_their_own(tmp_path: Path) -> None:
    for how in ("none", "edges", "downscale"):
        load(Data(name="faces", size=SIDE, pairs=how), tmp_path, tmp_path / "cache")  # type: ignore[arg-type]
    assert len(list((tmp_path / "cache/data").glob("*.npy"))) == 3


# -------------------------------------------------------------------------------------------------- studies

STUDY = """\
# Edges to faces.
study: faces_of_edges
recipe: pix2pix
data: {name: faces, size: 32, pairs: edges, jitter: 4}
train: {kimg: 1}
factors:
  patch: [1, 16]
"""


def loaded(tmp_path: Path, text: str) -> study.Study:
    path = tmp_path / "faces_of_edges.yaml"
    path.write_text(text)
    return study.load(path)


def test_pairs_are_scored_on_the_test_part_unless_another_is_said(tmp_path: Path) -> None:
    assert loaded(tmp_path, STUDY).evaluate.part == "test"
    assert loaded(tmp_path, STUDY + "evaluate: {fakes: 20}\n").evaluate == Evaluate(fakes=20, part="test")
    assert loaded(tmp_path, STUDY + "evaluate: {part: train}\n").evaluate.part == "train"
    plain = (
        STUDY.replace("pix2pix", "dcgan").replace(", pairs: edges", "").replace("patch: [1, 16]", "g_width: [8, 16]")
    )
    assert loaded(tmp_path, plain).evaluate.part == "train"


@pytest.mark.parametrize(
    ("said", "where", "message"),
    [
        ("pairs: ab", "4:38", "is for `name: folder`, not for faces"),
        ("pairs: folders", "4:38", "is for `name: folder`, not for faces"),
        ("pairs: folders", "4:38", "say data.input_folder too"),
        ("pairs: edges, input_folder: photos", "4:45", "is read only with `pairs: folders`"),
    ],
)
def test_mistakes_of_pairs_have_their_place(said: str, where: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError) as caught:
        loaded(tmp_path, STUDY.replace("pairs: edges", said))
    assert any(f":{where}: " in line and message in line for line in str(caught.value).splitlines())


def test_a_job_is_told_where_both_folders_lie() -> None:
    said = {"data.name": "folder", "data.pairs": "folders", "data.fingerprint": "f"}
    orders = Orders(data_root=Path("data"), folders={"f": "/maps"}, input_folders={"f": "/photos"})
    told = orders.placed(resolve(said))
    assert (told.data.folder, told.data.input_folder) == ("/maps", "/photos")
    assert run_id(told) == run_id(resolve(said))
