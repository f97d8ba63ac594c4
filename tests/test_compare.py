"""Studies side by side: common effects and scores, and a refusal where protocols differ."""

import copy
import csv
import io
import json

import miniature as mini
import pytest

from bench import report as report_command
from bench.render import compare, report
from bench.store import Store

TWO_SCORES = mini.STUDY.replace("[fd, swd, ms_ssim]", "[fd, swd]")


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """report.json of a miniature without samples."""
    folder = tmp_path_factory.mktemp("compare")
    design = mini.a_design(folder, text=TWO_SCORES)
    store = Store(folder / "results")
    for run in design.runs:
        mini.write_run(store, run)
        mini.write_scores(store, run, design)
    return json.loads((report.build(design, store, folder / "reports").parent / "report.json").read_text())


def another(one, name="other", **protocol):
    """The same study by another name; `protocol`: what its Fréchet distance was made with."""
    made = copy.deepcopy(one)
    made["study"]["name"] = name
    made["protocols"]["fd[random]"].update(protocol)
    return made


def test_common_effects_stand_in_one_row(one):
    other = another(one)
    main = next(g for g in other["effects"][0]["groups"] if g["kind"] == "main")["rows"]
    gone = main.pop(0)  # estimated in the first study alone
    main[0]["text"] = "× 0.5"
    said = compare.side_by_side([one, other])
    assert said["names"] == ["miniature", "other"] and said["refused"] == []
    fd = next(group for group in said["effects"] if group["label"] == "Fréchet distance [random]")
    rows = {(row["kind"], row["effect_of"]): row["values"] for row in fd["rows"]}
    ours, theirs = rows["main", main[0]["effect_of"]]
    assert theirs["text"] == "× 0.5" and ours["text"] != "× 0.5" and ours["n"] == 3
    assert ("main", gone["effect_of"]) not in rows
    assert "success" in {group["label"] for group in said["effects"]}
    kinds = [row["kind"] for row in fd["rows"]]
    assert [*dict.fromkeys(kinds)] == ["main", "interaction", "simple", "reference"]


def test_the_same_claim_is_one_row(one):
    other = another(one)
    other["verdicts"][0]["verdict"] = "refuted"
    (row,) = compare.side_by_side([one, other])["verdicts"]
    assert [value["verdict"] for value in row["values"]] == ["supported", "refuted"]
    other["claims"][0]["terms"]["left"] = "g_norm=in"
    assert compare.side_by_side([one, other])["verdicts"] == []


@pytest.mark.parametrize(
    ("protocol", "reason"),
    [
        ({"n_fake": 10000}, "fakes: 2,000 in miniature, 10,000 in other"),
        ({"extractor": "dinov2"}, "extractor: random in miniature, dinov2 in other"),
        ({"part": "test"}, "part: train in miniature, test in other"),
    ],
)
def test_unlike_protocols_are_refused_with_the_reason(one, protocol, reason):
    said = compare.side_by_side([one, another(one, **protocol)])
    assert said["refused"] == [{"label": "Fréchet distance [random]", "reason": reason}]
    assert {group["label"] for group in said["scores"]} == {"SWD × 10³"}
    assert "Fréchet distance [random]" not in {group["label"] for group in said["effects"]}
    assert [value["why"] for value in said["verdicts"][0]["values"]] == ["", ""]  # no numbers of unlike things


def test_a_name_that_says_another_protocol_is_the_same_kind(one):
    other = json.loads(json.dumps(one).replace("fd[random]", "fd[dinov2]").replace('"miniature"', '"other"'))
    (refused,) = compare.side_by_side([one, other])["refused"]
    assert refused == {"label": "fd", "reason": "fd[random] in miniature; fd[dinov2] in other"}
    kinds = {"fid2k": "fid", "fid10k_legacy_pytorch": "fid", "is5k": "is", "fd[a]": "fd", "ms_ssim_5s": "ms_ssim"}
    assert {name: compare.family(name) for name in kinds} == kinds
    assert [compare.family(name) for name in ("l1", "kid", "precision[x]")] == ["l1", "kid", "precision"]


