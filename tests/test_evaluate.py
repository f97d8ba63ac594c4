"""From fakes to score records: one pass, one protocol, everything of the reference set made once."""

import gc
import json
import logging
import multiprocessing
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench import data as datasets
from bench import draws, evaluate, reals
from bench.metrics import frechet_distance, gaussian, ms_ssim, standins, swd
from bench.metrics.features import extract
from bench.metrics.inception import FILE, VARIABLE
from bench.metrics.ms_ssim import shuffled_pairs, stream_pairs
from bench.metrics.reference import kept
from bench.metrics.standins import RandomConv
from bench.metrics.suite import Result, Side, floor
from bench.protocol import METRICS, Evaluate, measure, requests
from bench.setting import Data, digest

FACES = Data(name="faces", size=16)
OFFLINE = ("fd", "fid_infinity", "kid", "prdc", "swd", "ms_ssim", "colour")
N = 66


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """Inception is looked for where it is not; training a classifier takes no time."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "no_inception"))
    monkeypatch.setattr(standins, "STEPS", (20, 20))
    evaluate.reference.cache_clear()


def fakes(n=N, size=16, channels=1, seed=0):
    rough = draws.uniform((n, channels, size, size), seed, "test.fakes", 0, 0, 255)
    return torch.nn.functional.avg_pool2d(rough, 3, 1, 1).round().to(torch.uint8)


def scores(tmp_path, metrics=OFFLINE, data=FACES, images=None, fresh=True, **knobs):
    """Prepare and score; {metric: record}."""
    asked = Evaluate(**{"fakes": N, "kid_subsets": 5, **knobs})
    places = {"root": tmp_path / "data", "cache": tmp_path / "cache"}
    if fresh:
        evaluate.reference.cache_clear()
    evaluate.prepare(data, asked, metrics, **places)
    source = datasets.load(data, places["root"], places["cache"])
    shape = SimpleNamespace(channels=source.images.shape[1], classes=source.classes)
    listed = requests(metrics, asked, data, "run", "000001.000", shape)
    records = list(evaluate.score(listed, fakes() if images is None else images, data, asked, **places))
    assert {record["id"] for record in records} == {request.id for request in listed}
    assert len(records) == len(listed)
    return {record["metric"]: record for record in records}


def values(records):
    return {name: value for record in records.values() for name, value in record["values"].items()}


def test_records_are_whole_and_go_through_json(tmp_path):
    found = scores(tmp_path)
    assert set(found) == set(OFFLINE)
    for name, record in found.items():
        assert json.loads(json.dumps(record, allow_nan=False)) == record
        assert (record["status"], record["reason"]) == ("ok", None)
        assert record["seconds"] >= 0
        assert record["finished"].endswith("Z")
        assert record["values"]
        # Halves of 40 are too few to extrapolate from.
        assert set(record["floor"]) == (set() if name == "fid_infinity" else set(record["values"]))
        assert set(record["real"]) <= set(record["values"])
        assert set(record["spread"]) <= set(record["values"])
        for value in record["values"]:
            assert measure(value).version == METRICS[name].version
        stamp = record["protocol"]
        assert all(value is None or isinstance(value, str | int | bool) for value in stamp.values())
        expected = {
            "metric": name,
            "version": METRICS[name].version,
            "part": "train",
            "data_name": "faces",
            "data_size": 16,
            "seed": 0,
        }
        assert expected.items() <= stamp.items()
        assert len(stamp["data_fingerprint"]) == 16
        assert stamp["n_floor"] == 40
    assert found["fd"]["protocol"]["weights"] == RandomConv(1).weights
    assert found["swd"]["protocol"]["n_real"] == found["swd"]["protocol"]["n_fake"] == N
    assert (found["fd"]["protocol"]["n_real"], found["fd"]["protocol"]["n_fake"]) == (80, N)
    assert found["kid"]["protocol"]["subset_size"] == N
    assert found["kid"]["spread"]["kid[random]"]["of"] == "5 subsets"


def test_values_floors_and_reals_are_those_of_the_plain_functions(tmp_path):
    found = scores(tmp_path)
    images = datasets.load(FACES, tmp_path / "data", tmp_path / "cache").part("train").images
    net = RandomConv(1)

    def fitted(x):
        return gaussian(extract(net, x, 64).features)

    assert found["fd"]["values"]["fd[random]"] == pytest.approx(
        frechet_distance(fitted(images), fitted(fakes())), rel=1e-6
    )
    order = draws.permutation(80, 0, "floor", 0)
    a, b = order[:40].sort().values, order[40:].sort().values
    assert found["fd"]["floor"]["fd[random]"] == pytest.approx(
        frechet_distance(fitted(images[a]), fitted(images[b])), rel=1e-6
    )
    assert found["swd"]["floor"] == pytest.approx(swd(images[a], images[b]))
    assert found["swd"]["values"] == pytest.approx(swd(images[draws.permutation(80, 0, "swd.reals", 0)[:N]], fakes()))

    def paired(x, pairs):
        return float(ms_ssim(x[pairs[0]], x[pairs[1]]).mean())

    similarity = found["ms_ssim"]
    assert similarity["values"]["ms_ssim_5s"] == pytest.approx(paired(fakes(), stream_pairs(N)))
    assert similarity["real"]["ms_ssim_5s"] == pytest.approx(paired(images, shuffled_pairs(80, N // 2, 0)))
    of_halves = [paired(images[half], shuffled_pairs(40, N // 2, 0)) for half in (a, b)]
    assert similarity["floor"]["ms_ssim_5s"] == pytest.approx(abs(of_halves[0] - of_halves[1]))
    pixels = images.double()
    assert found["colour"]["real"]["colour_mean"] == pytest.approx(float(pixels.mean()))


def test_a_fresh_cache_a_second_call_and_one_metric_alone_give_the_same_numbers(tmp_path):
    first = scores(tmp_path / "a")
    assert values(scores(tmp_path / "b")) == values(first)
    assert values(scores(tmp_path / "a", fresh=False)) == values(first)
    assert values(scores(tmp_path / "a", metrics=("kid",))) == first["kid"]["values"]
    assert values(scores(tmp_path / "a", seed=1, images=fakes())) != values(first)


def test_reals_score_better_than_noise_and_their_own_copy_is_at_zero(tmp_path):
    images = datasets.load(FACES, tmp_path / "data", tmp_path / "cache").part("train").images
    own = scores(tmp_path, images=images.clone(), fakes=80)
    noise = scores(tmp_path, images=fakes(80), fakes=80)
    assert own["fd"]["values"]["fd[random]"] < 1e-8
    assert own["colour"]["values"]["colour"] == 0
    for name in ("swd", "colour", "kid[random]", "fd_infinity[random]"):
        assert values(noise)[name] > values(own)[name]
    for name in ("precision[random]", "recall[random]", "coverage[random]"):
        assert values(noise)[name] < values(own)[name] <= 1


def test_labelled_sets_get_a_classifier_kept_for_all(tmp_path):
    digits = Data(name="digits", size=8)
    found = scores(tmp_path, metrics=("fd", "is"), data=digits, images=fakes(size=8))
    assert set(values(found)) == {"fd[classifier]", "is[classifier]"}
    assert found["is"]["spread"]["is[classifier]"]["of"] == "10 splits"
    assert 1 <= found["is"]["values"]["is[classifier]"] <= 10
    assert found["is"]["real"]["is[classifier]"] > 1
    (kept_weights,) = (tmp_path / "cache" / "extractors").iterdir()
    before = kept_weights.read_bytes()
    again = scores(tmp_path, metrics=("fd", "is"), data=digits, images=fakes(size=8))
    assert kept_weights.read_bytes() == before
    assert again["fd"]["protocol"] == found["fd"]["protocol"]


GREY = {"colour", "colour_mean", "colour_sd"}
RGB = {"colour", *(f"colour_{moment}_{channel}" for moment in ("mean", "sd") for channel in "rgb")}


@pytest.mark.parametrize(
    ("size", "channels", "names"),
    [
        (24, 1, {"swd", "swd_24", "ms_ssim_4s", *GREY}),
        (48, 3, {"swd", "swd_48", "swd_24", "ms_ssim_5s", *RGB}),
        (9, 1, {"swd", "swd_9", "ms_ssim_1s", *GREY}),
    ],
)
def test_sizes_that_are_no_power_of_two_and_colour(tmp_path, size, channels, names):
    data = Data(name="faces", size=size, channels=channels)
    metrics = ("fd", "swd", "ms_ssim", "colour")
    found = scores(tmp_path, metrics=metrics, data=data, images=fakes(size=size, channels=channels))
    assert {record["reason"] for record in found.values()} == {None}
    assert set(values(found)) == {"fd[random]", *names}


def test_halves_of_the_reals_are_gone_when_their_floor_is_known():
    """No cycle holds a side: gigabytes would wait for the collector."""
    whole = Side(fakes(8), lambda settings: pytest.fail("needs no features"), real=True)
    half = whole.take(torch.arange(4))
    assert len(half.images) == 4
    gone = weakref.ref(half)
    gc.disable()
    try:
        del half
        assert gone() is None
    finally:
        gc.enable()


def test_one_real_has_no_floor():
    alone = Side(fakes(1), lambda settings: pytest.fail("needs no features"), real=True)
    assert floor("colour", alone, {"fakes": 10, "seed": 0}) == {}


def test_one_pass_of_the_extractor_serves_all(tmp_path, monkeypatch):
    seen = []

    def counted(extractor, images, *others):
        seen.append(len(images))
        return extract(extractor, images, *others)

    monkeypatch.setattr(reals, "extract", counted)
    scores(tmp_path, metrics=("fd", "kid", "prdc", "fid_infinity"))
    assert seen == [80, N]
    scores(tmp_path, metrics=("fd", "kid", "prdc", "fid_infinity"))
    assert seen == [80, N, N]


# What cannot be scored ------------------------------------------------------------------------------------


def reason(record):
    assert record["status"] == "failed"
    assert record["values"] == record["floor"] == record["real"] == {}
    return record["reason"]


def test_a_metric_that_fails_says_why_and_does_not_stop_the_others(tmp_path, caplog):
    found = scores(tmp_path, metrics=("fid", "is", "swd"))
    assert FILE in reason(found["fid"])
    assert "no Inception score" in reason(found["is"])
    assert found["swd"]["status"] == "ok"
    assert "fid will have no score" in caplog.text


@pytest.mark.parametrize(
    "images", [fakes(N - 1), fakes(size=32), fakes(channels=3), fakes().float()], ids=["count", "size", "rgb", "float"]
)
def test_fakes_that_are_not_what_was_asked_are_refused(tmp_path, images):
    found = scores(tmp_path, metrics=("fd", "swd"), images=images)
    assert all(f"not uint8 [{N}, 1, 16, 16]" in reason(record) for record in found.values())


def test_collapsed_fakes_have_scores_and_flat_ones_no_swd(tmp_path):
    one = scores(tmp_path, images=fakes()[:1].repeat(N, 1, 1, 1))
    assert {record["status"] for record in one.values()} == {"ok"}
    assert values(one)["ms_ssim_5s"] == pytest.approx(1)
    assert values(one)["recall[random]"] == 0
    flat = scores(tmp_path, images=torch.full((N, 1, 16, 16), 9, dtype=torch.uint8))
    assert "flat colour" in reason(flat["swd"])
    assert flat["fd"]["status"] == flat["ms_ssim"]["status"] == "ok"


def test_too_few_fakes_fail_only_what_needs_more(tmp_path):
    found = scores(tmp_path, images=fakes(4), fakes=4)
    assert "k = 5" in reason(found["prdc"])
    assert "60 fakes" in reason(found["fid_infinity"])
    assert {found[name]["status"] for name in ("fd", "kid", "swd", "ms_ssim", "colour")} == {"ok"}


OWN = """
import torch
class Blind:
    name, weights, dim, classes = "blind", "", 1, 0
    def __call__(self, images):
        x = images.float().mean(dim=(1, 2, 3))[:, None]
        return torch.where(x == 0, torch.nan, x), None
