"""Study files: what they say, and every way in which they can be wrong."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import bench
from bench import study
from bench.recipes import RECIPES
from bench.study import StudyError, load

ROOT = Path(bench.__file__).parent.parent
GOOD = """\
# What it asks.
#
# Second paragraph.
study: s
recipe: wgan_gp
data: {name: faces, size: 32}
train: {kimg: 4}
factors:
  g_norm: [bn, adain]
  d_weight: [none, spectral]
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a study file s.yaml; return its path, relative, so that places are short."""
    monkeypatch.chdir(tmp_path)

    def make(text: str) -> Path:
        Path("s.yaml").write_text(text, encoding="utf-8")
        return Path("s.yaml")

    return make


def problems(path, profile=None, overrides=()):
    with pytest.raises(StudyError) as caught:
        load(path, profile, overrides)
    return [str(problem) for problem in caught.value.problems]


def only_problem(path, profile=None, overrides=()):
    found = problems(path, profile, overrides)
    assert len(found) == 1, found
    return found[0]


# ---------------------------------------------------------------------------------------------------------
# What a good file says.


def test_a_study(write):
    s = load(write(GOOD))
    assert (s.name, s.recipe, s.about) == ("s", "wgan_gp", "What it asks.\n\nSecond paragraph.")
    assert s.fixed == {"data.name": "faces", "data.size": 32, "train.kimg": 4.0}
    assert s.factors == {
        "g_norm": {"bn": {"g_norm": "bn"}, "adain": {"g_norm": "adain"}},
        "d_weight": {"none": {"d_weight": "none"}, "spectral": {"d_weight": "spectral"}},
    }
    assert s.reference == {"g_norm": "bn", "d_weight": "none"}
    assert (s.seeds, s.evidence, s.profile, s.design) == ((0, 1, 2), True, None, "full")


def test_levels_are_labelled_by_their_values(write):
    path = write(
        GOOD.replace(
            "  d_weight: [none, spectral]",
            "  mbstd: [0, 4, all]\n  pixel_norm: [false, true]\n  train.lr: [1e-4, 2E-3, 1]",
        )
        + "reference: {pixel_norm: true, train.lr: 0.0001, mbstd: 4}\nexclude: [{where: {mbstd: [0, all]}, why: x}]\n"
    )
    s = load(path)
    assert list(s.factors["mbstd"]) == ["0", "4", "all"]
    assert list(s.factors["pixel_norm"]) == ["false", "true"]
    assert s.factors["train.lr"] == {"0.0001": {"train.lr": 1e-4}, "0.002": {"train.lr": 2e-3}, "1": {"train.lr": 1.0}}
    assert type(s.factors["train.lr"]["1"]["train.lr"]) is float
    assert s.reference == {"g_norm": "bn", "mbstd": "4", "pixel_norm": "true", "train.lr": "0.0001"}
    assert s.exclude[0].where == {"mbstd": ("0", "all")}


def test_named_sets_of_settings(write):
    text = GOOD.replace(
        "  d_weight: [none, spectral]",
        "  opt:\n    A: {train.lr: 1e-4, train.betas: [0, 0.9]}\n    D: {train: {lr: 1e-3, betas: [0.5, 0.9]}}",
    )
    assert load(write(text)).factors["opt"] == {
        "A": {"train.lr": 1e-4, "train.betas": [0.0, 0.9]},
        "D": {"train.lr": 1e-3, "train.betas": [0.5, 0.9]},
    }


def test_yaml_is_version_1_2(write):
    """`off` a word, `1e-4` a number, `010` ten, `0o10` eight."""
    head = "study: s\nrecipe: dcgan\ntrain: {kimg: 010, lr: 1e-4}\nz_dim: 0o10\n"
    s = load(write(head + "factors:\n  own: {off: {}, on: {g_norm: in}}\n"))
    assert s.fixed == {"train.kimg": 10.0, "train.lr": 1e-4, "z_dim": 8}
    assert list(s.factors["own"]) == ["off", "on"]


def test_rows(write):
    s = load(
        write(
            "study: s\nrecipe: wgan_gp\ntrain: {kimg: 4}\nrows:\n"
            "  a: {g_norm: adain, train: {lr: 0.5}}\n"
            "  b: {from: a, set: {mbstd: 4, train.batch: 16}}\n"
            "  c: {from: b, recipe: sngan, set: {g_norm: in}}\n"
            "claims:\n  - {says: x, kind: order, cells: [a, {row: [b, c]}], measure: swd, expect: lower}\n"
        )
    )
    own = {"train.kimg": 4.0, "g_norm": "adain", "train.lr": 0.5}
    without_length = {
        name: {key: value for key, value in RECIPES[name].items() if not key.endswith(("g_steps", "epochs"))}
        for name in ("wgan_gp", "sngan")
    }
    assert s.rows["a"] == {**without_length["wgan_gp"], **own}
    assert s.rows["b"] == {**without_length["wgan_gp"], **own, "mbstd": 4, "train.batch": 16}
    assert s.rows["c"] == {**without_length["sngan"], **own, "mbstd": 4, "train.batch": 16, "g_norm": "in"}
    assert s.reference == {"row": "a"}
    assert s.claims[0].cells == ({"row": "a"}, {"row": ("b", "c")})
    assert s.factors == {}


PROFILES = (
    GOOD
    + """\
