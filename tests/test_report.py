"""The report: one offline file that says what the table says, whatever the names and whatever went wrong."""

import base64
import dataclasses
import html
import io
import json
import os
import re
import subprocess
import sys
import types
from html.parser import HTMLParser

import miniature as mini
import numpy as np
import pytest
from PIL import Image

from bench import report as report_command
from bench import run as run_command
from bench.render import freshness, report
from bench.render.content import number
from bench.render.grid import mosaic
from bench.render.latex import escaped
from bench.render.save import file_name
from bench.store import Store

ONE_SCORE = mini.STUDY.replace("[fd, swd, ms_ssim]", "[fd]")


class Page(HTMLParser):
    """What a reader of the page's markup needs: tags with attributes, ids, links, the text of cells."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows, self._cell = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append((dict(attrs), []))
        if tag in ("td", "th") and self.rows:
            self.rows[-1][1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        if self._cell:
            self.rows[-1][1][-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != freshness.SIDECAR
    }


def a_report(folder, *, text=ONE_SCORE, prepare=mini.write_all, change=lambda design: design, **study):
    design = change(mini.a_design(folder, text=text, **study))
    store = Store(folder / "results")
    prepare(design, store)
    page = report.build(design, store, folder / "reports")
    return design, store, page, json.loads((page.parent / "report.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All runs done, three scores."""
    return a_report(tmp_path_factory.mktemp("whole"), text=mini.STUDY)


def test_everything_is_written(whole):
    design, store, page, _ = whole
    written = files_of(page.parent)
    for stem in ("curve-fd-random", "curve-swd", "curve-ms-ssim-2s", "samples"):
        for form, magic in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
            assert written[f"figures/{stem}.{form}"].startswith(magic)
    assert written["tables/runs.csv"] == (store.study(design.study.name) / "runs.csv").read_bytes()
    assert written["tables/summary.csv"] == (store.study(design.study.name) / "summary.csv").read_bytes()
    assert b"\\toprule" in written["tables/results.tex"]
    assert b"/Type42" in written["figures/samples.pdf"] or b"/FontFile2" in written["figures/samples.pdf"]


def test_one_offline_file(whole):
    text = whole[2].read_text()
    page = Page(text)
    assert not re.search(r"(src|href)=\"(https?:)?//", text) and "@import" not in text and "url(http" not in text
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert not page.all("link") and all("src" not in script for script in page.all("script"))
    assert len(text) < 15_000_000


def test_ids_are_unique_and_links_lead_somewhere(whole):
    page = Page(whole[2].read_text())
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        target = link["href"]
        assert target[1:] in ids if target.startswith("#") else (whole[2].parent / target).is_file()
    references = re.findall(r"url\(#([^)]+)\)", whole[2].read_text())
    assert references and set(references) <= set(ids)


def test_images_have_words_and_tables_have_scopes(whole):
    page = Page(whole[2].read_text())
    alts = [image["alt"] for image in page.all("img")]
    assert "9 samples of g_norm=adain,d_weight=spectral, seed 1, 32 kimg" in alts
    assert all(alts) and all("scope" in head for head in page.all("th"))
    # 101, 91, 81 and 71 are the means of base + seed at the end
    assert "Means at the end: bn · d_weight=none 101.0, bn · spectral 91.0" in whole[2].read_text()


def test_the_table_shows_the_numbers_of_report_json(whole):
    said = whole[3]
    rows = {attrs["data-cell"]: cells for attrs, cells in Page(whole[2].read_text()).rows if "data-cell" in attrs}
    assert set(rows) == {cell["name"] for cell in said["cells"]}
    headline = [metric["name"] for metric in said["metrics"] if not metric["detail"]]
    assert headline == ["fd[random]", "swd", "ms_ssim_2s"]
    results = Page(whole[2].read_text().partition('id="results"')[2].partition("<details>")[0])
    for attrs, cells in results.rows:
        if "data-cell" not in attrs:
            continue
        cell = next(cell for cell in said["cells"] if cell["name"] == attrs["data-cell"])
        assert cells[1].startswith(cell["success"]["text"])
        for shown, name in zip(cells[2:], headline, strict=True):
            one = cell["estimates"][name]
            assert f"{one['text']} ± {one['sd_text']}" in shown and one["interval"] in shown
    first = said["cells"][0]["estimates"]["fd[random]"]
    assert (first["text"], first["sd_text"], first["interval"]) == ("101.0", "1.0", "[98.5, 103.5]")


