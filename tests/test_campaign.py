"""The fault campaign in little: one round, and that it finds what it looks for."""

import argparse
import contextlib
import json
import math
import os
import random
import shutil
import signal
import time

import campaign
import pytest
from crew import Choice, is_training, signalled
from ledger import Ledger
from trial import STUDY, Trial

from bench.command import open_design, orders_of, sources_of
from bench.files import publish
from bench.launch import start
from bench.orders import Orders
from bench.preparation import prepare
from bench.store import RunFolder


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The study's first run, made in this process as `trial.undisturbed` has all of them made in another."""
    top = tmp_path_factory.mktemp("campaign")
    (top / "small.yaml").write_text(STUDY)
    given = argparse.Namespace(study=str(top / "small.yaml"), profile=None, set=[], yes=False, only=[], limit=1)
    given.results = top / "undisturbed"

    def prepared(runs, store, orders_path, study_dir):
        prepare(Orders.read(orders_path), [run.setting for run in runs], study_dir)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DATA", str(top / "data"))
        patch.setattr(start, "prepare", prepared)
        design, store = open_design(given)
        orders = orders_of(design)
        launched = start.launch(design, design, store, orders, sources_of(design), "inline", None)
    assert launched.code == 0
    return given.results


@pytest.fixture
def copy(reference, tmp_path):
    """Results that nobody disturbed, and the run's folder in them."""
    shutil.copytree(reference, tmp_path / "results")
    (run,) = (tmp_path / "results" / "runs").iterdir()
    return tmp_path / "results", RunFolder(run)


@pytest.mark.slow
def test_a_round_with_a_worker_killed(reference):
    choices = [Choice("worker", is_training, signalled(signal.SIGKILL))]
    trial = Trial(reference.parent / "round", reference, random.Random(0), runs=1, choices=choices)
    trial.left, trial.phase, trial.until = 1, "training", math.inf
    found = trial.carry_out()
    assert found.lines() == []
    assert trial.faults == {"worker: SIGKILL": 1}
    tally = campaign.Tally("campaign", 0)
    tally.add(trial, found)
    assert (tally.counts["runs"], tally.counts["attempts"]) == (1, 2)
    assert "| worker: SIGKILL | 1 |" in tally.table() and "| **results lost** | 0 |" in tally.table()


def closed(results, reference, ledger=None):
    names = [path.name for path in (reference / "runs").iterdir()]
    return {kind: found for kind, found in vars((ledger or Ledger()).close(results, reference, names)).items() if found}


def test_nothing_is_found_where_nothing_is_wrong(copy, reference):
    assert closed(copy[0], reference) == {}


@pytest.mark.parametrize("name", ["snapshots/000000.120.pt", "trained.json"])
def test_what_is_lost_is_found(copy, reference, name):
    (copy[1].path / name).unlink()
    assert list(closed(copy[0], reference)) == ["lost"]


def test_what_was_there_and_is_made_anew_is_found(copy, reference):
    """Lost for a while, then there again as it was."""
    results, run = copy
    ledger, content = Ledger(), run.trained.read_bytes()
    ledger.look(results)
    run.trained.unlink()
    ledger.look(results)
    publish(run.trained, content)
    assert list(closed(results, reference, ledger)) == ["lost"]


@pytest.mark.parametrize("name", ["trained.json", "snapshots/000000.240.pt"])
def test_a_second_publication_is_found(copy, reference, name):
    """In place of the first one, or over it."""
    results, run = copy
    path = run.path / name
    content = path.read_bytes()
    for write in (path.write_bytes, lambda new: (path.unlink(), publish(path, new))):
        ledger = Ledger()
        ledger.look(results)
        write(content + b"\n")
        assert "twice" in closed(results, reference, ledger)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        publish(path, content)


def test_training_after_the_end_is_found(copy, reference):
    results, run = copy
    shutil.copytree(run.attempt(1), run.attempt(2))
    os.utime(run.attempt(2) / "owner.json", (time.time() + 1, time.time() + 1))
    assert list(closed(results, reference)) == ["twice"]


def test_other_weights_and_scores_are_found(copy, reference):
    results, run = copy
    trained = json.loads(run.trained.read_text())
    run.trained.write_text(json.dumps({**trained, "weights": "0" * 64}))
    assert list(closed(results, reference)) == ["differing"]
    run.trained.write_text(json.dumps(trained))
    score = next(run.scores.iterdir())
    said = json.loads(score.read_text())
    score.write_text(json.dumps({**said, "values": {name: 0.0 for name in said["values"]}}))
    assert list(closed(results, reference)) == ["differing"]


@pytest.mark.parametrize("change", ["lost", "repeated", "other"])
def test_steps_lost_or_repeated_are_found(copy, reference, change):
    results, run = copy
    path = run.attempt(1) / "train.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    other = json.dumps({**json.loads(lines[10]), "loss_D": 0.0}) + "\n"
    lines[10:11] = {"lost": [], "repeated": [lines[10]] * 2, "other": [other]}[change]
    path.write_text("".join(lines))
    assert list(closed(results, reference)) == ["steps"]
