"""One task of an array on a real Slurm, through every fault: the weights are those of a run never disturbed."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from bench import job
from bench.files import read_json
from bench.launch.slurm import Batch, Submitter
from bench.launch.submission import TaskResources
from bench.orders import Orders
from bench.resources import Slurm
from bench.site import Site
from bench.stop import Stop
from bench.store import RunFolder, Store

pytestmark = pytest.mark.slurm

STEPS = 40
KNOBS = {"train__g_steps": STEPS, "checkpoint_minutes": 0.001}


def until(condition, seconds=180):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


class Sent:
    """Runs in an array job, and what became of them."""

    def __init__(self, cluster, tmp_path, runs, orders, *, each=1, slurm=None, **resources):
        self.cluster, self.tmp_path = cluster, tmp_path
        self.folders = [folder for folder, _ in runs]
        store = Store(tmp_path / "results")
        place = store.study("test") / "orders" / "0.json"
        place.parent.mkdir(exist_ok=True)
        shutil.copy(orders, place)
        names = [folder.path.name for folder in self.folders]
        tasks = tuple(tuple(names[first : first + each]) for first in range(0, len(names), each))
        has = TaskResources(**{"memory_gb": 2.0, "minutes": 30, **resources})
        slurm = slurm or Slurm()
        batch = Batch("all", tasks, ((0, len(tasks)),), has, slurm, None)
        done = Submitter(store, "test", "orders/0.json", slurm, Site(), ["true"]).submit([batch])
        assert done.refused is None, done.refused
        self.job = done.arrays[0].job
        self.submission = sorted((store.study("test") / "submissions").iterdir())[-1]

    def state(self, task=0):
        shown = self.cluster.run("scontrol", "-o", "show", "job", f"{self.job}_{task}")
        words = dict(word.split("=", 1) for word in shown.split() if "=" in word)
        return words["JobState"], int(words["Restarts"])

    def is_in(self, *states, task=0):
        return self.state(task)[0] in states

    def log(self, task=0):
        paths = self.submission.glob(f"submitit/{self.job}_{task}_*.out")
        return "\n".join(path.read_text() for path in paths)

    def started(self, folder=None, attempt=1, rows=2):
        """Wait until an attempt has logged so many rows."""
        path = (folder or self.folders[0]).attempt(attempt) / "train.jsonl"
        until(lambda: path.exists() and path.read_text().count("\n") >= rows)

    def requeued(self, task=0, restarts=1):
        """Wait until Slurm has it queued again; start it without Slurm's two minutes of delay."""
        until(lambda: self.state(task) == ("PENDING", restarts))
        self.cluster.hurry(f"{self.job}_{task}")

    def ended(self, *states, task=0):
        until(lambda: self.is_in(*(states or ("COMPLETED",)), task=task))

    def pid(self, module, path):
        """The process that runs a module on a path."""
        for place in Path("/proc").iterdir():
            try:
                words = (place / "cmdline").read_bytes().decode().split("\0")
            except (OSError, UnicodeDecodeError):
                continue
            if words[0].endswith("python") and module in words and any(word.startswith(str(path)) for word in words):
                return int(place.name)
        raise AssertionError(f"no {module} at {path}")

    def again(self, **options):
        """Send the first run once more, by another submission."""
        orders = self.submission.parents[1] / "orders.json"
        return Sent(self.cluster, self.tmp_path, [(self.folders[0], orders)], orders, **options)

    def check(self):
        """Every run is as one never disturbed, and no step is lost or doubled."""
        for folder in self.folders:
            state = folder.state()
            assert state.status == "done", (state, self.log())
            other = RunFolder(self.tmp_path / "other" / "runs" / folder.path.name)
            other.write_setting(folder.setting())
            orders = Orders.read(self.submission.parents[1] / "orders" / "0.json")
            assert job.run(other, orders, stop=Stop()) == 0
            assert state.trained["weights"] == other.state().trained["weights"]
            assert [row["step"] for row in folder.log()] == list(range(1, STEPS + 1))


@pytest.fixture
def send(slurm, make_faulty, faulty, tmp_path):
    """Send some runs that go slowly until they are told to behave."""

    def make(n=1, cluster=slurm, knobs=KNOBS, **options):
        faulty.act("slow")
        runs = [make_faulty(seed=seed, **knobs) for seed in range(n)]
        return Sent(cluster, tmp_path, runs, runs[0][1], **options)

    return make


def test_preempted_by_a_higher_partition(send, faulty, slurm):
    """Slurm signals it, it keeps a checkpoint and is queued again by one word; the other job comes in meanwhile."""
    sent = send(slurm=Slurm(partition="low"), cpus=slurm.cpus)
    sent.started()
    whole = ("-p", "debug", "-c", str(slurm.cpus), "--output=/dev/null", "--wrap", "true")
    other = slurm.run("sbatch", "--parsable", *whole)
    until(lambda: "COMPLETED" in slurm.run("scontrol", "-o", "show", "job", other.strip()))
    sent.requeued()
    faulty.behave()
    sent.ended()
    assert sent.state() == ("COMPLETED", 1)
    assert len(sent.folders[0].attempts()) == 2
    assert "resuming from step" in sent.folders[0].log_tail(40)
    sent.check()


