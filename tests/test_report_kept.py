"""A report built step by step equals one built from nothing, byte for byte, whatever became of the figures kept."""

import json
import subprocess
import sys
from dataclasses import dataclass

import miniature as mini
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench import figures
from bench.files import write_bytes
from bench.render import report, shelf
from bench.render.part import Drawn
from bench.render.save import Stamp
from bench.render.shelf import Shelf
from bench.render.sketch import sketch
from bench.setting import digest
from bench.store import Store

TEXT = mini.STUDY.replace("metrics: [fd, swd, ms_ssim]\n", "metrics: [fd]\nprobes: [logits]\n")


def leave(store, design, run, status="done"):
    labels = mini.LABELS if status == "done" else mini.LABELS[:2]
    mini.write_run(store, run, status=status, cause=None if status == "done" else "loss_D is nan", labels=labels)
    mini.write_scores_of(store, run, design, ["fd"], labels)
    mini.write_samples(store, run, labels)
    mini.write_probes(store, run, only=["logits"])


def every(page):
    """All files of a report, hidden ones too: path → bytes."""
    folder = page.parent
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def study(tmp_path):
    """A study whose first run diverged and whose last is to come: (design, store, folder for reports)."""
    design, store = mini.a_design(tmp_path, seeds=2, text=TEXT), Store(tmp_path / "results")
    for number, run in enumerate(design.runs[:-1]):
        leave(store, design, run, "done" if number else "diverged")
    return design, store, tmp_path / "reports"


@pytest.fixture
def seen(monkeypatch):
    """Figures drawn for the page since it was last cleared, by id."""
    found = []
    whole = shelf.page_svg
    monkeypatch.setattr(shelf, "page_svg", lambda figure, ident: found.append(ident) or whole(figure, ident))
    return found


def words(path):
    with Image.open(path) as picture:
        return picture.text["Description"]


def test_built_step_by_step_it_is_what_is_built_from_nothing(study, seen, tmp_path):
    design, store, reports = study
    *_, early, late = design.runs
    diverged = design.runs[0].run_id
    page = report.build(design, store, reports, reload_s=30)
    kept, trouble = page.parent / shelf.FILE, f"probe-{diverged}-logits"
    assert trouble in seen and sorted(json.loads(kept.read_text())) == sorted(seen)

    seen.clear()
    mini.write_score(store, early, design, mini.LABELS[-1], "fd", {"fd[random]": 7.25})
    report.build(design, store, reports, reload_s=30)
    assert "curve-fd-random" in seen and "probe-logit-train" not in seen  # no probe has changed

    seen.clear()
    report.build(design, store, reports)
    assert not seen  # the whole has files for print, and the same page
    in_print = page.parent / "figures" / f"{trouble}.png"
    before = in_print.read_bytes()
    assert words(in_print).endswith(f"; runs {diverged}") and late.run_id in words(in_print.with_name("samples.png"))

    leave(store, design, late)
    report.build(design, store, reports)
    assert {"curve-fd-random", "probe-logit-train"} < {*seen} and trouble not in seen
    assert in_print.read_bytes() == before  # stamped by its run alone

    step_by_step, at_once = every(page), every(report.build(design, store, tmp_path / "others"))
    assert {".built.json", ".figures.json", "figures/curve-fd-random.pdf"} < step_by_step.keys()
    assert [name for name in sorted({*step_by_step, *at_once}) if step_by_step.get(name) != at_once.get(name)] == []


@pytest.mark.slow
def test_two_at_once_do_no_harm(study, tmp_path):
    design, store, reports = study
    said = ["-m", "bench.report", str(design.study.path), "--results", str(store.root), "--reports", str(reports)]
    at_once = [subprocess.Popen([sys.executable, *said, *more]) for more in ([], ["--again"])]
    assert [one.wait() for one in at_once] == [0, 0]
    leave(store, design, design.runs[-1])
    page = report.build(design, store, reports)
    assert every(page) == every(report.build(design, store, tmp_path / "others"))
    assert not list(page.parent.rglob("*.tmp"))


# ---------------------------------------------------------------------------------------------------------
# The shelf by itself.

STAMP = Stamp("s", "0" * 16, ("r",))


def a_figure(ident="curve", label="a", run=""):
    looks = {"a": figures.Look(("#0072b2",), "o", label)}
    return Drawn(sketch(figures.key, looks), ident, "title", "caption", (), ("png", "svg"), True, run)


def put(folder, *drawn, again=False, stamp=STAMP):
    """Build once: what the page and the files have of each figure."""
    on = Shelf(folder, again=again)
    shown = {one.id: on.svg(one) for one in drawn}
    sizes = {one.id: on.size(one) for one in drawn}
    files = {path: made for one in drawn for path, made in on.files(one, stamp).items()}
    for path, made in files.items():
        write_bytes(folder / path, made)
    on.save()
    return shown, sizes, files


