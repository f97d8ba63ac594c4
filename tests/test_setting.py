"""Identity: what changes a run's id, and what does not."""

import contextlib
import json
import random

import pytest
from pydantic import ValidationError

from bench import setting
from bench.setting import DEFAULTS, NUMERICS, Setting, digest, flatten, overlay, resolve, run_id, unflatten

KNOBS = {"data.name": "digits", "g_norm": "adain", "train.kimg": 3.0, "train.betas": [0, 0.9], "mbstd": "all"}


def test_defaults_are_pinned():
    """The id leaves out what equals the default, so a changed default would give old ids to new runs.

    Whoever changes a default must raise NUMERICS in the same commit, which changes every id, and then this
    constant.  A new knob, whose default means "as before", changes no id and only this constant.
    """
    assert (NUMERICS, digest(DEFAULTS)) == (1, "8af07cc5f4b8e95b")


def test_id_is_blind_to_key_order_and_layers():
    random_order = list(KNOBS.items())
    random.Random(0).shuffle(random_order)
    whole = run_id(resolve(KNOBS))
    assert run_id(resolve(dict(random_order))) == whole
    assert run_id(resolve(*({key: value} for key, value in random_order))) == whole
    nested = json.dumps(
        {key: dict(reversed(list(v.items()))) if isinstance(v, dict) else v for key, v in unflatten(KNOBS).items()}
    )
    assert run_id(Setting.model_validate_json(nested)) == whole


def test_id_is_blind_to_the_folder_path():
    ids = {
        run_id(resolve({"data.name": "folder", "data.folder": p, "data.fingerprint": "f"})) for p in ("/a", "b/c.zip")
    }
    assert len(ids) == 1


def test_saying_a_default_changes_no_id():
    said = {key: value for key, value in DEFAULTS.items() if key != "sources"}
    assert run_id(resolve(said)) == run_id(Setting())


CANDIDATES: tuple[object, ...] = (
    *(1, 2, 3, 16, 0.25, True, False, "none", "all", "abc", [1], [0.1, 0.2], {"mylab.norms": "0123"}),
    *("bn", "in", "add", "gp", "hinge", "sgd", "uniform", "wgan_gp", "linear", "box", "digits", "sndcgan"),
    *("spectral", "joint", "average", "batch", "first", "ab", "b_to_a", "supervised", "concat", "mapping", "relu"),
    *("feature_matching", "whole", "ssim", "mean", "tanh", 16, ["color"], 5, "gan_landscape", "tf32", "bf16"),
)


@pytest.mark.parametrize("key", [key for key in DEFAULTS if key not in ("data.folder", "data.input_folder")])
def test_every_other_knob_is_in_the_id(key):
    """Whatever legal values a knob takes, equal settings have equal ids and unequal ones have not."""
    ids = {Setting().model_dump_json(): run_id(Setting())}
    for value in CANDIDATES:
        with contextlib.suppress(ValidationError):
            made = resolve({key: value})
            ids[made.model_dump_json()] = run_id(made)
    assert len(ids) > 1
    assert len(set(ids.values())) == len(ids)


def test_seed_world_size_and_source_make_other_runs():
    changed = [
        {},
        {"seed": 1},
        {"train.world_size": 2},
        {"sources": {"m": "a"}},
        {"sources": {"m": "b"}},
        {"forced": True},
    ]
    assert len({run_id(resolve(KNOBS, layer)) for layer in changed}) == len(changed)


def test_precision_is_in_the_id():
    """There is one precision yet; a second must not share ids with it, so it must not be among the free knobs."""
    other = Setting(train=setting.Train.model_construct(**{**setting.Train().model_dump(), "precision": "bf16"}))
    assert run_id(other) != run_id(Setting())
    assert frozenset({"data.folder", "data.input_folder"}) == setting.IDENTITY_FREE


def test_numerics_is_in_the_id(monkeypatch):
    before = run_id(Setting())
    monkeypatch.setattr(setting, "NUMERICS", NUMERICS + 1)
    assert run_id(Setting()) != before


def test_flatten_inverts_unflatten():
    assert dict(flatten(unflatten(KNOBS))) == KNOBS
    assert dict(flatten({"sources": {"a.b": "c"}, "train": {"lr": 1}})) == {"sources": {"a.b": "c"}, "train.lr": 1}


def test_a_new_length_replaces_the_old_and_its_snapshots():
    base = {"train.epochs": 20.0, "train.snapshots_epochs": [5, 20], "train.lr": 1e-4}
    assert overlay(base, {"train.kimg": 4}) == {"train.lr": 1e-4, "train.kimg": 4}
    assert overlay(base, {"train.snapshots_kimg": [1]}) == {
        "train.epochs": 20.0,
        "train.lr": 1e-4,
        "train.snapshots_kimg": [1],
    }
    assert base["train.snapshots_epochs"] == [5, 20]


def test_a_whole_number_is_a_float_where_a_float_is_due():
    betas = resolve({"train.betas": [0, 0.9]}).train.betas
    assert betas == (0.0, 0.9) and all(type(beta) is float for beta in betas)
    assert run_id(resolve({"train.lr": 1})) == run_id(resolve({"train.lr": 1.0}))


def test_silent_conversions_are_refused():
    for wrong in (
        {"pixel_norm": "off"},
        {"pixel_norm": 1},
        {"g_width": 1.5},
        {"train.lr": "1e-4"},
        {"g_nrom": "bn"},
        {"mbstd": True},
    ):
        with pytest.raises(ValidationError):
            resolve(wrong)
