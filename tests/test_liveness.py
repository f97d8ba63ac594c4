"""Whose attempt is alive: the process's word, the scheduler's, the heartbeat's under clocks that differ."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import liveness
from bench.files import write_json
from bench.liveness import LOOK_S, SILENCE_S, WATCH_S, Witness, by_process, this_job, this_process
from bench.scheduler import Job

BEAT_S = 5.0


class Slurm:
    """A scheduler that says what a test tells it to."""

    def __init__(self, *jobs, forgotten=(), answers=True, name="here"):
        self.known, self.forgotten, self.answers, self.name = jobs, forgotten, answers, name

    def jobs(self):
        return {job.id: job for job in self.known} if self.answers else None

    def ended(self, ids):
        return {job.id: job for job in self.forgotten if job.id in ids}

    def cluster(self):
        return self.name if self.answers else None


def elsewhere(**more):
    return {**this_process(), "host": "elsewhere", "claimed": "2026-01-01T12:00:00Z", **more}


def in_job(identifier="12_3", restarts=0, cluster="here"):
    return elsewhere(job={"id": identifier, "restarts": restarts, "cluster": cluster})


# ---------------------------------------------------------------------------------------------------------
# The process.


def test_a_process_is_known_on_its_own_host():
    code = "from bench.liveness import this_process; import json, time; print(json.dumps(this_process()), flush=True)"
    child = subprocess.Popen([sys.executable, "-c", code + "; time.sleep(60)"], stdout=subprocess.PIPE)
    with child:
        owner = json.loads(child.stdout.readline())
        assert owner["pid"] == child.pid
        assert by_process(owner) is True
        assert by_process({**owner, "started": "1"}) is False  # the pid was given again
        assert by_process({**owner, "host": "elsewhere"}) is None
        assert by_process({**owner, "boot_id": "another"}) is None
        assert by_process({**owner, "pid_namespace": "pid:[1]"}) is None  # another container counts its own
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert by_process(owner) is False  # a zombie, not yet waited for
    assert by_process(owner) is False
    assert by_process({**owner, "pid": None}) is False  # damaged


def test_a_slurm_task_names_its_job(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    assert this_job() is None and "job" not in this_process()
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "big")
    assert this_job() == {"id": "15", "restarts": 0, "cluster": "big"}
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert this_process()["job"] == {"id": "12_3", "restarts": 2, "cluster": "big"}


# ---------------------------------------------------------------------------------------------------------
# The scheduler.


@pytest.mark.parametrize(
    ("job", "alive"),
    [
        (Job("12_3", "RUNNING"), True),
        (Job("12_3", "SUSPENDED"), True),
        (Job("12_3", "RUNNING", restarts=1), False),  # this is a later life of the job
        (Job("12_3", "PENDING", "BeginTime", restarts=1), False),
        (Job("12_3", "TIMEOUT"), False),
        (Job("12_3", "CANCELLED"), False),
        (Job("12_3", "COMPLETING"), None),  # its processes are being ended: the heartbeat tells
        (Job("12_3", "SOMETHING_NEW"), None),
        (Job("12_4", "RUNNING"), None),
        (Job("12_3", "RUNNING", started=1767268800.0), True),  # as it was claimed, 2026-01-01 12:00
        (Job("12_3", "RUNNING", started=1767268800.0 + 3600), True),  # clocks differ
        (Job("12_3", "RUNNING", started=1767268800.0 + 86400), False),  # the id was given again
    ],
)
def test_the_word_on_a_job(job, alive):
    assert Witness(Slurm(job)).by_job(in_job()) is alive


def test_who_has_no_word_on_a_job():
    running = Job("12_3", "RUNNING")
    assert Witness(Slurm(running)).by_job(elsewhere()) is None  # in no job
    assert Witness(Slurm(running)).by_job(in_job(cluster="there")) is None
    assert Witness(Slurm(running, answers=False)).by_job(in_job()) is None
    assert Witness(Slurm()).by_job(in_job()) is None  # forgotten, which proves nothing
    assert Witness(Slurm(forgotten=[Job("12_3", "FAILED")])).by_job(in_job()) is False


def test_the_word_on_a_job_goes_before_the_heartbeat(tmp_path):
    write_json(tmp_path / "alive", {"beat": 1})
    os.utime(tmp_path / "alive", (0, 0))
    assert Witness(Slurm(Job("12_3", "RUNNING"))).is_alive(tmp_path, in_job())
    os.utime(tmp_path / "alive")
    assert not Witness(Slurm(Job("12_3", "NODE_FAIL"))).is_alive(tmp_path, in_job())
    mine = {**this_process(), "job": in_job()["job"]}
    assert Witness(Slurm(Job("12_3", "NODE_FAIL"))).is_alive(tmp_path, mine)  # the process goes before both


# ---------------------------------------------------------------------------------------------------------
# The heartbeat.


class Clock:
    """The looker's clock, moved by hand; `writer` is ahead of it by `skew`."""

    def __init__(self, folder, skew=0.0):
        self.now, self.folder, self.skew, self.beats = 1.8e9, folder, skew, 0
        self.strptime = time.strptime

    def time(self):
        return self.now

    def monotonic(self):
        return self.now - 1.7e9

    def beat(self):
        self.beats += 1
        write_json(self.folder / "alive", {"beat": self.beats})
        os.utime(self.folder / "alive", (self.now + self.skew,) * 2)


