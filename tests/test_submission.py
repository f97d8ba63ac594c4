"""What was submitted, as files, and what live jobs will still work on."""

import time
from typing import NamedTuple

import pytest

from bench.files import StoreError, write_json
from bench.launch.submission import Submission, SubmissionFolder, TaskResources, comment, covered, folders, new_id
from bench.store import RunState, Store


class Job(NamedTuple):
    id: str
    state: str = "PENDING"
    reason: str = "Priority"
    comment: str = ""

    @property
    def live(self):
        return self.state in ("PENDING", "RUNNING")


class Answers:
    """A scheduler that knows these jobs."""

    def __init__(self, *jobs):
        self.known = {job.id: job for job in jobs}

    def jobs(self):
        return self.known


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def submit(store, tasks, chunks=None, **said):
    submission = Submission(
        id=new_id(),
        study="test",
        created="2026-11-22T10:00:00Z",
        orders="orders/ab.json",
        tasks=tuple(map(tuple, tasks)),
        chunks=chunks or ((0, len(tasks)),),
        resources=TaskResources(),
        **said,
    )
    folder = SubmissionFolder(store.study("test") / "submissions" / submission.id)
    folder.write(submission)
    return folder, submission


MISSING = {name: RunState("missing") for name in "abcdef"}


def test_ids_sort_by_time_and_differ():
    early = [new_id() for _ in range(100)]
    time.sleep(0.002)
    late = [new_id() for _ in range(100)]
    assert max(early) < min(late)
    assert len({*early, *late}) == 200
    assert {len(one) for one in early} == {26}


def test_comes_back_as_written(store):
    folder, submission = submit(store, ["ab", "c"], stage="train", command=("python", "-m", "bench.run"))
    assert folder.read() == submission
    assert folder.store == store.root
    assert folder.orders(submission) == store.study("test") / "orders" / "ab.json"
    assert [one.path for one in folders(store, "test")] == [folder.path]
    assert folder.submitit.stat().st_mode & 0o777 == 0o700
    folder.note_job(0, "12")
    assert folder.noted_jobs() == {"0": "12"}


def test_moved_or_edited_is_refused(store):
    folder, _ = submit(store, ["a"])
    other = folder.path.with_name(new_id())
    folder.path.rename(other)
    with pytest.raises(StoreError, match="of another submission"):
        SubmissionFolder(other).read()
    (other / "submission.json").write_text('{"orders": "../../../secret.json"}')
    with pytest.raises(StoreError, match="orders"):
        SubmissionFolder(other).read()


def test_live_jobs_cover_the_runs_of_their_tasks(store):
    """Chunk 1 begins at task 2; a task that has ended covers nothing."""
    _, submission = submit(store, ["a", "b", "cd", "ef"], ((0, 2), (2, 2)))
    live = Answers(
        Job("7_1", comment=comment(submission.id, 0)),
        Job("8_0", "RUNNING", "None", comment=comment(submission.id, 1)),
        Job("8_1", "COMPLETED", comment=comment(submission.id, 1)),
    )
    found = covered(store, "test", live, MISSING)
    assert {run: (queued.job, queued.state, queued.reason) for run, queued in found.items()} == {
        "b": ("7_1", "PENDING", "Priority"),
        "c": ("8_0", "RUNNING", "None"),
        "d": ("8_0", "RUNNING", "None"),
    }
    assert covered(store, "another", live, MISSING) == {}


def test_a_job_id_that_was_given_anew_covers_nothing(store):
    folder, _ = submit(store, ["a"])
    folder.note_job(0, "7")
    assert covered(store, "test", Answers(Job("7_0", "RUNNING", comment="of somebody else")), MISSING) == {}


@pytest.mark.parametrize("said", ["bench:../../../x:0", "bench::0", "bench:" + "A" * 26 + ":0", "bench:" + "A" * 26])
def test_comments_that_name_no_submission_cover_nothing(store, said):
    submit(store, ["a"])
    assert covered(store, "test", Answers(Job("7_0", comment=said)), MISSING) == {}


def test_a_report_and_tasks_beyond_the_array_cover_nothing(store):
    _, submission = submit(store, ["a"])
    jobs = [Job("7", comment=comment(submission.id, "report"))]
    jobs += [Job("8_1", comment=comment(submission.id, 0)), Job("9_0", comment=comment(submission.id, 1))]
    assert covered(store, "test", Answers(*jobs), MISSING) == {}


def test_cancelled_runs_are_covered_no_longer(store):
    folder, submission = submit(store, ["ab", "c"])
    live = Answers(*(Job(f"7_{n}", comment=comment(submission.id, 0)) for n in range(2)))
    folder.cancel(frozenset("a"))
    assert set(covered(store, "test", live, MISSING)) == {"b", "c"}
    folder.cancel(frozenset("c"))
    assert folder.cancelled() == {"a", "c"}
    assert set(covered(store, "test", live, MISSING)) == {"b"}


@pytest.mark.parametrize(
    ("ended", "job", "is_covered"),
    [
        (None, "7_0", True),
        ({"exit": 75, "reason": "stopped with its job", "again": True}, "7_0", True),
        ({"exit": 75, "reason": "asked by somebody, and out of tries"}, "7_0", False),
        ({"exit": 1, "reason": "out of memory", "again": True}, "7_0", True),
        ({"exit": 1, "reason": "out of memory", "again": False}, "7_0", False),
        ({"exit": 2, "reason": "bad input", "again": False}, "7_0", False),
        ({"exit": 1, "reason": "in an earlier job", "again": False}, "3_0", True),
    ],
)
def test_a_run_that_ended_in_this_very_job_is_covered_while_it_will_try_again(store, ended, job, is_covered):
    _, submission = submit(store, ["a"])
    attempt = store.run("a").attempt(1)
    write_json(attempt / "owner.json", {"host": "elsewhere", "job": {"id": job, "restarts": 0}})
    if ended:
        write_json(attempt / "ended.json", ended)
    live = Answers(Job("7_0", "RUNNING", comment=comment(submission.id, 0)))
    assert ("a" in covered(store, "test", live, {"a": RunState("failed", 1)})) == is_covered


def test_stages_cover_what_they_do(store):
    trained = RunState("done", 0, None, {"status": "done"})
    for stage, covers in {"all": "ab", "train": "a", "score": "b"}.items():
        _, submission = submit(store, ["ab"], stage=stage)
        live = Answers(Job("7_0", comment=comment(submission.id, 0)))
        assert set(covered(store, "test", live, {"a": RunState("missing"), "b": trained})) == set(covers)


def test_a_running_job_is_named_before_a_pending_one(store):
    _, early = submit(store, ["a"])
    _, late = submit(store, ["a"])
    jobs = [Job("7_0", comment=comment(early.id, 0)), Job("8_0", "RUNNING", comment=comment(late.id, 0))]
    assert covered(store, "test", Answers(*jobs), MISSING)["a"].job == "8_0"
