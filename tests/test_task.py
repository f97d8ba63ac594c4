"""When a Slurm task asks to be started again, and how long it thinks that it has."""

import errno
import math
import time

import pytest

from bench.files import publish_json
from bench.launch import task as task_module
from bench.launch.submission import Submission, SubmissionFolder, TaskResources, new_id
from bench.launch.task import Task, seconds_given, work
from bench.stop import Stop
from bench.store import Store


class Controller:
    """Answers as scontrol does; remembers what it was asked to do."""

    def __init__(self, state="RUNNING", silent=0):
        self.state, self.silent, self.requeued = state, silent, []

    def __call__(self, command):
        if self.silent:
            self.silent -= 1
            return None
        if command[1] == "requeue":
            self.requeued.append(command[2])
            self.state = "PENDING"
            return ""
        return f"JobId=9 ArrayJobId=7 ArrayTaskId=3 JobState={self.state} StartTime=1000 EndTime=4600 Deadline=N/A "


@pytest.fixture
def make_task(make_run, tmp_path, monkeypatch):
    """A task of a submission with so many runs, as Slurm would start it."""

    def make(n=1, stage="all", controller=None, **resources):
        for name, value in {"JOB_ID": "9", "ARRAY_JOB_ID": "7", "ARRAY_TASK_ID": "3"}.items():
            monkeypatch.setenv(f"SLURM_{name}", value)
        monkeypatch.setattr(task_module, "ask", controller or Controller())
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        runs = [make_run(seed=seed) for seed in range(n)]
        store = Store(tmp_path / "results")
        study = store.study("test")
        (study / "orders").mkdir()
        (study / "orders" / "0.json").write_bytes(runs[0][1].read_bytes())
        place = SubmissionFolder(study / "submissions" / new_id())
        place.write(
            Submission(
                id=place.path.name,
                study="test",
                created="",
                orders="orders/0.json",
                stage=stage,
                tasks=(tuple(folder.path.name for folder, _ in runs),),
                chunks=((0, 1),),
                resources=TaskResources(**resources),
            )
        )
        return Task(place, 0, Stop(exits=False))

    return make


def test_it_asks_once_for_its_own_task_of_the_array(make_task):
    """Not for SLURM_JOB_ID: the last task of an array has the array's own number, which stands for all of them."""
    controller = Controller()
    task = make_task(controller=controller)
    task.requeue(1)
    task.requeue(1)
    assert controller.requeued == ["7_3"]


@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETING", "PENDING", "TIMEOUT", "PREEMPTED"])
def test_it_does_not_ask_when_slurm_has_ended_it(make_task, state):
    controller = Controller(state)
    task = make_task(controller=controller)
    task.requeue(1)
    assert controller.requeued == []


def test_a_controller_that_is_away_for_a_moment_is_asked_again(make_task, capsys):
    controller = Controller(silent=2)
    task = make_task(controller=controller)
    task.requeue(1)
    assert controller.requeued == ["7_3"]
    assert "requeued: 1 runs" in capsys.readouterr().out


def test_a_controller_that_stays_away_is_said(make_task, capsys):
    controller = Controller(silent=100)
    task = make_task(controller=controller)
    task.requeue(1)
    assert "start the study again" in capsys.readouterr().out


@pytest.fixture
def lives(make_task, monkeypatch):
    """A task of two runs, and a call for one life of it, which says whether Slurm was asked for another."""
    task = make_task(n=2)

    def life():
        monkeypatch.setattr(task_module, "ask", controller := Controller())
        task.requeue(2)
        return bool(controller.requeued)

    return task, life


def test_what_gets_nowhere_is_not_tried_for_ever(lives, capsys):
    """Neither a run without a checkpoint, before which another never begins, nor what runs share, nor a score."""
    _, life = lives
    assert [life() for _ in range(6)] == [True] * 5 + [False]
    assert "give it more time (resources.hours)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "path",
    [
        "runs/{run}/attempts/4/checkpoints/000000001-0.pt",
        "runs/{run}/trained.json",
        "runs/{run}/scores/ab.json",
        "cache/mnist/28.npz",
    ],
)
def test_whatever_is_kept_more_gives_it_further_lives(lives, path):
    task, life = lives
    for _ in range(6):
        life()
    kept = task.store.root / path.format(run=task.runs[1])
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(b"")
    assert [life() for _ in range(6)] == [True] * 5 + [False]


def test_a_results_folder_that_fails_ends_the_job_with_another_to_come(make_task, monkeypatch):
    """It is no fault of the runs: EIO of a file server, in the middle of the task's work."""
    controller = Controller()
    place = make_task(controller=controller).folder

    def fails(self):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Task, "run", fails)
    with pytest.raises(SystemExit) as left:
        work(str(place.path), 0)
    assert left.value.code == 1 and controller.requeued == ["7_3"]


def test_time_is_a_difference_by_the_controllers_clock(make_task, monkeypatch):
    """Its clock may be an hour off this host's."""
    assert make_task(lead_s=90).seconds == 3600
    monkeypatch.setenv("SLURM_JOB_START_TIME", "5000")
    monkeypatch.setenv("SLURM_JOB_END_TIME", "5300")
    assert seconds_given("7_3") == 300
    monkeypatch.setenv("SLURM_JOB_END_TIME", "")
    monkeypatch.setattr(task_module, "ask", lambda command: "JobState=RUNNING StartTime=1000 EndTime=Unknown ")
    assert seconds_given("7_3") == math.inf
    monkeypatch.setattr(task_module, "ask", lambda command: None)
    assert seconds_given("7_3") == math.inf


def test_a_run_is_begun_only_with_time_for_more_than_its_start(make_task):
    task = make_task(lead_s=90)
    assert task.has_time()
    task.began -= 3600 - 200  # the signal comes at 90 s before the end, or a minute earlier
    assert not task.has_time()


def test_cancelled_runs_and_untrained_ones_to_score_are_passed_over(make_task):
    task = make_task(n=2, stage="score")
    assert task.refusal(task.runs[0]) == "nothing to score: it is not trained"
    publish_json(task.store.run(task.runs[0]).trained, {"status": "done", "snapshots": []})
    assert task.refusal(task.runs[0]) == ""
    assert task.is_finished(task.runs[0])  # no metrics are asked for
    task.folder.cancel(frozenset(task.runs[:1]))
    assert task.refusal(task.runs[0]) == "cancelled"


def test_a_submission_that_is_gone_is_bad_input(tmp_path, capsys):
    with Stop().installed(), pytest.raises(SystemExit) as left:  # which puts pytest's own handlers back
        work(str(tmp_path / "results" / "studies" / "test" / "submissions" / new_id()), 0)
    assert left.value.code == 2
    assert "Start the study again" in capsys.readouterr().out
