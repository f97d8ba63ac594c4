"""The report's later sections: other methods' answers, departures from the plan, checklist, methods, commands."""

import csv
import io
import json
import math

import miniature as mini
import numpy as np
import pandas as pd
import pytest
from test_effects import LOGS, T2

from bench import recipes
from bench.effects import estimate
from bench.protocol import METRICS
from bench.readings import Readings
from bench.render import citations, freshness, plan, report, selection
from bench.store import Store
from bench.table import collect

FD_AND_SWD = mini.STUDY.replace("[fd, swd, ms_ssim]", "[fd, swd]")


def prepared(folder, seeds=3, text=FD_AND_SWD, profile=None):
    """A report of the worked 2×2: fd at the end is 2 to the power in LOGS, and was half as much one snapshot before.

    swd goes the other way: 2 to the power of minus it.
    """
    design, store = mini.a_design(folder, seeds=seeds, text=text, profile=profile), Store(folder / "results")
    for run in design.runs:
        mini.write_run(store, run, labels=mini.LABELS[2:])
        log = LOGS[run.cell.name][run.seed]
        for label, more in zip(mini.LABELS[2:], (-1, 0), strict=True):
            mini.write_score(store, run, design, label, "fd", {"fd[random]": 2.0 ** (log + more)})
            mini.write_score(store, run, design, label, "swd", {"swd": 2.0 ** -(log + more)})
        attempt = store.run(run.run_id).attempt(1)
        made_by = {"python": "3.12.1", "packages": {"torch": "2.13.0+cpu", "numpy": "2.4.0"}}
        (attempt / "provenance.json").write_text(json.dumps(made_by))
    return design, store


