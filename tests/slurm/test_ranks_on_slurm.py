"""One run of several ranks as a Slurm job: preempted, killed in one rank, on two nodes, it ends as one undisturbed."""

import os
import signal
import socket

import pytest
import torch
from one_node import OneNode, free_ports, missing
from test_task_on_slurm import STEPS, Sent

from bench import job
from bench.files import read_json
from bench.models import build
from bench.orders import Orders
from bench.resources import Slurm
from bench.stop import Stop

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


def test_two_ranks_of_16_make_what_one_of_32_makes(slurm, make_run, tmp_path):
    """To rounding, and by SGD: Adam's first step is a gradient's sign, which may be rounding alone."""
    knobs = {
        **{"train__batch": 32, "train__g_steps": 4, "train__optimizer": "sgd", "train__lr": 0.05},
        **{"g_norm": "bn", "mbstd": 4, "loss": "wasserstein", "penalty": "gp"},
    }
    folder, orders = make_run(**knobs, train__world_size=2)
    sent = Sent(slurm, tmp_path, [(folder, orders)], orders, cpus=2, minutes=30)
    sent.ended()
    alone, _ = make_run(**knobs)
    assert job.run(alone, Orders.read(orders), stop=Stop()) == 0
    kept = [torch.load(next(iter(run.snapshots.glob("*.pt"))), weights_only=True) for run in (folder, alone)]
    torch.testing.assert_close(*kept, rtol=1e-4, atol=1e-5)
    first = build(folder.setting())[0].state_dict()
    assert any(not torch.allclose(first[name], value, atol=1e-3) for name, value in kept[0].items() if name in first)
    rows = [[row["loss_D"] for row in run.log()] for run in (folder, alone)]
    assert len(rows[0]) == 4
    assert rows[0] == pytest.approx(rows[1], rel=1e-4)


# ---------------------------------------------------------------------------------------------------------
# Two nodes.


class TwoNodes(OneNode):
    """The same with two nodes, which are one machine."""

    NAMES = ("one", "two")

    def _configure(self):
        super()._configure()
        conf, host = self.root / "slurm.conf", socket.gethostname().partition(".")[0]
        of_nodes = ("NodeName", "SlurmdPort", "SlurmdSpoolDir", "SlurmdLogFile", "SlurmdPidFile")
        lines = [line for line in conf.read_text().splitlines() if not line.startswith(of_nodes)]
        named = {"SlurmdSpoolDir": "spool/%n", "SlurmdLogFile": "log/slurmd.%n.log", "SlurmdPidFile": "pid/slurmd.%n"}
        nodes = [f"{key}={self.root}/{place}" for key, place in named.items()]
        for name, port in zip(self.NAMES, free_ports(2), strict=True):
            (self.root / "spool" / name).mkdir()
            shape = f"CPUs={self.cpus} RealMemory={self.memory_mb} State=UNKNOWN"
            nodes.append(f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} {shape}")
        first = next(number for number, line in enumerate(lines) if line.startswith("PartitionName"))
        conf.write_text("\n".join([*lines[:first], *nodes, *lines[first:]]) + "\n")

    def _start(self, name, *command, check=None):
        if name != "slurmd":
            return super()._start(name, *command, check=check)
        for node in self.NAMES:
            super()._start(f"slurmd {node}", *command, "-N", node)

    def __exit__(self, *error):
        try:
            self.clear()
        finally:
            for node in self.NAMES:
                self._stop(f"slurmd {node}")
            super().__exit__(*error)


@pytest.fixture
def two_nodes(monkeypatch):
    if absent := missing():
        pytest.skip(f"not installed: {', '.join(absent)}")
    with TwoNodes(gpus=0) as cluster:
        for name, value in cluster.env.items():
            monkeypatch.setenv(name, value)
        yield cluster


def test_four_ranks_on_two_nodes(two_nodes, make_run, tmp_path):
    """Stopped by a signal and requeued once; the weights are those of four ranks on one node."""
    folder, orders = make_run(**KNOBS | {"train__world_size": 4})
    sent = Sent(two_nodes, tmp_path, [(folder, orders)], orders, nodes=2, cpus=2, minutes=30)
    sent.started()
    assert "NumNodes=2 " in two_nodes.run("scontrol", "-o", "show", "job", f"{sent.job}_0")
    two_nodes.run("scancel", "--signal=USR2", sent.job)
    sent.requeued()
    assert read_json(folder.attempt(1) / "ended.json")["exit"] == 75
    sent.ended()
    log = folder.log_tail(60)
    assert "resuming from step" in log
    assert all(f"rank {rank}: done at step {STEPS}" in log for rank in (1, 2, 3))
    sent.check()