def test_only_what_has_changed_is_drawn(tmp_path, seen):
    first = put(tmp_path, a_figure("a"), a_figure("b"))
    assert seen == ["a", "b"] and put(tmp_path, a_figure("a"), a_figure("b")) == first and seen == ["a", "b"]
    assert put(tmp_path, a_figure("a"), a_figure("b", "other")) != first and seen == ["a", "b", "b"]
    assert put(tmp_path, a_figure("b", "other")) and sorted(json.loads((tmp_path / shelf.FILE).read_text())) == ["b"]
    assert put(tmp_path, a_figure("a"), a_figure("b")) == first and seen == ["a", "b", "b", "a", "b"]
    assert put(tmp_path, a_figure("a"), a_figure("b"), again=True) == first and seen[5:] == ["a", "b"]


def test_a_picture_hangs_on_the_code_and_on_matplotlib(tmp_path, seen, monkeypatch):
    put(tmp_path, a_figure())
    monkeypatch.setattr("bench.render.sketch.code", lambda: "other")
    put(tmp_path, a_figure())
    monkeypatch.setattr("matplotlib.__version__", "4.0")
    put(tmp_path, a_figure())
    assert seen == ["curve"] * 3


def test_a_stamp_stays_true(tmp_path):
    put(tmp_path, a_figure("all"), a_figure("one", run="r"))
    later = STAMP._replace(built_from="1" * 16, runs=("r", "s"))
    files = put(tmp_path, a_figure("all"), a_figure("one", run="r"), stamp=later)[2]
    assert (
        words(tmp_path / "figures" / "all.png") == later.words() and later.words().encode() in files["figures/all.svg"]
    )
    of_one = words(tmp_path / "figures" / "one.png")
    assert of_one.endswith("runs r") and "0000" not in of_one
    put(tmp_path, a_figure("one", "other", run="r"))
    assert words(tmp_path / "figures" / "one.png") != of_one


def other_picture(kept):
    kept["curve"]["entry"]["svg"] = kept["curve"]["entry"]["svg"].replace("<path", "<circle", 1)
    return json.dumps(kept)


@pytest.mark.parametrize(
    "damage",
    [
        other_picture,
        lambda kept: json.dumps(kept)[:-20],
        lambda kept: json.dumps(list(kept)),
        lambda kept: json.dumps(dict.fromkeys(kept)),
        lambda kept: json.dumps({name: {"entry": [], "check": digest([])} for name in kept}),
        lambda kept: json.dumps({name: {"entry": {}, "check": digest({})} for name in kept}),
        lambda kept: "\0" * 4096,
    ],
    ids=["another picture", "torn", "a list", "nulls", "no entries", "empty entries", "zeros"],
)
def test_what_is_damaged_is_drawn_again(tmp_path, damage):
    whole, kept = put(tmp_path, a_figure()), tmp_path / shelf.FILE
    kept.write_text(damage(json.loads(kept.read_text())))
    assert put(tmp_path, a_figure()) == whole


def test_a_file_that_is_not_as_it_was_written_is_made_again(tmp_path):
    whole = put(tmp_path, a_figure())
    (tmp_path / "figures" / "curve.svg").write_text("<svg/>")
    (tmp_path / "figures" / "curve.png").unlink()
    assert put(tmp_path, a_figure()) == whole


# ---------------------------------------------------------------------------------------------------------
# What a sketch is known by.


@dataclass(frozen=True)
class Look:
    colour: str


FRAME = pd.DataFrame({"cell": ["a", "b"], "value": [1.0, 2.0]})
GIVEN = [
    None, 0, 0.0, False, "0", "", [], {}, [[]], [None], ["a", "b"], ["b", "a"], ["ab"],
    {"a": 1, "b": 2}, {"b": 2, "a": 1}, 0.1 + 0.2, 0.3, float("nan"), Look("red"), Look("blue"),
    FRAME, FRAME[::-1], FRAME.rename(columns={"value": "v"}), FRAME.assign(cell=["a", None]),
    FRAME.assign(value=[1.0, np.nextafter(2.0, 3)]), np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32),
    [np.zeros(2), np.zeros(2)], np.array([0.0, 0.0, 0.0, -0.0]),
]  # fmt: skip


def test_all_that_a_figure_is_drawn_from_counts():
    keys = [sketch(print, one).key for one in GIVEN]
    assert len({*keys}) == len(keys)
    assert keys == [sketch(print, one).key for one in GIVEN]
    assert sketch(print, "a").key != sketch(repr, "a").key
    assert sketch(print, "a", sep="b").key != sketch(print, "a", end="b").key != sketch(print, "a", "b").key
    assert sketch(print, tuple(["a", 1])).key == sketch(print, ["a", 1]).key == sketch(print, ["a", int("1")]).key


def test_what_could_be_told_only_in_part_is_refused():
    with pytest.raises(TypeError, match="object"):
        _ = sketch(print, [object()]).key