seeds: 5
metrics: [fd, swd]
evaluate: {fakes: 100, seed: 3}
profiles:
  small: {evidence: false, seeds: [7], data: {name: digits}, train: {g_steps: 2}, evaluate: {fakes: 8}}
  ladder: {rows: {x: {}, y: {g_norm: in}}}
  narrow: {factors: {g_norm: [bn, in]}}
"""
)


def test_a_profile_overrides_anything(write):
    path = write(PROFILES)
    small = load(path, "small")
    assert small.fixed == {"data.name": "digits", "data.size": 32, "train.g_steps": 2}
    assert (small.seeds, small.evidence, small.profile) == ((7,), False, "small")
    assert (small.evaluate.fakes, small.evaluate.seed) == (8, 3)
    assert list(load(path, "ladder").rows) == ["x", "y"]
    assert load(path, "ladder").factors == {}
    assert list(load(path, "narrow").factors) == ["g_norm"]


def test_a_new_length_replaces_the_old_one_and_its_snapshots(write):
    path = write(PROFILES.replace("{kimg: 4}", "{kimg: 4, snapshots_kimg: [1, 4]}"))
    assert load(path).fixed["train.snapshots_kimg"] == [1.0, 4.0]
    for s in (load(path, "small"), load(path, None, ["train.g_steps=2"])):
        assert {key: value for key, value in s.fixed.items() if key.startswith("train")} == {"train.g_steps": 2}
    s = load(path, None, ["train.snapshots_epochs=[1,2]", "train.epochs=2"])
    assert {key for key in s.fixed if key.startswith("train")} == {"train.epochs", "train.snapshots_epochs"}


def test_another_data_set_drops_what_only_the_first_one_reads(write):
    text = PROFILES.replace("{name: faces, size: 32}", "{name: folder, folder: pictures, size: 32}")
    assert load(write(text)).fixed["data.folder"] == "pictures"
    assert "data.folder" not in load(write(text), "small").fixed


def test_options_follow_the_same_yaml_rules(write):
    overrides = [
        "train.kimg=1e1",
        "factors.d_weight=[spectral]",
        "seeds=[3, 4]",
        "data={size: 64}",
        "evaluate.fakes=10",
    ]
    s = load(write(PROFILES), "small", [*overrides, "factors.train.lr=[1e-4, 1e-3]", "reference.train.lr=0.001"])
    assert s.fixed == {"data.name": "digits", "data.size": 64, "train.kimg": 10.0}
    assert list(s.factors) == ["g_norm", "d_weight", "train.lr"]
    assert list(s.factors["d_weight"]) == ["spectral"]
    assert s.reference["train.lr"] == "0.001"
    assert (s.seeds, s.evaluate.fakes, s.overrides[0]) == ((3, 4), 10, "train.kimg=1e1")


CLAIM_KINDS = """\
claims:
  - {says: a, kind: difference, left: {g_norm: adain}, right: {g_norm: bn}, measure: fd, at: last, expect: lower}
  - {says: b, kind: equivalence, left: {g_norm: adain}, right: {g_norm: bn}, measure: fd, margin: 1.1}
  - {says: c, kind: interaction, factors: [g_norm, d_weight], measure: collapsed, at: 25%}
  - {says: d, kind: order, cells: [{g_norm: bn}, {g_norm: adain, d_weight: none}], measure: swd_16, expect: higher}
  - {says: e, kind: threshold, cells: {}, measure: fid2k, value: 30, at: {seconds: 60}, expect: lower}
  - {says: f, kind: correlation, x: swd, y: fd, at: {epoch: 3}, expect: positive}
