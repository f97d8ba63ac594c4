"""`python -m bench.score`: any two sets of images, the numbers of a study's scores, and plain words for bad input."""

import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from bench import draws, score
from bench.metrics import colour_distance, colour_moments, frechet_distance, gaussian, ms_ssim, swd
from bench.metrics.features import extract
from bench.metrics.inception import VARIABLE
from bench.metrics.ms_ssim import stream_pairs
from bench.metrics.standins import RandomConv

OFFLINE = "fd,kid,prdc,swd,ms_ssim,colour"


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "no_inception"))


def pixels(n, side=16, channels=3, seed=0):
    rough = draws.uniform((n, channels, side, side), seed, "test.score", 0, 0, 255)
    return torch.nn.functional.avg_pool2d(rough, 3, 1, 1).round().to(torch.uint8)


def folder(place, images):
    place.mkdir()
    for index, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image.squeeze(-1) if image.shape[2] == 1 else image).save(place / f"{index:03}.png")
    return place


def zipped(place):
    target = place.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(place.iterdir()):
            archive.write(path, f"wrapped/{path.name}")
    return target


def run(capsys, *said):
    """(exit code, records by metric, standard error)"""
    code = score.main([*map(str, said), "--extractor", "random", "--json"])
    shown = capsys.readouterr()
    records = json.loads(shown.out)["scores"] if shown.out else []
    return code, {record["metric"]: record for record in records}, shown.err


def values(records):
    return {name: value for record in records.values() for name, value in record["values"].items()}


@pytest.fixture
def sets(tmp_path):
    return folder(tmp_path / "real", pixels(40)), folder(tmp_path / "fake", pixels(30, seed=1))


def test_the_numbers_are_those_of_the_plain_functions(sets, capsys):
    code, found, _ = run(capsys, *sets, "--metrics", OFFLINE)
    assert code == 0
    real, fake, net = pixels(40), pixels(30, seed=1), RandomConv(3)
    expected = frechet_distance(*(gaussian(extract(net, x, 64).features) for x in (real, fake)))
    assert values(found)["fd[random]"] == pytest.approx(expected, rel=1e-6)
    drawn = real[draws.permutation(40, 0, "swd.reals", 0)[:30]]
    assert {name: values(found)[name] for name in ("swd", "swd_16")} == pytest.approx(swd(drawn, fake))
    first, second = stream_pairs(30)
    assert values(found)["ms_ssim_5s"] == pytest.approx(float(ms_ssim(fake[first], fake[second]).mean()))
    assert values(found)["colour"] == pytest.approx(colour_distance(colour_moments(real), colour_moments(fake)))
    assert set(found["prdc"]["values"]) == set(found["prdc"]["floor"])
    for record in found.values():
        stamp = record["protocol"]
        assert (stamp["quantisation"], stamp["part"], stamp["n_floor"]) == ("uint8 as stored", "all", 20)


def test_a_folder_its_zip_and_its_arrays_are_one_set(sets, tmp_path, capsys):
    real, fake = sets
    for name, images in (("nchw", pixels(30, seed=1)), ("nhwc", pixels(30, seed=1).permute(0, 2, 3, 1))):
        np.savez(tmp_path / f"{name}.npz", images.numpy())
    one = run(capsys, real, fake, "--metrics", OFFLINE)[1]
    for other in (zipped(fake), tmp_path / "nchw.npz", tmp_path / "nhwc.npz"):
        again = run(capsys, zipped(real), other, "--metrics", OFFLINE)[1]
        assert values(again) == values(one)
        assert {n: r["protocol"] for n, r in again.items()} == {n: r["protocol"] for n, r in one.items()}
        assert {n: r["id"] for n, r in again.items()} == {n: r["id"] for n, r in one.items()}


def test_grey_arrays_named_images_and_grey_against_rgb(tmp_path, capsys):
    grey = pixels(20, channels=1)
    np.savez(tmp_path / "grey.npz", images=grey[:, 0].numpy(), labels=np.arange(20))
    real = folder(tmp_path / "grey", grey)
    code, found, _ = run(capsys, real, tmp_path / "grey.npz", "--metrics", "colour,swd")
    assert (code, found["colour"]["values"]["colour"], set(found["colour"]["values"])) == (
        0, 0.0, {"colour", "colour_mean", "colour_sd"},
    )  # fmt: skip
    rgb = folder(tmp_path / "rgb", grey.repeat(1, 3, 1, 1))
    _, found, _ = run(capsys, real, rgb, "--metrics", "colour")
    assert found["colour"]["values"]["colour"] == 0
    assert found["colour"]["protocol"]["data_channels"] == 3


