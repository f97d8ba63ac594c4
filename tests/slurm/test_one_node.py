"""The cluster that the other tests stand on."""

import time

import pytest

pytestmark = pytest.mark.slurm


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_jobs_run_and_see_a_gpu(slurm, tmp_path):
    said = tmp_path / "said"
    slurm.run(
        "sbatch",
        "--gres=gpu:2",
        "--output=/dev/null",
        "--wrap",
        f"echo $CUDA_VISIBLE_DEVICES > {said}.part && mv {said}.part {said}",
    )
    until(said.exists)
    assert said.read_text() == "0,1\n"


def test_without_accounting_sacct_does_not_answer(slurm):
    assert "accounting" in slurm.run("sacct", check=False)


def test_with_accounting_sacct_tells_how_a_job_ended(slurm_accounted):
    job = slurm_accounted.run("sbatch", "--parsable", "--output=/dev/null", "--wrap", "exit 3").strip()
    until(lambda: "FAILED|3:0" in slurm_accounted.run("sacct", "-nPX", "-j", job, "-o", "State,ExitCode"))


def test_jobs_outlive_their_controller(slurm):
    job = slurm.run("sbatch", "--parsable", "--output=/dev/null", "--wrap", "sleep 60").strip()
    until(lambda: slurm.queue().get(job) == "RUNNING")
    with slurm.controller_down():
        assert "DOWN" in slurm.run("scontrol", "ping", check=False)
    assert slurm.queue()[job] == "RUNNING"
