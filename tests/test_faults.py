"""What may befall a run on one machine: afterwards it is as one never disturbed, or says what it lacks."""

import contextlib
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from bench import heartbeat, job, preparation
from bench.files import read_json
from bench.harmless import tell
from bench.heartbeat import Heartbeat
from bench.keeper import RunKeeper
from bench.launch import preparing
from bench.launch.places import on_cpu
from bench.launch.pool import Pool, Terms
from bench.launch.watch import Watch
from bench.orders import Orders
from bench.preparation import prepare
from bench.stop import Stop
from bench.store import RunFolder, Store
from bench.terminal import Terminal

STEPS = 12
KNOBS = {"train__g_steps": STEPS, "train__snapshots_g_steps": [STEPS]}


class AtLook(Stop):
    """A stop at which something happens when the loop looks at it for the nth time: once a step."""

    def __init__(self, look, action):
        self._looks, self._look, self._action, self._reason = 0, look, action, None
        super().__init__()

    @property
    def reason(self):
        self._looks += 1
        if self._looks == self._look:
            self._action(self)
        return self._reason

    @reason.setter
    def reason(self, said):
        self._reason = said


def stop_at(step):
    return AtLook(step, lambda stop: setattr(stop, "reason", "stopped by SIGTERM"))


def undisturbed(folder, orders, tmp_path):
    other = RunFolder(tmp_path / "undisturbed" / "runs" / folder.path.name)
    if not other.trained.exists():
        other.write_setting(folder.setting())
        assert job.run(other, Orders.read(orders), stop=Stop()) == 0
    return other


def check(folder, orders, tmp_path):
    assert folder.state().status == "done"
    expected = undisturbed(folder, orders, tmp_path)
    assert folder.state().trained["weights"] == expected.state().trained["weights"]
    assert [row["step"] for row in folder.log()] == list(range(1, STEPS + 1))


# ---------------------------------------------------------------------------------------------------------
# The disk.


def test_a_checkpoint_torn_anywhere_is_passed_over(make_run, capfd):
    folder, _ = make_run()
    attempt = folder.claim()
    keeper = RunKeeper(folder, attempt, folder.setting(), Stop(), Heartbeat(folder.attempt(attempt)))
    for step in (1, 2):
        keeper.save_checkpoint(step, {"step": step, "x": torch.full((30_000,), float(step))})
    first, newest = sorted(folder.path.glob("attempts/1/checkpoints/*.pt"))
    whole = newest.read_bytes()
    assert keeper.load_checkpoint()["step"] == 2
    boundaries = range(0, len(whole), 4096)
    assert len(boundaries) > 25
    for end in boundaries:
        for rest in (b"", b"\0" * (len(whole) - end)):  # cut off there; or never written from there on
            newest.write_bytes(whole[:end] + rest)
            assert keeper.load_checkpoint()["step"] == 1
            assert f"checkpoint {newest.name} was damaged and passed over" in capfd.readouterr().out
    first.write_bytes(b"")
    assert keeper.load_checkpoint() is None
    keeper.close()


