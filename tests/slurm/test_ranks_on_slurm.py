"""One run of two ranks as a Slurm job: preempted, and killed in one rank, it ends as one never disturbed."""

import os
import signal

import pytest
from test_task import STEPS, Sent

from bench.resources import Slurm
from bench.store import read_json

pytestmark = pytest.mark.slurm

KNOBS = {
    **{"train__world_size": 2, "train__g_steps": STEPS, "checkpoint_minutes": 0.001, "mbstd": 4, "g_norm": "bn"},
    **{"d_weight": "spectral", "ema": 0.5},
}


@pytest.fixture
def sent(slurm, make_run, tmp_path):
    folder, orders = make_run(**KNOBS)
    return Sent(slurm, tmp_path, [(folder, orders)], orders, slurm=Slurm(partition="low"), cpus=2, minutes=30)


def test_preempted_all_ranks_stop_in_order_and_go_on(sent, slurm):
    """Slurm's signal reaches every process of the step: each rank hears it, and one checkpoint is kept."""
    folder = sent.folders[0]
    sent.started(rows=5)
    slurm.run("scancel", "--signal=USR2", sent.job)
    sent.requeued()
    assert read_json(folder.attempt(1) / "ended.json")["exit"] == 75
    sent.ended()
    assert len(folder.attempts()) == 2
    assert "resuming from step" in folder.log_tail(60)
    sent.check()


def test_a_rank_that_is_killed_is_the_reason_and_the_run_is_tried_again(sent):
    folder = sent.folders[0]
    sent.started(rows=5)
    os.kill(sent.pid("bench.peers", "--rank"), signal.SIGKILL)
    sent.started(attempt=2)
    ended = read_json(folder.attempt(1) / "ended.json")
    assert (ended["exit"], ended["reason"]) == (1, "PeersError: rank 1 was killed by SIGKILL")
    sent.ended()
    sent.check()
