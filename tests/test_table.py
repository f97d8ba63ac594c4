"""The tidy table and its summary: nothing dropped, nothing invented, blind to order."""

import csv
import dataclasses
import io
import json
import random

import miniature as mini
import pandas as pd
import pytest

from bench import table
from bench.files import write_bytes
from bench.store import Store
from bench.summary import summarise


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


@pytest.fixture
def design(tmp_path):
    return mini.a_design(tmp_path)


def read(frame):
    return pd.read_csv(io.BytesIO(table.to_csv(frame)), keep_default_na=False, dtype=str)


def test_one_row_a_run_snapshot_and_value(design, store):
    mini.write_all(design, store)
    frame = table.collect(design, store)
    # 12 runs × 4 snapshots × (fd, swd, swd_32, swd_16, ms_ssim_2s)
    assert len(frame) == 12 * 4 * 5
    assert not frame.duplicated(["run_id", "snapshot", "metric"]).any()
    assert list(frame.columns) == ["study", "cell", "g_norm", "d_weight", *table.FOLLOWING]
    run = next(run for run in design.runs if run.cell.name == design.cells[1].name and run.seed == 2)
    row = frame[(frame["run_id"] == run.run_id) & (frame["kimg"] == 8) & (frame["metric"] == "fd[random]")].iloc[0]
    # base 90 for the second cell, seed 2, and 10 for each of the 3 snapshots still to come
    assert row["value"] == 90 + 2 + 30
    assert (row["g_norm"], row["d_weight"], row["seed"]) == ("bn", "spectral", 2)
    assert (row["n_fake"], row["n_real"], row["extractor"], row["floor"]) == (2000, 80, "random", 5.0)
    assert row["n_floor"] == 40
    assert row["commit"] == "0123456789abcdef"


def test_a_dirty_tree_is_marked(design, store):
    mini.write_run(store, design.runs[0], dirty=True)
    frame = table.collect(design, store)
    assert set(frame[frame["run_id"] == design.runs[0].run_id]["commit"]) == {"0123456789abcdef-dirty"}


def test_shuffled_and_made_in_another_order_the_bytes_are_equal(design, store, tmp_path):
    mini.write_all(design, store)
    other = Store(tmp_path / "elsewhere")
    shuffled = dataclasses.replace(design, runs=tuple(random.Random(0).sample(design.runs, len(design.runs))))
    mini.write_all(shuffled, other)
    frames = [table.collect(design, store), table.collect(shuffled, store), table.collect(design, other)]
    assert len({table.to_csv(frame) for frame in frames}) == 1
    pairs = zip(frames, [design, shuffled, design], strict=True)
    assert len({table.to_csv(summarise(frame, asked)) for frame, asked in pairs}) == 1


def test_every_run_is_a_row_whatever_became_of_it(design, store):
    done, diverged, failed, *_ = design.runs
    mini.write_run(store, done, labels=[])
    mini.write_run(store, diverged, status="diverged", cause="loss_D is nan", labels=mini.LABELS[:1])
    mini.write_failed(store, failed, "killed: out of memory")
    shown = read(table.collect(design, store))
    assert set(shown["run_id"]) == {run.run_id for run in design.runs}
    assert set(shown["value"]) == {""}
    state = shown.drop_duplicates("run_id").set_index("run_id")[["status", "cause"]]
    assert tuple(state.loc[diverged.run_id]) == ("diverged", "loss_D is nan")
    assert tuple(state.loc[failed.run_id]) == ("failed", "killed: out of memory")
    assert state["status"].value_counts()["missing"] == 9
    # The diverged run has a snapshot: each score asked for of it is a row that says so.
    asked = shown[shown["run_id"] == diverged.run_id]
    assert list(asked["asked"]) == ["fd", "swd", "ms_ssim"] and set(asked["score_status"]) == {"missing"}


def test_failed_and_non_finite_scores_are_rows_with_a_reason(design, store):
    run = design.runs[0]
    mini.write_run(store, run, labels=mini.LABELS[:1])
    mini.write_score(store, run, design, mini.LABELS[0], "fd", {}, status="failed", reason="singular covariance")
    mini.write_score(store, run, design, mini.LABELS[0], "swd", {"swd": None, "swd_32": 3.0})
    path = mini.write_score(store, run, design, mini.LABELS[0], "ms_ssim", {"ms_ssim_2s": 0.5})
    path.write_text(path.read_text().replace("0.5", "Infinity"))
    rows = read(table.collect(design, store))
    rows = rows[rows["run_id"] == run.run_id].set_index("asked")
    assert tuple(rows.loc["fd", ["metric", "value", "reason"]]) == ("", "", "singular covariance")
    assert list(rows.loc["swd", "value"]) == ["", "3.0"]
    assert list(rows.loc["swd", "score_status"]) == ["failed", "ok"]
    assert rows.loc["ms_ssim", "value"] == "" and rows.loc["ms_ssim", "reason"] == "not a finite number"


def test_a_torn_score_counts_as_not_there(design, store):
    run = design.runs[0]
    mini.write_run(store, run, labels=mini.LABELS[:1])
    path = mini.write_score(store, run, design, mini.LABELS[0], "fd", {"fd[random]": 1.0})
    path.write_bytes(path.read_bytes()[:40])
    rows = table.collect(design, store)
    assert set(rows[rows["run_id"] == run.run_id]["score_status"]) == {"missing"}


def test_scores_of_another_study_are_not_read(design, store):
    run = design.runs[0]
    mini.write_run(store, run, labels=mini.LABELS[:1])
    path = mini.write_score(store, run, design, mini.LABELS[0], "fd", {"fd[random]": 1.0})
    record = json.loads(path.read_text())
    record["values"], record["protocol"]["n_fake"] = {"fd[random]": 99.0}, 50_000
    path.with_name("0123456789abcdef.json").write_text(json.dumps(record))
    values = table.collect(design, store)["value"].dropna()
    assert list(values) == [1.0]


