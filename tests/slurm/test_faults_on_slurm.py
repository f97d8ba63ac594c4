"""More faults on a real Slurm: a whole array cancelled, a job that Slurm forgot, no controller, a study edited."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from test_submission_on_slurm import driver, tasks
from test_task_on_slurm import KNOBS, Sent, until

from bench import liveness
from bench import store as store_module
from bench.files import read_json, write_json
from bench.store import Store

pytestmark = pytest.mark.slurm


@pytest.fixture
def runs(make_faulty, faulty):
    """Two runs that go slowly until they are told to behave."""
    faulty.act("slow")
    return [make_faulty(seed=seed, **KNOBS) for seed in range(2)]


def submit():
    shown, _ = (one := driver()).communicate(timeout=120)
    assert one.returncode == 0, shown
    return shown


def status():
    command = [sys.executable, "-m", "bench.status", "tiny.yaml", "--json"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = json.loads(shown.stdout)
    return said["note"], [run["status"] for run in said["runs"]]


def test_scancel_of_a_whole_array(slurm, runs, faulty, tmp_path):
    """No task of it comes back; what its runs have done stands, and another array goes on."""
    sent = Sent(slurm, tmp_path, runs, runs[0][1])
    for folder in sent.folders:
        sent.started(folder)
    slurm.run("scancel", sent.job)
    for task in range(2):
        sent.ended("CANCELLED", task=task)
        assert sent.state(task) == ("CANCELLED", 0)
    until(lambda: all(folder.state().status == "stopped" for folder in sent.folders))
    faulty.behave()
    again = Sent(slurm, tmp_path, runs, runs[0][1])
    for task in range(2):
        again.ended(task=task)
    again.check()


def test_a_job_that_slurm_has_forgotten(reach, runs, faulty, tmp_path, monkeypatch):
    """Of a run on another host that proves nothing: its heartbeat is asked, and watched; then it goes on."""
    slurm = reach(min_job_age=2)
    sent = Sent(slurm, tmp_path, runs[:1], runs[0][1])
    sent.started()
    folder = sent.folders[0]
    for module, path in (("submitit.core._submit", sent.submission), ("bench.job", folder.path)):
        os.kill(sent.pid(module, path), signal.SIGKILL)
    until(lambda: "Invalid job id" in slurm.run("scontrol", "show", "job", f"{sent.job}_0", check=False))
    attempt = folder.attempt(1)
    assert not (attempt / "ended.json").exists()
    write_json(attempt / "owner.json", {**(read_json(attempt / "owner.json") or {}), "host": "elsewhere"})
    name, store = folder.path.name, Store(tmp_path / "results")
    os.utime(attempt / "alive")
    assert store.run(name).state().status == "running"
    os.utime(attempt / "alive", (time.time() - 700, time.time() - 700))
    monkeypatch.setattr(liveness, "WATCH_S", 1.0)
    monkeypatch.setattr(store_module, "WATCH_S", 1.0)
    store = Store(tmp_path / "results")
    assert store.run(name).state().status == "running"
    assert store.settle(store.states([name]))[name].status == "stopped"
    faulty.behave()
    os.utime(attempt / "alive", (0, 0))
    sent.again().ended()
    sent.check()


def test_controller_down_during_status(slurm, place):
    """It says so, claims nothing of the queue, and does not hang."""
    submit()
    assert status() == (None, ["queued"] * 8)
    with slurm.controller_down():
        began = time.monotonic()
        note, statuses = status()
        assert time.monotonic() - began < 60
    assert note is not None and "Slurm does not answer" in note
    assert statuses == ["missing"] * 8
    assert status() == (None, ["queued"] * 8)


def test_a_study_edited_while_it_is_queued(slurm, place):
    """A cell taken out, one put in: what is queued stays, what is new is submitted, and both can be cancelled."""
    submit()
    before = tasks(place)
    file = place / "tiny.yaml"
    file.write_text(file.read_text().replace("[bn, adain]", "[bn, in]"))
    assert status()[1].count("missing") == status()[1].count("queued") == 4
    submit()
    after = tasks(place)
    assert {job: after[job] for job in before} == before
    fresh = [run for job, of in after.items() if job not in before for run in of]
    assert len(fresh) == len(set(fresh)) == 4
    assert not set(fresh) & {run for of in before.values() for run in of}
    assert status() == (None, ["queued"] * 8)
    subprocess.run([sys.executable, "-m", "bench.cancel", "tiny.yaml"], check=True, capture_output=True, timeout=120)
    until(lambda: slurm.queue() == {}, 30)
