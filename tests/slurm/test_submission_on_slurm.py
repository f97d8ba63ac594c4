"""A study submitted to a real Slurm: arrays, refusals, drivers that die or meet, cancelling, the report after."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from bench import cancel, run
from bench.command import exit_code
from bench.launch import sbatch, start
from bench.launch.sbatch import SlurmError
from bench.launch.slurm import Limits
from bench.launch.submission import SubmissionFolder, folders, live_jobs, runs_of
from bench.scheduler import Scheduler
from bench.store import Store

pytestmark = pytest.mark.slurm


DRIVER = (
    "import sys; from bench.launch import start; start.prepare = lambda *given: 0; from bench import run; run.main()"
)
"""`bench.run` without what is made before the jobs start, which has its own tests."""


@pytest.fixture
def command(monkeypatch, capsys, place):
    """Call `bench.run` or another command on the study; return its exit code and what it said."""
    monkeypatch.setattr(start, "prepare", lambda *given: 0)

    def call(*arguments, of=run):
        given = ["--executor", "slurm", *arguments] if of is run else list(arguments)
        monkeypatch.setattr(sys, "argv", ["bench", "tiny.yaml", *given])
        code = exit_code(of.main)
        said = capsys.readouterr()
        return code, said.out + said.err

    return call


def driver(*arguments):
    given = [sys.executable, "-c", DRIVER, "tiny.yaml", "--executor", "slurm", *arguments]
    return subprocess.Popen(given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def tasks(place):
    """The runs of each task that is live, by its id: read from the jobs themselves."""
    store, found = Store(place / "results"), {}
    for claim in live_jobs(Scheduler()):
        if claim.chunk.isdecimal():
            folder = SubmissionFolder(store.study("tiny") / "submissions" / claim.submission)
            found[claim.job.id] = runs_of(folder.read(), int(claim.chunk), claim.job.id)
    return found


def submissions(place):
    return folders(Store(place / "results"), "tiny")


def fields(cluster, job):
    line = cluster.run("scontrol", "-o", "show", "job", job).splitlines()[0]
    return dict(word.partition("=")[::2] for word in line.split())


@contextlib.contextmanager
def before_sbatch(folder, monkeypatch, body):
    """Put a command `sbatch` before the real one; `$REAL` in its body is that."""
    there = folder / "bin"
    there.mkdir()
    (there / "sbatch").write_text(f"#!/bin/bash\nREAL=/usr/bin/sbatch\n{body}\n")
    (there / "sbatch").chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{there}:{os.environ['PATH']}")
        yield


def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_arrays_are_cut_to_what_the_site_allows_and_throttled(reach, command, place):
    """8 runs, at most 3 tasks an array (MaxArraySize 4): 3 + 3 + 2, one after another, 2 at a time."""
    slurm = reach(max_array=4)
    code, said = command("--set", "resources.parallel=2")
    assert code == 0, said
    (folder,) = submissions(place)
    arrays = [fields(slurm, job) for chunk, job in folder.noted_jobs().items() if chunk != "report"]
    assert [array["ArrayTaskId"] for array in arrays] == ["0-2%2", "0-2%2", "0-1%2"]
    ids = [array["ArrayJobId"] for array in arrays]
    assert [array["Dependency"].partition("(")[0] for array in arrays] == [
        "(null)".partition("(")[0],
        f"afterany:{ids[0]}_*",
        f"afterany:{ids[1]}_*",
    ]
    shared = tasks(place)
    assert sorted(run for runs in shared.values() for run in runs) == sorted(
        run for task in folder.read().tasks for run in task
    )
    assert len(shared) == 8
    assert {array["Partition"] for array in arrays} == {"low"}
    report = fields(slurm, folder.noted_jobs()["report"])
    assert all(f"afterany:{one}_*" in report["Dependency"] for one in ids)
    for chunk in range(3):
        assert f"job {ids[chunk]}: " in said


def test_the_same_command_again_submits_nothing(slurm, command, place):
    assert command()[0] == 0
    before = slurm.queue()
    code, said = command()
    assert code == 0 and "8 runs in the queue or at work already" in said
    assert slurm.queue() == before
    assert len(submissions(place)) == 1


def test_cells_added_while_others_are_queued_are_submitted_alone(slurm, command, place):
    assert command("--only", "seed=0")[0] == 0
    first = tasks(place)
    assert len(first) == 2
    assert command()[0] == 0
    all_tasks = tasks(place)
    assert len(all_tasks) == 8
    assert {job: all_tasks[job] for job in first} == first
    assert len({run for runs in all_tasks.values() for run in runs}) == 8


def test_dry_run_shows_the_very_text(slurm, command, place):
    code, shown = command("--dry-run")
    assert code == 0 and "array that trains and scores: 8 tasks of 1 run" in shown
    assert not (place / "results").exists() or not submissions(place)
    assert slurm.queue() == {}
    assert command()[0] == 0
    (folder,) = submissions(place)
    text = (folder.submitit / "0.sh").read_text()
    assert text.replace(folder.path.name, "SUBMISSION") in shown
    report = (folder.submitit / "report.sh").read_text()
    job = folder.noted_jobs()["0"]
    assert report.replace(folder.path.name, "SUBMISSION").replace(f"afterany:{job}", "afterany:JOB1") in shown


def test_bad_partition_says_so_and_leaves_nothing(slurm, command, place):
    code, said = command("--set", "resources.slurm.partition=nosuch")
    assert code == 2
    assert "invalid partition specified: nosuch" in said and "sinfo -s" in said
    assert "8 runs not submitted" in said
    assert submissions(place) == [] and slurm.queue() == {}
    assert command()[0] == 0
    assert len(tasks(place)) == 8


def test_an_array_that_is_too_large_after_all_is_refused_with_the_remedy(reach, command, place, monkeypatch):
    reach(max_array=4)
    monkeypatch.setattr("bench.launch.slurm.limits", lambda: Limits(1000, False))
    code, said = command()
    assert code == 2 and "Invalid job array specification" in said and "MaxArraySize" in said
    assert submissions(place) == []


def test_sbatch_missing(slurm, command, place, monkeypatch):
    (place / "scontrol").symlink_to(shutil.which("scontrol"))
    monkeypatch.setenv("PATH", str(place))
    code, said = command()
    assert code == 2 and "sbatch is not installed here" in said and "--executor local" in said
    assert submissions(place) == []


def test_controller_down_before_submitting(slurm, command, place):
    with slurm.controller_down():
        code, said = command()
        assert code == 1, said
        assert "scontrol said" in said or "scontrol did not answer" in said
        assert submissions(place) == []
    assert command()[0] == 0
    assert len(tasks(place)) == 8


def test_controller_down_between_two_arrays(reach, command, place, monkeypatch):
    """The first array stands; the runs of the others are free, and the next command submits them alone."""
    slurm = reach(max_array=4)
    calls, real = [], sbatch.sbatch

    def second_finds_no_controller(script):
        calls.append(script)
        if len(calls) == 2:
            slurm.stop_controller()
        return real(script)

    with monkeypatch.context() as patch:
        patch.setattr(sbatch, "sbatch", second_finds_no_controller)
        code, said = command()
    slurm.start_controller()
    assert code == 1, said
    assert "5 runs not submitted" in said
    assert len(tasks(place)) == 3
    assert command()[0] == 0
    shared = [run for runs in tasks(place).values() for run in runs]
    assert len(shared) == len(set(shared)) == 8


def test_a_driver_killed_before_it_noted_its_job_finds_it_again(slurm, command, place, monkeypatch):
    with before_sbatch(place, monkeypatch, '$REAL "$@"; kill -9 $PPID'):
        dying = driver()
        dying.communicate(timeout=120)
    assert dying.returncode == -9
    (folder,) = submissions(place)
    assert folder.noted_jobs() == {}
    assert len(tasks(place)) == 8
    code, said = command()
    assert code == 0 and "8 runs in the queue or at work already" in said
    assert len(tasks(place)) == 8


def test_a_job_needs_no_driver_that_lives_on(slurm, command, place, monkeypatch):
    """Killed right after sbatch, the driver never gave the task files the job's id: the job works all the same."""
    with before_sbatch(place, monkeypatch, '$REAL "$@"; kill -9 $PPID'):
        driver("--only", "g_norm=bn,seed=0", "--set", "resources.slurm.flags.hold=false").communicate(timeout=120)
    (run_id,) = (run for task in submissions(place)[0].read().tasks for run in task)
    until(lambda: Store(place / "results").run(run_id).state().status == "done")
    until(lambda: tasks(place) == {})