def test_what_the_page_says_of_itself(whole):
    text, said = whole[2].read_text(), whole[3]
    assert said["status"]["line"] == "12 of 12 runs done" and "12 of 12 runs done" in text
    assert {badge["text"] for badge in said["badges"]} == {"descriptive: 3 seeds", "N = 2,000 fakes, 80 reals"}
    assert "Does AdaIN help a small face GAN" in text
    # adain is 80 and 70, bn 100 and 90, each plus its seed: clearly lower, in every seed
    (verdict,) = said["verdicts"]
    assert (verdict["says"], verdict["verdict"]) == ("AdaIN ends lower than batch norm", "supported")
    assert said["family"]["tally"] == "Of 1 claim: 1 supported." and said["family"]["tally"] in text
    assert verdict["success"] == "6/6 : 6/6" and "success 6/6 : 6/6" in text and said["answers"] is None
    assert verdict["says"] in text and verdict["why"] in text and ">supported</strong>" in text
    assert report.verdicts(whole[2]) == said["verdicts"]
    assert html.escape(said["study"]["command"], quote=True).replace("&#x27;", "&#39;") in text


def test_the_commands_end_with_the_verdicts(whole, monkeypatch, capsys):
    """Both find the report up to date; nothing is launched."""
    nothing = types.SimpleNamespace(is_over=True, code=0, launched=0)
    monkeypatch.setattr(run_command, "launch", lambda *_: nothing)
    folder = whole[2].parents[2]
    where = ["--results", str(folder / "results"), "--reports", str(folder / "reports")]
    for main in (report_command.main, run_command.main):
        monkeypatch.setattr("sys.argv", ["bench", str(folder / "miniature.yaml"), *where])
        assert main() == 0
        last = capsys.readouterr().out.rstrip().splitlines()[-1]
        assert last.startswith("supported") and "AdaIN ends lower than batch norm" in last and "n = 3" in last


def test_the_median_seed_stands_first(whole):
    # Seeds 0, 1, 2 end at base + 0, + 1, + 2: the median is seed 1 in every cell.
    assert set(whole[3]["samples"]["medians"].values()) == {1}
    figures = [attrs for attrs in Page(whole[2].read_text()).all("figure") if "data-seed" in attrs]
    shown = {attrs["data-seed"] for attrs in figures if "hidden" not in attrs}
    assert shown == {"1"} and len(figures) == 4 * 4 * 3


def test_samples_are_the_first_tiles_of_the_sheet_pixel_for_pixel(whole):
    design, store, page, _ = whole
    run = next(run for run in design.runs if run.cell == design.cells[0] and run.seed == 1)
    source = next(
        image["src"]
        for image in Page(page.read_text()).all("img")
        if image["alt"] == f"9 samples of {run.cell.name}, seed 1, 16 kimg"
    )
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB"))
    # mini.plain: tile t of snapshot 2 is grey 80 + t; nine tiles in reading order.
    assert shown.shape == (96, 96, 3)
    np.testing.assert_array_equal(shown[::32, ::32, 0], 80 + np.arange(9).reshape(3, 3))
    path = store.run(run.run_id).samples / f"{mini.LABELS[1]}.png"
    np.testing.assert_array_equal(mosaic(path, 2, offset=63)[::32, ::32, 0], [[80 + 63, 80], [81, 82]])


def test_built_again_the_bytes_are_equal(whole, tmp_path):
    design, store, page, _ = whole
    shuffled = dataclasses.replace(design, runs=tuple(reversed(design.runs)))
    again = report.build(shuffled, store, tmp_path)
    assert files_of(again.parent) == files_of(page.parent)


def test_up_to_date_until_something_changes(tmp_path):
    design, store, page, _ = a_report(tmp_path, seeds=1)
    reports = tmp_path / "reports"
    assert freshness.up_to_date(design, store, reports)
    before = page.stat().st_mtime_ns
    report.build(design, store, reports)
    assert page.stat().st_mtime_ns == before
    score = next(store.run(design.runs[0].run_id).scores.iterdir())
    table = store.study(design.study.name) / "runs.csv"
    for gone in (score, page.parent / "figures" / "samples.pdf", page, table):
        aside = gone.rename(gone.with_name(".aside"))
        assert not freshness.up_to_date(design, store, reports)
        aside.rename(gone)
        assert freshness.up_to_date(design, store, reports)
    said = dataclasses.replace(design, study=dataclasses.replace(design.study, text="# new words"))
    assert not freshness.up_to_date(said, store, reports)
    stranger = dataclasses.replace(design.runs[0], run_id="0" * 16)
    more = dataclasses.replace(design, runs=(*design.runs, stranger))
    assert not freshness.up_to_date(more, store, reports)
    os.utime(score, ns=(1, 1))  # written anew
    assert not freshness.up_to_date(design, store, reports)
    report.build(design, store, reports)
    assert page.stat().st_mtime_ns != before and freshness.up_to_date(design, store, reports)


