"""Collapse and never learning: every path of the definition, from constructed scores."""

import json
import math

import miniature as mini
import pytest
from pydantic import ValidationError

from bench import overview, table
from bench.outcomes import Collapse, Label, Value, label, meets
from bench.store import Store
from bench.summary import summarise
from bench.terminal import Terminal


def judged(*met):
    return label([(8.0 * (place + 1), one) for place, one in enumerate(met)])


@pytest.mark.parametrize(
    ("met", "expected"),
    [
        ((False, False, False, False), Label(None)),
        ((False, False, True, True), Label("collapsed", 24.0)),
        ((False, True, True, True), Label("collapsed", 16.0)),
        ((False, True, False, True, True), Label("collapsed", 32.0)),  # back in between: it began the last time
        ((True, False, True, True), Label("collapsed", 24.0)),  # unlearned at first, learned, then collapsed
        ((True, False, False, False), Label(None)),  # an untrained generator meets it too
        ((True, True, True, True), Label("never_learned")),
        ((True, True), Label("never_learned")),
        ((False, True, True, False), Label(None)),  # came back
        ((False,), Label(None)),
        ((None, False), Label(None)),
        ((False, None, True, True), Label("collapsed", 24.0)),
    ],
)
def test_the_definition(met, expected):
    assert judged(*met) == expected


@pytest.mark.parametrize(
    ("met", "why"),
    [
        ((), "no score of the criterion"),
        ((None, None), "no score of the criterion"),
        ((False, True, None), "the last snapshot has no score"),
        ((None, True, True), "a snapshot has no score"),  # may have passed there
        ((False, None, True), "a snapshot has no score"),
        ((True,), "too few snapshots (1)"),
        ((False, True), "too few snapshots (2)"),
        ((False, False, True), "met at the last snapshot alone"),
    ],
)
def test_no_label_and_why(met, why):
    found = judged(*met)
    assert found.outcome is None and found.at_kimg is None and why in found.note


@pytest.mark.parametrize(
    ("values", "criterion", "met"),
    [
        ([Value("ms_ssim_2s", 0.36, 0.25)], Collapse(), True),
        ([Value("ms_ssim_2s", 0.34, 0.25)], Collapse(), False),
        ([Value("ms_ssim_2s", 0.34, 0.25)], Collapse(ms_ssim_margin=0.05), True),
        ([Value("ms_ssim_2s", 0.9, None)], Collapse(), None),  # nothing to compare with
        ([Value("ms_ssim_2s", 0.9, 0.25)], Collapse(ms_ssim_margin=None), None),
        ([Value("recall[random]", 0.19, 0.8)], Collapse(), True),
        ([Value("recall[random]", 0.2, 0.8)], Collapse(), False),
        ([Value("recall[random]", 0.3, 0.8)], Collapse(recall_below=0.5), True),
        ([Value("precision[random]", 0.0, 0.8)], Collapse(), None),
        ([Value("modes[classifier]", 4.0, 10.0)], Collapse(), True),
        ([Value("modes[classifier]", 5.0, 10.0)], Collapse(), False),
        ([Value("modes[classifier]", 9.0, 10.0)], Collapse(modes_below=1.0), True),
        ([Value("reverse_kl[classifier]", 9.0, 0.0)], Collapse(), None),
        ([Value("recall[random]", 0.9, 1.0), Value("ms_ssim_2s", 0.9, 0.2)], Collapse(), True),  # any one of them
        ([Value("recall[random]", 0.9, 1.0), Value("ms_ssim_2s", math.nan, 0.2)], Collapse(), False),
        ([], Collapse(), None),
    ],
)
def test_the_criterion(values, criterion, met):
    assert meets(values, criterion) is met


@pytest.mark.parametrize("said", [{"ms_ssim_margin": 0}, {"recall_below": 1.5}, {"recall": 0.2}])
def test_a_criterion_that_makes_no_sense_is_refused(said):
    with pytest.raises(ValidationError):
        Collapse(**said)


# ---------------------------------------------------------------------------------------------------------
# From scores on disk to the tables.

TWO = mini.STUDY.replace("[fd, swd, ms_ssim]", "[ms_ssim]")
PATHS = {"collapsed": [0.2, 0.2, 0.4, 0.4], "never": [0.4, 0.4, 0.4, 0.4], "good": [0.4, 0.2, 0.2, 0.2]}


