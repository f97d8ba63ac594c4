"""What the supervisor decides, tried with stand-ins for jobs that start in no time and do as they are told."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from io import StringIO

import pytest
from rich.console import Console

from bench import oom
from bench.files import read_json, write_json
from bench.launch import pool as pool_module
from bench.launch.places import on_cpu
from bench.launch.pool import Pool, Terms, failures_of
from bench.launch.watch import Watch
from bench.stop import Stop, held_back
from bench.store import Store

JOB = """#!{python} -SE
import json, os, signal, sys, time
folder, attempt = sys.argv[3], sys.argv[sys.argv.index("--attempt") + 1]
own, journal = os.path.join(folder, "attempts", attempt), os.path.join(folder, "..", "journal")
acts = json.load(open(os.path.join(folder, "acts.json")))
act = acts[min(int(attempt), len(acts)) - 1]
name = os.path.basename(folder)


def note(what):
    with open(journal, "a") as file:
        file.write(f"{{time.monotonic()}} {{what}} {{name}} {{' '.join(sys.argv[4:])}}\\n")


def write(path, **content):
    with open(path + ".part", "w") as file:
        json.dump(content, file)
    os.rename(path + ".part", path)


def end(code, **more):
    note("end")
    write(os.path.join(own, "ended.json"), **{{"exit": code, "reason": act, **more}})
    sys.exit(code)


note("start")
asked = []
if act == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {{signal.SIGTERM}})
if act == "done":
    time.sleep(0.2)
    write(os.path.join(folder, "trained.json"), status="done", snapshots=[])
    end(0)
if act == "oom":
    print("torch.OutOfMemoryError: CUDA out of memory")
    end(1, oom=True)
if act == "crash":
    end(1)
if act == "stop":
    end(75)
if act == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if act == "leave":
    os._exit(0)
while not asked:
    time.sleep(0.02)
