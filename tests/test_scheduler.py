"""What Slurm prints is read right, and a scheduler that does not answer harms nobody; tests/slurm has the real one."""

import sys
import time

import pytest

from bench import scheduler
from bench.scheduler import Job, Scheduler, ask, parse, parse_accounting, tasks


def line(identifier, state, array="", uid=1000, comment="", restarts=0, start="1800000000"):
    of_array = f"ArrayJobId={identifier} ArrayTaskId={array} ArrayTaskThrottle=2 " if array else ""
    return (
        f"JobId={identifier} {of_array}JobName=a b UserId=me({uid}) GroupId=me({uid}) JobState={state} "
        f"Reason=Priority Dependency=(null) Requeue=1 Restarts={restarts} BatchFlag=1 Reboot=0 ExitCode=1:9 "
        f"SubmitTime=1 StartTime={start} EndTime=1 Command=(null) {f'Comment={comment} ' if comment else ''}Power=\n"
    )


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("", []),
        ("7", [7]),
        ("2-3%2", [2, 3]),
        ("0,2,5-8", [0, 2, *range(5, 9)]),
        ("0-999%16", list(range(1000))),
        ("4,10-20:5%1", [4, *range(10, 21, 5)]),
        ("0-7...", []),  # cut off: rather none than wrong ones
    ],
)
def test_lists_of_tasks(listed, expected):
    assert list(tasks(listed)) == expected


def test_each_task_of_an_array_is_a_job():
    said = (
        line(12, "PENDING", "1,4-5%2", comment="bench:X:0") + line(9, "RUNNING", restarts=2) + line(10, "FAILED", uid=7)
    )
    found = {job.id: job for job in parse(said, 1000)}
    assert found.keys() == {"12_1", "12_4", "12_5", "9"}
    assert found["12_4"] == Job("12_4", "PENDING", "Priority", 0, "1:9", "bench:X:0", 1.8e9)
    assert (found["9"].restarts, found["9"].comment) == (2, "")
    assert [job.started for job in parse(line(1, "PENDING", start="Unknown"), 1000)] == [None]


def test_other_users_and_other_text_are_passed_over():
    assert list(parse("No jobs in the system\n\nslurm_load_jobs error\n" + line(1, "RUNNING", uid=100), 1000)) == []
    assert list(parse(line(1, "RUNNING", uid=7).replace("a b", "for (1000)"), 1000)) == []


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING", "REQUEUE_HOLD", "CONFIGURING", "OF_THE_FUTURE"])
def test_what_has_not_surely_ended_is_live(state):
    assert Job("1", state).live


@pytest.mark.parametrize(
    "state", ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "PREEMPTED"]
)
def test_what_has_ended_is_not(state):
    assert not Job("1", state).live


def test_a_command_that_cannot_answer_has_no_answer(monkeypatch):
    monkeypatch.setattr(scheduler, "TIMEOUT_S", 0.3)
    assert ask(["no-such-command-anywhere"]) is None
    assert ask([sys.executable, "-c", "print('half an answer'); raise SystemExit(1)"]) is None
    began = time.monotonic()
    assert ask(["sleep", "30"]) is None
    assert time.monotonic() - began < 5
    assert ask(["printf", "%s", "\\377"]) is not None  # what is no UTF-8 raises nothing


class Said:
    """Answers in turn; the last one stays."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def __call__(self, command):
        self.asked.append(command[0])
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    made = Clock()
    monkeypatch.setattr(scheduler, "time", made)
    monkeypatch.setattr(scheduler.os, "getuid", lambda: 1000)
    return made


def test_slurm_is_asked_now_and_then(clock):
    said = Said(line(1, "PENDING"), line(1, "RUNNING"))
    slurm = Scheduler(said)
    assert [slurm.jobs()["1"].state for _ in range(50)] == ["PENDING"] * 50
    assert len(said.asked) == 1
    slurm.forget()
    assert slurm.jobs()["1"].state == "RUNNING"
    clock.now += scheduler.FRESH_S
    slurm.jobs()
    assert len(said.asked) == 3


def test_a_slurm_that_is_down_is_asked_less_and_comes_back(clock):
    said = Said(None, None, "")
    slurm = Scheduler(said)
    assert slurm.jobs() is None and slurm.cluster() is None
    clock.now += scheduler.FRESH_S
    assert slurm.jobs() is None
    assert len(said.asked) == 1
    clock.now += scheduler.SILENT_S
    assert slurm.jobs() is None
    clock.now += scheduler.SILENT_S
    assert slurm.jobs() == {}


def test_accounting_says_what_has_ended(clock):
    said = Said("12_0|COMPLETED|0:0\n12_1|CANCELLED by 1000|0:15\n12_2|RUNNING|0:0\n12_[3-4%2]|PENDING|0:0\n")
    slurm = Scheduler(said)
    found = slurm.ended(["12_0", "12_1", "12_2", "12_3", "13"])
    assert {job.id: job.state for job in found.values()} == {"12_0": "COMPLETED", "12_1": "CANCELLED"}
    assert slurm.ended(["12_0"]) and slurm.ended(["12_2"]) == {}
    assert said.asked == ["sacct"]


def test_accounting_that_is_absent_is_not_asked_at_every_look(clock):
    said = Said(None)
    slurm = Scheduler(said)
    assert [slurm.ended([str(number)]) for number in range(20)] == [None] * 20
    assert len(said.asked) == 1


def test_a_range_in_accounting_is_each_task():
    assert [job.id for job in parse_accounting("7_[1,3-4]|CANCELLED by 0|0:0\n8|FAILED|1:0\n")] == [
        "7_1",
        "7_3",
        "7_4",
        "8",
    ]
