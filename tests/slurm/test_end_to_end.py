"""The quickstart on a real Slurm, as a user gives it, with a preemption, a SIGKILL, a scancel and a time limit.

Workers are stopped (SIGSTOP) in the midst of their training and go on when a fault has reached them, so that no fault
comes too late, however slow the machine is.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from crew import at_work
from ledger import Findings, check_run

from bench.files import read_json, read_rows
from bench.launch.submission import folders
from bench.store import Store

pytestmark = pytest.mark.slurm

QUICKSTART = Path(__file__).parents[2] / "ablations" / "quickstart.yaml"
STEPS = 30
SET = {
    "train.g_steps": STEPS,  # the profile's 10 leave no time to be hurt in
    "resources.gpus": 0,
    "resources.memory_gb": 1,
    "resources.retries": 1,
    "resources.checkpoint_minutes": 0.001,
    "resources.slurm.partition": "low",
    "resources.slurm.runs_per_task": 2,
}


def command(place, executor):
    given = [sys.executable, "-m", "bench.run", str(QUICKSTART), "--executor", executor, "--profile", "smoke"]
    given += [f"--set={key}={value}" for key, value in SET.items()]
    given += ["--results", str(place / "results"), "--reports", str(place / "reports")]
    # Alike for all: what is tested is not speed.
    environment = {**os.environ, "BENCH_DATA": str(place / "data"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        given, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def said(driver):
    shown, _ = driver.communicate(timeout=400)
    assert driver.returncode == 0, shown
    return shown


def until(condition, seconds=240):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


class Tasks:
    """The four tasks of the array, and in each a worker that was stopped in the midst of a run."""

    def __init__(self, cluster, place):
        self.cluster, self.place = cluster, place
        (self.submission,) = folders(Store(place / "results"), "quickstart.smoke")
        self.job = self.submission.noted_jobs()["0"]
        self.runs = self.submission.read().tasks
        self.stopped = {}

    def task_of(self, worker):
        return next(n for n, runs in enumerate(self.runs) if worker.run.path.name in runs)

    def stop_one_in_each(self):
        """Stop a worker of each task that has done a few steps of its training."""
        for worker in at_work(self.place):
            if worker.phase != "training" or self.task_of(worker) in self.stopped:
                continue
            if worker.send(signal.SIGSTOP):
                until(lambda w=worker: status_of(w).get("State", "gone")[0] in "Tgt")
                if len(read_rows(worker.attempt / "train.jsonl")) < STEPS - 3:
                    self.stopped[self.task_of(worker)] = worker
                else:  # too late: the task has another run
                    worker.send(signal.SIGCONT)
        return len(self.stopped) == len(self.runs)

    def go_on(self, task):
        self.stopped[task].send(signal.SIGCONT)

    def is_told(self, task):
        """Whether its stopped worker has been asked to stop, which it hears when it goes on, by us or by Slurm."""
        words = status_of(self.stopped[task])
        pending = sum(int(words.get(key, "0"), 16) for key in ("SigPnd", "ShdPnd"))
        return words.get("State", "gone")[0] not in "Tt" or pending & (
            1 << signal.SIGTERM - 1 | 1 << signal.SIGUSR2 - 1
        )

    def state(self, task):
        shown = self.cluster.run("scontrol", "-o", "show", "job", f"{self.job}_{task}")
        words = dict(word.split("=", 1) for word in shown.split() if "=" in word)
        return words["JobState"], int(words["Restarts"])

    def ended(self):
        return all(self.state(task)[0] not in ("PENDING", "RUNNING", "COMPLETING") for task in range(len(self.runs)))


def status_of(worker):
    try:
        lines = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def preempt_one(tasks):
    """Have a job of the higher partition take one of the node's cores; return the task that has to leave."""
    other = ("-p", "debug", "-c", "1", "--mem=10", "--output=/dev/null", "--wrap", "true")
    tasks.cluster.run("sbatch", "--parsable", *other)
    return until(lambda: [task for task in tasks.stopped if tasks.is_told(task)])


def test_quickstart_through_every_fault(reach, tmp_path):
    slurm = reach(cpus=4)
    (tmp_path / "undisturbed").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "undisturbed" / "data").symlink_to(tmp_path / "data")
    said(command(tmp_path, "slurm"))
    tasks = Tasks(slurm, tmp_path)
    until(tasks.stop_one_in_each)
    undisturbed = command(tmp_path / "undisturbed", "inline")

    # Preemption: the one that Slurm chooses keeps a checkpoint, and is queued again.
    (preempted,) = preempt_one(tasks)
    tasks.go_on(preempted)
    limited, killed, cancelled = (task for task in range(4) if task != preempted)

    # A time limit: a minute is over already.
    slurm.run("scontrol", "update", f"JobId={tasks.job}_{limited}", "TimeLimit=1")

    # SIGKILL of a worker: its supervisor tries again.
    tasks.stopped[killed].send(signal.SIGKILL)

    # scancel of a task: final for the task.
    slurm.run("scancel", f"{tasks.job}_{cancelled}")
    tasks.go_on(cancelled)

    until(lambda: tasks.state(preempted) == ("PENDING", 1))
    slurm.hurry(f"{tasks.job}_{preempted}")
    until(lambda: tasks.is_told(limited))
    tasks.go_on(limited)
    until(lambda: tasks.state(limited) == ("PENDING", 1))
    slurm.run("scontrol", "update", f"JobId={tasks.job}_{limited}", "TimeLimit=30")
    slurm.hurry(f"{tasks.job}_{limited}")
    until(tasks.ended)

    assert tasks.state(preempted) == tasks.state(limited) == ("COMPLETED", 1)
    assert tasks.state(killed) == ("COMPLETED", 0)
    assert tasks.state(cancelled) == ("CANCELLED", 0)
    store = Store(tmp_path / "results")
    hurt = {task: store.run(worker.run.path.name) for task, worker in tasks.stopped.items()}
    assert hurt[killed].reason(1).startswith("killed by SIGKILL")
    assert read_json(hurt[limited].attempt(1) / "ended.json")["reason"].startswith("stopped by SIG")
    assert hurt[cancelled].state().status == "stopped"

    # The same command again takes up what was cancelled; and once more, there is nothing left.
    assert "job " in said(command(tmp_path, "slurm"))
    until(lambda: not slurm.queue())
    assert "8 runs: 8 done" in said(command(tmp_path, "slurm"))
    assert not slurm.queue()
    said(undisturbed)
    found = Findings()
    for runs in tasks.runs:
        for run_id in runs:
            check_run(store.run(run_id), Store(tmp_path / "undisturbed" / "results").run(run_id), found)
            assert [row["step"] for row in store.run(run_id).log()] == list(range(1, STEPS + 1))
    assert not found.lines()
    assert len({store.run(run_id).state().trained["weights"] for runs in tasks.runs for run_id in runs}) == 8
    assert all(len(folder.attempts()) == 2 for folder in hurt.values())
    page = (tmp_path / "reports" / "quickstart.smoke" / "index.html").read_text()
    assert "adain" in page
