"""Files of a run: atomic, first wins, and the status that they spell."""

import errno
import json
import os
import subprocess
import sys
import time

import pytest

from bench import files, liveness
from bench import store as store_module
from bench.files import StoreError, publish, publish_json, read_json, read_rows, write_json
from bench.setting import resolve, run_id
from bench.store import RunFolder, Store

SETTING = resolve({"train.g_steps": 4}, {"seed": 1})


@pytest.fixture
def run(tmp_path):
    folder = Store(tmp_path / "results").run(run_id(SETTING))
    folder.write_setting(SETTING)
    return folder


def test_publish_first_wins(tmp_path):
    path = tmp_path / "x" / "trained.json"
    assert publish(path, b"one")
    assert not publish(path, b"two")
    assert path.read_bytes() == b"one"
    assert os.listdir(path.parent) == ["trained.json"]


def test_write_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"n": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"n": float("nan")})
    assert read_json(path) == {"n": 1}


def test_half_written_json_is_absent(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"status": "do')
    assert read_json(path) is None
    path.write_text("[1]")
    assert read_json(path) is None
    assert read_json(tmp_path / "none.json") is None


def test_torn_line_is_left_out(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3, "lo')
    assert read_rows(path) == [{"step": 1}, {"step": 2}]


def test_setting_is_written_once_and_edits_are_refused(run):
    path = run.path / "setting.json"
    before = path.read_bytes()
    run.write_setting(SETTING)
    assert path.read_bytes() == before
    assert run.setting() == SETTING
    content = json.loads(before)
    content["setting"]["train"]["lr"] = 0.5
    path.write_text(json.dumps(content))
    with pytest.raises(StoreError, match="edited"):
        run.setting()
    with pytest.raises(StoreError, match="edited"):
        run.write_setting(SETTING)
    path.write_text("{")
    with pytest.raises(StoreError, match="not readable"):
        run.setting()


def test_folder_of_images_is_not_in_the_run(tmp_path):
    here = resolve({"data.name": "folder", "data.folder": "/a", "data.fingerprint": "f", "train.g_steps": 1})
    there = here.model_copy(update={"data": here.data.model_copy(update={"folder": "/b"})})
    folder = Store(tmp_path).run(run_id(here))
    folder.write_setting(here)
    folder.write_setting(there)
    assert folder.setting().data.folder is None


def test_statuses(run):
    assert run.state().status == "missing"
    number = run.claim()
    assert number == 1
    assert run.state().status == "running"
    run.end(number, 75, "stopped by SIGTERM")
    assert (run.state().status, run.state().cause) == ("stopped", "stopped by SIGTERM")
    assert run.claim() == 2
    run.end(2, 1, "RuntimeError: no")
    assert (run.state().status, run.state().cause) == ("failed", "RuntimeError: no")
    run.trained.write_text('{"status": "don')
    assert (run.state().status, run.state().cause) == ("stopped", "trained.json is half-written: training goes on")
    run.trained.unlink()
    publish_json(run.trained, {"status": "diverged", "cause": "loss"})
    assert (run.state().status, run.state().cause) == ("diverged", "loss")


def test_a_failed_run_that_will_be_tried_again_has_not_failed(run):
    run.end(run.claim(), 1, "out of memory", again=True)
    assert (run.state().status, run.state().cause) == ("stopped", "out of memory")


def test_a_run_that_ends_while_it_is_looked_at_is_done(run, monkeypatch):
    """Its process is gone a moment after trained.json was not yet there."""
    run.claim()

    def ends(*given):
        publish_json(run.trained, {"status": "done", "snapshots": []})
        return False

    monkeypatch.setattr(run.witness, "is_alive", ends)
    assert run.state().status == "done"


def test_results_that_were_moved_grow_no_second_tree(run):
    run.path.parent.rename(run.path.parent.with_name("moved"))
    with pytest.raises(StoreError, match="moved or deleted"):
        run.claim()
    assert not run.path.parent.exists()


@pytest.mark.parametrize("stale", [1, 2])
def test_a_file_that_was_replaced_under_our_hands_is_opened_anew(tmp_path, monkeypatch, stale):
    """As a file server's client says it: once is nothing; what cannot be read for good is named."""
    write_json(tmp_path / "a.json", {"a": 1})
    left = [None] * stale

    def stale_open(*given, **more):
        if left:
            left.pop()
            raise OSError(errno.ESTALE, "Stale file handle")
        return open(*given, **more)

    monkeypatch.setattr(files, "open", stale_open, raising=False)
    if stale == 1:
        assert read_json(tmp_path / "a.json") == {"a": 1}
    else:
        with pytest.raises(StoreError, match=r"a\.json: cannot read: Stale"):
            read_json(tmp_path / "a.json")


def test_a_living_attempt_is_not_claimed_and_a_dead_one_is(run):
    code = (
        "import sys, time; from bench.store import RunFolder; from pathlib import Path;"
        "print(RunFolder(Path(sys.argv[1])).claim(), flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(run.path)], stdout=subprocess.PIPE, text=True)
    with other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "1"
        assert run.claim() is None
        assert run.state().status == "running"
        other.kill()
    assert run.state().status == "stopped"
    assert "vanished" in (run.state().cause or "")
    assert run.claim() == 2


def test_another_hosts_attempt_is_dead_after_ten_silent_minutes(run, monkeypatch):
    number = run.claim()
    owner = run.attempt(number) / "owner.json"
    write_json(owner, {**json.loads(owner.read_text()), "host": "elsewhere"})
    assert run.state().status == "running"  # claimed, not yet beating
    alive = run.attempt(number) / "alive"
    write_json(alive, {"step": 1})
    assert run.state().status == "running"
    assert run.state().alive == {"step": 1}
    old = time.time() - liveness.SILENCE_S - 1
    os.utime(alive, (old, old))
    assert run.state().status == "running"  # this looker saw it beat a moment ago
    monkeypatch.setattr(liveness, "WATCH_S", 0.2)
    later = RunFolder(run.path)
    assert later.state().status == "running"  # its clock may be wrong: the next looks tell
    assert later.claim() is None
    time.sleep(0.3)
    assert later.state().status == "stopped"
    assert later.claim() == number + 1


def test_sixteen_race_for_two_hundred_runs(tmp_path):
    """Each run is claimed once, also where the attempt before died; and a racer's process is its owner."""
    dead = Store(tmp_path).run("0" * 16)
    for number in range(200):
        Store(tmp_path).run(f"{number:016x}").path.mkdir(parents=True)
    assert dead.claim() == 1
    owner = json.loads((dead.attempt(1) / "owner.json").read_text())
    names = [f"{i:016x}" for i in range(200)]
    for name in names[:100]:
        write_json(Store(tmp_path).run(name).attempt(1) / "owner.json", {**owner, "started": "0"})
    code = (
        "import os, sys; from bench.store import Store; from pathlib import Path\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for racer in range(15):\n"
        "    if os.fork() == 0: break\n"
        "os.read(0, 1)\n"  # all start at once
        "claims = sum(store.run(f'{i:016x}').claim() is not None for i in range(200))\n"
        "os.write(1, f'{os.getpid()} {claims}\\n'.encode())\n"
        "os.read(0, 1)\n"  # and none ends before all have raced
    )
    racers = subprocess.Popen(
        [sys.executable, "-u", "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with racers:
        racers.stdin.write("\n" * 16)
        racers.stdin.flush()
        claimed = dict(map(int, racers.stdout.readline().split()) for _ in range(16))
        store = Store(tmp_path)
        owners = [store.run(name).attempts()[-1:] for name in names]
        assert owners == [[2]] * 100 + [[1]] * 100
        assert all(store.run(name).state().status == "running" for name in names[::20])
    assert len(claimed) == 16 and sum(claimed.values()) == 200
    by = [read_json(store.run(name).attempt(n[0]) / "owner.json")["pid"] for name, n in zip(names, owners, strict=True)]
    assert {pid: by.count(pid) for pid in claimed} == claimed
    assert not list(tmp_path.rglob(".claim-*"))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a\0b", "a\nb", "x" * 300, "a\\b/.."]
)
def test_names_that_would_leave_the_results_folder(tmp_path, name):
    store = Store(tmp_path)
    for looked_up in (store.run, store.study, store.run("0").is_scored):
        with pytest.raises(StoreError, match="could leave the results folder"):
            looked_up(name)
    write_json(store.run("0").trained, {"status": "done", "snapshots": ["000008.000", name]})
    with pytest.raises(StoreError, match="could leave the results folder"):
        store.run("0").state()


@pytest.mark.parametrize("name", ["quickstart.smoke", "a-b_c", "größe", "000008.000", "000008.000@2,x=1"])
def test_names_that_are_one_file(tmp_path, name):
    assert Store(tmp_path).study(name).parent == tmp_path / "studies"


def test_the_first_word_on_an_end_stands_and_the_supervisor_adds_to_it(run):
    number = run.claim()
    run.end(number, 1, "RuntimeError: CUDA out of memory")
    run.end(number, -9, "killed", again=True, oom=True)
    said = run.state().ended
    assert {**said, "finished": None} == {
        "exit": 1,
        "reason": "RuntimeError: CUDA out of memory",
        "finished": None,
        "again": True,
        "oom": True,
    }
    run.end(number, 0, "")
    assert run.state().ended == said


def test_a_closer_look_at_an_old_heartbeat(run, monkeypatch):
    monkeypatch.setattr(store_module, "WATCH_S", 0.4)
    monkeypatch.setattr(liveness, "WATCH_S", 0.4)
    owner = run.attempt(run.claim()) / "owner.json"
    write_json(owner, {**json.loads(owner.read_text()), "host": "elsewhere"})
    old = time.time() - liveness.SILENCE_S - 1
    os.utime(owner, (old, old))
    store = Store(run.path.parent.parent)
    found = store.states([run.path.name])
    assert found[run.path.name].status == "running"  # until it is sure
    assert store.settle(found)[run.path.name].status == "stopped"
    began = time.monotonic()
    assert store.settle(found) == found  # nothing in doubt any longer
    assert time.monotonic() - began < 0.3


def test_log_merges_attempts_without_gaps_or_doubles(run):
    first, second = run.attempt(1), run.attempt(2)
    for folder in (first, second):
        folder.mkdir(parents=True)
    (first / "train.jsonl").write_text("".join(f'{{"step": {s}, "from": 1}}\n' for s in range(1, 8)) + '{"step": 8')
    (second / "train.jsonl").write_text("".join(f'{{"step": {s}, "from": 2}}\n' for s in range(6, 11)))
    rows = run.log()
    assert [row["step"] for row in rows] == list(range(1, 11))
    assert [row["from"] for row in rows] == [1] * 5 + [2] * 5


def test_scores_that_stand(run):
    assert not run.is_scored("a")
    write_json(run.scores / "a.json", {"status": "failed"})
    assert not run.is_scored("a")
    write_json(run.scores / "a.json", {"status": "ok"})
    assert run.is_scored("a")
    (run.scores / "a.json").write_text('{"status": "o')
    assert not run.is_scored("a")


def test_full_disk_and_read_only_folder_say_the_remedy(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    store = Store(tmp_path / "results")
    monkeypatch.setattr(store_module.os, "fsync", full)
    with pytest.raises(StoreError, match=r"No space left on device.*--results"):
        store.check_writable()
    with pytest.raises(StoreError, match="No space left"):
        write_json(tmp_path / "a.json", {})
    assert list(tmp_path.glob(".*.tmp")) == []


def test_a_file_where_a_folder_is_due(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        Store(tmp_path / "results").check_writable()