def test_a_disk_too_full_for_checkpoints_ends_no_run(make_run, tmp_path, capfd):
    """A file may not grow beyond so much here, which is an error of write(2) as a full disk is."""
    folder, orders = make_run(checkpoint_minutes=1e-6, **KNOBS)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A snapshot holds G alone; a checkpoint G, D and their optimizers' moments.
    fill = AtLook(1, lambda stop: resource.setrlimit(resource.RLIMIT_FSIZE, (36_000, before[1])))
    try:
        assert job.run(folder, Orders.read(orders), stop=fill) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "no checkpoint at step 3: " in capfd.readouterr().out
    assert f"no checkpoint at step {STEPS - 1}: " in folder.reason(1)
    assert list(folder.path.glob("attempts/*/checkpoints/*")) == []
    check(folder, orders, tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_nothing_more_fails_the_run_which_goes_on_later(make_run, tmp_path, monkeypatch, number):
    """It fails with the reason, as the machine's fault: tried again, not bad input."""
    folder, orders = make_run(checkpoint_minutes=1e-6, **KNOBS)
    real = tempfile.mkstemp

    def broken(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        stop = AtLook(6, lambda stop: patch.setattr(tempfile, "mkstemp", broken))
        assert job.run(folder, Orders.read(orders), stop=stop) == 1
    assert tempfile.mkstemp is real
    assert not folder.trained.exists()
    kept = sorted(folder.path.glob("attempts/1/checkpoints/*.pt"))
    assert [path.name[:9] for path in kept] == ["000000004", "000000005"]
    assert folder.reason(1) == ""
    folder.end(1, 1, "no word could be kept")  # in its name: its process is this one, which lives on
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    assert folder.attempts() == [1, 2]
    check(folder, orders, tmp_path)


def test_results_moved_between_two_attempts(make_run, tmp_path):
    folder, orders = make_run(**KNOBS)
    assert job.run(folder, Orders.read(orders), stop=stop_at(5)) == 75
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").rename(tmp_path / "elsewhere" / "moved")
    moved = Store(tmp_path / "elsewhere" / "moved").run(folder.path.name)
    orders = moved.path.parent.parent / "studies" / "test" / "orders.json"
    assert job.run(moved, Orders.read(orders), stop=Stop()) == 0
    assert not (tmp_path / "results").exists()
    check(moved, orders, tmp_path)


def test_results_moved_while_a_run_trains(make_run, tmp_path):
    """The run ends; no second tree grows where they were; it goes on at the new place."""
    folder, orders = make_run(checkpoint_minutes=1e-6, **KNOBS)
    read, away = Orders.read(orders), tmp_path / "away"
    stop = AtLook(6, lambda stop: (tmp_path / "results").rename(away))
    assert job.run(folder, read, stop=stop) not in (0, 75)
    assert not (tmp_path / "results" / "runs").exists()
    moved = Store(away).run(folder.path.name)
    orders = away / "studies" / "test" / "orders.json"
    moved.end(1, 1, "its results were moved")  # in its name: its process is this one, which lives on
    assert job.run(moved, Orders.read(orders), stop=Stop()) == 0
    check(moved, orders, tmp_path)


# ---------------------------------------------------------------------------------------------------------
# Attempts and stages.


def test_one_that_was_taken_for_dead_stops_when_it_sees_a_later_attempt(make_run, monkeypatch):
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.01)
    folder, _ = make_run()
    stop = Stop()
    with Heartbeat(folder.attempt(folder.claim()), stop):
        time.sleep(0.1)
        assert stop.reason is None
        folder.attempt(2).mkdir()
        deadline = time.monotonic() + 10
        while stop.reason is None and time.monotonic() < deadline:
            time.sleep(0.01)
    assert stop.reason == "a later attempt has taken the run over"


def test_a_heartbeat_outlives_a_file_server_that_fails_for_a_moment(make_run, monkeypatch, capfd):
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.01)
    folder, _ = make_run()
    path = folder.attempt(folder.claim()) / "alive"
    left, real = [1, 2, 3], heartbeat.write_json

    def fails(*given):
        if left:
            left.pop()
            raise OSError(errno.ESTALE, "Stale file handle")
        real(*given)

    monkeypatch.setattr(heartbeat, "write_json", fails)
    with Heartbeat(path.parent):
        deadline = time.monotonic() + 10
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert path.exists() and capfd.readouterr().err.count("Stale") == 3


def test_a_log_on_a_full_disk_loses_its_line_and_no_more(monkeypatch):
    """/dev/full takes nothing, and says so at every write."""
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        Terminal().print("a line")
        tell("a line")
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()


def test_a_gpu_that_torch_cannot_use_is_said(make_run, monkeypatch):
    """Rather than to train on the CPU, where the study's other runs had a GPU."""
    folder, orders = make_run()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(preparation, "devices", lambda: [Path("/dev/nvidia0")])
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 1
    assert folder.state().cause.startswith(f"{socket.gethostname()}: this job has GPU 3, and torch ")
    assert not folder.trained.exists()


def test_a_heartbeat_moves_though_nothing_is_said(make_run, monkeypatch):
    """Who watches it from another host goes by its content: clocks differ."""
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.01)
    folder, _ = make_run()
    path = folder.attempt(folder.claim()) / "alive"
    seen = set()
    with Heartbeat(path.parent):
        deadline = time.monotonic() + 10
        while len(seen) < 4 and time.monotonic() < deadline:
            seen.add(path.read_bytes() if path.exists() else b"")
    assert len(seen) >= 4


def test_training_and_scoring_apart_are_the_two_together(make_run, tmp_path):
    folder, orders = make_run(metrics=["swd"], evaluate={"fakes": 64}, **KNOBS)
    read = Orders.read(orders)
    assert job.run(folder, read, stop=Stop(), stage="score") == 75
    assert folder.reason(1) == "nothing to score: it is not trained yet"
    assert job.run(folder, read, stop=Stop(), stage="train") == 0
    assert (folder.state().status, folder.scores.exists()) == ("done", False)
    assert job.run(folder, read, stop=Stop(), stage="score") == 0
    whole = undisturbed(folder, orders, tmp_path)
    values = [{path.name: read_json(path)["values"] for path in one.scores.iterdir()} for one in (folder, whole)]
    assert values[0] == values[1]
    check(folder, orders, tmp_path)


