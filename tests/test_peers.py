"""Ranks as processes of one run: what rank 0 starts, how they end together, and that a run goes on where they died."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from test_job import finish, start, uninterrupted, without_time
from test_supervisor import Stage

from bench import job
from bench.files import read_json, read_rows
from bench.launch.places import Place, environment_of, on_gpus, room_for
from bench.orders import Orders
from bench.setting import resolve, run_id
from bench.stop import Stop

TWO = {"train__world_size": 2, "g_norm": "bn", "d_norm": "bn", "d_weight": "spectral", "ema": 0.5, "mbstd": 4}
LONG = {**TWO, "train__g_steps": 40, "d_norm": "none", "penalty": "r1"}


def children(pid: int) -> list[int]:
    """Processes that `pid` has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def gone(pid: int, seconds: float = 30) -> bool:
    """Whether a process that need not be ours ends within so long."""
    deadline = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def started(folder, orders):
    """A job of which five steps are done."""
    process, path, deadline = start(folder, orders), folder.attempt(1) / "train.jsonl", time.monotonic() + 240
    while len(read_rows(path)) < 5:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    return process


@pytest.mark.slow
def test_a_job_of_two_ranks_leaves_what_a_job_of_one_does(make_run, tmp_path):
    sgd = {"train__optimizer": "sgd", "train__lr": 0.01}
    one, orders = make_run(**{**TWO, **sgd, "train__world_size": 1})
    two, _ = make_run(**{**TWO, **sgd})
    assert [job.run(folder, Orders.read(orders), stop=Stop()) for folder in (one, two)] == [0, 0]
    files = [sorted(path.relative_to(folder.path) for path in folder.path.rglob("*.*")) for folder in (one, two)]
    assert files[0] == files[1]
    for path in one.snapshots.glob("*.pt"):
        left, right = (torch.load(folder.snapshots / path.name, weights_only=True) for folder in (one, two))
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)
    assert len(two.log()) == len(one.log())
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["rank 0", "rank 1"])
def test_none_outlives_another_and_the_run_goes_on(make_run, tmp_path, victim):
    folder, orders = make_run(checkpoint_minutes=0.0005, **LONG)
    process = started(folder, orders)
    (peer,) = children(process.pid)
    if victim == "rank 0":
        process.kill()
        process.communicate()
        assert gone(peer)
    else:
        os.kill(peer, signal.SIGKILL)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1, output
        assert read_json(folder.attempt(1) / "ended.json")["reason"] == "PeersError: rank 1 was killed by SIGKILL"
    code, output = finish(folder, orders)
    assert code == 0, output
    assert "resuming from step" in output
    expected = uninterrupted(folder, orders, tmp_path)
    assert folder.state().trained["weights"] == expected.state().trained["weights"]
    assert without_time(folder.log()) == without_time(expected.log())


@pytest.mark.slow
@pytest.mark.parametrize("told", ["rank 0", "rank 1"])
def test_a_signal_to_any_rank_stops_all_in_order(make_run, tmp_path, told):
    folder, orders = make_run(**LONG)
    process = started(folder, orders)
    (peer,) = children(process.pid)
    os.kill(process.pid if told == "rank 0" else peer, signal.SIGUSR2)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    assert folder.state().status == "stopped"
    assert len(list(folder.path.glob("attempts/1/checkpoints/*.pt"))) == 1
    assert gone(peer)
    code, output = finish(folder, orders)
    assert code == 0, output
    expected = uninterrupted(folder, orders, tmp_path)
    assert folder.state().trained["weights"] == expected.state().trained["weights"]


