"""What a score's id depends on, and what names mean."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from bench import own_modules
from bench.protocol import METRICS, Evaluate, count_label, measure, requests, resolve_extractor
from bench.setting import Data

GREY = SimpleNamespace(channels=1, classes=())
LABELLED = SimpleNamespace(channels=1, classes=("a", "b"))
ALL = tuple(METRICS)


def ids(evaluate=None, data=None, run="r", snapshot="000008.000", source=GREY, metrics=ALL):
    listed = requests(metrics, evaluate or Evaluate(), data or Data(fingerprint="f"), run, snapshot, source)
    return {request.metric: request.id for request in listed}


def changed(**knobs):
    """Metrics whose id moves with a change of `Evaluate`."""
    before, after = ids(), ids(Evaluate(**knobs))
    return {name for name in ALL if before[name] != after[name]}


FEATURES = {"fd", "fid_infinity", "is", "kid", "prdc", "nearest", "modes", "label_agreement", "paths"}

OF_FAKES = set(ALL) - {"accuracy"}
"""All but D's own accuracy, which is always of the test part."""


@pytest.mark.parametrize(
    ("knobs", "moved"),
    [
        ({"extractor": "classifier"}, FEATURES),
        ({"resize": "legacy_pytorch"}, {"fid"}),
        ({"is_splits": 5}, {"is"}),
        ({"kid_subsets": 10}, {"kid"}),
        ({"kid_subset_size": 10}, {"kid"}),
        ({"prdc_k": 3}, {"prdc"}),
        ({"edit_attribute": "slant"}, {"edits"}),
        ({"fakes": 100}, OF_FAKES),
        ({"seed": 1}, OF_FAKES),
        ({"batch": 32}, set(ALL)),
        ({"part": "test"}, OF_FAKES),
    ],
)
def test_a_setting_moves_the_metrics_that_read_it_and_no_other(knobs, moved):
    assert changed(**knobs) == moved


@pytest.mark.parametrize(
    "data",
    [
        Data(fingerprint="g"),
        Data(fingerprint="f", size=64),
        Data(fingerprint="f", channels=3),
        Data(fingerprint="f", resize_filter="box"),
    ],
)
def test_another_reference_set_moves_every_id(data):
    before, after = ids(), ids(data=data)
    assert all(before[name] != after[name] for name in ALL)


def test_run_snapshot_and_version_move_ids_and_a_path_does_not(monkeypatch):
    before = ids()
    assert before["fd"] not in (ids(run="q")["fd"], ids(snapshot="000016.000")["fd"])
    assert before == ids(data=Data(fingerprint="f", folder="/elsewhere"))
    assert before == ids(data=Data(fingerprint="f", channels=1))
    assert len(set(before.values())) == len(ALL)
    monkeypatch.setitem(METRICS, "swd", METRICS["swd"]._replace(version=99))
    after = ids()
    assert {name for name in ALL if before[name] != after[name]} == {"swd"}


def test_auto_is_the_stand_in_that_fits_the_set():
    assert resolve_extractor("auto", 0) == resolve_extractor("auto", 1) == "random"
    assert resolve_extractor("auto", 2) == "classifier"
    assert resolve_extractor("inception", 2) == "inception"
    assert ids()["fd"] == ids(Evaluate(extractor="random"))["fd"]
    assert ids(source=LABELLED)["fd"] == ids(Evaluate(extractor="classifier"), source=LABELLED)["fd"]


def test_fd_on_inception_is_fid_once():
    listed = requests(("fd", "fid", "swd"), Evaluate(extractor="inception"), Data(), "r", "s", GREY)
    assert [request.metric for request in listed] == ["fid", "swd"]
    assert listed[0].id == ids(data=Data(), snapshot="s")["fid"]
    assert listed[0].settings["extractor"] == "inception"
    with pytest.raises(KeyError):
        requests(("fidd",), Evaluate(), Data(), "r", "s", GREY)


def test_an_extractor_of_one_s_own_is_hashed_and_not_imported(tmp_path, monkeypatch):
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "__init__.py").write_text("raise RuntimeError('imported')")
    source = tmp_path / "lab" / "nets.py"
    source.write_text("class Net: ...")
    monkeypatch.syspath_prepend(str(tmp_path))
    first = own_modules.source_hash("lab.nets:Net")
    asked = Evaluate(extractor="lab.nets:Net")
    before = ids(asked)
    source.write_text("class Net: pass")
    assert own_modules.source_hash("lab.nets:Net") != first
    assert {name for name in ALL if before[name] != ids(asked)[name]} == FEATURES
    with pytest.raises(own_modules.OwnModuleError, match=r"lab\.nothing"):
        ids(Evaluate(extractor="lab.nothing:Net"))


@pytest.mark.parametrize("wrong", [{"fakes": 1}, {"extractor": "dino"}, {"fakess": 3}, {"batch": 0}, {"seed": -1}])
def test_evaluate_refuses(wrong):
    with pytest.raises(ValidationError):
        Evaluate(**wrong)


@pytest.mark.parametrize(
    ("name", "label", "direction"),
    [
        ("fid2k", "FID (2k)", "lower"),
        ("fid50k_legacy_pytorch", "FID (50k legacy pytorch)", "lower"),
        ("fd[random]", "Fréchet distance [random]", "lower"),
        ("fid_infinity", "FID∞", "lower"),
        ("is[classifier]", "Inception score [classifier]", "higher"),
        ("is2k", "Inception score (2k)", "higher"),
        ("kid", "KID × 10³", "lower"),
        ("kid[random]", "KID × 10³ [random]", "lower"),
        ("nearest[random]", "distance to the nearest real [random]", "reference"),
        ("precision[random]", "precision [random]", "higher"),
        ("coverage2k", "coverage (2k)", "higher"),
        ("swd", "SWD × 10³", "lower"),
        ("swd_16", "SWD × 10³, 16 px", "lower"),
        ("ms_ssim_5s", "MS-SSIM between fakes, 5 scales", "reference"),
        ("colour", "colour distance", "lower"),
        ("colour_mean_r", "colour mean r", "reference"),
        ("colour_sd", "colour sd", "reference"),
    ],
)
def test_a_value_s_name_says_what_it_is(name, label, direction):
    described = measure(name)
    assert (described.label, described.direction) == (label, direction)


def test_unknown_values_are_refused_and_counts_are_short():
    with pytest.raises(KeyError):
        measure("fidelity")
    assert [count_label(n) for n in (500, 2000, 2500, 50_000)] == ["500", "2k", "2.5k", "50k"]


def test_planning_needs_no_torch_nor_numpy():
    code = "import bench.protocol, sys; print({'torch', 'numpy', 'pandas'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"
