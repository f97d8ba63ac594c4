"""What a real Slurm says of jobs, and whether an attempt's owner is known to be alive by it."""

from __future__ import annotations

import contextlib
import json
import sys
import time

import pytest

from bench.liveness import Witness
from bench.scheduler import Scheduler

pytestmark = pytest.mark.slurm

OWNER = "import json, sys; from bench.liveness import this_process; print(json.dumps(this_process()), flush=True)"


def submit(cluster, *options, script="sleep 600"):
    shown = cluster.run("sbatch", "--parsable", "--output=/dev/null", *options, "--wrap", script)
    return shown.strip().partition(";")[0]


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)
    return found


def asked(identifier, *states):
    """Wait until Slurm says one of the states of a job; return what it says."""

    def look():
        job = (Scheduler().jobs() or {}).get(identifier)
        return job if job and job.state in states else None

    return until(look)


def test_arrays_ranges_comments_and_names(slurm):
    sparse = [n for n in range(2, 300) if all(n % d for d in range(2, n))]
    listed = ",".join(map(str, sparse))
    array = submit(slurm, "--comment=bench:X:0", "--array=0-3%2")
    held = submit(slurm, "--hold", f"--array={listed}", "--comment=bench:X:1")
    named = submit(slurm, "--hold", "--job-name=a b Comment=no")
    asked(f"{array}_1", "RUNNING")
    jobs = Scheduler().jobs()
    assert {jobs[f"{array}_{task}"].state for task in (0, 1)} == {"RUNNING"}
    assert {jobs[f"{array}_{task}"].state for task in (2, 3)} == {"PENDING"}
    waits = jobs[f"{array}_2"]
    assert (waits.reason, waits.comment, waits.restarts) == ("JobArrayTaskLimit", "bench:X:0", 0)
    assert abs(jobs[f"{array}_0"].started - time.time()) < 60
    # Slurm cuts long lists of tasks off, unless it is told not to.
    assert {name for name in jobs if name.startswith(f"{held}_")} == {f"{held}_{task}" for task in sparse}
    assert jobs[named].state == "PENDING" and jobs[named].waiting and jobs[named].live


def test_how_jobs_end(slurm):
    ids = {
        "COMPLETED": submit(slurm, script="true"),
        "FAILED": submit(slurm, script="exit 3"),
        "CANCELLED": submit(slurm),
    }
    asked(ids["CANCELLED"], "RUNNING")
    slurm.run("scancel", ids["CANCELLED"])
    for state, identifier in ids.items():
        job = asked(identifier, state)
        assert not job.live
        # The shell of a job that is cancelled may be quick enough to say so itself.
        assert job.exit in {"COMPLETED": ["0:0"], "FAILED": ["3:0"], "CANCELLED": ["0:15", "143:0"]}[state]


@pytest.fixture
def task(slurm, tmp_path):
    """A job that has written its owner, as if it were on another host: (its id, owner(), cluster)."""
    script = f"{sys.executable} -c '{OWNER}' >> {tmp_path}/owners; sleep 600"
    job = submit(slurm, "--partition=low", script=script)

    def owner(life):
        def look():
            with contextlib.suppress(OSError, IndexError):
                return json.loads((tmp_path / "owners").read_text().splitlines()[life])

        return {**until(look), "host": "elsewhere", "claimed": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}

    return job, owner, slurm


def test_a_task_lives_as_long_as_its_job_and_not_beyond_a_restart(task):
    job, owner, cluster = task
    first = owner(0)
    assert first["job"] == {"id": job, "restarts": 0, "cluster": "throwaway"}
    assert Witness().by_job(first) is True
    cluster.run("scontrol", "requeue", job)
    asked(job, "PENDING")
    assert Witness().by_job(first) is False
    cluster.hurry(job)
    second = owner(1)
    asked(job, "RUNNING")
    assert second["job"]["restarts"] == 1
    assert Witness().by_job(second) is True
    assert Witness().by_job(first) is False
    cluster.run("scancel", job)
    asked(job, "CANCELLED")
    assert Witness().by_job(second) is False


def test_without_a_controller_nobody_is_judged_and_nothing_hangs(task):
    job, owner, cluster = task
    first = owner(0)
    with cluster.controller_down():
        began = time.monotonic()
        keeps = Scheduler()
        assert Witness(keeps).by_job(first) is None
        for _ in range(5):
            assert keeps.jobs() is None
        assert time.monotonic() - began < 30
    asked(job, "RUNNING")


def test_no_accounting_is_no_answer(slurm):
    assert Scheduler().ended(["1"]) is None


def test_accounting_knows_what_has_ended(slurm_accounted):
    failed = submit(slurm_accounted, "--array=0-1", script="exit 1")
    waits = submit(slurm_accounted, "--hold", "--array=0-1")
    for task in range(2):
        asked(f"{failed}_{task}", "FAILED")
    ids = [f"{failed}_0", f"{failed}_1", f"{waits}_0"]
    found = until(lambda: (said := Scheduler().ended(ids)) and len(said) == 2 and said)
    assert {identifier: (job.state, job.exit) for identifier, job in found.items()} == {
        f"{failed}_0": ("FAILED", "1:0"),
        f"{failed}_1": ("FAILED", "1:0"),
    }