def test_unlike_criteria_of_collapse_are_refused(one):
    other = another(one)
    other["collapse"]["words"] = "something else"
    (refused,) = compare.side_by_side([one, other])["refused"]
    assert refused["label"] == "success" and "something else in other" in refused["reason"]


def test_claims_on_what_is_refused_show_no_numbers(one):
    """A correlation reads two scores, and an outcome hangs on the criterion."""
    measures = ["swd, fd[random]", "collapsed", "swd"]
    first = {**one, "claims": [{"says": m, "terms": {"measure": m}} for m in measures]}
    first["verdicts"] = [{"metric": m, "measure": m, "at": "last", "verdict": "open", "why": "5"} for m in measures]
    other = another(first)
    other["collapse"]["words"] = "something else"
    other["protocols"]["fd[random]"]["n_fake"] = 7
    rows = compare.side_by_side([first, other])["verdicts"]
    assert [[value["why"] for value in row["values"]] for row in rows] == [["", ""], ["", ""], ["5", "5"]]


def test_settings_that_differ_are_named(one):
    other = another(one)
    other["design"]["shared"]["g_width"] = "64"
    rows = {row["key"]: row["values"] for row in compare.side_by_side([one, other])["settings"]}
    assert rows == {"g_width": ["16", "64"]}


def test_the_page_and_its_files(one, tmp_path):
    hostile = another(one, "a</script><b>_%", n_real=7)
    for place, said in (("miniature", one), ("other", hostile)):
        (tmp_path / place).mkdir()
        (tmp_path / place / "report.json").write_text(json.dumps(said))
    page = compare.build([tmp_path / "miniature", tmp_path / "other"], tmp_path)
    text = page.read_text()
    assert page.parent.name == "compare-miniature+a_script_b___"
    assert "<b>_%" not in text and "a&lt;/script&gt;&lt;b&gt;" in text.replace("<wbr>", "")
    assert "reals: 80 in miniature, 7 in a" in text and "http:" not in text and "<script" not in text
    rows = [*csv.reader(io.StringIO((page.parent / "scores.csv").read_text()))]
    # 51, 46, 41 and 36 less a half: half of base + 1
    assert [row[2] for row in rows[1:5]] == [f"{mean:.2f} ± 0.50 (n = 3)" for mean in (50.5, 45.5, 40.5, 35.5)]
    tex = (page.parent / "effects.tex").read_text()
    assert (
        r"\toprule" in tex and r"\textless{}b\textgreater{}\_" in tex and "is left out: reals: 80 in miniature" in tex
    )
    before = {path.name: path.read_bytes() for path in page.parent.iterdir()}
    compare.build([tmp_path / "miniature", tmp_path / "other"], tmp_path)
    assert before == {path.name: path.read_bytes() for path in page.parent.iterdir()}
    assert json.loads(before["compare.json"])["names"] == ["miniature", "a</script><b>_%"]


def test_the_command(tmp_path, monkeypatch, capsys):
    for name in ("first", "second"):
        mini.a_design(tmp_path, name=name, seeds=1, text=TWO_SCORES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["bench", "first.yaml", "--compare", "second.yaml"])
    assert report_command.main() == 0
    assert capsys.readouterr().out == "comparison: reports/compare-first+second/index.html\n"
    assert 'href="../first/index.html"' in (tmp_path / "reports/compare-first+second/index.html").read_text()


@pytest.mark.parametrize("said", [["first.yaml", "second.yaml"], ["first.yaml", "--compare"]])
def test_the_command_says_what_is_missing(said, tmp_path, monkeypatch, capsys):
    for name in ("first", "second"):
        mini.a_design(tmp_path, name=name, seeds=1, text=TWO_SCORES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.render.report.build", lambda design, store, reports, **_: reports / "x" / "index.html")
    monkeypatch.setattr("sys.argv", ["bench", *said])
    with pytest.raises(SystemExit) as ended:
        report_command.main()
    assert ended.value.code == 2 and "compare" in capsys.readouterr().err