def leave(store, design, run, values, **kept):
    mini.write_run(store, run, **kept)
    for place, value in zip(mini.LABELS, values, strict=False):
        mini.write_score(store, run, design, place, "ms_ssim", {"ms_ssim_2s": value}, real={"ms_ssim_2s": 0.25})


@pytest.fixture
def study(tmp_path):
    """Cells one to three: collapsed, never learned, good, in all seeds; in the fourth one diverged after collapsing."""
    design, store = mini.a_design(tmp_path, text=TWO, seeds=2), Store(tmp_path / "results")
    for cell, values in zip(design.cells, PATHS.values(), strict=False):
        for run in design.runs:
            if run.cell.name == cell.name:
                leave(store, design, run, values)
    one, other = (run for run in design.runs if run.cell.name == design.cells[3].name)
    leave(store, design, one, PATHS["collapsed"], status="diverged", cause="loss_D is nan")
    leave(store, design, other, PATHS["good"])
    return design, store


def test_runs_csv_and_summary_say_what_became_of_runs(study):
    design, store = study
    frame = table.collect(design, store)
    runs = frame.drop_duplicates("run_id").set_index(["cell", "seed"])
    names = [cell.name for cell in design.cells]
    found = [list(runs.loc[name, "outcome"]) for name in names]
    assert found == [["collapsed"] * 2, ["never_learned"] * 2, ["done"] * 2, ["diverged", "done"]]
    assert runs["collapsed_at_kimg"].dropna().tolist() == [24.0, 24.0]
    assert set(runs["status"]) == {"done", "diverged"}  # a label is no status
    summary = summarise(frame, design).drop_duplicates("cell").set_index("cell")
    assert summary["collapsed"].tolist() == [2, 0, 0, 0] and summary["never_learned"].tolist() == [0, 2, 0, 0]
    assert summary["done"].tolist() == [2, 2, 2, 1]
    assert summary["mean"].tolist() == [0.4, 0.4, 0.2, 0.2]  # scores are kept


def test_a_study_may_override_the_criterion(tmp_path, study):
    text = TWO + "collapse: {{ms_ssim_margin: 0.2}}\n"
    design = mini.a_design(tmp_path, text=text, seeds=2)
    assert set(table.collect(design, study[1])["outcome"]) == {"done", "diverged"}
    assert [run.run_id for run in design.runs] == [run.run_id for run in study[0].runs]  # no part of a run


def test_a_profile_may_change_one_bound(tmp_path):
    text = TWO + "  strict: {{collapse: {{recall_below: 0.5}}}}\ncollapse: {{ms_ssim_margin: 0.3}}\n"
    loaded = mini.a_design(tmp_path, text=text, profile="strict").study
    assert loaded.collapse == Collapse(ms_ssim_margin=0.3, recall_below=0.5)


def test_without_a_score_that_speaks_the_table_says_so(tmp_path):
    design, store = mini.a_design(tmp_path, text=mini.STUDY.replace("[fd, swd, ms_ssim]", "[fd]")), Store(tmp_path)
    mini.write_run(store, design.runs[0])
    row = table.collect(design, store).set_index("run_id").loc[design.runs[0].run_id].iloc[0]
    assert row["outcome"] == "done" and "none of ms_ssim, prdc, modes" in row["outcome_note"]


def test_a_failed_score_does_not_speak(study):
    design, store = study
    run = next(run for run in design.runs if run.cell.name == design.cells[1].name)
    mini.write_score(store, run, design, mini.LABELS[0], "ms_ssim", {}, status="failed", reason="no")
    row = table.collect(design, store).drop_duplicates("run_id").set_index("run_id").loc[run.run_id]
    assert row["outcome"] == "done" and "a snapshot has no score" in row["outcome_note"]


def test_the_status_shows_labels(study):
    design, store = study
    console = Terminal()
    with console.capture() as shown:
        console.print(overview.status_table(design, store))
    text = shown.get()
    assert "of the done: 2 collapsed, 2 never learned" in text
    assert text.count("collapsed at 24 kimg") == 2 and text.count("never learned") == 3


def test_labels_are_written_nowhere(study):
    design, store = study
    table.collect(design, store)
    kept = [json.loads(path.read_text()) for path in store.root.glob("runs/*/trained.json")]
    assert len(kept) == 8 and not any("outcome" in record for record in kept)