@pytest.mark.slow
def test_a_time_limit(send, faulty):
    """Slurm's signal, a minute or two before the limit, queues the task again; so does too little time for a start."""
    sent = send(n=2, each=2, minutes=3, lead_s=60)
    sent.started()
    faulty.act("crawl")
    sent.requeued()
    assert sent.folders[0].reason(1) == "stopped by SIGUSR2"
    assert sent.folders[1].attempts() == []
    faulty.behave()
    sent.requeued(restarts=2)
    assert sent.folders[0].state().status == "done"
    assert sent.folders[1].attempts() == []
    sent.ended()
    sent.check()


def test_scancel_of_one_task(send, faulty, slurm):
    """It is not queued again, and keeps a checkpoint where Slurm leaves it the time; the other task goes on."""
    sent = send(n=2)
    for folder in sent.folders:
        sent.started(folder)
    slurm.run("scancel", f"{sent.job}_0")
    sent.ended("CANCELLED")
    until(lambda: sent.folders[0].state().status == "stopped")
    faulty.behave()
    sent.ended(task=1)
    assert sent.state(0) == ("CANCELLED", 0)
    sent.again().ended()
    sent.check()


def test_requeued_from_outside(send, faulty, slurm):
    sent = send()
    sent.started()
    slurm.run("scontrol", "requeue", f"{sent.job}_0")
    sent.requeued()
    faulty.behave()
    sent.ended()
    assert sent.state() == ("COMPLETED", 1)
    assert not any(line.startswith("requeued:") for line in sent.log().splitlines())
    sent.check()


def test_a_child_that_ignores_signals(send, faulty, slurm):
    """It is killed in time for the task to be queued again; its last checkpoint stands."""
    sent = send(lead_s=30)
    sent.started()
    faulty.act("deaf")
    time.sleep(1)
    slurm.run("scancel", "--signal=USR2", f"{sent.job}_0")
    sent.requeued()
    assert "did not stop when it was asked" in read_json(sent.folders[0].attempt(1) / "ended.json")["reason"]
    faulty.behave()
    sent.ended()
    sent.check()


def test_a_signal_to_all_processes_of_a_step(send, faulty, slurm):
    """Slurm's reaches workers of the children too, which have inherited their handlers: one requeue, one checkpoint."""
    sent = send()
    sent.started(rows=1)
    faulty.act("fork", "slow")
    until((faulty.folder / "forked").exists)
    slurm.run("scancel", "--signal=USR2", f"{sent.job}_0")
    sent.requeued()
    assert sent.log().count("requeued:") == 1
    assert len(list(sent.folders[0].attempt(1).glob("checkpoints/*.pt"))) <= 2
    faulty.behave()
    sent.ended()
    sent.check()


def test_the_supervisor_is_killed(send, faulty, slurm):
    """Its children stop, Slurm says that the job failed, and whoever starts the study again goes on."""
    sent = send()
    sent.started()
    os.kill(sent.pid("submitit.core._submit", sent.submission), signal.SIGKILL)
    sent.ended("FAILED")
    until(lambda: sent.folders[0].state().status == "stopped")
    faulty.behave()
    sent.again().ended()
    sent.check()


def test_a_child_is_killed(send, faulty):
    """The supervisor tries again within the same job."""
    sent = send(retries=1)
    sent.started()
    os.kill(sent.pid("bench.job", sent.folders[0].path), signal.SIGKILL)
    sent.started(attempt=2, rows=1)
    faulty.behave()
    sent.ended()
    ended = read_json(sent.folders[0].attempt(1) / "ended.json")
    assert ended["reason"].startswith("killed by SIGKILL")
    assert ended["again"]
    sent.check()


def test_runs_side_by_side_on_one_gpu(send, faulty, slurm):
    """Five runs, three at a time, one requeue among them."""
    sent = send(n=5, each=5, side_by_side=3, gpus=1, cpus=3)
    for folder in sent.folders[:3]:
        sent.started(folder)
    slurm.run("scancel", "--signal=USR2", f"{sent.job}_0")
    sent.requeued()
    assert [len(folder.attempts()) for folder in sent.folders] == [1, 1, 1, 0, 0]
    faulty.behave()
    sent.ended()
    assert [len(folder.attempts()) for folder in sent.folders] == [2, 2, 2, 1, 1]
    sent.check()


def test_a_job_that_takes_too_much_memory(reach, send, faulty, slurm):
    """Slurm kills the whole step; with more memory the run goes on from its checkpoint."""
    cluster = reach(kills_memory_hogs=True)
    sent = send(cluster=cluster, memory_gb=2.5)
    sent.started()
    faulty.act("hog", "slow")
    sent.ended("FAILED", "OUT_OF_MEMORY")
    assert "exceeded memory limit" in sent.log()
    until(lambda: sent.folders[0].state().status == "stopped")
    faulty.behave()
    sent.again(memory_gb=6.0).ended()
    sent.check()
