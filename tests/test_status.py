"""`python -m bench.status`: what it says, that it writes nothing, and how fast it is."""

import json
import os
import resource
import subprocess
import sys
import time

import miniature as mini
import pytest

from bench import clean, liveness, standing, status
from bench import store as store_module
from bench.files import now, write_json
from bench.launch.submission import Submission, SubmissionFolder, TaskResources, comment, new_id
from bench.liveness import Witness, this_process
from bench.protocol import requests
from bench.scheduler import Scheduler
from bench.store import Store
from bench.study import load

SLURM_LINE = (
    "JobId={id} ArrayJobId={id} ArrayTaskId={tasks} JobName=x UserId=me({uid}) JobState={state} Reason={reason} "
)


class Queue:
    """What scontrol would print; None: it does not answer."""

    def __init__(self):
        self.lines, self.down, self.asked = [], False, 0

    def add(self, number, tasks, state, reason, said):
        line = SLURM_LINE.format(id=number, tasks=tasks, uid=os.getuid(), state=state, reason=reason)
        self.lines.append(f"{line}Restarts=0 ExitCode=0:0 StartTime=Unknown Comment={said}")

    def __call__(self, command):
        self.asked += 1
        return None if self.down or command[0] == "sacct" else "\n".join(self.lines)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Twelve runs: the design, their store, the queue that it asks, and a call of the command."""
    design, queue = mini.a_design(tmp_path), Queue()
    store = Store(tmp_path / "results", Witness(Scheduler(queue)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(store_module, "Witness", lambda: Witness(Scheduler(queue)))
    return design, store, queue


@pytest.fixture
def shown(place, monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["bench.status", "miniature.yaml", *arguments])
        assert status.main() == 0
        return capsys.readouterr().out

    return call


def submitted(store, design, tasks):
    """Write a submission of these runs, one array job."""
    folder = SubmissionFolder(store.study(design.study.name) / "submissions" / new_id())
    chunks, of = ((0, len(tasks)),), TaskResources()
    folder.write(
        Submission(
            id=folder.path.name,
            study=design.study.name,
            created=now(),
            orders="orders/0.json",
            tasks=tuple((run.run_id,) for run in tasks),
            chunks=chunks,
            resources=of,
        )
    )
    return folder


def test_what_a_live_job_will_take_up_is_queued(place, shown):
    design, store, queue = place
    runs = design.runs
    mini.write_run(store, runs[0])
    mini.write_failed(store, runs[1], reason="the node died")
    folder = submitted(store, design, runs[:5])
    queue.add(12, "0-3%2", "PENDING", "Priority", comment(folder.path.name, 0))
    found = standing.states(design, store)
    assert [found[run.run_id].status for run in runs[:6]] == [
        "done",
        "queued",
        "queued",
        "queued",
        "missing",
        "missing",
    ]
    assert found[runs[2].run_id].job == "12_2"
    text = shown()
    assert "12 runs: 8 missing, 3 queued, 1 done" in text
    assert "job 12_1 is pending (Priority); before: the node died" in text
    queue.lines.clear()
    store.witness.scheduler.forget()
    found = standing.states(design, store)
    assert [found[run.run_id].status for run in runs[:4]] == ["done", "failed", "missing", "missing"]


def test_a_slurm_that_does_not_answer_is_said(place, shown):
    design, store, queue = place
    submitted(store, design, design.runs[:5])
    queue.down = True
    assert "Slurm does not answer here: of the 12 runs that wait, some may be in its queue" in shown()
    assert "Slurm does not answer" in json.loads(shown("--json"))["note"]


def test_slurm_is_not_asked_about_a_study_that_was_never_submitted(place, shown):
    _, _, queue = place
    assert "12 runs: 12 missing" in shown()
    assert queue.asked == 0


def test_status_writes_nothing(place, shown, tmp_path):
    """Of runs of every status, with an old heartbeat that is watched, and under both forms."""
    design, store, queue = place
    runs = design.runs
    mini.write_run(store, runs[0])
    mini.write_run(store, runs[1], status="diverged", cause="loss")
    mini.write_failed(store, runs[2])
    store.run(runs[3].run_id).path.mkdir()
    store.run(runs[3].run_id).claim()
    write_json(store.run(runs[4].run_id).attempt(1) / "owner.json", {**this_process(), "started": "0"})
    folder = submitted(store, design, runs[5:7])
    queue.add(12, "0-1", "PENDING", "Priority", comment(folder.path.name, 0))
    write_json(store.run(runs[7].run_id).attempt(1) / "owner.json", {**this_process(), "host": "elsewhere"})
    store.run(runs[8].run_id).trained.parent.mkdir(parents=True)
    store.run(runs[8].run_id).trained.write_text('{"status": "do')

    def tree():
        return {
            str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
            for path in [tmp_path, *tmp_path.rglob("*")]
        }

    before = tree()
    text = shown()
    assert "12 runs: " in text
    words = [status for status in ("done", "diverged", "failed", "queued", "missing", "running", "stopped")]
    assert all(f" {word}" in text for word in words)
    rows = json.loads(shown("--json"))["runs"]
    assert [row["status"] for row in rows[:3]] == ["done", "diverged", "failed"]
    assert tree() == before


def test_an_old_heartbeat_is_watched_before_it_is_called_dead(place, shown, monkeypatch):
    design, store, _ = place
    for module in (liveness, store_module, status):
        monkeypatch.setattr(module, "WATCH_S", 0.4)
    owner = store.run(design.runs[0].run_id).attempt(1) / "owner.json"
    write_json(owner, {**this_process(), "host": "elsewhere"})
    old = time.time() - liveness.SILENCE_S - 60
    os.utime(owner, (old, old))
    assert "1 stopped" in shown()


def test_clean_spares_what_is_queued(place):
    design, store, queue = place
    checkpoints = []
    for run in design.runs[:3]:
        mini.write_failed(store, run)
        checkpoints.append(store.run(run.run_id).attempt(1) / "checkpoints")
        checkpoints[-1].mkdir()
    folder = submitted(store, design, design.runs[:2])
    assert set(clean.checkpoints(store)) == set(checkpoints)
    queue.add(12, "0", "PENDING", "Priority", comment(folder.path.name, 0))
    store.witness.scheduler.forget()
    assert set(clean.checkpoints(store)) == set(checkpoints[1:])
    assert {path.name for path in clean.unreferenced(store)} == {run.run_id for run in design.runs[1:3]}
    queue.down = True
    store.witness.scheduler.forget()
    assert list(clean.checkpoints(store)) == checkpoints[2:]  # nobody says that they are not queued


def test_long_rows_are_folded_and_nothing_is_lost(place, shown):
    design, store, _ = place
    reason = " ".join(f"word{number}" for number in range(60))
    mini.write_failed(store, design.runs[0], reason=f"{reason}\nsecond line \x1b[2J")
    lines = shown().splitlines()
    assert max(map(len, lines)) <= 160
    together = "".join(line[-200:].strip().rpartition("  ")[2] for line in lines).replace(" ", "")
    assert all(f"word{number}" in together for number in range(60))
    assert "\x1b" not in "".join(lines)


STUDY = """\
study: many
recipe: sngan
data: {name: faces, size: 16}
train: {g_steps: 100, snapshots_g_steps: [50, 100]}
factors: {d_weight: [none, spectral], g_norm: [bn, none]}
seeds: 2500
reference: {d_weight: none, g_norm: bn}
metrics: [swd, ms_ssim]
"""


@pytest.mark.slow
def test_ten_thousand_runs_in_five_seconds(tmp_path):
    """Of processor time, the whole command: planning, reading 24,000 scores and states, writing the table."""
    from bench import datasets
    from bench.design import expand

    path = tmp_path / "many.yaml"
    path.write_text(STUDY)
    store = Store(tmp_path / "results")
    design = expand(load(path), root=tmp_path / "data", cache=store.cache)
    assert len(design.runs) == 10_000
    source = datasets.describe(design.runs[0].setting.data, tmp_path / "data")
    gone = {**this_process(), "host": "elsewhere", "job": {"id": "12_3", "restarts": 0, "cluster": "there"}}
    trained = {"status": "done", "kimg": 3.2, "seconds": 12.0, "nimg": 3200, "attempt": 1, "weights": {"G": "ab" * 32}}
    trained["snapshots"] = ["001.600", "003.200"]
    for number, run in enumerate(design.runs):
        folder, kind = store.run(run.run_id), number % 10
        if kind == 9:
            continue
        attempt = folder.attempt(1)
        attempt.mkdir(parents=True)
        (attempt / "owner.json").write_text(json.dumps(gone))
        (attempt / "alive").write_text('{"step": 3, "steps": 100, "kimg": 1.0, "images_per_second": 20.0}')
        if kind == 8:
            continue
        (attempt / "ended.json").write_text(json.dumps({"exit": int(kind == 7), "reason": "x", "again": False}))
        if kind == 7:
            continue
        folder.trained.write_text(json.dumps(trained))
        folder.scores.mkdir()
        for label in trained["snapshots"]:
            listed = requests(design.study.metrics, design.study.evaluate, run.setting.data, run.run_id, label, source)
            for request in listed:
                score = {"status": "ok", "values": {request.metric: 0.3}, "real": {request.metric: 0.2}}
                (folder.scores / f"{request.id}.json").write_text(json.dumps(score))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "bench.status", "many.yaml", "--yes"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "10000 runs: 7000 done, 1000 failed, 1000 running, 1000 missing" in done.stdout, done.stderr
    assert len(done.stdout.splitlines()) > 10_000
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5.0