def test_a_driver_killed_before_sbatch_hides_nothing(slurm, command, place, monkeypatch):
    with before_sbatch(place, monkeypatch, "kill -9 $PPID"):
        dying = driver()
        dying.communicate(timeout=120)
    assert dying.returncode == -9 and slurm.queue() == {}
    assert command()[0] == 0
    assert len(tasks(place)) == 8


def test_two_drivers_at_once_submit_each_run_once(slurm, place, monkeypatch):
    with before_sbatch(place, monkeypatch, 'sleep 1; exec $REAL "$@"'):
        both = [driver(), driver()]
        said = [one.communicate(timeout=180)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    shared = [run for runs in tasks(place).values() for run in runs]
    assert len(shared) == len(set(shared)) == 8
    assert sum("8 runs in the queue or at work already" in text for text in said) == 1


def test_ids_that_begin_anew_are_not_taken_for_ours(slurm, command, place):
    """A job of another kind that has the id which was noted for ours covers nothing."""
    assert command()[0] == 0
    (folder,) = submissions(place)
    slurm.clear()
    other = slurm.run("sbatch", "--parsable", "--hold", "--array=0-7", "--output=/dev/null", "--wrap", "true").strip()
    folder.note_job(0, other)
    assert command()[0] == 0
    assert len(tasks(place)) == 8


def test_cancel_of_one_cell_leaves_the_others(slurm, command, place):
    assert command("--set", "resources.slurm.runs_per_task=2")[0] == 0
    (folder,) = submissions(place)
    cell = {run for task in folder.read().tasks for run in task if is_of(place, run, "adain")}
    code, said = command("--only", "g_norm=adain,seed=0", of=cancel)
    assert code == 0 and "1 runs taken out; cancelled in Slurm: no task" in said
    code, said = command("--only", "g_norm=adain", of=cancel)
    assert code == 0 and "3 runs taken out" in said
    assert folder.cancelled() == cell
    left = tasks(place)
    assert {run for runs in left.values() for run in runs} - cell == {
        run for task in folder.read().tasks for run in task
    } - cell
    assert all(set(runs) - cell for runs in left.values())
    code, said = command("--dry-run")
    assert "4 runs are in jobs or under way already" in said
    assert command()[0] == 0
    assert len(submissions(place)) == 2
    assert {run for task in submissions(place)[1].read().tasks for run in task} == cell


def is_of(place, run_id, norm):
    return json.loads((place / "results/runs" / run_id / "setting.json").read_text())["setting"]["g_norm"] == norm


def test_cancel_of_all_empties_the_queue(slurm, command, place):
    assert command()[0] == 0
    code, said = command(of=cancel)
    assert code == 0 and "8 runs taken out" in said
    until(lambda: slurm.queue() == {}, 20)
    code, said = command(of=cancel)
    assert code == 0 and "nothing of it is in Slurm's queue" in said
    assert command()[0] == 0
    assert len(tasks(place)) == 8


def test_cancel_while_nobody_answers_is_kept_for_the_tasks(slurm, command, place):
    assert command()[0] == 0
    (folder,) = submissions(place)
    with slurm.controller_down():
        code, said = command(of=cancel)
        assert code == 1 and "It is written that no task shall work on these runs" in said
        assert len(folder.cancelled()) == 8
    assert command(of=cancel)[0] == 0
    until(lambda: slurm.queue() == {}, 20)


def test_submitting_from_inside_a_job(slurm, command, place, monkeypatch):
    """What the job around us says of partition, tasks and cores is not ours."""
    for name, value in {"SLURM_JOB_ID": "1", "SBATCH_PARTITION": "nosuch", "SLURM_NTASKS": "64"}.items():
        monkeypatch.setenv(name, value)
    code, said = command("--limit", "1")
    assert code == 0, said
    (job,) = tasks(place)
    assert fields(slurm, job)["NumTasks"] == "1"


def test_places_with_odd_names_work(slurm, command, place):
    odd = place / 're sults\' "of" $HOME'
    given = ("--results", str(odd), "--limit", "1", "--set", "resources.slurm.flags.hold=false")
    assert command(*given)[0] == 0
    (folder,) = folders(Store(odd), "tiny")
    (run_id,) = (run for task in folder.read().tasks for run in task)
    until(lambda: Store(odd).run(run_id).state().status == "done")


def test_from_study_to_report_with_scoring_of_its_own(slurm, place):
    """Whole, as a user calls it: train, score by other jobs, report after; then nothing is left to do."""
    called = [sys.executable, "-m", "bench.run", "tiny.yaml", "--executor", "slurm", "--set", "seeds=1"]
    called += ["--set", "resources.slurm.flags.hold=false", "--set", "resources.slurm.scoring={}"]
    ran = subprocess.run(called, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("to train\n") == 1 and ran.stdout.count("to score\n") == 1
    followed = subprocess.run([*called, "--wait"], capture_output=True, text=True, timeout=600)
    assert followed.returncode == 0, followed.stdout + followed.stderr
    assert "2 runs: 2 done" in followed.stdout
    again = [*called[:5], "inline", "--dry-run", *called[6:]]
    assert "nothing to do" in subprocess.run(again, capture_output=True, text=True, check=True).stdout
    until(lambda: slurm.queue() == {})
    (log,) = place.glob("results/studies/tiny/submissions/*/submitit/report-*.log")
    assert f"report: {place}/reports/tiny/index.html" in log.read_text()


def test_a_report_job_that_is_refused_keeps_what_was_accepted(slurm, command, place, monkeypatch):
    """The report's job is no reason to fail."""
    real = sbatch.sbatch

    def refuses_the_report(script):
        if script.stem == "report":
            raise SlurmError("sbatch said: no more jobs")
        return real(script)

    monkeypatch.setattr(sbatch, "sbatch", refuses_the_report)
    code, said = command()
    assert code == 0 and "python -m bench.report" in said and "no more jobs" in said
    assert len(tasks(place)) == 8