def test_unlike_protocols_are_an_error_that_names_runs_and_field(design, store):
    one, two, *_ = design.runs
    for run, reals in ((one, 80), (two, 70)):
        mini.write_run(store, run, labels=mini.LABELS[:1])
        mini.write_score(store, run, design, mini.LABELS[0], "fd", {"fd[random]": 1.0}, stamp={"n_real": reals})
    with pytest.raises(table.ProtocolError) as caught:
        table.collect(design, store)
    message = str(caught.value)
    assert one.run_id in message and two.run_id in message
    assert "fd[random]" in message and "n_real is 70 in" in message and "80 in" in message
    assert "n_fake" not in message


def test_summary_by_hand(design, store):
    mini.write_all(design, store)
    summary = summarise(table.collect(design, store), design)
    assert len(summary) == 4 * 5
    row = summary[(summary["cell"] == design.cells[3].name) & (summary["metric"] == "fd[random]")].iloc[0]
    # Fourth cell, last snapshot: 70, 71, 72.  Mean 71, sd 1, t(2, 97.5 %) = 4.302653, half width 4.302653 / sqrt 3.
    assert (row["n"], row["mean"], row["sd_train"], row["kimg"]) == (3, 71.0, 1.0, 32.0)
    assert row["high"] == pytest.approx(71 + 4.302653 / 3**0.5, abs=1e-5)
    assert row["low"] == pytest.approx(71 - 4.302653 / 3**0.5, abs=1e-5)
    assert (row["floor"], row["seeds"], row["done"]) == (5.0, 3, 3)
    assert pd.isna(row["real"])
    row = summary[(summary["cell"] == design.cells[0].name) & (summary["metric"] == "ms_ssim_2s")].iloc[0]
    # (100 + 101 + 102) / 3 / 400
    assert row["mean"] == pytest.approx(101 / 400) and row["real"] == 0.25


def test_a_diverged_run_is_counted_and_changes_no_other_cell(design, store, tmp_path):
    whole = Store(tmp_path / "whole")
    mini.write_all(design, whole)
    lost = next(run for run in design.runs if run.cell.name == design.cells[0].name and run.seed == 2)
    for run in design.runs:
        if run is not lost:
            mini.write_run(store, run)
            mini.write_scores(store, run, design)
    mini.write_run(store, lost, status="diverged", cause="loss_D is nan", labels=mini.LABELS[:2])
    mini.write_scores(store, lost, design, labels=mini.LABELS[:2])
    with_loss = summarise(table.collect(design, store), design)
    without = summarise(table.collect(design, whole), design)
    others = with_loss["cell"] != design.cells[0].name
    pd.testing.assert_frame_equal(with_loss[others], without[others])
    here = with_loss[~others & (with_loss["metric"] == "fd[random]")].iloc[0]
    # Survivors 100 and 101: the diverged run's values at 16 kimg are no values at the end.
    assert (here["n"], here["mean"], here["done"], here["diverged"]) == (2, 100.5, 2, 1)


def test_a_number_that_looks_like_a_sentinel_is_a_number(design, store):
    run = design.runs[0]
    mini.write_run(store, run, labels=mini.LABELS[:1])
    mini.write_score(store, run, design, mini.LABELS[0], "fd", {"fd[random]": 31337.0})
    summary = summarise(table.collect(design, store), design)
    assert summary["mean"].dropna().tolist() == [31337.0]


def test_one_seed_has_no_interval(tmp_path, store):
    design = mini.a_design(tmp_path, seeds=1)
    mini.write_all(design, store)
    summary = summarise(table.collect(design, store), design)
    assert summary["mean"].notna().all()
    assert summary[["sd_train", "low", "high"]].isna().all(axis=None)


def test_nothing_done_yet(design, store):
    frame = table.collect(design, store)
    assert list(frame["status"]) == ["missing"] * 12
    summary = summarise(frame, design)
    assert list(summary["cell"]) == [cell.name for cell in design.cells]
    assert list(summary["n"]) == [0, 0, 0, 0] and list(summary["unfinished"]) == [3, 3, 3, 3]


def test_a_score_that_only_some_runs_have(design, store):
    for run in design.runs:
        mini.write_run(store, run, labels=mini.LABELS[3:])
        if run.cell.name == design.cells[0].name:
            mini.write_scores(store, run, design, labels=mini.LABELS[3:])
    summary = summarise(table.collect(design, store), design).set_index(["cell", "metric"])
    assert summary.loc[(design.cells[0].name, "swd"), "n"] == 3
    assert summary.loc[(design.cells[1].name, "swd"), "n"] == 0


def test_a_factor_may_have_the_name_of_a_column(design):
    cell = dataclasses.replace(design.cells[0], levels={"seed": "a", "g_norm": "bn", "mean": "b"})
    clashing = dataclasses.replace(design, cells=(cell,))
    assert table.factor_columns(clashing) == {"seed": "factor_seed", "g_norm": "g_norm", "mean": "factor_mean"}


def test_numbers_survive_the_csv_to_the_last_bit(design, store):
    run, exact = design.runs[0], 0.1 + 0.2
    mini.write_run(store, run, labels=mini.LABELS[:1])
    mini.write_score(store, run, design, mini.LABELS[0], "fd", {"fd[random]": exact})
    write_bytes(store.study("miniature") / "runs.csv", table.to_csv(table.collect(design, store)))
    with (store.study("miniature") / "runs.csv").open() as file:
        assert [float(row["value"]) for row in csv.DictReader(file) if row["value"]] == [exact]