"""


def test_an_extractor_of_one_s_own_and_one_that_returns_nan(tmp_path, monkeypatch):
    (tmp_path / "own_blind.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    fine = scores(tmp_path, metrics=("fd",), extractor="own_blind:Blind")
    assert set(fine["fd"]["values"]) == {"fd[own_blind:Blind]"}
    assert fine["fd"]["protocol"]["extractor_source"] is not None
    black = fakes()
    black[7] = 0
    broken = scores(tmp_path, metrics=("fd", "swd"), extractor="own_blind:Blind", images=black)
    assert "not finite for 1 of 66 images" in reason(broken["fd"])
    assert broken["swd"]["status"] == "ok"


def test_a_value_that_is_not_finite_is_no_score(tmp_path, monkeypatch):
    monkeypatch.setitem(evaluate.SCORERS, "colour", lambda real, fake, settings: Result({"colour": float("inf")}))
    assert reason(scores(tmp_path, metrics=("colour",))["colour"]) == "colour is inf"


def test_the_part_is_the_one_asked_for(tmp_path):
    train, test = (scores(tmp_path, metrics=("colour",), part=part)["colour"] for part in ("train", "test"))
    assert (train["protocol"]["n_real"], test["protocol"]["n_real"]) == (80, 10)
    assert train["id"] != test["id"]
    assert train["real"] != test["real"]


def test_more_reals_than_fakes_and_more_fakes_than_reals(tmp_path):
    """80 reals: against fewer and more fakes; each metric takes what it takes, and the stamp says so."""
    for count, swd_count in ((20, 20), (120, 80)):
        found = scores(tmp_path, images=fakes(count), fakes=count, metrics=("fd", "kid", "prdc", "swd", "ms_ssim"))
        assert {record["reason"] for record in found.values()} == {None}
        assert (found["fd"]["protocol"]["n_real"], found["fd"]["protocol"]["n_fake"]) == (80, count)
        assert found["swd"]["protocol"]["n_real"] == found["swd"]["protocol"]["n_fake"] == swd_count
        assert found["kid"]["protocol"]["subset_size"] == min(80, count)
        assert found["ms_ssim"]["protocol"]["pairs"] == count // 2


def test_fewer_images_than_features_have_a_distance(tmp_path):
    """The random net has 113 features; 20 fakes and 80 reals have singular covariances."""
    found = scores(tmp_path, images=fakes(20), fakes=20, metrics=("fd",))
    assert RandomConv(1).dim > 80
    assert 0 < found["fd"]["values"]["fd[random]"] < float("inf")


def test_labelled_sets_count_modes(tmp_path):
    digits = Data(name="digits", size=8)
    images = datasets.load(digits, tmp_path / "data", tmp_path / "cache").part("train").images
    found = scores(tmp_path, metrics=("modes",), data=digits, images=images[:300], fakes=300)["modes"]
    assert set(found["values"]) == {"modes[classifier]", "reverse_kl[classifier]"}
    assert found["real"] == {"modes[classifier]": found["values"]["modes[classifier]"]}
    assert found["values"]["reverse_kl[classifier]"] < 0.1
    one = scores(tmp_path, metrics=("modes",), data=digits, images=images[:1].repeat(300, 1, 1, 1), fakes=300)["modes"]
    assert one["values"]["modes[classifier]"] == 1
    assert one["values"]["reverse_kl[classifier]"] > 1
    assert "tells no classes" in reason(scores(tmp_path, metrics=("modes",))["modes"])


def test_swd_takes_no_more_than_the_protocol_s_images(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.metrics.suite.IMAGES", 40)
    found = scores(tmp_path, metrics=("swd",))["swd"]
    assert (found["protocol"]["n_real"], found["protocol"]["n_fake"]) == (40, 40)
    images = datasets.load(FACES, tmp_path / "data", tmp_path / "cache").part("train").images
    drawn = images[draws.permutation(80, 0, "swd.reals", 0)[:40]]
    assert found["values"] == pytest.approx(swd(drawn, fakes()[:40]))


def test_images_come_before_features_and_large_features_are_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(reals, "HELD", 0)
    found = scores(tmp_path, metrics=("fd", "swd", "kid", "colour"))
    assert list(found) == ["swd", "colour", "fd", "kid"]
    reference, _ = evaluate.reference(FACES, "train", tmp_path / "data", tmp_path / "cache")
    assert not reference.side._features
    assert values(scores(tmp_path, metrics=("fd", "swd", "kid", "colour"), fresh=False)) == values(found)


# The cache ------------------------------------------------------------------------------------------------


def files(tmp_path):
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.parent.name != "data")


def flipped(content):
    """One bit of the first array's numbers."""
    at = content.index(b"\n", content.index(b"NUMPY")) + 1
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_a_damaged_file_is_made_again_and_said(tmp_path, caplog):
    first = scores(tmp_path)
    whole = {path: path.read_bytes() for path in files(tmp_path)}
    assert len(whole) == len(["features", "statistics"]) + len(OFFLINE)
    for number, (path, content) in enumerate(whole.items()):
        damage = [content[: len(content) // 2], b"", flipped(content)][number % 3]
        path.write_bytes(damage)
    caplog.set_level(logging.WARNING)
    again = scores(tmp_path)
    assert values(again) == values(first)
    assert {name: record["floor"] for name, record in again.items()} == {
        name: record["floor"] for name, record in first.items()
    }
    assert {path: path.read_bytes() for path in files(tmp_path)} == whole
    assert caplog.text.count("damaged; made again") == len(whole)


def test_content_that_was_changed_by_hand_fails_its_checksum(tmp_path, caplog):
    made = {"x": np.arange(4.0)}
    assert kept(tmp_path, "floors", {"a": 1}, lambda: made)["x"].tolist() == [0, 1, 2, 3]
    (path,) = (tmp_path / "floors").iterdir()
    with np.load(path) as stored:
        np.savez(path, x=stored["x"] + 1, sha256=stored["sha256"])
    assert kept(tmp_path, "floors", {"a": 1}, lambda: made)["x"].tolist() == [0, 1, 2, 3]
    assert "damaged" in caplog.text
    assert kept(tmp_path, "floors", {"a": 1}, lambda: pytest.fail("made twice"))["x"].tolist() == [0, 1, 2, 3]
    assert path.stem == digest({"a": 1}, 24)


def test_all_that_race_get_what_the_first_published(tmp_path):
    """Eight makers of unlike arrays at once: one file, whole, and everybody has its content."""
    together = threading.Barrier(8)

    def race(number: int) -> list[float]:
        def make():
            together.wait()
            return {"x": np.full(1000, float(number))}

        return kept(tmp_path, "floors", {"a": 1}, make)["x"].tolist()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(race, range(8)))
    assert all(values == found[0] for values in found)
    assert [path.name for path in (tmp_path / "floors").iterdir()] == [f"{digest({'a': 1}, 24)}.npz"]


def start(place: str) -> dict[str, float]:
    torch.set_num_threads(1)
    return values(scores(Path(place), metrics=("fd", "swd", "ms_ssim")))


def test_many_that_start_together_make_one_cache_and_one_number(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(start, [str(tmp_path)] * 2, chunksize=1)
    assert found[0] == found[1]
    names = [path.name for path in files(tmp_path)]
    assert len(names) == len(set(names))
    assert not [name for name in names if not name.endswith(".npz")]