end(75)
"""


class Stage:
    """A results folder with runs that act, and a pool over them."""

    def __init__(self, tmp_path, monkeypatch):
        self.store = Store(tmp_path / "results")
        (tmp_path / "job").write_text(JOB.format(python=sys.executable))
        (tmp_path / "job").chmod(0o755)
        monkeypatch.setattr(pool_module.sys, "executable", str(tmp_path / "job"))
        monkeypatch.setattr(pool_module, "LOOK_S", 0.2)
        self.console = Console(file=StringIO(), width=200)

    def runs(self, **acts):
        """Each run by its name, with what its attempts do; the last word is repeated."""
        for name, said in acts.items():
            self.store.run(name).path.mkdir(parents=True)
            (self.store.run(name).path / "acts.json").write_text(json.dumps(said.split()))
        return list(acts)

    def pool(self, names, places=2, stop=None, **terms):
        def is_finished(name):
            return self.store.run(name).state().trained is not None

        watch = Watch({name: name for name in names}, 0, self.console)
        orders = self.store.root / "orders.json"
        return Pool(self.store, orders, on_cpu(places, 1), watch, Terms(is_finished, **terms), stop)

    def journal(self):
        lines = (self.store.root / "runs" / "journal").read_text().splitlines()
        return [(float(when), what, name) for when, what, name, *_ in map(str.split, lines)]

    def under_way(self, name):
        """When each of its attempts began and ended."""
        told = [(when, what) for when, what, of in self.journal() if of == name]
        return list(zip(*[[w for w, what in told if what == kind] for kind in ("start", "end")], strict=True))

    def ended(self, name, attempt):
        return read_json(self.store.run(name).attempt(attempt) / "ended.json")


@pytest.fixture
def stage(tmp_path, monkeypatch):
    return Stage(tmp_path, monkeypatch)


def later(seconds, action):
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()


def test_out_of_memory_beside_others_is_tried_again_alone(stage):
    """The others are let end, nothing starts beside it, and that try is none of the retries."""
    names = stage.runs(hog="oom done", a="done", b="done", c="done")
    assert stage.pool(names, places=3, retries=0).run(names) == dict.fromkeys(names, 0)
    began, ended = stage.under_way("hog")[1]
    beside = [span for name in "abc" for span in stage.under_way(name) if span[0] < ended and span[1] > began]
    assert beside == []
    first = stage.ended("hog", 1)
    assert (first["oom"], first["again"], first["exit"]) == (True, True, 1)


def test_out_of_memory_beside_others_is_remembered_by_the_next_life(stage):
    """The job was requeued before the run had its turn alone: it does not go beside others once more."""
    names = stage.runs(small="done", other="done", big="done")
    big = stage.store.run("big")
    big.end(big.claim(), 1, "out of memory", again=True, oom=True)
    assert set(stage.pool(names).run(names).values()) == {0}
    [(began, ended)] = stage.under_way("big")
    for name in ("small", "other"):
        [(first, last)] = stage.under_way(name)
        assert last <= began or ended <= first


def test_out_of_memory_alone_is_a_failure_like_others(stage):
    names = stage.runs(hog="oom")
    pool = stage.pool(names, places=2, retries=1)
    assert pool.run(names) == {"hog": 1}
    assert [stage.ended("hog", n)["again"] for n in (1, 2, 3)] == [True, True, False]
    assert stage.store.run("hog").attempts() == [1, 2, 3]


def test_one_place_is_alone_already(stage):
    names = stage.runs(hog="oom")
    assert stage.pool(names, places=1, retries=0).run(names) == {"hog": 1}
    assert stage.store.run("hog").attempts() == [1]


def test_a_kill_is_lack_of_memory_where_the_kernel_counted_one(stage, monkeypatch):
    counts = iter([4, 4, 5, 5, 5, 5])
    monkeypatch.setattr(oom, "kills", lambda: next(counts))
    names = stage.runs(hog="killed done", other="done")
    assert stage.pool(names).run(names) == {"hog": 0, "other": 0}
    first = stage.ended("hog", 1)
    assert first["oom"]
    assert first["reason"] == "killed by SIGKILL: out of memory, it seems"


def test_failures_are_retried_so_often_and_their_reasons_kept(stage, monkeypatch):
    monkeypatch.setattr(oom, "kills", lambda: 0)
    names = stage.runs(bad="crash killed leave")
    assert stage.pool(names, retries=2).run(names) == {"bad": 1}
    kept = [(stage.ended("bad", n)["reason"], stage.ended("bad", n)["again"]) for n in (1, 2, 3)]
    assert kept == [
        ("crash", True),
        ("killed by SIGKILL", True),
        ("its process left without a word: something in it ended it", False),
    ]


def test_failures_in_an_earlier_life_of_the_job_count(stage, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    names = stage.runs(bad="crash")
    stage.pool(names, retries=0).run(names)
    assert failures_of(stage.store, "7", "bad") == 1
    assert failures_of(stage.store, "8", "bad") == 0
    stage.pool(names, retries=1, failures=lambda name: failures_of(stage.store, "7", name)).run(names)
    assert stage.store.run("bad").attempts() == [1, 2]


@pytest.mark.parametrize("acts", ["crash", "killed"])
def test_a_failure_counts_once_whoever_has_written_it_down(stage, monkeypatch, acts):
    monkeypatch.setattr(oom, "kills", lambda: 0)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    names = stage.runs(bad=acts)
    stage.pool(names, retries=2, failures=lambda name: failures_of(stage.store, "7", name)).run(names)
    assert stage.store.run("bad").attempts() == [1, 2, 3]


def test_a_run_is_not_started_when_time_is_short(stage):
    """The first is: else a job whose limit is short would never do anything."""
    names = stage.runs(a="done", b="done", c="done")
    pool = stage.pool(names, places=1, has_time=lambda: False)
    assert pool.run(names) == {"a": 0, "b": 75, "c": 75}
    assert (pool.late, pool.left) == (True, ["b", "c"])
    assert stage.store.run("b").attempts() == []


def test_a_signal_leaves_what_can_go_on(stage):
    names = stage.runs(a="wait", b="wait", c="wait")
    stop = Stop(exits=False)
    pool = stage.pool(names, stop=stop)
    later(0.6, lambda: stop.ask("stopped by SIGUSR2"))
    assert pool.run(names) == dict.fromkeys(names, 75)
    assert sorted(pool.left) == names
    assert [len(stage.store.run(name).attempts()) for name in names] == [1, 1, 0]


def test_a_child_that_does_not_hear_is_killed_in_time(stage):
    """In a task whose time is running out; on one's own machine it is left its time."""
    names = stage.runs(deaf="deaf", good="wait")
    stop = Stop(exits=False)
    pool = stage.pool(names, stop=stop, patience_s=lambda number: 0.5)

    def signalled():
        stop.received[signal.SIGUSR2] = time.monotonic()
        stop.ask("stopped by SIGUSR2")

    later(0.8, signalled)
    began = time.monotonic()
    assert pool.run(names) == dict.fromkeys(names, 75)
    assert time.monotonic() - began < 10
    assert sorted(pool.left) == names
    assert "did not stop when it was asked" in stage.ended("deaf", 1)["reason"]
    assert stage.ended("good", 1)["reason"] == "wait"