"""


def test_claims_of_every_kind(write):
    claims = load(write(GOOD + CLAIM_KINDS)).claims
    kinds = ["difference", "equivalence", "interaction", "order", "threshold", "correlation"]
    assert [claim.kind for claim in claims] == kinds
    assert claims[4].at.seconds == 60.0
    assert claims[4].value == 30.0


# ---------------------------------------------------------------------------------------------------------
# What is wrong with a bad one.


def test_all_mistakes_at_once_with_their_places(write):
    found = problems(
        write(
            "study: other\n"
            "recipe: wgan_pg\n"
            "data: {name: facez, size: 32}\n"
            "train: {kimg: 4, batch_size: 3}\n"
            "pixel_norm: off\n"
            "factors:\n"
            "  g_norm: [bn, adian]\n"
            "  penalti: [none, gp]\n"
            "reference: {d_weight: none, g_norm: nb}\n"
            "metrics: [fd, swdd]\n"
            "seeds: 5\n"
            "seeds: 6\n"
            "profiles:\n"
            "  smoke: {train: {kimgs: 3}}\n"
        )
    )
    assert [line.split(" ")[0] for line in found] == [
        "s.yaml:1:8:",
        "s.yaml:2:9:",
        "s.yaml:3:14:",
        "s.yaml:4:18:",
        "s.yaml:5:13:",
        "s.yaml:7:16:",
        "s.yaml:8:3:",
        "s.yaml:9:13:",
        "s.yaml:9:37:",
        "s.yaml:10:15:",
        "s.yaml:12:1:",
        "s.yaml:14:19:",
    ]
    said = "\n".join(found)
    for hint in ("wgan_gp", "faces", "batch", "adain", "penalty", "swd", "kimg"):
        assert f"(did you mean {hint}?)" in said
    assert "profiles.smoke.train.kimgs: unknown key" in said


# One mistake in the good file: what is replaced by what, where the problem stands, and what it must say.
ONE_MISTAKE = {
    "unknown key": ("data:", "trian: {}\ndata:", "6:1", "trian: unknown key (did you mean train?)"),
    "setting in the wrong place": ("data:", "lr: 1e-4\ndata:", "6:1", "did you mean train.lr?"),
    "dotted at the top": ("train: {kimg: 4}", "train.kimg: 4", "7:1", "did you mean train: {kimg: …}?"),
    "seed for seeds": ("data:", "seed: 1\ndata:", "6:1", "did you mean seeds?"),
    "unknown level": ("adain]", "adian]", "9:16", "did you mean adain?"),
    "all names allowed": ("adain]", "adian]", "9:16", "gn, adain, selfmod_bn, cbn or a name of your own"),
    "unknown recipe": ("wgan_gp", "wgangp", "5:9", "is not one of gan, "),
    "unknown dataset": ("faces", "cifar", "6:14", "did you mean cifar10?"),
    "unknown metric": ("factors:", "metrics: [fdi]\nfactors:", "8:11", "did you mean fd?"),
    "word for a number": ("kimg: 4", "kimg: four", "7:15", "'four' is not a number"),
    "quoted number": ("kimg: 4", "kimg: '4'", "7:15", "without quotes it is a number"),
    "fraction of a step": ("kimg: 4", "g_steps: 1.5", "7:18", "1.5 is not a whole number"),
    "out of range": ("kimg: 4", "kimg: 0", "7:15", "0 is not a number > 0"),
    "not finite": ("kimg: 4", "kimg: .inf", "7:15", ".inf is not a finite number"),
    "off": ("data:", "equalized: off\ndata:", "6:12", "in YAML 1.2 off is a word; did you mean false?"),
    "union": ("data:", "mbstd: some\ndata:", "6:8", "'some' is not all or a whole number"),
    "null": ("data:", "d_norm: null\ndata:", "6:9", "null is not one of none, bn, ln, in, gn (write none)"),
    "nothing": ("data:", "seeds:\ndata:", "6:1", "seeds: null is not"),
    "null level": ("adain]", "null]", "9:16", "null names no level: write none"),
    "list level": ("adain]", "[a]]", "9:16", "a level's name is due"),
    "level twice": ("adain]", "bn]", "9:16", "the level bn stands here twice"),
    "no levels": ("[bn, adain]", "[]", "9:11", "a list of g_norm's levels is due"),
    "one level, no list": ("[bn, adain]", "bn", "9:11", "a list of g_norm's levels is due"),
    "map for a list": ("[bn, adain]", "{bn: {}}", "9:11", "a list of g_norm's levels is due"),
    "list for a map": ("{kimg: 4}", "[4]", "7:8", "a list is not a map"),
    "group as a factor": ("  g_norm:", "  train:", "9:3", "a group of settings, not one"),
    "the seed as a factor": ("  g_norm: [bn, adain]", "  seed: [1, 2]", "9:3", "the same seeds stand in every cell"),
    "a column as a factor": ("  g_norm: [bn, adain]", "  metric: {a: {g_norm: in}}", "9:3", "a column of the results"),
    "a comma in a name": ("  g_norm: [bn, adain]", "  own: {'a,b': {g_norm: in}}", "9:9", "no spaces, commas"),
    "in a named set": ("  g_norm: [bn, adain]", "  own: {A: {train.lrr: 1}}", "9:13", "did you mean train.lr?"),
    "not dotted in a set": ("  g_norm: [bn, adain]", "  own: {A: {lr: 1}}", "9:13", "did you mean train.lr?"),
    "wrong value in a set": ("  g_norm: [bn, adain]", "  own: {A: {train.lr: x}}", "9:23", "'x' is not a number"),
    "filled by the plan": ("  g_norm: [bn, adain]", "  own: {A: {forced: true}}", "9:13", "filled by the plan"),
    "no length": ("train: {kimg: 4}\n", "train: {kimg: null}\n", "7:1", "no length"),
    "two lengths": ("{kimg: 4}", "{kimg: 4, epochs: 1}", "7:18", "train.kimg says it too"),
    "snapshot beyond the end": ("{kimg: 4}", "{kimg: 4, snapshots_kimg: [2, 5]}", "7:34", "the snapshot at 5"),
    "snapshots out of order": ("{kimg: 4}", "{kimg: 4, snapshots_kimg: [2, 1]}", "7:34", "rising order"),
    "fixed and a factor": ("data:", "g_norm: bn\ndata:", "6:1", "g_norm is fixed here and a factor too"),
    "size": ("size: 32", "size: 30", "6:27", "did you mean 28 or 32?"),
    "folder without a path": ("name: faces", "name: folder", "6:14", "say data.folder too"),
    "path without folder": ("size: 32", "size: 32, folder: x", "6:31", "only with `name: folder`"),
    "non_faces of digits": ("name: faces", "name: digits, non_faces: true", "6:22", "for faces only"),
    "a tab": ("  g_norm", "\tg_norm", "9:1", "a tab; YAML is indented with spaces"),
    "unclosed": ("adain]", "adain", "10:11", "not YAML"),
    "two documents": ("data:", "---\ndata:", "6:1", "a second document"),
    "a merge key": ("{kimg: 4}", "{<<: {kimg: 4}, kimg: 4}", "7:9", "merge keys"),
    "a tag": ("kimg: 4", "kimg: !x 4", "7:15", "no meaning here"),
    "a date": ("  g_norm: [bn, adain]", "  own: {A: {data.folder: 2020-01-01}}", "9:26", "reads as a date"),
    "an alias to itself": ("[bn, adain]", "&x [*x]", "9:11", "an alias to a part that contains it"),
    "a control character": ("What", "Wh\x07at", "1:5", "control character"),
    "unknown reference": ("factors:", "reference: {gnorm: bn}\nfactors:", "8:13", "did you mean g_norm?"),
    "unknown reference level": ("factors:", "reference: {g_norm: nb}\nfactors:", "8:21", "it has bn, adain"),
    "exclusion without why": ("factors:", "exclude: [{where: {g_norm: bn}}]\nfactors:", "8:11", "why: is missing"),
    "unknown level excluded": ("factors:", "force: [{where: {g_norm: [bn, x]}, why: y}]\nfactors:", "8:31", "no level"),
    "seeds twice": ("factors:", "seeds: [1, 1]\nfactors:", "8:12", "the seed 1 stands here twice"),
    "no seeds": ("factors:", "seeds: 0\nfactors:", "8:8", "0 is not a number >= 1"),
    "a million seeds": ("factors:", "seeds: 1000000\nfactors:", "8:8", "1000000 is not"),
    "unknown design": ("factors:", "design: fulll\nfactors:", "8:9", "did you mean full?"),
    "a third": ("factors:", "design: {fraction: 1/3}\nfactors:", "8:20", "a fraction as 1/2, 1/4, 1/8"),
    "all of it halved": ("factors:", "design: {fraction: 1/4}\nfactors:", "8:20", "leaves nothing to compare"),
    "unknown resource": ("factors:", "resources: {slurm: {partitions: x}}\nfactors:", "8:21", "mean partition?"),
    "unknown extractor": ("factors:", "evaluate: {extractor: incption}\nfactors:", "8:23", "did you mean inception?"),
    "profile is no map": ("factors:", "profiles: {a: 3}\nfactors:", "8:15", "profiles.a: 3 is not a map"),
    "mistake in a profile": ("factors:", "profiles: {a: {data: {size: 30}}}\nfactors:", "8:29", "profiles.a.data.size"),
    "own module": ("adain]", "nolab.norms:Evo]", "9:16", "there is no module nolab; looked in"),
    "unknown kind": ("factors:", "claims: [{says: a, kind: order_}]\nfactors:", "8:26", "did you mean order?"),
    "no study": ("study: s\n", "", "4:1", "study: is missing"),
    "another stem": ("study: s\n", "study: t\n", "4:8", "not the file's stem, 's'"),
}  # fmt: skip


@pytest.mark.parametrize("case", ONE_MISTAKE)
def test_one_mistake_is_one_problem(write, case):
    old, new, place, message = ONE_MISTAKE[case]
    assert GOOD.count(old) >= 1
    said = only_problem(write(GOOD.replace(old, new, 1)))
    assert said.startswith(f"s.yaml:{place}: "), said
    assert message in said


CLAIM_MISTAKES = [
    ("kind: difference, left: {g_norm: adain}", "kind: difference, left: {g_norm: adan}", "did you mean adain?"),
    (
        "left: {g_norm: adain}, right: {g_norm: bn}, measure: fd, at",
        "left: {g_norm: bn}, right: {g_norm: bn}, measure: fd, at",
        "the same cells",
    ),
    ("measure: fd, at: last", "measure: fdd, at: last", "did you mean fd?"),
    ("at: last", "at: first", "is not last"),
    ("at: last", "at: 3", "3 is not last"),
    ("at: 25%", "at: 250%", "not within a run"),
    ("at: {epoch: 3}", "at: {epoch: 3, kimg: 4}", "one of kimg, epoch, g_steps, seconds"),
    ("at: last, expect: lower", "at: last, expect: better", "one of lower, higher, fewer, more"),
    ("factors: [g_norm, d_weight]", "factors: [g_norm]", "at least 2"),
    ("factors: [g_norm, d_weight]", "factors: [g_norm, d_wait]", "did you mean d_weight?"),
    ("factors: [g_norm, d_weight]", "factors: [g_norm, g_norm]", "stands here twice"),
    ("y: fd, ", "", "claims[5].y: is missing"),
    ("value: 30", "values: 30", "did you mean value?"),
    (", margin: 1.1", "", "an equivalence needs a margin"),
    ("margin: 1.1", "margin: 0.9", "claims[1].margin: fd is compared by ratios: a margin above 1 is due"),
]


@pytest.mark.parametrize(("old", "new", "message"), CLAIM_MISTAKES)
def test_claims_that_are_wrong(write, old, new, message):
    assert CLAIM_KINDS.count(old) == 1
    found = problems(write(GOOD + CLAIM_KINDS.replace(old, new)))
    assert message in "\n".join(found)
    assert all(".yaml:1" in line for line in found)  # lines 11 to 17: the claims


ROW_MISTAKES = [
    ("b: {from: aa}", "no row 'aa' (did you mean a?)"),
    ("b: {from: b}", "b from b: this goes in a circle"),
    ("b: {form: a}", "did you mean from?"),
    ("b: {set: {grwoth: true}}", "not a setting"),
    ("b: {recipe: wgn}", "did you mean wgan?"),
    ("b: {g_norm: in, set: {g_norm: bn}}", "g_norm is said twice in this row"),
    ("b: {data: {size: 20}}", "data.size: network dcgan makes no images of 20 px"),
    ("b: {train: {kimg: null}}", "no length"),
]


@pytest.mark.parametrize(("row", "message"), ROW_MISTAKES)
def test_rows_that_are_wrong(write, row, message):
    found = problems(write(f"study: s\nrecipe: wgan_gp\ntrain: {{kimg: 4}}\nrows:\n  a: {{}}\n  {row}\n"))
    assert message in "\n".join(found)
    assert all(line.startswith("s.yaml:6:") for line in found)


def test_overlapping_factors(write):
    text = GOOD.replace("  d_weight:", "  opt: {A: {g_norm: in, train.lr: 1}}\n  train.lr: [1e-4]\n  d_weight:")
    found = problems(write(text))
    assert [line.split(": ", 1)[1] for line in found] == [
        "factors.opt: g_norm is decided by the factor g_norm too",
        "factors.train.lr: train.lr is decided by the factor opt too",
    ]


def test_lengths_overlap_whatever_their_unit(write):
    """A length in a level would silently replace the fixed one and its snapshots."""
    text = GOOD.replace("  g_norm:", "  train.epochs: [1, 2]\n  g_norm:")
    assert "decided by the factor train.epochs too" in only_problem(write(text))
    assert load(write(text.replace("train: {kimg: 4}\n", ""))).factors["train.epochs"]["2"] == {"train.epochs": 2.0}


def test_a_size_as_a_level(write):
    """It must fit the network; where the network varies too, what does not fit is an exclusion of the design."""
    text = GOOD.replace(", size: 32", "").replace("  g_norm: [bn, adain]", "  data.size: [32, 48]")
    said = only_problem(write(text))
    assert said.startswith("s.yaml:9:19: factors.data.size[1]: data.size: network dcgan makes no images of 48 px")
    assert list(load(write(text + "  network: [dcgan, sndcgan]\n")).factors["data.size"]) == ["32", "48"]


def test_a_length_as_a_level_brings_its_snapshots(write):
    text = GOOD.replace("train: {kimg: 4}\n", "").replace(
        "  g_norm: [bn, adain]", "  long: {A: {train.kimg: 4, train.snapshots_kimg: [4]}, B: {train.epochs: 3}}"
    )
    assert load(write(text)).factors["long"]["B"] == {"train.epochs": 3.0}
    assert "lies beyond the end at 4" in only_problem(write(text.replace("[4]", "[4, 5]")))


def test_factors_and_rows(write):
    assert "factors or rows, not both" in only_problem(write(GOOD + "rows: {a: {}}\n"))
    assert "a study compares" in only_problem(write(GOOD.partition("factors:")[0]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("# only this\n", "the file is empty"),
        ("- 1\n", "a map is due"),
        ("3\n", "a map is due"),
    ],
)
def test_no_map_at_the_top(write, text, message):
    assert message in only_problem(write(text))


def test_files_that_cannot_be_read(tmp_path, write):
    assert "cannot be read" in only_problem(tmp_path / "none.yaml")
    assert "cannot be read" in only_problem(tmp_path)
    path = write(GOOD)
    path.write_bytes(b"study: s\nrecipe: \xff\n")
    assert only_problem(path) == "s.yaml:2:9: not UTF-8: save the file as UTF-8"


def test_options_that_are_wrong(write):
    path = write(PROFILES)
    wrong = ["train.kimg", "data.sizze=3", "g_norm=bn", "train.lr=fast", "data={", "factors.g_norm=[bn, adian]", "=3"]
    found = problems(path, "smal", wrong)
    assert {line.split(":")[0] for line in found} == {f"--set {option.partition(':')[0]}" for option in wrong} | {
        "--profile smal"
    }
    said = "\n".join(found)
    for hint in (
        "did you mean small?",
        "did you mean size?",
        "--set factors.g_norm=[…]",
        "did you mean adain?",
        "KEY=VALUE is due",
    ):
        assert hint in said


def test_an_own_module_is_hashed_and_not_imported(write, tmp_path, monkeypatch):
    package = tmp_path / "mylab"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "norms.py").write_text("raise RuntimeError('imported')\nclass Evo: pass\n")
    text = GOOD.replace("adain]", "mylab.norms:Evo]")
    first = load(write(text)).sources
    assert list(first) == ["mylab.norms"]
    (package / "norms.py").write_text("class Evo: x = 1\n")
    second = load(write(text)).sources
    assert second.keys() == first.keys() and second != first
    assert "mylab" not in sys.modules
    assert "defines no Eva (did you mean Evo?)" in only_problem(write(text.replace("Evo", "Eva")))
    (package / "norms.py").write_text("class Evo\n")
    assert "is not Python" in only_problem(write(text))
    assert "there is no module mylab.norm;" in only_problem(write(text.replace("mylab.norms", "mylab.norm")))
    monkeypatch.setattr(sys, "path", [])  # the working directory is enough
    assert "is not Python" in only_problem(write(text))


def test_an_error_can_be_printed_and_sorts_by_line(write):
    with pytest.raises(StudyError) as caught:
        load(write(GOOD.replace("kimg: 4", "kimg: x").replace("wgan_gp", "x").replace("adain", "x")), None, ["a=1"])
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["s.yaml:5:9", "s.yaml:7:15", "s.yaml:9:16", "--set a=1"]


# ---------------------------------------------------------------------------------------------------------
# Shipped studies, the schema, speed.


@pytest.mark.parametrize("name", sorted(study.shipped()))
def test_shipped_studies(name):
    path = study.find(name)
    assert path == study.find(f"{name}.yaml") == study.find(str(path))
    s = load(path)
    assert path.read_text().startswith("# yaml-language-server: $schema=../docs/study.schema.json\n")
    assert s.about and "yaml-language-server" not in s.about
    assert f"python -m bench.run ablations/{name}.yaml" in s.about
    smoke = load(path, "smoke")
    assert not smoke.evidence
    assert smoke.fixed["data.name"] in ("faces", "digits", "stacked_digits")


def test_the_quickstart_is_the_trial_of_400_updates():
    s = load(study.find("quickstart"))
    recipe = RECIPES[s.recipe]
    assert s.fixed["train.kimg"] * 1000 / s.fixed["train.batch"] / recipe["train.n_critic"] == 400
    assert (s.recipe, s.seeds, s.fixed["g_width"], s.fixed["d_width"]) == ("wgan_gp", (0, 1, 2), 16, 16)


def test_a_study_that_is_not_there():
    with pytest.raises(StudyError, match=r"did you mean quickstart\?"):
        study.find("quickstat")


def test_the_schema_on_disk_is_fresh():
    """`python -m bench.run --schema > docs/study.schema.json` makes it so."""
    assert (ROOT / "docs" / "study.schema.json").read_text() == json.dumps(study.schema(), indent=1) + "\n"


def test_the_schema_knows_settings_and_levels():
    schema = study.schema()
    factors = schema["$defs"]["Factors"]["properties"]
    assert "adain" in json.dumps(factors["g_norm"]["items"])
    assert factors["train.lr"]["items"]["exclusiveMinimum"] == 0
    assert not {"seed", "forced", "sources", "data.fingerprint"} & factors.keys()
    assert "default" not in schema["properties"]["g_norm"]
    assert schema["properties"]["recipe"]["enum"] == list(RECIPES)
    references = set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema)))
    assert references <= schema["$defs"].keys()


def test_loading_is_light():
    """No torch, numpy or pandas; and pyDOE, which brings scipy, only when a fraction is asked for."""
    code = "import sys, bench.study, bench.design; bench.study.load(bench.study.find('normalization'));"
    heavy = "print(sorted({'torch', 'numpy', 'pandas', 'scipy', 'pydoe'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code + heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


WEIRD = [
    None,
    True,
    0,
    -1,
    3.5,
    "",
    "off",
    [],
    {},
    [[]],
    {"a": {}},
    [None],
    10**30,
    "100%",
    "pkg.mod:Name",
    {"kimg": 3},
]
ANYWHERE = [
    "train",
    "data",
    "g_norm",
    "factors",
    "rows",
    "reference",
    "seed",
    "train.lr",
    "a.b.c",
    "from",
    "set",
    "study",
]


def spots(tree, trail=()):
    """Yield the trail of every part of a tree."""
    yield trail
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield from spots(tree[key], (*trail, key))


@pytest.mark.parametrize("number", range(80))
def test_whatever_is_wrong_has_a_place(write, number):
    """Parts of a full study replaced, removed or added at random: problems in the file, never another exception."""
    draw = random.Random(number)
    path = write(PROFILES + CLAIM_KINDS)
    tree = YAML(typ="safe", pure=True).load(path)
    for _ in range(draw.randint(1, 3)):
        *parents, last = draw.choice([trail for trail in spots(tree) if trail])
        node = tree
        for key in parents:
            node = node[key]
        match draw.randrange(3):
            case 0:
                node[last] = draw.choice(WEIRD)
            case 1:
                del node[last]
            case 2 if isinstance(node, dict):
                node[draw.choice(ANYWHERE)] = draw.choice(WEIRD)
    YAML().dump(tree, path)
    lines = path.read_text().count("\n")
    try:
        load(path, draw.choice([None, None, "small"]))
    except StudyError as error:
        for problem in error.problems:
            found = re.fullmatch(r"s\.yaml:(\d+):(\d+)|--profile small", problem.place)
            assert found is not None and int(found[1] or 1) <= max(1, lines), problem
            assert problem.message
