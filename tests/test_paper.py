"""What a paper takes: figures with their metadata, tables, macros, a document that compiles, a notebook that runs."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys

import miniature as mini
import pytest
from PIL import Image

from bench.readings import Reading
from bench.render import freshness, report, tables
from bench.render.latex import LINES_A_FLOAT, Table, escaped, to_frame, to_latex, to_markdown
from bench.render.macros import macros
from bench.render.save import Stamp
from bench.store import Store

STAMP = Stamp("s", "0" * 16, ("r",))
HOSTILE = '</script> _ % & # $ ~ ^ {x} \\input{y} 50 %, "q" `b` a--b [c] *d* 한국어 مرحبا é ' + "long" * 40


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != freshness.SIDECAR
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study of hostile words, all runs done; return (design, store, folder of the report, report.json)."""
    folder = tmp_path_factory.mktemp("paper")
    said = json.dumps(HOSTILE, ensure_ascii=False)
    text = mini.STUDY.replace('"AdaIN ends lower than batch norm"', said.replace("{", "{{").replace("}", "}}"))
    text = text.replace("# A miniature for tests.", "# " + HOSTILE.replace("{", "{{").replace("}", "}}"))
    design = mini.a_design(folder, text=text)
    store = Store(folder / "results")
    mini.write_all(design, store)
    page = report.build(design, store, folder / "reports")
    return design, store, page.parent, json.loads((page.parent / "report.json").read_text())


# ---------------------------------------------------------------------------------------------------------
# Figures.


def test_figures_say_what_they_are_of(whole):
    design, _, folder, said = whole
    runs = sorted(run.run_id for run in design.runs)
    with Image.open(folder / "figures" / "samples.png") as picture:
        words = picture.text["Description"]
    assert said["study"]["name"] in words and said["built_from"] in words and all(run in words for run in runs)
    for name in ("samples", "curve-fd-random"):
        assert words in (folder / "figures" / f"{name}.svg").read_text()
        pdf = (folder / "figures" / f"{name}.pdf").read_bytes()
        assert words.encode() in pdf and b"/Type42" in pdf.replace(b"/FontFile2", b"/Type42")
        assert b"/Type3" not in pdf and b"CreationDate" not in pdf


def test_of_many_runs_the_metadata_has_a_digest():
    few, many = (Stamp("s", "d", tuple(f"{i:016x}" for i in range(n))).words() for n in (60, 61))
    assert f"{59:016x}" in few and "runs 61, digest " in many and f"{60:016x}" not in many


@pytest.mark.slow
def test_another_process_builds_the_same_bytes(whole, tmp_path):
    design, store, folder, _ = whole
    command = [sys.executable, "-m", "bench.report", str(design.study.path), "--results", str(store.root)]
    shown = subprocess.run(
        [*command, "--reports", str(tmp_path)],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr
    ours, theirs = files_of(folder), files_of(tmp_path / folder.name)
    assert {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)} == set()


# ---------------------------------------------------------------------------------------------------------
# Tables.


def test_tables_stand_in_three_formats(whole):
    folder = whole[2]
    for name in ("results", "effects", "verdicts", "cells", "protocols", "details"):
        tex = (folder / "tables" / f"{name}.tex").read_text()
        assert all(rule in tex for rule in (r"\toprule", r"\midrule", r"\bottomrule", f"tab:{name}"))
        assert (folder / "tables" / f"{name}.md").read_text().startswith("| ")
        assert len([*csv.reader(io.StringIO((folder / "tables" / f"{name}.csv").read_text()))]) > 1


def test_captions_name_n_interval_and_protocol(whole):
    tex = (whole[2] / "tables" / "results.tex").read_text()
    for words in ("n = 3 training seeds in each cell", r"95 \% t interval", "N = 2,000 fakes, 80 reals (train part)"):
        assert words in tex
    paper = (whole[2] / "paper.tex").read_text()
    captions = re.findall(r"\\caption\{(.*)\}\n", paper)
    assert captions and all("n = 3 training seeds in each cell" in one for one in captions)
    over = [one for one in captions if "over thousands of real images" in one]
    labels = [metric["label"] for metric in whole[3]["metrics"] if not metric["detail"]]
    scored = [one for one in over if any(one.startswith(f"miniature. {escaped(label)} over") for label in labels)]
    assert len(scored) == len(labels) == 3 and all("N = 2,000 fakes, 80 reals" in one for one in scored)
    assert len(over) > len(scored)  # losses and probes have no N