def test_what_the_report_no_longer_has_is_removed(tmp_path):
    design, store, page, _ = a_report(tmp_path, seeds=1)
    assert (page.parent / "figures" / "curve-fd-random.pdf").exists()
    for score in store.root.glob("runs/*/scores/*"):
        score.unlink()
    report.build(design, store, tmp_path / "reports", reload_s=30)  # watched: what is for print waits for the last
    assert (page.parent / "figures" / "curve-fd-random.pdf").exists()
    report.build(design, store, tmp_path / "reports")
    assert not list(page.parent.glob("figures/curve-*"))
    assert (page.parent / "figures" / "samples.pdf").exists()


def test_a_run_that_fails_makes_the_report_stale(tmp_path):
    design, store, _, _ = a_report(tmp_path, seeds=1, prepare=lambda design, store: None)
    assert freshness.up_to_date(design, store, tmp_path / "reports")
    mini.write_failed(store, design.runs[0])
    assert not freshness.up_to_date(design, store, tmp_path / "reports")


def test_asking_whether_it_is_fresh_imports_no_pandas():
    code = "import bench.render.report, sys; print([m for m in ('pandas', 'matplotlib', 'torch') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


HOSTILE = "</script><img src=x onerror=alert(1)> {{7*7}} \\input{x} _ % & # $ ~ ^ 'q' \"d\" 한국어 " + "long" * 60


def hostile(design):
    """Rename a cell, and speak in its name wherever names come from users."""
    bad = dataclasses.replace(design.cells[1], name=HOSTILE, levels={"row": HOSTILE}, warnings=(HOSTILE,))
    cells = (dataclasses.replace(design.cells[0], levels={"row": "a"}), bad)
    runs = tuple(
        dataclasses.replace(run, cell=cells[design.cells.index(run.cell)])
        for run in design.runs
        if run.cell in design.cells[:2]
    )
    study = dataclasses.replace(design.study, about=HOSTILE, text=HOSTILE, reference={"row": "a"})
    return dataclasses.replace(design, study=study, cells=cells, runs=runs)


def test_hostile_names_are_text_everywhere(tmp_path):
    def prepare(design, store):
        for run in design.runs:
            bad = run.cell.name == HOSTILE
            mini.write_run(store, run, status="diverged" if bad else "done", cause=HOSTILE, host=HOSTILE)
            mini.write_score(
                store, run, design, mini.LABELS[3], "fd", {}, status="failed", reason=HOSTILE
            ) if bad else mini.write_score(store, run, design, mini.LABELS[3], "fd", {"fd[random]": 2.0})
            mini.write_samples(store, run)

    _, _, page, said = a_report(tmp_path, seeds=1, prepare=prepare, change=hostile)
    text = page.read_text()
    parsed = Page(text)
    assert (
        text.count("</script>") == 1 and "{{7*7}}" in text and "onerror" not in {a for _, t in parsed.tags for a in t}
    )
    assert all(image["src"].startswith("data:") for image in parsed.all("img"))
    assert said["cells"][1]["name"] == HOSTILE
    tex = (page.parent / "tables" / "results.tex").read_text()
    row = next(line for line in tex.splitlines() if "onerror" in line)
    assert r"\textbackslash{}input\{x\} \_ \% \& \# \$ \textasciitilde{} \textasciicircum{}" in row
    assert len(re.findall(r"(?<!\\)&", row)) == 2  # the cell, k/n and one score: two separators


def test_escaping_for_latex_is_one_pass():
    assert escaped("\\{}") == r"\textbackslash{}\{\}"
    assert escaped("12.0 ± 0.5") == r"12.0 $\pm$ 0.5"


def test_file_names():
    assert file_name("fd[random]", []) == "fd-random"
    assert file_name("fd(random)", ["fd-random"]) == "fd-random-2"
    assert file_name("../..", []) == "figure"


@pytest.mark.parametrize(
    ("value", "decimals", "shown"),
    [(12.345, 1, "12.3"), (-0.04, 1, "0.0"), (-2.0, 0, "−2"), (None, 2, "—"), (float("nan"), 2, "—")],
)
def test_numbers_for_reading(value, decimals, shown):
    assert number(value, decimals) == shown


# ---------------------------------------------------------------------------------------------------------
# Degenerate studies.


