"""The noise of evaluation: one snapshot scored by several evaluation seeds, apart from all other scores."""

import json
import math

import miniature as mini
import pytest

from bench import design as designs
from bench import job, table
from bench.files import read_json
from bench.orders import Orders
from bench.protocol import EVALUATIONS, Evaluate, other_evaluations
from bench.stop import Stop
from bench.store import Store


@pytest.fixture
def design(tmp_path):
    return mini.a_design(tmp_path)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def with_seed(design, evaluate):
    return type(design)(**{**vars(design), "study": type(design.study)(**{**vars(design.study), "evaluate": evaluate})})


def test_other_evaluations_differ_in_their_seed_alone():
    evaluate = Evaluate(fakes=100, seed=2**31 - 1)
    others = other_evaluations(evaluate)
    assert [other.seed for other in others] == [0, 1]
    assert {other.model_copy(update={"seed": evaluate.seed}) for other in others} == {evaluate}


def test_the_run_is_the_first_seed_of_the_reference(design):
    run = designs.noise_run(design)
    assert (run.cell.levels, run.seed) == ({"g_norm": "bn", "d_weight": "none"}, 0)
    without = type(design)(**{**vars(design), "runs": tuple(r for r in design.runs if r.cell != run.cell)})
    assert designs.noise_run(without) == without.runs[0]


def test_the_spread_over_evaluation_seeds_by_hand_and_in_no_other_table(design, store):
    mini.write_all(design, store)
    before = table.collect(design, store)
    run = designs.noise_run(design)
    last = mini.LABELS[-1]
    assert table.evaluation_noise(design, store).empty
    for evaluate, fd in zip(other_evaluations(design.study.evaluate), (103.0, 97.0), strict=True):
        mini.write_score(store, run, with_seed(design, evaluate), last, "fd", {"fd[random]": fd})
    noise = table.evaluation_noise(design, store)
    (row,) = noise.to_dict("records")
    # The study's own evaluation says 100: mean 100, sd (n - 1) 3.
    logs = [math.log(100), math.log(103), math.log(97)]
    sd_log = math.sqrt(sum((log - sum(logs) / 3) ** 2 for log in logs) / 2)
    assert row.pop("sd_log") == pytest.approx(sd_log)
    assert row == {
        "metric": "fd[random]", "evaluations": EVALUATIONS, "mean": 100.0, "sd": 3.0,
        "cell": run.cell.name, "seed": 0, "run_id": run.run_id, "snapshot": last,
    }  # fmt: skip
    assert table.collect(design, store).equals(before)


def test_a_job_scores_its_last_snapshot_by_every_seed(make_run):
    folder, path = make_run(metrics=("colour", "ms_ssim"), evaluate=Evaluate(fakes=8), train__snapshots_g_steps=(3, 6))
    orders = Orders.read(path).model_copy(update={"noise_run": folder.path.name})
    assert job.run(folder, orders, stop=Stop()) == 0
    records = [read_json(file) for file in folder.scores.iterdir()]
    first, last = sorted({record["snapshot"] for record in records})
    seeds = {label: [r["protocol"]["seed"] for r in records if r["snapshot"] == label] for label in (first, last)}
    assert sorted(seeds[first]) == [0, 0]
    assert sorted(seeds[last]) == [0, 0, 1, 1, 2, 2]
    moved = {json.dumps(r["values"]) for r in records if r["snapshot"] == last and r["metric"] == "colour"}
    assert len(moved) == EVALUATIONS
    source = type("Source", (), {"channels": 1, "classes": ()})
    labels = [first, last]
    assert orders.unscored(folder, folder.setting(), labels, source) == []
    gone = next(file for file in folder.scores.iterdir() if read_json(file)["protocol"]["seed"] == 2)
    gone.unlink()
    (left,) = orders.unscored(folder, folder.setting(), labels, source)
    assert (left.snapshot, left.evaluate.seed, [r.id for r in left.requests]) == (last, 2, [gone.stem])
    elsewhere = orders.model_copy(update={"noise_run": "another"})
    assert elsewhere.unscored(folder, folder.setting(), labels, source) == []