def test_the_second_ctrl_c_kills(stage):
    """Which the first one tells; real signals, to the process that has the pool."""
    names = stage.runs(deaf="deaf")
    pool = stage.pool(names)
    later(0.6, lambda: os.kill(os.getpid(), signal.SIGINT))
    later(2.0, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert pool.run(names) == {"deaf": 75}
    assert stage.ended("deaf", 1)["reason"] == "killed at the second Ctrl-C"
    assert stage.console.file.getvalue().count("Ctrl-C again ends them at once") == 1


def test_a_run_that_somebody_else_stopped_goes_on(stage):
    """SIGTERM to one child: its task is not stopping, and would else leave it behind while it is said to be queued."""
    names = stage.runs(a="stop done")
    pool = stage.pool(names, retries=1)
    assert pool.run(names) == {"a": 0}
    assert stage.ended("a", 1)["again"] is True
    assert pool.left == []


def test_a_run_that_is_stopped_over_and_over_ends(stage):
    names = stage.runs(a="stop")
    pool = stage.pool(names, retries=1)
    assert pool.run(names) == {"a": 75}
    assert [stage.ended("a", number).get("again", False) for number in (1, 2)] == [True, False]


def test_what_stopped_with_its_task_will_go_on_with_it(stage):
    names = stage.runs(a="wait")
    stop = Stop(exits=False)
    pool = stage.pool(names, stop=stop)
    later(0.6, lambda: stop.ask("stopped by SIGUSR2"))
    pool.run(names)
    assert stage.ended("a", 1)["again"] is True and pool.left == ["a"]


def test_a_run_of_another_process_is_looked_at_again_while_there_is_work(stage):
    """Its owner beats, and ends before the task's own work does: the task takes it up."""
    names = stage.runs(own="wait done", theirs="done")
    theirs = stage.store.run("theirs")
    attempt = theirs.claim()  # by this living process
    pool = stage.pool(names, waits=False, retries=1)
    for number in range(8):
        later(0.2 * number, lambda beat=number: write_json(theirs.attempt(attempt) / "alive", {"beat": beat}))
    later(2.0, lambda: theirs.end(attempt, 75, "stopped"))
    later(3.5, lambda: pool.children[0].process.terminate())
    assert pool.run(names) == {"own": 0, "theirs": 0}
    assert theirs.attempts() == [1, 2]


def test_cancelled_runs_are_stopped_and_not_started(stage):
    names = stage.runs(a="wait", b="done", c="done")
    cancelled = set()
    later(0.6, lambda: cancelled.update("ab"))
    pool = stage.pool(names, places=1, refusal=lambda name: "cancelled" if name in cancelled else "")
    assert pool.run(names) == {"a": 75, "b": 75, "c": 0}
    assert stage.store.run("a").attempts() == [1]
    assert stage.store.run("b").attempts() == []
    assert pool.left == []


def test_a_task_leaves_a_run_to_a_living_process_and_waits_for_a_silent_one(stage):
    """A run elsewhere that beats is left to its owner; one whose owner is mute may yet turn out dead."""
    names = stage.runs(beating="done", mute="done")
    for name in names:
        stage.store.run(name).claim()  # by this process, which is alive
    beats = iter(range(10**6))
    ended = threading.Event()

    def beat():
        while not ended.wait(0.05):
            write_json(stage.store.run("beating").attempt(1) / "alive", {"beat": next(beats)})

    threading.Thread(target=beat, daemon=True).start()
    later(1.5, lambda: stage.store.run("mute").end(1, 1, "its machine is gone"))
    codes = stage.pool(names, waits=False).run(names)
    ended.set()
    assert codes == {"beating": 75, "mute": 0}
    assert stage.store.run("beating").attempts() == [1]


def test_a_place_that_cannot_be_written_takes_no_other_run_along(stage):
    names = stage.runs(full="done", good="done")
    (stage.store.run("full").path / "attempts").write_text("a file where a folder is due")
    assert stage.pool(names).run(names) == {"full": 1, "good": 0}
    assert "cannot write" in stage.console.file.getvalue()


def test_signals_wait_until_a_child_can_listen():
    """Between its start and its handlers SIGUSR2 would end it."""
    code = (
        "import time; time.sleep(0.5); from bench.stop import Stop; stop = Stop(); stop.install(); print(stop.reason)"
    )
    with held_back():
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child.send_signal(signal.SIGUSR2)
    assert child.communicate(timeout=60)[0] == "stopped by SIGUSR2\n"
    assert signal.SIGUSR2 not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


def test_ctrl_c_twice_at_once_is_once():
    """A shell and a wrapper may both pass it on."""
    before = signal.getsignal(signal.SIGINT)
    stop = Stop(exits=False)
    with stop.installed():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert (stop.reason, stop.insisted) == ("stopped by SIGINT", False)
        stop.received[signal.SIGINT] -= 2
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.insisted
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    "said",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:116] . DefaultCPUAllocator: can't allocate memory: you tried",
        "MemoryError: ",
        "slurmstepd: error: Step 3.0 exceeded memory limit (2096 > 1024), being killed",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=5.0",
    ],
)
def test_words_that_tell_of_memory(said):
    assert oom.told(said)
    assert not oom.told("RuntimeError: the memory_format of the tensor is not supported")