def test_the_results_of_the_miniature_as_it_was_written(whole):
    rows = [*csv.reader(io.StringIO((whole[2] / "tables" / "results.csv").read_text()))]
    assert rows[0][:4] == ["g_norm", "d_weight", "k/n", "Fréchet distance [random] ↓"]
    # base + 0, 1, 2 in a cell: the mean is base + 1, its sd 1
    assert [row[3] for row in rows[1:5]] == ["101.0 ± 1.0", "91.0 ± 1.0", "81.0 ± 1.0", "71.0 ± 1.0"]
    assert rows[5][0] == "real images" and rows[6][:1] + rows[6][3:4] == ["noise floor", "5.0"]


def of(cells, direction="lower"):
    """Readings of one metric in memory."""
    reading = Reading("m", "m", "m", "metric", "raw", direction, cells)
    readings = type("R", (), {"of": lambda self, name: reading})()
    return tables.best(readings, [{"name": "m", "direction": direction}]).get("m")


def test_bold_is_what_the_paired_interval_cannot_tell_from_the_best():
    # Differences to `best`, seed by seed: `near` 0, 1, 2: mean 1, t(2) half-width 4.303 / √3 = 2.48, holds 0;
    # `far` 10, 11, 12: mean 11, the same width, does not; unpaired, both are as noisy as the seeds themselves (sd 100).
    cells = {
        "best": {0: 0.0, 1: 100.0, 2: 200.0},
        "near": {0: 0.0, 1: 101.0, 2: 202.0},
        "far": {0: 10.0, 1: 111.0, 2: 212.0},
    }
    assert of(cells) == {"cell": "best", "alike": ["best", "near"]}
    # `far` less `near` is 10 in every seed: nothing is known of its spread, so that they are not told apart
    assert of(cells, "higher") == {"cell": "far", "alike": ["near", "far"]}
    assert of(cells, "reference") is None
    assert of({"best": cells["best"], "twin": dict(cells["best"])}) == {"cell": "best", "alike": ["best", "twin"]}


def test_only_shared_seeds_are_paired():
    # `other` has lost seed 2; over seeds 0 and 1 it is 1 and 3 above: mean 2, half-width 12.7 · √2 / √2 = 12.7: holds 0
    assert of({"best": {0: 0.0, 1: 0.0, 2: 0.0}, "other": {0: 1.0, 1: 3.0}})["alike"] == ["best", "other"]


def test_cells_that_share_no_two_seeds_are_compared_unpaired():
    # By Welch: means 0 and 2, variances 0 and 2 of two seeds: se 1, one degree of freedom, half-width 12.7: holds 0
    assert of({"best": {0: 0.0, 1: 0.0}, "other": {1: 1.0, 2: 3.0}})["alike"] == ["best", "other"]
    # means 0.5 and 100.5, variances ½: se √½, two degrees of freedom, half-width 3.04
    assert of({"best": {0: 0.0, 1: 1.0}, "far": {2: 100.0, 3: 101.0}})["alike"] == ["best"]
    # a spread of none gives no interval, and without one nothing is told apart
    assert of({"best": {0: 0.0, 1: 0.0}, "other": {0: 1.0, 1: 1.0}})["alike"] == ["best", "other"]


def test_with_one_seed_nothing_is_bold():
    assert of({"a": {0: 1.0}, "b": {0: 2.0}}) is None
    assert of({"a": {0: 1.0, 1: 2.0}, "b": {0: 2.0}}) is None  # no other to compare with


def test_bold_cells_stand_bold_in_all_formats():
    table = Table("t", "c", ["cell", "v"], [["a", "1"], ["b", "2"]], bold=[[False, True], [False, False]])
    assert r"a & \textbf{1} \\" in to_latex(table, STAMP).decode() and "b & 2" in to_latex(table, STAMP).decode()
    assert "| a | **1** |" in to_markdown(table).decode()


def test_a_long_table_is_parted_and_a_wide_one_has_panels():
    rows = [[f"cell {i}", *["1.0 ± 0.1"] * 30] for i in range(LINES_A_FLOAT + 1)]
    tall = to_latex(Table("t", "c", ["cell", "v"], [row[:2] for row in rows]), STAMP).decode()
    assert tall.count(r"\begin{table}") == 2 and tall.count(r"\label{tab:t}") == 1 and "Continued." in tall
    assert all(tall.count(f"cell {i} &") == 1 for i in range(len(rows)))
    wide = to_latex(Table("t", "c", ["cell", *(f"v{i}" for i in range(30))], rows[:2]), STAMP).decode()
    assert wide.count(r"\begin{table*}") == 1 and wide.count(r"\toprule") > 2
    assert wide.count("cell 0 &") == wide.count(r"\toprule")  # the name in every panel
    assert wide.count("1.0 $") == 60  # each number once


