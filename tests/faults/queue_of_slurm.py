"""The campaign on a real Slurm: what may befall a job, and its queue without waiting."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import crew
from crew import Choice, Fault, Scene, is_at_a_run, is_driver, is_task, is_training, signalled


@contextlib.contextmanager
def on_slurm(wanted: bool) -> Iterator[Any]:
    """A real Slurm of one node, where it is wanted; else None."""
    if not wanted:
        yield None
        return
    sys.path.append(str(Path(__file__).parents[1] / "slurm"))
    from one_node import OneNode

    with OneNode(cpus=4) as cluster:
        os.environ.update(cluster.env)
        yield cluster


def choices(cluster: Any) -> Sequence[Choice]:
    """What may befall who works on a study through Slurm."""

    def to_a_task(*command: str) -> Fault:
        def fault(scene: Scene) -> str:
            running = [job for job, state in cluster.queue().items() if state == "RUNNING" and "_" in job]
            if not running:
                return ""
            cluster.run(*command, scene.chance.choice(running), check=False)
            return " ".join(command)

        return fault

    def preempt(scene: Scene) -> str:
        whole = ("-p", "debug", "-c", str(cluster.cpus), "--output=/dev/null", "--wrap", "true")
        cluster.run("sbatch", "--parsable", *whole)
        return "preempted"

    return [
        *(Choice("worker", is_at_a_run, signalled(number)) for number in (signal.SIGKILL, signal.SIGTERM)),
        Choice("worker", is_training, crew.tear_checkpoint),
        Choice("worker", is_training, crew.lose_log),
        Choice("driver", is_driver, signalled(signal.SIGKILL)),
        Choice("task", is_task, signalled(signal.SIGKILL)),
        Choice("task", is_at_a_run, to_a_task("scancel")),
        Choice("task", is_at_a_run, to_a_task("scancel", "--signal=USR2")),
        Choice("task", is_at_a_run, to_a_task("scontrol", "requeue")),
        Choice("task", is_at_a_run, preempt),
        Choice("host", is_at_a_run, crew.power_cut),
    ]


def push_on(cluster: Any) -> bool:
    """Start requeued tasks without Slurm's two minutes of delay; say whether any task is left in the queue."""
    lines = cluster.run("squeue", "-h", "-r", "-o", "%i %T %r").splitlines()
    tasks = [line.split(maxsplit=2) for line in lines if "_" in line.split()[0]]
    for job, state, reason in tasks:
        if state == "PENDING" and reason == "BeginTime":
            cluster.hurry(job)
        elif "requeued held" in reason:  # its node did not take it in the second of its requeueing
            cluster.run("scontrol", "release", job, check=False)
    time.sleep(0.2)
    return bool(tasks)
