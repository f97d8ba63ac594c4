"""Drivers that are killed at every point of their life, or whose study is edited while it runs.

A point is a moment before a file of a driver's appears or a command of it is started.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import pytest
import test_run
from test_slurm_driver import STUDY, StandIn

from bench import run
from bench.command import exit_code
from bench.launch import start
from bench.launch.submission import covered
from bench.scheduler import Scheduler
from bench.store import Store

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of Python 3.12; planning has no locks

POINTS = [(os, "replace"), (os, "link"), (os, "rename"), (os, "mkdir"), (tempfile, "mkstemp"), (subprocess, "run")]


def driver(place):
    sys.argv = ["bench", "tiny.yaml", "--executor", "slurm", "--results", str(place / "results")]
    return exit_code(run.main)


def killed_before(number, place):
    """Run a driver in a child that is killed before its point of this number; return how it ended."""
    pid = os.fork()
    if pid == 0:
        try:
            passed = 0

            def counting(call):
                def counted(*given, **named):
                    nonlocal passed
                    passed += 1
                    if passed == number:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return call(*given, **named)

                return counted

            for module, name in POINTS:
                setattr(module, name, counting(getattr(module, name)))
            with open(os.devnull, "w") as sys.stdout:
                os._exit(driver(place))
        except BaseException:
            traceback.print_exc()
        os._exit(9)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def sweep(tmp_path, monkeypatch, points):
    """Kill a driver at each of these points, each time with results of its own, and go on; return how it ended."""
    (tmp_path / "tiny.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(start, "prepare", lambda *given: 0)
    path, ended = os.environ["PATH"], []
    for number in points:
        place = tmp_path / str(number)
        place.mkdir()
        slurm = StandIn(place)
        monkeypatch.setenv("PATH", f"{place}:{path}")
        ended.append(killed_before(number, place))
        assert ended[-1] in (0, -signal.SIGKILL), number
        assert driver(place) == 0, number
        store, scheduler = Store(place / "results"), Scheduler()
        run_ids = [path.name for path in store.runs.iterdir()]
        assert len(run_ids) == 6
        assert covered(store, "tiny", scheduler, store.states(run_ids)).keys() == set(run_ids), number
        assert sum(len(tasks.split(",")) for tasks in slurm.tasks().values()) == 6, number
        if ended[-1] == 0:
            break
    return ended


def test_a_driver_killed_at_many_points_submits_each_run_once(tmp_path, monkeypatch, capfd):
    assert sweep(tmp_path, monkeypatch, range(5, 200, 17))[-1] == 0


@pytest.mark.slow
def test_a_driver_killed_at_every_point_submits_each_run_once(tmp_path, monkeypatch, capfd):
    ended = sweep(tmp_path, monkeypatch, range(1, 500))
    assert ended[-1] == 0
    assert len(ended) > 60


@pytest.mark.slow
def test_a_study_edited_while_it_runs(tmp_path):
    """One cell taken out and one put in: each driver does what it was asked, a shared cell is done once."""
    text = test_run.STUDY.replace("seeds: 2", "seeds: 1").replace("[fd, swd, ms_ssim]", "[swd]")
    (tmp_path / "tiny.yaml").write_text(text.replace("g_steps: 6", "g_steps: 400"))
    environment = {**os.environ, "BENCH_DATA": str(tmp_path / "data")}
    command = [sys.executable, "-m", "bench.run", "tiny.yaml", "--executor", "local"]
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("results/runs/*/attempts/1/train.jsonl"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    edited = (tmp_path / "tiny.yaml").read_text().replace("[bn, adain]", "[bn, in]")
    (tmp_path / "tiny.yaml").write_text(edited)
    second = test_run.bench(tmp_path, "tiny.yaml", "--executor", "local")
    shown, _ = first.communicate(timeout=300)
    assert first.returncode == second.returncode == 0, shown + second.stdout + second.stderr
    assert "2 runs: 2 done" in shown and "2 runs: 2 done" in second.stdout
    store = Store(tmp_path / "results")
    runs = [store.run(path.name) for path in store.runs.iterdir()]
    assert sorted(run.setting().g_norm for run in runs) == ["adain", "bn", "in"]
    assert [run.attempts() for run in runs] == [[1]] * 3
    assert "2 runs: 2 done" in test_run.bench(tmp_path, "tiny.yaml").stdout
    table = (tmp_path / "results" / "studies" / "tiny" / "runs.csv").read_text()
    assert "g_norm=in" in table and "adain" not in table