@pytest.fixture
def clock(tmp_path, monkeypatch):
    made = Clock(tmp_path)
    monkeypatch.setattr(liveness, "time", made)
    return made


SKEWS = [-3600.0, -1.0, 0.0, 3600.0]


@pytest.mark.parametrize("skew", SKEWS)
def test_one_that_beats_is_never_taken_for_dead(clock, skew):
    """By one who keeps looking, and by newcomers who watch as long as they must."""
    clock.skew = skew
    keeps = Witness(Slurm())
    for _ in range(15):
        newcomer = Witness(Slurm())
        for _ in range(int(WATCH_S / BEAT_S) + 2):
            clock.beat()
            clock.now += BEAT_S
            assert keeps.is_alive(clock.folder, elsewhere())
            assert newcomer.is_alive(clock.folder, elsewhere())
            newcomer.is_alive(clock.folder, elsewhere())
        assert not newcomer.suspects
        clock.now += 20.0


@pytest.mark.parametrize("skew", SKEWS)
def test_one_that_went_silent_is_dead_after_ten_minutes_of_looking(clock, skew):
    clock.skew = skew
    keeps = Witness(Slurm())
    for _ in range(3):
        clock.beat()
        clock.now += BEAT_S
        keeps.is_alive(clock.folder, elsewhere())
    silent, alive = 0.0, True
    while alive and silent < 2 * SILENCE_S:
        silent, clock.now = silent + BEAT_S, clock.now + BEAT_S
        alive = keeps.is_alive(clock.folder, elsewhere())
    assert SILENCE_S - 2 * BEAT_S <= silent <= SILENCE_S + 2 * BEAT_S


def test_a_newcomer_watches_an_old_heartbeat_before_it_says_dead(clock):
    clock.beat()
    clock.now += SILENCE_S + 1
    newcomer = Witness(Slurm())
    assert newcomer.is_alive(clock.folder, elsewhere())
    assert newcomer.suspects == {clock.folder}
    clock.now += WATCH_S - 1
    assert newcomer.is_alive(clock.folder, elsewhere())
    clock.now += 2
    assert not newcomer.is_alive(clock.folder, elsewhere())
    assert not newcomer.suspects


@pytest.mark.parametrize("ahead", [7200.0, 10 * 365 * 86400.0])
def test_a_heartbeat_of_the_future_acquits_nobody_for_ever(clock, ahead):
    clock.skew = ahead
    clock.beat()
    keeps = Witness(Slurm())
    looks = 0
    while keeps.is_alive(clock.folder, elsewhere()):
        clock.now, looks = clock.now + BEAT_S, looks + 1
        assert looks * BEAT_S < SILENCE_S + 2 * BEAT_S


def test_no_clock_is_wrong_by_days(clock):
    clock.beat()
    clock.now += 2 * 86400
    assert not Witness(Slurm()).is_alive(clock.folder, elsewhere())


def test_a_file_server_that_hangs_convicts_nobody(clock):
    """Neither could the attempt beat nor the looker look."""
    keeps = Witness(Slurm())
    for _ in range(3):
        clock.beat()
        keeps.is_alive(clock.folder, elsewhere())
        clock.now += BEAT_S
    clock.now += 3 * SILENCE_S
    assert LOOK_S < SILENCE_S
    assert keeps.is_alive(clock.folder, elsewhere())
    clock.beat()
    assert keeps.is_alive(clock.folder, elsewhere())


def test_before_the_first_beat_the_claim_speaks(clock):
    assert not Witness(Slurm()).is_alive(clock.folder, {})  # a folder that nobody owns
    write_json(clock.folder / "owner.json", elsewhere())
    os.utime(clock.folder / "owner.json", (clock.now, clock.now))
    assert Witness(Slurm()).is_alive(clock.folder, elsewhere())


def test_what_was_here_before_the_restart_is_dead_at_once(tmp_path):
    owner = {**this_process(), "boot_id": "before"}
    assert owner["host"] == socket.gethostname()
    booted = time.time() - float(Path("/proc/uptime").read_text().split()[0])
    for name in ("owner.json", "alive"):
        write_json(tmp_path / name, owner)
        os.utime(tmp_path / name, (booted - 60, booted - 60))
    assert not Witness(Slurm()).is_alive(tmp_path, owner)
    os.utime(tmp_path / "alive")  # another machine of this name
    assert Witness(Slurm()).is_alive(tmp_path, owner)


def test_a_job_that_outlives_its_process_is_no_sign_of_life(clock):
    """A pool was killed in an interactive allocation, whose shell lives on: ten minutes of looking say so."""
    running = Witness(Slurm(Job("12_3", "RUNNING", started=None)))
    owner = {**in_job(), "claimed": "2026-01-01T12:00:00Z"}
    clock.beat()
    assert running.is_alive(clock.folder, owner)
    for look in range(1, int(SILENCE_S / LOOK_S) + 3):
        clock.now += LOOK_S
        assert running.is_alive(clock.folder, owner) == (look * LOOK_S < SILENCE_S)
    clock.beat()
    assert running.is_alive(clock.folder, owner)