def test_one_run_one_seed(tmp_path):
    def alone(design):
        return dataclasses.replace(design, cells=design.cells[:1], runs=design.runs[:1])

    _, _, page, said = a_report(tmp_path, seeds=1, change=alone)
    assert said["status"]["line"] == "1 of 1 runs done"
    assert "no replication: no interval" in {badge["text"] for badge in said["badges"]}
    assert said["cells"][0]["estimates"]["fd[random]"]["interval"] == "—"
    assert "±" not in page.read_text().partition('<table class="results">')[2].partition("</table>")[0]


def test_nothing_done_yet(tmp_path):
    _, _, page, said = a_report(tmp_path, prepare=lambda design, store: None)
    text = page.read_text()
    assert said["status"]["line"] == "0 of 12 runs done, 12 missing"
    assert "No run has kept a snapshot yet" in text and "No score has been computed yet" in text


def test_all_diverged(tmp_path):
    def prepare(design, store):
        for run in design.runs:
            mini.write_run(store, run, status="diverged", cause="loss_D is nan at G update 7", labels=mini.LABELS[:2])
            mini.write_scores_of(store, run, design, ["fd"], labels=mini.LABELS[:2])
            mini.write_samples(store, run, labels=mini.LABELS[:1])

    _, _, page, said = a_report(tmp_path, prepare=prepare)
    assert [cell["success"]["text"] for cell in said["cells"]] == ["0/3"] * 4
    assert {cell["estimates"]["fd[random]"]["text"] for cell in said["cells"]} == {"—"}
    text = page.read_text()
    assert text.count("loss_D is nan at G update 7") >= 12
    assert "diverged at 18 kimg" in text  # in the place of the sample that is not there
    assert said["runs"][0]["last_logged"]["loss_D"] == "-1"


def test_half_finished(tmp_path):
    def prepare(design, store):
        run, other, third, *_ = design.runs
        mini.write_run(store, run)
        mini.write_scores_of(store, run, design, ["fd"])
        mini.write_samples(store, run)
        mini.write_failed(store, other, "killed: out of memory")
        mini.write_run(store, third, dirty=True, torch="2.12.0", code="b" * 16, earlier={"code": ["a" * 16]})
        (store.run(third.run_id).samples).mkdir(parents=True)
        (store.run(third.run_id).samples / f"{mini.LABELS[0]}.png").write_bytes(b"no picture")

    _, _, page, said = a_report(tmp_path, prepare=prepare)
    text = page.read_text()
    assert said["status"]["line"] == "2 of 12 runs done, 1 failed, 9 missing"
    assert "killed: out of memory" in text and "Traceback (most recent call last)" in text
    assert "not run yet" in text and "the sample file cannot be read" in text and "no samples were kept" in text
    badges = {badge["text"] for badge in said["badges"]}
    assert {"dirty git tree", "mixed torch versions", "mixed code"} <= badges and "mixed devices" not in badges
    assert f"different code: {'a' * 16} (1 run), {'b' * 16} (1 run); within 1 run: " in text
    assert {gone["reason"] for gone in said["failed_scores"]} == {"not computed yet"}


def test_a_trial_says_that_it_is_no_evidence(tmp_path):
    _, _, page, said = a_report(tmp_path, seeds=1, profile="smoke", prepare=lambda design, store: None)
    assert "evidence: false: profile smoke" in {badge["text"] for badge in said["badges"]}
    assert "--profile smoke" in said["study"]["command"]
    assert "Profile smoke." in page.read_text()


def test_exclusions_are_shown_with_their_reason(tmp_path):
    from bench.design import Exclusion

    def change(design):
        gone = (
            Exclusion(levels={"g_norm": "x"}, name="g_norm=x", why="BN in D breaks the penalty", rule=3),
            Exclusion(levels={"g_norm": "y"}, name="g_norm=y", why="too dear", rule=None),
        )
        return dataclasses.replace(design, exclusions=gone)

    _, _, page, said = a_report(tmp_path, seeds=1, change=change, prepare=lambda design, store: None)
    assert [gone["rule"] for gone in said["exclusions"]] == [3, None]
    rows = [cells for _, cells in Page(page.read_text()).rows]
    assert ["g_norm=x", "BN in D breaks the penalty", "3"] in rows
    assert ["g_norm=y", "too dear", "the study’s own"] in rows


def test_the_command(tmp_path):
    mini.a_design(tmp_path, seeds=1, text=ONE_SCORE)
    shown = subprocess.run(
        [sys.executable, "-m", "bench.report", "miniature.yaml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    first, verdict = shown.stdout.splitlines()
    assert first == "report: reports/miniature/index.html"
    assert verdict.split("  ")[0] == "not estimable" and verdict.rstrip().endswith("no run has this score")
    assert (tmp_path / "reports" / "miniature" / "index.html").is_file()