# ---------------------------------------------------------------------------------------------------------
# Text.


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a_b % & # $ {x}", r"a\_b \% \& \# \$ \{x\}"),
        ("--set", "-{}-set"),
        ("[c] *d*", "{[}c] {*}d{*}"),
        ("한글 é", r"\texttt{[U+D55C U+AE00]} é"),
        ("e\u0301", "é"),
        ("가나다라마바사", r"\texttt{[U+AC00 U+B098 U+B2E4 U+B77C and 3 more]}"),
        ("a\nb", "a b"),
    ],
)
def test_text_for_latex(text, written):
    assert escaped(text) == written


def test_a_name_breaks_after_its_signs_but_not_before_a_space():
    assert escaped("a_b, c", breaks=True) == r"a\_\allowbreak{}b, c"


def test_markdown_takes_names_for_text():
    table = Table("t", "", ["a|b"], [["<b>_x_</b>\n*y*"]])
    assert to_markdown(table).decode().splitlines()[2] == r"| \<b\>\_x\_\</b\> \*y\* |"
    assert [*to_frame(table).iloc[0]] == ["<b>_x_</b>\n*y*"]


# ---------------------------------------------------------------------------------------------------------
# Macros.


def commands(text):
    """name → (value, the comment above it)."""
    found = re.findall(r"^% (.*)\n\\newcommand\{\\([A-Za-z]+)\}\{(.*)\}$", text, re.MULTILINE)
    assert len(found) == text.count(r"\newcommand") and len({name for _, name, _ in found}) == len(found)
    return {name: (value, about) for about, name, value in found}


def test_macros_are_the_numbers_of_the_report(whole):
    known = commands((whole[2] / "macros.tex").read_text())
    assert known["MiniatureSeeds"][0] == "3" and known["MiniatureRunsDone"][0] == "12"
    assert known["MiniatureFdRandomAdainSpectral"][0] == "71.0"
    assert known["MiniatureFdRandomAdainSpectralSd"] == ("1.0", known["MiniatureFdRandomAdainSpectralSd"][1])
    assert known["MiniatureSuccessAdainSpectral"][0] == "3/3"
    verdict = whole[3]["verdicts"][0]
    assert known["MiniatureClaimOne"][0] == verdict["verdict"] == "supported"
    assert "U+" not in known["MiniatureClaimOne"][1] and "한국어" in known["MiniatureClaimOne"][1]
    groups = {group["kind"]: group["rows"] for group in whole[3]["effects"][0]["groups"]}
    main = next(row for row in groups["main"] if row["effect_of"] == "g_norm: adain")
    value = known["MiniatureFdRandomMainGNormAdain"][0]
    assert f"{main['effect']:.3g}" == value and main["interval"] in known["MiniatureFdRandomMainGNormAdainInterval"][
        0
    ].replace("{[}", "[")


def test_names_of_macros_are_unique_and_of_letters_alone(whole):
    twins = [{**cell, "label": label} for cell, label in zip(whole[3]["cells"], ("a-b", "a_b", "1", "한"), strict=True)]
    known = commands(macros({**whole[3], "cells": twins}, "한국", STAMP).decode())
    assert {"SuccessAB", "SuccessABB", "SuccessOne", "Success"} <= known.keys()


# ---------------------------------------------------------------------------------------------------------
# The document and the notebook.


def test_the_document_shows_all_figures_and_tables(whole):
    paper = (whole[2] / "paper.tex").read_text()
    drawn = {path.stem for path in (whole[2] / "figures").iterdir()}
    assert set(re.findall(r"\{figures/([\w-]+)\.pdf\}", paper)) == drawn
    assert set(re.findall(r"\\input\{tables/(\w+)\}", paper)) == {p.stem for p in (whole[2] / "tables").glob("*.tex")}


@pytest.mark.latex
def test_the_document_compiles(whole, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex here")
    shutil.copytree(whole[2], tmp_path / "paper")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    for _ in range(2):
        shown = subprocess.run(command, cwd=tmp_path / "paper", capture_output=True, text=True, errors="replace")
        assert shown.returncode == 0, shown.stdout[-3000:]
    assert "undefined" not in shown.stdout and "Missing character" not in shown.stdout
    assert (tmp_path / "paper" / "paper.pdf").read_bytes().startswith(b"%PDF")


def test_the_notebook_runs(whole, monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    made = json.loads((whole[2] / "starter.ipynb").read_text())
    assert made["nbformat"] == 4 and len({cell["id"] for cell in made["cells"]}) == len(made["cells"])
    monkeypatch.chdir(whole[2])
    space = {}
    for cell in made["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), space)
    assert space["results"].loc["g_norm=bn,d_weight=none", ("mean", "fd[random]")] == 101.0
    assert len(space["ax"].lines) == 4 * 4 and len(space["effects"]) > 4
    matplotlib.pyplot.close("all")