def test_limits_are_drawn_by_the_seed_and_the_cache_is_keyed_by_content(sets, tmp_path, capsys):
    asked = [*sets, "--metrics", "fd,kid", "--reals", 25, "--fakes", 20]
    plain = run(capsys, *asked)[1]
    assert (plain["fd"]["protocol"]["n_real"], plain["fd"]["protocol"]["n_fake"]) == (25, 20)
    assert values(run(capsys, *asked, "--seed", 1)[1])["fd[random]"] != values(plain)["fd[random]"]
    cache = tmp_path / "cache"
    assert values(run(capsys, *asked, "--cache", cache)[1]) == values(plain)
    kept = {path: path.read_bytes() for path in cache.rglob("*.npz")}
    assert len(kept) == 4  # features, statistics, two floors
    assert values(run(capsys, *asked, "--cache", cache)[1]) == values(plain)
    assert {path: path.read_bytes() for path in cache.rglob("*.npz")} == kept
    (sets[0] / "000.png").write_bytes((sets[1] / "000.png").read_bytes())
    run(capsys, *[*sets, "--metrics", "fd,kid"], "--cache", cache)
    assert len(list(cache.rglob("*.npz"))) == 8


def test_the_table_shows_values_reals_and_floors(sets, capsys):
    assert score.main([*map(str, sets), "--extractor", "random", "--metrics", "fd,kid,ms_ssim"]) == 0
    shown = capsys.readouterr().out
    for part in ("30 fakes against 40 reals, 16 px", "(20 each)", "fd[random]", "ms_ssim_5s", "→ real", "↓"):
        assert part in shown


def test_a_metric_that_fails_is_said_and_the_others_stand(sets, capsys):
    code, found, said = run(capsys, *sets, "--metrics", "fid,is,colour")
    assert code == 2
    assert [found[name]["status"] for name in ("fid", "is", "colour")] == ["failed", "failed", "ok"]
    assert "fid has no value" in said
    assert "is has no value: the extractor random tells no classes" in said


def test_corrupt_images_are_named_and_left_out(sets, capsys):
    (sets[1] / "007.png").write_bytes((sets[1] / "007.png").read_bytes()[:60])
    (sets[1] / "008.png").write_bytes(b"not a picture")
    code, found, said = run(capsys, *sets, "--metrics", "colour")
    assert (code, found["colour"]["protocol"]["n_fake"]) == (0, 28)
    assert "007.png" in said
    assert "008.png: no image format" in said


def test_sizes_must_agree_or_be_asked_for(sets, tmp_path, capsys):
    real, _ = sets
    big = folder(tmp_path / "big", pixels(10, 24))
    code, _, said = run(capsys, real, big, "--metrics", "colour")
    assert code == 2
    assert "16×16" in said
    assert "24×24: say --size" in said
    code, found, _ = run(capsys, real, big, "--metrics", "colour", "--size", 12)
    assert (code, found["colour"]["protocol"]["data_size"]) == (0, 12)
    assert found["colour"]["protocol"]["data_resize_filter"] == "lanczos"
    (big / "000.png").rename(real / "999.png")
    code, _, said = run(capsys, real, sets[1], "--metrics", "colour")
    assert code == 2
    assert "999.png is 24×24, others 16×16" in said
    wide = tmp_path / "wide.npz"
    np.savez(wide, np.zeros((5, 8, 16, 3), np.uint8))
    assert "not square" in run(capsys, wide, wide, "--metrics", "colour")[2]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.full((5, 16, 16, 3), np.nan, np.float32)}, "not uint8"),
        ({"x": np.array([[[[-1.0, np.inf, 2.0]]]] * 4)}, "from -1 to inf with 4 not finite"),
        ({"x": np.zeros((5, 16, 16, 4), np.uint8)}, "neither"),
        ({"x": np.zeros((0, 16, 16, 3), np.uint8)}, "no images"),
        ({"x": np.array([{}, {}])}, "never read"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, "name the images `images`"),
        ({"x": np.zeros((1, 16, 16, 3), np.uint8)}, "two images are needed, 1 can be read"),
    ],
)
@pytest.mark.filterwarnings("ignore:All-NaN")
def test_arrays_that_are_no_images(sets, tmp_path, capsys, arrays, said):
    np.savez(tmp_path / "x.npz", **arrays, allow_pickle=True)
    code, _, error = run(capsys, sets[0], tmp_path / "x.npz", "--metrics", "colour")
    assert code == 2
    assert said in error


def test_bad_input_is_exit_code_2_in_plain_words(sets, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04")
    (tmp_path / "all_bad").mkdir()
    (tmp_path / "all_bad" / "a.png").write_bytes(b"")
    for said, asked in {
        "no images in it": [tmp_path / "empty"],
        "no such folder": [tmp_path / "absent"],
        "cannot be read as .npz": [tmp_path / "torn.npz"],
        "none of its 1 images": [tmp_path / "all_bad"],
        "no such metric of two sets: fidd": [sets[1], "--metrics", "fidd"],
        "no such metric of two sets: accuracy": [sets[1], "--metrics", "accuracy,swd"],
        "names no metric": [sets[1], "--metrics", ","],
        "--fakes 1": [sets[1], "--fakes", "1"],
        "--resize": [sets[1], "--resize", "nearest"],
        "no module": [sets[1], "--extractor", "absent_lab.nets:Net"],
    }.items():
        code = score.main([str(sets[0]), *map(str, asked)])
        assert (code, said in capsys.readouterr().err) == (2, True), said