# ---------------------------------------------------------------------------------------------------------
# Code of the user's own.


def test_code_that_wants_to_leave_fails_its_run(make_faulty, faulty, tmp_path):
    folder, orders = make_faulty(**KNOBS)
    faulty.act("leave")
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 1
    assert folder.state().cause == "SystemExit: 0"
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    check(folder, orders, tmp_path)


def test_want_of_memory_is_recorded_as_such(make_faulty, faulty):
    folder, orders = make_faulty(**KNOBS)
    faulty.act("starve")
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 1
    assert read_json(folder.attempt(1) / "ended.json")["oom"]


@pytest.mark.slow
def test_code_that_takes_its_process_along(make_faulty, faulty, tmp_path):
    folder, orders = make_faulty(checkpoint_minutes=1e-6, **KNOBS)
    faulty.act("exit", "segfault", "kill")
    name, store = folder.path.name, Store(tmp_path / "results")
    watch = Watch({name: "x"}, 0, Console(file=StringIO()))
    pool = Pool(store, orders, on_cpu(1, 1), watch, Terms(lambda _: folder.trained.exists(), retries=3))
    assert pool.run([name]) == {name: 0}
    reasons = [folder.reason(number) for number in (1, 2, 3)]
    assert reasons[0].startswith("its process left without a word")
    assert reasons[1] == "killed by SIGSEGV"
    assert reasons[2].startswith("killed by SIGKILL")
    check(folder, orders, tmp_path)


@pytest.mark.slow
def test_a_signal_that_reaches_a_forked_worker_too(make_faulty, faulty, tmp_path):
    """A worker of a DataLoader inherits the handlers; it must neither write nor end anything."""
    folder, orders = make_faulty(**KNOBS)
    faulty.act("fork", "slow")
    command = [sys.executable, "-m", "bench.job", str(folder.path), "--orders", str(orders)]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (faulty.folder / "forked").exists() or not (folder.attempt(1) / "train.jsonl").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGUSR2)
    assert process.wait(120) == 75
    worker = int((faulty.folder / "forked").read_text())
    os.kill(worker, 0)  # it lives: the signal was not its own
    os.kill(worker, signal.SIGKILL)
    assert len(list(folder.path.glob("attempts/1/checkpoints/*.pt"))) == 1
    faulty.behave()
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    check(folder, orders, tmp_path)


# ---------------------------------------------------------------------------------------------------------
# Preparation.


def test_what_runs_share_is_made_by_one_of_many(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "LOOK_S", 0.02)
    made, lines = [], []
    codes = iter([0, 3, 0])

    def start(folders, orders_path, study_dir, part):
        made.append(part)
        return subprocess.Popen(["sh", "-c", f"sleep 0.3; exit {next(codes)}"], stdin=subprocess.PIPE)

    monkeypatch.setattr(preparing, "start", start)
    folder, orders = make_run()
    store, study = Store(tmp_path / "results"), tmp_path / "results" / "studies" / "test"

    def task():
        preparing.prepare_by_claim([folder, folder], store, orders, study, Stop(), lines.append)

    tasks = [threading.Thread(target=task) for _ in range(4)]
    for thread in tasks:
        thread.start()
    for thread in tasks:
        thread.join()
    assert made == ["task"]
    (marker,) = (store.cache / "prepared").iterdir()
    marker.unlink()  # as with the cache, which a user may delete
    task()
    assert "exit code 3" in lines[0]
    assert not marker.exists()
    task()
    assert (len(made), marker.exists()) == (3, True)


def test_the_driver_and_a_task_share_the_preparation(make_run, tmp_path):
    """The one has the network, the others have the cores: the driver decodes nothing."""
    folder, orders = make_run(metrics=["fd"], evaluate={"fakes": 16})
    cache, study = tmp_path / "results" / "cache", tmp_path / "results" / "studies" / "test"
    prepare(Orders.read(orders), [folder.setting()], study, "driver")
    assert not list(cache.glob("data/*.npy"))
    prepare(Orders.read(orders), [folder.setting()], study, "task")
    assert list(cache.glob("data/*.npy"))
    assert (study / "reals.png").exists()