def built(design, store, folder):
    page = report.build(design, store, folder / "reports")
    return page, json.loads((page.parent / "report.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("appendix")
    design, store = prepared(folder)
    return design, store, *built(design, store, folder)


# ---------------------------------------------------------------------------------------------------------
# Selection on other seeds.


def frame(values, name="fd[random]", real=None):
    """values: cell → seed → a value a snapshot."""
    rows = [
        {"cell": cell, "seed": seed, "kimg": float(k), "metric": name, "value": v, "real": real, "status": "done"}
        for cell, seeds in values.items()
        for seed, track in seeds.items()
        for k, v in enumerate(track)
    ]
    return pd.DataFrame(rows).astype({"real": float})


def test_a_run_has_no_say_in_its_own_snapshot():
    """Seed 0 is best at the first of three snapshots, seeds 1 and 2 at the second; geometric means of the others."""
    found = selection.selected(frame({"a": {0: [1, 4, 4], 1: [8, 2, 4], 2: [8, 2, 4]}}), "fd[random]")
    # For seed 0, the others are best at place 1; for 1: √(1·8) = 2.83, √(4·2) = 2.83, √(4·4) = 4: equal, so the later.
    assert found.places == {"a": {0: 1, 1: 1, 2: 1}} and found.candidates == 3
    assert {seed: math.exp(value) for seed, value in found.cells["a"].items()} == pytest.approx({0: 4, 1: 2, 2: 2})
    assert found.line == "of 3 snapshots; the last one for 0 of 3 runs"


def test_noise_is_not_picked():
    """Ten snapshots of pure noise, 400 cells of 3 seeds: a run's own best lies 1.54 sd below, the selected does not."""
    tracks = np.random.default_rng(0).normal(size=(400, 3, 10))
    values = {f"c{c}": dict(enumerate(np.exp(track).tolist())) for c, track in enumerate(tracks)}
    chosen = [
        value for found in selection.selected(frame(values), "fd[random]").cells.values() for value in found.values()
    ]
    assert tracks.min(axis=2).mean() == pytest.approx(-1.54, abs=0.06)
    assert np.mean(chosen) == pytest.approx(0, abs=4 / math.sqrt(len(chosen)))


def test_what_cannot_be_selected():
    assert selection.selected(frame({"a": {0: [1, 2], 1: [1, 2]}, "b": {0: [1], 1: [2]}}), "fd[random]") is None
    assert selection.selected(frame({"a": {0: [1, 2]}}), "fd[random]") is None
    assert selection.selected(frame({"a": {0: [1], 1: [2]}}), "fd[random]") is None  # one snapshot is no choice
    assert selection.selected(frame({"a": {0: [0, 2], 1: [1, 1]}}), "fd[random]") is None
    similar = {"a": {0: [0.1, 0.5], 1: [0.2, 0.4]}}
    assert selection.selected(frame(similar, "ms_ssim_2s"), "ms_ssim_2s") is None
    nearest = selection.selected(frame(similar, "ms_ssim_2s", real=0.35), "ms_ssim_2s")
    assert nearest.cells["a"] == {0: 0.5, 1: 0.4}  # the other seed is nearer to 0.35 at its second snapshot


# ---------------------------------------------------------------------------------------------------------
# Sensitivity.


def effect_of(said, name, metric="fd[random]"):
    (group,) = (group for group in said["sensitivity"]["groups"] if group["metric"] == metric)
    (row,) = (row for row in group["rows"] if row["name"] == name)
    return row


def test_the_columns_are_those_of_effects_csv(whole):
    design, store, _, said = whole
    table = collect(design, store)
    effects = estimate(design, Readings(design, store, table))
    rows = effects[(effects["kind"] == "main") & (effects["metric"] == "fd[random]")].to_dict("records")
    assert [row["effect_of"] for row in rows] == ["g_norm: adain", "d_weight: spectral"]
    for row in rows:
        shown = effect_of(said, row["effect_of"])
        assert [shown[key] for key in ("effect", "low", "high")] == [row[key] for key in ("effect", "low", "high")]
        for check in ("unpaired", "pooled"):
            bounds = [shown["checks"][check][key] for key in ("low", "high")]
            assert bounds == [row[f"{check}_{key}"] for key in ("low", "high")]
        signs = shown["checks"]["signs"]
        assert (signs["p"], signs["least"]) == (row["sign_flip_p"], row["smallest_sign_flip_p"]) == (0.25, 0.25)


def test_where_the_conclusion_changes(whole):
    """spectral − none, averaged over the norms, in powers of two by seed: (−2, −3, −1): mean −2, sd 1."""
    row = effect_of(whole[3], "d_weight: spectral")
    half = T2 / math.sqrt(3)  # 2.48: above 2, so the interval holds none
    assert row["effect"] == pytest.approx(2**-2) and row["high"] == pytest.approx(2 ** (-2 + half))
    assert row["conclusion"] == "undecided"
    # Both snapshots differ by a factor of two in every run: the selected one, the first, gives the same effect.
    chosen = row["checks"]["selected"]
    assert [chosen[key] for key in ("effect", "low", "high")] == pytest.approx(
        [row[key] for key in ("effect", "low", "high")]
    )
    assert whole[3]["sensitivity"]["selection"]["fd[random]"] == "of 2 snapshots; the last one for 0 of 12 runs"
    changed = [name for name, check in row["checks"].items() if check["conclusion"] not in ("", "undecided")]
    assert row["changes"] == sorted(changed) and "unpaired" in changed  # its 6 degrees of freedom decide it
    assert row["says"].startswith("It changes: lower unpaired")
    assert whole[3]["sensitivity"]["signs"].endswith("their least p is 0.25.")


def test_metrics_side_by_side(whole):
    """fd falls and swd rises by the same factors: what is better by the one is worse by the other."""
    (row,) = (row for row in whole[3]["sensitivity"]["agreement"]["rows"] if row["name"] == "d_weight: spectral")
    assert {name: one["toward"] for name, one in row["metrics"].items()} == {"fd[random]": "better", "swd": "worse"}
    assert row["says"] == "Better by 1 of 2, worse by 1; decided by none."


def test_claims_and_the_page_say_the_same(whole):
    design, _, page, said = whole
    (row,) = said["sensitivity"]["claims"]
    (verdict,) = said["verdicts"]
    assert [row[key] for key in ("effect", "low", "high")] == [verdict[key] for key in ("estimate", "low", "high")]
    text = page.read_text()
    assert row["says"] in text and "Copy as Markdown" in text
    table = list(csv.DictReader(io.StringIO((page.parent / "tables" / "sensitivity.csv").read_text())))
    assert [one["name"] for one in table][-1] == design.study.claims[0].says and len(table) == 5
    assert float(table[1]["unpaired_high"]) == effect_of(said, "d_weight: spectral")["checks"]["unpaired"]["high"]


# ---------------------------------------------------------------------------------------------------------
# Design, checklist, methods, commands.


def test_departures_from_the_plan(whole, tmp_path):
    design, store = whole[:2]
    assert whole[3]["design"]["deviations"] == []
    assert whole[3]["design"]["progress"]["line"] == "12 of 12 runs have an outcome, 4 of 4 cells in every seed"
    listed = "run_id,cell,g_norm,d_weight,seed\n"
    first = design.runs[0]
    others = {
        "a" * 16: "g_norm=in,bn",  # a cell that is gone, with a comma in its name
        "b" * 16: first.cell.name,  # the same cell and seed under other settings
    }
    rows = [f'{run_id},"{cell}",x,y,{first.seed}\n' for run_id, cell in others.items()]
    rows += [f'{"c" * 16},"{first.cell.name}",x,y,7\n']
    folder = store.study(design.study.name)
    fresh = freshness.inputs(design, store)
    (folder / "submissions").mkdir(parents=True)
    (folder / "submissions" / "one.csv").write_text(listed + "".join(rows))
    (folder / "study.yaml").write_text("# other words\n" + design.study.text)
    assert freshness.inputs(design, store) != fresh
    try:
        assert list(plan.earlier(design, store)) == [
            "launched under this name, and not in this design: 1 cell, g_norm=in,bn",
            "launched under this name, and not in this design: seeds 7",
            "launched under other settings too, for the same cell and seed: 1 run",
            "not in every list that was launched under this name: 3 cells, g_norm=adain,d_weight=none, "
            "g_norm=adain,d_weight=spectral, g_norm=bn,d_weight=spectral",
            "the study file has changed since it was last launched",
        ]
    finally:
        (folder / "submissions" / "one.csv").unlink()
        (folder / "study.yaml").unlink()


def test_what_differs_from_the_reference(whole):
    departures = whole[3]["design"]["departures"]
    assert departures["g_norm=bn,d_weight=none"] == {}
    assert departures["g_norm=adain,d_weight=spectral"] == {"g_norm": "adain", "d_weight": "spectral"}


def test_the_methods_are_the_facts(whole):
    design, _, page, said = whole
    text = " ".join(one["text"] for one in said["methods"]["paragraphs"])
    setting = design.runs[0].setting
    for fact in (
        "4 cells (full crossing): g_norm (bn, adain) × d_weight (none, spectral)",
        "3 training seeds (0, 1, 2), 12 runs in all",
        citations.RECIPES["wgan_gp"],
        f"width {setting.g_width} of G",
        f"step size {setting.train.lr}",
        f"{setting.train.n_critic} updates of D in one of G",
        "2,000 fakes against 80 reals of the train part",
        "Features: random (weights abababababab)",
        "32 thousand real images",
        "1 claim of the study file is judged in both directions at 5 % after Holm’s correction",
        "Of 12 runs with an outcome 12 reached the end.",  # no score of collapse was asked for
        "python 3.12.1, torch 2.13.0+cpu, numpy 2.4.0",
        "Code: commit 0123456789abcdef.",
    ):
        assert fact in text
    hours = sum(30.0 + run.seed for run in design.runs) / 3600
    assert f"cpu (12 runs): {hours:.3g} hours in all" in text
    assert (page.parent / "methods.md").read_text() == said["methods"]["markdown"]
    tex = (page.parent / "methods.tex").read_text()
    assert r"\paragraph{Design.}" in tex and r"g\_norm (bn, adain) $\times$ d\_weight" in tex
    stamp = said["methods"]["metrics"][0]["values"][0]["stamp"]
    assert stamp == {key: str(value) for key, value in mini.STAMP.items() if value is not None}


def test_every_recipe_and_metric_is_cited():
    assert citations.RECIPES.keys() == recipes.RECIPES.keys()
    assert citations.METRICS.keys() == METRICS.keys()


def test_the_checklist_leaves_blank_what_no_file_knows(whole):
    answers = {one["question"].partition(":")[0]: one for one in whole[3]["checklist"]}
    blank = {question for question, one in answers.items() if not one["answer"]}
    assert blank == {
        "Limitations",
        "Licences of data, code and pretrained weights",
        "Ethics, consent of people in the data, review boards",
        "Broader impacts and safeguards",
        "Where code and data can be had, after the review",
    }
    assert whole[2].read_text().count('class="fill"') == len(blank)
    assert answers["Reproducibility"]["answer"] == "yes" and answers["Selection"]["answer"] == "yes"
    assert "over 3 training seeds" in answers["Error bars"]["why"]


def test_the_commands_make_it_again(whole):
    said = whole[3]
    commands = said["reproduce"]["commands"]
    assert commands[0] == "git checkout 0123456789abcdef"
    assert "pip install -e . numpy==2.4.0 torch==2.13.0" in commands
    assert commands[-1] == said["study"]["command"] == "python -m bench.run miniature.yaml"
    assert "torch was the build 2.13.0+cpu." in said["reproduce"]["notes"]


def test_one_seed_and_nothing_known(tmp_path):
    """One seed, trained by nobody knows what, with retries and an override: no interval, no test, and it says so."""
    design, store = mini.a_design(tmp_path, seeds=1, text=FD_AND_SWD), Store(tmp_path / "results")
    for run in design.runs[:3]:
        mini.write_run(store, run, commit=None, attempt=3, device=None)
        mini.write_scores_of(store, run, design, ["fd", "swd"])
    mini.write_run(store, design.runs[3], status="diverged", cause="loss_D is nan", commit=None, device=None)
    page, said = built(design, store, tmp_path)
    assert {row["conclusion"] for group in said["sensitivity"]["groups"] for row in group["rows"]} == {""}
    answers = {one["question"].partition(":")[0]: one["answer"] for one in said["checklist"]}
    assert answers["Error bars"] == answers["Significance"] == "no" and answers["Compute"] == answers["Code"] == ""
    assert answers["Reproducibility"] == "partly"
    kinds = {one["what"]: one["text"] for one in said["design"]["deviations"]}
    assert kinds.keys() == {"retries", "diverged"} and kinds["retries"].startswith("3 runs took more than one attempt")
    assert "No commit is known of any run." in said["reproduce"]["notes"]
    assert "There is one seed" in said["methods"]["markdown"] and str(tmp_path) not in page.read_text()


def test_nothing_done(tmp_path):
    design, store = mini.a_design(tmp_path, seeds=2, text=FD_AND_SWD), Store(tmp_path / "results")
    page, said = built(design, store, tmp_path)
    assert said["sensitivity"] is None and 'href="#sensitivity"' not in page.read_text()
    assert said["design"]["progress"]["line"] == "0 of 8 runs have an outcome, 0 of 4 cells in every seed"
    assert "No run has ended yet." in said["methods"]["markdown"]