@pytest.mark.slow
def test_what_a_rank_dies_of_is_the_reason(make_run, monkeypatch, tmp_path):
    """Its process cannot read the run's setting: rank 0, which waits for it to come, ends with its words."""
    folder, orders = make_run(**TWO)
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if '--rank' in sys.orig_argv:\n"
        "    import bench.data\n"
        "    def load(*given):\n"
        "        raise MemoryError('of rank 1 alone')\n"
        "    bench.data.load = load\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = start(folder, orders)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    ended = read_json(folder.attempt(1) / "ended.json")
    assert (ended["reason"], ended["oom"]) == ("rank 1: MemoryError: of rank 1 alone", True)


SRUN = """#!{python}
import os, subprocess, sys
asked = dict(word.partition("=")[::2] for word in sys.argv[1:] if word.startswith("--"))
command = sys.argv[sys.argv.index(sys.executable):] if sys.executable in sys.argv else sys.argv[-4:]
print("srun", asked, file=open({said!r}, "a"))
said = sys.stdin.buffer.readline()
tasks = []
for task in range(int(asked["--ntasks"])):
    number = {{"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task % int(asked["--ntasks-per-node"]))}}
    tasks.append(subprocess.Popen(command, stdin=subprocess.PIPE, env={{**os.environ, **number}}))
    tasks[-1].stdin.write(said)
    tasks[-1].stdin.flush()
sys.exit(max(task.wait() for task in tasks))
"""


@pytest.mark.slow
def test_ranks_of_several_nodes_are_started_by_one_srun(make_run, monkeypatch, tmp_path):
    """A stand-in for srun starts its tasks here, with the numbers that Slurm would give them."""
    folder, orders = make_run(**{**TWO, "train__world_size": 4, "train__batch": 8})
    tools, said = tmp_path / "bin", tmp_path / "said"
    tools.mkdir()
    (tools / "srun").write_text(SRUN.format(python=sys.executable, said=str(said)))
    (tools / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    assert shutil.which("srun") == str(tools / "srun")
    code, output = finish(folder, orders)
    assert code == 0, output
    assert "'--nodes': '1', '--ntasks': '2', '--ntasks-per-node': '2'" in said.read_text()
    assert all(f"rank {rank}: done at step 6" in output for rank in (1, 2, 3))


# ---------------------------------------------------------------------------------------------------------
# Places for ranks.


def gpu_places(names: str) -> list[Place]:
    return on_gpus(list(names), 1, 1)


def seen(places: list[Place], ranks: int) -> str:
    return environment_of(places, ranks)["CUDA_VISIBLE_DEVICES"]


def test_each_rank_has_a_gpu_of_its_own():
    shared = on_gpus(["0", "1", "2"], 2, 1)
    found = room_for(2, shared, shared)
    assert len(set(seen(found, 2).split(","))) == 2
    # Two places that are free on one GPU are no room for two ranks, and three ranks of four GPUs leave one.
    assert room_for(2, shared[:2], shared) is None
    assert seen(room_for(3, gpu_places("0123"), gpu_places("0123")), 3) == "0,1,2"
    assert room_for(3, gpu_places("01"), gpu_places("0123")) is None
    # The job says that it lacks GPUs; a run alone in all places sees no more than it has ranks.
    assert seen(room_for(4, gpu_places("01"), gpu_places("01")), 4) == "0,1"
    assert seen(gpu_places("0123"), 2) == "0,1" and seen(gpu_places("0123"), 1) == "0"
    assert seen([Place({"CUDA_VISIBLE_DEVICES": ""})] * 2, 2) == ""


def test_ranks_on_cores_take_places_and_are_not_overtaken(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch)
    said = ({}, {"train.world_size": 4}, {"seed": 2})
    settings = {run_id(made): made for made in map(resolve, said)}
    names = stage.runs(**dict.fromkeys(settings, "done"))
    for name, made in settings.items():
        stage.store.run(name).write_setting(made)
    assert set(stage.pool(names, places=2).run(names).values()) == {0}
    ((_, a_ended),), ((b_began, b_ended),), ((c_began, _),) = (stage.under_way(name) for name in names)
    assert a_ended <= b_began and b_ended <= c_began
